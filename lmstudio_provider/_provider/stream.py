"""A reply that comes piece by piece."""

from __future__ import annotations

import collections
import contextlib
import threading
import weakref
from types import TracebackType
from typing import Any, Callable, Generic, Iterable, Iterator, Protocol, TypeVar, overload

from .._core.callbacks import Callback, report_failure
from .._core.errors import (
    InvalidRequestError,
    ProtocolError,
    ProviderClosedError,
    ProviderError,
    RequestTimeoutError,
    ServerUnavailableError,
    StreamInterruptedError,
)
from .._core.types import Chunk, Completion
from .._http.exchange import CancelledCall
from .._http.reply import Reply
from .chunks import ChunkAssembly, PieceSource

#: What a stream iterates over, and what it adds up to.
Item = TypeVar("Item")
Whole = TypeVar("Whole", bound=Completion)
_Whole_co = TypeVar("_Whole_co", bound=Completion, covariant=True)
_Self = TypeVar("_Self", bound="BaseStream[Any, Any]")


class Reader(Protocol):
    """What makes events of bytes."""

    def feed(self, data: Any, /) -> list[Any]:
        """The events that ``data`` completes."""

    def finish(self) -> list[Any]:
        """The event that the end of the body cut off, if any."""

    def explain(self, error: ProviderError, /) -> ProviderError:
        """The error of a stream without an end: what came instead, or ``error`` if nothing else came."""


class Assembly(Protocol[Item, _Whole_co]):
    """What makes the items of a stream out of events; each wire format has its own."""

    done: bool

    @property
    def ended(self) -> bool:
        """Whether all of the reply has come, although the stream may go on."""

    def feed(self, event: Any) -> Item | None:
        """The item that an event makes, if any."""

    def finish(self) -> list[Item]:
        """The last items."""

    def completion(self, finish_reason: str | None = None) -> _Whole_co:
        """The reply as far as it came."""


