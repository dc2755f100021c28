"""What can go wrong on the wire: each fault gives one class of error, in time, and never shows the token."""

import gzip
import json
import logging
import pickle
import socket
import ssl
import struct
import threading
import time
import traceback
from typing import Any, NamedTuple

import pytest
import urllib3
from raw import stream_of
from tables import for_each

from lmstudio_provider import (
    AuthenticationError,
    ContextLengthError,
    EndpointNotFoundError,
    InvalidRequestError,
    Limits,
    LMStudioProvider,
    ModelUnloadedError,
    ProtocolError,
    ProviderError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
    StatusError,
    StreamInterruptedError,
    Timeouts,
)

TOKEN = "sk-lm-AbCd1234:0123456789abcdefghij"
SOON = Timeouts(connect=5, first_byte=0.3, idle=0.3)
LIMITS = Limits(max_line_bytes=100_000, max_reply_bytes=200_000, max_events_without_data=1000)
# No fault takes anything near this; it is there for hangs.
LONGEST_S = 30
LONG = 20


def event(**delta):
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode() + b"\n\n"


HI = event(content="Hi")
STOP = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
BODY = b'{"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = STREAM + b"Transfer-Encoding: chunked\r\n\r\n"


def reply(body=BODY, head=HEAD):
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def stall(connection):
    """Say nothing until the client has left."""
    while connection.recv(65536):
        continue


def later(connection):
    """Wait, so that the data sent before arrives separately."""
    time.sleep(0.05)


def endlessly(data):
    def send(connection):
        while True:
            connection.sendall(data)

    return send


class Fault(NamedTuple):
    name: str
    error: Any
    parts: list
    # The text streamed before the fault; None if the reply is not a stream.
    text: Any = None


def in_stream(name, error, *events, text=""):
    return Fault(name, error, [stream_of(*events)], text)


UNEXPECTED = b'{\n  "error": "Unexpected endpoint or method. (POST /v1/chat/completions)"\n}'
TEXT = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
CUT = [part for byte in UNEXPECTED for part in (bytes([byte]), lambda connection: time.sleep(0.001))]


