"""Ollama's models: what is on its disk and in its memory, and their way there."""

from __future__ import annotations

import contextlib
import functools
import time
from typing import Callable, Iterator, Sequence

from ._callbacks import Callback
from ._exceptions import (
    InvalidRequestError,
    ModelNotFoundError,
    ProviderError,
    StreamInterruptedError,
    shown,
)
from ._exchange import Deadline
from ._http_provider import HTTPProvider
from ._model_choice import Fits, first
from ._progress import Meter
from ._session import Plan, Session
from ._types import UNSET, Call, LoadedInstance, ModelInfo, Progress, Timeout, Timeouts, Unset
from ._waiting import patience
from ._wire import ollama_models as wire

OnProgress = Callable[[Progress], object]


class OllamaModels(HTTPProvider):
    """What an Ollama can do with its models."""

    def ps(self) -> list[LoadedInstance]:
        """Return the models in memory; ``config`` has ``size``, ``size_vram``, ``expires_at`` and so on."""
        session, plan = self._where(UNSET, UNSET)
        instances: list[LoadedInstance] = session.ask(wire.PS_CALL, plan, wire.ps_reply)
        return instances

    def show(self, model: str) -> ModelInfo:
        """Return what the server says of a model on its disk; ``raw`` has its template, parameters, licence and so on.

        Raises ModelNotFoundError.
        """
        session, plan = self._where(UNSET, UNSET)
        call = wire.show_call(_name(model))
        info: ModelInfo = session.ask(call, plan, functools.partial(wire.show_reply, name=model))
        return wire.with_type(info)

    def load(
        self,
        model: str,
        *,
        num_ctx: int | None = None,
        keep_alive: float | str | None = None,
        timeout: Timeout | Unset = UNSET,
        deadline: float | Unset | None = UNSET,
    ) -> None:
        """Load ``model``; returns when it is in memory.

        ``num_ctx`` is how many tokens it can hold at once, ``keep_alive`` how long it stays without use: seconds, or
        text such as "10m"; -1 is for good. To leave before it is loaded ends the loading. Raises ModelNotFoundError.
        """
        if num_ctx is not None and (isinstance(num_ctx, bool) or not isinstance(num_ctx, int) or num_ctx < 1):
            raise InvalidRequestError(f"num_ctx={shown(num_ctx)} is not a number of tokens", hint="Give 1 or more")
        if isinstance(keep_alive, bool) or not isinstance(keep_alive, (int, float, str, type(None))):
            hint = "Give seconds, or text with a unit such as '10m'"
            raise InvalidRequestError(f"keep_alive={shown(keep_alive)} is not a time", hint=hint)
        if keep_alive == 0:
            raise InvalidRequestError("keep_alive=0 unloads the model at once", hint="To unload it, call unload()")
        call = wire.load_call(_name(model), num_ctx, keep_alive)
        session, plan = self._where(timeout, deadline)
        try:
            session.ask(call, plan)
        except InvalidRequestError as error:
            if "does not support chat" not in error.message:
                raise
            call = wire.load_by_embedding_call(model, num_ctx, keep_alive)
        if call.path != "/api/chat":
            session.ask(call, plan)
        session.cache.forget()

    def unload(self, model: str) -> None:
        """Unload ``model``, if it is in memory. Raises ModelNotFoundError if it is not on disk either."""
        self._change(wire.unload_call(_name(model)))

    def delete(self, model: str) -> None:
        """Delete ``model`` from the server's disk. Raises ModelNotFoundError where it is not there."""
        self._change(wire.delete_call(_name(model)), gone=model)

    def _change(self, call: Call, gone: str | None = None) -> None:
        session, plan = self._where(UNSET, UNSET)
        session.ask(call, plan)
        session.cache.forget(gone)

    def pull(
        self,
        model: str,
        on_progress: OnProgress | None = None,
        *,
        insecure: bool = False,
        timeout: Timeout | Unset = UNSET,
        deadline: float | Unset | None = UNSET,
    ) -> None:
        """Download ``model``; returns when it is there. A download that was broken off goes on where it was.

        ``on_progress`` is called with the Progress over all parts; what it raises ends the download. ``insecure`` lets
        the server use plain HTTP, for a name such as "http://host:port/library/x". Without a ``timeout`` the server may
        be silent for 600 s, as it is while it checks what came. What is raised has ``progress``, how far it came.
        """
        report = _reporter(on_progress)
        call = wire.pull_call(_name(model), bool(insecure))
        session, plan = self._where_patient(timeout, deadline)
        self._follow(call, session, plan, Meter(), report, "Call pull() again: it goes on where it was")

    def _follow(self, call: Call, session: Session, plan: Plan, meter: Meter, report: OnProgress, again: str) -> None:
        """Report what the server does, until it says that it is done."""
        try:
            with _progress_told(meter), contextlib.closing(session.events(call, plan)) as lines:
                for line in lines:
                    report(meter.update(*wire.progress_line(line)))
                    if meter.progress.status == "success":
                        return
                at = meter.progress.status
                raise StreamInterruptedError(
                    f"the server stopped at {at!r} with {call.model!r}, without its end", hint=again, sent=True
                )
        except ModelNotFoundError as error:
            error.hint = "Check the name and its tag: there is no such model to download"
            raise
        finally:
            session.cache.forget()

    def _where_patient(self, timeout: Timeout | Unset, deadline: float | Unset | None) -> tuple[Session, Plan]:
        """Return the session, and a plan under which the server may be silent for long, unless somebody says else."""
        session, plan = self._where(timeout, deadline)
        if timeout is UNSET and plan.config.timeouts is None:
            plan = plan._replace(timeouts=Timeouts(idle=600.0))
        return session, plan

    def _first(self, models: Sequence[ModelInfo], plan: Plan, *wanted: Fits) -> tuple[ModelInfo | None, Plan]:
        # What runs elsewhere is not chosen, whatever it can do.
        local = [model for model in models if not model.remote]
        session, started = self._session(plan.config), time.monotonic()
        limited = plan._replace(deadline=Deadline(patience(plan), started))
        inquiry = wire.Inquiry(lambda call, read: session.ask(call, limited, read), session.cache.details)
        try:
            if len(local) > 1 and not session.cache.is_completed and any(model.loaded is None for model in local):
                local = inquiry.with_instances(local)
            found = first(local, *wanted, confirm=inquiry.confirm)
        except ProviderError as error:
            error.sent = False  # of what the call was for
            raise
        session.cache.complete(inquiry.known(local))
        if inquiry.is_silent:
            plan = plan._replace(waited_s=plan.waited_s + time.monotonic() - started)
        return found, plan


def _reporter(on_progress: OnProgress | None) -> OnProgress:
    Callback("on_progress", on_progress)  # which checks it
    return on_progress or (lambda progress: None)


@contextlib.contextmanager
def _progress_told(meter: Meter) -> Iterator[None]:
    """Add to the errors of the block how far it came."""
    try:
        yield
    except ProviderError as error:
        error.progress = meter.progress
        raise


def _name(model: object, what: str = "model") -> str:
    if not isinstance(model, str) or not model.strip():
        hint = "Give the name of a model, such as qwen3:8b"
        raise InvalidRequestError(f"{what}={shown(model)} is not a name", hint=hint)
    return model
