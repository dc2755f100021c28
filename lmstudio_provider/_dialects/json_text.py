"""Reads the JSON of servers strictly, and describes it if it is not as the API promises."""

from __future__ import annotations

import json
from typing import Any, Mapping

from .._core.errors import ProtocolError
from .._core.json import loads


def parse(text: bytes | str, what: str) -> Any:
    """Return the value of ``text``; raises ProtocolError, which names it as ``what``."""
    try:
        return loads(text.decode("utf-8") if isinstance(text, bytes) else text)
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
    # Raised out here, so that its context is not the other error: that holds the whole text, which may be large and
    # repeat a secret.
    raise ProtocolError(f"{what} is not JSON ({why}): {preview(text)}", sent=True)


def member(value: Any, name: str, kind: type, what: str) -> Any:
    """Return ``value[name]``, which has to be of ``kind``; raises ProtocolError."""
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, kind):
        lack = f"has no {name!r} of type {kind.__name__}" if isinstance(value, dict) else "is not an object"
        raise ProtocolError(f"{what} {lack}: {preview(json.dumps(value))}", hint=_HINT, sent=True)
    return found


def no_object(what: str, value: object) -> ProtocolError:
    """Return the error for an event or a line of a stream that is not a JSON object."""
    text = f"{what} of the stream is {type(value).__name__}, not an object: {preview(json.dumps(value))}"
    return ProtocolError(text, sent=True)


_HINT = "Check that the base URL is that of the server, and not of another program"


def preview(text: bytes | str) -> str:
    """Return the beginning of ``text``, quoted, for a message."""
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return repr(text if len(text) <= 200 else text[:200] + "…") if text else "it is empty"


def mapping(value: object) -> Mapping[str, Any]:
    """Return ``value`` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    """Return ``value`` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def text_or_none(value: object) -> str | None:
    """Return ``value`` if it is text and not empty, else None."""
    return value if isinstance(value, str) and value else None


def number(value: object) -> Any:
    """Return ``value`` if it is a number, else None."""
    # A larger one does not fit into a float, or makes one that is infinite.
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2**63 else None


def prompt_count(value: object) -> int | None:
    """Return the tokens of a prompt; 0 is not a count: there is no prompt without a token."""
    return count(value) or None


def total(prompt: int | None, generated: int | None) -> int | None:
    """Return the sum of the two counts, None if one of them is not known."""
    return None if prompt is None or generated is None else prompt + generated


def count(value: object) -> int | None:
    """Return ``value`` if it is an integer of a plausible size, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53 else None
