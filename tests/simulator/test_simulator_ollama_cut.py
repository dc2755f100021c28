"""The stand-in for Ollama cuts prompts that are too long silently, unless a request forbids it."""

import json

import pytest
from plain_http import ask, lines, post
from tables import for_each

from lmstudio_provider.simulator import OllamaModel, SimulatedOllama


def words(count, word="w"):
    return " ".join([word] * count)


def user(text):
    return {"role": "user", "content": text}


def chat(server, messages, **fields):
    return post(server, "/api/chat", {"model": "m", "messages": messages, "stream": False, **fields})


def read_of(messages, context_length, **fields):
    """Return the messages that the model gets, and the reported number of tokens."""
    got = []
    with SimulatedOllama(
        "m", lambda body: got.append(body["messages"]) or "Fine.", context_length=context_length
    ) as server:
        status, value = chat(server, messages, **fields)
    assert status == 200, value
    return got[0], value["prompt_eval_count"]


@for_each("stream", [False, True])
@for_each(
    ("path", "prompt"),
    [
        ("/api/chat", {"messages": [user(words(9, "old")), user(words(5000))]}),
        ("/api/generate", {"prompt": words(5009)}),
    ],
)
def test_a_prompt_that_must_not_be_cut_is_refused_with_its_counts(sample, path, prompt, stream):
    body = {"model": "m", **prompt, "truncate": False, "stream": stream, "options": {"num_ctx": 2048}}
    with SimulatedOllama("m") as server:
        status, _, data = ask(server, "POST", path, body)
    assert (status, data) == (400, sample("errors/ollama_seen_prompt_too_long.json").rstrip())


@for_each("fields", [{}, {"truncate": True}, {"truncate": None}])
def test_a_last_message_that_is_too_long_is_cut_to_half_the_context_and_two(fields):
    messages, count = read_of([user(words(5009))], 2048, **fields)
    assert (len(messages[0]["content"].split()), count) == (1026, 1026)


def test_the_first_tokens_and_the_end_stay():
    messages, count = read_of([user(" ".join(map(str, range(100))))], 20)
    assert messages == [user("0 1 2 3 92 93 94 95 96 97 98 99")]
    assert count == 12


def test_old_messages_are_dropped_first_and_neither_the_systems_nor_the_last_one():
    system, last = {"role": "system", "content": "Be brief."}, user("one two three")
    old = [user(words(4, "old")), {"role": "assistant", "content": words(4, "older")}, user(words(2, "new"))]
    messages, count = read_of([system, *old, last], 8)
    assert (messages, count) == ([system, old[-1], last], 7)


def test_the_same_message_twice_is_dropped_once():
    messages, count = read_of([user("a b"), user("c d"), user("a b")], 4)
    assert (messages, count) == ([user("c d"), user("a b")], 4)


def test_the_systems_message_stays_if_the_last_one_is_cut():
    system = {"role": "system", "content": "Be brief."}
    messages, count = read_of([system, user(words(50))], 10)
    assert (messages[0], len(messages[1]["content"].split()), count) == (system, 5, 7)


def test_the_cut_prompt_keeps_its_pictures():
    parts = [
        {"type": "text", "text": words(99)},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
    ]
    got = []
    with SimulatedOllama("m", lambda body: got.append(body["messages"]) or "Fine.", context_length=10) as server:
        status, _ = post(server, "/v1/chat/completions", {"model": "m", "messages": [user(parts)]})
    (message,) = got[0]
    assert (status, [part["type"] for part in message["content"]]) == (200, ["image_url", "text"])


@for_each("num_ctx", [-5, -1, 1, 2])
def test_an_impossible_context_still_reads_three_tokens(num_ctx):
    messages, count = read_of([user(words(50))], 4096, options={"num_ctx": num_ctx})
    assert (len(messages[0]["content"].split()), count) == (3, 3)


@pytest.mark.parametrize("truncate", [True, False])
def test_a_prompt_that_just_fits_is_read_whole(truncate):
    messages, count = read_of([user(words(4)), user(words(4))], 8, truncate=truncate)
    assert (len(messages), count) == (2, 8)


def test_a_request_sets_its_context_length_up_to_the_models():
    models = [OllamaModel("m", context_length=16), OllamaModel("own", parameters={"num_ctx": 4})]
    with SimulatedOllama(models, "Fine.", context_length=8) as server:
        counts = [
            chat(server, [user(words(99))], **fields)[1]["prompt_eval_count"]
            for fields in (
                {},
                {"options": {"num_ctx": 0}},
                {"options": {"num_ctx": 12}},
                {"options": {"num_ctx": 9999}},
                {"model": "own"},
                {"model": "own", "options": {"num_ctx": 6}},
            )
        ]
    assert counts == [6, 6, 8, 10, 4, 5]


def test_through_v1_every_prompt_is_cut_even_if_the_request_forbids_it():
    bodies = {
        "/v1/chat/completions": {"messages": [user(words(99))], "truncate": False},
        "/v1/completions": {"prompt": words(99), "truncate": False},
        "/v1/messages": {"messages": [user(words(99))], "max_tokens": 9},
        "/v1/responses": {"input": words(99), "truncation": "disabled"},
    }
    with SimulatedOllama("m", "Fine.", context_length=20) as server:
        for path, body in bodies.items():
            status, value = post(server, path, {"model": "m", **body})
            counts = value["usage"]
            assert (status, counts.get("prompt_tokens", counts.get("input_tokens"))) == (200, 12), path
    assert value["truncation"] == "disabled"


# Texts to embed


