"""``complete_many``: many requests, several at a time, in threads, in processes or on other machines."""

from __future__ import annotations

import functools
import io
import pickle
import queue
import threading
import uuid
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Callable, Generator, Iterator, NamedTuple, Protocol

from .._core.callbacks import Callback, report_failure
from .._core.checks import FLAG, Check, check, check_fields, check_provider, instance, number
from .._core.errors import ConfigurationError, ProviderError, class_and_text
from .._core.requests import ChatRequest, DialectInput
from .._core.threads import start
from .._core.types import Completion
from .._core.usage import UsageRecord
from .._provider.local_server import LocalServer
from .cancelling import CancelScope, take

_MANY = Check(
    lambda value: isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping)),
    "is not an iterable of requests",
    "Give a list or a generator of texts, requests or lists of messages",
)
_EXECUTOR = instance(Executor, "is not an Executor", "With Dask, give client.get_executor()")
_NO_MORE = object()
# The providers that a worker process keeps.
_MOST_KEPT = 8


class Chats(Protocol):
    """The method of a provider that ``complete_many`` calls."""

    def chat(self, request: ChatRequest, /) -> Completion:
        """Answer a conversation."""


@dataclass(frozen=True, eq=False)
class Result:
    """The result of one of many requests. Either ``completion`` or ``error`` is set, and the other is None."""

    index: int
    """The position of the request, from 0."""
    request: Any
    """The request as it was given."""
    completion: Completion | None = None
    error: Exception | None = None


def complete_many(
    provider: Chats,
    requests: Iterable[DialectInput],
    executor: Executor | None = None,
    *,
    max_workers: int = 4,
    ordered: bool = True,
    on_progress: Callable[[Result], object] | None = None,
) -> Generator[Result, None, None]:
    """Answer many requests, several at a time, and iterate over their Results.

    ``provider`` is any object with ``chat()``. A request is what ``complete`` or ``chat`` takes: a text, a
    CompletionRequest, a ChatRequest, or a list of messages. They are taken from ``requests`` as they are needed: at
    most ``2 * max_workers`` are taken whose results the caller has not had. A request that fails is a Result with an
    ``error``, and the others go on.

    Without ``executor``, ``max_workers`` threads make the calls. An ``executor`` of ``concurrent.futures`` or of Dask
    decides by itself how many it makes at once, of the ``2 * max_workers`` that it is given. A worker process makes one
    provider from a pickle of yours and keeps it; its usage records go to the recorder of yours.

    With ``ordered=False``, results come as they are ready, not in the order of the requests. ``on_progress`` gets
    each Result as soon as it is ready, in the caller's thread, even if an earlier one is not ready.

    Ctrl-C, an exception of ``on_progress``, and leaving the loop early cancel the requests that have not begun, and
    close the connections of those that run in threads; other processes finish theirs. An exception of ``requests``
    itself is raised after the results of the requests before it.

    Raises InvalidRequestError or ConfigurationError for arguments that cannot work, before anything is sent, and
    ConfigurationError if the executor takes no more requests.
    """
    check_provider("complete_many", provider)
    check("requests", requests, _MANY)
    check_fields({"executor": executor}, {"executor": _EXECUTOR}, kind=ConfigurationError)
    check("max_workers", max_workers, number(1, whole=True))
    check("ordered", ordered, FLAG)
    batch = _Batch(provider, executor, max_workers, Callback("on_progress", on_progress))
    if not isinstance(executor, (ThreadPoolExecutor, type(None))):
        batch.packed  # noqa: B018 (a provider that cannot be pickled is an error now, not in each Result)
    return batch.results(requests, ordered)


class _Outcome(NamedTuple):
    """The result of a request, as it leaves the thread or process that made the call."""

    completion: Completion | None
    error: Exception | None
    records: list[tuple[int, UsageRecord]]
    """Usage records from another process, with the positions of their recorders in ``_Packed.recorders``."""


