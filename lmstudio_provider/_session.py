"""One server as it is set now: its connections, its models, and how its replies and failures are told."""

from __future__ import annotations

import contextlib
import functools
import json
from dataclasses import dataclass, field
from typing import Any, Callable, Generator, Iterator, Mapping, NamedTuple, Protocol, Sequence, TypeVar

from ._exceptions import (
    ProtocolError,
    ProviderClosedError,
    ProviderError,
    RequestTimeoutError,
    ServerUnavailableError,
    StreamInterruptedError,
)
from ._exchange import CancelledCall, Deadline
from ._model_cache import ModelCache
from ._reply import Reply
from ._requests import ChatRequest, TextRequest
from ._settings import Config
from ._stream import Assembly, BaseStream, Reader
from ._transport import Transport, secret_values
from ._types import Call, Chunk, Completion, Embeddings, Limits, ModelInfo, Timeouts
from ._wire.errors import Asked, hide, redact
from ._wire.json_text import parse, shown

_Stream = TypeVar("_Stream", bound=BaseStream[Any, Any])


class Ask(Protocol):
    """Sends a call; returns what ``read`` makes of the JSON of its reply, or the JSON itself; raises ProviderError."""

    def __call__(self, call: Call, read: Callable[[Any], Any] | None = None) -> Any: ...


class ChatDialect(Protocol):
    """How to ask for the next message, and to read the reply: a module of ``_wire``."""

    def chat_call(self, request: ChatRequest, model: str, stream: bool) -> Call:
        """Ask for the next message."""

    def reply(self, value: Any, call: Call, duration_s: float) -> Completion:
        """The completion of a reply, where it is no stream."""

    def find_error(
        self, status: int, headers: Mapping[str, str], body: bytes, value: object, asked: Asked
    ) -> ProviderError | None:
        """The error that a whole reply is; ``value`` is its JSON, None where it is none."""

    @property
    def Assembly(self) -> Callable[[Call, Asked, float], Assembly[Chunk, Completion]]:
        """Makes chunks of a stream's events."""

    @property
    def NO_REASONING(self) -> str:
        """How a caller switches reasoning off; empty where that cannot be."""


class Dialect(ChatDialect, Protocol):
    """What a server speaks: a module of ``_wire``."""

    def list_models(self, ask: Ask) -> list[ModelInfo]:
        """The models of the server."""

    def text_call(self, request: TextRequest, model: str, stream: bool) -> Call:
        """Ask for what comes after a text."""

    def embed_call(self, texts: Sequence[str], model: str) -> Call:
        """Ask for the vectors of some texts."""

    def embed_reply(self, value: Any, call: Call, count: int) -> Embeddings:
        """The vectors of that reply."""

    @property
    def STREAM_TYPE(self) -> str:
        """The media type of a stream."""

    @property
    def Reader(self) -> Callable[[Limits], Reader]:
        """Makes events of a stream's bytes."""


@dataclass(frozen=True)
class Facts:
    """What is the same for all sessions of a provider."""

    provider_id: str
    #: What the server is called.
    name: str
    dialect: Dialect
    #: What to do where no server answers.
    start_hint: str
    #: How to name another server.
    url_hint: str
    #: Headers that the user wants sent.
    headers: Mapping[str, str] = field(repr=False)


class Plan(NamedTuple):
    """How a call is to be made."""

    config: Config
    timeouts: Timeouts
    deadline: Deadline | None
    #: How long the server was waited for before the call, of which its time until the first byte has that much less.
    waited_s: float = 0.0


