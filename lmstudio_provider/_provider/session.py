"""One server as it is set now: its connections, its models, and how its replies and failures are told."""

from __future__ import annotations

import contextlib
import functools
import json
from dataclasses import dataclass, field
from typing import Any, Callable, Generator, Iterator, Mapping, NamedTuple, TypeVar
from urllib.parse import urlsplit

from .._core.errors import (
    ProtocolError,
    ProviderClosedError,
    ProviderError,
    RequestTimeoutError,
    ServerUnavailableError,
    StreamInterruptedError,
)
from .._core.model_names import find
from .._core.redaction import credentials, header_secrets, redact
from .._core.types import Call, Completion, ModelInfo, Timeouts
from .._dialects.checked_reader import CheckedReader
from .._dialects.dialect import Dialect
from .._dialects.errors import PASSWORD, ErrorContext, find_fault
from .._dialects.json_text import parse, preview
from .._dialects.pages import is_page, read_answer
from .._http.exchange import CancelledCall, Deadline
from .._http.reply import HUNG_UP, Reply
from .._http.transport import Transport
from .model_cache import ModelCache
from .settings import Config
from .stream import BaseStream
from .urls import is_loopback

_Stream = TypeVar("_Stream", bound=BaseStream[Any, Any])


@dataclass(frozen=True)
class ServerInfo:
    """What is the same for all sessions of a provider."""

    provider_id: str
    #: What the server is called.
    name: str
    dialect: Dialect
    #: What to do if no server answers, and if one on another machine refuses connections.
    start_hint: str
    remote_hint: str
    #: How to name another server.
    url_hint: str
    #: Headers that the user wants sent.
    headers: Mapping[str, str] = field(repr=False)


class CallOptions(NamedTuple):
    """How a call is to be made."""

    config: Config
    timeouts: Timeouts
    deadline: Deadline | None
    #: How long the server was waited for before the call, of which its time until the first byte has that much less.
    waited_s: float = 0.0


