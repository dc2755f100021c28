import http.server
import re
import socket
import threading

import pytest
from tables import for_each

from lmstudio_provider import ConfigurationError, LMStudioProvider, ServerUnavailableError
from lmstudio_provider._provider.urls import parse_base_url


@for_each(
    ("value", "origin"),
    [
        ("localhost:1234", "http://localhost:1234"),
        ("localhost", "http://localhost:1234"),
        ("http://host:1234", "http://host:1234"),
        ("http://host:1234/", "http://host:1234"),
        ("http://host:1234/v1", "http://host:1234"),
        ("http://host:1234/v1/", "http://host:1234"),
        ("http://host:1234/api/v1", "http://host:1234"),
        ("http://host:1234/api/v0/", "http://host:1234"),
        ("http://host:1234//v1//", "http://host:1234"),
        ("ws://host:1234", "http://host:1234"),
        ("wss://host", "https://host"),
        ("https://host", "https://host"),
        ("http://host", "http://host"),
        ("HTTP://Host:80", "http://host:80"),
        ("[::1]:1234", "http://[::1]:1234"),
        ("http://[FE80::1]/v1", "http://[fe80::1]"),
        ("0.0.0.0:1234", "http://127.0.0.1:1234"),
        ("http://[::]:1234", "http://[::1]:1234"),
        ("https://example.org/lm/studio/", "https://example.org/lm/studio"),
        ("https://example.org/lm/v1", "https://example.org/lm"),
        ("example.org/lm", "http://example.org:1234/lm"),
        ("http://host:1234/v1/chat/completions", "http://host:1234"),
        ("http://host:1234/V1/models/", "http://host:1234"),
        ("  localhost:1234\n", "http://localhost:1234"),
        ("[0:0:0:0:0:0:0:0]:1234", "http://[::1]:1234"),
        ("0.0.0.0/api", "http://127.0.0.1:1234"),
        ("bücher.example:1234", "http://bücher.example:1234"),
    ],
)
def test_each_form_of_a_base_url_means_an_origin(value, origin):
    url = parse_base_url(value, "the argument base_url", 1234)
    assert url.text == origin
    assert url.authorization is None


@for_each(
    "value",
    [
        "ftp://host",
        "file:///etc/hosts",
        "unix:///run/lmstudio",
        "mailto:someone",
        "http:/localhost:1234",
        "http//localhost:1234",
        "https:localhost",
        "http://",
        "http://:1234",
        ":1234",
        "host:port",
        "host:0",
        "host:65536",
        "::1",
        "http://[::1",
        "http://[1234]:1234",
        "http://[::1]x:1234",
        "http://x[::1]:1234",
        "http://[v1.fe80]:1234",
        "http://[fe80::1%]:1234",
        "http://[fe80::1%25]]:1234",
        "http://[fe80::1%eth0%1]:1234",
        "http://[fe80::1%25a%2Fb]:1234",
        "http://host%20name:1234",
        "http://${HOST}:1234",
        "http://<your-ip>:1234",
        "http://host'",
        "http://host/?key=1",
        "http://host/#top",
        "http://host/v1?",
    ],
)
def test_a_value_that_is_not_a_base_url_is_refused_with_its_source(value):
    with pytest.raises(ConfigurationError) as caught:
        parse_base_url(value, "the environment variable LM_STUDIO_URL", 1234)
    assert "from the environment variable LM_STUDIO_URL" in str(caught.value)
    assert repr(re.split("[?#]", value)[0])[:-1] in str(caught.value)
    assert caught.value.hint == "Write it like http://localhost:1234"


ENDPOINTS = """
    /v1 /v1/chat /v1/chat/completions /v1/completions /v1/embeddings /v1/models /v1/models/qwen
    /v1/models/qwen/qwen3-4b /v1/responses /v1/messages /v1/messages/count_tokens /v1/decisions /v1/systemone
    /v1/audio/transcriptions /V1/Chat/Completions /v1//chat/completions/ /api/v0 /api/v0/chat/completions
    /api/v0/completions /api/v0/embeddings /api/v0/models /api/v0/models/qwen/qwen3-4b /api/v1 /api/v1/ /api/v1/chat
    /api/v1/models /api/v1/models/load /api/v1/models/unload /api/v1/models/download
    /api/v1/models/download/status/job-7 /lmstudio-greeting /lms-status /api/chat /api/generate /api/tags /api/embed
    /api/embeddings /api/show /api/ps /api/version /api/pull /api/push /api/create /api/copy /api/delete
    /api/blobs/sha256:00ff /api/status /api/me /api/signout /api/experimental/web_search /api/experimental/web_fetch
    /API/Chat//
"""


