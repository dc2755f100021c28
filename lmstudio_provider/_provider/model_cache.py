"""The list of a server's models, filled in the background."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import Callable, Iterable

from .._core.errors import ProviderError
from .._core.threads import Event, start
from .._core.types import ModelInfo

logger = logging.getLogger("lmstudio_provider")

# Seconds that a discovery may take.
DISCOVERY_S = 3.0
# Seconds between two discoveries that find no models, if calls only look at the cache.
_RETRY_S = 1.0


class ModelCache:
    """Holds the models; ``ensure`` starts a thread that asks for missing or old ones. Threads can share it."""

    def __init__(self, ttl: float, background: bool) -> None:
        self._ttl = ttl
        self._background = background
        self._lock = threading.RLock()  # a signal handler may close the provider in the middle
        self._thread: threading.Thread | None = None
        self._done = Event()  # set while no discovery is under way
        self._done.set()
        self._closed = False
        self._filled_at: float | None = None
        self._tried_at = float("-inf")
        self._models: tuple[ModelInfo, ...] = ()
        # How often the models were changed: loaded, pulled, deleted and so on.
        self.changes = 0
        # The answers of the server about single models, by a key that changes with the version of the model.
        self.details: dict[str, ModelInfo] = {}
        # True if the details that the list lacks have been asked for since it came.
        self.is_completed = False

    @property
    def models(self) -> tuple[ModelInfo, ...]:
        """The models that are known now."""
        return self._models

    @property
    def is_told(self) -> bool:
        """True if the server has listed any models, and no call has changed them since."""
        return bool(self._models) and self._filled_at is not None

    @property
    def is_asking(self) -> bool:
        """True if a discovery is under way."""
        return not self._done.is_set()

    def fill(self, models: list[ModelInfo], changes: int) -> None:
        """Keep a list that was asked for after so many ``changes``, unless there were more changes since."""
        with self._lock:
            if changes == self.changes:
                self._models, self.is_completed = tuple(models), False
                self._filled_at = time.monotonic()

    def complete(self, models: Iterable[ModelInfo], found: Iterable[ModelInfo]) -> None:
        """Keep the details that were ``found`` for each of ``models``; drop those of models that are not listed now."""
        known = dict(zip(map(id, models), found))
        with self._lock:
            self.is_completed = self.is_completed or any(id(each) in known for each in self._models)
            self._models = tuple(known.get(id(each), each) for each in self._models)

    def forget(self, gone: str | None = None) -> None:
        """Note that the models have changed. The list is shown until it has been asked for again.

        The model that is ``gone`` is taken out at once; a name without a tag means the tag ``latest``.
        """
        with self._lock:
            left = (each for each in self._models if gone is None or each.id not in (gone, f"{gone}:latest"))
            self._models, self._filled_at = tuple(left), None
            self.changes += 1

    def ensure(self, fetch: Callable[[], object], eager: bool) -> None:
        """Start a thread that calls ``fetch`` to fill the cache, unless it is filled and fresh; never wait.

        If the models are changed meanwhile, the thread calls it again, because the list may be old. If the last
        discovery found nothing, ``eager`` starts another at once; else there is at most one a second.
        """
        with self._lock:
            now = time.monotonic()
            fresh = self._models and self._filled_at is not None and now - self._filled_at < self._ttl
            waiting = not eager and now - self._tried_at < _RETRY_S
            if fresh or waiting or self._closed or not self._background or not self._done.is_set():
                return
            self._done = done = Event()
            self._tried_at = now
        # Not under the lock: the thread needs it, and a signal handler that interrupts here may wait for the thread.
        thread = threading.Thread(target=self._discover, args=[fetch, done], name="lmstudio-models", daemon=True)
        try:
            if not start(thread):
                logger.debug("the models are not discovered: no thread can be started")
                done.set()
        except BaseException:  # Ctrl-C: nothing may wait for a thread that did not start
            if not thread.is_alive():
                done.set()
            raise
        finally:
            if thread.ident is not None:
                self._thread = thread

    def _discover(self, fetch: Callable[[], object], done: Event) -> None:
        try:
            # Here it is not an error if the server does not run; the call itself has been logged.
            with contextlib.suppress(ProviderError):
                changes = None
                while changes != self.changes and not self._closed:
                    changes = self.changes
                    fetch()
        finally:
            done.set()

    def wait(self, timeout: float | None) -> bool:
        """Wait for a discovery that is under way; return False if it is not over after ``timeout`` seconds."""
        return self._done.wait(timeout)

    def close(self) -> None:
        """Begin no more discoveries, and wait for the one that is under way: its connection has been closed."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(DISCOVERY_S)
