"""Work that is done in a thread beside the caller's."""

from __future__ import annotations

import contextlib
import sys
import threading
import time

# Seconds after which a waiter looks by itself, in case an interrupt came between its two steps of passing the lock on.
_LOOK_S = 0.5
# ``here.on_call``, if it is set, is called with each call that this thread begins; any thread may cancel() that.
here = threading.local()


class Event:
    """An event whose waiters may be interrupted at any moment.

    ``threading.Event`` is Python code. Ctrl-C inside it becomes ``RuntimeError: release unlocked lock``, or leaves
    its lock held, and the thread that sets the event waits for ever.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._lock = threading.Lock()  # held until the event is set, then passed on from waiter to waiter
        self._lock.acquire()

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        with contextlib.suppress(RuntimeError):  # it was set before
            self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most ``timeout`` seconds until the event is set; return True if it is."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self._is_set:
            left = _LOOK_S if end is None else min(_LOOK_S, end - time.monotonic())
            if left <= 0:
                break
            if self._lock.acquire(timeout=left):
                self._lock.release()
        return self._is_set


def start(thread: threading.Thread) -> bool:
    """Start ``thread``; return False if the system has no more threads, or the interpreter is shutting down."""
    handled = sys.exc_info()[1]  # the context of every error here, if the caller is in an except block
    try:
        thread.start()
    except RuntimeError as error:
        if error.__context__ not in (None, handled):  # an interrupt, which became this in an Event of Thread.start()
            raise error.__context__ from None
        return False
    return True
