"""What a list of models says of each: what kind of model it is, and whether it runs on another machine."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

# What servers write for the kinds that this package has a word for; any other word stays as it is.
_WORDS = {"llm": "llm", "vlm": "vlm", "embedding": "embedding", "embeddings": "embedding"}

#: Those of Ollama's capabilities that say what a model is for; the others say what else it can do.
PURPOSES = frozenset({"completion", "embedding", "image", "decision"})

# Ollama's marks of a cloud model, and LM Link's of a model on another device (null if it is on this one).
_REMOTE_MARKS = ("remote_host", "remote_model", "device_identifier", "deviceIdentifier", "remote")


def word_of_type(entry: Mapping[str, Any]) -> str | None:
    """Return the kind that the ``type`` of an entry names, None if it names none."""
    word = entry.get("type")
    word = word.strip() if isinstance(word, str) else ""
    # "model" is what Anthropic's form of the list calls every entry.
    return _WORDS.get(word.casefold(), word) if word.casefold() not in ("", "model") else None


def word_of_capabilities(capabilities: object) -> str | None:
    """Return the kind that Ollama's list of capabilities means, None if there is no such list."""
    words = [each for each in capabilities if isinstance(each, str)] if isinstance(capabilities, list) else []
    if "completion" in words:
        return "llm"
    return next(iter([*filter(PURPOSES.__contains__, words), *words]), None)


def kinds(words: Sequence[str | None], names: Sequence[str]) -> list[str | None]:
    """Return the kind of each model: its word. If no model of the list has a word, the names decide."""
    if any(words):
        return list(words)
    return ["embedding" if "embed" in name.casefold() else "llm" for name in names]


def is_remote(name: str, *entries: Mapping[str, Any]) -> bool:
    """Return True if the name of a model, or what the list says of it, means that it runs on another machine."""
    bare = name.strip().casefold()
    bare = bare[: -len(":latest")] if bare.endswith(":latest") else bare
    return bare.endswith(("-cloud", ":cloud")) or any(entry.get(mark) for entry in entries for mark in _REMOTE_MARKS)
