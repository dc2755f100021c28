"""The kinds of request, which check their fields when they are made."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Iterable, Literal, TypeVar, Union

from .checks import FLAG, MAPPING, NAME, ON_TRUNCATION, TEXT, Check, check, check_fields, number
from .errors import InvalidRequestError, preview
from .frozen import Frozen
from .images import Image, data_url, listed, repr_without_images
from .messages import Message, Messages, Tool, ToolInput, all_of, checked
from .ollama_options import KEEP_ALIVE
from .options import OTHERS, Unpack, check_names, refuse_other_names, with_defaults
from .overrides import LIMITS, Options, ResponseFormat, StreamOverrides
from .reasoning import IS_REASONING, renamed
from .schema.structured import structure_of
from .types import UNSET

_MODEL = NAME._replace(hint="Give the id of a model, as list_models() has it")


def _are_biases(value: object) -> bool:
    bias = number()
    return isinstance(value, Mapping) and all(map(bias.fits, value.values()))


# The checks of the options of all requests; the bounds are from LM Studio's documentation, openai-compat.
_CHECKS = {
    "max_tokens": number(-1, whole=True),
    "temperature": number(0),
    "top_p": number(0, 1),
    "top_k": number(0, whole=True),
    "min_p": number(0, 1),
    "repeat_penalty": number(0),
    "presence_penalty": number(-2, 2),
    "frequency_penalty": number(-2, 2),
    "seed": number(whole=True),
    "ttl": number(-1, whole=True),
    "num_ctx": number(1, whole=True),
    "keep_alive": KEEP_ALIVE,
    "model": _MODEL,
    "draft_model": _MODEL,
    "reasoning": IS_REASONING,
    "tier": NAME._replace(hint="Write tier='fast' for the setting lmstudio_model_fast"),
    "logit_bias": Check(_are_biases, "is not a mapping of token ids to numbers"),
}
_TOOL_CHOICE = {"tool_choice": TEXT._replace(hint="Give the name of the tool")}


def check_name(what: str, value: object) -> None:
    """Raise InvalidRequestError unless ``value`` is a text that is not blank, or None."""
    if value is not None:
        check_given(what, value)


def check_given(what: str, value: object) -> None:
    """Raise InvalidRequestError unless ``value`` is a text that is not blank."""
    check(what, value, _CHECKS.get(what, NAME))


def check_extra(extra: object) -> None:
    """Raise InvalidRequestError unless ``extra`` is a mapping of fields that can be added to a body."""
    check("extra", extra, MAPPING)
    _refuse_extra(extra, ("stream", "stream_options"), "Call stream() for a stream")


def _refuse_extra(extra: Any, names: Iterable[str], hint: str) -> None:
    # These change the form of the reply, which the called method reads in one way.
    for each in names:
        if each in extra:
            raise InvalidRequestError(f"extra: {each!r} cannot be set", hint=hint)


@dataclass(frozen=True, repr=False, eq=False)
class _Options(Frozen):
    """How to generate; None leaves it to the server and is not sent."""

    model: str | None = None
    tier: str | None = None
    """Picks the setting ``lmstudio_model_{tier}``."""
    max_tokens: int | None = 4096
    """The most tokens of the reply; -1 sets no limit."""
    temperature: float | None = 0.7
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    """1 sets no penalty."""
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: str | Sequence[str] | None = None
    """One or more texts that end the reply."""
    seed: int | None = None
    logit_bias: Mapping[str, float] | None = None
    """The bias of each token id."""
    ttl: int | None = None
    """Seconds without use after which the server unloads the model: LM Studio only if this request loads it, Ollama
    always; with 0, Ollama unloads it after the call, and with -1 never."""
    draft_model: str | None = None
    """A smaller model for speculative decoding."""
    reasoning: str | None = None
    """"off", "low", "medium", "high", "on", or another word of ``ModelInfo.reasoning_options``; sent as the endpoint
    takes it. ``reasoning_effort`` is understood as the same option."""
    num_ctx: int | None = None
    """Tokens that the context can hold. Only Ollama has it, and reloads the model if the number changes."""
    keep_alive: float | str | None = None
    """Ollama's form of ``ttl``: seconds, or a text such as "10m"; 0 and -1 are as for ``ttl``."""
    on_truncation: Literal["warn", "error", "ignore"] = "warn"
    """What to do if the prompt does not fit into the context, and the server would silently cut it, as Ollama does:
    answer the rest of it with a TruncationWarning, raise ContextLengthError, or answer it silently. It does not change
    chats with LM Studio, which refuses or cuts them by a setting of the model."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the body, sent as they are."""

    __repr__ = repr_without_images

    def __post_init__(self) -> None:
        if self.extra is None:
            object.__setattr__(self, "extra", {})
        check_fields(vars(self), _CHECKS)
        check("on_truncation", self.on_truncation, ON_TRUNCATION)
        check_extra(self.extra)
        _check_stop(self.stop)
        if self.max_tokens == 0:
            # Some servers would take it for no limit.
            raise InvalidRequestError("max_tokens=0 is not valid", hint="Use 1 or more, or -1 for no limit")
        if self.ttl is not None and self.keep_alive is not None:
            what = f"ttl={self.ttl} and keep_alive={self.keep_alive!r} exclude each other"
            raise InvalidRequestError(what, hint="Give one of them: both say how long the model stays loaded")


