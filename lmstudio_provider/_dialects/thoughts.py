"""Separates reasoning from the answer, if a server leaves it in the text between the marks of the model."""

from __future__ import annotations

import collections
import re
from typing import Collection, Iterator


class _Section:
    """A part of a text, thoughts or the answer, with the marks that end it and the text that must follow each."""

    def __init__(self, thinking: bool, *ends: tuple[str, str]) -> None:
        self.thinking = thinking
        self._ends = ends
        self._end: re.Pattern[str] | None = None
        # A mark in code does not count: that is known as soon as the backtick behind it has come.
        quoted = [f"`{end}`" for end, following in ends if not following]
        self._awaited = [end + following for end, following in ends] + quoted
        self._longest = max(map(len, self._awaited), default=0)
        self._last = [end for end, following in ends if end and following]

    @property
    def end(self) -> re.Pattern[str]:
        """The pattern of the marks that end the section."""
        # Not a cached_property: before Python 3.12 that has a lock, which a fork may leave locked.
        if self._end is None:
            patterns = [re.escape(end) + (f"(?={re.escape(after)})" if after else "") for end, after in self._ends]
            self._end = re.compile("|".join(patterns) or "(?!)")
        return self._end

    def held_from(self, text: str, at: int) -> int:
        """Return the position from which ``text`` could become a mark that ends the section."""
        for start in range(max(at, len(text) - self._longest), len(text)):
            tail = text[start:]
            if any(mark != tail and mark.startswith(tail) for mark in self._awaited):
                return start
        return len(text)

    def last_end(self, text: str, at: int) -> int:
        """Return the end of the section in a text that is over, in which nothing has to follow a mark."""
        return len(text) - max((len(end) for end in self._last if text.endswith(end, at)), default=0)


# gpt-oss writes a row of messages, each with a channel. A message that calls a tool is left as it is.
_NEXT = "<|start|>assistant"
_ANALYSIS = _Section(True, ("<|end|>", ""), ("<|return|>", ""), ("", _NEXT), ("", "<|channel|>final"))
_SAID = _Section(False, ("<|end|>", _NEXT), ("<|return|>", _NEXT))
_CHANNELS = {"analysis": _ANALYSIS, "commentary": _SAID, "final": _SAID}
_HEADER = (
    rf"(?:{re.escape(_NEXT)})?<\|channel\|>({'|'.join(_CHANNELS)})"
    r"\s?(?:(?:<\|constrain\|>\s?)?[\w.-]+)?\s?<\|message\|>"
)
_HEADERS = ("<|channel|>", f"{_NEXT}<|channel|>")

_ANSWER = _Section(False)
# The sections by the marks that begin them: of most models, of Magistral and of Gemma.
_SECTIONS = {
    "": _ANSWER,
    "<think>": _Section(True, ("</think>", "")),
    "[THINK]": _Section(True, ("[/THINK]", "")),
    **dict.fromkeys((f"<|channel>thought{blank}" for blank in ("", " ", "\n")), _Section(True, ("<channel|>", ""))),
}
# More than the marks have, and the headers of gpt-oss.
_LONGEST = 120
_NO_BLANK = re.compile(r"\S")
_MAX_BLANKS = 1000


