"""Options that go by name: how type checkers and ``help()`` see them."""

from __future__ import annotations

import inspect
import re
import sys
from inspect import Parameter
from typing import TYPE_CHECKING, Any, Callable, Mapping, TypeVar

from ._types import UNSET

if TYPE_CHECKING:
    from typing_extensions import Unpack  # known to every type checker; nothing to install
elif sys.version_info >= (3, 11):
    from typing import Unpack
else:

    class Unpack:
        """Lets ``typing.get_type_hints`` read ``Unpack[...]`` before Python 3.11."""

        def __class_getitem__(cls, options: Any) -> Any:
            return options


__all__ = ["Unpack", "show_options"]

_Owner = TypeVar("_Owner")


def show_options(defaults: type) -> Callable[[_Owner], _Owner]:
    """Have ``inspect.signature`` and ``help`` show the options of a function, or of each method of a class, by name.

    They stand in the place of ``**options: Unpack[...]``, with the defaults that the class ``defaults`` has.
    """

    def decorate(owner: _Owner) -> _Owner:
        for function in vars(owner).values() if isinstance(owner, type) else [owner]:
            if inspect.isfunction(function) and function.__code__.co_flags & inspect.CO_VARKEYWORDS:
                _show(function, defaults)
        return owner

    return decorate


def _show(function: Any, defaults: type) -> None:
    signature = inspect.signature(function)
    *others, last = signature.parameters.values()
    found = re.fullmatch(r"Unpack\[(\w+)\]", str(last.annotation))
    if found is None:
        return
    options: Mapping[str, Any] = vars(sys.modules[function.__module__])[found[1]].__annotations__
    by_name = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=getattr(defaults, name, UNSET), annotation=hint.__forward_arg__)
        for name, hint in options.items()
    ]
    function.__signature__ = signature.replace(parameters=[*others, *by_name])
