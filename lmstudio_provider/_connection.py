"""Connections of urllib3's, on which a request goes out and its reply comes in as the exchange of the call allows."""

from __future__ import annotations

import collections
import copy
import errno
import functools
import http.client
import io
import queue
import socket
import time
from typing import Any, Iterable, Mapping

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import port_by_scheme
from urllib3.exceptions import ClosedPoolError, ConnectTimeoutError, HTTPError, NewConnectionError
from urllib3.util import SKIP_HEADER, parse_url
from urllib3.util.proxy import connection_requires_http_tunnel

from ._dial import dial
from ._exchange import SENT_BYTES, Exchange

#: Idle connections to keep.
_MOST_IDLE = 128
#: LM Studio closes a connection that was idle for 5 s; one that idled for nearly as long is not worth the risk.
_MAX_IDLE_S = 4.0
_BUFFER_BYTES = 16 * 1024
_MAX_INTERIM_REPLIES = 100
_MAX_TRAILERS = 100
# Bound now: what others put in their place answers by itself, or wants to see the requests.
_URLOPEN = {urllib3.PoolManager.urlopen, urllib3.ProxyManager.urlopen, urllib3.HTTPConnectionPool.urlopen}


class _Idle:
    """Keeps idle connections, the newest on top, with as much of a queue as urllib3's pool uses.

    It has no lock: Ctrl-C may come in the middle of it, and so may a signal handler that makes a call.
    """

    def __init__(self) -> None:
        self._connections: collections.deque[Any] = collections.deque()

    def get(self, block: bool = False, timeout: float | None = None) -> Any:
        try:
            return self._connections.pop()
        except IndexError:
            raise queue.Empty from None

    def put(self, connection: Any, block: bool = False) -> None:
        if len(self._connections) < _MOST_IDLE:
            self._connections.append(connection)
        else:
            connection.close()

    def qsize(self) -> int:  # asked by vcr.py, as empty() is by older ones
        return len(self._connections)

    def empty(self) -> bool:
        return not self._connections


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
    """A response that holds its connection, until one of ``release_conn`` and ``close`` is called."""

    def __init__(self, exchange: Exchange, sock: Any, *args: Any, **kwargs: Any) -> None:
        self.connection: Any = None
        self.pool: Any = None
        self._exchange = exchange
        self._socket = sock
        self._replies = 0
        super().__init__(self, *args, **kwargs)  # type: ignore[arg-type]

    def makefile(self, mode: str) -> io.BufferedReader:
        """What http.client asks a socket for."""
        return io.BufferedReader(_TimedFile(self._socket, self._exchange), _BUFFER_BYTES)

    def begin(self) -> None:
        super().begin()
        # RFC 9110, 15.2: a client has to be ready for any interim reply. http.client skips 100 alone.
        while 100 <= self.status < 200:
            self.headers = self.msg = None  # type: ignore[assignment]
            super().begin()
        self._exchange.in_headers = False

    def _read_status(self) -> tuple[str, int, str]:
        self._replies += 1
        if self._replies > _MAX_INTERIM_REPLIES:
            raise http.client.HTTPException(f"got more than {_MAX_INTERIM_REPLIES} interim replies")
        self._exchange.expect_reply()  # also after an interim one: the model may still be silent
        return super()._read_status()  # type: ignore[misc, no-any-return]

    def _read_and_discard_trailer(self) -> None:
        for _ in range(_MAX_TRAILERS):
            line = self.fp.readline(_BUFFER_BYTES)
            if line in (b"\r\n", b"\n", b""):
                return
        raise http.client.HTTPException(f"got more than {_MAX_TRAILERS} trailers")

    def release_conn(self) -> None:
        """Give the connection back, which has carried the whole reply."""
        connection, self.connection = self.connection, None
        self.close()
        if connection is not None and self.will_close:
            connection.close()
        elif connection is not None:
            connection.idle_since = time.monotonic()
            self.pool._put_conn(connection)

    def close(self) -> None:
        """Close the response, and its connection unless that was given back."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()
        super().close()


class Connections:
    """The connections to the server of one base URL, straight or by way of the proxy of ``http``."""

    def __init__(self, base_url: str, http: urllib3.PoolManager | None) -> None:
        self._base_url, self._url = base_url, parse_url(base_url)
        self._given, self._manager = http, urllib3.PoolManager() if http is None else http
        # A pool of our own, made as the manager makes its pools; what it has keeps on working as it was.
        maker = copy.copy(self._manager)
        maker.pools = type(maker.pools)(1)
        # A pool that blocks would make a call wait for a connection beyond all its limits.
        maker.connection_pool_kw = {**maker.connection_pool_kw, "block": False}
        self._pool = pool = maker.connection_from_url(base_url)
        pool.pool = _Idle()  # type: ignore[assignment]
        self._tunnels = connection_requires_http_tunnel(pool.proxy, pool.proxy_config, self._url.scheme)
        self._forwards = pool.proxy is not None and not self._tunnels
        socks = getattr(self._manager, "proxy_url", None)  # of urllib3.contrib.socks
        proxy = pool.proxy or (parse_url(socks) if isinstance(socks, str) else None)
        #: The URL of the proxy, without a password.
        self._proxy = "" if proxy is None else proxy._replace(auth=None).url
        self._target = self._url.url if self._forwards else self._url.path or ""
        host, _, zone = (self._url.host or "").partition("%")
        # The zone of an IPv6 address is this machine's business (RFC 6874, 4).
        port = "" if self._url.port in (None, port_by_scheme[self._url.scheme or "http"]) else f":{self._url.port}"
        self._host = f"{host}{']' if zone else ''}{port}"

    def close(self) -> None:
        """Close what is idle, and the rest when it is given back."""
        self._pool.close()
        if self._given is None:
            self._manager.clear()

    def send(
        self, exchange: Exchange, method: str, path: str, headers: Mapping[str, str], body: bytes | Iterable[bytes]
    ) -> Any:
        """Send a request; return the response when its headers are in: http.client's, or one as urllib3's are."""
        connection = self._take(exchange)
        if connection is None:
            return self._send_by_urllib3(exchange, method, path, headers, body)
        held = connection
        try:
            if not exchange.reused:
                self._connect(connection, exchange)
            held = response = _Response(exchange, connection.sock, method=method)
            response.connection, response.pool = connection, self._pool
            try:
                _write(exchange, connection.sock, self._head(method, path, headers, body), body)
            except OSError as error:
                # The server may have answered before it had all, such as that the body is too large. macOS has a code
                # of its own for a socket that is just being closed.
                if not isinstance(error, ConnectionError) and error.errno != errno.EPROTOTYPE:
                    raise
            response.begin()
        except BaseException:
            held.close()
            raise
        return response

    def _take(self, exchange: Exchange) -> Any:
        """Return a connection for ``exchange``, or None if the request has to go through ``urlopen`` of urllib3."""
        pool = self._pool
        if getattr(self._manager.urlopen, "__func__", None) not in _URLOPEN or type(pool).urlopen not in _URLOPEN:
            return None
        while True:
            try:
                connection: Any = pool._new_conn() if exchange.fresh else pool._get_conn()
            except ClosedPoolError:  # a reset came just before
                connection = pool._new_conn()
            kind = type(connection)
            # One that only stands in for a connection, as those of vcr.py, or speaks HTTP in its own way.
            if not isinstance(connection, HTTPConnection) or kind.getresponse is not HTTPConnection.getresponse:
                return None
            exchange.begin(reused=connection.sock is not None)
            if not exchange.reused or time.monotonic() - getattr(connection, "idle_since", 0.0) <= _MAX_IDLE_S:
                return connection
            connection.close()

    def _connect(self, connection: Any, exchange: Exchange) -> None:
        """Open ``connection`` under the limits of ``exchange``; a way of its own (SOCKS, a Unix socket) is kept."""
        kind, tls = type(connection), isinstance(connection, HTTPSConnection)
        own_way = kind._new_conn is not HTTPConnection._new_conn
        opened: list[Any] = []

        def new_conn() -> Any:
            if own_way:
                sock = kind._new_conn(connection)
            else:
                options, source_address = connection.socket_options, connection.source_address
                sock = dial(exchange, connection.host, connection.port, options, source_address)
            opened.append(sock)
            if own_way and not self._tunnels:
                exchange.proxy = ""  # that of SOCKS is behind us
            if tls and not own_way:
                exchange.expect_handshake(sock)
            return sock

        def tunnel() -> None:
            exchange.begin_reply()
            kind._tunnel(connection)
            exchange.proxy = ""
            exchange.expect_handshake(connection.sock)

        own = {
            "_new_conn": new_conn,
            "_tunnel": tunnel,
            "send": lambda data: exchange.send(connection.sock, data),
            "response_class": functools.partial(_Response, exchange),
        }
        # For those that are opened in their own way; the others ask the exchange.
        connection.timeout, exchange.handshake_limit = exchange.allowed("connect")
        exchange.proxy = self._proxy
        vars(connection).update(own)
        try:
            if self._tunnels:
                self._pool._prepare_proxy(connection)
            self._pool._validate_conn(connection)  # which opens those with TLS
            if connection.sock is None:
                connection.connect()
        except BaseException:
            for sock in opened:  # urllib3 1.26 lets go of it if TLS fails
                sock.close()
            raise
        finally:
            for name in own:  # they hold the call
                vars(connection).pop(name, None)
        exchange.proxy = ""

    def _head(self, method: str, path: str, headers: Mapping[str, str], body: bytes | Iterable[bytes]) -> bytes:
        fields = {"Host": self._host}
        last = self._pool.proxy_headers if self._forwards else {}
        lines = {"": f"{method} {self._target}{path} HTTP/1.1"}
        if isinstance(body, bytes) and (body or method == "POST"):
            fields["Content-Length"] = str(len(body))
        for each in (fields, self._manager.headers, headers, last):
            lines.update((name.lower(), f"{name}: {value}") for name, value in each.items())
        wanted = [line for line in lines.values() if not line.endswith(SKIP_HEADER)]
        if any("\r" in line or "\n" in line for line in wanted):
            raise ValueError("a header has more than one line")
        return "\r\n".join([*wanted, "", ""]).encode("latin-1")

    def _send_by_urllib3(
        self, exchange: Exchange, method: str, path: str, headers: Mapping[str, str], body: bytes | Iterable[bytes]
    ) -> Any:
        own = {name.lower() for name in headers}
        others = {name: value for name, value in self._manager.headers.items() if name.lower() not in own}
        connect, exchange.handshake_limit = exchange.allowed("connect")
        exchange.begin(reused=False)
        read, exchange.limit = exchange.allowed("first_byte")
        before, exchange.sent, exchange.sent_at = exchange.sent, True, time.monotonic()  # as far as anybody knows
        try:
            return self._manager.urlopen(
                method,
                self._base_url + path,
                body=body or None,
                headers={**others, **headers},
                timeout=urllib3.Timeout(connect=connect, read=read),
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
            )
        except (HTTPError, OSError) as error:
            if isinstance(unwrapped(error), _UNSENT):
                exchange.sent, exchange.sent_at = before, None
            raise


_UNSENT = (NewConnectionError, ConnectTimeoutError, ConnectionRefusedError, socket.gaierror)


def unwrapped(error: BaseException) -> BaseException:
    """Return what lies under urllib3's wrapping of ``error``."""
    while isinstance(error, HTTPError) and error.args and isinstance(error.args[-1], Exception):
        error = error.args[-1]
    return error


def _write(exchange: Exchange, sock: Any, head: bytes, body: bytes | Iterable[bytes]) -> None:
    if isinstance(body, bytes):  # most requests go out in one piece
        head, rest = head + body[:SENT_BYTES], memoryview(body)[SENT_BYTES:]
    exchange.send(sock, head)
    for piece in [rest] if isinstance(body, bytes) else body:
        exchange.send(sock, piece)