def _check_stop(stop: Any) -> None:
    if stop is None:
        return
    texts = [stop] if isinstance(stop, str) or not isinstance(stop, Sequence) else stop
    if not all(isinstance(text, str) for text in texts):
        raise InvalidRequestError(f"stop={preview(stop)} is not text or a sequence of texts")
    if "" in texts:
        where = "stop" if stop == "" else f"stop[{list(texts).index('')}]"
        raise InvalidRequestError(f"{where} is empty", hint="Leave it out: an empty text would end the reply at once")


# A dataclass collects fields from its last base to its first. So the fields of these three come before the options,
# which have defaults. Only their fields are of use, and each method and docstring that is not generated saves time.
@dataclass(frozen=True, init=False, repr=False, eq=False)
class _Prompt:
    """The first fields of a CompletionRequest."""

    user_message: str
    system_prompt: str | None = None


@dataclass(frozen=True, init=False, repr=False, eq=False)
class _Messages:
    """The first fields of a ChatRequest."""

    messages: Messages
    """A text becomes one message of the user."""
    tools: Sequence[Tool | Mapping[str, Any]] = ()
    """A function becomes a Tool."""
    tool_choice: str | None = None
    """"auto", "none", "required", or the name of one tool."""
    response_format: ResponseFormat = None
    """The type of the answer, as a type hint or a JSON schema; with Ollama, {"type": "json_object"} is any JSON."""


@dataclass(frozen=True, init=False, repr=False, eq=False)
class _Beginning:
    """The first field of a TextRequest."""

    prompt: str


@refuse_other_names(OTHERS)
@dataclass(frozen=True, repr=False, eq=False)
class CompletionRequest(_Options, _Prompt):
    """One answer to one text. Raises InvalidRequestError for values that cannot work."""

    images: Image | Sequence[Image] = field(default=(), repr=False)
    """Paths, bytes or ``data:`` URLs of PNG or JPEG; kept as ``data:`` URLs."""
    tools: Iterable[ToolInput] | None = ()
    """As in ChatRequest."""
    tool_choice: str | None = None
    response_format: ResponseFormat = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check("user_message", self.user_message, TEXT)
        check_fields(vars(self), {"system_prompt": TEXT})
        # Images are read now, because an open file may be at its end, or closed, when the request is used or pickled.
        object.__setattr__(self, "images", tuple(map(data_url, listed(self.images))))
        _settle_tools(self)

    def as_chat(self) -> ChatRequest:
        """Return the same request as a chat of one or two messages."""
        own = ("user_message", "system_prompt", "images")
        options = {name: value for name, value in vars(self).items() if name not in own}
        system = [] if self.system_prompt is None else [Message.system(self.system_prompt)]
        return ChatRequest([*system, Message.user(self.user_message, self.images)], **options)


