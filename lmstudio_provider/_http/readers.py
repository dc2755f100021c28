"""Readers of event streams: bytes go in and events come out, without a socket."""

from __future__ import annotations

import contextlib
import itertools
import re
import zlib
from typing import Any, Callable, ClassVar, Generator, Iterable, Iterator, NamedTuple, TypeVar

from .._core.errors import ProtocolError
from .._core.json import loads
from .._core.types import Limits


class Event(NamedTuple):
    """One event of a stream."""

    event: str
    """The type; "message" if the server did not name one."""
    data: str
    """The lines of data, joined by newlines."""
    id: str = ""
    """The id that the stream has set last, with this event or before it; "" if it has set none."""

    def is_done(self) -> bool:
        """Return True if the event says that the stream is over."""
        return self.data.strip() == "[DONE]"

    def is_blank(self) -> bool:
        """Return True if the event has no data; some servers write such events to keep the connection alive."""
        return not self.data.strip() and self.event != "error"


_Item = TypeVar("_Item")
# The constructor of a NamedTuple is a Python function.
_new = tuple.__new__


class _Lines:
    """Cuts bytes into lines at LF, however the network cut them."""

    def __init__(self, max_line_bytes: int) -> None:
        self._max_line_bytes = max_line_bytes
        self._unfinished = bytearray()

    def feed(self, data: bytes) -> Iterable[bytes]:
        """Return the lines that ``data`` completes, without their ends; the iteration raises ProtocolError."""
        most = len(self._unfinished) + len(data)
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = self.finish() + lines[0]
        self._unfinished += rest
        if most > self._max_line_bytes < max(len(self._unfinished), *map(len, lines), 0):
            good = itertools.takewhile(lambda line: len(line) <= self._max_line_bytes, lines)
            return _then_raise(good, _too_long("a line", self._max_line_bytes))
        return lines

    def finish(self) -> bytes:
        """Return the bytes after the end of the last line."""
        rest, self._unfinished = bytes(self._unfinished), bytearray()
        return rest


class _SSELines(_Lines):
    """Cuts at LF, CR and CRLF."""

    _after_cr = False

    def feed(self, data: bytes) -> Iterable[bytes]:
        """Return the lines that ``data`` completes, without their ends; the iteration raises ProtocolError."""
        whole = data.removeprefix(b"\n") if self._after_cr else data  # the LF may be of a CRLF that was cut in two
        self._after_cr = data.endswith(b"\r") if data else self._after_cr
        # To replace what is not there would take 2 % of a stream.
        return super().feed(whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in whole else whole)


# Lines that are not part of the format are kept for the error message: the beginning of each, and so many of them.
_MOST_SHOWN, _MOST_STRANGE = 1000, 100


class NDJSONReader:
    """Read JSON values, one a line. LF and CRLF end a line; the last line may lack its end. CR is a blank of JSON."""

    NO_STREAM: ClassVar[bytes] = rb"(?:\xef\xbb\xbf)?\s*(?:[\[<]|\{\s*?\n)"
    """A pattern of the beginning of a body that is not such a stream, but a page or JSON on several lines."""

    def __init__(self, limits: Limits, parse: Callable[[str], Any] = loads) -> None:
        self._lines = _Lines(limits.max_line_bytes)
        self._parse = parse
        self._max_blank_lines = limits.max_events_without_data
        self._blank_lines = 0
        self._number = 0
        # The last line, if it has no end and is something else than the beginning of an object.
        self.strange: list[str] = []

    def feed(self, data: bytes) -> Iterator[Any]:
        """Yield the values that ``data`` completes, also those before a line that is not JSON; raises ProtocolError."""
        for line in self._lines.feed(data):
            self._number += 1
            if line and not line.isspace():
                self._blank_lines = 0
                yield self._value(line)
            else:
                self._blank_lines += 1
                if self._blank_lines > self._max_blank_lines:
                    raise _no_data(self._blank_lines)

    def finish(self) -> list[Any]:
        """Return the value of the last line, if that line has no end."""
        line = self._lines.finish()
        if line.strip() and not line.lstrip().startswith(b"{"):
            self.strange.append(line[:_MOST_SHOWN].decode("utf-8", "replace"))
        return list(self.feed(line + b"\n")) if line else []

    def _value(self, line: bytes) -> Any:
        try:
            return self._parse(line.decode("utf-8"))
        except (ValueError, RecursionError):
            is_marked = self._number == 1 and line.startswith(b"\xef\xbb\xbf{")  # a byte order mark
            begin = line[:800].decode("utf-8", "replace")
            begin = begin if len(begin) <= 200 else f"{begin[:200]}…"
        if is_marked:
            return self._value(line[3:])
        # Out here the error has no context, which would carry the whole line.
        raise ProtocolError(f"line {self._number} of the stream is not JSON: {begin!r}", sent=True)