@pytest.mark.parametrize("path", ["/api/embed", "/v1/embeddings"])
def test_a_text_that_is_too_long_is_cut_to_the_models_context_less_two(path):
    with SimulatedOllama("embed", context_length=4096) as server:
        status, value = post(server, path, {"model": "embed", "input": words(9000), "options": {"num_ctx": 4096}})
    count = value["prompt_eval_count"] if path == "/api/embed" else value["usage"]["prompt_tokens"]
    assert (status, count) == (200, 2046)


def test_a_text_that_must_not_be_cut_is_refused_without_its_position(sample):
    body = {"model": "embed", "input": ["short", words(9)], "truncate": False, "options": {"num_ctx": 8}}
    with SimulatedOllama("embed") as server:
        status, _, data = ask(server, "POST", "/api/embed", body)
        assert (status, data) == (400, sample("errors/ollama_embed_too_long.json").rstrip())
        assert post(server, "/api/embed", {**body, "options": {"num_ctx": 9}})[0] == 200


def test_the_cut_part_does_not_change_the_vector():
    with SimulatedOllama("embed") as server:
        body = {"model": "embed", "input": ["a b c d " + words(9), "a b c d other words that were never read"]}
        first, second = post(server, "/api/embed", {**body, "options": {"num_ctx": 6}})[1]["embeddings"]
    assert first == second


@for_each("truncate", [True, False])
@for_each("texts", ["", [""], ["a", ""]])
def test_an_empty_text_is_refused_with_an_error_about_its_length(sample, texts, truncate):
    with SimulatedOllama("embed") as server:
        status, _, data = ask(server, "POST", "/api/embed", {"model": "embed", "input": texts, "truncate": truncate})
        assert (status, data) == (400, sample("errors/ollama_seen_embed_empty.json").rstrip())
        assert post(server, "/v1/embeddings", {"model": "embed", "input": texts})[0] == 400


def test_no_texts_have_no_vectors():
    with SimulatedOllama("embed") as server:
        status, value = post(server, "/api/embed", {"model": "embed", "input": []})
    assert (status, value["embeddings"], "prompt_eval_count" in value) == (200, [], False)


def test_a_chat_model_does_not_embed(sample):
    with SimulatedOllama("m") as server:
        status, _, data = ask(server, "POST", "/api/embed", {"model": "m", "input": "a"})
        assert (status, data) == (501, sample("errors/ollama_seen_embed_by_chat_model.json").rstrip())
        status, value = post(server, "/v1/embeddings", {"model": "m", "input": "a"})
        assert (status, value["error"]["type"]) == (501, "api_error")


def test_a_vector_can_be_made_shorter_and_stays_of_length_1():
    with SimulatedOllama("embed") as server:
        (vector,) = post(server, "/api/embed", {"model": "embed", "input": "a b", "dimensions": 4})[1]["embeddings"]
    assert (len(vector), sum(each * each for each in vector)) == (4, pytest.approx(1))


def test_the_older_endpoint_embeds_one_text():
    with SimulatedOllama("embed") as server:
        old = post(server, "/api/embeddings", {"model": "embed", "prompt": "a b"})[1]["embedding"]
        assert [old] == post(server, "/api/embed", {"model": "embed", "input": "a b"})[1]["embeddings"]


# Limits and times of replies


@for_each("limit", [0, -1, -2, None, 99])
def test_num_predict_of_0_does_not_limit_a_reply(limit):
    with SimulatedOllama("m", "one two three") as server:
        value = chat(server, [user("Hi")], options={"num_predict": limit})[1]
        assert (value["message"]["content"], value["done_reason"]) == ("one two three", "stop")
        body = {"model": "m", "messages": [user("Hi")], "max_tokens": limit}
        choice = post(server, "/v1/chat/completions", body)[1]["choices"][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("one two three", "stop")


@pytest.mark.parametrize(("limit", "text", "ns"), [(1, "one", 1000), (2, "one two", 20_000_000)])
def test_a_reply_of_one_token_took_a_thousand_nanoseconds(limit, text, ns):
    with SimulatedOllama("m", "one two three") as server:
        value = chat(server, [user("Hi")], options={"num_predict": limit})[1]
    assert (value["message"]["content"], value["done_reason"], value["eval_count"]) == (text, "length", limit)
    assert value["eval_duration"] == ns


def test_a_thinking_model_may_be_cut_before_it_says_a_word():
    reply = {"content": "", "finish_reason": "length", "completion_tokens": 3}
    with SimulatedOllama("m", reply) as server:
        value = chat(server, [user("Hi")], options={"num_predict": 3})[1]
    assert (value["message"], value["done_reason"]) == ({"role": "assistant", "content": ""}, "length")
    assert value["eval_count"] == 3


@for_each(("cached", "wanted"), [({}, None), ({"cached_tokens": 0}, 0), ({"cached_tokens": 5}, 5)])
def test_cached_tokens_are_reported_if_the_reply_has_them(cached, wanted):
    with SimulatedOllama("m", {"content": "x", **cached}) as server:
        assert chat(server, [user("Hi")])[1].get("prompt_eval_cached_count") == wanted
        last = lines(ask(server, "POST", "/api/generate", {"model": "m", "prompt": "x"})[2])[-1]
        assert last.get("prompt_eval_cached_count") == wanted


def test_counts_that_are_0_are_left_out():
    with SimulatedOllama("m", {"content": "", "prompt_tokens": 0}) as server:
        value = json.loads(ask(server, "POST", "/api/chat", {"model": "m", "messages": [user("Hi")]})[2])
    assert not {"eval_count", "eval_duration", "prompt_eval_count"} & set(value)
