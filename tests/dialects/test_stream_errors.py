"""Errors inside streams, in every dialect, at their beginning and after some text."""

import json
import zlib

import pytest
from raw import stream_of
from tables import for_each
from test_error_tables import QUIRKS

from lmstudio_provider import (
    Limits,
    LMStudioProvider,
    ModelNotFoundError,
    OllamaProvider,
    ProtocolError,
    ProviderError,
    StreamInterruptedError,
)
from lmstudio_provider._core.types import Call
from lmstudio_provider._dialects.checked_reader import CheckedReader
from lmstudio_provider._dialects.errors import ErrorContext
from lmstudio_provider._dialects.messages import MessagesStream
from lmstudio_provider._dialects.openai import ChatStream
from lmstudio_provider._dialects.responses import ResponsesStream
from lmstudio_provider._http.readers import Event, SSEReader
from lmstudio_provider._native.events_reader import NativeAssembly

# For each kind of stream: what makes its items, an event with the text "Hi", and the shapes that an error can have.
KINDS = {
    "chat": (
        ChatStream,
        {"choices": [{"delta": {"content": "Hi"}}]},
        [
            lambda text: {"error": {"message": text}, "message": text},
            lambda text: {"error": text},
            lambda text: {"error": {"message": text, "type": "invalid_request_error", "param": None, "code": None}},
        ],
    ),
    "responses": (
        ResponsesStream,
        {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "content_index": 0, "delta": "Hi"},
        [
            lambda text: {"type": "response.failed", "response": {"status": "failed", "error": {"message": text}}},
            lambda text: {"type": "error", "message": text, "code": "server_error", "param": None},
            lambda text: {"type": "error", "error": {"message": text}},
        ],
    ),
    "messages": (
        MessagesStream,
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        [lambda text: {"type": "error", "error": {"type": "api_error", "message": text}}, lambda text: {"error": text}],
    ),
    "native": (
        NativeAssembly,
        {"type": "message.delta", "content": "Hi"},
        [
            lambda text: {"type": "error", "error": {"type": "unknown", "message": text}},
            lambda text: {"error": {"message": text}, "message": text},
        ],
    ),
}


def read(assembly, *values):
    """Feed the events, and end the stream."""
    for value in values:
        assembly.feed(Event(value.get("type", "message"), json.dumps(value)))
    assembly.finish()


@for_each("text", QUIRKS)
@for_each("kind", KINDS)
def test_an_error_has_its_meaning_at_the_beginning_of_a_stream_and_after_text(kind, text):
    make, delta, shapes = KINDS[kind]
    for shape in shapes:
        for before in ([], [delta]):
            assembly = make(Call("POST", "/", b"", "m"), ErrorContext("m"), 0.0)
            with pytest.raises(ProviderError) as caught:
                read(assembly, *before, shape(text))
            assert type(caught.value) is QUIRKS[text]
            assert assembly.completion().text == "Hi" * len(before)


@for_each("kind", ["chat", "responses", "messages"])
def test_an_event_that_is_named_error_and_holds_an_error_keeps_its_code(kind):
    data = json.dumps({"type": "error", "error": {"message": "It went wrong.", "code": "model_not_found"}})
    with pytest.raises(ModelNotFoundError) as caught:
        KINDS[kind][0](Call("POST", "/", b"", "m"), ErrorContext("m"), 0.0).feed(Event("error", data))
    assert caught.value.code == "model_not_found"
    assert caught.value.sent


# Replies in the place of a stream

STREAMS = {
    "chat": lambda lm: list(lm.stream("Hi", model="m")),
    "responses": lambda lm: lm.responses_stream("Hi", lambda chunk: None, model="m"),
    "messages": lambda lm: lm.messages_stream("Hi", lambda chunk: None, model="m"),
    "native": lambda lm: list(lm.native.stream("Hi", model="m")),
}
HEADS = {
    "no type": b"HTTP/1.1 200 OK\r\n\r\n",
    "text": b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n",
    "events": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
    "json": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n",
}
# The reply, and the part of it that the error must show.
INSTEAD = [
    (b"Internal failure of gateway", "Internal failure of gateway"),
    (b"OK", "OK"),
    (b"OK\r\n\r\n", "OK"),
    (b"\n\nfailed: no\nroom\n", "failed: no"),
    (b'"bad thing"', "bad thing"),
    (b"7", "7"),
    (b'[{"msg": "bad thing"}]', "bad thing"),
    (b'\xef\xbb\xbf{"error": {"message": "bad thing"}}', "bad thing"),
    (b"\xef\xbb\xbf<html><title>bad thing</title>", "bad thing"),
    (b'{"detail": "bad thing"}', "bad thing"),
    (b'{"detail": [{"msg": "bad thing"}]}\n', "bad thing"),
    (b'{"object": "error", "message": "bad thing", "type": "BadRequestError", "code": 400}', "bad thing"),
    (b'{\n  "object": "error",\n  "message": "bad thing"\n}\n', "bad thing"),
    (b'{"status": "bad thing"}', "bad thing"),
    (b'{"error": "bad th', "bad th"),
]


