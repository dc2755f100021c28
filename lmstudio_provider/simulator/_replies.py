"""The replies that a test gives to a stand-in: they are checked when it is created, and given in turn."""

from __future__ import annotations

import itertools
import json
import reprlib
import threading
from dataclasses import dataclass, field
from typing import Any, Callable, Iterable, Mapping, Union

from ._tokens import pieces

# A text, or a dict; the docstring of SimulatedLMStudio lists its keys.
Reply = Union[str, Mapping[str, Any]]
# Makes a reply from the body of a request.
MakeReply = Callable[[Mapping[str, Any]], Reply]
# One reply, several to give in turn, or a function that makes them.
Replies = Union[Reply, Iterable[Reply], MakeReply]

# The counts that a reply may set; a server counts words for the others.
_COUNTS = ("prompt_tokens", "completion_tokens", "cached_tokens")
_KEYS = ("content", "reasoning_content", "tool_calls", "finish_reason", *_COUNTS)
_CALL_KEYS = ("name", "arguments", "id", "index")
_CALL = '{"name": "get_weather", "arguments": {"city": "Oslo"}}'


@dataclass(frozen=True)
class Scripted:
    """A reply that has been checked: texts in pieces, and tool calls in OpenAI's form."""

    content: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    """The calls. "id" and "index" are only there if the reply sets them; None means not to send one."""
    finish_reason: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)


class Script:
    """Gives the replies of a test, or default ones. Raises TypeError for replies that are not valid."""

    def __init__(self, replies: Replies | None) -> None:
        self._make: Callable[[Mapping[str, Any]], Scripted] | None = None
        if isinstance(replies, (str, Mapping)):
            self._make = _in_turn([checked(replies, "replies")])
        elif callable(replies):
            make = replies
            self._make = lambda body: checked(make(body), "the result of the function given as replies")
        elif isinstance(replies, (bytes, bytearray)) or not isinstance(replies, (Iterable, type(None))):
            raise TypeError(f"replies is {reprlib.repr(replies)}; use a reply, a list of replies, or a function")
        elif replies is not None:
            several = [checked(reply, f"replies[{at}]") for at, reply in enumerate(replies)]
            if not several:
                raise TypeError("replies is empty; give at least one, or leave it out")
            self._make = _in_turn(several)

    def reply(self, body: Mapping[str, Any], default: MakeReply) -> Scripted:
        """Return the next reply of the test for ``body``, or the one that ``default`` makes if the test gave none."""
        return checked(default(body), "the default") if self._make is None else self._make(body)


def _in_turn(replies: list[Scripted]) -> Callable[[Mapping[str, Any]], Scripted]:
    endless = itertools.cycle(replies)
    lock = threading.Lock()

    def take(body: Mapping[str, Any]) -> Scripted:
        with lock:
            return next(endless)

    return take


def checked(reply: Any, where: str) -> Scripted:
    """Return ``reply`` in its checked form; raise TypeError, which names ``where`` and the mistake, if it is wrong."""
    if isinstance(reply, str):
        return Scripted(pieces(reply))
    if not isinstance(reply, Mapping):
        raise TypeError(f"{where} is {reprlib.repr(reply)}; a reply is a text, or a dict of any of {', '.join(_KEYS)}")
    _check_keys(reply, _KEYS, where, f"a reply is a dict of any of {', '.join(_KEYS)}")
    reason = reply.get("finish_reason")
    if not isinstance(reason, (str, type(None))):
        raise TypeError(f'{where}["finish_reason"] is {reason!r}; use a text, such as "length"')
    counts = {name: reply[name] for name in _COUNTS if reply.get(name) is not None}
    for name, count in counts.items():
        if type(count) is not int or count < 0:
            raise TypeError(f'{where}["{name}"] is {count!r}; use a whole number, 0 or more')
    calls = reply.get("tool_calls")
    if not isinstance(calls, (list, tuple, type(None))):
        raise TypeError(f'{where}["tool_calls"] is {reprlib.repr(calls)}; use a list of calls: [{_CALL}]')
    return Scripted(
        _text(reply, "content", where),
        _text(reply, "reasoning_content", where),
        [_call(call, f'{where}["tool_calls"][{at}]') for at, call in enumerate(calls or ())],
        reason,
        counts,
    )


def _check_keys(value: Mapping[str, Any], known: tuple[str, ...], where: str, right: str) -> None:
    for key in value:
        if key not in known:
            raise TypeError(f"{where} has the key {key!r}; {right}")


def _text(reply: Mapping[str, Any], name: str, where: str) -> list[str]:
    text = reply.get(name)
    if text is None or isinstance(text, str):
        return pieces(text or "")
    if not isinstance(text, (list, tuple)) or not all(isinstance(piece, str) for piece in text):
        raise TypeError(
            f'{where}["{name}"] is {reprlib.repr(text)}; use a text, or a list of texts to stream as pieces'
        )
    return list(text)


def _call(call: Any, where: str) -> dict[str, Any]:
    if not isinstance(call, Mapping):
        raise TypeError(f"{where} is {reprlib.repr(call)}; write {_CALL}")
    _check_keys(call, _CALL_KEYS, where, f"write {_CALL}")
    if not isinstance(call.get("name"), str):
        raise TypeError(f"{where} needs a name that is a text; write {_CALL}")
    if not isinstance(call.get("id"), (str, type(None))):
        raise TypeError(f'{where}["id"] is {call["id"]!r}; use a text, or None to leave it out')
    if type(call.get("index")) not in (int, type(None)):
        raise TypeError(f'{where}["index"] is {call["index"]!r}; use a whole number, or None to leave it out')
    given = {name: call[name] for name in ("id", "index") if name in call}
    arguments = _arguments(call.get("arguments", {}), where)
    return {"type": "function", **given, "function": {"name": call["name"], "arguments": arguments}}


def _arguments(arguments: Any, where: str) -> str:
    if isinstance(arguments, str):
        return arguments
    if not isinstance(arguments, Mapping):
        raise TypeError(f'{where}["arguments"] is {reprlib.repr(arguments)}; use a dict, or a text to send as it is')
    try:
        return json.dumps(dict(arguments))
    except (TypeError, ValueError) as error:
        raise TypeError(f'{where}["arguments"] is not JSON: {error}') from error
