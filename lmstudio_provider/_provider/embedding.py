"""Many texts as vectors: in batches, and without those that are too long."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any, Callable, Iterable, Iterator, Protocol, Sequence

from .._core.errors import ContextLengthError, InvalidRequestError, ModelNotFoundError, ProtocolError, ServerError
from .._core.types import Embeddings, Usage
from .session import Session
from .truncation import is_refusal, texts_too_long

# As many texts as all servers take at once.
_BATCH = 64

#: Sends some texts. If one of them is too long, True lets the server cut it; with False it refuses all of them.
Ask = Callable[[Sequence[str], bool], Embeddings]


class FindCut(Protocol):
    """Returns the positions of the texts that ``model`` has no room for, None if that is not known, and its context.

    It may have been ``sent`` the texts, and have ``counted`` so many tokens in them.
    """

    def __call__(self, model: str, *, sent: bool, counted: int | None) -> tuple[tuple[int, ...] | None, int | None]: ...


def checked_texts(texts: object) -> list[str]:
    """Return the texts as a list; raise InvalidRequestError for what is not text."""
    given: list[Any] = [texts] if isinstance(texts, str) or not isinstance(texts, Iterable) else list(texts)
    for position, text in enumerate(given):
        if not isinstance(text, str):
            raise InvalidRequestError(f"texts[{position}] is {type(text).__name__}, not text")
        if not text:
            raise InvalidRequestError(f"texts[{position}] is empty", hint="Leave it out: it has no vector")
    return given


def embed_in_batches(ask: Ask, texts: Sequence[str]) -> Embeddings:
    """Return the vectors of at least one text; which of them are ``truncated`` is not known."""
    parts = [ask(texts[begin : begin + _BATCH], True) for begin in range(0, len(texts), _BATCH)]
    return _joined(parts, [vector for part in parts for vector in part.vectors])


def embed_and_compare(
    ask: Ask, texts: Sequence[str], model: str, on_truncation: str, hint: str, find_cut: FindCut
) -> tuple[Embeddings, int | None]:
    """Return the vectors of at least one text and the context of the model, with which the texts are compared."""
    if on_truncation == "error":
        truncated, context = find_cut(model, sent=False, counted=None)
        if truncated:
            raise texts_too_long(truncated, model, context, hint)
    whole = embed_in_batches(ask, texts)
    counted = None if whole.usage is None else whole.usage.prompt_tokens
    truncated, context = find_cut(whole.model, sent=True, counted=counted)
    if truncated and on_truncation == "error":
        error = texts_too_long(truncated, model, context, hint)
        error.sent = True
        raise error
    return dataclasses.replace(whole, truncated=truncated), context


def embed_what_fits(
    ask: Ask, texts: Sequence[str], model: str, on_truncation: str, hint: str
) -> tuple[Embeddings, int | None]:
    """Return the vectors of at least one text, with the positions that are ``truncated``, and the context if known.

    The server says that a text of a batch is too long, not which. So the batch is halved, by length, until it is known.
    """
    vectors: list[list[float]] = [[]] * len(texts)
    parts: list[Embeddings] = []
    long: list[int] = []
    context = None

    def embed(batch: Sequence[int], truncate: bool) -> None:
        part = ask([texts[position] for position in batch], truncate)
        parts.append(part)
        for position, vector in zip(batch, part.vectors):
            vectors[position] = vector

    everything = range(len(texts))
    batches = [list(everything[begin : begin + _BATCH]) for begin in everything[::_BATCH]]
    batches.reverse()  # the next one is the last
    while batches:
        batch = batches.pop()
        try:
            embed(batch, truncate=False)
        except ContextLengthError as error:
            if not is_refusal(error):
                raise
            context = error.context_length
            if len(batch) == 1 and on_truncation == "error":
                raise _named(error, batch, model, hint) from error
            if len(batch) == 1:
                long += batch
            else:
                batch.sort(key=lambda position: len(texts[position]))
                half = len(batch) // 2
                batches += [batch[:half], batch[half:]]
    long.sort()
    for begin in range(0, len(long), _BATCH):
        try:
            embed(long[begin : begin + _BATCH], truncate=True)
        except ContextLengthError as error:  # not every model can have its texts cut
            raise _named(error, long[begin : begin + _BATCH], model, hint) from error
    return dataclasses.replace(_joined(parts, vectors), truncated=tuple(long)), context


def _named(refusal: ContextLengthError, positions: Sequence[int], model: str, hint: str) -> ContextLengthError:
    """Return ``refusal`` as an error that says which texts it is about."""
    error = texts_too_long(positions, model, refusal.context_length, hint)
    vars(error).update({**vars(refusal), **vars(error)})
    return error


@contextlib.contextmanager
def hinting(session: Session, model: str) -> Iterator[None]:
    """Say which models embed, if the server refuses one that is not known to, or sends no vectors."""
    known = [each.id for each in session.cache.models if each.type == "embedding"]
    try:
        yield
    except (InvalidRequestError, ServerError, ModelNotFoundError, ProtocolError) as error:
        # A proxy's page, or a prompt that is too long, says nothing about the model.
        of_model = (
            isinstance(error, ModelNotFoundError) or "embed" in f"{error.message} {getattr(error, 'body', '')}".lower()
        )
        if error.sent and of_model and model not in known:
            which = f"the server has {', '.join(known)}" if known else "load one, such as nomic-embed-text"
            error.hint = f"{model!r} may not be an embedding model: {which}. {error.hint}".strip()
        raise


def _joined(parts: Sequence[Embeddings], vectors: list[list[float]]) -> Embeddings:
    usages = [part.usage or Usage() for part in parts]
    prompts, totals = _sum(each.prompt_tokens for each in usages), _sum(each.total_tokens for each in usages)
    usage = None if prompts is totals is None else Usage(prompts, total_tokens=totals)
    return dataclasses.replace(parts[0], vectors=vectors, usage=usage)


def _sum(counts: Iterable[int | None]) -> int | None:
    """What the counts add up to, None where one is not known."""
    known = list(counts)
    return None if None in known else sum(filter(None, known))
