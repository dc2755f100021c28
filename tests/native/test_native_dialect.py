"""LM Studio's own API on the wire: the bodies of requests, and reading the samples."""

import json
from dataclasses import replace

import pytest
from conftest import SAMPLES
from hypothesis import given
from hypothesis import strategies as st
from tables import for_each

from lmstudio_provider import (
    ContextLengthError,
    EphemeralMCP,
    InvalidRequestError,
    InvalidToolCallItem,
    Limits,
    LoadedModel,
    MessageItem,
    NativeRequest,
    Plugin,
    ProtocolError,
    ReasoningItem,
    ServerError,
    StreamInterruptedError,
    ToolCallItem,
    UnknownItem,
    Usage,
)
from lmstudio_provider._core.types import Call
from lmstudio_provider._dialects.errors import ErrorContext
from lmstudio_provider._http.readers import Event, SSEReader
from lmstudio_provider._native import dialect as native
from lmstudio_provider._native import events
from lmstudio_provider._native.events_reader import NativeAssembly

MODEL = "qwen/qwen3-8b"
ID = "resp_8a2f60d1c47be93508f1a6e2d97c30b4518e6af29c07d3b1"
CATALOG = {"type": "ephemeral_mcp", "server_label": "catalog"}
BROWSER = {"type": "plugin", "plugin_id": "mcp/browser"}
SEARCH = {"sort": "downloads", "limit": 1}
FOUND = '[{"type":"text","text":"1 result"}]'
NO_NAME = ("Cannot find tool with name open_page.", {"type": "invalid_name", "tool_name": "open_page"})
NO_ARGUMENTS = (
    "The arguments do not match the schema of browser_navigate.",
    {
        "type": "invalid_arguments",
        "tool_name": "browser_navigate",
        "arguments": {"link": 5},
        "provider_info": BROWSER,
    },
)
OUTPUT = (
    ReasoningItem("A search is needed."),
    ToolCallItem("model_search", SEARCH, FOUND, CATALOG),
    InvalidToolCallItem(*NO_NAME),
    InvalidToolCallItem(*NO_ARGUMENTS),
    MessageItem("The most downloaded model is Qwen3 8B."),
)
SECRET = "sk-0123456789abcdef"


def asked():
    return Call("POST", "/api/v1/chat", b"", "asked", provider_id="here")


# The request


@for_each(
    ("fields", "words"),
    [
        ({"input": 7}, "input is int"),
        ({"input": []}, "input is empty"),
        ({"input": ["Hi"]}, r"input\[0\]"),
        ({"model": " "}, "model=' '"),
        ({"system_prompt": 7}, "system_prompt=7 is not text"),
        ({"store": None}, "store=None"),
        ({"previous_response_id": ""}, "previous_response_id=''"),
        ({"reasoning": " "}, "reasoning=' ' is no"),
        ({"reasoning": 7}, "reasoning=7 is no"),
        ({"temperature": 1.5}, "temperature=1.5 is not valid: use a number from 0 to 1"),
        ({"context_length": 0}, "context_length=0"),
        ({"max_output_tokens": -1}, "max_output_tokens=-1"),
        ({"top_k": True}, "top_k=True"),
        ({"integrations": 7}, "integrations is int"),
        ({"integrations": [7]}, r"integrations\[0\]"),
        ({"images": "https://example.com/a.png"}, "images: an http URL"),
        ({"extra": {"stream": True}}, "extra: 'stream'"),
        ({"extra": {"odd": object()}}, "cannot be written as JSON"),
    ],
)
def test_a_request_that_cannot_work_is_refused(fields, words):
    with pytest.raises(InvalidRequestError, match=words):
        native.chat_call(NativeRequest(**{"input": "Hi", **fields}), "m", stream=False)


@for_each("level", ["off", "on", "low", "xhigh", "minimal", "max", "much"])
def test_any_level_of_reasoning_is_sent_because_the_model_says_which_there_are(level):
    assert body_of(reasoning=level)["reasoning"] == level


