"""Open TCP connections, to the address of a host that answers first, for as long as the call is wanted."""

from __future__ import annotations

import _thread
import errno
import os
import selectors
import socket
import time
from typing import Any

from .._core.errors import ServerUnavailableError
from .exchange import Exchange

# How long an address may be silent before the next one is tried beside it (RFC 8305, 5), if there is time for that.
_HEAD_START_S = 0.25
_UNDER_WAY = (0, errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", errno.EWOULDBLOCK))


def dial(exchange: Exchange, connection: Any, last: str | None) -> socket.socket:
    """Open a TCP connection to the host of ``connection``, and note its IP address in ``exchange``.

    ``last`` is the address that answered last time; it is tried first. Raises ServerUnavailableError,
    RequestTimeoutError and CancelledCall.
    """
    host, started = connection.host.strip("[]"), time.monotonic()
    try:
        addresses = _addresses(exchange, host, connection.port, started)
    except OSError as error:
        why = error.strerror or str(error)
        zone = host.partition("%")[2]
        hint = f"Write the name or the number of a network interface of this machine, not {zone!r}" if zone else ""
        raise ServerUnavailableError(f"the host {host!r} was not found ({why})", hint=hint) from error
    addresses.sort(key=lambda each: each[4][0] != last)
    try:
        return _first_to_answer(exchange, addresses, connection, started)
    except OSError as error:
        refused = isinstance(error, ConnectionRefusedError)
        why = f"{error.strerror or error} ({host} port {connection.port})"
        raise ServerUnavailableError(why, refused=refused) from error


def _first_to_answer(exchange: Exchange, addresses: list[Any], connection: Any, started: float) -> socket.socket:
    """Try the addresses; each has a head start over the next one, so that a silent address does not hide the others."""
    head_start = min(_HEAD_START_S, (exchange.allowed("connect") or 1.0) / len(addresses))
    begun: list[socket.socket] = []
    failure: OSError | None = None
    winner = None
    next_at = started
    try:
        with selectors.DefaultSelector() as selector:
            while addresses or selector.get_map():
                wait, now = exchange.connect_slice(started), time.monotonic()
                if addresses and (now >= next_at or not selector.get_map()):
                    next_at = now + head_start
                    *kind, _, address = addresses.pop(0)
                    try:
                        begun.append(socket.socket(*kind))
                        _begin(begun[-1], connection, address)
                        selector.register(begun[-1], selectors.EVENT_WRITE, address[0])
                    except OSError as error:
                        failure = failure or error
                    continue
                for key, _ in selector.select(min(wait, next_at - now) if addresses else wait):
                    sock: Any = key.fileobj
                    selector.unregister(sock)
                    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if not code:
                        exchange.connected(key.data)
                        winner = sock
                        return sock  # type: ignore[no-any-return]
                    failure, next_at = failure or _error(code), now
        assert failure is not None  # noqa: S101 (getaddrinfo never returns an empty list)
        raise failure
    finally:
        for each in begun:
            if each is not winner:
                each.close()


def _begin(sock: socket.socket, connection: Any, address: Any) -> None:
    for option in connection.socket_options or ():
        sock.setsockopt(*option)
    if connection.source_address:
        sock.bind(connection.source_address)
    sock.setblocking(False)
    code = sock.connect_ex(address)
    if code not in _UNDER_WAY:
        raise _error(code)


def _error(code: int) -> OSError:
    # On Windows, strerror() does not know the codes of sockets, but errorTab does.
    return OSError(code, getattr(socket, "errorTab", {}).get(code) or os.strerror(code))


def _addresses(exchange: Exchange, host: str, port: int, started: float) -> list[Any]:
    # LM Studio listens on 127.0.0.1. If "localhost" means ::1 first, Windows takes 2 s to find that no server listens
    # there. The names are bytes, because for a str Python imports the codec "idna", and that import hangs in a fork of
    # a process whose other thread was importing it. urllib3 has encoded the host already.
    names = [b"127.0.0.1", b"::1"] if host == "localhost" else [host.encode("ascii")]
    try:
        numeric = socket.AI_NUMERICHOST
        return [each for name in names for each in socket.getaddrinfo(name, port, 0, socket.SOCK_STREAM, 0, numeric)]
    except socket.gaierror:
        pass
    found: list[Any] = []
    done = _thread.allocate_lock()
    done.acquire()

    def resolve() -> None:
        try:
            found.extend(socket.getaddrinfo(names[0], port, 0, socket.SOCK_STREAM))
        except Exception as error:
            found.append(error)
        done.release()

    # A thread asks, because nothing interrupts a slow resolver. Not threading.Thread: its start() takes a lock, which
    # the code that a signal handler interrupted may hold, and the handler may make a call.
    try:
        _thread.start_new_thread(resolve, ())
    except RuntimeError:  # the interpreter is about to end, or cannot start more threads: ask in this one
        resolve()
    while not done.acquire(timeout=exchange.connect_slice(started)):
        continue
    if isinstance(found[0], Exception):
        raise found[0]
    return found
