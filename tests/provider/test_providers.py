"""What every provider does, the same for each of them, over the stand-in of its server."""

from __future__ import annotations

import pickle
import threading
from dataclasses import dataclass
from typing import List

import pytest

from lmstudio_provider import (
    Conversation,
    InvalidRequestError,
    LMStudioProvider,
    MemoryUsage,
    Message,
    ModelNotFoundError,
    OllamaProvider,
    Provider,
    ProviderClosedError,
    RequestTimeoutError,
    ServerUnavailableError,
    StreamInterruptedError,
    StructuredOutputError,
    TextRequest,
    Tool,
    run_tools,
)
from lmstudio_provider.simulator import SimulatedLMStudio, SimulatedOllama

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 8
KINDS = {"lm-studio": (LMStudioProvider, SimulatedLMStudio), "ollama": (OllamaProvider, SimulatedOllama)}
MODELS = {"lm-studio": ["chat-model", "text-embedding-model"], "ollama": ["chat-model:latest", "embed-model:latest"]}


@dataclass
class City:
    name: str
    districts: List[str]  # noqa: UP006 (Python 3.9 looks it up)


def get_weather(city: str) -> str:
    """Tell the weather."""
    return f"It is clear in {city}."


WEATHER = Tool.from_function(get_weather)


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def serve(kind):
    """Makes a provider and the stand-in that it talks to."""
    provider_class, stand_in_class = KINDS[kind]
    made = []

    def make(replies=None, delay_s=0.0, **arguments):
        server = stand_in_class(MODELS[kind], replies, delay_s).__enter__()
        provider = provider_class(server.url, **arguments)
        made.append((server, provider))
        return provider, server

    yield make
    for server, provider in made:
        provider.close()
        server.__exit__(None, None, None)


# What goes wrong


def test_an_error_about_a_missing_server_names_its_url_and_how_to_start_it(kind, closed_port):
    with KINDS[kind][0](f"127.0.0.1:{closed_port}") as provider:
        for call in (
            provider.list_models,
            lambda: provider.complete("Hi"),
            lambda: provider.stream("Hi"),
            lambda: provider.embed("Hi"),
            lambda: provider.complete_text("Hi"),
        ):
            with pytest.raises(ServerUnavailableError, match=f"127.0.0.1:{closed_port}") as caught:
                call()
            assert "tart" in caught.value.hint
            assert caught.value.provider == kind
        assert provider.refresh_models() is False
        assert provider.health_check().error.refused


@pytest.mark.parametrize("streaming", [False, True])
def test_an_error_about_an_unknown_model_names_it(serve, kind, streaming):
    provider, server = serve()
    server.models.append("second-model:latest")
    provider.complete("Hi", model="second-model:latest")  # with only one in memory, LM Studio uses it for any name
    with pytest.raises(ModelNotFoundError, match="no-such-model") as caught:
        provider.stream("Hi", model="no-such-model") if streaming else provider.complete("Hi", model="no-such-model")
    assert caught.value.model == "no-such-model"


def test_a_model_that_cannot_embed_is_an_error(serve):
    provider, _ = serve()
    with pytest.raises(InvalidRequestError, match="chat-model"):
        provider.embed("Hi", "chat-model")


def test_an_error_about_silence_beyond_the_timeout_names_the_limit(kind, silent_server):
    with KINDS[kind][0](silent_server.url, refresh=False) as provider:
        for arguments, limit in (({"timeout": 0.1}, "first_byte"), ({"deadline": 0.1}, "deadline")):
            with pytest.raises(RequestTimeoutError) as caught:
                provider.complete("Hi", **arguments)
            assert caught.value.limit == limit


def test_a_server_that_dies_in_the_middle_leaves_a_partial_reply(serve):
    provider, server = serve(["one two three four five"], delay_s=0.05)
    stream = provider.stream("Hi")
    first = next(stream)
    server.__exit__(None, None, None)
    with pytest.raises(StreamInterruptedError) as caught:
        list(stream)
    assert caught.value.partial.text.startswith(first.delta)


def test_an_answer_that_does_not_fit_is_an_error(serve):
    provider, _ = serve(["no JSON"])
    with pytest.raises(StructuredOutputError):
        provider.chat([Message.user("Hi")], response_format=City)


def test_after_close_nothing_goes(serve):
    provider, _ = serve()
    provider.close()
    provider.close()
    for call in (lambda: provider.complete("Hi"), provider.list_models, lambda: provider.embed("Hi")):
        with pytest.raises(ProviderClosedError):
            call()


# Models


def test_models_are_listed_with_their_kind(serve, kind):
    provider, _ = serve()
    assert isinstance(provider, Provider)
    assert [(model.id, model.can_chat) for model in provider.list_models()] == list(zip(MODELS[kind], [True, False]))
    assert provider.capabilities.models == tuple(MODELS[kind])
    assert provider.health_check().ok


