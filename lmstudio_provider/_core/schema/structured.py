"""Answers as instances: the JSON schema of ``response_format``, and the conversion of an answer."""

from __future__ import annotations

import functools
import json
import re
import typing
from typing import Any, Callable, Iterator, Mapping

from ..checks import to_json
from ..errors import ConfigurationError, InvalidRequestError, StructuredOutputError, preview
from ..json import is_too_deep, loads_leniently
from ..types import Completion
from .json_schema import MisfitError, fitted

try:
    from .hints import kind_of, member, name_of, without_none
    from .schemas import schema_of, schema_of_members
except ImportError:  # a vendored copy may leave out what makes a JSON schema of a Python type

    def kind_of(hint: Any) -> Any:  # type: ignore[misc]
        what = "a type as response_format needs '_core.schema.schemas', which was left out of this copy"
        raise ConfigurationError(what, hint="Give a JSON schema instead")


class Structure:
    """The name and the JSON schema that a request sends, and the conversion of a JSON value to an instance.

    If the schema is None, the answer may be any JSON.
    """

    def __init__(self, name: str, schema: Mapping[str, Any] | None, read: Callable[[Any], Any], said: str = "") -> None:
        self.name = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64].strip("_") or "answer"
        self.schema = schema
        self._said = said or name or "JSON of that schema"
        self._read = read

    def parse(self, completion: Completion) -> Any:
        """Return the instance that the answer describes; raise StructuredOutputError."""
        # Reasoning models were seen to leave the answer in the reasoning field (LM Studio bug-tracker 1698).
        text = completion.text if completion.text.strip() else completion.reasoning
        misfit: tuple[str, str] | None = None
        for candidate in _candidates(text, completion.finish_reason == "length"):
            try:
                return self._read(loads_leniently(candidate))
            except MisfitError as error:
                misfit = misfit or (error.path, error.why)
            except ValueError:
                continue
        path, why = misfit or ("$", "there is no complete JSON value in it")
        hint = "Try a larger model or a simpler type; .text has the answer"
        if completion.finish_reason == "length":
            hint = "max_tokens cut it off: raise max_tokens; .text has the answer"
        raise StructuredOutputError(
            f"the answer is not valid as {self._said}: at {path} {why}; it begins {text[:200]!r}",
            hint=hint,
            text=text,
            path=path,
            partial=completion,
            sent=True,
        )


def structure_of(response_format: Any) -> Structure | None:
    """Return the structure of ``response_format``, or None if it means text.

    Raises InvalidRequestError if it is not a type or a schema, and ConfigurationError if JSON schema cannot express it.
    """
    if response_format is None:
        return None
    if isinstance(response_format, Mapping):
        return _of_mapping(response_format)
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
    return _of_hint_once(response_format)


def _of_hint(hint: Any) -> Structure:
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

    name = kind.type.__name__ if isinstance(kind.type, type) and not kind.arguments else ""
    return Structure(name, schema.plain(), read, name_of(hint) if not name else "")


_of_hint_once = functools.lru_cache(maxsize=64)(_of_hint)


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


def _candidates(text: str, cut: bool) -> Iterator[str]:
    """Yield the parts of an answer that may be its JSON: the whole text, then the values in it, the last one first.

    Models put JSON into fenced blocks, or write words around it. If the text was ``cut`` off, a complete value in it
    is only a part of the answer.
    """
    yield text
    if not cut:
        yield from reversed(re.findall(_FENCED, text, re.S))
    found: list[str] = []
    decoder, position, left = json.JSONDecoder(strict=False), 0, 10 * len(text)
    for _ in range(0 if cut or is_too_deep(text) else 1000):
        start = _BEGIN.search(text, position)
        if start is None or left < 0:
            break
        try:
            _, position = decoder.raw_decode(text, start.start())
            found.append(text[start.start() : position])
        except json.JSONDecodeError as error:
            if error.msg.startswith("Unterminated") or error.pos >= len(text.rstrip()):
                return  # the text ends inside a value
            position = start.end()
            left -= error.pos - position  # nested JSON breaks at the same place for each bracket around it
        except RecursionError:
            break
    yield from reversed(found)


_BEGIN = re.compile(r"[\[{]")
_FENCED = r"```[^\n`]*\n(.*?)```"
