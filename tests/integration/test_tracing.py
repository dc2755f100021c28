"""The example that traces calls, with OpenTelemetry's own package and the real engine."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from lmstudio_provider import InvalidRequestError, LMStudioProvider

EXAMPLE = Path(__file__).parents[2] / "examples" / "tracing.py"


@pytest.fixture(scope="module")
def spans():
    """The spans that the tracer provider of this process has made."""
    from opentelemetry import trace

    made = []

    class Span(trace.NonRecordingSpan):
        def __init__(self, name, start_time, attributes, kind):
            super().__init__(trace.INVALID_SPAN_CONTEXT)
            self.name, self.started, self.attributes, self.kind = name, start_time, attributes, kind
            self.status = self.ended = None

        def set_status(self, status, description=None):
            self.status = status

        def end(self, end_time=None):
            self.ended = end_time
            made.append(self)

    class Tracer(trace.NoOpTracer):
        def start_span(self, name, context=None, kind=None, attributes=None, links=(), start_time=None, **others):
            return Span(name, start_time, attributes, kind)

    class TracerProvider(trace.NoOpTracerProvider):
        def get_tracer(self, *names, **others):
            return Tracer()

    trace.set_tracer_provider(TracerProvider())
    return made


@pytest.fixture
def lm(llama_cpp, spans):
    spans.clear()
    with LMStudioProvider(llama_cpp, usage=runpy.run_path(str(EXAMPLE))["Tracing"]()) as provider:
        yield provider


def test_a_call_that_the_server_refuses_is_a_span_with_the_class_of_its_error(lm, spans):
    with pytest.raises(InvalidRequestError):
        lm.complete("Hi", model="tiny", extra={"messages": "none"})
    (span,) = spans
    assert (span.attributes["error.type"], span.status.name) == ("InvalidRequestError", "ERROR")
    assert "gen_ai.response.model" not in span.attributes


@pytest.mark.parametrize("ask", [lambda lm: lm.complete("Hi"), lambda lm: list(lm.stream("Hi"))])
def test_a_call_is_one_span_with_the_names_of_opentelemetry(lm, spans, ask, llama_cpp):
    ask(lm)
    (span,) = spans
    host, _, port = llama_cpp.rpartition("/")[2].partition(":")
    counts = {name: span.attributes.pop(f"gen_ai.usage.{name}_tokens") for name in ("input", "output")}
    assert span.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "lm-studio",
        "gen_ai.request.model": "tiny",
        "gen_ai.response.model": "tiny",
        "server.address": host,
        "server.port": int(port),
    }
    assert all(counts.values())
    assert (span.name, span.kind.name, span.status) == ("chat tiny", "CLIENT", None)
    assert 0 < span.ended - span.started < 60e9
