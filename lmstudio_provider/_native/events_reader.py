"""A streamed reply of LM Studio's own API: typed events come out, and the whole reply is there at the end."""

from __future__ import annotations

import time
from typing import Any, Callable, Mapping

from .._core.errors import ProtocolError, ProviderError, StreamInterruptedError
from .._core.types import Call
from .._dialects.accumulator import GrowingText
from .._dialects.errors import ErrorBody, ErrorContext, find_fault
from .._dialects.json_text import member, no_object, number, parse, text_or_none
from .._dialects.lmstudio_errors import fault_error
from .._http.readers import Event
from . import events
from .dialect import arguments_of, completion, invalid_tool_call, items_of, mapping, tool_call
from .types import InvalidToolCallItem, MessageItem, NativeCompletion, OutputItem, ReasoningItem, ToolCallItem


class NativeAssembly:
    """Makes typed events of the events of one reply."""

    def __init__(self, call: Call, asked: ErrorContext, started: float) -> None:
        self._call = call
        self._asked = asked
        self._started = started  # time.monotonic() when the request was sent
        self._first: float | None = None
        self._ended: float | None = None
        self._model: str | None = None
        self._items: list[OutputItem] = []
        #: The item that grows now: its kind, and its text.
        self._kind: type[MessageItem | ReasoningItem] = MessageItem
        self._growing = GrowingText()
        self._error: ProviderError | None = None
        self._result: NativeCompletion | None = None
        self._any = False
        #: Whether the last event has come.
        self.done = False

    @property
    def ended(self) -> bool:
        """Whether all of the reply has come, although the stream may go on."""
        return self._error is not None or self._result is not None

    def feed(self, event: Event) -> events.Event | None:
        """The typed event of ``event``; raises ProtocolError for one that is broken."""
        if event.is_done() or event.is_blank():
            return None
        self._any = True
        try:
            return self._event(event)
        except ProtocolError:
            if self._error is None:
                raise
            self.done = True  # what broke is a consequence of the error that the server told
            return None

    def _event(self, event: Event) -> events.Event:
        value = parse(event.data, "an event of the stream")
        fault = find_fault(value)
        kind = (text_or_none(value.get("type")) if isinstance(value, dict) else None) or event.event
        if fault is None and kind == "error":
            fault = find_fault({"error": value or event.data})  # it is the error, instead of holding it
        # A type that the frame and its data agree on is that of an event of a newer server, whatever else is in it.
        own = kind in _EVENTS or (isinstance(value, dict) and value.get("type") == event.event)
        if fault is not None and (kind in ("error", "chat.end") or not own):
            return self._failed(fault, event.data)
        if not isinstance(value, dict):
            raise no_object("an event", value)
        if kind == "chat.end":
            return self._end(value)
        made = _EVENTS[kind](value) if kind in _EVENTS else events.UnknownEvent(kind, value)
        self._note(made)
        return made

    def _failed(self, fault: ErrorBody, body: str) -> events.ErrorEvent:
        error = fault_error(fault, 200, {}, body, self._asked)
        self._error = self._error or error  # the first one is the cause
        return events.ErrorEvent(error)

    def _end(self, value: Mapping[str, Any]) -> events.ChatEnd:
        told = member(value, "result", dict, "the last event")
        result, came = self._so_far(told, items=items_of(told)), self._so_far(told)
        # After an error there may be less in it than came.
        less = any(one < other for one, other in zip(_amount(result), _amount(came)))
        self._result, self.done = came if less else result, True
        return events.ChatEnd(self._result)

    def _note(self, event: events.Event) -> None:
        """Keep what the event adds to the reply."""
        if isinstance(event, events.ChatStart):
            self._model = event.model_instance_id
        elif isinstance(event, events.MessageDelta):
            self._grow(MessageItem, event.content)
        elif isinstance(event, events.ReasoningDelta):
            self._grow(ReasoningItem, event.content)
        elif isinstance(event, (events.MessageEnd, events.ReasoningEnd)):
            self._settle()
        elif isinstance(event, events.ToolCallSuccess):
            self._settle()
            self._items.append(tool_call(vars(event)))
        elif isinstance(event, events.ToolCallFailure):
            self._settle()
            self._items.append(invalid_tool_call(vars(event)))

    def _grow(self, kind: type[MessageItem | ReasoningItem], content: str) -> None:
        if self._first is None:
            self._first = time.monotonic()
        if kind is not self._kind:
            self._settle()
            self._kind = kind
        self._growing.add(content)

    def _settle(self) -> None:
        """The item that grew is whole."""
        content = self._growing.whole()
        if content:
            self._items.append(self._kind(content))
            self._growing = GrowingText()

    def finish(self) -> list[events.Event]:
        """Raises the error of an ``error`` event, StreamInterruptedError without an end, ProtocolError for nothing."""
        self._ended = self._ended or time.monotonic()
        if self._error is not None:
            error, self._error = self._error, None  # no cycle of error, traceback and assembly
            raise error
        if not self._any:
            raise ProtocolError(
                "the stream ended with nothing in it", hint="Ask again, and see LM Studio's log", sent=True
            )
        if self._result is None:
            raise StreamInterruptedError(
                "the stream ended before the reply did: no chat.end came",
                hint=".partial holds what came; ask again for the whole reply",
                sent=True,
            )
        return []

    def completion(self, finish_reason: str | None = None) -> NativeCompletion:
        """The reply as far as it came; ``finish_reason`` stands in, because the server gives none."""
        return self._result or self._so_far({}, finish_reason)

    def _so_far(
        self, told: Mapping[str, Any], finish_reason: str | None = None, items: tuple[OutputItem, ...] | None = None
    ) -> NativeCompletion:
        """The reply of ``items``, by default of those that came."""
        self._settle()
        return completion(
            tuple(self._items) if items is None else items,
            self._call,
            told=told,
            duration_s=(self._ended or time.monotonic()) - self._started,
            first_s=None if self._first is None else self._first - self._started,
            model=self._model,
            finish_reason=finish_reason,
        )


