"""Several providers that stand in for each other."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from concurrent.futures import Future, as_completed
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import AbstractContextManager
from typing import Any, Callable, Collection, Iterable, Literal, Mapping, TypeVar, overload

from ._callbacks import Callback
from ._exceptions import ConfigurationError, ProviderError, RequestTimeoutError, ServerUnavailableError
from ._exchange import Deadline
from ._health import check_health, none_available
from ._images import data_url, listed
from ._options import Unpack, show_options
from ._overrides import ChatOverrides, CompletionOverrides, Overrides, StreamOverrides
from ._parallel import begin
from ._provider import Provider
from ._requests import ChatInput, CompletionInput, CompletionRequest, StreamInput, TextInput, chat_request
from ._stream import Stream
from ._types import (
    UNSET,
    Capabilities,
    Chunk,
    Completion,
    Embeddings,
    Health,
    ModelInfo,
    Timeout,
    Unset,
    check_seconds,
)

_FIRST_REST_S = 1.0
_LONGEST_REST_S = 60.0
# What a deadline that passes just now is given as: 0 is none.
_LEAST_S = 0.001

_Value = TypeVar("_Value")


class _Member:
    """A provider, how it fares, and the calls that are under way there."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        #: How often in a row no connection came, and until when it rests. Replaced as a whole, never changed, so that
        #: threads need no lock to read it.
        self.rest = (0, float("-inf"))
        # A set, whose changes are atomic: a stream that is collected ends its call at any time, in any thread.
        self.calls: set[_Turn] = set()


class _Turn:
    """One call at one member; it is told how the call went."""

    def __init__(self, member: _Member, clock: Callable[[], float]) -> None:
        self.member = member
        self._clock = clock
        self._rest = member.rest
        member.calls.add(self)

    def no_connection(self) -> None:
        """It rests now, and longer than last time; calls that failed together count once."""
        count = self._rest[0]
        if self.member.rest is self._rest:  # else another call has told of it since this one began
            rest_s = min(_FIRST_REST_S * 2.0 ** min(count, 10), _LONGEST_REST_S)
            self.member.rest = (count + 1, self._clock() + rest_s)

    def connected(self) -> None:
        """It is there, whatever it answered."""
        if self._rest[0] and self.member.rest is self._rest:
            self.member.rest = (0, float("-inf"))

    def over(self) -> None:
        """The call has come to its end; again is fine."""
        self.member.calls.discard(self)


