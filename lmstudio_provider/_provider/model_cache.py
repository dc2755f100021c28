"""The models that a server has, asked for in the background."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import Callable, Iterable

from .._core.errors import ProviderError
from .._core.types import ModelInfo

logger = logging.getLogger("lmstudio_provider")

#: How long a discovery may take, in seconds.
DISCOVERY_S = 3.0
# How often to ask, at most, a server that has not told of any model while somebody only looks.
_RETRY_S = 1.0


class ModelCache:
    """Holds the models; where they are missing or old, ``ensure`` has a thread ask for them. Shared by threads."""

    def __init__(self, ttl: float, background: bool) -> None:
        self._ttl = ttl
        self._background = background
        self._lock = threading.RLock()  # a signal handler may close the provider in the middle
        self._thread: threading.Thread | None = None
        self._done = threading.Event()  # set while no discovery is under way
        self._done.set()
        self._closed = False
        self._filled_at: float | None = None
        self._tried_at = float("-inf")
        self._models: tuple[ModelInfo, ...] = ()
        #: How often something was done that changes the models.
        self.changes = 0
        #: What the server said about single models, under what tells one version of a model from another.
        self.details: dict[str, ModelInfo] = {}
        #: Whether what the list does not say has been asked for since it came.
        self.is_completed = False

    @property
    def models(self) -> tuple[ModelInfo, ...]:
        """What is known, at once."""
        return self._models

    @property
    def is_told(self) -> bool:
        """Whether the server has told of any model, and nothing that is known to change them has happened since."""
        return bool(self._models) and self._filled_at is not None

    @property
    def is_asking(self) -> bool:
        """Whether a discovery is under way."""
        return not self._done.is_set()

    def fill(self, models: list[ModelInfo], changes: int) -> None:
        """Note what the server was asked for after so many ``changes``, unless there were more since."""
        with self._lock:
            if changes == self.changes:
                self._models, self.is_completed = tuple(models), False
                self._filled_at = time.monotonic()

    def complete(self, models: Iterable[ModelInfo], found: Iterable[ModelInfo]) -> None:
        """Note what was ``found`` out about ``models``, unless the server has told of others since."""
        known = dict(zip(map(id, models), found))
        with self._lock:
            self.is_completed = self.is_completed or any(id(each) in known for each in self._models)
            self._models = tuple(known.get(id(each), each) for each in self._models)

    def forget(self, gone: str | None = None) -> None:
        """Count what is known as old, because it has been changed; until it is asked for again it is shown.

        The model that is ``gone`` is not; a name without a tag means the tag ``latest``.
        """
        with self._lock:
            left = (each for each in self._models if gone is None or each.id not in (gone, f"{gone}:latest"))
            self._models, self._filled_at = tuple(left), None
            self.changes += 1

    def ensure(self, fetch: Callable[[], object], eager: bool) -> None:
        """Have a thread call ``fetch``, which fills the cache, unless it is filled and fresh; never waits.

        If the models are changed meanwhile, it is called again, because what it was told may be old.
        Where the last one found nothing, ``eager`` begins another at once, not at most once a second.
        """
        with self._lock:
            now = time.monotonic()
            fresh = self._models and self._filled_at is not None and now - self._filled_at < self._ttl
            waiting = not eager and now - self._tried_at < _RETRY_S
            if fresh or waiting or self._closed or not self._background or not self._done.is_set():
                return
            self._done = done = threading.Event()
            self._tried_at = now
        # Not under the lock, which the thread needs, while a signal handler may come in and wait for the thread.
        thread = threading.Thread(target=self._discover, args=[fetch, done], name="lmstudio-models", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is shutting down
            logger.debug("the models are not discovered: %s", error)
            done.set()
        except BaseException:  # Ctrl-C: a thread that did not start would be waited for
            if not thread.is_alive():
                done.set()
            raise
        finally:
            if thread.ident is not None:
                self._thread = thread

    def _discover(self, fetch: Callable[[], object], done: threading.Event) -> None:
        try:
            # A server that is not running is no error here; the call itself has been logged.
            with contextlib.suppress(ProviderError):
                changes = None
                while changes != self.changes and not self._closed:
                    changes = self.changes
                    fetch()
        finally:
            done.set()

    def wait(self, timeout: float | None) -> bool:
        """Wait for the discovery that is under way, if one is; return False if it is still under way after that."""
        return self._done.wait(timeout)

    def close(self) -> None:
        """Begin no more discoveries, and wait for the one whose connection was closed just now."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(DISCOVERY_S)
