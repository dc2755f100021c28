"""Reads a streamed reply of LM Studio's own API: as typed events, and as the whole reply at the end."""

from __future__ import annotations

import dataclasses
import time
from typing import Any, Callable, Mapping

from .._core.errors import ProtocolError, ProviderError, StreamInterruptedError
from .._core.growing_text import GrowingText
from .._core.types import Call
from .._dialects.errors import ErrorBody, ErrorContext, find_fault
from .._dialects.json_text import mapping, member, no_object, number, parse, text_or_none
from .._dialects.lmstudio_errors import fault_error
from .._http.readers import Event
from . import events
from .dialect import arguments_of, completion, items_of, output_of
from .types import InvalidToolCallItem, MessageItem, NativeCompletion, OutputItem, ReasoningItem, ToolCallItem


class NativeAssembly:
    """Turns the events of one reply into typed ones."""

    def __init__(self, call: Call, asked: ErrorContext, started: float) -> None:
        self._call = call
        self._asked = asked
        self._started = started  # time.monotonic() when the request was sent
        self._first: float | None = None
        self._ended: float | None = None
        self._model: str | None = None
        self._items: list[OutputItem] = []
        # The item that grows now: its kind, and its text.
        self._kind: type[MessageItem | ReasoningItem] = MessageItem
        self._growing = GrowingText()
        self._error: ProviderError | None = None
        self._result: NativeCompletion | None = None
        self._any = False
        self.done = False  # True when the last event has come

    @property
    def ended(self) -> bool:
        """True if all of the reply has come, although the stream may go on."""
        return self._error is not None or self._result is not None

    def feed(self, event: Event) -> events.Event | None:
        """Return the typed event, or None if ``event`` is empty; raise ProtocolError if it is broken."""
        if event.is_done() or event.is_blank():
            return None
        self._any = True
        try:
            return self._event(event)
        except ProtocolError:
            if self._error is None:
                raise
            self.done = True  # the broken event is a consequence of the error that the server has sent
            return None

    def _event(self, event: Event) -> events.Event:
        value = parse(event.data, "an event of the stream")
        fault = find_fault(value)
        kind = (text_or_none(value.get("type")) if isinstance(value, dict) else None) or event.event
        if fault is None and kind == "error":
            fault = find_fault({"error": value or event.data})  # it is the error, instead of holding it
        # If the frame and its data have the same type, it is an event of a newer server, even with an "error" in it.
        own = kind in _EVENTS or (isinstance(value, dict) and value.get("type") == event.event)
        if fault is not None and (kind in ("error", "chat.end") or not own):
            return self._failed(fault, event.data)
        if not isinstance(value, dict):
            raise no_object("an event", value)
        if kind == "chat.end":
            return self._end(value)
        made = _typed(_EVENTS[kind], value) if kind in _EVENTS else events.UnknownEvent(kind, value)
        self._note(made)
        return made

    def _failed(self, fault: ErrorBody, body: str) -> events.ErrorEvent:
        error = fault_error(fault, 200, {}, body, self._asked)
        self._error = self._error or error  # the first one is the cause
        return events.ErrorEvent(error)

    def _end(self, value: Mapping[str, Any]) -> events.ChatEnd:
        sent = member(value, "result", dict, "the last event")
        result, came = self._so_far(sent, items=items_of(sent)), self._so_far(sent)
        # After an error, it may have less than the events before it.
        less = any(one < other for one, other in zip(_amount(result), _amount(came)))
        self._result, self.done = came if less else result, True
        return events.ChatEnd(self._result)

    def _note(self, event: events.Event) -> None:
        """Add the event to the reply."""
        if isinstance(event, events.ChatStart):
            self._model = event.model_instance_id
        elif isinstance(event, events.MessageDelta):
            self._grow(MessageItem, event)
        elif isinstance(event, events.ReasoningDelta):
            self._grow(ReasoningItem, event)
        elif isinstance(event, (events.MessageEnd, events.ReasoningEnd)):
            self._settle()
        elif isinstance(event, events.ToolCallSuccess):
            self._settle()
            self._items.append(ToolCallItem(**vars(event)))
        elif isinstance(event, events.ToolCallFailure):
            self._settle()
            self._items.append(InvalidToolCallItem(**vars(event)))

    def _grow(self, kind: type[MessageItem | ReasoningItem], event: Any) -> None:
        if self._first is None:
            self._first = time.monotonic()
        if kind is not self._kind:
            self._settle()
            self._kind = kind
        vars(event)["content"] = content = self._growing.mended(event.content)
        self._growing.add(content)

    def _settle(self) -> None:
        """Add the item that has grown, if any, to the items."""
        content = self._growing.whole()
        if content:
            self._items.append(self._kind(content))
            self._growing = GrowingText()

    def finish(self) -> list[events.Event]:
        """Raise the error of an ``error`` event, StreamInterruptedError without an end, ProtocolError if empty."""
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
                hint=".partial holds the reply so far; ask again for the whole reply",
                sent=True,
            )
        return []

    def completion(self, finish_reason: str | None = None) -> NativeCompletion:
        """Return the reply so far, with that ``finish_reason``, because the server sends none."""
        return self._result or self._so_far({}, finish_reason)

    def _so_far(
        self, sent: Mapping[str, Any], finish_reason: str | None = None, items: tuple[OutputItem, ...] | None = None
    ) -> NativeCompletion:
        """Return the reply with ``items``, by default those so far, and with the rest of ``sent``."""
        self._settle()
        return completion(
            tuple(self._items) if items is None else items,
            self._call,
            sent=sent,
            duration_s=(self._ended or time.monotonic()) - self._started,
            first_s=None if self._first is None else self._first - self._started,
            model=self._model,
            finish_reason=finish_reason,
        )


def _amount(completion: NativeCompletion) -> list[int]:
    """Return the sizes of the answer and the reasoning, without blanks (some are trimmed), and the number of calls."""
    calls = [item for item in completion.output if isinstance(item, (ToolCallItem, InvalidToolCallItem))]
    return [*(len("".join(text.split())) for text in (completion.text, completion.reasoning)), len(calls)]


def _typed(kind: type[events.Event], value: Mapping[str, Any]) -> events.Event:
    """Return the event of that ``kind``; raise ProtocolError if a field that it needs is missing."""
    what = f"the event {kind.type!r}"
    return kind(**{field.name: _FIELDS[field.name](value, field.name, what) for field in dataclasses.fields(kind)})


def _text(value: Mapping[str, Any], name: str, what: str) -> Any:
    return member(value, name, str, what)


def _mapping(value: Mapping[str, Any], name: str, what: str) -> Any:
    return mapping(value.get(name))


# How each field of an event is read. A number that is not valid must not cost the reply.
_FIELDS: dict[str, Callable[[Mapping[str, Any], str, str], Any]] = {
    "model_instance_id": lambda value, name, what: text_or_none(value.get(name)) or "",
    "progress": lambda value, name, what: min(1.0, max(0.0, float(number(value.get(name)) or 0.0))),
    "load_time_seconds": lambda value, name, what: number(value.get(name)),
    "content": _text,
    "tool": _text,
    "arguments": lambda value, name, what: arguments_of(value),
    "output": lambda value, name, what: output_of(value),
    "reason": _text,
    "provider_info": _mapping,
    "metadata": _mapping,
}
_SPECIAL = (events.UnknownEvent, events.ErrorEvent, events.ChatEnd)
_EVENTS = {kind.type: kind for kind in events.Event.__subclasses__() if kind not in _SPECIAL}
