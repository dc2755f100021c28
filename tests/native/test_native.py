"""Chats and streams by way of ``lm.native``."""

import contextlib
import dataclasses
import json
import logging
import pickle
import socket
import threading
import traceback

import pytest
from conftest import SAMPLES
from raw import stream_of
from tables import for_each

from lmstudio_provider import (
    AuthenticationError,
    ContextLengthError,
    EmptyAnswerWarning,
    EndpointNotFoundError,
    EphemeralMCP,
    InvalidRequestError,
    InvalidToolCallItem,
    Limits,
    LMStudioProvider,
    MemoryUsage,
    Message,
    ModelLoadError,
    ModelNotFoundError,
    ModelUnloadedError,
    NativeRequest,
    Plugin,
    ProtocolError,
    ProviderClosedError,
    ProviderError,
    RequestTimeoutError,
    ResponseNotFoundError,
    ServerError,
    StatusError,
    StreamInterruptedError,
    Timeouts,
    ToolCallItem,
)
from lmstudio_provider._native import events
from lmstudio_provider.simulator import SimulatedLMStudio

# The samples name another model than the tests ask for.
pytestmark = pytest.mark.filterwarnings("ignore::lmstudio_provider.ModelMismatchWarning")

CHAT = "/api/v1/chat"
LONG = 20
SECRET = "sk-0123456789abcdefghij"
SERVER = EphemeralMCP("s", f"http://me:{SECRET}@127.0.0.1/mcp?key={SECRET}", headers={"Authorization": SECRET})


@pytest.fixture
def server():
    with SimulatedLMStudio(["m", "too-large"], "Hello you", loaded=[]) as running:
        yield running


@pytest.fixture
def usage():
    return MemoryUsage()


@pytest.fixture
def lm(server, usage):
    with LMStudioProvider(server.url, refresh=False, model="m", usage=usage) as provider:
        yield provider


def kinds(usage):
    return [(each.operation, each.status) for each in usage.records]


def frame(value, name=""):
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(value).encode() + b"\n\n"


def delta(text):
    return frame({"type": "message.delta", "content": text})


END = frame({"type": "chat.end", "result": {"output": [{"type": "message", "content": "Hello"}]}})
BOOM = frame({"type": "error", "error": {"type": "unknown", "message": "Boom."}})


def whole(body, status=200, kind="application/json"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data


def silence(connection):
    """Say nothing until the client has left."""
    while connection.recv(65536):
        continue


# Refused before sending


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stop": "."}, "/v1/chat/completions"),
        ({"seed": 7}, "/v1/chat/completions"),
        ({"response_format": dict}, "/v1/chat/completions"),
        ({"ttl": 60}, "/v1/chat/completions"),
        ({"tools": []}, "integrations="),
        ({"messages": []}, "previous_response_id="),
        ({"max_tokens": 5}, "max_output_tokens"),
        ({"reasoning_effort": " "}, "reasoning=' '.*'off'"),
        ({"reasoning_effort": "low", "reasoning": "low"}, "the same option"),
        ({"instructions": "Be brief."}, "system_prompt"),
        ({"stream": True}, r"native\.stream\(\)"),
        ({"temprature": 1}, "Did you mean 'temperature'"),
        ({"temperature": 10**5000}, "temperature=<int>"),
        ({"reasoning": ["low"]}, "reasoning="),
        ({"model": ""}, "model=''"),
    ],
)
@pytest.mark.parametrize("name", ["chat", "stream"])
def test_an_invalid_field_is_refused_before_anything_is_sent(server, lm, name, options, words):
    with pytest.raises(InvalidRequestError, match=words) as caught:
        getattr(lm.native, name)("Hi", **options)
    assert (caught.value.sent, server.requests) == (False, [])


ODD = [None, True, -1, 1.5, float("nan"), 10**5000, "", "\ud800", b"x", [None], {1: 2}, {(): 1}, object(), int, {7}, 3j]


