"""Ctrl-C in a conversation, at any line of the package: what came is kept, and no call is lost or made twice."""

import signal
import threading

import pytest
from interrupts import interrupted, lines_of
from raw import stream_of

from lmstudio_provider import (
    Capabilities,
    Chunk,
    Completion,
    Conversation,
    LMStudioProvider,
    MemoryUsage,
    NativeConversation,
    Provider,
    Stream,
    ToolCall,
)
from lmstudio_provider.simulator import SimulatedLMStudio

pytestmark = pytest.mark.filterwarnings("ignore::lmstudio_provider.ModelMismatchWarning")


def part(text):
    return b'data: {"choices": [{"delta": {"content": "%b"}}]}\n\n' % text.encode()


STOP = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


def wait_for_the_client(connection):
    while connection.recv(65536):
        continue


def texts(conversation):
    return [message.content for message in conversation.messages]


@pytest.fixture
def ctrl_c():
    """A timer that sends a real signal to this thread."""
    if not hasattr(signal, "pthread_kill"):
        pytest.skip("this system sends no signal to one thread")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.1, signal.pthread_kill, [threading.get_ident(), signal.SIGINT])
    yield timer
    timer.join()
    signal.signal(signal.SIGINT, before)


# Where Ctrl-C may hit


@pytest.fixture
def two_words(raw_server, provider_of):
    """A provider whose answer is "one two ", and then silence."""
    return provider_of(raw_server(stream_of(part("one "), part("two ")), wait_for_the_client), model="m")


def test_in_the_reader(two_words, ctrl_c):
    conversation, seen = Conversation(two_words), []
    with pytest.raises(KeyboardInterrupt):
        for chunk in conversation.stream("Count."):
            seen.append(chunk.delta)
            if len(seen) == 2:
                ctrl_c.start()  # most likely it comes while the socket is read
    assert texts(conversation) == ["Count.", "one two "]


def stop():
    raise KeyboardInterrupt


def in_the_loop(conversation):
    for _ in conversation.stream("Count."):
        stop()


def in_the_loop_over_texts(conversation):
    for _ in conversation.stream("Count.").text():
        stop()


def in_the_block(conversation):
    with conversation.stream("Count.") as stream:
        next(stream)
        stop()


def in_on_chunk(conversation):
    conversation.stream("Count.", on_chunk=lambda chunk: stop())


def in_on_chunk_of_ask(conversation):
    conversation.ask("Count.", on_chunk=lambda chunk: stop())


def in_on_event(conversation):
    list(conversation.stream("Count.", on_event=lambda event: event.chunk and event.chunk.delta == "two " and stop()))


def in_on_event_of_ask(conversation):
    conversation.ask(
        "Count.", on_chunk=print, on_event=lambda event: event.chunk and event.chunk.delta == "two " and stop()
    )


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        (in_the_loop, "one "),
        (in_the_loop_over_texts, "one "),
        (in_the_block, "one "),
        (in_on_chunk, "one "),
        (in_on_chunk_of_ask, "one "),
        (in_on_event, "one "),
        (in_on_event_of_ask, "one "),
    ],
)
def test_in_the_callers_own_code(two_words, where, kept):
    conversation = Conversation(two_words)
    with pytest.raises(KeyboardInterrupt) as caught:
        where(conversation)
    assert texts(conversation) == ["Count.", kept]
    del caught


def test_between_two_chunks_that_are_taken_by_hand_though_the_provider_is_closed_before_the_stream(two_words):
    conversation = Conversation(two_words)
    with pytest.raises(KeyboardInterrupt), two_words:
        stream = conversation.stream("Count.")
        next(stream)
        stop()
    assert texts(conversation) == ["Count.", "one "]


class Stopping:
    """Records nothing, because Ctrl-C comes before."""

    def record(self, record, /):
        raise KeyboardInterrupt


