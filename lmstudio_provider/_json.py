"""JSON as others write it: nested deeper than Python can follow, or nearly right."""

from __future__ import annotations

import json
import re
from typing import Any

# Far beyond any reply, and far from where Python's own parser meets the recursion limit: down there, finalizers that
# happen to run fail as well.
_MOST_NESTED = 200
# The closing quote is optional, so that a text without one is one match and not tried again from each quote in it.
_STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"?'
_BRACKETS = re.compile(_STRING + r"|[\[{]|[\]}]", re.S)
_LAST_COMMA = re.compile(_STRING + r"|,(?=\s*(?:[\]}]|\Z))", re.S)
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
        without = _LAST_COMMA.sub(lambda match: "" if match[0] == "," else match[0], text)
        if without == text:
            raise
        return json.loads(without, strict=False)


def is_too_deep(text: str) -> bool:
    """Return True if the brackets of ``text`` go deeper than those of any reply."""
    depth = 0
    # Few texts have as many brackets at all, and this is the slow part.
    for match in _BRACKETS.finditer(text) if text.count("[") + text.count("{") > _MOST_NESTED else ():
        depth += 1 if match[0] in "[{" else -1 if match[0] in "]}" else 0
        if depth > _MOST_NESTED:
            return True
    return False
