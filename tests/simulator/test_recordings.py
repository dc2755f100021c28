"""What a real server answers is recorded, and served again without the server."""

import contextlib
import http.client
import json
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from plain_http import ask

from lmstudio_provider import InvalidRequestError, LMStudioProvider, OllamaProvider, StreamInterruptedError
from lmstudio_provider.simulator import SimulatedLMStudio, SimulatedOllama, record, replay

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "recording.jsonl"


def exchanges(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[1:]]


def replies(path):
    return [exchange["reply"] for exchange in exchanges(path)]


def recorded(url, path, *asked):
    """Record what ``ask`` gets for each of the arguments, and return it."""
    with record(url, path) as server:
        return [ask(server, *arguments) for arguments in asked]


def replayed(path, *asked):
    with replay(path) as server:
        return [ask(server, *arguments) for arguments in asked]


def send(server, data):
    """Send ``data``; return all that comes until the server closes."""
    with socket.create_connection(urlsplit(server.url).netloc.split(":"), timeout=10) as client:
        client.sendall(data)
        return b"".join(iter(lambda: client.recv(65536), b""))


# What does not work


def test_a_request_that_was_not_recorded_gets_an_error_with_the_nearest_and_fails_the_test(path):
    sent = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "temperature": 0.5, "stream": False}
    with SimulatedLMStudio(["m"]) as real:
        recorded(real.url, path, ("GET", "/v1/models"), ("POST", "/v1/chat/completions", sent))
    with pytest.raises(AssertionError) as raised:
        with replay(path) as server:
            other = {**sent, "messages": [{"role": "user", "content": "Hullo"}], "top_p": 1, "stream": 0}
            status, headers, data = ask(server, "POST", "/v1/chat/completions", other)
    message = json.loads(data)["error"]["message"]
    assert (status, headers["Content-Type"]) == (400, "application/json")
    what = "POST /v1/chat/completions was not recorded in recording.jsonl."
    assert message.splitlines() == [
        f"{what} The nearest is request 2, POST /v1/chat/completions, except for:",
        '  json.messages[0].content: recorded "Hello", sent "Hullo"',
        "  json.stream: recorded false, sent 0",
        "  json.top_p: recorded nothing, sent 1",
        "Record it again, or send what was recorded.",
    ]
    assert server.unmatched == [message]
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        (("GET", "/v1/modles"), 'path: recorded "/v1/models", sent "/v1/modles"'),
        (("DELETE", "/v1/models"), 'method: recorded "GET", sent "DELETE"'),
        (("GET", "/v1/models?limit=1"), 'path: recorded "/v1/models", sent "/v1/models?limit=1"'),
        (("POST", "/v1/models", None, b"{not json"), 'body: recorded nothing, sent "{not json"'),
        (("POST", "/v1/models", None, b"\xff"), 'body.base64: recorded nothing, sent "/w=="'),
    ],
)
def test_the_difference_is_shown_for_each_part_of_a_request(path, raw_server, asked, shown):
    recorded(raw_server(OK).url, path, ("GET", "/v1/models"))
    with replay(path) as server:
        _, _, data = ask(server, *asked)
        server.unmatched.clear()
    assert shown in json.loads(data)["error"]["message"]


def test_the_difference_inside_of_a_long_text_is_shown(path, raw_server):
    recorded(raw_server(OK).url, path, ("POST", "/x", {"text": "a" * 9000 + " blue " + "z" * 9000}))
    with replay(path) as server:
        _, _, data = ask(server, "POST", "/x", {"text": "a" * 9000 + " red " + "z" * 9000})
        server.unmatched.clear()
    message = json.loads(data)["error"]["message"]
    assert " blue zzz" in message
    assert " red zzz" in message
    assert len(message) < 600


def test_many_differences_are_counted(path, raw_server):
    recorded(raw_server(OK).url, path, ("POST", "/x", list(range(100))))
    with replay(path) as server:
        _, _, data = ask(server, "POST", "/x", list(range(1, 101)))
        server.unmatched.clear()
    assert json.loads(data)["error"]["message"].splitlines()[-3:-1] == [
        "  json[4]: recorded 4, sent 5",
        "  and 95 more",
    ]


