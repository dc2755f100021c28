import dataclasses
import inspect
import math
import pickle
import pydoc
import sys
import typing

import pytest
from tables import for_each

import lmstudio_provider
from lmstudio_provider import (
    ChatRequest,
    Chunk,
    Completion,
    CompletionRequest,
    ConfigurationError,
    Conversation,
    Failover,
    Health,
    Limits,
    LMStudioProvider,
    MemoryUsage,
    ModelInfo,
    Native,
    NativeConversation,
    NativeRequest,
    OllamaProvider,
    Provider,
    ProviderError,
    ResponsesRequest,
    TextRequest,
    Timeouts,
    ToolArgumentsError,
    ToolCall,
    events,
    run_tools,
)
from lmstudio_provider._core import overrides
from lmstudio_provider._native import types as native

PUBLIC = {name: getattr(lmstudio_provider, name) for name in lmstudio_provider.__all__}
DATACLASSES = [each for each in [*PUBLIC.values(), *vars(events).values()] if dataclasses.is_dataclass(each)]
ERRORS = [each for each in PUBLIC.values() if inspect.isclass(each) and issubclass(each, ProviderError)]
FUNCTIONS = {
    f"{owner.__name__}.{name}": function
    for owner in PUBLIC.values()
    if inspect.isclass(owner)
    for name, function in inspect.getmembers(owner, inspect.isroutine)
    if inspect.isfunction(function) and not name.startswith("_") and "lmstudio_provider" in function.__module__
}
FUNCTIONS.update({name: each for name, each in PUBLIC.items() if inspect.isfunction(each)})


@for_each("text", ["not json", '{"city": ', "[1]", '"text"', "null", "[" * 100_000])
def test_arguments_that_are_not_an_object_raise_only_when_they_are_read(text):
    call = ToolCall("1", "get_weather", raw_arguments=text)
    assert call.raw_arguments == text
    with pytest.raises(ToolArgumentsError, match="get_weather") as caught:
        _ = call.arguments
    assert caught.value.raw_arguments == text


@pytest.mark.parametrize("text", ["", " \n"])
def test_no_arguments_are_an_empty_object(text):
    assert ToolCall("1", "now", raw_arguments=text).arguments == {}


def test_a_call_is_made_of_arguments_or_of_their_text():
    assert ToolCall("1", "f", {"city": "Grünau"}).raw_arguments == '{"city": "Grünau"}'
    assert ToolCall("1", "f", raw_arguments='{"a": 1}').arguments == {"a": 1}
    assert ToolCall("1", "f") == ToolCall("1", "f", raw_arguments="")


def test_a_call_is_frozen_and_can_be_replaced_hashed_and_pickled():
    call = ToolCall("1", "f", {"a": 1})
    with pytest.raises(dataclasses.FrozenInstanceError):
        call.name = "g"
    assert dataclasses.replace(call, name="g").arguments == {"a": 1}
    assert pickle.loads(pickle.dumps(call)) == call
    assert len({call, ToolCall("1", "f", {"a": 1})}) == 1


@for_each("bad", [0, -1, math.nan, math.inf, True, "10"])
@for_each("name", ["connect", "first_byte", "idle"])
def test_a_timeout_that_is_not_a_positive_number_is_refused_by_name(name, bad):
    with pytest.raises(ConfigurationError, match=rf"Timeouts\.{name}="):
        Timeouts(**{name: bad})


@for_each("name", ["max_line_bytes", "max_reply_bytes", "max_events_without_data"])
@for_each("bad", [0, 1.5, None, True])
def test_a_limit_that_is_not_a_positive_whole_number_is_refused_by_name(name, bad):
    with pytest.raises(ConfigurationError, match=rf"Limits\.{name}="):
        Limits(**{name: bad})


def test_a_completion_can_be_hashed_whatever_its_raw_reply_holds():
    assert hash(Completion("", "m", "m", raw={"a": []})) == hash(Completion("", "m", "m"))


def test_a_chunk_is_empty_by_default():
    assert Chunk() == ("", False, "", (), None, None)


@for_each(
    ("kind", "can"),
    [
        ("llm", True),
        ("vlm", True),
        ("embedding", False),
        ("drafter", False),
        ("decision", False),
        (None, False),
        ("", False),
    ],
)
def test_only_what_generates_text_can_chat(kind, can):
    assert ModelInfo("m", kind).can_chat is can
    assert ModelInfo("m").remote is False


def test_health_is_true_if_it_is_ok():
    assert Health(True)
    assert not Health(False)


evaluated = pytest.mark.skipif(sys.version_info < (3, 10), reason="Python 3.9 does not evaluate int | None")


@evaluated
@for_each("cls", DATACLASSES, ids=lambda cls: cls.__name__)
def test_the_types_of_a_dataclass_are_known_at_run_time(cls):
    hints = typing.get_type_hints(cls)
    assert {each.name for each in dataclasses.fields(cls)} <= hints.keys()
    assert not any(isinstance(hint, (str, typing.ForwardRef)) for hint in hints.values())


@evaluated
@for_each("name", FUNCTIONS)
def test_the_types_of_a_method_are_known_at_run_time(name):
    assert "return" in typing.get_type_hints(FUNCTIONS[name])


