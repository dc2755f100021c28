"""What LM Studio's errors mean, whatever shape, status, or place in a stream they came in.

The texts were seen in reports about LM Studio 0.2 to 0.4; each is matched on the part that stayed the same.
"""

from __future__ import annotations

import email.utils
import json
import re
import time
from dataclasses import dataclass, field
from typing import Any, Mapping

from .._exceptions import (
    AuthenticationError,
    ContextLengthError,
    EndpointNotFoundError,
    InvalidRequestError,
    ModelNotFoundError,
    NoModelLoadedError,
    ProtocolError,
    ProviderError,
    RateLimitError,
    ServerError,
    StatusError,
)

HIDDEN = "[hidden]"


@dataclass(frozen=True)
class Fault:
    """What an error body says."""

    message: str
    type: str = ""
    code: str = ""
    param: str | None = None
    #: The engine's own object, where the text carried one.
    inner: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """What a message has to know of the call that failed."""

    model: str = ""
    #: Where the API token came from, or None where there is none.
    token_source: str | None = None
    #: What must never be shown.
    secrets: tuple[str, ...] = field(default=(), repr=False)


def find_fault(value: object) -> Fault | None:
    """The error that a JSON value reports, or None: a truthy ``error`` is one, whatever the status."""
    error = value.get("error") if isinstance(value, dict) else None
    if not error:
        return None
    if not isinstance(error, dict):
        return _unwrap(Fault(error if isinstance(error, str) else json.dumps(error)))
    text = {name: str(error[name]) for name in ("message", "type", "code", "param") if error.get(name)}
    return _unwrap(
        Fault(text.get("message") or json.dumps(error), text.get("type", ""), text.get("code", ""), text.get("param"))
    )


def _unwrap(fault: Fault) -> Fault:
    # "Engine protocol predict request returned 400: {json}" (0.4.20 on): the inner object is the real cause.
    if not fault.message.startswith("Engine protocol") or "{" not in fault.message:
        return fault
    try:
        inner = json.loads(fault.message[fault.message.index("{") :])["error"]
        return Fault(str(inner["message"]), str(inner.get("type", "")), "", fault.param, inner)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return fault  # it only looked like one: the text as it is says enough


@dataclass(frozen=True)
class _Meaning:
    error: type[StatusError | InvalidRequestError]
    what: str
    hint: str
    #: The server's codes and types, and the stable parts of its texts.
    codes: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()


_AUTHENTICATION = _Meaning(
    AuthenticationError,
    "the server refused the API token",
    "Create a token in LM Studio under Developer > Server Settings, and give it as LM_API_TOKEN or api_token=",
    codes=("invalid_api_key",),
)
_MODEL_NOT_FOUND = _Meaning(
    ModelNotFoundError,
    "the server does not know the model {model!r}",
    "list_models() names those that it has; 'lms get MODEL' downloads one",
    codes=("model_not_found",),
    texts=("invalid model identifier",),
)
_CONTEXT = _Meaning(
    ContextLengthError,
    "the conversation does not fit into the model's context",
    "Send less, ask for fewer tokens, or load the model with a larger context ('lms load MODEL --context-length N')",
    codes=("context_length_exceeded", "exceed_context_size_error"),
    texts=("context length", "context size", "context the overflows", "context overflows", "n_ctx"),
)
_ENDPOINT = _Meaning(
    EndpointNotFoundError,
    "the server does not know this endpoint",
    "Check the base URL (no /v1 at its end is needed), the version of LM Studio, and the API token",
    texts=("unexpected endpoint",),
)
_RATE = _Meaning(RateLimitError, "the server has too many requests", "Ask again later", codes=("rate_limit_exceeded",))
_REQUEST = _Meaning(InvalidRequestError, "the server refused the request", "")
_FAILED = _Meaning(ServerError, "the server failed", "See its log: 'lms log stream', or LM Studio's Developer page")

# Tested in this order, codes before texts. "Invalid model identifier" comes first among the texts, because it lists
# names of models, which may contain any of the other words; a failure to load may mention the context.
_MEANINGS = [
    _AUTHENTICATION,
    _MODEL_NOT_FOUND,
    _Meaning(
        ServerError,
        "the model crashed in LM Studio",
        "Load it again, with a smaller context if memory is short; update the runtime if it stays",
        texts=("model has crashed", "exited before becoming healthy", "iterating prediction stream", "channel error"),
    ),
    _Meaning(
        ServerError,
        "the model was unloaded while it worked",
        "Ask again; switch off auto-evict or raise the model's TTL in LM Studio if it happens often",
        texts=("model unloaded", "model is unloaded", "model reloaded"),
    ),
    _Meaning(
        NoModelLoadedError,
        "the server has no model loaded",
        "Load one with 'lms load MODEL', or switch on just-in-time loading in LM Studio's server settings",
        texts=("no models loaded",),
    ),
    _Meaning(
        ServerError,
        "the server could not load the model {model!r}",
        "Unload other models, or take a smaller quantization or context",
        codes=("model_load_failed",),
        texts=("failed to load model", "error loading model", "model loading"),
    ),
    _CONTEXT,
    _ENDPOINT,
    _RATE,
    _Meaning(
        InvalidRequestError,
        "the model's chat template refuses this conversation",
        "Use one system message and let user and assistant take turns, or take another model",
        texts=("jinja",),
    ),
    _Meaning(
        InvalidRequestError,
        "the model {model!r} cannot embed",
        "Give an embedding model: list_models() shows them with type 'embedding'",
        texts=("embedding=true", "not support embedding", "no embedding model", "not an embedding model"),
    ),
    _Meaning(
        InvalidRequestError,
        "the server cannot make a grammar of the tools or the JSON schema",
        "Offer fewer tools and simpler schemas, without pattern, huge enum or deep $ref",
        texts=("failed to parse grammar",),
    ),
]

