"""A machine on which no server runs, and one on which both do."""

from __future__ import annotations

import pytest

from lmstudio_provider import Provider, Registry, ServerUnavailableError, discover
from lmstudio_provider.simulator import SimulatedLMStudio, SimulatedOllama


@pytest.fixture
def nobody(monkeypatch):
    """Settings under which no server answers, also at the default ports of this machine."""
    monkeypatch.setattr("lmstudio_provider._servers.registry.discover", lambda *arguments, **named: [])


def test_with_neither_one_error_names_both_and_how_to_start_each(nobody):
    with Registry.local() as registry, pytest.raises(ServerUnavailableError) as caught:
        registry.first_available()
    assert "neither LM Studio nor Ollama" in str(caught.value)
    assert "lms server start" in caught.value.hint
    assert "ollama serve" in caught.value.hint


def test_both_are_recognised_by_their_answers_and_serve():
    with SimulatedLMStudio() as one, SimulatedOllama() as other:
        settings = {"lmstudio_base_url": other.url, "ollama_base_url": one.url}  # the wrong way round
        kinds = {each.base_url: (each.provider_id, each.version) for each in discover(5, settings=settings)}
        assert kinds[one.url] == ("lm-studio", None)
        assert kinds[other.url] == ("ollama", "0.35.1")
        with Registry.local(settings, timeout=5) as registry:
            served = {provider.base_url: provider.complete("Hi").provider_id for provider in registry.available()}
        assert served[one.url].startswith("lm-studio")
        assert served[other.url].startswith("ollama")


@pytest.mark.parametrize(
    ("token", "url_of_the_other", "make"),
    [
        ("LM_API_TOKEN", "OLLAMA_HOST", SimulatedLMStudio),
        ("OLLAMA_API_KEY", "LM_STUDIO_URL", SimulatedOllama),
    ],
)
def test_a_token_goes_to_no_server_that_it_was_not_set_for(monkeypatch, token, url_of_the_other, make):
    secret = "sk-lm-AbCd1234:0123456789abcdefghij"
    with make() as server:
        monkeypatch.setenv(token, secret)
        monkeypatch.setenv(url_of_the_other, server.url)
        with Registry.local(timeout=5) as registry:
            for provider in registry:
                provider.refresh_models()
        assert len(server.requests) > 2
        assert secret not in str(server.requests)


def test_a_provider_whose_health_check_fails_is_skipped(nobody):
    class Broken(Provider):
        id = display_name = "broken"
        base_url = "broken:"
        capabilities = None

        def chat(self, request, **overrides):
            raise AssertionError

        def health_check(self, timeout=3.0):
            raise OSError("out of order")

    with Registry() as registry, pytest.raises(ServerUnavailableError, match="OSError: out of order"):
        registry.register(Broken())
        assert registry.available() == []
        registry.first_available()