@pytest.mark.parametrize("name", [each.name for each in dataclasses.fields(NativeRequest)])
def test_no_value_of_any_argument_raises_an_error_of_pythons_own(lm, name):
    for value in ODD:
        with contextlib.suppress(InvalidRequestError, StatusError):
            lm.native.chat(**{"input": "Hi", "model": "m", name: value})


def test_a_callback_that_cannot_be_called_is_refused_before_anything_is_sent(server, lm):
    with pytest.raises(InvalidRequestError, match="on_progress=7"):
        lm.native.stream("Hi", on_progress=7)
    assert server.requests == []


# Errors of the server


@pytest.mark.parametrize("name", ["chat", "stream"])
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"model": "no"}, ModelNotFoundError),
        ({"model": "too-large"}, ModelLoadError),
        ({"previous_response_id": "resp_0"}, ResponseNotFoundError),
        ({"extra": {"seed": 7}}, InvalidRequestError),
    ],
)
def test_an_error_of_the_server_is_raised_by_its_meaning_and_recorded(lm, usage, name, options, error):
    with pytest.raises(error) as caught:
        getattr(lm.native, name)("Hi", **options)
    assert (caught.value.sent, kinds(usage)) == (True, [(f"native.{name}", "error")])


@pytest.mark.parametrize("name", ["chat", "stream"])
def test_an_old_server_does_not_know_the_endpoint(name):
    with SimulatedLMStudio(version="0.3.30") as old, LMStudioProvider(old.url, refresh=False) as lm:
        with pytest.raises(EndpointNotFoundError, match=r"0\.4\.0"):
            getattr(lm.native, name)("Hi", model="m")


@pytest.mark.parametrize("name", ["chat", "stream"])
@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (whole({"error": {"type": "internal_error", "message": "Boom."}}, 500), ServerError),
        (
            whole({"error": {"type": "invalid_request", "code": "invalid_api_key", "message": "x"}}, 401),
            AuthenticationError,
        ),
        (whole({"error": "Boom."}), StatusError),
        (whole(b"<html>", kind="text/html"), ProtocolError),
        (whole([]), ProtocolError),
        (whole(b""), ProtocolError),
    ],
)
def test_an_invalid_reply_is_an_error_in_every_form(raw_server, provider_of, usage, name, reply, error):
    lm = provider_of(raw_server(reply), usage=usage)
    with pytest.raises(error):
        getattr(lm.native, name)("Hi", model="m")
    assert kinds(usage) == [(f"native.{name}", "error")]


def test_a_prompt_that_is_too_long_is_an_error_at_the_end_of_the_stream():
    with SimulatedLMStudio(["m"], context_length=2) as server, LMStudioProvider(server.url, refresh=False) as lm:
        stream = lm.native.stream("one two three", model="m")
        seen = []
        with pytest.raises(ContextLengthError) as caught:
            seen.extend(stream)
        with pytest.raises(ContextLengthError):
            lm.native.chat("one two three", model="m")
    assert (caught.value.prompt_tokens, caught.value.context_length) == (3, 2)
    assert caught.value.partial == stream.completion


# Chat


def test_a_chat_of_the_sample_comes_with_its_items(httpserver, provider, sample):
    httpserver.expect_request(CHAT, method="POST").respond_with_data(sample("v1_chat.json"))
    got = provider.native.chat("Hi", model="m", integrations=[Plugin("mcp/browser"), SERVER], context_length=5)
    assert [each.type for each in got.output] == [
        "reasoning",
        "tool_call",
        "invalid_tool_call",
        "invalid_tool_call",
        "message",
    ]
    assert (got.provider_id, got.stats.tokens_per_second) == ("lm-studio", 43.73)


