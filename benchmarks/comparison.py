"""What the clients do when something goes wrong, and what they install; prints a table.

Run it in the environment of the benchmark: ``.venv-bench/bin/python -m benchmarks.comparison``.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, Callable, Iterator

from lmstudio_provider import LMStudioProvider, OllamaProvider

from . import packages

_SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
_NDJSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n"
_CHOICE = b'{"index":0,"delta":{"content":"Hel"}}'
_EVENT = b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[%b]}\n\n' % _CHOICE
_LINE = b'{"model":"m","created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant","content":"Hel"}}\n'
_FAILURE = b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
_WAIT_S = 5.0


class _Server:
    """Answer each POST with ``reply``, then close the connection, or hold it until the client leaves."""

    def __init__(self, reply: bytes, hold: bool = False) -> None:
        self.posts = 0
        self._reply, self._hold = reply, hold
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            data = b""
            while b"\r\n\r\n" not in data and (piece := connection.recv(65536)):
                data += piece
            head, _, body = data.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            while len(body) < int(length[1] if length else 0) and (piece := connection.recv(65536)):
                body += piece
            self.posts += head.startswith(b"POST")
            connection.sendall(self._reply)
            if self._hold:
                connection.recv(1)  # returns when the client leaves

    def close(self) -> None:
        self._listener.close()


@contextmanager
def _serving(reply: bytes, hold: bool = False) -> Iterator[_Server]:
    server = _Server(reply, hold)
    try:
        yield server
    finally:
        server.close()


def _posts(ask: Callable[[str], object], reply: bytes) -> str:
    """Return how often the generation was sent to a server that fails."""
    with _serving(reply) as server:
        try:
            ask(server.url)
        except Exception as error:
            return f"{server.posts} ({type(error).__name__})"
        return f"{server.posts} (no error)"


def _cut(stream: Callable[[str], Any], reply: bytes) -> str:
    """Return what the caller sees of a stream that ends in the middle."""
    with _serving(reply) as server:
        try:
            for _ in stream(server.url):
                continue
        except Exception as error:
            return type(error).__name__
        return "nothing"


def _cancel(stream: Callable[[str], Any], reply: bytes) -> str:
    """Return how long a reader that waits for a silent server goes on after another thread closes its stream."""
    with _serving(reply, hold=True) as server:
        opened = stream(server.url)
        next(iter(opened))
        closed = threading.Event()

        def read() -> None:
            try:
                for _ in opened:
                    continue
            finally:
                closed.set()

        threading.Thread(target=read, daemon=True).start()
        time.sleep(0.3)  # so that it waits for bytes
        began = time.monotonic()
        try:
            opened.close()
        except Exception as error:
            return f"{type(error).__name__}"
        return f"{time.monotonic() - began:.1f} s" if closed.wait(_WAIT_S) else f"not within {_WAIT_S:.0f} s"


def main() -> None:
    import litellm
    import ollama
    import openai

    messages: Any = [{"role": "user", "content": "Hi"}]

    def our_chat(url: str) -> object:
        with LMStudioProvider(url, model="m", refresh=False) as lm:
            return lm.chat("Hi")

    def openai_client(url: str) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{url}/v1", api_key="x")

    clients: dict[str, tuple[Callable[[str], object], Callable[[str], Any], bytes]] = {
        "lmstudio-provider": (
            our_chat,
            lambda url: LMStudioProvider(url, model="m", refresh=False).stream("Hi"),
            _SSE + _EVENT,
        ),
        "lmstudio-provider, Ollama": (
            lambda url: OllamaProvider(url, model="m", refresh=False).chat("Hi"),
            lambda url: OllamaProvider(url, model="m", refresh=False).stream("Hi"),
            _NDJSON + _LINE,
        ),
        "openai": (
            lambda url: openai_client(url).chat.completions.create(model="m", messages=messages),
            lambda url: openai_client(url).chat.completions.create(model="m", messages=messages, stream=True),
            _SSE + _EVENT,
        ),
        "ollama": (
            lambda url: ollama.Client(url).chat("m", messages),
            lambda url: ollama.Client(url).chat("m", messages, stream=True),
            _NDJSON + _LINE,
        ),
        "litellm": (
            lambda url: litellm.completion("openai/m", messages, api_base=f"{url}/v1", api_key="x"),
            lambda url: litellm.completion("openai/m", messages, api_base=f"{url}/v1", api_key="x", stream=True),
            _SSE + _EVENT,
        ),
    }
    for name, (ask, stream, reply) in clients.items():
        print(name)
        print("  POSTs, status 500:         ", _posts(ask, _FAILURE))
        print("  POSTs, connection closed:  ", _posts(ask, b""))
        print("  a stream that is cut:      ", _cut(stream, reply))
        print("  a stream closed elsewhere: ", _cancel(stream, reply))
    for name, installed in packages.installed().items():
        print(f"{name} {version(name)}: {installed.packages} packages, {installed.size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
