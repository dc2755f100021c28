"""Refuse the request bodies that Ollama refuses, in the words of its JSON decoder, which is Go's."""

from __future__ import annotations

import base64
import json
import re
from typing import Any, Iterable, Mapping

from ._examples import SchemaError, check_schema
from ._ollama_json import refused

_NUMBER = (int, float)
# The Python types of a field, and Go's name for its type; null counts as left out.
TEXT = ((str,), "string")
BOOL = ((bool,), "bool")
WHOLE = ((int,), "int")
LIST = ((list,), "[]interface {}")
OBJECT = ((dict,), "map[string]interface {}")
Fields = Mapping[str, "tuple[tuple[type, ...], str]"]

# The fields that /api/chat and /api/generate share.
RUN: Fields = {
    "model": TEXT,
    "stream": BOOL,
    "options": OBJECT,
    "truncate": BOOL,
    "shift": BOOL,
    "logprobs": BOOL,
    "top_logprobs": WHOLE,
}
_MESSAGE: Fields = {
    "role": TEXT,
    "content": TEXT,
    "thinking": TEXT,
    "tool_name": TEXT,
    "tool_call_id": TEXT,
    "images": ((list,), "[]api.ImageData"),
    "tool_calls": ((list,), "[]api.ToolCall"),
}
_OPTIONS = {
    **dict.fromkeys(
        ("num_ctx", "num_predict", "num_keep", "num_batch", "num_gpu", "main_gpu", "num_thread", "seed", "top_k"),
        (_NUMBER, "integer"),
    ),
    **dict.fromkeys(("repeat_last_n", "draft_num_predict"), (_NUMBER, "integer")),
    **dict.fromkeys(("temperature", "top_p", "min_p", "typical_p", "repeat_penalty"), (_NUMBER, "float32")),
    **dict.fromkeys(("presence_penalty", "frequency_penalty"), (_NUMBER, "float32")),
    "use_mmap": ((bool,), "boolean"),
    "stop": ((list,), "array"),
}
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_STEP = re.compile(r"(\d+\.?\d*|\.\d+)([^\d.]*)")


def check_fields(value: Any, fields: Fields, name: str) -> Mapping[str, Any]:
    """Return ``value``; raise RefusedError if it is not an object of Go's type ``name`` with the right ``fields``."""
    if not isinstance(value, dict):
        raise refused(400, f"json: cannot unmarshal {_kind(value)} into Go value of type api.{name}")
    for field, (types, called) in fields.items():
        if value.get(field) is not None and type(value[field]) not in types:
            raise wrong(value[field], f"{name}.{field}", called)
    return value


def wrong(value: Any, field: str, called: str) -> Exception:
    """Return the error to raise for a field whose value does not have the Go type that is ``called`` so."""
    return refused(400, f"json: cannot unmarshal {_kind(value)} into Go struct field {field} of type {called}")


def check_messages(messages: Any) -> list[dict[str, Any]]:
    """Return the messages of a chat; raise RefusedError for OpenAI's parts, arguments and images."""
    if not isinstance(messages, list):
        raise wrong(messages, "ChatRequest.messages", "[]api.Message")
    for message in messages:
        if not isinstance(message, dict):
            raise wrong(message, "ChatRequest.messages", "api.Message")
        check_fields(message, _MESSAGE, "ChatRequest.messages")
        for call in message.get("tool_calls") or ():
            function = call.get("function") if isinstance(call, dict) else None
            if not isinstance(function, (dict, type(None))) or not isinstance(call, dict):
                raise wrong(call, "ChatRequest.messages.tool_calls", "api.ToolCall")
            arguments = (function or {}).get("arguments")
            if not isinstance(arguments, (dict, type(None))):
                raise wrong(arguments, "ChatRequest.messages.tool_calls", "api.ToolCallFunctionArguments")
        check_images(message.get("images"))
    return messages


