"""The base class of replies that arrive piece by piece."""

from __future__ import annotations

import collections
import contextlib
import threading
import weakref
from typing import TYPE_CHECKING, Any, Callable, Generic, Iterator, NoReturn, Protocol, TypeVar

from .._core.callbacks import report_failure
from .._core.errors import (
    InvalidRequestError,
    ProtocolError,
    ProviderClosedError,
    ProviderError,
    RequestTimeoutError,
    ServerUnavailableError,
    StreamInterruptedError,
)
from .._core.types import Completion
from .._dialects.checked_reader import CheckedReader
from .._http.exchange import CancelledCall

if TYPE_CHECKING:
    from .._http.reply import Reply
    from .chunks import PieceSource  # a vendored copy may leave it out

# The type of the items of a stream, and of the whole reply.
Item = TypeVar("Item")
Whole = TypeVar("Whole", bound=Completion)
_Whole_co = TypeVar("_Whole_co", bound=Completion, covariant=True)
_Self = TypeVar("_Self", bound="BaseStream[Any, Any]")


class Accumulator(Protocol[Item, _Whole_co]):
    """Makes items of the events of a stream and adds them up; each wire format has its own."""

    done: bool
    """True if the server said that the stream is over."""

    @property
    def ended(self) -> bool:
        """True if all of the reply has come, although the stream may go on."""

    def feed(self, event: Any) -> Item | None:
        """Return the item that an event makes, if any."""

    def finish(self) -> list[Item]:
        """Return the last items."""

    def completion(self, finish_reason: str | None = None) -> _Whole_co:
        """Return the part of the reply that came."""


