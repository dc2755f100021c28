"""The stand-in, over plain http.client: its replies have to match LM Studio's."""

import ast
import json
import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from plain_http import CHAT, HI, ask, events, keys
from tables import for_each

from lmstudio_provider import simulator
from lmstudio_provider.simulator import SimulatedLMStudio


@for_each(("method", "path"), [("GET", "/"), ("POST", "/v1/models"), ("GET", "/v1/v1/models")])
def test_an_unknown_endpoint_is_an_error_under_200_as_in_lm_studio(method, path):
    with SimulatedLMStudio() as server:
        status, headers, data = ask(server, method, path)
    assert status == 200
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert data == f'{{"error":"Unexpected endpoint or method. ({method} {path})"}}'.encode()


@for_each("data", [b"", b"no json", b"[]", b"{}", b'{"messages": []}'])
def test_a_chat_without_messages_is_refused(data):
    with SimulatedLMStudio() as server:
        status, _, body = ask(server, "POST", CHAT, data=data)
    assert (status, body) == (400, b'{"error":"\'messages\' field is required"}')


def test_an_unknown_model_is_refused_if_several_are_loaded():
    with SimulatedLMStudio(models=["a", "b"]) as server:
        status, _, body = ask(server, "POST", CHAT, {"model": "c", "messages": HI})
    error = json.loads(body)["error"]
    assert status == 400
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert error["message"].startswith('Invalid model identifier "c". Please specify a valid downloaded model')


def test_with_one_model_its_name_is_ignored_and_without_any_there_is_an_error():
    with SimulatedLMStudio(models=["text-embedding-x", "a"]) as server:
        assert json.loads(ask(server, "POST", CHAT, {"model": "c", "messages": HI})[2])["model"] == "a"
    with SimulatedLMStudio(models=["text-embedding-x"]) as server:
        status, _, body = ask(server, "POST", CHAT, {"model": "c", "messages": HI})
        assert (status, json.loads(body)["error"][:17]) == (400, "No models loaded.")


def test_models_are_listed_as_lm_studio_lists_them(sample):
    ids = [each["id"] for each in json.loads(sample("models_openai.json"))["data"]]
    with SimulatedLMStudio(models=ids) as server:
        _, headers, data = ask(server, "GET", "/v1/models")
    assert data == sample("models_openai.json").rstrip()
    assert (headers["X-Powered-By"], headers["Keep-Alive"]) == ("Express", "timeout=5")


def test_a_reply_has_the_fields_of_lm_studios(sample):
    with SimulatedLMStudio(replies=["Hello there"]) as server:
        _, _, data = ask(server, "POST", CHAT, {"messages": HI})
    value = json.loads(data)
    assert keys(value) == keys(json.loads(sample("chat_completion.json")))
    assert value["choices"][0]["message"]["content"] == "Hello there"
    assert value["usage"]["completion_tokens"] == 2


def test_a_stream_has_the_frames_of_lm_studios(sample):
    body = {"messages": HI, "stream": True, "stream_options": {"include_usage": True}}
    with SimulatedLMStudio(replies=["Four ."]) as server:
        _, headers, data = ask(server, "POST", CHAT, body)
    assert headers["Content-Type"] == "text/event-stream"
    assert headers["Transfer-Encoding"] == "chunked"
    got, expected = events(data), events(sample("chat_stream_usage.sse"))
    assert [keys(each) for each in got] == [keys(each) for each in expected]
    assert got[-2]["choices"][0]["finish_reason"] == "stop"


def test_without_include_usage_a_stream_has_none():
    with SimulatedLMStudio() as server:
        _, _, data = ask(server, "POST", CHAT, {"messages": HI, "stream": True})
    assert not any("usage" in each for each in events(data))


def test_tool_calls_are_streamed_in_pieces_as_lm_studio_streams_them(sample):
    calls = [{"name": "get_weather", "arguments": {"city": "Oslo"}}]
    body = {"messages": HI, "stream": True}
    with SimulatedLMStudio(replies=[{"content": "Let me look.", "tool_calls": calls}]) as server:
        _, _, data = ask(server, "POST", CHAT, body)
        whole = json.loads(ask(server, "POST", CHAT, {"messages": HI})[2])
    first = next(each for each in events(data) if "tool_calls" in each["choices"][0]["delta"])
    expected = next(each for each in events(sample("chat_stream_tool_calls.sse")) if "tool_calls" in str(each))
    assert keys(first) == keys(expected)
    assert events(data)[-1]["choices"][0]["finish_reason"] == "tool_calls"
    function = whole["choices"][0]["message"]["tool_calls"][0]["function"]
    assert function == {"name": "get_weather", "arguments": '{"city": "Oslo"}'}


