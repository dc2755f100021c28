"""What goes out: the kinds of request, checked when they are made."""

from __future__ import annotations

import dataclasses
import math
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Iterable, Literal, Mapping, Sequence, TypeVar, Union

from ._exceptions import InvalidRequestError, shown
from ._images import Image, data_url, listed, repr_without_images
from ._messages import Message, Messages, Tool, ToolInput, all_of, checked
from ._ollama_options import check_keep_alive
from ._options import OTHERS, Unpack, check_names, refuse_other_names, with_defaults
from ._overrides import LIMITS, Options, ResponseFormat, StreamOverrides
from ._structured import structure_of
from ._types import UNSET

#: The least and the most of each number, and whether it has to be whole. LM Studio docs: openai-compat.
_NUMBERS: dict[str, tuple[float, float, bool]] = {
    "max_tokens": (-1, math.inf, True),
    "temperature": (0, math.inf, False),
    "top_p": (0, 1, False),
    "top_k": (0, math.inf, True),
    "min_p": (0, 1, False),
    "repeat_penalty": (0, math.inf, False),
    "presence_penalty": (-2, 2, False),
    "frequency_penalty": (-2, 2, False),
    "seed": (-math.inf, math.inf, True),
    "ttl": (-1, math.inf, True),
    "num_ctx": (1, math.inf, True),
}


def check_numbers(given: Mapping[str, Any], numbers: Mapping[str, tuple[float, float, bool]]) -> None:
    """Raise InvalidRequestError for a number that is out of its bounds; None is left to the server."""
    for name, (least, most, whole) in numbers.items():
        value = given[name]
        if value is None:
            continue
        kinds = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
            span = f" from {least:g} to {most:g}" if most < math.inf else f" of at least {least:g}"
            span = "" if least == -math.inf else span
            raise InvalidRequestError(f"{name}={shown(value)} is no {'whole ' if whole else ''}number{span}")
        if abs(value) > sys.float_info.max:  # infinite, or a number that JSON has no room for
            raise InvalidRequestError(f"{name}={shown(value)} is not finite")


# What to write for a name.
_NAMES = {
    **dict.fromkeys(("model", "draft_model"), "Give the id of a model, as list_models() has it"),
    "tier": "Write tier='fast' for the setting lmstudio_model_fast",
}


def check_name(what: str, value: object) -> None:
    """Raise InvalidRequestError for anything but a text that is not blank, or None."""
    if value is not None:
        check_given(what, value, ", or None")


def check_given(what: str, value: object, or_else: str = "") -> None:
    """Raise InvalidRequestError for anything but a text that is not blank."""
    if not isinstance(value, str) or not value.strip():
        hint = _NAMES.get(what)
        raise InvalidRequestError(f"{what}={shown(value)} is no name", hint=f"{hint}{or_else}" if hint else "")


def check_on_truncation(value: object) -> None:
    """Raise InvalidRequestError for anything but one of the three words."""
    if not isinstance(value, str) or value not in ("warn", "error", "ignore"):
        raise InvalidRequestError(f"on_truncation={shown(value)} is none of 'warn', 'error', 'ignore'")


def check_extra(extra: object) -> None:
    """Raise InvalidRequestError for further fields of a body that cannot be."""
    if not isinstance(extra, Mapping):
        raise InvalidRequestError(f"extra={shown(extra)} is no mapping")
    # These two decide how the reply is read, which is settled by the method that was called.
    for name in ("stream", "stream_options"):
        if name in extra:
            raise InvalidRequestError(f"extra: {name!r} cannot be set", hint="Call stream() for a stream")


