"""Checks of arguments. Tables elsewhere give each field its check."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple

from .errors import InvalidRequestError, ProviderError, preview


class Check(NamedTuple):
    """A test of a value, and the text and hint of the error if a value fails it."""

    fits: Callable[[Any], object]
    problem: str
    hint: str = ""


def number(least: float = -math.inf, most: float = math.inf, whole: bool = False) -> Check:
    """Return the check for a number from ``least`` to ``most``; True and False are not numbers here."""

    def fits(value: Any) -> bool:
        sound = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        # JSON has no infinity, and other programs read its numbers as floats.
        return sound and least <= value <= most and abs(value) <= sys.float_info.max

    span = f" from {least:,g} to {most:,g}" if most < math.inf else f", {least:g} or more"
    kind = "whole number" if whole else "number"
    return Check(fits, f"is not valid: use a {kind}{span if least > -math.inf else ''}")


def one_of(*words: str) -> Check:
    """Return the check for one of ``words``."""
    problem = f"is not {'one of ' if words[1:] else ''}{', '.join(map(repr, words))}"
    return Check(lambda value: isinstance(value, str) and value in words, problem)


def instance(kinds: Any, problem: str, hint: str = "") -> Check:
    """Return the check for an instance of one of ``kinds``."""
    return Check(lambda value: isinstance(value, kinds), problem, hint)


NAME = Check(lambda value: isinstance(value, str) and value.strip(), "is not a name")
TEXT = instance(str, "is not text")
FLAG = instance(bool, "is not True or False")
MAPPING = instance(Mapping, "is not a mapping")
FUNCTION = Check(callable, "cannot be called")
ON_TRUNCATION = one_of("warn", "error", "ignore")


def check(what: str, value: object, rule: Check, kind: type[ProviderError] = InvalidRequestError) -> None:
    """Raise an error of that ``kind`` if ``value`` does not pass ``rule``."""
    if not rule.fits(value):
        raise kind(f"{what}={preview(value)} {rule.problem}", hint=rule.hint)


def check_fields(
    values: Mapping[str, Any],
    rules: Mapping[str, Check],
    owner: str = "",
    kind: type[ProviderError] = InvalidRequestError,
) -> None:
    """Raise an error of that ``kind`` for the first value that does not pass its rule; None always passes."""
    for field, rule in rules.items():
        if values[field] is not None:
            check(f"{owner}{field}", values[field], rule, kind)


_COMPACT = json.JSONEncoder(allow_nan=False, separators=(",", ":"))  # json.dumps would make one for each call


def to_json(value: object, what: str, **style: Any) -> str:
    """Return ``value`` as JSON text; raise InvalidRequestError, which names ``what``, if it cannot be written."""
    try:
        return json.dumps(value, allow_nan=False, **style) if style else _COMPACT.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(f"{what} cannot be written as JSON: {error}") from error


def check_provider(what: str, provider: object) -> None:
    """Raise InvalidRequestError if ``provider`` is not a provider, such as a class or a URL."""
    if isinstance(provider, type):
        hint = f"Create an instance: {provider.__name__}()"
        raise InvalidRequestError(f"{what} got the class {provider.__name__}, not a provider", hint=hint)
    if not callable(getattr(provider, "chat", None)) and not callable(getattr(provider, "stream", None)):
        hint = f"Write lm = LMStudioProvider(), {what}(lm, …)"
        raise InvalidRequestError(f"{what} got {type(provider).__name__}, not a provider", hint=hint)
