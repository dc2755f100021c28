"""OpenAI's ``/v1/responses``, as LM Studio speaks it."""

from __future__ import annotations

import json
from typing import Any, Iterator, Mapping, Sequence

from .._core.errors import ConversationLostWarning, ProviderError
from .._core.growing_text import GrowingText
from .._core.messages import Message
from .._core.requests import ChatRequest, ResponsesRequest
from .._core.types import Call, Usage
from . import lmstudio, lmstudio_errors, openai
from .accumulator import ToolCallAssembly
from .errors import ErrorBody, ErrorContext, find_fault
from .json_text import count, mapping, member, text_or_none
from .openai import content_text, effort_of, json_schema, offered
from .typed import TypedStream, call_of, parts_of, refuse_others, text_of, turns

PATH = "/v1/responses"
# The two kinds of text in a reply.
ANSWER, REASONING = "output_text", "reasoning_text"


def chat_call(request: ChatRequest, model: str, stream: bool, provider_id: str = "") -> Call:
    """Return the call for the next message. Raises InvalidRequestError for an option that the endpoint refuses."""
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
        body.update(previous_response_id=request.previous_response_id, store=request.store)
    if request.reasoning is not None:
        body["reasoning"] = {"effort": effort_of(request.reasoning)}
    return call_of(PATH, body, request, stream, provider_id, tools)


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
    """Return the tool without the level "function" of chat; a tool of another type, such as "mcp", stays as it is."""
    function = tool.get("function")
    return {"type": "function", **function} if isinstance(function, Mapping) else dict(tool)


def find_error(
    status: int, headers: Mapping[str, str], body: bytes, value: object, asked: ErrorContext
) -> ProviderError | None:
    """Return the error that a whole reply reports, or None; a "failed" one may have text, so ``reply`` raises it."""
    if 200 <= status < 300 and isinstance(value, dict) and value.get("status") == "failed":
        return None
    return lmstudio_errors.find_error(status, headers, body, value, asked)


def _note_lost_conversation(response: Mapping[str, Any], call: Call) -> None:
    """Have the caller warned if the model did not see the conversation that it was to continue."""
    if call.continues and response.get("previous_response_id", "") is None:
        call.warnings.append(
            ConversationLostWarning(
                "the conversation began anew: this server keeps no replies, and ignored previous_response_id, as "
                "Ollama does; send the whole conversation each time, as Conversation does"
            )
        )


def failure(response: Mapping[str, Any], body: str, asked: ErrorContext) -> ProviderError:
    """Return the error that a ``response`` failed with."""
    fault = find_fault(response) or ErrorBody("the response failed, and the server gave no reason")
    return lmstudio_errors.fault_error(fault, 200, {}, body, asked)


def items_of(output: object) -> list[dict[str, Any]]:
    """Return the items of the ``output`` of a stream; raises ProtocolError."""
    items = member({"output": output or []}, "output", list, "the response")
    return [member({"item": item}, "item", dict, "the output") for item in items]


def texts_of(items: Sequence[Mapping[str, Any]], kind: str) -> list[str]:
    """Return the texts of one kind in some items, in their order."""
    return [text for item in items for _, each, text in item_texts(item) if each == kind]


def item_texts(item: Mapping[str, Any]) -> Iterator[tuple[int, str, str]]:
    """Yield the index, the kind and the text of each part of an item that is answer or reasoning.

    Raises ProtocolError for a part that should have a text and has none.
    """
    # OpenAI sends only a summary of the reasoning.
    content = item.get("content") or item.get("summary")
    if item.get("type") in ("message", "reasoning") and content:
        for index, part in enumerate(member({"content": content}, "content", list, "an item of the reply")):
            kind = part_kind(part)
            if kind is not None:
                yield index, kind, content_text(part.get("text"))


def part_kind(part: object) -> str | None:
    """Return ANSWER or REASONING for a part, None if it is neither."""
    return {ANSWER: ANSWER, REASONING: REASONING, "summary_text": REASONING}.get(str(mapping(part).get("type")))


