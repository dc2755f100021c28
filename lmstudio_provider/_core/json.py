"""JSON as others write it: nested deeper than Python can follow, or nearly right."""

from __future__ import annotations

import json
import re
from typing import Any

# Far beyond any reply, and far from where Python's own parser meets the recursion limit: down there, finalizers that
# happen to run fail as well.
_MOST_NESTED = 200
# What is neither a bracket nor a quote, and how much deeper each bracket goes.
_OTHERS = bytes(set(range(256)).difference(b'[]{}"'))
_STEPS = {byte: 1 if byte in b"[{" else -1 for byte in b"[]{}"}
# The closing quote is optional, so that a text without one is one match and not tried again from each quote in it.
_STRING = re.compile(b'"[^"]*"?')
_MARK = re.compile(r'\\.|"|,(?=\s*(?:[\]}]|\Z))', re.S)
_FENCE = re.compile(r"```[^\S\n]*\w*\s")


def loads(text: str) -> Any:
    """Return the value of ``text``; raise ValueError, also if it is nested too deeply."""
    if is_too_deep(text):
        raise ValueError("nested too deeply")
    return json.loads(text)


def loads_leniently(text: str) -> Any:
    """Return the value of JSON that a model wrote; raise ValueError.

    Nothing is lost by what is accepted: raw line breaks and tabs in strings, commas before a closing bracket or at the
    end, and a code fence around it.
    """
    text = text.strip()
    if text.startswith("```") and text.endswith("```"):
        text = _FENCE.sub("", text, count=1)[:-3] if _FENCE.match(text) else text.strip("`")
    if is_too_deep(text):
        raise ValueError("nested too deeply")
    try:
        return json.loads(text, strict=False)
    except ValueError:
        without = _without_last_commas(text)
        if without == text:
            raise
        return json.loads(without, strict=False)


def _without_last_commas(text: str) -> str:
    kept, start, quoted = [], 0, False
    for mark in _MARK.finditer(text):
        if mark[0] == '"':
            quoted = not quoted
        elif mark[0] == "," and not quoted:
            kept.append(text[start : mark.start()])
            start = mark.end()
    return "".join([*kept, text[start:]])


def is_too_deep(text: str) -> bool:
    """Return True if the brackets of ``text`` go deeper than those of any reply."""
    if text.count("[") + text.count("{") <= _MOST_NESTED:  # few texts have as many brackets at all
        return False
    data = text.encode("ascii", "replace").replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _OTHERS)
    data = data.replace(b'""', b"")  # which leaves it open whether anything else is in quotes
    depth, quoted = 0, b""
    for start in range(0, len(data), _BLOCK):  # in blocks, because sub() makes a list of many small pieces
        block = quoted + data[start : start + _BLOCK]
        quoted = b'"' if block.count(b'"') % 2 else b""
        for bracket in _STRING.sub(b"", block):
            depth += _STEPS[bracket]
            if depth > _MOST_NESTED:
                return True
    return False


_BLOCK = 64 * 1024
