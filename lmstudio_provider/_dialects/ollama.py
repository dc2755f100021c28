"""Ollama's own API, as the source of its server has it (0.33): requests, replies and streams."""

from __future__ import annotations

import base64
import contextlib
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from .._core.checks import to_json
from .._core.errors import InvalidRequestError, ProtocolError, ToolArgumentsError, ToolCallWarning
from .._core.images import Image, data_url, listed
from .._core.json import loads
from .._core.message_forms import answered_calls, is_plain, name_of
from .._core.messages import Message
from .._core.ollama_options import check_keep_alive, check_places
from .._core.reasoning import OFF
from .._core.requests import ChatRequest, TextRequest
from .._core.schema.structured import structure_of
from .._core.types import Call, Chunk, Embeddings, Limits, Stats, ToolCall, Usage
from .._http.readers import NDJSONReader
from .accumulator import ReplyAccumulator
from .dialect import DecisionLimits, Dialect
from .embeddings import vector
from .errors import ErrorContext, find_fault
from .json_text import SameJSON, count, mapping, member, no_object, number, prompt_count, text_or_none, total
from .ollama_errors import fault_error, find_error
from .ollama_models import list_models, load_options
from .openai import content_text, offered

# The fields of a request that go into "options", under the same names; max_tokens is "num_predict" there.
_OPTIONS = (
    "temperature", "top_p", "top_k", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty", "seed",
    "num_ctx",
)  # fmt: skip


def version_call() -> Call:
    """Return the call that asks for the server's version."""
    return Call("GET", "/api/version")


def version_reply(value: Any) -> str:
    """Return the version in that reply; raises ProtocolError."""
    version: str = member(value, "version", str, "the reply")
    return version


def text_call(request: TextRequest, model: str, stream: bool, provider_id: str = "") -> Call:
    """Return the call that continues a text."""
    return _call("/api/generate", {"model": model, "prompt": request.prompt, "raw": True}, request, stream, provider_id)


def chat_call(request: ChatRequest, model: str, stream: bool, provider_id: str = "") -> Call:
    """Return the call for the next message. Raises InvalidRequestError for an option that Ollama does not have."""
    body: dict[str, Any] = {"model": model, "messages": _messages(request.messages)}
    if request.reasoning is not None:
        body["think"] = _think(request.reasoning)
    tools, choice = offered(request)
    names = [_tool_name(position, tool) for position, tool in enumerate(tools)]
    # Ollama has no tool_choice, so the tools that must not be called are not offered.
    if tools and choice != "none":
        body["tools"] = tools
    structure = structure_of(request.response_format)
    if structure is not None:
        body["format"] = "json" if structure.schema is None else structure.schema
    call = _call("/api/chat", body, request, stream, provider_id, tuple(names))
    if structure is not None and "tools" in body:
        call.warnings.append(
            ToolCallWarning(
                "Ollama never calls tools of a request that has a response_format; ask with the tools first, and then, "
                "with their results and without tools, for the answer in that form"
            )
        )
    return call


def _call(
    path: str,
    body: dict[str, Any],
    request: ChatRequest | TextRequest,
    stream: bool,
    provider_id: str,
    tools: tuple[str, ...] = (),
) -> Call:
    fields = vars(request)
    for name in ("logit_bias", "draft_model"):
        if fields[name] is not None:
            raise InvalidRequestError(f"{name} is not known to Ollama", hint="Leave it out")
    model = body["model"]
    body["stream"] = stream
    # Otherwise the server cuts a prompt that is too long, and does not report that. Old versions cut it anyway.
    body["truncate"] = request.on_truncation == "ignore"
    options = {name: fields[name] for name in _OPTIONS if fields[name] is not None}
    if request.max_tokens is not None:
        options["num_predict"] = request.max_tokens
    if request.stop is not None:
        options["stop"] = [request.stop] if isinstance(request.stop, str) else list(request.stop)
    check_keep_alive("ttl", request.ttl)
    keep_alive = request.keep_alive if request.ttl is None else request.ttl
    if keep_alive is not None:
        body["keep_alive"] = keep_alive
    check_places(request.extra)
    extra = dict(request.extra)
    if "reasoning_effort" in extra:  # LM Studio's name for it
        body["think"] = _think(extra.pop("reasoning_effort"))
    more = extra.pop("options", {})
    body.update(extra)
    body["options"] = {**options, **more} if isinstance(more, Mapping) else more
    content = to_json(body, "the request").encode("ascii")
    warns = request.on_truncation == "warn" and "truncate" not in request.extra
    cut = functools.partial(_cut, content) if warns else None
    return Call("POST", path, content, model, tools, provider_id, cut=cut)


