"""decide(): which model answers, what is recorded, and the errors on the way."""

from __future__ import annotations

import contextlib

import pytest

from lmstudio_provider import (
    Choice,
    ChoiceAnswer,
    Condition,
    Failover,
    InvalidRequestError,
    LMStudioProvider,
    MemoryUsage,
    ModelMismatchWarning,
    OllamaProvider,
    ProtocolError,
    Provider,
    ProviderClosedError,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
)

PATH = "/v1/systemone"
LABEL = {"label": Choice("Which label fits?", {"billing": "Payments", "bug": "Software errors"})}
REPLY = {"model": "nimble", "answers": {"label": {"type": "choice", "choice": "bug"}}, "usage": {"input_tokens": 9}}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def listed(httpserver, *models):
    """Has LM Studio list models, each a key, its type, if it is loaded, and if it sees."""
    entries = [
        {
            "type": kind,
            "key": key,
            "loaded_instances": [{"id": key, "config": {}}] if loaded else [],
            "capabilities": {"vision": sees, "trained_for_tool_use": False},
        }
        for key, kind, loaded, sees in models
    ]
    httpserver.expect_request("/api/v1/models").respond_with_json({"models": entries})


def asked(httpserver):
    return [request.get_json() for request, _ in httpserver.log if request.path == PATH]


# Errors


def test_what_cannot_work_is_refused_before_anything_is_sent(httpserver, provider):
    for state, questions in (("", LABEL), ("text", {}), ("text", {"q": "is it?"})):
        with pytest.raises(InvalidRequestError):
            provider.decide(state, questions)
    with pytest.raises(InvalidRequestError, match="model=7"):
        provider.decide("text", LABEL, 7)
    assert httpserver.log == []


def test_a_server_without_a_decision_model_is_an_error_that_says_what_to_do(httpserver, provider):
    listed(httpserver, ("qwen", "llm", True, False), ("text-embed", "embedding", True, False))
    with pytest.raises(InvalidRequestError, match="has no decision model, only 'qwen'") as caught:
        provider.decide("text", LABEL)
    assert "lms get MODEL" in caught.value.hint
    assert "model= or the setting lmstudio_model_decision" in caught.value.hint
    assert asked(httpserver) == []


def test_a_chat_model_of_the_settings_is_never_asked_to_decide(httpserver):
    listed(httpserver, ("qwen", "llm", True, False))
    with LMStudioProvider(httpserver.url_for(""), model="qwen", refresh=False) as lm:
        with pytest.raises(InvalidRequestError, match="no decision model"):
            lm.decide("text", LABEL)


def test_images_for_a_model_that_is_known_not_to_read_them_are_not_sent(httpserver, provider):
    listed(httpserver, ("nimble", "decision", True, False))
    with pytest.raises(InvalidRequestError, match="'nimble' does not read images"):
        provider.decide("text", LABEL, images=PNG)
    assert asked(httpserver) == []


def test_deciding_has_the_errors_and_limits_of_all_calls(closed_port, silent_server, provider_of):
    with pytest.raises(ServerUnavailableError, match="no server answers"):
        provider_of(f"127.0.0.1:{closed_port}").decide("text", LABEL, "m")
    lm = provider_of(silent_server)
    for limit, option in (("first_byte", {"timeout": 0.1}), ("deadline", {"deadline": 0.1})):
        with pytest.raises(RequestTimeoutError) as caught:
            lm.decide("text", LABEL, "m", **option)
        assert caught.value.limit == limit
    lm.close()
    with pytest.raises(ProviderClosedError):
        lm.decide("text", LABEL, "m")


def test_a_request_that_was_sent_is_never_sent_again(httpserver, provider):
    httpserver.expect_request(PATH).respond_with_json({"error": {"code": 500, "message": "boom"}}, 500)
    with pytest.raises(ServerError):
        provider.decide("text", LABEL, "nimble")
    assert len(asked(httpserver)) == 1


def test_an_error_about_a_model_that_cannot_decide_names_those_that_can(httpserver, provider):
    listed(httpserver, ("qwen", "llm", True, False), ("nimble", "decision", False, False))
    provider.list_models()
    error = {"error": {"code": 400, "message": "qwen is not a decision model"}}
    httpserver.expect_request(PATH).respond_with_json(error, 400)
    with pytest.raises(InvalidRequestError) as caught:
        provider.decide("text", LABEL, "qwen")
    assert "'qwen' may not be a decision model: the server has nimble" in caught.value.hint


