"""The loop of a model and the functions that it calls."""

from __future__ import annotations

import gc
import json
import logging
import pickle
import traceback
import weakref
from dataclasses import dataclass
from decimal import Decimal
from typing import Iterator, List, Literal

import pytest
from raw import stream_of
from tables import for_each

from lmstudio_provider import (
    ChatRequest,
    Completion,
    ConfigurationError,
    Conversation,
    InvalidRequestError,
    LMStudioProvider,
    Message,
    OllamaProvider,
    ServerError,
    Stats,
    Tool,
    ToolArgumentsError,
    ToolCall,
    ToolCallWarning,
    run_tools,
)
from lmstudio_provider.simulator import SimulatedLMStudio, SimulatedOllama

ASK = [Message.user("How is the weather?")]


@dataclass
class Place:
    city: str
    country: str = "NO"


def get_weather(place: Place, unit: Literal["celsius", "fahrenheit"] = "celsius") -> dict[str, object]:
    """Tell the weather."""
    assert isinstance(place, Place)
    return {"place": place, "unit": unit, "degrees": 21}


def fail(why: str) -> str:
    raise LookupError(why)


def add(numbers: List[int]) -> int:  # noqa: UP006 (Python 3.9 looks it up)
    return sum(numbers)


class Scripted:
    """A provider whose answers are given; keeps the requests."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []

    def chat(self, request, **overrides):
        self.requests.append((request, overrides))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Completion):
            return answer
        if isinstance(answer, str):
            return Completion(answer, "m", "m", "stop")
        return Completion("", "m", "m", "tool_calls", tool_calls=tuple(answer))


def call(name, arguments=None, id="1", **given):
    return ToolCall(id, name, arguments, **given)


def results(run):
    return [message.content for message in run.messages if message.role == "tool"]


# What cannot work


@for_each("tools", [[], None, "get_weather", get_weather, {}])
def test_no_tools_are_refused(tools):
    with pytest.raises(InvalidRequestError, match="needs tools"):
        run_tools(Scripted(), ASK, tools)


@for_each("provider", [LMStudioProvider, "http://localhost:1234", None, 7])
def test_an_object_that_is_not_a_provider_is_refused(provider):
    for call in (lambda: run_tools(provider, ASK, [add]), lambda: Conversation(provider)):
        with pytest.raises(InvalidRequestError, match="not a provider"):
            call()


def test_a_tool_without_a_function_is_refused():
    with pytest.raises(InvalidRequestError, match="now has no function"):
        run_tools(Scripted(), ASK, [Tool("now")])


def test_two_tools_of_one_name_are_refused():
    with pytest.raises(InvalidRequestError, match="same name"):
        run_tools(Scripted(), ASK, [add, Tool.from_function(fail, name="add")])


def test_a_function_that_cannot_be_a_tool_is_refused_before_anything_is_sent():
    scripted = Scripted("never")
    with pytest.raises(ConfigurationError, match="no type hint"):
        run_tools(scripted, ASK, [Tool("f", function=lambda x: x)])
    assert scripted.requests == []


@for_each(("name", "value"), [("max_rounds", 0), ("max_rounds", True), ("confirm", "yes"), ("on_event", 7)])
def test_arguments_that_cannot_work_are_refused(name, value):
    with pytest.raises(InvalidRequestError, match=name):
        run_tools(Scripted(), ASK, [add], **{name: value})


# What goes wrong on the way


@for_each(
    ("wanted", "told"),
    [
        (call("subtract", {}), "Error: there is no tool 'subtract'; there are add, fail, get_weather"),
        (call("add", raw_arguments="{"), "Error: the arguments that the model wrote for 'add' are not JSON"),
        (call("add", raw_arguments="[1]"), "Error: the arguments that the model wrote for 'add' are not a JSON object"),
        (call("add", {}), "Error: the arguments do not fit: $.numbers: it is missing"),
        (
            call("add", {"numbers": [1, "two"]}),
            'Error: the arguments do not fit: $.numbers[1]: "two" is not of type integer',
        ),
        (call("get_weather", {"place": {}}), "Error: the arguments do not fit: $.place.city: it is missing"),
        (call("fail", {"why": "no such city"}), "Error: LookupError: no such city"),
    ],
    ids=str,
)
def test_a_call_that_fails_is_reported_to_the_model_and_kept(wanted, told):
    scripted = Scripted([wanted], "Sorry.")
    run = run_tools(scripted, ASK, [add, fail, get_weather])
    assert run.completion.text == "Sorry."
    (result,) = results(run)
    assert result.startswith(told)
    assert scripted.requests[1][0].messages[-1].content == result


def test_a_failed_call_is_logged_with_its_traceback(caplog):
    with caplog.at_level(logging.WARNING, "lmstudio_provider"):
        run_tools(Scripted([call("fail", {"why": "no such city"})], "Sorry."), ASK, [fail])
    assert "in fail" in caplog.text


def purge(path: str = "/", force: bool = True) -> str:
    raise AssertionError("it must not be called")


@for_each("arguments", ["", "{}", '{"path": "/tmp/x"}', '{"path": "/tm', "null"])
def test_a_call_of_a_reply_that_was_cut_off_is_not_made(arguments):
    cut = Completion("", "m", "m", "length", tool_calls=(call("purge", raw_arguments=arguments),))
    with pytest.warns(
        ToolCallWarning, match=r"max_tokens=4096, so its calls \(purge\) .* not be made: raise max_tokens"
    ):
        run = run_tools(Scripted(cut, "Sorry."), ASK, [purge])
    assert "cut off by max_tokens" in results(run)[0]
    assert run.messages[1].tool_calls[0].raw_arguments == arguments


@for_each("reason", ["error", "abort", "content_filter", "max_tokens", "unload"])
def test_a_call_of_a_reply_that_broke_off_in_other_words_is_not_made(reason):
    broken = Completion("", "m", "m", reason, tool_calls=(call("purge"),))
    with pytest.warns(ToolCallWarning, match="purge"):
        run = run_tools(Scripted(broken, "Sorry."), ASK, [purge])
    assert results(run)[0].startswith("Error: not called")


@for_each("reason", ["maxPredictedTokensReached", "contextLengthReached", "modelUnloaded", "failed"])
def test_a_call_of_a_reply_that_lm_studios_own_words_say_was_cut_is_not_made(reason):
    cut = Completion("", "m", "m", "tool_calls", tool_calls=(call("purge"),), stats=Stats(stop_reason=reason))
    with pytest.warns(ToolCallWarning, match="purge"):
        run = run_tools(Scripted(cut, "Sorry."), ASK, [purge])
    assert results(run)[0].startswith("Error: not called")


def test_a_call_of_a_stream_that_was_cut_off_is_not_made(raw_server, provider_of):
    cut = (
        b'data: {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "1", "function": {"name": "purge"}}]}}]}\n\n'
        b'data: {"choices": [{"delta": {}, "finish_reason": "length"}]}\n\ndata: [DONE]\n\n'
    )
    with pytest.warns(ToolCallWarning, match="cut off by max_tokens=7"):
        run = run_tools(provider_of(raw_server(stream_of(cut))), ASK, [purge], stream=True, max_tokens=7, max_rounds=1)
    assert "cut off by max_tokens" in results(run)[0]


def test_an_exception_of_a_tool_is_kept_with_its_traceback():
    wanted = [call("fail", {"why": "a"}), call("add", {"numbers": "many"}, id="2"), call("gone", id="3")]
    run = run_tools(Scripted(wanted, "Sorry."), ASK, [fail, add])
    (error,) = run.errors
    assert (type(error), str(error)) == (LookupError, "a")
    assert "in fail" in "".join(traceback.format_tb(error.__traceback__))
    completion, messages = run
    assert (completion, messages) == (run.completion, run.messages)
    assert len(pickle.loads(pickle.dumps(run)).errors) == 1


def test_a_result_that_contains_itself_is_reported_to_the_model_and_kept():
    def loop() -> list:
        value = []
        value.append(value)
        return value

    run = run_tools(Scripted([call("loop")], "Sorry."), ASK, [loop])
    assert "the result of the tool loop contains itself" in results(run)[0]
    assert isinstance(run.errors[0], InvalidRequestError)


def test_keyboard_interrupt_in_a_function_gets_through():
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_tools(Scripted([call("stop")]), ASK, [stop])


def test_too_many_rounds_end_with_an_answer_in_words():
    again = [call("add", {"numbers": [1]})]
    scripted = Scripted(again, again, "It is 1.")
    run = run_tools(scripted, ASK, [add], max_rounds=2)
    assert run.completion.text == "It is 1."
    assert [request.tool_choice for request, _ in scripted.requests] == [None, None, "none"]


def test_a_model_that_never_stops_calling_is_stopped_with_a_warning():
    again = [call("add", {"numbers": [1]})]
    with pytest.warns(RuntimeWarning, match="max_rounds=2") as warned:
        run = run_tools(Scripted(again, again, again), ASK, [add], max_rounds=2)
    assert warned[0].filename == __file__
    assert results(run) == ["1", "1", "Error: not called, because there were too many rounds of calls"]
    assert run.completion.tool_calls


def test_an_error_of_the_provider_carries_the_conversation_so_far():
    scripted = Scripted([call("add", {"numbers": [1, 2]})], ServerError("boom"))
    with pytest.raises(ServerError) as caught:
        run_tools(scripted, ASK, [add])
    assert [message.role for message in caught.value.messages] == ["user", "assistant", "tool"]
    assert pickle.loads(pickle.dumps(caught.value)).messages[-1].content == "3"


@pytest.mark.parametrize("failing", ["on_event", "confirm"])
def test_an_exception_in_a_callback_ends_the_run_and_reaches_the_caller(failing):
    made = []

    def note(text: str) -> None:
        made.append(text)

    def broken(_):
        raise LookupError("on purpose")

    scripted = Scripted([call("note", {"text": "a"})], "Done.")
    with pytest.raises(LookupError, match="on purpose"):
        run_tools(scripted, ASK, [note], **{failing: broken})
    assert made == []


def test_a_call_that_is_not_confirmed_is_not_made():
    called = []

    def delete(path: str) -> str:
        called.append(path)
        return "gone"

    asked = []
    wanted = [call("delete", {"path": "/"}), call("delete", {"path": "/tmp/x"}, id="2")]
    run = run_tools(Scripted(wanted, "Done."), ASK, [delete], confirm=lambda each: asked.append(each) or each.id == "2")
    assert called == ["/tmp/x"]
    assert asked == wanted
    assert results(run) == ["Error: the user does not allow this call", "gone"]


# What works


def test_functions_are_called_with_what_their_hints_say_until_there_is_an_answer():
    wanted = [call("get_weather", {"place": {"city": "Oslo"}}), call("add", {"numbers": [1, 2]}, id="2")]
    scripted = Scripted(wanted, "21 degrees.")
    run = run_tools(scripted, ASK, [get_weather, add], temperature=0.1)
    assert run.completion.text == "21 degrees."
    assert [json.loads(each) for each in results(run)] == [
        {"place": {"city": "Oslo", "country": "NO"}, "unit": "celsius", "degrees": 21},
        3,
    ]
    assert [message.role for message in run.messages] == ["user", "assistant", "tool", "tool", "assistant"]
    assert [message.tool_call_id for message in run.messages if message.role == "tool"] == ["1", "2"]
    assert run.messages[:1] == ASK
    assert [overrides for _, overrides in scripted.requests] == [{"temperature": 0.1}] * 2


@for_each(
    ("arguments", "result"),
    [
        ('{"numbers": [1, "2", 3.0]}', "6"),
        ('{"numbers": "[1, 2]"}', "3"),
        ('{"numbers": [1, 2,],}', "3"),
        ('```json\n{"numbers": [3]}\n```', "3"),
        ('"{\\"numbers\\": [3]}"', "3"),
        ('{"numbers":\n\t[3]}', "3"),
    ],
)
def test_arguments_that_are_nearly_right_are_taken(arguments, result):
    assert results(run_tools(Scripted([call("add", raw_arguments=arguments)], "Done."), ASK, [add])) == [result]


@for_each("by_hand", [True, False])
def test_no_digit_of_an_argument_is_lost(by_hand):
    def pay(amount: Decimal, id: int) -> str:
        return f"{amount} {id}"

    schema = {"type": "object", "properties": {"amount": {"type": "number"}, "id": {"type": "integer"}}}
    tool = Tool("pay", "", schema, function=pay) if by_hand else pay
    wanted = [call("pay", raw_arguments='{"amount": 12345678901234567.89, "id": 9007199254740993.0}')]
    assert results(run_tools(Scripted(wanted, "."), ASK, [tool])) == ["12345678901234567.89 9007199254740993"]
    (amount, _) = wanted[0].arguments.values()
    assert (amount, repr(amount)) == (12345678901234567.89, "1.2345678901234568e+16")
    assert pickle.loads(pickle.dumps(amount)) == amount


def test_raw_line_breaks_and_tabs_in_the_text_of_arguments_are_kept():
    def note(text: str) -> str:
        return text

    wanted = [call("note", raw_arguments='{"text": "a\n\tb"}')]
    assert results(run_tools(Scripted(wanted, "Done."), ASK, [note])) == ["a\n\tb"]


@for_each("arguments", ["", " ", "null", "{}", '"{}"'])
def test_a_function_without_parameters_takes_nothing_and_null(arguments):
    def now() -> str:
        return "noon"

    assert results(run_tools(Scripted([call("now", raw_arguments=arguments)], "."), ASK, [now])) == ["noon"]


def test_null_for_a_parameter_with_a_default_is_the_default():
    def look(city: str, days: int = 3) -> str:
        return f"{city} {days}"

    wanted = [call("look", {"city": "Oslo", "days": None}), call("look", {"city": None}, id="2")]
    assert results(run_tools(Scripted(wanted, "."), ASK, [look])) == [
        "Oslo 3",
        "Error: the arguments do not fit: $.city: null is not of type string",
    ]


def test_arguments_that_are_nearly_right_fit_a_schema_written_by_hand():
    def delete(count: int, names: List[str], really: bool = False) -> str:  # noqa: UP006 (Python 3.9 looks it up)
        return f"{count} {names} {really}"

    schema = {
        "type": "object",
        "properties": {
            "count": {"type": "integer"},
            "names": {"type": "array", "items": {"type": "string"}},
            "really": {"type": "boolean"},
        },
        "required": ["count", "names"],
    }
    wanted = [call("delete", {"count": "3", "names": '["a"]', "really": "true"})]
    wanted += [call("delete", {"count": 3.0, "names": [], "really": None}, id="2")]
    run = run_tools(Scripted(wanted, "."), ASK, [Tool("delete", "", schema, delete)])
    assert results(run) == ["3 ['a'] True", "3 [] False"]


def test_the_messages_of_a_run_are_all_messages():
    given = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How is the weather?"}]
    scripted = Scripted([call("add", {"numbers": [1]})], "Fine.")
    run = run_tools(scripted, given, [add])
    assert all(isinstance(message, Message) for message in run.messages)
    assert [message.role for message in run.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert list(scripted.requests[1][0].messages[:2]) == given


def test_a_tool_that_yields_is_read():
    def count(to: int) -> Iterator[int]:
        yield from range(to)

    assert results(run_tools(Scripted([call("count", {"to": 3})], "."), ASK, [count])) == ["[0,1,2]"]


def test_a_request_with_its_options_is_taken_as_well():
    scripted = Scripted("Hi")
    run_tools(scripted, ChatRequest(ASK, seed=7), [add])
    request = scripted.requests[0][0]
    assert (request.seed, [tool.name for tool in request.tools]) == (7, ["add"])


def test_the_choice_of_a_tool_applies_only_to_the_first_round():
    scripted = Scripted([call("add", {"numbers": [1]})], "1")
    run_tools(scripted, ASK, [add, fail], tool_choice="add")
    assert [request.tool_choice for request, _ in scripted.requests] == ["add", None]


def test_each_step_is_an_event():
    seen = []
    run_tools(
        Scripted([call("add", {"numbers": [1]}), call("fail", {"why": "x"}, id="2")], "1"),
        ASK,
        [add, fail],
        on_event=seen.append,
    )
    assert [(event.kind, event.result, type(event.error)) for event in seen] == [
        ("completion", None, type(None)),
        ("call", None, type(None)),
        ("result", "1", type(None)),
        ("call", None, type(None)),
        ("result", "Error: LookupError: x", LookupError),
        ("completion", None, type(None)),
    ]


@pytest.mark.parametrize("stream", [False, True])
def test_the_loop_runs_over_a_server(stream):
    seen = []
    wanted = {"tool_calls": [{"name": "add", "arguments": {"numbers": [1, 2]}}]}
    with SimulatedLMStudio(replies=[wanted, "It is 3."]) as server, LMStudioProvider(server.url) as lm:
        run = run_tools(lm, ASK, [add], stream=stream, on_event=seen.append)
    assert (run.completion.text, results(run)) == ("It is 3.", ["3"])
    assert bool([event for event in seen if event.kind == "chunk"]) == stream
    sent = server.requests[-1]["body"]["messages"]
    assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"]


def test_a_stream_that_is_closed_in_the_middle_ends_the_run_without_its_calls():
    wanted = {"content": "I look it up.", "tool_calls": [{"name": "fail", "arguments": {"why": "x"}}]}
    with SimulatedLMStudio(replies=[wanted]) as server, LMStudioProvider(server.url) as lm:
        streams = []

        class Closing:
            def stream(self, request, **overrides):
                streams.append(lm.stream(request, **overrides))
                return streams[-1]

        run = run_tools(Closing(), ASK, [fail], stream=True, on_event=lambda event: streams[0].close())
    assert run.completion.finish_reason == "cancelled"
    assert [message.role for message in run.messages] == ["user", "assistant"]
    assert run.messages[-1].tool_calls == ()


@for_each("stream", [False, True])
@for_each("declared", ["addNumbers", "add-numbers", "Add.Numbers"])
def test_a_name_that_comes_back_in_snake_case_finds_its_tool(stream, declared):
    wanted = {"tool_calls": [{"name": "add_numbers", "arguments": {"numbers": [2]}}]}
    with SimulatedLMStudio(replies=[wanted, "2"]) as server, LMStudioProvider(server.url) as lm:
        run = run_tools(lm, ASK, [Tool.from_function(add, name=declared)], stream=stream)
    assert results(run) == ["2"]
    assert run.messages[1].tool_calls[0].name == declared


def test_arguments_are_also_checked_against_a_schema_written_by_hand():
    called = []

    def delete(count: int) -> str:
        called.append(count)
        return "deleted"

    schema = {"type": "object", "properties": {"count": {"type": "integer", "maximum": 10}}, "required": ["count"]}
    wanted = [call("delete", {"count": 1000}), call("delete", {"count": 5}, id="2")]
    run = run_tools(Scripted([*wanted], "Done."), ASK, [Tool("delete", "", schema, delete)])
    assert called == [5]
    assert results(run)[0] == "Error: the arguments do not fit: $.count: 1000 is too much, maximum is 10"


def test_the_error_of_an_event_is_one_of_ours_and_pickles():
    seen = []
    run_tools(Scripted([call("add", {})], "Sorry."), ASK, [add], on_event=seen.append)
    error = pickle.loads(pickle.dumps(seen[-2].error))
    assert isinstance(error, ToolArgumentsError)
    assert error.raw_arguments == "{}"


def test_a_function_that_returns_a_coroutine_is_reported_to_the_model():
    async def wait() -> None: ...

    def sneaky() -> object:
        return wait()

    assert "async" in results(run_tools(Scripted([call("sneaky")], "Sorry."), ASK, [sneaky]))[0]


def test_an_exception_that_cannot_be_shown_or_is_endless_harms_nothing():
    class Broken(Exception):
        def __str__(self) -> str:
            raise ValueError

    def broken() -> None:
        raise Broken

    def endless() -> None:
        raise ValueError("x" * 1_000_000)

    run = run_tools(Scripted([call("broken"), call("endless", id="2")], "Sorry."), ASK, [broken, endless])
    assert results(run)[0] == "Error: Broken"
    assert len(results(run)[1]) < 3000


def test_an_exception_of_an_argument_that_cannot_be_shown_is_a_misfit():
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    @dataclass
    class Refusing:
        city: str

        def __post_init__(self) -> None:
            raise Broken

    class Model:
        @staticmethod
        def model_json_schema() -> dict:
            return {"type": "object"}

        @staticmethod
        def model_validate_json(text: str) -> None:
            raise Broken

    for kind in (Refusing, Model):

        def go(place):
            return "gone"

        go.__annotations__ = {"place": kind}
        run = run_tools(Scripted([call("go", {"place": {"city": "Oslo"}})], "Sorry."), ASK, [go])
        assert "do not fit" in results(run)[0]
        assert "Broken" in results(run)[0]


def test_a_failed_call_keeps_nothing_of_the_function(caplog):
    caplog.set_level(logging.CRITICAL, "lmstudio_provider")  # what is logged is kept by pytest

    class Big:
        pass

    kept = []

    def hold() -> None:
        big = Big()
        kept.append(weakref.ref(big))
        raise LookupError

    gc.collect()
    gc.disable()
    try:
        run_tools(Scripted([call("hold")], "Sorry."), ASK, [hold])
        assert kept[0]() is None
    finally:
        gc.enable()


def test_a_text_is_one_message_of_the_user():
    scripted = Scripted("Fine.")
    run = run_tools(scripted, "How is the weather?", [add])
    assert [message.content for message in run.messages] == ["How is the weather?", "Fine."]


def test_the_method_of_a_class_is_refused_with_a_hint():
    class Clock:
        def now(self) -> str:
            return "noon"

    with pytest.raises(ConfigurationError, match="method of an instance"):
        Tool.from_function(Clock.now)


# Thoughts


def thinking(text, reasoning, calls=(), finish_reason="stop"):
    return Completion(text, "m", "m", finish_reason, reasoning=reasoning, tool_calls=tuple(calls))


def test_the_thoughts_of_the_model_before_its_calls_are_sent_back_with_them():
    add_it = call("add", {"numbers": [1, 2]})
    scripted = Scripted(
        thinking("", "Add them.", [add_it], "tool_calls"),
        thinking("First", "", [add_it], "tool_calls"),
        thinking("It is 3.", "They say 3."),
    )
    run = run_tools(scripted, ASK, [add])
    first, _, second, _, last = run.messages[1:]
    assert first == Message.assistant("", [add_it], "Add them.")
    assert second == Message.assistant("First", [add_it])
    assert last == Message.assistant("It is 3.", reasoning="They say 3.")
    assert scripted.requests[1][0].messages == run.messages[:3]
    assert scripted.requests[2][0].messages == run.messages[:5]


def test_thoughts_of_a_reply_that_was_cancelled_stay_in_the_conversation():
    scripted = Scripted(thinking("It", "Hm.", [call("add", {"numbers": [1]})], "cancelled"))
    assert run_tools(scripted, ASK, [add]).messages[1:] == [Message.assistant("It", reasoning="Hm.")]


@for_each("stream", [False, True], ids=["whole", "streamed"])
@for_each(
    ("provider_class", "stand_in", "field"),
    [(OllamaProvider, SimulatedOllama, "thinking"), (LMStudioProvider, SimulatedLMStudio, "reasoning")],
)
def test_a_model_reads_its_thoughts_again_in_the_field_that_its_server_reads(provider_class, stand_in, field, stream):
    asks = {"reasoning_content": "Add them.", "tool_calls": [{"name": "add", "arguments": {"numbers": [1, 2]}}]}
    server = stand_in(["m"], replies=[asks, "It is 3."])
    with server, provider_class(server.url, model="m", refresh=False) as provider:
        assert run_tools(provider, ASK, [add], stream=stream).completion.text == "It is 3."
        _, answer, _ = server.requests[-1]["body"]["messages"]
    assert answer[field] == "Add them."