def _then_raise(came: Iterable[_Item], error: ProtocolError) -> Iterator[_Item]:
    yield from came
    try:
        raise error
    finally:
        del error  # its traceback refers to this frame


def _too_long(what: str, most: int) -> ProtocolError:
    hint = "If that is expected, raise Limits.max_line_bytes"
    return ProtocolError(f"{what} of the stream is longer than {most} bytes", hint=hint, sent=True)


def _no_data(count: int) -> ProtocolError:
    hint = "If that is expected, raise Limits.max_events_without_data"
    return ProtocolError(f"{count} lines of the stream in a row carried no data", hint=hint, sent=True)


class SSEReader:
    """Read server-sent events (WHATWG HTML, "Parsing an event stream"), with two liberties that LLM servers need.

    A line ``data: [DONE]`` is an event at once, because the blank line that ends an event may never follow. A line that
    is a JSON object, or has the field "error", is an error event at once: some servers and proxies write errors so.
    """

    NO_STREAM: ClassVar[bytes] = rb"(?:\xef\xbb\xbf)?\s*[{\[<]"
    """A pattern of the beginning of a body that is not such a stream, but JSON or a page."""

    def __init__(self, limits: Limits) -> None:
        self._lines = _SSELines(limits.max_line_bytes)
        self._max_event_bytes = limits.max_line_bytes
        self._event_bytes = 0
        self._max_without_data = limits.max_events_without_data
        self._without_data = 0
        self._first_line = True
        self._event = ""
        self._data: list[str] = []
        self.last_event_id = ""
        self.retry_ms: int | None = None
        # The first lines since the last event that are not fields; the standard ignores them.
        self.strange: list[str] = []

    def feed(self, data: bytes) -> Iterable[Event]:
        """Return the events that ``data`` completes; the iteration raises ProtocolError."""
        events: list[Event] = []
        try:
            for line in self._lines.feed(data):
                if line.startswith(b"data: {") and not self._first_line:  # a shorter way for most lines
                    self._without_data = 0
                    self._field("data", line[6:].decode("utf-8", "replace"))
                else:
                    self._take(line, events)
        except ProtocolError as error:
            return _then_raise(events, error)
        return events

    def finish(self) -> list[Event]:
        """Return the event that the end of the body cut off, if any: the standard drops it, proxies produce it."""
        return list(self.feed(self._lines.finish() + b"\n\n"))

    def _take(self, raw: bytes, events: list[Event]) -> None:
        if self._first_line:
            self._first_line = False
            if raw.startswith(b"\xef\xbb\xbf"):  # one byte order mark, at the very start
                raw = raw[3:]
        if not raw:
            self._dispatch(events)
        elif not raw.startswith(b":"):
            line = raw.decode("utf-8", "replace")
            name, _, text = line.partition(":")
            if name in ("data", "event", "id", "retry"):
                self._field(name, text[1:] if text.startswith(" ") else text)
            elif name == "error" or (line.startswith("{") and line.rstrip().endswith("}")):
                events.append(Event("error", (text if name == "error" else line).strip(), self.last_event_id))
            elif len(self.strange) < _MOST_STRANGE:
                self.strange.append(line[:_MOST_SHOWN])
            if len(self._data) == 1 and self._data[0].strip() == "[DONE]":
                self._dispatch(events)
        self._without_data = 0 if raw.startswith(b"data:") and raw[5:].strip() else self._without_data + 1
        if self._without_data > self._max_without_data and not events:  # events are returned before an error is raised
            raise _no_data(self._without_data)

    def _field(self, name: str, value: str) -> None:
        if name == "data":
            self._data.append(value)
            self._event_bytes += len(value) + 1
            if self._event_bytes > self._max_event_bytes:
                raise _too_long("an event", self._max_event_bytes)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self.last_event_id = value
        elif name == "retry" and value.isascii() and value.isdigit() and len(value) < 10:
            self.retry_ms = int(value)

    def _dispatch(self, events: list[Event]) -> None:
        if self._data:
            events.append(_new(Event, (self._event or "message", "\n".join(self._data), self.last_event_id)))
            self.strange.clear()
        self._event = ""
        self._data = []
        self._event_bytes = 0


