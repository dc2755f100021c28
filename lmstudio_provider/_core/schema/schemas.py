"""JSON schemas of type hints, with the functions that convert a JSON value to the hint."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import enum
import functools
import inspect
import itertools
import json
import math
import re
from typing import Any, Callable, Literal, Mapping, Sequence

from ..errors import ConfigurationError, class_and_text
from .hints import ARRAYS, SCALARS, TEXTS, Kind, Member, kind_of, members_of, name_of, words_of
from .json_schema import MisfitError, Node, choice, fitted, plain, preview, refuse

# A class is written out at each place that uses it, because the chat templates of models do not follow references. A
# class that uses another twice, which uses a third twice, and so on, would grow without end.
_MOST_WRITTEN_OUT = 500


def schema_of(hint: Any, where: str) -> Node:
    """Return the schema of ``hint``; raise ConfigurationError that names ``where``.

    A class that contains itself is a definition, to which ``$ref`` refers.
    """
    return _written(lambda writer: writer.write(hint, where), where)


def schema_of_any(hints: Sequence[Any], where: str) -> Node:
    """Return the schema of a value of any of the ``hints``."""
    return _written(lambda writer: writer.any_of(hints, where), where)


def schema_of_members(members: Sequence[Member], where: str) -> Node:
    """Return the schema of an object of ``members``; raise ConfigurationError that names ``where`` and the member.

    Each member has one plain ``type``, because the templates of some models fail without it (LM Studio bug-tracker
    1749, 812): one that is Optional is not required instead.
    """
    return _written(lambda writer: writer.record(members, dict, where), where)


def _written(write: Callable[[_Writer], Node], where: str) -> Node:
    writer = _Writer()
    try:
        schema = write(writer)
    except RecursionError as error:
        raise ConfigurationError(f"{where} has a type that never ends", hint="Make it a dataclass") from error
    schema.update({"$defs": writer.definitions} if writer.definitions else {})
    return schema


class _Writer:
    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}
        # The names of definitions, by the class, or by the model and its own definition.
        self._names: dict[Any, str] = {}
        # The classes that contain the one that is written now.
        self._open: set[Any] = set()
        self._written = 0

    def record(self, members: Sequence[Member], make: type, where: str) -> Node:
        properties = {}
        for each in members:
            schema = self.write(each.hint, f"{where} {each.name!r}")
            schema.nullable = each.nullable
            if each.description and "description" not in words_of(kind_of(each.hint).metadata):
                schema["description"] = each.description
            if isinstance(each.default, (str, int)) and not isinstance(each.default, enum.Enum):
                schema["default"] = each.default
            properties[each.name] = schema
        required = [each.name for each in members if each.required and not each.nullable]
        words = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
        return Node(words, make=make, fill=[each.name for each in members if each.required and each.nullable])

    def write(self, hint: Any, where: str) -> Node:
        """Return the schema of ``hint``, which stands at ``where``."""
        kind = kind_of(hint)
        write = getattr(self, f"_{kind.name}", None)
        if write is None:
            because = "; use a str of base64" if kind.type is bytes else ""
            raise ConfigurationError(
                f"{where} is hinted {name_of(hint)}, which JSON schema cannot express{because}",
                hint="Use str, int, float, bool, None, Literal, Enum, Union, list, set, tuple, dict, dataclasses, "
                "TypedDict, pydantic models, date, datetime, time, timedelta, UUID, Decimal or Path",
            )
        schema: Node = write(kind, where)
        schema.update(words_of(kind.metadata, schema.get("type")))
        return schema

    def _any(self, kind: Kind, where: str) -> Node:
        return Node({})

    def _scalar(self, kind: Kind, where: str) -> Node:
        return Node({"type": SCALARS[kind.type]}, functools.partial(_read_scalar, kind.type))

    def _text(self, kind: Kind, where: str) -> Node:
        return Node({"type": "string", "format": TEXTS[kind.type]}, functools.partial(_read_text, kind.type))

    def _choice(self, kind: Kind, where: str) -> Node:
        choices = kind.arguments if kind.type is Literal else kind.type
        pairs = [(each.value if isinstance(each, enum.Enum) else each, each) for each in choices]
        of_type: dict[str | None, list[Any]] = {}
        for value, _ in pairs:
            of_type.setdefault(_scalar_of(value), []).append(value)
        if not pairs or None in of_type:
            values = [value for value, _ in pairs]
            raise ConfigurationError(f"{where} has choices that are not JSON values: {values}", hint="Use text")
        options = [{"type": name, "enum": group} for name, group in of_type.items()]
        words = options[0] if len(options) == 1 else {"anyOf": options}
        return Node(words, functools.partial(choice, pairs))

    def _union(self, kind: Kind, where: str) -> Node:
        return self.any_of(kind.arguments, where)

    def any_of(self, hints: Sequence[Any], where: str) -> Node:
        """Return the schema of a value of any of the ``hints``."""
        options = [self.write(each, where) for each in hints]
        return options[0] if len(options) == 1 else Node({"anyOf": options})

    def _array(self, kind: Kind, where: str) -> Node:
        items = self.write(kind.arguments[0] if kind.arguments else Any, where)
        return Node({"type": "array", **({"items": items} if items else {})}, make=ARRAYS.get(kind.type, tuple))

    def _tuple(self, kind: Kind, where: str) -> Node:
        if not kind.arguments or kind.arguments[-1] is Ellipsis:
            return self._array(kind, where)
        items, count = [self.write(each, where) for each in kind.arguments], len(kind.arguments)
        return Node({"type": "array", "prefixItems": items, "minItems": count, "maxItems": count}, make=tuple)

    def _object(self, kind: Kind, where: str) -> Node:
        keys, values = kind.arguments or (str, Any)
        if kind_of(keys).type not in (str, Any):
            raise ConfigurationError(f"{where} has keys of {name_of(keys)}; keys of JSON are text", hint="Use str")
        schema = self.write(values, where)
        return Node({"type": "object", **({"additionalProperties": schema} if schema else {})})

    def _record(self, kind: Kind, where: str) -> Node:
        return self._once(kind.type, kind.type.__name__, lambda: self._class(kind.type, where))

    def _once(self, key: object, name: str, write: Callable[[], Node]) -> Node:
        """Return the schema that ``write`` returns.

        If it contains itself, or if too much has been written out, make it a definition and return a reference to it.
        """
        self._written += 1
        if key in self._open:
            self._names.setdefault(key, self._free_name(name))
        if key not in self._names:
            if self._written >= _MOST_WRITTEN_OUT:
                self._names[key] = self._free_name(name)
            self._open.add(key)
            schema = write()
            self._open.remove(key)
            if key not in self._names:
                return schema
            self.definitions[self._names[key]] = schema
        return Node({"$ref": f"#/$defs/{self._names[key]}"})

    def _class(self, cls: type, where: str) -> Node:
        schema = self.record(members_of(cls), cls, f"{where} > {cls.__name__}: the field")
        text = inspect.cleandoc(cls.__doc__ or "")
        if text and not text.startswith(f"{cls.__name__}("):  # dataclass() writes such a docstring itself
            schema["description"] = text
        return schema

    def _free_name(self, name: str) -> str:
        # The engines make grammar rules of these names; the rules of llama.cpp have neither "_" nor dots.
        name = re.sub(r"[^A-Za-z0-9-]", "", name) or "Type"
        taken = self._names.values()
        return next(each for i in itertools.count() if (each := f"{name}{i or ''}") not in taken)

    def _model(self, kind: Kind, where: str) -> Node:
        try:
            schema = json.loads(json.dumps(kind.type.model_json_schema()))
        except Exception as error:  # of another library, which may raise anything
            raise ConfigurationError(f"{where}: {kind.type.__name__} has no JSON schema: {error}") from error
        read = functools.partial(_read_model, kind.type, dict(schema))
        definitions = schema.pop("$defs", {})
        return Node(self._inlined(schema, kind.type, definitions), read)

    def _inlined(self, schema: Any, cls: type, definitions: Mapping[str, Any]) -> Any:
        """Return the schema that another library made for ``cls``, with its references written out as ours are."""
        if isinstance(schema, list):
            return [self._inlined(each, cls, definitions) for each in schema]
        if not isinstance(schema, dict):
            return schema
        if isinstance(schema.get("properties"), dict):
            schema = {**schema, "properties": _plain_properties(schema)}
        name = str(schema.get("$ref")).partition("#/$defs/")[2]
        inlined = {key: self._inlined(each, cls, definitions) for key, each in schema.items()}
        if name not in definitions:
            return inlined
        del inlined["$ref"]
        found = self._once((cls, name), name, lambda: Node(self._inlined(definitions[name], cls, definitions)))
        return {**found, **inlined}


def _plain_properties(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties; one that is Optional and not required becomes its plain type."""
    properties = {}
    for name, each in schema["properties"].items():
        options = [option for option in each.get("anyOf", ()) if option != {"type": "null"}]
        if len(options) == 1 and name not in schema.get("required", ()):
            rest = {key: value for key, value in each.items() if key != "anyOf" and (key, value) != ("default", None)}
            each = {**options[0], **rest}  # noqa: PLW2901 (the same property, more plainly)
        properties[name] = each
    return properties


