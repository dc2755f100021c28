"""The server that all clients are measured against: plain sockets, a thread for each connection, replies made before.

The path says what is sent: ``/TASK/FRAMING/v1/chat/completions`` or ``/TASK/FRAMING/api/chat``. The tasks are "unary",
"stream", "long-N" (N blocks of a thousand pieces), "paced" (each piece is the time of its write) and "held" (one piece,
and nothing more until the client hangs up). It prints its port, and serves until its standard input ends.
"""

from __future__ import annotations

import re
import socket
import sys
import threading
import time
from typing import Callable

from benchmarks import replies
from benchmarks.replies import Framing

FRAMINGS = ("chunked-1", "chunked-16", "close", "length", "gzip")
ENDED_BY_CLOSE = ("close", "gzip")
PACE_S = 0.002
PACED_PIECES = 100
BLOCK = 1000

_PIECES: dict[str, tuple[Callable[[str], bytes], Callable[[], bytes], bytes]] = {
    "completions": (replies.sse_piece, replies.sse_end, b"text/event-stream"),
    "chat": (replies.ndjson_piece, replies.ndjson_end, b"application/x-ndjson"),
}
_UNARY = {"completions": replies.openai_chat(), "chat": replies.ollama_chat()}
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def head(kind: bytes, rest: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\n" + rest + b"\r\n"


def plain(body: bytes) -> bytes:
    return head(b"application/json", b"Content-Length: %d\r\n" % len(body)) + body


def whole_stream(framing_name: str, api: str) -> bytes:
    piece, end, kind = _PIECES[api]
    framing, pieces = Framing(framing_name), [*map(piece, replies.words(replies.PIECES)), end()]
    return head(kind, framing.headers(sum(map(len, pieces)))) + framing.body(pieces)


def block(framing_name: str, api: str) -> bytes:
    framing = Framing(framing_name)
    return framing.body(map(_PIECES[api][0], replies.words(BLOCK))).removesuffix(framing.end())


_MODELS = plain(replies.MODELS.encode())
_WHOLE = {("unary", framing, api): plain(_UNARY[api]) for framing in FRAMINGS for api in _UNARY}
_WHOLE |= {("stream", framing, api): whole_stream(framing, api) for framing in FRAMINGS for api in _PIECES}
_BLOCKS = {("chunked-1", api): block("chunked-1", api) for api in _PIECES}


def serve(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection:
        try:
            while path := read_request(connection):
                if answer(connection, path):
                    return
        except OSError:
            pass  # the client hung up before the end of its reply


def read_request(connection: socket.socket) -> str:
    """Return the path of the next request, or "" if there is none; its body has been read then."""
    data = bytearray()
    while (end := data.find(b"\r\n\r\n")) < 0:
        if not (received := connection.recv(65536)):
            return ""
        data += received
    length = _LENGTH.search(data)
    missing = end + 4 + (int(length[1]) if length else 0) - len(data)
    while missing > 0:
        missing -= len(connection.recv(65536))
    return bytes(data).split(b" ", 2)[1].decode()


def answer(connection: socket.socket, path: str) -> bool:
    """Send the reply to ``path`` and return True if the connection ends with it."""
    _, task, framing, *_, api = path.split("/")
    if api not in _PIECES:
        connection.sendall(_MODELS)
    elif whole := _WHOLE.get((task, framing, api)):
        connection.sendall(whole)
        return task == "stream" and framing in ENDED_BY_CLOSE
    elif task == "paced":
        send_paced(connection, Framing(framing), api)
        return framing in ENDED_BY_CLOSE
    elif task == "held":
        piece, _, kind = _PIECES[api]
        chunk = Framing(framing)
        connection.sendall(head(kind, chunk.headers(2**20)) + chunk.piece(piece(replies.WORDS[0])))
        connection.recv(1)
        return True
    else:
        send_long(connection, int(task.partition("-")[2]), Framing(framing), api, _BLOCKS[framing, api])
    return False


def send_long(connection: socket.socket, blocks: int, framing: Framing, api: str, data: bytes) -> None:
    connection.sendall(head(_PIECES[api][2], framing.headers(0)))
    for _ in range(blocks):
        connection.sendall(data)
    connection.sendall(framing.piece(_PIECES[api][1]()) + framing.end())


def send_paced(connection: socket.socket, framing: Framing, api: str) -> None:
    piece, end, kind = _PIECES[api]
    length = len(piece(f"{0:20}")) * PACED_PIECES + len(end())
    connection.sendall(head(kind, framing.headers(length)))
    due = time.monotonic()
    for _ in range(PACED_PIECES):
        due += PACE_S
        time.sleep(max(0.0, due - time.monotonic()))
        connection.sendall(framing.piece(piece(f"{time.monotonic_ns():20}")))
    connection.sendall(framing.piece(end()) + framing.end())


def main() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        print(listener.getsockname()[1], flush=True)

        def accept() -> None:
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=[connection], daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        sys.stdin.read()


if __name__ == "__main__":
    main()
