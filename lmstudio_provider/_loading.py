"""Loading a model for a while, so that it is unloaded again whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time

from ._exceptions import ModelNotFoundError, ProviderError, RequestTimeoutError
from ._http_provider import HTTPProvider
from ._native_types import LoadedModel
from ._session import Plan
from ._types import Call, Timeouts
from ._wire import native

logger = logging.getLogger("lmstudio_provider")

# For how long at least the answer is waited for, where the caller no longer does.
_PATIENCE_S = 600.0
# Ctrl-C wakes no thread that waits for a lock on Windows: it is noticed at the end of a wait of this length.
_WAIT_S = 1.0


class Loading:
    """Loads a model in a thread, so that nothing that happens to the caller cuts the call off.

    Only the answer tells which instance is to be unloaded again: where the caller leaves before it came, the thread
    stays, and unloads. It has connections of its own, because the caller may close the provider, and is no daemon: a
    program that ends waits for it.
    """

    def __init__(self, provider: HTTPProvider, call: Call) -> None:
        self._provider = provider
        self._call = call
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._outcome: LoadedModel | BaseException | None = None
        self._released = False

    def wait(self, plan: Plan) -> LoadedModel:
        """Load the model; raises ProviderError, and RequestTimeoutError where it takes longer than ``plan`` allows."""
        limit = plan.timeouts.first_byte
        patience = None if limit is None else max(limit, _PATIENCE_S)
        started = time.monotonic()
        threading.Thread(target=self._load, args=[plan.timeouts.connect, patience], name="lmstudio-load").start()
        ends = [] if limit is None else [(limit, "first_byte")]
        if plan.deadline is not None:
            ends.append((plan.deadline.left(), "deadline"))
        longest, name = min(ends, default=(None, ""))
        while not self._done.wait(_WAIT_S if longest is None else min(_WAIT_S, max(0.0, started + longest - _now()))):
            if longest is not None and _now() >= started + longest:
                raise RequestTimeoutError(
                    f"the model was not loaded after {_now() - started:.1f} s; when it is, it will be unloaded",
                    hint=f"Raise timeout=Timeouts({name}=...)" if name == "first_byte" else "Raise deadline=",
                    limit=name,
                    waited_s=_now() - started,
                    sent=True,
                )
        if isinstance(self._outcome, LoadedModel):
            return self._outcome
        error, self._outcome = self._outcome, None  # no cycle of error, traceback and self
        raise error or RuntimeError("the thread that loads has ended without an outcome")

    def _load(self, connect_s: float | None, patience_s: float | None) -> None:
        try:
            with self._provider._twin() as twin:
                session, plan = twin._where(Timeouts(connect_s, patience_s, patience_s), None)
                outcome: LoadedModel | BaseException = session.ask(self._call, plan, native.load_reply)
        except BaseException as error:  # it is the caller's
            outcome = error
        with self._lock:
            self._outcome, left = outcome, self._released
        self._done.set()
        if left and isinstance(outcome, LoadedModel):
            self._unload(outcome, [])

    def release(self, quiet: bool) -> bool:
        """Unload what was loaded, or have it unloaded when it is; tell whether anything was.

        What goes wrong is raised, or, where that is to be ``quiet``, logged. Done once, in the process that loaded.
        """
        with self._lock:
            loaded, again, self._released = self._outcome, self._released, True
        if not isinstance(loaded, LoadedModel) or again or self._pid != os.getpid():
            return False
        failures: list[ProviderError] = []
        # In a thread, which no KeyboardInterrupt reaches.
        unloading = threading.Thread(target=self._unload, args=[loaded, failures], name="lmstudio-unload")
        unloading.start()
        unloading.join()
        if failures and not quiet:
            raise failures.pop()
        return True

    def _unload(self, loaded: LoadedModel, failures: list[ProviderError]) -> None:
        try:
            # That it is gone already, by auto-evict or by somebody's hand, is as good.
            with self._provider._twin() as twin, contextlib.suppress(ModelNotFoundError):
                session, plan = twin._where(Timeouts(), None)
                session.ask(native.unload_call(loaded.instance_id), plan, native.unload_reply)
        except ProviderError as error:
            logger.warning("the model %r could not be unloaded: %s", loaded.instance_id, error)
            failures.append(error)


def _now() -> float:
    return time.monotonic()
