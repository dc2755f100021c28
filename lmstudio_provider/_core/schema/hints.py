"""Type hints: what kind each is, and which members a class has."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import functools
import inspect
import pathlib
import types
import typing
import uuid
from typing import Any, Iterable, Literal, Mapping, NamedTuple, Union

from ..errors import ConfigurationError

SCALARS: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
#: Types that JSON has as text, and their ``format`` (JSON schema 2020-12, 7.3; the last two are pydantic's).
TEXTS: dict[Any, str] = {
    datetime.datetime: "date-time", datetime.date: "date", datetime.time: "time", datetime.timedelta: "duration",
    uuid.UUID: "uuid", decimal.Decimal: "decimal", **dict.fromkeys([pathlib.Path, pathlib.PurePath], "path"),
}  # fmt: skip
ARRAYS: dict[Any, Any] = {
    list: list, set: set, frozenset: frozenset,
    **{getattr(collections.abc, name): list for name in ("Iterable", "Collection", "Sequence", "MutableSequence")},
}  # fmt: skip
_OBJECTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_UNIONS = (Union, getattr(types, "UnionType", Union))
_QUALIFIERS = ("Required", "NotRequired", "ReadOnly", "Final")


class Kind(NamedTuple):
    """What a hint is: the ``name`` of its kind, the type that it stands for, its arguments, and what Annotated adds."""

    name: str
    """"any", "scalar", "text", "choice", "union", "array", "tuple", "object", "record", "model", or "" for none."""
    type: Any
    arguments: tuple[Any, ...] = ()
    metadata: tuple[Any, ...] = ()


def kind_of(hint: Any) -> Kind:
    """Return what ``hint`` is."""
    if type(hint).__name__ == "TypeAliasType":  # Python 3.12: type X = ...
        return kind_of(hint.__value__)
    if qualifier(hint) in _QUALIFIERS:
        return kind_of(typing.get_args(hint)[0])
    if hasattr(hint, "__supertype__"):  # a NewType
        return kind_of(hint.__supertype__)
    if hasattr(hint, "__metadata__"):  # Annotated
        inner = kind_of(hint.__origin__)
        return inner._replace(metadata=(*inner.metadata, *hint.__metadata__))
    hint = type(None) if hint is None else hint
    try:
        hash(hint)
    except TypeError:
        return Kind("", hint)  # such as [int], which is not a type
    origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    return Kind(_name_of_kind(hint, origin), origin, arguments)


def _name_of_kind(hint: Any, origin: Any) -> str:
    if hint in (Any, object):
        return "any"
    if origin is Literal or (isinstance(hint, type) and issubclass(hint, enum.Enum)):
        return "choice"
    if origin in _UNIONS:
        return "union"
    if origin is tuple:
        return "tuple"
    for name, kinds in (("scalar", SCALARS), ("text", TEXTS), ("array", ARRAYS), ("object", _OBJECTS)):
        if origin in kinds:
            return name
    if isinstance(hint, type) and is_model(hint):
        return "model"
    return "record" if isinstance(hint, type) and _is_record(hint) else ""


def is_hint(value: object) -> bool:
    """Return True for what can stand in an annotation, whether or not JSON can express it."""
    return isinstance(value, type) or typing.get_origin(value) is not None or kind_of(value).name != ""


def is_model(cls: Any) -> bool:
    """Return True for a class like pydantic's models."""
    return hasattr(cls, "model_json_schema") and hasattr(cls, "model_validate_json")


def _is_record(cls: type) -> bool:
    return dataclasses.is_dataclass(cls) or (issubclass(cls, dict) and hasattr(cls, "__total__"))


def without_none(hint: Any) -> tuple[Any, bool]:
    """Return ``hint`` without the None of an Optional, and whether there was one."""
    kind = kind_of(hint)
    if kind.name == "union" and any(kind_of(each).type is type(None) for each in kind.arguments):
        left = tuple(each for each in kind.arguments if kind_of(each).type is not type(None))
        return _annotated(Union[left] if left else None, kind.metadata), True
    if kind.type is Literal and None in kind.arguments and len(kind.arguments) > 1:
        left = tuple(each for each in kind.arguments if each is not None)
        return _annotated(Literal[left], kind.metadata), True
    return hint, kind.type is type(None)


def _annotated(hint: Any, metadata: tuple[Any, ...]) -> Any:
    for each in metadata:
        hint = typing.Annotated[hint, each]
    return hint


