"""nginx in front of the engine: replies that it passes on, and replies of its own."""

import http.client
import socket
import threading
from urllib.parse import urlsplit

import pytest
import tiny_model
from raw import stream_of

from lmstudio_provider import (
    AuthenticationError,
    InvalidRequestError,
    LMStudioProvider,
    OllamaProvider,
    ProtocolError,
    ServerError,
    ServerUnavailableError,
    StreamInterruptedError,
)
from lmstudio_provider.simulator import SimulatedLMStudio, SimulatedOllama

SENTENCE = "".join(tiny_model.SENTENCE)
TOKEN = "sk-lm-AbCd1234:0123456789abcdefghij"
CALLS = [lambda lm: lm.complete("Hi"), lambda lm: list(lm.stream("Hi")), lambda lm: lm.list_models()]
EACH_CALL = pytest.mark.parametrize("call", CALLS, ids=["complete", "stream", "list_models"])


def before(server, rules=""):
    """Return the rules of a server that passes everything on."""
    return f"location / {{ proxy_pass {server}; {rules} }}"


def piece(text):
    return b'data: {"choices": [{"delta": {"content": "%b"}}]}\n\n' % text.encode()


END = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


def check_all(lm):
    """Check that whole replies and streams are those of the engine."""
    assert [model.id for model in lm.list_models()] == ["tiny"]
    assert lm.complete("Hi").text == SENTENCE
    stream = lm.stream("Hi")
    texts = list(stream.text())
    assert "".join(texts) == stream.completion.text == SENTENCE
    assert stream.completion.finish_reason == "stop"


# Passed on


def test_tls_works_with_a_certificate_of_a_private_ca(nginx, trusting, llama_cpp):
    url = nginx(before(llama_cpp), tls=True)
    with LMStudioProvider(url, http=trusting(), refresh=False) as lm:
        check_all(lm)


def test_a_certificate_of_an_untrusted_ca_is_an_error(nginx, closed_port):
    url = nginx(before(f"http://127.0.0.1:{closed_port}"), tls=True)
    with LMStudioProvider(url, refresh=False) as lm, pytest.raises(ServerUnavailableError, match="not trusted"):
        lm.complete("Hi")


def test_the_error_about_plain_http_at_a_port_for_tls_suggests_https(nginx, closed_port):
    url = nginx(before(f"http://127.0.0.1:{closed_port}"), tls=True).replace("https:", "http:")
    with LMStudioProvider(url, refresh=False) as lm, pytest.raises(InvalidRequestError) as caught:
        lm.complete("Hi")
    assert "https://" in caught.value.hint


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/"])
def test_a_path_prefix_is_part_of_each_call(nginx, llama_cpp, end):
    url = nginx(f"location /deep/lm/ {{ proxy_pass {llama_cpp}/; }}")
    with LMStudioProvider(f"{url}/deep/lm{end}", refresh=False) as lm:
        check_all(lm)


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_buffering_loses_nothing(nginx, llama_cpp, buffering):
    with LMStudioProvider(nginx(before(llama_cpp, f"proxy_buffering {buffering};")), refresh=False) as lm:
        check_all(lm)


GZIP = "gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any; gzip_http_version 1.0;"


@pytest.mark.parametrize("gzip", ["", GZIP])
def test_without_buffering_each_piece_arrives_before_the_next_is_made(nginx, raw_server, provider_of, gzip):
    seen = threading.Event()
    server = raw_server(stream_of(piece("one ")), lambda connection: seen.wait(10) and None, piece("two") + END)
    url = nginx(before(server.url, f"proxy_buffering off; {gzip}"))
    stream = provider_of(url, model="m", headers={"Accept-Encoding": "gzip"}, timeout=20).stream("Hi")
    assert next(stream).delta == "one "
    seen.set()
    assert "".join(chunk.delta for chunk in stream) == "two"


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_leaving_a_stream_ends_the_connection_to_the_server(nginx, raw_server, provider_of, buffering):
    server = raw_server(stream_of(piece("one "), *[piece("more ")] * 500), lambda connection: connection.recv(1))
    url = nginx(before(server.url, f"proxy_buffering {buffering};"))
    for chunk in provider_of(url, model="m").stream("Hi"):
        assert chunk.delta == "one "
        break
    assert server.client_left.wait(10)


def test_gzip_is_read_whether_it_was_asked_for_or_not(nginx, llama_cpp):
    inner = nginx(before(llama_cpp, GZIP))
    outer = nginx(before(inner, "proxy_set_header Accept-Encoding gzip;"))
    connection = http.client.HTTPConnection(urlsplit(outer).netloc, timeout=10)
    connection.request("GET", "/v1/models")
    assert connection.getresponse().headers["Content-Encoding"] == "gzip"
    connection.close()
    for url, headers in ((inner, {"Accept-Encoding": "gzip"}), (outer, {})):
        with LMStudioProvider(url, headers=headers, refresh=False) as lm:
            check_all(lm)


def test_connections_that_nginx_closes_after_a_few_requests_are_replaced(nginx, llama_cpp):
    with LMStudioProvider(nginx(f"keepalive_requests 2; {before(llama_cpp)}"), refresh=False) as lm:
        for _ in range(3):
            check_all(lm)


def test_connections_that_nginx_closes_when_they_are_idle_are_replaced(nginx, trusting):
    with SimulatedLMStudio(["m"], "Hello") as server:
        url = nginx(f"keepalive_timeout 1ms; {before(server.url)}", tls=True)
        with LMStudioProvider(url, http=trusting(), model="m", refresh=False) as lm:
            assert [lm.complete("Hi").text for _ in range(20)] == ["Hello"] * 20


