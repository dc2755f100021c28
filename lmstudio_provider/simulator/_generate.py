"""Generate a reply: cut it as the request wants, and count its tokens."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Callable, Mapping

from ._faults import marked
from ._replies import Scripted, call_tokens, cut


@dataclass(frozen=True)
class Generated:
    """Text in pieces, whole tool calls in OpenAI's form, and the reason for the end."""

    reasoning: list[str]
    content: list[str]
    tool_calls: list[dict[str, Any]]
    finish_reason: str
    stopped_by: str | None = None
    """The stop text that ended it."""
    tokens: int = 0
    """The number of tokens to report, with those of the calls."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """The counts that the reply sets, such as "prompt_tokens" and "cached_tokens"."""


def generate(
    reply: Scripted, new_id: Callable[[int], str], max_tokens: int | None = None, stop: str | list[str] | None = None
) -> Generated:
    """Return ``reply``, cut as the request wants; ``new_id`` makes the ids of calls without one.

    Reasoning and calls count towards ``max_tokens``, too. A call that exceeds it is left out.
    """
    stops = [stop] if isinstance(stop, str) else stop or []
    text = "".join(reply.content)
    end, stopped_by = min(((text.index(each), each) for each in stops if each and each in text), default=(None, None))
    content = reply.content if end is None else cut(reply.content, end)
    # A model thinks first, then answers, then calls: a limit cuts the later parts first.
    calls = [] if stopped_by is not None else reply.tool_calls
    reason = reply.finish_reason or ("tool_calls" if calls else "stop")
    whole = Generated(reply.reasoning, content, _with_ids(calls, new_id), reason, stopped_by)
    if max_tokens is not None and 0 <= max_tokens < _tokens(whole):
        whole = _limited(whole, max_tokens)
    counted = reply.counts.get("completion_tokens", _tokens(whole))
    reasoning, content = marked(reply.fault, whole.reasoning, whole.content)
    return dataclasses.replace(whole, reasoning=reasoning, content=content, tokens=counted, counts=reply.counts)


def _tokens(generated: Generated) -> int:
    return len(generated.reasoning) + len(generated.content) + sum(map(call_tokens, generated.tool_calls))


def _limited(whole: Generated, left: int) -> Generated:
    reasoning = whole.reasoning[:left]
    left -= len(reasoning)
    content = whole.content[:left]
    left -= len(content)
    calls = []
    for call in whole.tool_calls:
        left -= call_tokens(call)
        if left >= 0:
            calls.append(call)
    return Generated(reasoning, content, calls, "length")


def _with_ids(calls: list[dict[str, Any]], new_id: Callable[[int], str]) -> list[dict[str, Any]]:
    filled = [{"type": call["type"], "id": new_id(number), **call} for number, call in enumerate(calls)]
    return [{key: each for key, each in call.items() if key == "index" or each is not None} for call in filled]


def whole_calls(generated: Generated) -> list[dict[str, Any]]:
    """Return the calls for a reply in one piece, without an index that is None."""
    return [{key: each for key, each in call.items() if each is not None} for call in generated.tool_calls]


def usage(read: int, generated: Generated) -> dict[str, Any]:
    """Return OpenAI's usage: ``read`` tokens for the prompt, and those of the reply."""
    read, written = generated.counts.get("prompt_tokens", read), generated.tokens
    used: dict[str, Any] = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    if generated.reasoning:
        used["completion_tokens_details"] = {"reasoning_tokens": len(generated.reasoning)}
    if "cached_tokens" in generated.counts:
        used["prompt_tokens_details"] = {"cached_tokens": generated.counts["cached_tokens"]}
    return used


def text_only(reply: Scripted) -> Scripted:
    """Return only the text of ``reply``: without a chat template, a model neither thinks nor calls."""
    return dataclasses.replace(reply, reasoning=[], tool_calls=[])