def test_models_are_found_in_the_background_and_chosen(serve, kind):
    provider, _ = serve()
    assert provider.wait_until_configured(10)
    assert provider.is_configured()
    assert provider.resolve_model() == MODELS[kind][0]
    provider.reset_client()
    assert provider.refresh_models()


# Answers


def test_a_text_is_answered(serve, kind):
    provider, server = serve()
    completion = provider.complete("Why?", system_prompt="Be brief.", max_tokens=50)
    assert completion.text.endswith("You said: Why?")
    assert (completion.model, completion.requested_model) == (MODELS[kind][0],) * 2
    assert (completion.provider_id, completion.finish_reason, completion.parsed) == (kind, "stop", None)
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
    assert completion.stats.tokens_per_second > 0
    roles = [message["role"] for message in server.requests[-1]["body"]["messages"]]
    assert roles == ["system", "user"]


def test_a_conversation_is_answered(serve):
    provider, _ = serve()
    messages = [
        Message.system("Be brief."),
        {"role": "user", "content": "Hi"},
        Message.assistant("Ho"),
        Message.user("?"),
    ]
    assert provider.chat(messages, temperature=0).text.endswith("You said: ?")
    conversation = Conversation(provider, "Be brief.")
    conversation.ask("One?")
    "".join(conversation.stream("Two?").text())
    assert [message.role for message in conversation.messages] == ["system", *["user", "assistant"] * 2]


def test_max_tokens_and_stop_cut_the_answer(serve):
    provider, _ = serve(["one two three"])
    cut = provider.complete("Count.", max_tokens=2)
    assert (cut.text, cut.finish_reason) == ("one two", "length")
    assert provider.complete("Count.", stop=" three").text == "one two"


def test_a_stream_gives_the_answer_piece_by_piece(serve):
    provider, _ = serve(["Grüße, 世界 🌍!"])
    stream = provider.stream("Hi")
    chunks = list(stream)
    assert [chunk.delta for chunk in chunks] == ["Grüße,", " 世界", " 🌍!", ""]
    assert [chunk.done for chunk in chunks] == [False, False, False, True]
    assert chunks[-1].finish_reason == stream.completion.finish_reason == "stop"
    assert chunks[-1].usage == stream.completion.usage
    assert stream.completion.usage.completion_tokens == 3
    assert stream.completion.stats.time_to_first_token_s > 0


def test_a_callback_gets_the_chunks_of_the_stream(serve):
    provider, _ = serve(["one two"])
    seen = []
    assert provider.stream("Hi", seen.append).text == "".join(chunk.delta for chunk in seen) == "one two"


def test_a_stream_is_closed_from_another_thread(serve):
    provider, _ = serve(["word " * 1000], delay_s=0.01)
    stream, begun = provider.stream("Hi"), threading.Event()

    def close():
        begun.wait(10)
        stream.close()

    closer = threading.Thread(target=close)
    closer.start()
    for _ in stream:
        begun.set()
    closer.join(10)
    assert stream.completion.finish_reason == "cancelled"
    assert stream.completion.text.startswith("word")


def test_reasoning_is_beside_the_answer(serve):
    provider, _ = serve([{"reasoning_content": "Let me see.", "content": "Yes."}, "<think>Let me see.</think>\nYes."])
    for completion in (provider.complete("Hi"), provider.complete("Hi"), provider.stream("Hi", lambda chunk: None)):
        assert (completion.text, completion.reasoning) == ("Yes.", "Let me see.")


def test_images_go_with_the_text(serve):
    provider, _ = serve()
    assert provider.chat([Message.user("What is it?", images=PNG)]).text.endswith("What is it? [image]")


# Tools, structure, texts and vectors


@pytest.mark.parametrize("streaming", [False, True])
def test_tools_are_called(serve, streaming):
    wanted = [{"name": "get_weather", "arguments": {"city": name}} for name in ("Oslo", "Bergen")]
    provider, _ = serve([{"tool_calls": wanted}])
    messages = [Message.user("How is the weather?")]
    if streaming:
        completion = provider.stream(messages, lambda chunk: None, tools=[WEATHER])
    else:
        completion = provider.complete_with_tools(messages, tools=[WEATHER])
    assert [(call.name, call.arguments["city"]) for call in completion.tool_calls] == [
        ("get_weather", "Oslo"),
        ("get_weather", "Bergen"),
    ]
    assert len({call.id for call in completion.tool_calls}) == 2
    assert completion.finish_reason == "tool_calls"


