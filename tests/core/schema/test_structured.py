"""What response_format asks for, and what becomes of the answer."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, List, Literal, Optional, TypedDict, Union
from uuid import UUID

import pytest
from tables import for_each

from lmstudio_provider import (
    ChatRequest,
    Completion,
    ConfigurationError,
    InvalidRequestError,
    LMStudioProvider,
    MemoryUsage,
    Message,
    OllamaProvider,
    StructuredOutputError,
)
from lmstudio_provider._core.schema.json_schema import MisfitError, fitted
from lmstudio_provider._core.schema.structured import structure_of
from lmstudio_provider.simulator import SimulatedLMStudio, SimulatedOllama

HI = [Message.user("Hi")]


class Sky(enum.Enum):
    CLEAR = "clear"
    GREY = "grey"


@dataclass
class Wind:
    knots: float


@dataclass
class Leaf:
    value: int


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


JSON = {"type": "json_object"}


def parsed(response_format, text, **fields):
    return structure_of(response_format).parse(Completion(text, "m", "m", **fields))


# What cannot be asked for


@for_each("response_format", ["json", 7, Weather("a", Sky.GREY, []), [Weather]])
def test_a_response_format_that_is_not_a_type_or_a_schema_is_refused(response_format):
    with pytest.raises(InvalidRequestError, match="dataclass"):
        ChatRequest(HI, response_format=response_format)


@for_each("name", ["chat", "complete", "stream", "responses"])
def test_json_object_is_refused_before_it_is_sent_because_lm_studio_refuses_it(name):
    with SimulatedLMStudio() as server, LMStudioProvider(server.url, model="m", refresh=False) as lm:
        with pytest.raises(InvalidRequestError, match=r"json_object.*LM Studio refuses"):
            getattr(lm, name)("Hi", response_format=JSON)
        assert server.requests == []


@for_each("more", [{"schema": {"type": "object"}}, {"json_schema": {"schema": {}}}, {"strict": True}])
def test_json_object_with_a_schema_is_refused_because_the_schema_would_be_ignored(more):
    with pytest.raises(InvalidRequestError, match="json_object") as caught:
        ChatRequest(HI, response_format={**JSON, **more})
    assert "only the JSON schema" in caught.value.hint


@for_each("text", ["", "No.", '{"a": ', "[1, 2"])
def test_an_answer_without_json_is_an_error_with_its_text(text):
    with pytest.raises(StructuredOutputError, match="not valid as JSON: ") as caught:
        parsed(JSON, text)
    assert caught.value.text == text


@for_each(
    ("text", "value"),
    [
        ('{"a": [1, null]}', {"a": [1, None]}),
        ("[1, 2]", [1, 2]),
        ("7", 7),
        ('"Oslo"', "Oslo"),
        ("null", None),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ("{}", {}),
    ],
)
def test_json_object_is_parsed_as_the_json_value_that_it_is(text, value):
    assert parsed(JSON, text) == value


@pytest.mark.parametrize("name", ["chat", "complete"])
def test_json_object_asks_ollama_for_json_whole_and_streamed(name):
    server = SimulatedOllama(replies='{"city": "Oslo"}')
    with server, OllamaProvider(server.url, model="simulated-model", refresh=False) as provider:
        assert getattr(provider, name)("Which city?", response_format=JSON).parsed == {"city": "Oslo"}
        stream = provider.stream("Which city?", response_format=JSON)
        assert "".join(stream.text()) == '{"city": "Oslo"}'
        assert stream.completion.parsed == {"city": "Oslo"}
        assert [each["body"]["format"] for each in server.requests] == ["json", "json"]


@for_each("inner", [{}, {"json_schema": 7}, {"json_schema": {"name": "x"}}])
def test_openai_form_without_a_schema_is_refused(inner):
    with pytest.raises(InvalidRequestError, match="schema"):
        ChatRequest(HI, response_format={"type": "json_schema", **inner})


def test_a_schema_that_is_not_json_is_refused():
    with pytest.raises(InvalidRequestError, match="JSON"):
        ChatRequest(HI, response_format={"type": "object", "properties": {"a": object()}})


def test_a_type_that_json_schema_cannot_say_names_class_and_field():
    @dataclass
    class Blob:
        data: bytes

    with pytest.raises(ConfigurationError, match="response_format > Blob: the field 'data' is hinted"):
        ChatRequest(HI, response_format=Blob)


# Answers that do not fit


@for_each(
    ("response_format", "text", "path"),
    [
        (Weather, "I cannot tell.", "$"),
        (Weather, "", "$"),
        (Weather, '{"city": "Os', "$"),
        (Weather, "[" * 100_000, "$"),
        (Weather, "[]", "$"),
        (Weather, '{"city": "Oslo", "sky": "grey"}', "$.winds"),
        (Weather, json.dumps({**WEATHER, "winds": [{"knots": 1}, {"knots": "fast"}]}), "$.winds[1].knots"),
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
def test_an_answer_that_does_not_fit_is_an_error_with_the_first_misfit_and_the_text(response_format, text, path):
    with pytest.raises(StructuredOutputError) as caught:
        parsed(response_format, text)
    error = caught.value
    assert (error.path, error.text, error.partial.text) == (path, text, text)
    assert len(str(error)) < 800


def test_an_answer_that_max_tokens_cut_off_says_so():
    with pytest.raises(StructuredOutputError, match="max_tokens"):
        parsed(Weather, '{"city": "Os', finish_reason="length")


MANY = "9" * 5000  # Python refuses to read so many digits


@for_each(
    "text",
    [
        f'{{"value": {MANY}}}',
        f'{{"value": -{MANY}',
        MANY,
        f"[{MANY}]",
        f'Here:\n```json\n{{"value": {MANY}}}\n```',
        f'"{{\\"value\\": {MANY}}}"',
        f'{{"value": "{MANY}"}}',
        f'{{"value": 1{MANY}.5e1}}',
    ],
)
@for_each("response_format", [int, Leaf, list[Leaf], date, timedelta, {"type": "array", "items": {"type": "integer"}}])
def test_a_number_of_thousands_of_digits_is_an_answer_that_does_not_fit(text, response_format):
    with pytest.raises(StructuredOutputError) as caught:
        parsed(response_format, text)
    assert (caught.value.text, caught.value.partial.text) == (text, text)
    assert len(str(caught.value)) < 800


def test_an_answer_with_a_number_that_cannot_be_read_says_so():
    with pytest.raises(StructuredOutputError, match=r"at \$ it cannot be read \(Exceeds the limit .* digits"):
        parsed(Leaf, f'{{"value": {MANY}}}')
    with pytest.raises(StructuredOutputError, match=r"at \$ it cannot be read \(nested too deeply\)"):
        parsed(Leaf, "[" * 300 + "]" * 300)


@for_each(
    "text",
    [
        f'{{"value": 7}} [{MANY}]',
        f'[{MANY}] {{"value": 7}}',
        f'{{"n": [{MANY}]}} {{"value": 7}} {{"n": {MANY}}}',
        f'```\n{{"n": {MANY}}}\n```\n```\n{{"value": 7}}\n```',
    ],
)
def test_a_number_that_cannot_be_read_beside_an_answer_does_not_matter(text):
    assert parsed(Leaf, text) == Leaf(7)


# Answers that do


@dataclass
class Payment:
    amount: Decimal
    cents: Union[Decimal, str]
    id: int
    rate: float = 0.0


LONG = "12345678901234567.89"


@for_each(
    ("response_format", "text", "value"),
    [
        (Decimal, LONG, Decimal(LONG)),
        (Decimal, f'{{"value": -{LONG}}}', -Decimal(LONG)),
        (Decimal, "0.1000000000000000000000000001", Decimal("0.1000000000000000000000000001")),
        (Decimal, "1e400", Decimal("1e400")),
        (Decimal, "1e-400", Decimal("1e-400")),
        (Decimal, "1.10", Decimal("1.1")),
        (Decimal, "9" * 30, Decimal("9" * 30)),
        (list[Decimal], f"[{LONG}, 0.5]", [Decimal(LONG), Decimal("0.5")]),
        (Union[Decimal, None], LONG, Decimal(LONG)),
        (int, "9007199254740993.0", 9007199254740993),
        (int, '{"value": 12345678901234567890123e0}', 12345678901234567890123),
        (int, "1.2345678901234567890123e22", 12345678901234567890123),
        (float, LONG, 12345678901234567.89),
        (float, "0.1000000000000000000000000001", 0.1),
        (Union[int, float], LONG, 12345678901234567.89),
        ({"type": "integer"}, "9007199254740993.0", 9007199254740993),
        ({"type": "number"}, LONG, 12345678901234567.89),
    ],
    ids=str,
)
def test_no_digit_of_a_number_is_lost(response_format, text, value):
    result = parsed(response_format, text)
    assert (result, type(result)) == (value, type(value)) or response_format == {"type": "number"}
    assert result == value


def test_no_digit_of_a_member_is_lost():
    text = f'{{"amount": {LONG}, "cents": {LONG}, "id": 9007199254740993.0, "rate": {LONG}}}'
    payment = parsed(Payment, text)
    assert payment == Payment(Decimal(LONG), Decimal(LONG), 9007199254740993, 12345678901234567.89)
    assert type(payment.rate) is float


@for_each("text", [LONG, "9007199254740993.5", "1e400", "1e-400"])
@for_each("response_format", [int, {"type": "integer"}])
def test_a_number_that_only_rounding_makes_an_integer_is_none(response_format, text):
    with pytest.raises(StructuredOutputError):
        parsed(response_format, text)


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


@for_each(
    "text", ['{"value": 7}', ' \n{"value": 7} ', '```json\n{"value": 7}\n```', 'Here:\n```\n{"value": 7}\n```\nDone.']
)
def test_json_in_a_fenced_block_is_found(text):
    assert parsed(Model, text).value == 7


@for_each(
    ("response_format", "text", "value"),
    [
        (int, '{"value": 7}', 7),
        (int, "7", 7),
        (int, '{"value": "7"}', 7),
        (str, '{"value": "a"}', "a"),
        (Sky, '{"value": "grey"}', Sky.GREY),
        (list[Wind], '{"value": [{"knots": 3}]}', [Wind(3.0)]),
        (list[Wind], '[{"knots": 3}]', [Wind(3.0)]),
        (list[Wind], 'Here they are:\n```json\n[{"knots": 3},]\n```', [Wind(3.0)]),
        (Union[Wind, int], '{"value": {"knots": 3}}', Wind(3.0)),
        (Union[Wind, int], '{"knots": 3}', Wind(3.0)),
        (Optional[Wind], '{"value": null}', None),
        (Optional[Wind], "{}", None),
        (Optional[Wind], "null", None),
        (Literal["a", "b"], '{"value": "b"}', "b"),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (dict[str, int], '{"value": 1}', {"value": 1}),
        (tuple[int, str], '{"value": [1, "a"]}', (1, "a")),
        (date, '{"value": "2026-11-28"}', date(2026, 11, 28)),
        (Weather, json.dumps({**WEATHER, "winds": [{"knots": "3"}], "days": "[1]", "unit": None}), None),
        ({"type": "object", "properties": {"a": {"type": "integer"}}}, '{"a": "1",}', {"a": 1}),
    ],
    ids=str,
)
def test_any_type_hint_is_read_from_an_answer_with_or_without_the_wrapping(response_format, text, value):
    if response_format is Weather:
        value = Weather("Oslo", Sky.GREY, [Wind(3.0)], days=[1])
    assert parsed(response_format, text) == value


@for_each("response_format", [int, str, Sky, list[Wind], Optional[Wind], Union[Wind, int], Literal["a"]])
def test_a_type_that_is_not_an_object_is_wrapped_into_one(response_format):
    schema = structure_of(response_format).schema
    assert schema["type"] == "object"
    assert list(schema["properties"]) == ["value"]


@for_each("response_format", [Weather, City, Model, dict[str, int]])
def test_an_object_is_not_wrapped(response_format):
    assert "value" not in structure_of(response_format).schema.get("properties", {}) or response_format is Model


@for_each(
    ("response_format", "name"),
    [(Weather, "Weather"), (list[Wind], "answer"), (int, "int"), ({"title": "a b"}, "a_b"), ({}, "answer")],
)
def test_the_name_that_is_sent_is_one_that_endpoints_take(response_format, name):
    assert structure_of(response_format).name == name


@for_each("reasoning", ['{"value": 7}', 'I think {so}.\n{"value": 7}', '[hm]\n{\n "value": 7}\n'])
def test_json_that_landed_in_the_reasoning_is_found_there(reasoning):
    assert parsed(Model, "", reasoning=reasoning).value == 7


@for_each(
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
        ({"additionalProperties": {"type": "string"}}, {"a": None}, "$.a"),
        ({"additionalProperties": False, "required": ["b"]}, {"a": 1}, "$.a"),
        ({"allOf": [{}, {"required": ["a"]}]}, {}, "$.a"),
        ({"anyOf": [{"type": "null"}, {"properties": {"a": {"type": "null"}}}]}, {"a": 1}, "$.a"),
        ({"oneOf": [{"type": "null"}, {"type": "string"}]}, 1, "$"),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "string"}}}, 1, "$"),
        ({"$ref": "#"}, 1, None),
    ],
    ids=str,
)
def test_a_schema_finds_the_first_misfit(schema, value, path):
    with pytest.raises(MisfitError) as caught:
        fitted(value, schema)
    if path is not None:
        assert caught.value.path == path


@for_each(
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
    assert fitted(value, schema) == value


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


@for_each("hint", [date, datetime, time, timedelta, UUID, Decimal, Path, List[date], Sky])  # noqa: UP006
def test_the_stand_in_makes_up_an_answer_of_any_type(hint):
    with SimulatedLMStudio() as server, LMStudioProvider(server.url) as lm:
        value = lm.chat(HI, response_format=hint).parsed
    assert isinstance(value[0] if isinstance(value, list) else value, hint if isinstance(hint, type) else date)


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


# What made it slow, or leak


@dataclass
class Plus:
    left: Union[Leaf, Plus, Times]
    right: Union[Leaf, Plus, Times]
    op: Literal["+"]


@dataclass
class Times:
    left: Union[Leaf, Plus, Times]
    right: Union[Leaf, Plus, Times]
    op: Literal["*"]


def test_alternatives_inside_alternatives_take_no_time_without_end():
    value: Any = {"value": 1}
    for _ in range(40):
        value = {"left": value, "right": {"value": 2}, "op": "*"}
    assert isinstance(parsed(Times, json.dumps(value)).left, Times)


@for_each(
    "text", ["```json" + "\n" * 200_000, "[" * 300_000, "{" * 300_000, '{"a": ' * 50_000, "[1] " * 100_000], ids=len
)
def test_long_texts_without_an_answer_take_no_time_without_end(text):
    with pytest.raises(StructuredOutputError):
        parsed(Model, text)


@for_each(
    "text",
    [
        'The form is:\n```json\n{"example": 1}\n```\nMine:\n```json\n{"value": 7}\n```',
        '{"value": 7}\n\nHope that helps!',
        'The answer is {"value": 7}',
        '```json {"value": 7}```',
        '```JSON\n{"value": 7}\n```',
        'First I thought {"value": 6}, but it is {"value": 7}.',
        '[1] says {so}: {"value": 7}',
    ],
)
def test_an_answer_with_words_around_it_is_found_the_last_one_first(text):
    assert parsed(Model, text).value == 7
    assert parsed(Model, "", reasoning=f"{text}\nThat is right.").value == 7


def test_a_part_of_an_answer_that_was_cut_off_is_not_an_answer():
    text = '{"outer": {"value": 7}, "more": "an'
    for finish_reason in ("stop", "length"):
        with pytest.raises(StructuredOutputError):
            parsed(Model, text, finish_reason=finish_reason)
    with pytest.raises(StructuredOutputError):
        parsed(Model, '{"outer": {"value": 7}, }', finish_reason="length")


@for_each(
    "schema",
    [
        {"pattern": "^\\p{L}+$"},
        {"type": ["string", None]},
        {"type": 5, "properties": None, "required": True, "enum": 5, "minimum": "0", "items": 3, "anyOf": {}},
        {"$ref": 5},
        {"$ref": "#leaf"},
        {"patternProperties": {"^x": {}}, "additionalProperties": False},
        {"exclusiveMinimum": True},
        {"maxLength": None},
    ],
    ids=str,
)
@for_each("value", ["a", {"x1": 1}, [1], 0.5])
def test_words_of_a_schema_that_make_no_sense_here_are_passed_over(schema, value):
    if schema.get("type") != ["string", None] or isinstance(value, str):
        assert fitted(value, schema) == value


@pytest.mark.parametrize("error", [ValueError("no schema"), TypeError("no schema")])
def test_a_model_without_a_schema_is_refused(error):
    class Broken(Model):
        @classmethod
        def model_json_schema(cls):
            raise error

    with pytest.raises(ConfigurationError, match="Broken has no JSON schema: no schema"):
        ChatRequest(HI, response_format=Broken)


def test_an_instance_of_a_model_is_refused():
    with pytest.raises(InvalidRequestError, match="not a type"):
        ChatRequest(HI, response_format=Model(1))


def test_words_beside_a_tool_call_are_not_parsed_as_an_answer(lm_of):
    lm, _, _ = lm_of({"content": "Let me look.", "tool_calls": [{"name": "now", "arguments": {}}]})
    assert lm.chat(HI, response_format=Weather).tool_calls[0].name == "now"


@dataclass
class Inner:
    outer: Optional[Outer] = None  # noqa: UP045 (Python 3.9 evaluates it)


@dataclass
class Outer:
    inner: Inner


def test_a_class_that_contains_itself_through_another_is_one_definition():
    schema = structure_of(Outer).schema
    assert schema["$ref"] == "#/$defs/Outer"
    assert list(schema["$defs"]) == ["Outer"]
    assert schema["$defs"]["Outer"]["properties"]["inner"]["properties"]["outer"] == {"$ref": "#/$defs/Outer"}


def test_the_order_of_a_union_counts_whichever_was_asked_for_first():
    for first, second in ((str, date), (date, str), (str, date)):
        assert type(parsed(Union[first, second], '"2026-01-02"')) is first
        assert [type(each) for each in parsed(list[Union[first, second]], '["2026-01-02"]')] == [first]


def test_required_names_that_are_not_text_are_ignored():
    form = {"type": "object", "properties": {"a": {"type": "string"}}, "required": [["a"], "a"]}
    assert fitted({"a": "b"}, form) == {"a": "b"}
    with pytest.raises(MisfitError):
        fitted({}, form)
