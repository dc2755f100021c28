"""The results and the advice of health checks."""

import re

import pytest

from lmstudio_provider import (
    AuthenticationError,
    LMStudioProvider,
    OllamaProvider,
    RequestTimeoutError,
    ServerUnavailableError,
)
from lmstudio_provider.simulator import SimulatedLMStudio, SimulatedOllama

TOKEN = "sk-lm-AbCd1234:0123456789abcdefghij"
OTHER = "sk-lm-ZzZz9876:9876543210zyxwvutsrq"
MODELS = ["first", "second", "text-embedding-third"]


def health_of(url, **arguments):
    with LMStudioProvider(url, refresh=False, **arguments) as lm:
        return lm.health_check()


def test_the_advice_for_a_missing_server_says_how_to_start_it(closed_port):
    health = health_of(f"127.0.0.1:{closed_port}")
    assert (health.ok, health.reachable, health.is_lm_studio, health.loaded) == (False, False, None, None)
    assert isinstance(health.error, ServerUnavailableError)
    assert health.latency_s is None
    (advice,) = health.advice
    assert "lms server start" in advice
    assert str(closed_port) in advice


def test_a_port_that_takes_no_connection_is_not_reachable(hanging_url):
    with LMStudioProvider(hanging_url, refresh=False) as lm:
        health = lm.health_check(0.2)
    assert isinstance(health.error, RequestTimeoutError)
    assert health.reachable is False


def test_a_silent_server_is_reachable(silent_server):
    with LMStudioProvider(silent_server.url, refresh=False) as lm:
        health = lm.health_check(0.2)
    assert (health.ok, health.reachable, health.is_lm_studio) == (False, True, None)
    assert isinstance(health.error, RequestTimeoutError)
    assert len(health.advice) == 1


def test_the_advice_for_a_missing_token_says_where_to_create_one():
    with SimulatedLMStudio(MODELS, api_token=TOKEN) as server:
        health = health_of(server.url)
    assert (health.ok, health.needs_token, health.token_refused, health.is_lm_studio) == (False, True, False, True)
    assert isinstance(health.error, AuthenticationError)
    assert health.error.token_source is None
    (advice,) = health.advice
    assert "LM_API_TOKEN" in advice
    assert "Server Settings" in advice


def test_the_advice_for_a_refused_token_names_its_setting_and_never_shows_it():
    with SimulatedLMStudio(MODELS, api_token=TOKEN) as server:
        health = health_of(server.url, api_token=OTHER)
    assert (health.needs_token, health.token_refused) == (True, True)
    (advice,) = health.advice
    assert "the argument api_token" in advice
    assert OTHER[:10] not in repr(health)


def test_an_accepted_token_needs_no_advice():
    with SimulatedLMStudio(MODELS, api_token=TOKEN) as server:
        health = health_of(server.url, api_token=TOKEN)
    assert (health.ok, health.needs_token, health.advice) == (True, False, ())


def test_the_advice_for_a_server_without_models_says_how_to_get_one():
    with SimulatedLMStudio([]) as server:
        health = health_of(server.url)
    assert (health.ok, health.models, health.is_lm_studio, health.loaded) == (True, (), True, ())
    (advice,) = health.advice
    assert "lms get" in advice


def test_the_advice_for_a_server_without_a_chat_model_says_how_to_get_one():
    with SimulatedLMStudio(["text-embedding-x"]) as server:
        (advice,) = health_of(server.url).advice
    assert "no model that can chat" in advice


@pytest.mark.parametrize("loaded", [(), ("text-embedding-third",)])
def test_the_advice_for_a_server_without_a_loaded_chat_model_is_to_load_ahead(loaded):
    with SimulatedLMStudio(MODELS, loaded=loaded, jit=False) as server:
        health = health_of(server.url)
    assert (health.ok, health.loaded) == (True, loaded)
    (advice,) = health.advice
    assert "native.load" in advice
    assert "fails if just-in-time loading is off" in advice


