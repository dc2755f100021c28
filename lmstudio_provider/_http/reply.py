"""The reply to a call: its body is read piece by piece, as it arrives."""

from __future__ import annotations

import functools
import http.client
import time
from typing import Any, Callable, Iterator, Mapping

from urllib3.exceptions import HTTPError

from .._core.errors import ProtocolError, ProviderError, RequestTimeoutError, ServerUnavailableError
from .._core.types import Limits
from .connection import causes, timed_out
from .exchange import HUNG_UP, CancelledCall, Exchange
from .readers import dechunk, decompress

# Each read hands the interpreter to another thread: large ones save 6 % if 256 streams run at once.
_PIECE_BYTES = 96 * 1024
# The rest of the body of an error is not read.
_MAX_ERROR_BYTES = 1024 * 1024
# Seconds to wait for the end of a body whose content is complete, so that its connection can be used again.
_DRAIN_S = 0.1
# What a body that breaks off or is malformed raises.
_BROKEN = (http.client.HTTPException, HTTPError, OSError, EOFError, ValueError)


def reason(error: BaseException) -> str:
    """Return the message of an error of the socket or of http.client, short and without control characters."""
    text = getattr(error, "strerror", None) or str(error)[:100].encode("unicode_escape").decode("ascii")
    return text.strip() or type(error).__name__


def short(error: BaseException | None) -> BaseException | None:
    """Return ``error`` as a cause: without its own causes, and without the frames of urllib3 and http.client."""
    if error is not None:
        error.__traceback__ = error.__context__ = error.__cause__ = None
    return error


class Reply:
    """The reply to a call: status and headers are in, the body is read by one thread at a time."""

    of_server = True

    def __init__(
        self, response: Any, exchange: Exchange, limits: Limits, on_end: Callable[[Exchange, object], None]
    ) -> None:
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        self.exchange = exchange
        self._limits = limits
        self._on_end = on_end
        self._response = response
        ours = isinstance(response, http.client.HTTPResponse)
        self._raw = self._arriving(response) if ours else self._foreign(response)
        self._pieces: Iterator[bytes] | None = None
        self._over = False

    def read_piece(self) -> bytes:
        """Return the next bytes as soon as some are there; b"" is the end of the body.

        Raises ServerUnavailableError if the body breaks off, RequestTimeoutError, ProtocolError and CancelledCall.
        """
        try:
            if self._pieces is None:
                encoding = (self.headers.get("Content-Encoding") or "identity").strip().lower()
                self._pieces = self._raw if encoding == "identity" else decompress(self._raw, encoding)
            piece = next(self._pieces, b"")
        except _BROKEN as error:
            self.drop()
            cause = causes(error)[-1]
            raise self._broken(cause) from short(cause)
        except BaseException as error:
            self.drop()
            if isinstance(error, (ProviderError, CancelledCall)):
                error.sent = True
            raise
        if not piece:
            self._end(reusable=True)
        return piece

    def _arriving(self, body: http.client.HTTPResponse) -> Iterator[bytes]:
        if body.chunked:
            rest = yield from dechunk(self._bytes(body.fp.read1))
            body.will_close = body.will_close or bool(rest)  # nobody asked for the rest: it is not the next reply
            return
        size = body.length
        yield from self._bytes(body.read1)
        if size and body.length:  # read1() does not notice that a body is too short
            raise http.client.HTTPException(f"{size - body.length} of {size} bytes came")

    def _bytes(self, read: Callable[[int], bytes]) -> Iterator[bytes]:
        while data := read(_PIECE_BYTES):  # returns the bytes that have arrived
            self.exchange.expect_more()
            yield data

    def _foreign(self, response: Any) -> Iterator[bytes]:
        """Yield the body of a response that did not come from our connections, but from vcr.py or a user's manager."""
        empty = True
        if not getattr(response, "closed", False):  # a response that was made of bytes is closed
            read = self._foreign_reader(response)
            while data := self.exchange.read_foreign(response, read):
                empty = False
                self.exchange.expect_more()
                yield data
        if empty and response.data:
            yield response.data

    def _foreign_reader(self, response: Any) -> Callable[[int], bytes]:
        # stream() waits for a whole piece or chunk. urllib3 1.26 has no read1(); the file of a double may have none.
        is_real = isinstance(getattr(response, "connection", None), http.client.HTTPConnection)
        if is_real and hasattr(response, "read1"):
            return functools.partial(response.read1, decode_content=False)
        pieces = filter(None, response.stream(_PIECE_BYTES, decode_content=False))
        return lambda size: next(pieces, b"")

    def _broken(self, error: BaseException) -> ProviderError | CancelledCall:
        if self.exchange.cancelled:
            failure: ProviderError | CancelledCall = CancelledCall()
        elif timed_out(error):
            failure = self.exchange.timeout(time.monotonic() - self.exchange.started)
        elif self.exchange.ended or isinstance(error, (OSError, EOFError)):
            message = f"the server hung up in the middle of its reply ({reason(error)})"
            failure = ServerUnavailableError(message, hint=HUNG_UP)
        else:
            failure = ProtocolError(f"the reply is not valid HTTP ({reason(error)})", hint=HUNG_UP)
        failure.sent = True
        return failure

    def read_all(self) -> bytes:
        """Return the whole body, or the first MiB of the body of an error.

        Raises as ``read_piece`` does, and ProtocolError if the body is larger than ``max_reply_bytes``.
        """
        most = self._limits.max_reply_bytes
        enough = most if self.status < 300 else min(most, _MAX_ERROR_BYTES)
        body = bytearray()
        while len(body) <= enough and (piece := self.read_piece()):
            body += piece
        if len(body) > enough:
            self.drop()
            if enough == most:
                hint = "If that is expected, raise Limits.max_reply_bytes"
                raise ProtocolError(f"the reply is larger than {most} bytes", hint=hint, sent=True)
        return bytes(body[:enough])

    def finish(self) -> None:
        """Read the few bytes after the complete content, if they are there, and give the connection back."""
        if not self.exchange.has_socket():
            self.drop()  # nothing would end the wait: it is the response of a user's manager, or it is over
            return
        self.exchange.limit_rest(_DRAIN_S)
        try:
            for _ in self._raw:
                pass
        except (*_BROKEN, RequestTimeoutError, CancelledCall):
            self.drop()  # the content is complete all the same
        else:
            self._end(reusable=True)

    def drop(self) -> None:
        """Close the connection, which makes the server stop generating."""
        self._end(reusable=False)

    def discard(self) -> None:
        """Close the connection; the call goes on with another reply, so it has not ended."""
        self._over = True
        self._response.close()

    def _end(self, reusable: bool) -> None:
        if self._over:
            return
        if reusable:
            self._over = True
            self.exchange.release()
            self._response.release_conn()
        else:
            self.discard()
        self._on_end(self.exchange, self.status)
