"""The engine that LM Studio also runs. The model always says the same sentence."""

import threading

import pytest
import tiny_model

from lmstudio_provider import (
    ContextLengthError,
    EndpointNotFoundError,
    LMStudioProvider,
    MemoryUsage,
    Message,
    TextRequest,
    Usage,
)

SENTENCE = "".join(tiny_model.SENTENCE)
TOKENS = len(tiny_model.SENTENCE) + 1  # the end is one, too


def test_a_wrong_path_is_an_unknown_endpoint(llama_cpp):
    with LMStudioProvider(f"{llama_cpp}/wrong", refresh=False) as lm:
        for call in (lm.list_models, lambda: lm.complete("Hi"), lambda: lm.stream("Hi")):
            with pytest.raises(EndpointNotFoundError) as caught:
                call()
            assert caught.value.status == 404
            assert "/wrong/v1/" in caught.value.url


def test_a_prompt_longer_than_the_context_is_an_error_with_its_numbers(lm):
    with pytest.raises(ContextLengthError, match=str(tiny_model.CONTEXT)) as caught:
        lm.complete("too-long-" * 200)
    assert caught.value.context_length == tiny_model.CONTEXT
    assert caught.value.prompt_tokens == 3 + len("too-long-" * 200)
    assert lm.complete("Hi").text == SENTENCE


def test_a_stream_of_a_prompt_longer_than_the_context_is_refused_with_its_numbers(lm):
    with pytest.raises(ContextLengthError) as caught:
        lm.stream("too-long-" * 200)
    assert (caught.value.context_length, caught.value.prompt_tokens) == (tiny_model.CONTEXT, 3 + len("too-long-" * 200))


def test_the_model_is_listed_found_and_healthy(lm):
    assert [(model.id, model.type) for model in lm.list_models()] == [("tiny", "llm")]
    assert lm.wait_until_configured()
    assert lm.resolve_model() == "tiny"
    health = lm.health_check()
    assert (health.ok, health.models) == (True, ("tiny",))
    assert 0 < health.latency_s < 3


def test_complete_gives_the_sentence_and_counts_its_tokens(lm):
    completion = lm.complete("Hello?")
    assert completion.text == SENTENCE
    assert (completion.model, completion.requested_model, completion.finish_reason) == ("tiny", "tiny", "stop")
    prompt = len("Hello?") + 3  # a token for each byte, one for each of two roles, and one for the beginning
    assert completion.usage == Usage(prompt, TOKENS, prompt + TOKENS, cached_tokens=completion.usage.cached_tokens)
    assert completion.stats.tokens_per_second > 0


def test_chat_reads_every_message(lm):
    short = lm.chat([Message.user("Hi")])
    long = lm.chat([Message.system("Be kind"), Message.user("Hi"), Message.assistant("Hello"), Message.user("Hi")])
    assert short.text == long.text == SENTENCE
    assert long.usage.prompt_tokens > short.usage.prompt_tokens


def test_max_tokens_ends_the_reply_with_length(lm):
    for completion in (lm.complete("Hi", max_tokens=2), lm.stream("Hi", lambda chunk: None, max_tokens=2)):
        assert completion.text == "Hello from"
        assert completion.finish_reason == "length"


def test_a_stop_text_ends_the_reply(lm):
    assert lm.complete("Hi", stop=" local").text == "Hello from a tiny"


def test_a_stream_gives_the_sentence_piece_by_piece(lm):
    stream = lm.stream("Hi")
    chunks = list(stream)
    texts = [chunk.delta for chunk in chunks if chunk.delta]
    assert len(texts) > 1
    assert "".join(texts) == stream.completion.text == SENTENCE
    assert [chunk.done for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].finish_reason == "stop"
    assert stream.completion.stats.time_to_first_token_s > 0


def test_the_callback_gets_the_chunks_of_the_stream(lm):
    chunks = []
    completion = lm.stream([Message.user("Hi")], chunks.append)
    assert "".join(chunk.delta for chunk in chunks) == completion.text == SENTENCE


def test_the_server_answers_again_after_streams_are_left_early(lm):
    for _ in range(5):
        for chunk in lm.stream("Hi", max_tokens=200):
            assert not chunk.done
            break
    with lm.stream("Hi") as stream:
        next(stream)
        closer = threading.Thread(target=stream.close)
        closer.start()
        closer.join(5)
    assert SENTENCE.startswith(stream.completion.text)
    assert lm.complete("Hi").text == SENTENCE


def test_usage_is_recorded_as_the_engine_counts_it(llama_cpp):
    usage = MemoryUsage()
    with LMStudioProvider(llama_cpp, usage=usage) as lm:
        lm.complete("Hi")
        list(lm.stream("Hi"))
    complete, stream = usage.records
    assert (complete.operation, complete.model, complete.status) == ("complete", "tiny", "ok")
    assert complete.completion_tokens == TOKENS
    assert (stream.operation, stream.status, stream.completion_tokens) == ("stream", "ok", TOKENS)


def test_a_count_equals_the_prompt_tokens_that_a_chat_reports(lm):
    def now(zone: str) -> str:
        """Return the time."""
        return zone

    for options in ({}, {"system_prompt": "Be kind"}, {"tools": [now], "max_tokens": 500}):
        assert lm.count_tokens("Hello?", **options) == lm.complete("Hello?", **options).usage.prompt_tokens
    assert lm.count_tokens(TextRequest("Once")) == lm.complete_text("Once").usage.prompt_tokens


def test_a_prompt_longer_than_the_context_is_counted_from_its_error(lm):
    assert lm.count_tokens("too-long-" * 200) == 3 + len("too-long-" * 200)


def test_the_context_length_is_that_of_one_prompt(lm):
    with pytest.raises(ContextLengthError) as caught:
        lm.complete("too-long-" * 200)
    assert lm.context_length() == caught.value.context_length


def test_a_count_leaves_the_prompt_in_the_cache_for_the_call(lm):
    counted = lm.count_tokens("Is this prompt read twice?")
    assert lm.complete("Is this prompt read twice?").usage.cached_tokens >= counted - 1


def test_a_text_of_many_words_is_not_mistaken_for_a_cut_one(lm):
    for text in ("a b c d e f", "ein\n\nWort\tund   noch eines", "日本語 の 文", "🙂 🙂"):
        assert lm.count_tokens(text) > 0
