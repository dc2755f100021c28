"""A provider that speaks HTTP: all but the server's dialect."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
import traceback
import warnings
import weakref
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, overload

from ._exceptions import (
    ConfigurationError,
    InvalidRequestError,
    ProviderClosedError,
    ProviderError,
    RequestTimeoutError,
)
from ._exchange import Deadline
from ._model_cache import DISCOVERY_S, ModelCache
from ._provider import Provider
from ._requests import (
    ChatInput,
    ChatOverrides,
    ChatRequest,
    CompletionInput,
    CompletionOverrides,
    CompletionRequest,
    StreamOverrides,
    override,
)
from ._session import Dialect, Facts, Plan, Session
from ._settings import Config, Names, Settings, as_timeouts, check_arguments
from ._stream import Stream
from ._transport import Transport
from ._types import (
    UNSET,
    Call,
    Capabilities,
    Chunk,
    Completion,
    Health,
    Limits,
    ModelInfo,
    Timeout,
    Timeouts,
    Unset,
    Usage,
    check_seconds,
)
from ._usage import UsageRecord, UsageRecorder, status_of

if TYPE_CHECKING:
    import urllib3
    from typing_extensions import Unpack

logger = logging.getLogger("lmstudio_provider")


class HTTPProvider(Provider):
    """What providers of local servers have in common; subclasses say what their server speaks."""

    _dialect: Dialect
    _names: Names
    _start_hint: str
    _url_hint: str
    _api_key_hash: str
    _default_model: str

    def __init__(
        self,
        base_url: str | None = None,
        *,
        model: str | None = None,
        api_token: str | None = None,
        timeout: Timeout | Unset = UNSET,
        deadline: float | None = None,
        settings: Any = None,
        usage: UsageRecorder | None = None,
        headers: Mapping[str, str] | None = None,
        http: urllib3.PoolManager | None = None,
        max_retries: int = 2,
        models_ttl: float = 300.0,
        refresh: bool = True,
        limits: Limits = Limits(),  # noqa: B008 (frozen)
    ) -> None:
        """Make a provider; nothing is sent by this thread, and nothing waited for.

        The arguments ``base_url``, ``model``, ``api_token`` and ``timeout`` win over the settings of these names.
        ``timeout`` (seconds, or Timeouts) is the longest silence, ``deadline`` (seconds) bounds a whole call; None is
        no limit. ``settings`` is a mapping, or has a ``get(name)``; it is read at each use. ``usage`` is given a
        UsageRecord of each call. ``headers`` are sent with every call, and win over ours. ``http`` is a urllib3
        PoolManager or ProxyManager whose configuration (proxy, certificates) is to be used. ``models_ttl`` is for how
        many seconds the list of models counts as fresh. ``refresh=False`` starts no thread: no model is then
        discovered but by ``refresh_models`` and ``list_models``. Raises ConfigurationError.
        """
        self._arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        check_arguments(headers, http, usage, max_retries, models_ttl, refresh, limits)
        check_seconds("deadline", deadline)
        arguments = {"base_url": base_url, "model": model, "api_token": api_token, "timeout": timeout}
        self._settings = Settings(self._names, arguments, settings)
        self._facts = Facts(self.id, self._dialect, self._start_hint, self._url_hint, dict(headers or {}))
        self._deadline = deadline
        self._usage = usage
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._current: Session | None = None
        # Sessions before it, as long as calls or a discovery are under way there.
        self._retired: weakref.WeakSet[Session] = weakref.WeakSet()
        self._closed = False
        self._settings.model(None)  # a bad one is told now
        self._cache(eager=True)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.base_url}>"

    def __getstate__(self) -> dict[str, Any]:
        if self._arguments["http"] is not None:
            raise ConfigurationError("a provider with http= cannot be pickled", hint="urllib3's managers cannot")
        return self._arguments

    def __setstate__(self, state: dict[str, Any]) -> None:
        HTTPProvider.__init__(self, **state)

    @property
    def base_url(self) -> str:
        return self._settings.config().base_url.text

    @property
    def capabilities(self) -> Capabilities:
        session = self._current
        models = () if session is None else session.cache.models
        return Capabilities(True, True, None, tuple(model.id for model in models))

    def refresh_models(self, timeout: float | None = 3.0) -> bool:
        try:
            self._list_models(timeout)
        except (ConfigurationError, ProviderClosedError):
            raise
        except ProviderError:
            return False
        return True

    def list_models(self, timeout: Timeout | Unset = UNSET) -> list[ModelInfo]:
        return self._list_models(timeout)

    def _list_models(
        self, timeout: Timeout | Unset, session: Session | None = None, config: Config | None = None
    ) -> list[ModelInfo]:
        config = config or self._settings.config()
        if timeout is UNSET:
            timeout = DISCOVERY_S if config.timeouts is None else config.timeouts
        # A number bounds the whole, too: a discovery that trickles in is of no more use than none.
        seconds = timeout if isinstance(timeout, (int, float)) else self._deadline
        timeouts = as_timeouts(timeout)
        deadline = None if seconds is None else Deadline(seconds, time.monotonic())
        try:
            return (session or self._session(config)).list_models(Plan(config, timeouts, deadline))
        except RequestTimeoutError as error:
            if seconds == timeout:
                error.hint = "Raise timeout= (seconds), or give None for no limit"
            raise

    def is_configured(self) -> bool:
        if self._closed:
            return False
        return bool(self._cache(eager=False).models)

    def wait_until_configured(self, timeout: float | None = 3.0) -> bool:
        check_seconds("timeout", timeout)
        cache = self._cache(eager=True)
        cache.wait(timeout)
        return bool(cache.models)

    def resolve_model(self, tier: str | None = None) -> str:
        return self._resolve_model(tier, DISCOVERY_S)

    def _resolve_model(self, tier: str | None, wait_s: float) -> str:
        model = self._settings.model(tier)
        if model is not None:
            self._check_open()
            return model
        cache = self._cache(eager=True)
        if not cache.models:
            cache.wait(wait_s)
        return next((model.id for model in cache.models if model.can_chat), self._default_model)

    def reset_client(self) -> None:
        with self._own_lock():
            self._check_open()
            self._retire()

    def health_check(self, timeout: float | None = 3.0) -> Health:
        started = time.monotonic()
        try:
            models = self._list_models(timeout)
        except (ConfigurationError, ProviderClosedError):
            raise
        except ProviderError as error:
            return Health(False, time.monotonic() - started if error.sent else None, error=error)
        return Health(True, time.monotonic() - started, tuple(model.id for model in models))

    def complete(self, request: CompletionInput, **overrides: Unpack[CompletionOverrides]) -> Completion:
        return self._generate("complete", _completion_request(request), dict(overrides))

    def chat(self, request: ChatInput, **overrides: Unpack[ChatOverrides]) -> Completion:
        return self._generate("chat", _chat_request(request), dict(overrides))

    def complete_with_tools(self, request: ChatInput, **overrides: Unpack[ChatOverrides]) -> Completion:
        request = _chat_request(request)
        if not request.tools and not overrides.get("tools"):
            raise InvalidRequestError("complete_with_tools got no tools", hint="Give tools=[Tool(...)], or call chat()")
        return self._generate("complete_with_tools", request, dict(overrides))

    @overload
    def stream(
        self, request: CompletionInput | ChatInput, on_chunk: None = None, **overrides: Unpack[StreamOverrides]
    ) -> Stream: ...

    @overload
    def stream(
        self,
        request: CompletionInput | ChatInput,
        on_chunk: Callable[[Chunk], object],
        **overrides: Unpack[StreamOverrides],
    ) -> Completion: ...

    def stream(
        self,
        request: CompletionInput | ChatInput,
        on_chunk: Callable[[Chunk], object] | None = None,
        **overrides: Unpack[StreamOverrides],
    ) -> Stream | Completion:
        is_text = isinstance(request, (CompletionRequest, str))
        typed = _completion_request(request) if is_text else _chat_request(request)
        if on_chunk is not None and not callable(on_chunk):
            raise InvalidRequestError(f"on_chunk={on_chunk!r} cannot be called", hint="Options go by name: model=...")
        session, call, plan = self._plan(typed, dict(overrides), stream=True)
        started = time.monotonic()

        def over(completion: Completion, error: BaseException | None) -> None:
            status = "cancelled" if completion.finish_reason == "cancelled" else status_of(error)
            self._record("stream", completion, started, status)

        with self._recording_failure("stream", call, started):
            stream = session.stream(call, plan, over)
        if on_chunk is None:
            return stream
        wanted: Callable[[Chunk], object] | None = on_chunk
        failure = ""
        with stream:
            for chunk in stream:
                if wanted is not None:
                    try:
                        wanted(chunk)
                    except Exception:
                        wanted, failure = None, traceback.format_exc()
        if failure:
            warnings.warn(f"on_chunk failed, and was not called again:\n{failure}", RuntimeWarning, stacklevel=2)
        return stream.completion

    def close(self) -> None:
        with self._own_lock():
            self._closed = True
            self._retire()
            retired = list(self._retired)
        for session in retired:
            session.close()

    def _generate(
        self, operation: str, request: CompletionRequest | ChatRequest, overrides: dict[str, Any]
    ) -> Completion:
        session, call, plan = self._plan(request, overrides, stream=False)
        started = time.monotonic()
        with self._recording_failure(operation, call, started):
            value = session.ask(call, plan)
            with session.telling(call, plan):
                completion = self._dialect.chat_reply(value, call.model, time.monotonic() - started)
        self._record(operation, completion, started, "ok")
        return completion

    def _plan(
        self, request: CompletionRequest | ChatRequest, overrides: dict[str, Any], stream: bool
    ) -> tuple[Session, Call, Plan]:
        """Who is called with what, and how; raises InvalidRequestError, ConfigurationError, ProviderClosedError."""
        started = time.monotonic()
        timeout = overrides.pop("timeout", UNSET)
        deadline = overrides.pop("deadline", self._deadline)
        check_seconds("deadline", deadline)
        config = self._settings.config()
        timeouts = as_timeouts(timeout) if timeout is not UNSET else config.timeouts or Timeouts()
        request = override(request, **overrides)
        session = self._session(config)
        wait_s = DISCOVERY_S if deadline is None else min(DISCOVERY_S, deadline)
        model = request.model or self._resolve_model(request.tier, wait_s)
        chat = self._dialect.as_chat(request) if isinstance(request, CompletionRequest) else request
        call = self._dialect.chat_call(chat, model, stream)
        return session, call, Plan(config, timeouts, None if deadline is None else Deadline(deadline, started))

    def _cache(self, eager: bool) -> ModelCache:
        """The models of the server as it is set now; where they are missing, their discovery is under way."""
        config = self._settings.config()
        session = self._session(config)
        # With the settings of now: a token that is set later may be for another server.
        session.cache.ensure(functools.partial(self._list_models, DISCOVERY_S, session, config), eager)
        return session.cache

    def _session(self, config: Config) -> Session:
        """The session with the server as it is set now: another URL, or another process, has another."""
        with self._own_lock():
            self._check_open()
            session = self._current
            if session is None or session.base_url != config.base_url.text:
                self._retire()
                url, arguments = config.base_url.text, self._arguments
                transport = Transport(url, arguments["http"], arguments["limits"], arguments["max_retries"])
                cache = ModelCache(arguments["models_ttl"], arguments["refresh"])
                session = self._current = Session(self._facts, url, transport, cache)
            return session

    def _own_lock(self) -> AbstractContextManager[bool]:
        """The lock of this process."""
        if self._pid != os.getpid():
            # Forked: the lock may be held by a thread that is not here, and the sockets are the parent's. The sessions
            # are kept, because letting go of them would close what the parent is using.
            self._inherited = [self._current, *self._retired]
            self._retired = weakref.WeakSet()
            self._pid, self._lock, self._current = os.getpid(), threading.RLock(), None
        return self._lock

    def _retire(self) -> None:
        if self._current is not None:
            self._current.retire()
            self._retired.add(self._current)
            self._current = None

    def _check_open(self) -> None:
        if self._closed:
            raise ProviderClosedError.before_call()

    @contextlib.contextmanager
    def _recording_failure(self, operation: str, call: Call, started: float) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            if not isinstance(error, ProviderError) or error.sent:
                self._record(operation, Completion("", call.model, call.model), started, status_of(error))
            raise

    def _record(self, operation: str, completion: Completion, started: float, status: str) -> None:
        if self._usage is None:
            return
        usage = completion.usage or Usage()
        record = UsageRecord(
            provider_id=self.id,
            model=completion.model,
            operation=operation,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            total_tokens=usage.total_tokens,
            duration_s=time.monotonic() - started,
            time_to_first_token_s=completion.stats.time_to_first_token_s,
            status=status,
            api_key_hash=self._api_key_hash,
            created_at=time.time(),
        )
        try:
            self._usage.record(record)
        except Exception:
            logger.exception("usage.record() failed; the call itself is not affected")


def _completion_request(request: object) -> CompletionRequest:
    if isinstance(request, CompletionRequest):
        return request
    if isinstance(request, str):
        return CompletionRequest(request)
    raise InvalidRequestError(
        f"complete() got {type(request).__name__}, not a text or a CompletionRequest",
        hint="chat() takes messages",
    )


def _chat_request(request: Any) -> ChatRequest:
    return request if isinstance(request, ChatRequest) else ChatRequest(request)
