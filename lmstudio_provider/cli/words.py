"""Words for a person at a terminal: commands and options for calls of Python, and escapes for control characters."""

from __future__ import annotations

import re

# Patterns of the library's messages, and the words here, in the order in which they are replaced.
_WORDS = {
    r"\blist_models\(\)": "'lmstudio-provider models'",
    r"\bnative\.models\(\) lists": "'lmstudio-provider models --json' lists",
    r"\btimeout=Timeouts\(\w+=\.\.\.\)(?: in seconds)?": "--timeout SECONDS",
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
    r"\bwarm_up=(?! )": "--warm-up ",
    r"--(base|max|keep|context)_(url|tokens|alive|length)\b": r"--\1-\2",
}
# All control characters but line breaks and tabs: a terminal would obey them.
_CONTROLS = re.compile(r"(?!\r\n)[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_AT_SERVER = re.compile(r"('lmstudio-provider (?:models|load|unload|pull|download)\b[^']*)'")
_RULES = [(re.compile(pattern), words) for pattern, words in _WORDS.items()]


def in_options(text: str, server: str = "") -> str:
    """Return a message of the library with the words of the command line.

    ``server`` has the options that name the server, which the commands that it advises need too.
    """
    for pattern, words in _RULES:
        text = pattern.sub(words, text)
    return _AT_SERVER.sub(lambda found: f"{found[1]}{server}'", text) if server else text


def visible(text: str) -> str:
    """Return ``text`` with its control characters, but line breaks and tabs, as ``\\x1b``."""
    return text if text.isprintable() else _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
