"""The stand-in's version of LM Studio's own chat, over plain HTTP."""

import base64
import json

import pytest
from plain_http import ask, keys, named_events, post
from tables import for_each

from lmstudio_provider.simulator import SimulatedLMStudio

CHAT = "/api/v1/chat"
SERVER = {"type": "ephemeral_mcp", "server_label": "catalog", "server_url": "http://127.0.0.1:9/mcp"}
INFO = {"type": "ephemeral_mcp", "server_label": "catalog"}
CALL = {"name": "search", "arguments": {"limit": 1}}
PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\nrest").decode()


def chat(server, input="Hi", **fields):
    return post(server, CHAT, {"model": "m", "input": input, **fields})


def stream(server, input="Hi", **fields):
    status, headers, data = ask(server, "POST", CHAT, {"model": "m", "input": input, "stream": True, **fields})
    assert (status, headers["Content-Type"]) == (200, "text/event-stream"), data
    return named_events(data)


def bodies(replies):
    """Return a function that gives ``replies``, and the list of the requests that it gets."""
    asked = []
    return asked, lambda body: asked.append(body) or replies


@pytest.fixture
def server():
    with SimulatedLMStudio(["m", "n"], loaded=["m"]) as running:
        yield running


# Refused


def test_a_key_of_another_api_is_refused(server, sample):
    assert chat(server, seed=1) == (400, json.loads(sample("errors/v1_unrecognized_key.json")))


@pytest.mark.parametrize(
    "fields",
    [
        {"input": 5},
        {"input": ["Hi"]},
        {"input": [{"type": "text"}]},
        {"input": [{"type": "image", "data_url": "https://example.com/a.png"}]},
        {"input": [{"type": "audio", "content": "x"}]},
        {"reasoning": "much"},
        {"stream": "yes"},
        {"top_k": 1.5},
        {"integrations": [5]},
        {"integrations": [{"type": "plugin"}]},
        {"integrations": [{"type": "ephemeral_mcp", "server_label": "x"}]},
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_a_wrong_request_is_refused_before_a_stream_begins(server, fields, streaming):
    status, value = chat(server, **{"stream": streaming, **fields})
    assert (status, value["error"]["type"]) == (400, "invalid_request")
    assert value["error"]["param"] in fields


@pytest.mark.parametrize("streaming", [False, True])
def test_an_unknown_model_is_refused_although_one_is_loaded(server, streaming):
    status, value = chat(server, model="x", stream=streaming)
    assert (status, value["error"]["type"]) == (404, "model_not_found")


@pytest.mark.parametrize("body", [None, {"model": "m"}, {"input": "Hi"}])
def test_model_and_input_are_required(server, body):
    status, value = post(server, CHAT, body)
    assert (status, value["error"]["code"]) == (400, "missing_required_parameter")


@pytest.mark.parametrize(
    ("model", "status", "type_"),
    [("no", 404, "model_not_found"), ("too-large", 500, "model_load_failed")],
)
def test_an_error_about_a_model_has_a_type(model, status, type_):
    with SimulatedLMStudio(["m", "too-large"], loaded=[]) as server:
        got, value = chat(server, model=model)
    assert (got, value["error"]["type"]) == (status, type_)


def test_an_error_says_that_nothing_is_loaded_without_jit():
    with SimulatedLMStudio(["m"], loaded=[], jit=False) as server:
        status, value = chat(server)
    assert (status, value["error"]["message"][:17]) == (400, "No models loaded.")


def test_an_unknown_reply_cannot_be_continued(server):
    status, value = chat(server, previous_response_id="resp_0")
    assert (status, value["error"]["code"]) == (400, "invalid_value")
    assert value["error"]["message"].startswith("Could not find stored response for ")


def test_a_prompt_that_is_too_long_is_an_error_of_the_engine(sample):
    with SimulatedLMStudio(["m"], context_length=2) as server:
        status, value = chat(server, "one two three")
    assert (status, keys(value)) == (500, keys(json.loads(sample("errors/v1_engine.json"))))
    assert "request (3 tokens) exceeds the available context size (2 tokens)" in value["error"]["message"]


def test_a_prompt_that_is_too_long_ends_a_stream_with_nothing_in_it(sample):
    with SimulatedLMStudio(["m"], context_length=2) as server:
        got = stream(server, "one two three")
    assert [keys(each) for each in got] == [keys(each) for each in named_events(sample("v1_chat_stream_error.sse"))]
    assert got[-1]["result"]["output"] == []
    assert got[-1]["result"]["stats"]["input_tokens"] == 3


# Replies


def test_a_reply_has_the_fields_of_lm_studios(sample):
    replies = {"reasoning_content": "Hm, well.", "content": "Found it.", "tool_calls": [CALL]}
    with SimulatedLMStudio(["m"], replies, loaded=[]) as server:
        status, value = chat(server, integrations=[SERVER, "mcp/browser"])
    wanted = json.loads(sample("v1_chat.json"))
    assert (status, keys({**value, "output": 0})) == (200, keys({**wanted, "output": 0}))
    assert value["output"] == [
        {"type": "reasoning", "content": "Hm, well."},
        {
            "type": "tool_call",
            "tool": "search",
            "arguments": {"limit": 1},
            "output": '[{"type":"text","text":"simulated"}]',
            "provider_info": INFO,
        },
        {"type": "message", "content": "Found it."},
    ]
    stats = value["stats"]
    assert (stats["input_tokens"], stats["total_output_tokens"], stats["reasoning_output_tokens"]) == (1, 7, 2)


def test_a_reply_that_is_not_stored_has_no_id(server, sample):
    _, value = chat(server, store=False)
    assert keys({**value, "output": 0}) == keys({**json.loads(sample("v1_chat_stateless.json")), "output": 0})
    assert server.responses == {}


@for_each(
    ("call", "fields", "metadata"),
    [
        (CALL, {}, {"type": "invalid_name", "tool_name": "search"}),
        (
            {"name": "search", "arguments": "{oops"},
            {"integrations": ["mcp/browser"]},
            {
                "type": "invalid_arguments",
                "tool_name": "search",
                "arguments": "{oops",
                "provider_info": {"type": "plugin", "plugin_id": "mcp/browser"},
            },
        ),
        (
            {"name": "search", "arguments": "[5]"},
            {"integrations": [{"type": "plugin", "id": "mcp/browser"}]},
            {
                "type": "invalid_arguments",
                "tool_name": "search",
                "arguments": [5],
                "provider_info": {"type": "plugin", "plugin_id": "mcp/browser"},
            },
        ),
    ],
)
def test_a_call_that_cannot_be_run_is_invalid(call, fields, metadata):
    with SimulatedLMStudio(["m"], {"tool_calls": [call]}) as server:
        (item,) = chat(server, **fields)[1]["output"]
        failure = next(each for each in stream(server, **fields) if each["type"] == "tool_call.failure")
    assert (item["type"], item["metadata"]) == ("invalid_tool_call", metadata)
    assert failure == {"type": "tool_call.failure", "reason": item["reason"], "metadata": metadata}


def test_a_function_gets_the_request_in_openais_form():
    asked, replies = bodies("Fine.")
    items = [{"type": "text", "content": "What is this?"}, {"type": "image", "data_url": PNG}]
    with SimulatedLMStudio(["m"], replies) as server:
        chat(server, items, system_prompt="Be brief.", max_output_tokens=9, top_k=3, reasoning="low")
        chat(server, [{"type": "message", "content": "Hi"}], reasoning="off")
    assert asked[0] == {
        "model": "m",
        "top_k": 3,
        "max_tokens": 9,
        "reasoning_effort": "low",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": PNG}},
                ],
            },
        ],
    }
    assert asked[1] == {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def test_a_continued_reply_has_the_whole_conversation():
    asked, replies = bodies("Fine.")
    with SimulatedLMStudio(["m"], replies) as server:
        first = chat(server, "one", system_prompt="Be brief.")[1]["response_id"]
        second = chat(server, "two", previous_response_id=first)[1]["response_id"]
    said = {"role": "assistant", "content": "Fine."}
    assert asked[1]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one"},
        said,
        {"role": "user", "content": "two"},
    ]
    assert server.responses[second] == [*asked[1]["messages"], said]
    assert first != second


