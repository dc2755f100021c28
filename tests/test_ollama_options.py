"""The options that Ollama alone has: how large a context is, how long a model stays, and what stands in ``extra``."""

from __future__ import annotations

import json
import math

import pytest

from lmstudio_provider import (
    ChatRequest,
    CompletionRequest,
    ConfigurationError,
    InvalidRequestError,
    LMStudioProvider,
    OllamaProvider,
    ResponsesRequest,
    TextRequest,
    ToolCallWarning,
    run_tools,
)
from lmstudio_provider._wire import messages, ollama, openai, responses
from lmstudio_provider.simulator import SimulatedLMStudio, SimulatedOllama

KINDS = [CompletionRequest, ChatRequest, TextRequest, ResponsesRequest]


@pytest.fixture
def server():
    with SimulatedOllama() as stand_in:
        yield stand_in


@pytest.fixture
def provider(server):
    with OllamaProvider(server.url, model="simulated-model", refresh=False) as made:
        yield made


def sent(**fields):
    """The body of a chat."""
    return json.loads(ollama.chat_call(ChatRequest("Hi", **fields), "m", stream=False).body)


def last(server):
    return server.requests[-1]["body"]


# What cannot be asked for


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "bad",
    [
        "300",
        "-1",
        "",
        " ",
        "5 m",
        " 5m",
        "5min",
        "1d",
        "10 minutes",
        "forever",
        "1h30",
        "m",
        "1.5.5s",
        "٥m",
        True,
        [],
        math.inf,
        -math.inf,
        math.nan,
        10**12,
    ],
)
def test_a_keep_alive_that_ollama_would_refuse_or_misread_is_an_error_that_shows_the_forms(kind, bad):
    with pytest.raises(InvalidRequestError, match=r"^keep_alive=") as caught:
        kind("Hi", keep_alive=bad)
    assert all(form in caught.value.hint for form in ("keep_alive=600", "'10m'", "0 unloads", "-1 keeps"))


@pytest.mark.parametrize("digits", ["1" * 200_000, "1h" * 100_000 + "1", 10**5000], ids=["text", "parts", "number"])
def test_a_keep_alive_of_many_digits_is_refused_in_no_time(digits):
    with pytest.raises(InvalidRequestError, match=r"^keep_alive="):
        ChatRequest("Hi", keep_alive=digits)


@pytest.mark.parametrize("kind", KINDS)
def test_two_words_for_how_long_a_model_stays_are_an_error(kind):
    with pytest.raises(InvalidRequestError, match="ttl=60 and keep_alive='5m'"):
        kind("Hi", ttl=60, keep_alive="5m")


def test_a_ttl_that_overflows_on_the_server_is_an_error():
    with pytest.raises(InvalidRequestError, match=r"^ttl=1000000000000 ") as caught:
        sent(ttl=10**12)
    assert "-1 keeps it for good" in caught.value.hint


@pytest.mark.parametrize("ttl", [0, -1])
def test_lm_studio_is_sent_no_ttl_that_it_would_take_for_its_default(ttl):
    for call in (
        lambda: openai.chat_call(ChatRequest("Hi", ttl=ttl), "m", stream=False),
        lambda: openai.text_call(TextRequest("Hi", ttl=ttl), "m", stream=True),
    ):
        with pytest.raises(InvalidRequestError, match=f"^ttl={ttl} ") as caught:
            call()
        assert "native.load()" in caught.value.hint
        assert "native.unload()" in caught.value.hint


@pytest.mark.parametrize(
    ("option", "says"), [({"num_ctx": 8192}, "native.load(model, context_length="), ({"keep_alive": "5m"}, "ttl=")]
)
def test_lm_studio_refuses_what_only_ollama_has_and_says_what_it_has_instead(option, says):
    (name,) = option
    with SimulatedLMStudio() as server, LMStudioProvider(server.url, model="m", refresh=False) as lm:
        for call in (
            lambda: lm.chat("Hi", **option),
            lambda: lm.complete("Hi", **option),
            lambda: lm.complete_text("Hi", **option),
            lambda: lm.stream("Hi", **option),
            lambda: lm.stream(TextRequest("Hi", **option)),
            lambda: lm.responses("Hi", **option),
            lambda: lm.messages("Hi", **option),
            lambda: lm.chat(ChatRequest("Hi", **option)),
        ):
            with pytest.raises(InvalidRequestError, match=name) as caught:
                call()
            assert says in caught.value.hint
        assert server.requests == []
    with pytest.raises(ConfigurationError, match=name) as caught:
        LMStudioProvider(refresh=False, **option)
    assert says in caught.value.hint


