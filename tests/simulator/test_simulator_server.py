"""HTTP, which both stand-ins share."""

import errno
import json
import socket
import struct
import threading
from urllib.parse import urlsplit

import pytest
from plain_http import HI, ask
from tables import for_each

from lmstudio_provider.simulator import SimulatedLMStudio, SimulatedOllama, record, replay
from lmstudio_provider.simulator._server import Handler


@for_each("method", ["PUT", "PATCH", "OPTIONS"])
def test_another_method_is_answered_as_a_real_server_does(method):
    with SimulatedLMStudio() as one, SimulatedOllama() as other:
        status, _, data = ask(one, method, "/v1/models")
        assert (status, b"Unexpected endpoint or method" in data) == (200, True)
        assert ask(other, method, "/api/chat")[0] == 405


def test_a_body_in_chunks_is_read():
    pieces = (
        json.dumps({"model": "m", "messages": HI, "stream": False})[at : at + 7].encode() for at in range(0, 99, 7)
    )
    with SimulatedOllama("m", "Hello") as server:
        status, _, data = ask(server, "POST", "/api/chat", data=pieces)
    assert (status, json.loads(data)["message"]["content"]) == (200, "Hello")


def test_a_head_request_gets_the_length_and_not_the_body():
    with SimulatedLMStudio() as server:
        status, headers, data = ask(server, "HEAD", "/v1/models")
    assert (status, data, int(headers["Content-Length"]) > 0) == (200, b"", True)


@pytest.mark.parametrize("head", ["Content-Length: many", "Transfer-Encoding: chunked"])
def test_a_body_whose_length_cannot_be_read_is_refused(head):
    with SimulatedLMStudio() as server:
        with socket.create_connection(urlsplit(server.url).netloc.split(":"), timeout=10) as client:
            client.sendall(f"POST /v1/models HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\nzz\r\n".encode())
            assert client.recv(100).startswith(b"HTTP/1.1 400 ")


@for_each(
    ("name", "hint"),
    [
        ("reply", "did you mean 'replies'?"),
        ("delays_s", "did you mean 'delay_s'?"),
        ("faults", "did you mean 'fault'?"),
        ("models", "cannot be set, only delay_s, fault, first_byte_s, replies, requests"),
        ("api_token", "cannot be set, only "),
    ],
)
@for_each("kind", [SimulatedLMStudio, SimulatedOllama])
def test_setting_what_a_running_server_does_not_read_names_what_it_reads(kind, name, hint):
    with kind() as server, pytest.raises(AttributeError) as caught:
        setattr(server, name, "x")
    assert f"{name!r} of a running {kind.__name__} cannot be set" in str(caught.value)
    assert hint in str(caught.value)


@for_each(
    ("name", "value"), [("replies", "x"), ("fault", None), ("delay_s", 0.1), ("first_byte_s", 0), ("requests", [])]
)
def test_what_a_running_server_reads_can_be_set(name, value):
    with SimulatedLMStudio() as server:
        setattr(server, name, value)
        assert getattr(server, name) == value


def test_a_replay_has_less_to_set(tmp_path):
    with SimulatedLMStudio() as server, record(server.url, tmp_path / "a.jsonl") as recorder:
        with pytest.raises(AttributeError, match="of a running record cannot be set, only requests"):
            recorder.replies = "x"
        ask(recorder, "GET", "/v1/models")
    with replay(tmp_path / "a.jsonl") as replayed:
        replayed.delay_s = 0.01
        with pytest.raises(AttributeError, match="'replies' of a running replay cannot be set"):
            replayed.replies = "x"


def test_a_subclass_may_have_attributes_of_its_own():
    class Counting(SimulatedLMStudio):
        def __init__(self):
            super().__init__()
            self.count = 0

    with Counting() as server:
        server.count = 1
        assert server.count == 1


def test_a_port_that_is_taken_is_named():
    with SimulatedLMStudio() as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port} ") as caught:
            SimulatedLMStudio(port=port).__enter__()
    assert caught.value.errno == errno.EADDRINUSE


def test_a_client_that_resets_its_connection_within_a_reply_leaves_no_file_open(monkeypatch):
    finished = []

    def finish(handler):
        finish_it(handler)
        finished.append((handler.rfile.closed, handler.wfile.closed))

    def reply(_request):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        left.set()
        return "Hello"

    left = threading.Event()
    finish_it = Handler.finish
    monkeypatch.setattr(Handler, "finish", finish)
    with SimulatedOllama("m", reply) as server:
        client = socket.create_connection(urlsplit(server.url).netloc.split(":"), timeout=10)
        body = json.dumps({"model": "m", "messages": HI}).encode()
        client.sendall(b"POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        assert left.wait(10)
    assert finished == [(True, True)]


def test_a_client_that_is_slow_to_read_gets_the_whole_reply(monkeypatch):
    monkeypatch.setattr(Handler, "timeout", 0.1)
    text = "x" * 20_000_000  # more than the buffers of two sockets hold
    with SimulatedLMStudio(replies=[text]) as server:
        with socket.create_connection(urlsplit(server.url).netloc.split(":"), timeout=60) as client:
            body = json.dumps({"messages": HI}).encode()
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            client.sendall(head % len(body) + body)
            threading.Event().wait(0.5)  # what it waits for is that the server's limit passes
            assert len(b"".join(iter(lambda: client.recv(1 << 20), b""))) > len(text)