# The end of the chunk before, and the size of the next one with its extensions.
_SIZE = re.compile(rb"\r\n[ \t]*0*([0-9a-fA-F]{1,16})[^\S\n]*(?:;[^\n]*)?\n")
_BEGIN_OF_SIZE = re.compile(rb"(?:\r(?:\n[^\n]*)?)?")
_END_OF_TRAILERS = re.compile(rb"\n\r?\n")
# More than any server has in a line of a size, or in its trailers.
_MAX_UNFINISHED_BYTES = 4096


def dechunk(pieces: Iterable[bytes]) -> Generator[bytes, None, bytes]:
    """Yield the content of a chunked body (RFC 9112, 7.1) as it arrives; return the bytes after its end.

    http.client reads one chunk at a time, which takes 4 us for a chunk; this takes 0.8. Raises ValueError if the chunks
    are malformed, and EOFError if the end is missing.
    """
    data, left, over = b"\r\n", 0, False  # no chunk comes before the first one, but its size is found in the same way
    for piece in pieces:
        data += piece
        content, at = [data[:left]], left
        while at <= len(data) and (size := _SIZE.match(data, at)):
            start, left = size.end(), int(size[1], 16)
            content.append(data[start : start + left])
            # The LF before the trailers may belong to an empty line; no size begins with it.
            over, at = not left, start + (left or -1)
        if found := b"".join(content):
            yield found
        data, left = data[at:], max(at - len(data), 0)
        if over and (end := _END_OF_TRAILERS.search(data)):
            return data[end.end() :]
        if not over and (len(data) > _MAX_UNFINISHED_BYTES or not _BEGIN_OF_SIZE.fullmatch(data)):
            raise ValueError("its chunks are malformed")
        if len(data) > _MAX_UNFINISHED_BYTES:
            return data  # the content is complete: do not wait for the end of such long trailers
    if not over:
        raise EOFError("the last chunk is missing")
    return b""


_INFLATED_BYTES = 64 * 1024


def decompress(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Yield the decompressed body, in pieces of 1 byte to 64 KiB; ``encoding`` is the value of ``Content-Encoding``.

    The request asked for no compression, but a proxy may compress all the same. Raises ProtocolError, and EOFError if
    the end is missing.
    """
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise ProtocolError(f"the reply is compressed with {encoding!r}, which was not asked for")
    inflater: Any = None
    bits, rest = 0, b""
    for data in pieces:
        rest, full = rest + data, True
        if len(rest) < 2 and not bits:
            continue
        bits = bits or (-zlib.MAX_WBITS if encoding == "deflate" and _is_raw(rest) else zlib.MAX_WBITS | 32)
        while rest or full:
            if inflater is None or inflater.eof:
                # There may be several members (RFC 1952, 2.2). Some servers fill a block with zeros after the last one.
                rest = rest if inflater is None else rest.lstrip(b"\0")
                if not rest:
                    break
                inflater = zlib.decompressobj(bits)
            before = inflater.copy()
            try:
                piece = inflater.decompress(rest, _INFLATED_BYTES)
            except zlib.error as error:
                with contextlib.suppress(zlib.error):  # byte by byte, what comes before the fault comes out
                    yield from filter(None, (before.decompress(rest[at : at + 1]) for at in range(len(rest))))
                raise ProtocolError(f"the reply's compression is broken ({error})") from error
            # A single byte may stand for gigabytes, so more may follow a full piece.
            full = len(piece) == _INFLATED_BYTES
            rest = inflater.unconsumed_tail or inflater.unused_data
            if piece:
                yield piece
    if rest or (inflater is not None and not inflater.eof):
        raise EOFError("the compressed reply ended early")


def _is_raw(begin: bytes) -> bool:
    # Many servers send "deflate" without the two bytes of zlib's header (RFC 9110, 8.4.1.2), which are a multiple of 31
    # (RFC 1950, 2.2). A body that begins like gzip is gzip, also if it is called "deflate".
    return begin[:2] != b"\x1f\x8b" and (begin[0] & 0x0F != 8 or int.from_bytes(begin[:2], "big") % 31 != 0)
