"""``run_tools``: the loop that calls the functions that a model asks for, until it answers in words."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import logging
import traceback
from dataclasses import dataclass
from typing import Any, Callable, Generator, Literal, Mapping, NamedTuple, Protocol, Sequence

from .._core.callbacks import Callback, warn
from .._core.checks import FUNCTION, check, check_fields, check_provider, number
from .._core.errors import InvalidRequestError, ProviderError, ToolArgumentsError, ToolCallWarning, class_and_text
from .._core.frozen import Frozen
from .._core.messages import Message, Tool
from .._core.options import Unpack, show_options
from .._core.overrides import ChatOverrides, StreamOverrides, ToolOverrides
from .._core.requests import ChatInput, ChatRequest, StreamInput, ToolLoopRequest
from .._core.results import result_text
from .._core.schema.functions import Function
from .._core.schema.json_schema import MisfitError, fitted
from .._core.types import Chunk, Completion, ToolCall
from .._dialects.accumulator import ToolCallAssembly
from .._dialects.tool_text import take_calls, warn_of_lost_calls, was_cut
from .._provider.stream import Stream

logger = logging.getLogger("lmstudio_provider")


class Chats(Protocol):
    """The methods of a provider that ``run_tools`` and ``Conversation`` call."""

    def chat(self, request: ChatInput, **overrides: Unpack[ChatOverrides]) -> Completion:
        """Answer a conversation."""

    def stream(self, request: StreamInput, on_chunk: None = None, **overrides: Unpack[StreamOverrides]) -> Stream:
        """Answer piece by piece."""


_Ask = Callable[[ChatRequest], Generator["ToolEvent", None, Completion]]


@dataclass(frozen=True, repr=False, eq=False)
class ToolEvent(Frozen):
    """One step of ``run_tools``. ``kind`` says which, and which of the other fields are set."""

    kind: Literal["chunk", "completion", "call", "result"]
    """A chunk of a stream came, a whole answer came, a call is about to be made, or its result is known."""
    chunk: Chunk | None = None
    completion: Completion | None = None
    call: ToolCall | None = None
    result: str | None = None
    """The text that the model gets as the result of ``call``."""
    error: Exception | None = None
    """Why the call failed."""


class _Answered(NamedTuple):
    completion: Completion
    """The model's last answer."""
    messages: list[Message]
    """The whole conversation: the messages given, then every answer with its thoughts, every call and every result."""


class ToolRun(_Answered):
    """The result of ``run_tools``; it unpacks into ``completion`` and ``messages``."""

    errors: tuple[Exception, ...]
    """The exceptions of the tools, each with its traceback; the model read each as the result of its call."""

    def __new__(cls, completion: Completion, messages: list[Message], errors: Sequence[Exception] = ()) -> ToolRun:
        run = super().__new__(cls, completion, messages)
        run.errors = tuple(errors)
        return run


@show_options(ChatRequest)
def run_tools(
    provider: Chats,
    messages: ChatInput | str,
    tools: Sequence[Tool | Callable[..., Any]],
    *,
    max_rounds: int = 10,
    on_event: Callable[[ToolEvent], object] | None = None,
    stream: bool = False,
    confirm: Callable[[ToolCall], object] | None = None,
    **overrides: Unpack[ToolOverrides],
) -> ToolRun:
    """Let the model call ``tools`` (functions, or Tools with a function) until it answers in words.

    ``messages`` is a conversation, a ChatRequest, or the user's text. Arguments are checked against the hints of the
    function and converted to them. The model is told of arguments that do not fit, an unknown tool, an exception in a
    function, and a call for which ``confirm`` returned a false value. A call that came as text is made if it is all of
    the text and fits a tool. The calls of a reply that ``max_tokens`` cut off are not made, and a ToolCallWarning says
    so. After ``max_rounds`` rounds of calls the model is asked once more, with ``tool_choice="none"``; calls that come
    all the same are not made.

    ``on_event`` is called with a ToolEvent for each step, with ``stream`` also for each chunk. An exception in
    ``on_event`` or ``confirm`` ends the run and reaches the caller. A ``tool_choice`` other than "auto" and "none"
    applies only to the first round. Further keyword arguments are those of ``chat``. Raises the errors of the provider,
    with the conversation so far as their ``messages``, and InvalidRequestError and ConfigurationError for tools that
    cannot be called.
    """
    callback = Callback("on_event", on_event)
    steps = tool_steps(provider, messages, listed(tools), max_rounds, stream, confirm, [], overrides)
    with contextlib.closing(steps):
        for step in steps:
            if isinstance(step, ToolEvent):
                callback(step)
    assert isinstance(step, ToolRun)  # noqa: S101 (the last one is)
    return step


