"""Answers as instances: what ``response_format`` asks for."""

from __future__ import annotations

from typing import Any, Mapping

from ..checks import to_json
from ..errors import ConfigurationError, InvalidRequestError
from .json_schema import fitted
from .structure import Structure


def structure_of(response_format: Any) -> Structure | None:
    """Return the structure of ``response_format``, or None if it means text.

    Raises InvalidRequestError if it is not a type or a schema, and ConfigurationError if JSON schema cannot express it.
    """
    if response_format is None:
        return None
    if isinstance(response_format, Mapping):
        return _of_mapping(response_format)
    try:
        from .typed import structure_of_type  # noqa: PLC0415 (it takes long to import; each provider imports it)
    except ImportError as error:  # a vendored copy may leave out what makes a JSON schema of a Python type
        what = "a type as response_format needs '_core.schema.schemas', which was left out of this copy"
        raise ConfigurationError(what, hint="Give a JSON schema instead") from error
    return structure_of_type(response_format)


def _of_mapping(given: Mapping[str, Any]) -> Structure | None:
    if given.get("type") == "text":
        return None
    if given.get("type") == "json_object":
        if len(given) > 1:
            what = "response_format={'type': 'json_object'} has other members, which servers ignore"
            raise InvalidRequestError(what, hint="Pass only the JSON schema, or a dataclass type")
        return Structure("", None, lambda value: value, "JSON")
    name, schema = given.get("title"), given
    if given.get("type") == "json_schema":
        inner = given.get("json_schema")
        if not isinstance(inner, Mapping) or not isinstance(inner.get("schema"), Mapping):
            raise InvalidRequestError("response_format has no {'json_schema': {'schema': {...}}}")
        name, schema = inner.get("name"), inner["schema"]
    to_json(schema, "response_format")
    return Structure(name if isinstance(name, str) else "", schema, lambda value: fitted(value, schema))
