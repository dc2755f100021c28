"""Generate the replies of the stand-in for LM Studio, for all its endpoints."""

from __future__ import annotations

import json
from typing import Any, Callable, Iterable, Mapping

from ._examples import SchemaError, check_schema, echo, echo_text
from ._generate import Generated, generate, text_only, usage
from ._replies import MakeReply, NextReply, Scripted, count
from ._state import FailedError, Instance


class Engine:
    """Gives the replies of the test, or the default ones that repeat the request."""

    def __init__(self, reply: NextReply) -> None:
        self._reply = reply

    def chat(self, body: Mapping[str, Any], instance: Instance) -> tuple[Generated, dict[str, Any]]:
        """Return the generated reply to a chat, whose ``body`` is in OpenAI's form, and its usage.

        Raise FailedError if the prompt is longer than the context of ``instance``.
        """
        texts = [json.dumps(message.get("content")) for message in body["messages"]]
        _check_schemas(body)
        return self._run(body, instance, texts, echo, lambda reply: reply)

    def complete(self, body: Mapping[str, Any], instance: Instance) -> tuple[Generated, dict[str, Any]]:
        """Return the same for a text to continue; without a chat template, a reply has neither thoughts nor calls."""
        return self._run(body, instance, [body["prompt"]], echo_text, text_only)

    def _run(
        self,
        body: Mapping[str, Any],
        instance: Instance,
        texts: Iterable[str],
        default: MakeReply,
        part: Callable[[Scripted], Scripted],
    ) -> tuple[Generated, dict[str, Any]]:
        read, room = count(texts), instance.context_length
        if read > room:
            raise FailedError("context_length", _engine_error(json_overflow(read, room)), read)
        reply = part(self._reply(body, default, (instance.id, instance.model)))
        generated = generate(reply, lambda number: str(100000001 + number), body.get("max_tokens"), body.get("stop"))
        return generated, usage(read, generated)


def _check_schemas(body: Mapping[str, Any]) -> None:
    """Raise FailedError if a schema of the tools or of the answer is malformed: llama.cpp makes grammars of them."""
    form = body.get("response_format") or {}
    schemas = [tool["function"].get("parameters") or {} for tool in body.get("tools") or ()]
    try:
        for schema in [*schemas, (form.get("json_schema") or {}).get("schema") or {}]:
            check_schema(schema)
    except SchemaError as error:
        text = f"Failed to initialize samplers: failed to parse grammar ({error})"
        raise FailedError("grammar", text) from error


def as_content(parts: Iterable[Mapping[str, Any]]) -> Any:
    """Return the parts of a message as OpenAI's ``content``: one text if all parts are texts, else a list."""
    parts = list(parts)
    return "".join(part["text"] for part in parts) if all(part["type"] == "text" for part in parts) else parts


def json_overflow(read: int, room: int) -> str:
    """Return the error of llama.cpp's engine for a prompt of ``read`` tokens that exceeds a context of ``room``."""
    said = f"request ({read} tokens) exceeds the available context size ({room} tokens), try increasing it"
    what = {"code": 400, "message": said, "type": "exceed_context_size_error", "n_prompt_tokens": read, "n_ctx": room}
    return json.dumps({"error": what}, separators=(",", ":"))


def _engine_error(text: str) -> str:
    # LM Studio has wrapped the engine's errors so since 0.4.20 (seen).
    return f"Engine protocol predict request returned 400: {text}"
