"""LM Studio's own API of 0.4.0 on: chat, load, unload and download. LM Studio docs: developer/rest."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Iterator, Mapping
from urllib.parse import quote

from .._core.checks import to_json
from .._core.errors import ProtocolError
from .._core.redaction import header_secrets, url_secrets
from .._core.types import Call, Stats, Usage
from .._dialects.json_text import count, member, number, parse, prompt_count, text_or_none, total
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
    """Ask for the next turn. Raises InvalidRequestError for what cannot be written as JSON."""
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
    body.update(store=request.store, stream=stream)
    body.update(request.extra)
    content = to_json(body, "the request").encode("ascii")
    return Call("POST", "/api/v1/chat", content, model, secrets=tuple(_secrets(body.get("integrations"))))


def _secrets(integrations: Any) -> Iterator[str]:
    """Yield what of the integrations must never be shown: a server may repeat what it was sent."""
    for each in integrations if isinstance(integrations, (list, tuple)) else ():
        if isinstance(each, Mapping):
            headers = each.get("headers")
            yield from header_secrets(headers if isinstance(headers, Mapping) else {})
            yield from url_secrets(str(each.get("server_url") or ""))


def chat_reply(value: Any, call: Call, duration_s: float) -> NativeCompletion:
    """The completion of a whole reply; raises ProtocolError. ``duration_s`` is how long it took, in seconds."""
    items, errors = [], []
    for each in member(value, "output", list, "the reply"):
        try:
            items.append(_item(each))
        except ProtocolError as error:
            errors.append(error)
    whole = completion(tuple(items), call, told=value, duration_s=duration_s)
    if errors:
        errors[0].partial = dataclasses.replace(whole, raw=None)  # which may repeat a secret
        raise errors[0]
    return whole


def items_of(value: Any) -> tuple[OutputItem, ...]:
    """The items of a whole reply; raises ProtocolError."""
    return tuple(_item(each) for each in member(value, "output", list, "the reply"))


def completion(
    output: tuple[OutputItem, ...],
    call: Call,
    *,
    told: Mapping[str, Any],
    duration_s: float,
    first_s: float | None = None,
    model: str | None = None,
    finish_reason: str | None = None,
) -> NativeCompletion:
    """The reply of which the items are ``output``, and all else that the server tells is in ``told``.

    ``first_s`` and ``duration_s`` are what was measured, in seconds; ``model`` is the instance that was told before.
    """
    stats = mapping(told.get("stats"))
    first = number(stats.get("time_to_first_token_seconds"))
    first = first_s if first is None else first
    load_s = number(stats.get("model_load_time_seconds"))
    reasoning = "".join(item.content for item in output if isinstance(item, ReasoningItem))
    # Where LM Studio did not recognise it, it is left in the answer (bug-tracker 803, 2147), after each call of a tool.
    said = [split_thoughts(item.content) for item in output if isinstance(item, MessageItem)]
    return NativeCompletion(
        text="".join(text for text, _ in said),
        model=text_or_none(told.get("model_instance_id")) or model or call.model,
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
        id=text_or_none(told.get("response_id")),
        raw=told or None,
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
        return tool_call(item)
    if kind == "invalid_tool_call":
        return invalid_tool_call(item)
    return UnknownItem(kind, item)


def tool_call(value: Mapping[str, Any]) -> ToolCallItem:
    """The call that an item, or an event, tells of; raises ProtocolError."""
    output = value.get("output")
    return ToolCallItem(
        member(value, "tool", str, "a tool call"),
        arguments_of(value),
        output if isinstance(output, str) else json.dumps(output, ensure_ascii=False),
        mapping(value.get("provider_info")),
    )


def arguments_of(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of a call, which may be left out, or be a text; raises ProtocolError."""
    arguments = value.get("arguments")
    if isinstance(arguments, str) and arguments:
        arguments = parse(arguments, "the text of a tool call's arguments")
    found: Mapping[str, Any] = {}
    if arguments not in (None, ""):
        found = member({"arguments": arguments}, "arguments", dict, "a tool call")
    return found


def invalid_tool_call(value: Mapping[str, Any]) -> InvalidToolCallItem:
    """The call that could not be made, of an item or an event; raises ProtocolError."""
    return InvalidToolCallItem(member(value, "reason", str, "an invalid tool call"), mapping(value.get("metadata")))


def mapping(value: object) -> Mapping[str, Any]:
    """``value`` where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def load_call(model: str, config: Mapping[str, Any]) -> Call:
    """Load a model; the answer comes when it is loaded."""
    return _post("/api/v1/models/load", {"model": model, **config}, model)


def load_reply(value: Any) -> LoadedModel:
    """The model that was loaded; raises ProtocolError."""
    config = value.get("load_config") if isinstance(value, dict) else None
    return LoadedModel(
        member(value, "instance_id", str, "the reply"),
        text_or_none(value.get("type")) or "llm",
        number(value.get("load_time_seconds")),
        config if isinstance(config, dict) else None,
    )


def unload_call(instance_id: str) -> Call:
    """Unload an instance. The key is not "model"."""
    return _post("/api/v1/models/unload", {"instance_id": instance_id}, instance_id)


def unload_reply(value: Any) -> None:
    """Raises ProtocolError where that reply is none."""
    member(value, "instance_id", str, "the reply")


def download_call(model: str, quantization: str | None) -> Call:
    """Download a model; the answer comes at once."""
    body = {"model": model}
    if quantization is not None:
        body["quantization"] = quantization
    call = _post("/api/v1/models/download", body, without_secrets(model))
    return dataclasses.replace(call, secrets=tuple(url_secrets(model) if "://" in model else ()))


def status_call(job_id: str) -> Call:
    """Ask how far a download is."""
    return Call("GET", f"/api/v1/models/download/status/{quote(job_id, '', errors='surrogatepass')}")


_STATUSES = ("downloading", "paused", "completed", "failed", "already_downloaded")


def download_reply(value: Any) -> Mapping[str, Any]:
    """How far a download is, of either reply: ``status`` is one of five; raises ProtocolError."""
    status = member(value, "status", str, "the reply")
    if status not in _STATUSES:
        hint = "This version of LM Studio may be newer than this package: see its own list of downloads"
        raise ProtocolError(f"a download has the unknown status {status[:100]!r}", hint=hint, sent=True)
    if status in ("downloading", "paused"):  # what goes on has to be asked for again
        member(value, "job_id", str, "the reply")
    found: Mapping[str, Any] = value
    return found


def _post(path: str, body: Mapping[str, Any], model: str) -> Call:
    return Call("POST", path, to_json(body, "the request").encode("ascii"), model, model_kind="any")
