"""Prompts and texts that do not fit into the context: said, refused or let through, as the caller wants it."""

from __future__ import annotations

import io
import json
import time
import warnings

import pytest
from tables import for_each
from werkzeug import Response

from lmstudio_provider import (
    ChatRequest,
    CompletionRequest,
    ContextLengthError,
    Conversation,
    Embeddings,
    Failover,
    InvalidRequestError,
    LMStudioProvider,
    MemoryUsage,
    Message,
    ModelInfo,
    OllamaProvider,
    Provider,
    ProviderError,
    RequestTimeoutError,
    ResponsesRequest,
    ServerError,
    StructuredOutputError,
    TextRequest,
    TruncationWarning,
    run_tools,
)
from lmstudio_provider._core.errors import StatusError
from lmstudio_provider._core.types import Call, LoadedInstance, Timeouts
from lmstudio_provider._http.exchange import Deadline
from lmstudio_provider._provider.session import CallOptions
from lmstudio_provider._provider.truncation import contexts_of, find_cut, send_or_cut
from lmstudio_provider.simulator import SimulatedLMStudio, SimulatedOllama

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
LONG = " ".join(["word"] * 50)
TOO_LONG = {"error": "the input length exceeds the context length"}


def now(city: str) -> str:
    """Tell the time."""
    return "noon"


# Each call that has a prompt, as a provider makes it.
CALLS = {
    "complete": lambda provider, text, **options: provider.complete(text, **options),
    "chat": lambda provider, text, **options: provider.chat([Message.user(text)], **options),
    "complete_text": lambda provider, text, **options: provider.complete_text(text, **options),
    "complete_with_tools": lambda provider, text, **options: provider.complete_with_tools(text, tools=[now], **options),
    "stream": lambda provider, text, **options: list(provider.stream(text, **options)),
    "on_chunk": lambda provider, text, **options: provider.stream(text, lambda chunk: None, **options),
    "stream of a text": lambda provider, text, **options: list(provider.stream(TextRequest(text), **options)),
    "run_tools": lambda provider, text, **options: run_tools(provider, text, [now], **options),
    "run_tools, streamed": lambda provider, text, **options: run_tools(provider, text, [now], stream=True, **options),
    "Conversation.ask": lambda provider, text, **options: Conversation(provider).ask(text, **options),
    "Conversation.stream": lambda provider, text, **options: list(Conversation(provider).stream(text, **options)),
    "Failover": lambda provider, text, **options: Failover([provider]).chat(text, **options),
    "Failover.stream": lambda provider, text, **options: list(Failover([provider]).stream(text, **options)),
    "a request": lambda provider, text, **options: provider.complete(CompletionRequest(text, **options)),
    "a chat": lambda provider, text, **options: provider.chat(ChatRequest(text, **options)),
    "a text": lambda provider, text, **options: provider.complete_text(TextRequest(text, **options)),
}
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@pytest.fixture
def server():
    with SimulatedOllama(["m", "embed"], "Fine.", context_length=20) as stand_in:
        yield stand_in


@pytest.fixture
def ollama(server):
    with OllamaProvider(server.url, model="m", refresh=False) as provider:
        yield provider


def bodies(server, method="POST"):
    return [request["body"] for request in server.requests if request["method"] == method]


def without(body, name="truncate"):
    return {key: value for key, value in body.items() if key != name}


# What cannot be asked for


@pytest.mark.parametrize("value", ["Warn", "raise", "", None, True, False, 1, ["warn"]])
def test_another_word_is_refused_before_anything_is_sent(ollama, server, value):
    for make in (CompletionRequest, ChatRequest, TextRequest, ResponsesRequest):
        with pytest.raises(InvalidRequestError, match=r"on_truncation=.* is not one of 'warn', 'error', 'ignore'"):
            make("Hi", on_truncation=value)
    for call in (ollama.chat, ollama.complete_text, ollama.stream, ollama.embed):
        with pytest.raises(InvalidRequestError, match="on_truncation="):
            call("Hi", on_truncation=value)
    assert server.requests == []


@pytest.mark.parametrize("name", ["truncate", "truncation", "on_truncate", "ontruncation"])
def test_a_word_of_the_servers_names_the_right_one(ollama, name):
    with pytest.raises(InvalidRequestError, match=f"there is no option '{name}'") as caught:
        ollama.chat("Hi", **{name: "error"})
    assert caught.value.hint == "Did you mean 'on_truncation'?"


