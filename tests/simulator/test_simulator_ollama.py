"""The stand-in for Ollama, over plain HTTP: its replies have to match Ollama's."""

from __future__ import annotations

import json

import pytest
from plain_http import HI, ask, keys, lines

from lmstudio_provider.simulator import SimulatedOllama


@pytest.fixture
def server():
    with SimulatedOllama(models=["chat-model", "embed-model"]) as running:
        yield running


def post(server, path, body, method="POST"):
    status, headers, data = ask(server, method, path, body)
    return status, headers["Content-Type"], data


# Refusals


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/lmstudio-greeting", 404), ("POST", "/v1/x", 404), ("GET", "/api/chat", 405)],
)
def test_an_unknown_path_is_answered_with_text_and_not_json(server, method, path, status):
    got, headers, data = ask(server, method, path)
    assert (got, headers["Content-Type"]) == (status, "text/plain; charset=utf-8")
    assert data.startswith(str(status).encode())


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/api/chat", None, 400, "missing request body"),
        ("/api/chat", {}, 400, "model is required"),
        ("/api/chat", {"model": "none", "messages": HI}, 404, "model 'none' not found"),
        ("/api/chat", {"model": "embed-model", "messages": HI}, 400, '"embed-model" does not support chat'),
        (
            "/api/chat",
            {"model": "chat-model", "messages": HI, "options": {"stop": "x"}},
            500,
            'option "stop" must be of type array',
        ),
        ("/api/embed", {"model": "embed-model", "input": [7]}, 400, "invalid input type"),
        ("/api/show", {"model": "none"}, 404, "model 'none' not found"),
        ("/api/show", {}, 400, "model is required"),
        ("/api/generate", {"model": "embed-model", "prompt": "a"}, 400, '"embed-model" does not support generate'),
        ("/api/embed", {"model": "no", "input": "a"}, 404, 'model "no" not found, try pulling it first'),
    ],
)
def test_refusals_have_ollamas_words(server, path, body, status, said):
    got, kind, data = post(server, path, body)
    assert (got, kind, json.loads(data)) == (status, "application/json; charset=utf-8", {"error": said})


def test_a_model_that_cannot_be_pulled_is_an_error_line_under_200(server, sample):
    status, kind, data = post(server, "/api/pull", {"model": "no-such-model"})
    assert (status, kind) == (200, "application/x-ndjson")
    assert lines(data) == lines(sample("ollama_pull_stream_error.ndjson"))


# Replies


def test_it_says_that_it_runs_and_in_which_version(server):
    assert ask(server, "GET", "/")[2] == b"Ollama is running"
    assert json.loads(ask(server, "GET", "/api/version")[2]) == {"version": "0.35.1"}


def test_models_look_as_those_of_ollama(server, sample):
    value = json.loads(ask(server, "GET", "/api/tags")[2])
    expected = json.loads(sample("ollama_tags.json"))["models"][0]
    del expected["details"]["context_length"]
    assert [keys(each) for each in value["models"]] == [
        keys({**expected, "capabilities": [1] * count}) for count in (4, 1)
    ]
    assert [each["name"] for each in value["models"]] == ["chat-model:latest", "embed-model:latest"]


def test_a_model_that_answered_is_loaded(server, sample):
    assert json.loads(ask(server, "GET", "/api/ps")[2]) == {"models": []}
    post(server, "/api/chat", {"model": "chat-model", "messages": HI, "stream": False})
    (running,) = json.loads(ask(server, "GET", "/api/ps")[2])["models"]
    assert keys(running) == keys(json.loads(sample("ollama_ps.json"))["models"][0])


def test_a_chat_looks_as_one_of_ollama(server, sample):
    status, _, data = post(server, "/api/chat", {"model": "chat-model", "messages": HI, "stream": False})
    assert (status, keys(json.loads(data))) == (200, keys(json.loads(sample("ollama_chat.json"))))


def test_a_chat_is_streamed_by_default(server, sample):
    status, kind, data = post(server, "/api/chat", {"model": "chat-model", "messages": HI})
    assert (status, kind) == (200, "application/x-ndjson")
    *pieces, last = lines(data)
    *expected, end = lines(sample("ollama_chat_stream.ndjson"))
    assert {json.dumps(keys(piece)) for piece in pieces} == {json.dumps(keys(expected[0]))}
    assert keys(last) == keys(end)


def test_tool_calls_come_whole_one_a_line(sample):
    calls = [{"name": "f", "arguments": {"city": name}} for name in ("Oslo", "Bergen")]
    tools = [{"type": "function", "function": {"name": "f"}}]
    with SimulatedOllama(models=["m"], replies=[{"tool_calls": calls}]) as server:
        *pieces, last = lines(post(server, "/api/chat", {"model": "m", "messages": HI, "tools": tools})[2])
    *expected, _ = lines(sample("ollama_chat_stream_tools.ndjson"))
    assert [keys(piece) for piece in pieces] == [keys(each) for each in expected[1:]]
    assert last["done_reason"] == "stop"


def test_thoughts_come_if_a_request_asks_for_them(server):
    body = {"model": "chat-model", "messages": HI, "stream": False, "think": True}
    assert json.loads(post(server, "/api/chat", body)[2])["message"]["thinking"].startswith("This is simulated")


def test_an_answer_fits_the_format(server):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    body = {"model": "chat-model", "messages": HI, "stream": False, "format": schema}
    assert json.loads(json.loads(post(server, "/api/chat", body)[2])["message"]["content"]) == {"a": 1}


def test_a_chat_without_messages_loads_the_model(server):
    value = json.loads(post(server, "/api/chat", {"model": "chat-model"})[2])
    assert (value["done_reason"], server.loaded) == ("load", ["chat-model:latest"])


def test_a_text_is_completed_as_by_ollama(server, sample):
    *pieces, last = lines(post(server, "/api/generate", {"model": "chat-model", "prompt": "Once"})[2])
    *expected, end = lines(sample("ollama_generate_stream.ndjson"))
    del end["context"]
    assert keys(pieces[0]) == keys(expected[0])
    assert keys(last) == keys(end)


def test_vectors_look_as_those_of_ollama(server, sample):
    value = json.loads(post(server, "/api/embed", {"model": "embed-model", "input": ["a", "b"]})[2])
    expected = json.loads(sample("ollama_embed.json"))
    assert keys({**value, "embeddings": 0}) == keys({**expected, "embeddings": 0})
    assert len(value["embeddings"]) == 2


def test_a_model_is_pulled_and_deleted(server, sample):
    data = post(server, "/api/pull", {"model": "new"})[2]
    expected = lines(sample("ollama_pull_stream.ndjson"))
    assert [each["status"].split()[0] for each in (lines(data)[0], *lines(data)[-4:])] == [
        each["status"].split()[0] for each in (expected[0], *expected[-4:])
    ]
    assert "new:latest" in server.models
    status, _, data = ask(server, "DELETE", "/api/delete", {"model": "new"})
    assert (status, data) == (200, b"")
    assert "new:latest" not in server.models


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
        {"role": "user", "content": "", "images": ["data:image/png;base64,aGk="]},
    ],
)
def test_openais_forms_are_refused(server, message):
    status, _, _ = post(server, "/api/chat", {"model": "chat-model", "messages": [message]})
    assert status == 400
