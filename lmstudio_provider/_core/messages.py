"""Messages and tools, checked when they are made."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Iterable, Union

from .checks import MAPPING, TEXT, Check, check, check_fields
from .errors import ConfigurationError, InvalidRequestError, preview
from .frozen import Frozen
from .images import Image, listed, repr_without_images
from .message_forms import call_as_dict, image_part, in_openai_form, plain_of
from .options import nearest, refuse_other_names
from .types import ToolCall

# The roles of messages, and what other programs call them (LangChain, Gemini, Cohere).
_ROLES = {
    **{role: role for role in ("system", "user", "assistant", "tool", "developer", "function")},
    **{"human": "user", "ai": "assistant", "bot": "assistant", "chatbot": "assistant", "model": "assistant"},
}
_KNOWN = "Use 'system', 'user', 'assistant' or 'tool'"
_TEXTS = dict.fromkeys(("name", "tool_call_id", "reasoning"), TEXT)
_CONTENT_ELSEWHERE = {"text": "content", "message": "content"}


def _role_hint(role: object) -> str:
    """Return a hint with the role that was meant; "" if ``role`` is right, or is not similar to any."""
    word = nearest(role, _ROLES) if isinstance(role, str) else None
    right = role if word is None else _ROLES[word]
    return "" if right == role else f"Did you mean {right!r}?"


@refuse_other_names(_CONTENT_ELSEWHERE)
@dataclass(frozen=True, repr=False, eq=False)
class Message(Frozen):
    """One turn of a conversation: ``role`` is "system", "user", "assistant" or "tool"."""

    role: str
    content: str | Sequence[Mapping[str, Any]] | None
    """Text, or a list of parts in OpenAI's form. None is sent as "", because LM Studio wants a content everywhere."""
    name: str | None = None
    tool_calls: Sequence[ToolCall] = ()
    """The tool calls that the assistant made."""
    tool_call_id: str | None = None
    """The id of the call that a message of role "tool" answers."""
    reasoning: str | None = None
    """The reasoning of the assistant before its answer."""

    __repr__ = repr_without_images

    def __post_init__(self) -> None:
        if self.role not in ("system", "user", "assistant", "tool"):
            hint = _role_hint(self.role) or f"{_KNOWN}; only a dict may have another role"
            raise InvalidRequestError(f"Message: role={preview(self.role)} is unknown", hint=hint)
        if self.content is not None and not isinstance(self.content, str):
            object.__setattr__(self, "content", list(all_of("Message: content", self.content, Mapping)))
        check_fields(vars(self), _TEXTS, "Message: ")
        object.__setattr__(self, "tool_calls", all_of("Message: tool_calls", self.tool_calls, ToolCall))

    @classmethod
    def system(cls, text: str) -> Message:
        """Return instructions for the whole conversation."""
        return cls("system", _given("Message.system", text, "leave the message out for no instructions"))

    @classmethod
    def user(cls, text: str, images: Image | Sequence[Image] = ()) -> Message:
        """Return a message of the user, with images in PNG or JPEG.

        An image is a path, bytes, a file that is open in binary mode (read from its position on, and left open), a
        ``PIL.Image``, a ``data:`` URL, or base64: in either alphabet, with or without line breaks and padding, as text
        or bytes. A text that is both base64 and the path of a file that exists is the path. Raises InvalidRequestError
        if something is not an image, or if LM Studio is known to refuse it (http URLs, WebP).
        """
        _given("Message.user", text, "'' is right for images without text, and only an assistant's text may be None")
        seen = listed(images)
        if not seen:
            return cls("user", text)
        check("Message.user: text", text, TEXT)
        parts: list[Mapping[str, Any]] = [{"type": "text", "text": text}]
        return cls("user", [*parts, *map(image_part, seen)])

    @classmethod
    def assistant(
        cls, text: str | None = "", tool_calls: Sequence[ToolCall] = (), reasoning: str | None = None
    ) -> Message:
        """Return a message of the model: its answer, its tool calls, and its reasoning before them."""
        return cls("assistant", text, tool_calls=tool_calls, reasoning=reasoning)

    @classmethod
    def tool(cls, call: ToolCall | str, result: object) -> Message:
        """Return the message with the result of ``call`` (or of the call with that id).

        Text stays as it is, and anything else becomes JSON: dataclasses, pydantic models, numpy arrays, pandas tables,
        iterators (up to 10,000 items), dates in ISO 8601, bytes in base64, NaN and infinity as null. An object of
        another type becomes its ``str()``, with a ToolCallWarning. Raises InvalidRequestError for data that contains
        itself.
        """
        from .results import result_text  # noqa: PLC0415 (it takes long to import, and is imported with each provider)

        if isinstance(call, ToolCall):
            return cls("tool", result_text(result, call.name), tool_call_id=call.id)
        return cls("tool", result_text(result, f"of the call {call!r}"), tool_call_id=call)

    def as_dict(self) -> dict[str, Any]:
        """Return the message in OpenAI's form; it always has ``content``."""
        message: dict[str, Any] = {"role": self.role, "content": "" if self.content is None else self.content}
        own = {name: getattr(self, name) for name in ("name", "tool_call_id", "reasoning")}
        message.update((name, value) for name, value in own.items() if value is not None)
        if self.tool_calls:
            message["tool_calls"] = [call_as_dict(call) for call in self.tool_calls]
        return message

    @classmethod
    def from_dict(cls, message: Mapping[str, Any]) -> Message:
        """Return the message of a dict in OpenAI's or Ollama's form, or of an object with ``model_dump``.

        A call without an id has the id "" until it is sent. Raises InvalidRequestError if ``message`` is not a message.
        """
        try:
            plain = in_openai_form(plain_of(message))
            calls = [
                ToolCall(each.get("id") or "", each["function"]["name"], raw_arguments=each["function"]["arguments"])
                for each in plain.get("tool_calls", ())
            ]
            optional = {name: plain.get(name) for name in ("name", "tool_call_id", "reasoning")}
            return cls(plain["role"], plain.get("content"), tool_calls=calls, **optional)
        except (LookupError, TypeError, AttributeError) as error:
            # The error names only the keys, because the values may be images.
            what = f"a dict with {', '.join(map(repr, message))}" if isinstance(message, Mapping) else preview(message)
            raise InvalidRequestError(
                f"{what} is not a message in OpenAI's or Ollama's form, with a role and content"
            ) from error