@for_each("port", [1234, 11434])
@for_each("endpoint", ENDPOINTS.split())
def test_every_endpoint_is_cut_off_and_the_prefix_of_a_proxy_stays(endpoint, port):
    for base in (f"http://host:{port}", "https://example.org", "https://example.org/lm/studio", "http://host:8080/llm"):
        assert parse_base_url(base + endpoint, "x", port).text == base


@for_each("path", ["/v2", "/v1/ollama", "/apis", "/api/chat/completions", "/my-v1", "/llm", "/api/x", "/tenant=a/lm"])
def test_a_path_that_is_not_an_endpoint_stays(path):
    assert parse_base_url(f"https://example.org{path}", "x", 1234).text == f"https://example.org{path}"


@for_each(
    "origin",
    [
        "http://localhost:8080",
        "http://LOCALHOST",
        "http://127.0.0.1",
        "http://127.8.9.1:8080",
        "http://[::1]:8080",
        "http://host:1234",
        "https://host:11434",
        "http://host:1234/prefix",
    ],
)
def test_a_path_of_only_api_is_cut_off_if_it_cannot_be_the_prefix_of_a_proxy(origin):
    assert parse_base_url(f"{origin}/api/", "x", 1234).text == origin.lower()


@for_each("base", ["https://example.org/api", "http://127.example.org/api", "http://gpu-box:8080/api"])
def test_a_path_of_only_api_stays_if_it_may_be_the_prefix_of_a_proxy(base):
    assert parse_base_url(base, "x", 1234).text == base


def test_a_host_without_a_port_has_the_default_port_when_api_is_cut_off():
    assert parse_base_url("gpu-box/api", "x", 11434).text == "http://gpu-box:11434"
    assert parse_base_url("http://gpu-box/api", "x", 11434).text == "http://gpu-box/api"


@for_each("name", ["llm", "embedding", "system", "LLM/"])
def test_a_namespace_of_the_sdk_is_cut_off_only_from_a_websocket_url(name):
    assert parse_base_url(f"ws://host:1234/{name}", "x", 1234).text == "http://host:1234"
    assert parse_base_url(f"wss://host/lm/{name}", "x", 1234).text == "https://host/lm"
    assert parse_base_url(f"http://host:1234/{name}", "x", 1234).text == f"http://host:1234/{name.rstrip('/')}"


@for_each(
    ("value", "port"),
    [
        ("1234", 1234),
        (":1234", 1234),
        ("8080", 8080),
        ("8080/v1", 8080),
        (":8080/", 8080),
        ("http://1234", 1234),
        ("http://:8080", 8080),
        ("8080:1234", 1234),
        (" 8080 ", 8080),
    ],
)
def test_a_port_without_a_host_is_refused_with_the_url_that_was_meant(value, port):
    with pytest.raises(ConfigurationError, match="names a port, but no host") as caught:
        parse_base_url(value, "the argument base_url", 1234)
    assert caught.value.hint == f"Write it like http://localhost:{port}"


@for_each("value", ["0", "99999", "127001"])
def test_a_number_that_is_not_a_port_is_not_a_host_either(value):
    with pytest.raises(ConfigurationError) as caught:
        parse_base_url(value, "x", 1234)
    assert caught.value.hint == "Write it like http://localhost:1234"


@for_each(
    "value",
    [
        "two words",
        "http://local host:1234",
        "http://local\thost:1234",
        "http://local\nhost:1234",
        "http://host:1234\r\nX-Header: 1",
        "http://host:12 34",
        "http://host:1234/my path",
        "http://host\x00:1234",
        "\x00http://host:1234",
        "http://host:1234\x7f",
        "http://host\u00a0name:1234",
        "\u200bhttp://host:1234",
        "http://host:1234\ufeff",
        "http://host\u2028:1234",
        "http://host\u202e:1234",
        "h\nttp://host:1234",
    ],
)
def test_a_blank_or_a_control_character_inside_is_refused_and_shown(value):
    with pytest.raises(ConfigurationError, match="has a blank or a control character inside") as caught:
        parse_base_url(value, "the argument base_url", 1234)
    assert repr(value) in str(caught.value)


