import json

import pytest
from conftest import SAMPLES
from hypothesis import given
from hypothesis import strategies as st
from tables import for_each

from lmstudio_provider import (
    ChatRequest,
    CompletionRequest,
    ContextLengthError,
    InvalidRequestError,
    Limits,
    Message,
    NoModelLoadedError,
    ProtocolError,
    ResponsesRequest,
    ServerError,
    StreamInterruptedError,
    Tool,
    ToolCall,
    Usage,
)
from lmstudio_provider._core.types import Call
from lmstudio_provider._dialects.errors import ErrorContext
from lmstudio_provider._dialects.responses import ResponsesStream, chat_call, find_error, reply
from lmstudio_provider._http.readers import Event, SSEReader

ID = "resp_4c19f2a07be35d8146a0c7e2f913b5d86a0e471c93bd52f8"
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def asked(*tools):
    return Call("POST", "/v1/responses", b"", "asked", tools)


def reply_of(value):
    return reply(value, asked(), 2.0)


def output(*items, status="completed", **more):
    return {"id": "resp_1", "status": status, "output": list(items), **more}


def message(*texts):
    return {"type": "message", "content": [{"type": "output_text", "text": text} for text in texts]}


def reasoning(text):
    return {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": text}]}


def function_call(name, arguments, call_id="call_1"):
    return {"type": "function_call", "id": "fc", "call_id": call_id, "name": name, "arguments": arguments}


# The request


@for_each(
    ("name", "value"),
    [
        ("top_k", 40),
        ("min_p", 0.1),
        ("repeat_penalty", 1.1),
        ("presence_penalty", 0),
        ("frequency_penalty", 0.5),
        ("stop", "."),
        ("seed", 7),
        ("logit_bias", {"1": 1}),
        ("ttl", 60),
        ("draft_model", "small"),
    ],
)
def test_an_option_of_another_endpoint_is_refused_with_the_method_that_takes_it(name, value):
    with pytest.raises(InvalidRequestError, match=f"{name} cannot be given to /v1/responses") as caught:
        body_of(**{name: value})
    assert "chat() takes it" in caught.value.hint


@for_each(
    ("options", "words"),
    [
        ({"store": 1}, "store=1"),
        ({"previous_response_id": ""}, "previous_response_id=''"),
        ({"previous_response_id": 7}, "previous_response_id=7"),
        ({"reasoning": " "}, "reasoning=' '"),
        ({"reasoning_effort": True}, "reasoning=True"),
        ({"temperature": "hot"}, "temperature='hot'"),
    ],
)
def test_a_request_that_cannot_work_is_refused_when_it_is_made(options, words):
    with pytest.raises(InvalidRequestError, match=words):
        ResponsesRequest([Message.user("Hi")], **options)


def test_a_choice_of_no_tool_of_the_request_is_refused():
    with pytest.raises(InvalidRequestError, match="'never'"):
        body_of(tools=[Tool("now")], tool_choice="never")


@for_each(
    "message",
    [
        {"role": "nobody", "content": "Hi"},
        {"role": "assistant", "tool_calls": [{"id": "1"}]},
        {"role": "tool", "content": "noon"},
        {"role": "system", "content": [{"type": "image_url", "image_url": {"url": PIXEL}}]},
        {"role": "system", "content": 7},
        {"role": "developer", "content": ["Be brief."]},
        {"role": "system", "content": {"type": "text", "text": "Be brief."}},
    ],
)
def test_a_value_that_is_not_a_message_is_refused(message):
    with pytest.raises(InvalidRequestError):
        chat_call(ChatRequest([message]), "m", stream=False)


def body_of(*messages, stream=False, **fields):
    request = ResponsesRequest(list(messages) or [Message.user("Hi")], **fields)
    return json.loads(chat_call(request, "m", stream).body)


def test_only_options_that_are_set_are_sent():
    call = chat_call(CompletionRequest("Hi").as_chat(), "m", stream=False)
    assert (call.method, call.path, call.model) == ("POST", "/v1/responses", "m")
    assert json.loads(call.body) == {
        "model": "m",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
        "max_output_tokens": 4096,
        "temperature": 0.7,
        "stream": False,
    }


def test_every_option_is_sent_in_the_field_of_the_endpoint():
    body = body_of(
        stream=True,
        max_tokens=5,
        temperature=0,
        top_p=0.5,
        previous_response_id="resp_1",
        store=False,
        reasoning="low",
        extra={"truncation": "auto"},
    )
    del body["input"]
    assert body == {
        "model": "m",
        "max_output_tokens": 5,
        "temperature": 0,
        "top_p": 0.5,
        "previous_response_id": "resp_1",
        "store": False,
        "reasoning": {"effort": "low"},
        "truncation": "auto",
        "stream": True,
    }


@for_each(
    ("reasoning", "effort"), [("off", "none"), ("none", "none"), ("on", "on"), ("low", "low"), ("xhigh", "xhigh")]
)
def test_reasoning_is_sent_as_an_effort(reasoning, effort):
    assert body_of(reasoning=reasoning)["reasoning"] == {"effort": effort}


def test_a_chat_request_keeps_its_reasoning():
    call = chat_call(ChatRequest("Hi", reasoning="high"), "m", stream=False)
    assert json.loads(call.body)["reasoning"] == {"effort": "high"}


def test_no_limit_of_tokens_is_not_sent():
    assert "max_output_tokens" not in body_of(max_tokens=-1)


def test_system_messages_become_the_instructions():
    body = body_of(Message.system("Be brief."), {"role": "developer", "content": "Be kind."}, Message.user("Hi"))
    assert body["instructions"] == "Be brief.\n\nBe kind."
    assert [item["role"] for item in body["input"]] == ["user"]


def test_text_and_images_become_parts_of_the_input():
    own = [{"type": "input_file", "text": "f"}, {"type": "text", "text": None}, {"type": "image_url", "image_url": {}}]
    own.append({"type": "input_image", "image_url": {"url": PIXEL}})
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PIXEL}}, *own]
    assert body_of(Message("user", parts))["input"][0]["content"] == [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": PIXEL},
        *own,
    ]


