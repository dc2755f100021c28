"""Several providers that stand in for each other."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
from concurrent.futures import Future, as_completed
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Callable, Collection, Iterable, Iterator, Literal, Mapping, Sequence, TypeVar, cast

from .._core.callbacks import Callback
from .._core.checks import NAME, check, check_fields, one_of
from .._core.errors import ConfigurationError, ProviderError, RequestTimeoutError, ServerUnavailableError
from .._core.images import data_url, listed
from .._core.options import show_options
from .._core.requests import CompletionRequest, chat_request
from .._core.types import UNSET, Capabilities, Chunk, Health, check_seconds
from .._http.exchange import Deadline
from .._provider.base import Provider
from .._provider.stream import Stream
from .asking import check_health, none_available, run_in_daemon_thread

_FIRST_COOLDOWN_S = 1.0
_LONGEST_COOLDOWN_S = 60.0
# Seconds to give a provider if the deadline has just passed: 0 is not a valid deadline.
_LEAST_S = 0.001

# The cooldown of a provider that never failed, or has answered since.
_READY = (0, float("-inf"))

_Value = TypeVar("_Value")
_Method = TypeVar("_Method", bound=Callable[..., Any])


class _Lease:
    """One call at one provider; its outcome sets the cooldown of the provider."""

    def __init__(self, balancer: Balancer, provider: Provider) -> None:
        self.provider = provider
        self._balancer = balancer
        self._cooldown = balancer.cooldowns.get(id(provider), _READY)

    def no_connection(self) -> None:
        """Start a cooldown, longer than the last one; calls that failed together count once."""
        count = self._cooldown[0]
        # Else another call has set it since this one began.
        if self._balancer.cooldowns.get(id(self.provider), _READY) is self._cooldown:
            cooldown_s = min(_FIRST_COOLDOWN_S * 2.0 ** min(count, 10), _LONGEST_COOLDOWN_S)
            self._balancer.cooldowns[id(self.provider)] = (count + 1, self._balancer.clock() + cooldown_s)

    def connected(self) -> None:
        """End the cooldown, because the provider was reached."""
        if self._balancer.cooldowns.get(id(self.provider), _READY) is self._cooldown:
            self._balancer.cooldowns.pop(id(self.provider), None)

    def over(self) -> None:
        """End the call; it may be ended more than once."""
        self._balancer.calls.discard(self)


class Balancer:
    """Chooses whose turn it is. Shared by threads; ``clock`` returns the time in seconds."""

    def __init__(
        self, providers: Sequence[Provider], least_busy: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        # For each provider that could not be reached: how often in a row, and when its cooldown ends. Each value is
        # replaced as a whole, and never changed, so that threads need no lock.
        self.cooldowns: dict[int, tuple[int, float]] = {}
        # The calls under way: a set, because a stream that is collected ends its call at any time, in any thread.
        self.calls: set[_Lease] = set()
        self.clock = clock
        self._providers = providers
        self._least_busy = least_busy
        self._pid = os.getpid()
        self._lock = threading.RLock()  # a signal handler may make a call in between

    def next(self, tried: Collection[Provider] = ()) -> _Lease | None:
        """Begin a call at the provider whose turn it is; return None if all of them were ``tried``."""
        if self._pid != os.getpid():
            # In a forked child, the thread that held the lock may not exist, and the calls are the parent's.
            self._pid, self._lock, self.calls = os.getpid(), threading.RLock(), set()
        with self._lock:  # so that two threads do not take the same provider for the idle one
            left = [each for each in self._providers if not any(each is other for other in tried)]
            if not left:
                return None
            lease = _Lease(self, self.choose(left))
            self.calls.add(lease)
            return lease

    def choose(self, providers: Sequence[Provider]) -> Provider:
        """Return the provider whose turn it is; if all have a cooldown, the one whose cooldown ends first."""
        now = self.clock()

        def rank(provider: Provider) -> tuple[float, int]:
            end = self.cooldowns.get(id(provider), _READY)[1]
            return (end if end > now else _READY[1], self.busy(provider) if self._least_busy else 0)

        return min(providers, key=rank)  # the first one of those with the same rank

    def busy(self, provider: Provider) -> int:
        """Return how many calls are under way at a provider."""
        return sum(each.provider is provider for each in self.calls.copy())


def _forwarded(method: _Method) -> _Method:
    """Return the method of Failover that has the first provider that can be reached do what ``method`` does."""
    # Passed on by position, even if the caller gives it by name, so that one place can make it repeatable.
    first = method.__code__.co_varnames[1]

    @functools.wraps(method)
    def forward(self: Failover, *arguments: Any, **options: Any) -> Any:
        if not arguments and first in options:
            arguments = (options.pop(first),)
        return self._serve(method.__name__, arguments, options)

    vars(forward).pop("__isabstractmethod__", None)
    return cast(_Method, forward)


@show_options(CompletionRequest)
class Failover(Provider):
    """Several providers as one: the first to which a connection can be opened serves a call.

    A provider that cannot be reached has a cooldown, of 1 s at first and up to 60 s if that happens repeatedly, and is
    asked again after that; if all have a cooldown, they are tried nevertheless. A call that a server may be working on
    is never repeated elsewhere: its error is raised as it is, and so is every other error. ``Completion.provider_id``
    names the provider that served, so give providers of one kind different ids. With ``balance="least_busy"`` the one
    with the fewest calls under way serves; a stream is under way until it is over. A ``deadline`` limits the whole
    call, over all providers that are tried; a ``timeout`` limits each of them.

    It owns its providers: ``close()`` closes them. It pickles if they do. Raises ConfigurationError.
    """

    def __init__(
        self, providers: Iterable[Provider], *, balance: Literal["least_busy"] | None = None, id: str = "failover"
    ) -> None:
        members = list(providers) if isinstance(providers, Iterable) else [providers]
        for each in members:
            if not isinstance(each, Provider):
                raise ConfigurationError(f"providers: {type(each).__name__} is not a Provider")
        if not members:
            raise ConfigurationError("providers is empty", hint="A Failover needs at least one")
        check_fields({"balance": balance}, {"balance": one_of("least_busy")}, kind=ConfigurationError)
        check("id", id, NAME, ConfigurationError)
        self.id = id
        self.display_name = f"Failover ({', '.join(each.display_name for each in members)})"
        self._balance = balance
        self._providers = members
        self._balancer = Balancer(members, least_busy=balance is not None)

    def __repr__(self) -> str:
        return f"<Failover {', '.join(each.id for each in self._providers)}>"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_balancer"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._balancer = Balancer(self._providers, least_busy=self._balance is not None)

    @property
    def base_url(self) -> str:
        """The base URL of the provider whose turn it is."""
        return self._balancer.choose(self._providers).base_url

    @property
    def capabilities(self) -> Capabilities:
        """The capabilities of any of them, and the models of all."""
        each = [provider.capabilities for provider in self._providers]
        visions = [capabilities.vision for capabilities in each]
        return Capabilities(
            any(capabilities.streaming for capabilities in each),
            any(capabilities.tool_calling for capabilities in each),
            True if True in visions else None if None in visions else False,
            tuple(dict.fromkeys(model for capabilities in each for model in capabilities.models)),
        )

    def capabilities_for(self, model: str | None = None) -> Capabilities:
        """Return the capabilities of ``model``, from the first provider that knows it."""
        each = [provider.capabilities_for(model) for provider in self._providers]
        return next((capabilities for capabilities in each if capabilities.models), each[0])

    def refresh_models(self, timeout: float | None = 3.0) -> bool:
        """Ask all of them at once; return False if none had any."""
        asked = self._ask_all(lambda provider: provider.refresh_models(timeout))
        return True in [future.result() for future in asked]

    def is_configured(self) -> bool:
        return any(provider.is_configured() for provider in self._providers)

    def wait_until_configured(self, timeout: float | None = 3.0) -> bool:
        """Wait until one of them is configured, or none has a discovery under way."""
        asked = self._ask_all(lambda provider: provider.wait_until_configured(timeout))
        with contextlib.suppress(FutureTimeoutError):
            return any(future.result() for future in as_completed(asked, timeout)) or self.is_configured()
        return self.is_configured()

    def resolve_model(self, tier: str | None = None) -> str:
        """Return the model that the provider whose turn it is would use."""
        return self._balancer.choose(self._providers).resolve_model(tier)

    def reset_client(self) -> None:
        """Reset all of them, and end all cooldowns."""
        for provider in self._providers:
            provider.reset_client()
        self._balancer.cooldowns.clear()

    def health_check(self, timeout: float | None = 3.0) -> Health:
        """Ask all of them at once; return ok if one is ok, with the models of those, and the advice of all."""
        checks = list(check_health(self._providers, timeout))
        advice = tuple(dict.fromkeys(each for _, health in checks for each in health.advice))
        well = [health for _, health in checks if health.ok]
        if not well:
            error = self._none_available([(each, health.error) for each, health in checks])
            return Health(False, error=error, advice=advice)
        models = dict.fromkeys(model for health in well for model in health.models)
        return Health(True, well[0].latency_s, tuple(models), advice=advice)

    list_models = _forwarded(Provider.list_models)
    complete = _forwarded(Provider.complete)
    complete_text = _forwarded(Provider.complete_text)
    chat = _forwarded(Provider.chat)
    complete_with_tools = _forwarded(Provider.complete_with_tools)
    stream = _forwarded(Provider.stream)
    embed = _forwarded(Provider.embed)
    decide = _forwarded(Provider.decide)
    count_tokens = _forwarded(Provider.count_tokens)
    context_length = _forwarded(Provider.context_length)

    def close(self) -> None:
        """Close all of them; an exception of one is raised when all are closed."""
        with contextlib.ExitStack() as stack:
            for provider in self._providers:
                stack.callback(provider.close)

    def _serve(self, operation: str, arguments: tuple[Any, ...], given: dict[str, Any]) -> Any:
        """Ask one provider after the other until one can be reached."""
        seconds = given.get("deadline", UNSET)
        check_seconds("deadline", None if seconds is UNSET else seconds)
        deadline = Deadline(seconds, time.monotonic()) if isinstance(seconds, (int, float)) else None
        raised: list[BaseException] = []
        arguments = _repeatable(operation, arguments, given, raised)
        failures: list[tuple[Provider, ProviderError | None]] = []
        try:
            while lease := self._balancer.next([provider for provider, _ in failures]):
                if deadline is not None and failures:
                    given["deadline"] = max(deadline.left(), _LEAST_S)
                try:
                    reply = getattr(lease.provider, operation)(*arguments, **given)
                except BaseException as error:
                    lease.over()
                    # An error that the caller's own function raised may be of any class, also one of ours.
                    sent = getattr(error, "sent", False) or error in raised
                    if sent or not isinstance(error, (ServerUnavailableError, RequestTimeoutError)):
                        if sent:
                            lease.connected()
                        # The server may be working on it, and a second copy would only compete with it.
                        raise
                    lease.no_connection()
                    if deadline is not None and deadline.left() <= 0:
                        raise
                    failures.append((lease.provider, error.with_traceback(None)))  # whose frames hold the request
                else:
                    lease.connected()
                    if isinstance(reply, Stream):
                        _end_with(reply, lease)
                    else:
                        lease.over()
                    return reply
        finally:
            raised.clear()  # no cycle of error, traceback, frame and list keeps the request alive
        raise self._none_available(failures)

    def _ask_all(self, ask: Callable[[Provider], _Value]) -> list[Future[_Value]]:
        return [run_in_daemon_thread(ask, provider) for provider in self._providers]

    def _none_available(self, failures: list[tuple[Provider, ProviderError | None]]) -> ServerUnavailableError:
        error = none_available(failures)
        error.provider = self.id
        return error


def _repeatable(
    operation: str, arguments: tuple[Any, ...], given: dict[str, Any], raised: list[BaseException]
) -> tuple[Any, ...]:
    """Return ``arguments`` so that several providers can get them, and change the ``given`` ones, by name, likewise.

    Exceptions of ``on_chunk`` are added to ``raised``. A text becomes a ChatRequest, and options of ``embed`` that have
    their default are left out, because a user's own provider need not know them.
    """
    first, *others = arguments or (UNSET,)
    if operation in ("chat", "complete_with_tools"):
        first = chat_request(first)
    elif isinstance(first, Iterator):
        first = list(first)
    if operation == "embed":
        for name, default in (("num_ctx", None), ("keep_alive", None), ("on_truncation", "warn")):
            if given.get(name, UNSET) == default:
                del given[name]
    tools = given.get("tools")
    if isinstance(tools, Iterable) and not isinstance(tools, (str, Mapping)):
        given["tools"] = list(tools)
    if "images" in given:  # an open file would be at its end
        given["images"] = [data_url(image) for image in listed(given["images"])]
    if operation == "stream":
        on_chunk = others.pop(0) if others else given.pop("on_chunk", None)
        others.insert(0, None if on_chunk is None else _noting(Callback("on_chunk", on_chunk), raised))
    return (first, *others) if arguments else ()


def _noting(callback: Callback[Chunk], raised: list[BaseException]) -> Callable[[Chunk], None]:
    def call(chunk: Chunk) -> None:
        try:
            callback(chunk)
        except BaseException as error:
            raised.append(error)
            raise

    return call


def _end_with(stream: Stream, lease: _Lease) -> None:
    """End the lease when the stream ends."""
    try:
        stream.add_done_callback(lambda completion, error: lease.over())
    except ProviderError:  # it was over before the callback was there
        lease.over()
