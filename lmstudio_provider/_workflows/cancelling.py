"""Calls that other threads make: waiting for them so that Ctrl-C is noticed, and ending them."""

from __future__ import annotations

import contextlib
import queue
from typing import Protocol, TypeVar

from .._core.threads import here

_Value = TypeVar("_Value")

# On Windows, Ctrl-C does not wake a thread that waits for a lock: Python notices it only at the end of such a wait.
_WAIT_S = 0.1


def take(items: queue.SimpleQueue[_Value]) -> _Value:
    """Wait for the next of ``items``; Ctrl-C ends the wait, on Windows too."""
    while True:
        with contextlib.suppress(queue.Empty):
            return items.get(timeout=_WAIT_S)


class Cancellable(Protocol):
    """A call that any thread can end."""

    def cancel(self) -> None:
        """End the call."""


class CancelScope:
    """Lets another thread end the calls that this thread makes in a ``with`` block."""

    def __init__(self) -> None:
        self.cancelled = False
        self._calls: list[Cancellable] = []

    def __enter__(self) -> None:
        self._outer, here.on_call = getattr(here, "on_call", None), self._add

    def __exit__(self, *error: object) -> None:
        here.on_call = self._outer

    def _add(self, call: Cancellable) -> None:
        self._calls.append(call)
        if self.cancelled:
            call.cancel()

    def cancel(self) -> None:
        """End the calls, and those that begin from now on, from any thread."""
        self.cancelled = True
        for call in self._calls.copy():
            call.cancel()
