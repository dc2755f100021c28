"""Ollama's ``/v1/responses`` and ``/v1/messages``, which stream typed events."""

from __future__ import annotations

import itertools
import time
from typing import Any, Iterable, Iterator, Mapping

from ._generate import Generated
from ._messages import openai_form as form_of_messages
from ._ollama_json import go_json, refused, v1_whole
from ._ollama_own import own_calls
from ._ollama_run import Outcome, Runner
from ._ollama_v1 import check_form, check_messages, v1_ask, v1_calls, v1_event
from ._responses import checked_body, messages_of
from ._responses import openai_form as form_of_responses
from ._server import Answer, Stream

_TEXT = {"format": {"type": "text"}}
_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens"}


class Typed:
    """The endpoints, each a method."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._numbers = itertools.count(1)

    def respond(self, body: Any) -> Answer:
        """``POST /v1/responses``, which keeps no state, and says "completed" even if a limit cut the reply (seen)."""
        body = checked_body(body)
        if isinstance(body.get("text"), dict) and not body["text"].get("format"):
            body = {**body, "text": None}
        form = form_of_responses(body, messages_of(body.get("input")))
        check_form(form, "ResponsesRequest")
        check_messages(form["messages"])
        outcome = self._runner.run(v1_ask(form))
        number = next(self._numbers)
        begun = _response(body, outcome, f"resp_{number}")
        calls = v1_calls(outcome.generated)
        output = list(_items(outcome.generated, calls, number))
        ended = {
            **begun,
            "status": "completed",
            "completed_at": int(time.time()),
            "output": output,
            "usage": _usage(outcome),
        }
        if not body.get("stream"):
            return v1_whole(ended)
        values = [
            {"type": "response.created", "response": begun},
            {"type": "response.in_progress", "response": begun},
            *_events(outcome.generated, output),
            {"type": "response.completed", "response": ended},
        ]
        return _typed({**value, "sequence_number": at} for at, value in enumerate(values))

    def message(self, body: Any) -> Answer:
        """``POST /v1/messages``."""
        if not isinstance(body, dict) or not body.get("model"):
            raise refused(400, "model is required")
        if type(body.get("max_tokens")) is not int or body["max_tokens"] <= 0:
            raise refused(400, "max_tokens is required and must be positive")
        if not body.get("messages"):
            raise refused(400, "messages is required")
        try:
            form = form_of_messages(body)
        except (AttributeError, KeyError, TypeError) as error:
            raise refused(400, f"the request does not fit: {error}") from error
        check_form(form, "MessagesRequest")
        check_messages(form["messages"])
        thinking = body.get("thinking")
        kind = thinking.get("type") if isinstance(thinking, dict) else None
        outcome = self._runner.run(v1_ask(form, think={"enabled": True, "disabled": False}.get(str(kind))))
        head = {"id": f"msg_{next(self._numbers):024x}", "type": "message", "role": "assistant", "model": body["model"]}
        content = list(_blocks(outcome.generated))
        calls = any(block["type"] == "tool_use" for block in content)
        ended = {"stop_reason": "tool_use" if calls else _STOP_REASONS.get(outcome.reason, "stop_sequence")}
        counts = {"input_tokens": outcome.read, "output_tokens": outcome.generated.tokens}
        if "cached_tokens" in outcome.generated.counts:
            counts["cache_read_input_tokens"] = outcome.generated.counts["cached_tokens"]
        if not body.get("stream"):
            return v1_whole({**head, "content": content, **ended, "usage": counts})
        # Ollama sends this before it reads the prompt, with an estimate of the tokens.
        guess = {"input_tokens": max(1, len(str(form["messages"])) // 4), "output_tokens": 0}
        values = [
            {"type": "message_start", "message": {**head, "content": [], "usage": guess}},
            *_block_events(outcome.generated, content),
            {"type": "message_delta", "delta": ended, "usage": counts},
            {"type": "message_stop"},
        ]
        return _typed(values, sort_keys=False)


def _typed(values: Iterable[Mapping[str, Any]], sort_keys: bool = True) -> Stream:
    *frames, last = [v1_event(value, value["type"], sort_keys) for value in values]
    return Stream({"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}, frames, [last])


def _response(body: Mapping[str, Any], outcome: Outcome, id_: str) -> dict[str, Any]:
    """Return a response that has begun, with the settings of the request that it repeats."""
    reasoning = body.get("reasoning") or {}
    return {
        "id": id_,
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "status": "in_progress",
        "incomplete_details": None,
        "model": outcome.ask.name,
        "previous_response_id": None,
        "instructions": body.get("instructions"),
        "output": [],
        "error": None,
        "tools": body.get("tools") or [],
        "tool_choice": "auto",
        "truncation": body.get("truncation") or "disabled",
        "parallel_tool_calls": True,
        "text": body.get("text") or _TEXT,
        "top_p": _or(body.get("top_p"), 1),
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "top_logprobs": 0,
        "temperature": _or(body.get("temperature"), 1),
        "reasoning": {name: reasoning.get(name) for name in ("effort", "summary")} if reasoning else None,
        "usage": None,
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": None,
        "store": False,
        "background": False,
        "service_tier": "default",
        "metadata": {},
        "safety_identifier": None,
        "prompt_cache_key": None,
    }


def _or(value: Any, default: int) -> Any:
    return default if value is None else value


def _usage(outcome: Outcome) -> dict[str, Any]:
    written = outcome.generated.tokens
    return {
        "input_tokens": outcome.read,
        "output_tokens": written,
        "total_tokens": outcome.read + written,
        "input_tokens_details": {"cached_tokens": outcome.generated.counts.get("cached_tokens", 0)},
        "output_tokens_details": {"reasoning_tokens": 0},  # even if the model thought (seen)
    }


def _items(generated: Generated, calls: list[dict[str, Any]], number: int) -> Iterator[dict[str, Any]]:
    if generated.reasoning:
        thought = "".join(generated.reasoning)
        summary = [{"type": "summary_text", "text": thought}]
        yield {"id": f"rs_{number}", "type": "reasoning", "summary": summary, "encrypted_content": thought}
    for call in calls:
        item = {"id": f"fc_{number}_{call['index']}", "type": "function_call", "status": "completed"}
        yield {**item, "call_id": call["id"], **call["function"]}
    if not calls:  # if a reply calls tools, its text is lost
        text = {"type": "output_text", "text": "".join(generated.content), "annotations": [], "logprobs": []}
        item = {"id": f"msg_{number}", "type": "message", "status": "completed", "role": "assistant"}
        yield {**item, "content": [text]}


def _events(generated: Generated, output: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the events of the output items; in a stream, a reply without text does not have a message item."""
    if not generated.content:
        output[:] = [item for item in output if item["type"] != "message"]
    for index, item in enumerate(output):
        where = {"item_id": item["id"], "output_index": index}
        if item["type"] == "reasoning":
            yield _item("added", index, {"id": item["id"], "type": "reasoning", "summary": []})
            kind = "response.reasoning_summary_text"
            for piece in generated.reasoning:
                yield {"type": f"{kind}.delta", **where, "summary_index": 0, "delta": piece}
            yield {"type": f"{kind}.done", **where, "summary_index": 0, "text": item["encrypted_content"]}
        elif item["type"] == "function_call":
            yield _item("added", index, {**item, "status": "in_progress", "arguments": ""})
            yield {"type": "response.function_call_arguments.delta", **where, "delta": item["arguments"]}
            yield {"type": "response.function_call_arguments.done", **where, "arguments": item["arguments"]}
        else:
            yield _item("added", index, {**item, "status": "in_progress", "content": []})
            yield from _text_events(item["content"][0], generated.content, {**where, "content_index": 0})
        yield _item("done", index, item)


