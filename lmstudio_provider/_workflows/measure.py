"""``measure``: how fast a server answers, by model, length of the prompt, and number of requests at once."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import queue
import threading
import time
from typing import Any, Callable, Iterable, Literal, Mapping, NamedTuple, Protocol, Sequence, Union

from .._core.callbacks import Callback
from .._core.checks import FUNCTION, NAME, Check, check, check_fields, check_provider, instance, number
from .._core.errors import ConfigurationError, InvalidRequestError
from .._core.options import Unpack, show_options
from .._core.overrides import LIMITS, Overrides, StreamOverrides
from .._core.requests import ChatRequest, CompletionRequest, StreamInput, TextRequest, override
from .._core.threads import start
from .._core.types import Chunk, Completion, Timeouts, check_seconds
from .._provider.stream import Stream
from .cancelling import take
from .measurement import Measurement, RequestTiming, measurement_of

Prompt = Union[str, CompletionRequest, ChatRequest, TextRequest]

_PROMPT = instance(
    (str, CompletionRequest, ChatRequest, TextRequest), "is not a text or a request", "Messages go into a ChatRequest"
)


class Streams(Protocol):
    """The method of a provider that ``measure`` calls."""

    def stream(self, request: StreamInput, on_chunk: None = None, **overrides: Unpack[StreamOverrides]) -> Stream:
        """Answer piece by piece."""


class _Job(NamedTuple):
    """A request to send, again and again."""

    kind: Literal["load", "warm-up", "measured"]
    model: str | None
    prompt: int
    concurrency: int
    send: Callable[[], Any]


class _Run:
    """The requests of one measurement. Threads send them; the caller's thread takes their timings."""

    def __init__(self, planned: int, on_progress: Callable[[RequestTiming], object] | None) -> None:
        self._began = time.perf_counter()
        self._callback = Callback("on_progress", on_progress)
        self._ended: queue.SimpleQueue[RequestTiming] = queue.SimpleQueue()
        self._streams: set[Stream] = set()
        self._stopped = False
        self.planned = planned
        self._numbers = itertools.count(1)
        self.cases: list[list[RequestTiming]] = []

    def run(self, job: _Job, times: int) -> None:
        """Send the request ``times`` times in each of ``job.concurrency`` threads; return when all have ended."""
        for _ in range(job.concurrency):
            # Not an executor: the interpreter would join its threads at its end, and so wait for a silent server.
            thread = threading.Thread(target=self._repeat, args=(job, times), name="lmstudio-measure", daemon=True)
            if not start(thread):  # the requests of a thread that cannot start have failed
                self._repeat(job._replace(send=functools.partial(_refuse, job.concurrency)), times)
        self.cases.append([])
        for _ in range(job.concurrency * times):
            timing = dataclasses.replace(take(self._ended), number=next(self._numbers), planned=self.planned)
            self.cases[-1].append(timing)
            self._callback(timing)

    def stop(self) -> None:
        """Close the streams that run, and have the threads send nothing more."""
        self._stopped = True
        for stream in list(self._streams):
            stream.close()

    def _repeat(self, job: _Job, times: int) -> None:
        for _ in range(times):
            if self._stopped:
                return
            self._ended.put(self._time(job))

    def _time(self, job: _Job) -> RequestTiming:
        arrivals: list[float] = []
        reply: Any = None
        failure = None
        started = time.perf_counter()
        try:
            reply = job.send() if job.kind == "load" else self._read(job.send(), arrivals)
        except BaseException as error:  # any error of a provider is counted, and the next request is sent
            failure = error.with_traceback(None)  # it would keep the stream
        ended = time.perf_counter()
        usage = getattr(reply, "usage", None)
        tokens = usage.completion_tokens if usage else None
        generating_s = ended - arrivals[0] if len(arrivals) > 1 else 0.0
        stats_s = reply.stats.model_load_time_s if isinstance(reply, Completion) else None
        return RequestTiming(
            kind=job.kind,
            model=job.model or getattr(reply, "model", None) or None,
            prompt=job.prompt,
            concurrency=job.concurrency,
            started_s=started - self._began,
            duration_s=ended - started,
            time_to_first_token_s=arrivals[0] - started if arrivals else None,
            tokens_per_second=(tokens - 1) / generating_s if tokens and tokens > 1 and generating_s else None,
            usage=usage,
            model_load_time_s=getattr(reply, "load_time_seconds", stats_s),
            error=failure,
        )

    def _read(self, pieces: Stream | Iterable[Chunk], arrivals: list[float]) -> Completion:
        stream = pieces if isinstance(pieces, Stream) else Stream.from_chunks(pieces)
        self._streams.add(stream)
        try:
            if self._stopped:  # while the request was sent
                stream.close()
            for chunk in stream:
                if chunk.delta or chunk.reasoning:
                    arrivals.append(time.perf_counter())
        finally:
            self._streams.discard(stream)
        return stream.completion