def test_the_native_apis_of_both_servers_pass_through_nginx(nginx):
    with SimulatedLMStudio(["m"], "Hello") as lm_studio, SimulatedOllama(["m"], "Hello") as ollama:
        url = nginx(f"location /lm/ {{ proxy_pass {lm_studio.url}/; }} location /o/ {{ proxy_pass {ollama.url}/; }}")
        with LMStudioProvider(f"{url}/lm", model="m") as lm:
            assert lm.native.chat("Hi").text == "Hello"
            events = list(lm.native.stream("Hi"))
            assert events[-1].type == "chat.end"
            assert lm.health_check().is_lm_studio
        with OllamaProvider(f"{url}/o", model="m") as provider:
            assert provider.chat("Hi").text == "".join(provider.stream("Hi").text()) == "Hello"
            seen = []
            provider.pull("new", seen.append)
            assert seen[-1].status == "success"
            assert "new:latest" in [model.id for model in provider.list_models()]


# Authentication


@EACH_CALL
def test_basic_authentication_accepts_only_the_right_password(nginx, llama_cpp, tmp_path, call):
    passwords = tmp_path / "passwords"
    passwords.write_text("ada:{PLAIN}engine no 1\n")
    url = nginx(f"auth_basic Models; auth_basic_user_file {passwords}; {before(llama_cpp)}")
    inside = url.replace("http://", "http://ada:engine%20no%201@")
    with LMStudioProvider(inside, refresh=False) as lm:
        call(lm)
    for wrong in (url, url.replace("http://", "http://ada:engine%20no%202@")):
        with LMStudioProvider(wrong, refresh=False) as lm, pytest.raises(AuthenticationError) as caught:
            call(lm)
        assert "engine" not in f"{caught.value!r} {caught.value}"


@EACH_CALL
def test_bearer_authentication_accepts_only_the_right_token(nginx, llama_cpp, call):
    url = nginx(f'if ($http_authorization != "Bearer {TOKEN}") {{ return 401; }} {before(llama_cpp)}')
    with LMStudioProvider(url, api_token=TOKEN, refresh=False) as lm:
        call(lm)
    for wrong in (False, f"{TOKEN}x"):
        with LMStudioProvider(url, api_token=wrong, refresh=False) as lm, pytest.raises(AuthenticationError) as caught:
            call(lm)
        assert TOKEN not in f"{caught.value!r} {caught.value}"


# Answered by nginx


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_is_too_large_for_nginx_is_an_invalid_request(nginx, llama_cpp, stream):
    with LMStudioProvider(nginx(f"client_max_body_size 10k; {before(llama_cpp)}"), refresh=False) as lm:
        with pytest.raises(InvalidRequestError, match="413") as caught:
            lm.stream("x" * 5_000_000) if stream else lm.complete("x" * 5_000_000)
        assert "size of a request's body" in caught.value.hint
        assert lm.complete("Hi").text == SENTENCE


@EACH_CALL
def test_the_error_says_that_the_server_behind_nginx_is_off(nginx, closed_port, call):
    url = nginx(before(f"http://127.0.0.1:{closed_port}"))
    with LMStudioProvider(url, model="m", refresh=False) as lm, pytest.raises(ServerError, match="502") as caught:
        call(lm)
    assert caught.value.status == 502
    assert "behind the proxy is off" in caught.value.hint


@EACH_CALL
def test_the_error_about_a_slow_server_names_the_time_limit_of_nginx(nginx, silent_server, call):
    url = nginx(before(silent_server.url, "proxy_read_timeout 100ms;"))
    with LMStudioProvider(url, model="m", refresh=False) as lm, pytest.raises(ServerError, match="504") as caught:
        call(lm)
    assert caught.value.status == 504
    assert "proxy_read_timeout" in caught.value.hint


@EACH_CALL
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_error_about_a_redirect_names_its_target(nginx, llama_cpp, status, call):
    url = nginx(f"location / {{ return {status} https://elsewhere.example$request_uri; }}")
    with LMStudioProvider(url, model="m", api_token=TOKEN, refresh=False) as lm, pytest.raises(ProtocolError) as caught:
        call(lm)
    assert f"HTTP {status}" in caught.value.message
    assert "https://elsewhere.example" in caught.value.message


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_a_stream_that_breaks_behind_nginx_keeps_its_text(nginx, raw_server, provider_of, buffering):
    def reset(connection):
        connection.shutdown(socket.SHUT_RDWR)

    body = piece("one ") + piece("two ")
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % (len(body) + 100)
    url = nginx(before(raw_server(head + body, reset).url, f"proxy_buffering {buffering};"))
    with pytest.raises(StreamInterruptedError) as caught:
        list(provider_of(url, model="m").stream("Hi"))
    assert caught.value.partial.text == "one two "


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_a_stream_that_falls_silent_behind_nginx_is_interrupted(nginx, raw_server, provider_of, buffering):
    server = raw_server(stream_of(piece("one ")), lambda connection: connection.recv(1))
    url = nginx(before(server.url, f"proxy_buffering {buffering}; proxy_read_timeout 300ms;"))
    with pytest.raises(StreamInterruptedError) as caught:
        list(provider_of(url, model="m").stream("Hi"))
    # nginx then throws away what is in its buffers.
    assert caught.value.partial.text == ("" if buffering == "on" else "one ")