_BY_STATUS = {
    400: _REQUEST,
    401: _AUTHENTICATION,
    403: _AUTHENTICATION,
    404: _ENDPOINT,
    405: _ENDPOINT,
    413: _REQUEST,
    422: _REQUEST,
    429: _RATE,
}


def _meaning(fault: Fault, status: int) -> _Meaning:
    names = {fault.code, fault.type}
    text = fault.message.lower()
    for meaning in _MEANINGS:
        if names.intersection(meaning.codes):
            return meaning
    for meaning in _MEANINGS:
        if any(part in text for part in meaning.texts):
            return meaning
    if status < 300:  # an error under 200, or in a stream: its type is all there is
        return _REQUEST if fault.type.startswith("invalid_request") else _FAILED
    if status >= 500:
        return _FAILED
    return _BY_STATUS.get(status, _Meaning(StatusError, f"the server answered HTTP {status}", ""))


def fault_error(fault: Fault, status: int, headers: Mapping[str, str], body: str, asked: Asked) -> ProviderError:
    """The error to raise for ``fault``, by its code, then its text, then the status."""
    meaning = _meaning(fault, status)
    said = redact(fault.message, asked.secrets)
    what, hint = meaning.what.format(model=asked.model), meaning.hint
    data: dict[str, Any] = {}
    if meaning.error is AuthenticationError:
        if fault.code in meaning.codes:
            said = ""  # it repeats the beginning of a malformed token
        if asked.token_source:
            what += f" that came from {asked.token_source}"
        else:
            what = "the server wants an API token, and none was given"
    elif meaning.error is ContextLengthError:
        data["prompt_tokens"], data["context_length"] = prompt, context = _tokens(fault)
        if prompt and context:
            what, said = f"the prompt has {prompt} tokens and the model's context holds {context}", ""
    elif meaning.error is ModelNotFoundError:
        data["model"] = asked.model
    if "html" in (headers.get("Content-Type") or "").lower():
        hint = "That is a web page: another program, or a proxy, answers at that address; check host and port"
    return meaning.error(
        f"{what}: {_excerpt(said)}" if said else what,
        hint=hint,
        status=status,
        code=fault.code or None,
        param=fault.param,
        body=redact(body, asked.secrets),
        retry_after_s=retry_after(headers),
        sent=True,
        **data,
    )


_TOKENS = [
    # The tokens of the prompt, then those that fit: the wordings of 0.3.x, 0.3.18 to 0.4.x, 0.4.20 on, and 0.2.x.
    re.compile(r"keep the first (?P<prompt>\d+) tokens.*context length of only (?P<context>\d+)", re.S),
    re.compile(r"n_keep: *(?P<prompt>\d+) *>= *n_ctx: *(?P<context>\d+)"),
    re.compile(r"request \((?P<prompt>\d+) tokens\) exceeds the available context size \((?P<context>\d+) tokens\)"),
    re.compile(r"Input length (?P<prompt>\d+) exceeds context length (?P<context>\d+)"),
    # llama-cpp-python's server.
    re.compile(r"maximum context length is (?P<context>\d+) tokens.*\((?P<prompt>\d+) in", re.S),
]


def _tokens(fault: Fault) -> tuple[int | None, int | None]:
    """The tokens of the prompt and those that fit into the context, where the error tells them."""
    prompt, context = fault.inner.get("n_prompt_tokens"), fault.inner.get("n_ctx")
    if isinstance(prompt, int) and isinstance(context, int):
        return prompt, context
    for pattern in _TOKENS:
        match = pattern.search(fault.message)
        if match:
            return int(match["prompt"]), int(match["context"])
    return None, None


def find_error(
    status: int, headers: Mapping[str, str], body: bytes, value: object, asked: Asked
) -> ProviderError | None:
    """The error that a whole reply is, or None; ``value`` is its JSON, None where it is none."""
    fault = find_fault(value)
    if fault is None and 200 <= status < 300:
        return None
    text = body.decode("utf-8", "replace")
    if fault is None:
        kind = headers.get("Content-Type") or "no content type"
        said = text[:300] or "an empty body"
        if 300 <= status < 400:
            return ProtocolError(
                f"the server answered with a redirect (HTTP {status}), which is not followed",
                hint="Set the base URL to where LM Studio itself answers",
                sent=True,
            )
        if isinstance(value, dict) and value.get("detail"):
            said = json.dumps(value["detail"])  # FastAPI's form, as llama-cpp-python's server sends it
        fault = Fault(f"HTTP {status}, {kind}: {said}")
    return fault_error(fault, status, headers, text, asked)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds of ``Retry-After``, given as a number or as a date (RFC 9110, 10.2.3)."""
    text = (headers.get("Retry-After") or "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def redact(text: str, secrets: tuple[str, ...]) -> str:
    """``text`` without the secrets, whole or as LM Studio repeats them: ten characters, then asterisks."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN).replace(secret[:10], HIDDEN)
    return re.sub(r"(?<!\S)\S*\*{4,}", HIDDEN, text)


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= 300 else text[:300] + "…")
