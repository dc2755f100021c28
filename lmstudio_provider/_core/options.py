"""Options by name: how type checkers and ``help()`` see them, and which name an error proposes for a wrong one."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import functools
import inspect
import re
import sys
from inspect import Parameter
from typing import TYPE_CHECKING, Any, Callable, Iterable, Mapping, TypeVar

from .errors import InvalidRequestError, ProviderError
from .reasoning import renamed
from .types import UNSET

if TYPE_CHECKING:
    from typing_extensions import Unpack  # known to every type checker; nothing to install
elif sys.version_info >= (3, 11):
    from typing import Unpack
else:
    from typing import Union as Unpack  # of one type, it is that type: so typing.get_type_hints() works

__all__ = ["OTHERS", "Unpack", "check_names", "nearest", "refuse_other_names", "show_options", "with_defaults"]

# The names of other programs, by the name that this package has instead, or a sentence about its place.
_NAMES_BY_ANSWER = {
    "max_tokens": "max_completion_tokens max_output_tokens max_new_tokens num_predict",
    "system_prompt": "system system_message system_instruction instructions",
    "response_format": "format schema json_schema text_format output_format response_model",
    "stop": "stop_sequences stop_strings",
    "reasoning": "think thinking effort",
    "on_chunk": "on_token on_delta callback stream_callback",
    "tools": "functions",
    "tool_choice": "function_call",
    "repeat_penalty": "repetition_penalty",
    "on_truncation": "truncate truncation",
    "model": "model_name",
    "extra": "extra_body",
    "stream": "streaming",
    "num_ctx": "n_ctx",
    "api_token": "api_key token",
    "base_url": "host url",
    "headers": "extra_headers",
    "timeout": "request_timeout",
    "It is the first argument, without a name: complete('...'), chat([Message.user('...')])": (
        "messages user_message prompt input text question"
    ),
    "With a text, complete() and stream() take it; of messages it is the first: Message.system(...)": "system_prompt",
    "With a text, complete() and stream() take them; in a message they are Message.user(text, images=[...])": "images",
    "complete() and chat() take it": "tools tool_choice response_format",
    "responses() takes it: /v1/responses": "previous_response_id store",
    "Call stream(), responses_stream() or messages_stream(); run_tools() takes stream=True": "stream stream_options",
    "stream(), responses_stream() and messages_stream() take on_chunk=": "on_chunk",
    "max_rounds": "max_iterations max_turns max_steps",
    "run_tools() and conversations take it": "on_event confirm max_rounds",
    "extra={'user': ...} sends it": "user",
    "Write each by its name, such as temperature=0; only Ollama's own go into extra={'options': {...}}": "options",
    "Load the model with it: lm.native.load('m', context_length=...); with Ollama write num_ctx=...": "context_length",
    "It goes to the provider, when that is made: LMStudioProvider(base_url=..., api_token=..., headers=...)": (
        "base_url api_token headers max_retries http usage settings"
    ),
    "It goes with the call: chat(request, timeout=..., deadline=...)": "timeout deadline",
}
# The name, or the sentence, for each of them; for a name like none of them, the sentence for "".
OTHERS = {name: right for right, names in _NAMES_BY_ANSWER.items() for name in names.split()}
OTHERS[""] = "Fields that only the server knows go into extra={...}, those of Ollama into extra={'options': {...}}"

_Owner = TypeVar("_Owner")
_Class = TypeVar("_Class", bound=type)


def show_options(defaults: type = object) -> Callable[[_Owner], _Owner]:
    """Have ``inspect.signature`` and ``help`` show the options of a function, or of each method of a class, by name.

    They replace ``**options: Unpack[...]``, and have the defaults of the class ``defaults``. Parameters that begin with
    ``_`` are not shown.
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
    by_name = _by_name(vars(sys.modules[function.__module__])[found[1]], defaults) if found[1] else []
    shown = [each for each in others if not each.name.startswith("_")]
    function.__signature__ = signature.replace(parameters=[*shown, *by_name])
    if "request" in signature.parameters:
        # For chat(messages=...), Python would say that "request" is missing. With a default, our own check of the
        # request says where the messages go.
        function.__defaults__ = (UNSET, *(function.__defaults__ or ()))


@functools.cache
def _by_name(options: Any, defaults: type) -> list[Parameter]:
    return [
        Parameter(name, Parameter.KEYWORD_ONLY, default=getattr(defaults, name, UNSET), annotation=hint.__forward_arg__)
        for name, hint in options.__annotations__.items()
    ]


def refuse_other_names(others: Mapping[str, str]) -> Callable[[_Class], _Class]:
    """Have a dataclass raise InvalidRequestError, with the right name, for an argument that is not a field."""

    def decorate(cls: _Class) -> _Class:
        make = vars(cls)["__init__"]
        names = {each.name: None for each in dataclasses.fields(cls)}

        @functools.wraps(make)
        def __init__(self: Any, *values: Any, **named: Any) -> None:
            if not named.keys() <= names.keys():
                named = dict(renamed(named))
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
    kind: type[ProviderError] = InvalidRequestError,
) -> None:
    """Raise an error of that ``kind`` for a name that is not among ``names``; its hint is the right name.

    ``others`` has a name of this package, or a sentence, for each name that other programs use.
    """
    known = list(names)
    for name in given:
        if name not in known:
            right = name if name in others else nearest(name, [*known, *others]) or ""
            while right not in known and others.get(right) in (*known, *others):
                right = others[right]
            guess = f"Did you mean {right!r}?" if right not in ("", name) else ""
            advice = "" if right in known else others.get(right, "")
            raise kind(f"{what} {name!r}", hint=" ".join(filter(None, [guess, advice])))


def with_defaults(request: _Owner, defaults: Mapping[str, Any]) -> _Owner:
    """Return ``request`` with the ``defaults`` of the fields that it leaves None."""
    missing = {name: value for name, value in defaults.items() if value is not None and getattr(request, name) is None}
    if vars(request).get("ttl") is not None:
        missing.pop("keep_alive", None)
    if missing:  # which have been checked
        request = copy.copy(request)
        vars(request).update(missing)
    return request


def nearest(word: str, words: Iterable[str]) -> str | None:
    """Return the one of ``words`` that was probably meant: the most similar, else one that begins with ``word``."""
    known, plain = list(words), word.lower().replace("-", "_")
    if word in known:  # most are: comparing a role with all others took a tenth of the time of a chat
        return word
    # A lower cutoff finds other things: "prediction" does not mean "num_predict".
    similar = difflib.get_close_matches(plain, known, n=1, cutoff=0.7)
    longer = [each for each in known if len(plain) > 2 and each.startswith(plain)]
    return next(iter(similar + longer), None)