FAULTS = [
    Fault("closed at once", ServerUnavailableError, [b""]),
    Fault("closed at once, streaming", ServerUnavailableError, [b""], ""),
    Fault("reset at once", ServerUnavailableError, [reset]),
    Fault("closed inside the status line", ServerUnavailableError, [b"HTTP/1.1 20"]),
    Fault("closed inside the headers", ServerUnavailableError, [HEAD[:-9]]),
    Fault("closed inside the headers, streaming", ServerUnavailableError, [STREAM[:-9]], ""),
    Fault("closed between two headers", ServerUnavailableError, [HEAD]),
    Fault("reset inside the headers", ServerUnavailableError, [HEAD, later, reset]),
    Fault("closed after the headers", ServerUnavailableError, [HEAD + b"Content-Length: 9\r\n\r\n"]),
    Fault("closed after the headers of a stream", StreamInterruptedError, [CHUNKED], ""),
    Fault("a close-delimited stream with nothing in it", ProtocolError, [STREAM + b"\r\n"], ""),
    Fault("Content-Length too long", ServerUnavailableError, [HEAD + b"Content-Length: 999\r\n\r\n" + BODY]),
    Fault("Content-Length too short", ProtocolError, [HEAD + b"Content-Length: 20\r\n\r\n" + BODY]),
    Fault("Content-Length of a stream too long", StreamInterruptedError, [reply(HI, STREAM)[:-1]], ""),
    Fault("Content-Length is no number", ProtocolError, [HEAD + b"Content-Length: x\r\n\r\n{"]),
    Fault("chunked, cut before data", StreamInterruptedError, [CHUNKED + b"5"], ""),
    Fault("chunked, cut inside an event", StreamInterruptedError, [CHUNKED + chunk(HI) + chunk(HI[:20])], "Hi"),
    Fault(
        "chunked, cut inside UTF-8",
        StreamInterruptedError,
        [CHUNKED + chunk(HI) + chunk('data: {"ü'.encode()[:-1])],
        "Hi",
    ),
    Fault("chunked, ended after text without an end", StreamInterruptedError, [CHUNKED + chunk(HI) + chunk(b"")], "Hi"),
    Fault("reset in the middle of a stream", StreamInterruptedError, [CHUNKED + chunk(HI), later, reset], "Hi"),
    Fault("reset in the middle of a reply", ServerUnavailableError, [reply()[:-9], later, reset]),
    Fault("a chunk size that is none", ProtocolError, [CHUNKED + chunk(HI) + b"zz\r\n", stall], "Hi"),
    Fault("a chunk size without end", ProtocolError, [CHUNKED + chunk(HI), endlessly(b"1" * 1000)], "Hi"),
    Fault("stalled before the headers", RequestTimeoutError, [stall]),
    Fault("stalled before the headers of a stream", RequestTimeoutError, [stall], ""),
    Fault("stalled inside the headers", RequestTimeoutError, [HEAD, stall]),
    Fault("stalled before the first byte", RequestTimeoutError, [CHUNKED, stall], ""),
    Fault("stalled in the middle", RequestTimeoutError, [CHUNKED + chunk(HI), stall], "Hi"),
    Fault("stalled inside a reply", RequestTimeoutError, [reply()[:-9], stall]),
    Fault("a flood of headers", ProtocolError, [b"HTTP/1.1 200 OK\r\n", endlessly(b"X: y\r\n")]),
    Fault("a header without end", ProtocolError, [b"HTTP/1.1 200 OK\r\nX: ", endlessly(b"y" * 1000)]),
    Fault("a status line without end", ProtocolError, [b"HTTP/1.1 200 ", endlessly(b"y" * 1000)]),
    Fault("a flood of interim replies", ProtocolError, [endlessly(b"HTTP/1.1 103 Early Hints\r\n\r\n")]),
    Fault("a flood of 100 Continue", ProtocolError, [endlessly(b"HTTP/1.1 100 Continue\r\n\r\n")]),
    Fault("a flood of trailers", ProtocolError, [CHUNKED.replace(STREAM, HEAD) + b"0\r\n", endlessly(b"X: y\r\n")]),
    Fault("no HTTP", ProtocolError, [b"SSH-2.0-OpenSSH_9.2\r\n"]),
    Fault("HTTP of no known version", ProtocolError, [b"HTTP/9.9 200 OK\r\n\r\n"]),
    Fault("TLS where plain HTTP was asked", ProtocolError, [b"\x15\x03\x03\x00\x02\x02\x46\r\n"]),
    Fault("a TLS alert alone", ProtocolError, [b"\x15\x03\x01\x00\x02\x02\x0a"], ""),
    Fault("HTML", ProtocolError, [reply(b"<html>" + TOKEN.encode(), HEAD.replace(b"application/json", b"text/html"))]),
    Fault("HTML for a stream", ProtocolError, [reply(b"<html>", HEAD.replace(b"application/json", b"text/html"))], ""),
    Fault("an empty body", ProtocolError, [reply(b"")]),
    Fault("null", ProtocolError, [reply(b"null")]),
    Fault("a list", ProtocolError, [reply(b"[]")]),
    Fault("a list for a stream", ProtocolError, [reply(b"[]")], ""),
    Fault("no JSON", ProtocolError, [reply(BODY[:-1])]),
    Fault("JSON nested too deeply", ProtocolError, [reply(b"[" * 100_000)]),
    Fault("JSON in UTF-16", ProtocolError, [reply(BODY.decode().encode("utf-16"))]),
    Fault("JSON in Latin-1", ProtocolError, [reply(BODY.replace(b"Hi", "ü".encode("latin-1")))]),
    Fault("an endless reply", ProtocolError, [HEAD + b"\r\n", endlessly(b"x" * 1000)]),
    Fault("an endless error", ProtocolError, [b"HTTP/1.1 500 Oops\r\n\r\n", endlessly(b"x" * 1000)]),
    Fault("an endless line", ProtocolError, [STREAM + b"\r\n" + HI, endlessly(b"x" * 1000)], "Hi"),
    Fault("endless comments", ProtocolError, [STREAM + b"\r\n" + HI, endlessly(b": still here\n")], "Hi"),
    Fault("endless blank lines", ProtocolError, [STREAM + b"\r\n" + HI, endlessly(b"\n" * 1000)], "Hi"),
    Fault("a bomb", ProtocolError, [reply(gzip.compress(bytes(9_000_000)), HEAD + b"Content-Encoding: gzip\r\n")]),
    Fault(
        "a bomb in a stream",
        ProtocolError,
        [reply(gzip.compress(HI + bytes(9_000_000)), STREAM + b"Content-Encoding: gzip\r\n")],
        "Hi",
    ),
    Fault(
        "a stream whose compression is cut",
        StreamInterruptedError,
        [reply(gzip.compress(HI)[:-8], STREAM + b"Content-Encoding: gzip\r\n")],
        "Hi",
    ),
    Fault("gzip that is none", ProtocolError, [reply(BODY, HEAD + b"Content-Encoding: gzip\r\n")]),
    Fault("a compression nobody asked for", ProtocolError, [reply(BODY, HEAD + b"Content-Encoding: br\r\n")]),
    Fault("choices missing", ProtocolError, [reply(b"{}")]),
    Fault("choices null", ProtocolError, [reply(b'{"choices": null}')]),
    Fault("choices empty", ProtocolError, [reply(b'{"choices": []}')]),
    Fault("choices of the wrong type", ProtocolError, [reply(b'{"choices": 7}')]),
    in_stream("choices of the wrong type in a stream", ProtocolError, HI, b'data: {"choices": 7}\n\n', text="Hi"),
    in_stream("an event that is no JSON", ProtocolError, HI, b"data: {oops\n\n", text="Hi"),
    in_stream("an event that is no object", ProtocolError, HI, b"data: 7\n\n", text="Hi"),
    in_stream("nothing but [DONE]", ProtocolError, DONE),
    in_stream("an error first", ServerError, b'event: error\ndata: {"error": {"message": "x"}, "message": "x"}\n\n'),
    in_stream(
        "an error in the middle",
        ModelUnloadedError,
        HI,
        b'event: error\ndata: {"error":{"message":"Model unloaded."}}\n\n',
        text="Hi",
    ),
    in_stream("an error as a string", ServerError, HI, b'event: error\ndata: {"error": "x"}\n\n', DONE, text="Hi"),
    in_stream(
        "an error without a name",
        InvalidRequestError,
        HI,
        b'data: {"error": {"message": "x", "type": "invalid_request_error"}}\n\n',
        text="Hi",
    ),
    in_stream("an error as Anthropic sends it", ServerError, b'data: {"type": "error", "error": {"message": "x"}}\n\n'),
    in_stream("an error that is a number", ServerError, b'event: error\ndata: {"error": 7}\n\n'),
    in_stream(
        "an error of the engine",
        ContextLengthError,
        b'data: {"error": "Engine protocol predict request returned 400: {\\"error\\": {\\"message\\": \\"x\\",'
        b' \\"type\\": \\"exceed_context_size_error\\", \\"n_prompt_tokens\\": 9, \\"n_ctx\\": 8}}"}\n\n',
    ),
    Fault("an error under 200", EndpointNotFoundError, [reply(b'{"error": "Unexpected endpoint or method. (GET /)"}')]),
    Fault("an error under 200 for a stream", EndpointNotFoundError, [reply(b'{"error": "Unexpected endpoint."}')], ""),
    Fault("an error without a content type", EndpointNotFoundError, [reply(UNEXPECTED, b"HTTP/1.1 200 OK\r\n")]),
    Fault("such an error for a stream", EndpointNotFoundError, [reply(UNEXPECTED, b"HTTP/1.1 200 OK\r\n")], ""),
    Fault("such an error, called a stream", EndpointNotFoundError, [reply(b"\r\n " + UNEXPECTED, STREAM)], ""),
    Fault("such an error, called text", EndpointNotFoundError, [reply(UNEXPECTED, TEXT)], ""),
    Fault("such an error without an end", EndpointNotFoundError, [CHUNKED + chunk(UNEXPECTED), stall], ""),
    Fault("such an error in pieces", EndpointNotFoundError, [STREAM + b"\r\n", *CUT], ""),
    Fault("such an error, cut", StreamInterruptedError, [CHUNKED + chunk(UNEXPECTED[:-2])], ""),
    Fault("such an error, stalled", RequestTimeoutError, [CHUNKED + chunk(UNEXPECTED[:-2]), stall], ""),
    Fault("a whole reply for a stream", ProtocolError, [reply(BODY, STREAM)], ""),
    Fault("HTML called a stream", ProtocolError, [reply(b"<!doctype html>", STREAM)], ""),
    Fault(
        "a token that is refused and repeated",
        AuthenticationError,
        [
            reply(
                json.dumps(
                    {"error": {"code": "invalid_api_key", "message": f"Malformed: {TOKEN[:10]}*********. Ensure"}}
                ).encode(),
                HEAD.replace(b"200", b"401"),
            )
        ],
    ),
    Fault("an error that repeats the token", ServerError, [reply(json.dumps({"error": TOKEN}).encode())]),
]


