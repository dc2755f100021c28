"""Ollama's endpoints, as far as the stand-in has them."""

from __future__ import annotations

import functools
import itertools
import json
from email.message import Message
from typing import Any, Callable, ClassVar, Iterable, Mapping

from ._echo import echo, echo_text, vector
from ._generate import Generated, generate
from ._replies import Replies, Script
from ._server import Answer, RefusedError, StandIn, Stream, Whole, error
from ._tokens import pieces

_VERSION = "0.33.0"
_STAMP = "2026-03-01T09:12:33.48291507Z"
_DIGEST = "sha256:" + "5" * 64
_LAYER_BYTES = 4096


class SimulatedOllama(StandIn):
    """A context manager that serves Ollama's own API at ``url``: chat, generate, embed, tags, show, ps, pull, delete.

    ``models`` are the names on disk; those with "embed" in their name do not chat. ``replies``, ``delay_s``, ``port``
    and ``requests`` are as those of SimulatedLMStudio; "reasoning_content" is what the model thinks, which it does by
    itself where ``think`` asks for it. Any model can be pulled but one whose name begins with "no-such".
    """

    headers: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        models: Iterable[str] = ("simulated-model:latest", "simulated-embed:latest"),
        replies: Replies | None = None,
        delay_s: float = 0.0,
        port: int = 0,
    ) -> None:
        super().__init__(delay_s, port)
        self.models = [_tagged(name) for name in ([models] if isinstance(models, str) else models)]
        #: Those in memory: what has answered so far.
        self.loaded: list[str] = []
        self._script = Script(replies)
        self._numbers = itertools.count(1)
        self._endpoints: dict[str, Callable[[Any], Answer]] = {
            "GET /": lambda body: _text(200, "Ollama is running"),
            "GET /api/version": lambda body: _json({"version": _VERSION}),
            "GET /api/tags": lambda body: _json({"models": [self._entry(name) for name in self.models]}),
            "GET /api/ps": lambda body: _json({"models": [self._running(name) for name in self.loaded]}),
            "POST /api/show": self._show,
            "POST /api/chat": self._chat,
            "POST /api/generate": self._generate,
            "POST /api/embed": self._embed,
            "POST /api/pull": self._pull,
            "DELETE /api/delete": self._delete,
        }

    def answer(self, endpoint: str, body: Any, headers: Message) -> Answer:
        """Answer what Ollama would."""
        if endpoint in self._endpoints:
            if not endpoint.startswith("GET") and not isinstance(body, dict):
                return error(400, "missing request body")
            return self._endpoints[endpoint](body)
        path = endpoint.partition(" ")[2]
        known = any(each.partition(" ")[2] == path for each in self._endpoints)
        return _text(405, "405 method not allowed") if known else _text(404, "404 page not found")

    def _entry(self, name: str) -> dict[str, Any]:
        details = {"parent_model": "", "format": "gguf", "family": "simulated", "families": ["simulated"]}
        details.update(parameter_size="1B", quantization_level="Q4_K_M")
        can = ["embedding"] if _embeds(name) else ["completion", "tools", "thinking"]
        digest = _DIGEST.partition(":")[2]
        entry = {"name": name, "model": name, "modified_at": _STAMP, "size": _LAYER_BYTES, "digest": digest}
        return {**entry, "details": details, "capabilities": can}

    def _running(self, name: str) -> dict[str, Any]:
        more = {"expires_at": _STAMP, "size_vram": 0, "context_length": 4096}
        entry = self._entry(name)
        return {**{key: entry[key] for key in ("name", "model", "size", "digest", "details")}, **more}

    def _show(self, body: Mapping[str, Any]) -> Answer:
        entry = self._entry(self._model(body))
        info = {"general.architecture": "simulated", "simulated.context_length": 4096}
        return _json({"details": entry["details"], "model_info": info, "capabilities": entry["capabilities"]})

    def _chat(self, body: Mapping[str, Any]) -> Answer:
        model = self._model(body, generating=True)
        # The reply is made of a request in OpenAI's form, which is what a function of the test's gets everywhere.
        messages = body.get("messages") or []
        if not messages:
            empty = {"role": "assistant", "content": ""}
            return _json(_line(model, message=empty, done=True, done_reason="load"))
        for each in messages:
            _check(each)
        asked = {**body, "response_format": _openai_format(body.get("format"))}
        asked["reasoning_effort"] = "low" if body.get("think") else "none"
        generated = self._generated(asked, echo)
        calls = [_call(number, each) for number, each in enumerate(generated.tool_calls)]
        messages_of: list[dict[str, Any]] = [{"content": "", "thinking": piece} for piece in generated.reasoning]
        messages_of += [{"content": piece} for piece in generated.content]
        messages_of += [{"content": "", "tool_calls": [call]} for call in calls]
        prompt = sum(len(pieces(str(message.get("content", "")))) for message in messages)
        end = _end(generated, prompt)
        line = functools.partial(_line, model)
        if body.get("stream", True):
            return _lines(
                [line(message={"role": "assistant", **each}, done=False) for each in messages_of],
                line(message={"role": "assistant", "content": ""}, **end),
            )
        message: dict[str, Any] = {"role": "assistant", "content": "".join(generated.content)}
        if generated.reasoning:
            message["thinking"] = "".join(generated.reasoning)
        if calls:
            message["tool_calls"] = calls
        return _json(line(message=message, **end))

    def _generate(self, body: Mapping[str, Any]) -> Answer:
        model = self._model(body, generating=True)
        generated = self._generated(body, echo_text)
        end = _end(generated, len(pieces(str(body.get("prompt", "")))))
        line = functools.partial(_line, model)
        if body.get("stream", True):
            return _lines([line(response=piece, done=False) for piece in generated.content], line(response="", **end))
        return _json(line(response="".join(generated.content), **end))

    def _generated(self, body: Mapping[str, Any], default: Callable[[Mapping[str, Any]], Any]) -> Generated:
        options = body.get("options") or {}
        for name, kind, called in (("stop", list, "array"), ("num_predict", int, "integer")):
            if name in options and not isinstance(options[name], kind):
                raise RefusedError(error(500, f'option "{name}" must be of type {called}'))
        reply = self._script.reply(body, default)
        return generate(reply, lambda number: f"call_{number:08}", options.get("num_predict"), options.get("stop"))

    def _embed(self, body: Mapping[str, Any]) -> Answer:
        model = self._model(body)
        texts = body.get("input")
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            return error(400, "invalid input type")
        if not _embeds(model):
            return error(400, "this model does not support embeddings")
        self._load(model)
        count = sum(len(pieces(text)) for text in texts)
        value = {"model": model, "embeddings": [vector(text) for text in texts], "total_duration": 1000000}
        return _json({**value, "load_duration": 500000, "prompt_eval_count": count})

    def _pull(self, body: Mapping[str, Any]) -> Answer:
        name = str(body.get("model") or "")
        begin = {"status": "pulling manifest"}
        if not name or name.startswith("no-such"):
            return _lines([begin], {"error": "pull model manifest: file does not exist"})
        layer = {"status": f"pulling {_DIGEST[7:19]}", "digest": _DIGEST, "total": _LAYER_BYTES}
        steps = [{**layer, "completed": _LAYER_BYTES * part // 4} for part in range(1, 5)]
        rest = ["verifying sha256 digest", "writing manifest", "removing unused layers"]
        if _tagged(name) not in self.models:
            self.models.append(_tagged(name))
        return _lines([begin, layer, *steps, *({"status": each} for each in rest)], {"status": "success"})

    def _delete(self, body: Mapping[str, Any]) -> Answer:
        name = self._model(body)
        self.models.remove(name)
        self.loaded = [each for each in self.loaded if each != name]
        return Whole(b"")

    def _model(self, body: Mapping[str, Any], generating: bool = False) -> str:
        """The name of the model that is asked for; raises RefusedError where it is not there, or does not chat."""
        name = str(body.get("model") or "")
        if not name:
            raise RefusedError(error(400, "model is required"))
        if _tagged(name) not in self.models:
            raise RefusedError(error(404, f"model '{name}' not found"))
        if generating and _embeds(name):
            raise RefusedError(error(400, f'"{name}" does not support chat'))
        if generating:
            self._load(_tagged(name))
        return _tagged(name)

    def _load(self, name: str) -> None:
        if name not in self.loaded:
            self.loaded.append(name)


def _check(message: Any) -> None:
    """Refuse what Ollama's decoder refuses: OpenAI's forms of parts, arguments and images."""
    message = message if isinstance(message, dict) else {}
    calls = [call.get("function") or {} for call in message.get("tool_calls") or ()]
    if not isinstance(message.get("content", ""), str):
        raise RefusedError(error(400, "json: cannot unmarshal array into Go struct field ChatRequest.messages.content"))
    if not all(isinstance(call.get("arguments", {}), dict) for call in calls):
        raise RefusedError(
            error(400, "json: cannot unmarshal string into Go struct field ChatRequest.messages.tool_calls")
        )
    if any(str(image).startswith("data:") for image in message.get("images") or ()):
        raise RefusedError(error(400, "illegal base64 data at input byte 4"))


def _tagged(name: str) -> str:
    return name if ":" in name else f"{name}:latest"


def _embeds(name: str) -> bool:
    return "embed" in name


def _openai_format(schema: object) -> object:
    if not isinstance(schema, dict):
        return None
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def _call(number: int, call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    try:
        arguments = json.loads(function["arguments"] or "{}")
    except ValueError:
        arguments = {}
    return {"id": call["id"], "function": {"index": number, "name": function["name"], "arguments": arguments}}


def _line(model: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "created_at": _STAMP, **fields}


def _end(generated: Generated, prompt: int) -> dict[str, Any]:
    """What the last line has besides: counts that are 0 are left out."""
    written = generated.tokens
    reason = "length" if generated.finish_reason == "length" else "stop"
    counts = {"prompt_eval_count": prompt, "eval_count": written}
    times = {
        "total_duration": 3000000,
        **dict.fromkeys(("load_duration", "prompt_eval_duration", "eval_duration"), 10**6),
    }
    return {"done": True, "done_reason": reason, **times, **{name: each for name, each in counts.items() if each}}


def _json(value: object) -> Whole:
    return Whole(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def _text(status: int, text: str) -> Whole:
    return Whole(text.encode(), status, {"Content-Type": "text/plain; charset=utf-8"})


def _lines(values: Iterable[Mapping[str, Any]], last: Mapping[str, Any]) -> Stream:
    def line(value: Mapping[str, Any]) -> bytes:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"

    return Stream({"Content-Type": "application/x-ndjson"}, [line(value) for value in values], [line(last)])
