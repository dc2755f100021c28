"""What is finished of the JSON value in an answer that is still coming."""

from __future__ import annotations

import contextlib
import re
from typing import Any, Callable, Collection, Mapping, Sequence

from ..growing_text import GrowingText
from ..json import MOST_NESTED, loads_leniently
from .json_schema import MisfitError

_ItemsAt = Callable[[Sequence[str]], Callable[[Any], Any]]
# The characters that end something: in a string, in an item of an array, and elsewhere.
_IN_STRING, _IN_ITEM, _ELSEWHERE = re.compile(r'["\\]'), re.compile(r'["{}\[\]]'), re.compile(r'["{}\[\],:]')
# The characters that are read again at most, for each one of the answer.
_MOST_RETRIED = 10


class PartialAnswer:
    """Reads an answer as it grows, each character of its JSON once.

    ``schema`` is the one that was sent. If it wraps the value as the member "value" of an object, ``inner`` is that of
    the value. ``items_at`` takes the names that lead to an array, and returns the function that converts its items.
    """

    def __init__(self, schema: Mapping[str, Any], inner: Mapping[str, Any] | None, items_at: _ItemsAt) -> None:
        kind, names = (schema if inner is None else inner).get("type"), schema.get("properties")
        self._begin = re.compile(r"[\[{]" if kind is None or "array" in str(kind) else "{")
        # Not wrapped, a value of a union may have the members of any option.
        self._known = names if isinstance(names, Mapping) and (inner is None or kind) else {}
        self._is_wrapped = inner is not None
        self._items_at = items_at
        self._text: GrowingText | None = None
        # The value that is read now, and its text from earlier calls, after its bracket and until it fits.
        self._value: _Value | None = None
        self._earlier = GrowingText()

    def read(self, text: GrowingText) -> Any:
        """Return what is finished: None, or objects as dicts and arrays as lists of converted items.

        What was finished before the text stopped being JSON stays, until another value of the type begins.
        """
        if text is not self._text:
            self._text, self._position, self._value = text, (0, 0, 0), None
            self._given, self._is_sure, self._left = None, False, 0
        new, self._position = text_since(text, self._position)
        self._left += _MOST_RETRIED * len(new)
        at = start = 0
        while at < len(new):
            if self._value is None:
                begin = self._begin.search(new, at)
                if begin is None:
                    break
                at = start = begin.end()
                self._value, self._earlier = _Value(begin[0], self._known, self._items_at), GrowingText()
            at = self._value.read(new, at)
            self._give(self._value)
            if self._value.is_broken and not self._value.fits and self._left > 0:
                # It was not the answer, which may begin in it: "{" may stand in words or code before the answer.
                earlier = self._earlier.whole()
                self._left -= len(earlier) + at - start
                new, at = (earlier + new, 0) if earlier else (new, start)
            if self._value.is_over:
                self._value = None
        if self._value is not None and not self._value.fits:
            self._earlier.add(new[start:])
        return self._given

    def _give(self, value: _Value) -> None:
        """Give what is finished of ``value``, unless an earlier value is more likely the answer."""
        if value.has_news and (value.fits or not self._is_sure):
            self._given, self._is_sure = value.copy(), value.fits
            if self._is_wrapped and isinstance(self._given, dict) and self._given.keys() <= {"value"}:
                self._given = self._given.get("value")


