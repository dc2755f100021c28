"""Names of models: which of them mean the same model, and which are misspellings."""

from __future__ import annotations

import difflib
import re
from typing import Iterable, Sequence

from .types import ModelInfo


def is_same(asked: str, served: str) -> bool:
    """Return True if both names may stand for one model.

    LM Studio's REST API calls an instance ``key:2`` and a variant ``key@q4_k_m``, and takes a key without its
    publisher; Ollama adds ``:latest`` to a name without a tag.
    """
    (one, one_variant), (other, other_variant) = _parts(asked), _parts(served)
    if one_variant and other_variant and one_variant != other_variant:
        return False
    if "/" in one and "/" in other:
        return one == other
    return one.rpartition("/")[2] == other.rpartition("/")[2]


def _parts(name: str) -> tuple[str, str]:
    key, _, variant = re.sub(r":(\d+|latest)$", "", name.casefold()).partition("@")
    return key, variant


def find(models: Iterable[ModelInfo], name: str) -> ModelInfo | None:
    """Return the model with that id, or with an instance of that id; else the first that ``name`` may stand for."""
    known = list(models)
    exact = (model for model in known if name in (model.id, *(instance.id for instance in model.instances)))
    return next(exact, None) or next((model for model in known if is_same(name, model.id)), None)


# Comparing two names takes the square of their length.
_LONGEST = 300


def close_matches(name: str, known: Sequence[str]) -> tuple[str, ...]:
    """Return up to three names of ``known`` that may have been meant by ``name``, the most similar first."""
    known = [each for each in known if each != name and len(each) <= _LONGEST]
    if len(name) > _LONGEST:
        return ()
    short = {each.casefold().rpartition("/")[2]: each for each in known}
    full = {each.casefold(): each for each in known}
    found = [full[each] for each in difflib.get_close_matches(name.casefold(), full)]
    found += [short[each] for each in difflib.get_close_matches(name.casefold().rpartition("/")[2], short)]
    found += [each for each in known if len(name) > 2 and name.casefold() in each.casefold()]
    return tuple(dict.fromkeys(found))[:3]
