"""What a stream gives of a structured answer that is still coming."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import List

import pytest
from raw import stream_of

from lmstudio_provider import (
    Chunk,
    Conversation,
    LMStudioProvider,
    OllamaProvider,
    Stream,
    StreamInterruptedError,
    StructuredOutputError,
)
from lmstudio_provider.simulator import SimulatedLMStudio, SimulatedOllama


@dataclass
class Work:
    title: str


@dataclass
class Author:
    name: str
    works: List[Work]  # noqa: UP006 (Python 3.9 looks it up)


TEXT = '{"name": "Ibsen", "works": [{"title": "Brand"}, {"title": "Peer Gynt"}]}'
WHOLE = {"name": "Ibsen", "works": [Work("Brand"), Work("Peer Gynt")]}
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}, "works": {"type": "array"}}}


def event(finish_reason=None, **delta):
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


DONE = event("stop") + b"data: [DONE]\n\n"
REST = event(content=TEXT[60:]) + DONE


@pytest.fixture
def streaming(raw_server):
    """Return a function that opens a stream of the given events."""
    providers = []

    def stream(*parts, response_format=Author):
        server = raw_server(stream_of(*parts))
        providers.append(LMStudioProvider(server.url, refresh=False, settings={"lmstudio_model": "m"}))
        return providers[-1].stream("Hi", response_format=response_format)

    yield stream
    for provider in providers:
        provider.close()


def seen(stream):
    """Return what the stream gives after each chunk."""
    return [stream.partial_parsed() for _ in stream]


def test_without_a_format_there_is_nothing(simulator):
    with LMStudioProvider(simulator.url) as lm:
        stream = lm.stream("Hi")
        assert seen(stream)[-1] is None
        assert stream.partial_parsed() is None


def test_chunks_of_ones_own_have_no_format():
    assert seen(Stream.from_chunks([Chunk(TEXT)])) == [None, None]


@pytest.mark.parametrize(("make", "kind"), [(SimulatedLMStudio, LMStudioProvider), (SimulatedOllama, OllamaProvider)])
def test_it_grows_with_the_answer(make, kind):
    with make(replies=[TEXT]) as server, kind(server.url) as lm:
        stream = lm.stream("Hi", response_format=Author)
        assert stream.partial_parsed() is None
        values = seen(stream)
    lengths = [len(value["works"]) for value in values if value and "works" in value]
    assert lengths == sorted(lengths)
    assert set(lengths) == {0, 1, 2}
    assert {"name": "Ibsen"} in values
    assert values[-1] == stream.partial_parsed() == WHOLE
    assert stream.completion.parsed == Author("Ibsen", [Work("Brand"), Work("Peer Gynt")])


@pytest.mark.parametrize("method", ["stream", "responses_stream"])
def test_each_method_that_takes_a_format_has_it(method):
    with SimulatedLMStudio(replies=[TEXT]) as server, LMStudioProvider(server.url) as lm:
        stream = getattr(lm, method)("Hi", response_format=Author)
        assert WHOLE in seen(stream)


def test_a_schema_gives_plain_values(streaming):
    stream = streaming(event(content=TEXT[:48]), event(content=TEXT[48:]), DONE, response_format=SCHEMA)
    values = seen(stream)
    assert values[0] == {"name": "Ibsen", "works": [{"title": "Brand"}]}
    assert values[-1] == stream.completion.parsed == json.loads(TEXT)


def test_thoughts_before_the_answer_and_a_fence_around_it_do_not_matter(streaming):
    thoughts = event(content='<think>Perhaps {"name": "draft", '), event(content='"works": []}</think>\n```json\n')
    values = seen(streaming(*thoughts, event(content=TEXT), event(content="\n```"), DONE))
    assert values[0] is None
    assert values[-1] == WHOLE


def test_thoughts_that_nothing_opened_give_way_to_the_answer(streaming):
    stream = streaming(event(content='Perhaps {"name": "draft"}'), event(content="</think>" + TEXT), DONE)
    assert seen(stream)[-1] == WHOLE
    assert stream.completion.text == TEXT


@pytest.mark.parametrize(
    ("text", "response_format", "given", "parsed"),
    [("42", int, None, 42), (json.dumps(TEXT), Author, {}, Author("Ibsen", [Work("Brand"), Work("Peer Gynt")]))],
    ids=["alone", "text"],
)
def test_a_value_without_its_brackets_is_in_parsed_alone(streaming, text, response_format, given, parsed):
    with streaming(event(content=text), DONE, response_format=response_format) as stream:
        assert seen(stream)[-1] == given
    assert (stream.partial_parsed() or {}, stream.completion.parsed) == (given or {}, parsed)


def test_an_answer_in_the_reasoning_field_is_given_at_the_end(streaming):
    stream = streaming(event(reasoning_content=TEXT), event(content="\n"), DONE)
    values = seen(stream)
    assert values[0] is None
    assert values[-1] == WHOLE
    assert stream.completion.parsed.name == "Ibsen"


def test_a_model_that_calls_a_tool_instead_gives_nothing(streaming):
    call = {"index": 0, "id": "1", "function": {"name": "f", "arguments": "{}"}}
    stream = streaming(event(content='{"name": "x"'), event(tool_calls=[call]), event("tool_calls"), DONE)
    assert seen(stream)[0] == {"name": "x"}
    assert stream.partial_parsed() is stream.completion.parsed is None


@pytest.mark.parametrize(
    ("end", "error"), [(event("length") + DONE, StructuredOutputError), (b"", StreamInterruptedError)]
)
def test_what_was_finished_before_an_error_stays(streaming, end, error):
    stream = streaming(event(content=TEXT[:60]), end)
    with pytest.raises(error):
        seen(stream)
    assert stream.partial_parsed() == {"name": "Ibsen", "works": [Work("Brand")]}


def test_what_was_finished_before_it_was_closed_stays(streaming):
    stream = streaming(event(content=TEXT[:60]), event(content=TEXT[60:]), DONE)
    next(stream)
    stream.close()
    assert stream.partial_parsed() == {"name": "Ibsen", "works": [Work("Brand")]}


def test_an_item_that_does_not_fit_is_left_out_until_the_error_at_the_end(streaming):
    stream = streaming(event(content='{"name": "x", "works": [{"title": "a"}, {"titel": "b"}]}'), DONE)
    next(stream)
    assert stream.partial_parsed()["works"] == [Work("a")]
    with pytest.raises(StructuredOutputError, match=r"works\[1\]"):
        list(stream)


def test_a_conversation_with_tools_gives_what_is_finished_of_each_answer():
    def f() -> str:
        """Return nothing."""
        return ""

    call = {"content": '{"name": "first"}', "tool_calls": [{"name": "f", "arguments": {}}]}
    with SimulatedLMStudio(replies=[call, TEXT]) as server, LMStudioProvider(server.url) as lm:
        stream = Conversation(lm).stream("Hi", tools=[f], response_format=Author)
        values = seen(stream)
    assert {"name": "first"} in values
    assert {"name": "Ibsen"} in values
    assert stream.partial_parsed() == WHOLE


def test_another_thread_can_ask_while_the_stream_waits(raw_server):
    go_on = threading.Event()
    server = raw_server(stream_of(event(content=TEXT[:60])), lambda connection: go_on.wait(10) and None, REST)
    with LMStudioProvider(server.url, refresh=False, settings={"lmstudio_model": "m"}) as lm:
        stream = lm.stream("Hi", response_format=SCHEMA)
        came, chunks = threading.Event(), []

        def read():
            for chunk in stream:
                chunks.append(chunk)
                came.set()

        thread = threading.Thread(target=read)
        thread.start()
        assert came.wait(10)
        assert stream.partial_parsed() == {"name": "Ibsen", "works": [{"title": "Brand"}]}
        assert len(chunks) == 1
        go_on.set()
        thread.join()


@pytest.mark.slow
def test_threads_that_ask_at_once_get_the_same():
    text = json.dumps({"name": "x", "works": [{"title": "y"}] * 300})
    with SimulatedLMStudio(replies=[text]) as server, LMStudioProvider(server.url) as lm:
        stream, over, wrong = lm.stream("Hi", response_format=Author), threading.Event(), []

        def ask():
            last = 0
            while not over.is_set():
                works = (stream.partial_parsed() or {}).get("works", [])
                if len(works) < last or any(each != Work("y") for each in works):
                    wrong.append(works)
                last = len(works)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in stream:
                pass
        finally:
            over.set()
            for thread in threads:
                thread.join()
    assert wrong == []
    assert len(stream.partial_parsed()["works"]) == 300


def test_a_call_that_was_interrupted_is_done_again(streaming):
    built = []

    @dataclass
    class Once:
        title: str

        def __post_init__(self):
            built.append(self)
            if len(built) == 2:
                raise KeyboardInterrupt

    stream = streaming(event(content='[{"title": "a"}, {"title": "b"}'), DONE, response_format=List[Once])  # noqa: UP006
    next(stream)
    with pytest.raises(KeyboardInterrupt):
        stream.partial_parsed()
    assert [each.title for each in stream.partial_parsed()] == ["a", "b"]


def test_after_ctrl_c_while_the_whole_answer_is_parsed_nothing_more_is_given(streaming):
    @dataclass
    class Interrupted:
        title: str

        def __post_init__(self):
            raise KeyboardInterrupt

    stream = streaming(event(content='{"title": "a"}') + DONE, response_format=Interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(stream)
    assert list(stream) == []
    assert stream.completion.text == '{"title": "a"}'
