"""How far a download is, and how long it will take."""

from __future__ import annotations

import time
from typing import Callable

from ._types import Progress


class Meter:
    """Adds up the bytes of the parts of a download; what it shows never goes back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._completed: dict[str, int] = {}
        self._totals: dict[str, int] = {}
        # What was there before is no speed: a download may go on with one that was broken off.
        self._begin: tuple[float, int] | None = None

    def update(self, status: str, part: str | None, completed: int | None, total: int | None) -> Progress:
        """Note what is told of a ``part``, in bytes, and return how far all of them are."""
        if part is not None:
            self._completed[part] = max(self._completed.get(part, 0), completed or 0)
            self._totals[part] = max(self._totals.get(part, 0), total or 0, self._completed[part])
        done, whole = sum(self._completed.values()), sum(self._totals.values())
        now = self._clock()
        if self._begin is None and done:
            self._begin = now, done
        speed = left = None
        if self._begin is not None and now > self._begin[0] and done > self._begin[1]:
            speed = (done - self._begin[1]) / (now - self._begin[0])
            left = (whole - done) / speed
        return Progress(status, done, whole or None, speed, left)
