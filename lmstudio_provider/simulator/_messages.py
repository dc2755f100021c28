"""``POST /v1/messages``, after Anthropic's Messages API: a whole reply, or a stream of typed events."""

from __future__ import annotations

import json
from typing import Any, Iterator, Mapping

from ._checks import is_image, wrong_field
from ._engine import Engine, as_content
from ._errors import anthropic_error
from ._generate import Generated
from ._server import Answer, RefusedError, indented, typed_events
from ._state import FailedError, State

_TOOL_CHOICES = {"auto": "auto", "none": "none", "any": "required", "tool": "required"}


class Messages:
    """The endpoint, with its state and engine."""

    def __init__(self, state: State, engine: Engine) -> None:
        self._state = state
        self._engine = engine

    def create(self, body: Any) -> Answer:
        """``POST /v1/messages``."""
        try:
            form = openai_form(body)
        except (AttributeError, KeyError, TypeError) as error:
            raise _refused(f"The request does not fit: {error}") from error
        thinking = body.get("thinking")
        if isinstance(thinking, dict) and thinking.get("type") == "enabled":
            form["reasoning_effort"] = "medium"  # as Anthropic's API does; LM Studio does not say whether it reads this
        wrong = wrong_field(form)
        if wrong:
            raise _refused(wrong[1])
        instance, _ = self._state.take(form.get("model"))
        head = {"id": f"msg_{self._state.number():012x}", "type": "message", "role": "assistant", "model": instance.id}
        try:
            generated, used = self._engine.chat(form, instance)
        except FailedError as failed:
            if not form.get("stream"):
                raise
            failure = {"type": "error", "error": {"type": "api_error", "message": failed.text}}
            return typed_events([_start(head, failed.tokens), failure])
        content = list(self._content(generated))
        ended = {"stop_reason": _stop_reason(generated), "stop_sequence": generated.stopped_by}
        read, written = used["prompt_tokens"], used["completion_tokens"]
        if not form.get("stream"):
            counts = {"input_tokens": read, "output_tokens": written}
            if "cached_tokens" in generated.counts:
                counts["cache_read_input_tokens"] = generated.counts["cached_tokens"]
            return indented({**head, "content": content, **ended, "usage": counts})
        delta = {"type": "message_delta", "delta": ended, "usage": {"output_tokens": written}}
        blocks = _block_events(generated, content)
        return typed_events([_start(head, read), {"type": "ping"}, *blocks, delta, {"type": "message_stop"}])

    def _content(self, generated: Generated) -> Iterator[dict[str, Any]]:
        if generated.reasoning:
            yield {"type": "thinking", "thinking": "".join(generated.reasoning), "signature": ""}
        if generated.content:
            yield {"type": "text", "text": "".join(generated.content)}
        for call in generated.tool_calls:
            function = call["function"]
            input_ = json.loads(function["arguments"] or "{}")
            if not isinstance(input_, dict):
                raise TypeError(f"replies: this API sends arguments as an object, not as {function['arguments']}")
            id_ = f"toolu_{self._state.number():09}"
            yield {"type": "tool_use", "id": id_, "name": function["name"], "input": input_}


def openai_form(body: Any) -> dict[str, Any]:
    """Return the request in the form of chat completions, from which replies are made.

    Raise RefusedError, KeyError, TypeError or AttributeError if ``body`` is not a valid request.
    """
    form = {key: body[key] for key in ("model", "stream", "temperature", "top_p", "top_k") if key in body}
    form["max_tokens"] = body["max_tokens"]  # required, unlike in OpenAI's API
    if "stop_sequences" in body:
        form["stop"] = body["stop_sequences"]
    tools = body.get("tools") or []
    if "tool_choice" in body:
        choice = body["tool_choice"]
        form["tool_choice"] = _TOOL_CHOICES[choice["type"]]
        if choice["type"] == "tool":
            tools = [tool for tool in tools if tool["name"] == choice["name"]]
    if tools:
        form["tools"] = [{"type": "function", "function": _function(tool)} for tool in tools]
    if not body["messages"]:
        raise KeyError("messages")
    messages = [{"role": "system", "content": _text(body["system"])}] if "system" in body else []
    for message in body["messages"]:
        blocks = message["content"]
        blocks = [{"type": "text", "text": blocks}] if isinstance(blocks, str) else blocks
        messages.extend({"user": _of_user, "assistant": _of_assistant}[message["role"]](blocks))
    return {**form, "messages": messages}


def _function(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": tool["name"], "description": tool.get("description", ""), "parameters": tool["input_schema"]}


def _of_user(blocks: list[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for each in blocks:
        if each["type"] == "tool_result":
            content = _text(each.get("content", ""))
            yield {"role": "tool", "tool_call_id": each["tool_use_id"], "content": content}
    rest = [_part(each) for each in blocks if each["type"] != "tool_result"]
    if rest:
        yield {"role": "user", "content": as_content(rest)}


def _of_assistant(blocks: list[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    message: dict[str, Any] = {"role": "assistant", "content": _text([each for each in blocks if "text" in each])}
    calls = [each for each in blocks if each["type"] == "tool_use"]
    if calls:
        message["tool_calls"] = [
            {
                "type": "function",
                "id": each["id"],
                "function": {"name": each["name"], "arguments": json.dumps(each["input"])},
            }
            for each in calls
        ]
    yield message


def _part(block: Mapping[str, Any]) -> dict[str, Any]:
    if block["type"] == "image":
        source = block["source"]
        url = f"data:{source['media_type']};base64,{source['data']}"
        if not is_image(url):
            raise _refused("The image is neither PNG nor JPEG in base64.")
        return {"type": "image_url", "image_url": {"url": url}}
    return {"type": "text", "text": _text([block])}


def _text(content: Any) -> str:
    """Return a text as it is, or the joined text of blocks, which have to be text blocks."""
    return content if isinstance(content, str) else "".join([each["text"] for each in content])


def _refused(text: str) -> RefusedError:
    return RefusedError(anthropic_error(400, "invalid_request_error", text))


def _stop_reason(generated: Generated) -> str:
    if generated.stopped_by is not None:
        return "stop_sequence"
    reasons = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
    return reasons.get(generated.finish_reason, generated.finish_reason)


def _start(head: Mapping[str, Any], read: int) -> dict[str, Any]:
    nothing: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None}
    usage = {"input_tokens": read, "output_tokens": 0}
    return {"type": "message_start", "message": {**head, **nothing, "usage": usage}}


def _block_events(generated: Generated, content: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for index, block in enumerate(content):
        kind = block["type"]
        empty: dict[str, Any] = {"input": {}} if kind == "tool_use" else {kind: ""}
        yield {"type": "content_block_start", "index": index, "content_block": {**block, **empty}}
        for delta in _deltas(kind, block, generated):
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}


def _deltas(kind: str, block: Mapping[str, Any], generated: Generated) -> list[dict[str, Any]]:
    if kind == "tool_use":
        text = json.dumps(block["input"])
        half = len(text) // 2
        return [{"type": "input_json_delta", "partial_json": piece} for piece in ("", text[:half], text[half:])]
    pieces = generated.reasoning if kind == "thinking" else generated.content
    return [{"type": f"{kind}_delta", kind: piece} for piece in pieces]
