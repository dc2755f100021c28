"""The types of replies, of information about models and servers, and of small arguments."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, ClassVar, Generic, Literal, Mapping, NamedTuple, Union

from .checks import MAPPING, TEXT, Check, check, check_fields, number, to_json
from .errors import SHORT, ConfigurationError, ProviderError, ToolArgumentsError, preview
from .frozen import Frozen
from .json import loads_leniently

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # known to every type checker; nothing to install

    from .upload import Upload

    # Without a type, a Completion is a Completion[Any].
    Parsed_co = TypeVar("Parsed_co", default=Any, covariant=True)
else:
    from typing import TypeVar

    Parsed_co = TypeVar("Parsed_co", covariant=True)


class Unset(enum.Enum):
    """The type of UNSET, the default of an argument for which None means something else than "not given"."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return self.name


UNSET = Unset.UNSET


_MOST_SECONDS = 1e6  # threads and sockets cannot wait much longer on some systems
_UP_TO_MOST = number(0, _MOST_SECONDS)
SECONDS = Check(
    lambda value: value != 0 and _UP_TO_MOST.fits(value),
    f"is not valid: use seconds greater than 0, at most {_MOST_SECONDS:,.0f}",
    "None means no limit",
)


def check_seconds(name: str, value: object) -> None:
    """Raise ConfigurationError unless ``value`` is a positive, finite number of seconds, or None."""
    check_fields({name: value}, {name: SECONDS}, kind=ConfigurationError)


@dataclass(frozen=True, repr=False, eq=False)
class Timeouts(Frozen):
    """How long the server may be silent, in seconds; None sets no limit."""

    connect: float | None = 30.0
    """Seconds until a connection is open."""
    first_byte: float | None = 600.0
    """Seconds from then to the first byte of the body. A server is silent while it loads a model or reads a prompt."""
    idle: float | None = 30.0
    """Seconds between bytes after that."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            check_seconds(f"Timeouts.{name}", value)


# The type of timeout=: seconds for all three limits, the three apart, or None for no limit.
Timeout = Union[float, Timeouts, None]


@dataclass(frozen=True, repr=False, eq=False)
class Limits(Frozen):
    """The most that a server may send; a reply over a limit is a ProtocolError."""

    max_line_bytes: int = 64 * 1024 * 1024
    """The longest line of a stream."""
    max_reply_bytes: int = 256 * 1024 * 1024
    """The largest reply that is read whole, after decompression."""
    max_events_without_data: int = 100_000
    """The most lines of a stream in a row that are comments or blank."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            check(f"Limits.{name}", value, number(1, whole=True), ConfigurationError)


@dataclass(eq=False, repr=False)  # what is not generated saves time at import
class Call:
    """An HTTP call: method, path below the base URL, and the body's bytes."""

    method: str
    path: str
    body: bytes | None = None
    model: str = ""
    """The model's name as it is sent."""
    tools: tuple[str, ...] = ()
    """The names of the tools that were offered."""
    provider_id: str = ""
    """The ``id`` of the provider that makes the call."""
    continues: bool = False
    """True if the call continues a reply that the server should have kept."""
    secrets: tuple[str, ...] = ()
    """Parts of the body that errors must never show."""
    cut: Callable[[], bytes] | None = None
    """Makes a body that lets the server cut the prompt, for a retry if the server refuses this one because its prompt
    does not fit; None if that is an error."""
    upload: Upload | None = None
    """A file that is sent instead of a body."""
    may_be_empty: bool = False
    """True if a reply without a body is a success."""
    model_kind: Literal["chat", "embedding", "decision", "any"] = "chat"
    """The models that can do what the call is for; an error about an unknown model suggests one of them."""
    warnings: list[RuntimeWarning] = field(default_factory=list)
    """What the dialect noted about the call or its reply, for the provider to warn of."""

    def fits(self, model: ModelInfo) -> bool:
        """Return True if ``model`` can do what the call is for."""
        return model.can_chat if self.model_kind == "chat" else self.model_kind in ("any", model.type)


_ARGUMENTS = MAPPING._replace(hint="Text goes into raw_arguments=")


