"""Turns the errors of servers into exceptions by their meaning, in any shape, status, or place in a stream."""

from __future__ import annotations

import json
import re
from typing import Any, Mapping, NamedTuple, Sequence

from .._core.errors import (
    AuthenticationError,
    ContextLengthError,
    EndpointNotFoundError,
    InvalidRequestError,
    ModelNotFoundError,
    ProtocolError,
    ProviderError,
    RateLimitError,
    ServerError,
    StatusError,
)
from .._core.json import loads
from .._core.model_names import close_matches
from .._core.redaction import redact
from .._http.exchange import retry_after
from .json_text import count
from .pages import HINTS, Answer, read_answer, redirect, wants_basic


class ErrorBody(NamedTuple):
    """The error that a body reports."""

    message: str
    type: str = ""
    code: str = ""
    param: str | None = None
    inner: Mapping[str, Any] = {}
    """The JSON object of the error: the engine's, if the text contained one."""


PASSWORD = "name and password"  # noqa: S105


class ErrorContext(NamedTuple):
    """The facts about a failed call that its error needs."""

    model: str = ""
    token_source: str | None = None
    """The source of the API token or of other credentials, None if there are none."""
    secrets: tuple[str, ...] = ()
    """Values that must never be shown."""
    path: str = ""
    """The path of the call."""
    known: tuple[str, ...] = ()
    """The ids of the models that the server is known to have."""
    credentials: str = ""
    """The kind of credentials, unless they are an API token: PASSWORD, or "Authorization"."""
    tools: bool = False
    """True if tools were offered."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"  # it holds secrets


def find_fault(value: object) -> ErrorBody | None:
    """Return the error that a JSON value reports, None if it reports none.

    A truthy ``error`` is one, under any status, and so is an object whose ``object`` is "error", as vLLM sends it.
    """
    error = value.get("error") if isinstance(value, dict) else None
    if not error and isinstance(value, dict) and value.get("object") == "error":
        error = value
    if not error:
        return None
    if not isinstance(error, dict):
        return _unwrap(ErrorBody(error if isinstance(error, str) else json.dumps(value if error is True else error)))
    text = {name: str(error[name]) for name in ("message", "type", "code", "param") if error.get(name)}
    return _unwrap(ErrorBody(**{"message": json.dumps(error), **text}, inner=error))


def _unwrap(fault: ErrorBody) -> ErrorBody:
    # "Engine protocol predict request returned 400: {json}" (LM Studio 0.4.20 on), or only the JSON (Ollama): the
    # inner object is the real cause.
    if not fault.message.startswith(("Engine protocol", "{")):
        return fault
    try:
        inner = loads(fault.message[fault.message.index("{") :])["error"]
        return ErrorBody(str(inner["message"]), str(inner.get("type", "")), "", fault.param, inner)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return fault  # it only looked like one: the text as it is says enough


class ErrorRule(NamedTuple):
    """The error to raise for some codes and texts of a server, its message and its hint."""

    error: type[StatusError | InvalidRequestError]
    what: str
    hint: str = ""
    codes: str = ""
    """The server's codes and types, separated by blanks."""
    texts: str = ""
    """The stable parts of its messages, in small letters, separated by ``|``."""
    tools_hint: str = ""
    """What else to do if the request offered tools."""


class OtherServer(NamedTuple):
    """The server that people mistake for the one that was asked."""

    name: str
    signs: str
    """A pattern of the texts that only that server sends, in any case."""
    hint: str


