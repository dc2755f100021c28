"""The ``/v1`` of the stand-in for Ollama, over plain HTTP."""

import base64
import json
import re
import struct

import pytest
from plain_http import CHAT, HI, ask, events, named_events, post
from tables import for_each

from lmstudio_provider.simulator import OllamaModel, SimulatedOllama

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": CITY}}
CALL = {"name": "get_weather", "arguments": {"city": "Paris"}}
THOUGHT = {"reasoning_content": ["Let", " me", " see", "."], "content": ["Hello", " there", "!"]}
SEEN = {**THOUGHT, "prompt_tokens": 9, "completion_tokens": 15}
MESSAGES = {"max_tokens": 99, "messages": HI}


def timeless(data):
    """Return the bytes without ids and times, which differ each time."""
    data = re.sub(rb'"(id|item_id)":"([a-z]+)[_-]\w+"', rb'"\1":"\2"', data)
    return re.sub(rb'"((?:created|completed)(?:_at)?)":\d+', rb'"\1":0', data)


# Errors


@for_each("stream", [False, True])
@for_each(
    ("path", "body"),
    [
        (CHAT, {"messages": HI}),
        ("/v1/completions", {"prompt": "x"}),
        ("/v1/embeddings", {"input": "x"}),
        ("/v1/responses", {"input": "x"}),
    ],
)
def test_an_unknown_model_is_not_found(sample, path, body, stream):
    wanted = sample("errors/ollama_seen_v1_model_not_found.json")
    if path == "/v1/embeddings":
        wanted = wanted.replace(b"'nothere' not found", b'\\"nothere\\" not found, try pulling it first')
    with SimulatedOllama("m") as server:
        status, headers, data = ask(server, "POST", path, {"model": "nothere", "stream": stream, **body})
    assert (status, headers["Content-Type"], data) == (404, "application/json", wanted)


def test_an_unknown_model_is_not_found_in_anthropics_form(sample):
    wanted = sample("errors/ollama_seen_messages_model_not_found.json")
    with SimulatedOllama("m") as server:
        status, _, data = ask(server, "POST", "/v1/messages", {"model": "nothere", **MESSAGES})
    assert (status, re.sub(rb"req_[0-9a-f]{24}", b"req_4a21ef8cdd676a794c25484d", data)) == (404, wanted)


def test_each_error_in_anthropics_form_has_a_different_id():
    with SimulatedOllama("m") as server:
        ids = {post(server, "/v1/messages", {"model": "no", **MESSAGES})[1]["request_id"] for _ in range(3)}
    assert len(ids) == 3


@for_each(
    ("body", "said"),
    [
        ({"messages": []}, "[] is too short - 'messages'"),
        ({"messages": [{"role": "user"}]}, "invalid message content type: <nil>"),
        ({"messages": [{"role": "user", "content": [{"type": "x"}]}]}, "invalid message format"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/y.png"}}]}
                ]
            },
            "invalid image input",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{oops"}}]}]},
            "invalid tool call arguments",
        ),
        (
            {"messages": HI, "reasoning_effort": "max"},
            'invalid think value: "max" (must be "low", "medium", "high", true,',
        ),
        ({"model": "", "messages": HI}, "model is required"),
        ({"model": "vec", "messages": HI}, '"vec" does not support chat'),
    ],
)
def test_refusals_have_openais_form(body, said):
    with SimulatedOllama(["m", OllamaModel("vec", capabilities=("embedding",))]) as server:
        status, value = post(server, CHAT, {"model": "m", **body})
    error = value["error"]
    assert (status, error["message"][: len(said)]) == (400, said)
    assert {**error, "message": ""} == {"message": "", "type": "invalid_request_error", "param": None, "code": None}


@for_each(
    ("body", "said"),
    [
        ({"max_tokens": None}, "max_tokens is required and must be positive"),
        ({"max_tokens": 0}, "max_tokens is required and must be positive"),
        ({"messages": []}, "messages is required"),
        ({"model": ""}, "model is required"),
    ],
)
def test_refusals_of_messages_have_anthropics_form(body, said):
    with SimulatedOllama("m") as server:
        status, value = post(server, "/v1/messages", {"model": "m", **MESSAGES, **body})
    assert (status, value["type"], value["error"]) == (
        400,
        "error",
        {"type": "invalid_request_error", "message": said},
    )