def tool_steps(
    provider: Chats,
    messages: ChatInput | str,
    tools: Sequence[Tool | Callable[..., Any]],
    max_rounds: int,
    stream: bool,
    confirm: Callable[[ToolCall], object] | None,
    transcript: list[Message],
    overrides: ToolOverrides,
) -> Generator[ToolEvent | ToolRun, None, None]:
    """Return the steps of ``run_tools``, which send its requests; the last is its result. ``transcript`` grows."""
    check_provider("run_tools", provider)
    check("max_rounds", max_rounds, number(1, whole=True))
    check_fields({"confirm": confirm}, {"confirm": FUNCTION})
    offered = [tool if isinstance(tool, Tool) else Tool.from_function(tool) for tool in tools]
    runner = _Runner(offered, confirm)
    if len({tool.name for tool in offered}) < len(offered):
        raise InvalidRequestError(f"two tools have the same name: {', '.join(tool.name for tool in offered)}")
    messages = [Message.user(messages)] if isinstance(messages, str) else messages
    given = ToolLoopRequest.of(messages if isinstance(messages, ChatRequest) else ChatRequest(messages))
    request = dataclasses.replace(given, tools=offered, tool_choice=overrides.pop("tool_choice", given.tool_choice))
    transcript += [each if isinstance(each, Message) else Message.from_dict(each) for each in given.messages]
    ask = functools.partial(_asked, provider, stream, overrides)
    return _steps(ask, request, runner, max_rounds, transcript, overrides.get("max_tokens", request.max_tokens))


def _steps(
    ask: _Ask, request: ChatRequest, runner: _Runner, max_rounds: int, transcript: list[Message], max_tokens: int | None
) -> Generator[ToolEvent | ToolRun, None, None]:
    given, before = request.messages, len(transcript)
    errors: list[Exception] = []
    for left in range(max_rounds, -1, -1):
        if not left:
            request = dataclasses.replace(request, tool_choice="none")
        try:
            completion = take_calls((yield from ask(request)), request.tools)
        except ProviderError as error:
            error.messages = transcript
            raise
        # The calls of a cancelled reply may be incomplete. To go on, the model needs its thoughts before the calls.
        calls = () if completion.finish_reason == "cancelled" else completion.tool_calls
        transcript.append(Message.assistant(completion.text, calls, completion.reasoning or None))
        warn_of_lost_calls(completion, request.tools, max_tokens)
        yield ToolEvent("completion", completion=completion)
        if not calls:
            break
        refusal = _refusal(completion, left, max_rounds)
        for call in calls:
            if refusal:
                transcript.append(Message.tool(call, refusal))
                continue
            yield ToolEvent("call", call=call)
            result, failure, raised = runner.result(call)
            transcript.append(Message.tool(call, result))
            errors += [] if raised is None else [raised]
            yield ToolEvent("result", call=call, result=result, error=failure)
        choice = request.tool_choice if request.tool_choice in ("auto", "none") else None
        new = transcript[before:]
        request = dataclasses.replace(request, messages=[*given, *new], tool_choice=choice)
    else:
        transcript.append(Message.assistant(completion.text))  # so that the conversation can go on
    yield ToolRun(completion, transcript, errors)


