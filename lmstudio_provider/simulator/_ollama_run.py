"""Generate the replies of the stand-in for Ollama, for all its endpoints."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Mapping

from ._engine import json_overflow
from ._examples import echo, echo_text
from ._generate import Generated, generate
from ._ollama_checks import check_options, seconds
from ._ollama_json import refused
from ._ollama_models import KEEP_ALIVE_S, OllamaModel, Shelf
from ._replies import NextReply, Script, count, pieces

_NO_VISION = "Multimodal data provided, but model does not support multimodal requests."
_LEVELS = ("low", "medium", "high", "max")


@dataclass(frozen=True)
class Ask:
    """A request to generate, from any endpoint."""

    name: Any
    form: Mapping[str, Any]
    """The request in OpenAI's form, from which replies are made; without messages, it only loads the model."""
    verb: str = "chat"
    """The word in the error if the model cannot do it: "chat" or "generate"."""
    options: Mapping[str, Any] = field(default_factory=dict)
    keep_alive: Any = None
    think: Any = None
    truncate: bool = True


@dataclass(frozen=True)
class Outcome:
    """The result of a request to generate."""

    ask: Ask
    model: OllamaModel
    reason: str
    """The reason of the end: "stop", "length" or the reply's own; "load" or "unload" if nothing was generated."""
    generated: Generated = field(default_factory=lambda: Generated([], [], [], "load"))
    read: int = 0
    """The number of tokens of the prompt, after it was cut."""


class Runner:
    """Generates with the models of a shelf."""

    def __init__(self, shelf: Shelf, reply: NextReply) -> None:
        self._shelf = shelf
        self._reply = reply

    def run(self, ask: Ask) -> Outcome:
        """Load or unload the model, and generate a reply. Raise RefusedError for a wrong request."""
        model = self._shelf.find(ask.name)
        keep_s = KEEP_ALIVE_S if ask.keep_alive is None else seconds(ask.keep_alive)
        messages = ask.form["messages"]
        if not messages and keep_s == 0:
            self._shelf.unload(model)
            return Outcome(ask, model, "unload")
        form = _form(ask, model)
        check_options(ask.options)
        room = self._shelf.room(model, ask.options.get("num_ctx"))
        self._shelf.load(model, room, keep_s)
        if not messages:
            return Outcome(ask, model, "load")
        read = _tokens(messages)
        if read > room:
            if not ask.truncate:
                raise refused(400, json_overflow(read, room))
            messages, read = _cut(messages, room)
        generated = self._generate(ask, model, {**form, "messages": messages})
        if keep_s == 0:
            self._shelf.unload(model)
        reason = "stop" if generated.finish_reason == "tool_calls" else generated.finish_reason
        return Outcome(ask, model, reason, generated, generated.counts.get("prompt_tokens", read))

    def _generate(self, ask: Ask, model: OllamaModel, form: Mapping[str, Any]) -> Generated:
        default = echo if ask.verb == "chat" else echo_text
        if form.get("response_format"):
            form = {**form, "tool_choice": "none"}  # the grammar of the format does not let the model write a call
        reply = self._reply(form, default, (model.name,))
        if form.get("response_format") and reply.tool_calls:
            content = reply.content or Script(None).reply(form, default).content
            reply = dataclasses.replace(reply, content=content, tool_calls=[])
        limit = int(ask.options.get("num_predict") or -1)  # Ollama does not limit the reply with 0, nor with -1 (seen)
        generated = generate(reply, lambda number: f"call_{number:08}", limit, ask.options.get("stop"))
        return _offered(generated, form.get("tools"))


def _form(ask: Ask, model: OllamaModel) -> dict[str, Any]:
    """Return the request in OpenAI's form, with an effort for ``think``. Raise RefusedError if the model cannot."""
    if ask.form.get("tools") and "tools" not in model.capabilities:
        raise refused(400, f"{ask.name} does not support tools")
    think = _think(ask, model)
    if "completion" not in model.capabilities:
        raise refused(400, f'"{ask.name}" does not support {ask.verb}')
    if "vision" not in model.capabilities and any(map(_has_image, ask.form["messages"])):
        raise refused(400, _NO_VISION)
    effort = "none" if not think else think if isinstance(think, str) else "medium"
    return {**ask.form, "reasoning_effort": effort}


def _think(ask: Ask, model: OllamaModel) -> bool | str:
    think, able = ask.think, "thinking" in model.capabilities
    if think is None:
        return model.think_default if able else False
    if not isinstance(think, (bool, str)):
        raise refused(400, "think must be a boolean or string")
    if think and not able:
        raise refused(400, f'"{ask.name}" does not support thinking')
    values = [each for each in model.think_values or _LEVELS if isinstance(each, str)]
    if isinstance(think, str) and think not in values:
        known = ", ".join(map(json.dumps, values))
        raise refused(400, f"invalid think value: {json.dumps(think)} (must be {known}, true, or false)")
    return model.think_default or think if think is True else think


def _has_image(message: Mapping[str, Any]) -> bool:
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    return bool(message.get("images")) or any(part.get("type") == "image_url" for part in parts)


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""


def _tokens(messages: list[dict[str, Any]]) -> int:
    return count(map(_text, messages))


def _cut(messages: list[dict[str, Any]], room: int) -> tuple[list[dict[str, Any]], int]:
    """Cut messages that are too long; return the rest, and the number of its tokens.

    Ollama drops the oldest messages, but keeps those of the system and the last one. If these are still too long, it
    keeps half of the context and two tokens: the first ones and the end (seen).
    """
    *old, last = messages
    read, left = _tokens(messages), []
    for message in old:
        if read > room and message.get("role") != "system":
            read -= _tokens([message])
        else:
            left.append(message)
    if read <= room:
        return [*left, last], read
    kept = max(3, room // 2 + 2)
    tokens = pieces(_text(last))
    most = min(len(tokens), max(1, kept - _tokens(left)))
    first = most if most == len(tokens) else min(4, most // 2)
    text = "".join([*tokens[:first], *tokens[len(tokens) - (most - first) :]])
    content = last.get("content")
    if isinstance(content, list):
        images = [part for part in content if part.get("type") == "image_url"]
        return [*left, {**last, "content": [*images, {"type": "text", "text": text}]}], kept
    return [*left, {**last, "content": text}], kept


def _offered(generated: Generated, tools: list[dict[str, Any]] | None) -> Generated:
    """Drop calls of tools that the request does not offer, as Ollama does.

    If the request offers no tools, Ollama does not look for calls, and their markup stays in the text (seen).
    """
    if not generated.tool_calls:
        return generated
    names = [tool["function"]["name"] for tool in tools or ()]
    calls = [call for call in generated.tool_calls if call["function"]["name"] in names]
    content = generated.content
    if not names:
        content = [*content, *pieces("".join(map(_markup, generated.tool_calls)))]
    reason = generated.finish_reason if calls or generated.finish_reason != "tool_calls" else "stop"
    return dataclasses.replace(generated, content=content, tool_calls=calls, finish_reason=reason)


def _markup(call: Mapping[str, Any]) -> str:
    name, arguments = json.dumps(call["function"]["name"]), call["function"]["arguments"] or "{}"
    return f'<tool_call>{{"name": {name}, "arguments": {arguments}}}</tool_call>'
