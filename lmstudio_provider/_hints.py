"""Type hints as JSON schema, and JSON values as what the hints say."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import inspect
import itertools
import math
import re
import types
import typing
from typing import Any, Callable, Iterable, Literal, Mapping, NamedTuple, Union

from ._exceptions import ConfigurationError
from ._json_schema import Misfit, find_misfit, same

_SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
_ARRAYS: dict[Any, Callable[[Iterable[Any]], Any]] = {
    list: list,
    set: set,
    frozenset: frozenset,
    **dict.fromkeys(
        [getattr(collections.abc, name) for name in ("Iterable", "Collection", "Sequence", "MutableSequence")], list
    ),
}
_OBJECTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_UNIONS = (Union, getattr(types, "UnionType", Union))
_QUALIFIERS = ("Required", "NotRequired", "ReadOnly", "Final")


class MisfitError(ValueError):
    """A value that does not fit its hint."""

    def __init__(self, misfit: Misfit) -> None:
        super().__init__(f"{misfit.path}: {misfit.why}")
        self.misfit = misfit


class Member(NamedTuple):
    """A parameter of a function, or a field of a class."""

    name: str
    hint: Any
    required: bool
    default: Any = None
    description: str = ""


class Shape(NamedTuple):
    """A hint: its JSON schema, and what makes the hinted object of a value that fits, which stands at a path."""

    schema: dict[str, Any]
    build: Callable[[Any, str], Any]


class Shapes:
    """Makes shapes of hints; a class that refers to itself goes into ``$defs``.

    ConfigurationError is raised, naming ``where``, for a hint that JSON schema cannot say.
    """

    def __init__(self) -> None:
        self._open: list[Any] = []
        self._built: dict[type, Shape] = {}
        self._references: dict[type, str] = {}
        #: What references are looked up in.
        self.root: dict[str, Any] = {"$defs": {}}

    def of(self, hint: Any, where: str) -> Shape:
        """The shape of ``hint``, which stands at ``where``."""
        try:
            hash(hint)
        except TypeError as error:
            raise ConfigurationError(f"{where} is hinted {hint!r}, which is no type", hint="Write list[int]") from error
        if type(hint).__name__ == "TypeAliasType":  # Python 3.12: type X = ...
            return self._alias(hint, where)
        hint = _unwrapped(hint)
        origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
        if hasattr(hint, "__metadata__"):  # Annotated
            shape = self.of(hint.__origin__, where)
            words = _said(hint.__metadata__, shape.schema.get("type") == "string")
            return Shape({**shape.schema, **words}, shape.build)
        if hint in (Any, object):
            return Shape({}, _as_it_is)
        if isinstance(hint, type) and issubclass(hint, enum.Enum):
            return self._choice([(member.value, member) for member in hint], where)
        if origin is Literal:
            return self._choice([(getattr(each, "value", each), each) for each in arguments], where)
        if origin in _SCALARS:
            return Shape({"type": _SCALARS[origin]}, {int: _int, float: _float}.get(origin, _as_it_is))
        if origin in _UNIONS:
            return self._union([self.of(each, where) for each in arguments])
        if origin in _ARRAYS:
            return self._array(_ARRAYS[origin], self.of(arguments[0] if arguments else Any, where))
        if origin is tuple:
            return self._tuple(arguments, where)
        if origin in _OBJECTS:
            return self._object(arguments or (str, Any), where)
        if isinstance(hint, type) and is_record(hint):
            return self._class(hint, where)
        raise ConfigurationError(
            f"{where} is hinted {_name(hint)}, which JSON schema cannot say",
            hint="Use str, int, float, bool, None, Literal, Enum, Union, list, tuple, dict, dataclasses and TypedDict",
        )

    def record(self, members: list[Member], construct: Callable[[dict[str, Any], str], Any], where: str) -> Shape:
        """An object of ``members``; ``construct`` is given those that came, built, and the path."""
        shapes = {each.name: self.of(each.hint, f"{where} {each.name!r}") for each in members}
        properties = {}
        for each in members:
            schema = dict(shapes[each.name].schema)
            if each.description and "description" not in _said(getattr(each.hint, "__metadata__", ())):
                schema["description"] = each.description
            if isinstance(each.default, (str, int)) and not isinstance(each.default, enum.Enum):
                schema["default"] = each.default
            properties[each.name] = schema

        def build(value: dict[str, Any], path: str) -> Any:
            return construct({name: shapes[name].build(each, f"{path}.{name}") for name, each in value.items()}, path)

        required = [each.name for each in members if each.required]
        schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
        return Shape(schema, build)

    def read(self, shape: Shape, value: Any) -> Any:
        """The hinted object that ``value`` says; raises MisfitError."""
        misfit = find_misfit(value, shape.schema, self.root)
        if misfit is not None:
            raise MisfitError(misfit)
        try:
            return shape.build(value, "$")
        except (OverflowError, RecursionError, TypeError) as error:  # TypeError: a set of what has no hash
            raise MisfitError(Misfit("$", str(error))) from error

    def whole(self, shape: Shape) -> dict[str, Any]:
        """The schema with all that it refers to."""
        return {**shape.schema, **self.root} if self.root["$defs"] else shape.schema

    def _choice(self, choices: list[tuple[Any, Any]], where: str) -> Shape:
        values = [value for value, _ in choices]
        if not values or not all(value is None or isinstance(value, (str, int)) or _finite(value) for value in values):
            raise ConfigurationError(f"{where} has choices that are no JSON values: {values}", hint="Use text")
        kinds = {_SCALARS[type(value)] for value in values if type(value) in _SCALARS}
        schema: dict[str, Any] = {"enum": values}
        if len(kinds) == 1:
            schema = {"type": kinds.pop(), **schema}

        def build(value: Any, path: str) -> Any:
            return next(choice for each, choice in choices if same(each, value))

        return Shape(schema, build)

    def _union(self, options: list[Shape]) -> Shape:
        def build(value: Any, path: str) -> Any:
            refused: list[MisfitError] = []
            for each in options:
                if find_misfit(value, each.schema, self.root) is None:
                    try:
                        return each.build(value, path)
                    except MisfitError as error:  # of a __post_init__; another one may take it
                        refused.append(error)
            raise refused[0]

        return Shape({"anyOf": [each.schema for each in options]}, build)

    def _array(self, kind: Callable[[Iterable[Any]], Any], item: Shape) -> Shape:
        def build(value: list[Any], path: str) -> Any:
            return kind(item.build(each, f"{path}[{position}]") for position, each in enumerate(value))

        return Shape({"type": "array", "items": item.schema} if item.schema else {"type": "array"}, build)

    def _tuple(self, arguments: tuple[Any, ...], where: str) -> Shape:
        if not arguments or arguments[-1] is Ellipsis:
            return self._array(tuple, self.of(arguments[0] if arguments else Any, where))
        items = [self.of(each, where) for each in arguments]

        def build(value: list[Any], path: str) -> Any:
            parts = enumerate(zip(items, value))
            return tuple(item.build(each, f"{path}[{position}]") for position, (item, each) in parts)

        schemas, count = [item.schema for item in items], len(items)
        return Shape({"type": "array", "prefixItems": schemas, "minItems": count, "maxItems": count}, build)

    def _object(self, arguments: tuple[Any, ...], where: str) -> Shape:
        if arguments[0] not in (str, Any):
            raise ConfigurationError(f"{where} has keys of {_name(arguments[0])}, and JSON has text", hint="Use str")
        item = self.of(arguments[1], where)

        def build(value: dict[str, Any], path: str) -> Any:
            return {name: item.build(each, f"{path}.{name}") for name, each in value.items()}

        return Shape(
            {"type": "object", "additionalProperties": item.schema} if item.schema else {"type": "object"}, build
        )

    def _class(self, cls: type, where: str) -> Shape:
        if cls in self._open or cls in self._built:
            # Each class is said once: classes that use each other, or one class often, would never end.
            reference = {"$ref": f"#/$defs/{self._reference(cls)}"}
            if cls in self._built:
                self.root["$defs"][self._reference(cls)] = self._built[cls].schema

            def build_later(value: Any, path: str) -> Any:
                return self._built[cls].build(value, path)  # which is not there yet

            return Shape(reference, build_later)

        def construct(members: dict[str, Any], path: str) -> Any:
            try:
                return cls(**members)
            except Exception as error:  # of the user's __post_init__: whatever it is, the value does not fit
                raise MisfitError(
                    Misfit(path, f"{cls.__name__} refused it: {type(error).__name__}: {error}")
                ) from error

        self._open.append(cls)
        shape = self.record(members_of(cls), construct, f"{where} > {cls.__name__}: the field")
        self._open.remove(cls)
        text = inspect.cleandoc(cls.__doc__ or "")
        if text and not text.startswith(f"{cls.__name__}("):  # which is what dataclass() writes
            shape.schema["description"] = text
        self._built[cls] = shape
        if cls not in self._references:
            return shape
        self.root["$defs"][self._references[cls]] = shape.schema
        return Shape({"$ref": f"#/$defs/{self._references[cls]}"}, shape.build)

    def _reference(self, cls: type) -> str:
        if cls not in self._references:
            # The names that all engines can make rules of: llama.cpp's have neither "_" nor dots.
            name, taken = re.sub(r"[^A-Za-z0-9-]", "", cls.__name__) or "Type", self._references.values()
            self._references[cls] = next(
                each for number in itertools.count() if (each := f"{name}{number or ''}") not in taken
            )
        return self._references[cls]

    def _alias(self, alias: Any, where: str) -> Shape:
        if alias in self._open:
            raise ConfigurationError(f"{where} is hinted {alias}, which refers to itself", hint="Make it a dataclass")
        self._open.append(alias)
        try:
            return self.of(alias.__value__, where)
        finally:
            self._open.remove(alias)


def members_of(cls: type) -> list[Member]:
    """The fields of a dataclass or a TypedDict."""
    hints = resolved(cls, cls.__name__)
    if not dataclasses.is_dataclass(cls):
        keys: frozenset[str] = getattr(cls, "__required_keys__", frozenset(hints))
        members = []
        for name, hint in hints.items():
            # A qualifier that was written as text has not got into the keys.
            said = _qualifiers(hint)
            members.append(Member(name, hint, "Required" in said or (name in keys and "NotRequired" not in said)))
        return members
    # The signature has InitVar, and has not what the constructor does not take.
    return [
        Member(
            each.name,
            hints[each.name].type if isinstance(hints[each.name], dataclasses.InitVar) else hints[each.name],
            each.default is each.empty,
            None if each.default is each.empty else each.default,
        )
        for each in inspect.signature(cls).parameters.values()
    ]


def resolved(owner: Any, where: str) -> Mapping[str, Any]:
    """The hints of a class or a function, with what is written as text looked up."""
    try:
        return typing.get_type_hints(owner, include_extras=True)
    except Exception as error:  # evaluating text can raise anything
        raise ConfigurationError(
            f"{where}: a type hint cannot be looked up: {error}",
            hint="Define what it names at the top of its module; before Python 3.10 write Optional[X] for X | None",
        ) from error


def is_record(cls: type) -> bool:
    """Whether ``cls`` is a dataclass or a TypedDict."""
    return dataclasses.is_dataclass(cls) or (issubclass(cls, dict) and hasattr(cls, "__total__"))


def _unwrapped(hint: Any) -> Any:
    """What a qualifier or a NewType stands for."""
    while True:
        if _qualifier(hint) in _QUALIFIERS:
            hint = typing.get_args(hint)[0]
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        else:
            return type(None) if hint is None else hint


def _qualifier(hint: Any) -> str:
    return getattr(typing.get_origin(hint), "_name", None) or ""


def _qualifiers(hint: Any) -> set[str]:
    """The names of all qualifiers around a hint, inside and outside of Annotated."""
    if hasattr(hint, "__metadata__"):
        return _qualifiers(hint.__origin__)
    if _qualifier(hint) in _QUALIFIERS:
        return {_qualifier(hint), *_qualifiers(typing.get_args(hint)[0])}
    return set()


# The attributes of annotated-types and of pydantic's Field, and the words for them.
_CONSTRAINTS = {
    "description": "description", "pattern": "pattern", "min_length": "minLength", "max_length": "maxLength",
    "ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum",
}  # fmt: skip


def _said(metadata: Iterable[Any], is_text: bool = True) -> dict[str, Any]:
    """What Annotated says beside the type, as words of JSON schema; what is not known there is meant for others."""
    words: dict[str, Any] = {}
    for each in metadata:
        if isinstance(each, str):
            words.setdefault("description", each)
            continue
        for part in (each, *getattr(each, "metadata", ())):
            for name, word in _CONSTRAINTS.items():
                bound = getattr(part, name, None)
                if isinstance(bound, (int, float, str)):
                    words[word if is_text else word.replace("Length", "Items")] = bound
    return words


def _name(hint: Any) -> str:
    return f"{hint.__module__}.{hint.__qualname__}" if isinstance(hint, type) else str(hint)


def _finite(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _as_it_is(value: Any, path: str) -> Any:
    return value


def _int(value: Any, path: str) -> int:
    return int(value)


def _float(value: Any, path: str) -> float:
    return float(value)
