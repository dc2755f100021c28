"""A local server: its settings, its sessions and its list of models."""

from __future__ import annotations

import contextlib
import functools
import importlib
import math
import os
import re
import threading
import time
import weakref
from contextlib import AbstractContextManager
from typing import Any, Literal, Mapping, NoReturn

from .._core.checks import FLAG, NAME, Check, check, check_fields, instance, number
from .._core.errors import ConfigurationError, ProviderClosedError, RequestTimeoutError
from .._core.ollama_options import INSTEAD
from .._core.options import OTHERS, check_names, show_options
from .._core.overrides import Options
from .._core.types import UNSET, Limits, ModelInfo, Timeout, Timeouts, Unset, check_seconds
from .._core.usage import UsageRecorder
from .._http.exchange import Deadline, PoolManager
from .base import Provider
from .model_cache import DISCOVERY_S, ModelCache
from .session import CallOptions, ServerInfo, Session
from .settings import Config, Names, Secret, Settings, as_timeouts

_TIMEOUTS = Timeouts()
# Words that people type for an argument of a provider, and the right one; or a sentence, for options of a call.
_OTHERS = {
    **dict.fromkeys((*OTHERS, *Options.__annotations__), "It goes with each call: complete('...', temperature=0.2)"),
    **dict.fromkeys(("host", "url", "server", "address", "endpoint", "port", "api_base"), "base_url"),
    **dict.fromkeys(("api_key", "token", "key"), "api_token"),
    **dict.fromkeys(("default_headers", "extra_headers"), "headers"),
    **dict.fromkeys(("client", "http_client", "session", "proxy", "proxies", "verify"), "http"),
    **dict.fromkeys(("default_model", "model_name"), "model"),
    **dict.fromkeys(("name", "provider_id"), "id"),
    "request_timeout": "timeout",
    "config": "settings",
    **INSTEAD,
}
# What only some calls need. A call imports nothing, because a fork meanwhile could leave the child waiting for that
# import: so these come with the provider.
_FOR_CALLS = "configparser decimal .._http.transport .._core.results .._core.schema.typed .._core.schema.functions"
_HEADER_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # a token of RFC 9110, 5.6.2
_HEADER_VALUE = r"[\t\x20-\x7e\xa0-\xff]*"


def _is_ttl(value: object) -> bool:
    return value == math.inf or bool(number(0).fits(value))


_ARGUMENTS = {
    "max_retries": number(0, whole=True),
    "models_ttl": Check(_is_ttl, "is not valid: use seconds, 0 or more"),
    "refresh": FLAG,
    "limits": instance(Limits, "is not a Limits"),
}


@functools.cache
def _import_for_calls() -> None:
    for module in _FOR_CALLS.split():
        with contextlib.suppress(ImportError):  # a vendored copy may leave it out
            importlib.import_module(module, __package__)