@pytest.mark.slow
@for_each("head", HEADS.values(), ids=HEADS)
@for_each(("body", "says"), INSTEAD)
def test_a_reply_in_the_place_of_a_stream_is_shown(raw_server, head, body, says):
    url = raw_server(head, body).url
    with LMStudioProvider(url, refresh=False) as lm, OllamaProvider(url, refresh=False) as ollama:
        for read_stream in [*STREAMS.values(), lambda _: list(ollama.stream("Hi", model="m"))]:
            with pytest.raises(ProviderError) as caught:
                read_stream(lm)
            assert says in caught.value.message
            assert "fit into" not in caught.value.hint


@for_each(("head", "body", "kind"), [("text", b"OK", "text"), ("no type", b"OK", "text"), ("no type", b"7", "JSON")])
def test_the_kind_of_a_reply_in_the_place_of_a_stream_is_named(raw_server, provider_of, head, body, kind):
    with pytest.raises(ProtocolError, match=f"the server sent {kind} instead of a stream: '{body.decode()}'"):
        list(provider_of(raw_server(HEADS[head], body)).stream("Hi", model="m"))


def test_a_byte_order_mark_does_not_hide_the_meaning_of_an_error_in_the_place_of_a_stream(raw_server):
    server = raw_server(HEADS["json"], b'\xef\xbb\xbf{"error": {"code": "model_not_found", "message": "no"}}')
    with LMStudioProvider(server.url, refresh=False) as lm, pytest.raises(ModelNotFoundError):
        list(lm.stream("Hi", model="m"))


def test_a_page_or_an_object_is_not_seen_in_a_piece_of_a_stream_that_has_begun():
    reader = CheckedReader(SSEReader(Limits()), None, None)
    pieces = [b'data: {"a": "', b'<html>"}\n\ndata: ', b"{\n\n"]
    assert [event.data for piece in pieces for event in reader.feed(piece)] == ['{"a": "<html>"}', "{"]


@for_each("head", HEADS.values(), ids=HEADS)
@for_each("read_stream", STREAMS.values(), ids=STREAMS)
def test_the_greeting_of_ollama_in_the_place_of_a_stream_is_known(raw_server, provider_of, read_stream, head):
    with pytest.raises(ProtocolError, match="it answers as Ollama does") as caught:
        read_stream(provider_of(raw_server(head, b"Ollama is running")))
    assert "OllamaProvider" in caught.value.hint


@for_each("body", [b"", b"\n\n", b": ping\n\n", b"event: ping\nid: 1\nretry: 5\n\n", b"data: [DONE]\n\n"])
def test_a_stream_without_anything_in_it_is_said_to_be_empty(raw_server, provider_of, body):
    with pytest.raises(ProtocolError, match="nothing in it") as caught:
        list(provider_of(raw_server(stream_of(body))).stream("Hi", model="m"))
    assert "fit into" in caught.value.hint


# Data in the middle of a stream

# The data, the part of it that the error must show, and whether the server then continues as if nothing had happened.
AMID = [
    (b'{"error": {"message": "engine died"}}\n', "engine died", True),
    (b'{"error": {"message": "engine died"}}', "engine died", False),
    (b'{"detail": "engine died"}\n', "engine died", True),
    (b'error: {"code": 500, "message": "ctx overflow"}\n\n', "ctx overflow", True),
    (b"error: ctx overflow\n\n", "ctx overflow", True),
    (b'error:{"error": "ctx overflow"}', "ctx overflow", False),
    (b'event: error\ndata: {"message": "it broke"}\n\n', "it broke", True),
    (b'data: {"object": "error", "message": "vllm bad", "type": "X", "code": 400}\n\n', "vllm bad", True),
    (b'{\n "error": {\n  "message": "engine died"\n }\n}\n', "engine died", False),
    (b"<html>\n<head><title>504 Gateway Time-out</title></head>\n<body>x</body></html>\n", "504 Gateway", False),
    (b"<html><head><title>504 Gateway Time-out</title></head>", "504 Gateway", False),
    (b"upstream connect error or disconnect", "upstream connect error", False),
    (b"noise\n" * 50_000, "noise", False),
]
DELTAS = {kind: delta for kind, (_, delta, _) in KINDS.items()}


