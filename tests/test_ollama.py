"""What only Ollama has: its settings, and downloading and deleting models."""

from __future__ import annotations

import json
import pickle

import pytest

from lmstudio_provider import (
    ConfigurationError,
    InvalidRequestError,
    MemoryUsage,
    Message,
    ModelNotFoundError,
    OllamaProvider,
    ProtocolError,
    ServerUnavailableError,
    StreamInterruptedError,
)
from lmstudio_provider._core.progress import Meter
from lmstudio_provider.simulator import SimulatedOllama

LINES = "application/x-ndjson"


@pytest.fixture
def ollama(httpserver):
    with OllamaProvider(httpserver.url_for(""), refresh=False) as provider:
        yield provider


def pulled(httpserver, data):
    httpserver.expect_request("/api/pull", method="POST").respond_with_data(data, content_type=LINES)


# Errors


def test_a_server_that_is_not_running_says_how_to_start_it(closed_port):
    with OllamaProvider(f"127.0.0.1:{closed_port}") as provider:
        for call in (lambda: provider.complete("Hi"), lambda: provider.pull("m"), provider.version):
            with pytest.raises(ServerUnavailableError, match="ollama serve") as caught:
                call()
            assert caught.value.provider == "ollama"


@pytest.mark.parametrize("model", ["", " ", None, 7])
def test_a_model_that_is_not_a_name_is_refused(ollama, model):
    for call in (ollama.pull, ollama.delete):
        with pytest.raises(InvalidRequestError, match="model="):
            call(model)


def test_an_error_line_of_a_download_is_raised_with_the_progress(httpserver, ollama, sample):
    pulled(httpserver, sample("ollama_pull_stream_error.ndjson"))
    with pytest.raises(ModelNotFoundError, match="file does not exist") as caught:
        ollama.pull("no-such-model")
    assert caught.value.progress.status == "pulling manifest"
    assert caught.value.url.endswith("/api/pull")
    assert pickle.loads(pickle.dumps(caught.value)).progress == caught.value.progress


def test_a_download_that_ends_without_success_is_interrupted(httpserver, ollama, sample):
    lines = sample("ollama_pull_stream.ndjson").splitlines(keepends=True)
    pulled(httpserver, b"".join(lines[:-2]))
    with pytest.raises(StreamInterruptedError, match="writing manifest") as caught:
        ollama.pull("qwen3:8b")
    assert caught.value.progress.completed_bytes == 5225374208


def test_a_download_whose_connection_breaks_is_interrupted(raw_server):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nContent-Length: 999\r\n\r\n"
    server = raw_server(head + b'{"status": "pulling manifest"}\n')
    with OllamaProvider(server.url, refresh=False) as provider, pytest.raises(StreamInterruptedError) as caught:
        provider.pull("m")
    assert caught.value.progress.status == "pulling manifest"


CHAT_LINE = b'{"model":"m","message":{"role":"assistant","content":"Hi"},"done":false}\n'
LAST_LINE = b'{"model":"m","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop"}\n'


@pytest.mark.parametrize("end", [b"", CHAT_LINE, LAST_LINE])
@pytest.mark.parametrize("bad", [b"oops\n", b"\xff\n", b"7\n", b'{"model":"m","message":{"role":"assistant","conte\n'])
def test_a_broken_line_of_a_stream_keeps_the_text_that_came_with_it(httpserver, ollama, bad, end):
    httpserver.expect_request("/api/chat").respond_with_data(CHAT_LINE * 3 + bad + end, content_type=LINES)
    with pytest.raises(ProtocolError) as caught:
        ollama.stream("Hi", print, model="m")
    assert caught.value.partial.text == "HiHiHi"


def test_a_broken_line_is_reported_before_the_server_sends_more(raw_server):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nContent-Length: 9999\r\n\r\n"
    server = raw_server(head + CHAT_LINE + b"oops\n", lambda connection: connection.recv(1) and None)
    with OllamaProvider(server.url, refresh=False) as provider:
        stream = provider.stream("Hi", model="m")
        assert next(stream).delta == "Hi"
        with pytest.raises(ProtocolError, match="line 2 of the stream is not JSON: 'oops'"):
            next(stream)
        assert stream.completion.text == "Hi"


def test_a_broken_line_after_the_last_one_does_not_matter(httpserver, ollama):
    httpserver.expect_request("/api/chat").respond_with_data(CHAT_LINE + LAST_LINE + b"oops\n", content_type=LINES)
    assert ollama.stream("Hi", print, model="m").text == "Hi"


@pytest.mark.parametrize("line", [b"7\n", b"{}\n", b"no json\n"])
def test_a_line_without_a_status_is_a_protocol_error(httpserver, ollama, line):
    pulled(httpserver, line)
    with pytest.raises(ProtocolError):
        ollama.pull("m")