def _refuse(concurrency: int) -> None:
    what = f"the system allows no more threads, so {concurrency} requests cannot be sent at once"
    raise ConfigurationError(what, hint="Use a smaller concurrency")


class _Defaults(ChatRequest):
    max_tokens = 128


@show_options(_Defaults)
def measure(
    provider: Streams,
    prompts: Prompt | Sequence[Prompt],
    *,
    models: str | Sequence[str] | None = None,
    concurrency: int | Sequence[int] = 1,
    repeat: int = 3,
    warm_up: int = 1,
    load: Callable[[str], object] | None = None,
    on_progress: Callable[[RequestTiming], object] | None = None,
    **options: Unpack[Overrides],
) -> Measurement:
    """Measure the speed of each of ``models`` with each of ``prompts``, for each number of requests at once.

    ``provider`` is any object with ``stream()``. Without ``models``, it chooses the model. A prompt is a text or a
    request, whose options ``options`` replace; for prompts of several lengths, give several. With a ``concurrency`` of
    4, four threads send ``repeat`` requests each. Before them, each model answers the first prompt ``warm_up`` times.

    ``load`` is called with the name of each model before that, such as ``lm.native.ensure_loaded`` or ``ollama.load``.
    The load time is the one that the server reports, there or with a reply, as Ollama does.

    A request that fails is counted with its error, and the others go on. Ctrl-C closes the streams that run, and
    what was measured until then is returned, with ``interrupted``. ``on_progress`` gets each request when it has ended;
    an exception in it ends the measurement, closes the streams and reaches the caller.

    Raises InvalidRequestError or ConfigurationError for arguments that cannot work, before anything is sent.
    """
    if models is not None and "model" in options:
        raise InvalidRequestError("measure() got both models and model", hint="Give models alone")
    names = [None] if models is None else _listed("models", models, NAME)
    steps = _listed("concurrency", concurrency, number(1, whole=True))
    check("repeat", repeat, number(1, whole=True))
    check("warm_up", warm_up, number(0, whole=True))
    check_fields({"load": load}, {"load": FUNCTION})
    if load is not None and models is None:
        raise InvalidRequestError("load= needs models=", hint="Give the names of the models to load")
    check_provider("measure", provider)
    limits, fields = _split({"max_tokens": 128, **options})
    requests = [
        override(CompletionRequest(prompt) if isinstance(prompt, str) else prompt, **fields)
        for prompt in _listed("prompts", prompts, _PROMPT)
    ]
    each = (load is not None) + warm_up + len(requests) * sum(steps) * repeat
    run = _Run(len(names) * each, on_progress)

    def job(kind: Any, name: str | None, prompt: int, step: int = 1) -> _Job:
        request = requests[prompt] if name is None else dataclasses.replace(requests[prompt], model=name)
        return _Job(kind, name, prompt, step, lambda: provider.stream(request, **limits))

    try:
        try:
            for name in names:
                if load is not None and name is not None:
                    run.run(_Job("load", name, 0, 1, functools.partial(load, name)), 1)
                if warm_up:
                    run.run(job("warm-up", name, 0), warm_up)
                for prompt, _ in enumerate(requests):
                    for step in steps:
                        run.run(job("measured", name, prompt, step), repeat)
        finally:
            run.stop()
    except KeyboardInterrupt:  # the result says that it is not whole: ``interrupted``
        run.stop()  # Ctrl-C may have interrupted the other one
    return measurement_of(run.cases, run.planned)


def _listed(name: str, value: Any, rule: Check) -> list[Any]:
    """Return one value or many as a list; raise InvalidRequestError for one that does not pass ``rule``, or none."""
    many = isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))
    listed = list(value) if many else [value]
    if not listed:
        raise InvalidRequestError(f"{name} is empty", hint="Give at least one")
    for each in listed:
        check(name, each, rule)
    return listed


def _split(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the time limits of a call, which are checked, and the other options."""
    limits = {name: value for name, value in options.items() if name in LIMITS}
    for name, value in limits.items():
        if name != "timeout" or not isinstance(value, Timeouts):
            check_seconds(name, value)
    return limits, {name: value for name, value in options.items() if name not in LIMITS}
