"""Ollama's own endpoints that run a model: chat, generate and embed."""

from __future__ import annotations

import json
import math
from typing import Any, Mapping

from ._examples import vector
from ._generate import Generated
from ._ollama_checks import (
    BOOL,
    RUN,
    TEXT,
    Fields,
    check_fields,
    check_format,
    check_images,
    check_messages,
    check_options,
    check_tools,
    seconds,
    wrong,
)
from ._ollama_json import lines, refused, whole
from ._ollama_models import KEEP_ALIVE_S, STAMP, Shelf, remote
from ._ollama_run import Ask, Outcome, Runner
from ._replies import pieces
from ._server import Answer

_GENERATE: Fields = {**RUN, "prompt": TEXT, "system": TEXT, "raw": BOOL, "images": ((list,), "[]api.ImageData")}
_EMBED: Fields = {name: RUN[name] for name in ("model", "options", "truncate")}
_TOO_LONG = "the input length exceeds the context length"
_EMPTY = "input exceeds maximum context length and cannot be truncated further"
_NO_EMBEDDINGS = "This server does not support embeddings. Start it with `--embeddings`"
# Nanoseconds for each token; for a reply of one token, Ollama reports 1000 in all (seen).
_TOKEN_NS, _ONE_TOKEN_NS = 10_000_000, 1000


class Own:
    """The endpoints, each a method."""

    def __init__(self, shelf: Shelf, runner: Runner) -> None:
        self._shelf = shelf
        self._runner = runner

    def chat(self, body: Any) -> Answer:
        """``POST /api/chat``."""
        check_fields(body, RUN, "ChatRequest")
        form = {**body, "messages": check_messages(body.get("messages") or []), "tools": check_tools(body.get("tools"))}
        outcome = self._runner.run(_ask(body, "chat", form))
        generated, calls = outcome.generated, own_calls(outcome.generated)
        if _is_whole(body, outcome):
            message: dict[str, Any] = {"role": "assistant", "content": "".join(generated.content)}
            if generated.reasoning:
                message["thinking"] = "".join(generated.reasoning)
            if calls:
                message["tool_calls"] = calls
            return whole(_line(outcome, message=message, **_end(outcome)))
        parts: list[dict[str, Any]] = [{"content": "", "thinking": piece} for piece in generated.reasoning]
        parts += [{"content": piece} for piece in generated.content]
        parts += [{"content": "", "tool_calls": [call]} for call in calls]
        each = [_line(outcome, message={"role": "assistant", **part}, done=False) for part in parts]
        return lines([*each, _line(outcome, message={"role": "assistant", "content": ""}, **_end(outcome))])

    def generate(self, body: Any) -> Answer:
        """``POST /api/generate``."""
        check_fields(body, _GENERATE, "GenerateRequest")
        check_images(body.get("images"))
        if body.get("raw") and any(body.get(name) for name in ("template", "system", "context")):
            raise refused(400, "raw mode does not support template, system, or context")
        messages = []
        if body.get("prompt"):
            messages = [{"role": "user", "content": body["prompt"], "images": body.get("images")}]
            if body.get("system"):
                messages.insert(0, {"role": "system", "content": body["system"]})
        outcome = self._runner.run(_ask(body, "generate", {**body, "messages": messages, "tools": []}))
        generated = outcome.generated
        if _is_whole(body, outcome):
            thinking = {"thinking": "".join(generated.reasoning)} if generated.reasoning else {}
            return whole(_line(outcome, response="".join(generated.content), **thinking, **_end(outcome)))
        parts = [{"response": "", "thinking": piece} for piece in generated.reasoning]
        parts += [{"response": piece} for piece in generated.content]
        return lines(
            [*(_line(outcome, **part, done=False) for part in parts), _line(outcome, response="", **_end(outcome))]
        )

    def embed(self, body: Any) -> Answer:
        """``POST /api/embed``."""
        check_fields(body, _EMBED, "EmbedRequest")
        texts = body.get("input")
        vectors, read = self.vectors([texts] if isinstance(texts, str) else texts, body)
        value = {"model": body["model"], "embeddings": vectors, "total_duration": 1000000, "load_duration": 500000}
        return whole({**value, "prompt_eval_count": read} if read else value)

    def embeddings(self, body: Any) -> Answer:
        """``POST /api/embeddings``, the older form."""
        check_fields(body, {**_EMBED, "prompt": ((str,), "string")}, "EmbeddingRequest")
        return whole({"embedding": self.vectors([body.get("prompt") or ""], body)[0][0]})

    def vectors(self, texts: Any, body: Mapping[str, Any]) -> tuple[list[list[float]], int]:
        """Return a vector for each text, and the number of tokens read. Raise RefusedError for a wrong request."""
        model = self._shelf.find(body.get("model"), 'model "{}" not found, try pulling it first')
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise refused(400, "invalid input type")
        options = body.get("options") or {}
        check_options(options)
        size = body.get("dimensions")
        if size is not None and type(size) is not int:
            raise wrong(size, "EmbedRequest.dimensions", "int")
        if "embedding" not in model.capabilities:
            raise refused(501, _NO_EMBEDDINGS)
        keep_alive = body.get("keep_alive")
        keep_s = KEEP_ALIVE_S if keep_alive is None else seconds(keep_alive)
        room = self._shelf.room(model, options.get("num_ctx"))
        self._shelf.load(model, room, keep_s)
        tokens = [_embedded(text, room, body.get("truncate") is not False) for text in texts]
        if keep_s == 0:
            self._shelf.unload(model)
        return [_shortened(vector("".join(each)), size) for each in tokens], sum(map(len, tokens))


