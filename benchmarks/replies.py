"""The replies of the server, as bytes: made before the first request, so that no time of the server is measured."""

from __future__ import annotations

import itertools
import json
import zlib
from typing import Any, Iterable, Iterator

PIECES = 2000
# litellm refuses a reply that repeats a piece.
WORDS = (" Rays", " bend", " more", " when", " they", " are", " blue,", " said", " Lord", " Rayl", "eigh", ".")
TEXT = "".join(WORDS)
MODEL = "qwen/qwen3-8b"

_ID = {"id": "chatcmpl-9f3k7q2v1m5x8w4c6t0bz", "created": 1765000000, "model": MODEL, "system_fingerprint": MODEL}
_STATS = {"total_duration": 48835834, "load_duration": 1334875, "prompt_eval_count": 26, "eval_count": PIECES}
_NANOSECONDS = itertools.count(48291507, 12345)

MODELS = json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "organization_owner"}]})


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def words(count: int) -> list[str]:
    return [WORDS[number % len(WORDS)] for number in range(count)]


def openai_chat() -> bytes:
    message = {"role": "assistant", "content": TEXT, "tool_calls": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    usage = {"prompt_tokens": 26, "completion_tokens": 12, "total_tokens": 38}
    return _json({**_ID, "object": "chat.completion", "choices": [choice], "usage": usage, "stats": {}})


def ollama_chat() -> bytes:
    return _line(TEXT, True, done_reason="stop", **_STATS)


def sse_piece(text: str) -> bytes:
    return _sse({"role": "assistant", "content": text}, None)


def _sse(delta: dict[str, str], finish_reason: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return b"data: %b\n\n" % _json({**_ID, "object": "chat.completion.chunk", "choices": [choice]})


def sse_end() -> bytes:
    return _sse({}, "stop") + b"data: [DONE]\n\n"


def ndjson_piece(text: str) -> bytes:
    return _line(text, False) + b"\n"


def ndjson_end() -> bytes:
    return _line("", True, done_reason="stop", **_STATS) + b"\n"


def _line(text: str, done: bool, **more: Any) -> bytes:
    created_at = f"2026-03-01T09:12:33.{next(_NANOSECONDS):09}Z"  # each line has another
    message = {"role": "assistant", "content": text}
    return _json({"model": MODEL, "created_at": created_at, "message": message, "done": done, **more})


class Framing:
    """How the pieces of a body are cut and how the body ends, by the name in the path: "chunked-16", "gzip"."""

    def __init__(self, name: str) -> None:
        self.kind, _, count = name.rpartition("-") if name[-1].isdigit() else (name, "", "1")
        self.pieces_per_chunk = int(count)
        self._packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)

    def headers(self, length: int) -> bytes:
        """Return the header lines of a body of ``length`` bytes; they are followed by an empty line."""
        return {
            "chunked": b"Transfer-Encoding: chunked\r\n",
            "close": b"Connection: close\r\n",
            "length": b"Content-Length: %d\r\n" % length,
            "gzip": b"Content-Encoding: gzip\r\nConnection: close\r\n",
        }[self.kind]

    def piece(self, data: bytes) -> bytes:
        """Return ``data``, one write of the server, as it goes over the wire."""
        if self.kind == "chunked":
            return b"%x\r\n%b\r\n" % (len(data), data)
        if self.kind == "gzip":
            return self._packer.compress(data) + self._packer.flush(zlib.Z_SYNC_FLUSH)
        return data

    def end(self) -> bytes:
        if self.kind == "gzip":
            return self._packer.flush()
        return b"0\r\n\r\n" if self.kind == "chunked" else b""

    def body(self, pieces: Iterable[bytes]) -> bytes:
        return b"".join(map(self.piece, self._joined(pieces))) + self.end()

    def _joined(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        block: list[bytes] = []
        for piece in pieces:
            block.append(piece)
            if len(block) == self.pieces_per_chunk:
                yield b"".join(block)
                block.clear()
        if block:
            yield b"".join(block)