def test_a_model_that_is_not_there_cannot_be_deleted(httpserver, ollama, sample):
    httpserver.expect_request("/api/delete", method="DELETE").respond_with_data(
        sample("errors/ollama_model_not_found.json"), 404, content_type="application/json"
    )
    with pytest.raises(ModelNotFoundError):
        ollama.delete("no-such-model")


@pytest.mark.parametrize("value", [{}, [], {"version": 7}])
def test_a_version_of_the_wrong_shape_is_a_protocol_error(httpserver, ollama, value):
    httpserver.expect_request("/api/version").respond_with_json(value)
    with pytest.raises(ProtocolError) as caught:
        ollama.version()
    assert caught.value.url.endswith("/api/version")


# Settings


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://localhost:11434"),
        ("10.0.0.5", "http://10.0.0.5:11434"),
        ("gpu-box", "http://gpu-box:11434"),
        (":8080", "http://127.0.0.1:8080"),
        ("gpu-box:8080", "http://gpu-box:8080"),
        ("http://gpu-box", "http://gpu-box"),
        ("https://gpu-box", "https://gpu-box"),
        ("https://gpu-box:8080", "https://gpu-box:8080"),
        ("gpu-box/", "http://gpu-box:11434"),
        ("gpu-box:8080/", "http://gpu-box:8080"),
        ("gpu-box/ollama", "http://gpu-box:11434/ollama"),
        ("gpu-box:8080/ollama/", "http://gpu-box:8080/ollama"),
        ("[fd00::5]", "http://[fd00::5]:11434"),
        ("[fd00::5]:8080", "http://[fd00::5]:8080"),
        ("http://[fd00::5]:8080/ollama", "http://[fd00::5]:8080/ollama"),
        (" 'gpu-box' ", "http://gpu-box:11434"),
        ('"gpu-box:8080"', "http://gpu-box:8080"),
        ("fd00::5", "http://[fd00::5]:11434"),
        ("::1", "http://[::1]:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("::", "http://[::1]:11434"),
        ("[::]:8080", "http://[::1]:8080"),
        ("ollama.com", "https://ollama.com"),
    ],
)
def test_ollama_host_is_read_in_all_its_forms(monkeypatch, host, url):
    monkeypatch.setenv("OLLAMA_HOST", host)
    with OllamaProvider(refresh=False) as provider:
        assert provider.base_url == url


@pytest.mark.parametrize("host", ["ftp://gpu-box", "gpu box", "http://", "gpu-box:99999"])
def test_the_error_about_an_invalid_host_names_its_variable(monkeypatch, host):
    monkeypatch.setenv("OLLAMA_HOST", host)
    with pytest.raises(ConfigurationError, match="OLLAMA_HOST"):
        OllamaProvider(refresh=False)


def test_settings_have_their_own_names(monkeypatch, httpserver):
    monkeypatch.setenv("OLLAMA_MODEL", "from-environment")
    monkeypatch.setenv("OLLAMA_API_KEY", "secret-key-123456")
    monkeypatch.setenv("LM_STUDIO_MODEL", "of-another")
    httpserver.expect_request("/api/chat").respond_with_json({"message": {"content": "Hi"}, "done": True})
    with OllamaProvider(httpserver.url_for(""), settings={"ollama_model_fast": "small"}, refresh=False) as provider:
        assert provider.resolve_model() == "from-environment"
        assert provider.resolve_model("fast") == "small"
        provider.complete("Hi")
    request, _ = httpserver.log[-1]
    assert request.headers["Authorization"] == "Bearer secret-key-123456"


# What works


