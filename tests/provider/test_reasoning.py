"""The option ``reasoning``: refused, sent, and warned of if it had no effect."""

import pytest
from tables import for_each

from lmstudio_provider import (
    ChatRequest,
    CompletionRequest,
    Conversation,
    EmptyAnswerWarning,
    InvalidRequestError,
    LMStudioProvider,
    Message,
    NativeConversation,
    NativeRequest,
    OllamaProvider,
    ReasoningWarning,
    ResponsesRequest,
    TextRequest,
    run_tools,
)
from lmstudio_provider.simulator import OllamaModel, SimulatedLMStudio, SimulatedOllama

STUBBORN = {"reasoning_content": "Hm.", "content": "Yes."}


def now() -> str:
    """Tell the time."""
    return "noon"


def drained(stream):
    for _ in stream:
        pass
    return stream.completion


# The calls that answer, with a provider and options; the second part is for LM Studio alone.
BOTH = {
    "complete": lambda lm, **options: lm.complete("Hi", **options),
    "chat": lambda lm, **options: lm.chat([Message.user("Hi")], **options),
    "stream": lambda lm, **options: drained(lm.stream("Hi", **options)),
    "on_chunk": lambda lm, **options: lm.stream(ChatRequest("Hi"), lambda chunk: None, **options),
    "run_tools": lambda lm, **options: run_tools(lm, "Hi", [now], **options)[0],
    "Conversation": lambda lm, **options: Conversation(lm).ask("Hi", **options),
}
OWN = {
    "responses": lambda lm, **options: lm.responses("Hi", **options),
    "responses_stream": lambda lm, **options: drained(lm.responses_stream("Hi", **options)),
    "messages": lambda lm, **options: lm.messages("Hi", **options),
    "messages_stream": lambda lm, **options: drained(lm.messages_stream("Hi", **options)),
    "native": lambda lm, **options: lm.native.chat("Hi", **options),
    "native_stream": lambda lm, **options: drained(lm.native.stream("Hi", **options)),
    "NativeConversation": lambda lm, **options: NativeConversation(lm, **options).ask("Hi"),
}
LM_STUDIO = {**BOTH, **OWN}
KINDS = [
    *(
        pytest.param(SimulatedLMStudio, LMStudioProvider, call, id=f"lm_studio-{name}")
        for name, call in LM_STUDIO.items()
    ),
    *(pytest.param(SimulatedOllama, OllamaProvider, call, id=f"ollama-{name}") for name, call in BOTH.items()),
]
REQUESTS = [CompletionRequest, ChatRequest, ResponsesRequest, NativeRequest]


# Refused before sending


@for_each("kind", REQUESTS)
@for_each("value", ["", " ", True, False, 3, ["low"], {"effort": "low"}])
@for_each("name", ["reasoning", "reasoning_effort"])
def test_a_value_that_is_not_a_word_is_refused_with_the_words(kind, value, name):
    with pytest.raises(InvalidRequestError, match=r"^reasoning=.* is not a word") as caught:
        kind("Hi", **{name: value})
    assert "'off', 'on', 'low'" in caught.value.hint


@for_each("kind", REQUESTS)
def test_both_names_at_once_are_refused(kind):
    with pytest.raises(InvalidRequestError, match="the same option"):
        kind("Hi", reasoning="low", reasoning_effort="high")


def test_a_text_that_goes_on_takes_no_reasoning():
    with pytest.raises(InvalidRequestError, match="reasoning='low' has no effect") as caught:
        TextRequest("Once", reasoning_effort="low")
    assert "chat()" in caught.value.hint


@pytest.mark.parametrize(
    ("word", "model"), [("deep", OllamaModel("m")), ("high", OllamaModel("m", think_values=("low",)))]
)
def test_a_word_that_the_model_does_not_list_is_refused_with_those_that_it_does(word, model):
    with SimulatedOllama(model) as server, OllamaProvider(server.url, refresh=False) as lm:
        with pytest.raises(InvalidRequestError, match=f'"{word}" .must be "low"'):
            lm.chat("Hi", model="m", reasoning=word)