def test_a_provider_that_does_not_decide_says_so():
    class Small(Provider):
        display_name = "Small"

    Small.__abstractmethods__ = frozenset()
    with pytest.raises(InvalidRequestError, match="Small does not decide"):
        Small().decide("text", LABEL)


# The choice of the model


def test_a_loaded_decision_model_is_chosen_first(httpserver, provider):
    listed(
        httpserver,
        ("qwen", "llm", True, True),
        ("clef", "decision", False, True),
        ("nimble", "decision", True, False),
    )
    httpserver.expect_request(PATH).respond_with_json(REPLY)
    assert provider.decide("text", LABEL).choice("label") == ChoiceAnswer("bug")
    assert asked(httpserver)[0]["model"] == "nimble"


def test_a_model_that_reads_images_is_chosen_for_images(httpserver, provider):
    listed(httpserver, ("nimble", "decision", True, False), ("clef", "decision", False, True))
    httpserver.expect_request(PATH).respond_with_json({**REPLY, "model": "clef"})
    provider.decide("text", LABEL, images=[PNG])
    (sent,) = asked(httpserver)
    assert sent["model"] == "clef"
    assert sent["images"][0].startswith("data:image/png;base64,")


def test_the_setting_for_decisions_wins_over_the_list(httpserver):
    httpserver.expect_request(PATH).respond_with_json({**REPLY, "model": "mine"})
    settings = {"lmstudio_model_decision": "mine", "lmstudio_model": "qwen"}
    with LMStudioProvider(httpserver.url_for(""), settings=settings, refresh=False) as lm:
        lm.decide("text", LABEL)
    assert [each["model"] for each in asked(httpserver)] == ["mine"]


def test_ollama_chooses_by_the_capabilities_of_its_models(httpserver):
    tags = [{"name": "qwen:latest", "digest": "1"}, {"name": "nimble:latest", "digest": "2"}]
    httpserver.expect_request("/api/tags").respond_with_json({"models": tags})
    httpserver.expect_request("/api/ps").respond_with_json({"models": []})
    for name, can in (("qwen:latest", ["completion"]), ("nimble:latest", ["tools", "decision", "thinking"])):
        httpserver.expect_request("/api/show", json={"model": name}).respond_with_json({"capabilities": can})
    httpserver.expect_request(PATH).respond_with_json(REPLY)
    with OllamaProvider(httpserver.url_for(""), refresh=False) as lm:
        assert lm.decide("text", LABEL)["label"].choice == "bug"
    assert asked(httpserver)[0]["model"] == "nimble:latest"


def test_another_model_than_the_named_one_is_warned_of(httpserver, provider):
    httpserver.expect_request(PATH).respond_with_json(REPLY)
    with pytest.warns(ModelMismatchWarning, match="'nimble' answered, but 'clef' was asked for"):
        provider.decide("text", LABEL, "clef")


# Records


def records(httpserver, reply, status=200):
    httpserver.expect_request(PATH).respond_with_json(reply, status)
    usage = MemoryUsage()
    with LMStudioProvider(httpserver.url_for(""), refresh=False, usage=usage) as lm:
        with contextlib.suppress(ProtocolError, ServerError):
            lm.decide("text", LABEL, "nimble")
    return [(each.operation, each.model, each.prompt_tokens, each.status) for each in usage.records]


def test_a_call_is_recorded_once(httpserver):
    assert records(httpserver, REPLY) == [("decide", "nimble", 9, "ok")]


def test_a_call_that_fails_is_recorded_once_with_the_tokens_that_it_took(httpserver):
    assert records(httpserver, {**REPLY, "answers": {}}) == [("decide", "nimble", 9, "error")]


def test_a_failover_decides_with_the_first_server_that_can_be_reached(httpserver, closed_port):
    httpserver.expect_request(PATH).respond_with_json(REPLY)
    urls = f"http://127.0.0.1:{closed_port}", httpserver.url_for("")
    members = [LMStudioProvider(url, refresh=False, id=url) for url in urls]
    with Failover(members) as lm:
        found = lm.decide({"text": "it fails"}, {**LABEL}, "nimble", images=[])
    assert found.provider_id == urls[1]


def test_question_kinds_can_be_mixed(httpserver, provider):
    answers = {**REPLY["answers"], "urgent": {"type": "noul", "noul": 0.9}}
    httpserver.expect_request(PATH).respond_with_json({**REPLY, "answers": answers})
    found = provider.decide("text", {**LABEL, "urgent": Condition("It is urgent")}, "nimble")
    assert (found.choice("label").choice, found.condition("urgent").probability) == ("bug", 0.9)
