"""Everything that can go wrong, one class by meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Sequence
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from .types import Completion, Progress
else:  # typing.get_type_hints needs the names, and their module imports this one
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
    """True if any byte of the request was sent. If it is False, a retry cannot generate twice."""
    partial: Completion | None = None
    """The reply so far, if the error ended a stream."""
    progress: Progress | None = None
    """The progress so far, if the error ended a download."""
    messages: Sequence[Any] | None = None
    """The conversation so far, if the error ended ``run_tools``."""

    def __init__(self, message: str, **data: Any) -> None:
        # One positional argument, all else in __dict__: so pickle can rebuild it in a process pool.
        super().__init__(message)
        for name in data:
            if not hasattr(self, name):
                raise TypeError(f"{type(self).__name__}() got an unexpected keyword argument {name!r}")
        self.message = message
        self.__dict__.update(data)

    def __str__(self) -> str:
        where = f"{self.method} {urlsplit(self.url).path}: " if self.method and self.url else ""
        return f"{where}{self.message}. {self.hint}" if self.hint else f"{where}{self.message}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


# The most characters of a text in a repr of one line.
SHORT = 42


def class_and_text(error: object) -> str:
    """Return the class of ``error``, an exception of the user or of another library, and its text."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # its __str__ may be broken, too
        return type(error).__name__


def preview(value: object, most: int = 200) -> str:
    """Return the repr of ``value`` for a message or another repr: of at most ``most`` characters, and then closed."""
    try:
        text = repr(value[: most + 1] if isinstance(value, str) else value)
    except ValueError:  # Python does not write a number of thousands of digits
        return f"<{type(value).__name__}>"
    return text if len(text) <= most else f"{text[:most]}…{text[-1]}"


class ConfigurationError(ProviderError):
    """A setting or an argument that cannot work; the message names it, its source and, unless secret, its value."""


class ServerUnavailableError(ProviderError):
    """No server answers: it refused, cannot be reached, is not known, or hung up before it answered."""

    refused: bool = False
    """True if the connection was refused, so that an immediate retry does not help."""
    answered: bool = False
    """True if a server answered, but no connection could be agreed on: its certificate is not trusted, for example."""
    proxy: str | None = None
    """The URL of the proxy, if the proxy cannot be reached or did not connect to the server."""


class RequestTimeoutError(ProviderError):
    """The server was silent for longer than ``timeout``, or the whole call took longer than ``deadline``."""

    limit: Literal["connect", "first_byte", "idle", "deadline", ""] = ""
    """The limit that ran out; "" if it is not known."""
    waited_s: float = 0.0
    """How long the client waited, in seconds."""
    received: bool = False
    """True if any byte of the reply had come."""


class StreamInterruptedError(ProviderError):
    """The stream broke, or stopped before its end; ``partial`` is the reply so far."""

    partial: Completion


class ProtocolError(ProviderError):
    """The reply does not follow the API: it is not JSON, a redirect, an empty stream, or over a limit."""


class ProviderClosedError(ProviderError):
    """The provider was closed before this call, or during it."""

    @classmethod
    def during_call(cls) -> ProviderClosedError:
        """Return the error of a call that was under way."""
        return cls("the provider was closed while the call was under way", hint=_KEEP_OPEN, sent=True)

    @classmethod
    def before_call(cls) -> ProviderClosedError:
        """Return the error of a call that came too late."""
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
    """The answer as the model wrote it, or the reasoning if the answer is empty."""
    path: str = "$"
    """The place of the first error, such as ``$.days[2].sky``; ``$`` is the whole answer."""


class DownloadError(ProviderError):
    """A download failed or was paused, as ``progress.status`` says."""

    progress: Progress
    job_id: str | None = None
    """The id of the download, for ``Download.resume``."""


class ModelMismatchWarning(RuntimeWarning):
    """Another model answered than the one that was asked for."""


class EmptyAnswerWarning(RuntimeWarning):
    """The answer is empty: the model wrote only thoughts, or ``max_tokens`` were used up before any text came."""


class ReasoningWarning(RuntimeWarning):
    """Reasoning was to be off, and the model sent thoughts; the message says what works."""


class TruncationWarning(RuntimeWarning):
    """A prompt, or a text to embed, did not fit into the model's context, and the server cut it."""


class ToolCallWarning(RuntimeWarning):
    """A tool call was not made, or a part of it was lost; the message says which, and what to do."""


class ConversationLostWarning(RuntimeWarning):
    """The server does not keep conversations: the model did not see the one of ``previous_response_id``."""


class _Answered(ProviderError):
    status: int | None = None
    """The HTTP status, which may be 200: a server can report an error in a stream, or under 200."""
    code: str | None = None
    """The server's own code for the error, if it gave one."""
    param: str | None = None
    """The parameter that the server refused, if it named one."""
    body: str | None = None
    """The body of the answer, or of the stream's error event, without secrets."""
    retry_after_s: float | None = None
    """How long the server asks to wait before a retry, in seconds."""


class InvalidRequestError(_Answered):
    """The request cannot work: refused before sending (``status`` is None), or by the server."""


class StatusError(_Answered):
    """The server answered with an error."""


class AuthenticationError(StatusError):
    """The API token, or the name and password, are missing or wrong, or lack a permission."""

    token_source: str | None = None
    """Where the token came from, such as "the argument api_token"; None if none was sent."""
    wants_password: bool = False
    """True if the server, such as a reverse proxy, wants a name and a password, and not an API token."""


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
    """The version of the server that introduced the endpoint, if that is known."""


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
