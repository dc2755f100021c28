"""Tool calls that break the promises of the APIs: an error, which keeps the rest of the reply."""

import json
import pickle

import pytest
from tables import for_each

from lmstudio_provider import LMStudioProvider, MemoryUsage, OllamaProvider, ProtocolError
from lmstudio_provider._dialects.accumulator import ToolCallAssembly

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
    "a call without the level between, and without a name": ([{"name": "", "arguments": "{}"}], "no name"),
    "no name": (function(name=None), "no name"),
    "an empty name": (function(name=""), "no name"),
    "a name that is a number": (function(name=7), "name of a tool call is int"),
    "a name that is an object": (function(name={"name": "g"}), "name of a tool call is dict"),
    "arguments that are a number": (function(arguments=7), "arguments of the tool call 'g' is int"),
    "arguments that are a fraction": (function(arguments=0.0), "arguments of the tool call 'g' is float"),
    "arguments that are a list": (function(arguments=["x"]), "arguments of the tool call 'g' is list"),
    "arguments that are true": (function(arguments=True), "arguments of the tool call 'g' is bool"),
    "nothing": ([{}], "no name"),
    "nothing but a place": ([{"index": 0, "type": "function"}], "no name"),
    "a function of another kind": ([{"id": "2", "type": "custom", "custom": {"name": "g"}}], "no name"),
    "a blank name": (function(name="  "), "no name"),
    "a name that is a list": (function(name=["g"]), "name of a tool call is list"),
    "an id that is an object": ([{"id": {"a": 1}, "function": {"name": "g"}}], "id of a tool call is dict"),
    "arguments that are no number": (function(arguments=float("nan")), "arguments of the tool call 'g' is float"),
    "arguments that are false": (function(arguments=False), "arguments of the tool call 'g' is bool"),
    "arguments in a list": (function(arguments=[{"a": 1}]), "arguments of the tool call 'g' is list"),
    "a number among the calls": ([CALL, 7], "a tool call is int"),
    "a call of its own without a function": ([CALL, {"index": 1, "function": None}], "no name"),
    "true": (True, "tool_calls is bool"),
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


