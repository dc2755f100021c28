import json
import os
import socket
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tables import for_each

from lmstudio_provider import ConfigurationError, Endpoint, discover
from lmstudio_provider._servers.discovery import candidates

pytestmark = pytest.mark.usefixtures("own_home")

TOKEN = "sk-lm-AbCd1234:0123456789abcdefghij"
OLLAMA = {"/api/version": (200, {"version": "0.33.0"})}
MODELS = {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "organization_owner"}]}
REFUSED = {"error": {"type": "invalid_request", "code": "invalid_api_key", "message": "none was provided"}}
GREETING = {"/lmstudio-greeting": (200, {"lmstudio": True})}


@pytest.fixture
def serve(httpserver):
    """Scripts the server: paths to status and JSON (or text); other paths are answered as LM Studio or Ollama does."""

    def script(answers, unknown=(200, {"error": "Unexpected endpoint or method."}), path=""):
        for each in ("/lmstudio-greeting", "/api/version", "/v1/models", "/"):
            status, value = answers.get(each, unknown)
            text = value if isinstance(value, str) else json.dumps(value)
            httpserver.expect_request(path + each).respond_with_data(text, status)
        return httpserver.url_for(path).rstrip("/")

    return script


def found(*hosts, timeout=10.0, **arguments):
    """Return the servers found, without those that this machine runs at the default ports: no test starts one there."""
    endpoints = discover(timeout, hosts=hosts, **arguments)
    return [each for each in endpoints if urlsplit(each.base_url).port not in (1234, 11434)]


def kinds(*hosts, **arguments):
    return [(each.provider_id, each.needs_token) for each in found(*hosts, **arguments)]


def lm_studio_file(tmp_path, data):
    path = tmp_path / ".lmstudio" / ".internal" / "http-server-config.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    return path


@for_each("bad", [None, 0, -1, "1", True, float("nan")])
def test_a_timeout_that_is_not_a_number_of_seconds_is_refused(bad):
    with pytest.raises(ConfigurationError, match=r"timeout=.* is not valid: use seconds") as caught:
        discover(bad)
    assert "no limit" not in str(caught.value)


@for_each("bad", ["ftp://x", "a b", "", "http://", "x:0", "fd00::5"])
def test_a_host_that_cannot_be_is_refused_with_its_source(bad):
    with pytest.raises(ConfigurationError, match="from the argument hosts"):
        discover(hosts=[bad])


def test_a_host_that_has_no_ascii_form_is_refused():
    with pytest.raises(ConfigurationError, match="is not a domain name"):
        discover(10, hosts=["http://\N{SNOWMAN}\ufe0f.invalid"])


@for_each("bad", [7, [7], [b"x"]])
def test_a_host_that_is_not_text_is_refused(bad):
    with pytest.raises(ConfigurationError, match=r"hosts: (int|bytes) is not text"):
        discover(hosts=bad)


@pytest.mark.parametrize("variable", ["LM_STUDIO_URL", "OLLAMA_HOST"])
def test_a_base_url_that_cannot_be_is_the_error_that_it_always_is(monkeypatch, variable):
    monkeypatch.setenv(variable, "ftp://x")
    with pytest.raises(ConfigurationError, match=f"from the environment variable {variable}, has the scheme 'ftp'"):
        discover()


def test_without_a_server_nothing_is_found(closed_port):
    assert found(f"127.0.0.1:{closed_port}") == []


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"/lmstudio-greeting": (200, {"lmstudio": "true"})},
        {"/lmstudio-greeting": (404, {"lmstudio": True})},
        {"/lmstudio-greeting": (200, [True]), "/v1/models": (200, [])},
        {"/api/version": (200, {"version": 3})},
        {"/api/version": (404, {"version": "1"})},
        {"/v1/models": (200, {"object": "list", "data": []})},
        {"/v1/models": (200, {"object": "list", "data": [{"id": "m", "owned_by": "llamacpp"}]})},
        {"/v1/models": (200, {"object": "list", "data": [*MODELS["data"], {"id": "m", "owned_by": "me"}]})},
        {"/v1/models": (200, {"object": "list", "data": [7]})},
        {"/v1/models": (500, MODELS)},
        {"/lmstudio-greeting": (401, {"error": "Unauthorized"})},
        {"/lmstudio-greeting": (401, {"error": {"code": "invalid_api_key", "type": "invalid_request_error"}})},
        {"/lmstudio-greeting": (403, REFUSED)},
    ],
)
def test_a_server_that_answers_like_neither_is_not_found(serve, answers):
    assert kinds(serve(answers)) == []


