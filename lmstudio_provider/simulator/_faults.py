"""What a test lets go wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from http import HTTPStatus
from typing import Literal, Mapping

from ._server import Whole, error

# Each is a piece of a reply: the reply breaks off, or stalls, before the bytes that hold it.
_CUT, _STALL = "[the simulator cuts the reply here]", "[the simulator stalls here]"
_KINDS = ("refuse", "stall", "garbage")
_ONE_OF = ("kind", "cut_after", "stall_after", "status")
_LENGTHS = "Content-Length and Transfer-Encoding"
_PAGE = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>This page is simulated.</body></html>\n"
_HTML = {"Content-Type": "text/html; charset=utf-8"}


@dataclass(frozen=True)
class Fault:
    """A fault of a server: ``Fault("stall")``, ``Fault(cut_after=5)`` or ``Fault(status=503)``.

    Among the ``replies`` of a stand-in, it is the fault of one generated reply. As its ``fault``, it takes the place of
    every answer, also of one that is not generated.
    """

    kind: Literal["refuse", "stall", "garbage"] | None = None
    """"refuse": connections are refused, and open ones are closed; in the place of one reply, the connection is closed
    without an answer. "stall": nothing is answered until the client leaves. "garbage": a page of HTML is the answer."""
    cut_after: int | None = None
    """The connection is closed after so many pieces of the thoughts and the text, and before the end of the reply."""
    stall_after: int | None = None
    """Nothing more comes after so many pieces, until the client leaves."""
    status: int | None = None
    """The status of an error reply."""
    headers: Mapping[str, str | int] = field(default_factory=dict)
    """More headers for ``status``, such as ``{"Retry-After": 1}``."""
    body: str | bytes | None = None
    """The body for ``status``; by default, an error in JSON."""

    def __post_init__(self) -> None:
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        which = [f"{name}={given[name]!r}" for name in _ONE_OF if given[name] is not None]
        if len(which) != 1:
            has = f"has more than one of {', '.join(_ONE_OF)}" if which else f"needs one of {', '.join(_ONE_OF)}"
            raise ValueError(f"Fault({', '.join(which)}) {has}; write Fault('stall') or Fault(status=503)")
        if self.kind not in (None, *_KINDS):
            raise ValueError(f"kind={self.kind!r} is not a fault; use 'refuse', 'stall' or 'garbage'")
        for name in ("cut_after", "stall_after"):
            if given[name] is not None and (type(given[name]) is not int or given[name] < 0):
                raise ValueError(f"{name}={given[name]!r} is not valid; use a whole number of pieces, 0 or more")
        if self.status is None:
            if self.headers or self.body is not None:
                raise ValueError("headers and body go with status; write Fault(status=200, body='...')")
        elif type(self.status) is not int or not 200 <= self.status <= 599:
            raise ValueError(f"status={self.status!r} is not valid; use one of 200 to 599")
        if not isinstance(self.headers, Mapping) or not all(map(_is_header, self.headers.items())):
            raise ValueError(
                f"headers={self.headers!r} is not valid; use a dict of names and values, without {_LENGTHS}"
            )
        if not isinstance(self.body, (str, bytes, type(None))):
            raise ValueError(f"body={self.body!r} is not valid; use a text or bytes")


def counts_pieces(fault: Fault) -> bool:
    """Return True if the fault comes within a reply."""
    return fault.cut_after is not None or fault.stall_after is not None


def answer_of(fault: Fault) -> Whole | None:
    """Return what comes instead of a reply; None if that is nothing."""
    if fault.kind == "garbage":
        return Whole(_PAGE.encode(), headers=_HTML)
    if fault.status is None:
        return None
    if fault.body is None:
        name = {each.value: f" {each.phrase}" for each in HTTPStatus}.get(fault.status, "")
        whole = error(fault.status, f"simulated fault: {fault.status}{name}")
    else:
        whole = Whole(fault.body.encode() if isinstance(fault.body, str) else fault.body, fault.status)
    names = {name.lower() for name in fault.headers}
    kept = {name: value for name, value in whole.headers.items() if name.lower() not in names}
    more = {name: str(value) for name, value in fault.headers.items()}
    return Whole(whole.content, fault.status, {**kept, **more})


class FaultError(Exception):
    """A fault takes the place of the reply."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


def marked(fault: Fault | None, reasoning: list[str], content: list[str]) -> tuple[list[str], list[str]]:
    """Return thoughts and text with the mark of a fault that comes within them."""
    if fault is None or not counts_pieces(fault):
        return reasoning, content
    mark, after = (_STALL, fault.stall_after) if fault.cut_after is None else (_CUT, fault.cut_after)
    thoughts, rest = reasoning[:after], reasoning[after:]
    if rest:
        return [*thoughts, mark, *rest], content
    at = (after or 0) - len(reasoning)
    return reasoning, [*content[:at], mark, *content[at:]]


def until_fault(data: bytes) -> tuple[bytes, str | None]:
    """Return the bytes before the mark of a fault, and "cut" or "stall" if there is one."""
    for mark, what in ((_CUT, "cut"), (_STALL, "stall")):
        before, found, _ = data.partition(mark.encode())
        if found:
            return before, what
    return data, None


def _is_header(item: tuple[object, object]) -> bool:
    name, value = item
    return (
        isinstance(name, str)
        and name.title() not in _LENGTHS.split(" and ")
        and re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) is not None
        and (
            type(value) is int
            or (isinstance(value, str) and re.fullmatch(r"[\t\x20-\x7e\xa0-\xff]*", value) is not None)
        )
    )
