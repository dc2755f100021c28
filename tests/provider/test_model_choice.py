"""The choice of a model if the caller names none: one that runs here, and can do what the call needs."""

from __future__ import annotations

import contextlib
import json
import threading

import pytest
from tables import for_each
from werkzeug import Response

from lmstudio_provider import (
    Capabilities,
    EndpointNotFoundError,
    Failover,
    InvalidRequestError,
    LMStudioProvider,
    MemoryUsage,
    ModelMismatchWarning,
    OllamaProvider,
    RequestTimeoutError,
    ServerUnavailableError,
    TextRequest,
    Timeouts,
)
from lmstudio_provider.simulator import OllamaModel, SimulatedLMStudio, SimulatedOllama

HI = [{"role": "user", "content": "Hi"}]
CHATS, EMBEDS = ["completion", "tools"], ["embedding"]
CLOUD = {"remote_host": "https://ollama.com:443", "remote_model": "gpt-oss:120b", "capabilities": CHATS}
# Every call of both providers that generates text.
WAYS = {
    "complete": lambda lm: lm.complete("Hi"),
    "chat": lambda lm: lm.chat(HI),
    "stream": lambda lm: lm.stream(HI),
    "complete_text": lambda lm: lm.complete_text("Hi"),
    "stream of a text": lambda lm: lm.stream(TextRequest("Hi")),
}
WAYS_OF_LM_STUDIO = {
    **WAYS,
    "responses": lambda lm: lm.responses("Hi"),
    "messages": lambda lm: lm.messages("Hi"),
    "native.chat": lambda lm: lm.native.chat("Hi"),
    "native.stream": lambda lm: lm.native.stream("Hi"),
}


def tags(httpserver, *models, **more):
    """Serve them as the models of an Ollama; each is a name, or its entry."""
    entries = [each if isinstance(each, dict) else {"name": each, "capabilities": CHATS} for each in models]
    httpserver.expect_request("/api/tags").respond_with_json({"models": entries, **more})
    httpserver.expect_request("/api/ps").respond_with_json({"models": []})


def cloud(name, **more):
    return {"name": name, **CLOUD, **more}


def posts(httpserver):
    return [request.path for request, _ in httpserver.log if request.method == "POST"]


@pytest.fixture
def ollama(httpserver):
    with OllamaProvider(httpserver.url_for(""), refresh=False) as provider:
        yield provider


@pytest.fixture
def hanging_list(raw_server):
    """Makes servers whose lists of models never come; all else is answered with the bytes that are given."""

    def make(reply=b""):
        over = threading.Event()
        made = []

        def answer(connection):
            if b"/models" in made[0].requests[-1].split(b"\r\n")[0] or b"/api/tags" in made[0].requests[-1]:
                over.wait(10)
            else:
                connection.sendall(reply)

        made.append(raw_server(answer))
        overs.append(over)
        return made[0]

    overs = []
    yield make
    for over in overs:
        over.set()


# Models that are never chosen


@for_each("way", WAYS)
@for_each("refresh", [True, False])
def test_a_text_never_goes_to_a_cloud_model_that_was_not_named(httpserver, way, refresh):
    tags(httpserver, cloud("gpt-oss:120b-cloud"))
    with OllamaProvider(httpserver.url_for(""), refresh=refresh) as provider:
        with pytest.raises(InvalidRequestError, match=r"'gpt-oss:120b-cloud' \(runs elsewhere\)") as caught:
            WAYS[way](provider)
    assert caught.value.sent is False
    assert caught.value.status is None
    assert caught.value.provider == "ollama"
    assert posts(httpserver) == []


@pytest.mark.parametrize(
    "entry",
    [
        cloud("gpt-oss:120b-cloud"),
        cloud("plain:latest"),
        cloud("plain:latest", remote_host=""),
        cloud("plain:latest", remote_model=None),
        {"name": "gpt-oss:120b-cloud", "capabilities": CHATS},
        {"name": "GLM-4.6:Cloud", "capabilities": CHATS},
        {"name": "me/kimi-k2:1t-cloud", "capabilities": CHATS},
        {"name": "mine-cloud:latest", "capabilities": CHATS},
        {"name": "minimax-m2:cloud"},
    ],
    ids=lambda entry: entry["name"],
)
def test_each_mark_of_a_cloud_model_counts_and_a_local_one_is_chosen_after_it(httpserver, ollama, entry):
    tags(httpserver, entry, "local:latest")
    httpserver.expect_request("/api/show").respond_with_json({"capabilities": CHATS})
    assert ollama.resolve_model() == "local:latest"
    assert [(model.id, model.remote) for model in ollama.list_models()] == [
        (entry["name"], True),
        ("local:latest", False),
    ]