def call_pieces(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the calls among some items, in the form of chat."""
    return [call_piece(item) for item in items if item.get("type") == "function_call"]


def call_piece(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the call that an item is, in the form of chat."""
    return {"id": item.get("call_id"), "function": {"name": item.get("name"), "arguments": item.get("arguments")}}


def finish_reason(status: object, response: Mapping[str, Any], called: bool) -> str | None:
    """Return why a reply ended, in the words of chat."""
    if status == "completed":
        # Ollama's word for a reply that was cut, too.
        limit, used = count(response.get("max_output_tokens")), read_usage(response.get("usage"))
        if limit and used and (used.completion_tokens or 0) >= limit:
            return "length"
        return "tool_calls" if called else "stop"
    if status == "incomplete":
        reason = text_or_none(mapping(response.get("incomplete_details")).get("reason"))
        return "length" if reason == "max_output_tokens" else reason or "incomplete"
    return text_or_none(status)


def read_usage(value: object) -> Usage | None:
    """Return the tokens that a reply reports, None if it reports none."""
    return openai.read_usage(value, "input_tokens", "output_tokens")


_TEXTS = {"response.output_text": ANSWER, "response.reasoning_text": REASONING}
_CALL = "function_call"
# The fields of the events that end something, which hold all of it; of those that are not listed it is "text".
_WHOLE = {"response.function_call_arguments": "arguments", "response.content_part": "part"}


class ResponsesStream(TypedStream):
    """Reads one reply: whole, or makes chunks of the events of its stream.

    In a stream, each text comes up to four times: in deltas, and whole at the end of its part, of its item and of the
    reply. A whole text adds only the part of it that had not come before.
    """

    _END = "no response.completed"

    def __init__(self, call: Call, asked: ErrorContext, started: float) -> None:
        super().__init__(call, asked, started)
        # The key of each call, by its place and its id, and of the last call that began in a place.
        self._calls: dict[tuple[str, str], str] = {}
        self._last_call: dict[str, str] = {}
        # The texts so far, by kind, item and part.
        self._came: dict[tuple[str, str, str], GrowingText] = {}

    def _read_reply(self, value: Any) -> ProviderError | None:
        items = self._tools.objects(member(value, "output", list, "the reply"), "an item of the output")
        self._content("".join(texts_of(items, ANSWER)), "".join(texts_of(items, REASONING)))
        self._tools.add(call_pieces(items), whole=True)
        self._usage = read_usage(value.get("usage"))
        if value.get("status") == "failed":
            return failure(value, json.dumps(value), self._asked)
        self._finish_reason = finish_reason(value.get("status"), value, bool(self._tools.calls()))
        _note_lost_conversation(value, self._call)
        return None

    def _take(self, kind: str, value: dict[str, Any], data: str) -> tuple[str, str]:
        what, _, step = kind.rpartition(".")
        place, index = _place(value, value.get("item_id")), value.get("content_index") or 0
        whole = step == "done"
        if what == "response":
            return self._response(step, mapping(value.get("response")), data)
        if what == "response.output_item":
            return self._item(value)
        if step in ("delta", "done"):
            text: Any = value.get(_WHOLE.get(what, "text") if whole else "delta")
            if what == "response.function_call_arguments":
                self._add_call(self._last_call.get(place, place), {"name": value.get("name")}, text, whole)
            elif what in _TEXTS:
                return self._said(_TEXTS[what], place, index, text, whole)
            elif what == "response.content_part" and part_kind(text) is not None:
                return self._said(str(part_kind(text)), place, index, text.get("text"), whole)
        return "", ""

    def _said(self, kind: str, place: str, index: object, text: object, whole: bool) -> tuple[str, str]:
        added = self._new((kind, place, str(index)), text, whole)
        return (added, "") if kind == ANSWER else ("", added)

    def _add_call(self, place: str, item: Mapping[str, Any], arguments: object, whole: bool) -> None:
        """Keep the id and the name of a call, and the new part of its arguments."""
        if isinstance(arguments, dict):
            arguments = json.dumps(arguments, ensure_ascii=False)
        if isinstance(arguments, (str, type(None))):  # anything else is malformed: check() raises that at the end
            arguments = self._new((_CALL, place, ""), arguments, whole)
        self._tools.add_to(place, call_piece({**item, "arguments": arguments}))

    def _new(self, where: tuple[str, str, str], text: object, whole: bool) -> str:
        """Return the part of ``text`` that had not come; raises ProtocolError if it is not text."""
        came, new = self._came.setdefault(where, GrowingText()), content_text(text)
        if whole:
            before = came.whole() if len(new) > came.length else new  # not joined for each of many ends
            new = new[len(before) :] if new.startswith(before) else ""
        came.add(came.mended(new))
        return new

    def _place_of_call(self, place: str, item: Mapping[str, Any]) -> str:
        """Return the key of a call, another for each call, even if the server gives all calls the same index."""
        id_ = str(item.get("call_id") or item.get("id") or "")
        found = self._calls.get((place, id_)) or self._calls.get((place, ""))
        if found is None:
            found = f"{place} {id_}" if id_ and place in self._last_call else self._last_call.get(place, place)
            self._last_call[place] = found
        self._calls[place, id_] = found
        return found

    def _item(self, value: Mapping[str, Any]) -> tuple[str, str]:
        item = member(value, "item", dict, "an event of the stream")
        place = _place(value, item.get("id"))
        if item.get("type") == "function_call":
            place = self._place_of_call(place, item)
            self._add_call(place, item, item.get("arguments"), whole=True)
        said = [self._said(kind, place, index, text, whole=True) for index, kind, text in item_texts(item)]
        return "".join(text for text, _ in said), "".join(reasoning for _, reasoning in said)

    def _response(self, step: str, response: Mapping[str, Any], data: str) -> tuple[str, str]:
        self._id = self._id or text_or_none(response.get("id"))
        self._model = self._model or text_or_none(response.get("model"))
        if step not in ("completed", "incomplete", "failed"):
            return "", ""
        self._usage = read_usage(response.get("usage"))
        items = items_of(response.get("output"))
        calls = call_pieces(items)
        if calls and len(calls) >= len(self._tools.calls()):  # they are whole, unlike the pieces before
            self._tools = ToolCallAssembly(self._call.tools)
            self._tools.add(calls, whole=True)
        text, reasoning = (_rest(texts_of(items, kind), self._all_that_came(kind)) for kind in (ANSWER, REASONING))
        if step == "failed" or find_fault(response) is not None:
            self._content(text, reasoning)
            raise failure(response, data, self._asked)
        _note_lost_conversation(response, self._call)
        self._finish_reason, self.done = finish_reason(step, response, bool(self._tools.calls())), True
        return text, reasoning

    def _all_that_came(self, kind: str) -> list[str]:
        return [came.whole() for (each, _, _), came in self._came.items() if each == kind]


def _place(value: Mapping[str, Any], id_: object) -> str:
    """Return the index of the item that an event is about, else its id."""
    index = value.get("output_index")
    return str(id_ if index is None else index)


def _rest(texts: Sequence[str], came: Sequence[str]) -> str:
    """Return the part of the ``texts`` of a whole reply that had not come."""
    whole, before = "".join(texts), "".join(came)
    if whole.startswith(before):
        return whole[len(before) :]
    # They differ, perhaps only in blanks: a text counts as new if it neither contains nor is part of one that came.
    known = {each.strip() for each in came if each.strip()}
    few = known if len(known) * len(texts) <= _MOST_COMPARED else ()
    return "".join(
        text
        for text in texts
        if text.strip() not in known and not any(each in text or text.strip() in each for each in few)
    )


# Comparing takes time for each pair of texts; no real reply has more of them.
_MOST_COMPARED = 1000


reply = ResponsesStream.reply
DIALECT = lmstudio.DIALECT._replace(
    chat_call=chat_call,
    reply=reply,
    accumulator=ResponsesStream,
    find_error=find_error,
)