# Rules that servers share, because the same engine runs behind them.
REQUEST = ErrorRule(InvalidRequestError, "the server refused the request")
RATE = ErrorRule(
    RateLimitError, "the server has too many requests", "Ask again later", "rate_limit_exceeded", "server busy"
)
STILL_LOADING = ErrorRule(
    ServerError,
    "the server is still loading the model",
    "Ask again shortly",
    texts="loading model|model loading|model is loading|still loading|currently loading|being loaded",
)
TEMPLATE = ErrorRule(
    InvalidRequestError,
    "the model's chat template refuses this conversation",
    "Use one system message and let user and assistant take turns, or take another model",
    texts="jinja|chat template|chat_template|rendering prompt|template: :|failed to render template|"
    "conversation roles must alternate|roles are supported|value is not callable|unknown stringvalue filter",
    tools_hint="Its template may fail on the tools: give each parameter one plain type, without anyOf or $ref, offer "
    "fewer tools, or take a model that is trained for tools",
)
NOT_SUPPORTED = ErrorRule(
    InvalidRequestError,
    "the model {model!r} does not support the request",
    "Only some decision models read images, such as clef: take one of them, or leave the images out",
)
CRASHES = "llama runner process|llama-server process|error was encountered while running the model"

# More than is ever shown.
_MOST_SAID = 4000

# The one setting that an error may name in quotes, as if it were a file.
_SETTING = r"""['"`](eval_?batch_?size)['"`]"""
_NAMES = r"""(?<![A-Za-z0-9])'[^']*'(?![A-Za-z0-9])|"[^"]*"|`[^`]*`|(?<!\S)[^\s'"`]*[/\\]\S*"""


def _without_names(text: str) -> str:
    """Return ``text`` in small letters, without quoted text and paths, and with single blanks."""
    return " ".join(re.sub(_NAMES, " ", re.sub(_SETTING, r"\1", text.lower())).split())


