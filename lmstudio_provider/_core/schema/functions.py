"""Python functions as tools: their schema for the model, and calls with the arguments that the model wrote."""

from __future__ import annotations

import functools
import inspect
import re
from typing import Any, Callable, Mapping

from ..errors import ConfigurationError
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


# The headings that end the description: Google's style guide, and numpydoc's sections.
_HEADING = (
    r"([Aa]rgs|[Aa]rguments|[Pp]arameters|Receives|Other Parameters|Keyword Args|Keyword Arguments|Returns|Yields|"
    r"Raises|Warns|Examples?|Notes?|Attributes|References|See Also|Warnings?|Todo):?\s*"
)
_PARAMETERS = ("args", "arguments", "parameters", "other parameters", "keyword args", "keyword arguments")
_FIELDS = ("param", "parameter", "arg", "argument", "key", "keyword")
_FIELD = r"\s*:(\w+)\s*([^:]*):\s*(.*)"
# The type in brackets may contain brackets.
_GOOGLE_ENTRY = r"(\s+)\*{0,2}(\w+)\s*(?:\((?:[^()]|\([^()]*\))*\)\s*)?:\s*(.*)"
_NUMPY_ENTRY = r"()\*{0,2}(\w+(?:\s*,\s*\w+)*)\s*(?::.*)?()"


def described(docstring: str) -> tuple[str, dict[str, str]]:
    """Return the description of a function, and of each parameter; ``docstring`` is as inspect.getdoc returns it."""
    lines = docstring.splitlines()
    description: list[str] = []
    parameters: dict[str, list[str]] = {}
    section, underlined, names, margin = "", False, [""], 0
    for number, line in enumerate(lines):
        following = lines[number + 1] if number + 1 < len(lines) else ""
        heading, field = re.fullmatch(_HEADING, line), re.match(_FIELD, line)
        depth = len(line) - len(line.lstrip())
        if heading and (line.rstrip().endswith(":") or _is_rule(following)):
            section, underlined, names = heading[1], _is_rule(following), [""]
        elif field and section in ("", ":field"):
            kind, words, text = field.groups()
            section, names, margin = (":field", words.split()[-1:] if kind in _FIELDS else [], depth)
            parameters.update((name, [text]) for name in names)
        elif not section:
            description.append(line)
        elif section == ":field":
            for name in names if depth > margin else ():
                parameters[name].append(line.strip())
        elif section.lower() in _PARAMETERS and line.strip() and not _is_rule(line):
            entry = re.fullmatch(_NUMPY_ENTRY if underlined else _GOOGLE_ENTRY, line)
            if not depth and not underlined:
                section = line  # a paragraph after the section
            elif entry and (names == [""] or depth <= margin):
                names, margin = re.split(r"\s*,\s*", entry[2]), depth
                parameters.update((name, [entry[3]]) for name in names)
            else:
                for name in filter(None, names):
                    parameters[name].append(line.strip())
    return "\n".join(description).strip(), {name: " ".join(filter(None, text)) for name, text in parameters.items()}


def _is_rule(line: str) -> bool:
    return len(line.strip()) > 2 and set(line.strip()) == {"-"}
