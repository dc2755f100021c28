"""The OpenAI-compatible endpoints for chat and text, as LM Studio speaks them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from .._core.checks import to_json
from .._core.errors import InvalidRequestError, ProtocolError
from .._core.growing_text import with_pairs
from .._core.message_forms import answered_calls, calls_of, in_openai_form, name_of
from .._core.messages import Message, Tool
from .._core.ollama_options import refuse_for_lm_studio
from .._core.reasoning import OFF
from .._core.requests import ChatRequest, TextRequest
from .._core.schema.structured import structure_of
from .._core.types import Call, Chunk, Completion, Usage
from .._http.readers import Event
from .accumulator import ReplyAccumulator
from .errors import ErrorBody, ErrorContext, find_fault
from .json_text import SameJSON, count, mapping, member, no_object, parse, preview, prompt_count, text_or_none
from .lmstudio_errors import fault_error

# The fields of a request that go into the body under their own names, if they are set.
_FIELDS = (
    "max_tokens", "temperature", "top_p", "top_k", "min_p", "repeat_penalty", "presence_penalty",
    "frequency_penalty", "stop", "seed", "logit_bias", "ttl", "draft_model",
)  # fmt: skip


def text_call(request: TextRequest, model: str, stream: bool, provider_id: str = "") -> Call:
    """Return the call that continues a text. Raises InvalidRequestError for a value that JSON cannot hold."""
    return _call("/v1/completions", {"model": model, "prompt": request.prompt}, request, stream, provider_id)


def chat_call(request: ChatRequest, model: str, stream: bool, provider_id: str = "") -> Call:
    """Return the call for the next message. Raises InvalidRequestError for a value that JSON cannot hold."""
    tools, choice = offered(request)
    body: dict[str, Any] = {"model": model, "messages": plain_messages(request)}
    if choice is not None:
        body["tool_choice"] = choice
    if tools:
        body["tools"] = tools
    schema = json_schema(request)
    if schema is not None:
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return _call("/v1/chat/completions", body, request, stream, provider_id, tool_names(tools))


def json_schema(request: ChatRequest) -> dict[str, Any] | None:
    """Return the schema that the answer has to fit, with its name, or None.

    Raises InvalidRequestError for JSON without a schema.
    """
    structure = structure_of(request.response_format)
    if structure is None:
        return None
    if structure.schema is None:
        raise InvalidRequestError(
            "response_format={'type': 'json_object'}, which LM Studio refuses",
            hint="Give a JSON schema, or a dataclass type",
        )
    return {"name": structure.name, "strict": True, "schema": structure.schema}


def offered(request: ChatRequest) -> tuple[list[dict[str, Any]], str | None]:
    """Return the tools to offer, in OpenAI's form, and the word for the choice; raises InvalidRequestError."""
    tools = [tool.as_dict() if isinstance(tool, Tool) else dict(tool) for tool in request.tools]
    if request.tool_choice in (None, "auto", "none", "required"):
        return tools, request.tool_choice
    # LM Studio refuses the object that names one function; offering no other tool means the same.
    tools = [tool for tool in tools if name_of(tool) == request.tool_choice]
    if not tools:
        raise InvalidRequestError(
            f"tool_choice={request.tool_choice!r} is not a tool of the request",
            hint="Give 'auto', 'none', 'required', or the name of one of the tools",
        )
    return tools, "required"


