"""A local server as a provider knows it: its settings, its sessions and its models."""

from __future__ import annotations

import functools
import os
import threading
import time
import weakref
from contextlib import AbstractContextManager
from typing import Any, Literal, Mapping, NoReturn

from .._core.errors import ConfigurationError, ProviderClosedError, RequestTimeoutError
from .._core.ollama_options import INSTEAD
from .._core.options import OTHERS, check_names, show_options
from .._core.overrides import Options
from .._core.types import UNSET, Limits, ModelInfo, Timeout, Timeouts, Unset, check_seconds
from .._core.usage import UsageRecorder
from .._dialects.dialect import Dialect
from .._http.exchange import Deadline
from .._http.transport import PoolManager, Transport
from .base import Provider
from .model_cache import DISCOVERY_S, ModelCache
from .session import CallOptions, ServerInfo, Session
from .settings import Config, Names, Secret, Settings, as_timeouts, check_arguments

# What people type for an argument of a provider; options of a call have their place there.
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


@show_options()
class LocalServer(Provider):
    """What providers of local servers have in common beside generating; subclasses say what their server speaks."""

    _dialect: Dialect
    _server_name: str
    _names: Names
    _start_hint: str
    _remote_hint: str
    _url_hint: str
    _api_key_hash: str
    #: How to get a model, as the beginning of a sentence.
    _get_hint: str
    #: What to ask for if the server tells of no models; None if it would not know what is meant.
    _default_model: str | None
    #: Whether models that were not trained to call tools can be offered some.
    _any_model_calls_tools: bool

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
        """Make a provider; nothing is sent by this thread, and nothing waited for.

        The arguments ``base_url``, ``model``, ``api_token`` and ``timeout`` win over the settings of these names.
        ``api_token`` may be a pydantic ``SecretStr``; ``api_token=False`` sends none, whatever is set.
        ``timeout`` (seconds, or Timeouts) is the longest silence, ``deadline`` (seconds) bounds a whole call; None is
        no limit. ``settings`` is a mapping, or has a ``get(name)``; it is read at each use, and a key with the prefix
        of this provider's settings that is none of them is an error. A timeout as a setting is "30s", "500ms", "2m" or
        "1m30s"; a number without a unit is milliseconds. ``usage`` is given a UsageRecord of each call. ``headers`` are
        sent with every call, and win over ours. ``http`` is a urllib3 PoolManager or ProxyManager whose configuration
        (proxy, certificates) is to be used. ``models_ttl`` is for how many seconds the list of models counts as fresh.
        ``refresh=False`` starts no thread: no model is then discovered but by ``refresh_models``, ``list_models``, and,
        with Ollama, a call that names none. ``id`` tells several providers of one kind apart. Raises
        ConfigurationError.
        """
        unseen = ("self", "others", "__class__")
        self._arguments = {name: value for name, value in locals().items() if name not in unseen}
        before = set(vars(self))
        self._arguments.update((name, others.pop(name, None)) for name in self._names.arguments)
        what = f"{type(self).__name__} has no argument"
        there_are = f"There are {', '.join(self._arguments)}"
        check_names(what, others, self._arguments, _OTHERS, otherwise=there_are, kind=ConfigurationError)
        check_arguments(self._arguments)
        check_seconds("deadline", deadline)
        if id is not None:
            self.id = id
        arguments = {name: self._arguments[name] for name in self._names.variables}
        self._settings = Settings(self._names, arguments, settings)
        self._info = ServerInfo(
            self.id,
            self._server_name,
            self._dialect,
            self._start_hint,
            self._remote_hint,
            self._url_hint,
            dict(headers or {}),
        )
        self._deadline = deadline
        self._usage = usage
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._current: Session | None = None
        # Sessions before it, as long as calls or a discovery are under way there.
        self._retired: weakref.WeakSet[Session] = weakref.WeakSet()
        self._closed = False
        # The warnings that were given: a model that was asked for and the one that answered, or the usage recorder.
        self._warned: dict[tuple[str, str], object] = {}
        self._prepare()
        self._made_here = {*vars(self), "_made_here", "_inherited"} - before  # the rest goes with a copy
        self._settings.model(None)  # a bad one is told now
        self._cache(eager=True)

    def _prepare(self) -> None:
        """Make what a subclass keeps beside this, and a copy has of its own."""

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
        """Have them listed anew before the next choice; the one that is ``gone`` is not shown until then.

        The session is that of now: since a call began, another may have been made, and have been told the old models.
        """
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
        # A number bounds the whole, too: a discovery that trickles in is of no more use than none.
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
        """The session with the server as it is set now, and how it is to be called."""
        started = time.monotonic()
        seconds = self._deadline if deadline is UNSET else deadline
        check_seconds("deadline", seconds)
        config = self._settings.config()
        timeouts = as_timeouts(timeout) if timeout is not UNSET else config.timeouts or Timeouts()
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
        """The models of the server as it is set now; where they are missing, their discovery is under way."""
        config = self._settings.config()
        session = self._session(config)
        # With the settings of now: a token that is set later may be for another server.
        session.cache.ensure(functools.partial(self._list_models, DISCOVERY_S, session, config, brief=True), eager)
        return session.cache

    def _session(self, config: Config) -> Session:
        """The session with the server as it is set now: another URL, or another process, has another."""
        with self._own_lock():
            self._check_open()
            session = self._current
            if session is None or session.base_url != config.base_url.text:
                self._retire()
                session = self._current = self._new_session(config)
            return session

    def _new_session(self, config: Config) -> Session:
        """A session with connections of its own."""
        url, arguments = config.base_url.text, self._arguments
        transport = Transport(url, arguments["http"], arguments["limits"], arguments["max_retries"])
        return Session(self._info, url, transport, ModelCache(arguments["models_ttl"], arguments["refresh"]))

    def _own_lock(self) -> AbstractContextManager[bool]:
        """The lock of this process."""
        if self._pid != os.getpid():
            # Forked: the lock may be held by a thread that is not here, and the sockets are the parent's. The sessions
            # are kept, because letting go of them would close what the parent is using.
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