def check_images(images: Iterable[Any] | None) -> None:
    """Raise RefusedError for an image that is not base64, such as a data URL."""
    for image in images or ():
        if not isinstance(image, str):
            raise wrong(image, "ChatRequest.messages.images", "api.ImageData")
        try:
            base64.b64decode(image, validate=True)
        except ValueError as error:
            at = re.match(r"[A-Za-z0-9+/]*", image)
            raise refused(400, f"illegal base64 data at input byte {at.end() if at else 0}") from error


def check_tools(tools: Any) -> list[dict[str, Any]]:
    """Return the tools of a chat. Raise RefusedError if one is malformed."""
    if tools is not None and not isinstance(tools, list):
        raise wrong(tools, "ChatRequest.tools", "api.Tools")
    for tool in tools or ():
        if not isinstance(tool, dict):
            raise wrong(tool, "ChatRequest.tools", "api.Tool")
        function = tool.get("function")
        if not isinstance(function, dict):
            raise wrong(function, "ChatRequest.tools.function", "api.ToolFunction")
        if not isinstance(function.get("name"), str):
            raise wrong(function.get("name"), "ChatRequest.tools.function.name", "string")
        parameters = function.get("parameters")
        try:
            check_schema({"type": "object", **({} if parameters is None else parameters)})
        except (SchemaError, TypeError) as error:
            field = "ChatRequest.tools.function.parameters"
            raise wrong(parameters, field, "api.ToolFunctionParameters") from error
    return tools or []


def check_options(options: Mapping[str, Any]) -> None:
    """Raise RefusedError for an option of a wrong type, with Ollama's status 500. Ollama ignores unknown options."""
    for name, (types, called) in _OPTIONS.items():
        value = options.get(name)
        if value is not None and type(value) not in types:
            raise refused(500, f'option "{name}" must be of type {called}')
    if not all(isinstance(each, str) for each in options.get("stop") or ()):
        raise refused(500, 'option "stop" must be of an array of strings')


def check_format(form: Any) -> dict[str, Any] | None:
    """Return ``format`` in OpenAI's form, None if it is not set. Raise RefusedError if it is not valid."""
    if form is None or form == "":
        return None
    if form == "json":
        return {"type": "json_object"}
    if not isinstance(form, dict):
        raise refused(500, f'invalid format: {json.dumps(form)}; expected "json" or a valid JSON Schema object')
    try:
        check_schema(form)
    except SchemaError as error:
        text = f"Field 'json_schema': \"json_schema\": JSON schema conversion failed:\n{error}"
        raise refused(400, text) from error
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": form}}


def seconds(keep_alive: Any) -> float | None:
    """Return the seconds to keep a model, None to keep it forever, for a number of seconds or a text with a unit."""
    if isinstance(keep_alive, str):
        value = _duration(keep_alive)
    elif type(keep_alive) in _NUMBER:
        value = float(keep_alive)
    else:
        raise refused(400, f"Unsupported type: '{_go_type(keep_alive)}'")
    return None if value < 0 else value


def _duration(text: str) -> float:
    """Return the seconds of a duration in Go's form, such as "1h30m"."""
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0.0
    total, at = 0.0, 0
    while at < len(rest) or not rest:
        step = _STEP.match(rest, at)
        if step is None:
            raise refused(400, f"time: invalid duration {json.dumps(text)}")
        number, unit = step.groups()
        if not unit:
            raise refused(400, f"time: missing unit in duration {json.dumps(text)}")
        if unit not in _SECONDS:
            raise refused(400, f"time: unknown unit {json.dumps(unit)} in duration {json.dumps(text)}")
        total, at = total + float(number) * _SECONDS[unit], step.end()
    return -total if text.startswith("-") else total


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, float):
        return f"number {value}"
    return {int: "number", str: "string", list: "array", dict: "object"}.get(type(value), "null")


def _go_type(value: Any) -> str:
    return {bool: "bool", list: "[]interface {}", dict: "map[string]interface {}"}.get(type(value), "nil")
