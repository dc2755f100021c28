"""The requests and replies of LM Studio's own API."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from typing import Any, ClassVar, Mapping, Sequence, TypedDict, Union
from urllib.parse import urlsplit

from .._core.checks import FLAG, TEXT, check, check_fields, number
from .._core.errors import InvalidRequestError
from .._core.frozen import Frozen
from .._core.images import Image, data_url, listed, repr_without_images
from .._core.messages import all_of
from .._core.options import OTHERS, check_names, refuse_other_names
from .._core.reasoning import IS_REASONING
from .._core.requests import check_extra, check_given, check_name
from .._core.types import Completion, Parsed_co, Stats, Timeout, ToolCall, Usage  # noqa: F401 (fields of Completion)

_FRACTION, _COUNT = number(0, 1), number(1, whole=True)
# The checks of the fields, by name; the bounds are those of LM Studio's docs: developer/rest/chat.
_CHECKS = {
    "temperature": _FRACTION,
    "top_p": _FRACTION,
    "top_k": number(0, whole=True),
    "min_p": _FRACTION,
    "repeat_penalty": number(0),
    "presence_penalty": number(-2, 2),
    "max_output_tokens": _COUNT,
    "context_length": _COUNT,
    "system_prompt": TEXT,
    "reasoning": IS_REASONING,  # the model decides which words it takes
}


@dataclass(frozen=True, repr=False, eq=False)
class Plugin(Frozen):
    """A plugin or MCP server that is installed in LM Studio, such as "mcp/playwright".

    It needs the server setting "Allow calling servers from mcp.json", and that needs authentication (LM Studio docs:
    developer/core/server/settings).
    """

    id: str
    allowed_tools: Sequence[str] | None = None
    """The names of the tools that may be used; None is all of them."""

    def __post_init__(self) -> None:
        check_given("Plugin: id", self.id)
        object.__setattr__(self, "allowed_tools", _names("Plugin", self.allowed_tools))

    def as_dict(self) -> dict[str, Any]:
        """Return the integration as LM Studio takes it."""
        return _without_none(type="plugin", id=self.id, allowed_tools=self.allowed_tools)


@dataclass(frozen=True, repr=False, eq=False)
class EphemeralMCP(Frozen):
    """An MCP server for one request. It needs the server setting "Allow per-request MCPs".

    Its repr shows neither ``headers`` nor the userinfo and the query of the URL, and no error shows their secrets.
    """

    server_label: str
    server_url: str
    """An http or https URL."""
    allowed_tools: Sequence[str] | None = None
    """The names of the tools that may be used; None is all of them."""
    headers: Mapping[str, str] | None = None
    """Headers that LM Studio sends to that server, such as its authorization."""

    def __post_init__(self) -> None:
        check_given("EphemeralMCP: server_label", self.server_label)
        # Neither value is shown, because it may hold a secret.
        if not is_http(self.server_url):
            raise InvalidRequestError(
                "EphemeralMCP: server_url is not an http or https URL", hint="The label comes first"
            )
        object.__setattr__(self, "allowed_tools", _names("EphemeralMCP", self.allowed_tools))
        headers = {} if self.headers is None else self.headers
        if not isinstance(headers, Mapping) or not all(
            isinstance(each, str) for pair in headers.items() for each in pair
        ):
            raise InvalidRequestError("EphemeralMCP: headers is not a mapping of names to texts")

    def __repr__(self) -> str:
        where = without_secrets(self.server_url)
        return f"EphemeralMCP({self.server_label!r}, {where!r}, allowed_tools={self.allowed_tools!r})"

    def as_dict(self) -> dict[str, Any]:
        """Return the integration as LM Studio takes it, secrets included."""
        return _without_none(
            type="ephemeral_mcp",
            server_label=self.server_label,
            server_url=self.server_url,
            allowed_tools=self.allowed_tools,
            headers=dict(self.headers) if self.headers else None,
        )


# An item of ``integrations``: a str is the id of a plugin, and a dict is sent as it is.
Integration = Union[Plugin, EphemeralMCP, str, Mapping[str, Any]]


# Names that the request does not take, each with the right name or with advice.
_CHAT_TAKES = (
    "stop", "seed", "logit_bias", "frequency_penalty", "draft_model", "ttl", "response_format", "on_truncation",
)  # fmt: skip
ELSEWHERE = {
    **OTHERS,
    **dict.fromkeys(_CHAT_TAKES, "lm.chat() takes it: /v1/chat/completions"),
    **dict.fromkeys(("tools", "tool_choice"), "lm.chat() takes it: /v1/chat/completions; here are integrations="),
    "messages": "lm.chat() takes messages: /v1/chat/completions; here the server keeps them (previous_response_id=)",
    "max_tokens": "Here it is called max_output_tokens",
    **dict.fromkeys(("num_ctx", "n_ctx"), "context_length"),
    "keep_alive": "native.load() loads a model that stays, and native.unload() unloads one",
    "on_chunk": "native.stream() gives events",
    "on_progress": "native.stream() and NativeConversation.stream() take it",
    "options": "Write each by its name, such as temperature=0",
    "": "Fields that only the server knows go into extra={...}",
    "stream": "Call native.stream()",
}


@refuse_other_names(ELSEWHERE)
@dataclass(frozen=True, repr=False, eq=False)
class NativeRequest(Frozen):
    """One turn of a chat over ``/api/v1/chat``; None leaves a field to the server and is not sent.

    Raises InvalidRequestError for values that cannot work.
    """

    input: str | Sequence[Mapping[str, Any]]
    """The user's text, or a list of items as LM Studio takes them."""
    model: str | None = None
    tier: str | None = None
    """Picks the setting ``lmstudio_model_{tier}``."""
    system_prompt: str | None = None
    """For the first turn of a conversation."""
    images: Image | Sequence[Image] = ()
    """Paths, bytes or ``data:`` URLs of PNG or JPEG."""
    integrations: Integration | Sequence[Integration] = field(default=(), repr=False)
    """The MCP servers whose tools the model may call; LM Studio calls them itself."""
    reasoning: str | None = None
    """A word that the model takes, such as "off", "low", "high" or "xhigh": see ``ModelInfo.reasoning_options``."""
    context_length: int | None = None
    """Tokens that the model can hold at once, if this request loads it."""
    store: bool = True
    """True if the server is to keep the conversation, so that it can go on."""
    previous_response_id: str | None = None
    """The ``response_id`` of the previous turn."""
    temperature: float | None = None
    """From 0 to 1."""
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    """1 leaves the text as it is."""
    presence_penalty: float | None = None
    max_output_tokens: int | None = None
    """Tokens, including those of reasoning."""
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Further fields of the body, sent as they are; a field that the server does not know is refused."""

    __repr__ = repr_without_images

    def __post_init__(self) -> None:
        check_fields(vars(self), _CHECKS)
        check("store", self.store, FLAG)
        for name in ("model", "tier", "previous_response_id"):
            check_name(name, getattr(self, name))
        check_extra(self.extra)
        if not isinstance(self.input, str):
            try:
                items = all_of("input", self.input, Mapping)
            except InvalidRequestError as error:
                error.hint = "Give the user's text; lm.chat() takes messages: /v1/chat/completions"
                raise
            if not items:
                raise InvalidRequestError("input is empty", hint="Give the user's text, or a list of items")
            object.__setattr__(self, "input", items)
        object.__setattr__(self, "images", tuple(map(data_url, listed(self.images))))
        given = self.integrations
        given = (given,) if isinstance(given, (Plugin, EphemeralMCP, str, Mapping)) else given
        given = all_of("integrations", given, (Plugin, EphemeralMCP, str, Mapping))
        for each in given:
            if isinstance(each, str):
                check_given("integrations", each)
        object.__setattr__(self, "integrations", given)


# The input of ``native.chat``.
NativeInput = Union[str, Sequence[Mapping[str, Any]], NativeRequest]


class TurnOptions(TypedDict, total=False):
    """Keyword arguments of a NativeConversation and its turns."""

    timeout: Timeout
    deadline: float | None
    model: str | None
    tier: str | None
    integrations: Integration | Sequence[Integration]
    reasoning: str | None
    reasoning_effort: str | None
    context_length: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    repeat_penalty: float | None
    presence_penalty: float | None
    max_output_tokens: int | None
    extra: Mapping[str, Any]


class NativeOptions(TurnOptions, total=False):
    """Keyword arguments of ``native.chat`` and ``native.stream``."""

    system_prompt: str | None
    images: Image | Sequence[Image]
    store: bool
    previous_response_id: str | None


@dataclass(frozen=True, repr=False, eq=False)
class MessageItem(Frozen):
    """A part of the answer."""

    type: ClassVar[str] = "message"
    content: str


@dataclass(frozen=True, repr=False, eq=False)
class ReasoningItem(Frozen):
    """A part of the reasoning."""

    type: ClassVar[str] = "reasoning"
    content: str


@dataclass(frozen=True, repr=False, eq=False)
class ToolCallItem(Frozen):
    """A call of a tool, which LM Studio has made."""

    type: ClassVar[str] = "tool_call"
    tool: str
    arguments: Mapping[str, Any]
    output: str
    """The answer of the tool, often JSON."""
    provider_info: Mapping[str, Any] = field(default_factory=dict)
    """The owner of the tool: ``{"type": "plugin", "plugin_id"}`` or ``{"type": "ephemeral_mcp", "server_label"}``."""


@dataclass(frozen=True, repr=False, eq=False)
class InvalidToolCallItem(Frozen):
    """A call that the model wanted and that could not be made."""

    type: ClassVar[str] = "invalid_tool_call"
    reason: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Its ``type`` is "invalid_name" or "invalid_arguments", its ``tool_name`` the tool that was to be called."""


