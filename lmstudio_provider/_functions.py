"""Python functions as tools: what the model is told of them, and how they are called with what it wrote."""

from __future__ import annotations

import functools
import inspect
import re
from typing import Any, Callable, Mapping

from ._exceptions import ConfigurationError
from ._hints import Member, Shapes, resolved

# The headings that end the description (Google's style guide for docstrings, and what is usual beside it).
_HEADING = re.compile(r"(Args|Arguments|Parameters|Returns|Yields|Raises|Examples?|Notes?|Attributes|See Also):\s*")
_PARAMETERS = ("Args", "Arguments", "Parameters")


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
            raise ConfigurationError(f"a tool is made of a function, and {function!r} cannot be called")
        for inner in (target, inspect.unwrap(target)):
            if inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner):
                raise ConfigurationError(f"{self.name} is async, and tools are called without a loop", hint="Use def")
            if inspect.isgeneratorfunction(inner):
                raise ConfigurationError(f"{self.name} is a generator, and has no result", hint="Return a list")
        self.description, descriptions = _described(inspect.getdoc(target) or "")
        self._function = function
        self._shapes = Shapes()
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"{self.name}: Python does not tell its parameters: {error}") from error
        hints = resolved(vars(target).get("__init__", target) if isinstance(target, type) else target, self.name)
        members = [self._member(each, hints, descriptions) for each in parameters]
        # Those that go by position alone have to be there: none can be left out before another.
        self._positional = [each.name for each in parameters if each.kind is each.POSITIONAL_ONLY]
        self._shape = self._shapes.record(members, lambda values, path: values, f"{self.name}: the parameter")
        self.schema = self._shapes.whole(self._shape)

    def _member(
        self, parameter: inspect.Parameter, hints: Mapping[str, Any], descriptions: Mapping[str, str]
    ) -> Member:
        where = f"{self.name}: the parameter {parameter.name!r}"
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ConfigurationError(f"{where} takes any number of values", hint="Name each, or hint a list or dict")
        if parameter.name not in hints:
            hint = f"Write {parameter.name}: str, or what it is"
            hint = "Give the method of an instance" if parameter.name == "self" else hint
            raise ConfigurationError(f"{where} has no type hint", hint=hint)
        required = parameter.default is parameter.empty or parameter.kind is parameter.POSITIONAL_ONLY
        default = None if parameter.default is parameter.empty else parameter.default
        return Member(parameter.name, hints[parameter.name], required, default, descriptions.get(parameter.name, ""))

    def read(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as what the hints say; raises MisfitError."""
        values: dict[str, Any] = self._shapes.read(self._shape, dict(arguments))
        return values

    def call(self, values: Mapping[str, Any]) -> Any:
        """Call the function with what ``read`` returned."""
        by_position = [values[name] for name in self._positional]
        return self._function(
            *by_position, **{name: each for name, each in values.items() if name not in self._positional}
        )


def _described(docstring: str) -> tuple[str, dict[str, str]]:
    """What a docstring says of the function, and of each parameter (its Args section)."""
    description: list[str] = []
    parameters: dict[str, str] = {}
    section, name, margin = "", "", 0
    for line in docstring.splitlines():
        heading = _HEADING.fullmatch(line)
        if heading:
            section = heading[1]
        elif not section:
            description.append(line)
        elif section in _PARAMETERS and line.strip():
            entry = re.match(r"(\s+)\*{0,2}(\w+)\s*(?:\(.*?\)\s*)?:\s*(.*)", line)
            depth = len(line) - len(line.lstrip())
            if not depth:
                section = line  # a paragraph of its own
            elif entry and (not name or depth <= margin):
                name, margin = entry[2], depth
                parameters[name] = entry[3]
            elif name:
                parameters[name] = f"{parameters[name]} {line.strip()}".strip()
    return "\n".join(description).strip(), parameters