class Member(NamedTuple):
    """A parameter of a function, or a field of a class."""

    name: str
    hint: Any
    """The type hint, without the None of an Optional."""
    nullable: bool
    """True if None is a value of it."""
    required: bool
    """True if Python has no default for it; if it is nullable too, None is its default."""
    default: Any
    description: str


def member(name: str, hint: Any, required: bool, default: Any = None, description: str = "") -> Member:
    """Return a member; ``required`` and ``default`` are as Python has them."""
    return Member(name, *without_none(hint), required, default, description)


@functools.lru_cache(maxsize=256)
def members_of(cls: type) -> tuple[Member, ...]:
    """Return the fields of a dataclass or a TypedDict; raise ConfigurationError."""
    hints = resolved(cls, cls.__name__)
    if not dataclasses.is_dataclass(cls):
        keys: frozenset[str] = getattr(cls, "__required_keys__", frozenset(hints))
        found = []
        for name, hint in hints.items():
            # A qualifier that was written as text has not got into the keys.
            said = _qualifiers(hint)
            found.append(member(name, hint, "Required" in said or (name in keys and "NotRequired" not in said)))
        return tuple(found)
    # The signature has InitVar, and has not what the constructor does not take.
    parameters = inspect.signature(cls).parameters.values()
    unknown = [each.name for each in parameters if each.name not in hints or each.kind is each.POSITIONAL_ONLY]
    missing = {each.name for each in dataclasses.fields(cls) if each.init} - {each.name for each in parameters}
    if unknown or missing:
        what = f"takes {', '.join(map(repr, unknown))}, which is not a field" if unknown else ""
        what = what or f"does not take the field {min(missing)!r}"
        hint = "Take a dataclass without an __init__ of its own, or a function with these parameters"
        raise ConfigurationError(f"{cls.__name__} is a dataclass whose __init__ {what}", hint=hint)
    fields = []
    for each in parameters:
        hint = hints[each.name].type if isinstance(hints[each.name], dataclasses.InitVar) else hints[each.name]
        required = each.default is each.empty
        fields.append(member(each.name, hint, required, None if required else each.default))
    return tuple(fields)


def resolved(owner: Any, where: str) -> Mapping[str, Any]:
    """Return the hints of a class or a function, with what is written as text looked up."""
    try:
        return typing.get_type_hints(owner, include_extras=True)
    except Exception as error:  # evaluating text can raise anything
        hint = "Define what it names at the top of its module; before Python 3.10 write Optional[X] for X | None"
        raise ConfigurationError(f"{where}: a type hint cannot be looked up: {error}", hint=hint) from error


def qualifier(hint: Any) -> str:
    """Return the name of a qualifier such as ``Required``, or ""."""
    return getattr(typing.get_origin(hint), "_name", None) or ""


def _qualifiers(hint: Any) -> set[str]:
    """Return the names of all qualifiers around a hint, inside and outside of Annotated."""
    if hasattr(hint, "__metadata__"):
        return _qualifiers(hint.__origin__)
    if qualifier(hint) in _QUALIFIERS:
        return {qualifier(hint), *_qualifiers(typing.get_args(hint)[0])}
    return set()


# The attributes of annotated-types and of pydantic's Field, and the words for them.
_CONSTRAINTS = {
    "description": "description", "pattern": "pattern", "min_length": "minLength", "max_length": "maxLength",
    "ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum",
}  # fmt: skip


def words_of(metadata: Iterable[Any], schema_type: object = "string") -> dict[str, Any]:
    """Return what Annotated says beside the type, in words of JSON schema; the rest is meant for others."""
    words: dict[str, Any] = {}
    for each in metadata:
        if isinstance(each, str):
            words.setdefault("description", each)
            continue
        for part in (each, *getattr(each, "metadata", ())):
            for name, word in _CONSTRAINTS.items():
                bound = getattr(part, name, None)
                if isinstance(bound, (int, float, str)):
                    of_items = word.replace("Length", "Items")
                    # A union has no type; each word concerns the values of its type only.
                    names = {"string": [word], "array": [of_items]}.get(str(schema_type), [word, of_items])
                    words.update(dict.fromkeys(names, bound))
    return words


def name_of(hint: Any) -> str:
    """Return how a message calls ``hint``."""
    return f"{hint.__module__}.{hint.__qualname__}" if isinstance(hint, type) else str(hint)