@refuse_other_names(OTHERS)
@dataclass(frozen=True, repr=False, eq=False)
class TextRequest(_Options, _Beginning):
    """Text that goes on after ``prompt``, without a chat template: for base models.

    Raises InvalidRequestError for values that cannot work.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        check("prompt", self.prompt, TEXT)
        if not self.prompt:
            hint = "Give the beginning of the text; without one, Ollama only loads the model"
            raise InvalidRequestError("the prompt is empty", hint=hint)
        _refuse_extra(self.extra, ["echo"], "The reply is the text after the prompt")
        if self.reasoning is not None:
            what = f"reasoning={self.reasoning!r} has no effect on a text that goes on, without a chat template"
            raise InvalidRequestError(what, hint="complete() and chat() take it")


@refuse_other_names(OTHERS)
@dataclass(frozen=True, repr=False, eq=False)
class ChatRequest(_Options, _Messages):
    """The next message of a conversation. Raises InvalidRequestError for values that cannot work."""

    if TYPE_CHECKING:  # it accepts more types than its fields have

        def __init__(
            self,
            messages: str | Messages,
            tools: Iterable[ToolInput] | None = (),
            tool_choice: str | None = None,
            response_format: ResponseFormat = None,
            **options: Unpack[Options],
        ) -> None: ...

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.messages, str):
            object.__setattr__(self, "messages", [Message.user(self.messages)])
        elif isinstance(self.messages, (bytes, Mapping)) or not isinstance(self.messages, Sequence):
            what = f"messages is {type(self.messages).__name__}, not a sequence of messages"
            hint = "Write chat([Message.user('...')]), or chat('...') for a text"
            if isinstance(self.messages, (CompletionRequest, TextRequest)):
                hint = "complete() takes a CompletionRequest, complete_text() a TextRequest, and stream() both"
            raise InvalidRequestError(what, hint=hint)
        if not self.messages:
            raise InvalidRequestError("messages is empty", hint="A chat needs at least one message")
        object.__setattr__(self, "messages", checked(self.messages))
        _settle_tools(self)

    @classmethod
    def from_input(cls, request: StreamInput, **overrides: Unpack[StreamOverrides]) -> ChatRequest:
        """Return the request of a call of ``chat``, ``complete`` or ``stream``, for a provider that you write.

        ``timeout`` and ``deadline`` are left out, because they belong to the call.
        """
        if isinstance(request, (CompletionRequest, str)):
            return completion_request(request, **overrides).as_chat()
        return chat_request(request, **overrides)


class ToolLoopRequest(ChatRequest):
    """A chat of a tool loop: tool calls that are written as text count, and the loop itself warns of lost calls."""

    @classmethod
    def of(cls, request: ChatRequest) -> ToolLoopRequest:
        """Return the same request as one of a tool loop."""
        return cls(**{each.name: getattr(request, each.name) for each in dataclasses.fields(ChatRequest)})


@refuse_other_names(OTHERS)
@dataclass(frozen=True, repr=False, eq=False)
class ResponsesRequest(ChatRequest):
    """The next message of a conversation that the server may keep; only ``responses()`` takes it.

    Raises InvalidRequestError for values that cannot work.
    """

    previous_response_id: str | None = None
    """The ``id`` of the completion to continue; ``messages`` has then only the new messages."""
    store: bool = True
    """If True, the server keeps the reply, so that another request can continue it."""

    if TYPE_CHECKING:

        def __init__(
            self,
            messages: str | Messages,
            tools: Iterable[ToolInput] | None = (),
            tool_choice: str | None = None,
            response_format: ResponseFormat = None,
            *,
            previous_response_id: str | None = None,
            store: bool = True,
            **options: Unpack[Options],
        ) -> None: ...

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(vars(self), {"previous_response_id": NAME})
        check("store", self.store, FLAG)


def _settle_tools(request: ChatRequest | CompletionRequest) -> None:
    """Make tools of functions; raise InvalidRequestError or ConfigurationError for tools and types that cannot work."""
    given = all_of("tools", request.tools, (Tool, Mapping, Callable))
    tools = [each if isinstance(each, (Tool, Mapping)) else Tool.from_function(each) for each in given]
    object.__setattr__(request, "tools", tuple(tools))
    check_fields(vars(request), _TOOL_CHOICE)
    if request.tool_choice == "required" and not request.tools:
        raise InvalidRequestError("tool_choice='required' without tools", hint="Give tools=[...], too")
    structure_of(request.response_format)


# The first argument of complete(), chat(), complete_text(), stream(), and of responses() and messages().
CompletionInput = Union[CompletionRequest, str]
ChatInput = Union[ChatRequest, str, Messages]
TextInput = Union[TextRequest, str]
StreamInput = Union[CompletionInput, ChatInput, TextRequest]
DialectInput = Union[CompletionInput, ChatInput]


_Request = TypeVar("_Request")


def override(request: _Request, others: Mapping[str, str] = OTHERS, /, **overrides: Any) -> _Request:
    """Return ``request`` with some of its fields changed; raise InvalidRequestError for a name that is not a field.

    ``others`` is as for ``check_names``. The first field cannot be changed, because it is the argument of the call.
    ``timeout`` and ``deadline`` are left out.
    """
    given = _fields(type(request), overrides, others)
    return dataclasses.replace(request, **given) if given else request  # type: ignore[type-var]


def _fields(kind: type, overrides: Mapping[str, Any], others: Mapping[str, str] = OTHERS) -> dict[str, Any]:
    if not overrides:
        return {}
    overrides = renamed(overrides)
    check_names("there is no option", overrides, _names_of(kind), others)
    return {name: value for name, value in overrides.items() if name not in LIMITS}


@functools.cache
def _names_of(kind: Any) -> tuple[str, ...]:
    return *[each.name for each in dataclasses.fields(kind)][1:], *LIMITS


def embed_options(defaults: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    """Check options of embedding or loading, and return them with the ``defaults`` for those that are None."""
    complete = with_defaults(_Options(**options), defaults)
    return {name: getattr(complete, name) for name in options}


def completion_request(request: Any, **overrides: Any) -> CompletionRequest:
    """Return ``request``, or the CompletionRequest for a text, as ``override`` does; raise InvalidRequestError."""
    _check_given(request)
    if isinstance(request, CompletionRequest):
        return override(request, **overrides)
    if isinstance(request, str):
        return CompletionRequest(request, **_fields(CompletionRequest, overrides))
    hint = "chat() takes messages"
    raise InvalidRequestError(f"complete() got {type(request).__name__}, not a text or a CompletionRequest", hint=hint)


def text_request(request: Any, **overrides: Any) -> TextRequest:
    """Return ``request``, or the TextRequest for a text, as ``override`` does; raise InvalidRequestError."""
    _check_given(request)
    if isinstance(request, TextRequest):
        return override(request, **overrides)
    return TextRequest(request, **_fields(TextRequest, overrides))


def chat_request(request: Any, **overrides: Any) -> ChatRequest:
    """Return ``request``, or the ChatRequest for messages, as ``override`` does; raise InvalidRequestError."""
    _check_given(request)
    if isinstance(request, ResponsesRequest):
        raise InvalidRequestError("only responses() takes a ResponsesRequest", hint="Make a ChatRequest")
    if isinstance(request, ChatRequest):
        return override(request, **overrides)
    return ChatRequest(request, **_fields(ChatRequest, overrides))


def any_request(request: Any, **overrides: Any) -> CompletionRequest | TextRequest | ChatRequest:
    """Return the request of ``stream``, as ``override`` does; raise InvalidRequestError."""
    if isinstance(request, (CompletionRequest, str)):
        return completion_request(request, **overrides)
    return (text_request if isinstance(request, TextRequest) else chat_request)(request, **overrides)


def _check_given(request: object) -> None:
    """Raise InvalidRequestError for a call without its first argument."""
    if request is UNSET:
        raise InvalidRequestError("there is nothing to answer", hint=OTHERS["messages"])
