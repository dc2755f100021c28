"""JSON as servers send it: read strictly, and described when it is not what was promised."""

from __future__ import annotations

import json
from typing import Any

from .._core.errors import ProtocolError
from .._core.json import loads


def parse(text: bytes | str, what: str) -> Any:
    """The value of ``text``; raises ProtocolError, which says that ``what`` is no JSON and how it begins."""
    try:
        return loads(text.decode("utf-8") if isinstance(text, bytes) else text)
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
    # Out here the error has no context, which would carry the whole text: it may be large, and repeat a secret.
    raise ProtocolError(f"{what} is no JSON ({why}): {preview(text)}", sent=True)


def member(value: Any, name: str, kind: type, what: str) -> Any:
    """``value[name]``, which has to be of ``kind``; raises ProtocolError."""
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, kind):
        whole = f"{what} has no {name!r} of type {kind.__name__}" if isinstance(value, dict) else f"{what} is no object"
        raise ProtocolError(f"{whole}: {preview(json.dumps(value))}", hint=_HINT, sent=True)
    return found


def no_object(what: str, value: object) -> ProtocolError:
    """Return the error for an event or a line of a stream that is no JSON object."""
    text = f"{what} of the stream is {type(value).__name__}, not an object: {preview(json.dumps(value))}"
    return ProtocolError(text, sent=True)


_HINT = "Check that the base URL is that of the server that is meant, and not of another program"


def preview(text: bytes | str) -> str:
    """The beginning of ``text``, quoted, for a message."""
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return repr(text if len(text) <= 200 else text[:200] + "…") if text else "it is empty"


def text_or_none(value: object) -> str | None:
    """``value`` where it is text, and not empty."""
    return value if isinstance(value, str) and value else None


def number(value: object) -> Any:
    """``value`` where it is a number, else None."""
    # What is larger than any figure of a reply can be no float, or makes one that is no number.
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2**63 else None


def prompt_count(value: object) -> int | None:
    """Return the tokens of a prompt; 0 is not a count: there is no prompt without a token."""
    return count(value) or None


def total(prompt: int | None, generated: int | None) -> int | None:
    """Return the sum of the two counts, None if one of them is not known."""
    return None if prompt is None or generated is None else prompt + generated


def count(value: object) -> int | None:
    """``value`` where it is a whole number of a size that can be, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53 else None
