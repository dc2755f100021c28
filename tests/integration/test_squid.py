"""Squid between the client and the engine: plain, by CONNECT, and with nothing behind it."""

import threading

import pytest
import tiny_model
import urllib3
from raw import stream_of
from test_nginx import EACH_CALL, END, before, check_all, piece

from lmstudio_provider import LMStudioProvider, ProviderError, ServerError, ServerUnavailableError

SENTENCE = "".join(tiny_model.SENTENCE)


def test_plain_http_passes_through_squid(squid, llama_cpp):
    with LMStudioProvider(llama_cpp, http=urllib3.ProxyManager(squid), refresh=False) as lm:
        check_all(lm)


def test_tls_passes_through_squid(squid, nginx, trusting, llama_cpp):
    url = nginx(before(llama_cpp), tls=True)
    with LMStudioProvider(url, http=trusting(proxy=squid), refresh=False) as lm:
        check_all(lm)


def test_an_untrusted_certificate_behind_squid_is_an_error(squid, nginx, closed_port):
    url = nginx(before(f"http://127.0.0.1:{closed_port}"), tls=True)
    with LMStudioProvider(url, http=urllib3.ProxyManager(squid), refresh=False) as lm:
        with pytest.raises(ServerUnavailableError, match="not trusted"):
            lm.complete("Hi")


@pytest.mark.parametrize("tls", [False, True])
def test_each_piece_arrives_before_the_next_is_made(squid, nginx, trusting, raw_server, provider_of, tls):
    seen = threading.Event()
    server = raw_server(stream_of(piece("one ")), lambda connection: seen.wait(10) and None, piece("two") + END)
    url = nginx(before(server.url, "proxy_buffering off;"), tls=True) if tls else server.url
    stream = provider_of(url, model="m", http=trusting(proxy=squid), timeout=20).stream("Hi")
    assert next(stream).delta == "one "
    seen.set()
    assert "".join(chunk.delta for chunk in stream) == "two"


@pytest.mark.parametrize("tls", [False, True])
def test_closing_a_stream_wakes_its_reader_and_reaches_the_server(squid, nginx, trusting, raw_server, provider_of, tls):
    server = raw_server(stream_of(piece("one ")), lambda connection: connection.recv(1))
    url = nginx(before(server.url, "proxy_buffering off;"), tls=True) if tls else server.url
    stream = provider_of(url, model="m", http=trusting(proxy=squid), timeout=20).stream("Hi")
    assert next(stream).delta == "one "
    closer = threading.Timer(0.1, stream.close)  # while the next piece is waited for, most likely
    closer.start()
    assert list(stream) == []
    closer.join()
    assert stream.completion.finish_reason == "cancelled"
    assert server.client_left.wait(10)


@EACH_CALL
def test_the_error_says_that_the_server_behind_squid_is_off(squid, closed_port, call):
    url = f"http://127.0.0.1:{closed_port}"
    with LMStudioProvider(url, model="m", http=urllib3.ProxyManager(squid), refresh=False) as lm:
        with pytest.raises(ServerError, match="squid") as caught:
            call(lm)
    assert caught.value.status == 503
    assert "behind the proxy is off" in caught.value.hint


@EACH_CALL
def test_the_error_says_that_squid_cannot_connect_to_the_server(squid, closed_port, call):
    url = f"https://127.0.0.1:{closed_port}"
    with LMStudioProvider(url, model="m", http=urllib3.ProxyManager(squid), refresh=False) as lm:
        with pytest.raises(ServerUnavailableError, match="proxy") as caught:
            call(lm)
    assert "503" in caught.value.message


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_error_about_a_server_that_squid_forbids_has_its_status(squid, scheme):
    http = urllib3.ProxyManager(squid)
    with LMStudioProvider(f"{scheme}://forbidden.example", model="m", http=http, refresh=False) as lm:
        with pytest.raises(ProviderError, match="403") as caught:
            lm.complete("Hi")
    assert "no server answers" not in caught.value.message


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_error_about_a_squid_that_is_off_names_the_proxy(closed_port, scheme):
    http = urllib3.ProxyManager(f"http://127.0.0.1:{closed_port}")
    with LMStudioProvider(f"{scheme}://lmstudio.example", model="m", http=http, refresh=False) as lm:
        with pytest.raises(ServerUnavailableError, match="proxy"):
            lm.complete("Hi")
