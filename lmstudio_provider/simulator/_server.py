"""The base of all stand-ins: a port on loopback, the requests so far, and replies whole or in pieces."""

from __future__ import annotations

import difflib
import json
import os
import selectors
import socket
import socketserver
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Iterable, Iterator, Mapping, TypeVar, Union

_Self = TypeVar("_Self", bound="Listener")
# What a test may set while a server runs; a kind of server has some of them.
_SETTABLE = ("delay_s", "fault", "first_byte_s", "replies", "requests")


@dataclass(frozen=True)
class Whole:
    """A reply in one piece."""

    content: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json; charset=utf-8"})


@dataclass(frozen=True)
class Stream:
    """A reply in chunks: each of ``pieces`` after the stand-in's pause, then those of ``end`` without a pause."""

    headers: Mapping[str, str]
    pieces: Iterable[bytes]
    end: Iterable[bytes] = ()


Answer = Union[Whole, Stream]


class RefusedError(Exception):
    """The request is refused; ``answer`` is the error reply."""

    def __init__(self, answer: Whole) -> None:
        super().__init__(answer)
        self.answer = answer


def indented(value: object) -> Whole:
    """Return a reply with ``value`` as indented JSON, as LM Studio writes replies; it writes errors compact (seen)."""
    return Whole(json.dumps(value, indent=2, ensure_ascii=False).encode(errors="replace"))


def error(status: int, what: object) -> Whole:
    """Return an error reply; ``what`` is a text or an object."""
    return Whole(json.dumps({"error": what}, separators=(",", ":")).encode(), status)


def events(pieces: Iterable[bytes], end: Iterable[bytes]) -> Stream:
    """Return an event stream of frames that ``event`` made."""
    return Stream({"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}, pieces, end)


def event(value: object, name: str = "") -> bytes:
    """Return one frame of an event stream, with an optional name: a text unchanged, any other value as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode(errors="replace")


def typed_events(values: Iterable[Mapping[str, Any]]) -> Stream:
    """Return an event stream in which the "type" of each value names its frame."""
    # Make all frames before sending the first: if a value cannot be JSON, the reply is an error and not half a stream.
    *frames, last = [event(value, value["type"]) for value in values]
    return events(frames, [last])


class Listener:
    """A context manager that serves at ``url``; ``requests`` holds the requests so far."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.requests: list[dict[str, Any]] = []
        self._server: _Server | None = None

    if not TYPE_CHECKING:  # for a checker, each name could then be set

        def __setattr__(self, name: str, value: object) -> None:
            """Refuse a name that a running server does not read, such as a misspelt one."""
            if vars(self).get("_server") and name[0] != "_" and (name == "models" or not hasattr(self, name)):
                names = [each for each in _SETTABLE if hasattr(self, each)]
                near = difflib.get_close_matches(name, names, 1, 0.65)
                hint = f"; did you mean {near[0]!r}?" if near else f", only {', '.join(names)}"
                raise AttributeError(f"{name!r} of a running {type(self).__name__} cannot be set{hint}")
            super().__setattr__(name, value)

    @property
    def url(self) -> str:
        """The URL of the server, which listens only inside of the with statement."""
        if self._server is None:
            raise RuntimeError("the simulator is not running; use it in a with statement")
        return "http://{}:{}".format(*self._server.server_address[:2])

    def _listen(self: _Self, handler: type[Handler]) -> _Self:
        self._server = _Server(self, handler)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    # On Windows, this option would let a second server listen on the same port.
    allow_reuse_address = sys.platform != "win32"
    request_queue_size = 128  # with the default of 5, some of many clients at once would wait for seconds
    timeout = 0  # handle_request() is called when a client is there, and does not wait if it has left

    def __init__(self, listener: Listener, handler: type[Handler]) -> None:
        self.listener: Any = listener
        self.pid = os.getpid()
        self.stopping = threading.Event()
        self._open: dict[socket.socket, threading.Thread | None] = {}
        self._changed = threading.Condition()
        self._stop, self._stopped = socket.socketpair()
        try:
            super().__init__(("127.0.0.1", listener.port), handler)
        except OSError as error:
            what = f"cannot listen on 127.0.0.1:{listener.port} ({error.strerror}); use another port, or 0 for any"
            raise OSError(error.errno, what) from error
        self._begin()

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._serve, name="simulator", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        """Accept connections until there is a byte to read; ``serve_forever`` would look for its end now and then."""
        with selectors.DefaultSelector() as selector:
            selector.register(self, selectors.EVENT_READ)
            selector.register(self._stopped, selectors.EVENT_READ)
            while all(key.fileobj is self for key, _ in selector.select()):
                self.handle_request()

    def server_close(self) -> None:
        super().server_close()
        self._stop.close()
        self._stopped.close()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._open[request] = None
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._open[request] = threading.current_thread()
        super().process_request_thread(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._open.pop(request, None)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing if a client went away, because clients may do that."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)

    def stop(self) -> None:
        """Close the port and all connections, and wait for their threads."""
        if self.pid != os.getpid():  # a fork does not have the threads, and waiting for them would hang
            self.server_close()
            return
        self._end()
        self.server_close()

    def refuse_connections(self, refuse: bool) -> None:
        """Close the port and all connections, but keep the port from other programs; or accept connections again."""
        if refuse and not self.stopping.is_set():
            self._end()
            self._stopped.recv(1)
            self.socket = socket.socket(self.address_family, self.socket_type)
            self.server_bind()  # and does not listen
        elif not refuse and self.stopping.is_set():
            self.stopping.clear()
            self.server_activate()
            self._begin()

    def _end(self) -> None:
        self.stopping.set()
        self._stop.send(b"x")
        self._thread.join()
        self.socket.close()
        with self._changed:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # the client closed it first
            # A function of a test may end the server within a reply, in the thread of a connection.
            self._changed.wait_for(lambda: set(self._open.values()) <= {threading.current_thread()}, timeout=5)


class Handler(BaseHTTPRequestHandler):
    """Reads requests; each kind of listener implements ``answer``."""

    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 5  # as LM Studio, which closes a connection after 5 s of silence (its Keep-Alive header, seen)
    disable_nagle_algorithm = True
    wbufsize = -1  # buffered, so that the head and the body of a reply leave together

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def version_string(self) -> str:
        return type(self.server.listener).__name__

    def finish(self) -> None:
        """Close the files of the connection. The base class fails after one of them if a client left within a reply."""
        try:
            super().finish()
        except OSError:
            self.rfile.close()

    def answer(self) -> None:
        """Answer the request."""
        raise NotImplementedError

    def do_GET(self) -> None:
        self.answer()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET

    @staticmethod
    def json_of(data: bytes) -> Any:
        try:
            return json.loads(data) if data else None
        except (ValueError, RecursionError):
            return None

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it comes, with a Content-Length or chunked (RFC 9112, section 7.1)."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            yield from self._read(int(self.headers.get("Content-Length") or 0))
            return
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            yield from self._read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            continue  # trailers

    def _read(self, size: int) -> Iterator[bytes]:
        while size > 0:
            piece = self.rfile.read(min(size, 65536))
            if not piece:
                raise ConnectionError("the client left")
            size -= len(piece)
            yield piece

    def send_chunk(self, data: bytes) -> None:
        """Send ``data`` as one chunk; an empty one ends the reply."""
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()
