"""count_tokens() and context_length(): what is asked, what is counted, and what is not known."""

from __future__ import annotations

import warnings

import pytest

from lmstudio_provider import (
    ChatRequest,
    CompletionRequest,
    ContextLengthError,
    Failover,
    InvalidRequestError,
    LMStudioProvider,
    MemoryUsage,
    Message,
    OllamaProvider,
    ProtocolError,
    Provider,
    ResponsesRequest,
    ServerUnavailableError,
    TextRequest,
    Tool,
)
from lmstudio_provider.simulator import SimulatedLMStudio, SimulatedOllama

LONG = "word " * 49 + "word"
CHAT, OLLAMA_CHAT = "/v1/chat/completions", "/api/chat"
KINDS = {"LM Studio": (SimulatedLMStudio, LMStudioProvider), "Ollama": (SimulatedOllama, OllamaProvider)}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def lm(request):
    simulated, provider = request.param
    with simulated("m", "A long answer.", context_length=20) as server:
        with provider(server.url, model="m", refresh=False, usage=MemoryUsage()) as lm:
            lm.server, lm.records = server, lm._usage
            yield lm


def asked(lm):
    return [request["body"] for request in lm.server.requests if request["method"] == "POST"]


def limit(body):
    return body.get("max_tokens", body.get("options", {}).get("num_predict"))


# Errors


@pytest.mark.parametrize("request_", [None, 7, b"Hi", {"role": "user"}, [], ResponsesRequest("Hi")], ids=repr)
def test_what_is_not_a_request_is_refused_before_anything_is_sent(lm, request_):
    with pytest.raises(InvalidRequestError):
        lm.count_tokens(request_)
    assert lm.server.requests == []


def test_an_option_that_does_not_exist_is_refused(lm):
    with pytest.raises(InvalidRequestError, match="temprature"):
        lm.count_tokens("Hi", temprature=0)
    with pytest.raises(InvalidRequestError, match="model=7"):
        lm.context_length(7)


@pytest.mark.parametrize("kind", [LMStudioProvider, OllamaProvider])
def test_a_server_that_is_not_there_is_the_same_error_as_of_any_call(kind, closed_port):
    with kind(f"127.0.0.1:{closed_port}", model="m", refresh=False, usage=MemoryUsage()) as lm:
        for call in (lambda: lm.count_tokens("Hi"), lm.context_length):
            with pytest.raises(ServerUnavailableError):
                call()
        assert lm._usage.records == ()


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": 0}, {"prompt_tokens": None, "completion_tokens": 1}])
def test_a_count_that_the_server_does_not_report_is_an_error(httpserver, provider, usage):
    reply = {"choices": [{"message": {"content": "A"}, "finish_reason": "length"}], "model": "m", "usage": usage}
    httpserver.expect_request(CHAT).respond_with_json(reply)
    with pytest.raises(ProtocolError, match="does not say how many tokens") as caught:
        provider.count_tokens("Hi", model="m")
    assert (caught.value.provider, caught.value.sent) == ("lm-studio", True)
    assert caught.value.url.endswith(CHAT)


def test_a_count_that_ollama_leaves_out_is_an_error(httpserver):
    reply = {"model": "m", "message": {"role": "assistant", "content": "A"}, "done": True, "eval_count": 1}
    httpserver.expect_request(OLLAMA_CHAT).respond_with_json(reply)
    with OllamaProvider(httpserver.url_for(""), refresh=False) as ollama, pytest.raises(ProtocolError):
        ollama.count_tokens("Hi", model="m")


@pytest.mark.parametrize("request_", [LONG, [Message.user(LONG)], CompletionRequest(LONG), ChatRequest(LONG)])
def test_a_count_of_a_prompt_that_was_cut_is_an_error(httpserver, provider, request_):
    usage = {"prompt_tokens": 12, "completion_tokens": 1}
    reply = {"choices": [{"message": {"content": "A"}, "finish_reason": "length"}], "model": "m", "usage": usage}
    httpserver.expect_request(CHAT).respond_with_json(reply)
    with pytest.raises(ContextLengthError, match="counted 12 tokens of at least 50") as caught:
        provider.count_tokens(request_, model="m")
    assert caught.value.prompt_tokens is None
    assert "larger context" in caught.value.hint


def test_text_of_the_model_that_a_template_leaves_out_does_not_look_like_a_cut(httpserver, provider):
    usage = {"prompt_tokens": 12, "completion_tokens": 1}
    reply = {"choices": [{"message": {"content": "A"}, "finish_reason": "length"}], "model": "m", "usage": usage}
    httpserver.expect_request(CHAT).respond_with_json(reply)
    thoughts = Message.assistant(f"<think>{LONG}</think>Yes.")
    assert provider.count_tokens([Message.user("Is it?"), thoughts, Message.user("Why?")], model="m") == 12


def test_a_refusal_without_a_count_is_raised(httpserver, provider):
    error = {"error": "The number of tokens to keep from the initial prompt is greater than the context length."}
    httpserver.expect_request(CHAT).respond_with_json(error, status=400)
    with pytest.raises(ContextLengthError) as caught:
        provider.count_tokens("Hi", model="m")
    assert caught.value.prompt_tokens is None


def test_a_call_that_fails_is_recorded(httpserver):
    httpserver.expect_request(CHAT).respond_with_json({"error": "Model crashed"}, status=500)
    with LMStudioProvider(httpserver.url_for(""), refresh=False, usage=MemoryUsage()) as lm:
        with pytest.raises(Exception, match="crashed"):
            lm.count_tokens("Hi", model="m")
        assert [(each.operation, each.status) for each in lm._usage.records] == [("count_tokens", "error")]


