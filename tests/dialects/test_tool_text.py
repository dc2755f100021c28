"""Calls that came as text, and calls that got lost."""

from __future__ import annotations

import json
import warnings

import pytest
from tables import for_each

from lmstudio_provider import (
    Completion,
    EmptyAnswerWarning,
    LMStudioProvider,
    Message,
    Stats,
    StructuredOutputError,
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
        f"I look it up. {OSLO}",
        f"{OSLO} That is how a call looks.",
        f"```json\n{OSLO}\n```",
        f"`{OSLO}`",
        f'"{OSLO}"',
        "{}",
        "[]",
        "[[]]",
        f"[{OSLO}, 7]",
        f"[{OSLO}, []] and",
        '{"name": "get_weather"}',
        '{"name": "get_weather", "city": "Oslo"}',
        '{"name": "get_weather", "arguments": {"city": "Oslo"}, "parameters": {"city": "Rome"}}',
        '{"name": "get_weather", "arguments": {"city": "Oslo"}, "answer": "Sunny."}',
        f'{{"tool_calls": [{OSLO}], "content": "Sunny."}}',
        '{"name": "get_weather", "description": "Tell the weather.", "parameters": {"city": "Oslo"}}',
        '{"name": "delete", "arguments": {}}',
        '{"name": "get_weather", "arguments": {"town": "Oslo"}}',
        f"{OSLO}[END_TOOL_REQUEST]",
        "[" * 100_000,
        f"I look it up. <tool_call>{OSLO}</tool_call>",
        f"<tool_call>{OSLO}</tool_call> That is how a call looks.",
        f"```\n<tool_call>{OSLO}</tool_call>\n```",
        f"`<tool_call>{OSLO}</tool_call>`",
        f"> <tool_call>{OSLO}</tool_call>",
        f"<tool_call>{OSLO}",
        f"<tool_call>{OSLO}[END_TOOL_REQUEST]",
        "<tool_call></tool_call>",
        "<tool_call>7</tool_call>",
        "<tool_call>[]</tool_call>",
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
        f"<tool_call>[{OSLO}]</tool_call>",
        OSLO,
        f"\n{OSLO}\n",
        f"[{OSLO}]",
        '{"arguments": {"city": "Oslo"}, "name": "get_weather"}',
        '{"name": "functions.get_weather", "parameters": {"city": "Oslo"}}',
        '{"name": "get_weather", "arguments": "{\\"city\\": \\"Oslo\\"}"}',
        '{"name": "get_weather", "arguments": {"city": "Oslo",},}',
        f'{{"type": "function", "function": {OSLO}}}',
        '{"type": "function", "name": "get_weather", "parameters": {"city": "Oslo"}}',
        f'{{"tool_calls": [{{"id": "1", "type": "function", "function": {OSLO}}}]}}',
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


@for_each("between", ["", "\n", " \n\n"])
def test_several_calls_without_marks_are_taken_too(between):
    calls = take_calls(said(f"{OSLO}{between}{OSLO}"), [WEATHER]).tool_calls
    assert [call.name for call in calls] == ["get_weather", "get_weather"]


def test_json_that_may_be_the_answer_is_taken_only_between_marks():
    assert take_calls(said(OSLO), [WEATHER], bare=False).text == OSLO
    assert take_calls(said(OSLO, parsed=7), [WEATHER]).text == OSLO
    assert take_calls(said(f"<tool_call>{OSLO}</tool_call>"), [WEATHER], bare=False).tool_calls


def test_a_tool_given_as_a_dict_is_offered_as_well():
    assert take_calls(said(f"<tool_call>{OSLO}</tool_call>"), [WEATHER.as_dict()]).tool_calls


# Where it happens


def get_weather(city: str) -> str:
    """Tell the weather."""
    return f"Sunny in {city}."


@for_each("text", [f"<tool_call>{OSLO}</tool_call>", OSLO, f"[{OSLO}]"])
@pytest.mark.parametrize("stream", [False, True])
def test_run_tools_makes_the_call_without_a_warning(stream, text):
    with SimulatedLMStudio(replies=[text, "Sunny."]) as server:
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


def test_an_answer_that_is_asked_for_as_json_is_neither_a_call_nor_warned_of():
    form = {"type": "object", "properties": {"name": {"type": "string"}}}
    for ask in (
        lambda lm: lm.chat(HI, tools=[WEATHER], response_format=form),
        lambda lm: lm.complete_with_tools(HI, tools=[WEATHER], response_format=form),
        lambda lm: run_tools(lm, HI, [get_weather], response_format=form).completion,
    ):
        with SimulatedLMStudio(replies=[OSLO]) as server, LMStudioProvider(server.url) as lm:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                completion = ask(lm)
        assert (completion.text, completion.tool_calls, completion.parsed["name"]) == (OSLO, (), "get_weather")


@for_each("number", ["NaN", "Infinity", "1e999"])
def test_a_written_call_with_a_number_that_json_lacks_is_made(number):
    text = f'<tool_call>{{"name": "keep", "arguments": {{"x": {number}}}}}</tool_call>'
    tool = Tool("keep", "Keep it.", {"type": "object", "properties": {"x": {}}})
    with SimulatedLMStudio(replies=[text]) as server, LMStudioProvider(server.url) as lm:
        (call,) = lm.complete_with_tools(HI, tools=[tool]).tool_calls
    assert (call.name, type(call.arguments["x"])) == ("keep", float)


def test_the_warning_of_a_cut_call_has_the_reply_if_it_is_an_error():
    with SimulatedLMStudio(replies=[f"<tool_call>{OSLO}"]) as server, LMStudioProvider(server.url) as lm:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for ask in (lm.chat, lm.complete_with_tools):
                with pytest.raises(ToolCallWarning) as caught:
                    ask(HI, tools=[WEATHER], max_tokens=4)
                assert caught.value.partial.text.startswith("<tool_call>")
                assert caught.value.partial.finish_reason == "length"


@for_each("method", ["chat", "complete_with_tools"])
def test_a_call_that_is_written_where_json_was_asked_for_is_warned_of_before_the_error(method):
    form = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    text = f"I call <tool_call>{OSLO}</tool_call>"
    with SimulatedLMStudio(replies=[text]) as server, LMStudioProvider(server.url) as lm:
        with pytest.warns(ToolCallWarning, match="the model wrote a tool call"), pytest.raises(StructuredOutputError):
            getattr(lm, method)(HI, tools=[WEATHER], response_format=form)


@for_each("text", [OSLO, f"<tool_call>{OSLO}</tool_call>"])
def test_chat_does_not_make_a_call_of_text_and_says_what_does(text):
    with SimulatedLMStudio(replies=[text]) as server, LMStudioProvider(server.url) as lm:
        with pytest.warns(ToolCallWarning, match=r"run_tools\(\) makes such a call only if it is JSON, alone"):
            completion = lm.chat(HI, tools=[WEATHER])
    assert (completion.text, completion.tool_calls) == (text, ())


@for_each(
    "reply", [f"<think>I look. <tool_call>{OSLO}</tool_call>", {"reasoning_content": f"I look.\n{OSLO}", "content": ""}]
)
@for_each(
    "ask",
    [
        lambda lm: lm.chat(HI, tools=[WEATHER]),
        lambda lm: lm.complete_with_tools(HI, tools=[WEATHER]),
        lambda lm: run_tools(lm, HI, [get_weather]).completion,
        lambda lm: run_tools(lm, HI, [get_weather], stream=True).completion,
    ],
)
def test_a_call_in_thoughts_is_not_made_and_gives_one_warning(ask, reply):
    with SimulatedLMStudio(replies=[reply]) as server, LMStudioProvider(server.url) as lm:
        with pytest.warns(RuntimeWarning) as warned:
            completion = ask(lm)
    assert [each.category for each in warned] == [ToolCallWarning]
    assert "in its thoughts, and it was not made" in str(warned[0].message)
    assert (completion.text, completion.tool_calls) == ("", ())


def test_thoughts_without_a_call_are_an_empty_answer_for_a_tool_loop_too():
    with SimulatedLMStudio(replies=["<think>It is Paris."]) as server, LMStudioProvider(server.url) as lm:
        with pytest.warns(RuntimeWarning) as warned:
            run_tools(lm, HI, [get_weather])
    assert [each.category for each in warned] == [EmptyAnswerWarning]


def test_markup_after_the_tools_were_taken_away_gives_a_warning():
    again = {"tool_calls": [{"name": "get_weather", "arguments": {"city": "Oslo"}}]}
    with (
        SimulatedLMStudio(replies=[again, "<tool_call>{...}</tool_call>"]) as server,
        LMStudioProvider(server.url) as lm,
    ):
        with pytest.warns(ToolCallWarning, match="as text"):
            run_tools(lm, HI, [get_weather], max_rounds=1)


# What got lost


ARGUMENTS = '{"city": "Oslo"}'


def warned(completion, tools=(WEATHER,)):
    """Return the texts of the warnings of lost calls."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_lost_calls(completion, tools, 7)
    assert all(each.category is ToolCallWarning for each in caught)
    return [str(each.message) for each in caught]


@for_each(
    "text",
    [
        # Marks, whatever they hold
        "Let me see.\n<tool_call>{}</tool_call>",
        "[TOOL_REQUEST]{",
        "[TOOL_CALLS][{}]",
        '[TOOL_CALLS]get_weather{"city": "Oslo"}',
        "<function=get_weather>",
        "<function_calls>\n<invoke name='get_weather'>",
        "<minimax:tool_call>\n<invoke>",
        f"<TOOLCALL>[{OSLO}]</TOOLCALL>",
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n</tool_call>",
        '<|tool_call>call:get_weather{city:"Oslo"}<tool_call|>',
        '<|tool_call_start|>[get_weather(city="Oslo")]<|tool_call_end|>',
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0",
        "<start_function_call>call:get_weather{city:<escape>Oslo<escape>}<end_function_call>",
        f"{OSLO}</tool_call>",
        f"So: {OSLO}</tool_call>",
        f"functools[{OSLO}]",
        "<|tool_calls|>f",
        "<|tool_call_begin|>f",
        '<function_call> {"name": "f"}',
        '<invoke name="f">',
        "<|python_tag|>f()",
        "<\uff5ctool\u2581calls\u2581begin\uff5c>",
        "<|channel|>commentary to=functions.f",
        # JSON that names a tool
        OSLO,
        f"I look it up.\n{OSLO}",
        f"```json\n{OSLO}\n```",
        f"~~~\n{OSLO}\n~~~",
        f"`{OSLO}`",
        f"I look it up.\n\n```json\n{OSLO}\n```\nPlease wait.",
        f"```\n<tool_call>{OSLO}</tool_call>\n```",
        f"[{OSLO}, 7]",
        f"{OSLO}; {OSLO}",
        f'{{"arguments": {ARGUMENTS}, "name": "get_weather"}}',
        f'{{"name" : "functions.get_weather" , "parameters" : {ARGUMENTS}}}',
        '{"name": "GetWeather", "arguments": {}}',
        f'{{"type": "function", "function": {{"name": "get_weather", "arguments": {ARGUMENTS}}}}} Done.',
        f'{{"tool": "get_weather", "args": {ARGUMENTS}}}',
        f'{{"action": "get_weather", "action_input": {ARGUMENTS}}}',
        "{'name': 'get_weather', 'arguments': {'city': 'Oslo'}}",
        # Other forms that name a tool
        '[get_weather(city="Oslo")]',
        '[get_weather(city="Oslo"), get_weather(city="Rome")]',
        'get_weather(city="Oslo")',
        '`get_weather(city="Oslo")`',
        '```tool_code\nprint(get_weather(city="Oslo"))\n```',
        'I look it up.\n```tool_code\nprint(default_api.get_weather(city="Oslo"))\n```\nPlease wait.',
        '```python\n[get_weather(city="Oslo")]\n```',
        f"Thought: I look it up.\nAction: get_weather\nAction Input: {ARGUMENTS}",
        f"**Action:** get_weather\n**Action Input:** {ARGUMENTS}",
        "Action: get_weather[Oslo]",
        "<get_weather>\n<city>Oslo</city>\n</get_weather>",
        '<get_weather city="Oslo"/>',
    ],
)
def test_a_call_as_text_gives_a_warning(text):
    (message,) = warned(said(text))
    assert "as text, and it was not made" in message


@for_each(
    "text",
    [
        '<tool_call>{"name":"get_weather',
        "<tool_call>{",
        f"<tool_call>{OSLO}</tool_call>",
        '[TOOL_REQUEST]{"name": "get_weather", "argu',
        '{"name": "get_weather"',
        f"{OSLO}",
        '```json\n{"name": "get_weather", "arguments": {"ci',
        '[get_weather(city="Os',
    ],
)
@for_each(
    ("finish_reason", "what"),
    [
        ("length", "was cut off by max_tokens=7: raise max_tokens"),
        ("content_filter", "broke off (content_filter): ask"),
    ],
)
def test_a_call_as_text_that_is_cut_off_is_warned_of_with_what_cut_it(text, finish_reason, what):
    (message,) = warned(said(text, finish_reason=finish_reason))
    assert "as text, and it was not made" in message
    assert what in message
    assert "trained for tool use" not in message


@for_each(
    ("completion", "what"),
    [
        (said("", finish_reason="length", tool_calls=(ToolCall("1", "f"),)), "not be made: raise max_tokens"),
        (
            said("", finish_reason="error", tool_calls=(ToolCall("1", "f"),)),
            "broke off (error), so its calls (f) may not be whole, and must not be made",
        ),
        (
            said("", usage=Usage(10, 25, 35)),
            "empty (generated tokens: 25): the model ended it at once, or a call of a tool that was not offered",
        ),
        (said(" \n", usage=Usage(10, 1, 11)), "empty (generated tokens: 1): the model ended it at once"),
        (said("", finish_reason="tool_calls"), "sent no call"),
        (said("Well", finish_reason="tool_calls"), "sent no call"),
    ],
)
def test_a_reply_that_lost_a_call_gives_a_warning(completion, what):
    (message,) = warned(completion)
    assert what in message


@for_each(
    "completion",
    [
        said("Sunny."),
        said("A call looks like `<tool_call>{}</tool_call>`."),
        said("```\n<tool_call>{}</tool_call>\n```"),
        said("~~~\n<tool_call>{}</tool_call>\n~~~"),
        said("The mark <tool_call> begins a call."),
        said("I shall call get_weather (city: Oslo)."),
        said("get_weather(city) tells the weather."),
        said(f"A call looks like `{OSLO}`."),
        said(f"`{OSLO}` is a call to `get_weather`"),
        said("Use it so:\n```python\nprint(get_weather('Oslo'))\n```"),
        said("Action: get_weather is what I would call."),
        said('{"name": "Oslo", "arguments": ["a", "b"]}'),
        said('{"name": "get_weather", "purpose": "weather"}'),
        said('[{"name": "Ada", "parameters": {"age": 36}}]'),
        said(f'{{"name": "get_weather", "parameters": {json.dumps(SCHEMA)}}}'),
        said('{"name": "get_weather", "description": "Tell.", "parameters": {"type": "object"}}'),
        said("<p>get_weather</p>"),
        said("[Oslo](https://oslo.no)"),
        said(OSLO, parsed={"name": "get_weather"}),
        said(""),
        said("", usage=Usage(10, 0, 10)),
        said("", reasoning="Hm.", usage=Usage(10, 25, 35)),
        said("Sunny.", reasoning=f"I could write {OSLO}"),
        said("", reasoning=f"<tool_call>{OSLO}</tool_call>", finish_reason="length"),
        said("", finish_reason="tool_calls", tool_calls=(ToolCall("1", "f"),)),
        said("<tool_call>{", finish_reason="cancelled"),
    ],
)
def test_a_reply_that_lost_nothing_gives_no_warning(completion):
    assert warned(completion) == []


@for_each("text", ["<tool_call>{}</tool_call>", OSLO])
def test_without_tools_nothing_is_said(text):
    assert warned(said(text), tools=()) == []
