"""HTTP to one server: pooled connections, time limits, retries, cancelling. Knows no JSON and no endpoint."""

from __future__ import annotations

import functools
import http.client
import logging
import random
import socket
import ssl
import threading
import time
from typing import Iterator, Mapping

import urllib3
from urllib3.connection import CertificateError  # type: ignore[attr-defined]  # of all lines of urllib3
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import SSLError as PoolSSLError

from ._connection import Connections, unwrapped
from ._exceptions import ProtocolError, ProviderError, ServerUnavailableError
from ._exchange import CancelledCall, Deadline, Exchange
from ._reply import HUNG_UP, Reply, reason, short
from ._types import Call, Limits, Timeouts
from ._wire.errors import retry_after
from ._wire.pages import USE_HTTPS
from ._wire.redaction import header_secrets

logger = logging.getLogger("lmstudio_provider")

#: A longer ``Retry-After`` than this is the caller's business.
_MAX_RETRY_AFTER_S = 10.0
#: A kept-alive connection that the server closed while it was idle dies at once when it is used. One that dies later
#: may have carried the request to a server that was at work on it.
_STALE_S = 1.0


def backoff(count: int) -> Iterator[float]:
    """``count`` waits in seconds, each about twice as long as the one before."""
    for attempt in range(count):
        yield 0.1 * 2**attempt * random.uniform(0.75, 1.25)  # noqa: S311 (no cryptography)


