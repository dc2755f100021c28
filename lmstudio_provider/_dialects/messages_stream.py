"""A streamed reply of ``/v1/messages``: events go in, chunks come out, and the whole reply is there at the end."""

from __future__ import annotations

from typing import Any

from .._core.types import Call
from .errors import ErrorContext
from .json_text import member, text_or_none
from .messages import block_texts, call_piece, finish_reason, read_usage
from .typed_stream import TypedStream

_OF_PROMPT = ("input_tokens", "cache_read_input_tokens")


class MessagesStream(TypedStream):
    """Makes chunks of the events of one reply."""

    def __init__(self, call: Call, asked: ErrorContext, started: float) -> None:
        super().__init__(call, asked, started)
        self._told: dict[str, Any] = {}
        # The arguments that each call began with, by the index of its block; None where pieces have come since.
        self._begun: dict[str, Any] = {}

    def _take(self, kind: str, value: dict[str, Any], data: str) -> tuple[str, str]:
        index = str(value.get("index"))
        if kind == "message_start":
            message = member(value, "message", dict, "an event of the stream")
            self._id, self._model = text_or_none(message.get("id")), text_or_none(message.get("model"))
            # The tokens of the reply are not counted yet.
            self._count(message.get("usage"), *_OF_PROMPT)
        elif kind == "content_block_start":
            block = member(value, "content_block", dict, "an event of the stream")
            if block.get("type") == "tool_use":
                self._begun[index] = block.get("input")
                self._tools.add([{"index": index, **call_piece(block, None)}])
            return block_texts(block)
        elif kind == "content_block_delta":
            delta = member(value, "delta", dict, "an event of the stream")
            # Blocks of other types have input, too.
            if index in self._begun and delta.get("partial_json"):
                self._begun[index] = None
                self._tools.add([{"index": index, "function": {"arguments": delta["partial_json"]}}])
            return block_texts(delta)
        elif kind == "content_block_stop":
            self._end_call(index)
        elif kind == "message_delta":
            for begun in list(self._begun):
                self._end_call(begun)
            delta = member(value, "delta", dict, "an event of the stream")
            self._finish_reason = finish_reason(delta.get("stop_reason")) or self._finish_reason
            self._count(value.get("usage"), *_OF_PROMPT, "output_tokens")
        elif kind == "message_stop":
            self.done = True
        return "", ""

    def _end_call(self, index: str) -> None:
        arguments = self._begun.pop(index, None)
        if arguments is not None:
            self._tools.add([{"index": index, "function": {"arguments": arguments}}])

    def _count(self, usage: object, *names: str) -> None:
        told = usage if isinstance(usage, dict) else {}
        for name in names:
            if told.get(name) or name not in self._told:  # 0 says nothing against a count that came before
                self._told[name] = told.get(name)
        self._usage = read_usage(self._told)
