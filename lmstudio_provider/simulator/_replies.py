"""What a stand-in says: the test's own words in turn, or what it was asked, in pieces that stand in for tokens."""

from __future__ import annotations

import itertools
import json
import re
import threading
from dataclasses import dataclass
from typing import Any, Callable, Iterable, Iterator, Mapping, Union

#: A text, or a dict with any of "content", "reasoning_content", "tool_calls" (``{"name", "arguments"}`` each).
Reply = Union[str, Mapping[str, Any]]
#: Makes a reply out of the body of a request.
MakeReply = Callable[[Mapping[str, Any]], Reply]
#: Replies to give in turn, or a function that makes them.
Replies = Union[Iterable[Reply], MakeReply]


def maker(replies: Replies | None) -> MakeReply | None:
    """The function that makes the ``replies``, or None where there are none."""
    if isinstance(replies, (str, Mapping)):
        replies = [replies]
    if callable(replies):
        return replies
    return _in_turn(replies) if replies else None


def _in_turn(replies: Iterable[Reply]) -> MakeReply:
    endless = itertools.cycle(list(replies))
    lock = threading.Lock()

    def take(body: Mapping[str, Any]) -> Reply:
        with lock:
            return next(endless)

    return take


def checked(reply: Reply) -> Mapping[str, Any]:
    """``reply`` as a dict; raises TypeError for what is none."""
    if isinstance(reply, str):
        return {"content": reply}
    if not isinstance(reply, Mapping) or not set(reply) <= {"content", "reasoning_content", "tool_calls"}:
        raise TypeError(f"replies: {reply!r} is neither text nor a dict of content, reasoning_content, tool_calls")
    return reply


def echo(body: Mapping[str, Any]) -> Reply:
    """A reply to a chat that says what it was asked, or calls the first tool that is offered."""
    last = body["messages"][-1]
    tools = body.get("tools")
    if tools and last.get("role") != "tool" and body.get("tool_choice") != "none":
        function = tools[0]["function"]
        return {"tool_calls": [{"name": function["name"], "arguments": _arguments(function.get("parameters") or {})}]}
    content = last.get("content")
    if isinstance(content, list):
        content = " ".join(part.get("text", "[image]") for part in content)
    what = "The tool answered" if last.get("role") == "tool" else "You said"
    return f"This is a simulated reply, no model wrote it. {what}: {content}"


def _arguments(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Something for each property that is required."""
    examples: dict[Any, Any] = {"integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}}
    properties = schema.get("properties", {})
    return {
        name: each["enum"][0] if each.get("enum") else examples.get(each.get("type"), "simulated")
        for name, each in properties.items()
        if name in schema.get("required", properties)
    }


@dataclass(frozen=True)
class Generated:
    """What came out: text in pieces, whole tool calls as OpenAI spells them, and why it ended."""

    reasoning: list[str]
    content: list[str]
    tool_calls: list[dict[str, Any]]
    finish_reason: str


def generate(reply: Mapping[str, Any], max_tokens: object) -> Generated:
    """Generate ``reply``, cut as the request wants."""
    reasoning, content = pieces(reply.get("reasoning_content") or ""), pieces(reply.get("content") or "")
    calls = list(_tool_calls(reply))
    if isinstance(max_tokens, int) and 0 <= max_tokens < len(content):
        return Generated(reasoning, content[:max_tokens], calls, "length")
    return Generated(reasoning, content, calls, "tool_calls" if calls else "stop")


def pieces(text: str) -> list[str]:
    """The text in pieces of one word, which stand in for tokens."""
    return re.findall(r"\s*\S+|\s+", text)


def usage(prompt: Iterable[str], generated: Generated) -> dict[str, Any]:
    """The tokens of the texts of the prompt, and of what was generated."""
    read, written = sum(len(pieces(text)) for text in prompt), len(generated.content)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _tool_calls(reply: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for number, call in enumerate(reply.get("tool_calls") or ()):
        arguments = call.get("arguments", {})
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        function = {"name": call["name"], "arguments": text}
        yield {"type": "function", "id": str(100000001 + number), "function": function}
