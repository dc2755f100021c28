"""What puts tool calls together again out of their pieces."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass, field
from typing import Any, Sequence

from .._json import loads
from .._types import ToolCall


@dataclass
class _Slot:
    index: object = None
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)

    def is_whole(self) -> bool:
        """Whether the arguments have come to their end."""
        try:
            return isinstance(loads("".join(self.arguments)), dict)
        except (ValueError, RecursionError):
            return False


class ToolCallAssembly:
    """Joins the pieces of tool calls: by id, else by index, else by position, else to the last one.

    A call's id and name come once; later pieces leave them out, or send them empty. A new id under an index that is
    taken is another call (some servers count every call as 0). A name that LM Studio has turned into snake_case is
    that of the offered tool again (it does so since 0.3.23).
    """

    def __init__(self, offered: Sequence[str] = ()) -> None:
        self._offered = offered
        self._slots: list[_Slot] = []

    def add(self, pieces: object, whole: bool = False) -> None:
        """Take the value of ``tool_calls``: pieces, or the ``whole`` calls of a reply that is no stream."""
        pieces = pieces if isinstance(pieces, list) else []
        for position, piece in enumerate(pieces):
            if isinstance(piece, dict):
                index = piece.get("index")
                if whole or (index is None and len(pieces) > 1):
                    index = f"position {position}"  # entries that stand beside each other are different calls
                self._add(piece, index)

    def _add(self, piece: dict[str, Any], index: object) -> None:
        function = piece.get("function")
        function = function if isinstance(function, dict) else {}
        id_, name, arguments = piece.get("id"), function.get("name"), function.get("arguments")
        begins = bool(isinstance(name, str) and name and arguments)
        slot = self._slot(str(id_) if id_ else "", index, begins)
        slot.name = slot.name or (name if isinstance(name, str) else "")
        if isinstance(arguments, str):
            slot.arguments.append(arguments)
        elif arguments is not None:
            slot.arguments.append(json.dumps(arguments, ensure_ascii=False))

    def _slot(self, id_: str, index: object, begins: bool) -> _Slot:
        for slot in reversed(self._slots):
            if id_ and slot.id == id_ and (index is None or slot.index in (None, index)):
                return slot
            same_index = slot.index == index if index is not None else not id_
            if same_index and begins and slot.is_whole():
                break  # a name and arguments after whole arguments are another call
            if same_index and not (id_ and slot.id):
                slot.id = slot.id or id_
                return slot
        self._slots.append(_Slot(index, id_))
        return self._slots[-1]

    def calls(self) -> tuple[ToolCall, ...]:
        """The calls so far; an id that the server left out is made up, because it refuses to be sent an empty one."""
        slots = [slot for slot in self._slots if slot.name or slot.arguments]
        for slot in slots:
            slot.id = slot.id or f"call_{uuid.uuid4().hex[:12]}"
        return tuple(
            ToolCall(slot.id, self.name_of(slot.name), raw_arguments="".join(slot.arguments)) for slot in slots
        )

    def name_of(self, name: str) -> str:
        """Return the name of the offered tool that ``name`` means, else itself."""
        alike = [each for each in self._offered if _folded(each) == _folded(name)]
        return alike[0] if len(alike) == 1 and name not in self._offered else name


def _folded(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()