def test_a_chat_is_answered_and_recorded_once(lm, usage):
    got = lm.native.chat(NativeRequest("Hi", tier="fast"), max_output_tokens=1)
    assert (got.text, got.model_instance_id, got.usage.completion_tokens) == ("Hello", "m", 1)
    assert got.response_id.startswith("resp_")
    (record,) = usage.records
    assert (record.operation, record.status, record.model, record.completion_tokens) == ("native.chat", "ok", "m", 1)


def test_a_chat_that_is_not_stored_has_no_id(lm):
    assert lm.native.chat("Hi", store=False).response_id is None


def test_a_chat_loads_the_model_with_the_context_that_it_asks_for(server, lm):
    assert lm.native.chat("Hi", context_length=64).stats.model_load_time_s is not None
    assert [each.context_length for each in server.instances] == [64]


@pytest.mark.parametrize(("integrations", "item"), [((), InvalidToolCallItem), ("mcp/x", ToolCallItem)])
def test_tools_are_called_by_the_server(integrations, item):
    call = {"tool_calls": [{"name": "search", "arguments": {}}], "content": "Found."}
    with SimulatedLMStudio(["m"], call) as server, LMStudioProvider(server.url, refresh=False) as lm:
        got = lm.native.chat("Hi", model="m", integrations=integrations)
        seen = [type(each) for each in lm.native.stream("Hi", model="m", integrations=integrations)]
    assert isinstance(got.output[0], item)
    wanted = events.ToolCallSuccess if item is ToolCallItem else events.ToolCallFailure
    assert wanted in seen


# Streams


def test_a_stream_has_its_events_and_at_the_end_the_whole_reply(lm, usage):
    stream = lm.native.stream("Hi", reasoning="on")
    with pytest.raises(ProviderError, match="not over"):
        stream.completion.text  # noqa: B018 (it raises)
    seen = list(stream)
    assert list(dict.fromkeys(each.type.partition(".")[0] for each in seen)) == [
        "chat",
        "model_load",
        "prompt_processing",
        "message",
    ]
    assert seen[-1] == events.ChatEnd(stream.completion)
    assert stream.completion.text == "Hello you"
    assert kinds(usage) == [("native.stream", "ok")]


def test_the_texts_can_be_iterated_without_the_rest(lm):
    assert list(lm.native.stream("Hi").text()) == ["Hello", " you"]


def test_progress_is_reported_by_stage_and_never_twice(lm):
    told = []
    list(lm.native.stream("Hi", on_progress=lambda *stage: told.append(stage)))
    fractions = {"model_load": [0.0, 0.25, 0.5, 0.75, 1.0], "prompt_processing": [0.0, 0.5, 1.0]}
    assert told == [(stage, each) for stage, all_ in fractions.items() for each in all_]


def test_an_error_in_the_middle_is_raised_after_the_end_with_the_partial_reply(httpserver, provider, sample):
    httpserver.expect_request(CHAT).respond_with_data(sample("v1_chat_stream.sse"), content_type="text/event-stream")
    seen, stream = [], provider.native.stream("Hi", model="m")
    with pytest.raises(ServerError, match="MCP server") as caught:
        seen.extend(stream)
    assert (seen[-1].type, seen[-2].error) == ("chat.end", caught.value)
    assert caught.value.partial == stream.completion == seen[-1].result
    assert caught.value.url == httpserver.url_for(CHAT)
    with pytest.raises(StopIteration):
        next(stream)


def test_progress_is_life(raw_server, provider_of):
    """Each event comes well within the limit, and all of them take twice as long."""

    def progress(connection):
        for step in range(20):
            threading.Event().wait(0.03)
            connection.sendall(frame({"type": "model_load.progress", "progress": step / 20}))

    server = raw_server(stream_of(), progress, END)
    stream = provider_of(server).native.stream("Hi", model="m", timeout=Timeouts(first_byte=0.3, idle=0.3))
    assert len(list(stream)) == 21


