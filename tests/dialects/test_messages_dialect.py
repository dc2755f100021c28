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
    ProtocolError,
    ServerError,
    StreamInterruptedError,
    Tool,
    ToolCall,
    Usage,
)
from lmstudio_provider._core.types import Call
from lmstudio_provider._dialects.errors import ErrorContext
from lmstudio_provider._dialects.lmstudio_errors import find_error
from lmstudio_provider._dialects.messages import MessagesStream, chat_call, reply
from lmstudio_provider._http.readers import Event, SSEReader

PIXEL = "data:image/png;base64,iVBORw0KGgo="


def asked(*tools):
    return Call("POST", "/v1/messages", b"", "asked", tools)


def reply_of(value):
    return reply(value, asked(), 2.0)


def text(said):
    return {"type": "text", "text": said}


# The request


def body_of(*messages, stream=False, **fields):
    request = ChatRequest(list(messages) or [Message.user("Hi")], **fields)
    return json.loads(chat_call(request, "m", stream).body)


@for_each(
    ("name", "value"),
    [
        ("min_p", 0.1),
        ("repeat_penalty", 1.1),
        ("presence_penalty", 0),
        ("frequency_penalty", 0.5),
        ("seed", 7),
        ("logit_bias", {"1": 1}),
        ("ttl", 60),
        ("draft_model", "small"),
        ("response_format", {"type": "object"}),
    ],
)
def test_an_option_of_another_endpoint_is_refused_with_the_method_that_takes_it(name, value):
    with pytest.raises(InvalidRequestError, match=f"{name} cannot be given to /v1/messages") as caught:
        body_of(**{name: value})
    assert "chat() takes it" in caught.value.hint


@pytest.mark.parametrize("limit", [None, -1])
def test_a_request_without_a_limit_of_tokens_is_refused(limit):
    with pytest.raises(InvalidRequestError, match=f"max_tokens={limit} cannot be given to /v1/messages"):
        body_of(max_tokens=limit)


@for_each("arguments", ['{"a":', "[1]", "7"])
def test_a_call_whose_arguments_are_not_an_object_is_refused_by_name(arguments):
    call = ToolCall("7", "now", raw_arguments=arguments)
    with pytest.raises(InvalidRequestError, match=r"the call '7' of 'now'"):
        body_of(Message.user("When?"), Message.assistant("", [call]), Message.tool(call, "noon"))


@for_each("url", ["http://localhost/a.png", "data:image/png,abc", "image/png;base64,abc"])
def test_an_image_that_is_not_base64_is_refused(url):
    with pytest.raises(InvalidRequestError, match="base64"):
        body_of(Message("user", [{"type": "image_url", "image_url": {"url": url}}]))


def test_a_word_for_reasoning_that_has_no_budget_is_refused():
    with pytest.raises(InvalidRequestError, match="reasoning='xhigh' cannot be given to /v1/messages") as caught:
        body_of(reasoning="xhigh")
    assert "'low', 'medium'" in caught.value.hint
    assert "chat()" in caught.value.hint


@pytest.mark.parametrize("word", ["off", "none"])
def test_reasoning_that_is_off_is_disabled_thinking(word):
    assert body_of(reasoning=word)["thinking"] == {"type": "disabled"}


@for_each(("word", "budget"), [("low", 2000), ("medium", 5000), ("on", 5000), ("high", 8000)])
def test_reasoning_is_a_share_of_max_tokens(word, budget):
    assert body_of(reasoning=word, max_tokens=10_000)["thinking"] == {"type": "enabled", "budget_tokens": budget}


def test_the_share_is_never_less_than_the_endpoint_takes():
    assert body_of(reasoning="low", max_tokens=100)["thinking"]["budget_tokens"] == 1024


def test_an_unknown_role_is_refused():
    with pytest.raises(InvalidRequestError, match="nobody"):
        body_of({"role": "nobody", "content": "Hi"})


def test_only_options_that_are_set_are_sent():
    call = chat_call(CompletionRequest("Hi").as_chat(), "m", stream=False)
    assert (call.method, call.path, call.model) == ("POST", "/v1/messages", "m")
    assert json.loads(call.body) == {
        "model": "m",
        "messages": [{"role": "user", "content": [text("Hi")]}],
        "max_tokens": 4096,
        "temperature": 0.7,
        "stream": False,
    }


@pytest.mark.parametrize(("stop", "sent"), [(".", ["."]), ([".", "!"], [".", "!"])])
def test_every_option_is_sent_in_the_field_of_the_endpoint(stop, sent):
    extra = {"thinking": {"type": "disabled"}}
    body = body_of(stream=True, max_tokens=5, temperature=0, top_p=0.5, top_k=40, stop=stop, extra=extra)
    del body["messages"]
    assert body == {
        "model": "m",
        "max_tokens": 5,
        "temperature": 0,
        "top_p": 0.5,
        "top_k": 40,
        "stop_sequences": sent,
        "thinking": {"type": "disabled"},
        "stream": True,
    }


