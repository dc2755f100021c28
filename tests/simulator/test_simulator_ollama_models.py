"""The models of the stand-in for Ollama: their descriptions, and how they are loaded and unloaded."""

import json
import math
import re
from datetime import datetime, timezone

import pytest
from plain_http import HI, ask, keys, lines, post
from tables import for_each

from lmstudio_provider.simulator import OllamaModel, SimulatedOllama

BAD = OllamaModel("vec", capabilities=("embedding",), listed_capabilities=("completion",), context_length=512)


def get(server, path):
    return json.loads(ask(server, "GET", path)[2])


def tags(server):
    return {each["name"]: each for each in get(server, "/api/tags")["models"]}


def chat(server, model="m", messages=HI, **fields):
    return post(server, "/api/chat", {"model": model, "messages": messages, "stream": False, **fields})


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


# Descriptions


def test_the_list_can_contradict_api_show_which_is_right():
    with SimulatedOllama(BAD) as server:
        assert tags(server)["vec:latest"]["capabilities"] == ["completion"]
        assert post(server, "/api/show", {"model": "vec"})[1]["capabilities"] == ["embedding"]
        assert chat(server, "vec") == (400, {"error": '"vec" does not support chat'})
        assert post(server, "/api/embed", {"model": "vec", "input": "a"})[0] == 200


def test_the_list_need_not_have_capabilities():
    with SimulatedOllama(OllamaModel("m", listed_capabilities=())) as server:
        assert "capabilities" not in tags(server)["m:latest"]


@pytest.mark.parametrize("path", ["/api/tags", "/v1/models"])
def test_the_list_can_be_null_or_empty(path):
    name = "models" if path == "/api/tags" else "data"
    with SimulatedOllama(models=None) as server:
        assert get(server, path)[name] is None
        server.models.append("m:latest")
        assert len(get(server, path)[name]) == 1
    with SimulatedOllama(models=[]) as server:
        assert get(server, "/api/tags") == {"models": []}
        assert get(server, "/v1/models") == {"object": "list", "data": None}


def test_a_cloud_model_looks_as_one_of_ollama(sample):
    wanted = json.loads(sample("ollama_tags.json"))["models"][1]
    with SimulatedOllama(["gpt-oss:120b-cloud", "qwen3:cloud", "m"]) as server:
        got = tags(server)
        shown = post(server, "/api/show", {"model": "qwen3:cloud"})[1]
    cloud = {**got["gpt-oss:120b-cloud"], "capabilities": [1, 2, 3]}
    assert keys(cloud) == keys({**wanted, "capabilities": [1, 2, 3]})
    for name in ("remote_model", "remote_host", "size"):
        assert cloud[name] == wanted[name]
    assert (cloud["details"]["format"], cloud["details"]["families"]) == ("", None)
    assert (shown["remote_model"], shown["remote_host"]) == ("qwen3", "https://ollama.com:443")
    assert "remote_host" not in got["m:latest"]


def test_a_reply_of_a_cloud_model_says_where_it_ran():
    with SimulatedOllama(OllamaModel("m", remote_model="big", remote_host="https://example.com:443")) as server:
        value = chat(server)[1]
        first = lines(ask(server, "POST", "/api/generate", {"model": "m", "prompt": "x"})[2])[0]
    assert list(value)[:4] == ["model", "remote_model", "remote_host", "created_at"]
    assert (first["remote_model"], first["remote_host"]) == ("big", "https://example.com:443")


def test_api_show_has_the_fields_of_ollamas(sample):
    model = OllamaModel("m", parameters={"temperature": 0.6, "num_ctx": 99}, system="Be brief.", context_length=512)
    wanted = json.loads(sample("ollama_show.json"))
    with SimulatedOllama(model) as server:
        shown = post(server, "/api/show", {"model": "m"})[1]
    assert set(wanted) - set(shown) == {"license"}
    assert shown["model_info"]["general.architecture"] == "simulated"
    assert shown["model_info"]["simulated.context_length"] == 512
    assert [line.split() for line in shown["parameters"].splitlines()] == [["temperature", "0.6"], ["num_ctx", "99"]]
    assert (shown["system"], shown["thinking"]["default"]) == ("Be brief.", False)
    assert shown["thinking"]["values"] == [False, True, "low", "medium", "high"]


@pytest.mark.parametrize("model", [OllamaModel("m", think_values=()), OllamaModel("m", capabilities=("completion",))])
def test_the_levels_of_thinking_are_missing_on_older_servers_and_for_models_that_do_not_think(model):
    with SimulatedOllama(model) as server:
        assert "thinking" not in post(server, "/api/show", {"model": "m"})[1]


def test_each_model_has_a_different_digest():
    with SimulatedOllama(["a", "b", OllamaModel("c", digest="0" * 64)]) as server:
        digests = [each["digest"] for each in tags(server).values()]
    assert len(set(digests)) == 3
    assert digests[2] == "0" * 64
    assert all(re.fullmatch("[0-9a-f]{64}", each) for each in digests)


def test_a_name_finds_its_model_in_any_case_and_is_repeated_unchanged():
    with SimulatedOllama(["Qwen3:8B", "acme/m"]) as server:
        for name in ("qwen3:8b", "QWEN3:8b", " Qwen3:8B "):
            status, value = chat(server, name)
            assert (status, value["model"]) == (200, name)
        assert post(server, "/v1/chat/completions", {"model": "ACME/m", "messages": HI})[1]["model"] == "ACME/m"