class Transport:
    """Sends calls to one base URL. Shared by threads."""

    def __init__(self, base_url: str, http: urllib3.PoolManager | None, limits: Limits, max_retries: int) -> None:
        self.base_url = base_url
        self.limits = limits
        self._max_retries = max_retries
        self._http = http
        self._connections: Connections | None = None
        self._lock = threading.RLock()  # a signal handler, or a collected stream, may come in between
        self._live: set[Exchange] = set()
        self._closed = False
        self._localhost: str | None = None
        if http is not None or not base_url.startswith("http:"):
            # TLS and proxies look for this codec; one that a call has to import could hang in a fork.
            "".encode("idna")

    def send(
        self,
        call: Call,
        headers: Mapping[str, str],
        timeouts: Timeouts,
        deadline: Deadline | None,
        waited_s: float = 0.0,
    ) -> Reply:
        """Send ``call``; return when the headers of the reply are in, whatever its status.

        ``waited_s`` seconds of the time until the first byte have passed already. Raises ServerUnavailableError,
        RequestTimeoutError, ProtocolError, and CancelledCall after ``close``.
        """
        exchange = Exchange(timeouts, deadline, waited_s)
        with self._lock:
            if self._closed:
                raise CancelledCall
            self._live.add(exchange)
        try:
            return self._send(call, headers, exchange)
        except BaseException as error:
            vars(error)["sent"] = getattr(error, "sent", False) or exchange.sent  # also of a KeyboardInterrupt
            self._over(call, exchange, type(error).__name__)
            raise

    def _send(self, call: Call, headers: Mapping[str, str], exchange: Exchange) -> Reply:
        waits = backoff(self._max_retries)
        while True:
            failure: ProviderError | None = None
            reply: Reply | None = None
            wait: float | None = None
            before = exchange.sent
            try:
                reply = self._attempt(call, headers, exchange)
            except ServerUnavailableError as error:
                failure = error
                if exchange.reused and not exchange.fresh and _died_idle(exchange):
                    # So the server never saw the request (RFC 9112, 9.3.1, lets a client send again where it knows).
                    exchange.fresh, exchange.sent = True, before
                    continue
                # A call that was sent may be running: a second copy of a generation would only compete with it.
                final = error.refused or error.answered or error.proxy is not None
                if not final and (not exchange.sent or call.method == "GET"):
                    wait = next(waits, None)
            else:
                if reply.status in (429, 503):
                    wait = retry_after(reply.headers)
                    if wait is not None and (wait > _MAX_RETRY_AFTER_S or next(waits, None) is None):
                        wait = None
            if wait is None or (exchange.deadline is not None and exchange.deadline.left() <= wait):
                if failure is not None:
                    try:
                        raise failure
                    finally:
                        del failure  # from the frame that its traceback holds: no cycle keeps the request's body
                assert reply is not None  # noqa: S101 (one of the two it is)
                return reply
            if reply is not None:
                reply.discard()
            if exchange.cancelled.wait(wait):
                raise CancelledCall

    def _attempt(self, call: Call, headers: Mapping[str, str], exchange: Exchange) -> Reply:
        exchange.localhost = self._localhost
        try:
            with self._lock:
                if self._connections is None:
                    self._connections = Connections(self.base_url, self._http)
            response = self._connections.send(
                exchange, call.method, call.path, headers, call.upload or call.body or b""
            )
        except (ProviderError, CancelledCall) as error:
            failure: Exception = error
        except (HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            failure = _translated(error, exchange, self.base_url.startswith("http:"))
        else:
            exchange.limit = "first_byte"  # of the body
            return Reply(response, exchange, self.limits, functools.partial(self._over, call))
        finally:
            self._localhost = exchange.localhost
        exchange.release()
        if exchange.proxy and isinstance(failure, ServerUnavailableError):
            failure.message = f"the proxy did not connect to the server ({exchange.proxy}: {failure.message})"
            failure.hint, failure.proxy = failure.hint or _PROXY, exchange.proxy
            failure.answered = False  # the server did not
        if failure.__cause__ is not None:
            short(failure.__cause__)
        try:
            raise failure.with_traceback(None)
        finally:
            del failure

    def _over(self, call: Call, exchange: Exchange, outcome: object) -> None:
        with self._lock:
            self._live.discard(exchange)
        milliseconds = (time.monotonic() - exchange.started) * 1000
        logger.debug("%s %s %s %.0f ms %d bytes", call.method, call.path, outcome, milliseconds, exchange.received)

    def secrets(self) -> list[str]:
        """Return what is secret in the headers that a manager of the user's sends, and in the URL of its proxy."""
        if self._http is None:
            return []
        proxy = getattr(getattr(self._http, "proxy", None), "auth", None) or ""
        headers = [self._http.headers, getattr(self._http, "proxy_headers", None) or {}]
        return [proxy.partition(":")[2], *(secret for each in headers for secret in header_secrets(each))]

    def retire(self) -> None:
        """Close the idle connections; calls that are under way go on."""
        if self._connections is not None:
            self._connections.close()

    def __del__(self) -> None:
        if getattr(self, "_connections", None) is not None:
            self.retire()

    def close(self) -> None:
        """Close all connections; a call that is under way ends with CancelledCall."""
        with self._lock:
            self._closed = True
            live = list(self._live)
        for exchange in live:
            exchange.cancel(closed=True)
            settle = exchange.settle()
            if settle is not None:
                settle()
        self.retire()


def _died_idle(exchange: Exchange) -> bool:
    """Whether a connection broke as one does that the server closed before it was used again."""
    at = exchange.sent_at
    return at is not None and not exchange.received and time.monotonic() - at < _STALE_S


def _translated(error: Exception, exchange: Exchange, plain: bool) -> Exception:
    """Return what a failure before the end of the headers means; its cause is what lies under urllib3's wrapping.

    ``plain`` is whether the base URL is one without TLS.
    """
    cause = unwrapped(error)
    link: BaseException | None = error
    refused = False
    while link is not None:  # their frames hold the request's body, and hold them
        refused = refused or isinstance(link, ConnectionRefusedError)
        link.__traceback__ = None
        link = link.__context__
    failure = _meaning(error, cause, exchange, plain, refused)
    failure.__cause__ = cause
    return failure


def _meaning(error: Exception, cause: BaseException, exchange: Exchange, plain: bool, refused: bool) -> Exception:
    why = reason(cause)
    if exchange.cancelled.is_set():
        return CancelledCall()
    timed_out = isinstance(cause, urllib3.exceptions.TimeoutError) and not isinstance(cause, NewConnectionError)
    if timed_out or (isinstance(cause, socket.timeout) and not cause.errno):
        limit = exchange.limit if exchange.sent_at else exchange.handshake_limit
        return exchange.timeout(limit, time.monotonic() - exchange.started)
    peer = "proxy" if exchange.proxy else "server"
    if isinstance(error, PoolSSLError) or isinstance(cause, (ssl.SSLError, CertificateError)):
        if isinstance(cause, ValueError):  # ssl's and urllib3's errors of certificates are, and no others
            message = f"the {peer}'s certificate is not trusted ({why})"
            return ServerUnavailableError(message, hint=_CERTIFICATE.format(peer), answered=True)
        hint = "Write http:// in the URL of the proxy" if exchange.proxy else _PLAIN
        return ServerUnavailableError(f"TLS failed ({why})", hint=hint, answered=True)
    _, tunnel, answer = why.partition("Tunnel connection failed: ")
    if tunnel:
        hint = _WHO_ASKS_PROXY if answer.startswith("407") else _BEHIND_PROXY
        return ServerUnavailableError(f"it answered CONNECT with {answer}", hint=hint)
    if exchange.sent_at is None:
        return ServerUnavailableError(why, refused=refused)
    if plain and exchange.first.startswith(b"\x15\x03"):  # an alert (RFC 8446, 6)
        return ProtocolError("plain HTTP was sent to a port that speaks TLS", hint=USE_HTTPS, sent=True)
    if exchange.received and not isinstance(cause, ConnectionError):
        return ProtocolError(
            f"what answered does not speak HTTP as it should ({why})",
            hint="Check scheme, host and port of the base URL",
            sent=True,
        )
    hint = HUNG_UP if exchange.received or exchange.reused or not plain else f"{HUNG_UP}. {_MAYBE_TLS}"
    return ServerUnavailableError(f"the server closed the connection before it answered ({why})", hint=hint, sent=True)


_CERTIFICATE = (
    "Give http= a urllib3 manager with ca_certs=, the certificate that signed the {0}'s, and name the {0} as its "
    "certificate does"
)
_PLAIN = "A local server speaks plain HTTP: write http://"
_PROXY = "Check that the proxy runs and can reach the server, and its URL in http="
_WHO_ASKS_PROXY = (
    "Give urllib3.ProxyManager proxy_headers=urllib3.make_headers(proxy_basic_auth='NAME:PASSWORD'), or see the "
    "proxy's rules"
)
_BEHIND_PROXY = "See the proxy's rules, and check that it can reach the server"
_MAYBE_TLS = "If that port speaks TLS, write https:// in the base URL"
