"""The option ``reasoning``."""

from __future__ import annotations

from typing import Any, Mapping

from .callbacks import warn
from .checks import NAME
from .errors import InvalidRequestError, ReasoningWarning
from .types import Completion

__all__ = ["IS_REASONING", "OFF", "renamed", "warn_of_thoughts"]

IS_REASONING = NAME._replace(
    problem="is not a word",
    hint="Write 'off', 'on', 'low', 'medium', 'high', or another word of ModelInfo.reasoning_options",
)
# The words of LM Studio and of OpenAI's API.
OFF = ("off", "none")


def renamed(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return ``options`` with ``reasoning`` in place of ``reasoning_effort``, OpenAI's name for it.

    Raises InvalidRequestError if both are given.
    """
    if "reasoning_effort" not in options:
        return options
    others = dict(options)
    effort = others.pop("reasoning_effort")
    if effort is not None and others.get("reasoning") is not None:
        raise InvalidRequestError("reasoning= and reasoning_effort= are the same option", hint="Give reasoning= alone")
    return {"reasoning": effort, **others} if effort is None else {**others, "reasoning": effort}


def warn_of_thoughts(asked: str | None, completion: Completion, way: str) -> None:
    """Warn if reasoning was to be off, and thoughts came; ``way`` says what to do."""
    if asked in OFF and completion.reasoning.strip():
        what = f"reasoning={asked!r} had no effect: {completion.model!r} sent thoughts all the same"
        warn(f"{what}. {way}", ReasoningWarning)