@show_options()
class LocalServer(Provider):
    """The base of the providers of local servers: everything except generating. Subclasses describe their server."""

    _server: ServerInfo
    _names: Names

    def __init__(
        self,
        base_url: str | None = None,
        *,
        model: str | None = None,
        api_token: str | Secret | Literal[False] | None = None,
        timeout: Timeout | Unset = UNSET,
        deadline: float | None = None,
        settings: Any = None,
        usage: UsageRecorder | None = None,
        headers: Mapping[str, str] | None = None,
        http: PoolManager | None = None,
        max_retries: int = 2,
        models_ttl: float = 300.0,
        refresh: bool = True,
        limits: Limits = Limits(),  # noqa: B008 (frozen)
        id: str | None = None,
        **others: NoReturn,
    ) -> None:
        """Make a provider; this sends nothing and waits for nothing.

        The arguments ``base_url``, ``model``, ``api_token`` and ``timeout`` win over the settings with these names.
        ``api_token`` may be a pydantic ``SecretStr``; with ``api_token=False``, none is sent, even if one is set.
        ``timeout`` (seconds, or Timeouts) is the longest silence, ``deadline`` (seconds) bounds a whole call; None is
        no limit. ``settings`` is a mapping or has a method ``get(name)``; it is read at each use, and a key that has
        the prefix of this provider's settings but is not one of them is an error. A timeout as a setting is "30s",
        "500ms", "2m" or "1m30s"; a number without a unit is milliseconds. ``usage`` receives a UsageRecord of each
        call. ``headers`` are sent with every call and win over those of the package. ``http`` is a urllib3 PoolManager
        or ProxyManager, for its proxy and its certificates. For ``models_ttl`` seconds the list of models counts as
        fresh. ``refresh=False`` starts no thread: models are then discovered by ``refresh_models``, ``list_models``
        and, with Ollama, a call that names none. ``id`` distinguishes providers of one kind. Raises
        ConfigurationError.
        """
        given = {**locals()}
        _import_for_calls()
        self._arguments = {name: given[name] for name in given if name not in ("self", "others", "__class__")}
        before = set(vars(self))
        self._arguments.update((name, others.pop(name, None)) for name in self._names.arguments)
        what = f"{type(self).__name__} has no argument"
        advice = {**_OTHERS, "": f"There are {', '.join(self._arguments)}"}
        check_names(what, others, self._arguments, advice, ConfigurationError)
        _check_arguments(self._arguments)
        check_seconds("deadline", deadline)
        if id is not None:
            self.id = id
        arguments = {name: self._arguments[name] for name in self._names.variables}
        self._settings = Settings(self._names, arguments, settings)
        self._server = self._server._replace(provider_id=self.id, headers=dict(headers or {}))
        self._deadline = deadline
        self._usage = usage
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._current: Session | None = None
        # Earlier sessions, as long as they have calls or a discovery under way.
        self._retired: weakref.WeakSet[Session] = weakref.WeakSet()
        self._closed = False
        # The warnings that were given: a model that was asked for and the one that answered, or the usage recorder.
        self._warned: dict[tuple[str, str], object] = {}
        self._prepare()
        self._made_here = {*vars(self), "_made_here", "_inherited"} - before  # a copy gets the rest
        self._cache(eager=True)

    def _prepare(self) -> None:
        """Make the attributes of a subclass that a copy must not share."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.base_url}>"

    def __getstate__(self) -> dict[str, Any]:
        if self._arguments["http"] is not None:
            raise ConfigurationError("a provider with http= cannot be pickled", hint="urllib3's managers cannot")
        return {name: value for name, value in vars(self).items() if name not in self._made_here}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        LocalServer.__init__(self, **state["_arguments"])

    @property
    def base_url(self) -> str:
        return self._settings.config().base_url.text

    def _cached_models(self) -> tuple[ModelInfo, ...]:
        session = self._current
        return () if session is None else session.cache.models

    def _forget_models(self, gone: str | None = None) -> None:
        """Have the models listed anew before the next choice; the model that is ``gone`` is not shown until then."""
        # The session of now, not that of the call: a session that was made since may have listed the old models.
        session = self._current
        if session is not None:
            session.cache.forget(gone)

    def list_models(self, timeout: Timeout | Unset = UNSET) -> list[ModelInfo]:
        return self._list_models(timeout)

    def _list_models(
        self,
        timeout: Timeout | Unset,
        session: Session | None = None,
        config: Config | None = None,
        brief: bool = False,
    ) -> list[ModelInfo]:
        config = config or self._settings.config()
        if timeout is UNSET:
            timeout = DISCOVERY_S if config.timeouts is None else config.timeouts
        # A number also bounds the whole: a list that trickles in is of no use.
        seconds = timeout if isinstance(timeout, (int, float)) else self._deadline
        timeouts = as_timeouts(timeout)
        deadline = None if seconds is None else Deadline(seconds, time.monotonic())
        try:
            return (session or self._session(config)).list_models(CallOptions(config, timeouts, deadline), brief)
        except RequestTimeoutError as error:
            if seconds == timeout:
                error.hint = "Raise timeout= (seconds), or give None for no limit"
            raise

    def is_configured(self) -> bool:
        return not self._closed and bool(self._cache(eager=False).models)

    def wait_until_configured(self, timeout: float | None = 3.0) -> bool:
        check_seconds("timeout", timeout)
        cache = self._cache(eager=True)
        cache.wait(timeout)
        return bool(cache.models)

    def _for_call(self, timeout: Timeout | Unset, deadline: float | Unset | None) -> tuple[Session, CallOptions]:
        """Return the session with the server that is set now, and the options of a call to it."""
        started = time.monotonic()
        seconds = self._deadline if deadline is UNSET else deadline
        check_seconds("deadline", seconds)
        config = self._settings.config()
        timeouts = as_timeouts(timeout) if timeout is not UNSET else config.timeouts or _TIMEOUTS
        session = self._session(config)
        return session, CallOptions(config, timeouts, None if seconds is None else Deadline(seconds, started))

    def reset_client(self) -> None:
        with self._own_lock():
            self._check_open()
            self._retire()

    def close(self) -> None:
        with self._own_lock():
            self._closed = True
            self._retire()
            retired = list(self._retired)
        for session in retired:
            session.close()

    def _cache(self, eager: bool) -> ModelCache:
        """Return the cache of models of the server that is set now; if it is empty or old, start a discovery."""
        config = self._settings.config()
        session = self._session(config)
        # With the settings of now, because a token that is set later may be for another server.
        session.cache.ensure(functools.partial(self._list_models, DISCOVERY_S, session, config, brief=True), eager)
        return session.cache

    def _session(self, config: Config) -> Session:
        """Return the session with the server that is set now: another URL or another process has another session."""
        with self._own_lock():
            self._check_open()
            session = self._current
            if session is None or session.base_url != config.base_url.text:
                self._retire()
                session = self._current = self._new_session(config)
            return session

    def _new_session(self, config: Config) -> Session:
        """Return a session with separate connections."""
        from .._http.transport import Transport  # noqa: PLC0415 (the constructor has imported it)

        url, arguments = config.base_url.text, self._arguments
        transport = Transport(url, arguments["http"], arguments["limits"], arguments["max_retries"])
        return Session(self._server, url, transport, ModelCache(arguments["models_ttl"], arguments["refresh"]))

    def _own_lock(self) -> AbstractContextManager[bool]:
        """Return the lock of this process."""
        if self._pid != os.getpid():
            # Forked: a thread that exists only in the parent may hold the lock, and the sockets are the parent's. Keep
            # the sessions: collecting them would close connections that the parent uses.
            self._inherited = [self._current, *self._retired]
            self._pid, self._lock, self._current = os.getpid(), threading.RLock(), None
            self._retired = weakref.WeakSet()
        return self._lock

    def _retire(self) -> None:
        if self._current is not None:
            self._current.retire()
            self._retired.add(self._current)
            self._current = None

    def _check_open(self) -> None:
        if self._closed:
            raise ProviderClosedError.before_call()


def _check_arguments(values: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for an argument of a provider that cannot work."""
    headers, http, usage = values["headers"], values["http"], values["usage"]
    # What these three hold may be secret, and stays out of the messages.
    if not isinstance(headers, (Mapping, type(None))):
        raise ConfigurationError(f"headers is {type(headers).__name__}, not a mapping")
    for header, value in (headers or {}).items():
        if not isinstance(header, str) or not re.fullmatch(_HEADER_NAME, header):
            raise ConfigurationError(f"headers: {header!r} is not a name of a header")
        if not isinstance(value, str) or not re.fullmatch(_HEADER_VALUE, value):
            raise ConfigurationError(f"headers: the value of {header!r} is not a single line of Latin-1 text")
    if http is not None and not hasattr(http, "pool_classes_by_scheme"):
        raise ConfigurationError(f"http={type(http).__name__} is not a urllib3 PoolManager or ProxyManager")
    if isinstance(usage, type):
        raise ConfigurationError(f"usage={usage.__name__} is a class", hint=f"Give an instance: {usage.__name__}()")
    if usage is not None and not callable(getattr(usage, "record", None)):
        raise ConfigurationError(f"usage={type(usage).__name__} has no record(UsageRecord)")
    for argument, rule in _ARGUMENTS.items():
        check(argument, values[argument], rule, ConfigurationError)
    check_fields(values, {"id": NAME}, kind=ConfigurationError)
