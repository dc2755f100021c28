"""LM Studio's dialect: what a provider has to know of it, under the names that every dialect uses."""

from __future__ import annotations

from .._readers import SSEReader as Reader
from .errors import find_error
from .openai import as_chat, chat_call, chat_reply, models_call, models_reply
from .openai_stream import ChatStream as Assembly

__all__ = [
    "Assembly",
    "Reader",
    "as_chat",
    "chat_call",
    "chat_reply",
    "find_error",
    "models_call",
    "models_reply",
]
