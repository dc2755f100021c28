"""A reply that comes piece by piece."""

from __future__ import annotations

import collections
import contextlib
import logging
import threading
import weakref
from types import TracebackType
from typing import Any, Callable, Generic, Iterator, Protocol, TypeVar

from ._exceptions import (
    InvalidRequestError,
    ProtocolError,
    ProviderClosedError,
    ProviderError,
    RequestTimeoutError,
    ServerUnavailableError,
    StreamInterruptedError,
)
from ._exchange import CancelledCall
from ._reply import Reply
from ._types import Chunk, Completion

logger = logging.getLogger("lmstudio_provider")

#: What a stream iterates over, and what it adds up to.
Item = TypeVar("Item")
Whole = TypeVar("Whole", bound=Completion)
_Whole_co = TypeVar("_Whole_co", bound=Completion, covariant=True)
_Self = TypeVar("_Self", bound="BaseStream[Any, Any]")


class Reader(Protocol):
    """What makes events of bytes."""

    def feed(self, data: bytes) -> list[Any]:
        """The events that ``data`` completes."""

    def finish(self) -> list[Any]:
        """The event that the end of the body cut off, if any."""


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
        reply: Reply,
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
        self._callbacks: list[Callable[[Whole, BaseException | None], object]] = [over]
        self._tell = tell
        self._ready: collections.deque[Item] = collections.deque()
        self._completion: Whole | None = None
        self._error: ProviderError | None = None
        # Held while the socket is read, so that close() knows whether somebody else will clean up. No RLock: a signal
        # handler that closes the stream must leave that to the reader that it interrupted, too.
        self._reading = threading.Lock()
        reply.exchange.settle = weakref.WeakMethod(self._settle)

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
        finally:
            # A close() that came while the lock was held left the rest to this thread.
            if self._reply.exchange.cancelled.is_set():
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
            self._read()
        return self._ready.popleft()

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
        if self._completion is None and self._reading.acquire(blocking=False):
            try:
                self._stopped()
            finally:
                self._reading.release()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_completion", self) is None:
            self.close()

    def _read(self) -> None:
        """Read one piece and make chunks of it; an error waits until the chunks before it are taken."""
        if self._reply.exchange.cancelled.is_set():
            self._stopped()  # also where more has come already, and need not be waited for
            return
        try:
            data = self._reply.read_piece()
            if data:
                self._take(self._reader.feed(data))
            else:
                # The last event may lack its end; where it is broken, too, the stream was cut.
                with contextlib.suppress(ProtocolError):
                    self._take(self._reader.finish())
            if self._assembly.done or not data:
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
        except BaseException as error:
            self._reply.drop()
            self._over(self._assembly.completion("cancelled"), error)
            raise

    def _take(self, events: list[Any]) -> None:
        for event in events:
            item = self._assembly.feed(event)
            if item is not None:
                self._ready.append(item)
            if self._assembly.done:
                return

    def _finish(self) -> None:
        try:
            self._ready.extend(self._assembly.finish())
            self._reply.finish()
            completion = self._finished(self._assembly.completion())
        except ProviderError as error:  # the reply has no end, is an error, or is not what was asked for
            self._fail(error)
        except BaseException as error:  # a warning that the user has made an error
            self._reply.drop()
            self._over(self._assembly.completion(), error)
            raise
        else:
            self._over(completion, None)

    def _broke_off(self, cause: ServerUnavailableError) -> None:
        if self._assembly.ended:
            self._finish()  # all of the reply is there, but for the formalities
            return
        error = StreamInterruptedError(
            f"the stream broke off: {cause.message}", hint=".partial holds what came; ask again for the whole reply"
        )
        error.__cause__ = cause.__cause__
        self._fail(error)

    def _stopped(self) -> None:
        """End a stream that was closed; where it was the provider that was closed, that is an error."""
        if self._completion is not None:
            return
        if self._reply.exchange.closed:
            self._fail(ProviderClosedError.during_call(), "cancelled")
        else:
            self._reply.drop()
            self._ready.clear()
            self._over(self._assembly.completion("cancelled"), None)

    def _fail(self, error: ProviderError, finish_reason: str | None = None) -> None:
        self._reply.drop()
        whole = self._assembly.completion(finish_reason)
        error.sent, error.partial = True, whole
        self._error = self._tell(error.with_traceback(None))
        self._over(whole, error)

    def add_done_callback(self, function: Callable[[Whole, BaseException | None], object]) -> None:
        """Have ``function`` called once with the completion, and the error if any, when the stream comes to its end.

        It is called by the thread that reads or closes the stream, and must not read it; what it raises is logged.
        Raises ProviderError where the stream is over already.
        """
        if not callable(function):
            raise InvalidRequestError(f"add_done_callback: {function!r} cannot be called")
        if self._completion is not None:
            raise ProviderError("the stream is over already", hint="Its reply is in completion")
        self._callbacks.append(function)

    def _over(self, completion: Whole, error: BaseException | None) -> None:
        if self._completion is None:
            self._completion = completion
            with contextlib.ExitStack() as stack:  # all of them are called, also where one is interrupted
                for function in reversed(self._callbacks):
                    stack.callback(_call, function, completion, error)


class Stream(BaseStream[Chunk, Completion]):
    """Iterates over the chunks of a reply, as they come; the last one has ``done``.

    ``completion`` is the whole reply once it is over. Leaving a ``with`` block, ``close()`` from any thread, and
    dropping the stream close the socket, which makes LM Studio stop generating. While it is iterated it raises
    StreamInterruptedError, RequestTimeoutError, ProtocolError or StatusError; their ``partial`` is what came so far.
    """

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
        logger.exception("a callback at the end of a stream failed; the reply is not affected")
