"""HTTP to one server: pooled connections, time limits, retries, cancelling."""

from __future__ import annotations

import functools
import http.client
import logging
import random
import ssl
import threading
import time
from typing import Iterator, Mapping

import urllib3
from urllib3.connection import CertificateError  # type: ignore[attr-defined]  # in 1.26 and in 2.x
from urllib3.exceptions import HTTPError
from urllib3.exceptions import SSLError as PoolSSLError

from .._core.errors import ProtocolError, ProviderError, ServerUnavailableError
from .._core.redaction import header_secrets
from .._core.threads import here
from .._core.types import Call, Limits
from .connection import Connections, causes, timed_out
from .exchange import HUNG_UP, USE_HTTPS, CancelledCall, Exchange, retry_after
from .reply import Reply, reason, short

logger = logging.getLogger("lmstudio_provider")

# A call does not wait for a longer ``Retry-After``; the caller can.
_MAX_RETRY_AFTER_S = 10.0


def backoff(count: int) -> Iterator[float]:
    """``count`` waits in seconds, each about twice as long as the one before."""
    for attempt in range(count):
        yield 0.1 * 2**attempt * random.uniform(0.75, 1.25)  # noqa: S311 (no cryptography)


class Transport:
    """Sends calls to one base URL. Shared by threads."""

    _connections: Connections | None = None
    """Made by the first call: urllib3 takes a third of the time of a provider's constructor for it."""

    def __init__(self, base_url: str, http: urllib3.PoolManager | None, limits: Limits, max_retries: int) -> None:
        self.base_url = base_url
        self.limits = limits
        self._max_retries = max_retries
        self._manager = urllib3.PoolManager() if http is None else http
        self._lock = threading.RLock()  # a signal handler, or a stream that is collected, may interrupt its holder
        self._live: set[Exchange] = set()
        self._closed = False
        if http is not None or not base_url.startswith("http:"):
            # TLS and proxies use this codec; if a call had to import it, that could hang in a forked child.
            "".encode("idna")

    def send(self, call: Call, headers: Mapping[str, str], exchange: Exchange) -> Reply:
        """Send ``call``, under the limits of ``exchange``; return when the headers of the reply are in.

        The status may be that of an error. Raises ServerUnavailableError, RequestTimeoutError, ProtocolError, and
        CancelledCall after ``close``.
        """
        with self._lock:
            if self._closed:
                raise CancelledCall
            connections = self._connections = self._connections or Connections(self.base_url, self._manager)
            self._live.add(exchange)
        if on_call := getattr(here, "on_call", None):
            on_call(exchange)
        waits = backoff(self._max_retries)
        try:
            while True:
                try:
                    reply = self._attempt(connections, call, headers, exchange)
                except ServerUnavailableError as error:
                    if exchange.died_idle():
                        # The server never saw the call; a client may then send it again (RFC 9112, 9.3.1).
                        exchange.start_afresh()
                        continue
                    # A call that was sent may be running: a second copy of a generation would only compete with it.
                    final = error.refused or error.answered or error.proxy or (exchange.sent and call.method != "GET")
                    wait = None if final else next(waits, None)
                    if wait is None or not exchange.has_time_for(wait):
                        raise
                else:
                    wait = retry_after(reply.headers) if reply.status in (429, 503) else None
                    soon = wait is not None and wait <= _MAX_RETRY_AFTER_S and exchange.has_time_for(wait)
                    if wait is None or not soon or next(waits, None) is None:
                        return reply
                    reply.discard()
                exchange.pause(wait)
        except BaseException as error:
            vars(error)["sent"] = getattr(error, "sent", False) or exchange.sent  # also of a KeyboardInterrupt
            self._end(call, exchange, type(error).__name__)
            raise

    def _attempt(self, connections: Connections, call: Call, headers: Mapping[str, str], exchange: Exchange) -> Reply:
        try:
            response = connections.send(exchange, call, headers)
        except (ProviderError, CancelledCall) as error:
            failure: Exception = error
            cause = error.__cause__
        except (HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            cause = causes(error)[-1]
            failure = _failure(cause, exchange, self.base_url.startswith("http:"))
        else:
            exchange.expect_body()
            return Reply(response, exchange, self.limits, functools.partial(self._end, call))
        exchange.release()
        if exchange.proxy and isinstance(failure, ServerUnavailableError):
            failure.message = f"the proxy did not connect to the server ({exchange.proxy}: {failure.message})"
            failure.hint, failure.proxy = failure.hint or _PROXY, exchange.proxy
            failure.answered = False  # the proxy did, not the server
        try:
            raise failure.with_traceback(None) from short(cause)
        finally:
            del failure, cause  # its traceback refers to this frame, and the cycle would keep the body of the request

    def _end(self, call: Call, exchange: Exchange, outcome: object) -> None:
        with self._lock:
            self._live.discard(exchange)
        milliseconds = (time.monotonic() - exchange.started) * 1000
        logger.debug("%s %s %s %.0f ms %d bytes", call.method, call.path, outcome, milliseconds, exchange.received)

    def secrets(self) -> list[str]:
        """Return the secrets in the headers of the user's manager and in the URL of its proxy."""
        proxy = getattr(getattr(self._manager, "proxy", None), "auth", None) or ""
        headers = [self._manager.headers, getattr(self._manager, "proxy_headers", None) or {}]
        return [proxy.partition(":")[2], *(secret for each in headers for secret in header_secrets(each))]

    def retire(self) -> None:
        """Close the idle connections; calls under way go on."""
        if self._connections is not None:
            self._connections.close()

    def __del__(self) -> None:
        self.retire()

    def close(self) -> None:
        """Close all connections; calls under way end with CancelledCall."""
        with self._lock:
            self._closed = True
            live = list(self._live)
        for exchange in live:
            exchange.close()
        self.retire()


def _failure(cause: BaseException, exchange: Exchange, plain: bool) -> Exception:
    """Return the error to raise for ``cause``, before the headers are in; ``plain`` is False if TLS is used."""
    why = reason(cause)
    if exchange.cancelled:
        return CancelledCall()
    if timed_out(cause):
        return exchange.timeout(time.monotonic() - exchange.started)
    peer = "proxy" if exchange.proxy else "server"
    if isinstance(cause, (ssl.SSLError, PoolSSLError, CertificateError)):
        if isinstance(cause, ValueError):  # only the certificate errors of ssl and urllib3 are
            message = f"the {peer}'s certificate is not trusted ({why})"
            return ServerUnavailableError(message, hint=_CERTIFICATE.format(peer), answered=True)
        hint = "Write http:// in the URL of the proxy" if exchange.proxy else _PLAIN
        return ServerUnavailableError(f"TLS failed ({why})", hint=hint, answered=True)
    if exchange.sent_at is None:
        return ServerUnavailableError(why, refused=isinstance(cause, ConnectionRefusedError))
    if plain and exchange.first.startswith(b"\x15\x03"):  # an alert (RFC 8446, 6)
        return ProtocolError("the server answered plain HTTP with a TLS alert", hint=USE_HTTPS)
    if exchange.received and not isinstance(cause, ConnectionError):
        hint = "Check scheme, host and port of the base URL"
        return ProtocolError(f"the reply is not valid HTTP ({why})", hint=hint)
    hint = HUNG_UP if exchange.received or exchange.reused or not plain else f"{HUNG_UP}. {_MAYBE_TLS}"
    return ServerUnavailableError(f"the server closed the connection before it answered ({why})", hint=hint)


_CERTIFICATE = (
    "Give http= a urllib3 manager whose ca_certs= has the certificate that signed that of the {0}, and name the {0} as "
    "its certificate does"
)
_PLAIN = "A local server speaks plain HTTP: write http://"
_PROXY = "Check the URL of the proxy in http=, and that the proxy runs and can reach the server"
_MAYBE_TLS = "If that port speaks TLS, write https:// in the base URL"
