"""What goes out: messages, tools and the two kinds of request, checked when they are made."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import os
import re
from dataclasses import dataclass, field
from typing import Any, Callable, Iterable, Mapping, Sequence, TypedDict, TypeVar, Union

from ._exceptions import InvalidRequestError
from ._functions import Function
from ._images import Image, data_url
from ._structured import structure_of
from ._types import Timeout, ToolCall


@dataclass(frozen=True)
class Message:
    """One turn of a conversation: ``role`` is "system", "user", "assistant" or "tool"."""

    role: str
    #: Text, or a list of parts in OpenAI's form; None is sent as "", because LM Studio wants it in every message.
    content: str | Sequence[Mapping[str, Any]] | None
    name: str | None = None
    #: What the assistant wanted called.
    tool_calls: Sequence[ToolCall] = ()
    #: Which call a message of role "tool" answers.
    tool_call_id: str | None = None

    def __post_init__(self) -> None:
        if self.role not in ("system", "user", "assistant", "tool"):
            hint = "There are 'system', 'user', 'assistant' and 'tool'; a dict may have any other"
            raise InvalidRequestError(f"Message: role={self.role!r} is unknown", hint=hint)
        if self.content is not None and not isinstance(self.content, str):
            _all_of("Message: content", self.content, Mapping)
        object.__setattr__(self, "tool_calls", _all_of("Message: tool_calls", self.tool_calls, ToolCall))

    @classmethod
    def system(cls, text: str) -> Message:
        """Instructions for the whole conversation."""
        return cls("system", text)

    @classmethod
    def user(cls, text: str, images: Image | Sequence[Image] = ()) -> Message:
        """What the user says, with images: paths, bytes or ``data:`` URLs of PNG or JPEG.

        Raises InvalidRequestError for an image that LM Studio is known to refuse (http URLs, WebP).
        """
        if isinstance(images, (str, bytes, os.PathLike)):
            images = [images]
        if not images:
            return cls("user", text)
        parts: list[Mapping[str, Any]] = [{"type": "text", "text": text}]
        parts += [{"type": "image_url", "image_url": {"url": data_url(image)}} for image in images]
        return cls("user", parts)

    @classmethod
    def assistant(cls, text: str | None = "", tool_calls: Sequence[ToolCall] = ()) -> Message:
        """What the model said, and what it wanted called."""
        return cls("assistant", text, tool_calls=tool_calls)

    @classmethod
    def tool(cls, call: ToolCall | str, result: object) -> Message:
        """The result of ``call`` (or of the call with that id): text as it is, anything else as JSON."""
        call_id = call.id if isinstance(call, ToolCall) else call
        text = result if isinstance(result, str) else to_json(result, "the tool's result")
        return cls("tool", text, tool_call_id=call_id)


@dataclass(frozen=True)
class Tool:
    """A function that the model may ask for; ``parameters`` is the JSON schema of its arguments.

    ``function`` is what ``run_tools`` calls; ``Tool.from_function(fn)`` reads all the others from it.

    Names of lower-case letters, digits and ``_`` come back unchanged; LM Studio may turn others into snake_case.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    function: Callable[..., Any] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[\w.-]+", self.name):
            raise InvalidRequestError(f"Tool: name={self.name!r} is no name of letters, digits, '_', '-' and '.'")
        if not isinstance(self.description, str):
            raise InvalidRequestError(f"Tool {self.name}: description is {type(self.description).__name__}, not text")
        if not isinstance(self.parameters, Mapping):
            kind = type(self.parameters).__name__
            raise InvalidRequestError(f"Tool {self.name}: parameters is {kind}, not a JSON schema as a mapping")
        if self.function is not None and not callable(self.function):
            raise InvalidRequestError(f"Tool {self.name}: function={self.function!r} cannot be called")

    @classmethod
    def from_function(
        cls, function: Callable[..., Any], *, name: str | None = None, description: str | None = None
    ) -> Tool:
        """Make a tool of a function with type hints.

        The description is the docstring up to its first section; that of a parameter is in the section ``Args:``, or
        is the text in ``Annotated[type, "text"]``. Hints are str, int, float, bool, None, Any, Optional, Union,
        Literal, Enum, list, tuple, set, dict with keys of text, dataclasses and TypedDict, nested as you like;
        parameters with a default may be left out. Raises ConfigurationError, which names function and parameter, for
        anything else.
        """
        read = Function(function)
        said = read.description if description is None else description
        return cls(name or read.name, said, read.schema, function)


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
    "ttl": (1, math.inf, True),
}


