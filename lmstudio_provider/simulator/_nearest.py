"""Compares a request with those that were recorded."""

from __future__ import annotations

import difflib
import json
from typing import Any, Iterable

from ._recordings import Exchange

_MOST = 5
_BEFORE = 20
_LONGEST = 60
_MISSING = object()


def nearest(request: dict[str, Any], exchanges: Iterable[Exchange], file: str) -> str:
    """Return a message with the recorded request that is most like ``request``, and what differs."""
    name, sent = _name(request), _leaves(request)
    recorded = [(each.number, _name(each.request), _leaves(each.request)) for each in exchanges]
    if not recorded:
        return f"{name} was not recorded in {file}, which holds no requests; record it again"
    alike = {each: difflib.SequenceMatcher(None, each, name, False).ratio() for each in {each[1] for each in recorded}}
    number, of, found = max(recorded, key=lambda each: (alike[each[1]], -len(_differing(each[2], sent))))
    lines = [f"  {at}: {_both(found.get(at, _MISSING), sent.get(at, _MISSING))}" for at in _differing(found, sent)]
    if len(lines) > _MOST:
        lines[_MOST:] = [f"  and {len(lines) - _MOST} more"]
    # The difference comes early, because clients may cut a long message.
    what = f"{name} was not recorded in {file}. The nearest is request {number}, {of}, except for:"
    return "\n".join([what, *lines, "Record it again, or send what was recorded."])


def _name(request: dict[str, Any]) -> str:
    return f"{request['method']} {request['path'][:_LONGEST]}"


def _leaves(value: object) -> dict[str, object]:
    """Return the values inside ``value`` by their places, such as "json.messages[0].content"."""
    found: dict[str, object] = {}
    todo: list[tuple[str, object]] = [("", value)]
    while todo:
        at, value = todo.pop()
        if isinstance(value, dict) and value:
            todo += reversed([(f"{at}.{name}".lstrip("."), each) for name, each in value.items()])
        elif isinstance(value, list) and value:
            todo += reversed([(f"{at}[{index}]", each) for index, each in enumerate(value)])
        else:
            found[at] = value
    return found


def _differing(recorded: dict[str, object], sent: dict[str, object]) -> list[str]:
    return [at for at in {**recorded, **sent} if not _same(recorded.get(at, _MISSING), sent.get(at, _MISSING))]


def _same(one: object, other: object) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)  # in Python, True is 1


def _both(recorded: object, sent: object) -> str:
    start = 0
    if isinstance(recorded, str) and isinstance(sent, str):
        pairs = enumerate(zip(recorded, sent))
        at = next((index for index, (one, other) in pairs if one != other), min(len(recorded), len(sent)))
        start = max(0, at - _BEFORE)
    return f"recorded {_shown(recorded, start)}, sent {_shown(sent, start)}"


def _shown(value: object, start: int) -> str:
    if value is _MISSING:
        return "nothing"
    if not isinstance(value, str):
        return json.dumps(value)
    text = json.dumps(value[start : start + _LONGEST], ensure_ascii=False)
    return f"{'…' if start else ''}{text}{'…' if len(value) > start + _LONGEST else ''}"
