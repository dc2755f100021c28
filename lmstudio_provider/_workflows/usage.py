"""Records of usage that are kept in memory, and the summary of records."""

from __future__ import annotations

import collections
import datetime
import math
import time
from dataclasses import dataclass
from typing import Any, Callable, Literal, Sequence

from .._core.checks import check, number, one_of
from .._core.errors import ConfigurationError
from .._core.types import Usage
from .._core.usage import UsageRecord

Group = Literal["model", "day", "hour", "operation"]


@dataclass(frozen=True)
class UsageSummary:
    """The calls of one group. ``summary(by="day")`` groups by ``day``, and the other names of groups are None."""

    model: str | None
    """The model that answered, or the requested one if none did."""
    day: str | None
    """The local day on which the calls ended, as "2026-11-29"."""
    hour: str | None
    """The local hour in which the calls ended, as "2026-11-29 14:00"."""
    operation: str | None
    """The method that was called: "complete", "chat", "stream" and so on."""
    calls: int
    """All calls that reached a server."""
    errors: int
    """The calls that failed: their status is "timeout", "interrupted" or "error"."""
    uncounted: int
    """The calls whose ``total_tokens`` are not known. The sums of tokens do not include them."""
    prompt_tokens: int | None
    """The sum of the counts that are known; None if none is."""
    completion_tokens: int | None
    """The sum of the counts that are known; None if none is."""
    total_tokens: int | None
    """The sum of the counts that are known; None if none is."""
    duration_s: float
    """The sum of the durations of all calls, in seconds."""
    tokens_per_second: float | None
    """Completion tokens for each second, from a call to its end, of the calls that report some."""


def grouping(by: Group | Sequence[Group], since: float | datetime.datetime | None) -> tuple[list[str], float]:
    """Return the names of the groups, and the Unix time of the oldest call; raise ConfigurationError."""
    names: list[Any] = list(by) if isinstance(by, (list, tuple)) else [by]
    for name in names:
        check("by", name, one_of(*_KEYS), ConfigurationError)
    if since is None:
        return names, -math.inf
    oldest: Any = since if isinstance(since, (int, float)) else getattr(since, "timestamp", lambda: since)()
    check("since", oldest, number()._replace(hint="Give a Unix time in seconds, or a datetime"), ConfigurationError)
    return names, float(oldest)


def summary_of(names: Sequence[str], row: Sequence[Any]) -> UsageSummary:
    """Return the summary of a group: ``row`` has a value for each of ``names``, and its sums.

    They are those of calls, errors, calls without counts, tokens of prompts, of completions and in all, seconds, and
    seconds of the calls with completion tokens.
    """
    *keys, calls, errors, uncounted, prompt, completion, total, duration_s, counted_s = row
    prompt, completion, total = (None if count is None else int(count) for count in (prompt, completion, total))
    return UsageSummary(
        **{**dict.fromkeys(_KEYS), **dict(zip(names, keys))},
        calls=calls,
        errors=errors,
        uncounted=uncounted,
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=total,
        duration_s=duration_s,
        tokens_per_second=completion / counted_s if completion and counted_s else None,
    )


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
        return tuple(self._records.copy())  # a stream that is collected meanwhile adds one

    def total(self) -> Usage:
        """Return the sums over all records; a count that is not known counts as 0."""
        names = ("prompt_tokens", "completion_tokens", "total_tokens")
        return Usage(*(sum(getattr(each, name) or 0 for each in self.records) for name in names))

    def summary(
        self, by: Group | Sequence[Group] = "model", since: float | datetime.datetime | None = None
    ) -> list[UsageSummary]:
        """Return a summary for each model, day, hour or operation, in the order of their names.

        ``by`` may be several of these words, for each combination of them, or () for the sum of all. ``since`` is a
        Unix time in seconds or a datetime; calls that ended before are left out. Raises ConfigurationError.
        """
        names, oldest = grouping(by, since)
        groups: dict[tuple[str, ...], list[UsageRecord]] = {}
        for each in self.records:
            if each.created_at >= oldest:
                groups.setdefault(tuple(_KEYS[name](each) for name in names), []).append(each)
        return [summary_of(names, [*key, *_sums(groups[key])]) for key in sorted(groups)]


_KEYS: dict[str, Callable[[UsageRecord], str]] = {
    "model": lambda record: record.model,
    "day": lambda record: time.strftime("%Y-%m-%d", time.localtime(record.created_at)),
    "hour": lambda record: time.strftime("%Y-%m-%d %H:00", time.localtime(record.created_at)),
    "operation": lambda record: record.operation,
}


def _sums(records: Sequence[UsageRecord]) -> list[Any]:
    counts = zip(*((each.prompt_tokens, each.completion_tokens, each.total_tokens) for each in records))
    known = ([count for count in column if count is not None] for column in counts)
    return [
        len(records),
        sum(each.status in ("timeout", "interrupted", "error") for each in records),
        sum(each.total_tokens is None for each in records),
        *(sum(column) if column else None for column in known),
        sum(each.duration_s for each in records),
        sum(each.duration_s for each in records if each.completion_tokens),
    ]