@dataclass(frozen=True)
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
    #: Seconds after which a model that this very request loads is unloaded again.
    ttl: int | None = None
    #: A smaller model for speculative decoding.
    draft_model: str | None = None
    #: Further fields of the body, sent as they are.
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, (least, most, whole) in _NUMBERS.items():
            value = getattr(self, name)
            if value is None:
                continue
            kinds = int if whole else (int, float)
            if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
                span = f" from {least:g} to {most:g}" if most < math.inf else f" of at least {least:g}"
                span = "" if least == -math.inf else span
                raise InvalidRequestError(f"{name}={value!r} is no {'whole ' if whole else ''}number{span}")
            if value in (math.inf, -math.inf):
                raise InvalidRequestError(f"{name}={value!r} is not finite")
        for name in ("model", "tier", "draft_model"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value.strip()):
                raise InvalidRequestError(f"{name}={value!r} is no name")
        texts = [self.stop or ""] if isinstance(self.stop, (str, type(None))) else self.stop
        if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
            raise InvalidRequestError(f"stop={self.stop!r} is neither text nor a sequence of texts")
        biases = {} if self.logit_bias is None else self.logit_bias
        if not isinstance(biases, Mapping) or any(
            isinstance(each, bool) or not isinstance(each, (int, float)) or not math.isfinite(each)
            for each in biases.values()
        ):
            raise InvalidRequestError(f"logit_bias={self.logit_bias!r} is no mapping of token ids to numbers")
        if self.extra is None:
            object.__setattr__(self, "extra", {})
        if not isinstance(self.extra, Mapping):
            raise InvalidRequestError(f"extra={self.extra!r} is no mapping")
        # These two decide how the reply is read, which is settled by the method that was called.
        for name in ("stream", "stream_options"):
            if name in self.extra:
                raise InvalidRequestError(f"extra: {name!r} cannot be set", hint="Call stream() for a stream")


# The fields of the last base come first: dataclasses collect them in reverse order of the bases. So the text can
# be the first argument although all options have defaults.
@dataclass(frozen=True)
class _Prompt:
    user_message: str
    system_prompt: str | None = None


#: What ``response_format`` takes.
ResponseFormat = Union[type, Mapping[str, Any]]


@dataclass(frozen=True)
class _Messages:
    #: Messages, or dicts in OpenAI's form.
    messages: Sequence[Message | Mapping[str, Any]]
    #: Tools, or dicts in OpenAI's form.
    tools: Sequence[Tool | Mapping[str, Any]] = ()
    #: "auto", "none", "required", or the name of one tool.
    tool_choice: str | None = None
    #: What the answer is to be: a dataclass type, a TypedDict, a pydantic model, or a JSON schema as a dict.
    response_format: ResponseFormat | None = None


@dataclass(frozen=True)
class _Beginning:
    prompt: str


@dataclass(frozen=True)
class CompletionRequest(_Options, _Prompt):
    """One answer to one text. Raises InvalidRequestError for values that cannot work."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("user_message", "system_prompt"):
            value = getattr(self, name)
            if not isinstance(value, str) and not (value is None and name == "system_prompt"):
                raise InvalidRequestError(f"{name} is {type(value).__name__}, not text")

    def as_chat(self) -> ChatRequest:
        """The chat of one or two messages that it is."""
        options = {name: value for name, value in vars(self).items() if name not in ("user_message", "system_prompt")}
        system = [] if self.system_prompt is None else [Message.system(self.system_prompt)]
        return ChatRequest([*system, Message.user(self.user_message)], **options)


@dataclass(frozen=True)
class TextRequest(_Options, _Beginning):
    """Text that goes on after ``prompt``, without a chat template: for base models.

    Raises InvalidRequestError for values that cannot work.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.prompt, str):
            raise InvalidRequestError(f"prompt is {type(self.prompt).__name__}, not text")
        if "echo" in self.extra:
            raise InvalidRequestError("extra: 'echo' cannot be set", hint="The reply is what comes after the prompt")