@pytest.mark.parametrize("page", ["<html>Sign in</html>", "", "null", "[" * 100_000])
def test_a_server_that_answers_everything_with_a_page_is_not_found(serve, page):
    assert kinds(serve({}, unknown=(200, page))) == []


def test_a_redirect_is_not_followed(httpserver, simulator):
    for path in ("/lmstudio-greeting", "/api/version", "/v1/models"):
        httpserver.expect_request(path).respond_with_data("", 302, {"Location": simulator.url + "/v1/models"})
    assert kinds(httpserver.url_for("")) == []
    assert simulator.requests == []


def test_a_body_without_end_is_nothing(raw_server):
    def flood(connection):
        while True:
            connection.sendall(b" " * 65536)

    server = raw_server(b"HTTP/1.1 200 OK\r\n\r\n", flood)
    assert kinds(server.url, timeout=30) == []


def test_a_server_that_does_not_speak_http_is_ignored(raw_server):
    assert kinds(raw_server(b"SSH-2.0-OpenSSH_9.2\r\n").url) == []


def test_a_server_that_hangs_up_on_a_question_is_asked_the_next(raw_server):
    def answer(connection):
        version = b"/api/version" in server.requests[-1]
        connection.sendall(b'HTTP/1.1 200 OK\r\n\r\n{"version": "0.33.0"}' if version else b"")

    server = raw_server(answer)
    assert kinds(server.url) == [("ollama", False)]


@pytest.fixture(params=["silent", "trickling headers", "trickling body", "hanging"])
def useless_server(request):
    """A URL that never answers completely, and an event set when the client leaves (None if that cannot be seen)."""
    if request.param == "hanging":
        return request.getfixturevalue("hanging_url"), None
    if request.param == "silent":
        server = request.getfixturevalue("silent_server")
        return server.url, server.client_left

    def trickle(connection):
        while True:
            connection.sendall(b"X-A: b\r\n")
            time.sleep(0.01)

    start = b"HTTP/1.1 200 OK\r\n" if request.param == "trickling headers" else b"HTTP/1.1 200 OK\r\n\r\n"
    server = request.getfixturevalue("raw_server")(start, trickle)
    return server.url, server.client_left


def test_a_server_that_never_answers_does_not_delay_the_others(useless_server, serve):
    url, client_left = useless_server
    started = time.monotonic()
    assert kinds(url, serve(GREETING), timeout=0.5) == [("lm-studio", False)]
    assert time.monotonic() - started < 10
    assert client_left is None or client_left.wait(5)


def test_threads_that_were_given_up_end(silent_server):
    discover(0.05, hosts=[silent_server.url])
    for thread in [thread for thread in threading.enumerate() if thread.name == "lmstudio-ask"]:
        assert thread.daemon
        thread.join(10)
        assert not thread.is_alive()


