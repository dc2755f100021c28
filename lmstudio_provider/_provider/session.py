"""One server: its connections, its models, and what its replies and errors say."""

from __future__ import annotations

import contextlib
import functools
import json
from typing import TYPE_CHECKING, Any, Callable, Generator, Iterator, Mapping, NamedTuple, TypeVar
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
from .._http.exchange import HUNG_UP, CancelledCall, Deadline, Exchange
from .base_stream import BaseStream
from .model_cache import ModelCache
from .settings import Config
from .urls import is_loopback

if TYPE_CHECKING:
    from .._http.reply import Reply
    from .._http.transport import Transport

_Stream = TypeVar("_Stream", bound=BaseStream[Any, Any])


class ServerInfo(NamedTuple):
    """The facts about a kind of server, and about one provider of that kind."""

    name: str
    """The name of the server's program, for messages."""
    dialect: Dialect
    api_key_hash: str
    """The ``api_key_hash`` of usage records."""
    start_hint: str
    """What to do if no server answers."""
    remote_hint: str
    """What to do if another machine refuses connections."""
    url_hint: str
    """How to name another server."""
    get_hint: str
    """How to get a model, as the beginning of a sentence."""
    context_hint: str
    """How to make room for a longer text to embed, as the beginning of a sentence."""
    default_model: str | None
    """The model to ask for if the server lists none; None if it would refuse any name."""
    any_model_calls_tools: bool
    """True if tools can be offered to models that were not trained to call them."""
    provider_id: str = ""
    headers: Mapping[str, str] = {}
    """The headers of the user; they replace those of the package."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"  # it holds secrets


class CallOptions(NamedTuple):
    """The settings and the time limits of one call."""

    config: Config
    timeouts: Timeouts
    deadline: Deadline | None
    waited_s: float = 0.0
    """The seconds that the call has waited for the server already; they count until the first byte."""

    def limits(self) -> dict[str, float]:
        """Return the seconds that are left until each limit that ends a wait before the first byte."""
        seconds = {"first_byte": self.timeouts.first_byte, "deadline": self.deadline and self.deadline.left()}
        return {limit: left for limit, left in seconds.items() if left is not None}

    def exchange(self) -> Exchange:
        """Return an exchange with the time limits of the call."""
        return Exchange(self.timeouts, self.deadline, self.waited_s)


class Session:
    """Makes calls to one base URL. Threads can share it; a forked process makes its own."""

    def __init__(self, info: ServerInfo, base_url: str, transport: Transport, cache: ModelCache) -> None:
        self.base_url = base_url
        self.cache = cache
        self._info = info
        self._transport = transport

    def ask(
        self,
        call: Call,
        options: CallOptions,
        read: Callable[[Any], Any] | None = None,
        dialect: Dialect | None = None,
    ) -> Any:
        """Send ``call``; return the JSON of its reply, or what ``read`` makes of it; raise ProviderError.

        ``dialect`` knows which replies are errors; by default it is that of the server.
        """
        with self.annotate_errors(call, options):
            headers = self._headers(call, options, "application/json")
            reply, value = self._transport.send(call, headers, options.exchange()), None
            body = reply.read_all()
            with contextlib.suppress(ProtocolError):
                value = parse(body, "the reply")
            if value is None or not 200 <= reply.status < 300 or find_fault(value) is not None:
                self._raise_error(reply.status, reply.headers, body, value, self._error_context(call, options), dialect)
            if value is None and (body or not call.may_be_empty):
                raise self._no_json(reply.status, reply.headers, body)
            return value if read is None else read(value)

    def stream(
        self,
        call: Call,
        options: CallOptions,
        kind: Callable[..., _Stream],
        new_accumulator: Callable[[Call, ErrorContext, float], object],
        parse_result: Callable[[Any], Completion],
        on_end: Callable[[Any, BaseException | None], None],
    ) -> _Stream:
        """Send ``call`` and return its stream, of that ``kind``, when the headers are in.

        ``new_accumulator`` makes the object that turns events into items and adds them up. ``parse_result`` makes the
        completion that the caller gets of a complete reply. ``on_end`` is called once, at the end.
        """
        with self.annotate_errors(call, options):
            reply = self._open_stream(call, options)
            try:
                reader = self._reader(reply, call, options)
                accumulator = new_accumulator(call, self._error_context(call, options), reply.exchange.started)
                annotate = functools.partial(self._annotate, call=call, options=options)
                return kind(reply, reader, accumulator, parse_result, on_end, annotate)
            except BaseException:  # Ctrl-C, before there is a stream that could be closed
                reply.drop()
                raise

    def events(self, call: Call, options: CallOptions) -> Generator[Any, None, None]:
        """Send ``call`` and iterate over the events of its stream, to the end of the body.

        Raises the error that an event reports, and StreamInterruptedError if the body breaks off.
        """
        with self.annotate_errors(call, options):
            reply = self._open_stream(call, options)
            reader, data = self._reader(reply, call, options), b"..."
            try:
                while data:
                    data = reply.read_piece()
                    for event in reader.feed(data) if data else reader.finish():
                        if find_fault(event) is not None:
                            self._raise_error(
                                200, {}, json.dumps(event).encode(), event, self._error_context(call, options)
                            )
                        yield event
            except ServerUnavailableError as error:
                raise StreamInterruptedError(
                    f"the stream broke off: {error.message}", hint="Ask again", sent=True
                ) from error.__cause__
            finally:
                reply.drop()

    def _open_stream(self, call: Call, options: CallOptions) -> Reply:
        headers = self._headers(call, options, self._info.dialect.stream_type)
        reply = self._transport.send(call, headers, options.exchange())
        if reply.status == 204:  # no content
            raise self._no_json(reply.status, reply.headers, reply.read_all())
        kind = (reply.headers.get("Content-Type") or "").lower()
        # An error comes as JSON, also with status 200; the page of a proxy as HTML. Any other type is a stream.
        if not 200 <= reply.status < 300 or "json" in kind.replace("ndjson", "") or "html" in kind:
            raise self._reader(reply, call, options).no_stream(reply.read_all())
        return reply

    def _reader(self, reply: Reply, call: Call, options: CallOptions) -> CheckedReader:
        """Return the reader of a stream; it raises the error that the body reports if that is not a stream."""

        def find_error(body: bytes, value: object) -> ProviderError | None:
            asked = self._error_context(call, options)
            return self._info.dialect.find_error(reply.status, reply.headers, body, value, asked)

        return CheckedReader(self._info.dialect.reader(self._transport.limits), reply, find_error)

    def list_models(self, options: CallOptions, brief: bool = False) -> list[ModelInfo]:
        """Ask for the models and keep them in the cache; ``brief`` asks for the list only, without details."""
        changes = self.cache.changes
        models = self._info.dialect.list_models(
            lambda call, read=None: self.ask(call, options, read), self.cache.details, brief
        )
        self.cache.fill(models, changes)
        return models

    def retire(self) -> None:
        """Close the idle connections; calls under way go on."""
        self._transport.retire()

    def close(self) -> None:
        """End all calls, and the discovery."""
        self._transport.close()
        self.cache.close()

    def _headers(self, call: Call, options: CallOptions, accept: str) -> dict[str, str]:
        headers = {"Accept": accept, "Accept-Encoding": "identity", "User-Agent": "lmstudio-provider"}
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        if call.upload is not None:
            headers.update({"Content-Type": "application/octet-stream", "Content-Length": str(call.upload.size)})
        if options.config.authorization:
            headers["Authorization"] = options.config.authorization
        return {**headers, **self._info.headers}  # of two names that differ in case, the transport sends the last one

    def _no_json(self, status: int, headers: Mapping[str, str], body: bytes) -> ProtocolError:
        text = body.decode("utf-8", "replace")
        if is_page(headers, text):
            page = read_answer(status, headers, text, None)
            return ProtocolError(f"the reply is not JSON: {page.said}", hint=page.hint, sent=True)
        kind = headers.get("Content-Type") or "no content type"
        return ProtocolError(
            f"the reply (HTTP {status}, {kind}) is not JSON: {preview(body)}",
            hint=f"Check that the base URL is that of {self._info.name}, not of another program on that port",
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
        error = (dialect or self._info.dialect).find_error(status, headers, body, value, asked)
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback refers to this frame, and the cycle would keep the body of the request

    def _error_context(self, call: Call, options: CallOptions) -> ErrorContext:
        config = options.config
        secrets = [config.base_url.password or "", *header_secrets(self._info.headers), *self._transport.secrets()]
        secrets += [
            each for value in (config.authorization, config.base_url.authorization) for each in credentials(value)
        ]
        secrets += call.secrets
        source, what = config.api_token_source, ""
        if source is None and config.base_url.authorization:
            source, what = "the base URL", PASSWORD
        if "authorization" in {name.lower() for name in self._info.headers}:
            source, what = "the argument headers", "Authorization"
        # An error about an unknown model suggests only models that can do the task of the call.
        known = tuple(each.id for each in self.cache.models if call.fits(each))
        return ErrorContext(
            call.model, source, tuple(secrets), call.path, known, credentials=what, tools=bool(call.tools)
        )

    @contextlib.contextmanager
    def annotate_errors(self, call: Call, options: CallOptions) -> Iterator[None]:
        """Add method, URL and hints to the errors of the block, and hide secrets in them."""
        try:
            yield
        except CancelledCall as cancelled:
            closed = ProviderClosedError.during_call() if cancelled.sent else ProviderClosedError.before_call()
            raise self._annotate(closed, call, options) from None
        except ProviderError as error:
            self._annotate(error, call, options)
            raise

    def _annotate(self, error: ProviderError, call: Call, options: CallOptions) -> ProviderError:
        """Add method, URL and hints to ``error``, and hide secrets in it, if that has not been done."""
        if error.url is None:
            # The message may quote the server, and a server may repeat what it was sent.
            secrets = self._error_context(call, options).secrets
            for name in ("message", "hint", "code", "param", "body"):
                text = getattr(error, name, None)
                if isinstance(text, str):
                    setattr(error, name, redact(text, secrets))
            error.args = (error.message,)
            cause = error.__cause__
            if cause is not None:  # a traceback shows it
                cause.args = tuple(redact(each, secrets) if isinstance(each, str) else each for each in cause.args)
            error.provider, error.method = self._info.provider_id, call.method
            error.url = options.config.base_url.text + call.path
            if HUNG_UP in error.hint and self._info.dialect.log:
                error.hint = error.hint.replace(HUNG_UP, f"{HUNG_UP}: {self._info.dialect.log!r}")
            if isinstance(error, ServerUnavailableError) and (error.refused or not error.sent):
                url = options.config.base_url.text
                if not error.answered and not error.proxy:
                    error.message = f"no server answers at {url}: {error.message}"
                remote = error.refused and not is_loopback(urlsplit(url).hostname or "")
                hint = error.hint or (self._info.remote_hint if remote else self._info.start_hint)
                error.hint = f"{hint}; {url} came from {options.config.base_url_source}, {self._info.url_hint}"
            if isinstance(error, RequestTimeoutError) and error.sent and not error.received:
                known = find(self.cache.models, call.model)
                error.hint += "" if known and known.loaded else self._info.dialect.load_hint(call)
            if isinstance(error, RequestTimeoutError):
                error.hint += source_of_limit(error, options)
        return error


def source_of_limit(error: RequestTimeoutError, options: CallOptions) -> str:
    """Return the end of the hint of ``error`` that names the setting of the limit, if a setting made it."""
    source = options.config.timeouts_source if options.timeouts == options.config.timeouts else None
    return f"; it came from {source}" if source and error.limit != "deadline" else ""
