"""``POST /v1/responses``, after OpenAI's Responses API: a whole reply, or a stream of typed events."""

from __future__ import annotations

import time
from typing import Any, Iterable, Iterator, Mapping

from ._checks import check_chat, wrong_field
from ._engine import Engine, as_content
from ._errors import openai_error
from ._generate import Generated
from ._server import Answer, RefusedError, indented, typed_events
from ._state import FailedError, State

_TEXT = {"format": {"type": "text"}}
_TYPES: Mapping[str, tuple[type, ...]] = {
    "stream": (bool,),
    "store": (bool,),
    "instructions": (str,),
    "previous_response_id": (str,),
    "max_output_tokens": (int,),
    "reasoning": (dict,),
    "tools": (list,),
}
# The settings that a reply repeats, with the defaults for a request that does not set them.
_ECHOED: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "store": True,
    "temperature": 0.8,
    "text": _TEXT,
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1,
    "truncation": "disabled",
    "metadata": {},
}


class Responses:
    """The endpoint, with its state and engine."""

    def __init__(self, state: State, engine: Engine) -> None:
        self._state = state
        self._engine = engine

    def create(self, body: Any) -> Answer:
        """``POST /v1/responses``."""
        body = checked_body(body)
        said = messages_of(body.get("input"))
        stored = self._state.stored(body.get("previous_response_id"))
        if stored is None:
            text = f"Previous response with id '{body['previous_response_id']}' not found."
            raise RefusedError(openai_error(text, "previous_response_id", "previous_response_not_found"))
        form = openai_form(body, [*stored, *said])
        check_chat(form)
        instance, _ = self._state.take(body.get("model"))
        begun = {
            "id": self._state.response_id(),
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            "model": instance.id,
            "output": [],
            "reasoning": {"effort": form.get("reasoning_effort"), "summary": None},
            "usage": None,
            **{name: body.get(name, default) for name, default in _ECHOED.items()},
        }
        try:
            generated, used = self._engine.chat(form, instance)
        except FailedError as failed:
            if not body.get("stream"):
                raise
            failure = {"status": "failed", "error": {"code": "server_error", "message": failed.text}}
            return _stream(begun, [], {**begun, **failure})
        calls = [{**call, "id": f"call_{self._state.number():06x}"} for call in generated.tool_calls]
        output = list(self._output(generated, calls))
        if generated.finish_reason == "length":
            ended: dict[str, Any] = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
            if output:
                output[-1]["status"] = "incomplete"
        else:
            ended = {"status": "completed", "completed_at": int(time.time())}
        whole = {**begun, **ended, "output": output, "usage": _usage(used)}
        if begun["store"]:
            answer: dict[str, Any] = {"role": "assistant", "content": "".join(generated.content)}
            if calls:
                answer["tool_calls"] = calls
            # Instructions apply to one reply only, so the conversation is stored without them.
            self._state.responses[whole["id"]] = [*stored, *said, answer]
        if not body.get("stream"):
            return indented(whole)
        return _stream(begun, _events(generated, output), whole)

    def _output(self, generated: Generated, calls: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        number = f"{self._state.number():06x}"
        if generated.reasoning:
            part = {"type": "reasoning_text", "text": "".join(generated.reasoning)}
            yield {"id": f"rs_{number}", "type": "reasoning", "summary": [], "content": [part], "status": "completed"}
        if generated.content:
            text = {"type": "output_text", "text": "".join(generated.content), "annotations": [], "logprobs": []}
            item = {"id": f"msg_{number}", "type": "message", "role": "assistant", "status": "completed"}
            yield {**item, "content": [text]}
        for call in calls:
            item = {"id": f"fc_{self._state.number():06x}", "type": "function_call", "call_id": call["id"]}
            yield {**item, **call["function"], "status": "completed"}


def checked_body(body: Any) -> dict[str, Any]:
    """Return the body; raise RefusedError, whose text we made up, if a field has a wrong type."""
    if not isinstance(body, dict):
        return {}
    for name, types in _TYPES.items():
        if body.get(name) is not None and type(body[name]) not in types:
            raise RefusedError(openai_error(f"'{name}' has the wrong type", name, "invalid_type"))
    if not all(isinstance(tool, dict) for tool in body.get("tools") or ()):
        raise RefusedError(openai_error("'tools' must be an array of objects", "tools", "invalid_type"))
    return body


def openai_form(body: Mapping[str, Any], messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the request in the form of chat completions, from which replies are made. Raise RefusedError."""
    form = {key: body[key] for key in ("model", "stream", "temperature", "top_p", "tool_choice") if key in body}
    if body.get("max_output_tokens") is not None:
        form["max_tokens"] = body["max_output_tokens"]
    effort = (body.get("reasoning") or {}).get("effort")
    if effort is not None:
        form["reasoning_effort"] = effort
    tools = [tool for tool in body.get("tools") or () if tool.get("type") == "function"]
    if tools:
        flat = [{key: each for key, each in tool.items() if key != "type"} for tool in tools]
        form["tools"] = [{"type": "function", "function": function} for function in flat]
    text = _TEXT if body.get("text") is None else body["text"]
    asked = text.get("format") if isinstance(text, dict) else None
    if not isinstance(asked, dict) or asked.get("type") not in ("text", "json_schema"):
        raise RefusedError(openai_error("'text.format' must be of type 'text' or 'json_schema'", "text.format"))
    if asked["type"] == "json_schema":
        schema = {key: each for key, each in asked.items() if key != "type"}
        form["response_format"] = {"type": "json_schema", "json_schema": schema}
    wrong = wrong_field(form)
    if wrong and wrong[0] != "tool_choice":
        raise RefusedError(openai_error(wrong[1], wrong[0], "invalid_type"))
    system = [{"role": "system", "content": body["instructions"]}] if body.get("instructions") else []
    return {**form, "messages": [*system, *messages]}


def messages_of(given: Any) -> list[dict[str, Any]]:
    """Return the messages of an ``input``. Raise RefusedError if it is not valid."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise RefusedError(openai_error("'input' must be a string or an array of items", "input"))
    messages: list[dict[str, Any]] = []
    for item in given:
        _add(item, messages)
    return messages


def _add(item: Any, messages: list[dict[str, Any]]) -> None:
    """Add an item of the input to the messages. Raise RefusedError if it is not valid."""
    kind = item.get("type", "message") if isinstance(item, dict) else None
    try:
        if kind == "message":
            role = "system" if item["role"] == "developer" else item["role"]  # as LM Studio does (seen)
            content = item["content"]
            parts = content if isinstance(content, str) else as_content(map(_part, content))
            messages.append({"role": role, "content": parts})
        elif kind == "function_call":
            function = {"name": item["name"], "arguments": item["arguments"]}
            call = {"type": "function", "id": item["call_id"], "function": function}
            if not messages or messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant", "content": ""})
            messages[-1].setdefault("tool_calls", []).append(call)
        elif kind == "function_call_output":
            messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": item["output"]})
        elif kind != "reasoning":  # reasoning items are not shown to the model again
            raise KeyError("type")
    except (KeyError, TypeError) as error:
        raise RefusedError(openai_error(f"An item of 'input' does not fit: {error}", "input")) from error


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part["type"] == "input_image":
        return {"type": "image_url", "image_url": {"url": part["image_url"]}}
    if part["type"] in ("input_text", "output_text"):
        return {"type": "text", "text": part["text"]}
    raise KeyError("type")


def _usage(used: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "input_tokens": used["prompt_tokens"],
        "input_tokens_details": used.get("prompt_tokens_details", {"cached_tokens": 0}),
        "output_tokens": used["completion_tokens"],
        "output_tokens_details": used.get("completion_tokens_details", {"reasoning_tokens": 0}),
        "total_tokens": used["total_tokens"],
    }


def _stream(begun: Mapping[str, Any], inner: Iterable[Mapping[str, Any]], ended: Mapping[str, Any]) -> Answer:
    values = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        *inner,
        {"type": f"response.{ended['status']}", "response": ended},
    ]
    return typed_events({"sequence_number": number, **value} for number, value in enumerate(values))


def _events(generated: Generated, output: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for index, item in enumerate(output):
        empty: dict[str, Any] = {"arguments": ""} if item["type"] == "function_call" else {"content": []}
        yield _item_event("added", index, {**item, **empty, "status": "in_progress"})
        where = {"item_id": item["id"], "output_index": index}
        if item["type"] == "function_call":
            name, arguments = item["name"], item["arguments"]
            half = len(arguments) // 2
            for piece in (arguments[:half], arguments[half:]):
                yield {"type": "response.function_call_arguments.delta", **where, "delta": piece}
            done = {"name": name, "arguments": arguments}
            yield {"type": "response.function_call_arguments.done", **where, **done}
        else:
            pieces = generated.reasoning if item["type"] == "reasoning" else generated.content
            yield from _part_events(item["content"][0], pieces, {**where, "content_index": 0})
        yield _item_event("done", index, item)


def _item_event(what: str, index: int, item: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": f"response.output_item.{what}", "output_index": index, "item": item}


def _part_events(part: Mapping[str, Any], pieces: list[str], where: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    kind = f"response.{part['type']}"
    more = {"logprobs": part["logprobs"]} if "logprobs" in part else {}
    yield {"type": "response.content_part.added", **where, "part": {**part, "text": ""}}
    for piece in pieces:
        yield {"type": f"{kind}.delta", **where, "delta": piece, **more}
    yield {"type": f"{kind}.done", **where, "text": part["text"], **more}
    yield {"type": "response.content_part.done", **where, "part": part}
