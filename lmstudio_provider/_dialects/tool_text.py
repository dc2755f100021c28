"""Finds tool calls that the server left in the text, and calls that got lost."""

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

# The marks around a call, if any: Qwen and Hermes were trained for the first, LM Studio asks others for the second.
_MARKS = (("<tool_call>", "</tool_call>"), ("[TOOL_REQUEST]", "[END_TOOL_REQUEST]"), ("", ""))
# How calls begin with these and other marks.
_BEGINS = (
    r"<(?i:(?:\w{1,20}[:_])?(?:tool|function)_?calls?>)\s*[\[{<\"]|<arg_key>|\}\s*</tool_call>|"
    r"<start_function_call>|<\|tool_call(?:s?(?:_\w{1,20})?\|)?>|functools\[|\[TOOL_REQUEST\]\s*\{|"
    r"\[TOOL_CALLS\]\s*[\[\w]|<function=\w|<invoke name=|<\|python_tag\|>|<\uff5ctool\u2581call|"
    r"<\|channel\|>commentary to="
)
# How the name of a tool stands in JSON, ReAct, Python and XML, which other texts have, too, and what must come with it.
_ARGUMENTS = (
    "[\"'](?:arguments|parameters|args|input|action_input|tool_input)[\"']\\s*:"
    "(?!\\s*\\{\\s*[\"'](?:type[\"']\\s*:\\s*[\"']object|properties)[\"'])"  # which describe the tool
)
_PYTHON = r"[\s\[]*(?:print\(\s*)?(?:default_api\.)?([\w-]{1,100})\("
_NAMED = (
    ("[\"'](?:name|function|tool|tool_name|action)[\"']\\s*:\\s*[\"']([^\"']{1,100})[\"']", _ARGUMENTS),
    (r"Action\W{0,3}:\W{0,3}([\w.-]{1,100})\W{0,3}(?:[\[(]|\n\W{0,3}Action Input)", ""),
    (r"tool_code\b" + _PYTHON, ""),
    (r"\A(?:python\b)?" + _PYTHON, r"\)\W{0,9}\Z"),
    (r"\A<([\w-]{1,100})[\s/>]", r">\W{0,9}\Z"),
)
_CODE = r"```(.*?)(?:```|\Z)|~~~(.*?)(?:~~~|\Z)|`(?<=\A`)([^`]*)`\Z|`[^`\n]*`"

_Tools = Sequence["Tool | Mapping[str, Any]"]


# The words of OpenAI, other servers, Ollama and LM Studio for a reply that was cut off.
_CUT = {
    "length", "max_tokens", "max_output_tokens", "cancelled", "error", "abort", "aborted", "failed", "incomplete",
    "content_filter", "load", "unload", "maxPredictedTokensReached", "contextLengthReached", "userStopped",
    "modelUnloaded",
}  # fmt: skip


def was_cut(completion: Completion) -> bool:
    """Return True if the reply was cut off, so that a part of the arguments may be missing."""
    return completion.finish_reason in _CUT or completion.stats.stop_reason in _CUT


def take_calls(completion: Completion, tools: _Tools, bare: bool = True) -> Completion:
    """Return ``completion`` with the calls in its text, if that holds nothing else and each fits an offered tool.

    Without ``bare``, only calls between marks count, because JSON is the answer.
    """
    if completion.tool_calls or was_cut(completion):
        return completion
    offered = _parameters(tools)
    names = ToolCallAssembly(tuple(offered))
    calls = []
    for written in _written(completion.text.strip(), bare and completion.parsed is None):
        name, arguments = names.name_of(str(written.get("name"))), written.get("arguments", written.get("parameters"))
        arguments = {} if arguments is None else plain(arguments, "object")
        try:
            fitted(arguments, offered.get(name, False))
        except MisfitError:
            return completion
        if not isinstance(arguments, dict):
            return completion
        raw = json.dumps(arguments, ensure_ascii=False)
        calls.append(ToolCall(f"call_{os.urandom(6).hex()}", name, raw_arguments=raw))
    if not calls:
        return completion
    return dataclasses.replace(completion, text="", tool_calls=tuple(calls), finish_reason="tool_calls")


def _parameters(tools: _Tools) -> dict[str, Any]:
    """Return the schemas of the offered tools, by name."""
    functions = [mapping((each.as_dict() if isinstance(each, Tool) else each).get("function")) for each in tools]
    return {each["name"]: each.get("parameters") for each in functions if isinstance(each.get("name"), str)}