@for_each(
    ("value", "text"),
    [
        ("http://[fe80::1%25eth0]:1234", "http://[fe80::1%25eth0]:1234"),
        ("http://[fe80::1%eth0]:1234", "http://[fe80::1%25eth0]:1234"),
        ("[FE80::1%Eth0]:1234/v1/", "http://[fe80::1%25Eth0]:1234"),
        ("[fe80::1%12]", "http://[fe80::1%2512]:1234"),
        ("[fe80::1%25]", "http://[fe80::1%2525]:1234"),
        ("https://[fe80::1%25en0.1-x_y~]/lm", "https://[fe80::1%25en0.1-x_y~]/lm"),
    ],
)
def test_the_zone_of_an_ipv6_address_is_kept_in_the_form_of_urls(value, text):
    assert parse_base_url(value, "x", 1234).text == text
    assert parse_base_url(text, "x", 1234).text == text


@for_each("path", ["/" * 100_000, "/v1" * 50_000, "/v1/models" * 20_000, "/api" * 50_000])
def test_a_path_of_any_length_is_read_in_linear_time(path):
    assert parse_base_url(f"http://host:1234{path}x", "x", 1234).text.startswith("http://host:1234")


def test_userinfo_becomes_a_header_and_leaves_the_url():
    url = parse_base_url("http://ann:s%3Acret@host:1", "x", 1234)
    assert url.text == "http://host:1"
    assert url.authorization == "Basic YW5uOnM6Y3JldA=="
    assert "YW5u" not in repr(url)


@for_each(
    "value",
    [
        "http://ann:s3cret@host:x",
        "ann:s3cret@host:x",
        "ftp://ann:s3cret@host",
        "http://ann:s3/cret@host",
        "http://ann:x?s3cret@host",
        "http://ann:x#s3cret@host",
        "http://ann:x;s3cret@host:x",
        "s3cret@:1",
        "ann:s3\ncret@h:x",
    ],
)
def test_userinfo_is_in_no_message_and_no_cause(value):
    with pytest.raises(ConfigurationError) as caught:
        parse_base_url(value, "x", 1234)
    assert "s3" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


@for_each("begin", ["http://host", "http://host/v1", "http://ann:pw@host/", "host", "http://host:x", "ftp://host", ""])
@for_each("mark", ["?", "#", "/?", "/#", "/;", "/&", "/%3Fa=", "/%23a=", "/%3Ba=", "/%26a%3D", "//x/?"])
@for_each("secret", ["s3cret", "key=s3cret", "key=a@s3cret", "key=s3cret@a", "token=s3cret/v1", "a\nb=s3cret"])
def test_a_query_a_fragment_and_parameters_are_refused_and_in_no_message(begin, mark, secret):
    with pytest.raises(ConfigurationError) as caught:
        parse_base_url(begin + mark + secret, "x", 1234)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


@for_each("value", ["http://host;s3cret", "http://host%3Fkey=s3cret", "host%23s3cret", "host&key=s3cret", ";s3cret"])
def test_a_host_with_parameters_is_refused_and_they_are_in_no_message(value):
    with pytest.raises(ConfigurationError, match="names no host") as caught:
        parse_base_url(value, "x", 1234)
    assert "s3cret" not in str(caught.value)


@pytest.fixture
def zone_server():
    """A server on ::1, which the test asks by a zone: that of the loopback interface."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.headers["Host"])
            body = b'{"data": [{"id": "m"}]}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    class Server(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6

    seen = []
    try:
        address = socket.getaddrinfo("::1%1", 0, type=socket.SOCK_STREAM)[0][4]
        server = Server(address, Handler)
    except OSError:
        pytest.skip("this system has no IPv6 loopback with a zone")
    with server:
        server.seen = seen
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("zone", ["%251", "%1"])
def test_a_zone_leads_to_the_interface_and_is_not_sent_to_the_server(zone_server, zone):
    port = zone_server.server_port
    with LMStudioProvider(f"http://[::1{zone}]:{port}", refresh=False) as lm:
        assert [model.id for model in lm.list_models()] == ["m"]
        assert lm.base_url == f"http://[::1%251]:{port}"
    assert set(zone_server.seen) == {f"[::1]:{port}"}


def test_a_zone_that_does_not_exist_is_said_to_be_unknown():
    with LMStudioProvider("http://[fe80::1%25nonesuch0]:1234", refresh=False) as lm:
        with pytest.raises(ServerUnavailableError, match=r"'fe80::1%nonesuch0' was not found") as caught:
            lm.list_models()
    assert "network interface of this machine, not 'nonesuch0'" in caught.value.hint
