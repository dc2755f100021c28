"""What Ollama's errors mean; the texts are those of its server (0.33) and of the engine behind it."""

from __future__ import annotations

from .._core import errors
from .._core.ollama_options import KEEP_ALIVE
from .errors import CRASHES, RATE, STILL_LOADING, TEMPLATE, ErrorRule, ErrorTable, OtherServer

_AUTHENTICATION = ErrorRule(
    errors.AuthenticationError,
    "the server refused the API key",
    "Run 'ollama signin', or give OLLAMA_API_KEY or api_token=; a local Ollama wants neither",
    codes="invalid_api_key",
    texts="unauthorized",
)
_CONTEXT = ErrorRule(
    errors.ContextLengthError,
    "the conversation does not fit into the model's context",
    "Send less, or raise num_ctx=",
    codes="exceed_context_size_error",
    texts="exceeds the context length|longer than the context length|available context size|"
    "max context length|maximum context length|max context size",
)
_FORBIDDEN = ErrorRule(
    errors.AuthenticationError,
    "the server forbids it",
    "Cloud models may be switched off there, or the Host header is not allowed: use the server's own address",
)
_ENDPOINT = ErrorRule(
    errors.EndpointNotFoundError,
    "the server does not know this endpoint",
    "Check host, port and path of the base URL, and the version of Ollama",
    texts="404 page not found|unexpected endpoint",
)
_FAILED = ErrorRule(
    errors.ServerError, "the server failed", "See its log, as Ollama's documentation on troubleshooting says"
)

_RULES = [
    _CONTEXT,
    ErrorRule(
        errors.InvalidRequestError,
        "the model {model!r} cannot do that",
        "Take a model whose capabilities have it ('ollama show MODEL'), or leave it out",
        texts="does not support|not support embedding",
    ),
    ErrorRule(
        errors.ModelCrashedError,
        "the model crashed in Ollama",
        "Take a smaller model or a smaller num_ctx if memory is short",
        texts=f"model runner has unexpectedly stopped|out of memory|{CRASHES}",
    ),
    ErrorRule(
        errors.ModelLoadError,
        "the server could not load the model {model!r}",
        "Unload other models ('ollama stop MODEL'), or take a smaller model or a smaller num_ctx",
        texts="requires more system memory|failed to load model|unable to load model|error loading model",
    ),
    STILL_LOADING,
    ErrorRule(
        errors.InvalidRequestError,
        "the server refused an option",
        "Check the names and types in extra={'options': ...}",
        texts="option must be of type|invalid format:",
    ),
    ErrorRule(
        errors.InvalidRequestError,
        "the server refused keep_alive",
        KEEP_ALIVE.hint,
        texts="time: missing unit|time: unknown unit|time: invalid duration|unsupported type: ",
    ),
    ErrorRule(
        errors.ModelNotFoundError,
        "the server does not know the model {model!r}",
        "list_models() names those that it has; 'ollama pull MODEL', or pull(), downloads one",
        texts="not found, try pulling|manifest: file does not exist|model not found|model does not exist|"
        "invalid model identifier",
    ),
    ErrorRule(
        errors.InvalidRequestError,
        "the server cannot make a model of that",
        "Give a whole GGUF file of a model that it can run, and a template in Go's form, if any",
        texts="not in gguf format|invalid file magic|digest mismatch|template error|unsupported architecture",
    ),
    TEMPLATE,
    ErrorRule(errors.NoModelLoadedError, "the server has no model loaded", "Load one there", texts="no models loaded"),
    _AUTHENTICATION,
    _ENDPOINT,
    RATE,
]

_SINCE = {"/v1/systemone": "0.35"}

_LM_STUDIO = OtherServer(
    "LM Studio",
    r"unexpected endpoint or method|invalid model identifier|'lms |LM Studio|^invalid_api_key",
    "Ask LM Studio with LMStudioProvider; discover() lists the servers that answer",
)

TABLE = ErrorTable("Ollama", _RULES, _AUTHENTICATION, _FORBIDDEN, _ENDPOINT, _FAILED, _LM_STUDIO, "API key", _SINCE)
find_error, fault_error = TABLE.find_error, TABLE.fault_error
