"""The files from which the stand-in for Ollama makes models: copies, deletions, downloads, uploads."""

import hashlib
import json

from plain_http import HI, ask, lines, post
from tables import for_each

from lmstudio_provider.simulator import OllamaModel, SimulatedOllama

BAD = OllamaModel("vec", capabilities=("embedding",), listed_capabilities=("completion",))
GGUF = b"GGUF" + bytes(100)


def digest_of(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def tags(server):
    return {each["name"]: each for each in json.loads(ask(server, "GET", "/api/tags")[2])["models"]}


def chat(server, model="m", messages=HI, **fields):
    return post(server, "/api/chat", {"model": model, "messages": messages, "stream": False, **fields})


def statuses(server, path, body):
    status, headers, data = ask(server, "POST", path, body)
    assert (status, headers["Content-Type"]) == (200, "application/x-ndjson"), data
    return [each.get("status", each.get("error")) for each in lines(data)]


# Copies, deletions, downloads


def test_a_copy_is_the_same_model_under_another_name():
    with SimulatedOllama([BAD, "m"]) as server:
        status, _, data = ask(server, "POST", "/api/copy", {"source": "VEC", "destination": "acme/vec:2"})
        assert (status, data) == (200, b"")
        got = tags(server)
        assert list(got) == ["acme/vec:2", "vec:latest", "m:latest"]
        assert got["acme/vec:2"]["digest"] == got["vec:latest"]["digest"]
        assert post(server, "/api/embed", {"model": "acme/vec:2", "input": "a"})[0] == 200


@for_each(
    ("body", "status", "said"),
    [
        ({"source": "no", "destination": "n"}, 404, 'model "no" not found'),
        ({"source": "m"}, 400, 'destination "" is invalid'),
        ({"destination": "n"}, 400, 'source "" is invalid'),
    ],
)
def test_an_impossible_copy_is_refused(body, status, said):
    with SimulatedOllama("m") as server:
        assert post(server, "/api/copy", body) == (status, {"error": said})


def test_a_deleted_model_is_neither_listed_nor_loaded():
    with SimulatedOllama(["m", "n"]) as server:
        chat(server)
        assert ask(server, "DELETE", "/api/delete", {"name": "m"})[::2] == (200, b"")
        assert (server.models, server.loaded) == (["n:latest"], [])
        status, _, data = ask(server, "DELETE", "/api/delete", {"model": "m"})
    assert (status, json.loads(data)) == (404, {"error": "model 'm' not found"})


def test_a_model_that_is_pulled_comes_first_and_its_layers_come_at_once_the_next_time():
    with SimulatedOllama("m") as server:
        first = lines(ask(server, "POST", "/api/pull", {"model": "new"})[2])
        second = lines(ask(server, "POST", "/api/pull", {"name": "new"})[2])
        assert server.models == ["new:latest", "m:latest"]
    assert [each.get("completed") for each in first if "digest" in each] == [None, 1024, 2048, 3072, 4096]
    assert [(each["completed"], each["total"]) for each in second if "digest" in each] == [(4096, 4096)]
    assert (first[0]["status"], first[-1]) == ("pulling manifest", {"status": "success"})


def test_pulling_a_model_on_disk_does_not_change_it():
    with SimulatedOllama(BAD) as server:
        statuses(server, "/api/pull", {"model": "vec"})
        assert post(server, "/api/show", {"model": "vec"})[1]["capabilities"] == ["embedding"]


def test_a_pull_in_one_piece_says_only_how_it_ended():
    with SimulatedOllama("m") as server:
        assert post(server, "/api/pull", {"model": "new", "stream": False}) == (200, {"status": "success"})
        status, value = post(server, "/api/pull", {"model": "no-such", "stream": False})
        assert (status, value) == (500, {"error": "pull model manifest: file does not exist"})
        assert post(server, "/api/pull", {}) == (400, {"error": "invalid model name"})


# Files, and the models made from them


def test_a_file_is_taken_once_and_only_if_it_is_whole():
    digest = digest_of(GGUF)
    with SimulatedOllama("m") as server:
        path = f"/api/blobs/{digest}"
        assert ask(server, "HEAD", path)[::2] == (404, b"")
        status, _, data = ask(server, "POST", path, data=GGUF[:-1])
        said = f'digest mismatch, expected "{digest}", got "{digest_of(GGUF[:-1])}"'
        assert (status, json.loads(data)) == (400, {"error": said})
        assert ask(server, "HEAD", path)[0] == 404
        assert ask(server, "POST", path, data=GGUF)[::2] == (201, b"")
        assert ask(server, "HEAD", path)[0] == 200
        assert ask(server, "POST", path, data=GGUF)[0] == 200
        assert [request["body"] for request in server.requests] == [None] * len(server.requests)


def test_a_file_can_be_sent_in_chunks():
    big = GGUF + bytes(300_000)
    with SimulatedOllama("m") as server:
        pieces = (big[at : at + 7000] for at in range(0, len(big), 7000))
        assert ask(server, "POST", f"/api/blobs/{digest_of(big)}", data=pieces)[0] == 201


@for_each("name", ["sha256:abc", "md5:" + "0" * 64, "", "sha256:" + "g" * 64])
def test_a_file_without_a_digest_is_refused(name):
    with SimulatedOllama("m") as server:
        assert ask(server, "HEAD", f"/api/blobs/{name}")[0] == 400
        assert ask(server, "POST", f"/api/blobs/{name}", data=b"x")[0] == 400
        assert ask(server, "DELETE", f"/api/blobs/{name}")[0] == 405


def test_a_model_is_made_of_a_file():
    digest = digest_of(GGUF)
    body = {"model": "mine", "files": {"x.gguf": digest}, "system": "Be brief.", "parameters": {"num_ctx": 99}}
    with SimulatedOllama("m") as server:
        ask(server, "POST", f"/api/blobs/{digest}", data=GGUF)
        assert statuses(server, "/api/create", body) == [
            "parsing GGUF",
            f"using existing layer {digest}",
            "using autodetected template chatml",
            "writing manifest",
            "success",
        ]
        shown = post(server, "/api/show", {"model": "mine"})[1]
        assert (shown["system"], shown["parameters"].split()) == ("Be brief.", ["num_ctx", "99"])
        assert server.models == ["mine:latest", "m:latest"]
        assert chat(server, "mine")[0] == 200
        first = tags(server)["mine:latest"]["digest"]
        assert "using autodetected template chatml" not in statuses(
            server, "/api/create", {**body, "template": "{{ .System }}"}
        )
        assert server.models == ["mine:latest", "m:latest"]
        assert tags(server)["mine:latest"]["digest"] != first


def test_a_model_made_of_another_one_has_its_capabilities():
    with SimulatedOllama([BAD, "m"]) as server:
        made = statuses(server, "/api/create", {"model": "mine", "from": "vec", "parameters": {"num_ctx": 9}})
        assert [each.split(" sha256")[0] for each in made] == ["using existing layer", "writing manifest", "success"]
        assert post(server, "/api/show", {"model": "mine"})[1]["capabilities"] == ["embedding"]


def test_an_unknown_model_to_start_from_is_pulled_first():
    with SimulatedOllama("m") as server:
        assert statuses(server, "/api/create", {"model": "mine", "from": "new"})[0] == "pulling manifest"
        assert server.models == ["mine:latest", "new:latest", "m:latest"]
        got = statuses(server, "/api/create", {"model": "mine", "from": "no-such"})
        assert got == ["pulling manifest", "pull model manifest: file does not exist"]


def test_a_file_that_is_not_a_model_is_an_error_line():
    text = b"# A model card"
    with SimulatedOllama("m") as server:
        ask(server, "POST", f"/api/blobs/{digest_of(text)}", data=text)
        body = {"model": "mine", "files": {"README.md": digest_of(text)}}
        assert statuses(server, "/api/create", body) == ["parsing GGUF", "supplied file was not in GGUF format"]
        assert statuses(server, "/api/create", {"model": "mine"}) == ["neither 'from' or 'files' was specified"]
        assert post(server, "/api/create", {**body, "stream": False})[0] == 500
        assert server.models == ["m:latest"]


@for_each(
    ("body", "said"),
    [
        ({"from": "m"}, "invalid model name"),
        ({"model": "x", "files": {"x.gguf": "abc"}}, "invalid digest format"),
        ({"model": "x", "files": {"x.gguf": digest_of(GGUF)}}, "open x.gguf: no such file or directory"),
    ],
)
def test_a_request_that_makes_no_model_is_refused(body, said):
    with SimulatedOllama("m") as server:
        assert post(server, "/api/create", body) == (400, {"error": said})


def test_some_paths_answer_head_requests():
    with SimulatedOllama("m") as server:
        for path in ("/", "/api/version", "/api/tags"):
            status, headers, data = ask(server, "HEAD", path)
            assert (status, data) == (200, b"")
            assert int(headers["Content-Length"]) == len(ask(server, "GET", path)[2])