def test_the_stored_conversation_counts_as_prompt():
    with SimulatedLMStudio(["m"], "a b c", context_length=5) as server:
        first = chat(server, "one two")[1]["response_id"]
        assert chat(server, "three", previous_response_id=first)[0] == 500


def test_a_reply_that_a_test_deletes_cannot_be_continued(server):
    first = chat(server)[1]["response_id"]
    server.responses.clear()
    assert chat(server, previous_response_id=first)[0] == 400


def test_a_reply_is_cut_by_max_output_tokens():
    with SimulatedLMStudio(["m"], "one two three") as server:
        value = chat(server, max_output_tokens=2)[1]
    assert value["output"] == [{"type": "message", "content": "one two"}]
    assert value["stats"]["total_output_tokens"] == 2


def test_a_request_chooses_the_context_length_of_what_it_loads(server):
    chat(server, model="n", context_length=16)
    chat(server, model="n", context_length=32)
    assert [(each.id, each.context_length) for each in server.instances] == [("m", 4096), ("n", 16)]


# Streams


def test_a_stream_has_the_events_of_lm_studios(sample):
    replies = {"reasoning_content": "A search", "content": "Found it.", "tool_calls": [CALL]}
    with SimulatedLMStudio(["m"], replies, loaded=[]) as server:
        got = stream(server, integrations=[SERVER])
    wanted = {each["type"]: each for each in named_events(sample("v1_chat_stream.sse"))}
    assert [set(each) for each in got] == [set(wanted[each["type"]]) for each in got]
    assert [each["type"] for each in got] == [
        "chat.start",
        "model_load.start",
        *["model_load.progress"] * 4,
        "model_load.end",
        "prompt_processing.start",
        *["prompt_processing.progress"] * 3,
        "prompt_processing.end",
        "reasoning.start",
        *["reasoning.delta"] * 2,
        "reasoning.end",
        "tool_call.start",
        "tool_call.arguments",
        "tool_call.success",
        "message.start",
        *["message.delta"] * 2,
        "message.end",
        "chat.end",
    ]
    assert set(got[-1]["result"]) == set(wanted["chat.end"]["result"])
    assert [each["progress"] for each in got if "progress" in each] == [0.25, 0.5, 0.75, 1, 0, 0.5, 1]


def test_a_stream_of_a_model_in_memory_has_no_load_events_and_ends_with_the_result(server):
    got = stream(server)
    assert not any(each["type"].startswith("model_load") for each in got)
    text = "".join(each["content"] for each in got if each["type"] == "message.delta")
    assert got[-1]["result"]["output"] == [{"type": "message", "content": text}]
    assert "model_load_time_seconds" not in got[-1]["result"]["stats"]
    assert got[-1]["result"]["response_id"] in server.responses


def test_reasoning_comes_if_a_request_asks_for_it(server):
    assert "reasoning.delta" in [each["type"] for each in stream(server, reasoning="on")]
    assert "reasoning.delta" not in [each["type"] for each in stream(server, reasoning="off")]
