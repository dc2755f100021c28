"""The instances of models that are in memory: listed, and chosen by name and settings."""

from __future__ import annotations

import re
from typing import Any, Mapping

from .._core.model_names import find
from .._core.types import Call, ModelInfo
from .._dialects import models
from .._provider.session import CallOptions, Session
from .types import LoadedModel


def list_models(session: Session, plan: CallOptions) -> list[ModelInfo]:
    """Return the models on disk, with the instances of each."""
    changes = session.cache.changes
    found: list[ModelInfo] = session.ask(Call("GET", models.NATIVE_PATH), plan, models.native_models)
    session.cache.fill(found, changes)
    return found


def choose(listed: list[ModelInfo], model: str, config: Mapping[str, Any]) -> LoadedModel | None:
    """Return an instance of ``model`` that was loaded with ``config``, None if there is none."""
    info = find(listed, model)
    if info is None:
        return None
    named = [each for each in info.instances if each.id == model != info.id]
    if not named and re.search(r":\d+$", model) and model != info.id:
        return None  # it names an instance, and there is none of that name
    if "@" in model and not named and info.raw.get("selected_variant", model) != model:
        return None  # another variant of it is there
    instance = next((each for each in named or info.instances if _fits(each.config, config)), None)
    kind = "llm" if info.can_chat else info.type or "llm"
    return None if instance is None else LoadedModel(instance.id, kind, None, instance.config)


def _fits(loaded: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Return True if a model that is loaded so is as good as one with ``config``, as far as the server says."""
    known = [(name, loaded[name], wanted) for name, wanted in config.items() if wanted is not None and name in loaded]
    return not any(
        value < wanted if name == "context_length" else value != wanted
        for name, value, wanted in known
        if isinstance(value, (int, float))
    )
