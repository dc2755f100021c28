"""Replies of an Ollama that differ from others, over its own API and over the OpenAI-compatible endpoints."""

from __future__ import annotations

import threading
import warnings

import pytest
from raw import stream_of
from tables import for_each
from werkzeug import Response

from lmstudio_provider import (
    ContextLengthError,
    EmptyAnswerWarning,
    LMStudioProvider,
    ModelNotFoundError,
    OllamaProvider,
    ProtocolError,
    RequestTimeoutError,
    ServerUnavailableError,
    Timeouts,
)
from lmstudio_provider.simulator import SimulatedOllama

WAY = {"whole": lambda call: call(), "stream": lambda call: call(lambda chunk: None)}


@pytest.fixture
def ollama():
    with SimulatedOllama() as server:
        yield server


# Errors


@pytest.mark.parametrize(
    "call",
    [
        lambda lm: lm.chat("Hi", model="gone"),
        lambda lm: lm.stream("Hi", lambda chunk: None, model="gone"),
        lambda lm: lm.complete_text("Hi", model="gone"),
        lambda lm: lm.embed("Hi", "gone"),
        lambda lm: lm.responses("Hi", model="gone"),
        lambda lm: lm.messages("Hi", model="gone"),
    ],
    ids=["chat", "stream", "completions", "embeddings", "responses", "messages"],
)
def test_a_model_that_an_ollama_does_not_have_is_not_found_at_every_openai_endpoint(ollama, call):
    with LMStudioProvider(ollama.url, refresh=False) as lm, pytest.raises(ModelNotFoundError) as caught:
        call(lm)
    assert (caught.value.status, caught.value.model) == (404, "gone")
    assert "OllamaProvider" in caught.value.hint


@for_each(
    "body",
    [
        {"error": "prompt too long; exceeded max context length by 3000 tokens"},
        {"error": {"message": "prompt too long; exceeded max context length by 3000 tokens", "type": "api_error"}},
    ],
)
@for_each("kind", [OllamaProvider, LMStudioProvider])
def test_a_prompt_over_the_longest_context_is_a_context_error(httpserver, kind, body):
    httpserver.expect_request("/api/chat").respond_with_json(body, status=400)
    httpserver.expect_request("/v1/chat/completions").respond_with_json(body, status=400)
    with kind(httpserver.url_for(""), model="m", refresh=False) as provider, pytest.raises(ContextLengthError):
        provider.chat("Hi")


# Time


@pytest.mark.parametrize("limits", [{"timeout": Timeouts(first_byte=0.2)}, {"deadline": 0.3}], ids=str)
def test_a_call_that_ends_while_its_model_is_loading_says_that_leaving_aborts_it(silent_server, limits):
    with OllamaProvider(silent_server.url, model="m", refresh=False) as ollama:
        with pytest.raises(RequestTimeoutError, match="stops loading a model if the client leaves") as caught:
            ollama.chat("Hi", **limits)
    assert "load('m')" in caught.value.hint


def test_a_call_to_a_model_that_is_loaded_says_nothing_of_loading(httpserver):
    models = {"models": [{"name": "m", "model": "m", "capabilities": ["completion"]}]}
    over = threading.Event()
    httpserver.expect_request("/api/tags").respond_with_json(models)
    httpserver.expect_request("/api/ps").respond_with_json(models)
    httpserver.expect_request("/api/chat").respond_with_handler(lambda request: over.wait(10) and Response())
    with OllamaProvider(httpserver.url_for(""), model="m", refresh=False) as ollama:
        ollama.list_models()
        with pytest.raises(RequestTimeoutError) as caught:
            ollama.chat("Hi", timeout=Timeouts(first_byte=0.2))
    over.set()
    assert "leaves" not in caught.value.hint