def _think(reasoning: Any) -> Any:
    """Return the value of ``think``; the server refuses a word that is not among the ``thinking.values`` of a model."""
    return False if reasoning in OFF else True if reasoning == "on" else reasoning


def _cut(content: bytes) -> bytes:
    """Return the body of the same request, but let the server cut the prompt."""
    return to_json({**json.loads(content), "truncate": True}, "the request").encode("ascii")


def _tool_name(position: int, tool: Mapping[str, Any]) -> str:
    name = mapping(tool.get("function")).get("name")
    if not isinstance(name, str):
        raise InvalidRequestError(f"tools[{position}] has no function with a name", hint="Give Tools, or OpenAI's form")
    return name


def _messages(messages: Sequence[Message | Mapping[str, Any]]) -> list[dict[str, Any]]:
    forms = [each.as_dict() if isinstance(each, Message) else each for each in messages]
    if all(map(is_plain, forms)):
        return list(map(dict, forms))
    # Images beside the text are in Ollama's own form, which allows more kinds of them.
    images = [[] if isinstance(each, Message) else listed(each.get("images")) for each in messages]
    plain = [each if isinstance(each, Message) else Message.from_dict({**each, "images": None}) for each in messages]
    answered = answered_calls([each.as_dict() for each in plain])
    return [
        _message(each, beside, answered.get(position, {})) for position, (each, beside) in enumerate(zip(plain, images))
    ]


def _message(message: Message, beside: Sequence[Image], answered: Mapping[str, Any]) -> dict[str, Any]:
    """Return the message with the images ``beside`` its text; ``answered`` is the call whose result it is."""
    parts = [{"type": "text", "text": message.content or ""}]
    if message.content is not None and not isinstance(message.content, str):
        parts = list(message.content)  # type: ignore[arg-type]
    wire: dict[str, Any] = {"role": message.role, "content": "".join(_text(part) for part in parts)}
    images = [_image(part) for part in parts if part.get("type") == "image_url"] + list(map(_base64, beside))
    if images:
        wire["images"] = images
    if message.reasoning:
        wire["thinking"] = message.reasoning
    if message.tool_calls:
        functions = [{"name": call.name, "arguments": _arguments(call)} for call in message.tool_calls]
        wire["tool_calls"] = [
            {"id": call.id, "function": function} if call.id else {"function": function}
            for call, function in zip(message.tool_calls, functions)
        ]
    if message.role == "tool":
        name, id_ = message.name or name_of(answered), message.tool_call_id or answered.get("id")
        wire.update({"tool_name": name} if name else {}, **({"tool_call_id": id_} if id_ else {}))
    return wire


def _text(part: Mapping[str, Any]) -> str:
    if part.get("type") not in ("text", "image_url"):
        raise InvalidRequestError(
            f"a part of type {part.get('type')!r} is not known to Ollama", hint="Send text and images"
        )
    text = part.get("text", "")
    if not isinstance(text, str):
        raise InvalidRequestError(f"the text of a part is {type(text).__name__}, not text")
    return text


def _image(part: Mapping[str, Any]) -> str:
    """Return the base64 of a data URL."""
    url = part.get("image_url")
    text = url.get("url") if isinstance(url, Mapping) else url
    head, _, data = str(text).partition(",")
    if not head.startswith("data:") or not head.endswith(";base64"):
        hint = "Use Message.user(images=)"
        raise InvalidRequestError("an image is not a base64 data: URL, and Ollama takes no other", hint=hint)
    return data