@pytest.mark.parametrize("path", ["/v1/decisions", "/v1/nothing"])
def test_a_newer_endpoint_is_not_found_with_a_text(path):
    with SimulatedOllama("m") as server:
        status, headers, data = ask(server, "POST", path, {"model": "m"})
    assert (status, headers["Content-Type"], data) == (404, "text/plain; charset=utf-8", b"404 page not found")


# Models


def test_models_are_listed_and_looked_up():
    with SimulatedOllama(["m", "acme/n:1"]) as server:
        value = json.loads(ask(server, "GET", "/v1/models")[2])
        assert [each["id"] for each in value["data"]] == ["m:latest", "acme/n:1"]
        assert set(value["data"][0]) == {"id", "object", "created", "owned_by"}
        for name in ("m", "acme/n:1", "acme%2Fn:1"):
            status, _, data = ask(server, "GET", f"/v1/models/{name}")
            assert (status, json.loads(data)["object"]) == (200, "model")
        status, _, data = ask(server, "GET", "/v1/models/nothere")
    assert (status, json.loads(data)["error"]["type"]) == (404, "not_found_error")


# Chats and texts


def test_a_stream_with_thoughts_is_the_one_that_was_seen(sample):
    body = {"model": "think", "messages": HI, "stream": True, "stream_options": {"include_usage": True}}
    with SimulatedOllama("think", SEEN) as server:
        _, headers, data = ask(server, "POST", CHAT, body)
    assert headers["Content-Type"] == "text/event-stream"
    assert timeless(data) == timeless(sample("ollama_seen_v1_chat_thinking_stream.sse"))


def test_a_whole_reply_has_what_the_stream_has():
    with SimulatedOllama("think", SEEN) as server:
        value = post(server, CHAT, {"model": "think", "messages": HI})[1]
    assert list(value) == ["id", "object", "created", "model", "system_fingerprint", "choices", "usage"]
    assert value["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello there!", "reasoning": "Let me see."},
            "finish_reason": "stop",
        }
    ]
    assert value["usage"] == {"prompt_tokens": 9, "completion_tokens": 15, "total_tokens": 24}


def test_calls_come_whole_and_have_an_index_in_whole_replies_too():
    body = {"model": "m", "messages": HI, "tools": [TOOL]}
    wanted = {
        "id": "call_00000000",
        "index": 0,
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'},
    }
    with SimulatedOllama("m", {"tool_calls": [CALL, {"name": "nobody"}]}) as server:
        choice = post(server, CHAT, body)[1]["choices"][0]
        first, last = events(ask(server, "POST", CHAT, {**body, "stream": True})[2])
    assert (choice["message"]["tool_calls"], choice["finish_reason"]) == ([wanted], "tool_calls")
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "", "tool_calls": [wanted]}
    assert last["choices"][0]["finish_reason"] == "tool_calls"


def test_a_dropped_call_leaves_an_empty_answer():
    with SimulatedOllama("m", {"tool_calls": [{"name": "nobody"}]}) as server:
        value = post(server, CHAT, {"model": "m", "messages": HI, "tools": [TOOL]})[1]
    assert value["choices"][0]["message"] == {"role": "assistant", "content": ""}
    assert (value["choices"][0]["finish_reason"], value["usage"]["completion_tokens"]) == ("stop", 2)