@dataclass(frozen=True, repr=False, eq=False)
class UnknownItem(Frozen):
    """An item of an unknown kind."""

    type: str
    data: Mapping[str, Any] = field(default_factory=dict)


OutputItem = Union[MessageItem, ReasoningItem, ToolCallItem, InvalidToolCallItem, UnknownItem]


@dataclass(frozen=True, repr=False, eq=False)
class NativeCompletion(Completion):
    """A whole reply of ``/api/v1/chat``, or the part of it that came.

    ``text`` joins its messages, and ``reasoning`` its reasoning. ``tool_calls`` is empty, because LM Studio has made
    the calls itself; they are in ``output``. The server sends no ``finish_reason``: it is "length" if all of
    ``max_output_tokens`` was used, "cancelled" after ``close()``, else None.
    """

    output: tuple[OutputItem, ...] = ()
    """The items of the reply in order."""
    _no_reason: ClassVar[str] = ""  # the reply may be whole

    @property
    def response_id(self) -> str | None:
        """The ``previous_response_id`` of the next turn; None if nothing was stored."""
        return self.id

    @property
    def model_instance_id(self) -> str:
        """The instance that answered; ``native.unload`` takes it."""
        return self.model


@dataclass(frozen=True, repr=False, eq=False)
class LoadedModel(Frozen):
    """A model that is in memory now."""

    instance_id: str
    """The name of the instance, for ``native.unload``, and for a request as its ``model``."""
    type: str
    """As the server sends it: "llm" or "embedding"."""
    load_time_seconds: float | None = None
    """None if it was loaded already."""
    load_config: Mapping[str, Any] | None = None
    """The settings of the instance, if ``echo_load_config`` asked for them, or it was loaded already."""