def test_a_download_reports_the_bytes_of_all_layers(httpserver, ollama):
    lines = [
        {"status": "pulling manifest"},
        {"status": "pulling a", "digest": "a", "total": 100},
        {"status": "pulling a", "digest": "a", "total": 100, "completed": 50},
        {"status": "pulling b", "digest": "b", "total": 10, "completed": 10},
        {"status": "pulling a", "digest": "a", "total": 100, "completed": 40},
        {"status": "pulling a", "digest": "a", "total": 100, "completed": 100},
        {"status": "success"},
    ]
    pulled(httpserver, b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    seen = []
    assert ollama.pull("m", seen.append) is None
    assert [each.completed_bytes for each in seen] == [0, 0, 50, 60, 60, 110, 110]
    assert [each.total_bytes for each in seen] == [None, 100, 100, 110, 110, 110, 110]
    assert (seen[0].status, seen[-1].status) == ("pulling manifest", "success")
    request, _ = httpserver.log[-1]
    assert request.get_json() == {"model": "m", "stream": True}


def test_speed_and_time_left_ignore_bytes_that_were_there_before():
    now = [0.0]
    meter = Meter(lambda: now[0])
    assert meter.update("pulling", "a", 500, 1000).bytes_per_second is None  # was there before
    now[0] = 2.0
    progress = meter.update("pulling", "a", 700, 1000)
    assert (progress.bytes_per_second, progress.seconds_left) == (100.0, 3.0)


def test_a_model_is_deleted_by_its_name(httpserver, ollama):
    httpserver.expect_request("/api/delete", method="DELETE").respond_with_data(b"")
    ollama.delete("qwen3:8b")
    request, _ = httpserver.log[-1]
    assert request.get_json() == {"model": "qwen3:8b"}


def test_the_version_is_returned(httpserver, ollama, sample):
    httpserver.expect_request("/api/version").respond_with_data(
        sample("ollama_version.json"), content_type="application/json"
    )
    assert ollama.version() == json.loads(sample("ollama_version.json"))["version"]


def test_discovery_finds_a_chat_model_and_an_embedding_model(httpserver, sample):
    vectors = sample("ollama_embed.json")
    httpserver.expect_request("/api/embed").respond_with_data(vectors, content_type="application/json")
    for path, name in (("/api/tags", "ollama_tags.json"), ("/api/ps", "ollama_ps.json")):
        httpserver.expect_request(path).respond_with_data(sample(name), content_type="application/json")
    with OllamaProvider(httpserver.url_for("")) as provider:
        assert provider.wait_until_configured()
        assert provider.resolve_model() == "qwen3:8b"
        assert provider.capabilities.vision is False
        assert provider.embed(["a", "b"]).requested_model == "nomic-embed-text:latest"


def test_usage_is_recorded_under_ollama(httpserver, sample):
    httpserver.expect_request("/api/chat").respond_with_data(sample("ollama_chat_stream.ndjson"), content_type=LINES)
    usage = MemoryUsage()
    with OllamaProvider(httpserver.url_for(""), usage=usage, refresh=False) as provider:
        assert provider.stream([Message.user("Hi")], lambda chunk: None, model="qwen3:8b").provider_id == "ollama"
    (record,) = usage.records
    assert (record.provider_id, record.api_key_hash, record.operation) == ("ollama", "ollama-local", "stream")
    assert (record.prompt_tokens, record.completion_tokens, record.status) == (26, 3, "ok")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("user:secret@gpu-box:8080", "http://gpu-box:8080"),
        ("ollama.com/", "https://ollama.com"),
        ("ollama.com:443", "https://ollama.com"),
        ("https://ollama.com/api", "https://ollama.com"),
        ("ollama.com/api/chat", "https://ollama.com"),
        ("http://gpu-box:11434/api", "http://gpu-box:11434"),
        ("http://gpu-box:11434/api/generate", "http://gpu-box:11434"),
        ("gpu-box/ollama/api/tags", "http://gpu-box:11434/ollama"),
        ("localhost:11434/v1", "http://localhost:11434"),
        ("http://gpu-box/api", "http://gpu-box/api"),
        ("fe80::1%eth0", "http://[fe80::1%25eth0]:11434"),
        ("[fe80::1%25eth0]:8080", "http://[fe80::1%25eth0]:8080"),
        (":8080/api", "http://127.0.0.1:8080"),
        ("“gpu-box:8080”", "http://gpu-box:8080"),
    ],
)
def test_ollama_host_may_have_userinfo_or_a_path_or_be_in_the_cloud(monkeypatch, host, url):
    monkeypatch.setenv("OLLAMA_HOST", host)
    with OllamaProvider(refresh=False) as provider:
        assert provider.base_url == url


def test_a_download_ends_when_the_server_reports_success(raw_server):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/ndjson\r\nContent-Length: 999\r\n\r\n"
    server = raw_server(head + b'{"status": "success"}\n')
    with OllamaProvider(server.url, refresh=False) as provider:
        assert provider.pull("m") is None


def test_the_speed_ignores_bytes_that_each_layer_had_before():
    now = [0.0]
    meter = Meter(lambda: now[0])
    meter.update("pulling", "a", 1, 1000)
    now[0] = 1.0
    meter.update("pulling", "a", 101, 1000)
    progress = meter.update("pulling", "b", 5_000, 10_000)
    assert progress.bytes_per_second == 100.0
    assert progress.completed_bytes == 5101


def test_a_deleted_model_is_no_longer_chosen():
    with SimulatedOllama(models=["first", "second"]) as server, OllamaProvider(server.url, refresh=False) as provider:
        provider.refresh_models()
        provider.delete("first")
        assert provider.complete("Hi").model == "second:latest"
