"""A turn of a conversation that calls tools: its stream, and the messages that are kept, even if it is interrupted."""

from __future__ import annotations

import contextlib
from typing import Any, Callable, Generator

from .._core.messages import Message
from .._core.options import Unpack
from .._core.overrides import StreamOverrides
from .._core.requests import StreamInput
from .._core.schema.structured import structure_of
from .._core.types import Chunk, Completion, ToolCall
from .._provider.chunks import ChunkAssembly, PieceSource
from .._provider.stream import Stream
from .conversation_file import unanswered
from .tools import Chats, ToolEvent, ToolRun

_UNKNOWN = "Error: interrupted; it is not known whether the call had its effect"
_NOT_MADE = "Error: not called, because the run was interrupted"


class Interruptible:
    """A provider whose current stream another thread can end."""

    def __init__(self, provider: Chats) -> None:
        self.chat = provider.chat
        self._provider = provider
        self._stream: Stream | None = None
        self._interrupted = False

    def stream(self, request: StreamInput, on_chunk: None = None, **overrides: Unpack[StreamOverrides]) -> Stream:
        """Answer piece by piece."""
        self._stream = self._provider.stream(request, **overrides)
        if self._interrupted:  # while the request was sent
            self._stream.close()
        return self._stream

    def interrupt(self) -> None:
        """End the current stream, and every later one."""
        self._interrupted = True
        if self._stream is not None:
            self._stream.close()


class ToolTurn:
    """The steps of ``run_tools`` for one question; ``transcript`` grows with them, ``callback`` gets each event."""

    def __init__(
        self,
        question: Message,
        transcript: list[Message],
        steps: Generator[ToolEvent | ToolRun, None, None],
        callback: Callable[[ToolEvent], None],
    ) -> None:
        self._question = question
        self._transcript = transcript
        self._before = len(transcript)
        self._steps = steps
        self._callback = callback
        self._begun: ToolCall | None = None
        self._cut = False

    def __iter__(self) -> Generator[ToolEvent | ToolRun, None, None]:
        with contextlib.closing(self._steps):
            for step in self._steps:
                if isinstance(step, ToolEvent):
                    self._callback(step)
                    self._begun = step.call if step.kind == "call" else None
                    self._cut = step.completion is not None and step.completion.finish_reason == "cancelled"
                yield step

    def messages(self, text: str, failed: bool) -> tuple[Message, ...]:
        """Return the messages of the turn so far: every call gets a result, and the last message is an answer.

        ``text`` is the beginning of an answer that was interrupted; if that ``failed``, it is kept only after calls.
        """
        answers = self._transcript[self._before :]
        if self._cut:  # another thread interrupted this answer, too
            text = str(answers.pop().content)
        if not answers and (failed or not text):
            return ()
        if not answers or answers[-1].tool_calls or answers[-1].role == "tool":
            asked = answers and answers[-1].tool_calls  # then the text is that of this message
            for call in unanswered(answers):
                answers.append(Message.tool(call, _UNKNOWN if call is self._begun else _NOT_MADE))
            answers.append(Message.assistant("" if asked else text))
        return (self._question, *answers)

    def stream(self, model: str, provider_id: str, response_format: Any, on_cancel: Callable[[], object]) -> Stream:
        """Return the chunks of all answers as one stream, whose completion is the last answer."""
        source: PieceSource[Any] = PieceSource(iter(self), on_cancel)
        return Stream(
            source,
            source,
            _Answers(model, provider_id),
            parse_result=lambda completion: completion,
            on_end=lambda completion, error: None,
            annotate=lambda error: error,
            structure=structure_of(response_format),
        )


class _Answers(ChunkAssembly):
    """Makes chunks of the steps of a run, and adds them up to the current answer, at the end the last one."""

    _run: ToolRun | None = None

    def feed(self, step: ToolEvent | ToolRun) -> Chunk | None:
        """Take one step, and return its chunk, or None if it has none."""
        if isinstance(step, ToolRun):
            self._run = step
            self.text.add(step.completion.text)
            self.reasoning.add(step.completion.reasoning)
            return None
        if step.kind == "completion":
            self._begin()  # the next answer starts anew
        if step.chunk is None:
            return None
        super().feed(step.chunk)
        self.done = False  # only the last answer ends the stream
        chunk = Chunk(step.chunk.delta, reasoning=step.chunk.reasoning, tool_calls=step.chunk.tool_calls)
        return chunk if any(chunk) else None

    def finish(self) -> list[Chunk]:
        """Return the last chunk, which has the calls, the finish reason and the usage of the last answer."""
        last = self.completion()
        return [Chunk("", True, "", last.tool_calls, last.finish_reason, last.usage)]

    def completion(self, finish_reason: str | None = None) -> Completion:
        """Return the last answer, or the current one so far."""
        return super().completion(finish_reason) if self._run is None else self._run.completion