def test_lm_studios_own_api_names_the_method_that_takes_on_truncation(simulator):
    with LMStudioProvider(simulator.url) as lm, pytest.raises(InvalidRequestError, match="on_truncation") as caught:
        lm.native.chat("Hi", on_truncation="error")
    assert "lm.chat() takes it" in caught.value.hint


# A prompt that does not fit, "error"


@each_call
def test_error_raises_with_both_counts_and_nothing_is_generated(ollama, server, call):
    with pytest.raises(ContextLengthError, match=r"50 tokens.*holds 20") as caught:
        call(ollama, LONG, on_truncation="error")
    assert (caught.value.prompt_tokens, caught.value.context_length) == (50, 20)
    assert "num_ctx" in caught.value.hint
    assert (caught.value.status, caught.value.provider) == (400, "ollama")
    assert [body["truncate"] for body in bodies(server)] == [False]


def test_a_larger_num_ctx_helps_as_the_hint_says(ollama):
    completion = ollama.chat(LONG, on_truncation="error", extra={"options": {"num_ctx": 64}})
    assert completion.usage.prompt_tokens == 50


def test_the_error_is_recorded_as_one_call(server):
    usage = MemoryUsage()
    with OllamaProvider(server.url, model="m", refresh=False, usage=usage) as ollama:
        for call in (ollama.chat, ollama.stream):
            with pytest.raises(ContextLengthError):
                call(LONG, on_truncation="error")
    assert [(each.operation, each.status) for each in usage.records] == [("chat", "error"), ("stream", "error")]


# ... "warn"


@each_call
def test_warn_is_the_default_and_reports_the_cut_at_the_line_of_the_caller(ollama, server, call):
    with pytest.warns(TruncationWarning) as warned:
        call(ollama, LONG)
    said = str(warned[0].message)
    assert ("50 tokens" in said, "holds 20" in said, "'m'" in said, "num_ctx" in said) == (True,) * 4
    assert warned[0].filename == __file__
    first, second = bodies(server)[:2]
    assert (first["truncate"], second["truncate"]) == (False, True)
    assert without(first) == without(second)


def test_a_reply_that_was_asked_for_twice_is_that_of_the_cut_prompt(ollama):
    with pytest.warns(TruncationWarning):
        completion = ollama.chat(LONG)
    assert (completion.text, completion.usage.prompt_tokens) == ("Fine.", 12)
    assert completion.provider_id == "ollama"


def test_a_stream_warns_before_its_first_piece(ollama):
    with pytest.warns(TruncationWarning):
        stream = ollama.stream(LONG)
    assert "".join(stream.text()) == "Fine."


def test_the_call_that_was_answered_is_recorded_once(server):
    usage = MemoryUsage()
    with OllamaProvider(server.url, model="m", refresh=False, usage=usage) as ollama:
        for call in (ollama.chat, lambda text: list(ollama.stream(text))):
            with pytest.warns(TruncationWarning):
                call(LONG)
    assert [(each.operation, each.prompt_tokens, each.status) for each in usage.records] == [
        ("chat", 12, "ok"),
        ("stream", 12, "ok"),
    ]


def test_a_warning_that_is_made_an_error_leaves_no_stream_open(server):
    usage = MemoryUsage()
    with OllamaProvider(server.url, model="m", refresh=False, usage=usage) as ollama:
        with pytest.raises(TruncationWarning):  # which is an error in these tests
            ollama.stream(LONG)
        with pytest.raises(TruncationWarning):
            ollama.chat(LONG)
        assert ollama.chat("Hi").text == "Fine."
    assert [each.status for each in usage.records] == ["cancelled", "error", "ok"]


def test_an_answer_that_does_not_fit_its_format_has_the_warning_too(server):
    with OllamaProvider(server.url, model="m", refresh=False) as ollama:
        with pytest.warns(TruncationWarning), pytest.raises(StructuredOutputError):
            ollama.chat(LONG, response_format=list[int])


def test_an_open_file_is_read_once_and_sent_both_times(ollama, server):
    with pytest.warns(TruncationWarning):
        ollama.chat([{"role": "user", "content": LONG, "images": [io.BytesIO(PNG)]}])
    first, second = bodies(server)
    assert without(first) == without(second)
    assert first["messages"][0]["images"][0]


