"""Measure how late the pieces of a stream are: microseconds from the server's write until the caller has the piece.

For each framing, LMStudioProvider and a bare http.client loop each read 2,000 pieces, one a millisecond. The server
runs in a separate process, and each piece carries the time of its write; both processes read the same clock.
"""

from __future__ import annotations

import http.client
import json
import socket
import statistics
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lmstudio_provider import LMStudioProvider  # noqa: E402

PIECES = 2000
PACE_S = 0.001
FRAMINGS = ("chunked", "close-delimited", "Content-Length", "gzip")


def frames() -> Iterator[bytes]:
    for _ in range(PIECES):
        piece = {"id": "x", "model": "m", "choices": [{"index": 0, "delta": {"content": f"{time.monotonic_ns():20}"}}]}
        yield b"data: " + json.dumps(piece).encode() + b"\n\n"
    yield b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


def serve() -> None:
    """Print the port, then answer one connection after the other, with the framing that the request's path names."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                request = b""
                while not request.endswith(b"}"):
                    request += connection.recv(65536)
                framing = request.split(b"/")[1].decode()
                stream(connection, framing)


def stream(connection: socket.socket, framing: str) -> None:
    headers = {
        "chunked": "Transfer-Encoding: chunked\r\n",
        "close-delimited": "Connection: close\r\n",
        "Content-Length": f"Content-Length: {sum(map(len, frames()))}\r\nConnection: close\r\n",
        "gzip": "Content-Encoding: gzip\r\nConnection: close\r\n",
    }[framing]
    connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{headers}\r\n".encode())
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    due = time.monotonic()
    for frame in frames():
        data = frame  # its time was taken when it was made, just before this write
        if framing == "chunked":
            data = b"%x\r\n%b\r\n" % (len(frame), frame)
        elif framing == "gzip":
            data = packer.compress(frame) + packer.flush(zlib.Z_SYNC_FLUSH)
        connection.sendall(data)
        due += PACE_S
        time.sleep(max(0.0, due - time.monotonic()))
    if framing == "chunked":
        connection.sendall(b"0\r\n\r\n")
    elif framing == "gzip":
        connection.sendall(packer.flush())


def ours(port: int, framing: str) -> Iterator[str]:
    with LMStudioProvider(f"http://127.0.0.1:{port}/{framing}", refresh=False) as lm:
        yield from lm.stream("Hi").text()


def bare(port: int, framing: str) -> Iterator[str]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", f"/{framing}/v1/chat/completions", b"{}")
    reply = connection.getresponse()
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    rest = b""
    while piece := reply.read1(65536):
        rest += unpacker.decompress(piece) if framing == "gzip" else piece
        *lines, rest = rest.split(b"\n")
        for line in lines:
            if line.startswith(b"data: {"):
                yield json.loads(line[6:])["choices"][0]["delta"].get("content", "")
    connection.close()


def late_us(read: Callable[[int, str], Iterator[str]], port: int, framing: str) -> list[float]:
    return [(time.monotonic_ns() - int(text)) / 1000 for text in read(port, framing) if text]


def main() -> None:
    command = [sys.executable, __file__, "serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        try:
            print(f"{'framing':16} {'reader':18} {'pieces':>6} {'p50 us':>8} {'p99 us':>8}")
            for framing in FRAMINGS:
                for name, read in (("lmstudio_provider", ours), ("bare http.client", bare)):
                    late = late_us(read, port, framing)
                    p99 = statistics.quantiles(late, n=100)[98]
                    print(f"{framing:16} {name:18} {len(late):6} {statistics.median(late):8.0f} {p99:8.0f}")
        finally:
            server.terminate()


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["serve"] else main()
