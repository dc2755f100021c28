"""The base class of all providers."""

from __future__ import annotations

import contextlib
import math
import time
from abc import ABC, abstractmethod
from typing import Any, Callable, Iterable, Literal, Mapping, Sequence, TypeVar, overload

from .._core.errors import (
    ConfigurationError,
    InvalidRequestError,
    ProviderClosedError,
    ProviderError,
    RequestTimeoutError,
    ServerUnavailableError,
)
from .._core.options import Unpack, show_options
from .._core.overrides import (
    LIMITS,
    ChatOverrides,
    CompletionOverrides,
    Overrides,
    StreamOverrides,
    TypedChatOverrides,
    TypedCompletionOverrides,
)
from .._core.requests import (
    ChatInput,
    ChatRequest,
    CompletionInput,
    CompletionRequest,
    StreamInput,
    TextInput,
    ToolLoopRequest,
    chat_request,
    check_name,
    completion_request,
)
from .._core.types import (
    UNSET,
    Capabilities,
    Chunk,
    Completion,
    Embeddings,
    Health,
    ModelInfo,
    Timeout,
    Unset,
    check_seconds,
)
from .._dialects.tool_text import take_calls, warn_of_lost_calls
from .health import health_from_error, health_from_models, with_advice
from .stream import Stream
from .truncation import contexts_of

with contextlib.suppress(ImportError):  # a vendored copy may leave them out
    from .._core.decisions import Answer, Decisions, Question
    from .._core.images import Image

_Self = TypeVar("_Self", bound="Provider")
_Parsed = TypeVar("_Parsed")
_Method = TypeVar("_Method", bound=Callable[..., Any])

# Seconds that one look at a server that is being started takes at most, and seconds between two looks.
_LOOK_S = 3.0
_PAUSE_S = 0.1


def typed_as(method: _Method) -> Callable[[Callable[..., Any]], _Method]:
    """Have type checkers read the overloads of ``method``, which the decorated one overrides."""
    return lambda own: own  # type: ignore[return-value]


