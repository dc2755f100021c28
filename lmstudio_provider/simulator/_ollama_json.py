"""Ollama's JSON, which is Go's, and its errors."""

from __future__ import annotations

import json
from typing import Any, Iterable, Mapping

from ._server import RefusedError, Stream, Whole

# Go escapes these characters, so that JSON can be embedded in HTML and JavaScript.
_ESCAPES = {ord(each): f"\\u{ord(each):04x}" for each in "<>&\u2028\u2029"}
V1_HEADERS = {"Content-Type": "application/json"}


def go_json(value: object, sort_keys: bool = False) -> str:
    """Return ``value`` as Go writes it: compact and escaped. Set ``sort_keys`` for a map, whose keys Go sorts."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=sort_keys)
    return text.translate(_ESCAPES)


def whole(value: object, status: int = 200) -> Whole:
    """Return a reply of Ollama's own API."""
    return Whole(go_json(value).encode(errors="replace"), status)


def v1_whole(value: object, status: int = 200) -> Whole:
    """Return a reply of ``/v1``, which ends with a newline."""
    return Whole(go_json(value).encode(errors="replace") + b"\n", status, V1_HEADERS)


def text(status: int, content: str) -> Whole:
    """Return a reply that is not JSON."""
    return Whole(content.encode(), status, {"Content-Type": "text/plain; charset=utf-8"})


def lines(values: Iterable[Mapping[str, Any]]) -> Stream:
    """Return a stream of JSON lines, with no pause before the last."""
    *first, last = [go_json(value).encode(errors="replace") + b"\n" for value in values]
    return Stream({"Content-Type": "application/x-ndjson"}, first, [last])


def refused(status: int, what: str) -> RefusedError:
    """Return the error that answers ``status`` with the text ``what``."""
    return RefusedError(whole({"error": what}, status))


def said(error: RefusedError) -> str:
    """Return the text of an error in any form."""
    what = json.loads(error.answer.content)["error"]
    return str(what["message"] if isinstance(what, dict) else what)
