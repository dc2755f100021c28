"""Trace each call with OpenTelemetry, by its names for generative AI. It needs the package opentelemetry-api.

Without an SDK the spans go nowhere. To see them, install opentelemetry-distro and an exporter, and start the program
with ``opentelemetry-instrument``.
"""

from __future__ import annotations

import sys

from opentelemetry import trace

from lmstudio_provider import LMStudioProvider, ProviderError, UsageRecord

# OpenTelemetry's names of operations; the others are conversations.
OPERATIONS = {"embed": "embeddings", "complete_text": "text_completion"}


def attributes(record: UsageRecord) -> dict[str, str | int]:
    """Return what is known of a call, by the names of OpenTelemetry's conventions for generative AI."""
    known = {
        "gen_ai.operation.name": OPERATIONS.get(record.operation, "chat"),
        "gen_ai.provider.name": record.provider_id,
        "gen_ai.request.model": record.request_model,
        "gen_ai.response.model": record.model if record.status == "ok" else None,
        "gen_ai.usage.input_tokens": record.prompt_tokens,
        "gen_ai.usage.output_tokens": record.completion_tokens,
        "server.address": record.server_address,
        "server.port": record.server_port,
        "error.type": record.error_type,
    }
    return {name: value for name, value in known.items() if value is not None}


class Tracing:
    """A recorder that makes a span of each call, inside the span that is current in its thread."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer("lmstudio_provider")

    def record(self, record: UsageRecord, /) -> None:
        """Make a span of the call that has ended."""
        found, end = attributes(record), record.created_at
        span = self._tracer.start_span(
            f"{found['gen_ai.operation.name']} {record.request_model}",
            kind=trace.SpanKind.CLIENT,
            attributes=found,
            start_time=int((end - record.duration_s) * 1e9),
        )
        if record.error_type is not None:
            span.set_status(trace.StatusCode.ERROR)
        span.end(int(end * 1e9))


def main() -> None:
    with LMStudioProvider(usage=Tracing()) as lm:
        print(lm.complete("Why is the sky blue?", max_tokens=500).text)


if __name__ == "__main__":
    try:
        main()
    except ProviderError as error:
        sys.exit(str(error))
