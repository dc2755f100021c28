"""Calls of tools that are not what the APIs promise: an error, with all else that came."""

import json

import pytest

from lmstudio_provider import LMStudioProvider, OllamaProvider, ProtocolError

CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def function(**members):
    return [{"id": "2", "function": {"name": "g", "arguments": "{}", **members}}]


MALFORMED = {
    "an object": (CALL, "tool_calls is dict"),
    "a text": ("f()", "tool_calls is str"),
    "a number": (7, "tool_calls is int"),
    "texts": (["f()"], "a tool call is str"),
    "a list in the list": ([[CALL]], "a tool call is list"),
    "no function": ([{"id": "2", "type": "function"}], "no name"),
    "a function that is null": ([{"id": "2", "function": None}], "no name"),
    "nothing but a function that is null": ([{"function": None}], "no name"),
    "a function that is a text": ([{"id": "2", "function": "g"}], "function of a tool call is str"),
    "a function that is a list": ([{"id": "2", "function": [CALL]}], "function of a tool call is list"),
    "a call without the level between": ([{"name": "g", "arguments": "{}"}], "no name"),
    "no name": (function(name=None), "no name"),
    "an empty name": (function(name=""), "no name"),
    "a name that is a number": (function(name=7), "name of a tool call is int"),
    "a name that is an object": (function(name={"name": "g"}), "name of a tool call is dict"),
    "arguments that are a number": (function(arguments=7), "arguments of the tool call 'g' is int"),
    "arguments that are a fraction": (function(arguments=0.0), "arguments of the tool call 'g' is float"),
    "arguments that are a list": (function(arguments=["x"]), "arguments of the tool call 'g' is list"),
    "arguments that are true": (function(arguments=True), "arguments of the tool call 'g' is bool"),
    "one after one that is right": ([CALL, {"id": "2", "function": {"name": "g", "arguments": 7}}], "is int"),
}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"


def reply(kind, content):
    return HEAD % (kind, len(content)) + content


def openai(message, streamed):
    choice = {"index": 0, "finish_reason": "tool_calls"}
    if not streamed:
        return reply(b"application/json", json.dumps({"choices": [{**choice, "message": message}]}).encode())
    events = [
        {"choices": [{**choice, "finish_reason": None, "delta": message}]},
        {"choices": [{**choice, "delta": {}}]},
    ]
    data = "".join(f"data: {json.dumps(each)}\n\n" for each in events) + "data: [DONE]\n\n"
    return reply(b"text/event-stream", data.encode())


def ollama(message, streamed):
    lines = [{"message": message, "done": False}, {"message": {"content": ""}, "done": True}]
    if not streamed:
        lines = [{"message": message, "done": True}]
    return reply(b"application/x-ndjson", "".join(f"{json.dumps(each)}\n" for each in lines).encode())


PROVIDERS = {"lmstudio": (LMStudioProvider, openai), "ollama": (OllamaProvider, ollama)}


@pytest.fixture(params=PROVIDERS)
def ask(request, raw_server):
    """Asks a server that answers with a message."""
    made = []

    def ask(message, streamed):
        kind, write = PROVIDERS[request.param]
        made.append(kind(raw_server(write(message, streamed)).url, model="m", refresh=False))
        return made[-1].stream("Hi", lambda chunk: None) if streamed else made[-1].complete("Hi")

    yield ask
    for provider in made:
        provider.close()


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("calls", "said"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_call_is_an_error_with_what_came(ask, calls, said, streamed):
    with pytest.raises(ProtocolError, match="the reply is malformed") as caught:
        ask({"content": "Well,", "tool_calls": calls}, streamed)
    assert said in caught.value.message
    assert caught.value.hint
    assert caught.value.partial.text == "Well,"
    # The calls that were right are there, too.
    right = [CALL] if isinstance(calls, list) and CALL in calls else []
    assert [call.name for call in caught.value.partial.tool_calls if call.id == "1"] == ["f" for _ in right]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("calls", [None, [], {}, "", [None], [None, CALL], [CALL]], ids=str)
def test_nothing_is_lost_by_a_call_that_is_nothing(ask, calls, streamed):
    completion = ask({"content": "Well,", "tool_calls": calls}, streamed)
    assert completion.text == "Well,"
    assert [call.name for call in completion.tool_calls] == ["f" for each in calls or () if each]


@pytest.mark.parametrize("arguments", [None, "", "{}", {}, {"a": 1}, "no JSON"], ids=str)
def test_arguments_may_be_text_or_an_object_or_left_out(ask, arguments):
    (call,) = ask({"tool_calls": function(arguments=arguments)}, False).tool_calls
    assert call.raw_arguments == (json.dumps(arguments) if isinstance(arguments, dict) else arguments or "")


def test_an_end_in_the_stream_of_a_malformed_call_is_told_first(raw_server, provider_of):
    """A stream that broke says so: the call may have gone on."""
    event = {"choices": [{"index": 0, "delta": {"content": "Hi", "tool_calls": [{"id": "1"}]}}]}
    data = f"data: {json.dumps(event)}\n\n".encode()
    server = raw_server(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + data)
    with pytest.raises(Exception, match="ended before the reply did"):
        list(provider_of(server, model="m").stream("Hi"))


@pytest.mark.parametrize("path", ["responses", "messages"])
def test_the_other_dialects_report_a_malformed_call_too(raw_server, provider_of, path):
    bodies = {
        "responses": {
            "status": "completed",
            "output": [
                {"type": "message", "content": [{"type": "output_text", "text": "Well,"}]},
                {"type": "function_call", "call_id": "1", "name": None, "arguments": "{}"},
            ],
        },
        "messages": {"content": [{"type": "text", "text": "Well,"}, {"type": "tool_use", "id": "1", "input": {}}]},
    }
    lm = provider_of(raw_server(reply(b"application/json", json.dumps(bodies[path]).encode())), model="m")
    with pytest.raises(ProtocolError, match="no name") as caught:
        getattr(lm, path)("Hi")
    assert caught.value.partial.text == "Well,"
