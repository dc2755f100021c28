"""Errors by their meaning, whatever shape, status, or place in a stream they came in."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Mapping, NamedTuple, Sequence

from .._core.errors import (
    AuthenticationError,
    ContextLengthError,
    EndpointNotFoundError,
    InvalidRequestError,
    ModelNotFoundError,
    ProtocolError,
    ProviderError,
    ServerError,
    StatusError,
)
from .._core.json import loads
from .._core.model_names import close_matches
from .._core.redaction import redact
from .._http.reply import retry_after
from .json_text import count
from .pages import HINTS, Answer, read_answer, redirect, wants_basic


@dataclass(frozen=True)
class ErrorBody:
    """What an error body says."""

    message: str
    type: str = ""
    code: str = ""
    param: str | None = None
    #: The object that says it: that of the engine, where the text carried one.
    inner: Mapping[str, Any] = field(default_factory=dict)


PASSWORD = "name and password"  # noqa: S105


@dataclass(frozen=True)
class ErrorContext:
    """What a message has to know of the call that failed."""

    model: str = ""
    #: Where the API token, or what else says who asks, came from, or None where nothing does.
    token_source: str | None = None
    #: What must never be shown.
    secrets: tuple[str, ...] = field(default=(), repr=False)
    #: The path of the call.
    path: str = ""
    #: The ids of the models that the server is known to have.
    known: tuple[str, ...] = ()
    #: What says who asks, if it is not the API token: PASSWORD, or "Authorization".
    credentials: str = ""
    #: Whether tools were offered.
    tools: bool = False


def find_fault(value: object) -> ErrorBody | None:
    """The error that a JSON value reports, or None: a truthy ``error`` is one, whatever the status.

    So is an object that calls itself one, as vLLM's does.
    """
    error = value.get("error") if isinstance(value, dict) else None
    if not error and isinstance(value, dict) and value.get("object") == "error":
        error = value
    if not error:
        return None
    if not isinstance(error, dict):
        return _unwrap(ErrorBody(error if isinstance(error, str) else json.dumps(error)))
    text = {name: str(error[name]) for name in ("message", "type", "code", "param") if error.get(name)}
    message = text.get("message") or json.dumps(error)
    return _unwrap(ErrorBody(message, text.get("type", ""), text.get("code", ""), text.get("param"), error))


def _unwrap(fault: ErrorBody) -> ErrorBody:
    # "Engine protocol predict request returned 400: {json}" (LM Studio 0.4.20 on), or the JSON alone (Ollama): the
    # inner object is the real cause.
    if not fault.message.startswith(("Engine protocol", "{")) or "{" not in fault.message:
        return fault
    try:
        inner = loads(fault.message[fault.message.index("{") :])["error"]
        return ErrorBody(str(inner["message"]), str(inner.get("type", "")), "", fault.param, inner)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return fault  # it only looked like one: the text as it is says enough


@dataclass(frozen=True)
class ErrorRule:
    """What an error means, and how to tell it by."""

    error: type[StatusError | InvalidRequestError]
    what: str
    hint: str
    #: The server's codes and types, and the stable parts of its texts.
    codes: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    #: What to do besides if the request offered tools.
    tools_hint: str = ""


class Other(NamedTuple):
    """The server that people take for the one that was asked, and what only it says."""

    name: str
    signs: re.Pattern[str]
    hint: str


@dataclass(frozen=True)
class Meanings:
    """What the errors of one kind of server mean."""

    #: Tested in this order, codes before texts.
    known: Sequence[ErrorRule]
    by_status: Mapping[int, ErrorRule]
    #: A request that was refused, and a server that failed, for reasons that nobody knows yet.
    request: ErrorRule
    failed: ErrorRule
    other: Other
    #: What it calls an API token.
    credentials: str = "API token"
    #: Which version brought the endpoints whose path begins so.
    since: Mapping[str, str] = field(default_factory=dict)

    def find(self, fault: ErrorBody, status: int) -> ErrorRule | None:
        """Return what ``fault`` means by its code, else by its text, or None if only the status is known."""
        names = {fault.code, fault.type}
        for meaning in self.known:
            if names.intersection(meaning.codes):
                return meaning
        # What is quoted may be the name of any file or model, and hold any of the words: it counts last, and not at all
        # where the server failed.
        for text in [_without_names(fault.message), *([fault.message.lower()] if status < 500 else [])]:
            for meaning in self.known:
                if any(part in text for part in meaning.texts):
                    return meaning
        return None

    def by_default(self, fault: ErrorBody, status: int) -> ErrorRule:
        """Return what ``fault`` means by its status."""
        if status < 300:  # an error under 200, or in a stream: its type is all there is
            return self.request if fault.type.startswith("invalid_request") else self.failed
        if status >= 500:
            return self.failed
        return self.by_status.get(status, ErrorRule(StatusError, f"the server answered HTTP {status}", ""))


# What the servers have in common, because the same engine runs behind them.
CRASHES = ("llama runner process", "llama-server process", "error was encountered while running the model")
STILL_LOADING = ErrorRule(
    ServerError,
    "the server is still loading the model",
    "Ask again shortly",
    texts=("loading model", "model loading", "model is loading", "still loading", "currently loading", "being loaded"),
)
TEMPLATES = (
    "jinja", "chat template", "chat_template", "rendering prompt", "template: :", "failed to render template",
    "conversation roles must alternate", "roles are supported", "value is not callable", "unknown stringvalue filter",
)  # fmt: skip
TEMPLATE_AND_TOOLS = (
    "Its template may fail on the tools: give each parameter one plain type, without anyOf or $ref, offer fewer tools, "
    "or take a model that is trained for tools"
)

_NAMES = re.compile(r"""(?<![A-Za-z0-9])'[^']*'(?![A-Za-z0-9])|"[^"]*"|`[^`]*`|(?<!\S)[^\s'"`]*[/\\]\S*""")


