"""The result of ``measure``: as data, a table, JSON and a picture."""

from __future__ import annotations

import collections
import importlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterable, Literal, Mapping, Sequence, TypeVar

from .._core.checks import check, one_of
from .._core.errors import ConfigurationError
from .._core.frozen import Frozen
from .._core.types import Usage

_Value = TypeVar("_Value")


@dataclass(frozen=True, repr=False, eq=False)
class Percentiles(Frozen):
    """Two of the measured values, by nearest rank."""

    p50: float
    """The median: half of the values are at most this."""
    p95: float
    """95 of 100 values are at most this; with fewer than 20 values, the largest."""

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Percentiles | None:
        """Return the percentiles of the values that are known; None if there are none."""
        known = sorted(value for value in values if value is not None)
        p50, p95 = (known[-(-len(known) * percent // 100) - 1] if known else 0.0 for percent in (50, 95))
        return cls(p50, p95) if known else None


@dataclass(frozen=True, repr=False, eq=False)
class RequestTiming(Frozen):
    """One request of ``measure``, timed by the client. A value that is not known is None."""

    kind: Literal["load", "warm-up", "measured"]
    """Only the requests that are "measured" count in the rows."""
    model: str | None
    """The requested model; without ``models``, the one that answered."""
    prompt: int
    """The position in ``prompts``, from 0."""
    concurrency: int
    """The number of requests at once."""
    started_s: float
    """Seconds from the start of the measurement to the start of the request."""
    duration_s: float
    """Seconds from the start of the request to the end of its reply, or to its error."""
    time_to_first_token_s: float | None = None
    """Seconds from the start of the request to the first text or reasoning."""
    tokens_per_second: float | None = None
    """Tokens after the first one, for each second from the first text or reasoning to the end of the reply. None if the
    server did not count the tokens, or if the reply came in one piece."""
    usage: Usage | None = None
    """The tokens, as the server counted them."""
    model_load_time_s: float | None = None
    """Seconds that the server took to load the model, as the server reports them."""
    error: BaseException | None = None
    """Why the request failed."""
    number: int = 0
    """How many requests had ended then, with this one."""
    planned: int = 0
    """How many requests there will be if nothing interrupts them."""


@dataclass(frozen=True, repr=False, eq=False)
class MeasuredRow(Frozen):
    """The requests with one model, prompt and concurrency. A value that is not known is None. Failed requests count
    only in ``errors``."""

    model: str | None
    """The requested model; without ``models``, the first that answered."""
    prompt: int
    """The position in ``prompts``, from 0."""
    prompt_tokens: int | None
    """The tokens of the prompt, as the server counted them."""
    concurrency: int
    """The number of requests at once."""
    completed: int
    """How many requests were answered."""
    errors: Mapping[str, int]
    """How many requests failed, by the class of the error."""
    time_to_first_token_s: Percentiles | None
    """Seconds from the start of a request to the first text or reasoning."""
    tokens_per_second: Percentiles | None
    """The speed of each request, after its first token."""
    total_tokens_per_second: float | None
    """The tokens of all replies, for each second from the start of the first request to the end of the last. None if
    the server did not count the tokens of one."""
    duration_s: Percentiles | None
    """Seconds from the start of a request to the end of its reply."""
    model_load_time_s: float | None
    """Seconds that the server took to load the model for the first request that reports them."""


@dataclass(frozen=True, repr=False, eq=False)
class Measurement(Frozen):
    """The result of ``measure``."""

    rows: tuple[MeasuredRow, ...]
    """One for each model, prompt and concurrency that was measured, in this order."""
    requests: tuple[RequestTiming, ...]
    """All requests that ended, with loads and warm-ups."""
    planned: int
    """The number of requests, if nothing had interrupted them."""

    @property
    def interrupted(self) -> bool:
        """True if Ctrl-C ended the measurement early."""
        return len(self.requests) < self.planned

    def table(self) -> str:
        """Return the rows as lines of text; under them, for each class of error, how many requests had one, and the
        first of them."""
        cells = [[*_COLUMNS], *([_text(value(row)) for value in _COLUMNS.values()] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells)]
        lines = [
            "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in cells
        ]
        failed: dict[str, list[BaseException]] = {}
        for each in self.requests:
            if each.error is not None:
                failed.setdefault(type(each.error).__name__, []).append(each.error)
        lines += [f"{len(errors)} failed with {name}: {errors[0]}" for name, errors in failed.items()]
        if self.interrupted:
            lines.append(f"Interrupted: {len(self.requests)} of {self.planned} requests ended.")
        return "\n".join(lines)

    def to_json(self) -> str:
        """Return all that was measured as JSON text; an error is its class and message."""
        return json.dumps({**vars(self), "interrupted": self.interrupted}, default=_plain, indent=2)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw the rows to a file, whose suffix is the format: ".png", ".svg" or ".pdf".

        Raises ConfigurationError if matplotlib is not installed.
        """
        check("the suffix of the picture", Path(path).suffix.lower(), one_of(".png", ".svg", ".pdf"))
        try:
            figure = importlib.import_module("matplotlib.figure").Figure((11, 5), layout="constrained")
        except ImportError as error:
            raise ConfigurationError(
                "drawing needs matplotlib, which cannot be imported", hint="pip install 'lmstudio-provider[plot]'"
            ) from error
        draw(figure, self.rows)
        figure.savefig(path)


_COLUMNS: dict[str, Callable[[MeasuredRow], Any]] = {
    "model": lambda row: row.model,
    "prompt": lambda row: row.prompt,
    "prompt tokens": lambda row: row.prompt_tokens,
    "at once": lambda row: row.concurrency,
    "answered": lambda row: row.completed,
    "failed": lambda row: sum(row.errors.values()),
    "first token p50": lambda row: row.time_to_first_token_s and row.time_to_first_token_s.p50,
    "p95 s": lambda row: row.time_to_first_token_s and row.time_to_first_token_s.p95,
    "tokens/s p50": lambda row: row.tokens_per_second and row.tokens_per_second.p50,
    "p95": lambda row: row.tokens_per_second and row.tokens_per_second.p95,
    "altogether": lambda row: row.total_tokens_per_second,
    "load s": lambda row: row.model_load_time_s,
}


def _text(value: object) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain(value: object) -> object:
    return f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else vars(value)


def draw(figure: Any, rows: Sequence[MeasuredRow]) -> None:
    """Draw the time to the first token and the speed of all requests, a line for each model and prompt."""
    lines: dict[str, list[MeasuredRow]] = {}
    for row in rows:
        tokens = "" if row.prompt_tokens is None else f" ({row.prompt_tokens} tokens)"
        lines.setdefault(f"{row.model or 'no model'}, prompt {row.prompt}{tokens}", []).append(row)
    first, speed = figure.subplots(1, 2)
    steps = sorted({row.concurrency for row in rows})
    for position, (name, group) in enumerate(lines.items()):
        shift = (position - (len(lines) - 1) / 2) * 0.3 / len(lines)  # side by side, so that none hides another
        x = [steps.index(row.concurrency) + shift for row in group]
        times = [row.time_to_first_token_s or _UNKNOWN for row in group]
        above = [each.p95 - each.p50 for each in times]
        first.errorbar(x, [each.p50 for each in times], [[0] * len(x), above], marker="o", capsize=4, label=name)
        speed.plot(x, [row.total_tokens_per_second or math.nan for row in group], marker="o")
    first.set(title="Time to first token: median, up to p95", ylabel="seconds")
    speed.set(title="Speed of all requests together", ylabel="tokens a second")
    for axes in (first, speed):
        axes.set(xlabel="requests at once", ylim=(0, None), xlim=(-0.5, max(len(steps), 1) - 0.5))
        axes.set_xticks(range(len(steps)), steps)
        axes.grid(axis="y", alpha=0.3)
    if rows:
        figure.legend(loc="outside lower center", ncols=2)


_UNKNOWN = Percentiles(math.nan, math.nan)  # draws nothing


def measurement_of(cases: Sequence[Sequence[RequestTiming]], planned: int) -> Measurement:
    """Return the result of requests that are grouped by kind, model, prompt and concurrency."""
    timings = [each for case in cases for each in case]
    # The first time for each model, because the later ones are of a model that is loaded.
    loads = {each.model: each.model_load_time_s for each in reversed(timings) if each.model_load_time_s is not None}
    rows = [_row(case, loads) for case in cases if case and case[0].kind == "measured"]
    return Measurement(tuple(rows), tuple(timings), planned)


def _row(timings: Sequence[RequestTiming], loads: Mapping[str | None, float]) -> MeasuredRow:
    model = _first(each.model for each in timings)
    done = [each for each in timings if each.error is None]
    usages = [each.usage or Usage() for each in done]
    counts = [each.completion_tokens for each in usages]
    began = min(each.started_s for each in timings)
    seconds = max(each.started_s + each.duration_s for each in timings) - began
    tokens = None if None in counts or not counts else sum(filter(None, counts))
    return MeasuredRow(
        model=model,
        prompt=timings[0].prompt,
        prompt_tokens=_first(each.prompt_tokens for each in usages),
        concurrency=timings[0].concurrency,
        completed=len(done),
        errors=dict(collections.Counter(type(each.error).__name__ for each in timings if each.error is not None)),
        time_to_first_token_s=Percentiles.of(each.time_to_first_token_s for each in done),
        tokens_per_second=Percentiles.of(each.tokens_per_second for each in done),
        total_tokens_per_second=tokens / seconds if tokens is not None and seconds else None,
        duration_s=Percentiles.of(each.duration_s for each in done),
        model_load_time_s=loads.get(model),
    )


def _first(values: Iterable[_Value | None]) -> _Value | None:
    """Return the first value that is known."""
    return next((value for value in values if value is not None), None)
