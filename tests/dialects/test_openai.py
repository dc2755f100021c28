import json

import pytest
from tables import for_each

from lmstudio_provider import (
    ChatRequest,
    Chunk,
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
from lmstudio_provider._dialects.accumulator import read_stats
from lmstudio_provider._dialects.errors import ErrorContext, find_fault
from lmstudio_provider._dialects.models import native_models
from lmstudio_provider._dialects.models import openai_models as models_of
from lmstudio_provider._dialects.openai import ChatStream, chat_call, reply
from lmstudio_provider._http.readers import Event, SSEReader


def asked(*tools):
    return Call("POST", "/v1/chat/completions", b"", "asked", tools)


def reply_of(value):
    return reply(value, asked(), 2.0)


@for_each(
    "value",
    [
        None,
        [],
        "text",
        7,
        {},
        {"choices": None},
        {"choices": []},
        {"choices": {}},
        {"choices": [None]},
        {"choices": [{}]},
        {"choices": [{"message": None}]},
        {"choices": [{"message": []}]},
        {"choices": [{"message": {"content": 7}}]},
        {"choices": [{"message": {"content": ["a"]}}]},
        {"choices": [{"message": {"reasoning_content": 7}}]},
    ],
)
def test_a_reply_of_the_wrong_shape_is_a_protocol_error(value):
    with pytest.raises(ProtocolError) as caught:
        reply_of(value)
    assert caught.value.sent


@for_each("value", [None, [], {}, {"data": {}}, {"data": [None]}, {"data": [{}]}])
def test_a_list_of_models_of_the_wrong_shape_is_a_protocol_error(value):
    with pytest.raises(ProtocolError):
        models_of(value)


def test_models_are_distinguished_by_their_ids(sample):
    models = models_of(json.loads(sample("models_openai.json")))
    assert [(model.id, model.type) for model in models] == [
        ("qwen/qwen3-8b", "llm"),
        ("qwen/qwen3-8b:2", "llm"),
        ("gemma-3-4b-it@q4_k_m", "llm"),
        ("text-embedding-nomic-embed-text-v1.5", "embedding"),
    ]
    assert models_of({"data": []}) == []


def test_a_plain_reply(sample):
    completion = reply_of(json.loads(sample("chat_completion.json")))
    assert completion.text == "Grüße! Rayleigh scattering makes the sky blue."
    assert (completion.model, completion.requested_model) == ("qwen/qwen3-8b", "asked")
    assert completion.finish_reason == "stop"
    assert completion.usage == Usage(21, 11, 32, None)
    assert completion.id == "chatcmpl-4xk2m9qv7wd0c5t1n8rbz"
    assert completion.raw["object"] == "chat.completion"
    assert (completion.reasoning, completion.tool_calls) == ("", ())


def test_the_speed_is_measured_if_the_server_does_not_report_it(sample):
    stats = reply_of(json.loads(sample("chat_completion.json"))).stats
    assert (stats.tokens_per_second, stats.generation_time_s, stats.time_to_first_token_s) == (5.5, 2.0, None)


@for_each(
    ("given", "tokens", "first_s", "duration_s", "speed"),
    [
        (None, 1, None, 2.0, 0.5),
        (None, 1, 0.5, 1.0, None),  # its first text is also its end
        (None, 6, 1.0, 3.0, 3.0),
        (None, 6, 1.0, 1.0, None),
        (None, 6, None, 0.0, None),
        (None, 0, None, 2.0, None),
        ({"stop_reason": "eosFound"}, 6, 1.0, 3.0, 3.0),
        ({"tokens_per_second": 7}, 6, 1.0, 3.0, 7),
    ],
)
def test_the_speed_is_that_of_the_server_or_measured_or_unknown(given, tokens, first_s, duration_s, speed):
    assert read_stats(given, Usage(9, tokens), first_s, duration_s).tokens_per_second == speed


def test_the_servers_own_stats_win(sample):
    stats = reply_of(json.loads(sample("chat_completion_v0.json"))).stats
    assert (stats.tokens_per_second, stats.time_to_first_token_s, stats.generation_time_s) == (51.43, 0.111, 0.954)
    assert stats.stop_reason == "eosFound"
    draft = reply_of(json.loads(sample("chat_completion_v0_draft.json"))).stats
    assert (draft.draft_model, draft.total_draft_tokens_count) == ("qwen3-0.6b", 40)
    assert (draft.accepted_draft_tokens_count, draft.rejected_draft_tokens_count) == (31, 7)
    assert draft.ignored_draft_tokens_count == 2


@pytest.mark.parametrize(
    ("name", "reasoning", "tokens"),
    [
        ("chat_completion_reasoning.json", "17 times 23 is 17 times 20 plus 17 times 3.", 22),
        ("chat_completion_reasoning_alt.json", "340 plus 51.", 8),
    ],
)
def test_reasoning_is_read_under_both_of_its_names(sample, name, reasoning, tokens):
    completion = reply_of(json.loads(sample(name)))
    assert (completion.text, completion.reasoning) == ("391", reasoning)
    assert completion.usage.reasoning_tokens == tokens


@pytest.mark.parametrize("content", ["<think>I see.</think>\n\nYes.", "I see.</think>\n\nYes."])
def test_reasoning_inside_the_text_is_parted_from_it(content):
    completion = reply_of({"choices": [{"message": {"content": content}}]})
    assert (completion.text, completion.reasoning) == ("Yes.", "I see.")


def test_tool_calls_come_without_content(sample):
    completion = reply_of(json.loads(sample("chat_completion_tool_calls.json")))
    assert completion.text == ""
    assert completion.finish_reason == "tool_calls"
    assert [(call.id, call.name, call.arguments) for call in completion.tool_calls] == [
        ("365174485", "get_weather", {"city": "Oslo", "unit": "celsius"}),
        ("802331947", "get_time", {}),
    ]


def test_whole_calls_without_ids_stay_apart():
    calls = [{"function": {"name": "f", "arguments": "{}"}}, {"function": {"name": "g", "arguments": {"a": 1}}}]
    completion = reply_of({"choices": [{"message": {"tool_calls": calls}}]})
    assert [(call.name, call.arguments) for call in completion.tool_calls] == [("f", {}), ("g", {"a": 1})]
    assert len({call.id for call in completion.tool_calls} - {""}) == 2


PARTS = [{"type": "text", "text": "ab"}, {"type": "output_text", "text": "c"}]


@for_each("parts", [PARTS, [{"type": "text", "text": "abc", "annotations": []}]])
def test_a_content_in_parts_is_their_text(parts):
    assert reply_of({"choices": [{"message": {"content": parts}}]}).text == "abc"
    chunks, completion = streamed(chunks_of([{"delta": {"content": parts}}], [delta(finish_reason="stop")]))
    assert ("".join(chunk.delta for chunk in chunks), completion.text) == ("abc", "abc")


@for_each("part", [{"type": "image"}, {"type": "text", "text": 7}, {"text": "abc"}, "abc", None, {"type": "reasoning"}])
def test_a_part_that_is_not_text_is_an_error_that_shows_it(part):
    with pytest.raises(ProtocolError) as caught:
        reply_of({"choices": [{"message": {"content": [PARTS[0], part]}}]})
    assert json.dumps(part)[1:-1] in str(caught.value)


@for_each("usage", [None, {}, [], {"prompt_tokens": None}, {"total_tokens": "7"}])
def test_missing_usage_is_none_and_never_zero(usage):
    completion = reply_of({"choices": [{"message": {"content": "Hi"}}], "usage": usage})
    assert completion.usage is None
    assert completion.stats.tokens_per_second is None
    assert completion.model == "asked"


def test_only_options_that_are_set_are_sent():
    call = chat_call(CompletionRequest("Hi").as_chat(), "m", stream=False)
    assert (call.method, call.path, call.model) == ("POST", "/v1/chat/completions", "m")
    assert json.loads(call.body) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 4096,
        "temperature": 0.7,
        "stream": False,
    }


