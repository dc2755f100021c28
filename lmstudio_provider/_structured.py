"""Answers as values: what ``response_format`` asks for, and how it is read from the answer."""

from __future__ import annotations

import functools
import json
import re
from typing import Any, Callable, Iterator, Mapping

from ._exceptions import ConfigurationError, InvalidRequestError, StructuredOutputError, shown
from ._hints import MisfitError, Shapes, is_record
from ._json import is_too_deep, loads
from ._json_schema import Misfit, find_misfit
from ._types import Completion


class Structure:
    """What an answer has to be: the name and the JSON schema that go out, and how text becomes an instance."""

    def __init__(self, name: str, schema: Mapping[str, Any], read: Callable[[str], Any]) -> None:
        self.name = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64]
        self.schema = schema
        self._read = read

    def parse(self, completion: Completion) -> Any:
        """The instance that the answer says; raises StructuredOutputError."""
        # Reasoning models were seen to leave the answer in the reasoning field (LM Studio bug-tracker 1698).
        text = completion.text if completion.text.strip() else completion.reasoning
        misfit = None
        for candidate in _candidates(text, completion.finish_reason == "length"):
            try:
                return self._read(candidate)
            except MisfitError as error:
                misfit = misfit or error.misfit
            except ValueError:
                continue
        misfit = misfit or Misfit("$", "there is no JSON in it")
        hint = "A larger model, or a simpler type, does better; .text is what the model wrote"
        if completion.finish_reason == "length":
            hint = "max_tokens cut it off: raise it; .text is what the model wrote"
        raise StructuredOutputError(
            f"the answer is no {self.name}: at {misfit.path} {misfit.why}; it begins {text[:200]!r}",
            hint=hint,
            text=text,
            path=misfit.path,
            partial=completion,
            sent=True,
        )


def structure_of(response_format: Any) -> Structure | None:
    """What ``response_format`` asks for, None where that is text.

    Raises InvalidRequestError for what it cannot be, and ConfigurationError for a type that JSON schema cannot say.
    """
    if response_format is None:
        return None
    if isinstance(response_format, Mapping):
        return _of_mapping(response_format)
    if isinstance(response_format, type):
        if hasattr(response_format, "model_json_schema") and hasattr(response_format, "model_validate_json"):
            return _of_model(response_format)
        if is_record(response_format):
            return _of_class(response_format)
    raise InvalidRequestError(
        f"response_format={shown(response_format)} is no dataclass, TypedDict, JSON schema or pydantic model",
        hint="Write a dataclass with a field for each thing that you want to know, a list as well, and give the class",
    )


@functools.lru_cache(maxsize=64)
def _of_model(cls: Any) -> Structure:
    try:
        schema = cls.model_json_schema()
    except Exception as error:  # of another library: whatever it is, there is no schema
        raise ConfigurationError(f"response_format={cls.__name__} has no JSON schema: {error}") from error
    return Structure(cls.__name__, schema, lambda text: _validated(cls, text))


@functools.lru_cache(maxsize=64)
def _of_class(cls: type) -> Structure:
    shapes = Shapes()
    shape = shapes.of(cls, "response_format")
    return Structure(cls.__name__, shapes.whole(shape), lambda text: shapes.read(shape, _value(text)))


def _of_mapping(given: Mapping[str, Any]) -> Structure | None:
    if given.get("type") == "text":
        return None
    if given.get("type") == "json_object":
        raise InvalidRequestError(
            "response_format={'type': 'json_object'}, which LM Studio refuses",
            hint="Give a JSON schema, or a dataclass type",
        )
    name, schema = given.get("title"), given
    if given.get("type") == "json_schema":
        inner = given.get("json_schema")
        if not isinstance(inner, Mapping) or not isinstance(inner.get("schema"), Mapping):
            raise InvalidRequestError("response_format has no {'json_schema': {'schema': {...}}}")
        name, schema = inner.get("name"), inner["schema"]
    try:
        json.dumps(schema)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(f"response_format cannot be written as JSON: {error}") from error

    def read(text: str) -> Any:
        value = _value(text)
        misfit = find_misfit(value, schema)
        if misfit is not None:
            raise MisfitError(misfit)
        return value

    return Structure(name if isinstance(name, str) and name else "answer", schema, read)


def _validated(cls: Any, text: str) -> Any:
    """An instance of a class like pydantic's."""
    _value(text)  # what is no JSON is no misfit
    try:
        return cls.model_validate_json(text)
    except Exception as error:  # of another library: whatever it is, the text does not fit
        details = getattr(error, "errors", None)
        first: dict[str, Any] = next(iter(details() if callable(details) else []), {})
        path = "$" + "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in first.get("loc", ()))
        raise MisfitError(Misfit(path, first.get("msg") or str(error))) from error


def _value(text: str) -> Any:
    try:
        return loads(text)
    except RecursionError as error:
        raise MisfitError(Misfit("$", "it is nested too deeply")) from error


def _candidates(text: str, cut: bool) -> Iterator[str]:
    """Where the JSON of an answer may be: the whole text, else the values in it, the last one first.

    Models put it into fenced blocks, or words around it. In a text that was ``cut`` off, what is whole is a part.
    """
    yield text
    found: list[str] = []
    decoder, position = json.JSONDecoder(), 0
    for _ in range(0 if cut or is_too_deep(text) else 1000):
        start = _BEGIN.search(text, position)
        if start is None:
            break
        try:
            _, position = decoder.raw_decode(text, start.start())
            found.append(text[start.start() : position])
        except json.JSONDecodeError as error:
            if error.msg.startswith("Unterminated") or error.pos >= len(text.rstrip()):
                return  # it stops in the middle
            position = start.end()
        except RecursionError:
            break
    yield from reversed(found)


_BEGIN = re.compile(r"[\[{]")