def test_a_cloud_model_is_recognised_by_its_description_if_the_list_does_not_say(httpserver, ollama):
    tags(httpserver, {"name": "plain:latest"}, "local:latest")
    httpserver.expect_request("/api/show", json={"model": "plain:latest"}).respond_with_json(CLOUD)
    assert ollama.resolve_model() == "local:latest"


@pytest.mark.parametrize("name", ["cloud", "cloudy:8b", "nimbus-cloud:8b-local", "word_cloud:latest", "icloud:latest"])
def test_a_local_model_with_a_cloud_in_its_name_is_local(httpserver, ollama, name):
    tags(httpserver, name)
    assert ollama.resolve_model() == name


@pytest.mark.parametrize("capabilities", [["embedding"], ["image"], ["decision"], ["tools"], ["audio", "vision"]])
def test_a_model_that_cannot_complete_is_not_chosen(httpserver, ollama, capabilities):
    tags(httpserver, {"name": "first", "capabilities": capabilities}, "second")
    assert ollama.resolve_model() == "second"


@pytest.mark.parametrize(("kind", "why"), [("embedding", "embeds"), ("decision", "its type is 'decision'")])
def test_if_no_model_can_complete_the_error_gives_the_reason_for_each(httpserver, ollama, kind, why):
    tags(httpserver, {"name": "first", "capabilities": [kind]}, cloud("second:cloud"))
    with pytest.raises(InvalidRequestError) as caught:
        ollama.chat(HI)
    assert f"'first' ({why}), 'second:cloud' (runs elsewhere)" in caught.value.message
    for part in ("model='second:cloud'", "ollama_model", "OLLAMA_MODEL", "ollama pull"):
        assert part in caught.value.hint


def test_an_embedding_model_that_runs_elsewhere_is_not_chosen_either(httpserver, ollama):
    tags(httpserver, cloud("embed:cloud", capabilities=EMBEDS))
    with pytest.raises(InvalidRequestError, match="runs elsewhere"):
        ollama.embed("my diary")
    assert posts(httpserver) == []


def test_vectors_come_from_a_local_model_if_there_is_one(httpserver, ollama):
    tags(httpserver, cloud("embed:cloud", capabilities=EMBEDS), {"name": "local", "capabilities": EMBEDS})
    httpserver.expect_request("/api/embed").respond_with_json({"model": "local", "embeddings": [[1.0]]})
    assert ollama.embed("my diary").requested_model == "local"


def test_a_decision_model_does_not_embed(httpserver, ollama):
    tags(httpserver, {"name": "decides", "capabilities": ["decision"]})
    with pytest.raises(InvalidRequestError, match="its type is 'decision'"):
        ollama.embed("my diary")


def test_an_error_about_a_long_list_shows_only_a_few_names(httpserver, ollama):
    tags(httpserver, *(cloud(f"m{number}:cloud") for number in range(500)))
    with pytest.raises(InvalidRequestError, match=r"'m19:cloud' \(runs elsewhere\), and 480 more") as caught:
        ollama.complete("Hi")
    assert "m20" not in str(caught.value)


@pytest.mark.parametrize("way", WAYS_OF_LM_STUDIO)
def test_an_lm_studio_without_a_model_that_chats_is_asked_nothing(httpserver, provider, way):
    models = [{"key": "d", "type": "drafter"}, {"key": "e", "type": "embedding"}, {"key": "x", "type": "decision"}]
    httpserver.expect_request("/api/v1/models").respond_with_json({"models": models})
    provider.list_models()
    with pytest.raises(InvalidRequestError, match=r"'d' \(its type is 'drafter'\), 'e' \(embeds\)") as caught:
        WAYS_OF_LM_STUDIO[way](provider)
    assert "lmstudio_model" in caught.value.hint
    assert "LM_STUDIO_MODEL" in caught.value.hint
    assert posts(httpserver) == []


@pytest.mark.parametrize(
    "word", ["drafter", "decision", "embedding", "embeddings", "tts", "LLaMA", "", None, 7, ["llm"]]
)
def test_a_type_that_is_not_known_is_not_chosen(httpserver, provider, word):
    models = [{"key": "first", "type": word}, {"key": "second", "type": "llm"}]
    httpserver.expect_request("/api/v1/models").respond_with_json({"models": models})
    provider.list_models()
    assert provider.resolve_model() == "second"


