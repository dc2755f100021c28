"""LM Studio from Python with one dependency: complete, chat, stream and call tools on a local model."""

import logging

from ._conversation import Conversation
from ._discovery import Endpoint, discover
from ._exceptions import (
    AuthenticationError,
    ConfigurationError,
    ContextLengthError,
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
)
from ._failover import Failover
from ._lmstudio import LMStudioProvider
from ._messages import Message, Tool
from ._ollama import OllamaProvider
from ._provider import Provider
from ._registry import Registry
from ._requests import ChatRequest, CompletionRequest, TextRequest
from ._start import start_server
from ._stream import Stream
from ._tools import ToolEvent, ToolRun, run_tools
from ._types import (
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
from ._usage import MemoryUsage, UsageRecord, UsageRecorder

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
    "DownloadError",
    "Embeddings",
    "EmptyAnswerWarning",
    "Endpoint",
    "EndpointNotFoundError",
    "Failover",
    "Health",
    "InvalidRequestError",
    "JobNotFoundError",
    "LMStudioProvider",
    "Limits",
    "LoadedInstance",
    "MemoryUsage",
    "Message",
    "ModelCrashedError",
    "ModelInfo",
    "ModelLoadError",
    "ModelMismatchWarning",
    "ModelNotFoundError",
    "ModelUnloadedError",
    "NoModelLoadedError",
    "OllamaProvider",
    "Progress",
    "ProtocolError",
    "Provider",
    "ProviderClosedError",
    "ProviderError",
    "RateLimitError",
    "Registry",
    "RequestTimeoutError",
    "ResponseNotFoundError",
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
    "ToolEvent",
    "ToolRun",
    "Usage",
    "UsageRecord",
    "UsageRecorder",
    "discover",
    "run_tools",
    "start_server",
]

# Without it, Python would print the library's warnings where an application has not set up logging.
logging.getLogger("lmstudio_provider").addHandler(logging.NullHandler())
