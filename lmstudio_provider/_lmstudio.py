"""LM Studio."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import time
from typing import TYPE_CHECKING, Any, Callable, Mapping, TypeVar, overload

from ._core.errors import (
    AuthenticationError,
    ConfigurationError,
    InvalidRequestError,
    ProtocolError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
    StatusError,
)
from ._core.options import Unpack, show_options
from ._core.overrides import ResponsesOverrides, StreamOverrides, TypedResponsesOverrides
from ._core.requests import (
    ChatRequest,
    CompletionRequest,
    DialectInput,
    ResponsesRequest,
    chat_request,
    completion_request,
    override,
)
from ._core.types import Chunk, Completion, Health, ModelInfo
from ._dialects import lmstudio
from ._dialects.lmstudio_errors import TABLE
from ._http.exchange import Deadline
from ._provider.health import not_lm_studio
from ._provider.http_provider import Caller
from ._provider.lmstudio_server import LMStudioServer
from ._provider.stream import Stream

if TYPE_CHECKING:
    from ._native.native import Native

_Parsed = TypeVar("_Parsed")

# Seconds that a health check waits at most for LM Studio's version.
_VERSION_S = 0.5

# A vendored copy of the package may leave these modules out.
_OPTIONAL = {
    "native": "_native.native",
    "responses": "_dialects.responses",
    "messages": "_dialects.messages",
    "home": "_provider.lmstudio_home",
}


@show_options(ResponsesRequest)
class LMStudioProvider(LMStudioServer):
    """LM Studio's local server, over its OpenAI-compatible endpoints; ``messages`` is Anthropic's, ``native`` its own.

    Without arguments it is the server at ``$LM_STUDIO_URL``, else at ``http://localhost:1234``.
    """

    def _identified(
        self, health: Health, models: list[ModelInfo] | None, started: float, timeout: float | None
    ) -> Health:
        if not health.reachable:
            return health
        if any((model.raw or {}).get("owned_by") == "library" for model in models or ()):  # so says Ollama
            return not_lm_studio(health, self.base_url, TABLE.other.hint)
        # Only LM Studio's own lists of models report which models are loaded.
        is_lm_studio = True if models and health.loaded is not None else None
        hint = "Check the address if it should be"
        left = None if timeout is None else timeout - (time.monotonic() - started)
        if is_lm_studio is None and (left is None or left > 0):
            session, options = self._for_call(left, left)
            asked = time.monotonic()
            try:
                is_lm_studio = session.ask(lmstudio.greeting_call(), options, lmstudio.is_greeting)
            except (StatusError, InvalidRequestError, ProtocolError) as error:
                # One that fails, or is too busy, may be anything.
                unknown = isinstance(error, (AuthenticationError, RateLimitError, ServerError))
                is_lm_studio, hint = None if unknown else False, error.hint or hint
            except (ServerUnavailableError, RequestTimeoutError):
                pass  # it has answered before, or the first error says why not
            else:
                health = dataclasses.replace(health, latency_s=time.monotonic() - asked)
        if is_lm_studio is False:
            return not_lm_studio(health, self.base_url, hint)
        version, now = None, time.monotonic()
        left = _VERSION_S if timeout is None else min(_VERSION_S, started + timeout - now)
        if is_lm_studio and left > 0 and self._parts["home"]:
            version = self._parts["home"].read_version(self.base_url, Deadline(left, now))
        return dataclasses.replace(health, is_lm_studio=is_lm_studio, version=version)

    def _prepare(self) -> None:
        # Imported here because a call imports nothing: a fork meanwhile could leave the child waiting for that import.
        self._parts = {name: _imported(module) for name, module in _OPTIONAL.items()}
        native = self._parts["native"]
        self._loads = native and native.Loads()

    def _part(self, name: str, kind: type[Exception] = ConfigurationError) -> Any:
        part = self._parts[name]
        if part is None:
            needs = _OPTIONAL[name].replace("_native.native", "_native")
            raise kind(f"{name!r} needs {needs!r}, which was left out of this copy of {__package__}")
        return part

    @property
    def native(self) -> Native:
        """LM Studio's own API: chats with progress and state, and loading, unloading and downloading models."""
        native: Native = self._part("native", AttributeError).Native(Caller(self), self._loads)  # as hasattr() expects
        return native

    @overload
    def responses(
        self, request: DialectInput, *, response_format: type[_Parsed], **overrides: Unpack[TypedResponsesOverrides]
    ) -> Completion[_Parsed]: ...

    @overload
    def responses(self, request: DialectInput, **overrides: Unpack[ResponsesOverrides]) -> Completion: ...

    def responses(self, request: DialectInput, **overrides: Unpack[ResponsesOverrides]) -> Completion:
        """Answer over OpenAI's ``/v1/responses``, whose server keeps the conversation (LM Studio 0.3.29).

        ``request`` is a text, messages, or a request of ``complete``, of ``chat``, or a ResponsesRequest. Options are
        ``model`` or ``tier``, ``max_tokens``, ``temperature``, ``top_p``, ``tools``, ``tool_choice``,
        ``response_format``, ``reasoning``, ``extra``, and ``previous_response_id`` (the ``id`` of a completion to go on
        from) and ``store``; any other raises InvalidRequestError.
        """
        given = _responses_request(request, overrides)
        return self._generate("responses", given, overrides, self._part("responses").DIALECT)

    @overload
    def responses_stream(
        self,
        request: DialectInput,
        on_chunk: None = None,
        *,
        response_format: type[_Parsed],
        **overrides: Unpack[TypedResponsesOverrides],
    ) -> Stream[_Parsed]: ...

    @overload
    def responses_stream(
        self,
        request: DialectInput,
        on_chunk: Callable[[Chunk], object],
        *,
        response_format: type[_Parsed],
        **overrides: Unpack[TypedResponsesOverrides],
    ) -> Completion[_Parsed]: ...

    @overload
    def responses_stream(
        self, request: DialectInput, on_chunk: None = None, **overrides: Unpack[ResponsesOverrides]
    ) -> Stream: ...

    @overload
    def responses_stream(
        self, request: DialectInput, on_chunk: Callable[[Chunk], object], **overrides: Unpack[ResponsesOverrides]
    ) -> Completion: ...

    def responses_stream(
        self,
        request: DialectInput,
        on_chunk: Callable[[Chunk], object] | None = None,
        **overrides: Unpack[ResponsesOverrides],
    ) -> Stream | Completion:
        """Answer as ``responses`` does, piece by piece; ``on_chunk`` is that of ``stream``."""
        given = _responses_request(request, overrides)
        return self._stream("responses", given, on_chunk, overrides, self._part("responses").DIALECT)

    def messages(self, request: DialectInput, **overrides: Unpack[StreamOverrides]) -> Completion:
        """Answer over Anthropic's ``/v1/messages`` (LM Studio 0.4.1).

        ``request`` is a text, messages, or a request of ``complete`` or of ``chat``. Options are ``model`` or ``tier``,
        ``max_tokens`` (which has to be a limit), ``temperature``, ``top_p``, ``top_k``, ``stop``, ``tools``,
        ``tool_choice``, ``reasoning`` ("off", "on", "low", "medium" or "high") and ``extra``; any other raises
        InvalidRequestError.
        """
        given = _chat(request, overrides)
        return self._generate("messages", given, overrides, self._part("messages").DIALECT)

    @overload
    def messages_stream(
        self, request: DialectInput, on_chunk: None = None, **overrides: Unpack[StreamOverrides]
    ) -> Stream: ...

    @overload
    def messages_stream(
        self, request: DialectInput, on_chunk: Callable[[Chunk], object], **overrides: Unpack[StreamOverrides]
    ) -> Completion: ...

    def messages_stream(
        self,
        request: DialectInput,
        on_chunk: Callable[[Chunk], object] | None = None,
        **overrides: Unpack[StreamOverrides],
    ) -> Stream | Completion:
        """Answer as ``messages`` does, piece by piece; ``on_chunk`` is that of ``stream``."""
        given = _chat(request, overrides)
        return self._stream("messages", given, on_chunk, overrides, self._part("messages").DIALECT)


@functools.cache  # each provider asks
def _imported(module: str) -> Any:
    """Return a module of this package, or None if it was left out."""
    name = f"{__package__}.{module}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not f"{name}.".startswith(f"{error.name}."):  # the module is there, and one that it needs is not
            raise
        return None


def _responses_request(request: Any, overrides: Mapping[str, Any]) -> ResponsesRequest:
    if isinstance(request, ResponsesRequest):
        return override(request, **overrides)
    # What only a text has goes into the chat, and the rest is checked by the request of this endpoint.
    own = {name: value for name, value in overrides.items() if name in ("system_prompt", "images")}
    chat = _chat(request, own)
    fields = {each.name: getattr(chat, each.name) for each in dataclasses.fields(ChatRequest)}
    return override(ResponsesRequest(**fields), **{name: overrides[name] for name in overrides if name not in own})


def _chat(request: Any, overrides: Mapping[str, Any]) -> ChatRequest:
    if isinstance(request, (str, CompletionRequest)):
        return completion_request(request, **overrides).as_chat()
    return chat_request(request, **overrides)
