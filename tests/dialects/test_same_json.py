import dataclasses
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import for_each

from lmstudio_provider import Limits, ProviderError
from lmstudio_provider._core.types import Call, Stats
from lmstudio_provider._dialects.errors import ErrorContext
from lmstudio_provider._dialects.json_text import SameJSON
from lmstudio_provider._dialects.ollama import DIALECT, OllamaStream
from lmstudio_provider._dialects.openai import ChatStream
from lmstudio_provider._http.readers import Event


def only_text(value):
    """Return the text at the place that counts, if nothing else is said."""
    return None if value.get("end") else value["choices"][0]["delta"]["content"]


def event(content, **more):
    return json.dumps({"id": "1", "choices": [{"delta": {"role": "assistant", "content": content}}], **more})


def learned(data):
    same = SameJSON(only_text)
    same.learn(data, only_text(json.loads(data)))
    return same


@for_each(
    "literal",
    [
        '"a"',
        '""',
        '"assistant"',
        r'"\u00fc\n\t\"\\\/"',
        r'"\ud83d\ude00"',
        r'"\udE00 "',
        '"\u2028\x85\ufeff\U0001f600"',
        r'"\\\" , \"content\": \"b"',
        '"' + "[{" * 300 + '"',
    ],
)
def test_the_text_of_an_event_that_is_the_same_otherwise_is_decoded_as_json_decodes_it(literal):
    data = event("first").replace('"first"', literal)
    assert learned(event("first")).text_of(data) == only_text(json.loads(data))


@for_each("literal", [r'"\ud83d"', r'"a\uD83D"', r'"\udE00\udbff"'])
def test_a_text_that_ends_in_half_a_character_is_read_with_the_next_event(literal):
    assert not learned(event("first")).text_of(event("first").replace('"first"', literal))


def test_nothing_is_the_same_before_an_event_has_come():
    assert SameJSON(only_text).text_of(event("a")) == ""


@for_each(
    "data",
    [
        event("a", id="2"),
        event("a", more=1),
        event("a", end=True),
        event("a", choices=[]),
        event("a") + " ",
        " " + event("a"),
        event("a")[:-1],
        event("a").replace('"a"', "null"),
        event("a").replace('"a"', '"a'),
        event("a").replace('"a"', 'a"'),
        event("a").replace('"a"', '"a""b"'),
        event("a").replace('"a"', '"a", "content": "b"'),
        event("a").replace('"a"', '"a"}}], "end": [{"delta": {"content": "b"'),
        event("a").replace('"a"', '"line\nbreak"'),
        event("a").replace('"a"', r'"\x"'),
        event("a").replace('"a"', r'"\ud8"'),
        event("a").replace('"a"', '"a\\"'),
        event("").replace('""', '"'),
        "",
        "[DONE]",
    ],
)
def test_an_event_that_differs_in_anything_else_is_not_the_same(data):
    assert learned(event("first")).text_of(data) == ""


@for_each(
    "data",
    [
        '{"content": "a", "choices": [{"delta": {"content": "a"}}]}',
        '{"choices": [{"message": {"content": "a"}, "delta": {"content": "a"}}]}',
        '{"choices": [{"delta": {"content": "a", "content": "a"}}]}',
        '{"choices": [{"delta": {"x\\"content": "a", "content": "a"}}]}',
        '{"choices": [{"delta": {"content" : "a"}}]}',
        '{"choices": [{"delta": {"c\\u006fntent": "a"}}]}',
    ],
)
def test_a_string_that_only_looks_like_the_text_is_not_taken_for_it(data):
    same = learned(data)
    assert same.text_of(data) == ""
    assert same.text_of(data.replace('"a"', '"b"', 1)) == ""


def test_the_last_of_several_members_counts_wherever_it_stands():
    data = '{"choices": [{"delta": {"content": "a"}}], "x": 1, "x": {"content": "a"}}'
    assert learned(data).text_of(data.replace('"a"', '"b"', 1)) == "b"


def test_another_event_is_learned_as_well():
    same = learned(event("a", id="1"))
    same.learn(event("b", id="2"), "b")
    assert same.text_of(event("c", id="2")) == "c"
    assert same.text_of(event("c", id="1")) == ""


def test_events_that_are_always_different_are_no_longer_learned():
    same = SameJSON(only_text)
    for number in range(100):
        same.learn(event("a", id=number), "a")
    assert same.text_of(event("b", id=99)) == ""


def test_events_that_change_now_and_then_are_learned_for_ever():
    same = SameJSON(only_text)
    for number in range(100):
        same.learn(event("a", created=number), "a")
        assert same.text_of(event("b", created=number)) == "b"


# Lines that have another time each.


def line(content, time="2026-03-01T09:12:33.48291507Z", before=(), **more):
    return json.dumps({**dict(before), "time": time, "message": {"content": content}, **more})


