"""Time and memory grow linearly with the size of the data from a server, a model or a file.

Each case makes a piece of work with an input of a given size. There is a case for each kind of input that once took
more, or easily could.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import decimal
import gc
import gzip
import json
import time
import tracemalloc
from functools import partial
from typing import Any, Dict, List, Union

import pytest
from plugin import Plugin

from lmstudio_provider import Completion, Conversation, Limits, LMStudioProvider, ProviderError
from lmstudio_provider._core.growing_text import GrowingText
from lmstudio_provider._core.json import loads, loads_leniently
from lmstudio_provider._core.model_names import close_matches, find
from lmstudio_provider._core.redaction import hide, redact, url_secrets
from lmstudio_provider._core.schema.json_schema import fitted
from lmstudio_provider._core.schema.schemas import schema_of
from lmstudio_provider._core.schema.structured import structure_of
from lmstudio_provider._core.types import Call
from lmstudio_provider._dialects import embeddings, lmstudio_errors, models, ollama, ollama_errors, ollama_models
from lmstudio_provider._dialects.accumulator import ToolCallAssembly
from lmstudio_provider._dialects.errors import ErrorContext
from lmstudio_provider._dialects.messages import MessagesStream
from lmstudio_provider._dialects.ollama import OllamaStream
from lmstudio_provider._dialects.openai import ChatStream
from lmstudio_provider._dialects.pages import read_answer
from lmstudio_provider._dialects.responses import ResponsesStream
from lmstudio_provider._dialects.thoughts import ThoughtSplitter, split_thoughts
from lmstudio_provider._dialects.tool_text import take_calls, warn_of_lost_calls
from lmstudio_provider._http.readers import Event, NDJSONReader, SSEReader, decompress
from lmstudio_provider._native.events_reader import NativeAssembly
from lmstudio_provider._provider.settings import Settings
from lmstudio_provider.simulator._secrets import Secrets

pytestmark = pytest.mark.slow

FACTOR, MOST, TRIES = 4, 6.0, 4
LIMITS = Limits(max_line_bytes=1 << 30, max_events_without_data=1 << 30)
TOKEN = "sk-lm-AbCd1234:0123456789abcdefghij"
CALL = Call("POST", "/v1/embeddings", model="m")
ASKED = ErrorContext(model="m", secrets=(TOKEN,), known=("m",))
SECRETS = Secrets([("Authorization", f"Bearer {TOKEN}")])
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@dataclasses.dataclass
class Item:
    name: str
    values: List[int]  # noqa: UP006 (Python 3.9 looks it up)


ANY_JSON = {"type": "json_object"}
Nested = Union[int, List[Any], Dict[str, Any]]  # noqa: UP006


def feed(kind, data, size):
    reader = kind(LIMITS)
    for at in range(0, len(data), size):
        list(reader.feed(data[at : at + size]))
    reader.finish()


def inflate(data):
    for _ in decompress([data], "gzip"):
        pass


def add_all(pieces):
    assembly = ToolCallAssembly(["f"])
    for piece in pieces:
        assembly.add(piece)
    assembly.calls()


def part(texts):
    splitter = ThoughtSplitter()
    for text in texts:
        splitter.feed(text)
    splitter.feed("", end=True)


def consume(function, *arguments):
    for _ in function(*arguments):
        pass


def take(text):
    take_calls(completion(text), [TOOL])


def search(text):
    warn_of_lost_calls(completion(text), [TOOL], 7)


def refused(function, *arguments):
    with contextlib.suppress(ValueError, ProviderError):
        function(*arguments)


def read_as(hint, value):
    return fitted(value, schema_of(hint, "x"))


def piece(**members):
    return [{"function": members}]


def chat(*choices):
    return Event("message", json.dumps({"choices": choices}))


def stream(kind, events):
    reply = kind(CALL, ASKED, 0.0)
    for event in events:
        reply.feed(event)
    reply.done = True
    reply.completion()


def typed(kind, **members):
    return Event("message", json.dumps({"type": kind, **members}))


def said(step, text, index=0):
    name = "delta" if step == "delta" else "text"
    return typed(f"response.output_text.{step}", output_index=index, **{name: text})


def ended(texts):
    output = [{"type": "message", "content": [{"type": "output_text", "text": text}]} for text in texts]
    return typed("response.completed", response={"status": "completed", "output": output})


CALLED_ITEM = {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"}
BEGIN = piece(name="f", arguments='{"a":"')
CALL_PIECE = piece(name="f", arguments="{}")[0]


def error(text, module=lmstudio_errors, headers=None, status=400):
    body = text.encode()
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    return module.find_error(status, headers or {}, body, value, ASKED)


def completion(text, **members):
    return Completion(text=text, model="m", requested_model="m", finish_reason="stop", **members)


def read_answer_as(type_, text):
    refused(structure_of(type_).parse, completion(text))


READERS = {
    "events in small cuts": lambda n: partial(feed, SSEReader, b"data: {}\n\n" * n, 7),
    "events in one": lambda n: partial(feed, SSEReader, b"data: {}\n\n" * n, 1 << 30),
    "one long line in cuts": lambda n: partial(feed, SSEReader, b"data: " + b"x" * 50 * n, 64),
    "an event of many lines": lambda n: partial(feed, SSEReader, b"data: x\n" * n, 64),
    "carriage returns": lambda n: partial(feed, SSEReader, b"\r" * 5 * n, 3),
    "comments and empty data": lambda n: partial(feed, SSEReader, b": x\ndata:\n\n" * n, 64),
    "lines that are none of a stream": lambda n: partial(feed, SSEReader, b"x: y\n" * n, 64),
    "lines of errors": lambda n: partial(feed, SSEReader, b'error: {"a": 1}\n' * n, 64),
    "a long id and many events": lambda n: partial(
        feed, SSEReader, b"id: " + b"x" * 50 * n + b"\n" + b"data: x\n\n" * n, 64
    ),
    "blanks around the end": lambda n: partial(
        feed, SSEReader, b"data:" + b" " * 50 * n + b"[DONE]" + b" " * 50 * n, 64
    ),
    "lines of JSON": lambda n: partial(feed, NDJSONReader, b'{"a": [1, "x"]}\n' * n, 50),
    "one long line of JSON": lambda n: partial(feed, NDJSONReader, b'"' + b"x" * 50 * n + b'"', 64),
    "zeros inflated": lambda n: partial(inflate, gzip.compress(b"\0" * 5000 * n, 1)),
}


JSON = {
    "escapes": lambda n: partial(loads, '{"a":["' + "\\n" * 50 * n + '"' + ",[]" * 300 + "]}"),
    "strings": lambda n: partial(loads, "[" + '"a",' * 20 * n + "[]" + ",[]" * 300 + "]"),
    "brackets in strings": lambda n: partial(loads, "[" + '"[",' * 20 * n + "[]" + ",[]" * 300 + "]"),
    "objects": lambda n: partial(loads, "[" + ",".join(['{"a":{}}'] * 5 * n) + "]"),
    "a string without an end": lambda n: partial(refused, loads, '{"a":[' * 300 + '"' + '\\"' * 50 * n),
    "quotes and backslashes": lambda n: partial(refused, loads, "[" * 300 + '\\\\"\\"' * 20 * n),
    "deep": lambda n: partial(refused, loads, "[" * 100 * n),
    "last commas": lambda n: partial(refused, loads_leniently, "[" + "[1,]," * 10 * n + "]"),
    "commas and blanks": lambda n: partial(refused, loads_leniently, "[1" + ", " * 50 * n + " " * 50 * n),
    "commas in a string": lambda n: partial(refused, loads_leniently, '["' + ",]" * 50 * n),
    "escapes and a last comma": lambda n: partial(loads_leniently, '["' + "\\n" * 50 * n + '",]'),
    "a fence": lambda n: partial(refused, loads_leniently, "```" + "`" * 50 * n + "```"),
    "a fence and blanks": lambda n: partial(refused, loads_leniently, "```" + " " * 50 * n + "```"),
}
ASSEMBLY = {
    "pieces of arguments": lambda n: partial(add_all, [BEGIN, *[piece(arguments="x")] * 5 * n]),
    "pieces that repeat the name": lambda n: partial(add_all, [BEGIN, *[piece(name="f", arguments="x{")] * 5 * n]),
    "escapes in one piece": lambda n: partial(add_all, [BEGIN, *[piece(name="f", arguments="\\n" * 50 * n)] * 2]),
    "many calls": lambda n: partial(add_all, [[{**CALL_PIECE, "index": i, "id": f"c{i}"}] for i in range(2 * n)]),
    "many calls of one index": lambda n: partial(add_all, [[{**CALL_PIECE, "index": 0}]] * 2 * n),
    "a long name": lambda n: partial(add_all, [piece(name="a" * 50 * n + " " * 50 * n)]),
    "a name of marks": lambda n: partial(add_all, [piece(name="functions." * 50 * n)]),
}
THOUGHTS = {
    "thoughts in pieces": lambda n: partial(part, ["<think>", *["x "] * 10 * n, "</think>", *["y"] * 10 * n]),
    "beginnings of marks": lambda n: partial(part, ["<think>", *["</thin"] * 5 * n]),
    "blanks": lambda n: partial(part, [" "] * 10 * n),
    "many sections": lambda n: partial(split_thoughts, "<think>x</think>\n" * 10 * n),
    "many channels": lambda n: partial(
        split_thoughts, "<|channel|>analysis<|message|>x<|end|><|start|>assistant" * 5 * n
    ),
    "marks in code": lambda n: partial(part, ["<think>", *["`</think>` "] * 5 * n]),
    "quotes before an end": lambda n: partial(split_thoughts, "\"'`" * 20 * n + "</think>x"),
    "many lines before an end": lambda n: partial(split_thoughts, "> a\n```\n" * 10 * n + "</think>x"),
    "ends that were opened": lambda n: partial(split_thoughts, "a" + "<think></think>" * 10 * n),
    "blanks before a fence": lambda n: partial(split_thoughts, (" " * 50 * n + "1" * 50 * n) + "</think>x"),
    "backticks of all lengths": lambda n: partial(
        split_thoughts, " ".join("`" * i for i in range(1, 3 * int(n**0.5) * 4)) + "</think>"
    ),
}
VALUES = {
    "a long list": lambda n: partial(read_as, List[Item], [{"name": "x", "values": [1, 2]}] * 2 * n),  # noqa: UP006
    "a list under a long name": lambda n: partial(
        read_as,
        Dict[str, List[int]],  # noqa: UP006
        {"k" * 2000 * n: list(range(10 * n))},
    ),
    "a list under a long name, by a schema": lambda n: partial(
        fitted, {"k" * 2000 * n: list(range(10 * n))}, {"additionalProperties": {"items": {"type": "integer"}}}
    ),
    "one that fits nothing": lambda n: partial(refused, read_as, Union[int, str, bool], [1] * 50 * n),
    "nested names by a schema": lambda n: partial(
        fitted, nested(100, "k" * n), {"additionalProperties": {"$ref": "#"}}
    ),
    "nested that fit nothing": lambda n: partial(
        refused,
        fitted,
        nested(100, "k" * n),
        {
            "$ref": "#/$defs/a",
            "$defs": {"a": {"anyOf": [{"type": "integer"}, {"additionalProperties": {"$ref": "#/$defs/a"}}]}},
        },
    ),
    "a long number": lambda n: partial(refused, fitted, "1" * 50 * n, {"type": "integer"}),
    "a long duration": lambda n: partial(refused, read_as, datetime.timedelta, "P" + "1" * 50 * n),
    "a long date": lambda n: partial(refused, read_as, datetime.datetime, "2024." + "1" * 50 * n),
    "a long decimal": lambda n: partial(read_as, decimal.Decimal, "1" * 20 * n),
    "choices": lambda n: partial(refused, fitted, "x" * 50 * n, {"enum": ["a", "b"]}),
    "unknown members": lambda n: partial(
        refused, read_as, Item, {"name": "x", "values": [], **{f"x{i}": 1 for i in range(5 * n)}}
    ),
    "answers in a text": lambda n: partial(read_answer_as, Item, 'So: {"name": 1} ' * 5 * n),
    "fences in a text": lambda n: partial(read_answer_as, Item, "```json\n{}\n``` " * 5 * n),
    "fences without an end": lambda n: partial(read_answer_as, Item, "```" * 20 * n),
    "an answer without an end": lambda n: partial(read_answer_as, Item, "so " + "[" * 150 + "1, " * 20 * n),
    "an answer that breaks late": lambda n: partial(read_answer_as, Item, "so " + "[" * 150 + "1, " * 20 * n + "x so"),
    "a text without JSON": lambda n: partial(read_answer_as, Item, "{ [ " * 5 * n),
}


def nested(depth, name):
    value: Any = 1
    for _ in range(depth):
        value = {name: value}
    return value


CALLED = '<tool_call>{"name": "f", "arguments": {"a": "%s"}%s}</tool_call>'

TOOLS = {
    "many calls in a text": lambda n: partial(take, CALLED % ("", "") * 2 * n),
    # The first one is long, so that it shows if the lines up to each of the others are counted.
    "many calls that are nearly right": lambda n: partial(
        take, CALLED % ("\n" * 500 * n, "") + CALLED % ("", ",") * 2 * n
    ),
    "a call without an end": lambda n: partial(take, CALLED[:40] + "</tool_call>" * 5 * n),
    "blanks between calls": lambda n: partial(take, CALLED % ("", "") + " " * 50 * n + "x"),
    "calls without marks": lambda n: partial(take, '{"name": "f", "arguments": {"a": "%s"}}\n' * 2 * n),
    "a list of calls that are none": lambda n: partial(take, '[{"name": "f", "function": 7}' * 2 * n),
    "signs of calls": lambda n: partial(search, "<tool_call> `[TOOL_CALLS] ~~~ " * 5 * n),
    "backticks": lambda n: partial(search, "`a\n" * 20 * n + "```"),
    "names of other tools": lambda n: partial(search, '{"name": "g", "arguments": 1, ' * 2 * n),
    "names without quotes": lambda n: partial(search, "tool_code " * 5 * n + "a" * 50 * n),
    "blanks in calls": lambda n: partial(
        search, '"name"' + " " * 100 * n + "tool_code" + "\n" * 100 * n + "Action: g\n"
    ),
    "brackets after a name": lambda n: partial(search, "f(" + ") " * 50 * n + "."),
}
ERRORS = {
    "a token again and again": lambda n: partial(hide, f"{TOKEN[:10]} " * 5 * n, (TOKEN, f"{TOKEN}-2")),
    "a secret of one letter": lambda n: partial(hide, "a" * 50 * n, ("a" * 60, "a" * 11)),
    "escapes": lambda n: partial(hide, "\\n\\u0041%41" * 5 * n, (TOKEN,)),
    "backslashes": lambda n: partial(hide, "\\" * 50 * n, (TOKEN,)),
    "percent signs": lambda n: partial(hide, "%E2%82" * 20 * n, (TOKEN,)),
    "asterisks": lambda n: partial(redact, "a***" * 20 * n + "a" * 50 * n + "***", (TOKEN,)),
    "the beginning of a token": lambda n: partial(redact, TOKEN[:10] * 5 * n, (TOKEN,)),
    "less than that": lambda n: partial(redact, TOKEN[:9] * 5 * n, (TOKEN,)),
    "what a token begins with": lambda n: partial(redact, "sk-l" * 20 * n, (TOKEN,)),
    "a letter of which a secret begins": lambda n: partial(redact, "a" * 50 * n, ("a" * 15 + "b" * 15,)),
    "parts of a long secret": lambda n: partial(redact, ("ab" * 5 + "y") * 5 * n, ("ab" * 2500,)),
    "backslashes and a secret of them": lambda n: partial(redact, "\\" * 50 * n, ("\\" * 20,)),
    "escapes of a secret's letter": lambda n: partial(redact, "%73" * 20 * n, ("s" * 20,)),
    "a recorded stream": lambda n: partial(SECRETS.hide_in_reply, b'data: {"index": 0, "text": "sk-"}' * 5 * n),
    "quotes of a recorded reply": lambda n: partial(SECRETS.hide_in_reply, b'"' * 50 * n + b"\\" * 50 * n),
    "a long URL": lambda n: partial(consume, url_secrets, "http://u:p@h/?" + "a-b=c&" * 10 * n),
    "a long message": lambda n: partial(error, json.dumps({"error": "quoted 'x' \"y\" a/b " * 10 * n})),
    "a long message of Ollama's": lambda n: partial(error, json.dumps({"error": "' \" ` / x" * 10 * n}), ollama_errors),
    "quotes in a message": lambda n: partial(
        error, json.dumps({"error": {"message": "'a " * 20 * n, "code": "x" * n}})
    ),
    "an error in an error": lambda n: partial(error, json.dumps({"error": "{" + '{"error": ' * 20 * n})),
    "an error that is an object": lambda n: partial(error, json.dumps({"error": {"x": ["y"] * 20 * n}})),
    "a page": lambda n: partial(error, "<html><title>" + "<b" * 20 * n, status=502),
    "a page of entities": lambda n: partial(error, "<html><title>" + "&#1" * 20 * n + "</title>", status=502),
    "a page of digits": lambda n: partial(read_answer, 502, {}, "<h1>&#" + "1" * 60 * n + ";</h1>", None),
    "JSON of another kind": lambda n: partial(error, json.dumps({"detail": ["x"] * 20 * n}), status=422),
}
MODELS = {
    "openai's": lambda n: partial(models.openai_models, {"data": [{"id": f"m{i}"} for i in range(n)]}),
    "native": lambda n: partial(
        models.native_models,
        {"models": [{"key": f"m{i}", "type": "llm", "loaded_instances": [{"id": "x"}]} for i in range(n)]},
    ),
    "many instances": lambda n: partial(
        models.native_models,
        {"models": [{"key": "m", "type": "llm", "loaded_instances": [{"id": f"x{i}"} for i in range(n)]}]},
    ),
    "ollama's": lambda n: partial(
        ollama_models.tags_reply,
        {"models": [{"name": f"m{i}", "capabilities": ["completion"]} for i in range(n)]},
        {},
    ),
    "long names": lambda n: partial(close_matches, "abc" * 20 * n, ["acb" * 20 * n, "abd" * 20 * n]),
    "many names": lambda n: partial(close_matches, "model", [f"modem{i}" for i in range(n)]),
    "a name of colons": lambda n: partial(find, models.openai_models({"data": [{"id": ":1" * 50 * n}]}), "m"),
}
VECTORS = {
    "many": lambda n: partial(
        embeddings.embed_reply, {"data": [{"embedding": [0.5, 1], "index": i} for i in range(n)]}, CALL, n
    ),
    "long": lambda n: partial(embeddings.embed_reply, {"data": [{"embedding": [0.5] * 50 * n}]}, CALL, 1),
    "base64": lambda n: partial(embeddings.embed_reply, {"data": [{"embedding": "AAAA" * 20 * n}]}, CALL, 1),
    "wrong": lambda n: partial(refused, embeddings.embed_reply, {"data": [{"embedding": ["x"] * 50 * n}]}, CALL, 1),
    "ollama's": lambda n: partial(ollama.embed_reply, {"embeddings": [[0.5, 1.0]] * n}, CALL, n),
}
STREAMS = {
    "pieces": lambda n: partial(stream, ChatStream, [chat({"index": 0, "delta": {"content": "x"}})] * n),
    "pieces of other choices": lambda n: partial(
        stream, ChatStream, [chat({"index": 1, "delta": {"content": "x"}})] * n
    ),
    "choices in one piece": lambda n: partial(stream, ChatStream, [chat(*[{"index": 1, "delta": {}}] * 10 * n)]),
    "Ollama's calls": lambda n: partial(stream, OllamaStream, [{"message": {"tool_calls": [CALL_PIECE]}}] * n),
    "malformed calls": lambda n: partial(stream, OllamaStream, [{"message": {"tool_calls": ["x" * 50] * 10 * n}}]),
    "a text and many ends of it": lambda n: partial(
        stream, ResponsesStream, [said("delta", "x" * 500 * n), *[said("done", "x")] * n]
    ),
    "pieces, each with an end": lambda n: partial(
        stream, ResponsesStream, [said("delta", "x" * 50), said("done", "x")] * n
    ),
    "an end that goes on with each text": lambda n: partial(
        stream,
        ResponsesStream,
        [*(said("delta", f"a{i} ", i) for i in range(n)), ended([f"b{i} " for i in range(n)])],
    ),
    "many calls of responses": lambda n: partial(
        stream,
        ResponsesStream,
        [typed("response.output_item.done", output_index=i, item=CALLED_ITEM) for i in range(n)],
    ),
    "pieces of arguments of responses": lambda n: partial(
        stream, ResponsesStream, [typed("response.function_call_arguments.delta", delta="{", output_index=0)] * n
    ),
    "blocks of messages": lambda n: partial(
        stream,
        MessagesStream,
        [typed("content_block_start", index=i, content_block={"type": "tool_use", "name": "f"}) for i in range(n)],
    ),
    "pieces of messages": lambda n: partial(
        stream, MessagesStream, [typed("content_block_delta", delta={"type": "text_delta", "text": "x"})] * n
    ),
    "native pieces of two kinds": lambda n: partial(
        stream, NativeAssembly, [typed("message.delta", content="x"), typed("reasoning.delta", content="y")] * n
    ),
    "native calls": lambda n: partial(
        stream, NativeAssembly, [typed("tool_call.success", tool="f", arguments={"a": 1}, output="x")] * n
    ),
}
CASES = {
    f"{kind}: {name}": case
    for kind, cases in (
        ("reader", READERS), ("json", JSON), ("calls", ASSEMBLY), ("thoughts", THOUGHTS), ("values", VALUES),
        ("tools", TOOLS), ("errors", ERRORS), ("models", MODELS), ("streams", STREAMS), ("vectors", VECTORS),
    )
    for name, case in cases.items()
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_garbage_collector():
    """The collector's time grows faster than the number of objects, whoever made them."""
    gc.disable()
    yield
    gc.enable()


