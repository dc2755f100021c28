import dataclasses
import datetime
import enum
import functools
import inspect
import json
import math
import pickle

import pytest
from tables import for_each

from lmstudio_provider import (
    ChatRequest,
    CompletionRequest,
    ConfigurationError,
    InvalidRequestError,
    Message,
    NativeRequest,
    ResponsesRequest,
    TextRequest,
    Tool,
    ToolCall,
)
from lmstudio_provider._core.checks import to_json
from lmstudio_provider._core.overrides import Options
from lmstudio_provider._core.requests import _CHECKS, ToolLoopRequest, override

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
JPEG = b"\xff\xd8\xff\xe0" + bytes(8)


@for_each(
    ("field", "bad"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", "0.7"),
        ("temperature", True),
        ("top_p", 1.1),
        ("min_p", -1),
        ("top_k", 1.5),
        ("max_tokens", -2),
        ("max_tokens", 2.0),
        ("max_tokens", 0),
        ("repeat_penalty", -1),
        ("presence_penalty", 3),
        ("frequency_penalty", -3),
        ("seed", "1"),
        ("ttl", -2),
        ("ttl", 1.5),
        ("num_ctx", 0),
        ("num_ctx", -5),
        ("num_ctx", 8192.0),
        ("num_ctx", "8k"),
        ("num_ctx", True),
        ("model", ""),
        ("model", 7),
        ("tier", " "),
        ("draft_model", ""),
        ("stop", [1]),
        ("stop", 5),
    ],
)
def test_an_option_that_cannot_work_is_refused_by_name(field, bad):
    with pytest.raises(InvalidRequestError, match=rf"^{field}="):
        CompletionRequest("Hi", **{field: bad})


@for_each("kind", [ChatRequest, CompletionRequest, TextRequest, ResponsesRequest])
@for_each(
    ("stop", "where"), [("", "stop"), ([""], r"stop\[0\]"), (["\n", ""], r"stop\[1\]"), (("a", "b", ""), r"stop\[2\]")]
)
def test_an_empty_text_that_would_end_every_reply_is_refused_with_its_place(kind, stop, where):
    with pytest.raises(InvalidRequestError, match=rf"^{where} is empty"):
        kind("Hi", stop=stop)


@for_each("stop", [None, [], "\n", [" "], ("a", "\n\n")])
def test_blank_text_and_no_text_at_all_can_end_a_reply(stop):
    assert CompletionRequest("Hi", stop=stop).stop == stop


@for_each("kind", [ChatRequest, CompletionRequest, TextRequest, ResponsesRequest])
def test_no_tokens_at_all_are_refused_because_servers_take_it_for_no_limit(kind):
    with pytest.raises(InvalidRequestError, match=r"^max_tokens=0 ") as caught:
        kind("Hi", max_tokens=0)
    assert "-1 for no limit" in caught.value.hint
    assert kind("Hi", max_tokens=-1).max_tokens == -1


def test_an_empty_prompt_is_refused():
    with pytest.raises(InvalidRequestError, match="prompt is empty"):
        TextRequest("")
    assert TextRequest(" ").prompt == " "


@for_each("field", ["temperature", "stop", "logit_bias", "tool_choice", "store", "reasoning"])
def test_a_number_that_python_does_not_write_is_refused_by_name(field):
    with pytest.raises(InvalidRequestError, match=rf"^{field}=<int>"):
        ResponsesRequest([Message.user("Hi")], **{field: 10**5000})


@pytest.mark.parametrize("name", ["stream", "stream_options"])
def test_extra_cannot_change_how_the_reply_is_read(name):
    with pytest.raises(InvalidRequestError, match=name):
        CompletionRequest("Hi", extra={name: True})


@for_each("bad", [None, 7, b"bytes"])
def test_a_completion_wants_text(bad):
    with pytest.raises(InvalidRequestError, match="user_message"):
        CompletionRequest(bad)


@for_each("bad", [b"Hi", {"role": "user"}, None, 7, [], ["Hi"], [{"content": "Hi"}], Message.user("Hi")])
def test_a_chat_wants_messages(bad):
    with pytest.raises(InvalidRequestError, match="messages"):
        ChatRequest(bad)