def test_a_model_that_cannot_think_refuses_to():
    with SimulatedOllama(OllamaModel("m", capabilities=("completion",))) as server:
        with OllamaProvider(server.url, refresh=False) as lm:
            assert lm.chat("Hi", model="m", reasoning="off").reasoning == ""
            with pytest.raises(InvalidRequestError, match="does not support thinking"):
                lm.chat("Hi", model="m", reasoning="on")


# No effect


@for_each(("name", "word"), [("reasoning", "off"), ("reasoning_effort", "none")])
@for_each(("server", "provider", "call"), KINDS)
def test_thoughts_that_were_not_wanted_are_warned_of(server, provider, call, name, word):
    with server(["m"], STUBBORN) as simulated, provider(simulated.url, refresh=False) as lm:
        with pytest.warns(ReasoningWarning, match=f"reasoning='{word}' had no effect: 'm' sent thoughts") as caught:
            completion = call(lm, model="m", **{name: word})
    assert (completion.text, completion.reasoning, len(caught)) == ("Yes.", "Hm.", 1)
    assert caught[0].filename == __file__


@for_each("name", ["chat", "stream", "responses", "messages"])
def test_the_warning_names_the_way_that_works_with_lm_studio(name):
    with SimulatedLMStudio(["m"], STUBBORN) as server, LMStudioProvider(server.url, refresh=False) as lm:
        with pytest.warns(ReasoningWarning, match=r"lm\.native\.chat\('\.\.\.', reasoning='off'\)"):
            LM_STUDIO[name](lm, model="m", reasoning="off")


@pytest.mark.parametrize(
    ("server", "provider"), [(SimulatedLMStudio, LMStudioProvider), (SimulatedOllama, OllamaProvider)]
)
def test_thoughts_inside_the_text_are_warned_of(server, provider):
    with server(["m"], "<think>Hm.</think>Yes.") as simulated, provider(simulated.url, refresh=False) as lm:
        with pytest.warns(ReasoningWarning):
            assert lm.chat("Hi", model="m", reasoning="off").text == "Yes."


def test_an_empty_answer_is_not_met_with_the_advice_that_had_no_effect():
    with SimulatedLMStudio(["m"], STUBBORN) as server, LMStudioProvider(server.url, refresh=False) as lm:
        with pytest.warns(RuntimeWarning) as caught:
            lm.chat("Hi", model="m", max_tokens=1, reasoning="off")
    assert [each.category for each in caught] == [ReasoningWarning, EmptyAnswerWarning]
    assert "switch reasoning off" not in str(caught[1].message)


def test_a_warning_that_is_an_error_keeps_the_answer():
    with SimulatedLMStudio(["m"], STUBBORN) as server, LMStudioProvider(server.url, refresh=False) as lm:
        with pytest.raises(ReasoningWarning) as caught:
            lm.chat("Hi", model="m", reasoning="off")
    assert caught.value.partial.text == "Yes."


# Sent


@pytest.mark.slow
@for_each(("name", "word"), [("reasoning", "on"), ("reasoning", "low"), ("reasoning_effort", "high")])
@for_each(("server", "provider", "call"), KINDS)
def test_a_model_thinks_if_it_is_asked_to(server, provider, call, word, name):
    with server(["m"]) as simulated, provider(simulated.url, refresh=False) as lm:
        assert call(lm, model="m", **{name: word}).reasoning.startswith("This is simulated reasoning")


@for_each("word", ["off", None])
@for_each(("server", "provider", "call"), KINDS)
def test_a_model_does_not_think_if_it_is_asked_not_to(server, provider, call, word):
    with server(["m"]) as simulated, provider(simulated.url, refresh=False) as lm:
        assert call(lm, model="m", reasoning=word).reasoning == ""


def test_the_option_of_a_call_replaces_that_of_its_request():
    with SimulatedLMStudio(["m"]) as server, LMStudioProvider(server.url, refresh=False) as lm:
        lm.chat(ChatRequest("Hi", model="m", reasoning_effort="low"), reasoning_effort="high")
        lm.chat(ChatRequest("Hi", model="m", reasoning="low"), reasoning_effort=None)
        lm.responses(ChatRequest("Hi", model="m", reasoning="low"), reasoning="high")
        bodies = [each["body"] for each in server.requests if each["method"] == "POST"]
    assert [body.get("reasoning_effort") for body in bodies] == ["high", None, None]
    assert bodies[2]["reasoning"] == {"effort": "high"}
