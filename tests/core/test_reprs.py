"""The repr of a large object is one short line."""

from dataclasses import dataclass

from tables import for_each

from lmstudio_provider import (
    Chunk,
    Completion,
    Conversation,
    Embeddings,
    LMStudioProvider,
    MemoryUsage,
    Message,
    NativeCompletion,
    NativeConversation,
    Stream,
    ToolCall,
    Usage,
)
from lmstudio_provider.simulator import SimulatedLMStudio

LONG = "It was a dark and stormy night;\nthe rain fell in torrents. " * 1000
PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 5000


@dataclass
class City:
    name: str = LONG


def calls(count):
    return tuple(ToolCall(str(n), f"a_tool_with_a_long_name_{n}", {"text": LONG}) for n in range(count))


def conversation(*messages):
    talk = Conversation(LMStudioProvider(refresh=False), LONG)
    talk.add(*messages)
    return talk


def stream(chunks, end):
    made = Stream.from_chunks(chunks, model=LONG)
    for _ in range(end):
        next(made)
    return made


FULL = {"reasoning": LONG, "tool_calls": calls(50), "usage": Usage(1, 2, 3), "parsed": City(), "raw": {"a": LONG}}
LARGE = [
    Completion(LONG, LONG, LONG, LONG, provider_id=LONG, id=LONG, **FULL),
    NativeCompletion(LONG, LONG, LONG, output=[LONG], **FULL),
    stream([Chunk(LONG)], 0),
    stream([Chunk(LONG)], 1),
    stream([Chunk(LONG)], 2),
    conversation(),
    conversation(Message.user(LONG, [PNG]), Message.assistant(LONG)),
    conversation(*[LONG] * 100),
    Embeddings([[0.25] * 4096] * 1000, LONG, LONG, Usage(10**12, None, 10**12)),
    Embeddings([], LONG, LONG),
    Completion("\ud800\x00\U000e0001" * 100, "'\"" * 100, "m"),
]


@for_each("value", LARGE, ids=lambda value: type(value).__name__)
def test_it_is_one_short_line_whatever_is_in_it(value):
    shown = repr(value)
    assert shown == str(value)
    assert shown.startswith(f"<{type(value).__name__} ")
    assert shown.isprintable()
    assert len(shown) < 240
    assert "PNG" not in shown
    assert "base64" not in shown


def test_what_matters_is_in_it():
    completion = Completion("It is 3.", "qwen3", "qwen3", "stop", usage=Usage(1, 2, 3))
    assert repr(completion) == "<Completion 'It is 3.' from 'qwen3', 'stop', 3 tokens>"
    wanted = Completion("", "m", "m", "tool_calls", tool_calls=(ToolCall("1", "add"), ToolCall("2", "now")))
    assert repr(wanted) == "<Completion '' from 'm', 'tool_calls', calls 'add, now'>"
    assert repr(Completion("", "m", "m", parsed=City())) == "<Completion '' from 'm', unfinished, parsed as City>"
    assert repr(Completion(LONG, "m", "m")) == (
        r"<Completion 'It was a dark and stormy night;\nthe rain…' from 'm', unfinished>"
    )
    vectors = Embeddings([[0.5, 1.0]] * 3, "nomic", "nomic", Usage(7, total_tokens=7))
    assert repr(vectors) == "<Embeddings 3 vectors, 2 numbers each, from 'nomic', 7 tokens>"


def test_those_that_change_show_how_far_they_are():
    usage = MemoryUsage()
    with SimulatedLMStudio(["m"], lambda body: "Hello") as server:
        with LMStudioProvider(server.url, refresh=False, model="m", usage=usage) as lm:
            assert repr(usage) == "<MemoryUsage 0 records, 0 tokens>"
            talk, opened = Conversation(lm), lm.stream("Hi")
            assert repr(opened) == "<Stream open>"
            assert repr(talk) == "<Conversation with lm-studio, 0 turns>"
            list(opened)
            assert repr(opened).startswith("<Stream over: <Completion 'Hello' from 'm', 'stop'")
            talk.ask("And you?")
            assert repr(talk) == "<Conversation with lm-studio, 1 turns, the last 'And you?'>"
            own = NativeConversation(lm)
            assert repr(own) == "<NativeConversation with lm-studio, response_id None>"
            events = own.stream("Hi")
            assert repr(events) == "<NativeStream open>"
            assert repr(list(events)[-1].result).startswith("<NativeCompletion 'Hello' from 'm'")
            assert repr(own) == f"<NativeConversation with lm-studio, response_id {own.response_id!r}>"
    assert repr(usage).startswith("<MemoryUsage 3 records, ")
