"""HTTP to one server: pooled connections, time limits, retries, cancelling. Knows no JSON and no endpoint."""

from __future__ import annotations

import copy
import functools
import http.client
import logging
import random
import re
import socket
import ssl
import threading
import time
from typing import Iterator, Mapping

import urllib3
from urllib3.exceptions import ClosedPoolError, HTTPError, NewConnectionError
from urllib3.exceptions import SSLError as PoolSSLError

from ._connection import timed_pool_class, urlopen
from ._exceptions import ProtocolError, ProviderError, ServerUnavailableError
from ._exchange import CancelledCall, Deadline, Exchange
from ._reply import HUNG_UP, Reply, reason, short, unwrapped
from ._types import Call, Limits, Timeouts
from ._wire.errors import retry_after
from ._wire.pages import USE_HTTPS
from ._wire.redaction import header_secrets

logger = logging.getLogger("lmstudio_provider")

#: A longer ``Retry-After`` than this is the caller's business.
_MAX_RETRY_AFTER_S = 10.0
#: Connections to keep for one server; beyond them urllib3 would log a warning for each that it drops.
_POOL_SIZE = 128
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
        self._manager = _timed(http)
        self._lock = threading.RLock()  # a signal handler, or a collected stream, may come in between
        self._live: set[Exchange] = set()
        self._closed = False
        self._localhost: str | None = None
        # The zone of an IPv6 address is this machine's business (RFC 6874, 4); http.client of Python 3.10 sends it.
        zoned = re.match(r"https?://(\[[^]]+)%[^]]+(\][:0-9]*)", base_url)
        self._host = {"Host": zoned[1] + zoned[2]} if zoned else {}

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
            try:
                reply = self._attempt(call, headers, exchange)
            except ServerUnavailableError as error:
                failure = error
                if exchange.reused and not exchange.fresh and _died_idle(exchange):
                    # So the server never saw the request (RFC 9112, 9.3.1, lets a client send again where it knows).
                    exchange.fresh, exchange.sent = True, False
                    continue
                # A call that was sent may be running: a second copy of a generation would only compete with it.
                if not error.refused and not error.answered and (not exchange.sent or call.method == "GET"):
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
        own, others = {name.lower() for name in headers}, {**self._host, **self._manager.headers}
        try:
            # For connections that are opened in their own way; the others, and all reading, ask the exchange.
            seconds, exchange.handshake_limit = exchange.allowed("connect")
            response = urlopen(
                self._manager,
                exchange,
                call.method,
                self.base_url + call.path,
                body=call.body if call.upload is None else call.upload,
                headers={**{k: v for k, v in others.items() if k.lower() not in own}, **headers},
                timeout=urllib3.Timeout(connect=seconds, read=None),
                decode_content=False,
            )
        except ClosedPoolError:
            # A reset came just between finding the pool and using it; the manager makes another.
            return self._attempt(call, headers, exchange)
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
        proxy = getattr(getattr(self._manager, "proxy", None), "auth", None) or ""
        headers = [self._manager.headers, getattr(self._manager, "proxy_headers", None) or {}]
        return [proxy.partition(":")[2], *(secret for each in headers for secret in header_secrets(each))]

    def retire(self) -> None:
        """Close the idle connections; calls that are under way go on."""
        self._manager.clear()

    def __del__(self) -> None:
        manager = getattr(self, "_manager", None)
        if manager is not None:
            manager.clear()

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


def _timed(http: urllib3.PoolManager | None) -> urllib3.PoolManager:
    """A manager whose connections obey the limits: a new one, or a copy of ``http``, which itself stays untouched."""
    manager = urllib3.PoolManager(maxsize=_POOL_SIZE) if http is None else copy.copy(http)
    manager.pools = type(manager.pools)(10, dispose_func=lambda pool: pool.close())
    # A pool that blocks would make a call wait for a connection beyond all its limits.
    manager.connection_pool_kw = {**manager.connection_pool_kw, "block": False}
    classes = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: timed_pool_class(each) for scheme, each in classes.items()}
    return manager


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
        limit = "first_byte" if exchange.sent_at else exchange.handshake_limit
        return exchange.timeout(limit, time.monotonic() - exchange.started)
    if isinstance(error, PoolSSLError) or isinstance(cause, ssl.SSLError):
        if isinstance(cause, ValueError):  # ssl's and urllib3's errors of certificates are, and no others
            message = f"the server's certificate is not trusted ({why})"
            return ServerUnavailableError(message, hint=_CERTIFICATE, answered=True)
        hint = "A local server speaks plain HTTP: write http://"
        return ServerUnavailableError(f"TLS failed ({why})", hint=hint, answered=True)
    if why.startswith("Tunnel connection failed"):
        return ServerUnavailableError(f"the proxy did not connect to the server ({why})", hint=_TUNNEL, answered=True)
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
    "Give http=urllib3.PoolManager(ca_certs=...) with the certificate that signed the server's, and name the server as "
    "its certificate does"
)
_TUNNEL = "See the proxy's rules; if it wants a name and a password, give proxy_headers= to urllib3.ProxyManager"
_MAYBE_TLS = "If that port speaks TLS, write https:// in the base URL"