def _embedded(text: str, room: int, truncate: bool) -> list[str]:
    """Return the tokens of a text to embed. If it is cut, two tokens of room are left for the begin and end marks."""
    tokens = pieces(text)
    if not tokens:
        raise refused(400, _EMPTY)
    if len(tokens) <= room:
        return tokens
    if not truncate:
        raise refused(400, _TOO_LONG)
    return tokens[: max(1, room - 2)]


def _shortened(values: list[float], size: int | None) -> list[float]:
    if not size or size < 0 or size >= len(values):
        return values
    length = math.hypot(*values[:size]) or 1.0
    return [each / length for each in values[:size]]


def _ask(body: Mapping[str, Any], verb: str, form: Mapping[str, Any]) -> Ask:
    options = body.get("options") or {}
    if not 0 <= (body.get("top_logprobs") or 0) <= 20:
        raise refused(400, "top_logprobs must be between 0 and 20")
    limits = {"max_tokens": options.get("num_predict"), "stop": options.get("stop")}
    return Ask(
        name=body.get("model"),
        form={**form, **limits, "response_format": check_format(body.get("format"))},
        verb=verb,
        options=options,
        keep_alive=body.get("keep_alive"),
        think=body.get("think"),
        truncate=body.get("truncate") is not False,
    )


def own_calls(generated: Generated) -> list[dict[str, Any]]:
    """Return the calls in Ollama's form. Raise TypeError if arguments are not a JSON object."""
    calls = []
    for number, call in enumerate(generated.tool_calls):
        index = call.get("index", number)
        place = {} if index is None else {"index": index}
        function = {**place, "name": call["function"]["name"], "arguments": _arguments(call["function"]["arguments"])}
        calls.append({"id": call["id"], "function": function} if "id" in call else {"function": function})
    return calls


def _arguments(text: str) -> dict[str, Any]:
    try:
        arguments = json.loads(text or "{}")
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise TypeError(f"replies: Ollama sends the arguments of a call as an object, and {text!r} is not one")
    return arguments


def _is_whole(body: Mapping[str, Any], outcome: Outcome) -> bool:
    return body.get("stream") is False or outcome.reason in ("load", "unload")


def _line(outcome: Outcome, **fields: Any) -> dict[str, Any]:
    # Ollama repeats the name of the request, so it does not say which model answered.
    return {"model": outcome.ask.name, **remote(outcome.model), "created_at": STAMP, **fields}


def _end(outcome: Outcome) -> dict[str, Any]:
    """Return the additional fields of the last line, without those that are 0, as Go leaves them out."""
    if outcome.reason in ("load", "unload"):
        return {"done": True, "done_reason": outcome.reason}
    written, counts = outcome.generated.tokens, outcome.generated.counts
    cached = {"prompt_eval_cached_count": counts["cached_tokens"]} if "cached_tokens" in counts else {}
    spent = _ONE_TOKEN_NS if written == 1 else written * _TOKEN_NS
    values = {
        "total_duration": 3000000 + spent,
        "load_duration": 1000000,
        "prompt_eval_count": outcome.read,
        "prompt_eval_duration": 1000000,
        "eval_count": written,
        "eval_duration": spent,
    }
    sent = {name: each for name, each in values.items() if each}
    return {"done": True, "done_reason": outcome.reason, **sent, **cached}
