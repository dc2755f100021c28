"""A reply that grows: what every dialect's stream of chunks adds up to."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

from .._core.errors import ProtocolError, StreamInterruptedError
from .._core.types import Call, Chunk, Completion, Stats, Usage
from .assembly import ToolCallAssembly
from .errors import ErrorContext
from .thoughts import ThoughtSplitter, split_unopened


class GrowingText:
    """A growing text: no list of pieces, which takes ten times the memory for a million of them, and no StringIO.

    The garbage collector may close a StringIO before the stream that needs it is told of its own end.
    """

    def __init__(self) -> None:
        #: How many characters there are.
        self.length = 0
        self._blocks: list[str] = []
        self._pieces: list[str] = []

    def add(self, piece: str) -> None:
        """Append ``piece``."""
        if piece:
            self.length += len(piece)
            self._pieces.append(piece)
            if len(self._pieces) == _BLOCK:
                self._blocks.append("".join(self._pieces))
                self._pieces.clear()

    def whole(self) -> str:
        """All of it."""
        return "".join([*self._blocks, *self._pieces])


_BLOCK = 1000


class ReplyAccumulator(ABC):
    """Keeps what the pieces of one reply add up to; subclasses read the pieces."""

    def __init__(self, call: Call, asked: ErrorContext, started: float) -> None:
        self._requested_model = call.model
        self._provider_id = call.provider_id
        self._asked = asked
        self._started = started  # time.monotonic() when the request was sent
        self._first: float | None = None
        self._ended: float | None = None
        self._text = GrowingText()
        self._reasoning = GrowingText()
        self._thoughts = ThoughtSplitter()
        self._tools = ToolCallAssembly(call.tools)
        self._id: str | None = None
        self._model: str | None = None
        self._usage: Usage | None = None
        self._finish_reason: str | None = None
        self._raw = False
        #: Whether the server said that it is over.
        self.done = False

    @property
    def ended(self) -> bool:
        """Whether all of the reply has come, although the stream may go on."""
        return self._finish_reason is not None

    @abstractmethod
    def _read_stats(self, first_s: float | None, duration_s: float) -> Stats:
        """The server's own stats, completed by what was measured here."""

    def _content(self, content: str, reasoning: str) -> Chunk | None:
        """The chunk of a piece of text, in which there may be thoughts, and of reasoning beside it."""
        text, thought = self._thoughts.feed(content)
        return self._chunk(text, reasoning + thought)

    def _chunk(self, text: str, reasoning: str) -> Chunk | None:
        if not text and not reasoning:
            return None
        if self._first is None:
            self._first = time.monotonic()
        self._text.add(text)
        self._reasoning.add(reasoning)
        return Chunk(text, reasoning=reasoning)

    def finish(self) -> list[Chunk]:
        """The last chunks, when the body has ended as it should, or ``done`` is set.

        Raises StreamInterruptedError where the reply has no end, and ProtocolError where there is nothing in it.
        """
        held = self._chunk(*self._thoughts.feed("", end=True))
        self._ended = time.monotonic()
        calls = self._tools.calls()
        if not (self.done or self._finish_reason) and (self._first is not None or calls):
            raise StreamInterruptedError(
                "the stream ended before the reply did: neither a finish_reason nor [DONE] came",
                hint=".partial holds what came; ask again for the whole reply",
                sent=True,
            )
        self._tools.check()
        if not self._finish_reason and self._first is None and not calls:
            raise ProtocolError(
                "the stream ended with nothing in it",
                hint="Most often the prompt does not fit into the model's context: send less, or load it with more",
                sent=True,
            )
        last = Chunk("", True, "", calls, self._finish_reason, self._usage)
        return [last] if held is None else [held, last]

    def completion(self, finish_reason: str | None = None) -> Completion:
        """The reply as far as it came; ``finish_reason`` stands in where the server gave none."""
        self._chunk(*self._thoughts.feed("", end=True))  # what was held back when the stream broke
        duration = (self._ended or time.monotonic()) - self._started
        first = None if self._first is None else self._first - self._started
        text, reasoning = self._text.whole(), self._reasoning.whole()
        if not self._raw:
            text, unopened = split_unopened(text)
            reasoning += unopened
        return Completion(
            text=text,
            model=self._model or self._requested_model,
            requested_model=self._requested_model,
            finish_reason=self._finish_reason or finish_reason,
            reasoning=reasoning,
            tool_calls=self._tools.calls(),
            usage=self._usage,
            stats=self._read_stats(first, duration),
            id=self._id,
            provider_id=self._provider_id,
        )
