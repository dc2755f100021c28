"""What goes to LM Studio's own API and comes back from it."""

from __future__ import annotations

import contextlib
import difflib
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Mapping, Sequence, TypedDict, Union
from urllib.parse import urlsplit

from .._core.checks import check_numbers
from .._core.errors import InvalidRequestError, preview
from .._core.images import Image, data_url, listed, repr_without_images
from .._core.messages import all_of
from .._core.options import OTHERS, refuse_other_names
from .._core.requests import check_extra, check_given, check_name
from .._core.types import Completion, Stats, Timeout, ToolCall, Usage  # noqa: F401 (named by the fields of Completion)

#: LM Studio docs: developer/rest/chat.
_NUMBERS: dict[str, tuple[float, float, bool]] = {
    "temperature": (0, 1, False),
    "top_p": (0, 1, False),
    "top_k": (0, math.inf, True),
    "min_p": (0, 1, False),
    "repeat_penalty": (0, math.inf, False),
    "presence_penalty": (-2, 2, False),
    "max_output_tokens": (1, math.inf, True),
    "context_length": (1, math.inf, True),
}


@dataclass(frozen=True)
class Plugin:
    """A plugin or MCP server that is installed in LM Studio, such as "mcp/playwright".

    It needs the server setting "Allow calling servers from mcp.json", and that needs authentication (LM Studio docs:
    developer/core/server/settings).
    """

    id: str
    #: The names of the tools that may be used; None is all of them.
    allowed_tools: Sequence[str] | None = None

    def __post_init__(self) -> None:
        check_given("Plugin: id", self.id)
        object.__setattr__(self, "allowed_tools", _names("Plugin", self.allowed_tools))

    def as_dict(self) -> dict[str, Any]:
        """The integration as LM Studio takes it."""
        return _without_none(type="plugin", id=self.id, allowed_tools=self.allowed_tools)


@dataclass(frozen=True)
class EphemeralMCP:
    """An MCP server for one request. It needs the server setting "Allow per-request MCPs".

    Its repr shows neither ``headers`` nor the userinfo and the query of the URL, and no error shows their secrets.
    """

    server_label: str
    #: An http or https URL.
    server_url: str
    #: The names of the tools that may be used; None is all of them.
    allowed_tools: Sequence[str] | None = None
    #: What LM Studio sends to that server, such as its authorization.
    headers: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        check_given("EphemeralMCP: server_label", self.server_label)
        if not is_http(self.server_url):
            raise InvalidRequestError("EphemeralMCP: server_url is no http or https URL", hint="The label comes first")
        object.__setattr__(self, "allowed_tools", _names("EphemeralMCP", self.allowed_tools))
        headers = {} if self.headers is None else self.headers
        if not isinstance(headers, Mapping) or not all(
            isinstance(name, str) and isinstance(value, str) for name, value in headers.items()
        ):
            raise InvalidRequestError("EphemeralMCP: headers is no mapping of names to texts")

    def __repr__(self) -> str:
        where = without_secrets(self.server_url)
        return f"EphemeralMCP({self.server_label!r}, {where!r}, allowed_tools={self.allowed_tools!r})"

    def as_dict(self) -> dict[str, Any]:
        """The integration as LM Studio takes it, secrets included."""
        return _without_none(
            type="ephemeral_mcp",
            server_label=self.server_label,
            server_url=self.server_url,
            allowed_tools=self.allowed_tools,
            headers=dict(self.headers) if self.headers else None,
        )


#: What ``integrations`` takes: the id of a plugin is one, too, and so is a dict as LM Studio takes it.
Integration = Union[Plugin, EphemeralMCP, str, Mapping[str, Any]]


# What the request does not take, and what to do instead.
_CHAT_TAKES = (
    "stop", "seed", "logit_bias", "frequency_penalty", "draft_model", "ttl", "response_format", "on_truncation",
)  # fmt: skip
ELSEWHERE = {
    **OTHERS,
    **dict.fromkeys(_CHAT_TAKES, "lm.chat() takes it: /v1/chat/completions"),
    **dict.fromkeys(("tools", "tool_choice"), "lm.chat() takes it: /v1/chat/completions; here are integrations="),
    "messages": "lm.chat() takes messages: /v1/chat/completions; here the server keeps them (previous_response_id=)",
    "max_tokens": "Here it is called max_output_tokens",
    "reasoning_effort": "Here it is called reasoning",
    **dict.fromkeys(("num_ctx", "n_ctx"), "context_length"),
    "keep_alive": "native.load() loads a model that stays, and native.unload() unloads one",
    "on_chunk": "native.stream() gives events",
    "stream": "Call native.stream()",
}