class ThoughtSplitter:
    """Separates thoughts from the answer, even if the marks come in pieces.

    A mark counts only at the beginning of a section, so an answer may mention marks. ``parted`` is True if a section
    came before.
    """

    def __init__(self, parted: bool = False) -> None:
        self._parted = parted
        self._section: _Section | None = None
        self._held = ""
        # Backticks of the line that came: an odd number has begun a code span.
        self._backticks = 0
        self.over = False
        """True if all that comes is the answer, so that ``feed`` would return it as it is."""

    def feed(self, text: str, end: bool = False) -> tuple[str, str]:
        """Return the text that ``text`` adds to the answer and to the reasoning; ``end`` holds nothing back."""
        if self.over:
            return text, ""
        text, at = self._held + text, 0
        said: tuple[list[str], list[str]] = ([], [])
        while at < len(text):
            if self._section is None:
                at = self._begin(text, at, end)
                if self._section is None:
                    break
                if self.over:
                    said[False].append(text[at:])
                    at = len(text)
                    break
            section, hold = self._section, len(text) if end else self._section.held_from(text, at)
            found = section.end.search(text, at, hold)
            stop = found.start() if found else section.last_end(text, at) if end else hold
            piece = text[at:stop]
            _, newline, line = piece.rpartition("\n")
            self._backticks = line.count("`") + (0 if newline else self._backticks)
            if found and self._backticks % 2 and piece.endswith("`") and text.startswith("`", found.end()):
                piece += found[0]  # the thoughts mention their mark, as code
            elif found:
                self._section = None
            said[section.thinking].append(piece)
            at = found.end() if found else stop
            if not found:
                break
        self._held = text[at:]
        return "".join(said[False]), "".join(said[True])

    def _begin(self, text: str, at: int, end: bool) -> int:
        """Set the section that begins, if that is known, and return the position of its text."""
        found = _NO_BLANK.search(text, at)
        start = found.start() if found else len(text)
        if self._parted:
            at = start  # the blanks between sections belong to neither
        mark, section = "", _ANSWER
        following = text[start : start + _LONGEST]
        # Endless blanks are not held back for ever. All marks begin with "<" or "[", and most answers do not.
        if start - at < _MAX_BLANKS and following[:1] in ("", "<", "["):
            if not end and _may_go_on(following):
                return at
            header = re.match(_HEADER, following)
            mark = header[0] if header else max(filter(following.startswith, _SECTIONS), key=len)
            section = _CHANNELS[header[1]] if header else _SECTIONS[mark]
        self._section, self._backticks, self.over = section, 0, section is _ANSWER
        self._parted = True
        return start + len(mark) if mark else at


def _may_go_on(text: str) -> bool:
    """Return True if ``text`` may be the beginning of a mark."""
    if text.startswith(_HEADERS) and "<|message|>" not in text:
        return len(text) < _LONGEST
    return any(each != text and each.startswith(text) for each in (*_SECTIONS, *_HEADERS))


def split_thoughts(text: str) -> tuple[str, str]:
    """Return the answer and the thoughts of a whole text."""
    answer, thoughts = ThoughtSplitter().feed(text, end=True)
    answer, unopened = split_unopened(answer)
    return answer, thoughts + unopened


def split_unopened(answer: str) -> tuple[str, str]:
    """Return the answer and the thoughts, separated at the first mark that ends thoughts and that nothing opened.

    Some templates put the mark that opens thoughts into the prompt (LM Studio bug-tracker 803, 2147). A mark in a code
    span, a fence or quotes does not count: an answer may mention marks.
    """
    if not re.search(_CLOSE, answer):
        return answer, ""
    opened: collections.Counter[str] = collections.Counter()
    for mark in _marks_outside_quotes(answer):
        opens = _OPENED_BY.get(mark[0])
        if opens is None:
            opened[mark[0]] += 1
        elif opened[opens]:
            opened[opens] -= 1
        else:
            rest, more = ThoughtSplitter(parted=True).feed(answer[mark.end() :], end=True)
            return rest, answer[: mark.start()] + more
    return answer, ""