@evaluated
@for_each("cls", [LMStudioProvider, OllamaProvider, Failover, Conversation, NativeConversation, *DATACLASSES])
def test_the_types_of_a_constructor_are_known_at_run_time(cls):
    assert typing.get_type_hints(cls.__init__)["return"] is type(None)


@evaluated
@for_each("cls", ERRORS, ids=lambda cls: cls.__name__)
def test_the_types_of_an_error_are_known_at_run_time(cls):
    assert {"message", "hint", "partial", "progress"} <= typing.get_type_hints(cls).keys()


@for_each(
    ("function", "names"),
    [
        (LMStudioProvider.chat, {"request", "tools", "response_format"}),
        (LMStudioProvider.complete, {"request", "system_prompt", "images", "tools", "response_format"}),
        (LMStudioProvider.complete_with_tools, {"request", "tools", "tool_choice"}),
        (LMStudioProvider.complete_text, {"request", "stop"}),
        (LMStudioProvider.stream, {"request", "on_chunk", "images", "tools"}),
        (LMStudioProvider.responses_stream, {"request", "on_chunk", "previous_response_id", "store"}),
        (LMStudioProvider.messages_stream, {"request", "on_chunk", "system_prompt"}),
        (LMStudioProvider.responses, {"request", "previous_response_id", "store"}),
        (LMStudioProvider.messages, {"request", "system_prompt"}),
        (OllamaProvider.chat, {"request", "tools", "response_format"}),
        (Failover.chat, {"request", "tools", "response_format"}),
        (Failover.stream, {"request", "on_chunk", "images", "tools"}),
        (Provider.chat, {"request", "tools", "response_format"}),
        (Native.chat, {"input", "images", "integrations", "context_length"}),
        (Native.stream, {"input", "on_progress", "integrations"}),
        (Conversation.ask, {"text", "images", "tools", "tool_choice"}),
        (Conversation.stream, {"text", "images", "tool_choice"}),
        (NativeConversation.ask, {"text", "images", "reasoning"}),
        (NativeConversation, {"provider", "system_prompt", "reasoning"}),
        (run_tools, {"provider", "messages", "tools", "confirm"}),
    ],
)
def test_the_options_of_a_call_are_seen_by_name(function, names):
    parameters = inspect.signature(function).parameters
    assert {*names, "model", "temperature", "timeout", "deadline"} <= parameters.keys()
    assert str(parameters["temperature"]).startswith("temperature: 'float | None' = ")
    assert not any(each.kind is each.VAR_KEYWORD or each.name.startswith("_") for each in parameters.values())


@for_each("function", [Native.load, Native.loaded, Native.ensure_loaded])
def test_the_options_of_loading_are_seen_by_name(function):
    parameters = inspect.signature(function).parameters
    assert {"model", "timeout", "deadline", "context_length", "flash_attention"} <= parameters.keys()


def test_a_bound_method_shows_the_defaults_that_it_sends_and_help_shows_them_too():
    with LMStudioProvider(refresh=False) as lm:
        signature = inspect.signature(lm.chat)
        assert next(iter(signature.parameters)) == "request"
        assert signature.parameters["request"].default is inspect.Parameter.empty
        assert (signature.parameters["max_tokens"].default, signature.parameters["temperature"].default) == (4096, 0.7)
        shown = pydoc.plain(pydoc.render_doc(lm.chat))
    assert "temperature: 'float | None' = 0.7" in shown
    assert "tools: 'Iterable[ToolInput] | None'" in shown


def test_a_constructor_shows_only_its_arguments():
    for cls in (LMStudioProvider, OllamaProvider):
        assert list(inspect.signature(cls).parameters)[:3] == ["base_url", "model", "api_token"]
        assert not any(each.kind is each.VAR_KEYWORD for each in inspect.signature(cls).parameters.values())


@for_each(
    ("options", "request_"),
    [
        (overrides.CompletionOverrides, CompletionRequest),
        (overrides.ChatOverrides, ChatRequest),
        (overrides.Overrides, TextRequest),
        (overrides.ResponsesOverrides, ResponsesRequest),
        (native.NativeOptions, NativeRequest),
    ],
)
def test_a_call_takes_by_name_what_its_request_holds(options, request_):
    fields = dataclasses.fields(request_)[1:]  # the first one is the request
    of_a_call = {"timeout", "deadline", "reasoning_effort"}  # the last is another name of a field
    of_a_text = {"system_prompt", "images"} if options is overrides.ResponsesOverrides else set()
    assert options.__annotations__.keys() == {each.name for each in fields} | of_a_call | of_a_text
    for each in fields:
        told = options.__annotations__[each.name].__forward_arg__
        assert told == each.type or each.name == "tools"


@for_each("most", [0, -3, "usage.db", None, True, 1.5])
def test_a_number_of_records_that_cannot_work_is_refused(most):
    with pytest.raises(ConfigurationError, match="max_records="):
        MemoryUsage(most)


def test_a_completion_takes_the_type_of_its_parsed_value_at_run_time():
    completion = Completion[int]("7", "m", "m", parsed=7)
    assert completion == Completion("7", "m", "m", parsed=7)
    assert pickle.loads(pickle.dumps(completion)) == completion
