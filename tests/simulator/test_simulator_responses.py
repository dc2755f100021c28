"""The stand-in's ``/v1/responses``, over plain HTTP."""

import base64
import json

import pytest
from plain_http import ask, keys, named_events, post
from tables import for_each

from lmstudio_provider.simulator import SimulatedLMStudio

PATH = "/v1/responses"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "name": "get_weather", "description": "Weather", "parameters": CITY, "strict": False}
CALL = {"name": "get_weather", "arguments": {"city": "Oslo"}}
ALL = {"reasoning_content": "A small prime", "content": "29, and now.", "tool_calls": [CALL]}
PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\nrest").decode()


def respond(server, input="Hi", **fields):
    return post(server, PATH, {"model": "m", "input": input, **fields})


def stream(server, input="Hi", **fields):
    status, headers, data = ask(server, "POST", PATH, {"model": "m", "input": input, "stream": True, **fields})
    assert (status, headers["Content-Type"]) == (200, "text/event-stream"), data
    return named_events(data)


def asked_of(*inputs, **fields):
    """Return the requests that a function of replies gets for these inputs, each of which continues the one before."""
    asked = []
    with SimulatedLMStudio(["m"], lambda body: asked.append(body) or "Fine.") as server:
        previous = None
        for each in inputs:
            status, value = respond(server, each, previous_response_id=previous, **fields)
            assert status == 200, value
            previous = value["id"]
    return asked[-1]


# Refused


@for_each("body", [None, {"model": "m"}, {"model": "m", "input": []}, {"model": "m", "input": 5}])
def test_input_is_required(body):
    with SimulatedLMStudio(["m"]) as server:
        status, value = post(server, PATH, body)
    assert (status, value["error"]["param"]) == (400, "input")


@for_each(
    "item",
    [
        "Hi",
        {"role": "user"},
        {"content": "Hi"},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "user", "content": [{"type": "input_text"}]},
        {"type": "function_call", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1"},
        {"type": "item_reference", "id": "1"},
    ],
)
def test_an_item_that_does_not_fit_is_refused(item):
    with SimulatedLMStudio(["m"]) as server:
        status, value = respond(server, [item])
    assert (status, value["error"]["param"]) == (400, "input")


@for_each("text", [{}, "plain", {"format": {"type": "json_object"}}])
def test_a_format_that_is_not_known_is_refused(text):
    with SimulatedLMStudio(["m"]) as server:
        status, value = respond(server, text=text)
    assert (status, value["error"]["param"]) == (400, "text.format")


def test_a_tool_choice_that_names_a_function_is_refused(sample):
    with SimulatedLMStudio(["m"]) as server:
        choice = {"type": "function", "name": "get_weather"}
        assert respond(server, tools=[TOOL], tool_choice=choice) == (400, json.loads(sample("errors/tool_choice.json")))


@pytest.mark.parametrize("streaming", [False, True])
def test_an_unknown_reply_cannot_be_continued(streaming):
    with SimulatedLMStudio(["m"]) as server:
        status, value = respond(server, previous_response_id="resp_0", stream=streaming)
    assert (status, value["error"]["code"]) == (400, "previous_response_not_found")


def test_the_error_of_no_loaded_model_has_openais_form(sample):
    with SimulatedLMStudio(["m"], loaded=[], jit=False) as server:
        assert respond(server) == (400, json.loads(sample("errors/no_models_loaded_responses.json")))


def test_an_unknown_model_is_an_error():
    with SimulatedLMStudio(["m", "n"]) as server:
        status, value = respond(server, model="no")
    assert (status, value["error"]["code"]) == (400, "model_not_found")


def test_a_prompt_that_is_too_long_is_refused_or_fails_in_the_stream(sample):
    wanted = named_events(sample("responses_stream_failed.sse"))
    with SimulatedLMStudio(["m"], context_length=2) as server:
        status, value = respond(server, "one two three")
        created, progress, failed = stream(server, "one two three")
    assert (status, "exceeds the available context size" in value["error"]["message"]) == (400, True)
    assert [keys(each) for each in (created, progress)] == [keys(each) for each in wanted[:2]]
    assert keys({**failed["response"], "output": 0}) == keys({**wanted[-1]["response"], "output": 0})
    assert failed["response"]["error"] == {"code": "server_error", "message": value["error"]["message"]}


# Replies


def test_a_reply_has_the_fields_of_lm_studios(sample):
    with SimulatedLMStudio(["m"], ALL) as server:
        status, value = respond(server, tools=[TOOL], reasoning={"effort": "low"})
    assert (status, keys(value)) == (200, keys(json.loads(sample("response.json"))))
    assert (value["status"], value["error"], value["usage"]["output_tokens"]) == ("completed", None, 9)
    assert value["usage"]["output_tokens_details"] == {"reasoning_tokens": 3}
    assert json.loads(value["output"][2]["arguments"]) == {"city": "Oslo"}


def test_a_request_that_names_a_model_loads_it():
    with SimulatedLMStudio(["m", "n"], loaded=[]) as server:
        assert respond(server, model="n")[1]["model"] == "n"
        assert [each.ttl_s for each in server.instances] == [3600]


