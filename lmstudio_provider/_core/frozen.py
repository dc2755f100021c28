"""The methods that frozen dataclasses have in common."""

from __future__ import annotations

import dataclasses
from typing import Any


class Frozen:
    """Compares, hashes and shows a dataclass as the methods do that ``dataclass`` would write for each class.

    It compiles these from text, which takes half of the time that importing a dataclass takes.
    """

    def __repr__(self) -> str:
        shown = [f"{each.name}={getattr(self, each.name)!r}" for each in _fields(self) if each.repr]
        return f"{type(self).__qualname__}({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        return _compared(self) == _compared(other) if type(self) is type(other) else NotImplemented

    def __hash__(self) -> int:
        return hash(_compared(self))


def _fields(value: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(value)


def _compared(value: object) -> tuple[Any, ...]:
    return tuple(getattr(value, each.name) for each in _fields(value) if each.compare)