def test_at_the_end_while_what_records_usage_runs(simulator):
    with LMStudioProvider(simulator.url, usage=Stopping()) as lm:
        conversation = Conversation(lm)
        with pytest.raises(KeyboardInterrupt):
            list(conversation.stream("Hi"))
        assert texts(conversation) == ["Hi", "This is a simulated reply, no model wrote it. You said: Hi"]


def test_at_the_end_while_a_function_of_the_callers_runs(simulator):
    with LMStudioProvider(simulator.url) as lm:
        conversation = Conversation(lm)
        stream = conversation.stream("Hi")
        stream.add_done_callback(lambda completion, error: stop())
        with pytest.raises(KeyboardInterrupt):
            list(stream)
        assert texts(conversation) == ["Hi", "This is a simulated reply, no model wrote it. You said: Hi"]


def test_before_anything_came_there_is_no_turn(silent_server, provider_of, ctrl_c):
    conversation = Conversation(provider_of(silent_server, model="m"))
    ctrl_c.start()
    with pytest.raises(KeyboardInterrupt):
        list(conversation.stream("Hi"))
    assert conversation.messages == ()


def test_an_error_of_the_stream_keeps_nothing(raw_server, provider_of):
    conversation = Conversation(provider_of(raw_server(stream_of(part("one "))), model="m"))
    with pytest.raises(Exception, match="finish_reason"):
        list(conversation.stream("Hi"))
    assert conversation.messages == ()


# Any line


#: The functions of a stream that have the next piece in hand.
READING = ("_next", "_advance", "_read", "_take", "_finish")


def first(times):
    """Interrupt a line when it runs for the first time."""
    return 1


def last(times):
    """Interrupt a line when it runs for the last time."""
    return times


def interrupt_each_line(start, read, check, which):
    """Interrupt ``read(conversation, noted)`` at each of its lines in turn; return how many there were.

    After each it calls ``check(conversation, noted)``. The conversation is what ``start`` returns, and ``noted`` an
    empty list.
    """
    hit = 0
    for line, times in lines_of(lambda: read(start(), [])).items():
        conversation, noted = start(), []
        hit += interrupted(lambda c=conversation, n=noted: read(c, n), line, which(times))
        try:
            check(conversation, noted)
        except (AssertionError, KeyError) as error:
            raise AssertionError(f"at {line[0].co_filename}:{line[1]}: {error!r}") from error
    return hit


@pytest.fixture
def usage():
    return MemoryUsage()


@pytest.fixture
def lm(usage):
    with SimulatedLMStudio(["m"], lambda body: "one two three") as server:
        with LMStudioProvider(server.url, refresh=False, model="m", usage=usage) as provider:
            yield provider


def loop(conversation, seen):
    for chunk in conversation.stream("Hi"):
        seen.append(chunk.delta)


def by_hand(conversation, seen):
    stream = conversation.stream("Hi")
    while not (chunk := next(stream)).done:
        seen.append(chunk.delta)
    next(stream, None)


def check_text(conversation, seen):
    """What was seen is kept, and nothing but what came."""
    kept, shown = texts(conversation), "".join(seen)
    assert kept in ([], ["Hi", kept[-1] if kept else ""])
    assert (kept or ["Hi", ""])[1].startswith(shown), (shown, kept)
    assert "one two three".startswith((kept or ["Hi", ""])[1])


@pytest.mark.slow
@pytest.mark.parametrize(("read", "which"), [(loop, last), (by_hand, first)])
def test_a_stream_is_kept_at_any_line(lm, usage, read, which):
    started = []

    def start():
        started.append(Conversation(lm))
        return started[-1]

    assert interrupt_each_line(start, read, check_text, which) > 80
    assert len(usage.records) <= len(started)
    conversation = Conversation(lm)
    read(conversation, [])
    assert texts(conversation) == ["Hi", "one two three"]