class _Batch:
    """The requests of one call of ``complete_many``. All methods except ``_work`` belong to the caller's thread."""

    def __init__(
        self, provider: Chats, executor: Executor | None, max_workers: int, callback: Callback[Result]
    ) -> None:
        self.provider = provider
        self._executor = executor
        self._max_workers = max_workers
        self._callback = callback
        # The requests that were taken and whose results the caller has not had, by their positions.
        self._begun: dict[int, _Job] = {}
        self._ended: queue.SimpleQueue[tuple[int, Future[_Outcome]]] = queue.SimpleQueue()
        self._waiting: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads = 0
        self._told = False

    @functools.cached_property
    def packed(self) -> _Packed:
        """The provider, for other processes."""
        return _pack(self.provider)

    def results(self, requests: Iterable[DialectInput], ordered: bool) -> Generator[Result, None, None]:
        """Take requests, and yield their results."""
        failures: list[Exception] = []
        try:
            try:
                yield from self._results(enumerate(requests), ordered, failures)
            finally:
                self._stop()
        except BaseException:  # Ctrl-C may have interrupted the other one
            self._stop()
            raise
        if failures:
            raise failures.pop()

    def _results(
        self, left: Iterator[tuple[int, Any]], ordered: bool, failures: list[Exception]
    ) -> Generator[Result, None, None]:
        ready: dict[int, Result] = {}
        taking = True
        while True:
            try:
                while taking and len(self._begun) < 2 * self._max_workers:
                    index, request = next(left, (-1, _NO_MORE))
                    if request is _NO_MORE:
                        taking = False
                    else:
                        self._begin(_Job(self, index, request))
            except Exception as error:
                taking = False
                failures.append(error)  # raised at the end: the answers on their way must not be lost
            if not self._begun:
                return
            first = next(iter(self._begun))
            while not (first in ready if ordered else ready):
                result = self._next_ended()
                ready[result.index] = result
                self._callback(result)
            index = first if ordered else next(iter(ready))
            del self._begun[index]
            yield ready.pop(index)

    def _begin(self, job: _Job) -> None:
        self._begun[job.index] = job  # before anything else, so that Ctrl-C finds it
        if self._executor is None:
            self._waiting.put(job)
            # Not a ThreadPoolExecutor: the interpreter would join its threads at its end, and so wait for a silent
            # server. These threads also share no lock with this one, which Ctrl-C could leave locked.
            if self._threads < self._max_workers:
                if start(threading.Thread(target=self._work, name="lmstudio-batch", daemon=True)):
                    self._threads += 1
                elif not self._threads:
                    self._waiting.put(None)
                    self._work()  # the system has no thread left: this one does the work
            return
        try:
            job.future = self._executor.submit(_answer, job)
        except RuntimeError as error:  # it is broken, or was shut down
            del self._begun[job.index]
            what = f"the executor takes no more requests: {error}"
            hint = f"Give the requests from index {job.index} on to a new executor"
            raise ConfigurationError(what, hint=hint) from error
        except Exception as error:  # Dask cannot pickle this request
            job.future = Future()
            job.future.set_exception(error)
        index = job.index  # with the job itself, this would be a cycle
        job.future.add_done_callback(lambda future: self._ended.put((index, future)))

    def _work(self) -> None:
        while (job := self._waiting.get()) is not None:
            if not job.scope.cancelled:
                future: Future[_Outcome] = Future()
                try:
                    future.set_result(job.answer())
                except BaseException as error:  # for example SystemExit: it is for the caller's thread
                    future.set_exception(error)
                self._ended.put((job.index, future))

    def _next_ended(self) -> Result:
        index, future = take(self._ended)
        try:
            completion, error, records = future.result()
        except Exception as failure:  # of the executor: a process died, for example
            completion, error, records = None, failure.with_traceback(None), []
        for recorder, record in records:
            try:
                self.packed.recorders[recorder].record(record)
            except Exception:
                report_failure("usage.record()", quiet=self._told)
                self._told = True
        return Result(index, self._begun[index].request, completion, error)

    def _stop(self) -> None:
        """Cancel the jobs that have not begun, close the connections of those that run, and let the threads end."""
        # Those that wait come first: a thread whose call has ended would begin the next one.
        for job in reversed(self._begun.values()):
            if job.future is not None:
                job.future.cancel()
            job.scope.cancel()
        for _ in range(self._threads + 1):
            self._waiting.put(None)


def _answer(job: _Job | _RemoteJob) -> _Outcome:
    return job.answer()


def _ask(provider: Chats, request: Any, records: list[tuple[int, UsageRecord]]) -> _Outcome:
    try:
        return _Outcome(provider.chat(ChatRequest.from_input(request)), None, records)
    except Exception as error:
        return _Outcome(None, error.with_traceback(None), records)  # its frames hold the request and the reply


class _Job:
    """One request, for a thread of this process. A pickle of it becomes a _RemoteJob, whatever the executor is."""

    def __init__(self, batch: _Batch, index: int, request: Any) -> None:
        self.index, self.request = index, request
        self.scope = CancelScope()
        self.future: Future[_Outcome] | None = None
        self._batch = batch
        self._key = uuid.uuid4().hex

    def __reduce__(self) -> tuple[Any, ...]:
        return _RemoteJob, (self._batch.packed.provider, self.request, self._key)

    def answer(self) -> _Outcome:
        with self.scope:
            return _ask(self._batch.provider, self.request, [])


class _RemoteJob(NamedTuple):
    """One request in another process."""

    provider: bytes
    request: Any
    key: str
    """Different for each job: Dask would compute equal ones only once."""

    def answer(self) -> _Outcome:
        with _UNPACKING:
            provider = _unpack(self.provider)
        records: list[tuple[int, UsageRecord]] = []
        _here.records = records
        outcome = _ask(provider, self.request, records)
        return outcome._replace(error=_portable(outcome.error))


def _portable(error: Exception | None) -> Exception | None:
    """Return ``error``, or one that says the same: an exception that cannot be rebuilt would break the pool."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (made here)
    except Exception:
        return ProviderError(class_and_text(error))
    return error


# The records of the call that a thread of a worker process makes.
_here = threading.local()
_UNPACKING = threading.Lock()  # a worker of Dask has several threads, and one provider


class _Packed(NamedTuple):
    """A pickle of a provider without its usage recorders, which stay here."""

    provider: bytes
    recorders: list[Any]


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.recorders: list[Any] = []

    def persistent_id(self, value: object) -> int | None:
        if isinstance(value, LocalServer) and value._usage is not None:
            self.recorders.append(value._usage)  # comes after its provider
        return next((number for number, each in enumerate(self.recorders) if each is value), None)


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, number: int) -> _RecorderAtHome:
        return _RecorderAtHome(number)


class _RecorderAtHome:
    """Stands in for a recorder of the caller's process; keeps the records until the outcome is sent back."""

    def __init__(self, number: int) -> None:
        self._number = number

    def record(self, record: UsageRecord, /) -> None:
        _here.records.append((self._number, record))


def _pack(provider: Chats) -> _Packed:
    file = io.BytesIO()
    pickler = _Pickler(file)
    try:
        pickler.dump(provider)
    except ProviderError:
        raise
    except Exception as error:
        what = f"the provider cannot be sent to another process: {error}"
        raise ConfigurationError(what, hint="Without executor=, threads make the calls") from error
    return _Packed(file.getvalue(), pickler.recorders)


@functools.lru_cache(_MOST_KEPT)
def _unpack(provider: bytes) -> Chats:
    unpacked: Chats = _Unpickler(io.BytesIO(provider)).load()
    return unpacked
