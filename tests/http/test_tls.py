"""HTTPS, as a reverse proxy before LM Studio speaks it; the certificate in tests/tls is only for these tests."""

import contextlib
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
import urllib3
from raw import stream_of

from lmstudio_provider import LMStudioProvider, ProtocolError, RequestTimeoutError, ServerUnavailableError, Timeouts

TLS = Path(__file__).parent.parent / "tls"
BODY = b'{"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
HI = b'data: {"choices": [{"delta": {"content": "Hi"}}]}\n\n'


@pytest.fixture
def tls_server():
    """Makes servers that answer every request of a connection with some bytes, and keep it open."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "certificate.pem", TLS / "key.pem")
    with contextlib.ExitStack() as stack:

        def make(data):
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            left = threading.Event()

            def serve():
                with contextlib.suppress(OSError):
                    while True:
                        connection, _ = listener.accept()
                        connection.settimeout(10)
                        with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
                            while piece := secure.recv(65536):
                                if piece.endswith(b"}"):  # the end of a request's body
                                    secure.sendall(data)
                        left.set()

            serving = threading.Thread(target=serve, daemon=True)
            serving.start()
            stack.callback(serving.join, 5)
            stack.callback(lambda: listener.shutdown(socket.SHUT_RDWR))
            return f"https://localhost:{listener.getsockname()[1]}", left

        yield make


def trusting(url, **arguments):
    http = urllib3.PoolManager(ca_certs=str(TLS / "certificate.pem"))
    return LMStudioProvider(url, http=http, refresh=False, **arguments)


def test_an_error_about_an_untrusted_certificate_says_what_to_do(tls_server):
    url, _ = tls_server(OK)
    with LMStudioProvider(url, refresh=False, max_retries=0) as lm:
        with pytest.raises(ServerUnavailableError, match="not trusted") as caught:
            lm.complete("Hi")
    assert "ca_certs=" in caught.value.hint
    assert url in caught.value.hint
    assert "no server answers" not in str(caught.value)
    assert caught.value.answered


def test_a_certificate_of_another_name_is_an_error_without_a_retry(tls_server):
    url, _ = tls_server(OK)
    http = urllib3.PoolManager(ca_certs=str(TLS / "certificate.pem"), assert_hostname="elsewhere.example")
    with LMStudioProvider(url, http=http, refresh=False) as lm, pytest.raises(ServerUnavailableError) as caught:
        lm.complete("Hi")
    assert "not trusted" in caught.value.message
    assert "no server answers" not in caught.value.message
    assert "name the server as its certificate does" in caught.value.hint


def test_a_certificate_that_is_not_trusted_shows_that_something_is_there(tls_server):
    url, _ = tls_server(OK)
    with LMStudioProvider(url, refresh=False) as lm:
        health = lm.health_check()
    assert (health.ok, health.reachable) == (False, True)


def test_a_proxy_that_does_not_connect_is_not_taken_for_the_server(raw_server):
    proxy = urllib3.ProxyManager(raw_server(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").url)
    with LMStudioProvider("https://lmstudio.invalid", http=proxy, refresh=False, max_retries=0) as lm:
        with pytest.raises(ServerUnavailableError, match="the proxy did not connect") as caught:
            lm.complete("Hi")
    assert "407" in caught.value.message
    assert "proxy_headers=" in caught.value.hint


def test_a_proxy_whose_certificate_is_not_trusted_is_not_an_answer_of_the_server(tls_server):
    url, _ = tls_server(OK)
    http = urllib3.ProxyManager(url)
    with LMStudioProvider("https://lmstudio.invalid", http=http, refresh=False, max_retries=0) as lm:
        with pytest.raises(ServerUnavailableError, match="the proxy's certificate is not trusted") as caught:
            lm.complete("Hi")
    assert (caught.value.proxy, caught.value.answered) == (url, False)


def test_a_manager_with_the_certificate_is_enough_and_its_connection_is_kept(tls_server):
    url, left = tls_server(OK)
    with trusting(url) as lm:
        assert [lm.complete("Hi").text for _ in range(3)] == ["Hello"] * 3
        assert not left.is_set()
    assert left.wait(5)


@pytest.fixture
def https_proxy():
    """A proxy that speaks TLS itself, and passes on what follows CONNECT to the port that it names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "certificate.pem", TLS / "key.pem")

    def pump(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def serve(listener):
        connection, _ = listener.accept()
        with context.wrap_socket(connection, server_side=True) as client:
            request = b""
            while b"\r\n\r\n" not in request:
                request += client.recv(65536)
            port = int(request.split()[1].rsplit(b":", 1)[1])
            with socket.create_connection(("127.0.0.1", port)) as server:
                client.sendall(b"HTTP/1.1 200 Go\r\n\r\n")
                back = threading.Thread(target=pump, args=[server, client])
                back.start()
                pump(client, server)
                back.join(5)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=serve, args=[listener], daemon=True)
        serving.start()
        yield f"https://localhost:{listener.getsockname()[1]}"
        serving.join(5)


def test_tls_inside_tls_by_way_of_a_proxy_is_read_and_can_be_closed(tls_server, https_proxy):
    url, left = tls_server(stream_of(HI))
    http = urllib3.ProxyManager(https_proxy, ca_certs=str(TLS / "certificate.pem"))
    with LMStudioProvider(url, http=http, refresh=False, max_retries=0, timeout=10) as lm:
        stream = lm.stream("Hi")
        assert next(stream).delta == "Hi"
        stream.close()
        assert stream.completion.finish_reason == "cancelled"
        assert left.wait(5)


def test_an_alert_of_tls_inside_tls_does_not_answer_plain_http(tls_server):
    url, _ = tls_server(b"\x15\x03\x01\x00\x02\x02\x46\n")
    with trusting(url) as lm, pytest.raises(ProtocolError, match="not valid HTTP") as caught:
        lm.complete("Hi")
    assert "write https://" not in caught.value.hint


def test_a_silence_runs_into_its_limit(tls_server):
    url, _ = tls_server(b"")
    with trusting(url) as lm, pytest.raises(RequestTimeoutError) as caught:
        lm.complete("Hi", timeout=Timeouts(first_byte=0.2))
    assert (caught.value.limit, caught.value.sent) == ("first_byte", True)


def test_a_stream_is_read_piece_by_piece_and_can_be_closed_by_another_thread(tls_server):
    url, left = tls_server(stream_of(HI))
    with trusting(url) as lm:
        stream = lm.stream("Hi")
        assert next(stream).delta == "Hi"
        rest = []
        reader = threading.Thread(target=lambda: rest.extend(stream))
        reader.start()
        time.sleep(0.1)  # so that it waits for the next byte, most likely
        stream.close()
        reader.join(5)
        assert not reader.is_alive()
        assert (rest, stream.completion.finish_reason) == ([], "cancelled")
        assert left.wait(5)


def test_bytes_after_a_reply_are_not_the_reply_to_the_next_call(tls_server):
    extra = OK.replace(b"Hello", b"Other")
    # The headers fill a record of TLS, so that the body and the bytes after it come together in the next one.
    headers, _, body = OK.partition(b"\r\n\r\n")
    padded = headers + b"\r\nX: " + b"x" * (16384 - len(headers) - 9) + b"\r\n\r\n"
    url, _ = tls_server(padded + body + extra)
    with trusting(url) as lm:
        assert [lm.chat("Hi", model="m").text for _ in range(2)] == ["Hello", "Hello"]
