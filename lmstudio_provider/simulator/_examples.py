"""A value that fits a JSON schema, for replies and arguments that nobody gave."""

from __future__ import annotations

from typing import Any, Mapping

_PLAIN: dict[Any, Any] = {"integer": 1, "number": 1.0, "boolean": True, "null": None}


class _EndlessError(ValueError):
    """A schema contains itself on a way that never ends."""


def example(schema: Any, root: Any = None, inside: tuple[str, ...] = ()) -> Any:
    """A value that fits ``schema``, whose $refs point into ``root`` (by default ``schema``).

    Patterns, formats and limits of numbers and lengths are not looked at, but for how many items an array has.
    ``inside`` are the $refs that are followed already. Raises ValueError where no value can be made.
    """
    root = schema if root is None else root
    if not isinstance(schema, Mapping):
        return "simulated"  # true, under which everything fits
    if "$ref" in schema:
        ref = schema["$ref"]
        if ref in inside:
            raise _EndlessError(f"a schema that never ends: {ref}")
        return example(_find(ref, root), root, (*inside, ref))
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if alternatives:
        return _first_that_ends(alternatives, root, inside)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object" or (kind is None and "properties" in schema):
        return _object(schema, root, inside)
    if kind == "array" or (kind is None and ("items" in schema or "prefixItems" in schema)):
        return _array(schema, root, inside)
    return _PLAIN.get(kind, "simulated")


def _find(ref: str, root: Any) -> Any:
    start, *names = ref.split("/")
    try:
        if start != "#":
            raise LookupError(ref)
        for name in names:
            root = root[name.replace("~1", "/").replace("~0", "~")]  # RFC 6901, section 4
    except (LookupError, TypeError) as error:
        raise ValueError(f"a $ref that leads nowhere in the schema: {ref}") from error
    return root


def _first_that_ends(alternatives: list[Any], root: Any, inside: tuple[str, ...]) -> Any:
    endless: _EndlessError | None = None
    for each in alternatives:
        try:
            return example(each, root, inside)
        except _EndlessError as error:
            endless = error
    raise endless or ValueError("no alternatives")


def _object(schema: Mapping[str, Any], root: Any, inside: tuple[str, ...]) -> dict[str, Any]:
    properties = schema.get("properties", {})
    if "required" in schema:
        return {name: example(properties.get(name, True), root, inside) for name in schema["required"]}
    value = {}
    for name, each in properties.items():
        try:
            value[name] = example(each, root, inside)
        except _EndlessError:
            continue  # it may be missing
    return value


def _array(schema: Mapping[str, Any], root: Any, inside: tuple[str, ...]) -> list[Any]:
    value = [example(each, root, inside) for each in schema.get("prefixItems", ())]
    items, least = schema.get("items"), schema.get("minItems", 0)
    if not value and isinstance(items, Mapping) and least == 0 and schema.get("maxItems") != 0:
        try:
            return [example(items, root, inside)]  # one is not needed, and shows more than none
        except _EndlessError:
            return []
    while len(value) < least:
        value.append(example(items, root, inside))
    return value
