"""The lists of models: LM Studio's own, of 0.4.0 and of 0.3.6 on, and the OpenAI-compatible one of all servers."""

from __future__ import annotations

from typing import Any, Callable, Mapping, Sequence

from .._core.errors import AuthenticationError, InvalidRequestError, ProtocolError, RateLimitError, StatusError
from .._core.types import Call, LoadedInstance, ModelInfo
from .json_text import count, items, mapping, member, text_or_none

NATIVE_PATH = "/api/v1/models"


def list_models(ask: Callable[..., Any], details: object = None, brief: bool = False) -> list[ModelInfo]:
    """Return the models of the most detailed list that the server has; raises ProviderError.

    No endpoint reports a version, so each list is tried. A server that does not know a path may answer anything, even
    with status 200. Every list is complete, whether it is to be ``brief`` or not.
    """
    for path, read in ((NATIVE_PATH, native_models), ("/api/v0/models", v0_models), ("/v1/models", openai_models)):
        try:
            models: list[ModelInfo] = ask(Call("GET", path), read)
            break
        except (AuthenticationError, RateLimitError):
            raise  # the next list would answer the same
        except (StatusError, InvalidRequestError, ProtocolError):
            if read is openai_models:
                raise
    return models


def native_models(value: Any) -> list[ModelInfo]:
    """Return the models of a reply of ``/api/v1/models``; raises ProtocolError."""
    entries = member(value, "models", list, "the list of models")
    ids = [member(entry, "key", str, "a model in the list") for entry in entries]
    found = zip(ids, kinds([word_of_type(entry) for entry in entries], ids), entries)
    return [_native_model(id_, kind, entry) for id_, kind, entry in found]


def _native_model(id_: str, kind: str | None, entry: Mapping[str, Any]) -> ModelInfo:
    can = mapping(entry.get("capabilities"))  # embedding models have none
    reasoning = mapping(can.get("reasoning"))
    vision = can.get("vision") is True or kind == "vlm"
    embeds = kind == "embedding"
    loaded = items(entry.get("loaded_instances"))
    instances = tuple(map(_instance, loaded))
    return ModelInfo(
        id_,
        "vlm" if kind == "llm" and vision else kind,
        loaded=bool(instances),
        # If there is an instance with the name of the model, it answers the requests that name the model.
        context_length=next((each.context_length for each in instances if each.id == id_), None)
        or next((each.context_length for each in instances), None),
        quantization=text_or_none(mapping(entry.get("quantization")).get("name")),
        size_bytes=count(entry.get("size_bytes")),
        vision=vision if vision or can or embeds else None,
        tool_use=can.get("trained_for_tool_use") is True if can or embeds else None,
        max_context_length=count(entry.get("max_context_length")),
        instances=instances,
        reasoning_options=tuple(map(str, items(reasoning.get("allowed_options")))),
        reasoning_default=text_or_none(reasoning.get("default")),
        raw=entry,
        remote=is_remote(id_, entry, *loaded),
    )


def _instance(entry: Any) -> LoadedInstance:
    config = mapping(entry.get("config") if isinstance(entry, dict) else None)
    id_ = member(entry, "id", str, "a loaded instance in the list")
    return LoadedInstance(id_, count(config.get("context_length")), config)


def v0_models(value: Any) -> list[ModelInfo]:
    """Return the models of a reply of ``/api/v0/models``; raises ProtocolError."""
    models = _models(member(value, "data", list, "the list of models"))
    if not all("state" in model.raw for model in models):
        raise ProtocolError("the models in the list have no state", sent=True)
    return models


def openai_models(value: Any) -> list[ModelInfo]:
    """Return the models of a reply of ``/v1/models``, from any server; raises ProtocolError.

    LM Studio lists only ids there, with "embed" in those of embedding models (LM Studio docs, openai-compat). Other
    servers add to that: llama.cpp "multimodal", others the fields of ``/api/v0/models``.
    """
    if isinstance(value, dict) and value.get("data", ...) is None:
        return []  # Ollama writes an empty list so
    return _models(member(value, "data", list, "the list of models"))


def _models(entries: list[Any]) -> list[ModelInfo]:
    ids = [member(entry, "id", str, "a model in the list") for entry in entries]
    words = [word_of_type(entry) for entry in entries]
    listed = [entry.get("capabilities") for entry in entries]
    if any(PURPOSES.intersection(map(str, items(each))) for each in listed):
        words = [word or word_of_capabilities(each) for word, each in zip(words, listed)]
    return [_model(id_, kind, entry) for id_, kind, entry in zip(ids, kinds(words, ids), entries)]


def _model(id_: str, kind: str | None, entry: Mapping[str, Any]) -> ModelInfo:
    can, vision, tool_use = entry.get("capabilities"), None, None
    meta = mapping(entry.get("meta"))  # of llama.cpp
    if isinstance(can, Mapping):
        vision = can["vision"] if isinstance(can.get("vision"), bool) else None
    elif isinstance(can, list):
        vision = bool({"vision", "multimodal"}.intersection(map(str, can)))
        tool_use = "tool_use" in can if "state" in entry else None
    return ModelInfo(
        id_,
        kind,
        loaded=entry["state"] == "loaded" if "state" in entry else None,
        context_length=count(entry.get("loaded_context_length")) or count(meta.get("n_ctx")),
        quantization=text_or_none(entry.get("quantization")),
        vision=True if kind == "vlm" else vision,
        tool_use=tool_use,
        max_context_length=count(entry.get("max_context_length")) or count(meta.get("n_ctx_train")),
        raw=entry,
        remote=is_remote(id_, entry),
    )


# The words of servers for the kinds that this package knows; any other word stays as it is.
_WORDS = {"llm": "llm", "vlm": "vlm", "embedding": "embedding", "embeddings": "embedding"}

# Those of Ollama's capabilities that are the purpose of a model; the others are things that it can do besides.
PURPOSES = frozenset({"completion", "embedding", "image", "decision"})

# Ollama's marks of a cloud model, and LM Link's of a model on another device (null if it is on this one).
_REMOTE_MARKS = ("remote_host", "remote_model", "device_identifier", "deviceIdentifier", "remote")


def word_of_type(entry: Mapping[str, Any]) -> str | None:
    """Return the kind that the ``type`` of an entry names, None if it names none."""
    word = entry.get("type")
    word = word.strip() if isinstance(word, str) else ""
    # In Anthropic's form of the list, the type of every entry is "model".
    return _WORDS.get(word.casefold(), word) if word.casefold() not in ("", "model") else None


def word_of_capabilities(capabilities: object) -> str | None:
    """Return the kind that Ollama's list of capabilities means, None if there is no such list."""
    words = [each for each in items(capabilities) if isinstance(each, str)]
    if "completion" in words:
        return "llm"
    return next(iter([*filter(PURPOSES.__contains__, words), *words]), None)


def kinds(words: Sequence[str | None], names: Sequence[str]) -> list[str | None]:
    """Return the kind of each model: its word, or its kind by its name if no model of the list has a word."""
    if any(words):
        return list(words)
    return ["embedding" if "embed" in name.casefold() else "llm" for name in names]


def is_remote(name: str, *entries: Mapping[str, Any]) -> bool:
    """Return True if a model runs on another machine, by its name or its entries in a list."""
    marked = name.strip().casefold().endswith(("-cloud", ":cloud", "-cloud:latest", ":cloud:latest"))
    return marked or any(entry.get(mark) for entry in entries for mark in _REMOTE_MARKS)