def test_a_stream_that_stops_in_the_middle_says_nothing_of_loading(raw_server):
    line = b'{"message": {"content": "Hi"}, "done": false}\n'
    server = raw_server(stream_of(line), lambda connection: connection.recv(1) and None)
    with OllamaProvider(server.url, model="m", refresh=False) as ollama:
        with pytest.raises(RequestTimeoutError) as caught:
            list(ollama.stream("Hi", timeout=Timeouts(idle=0.2)))
    assert "leaves" not in caught.value.hint


# Ends


def respond(lm, *on_chunk, **options):
    return lm.responses_stream("Hi there", *on_chunk, **options) if on_chunk else lm.responses("Hi there", **options)


@pytest.mark.parametrize("way", WAY.values(), ids=WAY)
def test_a_response_that_max_output_tokens_cut_ended_at_its_length_although_it_says_completed(ollama, way):
    with LMStudioProvider(ollama.url, refresh=False, model="simulated-model") as lm:
        cut = way(lambda *on_chunk: respond(lm, *on_chunk, max_tokens=2))
        whole = way(lambda *on_chunk: respond(lm, *on_chunk, max_tokens=500))
    assert (cut.finish_reason, whole.finish_reason) == ("length", "stop")


@for_each("way", WAY.values(), ids=WAY)
@for_each("kind", [OllamaProvider, LMStudioProvider])
def test_an_answer_without_text_and_thoughts_that_was_cut_gives_a_warning(kind, way):
    reply = {"content": "", "completion_tokens": 3, "finish_reason": "length"}
    with (
        SimulatedOllama(replies=[reply]) as server,
        kind(server.url, refresh=False, model="simulated-model") as provider,
    ):
        with pytest.warns(EmptyAnswerWarning, match="max_tokens=3 were used up.*raise it"):
            way(
                lambda *on_chunk: (
                    provider.stream("Hi", *on_chunk, max_tokens=3) if on_chunk else provider.chat("Hi", max_tokens=3)
                )
            )


# Rates


@pytest.mark.parametrize("way", WAY.values(), ids=WAY)
def test_a_reply_of_one_token_has_no_rate(ollama, way):
    with OllamaProvider(ollama.url, refresh=False, model="simulated-model") as provider:
        completion = way(
            lambda *on_chunk: (
                provider.stream("Hi", *on_chunk, max_tokens=1) if on_chunk else provider.chat("Hi", max_tokens=1)
            )
        )
    assert completion.usage.completion_tokens == 1
    assert completion.stats.tokens_per_second is None


def test_a_stream_of_one_token_has_no_rate_that_was_measured_here(ollama):
    with LMStudioProvider(ollama.url, refresh=False, model="simulated-model") as lm, warnings.catch_warnings():
        warnings.simplefilter("error")
        completion = lm.stream("Hi", lambda chunk: None, max_tokens=1)
    assert completion.stats.tokens_per_second is None


@pytest.mark.parametrize("kind", [LMStudioProvider, OllamaProvider])
def test_no_content_instead_of_a_stream_is_not_taken_for_a_prompt_that_does_not_fit(raw_server, kind):
    server = raw_server(b"HTTP/1.1 204 No Content\r\n\r\n")
    with kind(server.url, model="m", refresh=False) as lm, pytest.raises(ProtocolError, match="HTTP 204") as caught:
        lm.stream("Hi")
    assert "Check that the base URL is that of" in caught.value.hint


def test_a_tls_alert_is_reported_once(raw_server):
    with LMStudioProvider(raw_server(b"\x15\x03\x03\x00\x02\x02\x28").url, model="m", refresh=False) as lm:
        with pytest.raises(ProtocolError, match="the server answered plain HTTP with a TLS alert") as caught:
            lm.chat("Hi")
    assert str(caught.value).count("speaks TLS") == 1


def test_a_reply_that_is_shorter_than_a_length_of_many_digits_is_refused(raw_server, provider_of):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n"
    with pytest.raises(ServerUnavailableError, match="hung up"):
        provider_of(raw_server(head + b"{}").url).chat("hi", model="m")