def test_every_option_goes_under_its_own_name():
    options = {
        "max_tokens": 5,
        "temperature": 0,
        "top_p": 0.5,
        "top_k": 40,
        "min_p": 0.05,
        "repeat_penalty": 1.1,
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "stop": ["\n"],
        "seed": 7,
        "logit_bias": {"15": -100},
        "ttl": 60,
        "draft_model": "small",
    }
    request = CompletionRequest(
        "Hi", "Be brief", model="ignored", tier="x", extra={"reasoning_effort": "low"}, **options
    )
    body = json.loads(chat_call(request.as_chat(), "m", stream=True).body)
    assert body == {
        **options,
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "reasoning_effort": "low",
    }


@for_each(
    ("reasoning", "effort"), [("off", "none"), ("none", "none"), ("on", "on"), ("low", "low"), ("xhigh", "xhigh")]
)
@for_each("stream", [False, True])
def test_reasoning_is_sent_as_an_effort(reasoning, effort, stream):
    body = json.loads(chat_call(ChatRequest("Hi", reasoning=reasoning), "m", stream).body)
    assert body["reasoning_effort"] == effort
    assert "reasoning" not in body


def test_an_extra_field_is_sent_instead_of_the_option_of_its_name():
    request = ChatRequest("Hi", reasoning="off", extra={"reasoning_effort": "off"})
    assert json.loads(chat_call(request, "m", stream=False).body)["reasoning_effort"] == "off"


