"""Joins the pieces of a streamed reply, in any dialect: its text, its reasoning and its tool calls."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import time
from abc import ABC, abstractmethod
from typing import Any, Mapping, Sequence

from .._core.errors import ProtocolError, ProviderError, StreamInterruptedError
from .._core.growing_text import GrowingText, with_pairs
from .._core.types import Call, Chunk, Completion, Stats, ToolCall, Usage
from .errors import ErrorContext
from .json_text import count, mapping, number, preview, text_or_none
from .thoughts import ThoughtSplitter, split_unopened

# The constructor of a NamedTuple is a Python function: 0.6 us instead of 0.15.
_new = tuple.__new__


class ReplyAccumulator(ABC):
    """Reads one reply, whole or joined from the pieces of its stream; subclasses know the JSON."""

    _END = "neither a finish_reason nor [DONE]"

    def __init__(self, call: Call, asked: ErrorContext, started: float) -> None:
        self._call = call
        self._asked = asked
        self._started = started  # time.monotonic() when the request was sent
        self._first: float | None = None
        self._ended: float | None = None
        self.text = GrowingText()
        self.reasoning = GrowingText()
        self._thoughts = ThoughtSplitter()
        self._tools = ToolCallAssembly(call.tools)
        self._id: str | None = None
        self._model: str | None = None
        self._usage: Usage | None = None
        self._stats: object = None
        self._finish_reason: str | None = None
        self._raw = False
        self.done = False
        """True if the server said that the reply is over."""

    @property
    def ended(self) -> bool:
        """True if all of the reply has come, although the stream may continue."""
        return self._finish_reason is not None

    @abstractmethod
    def _read_reply(self, value: Any) -> ProviderError | None:
        """Take a whole reply, and return the error that it reports besides its text; raises ProtocolError."""

    @classmethod
    def reply(cls, value: Any, call: Call, duration_s: float) -> Completion:
        """Return the completion of a whole reply, which is not a stream.

        Raises ProtocolError, or the error that the reply reports.
        """
        one = cls(call, ErrorContext(call.model, tools=bool(call.tools)), 0.0)
        error = one._read_reply(value)
        one._content("", "", end=True)
        one._id, one._model = text_or_none(value.get("id")), text_or_none(value.get("model"))
        one._first, one._ended = None, duration_s  # nothing is known of its first text
        completion = one.completion()
        if error is not None:
            error.partial = completion  # without the raw reply: it repeats the text of the error, perhaps a secret
            raise error
        vars(completion)["raw"] = value  # replace() would take 5 us
        one._tools.check(completion)
        return completion

    def _read_stats(self, first_s: float | None, duration_s: float) -> Stats:
        return read_stats(self._stats, self._usage, first_s, duration_s)

    def _plain(self, text: str) -> Chunk | None:
        """Return the chunk of a piece of text that does not end in half a character, as most are."""
        whole = self._thoughts.over and not self.text.half
        return self._chunk(text, "") if whole else self._content(text, "")

    def _content(self, content: str, reasoning: str, end: bool = False) -> Chunk | None:
        """Return the chunk of a text, with or without thoughts, and of reasoning; hold nothing back at the ``end``."""
        if not self._thoughts.over:
            content, thought = self._thoughts.feed(content, end)
            reasoning += thought
        if content or end:
            content = self.text.mended(content, end)
        if reasoning or end:
            reasoning = self.reasoning.mended(reasoning, end)
        return self._chunk(content, reasoning)

    def _chunk(self, text: str, reasoning: str) -> Chunk | None:
        if text:
            self.text.add(text)
        if reasoning:
            self.reasoning.add(reasoning)
        elif not text:
            return None
        if self._first is None:
            self._first = time.monotonic()
        return _new(Chunk, (text, False, reasoning, (), None, None))

    def finish(self) -> list[Chunk]:
        """Return the last chunks, when the body has ended as it should, or ``done`` is set.

        Raises StreamInterruptedError if the reply has no end, and ProtocolError if there is nothing in it.
        """
        held = self._content("", "", end=True)
        self._ended = time.monotonic()
        calls = self._tools.calls()
        if not (self.done or self._finish_reason) and (self._first is not None or calls):
            raise StreamInterruptedError(
                f"the stream ended before the reply did: {self._END} came",
                hint=".partial is the reply so far; ask again for all of it",
                sent=True,
            )
        self._tools.check()
        if not self._finish_reason and self._first is None and not calls:
            raise ProtocolError(
                "the stream ended with nothing in it",
                hint="Most often the prompt does not fit into the model's context: send less, or load it with more",
                sent=True,
            )
        last = Chunk("", True, "", calls, self._finish_reason, self._usage)
        return [last] if held is None else [held, last]

    def completion(self, finish_reason: str | None = None) -> Completion:
        """Return the reply so far; ``finish_reason`` is the one to report if the server gave none."""
        self._content("", "", end=True)
        duration = (time.monotonic() if self._ended is None else self._ended) - self._started
        first = None if self._first is None else self._first - self._started
        text, reasoning = self.text.whole(), self.reasoning.whole()
        if not self._raw:
            text, unopened = split_unopened(text)
            reasoning += unopened
        return Completion(
            text=text,
            model=self._model or self._call.model,
            requested_model=self._call.model,
            finish_reason=self._finish_reason or finish_reason,
            reasoning=reasoning,
            tool_calls=self._tools.calls(),
            usage=self._usage,
            stats=self._read_stats(first, duration),
            id=self._id,
            provider_id=self._call.provider_id,
        )


_DRAFT_COUNTS = [f"{kind}_draft_tokens_count" for kind in ("total", "accepted", "rejected", "ignored")]


def read_stats(value: object, usage: Usage | None, first_s: float | None, duration_s: float) -> Stats:
    """Return the server's stats, completed by measured seconds: until the first text, and in total."""
    given = mapping(value)
    generation = duration_s - (first_s or 0.0)
    tokens = usage.completion_tokens if usage else None
    # One token of a stream has no rate: its first text is also its end.
    has_rate = tokens and generation > 0 and (tokens > 1 or first_s is None)
    measured = tokens / generation if tokens and has_rate else None
    if not given:
        return Stats(measured, first_s, generation)
    names = ("tokens_per_second", "time_to_first_token", "generation_time")
    speed, first, time_s = (number(given.get(name)) for name in names)
    return Stats(
        tokens_per_second=measured if speed is None else speed,
        time_to_first_token_s=first_s if first is None else first,
        generation_time_s=generation if time_s is None else time_s,
        stop_reason=text_or_none(given.get("stop_reason")),
        draft_model=text_or_none(given.get("draft_model")),
        **{name: count(given.get(name)) for name in _DRAFT_COUNTS},
    )