class Session:
    """Makes calls to one base URL. Shared by threads, used in the process that made it."""

    def __init__(self, facts: Facts, base_url: str, transport: Transport, cache: ModelCache) -> None:
        self.base_url = base_url
        self.cache = cache
        self._facts = facts
        self._transport = transport

    def ask(
        self, call: Call, plan: Plan, read: Callable[[Any], Any] | None = None, dialect: ChatDialect | None = None
    ) -> Any:
        """Send ``call``; return what ``read`` makes of the JSON of its reply, or the JSON; raises ProviderError.

        What is an error is for ``dialect`` to say, or for the server's own.
        """
        with self.telling(call, plan):
            reply = self._send(call, plan, "application/json")
            value = self._value(reply, call, plan, dialect)
            return value if read is None else read(value)

    def stream(
        self,
        call: Call,
        plan: Plan,
        kind: Callable[..., _Stream],
        new_assembly: Callable[[Call, Asked, float], object],
        finished: Callable[[Any], Completion],
        over: Callable[[Any, BaseException | None], None],
    ) -> _Stream:
        """Send ``call`` and return its stream, which is of that ``kind``, when the headers are in.

        ``new_assembly`` makes what makes items of its events, ``finished`` makes of a whole reply what the caller
        gets, and ``over`` is called once, at the end.
        """
        with self.telling(call, plan):
            reply = self._open_stream(call, plan)
            reader = self._facts.dialect.Reader(self._transport.limits)
            assembly = new_assembly(call, self._asked(call, plan), reply.exchange.started)
            tell = functools.partial(self._tell, call=call, plan=plan)
            return kind(reply, reader, assembly, finished, over, tell)

    def events(self, call: Call, plan: Plan) -> Generator[Any, None, None]:
        """Send ``call`` and iterate over the events of its stream, which ends where the body does.

        An event that is an error is raised. StreamInterruptedError is raised where the body breaks off.
        """
        with self.telling(call, plan):
            reply = self._open_stream(call, plan)
            reader, data = self._facts.dialect.Reader(self._transport.limits), b"..."
            try:
                while data:
                    data = reply.read_piece()
                    for event in reader.feed(data) if data else reader.finish():
                        if isinstance(event, dict) and event.get("error"):
                            self._raise_error(200, {}, json.dumps(event).encode(), event, self._asked(call, plan))
                        yield event
            except ServerUnavailableError as error:
                raise StreamInterruptedError(
                    f"the stream broke off: {error.message}", hint="Ask again", sent=True
                ) from error.__cause__
            finally:
                reply.drop()

    def _open_stream(self, call: Call, plan: Plan) -> Reply:
        reply = self._send(call, plan, self._facts.dialect.STREAM_TYPE)
        kind = (reply.headers.get("Content-Type") or "").lower()
        # An error comes as JSON, also under 200; a proxy's page as HTML. Anything else is taken for a stream.
        if not 200 <= reply.status < 300 or "json" in kind.replace("ndjson", "") or "html" in kind:
            self._value(reply, call, plan)
            raise ProtocolError(
                f"a stream was asked for, and {kind!r} came",
                hint="Check that the base URL is that of a server that can stream",
                sent=True,
            )
        return reply

    def list_models(self, plan: Plan) -> list[ModelInfo]:
        """Ask for the models, and keep them in the cache."""
        models = self._facts.dialect.list_models(lambda call, read=None: self.ask(call, plan, read))
        self.cache.fill(models)
        return models

    def retire(self) -> None:
        """Close what is idle; calls under way go on."""
        self._transport.retire()

    def close(self) -> None:
        """End all calls, and the discovery."""
        self._transport.close()
        self.cache.close()

    def _send(self, call: Call, plan: Plan, accept: str) -> Reply:
        headers = {"Accept": accept, "Accept-Encoding": "identity", "User-Agent": "lmstudio-provider"}
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        authorization = plan.config.authorization
        if authorization:
            headers["Authorization"] = authorization
        own = {name.lower() for name in self._facts.headers}
        headers = {name: value for name, value in headers.items() if name.lower() not in own}
        headers.update(self._facts.headers)
        return self._transport.send(call, headers, plan.timeouts, plan.deadline, plan.waited_s)

    def _value(self, reply: Reply, call: Call, plan: Plan, dialect: ChatDialect | None = None) -> Any:
        body, asked = reply.read_all(), self._asked(call, plan)
        if call.secrets:  # which a server may repeat
            body = hide(body.decode("utf-8", "surrogateescape"), asked.secrets).encode("utf-8", "surrogateescape")
        value = None
        with contextlib.suppress(ProtocolError):
            value = parse(body, "the reply")
        self._raise_error(reply.status, reply.headers, body, value, asked, dialect)
        if value is None and not body and call.method == "DELETE":
            return None  # there is nothing to say
        if value is None:
            kind = reply.headers.get("Content-Type") or "no content type"
            raise ProtocolError(
                f"the reply (HTTP {reply.status}, {kind}) is no JSON: {shown(body)}",
                hint=f"Check that the base URL is that of {self._facts.name}, and not of another program on that port",
                sent=True,
            )
        return value

    def _raise_error(
        self,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        value: Any,
        asked: Asked,
        dialect: ChatDialect | None = None,
    ) -> None:
        error = (dialect or self._facts.dialect).find_error(status, headers, body, value, asked)
        if error is not None:
            try:
                raise error
            finally:
                del error  # no cycle of error, traceback and frame keeps the request's body

    def _asked(self, call: Call, plan: Plan) -> Asked:
        config = plan.config
        authorization = config.authorization or ""
        secrets = [authorization.partition(" ")[2], config.base_url.password or ""]
        secrets += [*secret_values(self._facts.headers), *self._transport.secrets(), *call.secrets]
        source = config.api_token_source or ("the base URL" if config.base_url.authorization else None)
        if "authorization" in {name.lower() for name in self._facts.headers}:
            source = "the argument headers"
        # A value as short as "1" is no secret, and cannot be cut out of a text without destroying it.
        hidden = tuple(each for each in secrets if len(each) >= 6)
        # What a request for a text, or for vectors, may have meant can do that.
        embeds, any_kind = "embed" in call.path, call.path.startswith("/api/v1/models")
        models = self.cache.models
        known = tuple(each.id for each in models if any_kind or (each.type == "embedding" if embeds else each.can_chat))
        return Asked(call.model, source, hidden, call.path, known)

    @contextlib.contextmanager
    def telling(self, call: Call, plan: Plan) -> Iterator[None]:
        """Add to the errors of the block what was called, and where."""
        try:
            yield
        except CancelledCall as cancelled:
            closed = ProviderClosedError.during_call() if cancelled.sent else ProviderClosedError.before_call()
            raise self._tell(closed, call, plan) from None
        except ProviderError as error:
            self._tell(error, call, plan)
            raise

    def _tell(self, error: ProviderError, call: Call, plan: Plan) -> ProviderError:
        """Add to ``error`` what was called, and where; said once, however deep the error came from."""
        if error.url is None:
            # Whatever the message quotes: a server may repeat what it was sent.
            secrets = self._asked(call, plan).secrets
            for name in ("message", "code", "param", "body"):
                text = getattr(error, name, None)
                if isinstance(text, str):
                    setattr(error, name, redact(text, secrets))
            error.args = (error.message,)
            error.provider, error.method = self._facts.provider_id, call.method
            error.url = plan.config.base_url.text + call.path
            if isinstance(error, ServerUnavailableError) and (error.refused or not error.sent):
                url = plan.config.base_url.text
                error.message = f"no server answers at {url}: {error.message}"
                hint = error.hint or self._facts.start_hint
                error.hint = f"{hint}; {url} came from {plan.config.base_url_source}, {self._facts.url_hint}"
            source = plan.config.timeouts_source if plan.timeouts == plan.config.timeouts else None
            if isinstance(error, RequestTimeoutError) and error.limit != "deadline" and source:
                error.hint += f"; it came from {source}"
        return error