def _without_names(text: str) -> str:
    """Return ``text`` in small letters, without what is quoted in it, without paths, and with single blanks."""
    return " ".join(_NAMES.sub(" ", text.lower()).split())


def fault_error(
    meanings: Meanings,
    fault: ErrorBody,
    status: int,
    headers: Mapping[str, str],
    body: str,
    asked: ErrorContext,
    answer: Answer | None = None,
) -> ProviderError:
    """Return the error to raise for ``fault``, which was made of ``answer`` if that did not report it as JSON."""
    meaning, advice = meanings.find(fault, status), answer.hint if answer else ""
    hint = meaning.hint if meaning else advice or (HINTS[status] if status in (408, 413, 502, 504) else "")
    meaning = meaning or meanings.by_default(fault, status)
    what, hint = meaning.what.format(model=asked.model), hint or meaning.hint
    said = redact(fault.message[:_MOST_SAID], asked.secrets)
    data: dict[str, Any] = {}
    if meaning.error is AuthenticationError:
        data["token_source"] = asked.token_source
        data["wants_password"] = asked.credentials == PASSWORD or wants_basic(headers)
        what, hint = _refused(meanings.credentials, hint, status, headers, asked)
        if fault.code in meaning.codes:
            said = ""  # it repeats the beginning of a malformed token
    elif meaning.error is ContextLengthError:
        data["prompt_tokens"], data["context_length"] = prompt, context = _tokens(fault)
        if prompt and context:
            what, said = f"the prompt has {prompt} tokens and the model's context holds {context}", ""
    elif meaning.error is ModelNotFoundError:
        data["model"], data["near"] = asked.model, close_matches(asked.model, asked.known)
    elif meaning.error is EndpointNotFoundError:
        data["since"] = next((meanings.since[each] for each in meanings.since if asked.path.startswith(each)), None)
    if meanings.other.signs.search(f"{fault.code} {fault.message[:_MOST_SAID]}"):
        what += f"; it answers as {meanings.other.name} does"
        # Other servers in Go, such as Traefik, say the same, with this header.
        sure = not advice or not headers.get("X-Content-Type-Options")
        hint = meanings.other.hint if sure else f"{meanings.other.hint}. {advice}"
    elif data.get("since") and answer is None:
        hint = f"LM Studio has it since {data['since']}: update it. {hint}"
    elif meaning.tools_hint and asked.tools:
        hint = f"{meaning.tools_hint}. {hint}"
    if data.get("near"):
        hint = f"Did you mean {' or '.join(map(repr, data['near']))}? {hint}"
    shown = redact(answer.said, asked.secrets) if answer else _excerpt(said)
    return meaning.error(
        f"{what}: {shown}" if said or answer else what,
        hint=hint,
        status=status,
        code=redact(fault.code, asked.secrets) or None,
        param=None if fault.param is None else redact(fault.param, asked.secrets),
        body=redact(body, asked.secrets),
        retry_after_s=retry_after(headers),
        sent=True,
        **data,
    )


