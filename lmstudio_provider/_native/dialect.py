"""LM Studio's own API, since 0.4.0: chat, load, unload and download. LM Studio docs: developer/rest."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Iterator, Mapping
from urllib.parse import quote

from .._core.checks import to_json
from .._core.errors import ProtocolError
from .._core.reasoning import OFF
from .._core.redaction import header_secrets, url_secrets
from .._core.types import Call, Stats, Usage
from .._dialects.json_text import count, mapping, member, number, parse, prompt_count, text_or_none, total
from .._dialects.thoughts import split_thoughts
from .types import (
    EphemeralMCP,
    InvalidToolCallItem,
    LoadedModel,
    MessageItem,
    NativeCompletion,
    NativeRequest,
    OutputItem,
    Plugin,
    ReasoningItem,
    ToolCallItem,
    UnknownItem,
    without_secrets,
)

_FIELDS = (
    "system_prompt", "reasoning", "context_length", "previous_response_id", "temperature", "top_p", "top_k", "min_p",
    "repeat_penalty", "presence_penalty", "max_output_tokens",
)  # fmt: skip


def chat_call(request: NativeRequest, model: str, stream: bool) -> Call:
    """Return the call that asks for the next turn; raise InvalidRequestError if JSON cannot hold the request."""
    items: Any = request.input
    if request.images or not isinstance(items, str):
        # The documentation's table calls a text "message", its example "text", which 0.4.20 was seen to accept.
        items = [{"type": "text", "content": items}] if isinstance(items, str) else list(items)
        items += [{"type": "image", "data_url": url} for url in request.images]  # type: ignore[union-attr]
    body: dict[str, Any] = {"model": model, "input": items}
    integrations: Any = request.integrations  # a tuple, whatever was given
    if integrations:
        body["integrations"] = [
            each.as_dict() if isinstance(each, (Plugin, EphemeralMCP)) else each for each in integrations
        ]
    body.update((name, value) for name in _FIELDS if (value := getattr(request, name)) is not None)
    if request.reasoning in OFF:
        body["reasoning"] = "off"
    body.update(store=request.store, stream=stream)
    body.update(request.extra)
    content = to_json(body, "the request").encode("ascii")
    return Call("POST", "/api/v1/chat", content, model, secrets=tuple(_secrets(body.get("integrations"))))


def _secrets(integrations: Any) -> Iterator[str]:
    """Yield the secrets of the integrations, which must never be shown: a server may repeat its request."""
    for each in integrations if isinstance(integrations, (list, tuple)) else ():
        if isinstance(each, Mapping):
            headers = each.get("headers")
            yield from header_secrets(headers if isinstance(headers, Mapping) else {})
            yield from url_secrets(str(each.get("server_url") or ""))


def chat_reply(value: Any, call: Call, duration_s: float) -> NativeCompletion:
    """Return the completion of a whole reply, which took ``duration_s`` seconds; raise ProtocolError."""
    items, errors = [], []
    for each in member(value, "output", list, "the reply"):
        try:
            items.append(_item(each))
        except ProtocolError as error:
            errors.append(error)
    whole = completion(tuple(items), call, sent=value, duration_s=duration_s)
    if errors:
        errors[0].partial = dataclasses.replace(whole, raw=None)  # which may repeat a secret
        raise errors[0]
    return whole


def items_of(value: Any) -> tuple[OutputItem, ...]:
    """Return the items of a whole reply; raise ProtocolError."""
    return tuple(_item(each) for each in member(value, "output", list, "the reply"))


def completion(
    output: tuple[OutputItem, ...],
    call: Call,
    *,
    sent: Mapping[str, Any],
    duration_s: float,
    first_s: float | None = None,
    model: str | None = None,
    finish_reason: str | None = None,
) -> NativeCompletion:
    """Return the reply with the items ``output``; the server has ``sent`` the rest.

    ``first_s`` and ``duration_s`` were measured, in seconds; ``model`` is the instance that an earlier event named.
    """
    stats = mapping(sent.get("stats"))
    first = number(stats.get("time_to_first_token_seconds"))
    first = first_s if first is None else first
    load_s = number(stats.get("model_load_time_seconds"))
    reasoning = "".join(item.content for item in output if isinstance(item, ReasoningItem))
    # Reasoning that LM Studio did not recognise stays in the answer (bug-tracker 803, 2147), after each tool call.
    said = [split_thoughts(item.content) for item in output if isinstance(item, MessageItem)]
    return NativeCompletion(
        text="".join(text for text, _ in said),
        model=text_or_none(sent.get("model_instance_id")) or model or call.model,
        requested_model=call.model,
        finish_reason=finish_reason,
        reasoning=reasoning + "".join(thought for _, thought in said),
        usage=_usage(stats),
        stats=Stats(
            tokens_per_second=number(stats.get("tokens_per_second")),
            time_to_first_token_s=first,
            generation_time_s=max(0.0, duration_s - (first or 0.0) - (load_s or 0.0)),
            model_load_time_s=load_s,
        ),
        id=text_or_none(sent.get("response_id")),
        raw=sent or None,
        provider_id=call.provider_id,
        output=output,
    )


def _usage(stats: Mapping[str, Any]) -> Usage | None:
    counts = prompt_count(stats.get("input_tokens")), count(stats.get("total_output_tokens"))
    usage = Usage(*counts, total(*counts), count(stats.get("reasoning_output_tokens")))
    return None if usage == Usage() else usage


def _item(item: Any) -> OutputItem:
    kind = member(item, "type", str, "an item of the reply")
    if kind in ("message", "reasoning"):
        content = member(item, "content", str, f"an item of type {kind!r}")
        return MessageItem(content) if kind == "message" else ReasoningItem(content)
    if kind == "tool_call":
        tool = member(item, "tool", str, "a tool call")
        return ToolCallItem(tool, arguments_of(item), output_of(item), mapping(item.get("provider_info")))
    if kind == "invalid_tool_call":
        reason = member(item, "reason", str, "an invalid tool call")
        return InvalidToolCallItem(reason, mapping(item.get("metadata")))
    return UnknownItem(kind, item)


def output_of(value: Mapping[str, Any]) -> str:
    """Return the output of a tool as text."""
    output = value.get("output")
    return output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)


def arguments_of(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the arguments of a call, which may be missing, or a text; raise ProtocolError."""
    arguments = value.get("arguments")
    if isinstance(arguments, str) and arguments:
        arguments = parse(arguments, "the text of a tool call's arguments")
    found: Mapping[str, Any] = {}
    if arguments not in (None, ""):
        found = member({"arguments": arguments}, "arguments", dict, "a tool call")
    return found


