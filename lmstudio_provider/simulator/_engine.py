"""What answers a prompt, whichever endpoint it came to."""

from __future__ import annotations

import json
from typing import Any, Iterable, Mapping

from ._replies import Generated, Replies, checked, echo, echo_text, generate, maker, pieces, usage
from ._state import FailedError, Instance


class Engine:
    """Makes the replies that the test gave, or that say what was asked."""

    def __init__(self, replies: Replies | None) -> None:
        self._make_reply = maker(replies)

    def chat(self, body: Mapping[str, Any], instance: Instance) -> tuple[Generated, dict[str, Any]]:
        """What comes out for the chat of ``body``, in OpenAI's form, and its usage.

        Raises FailedError for a prompt that ``instance`` has no room for.
        """
        read = _read(instance, *(json.dumps(message.get("content")) for message in body["messages"]))
        reply = checked((self._make_reply or echo)(body))
        generated = generate(reply, body.get("max_tokens"), body.get("stop"))
        return generated, usage(read, generated)

    def complete(self, body: Mapping[str, Any], instance: Instance) -> tuple[Generated, dict[str, Any]]:
        """The same for a text to go on with; there is no chat template, and so neither reasoning nor calls."""
        read = _read(instance, body["prompt"])
        reply = checked((self._make_reply or echo_text)(body))
        generated = generate({"content": reply.get("content")}, body.get("max_tokens"), body.get("stop"))
        return generated, usage(read, generated)


def as_content(parts: Iterable[Mapping[str, Any]]) -> Any:
    """The parts of a message as OpenAI's ``content``: a text, where they are nothing else."""
    parts = list(parts)
    return "".join(part["text"] for part in parts) if all(part["type"] == "text" for part in parts) else parts


def _read(instance: Instance, *texts: str) -> int:
    """How many tokens the texts have; raises FailedError where that is too many."""
    read, room = sum(len(pieces(text)) for text in texts), instance.context_length
    if read <= room:
        return read
    said = f"request ({read} tokens) exceeds the available context size ({room} tokens), try increasing it"
    what = {"code": 400, "message": said, "type": "exceed_context_size_error", "n_prompt_tokens": read, "n_ctx": room}
    text = json.dumps({"error": what}, separators=(",", ":"))
    raise FailedError("context_length", f"Engine protocol predict request returned 400: {text}", read)
