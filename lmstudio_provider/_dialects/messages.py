"""Anthropic's ``/v1/messages``, as LM Studio speaks it."""

from __future__ import annotations

from typing import Any, Mapping

from .._core.errors import InvalidRequestError, ToolArgumentsError
from .._core.messages import Message
from .._core.reasoning import OFF
from .._core.requests import ChatRequest
from .._core.types import Call, ToolCall, Usage
from . import lmstudio
from .errors import ErrorContext
from .json_text import count, mapping, member, prompt_count, text_or_none, total
from .openai import content_text, offered
from .typed import TypedStream, call_of, parts_of, refuse_others, text_of, turns

PATH = "/v1/messages"
# The part of max_tokens that thoughts may take: the endpoint knows budgets and not words. The shares are those that
# others use, too, for the same words (openrouter.ai: reasoning tokens).
_SHARES = {"low": 0.2, "medium": 0.5, "on": 0.5, "high": 0.8}
_LEAST_BUDGET = 1024  # the least that Anthropic's API takes


def chat_call(request: ChatRequest, model: str, stream: bool, provider_id: str = "") -> Call:
    """Return the call for the next message. Raises InvalidRequestError for an option that the endpoint refuses."""
    refuse_others(request, PATH, ["top_k", "stop"])
    if request.max_tokens is None or request.max_tokens == -1:
        raise InvalidRequestError(
            f"max_tokens={request.max_tokens} cannot be given to {PATH}, which needs a limit",
            hint="Give the most tokens that the answer may have, such as max_tokens=4096",
        )
    system, messages = turns(request)
    tools, choice = offered(request)
    body = {
        "model": model,
        "system": system,
        "messages": _alternating(messages),
        "max_tokens": request.max_tokens,
        "top_k": request.top_k,
        "stop_sequences": [request.stop] if isinstance(request.stop, str) else request.stop,
        "thinking": _thinking(request.reasoning, request.max_tokens),
        "tools": [_tool(tool) for tool in tools] or None,
        "tool_choice": None if choice is None else _choice(choice, request.tool_choice),
    }
    return call_of(PATH, body, request, stream, provider_id, tools)


def _thinking(reasoning: str | None, max_tokens: int) -> dict[str, Any] | None:
    if reasoning is None:
        return None
    if reasoning in OFF:
        return {"type": "disabled"}
    if reasoning not in _SHARES:
        what = f"reasoning={reasoning!r} cannot be given to {PATH}, which has no such word"
        raise InvalidRequestError(what, hint=f"Give 'off', {', '.join(map(repr, _SHARES))}; chat() takes any word")
    return {"type": "enabled", "budget_tokens": max(_LEAST_BUDGET, int(max_tokens * _SHARES[reasoning]))}


def _alternating(messages: list[Message]) -> list[dict[str, Any]]:
    """Return turns of user and assistant; messages of the same role become one."""
    found: list[dict[str, Any]] = []
    for message in messages:
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _blocks(message)
        if found and found[-1]["role"] == role:
            found[-1]["content"] += blocks
        elif blocks:  # an assistant that said nothing has no turn
            found.append({"role": role, "content": blocks})
    return found


def _blocks(message: Message) -> list[dict[str, Any]]:
    if message.role == "tool":
        content = text_of(message.content)
        return [{"type": "tool_result", "tool_use_id": message.tool_call_id, "content": content}]
    if message.role == "assistant":
        text = text_of(message.content)
        return [*([_text_block(text)] if text else []), *map(_tool_use, message.tool_calls)]
    return parts_of(message.content, _text_block, _image_block)