_OPENED_BY = {"</think>": "<think>", "[/THINK]": "[THINK]", "<channel|>": "<|channel>thought", "<|end|>": "<|channel|>"}
_OPEN = "|".join(map(re.escape, _OPENED_BY.values()))
_CLOSE = rf"</think>|\[/THINK\]|<channel\|>|<\|end\|>(?={re.escape(_NEXT)})"
# The characters that end quotes, by the one that begins them.
_QUOTES = {
    pair[0]: pair[1:]
    for pair in (
        "\"\"", "''", "“”", "„“”", "\u2018\u2019", "\u201a\u2018\u2019", "«»", "»«", "\u2039\u203a", "\u203a\u2039",
        "「」", "『』", "《》", "〈〉", "〝〞〟", "｢｣", "\uff02\uff02", "\uff07\uff07",
    )
}  # fmt: skip
# These may also be apostrophes, inches, or a part of a Hebrew word, beside a letter or digit of a script with blanks
# between words, unlike Thai and Chinese.
_AMBIGUOUS = "[\"'\u2019]"
_OF_WORD = r"(?=[\0-\u0dff])[^\W_]"  # a negated set of all that follows takes 4 ms to compile
_CANNOT_BEGIN = rf"(?<={_OF_WORD}){_AMBIGUOUS}|{_AMBIGUOUS}(?=\s)"
_CANNOT_END = rf"(?<=\s){_AMBIGUOUS}|{_AMBIGUOUS}(?={_OF_WORD})"
# Quotes with only a mark in them, with blanks or without. In Swedish and Finnish, both sides are the same. Arabic and
# Hebrew join words such as "and" to the quotes; inches follow a digit.
_ENDS_ALONE = {**_QUOTES, "”": "”", "\u2019": "\u2019", "»": "«»"}
_NOT_ALONE = rf"(?<=\d)\"|(?<={_OF_WORD})['\u2019]"
_ALONE = rf"(?!{_NOT_ALONE}).[^\S\n]{{0,2}}(?:{_OPEN}|{_CLOSE})[^\S\n]{{0,2}}(.)"
# A backslash escapes the next character, except a backtick: in code, a backslash is an ordinary character.
_TOKEN = rf"\\[^`]|`+|[{''.join([*_QUOTES, *_QUOTES.values()])}]|(?P<mark>{_OPEN}|{_CLOSE})"
_LINE = r"[^\n]*\n|[^\n]+"
_QUOTED = r"\s*>"
# A fence may begin in an item of a list.
_FENCE = r"\s*(?:(?:[-*+]|\d+[.)])\s+)?(`{3,}|~{3,})"
_AFTER_FENCE = rf"\s*(?:\Z|{_CLOSE})"


def _marks_outside_quotes(text: str) -> Iterator[re.Match[str]]:
    """Yield the marks outside fences, quoted lines, and code spans or quotes that end in their line."""
    fence_at, after_fence, quoted_at = (re.compile(each).match for each in (_FENCE, _AFTER_FENCE, _QUOTED))
    fence = ""
    for line in re.finditer(_LINE, text):
        start, stop = line.span()
        run = fence_at(text, start, stop)
        if fence:
            if not (run and run[1].startswith(fence) and after_fence(text, run.end(), stop)):
                continue
            fence, start = "", run.end()
        elif run and (run[1][0] == "~" or "`" not in text[run.end() : stop]):
            fence = run[1]
            continue
        if not quoted_at(text, start, stop):
            yield from _marks_of_line(text, start, stop)


def _marks_of_line(text: str, start: int, stop: int) -> Iterator[re.Match[str]]:
    find, alone_at = re.compile(_TOKEN).finditer, re.compile(_ALONE).match
    cannot_begin, cannot_end = re.compile(_CANNOT_BEGIN).match, re.compile(_CANNOT_END).match
    # Twice, because a list of the tokens would take a hundred times the memory of a text of quotes.
    tokens = find(text, start, stop)
    last = {token[0]: token.start() for token in tokens if not cannot_end(text, token.start())}
    ends: Collection[str] = ()
    for token in find(text, start, stop):
        if token.start() < start:
            continue  # in quotes that are over
        if ends:
            if token[0] in ends and not cannot_end(text, token.start()):
                ends = ()
        elif token["mark"]:
            yield token
        elif (alone := alone_at(text, token.start(), stop)) and alone[1] in _ENDS_ALONE.get(token[0], ""):
            start = alone.end()
        elif not cannot_begin(text, token.start()):
            wanted = [token[0]] if token[0][0] == "`" else _QUOTES.get(token[0], "")
            ends = wanted if any(last.get(each, -1) > token.start() for each in wanted) else ()
