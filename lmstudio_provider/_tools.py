"""The loop in which a model asks for functions, they are called, and it answers with their results."""

from __future__ import annotations

import dataclasses
import inspect
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Mapping, NamedTuple, Protocol, Sequence

from ._callbacks import Callback, warn
from ._exceptions import InvalidRequestError, ProviderError, ToolArgumentsError
from ._functions import Function
from ._hints import MisfitError
from ._json_schema import find_misfit
from ._messages import Message, Tool
from ._requests import ChatInput, ChatOverrides, ChatRequest, StreamInput, StreamOverrides, ToolOverrides
from ._stream import Stream
from ._types import Chunk, Completion, ToolCall

if TYPE_CHECKING:
    from typing_extensions import Unpack

logger = logging.getLogger("lmstudio_provider")


class Chats(Protocol):
    """What ``run_tools`` and ``Conversation`` need of a provider."""

    def chat(self, request: ChatInput, **overrides: Unpack[ChatOverrides]) -> Completion:
        """Answer a conversation."""

    def stream(self, request: StreamInput, on_chunk: None = None, **overrides: Unpack[StreamOverrides]) -> Stream:
        """Answer piece by piece."""


@dataclass(frozen=True)
class ToolEvent:
    """What ``run_tools`` does just now; what does not belong to the ``kind`` is None."""

    #: "chunk" (of a stream), "completion", "call" (about to be made), or "result".
    kind: str
    chunk: Chunk | None = None
    completion: Completion | None = None
    call: ToolCall | None = None
    #: What the model is told as the result of ``call``.
    result: str | None = None
    #: Why the call failed.
    error: Exception | None = None


