"""Which model a call asks for if its caller names none: one that runs here, and does what the call is for."""

from __future__ import annotations

from typing import Callable, Iterable, Sequence

from .._core.errors import InvalidRequestError, preview
from .._core.types import ModelInfo

Fits = Callable[[ModelInfo], bool]

# More are counted, not named.
_MOST_NAMED = 20


def chats(model: ModelInfo) -> bool:
    """Return True if the model may be asked for text unasked."""
    return model.can_chat and not model.remote


def embeds(model: ModelInfo) -> bool:
    """Return True if the model may be asked for vectors unasked."""
    return model.type == "embedding" and not model.remote


def first(
    models: Iterable[ModelInfo], *wanted: Fits, confirm: Callable[[ModelInfo], ModelInfo] = lambda model: model
) -> ModelInfo | None:
    """Return the first model that fits the first of ``wanted`` that any model fits, a loaded one before the others.

    ``confirm`` returns a model as it is, if the list may be wrong; it is asked in the order of what is likely to fit.
    """
    known = list(models)
    for fits in wanted:
        # One that is loaded answers at once, and another one need not be unloaded for it.
        known.sort(key=lambda model: (not fits(model), not model.loaded))
        for position, model in enumerate(known):
            known[position] = confirm(model)
            if fits(known[position]):
                return known[position]
    return None


def nothing_to_choose(models: Sequence[ModelInfo], server: str, names: str, get_hint: str) -> InvalidRequestError:
    """Return the error that says why none of ``models`` was chosen, and how to name one."""
    if not models:
        return InvalidRequestError(f"{server} has no models", hint=f"{get_hint}, or name a model with {names}")
    told = [f"{preview(model.id)} ({_why_not(model)})" for model in models[:_MOST_NAMED]]
    if len(models) > _MOST_NAMED:
        told.append(f"and {len(models) - _MOST_NAMED} more")
    named = next((f", such as model={preview(model.id)}" for model in models if model.can_chat), "")
    hint = f"To use one, name it with {names}{named}; or {get_hint[:1].lower()}{get_hint[1:]}"
    return InvalidRequestError(f"no model was named, and {server} has none to choose: {', '.join(told)}", hint=hint)


def _why_not(model: ModelInfo) -> str:
    if model.remote:
        return "runs elsewhere"
    if model.type == "embedding":
        return "embeds"
    return "its type is not known" if model.type is None else f"its type is {preview(model.type)}"