def _base64(image: Image) -> str:
    """Return the base64 of an image: of text that is base64 already, or of anything that Message.user() takes."""
    if isinstance(image, str):
        with contextlib.suppress(ValueError):
            base64.b64decode(image, validate=True)
            return image
    return data_url(image).partition(",")[2]


def _arguments(call: ToolCall) -> dict[str, Any]:
    """Return the arguments as an object, which Ollama requires, even if the model wrote something else."""
    try:
        return call.arguments
    except ToolArgumentsError:
        return {"arguments": call.raw_arguments}


def read_texts(value: Any) -> tuple[str, str, Any]:
    """Return the text, the reasoning and the tool calls of a reply, or of a line of one; raises ProtocolError."""
    where = value if isinstance(value, dict) and "response" in value else member(value, "message", dict, "the reply")
    text = where.get("response", where.get("content"))
    return content_text(text), content_text(where.get("thinking")), where.get("tool_calls")


def finish_reason(value: Mapping[str, Any], called: bool) -> str | None:
    """Return why a reply ended, in the words that all dialects use; None if it has not ended."""
    if not value.get("done"):
        return None
    reason = text_or_none(value.get("done_reason")) or "stop"
    return "tool_calls" if called and reason == "stop" else reason


def read_usage(value: Mapping[str, Any]) -> Usage | None:
    """Return the tokens that a reply reports. Ollama leaves out a count of 0, as it does one that is not known."""
    prompt, generated = prompt_count(value.get("prompt_eval_count")), count(value.get("eval_count"))
    cached = count(value.get("prompt_eval_cached_count"))
    if prompt is None and generated is None and cached is None:
        return None
    return Usage(prompt, generated, total(prompt, generated), cached_tokens=cached)


def load_hint(call: Call) -> str:
    """Return what to add to the hint if ``call`` ran out of time while its model may have been loading."""
    if call.path not in ("/api/chat", "/api/generate", "/api/embed"):
        return ""
    return (
        "; Ollama stops loading a model if the client leaves, so set a limit that is longer than that takes, or call "
        f"load({call.model!r}) first"
    )


def read_stats(value: Mapping[str, Any], usage: Usage | None, first_s: float | None, duration_s: float) -> Stats:
    """Return the server's nanoseconds as seconds, completed by measured seconds."""
    generation, prompt, load = (_seconds(value, name) for name in ("eval", "prompt_eval", "load"))
    first = first_s if prompt is None else prompt + (load or 0.0)
    generation = duration_s - (first_s or 0.0) if generation is None else generation
    tokens = usage.completion_tokens if usage else None
    return Stats(
        # One token has no rate: the server reports 1000 ns for it.
        tokens_per_second=tokens / generation if tokens and tokens > 1 and generation > 0 else None,
        time_to_first_token_s=first if first_s is None else first_s,
        generation_time_s=generation,
        model_load_time_s=load,
        stop_reason=text_or_none(value.get("done_reason")),
    )


def _seconds(value: Mapping[str, Any], name: str) -> float | None:
    nanoseconds = number(value.get(f"{name}_duration"))
    return None if nanoseconds is None else nanoseconds / 1e9


def embed_call(
    texts: Sequence[str],
    model: str,
    truncate: bool,
    *,
    num_ctx: int | None = None,
    keep_alive: float | str | None = None,
) -> Call:
    """Return the call for vectors; if ``truncate``, the server cuts a text that is too long, else it refuses all."""
    body = {"model": model, "input": list(texts), "truncate": truncate, **load_options(num_ctx, keep_alive)}
    content = to_json(body, "the texts").encode("ascii")
    return Call("POST", "/api/embed", content, model, model_kind="embedding")