@pytest.mark.parametrize("kind", [ChatRequest, ResponsesRequest])
def test_a_text_is_a_chat_of_one_message_of_the_user(kind):
    assert kind("Hi").messages == [Message.user("Hi")]
    assert kind("Hi") == kind([Message.user("Hi")])


@pytest.mark.parametrize("other", [CompletionRequest("Hi"), TextRequest("Hi")])
def test_a_request_of_another_kind_is_refused_with_what_takes_it(other):
    with pytest.raises(InvalidRequestError, match=type(other).__name__) as caught:
        ChatRequest(other)
    assert "complete" in caught.value.hint


@for_each("kind", [ChatRequest, CompletionRequest, ResponsesRequest])
def test_tools_and_response_format_are_checked(kind):
    for bad in (["now"], Tool("now"), "now", {"name": "now"}, 7):
        with pytest.raises(InvalidRequestError, match=r"^tools"):
            kind("Hi", tools=bad)
    with pytest.raises(InvalidRequestError, match="without tools"):
        kind("Hi", tool_choice="required")
    with pytest.raises(InvalidRequestError, match="response_format"):
        kind("Hi", response_format="json_object")


def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


@for_each("kind", [ChatRequest, CompletionRequest, ResponsesRequest])
def test_a_function_among_the_tools_becomes_a_tool(kind):
    now = {"type": "function", "function": {"name": "now"}}
    request = kind("Hi", tools=iter([add, Tool("then"), now]))
    assert request.tools == (Tool.from_function(add), Tool("then"), now)
    assert request.tools[0].function is add
    assert dataclasses.replace(request, tools=[functools.partial(add, b=2), add]).tools[1] == request.tools[0]


@pytest.mark.parametrize("kind", [ChatRequest, CompletionRequest])
def test_a_function_that_cannot_be_a_tool_is_refused_when_the_request_is_made(kind):
    async def later(a: int) -> int:
        return a

    for bad in (lambda a, **more: a, later, print):
        with pytest.raises(ConfigurationError):
            kind("Hi", tools=[bad])


def test_a_function_that_is_not_in_a_list_is_refused_with_the_form():
    with pytest.raises(InvalidRequestError, match="tools is function") as caught:
        ChatRequest("Hi", tools=add)
    assert caught.value.hint == "Put it into a list: tools=[...]"


def test_a_text_with_images_and_tools_is_the_same_chat():
    request = CompletionRequest("Which?", "Be brief", images=PNG, tools=[add], tool_choice="add", seed=1)
    messages = [Message.system("Be brief"), Message.user("Which?", [PNG])]
    assert request.as_chat() == ChatRequest(messages, tools=[add], tool_choice="add", seed=1)


