"""Waiting for what another thread does, within the limits of a call."""

from __future__ import annotations

import math
import time
from typing import Callable

from ._exceptions import ProviderClosedError, RequestTimeoutError
from ._model_cache import DISCOVERY_S
from ._session import Plan

#: Ctrl-C wakes no thread that waits for a lock on Windows: it is noticed at the end of a wait of this length.
WAIT_S = 1.0


class Waiting:
    """The patience of one call: its ``deadline``, and its time until the first byte, from now on."""

    def __init__(self, plan: Plan, is_closed: Callable[[], bool]) -> None:
        ends: list[tuple[float, str]] = (
            [] if plan.timeouts.first_byte is None else [(plan.timeouts.first_byte, "first_byte")]
        )
        if plan.deadline is not None:
            ends.append((plan.deadline.left(), "deadline"))
        self._longest, self._limit = min(ends, default=(math.inf, ""))
        self._started = time.monotonic()
        self._is_closed = is_closed

    def wait(self, wait: Callable[[float], object], missed: str, sent: bool = False) -> None:
        """Call ``wait(seconds)`` until it is true; raises RequestTimeoutError, ProviderClosedError.

        ``missed`` is what has not happened, for the message.
        """
        while not wait(min(WAIT_S, max(0.0, self._left()))):
            if self._is_closed():
                closed = ProviderClosedError.during_call()
                closed.sent = sent
                raise closed
            if self._left() <= 0:
                waited_s = time.monotonic() - self._started
                how = "deadline=" if self._limit == "deadline" else f"timeout=Timeouts({self._limit}=...)"
                told = {"hint": f"Raise {how}", "limit": self._limit, "waited_s": waited_s, "sent": sent}
                raise RequestTimeoutError(f"{missed} after {waited_s:.1f} s", **told)

    def _left(self) -> float:
        return self._started + self._longest - time.monotonic()


def patience(plan: Plan) -> float:
    """Return how long a discovery may be waited for, so that the call has at least half of its time left."""
    limits = [DISCOVERY_S]
    if plan.timeouts.first_byte is not None:
        limits.append(plan.timeouts.first_byte / 2)
    if plan.deadline is not None:
        limits.append(plan.deadline.left() / 2)
    return min(limits)
