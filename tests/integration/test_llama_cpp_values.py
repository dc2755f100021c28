"""The real engine with more than text: values, vectors, base models and tools."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import List, Literal, Optional

import pytest
import tiny_model

from lmstudio_provider import (
    Conversation,
    InvalidRequestError,
    LMStudioProvider,
    MemoryUsage,
    Message,
    StructuredOutputError,
    TextRequest,
    Tool,
    Usage,
    run_tools,
)

SENTENCE = "".join(tiny_model.SENTENCE)
ASK = [Message.user("How is the weather?")]


class Sky(enum.Enum):
    CLEAR = "clear"
    GREY = "grey"


@dataclass
class Wind:
    knots: float
    gusts: bool


@dataclass
class Weather:
    city: str
    celsius: int
    sky: Sky
    wind: Wind
    hours: List[int]  # noqa: UP006 (Python 3.9 looks it up)
    unit: Literal["metric"]
    note: Optional[str]  # noqa: UP045 (Python 3.9 looks it up)
    days: List[Wind] = field(default_factory=list)  # noqa: UP006


@dataclass
class Branch:
    """A type that never ends: each has to contain more."""

    branches: List[Branch]  # noqa: UP006


def get_weather(city: str) -> str:
    """Return the weather."""
    return f"The sky over {city} is clear."


@pytest.fixture
def provider_for():
    """Make providers, and close them at the end."""
    made = []

    def make(url, **arguments):
        made.append(LMStudioProvider(url, **arguments))
        return made[-1]

    yield make
    for lm in made:
        lm.close()


# Structure


def test_a_json_schema_that_the_engine_cannot_follow_is_refused_with_its_reason(lm):
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/missing"}}, "required": ["a"]}
    with pytest.raises(InvalidRequestError, match="missing"):
        lm.chat(ASK, response_format=schema)


@pytest.mark.parametrize("temperature", [0, 0.7])
@pytest.mark.parametrize("streaming", [False, True])
def test_the_engine_writes_an_answer_that_fits_a_dataclass(lm, streaming, temperature):
    arguments = {"response_format": Weather, "temperature": temperature}
    completion = lm.stream(ASK, lambda chunk: None, **arguments) if streaming else lm.chat(ASK, **arguments)
    # Of the optional members, the engine writes only the last.
    wind = Wind(2.5, False)
    assert completion.parsed == Weather(SENTENCE, 2, Sky.CLEAR, wind, [2], "metric", None, [wind])
    assert completion.finish_reason == "stop"


def test_a_stream_returns_the_complete_parts_of_an_answer(lm):
    stream = lm.stream(ASK, response_format=Weather, temperature=0)
    values = [stream.partial_parsed() for _ in stream]
    sizes = [len(value or {}) for value in values]
    assert sizes == sorted(sizes)
    assert {"city": SENTENCE} in values
    assert values[-1] == {
        "city": SENTENCE, "celsius": 2, "sky": "clear", "wind": {"knots": 2.5, "gusts": False}, "hours": [2],
        "unit": "metric", "days": [Wind(2.5, False)],
    }  # fmt: skip
    assert stream.completion.parsed.days == values[-1]["days"]


def test_an_answer_that_is_cut_off_is_an_error_with_its_text(lm):
    with pytest.raises(StructuredOutputError, match="max_tokens cut it off") as caught:
        lm.chat(ASK, response_format=Weather, max_tokens=5)
    assert caught.value.text.startswith('{"')
    assert caught.value.partial.finish_reason == "length"


def test_an_answer_of_a_type_without_an_end_is_an_error(lm):
    with pytest.raises(StructuredOutputError):
        lm.chat(ASK, response_format=Branch, max_tokens=100)
    assert lm.complete("Hi").text == SENTENCE


# Vectors


def test_several_texts_are_embedded_in_order(llama_cpp_embedding, provider_for):
    usage = MemoryUsage()
    lm = provider_for(llama_cpp_embedding, usage=usage)
    texts = [letter * 3 for letter in "abcdefghij"] * 7
    embeddings = lm.embed(texts)
    assert len(embeddings.vectors) == 70
    assert embeddings.vectors[:10] == embeddings.vectors[60:]
    assert len({tuple(vector) for vector in embeddings.vectors}) == 10
    assert {len(vector) for vector in embeddings.vectors} == {len(embeddings.vectors[0])}
    assert embeddings.model == "tiny"
    tokens = 70 * (3 + 1)  # of each byte, and of the beginning
    assert embeddings.usage == Usage(tokens, total_tokens=tokens)
    assert [(record.operation, record.prompt_tokens) for record in usage.records] == [("embed", tokens)]
    assert lm.embed("bbb").vectors == [embeddings.vectors[1]]


def test_the_error_says_that_the_model_was_not_loaded_to_embed(lm):
    with pytest.raises(InvalidRequestError, match="cannot embed") as caught:
        lm.embed("Hello")
    assert caught.value.status == 501


# Base models


def test_a_text_is_completed(lm):
    completion = lm.complete_text("Hello from")
    assert (completion.text, completion.finish_reason) == (" a tiny local model.", "stop")
    assert completion.usage == Usage(7, 6, 13, cached_tokens=completion.usage.cached_tokens)
    assert lm.complete_text("Hello from", max_tokens=2).finish_reason == "length"
    assert lm.complete_text("Hello from", stop=" local").text == " a tiny"


def test_a_text_is_completed_piece_by_piece(lm):
    stream = lm.stream(TextRequest("Hello from"))
    assert list(stream.text()) == [" a", " tiny", " local", " model", "."]
    assert (stream.completion.text, stream.completion.finish_reason) == (" a tiny local model.", "stop")


# Tools


@pytest.mark.parametrize("choice", ["required", "get_weather"])
@pytest.mark.parametrize("streaming", [False, True])
def test_the_engine_calls_a_tool_and_answers_with_its_result(lm, streaming, choice):
    arguments = {"tools": [Tool.from_function(get_weather)], "tool_choice": choice}
    if streaming:
        completion = lm.stream(ASK, lambda chunk: None, **arguments)
    else:
        completion = lm.complete_with_tools(ASK, **arguments)
    (call,) = completion.tool_calls
    assert (call.name, call.arguments) == ("get_weather", {"city": SENTENCE})
    assert call.id
    result = Message.tool(call, get_weather(**call.arguments))
    answer = lm.chat([*ASK, Message.assistant(completion.text, completion.tool_calls), result])
    assert answer.text == SENTENCE


@pytest.mark.parametrize("choice", [None, "auto"])
def test_the_engine_chooses_a_tool_by_itself(lm, choice):
    completion = lm.complete_with_tools(ASK, tools=[Tool.from_function(get_weather)], tool_choice=choice)
    assert completion.finish_reason == "tool_calls"
    assert [call.name for call in completion.tool_calls] == ["get_weather"]


def test_a_conversation_grows(lm):
    conversation = Conversation(lm, "Be kind.")
    first, second = conversation.ask("Hi"), conversation.ask("Hi")
    assert second.usage.prompt_tokens > first.usage.prompt_tokens
    assert len(conversation.messages) == 5


def test_run_tools_ends_with_an_answer_in_words(lm):
    """The model calls tools as long as it may, so the loop has to stop it; its text still begins like a call."""
    run = run_tools(lm, ASK, [get_weather], max_rounds=2)
    assert run.completion.text == f"{tiny_model.CALL}{SENTENCE}"
    assert run.completion.tool_calls == ()
    results = [message.content for message in run.messages if message.role == "tool"]
    assert results == [f"The sky over {SENTENCE} is clear."] * 2