def test_each_round_of_tools_is_looked_at():
    replies = [{"tool_calls": [{"name": "now", "arguments": {"city": "Oslo"}}]}, "Noon."]
    with SimulatedOllama("m", replies, context_length=20) as server, OllamaProvider(server.url, model="m") as ollama:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            assert run_tools(ollama, LONG, [now]).completion.text == "Noon."
    assert [each.category for each in warned] == [TruncationWarning] * 2


def test_a_server_that_says_no_numbers_is_warned_of_without(httpserver):
    httpserver.expect_ordered_request("/api/chat").respond_with_json(TOO_LONG, 400)
    httpserver.expect_ordered_request("/api/chat").respond_with_json({"message": {"content": "Hi"}, "done": True})
    with OllamaProvider(httpserver.url_for(""), model="m", refresh=False) as ollama:
        with pytest.warns(TruncationWarning, match="the prompt does not fit into the context of 'm'"):
            assert ollama.chat("Hi").text == "Hi"


def test_a_server_that_refuses_to_cut_is_raised_without_a_warning(httpserver):
    said = "prompt too long; exceeded max context length by 812 tokens"
    httpserver.expect_request("/api/chat").respond_with_json({"error": {"message": said}}, 400)
    with OllamaProvider(httpserver.url_for(""), model="m", refresh=False) as ollama:
        for call in (ollama.chat, ollama.stream):
            with pytest.raises(ContextLengthError, match="by 812 tokens"):
                call("Hi")
    assert [request.get_json()["truncate"] for request, _ in httpserver.log] == [False, True] * 2


@pytest.mark.parametrize("status", [500, 503])
def test_an_engine_that_ran_full_may_have_generated_and_is_not_asked_again(httpserver, status):
    said = {"error": "the prompt exceeds the available context size"}
    httpserver.expect_request("/api/chat").respond_with_json(said, status)
    with OllamaProvider(httpserver.url_for(""), model="m", refresh=False) as ollama, pytest.raises(StatusError):
        ollama.chat("Hi")
    assert len(httpserver.log) == 1


@for_each("status", [400, 404, 422, 500])
def test_any_other_refusal_is_not_sent_again(httpserver, status):
    httpserver.expect_request("/api/chat").respond_with_json({"error": "no"}, status)
    with OllamaProvider(httpserver.url_for(""), model="m", refresh=False) as ollama, pytest.raises(ProviderError):
        ollama.chat("Hi")
    assert len(httpserver.log) == 1


def test_the_second_has_the_deadline_of_the_first():
    seen = []

    def send(call, plan):
        seen.append(plan)
        if call.cut is not None:
            raise ContextLengthError("too long", status=400)
        return call.body

    plan = CallOptions(None, Timeouts(), Deadline(9.0, time.monotonic()))
    reply, refusal = send_or_cut(send, Call("POST", "/api/chat", b"whole", cut=lambda: b"cut"), plan)
    assert (reply, refusal.message) == (b"cut", "too long")
    assert seen[1].deadline is seen[0].deadline


def test_the_silence_of_the_first_counts_for_the_second():
    seen = []

    def send(call, plan):
        seen.append(plan.waited_s)
        if call.cut is not None:
            begun = time.monotonic()
            while time.monotonic() == begun:  # until the clock goes on
                continue
            raise ContextLengthError("too long", status=400)

    plan = CallOptions(None, Timeouts(), None, 1.0)
    send_or_cut(send, Call("POST", "/api/chat", b"{}", cut=lambda: b"[]"), plan)
    assert seen[0] == 1.0
    assert seen[1] > 1.0


def test_a_deadline_that_the_second_passes_is_that_of_the_call(raw_server):
    refused = json.dumps(TOO_LONG).encode()
    head = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(refused)
    answered = []

    def once(connection):
        if not answered:
            answered.append(True)
            connection.sendall(head + refused)
        else:
            connection.recv(1)  # until the client has left

    server = raw_server(once, keep_open=True)
    with OllamaProvider(server.url, model="m", refresh=False) as ollama:
        with pytest.raises(RequestTimeoutError) as caught:
            ollama.chat("Hi", deadline=0.5)
    assert caught.value.limit == "deadline"
    assert len(server.requests) == 2


# ... "ignore"


