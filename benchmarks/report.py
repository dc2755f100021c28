"""The figures as a table, with a mark for each bound: medians, and the quartiles as their spread."""

from __future__ import annotations

import statistics
from typing import Any, NamedTuple

from benchmarks.clients import OURS
from benchmarks.rows import BASES, BOUNDS, OUR_IMPORT, Bound


class Spread(NamedTuple):
    """The median and the quartiles of the rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.low == self.high:
            return number(self.median)
        return f"{number(self.median)} ({number(self.low)} to {number(self.high)})"


class Verdict(NamedTuple):
    """A bound, the client that it is held against, and what was measured."""

    bound: Bound
    base: str
    spread: Spread
    unit: str

    @property
    def inside(self) -> bool:
        return self.spread.median <= self.bound.at_most

    @property
    def measure(self) -> str:
        return f"{self.bound.what} {'-' if self.bound.minus else '÷'} {self.base}" if self.base else self.bound.what


def spread(values: list[float]) -> Spread:
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


def number(value: float) -> str:
    """Return ``value`` with three digits, or all digits of a count."""
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def verdicts(samples: dict[str, Any]) -> list[Verdict]:
    return [verdict(samples, bound) for bound in BOUNDS if bound.title in samples]


def verdict(samples: dict[str, Any], bound: Bound) -> Verdict:
    row = samples[bound.title]
    ours, base = row["values"][bound.ours or our_name(row)], bound.base
    if not base:
        return Verdict(bound, "", spread(ours), row["unit"])
    others = samples[bound.base_title or bound.title]["values"]
    if base == "best bare":
        base = min((name for name in BASES if name in others), key=lambda name: statistics.median(others[name]))
    shown = "1 stream" if bound.base_title.startswith("1 ") else "10,000 pieces" if bound.base_title else base
    if bound.minus:
        return Verdict(bound, shown, spread([mine - other for mine, other in pairs(ours, others[base])]), row["unit"])
    return Verdict(bound, shown, spread([mine / other for mine, other in pairs(ours, others[base])]), "")


def pairs(ours: list[float], others: list[float]) -> list[tuple[float, float]]:
    """Return the figures of the same rounds; a row that runs in every fourth round has a quarter of the values."""
    rounds = min(len(ours), len(others))
    return list(zip(ours[:: len(ours) // rounds], others[:: len(others) // rounds]))


def our_name(row: dict[str, Any]) -> str:
    """Return the name of our client in ``row``: the rows of imports have programs, and not clients."""
    return next(name for name in (OURS, OUR_IMPORT, "lmstudio-provider") if name in row["values"])


def figure_lines(samples: dict[str, Any]) -> list[list[str]]:
    """Return the lines of the table of figures: what, client, figure, and ours divided by it."""
    lines = []
    for title, row in samples.items():
        ours = row["values"][our_name(row)]
        for name, values in row["values"].items():
            ratios = [mine / other for mine, other in pairs(ours, values) if other]
            ratio = str(spread(ratios)) if ratios and values is not ours else ""
            lines.append([title, name, f"{spread(values)} {row['unit']}".strip(), ratio])
    return lines


def bound_lines(samples: dict[str, Any]) -> list[list[str]]:
    """Return the lines of the table of bounds: what, figure, the most that it may be, and the mark."""
    return [
        [each.measure, f"{each.spread} {each.unit}".strip(), f"{each.bound.at_most:g} {each.unit}".strip(),
         "inside" if each.inside else "OUTSIDE"]
        for each in verdicts(samples)
    ]  # fmt: skip


FIGURES_HEAD = ["What", "Client", "Median (quartiles)", "Ours ÷ it"]
BOUNDS_HEAD = ["What", "Median (quartiles)", "At most", ""]


def text(results: dict[str, Any]) -> str:
    samples = results["samples"]
    about = ", ".join(f"{name} {value}" for name, value in results["about"].items())
    tables = [columns([FIGURES_HEAD, *figure_lines(samples)]), columns([BOUNDS_HEAD, *bound_lines(samples)])]
    return "\n\n".join([*tables, about])


def columns(lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(f"{cell:{width}}" for cell, width in zip(line, widths)).rstrip() for line in lines)


def rst(results: dict[str, Any]) -> str:
    """Return the tables as reStructuredText."""
    samples, about = results["samples"], results["about"]
    measured = [f"Measured on {about['date']}: " + ", ".join(f"{k} {v}" for k, v in about.items() if k != "date") + "."]
    tables = [rst_table([BOUNDS_HEAD, *bound_lines(samples)]), rst_table([FIGURES_HEAD, *figure_lines(samples)])]
    profiles = [
        rst_table(
            [[f"Where the CPU time of {name} goes", "Part"], *([module, f"{part:.0%}"] for module, part in parts)]
        )
        for name, parts in results["profile"].items()
    ]
    return "\n\n".join(measured + tables + profiles) + "\n"


def rst_table(lines: list[list[str]]) -> str:
    rows = [f"   {'* -' if first else '  -'} {cell}" for line in lines for first, cell in zip((1, 0, 0, 0), line)]
    return "\n".join([".. list-table::", "   :header-rows: 1", "", *(row.rstrip() for row in rows)])
