"""Forward requests to a real server, and record them with their replies."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import itertools
import os
import ssl
import threading
from pathlib import Path
from typing import Any, BinaryIO, Iterable, Iterator
from urllib.parse import unquote, urlsplit

from ._recordings import BROKEN, COMPLETE, LEFT, Exchange, StrPath, cleaned, head
from ._relay import ClientLeftError, Relay, client_left
from ._secrets import Secrets
from ._server import Listener

# The headers that belong to one connection (RFC 9110, section 7.6.1), or are made anew.
_OF_THE_CONNECTION = (
    "connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade"
)
_MADE_ANEW = "host content-length accept-encoding expect"
_CONNECT_S = 30


class record(Listener):
    """A context manager that forwards requests from ``base_url`` to the server at ``url``, and records them in a file.

    ``base_url`` has the path of ``url``, so that any client can use it instead. The pieces of a reply are passed on as
    they come, and recorded so. If a client leaves, the connection to the server is closed, and the server stops
    generating. If the server cannot be reached, the reply is HTTP 502, and nothing is recorded.

    The headers of requests are not recorded. API keys, tokens, passwords and cookies are taken out of everything else:
    URLs, the headers of replies, and bodies that repeat them. A word such as "ollama" that stands in for a key is not.

    Each exchange is a line of JSON in a file beside ``path`` with ``.partial`` after its name. The file takes the place
    of ``path`` when the with statement ends without an exception, unless no request could be recorded.
    """

    def __init__(self, url: str, path: StrPath, *, port: int = 0, ssl_context: ssl.SSLContext | None = None) -> None:
        super().__init__(port)
        try:
            self._to = urlsplit(url if "://" in url else f"http://{url}")
            usable = self._to.port != 0 and self._to.scheme in ("http", "https") and self._to.hostname
        except ValueError:
            usable = False
        if not usable or self._to.query or self._to.fragment:
            raise ValueError("the URL to record is not the address of a server; use one such as http://localhost:1234")
        self.path = Path(path)
        self._partial = self.path.with_name(f"{self.path.name}.partial")
        self._ssl_context = ssl_context
        self._lock = threading.Lock()
        self._file: BinaryIO
        self._numbers = itertools.count(1)
        self._recorded = False
        self._failure: OSError | None = None

    @property
    def base_url(self) -> str:
        """What to use in the place of the server's URL."""
        return self.url + self._to.path.rstrip("/")

    def __enter__(self) -> record:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._partial.open("wb", buffering=0)  # each line is one write
        try:
            self._file.write(head(self._to.path.rstrip("/")))
            return self._listen(_Recording)
        except BaseException:
            self._file.close()
            self._partial.unlink()
            raise

    def __exit__(self, kind: object = None, *rest: object) -> None:
        forked = self._server is None or self._server.pid != os.getpid()
        super().__exit__()
        with self._lock:
            self._file.close()
        if forked:
            return
        if kind is None and self._failure is not None:
            raise self._failure
        if kind is None and (self._recorded or not self.requests):
            self._partial.replace(self.path)
        elif not self._recorded:
            self._partial.unlink()

    def note(self, request: dict[str, Any]) -> int:
        """Note a request; return its number."""
        with self._lock:
            self.requests.append(request)
            return next(self._numbers)

    def secrets(self, headers: Iterable[tuple[str, str]]) -> Secrets:
        """Return the secrets of a request with these headers, and those of the URL."""
        return Secrets([*headers, ("Authorization", self.authorization)], [unquote(self._to.password or "")])

    @property
    def authorization(self) -> str:
        """The header that says the name and the password of the URL, empty if it has none."""
        if self._to.username is None:
            return ""
        pair = f"{unquote(self._to.username)}:{unquote(self._to.password or '')}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"

    @property
    def origin(self) -> str:
        """The URL of the server without password and path."""
        return f"{self._to.scheme}://{self._to.netloc.rpartition('@')[2]}"

    def connection(self) -> http.client.HTTPConnection:
        """Return a connection to the server, not yet open."""
        host, port = str(self._to.hostname), self._to.port
        if self._to.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=_CONNECT_S)
        return http.client.HTTPSConnection(host, port, timeout=_CONNECT_S, context=self._ssl_context)

    def write(self, line: bytes) -> None:
        """Write a line; a failure is raised at the end of the with statement."""
        with self._lock:
            try:
                if self._file.write(line) != len(line):
                    raise OSError(f"{self._partial}: the disk took a part of a line; it may be full")
                self._recorded = True
            except OSError as failure:
                self._failure = self._failure or failure
            except ValueError:
                return  # closed: the with statement has ended


