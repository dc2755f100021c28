"""The structure of an answer: its JSON schema, and what becomes of its JSON."""

from __future__ import annotations

import json
import re
from typing import Any, Callable, Iterator, Mapping, Sequence

from ..errors import ConfigurationError, StructuredOutputError
from ..json import is_too_deep, loads_leniently
from ..types import Completion
from .json_schema import MisfitError

try:
    from .partial import PartialAnswer
except ImportError:  # a vendored copy may leave it out
    PartialAnswer = None  # type: ignore[assignment, misc]


class Structure:
    """The name and the JSON schema that a request sends, and the conversion of a JSON value to an instance.

    If the schema is None, the answer may be any JSON. ``inner`` is the schema of the instance, if it is wrapped into an
    object.
    """

    def __init__(
        self,
        name: str,
        schema: Mapping[str, Any] | None,
        read: Callable[[Any], Any],
        said: str = "",
        inner: Mapping[str, Any] | None = None,
        items_at: Callable[[Sequence[str]], Callable[[Any], Any]] = lambda path: lambda item: item,
    ) -> None:
        self.name = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64].strip("_") or "answer"
        self.schema = schema
        self._said = said or name or "JSON of that schema"
        self._read = read
        self._inner = inner
        self._items_at = items_at

    def partial(self) -> PartialAnswer:
        """Return a reader of an answer that is still coming."""
        if PartialAnswer is None:
            what = "partial_parsed() needs '_core.schema.partial', which was left out of this copy"
            raise ConfigurationError(what, hint="completion.parsed is the whole answer")
        return PartialAnswer(self.schema or {}, self._inner, self._items_at)

    def parse(self, completion: Completion) -> Any:
        """Return the instance that the answer describes; raise StructuredOutputError."""
        # Reasoning models were seen to leave the answer in the reasoning field (LM Studio bug-tracker 1698).
        text = completion.text if completion.text.strip() else completion.reasoning
        misfit: tuple[str, str] | None = None
        for candidate in _candidates(text, completion.finish_reason == "length"):
            try:
                return self._read(loads_leniently(candidate))
            except MisfitError as error:
                misfit = misfit or (error.path, error.why)
            except json.JSONDecodeError:
                continue
            except ValueError as error:  # more digits than Python reads, or nested too deeply
                misfit = misfit or ("$", f"it cannot be read ({error})")
        path, why = misfit or ("$", "there is no complete JSON value in it")
        hint = "Try a larger model or a simpler type; .text has the answer"
        if completion.finish_reason == "length":
            hint = "max_tokens cut it off: raise max_tokens; .text has the answer"
        raise StructuredOutputError(
            f"the answer is not valid as {self._said}: at {path} {why}; it begins {text[:200]!r}",
            hint=hint,
            text=text,
            path=path,
            partial=completion,
            sent=True,
        )


def _candidates(text: str, cut: bool) -> Iterator[str]:
    """Yield the parts of an answer that may be its JSON: the whole text, then the values in it, the last one first.

    Models put JSON into fenced blocks, or write words around it. If the text was ``cut`` off, a complete value in it
    is only a part of the answer.
    """
    yield text
    if not cut:
        yield from reversed(re.findall(_FENCED, text, re.S))
    found: list[str] = []
    decoder = json.JSONDecoder(strict=False, parse_int=str)  # int() refuses thousands of digits
    position, left = 0, 10 * len(text)
    for _ in range(0 if cut or is_too_deep(text) else 1000):
        start = _BEGIN.search(text, position)
        if start is None or left < 0:
            break
        try:
            _, position = decoder.raw_decode(text, start.start())
            found.append(text[start.start() : position])
        except json.JSONDecodeError as error:
            if error.msg.startswith("Unterminated") or error.pos >= len(text.rstrip()):
                return  # the text ends inside a value
            position = start.end()
            left -= error.pos - position  # nested JSON breaks at the same place for each bracket around it
        except RecursionError:
            break
    yield from reversed(found)


_BEGIN = re.compile(r"[\[{]")
_FENCED = r"```[^\n`]*\n(.*?)```"
