"""``Stream.from_chunks`` reads the chunks of an iterator instead of the reply of a server."""

from __future__ import annotations

import os
import time
from typing import Any, Callable, Generic, Iterable, Iterator, Mapping, TypeVar

from .._core.errors import InvalidRequestError, ProviderError
from .._core.growing_text import GrowingText
from .._core.types import Chunk, Completion, ToolCall, Usage
from .._dialects.accumulator import read_stats

_Piece = TypeVar("_Piece")


class PieceSource(Generic[_Piece]):
    """Stands in for the Reply, the Exchange and the reader of a stream, and passes on the pieces of an iterator."""

    of_server = False

    def __init__(self, pieces: Iterable[_Piece], on_cancel: Callable[[], object] = lambda: None) -> None:
        if isinstance(pieces, (str, bytes, Mapping)) or not isinstance(pieces, Iterable):
            raise InvalidRequestError(f"from_chunks() got {type(pieces).__name__}, not an iterator of Chunks")
        # Not iter() of a Stream: that is a generator, and closing a generator that has not begun does not close it.
        self._pieces = pieces if isinstance(pieces, Iterator) else iter(pieces)
        self._pid = os.getpid()
        self._on_cancel = on_cancel
        self._over = False
        self.cancelled = False
        self.closed = False  # no provider closes it: the author of the iterator does

    @property
    def exchange(self) -> PieceSource[_Piece]:
        """The object that can be cancelled."""
        return self

    def on_close(self, settle: object) -> None:
        """Do nothing: there is not a provider that could be closed."""

    def cancel(self) -> None:
        """Stop before the next piece; only ``on_cancel`` can wake an iterator that is working on one."""
        self.cancelled = True
        self._on_cancel()

    def is_foreign(self) -> bool:
        """Return True in a forked child: the iterator may be under way in a thread that is not there."""
        return self._pid != os.getpid()

    def read_piece(self) -> tuple[_Piece, ...]:
        """Return a tuple of the next piece, or an empty one at the end."""
        try:
            return (next(self._pieces),)
        except StopIteration:
            return ()

    def feed(self, pieces: tuple[_Piece, ...]) -> list[_Piece]:
        """Return the piece as a list: an event of its own."""
        return list(pieces)

    def finish(self) -> list[_Piece]:
        """Close the iterator: the stream has ended."""
        self.drop()
        return []

    def explain(self, error: ProviderError) -> ProviderError:
        """Return ``error``: there is nothing else to say."""
        return error

    def drop(self) -> None:
        """Close the iterator if it can be closed, as generators and streams can."""
        if not self._over:
            self._over = True
            close = getattr(self._pieces, "close", None)
            if close is not None:
                close()


class ChunkAssembly:
    """Adds chunks up to a completion."""

    ended = False  # only the end of the iterator is the end of the reply

    def __init__(self, model: str, provider_id: str) -> None:
        self._model = model
        self._provider_id = provider_id
        self._started = time.monotonic()
        self._begin()

    def _begin(self) -> None:
        self.done = False
        self.text, self.reasoning = GrowingText(), GrowingText()
        self._tool_calls: list[ToolCall] = []
        self._finish_reason: str | None = None
        self._usage: Usage | None = None
        self._first_s: float | None = None
        self._ended: float | None = None

    def feed(self, chunk: Any) -> Chunk | None:
        """Take one chunk, and return it."""
        if not isinstance(chunk, Chunk):
            what = f"from_chunks() got an iterator of {type(chunk).__name__}, not of Chunk"
            raise InvalidRequestError(what, hint="Yield Chunk('text')")
        self.text.add(chunk.delta)
        self.reasoning.add(chunk.reasoning)
        self._tool_calls += chunk.tool_calls
        self._finish_reason = chunk.finish_reason or self._finish_reason
        self._usage = chunk.usage or self._usage
        if self._first_s is None and (chunk.delta or chunk.reasoning):
            self._first_s = time.monotonic() - self._started
        self.done = chunk.done
        return chunk

    def finish(self) -> list[Chunk]:
        """Return the last chunk if the iterator did not yield it."""
        self._ended = time.monotonic()
        return [] if self.done else [Chunk("", True, "", (), self._finish_reason, self._usage)]

    def completion(self, finish_reason: str | None = None) -> Completion:
        """Return the part of the reply that came; ``finish_reason`` is used if no chunk had one."""
        return Completion(
            text=self.text.whole(),
            model=self._model,
            requested_model=self._model,
            finish_reason=self._finish_reason or finish_reason,
            reasoning=self.reasoning.whole(),
            tool_calls=tuple(self._tool_calls),
            usage=self._usage,
            stats=read_stats(None, self._usage, self._first_s, (self._ended or time.monotonic()) - self._started),
            provider_id=self._provider_id,
        )
