"""Which servers answer: the configured ones, those of this machine, and those that are named."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import time
from concurrent.futures import wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Mapping, NamedTuple
from urllib.parse import urlsplit

from .._core.errors import ConfigurationError, ProtocolError, ProviderError
from .._core.json import loads
from .._core.threads import run_in_daemon_thread
from .._core.types import Call, Limits, Timeouts, check_seconds
from .._dialects import lmstudio
from .._dialects.json_text import parse
from .._http.exchange import CancelledCall, Deadline, Exchange
from .._http.transport import Transport
from .._lmstudio import LMStudioProvider
from .._provider.local_server import LocalServer
from .._provider.settings import Settings
from .._provider.urls import parse_base_url

#: The provider of each kind of server.
PROVIDERS: dict[str, type[LocalServer]] = {"lm-studio": LMStudioProvider}
with contextlib.suppress(ImportError):  # a vendored copy may have left it out
    from .._ollama import OllamaProvider

    PROVIDERS["ollama"] = OllamaProvider

#: What the settings of each kind of server are called; each is looked for at the default port of each.
NAMES = {provider_id: kind._names for provider_id, kind in PROVIDERS.items()}

# A list of models is the longest that is asked for.
_LIMITS = Limits(max_reply_bytes=1024 * 1024)
_NO_LIMIT = Timeouts(None, None, None)  # but the deadline
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "lmstudio-provider"}
# LM Studio's own settings, as its command line tool reads them.
_LM_STUDIO_FILE = ".lmstudio/.internal/http-server-config.json"
_MOST_OF_FILE = 64 * 1024


@dataclass(frozen=True)
class Endpoint:
    """A server that answered."""

    #: What it is: "lm-studio" or "ollama".
    provider_id: str
    #: Where it is, as a provider takes it: without userinfo, API path and a slash at its end.
    base_url: str
    #: What the server says of itself; None for LM Studio, which does not tell.
    version: str | None
    #: How long it took to connect and to get the answer that told what the server is, in seconds.
    latency_s: float
    #: Whether it wants an API token, and got none, or a wrong one.
    needs_token: bool


def discover(timeout: float = 0.5, *, hosts: Iterable[str] = (), settings: Any = None) -> list[Endpoint]:
    """Find servers, in at most ``timeout`` seconds: those that have answered by then.

    Asked are the configured base URLs (of ``settings``, the environment and the INI file), the port in LM Studio's own
    settings file, localhost at the default ports of LM Studio and Ollama, and ``hosts``: hosts, hosts with a port, or
    URLs. A host without a port is asked at both default ports. That is also the order of the result, in which a server
    of this machine that goes by several names stands once. What a server is, its answers tell, and not its port. An API
    token is sent to the configured URL that it belongs to, and nowhere else. Raises ConfigurationError.
    """
    started = time.monotonic()
    check_timeout(timeout)
    return probe(candidates(settings, hosts), Deadline(timeout, started))


def check_timeout(timeout: object) -> None:
    """Raise ConfigurationError for anything but a number of seconds."""
    check_seconds("timeout", timeout)
    if timeout is None:
        raise ConfigurationError("timeout=None would wait for silent servers for ever", hint="Give seconds")


def candidates(settings: Any, hosts: Iterable[str] = ()) -> dict[str, str | None]:
    """The base URLs to ask, in order, each with the authorization to send there."""
    found: dict[str, str | None] = {}
    configured: list[tuple[str, str | None]] = []
    defaults: list[tuple[str, str | None]] = []
    for names in NAMES.values():
        lookup = Settings(names, {}, settings)
        config = lookup.config()
        (configured if lookup.find("base_url") else defaults).append((config.base_url.text, config.authorization))
        defaults.append((names.default_url, None))
    own = lm_studio_url()
    if own is not None:
        configured.append((own, None))
    for url, authorization in [*configured, *defaults, *_named(hosts)]:
        found[url] = found.get(url) or authorization
    return found


def _named(hosts: object) -> list[tuple[str, str | None]]:
    given: list[Any] = [hosts] if isinstance(hosts, str) or not isinstance(hosts, Iterable) else list(hosts)
    found = []
    for host in given:
        if not isinstance(host, str):
            raise ConfigurationError(f"hosts: {type(host).__name__} is no text", hint="Give names, addresses or URLs")
        for names in NAMES.values():
            url = parse_base_url(host, "the argument hosts", names.default_port)
            found.append((url.text, url.authorization))
    return found


def lm_studio_url() -> str | None:
    """Where LM Studio's own settings file has its server; that there is none, or nothing of use in it, is no error."""
    path = Path(os.path.expanduser("~"), _LM_STUDIO_FILE)  # noqa: PTH111 (Path.expanduser raises where there is no home)
    try:
        if not path.is_file():  # opening a pipe would wait for a writer
            return None
        with path.open("rb") as file:
            value = loads(file.read(_MOST_OF_FILE).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return None
    # Which interface it listens on besides does not matter: only loopback is asked.
    port = value.get("port") if isinstance(value, dict) else None
    return f"http://localhost:{port}" if type(port) is int and 0 < port < 65536 else None


def probe(urls: Mapping[str, str | None], deadline: Deadline) -> list[Endpoint]:
    """Ask all ``urls`` at once what answers there; each server of this machine stands in the result once."""
    probes = [_Probe(url, authorization, deadline) for url, authorization in urls.items()]
    try:
        done, _ = wait([run_in_daemon_thread(each.run) for each in probes], timeout=max(0.0, deadline.left()))
    finally:
        for each in probes:
            each.transport.close()  # the threads that still wait wake up, and end
    for future in done:
        future.result()
    found: dict[object, Endpoint] = {}
    for each in probes:
        endpoint = each.endpoint
        if endpoint is not None:
            found.setdefault((endpoint.provider_id, *each.place()), endpoint)
    return list(found.values())


class _Answer(NamedTuple):
    status: int
    #: The JSON object that came; empty where none did.
    value: dict[str, Any]
    latency_s: float


class _Probe:
    """Asks one address what answers there; ``endpoint`` is what is known so far."""

    def __init__(self, url: str, authorization: str | None, deadline: Deadline) -> None:
        self.transport = Transport(url, None, _LIMITS, max_retries=0)
        self.endpoint: Endpoint | None = None
        self._headers = _HEADERS if authorization is None else {**_HEADERS, "Authorization": authorization}
        self._deadline = deadline
        self._address = ""

    def run(self) -> None:
        """Ask until it is known, nobody answers, or the deadline passes."""
        # A server that is not there, and one that is none of those, are what is to be found out.
        with contextlib.closing(self.transport), contextlib.suppress(ProviderError, CancelledCall):
            self._identify()

    def _identify(self) -> None:
        greeting = self._ask(lmstudio.greeting_call().path)
        if greeting.status == 200 and lmstudio.is_greeting(greeting.value):
            self._found("lm-studio", greeting)
            if self._ask("/v1/models").status == 401:
                self._found("lm-studio", greeting, needs_token=True)
            return
        version = self._ask("/api/version")
        if version.status == 200 and isinstance(version.value.get("version"), str):
            self._found("ollama", version)
            return
        if lmstudio.wants_token(greeting.status, greeting.value):
            self._found("lm-studio", greeting, needs_token=True)
            return
        models = self._ask("/v1/models")  # of a version that does not know the greeting
        needs_token = lmstudio.wants_token(models.status, models.value)
        if needs_token or (models.status == 200 and lmstudio.is_own_list(models.value)):
            self._found("lm-studio", models, needs_token)

    def _found(self, provider_id: str, answer: _Answer, needs_token: bool = False) -> None:
        version = answer.value["version"] if provider_id == "ollama" else None
        self.endpoint = Endpoint(provider_id, self.transport.base_url, version, answer.latency_s, needs_token)

    def _ask(self, path: str) -> _Answer:
        """GET ``path``; raises ProviderError where no further question can be asked."""
        started = time.monotonic()
        try:
            reply = self.transport.send(Call("GET", path), self._headers, Exchange(_NO_LIMIT, self._deadline))
            self._address = reply.exchange.address or self._address
            body = reply.read_all()
        except ProviderError as error:
            if error.sent and self._deadline.left() > 0:
                return _Answer(0, {}, 0.0)  # it may know the next question better
            raise
        value = None
        with contextlib.suppress(ProtocolError):
            value = parse(body, path)
        return _Answer(reply.status, value if isinstance(value, dict) else {}, time.monotonic() - started)

    def place(self) -> tuple[str, int | None, str]:
        """Where the server is, under whatever name it was asked."""
        parts = urlsplit(self.transport.base_url)
        host = parts.hostname or ""
        # Of loopback alone: two names of another machine may be two servers behind one proxy.
        if self._address and ipaddress.ip_address(self._address.partition("%")[0]).is_loopback:
            host = "localhost"
        return host, parts.port or {"http": 80, "https": 443}[parts.scheme], parts.path
