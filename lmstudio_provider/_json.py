"""JSON as others write it, which may be nested deeper than Python can follow."""

from __future__ import annotations

import json
import re
from typing import Any

# Far beyond any reply, and far from where Python's own parser meets the recursion limit: down there, finalizers that
# happen to run fail as well.
_MOST_NESTED = 200
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.S)


def loads(text: str) -> Any:
    """The value of ``text``; raises ValueError, also where it is nested too deeply."""
    if is_too_deep(text):
        raise ValueError("nested too deeply")
    return json.loads(text)


def is_too_deep(text: str) -> bool:
    """Whether the brackets of ``text`` go deeper than those of any reply."""
    depth = 0
    # Few texts have as many brackets at all, and this is the slow part.
    for match in _BRACKETS.finditer(text) if text.count("[") + text.count("{") > _MOST_NESTED else ():
        depth += 1 if match[0] in "[{" else -1 if match[0] in "]}" else 0
        if depth > _MOST_NESTED:
            return True
    return False
