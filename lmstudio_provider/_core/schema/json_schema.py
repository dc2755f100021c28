"""JSON values against a JSON schema that was given as a dict."""

from __future__ import annotations

import contextlib
import json
import math
import operator
import re
import sys
from typing import Any, Callable, Mapping, NoReturn, Sequence

from ..errors import class_and_text
from ..json import RoundedFloat, loads_leniently


class MisfitError(ValueError):
    """A value does not fit its schema: its place, such as ``$.days[2].sky``, and why."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path, self.why = path, why


def refuse(path: str, why: str, because: BaseException | None = None) -> NoReturn:
    """Raise MisfitError."""
    raise MisfitError(path, why) from because


class Node(dict[str, Any]):
    """A JSON schema that was made of a type hint, and how a value becomes an instance of the hint."""

    def __init__(
        self,
        words: Mapping[str, Any],
        read: Callable[[Any, str, bool], Any] | None = None,
        make: type | None = None,
        fill: Sequence[str] = (),
    ) -> None:
        super().__init__(words)
        self.read = read
        """Takes value, path and ``exact``; checks and converts the value in place of the words of the schema."""
        self.make = make
        """The class to make of the items of an array or of the members of an object."""
        self.fill = dict.fromkeys(fill)
        """The members that are None if they are left out."""
        self.nullable = False
        """True if the member of an object may also be null; the schema does not say so."""

    def plain(self) -> dict[str, Any]:
        """Return the schema as a dict for the server."""
        schema: dict[str, Any] = json.loads(json.dumps(self))
        return schema


_NO_HINT = Node({})


def fitted(value: Any, schema: Any, *, exact: bool = False) -> Any:
    """Return ``value`` as ``schema`` wants it, converted if nothing is lost; raise MisfitError.

    It accepts numbers and booleans as text, 3.0 for an int, a list or an object as JSON text, and null for a member
    that is not required; with ``exact``, none of these. Of a Node, the result is an instance of its type hint.

    It knows the structure of JSON schema 2020-12, oneOf as anyOf, and bounds. It ignores other words, and words whose
    own value is not valid.
    """
    try:
        return _Fit(schema).fit(value, schema, "$", exact)
    except RecursionError as error:
        refuse("$", "it is nested too deeply", error)


class _Fit:
    def __init__(self, root: Any) -> None:
        self._root = root
        # What became of each part of the value, so that alternatives that share a beginning pay for it once. A key is
        # made of identities: the objects are kept beside the outcome, so that no other object can get theirs.
        self._seen: dict[tuple[int, int, bool], tuple[Any, Any, Any]] = {}

    def fit(self, value: Any, schema: Any, path: str, exact: bool) -> Any:
        if not isinstance(value, (dict, list)):
            return self._fit(value, schema, path, exact)
        key = (id(value), id(schema), exact)
        if key not in self._seen:
            try:
                self._seen[key] = value, schema, self._fit(value, schema, path, exact)
            except MisfitError as error:
                self._seen[key] = value, schema, error.with_traceback(None)
        outcome = self._seen[key][2]
        if isinstance(outcome, MisfitError):
            refuse(outcome.path, outcome.why, outcome.__cause__)
        return outcome

    def _fit(self, value: Any, schema: Any, path: str, exact: bool) -> Any:
        if schema is False:
            refuse(path, "no value is allowed here")
        if not schema or not isinstance(schema, Mapping):
            return value
        node = schema if isinstance(schema, Node) else _NO_HINT
        value = node.read(value, path, exact) if node.read else self._by_words(value, schema, path, exact)
        if node.make:
            try:
                value = node.make(**{**node.fill, **value}) if isinstance(value, dict) else node.make(value)
            except Exception as error:  # of the user's __post_init__: whatever it is, the value does not fit
                refuse(path, f"{node.make.__name__} refused it: {class_and_text(error)}", error)
        _check_bounds(value, schema, path)
        return value

    def _by_words(self, value: Any, schema: Mapping[str, Any], path: str, exact: bool) -> Any:
        if "$ref" in schema:
            value = self.fit(value, _resolve(schema["$ref"], self._root), path, exact)
        given = schema.get("type")
        names = [name for name in ([given] if isinstance(given, str) else _list(given)) if isinstance(name, str)]
        if names and not any(_is(value, name) for name in names):
            options = [] if exact else [each for name in names if _is(each := plain(value, name), name)]
            if not options:
                refuse(path, f"{preview(value)} is not of type {' or '.join(names)}")
            value = options[0]
        allowed = [schema["const"]] if "const" in schema else schema.get("enum")
        if isinstance(allowed, (list, tuple)):
            value = choice([(each, each) for each in allowed], value, path, exact)
        for part in _list(schema.get("allOf")):
            value = self.fit(value, part, path, exact)
        for name in ("anyOf", "oneOf"):
            if _list(schema.get(name)):
                value = self._first_that_fits(value, schema[name], path, exact)
        if isinstance(value, dict):
            return self._members(value, schema, path, exact)
        if isinstance(value, list):
            first, rest = _list(schema.get("prefixItems")), schema.get("items")
            parts = [*first[: len(value)], *[rest] * (len(value) - len(first))]
            value = [self.fit(each, part, f"{path}[{i}]", exact) for i, (each, part) in enumerate(zip(value, parts))]
        return value

    def _first_that_fits(self, value: Any, options: Any, path: str, exact: bool) -> Any:
        """Return the value as the first option that it fits; an option that it fits exactly wins."""
        for exactly in (True,) if exact else (True, False):
            errors = []
            for option in options:
                try:
                    return self.fit(value, option, path, exactly)
                except MisfitError as error:
                    errors.append(error)
        # The alternative that the value fits the furthest is most likely the one that was meant.
        raise max(errors, key=lambda error: len(error.path))

    def _members(self, value: dict[str, Any], schema: Mapping[str, Any], path: str, exact: bool) -> dict[str, Any]:
        properties = schema.get("properties")
        known: Mapping[str, Any] = properties if isinstance(properties, Mapping) else {}
        # Patterns of names are not checked.
        rest = schema.get("additionalProperties") if "patternProperties" not in schema else None
        required = [each for each in _list(schema.get("required")) if isinstance(each, str)]
        for name in value if rest is False else ():
            if name not in known:
                refuse(_below(path, name), f"it is unknown; known are {', '.join(known) or 'none'}")
        for name in required:
            if name not in value:
                refuse(f"{path}.{name}", "it is missing")
        built = {}
        for name, each in value.items():
            part = known.get(name, rest)
            nullable = isinstance(part, Node) and part.nullable
            try:
                built[name] = None if nullable and each is None else self.fit(each, part, _below(path, name), exact)
            except MisfitError:
                # A known member that is not required may be null, and written "null" if None is a value of its hint.
                absent = (plain(each, "null") if nullable else each) is None
                if exact or not absent or name in required or name not in known:
                    raise
                built.update({name: None} if nullable else {})
        return built


_NUMBERS = (int, float)
_ARRAYS = (list, tuple, set, frozenset)
_BOUNDS: dict[str, tuple[Any, Callable[[Any, Any], bool], str]] = {
    "minLength": (str, operator.ge, "{} characters are too few"),
    "maxLength": (str, operator.le, "{} characters are too many"),
    "minItems": (_ARRAYS, operator.ge, "{} items are too few"),
    "maxItems": (_ARRAYS, operator.le, "{} items are too many"),
    "minimum": (_NUMBERS, operator.ge, "{} is too little"),
    "maximum": (_NUMBERS, operator.le, "{} is too much"),
    "exclusiveMinimum": (_NUMBERS, operator.gt, "{} is too little"),
    "exclusiveMaximum": (_NUMBERS, operator.lt, "{} is too much"),
}


def _check_bounds(value: Any, words: Mapping[str, Any], path: str) -> None:
    """Raise MisfitError for a number, a text or an array that is not within the bounds in ``words``."""
    for word, (kind, fits, what) in _BOUNDS.items():
        bound = words.get(word)
        if isinstance(value, kind) and not isinstance(value, bool) and _is(bound, "number"):
            size = value if kind is _NUMBERS else len(value)
            if not fits(size, bound):
                refuse(path, f"{what.format(size)}, {word} is {bound}")
    pattern = words.get("pattern")
    if isinstance(value, str) and isinstance(pattern, str):
        # Patterns of JSON schema are JavaScript's, some of which Python does not know.
        with contextlib.suppress(re.error):
            if not re.search(pattern, value):
                refuse(path, f"{preview(value)} does not match {pattern!r}")


def choice(choices: Sequence[tuple[Any, Any]], value: Any, path: str, exact: bool) -> Any:
    """Return the second of the pair whose first is ``value``, or is the same if both are written as text."""
    # To JSON, True is not 1.
    found = [result for each, result in choices if each == value and isinstance(each, bool) == isinstance(value, bool)]
    if not found and not exact:
        found = [result for each, result in choices if _written(each) == _written(value)]
    if not found:
        refuse(path, f"{preview(value)} is not one of {preview([each for each, _ in choices])}")
    return found[0]


def plain(value: Any, name: str) -> Any:
    """Return ``value`` as the type ``name`` of JSON schema if only its notation differs, else ``value`` itself."""
    number = value
    text = value.strip() if isinstance(value, str) else getattr(value, "text", "")
    if isinstance(value, str):
        if name in _WORDS:
            return _WORDS[name].get(text.lower(), value)
        if name in ("array", "object"):
            return _decoded(value)
        # Python refuses to read numbers of more digits than its limit, which is 640 or more.
        number = json.loads(text) if re.fullmatch(_NUMBER, text) and len(text) <= 640 else value
    if isinstance(number, bool) or not isinstance(number, _NUMBERS) or not abs(number) <= sys.float_info.max:
        return value
    if name == "integer":
        import decimal  # noqa: PLC0415 (imported with each provider)

        with contextlib.suppress(ArithmeticError):  # an exponent of too many digits
            exact = decimal.Decimal(text) if text else number  # a float has 53 bits
            return int(exact) if exact == int(exact) else value
        return value
    return float(number) if name == "number" else value


_NUMBER = r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?"
_WORDS: dict[str, dict[str, Any]] = {"boolean": {"true": True, "false": False}, "null": {"null": None, "none": None}}


def _decoded(text: str) -> Any:
    try:
        value = loads_leniently(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, (dict, list)) else text


def _written(value: Any) -> str:
    return value.strip() if isinstance(value, str) else json.dumps(value)


def preview(value: Any) -> str:
    """Return the beginning of a JSON value, for a message."""
    text = ""
    for piece in _ENCODER.iterencode(value):  # only the beginning, because a union is refused at each level of a value
        text += piece
        if len(text) > 80:
            return text[:80] + "…"
    return text


_ENCODER = json.JSONEncoder(ensure_ascii=False, default=str)


def _below(path: str, name: str) -> str:
    """Return the path of the member ``name``, shortened: a model chose it, and each value in the member repeats it."""
    return f"{path}.{name}" if len(name) <= 50 else f"{path}.{name[:50]}…"


def _list(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else ()


_TYPES: dict[str, Any] = {"string": str, "boolean": bool, "null": type(None), "object": dict, "array": list}


def _is(value: Any, name: str) -> bool:
    if name in ("number", "integer"):
        others = (bool,) if name == "number" else (bool, RoundedFloat)
        if isinstance(value, others) or not isinstance(value, _NUMBERS):
            return False
        # Python reads NaN and Infinity, which are not JSON; 3.0 is an integer to JSON schema.
        return isinstance(value, int) or (math.isfinite(value) and (name == "number" or value.is_integer()))
    return name in _TYPES and isinstance(value, _TYPES[name])


def _resolve(reference: Any, root: Any) -> Any:
    """Return the schema that a local reference such as ``#/$defs/Node`` names, or one that everything fits."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        return {}
    found = root
    for name in reference.split("/")[1:]:
        found = found.get(name.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, Mapping) else {}
    return found