@pytest.fixture
def nothing_shows_the_token(caplog):
    """Check that the log, and everything that an error shows, is free of the token."""
    caplog.set_level(logging.DEBUG)
    caught = []
    yield caught.append
    assert caught
    for error in caught:
        shown = [str(error), repr(error), repr(vars(error)), *traceback.format_exception(type(error), error, None)]
        shown += traceback.format_exception(type(error), error, error.__traceback__)
        for text in [*shown, caplog.text]:
            assert TOKEN[:10] not in text
            assert TOKEN[-10:] not in text


def call(url, streaming, **arguments):
    arguments = {"timeout": LONG, "limits": LIMITS, "api_token": TOKEN, "refresh": False, **arguments}
    with LMStudioProvider(url, **arguments) as lm:
        return list(lm.stream("Hi")) if streaming else lm.complete("Hi")


@pytest.mark.slow
@for_each("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_gives_its_error(raw_server, nothing_shows_the_token, fault):
    server = raw_server(*fault.parts)
    started = time.monotonic()
    with pytest.raises(ProviderError) as caught:
        # Only a silence needs a short limit; elsewhere it would be another fault on a busy machine.
        timeout = SOON if fault.error is RequestTimeoutError else LONG
        call(server.url, fault.text is not None, timeout=timeout)
    error = caught.value
    nothing_shows_the_token(error)
    assert type(error) is fault.error
    assert time.monotonic() - started < LONGEST_S
    assert error.sent
    assert error.url == f"{server.url}/v1/chat/completions"
    if fault.text:
        assert error.partial.text == fault.text
    assert len(server.requests) == 1


STATUSES = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: AuthenticationError,
    404: EndpointNotFoundError,
    408: StatusError,
    409: StatusError,
    413: InvalidRequestError,
    422: InvalidRequestError,
    429: RateLimitError,
    500: ServerError,
    502: ServerError,
    503: ServerError,
    504: ServerError,
}


