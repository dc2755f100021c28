"""What happens in a stream of LM Studio's own API, a class for each type of event (LM Studio docs: developer/rest)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Mapping

from ._exceptions import ProviderError
from ._native_types import NativeCompletion


@dataclass(frozen=True)
class Event:
    """The base of all of them; ``type`` is what the server calls it."""

    type: ClassVar[str] = ""


@dataclass(frozen=True)
class UnknownEvent(Event):
    """An event of a type that is not known here: a newer server may send some."""

    type: str  # type: ignore[misc]  # that of each event, not of the class
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ChatStart(Event):
    """The first event."""

    type: ClassVar[str] = "chat.start"
    model_instance_id: str


@dataclass(frozen=True)
class ModelLoadStart(Event):
    """The model is not loaded yet, and is being loaded now."""

    type: ClassVar[str] = "model_load.start"
    model_instance_id: str


@dataclass(frozen=True)
class ModelLoadProgress(Event):
    """How much of it is loaded, from 0 to 1."""

    type: ClassVar[str] = "model_load.progress"
    model_instance_id: str
    progress: float


@dataclass(frozen=True)
class ModelLoadEnd(Event):
    """It is loaded."""

    type: ClassVar[str] = "model_load.end"
    model_instance_id: str
    load_time_seconds: float | None


@dataclass(frozen=True)
class PromptProcessingStart(Event):
    """The model begins to read the prompt; after a tool has run it does so again."""

    type: ClassVar[str] = "prompt_processing.start"


@dataclass(frozen=True)
class PromptProcessingProgress(Event):
    """How much of the prompt is read, from 0 to 1."""

    type: ClassVar[str] = "prompt_processing.progress"
    progress: float


@dataclass(frozen=True)
class PromptProcessingEnd(Event):
    """The prompt is read."""

    type: ClassVar[str] = "prompt_processing.end"


@dataclass(frozen=True)
class ReasoningStart(Event):
    """The model begins to think."""

    type: ClassVar[str] = "reasoning.start"


@dataclass(frozen=True)
class ReasoningDelta(Event):
    """Text to append to the reasoning."""

    type: ClassVar[str] = "reasoning.delta"
    content: str


@dataclass(frozen=True)
class ReasoningEnd(Event):
    """The model has thought."""

    type: ClassVar[str] = "reasoning.end"


@dataclass(frozen=True)
class ToolCallStart(Event):
    """The model begins a call."""

    type: ClassVar[str] = "tool_call.start"
    tool: str
    provider_info: Mapping[str, Any]


@dataclass(frozen=True)
class ToolCallArguments(Event):
    """The call is written, and LM Studio makes it now."""

    type: ClassVar[str] = "tool_call.arguments"
    tool: str
    arguments: Mapping[str, Any]
    provider_info: Mapping[str, Any]


@dataclass(frozen=True)
class ToolCallSuccess(Event):
    """The tool has answered."""

    type: ClassVar[str] = "tool_call.success"
    tool: str
    arguments: Mapping[str, Any]
    output: str
    provider_info: Mapping[str, Any]


@dataclass(frozen=True)
class ToolCallFailure(Event):
    """The call could not be made."""

    type: ClassVar[str] = "tool_call.failure"
    reason: str
    #: As that of InvalidToolCallItem.
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class MessageStart(Event):
    """A part of the answer begins."""

    type: ClassVar[str] = "message.start"


@dataclass(frozen=True)
class MessageDelta(Event):
    """Text to append to the answer."""

    type: ClassVar[str] = "message.delta"
    content: str


@dataclass(frozen=True)
class MessageEnd(Event):
    """A part of the answer is whole."""

    type: ClassVar[str] = "message.end"


@dataclass(frozen=True)
class ErrorEvent(Event):
    """Something failed; ``error`` is raised when the stream has been read to its end."""

    type: ClassVar[str] = "error"
    error: ProviderError


@dataclass(frozen=True)
class ChatEnd(Event):
    """The last event, with the whole reply."""

    type: ClassVar[str] = "chat.end"
    result: NativeCompletion