def embed_reply(value: Any, call: Call, texts: int) -> Embeddings:
    """Return the vectors of so many ``texts``; raises ProtocolError."""
    found = member(value, "embeddings", list, "the reply")
    tokens = prompt_count(value.get("prompt_eval_count"))
    usage = None if tokens is None else Usage(tokens, total_tokens=tokens)
    vectors = [vector(each, call, usage) for each in found]
    if len(vectors) != texts or len({len(each) for each in vectors}) > 1:
        raise ProtocolError(f"the reply has {len(vectors)} vectors for {texts} texts, or of several lengths", sent=True)
    return Embeddings(vectors, text_or_none(value.get("model")) or call.model, call.model, usage)


def _only_text(line: Any) -> str | None:
    """Return the text of a line, if it says nothing else that the lines before it have not said."""
    try:
        message = line["message"]
        text = message["content"]
    except (LookupError, TypeError):
        return None
    more = (
        len(message) > 2
        or "role" not in message
        or {"response", "status"} & line.keys()
        or line.get("done")
        or line.get("error")
    )
    return text if isinstance(text, str) and not more and line.get("object") != "error" else None


class _Line:
    """Parses the lines of a stream. Of most of them only the text matters: their value is a tuple of it."""

    def __init__(self) -> None:
        self._same = SameJSON(_only_text, "created_at")

    def parse(self, line: str) -> Any:
        """Return the value of ``line``; raises ValueError."""
        if same := self._same.text_of(line):
            return (same,)  # which no JSON is
        value = loads(line)
        if text := _only_text(value):
            self._same.learn(line, text)
        return value


def reader(limits: Limits) -> NDJSONReader:
    """Return a reader of the lines of a stream."""
    return NDJSONReader(limits, _Line().parse)


class OllamaStream(ReplyAccumulator):
    """Reads one reply to a chat, or to a text: whole, or makes chunks of the lines of its stream."""

    _END = 'no line with "done": true'

    def __init__(self, call: Call, asked: ErrorContext, started: float) -> None:
        super().__init__(call, asked, started)
        self._last: Mapping[str, Any] = {}
        self._has_message = False

    def _read_reply(self, value: Any) -> None:
        read_texts(value)  # a line of a stream may go without
        self.feed(value)

    def feed(self, event: Any) -> Chunk | None:
        """Return the chunk of a line, if any; raises ProtocolError, or the error that the line reports."""
        if type(event) is tuple:  # most lines
            return self._plain(event[0])
        fault = find_fault(event)
        if fault is not None:
            raise fault_error(fault, 200, {}, json.dumps(event), self._asked)
        if not isinstance(event, dict):
            raise no_object("a line", event)
        is_end = event.get("done") and event.get("message") is event.get("response") is None
        content, reasoning, calls = ("", "", None) if is_end else read_texts(event)
        self._has_message = self._has_message or not is_end
        if calls:
            self._tools.add(calls, whole=True)  # one or several a line; older servers give them neither id nor index
        self._model = self._model or text_or_none(event.get("model"))
        if event.get("done"):
            self._last, self._usage, self.done = event, read_usage(event), True
            self._finish_reason = finish_reason(event, bool(self._tools.calls()))
        if "response" in event:
            self._raw = self._thoughts.over = True
        return self._content(content, reasoning)

    def finish(self) -> list[Chunk]:
        """Return the last chunks; raises ProtocolError also if no line had a message."""
        if self.done and not self._has_message:
            raise ProtocolError("no line of the reply has a 'message'", sent=True)
        return super().finish()

    def _read_stats(self, first_s: float | None, duration_s: float) -> Stats:
        return read_stats(self._last, self._usage, first_s, duration_s)


reply = OllamaStream.reply
DIALECT = Dialect(
    chat_call=chat_call,
    text_call=text_call,
    reply=reply,
    accumulator=OllamaStream,
    reader=reader,
    stream_type="application/x-ndjson",
    find_error=find_error,
    list_models=list_models,
    embed_call=embed_call,
    embed_reply=embed_reply,
    decisions=DecisionLimits((2, 26), (2, 26), needs_descriptions=True, takes_data_urls=False),
    load_hint=load_hint,
    refuses_long_texts=True,
    no_reasoning="Some models always think: ask for reasoning='low', or take one whose reasoning_options have 'off'",
)