class Session:
    """Makes calls to one base URL. Shared by threads, used in the process that made it."""

    def __init__(self, facts: ServerInfo, base_url: str, transport: Transport, cache: ModelCache) -> None:
        self.base_url = base_url
        self.cache = cache
        self._facts = facts
        self._transport = transport

    def ask(
        self,
        call: Call,
        plan: CallOptions,
        read: Callable[[Any], Any] | None = None,
        dialect: Dialect | None = None,
    ) -> Any:
        """Send ``call``; return what ``read`` makes of the JSON of its reply, or the JSON; raises ProviderError.

        What is an error is for ``dialect`` to say, or for the server's own.
        """
        with self.annotate_errors(call, plan):
            reply = self._send(call, plan, "application/json")
            value = self._value(reply.status, reply.headers, reply.read_all(), call, plan, dialect)
            return value if read is None else read(value)

    def stream(
        self,
        call: Call,
        plan: CallOptions,
        kind: Callable[..., _Stream],
        new_assembly: Callable[[Call, ErrorContext, float], object],
        finished: Callable[[Any], Completion],
        over: Callable[[Any, BaseException | None], None],
    ) -> _Stream:
        """Send ``call`` and return its stream, which is of that ``kind``, when the headers are in.

        ``new_assembly`` makes what makes items of its events, ``finished`` makes of a whole reply what the caller
        gets, and ``over`` is called once, at the end.
        """
        with self.annotate_errors(call, plan):
            reply = self._open_stream(call, plan)
            try:
                reader = self._reader(reply, call, plan)
                assembly = new_assembly(call, self._asked(call, plan), reply.exchange.started)
                tell = functools.partial(self._tell, call=call, plan=plan)
                return kind(reply, reader, assembly, finished, over, tell)
            except BaseException:  # Ctrl-C, before there is a stream that could be closed
                reply.drop()
                raise

    def events(self, call: Call, plan: CallOptions) -> Generator[Any, None, None]:
        """Send ``call`` and iterate over the events of its stream, which ends where the body does.

        An event that is an error is raised. StreamInterruptedError is raised where the body breaks off.
        """
        with self.annotate_errors(call, plan):
            reply = self._open_stream(call, plan)
            reader, data = self._reader(reply, call, plan), b"..."
            try:
                while data:
                    data = reply.read_piece()
                    for event in reader.feed(data) if data else reader.finish():
                        if find_fault(event) is not None:
                            self._raise_error(200, {}, json.dumps(event).encode(), event, self._asked(call, plan))
                        yield event
            except ServerUnavailableError as error:
                raise StreamInterruptedError(
                    f"the stream broke off: {error.message}", hint="Ask again", sent=True
                ) from error.__cause__
            finally:
                reply.drop()

    def _open_stream(self, call: Call, plan: CallOptions) -> Reply:
        reply = self._send(call, plan, self._facts.dialect.stream_type)
        kind = (reply.headers.get("Content-Type") or "").lower()
        # An error comes as JSON, also under 200; a proxy's page as HTML. Anything else is taken for a stream.
        if not 200 <= reply.status < 300 or "json" in kind.replace("ndjson", "") or "html" in kind:
            raise self._reader(reply, call, plan).no_stream(reply.read_all())
        return reply

    def _reader(self, reply: Reply, call: Call, plan: CallOptions) -> CheckedReader:
        """Return the reader of a stream, which raises what the body says if it is none."""

        def find_error(body: bytes, value: object) -> ProviderError | None:
            asked = self._asked(call, plan)
            return self._facts.dialect.find_error(reply.status, reply.headers, body, value, asked)

        return CheckedReader(self._facts.dialect.reader(self._transport.limits), reply, find_error)

    def list_models(self, plan: CallOptions, brief: bool = False) -> list[ModelInfo]:
        """Ask for the models, and keep them in the cache; ``brief`` asks for the list alone."""
        changes = self.cache.changes
        models = self._facts.dialect.list_models(
            lambda call, read=None: self.ask(call, plan, read), self.cache.details, brief
        )
        self.cache.fill(models, changes)
        return models

    def retire(self) -> None:
        """Close what is idle; calls under way go on."""
        self._transport.retire()

    def close(self) -> None:
        """End all calls, and the discovery."""
        self._transport.close()
        self.cache.close()

    def _send(self, call: Call, plan: CallOptions, accept: str) -> Reply:
        headers = {"Accept": accept, "Accept-Encoding": "identity", "User-Agent": "lmstudio-provider"}
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        if call.upload is not None:
            headers.update({"Content-Type": "application/octet-stream", "Content-Length": str(call.upload.size)})
        authorization = plan.config.authorization
        if authorization:
            headers["Authorization"] = authorization
        own = {name.lower() for name in self._facts.headers}
        headers = {name: value for name, value in headers.items() if name.lower() not in own}
        headers.update(self._facts.headers)
        return self._transport.send(call, headers, plan.timeouts, plan.deadline, plan.waited_s)

    def _value(
        self,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        call: Call,
        plan: CallOptions,
        dialect: Dialect | None = None,
    ) -> Any:
        """Return the JSON of a whole reply; raises the error that it is, and ProtocolError."""
        value = None
        with contextlib.suppress(ProtocolError):
            value = parse(body, "the reply")
        self._raise_error(status, headers, body, value, self._asked(call, plan), dialect)
        if value is None and not body and call.may_be_empty:
            return None
        if value is None:
            raise self._no_json(status, headers, body)
        return value

    def _no_json(self, status: int, headers: Mapping[str, str], body: bytes) -> ProtocolError:
        text = body.decode("utf-8", "replace")
        if is_page(headers, text):
            page = read_answer(status, headers, text, None)
            return ProtocolError(f"the reply is not JSON: {page.said}", hint=page.hint, sent=True)
        kind = headers.get("Content-Type") or "no content type"
        return ProtocolError(
            f"the reply (HTTP {status}, {kind}) is no JSON: {preview(body)}",
            hint=f"Check that the base URL is that of {self._facts.name}, and not of another program on that port",
            sent=True,
        )

    def _raise_error(
        self,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        value: Any,
        asked: ErrorContext,
        dialect: Dialect | None = None,
    ) -> None:
        error = (dialect or self._facts.dialect).find_error(status, headers, body, value, asked)
        if error is not None:
            try:
                raise error
            finally:
                del error  # no cycle of error, traceback and frame keeps the request's body

    def _asked(self, call: Call, plan: CallOptions) -> ErrorContext:
        config = plan.config
        secrets = [config.base_url.password or "", *header_secrets(self._facts.headers), *self._transport.secrets()]
        secrets += [
            each for value in (config.authorization, config.base_url.authorization) for each in credentials(value)
        ]
        source, what = config.api_token_source, ""
        if source is None and config.base_url.authorization:
            source, what = "the base URL", PASSWORD
        if "authorization" in {name.lower() for name in self._facts.headers}:
            source, what = "the argument headers", "Authorization"
        # Only a model that can do what the call is for may be the one that was meant.
        known = tuple(each.id for each in self.cache.models if call.fits(each))
        return ErrorContext(
            call.model,
            source,
            (*secrets, *call.secrets),
            call.path,
            known,
            credentials=what,
            tools=bool(call.tools),
        )

    @contextlib.contextmanager
    def annotate_errors(self, call: Call, plan: CallOptions) -> Iterator[None]:
        """Add to the errors of the block what was called, and where."""
        try:
            yield
        except CancelledCall as cancelled:
            closed = ProviderClosedError.during_call() if cancelled.sent else ProviderClosedError.before_call()
            raise self._tell(closed, call, plan) from None
        except ProviderError as error:
            self._tell(error, call, plan)
            raise

    def _tell(self, error: ProviderError, call: Call, plan: CallOptions) -> ProviderError:
        """Add to ``error`` what was called, and where; said once, however deep the error came from."""
        if error.url is None:
            # Whatever the message quotes: a server may repeat what it was sent.
            secrets = self._asked(call, plan).secrets
            for name in ("message", "hint", "code", "param", "body"):
                text = getattr(error, name, None)
                if isinstance(text, str):
                    setattr(error, name, redact(text, secrets))
            error.args = (error.message,)
            cause = error.__cause__
            if cause is not None:  # which a traceback shows
                cause.args = tuple(redact(each, secrets) if isinstance(each, str) else each for each in cause.args)
            error.provider, error.method = self._facts.provider_id, call.method
            error.url = plan.config.base_url.text + call.path
            if HUNG_UP in error.hint and self._facts.dialect.log:
                error.hint = error.hint.replace(HUNG_UP, f"{HUNG_UP}: {self._facts.dialect.log!r}")
            if isinstance(error, ServerUnavailableError) and (error.refused or not error.sent):
                url = plan.config.base_url.text
                if not error.answered and not error.proxy:
                    error.message = f"no server answers at {url}: {error.message}"
                remote = error.refused and not is_loopback(urlsplit(url).hostname or "")
                hint = error.hint or (self._facts.remote_hint if remote else self._facts.start_hint)
                error.hint = f"{hint}; {url} came from {plan.config.base_url_source}, {self._facts.url_hint}"
            if isinstance(error, RequestTimeoutError) and error.sent and not error.received:
                known = find(self.cache.models, call.model)
                error.hint += "" if known and known.loaded else self._facts.dialect.load_hint(call)
            if isinstance(error, RequestTimeoutError):
                error.hint += source_of_limit(error, plan)
        return error


def source_of_limit(error: RequestTimeoutError, plan: CallOptions) -> str:
    """Return what to add to the hint of ``error`` if a setting is where its limit came from."""
    source = plan.config.timeouts_source if plan.timeouts == plan.config.timeouts else None
    return f"; it came from {source}" if source and error.limit != "deadline" else ""
