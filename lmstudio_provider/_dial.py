"""Opening TCP connections: to whichever address of a host answers first, for as long as the call is wanted."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import threading
import time
from typing import Any, Sequence

from ._exceptions import ServerUnavailableError
from ._exchange import Exchange
from ._flag import Flag

# How long an address may be silent before the next one is tried beside it (RFC 8305, 5), if there is time for that.
_HEAD_START_S = 0.25
_UNDER_WAY = (0, errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", errno.EWOULDBLOCK))


def dial(exchange: Exchange, host: str, port: int, options: Any, source_address: Any) -> socket.socket:
    """Open a connection for ``exchange``, which learns its address.

    Raises ServerUnavailableError, RequestTimeoutError and CancelledCall.
    """
    started = time.monotonic()
    try:
        addresses = _addresses(exchange, host.strip("[]"), port, started)
    except (OSError, UnicodeError) as error:  # UnicodeError for a host that is no domain name
        why = getattr(error, "strerror", None) or str(error)
        zone = host.partition("%")[2]
        hint = f"{zone!r} has to be a network interface of this machine, by its name or its number" if zone else ""
        raise ServerUnavailableError(f"the host {host!r} was not found ({why})", hint=hint) from error
    race = _Race(exchange, addresses, options, source_address, started)
    try:
        sock, exchange.address = race.winner()
    except OSError as error:
        refused = isinstance(error, ConnectionRefusedError)
        raise ServerUnavailableError(f"{error.strerror or error} ({host} port {port})", refused=refused) from error
    finally:
        race.close()
    if host == "localhost":
        exchange.localhost = exchange.address
    return sock


class _Race:
    """Tries the addresses of a host; each has a head start over the next, so that a silent one hides none."""

    def __init__(
        self, exchange: Exchange, addresses: Sequence[Any], options: Any, source_address: Any, started: float
    ) -> None:
        self._exchange, self._started = exchange, started
        self._options, self._source_address = options or (), source_address
        self._waiting = list(reversed(addresses))
        self._trying: dict[socket.socket, str] = {}
        limit, _ = exchange.allowed("connect")
        self._head_start = _HEAD_START_S if limit is None else min(_HEAD_START_S, limit / len(addresses))

    def winner(self) -> tuple[socket.socket, str]:
        """Return the first connection that comes, and its address; raises the first OSError if none does."""
        first: OSError | None = None
        next_at = self._started
        with selectors.DefaultSelector() as selector:
            while self._waiting or self._trying:
                wait, now = self._exchange.connect_slice(self._started), time.monotonic()
                if self._waiting and (now >= next_at or not self._trying):
                    next_at = now + self._head_start
                    try:
                        selector.register(self._begin(*self._waiting.pop()), selectors.EVENT_WRITE)
                    except OSError as error:
                        first = first or error
                    continue
                for key, _ in selector.select(min(wait, next_at - now) if self._waiting else wait):
                    sock: Any = key.fileobj
                    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if not code:
                        sock.settimeout(None)
                        return sock, self._trying.pop(sock)
                    selector.unregister(sock)
                    sock.close()
                    del self._trying[sock]
                    first, next_at = first or _error(code), now
        assert first is not None  # noqa: S101 (getaddrinfo never returns an empty list)
        raise first

    def _begin(self, family: int, kind: int, protocol: int, _: str, address: Any) -> socket.socket:
        sock = socket.socket(family, kind, protocol)
        self._trying[sock] = address[0]
        try:
            for option in self._options:
                sock.setsockopt(*option)
            if self._source_address:
                sock.bind(self._source_address)
            sock.setblocking(False)
            code = sock.connect_ex(address)
            if code not in _UNDER_WAY:
                raise _error(code)
        except OSError:
            sock.close()
            del self._trying[sock]
            raise
        return sock

    def close(self) -> None:
        """Close what did not win."""
        for sock in self._trying:
            sock.close()


def _error(code: int) -> OSError:
    # On Windows strerror does not know the codes of sockets, and errorTab does.
    return OSError(code, getattr(socket, "errorTab", {}).get(code) or os.strerror(code))


def _addresses(exchange: Exchange, host: str, port: int, started: float) -> list[Any]:
    if host != "localhost":
        # As bytes: for a str, Python looks for the codec "idna", and importing that hangs in a fork of a process that
        # was just importing it. urllib3 has encoded the host.
        name = host.encode("ascii")
        try:
            return socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except socket.gaierror:
            return _resolve(exchange, name, port, started)
    # LM Studio listens on 127.0.0.1. Where "localhost" is ::1 first, Windows takes 2 s to find out.
    hosts = ["127.0.0.1", "::1"]
    if exchange.localhost in hosts:
        hosts.sort(key=lambda each: each != exchange.localhost)
    families = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6}
    return [(families[each], socket.SOCK_STREAM, 0, "", (each, port)) for each in hosts]


def _resolve(exchange: Exchange, host: bytes, port: int, started: float) -> list[Any]:
    """Return the addresses of a name; a thread asks for them, because nothing interrupts a resolver that is slow."""
    found: list[Any] = []
    done = Flag()

    def resolve() -> None:
        try:
            found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.append(error)
        done.set()

    try:
        threading.Thread(target=resolve, name="lmstudio-resolver", daemon=True).start()
    except RuntimeError:  # the interpreter is about to end, or there are no more threads: this one asks
        resolve()
    while not done.wait(exchange.connect_slice(started)):
        continue
    if isinstance(found[0], Exception):
        raise found[0]
    return found
