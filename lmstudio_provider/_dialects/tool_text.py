"""Finds tool calls that came as text, because the server did not recognise them, and calls that got lost."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from typing import Any, Mapping, Sequence

from .._core.callbacks import warn
from .._core.errors import ToolCallWarning
from .._core.json import is_too_deep
from .._core.messages import Tool
from .._core.schema.json_schema import MisfitError, fitted, plain
from .._core.types import Completion, ToolCall
from .accumulator import ToolCallAssembly
from .json_text import mapping

# The marks that models put around a call: Qwen and Hermes were trained for the first pair, and LM Studio asks the other
# models for the second in their prompt.
_MARKS = (("<tool_call>", "</tool_call>"), ("[TOOL_REQUEST]", "[END_TOOL_REQUEST]"))
# How calls begin, in these and in other forms.
_BEGINS = (
    r"<tool_call>\s*[\[{<\"]|<tool_call>\s*[\w.-]+\s*<arg_key>|<\|tool_call>|\}\s*</tool_call>|functools\[|"
    r"\A\s*\{\s*\"name\"\s*:\s*\"[^\"]*\"\s*,\s*\"(?:arguments|parameters)\"\s*:|"
    r"\[TOOL_REQUEST\]\s*\{|\[TOOL_CALLS\]\s*[\[\w]|<\|tool_calls?(_begin)?\|>|<function=\w|"
    r"<function_call>\s*\{|<invoke name=|<\|python_tag\|>|<\uff5ctool\u2581call|<\|channel\|>commentary to="
)
_CODE = r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]*`"

_Tools = Sequence["Tool | Mapping[str, Any]"]


# The words of OpenAI, other servers, Ollama and LM Studio for a reply that was cut off.
_CUT = {
    "length", "max_tokens", "max_output_tokens", "cancelled", "error", "abort", "aborted", "failed", "incomplete",
    "content_filter", "load", "unload", "maxPredictedTokensReached", "contextLengthReached", "userStopped",
    "modelUnloaded",
}  # fmt: skip


def was_cut(completion: Completion) -> bool:
    """Return True if the reply was cut off, so that an important part of the arguments may be missing."""
    return completion.finish_reason in _CUT or completion.stats.stop_reason in _CUT


def take_calls(completion: Completion, tools: _Tools) -> Completion:
    """Return ``completion`` with the calls in its text, if that holds nothing else and each fits an offered tool."""
    if completion.tool_calls or was_cut(completion):
        return completion
    offered = {
        tool["name"]: tool.get("parameters") for tool in map(_function, tools) if isinstance(tool.get("name"), str)
    }
    names = ToolCallAssembly(tuple(offered))
    calls = []
    for written in _written(completion.text.strip()):
        name, arguments = names.name_of(str(written.get("name"))), written.get("arguments", written.get("parameters"))
        arguments = {} if arguments is None else plain(arguments, "object")
        try:
            fitted(arguments, offered.get(name, False))
        except MisfitError:
            return completion
        if not isinstance(arguments, dict):
            return completion
        calls.append(ToolCall(f"call_{os.urandom(6).hex()}", name, arguments))
    if not calls:
        return completion
    return dataclasses.replace(completion, text="", tool_calls=tuple(calls), finish_reason="tool_calls")


def _function(tool: Tool | Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping((tool.as_dict() if isinstance(tool, Tool) else tool).get("function"))


def _written(text: str) -> list[dict[str, Any]]:
    """Return the calls in ``text``, none if it holds anything else."""
    found: list[dict[str, Any]] = []
    position, length, repaired = 0, 0 if is_too_deep(text) else len(text), 0
    while position < length:
        begin, end = next((marks for marks in _MARKS if text.startswith(marks[0], position)), ("", ""))
        start = _skip_blanks(text, position + len(begin))
        try:
            # A string in the call may contain the mark that ends it.
            value, position = _DECODER.raw_decode(text, start)
            position = _skip_blanks(text, position)
        except ValueError:
            repaired += 1
            position = text.find(end, start) if repaired <= _MOST_REPAIRED else -1
            value = plain(text[start:position], "object") if position >= 0 else None
        if not begin or not isinstance(value, dict) or not text.startswith(end, position):
            return []
        found.append(value)
        position = _skip_blanks(text, position + len(end))
    return found


_DECODER = json.JSONDecoder(strict=False)
# For each broken JSON, the decoder counts all lines before it.
_MOST_REPAIRED = 100
_BLANKS = re.compile(r"\s*")


def _skip_blanks(text: str, position: int) -> int:
    match = _BLANKS.match(text, position)
    return match.end() if match else position


def warn_of_lost_calls(completion: Completion, offered: bool, max_tokens: int | None = None) -> None:
    """Warn if tools were ``offered`` and a call was cut off, or seems to be lost."""
    if completion.tool_calls and was_cut(completion) and completion.finish_reason != "cancelled":
        names = ", ".join(call.name for call in completion.tool_calls)
        cut = completion.finish_reason == "length"
        how = f"was cut off by max_tokens={max_tokens}" if cut else f"broke off ({completion.finish_reason})"
        more = ": raise max_tokens" if cut else "; ask again"
        warn(f"the reply {how}, so its calls ({names}) may not be whole, and must not be made{more}", ToolCallWarning)
    if not offered or completion.tool_calls or completion.finish_reason == "cancelled":
        return
    counted = completion.usage.completion_tokens if completion.usage else None
    if re.search(_BEGINS, re.sub(_CODE, "", completion.text, flags=re.S)):
        what = (
            f"the model wrote a tool call as text, and it was not made: {completion.text.strip()[:200]!r}. A model "
            "trained for tool use does better; run_tools() takes a call that is all of the text and fits a tool"
        )
    elif completion.finish_reason == "tool_calls":
        what = "the server says that the model called a tool, and sent no call; ask again, or use another model"
    elif counted and completion.finish_reason != "length" and not completion.text.strip() and not completion.reasoning:
        what = (
            f"the answer is empty although the model generated {counted} tokens: a call was dropped, most likely of a "
            "tool that was not offered; ask again, offer that tool, or use another model"
        )
    else:
        return
    warn(what, ToolCallWarning)
