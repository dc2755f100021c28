"""What LM Studio's errors mean.

The texts were seen in reports about LM Studio 0.2 to 0.4; each is matched on the part that stayed the same.
"""

from __future__ import annotations

from .._core import errors
from .errors import CRASHES, RATE, STILL_LOADING, TEMPLATE, ErrorRule, ErrorTable, OtherServer

_AUTHENTICATION = ErrorRule(
    errors.AuthenticationError,
    "the server refused the API token",
    "Create a token in LM Studio under Developer > Server Settings, and give it as LM_API_TOKEN or api_token=",
    codes="invalid_api_key",
)
_MODEL_NOT_FOUND = ErrorRule(
    errors.ModelNotFoundError,
    "the server does not know the model {model!r}",
    "list_models() names those that it has; 'lms get MODEL' downloads one",
    codes="model_not_found",
    texts="invalid model identifier|model not found|model does not exist",
)
_FORBIDDEN = ErrorRule(
    errors.AuthenticationError,
    "the server forbids it",
    "The token may lack a permission (LM Studio: Developer > Server Settings), or a proxy has rules against it",
)
_CONTEXT = ErrorRule(
    errors.ContextLengthError,
    "the conversation does not fit into the model's context",
    "Send less, ask for fewer tokens, or load the model with a larger context ('lms load MODEL --context-length N')",
    codes="context_length_exceeded exceed_context_size_error",
    texts="context length|context size|context the overflows|context overflows|n_ctx",
)
_ENDPOINT = ErrorRule(
    errors.EndpointNotFoundError,
    "the server does not know this endpoint",
    "Check the base URL (no /v1 at its end is needed), the version of LM Studio, and the API token",
    texts="unexpected endpoint",
)
_FAILED = ErrorRule(
    errors.ServerError, "the server failed", "See its log: 'lms log stream', or LM Studio's Developer page"
)

# Tested in this order, codes before texts. "Invalid model identifier" comes first among the texts, because it lists
# names of models, which may contain any of the other words; a failure to load may mention the context.
_RULES = [
    _AUTHENTICATION,
    _MODEL_NOT_FOUND,
    ErrorRule(
        errors.JobNotFoundError,
        "the server does not know this download",
        "It may have forgotten it when it restarted: native.download(MODEL) begins it again",
        codes="job_not_found",
    ),
    ErrorRule(
        errors.ResponseNotFoundError,
        "the server does not know the response that this one was to follow",
        "It is no longer stored, or was made with store=False: begin a new conversation",
        codes="previous_response_not_found",
        texts="previous response|stored response",
    ),
    ErrorRule(
        errors.ServerError,
        "LM Studio could not reach an MCP server",
        "Check its URL, and that LM Studio's server settings allow it: 'Allow per-request MCPs' for EphemeralMCP, "
        "'Allow calling servers from mcp.json' for Plugin",
        codes="mcp_connection_error plugin_connection_error",
    ),
    ErrorRule(
        errors.ModelCrashedError,
        "the model crashed in LM Studio",
        "Load it again, with a smaller context if memory is short; update the runtime if it stays",
        texts=f"model has crashed|exited before becoming healthy|iterating prediction stream|channel error|{CRASHES}",
    ),
    ErrorRule(
        errors.ModelUnloadedError,
        "the model was unloaded while it worked",
        "Ask again; switch off auto-evict or raise the model's TTL in LM Studio if it happens often",
        texts="model unloaded|model is unloaded|model reloaded",
    ),
    ErrorRule(
        errors.NoModelLoadedError,
        "the server has no model loaded",
        "Load one with 'lms load MODEL', or switch on just-in-time loading in LM Studio's server settings",
        texts="no models loaded",
    ),
    ErrorRule(
        errors.ModelLoadError,
        "the server could not load the model {model!r}",
        "Unload other models, or take a smaller quantization or context",
        codes="model_load_failed",
        texts="failed to load model|unable to load model|error loading model|while loading model|loading failed|"
        "model loading aborted|model loading was stopped|insufficient system resources",
    ),
    STILL_LOADING,
    ErrorRule(
        errors.ContextLengthError,
        "the input does not fit into the model's batch",
        "Send a shorter state, or load the model with a larger batch: native.load(MODEL, eval_batch_size=N)",
        texts="eval_batch_size|evalbatchsize|physical batch size",
    ),
    _CONTEXT,
    _ENDPOINT,
    RATE,
    TEMPLATE,
    ErrorRule(
        errors.InvalidRequestError,
        "the model {model!r} cannot embed",
        "Give an embedding model: list_models() shows them with type 'embedding'",
        texts="embedding=true|not support embedding|no embedding model|not an embedding model",
    ),
    ErrorRule(
        errors.InvalidRequestError,
        "the server cannot make a grammar of the tools or the JSON schema",
        "Offer fewer tools and simpler schemas, without pattern, huge enum or deep $ref",
        texts="failed to parse grammar",
    ),
    ErrorRule(
        errors.InvalidRequestError,
        "the endpoint does not take a field of the request",
        "/api/v1 refuses unknown fields; chat() takes most fields",
        codes="unrecognized_keys",
        texts="unrecognized key",
    ),
]

# In which version each came (LM Studio's changelog, and its documentation for the two last).
_SINCE = {"/api/v0/": "0.3.6", "/v1/responses": "0.3.29", "/api/v1/": "0.4.0", "/v1/messages": "0.4.1"}

_OLLAMA = OtherServer(
    "Ollama",
    r"404 page not found|405 method not allowed|Ollama is running|try pulling it first"
    r"|model ['\"][^'\"]*['\"] not found|llama runner process"
    r"|does not support (tools|thinking|chat|generate|insert|completion)$",
    "Ask Ollama with OllamaProvider; discover() lists the servers that answer",
)

TABLE = ErrorTable("LM Studio", _RULES, _AUTHENTICATION, _FORBIDDEN, _ENDPOINT, _FAILED, _OLLAMA, since=_SINCE)
find_error, fault_error = TABLE.find_error, TABLE.fault_error