def test_an_empty_answer_is_still_a_stream():
    with SimulatedOllama("m", "") as server:
        (only,) = events(ask(server, "POST", CHAT, {"model": "m", "messages": HI, "stream": True})[2])
    assert only["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]


@for_each(
    ("fields", "thinks"),
    [
        ({}, False),
        ({"reasoning_effort": "none"}, False),
        ({"reasoning_effort": "low"}, True),
        ({"reasoning": {"effort": "high"}}, True),
    ],
)
def test_an_effort_asks_for_thoughts(fields, thinks):
    with SimulatedOllama("m") as server:
        message = post(server, CHAT, {"model": "m", "messages": HI, **fields})[1]["choices"][0]["message"]
    assert ("reasoning" in message) is thinks


def test_a_history_with_parts_pictures_and_calls_is_read():
    history = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What?"},
                {"type": "image_url", "image_url": {"url": "data:image/webp;base64,aGk="}},
            ],
        },
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "sunny"},
    ]
    with SimulatedOllama("m") as server:
        value = post(server, CHAT, {"model": "m", "messages": history})[1]
    assert value["choices"][0]["message"]["content"].endswith("The tool answered: sunny")


def test_an_answer_fits_the_schema():
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": CITY}}
    with SimulatedOllama("m") as server:
        body = {"model": "m", "messages": HI, "response_format": form}
        assert json.loads(post(server, CHAT, body)[1]["choices"][0]["message"]["content"]) == {"city": "simulated"}


def test_a_text_is_completed_whole_and_streamed():
    body = {"model": "m", "prompt": "Once", "stop": "three"}
    with SimulatedOllama("m", "one two three") as server:
        whole = post(server, "/v1/completions", body)[1]
        more = {"stream": True, "stream_options": {"include_usage": True}}
        *chunks, last = events(ask(server, "POST", "/v1/completions", {**body, **more})[2])
    assert whole["choices"] == [{"text": "one two ", "index": 0, "finish_reason": "stop"}]
    assert [each["choices"][0]["text"] for each in chunks] == ["one", " two", " ", ""]
    assert (last["choices"], last["usage"]) == ([], whole["usage"])


@pytest.mark.parametrize("prompt", ["", None])
def test_an_empty_prompt_loads_the_model_and_says_so(prompt):
    with SimulatedOllama("m", "Hello") as server:
        value = post(server, "/v1/completions", {"model": "m", "prompt": prompt})[1]
        assert server.loaded == ["m:latest"]
    assert value["choices"] == [{"text": "", "index": 0, "finish_reason": "load"}]
    assert value["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


# Vectors


def test_vectors_come_as_numbers_or_as_base64():
    body = {"model": "embed", "input": ["a b", "c"]}
    with SimulatedOllama("embed") as server:
        plain = post(server, "/v1/embeddings", body)[1]
        packed = post(server, "/v1/embeddings", {**body, "encoding_format": "base64", "dimensions": 4})[1]
        short = post(server, "/v1/embeddings", {**body, "dimensions": 4})[1]
    assert (plain["usage"], plain["model"]) == ({"prompt_tokens": 3, "total_tokens": 3}, "embed")
    assert [each["index"] for each in plain["data"]] == [0, 1]
    for text, numbers in zip(packed["data"], short["data"]):
        assert struct.unpack("<4f", base64.b64decode(text["embedding"])) == pytest.approx(numbers["embedding"])


@for_each("fields", [{"input": None}, {"input": []}, {"input": 5}, {"encoding_format": "hex"}])
def test_an_input_that_cannot_be_embedded_is_refused(fields):
    with SimulatedOllama("embed") as server:
        status, value = post(server, "/v1/embeddings", {"model": "embed", "input": "a", **fields})
    assert (status, value["error"]["type"]) == (400, "invalid_request_error")


# Responses


def test_a_stream_of_a_response_is_the_one_that_was_seen(sample):
    with SimulatedOllama("think", SEEN) as server:
        data = ask(server, "POST", "/v1/responses", {"model": "think", "input": "Hi", "stream": True})[2]
    assert timeless(data) == timeless(sample("ollama_seen_responses_thinking_stream.sse"))


def test_a_response_that_was_cut_says_that_it_completed():
    body = {"model": "m", "input": "Hi", "max_output_tokens": 2}
    with SimulatedOllama("m", "one two three") as server:
        value = post(server, "/v1/responses", body)[1]
        last = named_events(ask(server, "POST", "/v1/responses", {**body, "stream": True})[2])[-1]
    for each in (value, last["response"]):
        assert (each["status"], each["incomplete_details"]) == ("completed", None)
        assert (each["usage"]["output_tokens"], each["max_output_tokens"]) == (2, 2)
    assert value["output"][0]["content"][0]["text"] == "one two"


def test_a_response_keeps_no_state_and_says_so():
    with SimulatedOllama("m") as server:
        body = {"model": "m", "input": "Hi", "previous_response_id": "resp_1", "store": True}
        status, value = post(server, "/v1/responses", body)
    assert (status, value["previous_response_id"], value["store"]) == (200, None, False)
    assert value["output"][0]["content"][0]["text"].endswith("You said: Hi")


def test_a_response_that_calls_has_the_call_and_loses_its_text():
    tool = {"type": "function", "name": "get_weather", "parameters": CITY}
    body = {"model": "m", "input": "Hi", "tools": [tool], "reasoning": {"effort": "low"}}
    with SimulatedOllama("m", {**THOUGHT, "tool_calls": [CALL]}) as server:
        value = post(server, "/v1/responses", body)[1]
        got = named_events(ask(server, "POST", "/v1/responses", {**body, "stream": True})[2])
    assert [item["type"] for item in value["output"]] == ["reasoning", "function_call"]
    assert (value["output"][1]["name"], value["output"][1]["arguments"]) == ("get_weather", '{"city":"Paris"}')
    assert (value["reasoning"], value["tools"]) == ({"effort": "low", "summary": None}, [tool])
    assert [item["type"] for item in got[-1]["response"]["output"]] == ["reasoning", "function_call"]
    assert [each["type"] for each in got if "function_call_arguments" in each["type"]] == [
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
    ]


def test_a_response_takes_the_history_of_a_conversation():
    history = [
        {"role": "user", "content": "Hi"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "Hm."},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "sunny"},
    ]
    with SimulatedOllama("m") as server:
        value = post(server, "/v1/responses", {"model": "m", "input": history, "text": {}})[1]
    assert value["output"][0]["content"][0]["text"].endswith("The tool answered: sunny")


