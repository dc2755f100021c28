"""A provider of one's own as a user would write it; type checkers read it, and test_own_provider runs it."""

from __future__ import annotations

from typing import Any

from lmstudio_provider import Capabilities, ChatRequest, Chunk, Completion, Provider, Stream


class Echo(Provider):
    """Answers with what was said last."""

    id = "echo"
    display_name = "Echo"

    @property
    def base_url(self) -> str:
        """Nowhere."""
        return "echo:"

    @property
    def capabilities(self) -> Capabilities:
        """One model that streams."""
        return Capabilities(streaming=True, tool_calling=False, vision=False, models=("echo-1",))

    def chat(self, request: Any, **overrides: Any) -> Completion:
        """Answer a conversation."""
        return Completion(_last(request), "echo-1", "echo-1", "stop", provider_id=self.id)

    def stream(self, request: Any, on_chunk: Any = None, **overrides: Any) -> Any:
        """Answer word by word."""
        chunks = (Chunk(f"{word} ") for word in _last(request).split())
        return Stream.from_chunks(chunks, on_chunk, model="echo-1", provider_id=self.id)


def _last(request: Any) -> str:
    messages: Any = request.messages if isinstance(request, ChatRequest) else request
    return messages if isinstance(messages, str) else str(messages[-1].content)
