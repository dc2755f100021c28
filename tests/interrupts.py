"""Ctrl-C at any line of the package."""

from __future__ import annotations

import gc
import sys
from concurrent.futures import ThreadPoolExecutor

FILES = (
    "_provider/base_stream.py",
    "_provider/stream.py",
    "_provider/chunks.py",
    "_workflows/batch.py",
    "_workflows/cancelling.py",
    "_workflows/conversation.py",
    "_workflows/tool_turn.py",
    "_workflows/tools.py",
    "_native/conversation.py",
    "_native/stream.py",
    "_core/callbacks.py",
)


def lines_of(action):
    """Call ``action``; return each line of FILES that it ran, as code and number, and how often it ran."""
    times = {}

    def trace(frame, event, argument):
        if not frame.f_code.co_filename.replace("\\", "/").endswith(FILES):
            return None
        if event == "line":
            line = frame.f_code, frame.f_lineno
            times[line] = times.get(line, 0) + 1
        return trace

    _call(action, lambda before: trace)
    return times


def interrupted(action, line, time):
    """Call ``action`` with a KeyboardInterrupt when ``line`` runs for the ``time``th time; return whether it did."""
    code, number = line
    times = 0

    def tracing(before):
        def trace(frame, event, argument):
            nonlocal times
            if frame.f_code is not code:
                return None
            if event == "line" and frame.f_lineno == number:
                times += 1
                if times == time and not is_collecting(frame):
                    sys.settrace(before)
                    raise KeyboardInterrupt
            return trace

        return trace

    _call(action, tracing)
    gc.collect()
    return times >= time


def _call(action, tracing):
    """Call ``action`` in a new thread, with the trace function that ``tracing`` makes of the one before.

    Python 3.11 goes on taking an exception for the one that is handled if a trace function raises in its except
    clause: in the thread of the tests it would be the context of all later ones.
    """

    def run():
        before = sys.gettrace()
        sys.settrace(tracing(before))
        try:
            action()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(run).result()


def is_collecting(frame):
    """Return True if the frame belongs to a ``__del__``, from which nothing is raised."""
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None
