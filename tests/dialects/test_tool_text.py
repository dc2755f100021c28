"""Calls that came as text, and calls that got lost."""

from __future__ import annotations

import warnings

import pytest
from tables import for_each

from lmstudio_provider import (
    Completion,
    LMStudioProvider,
    Message,
    Stats,
    Tool,
    ToolCall,
    ToolCallWarning,
    Usage,
    run_tools,
)
from lmstudio_provider._dialects.tool_text import take_calls, warn_of_lost_calls
from lmstudio_provider.simulator import SimulatedLMStudio

HI = [Message.user("Hi")]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = Tool("get_weather", "Tell the weather.", SCHEMA)
OSLO = '{"name": "get_weather", "arguments": {"city": "Oslo"}}'


def said(text, **fields):
    return Completion(text, "m", "m", fields.pop("finish_reason", "stop"), **fields)


def taken(text, **fields):
    return [(call.name, call.arguments) for call in take_calls(said(text, **fields), [WEATHER]).tool_calls]


# Texts that are not a call


@for_each(
    "text",
    [
        "",
        "It is sunny in Oslo.",
        OSLO,
        f"I look it up. <tool_call>{OSLO}</tool_call>",
        f"<tool_call>{OSLO}</tool_call> That is how a call looks.",
        f"```\n<tool_call>{OSLO}</tool_call>\n```",
        f"`<tool_call>{OSLO}</tool_call>`",
        f"> <tool_call>{OSLO}</tool_call>",
        f"<tool_call>{OSLO}",
        f"<tool_call>{OSLO}[END_TOOL_REQUEST]",
        "<tool_call></tool_call>",
        "<tool_call>7</tool_call>",
        "<tool_call>[" + OSLO + "]</tool_call>",
        '<tool_call>{"name": "delete", "arguments": {}}</tool_call>',
        '<tool_call>{"arguments": {"city": "Oslo"}}</tool_call>',
        '<tool_call>{"name": "get_weather", "arguments": {}}</tool_call>',
        '<tool_call>{"name": "get_weather", "arguments": {"city": 7}}</tool_call>',
        '<tool_call>{"name": "get_weather", "arguments": {"city": "Oslo", "zip": "1"}}</tool_call>',
        '<tool_call>{"name": "get_weather", "arguments": "Oslo"}</tool_call>',
        f"<tool_call>{OSLO}</tool_call><tool_call>{{}}</tool_call>",
        "<tool_call>" + "[" * 100_000,
    ],
    ids=lambda text: text[:60],
)
def test_a_text_that_is_more_or_less_than_calls_stays_text(text):
    completion = said(text)
    assert take_calls(completion, [WEATHER]) is completion


@for_each(
    "reason",
    [
        "length",
        "max_tokens",
        "max_output_tokens",
        "cancelled",
        "error",
        "abort",
        "aborted",
        "failed",
        "incomplete",
        "content_filter",
        "load",
        "unload",
        "maxPredictedTokensReached",
        "contextLengthReached",
        "userStopped",
        "modelUnloaded",
    ],
)
def test_a_call_in_a_text_that_was_cut_off_stays_text(reason):
    for fields in ({"finish_reason": reason}, {"stats": Stats(stop_reason=reason)}):
        assert taken(f"<tool_call>{OSLO}</tool_call>", **fields) == []


def test_a_text_beside_real_calls_stays_text():
    completion = said(f"<tool_call>{OSLO}</tool_call>", tool_calls=(ToolCall("1", "get_weather", {"city": "Rome"}),))
    assert take_calls(completion, [WEATHER]) is completion


# Texts that are a call


@for_each(
    "text",
    [
        f"<tool_call>{OSLO}</tool_call>",
        f"\n<tool_call>\n{OSLO}\n</tool_call>\n",
        f"[TOOL_REQUEST]{OSLO}[END_TOOL_REQUEST]",
        '<tool_call>{"name": "get_weather", "parameters": {"city": "Oslo"}}</tool_call>',
        '<tool_call>{"name": "get_weather", "arguments": "{\\"city\\": \\"Oslo\\"}"}</tool_call>',
        '<tool_call>{"name": "get_weather", "arguments": {"city": "Oslo",},}</tool_call>',
        '<tool_call>\n```json\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n```\n</tool_call>',
        '<tool_call>{"name": "GetWeather", "arguments": {"city": "Oslo"}}</tool_call>',
    ],
)
def test_a_text_that_is_nothing_but_a_call_is_the_call(text):
    completion = take_calls(said(text, reasoning="I look it up."), [WEATHER])
    assert [(call.name, call.arguments) for call in completion.tool_calls] == [("get_weather", {"city": "Oslo"})]
    assert completion.tool_calls[0].id
    assert (completion.text, completion.finish_reason, completion.reasoning) == ("", "tool_calls", "I look it up.")


def test_several_calls_are_taken_in_order_with_an_id_each():
    second = OSLO.replace("Oslo", "</tool_call>")
    calls = take_calls(said(f"<tool_call>{OSLO}</tool_call>\n<tool_call>{second}</tool_call>"), [WEATHER]).tool_calls
    assert [call.arguments["city"] for call in calls] == ["Oslo", "</tool_call>"]
    assert calls[0].id != calls[1].id


def test_arguments_that_are_not_an_object_are_not_a_call_even_if_the_tool_has_no_schema():
    completion = said('<tool_call>{"name": "now", "arguments": [1]}</tool_call>')
    assert take_calls(completion, [{"type": "function", "function": {"name": "now"}}]) is completion