@dataclass(frozen=True, init=False, repr=False, eq=False)
class ToolCall(Frozen):
    """The model's request to call a function.

    ``raw_arguments`` is the text that the model wrote, and ``arguments`` its value. JSON that is nearly right (raw
    line breaks in strings, a trailing comma, a code fence, JSON text inside JSON text) is accepted; any other text
    raises ToolArgumentsError when ``arguments`` is read, and not before. To make a call by hand, give one of the two.
    """

    id: str
    name: str
    raw_arguments: str

    def __init__(
        self, id: str, name: str, arguments: Mapping[str, Any] | None = None, raw_arguments: str | None = None
    ) -> None:
        if raw_arguments is None and arguments is not None:
            check("ToolCall: arguments", arguments, _ARGUMENTS)
            raw_arguments = to_json(dict(arguments), "ToolCall: arguments", ensure_ascii=False)
        raw_arguments = "" if raw_arguments is None else raw_arguments
        for what, value in (("id", id), ("name", name), ("raw_arguments", raw_arguments)):
            check(f"ToolCall: {what}", value, TEXT)
            object.__setattr__(self, what, value)

    @property
    def arguments(self) -> dict[str, Any]:
        """Return the arguments as a dict, which is empty if there are none; raise ToolArgumentsError."""
        if not self.raw_arguments.strip():
            return {}
        try:
            value = loads_leniently(self.raw_arguments)
            while isinstance(value, str):  # JSON text inside JSON text
                value = loads_leniently(value)
        except (ValueError, RecursionError) as error:
            raise self._bad_arguments(f"are not JSON ({error})") from error
        if not isinstance(value, dict):
            raise self._bad_arguments("are not a JSON object")
        return value

    def _bad_arguments(self, what: str) -> ToolArgumentsError:
        return ToolArgumentsError(
            f"the arguments that the model wrote for {self.name!r} {what}: {self.raw_arguments[:200]!r}",
            hint="Answer the call with this error so that the model can try again, or read raw_arguments",
            raw_arguments=self.raw_arguments,
        )


@dataclass(frozen=True, repr=False, eq=False)
class Usage(Frozen):
    """Tokens, as the server counted them; None if it did not, or reports a prompt of 0 tokens."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    reasoning_tokens: int | None = None
    """The part of ``completion_tokens`` that is reasoning."""
    cached_tokens: int | None = None
    """The part of ``prompt_tokens`` that the server had cached from an earlier prompt."""


@dataclass(frozen=True, repr=False, eq=False)
class Stats(Frozen):
    """The speed of a reply: the server's figures if it reports them, else the client's measurements.

    The client measures ``generation_time_s`` from the first text to the end (from the request, if the reply came in one
    piece), and divides ``completion_tokens`` by it for ``tokens_per_second``.
    """

    tokens_per_second: float | None = None
    time_to_first_token_s: float | None = None
    generation_time_s: float | None = None
    model_load_time_s: float | None = None
    """Seconds to load the model for this reply."""
    stop_reason: str | None = None
    """Why the engine stopped, such as "eosFound" (LM Studio docs: developer/rest/endpoints)."""
    draft_model: str | None = None
    """The model that drafted tokens, if the server used speculative decoding; the counts below are of its tokens."""
    total_draft_tokens_count: int | None = None
    accepted_draft_tokens_count: int | None = None
    rejected_draft_tokens_count: int | None = None
    ignored_draft_tokens_count: int | None = None


@dataclass(frozen=True, repr=False, eq=False)
class Completion(Frozen, Generic[Parsed_co]):
    """A reply, or the part of it that came."""

    text: str
    """The answer, without reasoning and tool calls; may be ""."""
    model: str
    """The model that answered, as the server names it; the requested model if the server names none."""
    requested_model: str
    finish_reason: str | None = None
    """"stop", "length", "tool_calls", or another word of the server; "cancelled" after ``Stream.close()``; None if the
    reply did not end."""
    reasoning: str = ""
    """The model's thoughts before its answer, from their own field or from marks in the text such as ``<think>``."""
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage | None = None
    """None if the server reports nothing."""
    stats: Stats = field(default_factory=Stats)
    parsed: Parsed_co = None  # type: ignore[assignment]
    """The answer as an instance of the type in ``response_format``; None without a ``response_format``, or if the model
    calls tools instead. Type checkers know the type of ``chat(..., response_format=City).parsed``."""
    id: str | None = None
    """The server's id of this reply."""
    raw: Mapping[str, Any] | None = field(default=None, compare=False)
    """The reply as the server sent it; None for a stream."""
    provider_id: str = ""
    """The ``id`` of the provider that answered."""
    _no_reason: ClassVar[str] = "unfinished"

    def __repr__(self) -> str:
        calls = ", ".join(call.name for call in self.tool_calls)
        known = [
            f"{preview(self.text, SHORT)} from {preview(self.model, SHORT)}",
            self._no_reason if self.finish_reason is None else preview(self.finish_reason, SHORT),
            calls and f"calls {preview(calls, SHORT)}",
            "" if self.parsed is None else f"parsed as {type(self.parsed).__name__}",
            _tokens(self.usage),
        ]
        return f"<{type(self).__name__} {', '.join(filter(None, known))}>"


@dataclass(frozen=True, repr=False, eq=False)
class Embeddings(Frozen):
    """Texts as vectors."""

    vectors: list[list[float]]
    """One list of floats for each text, in the order of the texts; all lists have the same length."""
    model: str
    """The model that made them, as the server names it."""
    requested_model: str
    usage: Usage | None = None
    """None if the server reports nothing."""
    truncated: tuple[int, ...] | None = None
    """The positions of the texts of which the server embedded only a part, because they do not fit into the context;
    None if it is not known."""

    def __repr__(self) -> str:
        size = f", {len(self.vectors[0])} numbers each" if self.vectors else ""
        known = f"{len(self.vectors)} vectors{size}, from {preview(self.model, SHORT)}", _tokens(self.usage)
        return f"<{type(self).__name__} {', '.join(filter(None, known))}>"


