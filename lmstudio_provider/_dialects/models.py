"""The lists of models: LM Studio's own, of 0.4.0 and of 0.3.6 on, and the OpenAI-compatible one of all servers."""

from __future__ import annotations

from typing import Any, Callable, Mapping, Sequence

from .._core.errors import AuthenticationError, InvalidRequestError, ProtocolError, RateLimitError, StatusError
from .._core.types import Call, LoadedInstance, ModelInfo
from .json_text import count, member, text_or_none

NATIVE_PATH = "/api/v1/models"


def greeting_call() -> Call:
    """Ask what tells LM Studio from any other server (LM Studio's Python SDK does so)."""
    return Call("GET", "/lmstudio-greeting")


def is_greeting(value: Any) -> bool:
    """Whether that is how LM Studio answers."""
    return isinstance(value, dict) and value.get("lmstudio") is True


def list_models(ask: Callable[..., Any], details: object = None, brief: bool = False) -> list[ModelInfo]:
    """The models of the best list that the server has, which says all there is; raises ProviderError.

    There is no endpoint that tells a version: what does not know a path may answer anything, status 200 included.
    """
    models: list[ModelInfo]
    for path, read in ((NATIVE_PATH, native_models), ("/api/v0/models", v0_models)):
        try:
            models = ask(Call("GET", path), read)
        except (AuthenticationError, RateLimitError):
            raise  # the next one would answer the same
        except (StatusError, InvalidRequestError, ProtocolError):
            continue
        return models
    models = ask(Call("GET", "/v1/models"), openai_models)
    return models


def native_models(value: Any) -> list[ModelInfo]:
    """The models of a reply of ``/api/v1/models``; raises ProtocolError."""
    entries = member(value, "models", list, "the list of models")
    ids = [member(entry, "key", str, "a model in the list") for entry in entries]
    found = zip(ids, kinds([word_of_type(entry) for entry in entries], ids), entries)
    return [_native_model(id_, kind, entry) for id_, kind, entry in found]


def _native_model(id_: str, kind: str | None, entry: Mapping[str, Any]) -> ModelInfo:
    told = _mapping(entry.get("capabilities"))  # embedding models have none
    reasoning = _mapping(told.get("reasoning"))
    options = reasoning.get("allowed_options")
    vision = told.get("vision") is True or kind == "vlm"
    embeds = kind == "embedding"
    loaded = entry.get("loaded_instances")
    instances = tuple(map(_instance, loaded if isinstance(loaded, list) else ()))
    return ModelInfo(
        id_,
        "vlm" if kind == "llm" and vision else kind,
        loaded=bool(instances),
        # A request that names the model is answered by the instance of the same name, where there is one.
        context_length=next((each.context_length for each in instances if each.id == id_), None)
        or next((each.context_length for each in instances), None),
        quantization=text_or_none(_mapping(entry.get("quantization")).get("name")),
        size_bytes=count(entry.get("size_bytes")),
        vision=vision if vision or told or embeds else None,
        tool_use=told.get("trained_for_tool_use") is True if told or embeds else None,
        max_context_length=count(entry.get("max_context_length")),
        instances=instances,
        reasoning_options=tuple(map(str, options)) if isinstance(options, list) else (),
        reasoning_default=text_or_none(reasoning.get("default")),
        raw=entry,
        remote=is_remote(id_, entry, *(loaded if isinstance(loaded, list) else ())),
    )


def _instance(entry: Any) -> LoadedInstance:
    config = _mapping(entry.get("config") if isinstance(entry, dict) else None)
    id_ = member(entry, "id", str, "a loaded instance in the list")
    return LoadedInstance(id_, count(config.get("context_length")), config)


def v0_models(value: Any) -> list[ModelInfo]:
    """The models of a reply of ``/api/v0/models``; raises ProtocolError."""
    models = _models(member(value, "data", list, "the list of models"))
    if not all("state" in model.raw for model in models):
        raise ProtocolError("the models in the list have no state", sent=True)
    return models


def openai_models(value: Any) -> list[ModelInfo]:
    """The models of a reply of ``/v1/models``, whoever sent it; raises ProtocolError.

    LM Studio tells the ids alone there, and names embedding models so that they can be known (LM Studio docs,
    openai-compat). Other servers tell more: llama.cpp's "multimodal", or what /api/v0/models tells.
    """
    if isinstance(value, dict) and value.get("data", ...) is None:
        return []  # which is how Ollama writes an empty list
    return _models(member(value, "data", list, "the list of models"))


def _models(entries: list[Any]) -> list[ModelInfo]:
    ids = [member(entry, "id", str, "a model in the list") for entry in entries]
    words = [word_of_type(entry) for entry in entries]
    told = [entry.get("capabilities") for entry in entries]
    if any(isinstance(each, list) and PURPOSES.intersection(map(str, each)) for each in told):
        words = [word or word_of_capabilities(each) for word, each in zip(words, told)]
    return [_model(id_, kind, entry) for id_, kind, entry in zip(ids, kinds(words, ids), entries)]


def _model(id_: str, kind: str | None, entry: Mapping[str, Any]) -> ModelInfo:
    told, vision, tool_use = entry.get("capabilities"), None, None
    if isinstance(told, Mapping):
        vision = told["vision"] if isinstance(told.get("vision"), bool) else None
    elif isinstance(told, list):
        vision = bool({"vision", "multimodal"}.intersection(map(str, told)))
        tool_use = "tool_use" in told if "state" in entry else None
    return ModelInfo(
        id_,
        kind,
        loaded=entry["state"] == "loaded" if "state" in entry else None,
        context_length=count(entry.get("loaded_context_length")),
        quantization=text_or_none(entry.get("quantization")),
        vision=True if kind == "vlm" else vision,
        tool_use=tool_use,
        max_context_length=count(entry.get("max_context_length")),
        raw=entry,
        remote=is_remote(id_, entry),
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


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