def test_a_request_with_images_can_be_pickled_shown_and_changed(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(PNG)
    request = CompletionRequest("What is this?", images=[path, bytearray(PNG)], tools=[add])
    path.unlink()
    assert pickle.loads(pickle.dumps(request)) == request
    assert dataclasses.replace(request, seed=1).as_chat().messages == request.as_chat().messages
    assert "iVBOR" not in repr(request)
    assert len(repr(request)) < 1000


def test_an_image_that_cannot_be_read_is_refused_when_the_request_is_made():
    with pytest.raises(InvalidRequestError, match="cannot read"):
        CompletionRequest("What is this?", images=["no/such/file.png"])


@for_each(
    ("typed", "right"),
    [
        ("temprature", "temperature"),
        ("Temperature", "temperature"),
        ("temp", "temperature"),
        ("max_token", "max_tokens"),
        ("maxTokens", "max_tokens"),
        ("maxOutputTokens", "max_tokens"),
        ("max_completion_tokens", "max_tokens"),
        ("max_output_tokens", "max_tokens"),
        ("num_predict", "max_tokens"),
        ("topK", "top_k"),
        ("topP", "top_p"),
        ("repetition_penalty", "repeat_penalty"),
        ("stop_sequences", "stop"),
        ("system", "system_prompt"),
        ("sytem", "system_prompt"),
        ("instructions", "system_prompt"),
        ("format", "response_format"),
        ("json_schema", "response_format"),
        ("functions", "tools"),
        ("function", "tools"),
        ("tool", "tools"),
        ("function_call", "tool_choice"),
        ("image", "images"),
        ("n_ctx", "num_ctx"),
        ("extra_body", "extra"),
        ("request_timeout", "timeout"),
        ("model_name", "model"),
        ("response_model", "response_format"),
    ],
)
def test_an_unknown_option_is_refused_with_the_right_word(typed, right):
    with pytest.raises(InvalidRequestError, match=rf"there is no option '{typed}'") as caught:
        override(CompletionRequest("Hi"), **{typed: 1})
    assert caught.value.hint == f"Did you mean {right!r}?"


@for_each(
    ("typed", "right", "advice"),
    [
        ("max_round", "max_rounds", "run_tools() and conversations take it"),
        ("max_turns", "max_rounds", "run_tools() and conversations take it"),
        ("on_evnt", "on_event", "run_tools() and conversations take it"),
        ("comfirm", "confirm", "run_tools() and conversations take it"),
        ("onchunk", "on_chunk", "take on_chunk="),
        ("strem", "stream", "Call stream()"),
        ("tmeout", "timeout", "goes with the call"),
        ("previous_respons_id", "previous_response_id", "responses() takes it"),
    ],
)
def test_a_misspelt_option_of_another_call_is_named_with_its_place(typed, right, advice):
    with pytest.raises(InvalidRequestError) as caught:
        CompletionRequest("Hi", **{typed: 1})
    assert caught.value.hint.startswith(f"Did you mean {right!r}? ")
    assert advice in caught.value.hint


@for_each("kind", [ChatRequest, CompletionRequest, TextRequest, ResponsesRequest, ToolLoopRequest])
def test_a_call_names_no_class_that_its_caller_did_not_write(kind):
    with pytest.raises(InvalidRequestError) as caught:
        override(kind("Hi"), user="u1")
    assert caught.value.message == "there is no option 'user'"
    assert caught.value.hint == "extra={'user': ...} sends it"


@pytest.mark.parametrize("request_", ["Hi", [{"role": "user", "content": "Hi"}]])
def test_the_request_of_a_provider_of_ones_own_names_the_right_option(request_):
    with pytest.raises(InvalidRequestError, match="there is no option 'temprature'") as caught:
        ChatRequest.from_input(request_, temprature=1)
    assert caught.value.hint == "Did you mean 'temperature'?"


@for_each(
    "typed",
    [
        "n",
        "user",
        "logprobs",
        "top_logprobs",
        "metadata",
        "modalities",
        "prediction",
        "service_tier",
        "best_of",
        "parallel_tool_calls",
        "mirostat",
        "num_gpu",
        "num_thread",
        "repeat_last_n",
        "typical_p",
        "suffix",
        "raw",
    ],
)
def test_an_option_that_only_the_server_knows_has_its_place_named(typed):
    with pytest.raises(InvalidRequestError) as caught:
        override(CompletionRequest("Hi"), **{typed: 1})
    assert "extra={" in caught.value.hint
    assert "Did you mean" not in caught.value.hint


@for_each("kind", [ChatRequest, CompletionRequest, TextRequest, ResponsesRequest, NativeRequest])
@for_each("typed", ["messages", "prompt", "input", "user_message", "text", "promt"])
def test_the_first_argument_of_a_call_cannot_be_given_by_name(kind, typed):
    with pytest.raises(InvalidRequestError) as caught:
        override(kind("Hi"), **{typed: "Ho"})
    assert "first argument" in caught.value.hint


@for_each(
    ("make", "typed", "right"),
    [
        (lambda **named: Message("user", **named), "contents", "content"),
        (lambda **named: Message("user", **named), "text", "content"),
        (lambda **named: Message("tool", "noon", **named), "tool_callid", "tool_call_id"),
        (lambda **named: Tool("now", **named), "input_schema", "parameters"),
        (lambda **named: Tool("now", **named), "desc", "description"),
        (lambda **named: ChatRequest("Hi", **named), "temprature", "temperature"),
        (lambda **named: ChatRequest("Hi", **named), "max_completion_tokens", "max_tokens"),
        (lambda **named: CompletionRequest("Hi", **named), "system", "system_prompt"),
        (lambda **named: TextRequest("Hi", **named), "stop_strings", "stop"),
        (lambda **named: ResponsesRequest("Hi", **named), "previous_id", "previous_response_id"),
        (lambda **named: NativeRequest("Hi", **named), "num_ctx", "context_length"),
    ],
)
def test_an_argument_of_a_message_or_a_request_is_refused_with_the_right_word(make, typed, right):
    with pytest.raises(InvalidRequestError, match=rf"has no field '{typed}'") as caught:
        make(**{typed: 1})
    assert caught.value.hint == f"Did you mean {right!r}?"


def test_a_limit_of_the_call_is_not_a_field_of_a_request():
    with pytest.raises(InvalidRequestError, match="'timeout'") as caught:
        ChatRequest("Hi", timeout=5)
    assert "goes with the call" in caught.value.hint


def test_requests_show_their_fields():
    assert list(inspect.signature(ChatRequest).parameters)[:3] == ["messages", "tools", "tool_choice"]
    assert list(inspect.signature(Message).parameters)[:2] == ["role", "content"]


@for_each(
    ("typed", "right"),
    [
        ("asistant", "assistant"),
        ("Assistant", "assistant"),
        ("users", "user"),
        ("USER", "user"),
        ("sys", "system"),
        ("tools", "tool"),
        ("human", "user"),
        ("ai", "assistant"),
        ("model", "assistant"),
    ],
)
def test_a_role_that_is_misspelt_is_refused_with_the_right_one(typed, right):
    for make in (lambda: Message(typed, "Hi"), lambda: ChatRequest([{"role": typed, "content": "Hi"}])):
        with pytest.raises(InvalidRequestError, match=typed) as caught:
            make()
        assert caught.value.hint == f"Did you mean {right!r}?"


@for_each("role", [None, 5, ["user"], b"user"])
def test_a_role_that_is_not_a_text_is_refused(role):
    for make in (lambda: Message(role, "Hi"), lambda: ChatRequest([{"role": role, "content": "Hi"}])):
        with pytest.raises(InvalidRequestError, match="role="):
            make()


@for_each("role", ["developer", "function", "control", "ipython", "observation"])
def test_a_role_that_a_template_may_know_is_taken_in_a_dict(role):
    assert ChatRequest([{"role": role, "content": "Hi"}]).messages[0]["role"] == role


@for_each("name", ["contents", "Content", "text", "message"])
def test_a_dict_whose_content_is_misspelt_is_refused(name):
    with pytest.raises(InvalidRequestError, match=rf"messages\[1\] has '{name}' and no content"):
        ChatRequest([{"role": "user", "content": "Hi", "text": "more"}, {"role": "user", name: "Ho"}])


def test_a_dict_without_content_is_taken_if_nothing_in_it_was_meant_as_content():
    calls = [{"id": "1", "type": "function", "function": {"name": "now", "arguments": "{}"}}]
    assert len(ChatRequest([{"role": "assistant", "tool_calls": calls}, {"role": "user", "images": []}]).messages) == 2


def test_an_overridden_field_is_checked_too():
    with pytest.raises(InvalidRequestError, match="temperature"):
        override(CompletionRequest("Hi"), temperature=-1)


def test_a_value_that_json_cannot_represent_is_refused_by_name():
    with pytest.raises(InvalidRequestError, match="the request cannot be written"):
        to_json({"a": object()}, "the request")


def test_the_text_comes_first_and_the_defaults_are_those_of_the_contract():
    request = CompletionRequest("Hi", "Be brief")
    assert (request.user_message, request.system_prompt) == ("Hi", "Be brief")
    assert (request.max_tokens, request.temperature) == (4096, 0.7)
    assert {request.model, request.tier, request.top_p, request.stop, request.seed} == {None}


def test_messages_have_a_constructor_for_each_role():
    call = ToolCall("7", "now")
    assert Message.system("Be brief") == Message("system", "Be brief")
    assert Message.user("Hi") == Message("user", "Hi")
    assert Message.assistant(None, [call]) == Message("assistant", None, tool_calls=(call,))
    assert Message.tool(call, "noon") == Message("tool", "noon", tool_call_id="7")
    assert Message.tool("7", {"hour": 12}) == Message("tool", '{"hour":12}', tool_call_id="7")


def test_a_result_that_contains_itself_is_refused():
    result = []
    result.append(result)
    with pytest.raises(InvalidRequestError, match="of the call '7' contains itself"):
        Message.tool("7", result)


def test_a_tool_without_parameters_takes_none():
    assert Tool("now").parameters == {"type": "object", "properties": {}}


@for_each(
    "make",
    [
        lambda: Message("usr", "Hi"),
        lambda: Message.user(5),
        lambda: Message("user", [5]),
        lambda: Message.assistant("Hi", "abc"),
        lambda: Message.assistant("Hi", [{"id": "7"}]),
        lambda: Tool(""),
        lambda: Tool("two words"),
        lambda: Tool(None),
        lambda: Tool("now", None),
        lambda: Tool("now", "The time", []),
        lambda: ToolCall("7", "now", "{}"),
        lambda: ToolCall("7", "now", [1]),
        lambda: ToolCall("7", "now", {"a": object()}),
        lambda: ToolCall("7", "now", raw_arguments=5),
        lambda: ToolCall(7, "now"),
        lambda: CompletionRequest("Hi", extra=[1]),
        lambda: CompletionRequest("Hi", logit_bias=[1]),
    ],
)
def test_a_request_that_cannot_be_sent_is_refused_when_it_is_made(make):
    with pytest.raises(InvalidRequestError):
        make()


@for_each("blank", ["", " ", "\n"])
@for_each(("field", "hint"), [("model", "list_models()"), ("tier", "tier='fast'")])
def test_a_blank_model_or_tier_is_refused_with_what_to_write(provider, field, hint, blank):
    calls = [
        lambda: CompletionRequest("Hi", **{field: blank}),
        lambda: provider.complete("Hi", **{field: blank}),
        lambda: provider.chat([Message.user("Hi")], **{field: blank}),
        lambda: provider.stream("Hi", **{field: blank}),
        lambda: provider.native.chat("Hi", **{field: blank}),
    ]
    if field == "model":
        calls += [lambda: provider.embed("Hi", blank), lambda: provider.capabilities_for(blank)]
        calls += [lambda: provider.native.load(blank), lambda: provider.native.download(blank)]
    for call in calls:
        with pytest.raises(InvalidRequestError, match=f"{field}=") as caught:
            call()
        assert hint in caught.value.hint


def test_tools_may_come_from_a_generator_and_none_is_none():
    request = ChatRequest([Message.user("Hi")], tools=(Tool(name) for name in ("now", "then")))
    assert [tool.name for tool in request.tools] == ["now", "then"]
    assert ChatRequest([Message.user("Hi")], tools=None).tools == ()
    assert CompletionRequest("Hi", extra=None).extra == {}


@for_each(
    ("request_", "name", "hint"),
    [
        (TextRequest("Hi"), "tools", "chat()"),
        (TextRequest("Hi"), "system_prompt", "complete()"),
        (CompletionRequest("Hi"), "store", "responses()"),
        (CompletionRequest("Hi"), "think", "'reasoning'"),
        (CompletionRequest("Hi"), "thinking", "'reasoning'"),
        (CompletionRequest("Hi"), "base_url", "LMStudioProvider(base_url="),
        (CompletionRequest("Hi"), "api_key", "api_token="),
        (CompletionRequest("Hi"), "context_length", "native.load("),
        (CompletionRequest("Hi"), "context_length", "num_ctx="),
        (CompletionRequest("Hi"), "options", "extra={'options'"),
        (CompletionRequest("Hi"), "confirm", "run_tools()"),
        (CompletionRequest("Hi"), "stream", "stream()"),
        (ChatRequest("Hi"), "system_prompt", "Message.system"),
        (ChatRequest("Hi"), "system", "Message.system"),
        (ChatRequest("Hi"), "images", "Message.user"),
        (ChatRequest("Hi"), "on_chunk", "stream()"),
        (ChatRequest("Hi"), "stream_options", "stream()"),
    ],
)
def test_a_field_that_belongs_elsewhere_is_refused_with_the_place(request_, name, hint):
    with pytest.raises(InvalidRequestError) as caught:
        override(request_, **{name: "x"})
    assert hint in caught.value.hint


def test_a_choice_of_a_tool_that_is_not_text_is_refused():
    choice = {"type": "function", "function": {"name": "now"}}
    with pytest.raises(InvalidRequestError, match="Give the name of the tool"):
        ChatRequest([Message.user("Hi")], tools=[Tool("now")], tool_choice=choice)


@pytest.mark.parametrize("field", ["name", "tool_call_id"])
def test_a_name_or_an_id_of_a_message_that_is_not_text_is_refused(field):
    with pytest.raises(InvalidRequestError, match=field):
        Message("user", "Hi", **{field: 5})


def test_results_of_functions_become_json():
    @dataclasses.dataclass
    class Point:
        x: int
        kinds: set

    result = Message.tool("7", {"point": Point(1, {2}), "at": datetime.date(2026, 1, 1), "grüße": Kind.A}).content
    assert json.loads(result) == {"point": {"x": 1, "kinds": [2]}, "at": "2026-01-01", "grüße": "a"}
    assert "grüße" in result


class Kind(enum.Enum):
    A = "a"


@for_each("name", ["on_token", "callback", "onChunk"])
def test_a_callback_of_another_name_is_refused_with_the_right_word(name):
    with pytest.raises(InvalidRequestError, match="on_chunk="):
        override(ChatRequest("Hi"), **{name: print})


def test_the_repr_of_a_request_does_not_contain_the_images_of_its_messages():
    data = "iVBORw0KGgo" + "A" * 4000
    parts = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}]
    messages = [{"role": "user", "content": "Look", "images": [data]}, {"role": "user", "content": parts}]
    for kind in (ChatRequest, ResponsesRequest):
        assert "AAAA" not in repr(kind(messages))
        assert "'Look'" in repr(kind(messages))


