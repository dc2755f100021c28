"""What happens where things overlap: closing and reading, calls inside calls, proxies, forks, the garbage collector."""

import gc
import gzip
import json
import logging
import os
import socket
import threading
import time
import weakref

import pytest
import urllib3
from raw import stream_of
from tables import for_each

from lmstudio_provider import (
    AuthenticationError,
    MemoryUsage,
    ProviderClosedError,
    ProviderError,
    RequestTimeoutError,
    ServerError,
    Timeouts,
)
from lmstudio_provider._core.types import Call

HI = b'data: {"choices": [{"delta": {"content": "Hi"}}]}\n\n'
STOP = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
BODY = b'{"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


def silence(connection):
    """Say nothing until the client has left."""
    while connection.recv(65536):
        continue


def test_closing_inside_the_body_of_a_reply_is_closing_during_a_call(raw_server, provider_of, in_background):
    halfway = threading.Event()
    server = raw_server(OK[:-9], lambda connection: (halfway.set(), connection.recv(1)))
    usage = MemoryUsage()
    lm = provider_of(server.url, usage=usage)
    asking = in_background(lm.complete, "Hi")
    assert halfway.wait(5)
    time.sleep(0.05)  # so that the first half is read, most likely
    lm.close()
    with pytest.raises(ProviderClosedError) as caught:
        asking.result(10)
    assert "under way" in str(caught.value)
    assert caught.value.sent
    assert [record.status for record in usage.records] == ["cancelled"]


def test_closing_the_provider_settles_a_stream_that_is_not_read(raw_server, provider_of):
    server = raw_server(stream_of(HI), silence)
    usage = MemoryUsage()
    lm = provider_of(server.url, usage=usage)
    stream = lm.stream("Hi")
    next(stream)
    lm.close()
    assert server.client_left.wait(5)
    assert stream.completion.text == "Hi"
    assert [record.status for record in usage.records] == ["cancelled"]


def test_a_call_inside_a_call_harms_neither(simulator, provider_of):
    """urllib3 logs in the middle of a request, and a log handler may make another call."""
    lm = provider_of(simulator.url)
    inner = []

    class Asking(logging.Handler):
        def emit(self, record):
            if not inner:
                inner.append(None)
                inner.append(lm.health_check())

    log = logging.getLogger("urllib3.connectionpool")
    handler, level = Asking(), log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        assert lm.complete("Hi").text.endswith("Hi")
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    assert inner[1].ok


@pytest.mark.slow
@for_each(
    ("arguments", "limit"),
    [
        ({"timeout": Timeouts(connect=0.2, first_byte=30)}, "connect"),
        ({"timeout": None, "deadline": 0.2}, "deadline"),
    ],
)
@for_each("answer", [b"", b"HTTP/1.1 200 Go\r\n\r\n"])
def test_a_tunnel_through_a_proxy_counts_as_connecting(raw_server, provider_of, answer, arguments, limit):
    """The proxy never answers CONNECT, or the server behind it never answers the TLS handshake."""
    proxy = raw_server(answer, silence)
    lm = provider_of("https://lmstudio.invalid", http=urllib3.ProxyManager(proxy.url), max_retries=0)
    with pytest.raises(RequestTimeoutError) as caught:
        lm.complete("Hi", **arguments)
    assert (caught.value.limit, caught.value.sent) == (limit, False)
    assert proxy.requests[0].startswith(b"CONNECT lmstudio.invalid:443 ")


def test_closing_the_provider_ends_a_handshake_behind_a_proxy(raw_server, provider_of, in_background):
    tunnelled = threading.Event()
    proxy = raw_server(b"HTTP/1.1 200 Go\r\n\r\n", lambda connection: (tunnelled.set(), silence(connection)))
    lm = provider_of("https://lmstudio.invalid", http=urllib3.ProxyManager(proxy.url), max_retries=0)
    asking = in_background(lm.complete, "Hi")
    assert tunnelled.wait(5)
    time.sleep(0.05)  # so that the handshake has begun, most likely
    lm.close()
    with pytest.raises(ProviderClosedError) as caught:
        asking.result(10)
    assert "closed" in str(caught.value)