def test_a_recording_of_nothing_answers_nothing(path):
    with record("http://localhost:1", path):
        pass
    with replay(path) as server:
        _, _, data = ask(server, "GET", "/v1/models")
        server.unmatched.clear()
    assert "which holds no requests" in json.loads(data)["error"]["message"]


def test_an_exception_of_the_test_is_not_hidden_by_requests_that_were_not_recorded(path, raw_server):
    recorded(raw_server(OK).url, path, ("GET", "/"))
    with pytest.raises(KeyError), replay(path) as server:
        ask(server, "GET", "/other")
        raise KeyError


def test_a_head_request_that_was_not_recorded_is_refused_too(path, raw_server):
    recorded(raw_server(OK).url, path, ("GET", "/"))
    with replay(path) as server:
        assert ask(server, "HEAD", "/other")[::2] == (400, b"")
        server.unmatched.clear()


def test_clients_report_a_request_that_was_not_recorded(path):
    with SimulatedLMStudio(["m"]) as real, record(real.url, path) as server:
        with LMStudioProvider(server.base_url, model="m", refresh=False) as lm:
            lm.complete("Hello")
    with replay(path) as server, LMStudioProvider(server.base_url, model="m", refresh=False) as lm:
        with pytest.raises(InvalidRequestError, match='recorded "Hello", sent "Hello!"'):
            lm.complete("Hello!")
        server.unmatched.clear()


def test_a_server_that_is_not_there_is_an_error_and_not_recorded(path, closed_port):
    with record(f"http://127.0.0.1:{closed_port}", path) as server:
        status, _, data = ask(server, "POST", "/v1/chat/completions", {})
    assert status == 502
    assert f"http://127.0.0.1:{closed_port} cannot be reached" in json.loads(data)["error"]["message"]
    assert list(path.parent.iterdir()) == []


def test_a_server_that_does_not_speak_http_is_an_error_and_not_recorded(path, raw_server):
    ((status, _, data),) = recorded(raw_server(b"220 smtp ready\r\n").url, path, ("GET", "/"))
    assert (status, b"does not answer in HTTP" in data, path.exists()) == (502, True, False)


@pytest.mark.parametrize(
    "url",
    ["ftp://localhost", "http://", "", "http://localhost:port", "http://localhost:0", "http://h/?a=b", "http://[h"],
)
def test_a_url_that_is_not_that_of_a_server_is_refused(path, url):
    with pytest.raises(ValueError, match="use one such as http://localhost:1234"):
        record(url, path)


@pytest.mark.parametrize("head", [b"Content-Length: many", b"Transfer-Encoding: chunked"])
def test_a_request_whose_body_cannot_be_read_is_refused(path, raw_server, head):
    with record(raw_server(OK).url, path) as server:
        assert send(server, b"POST / HTTP/1.1\r\nHost: x\r\n%b\r\n\r\nzz\r\n" % head).startswith(b"HTTP/1.1 400 ")


