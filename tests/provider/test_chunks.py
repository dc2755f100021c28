"""Streams made from an iterator of Chunks, for providers that users write."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import threading

import pytest
from tables import for_each

from lmstudio_provider import (
    Capabilities,
    ChatRequest,
    Chunk,
    Completion,
    Conversation,
    Failover,
    InvalidRequestError,
    LMStudioProvider,
    Provider,
    ProviderError,
    Registry,
    ServerUnavailableError,
    Stream,
    ToolCall,
    Usage,
    run_tools,
)


class Echo(Provider):
    """Answers with the last message, word by word."""

    id = "echo"
    display_name = "Echo"
    base_url = "echo:"
    capabilities = Capabilities(streaming=True, tool_calling=False, vision=False, models=("echo-1",))

    def chat(self, request, **overrides):
        last = ChatRequest.from_input(request, **overrides).messages[-1]
        return Completion(last.content, "echo-1", "echo-1", "stop", provider_id=self.id)

    def stream(self, request, on_chunk=None, **overrides):
        words = (Chunk(f"{word} ") for word in self.chat(request, **overrides).text.split())
        return Stream.from_chunks(words, on_chunk, model="echo-1", provider_id=self.id)


class Words:
    """A generator of words as an object that notes what happens to it."""

    def __init__(self, *words, raising=None):
        self.words = words
        self.raising = raising
        self.given = 0
        self.closed = 0

    def chunks(self):
        try:
            for word in self.words:
                self.given += 1
                yield word if isinstance(word, Chunk) else Chunk(word)
            if self.raising is not None:
                raise self.raising
        finally:
            self.closed += 1


# What cannot work


@for_each("bad", ["text", b"text", None, 7, {"a": 1}, lambda: iter(())])
def test_a_value_that_is_not_an_iterator_is_refused(bad):
    with pytest.raises(InvalidRequestError, match="not an iterator of Chunks"):
        Stream.from_chunks(bad)


@for_each("bad", ["text", ("a", False), None, {"delta": "a"}])
def test_a_value_that_is_not_a_chunk_is_an_error_that_keeps_the_partial_reply(bad):
    stream = Stream.from_chunks([Chunk("a"), bad])
    with pytest.raises(InvalidRequestError, match=r"Chunk\('text'\)") as caught:
        list(stream)
    assert caught.value.partial.text == "a"


def test_an_on_chunk_that_cannot_be_called_is_refused_before_anything_is_taken():
    words = Words("a")
    with pytest.raises(InvalidRequestError, match="on_chunk=7"):
        Stream.from_chunks(words.chunks(), 7)
    assert words.given == 0


@for_each("error", [ProviderError("boom"), ServerUnavailableError("gone"), InvalidRequestError("no")])
def test_a_provider_error_of_the_iterator_is_raised_unchanged_with_the_partial_reply(error):
    error = copy.copy(error)  # the parameter lives as long as the tests, and would keep its traceback
    stream = Stream.from_chunks(Words("a", "b", raising=error).chunks(), model="m")
    told, seen = [], []
    stream.add_done_callback(lambda completion, why: told.append((completion.text, why)))
    with pytest.raises(type(error)) as caught:
        seen.extend(stream.text())
    assert caught.value is error
    assert (seen, error.partial, error.partial.text) == (["a", "b"], stream.completion, "ab")
    assert stream.completion.finish_reason is None
    assert told == [("ab", error)]
    assert list(stream) == []


@for_each("error", [ValueError("boom"), LookupError(), Warning("w"), TimeoutError()])
def test_another_error_of_the_iterator_reaches_the_caller_and_the_stream_is_over(error):
    error = copy.copy(error)
    stream = Stream.from_chunks(Words("a", raising=error).chunks())
    with pytest.raises(type(error)) as caught:
        list(stream)
    assert caught.value is error
    assert stream.completion.text == "a"


def test_ctrl_c_in_the_iterator_ends_the_stream_as_close_does():
    stream = Stream.from_chunks(Words("a", raising=KeyboardInterrupt()).chunks())
    told = []
    stream.add_done_callback(lambda completion, error: told.append((completion.finish_reason, error)))
    with pytest.raises(KeyboardInterrupt):
        list(stream)
    assert (stream.completion.text, told) == ("a", [("cancelled", None)])


def test_an_exception_in_the_finally_of_a_generator_reaches_the_caller_of_close():
    def chunks():
        try:
            yield Chunk("a")
            yield Chunk("b")
        finally:
            raise LookupError("in the finally")

    stream = Stream.from_chunks(chunks())
    next(stream)
    with pytest.raises(LookupError):
        stream.close()
    assert (stream.completion.text, stream.completion.finish_reason) == ("a", "cancelled")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_does_not_go_on_with_its_parents_iterator():
    stream = Stream.from_chunks(Words("a", "b").chunks())
    next(stream)
    child = os.fork()
    if child == 0:
        try:
            next(stream)
        except ProviderError:
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert next(stream).delta == "b"


# The chunks and the completion


def test_chunks_come_as_they_are_and_the_last_one_is_added():
    stream = Stream.from_chunks(Words("Hello ", "you").chunks(), model="m", provider_id="mine")
    assert list(stream) == [Chunk("Hello "), Chunk("you"), Chunk("", done=True)]
    completion = stream.completion
    assert (completion.text, completion.model, completion.requested_model) == ("Hello you", "m", "m")
    assert (completion.finish_reason, completion.usage, completion.provider_id) == (None, None, "mine")
    assert completion.stats.time_to_first_token_s >= 0


def test_a_completion_adds_up_all_that_chunks_can_hold():
    first, second = ToolCall("1", "add", {"a": 1}), ToolCall("2", "add", {"a": 2})
    chunks = [
        Chunk("", reasoning="Let me "),
        Chunk("a", reasoning="see", tool_calls=(first,)),
        Chunk("b", finish_reason="tool_calls"),
        Chunk("c", True, tool_calls=(second,), usage=Usage(1, 2, 3)),
    ]
    stream = Stream.from_chunks(chunks)
    assert list(stream) == chunks
    completion = stream.completion
    assert (completion.text, completion.reasoning, completion.finish_reason) == ("abc", "Let me see", "tool_calls")
    assert (completion.tool_calls, completion.usage) == ((first, second), Usage(1, 2, 3))


def test_the_added_chunk_has_the_finish_reason_and_the_usage():
    *_, last = Stream.from_chunks([Chunk("a", finish_reason="stop"), Chunk(usage=Usage(1))])
    assert last == Chunk("", True, finish_reason="stop", usage=Usage(1))


def test_after_a_chunk_with_done_nothing_is_read_and_the_generator_is_closed():
    words = Words("a", Chunk("b", done=True), "c")
    assert [chunk.delta for chunk in Stream.from_chunks(words.chunks())] == ["a", "b"]
    assert (words.given, words.closed) == (2, 1)


@for_each("chunks", [[], (), iter(())])
def test_nothing_is_an_empty_answer(chunks):
    stream = Stream.from_chunks(chunks)
    assert list(stream) == [Chunk("", done=True)]
    assert stream.completion.text == ""


def test_nothing_is_read_ahead():
    words = Words("a", "b")
    stream = Stream.from_chunks(words.chunks())
    assert words.given == 0
    next(stream)
    assert words.given == 1


def test_the_texts_can_be_iterated_without_the_rest():
    assert list(Stream.from_chunks([Chunk("a"), Chunk("", reasoning="?"), Chunk("b")]).text()) == ["a", "b"]


def test_with_on_chunk_each_is_handed_over_and_the_completion_returned():
    seen = []
    completion = Stream.from_chunks(Words("a", "b").chunks(), seen.append, model="m")
    assert (completion.text, seen) == ("ab", [Chunk("a"), Chunk("b"), Chunk("", done=True)])


def test_what_on_chunk_raises_closes_the_generator_and_reaches_the_caller():
    words = Words("a", "b")
    with pytest.raises(ZeroDivisionError):
        Stream.from_chunks(words.chunks(), lambda chunk: 1 / 0)
    assert (words.given, words.closed) == (1, 1)


@pytest.mark.slow
def test_a_long_stream_takes_time_and_memory_in_proportion():
    stream = Stream.from_chunks(Chunk("ab") for _ in range(200_000))
    assert sum(len(text) for text in stream.text()) == len(stream.completion.text) == 400_000


# Closing


def leave_the_loop(stream):
    for _ in stream:
        break


def leave_the_block(stream):
    with stream:
        next(stream)


def leave_the_texts(stream):
    for _ in stream.text():
        break


@for_each("leave", [leave_the_loop, leave_the_block, leave_the_texts])
def test_leaving_it_closes_the_generator(leave):
    words = Words("a", "b")
    stream = Stream.from_chunks(words.chunks())
    leave(stream)
    assert (words.given, words.closed) == (1, 1)
    assert (stream.completion.text, stream.completion.finish_reason) == ("a", "cancelled")
    stream.close()
    assert words.closed == 1


def test_dropping_it_closes_the_generator():
    words = Words("a", "b")
    stream = Stream.from_chunks(words.chunks())
    next(stream)
    del stream
    gc.collect()
    assert words.closed == 1


def test_a_generator_that_was_not_begun_is_never_begun():
    words = Words("a")
    stream = Stream.from_chunks(words.chunks())
    stream.close()
    assert list(stream) == []
    assert words.given == 0


def test_a_thread_that_waits_for_the_iterator_sees_the_end_at_its_next_piece(in_background):
    waiting, go_on = threading.Event(), threading.Event()

    def chunks():
        yield Chunk("a")
        waiting.set()
        go_on.wait(60)
        yield Chunk("b")

    stream = Stream.from_chunks(chunks())
    reading = in_background(lambda: [chunk.delta for chunk in stream])
    assert waiting.wait(60)
    stream.close()
    go_on.set()
    reading.result(60)
    assert stream.completion.finish_reason == "cancelled"


def test_a_generator_may_close_its_own_stream():
    def chunks():
        yield Chunk("a")
        stream.close()
        yield Chunk("b")
        raise AssertionError("it goes on")

    stream = Stream.from_chunks(chunks())
    assert next(stream).delta == "a"
    list(stream)
    assert stream.completion.finish_reason == "cancelled"


def test_a_stream_of_a_stream_closes_it(simulator):
    with LMStudioProvider(simulator.url) as lm:
        for begun in (False, True):
            inner = lm.stream("Hi")
            outer = Stream.from_chunks(inner, model="m")
            if begun:
                next(outer)
            outer.close()
            assert inner.completion.finish_reason == "cancelled"
        assert "".join(Stream.from_chunks(lm.stream("Hi")).text()).endswith("Hi")


# Everywhere


class Adding(Echo):
    """Wants one call, then says its result."""

    def stream(self, request, on_chunk=None, **overrides):
        last = request.messages[-1]
        if last.role == "tool":
            chunks = [Chunk("It is "), Chunk(f"{last.content}.", finish_reason="stop")]
        else:
            chunks = [Chunk("Wait. "), Chunk(tool_calls=(ToolCall("1", "add", {"a": 1, "b": 2}),), done=True)]
        return Stream.from_chunks(iter(chunks), on_chunk, model="m", provider_id=self.id)


def test_run_tools_streams_it():
    def add(a: int, b: int) -> int:
        return a + b

    seen = []
    run = run_tools(Adding(), "1 + 2?", [add], stream=True, on_event=seen.append)
    assert run.completion.text == "It is 3."
    assert [event.chunk.delta for event in seen if event.kind == "chunk"] == ["Wait. ", "", "It is ", "3.", ""]


def test_a_conversation_keeps_it():
    conversation = Conversation(Echo(), "Be brief.")
    assert "".join(conversation.stream("Good morning").text()) == "Good morning "
    assert [message.content for message in conversation.messages] == ["Be brief.", "Good morning", "Good morning "]
    for _ in conversation.stream("one two three"):
        break
    assert conversation.messages[-1].content == "one "


def test_a_registry_and_a_failover_take_it(closed_port):
    seen = []
    with Registry() as registry:
        registry.register(LMStudioProvider(f"127.0.0.1:{closed_port}", refresh=False))
        registry.register(Echo())
        failover = Failover(registry, balance="least_busy")
        assert failover.stream("a b", seen.append).text == "a b "
        stream = failover.stream("a b")
        assert [failover._balancer.busy(each) for each in failover._providers] == [0, 1]
        assert "".join(stream.text()) == "a b "
        assert [failover._balancer.busy(each) for each in failover._providers] == [0, 0]
    assert [chunk.delta for chunk in seen] == ["a ", "b ", ""]


def test_a_stream_says_that_it_cannot_be_pickled():
    with pytest.raises(TypeError, match="a stream is a connection and cannot be pickled; its completion can"):
        pickle.dumps(Stream.from_chunks([]))
