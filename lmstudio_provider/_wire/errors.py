"""Errors by their meaning, whatever shape, status, or place in a stream they came in."""

from __future__ import annotations

import email.utils
import itertools
import json
import re
import time
from dataclasses import dataclass, field
from typing import Any, Mapping, Sequence

from .._exceptions import (
    AuthenticationError,
    ContextLengthError,
    EndpointNotFoundError,
    InvalidRequestError,
    ModelNotFoundError,
    ProtocolError,
    ProviderError,
    StatusError,
)
from .._json import loads
from .._model_names import near

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
    #: The path of the call.
    path: str = ""
    #: The ids of the models that the server is known to have.
    known: tuple[str, ...] = ()


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
    # "Engine protocol predict request returned 400: {json}" (LM Studio 0.4.20 on), or the JSON alone (Ollama): the
    # inner object is the real cause.
    if not fault.message.startswith(("Engine protocol", "{")) or "{" not in fault.message:
        return fault
    try:
        inner = loads(fault.message[fault.message.index("{") :])["error"]
        return Fault(str(inner["message"]), str(inner.get("type", "")), "", fault.param, inner)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return fault  # it only looked like one: the text as it is says enough


@dataclass(frozen=True)
class Meaning:
    """What an error means, and how to tell it by."""

    error: type[StatusError | InvalidRequestError]
    what: str
    hint: str
    #: The server's codes and types, and the stable parts of its texts.
    codes: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Meanings:
    """What the errors of one kind of server mean."""

    #: Tested in this order, codes before texts.
    known: Sequence[Meaning]
    by_status: Mapping[int, Meaning]
    #: A request that was refused, and a server that failed, for reasons that nobody knows yet.
    request: Meaning
    failed: Meaning
    #: Which version brought the endpoints whose path begins so.
    since: Mapping[str, str] = field(default_factory=dict)

    def find(self, fault: Fault, status: int) -> Meaning:
        """What ``fault`` means: by its code, then its text, then the status."""
        names = {fault.code, fault.type}
        text = fault.message.lower()
        for meaning in self.known:
            if names.intersection(meaning.codes):
                return meaning
        for meaning in self.known:
            if any(part in text for part in meaning.texts):
                return meaning
        if status < 300:  # an error under 200, or in a stream: its type is all there is
            return self.request if fault.type.startswith("invalid_request") else self.failed
        if status >= 500:
            return self.failed
        return self.by_status.get(status, Meaning(StatusError, f"the server answered HTTP {status}", ""))


def fault_error(
    meanings: Meanings, fault: Fault, status: int, headers: Mapping[str, str], body: str, asked: Asked
) -> ProviderError:
    """The error to raise for ``fault``."""
    meaning = meanings.find(fault, status)
    said = redact(fault.message, asked.secrets)
    what, hint = meaning.what.format(model=asked.model), meaning.hint
    data: dict[str, Any] = {}
    if meaning.error is AuthenticationError:
        data["token_source"] = asked.token_source
        if fault.code in meaning.codes:
            said = ""  # it repeats the beginning of a malformed token
        if asked.token_source:
            what += f" that came from {asked.token_source}"
        elif status == 403:
            what = "the server forbids it"  # whatever one gives
        else:
            what = "the server wants an API token, and none was given"
    elif meaning.error is ContextLengthError:
        data["prompt_tokens"], data["context_length"] = prompt, context = _tokens(fault)
        if prompt and context:
            what, said = f"the prompt has {prompt} tokens and the model's context holds {context}", ""
    elif meaning.error is ModelNotFoundError:
        data["model"], data["near"] = asked.model, near(asked.model, asked.known)
        if data["near"]:
            hint = f"Did you mean {' or '.join(map(repr, data['near']))}? {hint}"
    elif meaning.error is EndpointNotFoundError:
        data["since"] = next((meanings.since[each] for each in meanings.since if asked.path.startswith(each)), None)
        if data["since"]:
            hint = f"LM Studio has it since {data['since']}: update it. {hint}"
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
    re.compile(r"keep the first (?P<prompt>\d{1,15}) tokens.*context length of only (?P<context>\d{1,15})", re.S),
    re.compile(r"n_keep: *(?P<prompt>\d{1,15}) *>= *n_ctx: *(?P<context>\d{1,15})"),
    re.compile(
        r"request \((?P<prompt>\d{1,15}) tokens\) exceeds the available context size \((?P<context>\d{1,15}) tokens\)"
    ),
    re.compile(r"Input length (?P<prompt>\d{1,15}) exceeds context length (?P<context>\d{1,15})"),
    # llama-cpp-python's server.
    re.compile(r"maximum context length is (?P<context>\d{1,15}) tokens.*\((?P<prompt>\d{1,15}) in", re.S),
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
    meanings: Meanings, status: int, headers: Mapping[str, str], body: bytes, value: object, asked: Asked
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
                hint="Set the base URL to where the server itself answers",
                sent=True,
            )
        if isinstance(value, dict) and value.get("detail"):
            said = json.dumps(value["detail"])  # FastAPI's form, as llama-cpp-python's server sends it
        fault = Fault(f"HTTP {status}, {kind}: {said}")
    return fault_error(meanings, fault, status, headers, text, asked)


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
    """``text`` without the secrets, whole, cut off, or as LM Studio repeats them: ten characters, then asterisks."""
    return re.sub(r"(?<!\S)\S*\*{4,}", HIDDEN, hide(text, secrets))


def hide(text: str, secrets: Sequence[str]) -> str:
    """``text`` without the secrets, whole or cut off."""
    # The longest first, and of all that may stand at a place the one of which most is there: one secret may be a part
    # of another, or begin as it does (all JSON web tokens have one beginning), and would leave the rest of it.
    for begin in (secret[:10] for secret in sorted(secrets, key=len, reverse=True)):
        start = text.find(begin)
        while start >= 0:
            text = text[:start] + HIDDEN + text[start + max(_alike(text, start, secret) for secret in secrets) :]
            start = text.find(begin, start + len(HIDDEN))
    return text


def _alike(text: str, start: int, secret: str) -> int:
    """How many characters of ``text`` from ``start`` on are those that ``secret`` begins with."""
    pairs = zip(secret, text[start : start + len(secret)])
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= 300 else text[:300] + "…")
