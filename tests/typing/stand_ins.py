"""Tests of an application, typed as a user would type them; ``make check`` runs mypy over it."""

from __future__ import annotations

from typing import Any, Mapping

from lmstudio_provider.simulator import Fault, SimulatedLMStudio, SimulatedOllama, When, record, replay


def test_x(lmstudio_server: SimulatedLMStudio, ollama_server: SimulatedOllama) -> None:
    lmstudio_server.replies = ["one", Fault(status=503, headers={"Retry-After": 1}), {"content": "x"}, When("a", "b")]
    lmstudio_server.replies = Fault("stall")
    texts = ["a", "b"]
    ollama_server.replies = texts
    ollama_server.replies = lambda body: body["model"]
    ollama_server.fault = Fault("refuse")
    ollama_server.fault = lambda request: Fault(status=500) if request["path"] == "/" else None
    ollama_server.fault = None
    lmstudio_server.first_byte_s = 1
    lmstudio_server.delay_s = 0.5

    def reply(body: Mapping[str, Any]) -> str:
        return "x"

    lmstudio_server.replies = reply
    lmstudio_server.replies = [When(lambda body: "x" in body, reply)]


def test_r(lmstudio_recording: record | replay) -> None:
    print(lmstudio_recording.base_url, lmstudio_recording.requests)