class ErrorTable(NamedTuple):
    """The rules for the errors of one server."""

    server: str
    rules: Sequence[ErrorRule]
    """They apply in this order, all codes before all texts."""
    authentication: ErrorRule
    forbidden: ErrorRule
    endpoint: ErrorRule
    failed: ErrorRule
    """The rule for a server that failed for an unknown reason."""
    other: OtherServer
    credentials: str = "API token"
    """The server's word for an API token."""
    since: Mapping[str, str] = {}
    """The versions that introduced the endpoints, by the beginnings of their paths."""

    def _rule(self, fault: ErrorBody, status: int) -> ErrorRule | None:
        """Return the rule for ``fault`` by its code, else by its text, None if none fits."""
        for rule in self.rules:
            if {fault.code, fault.type}.intersection(rule.codes.split()):
                return rule
        # Quoted text may be the name of any file or model, and contain any of the words: it counts last, and not at all
        # if the server failed.
        for text in [_without_names(fault.message), *([fault.message.lower()] if status < 500 else [])]:
            for rule in self.rules:
                if rule.texts and any(part in text for part in rule.texts.split("|")):
                    return rule
        return None

    def _is_other(self, text: str) -> bool:
        return re.search(self.other.signs, text, re.I) is not None

    def _rule_by_status(self, fault: ErrorBody, status: int) -> ErrorRule:
        if fault.type == "not_supported_error":  # llama.cpp uses it for more than images, with texts that say so
            return NOT_SUPPORTED
        if status < 300:  # an error under 200, or in a stream: only its type is known
            return REQUEST if fault.type.startswith("invalid_request") else self.failed
        if status >= 500:
            return self.failed
        known = {401: self.authentication, 403: self.forbidden, 404: self.endpoint, 405: self.endpoint, 429: RATE}
        if status in (400, 413, 422):
            return REQUEST
        return known.get(status) or ErrorRule(StatusError, f"the server answered HTTP {status}")

    def fault_error(
        self,
        fault: ErrorBody,
        status: int,
        headers: Mapping[str, str],
        body: str,
        asked: ErrorContext,
        answer: Answer | None = None,
    ) -> ProviderError:
        """Return the error to raise for ``fault``, which was made of ``answer`` if that did not report it as JSON."""
        found, advice = self._rule(fault, status), answer.hint if answer else ""
        rule = found or self._rule_by_status(fault, status)
        hint = rule.hint if found else advice or (HINTS[status] if status in (408, 413, 502, 504) else rule.hint)
        what = rule.what.format(model=asked.model)
        said = redact(fault.message[:_MOST_SAID], asked.secrets)
        data: dict[str, Any] = {}
        if rule.error is AuthenticationError:
            data["token_source"] = asked.token_source
            data["wants_password"] = asked.credentials == PASSWORD or wants_basic(headers)
            what, hint = _refused(self.credentials, hint, status, headers, asked)
            if fault.code in rule.codes.split():
                said = ""  # it repeats the beginning of a malformed token
        elif rule.error is ContextLengthError:
            data["prompt_tokens"], data["context_length"] = prompt, context = _tokens(fault)
            if prompt and context:
                what, said = f"the prompt has {prompt} tokens and the model's context holds {context}", ""
        elif rule.error is ModelNotFoundError:
            data["model"], data["near"] = asked.model, close_matches(asked.model, asked.known)
        elif rule.error is EndpointNotFoundError:
            data["since"] = next((self.since[each] for each in self.since if asked.path.startswith(each)), None)
        if self._is_other(f"{fault.code} {fault.message[:_MOST_SAID]}"):
            what += f"; it answers as {self.other.name} does"
            # Other servers in Go, such as Traefik, say the same, with this header.
            sure = not advice or not headers.get("X-Content-Type-Options")
            hint = self.other.hint if sure else f"{self.other.hint}. {advice}"
        elif data.get("since") and (answer is None or found):
            hint = f"{self.server} has it since {data['since']}: update it. {hint}"
        elif rule.tools_hint and asked.tools:
            hint = f"{rule.tools_hint}. {hint}"
        if data.get("near"):
            hint = f"Did you mean {' or '.join(map(repr, data['near']))}? {hint}"
        shown = redact(answer.said, asked.secrets) if answer else _excerpt(said)
        return rule.error(
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

    def find_error(
        self, status: int, headers: Mapping[str, str], body: bytes, value: object, asked: ErrorContext
    ) -> ProviderError | None:
        """Return the error that a whole reply reports, or None; ``value`` is its JSON, None if it is not JSON."""
        fault, is_success = find_fault(value), 200 <= status < 300
        if fault is None and is_success and value is not None:
            return None
        text = body.decode("utf-8", "replace")
        if fault is not None:
            return self.fault_error(fault, status, headers, text, asked)
        if is_success:
            if len(text) > 100 or not self._is_other(text):  # a reply that only broke off may contain any word
                return None
            said = f"the reply is not JSON; it answers as {self.other.name} does: "
            return ProtocolError(said + _excerpt(redact(text, asked.secrets)), hint=self.other.hint, sent=True)
        if 300 <= status < 400:
            said, advice = redirect(status, headers, asked.path)
            return ProtocolError(redact(said, asked.secrets), hint=redact(advice, asked.secrets), sent=True)
        answer = read_answer(status, headers, text, value)
        return self.fault_error(ErrorBody(answer.text), status, headers, text, asked, answer)


def _refused(token: str, hint: str, status: int, headers: Mapping[str, str], asked: ErrorContext) -> tuple[str, str]:
    """Return the message and the hint for a refused API token, or for a name and password, as proxies want them."""
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
    r"keep the first (?P<prompt>\d{1,15}) tokens.*context length of only (?P<context>\d{1,15})",
    r"n_keep: *(?P<prompt>\d{1,15}) *>= *n_ctx: *(?P<context>\d{1,15})",
    r"request \((?P<prompt>\d{1,15}) tokens\) exceeds the available context size \((?P<context>\d{1,15}) tokens\)",
    r"Input length (?P<prompt>\d{1,15}) exceeds context length (?P<context>\d{1,15})",
    # llama-cpp-python's server.
    r"maximum context length is (?P<context>\d{1,15}) tokens.*\((?P<prompt>\d{1,15}) in",
]


def _tokens(fault: ErrorBody) -> tuple[int | None, int | None]:
    """Return the tokens of the prompt and of the context, None for each that the error does not report."""
    prompt, context = count(fault.inner.get("n_prompt_tokens")), count(fault.inner.get("n_ctx"))
    if (prompt or 0) > 0 and (context or 0) > 0:
        return prompt, context
    for pattern in _TOKENS:
        match = re.search(pattern, fault.message[:_MOST_SAID], re.S)
        if match:
            return int(match["prompt"]), int(match["context"])
    return None, None


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= 300 else text[:300] + "…")
