"""Messages as dicts: in OpenAI's form, which this package uses, and in Ollama's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .checks import to_json
from .errors import InvalidRequestError
from .images import data_url, listed
from .types import ToolCall


def plain_of(value: Any) -> Any:
    """Return ``value``, as a dict if it has ``model_dump``, as the objects of the openai and ollama clients do."""
    return value.model_dump() if hasattr(value, "model_dump") and not isinstance(value, (type, Mapping)) else value


def is_plain(message: Mapping[str, Any]) -> bool:
    """Return True if ``message`` has a role and text only, as most have: it is the same in all forms."""
    is_text = message.keys() == {"role", "content"} and isinstance(message["content"], str)
    return is_text and message["role"] in ("system", "user", "assistant")


def in_openai_form(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``message`` in OpenAI's form; unknown fields stay, if they are not None.

    Ollama's form has objects as the arguments of calls, and ``images``, ``thinking`` and ``tool_name``. OpenAI's older
    form has ``function_call`` and the role "function". The result has all kinds of thoughts in ``reasoning``. Raises
    InvalidRequestError for arguments and images that cannot be sent.
    """
    if is_plain(message):
        return dict(message)
    plain = {name: value for name, value in message.items() if value is not None}
    if plain.get("role") == "developer":  # only some servers know this role
        plain["role"] = "system"
    # OpenAI's older form, which had one call, and its result.
    call = plain_of(plain.pop("function_call", None))
    if call is not None and not plain.get("tool_calls"):
        plain["tool_calls"] = [{"function": call}]
        if not name_of(plain["tool_calls"][0]):
            raise InvalidRequestError("function_call is not an object with a name and arguments")
    if plain.get("role") == "function":
        plain["role"] = "tool"
    tool, images = (plain.pop(name, None) for name in ("tool_name", "images"))
    thoughts = [plain.pop(name, None) for name in ("reasoning", "reasoning_content", "thinking")]
    if any(thoughts):
        plain["reasoning"] = next(filter(None, thoughts))
    if tool:
        plain.setdefault("name", tool)
    content = plain.get("content", "")
    if images:
        text = content if isinstance(content, (list, tuple)) else [{"type": "text", "text": content}]
        plain["content"] = [*text, *map(image_part, listed(images))]
    elif plain.get("role") == "tool" and isinstance(content, (list, tuple)):
        texts = [part["text"] for part in content if isinstance(part, Mapping) and isinstance(part.get("text"), str)]
        if len(texts) == len(content):  # LM Studio does not take parts there (bug-tracker 1077)
            plain["content"] = "".join(texts)
    elif isinstance(content, (list, tuple)):
        plain["content"] = [_part(each) for each in content]
    if isinstance(plain.get("tool_calls"), (list, tuple)):
        calls = plain["tool_calls"]
        plain["tool_calls"] = [call_as_dict(each) if isinstance(each, ToolCall) else plain_of(each) for each in calls]
    calls = calls_of(plain)
    if calls:
        plain["tool_calls"] = [_call(each) for each in calls]
    return plain


def image_part(image: Any) -> dict[str, Any]:
    """Return ``image`` as a part of a content in OpenAI's form."""
    return {"type": "image_url", "image_url": {"url": data_url(image)}}


def _part(part: Any) -> Any:
    """Return a part of a content; the URL of an image is put into an object if it is bare."""
    url = part.get("image_url") if isinstance(part, Mapping) else None
    return {**part, "image_url": {"url": url}} if isinstance(url, str) and part.get("type") == "image_url" else part


def call_as_dict(call: ToolCall) -> dict[str, Any]:
    """Return a call in OpenAI's form."""
    function = {"name": call.name, "arguments": call.raw_arguments or "{}"}
    return {"id": call.id, "type": "function", "function": function}


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, Mapping):
        return dict(call)
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        empty = arguments is None
        arguments = "{}" if empty else to_json(arguments, "the arguments of a call", ensure_ascii=False)
    # Only replies of Ollama have an index.
    function = {**{name: value for name, value in function.items() if name != "index"}, "arguments": arguments}
    return {**call, "type": call.get("type") or "function", "function": function}


def calls_of(message: Mapping[str, Any]) -> list[Any]:
    """Return the tool calls of a message; none if ``tool_calls`` is not a list of objects."""
    calls = message.get("tool_calls")
    sound = isinstance(calls, (list, tuple)) and all(isinstance(each, Mapping) for each in calls)
    return list(calls) if sound and calls else []


def answered_calls(messages: Sequence[Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    """Return the call that each result of a tool answers, by the position of the result.

    It is the call with the id in the result, else the next call without a result: of the tool that the result names,
    or else of any.
    """
    found: dict[int, Mapping[str, Any]] = {}
    by_id: dict[str, Mapping[str, Any]] = {}
    waiting: list[Mapping[str, Any]] = []
    for position, message in enumerate(messages):
        if message.get("tool_calls"):
            waiting = calls_of(message)
            by_id.update((str(each["id"]), each) for each in waiting if each.get("id"))
        elif message.get("role") == "tool":
            id_ = str(message.get("tool_call_id") or "")
            others = [each for each in waiting if not (id_ and each.get("id"))]
            named = [each for each in others if message.get("name") == name_of(each)]
            call = by_id.get(id_) or next(iter(named or others), None)
            if call is not None:
                found[position] = call
                waiting = [each for each in waiting if each is not call]
    return found


def name_of(call: Mapping[str, Any]) -> str | None:
    """Return the name of the called tool; None if the call does not have one."""
    function = call.get("function")
    name = function.get("name") if isinstance(function, Mapping) else None
    return name if isinstance(name, str) and name else None
