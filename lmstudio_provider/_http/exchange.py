"""One call on the wire: its time limits, its progress, and how another thread ends it."""

from __future__ import annotations

import contextlib
import dataclasses
import email.utils
import http.client
import os
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Mapping, NamedTuple

from .._core.errors import RequestTimeoutError
from .._core.types import Timeouts

if TYPE_CHECKING:
    import urllib3

    PoolManager = urllib3.PoolManager
else:
    PoolManager = Any  # for the annotations of the floors above, which do not import urllib3

# A lookup, the opening of a connection and a wait between attempts cannot be woken: so often they look for a cancel.
_SLICE_S = 0.05
# Small, because each piece may take the whole limit: a server that reads slowly is not silent.
_SENT_BYTES = 16 * 1024
_FOREIGN_BYTES = 64 * 1024
# Each limit keeps at least this share, however long a wait before the call took.
_LEAST_SHARE = 0.1
# The clock of Windows moves in steps of 16 ms.
_CLOCK_S = 0.02
# A kept-alive connection that the server closed while it was idle dies at once when it is used. One that dies later
# may have carried the request to a server that was at work on it.
_STALE_S = 1.0
USE_HTTPS = "That port speaks TLS: write https:// in the base URL"
HUNG_UP = "Ask again; if it happens each time, see the server's log"
_MISSED = {
    "connect": "a connection did not come",
    "first_byte": "the first byte of the reply did not come",
    "idle": "the next byte of the reply did not come",
}


class _Forks:
    """Counts the forks that led to this process: os.getpid() is a system call, and each piece of a stream asks."""

    count = 0

    @classmethod
    def add(cls) -> None:
        cls.count += 1


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_Forks.add)


def _socket_of(response: Any) -> socket.socket | None:
    sock = getattr(getattr(response, "connection", None), "sock", None)
    return sock if isinstance(sock, socket.socket) else None


class CancelledCall(Exception):  # no ...Error: it never leaves the package
    """The call was cancelled from outside."""

    sent = False
    """True if any of the request had gone out."""


class Deadline(NamedTuple):
    """For how many seconds a call may go on, and when (``time.monotonic()``) it began."""

    seconds: float
    started: float

    def left(self) -> float:
        """Return the seconds until then, negative after it."""
        return self.started + self.seconds - time.monotonic()


