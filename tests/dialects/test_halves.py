"""A character beyond U+FFFF that JSON escapes as two halves, of which the second comes in the next piece."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from tables import for_each

from lmstudio_provider import Limits
from lmstudio_provider._core.growing_text import GrowingText, with_pairs
from lmstudio_provider._core.types import Call
from lmstudio_provider._dialects import messages, ollama, openai, responses
from lmstudio_provider._dialects.errors import ErrorContext
from lmstudio_provider._http.readers import SSEReader
from lmstudio_provider._native.events import MessageDelta, ReasoningDelta
from lmstudio_provider._native.events_reader import NativeAssembly

CALL = Call("POST", "/x", b"", "m", ("f",))
HEAD = {"id": "1", "model": "m"}


def units(text):
    """Return the text as its UTF-16 units: halves are lone surrogates."""
    data = text.encode("utf-16-le", "surrogatepass")
    return [data[at : at + 2].decode("utf-16-le", "surrogatepass") for at in range(0, len(data), 2)]


def lines(values, upper=False):
    for value in values:
        text = json.dumps(value)
        yield text.replace("\\ud8", "\\uD8").replace("\\ude", "\\uDE") if upper else text


def sse(values, upper=False):
    return "".join(f"data: {line}\n\n" for line in lines(values, upper)).encode()


def ndjson(values, upper=False):
    return "".join(f"{line}\n" for line in lines(values, upper)).encode()


def read(accumulator, reader, data):
    """Return the text and the reasoning of the chunks, which are those of the completion, and the completion."""
    stream = accumulator(CALL, ErrorContext("m"), 0.0)
    chunks = [chunk for event in reader.feed(data) if (chunk := stream.feed(event))]
    chunks += stream.finish()
    completion = stream.completion()
    said = "".join(chunk.delta for chunk in chunks), "".join(chunk.reasoning for chunk in chunks)
    assert said == (completion.text, completion.reasoning)
    return *said, completion


def choice(finish_reason=None, **delta):
    return {**HEAD, "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def of_chat(texts, reasoning=()):
    thoughts = [choice(reasoning_content=each) for each in reasoning]
    return sse([*thoughts, *(choice(content=each) for each in texts), choice("stop")])


def of_chat_in_upper_case(texts, reasoning=()):
    thoughts = [choice(reasoning=each) for each in reasoning]
    return sse([*thoughts, *(choice(content=each) for each in texts), choice("stop")], upper=True)


def of_chat_with_marks(texts, reasoning=()):
    marked = ["<think>", *reasoning, "</think>"] if reasoning else []
    return sse([*(choice(content=each) for each in [*marked, *texts]), choice("stop")])


def of_text(texts, reasoning=()):
    ends = [*[None] * (len(texts) - 1), "stop"]
    return sse([{"choices": [{"text": each, "finish_reason": end}]} for each, end in zip(texts, ends)])


def of_responses(texts, reasoning=()):
    events = []
    for index, (kind, pieces) in enumerate((("reasoning", reasoning), ("output", texts))):
        place = {"output_index": index, "content_index": 0}
        name, whole = f"response.{kind}_text", with_pairs("".join(pieces))
        events += [{"type": f"{name}.delta", **place, "delta": each} for each in pieces]
        events.append({"type": f"{name}.done", **place, "text": whole})
    output = [{"type": "message", "content": [{"type": "output_text", "text": with_pairs("".join(texts))}]}]
    return sse([*events, {"type": "response.completed", "response": {"status": "completed", "output": output}}])


def of_messages(texts, reasoning=()):
    deltas = [{"type": "thinking_delta", "thinking": each} for each in reasoning]
    deltas += [{"type": "text_delta", "text": each} for each in texts]
    events = [{"type": "content_block_delta", "index": 0, "delta": each} for each in deltas]
    return sse([*events, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, {"type": "message_stop"}])


def line(content="", thinking="", **more):
    message = {"role": "assistant", "content": content, **({"thinking": thinking} if thinking else {})}
    return {"model": "m", "created_at": "2026-03-01T09:12:33Z", "message": message, "done": False, **more}


def of_ollama_chat(texts, reasoning=()):
    thoughts = [line(thinking=each) for each in reasoning]
    return ndjson([*thoughts, *map(line, texts), line(done=True, done_reason="stop")])


def of_ollama_text(texts, reasoning=()):
    return ndjson([*({"model": "m", "response": each} for each in texts), {"response": "", "done": True}])


def ndjson_reader():
    return ollama.reader(Limits())


def sse_reader():
    return SSEReader(Limits())


WITHOUT_REASONING = [
    (openai.ChatStream, sse_reader, of_text),
    (ollama.OllamaStream, ndjson_reader, of_ollama_text),
]
WITH_REASONING = [
    (openai.ChatStream, sse_reader, of_chat),
    (openai.ChatStream, sse_reader, of_chat_in_upper_case),
    (openai.ChatStream, sse_reader, of_chat_with_marks),
    (responses.ResponsesStream, sse_reader, of_responses),
    (messages.MessagesStream, sse_reader, of_messages),
    (ollama.OllamaStream, ndjson_reader, of_ollama_chat),
]


@for_each(("accumulator", "reader", "body"), WITH_REASONING + WITHOUT_REASONING)
@for_each("before", [[], ["a", "b", "c\n"]], ids=len)
def test_the_halves_of_a_character_are_joined_in_the_text(accumulator, reader, body, before):
    pieces = [*before, "Hi \ud83d", "\ude00!", "\n\ud83d", "\ude00\ud83d", "\ude00", "."]
    assert read(accumulator, reader(), body(pieces))[0] == "".join([*before, "Hi 😀!\n😀😀."])


@for_each(("accumulator", "reader", "body"), WITH_REASONING)
def test_the_halves_of_a_character_are_joined_in_the_reasoning(accumulator, reader, body):
    text, reasoning, _ = read(accumulator, reader(), body(["Yes", " \ud83d", "\ude00"], ["hm \ud83d", "\ude00", "."]))
    assert (text, reasoning) == ("Yes 😀", "hm 😀.")


@for_each(("accumulator", "reader", "body"), WITH_REASONING + WITHOUT_REASONING)
@for_each("pieces", [["a\ud83d"], ["a\ud83d", "b"], ["\ude00"], ["\ude00", "\ud83d"], ["\ud83d", "\ud83d", "\ude00"]])
def test_a_half_that_stays_alone_is_not_lost(accumulator, reader, body, pieces):
    assert read(accumulator, reader(), body(pieces))[0] == with_pairs("".join(pieces))


def test_a_half_waits_while_the_reply_says_something_else():
    events = [choice(content="a\ud83d"), choice(reasoning="hm\ud83d"), choice(content="\ude00"), choice(reasoning="x")]
    text, reasoning, _ = read(openai.ChatStream, sse_reader(), sse([*events, choice("stop")]))
    assert (text, reasoning) == ("a😀", "hm\ud83dx")


def test_a_half_at_the_end_of_a_broken_stream_is_in_what_came():
    stream = openai.ChatStream(CALL, ErrorContext("m"), 0.0)
    for event in sse_reader().feed(sse([choice(content="a\ud83d")])):
        stream.feed(event)
    assert stream.completion().text == "a\ud83d"


@given(st.data())
def test_a_text_that_is_cut_anywhere_is_the_same(data):
    text = data.draw(st.text("ab😀🌍é\n<", min_size=1, max_size=20))
    parts, pieces = units(text), []
    while parts:
        size = data.draw(st.integers(1, 4))
        pieces.append("".join(map(with_pairs, ["".join(parts[:size])])))
        parts = parts[size:]
    for accumulator, reader, body in WITH_REASONING + WITHOUT_REASONING:
        assert read(accumulator, reader(), body(pieces))[0] == text


ARGUMENTS = ['{"city": "\ud83d', '\ude00"}']


def of_chat_call():
    pieces = [{"index": 0, "function": {"arguments": each}} for each in ARGUMENTS]
    return sse([choice(tool_calls=[{"index": 0, "id": "1", "function": {"name": "f"}}]),
                *(choice(tool_calls=[each]) for each in pieces), choice("tool_calls")])  # fmt: skip


def of_messages_call():
    block = {"type": "tool_use", "id": "1", "name": "f", "input": {}}
    deltas = [{"type": "input_json_delta", "partial_json": each} for each in ARGUMENTS]
    events = [{"type": "content_block_start", "index": 0, "content_block": block}]
    events += [{"type": "content_block_delta", "index": 0, "delta": each} for each in deltas]
    return sse([*events, {"type": "message_delta", "delta": {"stop_reason": "tool_use"}}, {"type": "message_stop"}])


def of_responses_call():
    item = {"type": "function_call", "call_id": "1", "name": "f", "arguments": ""}
    place, name = {"output_index": 0, "item_id": "i"}, "response.function_call_arguments"
    events = [{"type": "response.output_item.added", "output_index": 0, "item": item}]
    events += [{"type": f"{name}.delta", **place, "delta": each} for each in ARGUMENTS]
    events.append({"type": f"{name}.done", **place, "arguments": '{"city": "😀"}'})
    return sse([*events, {"type": "response.completed", "response": {"status": "completed"}}])


@for_each(
    ("accumulator", "body"),
    [
        (openai.ChatStream, of_chat_call),
        (messages.MessagesStream, of_messages_call),
        (responses.ResponsesStream, of_responses_call),
    ],
)
def test_the_halves_of_a_character_are_joined_in_arguments(accumulator, body):
    _, _, completion = read(accumulator, sse_reader(), body())
    assert [call.raw_arguments for call in completion.tool_calls] == ['{"city": "😀"}']


def test_the_halves_of_a_character_are_joined_in_the_native_api():
    assembly = NativeAssembly(CALL, ErrorContext("m"), 0.0)
    values = [("reasoning", "hm \ud83d"), ("reasoning", "\ude00"), ("message", "Hi \ud83d"), ("message", "\ude00!"),
              ("message", "\ud83d")]  # fmt: skip
    data = sse([{"type": f"{kind}.delta", "content": content} for kind, content in values])
    made = [assembly.feed(event) for event in sse_reader().feed(data)]
    assert [type(each) for each in made] == [ReasoningDelta] * 2 + [MessageDelta] * 3
    assert [each.content for each in made] == ["hm ", "😀", "Hi ", "😀!", ""]
    completion = assembly.completion()
    assert (completion.text, completion.reasoning) == ("Hi 😀!\ud83d", "hm 😀")


def test_a_piece_without_a_half_is_the_same_object():
    text, piece = GrowingText(), "".join(["Hi 😀", "!"])
    assert text.mended(piece) is piece
