"""Answers as instances of Python types."""

from __future__ import annotations

import functools
import typing
from typing import Any, Callable, Sequence

from ..errors import ConfigurationError, InvalidRequestError, preview
from .hints import items_of, kind_of, member, name_of, without_none
from .json_schema import fitted
from .schemas import schema_of, schema_of_any, schema_of_members
from .structure import Structure


def structure_of_type(response_format: Any) -> Structure:
    """Return the structure of a type hint.

    Raises InvalidRequestError if it is not a type, and ConfigurationError if JSON schema cannot express it.
    """
    kind, is_type = kind_of(response_format), isinstance(response_format, type)
    if not is_type and typing.get_origin(response_format) is None and not kind.name:
        raise InvalidRequestError(
            f"response_format={preview(response_format)} is not a type or a JSON schema",
            hint="Write a dataclass with a field for each value that you need, and pass the class; with Ollama, "
            "{'type': 'json_object'} stands for any JSON",
        )
    try:
        hash(response_format)
    except TypeError:  # of Annotated with something that has no hash
        return _of_hint(response_format)
    return _of_hint_once(response_format, str(response_format))  # unions are equal in any order


def _of_hint(hint: Any, written: str = "") -> Structure:
    """Return the structure of a type hint; endpoints want an object, so any other value is wrapped into one."""
    kind, nullable = kind_of(hint), without_none(hint)[1]
    schema = inner = schema_of(hint, "response_format")
    is_object = kind.name in ("record", "object", "model") and (schema.get("type") == "object" or "$ref" in schema)
    if not is_object:
        schema = schema_of_members([member("value", hint)], "response_format:")

    def read(value: Any) -> Any:
        if not is_object and isinstance(value, dict) and (set(value) == {"value"} or (nullable and not value)):
            value = value.get("value")  # a model may leave the wrapping out
        return fitted(value, inner)

    def items_at(path: Sequence[str]) -> Callable[[Any], Any]:
        hints = tuple(items_of(hint, path if is_object or path[:1] != ["value"] else path[1:]))
        try:
            return _reader_of_any(hints, str(hints))
        except TypeError:  # one of them has no hash
            return _reader_of_any.__wrapped__(hints)

    name = kind.type.__name__ if isinstance(kind.type, type) and not kind.arguments else ""
    said = "" if name else name_of(hint)
    return Structure(name, schema.plain(), read, said, None if is_object else inner, items_at)


_of_hint_once = functools.lru_cache(maxsize=64)(_of_hint)


@functools.lru_cache(maxsize=64)
def _reader_of_any(hints: tuple[Any, ...], written: str = "") -> Callable[[Any], Any]:
    """Return a function that converts a value to one of the ``hints``, if there are any."""
    try:
        return functools.partial(fitted, schema=schema_of_any(hints, "response_format"))
    except ConfigurationError:  # pydantic knows more types
        return lambda value: value
