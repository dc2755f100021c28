"""A check that each field of a result has the type of its annotation."""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import math
import sys
import typing
from typing import Any, Iterator

# Python 3.9 cannot evaluate the annotations of the package, such as "int | None".
CAN_CHECK = sys.version_info >= (3, 10)


def misfits(value: object, path: str = "") -> Iterator[str]:
    """Yield each field of the dataclass or NamedTuple ``value`` that holds a value of a wrong type."""
    for name, kind in _fields(type(value)).items() if CAN_CHECK else ():
        yield from _misfits(getattr(value, name), kind, f"{path}{type(value).__name__}.{name}")


@functools.cache
def _fields(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    if dataclasses.is_dataclass(kind):
        return {each.name: hints[each.name] for each in dataclasses.fields(kind)}
    return {name: hints[name] for name in getattr(kind, "_fields", ())}


def _misfits(value: Any, kind: Any, path: str) -> Iterator[str]:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return
    if isinstance(kind, type) and _fields(kind) and isinstance(value, kind):
        yield from misfits(value, f"{path} ")
    elif str(origin) in ("typing.Union", "<class 'types.UnionType'>"):
        wrong = [list(_misfits(value, each, path)) for each in arguments]
        if all(wrong):
            yield f"{path} is {value!r:.100}"
    elif origin in (list, tuple, collections.abc.Sequence):
        if not isinstance(value, origin):
            yield f"{path} is {value!r:.100}"
            return
        for number, each in enumerate(value):
            yield from _misfits(each, arguments[0], f"{path}[{number}]")
    elif origin is not None:
        if isinstance(origin, type) and not isinstance(value, origin):
            yield f"{path} is {value!r:.100}"
    elif kind is float:
        if type(value) not in (int, float) or not math.isfinite(value):
            yield f"{path} is {value!r:.100}"
    elif kind is int:
        if type(value) is not int:
            yield f"{path} is {value!r:.100}"
    elif isinstance(kind, type) and not isinstance(value, kind):
        yield f"{path} is {value!r:.100}"