def test_an_old_version_is_known_by_its_list_or_its_greeting():
    for version, loaded in (("0.3.6", tuple(MODELS)), ("0.3.5", None)):
        with SimulatedLMStudio(MODELS, version=version) as server:
            health = health_of(server.url)
        assert (health.ok, health.is_lm_studio, health.loaded) == (True, True, loaded)


def test_another_server_is_reported_as_not_lm_studio(httpserver):
    httpserver.expect_request("/v1/models").respond_with_json({"data": [{"id": "m"}], "object": "list"})
    httpserver.expect_request("/lmstudio-greeting").respond_with_json({"detail": "Not Found"}, 404)
    health = health_of(httpserver.url_for(""))
    assert (health.ok, health.models, health.is_lm_studio, health.loaded) == (True, ("m",), False, None)
    (advice,) = health.advice
    assert "not LM Studio" in advice


GO = {"Content-Type": "text/plain"}


def test_ollama_is_recognised_by_its_greeting(httpserver):
    httpserver.expect_request("/v1/models").respond_with_json({"object": "list", "data": [{"id": "m:latest"}]})
    httpserver.expect_request(re.compile("")).respond_with_data("404 page not found", 404, GO)
    health = health_of(httpserver.url_for(""))
    assert (health.ok, health.is_lm_studio, health.models) == (True, False, ("m:latest",))
    (advice,) = health.advice
    assert "not LM Studio" in advice
    assert "ask Ollama with OllamaProvider" in advice


def test_ollama_is_recognised_by_the_owner_of_its_models(httpserver):
    models = {"object": "list", "data": [{"id": "m:latest", "object": "model", "owned_by": "library"}]}
    httpserver.expect_request("/v1/models").respond_with_json(models)
    httpserver.expect_request(re.compile("")).respond_with_json({"error": "Busy."}, 500)
    health = health_of(httpserver.url_for(""))
    assert health.is_lm_studio is False
    assert "OllamaProvider" in health.advice[0]


def test_the_ollama_provider_recognises_an_lm_studio():
    with SimulatedLMStudio(MODELS) as server, OllamaProvider(server.url, refresh=False) as ollama:
        (advice,) = ollama.health_check().advice
    assert "LMStudioProvider" in advice


def test_a_name_and_a_password_are_not_a_token(httpserver):
    httpserver.expect_request(re.compile("")).respond_with_data("", 401, {"WWW-Authenticate": "Basic realm=x"})
    for userinfo, says in (("", "none were given"), ("ann:s3cret@", "the base URL")):
        health = health_of(httpserver.url_for("").replace("://", f"://{userinfo}"))
        assert (health.needs_token, health.token_refused) == (False, False)
        assert says in health.advice[0]
        assert "token" not in health.advice[0]
        assert "s3cret" not in repr(health)


@pytest.mark.parametrize("status", [429, 500])
def test_the_kind_of_a_server_that_fails_is_unknown(httpserver, status):
    httpserver.expect_request(re.compile("")).respond_with_json({"error": "Busy."}, status)
    health = health_of(httpserver.url_for(""))
    assert (health.ok, health.is_lm_studio, len(health.advice)) == (False, None, 1)


def test_all_is_well_with_a_model_in_memory():
    with SimulatedLMStudio(MODELS) as server:
        health = health_of(server.url)
    assert (health.ok, health.reachable, health.is_lm_studio) == (True, True, True)
    assert (health.models, health.loaded, health.advice, health.error) == (tuple(MODELS), tuple(MODELS), (), None)
    assert health.latency_s > 0


@pytest.mark.parametrize(("models", "advised"), [(["m:latest"], 0), ([], 1)])
def test_ollama_has_the_same(models, advised):
    with SimulatedOllama(models) as server, OllamaProvider(server.url, refresh=False) as ollama:
        health = ollama.health_check()
    assert (health.ok, health.reachable, health.is_lm_studio, health.models) == (True, True, None, tuple(models))
    assert len(health.advice) == advised
