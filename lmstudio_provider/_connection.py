"""urllib3's connections, taught to keep to the time limits of a call, to be cancelled, and to find localhost."""

from __future__ import annotations

import errno
import functools
import http.client
import io
import os
import socket
import threading
import time
from typing import Any, Callable

import urllib3
from urllib3.connection import HTTPConnection
from urllib3.util import wait_for_write

from ._exceptions import RequestTimeoutError, ServerUnavailableError
from ._types import Timeouts

#: LM Studio closes a connection that was idle for 5 s; one that idled for nearly as long is not worth the risk.
MAX_IDLE_S = 4.0
# How long a connection that is being opened may go on after it was cancelled.
_SLICE_S = 0.05
# A longer wait than any call needs; poll() counts milliseconds in an int.
_LONGEST_WAIT_S = 1_000_000.0
_BUFFER_BYTES = 16 * 1024
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


class Exchange:
    """One call on the wire: its limits, how far it is, and the socket by which another thread can end it."""

    def __init__(self, timeouts: Timeouts, deadline: float | None) -> None:
        self.timeouts = timeouts
        self.started = time.monotonic()
        self.deadline = deadline
        self.cancelled = threading.Event()
        #: Which silence is being waited out now.
        self.limit = "connect"
        #: Whether a kept-alive connection is used, and whether none may be.
        self.reused = False
        self.fresh = False
        #: Whether a byte of the request went out, and how many of the reply came in.
        self.sent = False
        self.received = 0
        #: Whether the headers of a reply are still to come, and whether the server has closed its side.
        self.in_headers = False
        self.ended = False
        #: The host that answered to "localhost" last time.
        self.localhost: str | None = None
        # Guards the socket: once it is back in the pool, cancelling this call must not touch it.
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._socket: socket.socket | None = None
        self._socket_timeout: float | None = -1.0

    def left(self) -> float | None:
        """Seconds until the deadline."""
        return None if self.deadline is None else self.started + self.deadline - time.monotonic()

    def allowed(self, limit: str) -> tuple[float | None, str]:
        """How long to wait now, and the name of the limit that says so; raises where the deadline has passed."""
        if self.cancelled.is_set():
            raise CancelledCall
        seconds: float | None = getattr(self.timeouts, limit)
        left = self.left()
        if left is None or (seconds is not None and seconds <= left):
            return seconds, limit
        if left <= 0:
            raise self.timeout("deadline", 0.0)
        return left, "deadline"

    def timeout(self, limit: str, waited_s: float) -> RequestTimeoutError:
        """The error for a limit that was reached after waiting for ``waited_s``."""
        if limit == "deadline":
            waited_s = time.monotonic() - self.started
            message = f"the call was not over after {waited_s:.1f} s, and deadline={self.deadline:g}"
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
        self.sent, self.received, self.limit = False, 0, "first_byte"
        self.in_headers, self.ended = True, False
        connection.exchange = self
        connection.response_class = functools.partial(_Response, self)

    def send(self, sock: socket.socket, send: Callable[[Any], None], data: Any) -> None:
        """Note the socket, and send; a server that does not read runs into the same limit as one that is silent."""
        self._socket = sock
        self.forget_timeout()
        seconds, limit = self.allowed("first_byte")
        self._set_timeout(seconds)
        self.sent = True
        started = time.monotonic()
        try:
            send(data)
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
            self._socket.settimeout(None if seconds is None else min(seconds, _LONGEST_WAIT_S))

    def cancel(self) -> None:
        """End the call from any thread: the one that waits for the server wakes up with CancelledCall."""
        self.cancelled.set()
        with self._lock:
            if self._socket is None or self._pid != os.getpid():
                return  # in a forked child the socket is the parent's
            try:
                # Not close(): the descriptor could be taken by another file while the other thread still reads.
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # closed already: nobody is waiting

    def release(self) -> None:
        """Let go of the socket, which another call may use from now on."""
        with self._lock:
            self._socket = None

    def dial(self, host: str, port: int, options: Any, source_address: Any) -> socket.socket:
        """Open a TCP connection; raises ServerUnavailableError, RequestTimeoutError or CancelledCall."""
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
                    return sock
        except (OSError, UnicodeError) as error:  # of getaddrinfo; UnicodeError for a host that is no domain name
            why = getattr(error, "strerror", None) or str(error)
            raise ServerUnavailableError(f"the host {host!r} was not found ({why})") from error
        assert first is not None  # noqa: S101 (getaddrinfo never returns an empty list)
        raise ServerUnavailableError(
            first.strerror or str(first), refused=isinstance(first, ConnectionRefusedError)
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
            raise OSError(code, os.strerror(code))
        sock.settimeout(self.allowed("connect")[0])  # a TLS handshake may follow


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


class _DiallingConnection(_Connection):
    def _new_conn(self) -> socket.socket:
        me: Any = self
        return self.exchange.dial(me.host, me.port, me.socket_options, me.source_address)


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
