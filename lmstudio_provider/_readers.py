"""Readers of event streams: bytes go in, events come out, and no socket is anywhere near."""

from __future__ import annotations

from typing import NamedTuple

from ._exceptions import ProtocolError
from ._types import Limits


class Event(NamedTuple):
    """One event of a stream: its type ("message" where the server named none) and its data, joined by newlines."""

    event: str
    data: str


class LineReader:
    """Cuts bytes into lines at LF, CR and CRLF, however the network cut them."""

    def __init__(self, max_line_bytes: int) -> None:
        self._max_line_bytes = max_line_bytes
        self._unfinished = bytearray()
        self._after_cr = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that ``data`` completes, without their ends; raises ProtocolError."""
        if not data:
            return []
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]  # the other half of a CRLF that was cut in two
        # An empty rest keeps the mark off: its CRLF is whole now.
        self._after_cr = data.endswith(b"\r")
        # Of bytes, splitlines knows CR and LF alone; of str it would also split at U+0085, inside a JSON string.
        lines = data.splitlines(keepends=True)
        rest = lines.pop() if lines and not lines[-1].endswith((b"\n", b"\r")) else b""
        if lines:
            lines[0] = bytes(self._unfinished) + lines[0]
            self._unfinished.clear()
        self._unfinished += rest
        if max(len(self._unfinished), *map(len, lines), 0) > self._max_line_bytes:
            raise ProtocolError(
                f"a line of the stream is longer than {self._max_line_bytes} bytes",
                hint="If that is expected, raise Limits.max_line_bytes",
            )
        return [line.rstrip(b"\r\n") for line in lines]

    def finish(self) -> bytes:
        """Return what came after the last line's end."""
        rest = bytes(self._unfinished)
        self._unfinished.clear()
        return rest


class SSEReader:
    """Server-sent events (WHATWG HTML, "Parsing an event stream"), with one liberty that LLM servers need.

    A line ``data: [DONE]`` is an event at once: nothing may follow it, not even the blank line that ends an event.
    """

    def __init__(self, limits: Limits) -> None:
        self._lines = LineReader(limits.max_line_bytes)
        self._max_event_bytes = limits.max_line_bytes
        self._event_bytes = 0
        self._max_without_data = limits.max_events_without_data
        self._without_data = 0
        self._first_line = True
        self._event = ""
        self._data: list[str] = []
        #: What the stream set last; LM Studio sets neither.
        self.last_event_id = ""
        self.retry_ms: int | None = None

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that ``data`` completes; raises ProtocolError."""
        events: list[Event] = []
        for line in self._lines.feed(data):
            self._take(line, events)
        return events

    def finish(self) -> list[Event]:
        """Return the event that the end of the body cut off, if any: the standard drops it, proxies produce it."""
        events: list[Event] = []
        for line in (self._lines.finish(), b""):
            self._take(line, events)
        return events

    def _take(self, raw: bytes, events: list[Event]) -> None:
        if self._first_line:
            self._first_line = False
            if raw.startswith(b"\xef\xbb\xbf"):  # one byte order mark, at the very start
                raw = raw[3:]
        if not raw:
            self._dispatch(events)
        elif not raw.startswith(b":"):
            name, _, text = raw.decode("utf-8", "replace").partition(":")
            self._field(name, text[1:] if text.startswith(" ") else text)
            if self._data == ["[DONE]"]:
                self._dispatch(events)
        if events:
            self._without_data = 0
            return
        self._without_data += 0 if raw.startswith(b"data") else 1
        if self._without_data > self._max_without_data:
            raise ProtocolError(
                f"{self._without_data} lines of the stream in a row carried no data",
                hint="If that is expected, raise Limits.max_events_without_data",
            )

    def _field(self, name: str, value: str) -> None:
        if name == "data":
            self._data.append(value)
            self._event_bytes += len(value)
            if self._event_bytes > self._max_event_bytes:
                raise ProtocolError(
                    f"an event of the stream is longer than {self._max_event_bytes} bytes",
                    hint="If that is expected, raise Limits.max_line_bytes",
                )
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self.last_event_id = value
        elif name == "retry" and value.isascii() and value.isdigit() and len(value) < 10:
            self.retry_ms = int(value)

    def _dispatch(self, events: list[Event]) -> None:
        if self._data:
            events.append(Event(self._event or "message", "\n".join(self._data)))
        self._event = ""
        self._data = []
        self._event_bytes = 0
