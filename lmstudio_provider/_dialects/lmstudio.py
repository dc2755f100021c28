"""LM Studio's dialect: what a provider has to know of it, under the names that every dialect uses."""

from __future__ import annotations

from .._core.types import Call
from .._http.readers import SSEReader as Reader
from .embeddings import embed_call, embed_reply
from .lmstudio_errors import find_error
from .models import greeting_call, is_greeting, list_models
from .openai import chat_call, reply, text_call
from .openai_stream import ChatStream as Assembly

STREAM_TYPE = "text/event-stream"

REFUSES_LONG_TEXTS = False

NO_REASONING = "extra={'reasoning_effort': 'none'}"


def load_hint(call: Call) -> str:
    """Return nothing: LM Studio goes on loading a model if the client leaves."""
    return ""


__all__ = [
    "NO_REASONING",
    "REFUSES_LONG_TEXTS",
    "STREAM_TYPE",
    "Assembly",
    "Reader",
    "chat_call",
    "embed_call",
    "embed_reply",
    "find_error",
    "greeting_call",
    "is_greeting",
    "list_models",
    "load_hint",
    "reply",
    "text_call",
]
