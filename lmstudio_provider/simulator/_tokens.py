"""Tokens of a stand-in: a word with the blanks before it is one."""

from __future__ import annotations

import re
from typing import Iterable, Mapping


def pieces(text: str) -> list[str]:
    """Split the text into tokens, which are words."""
    return re.findall(r"\s*\S+|\s+", text)


def count(texts: Iterable[str]) -> int:
    """Return the number of tokens in the texts."""
    return sum(len(pieces(text)) for text in texts)


def cut(tokens: list[str], length: int) -> list[str]:
    """Return the tokens of the first ``length`` characters; the last one may be cut."""
    kept = []
    for token in tokens:
        if length <= 0:
            break
        kept.append(token[:length])
        length -= len(token)
    return kept


def call_tokens(call: Mapping[str, Mapping[str, str]]) -> int:
    """Return the number of tokens of a tool call in OpenAI's form, those of its name and of its arguments."""
    return count((call["function"]["name"], call["function"]["arguments"]))
