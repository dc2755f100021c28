"""LM Studio's own chat, ``POST /api/v1/chat``: a whole reply, or a stream of typed events."""

from __future__ import annotations

import json
import time
from typing import Any, Iterator, Mapping

from ._checks import check_keys, is_image
from ._engine import Engine, as_content
from ._errors import invalid
from ._generate import Generated, usage
from ._models import REASONING
from ._server import Answer, indented, typed_events
from ._state import FailedError, State, not_found

_NUMBER = (int, float)
_SAMPLING: Mapping[str, tuple[type, ...]] = {
    "temperature": _NUMBER,
    "top_p": _NUMBER,
    "min_p": _NUMBER,
    "top_k": (int,),
    "repeat_penalty": _NUMBER,
    "presence_penalty": _NUMBER,
}
_KEYS: Mapping[str, tuple[type, ...]] = {
    **_SAMPLING,
    "model": (str,),
    "input": (str, list),
    "system_prompt": (str,),
    "integrations": (list,),
    "stream": (bool,),
    "max_output_tokens": (int,),
    "reasoning": (str,),
    "context_length": (int,),
    "store": (bool,),
    "previous_response_id": (str,),
}
# Nothing is generated for a prompt that is too long.
_NOTHING = Generated([], [], [], "stop")
# The output of each tool that the server ran.
_OUTPUT = '[{"type":"text","text":"simulated"}]'


