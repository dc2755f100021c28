"""Reads the JSON of servers strictly, and describes it if it is not as the API promises."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any, Callable, Mapping

from .._core.errors import ProtocolError
from .._core.json import loads


def parse(text: bytes | str, what: str) -> Any:
    """Return the value of ``text``; raises ProtocolError, which names it as ``what``."""
    try:
        return loads(text.decode("utf-8").removeprefix("\ufeff") if isinstance(text, bytes) else text)
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


_CONTENT = r'"content":\s*"([^"\\]*(?:\\.[^"\\]*)*)"'


class SameJSON:
    """The JSON around the text of an event of a stream, which most of its events have too.

    Of such an event only the text is read, which takes 0.5 us instead of 4.5. ``only_text`` takes the value of an event
    and returns its text, or None if the event says anything else that matters. ``time`` is the name of a string before
    the text that changes and does not matter.
    """

    def __init__(self, only_text: Callable[[Any], str | None], time: str = "") -> None:
        self._only_text = only_text
        self._time = rf'"{time}":\s*"([^"\\]*)"' if time else ""
        self._before = self._between = self._after = ""
        self._misses = 0

    def text_of(self, data: str) -> str:
        """Return the text of an event that is the same otherwise; "" if it is not the same, or has no text."""
        before, after = self._before, self._after
        if before and data.startswith(before) and data.endswith(after):
            self._misses = 0
            text = data[len(before) : -len(after)]
            if self._between:
                time, _, text = text.partition(self._between)
                if '"' in time or "\\" in time or not time.isprintable():
                    return ""
            if '"' not in text and "\\" not in text and text.isprintable():
                return text  # as most are; JSON has no other character that stands for something else
            with contextlib.suppress(ValueError):  # the event differs in more than its text
                text = str(loads(f'"{text}"'))
                return "" if "\ud7ff" < text[-1:] < "\udc00" else text  # half a character
        return ""

    def learn(self, data: str, text: str) -> None:
        """Remember the JSON around ``text``, which is all that matters in an event."""
        self._misses += 1
        # In some streams each event is different: then it does not pay to look at more than a few.
        if self._misses < 10 and (found := re.search(_CONTENT, data)):
            before, between, after = data[: found.start(1)], "", data[found.end(1) :]
            if self._time and (time := re.search(self._time, before)):
                before, between = before[: time.start(1)], before[time.end(1) :]
            # A string with that name need not be the text: if another string changes, the text stays.
            if self._only_text(loads(f"{before}{between}.{found[1]}{after}")) == f".{text}":
                self._before, self._between, self._after = before, between, after
