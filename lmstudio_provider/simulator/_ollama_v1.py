"""Ollama's ``/v1``, after OpenAI's API: models, chats, texts and vectors."""

from __future__ import annotations

import base64
import itertools
import json
import re
import struct
import time
from typing import Any, Iterator, Mapping

from ._checks import wrong_field
from ._generate import Generated
from ._ollama_checks import TEXT, Fields, check_fields, check_format, check_tools
from ._ollama_json import go_json, refused, said, v1_whole
from ._ollama_models import Shelf
from ._ollama_own import Own, own_calls
from ._ollama_run import Ask, Outcome, Runner
from ._server import Answer, RefusedError, Stream

_FINGERPRINT = "fp_ollama"
# No fields besides those that check_form always checks.
NO_FIELDS: Fields = {}
_CREATED = 1772356353
_ERRORS = {400: "invalid_request_error", 404: "not_found_error"}
_ANTHROPIC_ERRORS = {**_ERRORS, 401: "authentication_error", 503: "overloaded_error"}
_IMAGE = re.compile(r"data:(image/(jpeg|jpg|png|webp))?;base64,")


def v1_error(error: RefusedError, path: str, number: int) -> RefusedError:
    """Return an error in OpenAI's form, or for ``/v1/messages`` in Anthropic's."""
    status, text = error.answer.status, said(error)
    if path == "/v1/messages":
        what = {"type": _ANTHROPIC_ERRORS.get(status, "api_error"), "message": text}
        return RefusedError(v1_whole({"type": "error", "error": what, "request_id": f"req_{number:024x}"}, status))
    value = {"message": text, "type": _ERRORS.get(status, "api_error"), "param": None, "code": None}
    return RefusedError(v1_whole({"error": value}, status))


class V1:
    """The endpoints, each a method."""

    def __init__(self, shelf: Shelf, runner: Runner, own: Own) -> None:
        self._shelf = shelf
        self._runner = runner
        self._own = own
        self._numbers = itertools.count(1)

    def list_models(self, body: Any) -> Answer:
        """``GET /v1/models``; without models, ``data`` is null (seen)."""
        return v1_whole({"object": "list", "data": [_model(model.name) for model in self._shelf.models] or None})

    def retrieve(self, name: str) -> Answer:
        """``GET /v1/models/{name}``."""
        self._shelf.find(name)
        return v1_whole(_model(name))

    def chat(self, body: Any) -> Answer:
        """``POST /v1/chat/completions``."""
        check_form(body, "ChatCompletionRequest")
        if not body.get("messages"):
            raise refused(400, "[] is too short - 'messages'")
        check_messages(body["messages"])
        outcome = self._runner.run(v1_ask(body))
        generated = outcome.generated
        head = self._head("chatcmpl", "chat.completion", outcome)
        calls = v1_calls(generated)
        reason = "tool_calls" if calls else outcome.reason
        if body.get("stream"):
            deltas = list(_deltas(generated, calls))
            if deltas:
                deltas[0] = {"role": "assistant", **deltas[0]}
            choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
            choices.append({"index": 0, "delta": {}, "finish_reason": reason})
            return _stream(body, {**head, "object": "chat.completion.chunk"}, choices, _usage(outcome))
        message: dict[str, Any] = {"role": "assistant", "content": "".join(generated.content)}
        if generated.reasoning:
            message["reasoning"] = "".join(generated.reasoning)
        if calls:
            message["tool_calls"] = calls
        choice = {"index": 0, "message": message, "finish_reason": reason}
        return v1_whole({**head, "choices": [choice], "usage": _usage(outcome)})

    def complete(self, body: Any) -> Answer:
        """``POST /v1/completions``."""
        check_form(body, "CompletionRequest", {"prompt": TEXT, "suffix": TEXT})
        prompt = body.get("prompt")
        ask = v1_ask({**body, "messages": [{"role": "user", "content": prompt}] if prompt else []}, "generate")
        outcome = self._runner.run(ask)
        head = self._head("cmpl", "text_completion", outcome)
        content = outcome.generated.content
        if body.get("stream"):
            choices = [{"text": piece, "index": 0, "finish_reason": None} for piece in content]
            choices += [{"text": "", "index": 0, "finish_reason": outcome.reason}]
            return _stream(body, head, choices, _usage(outcome))
        choice = {"text": "".join(content), "index": 0, "finish_reason": outcome.reason}
        return v1_whole({**head, "choices": [choice], "usage": _usage(outcome)})

    def embed(self, body: Any) -> Answer:
        """``POST /v1/embeddings``."""
        check_fields(body, {"model": TEXT, "encoding_format": TEXT}, "EmbedRequest")
        form = (body.get("encoding_format") or "float").lower()
        if form not in ("float", "base64"):
            known = "Supported values: ['float', 'base64']."
            raise refused(400, f"Invalid value for 'encoding_format' = {form}. {known}")
        texts = body.get("input")
        if texts is None or texts == []:
            raise refused(400, "invalid input")
        texts = [texts] if isinstance(texts, str) else texts
        vectors, read = self._own.vectors(texts, {name: body.get(name) for name in ("model", "dimensions")})
        data = [
            {"object": "embedding", "embedding": _base64(each) if form == "base64" else each, "index": index}
            for index, each in enumerate(vectors)
        ]
        used = {"prompt_tokens": read, "total_tokens": read}
        return v1_whole({"object": "list", "data": data, "model": body["model"], "usage": used})

    def _head(self, prefix: str, object_: str, outcome: Outcome) -> dict[str, Any]:
        head = {"id": f"{prefix}-{next(self._numbers)}", "object": object_, "created": int(time.time())}
        return {**head, "model": outcome.ask.name, "system_fingerprint": _FINGERPRINT}


