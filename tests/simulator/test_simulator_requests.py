"""The stand-in refuses a request as LM Studio does, or follows it."""

import base64
import json

import pytest
from plain_http import CHAT, HI, ask, chat_reply
from tables import for_each

from lmstudio_provider.simulator import SimulatedLMStudio

PNG, JPEG, WEBP = b"\x89PNG\r\n\x1a\nrest", b"\xff\xd8\xff\xe0rest", b"RIFF\x00\x00\x00\x00WEBPrest"
BAD_MESSAGES = {"error": "Invalid 'messages' in payload. Please check the structure of your 'messages' and try again"}


def data_url(image, kind="image/png"):
    return f"data:{kind};base64,{base64.b64encode(image).decode()}"


def image_message(url):
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    return {"role": "user", "content": parts}


def refusal(body, path=CHAT):
    with SimulatedLMStudio() as server:
        status, headers, data = ask(server, "POST", path, body)
    assert (status, headers["Content-Type"]) == (400, "application/json; charset=utf-8")
    return data


@for_each("stream", [False, True])
@for_each("form", [{"type": "json_object"}, {"type": None}, {}, "text"])
def test_a_response_format_that_lm_studio_does_not_know_is_refused(sample, form, stream):
    data = refusal({"messages": HI, "response_format": form, "stream": stream})
    assert data == sample("errors/response_format.json").rstrip()


def test_a_tool_choice_that_names_a_function_is_refused(sample):
    choice = {"type": "function", "function": {"name": "f"}}
    assert refusal({"messages": HI, "tool_choice": choice}) == sample("errors/tool_choice.json").rstrip()


@for_each(
    "message",
    [
        {"role": "user"},
        {"role": "user", "content": None},
        {"role": "user", "content": 5},
        {"role": "user", "content": ["Hi"]},
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f"}}]},
    ],
)
def test_a_message_without_content_is_refused_at_any_position(sample, message):
    assert refusal({"messages": [message, *HI]}) == sample("errors/message_content.json").rstrip()


@for_each(
    "url",
    [
        "https://example.com/a.png",
        base64.b64encode(PNG).decode(),
        "data:image/png,rest",
        "data:image/png;base64,%%%",
        data_url(WEBP, "image/webp"),
        data_url(WEBP),
        data_url(b""),
        None,
    ],
)
def test_an_image_that_is_not_png_or_jpeg_in_base64_is_refused(sample, url):
    assert refusal({"messages": [image_message(url)]}) == sample("errors/image_url.json").rstrip()


@pytest.mark.parametrize("url", [data_url(PNG), data_url(JPEG, "image/jpeg")])
def test_png_and_jpeg_are_accepted(url):
    with SimulatedLMStudio() as server:
        reply = chat_reply(server, [image_message(url)])
    assert reply["choices"][0]["message"]["content"].endswith("You said: What is this? [image]")


@for_each("call", [{"id": ""}, {"id": None}, {}, "call"])
def test_a_tool_call_without_an_id_is_refused(call):
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}, **call} if call != "call" else call
    messages = [*HI, {"role": "assistant", "content": "", "tool_calls": [call]}]
    assert json.loads(refusal({"messages": messages})) == BAD_MESSAGES


@for_each("messages", ["Hi", {"role": "user"}, ["Hi"], [None]])
def test_messages_that_are_not_a_list_of_objects_are_refused(messages):
    assert json.loads(refusal({"messages": messages})) == BAD_MESSAGES


def test_a_stop_text_ends_a_reply_before_its_calls():
    with SimulatedLMStudio(replies={"content": "one two", "tool_calls": [{"name": "f"}]}) as server:
        choice = chat_reply(server, stop="two")["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("one ", "stop")
    assert choice["message"]["tool_calls"] == []


def test_an_effort_of_null_does_not_ask_for_reasoning():
    with SimulatedLMStudio() as server:
        reply = chat_reply(server, reasoning_effort=None)
    assert "reasoning_content" not in reply["choices"][0]["message"]


def test_a_completion_takes_only_the_text_of_a_reply():
    replies = {"content": "abc", "reasoning_content": "a b c", "tool_calls": [{"name": "f"}]}
    with SimulatedLMStudio(replies=replies) as server:
        _, _, data = ask(server, "POST", "/v1/completions", {"prompt": "x", "max_tokens": 3})
    reply = json.loads(data)
    assert (reply["choices"][0]["text"], reply["choices"][0]["finish_reason"]) == ("abc", "stop")
    assert reply["usage"]["completion_tokens"] == 1


@pytest.mark.parametrize(("path", "prompt"), [(CHAT, {"messages": HI * 2}), ("/v1/completions", {"prompt": "Hi Hi"})])
def test_a_prompt_that_is_too_long_is_an_error_of_the_engine(sample, path, prompt):
    wanted = sample("errors/context_overflow_engine.json").rstrip().replace(b"9025", b"2").replace(b"8192", b"1")
    with SimulatedLMStudio(context_length=1) as server:
        status, _, data = ask(server, "POST", path, prompt)
        assert (status, data) == (400, wanted)
        status, headers, data = ask(server, "POST", path, {**prompt, "stream": True})
    assert (status, headers["Content-Type"]) == (200, "text/event-stream")
    text = json.loads(wanted)["error"]
    name, value = data.decode().rstrip().split("\n")
    assert (name, json.loads(value[6:])) == ("event: error", {"error": {"message": text}, "message": text})


@for_each("stream", [False, True])
@for_each(
    ("path", "prompt"),
    [
        (CHAT, {"messages": [{"role": "user", "content": "\ud800"}]}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "\ud800"}], "max_tokens": 99}),
        ("/v1/responses", {"input": "\ud800"}),
        ("/api/v1/chat", {"input": "\ud800"}),
    ],
)
def test_half_a_character_becomes_a_question_mark(path, prompt, stream):
    with SimulatedLMStudio(["m"]) as server:
        status, _, data = ask(server, "POST", path, {"model": "m", "stream": stream, **prompt})
    assert (status, b"?" in data) == (200, True)
