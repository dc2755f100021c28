"""A record of each call, and what keeps the records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from .errors import ProviderClosedError, RequestTimeoutError, StreamInterruptedError
from .frozen import Frozen

Status = Literal["ok", "cancelled", "timeout", "interrupted", "error"]


@dataclass(frozen=True, repr=False, eq=False)
class UsageRecord(Frozen):
    """One call that reached a server; tokens and times are None if they are not known."""

    provider_id: str
    model: str
    """The model that answered, or the requested one if none did."""
    operation: str
    """The method that was called: "complete", "chat", "stream", "responses" and so on."""
    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None
    duration_s: float
    """From the call to its end, in seconds."""
    time_to_first_token_s: float | None
    """From the call to the first text of a stream, in seconds."""
    status: Status
    """"ok"; "cancelled", for a stream that was closed early; "timeout"; "interrupted"; or "error"."""
    api_key_hash: str
    """Stands for the key that was used, and is never the key: "lmstudio-local"."""
    created_at: float
    """Unix time of the end of the call, in seconds."""
    request_model: str | None = None
    """The model that the call asked for; ``model`` may be another."""
    server_address: str | None = None
    """The host of the base URL: a name or an IP address, without a port."""
    server_port: int | None = None
    error_type: str | None = None
    """The name of the class of the error that ended the call, such as "RequestTimeoutError"; None without an error."""


def status_of(error: BaseException | None) -> Status:
    """Return the ``status`` of a call that ended with ``error``."""
    if isinstance(error, RequestTimeoutError):
        return "timeout"
    if isinstance(error, StreamInterruptedError):
        return "interrupted"
    if isinstance(error, ProviderClosedError) or not isinstance(error, (Exception, type(None))):
        return "cancelled"
    return "ok" if error is None else "error"


class UsageRecorder(Protocol):
    """The type of ``usage=``. Several threads may call ``record`` at once."""

    def record(self, record: UsageRecord, /) -> None:
        """Keep ``record``. An exception becomes a RuntimeWarning, once for each provider, and the call goes on."""
