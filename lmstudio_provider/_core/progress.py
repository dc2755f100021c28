"""How far a download is, and how long it will take."""

from __future__ import annotations

import time
from typing import Callable

from .types import Progress


class Meter:
    """Adds up the bytes of the parts of a download; what it shows never goes back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._completed: dict[str, int] = {}
        self._totals: dict[str, int] = {}
        # What each part had at first is no speed: a download may go on with one that was broken off.
        self._before: dict[str, int] = {}
        self._began: float | None = None
        #: How far it is.
        self.progress = Progress("")

    def update(self, status: str, part: str | None, completed: int | None, total: int | None) -> Progress:
        """Note what is told of a ``part``, in bytes, and return how far all of them are."""
        now = self._clock()
        if part is not None:
            if completed:
                self._before.setdefault(part, completed)
                self._began = now if self._began is None else self._began
            self._completed[part] = max(self._completed.get(part, 0), completed or 0)
            self._totals[part] = max(self._totals.get(part, 0), total or 0, self._completed[part])
        done, whole = sum(self._completed.values()), sum(self._totals.values())
        fresh = done - sum(self._before.values())
        speed = left = None
        if self._began is not None and now > self._began and fresh > 0:
            speed = fresh / (now - self._began)
            left = (whole - done) / speed
        self.progress = Progress(status, done, whole or None, speed, left)
        return self.progress

    def restart(self) -> None:
        """Measure the speed anew, because what comes now is moved by something else."""
        self._before, self._began = dict(self._completed), None
