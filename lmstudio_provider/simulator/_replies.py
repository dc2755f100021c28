"""The replies that a test gives to a stand-in: they are checked when they are given, and used in turn."""

from __future__ import annotations

import itertools
import json
import math
import re
import reprlib
import threading
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Iterable, Mapping, Union

from ._faults import Fault

# A text, a fault, or a dict; the docstring of SimulatedLMStudio lists its keys.
Reply = Union[str, Fault, Mapping[str, Any]]
# Makes a reply from the body of a request.
MakeReply = Callable[[Mapping[str, Any]], Reply]
# Gives the reply to a request: the body, what makes the default reply, and the names of the model that answers.
NextReply = Callable[[Mapping[str, Any], MakeReply, Iterable[str]], "Scripted"]
# One reply, several to give in turn, or a function that makes them.
Replies = Union[Reply, "When", Iterable[Union[Reply, "When"]], MakeReply]

# The counts that a reply may set; a server counts words for the others.
_COUNTS = ("prompt_tokens", "completion_tokens", "cached_tokens")
_KEYS = ("content", "reasoning_content", "tool_calls", "finish_reason", *_COUNTS, "first_byte_s", "fault")
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
    first_byte_s: float | None = None
    fault: Fault | None = None
    is_default: bool = False
    """True if the stand-in makes the texts and the calls."""


@dataclass(frozen=True)
class When:
    """Replies to some of the requests: ``When("qwen3", "I am Qwen")``, or ``When(lambda body: ..., ["one", "two"])``.

    In a list given as ``replies``, the first one that fits a request decides. The other replies of the list are given
    in turn to the requests that none fits.
    """

    which: str | Callable[[Mapping[str, Any]], object]
    """The name of a model, or a function that takes the request's body, in OpenAI's form, and returns True if it fits.
    A model is meant by the name that the request gives, and by the name of the one that answers."""
    replies: Replies
    """The replies, in any form that a stand-in takes."""


class Script:
    """Gives the replies of a test, or default ones. Raises TypeError for replies that are not valid."""

    def __init__(self, replies: Replies | None, where: str = "replies") -> None:
        self._rules: list[tuple[str | Callable[[Mapping[str, Any]], object], Script]] = []
        self._make: MakeReply | None = None
        self._where = where
        self._lock = threading.Lock()
        several: Iterable[tuple[str, Any]]
        if replies is None or isinstance(replies, (str, Mapping, Fault, When)):
            several = [] if replies is None else [(where, replies)]
        elif callable(replies):
            several, self._make = [], replies
        elif isinstance(replies, (bytes, bytearray)) or not isinstance(replies, Iterable):
            raise TypeError(f"{where} is {reprlib.repr(replies)}; use a reply, a list of replies, or a function")
        else:
            several = [(f"{where}[{at}]", reply) for at, reply in enumerate(replies)]
            if not several:
                raise TypeError(f"{where} is empty; give at least one, or leave it out")
        for at, reply in several:
            if isinstance(reply, When):
                if not isinstance(reply.which, str) and not callable(reply.which):
                    raise TypeError(f"{at}.which is {reprlib.repr(reply.which)}; use a model's name or a function")
                self._rules.append((reply.which, Script(reply.replies, f"{at}.replies")))
        self._turns = [checked(reply, at) for at, reply in several if not isinstance(reply, When)]
        self._endless = itertools.cycle(self._turns)

    def reply(self, body: Mapping[str, Any], default: MakeReply, models: Iterable[str] = ()) -> Scripted:
        """Return the next reply of the test for ``body``, or the one that ``default`` makes if the test gave none.

        ``models`` are the names of the model that answers.
        """
        names = {str(each).partition(":latest")[0] for each in (body.get("model"), *models)}
        for which, script in self._rules:
            if which.partition(":latest")[0] in names if isinstance(which, str) else which(body):
                return script.reply(body, default, models)
        if self._make is not None:
            scripted = checked(self._make(body), f"the result of the function given as {self._where}")
        elif self._turns:
            with self._lock:
                scripted = next(self._endless)
        else:
            scripted = Scripted(is_default=True)
        if not scripted.is_default:
            return scripted
        return replace(checked(default(body), "the default"), fault=scripted.fault)


def checked(reply: Any, where: str) -> Scripted:
    """Return ``reply`` in its checked form; raise TypeError, which names ``where`` and the mistake, if it is wrong."""
    if isinstance(reply, str):
        return Scripted(pieces(reply))
    if isinstance(reply, Fault):
        return Scripted(fault=reply, is_default=True)
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
    first_byte_s, fault = reply.get("first_byte_s"), reply.get("fault")
    if first_byte_s is not None and not is_seconds(first_byte_s):
        raise TypeError(f'{where}["first_byte_s"] is {first_byte_s!r}; use seconds, 0 or more')
    if not isinstance(fault, (Fault, type(None))):
        raise TypeError(f"{where}[\"fault\"] is {reprlib.repr(fault)}; use a Fault, such as Fault('stall')")
    calls = reply.get("tool_calls")
    if not isinstance(calls, (list, tuple, type(None))):
        raise TypeError(f'{where}["tool_calls"] is {reprlib.repr(calls)}; use a list of calls: [{_CALL}]')
    return Scripted(
        _text(reply, "content", where),
        _text(reply, "reasoning_content", where),
        [_call(call, f'{where}["tool_calls"][{at}]') for at, call in enumerate(calls or ())],
        reason,
        counts,
        first_byte_s,
        fault,
    )


def is_seconds(value: Any) -> bool:
    """Return True for a number of seconds to wait."""
    return type(value) in (int, float) and 0 <= value < math.inf


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


# The tokens of a stand-in: a word with the blanks before it is one.


def pieces(text: str) -> list[str]:
    """Split the text into tokens, which are words."""
    return re.findall(r"\s*\S+|\s+", text)


def count(texts: Iterable[str]) -> int:
    """Return the number of tokens in the texts."""
    return sum(len(pieces(text)) for text in texts)


def cut(tokens: list[str], length: int) -> list[str]:
    """Return the tokens of the first ``length`` characters; the last one may be cut."""
    kept = []
    for token in tokens:
        if length <= 0:
            break
        kept.append(token[:length])
        length -= len(token)
    return kept


def call_tokens(call: Mapping[str, Mapping[str, str]]) -> int:
    """Return the number of tokens of a tool call in OpenAI's form, those of its name and of its arguments."""
    return count((call["function"]["name"], call["function"]["arguments"]))
