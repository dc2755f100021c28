"""urllib3's connections and pools, taught to obey the exchange of their call."""

from __future__ import annotations

import functools
import http.client
import io
import socket
import threading
import time
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from ._exchange import Exchange

_BUFFER_BYTES = 16 * 1024
_MAX_INTERIM_REPLIES = 100
_MAX_TRAILERS = 100


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
            self._exchange.limit = "first_byte"  # the model may be silent after it
            super().begin()
        self._exchange.in_headers = False

    def _read_and_discard_trailer(self) -> None:
        for _ in range(_MAX_TRAILERS):
            line = self.fp.readline(_BUFFER_BYTES)
            if line in (b"\r\n", b"\n", b""):
                return
        raise http.client.HTTPException(f"got more than {_MAX_TRAILERS} trailers")


# Bound now: vcr.py puts another in its place for a while.
_PLAIN = http.client.HTTPConnection


class _Connection:
    """What is added to urllib3's connection classes."""

    sock: Any
    response_class: Any
    exchange: Exchange
    idle_since = 0.0

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()  # type: ignore[attr-defined]  # as http.client does; here, to know the socket first
        self.exchange.send(self.sock, super().send, data)  # type: ignore[misc]

    def _tunnel(self) -> None:
        self.exchange.tunnelling = True
        self.exchange.begin_reply()
        try:
            super()._tunnel()  # type: ignore[misc]
        finally:
            self.exchange.tunnelling = False
        self.exchange.begin_reply()
        self.exchange.expect_handshake(self.sock)


class _DiallingConnection(_Connection):
    def _new_conn(self) -> socket.socket:
        me: Any = self
        tls = isinstance(me, HTTPSConnection)
        return self.exchange.dial(me.host, me.port, me.socket_options, me.source_address, tls)


class _Pool:
    """What is added to urllib3's pool classes."""

    @property
    def ConnectionCls(self) -> Any:
        # Looked up at each use, because others (such as vcr.py) exchange that of urllib3 for a while.
        return _timed_connection_class(super().ConnectionCls)  # type: ignore[misc]

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection = super()._get_conn(timeout)  # type: ignore[misc]
        if isinstance(connection, _Connection):
            exchange = _current.exchange
            exchange.use(connection)
            connection.response_class = functools.partial(_Response, exchange)
        return connection

    def _put_conn(self, connection: Any) -> None:
        if isinstance(connection, _Connection):
            connection.idle_since = time.monotonic()
        super()._put_conn(connection)  # type: ignore[misc]


_current = threading.local()


@functools.cache
def timed_pool_class(pool_class: Any) -> Any:
    """``pool_class`` with connections that obey the exchange of the thread."""
    return type(pool_class.__name__, (_Pool, pool_class), {})


@functools.lru_cache(maxsize=16)
def _timed_connection_class(connection_class: Any) -> Any:
    """Return ``connection_class`` with what is added, unless it only stands in for a connection, as those of vcr.py."""
    if not issubclass(connection_class, _PLAIN):
        return connection_class
    # A class that opens its connections in its own way (SOCKS, a Unix socket) goes on doing so.
    own_way = getattr(connection_class, "_new_conn", None) is not HTTPConnection._new_conn
    base = _Connection if own_way else _DiallingConnection
    return type(connection_class.__name__, (base, connection_class), {})


def urlopen(manager: urllib3.PoolManager, exchange: Exchange, method: str, url: str, **options: Any) -> Any:
    """Send a request and wait for the headers of its reply, under the limits of ``exchange``."""
    # A signal handler, or a handler of urllib3's log records, may make a call in the middle of this one.
    outer = getattr(_current, "exchange", None)
    _current.exchange = exchange
    try:
        return manager.urlopen(method, url, redirect=False, retries=False, preload_content=False, **options)
    finally:
        _current.exchange = outer
