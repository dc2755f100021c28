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


def find_misfit(value: Any, schema: Any, root: Any = None, path: str = "$") -> Misfit | None:
    """The first place where ``value`` does not fit ``schema``, or None.

    Knows the structure of JSON schema 2020-12: type, enum, const, anyOf, oneOf, allOf, local ``$ref``, the members of
    objects and arrays, and their sizes and those of texts and numbers. Other words (such as format) are passed over.
    """
    if schema is False:
        return Misfit(path, "nothing may stand here")
    if not isinstance(schema, Mapping):
        return None
    try:
        return next(_misfits(value, schema, schema if root is None else root, path), None)
    except RecursionError:
        return Misfit(path, "it is nested too deeply")


def _misfits(value: Any, schema: Mapping[str, Any], root: Any, path: str) -> Iterator[Misfit]:
    if "$ref" in schema:
        yield from _one(find_misfit(value, _resolve(schema["$ref"], root), root, path))
    if "type" in schema:
        names = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        if not any(_is(value, name) for name in names):
            yield Misfit(path, f"{_shown(value)} is not of type {' or '.join(names)}")
            return
    allowed = [schema["const"]] if "const" in schema else schema.get("enum")
    if allowed is not None and not any(same(value, each) for each in allowed):
        yield Misfit(path, f"{_shown(value)} is none of {_shown(allowed)}")
    for part in schema.get("allOf", ()):
        yield from _one(find_misfit(value, part, root, path))
    for name in ("anyOf", "oneOf"):
        found = [find_misfit(value, option, root, path) for option in schema.get(name, ())]
        if found and all(found):
            # The alternative that fits the furthest is most likely what was meant.
            yield max((each for each in found if each), key=lambda each: len(each.path))
    if isinstance(value, str):
        yield from _sized(len(value), "Length", "characters", schema, path)
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield Misfit(path, f"{_shown(value)} does not match {schema['pattern']!r}")
    elif isinstance(value, dict):
        yield from _members(value, schema, root, path)
    elif isinstance(value, list):
        yield from _sized(len(value), "Items", "items", schema, path)
        first = schema.get("prefixItems", ())
        for position, each in enumerate(value):
            part = first[position] if position < len(first) else schema.get("items")
            yield from _one(find_misfit(each, part, root, f"{path}[{position}]"))
    elif _is(value, "number"):
        yield from _range(value, schema, path)


def _one(misfit: Misfit | None) -> Iterator[Misfit]:
    if misfit is not None:
        yield misfit


def _members(value: dict[str, Any], schema: Mapping[str, Any], root: Any, path: str) -> Iterator[Misfit]:
    known = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield Misfit(f"{path}.{name}", "it is missing")
    for name, each in value.items():
        if name in known:
            part = known[name]
        elif schema.get("additionalProperties") is False:
            yield Misfit(f"{path}.{name}", f"it is unknown; known are {', '.join(known) or 'none'}")
            continue
        else:
            part = schema.get("additionalProperties")
        yield from _one(find_misfit(each, part, root, f"{path}.{name}"))


def _sized(size: int, what: str, units: str, schema: Mapping[str, Any], path: str) -> Iterator[Misfit]:
    least, most = schema.get(f"min{what}", 0), schema.get(f"max{what}", math.inf)
    if not least <= size <= most:
        yield Misfit(path, f"it has {size} {units}, not {least} to {most}")


def _range(value: float, schema: Mapping[str, Any], path: str) -> Iterator[Misfit]:
    least, most = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    above, below = schema.get("exclusiveMinimum", -math.inf), schema.get("exclusiveMaximum", math.inf)
    if not (least <= value <= most and above < value < below):
        yield Misfit(path, f"{_shown(value)} is out of range")


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


def _resolve(reference: str, root: Any) -> Any:
    """What a local reference such as ``#/$defs/Node`` names; anything where it names nothing."""
    found = root
    for name in reference.split("/")[1:]:
        found = found.get(name.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, Mapping) else {}
    return found


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:80] + "…"