def test_a_stream_that_was_ended_gives_nothing_more(lm):
    def read(stream):
        while next(stream, None):
            continue

    lines = [line for line in lines_of(lambda: read(lm.stream("Hi"))).items() if line[0][0].co_name in READING]
    assert len(lines) > 20
    for line, times in lines:
        stream = lm.stream("Hi")
        interrupted(lambda stream=stream: read(stream), line, times // 2 or 1)
        given = list(stream)
        assert not given or stream.completion.finish_reason != "cancelled", line


@pytest.mark.slow
def test_a_native_conversation_goes_on_from_what_came_whole(lm):
    def read(conversation, ended):
        ended += [event for event in conversation.stream("Hi") if event.type == "chat.end"]

    def check(conversation, ended):
        assert not ended or conversation.response_id == ended[0].result.response_id

    assert interrupt_each_line(lambda: NativeConversation(lm), read, check, last) > 100
    conversation = NativeConversation(lm)
    read(conversation, [])
    assert conversation.response_id


# Tools


class Caller(Provider):
    """Wants two calls at once, then answers."""

    id = "caller"
    display_name = "Caller"
    base_url = "caller:"
    capabilities = Capabilities(streaming=True, tool_calling=True, vision=False, models=("m",))

    def chat(self, request, **overrides):
        if request.messages[-1].role == "tool":
            return Completion("It is 3.", "m", "m", "stop")
        calls = [ToolCall(f"call {a}", "add", {"a": a, "b": 1}) for a in (1, 2)]
        return Completion("Wait.", "m", "m", "tool_calls", tool_calls=tuple(calls))

    def stream(self, request, on_chunk=None, **overrides):
        whole = self.chat(request)
        chunks = [Chunk(f"{word} ") for word in whole.text.split()]
        return Stream.from_chunks(iter([*chunks, Chunk("", True, tool_calls=whole.tool_calls)]))


def check_calls(conversation, made):
    """No call that was made is lost, every call has a result, and the conversation can go on."""
    turn = conversation.messages
    if not turn:
        assert made == []
        return
    assert turn[0].content == "1 + 1?"
    assert turn[-1].role == "assistant"
    assert not turn[-1].tool_calls
    calls = [call for message in turn for call in message.tool_calls]
    results = [message for message in turn if message.role == "tool"]
    assert [call.id for call in calls] == [message.tool_call_id for message in results]
    told = {call.arguments["a"]: message.content for call, message in zip(calls, results)}
    for a in made:
        assert told[a] == str(a + 1) or "not known" in told[a], told
    for a in set(told) - set(made):
        assert "not called" in told[a] or "not known" in told[a], told


def ask(conversation, made):
    conversation.ask("1 + 1?", tools=[adding(made)], on_event=lambda event: None)


def stream_by_hand(conversation, made):
    stream = conversation.stream("1 + 1?", tools=[adding(made)], confirm=lambda call: True)
    while not next(stream).done:
        continue
    next(stream, None)


def adding(made):
    def add(a: int, b: int) -> int:
        made.append(a)
        return a + b

    return add


@pytest.mark.slow
@pytest.mark.parametrize(("run", "which"), [(ask, first), (stream_by_hand, last)])
def test_no_call_is_lost_at_any_line(run, which):
    assert interrupt_each_line(lambda: Conversation(Caller()), run, check_calls, which) > 150
    conversation, made = Conversation(Caller()), []
    run(conversation, made)
    assert made == [1, 2]
    assert [each.strip() for each in texts(conversation)] == ["1 + 1?", "Wait.", "2", "3", "It is 3."]


def test_ctrl_c_in_a_function_keeps_the_calls_before_and_says_what_is_not_known():
    def add(a: int, b: int) -> int:
        return a + b if a == 1 else stop()

    conversation = Conversation(Caller())
    with pytest.raises(KeyboardInterrupt):
        conversation.ask("1 + 1?", tools=[add])
    unknown = "Error: interrupted; it is not known whether the call had its effect"
    assert texts(conversation) == ["1 + 1?", "Wait.", "2", unknown, ""]
