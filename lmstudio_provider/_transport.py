"""HTTP to one server: pooled connections, time limits, retries, cancelling. Knows no JSON and no endpoint."""

from __future__ import annotations

import copy
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
from urllib3.exceptions import HTTPError
from urllib3.exceptions import SSLError as PoolSSLError

from ._connection import CancelledCall, Exchange, timed_pool_class, urlopen
from ._exceptions import ProtocolError, ProviderError, ServerUnavailableError
from ._reply import HUNG_UP, Reply, reason
from ._types import Call, Limits, Timeouts
from ._wire.errors import retry_after

logger = logging.getLogger("lmstudio_provider")

#: A longer ``Retry-After`` than this is the caller's business.
_MAX_RETRY_AFTER_S = 10.0
#: Connections to keep for one server; beyond them urllib3 would log a warning for each that it drops.
_POOL_SIZE = 128


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
        self._lock = threading.Lock()
        self._live: set[Exchange] = set()
        self._closed = False
        self._localhost: str | None = None

    def send(self, call: Call, headers: Mapping[str, str], timeouts: Timeouts, deadline: float | None) -> Reply:
        """Send ``call``; return when the headers of the reply are in, whatever its status.

        Raises ServerUnavailableError, RequestTimeoutError, ProtocolError, and CancelledCall after ``close``.
        """
        exchange = Exchange(timeouts, deadline)
        with self._lock:
            if self._closed:
                raise CancelledCall
            self._live.add(exchange)
        try:
            return self._send(call, headers, exchange)
        except BaseException as error:
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
                if exchange.reused and exchange.sent and not exchange.received and not exchange.fresh:
                    # The server had closed the kept-alive connection, so it never saw the request. (RFC 9112, 9.3.1,
                    # lets a client send again only where it knows that; hence not one byte of an answer, and once.)
                    exchange.fresh = True
                    continue
                # A call that was sent may be running: a second copy of a generation would only compete with it.
                if not error.refused and (not error.sent or call.method == "GET"):
                    wait = next(waits, None)
            else:
                if reply.status in (429, 503):
                    wait = retry_after(reply.headers)
                    if wait is not None and (wait > _MAX_RETRY_AFTER_S or next(waits, None) is None):
                        wait = None
            left = exchange.left()
            if wait is None or (left is not None and left <= wait):
                if failure is not None:
                    raise failure
                assert reply is not None  # noqa: S101 (one of the two it is)
                return reply
            if reply is not None:
                reply.discard()
            if exchange.cancelled.wait(wait):
                raise CancelledCall

    def _attempt(self, call: Call, headers: Mapping[str, str], exchange: Exchange) -> Reply:
        exchange.localhost = self._localhost
        try:
            response = urlopen(
                self._manager,
                exchange,
                call.method,
                self.base_url + call.path,
                body=call.body,
                headers={**self._manager.headers, **headers},
                timeout=urllib3.Timeout(connect=exchange.timeouts.connect, read=exchange.timeouts.first_byte),
                decode_content=False,
            )
        except (HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            raise _translated(error, exchange) from error
        finally:
            self._localhost = exchange.localhost
        exchange.limit = "first_byte"  # of the body
        return Reply(response, exchange, self.limits, functools.partial(self._over, call))

    def _over(self, call: Call, exchange: Exchange, outcome: object) -> None:
        with self._lock:
            self._live.discard(exchange)
        milliseconds = (time.monotonic() - exchange.started) * 1000
        logger.debug("%s %s %s %.0f ms %d bytes", call.method, call.path, outcome, milliseconds, exchange.received)

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
            exchange.cancel()
        self.retire()


def _timed(http: urllib3.PoolManager | None) -> urllib3.PoolManager:
    """A manager whose connections obey the limits: a new one, or a copy of ``http``, which itself stays untouched."""
    manager = urllib3.PoolManager(maxsize=_POOL_SIZE) if http is None else copy.copy(http)
    manager.pools = type(manager.pools)(10, dispose_func=lambda pool: pool.close())
    classes = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: timed_pool_class(each) for scheme, each in classes.items()}
    return manager


def _translated(error: Exception, exchange: Exchange) -> Exception:
    """What a failure before the end of the headers means."""
    if exchange.cancelled.is_set():
        return CancelledCall()
    sent = exchange.sent
    cause: BaseException = error
    while isinstance(cause, HTTPError) and cause.args and isinstance(cause.args[-1], Exception):
        cause = cause.args[-1]
    if isinstance(error, PoolSSLError) or isinstance(cause, ssl.SSLError):
        return ServerUnavailableError(
            f"TLS failed ({cause})", hint="LM Studio itself speaks plain HTTP: write http://", sent=sent
        )
    if isinstance(cause, (socket.timeout, urllib3.exceptions.TimeoutError)):
        return exchange.timeout("first_byte" if sent else "connect", time.monotonic() - exchange.started)
    if not sent:
        return ServerUnavailableError(reason(cause), refused=isinstance(cause, ConnectionRefusedError))
    if exchange.received and not isinstance(cause, ConnectionError):
        return ProtocolError(
            f"what answered does not speak HTTP as it should ({reason(cause)})",
            hint="Check scheme, host and port of the base URL",
            sent=True,
        )
    return ServerUnavailableError(
        f"the server closed the connection before it answered ({reason(cause)})", hint=HUNG_UP, sent=True
    )
