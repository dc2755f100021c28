"""The facts about models, from whichever list the server has."""

import json

import pytest
from tables import for_each
from werkzeug import Response

from lmstudio_provider import (
    AuthenticationError,
    Capabilities,
    EndpointNotFoundError,
    InvalidRequestError,
    LMStudioProvider,
    LoadedInstance,
    ModelNotFoundError,
    ProtocolError,
    RateLimitError,
)
from lmstudio_provider._core.model_names import close_matches, find, is_same
from lmstudio_provider._dialects.models import native_models, openai_models, v0_models

UNKNOWN = {"error": "Unexpected endpoint or method. (GET /api/v1/models)"}
PATHS = ["/api/v1/models", "/api/v0/models", "/v1/models"]


def paths(httpserver):
    return [request.path for request, _ in httpserver.log]


@for_each("read", [native_models, v0_models, openai_models])
@for_each(
    "value",
    [
        None,
        [],
        {},
        {"models": None},
        {"models": {}, "data": {}},
        {"models": [None], "data": [None]},
        {"models": [{"key": 7}], "data": [{"id": 7}]},
        {"models": [{"key": "m", "loaded_instances": [None]}], "data": [{"state": "loaded"}]},
        {"models": [{"key": "m", "loaded_instances": [{"id": 7}]}], "data": [{"id": None}]},
    ],
)
def test_a_list_of_the_wrong_shape_is_a_protocol_error(read, value):
    with pytest.raises(ProtocolError):
        read(value)


def test_a_list_without_states_is_none_of_v0(sample):
    for value in (json.loads(sample("models_openai.json")), {"data": None}):
        with pytest.raises(ProtocolError):
            v0_models(value)


@pytest.mark.parametrize(
    ("status", "error"), [(401, AuthenticationError), (403, AuthenticationError), (429, RateLimitError)]
)
def test_a_refusal_does_not_try_the_next_list(httpserver, provider, status, error):
    httpserver.expect_request("/api/v1/models").respond_with_json({"error": "no"}, status)
    with pytest.raises(error):
        provider.list_models()
    assert paths(httpserver) == PATHS[:1]


def test_the_error_of_a_server_without_any_list_is_that_of_the_last(httpserver, provider):
    for path in PATHS:
        httpserver.expect_request(path).respond_with_json({"error": f"Unexpected endpoint or method. (GET {path})"})
    with pytest.raises(EndpointNotFoundError, match="/v1/models") as caught:
        provider.list_models()
    assert caught.value.url.endswith("/v1/models")
    assert "api" not in caught.value.url
    assert caught.value.since is None


@pytest.mark.parametrize(
    ("answer", "status"),
    [(UNKNOWN, 200), (UNKNOWN, 404), ({"detail": "Not Found"}, 404), ({}, 200), ([], 200), ("x", 500), (None, 405)],
)
def test_the_next_list_is_used_if_one_does_not_exist(httpserver, provider, sample, answer, status):
    httpserver.expect_request("/api/v1/models").respond_with_json(answer, status)
    httpserver.expect_request("/api/v0/models").respond_with_data(sample("models_v0.json"))
    assert [model.id for model in provider.list_models()] == [
        "qwen/qwen3-8b",
        "qwen2-vl-2b-instruct",
        "text-embedding-nomic-embed-text-v1.5",
    ]
    assert paths(httpserver) == PATHS[:2]


def test_a_web_page_is_not_a_list_either(httpserver, provider, sample):
    for path in PATHS[:2]:
        httpserver.expect_request(path).respond_with_data("<html>Hello</html>", content_type="text/html")
    httpserver.expect_request("/v1/models").respond_with_data(sample("models_openai.json"))
    assert provider.list_models()[0].loaded is None
    assert paths(httpserver) == PATHS


