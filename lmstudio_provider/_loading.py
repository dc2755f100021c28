"""Loading a model for a while, so that it is unloaded again whatever happens meanwhile."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import logging
import os
import threading
import time
import weakref
from typing import Any, Callable

from ._callbacks import warn
from ._exceptions import ModelNotFoundError, ProviderError, RequestTimeoutError
from ._http_provider import HTTPProvider
from ._local_server import WAIT_S
from ._model_cache import ModelCache
from ._native_types import LoadedModel
from ._session import Plan
from ._types import Call, Timeouts
from ._wire import native

logger = logging.getLogger("lmstudio_provider")

# For how long at least the answer is waited for, where the caller no longer does.
_PATIENCE_S = 600.0
# For how long it is waited for a model to be unloaded, unless the caller is less patient.
_UNLOAD_S = 30.0


class Loading:
    """Loads a model in a thread, so that nothing that happens to the caller cuts the call off.

    Only the answer tells which instance is to be unloaded again: where the caller leaves before it came, the thread
    stays, and unloads. It has connections of its own, because the caller may close the provider, and stays with the
    server that there was at first; it is no daemon: a program that ends waits for it. Those that need the model are its
    holders; when the last one has left, or is gone without a word, it is unloaded.
    """

    def __init__(self, provider: HTTPProvider, known: ModelCache, call: Call, plan: Plan, holder: object) -> None:
        self._session = provider._new_session(plan.config)
        self._known = known
        self._call = call
        self._config = plan.config
        limits = plan.timeouts
        self._unload_limits = dataclasses.replace(limits, first_byte=min(limits.first_byte or _UNLOAD_S, _UNLOAD_S))
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._outcome: LoadedModel | BaseException | None = None
        self._holders = {holder}
        self._unloading = self._begun = self._told = False
        self._gone = threading.Event()

    def join(self, holder: object) -> bool:
        """Hold the model, too; False where it is not ours, or was just being unloaded, and is gone now."""
        if self._pid != os.getpid():
            return False
        with self._lock:
            if not self._unloading:
                self._holders.add(holder)
                return True
        while not self._gone.wait(WAIT_S):
            continue
        return False

    def wait(self, plan: Plan) -> LoadedModel:
        """Load the model; raises ProviderError, and RequestTimeoutError where it takes longer than ``plan`` allows."""
        limit = plan.timeouts.first_byte
        patience = None if limit is None else max(limit, _PATIENCE_S)
        started = time.monotonic()
        self._begun = True
        thread = threading.Thread(target=self._load, args=[plan.timeouts.connect, patience], name="lmstudio-load")
        try:
            thread.start()
        except RuntimeError as why:
            self._begun = False
            raise ProviderError(f"no thread could be started in which to load the model: {why}") from why
        ends = [] if limit is None else [(limit, "first_byte")]
        if plan.deadline is not None:
            ends.append((plan.deadline.left(), "deadline"))
        longest, name = min(ends, default=(None, ""))
        while not self._done.wait(WAIT_S if longest is None else min(WAIT_S, max(0.0, started + longest - _now()))):
            if longest is not None and _now() >= started + longest:
                how = f"Raise timeout=Timeouts({name}=...)" if name == "first_byte" else "Raise deadline="
                self._told = True
                raise RequestTimeoutError(
                    f"the model was not loaded after {_now() - started:.1f} s; {_LATER}",
                    hint=how,
                    limit=name,
                    waited_s=_now() - started,
                    sent=True,
                )
        if isinstance(self._outcome, LoadedModel):
            return self._outcome
        error, self._outcome = self._outcome, None  # no cycle of error, traceback and self
        raise error or RuntimeError("the thread that loads has ended without an outcome")

    def _load(self, connect_s: float | None, patience_s: float | None) -> None:
        self._session.cache.fill(list(self._known.models))  # an error tells those that may have been meant
        try:
            outcome: LoadedModel | BaseException = self._ask(
                self._call, Timeouts(connect_s, patience_s, patience_s), native.load_reply
            )
        except BaseException as error:  # it is the caller's
            outcome = error
        if isinstance(outcome, LoadedModel):
            if not _LOADINGS:
                atexit.unregister(_unload_all)
                atexit.register(_unload_all)
            _LOADINGS.add(self)
        self._outcome = outcome
        self._done.set()
        self._unload([])

    def release(self, holder: object, quiet: bool) -> bool:
        """Leave; the last one has the model unloaded, or sees to it that it will be. Tell whether it was.

        What goes wrong is raised, or, where that is to be ``quiet``, logged.
        """
        # Until the thread below runs nothing is noted that would keep another try from unloading: there may be a
        # KeyboardInterrupt at any place.
        self._holders.discard(holder)
        if self._begun and not self._done.is_set() and not self._told:
            with contextlib.suppress(RuntimeWarning):  # where the user has made an error of it
                warn(f"the model is still being loaded; {_LATER}. Ctrl-C once more leaves it loaded", RuntimeWarning)
        if not self._is_wanted():
            return False
        failures: list[ProviderError] = []
        thread = self._unload_in_thread(failures)
        if thread is not None:
            thread.join()
        if failures and not quiet:
            raise failures.pop()
        return True

    def _unload_in_thread(self, failures: list[ProviderError]) -> threading.Thread | None:
        """Unload where no KeyboardInterrupt comes."""
        thread = threading.Thread(target=self._unload, args=[failures], name="lmstudio-unload")
        try:
            thread.start()
        except RuntimeError:  # there are no more threads, or none any more because the program ends
            self._unload(failures)
            return None
        return thread

    def _is_wanted(self) -> bool:
        """Whether the model is to be unloaded now."""
        ours = self._pid == os.getpid() and isinstance(self._outcome, LoadedModel)
        return ours and not self._holders and not self._unloading

    def _unload(self, failures: list[ProviderError]) -> None:
        with self._lock:
            if not self._is_wanted():
                return
            self._unloading = True
        loaded: Any = self._outcome
        try:
            # That it is gone already, by auto-evict or by somebody's hand, is as good.
            with contextlib.suppress(ModelNotFoundError):
                self._ask(native.unload_call(loaded.instance_id), self._unload_limits, native.unload_reply)
        except ProviderError as error:
            logger.warning("the model %r could not be unloaded: %s", loaded.instance_id, error)
            failures.append(error)
        finally:
            self._gone.set()

    def _ask(self, call: Call, timeouts: Timeouts, read: Callable[[Any], Any]) -> Any:
        try:
            return self._session.ask(call, Plan(self._config, timeouts, None), read)
        finally:
            self._session.retire()

    def __del__(self) -> None:
        """All of the holders were interrupted before they could leave."""
        if getattr(self, "_holders", None) is not None:
            self._holders.clear()
            if self._is_wanted():
                self._unload_in_thread([])


# What is loaded for blocks that are not left yet.
_LOADINGS: weakref.WeakSet[Loading] = weakref.WeakSet()


def _unload_all() -> None:
    """The program ends inside of blocks that nobody will leave."""
    for loading in list(_LOADINGS):
        loading._holders.clear()
        if loading._is_wanted():  # in a fork it is not, and the lock may be held by a thread that is not here
            loading._unload([])


_LATER = f"when it is, it will be unloaded: a program that ends before waits for that, for {_PATIENCE_S:g} s at most"


def _now() -> float:
    return time.monotonic()