class Native:
    """The endpoint, with its state and engine."""

    def __init__(self, state: State, engine: Engine) -> None:
        self._state = state
        self._engine = engine

    def chat(self, body: Any) -> Answer:
        """``POST /api/v1/chat``."""
        body = check_keys(body, _KEYS, required=["model", "input"])
        provider_info = _provider_info(body.get("integrations"))
        form = self._openai_form(body)
        began = time.monotonic()
        if self._state.model_of(body["model"]) is None:  # even with one loaded (recorded)
            raise not_found(body["model"], self._state.models)
        instance, fresh = self._state.take(body["model"], context_length=body.get("context_length"))
        load_s = round(time.monotonic() - began, 3) if fresh else None
        began = time.monotonic()
        start = [{"type": "chat.start", "model_instance_id": instance.id}, *_load_events(instance.id, load_s)]
        try:
            generated, used = self._engine.chat(form, instance)
        except FailedError as failed:
            if not body.get("stream"):
                raise
            failure = {"type": "error", "error": {"type": "unknown", "message": failed.text}}
            stats = _stats(usage(failed.tokens, _NOTHING), began, load_s)
            end = {"type": "chat.end", "result": {"model_instance_id": instance.id, "output": [], "stats": stats}}
            # After an error, too, a stream ends with chat.end (LM Studio docs: developer/rest).
            return typed_events([*start, {"type": "prompt_processing.start"}, failure, end])
        output = list(_output(generated, provider_info))
        result: dict[str, Any] = {"model_instance_id": instance.id, "output": output}
        result["stats"] = _stats(used, began, load_s)
        if body.get("store", True):
            said = {"role": "assistant", "content": "".join(generated.content)}
            result["response_id"] = self._state.response_id()
            self._state.responses[result["response_id"]] = [*form["messages"], said]
        if not body.get("stream"):
            return indented(result)
        return typed_events([*start, *_events(generated, output), {"type": "chat.end", "result": result}])

    def _openai_form(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the request in OpenAI's form, from which replies are made. Raise RefusedError if it is not valid."""
        form = {key: body[key] for key in ("model", "stream", *_SAMPLING) if key in body}
        if "max_output_tokens" in body:
            form["max_tokens"] = body["max_output_tokens"]
        reasoning = body.get("reasoning", "off")
        if reasoning not in REASONING:
            raise invalid(f"'reasoning' must be one of {', '.join(REASONING)}", "invalid_value", "reasoning")
        if reasoning != "off":
            form["reasoning_effort"] = reasoning
        previous = body.get("previous_response_id")
        stored = self._state.stored(previous)
        if stored is None:
            text = f"Could not find stored response for previous_response_id: {previous}"  # we made up its end
            raise invalid(text, "invalid_value", "previous_response_id")
        # In a conversation that goes on, this is a second system message, as in LM Studio (its bug-tracker, 2219).
        system = [{"role": "system", "content": body["system_prompt"]}] if "system_prompt" in body else []
        return {**form, "messages": [*stored, *system, {"role": "user", "content": _content(body["input"])}]}


def _content(given: Any) -> Any:
    return given if isinstance(given, str) else as_content(map(_part, given))


def _part(item: Any) -> dict[str, Any]:
    kind = item.get("type") if isinstance(item, dict) else None
    if kind in ("message", "text") and isinstance(item.get("content"), str):
        return {"type": "text", "text": item["content"]}
    if kind == "image" and is_image(item.get("data_url")):
        return {"type": "image_url", "image_url": {"url": item["data_url"]}}
    raise invalid("'input' must be a string or an array of texts and images", "invalid_type", "input")


def _provider_info(integrations: list[Any] | None) -> dict[str, Any] | None:
    """Return the ``provider_info`` of all calls, that of the first integration, or None without integrations."""
    infos = [_info(each) for each in integrations or ()]
    return infos[0] if infos else None


def _info(integration: Any) -> dict[str, Any]:
    if isinstance(integration, str):
        return {"type": "plugin", "plugin_id": integration}
    kind = integration.get("type") if isinstance(integration, dict) else None
    if kind == "plugin" and "id" in integration:
        return {"type": "plugin", "plugin_id": integration["id"]}
    if kind == "ephemeral_mcp" and "server_label" in integration and "server_url" in integration:
        return {"type": "ephemeral_mcp", "server_label": integration["server_label"]}
    raise invalid("'integrations' must be names, plugins or ephemeral MCP servers", "invalid_type", "integrations")


def _output(generated: Generated, provider_info: Mapping[str, Any] | None) -> Iterator[dict[str, Any]]:
    if generated.reasoning:
        yield {"type": "reasoning", "content": "".join(generated.reasoning)}
    for call in generated.tool_calls:
        yield _call(call["function"]["name"], call["function"]["arguments"], provider_info)
    if generated.content:
        yield {"type": "message", "content": "".join(generated.content)}


def _call(name: str, text: str, provider_info: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the output item for a call, which this API runs on the server."""
    try:
        arguments = json.loads(text)
    except ValueError:
        arguments = text
    if provider_info is None:
        metadata: dict[str, Any] = {"type": "invalid_name", "tool_name": name}
        return {"type": "invalid_tool_call", "reason": f"Cannot find tool with name {name}.", "metadata": metadata}
    if not isinstance(arguments, dict):
        reason = f"The arguments do not match the schema of {name}."
        metadata = {"type": "invalid_arguments", "tool_name": name, "arguments": arguments}
        metadata["provider_info"] = provider_info
        return {"type": "invalid_tool_call", "reason": reason, "metadata": metadata}
    item = {"type": "tool_call", "tool": name, "arguments": arguments, "output": _OUTPUT}
    return {**item, "provider_info": provider_info}


def _stats(used: Mapping[str, Any], began: float, load_s: float | None) -> dict[str, Any]:
    took_s = time.monotonic() - began
    stats = {
        "input_tokens": used["prompt_tokens"],
        "total_output_tokens": used["completion_tokens"],
        "reasoning_output_tokens": used.get("completion_tokens_details", {}).get("reasoning_tokens", 0),
        "tokens_per_second": round(used["completion_tokens"] / max(took_s, 1e-6), 2),
        "time_to_first_token_seconds": round(took_s, 3),
    }
    return stats if load_s is None else {**stats, "model_load_time_seconds": load_s}


def _load_events(id_: str, load_s: float | None) -> Iterator[dict[str, Any]]:
    if load_s is None:
        return
    yield {"type": "model_load.start", "model_instance_id": id_}
    for progress in (0.25, 0.5, 0.75, 1):
        yield {"type": "model_load.progress", "model_instance_id": id_, "progress": progress}
    yield {"type": "model_load.end", "model_instance_id": id_, "load_time_seconds": load_s}


def _events(generated: Generated, output: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the events between the load of the model and ``chat.end``."""
    yield {"type": "prompt_processing.start"}
    for progress in (0, 0.5, 1):
        yield {"type": "prompt_processing.progress", "progress": progress}
    yield {"type": "prompt_processing.end"}
    pieces = {"reasoning": generated.reasoning, "message": generated.content}
    for item in output:
        kind = item["type"]
        if kind in pieces:
            yield {"type": f"{kind}.start"}
            for piece in pieces[kind]:
                yield {"type": f"{kind}.delta", "content": piece}
            yield {"type": f"{kind}.end"}
        else:
            yield from _call_events(item)


def _call_events(item: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    metadata = item.get("metadata", {})
    who = {"provider_info": item.get("provider_info", metadata.get("provider_info"))}
    tool = item.get("tool", metadata.get("tool_name"))
    if who["provider_info"]:
        yield {"type": "tool_call.start", "tool": tool, **who}
    if item["type"] == "invalid_tool_call":
        yield {"type": "tool_call.failure", "reason": item["reason"], "metadata": metadata}
    else:
        called = {"tool": tool, "arguments": item["arguments"]}
        yield {"type": "tool_call.arguments", **called, **who}
        yield {"type": "tool_call.success", **called, "output": item["output"], **who}
