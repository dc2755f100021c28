"""The messages of the library as a person at a terminal reads them: with commands and options for calls of Python."""

from __future__ import annotations

import re

# What the library says, and what is said here; in this order.
_WORDS = {
    r"\blist_models\(\)": "'lmstudio-provider models'",
    r"\bdiscover\(\)": "'lmstudio-provider status'",
    r"(?:\blm\.)?\bnative\.(download|load|unload)\([^()]*\)": r"'lmstudio-provider \1 MODEL'",
    r"(?<![.\w])pull\((?:'MODEL')?\)": "'lmstudio-provider pull MODEL'",
    r"\bDownload\.resume\('([^']*)', lm\)\.wait\(\)": r"'lmstudio-provider download --job \1'",
    r"\bLMStudioProvider\b": "--provider lm-studio",
    r"\bOllamaProvider\b": "--provider ollama",
    r"\bhas no lm\.native\b": "lacks the API of LM Studio",
    r" or api_token=(?=[.;]|$)": "",
    r", or give None for no limit|\. None means no limit": "",
    r"\.partial holds what came; ask": "Ask",
    r"\bthe argument (base_url|timeout)\b": r"--\1",
    r"\b(base_url|timeout|max_tokens|reasoning|model|tier|keep_alive|context_length)=(?! )": r"--\1 ",
    r"\b(base_url|timeout|model)=(?= )": r"--\1",
    r"--(base|max|keep|context)_(url|tokens|alive|length)\b": r"--\1-\2",
}
_RULES = [(re.compile(pattern), words) for pattern, words in _WORDS.items()]


def in_options(text: str) -> str:
    """Return a message of the library with the words of the command line."""
    for pattern, words in _RULES:
        text = pattern.sub(words, text)
    return text