def _refusal(completion: Completion, left: int, max_rounds: int) -> str | None:
    """Return the text that is sent instead of results, or None if the calls may be made."""
    names = ", ".join(call.name for call in completion.tool_calls)
    if completion.finish_reason == "length":
        return "Error: not called, because the reply was cut off by max_tokens; write less before and in the call"
    if was_cut(completion):
        return "Error: not called, because the reply broke off"
    if not left:
        what = f"the model still calls tools ({names}) after max_rounds={max_rounds}; these calls were not made"
        warn(what, ToolCallWarning)
        return "Error: not called, because there were too many rounds of calls"
    return None


class _Runner:
    def __init__(self, tools: Sequence[Tool], confirm: Callable[[ToolCall], object] | None) -> None:
        self._tools = {tool.name: (tool, _function(tool)) for tool in tools}
        self._names = ToolCallAssembly(tuple(self._tools))
        self._confirm = confirm

    def result(self, call: ToolCall) -> tuple[str, Exception | None, Exception | None]:
        """Make the call; return the text for the model, why the call failed, and the exception of the tool."""
        try:
            function, values = self._prepared(call)
        except (ToolArgumentsError, _RefusedError) as error:
            return f"Error: {_said(error)}", error, None
        if self._confirm is not None and not self._confirm(call):
            refused = _RefusedError("the user does not allow this call")
            return f"Error: {refused}", refused, None
        text, raised = _made(call, function, values)
        return text, raised, raised

    def _prepared(self, call: ToolCall) -> tuple[Function, dict[str, Any]]:
        """Return the function and its arguments; raise ToolArgumentsError or _RefusedError."""
        name = self._names.name_of(call.name)
        if name not in self._tools:
            raise _RefusedError(f"there is no tool {call.name!r}; there are {', '.join(self._tools)}")
        tool, function = self._tools[name]
        arguments = {} if call.raw_arguments.strip() == "null" else call.arguments
        try:
            if tool.parameters != function.schema:  # a schema written by hand may be stricter than the hints
                arguments = fitted(arguments, tool.parameters)
            return function, function.read(arguments)
        except MisfitError as error:
            what, hint = f"the arguments do not fit: {error}", "Answer the call with that"
            raise ToolArgumentsError(what, hint=hint, raw_arguments=call.raw_arguments) from error


class _RefusedError(Exception):
    """Why a call was not made."""


def _made(call: ToolCall, function: Function, values: Mapping[str, Any]) -> tuple[str, Exception | None]:
    """Return the result of the call as text, and the exception of the tool."""
    try:
        result = function.call(values)
        if inspect.iscoroutine(result):
            result.close()
            raise TypeError(f"{call.name} is async, but tools run without an event loop")
        return result_text(result, call.name), None
    except Exception as error:  # the model decides how to go on after any exception
        logger.warning("the call of the tool %s failed: %s", call.name, _said(error), exc_info=True)
        traceback.clear_frames(error.__traceback__)  # keeps the lines, releases the local variables
        return f"Error: {_said(error)}", error


# Of an error; the context of a model is small.
_MOST_CHARACTERS = 2000


def _said(error: Exception) -> str:
    ours = isinstance(error, (ToolArgumentsError, _RefusedError))
    return (str(error.args[0]) if ours else class_and_text(error))[:_MOST_CHARACTERS]


def _asked(
    provider: Chats, stream: bool, overrides: ToolOverrides, request: ChatRequest
) -> Generator[ToolEvent, None, Completion]:
    if not stream:
        return provider.chat(request, **overrides)
    with provider.stream(request, **overrides) as chunks:
        for chunk in chunks:
            yield ToolEvent("chunk", chunk=chunk)
    return chunks.completion


def listed(tools: object) -> list[Any]:
    """Return ``tools`` as a list; raise InvalidRequestError if it is not a sequence, or is empty."""
    if isinstance(tools, (str, Mapping)) or not isinstance(tools, Sequence) or not tools:
        hint = "Pass a list of functions: run_tools(lm, messages, [fn])"
        raise InvalidRequestError("run_tools needs tools", hint=hint)
    return list(tools)


def _function(tool: Tool) -> Function:
    if tool.function is None:
        hint = "Make it with Tool.from_function, or give function="
        raise InvalidRequestError(f"the tool {tool.name} has no function to call", hint=hint)
    return Function(tool.function)
