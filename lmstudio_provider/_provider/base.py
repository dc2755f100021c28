"""What every provider can do."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Callable, Iterable, Literal, TypeVar, overload

from .._core.errors import ConfigurationError, InvalidRequestError, ProviderClosedError, ProviderError
from .._core.options import Unpack, show_options
from .._core.overrides import LIMITS, ChatOverrides, CompletionOverrides, Overrides, StreamOverrides
from .._core.requests import (
    ChatInput,
    ChatRequest,
    CompletionInput,
    CompletionRequest,
    StreamInput,
    TextInput,
    ToolLoopRequest,
    chat_request,
    completion_request,
)
from .._core.types import UNSET, Capabilities, Chunk, Completion, Embeddings, Health, ModelInfo, Timeout, Unset
from .._dialects.tool_text import take_calls, warn_of_lost_calls
from .diagnosis import health_from_error, of_models, with_advice
from .stream import Stream

_Self = TypeVar("_Self", bound="Provider")


@show_options(CompletionRequest)
class Provider(ABC):
    """A server with models. Shared freely between threads, and a context manager that closes itself.

    Every call raises ProviderError: ServerUnavailableError, RequestTimeoutError, ProtocolError or a StatusError for
    what happened on the way, InvalidRequestError and ConfigurationError for what cannot work, and
    ProviderClosedError after ``close()``.

    Keyword arguments of a call are any fields of its request, plus ``timeout`` (the longest silence, in seconds or
    as Timeouts) and ``deadline`` (for the whole call, in seconds); they hold for this call alone.

    A provider of one's own needs ``id``, ``display_name``, ``base_url``, ``capabilities`` and ``chat``; the rest has
    defaults, which make what they can of these, or refuse.
    """

    #: What the provider is called in code, such as "lm-studio", and to people.
    id: str
    display_name: str

    @property
    @abstractmethod
    def base_url(self) -> str:
        """The origin in use, with the prefix of a reverse proxy, without ``/v1`` and a slash at its end."""

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What can be done, and the ids of the models in the cache."""

    def capabilities_for(self, model: str | None = None) -> Capabilities:
        """What ``model`` can do, by default the one that a call without ``model`` asks for.

        Waits for a discovery that is under way; what is not known is None, and ``models`` is empty where the model is
        not known at all.
        """
        return self.capabilities

    def refresh_models(self, timeout: float | None = 3.0) -> bool:
        """Ask the server for its models now, in ``timeout`` seconds; False where they could not be had."""
        try:
            self.list_models(timeout)
        except (ConfigurationError, ProviderClosedError):
            raise
        except ProviderError:
            return False
        return True

    def list_models(self, timeout: Timeout | Unset = UNSET) -> list[ModelInfo]:
        """Ask the server for its models now; waits 3 s where no timeout is set, here or for the provider."""
        return [ModelInfo(id_) for id_ in self.capabilities.models]

    def is_configured(self) -> bool:
        """Whether the cache holds at least one model; never waits."""
        return bool(self.capabilities.models)

    def wait_until_configured(self, timeout: float | None = 3.0) -> bool:
        """Wait for the discovery that is under way, then tell ``is_configured()``."""
        return self.is_configured()

    def resolve_model(self, tier: str | None = None) -> str:
        """The model that a call without ``model`` asks for."""
        return next(iter(self.capabilities.models), "local-model")

    def reset_client(self) -> None:  # noqa: B027 (there may be nothing to forget)
        """Forget the models and close the idle connections; the next use starts afresh."""

    def health_check(self, timeout: float | None = 3.0) -> Health:
        """How the server is now: what other calls would raise is in ``error``, and what to do in ``advice``."""
        started, models = time.monotonic(), None
        try:
            models = self.list_models(timeout)
        except (ConfigurationError, ProviderClosedError):
            raise
        except ProviderError as error:
            health = health_from_error(error, time.monotonic() - started)
        else:
            health = of_models(models, time.monotonic() - started)
        return with_advice(self._identified(health, models, started, timeout), models)

    def _identified(
        self, health: Health, models: list[ModelInfo] | None, started: float, timeout: float | None
    ) -> Health:
        """``health`` with what kind of server it is; of ``timeout`` there is left what has not passed since."""
        return health

    def complete(self, request: CompletionInput, **overrides: Unpack[CompletionOverrides]) -> Completion:
        """Answer one text: ``request`` is the text, or a CompletionRequest, whose fields can be given by name.

        ``timeout``, ``deadline`` and ``ttl`` are in seconds. Fields that are not given are those of the request.
        """
        limits: Any = {name: value for name, value in overrides.items() if name in LIMITS}
        return self.chat(ChatRequest.from_input(completion_request(request), **overrides), **limits)

    @abstractmethod
    def chat(self, request: ChatInput, **overrides: Unpack[ChatOverrides]) -> Completion:
        """Answer a conversation: ``request`` is its messages (Message, or dicts in OpenAI's form), or a ChatRequest.

        A text is a conversation of one message of the user. Options go by name as in ``complete``.
        """

    def complete_text(self, request: TextInput, **overrides: Unpack[Overrides]) -> Completion:
        """Go on with a text, without a chat template: for base models. ``request`` is the text, or a TextRequest.

        ``text`` is what comes after the prompt. For a stream give a TextRequest to ``stream``.
        """
        raise InvalidRequestError(f"{self.display_name} does not complete texts", hint="complete() answers them")

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

        With ``on_chunk``, that is called for every piece, the last with ``done=True``, and the whole reply returned.
        What ``on_chunk`` raises closes the stream and reaches the caller.
        """
        raise InvalidRequestError(f"{self.display_name} does not stream", hint="chat() answers in one piece")

    def complete_with_tools(self, request: ChatInput, **overrides: Unpack[ChatOverrides]) -> Completion:
        """Answer a conversation in which tools are offered; ``tool_calls`` is what the model wants called.

        A call that came as text is among them if it is all of the text and fits a tool; ``text`` is then "". A
        ToolCallWarning says that a call seems to be lost.
        """
        limits: Any = {name: value for name, value in overrides.items() if name in LIMITS}
        chat = ToolLoopRequest.of(ChatRequest.from_input(chat_request(request), **overrides))
        completion = take_calls(self.chat(chat, **limits), chat.tools)
        warn_of_lost_calls(completion, bool(chat.tools), chat.max_tokens)
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

        Without ``model`` it is the setting for the tier "embedding", else the first embedding model of the server.
        ``num_ctx`` and ``keep_alive`` are Ollama's alone, as in a request. An error in the middle is raised, and no
        vectors are returned.

        ``on_truncation`` says what to do if texts do not fit into the model's context. "warn" has the server embed as
        much of each as fits, gives a TruncationWarning, and has the positions in ``truncated``; "error" raises
        ContextLengthError with ``positions``; "ignore" does not look. Ollama refuses a batch without saying which text
        it is, so smaller batches are sent until that is known. LM Studio refuses nothing, so each text is compared with
        the context in the list of models, by the tokens that it has at least: a cut may be missed, no warning is wrong.
        """
        raise InvalidRequestError(f"{self.display_name} does not embed")

    def close(self) -> None:  # noqa: B027 (there may be nothing to release)
        """Release the sockets and join the thread; calls under way end. Again is fine, using the provider is not."""

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