def test_a_stream_may_be_silent_for_as_long_as_a_reply_unless_a_timeout_is_given(raw_server, provider_of):
    lm = provider_of(raw_server(stream_of(delta("Hi")), silence))
    with lm.native.stream("Hi", model="m") as stream:
        assert stream._reply.exchange.allowed("idle") == 600
    with pytest.raises(RequestTimeoutError) as caught:
        list(lm.native.stream("Hi", model="m", timeout=Timeouts(idle=0.05)))
    assert (caught.value.limit, caught.value.partial.text) == ("idle", "Hi")


def test_progress_without_end_runs_into_the_deadline(raw_server, provider_of):
    def forever(connection):
        while True:
            connection.sendall(frame({"type": "prompt_processing.progress", "progress": 0.5}))
            threading.Event().wait(0.001)

    stream = provider_of(raw_server(stream_of(), forever)).native.stream("Hi", model="m", deadline=0.3)
    with pytest.raises(RequestTimeoutError) as caught:
        for _ in stream:
            pass
    assert caught.value.limit == "deadline"


@pytest.mark.parametrize(
    ("parts", "error", "text"),
    [
        ([], ProtocolError, ""),
        ([b"data: [DONE]\n\n"], ProtocolError, ""),
        ([b": nothing\n\n" * 50], ProtocolError, ""),
        ([delta("Hi")], StreamInterruptedError, "Hi"),
        ([delta("Hi"), b"data: [DONE]\n\n"], StreamInterruptedError, "Hi"),
        ([delta("Hi"), b"data: {oops\n\n"], ProtocolError, "Hi"),
        ([delta("Hi"), frame({"type": "chat.end"})], ProtocolError, "Hi"),
        ([delta("Hi"), b'data: {"type": "message.de'], StreamInterruptedError, "Hi"),
        ([BOOM], ServerError, ""),
        ([delta("Hi"), BOOM], ServerError, "Hi"),
        ([BOOM, delta("Hi"), END], ServerError, "Hello"),
        ([delta("Hi"), BOOM, BOOM, frame({"type": "chat.end"})], ServerError, "Hi"),
    ],
)
def test_a_broken_stream_is_an_error_with_the_partial_reply(raw_server, provider_of, usage, parts, error, text):
    stream = provider_of(raw_server(stream_of(*parts)), usage=usage).native.stream("Hi", model="m")
    with pytest.raises(error) as caught:
        list(stream)
    assert caught.value.partial is stream.completion
    assert stream.completion.text == text
    assert [(each.operation, each.status != "ok") for each in usage.records] == [("native.stream", True)]


def test_an_error_after_the_end_is_none(raw_server, provider_of):
    stream = provider_of(raw_server(stream_of(delta("Hi"), END, BOOM))).native.stream("Hi", model="m")
    assert [each.type for each in stream] == ["message.delta", "chat.end"]
    assert stream.completion.text == "Hello"


def test_an_unknown_event_passes(httpserver, provider, sample):
    data = sample("v1_chat_stream_extra_event.sse")
    httpserver.expect_request(CHAT).respond_with_data(data, content_type="text/event-stream")
    seen = list(provider.native.stream("Hi", model="m"))
    assert [each.type for each in seen if isinstance(each, events.UnknownEvent)] == ["tool_call.name"]


def test_lines_without_data_have_a_limit(raw_server, provider_of):
    server = raw_server(stream_of(b": wait\n\n" * 200))
    stream = provider_of(server, limits=Limits(max_events_without_data=100)).native.stream("Hi", model="m")
    with pytest.raises(ProtocolError, match="carried no data"):
        list(stream)


@for_each("length", range(0, 2600, 260))
def test_a_cut_anywhere_is_an_interruption(raw_server, provider_of, length):
    data = (SAMPLES / "v1_chat_stream.sse").read_bytes()[:length]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9999\r\n\r\n"
    stream = provider_of(raw_server(head + data)).native.stream("Hi", model="m")
    with pytest.raises(StreamInterruptedError) as caught:
        list(stream)
    assert caught.value.partial is stream.completion