def test_the_parts_of_a_message_are_joined_if_they_can_only_be_text():
    parts = [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]
    body = body_of(
        Message("system", parts),
        Message.user("When?"),
        Message("assistant", parts, tool_calls=[ToolCall("7", "now")]),
        Message("tool", parts, tool_call_id="7"),
    )
    assert body["instructions"] == "Be brief."
    assert body["input"][1]["content"] == [{"type": "output_text", "text": "Be brief."}]
    assert body["input"][3]["output"] == "Be brief."


@pytest.mark.parametrize("content", [None, ""])
def test_a_message_without_a_content_has_an_empty_text(content):
    body = body_of({"role": "system", "content": content}, {"role": "user", "content": content})
    assert "instructions" not in body
    assert body["input"][0]["content"] == [{"type": "input_text", "text": ""}]


def test_a_conversation_with_tools_becomes_items():
    first, second = ToolCall("7", "now", {"zone": "UTC"}), ToolCall("8", "now")
    items = body_of(
        Message.user("When?"),
        Message.assistant("Let me look.", [first, second]),
        Message.tool(first, "noon"),
        Message.tool(second, ""),
        Message.assistant("", [ToolCall("", "then")]),
        {"role": "tool", "content": "later"},
    )["input"]
    assert items[1:] == [
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me look."}]},
        {"type": "function_call", "call_id": "7", "name": "now", "arguments": '{"zone": "UTC"}'},
        {"type": "function_call", "call_id": "8", "name": "now", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "7", "output": "noon"},
        {"type": "function_call_output", "call_id": "8", "output": ""},
        {"type": "function_call", "call_id": "call_4_0", "name": "then", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_4_0", "output": "later"},
    ]


def test_tools_are_sent_flat_and_a_tool_that_is_not_a_function_unchanged():
    mcp = {"type": "mcp", "server_label": "files", "server_url": "http://localhost/mcp"}
    body = body_of(tools=[Tool("now", "The time"), mcp], tool_choice="required")
    function = {"name": "now", "description": "The time", "parameters": {"type": "object", "properties": {}}}
    assert body["tools"] == [{"type": "function", **function}, mcp]
    assert body["tool_choice"] == "required"


def test_the_choice_of_one_tool_offers_only_that_tool():
    body = body_of(tools=[Tool("now"), Tool("then")], tool_choice="then")
    assert body["tool_choice"] == "required"
    assert [tool["name"] for tool in body["tools"]] == ["then"]


def test_a_format_is_sent_as_a_schema_of_the_text():
    schema = {"type": "object", "title": "City"}
    wanted = {"type": "json_schema", "name": "City", "strict": True, "schema": schema}
    assert body_of(response_format=schema)["text"] == {"format": wanted}
    assert "text" not in body_of(response_format={"type": "text"})


# The reply


@for_each(
    "value",
    [
        None,
        [],
        {},
        {"output": None},
        {"output": [None]},
        {"output": [{"type": "message", "content": 7}]},
        {"output": [{"type": "message", "content": [{"type": "output_text", "text": 7}]}]},
    ],
)
def test_a_reply_of_the_wrong_shape_is_a_protocol_error(value):
    with pytest.raises(ProtocolError) as caught:
        reply_of(value)
    assert caught.value.sent


def test_a_failed_reply_raises_its_error_with_the_partial_reply():
    error = {"code": "server_error", "message": "The model has crashed without additional information."}
    value = output(message("29"), function_call("now", "{}"), status="failed", error=error)
    assert find_error(200, {}, b"", value, ErrorContext("asked")) is None
    with pytest.raises(ServerError, match="the model crashed in LM Studio") as caught:
        reply_of(value)
    partial = caught.value.partial
    assert (partial.text, partial.finish_reason, partial.id) == ("29", None, "resp_1")
    assert [call.name for call in partial.tool_calls] == ["now"]
    assert (caught.value.status, caught.value.code, caught.value.sent) == (200, "server_error", True)


def test_only_a_reply_that_succeeded_on_the_wire_is_left_to_be_read():
    value = output(status="failed", error={"message": "The model has crashed."})
    assert isinstance(find_error(500, {}, b"", value, ErrorContext("asked")), ServerError)
    assert find_error(200, {}, b"[]", [], ErrorContext("asked")) is None


def test_a_reply_that_failed_without_a_reason_is_an_error_all_the_same():
    with pytest.raises(ServerError, match="no reason"):
        reply_of(output(status="failed", error=None))


def test_an_error_is_known_by_its_meaning(sample):
    body = sample("errors/no_models_loaded_responses.json")
    assert isinstance(find_error(404, {}, body, json.loads(body), ErrorContext()), NoModelLoadedError)


def test_a_reply_has_reasoning_text_and_calls(sample):
    completion = reply_of(json.loads(sample("response.json")))
    assert (completion.text, completion.reasoning) == ("29, and now the weather.", "A small prime will do.")
    assert (completion.id, completion.model, completion.requested_model) == (ID, "openai/gpt-oss-20b", "asked")
    assert completion.finish_reason == "tool_calls"
    assert completion.tool_calls == (ToolCall("call_18c7d2", "get_weather", raw_arguments='{"city":"Oslo"}'),)
    assert completion.usage == Usage(71, 33, 104, 9, 0)
    assert completion.stats.tokens_per_second == 16.5
    assert completion.raw["object"] == "response"


def test_several_messages_and_parts_are_one_text():
    items = [
        message("One, ", "two, "),
        {"type": "mcp_call", "output": "x"},
        {**message("x"), "type": "new"},
        message("three."),
    ]
    completion = reply_of(output(*items, {"type": "mcp_list_tools", "tools": []}))
    assert (completion.text, completion.finish_reason, completion.tool_calls) == ("One, two, three.", "stop", ())


@pytest.mark.parametrize("content", [None, []])
def test_a_summary_replaces_missing_reasoning(content):
    item = {"type": "reasoning", "content": content, "summary": [{"type": "summary_text", "text": "Primes."}]}
    assert reply_of(output(item, message("29"))).reasoning == "Primes."


def test_reasoning_inside_the_text_is_parted_from_it():
    completion = reply_of(output(message("<think>I see.</think>\n\nYes.")))
    assert (completion.text, completion.reasoning) == ("Yes.", "I see.")


@for_each(
    ("status", "details", "finish_reason"),
    [
        ("completed", None, "stop"),
        ("incomplete", {"reason": "max_output_tokens"}, "length"),
        ("incomplete", {"reason": "content_filter"}, "content_filter"),
        ("incomplete", None, "incomplete"),
        ("cancelled", None, "cancelled"),
        (None, None, None),
    ],
)
def test_the_status_says_why_a_reply_ended(status, details, finish_reason):
    completion = reply_of(output(message("Hi"), status=status, incomplete_details=details))
    assert completion.finish_reason == finish_reason


def test_calls_with_the_same_id_stay_apart():
    assert len(reply_of(output(function_call("f", "{}"), function_call("f", "{}"))).tool_calls) == 2


def test_calls_without_an_id_get_one_and_names_are_those_that_were_offered():
    value = output(function_call("get_weather", "{}", ""), function_call("get_weather", '{"a":1}', None))
    calls = reply(value, asked("getWeather"), 1.0).tool_calls
    assert [(call.name, call.arguments) for call in calls] == [("getWeather", {}), ("getWeather", {"a": 1})]
    assert len({call.id for call in calls} - {""}) == 2


@for_each("usage", [None, {}, [], {"input_tokens": None}, {"total_tokens": "7"}])
def test_missing_usage_is_none(usage):
    assert reply_of(output(message("Hi"), usage=usage)).usage is None


@for_each(
    ("usage", "read"),
    [
        ({"input_tokens": 0, "output_tokens": 7, "total_tokens": 7}, Usage(None, 7, 7)),
        ({"input_tokens": 9, "input_tokens_details": {"cached_tokens": 8}}, Usage(9, cached_tokens=8)),
        ({"input_tokens": 9, "output_tokens": 0}, Usage(9, 0)),
    ],
)
def test_a_prompt_of_zero_tokens_is_unknown_and_cached_tokens_are_reported(usage, read):
    assert reply_of(output(message("Hi"), usage=usage)).usage == read
    stream = new_stream()
    fed(stream, completed(message("Hi"), usage=usage))
    assert stream.completion().usage == read


def test_a_call_of_a_reply_that_was_cut_off_is_not_lost():
    details = {"reason": "max_output_tokens"}
    completion = reply_of(output(function_call("purge", ""), status="incomplete", incomplete_details=details))
    assert ([call.name for call in completion.tool_calls], completion.finish_reason) == (["purge"], "length")


# The stream


def new_stream(*tools):
    return ResponsesStream(asked(*tools), ErrorContext("asked"), 0.0)


def fed(stream, *values):
    """The chunks that events make."""
    events = [Event(value["type"], json.dumps(value)) for value in values]
    return [chunk for event in events if (chunk := stream.feed(event))]


def streamed(pieces):
    """The chunks and the completion of the bytes of a body."""
    reader, stream, chunks = SSEReader(Limits()), new_stream(), []
    for piece in pieces:
        for event in reader.feed(piece):
            chunk = stream.feed(event)
            chunks += [chunk] if chunk else []
    return chunks + stream.finish(), stream.completion()


def delta(text, output_index=0, kind="output_text", **more):
    return {"type": f"response.{kind}.delta", "output_index": output_index, "delta": text, **more}


def completed(*items, step="completed", **more):
    return {"type": f"response.{step}", "response": output(*items, status=step, **more)}


@for_each(
    "value",
    [
        [],
        7,
        {"type": "response.output_text.delta", "delta": 7},
        {"type": "response.output_item.done", "item": None},
        {"type": "response.completed", "response": {"output": [7]}},
    ],
)
def test_an_event_of_the_wrong_shape_is_a_protocol_error(value):
    with pytest.raises(ProtocolError) as caught:
        new_stream().feed(Event("message", json.dumps(value)))
    assert caught.value.sent


def test_the_name_of_an_event_replaces_a_missing_type():
    assert new_stream().feed(Event("response.output_text.delta", '{"delta": "a"}')).delta == "a"


def test_indexes_of_any_kind_are_borne():
    assert [chunk.delta for chunk in fed(new_stream(), delta("a", output_index=[], content_index={}))] == ["a"]


def test_an_event_that_is_not_json_is_a_protocol_error():
    with pytest.raises(ProtocolError, match="is not JSON"):
        new_stream().feed(Event("response.created", "{"))


def test_a_response_that_fails_in_the_middle_raises_its_error_and_keeps_the_text(sample):
    reader, stream = SSEReader(Limits()), new_stream()
    with pytest.raises(ServerError, match="the model crashed") as caught:
        for event in reader.feed(sample("responses_stream_failed.sse")):
            stream.feed(event)
    assert caught.value.code == "server_error"
    assert (stream.completion().text, stream.completion().id) == ("29", ID)


def test_text_that_only_the_failed_response_has_is_kept():
    stream = new_stream()
    with pytest.raises(ServerError, match="no reason"):
        fed(stream, delta("2"), completed(message("29"), step="failed"))
    assert stream.completion().text == "29"


def test_a_response_that_holds_an_error_raises_it_whatever_it_is_called():
    stream = new_stream()
    with pytest.raises(ServerError, match="the model crashed"):
        fed(stream, completed(message("29"), error={"code": "x", "message": "The model has crashed."}))
    assert stream.completion().text == "29"


OVERFLOW = "The number of tokens to keep from the initial prompt is greater (n_keep: 13055>= n_ctx: 4096)."


@for_each(
    ("name", "data"),
    [
        ("error", {"type": "error", "code": None, "message": OVERFLOW, "param": None}),
        ("message", {"type": "error", "message": OVERFLOW}),
        ("error", {"message": OVERFLOW}),
        ("error", {"type": "error", "error": {"message": OVERFLOW}}),
        ("error", {"error": OVERFLOW, "message": OVERFLOW}),
        ("error", OVERFLOW),
        ("error", {"message": 'Engine protocol returned 400: {"error":{"message":"' + OVERFLOW + '"}}'}),
        ("response.failed", {"type": "response.failed", "response": {"error": {"code": "x", "message": OVERFLOW}}}),
    ],
)
def test_an_error_event_is_known_by_its_meaning_in_each_of_its_shapes(name, data):
    with pytest.raises(ContextLengthError) as caught:
        new_stream().feed(Event(name, json.dumps(data)))
    assert (caught.value.prompt_tokens, caught.value.context_length) == (13055, 4096)


def test_an_error_event_that_says_nothing_is_an_error_all_the_same():
    with pytest.raises(ServerError):
        new_stream().feed(Event("error", "{}"))


def test_an_end_of_the_body_without_an_end_of_the_reply_is_an_interruption():
    stream = new_stream()
    fed(stream, delta("29"))
    stream.feed(Event("message", "[DONE]"))
    with pytest.raises(StreamInterruptedError):
        stream.finish()
    assert stream.completion().text == "29"


def test_a_stream_gives_reasoning_text_and_whole_calls(sample):
    chunks, completion = streamed([sample("responses_stream.sse")])
    assert [chunk.delta for chunk in chunks] == ["", "", "29, and", " now the weather.", ""]
    assert [chunk.reasoning for chunk in chunks] == ["A small prime", " will do.", "", "", ""]
    assert (completion.text, completion.reasoning) == ("29, and now the weather.", "A small prime will do.")
    assert (completion.id, completion.model) == (ID, "openai/gpt-oss-20b")
    last = chunks[-1]
    assert (last.done, last.finish_reason, last.usage) == (True, "tool_calls", Usage(71, 33, 104, 9, 0))
    assert last.tool_calls == (ToolCall("call_18c7d2", "get_weather", raw_arguments='{"city":"Oslo"}'),)
    assert completion.tool_calls == last.tool_calls


def test_a_stream_and_a_whole_reply_say_the_same(sample):
    _, streamed_one = streamed([sample("responses_stream.sse")])
    whole = reply_of(json.loads(sample("response.json")))
    for name in ("text", "reasoning", "tool_calls", "usage", "finish_reason", "id", "model"):
        assert getattr(streamed_one, name) == getattr(whole, name)


@pytest.mark.parametrize("name", ["responses_stream.sse"])
@given(data=st.data())
def test_a_stream_gives_the_same_whatever_the_cuts(name, data):
    body = (SAMPLES / name).read_bytes()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(body)), max_size=20)))
    pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)])]
    chunks, completion = streamed(pieces)
    whole_chunks, whole = streamed([body])
    assert chunks == whole_chunks
    assert (completion.text, completion.tool_calls, completion.usage) == (whole.text, whole.tool_calls, whole.usage)


