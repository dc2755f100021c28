"""The dialect of ``/v1/messages``: what a provider has to know of it, under the names that every dialect uses."""

from __future__ import annotations

from .lmstudio_errors import find_error
from .messages import chat_call, reply
from .messages_stream import MessagesStream as Assembly

NO_REASONING = ""

__all__ = ["NO_REASONING", "Assembly", "chat_call", "find_error", "reply"]
