"""Starting LM Studio's server, with LM Studio's own command line tool."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from typing import IO, Any

from .._core.errors import ConfigurationError, ServerUnavailableError
from .._core.redaction import HIDDEN, credentials, redact
from .._http.exchange import Deadline
from .._provider.lmstudio_home import find_lms, home, is_here
from .._provider.lmstudio_server import LMStudioServer
from .._provider.settings import Config, Settings
from .asking import run_in_daemon_thread
from .discovery import Endpoint, candidates, check_timeout, probe

# Seconds that one look for the server takes at most, and seconds between two looks.
_LOOK_S = 1.0
_PAUSE_S = 0.1
_MOST_READ = 64 * 1024
_MOST_SHOWN = 2000
_TOKEN = re.compile(r"sk-lm-[A-Za-z0-9:]+")
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")

_BY_HAND = "Start the server on LM Studio's Developer tab"


def start_server(*, timeout: float = 30.0, port: int | None = None, settings: Any = None) -> Endpoint:
    """Return the LM Studio server of this machine; start it with ``lms server start`` if none answers yet.

    It looks in the places on this machine where ``discover(settings=settings)`` looks, or, with ``port``, only there;
    without ``port``, LM Studio takes the one that it used last. If the configured base URL is on another machine, and
    no ``port`` is given, it starts nothing. The command is the ``lms`` on PATH or in LM Studio's folder. The server
    then listens only on loopback, even if "Serve on Local Network" is on, unless ``LMS_SERVER_HOST`` in the environment
    names another address. Raises ConfigurationError, and ServerUnavailableError if there is no ``lms``, if
    that fails (the message shows its output), or if no server answers within ``timeout`` seconds; a command that still
    runs then is killed.
    """
    started = time.monotonic()
    check_timeout(timeout)
    if port is not None and (isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536):
        raise ConfigurationError(f"port={port!r} is not valid: use a whole number from 1 to 65,535")
    deadline = Deadline(timeout, started)
    config = Settings(LMStudioServer._names, {}, settings).config()
    urls = _urls(config, port, settings)
    endpoint = _look(urls, deadline)
    if endpoint is not None:
        return endpoint
    missing = f"no LM Studio answers at {', '.join(urls)}"
    if not is_here(next(iter(urls))):
        raise _failure(
            f"{missing}, from {config.base_url_source}: that is another machine",
            "Start the server there with 'lms server start', or give port= to start one here",
        )
    lms = find_lms()
    if lms is None:
        raise _failure(
            f"{missing}, and there is no command 'lms' on PATH or in {home() / 'bin'} to start it with",
            f"{_BY_HAND}; 'lms' comes with LM Studio (https://lmstudio.ai): 'npx lmstudio install-cli' puts it on PATH",
        )
    arguments = ["server", "start", *([] if port is None else ["--port", str(port)])]
    # Not a pipe: a server that the command started may hold it open, and would fail when it logs later.
    with tempfile.TemporaryFile() as output:
        return _start(lms, arguments, output, urls, deadline, config)


def _start(
    lms: str, arguments: list[str], output: IO[bytes], urls: dict[str, str | None], deadline: Deadline, config: Config
) -> Endpoint:
    name = " ".join(["lms", *arguments])
    try:
        process = subprocess.Popen(  # noqa: S603 (only a number in it comes from outside)
            [lms, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except OSError as error:
        raise _failure(f"'{name}' cannot be run: {error.strerror or type(error).__name__} ({lms})", _BY_HAND) from error
    endpoint = None
    try:
        endpoint = _wait(process, urls, deadline)
    finally:
        status, over = process.poll(), deadline.left() <= 0
        if endpoint is None and status is None:
            process.kill()  # and nothing that it has started
            process.wait()
    if endpoint is not None:
        if status is None:  # it goes on, and its end has to be waited for
            run_in_daemon_thread(process.wait)
        return endpoint
    how = "did not end" if status is None else f"ended with exit status {status}"
    said = _shown(output, config)
    raise _failure(
        f"'{name}' {how}, and no LM Studio answers at {', '.join(urls)}"
        + (f" after {deadline.seconds:g} s" if over else "")
        + (f"; it said: {said}" if said else "; it said nothing"),
        f"{_BY_HAND}, which also shows its log" + ("; or raise timeout= (seconds)" if over else ""),
    )


def _wait(process: subprocess.Popen[bytes], urls: dict[str, str | None], deadline: Deadline) -> Endpoint | None:
    """Return the server as soon as it answers, None if the command fails or the deadline passes before."""
    while True:
        status = process.poll()  # before the look, because a server that it started answers by then
        endpoint = _look(urls, deadline)
        if endpoint is not None or status or deadline.left() <= 0:
            return endpoint
        time.sleep(min(_PAUSE_S, max(0.0, deadline.left())))


def _urls(config: Config, port: int | None, settings: Any) -> dict[str, str | None]:
    """Return the base URLs where the server may be, each with the authorization to send there."""
    found = candidates(settings)
    if port is not None:
        url = f"http://localhost:{port}"
        return {url: found.get(url)}
    if not is_here(config.base_url.text):
        return {config.base_url.text: config.authorization}
    return {url: authorization for url, authorization in found.items() if is_here(url)}


def _look(urls: dict[str, str | None], deadline: Deadline) -> Endpoint | None:
    """Return the LM Studio that answers at one of ``urls``, or None."""
    look = Deadline(min(_LOOK_S, deadline.left()), time.monotonic())
    return next((each for each in probe(urls, look) if each.provider_id == "lm-studio"), None)


def _failure(message: str, hint: str) -> ServerUnavailableError:
    return ServerUnavailableError(message, hint=hint, provider=LMStudioServer.id)


def _shown(output: IO[bytes], config: Config) -> str:
    """Return the end of ``output``, quoted, and without colours and secrets."""
    output.seek(max(0, output.seek(0, os.SEEK_END) - _MOST_READ))
    text = _ESCAPES.sub("", output.read(_MOST_READ).decode("utf-8", "replace")).strip()
    secrets = [config.base_url.password or "", *credentials(config.authorization)]
    text = _TOKEN.sub(HIDDEN, redact(text, secrets))
    return repr(text if len(text) <= _MOST_SHOWN else "…" + text[-_MOST_SHOWN:]) if text else ""
