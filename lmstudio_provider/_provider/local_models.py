"""The models of a local server: what they can do, and which one a call uses if its caller names none."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Callable, Iterable, Sequence

from .._core.errors import InvalidRequestError, ProviderClosedError, ProviderError, RequestTimeoutError, preview
from .._core.model_names import find
from .._core.requests import check_name
from .._core.types import UNSET, Capabilities, ModelInfo
from .local_server import LocalServer
from .model_cache import DISCOVERY_S
from .session import CallOptions, source_of_limit

Fits = Callable[[ModelInfo], bool]

# On Windows, Ctrl-C does not wake a thread that waits for a lock: Python notices it only at the end of such a wait.
_WAIT_S = 1.0
# If there are more models, a message counts the rest.
_MOST_NAMED = 20


def chats(model: ModelInfo) -> bool:
    """Return True if the model may generate text without being named."""
    return model.can_chat and not model.remote


def embeds(model: ModelInfo) -> bool:
    """Return True if the model may embed without being named."""
    return model.type == "embedding" and not model.remote


def decides(model: ModelInfo) -> bool:
    """Return True if the model may decide without being named."""
    return model.type == "decision" and not model.remote


def first(
    models: Iterable[ModelInfo], *wanted: Fits, confirm: Callable[[ModelInfo], ModelInfo] = lambda model: model
) -> ModelInfo | None:
    """Return the first model that fits the first of ``wanted`` that any model fits; loaded models come first.

    If the list may be wrong, ``confirm`` returns a model as it really is; likely models are confirmed first.
    """
    known = list(models)
    for fits in wanted:
        # A loaded model answers at once, and no other has to be unloaded to make room for it.
        known.sort(key=lambda model: (not fits(model), not model.loaded))
        for position, model in enumerate(known):
            known[position] = confirm(model)
            if fits(known[position]):
                return known[position]
    return None


class Waiting:
    """Waits as long as a call may: until its ``deadline``, and at most for its limit until the first byte."""

    def __init__(self, options: CallOptions, is_closed: Callable[[], bool]) -> None:
        ends = [(seconds, limit) for limit, seconds in options.limits().items()]
        self._longest, self._limit = min(ends, default=(math.inf, ""))
        self._started = time.monotonic()
        self._is_closed = is_closed

    def wait(self, wait: Callable[[float], object], missed: str, sent: bool = False) -> None:
        """Call ``wait(seconds)`` until it returns True; raises RequestTimeoutError, ProviderClosedError.

        ``missed`` says in the message what did not happen.
        """
        while not wait(min(_WAIT_S, max(0.0, self._left()))):
            if self._is_closed():
                closed = ProviderClosedError.during_call()
                closed.sent = sent
                raise closed
            if self._left() <= 0:
                waited_s = time.monotonic() - self._started
                how = "deadline=" if self._limit == "deadline" else f"timeout=Timeouts({self._limit}=...)"
                raise RequestTimeoutError(
                    f"{missed} after {waited_s:.1f} s",
                    hint=f"Raise {how}",
                    limit=self._limit,
                    waited_s=waited_s,
                    sent=sent,
                )

    def _left(self) -> float:
        return self._started + self._longest - time.monotonic()


def patience(options: CallOptions) -> float:
    """Return the seconds to wait for a discovery, so that the call has at least half of its time left."""
    return min([DISCOVERY_S, *(seconds / 2 for seconds in options.limits().values())])


class LocalModels(LocalServer):
    """A local server that chooses one of its models if the caller names none."""

    @property
    def capabilities(self) -> Capabilities:
        models = self._cached_models()
        if not models:
            return Capabilities(True, True, None, ())
        chatting = [model for model in models if model.can_chat]
        tool_calling = _any(True if self._server.any_model_calls_tools else model.tool_use for model in chatting)
        vision = _any(model.vision for model in chatting)
        return Capabilities(True, tool_calling, vision, tuple(model.id for model in models))

    def capabilities_for(self, model: str | None = None) -> Capabilities:
        check_name("model", model)
        cache = self._cache(eager=True)
        if not cache.is_told:
            cache.wait(DISCOVERY_S)
        known = cache.models
        asked = model or self._settings.model(None)
        found = find(known, asked) if asked else self._first(known, self._for_call(UNSET, UNSET)[1], chats)[0]
        if found is None:
            can = False if known and not asked else None  # without a model, the call would be refused
            return Capabilities(can is None, can, can, ())
        if not found.can_chat and found.type is not None:
            return Capabilities(False, False, False, (found.id,))
        return Capabilities(True, found.tool_use, found.vision, (found.id,))

    def resolve_model(self, tier: str | None = None) -> str:
        """Return the model that a call without ``model`` uses; wait for a discovery that is under way.

        Raises InvalidRequestError if the server has models, but none that runs on this machine and generates text. If
        no models of an Ollama are known, this asks for them, and raises as any call does.
        """
        model = self._settings.model(tier)
        if model is not None:
            self._check_open()
            return model
        return self._choose_model(self._for_call(UNSET, UNSET)[1])[0]

    def _choose_model(self, options: CallOptions, *wanted: Fits, needed: bool = False) -> tuple[str, CallOptions]:
        """Return the first model that fits, by default one that chats, and the options with the time that is left.

        If one that the server lists is ``needed``, this asks for the list if there is none, and raises ProviderError.
        """
        default = None if needed else self._server.default_model
        found, models, options = self._find_model(options, default is None, *wanted or (chats,))
        if found is not None:
            return found.name, options
        if models or default is None:
            raise self._nothing_to_choose(self._cached_models())  # they have the details that were asked meanwhile
        return default, options

    def _find_model(
        self, options: CallOptions, needed: bool, *wanted: Fits
    ) -> tuple[ModelInfo | None, Sequence[ModelInfo], CallOptions]:
        """Return the first model that fits, if any, the known models, and the options with the time that is left.

        If a model is ``needed``, this asks for the models if none are known.
        """
        models, options = self._models_within(options, needed)
        found, options = self._first(models, options, *wanted)
        if found is None and (models or needed):
            models = self._models_now(options)  # they may have changed since they were listed
            options = options._replace(waited_s=0.0)  # the server has just answered
            found, options = self._first(models, options, *wanted)
        return found, models, options

    def _first(
        self, models: Sequence[ModelInfo], options: CallOptions, *wanted: Fits
    ) -> tuple[ModelInfo | None, CallOptions]:
        """Return the first of ``models`` that fits, and the options with the time that is left.

        A provider whose server has lists that can be wrong asks for more here.
        """
        return first(models, *wanted), options

    def _nothing_to_choose(self, models: Sequence[ModelInfo]) -> InvalidRequestError:
        """Return the error that says why none of ``models`` was chosen, and how to name one."""
        server = f"{self._server.name} at {self.base_url}"
        variable = self._names.variables["model"][0]
        names = f"model=, the setting {self._names.prefix}_model or the environment variable {variable}"
        get = self._server.get_hint
        message, hint = f"{server} has no models", f"{get}, or name a model with {names}"
        if models:
            listed = [f"{preview(model.id)} ({_why_not(model)})" for model in models[:_MOST_NAMED]]
            if len(models) > _MOST_NAMED:
                listed.append(f"and {len(models) - _MOST_NAMED} more")
            message = f"no model was named, and {server} has none to choose: {', '.join(listed)}"
            such_as = next((f", such as model={preview(model.id)}" for model in models if model.can_chat), "")
            hint = f"To use one, name it with {names}{such_as}; or {get[:1].lower()}{get[1:]}"
        error = InvalidRequestError(message, hint=hint)
        error.provider = self.id
        return error

    def _embedding_model(self, options: CallOptions) -> tuple[str, CallOptions]:
        """Return the setting for the tier "embedding", else the first embedding model, else a chat model."""
        named = self._settings.model("embedding")
        if named is None:
            return self._choose_model(options, embeds, chats)
        if self._settings.find("model_embedding") is not None:
            return named, options
        models, options = self._models_within(options, needed=False)
        found, options = self._first(models, options, embeds)
        return found.name if found else named, options

    def _models_within(self, options: CallOptions, needed: bool) -> tuple[Sequence[ModelInfo], CallOptions]:
        """Wait for a discovery under way; return the known models, and the options with the time that is left.

        If the models are ``needed``, this may take all the time of the call, and then raises RequestTimeoutError.
        """
        cache = self._cache(eager=True)
        if cache.is_told or not cache.is_asking:
            return cache.models, options
        started = time.monotonic()
        if not needed:
            cache.wait(patience(options))
        else:
            try:
                self._waiting(options).wait(cache.wait, "the list of models, to choose one from, had not come")
            except RequestTimeoutError as error:
                error.provider = self.id
                error.message += f" from {self.base_url}"
                error.hint += (
                    f"{source_of_limit(error, options)}; a call that names a model with model= waits for no list"
                )
                raise
        return cache.models, options._replace(waited_s=time.monotonic() - started)

    def _models_now(self, options: CallOptions) -> Sequence[ModelInfo]:
        """Ask for the models as a part of a call; raises ProviderError."""
        silences = [each for each in (options.timeouts.first_byte, options.timeouts.idle) if each is not None]
        # A list does not take as long as the loading of a model.
        timeouts = dataclasses.replace(options.timeouts, first_byte=min(silences, default=None))
        try:
            return self._session(options.config).list_models(options._replace(timeouts=timeouts), brief=True)
        except ProviderError as error:
            error.sent = False  # the call itself was not sent
            raise

    def _waiting(self, options: CallOptions) -> Waiting:
        return Waiting(options, lambda: self._closed)


def _any(values: Iterable[bool | None]) -> bool | None:
    """Return True if any is True, None if any is unknown, else False."""
    known = set(values)
    return True if True in known else None if None in known else False


def _why_not(model: ModelInfo) -> str:
    if model.remote:
        return "runs elsewhere"
    if model.type == "embedding":
        return "embeds"
    return "its type is not known" if model.type is None else f"its type is {preview(model.type)}"