@for_each(
    ("make", "words"),
    [
        (lambda: Plugin(""), "Plugin: id"),
        (lambda: Plugin("p", "search"), "allowed_tools is str"),
        (lambda: EphemeralMCP("", "http://a"), "server_label"),
        (lambda: EphemeralMCP("s", "ftp://a"), "server_url is not an http"),
        (lambda: EphemeralMCP("s", "http://[a"), "server_url is not an http"),
        (lambda: EphemeralMCP("s", "http://a", [7]), r"allowed_tools\[0\]"),
        (lambda: EphemeralMCP("s", "http://a", headers={"X": 7}), "headers is not a mapping"),
        (lambda: EphemeralMCP("s", "http://a", headers=[("X", "y")]), "headers is not a mapping"),
    ],
)
def test_an_integration_that_cannot_work_is_refused(make, words):
    with pytest.raises(InvalidRequestError, match=words):
        make()


def body_of(stream=False, **fields):
    return json.loads(native.chat_call(NativeRequest(**{"input": "Hi", **fields}), "m", stream).body)


def test_only_options_that_are_set_are_sent():
    call = native.chat_call(NativeRequest("Hi"), "m", stream=True)
    assert (call.method, call.path, call.model) == ("POST", "/api/v1/chat", "m")
    assert json.loads(call.body) == {"model": "m", "input": "Hi", "store": True, "stream": True}


def test_every_option_is_sent_under_its_name():
    options = {
        "system_prompt": "Be brief.",
        "reasoning": "low",
        "context_length": 8192,
        "previous_response_id": ID,
        "store": False,
        "temperature": 0,
        "top_p": 0.5,
        "top_k": 3,
        "min_p": 0.1,
        "repeat_penalty": 1.1,
        "presence_penalty": -1,
        "max_output_tokens": 9,
    }
    assert body_of(**options, extra={"new": [1]}) == {
        **options,
        "model": "m",
        "input": "Hi",
        "stream": False,
        "new": [1],
    }


def test_images_follow_the_text():
    png = b"\x89PNG\r\n\x1a\nrest"
    assert body_of(images=png)["input"] == [
        {"type": "text", "content": "Hi"},
        {"type": "image", "data_url": "data:image/png;base64,iVBORw0KGgpyZXN0"},
    ]


def test_items_go_out_as_they_are():
    items = [{"type": "message", "content": "Hi"}]
    assert body_of(input=iter(items))["input"] == items


@for_each(
    ("given", "sent"),
    [
        ("mcp/browser", "mcp/browser"),
        (Plugin("mcp/browser"), {"type": "plugin", "id": "mcp/browser"}),
        (Plugin("p", ["a"]), {"type": "plugin", "id": "p", "allowed_tools": ["a"]}),
        (Plugin("p", (name for name in "ab")), {"type": "plugin", "id": "p", "allowed_tools": ["a", "b"]}),
        (
            EphemeralMCP("s", "http://a", [], {"X": "y"}),
            {
                "type": "ephemeral_mcp",
                "server_label": "s",
                "server_url": "http://a",
                "allowed_tools": [],
                "headers": {"X": "y"},
            },
        ),
        ({"type": "plugin", "id": "p"}, {"type": "plugin", "id": "p"}),
    ],
)
def test_an_integration_is_sent_by_itself_or_among_others(given, sent):
    assert body_of(integrations=given)["integrations"] == [sent]
    assert body_of(integrations=[given, "q"])["integrations"] == [sent, "q"]


def test_a_repr_shows_no_secret_of_an_integration():
    url = f"https://me:{SECRET}@example.com/mcp?key={SECRET}"
    server = EphemeralMCP("s", url, headers={"Authorization": SECRET})
    request = NativeRequest("Hi", integrations=[server])
    call = native.chat_call(request, "m", stream=False)
    assert repr(server) == "EphemeralMCP('s', 'https://example.com/mcp', allowed_tools=None)"
    assert SECRET not in repr(request) + repr(call)