@refuse_other_names(ELSEWHERE)
@dataclass(frozen=True)
class NativeRequest:
    """One turn of a chat over ``/api/v1/chat``; None leaves a field to the server and is not sent.

    Raises InvalidRequestError for values that cannot work.
    """

    #: What the user says, or a list of items as LM Studio takes them.
    input: str | Sequence[Mapping[str, Any]]
    model: str | None = None
    #: Picks the setting ``lmstudio_model_{tier}``.
    tier: str | None = None
    #: For the first turn of a conversation.
    system_prompt: str | None = None
    #: Paths, bytes or ``data:`` URLs of PNG or JPEG.
    images: Image | Sequence[Image] = ()
    #: The MCP servers whose tools the model may call; LM Studio calls them itself.
    integrations: Integration | Sequence[Integration] = field(default=(), repr=False)
    #: A word that the model takes, such as "off", "low", "high" or "xhigh": see ``ModelInfo.reasoning_options``.
    reasoning: str | None = None
    #: Tokens that the model is to hold at once, where this request loads it.
    context_length: int | None = None
    #: Whether the server keeps the conversation, so that it can go on.
    store: bool = True
    #: The ``response_id`` of the turn before.
    previous_response_id: str | None = None
    #: From 0 to 1.
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    #: 1 is none.
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    #: Tokens, those of reasoning included.
    max_output_tokens: int | None = None
    #: Further fields of the body, sent as they are; a field that the server does not know is refused.
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    __repr__ = repr_without_images

    def __post_init__(self) -> None:
        check_numbers(vars(self), _NUMBERS)
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
        if not isinstance(self.system_prompt, (str, type(None))):
            raise InvalidRequestError(f"system_prompt is {type(self.system_prompt).__name__}, not text")
        if not isinstance(self.store, bool):
            raise InvalidRequestError(f"store={preview(self.store)} is neither True nor False")
        check_name("reasoning", self.reasoning)  # which words there are, the model says
        object.__setattr__(self, "images", tuple(map(data_url, listed(self.images))))
        given = self.integrations
        given = (given,) if isinstance(given, (Plugin, EphemeralMCP, str, Mapping)) else given
        given = all_of("integrations", given, (Plugin, EphemeralMCP, str, Mapping))
        for each in given:
            if isinstance(each, str):
                check_given("integrations", each)
        object.__setattr__(self, "integrations", given)


#: What ``native.chat`` takes.
NativeInput = Union[str, Sequence[Mapping[str, Any]], NativeRequest]


class TurnOptions(TypedDict, total=False):
    """Keyword arguments of a NativeConversation and its turns."""

    timeout: Timeout
    deadline: float | None
    model: str | None
    tier: str | None
    integrations: Integration | Sequence[Integration]
    reasoning: str | None
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


@dataclass(frozen=True)
class MessageItem:
    """A part of the answer."""

    type: ClassVar[str] = "message"
    content: str


@dataclass(frozen=True)
class ReasoningItem:
    """What the model thought."""

    type: ClassVar[str] = "reasoning"
    content: str


@dataclass(frozen=True)
class ToolCallItem:
    """A call of a tool, which LM Studio has made."""

    type: ClassVar[str] = "tool_call"
    tool: str
    arguments: Mapping[str, Any]
    #: What the tool answered, often JSON.
    output: str
    #: Whose tool it is: ``{"type": "plugin", "plugin_id"}`` or ``{"type": "ephemeral_mcp", "server_label"}``.
    provider_info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class InvalidToolCallItem:
    """A call that the model wanted and that could not be made."""

    type: ClassVar[str] = "invalid_tool_call"
    reason: str
    #: ``type`` is "invalid_name" or "invalid_arguments", ``tool_name`` what was to be called.
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class UnknownItem:
    """An item of a kind that is not known here."""

    type: str
    data: Mapping[str, Any] = field(default_factory=dict)


