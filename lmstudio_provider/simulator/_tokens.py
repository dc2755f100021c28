"""How a stand-in counts tokens: a word, with the blanks before it, is one."""

from __future__ import annotations

import re
from typing import Iterable, Mapping


def pieces(text: str) -> list[str]:
    """Return the text in pieces of one word, which stand in for tokens."""
    return re.findall(r"\s*\S+|\s+", text)


def count(texts: Iterable[str]) -> int:
    """Return how many tokens the texts have."""
    return sum(len(pieces(text)) for text in texts)


def cut(tokens: list[str], length: int) -> list[str]:
    """Return the tokens as far as the first ``length`` characters; the last may be a part of one."""
    kept = []
    for token in tokens:
        if length <= 0:
            break
        kept.append(token[:length])
        length -= len(token)
    return kept


def call_tokens(call: Mapping[str, Mapping[str, str]]) -> int:
    """Return how many tokens a tool call in OpenAI's form has: those of its name and of its arguments."""
    return count((call["function"]["name"], call["function"]["arguments"]))
