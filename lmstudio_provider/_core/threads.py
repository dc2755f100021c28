"""Work that is done in a thread beside the caller's."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Callable, TypeVar

_Value = TypeVar("_Value")


def run_in_daemon_thread(function: Callable[..., _Value], *arguments: object) -> Future[_Value]:
    """Call ``function`` in a new thread, which does not keep the program from ending, and return its future."""
    # An executor would join its threads when the interpreter ends, and so wait for a server that is silent.
    future: Future[_Value] = Future()

    def run() -> None:
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)

    try:
        threading.Thread(target=run, name="lmstudio-ask", daemon=True).start()
    except RuntimeError:  # the system allows no more threads: this one does the work
        run()
    return future