def _text_block(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _image_block(url: str) -> dict[str, Any]:
    head, comma, data = url.partition(";base64,")
    if not comma or not head.startswith("data:"):
        raise InvalidRequestError(
            f"an image is not a base64 data: URL, and {PATH} takes no other", hint="Use Message.user(images=)"
        )
    return {"type": "image", "source": {"type": "base64", "media_type": head[len("data:") :], "data": data}}


def _tool_use(call: ToolCall) -> dict[str, Any]:
    try:
        return {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}
    except ToolArgumentsError as error:
        raise InvalidRequestError(
            f"the call {call.id!r} of {call.name!r} cannot be sent to {PATH}, which takes only an object as its "
            f"arguments: {error.message}",
            hint="Leave out that call and its result, or send the conversation with chat()",
        ) from error


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tool without the level "function"; one without that level stays as it is."""
    function = tool.get("function")
    if not isinstance(function, Mapping):
        return dict(tool)
    schema = {"input_schema": function.get("parameters") or {"type": "object"}}
    return {name: function[name] for name in ("name", "description") if name in function} | schema


def _choice(choice: str, wanted: str | None) -> dict[str, Any]:
    if choice == wanted:
        return {"type": "any" if choice == "required" else choice}
    return {"type": "tool", "name": wanted}


def block_texts(block: Mapping[str, Any]) -> tuple[str, str]:
    """Return the text and the reasoning of a block, or of a piece of one; raises ProtocolError if they are not text."""
    kind = str(block.get("type"))
    text = content_text(block.get("text")) if kind in ("text", "text_delta") else ""
    return text, content_text(block.get("thinking")) if kind in ("thinking", "thinking_delta") else ""


def call_piece(block: Mapping[str, Any], arguments: object) -> dict[str, Any]:
    """Return the call of a block, in the form of chat."""
    return {"id": block.get("id"), "function": {"name": block.get("name"), "arguments": arguments}}


_REASONS = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls"}


def finish_reason(stop_reason: object) -> str | None:
    """Return why a reply ended, in the word of chat if it has one."""
    reason = text_or_none(stop_reason)
    return _REASONS.get(reason or "", reason)


def read_usage(value: object) -> Usage | None:
    """Return the tokens that a reply reports, or None if it reports none."""
    given = mapping(value)
    counts = prompt_count(given.get("input_tokens")), count(given.get("output_tokens"))
    usage = Usage(*counts, total(*counts), cached_tokens=count(given.get("cache_read_input_tokens")))
    return None if usage == Usage() else usage


_OF_PROMPT = ("input_tokens", "cache_read_input_tokens")


class MessagesStream(TypedStream):
    """Reads one reply: whole, or makes chunks of the events of its stream."""

    _END = "no message_stop"

    def __init__(self, call: Call, asked: ErrorContext, started: float) -> None:
        super().__init__(call, asked, started)
        self._counts: dict[str, Any] = {}
        # The arguments that each call began with, by the index of its block; None if pieces have come since.
        self._begun: dict[str, Any] = {}

    def _read_reply(self, value: Any) -> None:
        blocks = self._tools.objects(member(value, "content", list, "the reply"), "a block of the reply")
        for block in blocks:
            self._content(*block_texts(block))
        calls = [call_piece(block, block.get("input")) for block in blocks if block.get("type") == "tool_use"]
        self._tools.add(calls, whole=True)
        self._usage, self._finish_reason = read_usage(value.get("usage")), finish_reason(value.get("stop_reason"))

    def _take(self, kind: str, value: dict[str, Any], data: str) -> tuple[str, str]:
        index = str(value.get("index"))
        if kind == "message_start":
            message = member(value, "message", dict, "an event of the stream")
            self._id, self._model = text_or_none(message.get("id")), text_or_none(message.get("model"))
            # The server has not counted the tokens of the reply yet.
            self._count(message.get("usage"), *_OF_PROMPT)
        elif kind == "content_block_start":
            block = member(value, "content_block", dict, "an event of the stream")
            if block.get("type") == "tool_use":
                self._begun[index] = block.get("input")
                self._tools.add([{"index": index, **call_piece(block, None)}])
            return block_texts(block)
        elif kind == "content_block_delta":
            delta = member(value, "delta", dict, "an event of the stream")
            # Blocks of other types can have input, too.
            if index in self._begun and delta.get("partial_json"):
                self._begun[index] = None
                self._tools.add([{"index": index, "function": {"arguments": delta["partial_json"]}}])
            return block_texts(delta)
        elif kind == "content_block_stop":
            self._end_call(index)
        elif kind == "message_delta":
            for begun in list(self._begun):
                self._end_call(begun)
            delta = member(value, "delta", dict, "an event of the stream")
            self._finish_reason = finish_reason(delta.get("stop_reason")) or self._finish_reason
            self._count(value.get("usage"), *_OF_PROMPT, "output_tokens")
        elif kind == "message_stop":
            self.done = True
        return "", ""

    def _end_call(self, index: str) -> None:
        arguments = self._begun.pop(index, None)
        if arguments is not None:
            self._tools.add([{"index": index, "function": {"arguments": arguments}}])

    def _count(self, usage: object, *names: str) -> None:
        given = mapping(usage)
        for name in names:
            if given.get(name) or name not in self._counts:  # 0 does not replace a count that came before
                self._counts[name] = given.get(name)
        self._usage = read_usage(self._counts)


reply = MessagesStream.reply
DIALECT = lmstudio.DIALECT._replace(chat_call=chat_call, reply=reply, accumulator=MessagesStream)
