"""Connections made by urllib3: a request goes out and its reply comes in under the time limits of the call."""

from __future__ import annotations

import collections
import copy
import errno
import http.client
import io
import queue
import re
import socket
import time
from typing import Any, Mapping

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import port_by_scheme
from urllib3.exceptions import (
    ClosedPoolError,
    ConnectTimeoutError,
    HTTPError,
    LocationParseError,
    NewConnectionError,
    ProxyError,
)
from urllib3.exceptions import TimeoutError as PoolTimeoutError
from urllib3.util import parse_url
from urllib3.util.proxy import connection_requires_http_tunnel

from .._core.errors import ConfigurationError, ServerUnavailableError
from .._core.types import Call
from .dial import dial
from .exchange import Exchange

# Idle connections to keep.
_MOST_IDLE = 128
# LM Studio closes a connection after 5 s without use (the default of Node.js); do not risk a request on one near that.
_MAX_IDLE_S = 4.0
_BUFFER_BYTES = 64 * 1024
_MAX_INTERIM_REPLIES = 100
_MAX_FIELDS = 100
_MAX_LINE_BYTES = 64 * 1024
_FOLD = r"\n[ \t]+"  # a header may go on in the next line (RFC 9112, 5.2)
# Bound at import: if something else stands there later (vcr.py, a test double, a user's subclass), it has to see the
# requests, and may answer them itself.
_URLLIB3S = {
    urllib3.PoolManager.urlopen,
    urllib3.ProxyManager.urlopen,
    urllib3.HTTPConnectionPool.urlopen,
    HTTPConnection.getresponse,
}
_UNSENT = (NewConnectionError, ConnectTimeoutError, ConnectionRefusedError, socket.gaierror)


class _Idle(collections.deque[Any]):
    """Keep idle connections, the newest on top, with the part of the interface of a queue that urllib3's pool uses.

    It has no lock, because Ctrl-C may come while the lock is held, and so may a signal handler that makes a call.
    """

    def get(self, block: bool = False, timeout: float | None = None) -> Any:
        try:
            return self.pop()
        except IndexError:
            raise queue.Empty from None

    def put(self, connection: Any, block: bool = False) -> None:
        if len(self) < _MOST_IDLE:
            self.append(connection)
        else:
            connection.close()


class _Source(io.RawIOBase):
    """Stand in for the socket from which http.client reads, so that each wait for bytes goes through the exchange."""

    def __init__(self, exchange: Exchange, sock: Any) -> None:
        self._exchange, self._socket = exchange, sock

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self, _BUFFER_BYTES)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._exchange.receive(self._socket, buffer)


class _Fields(dict[str, str]):
    """The header fields of a reply, by their names in small letters."""

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


class _Response(http.client.HTTPResponse):
    """A response that holds its connection until ``release_conn`` or ``close`` is called."""

    fp: Any = None  # close() reads it, also if Ctrl-C came in the constructor

    def __init__(self, exchange: Exchange, sock: Any, method: str, connection: Any = None, pool: Any = None) -> None:
        self._exchange, self._connection, self._pool = exchange, connection, pool
        super().__init__(_Source(exchange, sock), method=method)  # type: ignore[arg-type]

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(_MAX_INTERIM_REPLIES + 1):
            self._exchange.expect_reply()  # also after an interim one: the model may still be silent
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 100 <= status < 200:
                return version, status, reason
            # A client has to be ready for any interim reply (RFC 9110, 15.2). http.client skips 100 only.
            self._read_fields()
        raise http.client.HTTPException(f"got more than {_MAX_INTERIM_REPLIES} interim replies")

    def begin(self) -> None:
        """Read status and headers. The parser of http.client is one for e-mail; it took an eighth of a call."""
        version, self.status, reason = self._read_status()
        self.reason = reason.strip()
        if not version.startswith("HTTP/1."):
            raise http.client.UnknownProtocol(version)
        self.headers = fields = self._read_fields()  # type: ignore[assignment]
        connection, length = fields.get("connection", "").lower(), fields.get("content-length", "")
        self.chunked, self.chunk_left = fields.get("transfer-encoding", "").lower() == "chunked", None
        self.length = int(length) if not self.chunked and re.fullmatch(r"\+?[0-9]{1,4000}", length) else None
        if self.status in (204, 304) or self._method == "HEAD":  # type: ignore[attr-defined]
            self.length, self.chunked = 0, False  # no body comes, whatever the headers say
        self.will_close = "close" in connection or (self.length is None and not self.chunked)
        if version == "HTTP/1.0" and "keep-alive" not in connection:
            self.will_close = True

    def _read_fields(self) -> _Fields:
        lines: list[bytes] = []
        while (line := self.fp.readline(_MAX_LINE_BYTES + 1)) not in (b"\r\n", b"\n", b""):
            lines.append(line)
            if len(line) > _MAX_LINE_BYTES or len(lines) > _MAX_FIELDS:
                what = f"more than {_MAX_FIELDS} headers, or one of more than {_MAX_LINE_BYTES} bytes"
                raise http.client.HTTPException(f"got {what}")
        text = re.sub(_FOLD, " ", b"".join(lines).replace(b"\r\n", b"\n").decode("latin-1"))
        pairs = (line.partition(":") for line in reversed(text.split("\n")))  # of several with one name, the first
        return _Fields((name.strip().lower(), value.strip()) for name, _, value in pairs)

    def release_conn(self) -> None:
        """Give the connection back to the pool: it has carried the whole reply."""
        # urllib3 looks for bytes that nobody asked for in the socket, not among those that TLS has decrypted. The next
        # call would take them for its reply.
        pending = getattr(self._connection.sock, "pending", None)
        if not self.will_close and not (pending and pending()):
            connection, self._connection = self._connection, None
            connection.idle_since = time.monotonic()
            self._pool._put_conn(connection)
        self.close()

    def close(self) -> None:
        """Close the response, and its connection if that was not given back."""
        if self._connection is not None:
            self._connection.close()
        super().close()