@each_call
def test_ignore_lets_the_server_cut_and_says_nothing(ollama, server, call):
    call(ollama, LONG, on_truncation="ignore")
    assert {body["truncate"] for body in bodies(server)} == {True}


# A prompt that fits


@each_call
@pytest.mark.parametrize("policy", ["warn", "error"])
def test_a_prompt_that_fits_is_sent_once(ollama, server, call, policy):
    call(ollama, "Hi", on_truncation=policy)
    assert [body["truncate"] for body in bodies(server)] == [False]


def test_a_prompt_that_just_fits_is_not_cut(ollama, server):
    assert ollama.chat("word " * 19 + "word").usage.prompt_tokens == 20
    assert len(server.requests) == 1


def test_an_older_server_that_knows_no_truncate_is_sent_it_once(httpserver):
    httpserver.expect_oneshot_request("/api/chat").respond_with_json({"message": {"content": "Hi"}, "done": True})
    with OllamaProvider(httpserver.url_for(""), model="m", refresh=False) as ollama:
        assert ollama.chat(LONG).text == "Hi"


# Options that the caller sets in ``extra``


@pytest.mark.parametrize("policy", ["warn", "error", "ignore"])
def test_what_extra_says_is_left_as_it_is(ollama, server, policy):
    assert ollama.chat(LONG, on_truncation=policy, extra={"truncate": True}).usage.prompt_tokens == 12
    for call in (ollama.chat, ollama.complete_text, ollama.stream):
        with pytest.raises(ContextLengthError):
            call(LONG, on_truncation=policy, extra={"truncate": False})
    assert [body["truncate"] for body in bodies(server)] == [True, False, False, False]


# LM Studio's chats


@pytest.mark.parametrize("policy", ["warn", "error", "ignore"])
def test_lm_studio_takes_the_option_everywhere_and_is_sent_nothing_of_it(simulator, policy):
    with LMStudioProvider(simulator.url) as lm:
        lm.chat("Hi", on_truncation=policy)
        lm.complete("Hi", on_truncation=policy)
        lm.complete_text("Hi", on_truncation=policy)
        list(lm.stream("Hi", on_truncation=policy))
        lm.responses("Hi", on_truncation=policy)
        lm.responses(ResponsesRequest("Hi", on_truncation=policy))
        lm.messages("Hi", on_truncation=policy)
    sent = bodies(simulator)
    assert len(sent) == 7
    assert not [name for body in sent for name in body if "truncat" in name]


@for_each("policy", ["warn", "error", "ignore"])
def test_a_prompt_that_lm_studio_refuses_is_an_error_in_any_case(policy):
    with SimulatedLMStudio(context_length=20) as server, LMStudioProvider(server.url) as lm:
        for call in (lm.chat, lm.responses, lm.messages, lm.complete_text):
            with pytest.raises(ContextLengthError) as caught:
                call(LONG, on_truncation=policy)
            assert (caught.value.prompt_tokens, caught.value.context_length) == (50, 20)
        assert len(bodies(server)) == 4


# Texts to embed, Ollama


def words(count, word="word"):
    return " ".join([word] * count)


@pytest.fixture
def embed(ollama):
    return lambda texts, **options: ollama.embed(texts, "embed", **options)


def test_texts_that_fit_are_sent_once_and_none_is_cut(embed, server):
    embeddings = embed(["a", words(20), "c"])
    assert embeddings.truncated == ()
    assert [body["truncate"] for body in bodies(server)] == [False]


def test_no_texts_are_none_that_were_cut(embed, server):
    assert embed([]).truncated == ()
    assert server.requests == []


def test_one_text_that_is_too_long_is_known(embed, server):
    with pytest.warns(TruncationWarning, match=r"texts\[0\] does not fit into the context of 'embed'") as warned:
        embeddings = embed(LONG)
    assert (embeddings.truncated, len(embeddings.vectors), embeddings.usage.prompt_tokens) == ((0,), 1, 18)
    assert warned[0].filename == __file__
    assert [body["truncate"] for body in bodies(server)] == [False, True]


@pytest.mark.slow
@pytest.mark.parametrize(
    "long", [[0], [63], [64], [5, 6], [0, 64, 129], [17, 40, 63, 100], [*range(130)], [*range(0, 130, 2)]], ids=str
)
def test_the_positions_are_exact_and_the_others_untouched(embed, ollama, server, long):
    texts = [words(30, f"w{each}") if each in long else words(1 + each % 20, f"w{each}") for each in range(130)]
    plain = ollama.embed(texts, "embed", on_truncation="ignore")
    with pytest.warns(TruncationWarning) as warned:
        embeddings = embed(texts)
    assert embeddings.truncated == tuple(long)
    assert embeddings.vectors == plain.vectors
    assert embeddings.usage == plain.usage
    assert len(warned) == 1