class _Value:
    """One JSON value: its objects and arrays while they are open, and the beginning of the part that is read now."""

    def __init__(self, bracket: str, known: Collection[str], items_at: _ItemsAt) -> None:
        self._known, self._items_at = known, items_at
        # The objects and arrays that are not finished, each a part of the one before it, and the names of these parts.
        # An array is always the last of them, because its items are read whole.
        self._open: list[Any] = []
        self._path: list[str] = []
        self._held = GrowingText()
        # Of the member that is read now: its name, if that has come, and whether a colon followed; of a member or an
        # item, whether its value has ended.
        self._name: str | None = None
        self._has_colon = self._has_ended = False
        # The brackets that are open in an item of an array.
        self._depth = 0
        self._is_quoted = False
        # The characters of the next text to skip, because a backslash escapes them.
        self._skip = 0
        self.fits = False
        """True if it is what was asked for, as far as its first member or item shows."""
        self.has_news = False
        """True if something was finished since the last copy."""
        self.is_over = self.is_broken = False
        """``is_over`` is True if it ended, or stopped being JSON; ``is_broken`` in the second case."""
        self._enter(bracket)

    def copy(self) -> Any:
        """Return what is finished, or nothing of a value that was not asked for.

        The copy shares the finished parts, but does not grow.
        """
        self.has_news, value = False, None
        if not self.fits:
            return type(self._open[0])()
        for container, name in zip(reversed(self._open), [None, *reversed(self._path)]):
            inner, value = value, container.copy()
            if name is not None:
                value[name] = inner
        return value

    def read(self, text: str, at: int) -> int:
        """Read ``text`` from ``at``, and return the position after it, or the one where the value was over."""
        start, at, mark = at, at + self._skip, ""
        try:
            while not self.is_over:
                pattern = _IN_STRING if self._is_quoted else _IN_ITEM if self._depth else _ELSEWHERE
                found = pattern.search(text, at)
                if found is None:
                    self._held.add(text[start:])
                    self._skip = max(at - len(text), 0)
                    return len(text)
                mark, at = found[0], found.end()
                if mark == "\\":
                    at += 1
                elif self._is_structure(mark):
                    before, start = text[start : found.start()], at
                    self._take(mark, self._all_of(before))
                elif not self._is_quoted and not self._depth:
                    whole, start = text[start:at], at
                    self._finish(self._all_of(whole))
        except ValueError:
            self.is_over = self.is_broken = True
            at -= mark in "[{"  # it may begin another value
        return at

    def _is_structure(self, mark: str) -> bool:
        """Return True if ``mark`` is outside of strings and of items of arrays, whose beginnings and ends are noted."""
        if mark == '"':
            self._is_quoted = not self._is_quoted
        elif self._depth or (mark in "[{" and isinstance(self._open[-1], list)):
            self._depth += 1 if mark in "[{" else -1
        else:
            return True
        return False

    def _all_of(self, text: str) -> str:
        """Return ``text`` after what was held of earlier texts."""
        if self._held.length:
            text, self._held = self._held.whole() + text, GrowingText()
        return text

    def _take(self, mark: str, before: str) -> None:
        """Take a mark of the structure, and the text before it; raise ValueError if it cannot stand here."""
        is_blank = not before.strip()
        if mark == ":":
            _expect(is_blank and self._name is not None and not self._has_colon)
            self._has_colon = True
            if len(self._open) == 1 and (not self._known or self._name in self._known):
                self.fits = self.has_news = True
        elif mark in "[{":
            _expect(is_blank and self._has_colon and not self._has_ended and len(self._open) < MOST_NESTED)
            self._enter(mark)
        else:
            if not is_blank:
                self._finish(before)  # a number or a word
            if mark == ",":
                _expect(self._has_ended)
                self._next()
            else:
                _expect(self._has_ended or self._name is None)  # a last comma does not matter
                self._leave(mark)

    def _finish(self, text: str) -> None:
        """Take a name, an item or the value of a member, which has ended."""
        value, container = loads_leniently(text), self._open[-1]
        _expect(not self._has_ended)
        if isinstance(container, dict) and self._name is None:
            _expect(isinstance(value, str))
            self._name = value
            return
        if isinstance(container, dict):
            _expect(self._has_colon)
            container[self._name] = value
        else:
            with contextlib.suppress(MisfitError):  # the end of the stream reports it
                container.append(self._convert(value))
                self.fits = self.fits or len(self._open) == 1
        self._has_ended = self.has_news = True

    def _enter(self, bracket: str) -> None:
        if self._name is not None:
            self._path.append(self._name)
        self._open.append({} if bracket == "{" else [])
        if bracket == "[":
            self._convert = self._items_at(self._path)
        self.has_news = True
        self._next()

    def _leave(self, bracket: str) -> None:
        _expect(isinstance(self._open[-1], list if bracket == "]" else dict))
        if len(self._open) == 1:
            self.is_over = True
            return
        self._next()
        container, self._name = self._open.pop(), self._path.pop()
        self._open[-1][self._name] = container
        self._has_colon = self._has_ended = True

    def _next(self) -> None:
        """Begin another member or item."""
        self._name = None
        self._has_colon = self._has_ended = False


# The blocks, the pieces after them, and the characters of these pieces, that were read.
_Position = tuple[int, int, int]


def text_since(text: GrowingText, position: _Position) -> tuple[str, _Position]:
    """Return the text that came after ``position``, and the position of its end."""
    read_blocks, read, characters = position
    blocks, count, pieces = text.parts()
    earlier: list[str] = []
    if count > read_blocks:
        earlier = [blocks[read_blocks][characters:], *blocks[read_blocks + 1 : count]]
        read = characters = 0
    new = pieces[read:]
    end = "".join(new)
    return "".join([*earlier, end]), (count, read + len(new), characters + len(end))


def _expect(condition: bool) -> None:
    if not condition:
        raise ValueError