def learned_line(data, text="first"):
    same = SameJSON(lambda value: None if value.get("end") else value["message"]["content"], "time")
    same.learn(data, text)
    return same


@for_each("time", ["2026-03-01T09:12:34Z", "", "soon"])
def test_a_line_with_another_time_is_the_same_otherwise(time):
    assert learned_line(line("first")).text_of(line("a", time)) == "a"
    assert learned_line(line("first")).text_of(line("\n", time)) == "\n"


@for_each(
    "data",
    [
        line("a", end=True),
        line("a", before={"x": 1}),
        line("a", time=7),
        line("a", time='"'),
        line("a", time="\\"),
        line("a").replace("Z", "\x01"),
        line("a").replace('Z"', 'Z", "end": "'),
        line("a").replace('Z"', 'Z", "message": {"content": "b"}, "end": "1"'),
        line("a").replace('Z"', ""),
        line("a").replace('"a"', '"a", "x": "b"'),
        line("a").replace('"a"', "null"),
        line("a").replace("content", "thinking"),
        json.dumps({"time": "1"}),
    ],
)
def test_a_line_that_differs_in_more_than_its_time_and_text_is_not_the_same(data):
    assert learned_line(line("first")).text_of(data) == ""


def test_a_line_without_a_time_is_learned_as_it_is():
    same = learned_line('{"message": {"content": "first"}}')
    assert same.text_of('{"message": {"content": "a"}}') == "a"
    assert same.text_of(line("a")) == ""


def test_a_time_after_the_text_does_not_count():
    data = json.dumps({"message": {"content": "first"}, "time": "1"})
    assert learned_line(data).text_of(data.replace("first", "a")) == "a"
    assert learned_line(data).text_of(data.replace('"1"', '"2"')) == ""


def test_a_time_inside_the_text_is_text():
    same, text = learned_line(line("first")), '", "time": "2", "message": {"content": "'
    assert same.text_of(line(text)) == text


# Streams of which many events are the same except for their text.

CALL = {"index": 0, "id": "call_1", "function": {"name": "now", "arguments": "{}"}}
HEADS = [
    '{"id":"1","model":"m","choices":[{"index":0,"finish_reason":null,"delta":{"role":"assistant","content":',
    '{"id":"2","model":"n","choices":[{"index":0,"finish_reason":null,"delta":{"role":"assistant","content":',
    '{"id": "1", "model": "m", "choices": [{"delta": {"content": ',
    '{"id":"1","model":"m","choices":[{"index":1,"delta":{"content":',
    '{"id":"1","model":"m","choices":[{"index":0,"delta":{"reasoning_content":"hm","content":',
    '{"id":"1","model":"m","choices":[{"index":0,"finish_reason":"stop","delta":{"content":',
    '{"id":"1","model":"m","choices":[{"message":{"content":"a"},"delta":{"content":',
    '{"id":"1","model":"m","usage":{"prompt_tokens":3,"completion_tokens":4},"choices":[{"delta":{"content":',
    '{"id":"1","model":"m","content":"a","choices":[{"delta":{"content":',
    f'{{"id":"1","model":"m","choices":[{{"delta":{{"tool_calls":[{json.dumps(CALL)}],"content":',
    '{"choices":[{"delta":{"content":',
]  # fmt: skip
TEXTS = [
    '"a"', '"assistant"', '""', '" b"', '"<think>"', '"</think>"', r'"\ud83d"', r'"\ude00"', r'"\u00e9\n"', "null", "7",
    '"x', r'"\x"', '"a","content":"b"', '"a"}}],"error":"no","more":[{"a":{"b":"c"',
    '"a"},"finish_reason":"length","x":{"b":"c"',
]  # fmt: skip
TAILS = [
    "}}]}",
    '},"logprobs":null}]}',
    '}}],"error":null}',
    '}}],"error":true}',
    '}}],"error":{"message":"out of memory"}}',
    '}}],"object":"error"}',
    '}}],"stats":{"stop_reason":"eosFound"}}',
    '},"index":2}]}',
    '},"finish_reason":"stop"}]}',
    "",
]
OTHERS = [
    "[DONE]",
    "",
    "{}",
    "[]",
    "nothing",
    '{"choices":[]}',
    '{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}',
    '{"choices":[{"delta":{},"finish_reason":"stop"}]}',
    '{"detail":"no"}',
]
PLAIN = ['"a"', '"b"', '" c"', r'"\n"']


