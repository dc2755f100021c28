"""The replies that a test can give to a stand-in, and the errors for invalid ones."""

import inspect
import itertools
import json

import pytest
from plain_http import CHAT, HI, ask, chat_reply, events, lines, named_events, post

from lmstudio_provider.simulator import SimulatedLMStudio, SimulatedOllama

CALL = '{"name": "get_weather", "arguments": {"city": "Oslo"}}'
TOOLS = [{"type": "function", "function": {"name": name}} for name in "fg"]
BOTH = pytest.mark.parametrize("kind", [SimulatedLMStudio, SimulatedOllama])


def streamed(server, **fields):
    """Return the deltas of a streamed chat, and the reason of its end."""
    data = ask(server, "POST", CHAT, {"messages": HI, "stream": True, **fields})[2]
    *choices, last = [each["choices"][0] for each in events(data)]
    return [each["delta"] for each in choices], last["finish_reason"]


# Refused when the stand-in is created


@BOTH
@pytest.mark.parametrize(
    ("replies", "says"),
    [
        (5, "replies is 5; use a reply, a list of replies, or a function"),
        (b"Hello", "replies is b'Hello'; use"),
        ([], "replies is empty; give at least one, or leave it out"),
        (["one", 5], "replies[1] is 5; a reply is a text, or a dict of any of content, reasoning_content, tool_calls,"),
        ([None], "replies[0] is None; a reply is"),
        ([["one"]], "replies[0] is ['one']; a reply is"),
        (["one", {"text": "x"}], "replies[1] has the key 'text'; a reply is a dict of any of content, "),
        ({"message": "x"}, "replies has the key 'message'; a reply is"),
        ([{"content": 5}], 'replies[0]["content"] is 5; use a text, or a list of texts to stream as pieces'),
        ([{"content": ["a", 5]}], "replies[0][\"content\"] is ['a', 5]; use a text"),
        ([{"reasoning_content": True}], 'replies[0]["reasoning_content"] is True; use a text'),
        ([{"finish_reason": 5}], 'replies[0]["finish_reason"] is 5; use a text, such as "length"'),
        ([{"completion_tokens": -1}], 'replies[0]["completion_tokens"] is -1; use a whole number, 0 or more'),
        ([{"prompt_tokens": "9"}], "replies[0][\"prompt_tokens\"] is '9'; use a whole number"),
        ([{"cached_tokens": True}], 'replies[0]["cached_tokens"] is True; use a whole number'),
        (
            [{"tool_calls": {"name": "f"}}],
            f"replies[0][\"tool_calls\"] is {{'name': 'f'}}; use a list of calls: [{CALL}]",
        ),
        ([{"tool_calls": ["f"]}], f"replies[0][\"tool_calls\"][0] is 'f'; write {CALL}"),
        ([{"tool_calls": [{}]}], f'replies[0]["tool_calls"][0] needs a name that is a text; write {CALL}'),
        ([{"tool_calls": [{"name": 5}]}], f'replies[0]["tool_calls"][0] needs a name that is a text; write {CALL}'),
        (
            {"tool_calls": [{"name": "f"}, {"type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            f"replies[\"tool_calls\"][1] has the key 'type'; write {CALL}",
        ),
        (
            {"tool_calls": [{"function": {"name": "f"}}]},
            f"replies[\"tool_calls\"][0] has the key 'function'; write {CALL}",
        ),
        ({"tool_calls": [{"name": "f", "args": {}}]}, "replies[\"tool_calls\"][0] has the key 'args'; write"),
        (
            {"tool_calls": [{"name": "f", "arguments": [1]}]},
            'replies["tool_calls"][0]["arguments"] is [1]; use a dict, or a text to send as it is',
        ),
        (
            {"tool_calls": [{"name": "f", "arguments": {"x": {1, 2}}}]},
            'replies["tool_calls"][0]["arguments"] is not JSON: Object of type set is not JSON serializable',
        ),
        ({"tool_calls": [{"name": "f", "id": 5}]}, 'replies["tool_calls"][0]["id"] is 5; use a text, or None to'),
        ({"tool_calls": [{"name": "f", "index": "0"}]}, 'replies["tool_calls"][0]["index"] is \'0\'; use a whole'),
    ],
)
def test_invalid_replies_are_refused_with_their_position(kind, replies, says):
    with pytest.raises(TypeError) as caught:
        kind(replies=replies)
    assert str(caught.value).startswith(says)


@BOTH
def test_an_error_shortens_a_long_reply(kind):
    with pytest.raises(TypeError) as caught:
        kind(replies=["x", ["y" * 9999] * 999])
    assert len(str(caught.value)) < 400


@BOTH
def test_the_form_of_a_tool_call_is_in_the_help(kind):
    assert CALL in inspect.getdoc(kind)


def test_replies_may_be_made_by_an_iterator_and_are_read_once():
    with SimulatedLMStudio(replies=itertools.repeat("again", 2)) as server:
        assert [chat_reply(server)["choices"][0]["message"]["content"] for _ in range(3)] == ["again"] * 3


# Tool calls


def test_a_call_written_as_text_is_sent_unchanged():
    text = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'
    with SimulatedLMStudio(replies=[text]) as server:
        message = chat_reply(server, tools=TOOLS)["choices"][0]["message"]
        deltas, reason = streamed(server, tools=TOOLS)
    assert (message["content"], message["tool_calls"], reason) == (text, [], "stop")
    assert "".join(each["content"] for each in deltas) == text


def test_parallel_calls_can_come_without_ids_and_all_at_index_0():
    calls = [{"name": name, "arguments": "", "id": None, "index": 0} for name in "fg"]
    with SimulatedLMStudio(replies={"tool_calls": calls}) as server:
        whole = chat_reply(server)["choices"][0]["message"]["tool_calls"]
        deltas, reason = streamed(server)
    assert whole == [{"type": "function", "index": 0, "function": {"name": name, "arguments": ""}} for name in "fg"]
    pieces = [piece for each in deltas for piece in each["tool_calls"]]
    assert [piece["function"].get("name") for piece in pieces] == ["f", None, None, "g", None, None]
    assert {piece["index"] for piece in pieces} == {0}
    assert not any("id" in piece for piece in pieces)
    assert reason == "tool_calls"


def test_a_call_can_come_with_an_empty_id_and_without_an_index():
    with SimulatedLMStudio(replies={"tool_calls": [{"name": "f", "id": "", "index": None}]}) as server:
        (whole,) = chat_reply(server)["choices"][0]["message"]["tool_calls"]
        deltas, _ = streamed(server)
    assert whole == {"type": "function", "id": "", "function": {"name": "f", "arguments": "{}"}}
    assert not any("index" in each["tool_calls"][0] for each in deltas)
    assert deltas[0]["tool_calls"][0]["id"] == ""


def test_ollama_can_leave_out_ids_and_indices_as_older_ones_do():
    calls = [{"name": "f", "id": None, "index": None}, {"name": "g", "id": "call_x", "index": 0}]
    body = {"model": "m", "messages": HI, "tools": TOOLS}
    with SimulatedOllama("m", {"tool_calls": calls}) as server:
        first, second, _ = lines(ask(server, "POST", "/api/chat", body)[2])
    assert first["message"]["tool_calls"] == [{"function": {"name": "f", "arguments": {}}}]
    assert second["message"]["tool_calls"] == [{"id": "call_x", "function": {"index": 0, "name": "g", "arguments": {}}}]


def test_a_call_can_be_cut_off():
    cut = {"tool_calls": [{"name": "purge", "arguments": ""}], "finish_reason": "length"}
    with SimulatedLMStudio(replies=cut) as server:
        choice = chat_reply(server)["choices"][0]
        _, reason = streamed(server)
    assert (choice["finish_reason"], reason) == ("length", "length")
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "purge", "arguments": ""}


def test_a_call_that_exceeds_max_tokens_is_left_out():
    calls = [{"name": "f", "arguments": "{}"}, {"name": "g", "arguments": '{"x": 1, "y": 2}'}, {"name": "h"}]
    with SimulatedLMStudio(replies={"content": "Let me look.", "tool_calls": calls}) as server:
        reply = chat_reply(server, max_tokens=6)
    (choice,) = reply["choices"]
    assert [call["function"]["name"] for call in choice["message"]["tool_calls"]] == ["f"]
    assert (choice["finish_reason"], reply["usage"]["completion_tokens"]) == ("length", 5)


def test_a_call_can_be_lost_though_the_reply_says_that_there_is_one():
    with SimulatedLMStudio(replies={"content": "", "finish_reason": "tool_calls"}) as server:
        choice = chat_reply(server, tools=TOOLS)["choices"][0]
    assert (choice["finish_reason"], choice["message"]["tool_calls"]) == ("tool_calls", [])


# Texts, thoughts and counts


@pytest.mark.parametrize(
    "text",
    [
        "<think>a b</think>c",
        "a b</think>c",
        "[THINK]a b[/THINK]c",
        "<|channel>thought\na b<channel|>c",
        "<|channel|>analysis<|message|>a b<|end|><|start|>assistant<|channel|>final<|message|>c",
        "Write `</think>` so.",
    ],
)
@BOTH
def test_thoughts_in_any_marks_are_sent_unchanged(kind, text):
    with kind("m", text) as server:
        assert chat_reply(server, model="m")["choices"][0]["message"]["content"] == text
        deltas, _ = streamed(server, model="m")
    assert "".join(each["content"] for each in deltas) == text


@BOTH
def test_a_list_of_texts_is_streamed_in_just_these_pieces(kind):
    reply = {"content": ["<thi", "nk>a", "</th", "ink>", "b c"], "completion_tokens": 9}
    with kind("m", reply) as server:
        deltas, _ = streamed(server, model="m")
        whole = chat_reply(server, model="m")
    assert [each["content"] for each in deltas] == reply["content"]
    assert whole["choices"][0]["message"]["content"] == "<think>a</think>b c"
    assert whole["usage"]["completion_tokens"] == 9


def test_each_text_of_a_list_is_a_token():
    with SimulatedLMStudio(replies={"reasoning_content": ["a b", "c"], "content": ["d e", "f"]}) as server:
        reply = chat_reply(server, max_tokens=3)
    message = reply["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("a bc", "d e")
    assert reply["usage"]["completion_tokens"] == 3


def test_a_stop_text_cuts_a_list_of_texts_too():
    with SimulatedLMStudio(replies={"content": ["one t", "wo three"]}) as server:
        deltas, _ = streamed(server, stop="o th")
    assert [each["content"] for each in deltas] == ["one t", "w"]


@BOTH
def test_an_empty_answer_can_have_tokens_counted(kind):
    with kind("m", {"content": "", "completion_tokens": 25}) as server:
        reply = chat_reply(server, model="m")
    (choice,) = reply["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "stop")
    assert reply["usage"]["completion_tokens"] == 25


@BOTH
def test_the_counts_of_a_reply_are_reported_on_every_endpoint_that_has_them(kind):
    counts = {"prompt_tokens": 0, "completion_tokens": 4, "cached_tokens": 7}
    with kind("m", {"content": "x", **counts}) as server:
        assert chat_reply(server, model="m")["usage"] == {
            "prompt_tokens": 0,
            "completion_tokens": 4,
            "total_tokens": 4,
            "prompt_tokens_details": {"cached_tokens": 7},
        }
        used = post(server, "/v1/responses", {"model": "m", "input": "Hi"})[1]["usage"]
        assert (used["input_tokens"], used["output_tokens"]) == (0, 4)
        assert used["input_tokens_details"] == {"cached_tokens": 7}
        used = post(server, "/v1/messages", {"model": "m", "max_tokens": 9, "messages": HI})[1]["usage"]
        assert used == {"input_tokens": 0, "output_tokens": 4, "cache_read_input_tokens": 7}


def test_cached_tokens_are_not_reported_by_default():
    with SimulatedLMStudio(replies="x") as server:
        assert "prompt_tokens_details" not in chat_reply(server)["usage"]
        assert post(server, "/v1/responses", {"input": "Hi"})[1]["usage"]["input_tokens_details"] == {
            "cached_tokens": 0
        }


@pytest.mark.parametrize(
    ("reason", "stop_reason", "status"),
    [("length", "max_tokens", "incomplete"), ("content_filter", "content_filter", "completed")],
)
def test_a_reply_says_why_it_ended_on_every_endpoint(reason, stop_reason, status):
    with SimulatedLMStudio(["m"], {"content": "x", "finish_reason": reason}) as server:
        body = {"model": "m", "max_tokens": 9, "messages": HI}
        assert post(server, "/v1/messages", body)[1]["stop_reason"] == stop_reason
        assert post(server, "/v1/responses", {"model": "m", "input": "Hi"})[1]["status"] == status
        data = ask(server, "POST", "/v1/responses", {"model": "m", "input": "Hi", "stream": True})[2]
        assert named_events(data)[-1]["type"] == f"response.{status}"
        choice = post(server, "/v1/completions", {"model": "m", "prompt": "Hi"})[1]["choices"][0]
        assert choice["finish_reason"] == reason


def test_a_function_gets_each_request_and_is_asked_each_time():
    with SimulatedLMStudio(replies=lambda body: json.dumps(body["messages"])) as server:
        assert chat_reply(server)["choices"][0]["message"]["content"] == json.dumps(HI)
