"""Type hints as JSON schema, and JSON values as what the hints say."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import inspect
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
        self._open: list[type] = []
        self._built: dict[type, Shape] = {}
        self._references: dict[type, str] = {}
        #: What references are looked up in.
        self.root: dict[str, Any] = {"$defs": {}}

    def of(self, hint: Any, where: str) -> Shape:
        """The shape of ``hint``, which stands at ``where``."""
        hint = _unwrapped(hint)
        origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
        if hasattr(hint, "__metadata__"):  # Annotated
            shape = self.of(hint.__origin__, where)
            text = next((each for each in hint.__metadata__ if isinstance(each, str)), "")
            return Shape({**shape.schema, "description": text}, shape.build) if text else shape
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
            if each.description:
                schema.setdefault("description", each.description)
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
        except (OverflowError, RecursionError) as error:
            raise MisfitError(Misfit("$", str(error))) from error

    def whole(self, shape: Shape) -> dict[str, Any]:
        """The schema with all that it refers to."""
        return {**shape.schema, **self.root} if self.root["$defs"] else shape.schema

    def _choice(self, choices: list[tuple[Any, Any]], where: str) -> Shape:
        values = [value for value, _ in choices]
        if not values or not all(value is None or isinstance(value, (str, int, float)) for value in values):
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
            fitting = [each for each in options if find_misfit(value, each.schema, self.root) is None]
            return fitting[0].build(value, path)

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
        if cls in self._open:
            names = self._references
            name = cls.__name__ if cls.__name__ not in names.values() else f"{cls.__name__}{len(names)}"
            reference = {"$ref": f"#/$defs/{names.setdefault(cls, name)}"}

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


def members_of(cls: type) -> list[Member]:
    """The fields of a dataclass or a TypedDict."""
    hints = resolved(cls, cls.__name__)
    if not dataclasses.is_dataclass(cls):
        required: frozenset[str] = getattr(cls, "__required_keys__", frozenset(hints))
        return [Member(name, hint, name in required and not _may_be_missing(hint)) for name, hint in hints.items()]
    missing = dataclasses.MISSING
    return [
        Member(
            field.name,
            hints[field.name],
            field.default is missing and field.default_factory is missing,
            None if field.default is missing else field.default,
        )
        for field in dataclasses.fields(cls)
        if field.init
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
    """What a qualifier, a NewType or a type alias stands for."""
    while True:
        if _qualifier(hint) in _QUALIFIERS:
            hint = typing.get_args(hint)[0]
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        else:
            return type(None) if hint is None else hint


def _qualifier(hint: Any) -> str:
    return getattr(typing.get_origin(hint), "_name", None) or ""


def _may_be_missing(hint: Any) -> bool:
    return _qualifier(hint) == "NotRequired"


def _name(hint: Any) -> str:
    return f"{hint.__module__}.{hint.__qualname__}" if isinstance(hint, type) else str(hint)


def _as_it_is(value: Any, path: str) -> Any:
    return value


def _int(value: Any, path: str) -> int:
    return int(value)


def _float(value: Any, path: str) -> float:
    return float(value)