def test_every_message_is_sent_with_content():
    call = ToolCall("7", "now")
    messages = [
        Message.user("When?"),
        Message("assistant", None, tool_calls=[call]),
        Message.tool(call, "noon"),
        {"role": "assistant", "content": None},
        {"role": "assistant", "tool_calls": []},
        Message("user", [{"type": "text", "text": "And now?"}], name="ann"),
    ]
    sent = json.loads(chat_call(ChatRequest(messages), "m", stream=False).body)["messages"]
    function = {"name": "now", "arguments": "{}"}
    assert sent == [
        {"role": "user", "content": "When?"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "7", "type": "function", "function": function}]},
        {"role": "tool", "content": "noon", "tool_call_id": "7"},
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": "", "tool_calls": []},
        {"role": "user", "content": [{"type": "text", "text": "And now?"}], "name": "ann"},
    ]


def body_of(**fields):
    return json.loads(chat_call(ChatRequest([Message.user("Hi")], **fields), "m", stream=False).body)


def test_tools_are_sent_in_openai_form():
    tool = Tool("now", "The time", {"type": "object", "properties": {}})
    as_dict = {"type": "function", "function": {"name": "then"}}
    function = {"name": "now", "description": "The time", "parameters": {"type": "object", "properties": {}}}
    assert body_of(tools=[tool, as_dict])["tools"] == [{"type": "function", "function": function}, as_dict]


@for_each("choice", ["auto", "none", "required"])
def test_a_choice_of_tools_is_sent_as_it_is(choice):
    assert body_of(tools=[Tool("now")], tool_choice=choice)["tool_choice"] == choice


def test_the_choice_of_one_tool_offers_only_that_tool_because_the_object_is_refused():
    body = body_of(tools=[Tool("now"), Tool("then")], tool_choice="then")
    assert body["tool_choice"] == "required"
    assert [tool["function"]["name"] for tool in body["tools"]] == ["then"]


def test_the_choice_of_no_tool_of_the_request_is_refused():
    with pytest.raises(InvalidRequestError, match="'never'"):
        body_of(tools=[Tool("now")], tool_choice="never")


def test_a_format_of_text_is_not_sent():
    assert "response_format" not in body_of(response_format={"type": "text"})


@pytest.mark.parametrize("extra", [{"a": object()}, {"a": float("nan")}])
def test_a_value_that_is_not_json_is_refused(extra):
    with pytest.raises(InvalidRequestError, match="JSON"):
        body_of(extra=extra)


def test_a_lone_surrogate_does_not_stop_a_request():
    assert json.loads(chat_call(CompletionRequest("\ud800").as_chat(), "m", stream=False).body)


def streamed(data, *, cut=None):
    """The chunks and the completion of the bytes of a body."""
    reader, stream = SSEReader(Limits()), ChatStream(asked(), ErrorContext("asked"), 0.0)
    pieces = [data] if cut is None else [data[i : i + cut] for i in range(0, len(data), cut)]
    chunks = []
    for piece in pieces:
        chunks += [chunk for event in reader.feed(piece) if (chunk := stream.feed(event))]
        if stream.done:
            break
    return chunks + stream.finish(), stream.completion()


PLAIN = [
    ("chat_stream.sse", "Grüße! 🌍", "stop"),
    ("chat_stream_usage.sse", "Four.", "stop"),
    ("chat_stream_unicode.sse", 'line\u2028separator \x85next a\\b "q" \t data: [DONE]\n\nnot the end', "stop"),
]


@for_each("cut", [None, 1, 7])
@for_each(("name", "text", "finish_reason"), PLAIN)
def test_a_stream_gives_its_text_whatever_the_cuts(sample, name, text, finish_reason, cut):
    chunks, completion = streamed(sample(name), cut=cut)
    assert "".join(chunk.delta for chunk in chunks) == completion.text == text
    assert [chunk.done for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].finish_reason == completion.finish_reason == finish_reason
    assert completion.model in ("qwen/qwen3-8b", "asked")


def test_a_piece_that_carries_nothing_makes_no_chunk(sample):
    chunks, _ = streamed(sample("chat_stream.sse"))
    assert [chunk.delta for chunk in chunks] == ["Grü", "ße", "!", " 🌍", ""]


def test_usage_comes_with_the_last_chunk_or_not_at_all(sample):
    chunks, completion = streamed(sample("chat_stream_usage.sse"))
    assert chunks[-1].usage == completion.usage == Usage(24, 3, 27)
    _, completion = streamed(sample("chat_stream.sse"))
    assert completion.usage is None


@for_each(
    ("name", "reasoning"),
    [
        ("chat_stream_reasoning.sse", "17×20 + 17×3"),
        ("chat_stream_reasoning_alt.sse", "340 + 51"),
        ("chat_stream_think_tags.sse", "17×20 + 51"),
    ],
)
def test_reasoning_is_streamed_beside_the_answer(sample, name, reasoning):
    chunks, completion = streamed(sample(name))
    assert "".join(chunk.reasoning for chunk in chunks) == completion.reasoning == reasoning
    assert "".join(chunk.delta for chunk in chunks) == completion.text == "391"