def test_system_messages_stand_apart():
    body = body_of(Message.system("Be brief."), Message.user("Hi"), Message.system("Be kind."))
    assert body["system"] == "Be brief.\n\nBe kind."
    assert body["messages"] == [{"role": "user", "content": [text("Hi")]}]


def test_text_and_images_become_blocks():
    own = {"type": "document", "source": {}}
    parts = [text("What is it?"), {"type": "image_url", "image_url": {"url": PIXEL}}, own]
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    content = body_of(Message("user", parts))["messages"][0]["content"]
    assert content == [text("What is it?"), {"type": "image", "source": source}, own]


def test_a_conversation_with_tools_becomes_turns_of_user_and_assistant():
    first, second = ToolCall("7", "now", {"zone": "UTC"}), ToolCall("8", "now")
    turns = body_of(
        Message.user("When?"),
        Message.user("In UTC."),
        Message.assistant("Let me look.", [first, second]),
        Message.tool(first, "noon"),
        Message.tool(second, ""),
        Message.user("And?"),
        Message.assistant(""),
        Message.user("Hello?"),
        Message.assistant("Noon."),
    )["messages"]
    assert turns == [
        {"role": "user", "content": [text("When?"), text("In UTC.")]},
        {
            "role": "assistant",
            "content": [
                text("Let me look."),
                {"type": "tool_use", "id": "7", "name": "now", "input": {"zone": "UTC"}},
                {"type": "tool_use", "id": "8", "name": "now", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "7", "content": "noon"},
                {"type": "tool_result", "tool_use_id": "8", "content": ""},
                text("And?"),
                text("Hello?"),
            ],
        },
        {"role": "assistant", "content": [text("Noon.")]},
    ]


def test_tools_are_sent_with_the_schema_of_their_input():
    own = {"name": "bash", "type": "bash_20250124"}
    body = body_of(tools=[Tool("now", "The time"), {"type": "function", "function": {"name": "then"}}, own])
    assert body["tools"] == [
        {"name": "now", "description": "The time", "input_schema": {"type": "object", "properties": {}}},
        {"name": "then", "input_schema": {"type": "object"}},
        own,
    ]
    assert "tool_choice" not in body


@for_each(
    ("choice", "sent"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ("then", {"type": "tool", "name": "then"}),
    ],
)
def test_a_choice_of_tools_is_sent_as_an_object(choice, sent):
    assert body_of(tools=[Tool("now"), Tool("then")], tool_choice=choice)["tool_choice"] == sent


# The reply


@for_each(
    "value",
    [None, [], {}, {"content": None}, {"content": "Hi"}, {"content": [7]}, {"content": [{"type": "text", "text": 7}]}],
)
def test_a_reply_of_the_wrong_shape_is_a_protocol_error(value):
    with pytest.raises(ProtocolError) as caught:
        reply_of(value)
    assert caught.value.sent


def test_an_error_is_known_by_its_meaning(sample):
    body = sample("errors/anthropic_api_error.json")
    error = find_error(500, {}, body, json.loads(body), ErrorContext())
    assert isinstance(error, InvalidRequestError)
    assert "cannot make a grammar" in error.message


def test_a_reply_has_text_and_calls(sample):
    completion = reply_of(json.loads(sample("message.json")))
    assert (completion.text, completion.reasoning) == ("Let me look.", "")
    assert (completion.id, completion.model, completion.requested_model) == (
        "msg_01f7c2a95be8",
        "qwen/qwen3-8b",
        "asked",
    )
    assert completion.finish_reason == "tool_calls"
    assert [(call.id, call.name, call.arguments) for call in completion.tool_calls] == [
        ("toolu_365174485", "get_weather", {"city": "Oslo"})
    ]
    assert completion.usage == Usage(263, 41, 304, None)
    assert completion.stats.tokens_per_second == 20.5
    assert completion.raw["type"] == "message"


def test_thinking_is_reasoning_and_unknown_blocks_are_passed_over():
    blocks = [
        {"type": "thinking", "thinking": "Hm."},
        {"type": "new", "text": "x", "thinking": "y"},
        text("A"),
        text("B"),
    ]
    completion = reply_of({"content": blocks})
    assert (completion.text, completion.reasoning, completion.finish_reason) == ("AB", "Hm.", None)


def test_reasoning_inside_the_text_is_parted_from_it():
    completion = reply_of({"content": [text("<think>I see.</think>\n\nYes.")]})
    assert (completion.text, completion.reasoning) == ("Yes.", "I see.")