def test_the_native_list_has_every_field(sample):
    qwen, gpt, gemma, nomic = native_models(json.loads(sample("models_v1.json")))
    assert (qwen.id, qwen.type, qwen.loaded, qwen.quantization) == ("qwen/qwen3-8b", "llm", True, "Q4_K_M")
    assert (qwen.context_length, qwen.max_context_length, qwen.size_bytes) == (8192, 40960, 5027784512)
    assert qwen.instances == (LoadedInstance("qwen/qwen3-8b", 8192), LoadedInstance("qwen/qwen3-8b:2", 32768))
    assert qwen.instances[1].config["parallel"] == 1
    assert (qwen.vision, qwen.tool_use) == (False, True)
    assert (qwen.reasoning_options, qwen.reasoning_default) == (("off", "on"), "on")
    assert qwen.raw["variants"] == ["qwen/qwen3-8b@q4_k_m", "qwen/qwen3-8b@q8_0"]
    assert gpt.reasoning_options == ("low", "medium", "high")
    assert (gemma.type, gemma.loaded, gemma.context_length, gemma.quantization) == ("vlm", False, None, None)
    assert (gemma.vision, gemma.tool_use, gemma.reasoning_options) == (True, False, ())
    assert (nomic.type, nomic.can_chat, nomic.vision, nomic.tool_use) == ("embedding", False, False, False)


def test_the_list_of_v0_says_which_models_are_loaded(sample):
    qwen, vision, nomic = v0_models(json.loads(sample("models_v0.json")))
    assert (qwen.type, qwen.loaded, qwen.context_length, qwen.max_context_length) == ("llm", True, 8192, 40960)
    assert (qwen.quantization, qwen.vision, qwen.tool_use) == ("Q4_K_M", False, True)
    assert (vision.type, vision.loaded, vision.context_length, vision.vision) == ("vlm", False, None, True)
    assert (vision.tool_use, nomic.type, nomic.tool_use) == (False, "embedding", None)


def test_a_model_of_the_type_vlm_chats_and_reads_images(httpserver, provider):
    models = [{"key": "first", "type": "drafter"}, {"key": "second", "type": "vlm"}]
    httpserver.expect_request("/api/v1/models").respond_with_json({"models": models})
    assert [(model.type, model.vision) for model in provider.list_models()] == [("drafter", None), ("vlm", True)]
    assert provider.resolve_model() == "second"


def test_a_list_that_is_null_is_empty(httpserver, provider):
    httpserver.expect_request("/v1/models").respond_with_json({"object": "list", "data": None})
    assert provider.list_models() == []
    assert provider.health_check().ok
    assert provider.resolve_model() == "local-model"


@pytest.mark.parametrize("mark", ["device_identifier", "deviceIdentifier", "remote_host"])
def test_a_model_on_a_linked_device_is_not_chosen(httpserver, provider, mark):
    models = [{"key": "far", "type": "llm", mark: "3f2a"}, {"key": "near", "type": "llm", mark: None}]
    httpserver.expect_request("/api/v1/models").respond_with_json({"models": models})
    assert [model.remote for model in provider.list_models()] == [True, False]
    assert provider.resolve_model() == "near"


@pytest.mark.parametrize("path", ["/api/v1/models", "/api/v0/models", "/v1/models"])
def test_a_list_without_types_is_judged_by_the_names(httpserver, provider, path):
    ids = ["text-embedding-a", "b"]
    entries = [{"id": each, "key": each, "state": "not-loaded"} for each in ids]
    httpserver.expect_request(path).respond_with_json({"models": entries, "data": entries})
    for before in ("/api/v1/models", "/api/v0/models"):
        if before != path:
            httpserver.expect_request(before).respond_with_json({}, 404)
    assert [(model.id, model.type) for model in provider.list_models()] == [
        ("text-embedding-a", "embedding"),
        ("b", "llm"),
    ]
    assert provider.resolve_model() == "b"


@pytest.mark.parametrize(
    ("entries", "types"),
    [
        ([{"type": "llm"}, {}], ["llm", None]),
        ([{"type": "embeddings"}, {"type": "drafter"}], ["embedding", "drafter"]),
        ([{"type": "model"}, {"type": "model"}], ["llm", "llm"]),
        ([{"type": "LLM"}, {"type": " vlm "}], ["llm", "vlm"]),
        ([{"capabilities": ["completion"]}, {"capabilities": ["embedding"]}], ["llm", "embedding"]),
        ([{"capabilities": ["completion"]}, {}], ["llm", None]),
        ([{"capabilities": ["decision"]}, {"capabilities": ["completion", "vision"]}], ["decision", "llm"]),
        ([{"capabilities": ["vision"]}, {}], ["llm", "llm"]),
    ],
)
def test_the_type_of_a_model_is_read_from_the_openai_list_of_any_server(httpserver, provider, entries, types):
    data = [{"id": f"m{number}", **each} for number, each in enumerate(entries)]
    httpserver.expect_request("/v1/models").respond_with_json({"data": data})
    assert [model.type for model in provider.list_models()] == types


