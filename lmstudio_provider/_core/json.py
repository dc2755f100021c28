"""JSON from servers and models, which may be nested too deeply for Python, or nearly right."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

# Deeper than any reply, and far from Python's recursion limit: close to it, also finalizers that happen to run fail.
MOST_NESTED = 200
# The bytes that are neither a bracket nor a quote, and by how much each bracket changes the depth.
_OTHERS = bytes(set(range(256)).difference(b'[]{}"'))
_STEPS = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}
# The closing quote is optional, so that the rest after an unpaired quote is scanned only once.
_STRING_OR_BRACKET = rb'"[^"]*"?|[][{}]'
_MARK = r'\\.|"|,(?=\s*(?:[\]}]|\Z))'
_FENCE = r"```[^\S\n]*\w*\s"


class RoundedFloat(float):
    """A number that a float only comes near; ``text`` is the number itself."""

    text: str


def _number(text: str) -> float:
    import decimal  # noqa: PLC0415 (imported with each provider)

    value = float(text)
    with contextlib.suppress(ArithmeticError):  # an exponent of too many digits
        if decimal.Decimal(text) != decimal.Decimal(repr(value)):
            value = RoundedFloat(value)
            value.text = text
    return value


# Made once: json.loads() makes one for each call that has an argument.
_STRICT, _LENIENT = json.JSONDecoder(), json.JSONDecoder(strict=False, parse_float=_number)


def loads(text: str, *, strict: bool = True) -> Any:
    """Return the value of ``text``; raise ValueError, also if it is nested too deeply."""
    # Few texts have as many brackets at all; counted here, because a call more is felt in each piece of a stream.
    if text.count("[") + text.count("{") > MOST_NESTED and is_too_deep(text):
        raise ValueError("nested too deeply")
    if strict and text.startswith(("{", "[")):
        value, end = _STRICT.raw_decode(text)
        if end == len(text):
            return value  # decode() looks for blanks on both sides: 3.4 us instead of 2.4 for a piece of a stream
    return (_STRICT if strict else _LENIENT).decode(text)


def loads_leniently(text: str) -> Any:
    """Return the value of JSON that a model wrote; raise ValueError.

    It accepts errors that do not change the meaning: raw line breaks and tabs in strings, commas before a closing
    bracket or at the end, and a code fence around the JSON.
    """
    text = text.strip()
    if text.startswith("```") and text.endswith("```"):
        text = re.sub(_FENCE, "", text, count=1)[:-3] if re.match(_FENCE, text) else text.strip("`")
    try:
        return loads(text, strict=False)
    except ValueError:
        without = _without_last_commas(text)
        if without == text:
            raise
        return loads(without, strict=False)


def _without_last_commas(text: str) -> str:
    kept, start, quoted = [], 0, False
    for mark in re.finditer(_MARK, text, re.S):  # a pattern of a whole string would take 70 times its size in memory
        if mark[0] == '"':
            quoted = not quoted
        elif mark[0] == "," and not quoted:
            kept.append(text[start : mark.start()])
            start = mark.end()
    return "".join([*kept, text[start:]])


def is_too_deep(text: str) -> bool:
    """Return True if the brackets of ``text`` are nested deeper than those of any reply."""
    if text.count("[") + text.count("{") <= MOST_NESTED:  # few texts have as many brackets at all
        return False
    data = text.encode("ascii", "replace").replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _OTHERS)
    # Most strings are only a pair of quotes now, and most values end before the next one begins. Without these pairs,
    # the same brackets are in quotes, and the depth is the same, but little is left to look at one by one.
    data, depth = data.replace(b'""', b"").replace(b"}{", b"").replace(b"][", b""), 0
    for token in re.finditer(_STRING_OR_BRACKET, data):
        depth += _STEPS.get(token[0], 0)
        if depth > MOST_NESTED:
            return True
    return False
