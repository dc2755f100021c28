"""Ctrl-C at one line of the package, whichever it is."""

from __future__ import annotations

import gc
import sys
from concurrent.futures import ThreadPoolExecutor

FILES = (
    "_stream.py",
    "_chunks.py",
    "_conversation.py",
    "_tool_turn.py",
    "_tools.py",
    "_native_conversation.py",
    "_native_stream.py",
    "_callbacks.py",
)


def interrupted(action, step):
    """Call ``action`` with a KeyboardInterrupt at one line of FILES; return which, or None if there are fewer lines.

    In a thread of its own: Python 3.11 goes on taking an exception for the one that is handled if a trace function
    raises in its except clause, and it would be the context of all later ones.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_interrupted, action, step).result()


def _interrupted(action, step):
    steps = 0
    where = None

    def trace(frame, event, argument):
        nonlocal steps, where
        if not frame.f_code.co_filename.endswith(FILES):
            return None
        if event == "line":
            steps += 1
            if steps == step:
                sys.settrace(before)
                where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                if not is_collecting(frame):
                    raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    gc.collect()
    return where


def is_collecting(frame):
    """Tell whether the frame belongs to a ``__del__``, from which nothing is raised."""
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None