def load_call(model: str, config: Mapping[str, Any]) -> Call:
    """Return the call that loads a model; the reply comes when it is loaded."""
    return _post("/api/v1/models/load", {"model": model, **config}, model)


def load_reply(value: Any) -> LoadedModel:
    """Return the model that was loaded; raise ProtocolError."""
    config = mapping(value).get("load_config")
    return LoadedModel(
        member(value, "instance_id", str, "the reply"),
        text_or_none(value.get("type")) or "llm",
        number(value.get("load_time_seconds")),
        config if isinstance(config, dict) else None,
    )


def unload_call(instance_id: str) -> Call:
    """Return the call that unloads an instance; its key is "instance_id", not "model"."""
    return _post("/api/v1/models/unload", {"instance_id": instance_id}, instance_id)


def unload_reply(value: Any) -> None:
    """Raise ProtocolError if the reply does not name an instance."""
    member(value, "instance_id", str, "the reply")


def download_call(model: str, quantization: str | None) -> Call:
    """Return the call that starts a download; the reply comes at once."""
    body = {"model": model}
    if quantization is not None:
        body["quantization"] = quantization
    call = _post("/api/v1/models/download", body, without_secrets(model))
    return dataclasses.replace(call, secrets=tuple(url_secrets(model) if "://" in model else ()))


def status_call(job_id: str) -> Call:
    """Return the call that asks for the progress of a download."""
    return Call("GET", f"/api/v1/models/download/status/{quote(job_id, '', errors='surrogatepass')}")


_STATUSES = ("downloading", "paused", "completed", "failed", "already_downloaded")


def download_reply(value: Any) -> Mapping[str, Any]:
    """Return the progress of a download, from either reply; raise ProtocolError for an unknown ``status``."""
    status = member(value, "status", str, "the reply")
    if status not in _STATUSES:
        hint = "This version of LM Studio may be newer than this package: see its own list of downloads"
        raise ProtocolError(f"a download has the unknown status {status[:100]!r}", hint=hint, sent=True)
    if status in ("downloading", "paused"):  # a download that goes on has to be asked for again
        member(value, "job_id", str, "the reply")
    found: Mapping[str, Any] = value
    return found


def _post(path: str, body: Mapping[str, Any], model: str) -> Call:
    return Call("POST", path, to_json(body, "the request").encode("ascii"), model, model_kind="any")