class LoadOptions(TypedDict, total=False):
    """How to load a model; LM Studio decides about options that are left out."""

    context_length: int | None
    """Tokens that it can hold at once."""
    eval_batch_size: int | None
    """Tokens that it reads at once."""
    flash_attention: bool | None
    num_experts: int | None
    """The number of experts to use, in a mixture of experts."""
    offload_kv_cache_to_gpu: bool | None


_LOAD_CHECKS = {
    "context_length": _COUNT,
    "eval_batch_size": _COUNT,
    "num_experts": _COUNT,
    "flash_attention": FLAG,
    "offload_kv_cache_to_gpu": FLAG,
}
_LOAD_ELSEWHERE = {
    "echo_load_config": "load() takes it",
    "ttl": "A time to live goes with lm.chat(..., ttl=), if that loads the model",
    **dict.fromkeys(("num_ctx", "n_ctx"), "context_length"),
    "": f"There are {', '.join(_LOAD_CHECKS)}",
}


def check_load_options(model: object, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options to send; raise InvalidRequestError for one that ``/api/v1/models/load`` does not take."""
    check_given("model", model)
    check_names("loading has no option", config, _LOAD_CHECKS, _LOAD_ELSEWHERE)
    given = {name: value for name, value in config.items() if value is not None}
    check_fields(given, {name: _LOAD_CHECKS[name] for name in given})
    return given


def _names(what: str, tools: Any) -> tuple[str, ...] | None:
    """Return the names of tools; raise InvalidRequestError. A tuple, because an iterator could be read only once."""
    return None if tools is None else all_of(f"{what}: allowed_tools", tools, str)


def without_secrets(text: str) -> str:
    """Return ``text`` without the parts of a URL that may hold secrets: userinfo, parameters, query and fragment."""
    return re.sub(r"(?s)(?<=://)[^/?#]*@|[?#;].*", "", text) if "://" in text else text


def is_http(url: object) -> bool:
    """Return True for an http or https URL."""
    with contextlib.suppress(ValueError):  # half an IPv6 address raises it
        return isinstance(url, str) and urlsplit(url).scheme in ("http", "https")
    return False


def _without_none(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
