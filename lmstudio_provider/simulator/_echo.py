"""Make the default replies of a stand-in, which say that they are simulated and repeat the request."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from typing import Any, Mapping

from ._examples import example
from ._replies import Reply


def echo(body: Mapping[str, Any]) -> Reply:
    """Return a reply to a chat: a call of the first tool, a value that fits the JSON schema, or the last message."""
    messages = body["messages"]
    tools = body.get("tools")
    # A conversation that ends with results has had its call: another one would go on forever.
    results = list(itertools.takewhile(lambda message: message.get("role") == "tool", reversed(messages)))[::-1]
    if tools and not results and body.get("tool_choice") != "none":
        function = tools[0]["function"]
        arguments = example({"type": "object", **(function.get("parameters") or {})})
        return {"tool_calls": [{"name": function["name"], "arguments": arguments}]}
    form = body.get("response_format") or {}
    said = " ".join(_said(message) for message in results or messages[-1:])
    what = "The tool answered" if results else "You said"
    reply = {"content": f"This is a simulated reply, no model wrote it. {what}: {said}"}
    if form.get("type") == "json_object":
        reply["content"] = json.dumps({"simulated": reply["content"]}, ensure_ascii=False)
    if form.get("type") == "json_schema":
        schema = (form.get("json_schema") or {}).get("schema") or {}
        reply["content"] = json.dumps(example(schema), ensure_ascii=False)
    if body.get("reasoning_effort") not in (None, "none"):
        reply["reasoning_content"] = "This is simulated reasoning, no model thought it."
    return reply


def echo_text(body: Mapping[str, Any]) -> Reply:
    """Return a text that continues any prompt."""
    return " and so on. This is a simulated text, no model wrote it."


def _said(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, list):
        return " ".join(part.get("text", "[image]") for part in content)
    return f"{content} [image]" if message.get("images") else content


def vector(text: str, size: int = 32) -> list[float]:
    """Return a vector of length 1, made from the words of ``text``: texts that share words are near each other."""
    total = [0.0] * size
    for word in re.findall(r"\w+", text.lower()) or [""]:
        digest = hashlib.sha256(word.encode("utf-8", "replace")).digest()
        total = [each + digest[position] - 127.5 for position, each in enumerate(total)]
    length = math.sqrt(sum(each * each for each in total))
    return [each / length for each in total]