def test_the_native_api_says_what_it_has_instead():
    with LMStudioProvider(refresh=False) as lm:
        with pytest.raises(InvalidRequestError, match="num_ctx") as caught:
            lm.native.chat("Hi", num_ctx=8192)
        assert "context_length" in caught.value.hint
        with pytest.raises(InvalidRequestError, match="keep_alive") as caught:
            lm.native.chat("Hi", keep_alive=0)
        assert "native.unload()" in caught.value.hint


@pytest.mark.parametrize(
    ("extra", "ignored", "right"),
    [
        ({"num_ctx": 8192}, "'num_ctx'", "extra={'options': {'num_ctx': 8192}}; num_ctx=8192 can be"),
        ({"mirostat": 2}, "'mirostat'", "extra={'options': {'mirostat': 2}}"),
        ({"num_gpu": 0, "think": False}, "'num_gpu'", "extra={'options': {'num_gpu': 0}}"),
        ({"num_predict": 5}, "'num_predict'", "max_tokens=5 can be"),
        ({"max_tokens": 5}, "'max_tokens'", "extra={'options': {'num_predict': 5}}; max_tokens=5 can be"),
        ({"max_completion_tokens": 5}, "'max_completion_tokens'", "{'num_predict': 5}"),
        ({"repetition_penalty": 1.1}, "'repetition_penalty'", "repeat_penalty=1.1 can be"),
        ({"n_ctx": 8192}, "'n_ctx'", "{'num_ctx': 8192}"),
        ({"context_length": 8192}, "'context_length'", "{'num_ctx': 8192}"),
        ({"seed": 1, "tfs_z": 1.0}, "'seed', 'tfs_z'", "{'seed': 1, 'tfs_z': 1.0}}; seed=1 can be"),
        ({"options": {"top_k": 1}, "num_thread": 4}, "'num_thread'", "{'options': {'top_k': 1, 'num_thread': 4}}"),
        ({"options": {"max_tokens": 5}}, "'max_tokens'", "extra={'options': {'num_predict': 5}}"),
        ({"options": {"keep_alive": "5m"}}, "'keep_alive' inside", "extra={'keep_alive': '5m'}"),
        ({"options": {"think": False, "num_ctx": 1}}, "'think' inside", "extra={'think': False}"),
    ],
)
def test_an_option_that_ollama_would_ignore_where_it_stands_is_an_error_with_the_right_form(extra, ignored, right):
    for call in (
        lambda: ollama.chat_call(ChatRequest("Hi", extra=extra), "m", stream=True),
        lambda: ollama.text_call(TextRequest("Hi", extra=extra), "m", stream=False),
    ):
        with pytest.raises(InvalidRequestError, match=f"Ollama ignores {ignored}") as caught:
            call()
        assert right in caught.value.hint


DOCUMENTED = [
    *("temperature", "top_k", "top_p", "min_p", "typical_p", "repeat_penalty", "repeat_last_n", "presence_penalty"),
    *("frequency_penalty", "draft_num_predict", "num_ctx", "num_predict", "num_keep", "seed", "stop", "num_gpu"),
    *("main_gpu", "num_thread", "num_batch", "use_mmap"),
    *("mirostat", "mirostat_eta", "mirostat_tau", "tfs_z", "penalize_newline", "num_gqa", "numa", "low_vram"),
    *("f16_kv", "logits_all", "vocab_only", "use_mlock", "embedding_only", "rope_frequency_base"),
    "rope_frequency_scale",
]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_option_that_ollama_has_or_had_belongs_into_options(name):
    with pytest.raises(InvalidRequestError, match=name) as caught:
        sent(extra={name: 1})
    assert f"extra={{'options': {{'{name}': 1}}}}" in caught.value.hint
    assert sent(extra={"options": {name: 1}})["options"][name] == 1


def test_an_option_that_is_misplaced_is_refused_before_anything_is_sent(server, provider):
    for call in (
        lambda: provider.complete("Hi", extra={"num_ctx": 8192}),
        lambda: provider.stream("Hi", extra={"num_ctx": 8192}),
        lambda: provider.complete_text("Hi", extra={"num_ctx": 8192}),
    ):
        with pytest.raises(InvalidRequestError):
            call()
    assert server.requests == []


@pytest.mark.parametrize("value", ["300", "-1", "5min", "soon", "1d", True, [5]])
def test_a_keep_alive_that_the_server_refuses_has_a_hint_with_the_forms(provider, value):
    for call in (
        lambda: provider.complete("Hi", extra={"keep_alive": value}),
        lambda: list(provider.stream("Hi", extra={"keep_alive": value})),
    ):
        with pytest.raises(InvalidRequestError, match="keep_alive") as caught:
            call()
        assert caught.value.sent
        assert all(form in caught.value.hint for form in ("keep_alive=600", "'10m'", "0 unloads", "-1 keeps"))


# What is sent