def test_a_slow_lookup_of_a_name_does_not_delay_the_other_answers(monkeypatch, serve):
    """The system's resolver is replaced, because no test can make the true one slow."""
    lookup, over = socket.getaddrinfo, threading.Event()

    def slow(host, *arguments, **options):
        if host == "slow.invalid":
            over.wait(30)
        return lookup(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    started = time.monotonic()
    assert kinds("slow.invalid:80", serve(GREETING), timeout=0.5) == [("lm-studio", False)]
    assert time.monotonic() - started < 10
    over.set()


def test_a_name_that_does_not_exist_is_nothing():
    assert found("no-such-host.invalid:80", timeout=2) == []


def test_a_server_whose_models_are_late_is_found_all_the_same(raw_server):
    def answer(connection):
        if b"/lmstudio-greeting" in server.requests[-1]:
            connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{"lmstudio":true}')
        else:
            connection.recv(1)

    server = raw_server(answer, keep_open=True)
    assert kinds(server.url, timeout=0.5) == [("lm-studio", False)]


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff", b"[]", b"7", b"[" * 60_000, b" " * 100_000, b'{"port": 1' + b"0" * 5000]
)
def test_a_file_of_lm_studio_that_is_broken_is_not_an_error(tmp_path, data):
    lm_studio_file(tmp_path, data)
    assert list(candidates(None)) == ["http://localhost:1234", "http://localhost:11434"]


@pytest.mark.parametrize("port", [None, 0, -1, 65536, True, 5000.0, "5000", [], {}])
def test_a_port_that_is_not_valid_is_not_an_error(tmp_path, port):
    lm_studio_file(tmp_path, {"port": port, "networkInterface": "0.0.0.0"})
    assert list(candidates(None)) == ["http://localhost:1234", "http://localhost:11434"]


def test_a_file_of_lm_studio_that_is_a_folder_is_not_an_error(tmp_path):
    (tmp_path / ".lmstudio" / ".internal" / "http-server-config.json").mkdir(parents=True)
    assert len(candidates(None)) == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_file_of_lm_studio_that_is_a_pipe_is_not_waited_for(tmp_path):
    path = lm_studio_file(tmp_path, b"")
    path.unlink()
    os.mkfifo(path)
    assert len(candidates(None)) == 2


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="no file is unreadable here, or to root")
def test_a_file_of_lm_studio_that_cannot_be_read_is_not_an_error(tmp_path):
    lm_studio_file(tmp_path, {"port": 5000}).chmod(0)
    assert len(candidates(None)) == 2


def test_the_port_in_the_file_of_lm_studio_is_only_asked_on_loopback(tmp_path, serve):
    url = serve(GREETING)
    lm_studio_file(tmp_path, {"port": urlsplit(url).port, "networkInterface": "192.0.2.1"})
    assert [each.base_url for each in found()] == [f"http://localhost:{urlsplit(url).port}"]


def test_the_configured_come_first_then_the_file_then_the_defaults_then_the_hosts(monkeypatch, tmp_path):
    lm_studio_file(tmp_path, {"port": 5000})
    monkeypatch.setenv("OLLAMA_HOST", "box")
    asked = candidates({"lmstudio_base_url": "http://studio/v1"}, hosts=["other", "https://third"])
    assert list(asked) == [
        "http://studio",
        "http://box:11434",
        "http://localhost:5000",
        "http://localhost:1234",
        "http://localhost:11434",
        "http://other:1234",
        "http://other:11434",
        "https://third",
    ]


def test_one_host_may_be_given_as_it_is():
    assert list(candidates(None, "box:99"))[2:] == ["http://box:99"]


def test_the_configured_come_from_the_ini_file_too(monkeypatch, tmp_path):
    path = tmp_path / "my.ini"
    path.write_text("[lmstudio]\nbase_url = a\n[ollama]\nbase_url = b\napi_token = secret\n", encoding="utf-8")
    monkeypatch.setenv("LM_STUDIO_CONFIG", str(path))
    assert list(candidates(None))[:2] == ["http://a:1234", "http://b:11434"]


def test_lm_studio_is_known_by_its_greeting(serve):
    (endpoint,) = found(serve({**GREETING, "/v1/models": (200, MODELS)}))
    assert (endpoint.provider_id, endpoint.version, endpoint.needs_token) == ("lm-studio", None, False)
    assert 0 < endpoint.latency_s < 10


def test_ollama_is_known_by_its_version(serve):
    (endpoint,) = found(serve(OLLAMA, unknown=(404, "404 page not found")))
    assert (endpoint.provider_id, endpoint.version, endpoint.needs_token) == ("ollama", "0.33.0", False)


def test_an_ollama_that_is_configured_as_an_lm_studio_is_an_ollama(serve):
    assert kinds(settings={"lmstudio_base_url": serve(OLLAMA, unknown=(404, ""))}) == [("ollama", False)]


def test_an_lm_studio_without_greeting_is_known_by_the_owner_of_its_models(simulator, serve):
    assert kinds(serve({"/v1/models": (200, MODELS)})) == [("lm-studio", False)]


@pytest.mark.parametrize(
    "answers",
    [
        {**GREETING, "/v1/models": (401, REFUSED)},
        {**GREETING, "/v1/models": (401, "")},
        {"/lmstudio-greeting": (401, REFUSED), "/api/version": (401, REFUSED), "/v1/models": (401, REFUSED)},
        {"/lmstudio-greeting": (401, {"error": {"code": "invalid_api_key"}})},
        {"/v1/models": (401, REFUSED)},
    ],
)
def test_an_lm_studio_that_refuses_needs_a_token(serve, answers):
    assert kinds(serve(answers)) == [("lm-studio", True)]