@pytest.mark.parametrize("way", WAYS_OF_LM_STUDIO)
def test_cloud_models_of_an_ollama_are_not_chosen_over_the_openai_endpoints(httpserver, provider, way):
    ids = ["gpt-oss:120b-cloud", "glm-4.6:cloud"]
    httpserver.expect_request("/v1/models").respond_with_json({"data": [{"id": each} for each in ids]})
    provider.list_models()
    with pytest.raises(InvalidRequestError, match="runs elsewhere"):
        WAYS_OF_LM_STUDIO[way](provider)
    assert posts(httpserver) == []


def test_the_local_model_of_an_ollama_is_chosen_over_the_openai_endpoints(httpserver, provider):
    ids = ["gpt-oss:120b-cloud", "nomic-embed-text:latest", "qwen3:8b"]
    httpserver.expect_request("/v1/models").respond_with_json({"data": [{"id": each} for each in ids]})
    provider.list_models()
    assert provider.resolve_model() == "qwen3:8b"
    assert [(model.type, model.remote) for model in provider.list_models()] == [
        ("llm", True),
        ("embedding", False),
        ("llm", False),
    ]


# Models that are named


@for_each(
    ("settings", "options"),
    [
        ({}, {"model": "gpt-oss:120b-cloud"}),
        ({"ollama_model": "gpt-oss:120b-cloud"}, {}),
        ({"ollama_model_big": "gpt-oss:120b-cloud"}, {"tier": "big"}),
    ],
)
def test_a_model_that_is_named_is_asked_wherever_it_runs(httpserver, settings, options):
    tags(httpserver, cloud("gpt-oss:120b-cloud"))
    reply = {"model": "gpt-oss:120b-cloud", "message": {"content": "Hi"}, "done": True}
    httpserver.expect_request("/api/chat").respond_with_json(reply)
    with OllamaProvider(httpserver.url_for(""), settings=settings, refresh=False) as provider:
        assert provider.complete("Hi", **options).requested_model == "gpt-oss:120b-cloud"
    assert [request.path for request, _ in httpserver.log] == ["/api/chat"]


def test_an_embedding_model_that_is_named_is_asked_wherever_it_runs(httpserver):
    httpserver.expect_request("/api/embed").respond_with_json({"model": "embed:cloud", "embeddings": [[1.0]]})
    settings = {"ollama_model_embedding": "embed:cloud"}
    with OllamaProvider(httpserver.url_for(""), settings=settings, refresh=False) as provider:
        assert provider.embed("Hi").requested_model == "embed:cloud"
        assert provider.embed("Hi", "embed:cloud").requested_model == "embed:cloud"


# Where nothing is known


def test_an_ollama_that_is_down_is_one_that_is_down(closed_port):
    for refresh in (True, False):
        with OllamaProvider(f"127.0.0.1:{closed_port}", refresh=refresh) as provider:
            for call in (*WAYS.values(), lambda lm: lm.embed("Hi"), lambda lm: lm.resolve_model()):
                with pytest.raises(ServerUnavailableError, match="ollama serve") as caught:
                    call(provider)
                assert (caught.value.sent, caught.value.provider) == (False, "ollama")


@for_each("way", WAYS)
def test_the_error_of_an_ollama_without_models_says_how_to_pull_one(way):
    with SimulatedOllama([]) as server, OllamaProvider(server.url) as provider:
        with pytest.raises(InvalidRequestError, match=r"has no models\. Pull one with 'ollama pull MODEL'"):
            WAYS[way](provider)
        assert {each["path"] for each in server.requests} == {"/api/tags"}


def test_the_made_up_name_is_never_sent_to_an_ollama():
    with SimulatedOllama(["mine:latest"]) as server, OllamaProvider(server.url, refresh=False) as provider:
        assert provider.complete("Hi").requested_model == "mine:latest"
        assert provider.complete("Hi").requested_model == "mine:latest"
        paths = [each["path"] for each in server.requests]
    assert paths == ["/api/tags", "/api/show", "/api/chat", "/api/chat"]


def test_a_list_that_an_ollama_does_not_have_is_the_error_that_it_is(httpserver, ollama):
    body = {"error": "Unexpected endpoint or method. (GET /api/tags)"}
    httpserver.expect_request("/api/tags").respond_with_json(body)
    with pytest.raises(EndpointNotFoundError, match="/api/tags") as caught:
        ollama.complete("Hi")
    assert caught.value.sent is False