def test_reasoning_that_was_never_opened_is_parted_at_the_end():
    events = [{"content": "I see."}, {"content": "</think>\n\nYes."}]
    data = b"".join(b"data: " + json.dumps({"choices": [{"delta": each}]}).encode() + b"\n\n" for each in events)
    _, completion = streamed(data + b"data: [DONE]\n\n")
    assert (completion.text, completion.reasoning) == ("Yes.", "I see.")


@for_each(
    ("name", "calls"),
    [
        ("chat_stream_tool_calls.sse", [("365174485", "get_weather", {"city": "Oslo"})]),
        ("chat_stream_tool_calls_empty_ids.sse", [("365174485", "get_weather", {"city": "Oslo"})]),
        ("chat_stream_tool_calls_whole.sse", [("365174485", "get_time", {"tz": "Europe/Oslo"})]),
        (
            "chat_stream_tool_calls_parallel.sse",
            [("365174485", "get_weather", {"city": "Oslo"}), ("802331947", "get_weather", {"city": "Bergen"})],
        ),
    ],
)
def test_tool_calls_are_joined_and_come_with_the_last_chunk(sample, name, calls):
    chunks, completion = streamed(sample(name))
    assert [(call.id, call.name, call.arguments) for call in completion.tool_calls] == calls
    assert chunks[-1].tool_calls == completion.tool_calls
    assert chunks[-1].finish_reason == "tool_calls"


@for_each(
    ("name", "kind", "text"),
    [
        ("chat_stream_error_first.sse", ContextLengthError, ""),
        ("chat_stream_error_mid.sse", ServerError, "Once upon a time"),
        ("chat_stream_error_string.sse", ServerError, ""),
        ("chat_stream_error_typed.sse", ServerError, "Once"),
    ],
)
def test_an_error_in_a_stream_has_its_class_by_meaning(sample, name, kind, text):
    stream = ChatStream(asked(), ErrorContext("asked"), 0.0)
    with pytest.raises(kind) as caught:
        for event in SSEReader(Limits()).feed(sample(name)):
            stream.feed(event)
    assert caught.value.status == 200
    assert stream.completion().text == text


@for_each("data", ['{"message": "boom"}', '"boom"', '{"error": "boom"}'])
def test_an_event_named_error_is_one_whatever_its_data(data):
    with pytest.raises(ServerError, match="boom"):
        ChatStream(asked(), ErrorContext("asked"), 0.0).feed(Event("error", data))


@for_each("data", [b"", b": nothing\n\n", None])
def test_a_stream_with_nothing_in_it_is_not_an_empty_answer(sample, data):
    with pytest.raises(ProtocolError, match="nothing in it") as caught:
        streamed(sample("chat_stream_empty.sse") if data is None else data)
    assert "context" in caught.value.hint
    assert caught.value.sent