def _amount(completion: NativeCompletion) -> list[int]:
    """How much there is of the answer, of what was thought, and of calls; blanks do not count: they may be trimmed."""
    calls = [item for item in completion.output if isinstance(item, (ToolCallItem, InvalidToolCallItem))]
    return [*(len("".join(text.split())) for text in (completion.text, completion.reasoning)), len(calls)]


def _text(value: Mapping[str, Any], name: str) -> str:
    found: str = member(value, name, str, f"the event {value.get('type')!r}")
    return found


def _instance(value: Mapping[str, Any]) -> str:
    return text_or_none(value.get("model_instance_id")) or ""


def _fraction(value: Mapping[str, Any]) -> float:
    # A number that is none must not cost the reply.
    return min(1.0, max(0.0, float(number(value.get("progress")) or 0.0)))


_EVENTS: dict[str, Callable[[Mapping[str, Any]], events.Event]] = {
    "chat.start": lambda value: events.ChatStart(_instance(value)),
    "model_load.start": lambda value: events.ModelLoadStart(_instance(value)),
    "model_load.progress": lambda value: events.ModelLoadProgress(_instance(value), _fraction(value)),
    "model_load.end": lambda value: events.ModelLoadEnd(_instance(value), number(value.get("load_time_seconds"))),
    "prompt_processing.start": lambda value: events.PromptProcessingStart(),
    "prompt_processing.progress": lambda value: events.PromptProcessingProgress(_fraction(value)),
    "prompt_processing.end": lambda value: events.PromptProcessingEnd(),
    "reasoning.start": lambda value: events.ReasoningStart(),
    "reasoning.delta": lambda value: events.ReasoningDelta(_text(value, "content")),
    "reasoning.end": lambda value: events.ReasoningEnd(),
    "tool_call.start": lambda value: events.ToolCallStart(_text(value, "tool"), mapping(value.get("provider_info"))),
    "tool_call.arguments": lambda value: events.ToolCallArguments(
        _text(value, "tool"), arguments_of(value), mapping(value.get("provider_info"))
    ),
    "tool_call.success": lambda value: events.ToolCallSuccess(**vars(tool_call(value))),
    "tool_call.failure": lambda value: events.ToolCallFailure(**vars(invalid_tool_call(value))),
    "message.start": lambda value: events.MessageStart(),
    "message.delta": lambda value: events.MessageDelta(_text(value, "content")),
    "message.end": lambda value: events.MessageEnd(),
}