def test_what_only_the_server_knows_goes_beside_the_options_as_it_is():
    extra = {"think": False, "shift": False, "truncate": True, "new": 1, "options": {"newer": 2}}
    body = sent(extra=extra)
    assert {name: body[name] for name in ("think", "shift", "truncate", "new")} == {
        **{"think": False, "shift": False, "truncate": True, "new": 1}
    }
    assert body["options"]["newer"] == 2


def test_options_that_are_not_an_object_are_the_servers_to_refuse():
    assert sent(extra={"options": 7})["options"] == 7


def test_neither_is_sent_if_it_is_not_set():
    body = sent()
    assert "keep_alive" not in body
    assert "num_ctx" not in body["options"]


@pytest.mark.parametrize(
    "value", [0, -1, 600, 0.5, "10m", "1h30m", "-1s", "0", "1.5h", "300ms", ".5s", "+5m", "5us", "5µs"]
)
def test_a_keep_alive_that_ollama_reads_is_sent_as_it_is(server, provider, value):
    for call in (
        lambda: provider.complete("Hi", keep_alive=value),
        lambda: provider.complete_text("Hi", keep_alive=value),
        lambda: provider.chat(ChatRequest("Hi", keep_alive=value)),
        lambda: provider.stream("Hi", lambda chunk: None, keep_alive=value),
    ):
        call()
        assert last(server)["keep_alive"] == value


@pytest.mark.parametrize("option", [{"ttl": 0}, {"keep_alive": 0}, {"keep_alive": "0"}, {"keep_alive": "0s"}])
def test_a_model_that_is_kept_for_no_time_is_unloaded_after_the_call(server, provider, option):
    provider.chat("Hi")
    assert server.loaded == ["simulated-model:latest"]
    assert provider.chat("Hi", **option).text
    assert server.loaded == []


@pytest.mark.parametrize("option", [{"ttl": -1}, {"keep_alive": -1}, {"keep_alive": "-1s"}])
def test_a_model_is_kept_for_good(option):
    now = [0.0]
    with SimulatedOllama(clock=lambda: now[0]) as server, OllamaProvider(server.url, refresh=False) as provider:
        provider.chat("Hi", model="simulated-model", **option)
        now[0] = 1e9
        assert server.loaded == ["simulated-model:latest"]


@pytest.mark.parametrize("kind", [CompletionRequest, ChatRequest, TextRequest])
def test_a_context_is_as_large_as_the_request_says(server, provider, kind):
    {CompletionRequest: provider.complete, ChatRequest: provider.chat, TextRequest: provider.complete_text}[kind](
        kind("Hi", num_ctx=8192)
    )
    assert last(server)["options"]["num_ctx"] == 8192


def test_extra_has_the_last_word():
    body = sent(num_ctx=8192, keep_alive=60, extra={"keep_alive": 5, "options": {"num_ctx": 4096}})
    assert (body["keep_alive"], body["options"]["num_ctx"]) == (5, 4096)


@pytest.mark.parametrize("dialect", [responses, messages])
def test_a_request_without_them_goes_to_the_other_endpoints_as_ever(dialect):
    body = json.loads(dialect.chat_call(ChatRequest("Hi"), "m", stream=False).body)
    assert not {"num_ctx", "keep_alive"} & body.keys()


# Tools and a form of the answer


def now() -> str:
    """Return the time."""
    return "noon"


FORMS = [{"type": "json_object"}, {"type": "object"}, int]


@pytest.mark.parametrize("form", FORMS, ids=["JSON", "schema", "type"])
@pytest.mark.parametrize("choice", [None, "auto", "required", "now"])
def test_tools_together_with_a_form_of_the_answer_are_never_called_which_a_warning_says(form, choice):
    with pytest.warns(ToolCallWarning, match="never calls tools.*response_format"):
        ollama.chat_call(ChatRequest("Hi", tools=[now], tool_choice=choice, response_format=form), "m", stream=False)


@pytest.mark.parametrize("form", FORMS, ids=["JSON", "schema", "type"])
def test_tools_that_are_not_offered_need_no_warning(form):
    ollama.chat_call(ChatRequest("Hi", tools=[now], tool_choice="none", response_format=form), "m", stream=False)
    ollama.chat_call(ChatRequest("Hi", tools=[now], response_format={"type": "text"}), "m", stream=False)
    openai.chat_call(ChatRequest("Hi", tools=[now], response_format=int), "m", stream=False)


def test_the_warning_comes_once_with_each_call_and_points_to_it(server, provider):
    for call in (
        lambda: provider.chat("Hi", tools=[now], response_format=int),
        lambda: list(provider.stream("Hi", tools=[now], response_format=int)),
        lambda: run_tools(provider, "Hi", [now], response_format=int),
    ):
        with pytest.warns(ToolCallWarning) as caught:
            call()
        assert [each.filename for each in caught] == [__file__]
