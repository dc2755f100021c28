"""What happens between the socket and the reply: time, retries, connections."""

import contextlib
import errno
import http.client
import re
import socket
import threading
import time
import zlib

import pytest
import urllib3
from raw import stream_of
from tables import for_each

from lmstudio_provider import (
    ConfigurationError,
    LMStudioProvider,
    MemoryUsage,
    Message,
    OllamaProvider,
    ProtocolError,
    ProviderClosedError,
    ProviderError,
    RateLimitError,
    RequestTimeoutError,
    ServerUnavailableError,
    StreamInterruptedError,
    Timeouts,
)
from lmstudio_provider._core.types import Call, Limits
from lmstudio_provider._http.exchange import CancelledCall, Deadline, Exchange
from lmstudio_provider._http.transport import Transport, backoff

HI = b'data: {"choices": [{"delta": {"content": "Hi"}}]}\n\n'
STOP = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
BODY = b'{"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}'


def ok(body=BODY, *headers):
    head = [b"HTTP/1.1 200 OK", b"Content-Type: application/json", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def status(code, *headers):
    return b"\r\n".join([b"HTTP/1.1 %d X" % code, b"Content-Length: 2", *headers]) + b"\r\n\r\n{}"


def chunked(*pieces, end=True):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + (b"0\r\n\r\n" if end else b"")


def reset(connection):
    """Close so that the client sees a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()


# Time


@pytest.mark.parametrize(
    ("arguments", "limit"),
    [
        ({"timeout": 0.1}, "first_byte"),
        ({"timeout": Timeouts(first_byte=0.1)}, "first_byte"),
        ({"deadline": 0.1}, "deadline"),
        ({"timeout": 5, "deadline": 0.1}, "deadline"),
    ],
)
@pytest.mark.parametrize("method", ["complete", "stream"])
def test_a_server_that_never_answers_runs_into_its_limit(silent_server, provider_of, method, arguments, limit):
    usage = MemoryUsage()
    with pytest.raises(RequestTimeoutError) as caught:
        getattr(provider_of(silent_server, usage=usage), method)("Hi", **arguments)
    error = caught.value
    assert error.limit == limit
    assert 0.05 < error.waited_s < 5
    assert error.sent
    assert limit in str(error)
    assert "Raise" in error.hint
    assert len(silent_server.requests) == 1
    assert [record.status for record in usage.records] == ["timeout"]


def test_the_timeout_of_the_provider_holds_and_that_of_the_call_wins(silent_server, provider_of):
    lm = provider_of(silent_server, timeout=60)
    with pytest.raises(RequestTimeoutError, match=r"timeout is 0\.1 s"):
        lm.complete("Hi", timeout=0.1)
    with pytest.raises(RequestTimeoutError, match=r"timeout is 0\.1 s"):
        provider_of(silent_server, timeout=0.1).list_models()
    with pytest.raises(RequestTimeoutError) as caught:
        lm.list_models(timeout=0.1)
    assert "Raise timeout=" in caught.value.hint


def test_a_timeout_that_came_from_a_setting_is_named_in_its_unit(silent_server, provider_of, monkeypatch):
    monkeypatch.setenv("LM_STUDIO_TIMEOUT", "100")
    with pytest.raises(RequestTimeoutError) as caught:
        provider_of(silent_server).complete("Hi")
    assert "it came from the environment variable LM_STUDIO_TIMEOUT, in milliseconds" in caught.value.hint


def test_the_error_names_the_deadline_that_was_given(silent_server):
    with LMStudioProvider(silent_server.url) as lm:  # whose models are waited for at first
        with pytest.raises(RequestTimeoutError, match=r"deadline is 0\.3 s") as caught:
            lm.complete("Hi", deadline=0.3)
    assert 0.3 <= caught.value.waited_s < 3


def test_a_connection_that_hangs_runs_into_the_limit_to_connect(hanging_url, provider_of):
    usage = MemoryUsage()
    lm = provider_of(hanging_url, usage=usage)
    with pytest.raises(RequestTimeoutError, match="a connection did not come") as caught:
        lm.complete("Hi", timeout=Timeouts(connect=0.1))
    assert (caught.value.limit, caught.value.sent) == ("connect", False)
    with pytest.raises(RequestTimeoutError) as caught:
        lm.complete("Hi", deadline=0.1)
    assert caught.value.limit == "deadline"
    assert usage.records == ()


def test_a_call_that_ctrl_c_ends_before_it_was_sent_is_not_recorded(simulator, provider_of, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    usage = MemoryUsage()
    lm = provider_of(simulator, usage=usage)
    monkeypatch.setattr("lmstudio_provider._http.connection.dial", interrupted)
    for ask in (lm.complete, lambda text, model: list(lm.stream(text, model=model))):
        with pytest.raises(KeyboardInterrupt):
            ask("Hi", model="m")
    assert (usage.records, simulator.requests) == ((), [])


def test_a_stream_that_stalls_keeps_the_text_that_came(raw_server, provider_of):
    server = raw_server(stream_of(HI), lambda connection: connection.recv(1) and None)
    stream = provider_of(server).stream("Hi", timeout=Timeouts(idle=0.1))
    assert next(stream).delta == "Hi"
    with pytest.raises(RequestTimeoutError) as caught:
        next(stream)
    assert caught.value.limit == "idle"
    assert caught.value.partial.text == stream.completion.text == "Hi"
    assert server.client_left.wait(5)


@pytest.mark.slow
def test_headers_do_not_end_the_wait_for_the_first_byte_of_the_reply(raw_server, provider_of):
    proceed = threading.Event()
    server = raw_server(stream_of(), lambda _: proceed.wait(5) and None, HI, STOP, DONE)
    stream = provider_of(server).stream("Hi", timeout=Timeouts(first_byte=10, idle=0.5))
    threading.Timer(1.0, proceed.set).start()
    assert "".join(stream.text()) == "Hi"


def test_a_server_that_trickles_cannot_outlive_the_deadline(raw_server, provider_of):
    def trickle(connection):
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X-Slow: 1\r\n" * 1000:
            connection.sendall(bytes([byte]))
            time.sleep(0.02)

    with pytest.raises(RequestTimeoutError) as caught:
        provider_of(raw_server(trickle)).complete("Hi", deadline=0.3)
    assert caught.value.limit == "deadline"
    assert caught.value.waited_s < 2


@pytest.mark.parametrize("timeout", [None, Timeouts(None, None, None)])
def test_a_timeout_of_none_is_allowed(raw_server, provider_of, timeout):
    server = raw_server(ok())
    assert provider_of(server, timeout=timeout).complete("Hi").text == "Hello"


# Never twice


@for_each(
    "part",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        status(500),
        status(500, b"Retry-After: 0"),
        status(429),
        status(503, b"Retry-After: 11"),
    ],
)
@for_each("method", ["complete", "stream"])
def test_a_generation_that_was_sent_is_not_sent_again(raw_server, provider_of, part, method):
    server = raw_server(part)
    with pytest.raises(ProviderError) as caught:
        list(getattr(provider_of(server), method)("Hi"))
    assert caught.value.sent
    assert len(server.requests) == 1


@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"])
def test_a_server_that_hangs_up_before_its_reply_is_whole_is_unavailable(raw_server, provider_of, part):
    server = raw_server(part)
    with pytest.raises(ServerUnavailableError) as caught:
        provider_of(server).complete("Hi")
    assert caught.value.sent
    assert "before it answered" in str(caught.value) or "in the middle" in str(caught.value)
    assert isinstance(caught.value.__cause__, http.client.HTTPException)


def test_a_get_is_sent_again_at_most_as_often_as_allowed(raw_server, provider_of):
    server = raw_server(b"")
    with pytest.raises(ServerUnavailableError):
        provider_of(server, max_retries=1).list_models()
    assert len(server.requests) == 2
    with pytest.raises(ServerUnavailableError):
        provider_of(server, max_retries=0).list_models()
    assert len(server.requests) == 3


@pytest.mark.parametrize("code", [429, 503])
def test_a_server_that_says_when_to_come_back_is_asked_again(httpserver, provider, code):
    path = "/v1/chat/completions"
    httpserver.expect_ordered_request(path).respond_with_data("{}", code, {"Retry-After": "0"})
    httpserver.expect_ordered_request(path).respond_with_data(BODY)
    assert provider.complete("Hi").text == "Hello"
    assert len(httpserver.log) == 2


def test_a_server_that_says_when_to_come_back_is_asked_at_most_as_often_as_allowed(raw_server, provider_of):
    server = raw_server(status(429, b"Retry-After: 0"))
    with pytest.raises(RateLimitError):
        provider_of(server, max_retries=2).complete("Hi")
    assert len(server.requests) == 3


def test_a_retry_after_that_passes_the_deadline_is_not_waited_for(raw_server, provider_of):
    server = raw_server(status(429, b"Retry-After: 9"))
    with pytest.raises(ProviderError) as caught:
        provider_of(server).complete("Hi", deadline=2)
    assert caught.value.retry_after_s == 9
    assert len(server.requests) == 1


def test_another_try_for_which_the_deadline_leaves_no_time_is_not_waited_for(raw_server):
    exchange = Exchange(Timeouts(5, 5, 5), None)
    server = raw_server(lambda connection: exchange.limit_rest(0.05))  # the shortest wait is longer
    with contextlib.closing(Transport(server.url, None, Limits(), 1)) as transport:
        with pytest.raises(ServerUnavailableError):
            transport.send(Call("GET", "/"), {}, exchange)


@pytest.mark.slow
def test_a_connection_that_dies_long_after_it_was_used_again_is_not_replaced(raw_server, provider_of):
    """The server may have been at work on the request, so it is not sent again."""
    replies = iter([ok(), None])

    def answer(connection):
        reply = next(replies)
        if reply is None:
            time.sleep(1.2)  # longer than it takes to notice that an idle connection was closed
            reset(connection)
        else:
            connection.sendall(reply)

    server = raw_server(answer, keep_open=True)
    lm = provider_of(server)
    lm.complete("one")
    with pytest.raises(ServerUnavailableError):
        lm.complete("two")
    assert len(server.requests) == 2


@pytest.mark.slow
def test_a_connection_that_was_idle_for_too_long_is_not_used_again(raw_server, provider_of):
    """LM Studio closes a connection that was idle for 5 s: after 4 s a new one is opened."""
    accepted = set()

    def answer(connection):
        accepted.add(id(connection))
        connection.sendall(ok())

    lm = provider_of(raw_server(answer, keep_open=True))
    for _ in range(2):
        lm.complete("Hi")
    assert len(accepted) == 1
    time.sleep(4.1)
    lm.complete("Hi")
    assert len(accepted) == 2


def test_sent_is_true_if_an_earlier_try_was_sent(raw_server, provider_of):
    usage = MemoryUsage()
    server = raw_server(lambda _: server.refuse(), status(503, b"Retry-After: 0"))
    with pytest.raises(ServerUnavailableError) as caught:
        provider_of(server, usage=usage).complete("Hi")
    assert caught.value.refused
    assert caught.value.sent
    assert [record.status for record in usage.records] == ["error"]


def test_a_long_upload_that_makes_progress_does_not_count_as_silence(raw_server, provider_of):
    def serve(listener):
        connection, _ = listener.accept()
        with connection:
            while not connection.recv(1 << 20).endswith(b"false}"):
                time.sleep(0.01)
            connection.sendall(ok())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=serve, args=[listener])
        serving.start()
        lm = provider_of(f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert lm.complete("x" * 30_000_000, timeout=0.25).text == "Hello"
        serving.join(5)


def test_the_waits_between_tries_grow():
    for waits in (backoff(3) for _ in range(100)):
        assert [0.75 <= wait / expected <= 1.25 for wait, expected in zip(waits, [0.1, 0.2, 0.4])] == [True] * 3
    assert list(backoff(0)) == []


def test_a_kept_alive_connection_that_the_server_closed_is_replaced_once(raw_server, provider_of):
    """The second request meets a connection that the server resets before one byte of an answer."""
    replies = iter([ok(), None, ok()])

    def answer(connection):
        reply = next(replies)
        connection.sendall(reply) if reply else reset(connection)

    server = raw_server(answer, keep_open=True)
    lm = provider_of(server)
    assert lm.complete("one").text == "Hello"
    assert lm.complete("two").text == "Hello"
    assert len(server.requests) == 3


def test_a_connection_that_replaces_one_that_the_server_closed_is_a_new_one(raw_server, provider_of):
    """The other idle connections are probably closed, too."""
    seen = set()

    def answer(connection):
        if connection in seen:
            reset(connection)
        else:
            seen.add(connection)
            connection.sendall(chunked(HI, STOP, DONE))

    server = raw_server(answer, keep_open=True)
    lm = provider_of(server)
    for stream in [lm.stream("Hi"), lm.stream("Hi")]:
        list(stream)
    assert "".join(lm.stream("Hi").text()) == "Hi"
    assert server.accepted == 3


def test_a_call_that_only_a_closed_connection_carried_was_not_sent(raw_server, provider_of):
    """The server closed the connection while it was idle, and is not there any more."""
    replies = iter([ok(), None])

    def answer(connection):
        reply = next(replies)
        connection.sendall(reply) if reply else (server.refuse(), reset(connection))

    server = raw_server(answer, keep_open=True)
    lm = provider_of(server, max_retries=0)
    lm.complete("Hi")
    with pytest.raises(ServerUnavailableError) as caught:
        lm.complete("Hi")
    assert (caught.value.refused, caught.value.sent) == (True, False)


def test_a_connection_is_used_again_after_a_reply_and_after_a_stream(raw_server, provider_of):
    replies = iter([ok(), chunked(HI, STOP, DONE), ok(), chunked(HI, STOP, DONE), ok()])
    accepted = set()

    def answer(connection):
        accepted.add(id(connection))
        connection.sendall(next(replies))

    lm = provider_of(raw_server(answer, keep_open=True))
    for _ in range(2):
        lm.complete("Hi")
        with lm.stream("Hi") as stream:
            list(stream)
    stream.close()  # of a stream that is over: its connection belongs to others now
    lm.complete("Hi")
    assert len(accepted) == 1


# How a stream can end


def test_a_piece_is_handed_over_when_it_arrives(raw_server, provider_of):
    taken = threading.Event()
    server = raw_server(chunked(HI, end=False), lambda _: taken.wait(5) and None, b"%x\r\n%b\r\n" % (len(STOP), STOP))
    stream = provider_of(server).stream("Hi")
    assert next(stream).delta == "Hi"
    assert not taken.is_set()
    taken.set()
    assert next(stream).done


@for_each(
    "parts",
    [
        [stream_of(HI)],
        [chunked(HI)],
        [chunked(HI, end=False)],
        [stream_of(HI, b'data: {"choices": [{"del')],
        [chunked(HI, end=False) + b"ff\r\ndata: {"],
        [chunked(HI, end=False), lambda connection: time.sleep(0.1), reset],
        [stream_of(HI, b'data: {"choices": [{"delta": {"content": "Gr\xc3')],
    ],
)
def test_a_stream_that_stops_before_its_end_keeps_the_text_that_came(raw_server, provider_of, parts):
    stream = provider_of(raw_server(*parts)).stream("Say hello")
    with pytest.raises(StreamInterruptedError) as caught:
        list(stream)
    assert caught.value.partial.text == stream.completion.text == "Hi"
    assert caught.value.partial.finish_reason is None
    assert caught.value.sent
    assert "/v1/chat/completions" in caught.value.url
    assert list(stream) == []


@for_each(
    "parts",
    [
        [stream_of(HI, STOP)],
        [stream_of(HI, STOP, DONE)],
        [stream_of(HI, STOP, b"data: [DONE]")],
        [stream_of(HI, STOP[:-2])],
        [stream_of(HI, STOP[:-1])],
        [chunked(HI, STOP, end=False)],
        [chunked(HI, STOP, end=False), reset],
        [chunked(HI, STOP, DONE, end=False)],
        [chunked(HI, STOP, DONE, end=False), lambda connection: connection.recv(1)],  # until the client leaves
        [stream_of(HI, STOP, b'data: {"choi')],
    ],
)
def test_a_stream_is_complete_when_its_finish_reason_has_come(raw_server, provider_of, parts):
    stream = provider_of(raw_server(*parts)).stream("Say hello")
    assert [chunk.delta for chunk in stream] == ["Hi", ""]
    assert stream.completion.finish_reason == "stop"


def test_bytes_after_the_last_chunk_are_not_taken_for_the_next_reply(raw_server, provider_of):
    body = b'{"choices": [{"message": {"content": "%b"}, "finish_reason": "stop"}]}'
    first, other = body % b"Hi", body % b"nobody asked for this"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    late = head + b"Content-Length: %d\r\n\r\n" % len(other) + other
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(first), first)
    server = raw_server(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + late, keep_open=True)
    lm = provider_of(server)
    assert [lm.chat("Hi", model="m").text for _ in range(3)] == ["Hi"] * 3
    assert server.accepted == 3


def test_chunks_before_an_error_are_handed_over_first(raw_server, provider_of):
    server = raw_server(stream_of(HI, b'event: error\ndata: {"error": "Model unloaded."}\n\n'))
    stream = provider_of(server).stream("Hi")
    assert next(stream).delta == "Hi"
    with pytest.raises(ProviderError, match="unloaded") as caught:
        next(stream)
    assert caught.value.partial.text == "Hi"
    assert caught.value.method == "POST"


def test_the_completion_of_a_stream_that_is_not_over_is_an_error(raw_server, provider_of):
    server = raw_server(stream_of(HI), lambda connection: connection.recv(1) and None)
    with provider_of(server).stream("Hi") as stream:
        next(stream)
        with pytest.raises(ProviderError, match="not over"):
            _ = stream.completion


# Cancelling


def endless(connection):
    while True:
        connection.sendall(HI)
        time.sleep(0.01)


def test_closing_a_stream_wakes_the_thread_that_reads(raw_server, provider_of):
    server = raw_server(stream_of(HI), lambda connection: connection.recv(1) and None)
    stream = provider_of(server).stream("Hi")
    first = threading.Event()
    seen = []

    def read():
        for chunk in stream:
            seen.append(chunk.delta)
            first.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert first.wait(5)
    stream.close()
    reader.join(5)
    assert not reader.is_alive()
    assert seen == ["Hi"]
    assert (stream.completion.text, stream.completion.finish_reason) == ("Hi", "cancelled")
    assert server.client_left.wait(5)


def leave_the_loop(lm):
    for _ in lm.stream("Hi"):
        break


def leave_the_with_block(lm):
    with lm.stream("Hi") as stream:
        next(stream)


def raise_in_the_loop(lm):
    try:
        for _ in lm.stream("Hi"):
            raise KeyError
    except KeyError:
        pass


@for_each("leave", [leave_the_loop, leave_the_with_block, raise_in_the_loop])
def test_leaving_a_stream_early_closes_the_socket(raw_server, provider_of, leave):
    server = raw_server(stream_of(), endless)
    leave(provider_of(server))
    assert server.client_left.wait(5)


def leave_a_stream_that_has_a_name(lm):
    stream = lm.stream("Hi")
    for _ in stream:
        break
    assert stream.completion.finish_reason == "cancelled"
    return stream


def leave_its_texts(lm):
    stream = lm.stream("Hi")
    for _ in stream.text():
        break
    return stream


@pytest.mark.parametrize("leave", [leave_a_stream_that_has_a_name, leave_its_texts])
def test_leaving_a_stream_that_is_still_held_closes_the_socket_too(raw_server, provider_of, leave):
    server = raw_server(stream_of(), endless)
    held = leave(provider_of(server))
    assert server.client_left.wait(5)
    assert list(held) == []


def test_a_stream_that_is_closed_between_two_reads_is_settled(raw_server, provider_of):
    """Whoever comes second, the reader that leaves or the thread that closes, the stream is over then."""
    lm = provider_of(raw_server(chunked(*[HI] * 50, end=False), lambda connection: connection.recv(1) and None))
    for _ in range(50):
        stream = lm.stream("Hi")
        stop = threading.Event()

        def read(stream=stream, stop=stop):
            while not stop.is_set():
                next(stream, None)

        reader = threading.Thread(target=read)
        reader.start()
        stop.set()
        stream.close()
        reader.join(5)
        assert stream.completion.finish_reason == "cancelled"


def test_closing_the_provider_ends_what_began_before_a_reset(raw_server, silent_server, provider_of):
    lm = provider_of(raw_server(stream_of(HI), lambda connection: connection.recv(1) and None))
    stream = lm.stream("Hi")
    next(stream)
    lm.reset_client()
    lm.close()
    with pytest.raises(ProviderClosedError):
        next(stream)


def test_closing_the_provider_ends_a_discovery_that_began_before_a_reset(silent_server):
    lm = LMStudioProvider(silent_server.url)
    lm.reset_client()
    lm.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "lmstudio-models"]


def test_a_discovery_takes_no_token_to_another_server(raw_server):
    """The settings change while the first server is being asked; it must not see the token of the second."""
    asked = threading.Event()
    first = raw_server(lambda _: asked.set(), ok(b'{"data": []}'))
    second = raw_server(ok(b'{"data": []}'))
    mapping = {"lmstudio_base_url": first.url, "lmstudio_api_token": "token-of-first"}
    with LMStudioProvider(settings=mapping) as lm:
        mapping.update(lmstudio_base_url=second.url, lmstudio_api_token="token-of-second")
        lm.refresh_models()
        assert asked.wait(5)
        lm.wait_until_configured()
    assert not any(b"token-of-second" in request for request in first.requests)
    assert all(b"token-of-second" in request for request in second.requests)


def test_a_stream_outlives_the_name_of_its_provider(raw_server):
    server = raw_server(stream_of(HI, STOP, DONE))
    assert [chunk.delta for chunk in LMStudioProvider(server.url, refresh=False).stream("Hi")] == ["Hi", ""]


def test_closing_the_provider_ends_calls_under_way(raw_server, silent_server, provider_of, in_background):
    streaming = provider_of(raw_server(stream_of(HI), lambda connection: connection.recv(1) and None))
    stream = streaming.stream("Hi")
    next(stream)
    streaming.close()
    with pytest.raises(ProviderClosedError, match="under way") as caught:
        next(stream)
    assert caught.value.partial == stream.completion
    assert (stream.completion.text, stream.completion.finish_reason) == ("Hi", "cancelled")

    waiting = provider_of(silent_server)
    asking = in_background(waiting.complete, "Hi")
    while not silent_server.requests:
        time.sleep(0.01)
    waiting.close()
    with pytest.raises(ProviderClosedError) as caught:
        asking.result(10)
    assert "under way" in str(caught.value)


def test_a_stream_that_outlives_its_provider_is_not_a_short_reply(simulator):
    with LMStudioProvider(simulator.url) as lm:
        texts = lm.stream("Tell me a story").text()
    with pytest.raises(ProviderClosedError, match="to their end before close"):
        "".join(texts)


def test_resetting_lets_calls_under_way_continue(raw_server, provider_of):
    proceed = threading.Event()
    server = raw_server(stream_of(HI), lambda _: proceed.wait(5) and None, STOP, DONE)
    lm = provider_of(server)
    stream = lm.stream("Hi")
    next(stream)
    lm.reset_client()
    proceed.set()
    assert next(stream).done


# What else a server may send


@for_each("wbits", [zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS])
def test_a_compressed_reply_is_read_although_none_was_asked_for(raw_server, provider_of, wbits):
    packer = zlib.compressobj(wbits=wbits)
    packed = packer.compress(BODY) + packer.flush()
    encoding = b"Content-Encoding: gzip" if wbits > zlib.MAX_WBITS else b"Content-Encoding: deflate"
    assert provider_of(raw_server(ok(packed, encoding))).complete("Hi").text == "Hello"


@pytest.mark.parametrize("encoding", [b"gzip", b"br"])
def test_a_compression_that_cannot_be_undone_is_a_protocol_error(raw_server, provider_of, encoding):
    with pytest.raises(ProtocolError, match="compress"):
        provider_of(raw_server(ok(BODY, b"Content-Encoding: " + encoding))).complete("Hi")


def test_a_reply_over_the_limit_is_a_protocol_error(raw_server, provider_of):
    with pytest.raises(ProtocolError, match="larger than 10 bytes") as caught:
        provider_of(raw_server(ok()), limits=Limits(max_reply_bytes=10)).complete("Hi")
    assert "max_reply_bytes" in caught.value.hint


def test_a_server_that_does_not_speak_http_is_a_protocol_error(raw_server, provider_of):
    with pytest.raises(ProtocolError, match="not valid HTTP"):
        provider_of(raw_server(b"SSH-2.0-OpenSSH_9.2\r\n")).complete("Hi")


def test_tls_to_a_plain_port_says_so(httpserver, provider_of):
    with pytest.raises(ServerUnavailableError, match="TLS") as caught:
        provider_of(httpserver.url_for("").replace("http:", "https:"), max_retries=0).complete("Hi")
    assert "http://" in caught.value.hint


def test_localhost_is_tried_as_127_0_0_1_first(raw_server, provider_of):
    server = raw_server(ok())
    assert provider_of(server.url.replace("127.0.0.1", "localhost")).complete("Hi").text == "Hello"


def test_localhost_is_then_tried_as_ipv6_and_the_one_that_answered_is_remembered(provider_of):
    def serve(listener):
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(ok(BODY, b"Connection: close"))

    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with listener:
        port = listener.getsockname()[1]
        lm = provider_of(f"localhost:{port}")
        serving = threading.Thread(target=serve, args=[listener])
        serving.start()
        assert lm.complete("Hi").text == "Hello"
        # Something else begins to listen on the address that is tried first: it must not be asked any more.
        with socket.create_server(("127.0.0.1", port)) as other:
            assert lm.complete("Hi").text == "Hello"
            other.setblocking(False)
            with pytest.raises(BlockingIOError):
                other.accept()
        serving.join(5)


# The bytes of a call


@pytest.fixture
def send():
    """Sends a call, and returns the reply with its body."""

    def send(server, call):
        transport = transports.setdefault(server.url, Transport(server.url, None, Limits(), 0))
        reply = transport.send(call, {}, Exchange(Timeouts(5, 5, 5), None))
        return reply, reply.read_all()

    transports = {}
    yield send
    for transport in transports.values():
        transport.close()


@pytest.mark.parametrize(("call", "length"), [(Call("GET", "/"), None), (Call("POST", "/"), b"0")])
def test_a_post_says_that_it_has_no_body_and_a_get_needs_no_length(raw_server, send, call, length):
    server = raw_server(ok())
    send(server, call)
    head = server.requests[0].lower()
    assert (b"\r\ncontent-length: %b\r\n" % length in head) if length else (b"content-length" not in head)


def test_nothing_is_sent_after_a_close(raw_server):
    server = raw_server(ok())
    transport = Transport(server.url, None, Limits(), 0)
    transport.close()
    with pytest.raises(CancelledCall):
        transport.send(Call("GET", "/"), {}, Exchange(Timeouts(5, 5, 5), None))
    assert server.accepted == 0


def test_a_reply_of_more_than_a_mebibyte_is_read_whole(raw_server, send):
    _, body = send(raw_server(ok(b"x" * 1_500_000)), Call("GET", "/"))
    assert len(body) == 1_500_000


def test_the_cause_of_a_body_that_breaks_off_is_kept_without_the_frames_that_raised_it(raw_server, send):
    with pytest.raises(ServerUnavailableError) as caught:
        send(raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nHello"), Call("GET", "/"))
    cause = caught.value.__cause__
    assert isinstance(cause, http.client.HTTPException)
    assert cause.__traceback__ is cause.__context__ is None


@for_each(("body", "came"), [(b"Hello", 5), (b"", 0), (b"x" * 70_000, 70_000)], ids=lambda value: str(value)[:9])
def test_the_message_of_a_body_that_breaks_off_counts_what_came(raw_server, send, body, came):
    server = raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + body)
    with pytest.raises(ServerUnavailableError, match=rf"\({came} of 99999 bytes came\)"):
        send(server, Call("GET", "/"))


def test_a_call_is_logged_once_with_its_status_and_its_duration(raw_server, provider_of, caplog):
    caplog.set_level("DEBUG", logger="lmstudio_provider")
    with provider_of(raw_server(stream_of(HI), endless)).stream("Hi") as stream:
        next(stream)
    (line,) = [record.getMessage() for record in caplog.records]
    said = re.fullmatch(r"POST /v1/chat/completions 200 (\d+) ms (\d+) bytes", line)
    assert int(said[1]) < 60_000
    assert int(said[2]) > len(HI)


def test_a_stream_whose_end_is_malformed_after_its_last_event_closes_its_connection(raw_server, provider_of):
    server = raw_server(chunked(HI, STOP, DONE, end=False) + b"oops\r\n", keep_open=True)
    stream = provider_of(server).stream("Hi")
    while next(stream, None):  # a loop would close the stream at its end
        continue
    assert server.client_left.wait(5)


@pytest.mark.parametrize("parts", [[chunked(HI, end=False)], [stream_of(HI, STOP)]], ids=["broken off", "whole"])
def test_a_stream_is_logged_once_however_it_ends(raw_server, provider_of, caplog, parts):
    caplog.set_level("DEBUG", logger="lmstudio_provider")
    stream = provider_of(raw_server(*parts)).stream("Hi")
    with contextlib.suppress(StreamInterruptedError):
        list(stream)
    assert len(caplog.records) == 1


def test_the_host_is_named_with_its_port(raw_server, send):
    server = raw_server(ok())
    send(server, Call("GET", "/"))
    assert f"\r\nHost: {server.url[7:]}\r\n".encode() in server.requests[0]


@pytest.mark.parametrize("code", [204, 304])
def test_a_reply_without_content_is_over_with_its_headers_and_its_connection_is_kept(raw_server, send, code):
    server = raw_server(b"HTTP/1.1 %d X\r\n\r\n" % code, keep_open=True)
    for _ in range(2):
        reply, body = send(server, Call("DELETE", "/"))
        assert (reply.status, body) == (code, b"")
    assert server.accepted == 1


# A manager of the user's


def test_a_proxy_manager_of_the_users_is_used_and_left_as_it_was(httpserver):
    httpserver.expect_request("/v1/chat/completions").respond_with_data(BODY)
    proxy = urllib3.ProxyManager(httpserver.url_for(""), proxy_headers={"X-Proxy": "yes"})
    classes = dict(proxy.pool_classes_by_scheme)
    with LMStudioProvider("http://lmstudio.invalid:1234", http=proxy, refresh=False) as lm:
        assert lm.complete("Hi").text == "Hello"
    request = httpserver.log[0][0]
    assert request.headers["Host"] == "lmstudio.invalid:1234"
    assert request.headers["X-Proxy"] == "yes"
    assert proxy.pool_classes_by_scheme == classes
    assert len(proxy.pools) == 0


def test_the_headers_of_a_manager_of_the_users_are_sent(httpserver):
    httpserver.expect_request("/v1/chat/completions").respond_with_data(BODY)
    manager = urllib3.PoolManager(headers={"X-Team": "blue"})
    with LMStudioProvider(httpserver.url_for(""), http=manager, refresh=False) as lm:
        lm.complete("Hi")
    assert httpserver.log[0][0].headers["X-Team"] == "blue"


def test_a_pool_that_would_block_makes_no_call_wait(raw_server, provider_of):
    server = raw_server(stream_of(HI), lambda connection: connection.recv(1) and None)
    lm = provider_of(server, http=urllib3.PoolManager(maxsize=1, block=True))
    first, second = lm.stream("Hi"), lm.stream("Hi")
    assert next(first).delta == next(second).delta == "Hi"


def test_a_header_of_the_manager_is_not_sent_beside_ours(httpserver):
    httpserver.expect_request("/v1/chat/completions").respond_with_data(BODY)
    manager = urllib3.PoolManager(headers={"authorization": "Bearer theirs"})
    with LMStudioProvider(httpserver.url_for(""), http=manager, api_token="ours-123", refresh=False) as lm:
        lm.complete("Hi")
    assert httpserver.log[0][0].headers["Authorization"] == "Bearer ours-123"


def test_a_header_of_the_manager_that_is_not_latin_1_is_named(raw_server, provider_of):
    headers = {"X-Team": "blue", "X-Title": "Łódź", "X-Last": "1"}
    with pytest.raises(ConfigurationError, match="the header 'X-Title' of the manager"):
        provider_of(raw_server(b""), http=urllib3.PoolManager(headers=headers)).chat("Hi", model="m")


def test_a_proxy_that_forwards_gets_the_whole_url(raw_server, provider_of):
    proxy = raw_server(ok())
    provider_of("http://lmstudio.invalid/lm", http=urllib3.ProxyManager(proxy.url)).complete("Hi")
    assert proxy.requests[0].startswith(b"POST http://lmstudio.invalid/lm/v1/chat/completions HTTP/1.1\r\n")


def test_a_call_over_a_kept_alive_connection_to_a_proxy_was_sent_to_the_server(raw_server, provider_of):
    replies = iter([ok(), b"HTTP/1.1 200"])

    def answer(connection):
        connection.sendall(reply := next(replies))
        if reply != ok():
            connection.shutdown(socket.SHUT_WR)

    proxy = raw_server(answer, keep_open=True)
    lm = provider_of("http://lmstudio.invalid", http=urllib3.ProxyManager(proxy.url))
    lm.complete("Hi")
    with pytest.raises(ProviderError) as caught:
        lm.complete("Hi")
    assert (caught.value.sent, len(proxy.requests)) == (True, 2)


@pytest.mark.parametrize("value", ["Łódź", "one\ntwo"])
def test_a_header_of_the_manager_that_cannot_be_sent_is_not_a_server_that_is_off(raw_server, provider_of, value):
    lm = provider_of(raw_server(b""), http=urllib3.PoolManager(headers={"X-Title": value}))
    with pytest.raises(ConfigurationError, match="header"):
        lm.chat("Hi", model="m")


@pytest.mark.parametrize("arguments", [{"timeout": 0.2}, {"timeout": None, "deadline": 0.2}])
def test_a_tls_handshake_that_hangs_runs_into_its_limit(raw_server, provider_of, arguments):
    server = raw_server()
    with pytest.raises(RequestTimeoutError) as caught:
        provider_of(server.url.replace("http:", "https:"), max_retries=0).complete("Hi", **arguments)
    assert caught.value.limit == ("deadline" if "deadline" in arguments else "connect")
    assert caught.value.sent is False


def test_closing_the_provider_ends_a_tls_handshake(provider_of, in_background):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        lm = provider_of(f"https://127.0.0.1:{listener.getsockname()[1]}", max_retries=0)
        asking = in_background(lm.complete, "Hi")
        with listener.accept()[0] as connection:
            assert connection.recv(1)  # the handshake has begun
            lm.close()
            with pytest.raises(ProviderClosedError) as caught:
                asking.result(10)
    assert "closed" in str(caught.value)


def test_closing_the_provider_ends_a_tls_handshake_by_way_of_a_proxy(raw_server, provider_of, in_background):
    shaking = threading.Event()

    def listen(connection):
        while connection.recv(65536):
            shaking.set()

    proxy = raw_server(b"HTTP/1.1 200 Go\r\n\r\n", listen)
    lm = provider_of("https://lmstudio.invalid", http=urllib3.ProxyManager(proxy.url), max_retries=0)
    asking = in_background(lm.complete, "Hi")
    assert shaking.wait(5)
    lm.close()
    with pytest.raises(ProviderClosedError):
        asking.result(10)


def test_a_proxy_that_never_answers_runs_into_the_limit_to_connect(silent_server, provider_of):
    lm = provider_of("https://lmstudio.invalid", http=urllib3.ProxyManager(silent_server.url))
    with pytest.raises(RequestTimeoutError, match="a connection did not come") as caught:
        lm.complete("Hi", timeout=Timeouts(connect=0.05))
    assert (caught.value.limit, caught.value.sent) == ("connect", False)


def test_closing_the_provider_ends_the_wait_for_a_proxy(raw_server, provider_of, in_background):
    asked = threading.Event()
    proxy = raw_server(lambda connection: asked.set(), lambda connection: connection.recv(1) and None)
    lm = provider_of("https://lmstudio.invalid", http=urllib3.ProxyManager(proxy.url), max_retries=0)
    asking = in_background(lm.complete, "Hi")
    assert asked.wait(5)
    lm.close()
    with pytest.raises(ProviderClosedError):
        asking.result(10)


def test_a_manager_that_opens_its_connections_in_its_own_way_goes_on_doing_so(raw_server, provider_of):
    """Those for SOCKS and Unix sockets do so; urllib3 gives them the time limit."""
    server = raw_server(ok())
    timeouts = []

    class Connection(urllib3.connection.HTTPConnection):
        def _new_conn(self):
            timeouts.append(self.timeout)
            return socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), self.timeout)

    class Pool(urllib3.HTTPConnectionPool):
        ConnectionCls = Connection

    manager = urllib3.PoolManager()
    manager.pool_classes_by_scheme = {"http": Pool}
    lm = provider_of("http://lmstudio.invalid", http=manager)
    assert lm.complete("Hi", timeout=Timeouts(connect=7)).text == "Hello"
    assert lm.complete("Hi", deadline=5).text == "Hello"
    assert timeouts[0] == 7
    assert 0 < timeouts[1] <= 5


class Elsewhere(urllib3.PoolManager):
    """Opens its connections at ``port`` of this machine, whatever the URL names, as one for a Unix socket does."""

    def __init__(self, port):
        super().__init__()

        class Connection(urllib3.connection.HTTPConnection):
            def _new_conn(self):
                try:
                    return socket.create_connection(("127.0.0.1", port), 5)
                except OSError as error:
                    raise urllib3.exceptions.NewConnectionError(self, "cannot be opened") from error

        class Pool(urllib3.HTTPConnectionPool):
            ConnectionCls = Connection

        self.pool_classes_by_scheme = {"http": Pool}


@for_each("host", ["gpu-box", "10.0.0.5", "[fd00::5]", "host.docker.internal"])
def test_an_error_about_another_machine_that_refuses_names_the_switch_to_serve_others(provider_of, closed_port, host):
    url = f"http://{host}:1234"
    with pytest.raises(ServerUnavailableError, match="no server answers at") as caught:
        provider_of(url, http=Elsewhere(closed_port)).complete("Hi")
    assert caught.value.refused
    assert "'Serve on Local Network'" in caught.value.hint
    assert url in caught.value.hint
    with OllamaProvider(url, http=Elsewhere(closed_port), refresh=False) as ollama:
        with pytest.raises(ServerUnavailableError) as caught:
            ollama.complete("Hi")
    assert "OLLAMA_HOST=0.0.0.0" in caught.value.hint


@for_each("host", ["localhost", "127.0.0.1", "[::1]", "ollama.localhost"])
def test_an_error_about_this_machine_that_refuses_says_how_to_start_the_server(provider_of, closed_port, host):
    with pytest.raises(ServerUnavailableError) as caught:
        provider_of(f"http://{host}:1234", http=Elsewhere(closed_port)).complete("Hi")
    assert "lms server start" in caught.value.hint
    assert "Serve on Local Network" not in caught.value.hint


def test_the_proxy_of_a_manager_for_socks_is_named_without_its_password(provider_of, closed_port):
    manager = Elsewhere(closed_port)
    manager.proxy_url = "socks5h://ann:pass-word@127.0.0.1:1080"
    with pytest.raises(ServerUnavailableError, match="the proxy did not connect to the server") as caught:
        provider_of("http://lmstudio.invalid", http=manager, max_retries=0).complete("Hi")
    assert caught.value.proxy == "socks5h://127.0.0.1:1080"


class Failing(urllib3.PoolManager):
    """Opens connections that send all of a request, and report an error then."""

    def __init__(self, error):
        super().__init__()

        class Socket(socket.socket):
            def sendall(self, data):
                super().sendall(data)
                raise error

        class Connection(urllib3.connection.HTTPConnection):
            def _new_conn(self):
                return Socket(fileno=socket.create_connection((self.host, self.port)).detach())

        class Pool(urllib3.HTTPConnectionPool):
            ConnectionCls = Connection

        self.pool_classes_by_scheme = {"http": Pool}


@pytest.mark.parametrize("code", [errno.EHOSTUNREACH, errno.ETIMEDOUT])
def test_a_network_that_fails_while_a_request_goes_out_is_not_waited_for(silent_server, provider_of, code):
    manager = Failing(OSError(code, "the network failed"))
    with pytest.raises(ServerUnavailableError, match="the network failed"):
        provider_of(silent_server, http=manager, timeout=5).complete("Hi")


@pytest.mark.parametrize("error", [BrokenPipeError(), ConnectionResetError(), OSError(errno.EPROTOTYPE, "")], ids=repr)
def test_an_answer_is_read_although_the_server_did_not_take_the_whole_request(raw_server, provider_of, error):
    assert provider_of(raw_server(ok()), http=Failing(error)).complete("Hi").text == "Hello"


def test_an_error_about_a_machine_that_is_not_found_does_not_suggest_the_network_switch(provider_of):
    with pytest.raises(ServerUnavailableError, match="was not found") as caught:
        provider_of("http://no-such-host.invalid:1234", max_retries=0).complete("Hi")
    assert "Serve on Local Network" not in caught.value.hint


def test_the_limits_hold_with_a_manager_of_the_users_too(silent_server, provider_of):
    with pytest.raises(RequestTimeoutError) as caught:
        provider_of(silent_server, http=urllib3.PoolManager()).complete("Hi", deadline=0.1)
    assert caught.value.limit == "deadline"


def test_proxies_of_the_environment_are_not_read(httpserver, monkeypatch, closed_port):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port}")
    httpserver.expect_request("/v1/chat/completions").respond_with_data(BODY)
    with LMStudioProvider(httpserver.url_for(""), refresh=False) as lm:
        assert lm.complete("Hi").text == "Hello"


def test_many_threads_share_one_provider(simulator):
    with LMStudioProvider(simulator.url) as lm:
        texts = []

        def ask(number):
            texts.append("".join(lm.stream([Message.user(f"number {number}")]).text()))

        threads = [threading.Thread(target=ask, args=[number]) for number in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert sorted(texts) == sorted(
        f"This is a simulated reply, no model wrote it. You said: number {number}" for number in range(32)
    )


def test_time_waited_before_a_call_is_subtracted_from_its_limits():
    exchange = Exchange(Timeouts(connect=1.0, first_byte=2.0, idle=4.0), Deadline(60, time.monotonic()), waited_s=1.5)
    assert exchange.allowed("first_byte") == 0.5
    assert exchange.allowed("connect") == 0.1  # to connect there is always some time left
    exchange.begin(reused=True)
    error = exchange.timeout(0.5)
    assert (error.waited_s, "for 2.0 s, and timeout is 2 s" in error.message) == (2.0, True)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"x")
        exchange.receive(ours, bytearray(1))
    assert exchange.allowed() == exchange.allowed("idle") == 4.0