@dataclass(frozen=True, repr=False)
class _Options:
    """How to generate; None leaves it to the server and is not sent."""

    model: str | None = None
    #: Picks the setting ``lmstudio_model_{tier}``.
    tier: str | None = None
    #: Tokens; -1 is no limit.
    max_tokens: int | None = 4096
    temperature: float | None = 0.7
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    #: 1 is none.
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    #: Text, or several, that end the reply.
    stop: str | Sequence[str] | None = None
    seed: int | None = None
    #: Token id to bias.
    logit_bias: Mapping[str, float] | None = None
    #: Seconds after which a model that this very request loads is unloaded again. Ollama does so whoever loaded it; 0
    #: unloads it after the call, -1 keeps it for good.
    ttl: int | None = None
    #: A smaller model for speculative decoding.
    draft_model: str | None = None
    #: Tokens that the context is to hold; Ollama alone, which loads the model anew if it has another number.
    num_ctx: int | None = None
    #: For how long the model stays, in Ollama's own words: seconds, or text such as "10m"; 0 and -1 are as for ``ttl``.
    keep_alive: float | str | None = None
    #: What to do if the prompt does not fit into the context, and the server would cut it without a word, as Ollama
    #: does: give a TruncationWarning and answer what is left of it, raise ContextLengthError, or let it happen.
    #: LM Studio's chats are refused or cut by the server's own rule, whatever this says.
    on_truncation: Literal["warn", "error", "ignore"] = "warn"
    #: Further fields of the body, sent as they are.
    extra: Mapping[str, Any] = field(default_factory=dict)

    __repr__ = repr_without_images

    def __post_init__(self) -> None:
        check_numbers(vars(self), _NUMBERS)
        if self.max_tokens == 0:
            raise InvalidRequestError("max_tokens=0 would be no limit", hint="Use 1 or more, or -1 for no limit")
        check_keep_alive("keep_alive", self.keep_alive)
        if self.ttl is not None and self.keep_alive is not None:
            what = f"ttl={self.ttl} and keep_alive={self.keep_alive!r} both say how long the model stays"
            raise InvalidRequestError(what, hint="Give one of them")
        for name in ("model", "tier", "draft_model"):
            check_name(name, getattr(self, name))
        check_on_truncation(self.on_truncation)
        _check_stop(self.stop)
        biases = {} if self.logit_bias is None else self.logit_bias
        if not isinstance(biases, Mapping) or any(
            isinstance(each, bool) or not isinstance(each, (int, float)) or not abs(each) < math.inf
            for each in biases.values()
        ):
            raise InvalidRequestError(f"logit_bias={shown(self.logit_bias)} is no mapping of token ids to numbers")
        if self.extra is None:
            object.__setattr__(self, "extra", {})
        check_extra(self.extra)


def _check_stop(stop: object) -> None:
    texts = {} if stop is None else {"stop": stop}
    if isinstance(stop, Sequence) and not isinstance(stop, str):
        texts = {f"stop[{position}]": text for position, text in enumerate(stop)}
    if not all(isinstance(text, str) for text in texts.values()):
        raise InvalidRequestError(f"stop={shown(stop)} is neither text nor a sequence of texts")
    for where, text in texts.items():
        if not text:
            raise InvalidRequestError(f"{where} is empty", hint="Leave it out: it would end a reply before it begins")


# The fields of the last base come first: dataclasses collect them in reverse order of the bases. So the text can
# be the first argument although all options have defaults.
@dataclass(frozen=True)
class _Prompt:
    user_message: str
    system_prompt: str | None = None


@dataclass(frozen=True)
class _Messages:
    #: A text becomes one message of the user.
    messages: Messages
    #: A function becomes a Tool.
    tools: Sequence[Tool | Mapping[str, Any]] = ()
    #: "auto", "none", "required", or the name of one tool.
    tool_choice: str | None = None
    #: What the answer is to be, as a type hint or a JSON schema; with Ollama, {"type": "json_object"} is any JSON.
    response_format: ResponseFormat = None


@dataclass(frozen=True)
class _Beginning:
    prompt: str


