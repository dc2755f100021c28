"""What response_format asks for, and what becomes of the answer."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from typing import Any, List, Literal, Optional, TypedDict

import pytest

from lmstudio_provider import (
    ChatRequest,
    Completion,
    ConfigurationError,
    InvalidRequestError,
    LMStudioProvider,
    MemoryUsage,
    Message,
    StructuredOutputError,
)
from lmstudio_provider._json_schema import find_misfit
from lmstudio_provider._structured import structure_of
from lmstudio_provider.simulator import SimulatedLMStudio

HI = [Message.user("Hi")]


class Sky(enum.Enum):
    CLEAR = "clear"
    GREY = "grey"


@dataclass
class Wind:
    knots: float


@dataclass
class Weather:
    city: str
    sky: Sky
    winds: List[Wind]  # noqa: UP006 (Python 3.9 looks it up)
    unit: Literal["celsius", "fahrenheit"] = "celsius"
    note: Optional[str] = None  # noqa: UP045 (Python 3.9 looks it up)
    days: List[int] = field(default_factory=list)  # noqa: UP006


class City(TypedDict):
    name: str
    people: int


class Model:
    """As pydantic's classes look from here."""

    def __init__(self, value: int) -> None:
        self.value = value

    @classmethod
    def model_json_schema(cls) -> dict[str, Any]:
        return {"type": "object", "properties": {"value": {"type": "integer"}}, "required": ["value"]}

    @classmethod
    def model_validate_json(cls, text: str) -> Model:
        value = json.loads(text).get("value")
        if not isinstance(value, int):
            raise ValidationError
        return cls(value)


class ValidationError(ValueError):
    def errors(self):
        return [{"loc": ("value", 0), "msg": "Input should be an integer"}]


WEATHER = {"city": "Oslo", "sky": "grey", "winds": [{"knots": 3}]}


def parsed(response_format, text, **fields):
    return structure_of(response_format).parse(Completion(text, "m", "m", **fields))


# What cannot be asked for


@pytest.mark.parametrize("response_format", ["json", 7, str, Sky, Weather("a", Sky.GREY, []), list, [Weather]])
def test_what_is_no_format_is_refused(response_format):
    with pytest.raises(InvalidRequestError, match="dataclass"):
        ChatRequest(HI, response_format=response_format)


def test_json_object_is_refused_because_lm_studio_refuses_it():
    with pytest.raises(InvalidRequestError, match="json_object"):
        ChatRequest(HI, response_format={"type": "json_object"})


@pytest.mark.parametrize("inner", [{}, {"json_schema": 7}, {"json_schema": {"name": "x"}}])
def test_openai_form_without_a_schema_is_refused(inner):
    with pytest.raises(InvalidRequestError, match="schema"):
        ChatRequest(HI, response_format={"type": "json_schema", **inner})


def test_a_schema_that_is_no_json_is_refused():
    with pytest.raises(InvalidRequestError, match="JSON"):
        ChatRequest(HI, response_format={"type": "object", "properties": {"a": object()}})


def test_a_type_that_json_schema_cannot_say_names_class_and_field():
    @dataclass
    class Blob:
        data: bytes

    with pytest.raises(ConfigurationError, match="response_format > Blob: the field 'data' is hinted"):
        ChatRequest(HI, response_format=Blob)


# Answers that do not fit