def test_headers_of_a_manager_and_a_password_are_secrets_and_a_content_type_is_none(raw_server, provider_of):
    said = json.dumps({"error": "key-of-the-team, s3cret-password, application/octet-stream"}).encode()
    server = raw_server(b"HTTP/1.1 500 X\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said))
    manager = urllib3.PoolManager(headers={"X-Api-Key": "key-of-the-team"})
    url = server.url.replace("http://", "http://ann:s3cret-password@")
    lm = provider_of(url, http=manager, headers={"Content-Type": "application/json; charset=utf-8"})
    with pytest.raises(ServerError) as caught:
        lm.complete("Hi")
    shown = str(caught.value) + caught.value.body
    assert "key-of" not in shown
    assert "s3cret" not in shown
    assert "application/octet-stream" in shown


@pytest.mark.slow
def test_a_server_that_does_not_read_is_reported_as_such(provider_of):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        lm = provider_of(f"http://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(RequestTimeoutError, match="did not take the request") as caught:
            lm.complete("x" * 50_000_000, timeout=0.2)
    assert caught.value.sent


@pytest.mark.slow
@for_each("interim", [b"100 Continue", b"102 Processing", b"103 Early Hints"])
def test_after_an_interim_reply_the_model_may_be_silent_still(raw_server, provider_of, interim):
    server = raw_server(b"HTTP/1.1 %b\r\n\r\n" % interim, lambda _: time.sleep(0.4), OK)
    assert provider_of(server.url).complete("Hi", timeout=Timeouts(first_byte=10, idle=0.1)).text == "Hello"


def test_a_reply_is_whole_when_silence_follows_its_finish_reason(raw_server, provider_of):
    server = raw_server(stream_of(HI, STOP), silence)
    completion = provider_of(server.url).stream("Hi", lambda chunk: None, timeout=Timeouts(idle=0.1))
    assert (completion.text, completion.finish_reason) == ("Hi", "stop")


def test_an_empty_body_is_empty_compressed_or_not(raw_server, provider_of):
    server = raw_server(b"HTTP/1.1 401 X\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(AuthenticationError):
        provider_of(server.url).complete("Hi")


def test_a_stream_in_a_cycle_is_closed_and_recorded_when_it_is_collected(raw_server, provider_of):
    server = raw_server(stream_of(HI), silence)
    usage = MemoryUsage()
    lm = provider_of(server.url, usage=usage)
    stream = lm.stream("Hi")
    next(stream)
    cycle = [stream]
    cycle.append(cycle)
    del stream, cycle
    gc.collect()
    assert server.client_left.wait(5)
    assert [record.status for record in usage.records] == ["cancelled"]


FAILING = {
    "refused by the server": [b"HTTP/1.1 400 X\r\nContent-Length: 0\r\n\r\n"],
    "closed at once": [b""],
    "no HTTP": [b"junk\r\n\r\n"],
    "half a reply": [OK[:-9]],
    "broken compression": [
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\n" + gzip.compress(b"x")[:9]
    ],
    "no JSON": [b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{"],
}


@for_each("streaming", [False, True])
@for_each("parts", FAILING.values(), ids=FAILING.keys())
def test_an_error_that_is_gone_keeps_nothing_of_its_call(raw_server, provider_of, parts, streaming):
    """Without the garbage collector: prompts with images are megabytes, and it may not come for a long time."""
    lm = provider_of(raw_server(*parts).url, max_retries=0)
    gc.collect()
    others = {id(each) for each in gc.get_objects() if isinstance(each, Call)}  # the constants of other tests
    gc.disable()
    try:
        try:
            list(lm.stream("Hi")) if streaming else lm.complete("Hi")
        except ProviderError as error:
            gone = weakref.ref(error)
        assert gone() is None
        assert {id(each) for each in gc.get_objects() if isinstance(each, Call)} <= others
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_cannot_read_its_parents_stream_and_does_not_hang(raw_server, provider_of):
    lm = provider_of(raw_server(stream_of(HI), silence).url)
    stream = lm.stream("Hi")
    next(stream)
    waiting = threading.Thread(target=lambda: next(stream, None))
    waiting.start()
    time.sleep(0.05)  # so that it holds the stream, most likely
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            next(stream)
        except ProviderError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert b"belongs to the process that opened it" in pipe.read()
    os.waitpid(child, 0)
    stream.close()
    waiting.join(5)
    assert not waiting.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_of_a_fork_cannot_take_what_has_come_of_its_parents_stream(raw_server, provider_of):
    stream = provider_of(raw_server(stream_of(HI, HI, STOP)).url).stream("Hi")
    next(stream)
    refused = []
    child = os.fork()
    if child == 0:
        try:
            grandchild = os.fork()
            try:
                next(stream)
            except ProviderError:
                refused.append(True)
            if grandchild:
                refused.append(os.waitpid(grandchild, 0)[1] == 0)
        finally:
            os._exit(not (refused and all(refused)))
    assert os.waitpid(child, 0)[1] == 0
    assert next(stream).delta == "Hi"