@for_each(
    "fields",
    [
        {"integrations": EphemeralMCP("s", "http://a", headers={"Authorization": f"Bearer {SECRET}"})},
        {"integrations": EphemeralMCP("s", f"http://me:{SECRET}@a")},
        {"integrations": EphemeralMCP("s", f"http://a?page=1&key={SECRET}")},
        {"integrations": {"type": "ephemeral_mcp", "server_url": "http://a", "headers": {"X-Api-Key": SECRET}}},
        {"extra": {"integrations": [{"type": "ephemeral_mcp", "headers": {"Cookie": f"a=b; id={SECRET}"}}]}},
        {"extra": {"integrations": ({"type": "ephemeral_mcp", "headers": {"token": SECRET}},)}},
    ],
)
def test_the_secrets_of_integrations_are_known(fields):
    assert SECRET in native.chat_call(NativeRequest("Hi", **fields), "m", stream=False).secrets


def test_no_other_header_of_an_integration_is_a_secret():
    headers = {"Accept": "application/json, text/event-stream", "X-Max-Tokens": "131072", "X-Keyboard": "qwertz"}
    server = EphemeralMCP("s", "http://a/mcp?format=application/json", headers=headers)
    assert native.chat_call(NativeRequest("Hi", integrations=server), "m", False).secrets == ()


# A whole reply


@for_each(
    "value",
    [
        [],
        {},
        {"output": {}},
        {"output": ["Hi"]},
        {"output": [{"content": "Hi"}]},
        {"output": [{"type": "message"}]},
        {"output": [{"type": "reasoning", "content": 7}]},
        {"output": [{"type": "tool_call"}]},
        {"output": [{"type": "invalid_tool_call"}]},
    ],
)
def test_a_value_that_is_not_a_reply_is_a_protocol_error(value):
    with pytest.raises(ProtocolError):
        native.chat_reply(value, asked(), 2.0)


def test_a_reply_has_its_items_in_order(sample):
    value = json.loads(sample("v1_chat.json"))
    got = native.chat_reply(value, asked(), 4.0)
    assert got.output == OUTPUT
    assert (got.text, got.reasoning) == (OUTPUT[-1].content, OUTPUT[0].content)
    assert (got.model_instance_id, got.requested_model, got.response_id) == (MODEL, "asked", ID)
    assert (got.provider_id, got.finish_reason, got.tool_calls) == ("here", None, ())
    assert got.usage == Usage(329, 96, 425, 6)
    assert (got.stats.tokens_per_second, got.stats.time_to_first_token_s) == (43.73, 0.781)
    assert (got.stats.model_load_time_s, got.stats.generation_time_s) == (2.656, pytest.approx(0.563))
    assert got.raw == value


def test_a_reply_that_was_not_stored_has_no_id(sample):
    got = native.chat_reply(json.loads(sample("v1_chat_stateless.json")), asked(), 1.0)
    assert (got.text, got.response_id, got.stats.model_load_time_s) == ("Hello!", None, None)


def test_a_prompt_of_no_tokens_is_not_known_and_other_counts_of_nothing_are():
    stats = {"input_tokens": 0, "total_output_tokens": 0, "reasoning_output_tokens": 0}
    assert native.chat_reply({"output": [], "stats": stats}, asked(), 1.0).usage == Usage(None, 0, None, 0)
    assert native.chat_reply({"output": [], "stats": {"input_tokens": 0}}, asked(), 1.0).usage is None


@for_each("stats", [None, [], {"input_tokens": "7", "tokens_per_second": None}])
def test_stats_of_the_wrong_shape_cost_nothing_but_themselves(stats):
    got = native.chat_reply({"output": [], "stats": stats}, asked(), 1.0)
    assert (got.model, got.usage, got.stats.tokens_per_second) == ("asked", None, None)


def test_an_item_of_an_unknown_kind_is_kept():
    item = {"type": "picture", "url": "x"}
    assert native.chat_reply({"output": [item]}, asked(), 1.0).output == (UnknownItem("picture", item),)


# Models and downloads


@for_each("read", [native.load_reply, native.unload_reply, native.download_reply])
@for_each("value", [None, [], {}, {"instance_id": 7, "status": 7}])
def test_a_value_that_is_not_an_answer_is_a_protocol_error(read, value):
    with pytest.raises(ProtocolError):
        read(value)


@for_each("value", [{"status": "resting"}, {"status": "downloading"}, {"status": "paused", "job_id": 7}])
def test_a_download_without_a_known_status_or_a_job_is_a_protocol_error(value):
    with pytest.raises(ProtocolError):
        native.download_reply(value)


