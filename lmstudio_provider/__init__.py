"""LM Studio from Python with one dependency: complete, chat, stream and call tools on a local model."""

import logging

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
from ._core.usage import MemoryUsage, UsageRecord, UsageRecorder
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
from ._workflows.conversation import Conversation
from ._workflows.tools import ToolEvent, ToolRun, run_tools

__version__ = "0.1.0"

__all__ = [
    "AuthenticationError",
    "Capabilities",
    "ChatRequest",
    "Chunk",
    "Completion",
    "CompletionRequest",
    "ConfigurationError",
    "ContextLengthError",
    "Conversation",
    "ConversationLostWarning",
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
    "Plugin",
    "Progress",
    "ProtocolError",
    "Provider",
    "ProviderClosedError",
    "ProviderError",
    "RateLimitError",
    "ReasoningItem",
    "Registry",
    "RequestTimeoutError",
    "ResponseNotFoundError",
    "ResponsesRequest",
    "ServerError",
    "ServerUnavailableError",
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
    "discover",
    "events",
    "run_tools",
    "start_server",
]

# Without it, Python would print the library's warnings where an application has not set up logging.
logging.getLogger("lmstudio_provider").addHandler(logging.NullHandler())