@pytest.mark.parametrize("stream", [False, True])
def test_tools_are_run_until_there_is_an_answer(serve, stream):
    provider, _ = serve()
    run = run_tools(provider, [Message.user("How is the weather?")], [get_weather], stream=stream)
    assert run.completion.text.endswith("The tool answered: It is clear in simulated.")


def test_only_one_tool_is_offered_if_it_is_chosen_by_name(serve):
    provider, server = serve()
    tools = [Tool("now", "The time."), WEATHER]
    completion = provider.complete_with_tools([Message.user("Hi")], tools=tools, tool_choice="get_weather")
    assert [call.name for call in completion.tool_calls] == ["get_weather"]
    assert len(server.requests[-1]["body"]["tools"]) == 1
    assert provider.chat([Message.user("Hi")], tools=tools, tool_choice="none").tool_calls == ()


@pytest.mark.parametrize("streaming", [False, True])
def test_an_answer_is_an_instance(serve, streaming):
    provider, _ = serve()
    messages = [Message.user("Which city?")]
    if streaming:
        completion = provider.stream(messages, lambda chunk: None, response_format=City)
    else:
        completion = provider.chat(messages, response_format=City)
    assert completion.parsed == City("simulated", ["simulated"])


def test_a_text_goes_on(serve):
    provider, _ = serve(["upon a time"])
    assert provider.complete_text("Once").text == "upon a time"
    stream = provider.stream(TextRequest("Once", max_tokens=2))
    assert list(stream.text()) == ["upon", " a"]
    assert stream.completion.finish_reason == "length"


def test_texts_become_vectors_in_their_order(serve, kind):
    provider, server = serve()
    provider.wait_until_configured(10)
    texts = [f"text {number}" for number in range(70)]
    embeddings = provider.embed(texts)
    assert embeddings.model == MODELS[kind][1]
    assert len(embeddings.vectors) == 70
    assert provider.embed(texts[69]).vectors == embeddings.vectors[69:]
    assert [len(each["body"]["input"]) for each in server.requests if "embed" in each["path"]] == [64, 6, 1]


# What surrounds a call


def test_each_call_is_recorded_once(serve, kind):
    usage = MemoryUsage()
    provider, _ = serve(usage=usage)
    provider.complete("Hi")
    provider.chat([Message.user("Hi")])
    list(provider.stream("Hi"))
    with provider.stream("Hi") as stream:
        next(stream)
    provider.embed("Hi", MODELS[kind][1])
    provider.complete_text("Hi")
    assert [(each.operation, each.status) for each in usage.records] == [
        ("complete", "ok"),
        ("chat", "ok"),
        ("stream", "ok"),
        ("stream", "cancelled"),
        ("embed", "ok"),
        ("complete_text", "ok"),
    ]
    assert {each.provider_id for each in usage.records} == {kind}
    assert {each.api_key_hash for each in usage.records} == {f"{kind.replace('-', '')}-local"}


def test_a_provider_pickles_and_is_shared_by_threads(serve, in_background):
    provider, _ = serve()
    copy = pickle.loads(pickle.dumps(provider))
    calls = [in_background(each.complete, f"{number}?") for number in range(10) for each in (provider, copy)]
    assert all(call.result(30).text.endswith("?") for call in calls)
    copy.close()


def test_what_servers_answer_with_something_misleading_is_refused_before_it_is_sent(serve):
    provider, server = serve(refresh=False)
    for call, says in (
        (lambda: provider.complete_text(""), "prompt is empty"),
        (lambda: provider.stream(TextRequest("")), "prompt is empty"),
        (lambda: provider.complete("Hi", stop=["\n", ""]), r"stop\[1\]"),
        (lambda: provider.stream("Hi", stop=""), "stop is empty"),
        (lambda: provider.chat("Hi", max_tokens=0), "max_tokens=0"),
        (lambda: provider.complete_text("Hi", max_tokens=0), "max_tokens=0"),
        (lambda: provider.embed(""), r"texts\[0\] is empty"),
        (lambda: provider.embed(["a", "b", ""]), r"texts\[2\] is empty"),
        (lambda: provider.embed((text for text in ("a", "")), "m"), r"texts\[1\] is empty"),
    ):
        with pytest.raises(InvalidRequestError, match=says):
            call()
    assert server.requests == []


def test_a_text_of_blanks_is_embedded(serve, kind):
    provider, _ = serve(refresh=False)
    assert len(provider.embed([" ", "a", "\n"], MODELS[kind][1]).vectors) == 3


def test_a_wrong_option_is_refused_before_it_is_sent(serve):
    provider, server = serve(refresh=False)
    for options in ({"top_p": 2}, {"temprature": 0}, {"max_tokens": "many"}, {"ttl": -2}):
        with pytest.raises(InvalidRequestError, match=next(iter(options))):
            provider.complete("Hi", **options)
    assert server.requests == []
