"""A server in a separate process that streams as many pieces as ``max_tokens`` says: "0 1 2 ...".

Prints its port, and serves until its standard input ends.
"""

from __future__ import annotations

import json
import socket
import sys
import threading

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
STOP = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


def text_of(count: int) -> str:
    return "".join(f"{number} " for number in range(count))


def frames(count: int):
    piece = {"id": "x", "model": "m", "choices": [{"index": 0, "delta": {"content": "%"}, "finish_reason": None}]}
    before, after = json.dumps(piece).encode().split(b"%")
    for number in range(count):
        frame = b"data: %b%d %b\n\n" % (before, number, after)
        yield b"%x\r\n%b\r\n" % (len(frame), frame)
    yield b"%x\r\n%b\r\n0\r\n\r\n" % (len(STOP), STOP)


def serve(connection: socket.socket) -> None:
    with connection, connection.makefile("rb") as reader:
        while True:
            length = 0
            for line in iter(reader.readline, b"\r\n"):
                if not line:
                    return
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            count = json.loads(reader.read(length))["max_tokens"]
            connection.sendall(HEAD)
            block = []
            for frame in frames(count):
                block.append(frame)
                if len(block) == 50:
                    connection.sendall(b"".join(block))
                    block.clear()
            connection.sendall(b"".join(block))


def main() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        print(listener.getsockname()[1], flush=True)

        def accept() -> None:
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=[connection], daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        sys.stdin.read()


if __name__ == "__main__":
    main()