def tool_names(tools: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the names of tools in OpenAI's form, without those that have none."""
    return tuple(filter(None, map(name_of, tools)))


def plain_messages(request: ChatRequest) -> list[dict[str, Any]]:
    """Return the messages in OpenAI's form, with content and with an id for each tool call."""
    return _with_ids([_message(each) for each in request.messages])


def _call(
    path: str,
    body: dict[str, Any],
    request: ChatRequest | TextRequest,
    stream: bool,
    provider_id: str,
    tools: tuple[str, ...] = (),
) -> Call:
    model = body["model"]
    refuse_for_lm_studio(num_ctx=request.num_ctx, keep_alive=request.keep_alive)
    if request.ttl is not None and request.ttl < 1:  # -5 was seen to mean the default
        raise InvalidRequestError(
            f"ttl={request.ttl} has no effect: LM Studio takes its default, usually an hour",
            hint="Give seconds; lm.native.load() loads a model that stays, and lm.native.unload() unloads one",
        )
    fields = vars(request)
    body.update([(name, fields[name]) for name in _FIELDS if fields[name] is not None])
    if request.reasoning is not None:
        body["reasoning_effort"] = effort_of(request.reasoning)
    body["stream"] = stream
    if stream:
        body["stream_options"] = {"include_usage": True}
    body.update(request.extra)
    return Call("POST", path, to_json(body, "the request").encode("ascii"), model, tools, provider_id)


def effort_of(reasoning: str) -> str:
    """Return the word of OpenAI's API; LM Studio ignores "off" there (bug-tracker 2413)."""
    return "none" if reasoning in OFF else reasoning


def _with_ids(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give each tool call an id, and each result that of its call; LM Studio refuses an empty one (bug-tracker 830)."""
    answered = answered_calls(messages)
    for position, message in enumerate(messages):
        for place, call in enumerate(calls_of(message)):
            call["id"] = call.get("id") or f"call_{position}_{place}"
    for position, call in answered.items():
        messages[position]["tool_call_id"] = call["id"]
    return messages


def _message(message: Message | Mapping[str, Any]) -> dict[str, Any]:
    # Every message needs content, one with tool calls too: null, or none at all, is refused.
    plain = {"content": "", **in_openai_form(message.as_dict() if isinstance(message, Message) else message)}
    if "reasoning" in plain:  # which Ollama's /v1 reads; others read the older name, if any, and each ignores the other
        plain["reasoning_content"] = plain["reasoning"]
    return plain


def is_first(choice: Mapping[str, Any]) -> bool:
    """Return True if a choice is the reply; with ``n`` there are more replies to the same request."""
    return str(choice.get("index") or 0) == "0"


def content_text(content: object) -> str:
    """Return the text of a ``content`` or of its parts, "" if it is null or absent; raises ProtocolError for others."""
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, list) and all(mapping(part).get("type") in ("text", "output_text") for part in content):
        return with_pairs("".join(member(part, "text", str, "a part of the reply") for part in content))
    what = f"the reply's content is {type(content).__name__}, not text: {preview(json.dumps(content))}"
    raise ProtocolError(what, hint="Ask again; if it happens each time, use another model", sent=True)


def _texts(message: Mapping[str, Any]) -> tuple[str, str]:
    # reasoning_content is a setting of 0.3.9, reasoning came with gpt-oss in 0.3.23; never both.
    reasoning = content_text(message.get("reasoning_content") or message.get("reasoning"))
    return content_text(message.get("content")), reasoning


def read_usage(value: object, prompt: str = "prompt_tokens", completion: str = "completion_tokens") -> Usage | None:
    """Return the tokens that a reply reports, under the names of its endpoint; None if it reports none."""
    if not isinstance(value, dict):
        return None
    counts = (
        prompt_count(value.get(prompt)),
        count(value.get(completion)),
        count(value.get("total_tokens")),
        count(_detail(value, completion, "reasoning_tokens")),
        count(_detail(value, prompt, "cached_tokens")),
    )
    return None if counts == (None,) * 5 else Usage(*counts)


def _detail(usage: Mapping[str, Any], name: str, detail: str) -> object:
    return mapping(usage.get(f"{name}_details")).get(detail)


def _only_text(event: Any) -> str | None:
    """Return the text of an event, if it says nothing else that the events before it have not said."""
    try:
        choice = event["choices"][0]
        delta, more = choice["delta"], event.get("error") or event.get("usage") or event.get("stats")
        text = delta["content"]
    except (LookupError, TypeError):
        return None
    more = more or choice.get("index") or choice.get("finish_reason") or "text" in choice
    more = more or delta.get("tool_calls") or delta.get("reasoning_content") or delta.get("reasoning")
    return text if isinstance(text, str) and not more and event.get("object") != "error" else None


class ChatStream(ReplyAccumulator):
    """Reads one reply to a chat, or to a text: whole, or makes chunks of the events of its stream."""

    def __init__(self, call: Call, asked: ErrorContext, started: float) -> None:
        super().__init__(call, asked, started)
        # The choices before the first one that is the reply; None as soon as that has come.
        self._others: list[Any] | None = []
        self._has_message = False
        self._same = SameJSON(_only_text)

    def feed(self, event: Event) -> Chunk | None:
        """Return the chunk of ``event``, if any; raises ProtocolError, or the error that the event reports."""
        data = event.data
        if event.event == "message" and (same := self._same.text_of(data)):
            return self._plain(same)
        if not data.startswith("{") and (event.is_done() or event.is_blank()):
            self.done = self.done or event.is_done()
            return None
        value = parse(data, "an event of the stream")
        known = self._others is None and self._id and self._model and event.event == "message"
        if known and (text := _only_text(value)):
            self._same.learn(data, text)
            return self._content(text, "")
        fault = find_fault(value)
        said = value.get("message") or value.get("detail") if isinstance(value, dict) else None
        if fault is None and (event.event == "error" or (isinstance(said, str) and "choices" not in value)):
            fault = ErrorBody(said if isinstance(said, str) else event.data)
        if fault is not None:
            raise fault_error(fault, 200, {}, event.data, self._asked)
        if not isinstance(value, dict):
            raise no_object("an event", value)
        self._id = self._id or text_or_none(value.get("id"))
        self._model = self._model or text_or_none(value.get("model"))
        self._usage = read_usage(value.get("usage")) or self._usage
        self._stats = value.get("stats") or self._stats
        # The event that carries the usage has no choices, or an empty list of them.
        choices = [] if value.get("choices") is None else member(value, "choices", list, "an event of the stream")
        for choice in choices:
            if is_first(member({"choice": choice}, "choice", dict, "an event of the stream")):
                self._others = None
                return self._choice(choice)
        if self._others is not None:
            self._others += choices
        return None

    def _choice(self, choice: Mapping[str, Any]) -> Chunk | None:
        self._finish_reason = text_or_none(choice.get("finish_reason")) or self._finish_reason
        if isinstance(choice.get("text"), str) and not choice.get("delta"):  # of /v1/completions
            self._raw = self._thoughts.over = True
            return self._content(choice["text"], "")
        if choice.get("delta") is not None:
            return self._message(member(choice, "delta", dict, "a choice in the stream"))
        if choice.get("message") is not None:
            return self._whole_message(member(choice, "message", dict, "a choice in the stream"))
        return None

    def _whole_message(self, message: Mapping[str, Any]) -> Chunk | None:
        """Return the chunk of a message in place of a piece; raises ProtocolError unless it is all, or repeats it."""
        calls, said = message.get("tool_calls"), _texts(message)
        if not (calls or any(said)):
            return None
        parts = list(zip(said, (self.text, self.reasoning)))
        if self._has_message or not all(new.endswith(came.whole()) for new, came in parts if new):
            what = "a 'message' in the stream does not repeat what came before"
            raise ProtocolError(what, hint="Ask with chat(), without a stream", sent=True)
        self._has_message = True
        if not self._tools.calls():
            self._tools.add(calls, whole=True)
        new = ["" if came.length else new for new, came in parts]
        return self._content(new[0], new[1])

    def _message(self, message: Mapping[str, Any], whole: bool = False) -> Chunk | None:
        self._tools.add(message.get("tool_calls"), whole)
        return self._content(*_texts(message))

    def _read_reply(self, value: Any) -> None:
        choices = member(value, "choices", list, "the reply")
        if not choices:
            raise ProtocolError("the reply has no choices: the list is empty", sent=True)
        choice = next((each for each in choices if isinstance(each, dict) and is_first(each)), choices[0])
        if not isinstance(choice, dict) or not isinstance(choice.get("text"), str):
            self._message(member(choice, "message", dict, "a choice of the reply"), whole=True)
        self._choice({**choice, "delta": None, "message": None})
        self._usage, self._stats = read_usage(value.get("usage")), value.get("stats")

    def _only_others(self) -> list[Chunk]:
        """Return the chunks of the choice that came first, if none was the reply."""
        others, self._others = self._others or [], None
        chunks = [self._choice(each) for each in others if each.get("index") == others[0].get("index")]
        return [chunk for chunk in chunks if chunk is not None]

    def finish(self) -> list[Chunk]:
        """Return the last chunks; raises ProtocolError also for a malformed choice."""
        return [*self._only_others(), *super().finish()]

    def completion(self, finish_reason: str | None = None) -> Completion:
        """Return the reply so far."""
        if self._others:
            with contextlib.suppress(ProtocolError):  # in a choice that is only read at the end
                self._only_others()
        return super().completion(finish_reason)


reply = ChatStream.reply
