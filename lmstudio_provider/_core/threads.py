"""Several things asked at once."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Callable, TypeVar

_Value = TypeVar("_Value")


def run_in_daemon_thread(function: Callable[..., _Value], *arguments: object) -> Future[_Value]:
    """Call ``function`` in a thread of its own, which the end of the program does not wait for."""
    # No executor: it joins its threads when the interpreter ends, also those that a silent server holds.
    future: Future[_Value] = Future()

    def run() -> None:
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)

    try:
        threading.Thread(target=run, name="lmstudio-ask", daemon=True).start()
    except RuntimeError:  # no more threads: it is asked by this one
        run()
    return future
