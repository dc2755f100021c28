"""What a stand-in says: the test's own words in turn, or what it was asked, in pieces that stand in for tokens."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
import threading
from dataclasses import dataclass
from typing import Any, Callable, Iterable, Iterator, Mapping, Union

from ._examples import example

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
    """A reply to a chat: it calls the first tool, fits the JSON schema, or says what it was asked."""
    messages = body["messages"]
    tools = body.get("tools")
    results = list(itertools.takewhile(lambda message: message.get("role") == "tool", reversed(messages)))[::-1]
    if tools and not results and body.get("tool_choice") != "none":
        function = tools[0]["function"]
        arguments = example({"type": "object", **(function.get("parameters") or {})})
        return {"tool_calls": [{"name": function["name"], "arguments": arguments}]}
    form = body.get("response_format") or {}
    said = " ".join(_said(message) for message in results or messages[-1:])
    what = "The tool answered" if results else "You said"
    reply = {"content": f"This is a simulated reply, no model wrote it. {what}: {said}"}
    if form.get("type") == "json_schema":
        reply["content"] = json.dumps(example(form["json_schema"].get("schema") or {}), ensure_ascii=False)
    if body.get("reasoning_effort") not in (None, "none"):
        reply["reasoning_content"] = "This is simulated reasoning, no model thought it."
    return reply


def echo_text(body: Mapping[str, Any]) -> Reply:
    """A text that goes on after any prompt."""
    return " and so on. This is a simulated text, no model wrote it."


def _said(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return " ".join(part.get("text", "[image]") for part in content)
    return f"{content} [image]" if message.get("images") else str(content)


def vector(text: str, size: int = 32) -> list[float]:
    """A vector of length 1, made of the words of ``text``: texts that share words are near each other."""
    total = [0.0] * size
    for word in re.findall(r"\w+", text.lower()) or [""]:
        digest = hashlib.sha256(word.encode("utf-8", "replace")).digest()
        total = [each + digest[position] - 127.5 for position, each in enumerate(total)]
    length = math.sqrt(sum(each * each for each in total))
    return [each / length for each in total]


@dataclass(frozen=True)
class Generated:
    """What came out: text in pieces, whole tool calls as OpenAI spells them, and why it ended."""

    reasoning: list[str]
    content: list[str]
    tool_calls: list[dict[str, Any]]
    finish_reason: str
    #: The stop text that ended it.
    stopped_by: str | None = None


def generate(reply: Mapping[str, Any], max_tokens: object = None, stop: object = None) -> Generated:
    """Generate ``reply``, cut as the request wants; reasoning uses tokens up, too."""
    text = reply.get("content") or ""
    stops = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    end, stopped_by = min(((text.index(each), each) for each in stops if each and each in text), default=(None, None))
    text = text[:end]
    reasoning, content = pieces(reply.get("reasoning_content") or ""), pieces(text)
    # A model thinks first, then answers, then calls: what comes late is what is cut.
    calls = list(_tool_calls(reply)) if stopped_by is None else []
    if isinstance(max_tokens, int) and 0 <= max_tokens < len(reasoning) + len(content):
        left = max(0, max_tokens - len(reasoning))
        return Generated(reasoning[:max_tokens], content[:left], [], "length")
    return Generated(reasoning, content, calls, "tool_calls" if calls else "stop", stopped_by)


def pieces(text: str) -> list[str]:
    """The text in pieces of one word, which stand in for tokens."""
    return re.findall(r"\s*\S+|\s+", text)


def usage(read: int, generated: Generated) -> dict[str, Any]:
    """The tokens of the prompt, which are ``read``, and of what was generated."""
    thought = len(generated.reasoning)
    written = thought + len(generated.content)
    used: dict[str, Any] = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    if thought:
        used["completion_tokens_details"] = {"reasoning_tokens": thought}
    return used


def _tool_calls(reply: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for number, call in enumerate(reply.get("tool_calls") or ()):
        arguments = call.get("arguments", {})
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        function = {"name": call["name"], "arguments": text}
        yield {"type": "function", "id": str(100000001 + number), "function": function}