ONLY_WHOLE = [
    {"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "Hello"},
    {"type": "response.content_part.done", "output_index": 0, "part": {"type": "output_text", "text": "Hello"}},
    {"type": "response.output_item.done", "output_index": 0, "item": message("Hello")},
    completed(message("Hello")),
]


@for_each("came", ["", "Hel", "Hello"])
@for_each("first", range(len(ONLY_WHOLE)))
def test_text_that_comes_whole_is_neither_lost_nor_doubled(first, came):
    stream = new_stream()
    chunks = fed(stream, *([delta(came)] if came else []), *ONLY_WHOLE[first:])
    assert "".join(chunk.delta for chunk in chunks) == stream.completion().text == "Hello"


@for_each("event", ONLY_WHOLE)
def test_each_of_the_events_that_have_a_text_whole_is_enough(event):
    stream = new_stream()
    chunks = fed(stream, delta("Hel"), event)
    assert [chunk.delta for chunk in chunks] == ["Hel", "lo"]


def test_the_parts_of_an_item_are_kept_apart():
    stream = new_stream()
    chunks = fed(
        stream,
        delta("One ", content_index=0),
        delta("tw", content_index=1),
        added(message("One ", "two"), 0, "done"),
    )
    assert [chunk.delta for chunk in chunks] == ["One ", "tw", "o"]


def test_the_rest_of_a_text_that_only_the_last_event_has_is_not_lost_beside_reasoning():
    stream = new_stream()
    fed(stream, delta("Hm.", kind="reasoning_text"), delta("Hel", 1), completed(reasoning("Hm."), message("Hello")))
    assert (stream.completion().text, stream.completion().reasoning) == ("Hello", "Hm.")


def test_reasoning_that_only_the_last_event_has_is_not_lost():
    stream = new_stream()
    chunks = fed(stream, delta("29", output_index=1), completed(reasoning("Primes."), message("29")))
    assert [(chunk.delta, chunk.reasoning) for chunk in chunks] == [("29", ""), ("", "Primes.")]


@pytest.mark.parametrize("came", ["two. ", " "])
def test_a_message_that_only_the_last_event_has_is_not_lost_beside_another(came):
    stream = new_stream()
    fed(stream, delta(came), completed(message("One. "), message(came)))
    assert stream.completion().text.split() == f"{came}One. ".split()


@for_each("came", ["\n\nHello. ", "lo.", "Oh. Hello. Bye."])
@for_each("last", ["Hello.", "\nHello.\n"])
def test_a_text_that_is_another_at_the_end_is_not_doubled(came, last):
    stream = new_stream()
    fed(stream, delta(came), added(message("Hello."), 0, "done"), completed(message(last)))
    assert stream.completion().text == came


def test_items_are_distinguished_by_their_ids_if_there_is_no_index():
    stream = new_stream()
    fed(
        stream,
        {"type": "response.output_text.delta", "item_id": "a", "delta": "One "},
        {"type": "response.output_text.delta", "item_id": "b", "delta": "tw"},
        {"type": "response.output_item.done", "item": {**message("One "), "id": "a"}},
        {"type": "response.output_item.done", "item": {**message("two"), "id": "b"}},
    )
    assert stream.completion().text == "One two"


def arguments(text, output_index, step="delta"):
    name = {"delta": "delta", "done": "arguments"}[step]
    return {"type": f"response.function_call_arguments.{step}", "output_index": output_index, name: text}


def added(item, output_index, step="added"):
    return {"type": f"response.output_item.{step}", "output_index": output_index, "item": item}


def test_two_calls_are_put_together_from_their_pieces():
    stream = new_stream("now")
    fed(
        stream,
        added(function_call("now", "", "call_1"), 0),
        added(function_call("now", "", "call_2"), 1),
        arguments('{"a"', 0),
        arguments('{"b"', 1),
        arguments(":1}", 0),
        arguments('{"a":1}', 0, "done"),
        arguments('{"b":2}', 1, "done"),
        added(function_call("now", '{"a":1}', "call_1"), 0, "done"),
        added(function_call("now", '{"b":2}', "call_2"), 1, "done"),
        completed(),
    )
    assert stream.completion().tool_calls == (
        ToolCall("call_1", "now", raw_arguments='{"a":1}'),
        ToolCall("call_2", "now", raw_arguments='{"b":2}'),
    )
    assert stream.completion().finish_reason == "tool_calls"


NO_ID = {"type": "function_call", "name": "now", "arguments": ""}


@for_each(
    "events",
    [
        [added(function_call("now", ""), 0), arguments('{"a"', 0), arguments(":1}", 0)],
        [added(function_call("now", ""), 0), arguments('{"a"', 0), arguments('{"a":1}', 0, "done")],
        [added(function_call("now", ""), 0), added(function_call("now", '{"a":1}'), 0, "done")],
        [added(NO_ID, 0), added(function_call("now", '{"a":1}'), 0, "done")],
        [arguments('{"a"', 0), added(function_call("now", '{"a":1}'), 0, "done")],
        [added({**function_call("", ""), "name": None}, 0), {**arguments('{"a":1}', 0, "done"), "name": "now"}],
    ],
)
def test_the_received_part_of_a_call_is_kept_if_the_stream_breaks(events):
    stream = new_stream()
    fed(stream, *events)
    with pytest.raises(StreamInterruptedError):
        stream.finish()
    assert stream.completion().tool_calls == (ToolCall("call_1", "now", raw_arguments='{"a":1}'),)


def test_calls_that_are_all_counted_as_the_first_one_stay_apart():
    stream = new_stream("f", "g")
    fed(
        stream,
        added(function_call("f", "", "call_1"), 0),
        arguments('{"a":1}', 0),
        added(function_call("g", "", "call_2"), 0),
        arguments('{"a":2}', 0),
        completed(),
    )
    calls = stream.completion().tool_calls
    assert [(call.id, call.name, call.raw_arguments) for call in calls] == [
        ("call_1", "f", '{"a":1}'),
        ("call_2", "g", '{"a":2}'),
    ]


def test_a_call_that_the_last_event_lacks_is_not_lost():
    stream = new_stream()
    first, second = function_call("f", "{}"), function_call("g", '{"a": tr', "call_2")
    fed(stream, added(first, 0), added(second, 1), completed(first, step="incomplete"))
    assert [(call.name, call.raw_arguments) for call in stream.completion().tool_calls] == [
        ("f", "{}"),
        ("g", '{"a": tr'),
    ]


def test_a_name_that_comes_again_with_the_arguments_begins_no_other_call():
    stream = new_stream()
    item = function_call("now", "", None)
    done = {**arguments("{}", 0, "done"), "name": "now"}
    fed(stream, added(item, 0), arguments("{}", 0), done, added({**item, "arguments": "{}"}, 0, "done"))
    assert [(call.name, call.raw_arguments) for call in stream.completion().tool_calls] == [("now", "{}")]


def test_calls_that_only_the_last_event_has_are_not_lost():
    stream = new_stream()
    fed(stream, completed(function_call("now", "{}")))
    assert stream.finish()[-1].tool_calls == (ToolCall("call_1", "now", raw_arguments="{}"),)


def test_calls_that_the_server_makes_itself_are_ignored():
    stream = new_stream()
    item = {"type": "mcp_call", "id": "mcp_1", "name": "ls", "arguments": "{}", "output": "a"}
    chunks = fed(
        stream,
        added(item, 0),
        {"type": "response.mcp_call_arguments.delta", "output_index": 0, "delta": "{}"},
        {"type": "response.mcp_call.completed", "output_index": 0},
        {"type": "keepalive"},
        {"type": "response.content_part.done", "output_index": 1, "part": {"type": "refusal", "text": "No"}},
        {"type": "response.content_part.done", "output_index": 1},
        delta("Hi", output_index=1),
        completed(item, message("Hi")),
    )
    assert [chunk.delta for chunk in chunks] == ["Hi"]
    assert stream.completion().tool_calls == ()


def test_a_response_that_is_incomplete_says_why():
    stream = new_stream()
    fed(
        stream,
        delta("Hel"),
        completed(message("Hel"), step="incomplete", incomplete_details={"reason": "max_output_tokens"}),
    )
    assert stream.finish()[-1].finish_reason == "length"
