"""Functions of the user that are called during a call, and warnings that name a line of the user's code."""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
import warnings
from typing import Callable, Generic, TypeVar

from .checks import FUNCTION, check_fields

logger = logging.getLogger("lmstudio_provider")

_Value = TypeVar("_Value")


class Callback(Generic[_Value]):
    """Calls a function, if there is one. Its exception ends the call and reaches the caller."""

    def __init__(self, name: str, function: Callable[[_Value], object] | None) -> None:
        check_fields({name: function}, {name: FUNCTION._replace(hint="Options go by name: model=...")})
        self._function = function

    def __call__(self, value: _Value) -> None:
        if self._function is not None:
            self._function(value)


def report_failure(what: str, *, quiet: bool = False) -> None:
    """Log the exception that is being handled, and warn of it unless ``quiet``; the call goes on.

    The call goes on, too, if the user turns warnings into errors, because its reply must not be lost.
    """
    logger.exception("%s failed; the call is not affected", what)
    if not quiet:
        with contextlib.suppress(RuntimeWarning):
            warn(f"{what} failed; the call is not affected:\n{traceback.format_exc()}", RuntimeWarning)


def warn(message: str, category: type[Warning]) -> None:
    """Issue a warning for the line outside of this package that led here."""
    level, frame = 1, sys._getframe(1)
    package = __name__.rpartition("._core.")[0]  # a vendored copy has another name
    # contextlib calls the package at the end of a with statement.
    inner = (f"{package}.", "contextlib.")
    while frame.f_back is not None and f"{frame.f_globals.get('__name__', '')}.".startswith(inner):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level + 1)
