"""The health of several providers, and the error if none of them is available."""

from __future__ import annotations

import time
from typing import Iterable, Iterator, Sequence

from .._core.errors import ProviderError, ServerUnavailableError
from .._core.threads import run_in_daemon_thread
from .._core.types import Health, check_seconds
from .base import Provider

# A health check that keeps its own time is late by less than this; any other is not waited for.
_GRACE_S = 0.5


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
        except Exception as error:  # of a third party's provider: whatever it is, this one is not available
            if not future.done():
                health = Health(False, error=ProviderError("its health check did not come to an end in time"))
            else:
                health = Health(False, error=ProviderError(f"its health check failed: {type(error).__name__}: {error}"))
        yield provider, health


def none_available(failures: Sequence[tuple[Provider, ProviderError | None]]) -> ServerUnavailableError:
    """Return the error that names each provider, its address, why it does not answer, and how to start it."""
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
    """Join hints of which several may say the same in part: each clause once."""
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
    except ProviderError:  # a setting that cannot work: the failure says so
        return "an unknown address"