def test_a_warning_names_the_first_and_counts_the_others(embed):
    with pytest.warns(TruncationWarning, match=r"texts\[0\], .*, texts\[7\] and 4 more do not fit"):
        embed([words(30)] * 12)


def test_one_long_text_costs_few_requests(embed, server):
    texts = [words(3)] * 64
    texts[40] = words(30)
    with pytest.warns(TruncationWarning):
        embed(texts)
    assert len(server.requests) <= 2 * 6 + 2


def test_error_names_a_text_that_does_not_fit(embed, server):
    texts = [words(3)] * 130
    texts[70] = words(30)
    with pytest.raises(ContextLengthError, match=r"texts\[70\] does not fit into the context of 'embed'") as caught:
        embed(texts, on_truncation="error")
    assert (caught.value.positions, caught.value.status, caught.value.sent) == ((70,), 400, True)
    assert caught.value.url.endswith("/api/embed")
    assert {body["truncate"] for body in bodies(server)} == {False}


def test_ignore_has_them_cut_and_does_not_know_which(embed, server):
    embeddings = embed([LONG, "b"], on_truncation="ignore")
    assert (embeddings.truncated, len(embeddings.vectors)) == (None, 2)
    assert [body["truncate"] for body in bodies(server)] == [True]


def test_a_text_that_cannot_be_cut_is_an_error_with_its_position(httpserver):
    httpserver.expect_request("/api/embed").respond_with_json(TOO_LONG, 400)
    with OllamaProvider(httpserver.url_for(""), refresh=False) as ollama:
        with pytest.raises(ContextLengthError, match=r"texts\[0\], texts\[1\] do not fit") as caught:
            ollama.embed(["a", "b"], "embed")
    assert caught.value.positions == (0, 1)


def test_a_batch_that_is_too_large_for_one_request_is_split_and_nothing_is_cut(httpserver):
    def answer(request):
        texts = request.get_json()["input"]
        body = TOO_LONG if len(texts) > 2 else {"model": "embed", "embeddings": [[float(text)] for text in texts]}
        return Response(json.dumps(body), 400 if len(texts) > 2 else 200, content_type="application/json")

    httpserver.expect_request("/api/embed").respond_with_handler(answer)
    with OllamaProvider(httpserver.url_for(""), refresh=False) as ollama:
        embeddings = ollama.embed(map(str, range(7)), "embed")
    assert embeddings.vectors == [[float(each)] for each in range(7)]
    assert embeddings.truncated == ()


@pytest.mark.parametrize(("status", "kind"), [(500, ServerError), (400, InvalidRequestError)])
def test_any_other_failure_is_raised_at_once(httpserver, status, kind):
    httpserver.expect_request("/api/embed").respond_with_json({"error": "boom"}, status)
    with OllamaProvider(httpserver.url_for(""), refresh=False) as ollama, pytest.raises(kind, match="boom"):
        ollama.embed(["a", "b"], "embed")
    assert len(httpserver.log) == 1


def test_an_engine_that_fails_over_the_context_is_not_asked_again(httpserver):
    httpserver.expect_request("/api/embed").respond_with_json({"error": "exceeds the available context size"}, 500)
    with OllamaProvider(httpserver.url_for(""), refresh=False) as ollama, pytest.raises(StatusError):
        ollama.embed(["a", "b"], "embed")
    assert len(httpserver.log) == 1


def test_all_requests_are_recorded_as_one_call(server):
    usage = MemoryUsage()
    with OllamaProvider(server.url, refresh=False, usage=usage) as ollama:
        with pytest.warns(TruncationWarning):
            ollama.embed(["a", LONG, "c"], "embed")
        with pytest.raises(ContextLengthError):
            ollama.embed(["a", LONG, "c"], "embed", on_truncation="error")
    assert [(each.operation, each.prompt_tokens, each.status) for each in usage.records] == [
        ("embed", 20, "ok"),
        ("embed", None, "error"),
    ]


# ... LM Studio


EMBED = "text-embedding-simulated"