@show_options(CompletionRequest)
class Provider(ABC):
    """A server with models. Threads can share a provider; it is a context manager that closes itself.

    Every call raises ProviderError: ServerUnavailableError, RequestTimeoutError, ProtocolError or a StatusError if it
    fails on the way, InvalidRequestError or ConfigurationError if it cannot work, and ProviderClosedError after
    ``close()``.

    Keyword arguments of a call are any fields of its request, plus ``timeout`` (the longest silence, in seconds or
    as Timeouts) and ``deadline`` (for the whole call, in seconds). They hold for this call only.

    To write a provider, derive a class and define ``id``, ``display_name``, ``base_url``, ``capabilities`` and
    ``chat``. The other methods have defaults that use these, or raise InvalidRequestError.
    """

    id: str
    """The name of the provider in code, such as "lm-studio"."""
    display_name: str
    """The name of the provider for people, such as "LM Studio (Local)"."""

    @property
    @abstractmethod
    def base_url(self) -> str:
        """The origin in use, with the prefix of a reverse proxy if there is one, without ``/v1`` or a final slash."""

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """The abilities of the provider, and the ids of the models in the cache."""

    def capabilities_for(self, model: str | None = None) -> Capabilities:
        """Return the abilities of ``model``, by default of the one that a call without ``model`` uses.

        Waits for a discovery that is under way. An ability that is not known is None, and ``models`` is empty if the
        model is not known at all.
        """
        return self.capabilities

    def refresh_models(self, timeout: float | None = 3.0) -> bool:
        """Ask the server for its models now, within ``timeout`` seconds; return False if that failed."""
        try:
            self.list_models(timeout)
        except (ConfigurationError, ProviderClosedError):
            raise
        except ProviderError:
            return False
        return True

    def list_models(self, timeout: Timeout | Unset = UNSET) -> list[ModelInfo]:
        """Ask the server for its models now; wait 3 s if no timeout is set, here or for the provider."""
        return [ModelInfo(id_) for id_ in self.capabilities.models]

    def is_configured(self) -> bool:
        """Return True if the cache holds at least one model; never wait."""
        return bool(self.capabilities.models)

    def wait_until_configured(self, timeout: float | None = 3.0) -> bool:
        """Wait for the discovery that is under way, then return ``is_configured()``."""
        return self.is_configured()

    def resolve_model(self, tier: str | None = None) -> str:
        """Return the model that a call without ``model`` uses."""
        return next(iter(self.capabilities.models), "local-model")

    def reset_client(self) -> None:  # noqa: B027 (not abstract: a provider may have nothing to forget)
        """Forget the models and close the idle connections; the next use starts afresh."""

    def health_check(self, timeout: float | None = 3.0) -> Health:
        """Return the health of the server now; ``error`` is what other calls would raise, ``advice`` what to do."""
        started, models = time.monotonic(), None
        try:
            models = self.list_models(timeout)
        except (ConfigurationError, ProviderClosedError):
            raise
        except ProviderError as error:
            health = health_from_error(error, time.monotonic() - started)
        else:
            health = health_from_models(models, time.monotonic() - started)
        return with_advice(self._identified(health, models, started, timeout), models)

    def wait_until_ready(self, timeout: float | None = 30.0) -> Health:
        """Wait until the server, which is being started, lists its models; return its health.

        Raises the error of the last health check if the server does not answer within ``timeout`` seconds; an error
        that waiting does not mend, such as AuthenticationError, is raised at once.
        """
        check_seconds("timeout", timeout)
        end = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            health = self.health_check(min(_LOOK_S, max(_PAUSE_S, end - time.monotonic())))
            error = health.error
            if error is None:
                return health
            starting = isinstance(error, (ServerUnavailableError, RequestTimeoutError))
            starting = starting or getattr(error, "status", None) in (502, 503, 504)  # a proxy before the server
            left = end - time.monotonic()
            if not starting or left <= 0:
                raise error
            time.sleep(min(_PAUSE_S, left))  # a server that starts gives no sign that could be waited for

    def _identified(
        self, health: Health, models: list[ModelInfo] | None, started: float, timeout: float | None
    ) -> Health:
        """Return ``health`` with the kind of the server; ``timeout`` holds since ``started``."""
        return health

    @overload
    def complete(
        self, request: CompletionInput, *, response_format: type[_Parsed], **overrides: Unpack[TypedCompletionOverrides]
    ) -> Completion[_Parsed]: ...

    @overload
    def complete(self, request: CompletionInput, **overrides: Unpack[CompletionOverrides]) -> Completion: ...

    def complete(self, request: CompletionInput, **overrides: Unpack[CompletionOverrides]) -> Completion:
        """Answer one text: ``request`` is the text or a CompletionRequest, whose fields can be given by name.

        ``timeout``, ``deadline`` and ``ttl`` are in seconds. Fields that are not given are those of the request.
        """
        limits: Any = {name: value for name, value in overrides.items() if name in LIMITS}
        return self.chat(ChatRequest.from_input(completion_request(request), **overrides), **limits)

    @overload
    @abstractmethod
    def chat(
        self, request: ChatInput, *, response_format: type[_Parsed], **overrides: Unpack[TypedChatOverrides]
    ) -> Completion[_Parsed]: ...

    @overload
    @abstractmethod
    def chat(self, request: ChatInput, **overrides: Unpack[ChatOverrides]) -> Completion: ...

    @abstractmethod
    def chat(self, request: ChatInput, **overrides: Unpack[ChatOverrides]) -> Completion:
        """Answer a conversation: ``request`` is its messages (Message, or dicts in OpenAI's form) or a ChatRequest.

        A text is a conversation of one message of the user. Options are given by name as in ``complete``.
        """

    def complete_text(self, request: TextInput, **overrides: Unpack[Overrides]) -> Completion:
        """Continue a text without a chat template, for base models. ``request`` is the text or a TextRequest.

        ``text`` is the continuation, without the prompt. For a stream, give a TextRequest to ``stream``.
        """
        raise InvalidRequestError(f"{self.display_name} does not complete texts", hint="complete() answers them")

    @overload
    def stream(
        self,
        request: StreamInput,
        on_chunk: None = None,
        *,
        response_format: type[_Parsed],
        **overrides: Unpack[TypedCompletionOverrides],
    ) -> Stream[_Parsed]: ...

    @overload
    def stream(
        self,
        request: StreamInput,
        on_chunk: Callable[[Chunk], object],
        *,
        response_format: type[_Parsed],
        **overrides: Unpack[TypedCompletionOverrides],
    ) -> Completion[_Parsed]: ...

    @overload
    def stream(self, request: StreamInput, on_chunk: None = None, **overrides: Unpack[StreamOverrides]) -> Stream: ...

    @overload
    def stream(
        self, request: StreamInput, on_chunk: Callable[[Chunk], object], **overrides: Unpack[StreamOverrides]
    ) -> Completion: ...

    def stream(
        self,
        request: StreamInput,
        on_chunk: Callable[[Chunk], object] | None = None,
        **overrides: Unpack[StreamOverrides],
    ) -> Stream | Completion:
        """Answer piece by piece. The request is sent when this returns.

        With ``on_chunk``, call it for every piece, the last with ``done=True``, and return the whole reply. What
        ``on_chunk`` raises closes the stream and reaches the caller.
        """
        return self._stream_any(request, on_chunk, dict(overrides))

    def _stream_any(
        self, request: Any, on_chunk: Callable[[Chunk], object] | None, overrides: dict[str, Any]
    ) -> Stream | Completion:
        raise InvalidRequestError(f"{self.display_name} does not stream", hint="chat() answers in one piece")

    @overload
    def complete_with_tools(
        self, request: ChatInput, *, response_format: type[_Parsed], **overrides: Unpack[TypedChatOverrides]
    ) -> Completion[_Parsed]: ...

    @overload
    def complete_with_tools(self, request: ChatInput, **overrides: Unpack[ChatOverrides]) -> Completion: ...

    def complete_with_tools(self, request: ChatInput, **overrides: Unpack[ChatOverrides]) -> Completion:
        """Answer a conversation and offer tools; ``tool_calls`` are the calls that the model asks for.

        A call that came as text is one of them if it is all of the text and fits a tool; ``text`` is then "". A
        ToolCallWarning says that a call seems to be lost.
        """
        limits: Any = {name: value for name, value in overrides.items() if name in LIMITS}
        chat = ToolLoopRequest.of(ChatRequest.from_input(chat_request(request), **overrides))
        completion = take_calls(self.chat(chat, **limits), chat.tools)
        warn_of_lost_calls(completion, chat.tools, chat.max_tokens)
        return completion

    def embed(
        self,
        texts: str | Iterable[str],
        model: str | None = None,
        *,
        num_ctx: int | None = None,
        keep_alive: float | str | None = None,
        on_truncation: Literal["warn", "error", "ignore"] = "warn",
        timeout: Timeout | Unset = UNSET,
        deadline: float | Unset | None = UNSET,
    ) -> Embeddings:
        """Turn texts into vectors, in requests of at most 64; ``vectors[i]`` belongs to the i-th text.

        Without ``model``, this uses the setting for the tier "embedding", else the first embedding model of the server.
        ``num_ctx`` and ``keep_alive`` are for Ollama only, as in a request. If a request in the middle fails, its error
        is raised and no vectors are returned.

        ``on_truncation`` says what to do if texts do not fit into the model's context. With "warn", the server embeds
        as much of each as fits, a TruncationWarning is issued, and ``truncated`` has the positions; "error" raises
        ContextLengthError with ``positions``; "ignore" does not check. Ollama refuses a batch without saying which text
        is too long, so smaller batches are sent until that is known. LM Studio refuses nothing, so the least number of
        tokens that a text can have is compared with the context in the list of models: a cut may be missed, but no
        warning is wrong.
        """
        raise InvalidRequestError(f"{self.display_name} does not embed")

    def decide(
        self,
        state: str | Mapping[str, Any],
        questions: Mapping[str, Question[Answer]],
        model: str | None = None,
        *,
        images: Image | Sequence[Image] = (),
        timeout: Timeout | Unset = UNSET,
        deadline: float | Unset | None = UNSET,
    ) -> Decisions[Answer]:
        """Answer questions about ``state``, a text or a JSON object, with a decision model, which writes no text.

        ``questions`` are Condition, Choice and Score, by ids of your own; the answers have the same ids. ``images`` are
        as in ``Message.user``, and only some models read them, such as clef. Without ``model``, this uses the setting
        for the tier "decision", else the first decision model of the server, loaded ones first, and never a model that
        chats (LM Studio; Ollama 0.35).
        """
        raise InvalidRequestError(f"{self.display_name} does not decide")

    def count_tokens(self, request: StreamInput, **overrides: Unpack[StreamOverrides]) -> int:
        """Return the tokens of a prompt, with its template and tools, as the server counts them.

        ``request`` and options are those of ``stream``. LM Studio and Ollama have no endpoint for it, so this asks for
        a reply of one token: it takes the time to read the prompt, which stays cached for the call itself. A prompt
        that does not fit into the context is counted if the server's refusal says how long it is; else this raises
        ContextLengthError. Raises ProtocolError if the server does not report the count.
        """
        raise InvalidRequestError(f"{self.display_name} does not count tokens")

    def context_length(self, model: str | None = None, *, timeout: Timeout | Unset = UNSET) -> int | None:
        """Return the tokens that the context of ``model`` holds, as the server's list of models has it now.

        The default is the model that a call without ``model`` uses. If several instances are loaded, this returns the
        smallest context; with Ollama, ``num_ctx`` of the provider if that is set. Returns None if the model is not
        loaded, or if the server does not report its context.
        """
        check_name("model", model)
        return min(contexts_of(self.list_models(timeout), model or self.resolve_model()), default=None)

    def close(self) -> None:  # noqa: B027 (not abstract: a provider may have nothing to release)
        """Release the sockets and join the thread; calls under way end. The provider cannot be used afterwards."""

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
