"""Make the default replies of a stand-in, which say that they are simulated, and values that fit a JSON schema."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from typing import Any, Mapping

from ._replies import Reply

_FORMATS = {
    "date": "2026-01-02",
    "date-time": "2026-01-02T03:04:05Z",
    "time": "03:04:05Z",
    "duration": "PT1H",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "decimal": "1.5",
}
_PLAIN: dict[Any, Any] = {"integer": 1, "number": 1.0, "boolean": True, "null": None}


def echo(body: Mapping[str, Any]) -> Reply:
    """Return a reply to a chat: a call of the first tool, a value that fits the JSON schema, or the last message."""
    messages = body["messages"]
    tools = body.get("tools")
    # A conversation that ends with results has had its call: another one would go on forever.
    results = list(itertools.takewhile(lambda message: message.get("role") == "tool", reversed(messages)))[::-1]
    if tools and not results and body.get("tool_choice") != "none":
        function = tools[0]["function"]
        arguments = example({"type": "object", **(function.get("parameters") or {})})
        return {"tool_calls": [{"name": function["name"], "arguments": arguments}]}
    form = body.get("response_format") or {}
    said = " ".join(_said(message) for message in results or messages[-1:])
    what = "The tool answered" if results else "You said"
    reply = {"content": f"This is a simulated reply, no model wrote it. {what}: {said}"}
    if form.get("type") == "json_object":
        reply["content"] = json.dumps({"simulated": reply["content"]}, ensure_ascii=False)
    if form.get("type") == "json_schema":
        schema = (form.get("json_schema") or {}).get("schema") or {}
        reply["content"] = json.dumps(example(schema), ensure_ascii=False)
    if body.get("reasoning_effort") not in (None, "none"):
        reply["reasoning_content"] = "This is simulated reasoning, no model thought it."
    return reply


def echo_text(body: Mapping[str, Any]) -> Reply:
    """Return a text that continues any prompt."""
    return " and so on. This is a simulated text, no model wrote it."


def _said(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, list):
        return " ".join(part.get("text", "[image]") for part in content)
    return f"{content} [image]" if message.get("images") else content


def vector(text: str, size: int = 32) -> list[float]:
    """Return a vector of length 1, made from the words of ``text``: texts that share words are near each other."""
    total = [0.0] * size
    for word in re.findall(r"\w+", text.lower()) or [""]:
        digest = hashlib.sha256(word.encode("utf-8", "replace")).digest()
        total = [each + digest[position] - 127.5 for position, each in enumerate(total)]
    length = math.sqrt(sum(each * each for each in total))
    return [each / length for each in total]


class SchemaError(ValueError):
    """A schema is malformed: a server could not make a grammar from it."""


class _EndlessError(ValueError):
    """A schema contains itself without an end, so that no value can fit it."""


def example(schema: Any) -> Any:
    """Return a value that fits ``schema``.

    Patterns and limits are ignored, except for the number of items of an array. Raise SchemaError if the schema is
    malformed, and another ValueError if no value fits it.
    """
    try:
        return _example(schema, schema, ())
    except (AttributeError, LookupError, TypeError) as error:
        raise SchemaError(f"the schema is malformed: {error}") from error


def check_schema(schema: Any) -> None:
    """Raise SchemaError if ``schema`` is malformed."""
    try:
        example(schema)
    except SchemaError:
        raise
    except ValueError:
        return  # the schema never ends: it has no example, and a test that gives its own replies does not need one


def _example(schema: Any, root: Any, inside: tuple[str, ...]) -> Any:
    """Return a value for ``schema``, a part of ``root``; ``inside`` are the $refs that led here."""
    if not isinstance(schema, Mapping):
        return "simulated"  # the schema is true: any value fits
    for key in ("enum", "required", "anyOf", "oneOf", "prefixItems"):
        if not isinstance(schema.get(key, []), list):
            raise SchemaError(f"{key} is not an array")
    if "$ref" in schema:
        ref = schema["$ref"]
        if ref in inside:
            raise _EndlessError(f"the schema never ends: {ref} contains itself")
        return _example(_find(ref, root), root, (*inside, ref))
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
    return _FORMATS.get(str(schema.get("format")), "simulated") if kind == "string" else _PLAIN.get(kind, "simulated")


def _find(ref: str, root: Any) -> Any:
    start, *names = ref.split("/")
    try:
        if start != "#":
            raise LookupError(ref)
        for name in names:
            root = root[name.replace("~1", "/").replace("~0", "~")]  # RFC 6901, section 4
    except (LookupError, TypeError) as error:
        raise SchemaError(f"the schema has a $ref to a place that it does not have: {ref}") from error
    return root


def _first_that_ends(alternatives: list[Any], root: Any, inside: tuple[str, ...]) -> Any:
    endless: _EndlessError | None = None
    for each in alternatives:
        try:
            return _example(each, root, inside)
        except _EndlessError as error:
            endless = error
    raise endless or SchemaError("no alternatives")


def _object(schema: Mapping[str, Any], root: Any, inside: tuple[str, ...]) -> dict[str, Any]:
    properties = schema.get("properties", {})
    if "required" in schema:
        return {name: _example(properties.get(name, True), root, inside) for name in schema["required"]}
    value = {}
    for name, each in properties.items():
        try:
            value[name] = _example(each, root, inside)
        except _EndlessError:
            continue  # it is not required
    return value


def _array(schema: Mapping[str, Any], root: Any, inside: tuple[str, ...]) -> list[Any]:
    value = [_example(each, root, inside) for each in schema.get("prefixItems", ())]
    items, least = schema.get("items"), schema.get("minItems", 0)
    if not value and isinstance(items, Mapping) and least == 0 and schema.get("maxItems") != 0:
        try:
            return [_example(items, root, inside)]  # not required, but it shows the form of an item
        except _EndlessError:
            return []
    while len(value) < least:
        value.append(_example(items, root, inside))
    return value