@pytest.mark.slow
@for_each("kind", STREAMS)
@for_each(("line", "says", "goes_on"), AMID)
def test_an_error_in_the_middle_of_a_stream_keeps_the_partial_reply(raw_server, provider_of, kind, line, says, goes_on):
    delta = b"data: %b\n\n" % json.dumps(DELTAS[kind]).encode()
    for end in [b"", b"data: [DONE]\n\n"] if goes_on else [b""]:
        with pytest.raises(ProviderError) as caught:
            STREAMS[kind](provider_of(raw_server(stream_of(delta, line, end))))
        assert says in caught.value.message
        assert len(caught.value.message) < 1000
        assert caught.value.partial.text == "Hi"


def test_text_before_a_fault_is_kept_although_it_came_with_it(raw_server, provider_of):
    hi, long = b"data: %b\n\n" % json.dumps(DELTAS["chat"]).encode(), b"data: " + b"x" * 2000
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    zipped = packer.compress(hi) + packer.flush(zlib.Z_SYNC_FLUSH) + b"\xff" * 20
    for headers, body, says in [
        (b"", hi + long, "a line of the stream is longer"),
        (b"Transfer-Encoding: chunked\r\n", b"%x\r\n%b\r\nzz\r\n" % (len(hi), hi), "chunks are malformed"),
        (b"Content-Encoding: gzip\r\n", zipped, "compression is broken"),
    ]:
        server = raw_server(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + headers + b"\r\n" + body)
        with pytest.raises(ProtocolError, match=says) as caught:
            list(provider_of(server, limits=Limits(max_line_bytes=1000)).stream("Hi", model="m"))
        assert caught.value.partial.text == "Hi"


@for_each("kind", STREAMS)
def test_text_before_a_line_over_the_limit_is_kept_by_every_kind_of_stream(raw_server, provider_of, kind):
    server = raw_server(stream_of(b"data: %b\n\ndata: %b" % (json.dumps(DELTAS[kind]).encode(), b"x" * 2000)))
    with pytest.raises(ProtocolError, match="longer") as caught:
        STREAMS[kind](provider_of(server, limits=Limits(max_line_bytes=1000)))
    assert caught.value.partial.text == "Hi"


def test_text_before_a_line_over_the_limit_is_kept_in_a_stream_of_lines(raw_server):
    server = raw_server(stream_of(b'{"message": {"content": "Hi"}}\n' + b"x" * 2000))
    with OllamaProvider(server.url, refresh=False, limits=Limits(max_line_bytes=1000)) as ollama:
        with pytest.raises(ProtocolError, match="longer") as caught:
            list(ollama.stream("Hi", model="m"))
    assert caught.value.partial.text == "Hi"


def test_a_json_object_that_describes_an_error_instead_of_choices_is_an_error(raw_server, provider_of):
    server = raw_server(stream_of(b'data: {"choices": [{"delta": {"content": "Hi"}}]}\n\ndata: {"detail": "no"}\n\n'))
    with pytest.raises(ProviderError, match="no") as caught:
        list(provider_of(server).stream("Hi", model="m"))
    assert caught.value.partial.text == "Hi"


@for_each("line", [b"noise\n", b"<html>", b"a: b\n\n"])
def test_lines_that_are_not_fields_do_not_harm_a_complete_reply(raw_server, provider_of, line):
    first = b'data: {"choices": [{"delta": {"content": "Hi"}}]}\n\n'
    last = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
    for parts in ([line, b"\n", first, last], [first, line, b"\n", last], [first, last, line]):
        if not parts[0].startswith(b"<"):
            assert "".join(provider_of(raw_server(stream_of(*parts))).stream("Hi", model="m").text()) == "Hi"


def test_a_page_in_the_middle_of_a_stream_of_lines_is_shown(raw_server):
    server = raw_server(stream_of(b'{"message": {"content": "Hi"}}\n<html><title>504 Time-out</title>'))
    with OllamaProvider(server.url, refresh=False) as ollama:
        with pytest.raises(StreamInterruptedError, match="504 Time-out") as caught:
            list(ollama.stream("Hi", model="m"))
    assert caught.value.partial.text == "Hi"