# More than is ever shown.
_MOST_SAID = 4000


def _refused(token: str, hint: str, status: int, headers: Mapping[str, str], asked: ErrorContext) -> tuple[str, str]:
    """Return what was refused, and what to do about it: the API token, or a name and password, as proxies want them."""
    source = asked.token_source
    if source and asked.credentials:
        what = f"the server refused the {asked.credentials} that came from {source}"
        check = f"Check them in {source}, where @, : and / are written as %40, %3A and %2F"
        return what, check if source == "the base URL" else f"Check {source}"
    if wants_basic(headers):
        what = f"and not the {token} that came from {source}" if source else "and none were given"
        hint = "Write them into the base URL, http://NAME:PASSWORD@host"
        return f"the server wants a name and a password, {what}", f"{hint}, and give no {token}" if source else hint
    if source:
        return f"the server refused the {token} that came from {source}", hint
    return "the server forbids it" if status == 403 else f"the server wants an {token}, and none was given", hint


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


def _tokens(fault: ErrorBody) -> tuple[int | None, int | None]:
    """The tokens of the prompt and those that fit into the context, where the error tells them."""
    prompt, context = count(fault.inner.get("n_prompt_tokens")), count(fault.inner.get("n_ctx"))
    if (prompt or 0) > 0 and (context or 0) > 0:
        return prompt, context
    for pattern in _TOKENS:
        match = pattern.search(fault.message[:_MOST_SAID])
        if match:
            return int(match["prompt"]), int(match["context"])
    return None, None


def find_error(
    meanings: Meanings, status: int, headers: Mapping[str, str], body: bytes, value: object, asked: ErrorContext
) -> ProviderError | None:
    """Return the error that a whole reply is, or None; ``value`` is its JSON, None if it is not JSON."""
    fault = find_fault(value)
    if fault is None and 200 <= status < 300 and value is not None:
        return None
    text = body.decode("utf-8", "replace")
    if fault is None and 200 <= status < 300:
        other = meanings.other
        if len(text) > 100 or not other.signs.search(text):  # a reply that is only broken may speak of anything
            return None
        said = f"the reply is not JSON; it answers as {other.name} does: {_excerpt(redact(text, asked.secrets))}"
        return ProtocolError(said, hint=other.hint, sent=True)
    if fault is not None:
        return fault_error(meanings, fault, status, headers, text, asked)
    if 300 <= status < 400:
        said, advice = redirect(status, headers, asked.path)
        return ProtocolError(redact(said, asked.secrets), hint=redact(advice, asked.secrets), sent=True)
    answer = read_answer(status, headers, text, value)
    return fault_error(meanings, ErrorBody(answer.text), status, headers, text, asked, answer)


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= 300 else text[:300] + "…")
