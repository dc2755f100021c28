"""Ollama's dialect: what a provider has to know of it, under the names that every dialect uses."""

from __future__ import annotations

from .._http.readers import NDJSONReader as Reader
from .ollama import chat_call, embed_call, embed_reply, load_hint, reply, text_call
from .ollama_errors import find_error
from .ollama_models import list_models
from .ollama_stream import OllamaStream as Assembly

STREAM_TYPE = "application/x-ndjson"

REFUSES_LONG_TEXTS = True

NO_REASONING = "extra={'reasoning_effort': 'none'}"

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
    "list_models",
    "load_hint",
    "reply",
    "text_call",
]
