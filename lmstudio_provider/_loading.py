"""Loading a model for a while, so that it is unloaded again whatever happens meanwhile."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import logging
import os
import threading
import weakref
from typing import Any, Callable

from ._callbacks import warn
from ._exceptions import ModelNotFoundError, ProviderError
from ._http_provider import HTTPProvider
from ._model_cache import ModelCache
from ._native_types import LoadedModel
from ._session import Plan
from ._types import Call, Timeouts
from ._waiting import WAIT_S, Waiting
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
        limits = [plan.timeouts.first_byte, None if plan.deadline is None else plan.deadline.seconds]
        shortest = min([_UNLOAD_S, *filter(None, limits)])
        self._unload_limits = dataclasses.replace(plan.timeouts, first_byte=shortest)
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._outcome: LoadedModel | BaseException | None = None
        self._holders = {holder}
        self._unloading = self._begun = self._told = False
        self._gone = threading.Event()

    def join(self, holder: object, waiting: Waiting) -> bool:
        """Hold the model, too; False where it is not ours, or was just being unloaded, and is gone now."""
        if self._pid != os.getpid():
            return False
        with self._lock:
            if not self._unloading:
                self._holders.add(holder)
                return True
        waiting.wait(self._gone.wait, "another thread was still unloading the model")
        return False

    def disown(self) -> None:
        """Unload nothing any more."""
        with self._lock:
            self._unloading = True
        self._gone.set()

    def wait(self, plan: Plan, waiting: Waiting) -> LoadedModel:
        """Load the model; raises ProviderError, and RequestTimeoutError where it takes longer than ``plan`` allows."""
        limit = plan.timeouts.first_byte
        patience = None if limit is None else max(limit, _PATIENCE_S)
        self._begun = True
        try:
            self._start(self._load, plan.timeouts.connect, patience)
        except RuntimeError as why:
            self._begun = False
            raise ProviderError(f"no thread could be started in which to load the model: {why}") from why
        try:
            waiting.wait(self._done.wait, "the model was not loaded", sent=True)
        except ProviderError as error:
            self._told = True
            error.message += f"; {_LATER}"
            raise
        if isinstance(self._outcome, LoadedModel):
            return self._outcome
        failure, self._outcome = self._outcome, None  # no cycle of error, traceback and self
        raise failure or RuntimeError("the thread that loads has ended without an outcome")

    def _start(self, target: Callable[..., object], *arguments: object) -> None:
        """Have a thread do it, which a program that ends waits for, also where its caller is a daemon."""
        threading.Thread(target=target, args=arguments, name="lmstudio-load", daemon=False).start()

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
        over = self._unload_in_thread(failures)
        while not over.wait(WAIT_S):  # a join() that is interrupted would count the thread as ended
            continue
        if failures and not quiet:
            raise failures.pop()
        return True

    def _unload_in_thread(self, failures: list[ProviderError]) -> threading.Event:
        """Unload where no KeyboardInterrupt comes; what is returned is set when that is over."""
        over = threading.Event()

        def unload() -> None:
            try:
                self._unload(failures)
            finally:
                over.set()

        try:
            self._start(unload)
        except RuntimeError:  # there are no more threads, or none any more because the program ends
            unload()
        return over

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
            error.hint = f"It may still be in memory: native.unload({loaded.instance_id!r}) tries again"
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
