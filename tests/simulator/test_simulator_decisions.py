"""The stand-ins answer typed questions as their servers do."""

from __future__ import annotations

import pytest
from plain_http import post
from tables import for_each

from lmstudio_provider import (
    Choice,
    Condition,
    ContextLengthError,
    InvalidRequestError,
    LMStudioProvider,
    OllamaProvider,
    Score,
)
from lmstudio_provider.simulator import SimulatedLMStudio, SimulatedOllama

PATH = "/v1/systemone"
KINDS = [(SimulatedLMStudio, LMStudioProvider), (SimulatedOllama, OllamaProvider)]
QUESTIONS = {
    "label": Choice("Which?", {"billing": "Payments and refunds", "bug": "Software errors"}),
    "urgent": Condition("customers are leaving"),
    "severity": Score("How severe?", ["a question", "customers are leaving"]),
}
NOUL = {"q": {"type": "noul", "instructions": "It is urgent"}}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


@for_each(
    "change",
    [
        {"state": ""},
        {"state": None},
        {"questions": {}},
        {"questions": {"q": {"type": "predicate", "instructions": "x"}}},
        {"questions": {"q": {"type": "noul"}}},
        {"questions": {"q": {"type": "choice", "instructions": "x", "criteria": {}}}},
        {"questions": {"q": {"type": "score", "instructions": "x", "criteria": ["a"]}}},
    ],
    ids=str,
)
@for_each("kind", [SimulatedLMStudio, SimulatedOllama])
def test_a_request_that_is_not_valid_is_refused(kind, change):
    with kind(["nimble"]) as server:
        status, value = post(server, PATH, {"model": "nimble", "state": "text", "questions": NOUL, **change})
    assert (status, "error" in value) == (400, True)


def test_lm_studio_writes_the_code_of_an_error_as_a_number():
    with SimulatedLMStudio(["nimble"]) as server:
        assert post(server, PATH, {"model": "nimble"})[1]["error"]["code"] == 400


@pytest.mark.parametrize(("kind", "provider"), KINDS)
def test_a_model_without_images_refuses_them(kind, provider):
    with kind(["nimble"]) as server, provider(server.url, refresh=False) as lm:
        with pytest.raises(InvalidRequestError):
            lm.decide("text", QUESTIONS, "nimble", images=PNG)
    assert server.requests[-1]["path"] == PATH


def test_an_input_over_the_batch_of_lm_studio_is_a_context_length_error():
    with SimulatedLMStudio(["nimble"]) as server, LMStudioProvider(server.url) as lm:
        with pytest.raises(ContextLengthError, match="eval_batch_size"):
            lm.decide("word " * 600, QUESTIONS)


@pytest.mark.parametrize(("kind", "provider"), KINDS)
def test_the_likeliest_answers_share_words_with_the_state(kind, provider):
    with kind(["talk", "nimble"]) as server, provider(server.url) as lm:
        found = lm.decide("The software has errors, and customers are leaving", QUESTIONS)
    assert found.model.startswith("nimble")
    assert found.choice("label").choice == "bug"
    assert found.condition("urgent")
    assert found.score("severity").score > 0.5
    assert sum(found.score("severity").probabilities) == pytest.approx(1, abs=0.001)
    assert found.usage.prompt_tokens > 10


@pytest.mark.parametrize(("kind", "provider"), KINDS)
def test_a_model_that_reads_images_takes_them(kind, provider):
    with kind(["nimble", "clef"]) as server, provider(server.url) as lm:
        assert lm.decide("text", QUESTIONS, images=[PNG]).model.startswith("clef")


@pytest.mark.parametrize(("kind", "provider"), KINDS)
def test_a_server_without_decision_models_has_none_to_choose(kind, provider):
    with kind() as server, provider(server.url) as lm:
        with pytest.raises(InvalidRequestError, match="has no decision model"):
            lm.decide("text", QUESTIONS)
