"""The stand-in's vectors, texts and special chats, over plain HTTP."""

import json
import math

import pytest
from plain_http import HI, ask, chat_reply, events, keys, post

from lmstudio_provider.simulator import SimulatedLMStudio

EMBED, TEXT = "/v1/embeddings", "/v1/completions"
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "kind": {"type": "string", "enum": ["a", "b"]},
        "one": {"const": 1},
        "tags": {"type": "array", "items": {"type": "integer"}, "minItems": 2},
        "pair": {"type": "array", "prefixItems": [{"type": "number"}, {"type": "null"}], "minItems": 2},
        "either": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
        "inner": {"$ref": "#/$defs/Inner"},
        "several": {"type": ["string", "null"]},
        "left_out": {"type": "string"},
    },
    "required": ["name", "kind", "one", "tags", "pair", "either", "inner", "several"],
    "$defs": {"Inner": {"type": "object", "properties": {"x": {"type": "integer"}}}},
}


@pytest.fixture
def server():
    with SimulatedLMStudio(models=["chat-model", "text-embedding-x"]) as running:
        yield running


# Vectors


@pytest.mark.parametrize("texts", [None, 7, [7], ["a", None], [[1, 2]]])
def test_an_input_that_is_not_text_is_not_embedded(server, texts):
    refused = {"error": "'input' field must be a string or an array of strings"}
    assert post(server, EMBED, {"model": "text-embedding-x", "input": texts}) == (400, refused)


@pytest.mark.parametrize(("model", "said"), [("chat-model", "not an embedding model"), ("none", "model_not_found")])
def test_another_model_does_not_embed(server, model, said):
    status, value = post(server, EMBED, {"model": model, "input": "a"})
    assert status == 400
    assert said in json.dumps(value)


def test_vectors_look_as_those_of_lm_studio(server, sample):
    status, value = post(server, EMBED, {"model": "text-embedding-x", "input": ["a", "b"]})
    expected = json.loads(sample("embeddings.json"))
    assert status == 200
    assert keys({**value, "data": []}) == keys({**expected, "data": []})
    assert [keys({**entry, "embedding": 0}) for entry in value["data"]] == [
        keys({**expected["data"][0], "embedding": 0})
    ] * 2
    assert value["usage"] == expected["usage"]


def test_texts_that_share_words_are_near_each_other(server):
    texts = ["the cat sleeps", "where does the cat sleep", "interest rates rose"]
    _, value = post(server, EMBED, {"model": "text-embedding-x", "input": texts})
    first, near, far = (entry["embedding"] for entry in value["data"])
    assert math.hypot(*first) == pytest.approx(1)
    assert sum(map(float.__mul__, first, near)) > sum(map(float.__mul__, first, far))


def test_the_beginning_of_a_text_that_is_too_long_is_embedded_silently():
    with SimulatedLMStudio(["text-embedding-x"], context_length=3) as server:
        texts = ["a b c", "a b c d e", "a b d"]
        status, value = post(server, EMBED, {"model": "text-embedding-x", "input": texts})
    first, cut, other = (entry["embedding"] for entry in value["data"])
    assert (status, value["usage"]) == (200, {"prompt_tokens": 0, "total_tokens": 0})
    assert first == cut != other


# Text completion


@pytest.mark.parametrize("prompt", [None, 7, ["a"]])
def test_a_text_without_a_prompt_is_refused(server, prompt):
    assert post(server, TEXT, {"prompt": prompt})[0] == 400


def test_a_text_looks_as_those_of_lm_studio(server, sample):
    status, value = post(server, TEXT, {"prompt": "Once"})
    assert (status, keys(value)) == (200, keys(json.loads(sample("text_completion.json"))))
    assert value["choices"][0]["text"].startswith(" and so on. This is a simulated text")


def test_a_text_is_cut_by_max_tokens_and_stop():
    with SimulatedLMStudio(replies=["one two three four"]) as server:
        cut = post(server, TEXT, {"prompt": "", "max_tokens": 2})[1]["choices"][0]
        stopped = post(server, TEXT, {"prompt": "", "stop": ["x", " three"]})[1]["choices"][0]
    assert (cut["text"], cut["finish_reason"]) == ("one two", "length")
    assert (stopped["text"], stopped["finish_reason"]) == ("one two", "stop")


def test_a_text_is_streamed_word_by_word():
    with SimulatedLMStudio(replies=["one two"]) as server:
        body = {"prompt": "Once", "stream": True, "stream_options": {"include_usage": True}}
        *chunks, last = events(ask(server, "POST", TEXT, body)[2])
    assert [each["choices"][0]["text"] for each in chunks] == ["one", " two", ""]
    assert [each["choices"][0]["finish_reason"] for each in chunks] == [None, None, "stop"]
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 2)


# Chats with schemas, reasoning, stop texts and results


def test_an_answer_fits_the_json_schema(server):
    form = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}
    reply = chat_reply(server, response_format=form)
    assert json.loads(reply["choices"][0]["message"]["content"]) == {
        "name": "simulated",
        "kind": "a",
        "one": 1,
        "tags": [1, 1],
        "pair": [1.0, None],
        "either": True,
        "inner": {"x": 1},
        "several": "simulated",
    }


def test_reasoning_comes_if_a_request_asks_for_it_and_is_counted(server):
    message = chat_reply(server, reasoning_effort="low")
    assert message["choices"][0]["message"]["reasoning_content"].startswith("This is simulated reasoning")
    assert message["usage"]["completion_tokens_details"]["reasoning_tokens"] == 8
    assert "reasoning_content" not in chat_reply(server, reasoning_effort="none")["choices"][0]["message"]


def test_reasoning_uses_max_tokens_up(server):
    reply = chat_reply(server, reasoning_effort="low", max_tokens=3)
    (choice,) = reply["choices"]
    assert (choice["message"]["content"], choice["message"]["reasoning_content"]) == ("", "This is simulated")
    assert choice["finish_reason"] == "length"
    assert reply["usage"]["completion_tokens"] == 3


def test_a_chat_stops_at_a_stop_text():
    with SimulatedLMStudio(replies=["one two three"]) as server:
        assert chat_reply(server, stop=" two")["choices"][0]["message"]["content"] == "one"


def test_a_reply_repeats_all_results_of_tools(server):
    calls = [{"id": each, "type": "function", "function": {"name": "f", "arguments": "{}"}} for each in "12"]
    results = [{"role": "tool", "tool_call_id": each, "content": f"result {each}"} for each in "12"]
    reply = chat_reply(server, [*HI, {"role": "assistant", "content": "", "tool_calls": calls}, *results])
    assert reply["choices"][0]["message"]["content"].endswith("The tool answered: result 1 result 2")
