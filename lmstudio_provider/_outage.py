"""What to tell where none of several providers can be had."""

from __future__ import annotations

from typing import Sequence

from ._exceptions import ProviderError, ServerUnavailableError
from ._provider import Provider


def none_available(failures: Sequence[tuple[Provider, ProviderError | None]]) -> ServerUnavailableError:
    """The error that names each provider, where it should be, why it is not there, and how to start it."""
    if not failures:
        return ServerUnavailableError("there is no provider to ask", hint="Start LM Studio or Ollama, or register one")
    reasons: list[str] = []
    hints: dict[str, None] = {}  # in order, each once
    for provider, failure in failures:
        why = "its health check failed" if failure is None else failure.message
        reasons.append(f"{provider.id} at {_place(provider)}: {why}")
        if failure is not None and failure.hint:
            hints[failure.hint] = None
    error = ServerUnavailableError(f"no provider is available ({'; '.join(reasons)})", hint=". ".join(hints))
    error.refused = all(getattr(failure, "refused", False) for _, failure in failures)
    error.__cause__ = next((failure for _, failure in failures if failure is not None), None)
    return error


def _place(provider: Provider) -> str:
    try:
        return provider.base_url
    except ProviderError:  # a setting that cannot work: the failure says so
        return "an unknown address"
