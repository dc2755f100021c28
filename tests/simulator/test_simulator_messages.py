"""The stand-in's ``/v1/messages``, over plain HTTP."""

import base64
import json

import pytest
from plain_http import HI, ask, keys, named_events, post
from tables import for_each

from lmstudio_provider.simulator import SimulatedLMStudio

PATH = "/v1/messages"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"name": "get_weather", "description": "Weather", "input_schema": CITY}
CALL = {"name": "get_weather", "arguments": {"city": "Oslo"}}
ALL = {"reasoning_content": "The weather", "content": "Let me look.", "tool_calls": [CALL]}
DATA = base64.b64encode(b"\x89PNG\r\n\x1a\nrest").decode()
TOKEN = "sk-lm-AbCd1234:0123456789abcdefghij"


def send(server, messages=HI, **fields):
    return post(server, PATH, {"model": "m", "max_tokens": 99, "messages": messages, **fields})


def stream(server, **fields):
    body = {"model": "m", "max_tokens": 99, "messages": HI, "stream": True, **fields}
    status, headers, data = ask(server, "POST", PATH, body)
    assert (status, headers["Content-Type"]) == (200, "text/event-stream"), data
    return named_events(data)


def asked_of(messages, **fields):
    """Return the request that a function of replies gets."""
    asked = []
    with SimulatedLMStudio(["m"], lambda body: asked.append(body) or "Fine.") as server:
        status, value = send(server, messages, **fields)
    assert status == 200, value
    return asked[0]


# Refused


@for_each(
    "fields",
    [
        {"messages": []},
        {"messages": ["Hi"]},
        {"messages": [{"role": "system", "content": "Hi"}]},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": [{"type": "input_text", "input_text": "Hi"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "x"}}]}]},
        {"system": [{"type": "image"}]},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"tool_choice": "auto"},
        {"tool_choice": {"type": "required"}},
    ],
)
def test_a_request_that_does_not_fit_is_refused_in_anthropics_form(sample, fields):
    with SimulatedLMStudio(["m"]) as server:
        status, value = send(server, **fields)
    assert (status, keys(value)) == (400, keys(json.loads(sample("errors/anthropic_api_error.json"))))
    assert value["error"]["type"] == "invalid_request_error"


@for_each("body", [None, [], {"model": "m", "messages": HI}, {"model": "m", "max_tokens": 9}])
def test_messages_and_max_tokens_are_required(body):
    with SimulatedLMStudio(["m"]) as server:
        assert post(server, PATH, body)[0] == 400


def test_an_image_that_is_neither_png_nor_jpeg_is_refused():
    source = {"type": "base64", "media_type": "image/webp", "data": base64.b64encode(b"RIFF").decode()}
    with SimulatedLMStudio(["m"]) as server:
        status, value = send(server, [{"role": "user", "content": [{"type": "image", "source": source}]}])
    assert (status, "neither PNG nor JPEG" in value["error"]["message"]) == (400, True)


@for_each(
    ("model", "arguments", "status", "type_"),
    [
        ("no", {"loaded": []}, 404, "not_found_error"),
        ("too-large", {"loaded": []}, 500, "api_error"),
        ("m", {"loaded": [], "jit": False}, 400, "invalid_request_error"),
        ("m", {"context_length": 0}, 500, "api_error"),
    ],
)
def test_failures_have_anthropics_form(model, arguments, status, type_):
    with SimulatedLMStudio(["m", "too-large"], **arguments) as server:
        got, value = send(server, model=model)
    assert (got, value["type"], value["error"]["type"]) == (status, "error", type_)


def test_a_prompt_that_is_too_long_is_an_error_in_the_stream(sample):
    with SimulatedLMStudio(["m"], context_length=2) as server:
        got = stream(server, system="one two three")
    assert [keys(each) for each in got] == [keys(each) for each in named_events(sample("messages_stream_error.sse"))]
    assert got[0]["message"]["usage"]["input_tokens"] == 4


@pytest.mark.parametrize("arguments", ["{oops", "[5]"])
def test_a_call_whose_arguments_are_not_an_object_is_an_error_of_the_test(arguments):
    with SimulatedLMStudio(["m"], {"tool_calls": [{"name": "f", "arguments": arguments}]}) as server:
        status, value = send(server)
    assert (status, "the simulator could not reply" in value["error"]) == (500, True)


def test_a_call_that_was_cut_off_has_no_arguments():
    cut = {"tool_calls": [{"name": "f", "arguments": ""}], "finish_reason": "length"}
    with SimulatedLMStudio(["m"], cut) as server:
        value = send(server)[1]
    assert (value["content"][0]["input"], value["stop_reason"]) == ({}, "max_tokens")


def test_the_token_may_be_sent_in_anthropics_header(sample):
    body = {"model": "m", "max_tokens": 9, "messages": HI}
    with SimulatedLMStudio(["m"], api_token=TOKEN) as server:
        assert ask(server, "POST", PATH, body, headers={"x-api-key": TOKEN})[0] == 200
        assert ask(server, "POST", PATH, body, headers={"Authorization": f"Bearer {TOKEN}"})[0] == 200
        status, _, data = ask(server, "POST", PATH, body, headers={"x-api-key": "sk-bogus-Example"})
    assert (status, data) == (401, sample("errors/api_key_malformed.json").rstrip())