@for_each(
    ("options", "problem"),
    [
        ({"temperature": "x"}, "temperature='x' is not valid: use a number, 0 or more"),
        ({"temperature": float("inf")}, "temperature=inf is not valid: use a number, 0 or more"),
        ({"top_p": 1.5}, "top_p=1.5 is not valid: use a number from 0 to 1"),
        ({"seed": True}, "seed=True is not valid: use a whole number"),
        ({"num_ctx": 0}, "num_ctx=0 is not valid: use a whole number, 1 or more"),
        ({"extra": 5}, "extra=5 is not a mapping"),
        ({"stop": 5}, "stop=5 is not text or a sequence of texts"),
        ({"logit_bias": {"1": True}}, "logit_bias={'1': True} is not a mapping of token ids to numbers"),
        ({"tool_choice": 5}, "tool_choice=5 is not text. Give the name of the tool"),
    ],
)
def test_a_value_that_cannot_work_is_quoted_with_values_that_can(options, problem):
    with pytest.raises(InvalidRequestError) as caught:
        ChatRequest("hi", **options)
    assert str(caught.value) == problem


def test_the_options_are_the_same_as_fields_and_as_keyword_arguments():
    fields = {each.name: each.type for each in dataclasses.fields(TextRequest) if each.name != "prompt"}
    assert {name: hint.__forward_arg__ for name, hint in Options.__annotations__.items()} == fields


def test_each_option_is_checked():
    assert set(Options.__annotations__) == {*_CHECKS, "stop", "on_truncation", "extra"}