@for_each(
    ("reason", "finish_reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "refusal"),
        (None, None),
    ],
)
def test_the_reason_to_stop_is_reported_in_the_words_of_chat(reason, finish_reason):
    assert reply_of({"content": [], "stop_reason": reason}).finish_reason == finish_reason


@for_each("usage", [None, {}, [], {"input_tokens": None}, {"output_tokens": "7"}])
def test_missing_usage_is_none(usage):
    assert reply_of({"content": [], "usage": usage}).usage is None


@pytest.mark.parametrize(("usage", "told"), [({"input_tokens": 9}, Usage(9)), ({"output_tokens": 7}, Usage(None, 7))])
def test_incomplete_usage_has_no_sum(usage, told):
    assert reply_of({"content": [], "usage": usage}).usage == told


def test_calls_with_the_same_id_stay_apart():
    call = {"type": "tool_use", "id": "1", "name": "f", "input": {}}
    assert len(reply_of({"content": [call, call]}).tool_calls) == 2


def test_calls_without_an_id_get_one_and_names_are_those_that_were_offered():
    blocks = [{"type": "tool_use", "name": "get_weather", "input": {"a": 1}}, {"type": "tool_use", "name": "b"}]
    calls = reply({"content": blocks}, asked("getWeather"), 1.0).tool_calls
    assert [(call.name, call.arguments) for call in calls] == [("getWeather", {"a": 1}), ("b", {})]
    assert len({call.id for call in calls} - {""}) == 2


@for_each(
    ("usage", "read"),
    [
        ({"input_tokens": 0, "output_tokens": 7}, Usage(None, 7)),
        ({"input_tokens": 9, "output_tokens": 0}, Usage(9, 0, 9)),
        ({"input_tokens": 9, "output_tokens": 7, "cache_read_input_tokens": 8}, Usage(9, 7, 16, None, 8)),
        ({"input_tokens": 9, "output_tokens": 7, "cache_read_input_tokens": 0}, Usage(9, 7, 16, None, 0)),
        ({"input_tokens": 0}, None),
    ],
)
def test_a_prompt_of_zero_tokens_is_unknown_and_cached_tokens_are_reported(usage, read):
    assert reply_of({"content": [], "usage": usage}).usage == read
    stream = new_stream()
    fed(stream, {"type": "message_start", "message": {"usage": usage}}, ended(**usage))
    assert stream.completion().usage == read


def test_a_count_of_nothing_says_nothing_against_one_that_came_before():
    stream = new_stream()
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 9, "cache_read_input_tokens": 8}}}
    fed(stream, start, ended(input_tokens=0, cache_read_input_tokens=None, output_tokens=0))
    assert stream.completion().usage == Usage(9, 0, 9, None, 8)


def test_a_call_of_a_reply_that_was_cut_off_is_not_lost():
    completion = reply_of(
        {"content": [{"type": "tool_use", "id": "1", "name": "purge", "input": {}}], "stop_reason": "max_tokens"}
    )
    assert ([call.name for call in completion.tool_calls], completion.finish_reason) == (["purge"], "length")


# The stream


def new_stream(*tools):
    return MessagesStream(asked(*tools), ErrorContext("asked"), 0.0)


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


def begun(block, index=0):
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(kind, value, index=0):
    name = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}.get(kind, "x")
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, name: value}}


def stopped(index=0):
    return {"type": "content_block_stop", "index": index}


def ended(reason="end_turn", **usage):
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


@for_each(
    "value",
    [
        [],
        {"type": "message_start", "message": None},
        {"type": "content_block_start"},
        {"type": "content_block_delta", "delta": []},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": 7}},
        {"type": "message_delta", "delta": None},
    ],
)
def test_an_event_of_the_wrong_shape_is_a_protocol_error(value):
    with pytest.raises(ProtocolError) as caught:
        new_stream().feed(Event("message", json.dumps(value)))
    assert caught.value.sent


def test_an_error_event_is_known_by_its_meaning(sample):
    with pytest.raises(ContextLengthError) as caught:
        streamed([sample("messages_stream_error.sse")])
    assert (caught.value.prompt_tokens, caught.value.context_length) == (13055, 4096)


def test_an_error_in_the_middle_keeps_the_text_and_counts_no_reply():
    stream = new_stream()
    start = {"type": "message_start", "message": {"id": "msg_1", "usage": {"input_tokens": 9, "output_tokens": 0}}}
    overloaded = {"type": "error", "error": {"type": "api_error", "message": "Model unloaded."}}
    with pytest.raises(ServerError, match="unloaded"):
        fed(stream, start, delta("text_delta", "Let"), overloaded)
    partial = stream.completion()
    assert (partial.text, partial.id, partial.usage) == ("Let", "msg_1", Usage(9))