def test_a_request_that_cannot_be_sent_on_is_refused(path, raw_server):
    with record(raw_server(OK).url, path) as server:
        assert send(server, b"GET /\xe9 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_a_port_that_is_in_use_is_reported_and_leaves_no_file(path):
    with SimulatedLMStudio() as other:
        with pytest.raises(OSError):  # noqa: PT011 - its text is the system's
            record(other.url, path, port=urlsplit(other.url).port).__enter__()
    assert list(path.parent.iterdir()) == []


# What is repeated


@pytest.mark.parametrize("kind", ["lm-studio", "ollama"])
def test_a_provider_gets_the_same_from_the_recording(path, kind):
    real, provider = {
        "lm-studio": (SimulatedLMStudio, LMStudioProvider),
        "ollama": (SimulatedOllama, OllamaProvider),
    }[kind]

    def use(url):
        with provider(url, refresh=False) as lm:
            models = lm.list_models()
            chunks = list(lm.stream("Why is the sky blü?"))
            return models, lm.complete("Hello").text, chunks, lm.embed(["one", "two"]).vectors

    with real() as server, record(server.url, path) as recorder:
        first = use(recorder.base_url)
    with replay(path) as server:
        assert use(server.base_url) == first
    assert [request["path"] for request in server.requests] == [request["path"] for request in recorder.requests]


def test_an_error_is_repeated(path):
    with SimulatedLMStudio(["m"], jit=False, loaded=[]) as real:
        asked = ("POST", "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "Hi"}]})
        ((status, headers, data),) = recorded(real.url, path, asked)
    ((again, same_headers, same),) = replayed(path, asked)
    assert (status, again, same) == (400, 400, data)
    assert same_headers["Content-Type"] == headers["Content-Type"]


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EURO = "€".encode()


def wait_for(event):
    return lambda connection: event.wait(10) and None


def test_pieces_are_passed_on_at_once_and_repeated_as_they_came(path, raw_server):
    first_came = threading.Event()
    pieces = [b"data: a\n\n", b"data: " + EURO[:1], EURO[1:] + b"\n\ndata: [DONE]\n\n"]
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
    real = raw_server(HEAD + chunks[0], wait_for(first_came), *chunks[1:], b"0\r\n\r\n")
    with record(real.url, path) as server:
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=10)
        connection.request("GET", "/")
        reply = connection.getresponse()
        assert reply.read1() == pieces[0]  # before the others are sent
        first_came.set()
        assert reply.read() == b"".join(pieces[1:])
        connection.close()
    (reply,) = replies(path)
    assert reply["pieces"] == ["data: a\n\n", {"base64": "ZGF0YTog4g=="}, {"base64": "gqwKCmRhdGE6IFtET05FXQoK"}]
    with replay(path) as server:
        raw = send(server, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert raw.partition(b"\r\n\r\n")[2] == b"".join(chunks) + b"0\r\n\r\n"


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 10\r\n\r\n0123456789",
        b"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\n012\r\n7\r\n3456789\r\n0\r\nTrailer: x\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\na\r\n0123456789\r\n0\r\n\r\n",
        b"\r\n0123456789",
    ],
    ids=["length", "chunked", "both", "close"],
)
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_each_framing_of_a_reply_is_understood_and_repeated(path, raw_server, framing, version):
    asked = b"GET / HTTP/%b\r\nHost: x\r\nConnection: close\r\n\r\n" % version
    with record(raw_server(b"HTTP/1.1 200 OK\r\n" + framing).url, path) as server:
        first = send(server, asked)
    with replay(path) as server:
        assert send(server, asked) == first
    (reply,) = replies(path)
    assert "".join(reply["pieces"]) == "0123456789"
    head, _, body = first.partition(b"\r\n\r\n")
    chunked = version == b"1.1" and framing[:8] != b"Content-"
    assert (b"chunked" in head) is chunked
    assert body.endswith(b"\r\n0\r\n\r\n") if chunked else body == b"0123456789"


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_a_reply_without_a_body_has_none_when_it_is_repeated(path, raw_server, status):
    asked = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with record(raw_server(f"HTTP/1.1 {status}\r\nETag: x\r\n\r\n".encode()).url, path) as server:
        first = send(server, asked)
    with replay(path) as server:
        assert send(server, asked) == first
    assert first == f"HTTP/1.1 {status}\r\nETag: x\r\n\r\n".encode()


def test_a_head_request_gets_the_length_and_no_body(path):
    with SimulatedLMStudio() as real:
        first = recorded(real.url, path, ("HEAD", "/v1/models"))
    (again,) = replayed(path, ("HEAD", "/v1/models"))
    assert [(status, headers["Content-Length"], data) for status, headers, data in [*first, again]] == [
        (200, first[0][1]["Content-Length"], b"")
    ] * 2


