"""LM Studio's dialect, and how to recognise LM Studio."""

from __future__ import annotations

import math
from typing import Any, Mapping

from .._core.types import Call
from .._http.readers import SSEReader
from . import openai
from .dialect import DecisionLimits, Dialect
from .embeddings import embed_call, embed_reply
from .lmstudio_errors import find_error
from .models import list_models

# A chat that the client leaves while its model loads needs no hint: LM Studio goes on loading.
DIALECT = Dialect(
    chat_call=openai.chat_call,
    text_call=openai.text_call,
    reply=openai.reply,
    accumulator=openai.ChatStream,
    reader=SSEReader,
    stream_type="text/event-stream",
    find_error=find_error,
    list_models=list_models,
    embed_call=embed_call,
    embed_reply=embed_reply,
    decisions=DecisionLimits((1, math.inf), (2, 10), needs_descriptions=False, takes_data_urls=True),
    no_reasoning="lm.native.chat('...', reasoning='off') switches it off, or is refused if the model cannot do without",
    log="lms log stream",
)


def greeting_call() -> Call:
    """Return the call that only LM Studio answers with a greeting (LM Studio's Python SDK sends it, too)."""
    return Call("GET", "/lmstudio-greeting")


def status_call() -> Call:
    """Return the call that LM Studio's server for its SDK answers with the version."""
    return Call("GET", "/lms-status")


def read_status(value: Any) -> str | None:
    """Return the version in a reply to ``status_call``; None if the reply is not LM Studio's."""
    known = isinstance(value, dict) and value.get("package") in ("lmstudio", "bionic")
    return value["version"] if known and isinstance(value.get("version"), str) else None


def is_greeting(value: Any) -> bool:
    """Return True if LM Studio answers its greeting so."""
    return isinstance(value, dict) and value.get("lmstudio") is True


def wants_token(status: int, value: Mapping[str, Any]) -> bool:
    """Return True if LM Studio asks for an API token so; OpenAI's own type is "invalid_request_error"."""
    error = value.get("error")
    return (
        status == 401
        and isinstance(error, dict)
        and error.get("code") == "invalid_api_key"
        and error.get("type", "invalid_request") == "invalid_request"
    )


def is_own_list(value: Mapping[str, Any]) -> bool:
    """Return True if a reply of ``/v1/models`` is LM Studio's, by the owner of the models."""
    models = value.get("data")
    return (
        value.get("object") == "list"
        and isinstance(models, list)
        and bool(models)
        and all(isinstance(each, dict) and each.get("owned_by") == "organization_owner" for each in models)
    )
