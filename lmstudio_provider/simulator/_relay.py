"""What recording and replaying have in common: the connection to the client."""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
from typing import Any, Iterable, Iterator

from ._server import Handler


class ClientLeftError(Exception):
    """The client closed its connection."""


class Relay(Handler):
    """Reads requests whole, and sends replies in pieces as they come."""

    _chunked = False

    def answer(self) -> None:
        """Note the request, and answer it with ``exchange``."""
        try:
            data = b"".join(self.pieces())
        except ValueError:
            self.send_error(400)
            return
        asked = {"method": self.command, "path": self.path, "headers": dict(self.headers)}
        number = self.server.listener.note({**asked, "body": self.json_of(data)})
        self.connection.settimeout(None)  # a client may be slow to read
        try:
            self.exchange(number, data)
        except ClientLeftError:
            self.close_connection = True
        self.connection.settimeout(self.timeout)

    def exchange(self, number: int, data: bytes) -> None:
        """Answer the request with that number and body."""
        raise NotImplementedError

    def send_head(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Send the head of a reply: chunked, unless it has a length or no body."""
        headers = list(headers)
        sized = any(name.lower() == "content-length" for name, _ in headers)
        bodiless = self.command == "HEAD" or status in (204, 304)
        self._chunked = not sized and not bodiless and self.request_version != "HTTP/1.0"
        if self._chunked:
            headers.append(("Transfer-Encoding", "chunked"))
        elif not sized and not bodiless:
            headers.append(("Connection", "close"))
        with _for_client():
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.flush()

    def send_piece(self, piece: bytes) -> None:
        """Send a piece of the body at once."""
        with _for_client():
            if self._chunked:
                self.send_chunk(piece)
            else:
                self.wfile.write(piece)
                self.wfile.flush()

    def send_end(self) -> None:
        """End a complete reply."""
        if self._chunked:
            self.send_piece(b"")

    def send_failure(self, status: int, code: str, message: str) -> None:
        """Send an error in the form of OpenAI's API."""
        error = {"message": message, "type": "recording_error", "param": None, "code": code}
        content = json.dumps({"error": error}).encode()
        self.send_head(status, [("Content-Type", "application/json"), ("Content-Length", str(len(content)))])
        if self.command != "HEAD":
            self.send_piece(content)


def client_left(client: socket.socket, server: socket.socket | None, timeout_s: float | None = None) -> bool:
    """Wait until the client leaves, or ``server`` can be read; return True for the first."""
    with selectors.DefaultSelector() as selector:
        selector.register(client, selectors.EVENT_READ)
        if server is not None:
            selector.register(server, selectors.EVENT_READ)
        ready: list[Any] = [key.fileobj for key, _ in selector.select(timeout_s)]
        if ready != [client]:
            return False
        with contextlib.suppress(OSError):
            if client.recv(1, socket.MSG_PEEK):  # the next request is here already
                selector.unregister(client)
                if server is not None:
                    selector.select(timeout_s)
                return False
        return True


@contextlib.contextmanager
def _for_client() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ClientLeftError from error
