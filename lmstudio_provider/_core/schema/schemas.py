"""Type hints as JSON schema."""

from __future__ import annotations

import enum
import inspect
import itertools
import re
from typing import Any, Callable, Mapping, Sequence

from ..errors import ConfigurationError
from .hints import (
    SCALARS,
    TEXTS,
    Kind,
    Member,
    array_of,
    choices_of,
    has_one_item_hint,
    is_json_scalar,
    kind_of,
    members_of,
    name_of,
    without_none,
    words_of,
)

# A class is written out at each place where it is used, because templates of models do not follow references; one that
# uses another twice, which uses a third twice, and so on, would never end.
_MOST_WRITTEN_OUT = 500


def schema_of(hint: Any, where: str) -> dict[str, Any]:
    """Return the schema of ``hint``; raise ConfigurationError that names ``where``.

    A class that contains itself is a definition, to which ``$ref`` refers.
    """
    return _written(lambda writer: writer.write(hint, where), where)


def schema_of_members(members: Sequence[Member], where: str) -> dict[str, Any]:
    """Return the schema of an object of ``members``; raise ConfigurationError that names ``where`` and the member.

    Each member has one plain ``type``, because the templates of some models fail without it (LM Studio bug-tracker
    1749, 812): one that is Optional is not required instead.
    """
    return _written(lambda writer: writer.record(members, where), where)


def _written(write: Callable[[_Writer], dict[str, Any]], where: str) -> dict[str, Any]:
    writer = _Writer()
    try:
        schema = write(writer)
    except RecursionError as error:
        raise ConfigurationError(f"{where} has a type that never ends", hint="Make it a dataclass") from error
    return {**schema, "$defs": writer.definitions} if writer.definitions else schema