def _written(text: str, bare: bool) -> list[Mapping[str, Any]]:
    """Return the calls in ``text``, none if it holds anything else."""
    found: list[Mapping[str, Any]] = []
    position, length, repaired = 0, 0 if is_too_deep(text) else len(text), 0
    while position < length:
        begin, end = next(marks for marks in _MARKS if text.startswith(marks[0], position))
        if not begin and (not bare or text[position] not in "[{"):
            return []
        start = _skip_blanks(text, position + len(begin))
        try:
            # A string in the call may contain the mark that ends it.
            value, position = _DECODER.raw_decode(text, start)
            position = _skip_blanks(text, position)
        except ValueError:
            repaired += 1
            position = -1 if repaired > _MOST_REPAIRED else text.find(end, start) if end else length
            value = plain(text[start:position], "object") if position >= 0 else None
        calls = _calls_in(value)
        # Without marks, an object is a call only if it has a name and arguments.
        if not calls or not text.startswith(end, position) or any(not begin and len(each) != 2 for each in calls):
            return []
        found += calls
        position = _skip_blanks(text, position + len(end))
    return found


def _calls_in(value: Any) -> list[Mapping[str, Any]]:
    """Return the calls in JSON that may list or wrap them; anything else becomes an empty object."""
    if isinstance(value, list):
        return [call for each in value for call in _calls_in(each)]
    call = {name: each for name, each in mapping(value).items() if name not in ("type", "id", "index")}
    if len(call) == 1 and ("function" in call or "tool_calls" in call):
        return _calls_in(*call.values())
    return [call if call.keys() <= {"name", "arguments", "parameters"} else {}]


_DECODER = json.JSONDecoder(strict=False)
# For each broken JSON, the decoder counts all lines before it.
_MOST_REPAIRED = 100


def _skip_blanks(text: str, position: int) -> int:
    return next(re.compile(r"\s*").finditer(text, position)).end()  # it matches at once, maybe nothing


def written_call(completion: Completion, tools: _Tools) -> str:
    """Return how the model seems to have written a call of one of ``tools``; "" if not."""
    if not tools or completion.tool_calls:
        return ""
    text, how, cut = completion.text.strip(), "as text", was_cut(completion)
    if not text and not cut:
        text, how = completion.reasoning.strip(), "in its thoughts"
    if re.search(_BEGINS, re.sub(_CODE, "", text, flags=re.S)):
        return how
    offered = _parameters(tools if completion.parsed is None else ())
    names, text = ToolCallAssembly(tuple(offered)), re.sub(_CODE, r"\1\2\3", text, flags=re.S).strip()
    found = (
        names.name_of(found[1]) in offered
        for form, following in _NAMED
        if cut or re.search(following, text)
        for found in re.finditer(form, text)
    )
    return how if any(found) else ""


def warn_of_lost_calls(completion: Completion, tools: _Tools, max_tokens: int | None) -> None:
    """Warn if ``tools`` were offered and a call was cut off, or seems to be lost."""
    finish, cut, text = completion.finish_reason, was_cut(completion), completion.text
    broke = f"was cut off by max_tokens={max_tokens}" if finish == "length" else f"broke off ({finish})"
    more = "raise max_tokens" if finish == "length" else "ask again"
    counted = completion.usage.completion_tokens if completion.usage else None
    if finish == "cancelled" or not (cut if completion.tool_calls else tools):
        return
    if completion.tool_calls:
        names = ", ".join(call.name for call in completion.tool_calls)
        what = f"the reply {broke}, so its calls ({names}) may not be whole, and must not be made: {more}"
    elif how := written_call(completion, tools):
        said = (text.strip() or completion.reasoning)[:200]
        what = f"the model wrote a tool call {how}, and it was not made: {said!r}. "
        what += f"The reply {broke}: {more}" if cut else _ADVICE
    elif finish == "tool_calls":
        what = "the server says that the model called a tool, and sent no call; ask again, or use another model"
    elif counted and finish != "length" and not text.strip() and not completion.reasoning:
        what = (
            f"the answer is empty (generated tokens: {counted}): the model ended it at once, or a call of a tool that "
            "was not offered was dropped; ask again, offer that tool, or use another model"
        )
    else:
        return
    warn(what, ToolCallWarning)


_ADVICE = (
    "A model trained for tool use does better; run_tools() makes such a call only if it is JSON, alone in the text or "
    "between <tool_call> or [TOOL_REQUEST] marks, and fits an offered tool"
)
