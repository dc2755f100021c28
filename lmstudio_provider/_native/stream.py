"""A streamed reply of LM Studio's own API, as its caller sees it."""

from __future__ import annotations

from typing import Any, Callable, Iterator

from .._core.callbacks import Callback
from .._core.errors import InvalidRequestError, preview
from .._dialects.thoughts import ThoughtSplitter
from .._http.reply import Reply
from .._provider.base_stream import BaseStream
from . import events
from .types import NativeCompletion

# Seconds to wait for the end of a stream after an error.
_END_S = 5.0


class NativeStream(BaseStream[events.Event, NativeCompletion]):
    """Iterates over the typed events of a reply, as they come.

    ``completion`` is the whole reply when the stream has ended; ``close()`` works as that of a Stream. The error of an
    ``error`` event is raised when the stream has been read to its end; its ``partial`` is the reply so far.
    """

    _reply: Reply

    def __init__(self, *parts: Any, notices: Notices) -> None:
        super().__init__(*parts)
        self._notices = notices

    def __next__(self) -> events.Event:
        event = super().__next__()
        try:
            self._notices(event)
        except BaseException:
            self.close()
            raise
        if isinstance(event, events.ErrorEvent):
            # The events after it are there already; a server that forgets them must not hold up the error.
            self._reply.exchange.limit_idle(_END_S)
        return event

    def text(self) -> Iterator[str]:
        """Iterate over only the texts of the answer, without reasoning that the server left in it."""
        splitter = ThoughtSplitter()
        for event in self:
            answer = ""
            if isinstance(event, events.MessageDelta):
                answer, _ = splitter.feed(event.content)
            elif isinstance(event, events.MessageEnd):  # the next one may begin with reasoning, too
                answer, _ = splitter.feed("", end=True)
                splitter = ThoughtSplitter()
            if answer:
                yield answer
        held, _ = splitter.feed("", end=True)
        if held:
            yield held


class Notices:
    """Calls ``on_progress(stage, fraction)`` for each event that reports new progress."""

    def __init__(self, function: Callable[[str, float], object] | None) -> None:
        if function is not None and not callable(function):
            raise InvalidRequestError(f"on_progress={preview(function)} cannot be called")
        call = None if function is None else lambda stage: function(*stage)
        self._callback: Callback[tuple[str, float]] = Callback("on_progress", call)
        self._last: tuple[str, float] | None = None

    def __call__(self, event: events.Event) -> None:
        stage, _, step = event.type.partition(".")
        if stage in ("model_load", "prompt_processing") and step in ("start", "progress", "end"):
            now = (stage, getattr(event, "progress", 0.0 if step == "start" else 1.0))
            if now != self._last:
                self._last = now
                self._callback(now)