class _Writer:
    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}
        # The names of definitions, by the class, or by the model and its own definition.
        self._names: dict[Any, str] = {}
        # What is being written just now.
        self._open: set[Any] = set()
        self._written = 0

    def record(self, members: Sequence[Member], where: str) -> dict[str, Any]:
        properties = {}
        for each in members:
            schema = self.write(without_none(each.hint)[0], f"{where} {each.name!r}")
            if each.description and "description" not in words_of(kind_of(each.hint).metadata):
                schema["description"] = each.description
            if isinstance(each.default, (str, int)) and not isinstance(each.default, enum.Enum):
                schema["default"] = each.default
            properties[each.name] = schema
        required = [each.name for each in members if each.required]
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}

    def write(self, hint: Any, where: str) -> dict[str, Any]:
        """Return the schema of ``hint``, which stands at ``where``."""
        kind = kind_of(hint)
        write = getattr(self, f"_{kind.name}", None)
        if write is None:
            because = ", because text has no bytes: take a str of base64" if kind.type is bytes else ""
            raise ConfigurationError(
                f"{where} is hinted {name_of(hint)}, which JSON schema cannot express{because}",
                hint="Use str, int, float, bool, None, Literal, Enum, Union, list, set, tuple, dict, dataclasses, "
                "TypedDict, pydantic models, date, datetime, time, timedelta, UUID, Decimal or Path",
            )
        schema: dict[str, Any] = write(kind, where)
        return {**schema, **words_of(kind.metadata, schema.get("type") == "string")}

    def _any(self, kind: Kind, where: str) -> dict[str, Any]:
        return {}

    def _scalar(self, kind: Kind, where: str) -> dict[str, Any]:
        return {"type": SCALARS[kind.type]}

    def _text(self, kind: Kind, where: str) -> dict[str, Any]:
        return {"type": "string", "format": TEXTS[kind.type]}

    def _choice(self, kind: Kind, where: str) -> dict[str, Any]:
        values = [value for value, _ in choices_of(kind)]
        if not values or not all(map(is_json_scalar, values)):
            raise ConfigurationError(f"{where} has choices that are not JSON values: {values}", hint="Use text")
        of_type: dict[str, list[Any]] = {}
        for value in values:
            of_type.setdefault(_scalar_of(value), []).append(value)
        options = [{"type": name, "enum": group} for name, group in of_type.items()]
        return options[0] if len(options) == 1 else {"anyOf": options}

    def _union(self, kind: Kind, where: str) -> dict[str, Any]:
        options = [self.write(each, where) for each in kind.arguments]
        return options[0] if len(options) == 1 else {"anyOf": options}

    def _array(self, kind: Kind, where: str) -> dict[str, Any]:
        items = self.write(array_of(kind)[1], where)
        return {"type": "array", "items": items} if items else {"type": "array"}

    def _tuple(self, kind: Kind, where: str) -> dict[str, Any]:
        if has_one_item_hint(kind):
            return self._array(kind, where)
        items, count = [self.write(each, where) for each in kind.arguments], len(kind.arguments)
        return {"type": "array", "prefixItems": items, "minItems": count, "maxItems": count}

    def _object(self, kind: Kind, where: str) -> dict[str, Any]:
        keys, values = kind.arguments or (str, Any)
        if kind_of(keys).type not in (str, Any):
            raise ConfigurationError(f"{where} has keys of {name_of(keys)}, and JSON has text", hint="Use str")
        schema = self.write(values, where)
        return {"type": "object", "additionalProperties": schema} if schema else {"type": "object"}

    def _record(self, kind: Kind, where: str) -> dict[str, Any]:
        return self._once(kind.type, kind.type.__name__, lambda: self._class(kind.type, where))

    def _once(self, key: object, name: str, write: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what ``write`` returns; for what is inside of itself, make that a definition and return a reference.

        So does all that comes when too much has been written out.
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
        return {"$ref": f"#/$defs/{self._names[key]}"}

    def _class(self, cls: type, where: str) -> dict[str, Any]:
        schema = self.record(members_of(cls), f"{where} > {cls.__name__}: the field")
        text = inspect.cleandoc(cls.__doc__ or "")
        if text and not text.startswith(f"{cls.__name__}("):  # which is what dataclass() writes
            schema["description"] = text
        return schema

    def _free_name(self, name: str) -> str:
        # The names that all engines can make rules of: llama.cpp's have neither "_" nor dots.
        name = re.sub(r"[^A-Za-z0-9-]", "", name) or "Type"
        taken = self._names.values()
        return next(each for i in itertools.count() if (each := f"{name}{i or ''}") not in taken)

    def _model(self, kind: Kind, where: str) -> dict[str, Any]:
        try:
            schema = dict(kind.type.model_json_schema())
        except Exception as error:  # of another library: whatever it is, there is no schema
            raise ConfigurationError(f"{where}: {kind.type.__name__} has no JSON schema: {error}") from error
        definitions = schema.pop("$defs", {})
        inlined: dict[str, Any] = self._inlined(schema, kind.type, definitions)
        return inlined

    def _inlined(self, schema: Any, cls: type, definitions: Mapping[str, Any]) -> Any:
        """Return the schema that another library made for ``cls``, with its references written out as ours are."""
        if isinstance(schema, list):
            return [self._inlined(each, cls, definitions) for each in schema]
        if not isinstance(schema, dict):
            return schema
        if isinstance(schema.get("properties"), dict):
            schema = {**schema, "properties": _plain_properties(schema)}
        name = _referred(schema) or ""
        rest = {key: self._inlined(each, cls, definitions) for key, each in schema.items() if key != "$ref"}
        if name not in definitions:
            return {**rest, "$ref": schema["$ref"]} if "$ref" in schema else rest
        found = self._once((cls, name), name, lambda: self._inlined(definitions[name], cls, definitions))
        return {**found, **rest}


def _referred(schema: Mapping[str, Any]) -> str | None:
    """Return the name of the definition that ``schema`` refers to."""
    reference = schema.get("$ref")
    return reference[8:] if isinstance(reference, str) and reference.startswith("#/$defs/") else None


def _plain_properties(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties; of one that is Optional and not required, the type alone."""
    properties = {}
    for name, each in schema["properties"].items():
        options = [option for option in each.get("anyOf", ()) if option != {"type": "null"}]
        if len(options) == 1 and name not in schema.get("required", ()):
            rest = {key: value for key, value in each.items() if key != "anyOf" and (key, value) != ("default", None)}
            each = {**options[0], **rest}  # noqa: PLW2901 (the same property, more plainly)
        properties[name] = each
    return properties


def _scalar_of(value: object) -> str:
    """Return the name that JSON schema has for the type of a scalar."""
    return "boolean" if isinstance(value, bool) else next(SCALARS[each] for each in SCALARS if isinstance(value, each))