def _tokens(usage: Usage | None) -> str:
    return "" if usage is None or usage.total_tokens is None else f"{usage.total_tokens} tokens"


class Chunk(NamedTuple):
    """One piece of a stream. In the last one, ``done`` is True, and the fields below it are set if they are known."""

    delta: str = ""
    """Text to append to the answer; may be ""."""
    done: bool = False
    reasoning: str = ""
    """Text to append to the reasoning; may be ""."""
    tool_calls: tuple[ToolCall, ...] = ()
    """The tool calls, whole; in the last piece only."""
    finish_reason: str | None = None
    usage: Usage | None = None


@dataclass(frozen=True, repr=False, eq=False)
class LoadedInstance(Frozen):
    """A model in memory, as the server reports it."""

    id: str
    """The name that ``unload`` takes, and that a request may give as its model."""
    context_length: int | None = None
    """Tokens that it can hold at once."""
    config: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The server's own fields: from LM Studio ``eval_batch_size``, ``flash_attention`` and so on, from Ollama ``size``,
    ``size_vram``, ``expires_at`` and so on."""


@dataclass(frozen=True, repr=False, eq=False)
class ModelInfo(Frozen):
    """A model that the server knows. A field is None, or an empty tuple, if the server does not report it."""

    id: str
    type: str | None = "llm"
    """"llm", "vlm" (reads images, too), "embedding", or another word of the server, such as "drafter" or "decision".
    None if the server reports the type of other models, but not of this one. If it reports no types at all, it is
    "llm", or "embedding" if the name says so."""
    loaded: bool | None = None
    context_length: int | None = None
    """Tokens that the loaded model can hold at once."""
    quantization: str | None = None
    size_bytes: int | None = None
    vision: bool | None = None
    tool_use: bool | None = None
    max_context_length: int | None = None
    """The longest context, in tokens, that the model can be loaded with."""
    instances: tuple[LoadedInstance, ...] = ()
    """The loaded instances; one model can be loaded several times."""
    reasoning_options: tuple[str, ...] = ()
    """The values that ``reasoning=`` may have, such as "off", "on", "low", "medium" and "high". For Ollama, "off" and
    "on" stand for ``think`` false and true."""
    reasoning_default: str | None = None
    """The value without ``reasoning=``."""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The entry of the server's list, or the reply to ``show``, with the server's own names."""
    remote: bool = False
    """True if the list says that it runs on another machine, as Ollama's cloud models do. The provider uses such a
    model only if the user names it."""

    @property
    def can_chat(self) -> bool:
        """Return True if it is known to generate text, on this machine or another."""
        return self.type in ("llm", "vlm")

    @property
    def name(self) -> str:
        """Return the name for a request that uses a loaded instance: the ``id``, unless no instance has that name."""
        names = [instance.id for instance in self.instances]
        return self.id if self.id in names or not names else names[0]


@dataclass(frozen=True, repr=False, eq=False)
class Capabilities(Frozen):
    """The capabilities of a provider, or of one model; ``models`` are the ids of the models that were considered.

    ``tool_calling`` and ``vision`` (reading images) are True if any model has it, and None if it is not known.
    """

    streaming: bool
    tool_calling: bool | None
    vision: bool | None
    models: tuple[str, ...]


@dataclass(frozen=True, repr=False, eq=False)
class Progress(Frozen):
    """The progress of a download, or of making a model; the bytes never decrease."""

    status: str
    """The current step, in the server's words; the client's own are "hashing" and "uploading", of a file."""
    completed_bytes: int = 0
    total_bytes: int | None = None
    """None while it is not known; it grows if the server reports the parts one by one."""
    bytes_per_second: float | None = None
    """The average since the first bytes came; None until it is known."""
    seconds_left: float | None = None


@dataclass(frozen=True, repr=False, eq=False)
class Health(Frozen):
    """The health of a server; a field is None if it is not known.

    ``ok`` is True if the server listed its models; if it did not, ``error`` says why. ``latency_s`` is the time of a
    round trip.
    """

    ok: bool
    latency_s: float | None = None
    models: tuple[str, ...] = ()
    error: ProviderError | None = None
    reachable: bool | None = None
    """True if the address accepts connections."""
    is_lm_studio: bool | None = None
    """True if the server is LM Studio."""
    needs_token: bool = False
    """True if the server wants an API token, and got none or refused the one that it got."""
    token_refused: bool = False
    """True if the server refused the API token that it got."""
    loaded: tuple[str, ...] | None = None
    """The models in memory."""
    version: str | None = None
    """The version of the server; LM Studio reports it to its own machine alone, and Ollama in ``version()``."""
    advice: tuple[str, ...] = ()
    """One sentence for each problem, which says what to do about it."""

    def __bool__(self) -> bool:
        return self.ok