def seconds(action):
    start = time.process_time()
    action()
    return time.process_time() - start


def peak(action):
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def check(make):
    """Fail if four times the input takes more than six times the time, in each of several tries, or the memory.

    Each try is with twice the input of the one before: what grows too fast shows the more.
    """
    size, times = 25, []
    while seconds(make(size)) < 0.001 and size < 5_000:
        size *= 2
    for attempt in range(TRIES):
        small, large = make(size << attempt), make(FACTOR * size << attempt)
        # A pause in the first would hide the time of the second; a pause in the second leads to another try.
        before, after = min(seconds(small) for _ in range(3)), seconds(large)
        times.append((before, after))
        if after <= MOST * before:
            break
    else:
        pytest.fail(f"{FACTOR} times the input takes more than {MOST} times the time: {times}")
    before, after = peak(make(max(size // FACTOR, 10))), peak(make(size))  # counting makes it several times slower
    assert after <= MOST * max(before, 30_000), f"{before} bytes became {after}"


@pytest.mark.filterwarnings("ignore::lmstudio_provider.ToolCallWarning")
@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_four_times_the_input_takes_about_four_times_as_much(make):
    check(make)


def read_partly(type_, texts):
    """Read the partial answer after each text."""
    answer, growing = structure_of(type_).partial(), GrowingText()
    for text in texts:
        growing.add(text)
        answer.read(growing)


ANSWER = '{"name": "x", "values": [1, 2]}, '
PARTIAL = {
    "many items": lambda n: partial(read_partly, List[Item], ["[", *[ANSWER] * n]),  # noqa: UP006
    "an answer in single characters": lambda n: partial(read_partly, List[Item], "[" + ANSWER * n),  # noqa: UP006
    "all in one": lambda n: partial(read_partly, List[Item], ["[" + ANSWER * 5 * n]),  # noqa: UP006
    "a long text": lambda n: partial(read_partly, Item, ['{"name": "', *["xy"] * 20 * n]),
    "a long text of escapes": lambda n: partial(read_partly, Item, ['{"name": "', *["\\", '"'] * 20 * n]),
    "a long item": lambda n: partial(read_partly, List[Item], ['[{"values": [', *["1, "] * 20 * n]),  # noqa: UP006
    "a long number": lambda n: partial(read_partly, List[int], ["[", *["1"] * 20 * n, ",", *["1"] * 20 * n]),  # noqa: UP006
    "objects in objects": lambda n: partial(read_partly, ANY_JSON, '{"a":' * 20 * n),
    "arrays in arrays": lambda n: partial(read_partly, List[Any], "[" * 20 * n),  # noqa: UP006
    "many arrays": lambda n: partial(
        read_partly,
        Dict[str, List[Item]],  # noqa: UP006
        ["{", *(f'"{i}": [{ANSWER}], ' for i in range(n))],
    ),
    "many beginnings": lambda n: partial(read_partly, ANY_JSON, "{x} {'a': [" * 20 * n),
    "beginnings in one string": lambda n: partial(read_partly, Item, ['{ "', *["{"] * 20 * n, '"', "{" * 20 * n]),
    "beginnings that break late": lambda n: partial(read_partly, List[Item], ["[" * 20 * n, "x]" * 20 * n]),  # noqa: UP006
    "beginnings in a long text": lambda n: partial(read_partly, Item, ["{{" * 20 * n + "{x: {" * 20 * n]),
    "many answers": lambda n: partial(read_partly, Item, [ANSWER] * 5 * n),
    "words before it": lambda n: partial(read_partly, Item, ["so "] * 20 * n),
}


@pytest.mark.parametrize("make", PARTIAL.values(), ids=PARTIAL)
def test_reading_the_partial_answer_after_each_piece_takes_linear_time_in_all(make):
    check(make)


TEXTS = {
    "escapes": (loads, '["' + "\\n" * 10_000 + '"' + ",[]" * 300 + "]"),
    "strings": (loads, "[" + '"[",' * 4_000 + "[]" + ",[]" * 300 + "]"),
    "objects": (loads, "[" + ",".join(['{"a":1}'] * 2_000) + "]"),
    "escapes and a last comma": (loads_leniently, '["' + "\\n" * 10_000 + '",]'),
    "a secret": (lambda text: hide(text, (TOKEN,)), f"{TOKEN[:10]}\\n" * 2_000),
    "escapes and a secret": (lambda text: hide(text, (TOKEN,)), "\\n" * 8_000),
    "quotes before an end": (split_thoughts, "\"'`" * 3_000 + "</think>x"),
}


@pytest.mark.parametrize(("function", "text"), TEXTS.values(), ids=TEXTS)
def test_reading_a_text_takes_memory_in_proportion_to_its_size(function, text):
    result = peak(partial(json.loads, text)) if function is loads else 0
    assert peak(partial(function, text)) <= result + 12 * len(text) + 100_000


TURN = '{"role": "user", "content": "Hi \\n"}, {"role": "assistant", "content": "Ho"}'
INI = {
    "many values": lambda n: "[lmstudio]\n" + "model_a%d = x\n" * n % tuple(range(n)),
    "a long value": lambda n: "[lmstudio]\nmodel = " + "x" * 50 * n,
    "a value of many lines": lambda n: "[lmstudio]\nmodel = x\n" + "  y\n" * 10 * n,
    "a line of blanks": lambda n: "[lmstudio]\nmodel" + " " * 5 * n + "x",
    "blanks in a value": lambda n: "[lmstudio]\nmodel = a" + " " * 50 * n + "x",
    "comments": lambda n: "[lmstudio]\n" + "# x\n" * 20 * n + "model = x",
    "sections": lambda n: "".join(f"[s{i}]\na = b\n" for i in range(2 * n)),
}


@pytest.mark.parametrize("content", [TURN, TURN.replace("Hi", "\\u0041" * 20)])
def test_a_conversation_is_loaded_in_linear_time(content, tmp_path):
    def make(n):
        path = tmp_path / f"{n}.json"
        path.write_text('{"messages": [' + ", ".join([content] * n) + "]}")
        return lambda: Conversation(Plugin()).load(path)

    check(make)


@pytest.mark.parametrize("budget", [None, 1000])
def test_the_messages_of_a_conversation_are_listed_and_saved_in_linear_time(budget, tmp_path):
    def make(n):
        path = tmp_path / "source.json"
        path.write_text('{"messages": [' + ", ".join([TURN] * n) + "]}")
        conversation = Conversation(Plugin(), token_budget=budget).load(path)
        return lambda: (conversation.messages, conversation.save(tmp_path / "saved.json"))

    check(make)


@pytest.mark.parametrize("make_text", INI.values(), ids=INI)
def test_settings_are_read_in_linear_time(make_text, tmp_path, monkeypatch):
    def make(n):
        path = tmp_path / f"{n}.ini"
        path.write_text(make_text(n))

        def action():
            monkeypatch.setenv("LM_STUDIO_CONFIG", str(path))
            refused(Settings(LMStudioProvider._names, {}, None).model, None)

        return action

    check(make)