@pytest.mark.parametrize(
    ("response_format", "text", "path"),
    [
        (Weather, "I cannot tell.", "$"),
        (Weather, "", "$"),
        (Weather, '{"city": "Os', "$"),
        (Weather, "[" * 100_000, "$"),
        (Weather, "[]", "$"),
        (Weather, '{"city": "Oslo", "sky": "grey"}', "$.winds"),
        (Weather, json.dumps({**WEATHER, "winds": [{"knots": 1}, {"knots": "3"}]}), "$.winds[1].knots"),
        (Weather, json.dumps({**WEATHER, "sky": "pink"}), "$.sky"),
        (Weather, json.dumps({**WEATHER, "unit": "kelvin"}), "$.unit"),
        (Weather, json.dumps({**WEATHER, "zip": 1}), "$.zip"),
        (City, '{"name": "Oslo", "people": 1.5}', "$.people"),
        (City, '{"name": "Oslo", "people": NaN}', "$.people"),
        ({"type": "array", "items": {"type": "integer"}}, "[1, true]", "$[1]"),
        (Model, '{"value": "x"}', "$.value[0]"),
    ],
    ids=str,
)
def test_an_answer_that_does_not_fit_tells_the_first_misfit_and_keeps_the_text(response_format, text, path):
    with pytest.raises(StructuredOutputError) as caught:
        parsed(response_format, text)
    error = caught.value
    assert (error.path, error.text, error.partial.text) == (path, text, text)
    assert len(str(error)) < 800


def test_an_answer_that_max_tokens_cut_off_says_so():
    with pytest.raises(StructuredOutputError, match="max_tokens"):
        parsed(Weather, '{"city": "Os', finish_reason="length")


# Answers that do


def test_a_dataclass_is_built_with_all_that_is_in_it():
    answer = {**WEATHER, "unit": "fahrenheit", "note": None, "days": [1, 2]}
    assert parsed(Weather, json.dumps(answer)) == Weather("Oslo", Sky.GREY, [Wind(3.0)], "fahrenheit", None, [1, 2])
    assert parsed(Weather, json.dumps(WEATHER)) == Weather("Oslo", Sky.GREY, [Wind(3.0)])


def test_a_typed_dict_a_schema_and_a_model_of_pydantic_are_read():
    assert parsed(City, '{"name": "Oslo", "people": 7}') == {"name": "Oslo", "people": 7}
    assert parsed({"type": "array"}, "[1]") == [1]
    inner = {"name": "numbers", "schema": {"type": "array"}}
    assert parsed({"type": "json_schema", "json_schema": inner}, "[1]") == [1]
    assert parsed(Model, '{"value": 7}').value == 7


@pytest.mark.parametrize(
    "text", ['{"value": 7}', ' \n{"value": 7} ', '```json\n{"value": 7}\n```', 'Here:\n```\n{"value": 7}\n```\nDone.']
)
def test_json_in_a_fenced_block_is_found(text):
    assert parsed(Model, text).value == 7


@pytest.mark.parametrize("reasoning", ['{"value": 7}', 'I think {so}.\n{"value": 7}', '[hm]\n{\n "value": 7}\n'])
def test_json_that_landed_in_the_reasoning_is_found_there(reasoning):
    assert parsed(Model, "", reasoning=reasoning).value == 7


@pytest.mark.parametrize(
    ("schema", "value", "path"),
    [
        (False, 1, "$"),
        ({"const": 1}, 2, "$"),
        ({"enum": [1]}, True, "$"),
        ({"type": ["string", "null"]}, 1, "$"),
        ({"type": "nonsense"}, 1, "$"),
        ({"minLength": 2}, "a", "$"),
        ({"maxLength": 2}, "abc", "$"),
        ({"pattern": "^a"}, "ba", "$"),
        ({"minimum": 2}, 1, "$"),
        ({"exclusiveMaximum": 2}, 2, "$"),
        ({"minItems": 1}, [], "$"),
        ({"prefixItems": [{}, {"type": "string"}], "items": {"type": "null"}}, [1, "a", 2], "$[2]"),
        ({"additionalProperties": {"type": "string"}}, {"a": 1}, "$.a"),
        ({"allOf": [{}, {"required": ["a"]}]}, {}, "$.a"),
        ({"anyOf": [{"type": "null"}, {"properties": {"a": {"type": "null"}}}]}, {"a": 1}, "$.a"),
        ({"oneOf": [{"type": "null"}, {"type": "string"}]}, 1, "$"),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "string"}}}, 1, "$"),
        ({"$ref": "#"}, 1, None),
    ],
    ids=str,
)
def test_a_schema_finds_the_first_misfit(schema, value, path):
    misfit = find_misfit(value, schema)
    assert misfit is not None
    if path is not None:
        assert misfit.path == path


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (True, 1),
        ({}, None),
        ({"type": "number", "minimum": 1, "format": "unknown"}, 1),
        ({"type": ["string", "null"]}, None),
        ({"properties": {"a": {"type": "string"}}}, {"b": 1}),
        ({"prefixItems": [{"type": "string"}]}, ["a", 1]),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, "a"),
        ({"$ref": "#/$defs/missing"}, 1),
        ({"$ref": "https://example.org/schema"}, 1),
    ],
    ids=str,
)
def test_a_value_that_fits_has_no_misfit(schema, value):
    assert find_misfit(value, schema) is None


