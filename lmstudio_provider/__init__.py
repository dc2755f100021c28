"""LM Studio from Python with one dependency: complete, chat, stream and call tools on a local model."""

import importlib.util
import logging
import sys
from typing import TYPE_CHECKING, Any

from ._core.errors import (
    AuthenticationError,
    ConfigurationError,
    ContextLengthError,
    ConversationLostWarning,
    DownloadError,
    EmptyAnswerWarning,
    EndpointNotFoundError,
    InvalidRequestError,
    JobNotFoundError,
    ModelCrashedError,
    ModelLoadError,
    ModelMismatchWarning,
    ModelNotFoundError,
    ModelUnloadedError,
    NoModelLoadedError,
    ProtocolError,
    ProviderClosedError,
    ProviderError,
    RateLimitError,
    ReasoningWarning,
    RequestTimeoutError,
    ResponseNotFoundError,
    ServerError,
    ServerUnavailableError,
    StatusError,
    StreamInterruptedError,
    StructuredOutputError,
    ToolArgumentsError,
    ToolCallWarning,
    TruncationWarning,
)
from ._core.messages import Message, Tool
from ._core.requests import ChatRequest, CompletionRequest, ResponsesRequest, TextRequest
from ._core.types import (
    Capabilities,
    Chunk,
    Completion,
    Embeddings,
    Health,
    Limits,
    LoadedInstance,
    ModelInfo,
    Progress,
    Stats,
    Timeouts,
    ToolCall,
    Usage,
)
from ._core.usage import UsageRecord, UsageRecorder

if TYPE_CHECKING:
    from ._core.decisions import (
        Choice,
        ChoiceAnswer,
        Condition,
        ConditionAnswer,
        Decisions,
        Question,
        Score,
        ScoreAnswer,
    )
    from ._lmstudio import LMStudioProvider
    from ._native import events
    from ._native.conversation import NativeConversation
    from ._native.download import Download
    from ._native.native import Native
    from ._native.stream import NativeStream
    from ._native.types import (
        EphemeralMCP,
        InvalidToolCallItem,
        LoadedModel,
        MessageItem,
        NativeCompletion,
        NativeRequest,
        Plugin,
        ReasoningItem,
        ToolCallItem,
        UnknownItem,
    )
    from ._ollama import OllamaProvider
    from ._provider.base import Provider
    from ._provider.stream import Stream
    from ._servers.discovery import Endpoint, discover
    from ._servers.failover import Failover
    from ._servers.registry import Registry
    from ._servers.start import start_server
    from ._workflows.batch import Result, complete_many
    from ._workflows.conversation import Conversation
    from ._workflows.measure import measure
    from ._workflows.measurement import MeasuredRow, Measurement, Percentiles, RequestTiming
    from ._workflows.tools import ToolEvent, ToolRun, run_tools
    from ._workflows.usage import MemoryUsage, UsageSummary
    from ._workflows.usage_sqlite import SqliteUsage

__version__ = "0.1.0"

