"""A record of each call, and a place to keep the records."""

from __future__ import annotations

import collections
from dataclasses import dataclass
from typing import Literal, Protocol

from .checks import check, number
from .errors import ConfigurationError, ProviderClosedError, RequestTimeoutError, StreamInterruptedError
from .types import Usage

Status = Literal["ok", "cancelled", "timeout", "interrupted", "error"]


@dataclass(frozen=True)
class UsageRecord:
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


class MemoryUsage:
    """Keeps the last ``max_records`` records in memory. Shared by threads."""

    def __init__(self, max_records: int = 10_000) -> None:
        check("max_records", max_records, number(1, whole=True), ConfigurationError)
        self._records: collections.deque[UsageRecord] = collections.deque(maxlen=max_records)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {len(self._records)} records, {self.total().total_tokens} tokens>"

    def record(self, record: UsageRecord, /) -> None:
        """Keep ``record``, and forget the oldest if there are too many."""
        self._records.append(record)  # atomic: no lock that a fork could leave locked

    @property
    def records(self) -> tuple[UsageRecord, ...]:
        """All records, oldest first."""
        return tuple(self._records)

    def total(self) -> Usage:
        """Return the sums over all records; a count that is not known counts as 0."""
        names = ("prompt_tokens", "completion_tokens", "total_tokens")
        return Usage(*(sum(getattr(each, name) or 0 for each in self.records) for name in names))
