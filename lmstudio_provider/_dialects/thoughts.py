"""Separates reasoning from the answer if a server leaves it in the text, between the marks of the model."""

from __future__ import annotations

import collections
import re
from typing import Collection, Iterator


class _Section:
    """A part of a text, thoughts or the answer, and what ends it: marks, each with what has to follow it."""

    def __init__(self, thinking: bool, *ends: tuple[str, str]) -> None:
        self.thinking = thinking
        patterns = [re.escape(end) + (f"(?={re.escape(following)})" if following else "") for end, following in ends]
        self.end = re.compile("|".join(patterns) or "(?!)")
        # In code, a mark may be spoken of: that is known when the backtick behind it has come.
        quoted = [f"`{end}`" for end, following in ends if not following]
        self._awaited = [end + following for end, following in ends] + quoted
        self._longest = max(map(len, self._awaited), default=0)
        self._last = [end for end, following in ends if end and following]

    def held_from(self, text: str, at: int) -> int:
        """Return where the end of ``text`` begins that could become an end of the section."""
        for start in range(max(at, len(text) - self._longest), len(text)):
            tail = text[start:]
            if any(mark != tail and mark.startswith(tail) for mark in self._awaited):
                return start
        return len(text)

    def last_end(self, text: str, at: int) -> int:
        """Return where the section ends in a text that is over, in which nothing has to follow."""
        return len(text) - max((len(end) for end in self._last if text.endswith(end, at)), default=0)


# What gpt-oss writes is a row of messages, each with a channel. A message that calls a tool is left as it is.
_NEXT = "<|start|>assistant"
_ANALYSIS = _Section(True, ("<|end|>", ""), ("<|return|>", ""), ("", _NEXT), ("", "<|channel|>final"))
_SAID = _Section(False, ("<|end|>", _NEXT), ("<|return|>", _NEXT))
_CHANNELS = {"analysis": _ANALYSIS, "commentary": _SAID, "final": _SAID}
_HEADER = re.compile(
    rf"(?:{re.escape(_NEXT)})?<\|channel\|>({'|'.join(_CHANNELS)})\s?(?:(?:<\|constrain\|>\s?)?[\w.-]+)?\s?<\|message\|>"
)
_HEADERS = ("<|channel|>", f"{_NEXT}<|channel|>")

_ANSWER = _Section(False)
#: The sections by the marks that begin them: of most models, of Magistral and of Gemma.
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
    """Parts thoughts from the answer, also where the marks come in pieces.

    A mark counts only where a section begins, so that an answer may speak of marks. ``parted`` says that a section
    came before.
    """

    def __init__(self, parted: bool = False) -> None:
        self._parted = parted
        self._section: _Section | None = None
        self._held = ""
        # Backticks of the line that came: an odd number has begun a code span.
        self._backticks = 0

    def feed(self, text: str, end: bool = False) -> tuple[str, str]:
        """Return what ``text`` adds to the answer, and what it adds to the reasoning; ``end`` holds nothing back."""
        if self._section is _ANSWER:
            return text, ""
        text, at = self._held + text, 0
        said: tuple[list[str], list[str]] = ([], [])
        while at < len(text):
            if self._section is None:
                at = self._begin(text, at, end)
                if self._section is None:
                    break
            section, hold = self._section, len(text) if end else self._section.held_from(text, at)
            found = section.end.search(text, at, hold)
            stop = found.start() if found else section.last_end(text, at) if end else hold
            piece = text[at:stop]
            _, newline, line = piece.rpartition("\n")
            self._backticks = line.count("`") + (0 if newline else self._backticks)
            if found and self._backticks % 2 and piece.endswith("`") and text.startswith("`", found.end()):
                piece += found[0]  # thoughts that speak of their own end, as code
            elif found:
                self._section = None
            said[section.thinking].append(piece)
            at = found.end() if found else stop
            if not found:
                break
        self._held = text[at:]
        return "".join(said[False]), "".join(said[True])

    def _begin(self, text: str, at: int, end: bool) -> int:
        """Set the section that begins, if that is known, and return where its text begins."""
        found = _NO_BLANK.search(text, at)
        start = found.start() if found else len(text)
        if self._parted:
            at = start  # the blanks between sections belong to none
        mark, section = "", _ANSWER
        if start - at < _MAX_BLANKS:  # endless blanks are not held back for ever
            following = text[start : start + _LONGEST]
            if not end and _may_go_on(following):
                return at
            header = _HEADER.match(following)
            mark = header[0] if header else max(filter(following.startswith, _SECTIONS), key=len)
            section = _CHANNELS[header[1]] if header else _SECTIONS[mark]
        self._section, self._backticks = section, 0
        self._parted = self._parted or bool(mark)
        return start + len(mark) if mark else at


def _may_go_on(text: str) -> bool:
    """Return whether ``text`` may be the beginning of a mark that is not whole."""
    if text.startswith(_HEADERS) and "<|message|>" not in text:
        return len(text) < _LONGEST
    return any(each != text and each.startswith(text) for each in (*_SECTIONS, *_HEADERS))


def split_thoughts(text: str) -> tuple[str, str]:
    """Return the answer and the thoughts of a whole text."""
    answer, thoughts = ThoughtSplitter().feed(text, end=True)
    answer, unopened = split_unopened(answer)
    return answer, thoughts + unopened


