"""A flag that one thread sets and another waits for."""

from __future__ import annotations

import contextlib
import threading


class Flag:
    """A threading.Event for one thread that waits.

    Of that one, Ctrl-C may leave the lock locked, and a signal handler that sets it may wait for itself.
    """

    def __init__(self) -> None:
        self._set = False
        self._gate = threading.Lock()
        self._gate.acquire()

    def set(self) -> None:
        self._set = True
        with contextlib.suppress(RuntimeError):  # it is open
            self._gate.release()

    def is_set(self) -> bool:
        return self._set

    def wait(self, seconds: float) -> bool:
        """Return True as soon as it is set, False after ``seconds``."""
        return self._set or self._gate.acquire(timeout=seconds)