@dataclass(frozen=True)
class ChatRequest(_Options, _Messages):
    """The next message of a conversation. Raises InvalidRequestError for values that cannot work."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.messages, (str, bytes, Mapping)) or not isinstance(self.messages, Sequence):
            raise InvalidRequestError(
                f"messages is {type(self.messages).__name__}, not a sequence of messages",
                hint="Write chat([Message.user('...')]), or complete('...') for a text alone",
            )
        if not self.messages:
            raise InvalidRequestError("messages is empty", hint="A chat needs at least one message")
        for position, message in enumerate(self.messages):
            if not isinstance(message, Message) and not (isinstance(message, Mapping) and "role" in message):
                raise InvalidRequestError(f"messages[{position}] is neither a Message nor a dict with a role")
        object.__setattr__(self, "tools", _all_of("tools", self.tools, (Tool, Mapping)))
        if self.tool_choice == "required" and not self.tools:
            raise InvalidRequestError("tool_choice='required' without tools", hint="Give tools=[...], too")
        structure_of(self.response_format)


def _all_of(what: str, values: Any, kinds: Any) -> tuple[Any, ...]:
    """``values`` as a tuple, of which each is of one of ``kinds``; raises InvalidRequestError."""
    if values is None:
        return ()
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise InvalidRequestError(f"{what} is {type(values).__name__}, not a sequence")
    found: tuple[Any, ...] = tuple(values)
    for position, value in enumerate(found):
        if not isinstance(value, kinds):
            raise InvalidRequestError(f"{what}[{position}] is a {type(value).__name__}, which cannot be there")
    return found


#: What ``complete`` takes, what ``chat`` takes, and what ``complete_text`` takes.
CompletionInput = Union[CompletionRequest, str]
ChatInput = Union[ChatRequest, Sequence[Union[Message, Mapping[str, Any]]]]
TextInput = Union[TextRequest, str]
StreamInput = Union[CompletionInput, ChatInput, TextRequest]


class Overrides(TypedDict, total=False):
    """Keyword arguments of all calls: the options of the request, plus ``timeout`` and ``deadline``."""

    timeout: Timeout
    deadline: float | None
    model: str | None
    tier: str | None
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    repeat_penalty: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    stop: str | Sequence[str] | None
    seed: int | None
    logit_bias: Mapping[str, float] | None
    ttl: int | None
    draft_model: str | None
    extra: Mapping[str, Any]


class CompletionOverrides(Overrides, total=False):
    """Keyword arguments of ``complete``."""

    system_prompt: str | None


class ChatOverrides(Overrides, total=False):
    """Keyword arguments of ``chat`` and ``complete_with_tools``."""

    tools: Iterable[Tool | Mapping[str, Any]] | None
    tool_choice: str | None
    response_format: ResponseFormat | None


class StreamOverrides(CompletionOverrides, ChatOverrides, total=False):
    """Keyword arguments of ``stream``: which of them fit depends on the request."""


_ELSEWHERE = {
    **dict.fromkeys(("tools", "tool_choice", "response_format"), "chat([Message.user(...)]) takes it"),
    "system_prompt": "In a chat it is the first message: Message.system(...)",
    "stream": "Call stream()",
}
_Request = TypeVar("_Request", bound=_Options)


def override(request: _Request, **overrides: Any) -> _Request:
    """``request`` with some of its fields changed; a name that it has not is an InvalidRequestError."""
    names = [each.name for each in dataclasses.fields(request)]
    for name in overrides:
        if name not in names:
            near = difflib.get_close_matches(name, [*names, "timeout", "deadline"], n=1)
            hint = "Fields that only the server knows go into extra={...}"
            if name in _ELSEWHERE:
                hint = _ELSEWHERE[name]
            elif near:
                hint = f"Did you mean {near[0]!r}?"
            raise InvalidRequestError(f"{type(request).__name__} has no field {name!r}", hint=hint)
    return dataclasses.replace(request, **overrides) if overrides else request


def to_json(value: object, what: str) -> str:
    """``value`` as JSON text; raises InvalidRequestError naming ``what`` where it is none."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(f"{what} cannot be written as JSON: {error}") from error