__all__ = [
    "AuthenticationError",
    "Capabilities",
    "ChatRequest",
    "Choice",
    "ChoiceAnswer",
    "Chunk",
    "Completion",
    "CompletionRequest",
    "Condition",
    "ConditionAnswer",
    "ConfigurationError",
    "ContextLengthError",
    "Conversation",
    "ConversationLostWarning",
    "Decisions",
    "Download",
    "DownloadError",
    "Embeddings",
    "EmptyAnswerWarning",
    "Endpoint",
    "EndpointNotFoundError",
    "EphemeralMCP",
    "Failover",
    "Health",
    "InvalidRequestError",
    "InvalidToolCallItem",
    "JobNotFoundError",
    "LMStudioProvider",
    "Limits",
    "LoadedInstance",
    "LoadedModel",
    "MeasuredRow",
    "Measurement",
    "MemoryUsage",
    "Message",
    "MessageItem",
    "ModelCrashedError",
    "ModelInfo",
    "ModelLoadError",
    "ModelMismatchWarning",
    "ModelNotFoundError",
    "ModelUnloadedError",
    "Native",
    "NativeCompletion",
    "NativeConversation",
    "NativeRequest",
    "NativeStream",
    "NoModelLoadedError",
    "OllamaProvider",
    "Percentiles",
    "Plugin",
    "Progress",
    "ProtocolError",
    "Provider",
    "ProviderClosedError",
    "ProviderError",
    "Question",
    "RateLimitError",
    "ReasoningItem",
    "ReasoningWarning",
    "Registry",
    "RequestTimeoutError",
    "RequestTiming",
    "ResponseNotFoundError",
    "ResponsesRequest",
    "Result",
    "Score",
    "ScoreAnswer",
    "ServerError",
    "ServerUnavailableError",
    "SqliteUsage",
    "Stats",
    "StatusError",
    "Stream",
    "StreamInterruptedError",
    "StructuredOutputError",
    "TextRequest",
    "Timeouts",
    "Tool",
    "ToolArgumentsError",
    "ToolCall",
    "ToolCallItem",
    "ToolCallWarning",
    "ToolEvent",
    "ToolRun",
    "TruncationWarning",
    "UnknownItem",
    "Usage",
    "UsageRecord",
    "UsageRecorder",
    "UsageSummary",
    "complete_many",
    "discover",
    "events",
    "measure",
    "run_tools",
    "start_server",
]

# What loads on first use: importing the package is cheap, and a vendored copy can leave optional folders out.
_ON_FIRST_USE = {
    "_core.decisions": "Choice ChoiceAnswer Condition ConditionAnswer Decisions Question Score ScoreAnswer",
    "_lmstudio": "LMStudioProvider",
    "_native.conversation": "NativeConversation",
    "_native.download": "Download",
    "_native.native": "Native",
    "_native.stream": "NativeStream",
    "_native.types": "EphemeralMCP InvalidToolCallItem LoadedModel MessageItem NativeCompletion "
    "NativeRequest Plugin ReasoningItem ToolCallItem UnknownItem",
    "_ollama": "OllamaProvider",
    "_provider.base": "Provider",
    "_provider.stream": "Stream",
    "_servers.discovery": "Endpoint discover",
    "_servers.failover": "Failover",
    "_servers.registry": "Registry",
    "_servers.start": "start_server",
    "_workflows.batch": "Result complete_many",
    "_workflows.conversation": "Conversation",
    "_workflows.measure": "measure",
    "_workflows.measurement": "MeasuredRow Measurement Percentiles RequestTiming",
    "_workflows.tools": "ToolEvent ToolRun run_tools",
    "_workflows.usage": "MemoryUsage UsageSummary",
    "_workflows.usage_sqlite": "SqliteUsage",
    "events": "events",
}
_MODULES = {name: module for module, names in _ON_FIRST_USE.items() for name in names.split()}


def _left_out(name: str) -> str:
    """Return the part of the package that ``name`` needs and that this copy does not have; "" if it has all of them."""
    module = "_native.events" if name == "events" else _MODULES.get(name, "_core")
    for part in (module.partition(".")[0], module):
        if importlib.util.find_spec(f"{__name__}.{part}") is None:
            return part
    return ""


if not TYPE_CHECKING:  # type checkers need the whole __all__, and a __getattr__ would make every name valid to them
    _PUBLIC = __all__
    del __all__  # "import *" would fail on a name that was left out, so __getattr__ returns those that are there

    def __getattr__(name: str) -> Any:
        """Load ``name`` on its first use (PEP 562)."""
        if name == "__all__":
            return [each for each in _PUBLIC if not _left_out(each)]
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if _left_out(name):
            # hasattr() expects an AttributeError; "from ... import" would replace its message by one that says less.
            kind = ImportError if sys._getframe(1).f_code.co_name == "_handle_fromlist" else AttributeError
            raise kind(f"{name!r} needs {_left_out(name)!r}, which was left out of this copy of {__name__}")
        module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
        value = globals()[name] = module if name == "events" else getattr(module, name)
        return value

    def __dir__() -> list[str]:
        return sorted([*(name for name in globals() if name.startswith("__")), *__getattr__("__all__")])


# Without it, Python would print the library's warnings if the application has not set up logging.
logging.getLogger("lmstudio_provider").addHandler(logging.NullHandler())