def test_a_provider_that_cannot_count_says_so():
    class Own(Provider):
        id, display_name, base_url, capabilities = "own", "Own", "", None

        def chat(self, request, **overrides):
            raise AssertionError("nobody is asked")

    with pytest.raises(InvalidRequestError, match="Own does not count tokens"):
        Own().count_tokens("Hi")


# Counting


@pytest.mark.parametrize(
    "request_",
    ["one two three", [Message.user("one two three")], [{"role": "user", "content": "one two three"}]]
    + [kind("one two three") for kind in (CompletionRequest, ChatRequest, TextRequest)],
    ids=lambda each: type(each).__name__,
)
def test_each_kind_of_request_is_counted_with_one_token_of_reply(lm, request_):
    assert lm.count_tokens(request_) == 3
    (body,) = asked(lm)
    assert (limit(body), body["stream"]) == (1, False)


def test_options_and_tools_are_sent_because_they_are_part_of_the_prompt(lm):
    tool = Tool("now", "Return the time", {"type": "object", "properties": {}})
    assert lm.count_tokens("one two", system_prompt="Be brief", tools=[tool], max_tokens=500, timeout=5) == 4
    (body,) = asked(lm)
    assert limit(body) == 1
    assert body["tools"][0]["function"]["name"] == "now"
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


def test_an_answer_that_is_cut_after_one_token_is_not_parsed_and_nothing_is_warned_of(lm):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert lm.count_tokens("one two", response_format={"type": "object", "properties": {}}) == 2


def test_a_limit_in_extra_does_not_win(lm):
    more = {"max_completion_tokens": 500} if lm.id == "lm-studio" else {"options": {"num_predict": 500, "seed": 1}}
    assert lm.count_tokens("one two", extra={**more, "truncate": True, "note": "kept"}) == 2
    (body,) = asked(lm)
    assert (limit(body), body["note"]) == (1, "kept")
    assert body.get("truncate") in (None, False)
    assert "max_completion_tokens" not in body
    assert body.get("options", {}).get("seed", 1) == 1


def test_a_prompt_that_does_not_fit_is_counted_by_the_servers_refusal(lm):
    assert lm.count_tokens(LONG) == 50
    assert len(asked(lm)) == 1


def test_a_count_is_recorded_as_an_operation_of_its_own(lm):
    lm.count_tokens("one two three")
    lm.count_tokens(LONG)
    records = [(each.operation, each.status, each.prompt_tokens) for each in lm.records.records]
    # The server has read nothing of the prompt that it refused.
    assert records == [("count_tokens", "ok", 3), ("count_tokens", "ok", None)]


def test_a_failover_counts_at_the_server_that_answers(lm, closed_port):
    gone = LMStudioProvider(f"127.0.0.1:{closed_port}", refresh=False)
    with Failover([gone, lm]) as both:
        assert both.count_tokens("one two three") == 3
        assert both.count_tokens(LONG, model="m") == 50


# The context


def test_the_context_of_the_loaded_model_is_known(lm):
    lm.chat("Hi")  # Ollama loads it
    assert (lm.context_length(), lm.context_length("m")) == (20, 20)
    with Failover([lm]) as failover:
        assert failover.context_length() == 20


def test_the_context_of_a_model_that_is_not_loaded_or_not_there_is_not_known():
    for kind, provider in KINDS.values():
        with kind(["m", "n"], **({"loaded": []} if kind is SimulatedLMStudio else {})) as server:
            with provider(server.url, refresh=False) as lm:
                assert (lm.context_length("n"), lm.context_length("nobody")) == (None, None)


def test_the_context_is_asked_for_each_time_because_the_model_may_have_been_loaded_anew():
    with SimulatedOllama("m", context_length=20) as server, OllamaProvider(server.url, refresh=False) as ollama:
        ollama.chat("Hi")
        assert ollama.context_length() == 20
        ollama.chat("Hi", num_ctx=64)
        assert ollama.context_length() == 64


def test_the_smallest_context_of_several_instances_counts(httpserver, provider):
    loaded = [{"id": id_, "config": {"context_length": size}} for id_, size in (("m", 8192), ("m:2", 2048))]
    entry = {"type": "llm", "key": "m", "loaded_instances": loaded, "max_context_length": 99999}
    httpserver.expect_request("/api/v1/models").respond_with_json({"models": [entry]})
    assert (provider.context_length("m"), provider.context_length("m:2")) == (2048, 2048)
    loaded[1]["config"].clear()
    httpserver.clear()
    httpserver.expect_request("/api/v1/models").respond_with_json({"models": [entry]})
    assert provider.context_length("m") is None


@pytest.mark.parametrize(
    ("meta", "context"), [({"n_ctx": 512, "n_ctx_train": 4096}, 512), ({"n_ctx_train": 4096}, None), (None, None)]
)
def test_the_context_of_llama_cpp_is_in_its_list(httpserver, provider, meta, context):
    entry = {"id": "m", "object": "model", "meta": meta}
    httpserver.expect_request("/v1/models").respond_with_json({"object": "list", "data": [entry]})
    assert provider.context_length("m") == context
    assert provider.list_models()[0].max_context_length == (4096 if meta else None)


def test_num_ctx_of_the_provider_is_the_context_of_its_calls_up_to_what_the_model_holds():
    with SimulatedOllama("m", context_length=20) as server:
        for num_ctx, context in ((64, 64), (10**9, 131072)):
            with OllamaProvider(server.url, num_ctx=num_ctx, refresh=False) as ollama:
                assert ollama.context_length("m") == context