@pytest.mark.slow
@for_each("streamed", [False, True])
@for_each(("calls", "said"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_call_is_an_error_that_keeps_the_partial_reply(ask, calls, said, streamed):
    with pytest.raises(ProtocolError, match="the reply is malformed") as caught:
        ask({"content": "Well,", "tool_calls": calls}, streamed)
    assert said in caught.value.message
    assert caught.value.hint
    assert caught.value.partial.text == "Well,"
    # The calls that were right are there, too.
    right = [CALL] if isinstance(calls, list) and CALL in calls else []
    assert [call.name for call in caught.value.partial.tool_calls if call.id == "1"] == ["f" for _ in right]


@for_each("streamed", [False, True])
@for_each("calls", [None, [], {}, "", [None], [None, None], [None, CALL], [CALL, None], [CALL]], ids=str)
def test_nothing_is_lost_by_a_call_that_is_nothing(ask, calls, streamed):
    completion = ask({"content": "Well,", "tool_calls": calls}, streamed)
    assert completion.text == "Well,"
    assert [call.name for call in completion.tool_calls] == ["f" for each in calls or () if each]


@for_each("arguments", [None, "", "{}", {}, {"a": 1}, "no JSON"], ids=str)
def test_arguments_may_be_text_or_an_object_or_left_out(ask, arguments):
    (call,) = ask({"tool_calls": function(arguments=arguments)}, False).tool_calls
    assert call.raw_arguments == (json.dumps(arguments) if isinstance(arguments, dict) else arguments or "")


def test_a_stream_that_ends_early_is_reported_before_its_malformed_call(raw_server, provider_of):
    """A stream that broke says so: the call may have gone on."""
    event = {"choices": [{"index": 0, "delta": {"content": "Hi", "tool_calls": [{"id": "1"}]}}]}
    data = f"data: {json.dumps(event)}\n\n".encode()
    server = raw_server(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + data)
    with pytest.raises(Exception, match="ended before the reply did"):
        list(provider_of(server, model="m").stream("Hi"))


@for_each("empty", [{}, {"index": 0}, {"index": 0, "type": "function"}, {"id": "", "index": 0}])
@for_each("position", [0, 1])
def test_a_piece_with_nothing_in_it_beside_a_call_is_nothing(empty, position):
    assembly = ToolCallAssembly()
    pieces = [{"index": 0, **CALL}]
    pieces.insert(position, empty)
    for each in pieces:
        assembly.add([each])
    assembly.check()
    assert [call.name for call in assembly.calls()] == ["f"]


@pytest.mark.parametrize("streamed", [False, True])
def test_wrong_arguments_are_kept_as_json_and_usage_is_recorded(raw_server, provider_of, streamed):
    usage = MemoryUsage()
    lm = provider_of(raw_server(openai({"tool_calls": function(arguments=[7, 0.5])}, streamed)), model="m", usage=usage)
    with pytest.raises(ProtocolError) as caught:
        lm.stream("Hi", lambda chunk: None) if streamed else lm.complete("Hi")
    assert [call.raw_arguments for call in caught.value.partial.tool_calls] == ["[7, 0.5]"]
    assert "[7, 0.5]" in caught.value.message
    assert [record.status for record in usage.records] == ["error"]


def test_a_secret_that_the_server_repeats_is_not_in_the_error(raw_server, provider_of):
    token = "sk-lm-AbCd1234:0123456789abcdefghij"
    body = reply(
        b"application/json", json.dumps({"echo": token, "choices": [{"message": {"tool_calls": token}}]}).encode()
    )
    with pytest.raises(ProtocolError, match="malformed") as caught:
        provider_of(raw_server(body), model="m", api_token=token).complete("Hi")
    assert token.encode() not in pickle.dumps(caught.value)


# The dialects that have calls in another form, whole and streamed: each takes the members of a call.

DONE = {"type": "response.completed", "response": {"status": "completed", "output": None}}
WELL = {"type": "message", "content": [{"type": "output_text", "text": "Well,"}]}


def responses(call, streamed):
    item = {"type": "function_call", **call} if isinstance(call, dict) else call
    if not streamed:
        return reply(b"application/json", json.dumps({"status": "completed", "output": [WELL, item]}).encode())
    return typed(
        {"type": "response.output_item.done", "output_index": 0, "item": WELL},
        {"type": "response.output_item.done", "output_index": 1, "item": item},
        DONE,
    )


def messages(call, streamed):
    if isinstance(call, dict) and "arguments" in call:
        call = {**call, "input": call["arguments"]}
    block, said = {"type": "tool_use", **call} if isinstance(call, dict) else call, {"type": "text", "text": "Well,"}
    if not streamed:
        return reply(b"application/json", json.dumps({"content": [said, block]}).encode())
    return typed(
        {"type": "content_block_start", "index": 0, "content_block": said},
        {"type": "content_block_start", "index": 1, "content_block": block},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
        {"type": "message_stop"},
    )


def native(call, streamed):
    item = {"type": "tool_call", "output": "", **call} if isinstance(call, dict) else call
    if isinstance(call, dict) and "name" in call:
        item["tool"] = item.pop("name")
    if not streamed:
        output = [{"type": "message", "content": "Well,"}, item]
        return reply(b"application/json", json.dumps({"output": output}).encode())
    item = {**item, "type": "tool_call.success"} if isinstance(item, dict) else item
    return typed({"type": "message.delta", "content": "Well,"}, item, {"type": "chat.end", "result": {"output": []}})


def typed(*events):
    return reply(b"text/event-stream", "".join(f"data: {json.dumps(each)}\n\n" for each in events).encode())


DIALECTS = {"responses": responses, "messages": messages, "native": native}


def ask_in(lm, dialect, streamed):
    if not streamed:
        return lm.native.chat("Hi") if dialect == "native" else getattr(lm, dialect)("Hi")
    stream = lm.native.stream("Hi") if dialect == "native" else getattr(lm, f"{dialect}_stream")("Hi")
    list(stream)
    return stream.completion


@pytest.mark.slow
@for_each("streamed", [False, True])
@for_each("dialect", DIALECTS)
@for_each(
    "call",
    [
        {"call_id": "1", "arguments": {}},
        {"name": None, "arguments": {}},
        {"name": 7, "arguments": {}},
        {"name": {"name": "g"}, "arguments": {}},
        {"name": ["g"]},
        {"name": "g", "arguments": 7},
        {"name": "g", "arguments": 0},
        {"name": "g", "arguments": 0.5},
        {"name": "g", "arguments": True},
        {"name": "g", "arguments": False},
        {"name": "g", "arguments": ["x"]},
        {"name": "g", "arguments": []},
        "g()",
        7,
        [],
    ],
    ids=str,
)
def test_the_other_dialects_report_a_malformed_call_too(raw_server, provider_of, dialect, call, streamed):
    lm = provider_of(raw_server(DIALECTS[dialect](call, streamed)), model="m")
    with pytest.raises(ProtocolError) as caught:
        ask_in(lm, dialect, streamed)
    assert caught.value.partial.text == "Well,"
    assert caught.value.partial.raw is None


@for_each("streamed", [False, True])
@for_each("dialect", DIALECTS)
@for_each("arguments", [None, "", {}, {"a": 1}, '{"a": 1}'], ids=str)
def test_their_arguments_may_be_text_or_an_object_or_left_out(raw_server, provider_of, dialect, arguments, streamed):
    lm = provider_of(raw_server(DIALECTS[dialect]({"name": "g", "arguments": arguments}, streamed)), model="m")
    completion = ask_in(lm, dialect, streamed)
    (call,) = completion.output[1:] if dialect == "native" else completion.tool_calls
    assert dict(call.arguments) == ({"a": 1} if arguments and "a" in arguments else {})


@for_each("arguments", [7, True, [1]], ids=str)
def test_wrong_pieces_of_arguments_are_reported_when_all_has_come(raw_server, provider_of, arguments):
    item = {"type": "function_call", "call_id": "1", "name": "g", "arguments": ""}
    piece = {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": arguments}
    said = {"type": "response.output_item.done", "output_index": 1, "item": WELL}
    begun = {"type": "response.output_item.added", "output_index": 0, "item": item}
    lm = provider_of(raw_server(typed(begun, piece, said, DONE)), model="m")
    with pytest.raises(ProtocolError, match="arguments of the tool call") as caught:
        ask_in(lm, "responses", True)
    assert caught.value.partial.text == "Well,"
    assert [call.raw_arguments for call in caught.value.partial.tool_calls] == [json.dumps(arguments)]


def test_a_wrong_piece_does_not_matter_if_the_end_has_the_calls_right(raw_server, provider_of):
    piece = {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": 7}
    call = {"type": "function_call", "call_id": "1", "name": "g", "arguments": "{}"}
    end = {"type": "response.completed", "response": {"status": "completed", "output": [call]}}
    lm = provider_of(raw_server(typed(piece, end)), model="m")
    assert [call.name for call in ask_in(lm, "responses", True).tool_calls] == ["g"]


@for_each("output", [{"type": "message"}, "text", 7], ids=str)
def test_an_output_that_is_not_a_list_is_an_error_at_the_end_of_a_stream_too(raw_server, provider_of, output):
    said = {"type": "response.output_item.done", "output_index": 0, "item": WELL}
    end = {"type": "response.completed", "response": {"status": "completed", "output": output}}
    with pytest.raises(ProtocolError, match="output") as caught:
        ask_in(provider_of(raw_server(typed(said, end)), model="m"), "responses", True)
    assert caught.value.partial.text == "Well,"
