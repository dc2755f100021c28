"""Asking several servers at once, and the error if none of them is available."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from typing import Callable, Iterable, Iterator, Sequence, TypeVar

from .._core.errors import ProviderError, ServerUnavailableError
from .._core.threads import start
from .._core.types import Health, check_seconds
from .._provider.base import Provider

_Value = TypeVar("_Value")

# Seconds that a health check may take beyond its timeout; after that it is abandoned.
_GRACE_S = 0.5


def run_in_daemon_thread(function: Callable[..., _Value], *arguments: object) -> Future[_Value]:
    """Call ``function`` in a new thread, which does not keep the program from ending, and return its future."""
    # An executor would join its threads when the interpreter ends, and so wait for a server that is silent.
    future: Future[_Value] = Future()

    def run() -> None:
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)

    if not start(threading.Thread(target=run, name="lmstudio-ask", daemon=True)):
        run()  # this thread does the work
    return future


def check_health(providers: Iterable[Provider], timeout: float | None) -> Iterator[tuple[Provider, Health]]:
    """Check all ``providers`` at once, and yield their health in order; raise ConfigurationError for ``timeout``."""
    check_seconds("timeout", timeout)
    end = None if timeout is None else time.monotonic() + timeout + _GRACE_S
    asked = [(provider, run_in_daemon_thread(provider.health_check, timeout)) for provider in providers]
    for provider, future in asked:
        try:
            health = future.result(None if end is None else max(0.0, end - time.monotonic()))
        except ProviderError as error:
            health = Health(False, error=error)
        except Exception as error:  # a third party's provider may raise any error: it is not available
            why = f"failed: {type(error).__name__}: {error}" if future.done() else "did not end in time"
            health = Health(False, error=ProviderError(f"its health check {why}"))
        yield provider, health


def none_available(failures: Sequence[tuple[Provider, ProviderError | None]]) -> ServerUnavailableError:
    """Return the error that names each provider and its address, and says why it does not answer and what to do."""
    if not failures:
        return ServerUnavailableError("there is no provider to ask", hint="Start LM Studio or Ollama, or register one")
    reasons = []
    for provider, failure in failures:
        why = "its health check failed" if failure is None else failure.message
        reasons.append(f"{provider.id} at {_place(provider)}: {why}")
    hint = _once(failure.hint for _, failure in failures if failure is not None)
    error = ServerUnavailableError(f"no provider is available ({'; '.join(reasons)})", hint=hint)
    error.refused = all(getattr(failure, "refused", False) for _, failure in failures)
    error.__cause__ = next((failure for _, failure in failures if failure is not None), None)
    return error


def _once(hints: Iterable[str]) -> str:
    """Join hints that may share clauses; say each clause once."""
    said: set[str] = set()
    sentences = []
    for sentence in (each for hint in hints for each in hint.rstrip(".").split(". ")):
        clauses = [clause for clause in sentence.split("; ") if clause not in said]
        said.update(clauses)
        sentences.append("; ".join(clauses))
    return ". ".join(filter(None, sentences))


def _place(provider: Provider) -> str:
    try:
        return provider.base_url
    except ProviderError:  # a setting that is not valid: the failure says so
        return "an unknown address"
