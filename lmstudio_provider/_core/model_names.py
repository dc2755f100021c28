"""Names of models: which of them mean the same, and which are near each other."""

from __future__ import annotations

import difflib
import re
from typing import Iterable, Sequence

from .types import ModelInfo


def is_same(asked: str, served: str) -> bool:
    """Whether both names may stand for one model.

    An instance is called ``key:2``, a variant ``key@q4_k_m``, and a publisher may be left out (LM Studio's REST API);
    Ollama's ``:latest`` goes without saying.
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
    """The model that is called so, or has an instance that is; else the first that may be meant."""
    known = list(models)
    for model in known:
        if name == model.id or any(name == instance.id for instance in model.instances):
            return model
    return next((model for model in known if is_same(name, model.id)), None)


# To compare two names takes the square of their length.
_LONGEST = 300


def close_matches(name: str, known: Sequence[str]) -> tuple[str, ...]:
    """The names of ``known`` that ``name`` may be a misspelling of, the nearest first."""
    known = [each for each in known if each != name and len(each) <= _LONGEST]
    if len(name) > _LONGEST:
        return ()
    short = {each.casefold().rpartition("/")[2]: each for each in known}
    full = {each.casefold(): each for each in known}
    found = [full[each] for each in difflib.get_close_matches(name.casefold(), full)]
    found += [short[each] for each in difflib.get_close_matches(name.casefold().rpartition("/")[2], short)]
    found += [each for each in known if len(name) > 2 and name.casefold() in each.casefold()]
    return tuple(dict.fromkeys(found))[:3]