def test_a_model_that_was_pulled_meanwhile_is_found(httpserver, ollama):
    lists = iter([[cloud("a:cloud")], [cloud("a:cloud"), {"name": "b", "capabilities": CHATS}]])
    httpserver.expect_request("/api/tags").respond_with_handler(
        lambda request: Response(json.dumps({"models": next(lists)}), content_type="application/json")
    )
    httpserver.expect_request("/api/ps").respond_with_json({"models": []})
    ollama.list_models()
    assert ollama.resolve_model() == "b"


def test_an_lm_studio_of_which_nothing_is_known_is_asked_for_whatever_it_has(httpserver, provider):
    for models in (None, []):
        if models is not None:
            httpserver.expect_request("/v1/models").respond_with_json({"data": models})
            provider.list_models()
        assert provider.resolve_model() == "local-model"


def test_a_call_whose_model_cannot_be_chosen_is_not_recorded(httpserver):
    tags(httpserver, cloud("a:cloud"))
    usage = MemoryUsage()
    with OllamaProvider(httpserver.url_for(""), refresh=False, usage=usage) as provider:
        with pytest.raises(InvalidRequestError):
            provider.complete("Hi")
    assert usage.records == ()


# If an Ollama does not say what a model can do


def test_a_model_that_ollama_does_not_describe_is_not_chosen_if_it_describes_others(httpserver, ollama):
    tags(httpserver, {"name": "riddle"}, "second")
    httpserver.expect_request("/api/show").respond_with_json({"details": {}})
    assert ollama.resolve_model() == "second"
    assert [model.type for model in ollama.list_models()] == [None, "llm"]


def test_an_ollama_that_says_nothing_of_any_model_is_judged_by_the_names(httpserver, ollama):
    tags(httpserver, {"name": "nomic-embed-text:latest"}, {"name": "llama2:latest"})
    httpserver.expect_request("/api/show").respond_with_json({"details": {}})
    assert ollama.resolve_model() == "llama2:latest"


# Where an Ollama's list is wrong


VEC = OllamaModel("vec", capabilities=("embedding",), listed_capabilities=("completion",))
CHAT = OllamaModel("talk", capabilities=("completion",), listed_capabilities=("embedding",))


def asked_of(server, path="/api/show"):
    """The models that were asked about, or asked, without their tags."""
    return [each["body"]["model"].partition(":")[0] for each in server.requests if each["path"] == path]


@pytest.fixture
def ollama_with():
    """Makes providers for stand-ins with these models."""
    with contextlib.ExitStack() as stack:

        def make(*models, **arguments):
            server = stack.enter_context(SimulatedOllama(models))
            return server, stack.enter_context(OllamaProvider(server.url, **arguments))

        yield make


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("refresh", [True, False])
def test_a_text_never_goes_to_an_embedding_model_that_is_listed_as_one_that_chats(ollama_with, way, refresh):
    server, provider = ollama_with(VEC, "m", "n", refresh=refresh)
    done = WAYS[way](provider)
    with contextlib.ExitStack() as stack:
        if hasattr(done, "close"):
            stack.enter_context(done)
    assert (asked_of(server), server.loaded) == (["vec", "m"], ["m:latest"])


def test_only_candidates_are_asked_about_and_only_once(ollama_with):
    server, provider = ollama_with("m", VEC, "n", refresh=False)
    for _ in range(2):
        assert provider.resolve_model() == "m:latest"
        provider.refresh_models()
    assert asked_of(server) == ["m", "vec", "n"]


def test_vectors_come_from_an_embedding_model_that_is_listed_as_one_that_chats(ollama_with):
    server, provider = ollama_with("m", VEC, "n", refresh=False)
    assert provider.embed("Hi").requested_model == "vec:latest"
    assert asked_of(server, "/api/embed") == ["vec"]


def test_a_model_that_chats_and_is_listed_as_one_that_embeds_is_found(ollama_with):
    provider = ollama_with(VEC, CHAT, refresh=False)[1]
    assert provider.complete("Hi").requested_model == "talk:latest"
    assert provider.embed("Hi").requested_model == "vec:latest"


def test_the_configured_chat_model_does_not_embed_if_there_is_an_embedding_model(ollama_with):
    provider = ollama_with("m", VEC, refresh=False, model="m")[1]
    provider.refresh_models()
    assert provider.embed("Hi").requested_model == "vec:latest"