def test_an_end_of_the_body_without_an_end_of_the_reply_is_an_interruption():
    stream = new_stream()
    fed(stream, begun(text("")), delta("text_delta", "Let"), stopped())
    with pytest.raises(StreamInterruptedError):
        stream.finish()


def test_a_stream_gives_reasoning_text_and_whole_calls(sample):
    chunks, completion = streamed([sample("messages_stream.sse")])
    assert [chunk.delta for chunk in chunks] == ["", "Let me", " look.", ""]
    assert [chunk.reasoning for chunk in chunks] == ["The weather is wanted.", "", "", ""]
    assert (completion.text, completion.reasoning) == ("Let me look.", "The weather is wanted.")
    assert (completion.id, completion.model) == ("msg_01f7c2a95be8", "qwen/qwen3-8b")
    last = chunks[-1]
    assert (last.done, last.finish_reason, last.usage) == (True, "tool_calls", Usage(263, 41, 304))
    assert last.tool_calls == (ToolCall("toolu_365174485", "get_weather", raw_arguments='{"city":"Oslo"}'),)
    assert completion.tool_calls == last.tool_calls


@given(data=st.data())
def test_a_stream_gives_the_same_whatever_the_cuts(data):
    body = (SAMPLES / "messages_stream.sse").read_bytes()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(body)), max_size=20)))
    pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)])]
    chunks, completion = streamed(pieces)
    whole_chunks, whole = streamed([body])
    assert chunks == whole_chunks
    assert (completion.text, completion.tool_calls, completion.usage) == (whole.text, whole.tool_calls, whole.usage)


def test_the_text_that_begins_a_block_is_not_lost():
    stream = new_stream()
    chunks = fed(
        stream, begun({"type": "thinking", "thinking": "Hm."}), begun(text("Hi"), 1), delta("text_delta", "!", 1)
    )
    assert [(chunk.delta, chunk.reasoning) for chunk in chunks] == [("", "Hm."), ("Hi", ""), ("!", "")]


@for_each(
    ("given", "pieces", "arguments"),
    [
        ({}, [], {}),
        (None, [], {}),
        ({}, [""], {}),
        ({"a": 1}, [], {"a": 1}),
        ({"a": 1}, ['{"b"', ":2}"], {"b": 2}),
    ],
)
@for_each("stops", [[stopped()], []])
def test_the_input_of_a_call_comes_in_pieces_or_at_once(given, pieces, arguments, stops):
    stream = new_stream()
    block = {"type": "tool_use", "id": "1", "name": "now", "input": given}
    fed(stream, begun(block), *(delta("input_json_delta", piece) for piece in pieces), *stops, ended("tool_use"))
    assert [(call.id, call.arguments) for call in stream.finish()[-1].tool_calls] == [("1", arguments)]


def test_the_end_of_a_call_ends_no_other_that_has_begun():
    stream = new_stream()
    first, second = ({"type": "tool_use", "id": id_, "name": "now", "input": {}} for id_ in "12")
    fed(
        stream,
        begun(first),
        begun(second, 1),
        stopped(),
        delta("input_json_delta", '{"a":1}', 1),
        stopped(1),
        ended("tool_use"),
    )
    assert [(call.id, call.arguments) for call in stream.finish()[-1].tool_calls] == [("1", {}), ("2", {"a": 1})]


@for_each("names", ["fg", "ff"])
@for_each("given", [{}, {"a": 1}, None])
def test_calls_that_are_all_counted_as_0_stay_apart(names, given):
    stream = new_stream()
    for name in names:
        fed(stream, begun({"type": "tool_use", "name": name, "input": given}))
        fed(stream, *([] if given is not None else [delta("input_json_delta", "{}")]), stopped())
    fed(stream, ended("tool_use"))
    calls = stream.finish()[-1].tool_calls
    assert [(call.name, call.arguments) for call in calls] == [(name, given or {}) for name in names]


def test_a_stop_reason_is_kept_if_usage_comes_after_it():
    stream = new_stream()
    fed(stream, delta("text_delta", "Hi"), ended("max_tokens"), ended(None, output_tokens=7))
    assert (stream.finish()[-1].finish_reason, stream.completion().usage) == ("length", Usage(None, 7))


def test_unknown_events_blocks_and_pieces_are_passed_over():
    stream = new_stream()
    block = {"type": "server_tool_use", "id": "1", "name": "search", "input": {}}
    chunks = fed(
        stream,
        {"type": "ping"},
        {"type": "news"},
        begun(block),
        delta("input_json_delta", "{}", 5),
        delta("signature_delta", "abc"),
        ended(output_tokens=None),
        {"type": "message_stop"},
    )
    assert chunks == []
    assert stream.done
    assert stream.completion().tool_calls == ()
