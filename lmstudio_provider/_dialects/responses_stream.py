"""A streamed reply of ``/v1/responses``: events go in, chunks come out, and the whole reply is there at the end."""

from __future__ import annotations

import json
from typing import Any, Mapping, Sequence

from .._core.types import Call, Chunk
from .accumulator import GrowingText
from .assembly import ToolCallAssembly
from .errors import ErrorContext, find_fault
from .json_text import member, text_or_none
from .openai import content_text
from .responses import (
    ANSWER,
    REASONING,
    began_anew,
    call_piece,
    call_pieces,
    failure,
    finish_reason,
    item_texts,
    items_of,
    part_kind,
    read_usage,
    texts_of,
    warn_of_lost_conversation,
)
from .typed_stream import TypedStream

_TEXTS = {"response.output_text": ANSWER, "response.reasoning_text": REASONING}
_CALL = "function_call"
#: Where an event that ends something has it whole; under "text", unless it is listed here.
_WHOLE = {"response.function_call_arguments": "arguments", "response.content_part": "part"}


class ResponsesStream(TypedStream):
    """Makes chunks of the events of one reply.

    Each text comes up to four times: in deltas, and whole at the end of its part, of its item and of the reply. Of a
    whole one counts what had not come before.
    """

    def __init__(self, call: Call, asked: ErrorContext, started: float) -> None:
        super().__init__(call, asked, started)
        self._offered = call.tools
        self._continues = call.continues
        self._began_anew = False
        # The place of each call, by where it came and its id, and of the last one that began there.
        self._calls: dict[tuple[str, str], str] = {}
        self._last_call: dict[str, str] = {}
        # What came, by kind, item and part.
        self._came: dict[tuple[str, str, str], GrowingText] = {}

    def finish(self) -> list[Chunk]:
        if self._continues and self._began_anew:
            warn_of_lost_conversation()
        return super().finish()

    def _take(self, kind: str, value: dict[str, Any], data: str) -> tuple[str, str]:
        what, _, step = kind.rpartition(".")
        place, index = _place(value, value.get("item_id")), value.get("content_index") or 0
        whole = step == "done"
        if what == "response":
            return self._response(step, value.get("response"), data)
        if what == "response.output_item":
            return self._item(value)
        if step in ("delta", "done"):
            text: Any = value.get(_WHOLE.get(what, "text") if whole else "delta")
            if what == "response.function_call_arguments":
                self._call(self._last_call.get(place, place), {"name": value.get("name")}, text, whole)
            elif what in _TEXTS:
                return self._said(_TEXTS[what], place, index, text, whole)
            elif what == "response.content_part" and part_kind(text) is not None:
                return self._said(str(part_kind(text)), place, index, text.get("text"), whole)
        return "", ""

    def _said(self, kind: str, place: str, index: object, text: object, whole: bool) -> tuple[str, str]:
        added = self._new((kind, place, str(index)), text, whole)
        return (added, "") if kind == ANSWER else ("", added)

    def _call(self, place: str, told: Mapping[str, Any], arguments: object, whole: bool) -> None:
        """Keep what was ``told`` of a call (its id, its name) and what is new of its arguments."""
        if isinstance(arguments, dict):
            arguments = json.dumps(arguments, ensure_ascii=False)
        if isinstance(arguments, (str, type(None))):  # else it is malformed, which is told when all has come
            arguments = self._new((_CALL, place, ""), arguments, whole)
        self._tools.add_to(place, call_piece({**told, "arguments": arguments}))

    def _new(self, where: tuple[str, str, str], text: object, whole: bool) -> str:
        """What of ``text`` had not come; raises ProtocolError where it is none."""
        came, new = self._came.setdefault(where, GrowingText()), content_text(text)
        if whole:
            goes_on = len(new) > came.length and new.startswith(came.whole())  # not joined for each of many ends
            new = new[came.length :] if goes_on else ""
        came.add(new)
        return new

    def _place_of_call(self, place: str, item: Mapping[str, Any]) -> str:
        """Return a place for a call of its own, also if the server counts every call as the same one."""
        id_ = str(item.get("call_id") or item.get("id") or "")
        found = self._calls.get((place, id_)) or self._calls.get((place, ""))
        if found is None:
            found = f"{place} {id_}" if id_ and place in self._last_call else self._last_call.get(place, place)
            self._last_call[place] = found
        self._calls[place, id_] = found
        return found

    def _item(self, value: Mapping[str, Any]) -> tuple[str, str]:
        item = member(value, "item", dict, "an event of the stream")
        place = _place(value, item.get("id"))
        if item.get("type") == "function_call":
            place = self._place_of_call(place, item)
            self._call(place, item, item.get("arguments"), whole=True)
        said = [self._said(kind, place, index, text, whole=True) for index, kind, text in item_texts(item)]
        return "".join(text for text, _ in said), "".join(reasoning for _, reasoning in said)

    def _response(self, step: str, response: Any, data: str) -> tuple[str, str]:
        response = response if isinstance(response, dict) else {}
        self._id = self._id or text_or_none(response.get("id"))
        self._model = self._model or text_or_none(response.get("model"))
        if step not in ("completed", "incomplete", "failed"):
            return "", ""
        self._usage = read_usage(response.get("usage"))
        self._began_anew = began_anew(response)
        items = items_of(response.get("output"))
        calls = call_pieces(items)
        if calls and len(calls) >= len(self._tools.calls()):  # whole, whatever came of them before
            self._tools = ToolCallAssembly(self._offered)
            self._tools.add(calls, whole=True)
        text, reasoning = (_rest(texts_of(items, kind), self._all_that_came(kind)) for kind in (ANSWER, REASONING))
        if step == "failed" or find_fault(response) is not None:
            self._content(text, reasoning)
            raise failure(response, data, self._asked)
        self._finish_reason, self.done = finish_reason(step, response, bool(self._tools.calls())), True
        return text, reasoning

    def _all_that_came(self, kind: str) -> list[str]:
        return [came.whole() for (each, _, _), came in self._came.items() if each == kind]


def _place(value: Mapping[str, Any], id_: object) -> str:
    """Which item an event is about: its index, else its id."""
    index = value.get("output_index")
    return str(id_ if index is None else index)


def _rest(texts: Sequence[str], came: Sequence[str]) -> str:
    """What of the ``texts`` of a whole reply had not come."""
    whole, before = "".join(texts), "".join(came)
    if whole.startswith(before):
        return whole[len(before) :]
    # They differ, be it in blanks alone: new is a text that has nothing to do with what came.
    known = {each.strip() for each in came if each.strip()}
    few = known if len(known) * len(texts) <= _MOST_COMPARED else ()
    return "".join(
        text
        for text in texts
        if text.strip() not in known and not any(each in text or text.strip() in each for each in few)
    )


# More pairs of texts than any reply has are not searched for each other: that takes time for each pair.
_MOST_COMPARED = 1000