# Messages


def test_a_stream_of_a_message_is_the_one_that_was_seen(sample):
    tool = {"name": "get_weather", "input_schema": CITY}
    reply = {"tool_calls": [{**CALL, "id": "call_05v8uyq4"}], "prompt_tokens": 84, "completion_tokens": 25}
    with SimulatedOllama("tool", reply) as server:
        body = {"model": "tool", **MESSAGES, "tools": [tool], "stream": True}
        data = ask(server, "POST", "/v1/messages", body)[2]
    # The real server's estimate at the beginning is different.
    data = re.sub(rb'"input_tokens":\d+,"output_tokens":0}', rb'"input_tokens":25,"output_tokens":0}', data)
    assert timeless(data) == timeless(sample("ollama_seen_messages_tools_stream.sse"))


def test_a_message_says_why_it_ended():
    with SimulatedOllama("m", "one two three") as server:
        got = [
            post(server, "/v1/messages", {"model": "m", **MESSAGES, **fields})[1]
            for fields in ({}, {"max_tokens": 2}, {"stop_sequences": [" two"]})
        ]
    assert [each["stop_reason"] for each in got] == ["end_turn", "max_tokens", "end_turn"]
    assert [each["content"] for each in got[1:]] == [
        [{"type": "text", "text": "one two"}],
        [{"type": "text", "text": "one"}],
    ]
    assert got[1]["usage"] == {"input_tokens": 1, "output_tokens": 2}


@for_each(("thinking", "thinks"), [(None, False), ({"type": "enabled"}, True), ({"type": "disabled"}, False)])
def test_thoughts_are_a_block_if_a_request_asks_for_them(thinking, thinks):
    with SimulatedOllama(OllamaModel("m")) as server:
        body = {"model": "m", **MESSAGES, "thinking": thinking}
        content = post(server, "/v1/messages", body)[1]["content"]
        got = named_events(ask(server, "POST", "/v1/messages", {**body, "stream": True})[2])
    assert [block["type"] for block in content] == (["thinking", "text"] if thinks else ["text"])
    joined = "".join(each["delta"].get("text", "") for each in got if each["type"] == "content_block_delta")
    assert joined == content[-1]["text"]