def check_form(body: Any, name: str, fields: Fields = NO_FIELDS) -> None:
    """Raise RefusedError if a field of the body has a wrong type."""
    check_fields(body, fields, name)
    wrong = wrong_field({**body, "tool_choice": None})  # Ollama reads only "none" of it
    if wrong:
        raise refused(400, wrong[1])
    check_tools(body.get("tools"))
    if not isinstance(body.get("reasoning"), (dict, type(None))):
        raise refused(
            400, f"json: cannot unmarshal value into Go struct field {name}.reasoning of type openai.Reasoning"
        )


def v1_ask(form: Mapping[str, Any], verb: str = "chat", think: Any = None) -> Ask:
    """Return the Ask for a request in OpenAI's form. Raise RefusedError for a wrong format."""
    effort = (form.get("reasoning") or {}).get("effort") or form.get("reasoning_effort")
    stop = form.get("stop")
    options = {"num_predict": form.get("max_tokens"), "stop": [stop] if isinstance(stop, str) else stop}
    asked = form.get("response_format") or {}
    wanted = (asked.get("json_schema") or {}).get("schema") if asked.get("type") == "json_schema" else None
    schema = check_format("json" if asked.get("type") == "json_object" else wanted)
    tools = [] if form.get("tool_choice") == "none" else form.get("tools")
    if think is None and effort:
        think = False if effort == "none" else effort
    return Ask(form.get("model"), {**form, "tools": tools, "response_format": schema}, verb, options, think=think)


def v1_calls(generated: Generated) -> list[dict[str, Any]]:
    """Return the calls in OpenAI's form, with the arguments as text."""
    calls = []
    for call in own_calls(generated):
        function = {"name": call["function"]["name"], "arguments": go_json(call["function"]["arguments"])}
        place = {"id": call.get("id", ""), "index": call["function"].get("index", 0)}
        calls.append({**place, "type": "function", "function": function})
    return calls


def check_messages(messages: Any) -> None:
    """Raise RefusedError for messages that Ollama cannot read."""
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise refused(400, "json: cannot unmarshal value into Go struct field ChatCompletionRequest.messages")
    for message in messages:
        content, calls = message.get("content"), message.get("tool_calls") or []
        if content is None and not calls:
            raise refused(400, "invalid message content type: <nil>")
        if not isinstance(content, (str, list, type(None))):
            raise refused(400, f"invalid message content type: {type(content).__name__}")
        for part in content if isinstance(content, list) else ():
            _check_part(part)
        if not isinstance(calls, list) or not all(map(_is_call, calls)):
            raise refused(400, "invalid tool call arguments")


def _check_part(part: Any) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "image_url":
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, dict) else image
        if not isinstance(url, str) or not _IMAGE.match(url):
            raise refused(400, "invalid image input")
    elif kind != "text" or not isinstance(part.get("text"), str):
        raise refused(400, "invalid message format")


def _is_call(call: Any) -> bool:
    function = call.get("function") if isinstance(call, dict) else None
    try:
        return isinstance(function, dict) and isinstance(json.loads(function["arguments"]), dict)
    except (KeyError, TypeError, ValueError):
        return False


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "library"}


def _deltas(generated: Generated, calls: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield from ({"content": "", "reasoning": piece} for piece in generated.reasoning)
    yield from ({"content": piece} for piece in generated.content)
    yield from ({"content": "", "tool_calls": [call]} for call in calls)


def _usage(outcome: Outcome) -> dict[str, Any]:
    written, counts = outcome.generated.tokens, outcome.generated.counts
    used: dict[str, Any] = {"prompt_tokens": outcome.read, "completion_tokens": written}
    used["total_tokens"] = outcome.read + written
    if "cached_tokens" in counts:
        used["prompt_tokens_details"] = {"cached_tokens": counts["cached_tokens"]}
    return used


def _stream(
    body: Mapping[str, Any], head: Mapping[str, Any], choices: list[dict[str, Any]], used: Mapping[str, Any]
) -> Stream:
    *frames, last = [v1_event({**head, "choices": [choice]}) for choice in choices]
    end = [last]
    if (body.get("stream_options") or {}).get("include_usage"):
        end.append(v1_event({**head, "choices": [], "usage": used}))
    return Stream({"Content-Type": "text/event-stream"}, frames, [*end, b"data: [DONE]\n\n"])


def v1_event(value: Mapping[str, Any], name: str = "", sort_keys: bool = False) -> bytes:
    """Return one frame of an event stream."""
    text = f"data: {go_json(value, sort_keys)}\n\n"
    return (f"event: {name}\n{text}" if name else text).encode(errors="replace")


def _base64(values: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
