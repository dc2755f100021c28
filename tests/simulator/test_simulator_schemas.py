"""The JSON that the stand-in makes up for a schema if the test gave no replies."""

import json

import pytest
from plain_http import CHAT, HI, ask, chat_reply
from tables import for_each

from lmstudio_provider.simulator import SimulatedLMStudio


def form(schema):
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


def made_up(schema):
    with SimulatedLMStudio() as server:
        return json.loads(chat_reply(server, response_format=form(schema))["choices"][0]["message"]["content"])


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}, "never ends"),
        ({"anyOf": [{"$ref": "#"}]}, "never ends"),
    ],
)
def test_a_schema_without_an_example_is_a_server_error(schema, says):
    with SimulatedLMStudio() as server:
        status, _, data = ask(server, "POST", CHAT, {"messages": HI, "response_format": form(schema)})
    assert status == 500
    assert says in json.loads(data)["error"]


MALFORMED = [
    {"$ref": "#/$defs/missing"},
    {"$ref": "https://example.com/schema"},
    {"$ref": 5},
    {"type": "object", "properties": ["a"]},
    {"type": "object", "properties": {"a": {}}, "required": "a"},
    {"type": "object", "properties": {"a": {"type": {}}}},
    {"type": "array", "prefixItems": 5},
    {"type": "array", "minItems": "many"},
    {"anyOf": 5},
    {"enum": {"a": 1}},
]


@for_each("replies", [None, "Hello"])
@for_each("schema", MALFORMED)
def test_a_schema_that_is_malformed_is_refused_by_the_engine(sample, schema, replies):
    wanted = json.loads(sample("errors/grammar.json"))["error"]
    with SimulatedLMStudio(replies=replies) as server:
        status, _, data = ask(server, "POST", CHAT, {"messages": HI, "response_format": form(schema)})
    assert (status, json.loads(data)["error"].startswith(wanted)) == (400, True)


@for_each("replies", [None, "Hello"])
@for_each("schema", MALFORMED)
def test_a_tool_with_such_a_schema_is_refused_by_the_engine(schema, replies):
    inside = {"type": "object", "properties": {"x": schema}, "required": ["x"]}
    tools = [{"type": "function", "function": {"name": "f", "parameters": inside}}]
    with SimulatedLMStudio(replies=replies) as server:
        status, _, data = ask(server, "POST", CHAT, {"messages": HI, "tools": tools})
    assert (status, b"failed to parse grammar" in data) == (400, True)


@for_each(
    ("schema", "value"),
    [
        ({}, "simulated"),
        ({"type": "string"}, "simulated"),
        ({"type": "string", "format": "date"}, "2026-01-02"),
        ({"type": "string", "format": "path"}, "simulated"),
        ({"type": "integer"}, 1),
        ({"type": "number"}, 1.0),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        ({"type": "array"}, []),
        ({"type": "object"}, {}),
        ({"type": ["integer", "null"]}, 1),
        ({"enum": ["red", "green"]}, "red"),
        ({"const": None, "type": "string"}, None),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1),
        ({"oneOf": [{"type": "null"}, {"type": "integer"}]}, None),
        ({"type": "array", "items": {"type": "integer"}}, [1]),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 3}, [1, 1, 1]),
        ({"type": "array", "items": {"type": "integer"}, "maxItems": 0}, []),
        ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]}, [1, "simulated"]),
        ({"type": "array", "prefixItems": [{"type": "integer"}], "items": False}, [1]),
        ({"prefixItems": [{"type": "integer"}], "items": {"type": "null"}, "minItems": 3}, [1, None, None]),
        ({"type": "array", "minItems": 2}, ["simulated", "simulated"]),
        ({"properties": {"a": {"type": "integer"}, "b": True}}, {"a": 1, "b": "simulated"}),
        ({"type": "object", "properties": {"a": {}, "b": {}}, "required": ["b"]}, {"b": "simulated"}),
        ({"type": "object", "required": ["a"]}, {"a": "simulated"}),
        (
            {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"properties": {"x": {"$ref": "#/$defs/c"}}}, "c": {"const": 5}}},
            {"x": 5},
        ),
    ],
)
def test_an_answer_fits_its_schema(schema, value):
    assert made_up(schema) == value


NODE = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
        "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
        "other": {"$ref": "#/$defs/node"},
    },
}


def test_a_schema_that_contains_itself_comes_to_an_end():
    inner = {**NODE, "required": ["name", "children", "next"]}
    assert made_up({"$ref": "#/$defs/node", "$defs": {"node": inner}}) == {
        "name": "simulated",
        "children": [],
        "next": None,
    }
    assert made_up({"$ref": "#/$defs/node", "$defs": {"node": NODE}}) == {
        "name": "simulated",
        "children": [],
        "next": None,
    }


def test_an_alternative_that_would_never_end_gives_way_to_the_next():
    assert made_up({"anyOf": [{"type": "array", "items": {"$ref": "#"}, "minItems": 1}, {"type": "null"}]}) == [None]


def test_replies_of_the_test_are_sent_even_if_they_do_not_fit_the_schema():
    with SimulatedLMStudio(replies="no JSON") as server:
        reply = chat_reply(server, response_format=form({"type": "object"}))
    assert reply["choices"][0]["message"]["content"] == "no JSON"


def test_text_is_a_response_format_too():
    with SimulatedLMStudio() as server:
        reply = chat_reply(server, response_format={"type": "text"})
    assert reply["choices"][0]["message"]["content"].endswith("You said: Hi")


def test_an_answer_for_a_schema_is_cut_as_any_other():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
    with SimulatedLMStudio() as server:
        choice = chat_reply(server, response_format=form(schema), max_tokens=2)["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ('{"a": 1,', "length")