def test_an_error_about_only_embedding_models_says_that_they_embed(ollama_with):
    provider = ollama_with(VEC, refresh=False)[1]
    with pytest.raises(InvalidRequestError, match=r"'vec:latest' \(embeds\)"):
        provider.complete("Hi")
    assert provider.capabilities.tool_calling is False
    assert provider.capabilities_for() == Capabilities(False, False, False, ())


def test_models_are_listed_as_they_are(ollama_with):
    provider = ollama_with(VEC, CHAT, refresh=False)[1]
    provider.load("talk", num_ctx=2048)
    vec, talk = provider.list_models()
    assert (vec.type, vec.loaded, vec.instances, vec.context_length) == ("embedding", False, (), None)
    assert (talk.type, talk.loaded, talk.context_length, talk.max_context_length) == ("llm", True, 2048, 131072)
    assert [instance.id for instance in talk.instances] == ["talk:latest"]


@pytest.mark.parametrize("status", [404, 400, 500, 503])
def test_the_list_is_used_if_the_description_of_a_model_fails(httpserver, ollama, status):
    tags(httpserver, {"name": "e", "capabilities": EMBEDS}, "m")
    httpserver.expect_request("/api/show").respond_with_json({"error": "no"}, status)
    assert ollama.resolve_model() == "m"
    assert [(model.id, model.type) for model in ollama.list_models()] == [("e", "embedding"), ("m", "llm")]


@pytest.mark.slow
def test_a_server_that_is_silent_about_a_model_has_time_left_for_the_call(raw_server):
    bodies = {b"/api/tags": {"models": [{"name": "m"}]}, b"/api/chat": {"message": {"content": "Hi"}, "done": True}}
    over = threading.Event()

    def answer(connection):
        path = server.requests[-1].split(b" ")[1]
        if path not in bodies:
            over.wait(10)
        body = json.dumps(bodies.get(path)).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    server = raw_server(answer)
    try:
        for limits in ({"timeout": 2}, {"deadline": 2}):
            with OllamaProvider(server.url, refresh=False) as provider:
                assert provider.complete("Hi", **limits).requested_model == "m"
    finally:
        over.set()


def test_the_discovery_in_the_background_is_one_request(ollama_with):
    server, provider = ollama_with("m", OllamaModel("n", listed_capabilities=()), VEC)
    assert provider.wait_until_configured()
    assert [each["path"] for each in server.requests] == ["/api/tags"]


def test_a_loaded_model_is_chosen_before_the_others(ollama_with):
    server, provider = ollama_with("first", "second")
    provider.load("second")
    assert provider.resolve_model() == "second:latest"
    assert asked_of(server) == ["second"]


@pytest.mark.parametrize("models", [None, []])
def test_an_ollama_whose_list_is_null_has_no_models(models):
    with SimulatedOllama(models) as server, OllamaProvider(server.url, refresh=False) as provider:
        assert provider.list_models() == []
        assert provider.ps() == []


# Their other fields


def test_default_capabilities_are_those_of_the_chat_models(httpserver, ollama):
    embeds = {"name": "e", "capabilities": ["embedding", "tools", "vision"]}
    tags(httpserver, embeds, {"name": "m", "capabilities": ["completion"]})
    ollama.list_models()
    assert ollama.capabilities == Capabilities(True, False, False, ("e", "m"))
    assert ollama.capabilities_for() == Capabilities(True, False, False, ("m",))
    assert ollama.capabilities_for("e") == Capabilities(False, False, False, ("e",))


def test_if_no_model_may_be_chosen_there_are_no_default_capabilities(httpserver, ollama):
    tags(httpserver, cloud("a:cloud"))
    assert ollama.capabilities_for() == Capabilities(True, None, None, ())
    ollama.list_models()
    assert ollama.capabilities_for() == Capabilities(False, False, False, ())
    assert ollama.capabilities_for("a:cloud") == Capabilities(True, True, False, ("a:cloud",))


def test_a_model_of_a_type_that_is_not_known_may_be_able(httpserver, provider):
    models = [{"key": "riddle"}, {"key": "m", "type": "llm"}]
    httpserver.expect_request("/api/v1/models").respond_with_json({"models": models})
    provider.list_models()
    assert provider.capabilities_for("riddle") == Capabilities(True, None, None, ("riddle",))


def test_health_advises_a_local_model_if_all_run_elsewhere(httpserver, ollama):
    tags(httpserver, cloud("a:cloud"), {"name": "e", "capabilities": EMBEDS})
    (advice,) = ollama.health_check().advice
    assert "no model that runs on it and can chat" in advice
    assert "'a:cloud' runs elsewhere and is used only if you name it" in advice


