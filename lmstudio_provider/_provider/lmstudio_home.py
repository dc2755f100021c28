"""The LM Studio that is installed on this machine, by its own files: its folder, port, program and version.

The places are those of the source of LM Studio's command line tool (lms, August 2026).
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shutil
from pathlib import Path
from typing import Any, Iterator
from urllib.parse import urlsplit

from .._core.errors import ProviderError
from .._core.json import loads
from .._core.types import Limits, Timeouts
from .._dialects.json_text import parse
from .._dialects.lmstudio import read_status, status_call
from .._http.exchange import CancelledCall, Deadline, Exchange
from .._http.transport import Transport

# The SDK tries these in this order if no file says where LM Studio listens for it.
_SDK_PORTS = (41343, 52993, 16141, 39414, 22931)
_MOST_OF_FILE = 64 * 1024
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "lmstudio-provider"}


def home() -> Path:
    """Return the folder of LM Studio, which need not exist."""
    user = os.path.expanduser("~")  # noqa: PTH111 (Path.expanduser raises if there is no home)
    named = (_read(Path(user, ".lmstudio-home-pointer")) or "").strip()
    if named and "\0" not in named:
        return Path(named)
    old = Path(user, ".cache", "lm-studio")
    return old if old.is_dir() else Path(user, ".lmstudio")


def server_url() -> str | None:
    """Return the URL of the server by LM Studio's settings, which it keeps when it stops; None if they name no port."""
    # Which interface it listens on besides does not matter: only loopback is asked.
    port = _port(_object(home() / ".internal" / "http-server-config.json"))
    return None if port is None else f"http://localhost:{port}"


def find_lms() -> str | None:
    """Return the path of LM Studio's command line tool, or None without one."""
    return shutil.which("lms") or shutil.which("lms", path=str(home() / "bin"))


def is_here(url: str) -> bool:
    """Return True if ``url`` names this machine."""
    host = urlsplit(url).hostname or ""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    return host == "localhost"


def read_version(base_url: str, deadline: Deadline) -> str | None:
    """Return the version of the LM Studio at ``base_url``; None if it is on another machine, or nobody says.

    Its server for the SDK has the version. It belongs to ``base_url`` unless LM Studio's settings name another port.
    """
    own = server_url()
    if is_here(base_url) and urlsplit(own or base_url).port == urlsplit(base_url).port:
        for url in _sdk_urls():
            transport = Transport(url, None, Limits(max_reply_bytes=_MOST_OF_FILE), max_retries=0)
            # An error only means that nobody says: no other call fails for that.
            with contextlib.closing(transport), contextlib.suppress(ProviderError, CancelledCall):
                reply = transport.send(status_call(), _HEADERS, Exchange(Timeouts(None, None, None), deadline))
                version = read_status(parse(reply.read_all(), "the reply"))
                if reply.status == 200 and version is not None:
                    return version
    return None


def _sdk_urls() -> Iterator[str]:
    file = os.environ.get("LMS_API_SERVER_INFO_PATH") or home() / ".internal" / "http-server.json"
    port = _port(_object(Path(file)))
    if port is not None:
        yield f"http://127.0.0.1:{port}"
    elif home().is_dir():  # of a version that writes no such file
        yield from (f"http://127.0.0.1:{each}" for each in _SDK_PORTS)


def _object(path: Path) -> dict[str, Any]:
    """Return the JSON object in the file at ``path``; an empty one if there is none."""
    try:
        value = loads(_read(path) or "")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _port(value: dict[str, Any]) -> int | None:
    port = value.get("port")
    return port if type(port) is int and 0 < port < 65536 else None


def _read(path: Path) -> str | None:
    with contextlib.suppress(OSError, ValueError):
        if path.is_file():  # opening a pipe would wait for a writer
            with path.open("rb") as file:
                return file.read(_MOST_OF_FILE).decode("utf-8-sig")
    return None
