"""Prompts and texts that do not fit into the context of a model; the server may cut them without a warning."""

from __future__ import annotations

import dataclasses
import re
import time
from typing import Callable, Iterable, Sequence, TypeVar

from .._core.callbacks import warn
from .._core.errors import ContextLengthError, TruncationWarning
from .._core.model_names import find
from .._core.types import Call, ModelInfo
from .session import CallOptions

_Reply = TypeVar("_Reply")

# A message names so many positions.
_MOST_NAMED = 8
# The tokens that a model may add to a text, at its beginning and its end.
_ADDED = 3
# More bytes than the tokens of a text have on average, in any language; in English it is about four.
_MOST_BYTES = 16


def send_or_cut(
    send: Callable[[Call, CallOptions], _Reply], call: Call, options: CallOptions
) -> tuple[_Reply, ContextLengthError | None]:
    """Return the result of ``send``; if the server refuses a prompt that may be cut, send it again, to be cut.

    The second value is the refusal, if there was one. Raises the errors of ``send``.
    """
    started = time.monotonic()
    try:
        return send(call, options), None
    except ContextLengthError as error:
        if call.cut is None or not is_refusal(error):
            raise
        refusal = error.with_traceback(None)  # its frames refer to the request
        call = dataclasses.replace(call, body=call.cut(), cut=None)
    # Both requests share the time limits of one call.
    return send(call, options._replace(waited_s=options.waited_s + time.monotonic() - started)), refusal


def is_refusal(error: ContextLengthError) -> bool:
    """Return True if the server refused the request; after a failure of the engine it may have generated text."""
    return 400 <= (error.status or 0) < 500


def warn_of_cut_prompt(refusal: ContextLengthError, model: str) -> None:
    """Warn that the prompt was cut, after the server's ``refusal`` to take it whole."""
    prompt, context = refusal.prompt_tokens, refusal.context_length
    what = f"the prompt does not fit into the context of {model!r}"
    if prompt and context:
        what = f"the prompt has {prompt} tokens and the context of {model!r} holds {context}"
    warn(f"{what}: the server cut the prompt. {_what_to_do(refusal.hint)}", TruncationWarning)


def warn_of_cut_texts(positions: Sequence[int], model: str, context: int | None, hint: str) -> None:
    """Warn that only a part of the texts at ``positions`` was embedded."""
    warn(f"{_texts(positions, model, context)}: the server embedded a part. {_what_to_do(hint)}", TruncationWarning)


def texts_too_long(positions: Sequence[int], model: str, context: int | None, hint: str) -> ContextLengthError:
    """Return the error for texts that do not fit."""
    message = _texts(positions, model, context)
    return ContextLengthError(message, hint=hint, context_length=context, positions=tuple(positions))


def _texts(positions: Sequence[int], model: str, context: int | None) -> str:
    named = ", ".join(f"texts[{each}]" for each in positions[:_MOST_NAMED])
    named += f" and {len(positions) - _MOST_NAMED} more" if len(positions) > _MOST_NAMED else ""
    verb = "does" if len(positions) == 1 else "do"
    room = "" if context is None else f", which holds {context} tokens"
    return f"{named} {verb} not fit into the context of {model!r}{room}"


def _what_to_do(hint: str) -> str:
    return f"{hint}; on_truncation='error' raises this as an error, 'ignore' is silent"


def contexts_of(models: Iterable[ModelInfo], name: str) -> list[int]:
    """Return the context, in tokens, of each instance of the model that may answer; empty if one is not known."""
    model = find(models, name)
    if model is None:
        return []
    # Only the id of an instance says which one answers; the name of the model may stand for any of them.
    named = [each for each in model.instances if each.id == name != model.id] or model.instances
    contexts = [each.context_length for each in named] or [model.context_length]
    known = [each for each in contexts if each]
    return known if len(known) == len(contexts) else []


def find_cut(texts: Sequence[str], contexts: Sequence[int], counted: int | None) -> tuple[int, ...] | None:
    """Return the positions of the texts that do not fit into the largest of ``contexts``, or () if all fit into each.

    Returns None if that is not known. ``counted`` is the number of tokens that the server counted in all texts.
    """
    if not contexts:
        return None
    least, most = min(contexts), max(contexts)
    if counted is not None and counted + _ADDED <= least:
        return ()
    if counted is not None and counted > most and len(texts) == 1:
        return (0,)
    cut = tuple(position for position, text in enumerate(texts) if len(text) > most and least_tokens(text) > most)
    if cut or all(_most_tokens(text) <= least for text in texts):
        return cut
    return None


def _most_tokens(text: str) -> int:
    """Return the most tokens that a text can have: a token has at least one byte."""
    return len(text.encode("utf-8", "surrogatepass")) + _ADDED


def least_tokens(text: str) -> int:
    """Return the fewest tokens that a text can have: a token does not span two words, and few tokens are very long.

    English has about a third more tokens than words. It is better to miss a cut than to warn of one that was not made.
    """
    words = size = 0
    for word in re.finditer(r"\S+", text):
        words += 1
        size += len(word[0].encode("utf-8", "surrogatepass"))
    return max(words, size // _MOST_BYTES)
