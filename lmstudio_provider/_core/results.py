"""The result of a tool as text for the model."""

from __future__ import annotations

import base64
import collections
import dataclasses
import datetime
import decimal
import enum
import itertools
import json
import logging
import math
import pathlib
import sys
import uuid
from collections.abc import ItemsView, Iterable, KeysView, Mapping, ValuesView
from typing import Any, Callable

from .callbacks import warn
from .errors import InvalidRequestError, ToolCallWarning

logger = logging.getLogger("lmstudio_provider")

# The most items of an iterator, which may never end; collections in memory are read whole.
_MOST_ITEMS = 10_000
_IN_MEMORY = (list, tuple, set, frozenset, collections.deque, KeysView, ValuesView, ItemsView)


def result_text(result: object, tool: str) -> str:
    """Return ``result`` as text for the model: text as it is, anything else as JSON.

    Raise InvalidRequestError, which names ``tool``, only for data that contains itself or is nested too deeply. Warn
    with ToolCallWarning of items that were left out, and of objects that JSON cannot represent.
    """
    try:
        plain = _Writer(tool).plain(result)
    except RecursionError as error:
        raise InvalidRequestError(f"the result of the tool {tool} is nested too deeply for JSON") from error
    if isinstance(plain, str):
        return plain
    return json.dumps(plain, allow_nan=False, ensure_ascii=False, separators=(",", ":"))


class _Writer:
    def __init__(self, tool: str) -> None:
        self._tool = tool
        self._inside: set[int] = set()

    def plain(self, value: Any) -> Any:
        """Return ``value`` as dicts with text as keys, lists, text, finite numbers, booleans and None."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, enum.Enum):
            return self.plain(value.value)
        for kinds, write in _SCALARS:
            if isinstance(value, kinds):
                return write(value)
        if id(value) in self._inside:
            raise InvalidRequestError(f"the result of the tool {self._tool} contains itself")
        self._inside.add(id(value))
        try:
            return self._compound(value)
        finally:
            self._inside.discard(id(value))

    def _compound(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return self._object(list(value.items()))
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = [each.name for each in dataclasses.fields(value) if hasattr(value, each.name)]
            return self._object([(name, getattr(value, name)) for name in names])
        if getattr(getattr(value, "dtype", None), "kind", "") in ("M", "m"):  # tolist() would make numpy's times ints
            return self._array(value) if getattr(value, "ndim", 0) else str(value)
        if isinstance(value, type):
            return value.__name__
        if hasattr(type(value), "to_dict") and hasattr(value, "index") and callable(getattr(value, "items", None)):
            return self._table(value)
        if callable(getattr(type(value), "keys", None)) and hasattr(type(value), "__getitem__"):  # such as sqlite3.Row
            return self._object([(key, value[key]) for key in value.keys()])  # noqa: SIM118 (its items are not its keys)
        for name in ("model_dump", "_asdict", "tolist", "to_dict", "item"):  # pydantic, namedtuple, numpy
            # Only the class is asked: mocks and remote objects have every attribute.
            done, plain = _called(getattr(value, name)) if hasattr(type(value), name) else (False, None)
            if done and type(plain) is not type(value):
                fields = getattr(getattr(value, "dtype", None), "names", None)  # of numpy's records
                return self._records(fields, plain) if fields else self.plain(plain)
        return self._array(value) if isinstance(value, Iterable) else self._other(value)

    def _table(self, value: Any) -> Any:
        """Return a table or a column of pandas, with its labels unless they are the numbers of the rows."""
        index = list(value.index)
        numbered = all(type(label) is int and label == row for row, label in enumerate(index))
        if not hasattr(value, "columns"):
            return self.plain(list(value)) if numbered else self._object(list(value.items()))
        columns = list(value.columns)
        rows = value.to_dict("split")["data"]
        if len(set(map(self._key, columns))) < len(columns):
            return self.plain({"columns": columns, "index": index, "data": rows})
        records = [dict(zip(columns, row)) for row in rows]
        return self.plain(records) if numbered else self._object(list(zip(index, records)))

    def _records(self, names: Any, rows: Any) -> Any:
        many = isinstance(rows, list)
        return self.plain([dict(zip(names, row)) for row in rows] if many else dict(zip(names, rows)))

    def _object(self, pairs: list[tuple[Any, Any]]) -> Any:
        plain = [(self._key(key), self.plain(value)) for key, value in pairs]
        members = dict(plain)
        return members if len(members) == len(plain) else [list(pair) for pair in plain]  # such as {1: …, "1": …}

    def _key(self, key: Any) -> str:
        plain = self.plain(key)
        return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False, separators=(",", ":"))

    def _array(self, items: Iterable[Any]) -> list[Any]:
        limit = sys.maxsize if isinstance(items, _IN_MEMORY) or hasattr(items, "dtype") else _MOST_ITEMS
        iterator = iter(items)
        plain = [self.plain(each) for each in itertools.islice(iterator, limit)]
        if len(plain) == limit and next(iterator, plain) is not plain:
            self._warn(f"returned more than {limit:,} items one by one; the model gets the first {limit:,}")
        return plain

    def _other(self, value: Any) -> str | None:
        kind = type(value)
        if kind.__name__ == "NAType":  # a missing value of pandas
            return None
        own: Any = kind.__str__  # that of object is the repr
        done, text = _called(None if own is object.__str__ else value.__str__)
        text = text if done and isinstance(text, str) else kind.__name__
        self._warn(f"returned an object of type {kind.__name__}, which JSON does not have; the model gets its text")
        return text

    def _warn(self, what: str) -> None:
        warn(f"the tool {self._tool} {what}. Return text, numbers, lists, dicts or dataclasses", ToolCallWarning)


def _called(method: Any) -> tuple[bool, Any]:
    """Return True and the result of ``method``; False if it is not a method, or raises: it may have another purpose."""
    try:
        return callable(method), method() if callable(method) else None
    except Exception as error:
        logger.debug("a result is written in another way, because %s failed: %s", method, type(error).__name__)
        return False, None


def _whole(value: int) -> Any:
    try:
        str(value)
    except ValueError:  # Python does not write so many digits in base 10
        return hex(value)
    return int(value)


def _duration(value: datetime.timedelta) -> str:
    size = abs(value)
    fraction = f".{size.microseconds:06}".rstrip("0") if size.microseconds else ""
    return f"{'-' if value < datetime.timedelta(0) else ''}P{size.days}DT{size.seconds}{fraction}S"


_SCALARS: list[tuple[Any, Callable[[Any], Any]]] = [
    (str, str),
    (int, _whole),
    (float, lambda value: float(value) if math.isfinite(value) else None),
    # pandas' NaT is not equal to itself.
    ((datetime.date, datetime.time), lambda value: value.isoformat() if value == value else None),  # noqa: PLR0124
    (datetime.timedelta, _duration),
    (decimal.Decimal, lambda value: str(value) if value.is_finite() else None),
    ((uuid.UUID, pathlib.PurePath, complex, collections.UserString), str),
    ((bytes, bytearray, memoryview), lambda value: base64.b64encode(bytes(value)).decode("ascii")),
]
