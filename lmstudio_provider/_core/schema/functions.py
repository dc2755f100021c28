"""Python functions as tools: their schema for the model, and calls with the arguments that the model wrote."""

from __future__ import annotations

import functools
import inspect
from typing import Any, Callable, Mapping

from ..errors import ConfigurationError
from .docstrings import described
from .hints import Member, member, resolved
from .json_schema import fitted
from .schemas import schema_of_members


class Function:
    """A function with the schema of its parameters; raises ConfigurationError for one that cannot be a tool."""

    def __init__(self, function: Callable[..., Any]) -> None:
        target: Any = function
        while isinstance(target, functools.partial):
            target = target.func
        called = target
        if not inspect.isroutine(target) and callable(target) and not isinstance(target, type):
            target = target.__call__  # an object that can be called
        self.name = str(getattr(function, "__name__", None) or getattr(called, "__name__", type(called).__name__))
        if not callable(function):
            raise ConfigurationError(f"{function!r} cannot be called; a tool needs a function")
        for inner in (target, inspect.unwrap(target)):
            if inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner):
                raise ConfigurationError(f"{self.name} is async, but tools run without an event loop", hint="Use def")
        self.description, descriptions = described(inspect.getdoc(target) or "")
        self._function = function
        try:
            self._parameters = inspect.signature(function).parameters
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"{self.name}: its parameters cannot be inspected: {error}") from error
        hints = resolved(vars(target).get("__init__", target) if isinstance(target, type) else target, self.name)
        members = [self._member(each, hints, descriptions) for each in self._parameters.values()]
        self._arguments = schema_of_members(members, f"{self.name}: the parameter")
        self.schema = self._arguments.plain()

    def _member(
        self, parameter: inspect.Parameter, hints: Mapping[str, Any], descriptions: Mapping[str, str]
    ) -> Member:
        where = f"{self.name}: the parameter {parameter.name!r}"
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ConfigurationError(f"{where} takes any number of values", hint="Take a list or a dict")
        if parameter.name not in hints:
            hint = f"Annotate it, such as {parameter.name}: str"
            hint = "Pass the method of an instance" if parameter.name == "self" else hint
            raise ConfigurationError(f"{where} has no type hint", hint=hint)
        description = descriptions.get(parameter.name, "")
        return member(parameter.name, hints[parameter.name], parameter.default, description)

    def read(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments, converted to their type hints; raise MisfitError."""
        values: dict[str, Any] = fitted(arguments, self._arguments)
        return values

    def call(self, values: Mapping[str, Any]) -> Any:
        """Call the function with what ``read`` returned."""
        alone = [each for each in self._parameters.values() if each.kind is each.POSITIONAL_ONLY]
        by_position = [values.get(each.name, each.default) for each in alone]
        names = {each.name for each in alone}
        return self._function(*by_position, **{name: each for name, each in values.items() if name not in names})
