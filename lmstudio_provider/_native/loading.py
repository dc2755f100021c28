"""Loading a model for a while: the blocks of ``loaded()`` share an instance, and the last one unloads it."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import logging
import os
import re
import threading
import time
from dataclasses import dataclass
from typing import Any, Iterator, Mapping

from .._core.callbacks import warn
from .._core.errors import ModelNotFoundError, ProviderClosedError, ProviderError, RequestTimeoutError, StatusError
from .._core.model_names import find, is_same
from .._core.types import Call, ModelInfo, Timeouts
from .._dialects import models
from .._provider.http_provider import Caller
from .._provider.local_models import Waiting
from .._provider.session import CallOptions, Session
from . import dialect as native
from .types import LoadedModel, check_load_options, fits

logger = logging.getLogger("lmstudio_provider")

# Seconds to wait at least for a model that is being loaded, if its caller no longer waits; and between two looks.
_PATIENCE_S = 600.0
_PAUSE_S = 0.5
# Seconds to wait for a model to unload, unless the caller is less patient.
_UNLOAD_S = 30.0
_LATER = f"when it is, it will be unloaded: a program that ends before waits for that, for {_PATIENCE_S:g} s at most"


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
    instance = next((each for each in named or info.instances if fits(each.config, config)), None)
    kind = "llm" if info.can_chat else info.type or "llm"
    return None if instance is None else LoadedModel(instance.id, kind, None, instance.config)


class Loads:
    """What is loaded for the blocks of one provider now. Shared by threads; a forked child has blocks of its own."""

    def __init__(self) -> None:
        self.shared: dict[tuple[int, str, str], Shared] = {}
        #: The block that is loading: the server may list its instance before that is among the ``shared``.
        self.coming: Block | None = None
        self._locks: dict[int, threading.RLock] = {}

    @contextlib.contextmanager
    def looking(self, waiting: Waiting) -> Iterator[None]:
        """Keep other threads from loading while this one looks whether a model is there, and loads it if not.

        Raises RequestTimeoutError if another thread loads for too long.
        """
        # By process: in a forked child, a thread that is not there may hold the parent's lock for ever.
        lock = self._locks.setdefault(os.getpid(), threading.RLock())
        try:
            waiting.wait(lambda seconds: lock.acquire(timeout=seconds), "another thread was still loading a model")
            self.coming = None
            yield
        finally:
            # A KeyboardInterrupt may come just after the lock was taken; one that was not cannot be released.
            with contextlib.suppress(RuntimeError):
                lock.release()

    def forget(self, base_url: str, instance_id: str) -> None:
        """Have no block unload that instance: it is gone, or is another one of the same name."""
        shared = self.shared.pop((os.getpid(), base_url, instance_id), None)
        if shared is not None:
            shared.gone.set()


class Shared:
    """An instance that blocks have in common."""

    def __init__(self, instance_id: str) -> None:
        self.instance_id = instance_id
        self.lock = threading.RLock()
        #: The blocks that use it: a set, because to leave it twice counts once.
        self.users: set[Block] = set()
        #: The block that unloads it: no other one may use it any more.
        self.unloader: Block | None = None
        self.gone = threading.Event()


@dataclass(eq=False)
class Block:
    """One ``with`` block of ``loaded()``. It unloads by connections of its own: the provider may be closed meanwhile.

    Whatever interrupts a method, ``leave`` can be called again, and does what is left to do.
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
        limits = [self.plan.timeouts.first_byte, self.plan.deadline and self.plan.deadline.seconds]
        unload_s = min([_UNLOAD_S, *filter(None, limits)])
        self._own_plan = CallOptions(
            self.plan.config, dataclasses.replace(self.plan.timeouts, first_byte=unload_s), None
        )
        self._pid = os.getpid()
        #: The instances that were there before this block loaded one; None if it has not, or if nothing came of it.
        self._before: set[str] | None = None
        self._is_coming = False
        self._shared: Shared | None = None

    def enter(self) -> LoadedModel:
        """Return the instance to use. Raises ProviderError."""
        atexit.register(self.leave, quiet=True)  # a program may end inside of a block that nobody leaves
        instance = self._look()[0]
        if instance is None:  # else this one need not wait for what another thread loads
            with self.loads.looking(self._waiting):
                instance, listed = self._look()
                if instance is None:
                    instance = self._load({each.id for info in listed for each in info.instances})
        return instance

    def leave(self, quiet: bool) -> None:
        """Have the instance unloaded if no other block uses it. Raises ProviderError, or, if ``quiet``, logs it."""
        if self._pid == os.getpid():  # else it is the parent's
            if self._shared is not None:
                self._release(quiet)
            elif self._before is not None:
                self._recover(self._before)
        atexit.unregister(self.leave)

    def _look(self) -> tuple[LoadedModel | None, list[ModelInfo]]:
        """Return an instance that fits, if there is one, and all that is there; use what another block has loaded."""
        while True:
            known = dict(self.loads.shared)  # one that is gone by now may be in the list
            listed = list_models(self.session, self.plan)
            coming = self.loads.coming
            instance = choose(listed, self.model, self.config)
            if instance is None or (coming is not None and is_same(coming.model, self.model)):
                return None, listed
            shared = {**known, **self.loads.shared}.get(self._key(instance.instance_id))
            if shared is None or self._join(shared):
                return instance, listed

    def _join(self, shared: Shared) -> bool:
        """Use what another block has loaded; return False if that is gone."""
        with shared.lock:
            if shared.unloader is None and not shared.gone.is_set():
                self._shared = shared
                shared.users.add(self)
                return True
        self._waiting.wait(shared.gone.wait, "another thread was still unloading the model")
        return False

    def _load(self, before: set[str]) -> LoadedModel:
        self.loads.coming, self._before = self, before
        try:
            instance: LoadedModel = self.session.ask(self._call, self.plan, native.load_reply)
            self._share(instance.instance_id)
            return instance
        except ProviderError as error:
            # The server goes on loading if its caller leaves.
            self._is_coming = error.sent and isinstance(error, (RequestTimeoutError, ProviderClosedError))
            if self._is_coming:
                error.message += f"; {_LATER}"
            elif not error.sent or isinstance(error, StatusError):
                self._before = None  # nothing came of it
            raise
        except BaseException as error:  # KeyboardInterrupt, or what else a signal handler raises
            self._is_coming = getattr(error, "sent", False)
            if self._is_coming:
                with contextlib.suppress(RuntimeWarning):  # of a user who makes errors of warnings
                    message = f"the model is still being loaded; {_LATER}. Ctrl-C once more leaves it loaded"
                    warn(message, RuntimeWarning)
            raise
        finally:
            self.loads.coming = None
            self.caller.forget_models()

    def _share(self, instance_id: str) -> None:
        """Let other blocks use the instance that this one has loaded."""
        self.loads.forget(self.session.base_url, instance_id)  # one of that name before is gone
        self._shared = Shared(instance_id)
        self._shared.users.add(self)
        self.loads.shared[self._key(instance_id)] = self._shared

    def _release(self, quiet: bool) -> None:
        shared = self._shared
        assert shared is not None  # noqa: S101 (the caller looked)
        with shared.lock:
            shared.users.discard(self)
            if shared.users or shared.gone.is_set() or shared.unloader not in (None, self):
                return
            shared.unloader = self
        try:
            with contextlib.suppress(ModelNotFoundError):  # gone already, by auto-evict or by somebody's hand
                call = native.unload_call(shared.instance_id)
                self._own_session.ask(call, self._own_plan, native.unload_reply)
        except ProviderError as error:
            self.loads.forget(self.session.base_url, shared.instance_id)
            error.hint = f"It may still be in memory: native.unload({shared.instance_id!r}) tries again"
            logger.warning("the model %r could not be unloaded: %s", shared.instance_id, error)
            if not quiet:
                raise
        else:
            self.loads.forget(self.session.base_url, shared.instance_id)
        finally:
            self._own_session.retire()
            self.caller.forget_models()

    def _recover(self, before: set[str]) -> None:
        """Have the instance unloaded that was loaded without a reply: it was not there ``before``."""
        if not self._is_coming:
            self._unload_what_comes(before, 0.0)
        else:
            seconds = max(self.plan.timeouts.first_byte or 0.0, _PATIENCE_S)
            self._own_plan = self._own_plan._replace(timeouts=Timeouts(_UNLOAD_S, _UNLOAD_S, _UNLOAD_S))
            # A program that ends waits for this thread, also if the one that starts it is a daemon.
            wait = functools.partial(self._unload_what_comes, before, seconds)
            try:
                threading.Thread(target=wait, name="lmstudio-load", daemon=False).start()
            except RuntimeError:  # no more threads, or the interpreter is shutting down
                wait()
        self._before = None

    def _unload_what_comes(self, before: set[str], seconds: float) -> None:
        """Unload the instance as soon as the server lists it; wait for that for ``seconds``."""
        end = time.monotonic() + seconds
        try:
            while self._shared is None and not self._find(before):
                if time.monotonic() >= end:
                    logger.info("the model %r is not in memory; if it comes there later, it stays", self.model)
                    return
                time.sleep(_PAUSE_S)  # the server tells nothing by itself
            self._release(quiet=True)
        except ProviderError as error:
            logger.warning("the model %r may be in memory, and cannot be unloaded: %s", self.model, error)

    def _find(self, before: set[str]) -> bool:
        """Find the instance that this block has loaded; return False if it is not there yet."""
        info = find(list_models(self._own_session, self._own_plan), self.model)
        instances = () if info is None or self.loads.coming is not None else info.instances
        known = {*before, *(id_ for _, _, id_ in self.loads.shared)}
        new = [each.id for each in instances if each.id not in known and fits(each.config, self.config)]
        if len(new) > 1:
            raise ProviderError(f"{' and '.join(new)} were loaded meanwhile, of which one is another program's")
        if new:
            self._share(new[0])
        return bool(new)

    def _key(self, instance_id: str) -> tuple[int, str, str]:
        return os.getpid(), self.session.base_url, instance_id
