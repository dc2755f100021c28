"""Many texts as vectors: in batches, and without those that are too long."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any, Callable, Iterable, Iterator, Mapping, Sequence

from .._core.errors import ContextLengthError, InvalidRequestError, ModelNotFoundError, ProtocolError, ServerError
from .._core.types import Embeddings, Usage
from .._dialects.dialect import Dialect
from .session import CallOptions, Session
from .truncation import is_refusal, texts_too_long

# All servers take so many texts at once.
_BATCH = 64

# Returns the positions of the texts that do not fit, None if that is not known, and the context of the model. Its
# arguments are the texts, the model, whether the model was sent the texts, and how many tokens it counted in them.
FindCut = Callable[[Sequence[str], str, bool, "int | None"], "tuple[tuple[int, ...] | None, int | None]"]


def checked_texts(texts: object) -> list[str]:
    """Return the texts as a list; raise InvalidRequestError for anything else than text."""
    given: list[Any] = [texts] if isinstance(texts, str) or not isinstance(texts, Iterable) else list(texts)
    for position, text in enumerate(given):
        if not isinstance(text, str):
            raise InvalidRequestError(f"texts[{position}] is {type(text).__name__}, not text")
        if not text:
            raise InvalidRequestError(f"texts[{position}] is empty", hint="Leave it out: it has no vector")
    return given


@dataclasses.dataclass(eq=False, repr=False)
class Embedder:
    """Embeds texts with one model.

    Its methods return the vectors of at least one text, with the positions of those that are ``truncated``, and the
    context of the model if it is known.
    """

    session: Session
    options: CallOptions
    dialect: Dialect
    model: str
    fields: Mapping[str, Any]
    may_cut: bool
    hint: str
    """How to make room for a longer text."""

    def _ask(self, texts: Sequence[str], truncate: bool) -> Embeddings:
        """Send some texts. If one is too long, ``truncate`` lets the server cut it; else it refuses all of them."""
        call = self.dialect.embed_call(texts, self.model, truncate, **self.fields)
        try:
            reply: Embeddings = self.session.ask(
                call, self.options, lambda value: self.dialect.embed_reply(value, call, len(texts))
            )
        finally:
            self.options = self.options._replace(waited_s=0.0)  # it counts for the first request only
        return reply

    def in_batches(self, texts: Sequence[str]) -> Embeddings:
        """Embed the texts without knowing which of them are cut."""
        parts = [self._ask(texts[begin : begin + _BATCH], True) for begin in range(0, len(texts), _BATCH)]
        return _joined(parts, [vector for part in parts for vector in part.vectors])

    def compared(self, texts: Sequence[str], find_cut: FindCut) -> tuple[Embeddings, int | None]:
        """Embed the texts on a server that cuts without a word, and compare them with the context of the model."""
        if not self.may_cut:
            truncated, context = find_cut(texts, self.model, False, None)
            if truncated:
                raise texts_too_long(truncated, self.model, context, self.hint)
        whole = self.in_batches(texts)
        counted = None if whole.usage is None else whole.usage.prompt_tokens
        truncated, context = find_cut(texts, whole.model, True, counted)
        if truncated and not self.may_cut:
            error = texts_too_long(truncated, self.model, context, self.hint)
            error.sent = True
            raise error
        return dataclasses.replace(whole, truncated=truncated), context

    def fitting(self, texts: Sequence[str]) -> tuple[Embeddings, int | None]:
        """Embed the texts on a server that refuses a batch with a text that is too long, without saying which it is.

        A batch that is refused is halved, by length, until that is known.
        """
        vectors: list[list[float]] = [[]] * len(texts)
        parts: list[Embeddings] = []
        long: list[int] = []
        context = None

        def embed(batch: Sequence[int], truncate: bool) -> None:
            parts.append(self._ask([texts[position] for position in batch], truncate))
            for position, vector in zip(batch, parts[-1].vectors):
                vectors[position] = vector

        everything = range(len(texts))
        batches = [list(everything[begin : begin + _BATCH]) for begin in everything[::_BATCH]]
        batches.reverse()  # the last one is the next
        while batches:
            batch = batches.pop()
            try:
                embed(batch, truncate=False)
            except ContextLengthError as error:
                if not is_refusal(error):
                    raise
                context = error.context_length
                if len(batch) > 1:
                    batch.sort(key=lambda position: len(texts[position]))
                    half = len(batch) // 2
                    batches += [batch[:half], batch[half:]]
                elif self.may_cut:
                    long += batch
                else:
                    raise self._named(error, batch) from error
        long.sort()
        for begin in range(0, len(long), _BATCH):
            try:
                embed(long[begin : begin + _BATCH], truncate=True)
            except ContextLengthError as error:  # the server cannot cut the texts of every model
                raise self._named(error, long[begin : begin + _BATCH]) from error
        return dataclasses.replace(_joined(parts, vectors), truncated=tuple(long)), context

    def _named(self, refusal: ContextLengthError, positions: Sequence[int]) -> ContextLengthError:
        """Return ``refusal`` as an error that says which texts it is about."""
        error = texts_too_long(positions, self.model, refusal.context_length, self.hint)
        vars(error).update({**vars(refusal), **vars(error)})
        return error


@contextlib.contextmanager
def hinting(session: Session, model: str, kind: str, sign: str, such_as: str) -> Iterator[None]:
    """Name the models of that ``kind``, if the server refuses another model or does not do with it what is asked.

    An error is about the kind of the model if ``sign`` is in its text.
    """
    known = [each.id for each in session.cache.models if each.type == kind]
    try:
        yield
    except (InvalidRequestError, ServerError, ModelNotFoundError, ProtocolError) as error:
        # A proxy's page, or a prompt that is too long, says nothing about the model.
        of_model = (
            isinstance(error, ModelNotFoundError) or sign in f"{error.message} {getattr(error, 'body', '')}".lower()
        )
        if error.sent and of_model and model not in known:
            which = f"the server has {', '.join(known)}" if known else f"load one, such as {such_as}"
            article = "an" if kind[0] in "aeiou" else "a"
            error.hint = f"{model!r} may not be {article} {kind} model: {which}. {error.hint}".strip()
        raise


def _joined(parts: Sequence[Embeddings], vectors: list[list[float]]) -> Embeddings:
    usages = [part.usage or Usage() for part in parts]
    prompts, totals = _sum(each.prompt_tokens for each in usages), _sum(each.total_tokens for each in usages)
    usage = None if prompts is totals is None else Usage(prompts, total_tokens=totals)
    return dataclasses.replace(parts[0], vectors=vectors, usage=usage)


def _sum(counts: Iterable[int | None]) -> int | None:
    """Return the sum of the counts, None if one is not known."""
    known = list(counts)
    return None if None in known else sum(filter(None, known))
