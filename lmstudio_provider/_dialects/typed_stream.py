"""Streams whose events have a type: what those of ``/v1/responses`` and ``/v1/messages`` have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from .._core.types import Chunk, Stats
from .._http.readers import Event
from .accumulator import ReplyAccumulator
from .errors import find_fault
from .json_text import no_object, parse, text_or_none
from .lmstudio_errors import fault_error
from .openai import read_stats


class TypedStream(ReplyAccumulator):
    """Makes chunks of the events of one reply; subclasses know the types."""

    def feed(self, event: Event) -> Chunk | None:
        """The chunk that ``event`` makes, if any; raises ProtocolError, or the error that the event reports."""
        if event.is_done() or event.is_blank():
            return None  # an event with a type ends the reply
        value = parse(event.data, "an event of the stream")
        fault = find_fault(value)
        kind = text_or_none(value.get("type")) if isinstance(value, dict) else None
        if fault is None and "error" in (kind, event.event):
            fault = find_fault({"error": value or event.data})  # it is the error, instead of holding it
        if fault is not None:
            raise fault_error(fault, 200, {}, event.data, self._asked)
        if not isinstance(value, dict):
            raise no_object("an event", value)
        return self._content(*self._take(kind or event.event, value, event.data))

    @abstractmethod
    def _take(self, kind: str, value: dict[str, Any], data: str) -> tuple[str, str]:
        """What an event of some type adds to the text, and to the reasoning; ``data`` is its JSON."""

    def _read_stats(self, first_s: float | None, duration_s: float) -> Stats:
        return read_stats(None, self._usage, first_s, duration_s)