def test_bytes_that_are_not_text_are_repeated(path, raw_server):
    body = bytes(range(256))
    real = raw_server(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 256\r\n\r\n" + body)
    asked = ("POST", "/upload", None, body[::-1])
    assert recorded(real.url, path, asked)[0][2] == body
    assert replayed(path, asked)[0][2] == body


@pytest.mark.slow
def test_a_large_body_arrives_and_is_recognised(path, raw_server):
    asked = ("POST", "/v1/chat/completions", {"image": "data:image/png;base64," + "A" * 5_000_000})
    real = raw_server(OK)
    assert recorded(real.url, path, asked)[0][0] == 200
    assert len(real.requests[0]) > 5_000_000
    assert replayed(path, asked)[0][0] == 200


def test_a_body_in_chunks_is_the_same_as_one_with_a_length(path, raw_server):
    recorded(raw_server(OK).url, path, ("POST", "/", {"a": [1, 2]}))
    assert replayed(path, ("POST", "/", None, iter([b'{"a":', b" [1,2]}"])))[0][0] == 200


@pytest.mark.parametrize(
    "body",
    [
        b'{"b": {"y": 2, "x": 1}, "a": 0.70, "c": "\\u00fc"}',
        b'{"a":7e-1,"b":{"x":1.0,"y":2e0},"c":"\xc3\xbc"}\n',
    ],
)
def test_json_bodies_are_compared_by_value(path, raw_server, body):
    recorded(raw_server(OK).url, path, ("POST", "/", {"a": 0.7, "b": {"x": 1, "y": 2}, "c": "ü"}))
    assert replayed(path, ("POST", "/", None, body))[0][0] == 200


@pytest.mark.parametrize("body", [b"1", b'"1"', b"[true]", b"[[1]]", b'{"1": 1}', b"null", b"[1.5]", b"[1,1]", b""])
def test_other_values_are_other_requests(path, raw_server, body):
    recorded(raw_server(OK).url, path, ("POST", "/", [1]))
    with replay(path) as server:
        assert ask(server, "POST", "/", data=body)[0] == 400
        server.unmatched.clear()


@pytest.mark.parametrize("body", [b"NaN", b"1e999", b'"\\ud800"', b"[" * 100_000, b'{"a": 1, "a": 2}', b"1" * 5000])
def test_odd_bodies_are_recorded_and_recognised(path, raw_server, body):
    recorded(raw_server(OK).url, path, ("POST", "/", None, body))
    assert replayed(path, ("POST", "/", None, body))[0][0] == 200


def test_the_replies_to_one_request_come_in_their_order_and_then_the_last_one_again(path):
    with SimulatedOllama("m", ["one", "two"]) as real:
        asked = ("POST", "/api/generate", {"model": "m", "prompt": "Count", "stream": False})
        recorded(real.url, path, asked, asked)
    assert [json.loads(data)["response"] for _, _, data in replayed(path, *[asked] * 4)] == ["one", "two", "two", "two"]
    assert [json.loads(data)["response"] for _, _, data in replayed(path, asked)] == ["one"]


@pytest.mark.slow
def test_requests_in_parallel_are_recorded_and_replayed_each_with_its_reply(path):
    def use(server):
        with ThreadPoolExecutor(8) as pool:
            asked = [{"model": "m", "prompt": f"Say {n}", "stream": bool(n % 2)} for n in range(40)]
            return list(pool.map(lambda body: ask(server, "POST", "/api/generate", body)[2], asked))

    with SimulatedOllama("m") as real, record(real.url, path) as server:
        first = use(server)
    with replay(path) as server:
        assert use(server) == first
    assert sorted(exchange["number"] for exchange in exchanges(path)) == list(range(1, 41))


def test_a_connection_is_kept_open_for_the_next_request(path, raw_server):
    twice = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with record(raw_server(OK).url, path) as server:
        assert send(server, twice).count(b"HTTP/1.1 200") == 2
    with replay(path) as server:
        assert send(server, twice).count(b"HTTP/1.1 200") == 2


def test_the_path_of_the_url_is_a_part_of_the_base_url(path, raw_server):
    real = raw_server(OK)
    with record(f"{real.url}/prefix/v1/", path) as server:
        assert server.base_url == f"{server.url}/prefix/v1"
        ask(server, "GET", "/prefix/v1/models?a=b")
    assert real.requests[0].startswith(b"GET /prefix/v1/models?a=b HTTP/1.1\r\n")
    with replay(path) as server:
        assert server.base_url == f"{server.url}/prefix/v1"
        assert ask(server, "GET", "/prefix/v1/models?a=b")[0] == 200


def test_a_url_needs_no_scheme(path, raw_server):
    assert recorded(raw_server(OK).url[len("http://") :], path, ("GET", "/"))[0][0] == 200


def test_headers_go_both_ways_but_for_those_of_the_connection(path, raw_server):
    real = raw_server(
        b"HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nX-Twice: a\r\nX-Twice: b\r\nKeep-Alive: timeout=1\r\n"
        b"Date: today\r\nConnection: X-Hop\r\nX-Hop: 1\r\nContent-Length: 0\r\n\r\n"
    )
    with record(real.url, path) as server:
        head = (
            b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ollama\r\nX-Own: \xfc\r\nAccept-Encoding: gzip\r\n"
            b"Connection: close\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n"
        )
        got = send(server, head)
    assert got == (
        b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nX-Twice: a\r\nX-Twice: b\r\nDate: today\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    sent = real.requests[0].split(b"\r\n")
    assert {b"Authorization: Bearer ollama", b"X-Own: \xfc", b"Accept-Encoding: identity"} <= {*sent}
    assert f"Host: {urlsplit(real.url).netloc}".encode() in sent
    assert not [line for line in sent if line.startswith((b"X-Hop", b"Connection"))]
    with replay(path) as server:
        assert send(server, head) == got.replace(b"Date: today\r\n", b"")


def test_requests_are_kept_as_the_other_stand_ins_keep_them(path, raw_server):
    with record(raw_server(OK).url, path) as server:
        ask(server, "POST", "/x", {"a": 1})
        ask(server, "PUT", "/y", data=b"{")
        host = urlsplit(server.url).netloc
    assert [(each["method"], each["path"], each["body"]) for each in server.requests] == [
        ("POST", "/x", {"a": 1}),
        ("PUT", "/y", None),
    ]
    assert server.requests[0]["headers"]["Host"] == host


def test_a_pause_between_the_pieces_ends_with_the_server(path, raw_server):
    recorded(raw_server(HEAD + b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n").url, path, ("GET", "/"))
    with replay(path, delay_s=3600) as server:
        client = socket.create_connection(urlsplit(server.url).netloc.split(":"), timeout=10)
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
    with client:
        assert b"0\r\n" not in client.recv(100)


# What breaks in the middle


def test_a_reply_that_the_server_breaks_off_breaks_off_again(path, raw_server):
    real = raw_server(HEAD + b"22\r\ndata: {}\n")
    for make in (lambda: record(real.url, path), lambda: replay(path)):
        with make() as server:
            got = send(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert got.endswith(b"\r\n9\r\ndata: {}\n\r\n")
    assert replies(path)[0]["end"] == "broken"


@pytest.mark.parametrize(
    "head", [b"", HEAD, b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n0123", b"HTTP/1.1 200 OK\r\nA"]
)
def test_wherever_the_server_breaks_off_a_client_sees_the_same(path, raw_server, head):
    asked = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    with record(raw_server(head).url, path) as server:
        first = send(server, asked)
    with replay(path) as server:
        assert send(server, asked) == first
    assert replies(path)[0]["end"] == "broken"


def test_a_provider_sees_a_broken_stream_again(path, raw_server):
    frame = b'data: {"choices": [{"delta": {"content": "Hel"}}]}\n\n'
    real = raw_server(HEAD + b"%x\r\n%b\r\n" % (len(frame), frame))
    for make in (lambda: record(real.url, path), lambda: replay(path)):
        with make() as server, LMStudioProvider(server.base_url, model="m", refresh=False) as lm:
            with pytest.raises(StreamInterruptedError) as caught:
                list(lm.stream("Hi"))
            assert caught.value.partial.text == "Hel"


@pytest.mark.parametrize("came", [b"", HEAD + b"1\r\na\r\n"], ids=["before", "within"])
def test_a_client_that_leaves_ends_the_connection_to_the_server(path, raw_server, came):
    asked = threading.Event()
    real = raw_server(came, lambda connection: asked.set() or (connection.recv(1) and None))
    with record(real.url, path) as server:
        with socket.create_connection(urlsplit(server.url).netloc.split(":"), timeout=10) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert asked.wait(10)
            if came:
                assert client.recv(1)
        assert real.client_left.wait(10)
    (reply,) = replies(path)
    assert (reply["status"], reply["pieces"], reply["end"]) == ((200, ["a"], "left") if came else (None, [], "left"))


def test_the_end_of_the_with_statement_ends_what_is_under_way(path, raw_server):
    real = raw_server(HEAD + b"1\r\na\r\n", lambda connection: connection.recv(1) and None)
    with record(real.url, path) as server:
        client = socket.create_connection(urlsplit(server.url).netloc.split(":"), timeout=10)
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        while b"a\r\n" not in client.recv(1000):
            continue
    client.close()
    assert real.client_left.wait(10)
    assert replies(path)[0]["end"] == "left"


def test_a_replay_waits_for_the_client_to_leave_as_the_recorded_one_did(path, raw_server):
    real = raw_server(HEAD + b"1\r\na\r\n", lambda connection: connection.recv(1) and None)
    head = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    for make in (lambda: record(real.url, path), lambda: replay(path)):
        with make() as server:
            with socket.create_connection(urlsplit(server.url).netloc.split(":"), timeout=10) as client:
                client.sendall(head)
                got = b""
                while not got.endswith(b"1\r\na\r\n"):
                    got += client.recv(1000)
                client.shutdown(socket.SHUT_WR)
                assert client.recv(1000) == b""


def test_a_stream_that_the_caller_closes_is_replayed_as_far_as_it_came(path):
    def use(url):
        with LMStudioProvider(url, model="m", refresh=False) as lm, lm.stream("Hi") as stream:
            return next(iter(stream)).delta

    with SimulatedLMStudio(["m"], ["one two three"], delay_s=0.01) as real, record(real.url, path) as server:
        assert use(server.base_url) == "one"
    with replay(path) as server:
        assert use(server.base_url) == "one"


def test_a_request_that_waits_in_the_connection_is_answered_after_the_first(path, raw_server):
    go = threading.Event()
    real = raw_server(wait_for(go), OK)
    with record(real.url, path) as server:
        with socket.create_connection(urlsplit(server.url).netloc.split(":"), timeout=10) as client:
            client.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
            client.sendall(b"GET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            go.set()
            assert b"".join(iter(lambda: client.recv(1000), b"")).count(b"HTTP/1.1 200") == 2


def test_a_server_that_refuses_a_body_before_it_has_read_it_is_heard(path, raw_server):
    def refuse(connection):
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    real = raw_server(refuse)
    assert recorded(real.url, path, ("POST", "/", None, b"x" * 3_000_000))[0][0] == 413


# HTTPS

TLS = Path(__file__).parent.parent / "tls"


@pytest.fixture
def tls_server():
    """The URL of a server that speaks TLS and sends a stream; ``left`` is set when its client has left."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "certificate.pem", TLS / "key.pem")
    left = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
                        asked = secure.recv(65536)
                        secure.sendall(HEAD + b"1\r\na\r\n")
                        if asked.startswith(b"GET /whole"):
                            secure.sendall(b"1\r\nb\r\n0\r\n\r\n")
                        secure.recv(1)
                        left.set()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"https://localhost:{listener.getsockname()[1]}", left
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_a_server_that_speaks_tls_is_recorded_and_left_when_the_client_leaves(path, tls_server):
    url, left = tls_server
    with record(url, path, ssl_context=ssl.create_default_context(cafile=TLS / "certificate.pem")) as server:
        assert ask(server, "GET", "/whole")[2] == b"ab"
        assert left.wait(10)
        left.clear()
        with socket.create_connection(urlsplit(server.url).netloc.split(":"), timeout=10) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            while b"a\r\n" not in client.recv(1000):
                continue
        assert left.wait(10)
    assert [reply["end"] for reply in replies(path)] == ["complete", "left"]


def test_a_certificate_that_is_not_trusted_is_an_error(path, tls_server):
    ((status, _, data),) = recorded(tls_server[0], path, ("GET", "/whole"))
    assert (status, b"CERTIFICATE_VERIFY_FAILED" in data, path.exists()) == (502, True, False)
