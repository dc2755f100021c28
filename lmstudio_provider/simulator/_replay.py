"""Serve a recording again, without the server."""

from __future__ import annotations

import difflib
import json
import threading
from pathlib import Path
from typing import Any, Iterable

from ._recordings import COMPLETE, LEFT, Exchange, StrPath, cleaned, key, load
from ._relay import Relay, client_left
from ._secrets import Secrets
from ._server import Listener

# Seconds without a byte, if the client did not wait for the end when this was recorded.
_SILENCE_S = 30
# How much of the nearest request is shown: its differences, and characters of each.
_MOST = 5
_BEFORE = 20
_LONGEST = 60
_MISSING = object()


class replay(Listener):
    """A context manager that answers at ``base_url`` as the recording in ``path`` says, without the server.

    A request is answered if one with the same method, path, query and body was recorded; of JSON, the value counts, and
    headers do not. The reply comes in the pieces in which it was recorded, each after ``delay_s``, and breaks off where
    the server broke off. If one request was recorded several times, its replies come in their order, then the last one
    again and again. Where the client did not wait for the end, it is silent until the client leaves, for 30 s at most.

    Any other request gets HTTP 400 and a message with the nearest one that was recorded, which ``unmatched`` keeps; a
    with statement that ends without an exception raises AssertionError if it holds any.
    """

    def __init__(self, path: StrPath, *, delay_s: float = 0.0, port: int = 0) -> None:
        super().__init__(port)
        self.path = Path(path)
        self.delay_s = delay_s
        self.unmatched: list[str] = []
        self.exchanges: list[Exchange] = []
        self._base_path = ""
        self._lock = threading.Lock()
        self._replies: dict[str, list[Exchange]] = {}

    @property
    def base_url(self) -> str:
        """What to use in the place of the server's URL."""
        return self.url + self._base_path

    def __enter__(self) -> replay:
        self._base_path, self.exchanges = load(self.path)
        self._replies.clear()
        for each in self.exchanges:
            self._replies.setdefault(key(each.request), []).append(each)
        return self._listen(_Replaying)

    def __exit__(self, kind: object = None, *rest: object) -> None:
        super().__exit__()
        if kind is None and self.unmatched:
            raise AssertionError("\n".join(self.unmatched))

    def note(self, request: dict[str, Any]) -> int:
        """Note a request; return its number."""
        self.requests.append(request)
        return len(self.requests)

    def take(self, request: dict[str, Any]) -> Exchange | None:
        """Return the exchange to repeat for a request, None if it was not recorded."""
        with self._lock:
            replies = self._replies.get(key(request))
            if not replies:
                return None
            return replies.pop(0) if len(replies) > 1 else replies[0]


class _Replaying(Relay):
    def exchange(self, number: int, data: bytes) -> None:
        """Repeat the reply that was recorded."""
        replayed: replay = self.server.listener
        request = cleaned(self.command, self.path, data, Secrets(self.headers.items()))
        found = replayed.take(request)
        if found is None:
            text = _nearest(request, replayed.exchanges, replayed.path.name)
            replayed.unmatched.append(text)
            self.send_failure(400, "request_not_recorded", text)
            return
        if found.status is not None:
            self.send_head(found.status, found.headers)
        for piece in filter(None, found.pieces):
            if replayed.delay_s and self.server.stopping.wait(replayed.delay_s):
                self.close_connection = True
                return
            self.send_piece(piece)
        if found.end == COMPLETE:
            self.send_end()
            return
        if found.end == LEFT:
            client_left(self.connection, None, _SILENCE_S)
        self.close_connection = True


def _nearest(request: dict[str, Any], exchanges: Iterable[Exchange], file: str) -> str:
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