# A conversation: Message, or dicts in OpenAI's form.
Messages = Sequence[Union[Message, Mapping[str, Any]]]


def checked(messages: Messages) -> Messages:
    """Check ``messages``, and return them with dicts for the objects of other clients; raise InvalidRequestError."""
    if any(hasattr(each, "model_dump") for each in messages):
        messages = [plain_of(each) for each in messages]
    for position, message in enumerate(messages):
        if not isinstance(message, Message):
            _check_dict(f"messages[{position}]", message)
    return messages


def _check_dict(what: str, message: object) -> None:
    """Raise InvalidRequestError if ``message`` is not in OpenAI's form, or has a misspelt name or role.

    A role that is not similar to a known one is accepted, because the model's template may know it.
    """
    if not isinstance(message, Mapping) or "role" not in message:
        raise InvalidRequestError(f"{what} is neither a Message nor a dict with a role")
    role = message["role"]
    hint = _role_hint(role) if isinstance(role, str) else _KNOWN
    if hint:
        raise InvalidRequestError(f"{what}: role={preview(role)} is unknown", hint=hint)
    for name in map(str, () if "content" in message else message):
        if name in _CONTENT_ELSEWHERE or nearest(name, ["content"]):
            raise InvalidRequestError(f"{what} has {name!r} and no content", hint="Did you mean 'content'?")
    if not isinstance(message.get("content"), str):
        all_of(f"{what}: content", message.get("content"), Mapping)


_TOOL_FIELDS = {
    "name": Check(
        lambda value: isinstance(value, str) and re.fullmatch(r"[\w.-]+", value),
        "is not a name of letters, digits, '_', '-' and '.'",
    ),
    "description": TEXT,
    "parameters": MAPPING._replace(problem="is not a mapping with a JSON schema"),
    "function": Check(lambda value: value is None or callable(value), "cannot be called"),
}


@refuse_other_names({"input_schema": "parameters", "schema": "parameters"})
@dataclass(frozen=True, repr=False, eq=False)
class Tool(Frozen):
    """A function that the model may call; ``parameters`` is the JSON schema of its arguments.

    ``run_tools`` calls ``function``; ``Tool.from_function(fn)`` reads the other fields from it.

    LM Studio may turn a name into snake_case, so use only lower-case letters, digits and ``_``.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    function: Callable[..., Any] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name, rule in _TOOL_FIELDS.items():
            check(f"Tool: {name}", getattr(self, name), rule)

    @classmethod
    def from_function(
        cls, function: Callable[..., Any], *, name: str | None = None, description: str | None = None
    ) -> Tool:
        """Make a tool of a function with type hints.

        The description is the docstring up to its first section. The description of a parameter is in the section
        ``Args:``, or is the text in ``Annotated[type, "text"]``. Hints are str, int, float, bool, None, Any, Optional,
        Union, Literal, Enum, list, tuple, set, dict with keys of text, dataclasses and TypedDict, also nested. The
        model may leave out parameters with a default. Raises ConfigurationError, which names function and parameter,
        for any other hint.
        """
        try:
            from .schema.functions import Function  # noqa: PLC0415 (as above)
        except ImportError as error:  # a vendored copy may leave it out
            what = "Tool.from_function needs '_core.schema.functions', which was left out of this copy"
            raise ConfigurationError(what, hint="Give Tool(name, description, parameters) instead") from error
        read = Function(function)
        return cls(name or read.name, read.description if description is None else description, read.schema, function)

    def as_dict(self) -> dict[str, Any]:
        """Return the tool in OpenAI's form, which is Ollama's as well."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}


def _given(what: str, text: str, instead: str) -> str:
    """Return ``text``; raise InvalidRequestError if it is None, which only an assistant's text may be."""
    if text is None:
        raise InvalidRequestError(f"{what}: the text is None", hint=f"Write {what}('...'); {instead}")
    return text


# An item of tools=: a function, which Tool.from_function makes a tool, a Tool, or a dict in OpenAI's form.
ToolInput = Union[Callable[..., Any], Tool, Mapping[str, Any]]


def all_of(what: str, values: Any, kinds: Any) -> tuple[Any, ...]:
    """Return ``values`` as a tuple; raise InvalidRequestError unless each is of one of ``kinds``."""
    if values is None or (isinstance(values, tuple) and not values):
        return ()
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        hint = f"Put it into a list: {what.rpartition(' ')[2]}=[...]" if isinstance(values, kinds) else ""
        raise InvalidRequestError(f"{what} is {type(values).__name__}, not a sequence", hint=hint)
    found: tuple[Any, ...] = tuple(values)
    for position, value in enumerate(found):
        if not isinstance(value, kinds):
            raise InvalidRequestError(f"{what}[{position}] is {type(value).__name__}, which cannot be there")
    return found