class BaseStream(Iterator[Item], Generic[Item, Whole]):
    """The base class of streams: iterating, closing from any thread, and the whole reply at the end."""

    def __init__(
        self,
        reply: Reply | PieceSource[Any],
        reader: CheckedReader | PieceSource[Any],
        accumulator: Accumulator[Item, Whole],
        parse_result: Callable[[Whole], Whole],
        on_end: Callable[[Whole, BaseException | None], None],
        annotate: Callable[[ProviderError], ProviderError],
    ) -> None:
        self._reply = reply
        self._reader: Any = reader
        self._accumulator = accumulator
        self._parse_result = parse_result
        self._annotate = annotate
        # Events that were read are taken one by one, so that the completion of a stream that is left early holds what
        # the caller has seen, however the network cut the bytes.
        self._events: collections.deque[Any] = collections.deque()
        self._at_end = self._any = False
        # The error that the reader raised after these events.
        self._broken: ProtocolError | None = None
        self._ready: collections.deque[Item] = collections.deque()
        self._completion: Whole | None = None
        # The error that ended the stream, until all callbacks have had it; and the error that is still to be raised.
        self._reason: BaseException | None = None
        self._error: ProviderError | None = None
        self._keep: Callable[[Whole, BaseException | None], None] | None = None
        self._callbacks: list[Callable[[Whole, BaseException | None], object]] = [on_end]
        # Held while the socket is read, so that close() knows whether another thread will clean up. Not an RLock: a
        # signal handler that closes the stream has to leave that to the reader that it interrupted, too.
        self._reading = threading.Lock()
        reply.exchange.on_close(weakref.WeakMethod(self._settle))

    def __repr__(self) -> str:
        state = "open" if self._completion is None else f"over: {self._completion!r}"
        return f"<{type(self).__name__} {state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a stream is a connection and cannot be pickled; its completion can")

    def __iter__(self) -> Iterator[Item]:
        # A generator, because it is closed when the loop is left.
        try:
            while True:
                try:
                    item = self.__next__()  # next() takes longer
                except StopIteration:
                    return
                yield item
        finally:
            self.close()

    def __next__(self) -> Item:
        exchange = self._reply.exchange
        if exchange.is_foreign():  # the lock may be held by a thread that exists only in the parent
            raise ProviderError("the stream belongs to the process that opened it, and this is a fork of that process")
        try:
            with self._reading:
                return self._next()
        except Exception:
            raise
        except BaseException:  # Ctrl-C ends the stream as close() does
            exchange.cancel()
            raise
        finally:
            # A close() while the lock was held has left the rest to this thread.
            if exchange.cancelled:
                self._settle()

    def _next(self) -> Item:
        while not self._ready:
            if self._error is not None:
                try:
                    raise self._error
                finally:
                    self._error = None  # its traceback refers to the stream, which must not refer to it
            if self._completion is not None:
                raise StopIteration
            try:
                item = self._advance()
            except Exception as error:  # for example a warning that the user has made an error
                self._reply.drop()
                self._end(self._accumulator.completion(), error)
                raise
            if item is not None:
                return item
        return self._ready.popleft()

    def _deliver(self, function: Callable[[Item], object]) -> Whole:
        """Call ``function`` for each item and return the whole reply; what it raises ends the stream."""
        with self:
            for item in self:
                function(item)
        return self.completion

    @property
    def completion(self) -> Whole:
        """The whole reply; after ``close()`` or an error, the part of it that came.

        Raises ProviderError while the stream is not over.
        """
        if self._completion is None:
            raise ProviderError(
                "the stream is not over, so its reply is not complete", hint="Iterate to its end, or close() it"
            )
        return self._completion

    def close(self) -> None:
        """Stop the stream: for a thread that is reading it ends, and its ``finish_reason`` is "cancelled"."""
        if not self._reply.exchange.is_foreign():
            self._reply.exchange.cancel()
            self._settle()

    def _settle(self) -> None:
        """End a stream that was closed; if another thread is reading, that thread will do it."""
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

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_reading", None) is not None:
            self._reading = threading.Lock()  # no thread reads, but Ctrl-C may have left the other lock locked
            self.close()

    def _advance(self) -> Item | None:
        """Take one event and return its item, or read on; keep an error until the items before it are taken."""
        if self._reply.exchange.cancelled:
            self._stopped()  # also if more events are there already
            return None
        events, item = self._events, None
        try:
            if not events and not self._at_end:
                self._read()
            if events:
                try:
                    item = self._accumulator.feed(events.popleft())
                    self._any = True
                except ProtocolError:
                    if not self._at_end or not self._any:
                        raise
                    # The last event may lack its end; if it is broken too, the stream was cut off.
            if not self._accumulator.done and (events or not self._at_end):
                return item
            if item is not None:
                self._ready.append(item)
            self._finish()
        except CancelledCall:
            self._stopped()
        except ServerUnavailableError as error:
            self._broke_off(error)
        except RequestTimeoutError as error:
            if self._accumulator.ended:  # only [DONE] is missing
                self._finish()
            else:
                self._fail(error)
        except ProviderError as error:
            self._fail(error)
        return None

    def _read(self) -> None:
        if self._broken is not None:
            broken, self._broken = self._broken, None
            raise broken
        data = self._reply.read_piece()
        if data:
            try:
                self._events.extend(self._reader.feed(data))
            except ProtocolError as error:
                if not self._events:
                    raise
                self._broken = error.with_traceback(None)  # it refers to the stream, which must not refer to it
            return
        self._at_end = True
        try:
            self._events.extend(self._reader.finish())
        except ProtocolError:
            if not self._any:
                raise

    def _finish(self) -> None:
        try:
            self._ready.extend(self._accumulator.finish())
        except (ProtocolError, StreamInterruptedError) as error:  # the end of the reply is missing
            self._fail(self._reader.explain(error))
            return
        except ProviderError as error:
            self._fail(error)
            return
        try:
            self._reply.finish()
            completion = self._parse_result(self._accumulator.completion())
        except ProviderError as error:  # the reply is not what was asked for
            self._fail(error)
        else:
            self._end(completion, None)

    def _broke_off(self, cause: ServerUnavailableError) -> None:
        if self._accumulator.ended:
            self._finish()  # only [DONE] or the end of the body is missing
            return
        if not self._reply.of_server:
            self._fail(cause)  # the caller's iterator raised it
            return
        error = StreamInterruptedError(
            f"the stream broke off: {cause.message}", hint=".partial holds what came; ask again for the whole reply"
        )
        error.__cause__ = cause.__cause__
        self._fail(self._reader.explain(error))

    def _stopped(self) -> None:
        """End a stream that was closed; if it was the provider that was closed, that is an error."""
        if self._completion is not None:
            self._notify()  # Ctrl-C has interrupted it
        elif self._reply.exchange.closed:
            self._fail(ProviderClosedError.during_call(), "cancelled")
        else:
            try:
                self._reply.drop()
            finally:  # a generator may raise anything when it is closed
                self._ready.clear()
                self._end(self._accumulator.completion("cancelled"), None)

    def _fail(self, error: ProviderError, finish_reason: str | None = None) -> None:
        self._reply.drop()
        whole = self._accumulator.completion(finish_reason)
        if self._reply.of_server:
            error.sent, error.partial = True, whole
        elif error.partial is None:  # the iterator that raised it has set ``sent``
            error.partial = whole
        self._error = self._annotate(error.with_traceback(None))
        self._end(whole, error)

    def add_done_callback(self, function: Callable[[Whole, BaseException | None], object]) -> None:
        """Call ``function`` once with the completion and the error or None, when the stream ends.

        The thread that reads or closes the stream calls it; it must not read the stream. What it raises becomes a
        RuntimeWarning. Raises ProviderError if the stream is over already.
        """
        if not callable(function):
            raise InvalidRequestError(f"add_done_callback: {function!r} cannot be called")
        if self._completion is not None:
            raise ProviderError("the stream is over already", hint="Its reply is in completion")
        self._callbacks.append(function)

    def _keep_with(self, keep: Callable[[Whole, BaseException | None], None]) -> None:
        """Call ``keep`` at the end, before all callbacks; if Ctrl-C interrupts it, it is called once more."""
        self._keep = keep
        if self._completion is not None:
            self._settle()

    def _end(self, completion: Whole, error: BaseException | None) -> None:
        if self._completion is None:
            self._reason, self._completion = error, completion
        self._notify()

    def _notify(self) -> None:
        completion, error = self.completion, self._reason
        if self._keep is not None:
            self._keep(completion, error)
            self._keep = None
        with contextlib.ExitStack() as stack:  # it calls all of them, also if Ctrl-C interrupts one
            while self._callbacks:
                stack.callback(_call, self._callbacks.pop(), completion, error)
        self._reason = None


def _call(
    function: Callable[[Whole, BaseException | None], object], completion: Whole, error: BaseException | None
) -> None:
    try:
        function(completion, error)
    except Exception:
        report_failure("a function given to add_done_callback()")
