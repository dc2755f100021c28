"""Options that only Ollama has, and the time for which it keeps a model."""

from __future__ import annotations

import re
from typing import Any, Mapping

from .checks import Check, check_fields, number
from .errors import InvalidRequestError, ProviderError, preview
from .options import OTHERS

# The members of ``options``, from its documentation and source, with old ones that it now ignores.
_OPTIONS = (
    "draft_num_predict", "embedding_only", "f16_kv", "frequency_penalty", "logits_all", "low_vram", "main_gpu", "min_p",
    "mirostat", "mirostat_eta", "mirostat_tau", "num_batch", "num_ctx", "num_gpu", "num_gqa", "num_keep", "num_predict",
    "num_thread", "numa", "penalize_newline", "presence_penalty", "repeat_last_n", "repeat_penalty",
    "rope_frequency_base", "rope_frequency_scale", "seed", "stop", "temperature", "tfs_z", "top_k", "top_p",
    "typical_p", "use_mlock", "use_mmap", "vocab_only",
)  # fmt: skip
# The fields beside ``options``.
_BESIDE = (
    "format", "keep_alive", "logprobs", "raw", "shift", "suffix", "system", "template", "think", "top_logprobs",
    "truncate",
)  # fmt: skip
# The field of a request for an option.
_FIELDS = {
    **{name: name for name in ("num_ctx", "temperature", "top_p", "top_k", "min_p", "seed", "stop")},
    **{name: name for name in ("repeat_penalty", "presence_penalty", "frequency_penalty")},
    "num_predict": "max_tokens",
}

# As Go's time.ParseDuration reads it.
_DURATION = r"[-+]?(?:0|(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+)"
# 292 years. More nanoseconds overflow Go's int64, and Ollama would unload the model at once.
_MOST_SECONDS = 9_223_372_036

# For two of Ollama's options, the way to do the same with LM Studio.
INSTEAD = {
    "num_ctx": "LM Studio sets the context when it loads a model: lm.native.load(model, context_length=8192)",
    "keep_alive": "LM Studio has ttl=, the seconds after which it unloads a model that this request loads",
}


def _is_keep_alive(value: object) -> bool:
    if isinstance(value, str):
        return re.fullmatch(_DURATION, value) is not None
    return bool(number(-_MOST_SECONDS, _MOST_SECONDS).fits(value))


KEEP_ALIVE = Check(
    _is_keep_alive,
    "is not a length of time",
    "Write seconds as a number (keep_alive=600), or a text with a unit (keep_alive='10m', '1h30m'); 0 unloads the "
    "model after the call, and -1 keeps it for good",
)


def check_keep_alive(name: str, value: object, kind: type[ProviderError] = InvalidRequestError) -> None:
    """Raise an error of that ``kind`` for a ``keep_alive`` that Ollama would refuse or misread."""
    check_fields({name: value}, {name: KEEP_ALIVE}, kind=kind)


def refuse_for_lm_studio(**given: object) -> None:
    """Raise InvalidRequestError if an option is set that LM Studio does not have."""
    for name, value in given.items():
        if value is not None:
            raise InvalidRequestError(f"{name} is an option of Ollama; LM Studio does not have it", hint=INSTEAD[name])


def check_places(extra: Mapping[str, Any]) -> None:
    """Raise InvalidRequestError for an option in a place where Ollama silently ignores it."""
    if not extra:
        return
    given = extra.get("options")
    inside: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    wrong = {name: value for name, value in extra.items() if _option(name)}
    wrong.update((name, value) for name, value in inside.items() if _option(name) not in (None, name))
    if wrong:
        right = {_option(name) or name: value for name, value in {**inside, **wrong}.items()}
        fields = [f"{_FIELDS[name]}={preview(right[name])}" for name in map(_option, wrong) if name in _FIELDS]
        without = f"; {', '.join(fields)} can be written without extra" if fields else ""
        hint = f"Write extra={{'options': {preview(right)}}}{without}"
        raise InvalidRequestError(f"extra: Ollama ignores {', '.join(map(repr, wrong))} there", hint=hint)
    astray = {name: value for name, value in inside.items() if name in _BESIDE}
    if astray:
        what = f"extra: Ollama ignores {', '.join(map(repr, astray))} inside 'options'"
        raise InvalidRequestError(what, hint=f"Write extra={preview(astray)}")


def _option(name: str) -> str | None:
    """Return Ollama's option for ``name``, which other programs may use; None if it has none."""
    ours = {"max_tokens": "num_predict", "context_length": "num_ctx"}
    words = (ours.get(each, each) for each in (name, OTHERS.get(name, "")))
    return next((word for word in words if word in _OPTIONS), None)