class Rota:
    """Whose turn it is. Shared by threads; ``clock`` tells the time in seconds."""

    def __init__(
        self, providers: Iterable[Provider], least_busy: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.members = [_Member(provider) for provider in providers]
        self._least_busy = least_busy
        self._clock = clock
        self._pid = os.getpid()
        self._lock = threading.RLock()  # a signal handler may make a call in between

    def next(self, tried: Collection[Provider] = ()) -> _Turn | None:
        """Begin a call at the member whose turn it is; None where all are among those that were ``tried``."""
        with self._own_lock():  # so that two threads do not take the same member for the idle one
            member = self._choice(tried)
            return None if member is None else _Turn(member, self._clock)

    def peek(self) -> Provider:
        """The provider whose turn it is."""
        member = self._choice(())
        assert member is not None  # noqa: S101 (there is at least one)
        return member.provider

    def forget(self) -> None:
        """Let nobody rest any longer."""
        for member in self.members:
            member.rest = (0, float("-inf"))

    def _choice(self, tried: Collection[Provider]) -> _Member | None:
        left = [member for member in self.members if not any(member.provider is each for each in tried)]
        now = self._clock()
        awake = [member for member in left if member.rest[1] <= now]
        if awake:
            return min(awake, key=lambda member: len(member.calls)) if self._least_busy else awake[0]
        return min(left, key=lambda member: member.rest[1], default=None)

    def _own_lock(self) -> AbstractContextManager[bool]:
        """The lock of this process: a fork may have come while a thread that is not here held the other."""
        if self._pid != os.getpid():
            for member in self.members:
                member.calls = set()  # the parent's, whose end is not told here
            self._pid, self._lock = os.getpid(), threading.RLock()
        return self._lock


@show_options(CompletionRequest)
class Failover(Provider):
    """Providers that stand in for each other, as one: the first to which a connection can be opened serves a call.

    One that cannot be reached rests, for 1 s at first and up to 60 s when that happens again and again, and is asked
    again by itself after that; where all rest, they are tried all the same. A call that a server may be working on is
    never repeated elsewhere: its error is raised as it is, and so is every other error. ``Completion.provider_id`` is
    that of the one that served: give providers of one kind an ``id`` of their own. With ``balance="least_busy"`` the
    one with the fewest calls under way serves; a stream is under way until it is over. A ``deadline`` bounds the call
    over all providers that are tried, a ``timeout`` each of them.

    It owns its providers: ``close()`` closes them. It pickles if they do. Raises ConfigurationError.
    """

    def __init__(
        self, providers: Iterable[Provider], *, balance: Literal["least_busy"] | None = None, id: str = "failover"
    ) -> None:
        members = list(providers) if isinstance(providers, Iterable) else [providers]
        for each in members:
            if not isinstance(each, Provider):
                raise ConfigurationError(f"providers: {type(each).__name__} is no Provider")
        if not members:
            raise ConfigurationError("providers is empty", hint="A Failover needs at least one")
        if balance not in (None, "least_busy"):
            raise ConfigurationError(f"balance={balance!r} is neither None nor 'least_busy'")
        if not isinstance(id, str) or not id.strip():
            raise ConfigurationError(f"id={id!r} is no name")
        self.id = id
        self.display_name = f"Failover ({', '.join(each.display_name for each in members)})"
        self._balance = balance
        self._providers = members
        self._rota = Rota(members, least_busy=balance is not None)

    def __repr__(self) -> str:
        return f"<Failover {', '.join(each.id for each in self._providers)}>"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_rota"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._rota = Rota(self._providers, least_busy=self._balance is not None)

    @property
    def base_url(self) -> str:
        """That of the provider whose turn it is."""
        return self._rota.peek().base_url

    @property
    def capabilities(self) -> Capabilities:
        """What any of them can do, and the models of all."""
        each = [provider.capabilities for provider in self._providers]
        visions = [capabilities.vision for capabilities in each]
        return Capabilities(
            streaming=any(capabilities.streaming for capabilities in each),
            tool_calling=any(capabilities.tool_calling for capabilities in each),
            vision=True if True in visions else None if None in visions else False,
            models=tuple(dict.fromkeys(model for capabilities in each for model in capabilities.models)),
        )

    def capabilities_for(self, model: str | None = None) -> Capabilities:
        """What the first of them that knows ``model`` tells of it."""
        each = [provider.capabilities_for(model) for provider in self._providers]
        return next((capabilities for capabilities in each if capabilities.models), each[0])

    def refresh_models(self, timeout: float | None = 3.0) -> bool:
        """Ask all of them at once; False where none had any."""
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
        """As the provider does whose turn it is."""
        return self._rota.peek().resolve_model(tier)

    def reset_client(self) -> None:
        """Reset all of them, and let nobody rest any longer."""
        for provider in self._providers:
            provider.reset_client()
        self._rota.forget()

    def health_check(self, timeout: float | None = 3.0) -> Health:
        """Ask all of them at once; it is ok if one is, with the models of those that are, and the advice of all."""
        checks = list(check_health(self._providers, timeout))
        advice = tuple(dict.fromkeys(each for _, health in checks for each in health.advice))
        well = [health for _, health in checks if health.ok]
        if not well:
            error = self._told(none_available([(each, health.error) for each, health in checks]))
            return Health(False, error=error, advice=advice)
        models = dict.fromkeys(model for health in well for model in health.models)
        return Health(True, well[0].latency_s, tuple(models), advice=advice)

    def list_models(self, timeout: Timeout | Unset = UNSET) -> list[ModelInfo]:
        return self._serve(lambda provider, _: provider.list_models(timeout), {})

    def complete(self, request: CompletionInput, **overrides: Unpack[CompletionOverrides]) -> Completion:
        return self._serve(lambda provider, given: provider.complete(request, **given), dict(overrides))

    def complete_text(self, request: TextInput, **overrides: Unpack[Overrides]) -> Completion:
        return self._serve(lambda provider, given: provider.complete_text(request, **given), dict(overrides))

    def chat(self, request: ChatInput, **overrides: Unpack[ChatOverrides]) -> Completion:
        chat = chat_request(request)  # so that a provider of one's own need not know what a text stands for
        return self._serve(lambda provider, given: provider.chat(chat, **given), dict(overrides))

    def complete_with_tools(self, request: ChatInput, **overrides: Unpack[ChatOverrides]) -> Completion:
        chat = chat_request(request)
        return self._serve(lambda provider, given: provider.complete_with_tools(chat, **given), dict(overrides))

    @overload
    def stream(self, request: StreamInput, on_chunk: None = None, **overrides: Unpack[StreamOverrides]) -> Stream: ...

    @overload
    def stream(
        self, request: StreamInput, on_chunk: Callable[[Chunk], object], **overrides: Unpack[StreamOverrides]
    ) -> Completion: ...

    def stream(
        self,
        request: StreamInput,
        on_chunk: Callable[[Chunk], object] | None = None,
        **overrides: Unpack[StreamOverrides],
    ) -> Stream | Completion:
        callback = Callback("on_chunk", on_chunk)
        raised: list[BaseException] = []

        def guarded(chunk: Chunk) -> None:
            try:
                callback(chunk)
            except BaseException as error:
                raised.append(error)
                raise

        def ask(provider: Provider, given: dict[str, Any]) -> Stream | Completion:
            return provider.stream(request, None if on_chunk is None else guarded, **given)

        try:
            return self._serve(ask, dict(overrides), raised)
        finally:
            raised.clear()  # no cycle of error, traceback, frame and list keeps the request alive

    def embed(
        self,
        texts: str | Iterable[str],
        model: str | None = None,
        *,
        num_ctx: int | None = None,
        keep_alive: float | str | None = None,
        on_truncation: Literal["warn", "error", "ignore"] = "warn",
        timeout: Timeout | Unset = UNSET,
        deadline: float | Unset | None = UNSET,
    ) -> Embeddings:
        given: dict[str, Any] = {"timeout": timeout, "deadline": deadline}
        of_ollama = {"num_ctx": num_ctx, "keep_alive": keep_alive}  # which a provider of one's own need not know
        given.update((name, value) for name, value in of_ollama.items() if value is not None)
        if on_truncation != "warn":  # which a provider of one's own need not know
            given["on_truncation"] = on_truncation
        # A generator would be empty for the second provider.
        inputs = texts if isinstance(texts, str) or not isinstance(texts, Iterable) else list(texts)
        return self._serve(
            lambda provider, given: provider.embed(inputs, model, **given),
            {name: value for name, value in given.items() if value is not UNSET},
        )

    def close(self) -> None:
        """Close all of them; what one of them raises is raised when all are closed."""
        with contextlib.ExitStack() as stack:
            for provider in self._providers:
                stack.callback(provider.close)

    def _serve(
        self,
        ask: Callable[[Provider, dict[str, Any]], _Value],
        given: dict[str, Any],
        raised: Collection[BaseException] = (),
    ) -> _Value:
        """``ask`` one provider after the other, until one is reached; errors that the caller ``raised`` are no reason.

        They are an error of the caller's own function, which may be of any class, and not of a provider.
        """
        seconds = given.get("deadline", UNSET)
        check_seconds("deadline", None if seconds is UNSET else seconds)
        deadline = Deadline(seconds, time.monotonic()) if isinstance(seconds, (int, float)) else None
        failures: list[tuple[Provider, ProviderError | None]] = []
        tools = given.get("tools")
        if isinstance(tools, Iterable) and not isinstance(tools, (str, Mapping)):
            given["tools"] = list(tools)  # an iterator would be empty for the second provider
        if "images" in given:  # a file that is open would be at its end
            given["images"] = [data_url(image) for image in listed(given["images"])]
        while turn := self._rota.next([provider for provider, _ in failures]):
            provider = turn.member.provider
            if deadline is not None and failures:
                given["deadline"] = max(deadline.left(), _LEAST_S)
            try:
                reply = ask(provider, dict(given))
            except BaseException as error:
                turn.over()
                sent = getattr(error, "sent", False) or error in raised
                if sent or not isinstance(error, (ServerUnavailableError, RequestTimeoutError)):
                    if sent:
                        turn.connected()
                    # It may be at work on it, and a second copy of a generation would only compete with it.
                    raise
                turn.no_connection()
                if deadline is not None and deadline.left() <= 0:
                    raise
                failures.append((provider, error.with_traceback(None)))  # whose frames hold the request
            else:
                turn.connected()
                if isinstance(reply, Stream):
                    _end_with(reply, turn)
                else:
                    turn.over()
                return reply
        raise self._told(none_available(failures))

    def _ask_all(self, ask: Callable[[Provider], _Value]) -> list[Future[_Value]]:
        return [begin(ask, provider) for provider in self._providers]

    def _told(self, error: ServerUnavailableError) -> ServerUnavailableError:
        error.provider = self.id
        return error


def _end_with(stream: Stream, turn: _Turn) -> None:
    """The turn is over when the stream is."""
    try:
        stream.add_done_callback(lambda completion, error: turn.over())
    except ProviderError:  # it was over before the callback was there
        turn.over()