def _item(what: str, index: int, item: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": f"response.output_item.{what}", "output_index": index, "item": item}


def _text_events(part: Mapping[str, Any], pieces: list[str], where: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"type": "response.content_part.added", **where, "part": {**part, "text": ""}}
    for piece in pieces:
        yield {"type": "response.output_text.delta", **where, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **where, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **where, "part": part}


def _blocks(generated: Generated) -> Iterator[dict[str, Any]]:
    if generated.reasoning:
        yield {"type": "thinking", "thinking": "".join(generated.reasoning)}
    if generated.content:
        yield {"type": "text", "text": "".join(generated.content)}
    for call in own_calls(generated):
        function = call["function"]
        yield {"type": "tool_use", "id": call.get("id", ""), "name": function["name"], "input": function["arguments"]}


def _block_events(generated: Generated, content: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for index, block in enumerate(content):
        kind = block["type"]
        empty: dict[str, Any] = {"input": {}} if kind == "tool_use" else {kind: ""}
        yield {"type": "content_block_start", "index": index, "content_block": {**block, **empty}}
        if kind == "tool_use":
            deltas = [{"type": "input_json_delta", "partial_json": go_json(block["input"])}]
        else:
            said = generated.reasoning if kind == "thinking" else generated.content
            deltas = [{"type": f"{kind}_delta", kind: piece} for piece in said]
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
