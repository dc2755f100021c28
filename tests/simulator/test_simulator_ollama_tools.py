"""The stand-in for Ollama and its tools, formats, thoughts and pictures."""

import base64
import json

import pytest
from plain_http import CHAT, HI, ask, lines, post
from tables import for_each

from lmstudio_provider.simulator import OllamaModel, SimulatedOllama

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": CITY}}
OTHER = {"type": "function", "function": {"name": "other"}}
CALL = {"name": "get_weather", "arguments": {"city": "Paris"}}
MARKUP = '<tool_call>{"name": "get_weather", "arguments": {"city": "Paris"}}</tool_call>'
IMAGE = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


def chat(server, **fields):
    return post(server, "/api/chat", {"model": "m", "messages": HI, "stream": False, **fields})


# Calls


def test_a_stream_of_a_call_is_the_one_that_was_seen(sample):
    expected = lines(sample("ollama_seen_chat_tools_stream.ndjson"))
    reply = {"tool_calls": [{**CALL, "id": "call_42e7jj49"}], "prompt_tokens": 88, "completion_tokens": 25}
    with SimulatedOllama("tool", reply) as server:
        got = lines(ask(server, "POST", "/api/chat", {"model": "tool", "messages": HI, "tools": [TOOL]})[2])
    assert [list(each) for each in got] == [list(each) for each in expected]
    assert [each["message"] for each in got] == [each["message"] for each in expected]
    assert (got[-1]["prompt_eval_count"], got[-1]["eval_count"], got[-1]["done_reason"]) == (88, 25, "stop")


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_to_a_tool_that_was_not_offered_is_dropped_though_its_tokens_count(stream):
    with SimulatedOllama("m", {"tool_calls": [CALL]}) as server:
        data = ask(server, "POST", "/api/chat", {"model": "m", "messages": HI, "tools": [OTHER], "stream": stream})[2]
    (value,) = lines(data) if stream else [json.loads(data)]
    assert value["message"] == {"role": "assistant", "content": ""}
    assert (value["done_reason"], value["eval_count"]) == ("stop", 3)


def test_only_calls_of_offered_tools_stay():
    with SimulatedOllama("m", {"content": "Hm.", "tool_calls": [CALL, {"name": "f"}]}) as server:
        message = chat(server, tools=[TOOL])[1]["message"]
    assert [call["function"]["name"] for call in message["tool_calls"]] == ["get_weather"]
    assert message["content"] == "Hm."


