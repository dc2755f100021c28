"""The warning that another model answered than was asked for."""

import json
import warnings

import pytest

from lmstudio_provider import LMStudioProvider, Message, ModelMismatchWarning
from lmstudio_provider.simulator import SimulatedLMStudio

HI = [Message.user("Hi")]
# Each way to ask, and the user's line that waits for the answer.
WAYS = {
    "complete": lambda lm, model: lm.complete("Hi", model=model),
    "chat": lambda lm, model: lm.chat(HI, model=model),
    "stream": lambda lm, model: list(lm.stream("Hi", model=model)),
    "text of a stream": lambda lm, model: list(lm.stream("Hi", model=model).text()),
    "on_chunk": lambda lm, model: lm.stream("Hi", lambda chunk: None, model=model),
    "complete_text": lambda lm, model: lm.complete_text("Hi", model=model),
    "native.chat": lambda lm, model: lm.native.chat("Hi", model=model),
    "native.stream": lambda lm, model: list(lm.native.stream("Hi", model=model)),
    "responses": lambda lm, model: lm.responses("Hi", model=model),
    "messages": lambda lm, model: lm.messages("Hi", model=model),
}


@pytest.fixture
def lm():
    """Of a server that has one model loaded, and loads no other."""
    with SimulatedLMStudio(["served", "other"], loaded=["served"], jit=False) as server:
        with LMStudioProvider(server.url, refresh=False) as provider:
            yield provider


def warned(call, *arguments):
    """The warnings of a call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(*arguments)
    return caught


@pytest.mark.parametrize("name", WAYS)
def test_an_answer_of_another_model_warns_once_at_the_line_of_the_user(lm, name):
    (caught,) = warned(WAYS[name], lm, "other")
    assert (caught.category, caught.filename) == (ModelMismatchWarning, __file__)
    assert "'served' answered, but 'other' was asked for" in str(caught.message)
    assert warned(WAYS[name], lm, "other") == []


def test_vectors_of_another_model_warn(httpserver, provider):
    data = [{"index": at, "embedding": [1.0]} for at in range(64)]
    body = {"object": "list", "data": data, "model": "text-embedding-served"}
    httpserver.expect_request("/v1/embeddings").respond_with_json(body)
    caught = warned(provider.embed, ["Hi"] * 128, "text-embedding-wanted")
    assert [(each.category, each.filename) for each in caught] == [(ModelMismatchWarning, warned.__code__.co_filename)]


def test_the_completion_names_both_models(lm):
    with pytest.warns(ModelMismatchWarning):
        completion = lm.complete("Hi", model="wanted")
    assert (completion.model, completion.requested_model) == ("served", "wanted")


def test_each_pair_of_models_warns_separately(lm):
    for model, count in (("a", 1), ("b", 1), ("a", 0)):
        assert len(warned(WAYS["complete"], lm, model)) == count


def test_each_way_counts_for_all(lm):
    assert len(warned(WAYS["native.chat"], lm, "other")) == 1
    assert warned(WAYS["messages"], lm, "other") == []


def test_a_warning_that_is_an_error_is_raised_and_costs_no_second_one(lm):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ModelMismatchWarning):
            lm.native.chat("Hi", model="other")
        assert lm.native.chat("Hi", model="other").text


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("m", "m"),
        ("m", "m:2"),
        ("m", "m@q4_k_m"),
        ("m@q4_k_m", "m"),
        ("publisher/m", "m"),
        ("m", "Publisher/M"),
    ],
)
def test_a_variant_and_an_instance_are_not_another_model(httpserver, provider, asked, served):
    reply = {"model_instance_id": served, "output": [{"type": "message", "content": "Hi"}]}
    httpserver.expect_request("/api/v1/chat").respond_with_json(reply)
    assert warned(WAYS["native.chat"], provider, asked) == []


def test_an_instance_of_any_name_is_not_another_model(httpserver, provider):
    models = {"models": [{"key": "m", "loaded_instances": [{"id": "my-bot", "config": {}}]}]}
    httpserver.expect_request("/api/v1/models").respond_with_json(models)
    reply = {"model_instance_id": "my-bot", "output": []}
    httpserver.expect_request("/api/v1/chat").respond_with_json(reply)
    provider.native.models()
    assert warned(WAYS["native.chat"], provider, "m") == []


@pytest.mark.parametrize("name", WAYS)
def test_a_call_that_names_no_model_does_not_warn(lm, name):
    assert warned(WAYS[name], lm, None) == []


def test_a_chosen_model_that_was_replaced_since_does_not_warn(httpserver, provider):
    """The caller asked for any model, not for this one."""
    models = {"models": [{"key": "before", "loaded_instances": [{"id": "before", "config": {}}]}]}
    httpserver.expect_request("/api/v1/models").respond_with_json(models)
    reply = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}], "model": "after"}
    httpserver.expect_request("/v1/chat/completions").respond_with_data(json.dumps(reply))
    httpserver.expect_request("/api/v1/chat").respond_with_json({"model_instance_id": "after", "output": []})
    provider.list_models()
    assert warned(WAYS["chat"], provider, None) == []
    assert warned(WAYS["native.chat"], provider, None) == []


def test_the_model_of_a_setting_was_asked_for(httpserver):
    httpserver.expect_request("/api/v1/chat").respond_with_json({"model_instance_id": "other", "output": []})
    with LMStudioProvider(httpserver.url_for(""), refresh=False, model="mine") as lm:
        assert len(warned(WAYS["native.chat"], lm, None)) == 1


def test_an_instance_that_is_gone_is_another_one(simulator):
    with LMStudioProvider(simulator.url) as lm:
        with lm.native.loaded("simulated-model", context_length=16384) as instance:
            assert lm.complete("Hi", model=instance.instance_id).model == "simulated-model:2"
        with pytest.warns(ModelMismatchWarning, match="'simulated-model:2' was asked for"):
            assert lm.complete("Hi", model=instance.instance_id).model == "simulated-model"
