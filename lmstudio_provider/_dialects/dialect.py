"""The functions and facts that make up a dialect."""

from __future__ import annotations

from typing import Any, Callable, Mapping, NamedTuple

from .._core.errors import ProviderError
from .._core.requests import ChatRequest, TextRequest
from .._core.types import Call, Completion, Embeddings, Limits, ModelInfo
from .accumulator import ReplyAccumulator
from .checked_reader import StreamReader
from .errors import ErrorContext


class DecisionLimits(NamedTuple):
    """What a server takes of a request for decisions."""

    options: tuple[int, float]
    """The least and the most options of a Choice."""
    levels: tuple[int, int]
    """The least and the most levels of a Score."""
    needs_descriptions: bool
    """True if each option has to have a description."""
    takes_data_urls: bool
    """True if images are ``data:`` URLs, False if they are only base64."""


class Dialect(NamedTuple):  # a frozen dataclass would take ten times as long to make on import
    """An API as a provider sees it. The functions do no I/O."""

    chat_call: Callable[[ChatRequest, str, bool, str], Call]
    """Return the call for a request, a model, whether to stream, and the id of the provider."""
    text_call: Callable[[TextRequest, str, bool, str], Call]
    """Return the call that continues a text; the arguments are those of ``chat_call``."""
    reply: Callable[[Any, Call, float], Completion]
    """Return the completion of a whole reply, of its JSON, its call, and the seconds that it took."""
    accumulator: Callable[[Call, ErrorContext, float], ReplyAccumulator]
    """Makes chunks of the events of a stream. The last argument is ``time.monotonic()`` at the start of the call."""
    reader: Callable[[Limits], StreamReader]
    """Makes events of the bytes of a stream."""
    stream_type: str
    """The media type of a stream."""
    find_error: Callable[[int, Mapping[str, str], bytes, object, ErrorContext], ProviderError | None]
    """Return the error that a whole reply reports, of its status, headers, body and JSON; None if it reports none."""
    list_models: Callable[[Callable[..., Any], dict[str, ModelInfo], bool], list[ModelInfo]]
    """Return the models of the server.

    The first argument is a function that sends a call and returns the JSON of its reply, parsed by its second argument.
    The second keeps the details of single models. The third is True to ask only for the list.
    """
    embed_call: Callable[..., Call]
    """Return the call for the vectors of texts: texts, model, whether the server may cut them; num_ctx, keep_alive."""
    embed_reply: Callable[[Any, Call, int], Embeddings]
    """Return the vectors of so many texts."""
    decisions: DecisionLimits
    load_hint: Callable[[Call], str] = lambda call: ""
    """Return what to add to the hint if a call ran out of time while its model may have been loading."""
    refuses_long_texts: bool = False
    """True if the server refuses to embed texts that are too long and must not be cut."""
    no_reasoning: str = ""
    """What the caller can do if ``reasoning="off"`` had no effect."""
    log: str = ""
    """The command that shows the log of the server; empty if there is none."""
