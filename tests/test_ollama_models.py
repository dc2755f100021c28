"""The models of an Ollama: loaded, unloaded, copied, and made from a file or from another model."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import socket
import threading
import tracemalloc

import pytest
from werkzeug import Response

from lmstudio_provider import (
    AuthenticationError,
    InvalidRequestError,
    ModelNotFoundError,
    OllamaProvider,
    ProtocolError,
    ProviderClosedError,
    ProviderError,
    RequestTimeoutError,
    ServerUnavailableError,
    StreamInterruptedError,
    Timeouts,
)
from lmstudio_provider._core.progress import Meter
from lmstudio_provider.simulator import OllamaModel, SimulatedOllama

LINES = "application/x-ndjson"
VEC = OllamaModel("vec", capabilities=("embedding",))
PIECE = 1024 * 1024
# None of these may be mistaken for an error of the connection or of the server.
RAISED = [
    RuntimeError, OSError, ConnectionResetError, TimeoutError, ValueError, StopIteration, KeyboardInterrupt,
    ProtocolError, ServerUnavailableError, ModelNotFoundError,
]  # fmt: skip


@pytest.fixture
def server():
    with SimulatedOllama(["m", VEC]) as stand_in:
        yield stand_in


@pytest.fixture
def ollama(server):
    with OllamaProvider(server.url, refresh=False) as provider:
        yield provider


@pytest.fixture
def scripted(httpserver):
    """A provider for the server that the test scripts."""
    with OllamaProvider(httpserver.url_for(""), refresh=False) as provider:
        yield provider


@pytest.fixture
def gguf(tmp_path):
    """A file of two pieces and a bit."""
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"GGUF" + os.urandom(2 * PIECE))
    return path


def sent(server, path):
    return [each["body"] for each in server.requests if each["path"] == path]


def uploads(server):
    return [each["method"] for each in server.requests if each["path"].startswith("/api/blobs/")]


def statuses(seen):
    return list(dict.fromkeys(each.status for each in seen))


def raising_at(status, error):
    def on_progress(progress):
        if progress.status == status:
            raise error

    return on_progress


# Refused before anything is sent


@pytest.mark.parametrize("name", ["", " ", None, 7, b"m"])
def test_a_value_that_is_not_a_name_is_refused(ollama, server, name):
    calls = {
        "model": [ollama.load, ollama.unload, ollama.show, ollama.pull, ollama.delete],
        "source": [lambda name: ollama.copy(name, "n")],
        "destination": [lambda name: ollama.copy("m", name)],
    }
    calls["model"].append(lambda name: ollama.create(name, from_model="m"))
    if name is not None:
        calls["from_model"] = [lambda name: ollama.create("n", from_model=name)]
    for what, each in calls.items():
        for call in each:
            with pytest.raises(InvalidRequestError, match=f"^{what}=.* is not a name"):
                call(name)
    assert server.requests == []


@pytest.mark.parametrize("num_ctx", [0, -5, True, 4096.0, "4096", [4096]])
def test_a_context_size_that_the_server_would_ignore_is_refused(ollama, server, num_ctx):
    with pytest.raises(InvalidRequestError, match=r"^num_ctx="):
        ollama.load("m", num_ctx=num_ctx)
    assert server.requests == []


@pytest.mark.parametrize("keep_alive", [True, False, [5], {"minutes": 5}, b"5m", "300"])
def test_an_invalid_keep_alive_is_refused(ollama, server, keep_alive):
    with pytest.raises(InvalidRequestError, match=r"^keep_alive=.* is not a length of time\. .*'10m'"):
        ollama.load("m", keep_alive=keep_alive)
    assert server.requests == []


@pytest.mark.parametrize("keep_alive", [0, 0.0, "0s", "0m"])
def test_the_error_about_a_load_for_no_time_names_unload(ollama, keep_alive):
    with pytest.raises(InvalidRequestError, match=r"unload\(\)"):
        ollama.load("m", keep_alive=keep_alive)


def test_a_provider_whose_models_leave_at_once_loads_one_all_the_same(server):
    with OllamaProvider(server.url, refresh=False, keep_alive="0s") as ollama:
        ollama.load("m")
        assert [each.id for each in ollama.ps()] == ["m:latest"]


@pytest.mark.parametrize("line", ['{"echo": "sk-secret-1234567890"}', '{"status": "sk-secret-1234567890"}', "junk"])
def test_an_error_of_a_pull_shows_no_secret_and_names_its_call(httpserver, line):
    httpserver.expect_request("/api/pull").respond_with_data(line + "\n", content_type="application/x-ndjson")
    with OllamaProvider(httpserver.url_for(""), refresh=False, api_token="sk-secret-1234567890") as ollama:
        with pytest.raises(ProviderError) as caught:
            ollama.pull("m")
    error = caught.value
    assert "secret" not in f"{error}{error!r}"
    assert (error.provider, error.method, error.sent) == ("ollama", "POST", True)
    assert error.url.endswith("/api/pull")


@pytest.mark.parametrize("given", [{}, {"gguf": "a.gguf", "from_model": "m"}])
def test_a_model_is_made_from_either_a_file_or_another_model(ollama, given):
    with pytest.raises(InvalidRequestError, match="either gguf= or from_model="):
        ollama.create("n", **given)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"system": 7}, "system=7"),
        ({"system": ["Be brief."]}, "system="),
        ({"template": b"{{ .Prompt }}"}, "template="),
        ({"parameters": [("num_ctx", 1)]}, "parameters="),
        ({"parameters": "num_ctx 1"}, "parameters="),
        ({"on_progress": 7}, "on_progress=7"),
    ],
)
def test_an_invalid_option_of_a_new_model_is_refused(ollama, server, given, named):
    with pytest.raises(InvalidRequestError, match=f"^{named}"):
        ollama.create("n", from_model="m", **given)
    assert server.requests == []


@pytest.mark.parametrize("path", [7, b"a.gguf", ["a.gguf"], "a\0b"])
def test_a_value_that_is_not_a_path_is_refused(ollama, path):
    with pytest.raises(InvalidRequestError, match=r"^gguf="):
        ollama.create("n", gguf=path)


def test_the_error_about_a_file_that_cannot_be_read_names_it(ollama, server, tmp_path):
    for path in (tmp_path / "none.gguf", tmp_path, str(tmp_path / "none.gguf"), tmp_path / "none" / "a.gguf"):
        with pytest.raises(InvalidRequestError) as caught:
            ollama.create("n", gguf=path)
        assert repr(str(path)) in caught.value.message
    assert server.requests == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_refused_without_waiting_for_it(ollama, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidRequestError, match="is not a file"):
        ollama.create("n", gguf=tmp_path / "pipe")


# Refused by the server


@pytest.mark.parametrize(
    "call",
    [
        lambda ollama: ollama.load("no-such"),
        lambda ollama: ollama.unload("no-such"),
        lambda ollama: ollama.show("no-such"),
        lambda ollama: ollama.copy("no-such", "n"),
        lambda ollama: ollama.delete("no-such"),
    ],
)
def test_an_unknown_model_is_a_model_not_found_error(ollama, call):
    with pytest.raises(ModelNotFoundError, match="ollama pull MODEL") as caught:
        call(ollama)
    assert (caught.value.model, caught.value.status) == ("no-such", 404)


@pytest.mark.parametrize(
    "call",
    [
        lambda ollama, **more: ollama.pull("no-such", **more),
        lambda ollama, **more: ollama.create("n", from_model="no-such", **more),
    ],
)
def test_the_error_about_a_failed_download_does_not_suggest_a_download(ollama, call):
    seen = []
    with pytest.raises(ModelNotFoundError, match="file does not exist") as caught:
        call(ollama, on_progress=seen.append)
    assert caught.value.model == "no-such"
    assert "pull" not in caught.value.hint
    assert "Check the name" in caught.value.hint
    assert caught.value.progress == seen[-1]
    assert pickle.loads(pickle.dumps(caught.value)).progress == seen[-1]


@pytest.mark.parametrize("content", [b"", b"GG", b"not a model", b"\x93NUMPY", b"GGUG" + bytes(100)])
def test_a_file_that_is_not_a_model_is_refused_by_the_server(ollama, tmp_path, content):
    (tmp_path / "a.gguf").write_bytes(content)
    with pytest.raises(InvalidRequestError, match="supplied file was not in GGUF format") as caught:
        ollama.create("n", gguf=tmp_path / "a.gguf")
    assert caught.value.url.endswith("/api/create")
    assert caught.value.progress.status == "parsing GGUF"


def test_a_file_that_changes_after_it_was_hashed_is_refused_by_the_server(ollama, gguf):
    def change(progress):
        if progress.status == "hashing" and progress.completed_bytes == gguf.stat().st_size:
            gguf.write_bytes(b"GGUF" + bytes(gguf.stat().st_size - 4))

    with pytest.raises(InvalidRequestError, match="digest mismatch"):
        ollama.create("n", gguf=gguf, on_progress=change)


@pytest.mark.parametrize("status", ["hashing", "uploading"])
def test_the_error_about_a_file_that_becomes_shorter_names_it(ollama, gguf, status):
    def cut(progress):
        if progress.status == status:
            os.truncate(gguf, 2 * PIECE)

    with pytest.raises(InvalidRequestError, match="became shorter") as caught:
        ollama.create("n", gguf=gguf, on_progress=cut)
    assert repr(str(gguf)) in caught.value.message
    assert caught.value.progress.status == status


def test_a_file_that_grows_is_sent_as_it_was_hashed(ollama, server, gguf):
    def grow(progress):
        if progress.status == "hashing":
            with gguf.open("ab") as file:
                file.write(b"more")

    ollama.create("n", gguf=gguf, on_progress=grow)
    assert "n" in [name.partition(":")[0] for name in server.models]


@pytest.mark.parametrize(
    "text", ["template error: template: :1: unexpected", 'unsupported architecture "x"', "invalid file magic"]
)
def test_a_model_that_the_server_cannot_make_is_an_invalid_request(httpserver, scripted, text):
    lines = [{"status": "parsing GGUF"}, {"error": text}]
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    httpserver.expect_request("/api/create").respond_with_data(data, content_type=LINES)
    with pytest.raises(InvalidRequestError) as caught:
        scripted.create("n", from_model="m", template="{{")
    assert text in caught.value.message


def test_a_creation_that_ends_without_success_is_interrupted(httpserver, scripted):
    httpserver.expect_request("/api/create").respond_with_data('{"status": "parsing GGUF"}\n', content_type=LINES)
    with pytest.raises(StreamInterruptedError, match="'parsing GGUF'"):
        scripted.create("n", from_model="m")


@pytest.mark.parametrize("method", ["HEAD", "POST"])
def test_a_file_that_is_refused_without_a_key_is_an_authentication_error(httpserver, scripted, gguf, method):
    statuses = {"HEAD": 404, "POST": 201, method: 401}
    for each, status in statuses.items():
        path = f"/api/blobs/sha256:{hashlib.sha256(gguf.read_bytes()).hexdigest()}"
        httpserver.expect_request(path, method=each).respond_with_data("", status)
    with pytest.raises(AuthenticationError) as caught:
        scripted.create("n", gguf=gguf)
    assert caught.value.method == method


def test_a_model_that_neither_chats_nor_embeds_is_not_loaded(httpserver, scripted):
    httpserver.expect_request("/api/chat").respond_with_json({"error": '"d" does not support chat'}, 400)
    httpserver.expect_request("/api/embed").respond_with_json({"error": "this model does not support embeddings"}, 501)
    with pytest.raises(ProviderError, match="not support embeddings"):
        scripted.load("d")


@pytest.mark.parametrize("value", [[], None, "loaded", 7])
def test_details_of_models_in_the_wrong_shape_are_a_protocol_error(httpserver, scripted, value):
    for path in ("/api/ps", "/api/show"):
        httpserver.expect_request(path).respond_with_json(value)
    for call in (scripted.ps, lambda: scripted.show("m")):
        with pytest.raises(ProtocolError) as caught:
            call()
        assert caught.value.url is not None


# Ended from outside


@pytest.mark.parametrize("kind", RAISED)
@pytest.mark.parametrize("status", ["hashing", "uploading", "parsing GGUF"])
def test_an_exception_in_on_progress_ends_a_creation(ollama, server, gguf, status, kind):
    error = kind("stop")
    with pytest.raises(kind) as caught:
        ollama.create("n", gguf=gguf, on_progress=raising_at(status, error))
    assert caught.value is error
    assert (str(error), getattr(error, "progress", None)) == ("stop", None)
    assert (sent(server, "/api/create") == []) is (status != "parsing GGUF")
    ollama.create("n", gguf=gguf)
    assert server.models[0] == "n:latest"


@pytest.mark.parametrize("kind", RAISED)
def test_an_exception_in_on_progress_ends_a_download(ollama, kind):
    error = kind("stop")
    with pytest.raises(kind) as caught:
        ollama.pull("new", raising_at("pulling manifest", error))
    assert caught.value is error
    assert (str(error), getattr(error, "progress", None)) == ("stop", None)
    ollama.pull("new")


def test_an_exception_in_on_progress_closes_the_file(ollama, gguf, recwarn):
    with pytest.raises(ZeroDivisionError):
        ollama.create("n", gguf=gguf, on_progress=raising_at("uploading", ZeroDivisionError()))
    gguf.unlink()  # which Windows refuses for an open file
    assert not recwarn


@pytest.fixture
def not_reading():
    """A server that answers HEAD, and then reads nothing; an event is set when that begins."""
    begun, over = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as stack:

        def serve():
            with contextlib.suppress(OSError):
                for answer in (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", b""):
                    connection = stack.enter_context(listener.accept()[0])
                    connection.recv(100)
                    connection.sendall(answer)
                    if answer:
                        connection.close()
                begun.set()
                over.wait(10)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", begun
        over.set()
        thread.join(10)


@pytest.fixture
def large(tmp_path):
    """A file that no buffers of sockets can hold."""
    path = tmp_path / "large.gguf"
    with path.open("wb") as file:
        file.write(b"GGUF")
        file.truncate(64 * PIECE)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limits", "limit"), [({"timeout": Timeouts(first_byte=0.3)}, "first_byte"), ({"deadline": 2.0}, "deadline")]
)
def test_time_limits_count_while_the_server_does_not_read_the_file(not_reading, large, limits, limit):
    with OllamaProvider(not_reading[0], refresh=False) as provider, pytest.raises(RequestTimeoutError) as caught:
        provider.create("n", gguf=large, **limits)
    assert (caught.value.limit, caught.value.sent, caught.value.method) == (limit, True, "POST")
    assert caught.value.progress.status == "uploading"


def test_closing_the_provider_ends_an_upload(not_reading, large, in_background):
    url, begun = not_reading
    with OllamaProvider(url, refresh=False) as provider:
        creating = in_background(provider.create, "n", gguf=large)
        assert begun.wait(10)
        provider.close()
        with pytest.raises(ProviderClosedError):
            creating.result(10)


def test_closing_the_provider_ends_the_hashing(ollama, gguf):
    with pytest.raises(ProviderClosedError):
        ollama.create("n", gguf=gguf, on_progress=lambda progress: ollama.close())


def test_the_deadline_counts_while_the_file_is_hashed(ollama, server, gguf):
    over = threading.Event()
    with pytest.raises(RequestTimeoutError, match="was not hashed") as caught:
        ollama.create("n", gguf=gguf, deadline=0.05, on_progress=lambda progress: over.wait(0.1))
    assert (caught.value.limit, caught.value.sent) == ("deadline", False)
    assert server.requests == []


def test_a_server_that_hangs_up_when_it_is_sent_a_file_is_unavailable(raw_server, gguf):
    def hang_up(connection):
        connection.shutdown(socket.SHUT_RDWR)

    server = raw_server(hang_up)
    with OllamaProvider(server.url, refresh=False, max_retries=0) as provider, pytest.raises(ServerUnavailableError):
        provider.create("n", gguf=gguf)


def test_a_file_that_a_busy_server_refused_is_sent_again_from_the_beginning(httpserver, scripted, gguf):
    digest, bodies = hashlib.sha256(gguf.read_bytes()).hexdigest(), []

    def take(request):
        bodies.append(hashlib.sha256(request.get_data()).hexdigest())
        return Response(status=503, headers={"Retry-After": "0"}) if len(bodies) == 1 else Response(status=201)

    httpserver.expect_request(f"/api/blobs/sha256:{digest}", method="HEAD").respond_with_data("", 404)
    httpserver.expect_request(f"/api/blobs/sha256:{digest}", method="POST").respond_with_handler(take)
    httpserver.expect_request("/api/create").respond_with_data('{"status": "success"}\n', content_type=LINES)
    seen = []
    scripted.create("n", gguf=gguf, on_progress=seen.append)
    assert bodies == [digest, digest]
    assert [each.completed_bytes for each in seen] == sorted(each.completed_bytes for each in seen)


# What works


def test_a_model_is_loaded_with_the_given_options_and_unloaded(ollama, server):
    assert ollama.load("m", num_ctx=2048, keep_alive="10m") is None
    (instance,) = ollama.ps()
    assert (instance.id, instance.context_length, instance.config["size_vram"]) == ("m:latest", 2048, 0)
    assert instance.config["expires_at"]
    assert ollama.unload("m") is None
    assert (ollama.ps(), server.loaded) == ([], [])
    load, unload = sent(server, "/api/chat")
    assert load == {
        "model": "m", "messages": [], "stream": False, "options": {"num_ctx": 2048}, "keep_alive": "10m",
    }  # fmt: skip
    assert unload == {"model": "m", "messages": [], "stream": False, "keep_alive": 0}


def test_a_model_is_loaded_with_the_options_of_the_provider(server):
    with OllamaProvider(server.url, num_ctx=2048, keep_alive="1h", refresh=False) as ollama:
        ollama.load("m")
        ollama.load("m", num_ctx=4096)
    assert [(body["options"]["num_ctx"], body["keep_alive"]) for body in sent(server, "/api/chat")] == [
        (2048, "1h"),
        (4096, "1h"),
    ]


def test_unloading_a_model_that_is_not_loaded_is_not_an_error(ollama):
    ollama.unload("m")
    ollama.unload("vec")


@pytest.mark.parametrize("keep_alive", [-1, 0.5, 300, "-1s", "24h", None])
def test_a_load_sends_keep_alive_as_given(ollama, server, keep_alive):
    ollama.load("m", keep_alive=keep_alive)
    (body,) = sent(server, "/api/chat")
    assert body.get("keep_alive") == keep_alive
    assert server.loaded == ["m:latest"]


def test_an_embedding_model_is_loaded_and_unloaded_too(ollama, server):
    ollama.load("vec", num_ctx=512, keep_alive=-1)
    (instance,) = ollama.ps()
    assert (instance.id, instance.context_length) == ("vec:latest", 512)
    (body,) = sent(server, "/api/embed")
    assert (body["options"], body["keep_alive"]) == ({"num_ctx": 512}, -1)
    ollama.unload("vec")
    assert server.loaded == []


def test_a_loaded_model_is_chosen_before_others(server, ollama):
    server.models.append("other:latest")
    assert ollama.resolve_model() == "m:latest"
    ollama.load("other")
    ollama.refresh_models()
    assert ollama.resolve_model() == "other:latest"


def test_show_returns_the_details_of_a_model(ollama):
    model = ollama.show("vec")
    assert (model.id, model.type, model.max_context_length, model.loaded) == ("vec", "embedding", 131072, None)
    model = ollama.show("m")
    assert (model.type, model.tool_use, model.vision) == ("llm", True, True)
    assert (model.reasoning_options, model.reasoning_default) == (("off", "on", "low", "medium", "high"), "off")
    assert model.raw["template"] == "{{ .Prompt }}"


@pytest.mark.parametrize(("name", "kind"), [("nomic-embed-text", "embedding"), ("llama2", "llm")])
def test_the_type_of_a_model_of_an_old_server_follows_from_its_name(httpserver, scripted, name, kind):
    httpserver.expect_request("/api/show").respond_with_json({"details": {"quantization_level": "Q4_0"}})
    model = scripted.show(name)
    assert (model.type, model.quantization, model.vision) == (kind, "Q4_0", None)


def test_a_copy_is_listed_under_its_new_name(ollama, server):
    assert ollama.copy("m", "me/mine:1") is None
    assert server.models == ["me/mine:1", "m:latest", "vec:latest"]
    assert "me/mine:1" in [model.id for model in ollama.list_models()]


def test_a_download_may_be_insecure(ollama, server):
    ollama.pull("http://box:5000/library/x", insecure=True)
    ollama.pull("new")
    first, second = sent(server, "/api/pull")
    assert first == {"model": "http://box:5000/library/x", "stream": True, "insecure": True}
    assert second == {"model": "new", "stream": True}


def test_a_model_is_made_from_a_file(ollama, server, gguf):
    seen = []
    made = ollama.create(
        "mine",
        gguf=gguf,
        system="Be brief.",
        template="{{ .Prompt }}!",
        parameters={"num_ctx": 2048, "stop": "END"},
        on_progress=seen.append,
    )
    assert made is None
    digest = hashlib.sha256(gguf.read_bytes()).hexdigest()
    (body,) = sent(server, "/api/create")
    assert body == {
        "model": "mine",
        "stream": True,
        "files": {"model.gguf": f"sha256:{digest}"},
        "system": "Be brief.",
        "template": "{{ .Prompt }}!",
        "parameters": {"num_ctx": 2048, "stop": ["END"]},
    }
    (upload,) = [each for each in server.requests if each["method"] == "POST" and "blobs" in each["path"]]
    assert upload["path"] == f"/api/blobs/sha256:{digest}"
    assert upload["headers"]["Content-Length"] == str(gguf.stat().st_size)
    assert "Transfer-Encoding" not in upload["headers"]
    assert ollama.show("mine").raw["system"] == "Be brief."
    assert ollama.complete("Hi", model="mine").text


def test_the_progress_of_a_creation_is_reported_in_bytes_that_never_decrease(ollama, gguf):
    seen, size = [], gguf.stat().st_size
    ollama.create("mine", gguf=gguf, on_progress=seen.append)
    assert statuses(seen)[:3] == ["hashing", "uploading", "parsing GGUF"]
    assert seen[-1].status == "success"
    done = [each.completed_bytes for each in seen]
    assert done == sorted(done)
    assert (done[0], done[2], done[-1]) == (PIECE, size, 2 * size)
    assert seen[2].total_bytes == size
    assert seen[-1].total_bytes == 2 * size


def test_a_file_that_the_server_has_is_not_sent_again(ollama, server, gguf):
    ollama.create("mine", gguf=str(gguf))
    seen = []
    ollama.create("again", gguf=gguf, on_progress=seen.append)
    assert uploads(server) == ["HEAD", "POST", "HEAD"]
    assert statuses(seen)[:2] == ["hashing", "parsing GGUF"]
    assert seen[-1].completed_bytes == seen[-1].total_bytes == gguf.stat().st_size


def test_a_file_is_sent_if_a_proxy_refuses_head(httpserver, scripted, gguf):
    digest = hashlib.sha256(gguf.read_bytes()).hexdigest()
    httpserver.expect_request(f"/api/blobs/sha256:{digest}", method="HEAD").respond_with_data("", 405)
    httpserver.expect_request(f"/api/blobs/sha256:{digest}", method="POST").respond_with_data("", 200)
    httpserver.expect_request("/api/create").respond_with_data('{"status": "success"}\n', content_type=LINES)
    scripted.create("n", gguf=gguf)


@pytest.mark.slow
def test_a_file_is_never_in_memory_as_a_whole(ollama, large):
    tracemalloc.start()
    try:
        ollama.create("n", gguf=large)
        assert tracemalloc.get_traced_memory()[1] < 16 * PIECE
    finally:
        tracemalloc.stop()


def test_a_model_is_made_from_another_one(ollama, server):
    ollama.create("mine", from_model="m", system="", parameters={})
    (body,) = sent(server, "/api/create")
    assert body == {"model": "mine", "stream": True, "from": "m", "system": "", "parameters": {}}
    assert server.models[0] == "mine:latest"
    assert uploads(server) == []


def test_a_missing_model_is_pulled_before_another_one_is_made_from_it(ollama):
    seen = []
    ollama.create("mine", from_model="new", on_progress=seen.append)
    assert seen[0].status == "pulling manifest"
    assert seen[-1].total_bytes == 4096


def test_the_speed_of_an_upload_does_not_count_the_hashing():
    now = [0.0]
    meter = Meter(lambda: now[0])
    meter.update("hashing", "hashing", 1, 1000)
    now[0] = 1.0
    assert meter.update("hashing", "hashing", 1000, 1000).bytes_per_second == 999
    meter.restart()
    meter.update("uploading", "uploading", 10, 1000)
    now[0] = 11.0
    progress = meter.update("uploading", "uploading", 110, 1000)
    assert (progress.bytes_per_second, progress.seconds_left) == (10, 89)


# The names of models that errors suggest


@pytest.mark.parametrize(
    "ask",
    [
        lambda o: o.show("nomic-embed-txt"),
        lambda o: o.delete("nomic-embed-txt"),
        lambda o: o.copy("nomic-embed-txt", "x"),
    ],
)
def test_a_model_of_any_kind_is_suggested_if_the_call_takes_any(ask):
    models = [OllamaModel("nomic-embed-text:latest", capabilities=("embedding",)), OllamaModel("qwen3:8b")]
    with SimulatedOllama(models) as server, OllamaProvider(server.url, refresh=False) as ollama:
        ollama.refresh_models()
        with pytest.raises(ModelNotFoundError) as caught:
            ask(ollama)
        assert caught.value.near == ("nomic-embed-text:latest",)
        with pytest.raises(ModelNotFoundError) as caught:
            ollama.chat("Hi", model="nomic-embed-txt")
        assert caught.value.near == ()
