"""The dialect of ``/v1/responses``: what a provider has to know of it, under the names that every dialect uses."""

from __future__ import annotations

from .responses import chat_call, find_error, reply
from .responses_stream import ResponsesStream as Assembly

NO_REASONING = "reasoning_effort='none'"

__all__ = ["NO_REASONING", "Assembly", "chat_call", "find_error", "reply"]