@pytest.fixture
def small():
    with SimulatedLMStudio(context_length=8) as stand_in:
        yield stand_in


def test_lm_studio_is_asked_by_the_list_of_models_what_fits(small):
    with LMStudioProvider(small.url) as lm:
        with pytest.warns(TruncationWarning, match=r"texts\[1\], texts\[2\] do not fit.*'text-.*holds 8 ") as warned:
            embeddings = lm.embed(["short", words(9), words(99)], EMBED)
    assert (embeddings.truncated, len(embeddings.vectors)) == ((1, 2), 3)
    assert (len(warned), warned[0].filename) == (1, __file__)
    assert "lms load" in str(warned[0].message)
    assert len(bodies(small)) == 1


def test_positions_are_those_of_all_the_texts(small):
    texts = ["a"] * 130
    texts[100] = words(9)
    with LMStudioProvider(small.url) as lm, pytest.warns(TruncationWarning):
        assert lm.embed(texts).truncated == (100,)


def test_a_text_that_is_certain_not_to_fit_is_refused_before_anything_is_sent(small):
    usage = MemoryUsage()
    with LMStudioProvider(small.url, usage=usage) as lm, pytest.raises(ContextLengthError) as caught:
        lm.embed(["short", words(9)], EMBED, on_truncation="error")
    assert (caught.value.positions, caught.value.context_length, caught.value.sent) == ((1,), 8, False)
    assert "texts[1] does not fit into the context of 'text-embedding-simulated', which holds 8" in str(caught.value)
    assert (caught.value.provider, caught.value.method) == ("lm-studio", "POST")
    assert (bodies(small), usage.records) == ([], ())


def test_a_model_that_the_call_itself_loads_is_looked_up_afterwards():
    with SimulatedLMStudio(loaded=[], context_length=8) as server, LMStudioProvider(server.url) as lm:
        assert lm.wait_until_configured()
        with pytest.warns(TruncationWarning):
            assert lm.embed(["short", words(9)], EMBED).truncated == (1,)
    with SimulatedLMStudio(loaded=[], context_length=8) as server, LMStudioProvider(server.url) as lm:
        assert lm.wait_until_configured()
        with pytest.raises(ContextLengthError) as caught:
            lm.embed(["short", words(9)], EMBED, on_truncation="error")
        assert (caught.value.positions, caught.value.sent) == ((1,), True)


def test_texts_that_fit_for_certain_are_none_that_were_cut(simulator):
    with LMStudioProvider(simulator.url) as lm:
        assert lm.embed(["Hello", "Grüße", "你好"], EMBED).truncated == ()


def test_what_may_fit_is_not_known_and_not_warned_of(small):
    with LMStudioProvider(small.url) as lm:
        for policy in ("warn", "error"):
            assert lm.embed(words(8), EMBED, on_truncation=policy).truncated is None


def test_ignore_does_not_look(small):
    with LMStudioProvider(small.url) as lm:
        assert lm.embed(words(9), EMBED, on_truncation="ignore").truncated is None


def test_an_unknown_context_does_not_warn(httpserver, provider):
    reply = {"data": [{"embedding": [1.0], "index": 0}], "model": "m"}
    httpserver.expect_request("/v1/embeddings").respond_with_json(reply)
    for policy in ("warn", "error", "ignore"):
        assert provider.embed(words(100000), "m", on_truncation=policy).truncated is None
    assert len(httpserver.log) == 3


def native_list(context_length, **more):
    loaded = [{"id": "m", "config": {"context_length": context_length}}]
    entry = {"type": "embedding", "key": "m", "loaded_instances": loaded, "max_context_length": 8192, **more}
    return {"models": [entry]}


def test_a_list_that_is_too_old_warns_of_nothing(httpserver):
    httpserver.expect_ordered_request("/api/v1/models").respond_with_json(native_list(8))
    reply = {"data": [{"embedding": [1.0], "index": 0}], "model": "m"}
    httpserver.expect_ordered_request("/v1/embeddings").respond_with_json(reply)
    httpserver.expect_ordered_request("/api/v1/models").respond_with_json(native_list(8192))
    with LMStudioProvider(httpserver.url_for("")) as lm:
        assert lm.wait_until_configured()
        assert lm.embed(words(100), "m").truncated == ()