class _UnsentError(Exception):
    """There is nothing to record; ``args`` are the status, the code and the text of the reply."""


class _Recording(Relay):
    def exchange(self, number: int, data: bytes) -> None:
        """Send the request on, and record what comes."""
        recorder: record = self.server.listener
        secrets = recorder.secrets(self.headers.items())
        request = cleaned(self.command, self.path, data, secrets)
        status, headers, pieces = None, [], []
        with contextlib.ExitStack() as opened:
            connection = opened.enter_context(contextlib.closing(recorder.connection()))
            try:
                reply = self._reply(opened, connection, data)
                status, headers = reply.status, _passed_on(reply)
                self.send_head(status, headers)
                for piece in _body(reply):
                    pieces.append(piece)
                    self.send_piece(piece)
                end = COMPLETE
            except _UnsentError as unsent:
                self.send_failure(*unsent.args)
                return
            except ClientLeftError:
                end = LEFT
            except (OSError, http.client.HTTPException):
                end = BROKEN
        recorder.write(Exchange(number, request, status, headers, pieces, end).line(secrets))
        if end == COMPLETE:
            self.send_end()
        else:
            self.close_connection = True

    def _reply(
        self, opened: contextlib.ExitStack, connection: http.client.HTTPConnection, data: bytes
    ) -> http.client.HTTPResponse:
        origin = self.server.listener.origin
        try:
            connection.connect()
        except OSError as failure:
            what = f"{origin} cannot be reached ({failure}); start the server, and record again"
            raise _UnsentError(502, "server_unavailable", what) from failure
        try:
            self._send_request(connection, data)
            source: Any = _FromServer(connection.sock, self.connection)
            reply = opened.enter_context(contextlib.closing(http.client.HTTPResponse(source, method=self.command)))
            reply.begin()
        except (http.client.InvalidURL, ValueError) as failure:
            raise _UnsentError(400, "invalid_request", f"the request cannot be forwarded: {failure}") from failure
        except ConnectionError:  # RemoteDisconnected is also a BadStatusLine
            raise
        except http.client.BadStatusLine as failure:
            raise _UnsentError(502, "server_unavailable", f"{origin} does not answer in HTTP: {failure}") from failure
        if source.ended:
            raise ConnectionError("the head of the reply is not complete")
        return reply

    def _send_request(self, connection: http.client.HTTPConnection, data: bytes) -> None:
        authorization = self.server.listener.authorization
        connection.putrequest(self.command, self.path, skip_accept_encoding=True)
        for name, value in _end_to_end(self.headers.items(), _MADE_ANEW):
            connection.putheader(name, value)
        connection.putheader("Accept-Encoding", "identity")  # so that the file can be read
        if authorization and "Authorization" not in self.headers:
            connection.putheader("Authorization", authorization)
        if data or "Content-Length" in self.headers:
            connection.putheader("Content-Length", str(len(data)))
        with contextlib.suppress(ConnectionError):  # a server may refuse a body before it has read it
            connection.endheaders(data or None)


class _FromServer(io.RawIOBase):
    """The bytes that a server sends, until the client leaves. It has what ``HTTPResponse`` uses of a socket."""

    def __init__(self, server: Any, client: Any) -> None:
        server.settimeout(0)
        self._server = server
        self._client = client
        self.ended = False

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            try:
                count = int(self._server.recv_into(buffer))
                self.ended = not count
                return count
            except (BlockingIOError, ssl.SSLWantReadError):
                if client_left(self._client, self._server):
                    raise ClientLeftError from None


def _body(reply: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield the pieces of a body as they come. Raise IncompleteRead if it ends too early."""
    while piece := reply.read1(65536):
        yield piece
    if reply.length:
        raise http.client.IncompleteRead(b"", reply.length)


def _end_to_end(headers: Iterable[tuple[str, str]], more: str = "") -> list[tuple[str, str]]:
    headers = list(headers)
    named = ",".join(value for name, value in headers if name.lower() == "connection").lower().replace(",", " ")
    dropped = {*_OF_THE_CONNECTION.split(), *more.split(), *named.split()}
    return [(name, value) for name, value in headers if name.lower() not in dropped]


def _passed_on(reply: http.client.HTTPResponse) -> list[tuple[str, str]]:
    # A length beside chunks does not count (RFC 9112, section 6.3).
    return _end_to_end(reply.getheaders(), "content-length" if reply.chunked else "")
