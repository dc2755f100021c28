"""A chat that LM Studio remembers."""

import json

import pytest
from tables import for_each

from lmstudio_provider import (
    Completion,
    InvalidRequestError,
    LMStudioProvider,
    NativeConversation,
    OllamaProvider,
    ProtocolError,
    ResponseNotFoundError,
    ServerError,
)
from lmstudio_provider.simulator import SimulatedLMStudio

CHAT = "/api/v1/chat"
pytestmark = pytest.mark.filterwarnings("ignore::lmstudio_provider.ModelMismatchWarning")


@pytest.fixture
def asked():
    """The messages of each turn, in OpenAI's form."""
    return []


@pytest.fixture
def server(asked):
    with SimulatedLMStudio(["m"], lambda body: asked.append(body["messages"]) or f"Answer {len(asked)}") as running:
        yield running


@pytest.fixture
def lm(server):
    with LMStudioProvider(server.url, refresh=False, model="m") as provider:
        yield provider


def texts(messages):
    return [message["content"] for message in messages]


# Refused


@for_each("provider", [None, "http://localhost", Completion("", "m", "m")])
def test_only_a_provider_can_have_a_conversation(provider):
    with pytest.raises(InvalidRequestError, match="not an LMStudioProvider"):
        NativeConversation(provider)


def test_ollama_has_no_native_conversation(closed_port):
    with OllamaProvider(f"127.0.0.1:{closed_port}", refresh=False) as ollama:
        with pytest.raises(InvalidRequestError, match="got OllamaProvider"):
            NativeConversation(ollama)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"response_id": ""}, "response_id=''"),
        ({"response_id": 7}, "response_id=7"),
        ({"system_prompt": 7}, "system_prompt=7 is not text"),
        ({"store": False}, "sets 'store' itself"),
        ({"previous_response_id": "resp_1"}, "sets 'previous_response_id' itself"),
        ({"temprature": 1}, "Did you mean 'temperature'"),
        ({"temperature": 7}, "temperature=7"),
    ],
)
def test_invalid_options_are_refused_before_a_turn(lm, options, words):
    with pytest.raises(InvalidRequestError, match=words):
        NativeConversation(lm, **options)


@pytest.mark.parametrize("name", ["ask", "stream"])
@pytest.mark.parametrize(
    ("arguments", "options"), [((7,), {}), (("Hi",), {"system_prompt": "x"}), (("Hi",), {"stop": "."}), (("Hi", 7), {})]
)
def test_a_turn_that_cannot_work_is_refused_before_sending(server, lm, name, arguments, options):
    with pytest.raises(InvalidRequestError):
        getattr(NativeConversation(lm), name)(*arguments, **options)
    assert server.requests == []


# Conversations that the server does not know


@pytest.mark.parametrize("name", ["ask", "stream"])
def test_a_conversation_that_the_server_has_forgotten_is_an_error(server, lm, name):
    conversation = NativeConversation(lm)
    conversation.ask("One")
    kept = conversation.response_id
    server.responses.clear()
    with pytest.raises(ResponseNotFoundError, match="begin a new conversation"):
        getattr(conversation, name)("Two")
    assert conversation.response_id == kept


def test_an_answer_that_is_not_stored_is_an_error_that_has_it(lm):
    conversation = NativeConversation(lm, extra={"store": False})
    with pytest.raises(ProtocolError, match="did not store") as caught:
        conversation.ask("One")
    assert (caught.value.partial.text, conversation.response_id) == ("Answer 1", None)


def test_a_stream_that_is_not_stored_is_an_error_at_its_end(lm):
    stream = NativeConversation(lm, extra={"store": False}).stream("One")
    said = []
    with pytest.raises(ProtocolError, match="did not store") as caught:
        said.extend(stream.text())
    assert ("".join(said), caught.value.partial) == ("Answer 1", stream.completion)


def test_a_turn_that_fails_leaves_the_conversation_as_it_was(lm, asked, monkeypatch, server):
    conversation = NativeConversation(lm)
    conversation.ask("One")
    kept = conversation.response_id
    with monkeypatch.context() as patch:
        patch.setitem(server._endpoints, f"POST {CHAT}", lambda body: 1 / 0)
        with pytest.raises(ServerError):
            conversation.ask("Two")
    assert conversation.response_id == kept
    conversation.ask("Three")
    assert texts(asked[-1]) == ["One", "Answer 1", "Three"]


# Turns


def test_the_server_keeps_the_conversation(server, lm, asked):
    conversation = NativeConversation(lm, "Be brief.", max_output_tokens=5)
    assert [conversation.ask("One").text, conversation.ask("Two", temperature=0).text] == ["Answer 1", "Answer 2"]
    assert texts(asked[1]) == ["Be brief.", "One", "Answer 1", "Two"]
    first, second = (each["body"] for each in server.requests)
    assert (first["system_prompt"], first["max_output_tokens"], "previous_response_id" in first) == (
        "Be brief.",
        5,
        False,
    )
    assert (second["temperature"], second["max_output_tokens"], "system_prompt" in second) == (0, 5, False)


def test_a_stream_that_is_read_whole_goes_on(lm, asked):
    conversation, told = NativeConversation(lm), []
    assert "".join(conversation.stream("One", on_progress=lambda *stage: told.append(stage)).text()) == "Answer 1"
    assert told[-1] == ("prompt_processing", 1.0)
    conversation.ask("Two")
    assert texts(asked[1]) == ["One", "Answer 1", "Two"]


def test_a_stream_that_is_left_is_none_of_the_conversation():
    with SimulatedLMStudio(["m"], "one two three", delay_s=0.02) as server:
        with LMStudioProvider(server.url, refresh=False, model="m") as lm:
            conversation = NativeConversation(lm)
            with conversation.stream("One") as stream:
                next(stream)
            assert (stream.completion.finish_reason, conversation.response_id) == ("cancelled", None)


def test_images_go_with_a_turn(server, lm):
    NativeConversation(lm).ask("What is this?", b"\x89PNG\r\n\x1a\nrest")
    assert [each["type"] for each in server.requests[0]["body"]["input"]] == ["text", "image"]


def test_branches_do_not_see_each_other(lm, asked):
    trunk = NativeConversation(lm, "Be brief.")
    trunk.ask("One")
    branch = trunk.branch()
    trunk.ask("Two")
    branch.ask("Three")
    assert texts(asked[2]) == ["Be brief.", "One", "Answer 1", "Three"]
    assert branch.response_id != trunk.response_id


def test_a_conversation_is_taken_up_by_its_id(lm, asked):
    conversation = NativeConversation(lm)
    conversation.ask("One")
    NativeConversation(lm, "Not sent.", response_id=conversation.response_id).ask("Two")
    assert texts(asked[1]) == ["One", "Answer 1", "Two"]


def test_the_next_turn_sends_the_response_id_of_the_last_one(httpserver, provider, sample):
    httpserver.expect_request(CHAT).respond_with_data(sample("v1_chat.json"))
    conversation = NativeConversation(provider, model="m")
    for text in ("One", "Two"):
        conversation.ask(text)
    bodies = [request.get_json() for request, _ in httpserver.log]
    assert [each.get("previous_response_id") for each in bodies] == [
        None,
        json.loads(sample("v1_chat.json"))["response_id"],
    ]
