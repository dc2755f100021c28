"""The user's own functions, called in the middle of a reply, and warnings that point to the user's own line."""

from __future__ import annotations

import sys
import traceback
import warnings
from typing import Callable, Generic, TypeVar

from ._exceptions import InvalidRequestError, shown

_Value = TypeVar("_Value")


class Callback(Generic[_Value]):
    """Calls a function until it fails: what it raises must not cost the reply, and is told as a warning at the end."""

    def __init__(self, name: str, function: Callable[[_Value], object] | None) -> None:
        if function is not None and not callable(function):
            hint = "Options go by name: model=..."
            raise InvalidRequestError(f"{name}={shown(function)} cannot be called", hint=hint)
        self._name = name
        self._function = function
        self._failure = ""

    def __call__(self, value: _Value) -> None:
        if self._function is not None:
            try:
                self._function(value)
            except Exception:
                self._function, self._failure = None, traceback.format_exc()

    def warn(self) -> None:
        """Issue the warning, once, if the function failed."""
        failure, self._failure = self._failure, ""
        if failure:
            warn(f"{self._name} failed, and was not called again:\n{failure}", RuntimeWarning)


def warn(message: str, category: type[Warning]) -> None:
    """Issue a warning for the line outside of this package that led here."""
    level, frame = 1, sys._getframe(1)
    # A with statement leads here by way of contextlib.
    inner = (f"{__package__}.", "contextlib.")
    while frame.f_back is not None and f"{frame.f_globals.get('__name__', '')}.".startswith(inner):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level + 1)
