"""The turns of a conversation, and the file with a saved conversation."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Mapping, Sequence

from .._core.errors import ConfigurationError, InvalidRequestError
from .._core.files import write_whole
from .._core.json import loads
from .._core.messages import Message
from .._core.types import ToolCall

# A question and everything up to its answer.
Turn = tuple[Message, ...]


def text_of(message: Message) -> str:
    """Return the text of a message, without its images."""
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    return "\n".join(str(part["text"]) for part in message.content if "text" in part)


def grouped(
    messages: Sequence[Message], system_prompt: str | None, before: Sequence[Turn] = ()
) -> tuple[str | None, list[Turn]]:
    """Return the system prompt, and the turns ``before`` followed by ``messages`` as turns.

    A turn begins with a message of the user, or with a system message before it. If there is no system prompt yet, a
    system message that comes first becomes it. Raises InvalidRequestError for a tool result without a call.
    """
    turns = [list(turn) for turn in before]
    waiting = len(unanswered(turns[-1])) if turns else 0
    for position, message in enumerate(messages):
        if message.role == "system" and not turns and system_prompt is None:
            system_prompt = text_of(message)
            continue
        if message.role == "tool":
            if not waiting:
                hint = "Add the assistant's message with the call before it"
                raise InvalidRequestError(f"messages[{position}]: no call waits for the result of a tool", hint=hint)
            waiting -= 1
        else:
            waiting = len(message.tool_calls)
        begins = message.role in ("user", "system") and any(each.role != "system" for each in (turns or [[]])[-1])
        if begins or not turns:
            turns.append([])
        turns[-1].append(message)
    return system_prompt, [tuple(turn) for turn in turns]


def unanswered(messages: Sequence[Message]) -> list[ToolCall]:
    """Return the calls at the end of ``messages`` that have no result yet."""
    for results, message in enumerate(reversed(messages)):
        if message.role != "tool":
            return list(message.tool_calls[results:])
    return []


def write_conversation(path: str | os.PathLike[str], system_prompt: str | None, turns: Sequence[Turn]) -> None:
    """Write the file, whole or not at all; raises ConfigurationError."""
    content = {"system_prompt": system_prompt, "messages": [message.as_dict() for turn in turns for message in turn]}
    text = json.dumps(content, indent=2, ensure_ascii=False)
    if not text.isprintable() and re.search("[\ud800-\udfff]", text):  # half of a surrogate pair cannot be UTF-8
        text = json.dumps(content, indent=2)
    try:
        write_whole(path, text + "\n")
    except (OSError, ValueError, TypeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"cannot write the conversation to {path!r}: {why}") from error


def read_conversation(path: str | os.PathLike[str]) -> tuple[str | None, list[Turn]]:
    """Return the system prompt and the turns of a file; raises ConfigurationError."""
    try:
        content = loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(content, Mapping) or not isinstance(content.get("messages"), list):
            raise InvalidRequestError("it has no list 'messages'")
        system_prompt = content.get("system_prompt")
        if not isinstance(system_prompt, (str, type(None))):
            raise InvalidRequestError("its 'system_prompt' is not a text")
        return grouped([Message.from_dict(message) for message in content["messages"]], system_prompt)
    except (OSError, ValueError, TypeError, RecursionError, InvalidRequestError) as error:
        why = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error)
        raise ConfigurationError(f"cannot read a conversation from {path!r}: {why}") from error