def test_it_exists_since_0_4_1():
    with SimulatedLMStudio(["m"], version="0.4.0") as server:
        assert send(server) == (200, {"error": "Unexpected endpoint or method. (POST /v1/messages)"})


# Replies


def test_a_reply_has_the_fields_of_lm_studios(sample):
    with SimulatedLMStudio(["m"], {**ALL, "reasoning_content": ""}) as server:
        status, value = send(server)
    assert (status, keys(value)) == (200, keys(json.loads(sample("message.json"))))
    assert value["content"][1]["input"] == {"city": "Oslo"}
    assert (value["stop_reason"], value["stop_sequence"]) == ("tool_use", None)
    assert value["usage"] == {"input_tokens": 1, "output_tokens": 6}


def test_thoughts_are_a_separate_block():
    with SimulatedLMStudio(["m"], ALL) as server:
        first = send(server)[1]["content"][0]
    assert first == {"type": "thinking", "thinking": "The weather", "signature": ""}


@for_each(
    ("fields", "text", "reason", "stop"),
    [
        ({}, "one two three", "end_turn", None),
        ({"max_tokens": 2}, "one two", "max_tokens", None),
        ({"stop_sequences": [" three", " two"]}, "one", "stop_sequence", " two"),
        ({"stop_sequences": [" three"], "max_tokens": 1}, "one", "max_tokens", None),
        ({"stop_sequences": ["four"]}, "one two three", "end_turn", None),
    ],
)
def test_a_reply_says_why_it_ended(fields, text, reason, stop):
    with SimulatedLMStudio(["m"], "one two three") as server:
        value = send(server, **fields)[1]
    assert value["content"] == [{"type": "text", "text": text}]
    assert (value["stop_reason"], value["stop_sequence"]) == (reason, stop)


def test_a_request_that_names_a_model_loads_it():
    with SimulatedLMStudio(["m", "n"], loaded=[]) as server:
        assert send(server, model="n")[1]["model"] == "n"
        assert [each.id for each in server.instances] == ["n"]


def test_a_tool_that_is_offered_is_called_and_its_result_answered():
    with SimulatedLMStudio(["m"]) as server:
        first = send(server, tools=[TOOL])[1]["content"]
        result = {"type": "tool_result", "tool_use_id": first[0]["id"], "content": [{"type": "text", "text": "sunny"}]}
        talk = [*HI, {"role": "assistant", "content": first}, {"role": "user", "content": [result]}]
        second = send(server, talk, tools=[TOOL])[1]["content"]
    assert (first[0]["type"], first[0]["input"]) == ("tool_use", {"city": "simulated"})
    assert second[0]["text"].endswith("The tool answered: sunny")


def test_a_function_gets_the_request_in_openais_form():
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}}
    talk = [
        {"role": "user", "content": [{"type": "text", "text": "What is this?"}, image]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": ""},
                {"type": "text", "text": "Let me look."},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "toolu_1"}, {"type": "text", "text": "Well?"}],
        },
    ]
    fields = {"system": [{"type": "text", "text": "Be brief."}], "top_k": 3, "stop_sequences": ["."], "max_tokens": 9}
    assert asked_of(talk, tools=[TOOL], tool_choice={"type": "any"}, **fields) == {
        "model": "m",
        "top_k": 3,
        "max_tokens": 9,
        "stop": ["."],
        "tool_choice": "required",
        "tools": [
            {"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": CITY}}
        ],
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}},
                ],
            },
            {
                "role": "assistant",
                "content": "Let me look.",
                "tool_calls": [
                    {"type": "function", "id": "toolu_1", "function": {"name": "f", "arguments": "{}"}},
                ],
            },
            {"role": "tool", "tool_call_id": "toolu_1", "content": ""},
            {"role": "user", "content": "Well?"},
        ],
    }


def test_a_choice_of_one_tool_offers_only_that_tool():
    body = asked_of(HI, tools=[{**TOOL, "name": "other"}, TOOL], tool_choice={"type": "tool", "name": "get_weather"})
    assert [each["function"]["name"] for each in body["tools"]] == ["get_weather"]
    assert body["tool_choice"] == "required"


# Streams


def test_a_stream_has_the_events_of_lm_studios(sample):
    wanted = named_events(sample("messages_stream.sse"))
    with SimulatedLMStudio(["m"], ALL) as server:
        got = stream(server, tools=[TOOL])

    def shapes(events):
        return {json.dumps(keys({**each, "index": 0}), sort_keys=True) for each in events}

    assert {each["type"] for each in got} == {each["type"] for each in wanted}
    assert shapes(got) == shapes(wanted)
    assert [each["type"] for each in (got[0], *got[-2:])] == ["message_start", "message_delta", "message_stop"]
    assert got[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}


def test_the_pieces_of_a_stream_are_those_of_a_whole_reply():
    with SimulatedLMStudio(["m"], ALL) as server:
        got = stream(server)
    deltas = [each["delta"] for each in got if each["type"] == "content_block_delta"]
    assert "".join(each.get("thinking", "") for each in deltas) == "The weather"
    assert "".join(each.get("text", "") for each in deltas) == "Let me look."
    assert json.loads("".join(each.get("partial_json", "") for each in deltas)) == {"city": "Oslo"}
    started = [each["content_block"] for each in got if each["type"] == "content_block_start"]
    assert [each.get("thinking", each.get("text", each.get("input"))) for each in started] == ["", "", {}]
