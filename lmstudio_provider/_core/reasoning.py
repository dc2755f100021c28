"""The option ``reasoning``."""

from __future__ import annotations

from typing import Any, Mapping

from .callbacks import warn
from .checks import NAME
from .errors import EmptyAnswerWarning, InvalidRequestError, ReasoningWarning
from .types import Completion

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
        what = f"reasoning={asked!r} had no effect: {completion.model!r} sent thoughts all the same. {way}"
        warn(what, ReasoningWarning)


def warn_of_empty_answer(asked: str | None, completion: Completion, limit: str) -> None:
    """Warn if nothing but thoughts came, or if ``limit``, such as "max_tokens=3", was used up before any text."""
    finish, thoughts = completion.finish_reason, completion.reasoning.strip()
    if completion.tool_calls or completion.text.strip() or finish in ("cancelled", "tool_calls"):
        return
    if finish == "length":
        why = f"reasoning took all of {limit}" if thoughts else f"{limit} were used up before any text came"
        why += "; raise it"
    elif thoughts:
        why = "all that the model wrote is thoughts, which are in .reasoning; ask again"
    else:
        return
    more = "" if asked in OFF else ", or switch reasoning off with reasoning='off'"
    warn(f"the answer is empty: {why}{more}", EmptyAnswerWarning)
