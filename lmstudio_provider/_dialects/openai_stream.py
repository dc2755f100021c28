"""A streamed chat completion: events go in, chunks come out, and the whole reply is there at the end."""

from __future__ import annotations

import contextlib
from typing import Any, Mapping

from .._core.errors import ProtocolError
from .._core.types import Call, Chunk, Completion, Stats
from .._http.readers import Event
from .accumulator import ReplyAccumulator
from .errors import ErrorBody, ErrorContext, find_fault
from .json_text import member, no_object, parse, text_or_none
from .lmstudio_errors import fault_error
from .openai import content_text, is_first, read_stats, read_usage, reasoning_text


class ChatStream(ReplyAccumulator):
    """Makes chunks of the events of one reply to a chat, or to a text."""

    def __init__(self, call: Call, asked: ErrorContext, started: float) -> None:
        super().__init__(call, asked, started)
        self._stats: object = None
        # The choices that came before one that is the reply; None when that has come.
        self._others: list[dict[str, Any]] | None = []

    def feed(self, event: Event) -> Chunk | None:
        """The chunk that ``event`` makes, if any; raises ProtocolError, or the error that the event reports."""
        if event.is_done() or event.is_blank():
            self.done = self.done or event.is_done()
            return None
        value = parse(event.data, "an event of the stream")
        fault = find_fault(value)
        said = value.get("message") or value.get("detail") if isinstance(value, dict) else None
        if fault is None and (event.event == "error" or (isinstance(said, str) and "choices" not in value)):
            fault = ErrorBody(said if isinstance(said, str) else event.data)
        if fault is not None:
            raise fault_error(fault, 200, {}, event.data, self._asked)
        if not isinstance(value, dict):
            raise no_object("an event", value)
        self._id = self._id or text_or_none(value.get("id"))
        self._model = self._model or text_or_none(value.get("model"))
        self._usage = read_usage(value.get("usage")) or self._usage
        self._stats = value.get("stats") or self._stats
        # The event that carries the usage has no choices, or an empty list of them.
        choices = [] if value.get("choices") is None else member(value, "choices", list, "an event of the stream")
        for choice in choices:
            if not isinstance(choice, dict):
                raise ProtocolError(f"a choice in the stream is {type(choice).__name__}, not an object", sent=True)
            if is_first(choice):
                self._others = None
                return self._choice(choice)
        if self._others is not None:
            self._others += choices
        return None

    def _choice(self, choice: Mapping[str, Any]) -> Chunk | None:
        self._finish_reason = text_or_none(choice.get("finish_reason")) or self._finish_reason
        if isinstance(choice.get("text"), str):  # of /v1/completions: as the model wrote it
            self._raw = True
            return self._chunk(choice["text"], "")
        if choice.get("delta") is None:
            return None
        return self._delta(member(choice, "delta", dict, "a choice in the stream"))

    def _delta(self, delta: Mapping[str, Any]) -> Chunk | None:
        self._tools.add(delta.get("tool_calls"))
        return self._content(content_text(delta.get("content")), reasoning_text(delta))

    def _only_others(self) -> list[Chunk]:
        """Return the chunks of the choice that came first, if none was the reply."""
        others, self._others = self._others or [], None
        chunks = [self._choice(each) for each in others if each.get("index") == others[0].get("index")]
        return [chunk for chunk in chunks if chunk is not None]

    def finish(self) -> list[Chunk]:
        """Return the last chunks; see the base class for what it raises, and ProtocolError."""
        return [*self._only_others(), *super().finish()]

    def completion(self, finish_reason: str | None = None) -> Completion:
        """Return the reply as far as it came."""
        with contextlib.suppress(ProtocolError):  # of a choice that was to be read at the end
            self._only_others()
        return super().completion(finish_reason)

    def _read_stats(self, first_s: float | None, duration_s: float) -> Stats:
        return read_stats(self._stats, self._usage, first_s, duration_s)
