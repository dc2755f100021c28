"""The options that only Ollama has: the size of a context, the time that a model stays, and ``extra``."""

from __future__ import annotations

import inspect
import json
import math
import pickle

import pytest
from tables import for_each

from lmstudio_provider import (
    ChatRequest,
    CompletionRequest,
    ConfigurationError,
    Embeddings,
    Failover,
    InvalidRequestError,
    LMStudioProvider,
    OllamaProvider,
    ResponsesRequest,
    TextRequest,
    ToolCallWarning,
    run_tools,
)
from lmstudio_provider._dialects import messages, ollama, openai, responses
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
    """Return the body of a chat."""
    return json.loads(ollama.chat_call(ChatRequest("Hi", **fields), "m", stream=False).body)


def last(server):
    return server.requests[-1]["body"]


# Invalid options


@for_each("kind", KINDS)
@for_each(
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
def test_a_keep_alive_that_ollama_would_refuse_or_misread_is_an_error_that_shows_valid_forms(kind, bad):
    with pytest.raises(InvalidRequestError, match=r"^keep_alive=") as caught:
        kind("Hi", keep_alive=bad)
    assert all(form in caught.value.hint for form in ("keep_alive=600", "'10m'", "0 unloads", "-1 keeps"))


@pytest.mark.parametrize("digits", ["1" * 200_000, "1h" * 100_000 + "1", 10**5000], ids=["text", "parts", "number"])
def test_a_keep_alive_of_many_digits_is_refused_quickly(digits):
    with pytest.raises(InvalidRequestError, match=r"^keep_alive="):
        ChatRequest("Hi", keep_alive=digits)


@pytest.mark.parametrize("kind", KINDS)
def test_ttl_together_with_keep_alive_is_an_error(kind):
    with pytest.raises(InvalidRequestError, match="ttl=60 and keep_alive='5m'"):
        kind("Hi", ttl=60, keep_alive="5m")


def test_a_ttl_that_overflows_on_the_server_is_an_error():
    with pytest.raises(InvalidRequestError, match=r"^ttl=1000000000000 ") as caught:
        sent(ttl=10**12)
    assert "-1 keeps it for good" in caught.value.hint


@pytest.mark.parametrize("ttl", [0, -1])
def test_a_ttl_that_lm_studio_would_take_for_its_default_is_refused(ttl):
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
def test_lm_studio_refuses_the_options_of_ollama_and_names_its_own(option, says):
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


def test_the_native_api_refuses_the_options_of_ollama_and_names_its_own():
    with LMStudioProvider(refresh=False) as lm:
        with pytest.raises(InvalidRequestError, match="num_ctx") as caught:
            lm.native.chat("Hi", num_ctx=8192)
        assert "context_length" in caught.value.hint
        with pytest.raises(InvalidRequestError, match="keep_alive") as caught:
            lm.native.chat("Hi", keep_alive=0)
        assert "native.unload()" in caught.value.hint


@for_each(
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
def test_an_option_that_ollama_would_ignore_is_an_error_that_shows_its_place(extra, ignored, right):
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


@for_each("name", DOCUMENTED)
def test_each_option_that_ollama_has_or_had_belongs_in_options(name):
    with pytest.raises(InvalidRequestError, match=name) as caught:
        sent(extra={name: 1})
    assert f"extra={{'options': {{'{name}': 1}}}}" in caught.value.hint
    assert sent(extra={"options": {name: 1}})["options"][name] == 1


def test_a_misplaced_option_is_refused_before_anything_is_sent(server, provider):
    for call in (
        lambda: provider.complete("Hi", extra={"num_ctx": 8192}),
        lambda: provider.stream("Hi", extra={"num_ctx": 8192}),
        lambda: provider.complete_text("Hi", extra={"num_ctx": 8192}),
    ):
        with pytest.raises(InvalidRequestError):
            call()
    assert server.requests == []


@pytest.mark.parametrize("value", ["300", "-1", "5min", "soon", "1d", True, [5]])
def test_the_hint_about_a_keep_alive_that_the_server_refuses_shows_valid_forms(provider, value):
    for call in (
        lambda: provider.complete("Hi", extra={"keep_alive": value}),
        lambda: list(provider.stream("Hi", extra={"keep_alive": value})),
    ):
        with pytest.raises(InvalidRequestError, match="keep_alive") as caught:
            call()
        assert caught.value.sent
        assert all(form in caught.value.hint for form in ("keep_alive=600", "'10m'", "0 unloads", "-1 keeps"))


# What is sent


def test_unknown_fields_of_extra_are_sent_unchanged():
    extra = {"think": False, "shift": False, "truncate": True, "new": 1, "options": {"newer": 2}}
    body = sent(extra=extra)
    assert {name: body[name] for name in ("think", "shift", "truncate", "new")} == {
        **{"think": False, "shift": False, "truncate": True, "new": 1}
    }
    assert body["options"]["newer"] == 2


def test_options_that_are_not_an_object_are_sent_unchanged():
    assert sent(extra={"options": 7})["options"] == 7


def test_num_ctx_and_keep_alive_are_not_sent_by_default():
    body = sent()
    assert "keep_alive" not in body
    assert "num_ctx" not in body["options"]


@pytest.mark.parametrize(
    "value", [0, -1, 600, 0.5, "10m", "1h30m", "-1s", "0", "1.5h", "300ms", ".5s", "+5m", "5us", "5µs"]
)
def test_a_keep_alive_that_ollama_reads_is_sent_unchanged(server, provider, value):
    for call in (
        lambda: provider.complete("Hi", keep_alive=value),
        lambda: provider.complete_text("Hi", keep_alive=value),
        lambda: provider.chat(ChatRequest("Hi", keep_alive=value)),
        lambda: provider.stream("Hi", lambda chunk: None, keep_alive=value),
    ):
        call()
        assert last(server)["keep_alive"] == value


@pytest.mark.parametrize("option", [{"ttl": 0}, {"keep_alive": 0}, {"keep_alive": "0"}, {"keep_alive": "0s"}])
def test_a_ttl_or_keep_alive_of_zero_unloads_the_model_after_the_call(server, provider, option):
    provider.chat("Hi")
    assert server.loaded == ["simulated-model:latest"]
    assert provider.chat("Hi", **option).text
    assert server.loaded == []


@pytest.mark.parametrize("option", [{"ttl": -1}, {"keep_alive": -1}, {"keep_alive": "-1s"}])
def test_a_negative_ttl_or_keep_alive_keeps_the_model_loaded(option):
    now = [0.0]
    with SimulatedOllama(clock=lambda: now[0]) as server, OllamaProvider(server.url, refresh=False) as provider:
        provider.chat("Hi", model="simulated-model", **option)
        now[0] = 1e9
        assert server.loaded == ["simulated-model:latest"]


@pytest.mark.parametrize("kind", [CompletionRequest, ChatRequest, TextRequest])
def test_num_ctx_of_a_request_is_sent(server, provider, kind):
    {CompletionRequest: provider.complete, ChatRequest: provider.chat, TextRequest: provider.complete_text}[kind](
        kind("Hi", num_ctx=8192)
    )
    assert last(server)["options"]["num_ctx"] == 8192


def test_extra_overrides_the_other_options():
    body = sent(num_ctx=8192, keep_alive=60, extra={"keep_alive": 5, "options": {"num_ctx": 4096}})
    assert (body["keep_alive"], body["options"]["num_ctx"]) == (5, 4096)


@pytest.mark.parametrize("dialect", [responses, messages])
def test_the_other_dialects_send_neither_num_ctx_nor_keep_alive(dialect):
    body = json.loads(dialect.chat_call(ChatRequest("Hi"), "m", stream=False).body)
    assert not {"num_ctx", "keep_alive"} & body.keys()


# Tools together with a response_format


def now() -> str:
    """Return the time."""
    return "noon"


FORMS = [{"type": "json_object"}, {"type": "object"}, int]


@for_each("form", FORMS, ids=["JSON", "schema", "type"])
@for_each("choice", [None, "auto", "required", "now"])
def test_a_warning_says_that_tools_with_a_response_format_are_never_called(form, choice):
    request = ChatRequest("Hi", tools=[now], tool_choice=choice, response_format=form)
    (warning,) = ollama.chat_call(request, "m", stream=False).warnings
    assert isinstance(warning, ToolCallWarning)
    assert "never calls tools of a request that has a response_format" in str(warning)


@pytest.mark.parametrize("form", FORMS, ids=["JSON", "schema", "type"])
def test_tools_that_are_not_offered_or_can_be_called_give_no_warning(form):
    for dialect, choice, wanted in ((ollama, "none", form), (ollama, None, {"type": "text"}), (openai, None, form)):
        if wanted != {"type": "json_object"} or dialect is ollama:  # which LM Studio refuses
            request = ChatRequest("Hi", tools=[now], tool_choice=choice, response_format=wanted)
            assert dialect.chat_call(request, "m", stream=False).warnings == []


def test_each_call_warns_once_at_the_line_of_the_call(server, provider):
    for call in (
        lambda: provider.chat("Hi", tools=[now], response_format=int),
        lambda: list(provider.stream("Hi", tools=[now], response_format=int)),
        lambda: run_tools(provider, "Hi", [now], response_format=int),
    ):
        with pytest.warns(ToolCallWarning) as caught:
            call()
        assert [each.filename for each in caught] == [__file__]


# Options of the provider and of embed()


@for_each(
    ("argument", "says"),
    [
        ({"num_ctx": 0}, "num_ctx=0, from the argument num_ctx"),
        ({"num_ctx": -1}, "num_ctx=-1"),
        ({"num_ctx": True}, "num_ctx=True"),
        ({"num_ctx": 8192.0}, r"num_ctx=8192\.0"),
        ({"num_ctx": "8k"}, "num_ctx='8k'"),
        ({"settings": {"ollama_num_ctx": "many"}}, "num_ctx='many', from the setting ollama_num_ctx"),
        ({"settings": {"ollama_num_ctx": 10**20}}, "from the setting ollama_num_ctx"),
        ({"settings": {"ollama_num_ctx": "9" * 5000}}, "from the setting ollama_num_ctx"),
        ({"settings": {"ollama_num_ctxt": 8192}}, "'ollama_num_ctxt' is not a setting"),
        ({"keep_alive": "300"}, "keep_alive='300'"),
        ({"keep_alive": True}, "keep_alive=True"),
        ({"num_ctxt": 8192}, "no argument 'num_ctxt'"),
    ],
    ids=str,
)
def test_an_invalid_argument_or_setting_is_an_error_when_the_provider_is_made(argument, says):
    with pytest.raises(ConfigurationError, match=says):
        OllamaProvider(refresh=False, **argument)


def test_the_error_about_a_bad_variable_names_it(monkeypatch):
    monkeypatch.setenv("OLLAMA_NUM_CTX", "32k")
    with pytest.raises(ConfigurationError, match="num_ctx='32k', from the environment variable OLLAMA_NUM_CTX"):
        OllamaProvider(refresh=False)


def calls_of(provider):
    """Return a function for each call that takes both options."""
    return [
        lambda **options: provider.complete("Hi", **options),
        lambda **options: provider.chat("Hi", **options),
        lambda **options: provider.complete_text("Hi", **options),
        lambda **options: list(provider.stream("Hi", **options)),
        lambda **options: list(provider.stream(TextRequest("Hi"), **options)),
        lambda **options: provider.embed("Hi", "simulated-embed", **options),
    ]


def test_a_call_has_the_options_of_the_provider_unless_it_overrides_them(server):
    with OllamaProvider(server.url, model="simulated-model", refresh=False, num_ctx=2048, keep_alive="1h") as provider:
        for call in calls_of(provider):
            call()
            assert (last(server)["options"]["num_ctx"], last(server)["keep_alive"]) == (2048, "1h")
            call(num_ctx=1024, keep_alive=-1)
            assert (last(server)["options"]["num_ctx"], last(server)["keep_alive"]) == (1024, -1)
            call(keep_alive=0)
            assert (last(server)["options"]["num_ctx"], last(server)["keep_alive"]) == (2048, 0)


def test_a_ttl_of_a_request_overrides_the_keep_alive_of_the_provider(server):
    with OllamaProvider(server.url, model="simulated-model", refresh=False, keep_alive="1h") as provider:
        provider.chat("Hi", ttl=60)
        assert last(server)["keep_alive"] == 60
        provider.chat(ChatRequest("Hi", keep_alive=5))
        assert last(server)["keep_alive"] == 5


def test_no_call_sends_options_that_are_not_set(server, provider):
    for call in calls_of(provider):
        call()
        assert "keep_alive" not in last(server)
        assert "num_ctx" not in last(server).get("options", {})


@pytest.mark.parametrize("where", ["argument", "mapping", "environment", "file"])
def test_num_ctx_can_be_set_like_any_setting(server, monkeypatch, tmp_path, where):
    (tmp_path / "settings.ini").write_text("[ollama]\nnum_ctx = 1000\n")
    monkeypatch.setenv("LM_STUDIO_CONFIG", str(tmp_path / "settings.ini"))
    settings, given, expected = {}, {}, 1000
    if where != "file":
        monkeypatch.setenv("OLLAMA_NUM_CTX", " 2000 ")
        expected = 2000
    if where in ("mapping", "argument"):
        settings, expected = {"ollama_num_ctx": "3000"}, 3000
    if where == "argument":
        given, expected = {"num_ctx": 4000}, 4000
    with OllamaProvider(server.url, model="simulated-model", refresh=False, settings=settings, **given) as provider:
        provider.chat("Hi")
        assert last(server)["options"]["num_ctx"] == expected
        settings["ollama_num_ctx"] = 3500
        provider.chat("Hi")
        assert last(server)["options"]["num_ctx"] == (4000 if where == "argument" else 3500)


def test_the_variables_of_the_ollama_server_are_not_read(server, monkeypatch):
    monkeypatch.setenv("OLLAMA_KEEP_ALIVE", "-1")
    monkeypatch.setenv("OLLAMA_CONTEXT_LENGTH", "64000")
    with OllamaProvider(server.url, model="simulated-model", refresh=False) as provider:
        provider.chat("Hi")
    assert "keep_alive" not in last(server)
    assert "num_ctx" not in last(server)["options"]


def test_a_provider_pickles_with_its_options():
    with OllamaProvider(refresh=False, num_ctx=2048, keep_alive="1h") as provider:
        copy = pickle.loads(pickle.dumps(provider))
    with SimulatedOllama() as server, OllamaProvider(server.url) as other, copy:
        assert copy._arguments == {**provider._arguments}
        assert copy._arguments.keys() == other._arguments.keys()


def test_both_providers_take_the_same_arguments_except_for_two():
    ollamas, others = (inspect.signature(cls).parameters for cls in (OllamaProvider, LMStudioProvider))
    assert ollamas.keys() - others.keys() == {"num_ctx", "keep_alive"}
    assert {name: str(each) for name, each in others.items()}.items() <= {
        name: str(each) for name, each in ollamas.items()
    }.items()


@pytest.mark.parametrize(
    ("option", "says"),
    [({"num_ctx": 0}, "num_ctx=0"), ({"num_ctx": "8k"}, "num_ctx='8k'"), ({"keep_alive": "300"}, "keep_alive='300'")],
)
def test_embed_refuses_invalid_options_before_anything_is_sent(server, provider, option, says):
    with pytest.raises(InvalidRequestError, match=says):
        provider.embed("Hi", "simulated-embed", **option)
    assert server.requests == []


@pytest.mark.parametrize(("option", "says"), [({"num_ctx": 8192}, "context_length="), ({"keep_alive": 0}, "ttl=")])
def test_lm_studio_refuses_to_embed_with_the_options_of_ollama(option, says):
    with SimulatedLMStudio() as server, LMStudioProvider(server.url, refresh=False) as lm:
        with pytest.raises(InvalidRequestError) as caught:
            lm.embed("Hi", "text-embedding-m", **option)
        assert says in caught.value.hint
        assert server.requests == []


def test_failover_passes_num_ctx_and_keep_alive_on(server, provider):
    with Failover([provider]) as either:
        either.embed("Hi", "simulated-embed", num_ctx=1024, keep_alive=0)
        assert (last(server)["options"], last(server)["keep_alive"]) == ({"num_ctx": 1024}, 0)
        either.chat("Hi", num_ctx=1024, keep_alive="5m")
        assert (last(server)["options"]["num_ctx"], last(server)["keep_alive"]) == (1024, "5m")


def test_failover_does_not_pass_unknown_options_to_a_provider_of_the_user():
    class Small(LMStudioProvider):
        def embed(self, texts, model=None):
            return Embeddings([[1.0]], "m", "m")

    with Small(refresh=False) as small, Failover([small]) as either:
        assert either.embed("Hi").vectors == [[1.0]]