# In memory


def test_a_chat_without_messages_loads_and_unloads(sample):
    with SimulatedOllama("m") as server:
        for body in ({"messages": []}, {"messages": None}, {}, {"stream": True}):
            status, headers, data = ask(server, "POST", "/api/chat", {"model": "m", **body})
            value = json.loads(data)
            assert (status, headers["Content-Type"]) == (200, "application/json; charset=utf-8")
            assert (value["message"], value["done"]) == ({"role": "assistant", "content": ""}, True)
            assert (value["done_reason"], server.loaded) == ("load", ["m:latest"])
            assert "eval_count" not in value
        assert chat(server, messages=[], keep_alive=0)[1]["done_reason"] == "unload"
        assert server.loaded == []


def test_a_text_without_a_prompt_loads_and_unloads_in_plain_json():
    with SimulatedOllama("m") as server:
        body = {"model": "m", "prompt": "", "stream": True}
        value = json.loads(ask(server, "POST", "/api/generate", body)[2])
        assert (value["response"], value["done_reason"], server.loaded) == ("", "load", ["m:latest"])
        value = json.loads(ask(server, "POST", "/api/generate", {**body, "keep_alive": "0s"})[2])
        assert (value["done_reason"], server.loaded) == ("unload", [])


def test_a_model_that_only_embeds_can_be_unloaded_and_not_loaded_by_a_chat():
    with SimulatedOllama("embed") as server:
        assert chat(server, "embed", [])[0] == 400
        post(server, "/api/embed", {"model": "embed", "input": "a"})
        assert server.loaded == ["embed:latest"]
        assert chat(server, "embed", [], keep_alive=0)[1]["done_reason"] == "unload"
    assert server.loaded == []


def test_a_loaded_model_says_its_context_length():
    with SimulatedOllama(["m", OllamaModel("small", context_length=1024)]) as server:
        chat(server, messages=[], options={"num_ctx": 9000})
        chat(server, "small", [])
        assert [(each["name"], each["context_length"]) for each in get(server, "/api/ps")["models"]] == [
            ("m:latest", 9000),
            ("small:latest", 1024),
        ]
        chat(server)
        assert get(server, "/api/ps")["models"][0]["context_length"] == 4096


@for_each(
    ("keep_alive", "stays_s"),
    [
        (None, 300),
        (10, 10),
        (0.5, 0.5),
        ("10s", 10),
        ("1m30s", 90),
        ("1.5h", 5400),
        ("500ms", 0.5),
        ("+2m", 120),
        (-1, math.inf),
        ("-1s", math.inf),
        ("-5m", math.inf),
        (0, 0),
        ("0", 0),
        ("0s", 0),
        ("-0", 0),
    ],
)
@for_each("path", ["/api/chat", "/api/generate", "/api/embed"])
def test_a_model_stays_as_long_as_keep_alive_says(path, keep_alive, stays_s):
    clock, name = Clock(), "embed" if path == "/api/embed" else "m"
    with SimulatedOllama(name, clock=clock) as server:
        body = {"model": name, "messages": HI, "prompt": "x", "input": "x", "keep_alive": keep_alive}
        assert ask(server, "POST", path, body)[0] == 200
        assert bool(server.loaded) is (stays_s > 0)
        clock.now_s = min(stays_s, 1e9) - 0.1
        assert bool(server.loaded) is (stays_s > 0)
        clock.now_s = min(stays_s, 1e9)
        assert bool(server.loaded) is (stays_s == math.inf)


@for_each(
    ("keep_alive", "said"),
    [
        ("300", 'time: missing unit in duration "300"'),
        ("-1", 'time: missing unit in duration "-1"'),
        ("1m30", 'time: missing unit in duration "1m30"'),
        ("5x", 'time: unknown unit "x" in duration "5x"'),
        ("5 m", 'time: unknown unit " m" in duration "5 m"'),
        ("", 'time: invalid duration ""'),
        ("forever", 'time: invalid duration "forever"'),
        ("-", 'time: invalid duration "-"'),
        (True, "Unsupported type: 'bool'"),
        (["5m"], "Unsupported type: '[]interface {}'"),
    ],
)
def test_an_invalid_keep_alive_is_refused(keep_alive, said):
    with SimulatedOllama(["m", "embed"]) as server:
        assert chat(server, keep_alive=keep_alive) == (400, {"error": said})
        body = {"model": "embed", "input": "a", "keep_alive": keep_alive}
        assert post(server, "/api/embed", body) == (400, {"error": said})


def test_models_that_stay_forever_have_an_expiry_date_too():
    with SimulatedOllama("m") as server:
        chat(server, keep_alive=60)
        (soon,) = get(server, "/api/ps")["models"]
        chat(server, keep_alive=-1)
        (late,) = get(server, "/api/ps")["models"]

    def left_s(value):
        moment = datetime.fromisoformat(value["expires_at"].replace("Z", "+00:00"))
        return (moment - datetime.now(timezone.utc)).total_seconds()

    assert 0 < left_s(soon) <= 61
    assert left_s(late) > 1e9
