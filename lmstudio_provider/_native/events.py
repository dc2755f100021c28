"""The events in a stream of LM Studio's own API, a class for each type (LM Studio docs: developer/rest)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Mapping

from .._core.errors import ProviderError
from .._core.frozen import Frozen
from .types import NativeCompletion

__all__ = [
    "ChatEnd",
    "ChatStart",
    "ErrorEvent",
    "Event",
    "MessageDelta",
    "MessageEnd",
    "MessageStart",
    "ModelLoadEnd",
    "ModelLoadProgress",
    "ModelLoadStart",
    "PromptProcessingEnd",
    "PromptProcessingProgress",
    "PromptProcessingStart",
    "ReasoningDelta",
    "ReasoningEnd",
    "ReasoningStart",
    "ToolCallArguments",
    "ToolCallFailure",
    "ToolCallStart",
    "ToolCallSuccess",
    "UnknownEvent",
]


@dataclass(frozen=True, repr=False, eq=False)
class Event(Frozen):
    """The base of all events; ``type`` is the server's name for it."""

    type: ClassVar[str] = ""

    def __init_subclass__(cls, type: str = "") -> None:
        cls.type = type


@dataclass(frozen=True, repr=False, eq=False)
class UnknownEvent(Event):
    """An event of an unknown type, which a newer server may send."""

    type: str  # type: ignore[misc]  # each event has its own, not the class
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, repr=False, eq=False)
class ChatStart(Event, type="chat.start"):
    """The first event."""

    model_instance_id: str


@dataclass(frozen=True, repr=False, eq=False)
class ModelLoadStart(Event, type="model_load.start"):
    """The model is not loaded yet, and is being loaded now."""

    model_instance_id: str


@dataclass(frozen=True, repr=False, eq=False)
class ModelLoadProgress(Event, type="model_load.progress"):
    """How much of the model is loaded, from 0 to 1."""

    model_instance_id: str
    progress: float


@dataclass(frozen=True, repr=False, eq=False)
class ModelLoadEnd(Event, type="model_load.end"):
    """The model is loaded."""

    model_instance_id: str
    load_time_seconds: float | None


@dataclass(frozen=True, repr=False, eq=False)
class PromptProcessingStart(Event, type="prompt_processing.start"):
    """The model begins to read the prompt; after a tool has run it does so again."""


@dataclass(frozen=True, repr=False, eq=False)
class PromptProcessingProgress(Event, type="prompt_processing.progress"):
    """How much of the prompt is read, from 0 to 1."""

    progress: float


@dataclass(frozen=True, repr=False, eq=False)
class PromptProcessingEnd(Event, type="prompt_processing.end"):
    """The prompt is read."""


@dataclass(frozen=True, repr=False, eq=False)
class ReasoningStart(Event, type="reasoning.start"):
    """The model begins to think."""


@dataclass(frozen=True, repr=False, eq=False)
class ReasoningDelta(Event, type="reasoning.delta"):
    """Text to append to the reasoning."""

    content: str


@dataclass(frozen=True, repr=False, eq=False)
class ReasoningEnd(Event, type="reasoning.end"):
    """The reasoning has ended."""


@dataclass(frozen=True, repr=False, eq=False)
class ToolCallStart(Event, type="tool_call.start"):
    """The model begins a call."""

    tool: str
    provider_info: Mapping[str, Any]


@dataclass(frozen=True, repr=False, eq=False)
class ToolCallArguments(Event, type="tool_call.arguments"):
    """The call is written, and LM Studio makes it now."""

    tool: str
    arguments: Mapping[str, Any]
    provider_info: Mapping[str, Any]


@dataclass(frozen=True, repr=False, eq=False)
class ToolCallSuccess(Event, type="tool_call.success"):
    """The tool has answered."""

    tool: str
    arguments: Mapping[str, Any]
    output: str
    provider_info: Mapping[str, Any]


@dataclass(frozen=True, repr=False, eq=False)
class ToolCallFailure(Event, type="tool_call.failure"):
    """The call could not be made."""

    reason: str
    metadata: Mapping[str, Any]
    """The same as in InvalidToolCallItem."""


@dataclass(frozen=True, repr=False, eq=False)
class MessageStart(Event, type="message.start"):
    """A part of the answer begins."""


@dataclass(frozen=True, repr=False, eq=False)
class MessageDelta(Event, type="message.delta"):
    """Text to append to the answer."""

    content: str


@dataclass(frozen=True, repr=False, eq=False)
class MessageEnd(Event, type="message.end"):
    """A part of the answer is complete."""


@dataclass(frozen=True, repr=False, eq=False)
class ErrorEvent(Event, type="error"):
    """Something failed; ``error`` is raised when the stream has been read to its end."""

    error: ProviderError


@dataclass(frozen=True, repr=False, eq=False)
class ChatEnd(Event, type="chat.end"):
    """The last event, with the whole reply."""

    result: NativeCompletion