def test_a_model_that_is_loaded_on_a_linked_device_is_not_chosen(httpserver, provider):
    far = {"key": "far", "type": "llm", "loaded_instances": [{"id": "far", "deviceIdentifier": "3f2a"}]}
    httpserver.expect_request("/api/v1/models").respond_with_json({"models": [far, {"key": "near", "type": "llm"}]})
    provider.list_models()
    assert provider.resolve_model() == "near"


# Choosing


def native(*models):
    return {"models": list(models)}


def entry(key, *instances, type="llm", vision=False, tools=True):
    told = {} if type == "embedding" else {"capabilities": {"vision": vision, "trained_for_tool_use": tools}}
    loaded = [{"id": id_, "config": {"context_length": length}} for id_, length in instances]
    return {"type": type, "key": key, "loaded_instances": loaded, **told}


def test_a_loaded_model_that_can_chat_is_preferred(httpserver, provider):
    models = native(
        entry("first"), entry("embeds", ("embeds", 512), type="embedding"), entry("second", ("second", 4096))
    )
    httpserver.expect_request("/api/v1/models").respond_with_json(models)
    provider.list_models()
    assert provider.resolve_model() == "second"


def test_the_first_chat_model_is_chosen_if_none_is_loaded(httpserver, provider):
    httpserver.expect_request("/api/v1/models").respond_with_json(
        native(entry("embeds", type="embedding"), entry("first"), entry("second"))
    )
    provider.list_models()
    assert provider.resolve_model() == "first"


def test_a_model_of_which_only_an_instance_has_a_name_is_asked_for_by_that(httpserver, provider):
    httpserver.expect_request("/api/v1/models").respond_with_json(native(entry("key", ("my-name", 4096))))
    provider.list_models()
    assert provider.resolve_model() == "my-name"


def test_a_choice_that_is_gone_is_made_anew(httpserver):
    lists = iter([native(entry("key", ("key:2", 4096))), native(entry("other", ("other", 4096)))])
    httpserver.expect_request("/api/v1/models").respond_with_handler(lambda request: Response(json.dumps(next(lists))))
    refusal = {"error": {"message": "Invalid model identifier", "code": "model_not_found"}}
    httpserver.expect_request("/v1/chat/completions").respond_with_json(refusal, 400)
    with LMStudioProvider(httpserver.url_for("")) as lm:
        assert lm.resolve_model() == "key:2"
        with pytest.raises(ModelNotFoundError):
            lm.complete("Hi")
        assert lm.resolve_model() == "other"


def test_embedding_prefers_a_loaded_model(httpserver, provider):
    httpserver.expect_request("/api/v1/models").respond_with_json(
        native(entry("one", type="embedding"), entry("two", ("two", 512), type="embedding"))
    )
    httpserver.expect_request("/v1/embeddings").respond_with_json({"data": [{"embedding": [1.0], "index": 0}]})
    provider.list_models()
    assert provider.embed("Hi").requested_model == "two"


def test_what_each_model_can_comes_from_the_list(httpserver, provider):
    httpserver.expect_request("/api/v1/models").respond_with_json(
        native(
            entry("sees", vision=True, tools=False), entry("reads", ("reads", 4096)), entry("embeds", type="embedding")
        )
    )
    provider.list_models()
    assert provider.capabilities == Capabilities(True, True, True, ("sees", "reads", "embeds"))
    assert provider.capabilities_for("sees") == Capabilities(True, False, True, ("sees",))
    assert provider.capabilities_for() == Capabilities(True, True, False, ("reads",))
    assert provider.capabilities_for("embeds") == Capabilities(False, False, False, ("embeds",))
    assert provider.capabilities_for("nobody") == Capabilities(True, None, None, ())