def test_the_first_tool_that_is_offered_is_called_and_its_result_answered():
    schema = {
        "type": "object",
        "properties": {"unit": {"enum": ["c", "f"]}, "days": {"type": "integer"}, "note": {"type": "string"}},
        "required": ["unit", "days"],
    }
    tools = [{"type": "function", "function": {"name": "forecast", "parameters": schema}}]
    with SimulatedLMStudio() as server:
        message = json.loads(ask(server, "POST", CHAT, {"messages": HI, "tools": tools})[2])["choices"][0]["message"]
        assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"unit": "c", "days": 1}
        messages = [*HI, message, {"role": "tool", "content": "sunny", "tool_call_id": "1"}]
        answer = json.loads(ask(server, "POST", CHAT, {"messages": messages, "tools": tools})[2])
    assert answer["choices"][0]["message"]["content"].endswith("The tool answered: sunny")


def test_every_reply_says_that_it_is_simulated():
    with SimulatedLMStudio() as server:
        data = ask(server, "POST", CHAT, {"messages": HI})[2]
    assert json.loads(data)["choices"][0]["message"]["content"].startswith(
        "This is a simulated reply, no model wrote it"
    )


def test_replies_come_in_turn_or_from_a_function():
    with SimulatedLMStudio(replies=["one", "two"]) as server:
        got = [json.loads(ask(server, "POST", CHAT, {"messages": HI})[2]) for _ in range(3)]
    assert [each["choices"][0]["message"]["content"] for each in got] == ["one", "two", "one"]
    with SimulatedLMStudio(replies=lambda body: {"content": "x", "reasoning_content": str(len(body))}) as server:
        message = json.loads(ask(server, "POST", CHAT, {"messages": HI})[2])["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("x", "1")


def test_max_tokens_cuts_the_reply():
    with SimulatedLMStudio(replies=["one two three"]) as server:
        choice = json.loads(ask(server, "POST", CHAT, {"messages": HI, "max_tokens": 2})[2])["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("one two", "length")


def test_requests_are_kept_for_tests_to_look_at():
    with SimulatedLMStudio() as server:
        ask(server, "POST", CHAT, {"messages": HI})
        (request,) = server.requests
    assert (request["method"], request["path"], request["body"]) == ("POST", CHAT, {"messages": HI})
    assert request["headers"]["Host"]


def test_the_url_exists_only_while_the_simulator_runs():
    with SimulatedLMStudio() as server:
        assert server.url.startswith("http://127.0.0.1:")
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.url


@for_each("path", sorted(Path(simulator.__file__).parent.glob("*.py")), ids=lambda path: path.name)
def test_it_imports_nothing_else_of_ours_and_nothing_that_is_not_in_python(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert all(node.level <= 1 for node in froms)  # the stand-in's own modules, one beside the other
    names = {node.module for node in froms if node.level == 0}
    names |= {each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names}
    assert not [name for name in names if name.startswith(("lmstudio_provider", "urllib3"))]


@for_each(
    ("replies", "says"),
    [
        (lambda body: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda body: None, "TypeError: the result of the function given as replies is None; a reply is a text, or a"),
        (lambda body: {"text": "x"}, "TypeError: the result of the function given as replies has the key 'text'; a"),
    ],
)
@for_each("stream", [False, True])
def test_an_exception_in_a_function_is_the_first_line_of_a_server_error(replies, says, stream):
    with SimulatedLMStudio(replies=replies) as server:
        status, _, data = ask(server, "POST", CHAT, {"messages": HI, "stream": stream})
    assert status == 500
    assert json.loads(data)["error"].startswith(f"the simulator could not reply: {says}")
    assert "Traceback" in json.loads(data)["error"]


def test_one_reply_and_one_model_need_not_be_in_a_list():
    with SimulatedLMStudio(models="m", replies="Hello") as server:
        value = json.loads(ask(server, "POST", CHAT, {"messages": HI})[2])
    assert (value["model"], value["choices"][0]["message"]["content"]) == ("m", "Hello")


def test_arguments_as_text_are_sent_unchanged():
    with SimulatedLMStudio(replies={"tool_calls": [{"name": "f", "arguments": "{oops"}]}) as server:
        message = json.loads(ask(server, "POST", CHAT, {"messages": HI})[2])["choices"][0]["message"]
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": "{oops"}


def test_the_port_can_be_chosen():
    with SimulatedLMStudio() as first:
        port = urlsplit(first.url).port
    with SimulatedLMStudio(port=port) as server:
        assert server.url == f"http://127.0.0.1:{port}"
        assert ask(server, "GET", "/v1/models")[0] == 200


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_that_stops_does_not_stop_the_parents_server():
    child = None
    try:
        with SimulatedLMStudio() as server:
            child = os.fork()
            if child:
                assert os.waitpid(child, 0)[1] == 0
                assert ask(server, "GET", "/v1/models")[0] == 200
        if child == 0:
            os._exit(0)
    finally:
        if child == 0:
            os._exit(1)


@for_each(
    "arguments", [{"loaded": ["nobody"]}, {"models": ["too-large"], "loaded": ["too-large"]}, {"context_length": -1}]
)
def test_impossible_settings_are_a_value_error(arguments):
    with pytest.raises(ValueError, match=r"nobody|too-large|-1"):
        SimulatedLMStudio(**arguments)