def test_load_and_unload_name_the_model_and_the_instance():
    load, unload = native.load_call("m", {"context_length": 5}), native.unload_call("m:2")
    assert [load.method, load.path, json.loads(load.body)] == [
        "POST",
        "/api/v1/models/load",
        {"model": "m", "context_length": 5},
    ]
    assert [unload.method, unload.path, json.loads(unload.body)] == [
        "POST",
        "/api/v1/models/unload",
        {"instance_id": "m:2"},
    ]


def test_a_loaded_model_has_its_instance_and_its_config(sample):
    config = {
        "context_length": 16384,
        "eval_batch_size": 512,
        "flash_attention": True,
        "offload_kv_cache_to_gpu": True,
        "num_experts": 4,
    }
    got = native.load_reply(json.loads(sample("v1_model_load.json")))
    assert got == LoadedModel("openai/gpt-oss-20b", "llm", 9.099, config)


def test_an_unloaded_instance_is_answered_with_its_id(sample):
    value = json.loads(sample("v1_model_unload.json"))
    native.unload_reply(value)
    with pytest.raises(ProtocolError, match="instance_id"):
        native.unload_reply({**value, "instance_id": None})


@for_each("name", ["v1_download.json", "v1_download_already.json", "v1_download_status.json"])
def test_the_fields_of_a_download_are_read_unchanged(sample, name):
    value = json.loads(sample(name))
    assert native.download_reply(value) == value


def test_a_job_is_asked_for_by_its_id_whatever_is_in_it():
    assert native.status_call("a/b?c d").path == "/api/v1/models/download/status/a%2Fb%3Fc%20d"


# Streams


def assembly():
    return NativeAssembly(asked(), ErrorContext("asked"), 0.0)


def fed(*values):
    """Return an assembly that was given some events, and its results for them."""
    made = assembly()
    return made, [made.feed(Event(value.get("type", "message"), json.dumps(value))) for value in values]


def delta(text):
    return {"type": "message.delta", "content": text}


def end(*items, **more):
    return {"type": "chat.end", "result": {"output": list(items), **more}}


def message(text):
    return {"type": "message", "content": text}


BOOM = {"type": "error", "error": {"type": "unknown", "message": "Boom."}}


@for_each("data", ["7", "[]", "{oops", '"text"', "null"])
def test_an_event_that_is_not_an_object_is_a_protocol_error(data):
    with pytest.raises(ProtocolError):
        assembly().feed(Event("message.delta", data))


@for_each(
    "value",
    [
        {"type": "message.delta"},
        {"type": "message.delta", "content": 7},
        {"type": "reasoning.delta", "content": None},
        {"type": "tool_call.start"},
        {"type": "tool_call.arguments", "tool": 7},
        {"type": "tool_call.success"},
        {"type": "tool_call.failure"},
        {"type": "chat.end"},
        {"type": "chat.end", "result": []},
        {"type": "chat.end", "result": {"output": 7}},
    ],
)
def test_an_event_of_the_wrong_shape_is_a_protocol_error_and_costs_no_text(value):
    made, _ = fed(delta("Hi"))
    with pytest.raises(ProtocolError):
        made.feed(Event(value["type"], json.dumps(value)))
    assert made.completion().text == "Hi"


@for_each("value", [None, "half", True, {}, float("nan"), 10**400])
def test_progress_that_is_not_a_number_is_none(value):
    data = json.dumps({"type": "prompt_processing.progress", "progress": value}).replace("NaN", "null")
    assert assembly().feed(Event("", data)) == events.PromptProcessingProgress(0.0)


@for_each(("told", "fraction"), [(-1, 0.0), (0.5, 0.5), (2, 1.0)])
def test_progress_is_from_0_to_1(told, fraction):
    _, (event,) = fed({"type": "model_load.progress", "progress": told})
    assert event == events.ModelLoadProgress("", fraction)