def split_unopened(answer: str) -> tuple[str, str]:
    """Part an answer at the first mark that ends thoughts and that nothing opened; return the answer and the thoughts.

    Some templates put the mark that opens thoughts into the prompt (LM Studio bug-tracker 803, 2147). A mark in a code
    span, a fence or quotes is not one: an answer may speak of marks.
    """
    opened: collections.Counter[str] = collections.Counter()
    for mark in _marks_outside_quotes(answer) if _CLOSING.search(answer) else ():
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
_CLOSING = re.compile(_CLOSE)
#: The ends of quotes, by what begins them.
_QUOTES = {
    pair[0]: pair[1:]
    for pair in (
        "\"\"", "''", "“”", "„“”", "\u2018\u2019", "\u201a\u2018\u2019", "«»", "»«", "\u2039\u203a", "\u203a\u2039",
        "「」", "『』", "《》", "〈〉", "〝〞〟", "｢｣", "\uff02\uff02", "\uff07\uff07",
    )
}  # fmt: skip
# Quotes that have nothing but a mark in them, with blanks or without. In Swedish and Finnish, both sides are the same.
_ALONE = re.compile(
    "|".join(
        rf"{begin}[^\S\n]{{0,2}}(?:{_OPEN}|{_CLOSE})[^\S\n]{{0,2}}[{ends}]"
        for begin, ends in [*_QUOTES.items(), ("”", "”"), ("\u2019", "\u2019"), ("»", "»")]
    )
)
# These may also be apostrophes, inches, or a part of a Hebrew word.
_AMBIGUOUS = "\"'\u2019"
# A backslash takes its meaning from what follows, but for a backtick: in code it is a character like any other.
_TOKEN = re.compile(rf"\\[^`]|`+|[{''.join([*_QUOTES, *_QUOTES.values()])}]|(?P<mark>{_OPEN}|{_CLOSE})")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_QUOTED = re.compile(r"\s*>")
# A fence may begin in an item of a list.
_FENCE = re.compile(r"\s*(?:(?:[-*+]|\d+[.)])\s+)?(`{3,}|~{3,})")
_AFTER_FENCE = re.compile(rf"\s*(?:\Z|{_CLOSE})")


def _marks_outside_quotes(text: str) -> Iterator[re.Match[str]]:
    """Yield the marks that stand in no fence, no quoted line, and no code span or quotes that end in their line."""
    fence = ""
    for line in _LINE.finditer(text):
        start, stop = line.span()
        run = _FENCE.match(text, start, stop)
        if fence:
            if not (run and run[1].startswith(fence) and _AFTER_FENCE.match(text, run.end(), stop)):
                continue
            fence, start = "", run.end()
        elif run and (run[1][0] == "~" or "`" not in text[run.end() : stop]):
            fence = run[1]
            continue
        if not _QUOTED.match(text, start, stop):
            yield from _marks_of_line(text, start, stop)


def _marks_of_line(text: str, start: int, stop: int) -> Iterator[re.Match[str]]:
    # Twice, because a list of the tokens would take a hundred times the memory of a text of quotes.
    last = {token[0]: token.start() for token in _TOKEN.finditer(text, start, stop) if _can_end(text, token)}
    ends: Collection[str] = ()
    for token in _TOKEN.finditer(text, start, stop):
        if token.start() < start:
            continue  # in quotes that are over
        if ends:
            if token[0] in ends and _can_end(text, token):
                ends = ()
        elif token["mark"]:
            yield token
        elif alone := _alone(text, token, stop):
            start = alone.end()
        else:
            wanted = [token[0]] if token[0][0] == "`" else _QUOTES.get(token[0], "") if _can_begin(text, token) else ""
            ends = wanted if any(last.get(each, -1) > token.start() for each in wanted) else ()


def _alone(text: str, token: re.Match[str], stop: int) -> re.Match[str] | None:
    """Return the quotes that begin with ``token`` and have nothing but a mark in them, if they are such quotes."""
    before, _ = _beside(text, token)
    # Arabic and Hebrew join words such as "and" to the quotes; inches follow a digit.
    apart = not (before.isdigit() if token[0] == '"' else token[0] in _AMBIGUOUS and _is_of_word(before))
    return _ALONE.match(text, token.start(), stop) if apart else None


def _can_begin(text: str, token: re.Match[str]) -> bool:
    """Return whether quotes can begin with ``token``."""
    before, after = _beside(text, token)
    return token[0] not in _AMBIGUOUS or not (_is_of_word(before) or after.isspace())


def _can_end(text: str, token: re.Match[str]) -> bool:
    """Return whether quotes, or code, can end with ``token``."""
    before, after = _beside(text, token)
    return token[0] not in _AMBIGUOUS or not (before.isspace() or _is_of_word(after))


def _is_of_word(character: str) -> bool:
    """Return whether it is a letter or digit of a script with blanks between words, unlike Thai and Chinese."""
    return character.isalnum() and character < "\u0e00"


def _beside(text: str, token: re.Match[str]) -> tuple[str, str]:
    return text[max(0, token.start() - 1) : token.start()], text[token.end() : token.end() + 1]
