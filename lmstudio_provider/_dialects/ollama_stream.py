"""A streamed reply of Ollama: lines go in, chunks come out, and the whole reply is there at the end."""

from __future__ import annotations

import json
from typing import Any, Mapping

from .._core.errors import ProtocolError
from .._core.types import Call, Chunk, Stats
from .accumulator import ReplyAccumulator
from .errors import ErrorContext, find_fault
from .json_text import no_object, text_or_none
from .ollama import finish_reason, read_stats, read_usage, said
from .ollama_errors import fault_error


class OllamaStream(ReplyAccumulator):
    """Makes chunks of the lines of one reply to a chat, or to a text."""

    def __init__(self, call: Call, asked: ErrorContext, started: float) -> None:
        super().__init__(call, asked, started)
        self._last: Mapping[str, Any] = {}
        self._has_message = False

    def feed(self, event: Any) -> Chunk | None:
        """The chunk that a line makes, if any; raises ProtocolError, or the error that the line reports."""
        fault = find_fault(event)
        if fault is not None:
            raise fault_error(fault, 200, {}, json.dumps(event), self._asked)
        if not isinstance(event, dict):
            raise no_object("a line", event)
        is_end = event.get("done") and event.get("message") is event.get("response") is None  # and says nothing more
        content, reasoning, calls = ("", "", None) if is_end else said(event)
        self._has_message = self._has_message or not is_end
        self._tools.add(calls, whole=True)  # one or several a line; older servers give them neither id nor index
        self._model = self._model or text_or_none(event.get("model"))
        if event.get("done"):
            self._last, self._usage, self.done = event, read_usage(event), True
            self._finish_reason = finish_reason(event, bool(self._tools.calls()))
        self._raw = "response" in event
        return self._chunk(content, reasoning) if self._raw else self._content(content, reasoning)

    def finish(self) -> list[Chunk]:
        """Return the last chunks; see the base class for what it raises, and ProtocolError without any message."""
        if self.done and not self._has_message:
            raise ProtocolError("no line of the reply has a 'message'", sent=True)
        return super().finish()

    def _read_stats(self, first_s: float | None, duration_s: float) -> Stats:
        return read_stats(self._last, self._usage, first_s, duration_s)
