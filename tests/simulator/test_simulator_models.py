"""The models of the stand-in, on disk and in memory, over plain HTTP."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from plain_http import CHAT, HI, ask, keys, post
from tables import for_each

from lmstudio_provider.simulator import SimulatedLMStudio

LOAD, UNLOAD, DOWNLOAD = "/api/v1/models/load", "/api/v1/models/unload", "/api/v1/models/download"
MODELS = ["acme/a", "b", "c-vl", "too-large", "text-embedding-x"]
TOKEN = "sk-lm-AbCd1234:0123456789abcdefghij"


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def get(server, path):
    status, _, data = ask(server, "GET", path)
    return status, json.loads(data)


def chat(server, model, **fields):
    return post(server, CHAT, {"model": model, "messages": HI, **fields})


def loaded(server):
    return [each.id for each in server.instances]


@pytest.fixture
def server():
    with SimulatedLMStudio(MODELS, loaded=[]) as running:
        yield running


# Token


@for_each(
    ("headers", "name"),
    [
        ({}, "missing"),
        ({"Authorization": "Bearer "}, "missing"),
        ({"Authorization": TOKEN}, "missing"),
        ({"x-api-key": TOKEN}, "missing"),
        ({"Authorization": "Bearer sk-bogus-Example"}, "malformed"),
    ],
)
@for_each("path", ["/v1/models", "/api/v1/models", "/nowhere"])
def test_without_the_token_every_request_is_refused(sample, headers, name, path):
    with SimulatedLMStudio(api_token=TOKEN) as server:
        status, _, data = ask(server, "GET", path, headers=headers)
    assert (status, data) == (401, sample(f"errors/api_key_{name}.json").rstrip())


def test_the_token_is_accepted_and_the_greeting_does_not_need_it(sample):
    with SimulatedLMStudio(api_token=TOKEN) as server:
        assert ask(server, "GET", "/v1/models", headers={"authorization": f"Bearer {TOKEN}"})[0] == 200
        assert ask(server, "GET", "/lmstudio-greeting")[2] == sample("greeting.json").rstrip()


# Version


@for_each(
    ("version", "path", "there"),
    [
        ("0.3.5", "/api/v0/models", False),
        ("0.3.6", "/api/v0/models", True),
        ("0.3.39", "/api/v1/models", False),
        ("0.4.0", "/api/v1/models", True),
        ("1.1.7", "/api/v1/models", True),
        ("0.3.39", DOWNLOAD + "/status/job", False),
        ("0.3.5", "/v1/models", True),
    ],
)
def test_an_endpoint_exists_since_its_version(version, path, there):
    with SimulatedLMStudio(version=version) as server:
        data = ask(server, "GET", path)[2]
    assert (data == f'{{"error":"Unexpected endpoint or method. (GET {path})"}}'.encode()) is not there


# Lists


def test_models_are_listed_as_v0_lists_them(sample):
    wanted = {each["type"]: each for each in json.loads(sample("models_v0.json"))["data"]}
    with SimulatedLMStudio(MODELS, loaded=["acme/a"], context_length=8192) as server:
        llm, _, vlm, _, embedding = get(server, "/api/v0/models")[1]["data"]
    for got in (llm, vlm, embedding):
        assert set(got) == set(wanted[got["type"]])
    assert [each["type"] for each in (llm, vlm, embedding)] == ["llm", "vlm", "embeddings"]
    assert (llm["publisher"], llm["state"], llm["loaded_context_length"]) == ("acme", "loaded", 8192)
    assert vlm["state"] == "not-loaded"


def test_models_are_listed_as_v1_lists_them(sample):
    _, _, vision, embedding = json.loads(sample("models_v1.json"))["models"]
    with SimulatedLMStudio(MODELS, loaded=["acme/a", "acme/a", "text-embedding-x"]) as server:
        llm, _, vlm, _, other = get(server, "/api/v1/models")[1]["models"]
    assert (set(vlm), set(other)) == (set(vision), set(embedding))
    assert (llm["type"], llm["publisher"], llm["key"], llm["display_name"]) == ("llm", "acme", "acme/a", "a")
    assert [each["id"] for each in llm["loaded_instances"]] == ["acme/a", "acme/a:2"]
    assert set(llm["loaded_instances"][0]["config"]) == {
        "context_length",
        "eval_batch_size",
        "parallel",
        "flash_attention",
        "offload_kv_cache_to_gpu",
    }
    assert other["loaded_instances"] == [{"id": "text-embedding-x", "config": {"context_length": 4096}}]
    assert (llm["capabilities"]["vision"], vlm["capabilities"]["vision"]) == (False, True)
    assert vlm["loaded_instances"] == []


@pytest.mark.parametrize(("jit", "ids"), [(True, [*MODELS, "b:2"]), (False, ["b", "b:2"])])
def test_v1_lists_all_models_or_without_jit_those_in_memory(jit, ids):
    with SimulatedLMStudio(MODELS, loaded=["b", "b"], jit=jit) as server:
        assert [each["id"] for each in get(server, "/v1/models")[1]["data"]] == ids


def test_all_models_that_can_be_loaded_are_loaded_at_the_start():
    assert loaded(SimulatedLMStudio(MODELS)) == ["acme/a", "b", "c-vl", "text-embedding-x"]


# Loaded for a request


def test_a_model_that_is_too_large_is_not_loaded_for_a_request(server, sample):
    said = json.loads(sample("errors/model_load_failed.json").replace(b"qwen/qwen3-8b", b"too-large"))
    assert chat(server, "too-large") == (400, said)
    assert loaded(server) == []


def test_without_jit_nothing_is_loaded_for_a_request(sample):
    with SimulatedLMStudio(["a", "b"], loaded=[], jit=False) as server:
        assert chat(server, "a") == (400, json.loads(sample("errors/no_models_loaded.json")))
        post(server, LOAD, {"model": "b"})
        assert chat(server, "a")[1]["model"] == "b"


def test_an_unknown_name_loads_nothing(server):
    status, value = chat(server, "no")
    assert (status, value["error"]["code"]) == (400, "model_not_found")
    assert loaded(server) == []


@for_each("name", ["no", "text-embedding-x", None])
def test_an_unknown_name_is_answered_by_the_only_model_that_chats(name):
    with SimulatedLMStudio(MODELS, loaded=["b", "text-embedding-x"]) as server:
        assert chat(server, name)[1]["model"] == "b"
        post(server, LOAD, {"model": "b"})
        assert chat(server, name)[0] == 400


@pytest.mark.parametrize("ttl", ["60", 0, -1, True, [], 1.5])
def test_a_ttl_that_is_not_a_number_of_seconds_means_the_default(server, ttl):
    assert chat(server, "b", ttl=ttl)[0] == 200
    assert [each.ttl_s for each in server.instances] == [3600]


def test_the_key_of_a_model_matches_in_any_letter_case_and_the_reply_has_its_own(server):
    assert chat(server, "ACME/A")[1]["model"] == "acme/a"


def test_a_request_without_a_model_loads_none(server, sample):
    assert post(server, CHAT, {"messages": HI}) == (400, json.loads(sample("errors/no_models_loaded.json")))


@pytest.mark.parametrize("name", ["acme/a", "acme/a@q4_k_m"])
def test_a_request_loads_its_model_for_an_hour(server, name):
    assert chat(server, name)[1]["model"] == "acme/a"
    (instance,) = server.instances
    assert (instance.model, instance.by_jit, instance.ttl_s) == ("acme/a", True, 3600)


def test_a_model_loaded_by_a_request_makes_room_for_the_next_and_one_loaded_by_hand_stays():
    with SimulatedLMStudio(MODELS, loaded=["c-vl"]) as server:
        chat(server, "acme/a")
        chat(server, "b")
        assert loaded(server) == ["c-vl", "b"]
        post(server, "/v1/embeddings", {"model": "text-embedding-x", "input": "a"})
        assert loaded(server) == ["c-vl", "text-embedding-x"]


def test_a_model_is_unloaded_when_it_was_idle_for_its_ttl():
    clock = Clock()
    with SimulatedLMStudio(MODELS, loaded=["b"], clock=clock) as server:
        chat(server, "acme/a", ttl=60)
        clock.now = 59
        chat(server, "acme/a", ttl=5)  # counts only for what loads the model
        clock.now = 118
        assert loaded(server) == ["b", "acme/a"]
        clock.now = 119
        assert loaded(server) == ["b"]


def test_an_instance_is_asked_by_its_id():
    with SimulatedLMStudio(MODELS, loaded=["b", "b", "acme/a"]) as server:
        assert [chat(server, name)[1]["model"] for name in ("b", "b:2", "b@q8_0")] == ["b", "b:2", "b"]
        post(server, UNLOAD, {"instance_id": "b"})
        assert chat(server, "b")[1]["model"] == "b:2"


def test_requests_at_once_load_a_model_once(server):
    with ThreadPoolExecutor(8) as pool:
        assert {status for status, _ in pool.map(lambda _: chat(server, "b"), range(32))} == {200}
    assert loaded(server) == ["b"]


# Load and unload


@pytest.mark.parametrize("path", [LOAD, UNLOAD, DOWNLOAD])
@pytest.mark.parametrize("key", ["model", "instance_id"])
def test_a_key_that_is_not_known_is_refused(server, sample, path, key):
    status, value = post(server, path, {key: "b", "seed": 1})
    assert status == 400
    if (path == UNLOAD) == (key == "instance_id"):
        assert value == json.loads(sample("errors/v1_unrecognized_key.json"))
    else:
        assert value["error"]["message"] == f"Unrecognized key(s) in object: '{key}', 'seed'"


@pytest.mark.parametrize(
    "body",
    [None, [], {}, {"model": 5}, {"model": "b", "context_length": True}, {"model": "b", "context_length": 0}],
)
def test_a_body_that_does_not_fit_is_refused(server, body):
    status, value = post(server, LOAD, body)
    assert (status, value["error"]["type"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("path", "body", "status", "type_"),
    [
        (LOAD, {"model": "no"}, 404, "model_not_found"),
        (LOAD, {"model": "too-large"}, 500, "model_load_failed"),
        (UNLOAD, {"instance_id": "b"}, 404, "model_not_found"),
        (DOWNLOAD, {"model": "no-such/model"}, 404, "model_not_found"),
        (DOWNLOAD, {"model": ""}, 404, "model_not_found"),
        (DOWNLOAD, {"model": "acme/d", "quantization": "Q4_K_M"}, 400, "invalid_request"),
    ],
)
def test_failures_have_a_type(server, path, body, status, type_):
    got, value = post(server, path, body)
    assert (got, value["error"]["type"]) == (status, type_)


def test_a_model_that_is_too_large_fails_with_lm_studios_words(server, sample):
    assert keys(post(server, LOAD, {"model": "too-large"})[1]) == keys(
        json.loads(sample("errors/v1_model_load_failed.json"))
    )


def test_a_model_is_loaded_with_the_requested_settings_and_stays(server, sample):
    body = {"model": "b", "context_length": 16, "num_experts": 4, "flash_attention": False, "echo_load_config": True}
    status, value = post(server, LOAD, body)
    assert (status, keys(value)) == (200, keys(json.loads(sample("v1_model_load.json"))))
    assert (value["type"], value["instance_id"], value["load_config"]["context_length"]) == ("llm", "b", 16)
    (instance,) = server.instances
    assert (instance.context_length, instance.ttl_s, instance.by_jit) == (16, None, False)
    assert (instance.config["num_experts"], instance.config["flash_attention"]) == (4, False)


def test_the_second_instance_of_a_model_has_a_number(server):
    replies = [post(server, LOAD, {"model": "text-embedding-x"})[1] for _ in range(3)]
    assert [each["instance_id"] for each in replies] == [f"text-embedding-x{end}" for end in ("", ":2", ":3")]
    assert all(each["type"] == "embedding" and "load_config" not in each for each in replies)


def test_an_instance_is_unloaded(server, sample):
    post(server, LOAD, {"model": "b"})
    assert post(server, UNLOAD, {"instance_id": "b"}) == (200, {"instance_id": "b"})
    assert keys(json.loads(sample("v1_model_unload.json"))) == {"instance_id": None}
    assert loaded(server) == []


# Download


def test_an_unknown_download_job_is_not_found(server):
    status, value = get(server, f"{DOWNLOAD}/status/job_0")
    assert (status, value["error"]["type"]) == (404, "job_not_found")


def test_a_model_on_disk_is_not_downloaded_again(server, sample):
    assert post(server, DOWNLOAD, {"model": "acme/a"}) == (200, json.loads(sample("v1_download_already.json")))


@pytest.mark.parametrize("model", ["acme/d", "https://huggingface.co/acme/d"])
def test_each_status_request_advances_a_download_by_a_quarter(server, sample, model):
    status, value = post(server, DOWNLOAD, {"model": model})
    assert (status, keys(value)) == (200, keys(json.loads(sample("v1_download.json"))))
    path = f"{DOWNLOAD}/status/{value['job_id']}"
    *running, last = [get(server, path)[1] for _ in range(4)]
    assert all(keys(each) == keys(json.loads(sample("v1_download_status.json"))) for each in running)
    assert [each["downloaded_bytes"] for each in running] == [2**20, 2 * 2**20, 3 * 2**20]
    assert (last["status"], last["downloaded_bytes"], last["total_size_bytes"]) == ("completed", 2**22, 2**22)
    assert last["completed_at"].endswith("Z")
    assert "bytes_per_second" not in last
    assert server.models[-1] == "acme/d"
    assert chat(server, "acme/d")[0] == 200


@pytest.mark.parametrize("status", ["paused", "failed"])
def test_a_download_that_a_test_stops_does_not_advance(server, status):
    job_id = post(server, DOWNLOAD, {"model": "acme/d"})[1]["job_id"]
    server.jobs[job_id].status = status
    for _ in range(5):
        value = get(server, f"{DOWNLOAD}/status/{job_id}")[1]
    assert (value["status"], value["downloaded_bytes"]) == (status, 0)
    assert "acme/d" not in server.models