class Connections:
    """The connections to the server of one base URL, direct or through the proxy of ``manager``."""

    def __init__(self, base_url: str, manager: urllib3.PoolManager) -> None:
        self._base_url, self._manager = base_url, manager
        try:
            url = parse_url(base_url)  # writes the host in ASCII
        except LocationParseError as error:
            hint = "Write its ASCII form, xn--..., or install the package idna"
            raise ConfigurationError(f"the host of base URL {base_url!r} is not a domain name", hint=hint) from error
        scheme = url.scheme or "http"
        # A separate pool, made in the way in which the manager makes its pools; the manager itself is not changed.
        maker = copy.copy(manager)
        maker.pools = type(maker.pools)(1)
        self._pool = pool = maker.connection_from_host(url.host, url.port, scheme)
        # A pool that blocks would have a call wait for a connection beyond all its limits.
        pool.pool, pool.block = _Idle(), False  # type: ignore[assignment]
        tunnels = connection_requires_http_tunnel(pool.proxy, pool.proxy_config, scheme)
        self._forwards = pool.proxy is not None and not tunnels
        socks = getattr(manager, "proxy_url", None)  # of urllib3.contrib.socks
        proxy = pool.proxy or (parse_url(socks) if socks else None)
        # The URL of the proxy, without its password.
        self._proxy = proxy._replace(auth=None).url if proxy else ""
        self._target = base_url if self._forwards else url.path or ""
        host, _, zone = (url.host or "").partition("%")
        # The zone of an IPv6 address means something on this machine only, so it is not sent (RFC 6874, 4).
        host += "]" if zone else ""
        default = port_by_scheme[scheme]
        self._host = host if url.port in (None, default) else f"{host}:{url.port}"
        self._tunnel = f"{host}:{url.port or default}" if tunnels else ""
        self._last_address: str | None = None

    def close(self) -> None:
        """Close the idle connections now, and the others when they are given back."""
        self._pool.close()

    def send(self, exchange: Exchange, call: Call, headers: Mapping[str, str]) -> Any:
        """Send a request; return the response when its headers are in: an http.client one, or one like urllib3's."""
        pool, urlopen = self._pool, getattr(self._manager.urlopen, "__func__", None)
        # The manager answers by itself, or its connections are only stand-ins, as those of vcr.py are.
        if not {urlopen, type(pool).urlopen, getattr(pool.ConnectionCls, "getresponse", None)} <= _URLLIB3S:
            return self._send_by_urllib3(exchange, call, headers)
        connection = self._take(exchange)
        try:
            if connection.sock is None:
                self._connect(connection, exchange)
            own = {"Host": self._host}
            if call.upload is None and (call.body or call.method == "POST"):
                own["Content-Length"] = str(len(call.body or b""))
            fields = _merged(own, self._manager.headers, headers, pool.proxy_headers if self._forwards else {})
            head = _head(f"{call.method} {self._target}{call.path}", fields)
            response = _Response(exchange, connection.sock, call.method, connection, pool)
            try:
                exchange.send(connection.sock, head + (call.body or b""))  # most requests go out in one piece
                for piece in call.upload or ():
                    exchange.send(connection.sock, piece)
            except OSError as error:
                # The server may answer before it has read the whole request, for example that the body is too large.
                # EPROTOTYPE is what macOS reports for a socket that is being closed.
                if not isinstance(error, ConnectionError) and error.errno != errno.EPROTOTYPE:
                    raise
            response.begin()
        except BaseException:
            connection.close()
            raise
        return response

    def _take(self, exchange: Exchange) -> Any:
        while True:
            try:
                connection: Any = self._pool._new_conn() if exchange.fresh else self._pool._get_conn()
            except ClosedPoolError:  # another thread has called reset_client()
                connection = self._pool._new_conn()
            reused = connection.sock is not None
            if not reused or time.monotonic() - connection.idle_since <= _MAX_IDLE_S:
                exchange.begin(reused, "" if reused else self._proxy)
                return connection
            connection.close()

    def _connect(self, connection: Any, exchange: Exchange) -> None:
        """Open ``connection`` under the limits of ``exchange``, in its own way if it has one (SOCKS, a Unix socket)."""
        kind = type(connection)

        def new_conn() -> Any:
            if kind._new_conn is HTTPConnection._new_conn:
                sock = dial(exchange, connection, self._last_address)
                self._last_address = exchange.address
            else:
                sock = kind._new_conn(connection)
            connection.sock = sock  # urllib3 1.26 would not close it if TLS fails
            if self._pool.proxy is None:
                exchange.begin()  # a SOCKS proxy has connected
            if isinstance(connection, HTTPSConnection):
                # Not for plain HTTP, which needs no copy of its socket: Ctrl-C in the middle of dup() would leak one.
                exchange.expect_handshake(sock)
            return sock

        def tunnel() -> None:
            fields = _merged({"Host": self._tunnel}, self._pool.proxy_headers)
            exchange.send(connection.sock, _head(f"CONNECT {self._tunnel}", fields))
            reply = _Response(exchange, connection.sock, "CONNECT")
            reply.begin()
            if not 200 <= reply.status < 300:
                hint = _WHO_ASKS_PROXY if reply.status == 407 else _BEHIND_PROXY
                raise ServerUnavailableError(f"it answered CONNECT with {reply.status} {reply.reason}", hint=hint)
            exchange.begin()
            exchange.expect_handshake(connection.sock)

        connection.timeout = exchange.allowed("connect")  # for a connection that is opened in its own way
        connection._new_conn, connection._tunnel = new_conn, tunnel
        try:
            if self._tunnel:
                self._pool._prepare_proxy(connection)
            self._pool._validate_conn(connection)  # opens a connection with TLS
            if connection.sock is None:
                connection.connect()
        finally:
            del connection._new_conn, connection._tunnel  # they refer to the call
        exchange.begin()

    def _send_by_urllib3(self, exchange: Exchange, call: Call, headers: Mapping[str, str]) -> Any:
        exchange.begin()
        connect, read = exchange.allowed("connect"), exchange.allowed("first_byte")
        try:
            response = self._manager.urlopen(
                call.method,
                self._base_url + call.path,
                body=call.upload or call.body,
                headers=_merged(self._manager.headers, headers),
                timeout=urllib3.Timeout(connect=connect, read=read),
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
            )
        except BaseException as error:
            if any(isinstance(each, ProxyError) for each in causes(error)):
                exchange.begin(proxy=self._proxy)
            elif not any(isinstance(each, _UNSENT) for each in causes(error)):
                exchange.mark_sent()  # it may have been sent
                exchange.expect_reply()
            raise
        exchange.mark_sent()
        return response