def test_a_tool_given_as_a_dict_is_offered_as_well():
    assert take_calls(said(f"<tool_call>{OSLO}</tool_call>"), [WEATHER.as_dict()]).tool_calls


# Where it happens


def get_weather(city: str) -> str:
    """Tell the weather."""
    return f"Sunny in {city}."


@pytest.mark.parametrize("stream", [False, True])
def test_run_tools_makes_the_call_without_a_warning(stream):
    with SimulatedLMStudio(replies=[f"<tool_call>{OSLO}</tool_call>", "Sunny."]) as server:
        with LMStudioProvider(server.url) as lm, warnings.catch_warnings():
            warnings.simplefilter("error")
            run = run_tools(lm, HI, [get_weather], stream=stream)
    assert run.completion.text == "Sunny."
    assert [message.content for message in run.messages] == ["Hi", "", "Sunny in Oslo.", "Sunny."]


def test_complete_with_tools_takes_the_call():
    with SimulatedLMStudio(replies=[f"<tool_call>{OSLO}</tool_call>"]) as server, LMStudioProvider(server.url) as lm:
        completion = lm.complete_with_tools(HI, tools=[WEATHER])
    assert completion.text == ""
    assert completion.tool_calls[0].arguments == {"city": "Oslo"}


@for_each(
    "ask",
    [
        lambda lm: lm.chat(HI, tools=[WEATHER]),
        lambda lm: lm.complete_with_tools(HI, tools=[WEATHER]),
        lambda lm: lm.stream(HI, lambda chunk: None, tools=[WEATHER]),
        lambda lm: run_tools(lm, HI, [get_weather]).completion,
        lambda lm: run_tools(lm, HI, [get_weather], stream=True).completion,
    ],
)
def test_a_call_as_text_that_is_not_taken_gives_one_warning_at_the_callers_line(ask):
    text = '<tool_call>{"name": "delete", "arguments": {}}</tool_call>'
    with SimulatedLMStudio(replies=[text]) as server, LMStudioProvider(server.url) as lm:
        with pytest.warns(ToolCallWarning, match="as text, and it was not made") as warned:
            completion = ask(lm)
    assert (len(warned), warned[0].filename) == (1, __file__)
    assert completion.text == text


def test_markup_after_the_tools_were_taken_away_gives_a_warning():
    again = {"tool_calls": [{"name": "get_weather", "arguments": {"city": "Oslo"}}]}
    with (
        SimulatedLMStudio(replies=[again, "<tool_call>{...}</tool_call>"]) as server,
        LMStudioProvider(server.url) as lm,
    ):
        with pytest.warns(ToolCallWarning, match="as text"):
            run_tools(lm, HI, [get_weather], max_rounds=1)


# What got lost


@for_each(
    ("completion", "match"),
    [
        (said("Let me see.\n<tool_call>{}</tool_call>"), "as text"),
        (said("[TOOL_REQUEST]{"), "as text"),
        (said("[TOOL_CALLS][{}]"), "as text"),
        (said("<function=get_weather>"), "as text"),
        (said("<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n</tool_call>"), "as text"),
        (said('<|tool_call>call:get_weather{city:"Oslo"}<tool_call|>'), "as text"),
        (said(f"<tool_call>[{OSLO}]</tool_call>"), "as text"),
        (said(f"{OSLO}</tool_call>"), "as text"),
        (said(f"So: {OSLO}</tool_call>"), "as text"),
        (said(f"functools[{OSLO}]"), "as text"),
        (said('{"name": "get_weather", "parameters": {"city": "Oslo"}}'), "as text"),
        (said("", finish_reason="length", tool_calls=(ToolCall("1", "f"),)), "not be made: raise max_tokens"),
        (said("<|tool_calls|>f"), "as text"),
        (said("<|tool_call_begin|>f"), "as text"),
        (said('<function_call> {"name": "f"}'), "as text"),
        (said('<invoke name="f">'), "as text"),
        (said("<|python_tag|>f()"), "as text"),
        (said("<\uff5ctool\u2581calls\u2581begin\uff5c>"), "as text"),
        (said("<|channel|>commentary to=functions.f"), "as text"),
        (said("", finish_reason="error", tool_calls=(ToolCall("1", "f"),)), r"broke off \(error\).*; ask again"),
        (said("", usage=Usage(10, 25, 35)), "empty although the model generated 25 tokens"),
        (said(" \n", usage=Usage(10, 25, 35)), "empty although"),
        (said("", finish_reason="tool_calls"), "sent no call"),
        (said("Well", finish_reason="tool_calls"), "sent no call"),
    ],
)
def test_a_reply_that_lost_a_call_gives_a_warning(completion, match):
    with pytest.warns(ToolCallWarning, match=match):
        warn_of_lost_calls(completion, offered=True)


@for_each(
    "completion",
    [
        said("Sunny."),
        said("A call looks like `<tool_call>{}</tool_call>`."),
        said("```\n<tool_call>{}</tool_call>\n```"),
        said("~~~\n<tool_call>{}</tool_call>\n~~~"),
        said("The mark <tool_call> begins a call."),
        said(""),
        said("", usage=Usage(10, 0, 10)),
        said("", reasoning="Hm.", usage=Usage(10, 25, 35)),
        said("", finish_reason="tool_calls", tool_calls=(ToolCall("1", "f"),)),
        said("<tool_call>{", finish_reason="cancelled"),
    ],
)
def test_a_reply_that_lost_nothing_gives_no_warning(completion):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_lost_calls(completion, offered=True)


def test_without_tools_nothing_is_said():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_lost_calls(said("<tool_call>{}</tool_call>"), offered=False)