def test_an_ollama_that_refuses_the_greeting_is_an_ollama(serve):
    assert kinds(serve({"/lmstudio-greeting": (401, REFUSED), **OLLAMA})) == [("ollama", False)]


def test_a_server_behind_a_prefix_is_found_there(serve):
    url = serve(OLLAMA, path="/ollama")
    assert [each.base_url for each in found(url)] == [url]


def test_one_server_of_many_names_stands_once_under_the_first(serve):
    port = urlsplit(serve(GREETING)).port
    names = [f"localhost:{port}", f"http://127.0.0.1:{port}/v1", f"0.0.0.0:{port}"]
    (endpoint,) = found(*names, settings={"lmstudio_base_url": f"ws://LOCALHOST:{port}"})
    assert endpoint.base_url == f"http://localhost:{port}"


def test_two_servers_on_one_machine_are_two(raw_server):
    answer = b'HTTP/1.1 200 OK\r\n\r\n{"version": "1"}'
    urls = [raw_server(answer).url, raw_server(answer).url]
    assert [each.base_url for each in found(*urls)] == urls


def tokens_at(httpserver):
    return {request.headers.get("Authorization") for request, _ in httpserver.log}


def test_a_token_goes_to_the_configured_url_and_nowhere_else(monkeypatch, httpserver, serve, raw_server):
    monkeypatch.setenv("LM_API_TOKEN", TOKEN)
    monkeypatch.setenv("OLLAMA_API_KEY", "ollama-secret")
    other = raw_server(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", keep_open=True)
    (endpoint,) = found(other.url, settings={"lmstudio_base_url": serve(GREETING)})
    assert tokens_at(httpserver) == {f"Bearer {TOKEN}"}
    assert other.requests
    assert b"uthorization" not in b"".join(other.requests)
    assert TOKEN not in repr(endpoint)


def test_a_token_without_a_url_belongs_to_the_default_one(monkeypatch, tmp_path):
    monkeypatch.setenv("LM_API_TOKEN", TOKEN)
    lm_studio_file(tmp_path, {"port": 1234})
    assert candidates(None, ["box"])["http://localhost:1234"] == f"Bearer {TOKEN}"
    assert list(candidates(None, ["box"]).values()).count(None) == 3


def test_a_token_with_a_url_does_not_go_to_the_default_one(monkeypatch):
    monkeypatch.setenv("LM_API_TOKEN", TOKEN)
    assert candidates({"lmstudio_base_url": "box"})["http://localhost:1234"] is None


def test_userinfo_is_sent_and_not_shown(httpserver, serve):
    url = serve(GREETING).replace("http://", "http://user:passw0rd@")
    (endpoint,) = found(url)
    assert tokens_at(httpserver) == {"Basic dXNlcjpwYXNzdzByZA=="}
    assert "passw0rd" not in repr(endpoint)
    assert "user" not in endpoint.base_url


def test_a_proxy_of_the_environment_is_not_used(monkeypatch, serve, simulator):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, simulator.url)
    assert kinds(serve(GREETING)) == [("lm-studio", False)]
    assert simulator.requests == []


def test_an_endpoint_is_a_value(serve):
    endpoint = Endpoint("ollama", "http://localhost:11434", "1", 0.01, False)
    assert endpoint == Endpoint("ollama", "http://localhost:11434", "1", 0.01, False)
    with pytest.raises(AttributeError):
        endpoint.version = "2"


def test_nothing_is_left_open(raw_server):
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("open descriptors are counted in /proc, which this system does not have")
    server = raw_server(b'HTTP/1.1 200 OK\r\n\r\n{"version": "1"}')
    discover(10, hosts=[server.url])
    before = len(list(folder.iterdir()))
    for _ in range(10):
        discover(10, hosts=[server.url])
    deadline = time.monotonic() + 10
    while len(list(folder.iterdir())) > before and time.monotonic() < deadline:
        time.sleep(0.01)  # the server's side closes when it notices
    assert len(list(folder.iterdir())) <= before