# Closing


@pytest.mark.parametrize("leave", ["break", "close", "drop", "with"])
def test_leaving_a_stream_closes_the_connection_and_is_recorded_once(raw_server, provider_of, usage, leave):
    server = raw_server(stream_of(delta("Hi")), silence)
    stream = provider_of(server, usage=usage).native.stream("Hi", model="m")
    if leave == "break":
        for _ in stream:
            break
    elif leave == "close":
        stream.close()
    elif leave == "with":
        with stream:
            next(stream)
    else:
        del stream
    assert server.client_left.wait(LONG)
    assert kinds(usage) == [("native.stream", "cancelled")]


def test_closing_from_another_thread_ends_the_stream(raw_server, provider_of, in_background):
    server = raw_server(stream_of(delta("Hi")), silence)
    stream = provider_of(server).native.stream("Hi", model="m")
    first = next(stream)
    reading = in_background(list, stream)
    stream.close()
    assert (first.content, reading.result(LONG)) == ("Hi", [])
    assert (stream.completion.text, stream.completion.finish_reason) == ("Hi", "cancelled")


def test_closing_the_provider_ends_the_stream_with_an_error(raw_server, provider_of):
    lm = provider_of(raw_server(stream_of(delta("Hi")), silence))
    stream = lm.native.stream("Hi", model="m")
    next(stream)
    lm.close()
    with pytest.raises(ProviderClosedError) as caught:
        next(stream)
    assert caught.value.partial.text == "Hi"


@pytest.mark.parametrize("name", ["chat", "stream"])
def test_a_call_that_reached_no_server_is_not_recorded(closed_port, provider_of, usage, name):
    with pytest.raises(ProviderError):
        getattr(provider_of(f"http://127.0.0.1:{closed_port}", usage=usage).native, name)("Hi", model="m")
    assert usage.records == ()


# Secrets


def repeating(make):
    """A server that repeats the body that it was sent, in what ``make`` makes of it."""

    def reply(connection):
        body = json.dumps(SERVER.as_dict())
        connection.sendall(make(body))

    return reply


@pytest.mark.parametrize("name", ["chat", "stream"])
@pytest.mark.parametrize(
    "make",
    [
        lambda body: whole({"error": {"type": "invalid_request", "message": f"Bad: {body}", "param": body}}, 400),
        lambda body: whole({"error": f"Bad: {body}"}),
        lambda body: whole({"output": [body]}),
        lambda body: whole(body.encode() + b"}"),
        *(lambda body, length=length: whole(b"x" * length + SECRET.encode() + b"}") for length in range(180, 200, 3)),
        lambda body: stream_of(frame({"error": {"message": body, "code": body, "param": body}}, "error"), BOOM),
        lambda body: stream_of(delta("Hi"), frame({"type": "message.delta", "wrong": body})),
    ],
)
def test_no_secret_of_an_integration_is_shown_if_the_server_repeats_it(raw_server, provider_of, caplog, name, make):
    caplog.set_level(logging.DEBUG)
    lm = provider_of(raw_server(repeating(make)))
    seen = []
    with pytest.raises(ProviderError) as caught:
        got = getattr(lm.native, name)("Hi", model="m", integrations=[SERVER])
        seen.extend(got)
    error = caught.value
    shown = [str(error), repr(error), repr(vars(error)), *(repr(vars(each)) for each in seen)]
    shown += [caplog.text, "".join(traceback.format_exception(type(error), error, error.__traceback__))]
    shown.append(repr(pickle.dumps(error)))
    shown += [repr(vars(each.error)) for each in seen if isinstance(each, events.ErrorEvent)]
    assert not [each for each in shown if SECRET[11:15] in each]


def test_the_server_gets_the_secrets_of_an_integration(server, lm):
    lm.native.chat("Hi", integrations=[SERVER])
    assert server.requests[-1]["body"]["integrations"] == [SERVER.as_dict()]