class BaseStream(Iterator[Item], Generic[Item, Whole]):
    """What all streams have in common: iterating, closing from any thread, and the whole reply at the end."""

    def __init__(
        self,
        reply: Reply | PieceSource[Any],
        reader: Reader,
        assembly: Assembly[Item, Whole],
        finished: Callable[[Whole], Whole],
        over: Callable[[Whole, BaseException | None], None],
        tell: Callable[[ProviderError], ProviderError],
    ) -> None:
        self._reply = reply
        self._reader = reader
        self._assembly = assembly
        self._finished = finished
        self._tell = tell
        # What was read is taken piece by piece, so that a stream that is left holds what its reader has seen, however
        # the network cut the bytes.
        self._events: collections.deque[Any] = collections.deque()
        self._at_end = self._any = False
        self._ready: collections.deque[Item] = collections.deque()
        self._completion: Whole | None = None
        # What ended the stream, until everybody has been told; and what is still to be raised.
        self._reason: BaseException | None = None
        self._error: ProviderError | None = None
        self._keep: Callable[[Whole, BaseException | None], None] | None = None
        self._callbacks: list[Callable[[Whole, BaseException | None], object]] = [over]
        # Held while the socket is read, so that close() knows whether somebody else will clean up. No RLock: a signal
        # handler that closes the stream must leave that to the reader that it interrupted, too.
        self._reading = threading.Lock()
        reply.exchange.on_close(weakref.WeakMethod(self._settle))

    def __repr__(self) -> str:
        state = "open" if self._completion is None else f"over: {self._completion!r}"
        return f"<{type(self).__name__} {state}>"

    def __iter__(self) -> Iterator[Item]:
        # A generator, because it notices when the loop is left.
        try:
            while True:
                try:
                    item = next(self)
                except StopIteration:
                    return
                yield item
        finally:
            self.close()

    def __next__(self) -> Item:
        if self._reply.exchange.is_foreign():  # and the lock may be held by a thread that is not here
            raise ProviderError("the stream belongs to the process that opened it, and this is a fork of that")
        try:
            with self._reading:
                return self._next()
        except Exception:
            raise
        except BaseException:  # Ctrl-C ends the stream as close() does
            self._reply.exchange.cancel()
            raise
        finally:
            # A close() that came while the lock was held left the rest to this thread.
            if self._reply.exchange.cancelled:
                self._settle()

    def _next(self) -> Item:
        while not self._ready:
            if self._error is not None:
                try:
                    raise self._error
                finally:
                    self._error = None  # no cycle of error, traceback, frame and stream keeps them alive
            if self._completion is not None:
                raise StopIteration
            try:
                self._advance()
            except Exception as error:  # such as a warning that the user has made an error
                self._reply.drop()
                self._over(self._assembly.completion(), error)
                raise
        return self._ready.popleft()

    def _deliver(self, function: Callable[[Item], object]) -> Whole:
        """Call ``function`` for each item; what it raises ends the stream and reaches the caller."""
        with self:
            for item in self:
                function(item)
        return self.completion

    @property
    def completion(self) -> Whole:
        """The whole reply; after ``close()`` or an error, as much of it as came.

        Raises ProviderError while the stream is not over.
        """
        if self._completion is None:
            raise ProviderError(
                "the stream is not over, so there is no whole reply yet", hint="Iterate to its end, or close() it"
            )
        return self._completion

    def close(self) -> None:
        """Stop: a thread that is reading sees the stream end, with "cancelled" as its ``finish_reason``."""
        if not self._reply.exchange.is_foreign():
            self._reply.exchange.cancel()
            self._settle()

    def _settle(self) -> None:
        """End a stream that was closed, unless another thread is reading, which will do so."""
        if self._completion is not None and self._keep is None and not self._callbacks:
            return
        mine = False
        try:  # Ctrl-C may come at any time
            mine = self._reading.acquire(blocking=False)
            if mine:
                self._stopped()
        finally:
            if mine:
                self._reading.release()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_reading", None) is not None:
            self._reading = threading.Lock()  # nobody reads, and Ctrl-C may have left the other one locked
            self.close()

    def _advance(self) -> None:
        """Take one event, or read on; an error waits until the items before it are taken."""
        if self._reply.exchange.cancelled:
            self._stopped()  # also if more has come already, and need not be waited for
            return
        try:
            if not self._events and not self._at_end:
                self._read()
            if self._events:
                self._take()
            if self._assembly.done or (self._at_end and not self._events):
                self._finish()
        except CancelledCall:
            self._stopped()
        except ServerUnavailableError as error:
            self._broke_off(error)
        except RequestTimeoutError as error:
            if self._assembly.ended:  # without [DONE], but all of the reply is there
                self._finish()
            else:
                self._fail(error)
        except ProviderError as error:
            self._fail(error)

    def _read(self) -> None:
        data = self._reply.read_piece()
        if data:
            self._events.extend(self._reader.feed(data))
            return
        self._at_end = True
        try:
            self._events.extend(self._reader.finish())
        except ProtocolError:
            if not self._any:
                raise

    def _take(self) -> None:
        try:
            item = self._assembly.feed(self._events.popleft())
        except ProtocolError:
            if not self._at_end or not self._any:
                raise
            # The last event may lack its end; if it is broken, too, the stream was cut.
        else:
            self._any = True
            if item is not None:
                self._ready.append(item)

    def _finish(self) -> None:
        try:
            self._ready.extend(self._assembly.finish())
        except (ProtocolError, StreamInterruptedError) as error:  # the reply has no end
            self._fail(self._reader.explain(error))
            return
        except ProviderError as error:
            self._fail(error)
            return
        try:
            self._reply.finish()
            completion = self._finished(self._assembly.completion())
        except ProviderError as error:  # the reply is not what was asked for
            self._fail(error)
        else:
            self._over(completion, None)

    def _broke_off(self, cause: ServerUnavailableError) -> None:
        if self._assembly.ended:
            self._finish()  # all of the reply is there, but for the formalities
            return
        if not isinstance(self._reply, Reply):
            self._fail(cause)  # as the caller's own iterator raised it
            return
        error = StreamInterruptedError(
            f"the stream broke off: {cause.message}", hint=".partial holds what came; ask again for the whole reply"
        )
        error.__cause__ = cause.__cause__
        self._fail(self._reader.explain(error))

    def _stopped(self) -> None:
        """End a stream that was closed; if it was the provider that was closed, that is an error."""
        if self._completion is not None:
            self._tell_of_end()  # which Ctrl-C has interrupted
        elif self._reply.exchange.closed:
            self._fail(ProviderClosedError.during_call(), "cancelled")
        else:
            try:
                self._reply.drop()
            finally:  # a generator may raise what it likes where it is closed
                self._ready.clear()
                self._over(self._assembly.completion("cancelled"), None)

    def _fail(self, error: ProviderError, finish_reason: str | None = None) -> None:
        self._reply.drop()
        whole = self._assembly.completion(finish_reason)
        if isinstance(self._reply, Reply):
            error.sent, error.partial = True, whole
        elif error.partial is None:  # and what was sent an iterator knows, which raised it
            error.partial = whole
        self._error = self._tell(error.with_traceback(None))
        self._over(whole, error)

    def add_done_callback(self, function: Callable[[Whole, BaseException | None], object]) -> None:
        """Have ``function`` called once with the completion, and the error if any, when the stream comes to its end.

        It is called by the thread that reads or closes the stream, and must not read it. What it raises becomes a
        RuntimeWarning. Raises ProviderError if the stream is over already.
        """
        if not callable(function):
            raise InvalidRequestError(f"add_done_callback: {function!r} cannot be called")
        if self._completion is not None:
            raise ProviderError("the stream is over already", hint="Its reply is in completion")
        self._callbacks.append(function)

    def _keep_with(self, keep: Callable[[Whole, BaseException | None], None]) -> None:
        """Have ``keep`` called at the end, before any other; Ctrl-C in the middle of it has it called once more."""
        self._keep = keep
        if self._completion is not None:
            self._settle()

    def _over(self, completion: Whole, error: BaseException | None) -> None:
        if self._completion is None:
            self._reason, self._completion = error, completion
        self._tell_of_end()

    def _tell_of_end(self) -> None:
        completion, error = self.completion, self._reason
        if self._keep is not None:
            self._keep(completion, error)
            self._keep = None
        with contextlib.ExitStack() as stack:  # all of them are called, also if one is interrupted
            while self._callbacks:
                stack.callback(_call, self._callbacks.pop(), completion, error)
        self._reason = None


