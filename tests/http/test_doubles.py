"""Responses that do not come from our connections: from a manager that answers itself, and recordings like vcr.py's."""

import gzip
import http.client
import io
import select
import socket
import time

import pytest
import urllib3
from tables import for_each

from lmstudio_provider import ProtocolError, RequestTimeoutError, ServerError, ServerUnavailableError, Timeouts

HI = b'data: {"choices": [{"delta": {"content": "Hi"}}]}\n\n'
STOP = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
BODY = b'{"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}'


class Answering(urllib3.PoolManager):
    """Answers by itself, with what ``make`` makes, as the doubles of tests and of recordings do."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def urlopen(self, method, url, **options):
        return self.make()


SSE = {"Content-Type": "text/event-stream"}


class Minimal:
    """A response with only the public attributes."""

    def __init__(self, body, headers=()):
        self.status, self.headers, self._pieces = 200, dict(headers), [body[:7], body[7:]]

    def stream(self, amt, decode_content=None):
        yield from self._pieces

    def close(self):
        pass

    release_conn = close


class Reading:
    """A file that can be read and closed, and nothing else."""

    closed = False

    def __init__(self, body):
        self._pieces = iter([body[:7], body[7:], b""])

    def read(self, amt):
        return next(self._pieces)

    def close(self):
        self.closed = True


def plain(body, headers=None):
    return urllib3.HTTPResponse(io.BytesIO(body), headers, 200, preload_content=False)


RESPONSES = {
    "a file": plain,
    "a file without read1": lambda body, headers=None: urllib3.HTTPResponse(
        Reading(body), headers, 200, preload_content=False
    ),
    "a file, read ahead": lambda body, headers=None: urllib3.HTTPResponse(io.BytesIO(body), headers, 200),
    "bytes": lambda body, headers=None: urllib3.HTTPResponse(body, headers, 200, preload_content=False),
    "no private attribute": lambda body, headers=(): Minimal(body, headers),
    "compressed": lambda body, headers=None: plain(
        gzip.compress(body), {**(headers or {}), "Content-Encoding": "gzip"}
    ),
}


@for_each("make", RESPONSES.values(), ids=RESPONSES)
def test_a_response_that_is_not_of_our_connections_is_read(provider_of, make):
    lm = provider_of("http://lmstudio.invalid", http=Answering(lambda: make(BODY)))
    assert [lm.complete("Hi").text for _ in range(2)] == ["Hello", "Hello"]


def test_a_response_that_is_not_of_our_connections_is_closed_after_the_last_event(provider_of):
    class Closing(Minimal):
        closings = 0

        def close(self):
            self.closings += 1

    response = Closing(HI + STOP + DONE, SSE)
    lm = provider_of("http://lmstudio.invalid", http=Answering(lambda: response))
    assert "".join(lm.stream("Hi").text()) == "Hi"
    assert response.closings == 1


@for_each("make", RESPONSES.values(), ids=RESPONSES)
def test_a_stream_that_is_not_of_our_connections_is_read(provider_of, make):
    lm = provider_of("http://lmstudio.invalid", http=Answering(lambda: make(HI + HI + STOP + DONE, SSE)))
    with lm.stream("Hi") as stream:
        assert "".join(stream.text()) == "HiHi"
    with lm.stream("Hi") as stream:
        next(stream)
    assert stream.completion.text.startswith("Hi")


def test_an_error_that_is_not_of_our_connections_is_one(provider_of):
    page = b"<title>502 Bad Gateway</title>"
    lm = provider_of("http://lmstudio.invalid", http=Answering(lambda: urllib3.HTTPResponse(io.BytesIO(page), {}, 502)))
    with pytest.raises(ServerError, match="502 Bad Gateway"):
        lm.complete("Hi")


class Broken(io.BytesIO):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def read(self, *amount):
        raise self.error


@for_each(
    ("error", "kind"),
    [
        (OSError("gone"), ServerUnavailableError),
        (http.client.IncompleteRead(b"", 9), ProtocolError),
        (socket.timeout("slow"), RequestTimeoutError),
    ],
)
def test_nothing_of_urllib3_gets_out_of_a_response_that_is_not_of_our_connections(provider_of, error, kind):
    response = urllib3.HTTPResponse(Broken(error), {}, 200, preload_content=False)
    with pytest.raises(kind) as caught:
        provider_of("http://lmstudio.invalid", http=Answering(lambda: response)).complete("Hi", timeout=7)
    assert caught.value.sent


@for_each(
    ("error", "sent"),
    [
        (urllib3.exceptions.NewConnectionError(None, "refused"), False),
        (urllib3.exceptions.ProtocolError("Connection aborted.", ConnectionResetError()), True),
        (urllib3.exceptions.ReadTimeoutError(None, "", "Read timed out."), True),
        (ConnectionRefusedError("refused"), False),
    ],
)
def test_a_generation_that_such_a_manager_may_have_sent_is_not_sent_again(provider_of, error, sent):
    calls = []

    def fail():
        calls.append(1)
        raise error

    with pytest.raises((ServerUnavailableError, RequestTimeoutError)) as caught:
        provider_of("http://lmstudio.invalid", http=Answering(fail), timeout=7).complete("Hi")
    assert caught.value.sent is sent
    assert getattr(caught.value, "waited_s", 0) < 5
    assert getattr(caught.value, "limit", "first_byte") == "first_byte"
    again = not sent and not caught.value.refused
    assert len(calls) == (3 if again else 1)


@pytest.mark.parametrize("kind", [urllib3.HTTPConnectionPool, urllib3.PoolManager])
def test_a_urlopen_that_is_exchanged_for_a_while_is_used_at_once(raw_server, provider_of, monkeypatch, kind):
    server = raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY), keep_open=True)
    lm = provider_of(server)
    assert lm.complete("Hi").text == "Hello"
    with monkeypatch.context() as patch:
        patch.setattr(kind, "urlopen", lambda *arguments, **options: plain(BODY.replace(b"Hello", b"Made up")))
        assert lm.complete("Hi").text == "Made up"
    assert lm.complete("Hi").text == "Hello"
    assert (server.accepted, len(server.requests)) == (1, 2)


def test_a_connection_that_speaks_http_in_its_own_way_goes_on_doing_so(provider_of):
    class Connection(urllib3.connection.HTTPConnection):
        def request(self, *arguments, **options):
            self.sock = socket.socket()

        def getresponse(self):
            response = plain(BODY)
            response.msg, response.length = response.headers, None  # which urllib3 1.26 wants
            return response

    class Pool(urllib3.HTTPConnectionPool):
        ConnectionCls = Connection

    manager = urllib3.PoolManager()
    manager.pool_classes_by_scheme = {"http": Pool}
    assert provider_of("http://lmstudio.invalid", http=manager).complete("Hi").text == "Hello"
    manager.clear()


def test_a_connection_class_that_is_exchanged_for_a_while_is_used_at_once(raw_server, provider_of, monkeypatch):
    """As vcr.py does, whose connections only stand in for some."""
    server = raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY), keep_open=True)
    lm = provider_of(server)
    assert lm.complete("Hi").text == "Hello"

    class Recorded:
        def __init__(self, **options):
            self.auto_open = self.proxy = self.sock = self.debuglevel = self.timeout = None
            self.is_closed = self.is_verified = self.has_connected_to_proxy = False

        def request(self, *arguments, **options):
            pass

        def getresponse(self, **options):
            response = plain(BODY.replace(b"Hello", b"Recorded"))
            response.msg, response.length = response.headers, None  # which urllib3 1.26 wants
            return response

        def close(self):
            pass

    with monkeypatch.context() as patch:
        patch.setattr(urllib3.HTTPConnectionPool, "ConnectionCls", Recorded)
        lm.reset_client()
        assert lm.complete("Hi").text == "Recorded"
    lm.reset_client()
    assert lm.complete("Hi").text == "Hello"


class Passing(urllib3.PoolManager):
    """Has a ``urlopen`` of its own, as instrumentation has, and passes on what urllib3 makes."""

    def urlopen(self, method, url, **options):
        return super().urlopen(method, url, **options)


def test_a_limit_that_only_the_manager_has_is_a_timeout(silent_server, provider_of):
    class Limited(urllib3.PoolManager):
        def urlopen(self, method, url, **options):
            return super().urlopen(method, url, **{**options, "timeout": urllib3.Timeout(0.1)})

    lm = provider_of(silent_server, http=Limited(), timeout=None)
    with pytest.raises(RequestTimeoutError, match=r"timeout is 0\.1"):
        lm.complete("Hi", model="m")


def test_such_a_manager_gets_all_of_the_request_and_no_leave_to_redirect_or_retry(provider_of):
    asked = []

    class Noting(urllib3.PoolManager):
        def urlopen(self, method, url, **options):
            asked.append({"method": method, "url": url, **options})
            return plain(BODY)

    lm = provider_of("http://lmstudio.invalid:1234/v1", http=Noting(headers={"X-Team": "blue"}), api_token="abc-123")
    assert lm.complete("Hi", model="m", timeout=Timeouts(3, 5, 7)).text == "Hello"
    (options,) = asked
    assert (options["method"], options["url"]) == ("POST", "http://lmstudio.invalid:1234/v1/chat/completions")
    assert b'"Hi"' in options["body"]
    assert options["headers"].items() >= {"X-Team": "blue", "Authorization": "Bearer abc-123"}.items()
    assert (options["timeout"].connect_timeout, options["timeout"].read_timeout) == (3, 5)
    assert not any(options[name] for name in ("redirect", "retries", "preload_content", "decode_content"))


def in_chunks(*parts):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


def stall(connection):
    """Send nothing for two seconds, or until the client leaves."""
    select.select([connection], [], [], 2)


def test_the_limit_between_bytes_holds_for_a_manager_with_its_own_urlopen(raw_server, provider_of):
    lm = provider_of(raw_server(in_chunks(HI), stall), http=Passing())
    started = time.monotonic()
    with pytest.raises(RequestTimeoutError) as caught:
        list(lm.stream("Hi", model="m", timeout=Timeouts(first_byte=20, idle=0.3)))
    assert caught.value.limit == "idle"
    assert time.monotonic() - started < 1.5


READS_WHAT_IS_THERE = pytest.mark.skipif(
    not hasattr(urllib3.HTTPResponse, "read1"), reason="urllib3 1.26 reads whole pieces only"
)


@READS_WHAT_IS_THERE
@for_each("head", [b"Content-Length: 1000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n"])
def test_a_body_that_trickles_to_such_a_manager_cannot_outlive_the_deadline(raw_server, provider_of, head):
    def trickle(connection):
        for _ in range(20):
            connection.sendall(b" ")
            time.sleep(0.1)

    lm = provider_of(raw_server(b"HTTP/1.1 200 OK\r\n" + head, trickle), http=Passing())
    started = time.monotonic()
    with pytest.raises(RequestTimeoutError) as caught:
        lm.chat("Hi", model="m", deadline=0.2)
    assert caught.value.limit == "deadline"
    assert time.monotonic() - started < 1.5


def test_a_complete_stream_of_such_a_manager_does_not_wait_for_the_end_of_its_body(raw_server, provider_of):
    lm = provider_of(raw_server(in_chunks(HI, STOP, DONE), stall), http=Passing())
    started = time.monotonic()
    assert "".join(chunk.delta for chunk in lm.stream("Hi", model="m")) == "Hi"
    assert time.monotonic() - started < 1.5


def test_closing_a_stream_of_such_a_manager_wakes_the_thread_that_reads(raw_server, provider_of, in_background):
    stream = provider_of(raw_server(in_chunks(HI), stall), http=Passing()).stream("Hi", model="m")
    assert next(stream).delta == "Hi"
    rest, started = in_background(list, stream), time.monotonic()
    time.sleep(0.2)
    stream.close()
    assert rest.result(5) == []
    assert time.monotonic() - started < 1.5


@READS_WHAT_IS_THERE
def test_a_stream_without_chunks_of_such_a_manager_is_handed_over_when_it_arrives(raw_server, provider_of):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    started = time.monotonic()
    stream = provider_of(raw_server(head + HI, stall, STOP), http=Passing()).stream("Hi", model="m")
    assert next(stream).delta == "Hi"
    assert time.monotonic() - started < 1.5