@refuse_other_names(OTHERS)
@dataclass(frozen=True, repr=False)
class CompletionRequest(_Options, _Prompt):
    """One answer to one text. Raises InvalidRequestError for values that cannot work."""

    #: Paths, bytes or ``data:`` URLs of PNG or JPEG; kept as ``data:`` URLs.
    images: Image | Sequence[Image] = field(default=(), repr=False)
    #: As those of a ChatRequest.
    tools: Iterable[ToolInput] | None = ()
    tool_choice: str | None = None
    response_format: ResponseFormat = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("user_message", "system_prompt"):
            value = getattr(self, name)
            if not isinstance(value, str) and not (value is None and name == "system_prompt"):
                raise InvalidRequestError(f"{name} is {type(value).__name__}, not text")
        # Read now: a file that is open may be at its end, or gone, when the request is used or pickled.
        object.__setattr__(self, "images", tuple(map(data_url, listed(self.images))))
        _settle_tools(self)

    def as_chat(self) -> ChatRequest:
        """The chat of one or two messages that it is."""
        own = ("user_message", "system_prompt", "images")
        options = {name: value for name, value in vars(self).items() if name not in own}
        system = [] if self.system_prompt is None else [Message.system(self.system_prompt)]
        return ChatRequest([*system, Message.user(self.user_message, self.images)], **options)


