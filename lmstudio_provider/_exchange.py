"""One call on the wire: how long it may be silent, how far it is, and how it is ended from outside."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import threading
import time
from typing import Any, Callable, NamedTuple

from ._exceptions import RequestTimeoutError
from ._flag import Flag
from ._types import Timeouts

# How long a connection that is being opened may go on after it was cancelled.
_SLICE_S = 0.05
#: Small, because each piece has the whole limit for itself: a slow server that reads is not silent.
SENT_BYTES = 16 * 1024
# What a wait before the call leaves of each of its limits at least.
_LEAST_SHARE = 0.1
_MISSED = {
    "connect": "a connection did not come",
    "first_byte": "the first byte of the reply did not come",
    "idle": "the next byte of the reply did not come",
}


class CancelledCall(Exception):  # no ...Error: it never leaves the package
    """The call was cancelled from outside."""

    #: Whether any of the request had gone out.
    sent = False


def _nothing() -> None:
    return None


class Deadline(NamedTuple):
    """For how many seconds a call may go on, and when (``time.monotonic()``) it began."""

    seconds: float
    started: float

    def left(self) -> float:
        """Seconds until then, negative after it."""
        return self.started + self.seconds - time.monotonic()


class Exchange:
    """One call on the wire: its limits, how far it is, and the socket by which another thread can end it."""

    def __init__(self, timeouts: Timeouts, deadline: Deadline | None, waited_s: float = 0.0) -> None:
        self.timeouts = timeouts
        #: How long the server was silent before the call, which counts until its first byte.
        self.waited_s = waited_s
        self.started = time.monotonic()
        self.deadline = deadline
        self.cancelled = Flag()
        #: Whether it was cancelled because the provider was closed.
        self.closed = False
        #: Which silence is being waited out now.
        self.limit = "connect"
        #: Whether a kept-alive connection is used, and whether none may be.
        self.reused = False
        self.fresh = False
        #: Whether a byte of the request went out, in any attempt that a server may have worked on.
        self.sent = False
        #: When that was in this attempt, and how many bytes of the reply came in.
        self.sent_at: float | None = None
        self.received = 0
        #: The first bytes of them.
        self.first = b""
        #: The URL of the proxy through which a connection is being opened; what goes out now is for it alone.
        self.proxy = ""
        #: Whether the headers of a reply are still to come, and whether the server has closed its side.
        self.in_headers = False
        self.ended = False
        #: What is to be done when the provider is closed while nobody reads.
        self.settle: Callable[[], Callable[[], None] | None] = _nothing
        #: The host that answered to "localhost" last time.
        self.localhost: str | None = None
        #: The IP address of the server, where this call opened the connection itself.
        self.address: str | None = None
        # Guards the socket: once it is back in the pool, cancelling this call must not touch it. A signal handler that
        # cancels may interrupt a thread that holds the lock, so it can be taken twice.
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._socket: Any = None
        self._dialled: socket.socket | None = None
        #: Which limit the socket's timeout stands for while a TLS handshake is under way.
        self.handshake_limit = "connect"
        self._socket_timeout: float | None = -1.0

    def allowed(self, limit: str) -> tuple[float | None, str]:
        """How long to wait now, and the name of the limit that says so; raises where the deadline has passed."""
        if self.cancelled.is_set():
            raise CancelledCall
        seconds: float | None = getattr(self.timeouts, limit)
        if seconds is not None and self.waited_s:
            seconds = max(seconds - self.waited_s, seconds * _LEAST_SHARE)
        left = None if self.deadline is None else self.deadline.left()
        if left is None or (seconds is not None and seconds <= left):
            return seconds, limit
        if left <= 0:
            raise self.timeout("deadline", 0.0)
        return left, "deadline"

    def timeout(self, limit: str, waited_s: float, missed: str | None = None) -> RequestTimeoutError:
        """The error for a limit that was reached after waiting for ``waited_s``, for what was ``missed``."""
        if limit == "deadline" and self.deadline is not None:
            waited_s = time.monotonic() - self.deadline.started
            message = f"the call was not over after {waited_s:.1f} s, and deadline is {self.deadline.seconds:g} s"
            hint = "Raise deadline= (seconds for the whole call), or give None for no limit"
        else:
            seconds = getattr(self.timeouts, limit)
            waited_s += self.waited_s
            message = f"{missed or _MISSED[limit]} for {waited_s:.1f} s, and timeout is {seconds:g} s ({limit})"
            hint = f"Raise it with timeout=Timeouts({limit}=...) in seconds, or give None for no limit"
            if limit == "first_byte" and missed is None:
                hint += "; a model that is being loaded, or reads a long prompt, is silent for minutes"
        return RequestTimeoutError(
            message, hint=hint, limit=limit, waited_s=waited_s, sent=self.sent, received=bool(self.received)
        )

    def begin(self, reused: bool) -> None:
        """Begin an attempt, on a connection that is ``reused`` or is still to be opened."""
        self.reused = reused
        self.sent_at = None
        self.begin_reply()

    def begin_reply(self) -> None:
        """A reply is to be read, from its first byte."""
        self.received = 0
        self.in_headers, self.ended = True, False
        self.expect_reply()

    def expect_reply(self) -> None:
        """The next byte is the first one of a reply, or of one that follows an interim reply."""
        self.limit = "connect" if self.proxy else "first_byte"

    def send(self, sock: Any, data: bytes | memoryview) -> None:
        """Send; a server that stops reading runs into the same limit as one that is silent."""
        self._hold(sock)
        # In pieces, so that a long upload that makes progress is no silence: sendall has one timeout for all of it.
        for start in range(0, len(data), SENT_BYTES):
            seconds, limit = self.allowed("connect" if self.proxy else "first_byte")
            self._set_timeout(seconds)
            if not self.proxy:
                self.sent, self.sent_at = True, self.sent_at or time.monotonic()
            started = time.monotonic()
            try:
                sock.sendall(memoryview(data)[start : start + SENT_BYTES])
            except socket.timeout as error:
                if error.errno is not None:
                    raise  # ETIMEDOUT of the system, which Python 3.10 and newer has as the same class
                missed = "the server did not take the request"
                raise self.timeout(limit, time.monotonic() - started, missed) from error

    def receive(self, read: Callable[[Any], int | None], buffer: Any) -> int:
        """Read what is there, or wait for it as long as the limits say; 0 is the end."""
        seconds, limit = self.allowed(self.limit)
        self._set_timeout(seconds)
        started = time.monotonic()
        try:
            count = read(buffer) or 0
        except socket.timeout as error:
            if error.errno is not None:
                raise
            raise self.timeout(limit, time.monotonic() - started) from error
        if self.cancelled.is_set():
            raise CancelledCall
        if count:
            if not self.received:
                self.first = bytes(buffer[: min(count, 8)])
            self.received += count
            self.waited_s = 0.0
            self.limit = "connect" if self.proxy else "idle"
            return count
        self.ended = True
        if self.in_headers:  # http.client would take the end of the bytes for the end of the headers
            raise http.client.RemoteDisconnected("no reply, or not all of its headers")
        return 0

    def _set_timeout(self, seconds: float | None) -> None:
        # Each call of settimeout is a system call; without a deadline the value never changes.
        if self._socket is not None and seconds != self._socket_timeout:
            self._socket_timeout = seconds
            self._socket.settimeout(seconds)

    def cancel(self, closed: bool = False) -> None:
        """End the call from any thread: the one that waits for the server wakes up with CancelledCall."""
        self.closed = self.closed or closed
        self.cancelled.set()
        with self._lock:
            if self._socket is None or self.is_foreign():
                return
            # TLS inside TLS, by way of a proxy, is no socket: it has one.
            sock = self._socket if isinstance(self._socket, socket.socket) else getattr(self._socket, "socket", None)
            if sock is not None:
                # Not close(): the descriptor could be taken by another file while the other thread still reads. Not
                # SSLSocket's: it would take the encryption away first. An error means that it is closed already.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def is_foreign(self) -> bool:
        """Whether this is a forked child's copy of a call whose socket is the parent's."""
        return self._pid != os.getpid()

    def release(self) -> None:
        """Let go of the socket, which another call may use from now on."""
        self._hold(None)

    def _hold(self, sock: Any) -> None:
        with self._lock:
            if self._dialled is not None:
                self._dialled.close()
                self._dialled = None
            if sock is not self._socket:
                self._socket, self._socket_timeout = sock, -1.0  # whatever it is

    def connect_slice(self, started: float) -> float:
        """Return for how long to wait for a connection before asking again whether it is still wanted.

        ``started`` is when (``time.monotonic()``) it began. Raises RequestTimeoutError and CancelledCall.
        """
        seconds, limit = self.allowed("connect")
        waited = time.monotonic() - started
        # The deadline shrinks by itself; the time to connect is counted over all addresses.
        left = seconds if seconds is None or limit == "deadline" else seconds - waited
        if left is not None and left <= 0:
            raise self.timeout(limit, waited)
        return _SLICE_S if left is None else min(left, _SLICE_S)

    def expect_handshake(self, sock: socket.socket) -> None:
        """TLS is about to come over ``sock``, and empties it: a copy is kept for cancelling meanwhile.

        Over a socket that has TLS already it comes by way of a buffer, and the socket stays what it is.
        """
        if isinstance(sock, ssl.SSLSocket):
            self._hold(sock)
        else:
            self._hold(None)
            with self._lock:
                self._socket = self._dialled = sock.dup()
        seconds, self.handshake_limit = self.allowed("connect")
        sock.settimeout(seconds)
