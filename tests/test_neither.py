"""A machine on which no server runs, and one on which both do."""

from __future__ import annotations

import pytest

from lmstudio_provider import Registry, ServerUnavailableError, discover
from lmstudio_provider.simulator import SimulatedLMStudio, SimulatedOllama


@pytest.fixture
def nobody(monkeypatch):
    """Settings under which nobody answers, also at the default ports of this machine."""
    monkeypatch.setattr("lmstudio_provider._registry.discover", lambda *arguments, **named: [])


def test_with_neither_one_error_names_both_and_how_to_start_each(nobody):
    with Registry.local() as registry, pytest.raises(ServerUnavailableError) as caught:
        registry.first_available()
    assert "neither LM Studio nor Ollama" in str(caught.value)
    assert "lms server start" in caught.value.hint
    assert "ollama serve" in caught.value.hint


def test_both_are_found_by_what_they_answer_and_serve():
    with SimulatedLMStudio() as one, SimulatedOllama() as other:
        settings = {"lmstudio_base_url": other.url, "ollama_base_url": one.url}  # the wrong way round
        kinds = {each.base_url: (each.provider_id, each.version) for each in discover(5, settings=settings)}
        assert kinds[one.url] == ("lm-studio", None)
        assert kinds[other.url] == ("ollama", "0.33.0")
        with Registry.local(settings, timeout=5) as registry:
            served = {provider.base_url: provider.complete("Hi").provider_id for provider in registry.available()}
        assert served[one.url].startswith("lm-studio")
        assert served[other.url].startswith("ollama")