def _scalar_of(value: object) -> str | None:
    """Return the name that JSON schema has for the type of a scalar; None if JSON cannot express ``value``."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return next((name for kind, name in SCALARS.items() if isinstance(value, kind)), None)


def _read_scalar(kind: Any, value: Any, path: str, exact: bool) -> Any:
    found = value if exact else plain(value, SCALARS[kind])
    found = float(found) if kind is float and isinstance(found, float) else found
    # To JSON schema 3 is a number and 3.0 is an integer; in a union of hints, int and float are two things.
    if type(found) is not kind or (kind is float and not math.isfinite(found)):
        refuse(path, f"{preview(value)} is not of type {SCALARS[kind]}")
    return found


def _read_model(cls: Any, schema: Mapping[str, Any], value: Any, path: str, exact: bool) -> Any:
    # pydantic converts in its own way: it accepts "3" for an int, but not text for a list.
    if exact:
        fitted(value, schema, exact=True)
    else:
        value = plain(value, "object")
        with contextlib.suppress(MisfitError):  # pydantic names the misfit below
            value = fitted(value, schema)
    try:
        return cls.model_validate_json(json.dumps(value))
    except Exception as error:  # of another library, which may raise anything
        details = getattr(error, "errors", None)
        first: dict[str, Any] = next(iter(details() if callable(details) else []), {})
        where = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in first.get("loc", ()))
        refuse(path + where, first.get("msg") or class_and_text(error), error)


def _read_text(kind: Any, value: Any, path: str, exact: bool) -> Any:
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
