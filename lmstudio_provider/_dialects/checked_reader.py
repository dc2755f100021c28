"""Reads a stream, and reports an error or another reply that came instead of it or in the middle of it."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any, Callable, Iterable, Union

from .._core.errors import ProtocolError, ProviderError, StreamInterruptedError
from .._http.readers import NDJSONReader, SSEReader
from .json_text import parse
from .pages import is_page, read_answer

if TYPE_CHECKING:
    from .._http.reply import Reply

StreamReader = Union[SSEReader, NDJSONReader]


class CheckedReader:
    """Reads the stream of ``reply`` with ``reader``.

    ``find_error`` takes a body and its JSON, and returns the error that they report, or None.
    """

    def __init__(
        self, reader: StreamReader, reply: Reply, find_error: Callable[[bytes, object], ProviderError | None]
    ) -> None:
        self._reader = reader
        self._reply = reply
        self._find_error = find_error
        self._begun = False

    def feed(self, data: bytes) -> Iterable[Any]:
        """Return the events that ``data`` completes; it or the iteration raises ProviderError."""
        if not self._begun:
            if re.match(self._reader.NO_STREAM, data):
                raise self.no_stream(data if _value(data) is not None else data + self._reply.read_all())
            self._begun = bool(data.strip())
        return self._reader.feed(data)

    def finish(self) -> list[Any]:
        """Return the event that the end of the body cut off, if any."""
        return self._reader.finish()

    def no_stream(self, body: bytes) -> ProviderError:
        """Return the error that came instead of a stream, in the whole ``body``."""
        value = _value(body)
        error = self._find_error(body, value)
        if error is not None:
            return error
        headers, text = self._reply.headers, body.decode("utf-8", "replace")
        answer = read_answer(self._reply.status, headers, text, value)
        page = value is None and is_page(headers, text)
        kind = "a page" if page else "text" if value is None else "JSON"  # the label may say that it is a stream
        return ProtocolError(
            f"the server sent {kind} instead of a stream: {answer.said if page else repr(answer.text)}",
            hint=answer.hint if page else "Check that the base URL is that of a server that can stream",
            sent=True,
        )

    def explain(self, error: ProviderError) -> ProviderError:
        """Return the error of a stream without an end: the one that its last lines report, else ``error``."""
        body = "\n".join(self._reader.strange).encode()
        if not body.strip():
            return error
        if not isinstance(error, StreamInterruptedError):  # nothing came before these lines
            return self.no_stream(body)
        found = self._find_error(body, _value(body))
        answer = read_answer(self._reply.status, self._reply.headers, body.decode(), _value(body))
        error.message += f"; its last lines are {answer.text!r}"
        return found or error


def _value(body: bytes) -> Any:
    with contextlib.suppress(ProtocolError):
        return parse(body, "the reply")
    return None
