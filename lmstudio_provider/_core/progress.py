"""The progress of a download, and the time that it will take."""

from __future__ import annotations

import time
from typing import Callable

from .types import Progress


class Meter:
    """Adds up the bytes of the parts of a download; the sums never decrease."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._completed: dict[str, int] = {}
        self._totals: dict[str, int] = {}
        # The first report of each part does not count for the speed: the server may resume an old download.
        self._before: dict[str, int] = {}
        self._began: float | None = None
        self.progress = Progress("")

    def update(self, status: str, part: str | None, completed: int | None, total: int | None) -> Progress:
        """Note the bytes of a ``part``, and return the progress of all parts."""
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
        """Measure the speed anew, because another kind of work begins."""
        self._before, self._began = dict(self._completed), None