# Through a provider


@pytest.fixture
def lm_of():
    """A provider for a simulator that gives these replies, with its usage records."""
    servers = []

    def make(*replies):
        server = SimulatedLMStudio(replies=replies).__enter__()
        lm = LMStudioProvider(server.url, usage=MemoryUsage())
        servers.append((server, lm))
        return lm, server, lm._usage

    yield make
    for server, lm in servers:
        lm.close()
        server.__exit__(None, None, None)


def test_the_schema_is_sent_with_strict_and_a_name(lm_of):
    lm, server, _ = lm_of(json.dumps(WEATHER))
    assert lm.chat(HI, response_format=Weather).parsed == Weather("Oslo", Sky.GREY, [Wind(3.0)])
    sent = server.requests[-1]["body"]["response_format"]
    assert (sent["type"], sent["json_schema"]["name"], sent["json_schema"]["strict"]) == (
        "json_schema",
        "Weather",
        True,
    )
    assert sent["json_schema"]["schema"]["required"] == ["city", "sky", "winds"]


def test_a_stream_is_parsed_at_its_end(lm_of):
    lm, _, _ = lm_of(json.dumps(WEATHER))
    stream = lm.stream(HI, response_format=Weather)
    assert "".join(stream.text()) == json.dumps(WEATHER)
    assert stream.completion.parsed.city == "Oslo"


@pytest.mark.parametrize("streaming", [False, True])
def test_a_misfit_is_raised_with_the_call_and_recorded_with_its_tokens(lm_of, streaming):
    lm, server, usage = lm_of("no JSON at all")
    with pytest.raises(StructuredOutputError) as caught:
        lm.stream(HI, lambda chunk: None, response_format=Weather) if streaming else lm.chat(
            HI, response_format=Weather
        )
    assert caught.value.url == f"{server.url}/v1/chat/completions"
    assert caught.value.partial.finish_reason == "stop"
    assert [(record.status, record.completion_tokens) for record in usage.records] == [("error", 4)]


def test_all_chunks_of_a_stream_come_before_its_misfit(lm_of):
    lm, _, _ = lm_of("no JSON at all")
    stream, chunks = lm.stream(HI, response_format=Weather), []
    with pytest.raises(StructuredOutputError):
        for chunk in stream:
            chunks.append(chunk)
    assert "".join(chunk.delta for chunk in chunks) == "no JSON at all"
    assert chunks[-1].done


def test_a_stream_that_was_closed_is_not_parsed(lm_of):
    lm, _, _ = lm_of(json.dumps(WEATHER))
    with lm.stream(HI, response_format=Weather) as stream:
        next(stream)
    assert (stream.completion.parsed, stream.completion.finish_reason) == (None, "cancelled")


def test_a_tool_call_is_not_parsed(lm_of):
    lm, _, _ = lm_of({"tool_calls": [{"name": "now", "arguments": {}}]})
    completion = lm.chat(HI, response_format=Weather)
    assert (completion.parsed, completion.tool_calls[0].name) == (None, "now")