@st.composite
def streams(draw):
    """Draw a stream that begins with events that are the same except for their text."""
    head = draw(st.sampled_from(HEADS[:3] * 6 + HEADS))
    tail = draw(st.sampled_from(TAILS[:3] * 6 + TAILS))
    plain, tricky = (st.sampled_from(texts).map(lambda text: head + text + tail) for texts in (PLAIN, TEXTS))
    begin = draw(st.lists(plain, min_size=2, max_size=4))
    other = st.tuples(st.sampled_from(HEADS), st.sampled_from(TEXTS), st.sampled_from(TAILS)).map("".join)
    retailed = st.sampled_from(TAILS).map(lambda other: head + PLAIN[0] + other)
    more = draw(st.lists(st.one_of(plain, plain, tricky, retailed, other, st.sampled_from(OTHERS)), max_size=8))
    kinds = st.sampled_from(["message"] * 10 + ["error", "delta"])
    return [("message", data) for data in begin] + [(draw(kinds), data) for data in more]


def outcome(stream, events):
    """Return the chunks of ``events``, the error at which they end, if any, and the completion."""
    came = []
    try:
        for event in events:
            came.append(stream.feed(event))
        came += stream.finish()
    except ProviderError as error:
        came.append((type(error), re.sub(r"[\d\s…']", "", str(error))))  # the blanks change the position of the error
    return came, stream.done, stream.ended, dataclasses.replace(stream.completion(), stats=Stats())


def outcome_of_events(events):
    stream = ChatStream(Call("POST", "/", b"", "asked"), ErrorContext("asked"), 0.0)
    return outcome(stream, (Event(kind, data) for kind, data in events))


@pytest.mark.slow
@settings(max_examples=200)
@given(streams())
def test_a_stream_means_the_same_as_one_whose_events_all_differ_in_their_blanks(events):
    different = [(kind, data + " " * number * data.startswith("{")) for number, (kind, data) in enumerate(events)]
    assert outcome_of_events(events) == outcome_of_events(different)


# The same for the lines of Ollama.

LINE_HEADS = [
    '{"model":"m","created_at":"%s","message":{"role":"assistant","content":',
    '{"model": "n", "created_at": "%s", "message": {"role": "assistant", "content": ',
    '{"message":{"role":"assistant","content":',
    '{"created_at":"%s","message":{"role":"assistant","content":',
    '{"model":7,"created_at":"%s","message":{"role":"assistant","content":',
    '{"model":"m","created_at":"%s","response":',
    '{"model":"m","created_at":"%s","error":"no","message":{"role":"assistant","content":',
    '{"model":"m","created_at":"%s","message":{"role":"assistant","thinking":"hm","content":',
    '{"model":"m","message":{"role":"assistant","created_at":"%s","content":',
    '{"model":"m","created_at":"%s","content":"a","message":{"role":"assistant","content":',
]
LINE_TAILS = [
    '},"done":false}',
    "}}",
    '},"created_at":"2"}',
    '},"done":true,"done_reason":"stop","eval_count":3}',
    ',"thinking":"hm"},"done":false}',
    ',"tool_calls":["bad"]},"done":false}',
    '},"error":"out of memory"}',
    '},"message":{"role":"assistant","content":"c"}}',
    "",
]
TIMES = ["1", "2", "", r"\u0031", r"\x", '"', '1","error":"no', '1","message":{"role":"assistant","content":"b"},"x":"']


@st.composite
def line_streams(draw):
    """Draw a stream that begins with lines that are the same except for their time and text."""
    head = draw(st.sampled_from(LINE_HEADS[:2] * 6 + LINE_HEADS))
    tail = draw(st.sampled_from(LINE_TAILS[:2] * 6 + LINE_TAILS))

    def lines(heads, texts, tails, times):
        parts = st.tuples(*map(st.sampled_from, (heads, texts, tails, times)))
        return parts.map(lambda part: part[0].replace("%s", part[3]) + part[1] + part[2])

    plain = lines([head], PLAIN, [tail], TIMES[:2])
    others = [lines([head], TEXTS, [tail], TIMES), lines(LINE_HEADS, TEXTS, LINE_TAILS, TIMES[:2])]
    others += [lines([head], PLAIN, LINE_TAILS, TIMES), st.sampled_from(["", "{}", "[]", "nothing", '{"done":true}'])]
    return draw(st.lists(plain, min_size=2, max_size=4)) + draw(st.lists(st.one_of(plain, plain, *others), max_size=8))


def outcome_of_lines(lines):
    stream = OllamaStream(Call("POST", "/", b"", "asked"), ErrorContext("asked"), 0.0)
    return outcome(stream, DIALECT.reader(Limits()).feed("".join(f"{each}\n" for each in lines).encode()))


@pytest.mark.slow
@settings(max_examples=200)
@given(line_streams())
def test_a_stream_of_lines_means_the_same_as_one_whose_lines_all_differ_in_their_blanks(lines):
    different = [each + " " * number * each.startswith("{") for number, each in enumerate(lines)]
    assert outcome_of_lines(lines) == outcome_of_lines(different)