def test_an_answer_without_text_is_valid_if_the_model_says_that_it_stopped():
    chunks, completion = streamed(b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n')
    assert (len(chunks), completion.text, completion.finish_reason) == (1, "", "stop")


def test_a_call_is_an_answer_although_nobody_says_that_the_model_stopped():
    chunks, _ = streamed(chunks_of([{"delta": call_delta("now", "{}")}]))
    assert [call.name for call in chunks[-1].tool_calls] == ["now"]


def test_a_stream_that_ends_without_its_end_is_interrupted(sample):
    stream = ChatStream(asked(), ErrorContext("asked"), 0.0)
    for event in SSEReader(Limits()).feed(sample("chat_stream_cut.sse")):
        stream.feed(event)
    with pytest.raises(StreamInterruptedError) as caught:
        stream.finish()
    assert caught.value.sent
    assert stream.completion().text == "Once upon a time"
    assert stream.completion().finish_reason is None


@for_each(
    "data",
    [
        "not json",
        "[" * 100_000,
        "7",
        "null",
        "[]",
        '{"choices": 7}',
        '{"choices": {}}',
        '{"choices": [7]}',
        '{"choices": [{"delta": 7}]}',
        '{"choices": [{"delta": {"content": 7}}]}',
    ],
)
def test_an_event_of_the_wrong_shape_is_a_protocol_error(data):
    with pytest.raises(ProtocolError) as caught:
        ChatStream(asked(), ErrorContext("asked"), 0.0).feed(Event("message", data))
    assert caught.value.sent


@for_each(
    "data",
    [
        "{}",
        '{"choices": null}',
        '{"choices": []}',
        '{"choices": [{}]}',
        '{"choices": [{"delta": null}]}',
        '{"choices": [{"message": null}]}',
        '{"choices": [{"message": {"role": "assistant", "content": "", "tool_calls": []}}]}',
        '{"choices": [{"delta": {"content": null, "tool_calls": null}}]}',
        '{"usage": null, "error": null}',
    ],
)
def test_an_event_that_says_nothing_is_passed_over(data):
    assert ChatStream(asked(), ErrorContext("asked"), 0.0).feed(Event("message", data)) is None


def test_a_chunk_has_the_text_and_the_reasoning_of_a_delta():
    feed = ChatStream(asked(), ErrorContext("asked"), 0.0).feed
    delta = {"content": "Hi", "reasoning_content": "hm"}
    assert feed(Event("message", json.dumps({"choices": [{"delta": delta}]}))) == Chunk("Hi", reasoning="hm")


# A message in place of the pieces


def message(content=None, finish_reason=None, **fields):
    return {"message": {"role": "assistant", "content": content, **fields}, "finish_reason": finish_reason}


def delta(content=None, finish_reason=None, **fields):
    return {"delta": {"content": content, **fields}, "finish_reason": finish_reason}


CALL = {"id": "1", "function": {"name": "now", "arguments": {"zone": "CET"}}}


@for_each(
    ("choices", "said"),
    [
        ([message("abc", "stop")], ("abc", "", 0)),
        ([message("abc"), delta(finish_reason="stop")], ("abc", "", 0)),
        ([message("<think>hm</think>abc"), message(finish_reason="stop")], ("abc", "hm", 0)),
        ([message("", "stop", reasoning_content="hm")], ("", "hm", 0)),
        ([message(None, "tool_calls", tool_calls=[CALL])], ("", "", 1)),
        ([delta("ab"), delta("c"), message("abc", "stop")], ("abc", "", 0)),
        ([delta("<think>hm</think>"), delta("abc"), message("<think>hm</think>abc", "stop")], ("abc", "hm", 0)),
        ([delta("abc"), message("", "stop")], ("abc", "", 0)),
        ([delta(reasoning="hm"), message("abc", "stop")], ("abc", "hm", 0)),
        ([delta("abc"), message("abc", "stop", reasoning="hm")], ("abc", "hm", 0)),
        ([delta("abc"), message("abc", "tool_calls", tool_calls=[CALL])], ("abc", "", 1)),
        ([delta(tool_calls=[{"index": 0, **CALL}]), message("", "tool_calls", tool_calls=[CALL])], ("", "", 1)),
        ([{**message("ab"), **delta("ab")}, {**message("abc"), **delta("c", "stop")}], ("abc", "", 0)),
    ],
    ids=str,
)
def test_a_message_in_a_stream_is_the_whole_reply_or_repeats_it(choices, said):
    chunks, completion = streamed(chunks_of(*([each] for each in choices)))
    assert (completion.text, completion.reasoning, len(completion.tool_calls)) == said
    assert "".join(chunk.delta for chunk in chunks) == said[0]
    assert [call.arguments for call in completion.tool_calls] == [{"zone": "CET"}] * said[2]


@for_each(
    ("choices", "text"),
    [
        ([message("ha"), message("ha", "stop")], "ha"),
        ([message("ha"), message("haha", "stop")], "ha"),
        ([message("ab"), message("cd", "stop")], "ab"),
        ([delta("ab"), message("cd", "stop")], "ab"),
        ([delta("ab"), message("ab", "stop"), message("ab", "stop")], "ab"),
        ([delta("ab", reasoning="hm"), message("ab", "stop", reasoning="so")], "ab"),
        ([delta("ab"), {"message": "ab"}], "ab"),
        ([delta("ab"), {"message": {"content": 7}}], "ab"),
    ],
    ids=str,
)
def test_a_message_in_a_stream_that_may_be_another_piece_is_an_error(choices, text):
    stream = ChatStream(asked(), ErrorContext("asked"), 0.0)
    with pytest.raises(ProtocolError):
        for event in SSEReader(Limits()).feed(chunks_of(*([each] for each in choices))):
            stream.feed(event)
    assert stream.completion().text == text


# Ids and names of tools


def sent_messages(*messages):
    return json.loads(chat_call(ChatRequest(messages), "m", stream=False).body)["messages"]


def test_no_tool_call_is_sent_with_an_empty_id_and_its_result_has_the_same():
    first, second = ToolCall("", "now"), ToolCall("7", "then")
    _, asked_, one, two = sent_messages(
        Message.user("When?"),
        Message.assistant("", [first, second]),
        Message.tool(first, "1"),
        Message.tool(second, "2"),
    )
    ids = [call["id"] for call in asked_["tool_calls"]]
    assert ids[0]
    assert ids[1] == "7"
    assert [one["tool_call_id"], two["tool_call_id"]] == ids


def test_dicts_without_ids_get_them_too_and_are_left_as_they_are():
    calls = [
        {"type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": None, "function": {"name": "g"}},
    ]
    asked_ = {"role": "assistant", "content": "", "tool_calls": calls}
    results = [{"role": "tool", "content": "1"}, {"role": "tool", "content": "2", "tool_call_id": ""}]
    sent = sent_messages(asked_, *results)
    ids = [call["id"] for call in sent[0]["tool_calls"]]
    assert len(set(ids)) == 2
    assert [message["tool_call_id"] for message in sent[1:]] == ids
    assert "id" not in calls[0]
    assert "tool_call_id" not in results[0]


@for_each("calls", [7, "calls", [7], {}])
def test_tool_calls_that_are_none_are_sent_for_the_server_to_refuse(calls):
    assert sent_messages({"role": "assistant", "content": "", "tool_calls": calls})[0]["tool_calls"] == calls


def test_messages_survive_openais_form():
    call = ToolCall("7", "now", {"tz": "UTC"})
    messages = [Message("user", "Hi", name="ann"), Message.assistant("", [call]), Message.tool(call, "noon")]
    assert [Message.from_dict(message.as_dict()) for message in messages] == messages


def test_a_name_in_snake_case_matches_a_tool_if_it_is_unambiguous():
    names = ["get_weather", "HTTPGet", "GETWEATHER", "http_get", "other"]
    calls = [{"function": {"name": name, "arguments": "{}"}} for name in names]
    value = {"choices": [{"message": {"content": "", "tool_calls": calls}}]}
    assert [call.name for call in reply(value, asked("getWeather", "HTTPGet", "x"), 1.0).tool_calls] == [
        "getWeather",
        "HTTPGet",
        "getWeather",
        "HTTPGet",
        "other",
    ]
    twice = reply(value, asked("getWeather", "get-weather"), 1.0).tool_calls
    assert [call.name for call in twice][:1] == ["get_weather"]


# Calls of a reply that was cut off


def chunks_of(*choices, done=True):
    data = b"".join(b"data: " + json.dumps({"choices": list(each)}).encode() + b"\n\n" for each in choices)
    return data + (b"data: [DONE]\n\n" if done else b"")


def call_delta(name=None, arguments="", **fields):
    return {"tool_calls": [{"index": 0, "function": {"name": name, "arguments": arguments}}], **fields}


@for_each("finish_reason", ["length", "stop", "content_filter"])
def test_a_call_of_a_reply_that_was_cut_off_is_not_lost(finish_reason):
    call = {"id": "1", "function": {"name": "purge", "arguments": ""}}
    value = {"choices": [{"message": {"tool_calls": [call]}, "finish_reason": finish_reason}]}
    chunks, streamed_one = streamed(chunks_of([{"delta": call_delta("purge"), "finish_reason": finish_reason}]))
    for completion in (reply_of(value), streamed_one):
        assert [(each.name, each.raw_arguments) for each in completion.tool_calls] == [("purge", "")]
        assert completion.finish_reason == finish_reason
    assert chunks[-1].tool_calls == streamed_one.tool_calls


def test_a_call_of_a_stream_that_broke_or_was_cancelled_is_not_lost():
    stream = ChatStream(asked(), ErrorContext("asked"), 0.0)
    for event in SSEReader(Limits()).feed(chunks_of([{"delta": call_delta("purge", '{"all": tr')}], done=False)):
        stream.feed(event)
    with pytest.raises(StreamInterruptedError):
        stream.finish()
    for completion in (stream.completion(), stream.completion("cancelled")):
        assert [(call.name, call.raw_arguments) for call in completion.tool_calls] == [("purge", '{"all": tr')]


# Several choices


def choice(index, text, finish_reason="stop", *calls):
    message = {"content": text, "tool_calls": [{"function": {"name": call, "arguments": "{}"}} for call in calls]}
    return {**({} if index is None else {"index": index}), "message": message, "finish_reason": finish_reason}


@for_each(
    ("choices", "text"),
    [
        ([choice(0, "A"), choice(1, "B")], "A"),
        ([choice(1, "B"), choice(0, "A")], "A"),
        ([choice(2, "C"), choice(1, "B")], "C"),
        ([choice(None, "A"), choice(None, "B")], "A"),
        ([choice(1, "B"), choice("0", "A")], "A"),
        ([{"index": 1, "text": "B"}, {"index": 0, "text": "A"}], "A"),
    ],
)
def test_of_several_choices_the_first_one_is_the_reply(choices, text):
    assert reply_of({"choices": choices}).text == text


def test_the_calls_and_the_end_of_a_reply_are_those_of_its_choice():
    completion = reply_of({"choices": [choice(1, "B", "length", "g"), choice(0, "A", "tool_calls", "f")]})
    assert ([call.name for call in completion.tool_calls], completion.finish_reason) == (["f"], "tool_calls")


def delta_of(index, text="", finish_reason=None, **delta):
    named = {} if index is None else {"index": index}
    return {**named, "delta": {"content": text, **delta}, "finish_reason": finish_reason}


def text_of(index, text):
    return {"index": index, "text": text}


@for_each(
    ("events", "text"),
    [
        ([[delta_of(0, "A")], [delta_of(1, "B")], [delta_of(0, "a")], [delta_of(1, "b", "stop")]], "Aa"),
        ([[delta_of(1, "B")], [delta_of(0, "A")], [delta_of(1, "b")], [delta_of(0, "a")]], "Aa"),
        ([[delta_of(1, "B"), delta_of(0, "A")], [delta_of(1, "b"), delta_of(0, "a")]], "Aa"),
        ([[delta_of(0, "A"), delta_of(1, "B")]], "A"),
        ([[delta_of(None, "A")], [delta_of(1, "B")], [delta_of(None, "a")]], "Aa"),
        ([[delta_of(2, "C")], [delta_of(1, "B")], [delta_of(2, "c")]], "Cc"),
        ([[delta_of(1, "B"), delta_of(2, "C")], [delta_of(2, "c")]], "B"),
        ([[text_of(1, "B")], [text_of(0, "A")], [text_of(1, "b")], [text_of(0, "a")]], "Aa"),
        ([[text_of(1, "B")], [text_of(1, "b")]], "Bb"),
    ],
)
def test_a_stream_of_several_choices_is_that_of_the_first_one(events, text):
    chunks, completion = streamed(chunks_of(*events))
    assert "".join(chunk.delta for chunk in chunks) == completion.text == text
    assert [chunk.done for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


def test_calls_thoughts_and_ends_of_other_choices_are_not_those_of_the_reply():
    chunks, completion = streamed(
        chunks_of(
            [{"index": 1, **{"delta": call_delta("g", "{}")}}],
            [{"index": 0, **{"delta": call_delta("f")}}],
            [delta_of(1, reasoning_content="Hm.")],
            [delta_of(1, finish_reason="length")],
            [{"index": 0, "delta": call_delta(None, "{}")}],
            [delta_of(0, finish_reason="tool_calls")],
            [delta_of(1, "late")],
        )
    )
    assert [(call.name, call.raw_arguments) for call in completion.tool_calls] == [("f", "{}")]
    assert (completion.finish_reason, completion.reasoning, completion.text) == ("tool_calls", "", "")
    assert chunks[-1].tool_calls == completion.tool_calls


def test_a_reply_has_not_ended_if_only_another_choice_has():
    stream = ChatStream(asked(), ErrorContext("asked"), 0.0)
    for event in SSEReader(Limits()).feed(chunks_of([delta_of(0, "A")], [delta_of(1, "B", "stop")], done=False)):
        stream.feed(event)
    assert not stream.ended
    with pytest.raises(StreamInterruptedError):
        stream.finish()


def test_a_broken_choice_at_the_end_is_an_error_that_keeps_the_partial_reply():
    stream = ChatStream(asked(), ErrorContext("asked"), 0.0)
    for event in SSEReader(Limits()).feed(chunks_of([delta_of(1, "B")], [{"index": 1, "delta": 7}])):
        stream.feed(event)
    assert stream.completion().text == "B"
    again = ChatStream(asked(), ErrorContext("asked"), 0.0)
    again.feed(Event("message", json.dumps({"choices": [{"index": 1, "delta": 7}]})))
    with pytest.raises(ProtocolError):
        again.finish()


# Counts


@for_each(
    ("usage", "read"),
    [
        ({"prompt_tokens": 0, "completion_tokens": 7, "total_tokens": 7}, Usage(None, 7, 7)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, Usage(None, 0, 0)),
        ({"prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 9}, Usage(9, 0, 9)),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 8}}, Usage(9, cached_tokens=8)),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 0}}, Usage(9, cached_tokens=0)),
        ({"prompt_tokens": 9, "prompt_tokens_details": None}, Usage(9)),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": "8"}}, Usage(9)),
        ({"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 0}}, Usage(None, 9, None, 0)),
        ({"prompt_tokens": 0}, None),
    ],
)
@for_each("content", [{"message": {"content": "Hi"}}, {"text": "Hi"}])
def test_a_prompt_of_zero_tokens_is_unknown_and_cached_tokens_are_reported(usage, read, content):
    assert reply_of({"choices": [content], "usage": usage}).usage == read
    choice_ = {"delta": content["message"]} if "message" in content else content
    data = b"".join(
        b"data: " + json.dumps(each).encode() + b"\n\n" for each in ({"choices": [choice_]}, {"usage": usage})
    )
    chunks, completion = streamed(data + b"data: [DONE]\n\n")
    assert chunks[-1].usage == completion.usage == read


# Models


@for_each(
    ("entry", "kind", "vision"),
    [
        ({"type": "vlm"}, "vlm", True),
        ({"type": "embeddings"}, "embedding", None),
        ({"capabilities": {"vision": True}}, "llm", True),
        ({"capabilities": {"vision": False}}, "llm", False),
        ({"capabilities": {}}, "llm", None),
        ({"capabilities": ["tool_use"]}, "llm", False),
        ({"capabilities": ["completion", "multimodal"]}, "llm", True),
        ({"capabilities": "vision"}, "llm", None),
        ({}, "llm", None),
    ],
)
def test_vision_and_type_come_from_the_server(entry, kind, vision):
    (model,) = models_of({"data": [{"id": "m", **entry}]})
    assert (model.type, model.vision) == (kind, vision)


@for_each(
    ("name", "remote"),
    [
        ("gpt-oss:120b-cloud", True),
        ("kimi:cloud", True),
        ("gpt-oss-cloud:latest", True),
        ("kimi:cloud:latest", True),
        ("Kimi:Cloud ", True),
        ("cloud", False),
        ("kimi:cloudy", False),
    ],
)
def test_a_model_runs_in_the_cloud_if_its_name_ends_so(name, remote):
    assert [model.remote for model in models_of({"data": [{"id": name}]})] == [remote]


@for_each(("ids", "length"), [(["m:2"], 1), (["m:2", "m"], 2), (["m", "m:2"], 1), ([], None)])
def test_the_context_of_a_model_is_that_of_the_instance_that_answers_to_its_name(ids, length):
    loaded = [{"id": each, "config": {"context_length": count}} for count, each in enumerate(ids, 1)]
    (model,) = native_models({"models": [{"key": "m", "loaded_instances": loaded}]})
    assert model.context_length == length


def begun():
    """Return a stream whose events may go the shorter way: it has had text, an id and a model."""
    stream = ChatStream(asked(), ErrorContext("asked"), 0.0)
    feed_to(stream, {"delta": {"content": "Hi"}}, id="x", model="m")
    return stream


def feed_to(stream, choice, event="message", **beside):
    return stream.feed(Event(event, json.dumps({**beside, "choices": [{"index": 0, **choice}]})))


@for_each(
    ("choice", "beside"),
    [
        ({}, {"error": "out of memory"}),
        ({}, {"object": "error", "message": "out of memory"}),
        ({}, {"event": "error"}),
        ({"delta": {"content": 7}}, {}),
        ({"delta": {"content": ["a"]}}, {}),
        ({"delta": {"content": "a", "reasoning": 7}}, {}),
        ({"delta": []}, {}),
    ],
)
def test_text_does_not_hide_an_error_in_its_event(choice, beside):
    with pytest.raises((ServerError, ProtocolError)):
        feed_to(begun(), {"delta": {"content": "!"}, **choice}, **beside)


@for_each("more", [{}, {"role": "assistant"}, {"tool_calls": []}, {"reasoning": None}, {"refusal": ""}])
def test_a_piece_is_its_text_whatever_says_nothing_beside_it(more):
    stream = begun()
    assert feed_to(stream, {"delta": {"content": "!", **more}}, usage=None, error=None, id="y") == Chunk("!")
    assert stream.completion().text == "Hi!"
    assert stream.completion().id == "x"


def test_all_that_comes_beside_a_text_is_kept():
    stream = begun()
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    call = {"index": 0, "id": "1", "function": {"name": "f", "arguments": "{}"}}
    assert feed_to(stream, {"delta": {"content": "a", "reasoning": "b"}}) == Chunk("a", reasoning="b")
    feed_to(stream, {"delta": {"content": "c", "tool_calls": [call]}}, stats={"draft_model": "d"}, usage=usage)
    feed_to(stream, {"delta": {"content": "e"}, "finish_reason": "stop"})
    assert feed_to(stream, {"index": 1, "delta": {"content": "of another reply"}}) is None
    done = stream.completion()
    assert (done.text, done.reasoning, done.finish_reason) == ("Hiace", "b", "stop")
    assert (done.usage.prompt_tokens, done.stats.draft_model, done.tool_calls[0].name) == (3, "d", "f")


@pytest.mark.parametrize("late", ["id", "model"])
def test_an_id_or_a_model_that_comes_late_is_kept(late):
    stream = ChatStream(asked(), ErrorContext("asked"), 0.0)
    feed_to(stream, {"delta": {"content": "Hi"}}, **{name: "x" for name in ("id", "model") if name != late})
    feed_to(stream, {"delta": {"content": "!"}}, **{late: "late"})
    assert getattr(stream.completion(), late) == "late"


def test_json_that_is_nested_too_deeply_is_refused_in_every_event():
    with pytest.raises(ProtocolError, match="nested"):
        begun().feed(Event("message", '{"choices": [{"delta": {"content": "a"}}], "x": %s}' % ("[" * 300 + "]" * 300)))


def test_an_empty_text_beside_a_delta_is_not_the_reply():
    stream = ChatStream(asked(), ErrorContext(), 0.0)
    call = {"index": 0, "id": "1", "function": {"name": "f", "arguments": "{}"}}
    for delta in ({"content": "Hi"}, {"tool_calls": [call]}):
        value = {"choices": [{"index": 0, "text": "", "delta": delta}]}
        stream.feed(Event("message", json.dumps(value)))
    completion = stream.completion("stop")
    assert (completion.text, [each.name for each in completion.tool_calls]) == ("Hi", ["f"])


def test_a_message_beside_an_error_that_is_only_true_is_shown():
    fault = find_fault({"error": True, "message": "Token expired"})
    assert fault is not None
    assert "Token expired" in fault.message
