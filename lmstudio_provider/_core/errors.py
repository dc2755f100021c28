"""Everything that can go wrong, one class by meaning.

ProviderError
├── ConfigurationError         a setting or an argument that cannot work
├── InvalidRequestError        refused before sending, or by the server (HTTP 400, 413, 422)
├── ServerUnavailableError     nobody answered
├── RequestTimeoutError        ``timeout`` or ``deadline`` ran out
├── StreamInterruptedError     the stream broke, or stopped before its end
├── ProtocolError              the reply is not what the API promises
├── ProviderClosedError        the provider was used after ``close()``
├── ToolArgumentsError         a tool call's arguments are not a JSON object
├── StructuredOutputError      the answer is not what ``response_format`` asked for
├── DownloadError              a download failed, or was paused
└── StatusError                any other error that the server answered with
    ├── AuthenticationError
    ├── ModelNotFoundError
    ├── NoModelLoadedError
    ├── ContextLengthError
    ├── RateLimitError
    ├── EndpointNotFoundError
    ├── ResponseNotFoundError  ``previous_response_id`` is not known, or no longer
    ├── JobNotFoundError       the download is not known
    └── ServerError            the server failed
        ├── ModelLoadError     to load the model
        ├── ModelCrashedError  in the model's engine
        └── ModelUnloadedError because the model was unloaded while it worked
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Sequence
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from .types import Completion, Progress
else:  # where typing.get_type_hints looks for them; they are made of what is here
    Completion = Progress = Any


class ProviderError(Exception):
    """The base of every error of this package; ``str()`` says what happened, where, and what to do next."""

    message: str
    """What happened."""
    hint: str = ""
    """What to do next, as a sentence; may be empty."""
    provider: str | None = None
    """The ``id`` of the provider, such as "lm-studio"."""
    method: str | None = None
    """The HTTP method of the call; None if no call was under way."""
    url: str | None = None
    """The URL of the call, without userinfo; None if no call was under way."""
    sent: bool = False
    """Whether any byte of the request went out. False means that asking again cannot generate twice."""
    partial: Completion | None = None
    """The reply so far, if the error ended a stream."""
    progress: Progress | None = None
    """The progress so far, if the error ended a download."""
    messages: Sequence[Any] | None = None
    """The conversation so far, if the error ended ``run_tools``."""

    def __init__(self, message: str, **data: Any) -> None:
        # One positional argument, all else in __dict__: so pickle can rebuild it in a process pool.
        super().__init__(message)
        self.message = message
        self.__dict__.update(data)

    def __str__(self) -> str:
        where = f"{self.method} {urlsplit(self.url).path}: " if self.method and self.url else ""
        return f"{where}{self.message}. {self.hint}" if self.hint else f"{where}{self.message}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


def preview(value: object) -> str:
    """Return ``value`` as a message quotes it: a long one is cut."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write a number of thousands of digits
        return f"<{type(value).__name__}>"
    return text if len(text) <= 200 else f"{text[:200]}…"


class ConfigurationError(ProviderError):
    """A setting or an argument that cannot work; the message names it, its source and, unless secret, its value."""


class ServerUnavailableError(ProviderError):
    """No server answers: it refused, is unreachable, is not known, or hung up before it answered."""

    refused: bool = False
    """True if the connection was refused, so that a retry at once does not help."""
    answered: bool = False
    """True if a server answered, but no connection could be agreed on: its certificate is not trusted, for example."""
    proxy: str | None = None
    """The URL of the proxy that could not be reached, or did not connect to the server; None if no proxy failed."""


class RequestTimeoutError(ProviderError):
    """The server was silent for longer than ``timeout``, or the whole call took longer than ``deadline``."""

    limit: str = ""
    """Which limit it was: "connect", "first_byte", "idle" or "deadline"."""
    waited_s: float = 0.0
    """How long the client waited, in seconds."""
    received: bool = False
    """True if any byte of the reply had come."""


class StreamInterruptedError(ProviderError):
    """The stream broke, or ended without its end; ``partial`` is the reply as far as it came."""

    partial: Completion


class ProtocolError(ProviderError):
    """The reply is not what the API promises: it is not JSON, a redirect, an empty stream, or over a limit."""


