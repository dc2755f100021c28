"""OpenAI's ``/v1/responses``, as LM Studio speaks it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Iterator, Mapping, Sequence

from .._core.callbacks import warn
from .._core.errors import ConversationLostWarning, ProviderError
from .._core.messages import Message
from .._core.requests import ChatRequest, ResponsesRequest
from .._core.types import Call, Completion, Usage
from . import lmstudio_errors, openai
from .assembly import ToolCallAssembly
from .errors import ErrorBody, ErrorContext, find_fault
from .json_text import count, member, text_or_none
from .openai import completion_of, content_text, json_schema, offered
from .thoughts import split_thoughts
from .turns import call_of, parts_of, refuse_others, text_of, turns

PATH = "/v1/responses"
#: The two kinds of text that a reply consists of.
ANSWER, REASONING = "output_text", "reasoning_text"


def chat_call(request: ChatRequest, model: str, stream: bool) -> Call:
    """Ask for the next message. Raises InvalidRequestError for what the endpoint does not take."""
    refuse_others(request, PATH, ["response_format"])
    system, messages = turns(request)
    tools, choice = offered(request)
    body: dict[str, Any] = {
        "model": model,
        "instructions": system,
        "input": [item for message in messages for item in _items(message)],
        "max_output_tokens": None if request.max_tokens == -1 else request.max_tokens,
        "tools": [_tool(tool) for tool in tools] or None,
        "tool_choice": choice,
    }
    schema = json_schema(request)
    if schema is not None:
        body["text"] = {"format": {"type": "json_schema", **schema}}
    if isinstance(request, ResponsesRequest):
        effort = request.reasoning_effort
        body.update(previous_response_id=request.previous_response_id, store=request.store)
        body["reasoning"] = None if effort is None else {"effort": effort}
    continues = {**body, **request.extra}.get("previous_response_id") is not None
    return dataclasses.replace(call_of(PATH, body, request, stream, tools), continues=continues)


def _items(message: Message) -> Iterator[dict[str, Any]]:
    if message.role == "tool":
        yield {
            "type": "function_call_output",
            "call_id": message.tool_call_id,
            "output": text_of(message.content),
        }
    elif message.role == "assistant":
        text = text_of(message.content)
        if text:
            yield {"type": "message", "role": "assistant", "content": [{"type": ANSWER, "text": text}]}
        for call in message.tool_calls:
            arguments = call.raw_arguments or "{}"
            yield {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": arguments}
    else:
        parts = parts_of(message.content, _text_part, _image_part)
        yield {"type": "message", "role": message.role, "content": parts}


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "input_text", "text": text}


def _image_part(url: str) -> dict[str, Any]:
    return {"type": "input_image", "image_url": url}


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """The tool without the level between, unlike chat; one that is no function, such as "mcp", stays as it is."""
    function = tool.get("function")
    return {"type": "function", **function} if isinstance(function, Mapping) else dict(tool)


def find_error(
    status: int, headers: Mapping[str, str], body: bytes, value: object, asked: ErrorContext
) -> ProviderError | None:
    """As everywhere at LM Studio, but for a reply that failed, which may have text: ``reply`` raises it."""
    if 200 <= status < 300 and isinstance(value, dict) and value.get("status") == "failed":
        return None
    return lmstudio_errors.find_error(status, headers, body, value, asked)


def reply(value: Any, call: Call, duration_s: float) -> Completion:
    """The completion of a whole reply; raises ProtocolError, or the error that it failed with."""
    tools = ToolCallAssembly(call.tools)
    items = tools.objects(member(value, "output", list, "the reply"), "an item of the output")
    reasoning = "".join(texts_of(items, REASONING))
    text, thought = split_thoughts("".join(texts_of(items, ANSWER)))
    tools.add(call_pieces(items), whole=True)
    status = value.get("status")
    failed = status == "failed"
    finish = None if failed else finish_reason(status, value, bool(tools.calls()))
    usage = read_usage(value.get("usage"))
    completion = completion_of(value, call, duration_s, text, reasoning + thought, tools, usage, finish)
    if failed:
        error = failure(value, json.dumps(value), ErrorContext(call.model, tools=bool(call.tools)))
        # Without the raw reply, which has the text of the error again, and in that there may be a secret.
        error.partial = dataclasses.replace(completion, raw=None)
        raise error
    tools.check(completion)
    if call.continues and began_anew(value):
        warn_of_lost_conversation()
    return completion


def began_anew(response: Mapping[str, Any]) -> bool:
    """Return True if the server says that a reply goes on from no other."""
    return response.get("previous_response_id", "") is None


def warn_of_lost_conversation() -> None:
    """Warn that the model did not see what it was to go on from."""
    warn(
        "the conversation began anew: this server keeps no replies, and ignored previous_response_id, as Ollama does; "
        "send the whole conversation each time, as Conversation does",
        ConversationLostWarning,
    )


def failure(response: Mapping[str, Any], body: str, asked: ErrorContext) -> ProviderError:
    """The error that a ``response`` failed with."""
    fault = find_fault(response) or ErrorBody("the response failed, and no reason is given")
    return lmstudio_errors.fault_error(fault, 200, {}, body, asked)


def items_of(output: object) -> list[dict[str, Any]]:
    """The items of the ``output`` of a stream; raises ProtocolError."""
    items = member({"output": output or []}, "output", list, "the response")
    return [member({"item": item}, "item", dict, "the output") for item in items]


def texts_of(items: Sequence[Mapping[str, Any]], kind: str) -> list[str]:
    """The texts of one kind in some items, in their order."""
    return [text for item in items for _, each, text in item_texts(item) if each == kind]


def item_texts(item: Mapping[str, Any]) -> Iterator[tuple[int, str, str]]:
    """The texts of an item, each with its index and its kind; raises ProtocolError for what should be text and is none.

    Of items and parts that are neither answer nor reasoning there are none.
    """
    # OpenAI tells a summary of reasoning that it keeps to itself.
    content = item.get("content") or item.get("summary")
    if item.get("type") in ("message", "reasoning") and content:
        for index, part in enumerate(member({"content": content}, "content", list, "an item of the reply")):
            kind = part_kind(part)
            if kind is not None:
                yield index, kind, content_text(part.get("text"))


def part_kind(part: object) -> str | None:
    """Whether a part is answer or reasoning; None where it is neither."""
    kind = part.get("type") if isinstance(part, Mapping) else None
    return {ANSWER: ANSWER, REASONING: REASONING, "summary_text": REASONING}.get(str(kind))


def call_pieces(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the calls among some items, in the form of chat."""
    return [call_piece(item) for item in items if item.get("type") == "function_call"]


def call_piece(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the call that an item is, in the form of chat."""
    return {"id": item.get("call_id"), "function": {"name": item.get("name"), "arguments": item.get("arguments")}}


def finish_reason(status: object, response: Mapping[str, Any], called: bool) -> str | None:
    """Why a reply ended, in the words of chat."""
    if status == "completed":
        # Ollama says so of a reply that was cut, too.
        limit, used = count(response.get("max_output_tokens")), read_usage(response.get("usage"))
        if limit and used and (used.completion_tokens or 0) >= limit:
            return "length"
        return "tool_calls" if called else "stop"
    if status == "incomplete":
        details = response.get("incomplete_details")
        reason = text_or_none(details.get("reason")) if isinstance(details, Mapping) else None
        return "length" if reason == "max_output_tokens" else reason or "incomplete"
    return text_or_none(status)


def read_usage(value: object) -> Usage | None:
    """The tokens that a reply reports, or None where it reports none."""
    return openai.read_usage(value, "input_tokens", "output_tokens")