_STRUCTURE = re.compile(r'\\.?|["{}\[\]]', re.S)


class _Slot:
    """A tool call whose pieces are still coming."""

    def __init__(self, index: object = None) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.repeats_name = False
        """True if the server sends the name with each piece."""
        self.arguments: list[str] = []
        self._seen = 0
        self._depth = 0
        self._quoted = self._escaped = self._whole = False

    def is_whole(self) -> bool:
        """Return True if all brackets and quotes of the arguments are closed. Reads each piece only once."""
        for piece in self.arguments[self._seen :]:
            start, self._escaped = int(self._escaped), False
            for match in _STRUCTURE.finditer(piece, start):
                mark = match[0]
                if mark[0] == "\\":
                    self._escaped = len(mark) == 1  # the escaped character is in the next piece
                    continue
                if mark == '"':
                    self._quoted = not self._quoted
                elif not self._quoted:
                    self._depth += 1 if mark in "{[" else -1
                self._whole = not self._quoted and self._depth <= 0
        self._seen = len(self.arguments)
        return self._whole


class ToolCallAssembly:
    """Joins the pieces of tool calls: by id, else by index, else to the last one.

    Another id or another name under an index that is taken begins another call (some servers give every call the index
    0, or none), and so does the same name after whole arguments.
    """

    def __init__(self, offered: Sequence[str] = ()) -> None:
        self._offered = offered
        self._slots: list[_Slot] = []
        # By ("id", …), ("index", …) and ("key", …).
        self._found: dict[tuple[str, str], _Slot] = {}
        # A description of the first malformed piece, and whether a piece was empty.
        self._wrong: str | None = None
        self._has_empty = False

    def add(self, pieces: Any, whole: bool = False) -> None:
        """Add the value of ``tool_calls``: pieces, or the ``whole`` calls of a reply that is not a stream.

        A malformed piece is left out; ``check`` raises it at the end.
        """
        pieces = pieces if self._is(pieces or None, list, "tool_calls") else []
        pieces = self.objects([piece for piece in pieces if piece is not None], "a tool call")
        for position, piece in enumerate(pieces):
            if not whole and not any(piece[name] or name == "function" for name in piece if name not in _PLACE):
                self._has_empty = True  # it may come before the call, or after it
                continue
            index = piece.get("index")
            if index is None and len(pieces) > 1:
                index = f"position {position}"  # entries that stand beside each other are different calls
            id_, name, arguments = self._read(piece)
            slot = None if whole else self._find(id_, index, name, arguments)
            self._grow(slot or self._new(index), id_, name, arguments)

    def objects(self, values: Sequence[Any], what: str) -> list[dict[str, Any]]:
        """Return the objects among ``values``; ``check`` raises anything else."""
        found = [value for value in values if isinstance(value, dict)]
        if len(found) < len(values):
            self._note(next(value for value in values if not isinstance(value, dict)), what)
        return found

    def add_to(self, key: str, piece: Mapping[str, Any]) -> None:
        """Add a piece to the call with that ``key``; ignore the piece's own id and index."""
        slot = self._found["key", key] = self._found.get(("key", key)) or self._new(None)
        self._grow(slot, *self._read(piece))

    def _find(self, id_: str, index: object, name: str, arguments: str) -> _Slot | None:
        """Return the call that a piece continues, or None if it begins another."""
        slot = self._found.get(("id", id_))
        if slot is None or (index is not None and slot.index not in (None, index)):
            last = self._slots[-1] if self._slots and not id_ else None
            slot = last if index is None else self._found.get(("index", str(index)))
        if slot is None or (id_ and slot.id not in ("", id_)):
            return None
        if name and slot.name:
            begins = slot.name not in self._offered and not slot.arguments
            if begins and any(each.startswith(slot.name + name) for each in self._offered):
                slot.name += name  # that came in pieces
            # With an id, it is the same call. After whole arguments it is another, unless each piece has the name.
            elif name != slot.name or (not id_ and slot.is_whole() and (arguments or not slot.repeats_name)):
                return None
            else:
                slot.repeats_name = True
        return slot

    def _new(self, index: object) -> _Slot:
        slot = self._found["index", str(index)] = _Slot(index)
        self._slots.append(slot)
        return slot

    def _grow(self, slot: _Slot, id_: str, name: str, arguments: str) -> None:
        slot.name = slot.name or name
        if id_ and not slot.id:
            slot.id = id_
            self._found["id", id_] = slot
        if arguments:
            slot.arguments.append(arguments)

    def _read(self, piece: Mapping[str, Any]) -> tuple[str, str, str]:
        """Return the id, the name and the arguments of a piece, each empty if it is left out."""
        id_: Any = piece.get("id")
        function: Any = piece.get("function")
        if not self._is(function, dict, "the function of a tool call"):
            function = piece  # some servers leave that level out
        name, arguments = function.get("name"), function.get("arguments")
        name = self.name_of(name) if self._is(name, str, "the name of a tool call") else ""
        if arguments is not None and not isinstance(arguments, str):
            self._is(arguments, dict, f"the arguments of the tool call {name[:100]!r}")
            arguments = json.dumps(arguments, ensure_ascii=False)
        self._is(id_, (str, int), "the id of a tool call")
        return str(id_ or ""), name, arguments or ""

    def _is(self, value: object, kind: type | tuple[type, ...], what: str) -> bool:
        """Return True if ``value`` is of that type; note any other value, unless it is None."""
        if isinstance(value, kind):
            return True
        if value is not None:
            self._note(value, what)
        return False

    def _note(self, wrong: object, what: str) -> None:
        self._wrong = self._wrong or f"{what} is {type(wrong).__name__}: {preview(json.dumps(wrong))}"

    def check(self, completion: Completion | None = None) -> None:
        """Raise ProtocolError if a call was malformed; its ``partial`` is ``completion``."""
        wrong = self._wrong
        names = [slot.name.strip() for slot in self._slots] or [""] * self._has_empty
        if wrong is None and "" in names:
            wrong = "a tool call has no name"
        if wrong is not None:
            hint = "Ask again; if it happens each time, the server misreads the output of the model: try another model"
            error = ProtocolError(f"the reply is malformed: {wrong}", hint=hint, sent=True)
            # Without the raw reply, which may repeat a secret.
            error.partial = completion and dataclasses.replace(completion, raw=None)
            raise error

    def calls(self) -> tuple[ToolCall, ...]:
        """Return the calls so far, each with a different id: LM Studio refuses an empty one."""
        taken: set[str] = set()
        slots = [slot for slot in self._slots if slot.name or slot.arguments]
        for slot in slots:
            if not slot.id or slot.id in taken:
                slot.id = f"call_{os.urandom(6).hex()}"
            taken.add(slot.id)
        return tuple(ToolCall(slot.id, slot.name, raw_arguments=with_pairs("".join(slot.arguments))) for slot in slots)

    def name_of(self, name: str) -> str:
        """Return the name of the offered tool that ``name`` means, or ``name`` itself if no tool or two can be meant.

        LM Studio turns names into snake_case (since 0.3.23). gpt-oss addresses a call to ``functions.weather``, and the
        text around that can get into the name; it is never a part of one, even if the tool was not offered.
        """
        if name in self._offered:
            return name
        address = next(filter(None, (re.search(pattern, name) for pattern in _ADDRESSES)), None)
        bare = address[1] if address else ""
        if bare in self._offered:
            return bare
        for candidate in (name, bare):
            alike = [each for each in self._offered if _folded(each) == _folded(candidate)]
            exact = [each for each in alike if each == candidate]
            if len(exact or alike) == 1:
                return (exact or alike)[0]
        return bare if bare and re.search(_MARKUP, name) else name


# The fields of a piece that are not about the call itself.
_PLACE = ("index", "type")

# The name after its namespace, as the recipient of a message, or before the markup that is left of one.
_ADDRESSES = [
    r"(?<![\w.])functions[.:/]([^\s<:]+)",
    r"\bto=([^\s<]+)",
    r"^\s*(?!assistant\b)([^\s<]+)\s*(?:<\||json\b|code\b)",
]
_MARKUP = r"<\||\bto="


def _folded(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()
