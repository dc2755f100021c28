"""urllib3's connections, taught to keep to the time limits of a call, to be cancelled, and to find localhost."""

from __future__ import annotations

import contextlib
import errno
import functools
import http.client
import io
import os
import socket
import threading
import time
from typing import Any, Callable, NamedTuple

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import wait_for_write

from ._exceptions import RequestTimeoutError, ServerUnavailableError
from ._types import Timeouts

#: LM Studio closes a connection that was idle for 5 s; one that idled for nearly as long is not worth the risk.
MAX_IDLE_S = 4.0
# How long a connection that is being opened may go on after it was cancelled.
_SLICE_S = 0.05
_BUFFER_BYTES = 16 * 1024
_SENT_BYTES = 256 * 1024
_MAX_INTERIM_REPLIES = 100
_MAX_TRAILERS = 100
_UNDER_WAY = (errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", errno.EWOULDBLOCK))

_WAITED_FOR = {
    "connect": "a connection",
    "first_byte": "the first byte of the reply",
    "idle": "the next byte of the reply",
}


class CancelledCall(Exception):  # no ...Error: it never leaves the package
    """The call was cancelled from outside."""

    #: Whether any of the request had gone out.
    sent = False


class Deadline(NamedTuple):
    """For how many seconds a call may go on, and when (``time.monotonic()``) it began."""

    seconds: float
    started: float

    def left(self) -> float:
        """Seconds until then, negative after it."""
        return self.started + self.seconds - time.monotonic()


class Exchange:
    """One call on the wire: its limits, how far it is, and the socket by which another thread can end it."""

    def __init__(self, timeouts: Timeouts, deadline: Deadline | None) -> None:
        self.timeouts = timeouts
        self.started = time.monotonic()
        self.deadline = deadline
        self.cancelled = threading.Event()
        #: Whether it was cancelled because the provider was closed.
        self.closed = False
        #: Which silence is being waited out now.
        self.limit = "connect"
        #: Whether a kept-alive connection is used, and whether none may be.
        self.reused = False
        self.fresh = False
        #: Whether a byte of the request went out, in any attempt.
        self.sent = False
        #: When that was in this attempt, and how many bytes of the reply came in.
        self.sent_at: float | None = None
        self.received = 0
        #: Whether what goes out now is for a proxy, and no part of the request.
        self.tunnelling = False
        #: Whether the headers of a reply are still to come, and whether the server has closed its side.
        self.in_headers = False
        self.ended = False
        #: The host that answered to "localhost" last time.
        self.localhost: str | None = None
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
        left = None if self.deadline is None else self.deadline.left()
        if left is None or (seconds is not None and seconds <= left):
            return seconds, limit
        if left <= 0:
            raise self.timeout("deadline", 0.0)
        return left, "deadline"

    def timeout(self, limit: str, waited_s: float) -> RequestTimeoutError:
        """The error for a limit that was reached after waiting for ``waited_s``."""
        if limit == "deadline" and self.deadline is not None:
            waited_s = time.monotonic() - self.deadline.started
            message = f"the call was not over after {waited_s:.1f} s, and deadline is {self.deadline.seconds:g} s"
            hint = "Raise deadline= (seconds for the whole call), or give None for no limit"
        else:
            seconds = getattr(self.timeouts, limit)
            message = f"{_WAITED_FOR[limit]} did not come for {waited_s:.1f} s, and timeout is {seconds:g} s ({limit})"
            hint = f"Raise it with timeout=Timeouts({limit}=...) in seconds, or give None for no limit"
            if limit == "first_byte":
                hint += "; a model that is being loaded, or reads a long prompt, is silent for minutes"
        return RequestTimeoutError(message, hint=hint, limit=limit, waited_s=waited_s, sent=self.sent)

    def use(self, connection: Any) -> None:
        """Begin an attempt on ``connection``, which the pool has chosen."""
        if connection.sock is not None and (self.fresh or time.monotonic() - connection.idle_since > MAX_IDLE_S):
            connection.close()
        self.reused = connection.sock is not None
        self.sent_at = None
        self.begin_reply()
        connection.exchange = self
        connection.response_class = functools.partial(_Response, self)

    def begin_reply(self) -> None:
        """A reply is to be read, from its first byte."""
        self.received, self.limit = 0, "first_byte"
        self.in_headers, self.ended = True, False

    def send(self, sock: Any, send: Callable[[Any], None], data: bytes) -> None:
        """Send; a server that stops reading runs into the same limit as one that is silent."""
        self._hold(sock)
        self.forget_timeout()
        # In pieces, so that a long upload that makes progress is no silence: sendall has one timeout for all of it.
        for start in range(0, len(data), _SENT_BYTES):
            seconds, limit = self.allowed("first_byte")
            self._set_timeout(seconds)
            if not self.tunnelling:
                self.sent, self.sent_at = True, self.sent_at or time.monotonic()
            started = time.monotonic()
            try:
                send(memoryview(data)[start : start + _SENT_BYTES])
            except socket.timeout as error:
                raise self.timeout(limit, time.monotonic() - started) from error

    def receive(self, read: Callable[[Any], int | None], buffer: Any) -> int:
        """Read what is there, or wait for it as long as the limits say; 0 is the end."""
        seconds, limit = self.allowed(self.limit)
        self._set_timeout(seconds)
        started = time.monotonic()
        try:
            count = read(buffer) or 0
        except socket.timeout as error:
            raise self.timeout(limit, time.monotonic() - started) from error
        if self.cancelled.is_set():
            raise CancelledCall
        if count:
            self.received += count
            self.limit = "idle"
            return count
        self.ended = True
        if self.in_headers:  # http.client would take the end of the bytes for the end of the headers
            raise http.client.RemoteDisconnected("no reply, or not all of its headers")
        return 0

    def forget_timeout(self) -> None:
        """Set the socket's timeout anew at the next wait."""
        self._socket_timeout = -1.0

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
            sock = self._socket if hasattr(self._socket, "shutdown") else self._socket.socket
            # Not close(): the descriptor could be taken by another file while the other thread still reads. An error
            # means that it is closed already, so that nobody is waiting.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

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
            self._socket = sock

    def dial(self, host: str, port: int, options: Any, source_address: Any, tls: bool) -> socket.socket:
        """Open a TCP connection, over which ``tls`` may come.

        Raises ServerUnavailableError, RequestTimeoutError and CancelledCall.
        """
        started = time.monotonic()
        first: OSError | None = None
        try:
            for family, kind, protocol, _, address in self._addresses(host.strip("[]"), port):
                sock = None
                try:
                    sock = socket.socket(family, kind, protocol)
                    for option in options or ():
                        sock.setsockopt(*option)
                    if source_address:
                        sock.bind(source_address)
                    self._connect(sock, address, started)
                except OSError as error:
                    first = first or error
                    if sock is not None:
                        sock.close()
                except BaseException:
                    if sock is not None:
                        sock.close()
                    raise
                else:
                    self.localhost = address[0] if host == "localhost" else self.localhost
                    if tls:  # which empties the socket that it wraps: this one is for cancelling meanwhile
                        self._hold(None)
                        self._socket = self._dialled = sock.dup()
                    return sock
        except (OSError, UnicodeError) as error:  # of getaddrinfo; UnicodeError for a host that is no domain name
            why = getattr(error, "strerror", None) or str(error)
            raise ServerUnavailableError(f"the host {host!r} was not found ({why})") from error
        assert first is not None  # noqa: S101 (getaddrinfo never returns an empty list)
        raise ServerUnavailableError(
            f"{first.strerror or first} ({host} port {port})", refused=isinstance(first, ConnectionRefusedError)
        ) from first

    def _addresses(self, host: str, port: int) -> list[Any]:
        if host != "localhost":
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # LM Studio listens on 127.0.0.1. Where "localhost" is ::1 first, Windows takes 2 s to find out.
        hosts = ["127.0.0.1", "::1"]
        if self.localhost in hosts:
            hosts.sort(key=lambda each: each != self.localhost)
        families = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6}
        return [(families[each], socket.SOCK_STREAM, 0, "", (each, port)) for each in hosts]

    def _connect(self, sock: socket.socket, address: Any, started: float) -> None:
        sock.setblocking(False)
        code = sock.connect_ex(address)
        while code in _UNDER_WAY:
            seconds, limit = self.allowed("connect")
            waited = time.monotonic() - started
            # The deadline shrinks by itself; the time to connect is counted over all addresses.
            left = seconds if seconds is None or limit == "deadline" else seconds - waited
            if left is not None and left <= 0:
                raise self.timeout(limit, waited)
            if wait_for_write(sock, timeout=_SLICE_S if left is None else min(left, _SLICE_S)):
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                break
        if code:
            # On Windows strerror does not know the codes of sockets, and errorTab does.
            raise OSError(code, getattr(socket, "errorTab", {}).get(code) or os.strerror(code))
        seconds, self.handshake_limit = self.allowed("connect")
        sock.settimeout(seconds)


