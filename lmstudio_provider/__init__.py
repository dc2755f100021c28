"""LM Studio from Python with one dependency: complete, chat, stream and call tools on a local model."""

import logging

from ._exceptions import (
    AuthenticationError,
    ConfigurationError,
    ContextLengthError,
    EndpointNotFoundError,
    InvalidRequestError,
    ModelNotFoundError,
    NoModelLoadedError,
    ProtocolError,
    ProviderClosedError,
    ProviderError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
    StatusError,
    StreamInterruptedError,
    ToolArgumentsError,
)
from ._requests import ChatRequest, CompletionRequest, Message, Tool
from ._types import (
    Capabilities,
    Chunk,
    Completion,
    Health,
    Limits,
    ModelInfo,
    Stats,
    Timeouts,
    ToolCall,
    Usage,
)

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
    "EndpointNotFoundError",
    "Health",
    "InvalidRequestError",
    "Limits",
    "Message",
    "ModelInfo",
    "ModelNotFoundError",
    "NoModelLoadedError",
    "ProtocolError",
    "ProviderClosedError",
    "ProviderError",
    "RateLimitError",
    "RequestTimeoutError",
    "ServerError",
    "ServerUnavailableError",
    "Stats",
    "StatusError",
    "StreamInterruptedError",
    "Timeouts",
    "Tool",
    "ToolArgumentsError",
    "ToolCall",
    "Usage",
]

# Without it, Python would print the library's warnings where an application has not set up logging.
logging.getLogger(__name__).addHandler(logging.NullHandler())