class Stream(BaseStream[Chunk, Completion]):
    """Iterates over the chunks of a reply, as they come; the last one has ``done``.

    ``completion`` is the whole reply once it is over. Leaving a ``with`` block, ``close()`` from any thread, and
    dropping the stream close the socket, which makes LM Studio stop generating. While it is iterated it raises
    StreamInterruptedError, RequestTimeoutError, ProtocolError or StatusError; their ``partial`` is what came so far.
    """

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

        ``completion`` adds up their texts, reasoning and tool calls, with the last ``finish_reason`` and ``usage``.
        The iterator ends the stream, or a chunk with ``done``; one is added if none came. Closing the stream closes a
        generator, which then runs its ``finally``. What the iterator raises reaches the caller; of a ProviderError
        ``partial`` is what came. With ``on_chunk``, that is called for each, and the completion returned.
        """
        callback = Callback("on_chunk", on_chunk)
        source = PieceSource(chunks)
        stream = cls(
            source,
            source,
            ChunkAssembly(model, provider_id),
            finished=lambda completion: completion,
            over=lambda completion, error: None,
            tell=lambda error: error,
        )
        return stream if on_chunk is None else stream._deliver(callback)

    def text(self) -> Iterator[str]:
        """Iterate over the texts of the answer alone."""
        for chunk in self:
            if chunk.delta:
                yield chunk.delta


def _call(
    function: Callable[[Whole, BaseException | None], object], completion: Whole, error: BaseException | None
) -> None:
    try:
        function(completion, error)
    except Exception:
        report_failure("a function given to add_done_callback()")
