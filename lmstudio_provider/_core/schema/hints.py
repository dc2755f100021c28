"""The kind of a type hint, and the members of a class."""

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
from typing import Any, Iterable, Literal, Mapping, NamedTuple, Sequence, Union

from ..errors import ConfigurationError

# bool comes before int, of which it is a subclass.
SCALARS: dict[Any, str] = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
# Types that JSON has as text, and their ``format`` (JSON schema 2020-12, 7.3; the last two are pydantic's).
TEXTS: dict[Any, str] = {
    datetime.datetime: "date-time", datetime.date: "date", datetime.time: "time", datetime.timedelta: "duration",
    uuid.UUID: "uuid", decimal.Decimal: "decimal", **dict.fromkeys([pathlib.Path, pathlib.PurePath], "path"),
}  # fmt: skip
ARRAYS: dict[Any, Any] = {
    list: list, set: set, frozenset: frozenset,
    **{getattr(collections.abc, name): list for name in ("Iterable", "Collection", "Sequence", "MutableSequence")},
}  # fmt: skip
_KINDS: dict[Any, str] = {
    Any: "any", object: "any", Literal: "choice", tuple: "tuple",
    **dict.fromkeys((Union, getattr(types, "UnionType", Union)), "union"),
    **dict.fromkeys(SCALARS, "scalar"), **dict.fromkeys(TEXTS, "text"), **dict.fromkeys(ARRAYS, "array"),
    **dict.fromkeys((dict, collections.abc.Mapping, collections.abc.MutableMapping), "object"),
}  # fmt: skip
_QUALIFIERS = ("Required", "NotRequired", "ReadOnly", "Final")


class Kind(NamedTuple):
    """A type hint taken apart: its kind, its type, its arguments, and the metadata of Annotated."""

    name: str
    """"any", "scalar", "text", "choice", "union", "array", "tuple", "object", "record", "model", or "" for others."""
    type: Any
    arguments: tuple[Any, ...] = ()
    metadata: tuple[Any, ...] = ()
    qualifiers: tuple[str, ...] = ()
    """The names of the qualifiers around the hint, such as Required, inside and outside of Annotated."""


def kind_of(hint: Any) -> Kind:
    """Return the kind of ``hint``; aliases, NewTypes and qualifiers such as Required are resolved."""
    if type(hint).__name__ == "TypeAliasType":  # Python 3.12: type X = ...
        return kind_of(hint.__value__)
    qualifier = getattr(typing.get_origin(hint), "_name", None)
    if qualifier in _QUALIFIERS:
        inner = kind_of(typing.get_args(hint)[0])
        return inner._replace(qualifiers=(qualifier, *inner.qualifiers))
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
    if origin in _KINDS or not isinstance(hint, type):
        return _KINDS.get(origin, "")
    if issubclass(hint, enum.Enum):
        return "choice"
    if hasattr(hint, "model_json_schema") and hasattr(hint, "model_validate_json"):
        return "model"  # as pydantic's are
    return "record" if dataclasses.is_dataclass(hint) or (issubclass(hint, dict) and hasattr(hint, "__total__")) else ""


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


def member(name: str, hint: Any, default: Any = inspect.Parameter.empty, description: str = "") -> Member:
    """Return a member; if ``default`` is not given, it is required."""
    return Member(name, *without_none(hint), default is inspect.Parameter.empty, default, description)


@functools.lru_cache(maxsize=256)
def members_of(cls: type) -> tuple[Member, ...]:
    """Return the fields of a dataclass or a TypedDict; raise ConfigurationError."""
    hints = resolved(cls, cls.__name__)
    if not dataclasses.is_dataclass(cls):
        keys: frozenset[str] = getattr(cls, "__required_keys__", frozenset(hints))
        members = []
        for name, hint in hints.items():
            # __required_keys__ ignores a qualifier in a hint that was written as text.
            said = kind_of(hint).qualifiers
            required = "Required" in said or (name in keys and "NotRequired" not in said)
            members.append(member(name, hint, inspect.Parameter.empty if required else None))
        return tuple(members)
    # Unlike fields(), the signature has InitVars, and only the fields that the constructor takes.
    parameters = inspect.signature(cls).parameters.values()
    unknown = [each.name for each in parameters if each.name not in hints or each.kind is each.POSITIONAL_ONLY]
    missing = {each.name for each in dataclasses.fields(cls) if each.init} - {each.name for each in parameters}
    if unknown or missing:
        what = f"takes {', '.join(map(repr, unknown))}, which is not a field"
        what = what if unknown else f"does not take the field {min(missing)!r}"
        hint = "Use a dataclass whose __init__ is generated, or a function with these parameters"
        raise ConfigurationError(f"{cls.__name__} is a dataclass whose __init__ {what}", hint=hint)
    plain = {name: hint.type if isinstance(hint, dataclasses.InitVar) else hint for name, hint in hints.items()}
    return tuple(member(each.name, plain[each.name], each.default) for each in parameters)


def items_of(hint: Any, path: Sequence[str]) -> list[Any]:
    """Return the hints of the items of an array, to which ``path`` leads in a value of ``hint``; none if unknown."""
    kind = kind_of(hint)
    if kind.name == "union":
        return [found for each in kind.arguments for found in items_of(each, path)]
    if not path:
        return [each for each in kind.arguments if each is not Ellipsis] if kind.name in ("array", "tuple") else []
    hints: dict[str, Any] = {}
    if kind.name == "record":
        hints = {each.name: each.hint for each in members_of(kind.type)}
    elif kind.name == "object":
        hints = dict.fromkeys(path[:1], kind.arguments[1]) if kind.arguments else {}
    elif kind.name == "model":
        for name, each in getattr(kind.type, "model_fields", {}).items():
            alias = getattr(each, "validation_alias", None)
            hints[alias if isinstance(alias, str) else name] = each.annotation
    return items_of(hints[path[0]], path[1:]) if path[0] in hints else []


def resolved(owner: Any, where: str) -> Mapping[str, Any]:
    """Return the type hints of a class or a function, those written as text evaluated."""
    try:
        return typing.get_type_hints(owner, include_extras=True)
    except Exception as error:  # evaluating text can raise anything
        hint = "Define each name in it at the top of its module; before Python 3.10, write Optional[X] for X | None"
        raise ConfigurationError(f"{where}: a type hint cannot be evaluated: {error}", hint=hint) from error


# The attributes of annotated-types and of pydantic's Field, and the words for them.
_CONSTRAINTS = {
    "description": "description", "pattern": "pattern", "min_length": "minLength", "max_length": "maxLength",
    "ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum",
}  # fmt: skip


def words_of(metadata: Iterable[Any], schema_type: object = "string") -> dict[str, Any]:
    """Return the words of JSON schema for the metadata of Annotated; metadata for other libraries is ignored."""
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
    """Return the name of ``hint`` for a message."""
    return f"{hint.__module__}.{hint.__qualname__}" if isinstance(hint, type) else str(hint)
