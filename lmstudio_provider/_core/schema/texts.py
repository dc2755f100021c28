"""Dates, times, durations, UUIDs, decimals and paths from text."""

from __future__ import annotations

import datetime
import decimal
import re
from typing import Any, Callable

from .hints import TEXTS
from .json_schema import preview, refuse


def read_text(kind: Any, value: Any, path: str, exact: bool) -> Any:
    """Return ``value`` as an instance of ``kind``; raise MisfitError."""
    if kind is decimal.Decimal and isinstance(value, (int, float)) and not isinstance(value, bool) and not exact:
        value = getattr(value, "text", str(value))  # another float has the digits that JSON gave
    iso = " of ISO 8601" if kind in _READERS and kind is not decimal.Decimal else ""
    wrong = f"{preview(value)} is not text in the format {TEXTS[kind]!r}{iso}"
    if not isinstance(value, str):
        refuse(path, wrong)
    if exact and kind is datetime.datetime and len(value.strip()) <= len("2026-01-02"):
        refuse(path, wrong)  # a date without a time is better read as a date
    try:
        # A blank may be a part of the name of a file.
        return kind(value) if TEXTS[kind] == "path" else _READERS.get(kind, kind)(value.strip())
    except (ValueError, ArithmeticError) as error:  # its message is for programmers, not for the model
        refuse(path, wrong, error)


def _iso(text: str) -> str:
    """Return ``text`` as fromisoformat of Python 3.9 accepts it: no "Z", and fractions of six digits."""
    text = re.sub(r"[zZ]\Z", "+00:00", text)
    return re.sub(r"\.(\d+)", lambda match: f".{match[1][:6]:0<6}", text)


_DURATIONS = (
    (
        r"(?P<sign>-?)P(?=\d|T\d)((?P<weeks>\d+)W)?((?P<days>\d+)D)?"
        r"(T(?=\d)((?P<hours>\d+)H)?((?P<minutes>\d+)M)?((?P<seconds>\d+(\.\d+)?)S)?)?"
    ),
    r"(?P<sign>-?)(?P<hours>\d+):(?P<minutes>\d\d)(:(?P<seconds>\d\d(\.\d+)?))?",
)


def _duration(text: str) -> datetime.timedelta:
    match = re.fullmatch(_DURATIONS[0], text) or re.fullmatch(_DURATIONS[1], text)
    if match is None:
        raise ValueError(text)
    parts = {name: float(part) for name, part in match.groupdict().items() if part and name != "sign"}
    return datetime.timedelta(**parts) * (-1 if match["sign"] else 1)


def _decimal(text: str) -> decimal.Decimal:
    value = decimal.Decimal(text)
    if not value.is_finite():
        raise ValueError(text)
    return value


_READERS: dict[Any, Callable[[str], Any]] = {
    datetime.datetime: lambda text: datetime.datetime.fromisoformat(_iso(text)),
    datetime.date: datetime.date.fromisoformat,
    datetime.time: lambda text: datetime.time.fromisoformat(_iso(text)),
    datetime.timedelta: _duration,
    decimal.Decimal: _decimal,
}