OutputItem = Union[MessageItem, ReasoningItem, ToolCallItem, InvalidToolCallItem, UnknownItem]


@dataclass(frozen=True, repr=False)
class NativeCompletion(Completion):
    """A whole reply of ``/api/v1/chat``, or as much of it as came.

    ``text`` joins its messages, and ``reasoning`` what was thought. ``tool_calls`` is empty, because LM Studio has made
    the calls itself; they are in ``output``. The server tells no ``finish_reason``: it is "length" where all of
    ``max_output_tokens`` was used, "cancelled" after ``close()``, else None.
    """

    #: The items of the reply in order.
    output: tuple[OutputItem, ...] = ()

    @property
    def response_id(self) -> str | None:
        """What the next turn gives as ``previous_response_id``; None where nothing was stored."""
        return self.id

    @property
    def model_instance_id(self) -> str:
        """The instance that answered; ``native.unload`` takes it."""
        return self.model


@dataclass(frozen=True)
class LoadedModel:
    """A model that is in memory now."""

    #: What ``native.unload`` takes, and what a request may give as its model.
    instance_id: str
    #: "llm" or "embedding".
    type: str
    #: None where it was loaded already.
    load_time_seconds: float | None = None
    #: How it was loaded, where that was asked for with ``echo_load_config``, or it was loaded already.
    load_config: Mapping[str, Any] | None = None


class LoadOptions(TypedDict, total=False):
    """How to load a model; what is left out is left to LM Studio."""

    #: Tokens that it is to hold at once.
    context_length: int | None
    #: Tokens that it reads at once.
    eval_batch_size: int | None
    flash_attention: bool | None
    #: Of a mixture of experts, how many are used.
    num_experts: int | None
    offload_kv_cache_to_gpu: bool | None


_LOAD_NUMBERS: dict[str, tuple[float, float, bool]] = {
    name: (1, float("inf"), True) for name in ("context_length", "eval_batch_size", "num_experts")
}
_LOAD_SWITCHES = ("flash_attention", "offload_kv_cache_to_gpu")


def check_load_options(model: object, config: Mapping[str, Any]) -> dict[str, Any]:
    """What of ``config`` is sent; raises InvalidRequestError for what ``/api/v1/models/load`` does not take."""
    check_given("model", model)
    names = [*_LOAD_NUMBERS, *_LOAD_SWITCHES]
    for name, value in config.items():
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(names)}"
            if name == "echo_load_config":
                hint = "load() takes it"
            elif name == "ttl":
                hint = "A time to live goes with lm.chat(..., ttl=), where that loads the model"
            raise InvalidRequestError(f"{name!r} is no option of loading", hint=hint)
        if name in _LOAD_SWITCHES and not isinstance(value, (bool, type(None))):
            raise InvalidRequestError(f"{name}={preview(value)} is neither True nor False")
    check_numbers({**dict.fromkeys(names), **config}, _LOAD_NUMBERS)
    return {name: value for name, value in config.items() if value is not None}


def fits(loaded: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether a model that is loaded so is as good as one with ``config``; what the server does not tell is."""
    for name, wanted in config.items():
        told = loaded.get(name)
        if wanted is None or not isinstance(told, (int, float)):
            continue
        if told < wanted if name == "context_length" else told != wanted:
            return False
    return True


def _names(what: str, tools: Any) -> tuple[str, ...] | None:
    """The names of tools; raises InvalidRequestError. A tuple, because an iterator could be read once only."""
    return None if tools is None else all_of(f"{what}: allowed_tools", tools, str)


def without_secrets(text: str) -> str:
    """``text`` without what a URL may hold of secrets: userinfo, query and fragment."""
    if "://" not in text:
        return text
    url = urlsplit(text)
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"


def is_http(url: object) -> bool:
    """Whether that is an http or https URL."""
    with contextlib.suppress(ValueError):  # such as of half an IPv6 address
        return isinstance(url, str) and urlsplit(url).scheme in ("http", "https")
    return False


def _without_none(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