class _TimedFile(io.RawIOBase):
    """What http.client reads from: each wait for bytes goes through the exchange."""

    def __init__(self, sock: socket.socket, exchange: Exchange) -> None:
        self._file = sock.makefile("rb", buffering=0)
        self._exchange = exchange

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._exchange.receive(self._file.readinto, buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, exchange: Exchange, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        self._exchange = exchange
        self._socket = sock
        exchange.forget_timeout()  # urllib3 has just set another
        super().__init__(self, *args, **kwargs)  # type: ignore[arg-type]

    def makefile(self, mode: str) -> io.BufferedReader:
        """What http.client asks a socket for."""
        return io.BufferedReader(_TimedFile(self._socket, self._exchange), _BUFFER_BYTES)

    def begin(self) -> None:
        super().begin()
        interim = 0
        # RFC 9110, 15.2: a client has to be ready for any of them. http.client knows 100 alone.
        while 100 <= self.status < 200:
            interim += 1
            if interim > _MAX_INTERIM_REPLIES:
                raise http.client.HTTPException(f"got more than {_MAX_INTERIM_REPLIES} interim replies")
            self.headers = self.msg = None  # type: ignore[assignment]
            super().begin()
        self._exchange.in_headers = False

    def _read_and_discard_trailer(self) -> None:
        for _ in range(_MAX_TRAILERS):
            line = self.fp.readline(_BUFFER_BYTES)
            if line in (b"\r\n", b"\n", b""):
                return
        raise http.client.HTTPException(f"got more than {_MAX_TRAILERS} trailers")


class _Connection:
    """What is added to urllib3's connection classes."""

    sock: Any
    exchange: Exchange
    idle_since = 0.0

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()  # type: ignore[attr-defined]  # as http.client does; here, to know the socket first
        self.exchange.send(self.sock, super().send, data)  # type: ignore[misc]

    def _tunnel(self) -> None:
        self.exchange.tunnelling = True
        try:
            super()._tunnel()  # type: ignore[misc]
        finally:
            self.exchange.tunnelling = False
        self.exchange.begin_reply()


class _DiallingConnection(_Connection):
    def _new_conn(self) -> socket.socket:
        me: Any = self
        tls = isinstance(me, HTTPSConnection)
        return self.exchange.dial(me.host, me.port, me.socket_options, me.source_address, tls)


class _Pool:
    """What is added to urllib3's pool classes."""

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection = super()._get_conn(timeout)  # type: ignore[misc]
        _current.exchange.use(connection)
        return connection

    def _put_conn(self, connection: Any) -> None:
        if connection is not None:
            connection.idle_since = time.monotonic()
        super()._put_conn(connection)  # type: ignore[misc]


_current = threading.local()


@functools.cache
def timed_pool_class(pool_class: Any) -> Any:
    """``pool_class`` with connections that obey the exchange of the thread."""
    connection_class = pool_class.ConnectionCls
    # A class that opens its connections in its own way (SOCKS, a Unix socket) goes on doing so.
    own_way = getattr(connection_class, "_new_conn", None) is not HTTPConnection._new_conn
    base = _Connection if own_way else _DiallingConnection
    connection_class = type(connection_class.__name__, (base, connection_class), {})
    return type(pool_class.__name__, (_Pool, pool_class), {"ConnectionCls": connection_class})


def urlopen(manager: urllib3.PoolManager, exchange: Exchange, method: str, url: str, **options: Any) -> Any:
    """Send a request and wait for the headers of its reply, under the limits of ``exchange``."""
    _current.exchange = exchange
    try:
        return manager.urlopen(method, url, redirect=False, retries=False, preload_content=False, **options)
    finally:
        del _current.exchange