@pytest.mark.slow
@for_each("streaming", [False, True])
@for_each("body", [b'{"error": {"message": "no"}}', b'{"error": "no"}', b"<html>no</html>", b""])
@for_each(("status", "kind"), STATUSES.items())
def test_a_status_gives_its_error_whatever_the_body(raw_server, nothing_shows_the_token, status, kind, body, streaming):
    server = raw_server(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
    with pytest.raises(ProviderError) as caught:
        call(server.url, streaming)
    nothing_shows_the_token(caught.value)
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.body) == (status, body.decode())
    assert len(server.requests) == 1


@for_each("streaming", [False, True])
@for_each("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_the_token_stays_here(raw_server, nothing_shows_the_token, status, streaming):
    elsewhere = raw_server(reply())
    head = b"HTTP/1.1 %d X\r\nLocation: %b/v1/chat/completions\r\n\r\n" % (status, elsewhere.url.encode())
    with pytest.raises(ProtocolError, match="redirect") as caught:
        call(raw_server(head).url, streaming)
    nothing_shows_the_token(caught.value)
    assert elsewhere.requests == []


@pytest.mark.parametrize("streaming", [False, True])
def test_a_connection_that_is_refused_gives_its_error(closed_port, nothing_shows_the_token, streaming):
    with pytest.raises(ServerUnavailableError) as caught:
        call(f"http://127.0.0.1:{closed_port}", streaming)
    nothing_shows_the_token(caught.value)
    assert (caught.value.refused, caught.value.sent) == (True, False)


def test_a_connection_that_hangs_gives_its_error(hanging_url, nothing_shows_the_token):
    with pytest.raises(RequestTimeoutError) as caught:
        call(hanging_url, False, timeout=0.2)
    nothing_shows_the_token(caught.value)
    assert (caught.value.limit, caught.value.sent) == ("connect", False)


def test_tls_to_a_plain_port_gives_its_error(httpserver, nothing_shows_the_token):
    with pytest.raises(ServerUnavailableError, match="TLS") as caught:
        call(httpserver.url_for("").replace("http:", "https:"), False, timeout=5, max_retries=0)
    nothing_shows_the_token(caught.value)
    assert caught.value.sent is False


def test_plain_http_to_a_tls_port_gives_its_error(nothing_shows_the_token):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def serve(listener):
        connection, _ = listener.accept()
        with connection, pytest.raises(ssl.SSLError):
            context.wrap_socket(connection, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=serve, args=[listener])
        serving.start()
        with pytest.raises((ServerUnavailableError, ProtocolError)) as caught:
            call(f"http://127.0.0.1:{listener.getsockname()[1]}", False)
        serving.join(5)
    nothing_shows_the_token(caught.value)
    assert "https://" in caught.value.hint


@for_each(("parts", "said"), [([b""], True), ([reset], True), ([b"HTTP/1.1 20"], False)])
def test_a_server_that_hangs_up_without_a_byte_may_want_tls(raw_server, parts, said):
    with pytest.raises(ServerUnavailableError) as caught:
        call(raw_server(*parts).url, False)
    assert ("https://" in caught.value.hint) is said


def test_an_alert_of_tls_says_what_to_write(raw_server):
    with pytest.raises(ProtocolError, match="That port speaks TLS") as caught:
        call(raw_server(b"\x15\x03\x01\x00\x02\x02\x46").url, False)
    assert "write https://" in caught.value.hint


def test_userinfo_and_own_headers_are_as_secret_as_a_token(raw_server, caplog):
    caplog.set_level(logging.DEBUG)
    body = json.dumps({"error": "Basic YW5uOnMzY3JldA== and s3cret-header"}).encode()
    url = raw_server(reply(body)).url.replace("http://", "http://ann:s3cret@")
    with pytest.raises(ServerError) as caught:
        call(url, False, api_token=None, headers={"X-Key": "s3cret-header"})
    shown = "".join(traceback.format_exception(type(caught.value), caught.value, None)) + repr(vars(caught.value))
    assert "s3cret" not in shown + caplog.text
    assert "YW5u" not in shown + caplog.text


SECRETS = {
    "the token": ({"api_token": TOKEN}, TOKEN),
    "a header": ({"headers": {"X-Api-Key": "my-own-key"}}, "my-own-key"),
    "a header of a manager": ({"http": urllib3.PoolManager(headers={"Cookie": "a=b; id=abcd1234"})}, "abcd1234"),
}


@for_each(("arguments", "secret"), SECRETS.values(), ids=SECRETS)
@for_each("write", [str, lambda text: json.dumps(f"{text}/")[1:-1], lambda text: text.replace(":", "%3a")])
def test_a_secret_is_in_no_error_however_it_is_written(raw_server, arguments, secret, write):
    body = f'{{"error": {{"message": "no {write(secret)}", "code": "{write(secret)}"}}}}'.encode()
    with pytest.raises(ProviderError) as caught:
        call(raw_server(reply(body)).url, False, **{"api_token": None, **arguments})
    error = caught.value
    assert "no [hidden]" in error.message
    assert error.code.rstrip("/") == "[hidden]"
    assert secret[-4:] not in f"{error!r} {vars(error)} {pickle.dumps(error)!r}"


@pytest.mark.parametrize("userinfo", ["", "ann:proxy-pass@"])
def test_the_password_of_a_proxy_is_a_secret_too(raw_server, userinfo):
    server = raw_server(reply(b'{"error": "no proxy-pass"}'))
    headers = {} if userinfo else urllib3.make_headers(proxy_basic_auth="ann:proxy-pass")
    proxy = urllib3.ProxyManager(server.url.replace("://", f"://{userinfo}"), proxy_headers=headers)
    with pytest.raises(ServerError) as caught:
        call("http://lmstudio.invalid", False, http=proxy)
    assert "proxy-pass" not in f"{caught.value!r} {vars(caught.value)}"


@for_each("streaming", [False, True])
@for_each(("arguments", "secret"), SECRETS.values(), ids=SECRETS)
def test_an_answer_is_not_altered_whatever_it_repeats(raw_server, arguments, secret, streaming):
    text = f"{secret} {secret[:10]}**** application/json"
    body = json.dumps({"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "id": secret}).encode()
    parts = [stream_of(event(content=text[:9]), event(content=text[9:]), STOP, DONE)] if streaming else [reply(body)]
    got = call(raw_server(*parts).url, streaming, **{"api_token": None, **arguments})
    assert ("".join(chunk.delta for chunk in got) if streaming else got.text) == text


@for_each("name", ["lm-studio", "EMPTY", "Not-Needed", "sk-no-key-required", "your-api-key"])
def test_a_placeholder_for_a_token_is_shown(raw_server, name):
    body = json.dumps({"error": f"Invalid model identifier '{name}-community/qwen3'"}).encode()
    with pytest.raises(ProviderError, match=f"'{name}-community/qwen3'"):
        call(raw_server(reply(body)).url, False, api_token=name)


def test_other_headers_are_shown(raw_server):
    body = b'{"error": "give application/json, text/event-stream or 131072"}'
    headers = {"Accept": "application/json, text/event-stream", "X-Max-Tokens": "131072"}
    with pytest.raises(ProviderError, match="give application/json, text/event-stream or 131072"):
        call(raw_server(reply(body)).url, False, headers=headers)


def test_the_cause_of_an_error_shows_no_secret(raw_server, nothing_shows_the_token):
    with pytest.raises(ProtocolError) as caught:
        call(raw_server(f"{TOKEN} is no HTTP\r\n".encode()).url, False)
    nothing_shows_the_token(caught.value)


# What looks like a fault and is none

FINE = [
    ("100 before the reply", [b"HTTP/1.1 100 Continue\r\n\r\n" + reply()]),
    ("103 before the reply", [b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + reply()]),
    ("100 and 103, one by one", [b"HTTP/1.1 100 Go\r\n\r\n", later, b"HTTP/1.1 103 Hi\r\n\r\n", later, reply()]),
    ("HTTP/1.0", [b"HTTP/1.0 200 OK\r\n\r\n" + BODY]),
    ("a reply until the end of the connection", [HEAD + b"\r\n" + BODY]),
    ("a reply in chunks", [CHUNKED.replace(STREAM, HEAD) + chunk(BODY[:9]) + chunk(BODY[9:]) + b"0\r\nX: y\r\n\r\n"]),
    ("a reply byte by byte", [bytes([byte]) for byte in reply()]),
    ("no content type", [b"HTTP/1.1 200 OK\r\n\r\n" + BODY]),
    ("gzip", [reply(gzip.compress(BODY), HEAD + b"Content-Encoding: gzip\r\n")]),
    ("gzip, with zeros after it", [reply(gzip.compress(BODY) + bytes(600), HEAD + b"Content-Encoding: gzip\r\n")]),
    ("line feeds alone", [reply().replace(b"\r\n", b"\n")]),
    ("headers in capitals", [reply(gzip.compress(BODY), HEAD.upper() + b"CONTENT-ENCODING:GZIP\r\n"), stall]),
    ("a header in two lines", [reply(BODY, HEAD + b"Content-Encoding:\r\n\tidentity\r\n")]),
    ("a header without a colon", [reply(gzip.compress(BODY), HEAD + b"oops\r\nContent-Encoding: gzip\r\n")]),
    ("two lengths", [reply(BODY, HEAD + b"Content-Length: %d\r\n" % len(BODY)), stall]),
    ("a length that is not a number", [HEAD + b"Content-Length: ten\r\n\r\n" + BODY]),
    ("a length of many digits", [HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n" + BODY]),
    ("letters beyond ASCII", [reply(BODY, HEAD + "X: ä, я\r\n".encode())]),
]


@for_each("parts", [parts for _, parts in FINE], ids=[name for name, _ in FINE])
def test_a_reply_that_is_merely_unusual_is_read(raw_server, parts):
    assert call(raw_server(*parts).url, False).text == "Hi"


KEPT = [
    (b"HTTP/1.1 200 OK\r\n", True),
    (b"HTTP/1.1 200 OK\r\nconnection: Keep-Alive\r\n", True),
    (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", True),
    (b"HTTP/1.1 200 OK\r\nCONNECTION: Close\r\n", False),
    (b"HTTP/1.0 200 OK\r\n", False),
]


@for_each(("head", "kept"), KEPT)
def test_the_version_and_the_headers_say_whether_the_connection_stays_open(raw_server, head, kept):
    server = raw_server(reply(BODY, head), keep_open=True)
    lm = LMStudioProvider(server.url, model="m", refresh=False)
    lm.chat("Hi")
    lm.chat("Hi")
    assert server.accepted == (1 if kept else 2)


FINE_STREAMS = [
    ("100 and 103 before it", [b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 103 Hi\r\n\r\n" + stream_of(HI, STOP, DONE)]),
    ("HTTP/1.0", [stream_of(HI, STOP, DONE).replace(b"HTTP/1.1", b"HTTP/1.0")]),
    ("cut after finish_reason", [CHUNKED + chunk(HI) + chunk(STOP)]),
    ("reset after finish_reason", [CHUNKED + chunk(HI) + chunk(STOP), later, reset]),
    ("stalled after [DONE]", [CHUNKED + chunk(HI) + chunk(STOP) + chunk(DONE), stall]),
    ("[DONE] without a blank line, then stalled", [CHUNKED + chunk(HI) + chunk(STOP) + chunk(DONE[:-1]), stall]),
    ("[DONE] without finish_reason", [stream_of(HI, DONE)]),
    ("more after [DONE]", [stream_of(HI, STOP, DONE, b"data: {oops\n\n")]),
    ("Content-Length", [reply(HI + STOP + DONE, STREAM)]),
    ("gzip", [reply(gzip.compress(HI + STOP + DONE), STREAM + b"Content-Encoding: gzip\r\n")]),
    ("no content type", [b"HTTP/1.1 200 OK\r\n\r\n" + HI + STOP + DONE]),
    ("CRLF, comments, ids", [stream_of((b": hello\nid: 1\n" + HI + STOP + DONE).replace(b"\n", b"\r\n"))]),
    ("delta null", [stream_of(b'data: {"choices": [{"delta": null}]}\n\n', HI, STOP, DONE)]),
    ("choices null, missing and empty", [stream_of(b'data: {"choices": null}\n\ndata: {}\n\n', HI, STOP, DONE)]),
    ("byte by byte", [bytes([byte]) for byte in CHUNKED + chunk(HI) + chunk(STOP) + chunk(DONE) + b"0\r\n\r\n"]),
]


@for_each("parts", [parts for _, parts in FINE_STREAMS], ids=[name for name, _ in FINE_STREAMS])
def test_a_stream_that_is_merely_unusual_is_read(raw_server, parts):
    chunks = call(raw_server(*parts).url, True)
    assert [chunk.delta for chunk in chunks] == ["Hi", ""]
    assert chunks[-1].done


def called(name=None, arguments=None, **fields):
    return [{**fields, "function": {"name": name, "arguments": arguments}}]


PIECES = [
    ("no index", called("f", "{", id="1"), called(None, "}")),
    ("no id", called("f", "{", index=0), called(None, "}", index=0)),
    ("no name at first", called(None, "", index=0, id="1"), called("f", "{}", index=0)),
    ("no function at first", [{"index": 0, "id": "1"}], called("f", "{}", index=0)),
    ("nothing at first", [{}], called("f", "{}", id="1")),
]


@for_each("pieces", [pieces for _, *pieces in PIECES], ids=[name for name, *_ in PIECES])
def test_tool_calls_with_parts_missing_are_put_together(raw_server, pieces):
    events = [event(tool_calls=each) for each in pieces]
    last = call(raw_server(stream_of(*events, STOP, DONE)).url, True)[-1]
    (made,) = last.tool_calls
    assert (made.name, made.arguments) == ("f", {})
    assert made.id


def test_there_are_at_least_forty_faults():
    assert len(FAULTS) >= 40
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