class Exchange:
    """One call on the wire: its limits, its progress, and the socket by which another thread can end it.

    Its attributes are for reading; its methods change them.
    """

    def __init__(self, timeouts: Timeouts, deadline: Deadline | None, waited_s: float = 0.0) -> None:
        self._timeouts = timeouts
        self._deadline = deadline
        # How long the server was silent before the call, which counts until its first byte.
        self._waited_s = waited_s
        self.started = time.monotonic()
        self.cancelled = False
        # True if the call was cancelled because the provider was closed.
        self.closed = False
        # True if the attempt uses a kept-alive connection.
        self.reused = False
        # True if the attempt must not use one.
        self.fresh = False
        # True if a byte of the request went out, in any attempt that a server may have worked on.
        self.sent = self._sent_before = False
        # When the first byte of this attempt went out.
        self.sent_at: float | None = None
        # The number of bytes of the reply that came in, in this attempt.
        self.received = 0
        # The first few of them.
        self.first = b""
        # True if the server has closed its side.
        self.ended = False
        # The URL of the proxy through which a connection is being opened: until it is open, only the proxy listens.
        self.proxy = ""
        # The IP address of the server, if this call opened the connection itself.
        self.address: str | None = None
        # The name of the limit that runs now.
        self._limit = "connect"
        self._in_headers = True
        self._settle: Callable[[], Callable[[], None] | None] = lambda: None
        # Guards the socket: once it is back in the pool, a cancel of this call must not touch it. A signal handler that
        # cancels may interrupt the thread that holds the lock, so that thread can take it twice.
        self._lock = threading.RLock()
        self._forks = _Forks.count
        self._socket: Any = None
        self._copy: socket.socket | None = None
        self._socket_timeout: float | None = -1.0

    # Limits

    def allowed(self, limit: str | None = None) -> float | None:
        """Return the seconds to wait under ``limit``, by default under the one that runs now; None is for ever.

        Raises RequestTimeoutError after the deadline, and CancelledCall.
        """
        if self.cancelled:
            raise CancelledCall
        seconds = self._seconds(limit or self._limit)
        if self._deadline is None:
            return seconds
        left = self._deadline.left()
        if left <= 0:
            raise self.timeout(0.0)
        return left if seconds is None else min(left, seconds)

    def _seconds(self, limit: str) -> float | None:
        seconds: float | None = getattr(self._timeouts, limit)
        return seconds and max(seconds - self._waited_s, seconds * _LEAST_SHARE)

    def connect_slice(self, started: float) -> float:
        """Return the seconds to wait for a connection before asking again whether it is still wanted.

        ``started`` is the time (``time.monotonic()``) at which it began. Raises RequestTimeoutError and CancelledCall.
        """
        left, seconds, waited = self.allowed("connect"), self._seconds("connect"), time.monotonic() - started
        if seconds is not None and waited >= seconds:  # the limit holds for all addresses together
            raise self.timeout(waited)
        return _SLICE_S if left is None else min(left, _SLICE_S)

    def timeout(self, waited_s: float, missed: str | None = None) -> RequestTimeoutError:
        """Return the error for the limit that was reached; ``missed`` says what did not happen in ``waited_s``."""
        limit, seconds = self._limit, getattr(self._timeouts, self._limit)
        if self._deadline is not None and (seconds is None or self._deadline.left() <= _CLOCK_S):
            limit, waited_s = "deadline", time.monotonic() - self._deadline.started
            message = f"the call was not over after {waited_s:.1f} s, and deadline is {self._deadline.seconds:g} s"
            hint = "Raise deadline= (seconds for the whole call), or give None for no limit"
        else:
            waited_s += self._waited_s
            message = (
                f"{missed or _MISSED[limit]} for {waited_s:.1f} s, and timeout is {seconds or waited_s:g} s ({limit})"
            )
            hint = f"Raise it with timeout=Timeouts({limit}=...) in seconds, or give None for no limit"
            if limit == "first_byte" and missed is None:
                hint += "; a model that is being loaded, or reads a long prompt, is silent for minutes"
        return RequestTimeoutError(message, hint=hint, limit=limit, waited_s=waited_s, received=bool(self.received))

    def limit_idle(self, seconds: float) -> None:
        """Wait at most ``seconds`` for each further byte."""
        self._timeouts = dataclasses.replace(self._timeouts, idle=min(self._timeouts.idle or seconds, seconds))

    def limit_rest(self, seconds: float) -> None:
        """Wait at most ``seconds`` for all of the rest."""
        self._deadline = Deadline(seconds, time.monotonic())

    def has_time_for(self, seconds: float) -> bool:
        """Return True if the deadline comes after ``seconds``."""
        return self._deadline is None or self._deadline.left() > seconds

    def pause(self, seconds: float) -> None:
        """Wait before another attempt; raises CancelledCall."""
        # No Event: Ctrl-C may leave its lock locked, and a signal handler that cancels may wait for itself.
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.allowed()
            time.sleep(min(left, _SLICE_S))

    # Progress

    def begin(self, reused: bool = False, proxy: str = "") -> None:
        """Begin an attempt, on a ``reused`` connection or on one that is to be opened, if need be through ``proxy``."""
        self.reused, self.proxy, self.sent_at, self._sent_before = reused, proxy, None, self.sent
        self.received, self.first, self.ended, self._in_headers = 0, b"", False, True
        self._limit = "first_byte" if reused else "connect"

    def died_idle(self) -> bool:
        """Return True if the connection broke in the way of one that the server closed while it was idle."""
        at = self.sent_at
        quick = at is not None and not self.received and time.monotonic() - at < _STALE_S
        return quick and self.reused and not self.fresh

    def start_afresh(self) -> None:
        """Forget the attempt, which the server never saw; the next attempt opens a connection."""
        self.fresh, self.sent = True, self._sent_before

    def mark_sent(self) -> None:
        """Note that some of the request has gone out, or may have gone out."""
        self.sent, self.sent_at = True, self.sent_at or time.monotonic()

    def connected(self, address: str) -> None:
        """Note the IP address of the connection."""
        self.address = address

    def expect_reply(self) -> None:
        """Expect the first byte of a reply; also after an interim reply."""
        self._limit = "connect" if self.proxy else "first_byte"

    def expect_body(self) -> None:
        """Expect the first byte of the body, which may take as long as the first byte of the headers."""
        self._in_headers, self._limit = False, "first_byte"

    def expect_more(self) -> None:
        """Expect another byte of the body."""
        self._limit = "idle"

    # The socket

    def send(self, sock: Any, data: bytes) -> None:
        """Send ``data``; a server that stops reading runs into the same limit as a silent one."""
        self._hold(sock)
        self.expect_reply()
        # In pieces, because sendall() has one timeout for all of the data, and a long upload that moves is not silence.
        for start in range(0, len(data), _SENT_BYTES):
            if not self.proxy:
                self.mark_sent()
            piece = memoryview(data)[start : start + _SENT_BYTES]
            self._timed(sock.sendall, piece, "the server did not take the request")

    def receive(self, sock: Any, buffer: Any) -> int:
        """Read the bytes that are there, or wait for some as long as the limits allow; 0 is the end."""
        count: int = self._timed(sock.recv_into, buffer)
        if self.cancelled:
            raise CancelledCall
        if count:
            self.first = self.first or bytes(buffer[: min(count, 8)])
            self.received += count
            self._waited_s = 0.0
            if not self.proxy:
                self._limit = "idle"
            return count
        self.ended = True
        if self._in_headers:  # http.client would take the end of the bytes for the end of the headers
            raise http.client.RemoteDisconnected("no reply, or not all of its headers")
        return 0

    def read_foreign(self, response: Any, read: Callable[[int], bytes]) -> bytes:
        """Call ``read``, which reads some of the body of ``response``; it is not of our connections.

        urllib3 shows the socket as long as it has not given it back to its pool, and the server may keep it open.
        """
        self._hold(_socket_of(response))
        data: bytes = self._timed(read, _FOREIGN_BYTES)
        if _socket_of(response) is None:
            self.release()
        return data

    def has_socket(self) -> bool:
        """Return True if the call holds a socket, on which its limits can be set."""
        return self._socket is not None

    def _timed(self, function: Callable[[Any], Any], argument: Any, missed: str | None = None) -> Any:
        seconds = self.allowed()
        # settimeout() is a system call each time; without a deadline the value never changes.
        if self._socket is not None and seconds != self._socket_timeout:
            self._socket_timeout = seconds
            self._socket.settimeout(seconds)
        started = time.monotonic()
        try:
            return function(argument)
        except socket.timeout as error:
            if error.errno:  # the system's ETIMEDOUT, which is of the same class since Python 3.10
                raise
            raise self.timeout(time.monotonic() - started, missed) from error

    def expect_handshake(self, sock: socket.socket) -> None:
        """Keep a copy of ``sock`` for a cancel, because wrapping a socket in TLS detaches it.

        A socket that has TLS already is wrapped by way of a buffer and stays usable.
        """
        sock.settimeout(self.allowed("connect"))
        self._hold(sock, copy=not isinstance(sock, ssl.SSLSocket))

    def release(self) -> None:
        """Let go of the socket: another call may use it from now on."""
        self._hold(None)

    def _hold(self, sock: Any, copy: bool = False) -> None:
        with self._lock:
            if self._copy is not None:
                self._copy.close()
            self._copy = sock.dup() if copy else None
            if copy or sock is not self._socket:
                self._socket, self._socket_timeout = self._copy or sock, -1.0  # its timeout is not known

    # From outside

    def on_close(self, settle: Callable[[], Callable[[], None] | None]) -> None:
        """Call ``settle()`` and then the function that it returns, if any, when the provider is closed."""
        self._settle = settle

    def close(self) -> None:
        """Cancel the call because the provider is closed."""
        self.closed = True
        self.cancel()
        if settle := self._settle():
            settle()

    def cancel(self) -> None:
        """End the call from any thread: the thread that waits for the server gets CancelledCall."""
        self.cancelled = True
        with self._lock:
            if self._socket is None or self.is_foreign():
                return
            # TLS inside TLS, through a proxy, is urllib3's SSLTransport: not a socket, but it has one.
            sock = self._socket if isinstance(self._socket, socket.socket) else getattr(self._socket, "socket", None)
            if sock is not None:
                # Not close(): another file could take the descriptor while the other thread still reads. Not
                # SSLSocket.shutdown(), which drops the encryption first. An error means that it is closed already.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def is_foreign(self) -> bool:
        """Return True in a forked child: the socket of the call belongs to the parent."""
        return self._forks != _Forks.count


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of ``Retry-After``, given as a number or as a date (RFC 9110, 10.2.3)."""
    text = (headers.get("Retry-After") or "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
