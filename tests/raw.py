"""A server that sends the bytes that a test wants, over a real socket."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Callable


def stream_of(*events: bytes) -> bytes:
    """Return the bytes of an event stream that ends when the connection does."""
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + b"".join(events)


class RawServer:
    """Answers each request with the same bytes, which the test chooses."""

    def __init__(self, parts: tuple[bytes | Callable[[socket.socket], None], ...], keep_open: bool) -> None:
        self._parts = parts
        self._keep_open = keep_open
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._connections: list[socket.socket] = []
        self.requests: list[bytes] = []
        self.accepted = 0
        # Set when a client has closed its connection.
        self.client_left = threading.Event()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._spawn(self._accept)

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._connections.append(connection)
            self._spawn(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            with contextlib.suppress(OSError):  # the client has left, as some tests want it to
                while self._read_request(connection):
                    for part in self._parts:
                        part(connection) if callable(part) else connection.sendall(part)
                    if not self._keep_open:
                        # Not close(): with unread bytes, that would send a reset.
                        connection.shutdown(socket.SHUT_WR)
                        while connection.recv(65536):
                            continue
                        break
            self.client_left.set()

    def _read_request(self, connection: socket.socket) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return False
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        while len(body) < int(lengths[0] if lengths else 0):
            body += connection.recv(65536)
        self.requests.append(head + b"\r\n\r\n" + body)
        return True

    def refuse(self) -> None:
        """Accept no further connection; those that are open go on."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def stop(self) -> None:
        self._stopping.set()
        # shutdown wakes accept() on Linux, close on the others.
        for closing in [self._listener, *self._connections]:
            with contextlib.suppress(OSError):
                closing.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)