class ProviderClosedError(ProviderError):
    """The provider was closed before, or during, this call."""

    @classmethod
    def during_call(cls) -> ProviderClosedError:
        """The error of a call that was under way."""
        return cls("the provider was closed while the call was under way", hint=_KEEP_OPEN, sent=True)

    @classmethod
    def before_call(cls) -> ProviderClosedError:
        """The error of a call that came too late."""
        return cls("the provider was closed before this call", hint=_KEEP_OPEN)


_KEEP_OPEN = "Read streams to their end before close(), or before the with block of the provider ends"


class ToolArgumentsError(ProviderError):
    """The arguments of a tool call are not a JSON object."""

    raw_arguments: str = ""
    """The arguments as the model wrote them."""


class StructuredOutputError(ProviderError):
    """The answer is not what ``response_format`` asked for; ``partial`` is the whole completion."""

    partial: Completion
    text: str = ""
    """What the model wrote: the answer, or the reasoning if the answer is empty."""
    path: str = "$"
    """Where the first misfit is, such as ``$.days[2].sky``; ``$`` is the whole."""


class DownloadError(ProviderError):
    """A download failed, or was paused; ``progress.status`` says which, and ``progress`` how far it came."""

    progress: Progress
    job_id: str | None = None
    """What ``Download.resume`` takes."""


class ModelMismatchWarning(RuntimeWarning):
    """A model answered that was not asked for."""


class EmptyAnswerWarning(RuntimeWarning):
    """The answer is empty, because ``max_tokens`` were used up before it began, mostly by reasoning."""


class TruncationWarning(RuntimeWarning):
    """A prompt, or a text to embed, did not fit into the model's context, and the server cut it."""


class ToolCallWarning(RuntimeWarning):
    """A tool call was not made, or came in a way that loses something; the message says which and what to do."""


class ConversationLostWarning(RuntimeWarning):
    """The server keeps no conversations: the model did not see what ``previous_response_id`` was to continue."""


class _Answered(ProviderError):
    status: int | None = None
    """The HTTP status, which may be 200: a server can report an error in a stream, or under 200."""
    code: str | None = None
    """The server's own code for the error, if it gave one."""
    param: str | None = None
    """The parameter that the server complains about, if it named one."""
    body: str | None = None
    """The body of the answer, or of the stream's error event, with secrets cut out."""
    retry_after_s: float | None = None
    """How long the server asks to wait before a retry, in seconds."""


class InvalidRequestError(_Answered):
    """The request cannot work: refused before sending (``status`` is None), or by the server."""


class StatusError(_Answered):
    """The server answered with an error."""


class AuthenticationError(StatusError):
    """The API token, or the name and password, are missing, wrong, or lack a permission."""

    token_source: str | None = None
    """Where the token came from, such as "the argument api_token"; None if none was sent."""
    wants_password: bool = False
    """True if a name and a password are missing or wrong, as with a reverse proxy, and not an API token."""


class ModelNotFoundError(StatusError):
    """The server does not know the model that was asked for."""

    model: str | None = None
    """The model that was asked for."""
    near: tuple[str, ...] = ()
    """The ids of the models that may have been meant."""


class NoModelLoadedError(StatusError):
    """The server has no model loaded, and does not load one by itself."""


class ContextLengthError(StatusError):
    """The prompt, or the prompt and the reply, or a text to embed, do not fit into the model's context."""

    prompt_tokens: int | None = None
    """Tokens of the prompt, if the server reports them."""
    context_length: int | None = None
    """Tokens that the context can hold, if the server reports them."""
    positions: tuple[int, ...] = ()
    """The positions of the texts to embed that are known not to fit."""


class RateLimitError(StatusError):
    """Too many requests."""


class EndpointNotFoundError(StatusError):
    """The server does not know this method and path."""

    since: str | None = None
    """The version of LM Studio that introduced it, if that is known."""


class ResponseNotFoundError(StatusError):
    """The server does not know the ``previous_response_id``: that reply was not stored, or has been deleted."""


class JobNotFoundError(StatusError):
    """The server does not know the download."""


class ServerError(StatusError):
    """The server failed: the model could not be loaded, crashed, or was unloaded, or any HTTP 5xx."""


class ModelLoadError(ServerError):
    """The model could not be loaded."""


class ModelCrashedError(ServerError):
    """The engine that ran the model died, or did not start."""


class ModelUnloadedError(ServerError):
    """The model was unloaded while it worked: by a time to live, by auto-evict, or by a person."""