# Within the time of the call


@pytest.mark.slow
def test_a_list_that_hangs_leaves_time_for_the_call_itself(hanging_list):
    body = json.dumps({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}).encode()
    server = hanging_list(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + body)
    with LMStudioProvider(server.url) as lm:
        assert lm.complete("Hi", timeout=2).requested_model == "local-model"
        assert lm.complete("Hi", deadline=2).requested_model == "local-model"


@pytest.mark.slow
@for_each("way", ["complete", "stream", "native.chat", "native.stream", "responses"])
@for_each("limits", [{"timeout": 0.3}, {"deadline": 0.3}, {"timeout": Timeouts(first_byte=0.3)}])
def test_waiting_for_a_discovery_counts_as_waiting_for_the_server(silent_server, way, limits):
    calls = {
        "complete": lambda lm: lm.complete("Hi", **limits),
        "stream": lambda lm: lm.stream("Hi", **limits),
        "native.chat": lambda lm: lm.native.chat("Hi", **limits),
        "native.stream": lambda lm: lm.native.stream("Hi", **limits),
        "responses": lambda lm: lm.responses("Hi", **limits),
    }
    with LMStudioProvider(silent_server.url) as lm:
        with pytest.raises(RequestTimeoutError) as caught:
            calls[way](lm)
    assert 0.2 < caught.value.waited_s < 3  # half of it for the discovery, whose own 3 s were not over
    assert "0.3 s" in caught.value.message
    assert caught.value.limit == ("deadline" if "deadline" in limits else "first_byte")
    assert caught.value.sent is not way.startswith("native")  # which needs the list


@pytest.mark.slow
@for_each("refresh", [True, False])
@for_each("limits", [{"timeout": 0.3}, {"deadline": 0.3}])
@for_each("way", ["complete", "embed"])
def test_an_ollama_whose_list_hangs_has_the_time_of_the_call(silent_server, refresh, limits, way):
    with OllamaProvider(silent_server.url, refresh=refresh) as provider:
        with pytest.raises(RequestTimeoutError) as caught:
            getattr(provider, way)("Hi", **limits)
    error = caught.value
    assert 0.2 < error.waited_s < 3
    assert (error.limit, error.sent, error.provider) == (
        "deadline" if "deadline" in limits else "first_byte",
        False,
        "ollama",
    )


def test_resolve_model_has_the_time_of_the_provider(silent_server):
    with OllamaProvider(silent_server.url, timeout=0.2) as provider, pytest.raises(RequestTimeoutError):
        provider.resolve_model()
    with LMStudioProvider(silent_server.url, timeout=0.2) as provider:
        assert provider.resolve_model() == "local-model"


@pytest.mark.slow
def test_a_list_that_hangs_does_not_stop_the_failover_to_other_servers(silent_server):
    with SimulatedLMStudio(["m"]) as server:
        members = [OllamaProvider(silent_server.url), LMStudioProvider(server.url)]
        with Failover(members) as failover:
            assert failover.complete("Hi", timeout=1).provider_id == "lm-studio"


def test_a_discovery_that_came_in_time_is_waited_for(raw_server):
    ready = threading.Event()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    models = json.dumps({"models": [{"key": "mine", "type": "llm"}], "data": []}).encode()
    reply = json.dumps({"choices": [{"message": {"content": "Hi"}}]}).encode()
    server = raw_server(
        lambda connection: connection.sendall(
            head + (models if b"GET" in server.requests[-1] and ready.wait(10) else reply)
        )
    )
    with LMStudioProvider(server.url) as lm:
        timer = threading.Timer(0.1, ready.set)
        timer.start()
        assert lm.complete("Hi", timeout=10).requested_model == "mine"
        timer.join()


def test_a_tier_without_a_model_of_its_own_is_logged(simulator, caplog):
    caplog.set_level("INFO", "lmstudio_provider")
    settings = {"lmstudio_model": "m", "lmstudio_model_fast": "simulated-model"}
    with LMStudioProvider(simulator.url, settings=settings, refresh=False) as lm:
        lm.chat("Hi", tier="fast")
        assert "tier" not in caplog.text
        with pytest.warns(ModelMismatchWarning):
            lm.chat("Hi", tier="fsat")
    assert "no model is set for tier='fsat'; the one for all tiers is used" in caplog.text