def test_a_reply_that_was_cut_is_incomplete():
    with SimulatedLMStudio(["m"], "one two three") as server:
        value = respond(server, max_output_tokens=2)[1]
        last = stream(server, max_output_tokens=2)[-1]
    assert (value["status"], value["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert (value["output"][0]["content"][0]["text"], value["output"][0]["status"]) == ("one two", "incomplete")
    assert last["type"] == "response.incomplete"


def test_an_answer_fits_the_schema():
    form = {"type": "json_schema", "name": "city", "schema": CITY, "strict": True}
    with SimulatedLMStudio(["m"]) as server:
        value = respond(server, text={"format": form})[1]
    assert json.loads(value["output"][0]["content"][0]["text"]) == {"city": "simulated"}


def test_a_tool_that_is_offered_is_called_and_its_result_answered():
    with SimulatedLMStudio(["m"]) as server:
        first = respond(server, tools=[TOOL, {"type": "mcp", "server_label": "x"}])[1]
        (call,) = first["output"]
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
        second = respond(server, [result], tools=[TOOL], previous_response_id=first["id"])[1]
    assert (call["type"], call["name"]) == ("function_call", "get_weather")
    assert second["output"][0]["content"][0]["text"].endswith("The tool answered: sunny")
    assert server.responses[second["id"]][1]["tool_calls"][0]["id"] == call["call_id"]


def test_a_function_gets_the_request_in_openais_form():
    items = [
        {"role": "developer", "content": "Be kind."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What is this?"}]},
        {"role": "user", "content": [{"type": "input_image", "image_url": PNG}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Let me look."}]},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "call_2", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "one"},
    ]
    call = {"type": "function", "id": "call_1", "function": {"name": "f", "arguments": "{}"}}
    fields = {"temperature": 0, "tool_choice": "none", "max_output_tokens": 9, "reasoning": {"effort": "high"}}
    assert asked_of(items, instructions="Be brief.", tools=[TOOL], **fields) == {
        "model": "m",
        "temperature": 0,
        "tool_choice": "none",
        "max_tokens": 9,
        "reasoning_effort": "high",
        "tools": [{"type": "function", "function": {key: TOOL[key] for key in TOOL if key != "type"}}],
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "What is this?"},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG}}]},
            {"role": "assistant", "content": "Let me look.", "tool_calls": [call, {**call, "id": "call_2"}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "one"},
        ],
    }


@pytest.mark.parametrize("before", [[], [{"role": "user", "content": "Hi"}]])
def test_a_call_without_a_text_is_a_separate_message(before):
    items = [
        *before,
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "one"},
    ]
    call = {"type": "function", "id": "call_1", "function": {"name": "f", "arguments": "{}"}}
    assert asked_of(items)["messages"] == [
        *before,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "one"},
    ]


def test_a_continued_reply_has_only_the_new_instructions():
    messages = asked_of("one", "two", instructions="Be brief.")["messages"]
    assert [each["role"] for each in messages] == ["system", "user", "assistant", "user"]


def test_a_reply_that_is_not_stored_cannot_be_continued():
    with SimulatedLMStudio(["m"]) as server:
        first = respond(server, store=False)[1]
        assert respond(server, previous_response_id=first["id"])[0] == 400


def test_the_stored_conversation_counts_as_prompt():
    with SimulatedLMStudio(["m"], "a b c", context_length=5) as server:
        first = respond(server, "one two")[1]["id"]
        assert respond(server, "three", previous_response_id=first)[0] == 400


# Streams


def test_a_stream_has_the_events_of_lm_studios(sample):
    wanted = {each["type"]: each for each in named_events(sample("responses_stream.sse"))}
    with SimulatedLMStudio(["m"], ALL) as server:
        got = stream(server, tools=[TOOL], reasoning={"effort": "low"})
    assert [each["sequence_number"] for each in got] == list(range(len(got)))
    assert {each["type"] for each in got} == set(wanted)
    assert [set(each) for each in got] == [set(wanted[each["type"]]) for each in got]
    assert keys(got[-1]) == keys(wanted["response.completed"])
    assert got[-1]["response"]["id"] in server.responses


def test_the_pieces_of_a_stream_are_those_of_its_last_event():
    with SimulatedLMStudio(["m"], ALL) as server:
        got = stream(server, tools=[TOOL])

    def joined(kind):
        return "".join(each["delta"] for each in got if each["type"] == f"response.{kind}.delta")

    reasoning, message, call = got[-1]["response"]["output"]
    assert joined("reasoning_text") == reasoning["content"][0]["text"] == "A small prime"
    assert joined("output_text") == message["content"][0]["text"] == "29, and now."
    assert joined("function_call_arguments") == call["arguments"]
    added = [each["item"] for each in got if each["type"] == "response.output_item.added"]
    assert [each["status"] for each in added] == ["in_progress"] * 3
    assert [each.get("content", each.get("arguments")) for each in added] == [[], [], ""]
