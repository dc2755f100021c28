"""Which of a local server's models a call asks for if its caller names none, and what they can do."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Callable, Iterable, Sequence

from .._core.errors import InvalidRequestError, ProviderClosedError, ProviderError, RequestTimeoutError
from .._core.model_names import find
from .._core.requests import check_name
from .._core.types import UNSET, Capabilities, ModelInfo
from .local_server import LocalServer
from .model_cache import DISCOVERY_S
from .model_choice import Fits, chats, embeds, first, nothing_to_choose
from .session import CallOptions, source_of_limit

# Ctrl-C wakes no thread that waits for a lock on Windows: it is noticed at the end of a wait of this length.
_WAIT_S = 1.0


class Waiting:
    """The patience of one call: its ``deadline``, and its time until the first byte, from now on."""

    def __init__(self, plan: CallOptions, is_closed: Callable[[], bool]) -> None:
        ends: list[tuple[float, str]] = (
            [] if plan.timeouts.first_byte is None else [(plan.timeouts.first_byte, "first_byte")]
        )
        if plan.deadline is not None:
            ends.append((plan.deadline.left(), "deadline"))
        self._longest, self._limit = min(ends, default=(math.inf, ""))
        self._started = time.monotonic()
        self._is_closed = is_closed

    def wait(self, wait: Callable[[float], object], missed: str, sent: bool = False) -> None:
        """Call ``wait(seconds)`` until it is true; raises RequestTimeoutError, ProviderClosedError.

        ``missed`` is what has not happened, for the message.
        """
        while not wait(min(_WAIT_S, max(0.0, self._left()))):
            if self._is_closed():
                closed = ProviderClosedError.during_call()
                closed.sent = sent
                raise closed
            if self._left() <= 0:
                waited_s = time.monotonic() - self._started
                how = "deadline=" if self._limit == "deadline" else f"timeout=Timeouts({self._limit}=...)"
                told = {"hint": f"Raise {how}", "limit": self._limit, "waited_s": waited_s, "sent": sent}
                raise RequestTimeoutError(f"{missed} after {waited_s:.1f} s", **told)

    def _left(self) -> float:
        return self._started + self._longest - time.monotonic()


def patience(plan: CallOptions) -> float:
    """Return how long a discovery may be waited for, so that the call has at least half of its time left."""
    limits = [DISCOVERY_S]
    if plan.timeouts.first_byte is not None:
        limits.append(plan.timeouts.first_byte / 2)
    if plan.deadline is not None:
        limits.append(plan.deadline.left() / 2)
    return min(limits)


class LocalModels(LocalServer):
    """A local server, of whose models one is chosen if nobody names one."""

    @property
    def capabilities(self) -> Capabilities:
        models = self._cached_models()
        if not models:
            return Capabilities(True, True, None, ())
        chatting = [model for model in models if model.can_chat]
        tool_calling = _best(True if self._any_model_calls_tools else model.tool_use for model in chatting)
        vision = _best(model.vision for model in chatting)
        return Capabilities(True, tool_calling, vision, tuple(model.id for model in models))

    def capabilities_for(self, model: str | None = None) -> Capabilities:
        check_name("model", model)
        cache = self._cache(eager=True)
        if not cache.is_told:
            cache.wait(DISCOVERY_S)
        known = cache.models
        asked = model or self._settings.model(None)
        found = find(known, asked) if asked else self._first(known, self._where(UNSET, UNSET)[1], chats)[0]
        if found is None:
            can = False if known and not asked else None  # a call that names no model is refused, or nothing is known
            return Capabilities(can is None, can, can, ())
        if not found.can_chat and found.type is not None:
            return Capabilities(False, False, False, (found.id,))
        return Capabilities(True, found.tool_use, found.vision, (found.id,))

    def resolve_model(self, tier: str | None = None) -> str:
        """The model that a call without ``model`` asks for; waits for a discovery that is under way.

        Raises InvalidRequestError if the server has models, and none that is chosen unasked: one that runs on this
        machine and generates text. Ollama is asked for its models if none are known, which raises as any call does.
        """
        model = self._settings.model(tier)
        if model is not None:
            self._check_open()
            return model
        return self._choose_model(self._where(UNSET, UNSET)[1])[0]

    def _choose_model(self, plan: CallOptions, *wanted: Fits) -> tuple[str, CallOptions]:
        """Choose the first model that fits, one that chats by default; return it with what time is left of ``plan``."""
        wanted = wanted or (chats,)
        models, plan = self._models_within(plan, needed=self._default_model is None)
        found, plan = self._first(models, plan, *wanted)
        if found is None and (models or self._default_model is None):
            models = self._models_now(plan)  # what is there may have changed since it was listed
            plan = plan._replace(waited_s=0.0)  # the server was not silent
            found, plan = self._first(models, plan, *wanted)
        if found is not None:
            return found.name, plan
        if models or self._default_model is None:
            raise self._nothing_to_choose(self._cached_models())  # with what was asked about them meanwhile
        return self._default_model, plan

    def _first(
        self, models: Sequence[ModelInfo], plan: CallOptions, *wanted: Fits
    ) -> tuple[ModelInfo | None, CallOptions]:
        """Return the first of ``models`` that fits, and ``plan`` with what time is left of it.

        If a server's list can be wrong, its provider asks for more here.
        """
        return first(models, *wanted), plan

    def _nothing_to_choose(self, models: Sequence[ModelInfo]) -> InvalidRequestError:
        setting, variable = f"{self._names.prefix}_model", self._names.variables["model"][0]
        names = f"model=, the setting {setting} or the environment variable {variable}"
        error = nothing_to_choose(models, f"{self._server_name} at {self.base_url}", names, self._get_hint)
        error.provider = self.id
        return error

    def _embedding_model(self, plan: CallOptions) -> tuple[str, CallOptions]:
        """The setting for the tier "embedding", else the first embedding model, else what chats: it may embed, too."""
        named = self._settings.model("embedding")
        if named is None:
            return self._choose_model(plan, embeds, chats)
        if self._settings.find("model_embedding") is not None:
            return named, plan
        models, plan = self._models_within(plan, needed=False)
        found, plan = self._first(models, plan, embeds)
        return found.name if found else named, plan

    def _models_within(self, plan: CallOptions, needed: bool) -> tuple[Sequence[ModelInfo], CallOptions]:
        """Return the models that are known, after waiting for a discovery under way, and ``plan`` with that time.

        If they are ``needed``, all the time of the call may pass, and RequestTimeoutError is raised if it has.
        """
        cache = self._cache(eager=True)
        if cache.is_told or not cache.is_asking:
            return cache.models, plan
        started = time.monotonic()
        if not needed:
            cache.wait(patience(plan))
        else:
            try:
                self._waiting(plan).wait(cache.wait, "the list of models, to choose one from, had not come")
            except RequestTimeoutError as error:
                error.provider = self.id
                error.message += f" from {self.base_url}"
                error.hint += f"{source_of_limit(error, plan)}; a call that names a model with model= waits for no list"
                raise
        return cache.models, plan._replace(waited_s=time.monotonic() - started)

    def _models_now(self, plan: CallOptions) -> Sequence[ModelInfo]:
        """Ask for the models, as a part of a call; raises ProviderError."""
        silences = [each for each in (plan.timeouts.first_byte, plan.timeouts.idle) if each is not None]
        # A list is not waited for as long as a model that is being loaded.
        timeouts = dataclasses.replace(plan.timeouts, first_byte=min(silences, default=None))
        try:
            return self._session(plan.config).list_models(plan._replace(timeouts=timeouts), brief=True)
        except ProviderError as error:
            error.sent = False  # of what the call was for
            raise

    def _waiting(self, plan: CallOptions) -> Waiting:
        return Waiting(plan, lambda: self._closed)


def _best(told: Iterable[bool | None]) -> bool | None:
    """Return True if any is True, None if any is unknown, else False."""
    known = set(told)
    return True if True in known else None if None in known else False
