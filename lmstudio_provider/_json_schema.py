"""Whether a JSON value fits a JSON schema, and where it does not."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Iterator, Mapping, NamedTuple


class Misfit(NamedTuple):
    """Where a value does not fit, such as ``$.days[2].sky``, and why."""

    path: str
    why: str


def find_misfit(value: Any, schema: Any, root: Any = None) -> Misfit | None:
    """The first place where ``value`` does not fit ``schema``, or None; ``root`` is what references are looked up in.

    Knows the structure of JSON schema 2020-12: type, enum, const, anyOf, oneOf (as anyOf), allOf, local ``$ref``, the
    members of objects and arrays, the sizes of arrays and texts, and the bounds of numbers. Other words, and words
    whose own value makes no sense, are passed over.
    """
    try:
        return _Check(schema if root is None else root).find(value, schema, "$")
    except RecursionError:
        return Misfit("$", "it is nested too deeply")


class _Check:
    def __init__(self, root: Any) -> None:
        self._root = root
        # Alternatives that share their beginnings would have each part of the value checked over and over.
        self._seen: dict[tuple[int, int], Misfit | None] = {}

    def find(self, value: Any, schema: Any, path: str) -> Misfit | None:
        if schema is False:
            return Misfit(path, "nothing may stand here")
        if not isinstance(schema, Mapping):
            return None
        if not isinstance(value, (dict, list)):  # the ids of these may be those of others
            return next(self._misfits(value, schema, path), None)
        key = (id(value), id(schema))
        if key not in self._seen:
            self._seen[key] = next(self._misfits(value, schema, path), None)
        return self._seen[key]

    def _misfits(self, value: Any, schema: Mapping[str, Any], path: str) -> Iterator[Misfit]:
        if "$ref" in schema:
            yield from self._one(value, _resolve(schema["$ref"], self._root), path)
        given = schema.get("type")
        names = [name for name in ([given] if isinstance(given, str) else _list(given)) if isinstance(name, str)]
        if names and not any(_is(value, name) for name in names):
            yield Misfit(path, f"{_shown(value)} is not of type {' or '.join(names)}")
            return
        allowed = [schema["const"]] if "const" in schema else schema.get("enum")
        if isinstance(allowed, (list, tuple)) and not any(same(value, each) for each in allowed):
            yield Misfit(path, f"{_shown(value)} is none of {_shown(list(allowed))}")
        for part in _list(schema.get("allOf")):
            yield from self._one(value, part, path)
        for name in ("anyOf", "oneOf"):
            found = [self.find(value, option, path) for option in _list(schema.get(name))]
            if found and all(found):
                # The alternative that fits the furthest is most likely what was meant.
                yield max((each for each in found if each), key=lambda each: len(each.path))
        if isinstance(value, str):
            yield from _bounded(len(value), schema, ("minLength", "maxLength"), "{} characters", path)
            yield from _matched(value, schema.get("pattern"), path)
        elif isinstance(value, dict):
            yield from self._members(value, schema, path)
        elif isinstance(value, list):
            yield from _bounded(len(value), schema, ("minItems", "maxItems"), "{} items", path)
            first = _list(schema.get("prefixItems"))
            for position, each in enumerate(value):
                part = first[position] if position < len(first) else schema.get("items")
                yield from self._one(each, part, f"{path}[{position}]")
        elif _is(value, "number"):
            yield from _bounded(value, schema, ("minimum", "maximum"), "{}", path)
            yield from _bounded(value, schema, ("exclusiveMinimum", "exclusiveMaximum"), "{}", path)

    def _one(self, value: Any, schema: Any, path: str) -> Iterator[Misfit]:
        misfit = self.find(value, schema, path)
        if misfit is not None:
            yield misfit

    def _members(self, value: dict[str, Any], schema: Mapping[str, Any], path: str) -> Iterator[Misfit]:
        properties = schema.get("properties")
        known: Mapping[str, Any] = properties if isinstance(properties, Mapping) else {}
        # What a pattern of names allows is not looked into.
        rest = schema.get("additionalProperties") if "patternProperties" not in schema else None
        for name in _list(schema.get("required")):
            if name not in value:
                yield Misfit(f"{path}.{name}", "it is missing")
        for name, each in value.items():
            if name not in known and rest is False:
                yield Misfit(f"{path}.{name}", f"it is unknown; known are {', '.join(known) or 'none'}")
            else:
                yield from self._one(each, known.get(name, rest), f"{path}.{name}")


def _bounded(size: float, schema: Mapping[str, Any], names: tuple[str, str], what: str, path: str) -> Iterator[Misfit]:
    """The misfit of a size or a number that is not within its bounds, which have two ``names``."""
    bounds: list[Any] = [schema.get(name) for name in names]
    least, most = bounds
    exclusive = names[0].startswith("exclusive")
    if _is(least, "number") and (size <= least if exclusive else size < least):
        yield Misfit(path, f"{what.format(size)} is too little, {names[0]} is {least}")
    if _is(most, "number") and (size >= most if exclusive else size > most):
        yield Misfit(path, f"{what.format(size)} is too much, {names[1]} is {most}")


def _matched(value: str, pattern: Any, path: str) -> Iterator[Misfit]:
    try:
        if isinstance(pattern, str) and not re.search(pattern, value):
            yield Misfit(path, f"{_shown(value)} does not match {pattern!r}")
    except re.error:
        return  # JSON schema writes patterns as JavaScript does, some of which Python does not know


def _list(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else ()


def _is(value: Any, name: str) -> bool:
    if name in ("number", "integer"):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        # Python reads NaN and Infinity, which are no JSON; 3.0 is an integer to JSON schema.
        return isinstance(value, int) or (math.isfinite(value) and (name == "number" or value.is_integer()))
    kinds: dict[str, Any] = {"string": str, "boolean": bool, "null": type(None), "object": dict, "array": list}
    return name in kinds and isinstance(value, kinds[name])


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same: ``True`` is not 1 there."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _resolve(reference: Any, root: Any) -> Any:
    """What a local reference such as ``#/$defs/Node`` names; anything fits what names nothing."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        return {}
    found = root
    for name in reference.split("/")[1:]:
        found = found.get(name.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, Mapping) else {}
    return found


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:80] + "…"