@for_each(
    ("name", "data"),
    [
        ("error", '{"error": {"type": "unknown", "message": "Boom."}}'),
        ("message", '{"error": "Boom."}'),
        ("error", '{"message": "Boom."}'),
        ("error", '{"type": "error", "message": "Boom."}'),
        ("error", '"Boom."'),
        ("chat.end", '{"type": "chat.end", "error": {"message": "Boom."}}'),
    ],
)
def test_an_error_in_any_form_is_an_event_and_raised_at_the_end(name, data):
    made = assembly()
    event = made.feed(Event(name, data))
    with pytest.raises(ServerError, match="Boom") as caught:
        made.finish()
    assert event == events.ErrorEvent(caught.value)


def test_an_error_that_is_not_nested_keeps_its_code():
    _, (event,) = fed({"type": "error", "code": "exceed_context_size_error", "message": "Too long."})
    assert isinstance(event.error, ContextLengthError)


def test_an_unknown_event_with_any_content_is_not_an_error():
    found, made = read(b'event: quota.warning\ndata: {"type": "quota.warning", "error": "Soon."}\n\n')
    assert [(each.type, each.data["error"]) for each in found] == [("quota.warning", "Soon.")]
    assert not made.ended


def test_of_two_errors_the_first_is_raised():
    made, _ = fed(BOOM, {"type": "error", "error": {"message": "And the end."}}, end())
    with pytest.raises(ServerError, match="Boom"):
        made.finish()


@for_each("last", ["{oops", '{"type": "chat.end"}', '{"type": "message.delta"}'])
def test_a_broken_event_after_an_error_does_not_hide_the_error(last):
    made, _ = fed(BOOM)
    assert made.feed(Event("message", last)) is None
    with pytest.raises(ServerError, match="Boom"):
        made.finish()


@pytest.mark.parametrize("data", [[], ["[DONE]"]])
def test_a_stream_of_nothing_is_a_protocol_error(data):
    made = assembly()
    for each in data:
        assert made.feed(Event("message", each)) is None
    with pytest.raises(ProtocolError, match="nothing in it"):
        made.finish()


def test_a_stream_without_an_end_is_interrupted():
    made, _ = fed({"type": "chat.start", "model_instance_id": "served"}, delta("Hel"), delta("lo"))
    with pytest.raises(StreamInterruptedError):
        made.finish()
    assert (made.completion().text, made.completion().model) == ("Hello", "served")


@for_each("items", [[], [{"type": "reasoning", "content": "Hm"}], [message("Hel")]])
def test_an_end_with_less_in_it_than_came_costs_no_text(items):
    made, events_ = fed(delta("Hel"), delta("lo"), BOOM, end(*items, response_id=ID))
    assert events_[-1].result == made.completion()
    assert (made.completion().text, made.completion().response_id) == ("Hello", ID)


def test_the_end_has_the_last_word_about_blanks():
    made, _ = fed(delta(" Hello \n"), end(message("Hello")))
    assert made.completion().text == "Hello"


def test_the_instance_of_the_start_is_that_of_an_end_that_names_none():
    made, _ = fed({"type": "chat.start", "model_instance_id": "served"}, end(message("Hi")))
    assert made.completion().model == "served"


def test_texts_of_both_kinds_make_items_as_they_alternate():
    made, _ = fed(
        {"type": "reasoning.delta", "content": "Hm"},
        delta("One"),
        {"type": "message.end"},
        delta("Two"),
        {"type": "tool_call.success", "tool": "t", "output": "x"},
        delta(""),
    )
    assert made.completion("cancelled").output == (
        ReasoningItem("Hm"),
        MessageItem("One"),
        MessageItem("Two"),
        ToolCallItem("t", {}, "x"),
    )
    assert made.completion("cancelled").finish_reason == "cancelled"


def read(data, size=None):
    """The events of a stream whose bytes come in pieces of ``size``, and the assembly that made them."""
    reader, made, found = SSEReader(Limits()), assembly(), []
    size = size or len(data)
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    for each in [*(event for piece in pieces for event in reader.feed(piece)), *reader.finish()]:
        event = made.feed(each)
        if event is not None:
            found.append(event)
    return found, made


def without_error(found):
    return [each for each in found if not isinstance(each, events.ErrorEvent)]


