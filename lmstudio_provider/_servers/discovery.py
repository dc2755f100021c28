"""Finding the servers that answer: configured ones, those of this machine, and those that the caller names."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import time
from concurrent.futures import wait
from dataclasses import dataclass
from typing import Any, Iterable, Mapping, NamedTuple
from urllib.parse import urlsplit

from .._core.checks import check
from .._core.errors import ConfigurationError, ProtocolError, ProviderError
from .._core.frozen import Frozen
from .._core.types import SECONDS, Call, Limits, Timeouts
from .._dialects import lmstudio
from .._dialects.json_text import parse
from .._http.exchange import CancelledCall, Deadline, Exchange
from .._http.transport import Transport
from .._lmstudio import LMStudioProvider
from .._provider.lmstudio_home import read_version, server_url
from .._provider.local_server import LocalServer
from .._provider.settings import Settings
from .._provider.urls import parse_base_url
from .asking import run_in_daemon_thread

# The provider of each kind of server.
PROVIDERS: dict[str, type[LocalServer]] = {"lm-studio": LMStudioProvider}
with contextlib.suppress(ImportError):  # a vendored copy may have left it out
    from .._ollama import OllamaProvider

    PROVIDERS["ollama"] = OllamaProvider

# The names of the settings of each kind of server; each kind is looked for at the default ports of all.
NAMES = {provider_id: kind._names for provider_id, kind in PROVIDERS.items()}

# The longest reply is a list of models.
_LIMITS = Limits(max_reply_bytes=1024 * 1024)
_NO_LIMIT = Timeouts(None, None, None)  # except the deadline
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "lmstudio-provider"}


@dataclass(frozen=True, repr=False, eq=False)
class Endpoint(Frozen):
    """A server that answered."""

    provider_id: str
    """The kind of server: "lm-studio" or "ollama"."""
    base_url: str
    """The URL, for a provider: without userinfo, API path and a slash at its end."""
    version: str | None
    """The version that the server reports; LM Studio reports it only to its own machine."""
    latency_s: float
    """Seconds to connect and to get the answer that identified the server."""
    needs_token: bool
    """True if it requires an API token, and got none or a wrong one."""


def discover(timeout: float = 0.5, *, hosts: Iterable[str] = (), settings: Any = None) -> list[Endpoint]:
    """Return the servers that answer within ``timeout`` seconds.

    It asks the configured base URLs (of ``settings``, the environment and the INI file), the port in LM Studio's own
    settings file, localhost at the default ports of LM Studio and Ollama, and ``hosts``: hosts, hosts with a port, or
    URLs. It asks a host without a port at both default ports. It also asks the LM Studio of this machine for its
    version. The result has the same order; a server of this machine with several names is in it once. The answers of a
    server identify it, not its port. An API token is sent only to the configured URL that it belongs to. Raises
    ConfigurationError.
    """
    started = time.monotonic()
    check_timeout(timeout)
    return probe(candidates(settings, hosts), Deadline(timeout, started))


def check_timeout(timeout: object) -> None:
    """Raise ConfigurationError for anything but a number of seconds."""
    check("timeout", timeout, SECONDS._replace(hint=""), ConfigurationError)


def candidates(settings: Any, hosts: Iterable[str] = ()) -> dict[str, str | None]:
    """Return the base URLs to ask, in order, each with the authorization to send there."""
    configured: list[tuple[str, str | None]] = []
    defaults: list[tuple[str, str | None]] = []
    for names in NAMES.values():
        lookup = Settings(names, {}, settings)
        config = lookup.config()
        (configured if lookup.find("base_url") else defaults).append((config.base_url.text, config.authorization))
        defaults.append((names.default_url, None))
    own = server_url()
    found: dict[str, str | None] = {}
    for url, authorization in [*configured, *([(own, None)] if own else []), *defaults, *_named(hosts)]:
        found[url] = found.get(url) or authorization
    return found


def _named(hosts: object) -> list[tuple[str, str | None]]:
    given: list[Any] = [hosts] if isinstance(hosts, str) or not isinstance(hosts, Iterable) else list(hosts)
    found = []
    for host in given:
        if not isinstance(host, str):
            raise ConfigurationError(f"hosts: {type(host).__name__} is not text", hint="Give names, addresses or URLs")
        for names in NAMES.values():
            url = parse_base_url(host, "the argument hosts", names.default_port)
            found.append((url.text, url.authorization))
    return found


def probe(urls: Mapping[str, str | None], deadline: Deadline) -> list[Endpoint]:
    """Ask all ``urls`` at once; return the servers that answer, each of this machine once."""
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
    value: dict[str, Any]  # the JSON object of the reply; empty without one
    latency_s: float


class _Probe:
    """Asks one address; ``endpoint`` is the server there, when it is identified."""

    def __init__(self, url: str, authorization: str | None, deadline: Deadline) -> None:
        self.transport = Transport(url, None, _LIMITS, max_retries=0)
        self.endpoint: Endpoint | None = None
        self._headers = _HEADERS if authorization is None else {**_HEADERS, "Authorization": authorization}
        self._deadline = deadline
        self._address = ""

    def run(self) -> None:
        """Ask until the server is identified, no server answers, or the deadline passes."""
        with contextlib.closing(self.transport), contextlib.suppress(CancelledCall):
            try:
                self._identify()
                found = self.endpoint
                if found is not None and found.provider_id == "lm-studio":
                    self.endpoint = dataclasses.replace(found, version=read_version(found.base_url, self._deadline))
            except ProviderError as error:  # most only mean that no server of these kinds is there
                if isinstance(error, ConfigurationError):
                    raise

    def _identify(self) -> None:
        greeting = self._ask(lmstudio.greeting_call().path)
        if greeting.status == 200 and lmstudio.is_greeting(greeting.value):
            self._found(greeting)
            self._found(greeting, needs_token=self._ask("/v1/models").status == 401)
            return
        answer = self._ask("/api/version")
        version = answer.value.get("version")
        if answer.status == 200 and isinstance(version, str):
            self.endpoint = Endpoint("ollama", self.transport.base_url, version, answer.latency_s, False)
        elif lmstudio.wants_token(greeting.status, greeting.value):
            self._found(greeting, needs_token=True)
        else:
            models = self._ask("/v1/models")  # an old version does not know the greeting
            needs_token = lmstudio.wants_token(models.status, models.value)
            if needs_token or (models.status == 200 and lmstudio.is_own_list(models.value)):
                self._found(models, needs_token)

    def _found(self, answer: _Answer, needs_token: bool = False) -> None:
        self.endpoint = Endpoint("lm-studio", self.transport.base_url, None, answer.latency_s, needs_token)

    def _ask(self, path: str) -> _Answer:
        """Return the answer to GET ``path``; raise ProviderError if no other path can be asked for."""
        started = time.monotonic()
        try:
            reply = self.transport.send(Call("GET", path), self._headers, Exchange(_NO_LIMIT, self._deadline))
            self._address = reply.exchange.address or self._address
            body = reply.read_all()
        except ProviderError as error:
            if error.sent and self._deadline.left() > 0:
                return _Answer(0, {}, 0.0)  # it may know the next path
            raise
        value = None
        with contextlib.suppress(ProtocolError):
            value = parse(body, path)
        return _Answer(reply.status, value if isinstance(value, dict) else {}, time.monotonic() - started)

    def place(self) -> tuple[str, int | None, str]:
        """Return host, port and path of the server, the same for all of its names."""
        parts = urlsplit(self.transport.base_url)
        host = parts.hostname or ""
        # Only for loopback: two names of another machine may be two servers behind one proxy.
        if self._address and ipaddress.ip_address(self._address.partition("%")[0]).is_loopback:
            host = "localhost"
        return host, parts.port or {"http": 80, "https": 443}[parts.scheme], parts.path
