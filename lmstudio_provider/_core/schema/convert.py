"""JSON values as what type hints say."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import functools
import json
import math
import re
from typing import Any, Callable, Sequence

from .hints import SCALARS, TEXTS, Kind, Member, array_of, choices_of, has_one_item_hint, kind_of, members_of, words_of
from .json_schema import (
    Memo,
    Misfit,
    MisfitError,
    below,
    check_bounds,
    choice,
    first_that_fits,
    fitted,
    guarded,
    plain,
    preview,
    refuse,
)


def convert(value: Any, hint: Any) -> Any:
    """Return ``value``, as JSON has it, as what ``hint`` says; raise MisfitError.

    What fits but for how it is written is taken if nothing is lost by it: numbers and booleans as text, 3.0 for an int,
    a list or an object as JSON text, null for a member with a default.
    """
    return guarded(_Converter().convert, value, hint)


def convert_members(values: object, members: Sequence[Member]) -> dict[str, Any]:
    """Return what an object has for ``members`` as what their hints say, as ``convert`` does."""
    built: dict[str, Any] = guarded(_Converter().members, values, members)
    return built


class _Converter:
    def __init__(self) -> None:
        self._memo = Memo()

    def convert(self, value: Any, hint: Any, path: str, exact: bool) -> Any:
        """Check and convert in one pass; ``exact`` takes nothing that is written in another way."""
        return self._memo.call(self._convert, value, hint, path, exact)

    def _convert(self, value: Any, hint: Any, path: str, exact: bool) -> Any:
        kind = kind_of(hint)
        if isinstance(value, str) and not exact and kind.name in ("array", "tuple", "object", "record", "model"):
            value = plain(value, "object")
        built = getattr(self, f"_{kind.name}")(value, kind, path, exact)
        if kind.metadata:
            is_array = isinstance(built, (tuple, set, frozenset))
            check_bounds(list(built) if is_array else built, words_of(kind.metadata, isinstance(built, str)), path)
        return built

    def members(self, values: object, members: Sequence[Member], path: str, exact: bool) -> dict[str, Any]:
        """Return what is given for ``members``; what is left out, and has a default, is not among it."""
        given = _of_type(values, dict, path)
        names = [each.name for each in members]
        built: dict[str, Any] = {}
        for name in given:
            if name not in names:
                refuse(below(path, name), f"it is unknown; known are {', '.join(names) or 'none'}")
        for each in members:
            value = given.get(each.name)
            if value is None and not each.required and not exact and not (each.nullable and each.name in given):
                if each.fill:
                    built[each.name] = None
            elif each.name in given:
                built[each.name] = self.convert(value, each.hint, f"{path}.{each.name}", exact)
            elif each.required:
                refuse(f"{path}.{each.name}", "it is missing")
        return built

    def _any(self, value: Any, kind: Kind, path: str, exact: bool) -> Any:
        return value

    def _scalar(self, value: Any, kind: Kind, path: str, exact: bool) -> Any:
        found = value if exact else plain(value, SCALARS[kind.type])
        if type(found) is not kind.type or (kind.type is float and not math.isfinite(found)):
            refuse(path, f"{preview(value)} is not of type {SCALARS[kind.type]}")
        return found

    def _text(self, value: Any, kind: Kind, path: str, exact: bool) -> Any:
        if kind.type is decimal.Decimal and type(value) in (int, float) and not exact:
            value = str(value)  # as Python read it: of more than 17 digits a number of JSON keeps those
        iso = " of ISO 8601" if kind.type in _READERS and kind.type is not decimal.Decimal else ""
        wrong = f"{preview(value)} is not text in the format {TEXTS[kind.type]!r}{iso}"
        if not isinstance(value, str):
            refuse(path, wrong)
        try:
            if TEXTS[kind.type] == "path":  # a blank may be a part of a name
                return kind.type(value)
            if exact and kind.type is datetime.datetime and len(value.strip()) <= len("2026-01-02"):
                refuse(path, wrong)  # a date alone is better read as one
            return _READERS.get(kind.type, kind.type)(value.strip())
        except (ValueError, ArithmeticError) as error:  # whose words are Python's, and not the model's
            raise MisfitError(Misfit(path, wrong)) from error

    def _choice(self, value: Any, kind: Kind, path: str, exact: bool) -> Any:
        return choice(value, choices_of(kind), path, exact)

    def _union(self, value: Any, kind: Kind, path: str, exact: bool) -> Any:
        return first_that_fits(lambda hint, exactly: self.convert(value, hint, path, exactly), kind.arguments, exact)

    def _array(self, value: Any, kind: Kind, path: str, exact: bool) -> Any:
        make, hint = array_of(kind)
        items = enumerate(_of_type(value, list, path))
        try:
            return make(self.convert(each, hint, f"{path}[{position}]", exact) for position, each in items)
        except TypeError as error:  # a set of what has no hash
            raise MisfitError(Misfit(path, str(error))) from error

    def _tuple(self, value: Any, kind: Kind, path: str, exact: bool) -> Any:
        if has_one_item_hint(kind):
            return self._array(value, kind, path, exact)
        items, hints = _of_type(value, list, path), kind.arguments
        if len(items) != len(hints):
            refuse(path, f"it has {len(items)} items, not {len(hints)}")
        pairs = enumerate(zip(items, hints))
        return tuple(self.convert(each, hint, f"{path}[{position}]", exact) for position, (each, hint) in pairs)

    def _object(self, value: Any, kind: Kind, path: str, exact: bool) -> Any:
        hint = kind.arguments[1] if kind.arguments else Any
        pairs = _of_type(value, dict, path).items()
        return {name: self.convert(each, hint, below(path, name), exact) for name, each in pairs}

    def _record(self, value: Any, kind: Kind, path: str, exact: bool) -> Any:
        built = self.members(value, members_of(kind.type), path, exact)
        try:
            return kind.type(**built)
        except Exception as error:  # of the user's __post_init__: whatever it is, the value does not fit
            why = f"{kind.type.__name__} refused it: {type(error).__name__}: {error}"
            raise MisfitError(Misfit(path, why)) from error

    def _model(self, value: Any, kind: Kind, path: str, exact: bool) -> Any:
        # pydantic converts in its own way, which takes "3" for an int, and no list as text.
        if exact:
            fitted(value, _model_schema(kind.type), exact=True)
        else:
            with contextlib.suppress(MisfitError):  # said below, in its own words
                value = fitted(value, _model_schema(kind.type))
        try:
            return kind.type.model_validate_json(json.dumps(value))
        except Exception as error:  # of another library: whatever it is, the value does not fit
            details = getattr(error, "errors", None)
            first: dict[str, Any] = next(iter(details() if callable(details) else []), {})
            where = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in first.get("loc", ()))
            raise MisfitError(Misfit(path + where, first.get("msg") or str(error))) from error


@functools.lru_cache(maxsize=64)
def _model_schema(cls: Any) -> Any:
    return cls.model_json_schema()


def _of_type(value: Any, kind: type, path: str) -> Any:
    if not isinstance(value, kind):
        refuse(path, f"{preview(value)} is not of type {'array' if kind is list else 'object'}")
    return value


def _iso(text: str) -> str:
    """Return ``text`` as fromisoformat of Python 3.9 takes it: no "Z", and fractions of six digits."""
    text = re.sub(r"[zZ]\Z", "+00:00", text)
    return re.sub(r"\.(\d+)", lambda match: f".{match[1][:6]:0<6}", text)


_DURATIONS = (
    re.compile(
        r"(?P<sign>-?)P(?=\d|T\d)((?P<weeks>\d+)W)?((?P<days>\d+)D)?"
        r"(T(?=\d)((?P<hours>\d+)H)?((?P<minutes>\d+)M)?((?P<seconds>\d+(\.\d+)?)S)?)?"
    ),
    re.compile(r"(?P<sign>-?)(?P<hours>\d+):(?P<minutes>\d\d)(:(?P<seconds>\d\d(\.\d+)?))?"),
)


def _duration(text: str) -> datetime.timedelta:
    match = _DURATIONS[0].fullmatch(text) or _DURATIONS[1].fullmatch(text)
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
