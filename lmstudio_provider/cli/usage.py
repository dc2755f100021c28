"""``usage``: the calls that were recorded, as a table, JSON, CSV or charts."""

from __future__ import annotations

import argparse
import csv
import datetime
import io
import re
import time
from typing import Literal, Sequence

from .. import SqliteUsage, UsageSummary
from .._core.files import write_whole
from .console import Console, UsageError
from .generation import is_same_file
from .providers import usage_database
from .usage_chart import Table, page, svg_file

EXAMPLE = "lmstudio-provider usage --db usage.db --by day --since 7d"
_GROUPS = ("model", "day", "hour", "operation")
_FIGURES = {
    "calls": "CALLS",
    "errors": "ERRORS",
    "uncounted": "UNCOUNTED",
    "prompt_tokens": "PROMPT",
    "completion_tokens": "COMPLETION",
    "total_tokens": "TOKENS",
    "duration_s": "SECONDS",
    "tokens_per_second": "TOKENS/S",
}
_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def since(text: str) -> float:
    """Return the Unix time of ``--since``; raise ArgumentTypeError."""
    ago = re.fullmatch(r"(\d{1,9}(?:\.\d*)?) *([mhdw])", text)
    if ago:
        return time.time() - float(ago[1]) * _SECONDS[ago[2]]
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time; use 90m, 24h, 7d, 2w, or a date such as 2026-11-29"
        ) from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--db", metavar="FILE", help="the file of records, by default $LM_STUDIO_USAGE_DB")
    parser.add_argument("--by", nargs="+", choices=_GROUPS, default=["model"], help="a row for each, by default model")
    parser.add_argument("--since", type=since, metavar="TIME", help="90m, 24h, 7d, 2w, or a date such as 2026-11-29")
    parser.add_argument("--csv", action="store_true", help="print CSV instead of a table")
    parser.add_argument("--svg", metavar="FILE", help="write charts to a file of SVG")
    parser.add_argument("--html", metavar="FILE", help="write a page with charts and the table")


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the sums of what was recorded, and write the files that were asked for."""
    usage = usage_database(args.db)
    if usage is None:
        raise UsageError("give the file of records with --db, or set LM_STUDIO_USAGE_DB")
    if args.json and args.csv:
        raise UsageError("--json and --csv exclude each other")
    if not usage.path.exists():
        raise UsageError(f"nothing was recorded in {usage.path}: there is no such file")
    for option, path in (("--svg", args.svg), ("--html", args.html)):
        if path and is_same_file(path, usage.path):
            raise UsageError(f"{option} {path} is the file of records, which it would replace; give another name")
    if args.svg and args.html and is_same_file(args.svg, args.html):
        raise UsageError(f"--svg and --html are the same file, {args.html}; give each a name of its own")
    by = list(dict.fromkeys(args.by))
    rows, total = usage.summary(by, args.since), usage.summary((), args.since)
    fields = [*by, *_FIGURES]
    values = [[getattr(row, field) for field in fields] for row in rows]
    sums = [["total", *[""] * len(by[1:]), *(getattr(row, field) for field in _FIGURES)] for row in total]
    headings = [*map(str.upper, by), *_FIGURES.values()]
    table = [list(map(_cell, row)) for row in values + sums[: len(rows) - 1]]  # one row is its own sum
    if args.json:
        console.json([dict(zip(fields, row)) for row in values])
    elif args.csv:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([fields, *values])
        console.out(text.getvalue())
    elif rows:
        console.table(table, headings)
    else:
        console.note("no call is recorded")
    if args.svg or args.html:
        charted = _charted(usage, args.since)
        if args.svg:
            _write(args.svg, svg_file(charted))
        if args.html:
            _write(args.html, page(charted, _headline(total), Table(headings, table)))
    return 0


def _cell(value: object) -> object:
    return round(value, 1) if isinstance(value, float) else value


def _charted(usage: SqliteUsage, oldest: float | None) -> list[UsageSummary]:
    """Return the sums by model, and by hour if all calls are of two days, else by day."""
    # Other times are those of a clock that was wrong, and no calendar has them.
    days = [row.day for row in usage.summary("day", oldest) if re.match(r"(?!0000)\d{4}-", row.day or "")]
    ends = [datetime.date.fromisoformat(day) for day in days if day]
    unit: Literal["hour", "day"] = "hour" if ends and (ends[-1] - ends[0]).days < 2 else "day"
    rows = usage.summary((unit, "model"), oldest)
    return [row for row in rows if (row.hour or row.day or "")[:10] in days]


def _headline(total: Sequence[UsageSummary]) -> str:
    if not total:
        return "No call is recorded."
    (row,) = total
    tokens = "not known" if row.total_tokens is None else f"{row.total_tokens:,}"
    return f"Calls: {row.calls:,}. Failed: {row.errors:,}. Tokens: {tokens}."


def _write(path: str, text: str) -> None:
    try:
        write_whole(path, text)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error
