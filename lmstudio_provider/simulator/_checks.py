"""Refuse the request bodies that LM Studio refuses, with its wording if that is known."""

from __future__ import annotations

import base64
import re
from typing import Any, Iterable, Mapping

from ._errors import invalid, native_error
from ._server import RefusedError, error

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_NUMBER = (int, float)
_CHOICES = ("none", "auto", "required")
# The types of the other fields of a chat; null counts as left out.
_FIELDS: Mapping[str, tuple[type, ...]] = {
    "model": (str,),
    "stream": (bool,),
    "stream_options": (dict,),
    "max_tokens": (int,),
    "seed": (int,),
    "top_k": (int,),
    "logit_bias": (dict,),
    "draft_model": (str,),
    "reasoning_effort": (str,),
    "response_format": (dict,),
    "temperature": _NUMBER,
    "top_p": _NUMBER,
    "min_p": _NUMBER,
    "repeat_penalty": _NUMBER,
    "presence_penalty": _NUMBER,
    "frequency_penalty": _NUMBER,
}


def check_chat(body: Any) -> None:
    """Raise RefusedError for a body that LM Studio answers with status 400."""
    if not isinstance(body, dict) or not body.get("messages"):
        raise refused("'messages' field is required")
    messages = body["messages"]
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise _bad_messages()
    for message in messages:
        _check_message(message)
    if not isinstance(body.get("tool_choice"), (str, type(None))):
        kind = _js_type(body["tool_choice"])
        raise refused(f"Invalid tool_choice type: '{kind}'. Supported string values: {', '.join(_CHOICES)}")
    form = body.get("response_format")
    # LM Studio does not have OpenAI's "json_object".
    if form is not None and not (isinstance(form, dict) and form.get("type") in ("json_schema", "text")):
        raise refused("'response_format.type' must be 'json_schema' or 'text'")
    wrong = wrong_field(body)
    if wrong:
        raise refused(wrong[1])


def wrong_field(body: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the first field of a chat or text in OpenAI's form that LM Studio refuses, and the text of the error.

    We made up most of these texts, because LM Studio's are unknown.
    """
    for name, types in _FIELDS.items():
        if body.get(name) is not None and type(body[name]) not in types:  # not isinstance: JSON's true is not a number
            return name, f"'{name}' has the wrong type"
    stop = body.get("stop")
    if not isinstance(stop, (str, type(None))) and not (_is_list(stop, str)):
        return "stop", "'stop' must be a string or an array of strings"
    if body.get("tool_choice") not in (None, *_CHOICES):
        return "tool_choice", f"Invalid tool_choice. Supported string values: {', '.join(_CHOICES)}"
    tools = body.get("tools")
    if tools is not None and not (isinstance(tools, list) and all(map(_is_tool, tools))):
        return "tools", "Invalid 'tools': each has to be a function with a name and a JSON schema of its parameters"
    form = body.get("response_format") or {}
    schema = form.get("json_schema") if form.get("type") == "json_schema" else {}
    if not isinstance(schema, dict) or not isinstance(schema.get("schema", {}), dict):
        return "response_format", "'response_format.json_schema' must be an object with a 'schema'"
    return None


def check_keys(body: Any, known: Mapping[str, tuple[type, ...]], required: Iterable[str]) -> dict[str, Any]:
    """Return a copy of ``body``; raise RefusedError if ``/api/v1`` would refuse it.

    ``known`` maps each key to its types. LM Studio checks these bodies strictly, and refuses an unknown key with the
    text below (LM Studio docs: developer/rest). We made up the other texts.
    """
    if not isinstance(body, dict):
        body = {}
    unknown = [f"'{key}'" for key in body if key not in known]
    if unknown:
        text = f"Unrecognized key(s) in object: {', '.join(unknown)}"
        raise RefusedError(native_error(400, "invalid_request", text, code="unrecognized_keys"))
    for key in required:
        if key not in body:
            raise invalid(f"'{key}' is required", "missing_required_parameter", key)
    for key, value in body.items():
        if type(value) not in known[key]:  # not isinstance: JSON's true is not a number
            raise invalid(f"'{key}' has the wrong type", "invalid_type", key)
        if key == "context_length" and value < 1:
            raise invalid("'context_length' must be at least 1", "invalid_value", key)
    return dict(body)


def _check_message(message: Mapping[str, Any]) -> None:
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    if not isinstance(content, (str, list)) or not all(isinstance(part, dict) for part in parts):
        raise refused("Invalid 'content': 'content' field must be a string or an array of objects..")
    images = [part.get("image_url") for part in parts if part.get("type") == "image_url"]
    if not all(isinstance(image, dict) and is_image(image.get("url")) for image in images):
        raise refused("'url' field must be a base64 encoded image.")
    texts = [part.get("text") for part in parts if part.get("type") != "image_url"]
    calls = message.get("tool_calls") or []
    if not _is_list(texts, str) or not isinstance(calls, list) or not all(map(_is_call, calls)):
        raise _bad_messages()


def _is_list(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(each, kind) for each in value)


def _is_call(call: Any) -> bool:
    function = call.get("function") if isinstance(call, dict) and call.get("id") else None
    return isinstance(function, dict) and all(isinstance(function.get(each), str) for each in ("name", "arguments"))


def _is_tool(tool: Any) -> bool:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        return False
    return isinstance(function.get("parameters"), (dict, type(None)))


def _js_type(value: Any) -> str:
    return "boolean" if isinstance(value, bool) else "number" if isinstance(value, _NUMBER) else "object"


def is_image(url: object) -> bool:
    """Return True if ``url`` is a data URL of an image in a format that LM Studio takes."""
    match = re.match(r"data:[^,]*;base64,", url) if isinstance(url, str) else None
    if not match:
        return False
    try:
        # The first bytes decide, not the type in the URL: LM Studio takes PNG and JPEG, but not WebP.
        return base64.b64decode(match.string[match.end() :], validate=True).startswith((_PNG, _JPEG))
    except ValueError:
        return False


def _bad_messages() -> RefusedError:
    return refused("Invalid 'messages' in payload. Please check the structure of your 'messages' and try again")


def refused(text: str) -> RefusedError:
    """Return the error that answers status 400 with ``text``, which LM Studio sends as a string."""
    return RefusedError(error(400, text))
