"""Charts of usage, as SVG and as a page: tokens by day and model, and tokens per second over time."""

from __future__ import annotations

import collections
import datetime
import html
import math
from typing import Callable, Iterator, NamedTuple, Sequence

from .. import UsageSummary

# Readable on white and on black; the last is that of all other models.
_COLOURS = ("#4269d0", "#e07b00", "#2f9e58", "#d6456b", "#8a5cd6", "#1295a8", "#a07840", "#8a8f98")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_START = datetime.datetime(1, 1, 1)
# Left and right of the bars, and the height of each of the two charts.
_LEFT, _RIGHT, _PANEL = 52, 14, 270
_STYLE = (
    "svg{font:12px system-ui,sans-serif}text{fill:#333}.title{font-size:14px;font-weight:600}"
    ".back{fill:#fff}.grid{stroke:#ddd}.line{fill:none;stroke-width:2}"
    "@media (prefers-color-scheme:dark){text{fill:#ddd}.back{fill:#16181d}.grid{stroke:#3a3d45}}"
    + "".join(f".f{at}{{fill:{colour}}}.s{at}{{stroke:{colour}}}" for at, colour in enumerate(_COLOURS))
)
_PAGE_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:880px;margin:0 auto;padding:16px;background:#fff;color:#222}"
    "h1{font-size:20px;margin:0}svg{display:block;width:100%;height:auto;margin:12px 0}.narrow{max-width:480px}"
    "div{overflow-x:auto}table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}"
    "th,td{padding:3px 10px 3px 0;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}"
    "th:first-child,td:first-child{text-align:left;white-space:normal;overflow-wrap:anywhere;min-width:9em}"
    "@media (min-width:700px){.narrow{display:none}}@media (max-width:699.9px){.wide{display:none}}"
    "@media (prefers-color-scheme:dark){body{background:#16181d;color:#ddd}th,td{border-color:#3a3d45}}"
)
# Its policy has a browser load and execute nothing, whatever the database holds.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Usage</title>
<style>{style}</style>
</head>
<body>
<h1>Usage</h1>
<p>{headline}</p>
{wide}
{narrow}
<div><table>
<thead><tr>{headings}</tr></thead>
<tbody>
{cells}
</tbody>
</table></div>
</body>
</html>
"""


class Table(NamedTuple):
    """A table for the page."""

    headings: Sequence[str]
    rows: Sequence[Sequence[object]]


class _Series(NamedTuple):
    """The figures of one model, or of all that have no colour of their own: a value for each bar."""

    name: str
    amounts: list[float]
    speeds: list[float | None]


class _Plot(NamedTuple):
    """What the charts show."""

    title: str
    span: str
    unit: str
    labels: list[str]
    """The whole labels of the bars."""
    ticks: list[str]
    """Their short labels."""
    series: list[_Series]


def svg_file(rows: Sequence[UsageSummary]) -> str:
    """Return the charts as a file of SVG; ``rows`` are grouped by model and by day or hour."""
    return _svg(rows, 860, f"<style>.file{{max-width:100%;height:auto}}{_STYLE}</style>") + "\n"


def page(rows: Sequence[UsageSummary], headline: str, table: Table) -> str:
    """Return a page of HTML with the charts, for narrow and for wide windows, and a table."""
    cells = ["".join(f"<td>{escaped(value)}</td>" for value in row) for row in table.rows]
    headings = "".join(f"<th>{escaped(heading)}</th>" for heading in table.headings)
    return _PAGE.format(
        style=_STYLE + _PAGE_STYLE,
        headline=escaped(headline),
        wide=_svg(rows, 860, kind="wide"),
        narrow=_svg(rows, 340, kind="narrow"),
        headings=headings,
        cells="\n".join(f"<tr>{row}</tr>" for row in cells),
    )


def escaped(value: object) -> str:
    """Return ``value`` as text for HTML and XML, which do not allow control characters."""
    text = "-" if value is None else f"{value:,}" if isinstance(value, (int, float)) else str(value)
    shown = (each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    return html.escape("".join(shown))


def _svg(rows: Sequence[UsageSummary], width: int, style: str = "", kind: str = "file") -> str:
    plot = _plot(rows, (width - _LEFT - _RIGHT) // 8)
    columns = max(1, width // 280)
    top, second = 2 * _PANEL, _PANEL
    height = top + 20 * math.ceil(len(plot.series) / columns) + 4
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    label = f"{escaped(plot.title)}; tokens per second"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="{kind}" {size} role="img" aria-label="{label}">{style}',
        f'<rect class="back" width="{width}" height="{height}"/>',
        *_panel(0, plot.title, plot.span),
        *_bars(plot, width, 0),
        *_panel(second, "Tokens per second", "completion tokens, from a call to its end"),
        *_lines(plot, width, second),
        *_legend(plot, width // columns, columns, top),
        "</svg>",
    ]
    return "\n".join(parts)


def _panel(top: int, title: str, subtitle: str) -> Iterator[str]:
    yield f'<text class="title" x="8" y="{top + 20}">{escaped(title)}</text>'
    yield f'<text x="8" y="{top + 38}">{escaped(subtitle)}</text>'


def _bars(plot: _Plot, width: int, top: int) -> Iterator[str]:
    """Draw the amounts of the models on top of each other."""
    sums = [sum(column) for column in zip(*(each.amounts for each in plot.series))]
    axes, x, y = _axes(plot, width, top, max(sums, default=0))
    yield from axes
    bar = min((x(1) - x(0)) * 0.8, 48)
    below = [0.0] * len(sums)
    for colour, series in enumerate(plot.series):
        for at, amount in enumerate(series.amounts):
            if amount:
                low, high = y(below[at]), y(below[at] + amount)
                yield (
                    f'<rect class="f{colour}" x="{x(at) - bar / 2:.1f}" y="{high:.1f}" width="{bar:.1f}" '
                    f'height="{low - high:.1f}"><title>{escaped(plot.labels[at])}, {escaped(series.name)}: '
                    f"{amount:,.0f} {plot.unit}</title></rect>"
                )
                below[at] += amount


def _lines(plot: _Plot, width: int, top: int) -> Iterator[str]:
    """Draw the speed of each model."""
    axes, x, y = _axes(plot, width, top, max((speed or 0 for each in plot.series for speed in each.speeds), default=0))
    yield from axes
    for colour, series in enumerate(plot.series):
        points = [(x(at), y(speed), at, speed) for at, speed in enumerate(series.speeds) if speed is not None]
        if len(points) > 1:
            path = " ".join(f"{left:.1f},{high:.1f}" for left, high, _, _ in points)
            yield f'<polyline class="line s{colour}" points="{path}"/>'
        for left, high, at, speed in points:
            yield (
                f'<circle class="f{colour}" cx="{left:.1f}" cy="{high:.1f}" r="3"><title>{escaped(plot.labels[at])}, '
                f"{escaped(series.name)}: {speed:,.1f} tokens per second</title></circle>"
            )


def _axes(
    plot: _Plot, width: int, top: int, most: float
) -> tuple[list[str], Callable[[float], float], Callable[[float], float]]:
    """Return the lines and labels, and functions from the position of a bar and from a value to their places."""
    ceiling, floor, right = top + 52, top + _PANEL - 32, width - _RIGHT
    pitch = (right - _LEFT) / max(len(plot.ticks), 1)
    step = _step(most)
    steps = max(math.ceil(most / step), 1)

    def x(at: float) -> float:
        return _LEFT + (at + 0.5) * pitch

    def y(value: float) -> float:
        return floor - value / (steps * step) * (floor - ceiling)

    parts = []
    for number in range(steps + 1):
        high = y(number * step)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{high:.1f}" y2="{high:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{high + 4:.1f}" text-anchor="end">{_short(number * step)}</text>')
    every = math.ceil(76 / pitch)  # of these labels, so that none touches the next
    for at in range(0, len(plot.ticks), every):
        if x(at) + 36 <= width:
            label = escaped(plot.ticks[at])
            parts.append(f'<text x="{x(at):.1f}" y="{floor + 18}" text-anchor="middle">{label}</text>')
    return parts, x, y


def _legend(plot: _Plot, width: int, columns: int, top: int) -> Iterator[str]:
    for at, series in enumerate(plot.series):
        left, high = at % columns * width + 8, top + at // columns * 20
        name = series.name if len(series.name) * 7 <= width - 40 else f"{series.name[: (width - 50) // 7]}…"
        yield f'<rect class="f{at}" x="{left}" y="{high}" width="12" height="12" rx="2"/>'
        # The inner picture cuts off letters that are wider than most.
        yield f'<svg x="{left + 18}" y="{high - 3}" width="{width - 30}" height="20">'
        yield f'<title>{escaped(series.name)}</title><text y="14">{escaped(name)}</text></svg>'


def _plot(rows: Sequence[UsageSummary], most: int) -> _Plot:
    """Return what the charts show, in at most ``most`` bars and as many series as there are colours."""
    counted = any(row.total_tokens for row in rows)
    amounts = [(row.total_tokens or 0) if counted else row.calls for row in rows]
    sums: collections.Counter[str] = collections.Counter()
    for row, amount in zip(rows, amounts):
        sums[row.model or ""] += amount
    names = sorted(sums, key=lambda name: (-sums[name], name))
    own = len(names) if len(names) <= len(_COLOURS) else len(_COLOURS) - 1
    places = {name: min(rank, own) for rank, name in enumerate(names)}
    hours = [_hour(row) for row in rows]
    size, bins = _bins(hours, most, any(row.hour for row in rows))
    figures = [[[0.0, 0.0, 0.0] for _ in bins] for _ in set(places.values())]
    for row, amount, hour in zip(rows, amounts, hours):
        figure = figures[places[row.model or ""]][(hour - bins.start) // bins.step]
        figure[0] += amount
        if row.completion_tokens and row.tokens_per_second:
            figure[1] += row.completion_tokens
            figure[2] += row.completion_tokens / row.tokens_per_second
    shown = [name or "(no name)" for name in names[:own]] + [f"{len(names) - own} other models"]
    unit, number = "tokens" if counted else "calls", bins.step // size
    period = ("hour" if size == 1 else "day") if number == 1 else f"{number} {'hours' if size == 1 else 'days'}"
    starts = [_START + datetime.timedelta(hours=start) for start in bins]
    labels = [f"{_day(start)} {start.year}" + (f", {start:%H}:00" if size == 1 else "") for start in starts]
    ends = (_START + datetime.timedelta(hours=hour) for hour in hours[:1] + hours[-1:])
    span = " to ".join(dict.fromkeys(f"{_day(end)} {end.year}" for end in ends))
    return _Plot(
        title=f"{unit.capitalize()} by {period} and model" if rows else "No calls",
        span=span,
        unit=unit,
        labels=labels,
        ticks=[_tick(start, bins.step) for start in starts],
        series=[
            _Series(name, [each[0] for each in row], [each[1] / each[2] if each[2] else None for each in row])
            for name, row in zip(shown, figures)
        ],
    )


def _hour(row: UsageSummary) -> int:
    """Return the hours from the year 1 to the hour or day of ``row``."""
    date, _, clock = (row.hour or row.day or "").partition(" ")
    return (datetime.date.fromisoformat(date) - _START.date()).days * 24 + int(clock[:2] or 0)


def _bins(hours: Sequence[int], most: int, fine: bool) -> tuple[int, range]:
    """Return the hours in the unit of the bars, an hour or a day, and the range of the hours at which bars start."""
    if not hours:
        return 24, range(0)
    size, first, last = 1 if fine else 24, min(hours), max(hours)
    steps = (1, 3, 6, 12) if fine else (1, 7, 30, 90, 365)
    whole = (last - first) // size + 1
    step = next((step for step in steps if whole <= step * most), math.ceil(whole / most)) * size
    return size, range(first, last + 1, step)


def _day(time: datetime.datetime) -> str:
    return f"{time.day} {_MONTHS[time.month - 1]}"  # in English, whatever the locale is


def _tick(time: datetime.datetime, step: int) -> str:
    """Return the short label of a bar of ``step`` hours."""
    if step < 24:
        return f"{time:%H}:00"
    return _day(time) if step < 24 * 30 else f"{_MONTHS[time.month - 1]} {time.year}"


def _step(most: float) -> float:
    """Return the distance of the lines behind the bars: 1, 2 or 5 and zeros."""
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most / 4))
    return next(power * each for each in (1, 2, 5, 10) if most <= 4 * power * each)


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
