"""Options that go by name: how type checkers and ``help()`` see them, and what is said of a name that is wrong."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import re
import sys
from inspect import Parameter
from typing import TYPE_CHECKING, Any, Callable, Iterable, Mapping, TypeVar

from .errors import InvalidRequestError, ProviderError
from .types import UNSET

if TYPE_CHECKING:
    from typing_extensions import Unpack  # known to every type checker; nothing to install
elif sys.version_info >= (3, 11):
    from typing import Unpack
else:

    class Unpack:
        """Lets ``typing.get_type_hints`` read ``Unpack[...]`` before Python 3.11."""

        def __class_getitem__(cls, options: Any) -> Any:
            return options


__all__ = ["OTHERS", "Unpack", "check_names", "nearest", "refuse_other_names", "show_options", "with_defaults"]

#: What people type besides: the word for it here, or a sentence on where it goes.
OTHERS = {
    **dict.fromkeys(("max_completion_tokens", "max_output_tokens", "max_new_tokens", "num_predict"), "max_tokens"),
    **dict.fromkeys(("system", "system_message", "system_instruction", "instructions"), "system_prompt"),
    **dict.fromkeys(("format", "schema", "json_schema", "text_format", "output_format"), "response_format"),
    **dict.fromkeys(("stop_sequences", "stop_strings"), "stop"),
    **dict.fromkeys(("think", "thinking", "reasoning"), "reasoning_effort"),
    **dict.fromkeys(("on_token", "on_delta", "callback", "stream_callback"), "on_chunk"),
    "response_model": "response_format",
    "functions": "tools",
    "function_call": "tool_choice",
    "repetition_penalty": "repeat_penalty",
    **dict.fromkeys(("truncate", "truncation"), "on_truncation"),
    "model_name": "model",
    "request_timeout": "timeout",
    "extra_body": "extra",
    "user": "extra={'user': ...} sends it",
    **dict.fromkeys(
        ("messages", "user_message", "prompt", "input", "text", "question"),
        "It is the first argument, without a name: complete('...'), chat([Message.user('...')])",
    ),
    "system_prompt": "With a text, complete() and stream() take it; of messages it is the first: Message.system(...)",
    "images": "With a text, complete() and stream() take them; in a message they are Message.user(text, images=[...])",
    **dict.fromkeys(("tools", "tool_choice", "response_format"), "complete() and chat() take it"),
    **dict.fromkeys(("previous_response_id", "store"), "responses() takes it: /v1/responses"),
    "reasoning_effort": "Write extra={'reasoning_effort': 'low'}; LMStudioProvider.responses() takes it as it is",
    "streaming": "stream",
    **dict.fromkeys(("stream", "stream_options"), "Call stream(), responses_stream() or messages_stream()"),
    "on_chunk": "stream(), responses_stream() and messages_stream() take on_chunk=",
    **{name: f"run_tools() takes {name}=" for name in ("on_event", "confirm", "max_rounds")},
    "options": "Write each by its name, such as temperature=0; those of Ollama alone go into extra={'options': {...}}",
    "n_ctx": "num_ctx",
    "context_length": "Load the model with it: lm.native.load('m', context_length=...); with Ollama write num_ctx=...",
    **dict.fromkeys(("api_key", "token"), "api_token"),
    **dict.fromkeys(("host", "url"), "base_url"),
    "extra_headers": "headers",
    **dict.fromkeys(
        ("base_url", "api_token", "headers", "max_retries", "http", "usage", "settings"),
        "It goes to the provider, when that is made: LMStudioProvider(base_url=..., api_token=..., headers=...)",
    ),
    **dict.fromkeys(("timeout", "deadline"), "It goes with the call: chat(request, timeout=..., deadline=...)"),
}

_Owner = TypeVar("_Owner")
_Class = TypeVar("_Class", bound=type)


def show_options(defaults: type = object) -> Callable[[_Owner], _Owner]:
    """Have ``inspect.signature`` and ``help`` show the options of a function, or of each method of a class, by name.

    They stand in the place of ``**options: Unpack[...]``, with the defaults that the class ``defaults`` has. Parameters
    with ``_`` at the beginning are not shown.
    """

    def decorate(owner: _Owner) -> _Owner:
        for function in vars(owner).values() if isinstance(owner, type) else [owner]:
            if inspect.isfunction(function) and function.__code__.co_flags & inspect.CO_VARKEYWORDS:
                _show(function, defaults)
        return owner

    return decorate


def _show(function: Any, defaults: type) -> None:
    signature = inspect.signature(function)
    *others, last = signature.parameters.values()
    found = re.fullmatch(r"Unpack\[(\w+)\]|NoReturn", str(last.annotation))
    if found is None:
        return
    options: Mapping[str, Any] = vars(sys.modules[function.__module__])[found[1]].__annotations__ if found[1] else {}
    by_name = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=getattr(defaults, name, UNSET), annotation=hint.__forward_arg__)
        for name, hint in options.items()
    ]
    shown = [each for each in others if not each.name.startswith("_")]
    function.__signature__ = signature.replace(parameters=[*shown, *by_name])
    if "request" in signature.parameters:
        # Those who type chat(messages=...) are told where the messages go, by what reads the request: Python would
        # miss a "request" of which they have never heard.
        function.__defaults__ = (UNSET, *(function.__defaults__ or ()))


def refuse_other_names(others: Mapping[str, str]) -> Callable[[_Class], _Class]:
    """Have a dataclass raise InvalidRequestError for an argument that is not one of its fields, with the right name."""

    def decorate(cls: _Class) -> _Class:
        make = vars(cls)["__init__"]
        names = [each.name for each in dataclasses.fields(cls)]

        @functools.wraps(make)
        def __init__(self: Any, *values: Any, **named: Any) -> None:
            if any(name not in names for name in named):
                check_names(f"{cls.__name__} has no field", named, names, others)
            make(self, *values, **named)

        setattr(cls, "__init__", __init__)  # noqa: B010 (checkers do not let it be assigned)
        return cls

    return decorate


def check_names(
    what: str,
    given: Iterable[str],
    names: Iterable[str],
    others: Mapping[str, str],
    *,
    otherwise: str = "",
    kind: type[ProviderError] = InvalidRequestError,
) -> None:
    """Raise an error of that ``kind`` for a name that is not among ``names``; its hint is the right one.

    ``others`` has, for words that other programs use, the word that is used here, or a sentence on where it goes.
    """
    known = list(names)
    for name in given:
        if name not in known:
            word: str | None = name if name in others else nearest(name, [*known, *others])
            while word is not None and word not in known and word in others:
                word = others[word]
            hint = f"Did you mean {word!r}?" if word in known else word
            raise kind(f"{what} {name!r}", hint=hint or otherwise)


def with_defaults(request: _Owner, defaults: Mapping[str, Any]) -> _Owner:
    """Return ``request`` with those of the ``defaults`` that it has no value of its own for."""
    own = {name for name, value in vars(request).items() if value is not None}
    if "ttl" in own:
        own.add("keep_alive")
    missing = {name: value for name, value in defaults.items() if value is not None and name not in own}
    return dataclasses.replace(request, **missing) if missing else request  # type: ignore[type-var]


def nearest(word: str, words: Iterable[str]) -> str | None:
    """Return that of ``words`` which ``word`` was meant to be, if any: the most alike, else one that it begins."""
    known, plain = list(words), word.lower().replace("-", "_")
    # Less alike is most often another thing: "prediction" is not "num_predict".
    alike = difflib.get_close_matches(plain, known, n=1, cutoff=0.7)
    begun = [each for each in known if len(plain) > 2 and each.startswith(plain)]
    return next(iter(alike + begun), None)
