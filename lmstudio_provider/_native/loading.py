"""The instances of models in memory. The blocks of ``loaded()`` share one, and the last of them unloads it."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import logging
import os
import re
import threading
from dataclasses import dataclass
from typing import Any, Iterator, Mapping

from .._core.callbacks import warn
from .._core.errors import ModelNotFoundError, ProviderError
from .._core.model_names import find, is_same
from .._core.threads import Event, start
from .._core.types import Call, ModelInfo
from .._dialects import models
from .._provider.http_provider import Caller
from .._provider.local_models import Waiting
from .._provider.session import CallOptions, Session
from . import dialect as native
from .types import LoadedModel, check_load_options

logger = logging.getLogger("lmstudio_provider")

# Seconds to wait for a model to load after its caller has stopped waiting.
_MORE_S = 600.0
# Seconds to wait for a model to unload, unless the caller is less patient.
_UNLOAD_S = 30.0
_LATER = "the model will be unloaded as soon as it is loaded, and the program does not end before that"


class Loads:
    """The models that the blocks of one provider have loaded. Shared by threads; a forked child starts with none."""

    def __init__(self) -> None:
        self.shared: set[SharedModel] = set()
        self._locks: dict[int, threading.RLock] = {}

    @contextlib.contextmanager
    def looking(self, waiting: Waiting) -> Iterator[None]:
        """Keep other threads from loading while this one looks for a model, and loads it if it is not there.

        Raises RequestTimeoutError if another thread loads for too long.
        """
        # By process: in a forked child, a thread that is not there may hold the parent's lock for ever.
        lock = self._locks.setdefault(os.getpid(), threading.RLock())
        with _holding(lock, waiting, "another thread was still loading a model"):
            yield

    def of(self, base_url: str) -> list[SharedModel]:
        """Return the models of that server, in this process."""
        return [each for each in list(self.shared) if (each.pid, each.base_url) == (os.getpid(), base_url)]

    def forget(self, base_url: str, instance_id: str) -> None:
        """Have no block unload the instance of that name: it is gone, and a new one may have its name."""
        self.shared.difference_update(each for each in self.of(base_url) if each.is_called(instance_id))


class SharedModel:
    """A model that blocks share, from before it is loaded until it is unloaded."""

    def __init__(self, model: str, base_url: str, block: Block) -> None:
        self.model, self.base_url, self.pid = model, base_url, os.getpid()
        self.instance: LoadedModel | None = None
        # The error of loading it, until that is raised: else error, traceback, frame and this would be a cycle.
        self.errors: list[BaseException] = []
        # Set when it is loaded, or loading it has failed.
        self.loaded = Event()
        # Held while it is unloaded. Re-entrant, because a signal handler may use a model in the middle of that.
        self.lock = threading.RLock()
        # The blocks that use it: a set, because leaving twice counts once.
        self.users = {block}
        # From then on no block may begin to use it.
        self.is_being_unloaded = False

    def is_called(self, instance_id: str) -> bool:
        """Return True if it is loaded under that name."""
        return self.instance is not None and self.instance.instance_id == instance_id


@dataclass(eq=False)
class Block:
    """One ``with`` block of ``loaded()``. It has separate connections: the provider may be closed meanwhile.

    If a method is interrupted, ``leave`` can be called again, and does the rest.
    """

    loads: Loads
    caller: Caller
    model: str
    config: Mapping[str, Any]
    session: Session
    plan: CallOptions

    def __post_init__(self) -> None:
        self._call = native.load_call(self.model, check_load_options(self.model, self.config))
        self._waiting = self.caller.waiting(self.plan)
        self._own_session = self.caller.new_session(self.plan.config)
        self._own_session.cache = self.session.cache  # an error suggests the names in it
        self._shared: SharedModel | None = None

    def enter(self) -> LoadedModel:
        """Return the instance to use. Raises ProviderError."""
        atexit.register(self.leave, quiet=True)  # a program may end inside of a block
        if instance := self._look():
            return instance  # without waiting for another thread that loads
        with self.loads.looking(self._waiting):
            return self._look() or self._load()

    def leave(self, quiet: bool) -> None:
        """Unload the instance if no other block uses it; raise ProviderError, or log it if ``quiet``."""
        if self._shared is not None and self._shared.pid == os.getpid():  # in a forked child, it is the parent's
            self._release(self._shared, quiet)
        atexit.unregister(self.leave)

    def _look(self) -> LoadedModel | None:
        """Return an instance that fits, or None; share one that another block has loaded, or is loading."""
        while True:
            known = self.loads.of(self.session.base_url)  # the list may have one that is gone when it comes
            instance = choose(list_models(self.session, self.plan), self.model, self.config)
            known += self.loads.of(self.session.base_url)
            # The server may list an instance before it answers the request that loads it.
            coming = [each for each in known if is_same(each.model, self.model) and not each.loaded.is_set()]
            if coming:
                self._waiting.wait(coming[0].loaded.wait, "another thread was still loading the model")
                continue
            shared = next((each for each in known if instance and each.is_called(instance.instance_id)), None)
            if shared is None:
                return instance
            with _holding(shared.lock, self._waiting, "another thread was still unloading the model"):
                if shared not in self.loads.shared:
                    continue
                if shared.is_being_unloaded:  # that was interrupted, maybe by the caller, a signal handler
                    return None
                self._shared = shared
                shared.users.add(self)
                return instance

    def _load(self) -> LoadedModel:
        """Load the model in a thread, which no signal and no limit interrupts; return the instance."""
        self._shared = shared = SharedModel(self.model, self.session.base_url, self)
        waiting = self.caller.waiting(self.plan)
        try:
            with self.session.annotate_errors(self._call, self.plan):
                # A program that ends waits for this thread, also if the one that starts it is a daemon.
                if not start(threading.Thread(target=self._ask, args=[shared], name="lmstudio-load", daemon=False)):
                    self._ask(shared)
                waiting.wait(shared.loaded.wait, "the model was still being loaded", sent=True)
        except ProviderError as error:
            error.message += f"; {_LATER}"
            raise
        except BaseException:  # KeyboardInterrupt, or another exception of a signal handler
            if shared in self.loads.shared:
                with contextlib.suppress(RuntimeWarning):  # the user may turn warnings into errors
                    message = f"the model is still being loaded; {_LATER}. Press Ctrl-C once more to leave it loaded"
                    warn(message, RuntimeWarning)
            raise
        if shared.instance is None:
            raise shared.errors.pop()
        return shared.instance

    def _ask(self, shared: SharedModel) -> None:
        """Load the model, and unload it if its block was left meanwhile."""
        self.loads.shared.add(shared)  # before the request, because the server may list the instance before its reply
        limit = self.plan.timeouts.first_byte
        instance = None
        try:
            if shared.users:  # the block was not left before this thread began
                instance = self._own_session.ask(self._call, self._plan(limit and limit + _MORE_S), native.load_reply)
                self.loads.forget(shared.base_url, instance.instance_id)  # one of that name before is gone
        except BaseException as error:  # which the block raises
            shared.errors.append(error)
        if instance is None:
            self.loads.shared.discard(shared)
            self._own_session.retire()
        with shared.lock:  # either this thread or the block sees that the other one is done
            shared.instance = instance
            shared.loaded.set()
        self.caller.forget_models()
        if not shared.users:
            while shared.errors:
                message = "the model %r was still being loaded when its block was left, and that failed: %s"
                logger.warning(message, self.model, shared.errors.pop())
            self._release(shared, quiet=True)

    def _release(self, shared: SharedModel, quiet: bool) -> None:
        with shared.lock:
            shared.users.discard(self)
            instance = shared.instance
            if shared.users or instance is None or shared not in self.loads.shared:
                return  # None: the thread that loads it will unload it
            shared.is_being_unloaded = True
            limits = [self.plan.timeouts.first_byte, self.plan.deadline and self.plan.deadline.seconds]
            plan = self._plan(min([_UNLOAD_S, *filter(None, limits)]))
            try:
                with contextlib.suppress(ModelNotFoundError):  # gone already, by auto-evict or by hand
                    self._own_session.ask(native.unload_call(instance.instance_id), plan, native.unload_reply)
                self.loads.shared.discard(shared)
            except ProviderError as error:
                self.loads.shared.discard(shared)
                error.hint = f"It may still be in memory: native.unload({instance.instance_id!r}) tries again"
                logger.warning("the model %r could not be unloaded: %s", instance.instance_id, error)
                if not quiet:
                    raise
            finally:
                self._own_session.retire()
                self.caller.forget_models()

    def _plan(self, first_byte: float | None) -> CallOptions:
        """Return the options of a call that the deadline of the block does not end."""
        return CallOptions(self.plan.config, dataclasses.replace(self.plan.timeouts, first_byte=first_byte), None)


@contextlib.contextmanager
def _holding(lock: threading.RLock, waiting: Waiting, missed: str) -> Iterator[None]:
    """Hold ``lock``, after waiting for it; raises RequestTimeoutError, ProviderClosedError."""
    try:
        waiting.wait(lambda seconds: lock.acquire(timeout=seconds), missed)
        yield
    finally:
        # A KeyboardInterrupt may come just after the lock was taken; one that was not cannot be released.
        with contextlib.suppress(RuntimeError):
            lock.release()


def list_models(session: Session, plan: CallOptions) -> list[ModelInfo]:
    """Return the models on disk, with the instances of each."""
    changes = session.cache.changes
    found: list[ModelInfo] = session.ask(Call("GET", models.NATIVE_PATH), plan, models.native_models)
    session.cache.fill(found, changes)
    return found


def choose(listed: list[ModelInfo], model: str, config: Mapping[str, Any]) -> LoadedModel | None:
    """Return an instance of ``model`` that was loaded with ``config``, None if there is none."""
    info = find(listed, model)
    if info is None:
        return None
    named = [each for each in info.instances if each.id == model != info.id]
    if not named and re.search(r":\d+$", model) and model != info.id:
        return None  # it names an instance, and there is none of that name
    if "@" in model and not named and info.raw.get("selected_variant", model) != model:
        return None  # another variant of it is there
    instance = next((each for each in named or info.instances if _fits(each.config, config)), None)
    kind = "llm" if info.can_chat else info.type or "llm"
    return None if instance is None else LoadedModel(instance.id, kind, None, instance.config)


def _fits(loaded: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Return True if a model that is loaded so is as good as one with ``config``, as far as the server says."""
    known = [(name, loaded[name], wanted) for name, wanted in config.items() if wanted is not None and name in loaded]
    return not any(
        value < wanted if name == "context_length" else value != wanted
        for name, value, wanted in known
        if isinstance(value, (int, float))
    )