def test_without_tools_the_markup_of_a_call_is_the_text():
    with SimulatedOllama("m", {"tool_calls": [CALL]}) as server:
        for fields in ({}, {"tools": []}, {"tools": None}):
            message = chat(server, **fields)[1]["message"]
            assert message == {"role": "assistant", "content": MARKUP}
        body = {"model": "m", "messages": HI, "tools": [TOOL], "tool_choice": "none"}
        choice = post(server, CHAT, body)[1]["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (MARKUP, "stop")


def test_a_call_that_was_cut_off_says_so():
    with SimulatedOllama("m", {"tool_calls": [CALL], "finish_reason": "length"}) as server:
        value = chat(server, tools=[TOOL])[1]
    assert (value["done_reason"], len(value["message"]["tool_calls"])) == ("length", 1)


@for_each("arguments", ["{oops", "[1]", "5"])
def test_a_call_without_an_object_is_an_error_of_the_test(arguments):
    with SimulatedOllama("m", {"tool_calls": [{"name": "get_weather", "arguments": arguments}]}) as server:
        status, value = chat(server, tools=[TOOL])
    assert status == 500
    assert value["error"].startswith("the simulator could not reply: TypeError: replies: Ollama sends the arguments")


def test_a_model_without_tools_refuses_them(sample):
    with SimulatedOllama(OllamaModel("gemma3:4b", capabilities=("completion",))) as server:
        status, _, data = ask(server, "POST", "/api/chat", {"model": "gemma3:4b", "messages": HI, "tools": [TOOL]})
    assert (status, data) == (400, sample("errors/ollama_no_tools.json").rstrip())


# Formats


@for_each("replies", [None, {"tool_calls": [CALL]}, '{"city": "Oslo"}'])
def test_with_a_format_no_tool_is_ever_called(replies):
    with SimulatedOllama("m", replies) as server:
        message = chat(server, tools=[TOOL], format=CITY)[1]["message"]
    assert "tool_calls" not in message
    assert set(json.loads(message["content"])) == {"city"}


def test_the_format_json_gives_an_object():
    with SimulatedOllama("m") as server:
        assert isinstance(json.loads(chat(server, format="json")[1]["message"]["content"]), dict)
        body = {"model": "m", "messages": HI, "response_format": {"type": "json_object"}}
        content = post(server, CHAT, body)[1]["choices"][0]["message"]["content"]
    assert isinstance(json.loads(content), dict)


@for_each("form", ["xml", 5, ["json"], True])
def test_an_invalid_format_is_refused_with_a_500(form):
    with SimulatedOllama("m") as server:
        status, value = chat(server, format=form)
    assert (status, value["error"].startswith("invalid format: ")) == (500, True)


def test_a_bad_schema_is_refused():
    with SimulatedOllama("m") as server:
        status, value = chat(server, format={"$ref": "#/$defs/missing"})
    wanted = "Field 'json_schema': \"json_schema\": JSON schema conversion failed:"
    assert (status, value["error"].startswith(wanted)) == (400, True)


# Thoughts


def test_a_stream_of_thoughts_is_the_one_that_was_seen(sample):
    expected = lines(sample("ollama_seen_chat_thinking_stream.ndjson"))
    pieces = [each["message"].get("thinking") for each in expected[:4]]
    said = {"reasoning_content": pieces, "content": ["Hello", " there", "!"]}
    with SimulatedOllama("think", {**said, "prompt_tokens": 9, "completion_tokens": 15}) as server:
        got = lines(ask(server, "POST", "/api/chat", {"model": "think", "messages": HI})[2])
    assert [list(each) for each in got] == [list(each) for each in expected]
    assert [list(each["message"].items()) for each in got] == [list(each["message"].items()) for each in expected]
    assert (got[-1]["prompt_eval_count"], got[-1]["eval_count"]) == (9, 15)


@pytest.mark.parametrize("think", [False, None])
def test_a_model_that_thinks_although_it_should_not_sends_its_thoughts(think):
    with SimulatedOllama("m", {"reasoning_content": "Hm.", "content": "Yes."}) as server:
        message = chat(server, think=think)[1]["message"]
        value = post(server, "/api/generate", {"model": "m", "prompt": "x", "stream": False, "think": think})[1]
    assert message == {"role": "assistant", "content": "Yes.", "thinking": "Hm."}
    assert (value["response"], value["thinking"]) == ("Yes.", "Hm.")


@for_each(
    ("model", "think", "thinks"),
    [
        (OllamaModel("m"), None, False),
        (OllamaModel("m"), True, True),
        (OllamaModel("m"), "low", True),
        (OllamaModel("m", think_default=True), None, True),
        (OllamaModel("m", think_default=True), False, False),
        (OllamaModel("m", think_values=("low", "deep"), think_default="low"), None, True),
        (OllamaModel("m", think_values=("low", "deep"), think_default="low"), True, True),
        (OllamaModel("m", think_values=("low", "deep"), think_default="low"), "deep", True),
        (OllamaModel("m", think_values=()), "max", True),
        (OllamaModel("m", capabilities=("completion",)), None, False),
        (OllamaModel("m", capabilities=("completion",)), False, False),
    ],
)
def test_a_model_thinks_as_the_request_says_or_by_its_default(model, think, thinks):
    with SimulatedOllama(model) as server:
        status, value = chat(server, think=think)
    assert (status, "thinking" in value["message"]) == (200, thinks)


@for_each(
    ("model", "think", "said"),
    [
        (OllamaModel("m"), "max", 'invalid think value: "max" (must be "low", "medium", "high", true, or false)'),
        (
            OllamaModel("m", think_values=("low",), think_default="low"),
            "high",
            'invalid think value: "high" (must be "low"',
        ),
        (OllamaModel("m"), 5, "think must be a boolean or string"),
        (OllamaModel("m"), ["low"], "think must be a boolean or string"),
        (OllamaModel("m", capabilities=("completion",)), True, '"m" does not support thinking'),
        (OllamaModel("m", capabilities=("completion",)), "low", '"m" does not support thinking'),
    ],
)
def test_a_think_value_that_the_model_does_not_list_is_refused(model, think, said):
    with SimulatedOllama(model) as server:
        status, value = chat(server, think=think)
    assert (status, value["error"][: len(said)]) == (400, said)


def test_a_function_gets_the_reasoning_effort():
    got = []
    with SimulatedOllama("m", lambda body: got.append(body["reasoning_effort"]) or "Fine.") as server:
        for think in (None, False, True, "low"):
            chat(server, think=think)
    assert got == ["none", "none", "medium", "low"]


# Pictures


@pytest.mark.parametrize(
    ("path", "prompt"),
    [
        ("/api/chat", {"messages": [{"role": "user", "content": "What?", "images": [IMAGE]}]}),
        ("/api/generate", {"prompt": "What?", "images": [IMAGE]}),
    ],
)
def test_a_picture_for_a_model_without_vision_is_refused(path, prompt):
    with SimulatedOllama(["sees", OllamaModel("m")]) as server:
        status, value = post(server, path, {"model": "m", "stream": False, **prompt})
        assert (status, value["error"][:25]) == (400, "Multimodal data provided,")
        assert post(server, path, {"model": "sees", "stream": False, **prompt})[0] == 200


@for_each("image", ["%%%", "data:image/png;base64,aGk=", "aGk"])
@for_each("path", ["/api/chat", "/api/generate"])
def test_a_picture_that_is_not_base64_is_refused(image, path):
    prompt = {"messages": [{"role": "user", "content": "", "images": [image]}], "prompt": "x", "images": [image]}
    with SimulatedOllama("m") as server:
        status, value = post(server, path, {"model": "m", **prompt})
    assert (status, value["error"][:32]) == (400, "illegal base64 data at input byt")
