"""A reply that arrives piece by piece, as its caller sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Generic, Iterable, Iterator, Protocol, overload

from .._core.callbacks import Callback
from .._core.errors import ConfigurationError
from .._core.growing_text import GrowingText
from .._core.schema.structure import Structure
from .._core.types import Chunk, Completion
from .base_stream import Accumulator, BaseStream

try:
    from .chunks import ChunkAssembly, PieceSource
except ImportError:  # a vendored copy may leave them out
    PieceSource = None  # type: ignore[assignment, misc]

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # known to every type checker; nothing to install

    from .._core.schema.partial import PartialAnswer

    # Without a type, a Stream is a Stream[Any].
    Parsed = TypeVar("Parsed", default=Any)
else:
    from typing import TypeVar

    Parsed = TypeVar("Parsed")


class TextAccumulator(Accumulator[Chunk, Completion[Any]], Protocol):
    """An accumulator whose texts can be read while they grow."""

    text: GrowingText
    reasoning: GrowingText


class Stream(BaseStream[Chunk, Completion[Parsed]], Generic[Parsed]):
    """Iterates over the chunks of a reply as they arrive; the last chunk has ``done``.

    ``completion`` is the whole reply when the stream is over. Leaving a ``with`` block, ``close()`` from any thread and
    dropping the stream close the socket, which makes LM Studio stop generating. Iterating raises
    StreamInterruptedError, RequestTimeoutError, ProtocolError or StatusError; their ``partial`` is the part that came.
    """

    _accumulator: TextAccumulator

    def __init__(self, *parts: Any, structure: Structure | None = None, **named: Any) -> None:
        super().__init__(*parts, **named)
        self._structure = structure
        # The reader of the answer so far. A call takes it out, so that another thread, or a signal handler, that calls
        # meanwhile begins with a new one, and one that Ctrl-C interrupted is not used again.
        self._partial: list[PartialAnswer] = []

    @overload
    @classmethod
    def from_chunks(
        cls, chunks: Iterable[Chunk], on_chunk: None = None, *, model: str = "", provider_id: str = ""
    ) -> Stream: ...

    @overload
    @classmethod
    def from_chunks(
        cls, chunks: Iterable[Chunk], on_chunk: Callable[[Chunk], object], *, model: str = "", provider_id: str = ""
    ) -> Completion: ...

    @classmethod
    def from_chunks(
        cls,
        chunks: Iterable[Chunk],
        on_chunk: Callable[[Chunk], object] | None = None,
        *,
        model: str = "",
        provider_id: str = "",
    ) -> Stream | Completion:
        """Make a stream of an iterator of Chunks, for the ``stream`` of a provider of your own.

        ``completion`` adds up their texts, reasoning and tool calls, and has the last ``finish_reason`` and ``usage``.
        The stream ends with the iterator or with a chunk that has ``done``; if none had, one is added. Closing the
        stream closes a generator, which then runs its ``finally``. What the iterator raises reaches the caller; if it
        is a ProviderError, its ``partial`` is the part that came. With ``on_chunk``, call it for each chunk and return
        the completion.
        """
        callback = Callback("on_chunk", on_chunk)
        if PieceSource is None:
            raise ConfigurationError("from_chunks() needs '_provider.chunks', which was left out of this copy")
        source = PieceSource(chunks)
        stream = cls(
            source,
            source,
            ChunkAssembly(model, provider_id),
            parse_result=lambda completion: completion,
            on_end=lambda completion, error: None,
            annotate=lambda error: error,
        )
        return stream if on_chunk is None else stream._deliver(callback)

    def text(self) -> Iterator[str]:
        """Iterate over the texts of the answer only."""
        for chunk in self:
            if chunk.delta:
                yield chunk.delta

    def partial_parsed(self) -> Any:
        """Return what is finished of the answer that ``response_format`` asks for; None before its JSON begins.

        An object is a dict of its finished members, and an array a list of its finished items, which are built as in
        ``parsed``; everything else is as JSON has it. A text or number that is not finished is left out, and so is an
        item that does not fit its type, which the end of the stream reports. So City gives a dict, and ``list[City]`` a
        list of City, after the end, too: only ``completion.parsed`` is built whole. Words and a fence around the JSON
        do not matter. Returns None without a ``response_format``, or if the model calls tools instead.

        Any thread may call this at any time. A call reads only the text that came since the last one. If something was
        finished since then, it returns a new object, for which it copies the objects and arrays that are still open,
        but not their contents; else it returns the same object as before.
        """
        completion, source = self._completion, self._accumulator.text
        if self._structure is None or (completion is not None and completion.tool_calls):
            return None
        if completion is not None and (not completion.text or completion.text.isspace()):
            source = self._accumulator.reasoning  # until the end, it may be only a thought
        try:
            reader = self._partial.pop()
        except IndexError:
            reader = self._structure.partial()
        value = reader.read(source)
        self._partial.append(reader)
        return value
