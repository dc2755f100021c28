"""Descriptions of a function and its parameters from a docstring in the style of Google, NumPy or Sphinx."""

from __future__ import annotations

import re

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