@for_each(("counted", "truncated"), [(None, None), (0, None), (5, ()), (13, ()), (16, None), (17, (0,)), (99, (0,))])
def test_a_count_of_the_server_decides_if_there_is_one(httpserver, counted, truncated):
    httpserver.expect_request("/api/v1/models").respond_with_json(native_list(16))
    reply = {"data": [{"embedding": [1.0], "index": 0}], "model": "m"}
    if counted is not None:
        reply["usage"] = {"prompt_tokens": counted, "total_tokens": counted}
    httpserver.expect_request("/v1/embeddings").respond_with_json(reply)
    with LMStudioProvider(httpserver.url_for(""), refresh=False) as lm, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        lm.list_models()
        assert lm.embed(words(10), "m").truncated == truncated
    assert [each.category for each in warned] == ([TruncationWarning] if truncated else [])


# The estimate


@for_each(
    ("text", "contexts", "cut"),
    [
        ("", [8], False),
        ("Hello", [8], False),
        ("Hello, it", [8], None),
        (words(8), [8], None),
        (words(9), [8], True),
        ("\n".join("abcdefghi"), [8], True),
        (" " * 100_000, [512], None),
        ("x" * 512, [512], None),
        ("x" * 8192, [512], None),
        ("x" * 9000, [512], True),
        ("你好世界" * 500, [512], None),
        ("你好世界" * 700, [512], True),
        ("🙂" * 3000, [512], True),
        ("\ud800" * 100, [512], False),
        ("\ud800" * 100_000, [512], True),
        ("The quick brown fox jumps over the lazy dog. " * 56, [512], None),
        ("The quick brown fox jumps over the lazy dog. " * 58, [512], True),
        (words(9), [8, 9], None),
        (words(9), [8, 4096], None),
        (words(5000), [8, 4096], True),
        ("Hello", [8, 4096], False),
        ("Hello", [4, 4096], None),
        (words(5000), [], None),
    ],
)
def test_a_text_is_compared_by_its_smallest_and_largest_possible_token_count(text, contexts, cut):
    expected = {True: (1,), False: (), None: None}[cut]
    assert find_cut(["", text], contexts, None) == expected


def test_only_the_text_that_was_certainly_cut_is_reported_beside_one_that_may_be():
    assert find_cut([words(8), words(9)], [8], None) == (1,)


def instance(id_, context_length):
    return LoadedInstance(id_, context_length)


@for_each(
    ("name", "model", "contexts"),
    [
        ("m", ModelInfo("m", instances=(instance("m", 512),)), [512]),
        ("m", ModelInfo("m", instances=(instance("m", 512), instance("m:2", 2048))), [512, 2048]),
        ("m:2", ModelInfo("m", instances=(instance("m", 512), instance("m:2", 2048))), [2048]),
        ("mine", ModelInfo("m", instances=(instance("m", 512), instance("mine", 2048))), [2048]),
        ("m", ModelInfo("m", instances=(instance("m", 512), instance("m:2", None))), []),
        ("m", ModelInfo("m", context_length=512), [512]),
        ("publisher/m@q8", ModelInfo("m", context_length=512), [512]),
        ("m", ModelInfo("m", max_context_length=512), []),
        ("m", ModelInfo("other", context_length=512), []),
    ],
)
def test_the_context_is_that_of_every_instance_that_may_have_answered(name, model, contexts):
    assert contexts_of([model], name) == contexts


# Through others


def test_a_failover_passes_it_on_to_whom_it_is_given(server):
    with Failover([OllamaProvider(server.url, model="m", refresh=False)]) as both:
        with pytest.raises(ContextLengthError):
            both.embed(LONG, "embed", on_truncation="error")
        with pytest.warns(TruncationWarning) as warned:
            assert both.embed(LONG, "embed").truncated == (0,)
    assert warned[0].filename == __file__


def test_a_provider_of_ones_own_that_does_not_know_it_embeds_in_a_failover():
    class Own(Provider):
        id, display_name, base_url, capabilities = "own", "Own", "http://own", None

        def chat(self, request, **overrides):
            raise NotImplementedError

        def embed(self, texts, model=None, *, timeout=None, deadline=None):
            return Embeddings([[1.0]], "m", "m")

    assert Failover([Own()]).embed("a").truncated is None


def test_vectors_of_a_provider_of_ones_own_say_nothing_of_cuts():
    assert Embeddings([], "m", "m").truncated is None
