"""Ollama's lists of models, as the source of its server has them (0.33)."""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Mapping

from .._exceptions import ProviderClosedError, ProviderError, RequestTimeoutError
from .._types import Call, ModelInfo
from .json_text import count, member, text_or_none
from .kinds import is_remote, kinds, word_of_capabilities
from .ollama import show_call


def list_models(ask: Callable[..., Any]) -> list[ModelInfo]:
    """The models on disk, with what is known of them; raises ProviderError."""
    models: list[ModelInfo] = ask(Call("GET", "/api/tags"), lambda value: models_reply(value, ask))
    return models


def models_reply(value: Any, ask: Callable[[Call], Any]) -> list[ModelInfo]:
    """The models on disk; which of them are loaded, and what they can, is asked where the list does not tell."""
    entries = member(value, "models", list, "the list")
    names = [member(entry, "name", str, "a model") for entry in entries]
    more = _while_it_answers(ask)
    running = more(Call("GET", "/api/ps")).get("models")
    # What an older server does not say in the list it says of each model.
    told = [entry if entry.get("capabilities") else more(show_call(name)) for name, entry in zip(names, entries)]
    words = [word_of_capabilities(each.get("capabilities")) for each in told]
    models = [_model(*each) for each in zip(names, kinds(words, names), entries, told)]
    if not isinstance(running, list):
        return models
    loaded = {str(each.get("name")): each for each in running if isinstance(each, dict)}
    return [
        dataclasses.replace(
            model,
            loaded=model.id in loaded,
            context_length=count(loaded.get(model.id, {}).get("context_length")),
        )
        for model in models
    ]


def _model(name: str, kind: str | None, entry: Mapping[str, Any], told: Mapping[str, Any]) -> ModelInfo:
    capabilities, details = told.get("capabilities"), entry.get("details")
    can = {str(each) for each in capabilities} if isinstance(capabilities, list) else None
    return ModelInfo(
        name,
        kind,
        quantization=text_or_none(details.get("quantization_level")) if isinstance(details, dict) else None,
        size_bytes=count(entry.get("size")),
        vision=None if can is None else "vision" in can,
        tool_use=None if can is None else "tools" in can,
        remote=is_remote(name, entry, told),
    )


def _while_it_answers(ask: Callable[[Call], Any]) -> Callable[[Call], dict[str, Any]]:
    """Asks for what else there is to know: a list of models is worth having without it."""
    silent = False

    def more(call: Call) -> dict[str, Any]:
        nonlocal silent
        value = None
        if not silent:
            try:
                value = ask(call)
            except ProviderClosedError:
                raise
            except ProviderError as error:
                silent = isinstance(error, RequestTimeoutError)  # the next question would wait as long
        return value if isinstance(value, dict) else {}

    return more
