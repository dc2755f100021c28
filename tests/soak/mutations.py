"""Changes to the bytes of a reply, such as a defective server or a bad connection makes."""

from __future__ import annotations

import random
import re

# Values of every type, and large ones.
VALUES = [
    *(b"null", b"true", b"false", b"0", b"-1", b"1.5", b"1e999", b"9" * 400, b"[]", b"{}", b"[null]", b"[[]]", b"[1]"),
    *(b'""', b'" "', b'"x"', b'"\\ud800"', b'"\\u0000"', b'"{"', b'["x"]', b'{"x":1}', b'{"error":1}', b'[{"x":[]}]'),
]
# Bytes to insert: pieces of JSON, of its streams, of HTTP, of UTF-8, and of the text of models.
PIECES = [
    *(b"NaN", b"-Infinity", b"9" * 5000, b'"', b"\\", b"{", b"}", b"]", b",", b":", b"[" * 3000, b'{"a":' * 3000),
    *(b"\n", b"\r", b"\r\n\r\n", b"\n\n", b"data: ", b"data: [DONE]\n\n", b"event: error\n", b"id: 1\n", b": \n"),
    *(b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xc3", b"\xe2\x80\xa8", b"<think>", b"</think>", b"<tool_call>", b"<html>"),
]
_VALUE = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|\{\}|\[\]')


def mutated(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Return ``data`` with a few changes, mostly one; a part of it may be replaced by a part of ``others``."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        data = rng.choice(CHANGES)(data, others, rng)
    return data


def _slice(data: bytes, rng: random.Random, most: int = 64) -> tuple[int, int]:
    start = rng.randint(0, len(data))
    return start, min(len(data), start + rng.randint(1, most))


def flip(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4) if data else 0):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def delete(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    start, end = _slice(data, rng)
    return data[:start] + data[end:]


def insert(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    at = rng.randint(0, len(data))
    new = rng.choice(PIECES) if rng.random() < 0.7 else bytes(rng.randrange(256) for _ in range(rng.randint(1, 8)))
    return data[:at] + new + data[at:]


def duplicate(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    start, end = _slice(data, rng, most=1000)
    at = end if rng.random() < 0.5 else rng.randint(0, len(data))
    return data[:at] + data[start:end] + data[at:]


def truncate(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    return data[: rng.randint(0, len(data))]


def splice(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    other = rng.choice(others)
    return data[: rng.randint(0, len(data))] + other[rng.randint(0, len(other)) :]


def exchange(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Replace a value with another one: the reply is still JSON, but may not be valid for the API."""
    values = list(_VALUE.finditer(data))
    if not values:
        return insert(data, others, rng)
    start, end = rng.choice(values).span()
    new = rng.choice(VALUES) if rng.random() < 0.7 else rng.choice(values)[0]
    return data[:start] + new + data[end:]


CHANGES = [flip, delete, insert, duplicate, truncate, splice, *[exchange] * 6]