def test_nothing_is_known_of_a_server_that_is_not_there(provider_of, closed_port):
    lm = provider_of(f"http://127.0.0.1:{closed_port}")
    assert lm.capabilities_for("any") == Capabilities(True, None, None, ())


# Names


@for_each(
    ("asked", "served"),
    [
        ("qwen/qwen3-8b", "qwen/qwen3-8b"),
        ("qwen/qwen3-8b", "qwen/qwen3-8b:2"),
        ("qwen/qwen3-8b", "qwen/qwen3-8b@q4_k_m"),
        ("qwen/qwen3-8b@q4_k_m", "qwen/qwen3-8b"),
        ("qwen/qwen3-8b@q4_k_m", "qwen/qwen3-8b@q4_k_m:3"),
        ("qwen3-8b", "qwen/qwen3-8b"),
        ("Qwen3-8B", "qwen/qwen3-8b"),
        ("qwen3", "qwen3:latest"),
    ],
)
def test_names_of_one_model_are_the_same(asked, served):
    assert is_same(asked, served)
    assert is_same(served, asked)


@for_each(
    ("asked", "served"),
    [
        ("qwen/qwen3-8b", "qwen/qwen3-4b"),
        ("qwen/qwen3-8b", "other/qwen3-8b"),
        ("qwen/qwen3-8b@q4_k_m", "qwen/qwen3-8b@q8_0"),
        ("qwen3:8b", "qwen3:4b"),
        ("", "qwen3"),
    ],
)
def test_names_of_two_models_are_not(asked, served):
    assert not is_same(asked, served)
    assert not is_same(served, asked)


def test_a_model_is_found_by_its_name_by_that_of_an_instance_and_by_that_of_a_variant():
    models = native_models(native(entry("a/m"), entry("b/m", ("mine", 1), ("b/m:2", 2))))
    for name, found in (("b/m", "b/m"), ("mine", "b/m"), ("b/m:2", "b/m"), ("b/m@q4", "b/m"), ("m", "a/m")):
        assert find(models, name).id == found
    assert find(models, "nobody") is None
    assert close_matches("nobody", [model.id for model in models]) == ()


def test_a_provider_that_discovered_a_list_names_the_near_models(httpserver):
    httpserver.expect_request("/api/v1/models").respond_with_json(native(entry("qwen/qwen3-8b"), entry("gemma-3")))
    httpserver.expect_request("/v1/chat/completions").respond_with_json(
        {"error": {"message": "Invalid model identifier", "code": "model_not_found"}}, 400
    )
    with LMStudioProvider(httpserver.url_for("")) as lm:
        lm.wait_until_configured()
        with pytest.raises(Exception, match="Did you mean 'qwen/qwen3-8b'") as caught:
            lm.complete("Hi", model="qwen3-8")
    assert caught.value.near == ("qwen/qwen3-8b",)


def test_an_embedding_model_is_not_suggested_for_a_chat_nor_the_other_way_round(httpserver, provider):
    models = native(entry("chat-model"), entry("chat-model-embed", type="embedding"))
    httpserver.expect_request("/api/v1/models").respond_with_json(models)
    refusal = {"error": {"message": "Invalid model identifier", "code": "model_not_found"}}
    for path in ("/v1/chat/completions", "/v1/embeddings", "/api/v1/models/load"):
        httpserver.expect_request(path).respond_with_json(refusal, 400)
    provider.list_models()
    for call, near_ids in (
        (lambda: provider.complete("Hi", model="chat-mode"), ("chat-model",)),
        (lambda: provider.embed("Hi", "chat-mode"), ("chat-model-embed",)),
        (lambda: provider.native.load("chat-mode"), ("chat-model", "chat-model-embed")),
    ):
        with pytest.raises(ModelNotFoundError) as caught:
            call()
        assert caught.value.near == near_ids


@pytest.mark.parametrize("model", [5, b"m", "", ["m"]])
def test_capabilities_of_a_model_that_is_not_a_name_are_refused(provider, model):
    with pytest.raises(InvalidRequestError, match="is not a name"):
        provider.capabilities_for(model)