SAID = b'data: {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}\n\n'


@for_each("blank", [b"data:\n\n", b"data: \n\n", b"data:   \r\n\r\n", b"data\n\n", b"data:\ndata:\n\n"])
@for_each("done", [b"data: [DONE]\n\n", b"data:  [DONE]\n\n", b"data:[DONE]  \n\n", b"data:\ndata: [DONE]\n\n"])
def test_blank_data_and_blanks_around_done_do_not_break_a_stream(raw_server, provider_of, blank, done):
    stream = provider_of(raw_server(stream_of(blank, SAID, blank, done)), model="m").stream("Hi")
    assert "".join(stream.text()) == "Hi"
    assert stream.completion.finish_reason == "stop"


ENDS = {
    "responses": [
        b'{"type": "response.output_text.delta", "output_index": 0, "delta": "Hi"}',
        b'{"type": "response.completed", "response": {"status": "completed", "output": []}}',
    ],
    "messages": [
        b'{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}',
        b'{"type": "message_stop"}',
    ],
    "native": [
        b'{"type": "message.delta", "content": "Hi"}',
        b'{"type": "chat.end", "result": {"output": [{"type": "message", "content": "Hi"}]}}',
    ],
}


@for_each("blank", [b"data:\n\n", b"data: \n\n", b"event: ping\ndata:  \n\n", b"data: [DONE] \n\n"])
@for_each("dialect", ENDS)
def test_blank_data_does_not_break_a_stream_of_events_with_types(raw_server, provider_of, dialect, blank):
    said, end = (b"data: %s\n\n" % each for each in ENDS[dialect])
    lm = provider_of(raw_server(stream_of(blank, said, blank, end, blank)), model="m")
    stream = lm.native.stream("Hi") if dialect == "native" else getattr(lm, f"{dialect}_stream")("Hi")
    list(stream)
    assert stream.completion.text == "Hi"


def test_an_error_without_words_is_an_error(raw_server, provider_of):
    stream = provider_of(raw_server(stream_of(SAID, b"event: error\ndata:\n\n")), model="m").stream("Hi")
    with pytest.raises(ProviderError) as caught:
        list(stream)
    assert caught.value.partial.text == "Hi"


OPENAI_TEXT = b'data: {"choices": [{"index": 0, "delta": {"content": "Hi"}}]}\n\n'
TYPED_TEXT = {
    "responses": {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "delta": "Hi"},
    "messages": {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
}


@for_each(
    "method, text, end",
    [
        ("stream", OPENAI_TEXT, r"neither a finish_reason nor \[DONE\] came"),
        ("responses_stream", b"data: %s\n\n" % json.dumps(TYPED_TEXT["responses"]).encode(), "no response.completed"),
        ("messages_stream", b"data: %s\n\n" % json.dumps(TYPED_TEXT["messages"]).encode(), "no message_stop"),
    ],
)
def test_a_stream_without_its_end_names_the_end_that_its_api_has(raw_server, provider_of, method, text, end):
    with pytest.raises(StreamInterruptedError, match=end) as caught:
        list(getattr(provider_of(raw_server(stream_of(text))), method)("Hi", model="m"))
    assert caught.value.partial.text == "Hi"


def test_a_stream_of_ollama_without_its_end_misses_the_line_that_is_done(raw_server):
    server = raw_server(stream_of(b'{"message": {"content": "Hi"}, "done": false}\n'))
    with OllamaProvider(server.url, refresh=False) as ollama:
        with pytest.raises(StreamInterruptedError, match='no line with "done": true came'):
            list(ollama.stream("Hi", model="m"))


@for_each("label", ["text/event-stream", "application/x-ndjson; charset=utf-8", "text/plain", ""])
@for_each(
    "body, kind", [("<html><title>Log in</title>", "a page"), ("[1]", "JSON"), ('{"a": 1}', "JSON"), ("No.", "text")]
)
def test_what_came_instead_of_a_stream_is_named_by_its_content_and_not_by_its_label(
    raw_server, provider_of, label, body, kind
):
    server = raw_server(f"HTTP/1.1 200 OK\r\nContent-Type: {label}\r\n\r\n{body}\n".encode())
    with pytest.raises(ProtocolError) as caught:
        list(provider_of(server).stream("Hi", model="m"))
    assert caught.value.message.startswith(f"the server sent {kind} instead of a stream: ")