class ToolRun(NamedTuple):
    """What ``run_tools`` returns."""

    #: The model's answer in words.
    completion: Completion
    #: The whole conversation: what it was given, then every answer, call and result.
    messages: list[Message | Mapping[str, Any]]


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

    ``messages`` is a conversation, a ChatRequest, or the user's text.
    Arguments are checked against the hints of the function and converted to what they say. Arguments that do not fit,
    an unknown tool, an exception in a function, and a call that ``confirm`` says no to are told to the model as the
    result of that call. After ``max_rounds`` rounds of calls the model is asked once more, with ``tool_choice="none"``;
    calls that it wants all the same are not made, and a RuntimeWarning says so.

    ``on_event`` is given a ToolEvent for each step, with ``stream`` also for each chunk; it may raise, as ``on_chunk``.
    A ``tool_choice`` other than "auto" and "none" holds for the first round alone. Further keyword arguments are those
    of ``chat``. Raises what the provider raises, with the conversation so far as ``messages`` of the error, and
    InvalidRequestError and ConfigurationError for tools that cannot be called.
    """
    if isinstance(max_rounds, bool) or not isinstance(max_rounds, int) or max_rounds < 1:
        raise InvalidRequestError(f"max_rounds={max_rounds!r} is no whole number of at least 1")
    if confirm is not None and not callable(confirm):
        raise InvalidRequestError(f"confirm={confirm!r} cannot be called")
    offered = [tool if isinstance(tool, Tool) else Tool.from_function(tool) for tool in _listed(tools)]
    tell = Callback("on_event", on_event)
    runner = _Runner(offered, confirm, tell)
    if len({tool.name for tool in offered}) < len(offered):
        raise InvalidRequestError(f"two tools have the same name: {', '.join(tool.name for tool in offered)}")
    messages = [Message.user(messages)] if isinstance(messages, str) else messages
    given = messages if isinstance(messages, ChatRequest) else ChatRequest(messages)
    request = dataclasses.replace(
        given, tools=offered, tool_choice=overrides.pop("tool_choice", given.tool_choice), messages=list(given.messages)
    )
    transcript: list[Message | Mapping[str, Any]] = list(given.messages)
    for left in range(max_rounds, -1, -1):
        if not left:
            request = dataclasses.replace(request, tool_choice="none")
        try:
            completion = _ask(provider, request, stream, tell, overrides)
        except ProviderError as error:
            error.messages = transcript
            tell.warn()
            raise
        tell(ToolEvent("completion", completion=completion))
        if completion.finish_reason == "cancelled":  # the calls may be half
            transcript.append(Message.assistant(completion.text))
            break
        transcript.append(Message.assistant(completion.text, completion.tool_calls))
        if not completion.tool_calls:
            break
        for call in completion.tool_calls:
            result = runner.result(call) if left else "Error: not called, because there were too many rounds of calls"
            transcript.append(Message.tool(call, result))
        choice = request.tool_choice if request.tool_choice in ("auto", "none") else None
        request = dataclasses.replace(request, messages=list(transcript), tool_choice=choice)
    else:
        transcript.append(Message.assistant(completion.text))  # so that the user may go on
        warn(f"the model still calls tools after max_rounds={max_rounds}; the last calls were not made", RuntimeWarning)
    tell.warn()
    return ToolRun(completion, transcript)


class _Runner:
    def __init__(
        self, tools: Sequence[Tool], confirm: Callable[[ToolCall], object] | None, tell: Callback[ToolEvent]
    ) -> None:
        self._functions = {tool.name: _function(tool) for tool in tools}
        # Those that were written by hand may say more than the hints.
        self._schemas = {tool.name: tool.parameters for tool in tools}
        self._confirm = confirm
        self._tell = tell

    def result(self, call: ToolCall) -> str:
        """Make the call; what it returned, or why it failed, as text for the model."""
        failure: Exception | None = None
        self._tell(ToolEvent("call", call=call))
        try:
            text = str(Message.tool(call, self._run(call)).content)
        except Exception as error:  # whatever a function raises is the model's to deal with
            failure, text = error, f"Error: {_said(error)}"
            logger.warning("the call of the tool %s failed: %s", call.name, text, exc_info=True)
        try:
            self._tell(ToolEvent("result", call=call, result=text, error=failure))
        finally:
            del failure  # no cycle of error, traceback and frame keeps what the function had
        return text

    def _run(self, call: ToolCall) -> Any:
        function = self._functions.get(call.name)
        if function is None:
            raise _Refused(f"there is no tool {call.name!r}; there are {', '.join(self._functions)}")
        arguments = call.arguments
        try:
            misfit = find_misfit(arguments, self._schemas[call.name])
            if misfit is not None:
                raise MisfitError(misfit)
            values = function.read(arguments)
        except MisfitError as error:
            raise ToolArgumentsError(
                f"the arguments do not fit: {error}", raw_arguments=call.raw_arguments, hint="Answer the call with that"
            ) from error
        if self._confirm is not None and not self._confirm(call):
            raise _Refused("the user does not allow this call")
        result = function.call(values)
        if inspect.iscoroutine(result):
            result.close()
            raise _Refused(f"{call.name} is async, and tools are called without a loop")
        return result


class _Refused(Exception):
    """Why a call was not made."""


# Of what went wrong; a model's context is small.
_MOST_CHARACTERS = 2000


def _said(error: Exception) -> str:
    if isinstance(error, (ToolArgumentsError, _Refused)):
        return str(error.args[0])[:_MOST_CHARACTERS]
    try:
        return f"{type(error).__name__}: {error}"[:_MOST_CHARACTERS]
    except Exception:  # its __str__ may be broken, too
        return type(error).__name__


def _ask(
    provider: Chats, request: ChatRequest, stream: bool, tell: Callback[ToolEvent], overrides: ToolOverrides
) -> Completion:
    if not stream:
        return provider.chat(request, **overrides)
    with provider.stream(request, **overrides) as chunks:
        for chunk in chunks:
            tell(ToolEvent("chunk", chunk=chunk))
    return chunks.completion


def _listed(tools: object) -> list[Any]:
    if isinstance(tools, (str, Mapping)) or not isinstance(tools, Sequence) or not tools:
        raise InvalidRequestError(
            "run_tools needs tools", hint="Give a list of functions: run_tools(lm, messages, [fn])"
        )
    return list(tools)


def _function(tool: Tool) -> Function:
    if tool.function is None:
        raise InvalidRequestError(
            f"the tool {tool.name} has no function to call", hint="Make it with Tool.from_function, or give function="
        )
    return Function(tool.function)