def test_each_of_the_nineteen_events_has_its_type(sample):
    found, made = read(sample("v1_chat_stream.sse"))
    assert without_error(found) == [
        events.ChatStart(MODEL),
        events.ModelLoadStart(MODEL),
        events.ModelLoadProgress(MODEL, 0.33),
        events.ModelLoadProgress(MODEL, 1.0),
        events.ModelLoadEnd(MODEL, 2.656),
        events.PromptProcessingStart(),
        events.PromptProcessingProgress(0.0),
        events.PromptProcessingProgress(0.5),
        events.PromptProcessingProgress(1.0),
        events.PromptProcessingEnd(),
        events.ReasoningStart(),
        events.ReasoningDelta("A search"),
        events.ReasoningDelta(" is needed."),
        events.ReasoningEnd(),
        events.ToolCallStart("model_search", CATALOG),
        events.ToolCallArguments("model_search", SEARCH, CATALOG),
        events.ToolCallSuccess("model_search", SEARCH, FOUND, CATALOG),
        events.ToolCallStart("open_page", BROWSER),
        events.ToolCallFailure(*NO_NAME),
        events.ToolCallFailure(*NO_ARGUMENTS),
        events.MessageStart(),
        events.MessageDelta("The most downloaded"),
        events.MessageDelta(" model is Qwen3 8B."),
        events.MessageEnd(),
        events.ChatEnd(made.completion()),
    ]
    assert len({each.type for each in found}) == 19
    (error,) = (each.error for each in found if isinstance(each, events.ErrorEvent))
    assert (type(error), error.code, error.param) == (ServerError, "connection_closed", "integrations")
    assert made.done


def test_the_end_of_a_stream_is_the_reply_that_it_would_have_been_in_one_piece(sample):
    _, made = read(sample("v1_chat_stream.sse"))
    whole = native.chat_reply(json.loads(sample("v1_chat.json")), asked(), 1.0)
    assert replace(made.completion(), stats=whole.stats) == whole


def test_the_deltas_add_up_to_the_end(sample):
    cut = sample("v1_chat_stream.sse").partition(b"event: error")[0]
    _, made = read(cut)
    assert made.completion().output == OUTPUT


def test_an_error_about_a_long_prompt_has_its_tokens(sample):
    found, made = read(sample("v1_chat_stream_error.sse"))
    assert [each.type for each in found] == ["chat.start", "prompt_processing.start", "error", "chat.end"]
    with pytest.raises(ContextLengthError) as caught:
        made.finish()
    assert (caught.value.prompt_tokens, caught.value.context_length) == (13055, 4096)
    assert made.completion().usage == Usage(13055, 0, 13055, 0)


def test_an_unknown_event_passes_and_a_trailing_done_is_none(sample):
    found, made = read(sample("v1_chat_stream_extra_event.sse"))
    told = {"type": "tool_call.name", "tool_name": "model_search", "provider_info": CATALOG}
    assert events.UnknownEvent("tool_call.name", told) in found
    assert (made.completion().text, found[-1].type, made.finish()) == ("Hi", "chat.end", [])


@given(
    name=st.sampled_from(["v1_chat_stream.sse", "v1_chat_stream_error.sse", "v1_chat_stream_extra_event.sse"]),
    size=st.integers(1, 200),
)
def test_any_split_of_the_bytes_gives_the_same(name, size):
    data = (SAMPLES / name).read_bytes()
    (one, first), (other, second) = read(data), read(data, size)
    assert [each.type for each in one] == [each.type for each in other]
    assert without_error(one)[:-1] == without_error(other)[:-1]
    assert first.completion().output == second.completion().output


def test_a_cut_at_any_byte_keeps_the_texts_that_came(sample):
    data = sample("v1_chat_stream.sse").partition(b"event: message.end")[0]
    for length in range(0, len(data), 7):
        reader, made = SSEReader(Limits()), assembly()
        text = "".join(
            event.content
            for event in map(made.feed, reader.feed(data[:length]))
            if isinstance(event, (events.MessageDelta, events.ReasoningDelta))
        )
        with pytest.raises((StreamInterruptedError, ProtocolError)):
            made.finish()
        assert made.completion().reasoning + made.completion().text == text