@refuse_other_names(OTHERS)
@dataclass(frozen=True, repr=False)
class TextRequest(_Options, _Beginning):
    """Text that goes on after ``prompt``, without a chat template: for base models.

    Raises InvalidRequestError for values that cannot work.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.prompt, str):
            raise InvalidRequestError(f"prompt is {type(self.prompt).__name__}, not text")
        if not self.prompt:
            raise InvalidRequestError(
                "prompt is empty", hint="Give the beginning of the text; Ollama would only load the model"
            )
        if "echo" in self.extra:
            raise InvalidRequestError("extra: 'echo' cannot be set", hint="The reply is what comes after the prompt")


@refuse_other_names(OTHERS)
@dataclass(frozen=True, repr=False)
class ChatRequest(_Options, _Messages):
    """The next message of a conversation. Raises InvalidRequestError for values that cannot work."""

    if TYPE_CHECKING:  # it takes more than it holds

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
        if isinstance(self.messages, (bytes, Mapping)) or not isinstance(self.messages, Sequence):
            what = f"messages is {type(self.messages).__name__}, not a sequence of messages"
            hint = "Write chat([Message.user('...')]), or chat('...') for a text alone"
            if isinstance(self.messages, (CompletionRequest, TextRequest)):
                hint = "complete() takes a CompletionRequest, complete_text() a TextRequest, and stream() both"
            raise InvalidRequestError(what, hint=hint)
        if not self.messages:
            raise InvalidRequestError("messages is empty", hint="A chat needs at least one message")
        object.__setattr__(self, "messages", checked(self.messages))
        _settle_tools(self)

    @classmethod
    def from_input(cls, request: StreamInput, **overrides: Unpack[StreamOverrides]) -> ChatRequest:
        """Return the chat that a call of ``chat``, ``complete`` or ``stream`` asks for: for providers of one's own.

        ``timeout`` and ``deadline`` are not in it, because they belong to the call.
        """
        given: dict[str, Any] = {name: value for name, value in overrides.items() if name not in LIMITS}
        if isinstance(request, (CompletionRequest, str)):
            return override(completion_request(request), **given).as_chat()
        return override(chat_request(request), **given)


@dataclass(frozen=True, repr=False)
class ToolLoopRequest(ChatRequest):
    """A chat in whose reply a call that came as text is taken as the call; its sender warns of those that are not."""

    @classmethod
    def of(cls, request: ChatRequest) -> ToolLoopRequest:
        """Return the same request, as one of a loop of tools."""
        return cls(**{each.name: getattr(request, each.name) for each in dataclasses.fields(ChatRequest)})


@refuse_other_names(OTHERS)
@dataclass(frozen=True, repr=False)
class ResponsesRequest(ChatRequest):
    """The next message of a conversation that the server may keep; for ``responses`` alone.

    Raises InvalidRequestError for values that cannot work.
    """

    #: The ``id`` of the completion to go on from: ``messages`` are then the new ones alone.
    previous_response_id: str | None = None
    #: Whether the server keeps the reply, so that another can go on from it.
    store: bool = True
    #: "none", "minimal", "low", "medium", "high", or any other word that the model takes.
    reasoning_effort: str | None = None

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
            reasoning_effort: str | None = None,
            **options: Unpack[Options],
        ) -> None: ...

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("previous_response_id", "reasoning_effort"):
            check_name(name, getattr(self, name))
        if not isinstance(self.store, bool):
            raise InvalidRequestError(f"store={shown(self.store)} is neither True nor False")


def _settle_tools(request: ChatRequest | CompletionRequest) -> None:
    """Make tools of functions; raise InvalidRequestError or ConfigurationError for what cannot be offered or asked."""
    given = all_of("tools", request.tools, (Tool, Mapping, Callable))
    tools = [each if isinstance(each, (Tool, Mapping)) else Tool.from_function(each) for each in given]
    object.__setattr__(request, "tools", tuple(tools))
    if not isinstance(request.tool_choice, (str, type(None))):
        what = f"tool_choice={shown(request.tool_choice)} is no text"
        raise InvalidRequestError(what, hint="Give the name of the tool")
    if request.tool_choice == "required" and not request.tools:
        raise InvalidRequestError("tool_choice='required' without tools", hint="Give tools=[...], too")
    structure_of(request.response_format)


#: What ``complete``, ``chat``, ``complete_text``, ``stream``, and ``responses`` and ``messages`` take.
CompletionInput = Union[CompletionRequest, str]
ChatInput = Union[ChatRequest, str, Messages]
TextInput = Union[TextRequest, str]
StreamInput = Union[CompletionInput, ChatInput, TextRequest]
DialectInput = Union[CompletionInput, ChatInput]


_Request = TypeVar("_Request")


def override(request: _Request, others: Mapping[str, str] = OTHERS, /, **overrides: Any) -> _Request:
    """``request`` with some of its fields changed; a name that it has not is an InvalidRequestError.

    ``others`` are as those of ``check_names``. The first field is what the call itself was given.
    """
    names = [*[each.name for each in dataclasses.fields(request)][1:], *LIMITS]  # type: ignore[arg-type]
    otherwise = "Fields that only the server knows go into extra={...}, those of Ollama into extra={'options': {...}}"
    check_names(f"{type(request).__name__} has no field", overrides, names, others, otherwise=otherwise)
    return dataclasses.replace(request, **overrides) if overrides else request  # type: ignore[type-var]


def embed_options(defaults: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    """Return options of embedding or loading, checked, with the ``defaults`` of those that are None."""
    complete = with_defaults(_Options(**options), defaults)
    return {name: getattr(complete, name) for name in options}


def completion_request(request: Any) -> CompletionRequest:
    """The CompletionRequest that a text is; raises InvalidRequestError."""
    _check_given(request)
    if isinstance(request, (CompletionRequest, str)):
        return request if isinstance(request, CompletionRequest) else CompletionRequest(request)
    raise InvalidRequestError(
        f"complete() got {type(request).__name__}, not a text or a CompletionRequest", hint="chat() takes messages"
    )


def text_request(request: Any) -> TextRequest:
    """The TextRequest that a text is; raises InvalidRequestError."""
    _check_given(request)
    return request if isinstance(request, TextRequest) else TextRequest(request)


def chat_request(request: Any) -> ChatRequest:
    """The chat that messages or a text are; raises InvalidRequestError."""
    _check_given(request)
    if isinstance(request, ResponsesRequest):
        raise InvalidRequestError("a ResponsesRequest is for responses() alone", hint="Make a ChatRequest")
    return request if isinstance(request, ChatRequest) else ChatRequest(request)


def _check_given(request: object) -> None:
    """Raise InvalidRequestError for a call without its first argument."""
    if request is UNSET:
        raise InvalidRequestError("there is nothing to answer", hint=OTHERS["messages"])
