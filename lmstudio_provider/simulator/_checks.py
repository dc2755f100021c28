"""What LM Studio refuses in the body of a request, in its own words."""

from __future__ import annotations

import base64
import re
from typing import Any, Iterable, Mapping

from ._errors import invalid, native_error
from ._server import RefusedError, error

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"


def check_chat(body: Any) -> None:
    """Raise RefusedError for a body that LM Studio answers with status 400."""
    if not isinstance(body, dict) or not body.get("messages"):
        raise refused("'messages' field is required")
    messages = body["messages"]
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise _bad_messages()
    for message in messages:
        _check_message(message)
    if isinstance(body.get("tool_choice"), dict):
        raise refused("Invalid tool_choice type: 'object'. Supported string values: none, auto, required")
    form = body.get("response_format")
    if form is not None and not (isinstance(form, dict) and form.get("type") in ("json_schema", "text")):
        raise refused("'response_format.type' must be 'json_schema' or 'text'")


def check_keys(body: Any, known: Mapping[str, tuple[type, ...]], required: Iterable[str]) -> dict[str, Any]:
    """What ``body`` says, as a dict that may be changed; raises RefusedError for what ``/api/v1`` does not take.

    ``known`` are the types of each key. The wordings are our own, but for keys that are not known.
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
        if type(value) not in known[key]:  # JSON's true is no number
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
    calls: Iterable[Any] = message.get("tool_calls") or ()
    if not all(isinstance(call, dict) and call.get("id") for call in calls):
        raise _bad_messages()


def is_image(url: object) -> bool:
    """Whether it is a data URL of a picture in a format that LM Studio takes."""
    match = re.match(r"data:[^,]*;base64,", url) if isinstance(url, str) else None
    if not match:
        return False
    try:
        # By its first bytes, whatever the URL calls it: LM Studio takes no WebP.
        return base64.b64decode(match.string[match.end() :], validate=True).startswith((_PNG, _JPEG))
    except ValueError:
        return False


def _bad_messages() -> RefusedError:
    return refused("Invalid 'messages' in payload. Please check the structure of your 'messages' and try again")


def refused(text: str) -> RefusedError:
    """What is raised to answer status 400 with ``text``, which LM Studio sends as a string."""
    return RefusedError(error(400, text))