def test_a_connection_that_is_reset_is_an_interruption(raw_server, provider_of):
    def reset(connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()

    stream = provider_of(raw_server(stream_of(delta("Hi")), reset)).native.stream("Hi", model="m")
    with pytest.raises(StreamInterruptedError):
        list(stream)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_used_up_its_tokens_ended_for_that(simulator, provider_of, stream):
    lm = provider_of(simulator.url, model="simulated-model")

    def ask(**options):
        if not stream:
            return lm.native.chat("Hi", **options)
        reply = lm.native.stream("Hi", **options)
        list(reply)
        return reply.completion

    assert ask(max_output_tokens=2).finish_reason == "length"
    assert ask(max_output_tokens=1000).finish_reason is None
    with pytest.warns(EmptyAnswerWarning, match="max_output_tokens=3.*reasoning='off'"):
        assert ask(max_output_tokens=3, reasoning="high").text == ""


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_is_all_thoughts_is_warned_of(stream):
    with SimulatedLMStudio(["m"], ["<think>It is Paris."]) as server, LMStudioProvider(server.url) as lm:
        with pytest.warns(EmptyAnswerWarning, match=r"thoughts, which are in \.reasoning"):
            list(reply := lm.native.stream("Hi")) if stream else (reply := lm.native.chat("Hi"))
    assert (reply.completion if stream else reply).reasoning == "It is Paris."


def test_thoughts_that_were_left_in_the_answer_are_separated():
    with SimulatedLMStudio(["m"], ["<think>Hm, well.</think>\n\nYes it is."]) as server:
        with LMStudioProvider(server.url) as provider:
            stream = provider.native.stream("Hi")
            assert "".join(stream.text()) == stream.completion.text == "Yes it is."
            assert stream.completion.reasoning == provider.native.chat("Hi").reasoning == "Hm, well."


def test_thoughts_are_separated_in_each_message_around_a_tool_call(raw_server, provider_of):
    one, other = ({"type": "message", "content": text} for text in ("<think>a</think>A", "<think>b</think>B"))
    call = {"tool": "t", "arguments": {}, "output": "o"}
    over = frame({"type": "message.end"})
    parts = [delta(one["content"]), over, frame({"type": "tool_call.success", **call}), delta(other["content"]), over]
    end = frame({"type": "chat.end", "result": {"output": [one, {"type": "tool_call", **call}, other]}})
    stream = provider_of(raw_server(stream_of(*parts, end))).native.stream("Hi", model="m")
    assert list(stream.text()) == ["A", "B"]
    assert (stream.completion.text, stream.completion.reasoning) == ("AB", "ab")


def test_an_error_about_messages_names_the_method_that_takes_them(lm):
    with pytest.raises(InvalidRequestError, match=r"lm\.chat\(\) takes messages"):
        lm.native.chat([Message.user("Hi")])


def test_nothing_of_a_server_with_its_arguments_in_the_wrong_order_is_shown():
    with pytest.raises(InvalidRequestError) as caught:
        EphemeralMCP("https://user:s3cret@example.com/?key=s3cret", "docs")
    assert "s3cret" not in repr(caught.value)
    with pytest.raises(InvalidRequestError) as caught:
        EphemeralMCP("docs", "https://example.com", {"Authorization": "Bearer s3cret"})
    assert "s3cret" not in repr(caught.value)


def test_an_error_is_not_held_up_by_a_server_that_forgets_the_end(raw_server, provider_of, monkeypatch):
    monkeypatch.setattr("lmstudio_provider._native.stream._END_S", 0.1)
    said = frame({"type": "error", "error": {"type": "unknown", "message": "Model unloaded."}})
    server = raw_server(stream_of(delta("Hi"), said), silence)
    stream = provider_of(server).native.stream("Hi", model="m", timeout=20)
    with pytest.raises(ModelUnloadedError) as caught:
        list(stream)
    assert caught.value.partial.text == "Hi"


def test_a_request_does_not_show_what_extra_holds():
    assert "s3cret" not in repr(NativeRequest("Hi", extra={"integrations": [{"headers": {"X": "s3cret"}}]}))


QUOTED = 'Digest username="ada", response="TOP\\SECRET123"'


@for_each("how", ["text", "json", "json in json", "repr of json"])
def test_a_header_is_not_shown_however_a_server_quotes_it(httpserver, provider, how):
    said = json.dumps([{"headers": {"Authorization": QUOTED}}])
    said = {"text": QUOTED, "json": said, "json in json": json.dumps(said), "repr of json": repr(said)}[how]
    httpserver.expect_request("/api/v1/chat").respond_with_data(f"<p>{said}", content_type="text/html")
    server = EphemeralMCP("docs", "https://example.com", headers={"Authorization": QUOTED})
    with pytest.raises(ProtocolError) as caught:
        provider.native.chat("Hi", model="m", integrations=server)
    assert "SECRET123" not in f"{caught.value!r} {caught.value.__dict__}"


def test_an_answer_is_not_altered_whatever_it_repeats(httpserver, provider):
    metadata = {"type": "invalid_arguments", "tool_name": "t", "arguments": {"key": QUOTED}}
    failure = {"type": "tool_call.failure", "reason": f"no: {QUOTED}", "metadata": metadata}
    answer = f"This server sends {QUOTED}."
    output = [{"type": "invalid_tool_call", "reason": f"no: {QUOTED}", "metadata": metadata}]
    output.append({"type": "message", "content": answer})
    end = {"type": "chat.end", "result": {"model_instance_id": "m", "output": output}}
    server = EphemeralMCP("docs", "https://example.com", headers={"Authorization": QUOTED})
    httpserver.expect_ordered_request("/api/v1/chat").respond_with_data(
        frame(failure) + delta(answer) + frame(end), content_type="text/event-stream"
    )
    httpserver.expect_ordered_request("/api/v1/chat").respond_with_json(end["result"])
    stream = provider.native.stream("Hi", model="m", integrations=server)
    failed, said, _ = stream
    assert (failed.reason, failed.metadata) == (f"no: {QUOTED}", metadata)
    assert said.content == answer
    for whole in (stream.completion, provider.native.chat("Hi", model="m", integrations=server)):
        assert whole.text == answer
        assert whole.output[0].metadata == metadata
        assert whole.raw == end["result"]


def test_a_whole_reply_is_not_shown_as_unfinished(simulator):
    native = LMStudioProvider(simulator.url, model="simulated-model").native
    stream = native.stream("Hi")
    list(stream)
    for whole in (native.chat("Hi"), stream.completion):
        assert whole.finish_reason is None
        assert "unfinished" not in repr(whole)


@pytest.mark.parametrize("method", ["chat", "stream"])
def test_a_chat_without_a_model_asks_for_the_list_first(simulator, method):
    with LMStudioProvider(simulator.url, refresh=False) as lm:
        reply = getattr(lm.native, method)("Hi")
        assert (reply if method == "chat" else (list(reply), reply.completion)[1]).text
    assert [each["path"] for each in simulator.requests] == ["/api/v1/models", "/api/v1/chat"]
    assert simulator.requests[-1]["body"]["model"] != "local-model"


def test_a_chat_without_a_model_is_not_sent_to_a_server_that_has_none(httpserver):
    for path in ("/api/v1/models", "/api/v0/models", "/v1/models"):
        httpserver.expect_request(path).respond_with_json({"data": [], "models": []})
    with LMStudioProvider(httpserver.url_for("/"), refresh=False) as lm:
        with pytest.raises(InvalidRequestError, match="has no models"):
            lm.native.chat("Hi")
    assert "/api/v1/chat" not in [request.path for request, _ in httpserver.log]