def _merged(*fields: Mapping[str, str]) -> dict[str, str]:
    """Return all header fields; if several have one name, in any case of letters, the last one wins."""
    return dict({name.lower(): (name, value) for each in fields for name, value in each.items()}.values())


def _head(line: str, fields: Mapping[str, str]) -> bytes:
    head = "\r\n".join([f"{line} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""])
    if not head.count("\r") == head.count("\n") == len(fields) + 2:
        raise ConfigurationError("a header of the manager in http= has more than one line")
    try:
        return head.encode("latin-1")
    except UnicodeEncodeError as error:
        where = head.count("\n", 0, error.start)  # the first line is the request
    # Out here the error has no context, which would carry the secrets in the headers.
    name = list(fields)[where - 1]
    raise ConfigurationError(f"the header {name!r} of the manager in http= is not Latin-1 text")


def causes(error: BaseException) -> list[BaseException]:
    """Return ``error`` and the errors that urllib3 has wrapped in it; the last one is the cause."""
    found = [error]
    while isinstance(found[-1], HTTPError):
        wrapped = found[-1].args[-1] if found[-1].args else None
        inner = wrapped if isinstance(wrapped, Exception) else found[-1].__context__
        if inner is None:
            break
        found.append(inner)
    return found


def timed_out(error: BaseException) -> bool:
    """Return True if ``error`` is a timeout of a socket or of urllib3."""
    if isinstance(error, PoolTimeoutError):
        return not isinstance(error, NewConnectionError)  # a timeout only in the class tree of urllib3
    # The system's ETIMEDOUT is of the same class since Python 3.10.
    return isinstance(error, socket.timeout) and not error.errno


_WHO_ASKS_PROXY = (
    "Give urllib3.ProxyManager proxy_headers=urllib3.make_headers(proxy_basic_auth='NAME:PASSWORD'), or see the "
    "proxy's rules"
)
_BEHIND_PROXY = "See the proxy's rules, and check that it can reach the server"
