"""The keyword arguments of calls, as type checkers and ``help()`` read them."""

from __future__ import annotations

from typing import Any, Iterable, Literal, Mapping, Sequence, TypedDict

from .images import Image
from .messages import ToolInput
from .types import Timeout

# A type hint, or a JSON schema as a dict. Type checkers do not have a type for all type hints.
ResponseFormat = Any


class Options(TypedDict, total=False):
    """The options of all requests."""

    model: str | None
    tier: str | None
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    repeat_penalty: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    stop: str | Sequence[str] | None
    seed: int | None
    logit_bias: Mapping[str, float] | None
    ttl: int | None
    draft_model: str | None
    reasoning: str | None
    num_ctx: int | None
    keep_alive: float | str | None
    on_truncation: Literal["warn", "error", "ignore"]
    extra: Mapping[str, Any]


class Overrides(Options, total=False):
    """Keyword arguments of all calls: the options of the request, plus ``timeout`` and ``deadline``.

    ``reasoning_effort`` is OpenAI's name for ``reasoning``.
    """

    timeout: Timeout
    deadline: float | None
    reasoning_effort: str | None


class TypedToolOverrides(Overrides, total=False):
    """Those of ToolOverrides that a call has beside a ``response_format`` whose type is known."""

    tool_choice: str | None


class ToolOverrides(TypedToolOverrides, total=False):
    """Keyword arguments of ``run_tools`` and of conversations."""

    response_format: ResponseFormat


class ChatOverrides(ToolOverrides, total=False):
    """Keyword arguments of ``chat`` and ``complete_with_tools``."""

    tools: Iterable[ToolInput] | None


class TypedChatOverrides(TypedToolOverrides, total=False):
    """Those of ChatOverrides beside a ``response_format`` whose type is known."""

    tools: Iterable[ToolInput] | None


class CompletionOverrides(ChatOverrides, total=False):
    """Keyword arguments of ``complete``."""

    system_prompt: str | None
    images: Image | Sequence[Image]


class TypedCompletionOverrides(TypedChatOverrides, total=False):
    """Those of CompletionOverrides beside a ``response_format`` whose type is known."""

    system_prompt: str | None
    images: Image | Sequence[Image]


class StreamOverrides(CompletionOverrides, total=False):
    """Keyword arguments of ``stream`` and ``messages``; the kind of request decides which of them it takes."""


class TypedResponsesOverrides(TypedCompletionOverrides, total=False):
    """Those of ResponsesOverrides beside a ``response_format`` whose type is known."""

    previous_response_id: str | None
    store: bool
    reasoning_effort: str | None


class ResponsesOverrides(StreamOverrides, total=False):
    """Keyword arguments of ``responses``."""

    previous_response_id: str | None
    store: bool


# The overrides that are not fields of a request, but belong to the call.
LIMITS = ("timeout", "deadline")
