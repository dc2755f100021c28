"""The common parts of the dialects of ``/v1/responses`` and ``/v1/messages``."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from typing import Any, Callable, Collection

from .._core.checks import to_json
from .._core.errors import InvalidRequestError
from .._core.messages import Message
from .._core.ollama_options import refuse_for_lm_studio
from .._core.requests import ChatRequest
from .._core.types import Call, Chunk
from .._http.readers import Event
from .accumulator import ReplyAccumulator
from .errors import find_fault
from .json_text import mapping, no_object, parse, text_or_none
from .lmstudio_errors import fault_error
from .openai import plain_messages, tool_names

_EVERYWHERE = (
    "model", "tier", "max_tokens", "temperature", "top_p", "on_truncation", "extra", "messages", "tools", "tool_choice",
    "reasoning",
)  # fmt: skip


def refuse_others(request: ChatRequest, path: str, taken: Collection[str]) -> None:
    """Raise InvalidRequestError for an option that is set and that ``path`` does not take."""
    refuse_for_lm_studio(num_ctx=request.num_ctx, keep_alive=request.keep_alive)
    for each in dataclasses.fields(ChatRequest):
        if each.name not in (*_EVERYWHERE, *taken) and getattr(request, each.name) is not None:
            hint = "chat() takes it: /v1/chat/completions"
            raise InvalidRequestError(f"{each.name} cannot be given to {path}", hint=hint)


def call_of(
    path: str, body: dict[str, Any], request: ChatRequest, stream: bool, provider_id: str, tools: list[dict[str, Any]]
) -> Call:
    """Return the call with the options that all requests have, and with the values of ``body`` that are not None."""
    body.update(temperature=request.temperature, top_p=request.top_p, stream=stream)
    sent = {name: value for name, value in body.items() if value is not None}
    sent.update(request.extra)
    continues = sent.get("previous_response_id") is not None
    content = to_json(sent, "the request").encode("ascii")
    return Call("POST", path, content, body["model"], tool_names(tools), provider_id, continues)


def turns(request: ChatRequest) -> tuple[str | None, list[Message]]:
    """Return the system messages as one text, joined by blank lines, and the others, with an id for each tool call.

    Their reasoning is left out: no server is known to read it at these endpoints. Raises InvalidRequestError for a
    value that is not a message.
    """
    system, others = [], []
    for plain in plain_messages(request):
        message = Message.from_dict(plain)
        if message.role == "system":
            system.append(text_of(message.content))
            continue
        others.append(message)
        if message.role == "tool" and not message.tool_call_id:
            raise InvalidRequestError("the result of a tool does not answer a call: it has no tool_call_id")
    return "\n\n".join(filter(None, system)) or None, others


def text_of(content: Any) -> str:
    """Return the text of a ``content``; raises InvalidRequestError if there is anything else in it."""
    texts = [content] if isinstance(content, str) else [part.get("text") for part in content]
    if not all(isinstance(text, str) for text in texts):
        raise InvalidRequestError("only a user's message can hold more than text")
    return "".join(texts)


def parts_of(
    content: Any, text: Callable[[str], dict[str, Any]], image: Callable[[str], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the parts, made by ``text`` and ``image`` (of a URL); one that is not in OpenAI's form stays as it is."""
    if isinstance(content, str):
        return [text(content)]
    parts = []
    for part in content:
        url = mapping(part.get("image_url")).get("url")
        if part.get("type") == "text" and isinstance(part.get("text"), str):
            parts.append(text(part["text"]))
        elif part.get("type") == "image_url" and isinstance(url, str):
            parts.append(image(url))
        else:
            parts.append(dict(part))
    return parts


class TypedStream(ReplyAccumulator):
    """Makes chunks of the events of one reply, which have types; subclasses know the types."""

    def feed(self, event: Event) -> Chunk | None:
        """Return the chunk of ``event``, if any; raises ProtocolError, or the error that the event reports."""
        if event.is_done() or event.is_blank():
            return None  # the reply ends with an event that has a type
        value = parse(event.data, "an event of the stream")
        fault = find_fault(value)
        kind = text_or_none(value.get("type")) if isinstance(value, dict) else None
        if fault is None and "error" in (kind, event.event):
            fault = find_fault({"error": value or event.data})  # it is the error, instead of holding it
        if fault is not None:
            raise fault_error(fault, 200, {}, event.data, self._asked)
        if not isinstance(value, dict):
            raise no_object("an event", value)
        return self._content(*self._take(kind or event.event, value, event.data))

    @abstractmethod
    def _take(self, kind: str, value: dict[str, Any], data: str) -> tuple[str, str]:
        """Return the text and the reasoning that an event of type ``kind`` adds; ``data`` is its JSON."""
