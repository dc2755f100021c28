"""The health of a server, from its list of models or the error that came instead."""

from __future__ import annotations

import dataclasses
from typing import Sequence

from .._core.errors import AuthenticationError, ProviderError, RequestTimeoutError, ServerUnavailableError
from .._core.types import Health, ModelInfo


def health_from_models(models: Sequence[ModelInfo], latency_s: float) -> Health:
    """Return the health of a server that listed its models."""
    names = [model.name for model in models if model.loaded]
    known = all(model.loaded is not None for model in models)
    return Health(
        True, latency_s, tuple(model.id for model in models), reachable=True, loaded=tuple(names) if known else None
    )


def health_from_error(error: ProviderError, latency_s: float | None) -> Health:
    """Return the health of a server that did not list its models, but gave ``error`` after ``latency_s``."""
    refused = isinstance(error, AuthenticationError) and not error.wants_password
    away = isinstance(error, ServerUnavailableError) and not error.answered
    unopened = isinstance(error, RequestTimeoutError) and not error.sent
    return Health(
        False,
        latency_s if error.sent else None,
        error=error,
        reachable=not (away or unopened),
        needs_token=refused,
        token_refused=refused and getattr(error, "token_source", None) is not None,
    )


def not_lm_studio(health: Health, base_url: str, hint: str) -> Health:
    """Return the ``health`` of a server that is not LM Studio; ``hint`` is what to do about it."""
    advice = f"The server at {base_url} is not LM Studio and has no lm.native: {_small(hint)}."
    return dataclasses.replace(health, is_lm_studio=False, advice=(advice,))


def with_advice(health: Health, models: Sequence[ModelInfo] | None) -> Health:
    """Return ``health`` with a sentence for each problem, the worst first; ``models`` is None if none came."""
    advice = []
    error = health.error
    if error is not None:
        hint = error.hint or "See the server's log"
        advice.append(f"{error.message[:1].upper()}{error.message[1:]}: {_small(hint)}.")
    advice += health.advice
    choices = [model for model in models or () if model.can_chat and not model.remote]
    elsewhere = [model.id for model in models or () if model.can_chat and model.remote]
    if models is not None and not choices:
        how = ", with 'lms get MODEL' or lm.native.download('MODEL')" if health.is_lm_studio else ""
        what = " that runs on it and can chat" if elsewhere else " that can chat" if models else "s"
        named = f" {elsewhere[0]!r} runs elsewhere and is used only if you name it." if elsewhere else ""
        advice.append(f"The server has no model{what}: download one{how}.{named}")
    elif models is not None and health.is_lm_studio and not any(model.loaded is not False for model in choices):
        advice.append(
            "No model that can chat is loaded: the first request waits until one is, or fails if just-in-time loading "
            "is off. Load it ahead, with 'lms load MODEL' or lm.native.load('MODEL')."
        )
    return dataclasses.replace(health, advice=tuple(advice))


def _small(hint: str) -> str:
    """Return ``hint`` as it stands after a colon."""
    return hint[:1].lower() + hint[1:]
