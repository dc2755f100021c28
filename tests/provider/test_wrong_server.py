"""LMStudioProvider at an Ollama, and OllamaProvider at an LM Studio: both say so, whatever is asked."""

import pytest
from tables import for_each

from lmstudio_provider import (
    AuthenticationError,
    EndpointNotFoundError,
    LMStudioProvider,
    ModelNotFoundError,
    OllamaProvider,
    ProviderError,
    ServerUnavailableError,
)
from lmstudio_provider.simulator import SimulatedLMStudio

TOKEN = "sk-lm-AbCd1234:0123456789abcdefghij"
NOT_FOUND = (404, b"404 page not found", "text/plain")

CALLS = {
    "complete": lambda lm: lm.complete("Hi", model="m"),
    "stream": lambda lm: list(lm.stream("Hi", model="m")),
    "list_models": lambda lm: lm.list_models(),
    "embed": lambda lm: lm.embed("Hi", model="m"),
}
OF_LM_STUDIO = {
    "native.chat": lambda lm: lm.native.chat("Hi", model="m"),
    "native.stream": lambda lm: list(lm.native.stream("Hi", model="m")),
    "native.models": lambda lm: lm.native.models(),
    "native.load": lambda lm: lm.native.load("m"),
    "responses": lambda lm: lm.responses("Hi", model="m"),
    "messages": lambda lm: lm.messages("Hi", model="m"),
}
OF_OLLAMA = {
    "pull": lambda ollama: ollama.pull("m"),
    "delete": lambda ollama: ollama.delete("m"),
    "version": lambda ollama: ollama.version(),
}


def answer(status, body, kind):
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@for_each("ask", [*CALLS.values(), *OF_LM_STUDIO.values()], ids=[*CALLS, *OF_LM_STUDIO])
def test_an_lm_studio_provider_that_meets_ollama_says_so(raw_server, provider_of, ask):
    with pytest.raises(EndpointNotFoundError, match="it answers as Ollama does") as caught:
        ask(provider_of(raw_server(answer(*NOT_FOUND), keep_open=True)))
    assert "OllamaProvider" in caught.value.hint


@for_each("ask", [*CALLS.values(), *OF_OLLAMA.values()], ids=[*CALLS, *OF_OLLAMA])
def test_an_ollama_provider_that_meets_lm_studio_says_so(ask):
    with SimulatedLMStudio() as server, OllamaProvider(server.url, refresh=False) as ollama:
        with pytest.raises(ProviderError, match="it answers as LM Studio does") as caught:
            ask(ollama)
    assert "LMStudioProvider" in caught.value.hint


@pytest.mark.parametrize("token", [None, "another-token"])
def test_an_ollama_provider_that_meets_an_lm_studio_that_wants_a_token_says_so(token):
    with (
        SimulatedLMStudio(api_token=TOKEN) as server,
        OllamaProvider(server.url, api_token=token, refresh=False) as ollama,
    ):
        with pytest.raises(AuthenticationError, match="it answers as LM Studio does") as caught:
            ollama.complete("Hi")
    assert "LMStudioProvider" in caught.value.hint


def test_a_model_that_ollama_does_not_know_is_asked_for_there(httpserver):
    error = {"message": "model 'm' not found", "type": "not_found_error", "param": None, "code": None}
    httpserver.expect_request("/v1/chat/completions").respond_with_json({"error": error}, 404)
    with LMStudioProvider(httpserver.url_for(""), refresh=False) as lm, pytest.raises(ModelNotFoundError) as caught:
        lm.complete("Hi", model="m")
    assert "OllamaProvider" in caught.value.hint
    assert "lms get" not in caught.value.hint


def test_the_greeting_of_ollama_is_known(raw_server, provider_of):
    with pytest.raises(ProviderError, match="Ollama is running") as caught:
        provider_of(raw_server(answer(200, b"Ollama is running", "text/plain"))).complete("Hi")
    assert "OllamaProvider" in caught.value.hint


@pytest.mark.parametrize(
    ("provider", "hint"),
    [
        (LMStudioProvider, "see the server's log: 'lms log stream'"),
        (OllamaProvider, "see the server's log"),
    ],
)
def test_the_hint_about_a_server_that_hangs_up_names_its_own_command_for_the_log(raw_server, provider, hint):
    server = raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")
    with provider(server.url, model="m", refresh=False) as one:
        with pytest.raises(ServerUnavailableError) as caught:
            one.chat("Hi")
    assert caught.value.hint == f"Ask again; if it happens each time, {hint}"
