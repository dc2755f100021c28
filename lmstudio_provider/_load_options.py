"""How a model is to be loaded: what ``/api/v1/models/load`` takes. LM Studio docs: developer/rest."""

from __future__ import annotations

import difflib
from typing import Any, Mapping, TypedDict

from ._exceptions import InvalidRequestError, shown
from ._requests import check_given, check_numbers


class LoadOptions(TypedDict, total=False):
    """How to load a model; what is left out is left to LM Studio."""

    #: Tokens that it is to hold at once.
    context_length: int | None
    #: Tokens that it reads at once.
    eval_batch_size: int | None
    flash_attention: bool | None
    #: Of a mixture of experts, how many are used.
    num_experts: int | None
    offload_kv_cache_to_gpu: bool | None


_CONFIG_NUMBERS: dict[str, tuple[float, float, bool]] = {
    name: (1, float("inf"), True) for name in ("context_length", "eval_batch_size", "num_experts")
}
_CONFIG_SWITCHES = ("flash_attention", "offload_kv_cache_to_gpu")


def checked(model: object, config: Mapping[str, Any]) -> dict[str, Any]:
    """What of ``config`` is sent; raises InvalidRequestError for what ``/api/v1/models/load`` does not take."""
    check_given("model", model)
    names = [*_CONFIG_NUMBERS, *_CONFIG_SWITCHES]
    for name, value in config.items():
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(names)}"
            if name == "echo_load_config":
                hint = "load() takes it"
            elif name == "ttl":
                hint = "A time to live goes with lm.chat(..., ttl=), where that loads the model"
            raise InvalidRequestError(f"{name!r} is no option of loading", hint=hint)
        if name in _CONFIG_SWITCHES and not isinstance(value, (bool, type(None))):
            raise InvalidRequestError(f"{name}={shown(value)} is neither True nor False")
    check_numbers({**dict.fromkeys(names), **config}, _CONFIG_NUMBERS)
    return {name: value for name, value in config.items() if value is not None}


def fits(loaded: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether a model that is loaded so is as good as one with ``config``; what the server does not tell is."""
    for name, wanted in config.items():
        told = loaded.get(name)
        if wanted is None or not isinstance(told, (int, float)):
            continue
        if told < wanted if name == "context_length" else told != wanted:
            return False
    return True
