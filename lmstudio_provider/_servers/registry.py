"""A collection of providers."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator
from urllib.parse import urlsplit

from .._core.errors import ConfigurationError, ServerUnavailableError
from .._lmstudio import LMStudioProvider
from .._provider.base import Provider
from .._provider.lmstudio_home import server_url
from .._provider.local_server import LocalServer
from .._provider.settings import Settings
from .asking import check_health, none_available
from .discovery import PROVIDERS, discover


class Registry:
    """Providers by their ``id``, in the order of their registration; shared by threads.

    It is a context manager that closes all of them, and any class derived from Provider can be registered.
    """

    def __init__(self) -> None:
        self._providers: dict[str, Provider] = {}

    @classmethod
    def local(cls, settings: Any = None, timeout: float = 0.5, **arguments: Any) -> Registry:
        """Return a registry of the servers that ``discover(timeout, settings=settings)`` finds; it may be empty.

        The constructor of each provider gets the ``arguments``. The first server of a kind has the usual ``id``, such
        as "lm-studio"; the ``id`` of each further one also has its address: "lm-studio@localhost:8080". An API token
        that is set for a base URL is sent to no other server. Raises ConfigurationError.
        """
        registry = cls()
        try:
            for endpoint in discover(timeout, settings=settings):
                kind = PROVIDERS.get(endpoint.provider_id)
                if kind is not None:
                    own = {} if kind.id not in registry else {"id": f"{kind.id}@{_address(endpoint.base_url)}"}
                    where = _where(kind, endpoint.base_url, settings)
                    registry.register(kind(settings=settings, **{**own, **where, **arguments}))
        except BaseException:
            registry.close()
            raise
        return registry

    def register(self, provider: Provider, *, replace: bool = False) -> None:
        """Add ``provider``. With ``replace`` it takes the place of the one with its ``id``, which is not closed.

        Raises ConfigurationError if another provider has that ``id``, or ``provider`` is not a Provider.
        """
        if not isinstance(provider, Provider):
            raise ConfigurationError(
                f"{type(provider).__name__} is not a Provider", hint="Derive its class from Provider"
            )
        id_ = getattr(provider, "id", None)
        if not isinstance(id_, str) or not id_.strip():
            raise ConfigurationError(f"{type(provider).__name__} has the id {id_!r}, which is not a name")
        if replace:
            self._providers[id_] = provider
        elif self._providers.setdefault(id_, provider) is not provider:
            raise ConfigurationError(
                f"another provider has the id {id_!r}", hint="Give id= to its constructor, or replace=True here"
            )

    def get(self, id: str) -> Provider:
        """Return the provider with that ``id``; raise ConfigurationError, which lists the registered ones."""
        try:
            return self._providers[id]
        except (KeyError, TypeError):
            known = ", ".join(map(repr, list(self._providers))) or "none"
        raise ConfigurationError(f"there is no provider with the id {id!r}", hint=f"Registered: {known}")

    def available(self, timeout: float | None = 3.0) -> list[Provider]:
        """Return the providers whose ``health_check(timeout)`` is ok, asked all at once; ``timeout`` is in seconds."""
        return [provider for provider, health in check_health(self, timeout) if health.ok]

    def first_available(self, timeout: float | None = 3.0) -> Provider:
        """Return the first available provider, without waiting for those after it.

        Raises ServerUnavailableError, which says for each why it is not available and how to start it.
        """
        failures = []
        for provider, health in check_health(self, timeout):
            if health.ok:
                return provider
            failures.append((provider, health.error))
        if not failures:
            kinds = " nor ".join(kind._server.name for kind in PROVIDERS.values())
            hint = ". ".join(kind._server.start_hint for kind in PROVIDERS.values())
            raise ServerUnavailableError(
                f"the registry is empty: neither {kinds} was found, and no provider was registered",
                hint=hint,
                refused=True,
            )
        raise none_available(failures)

    def close(self) -> None:
        """Close all providers; an exception of one is raised when all are closed."""
        with contextlib.ExitStack() as stack:
            for provider in self:
                stack.callback(provider.close)

    def __contains__(self, id: object) -> bool:
        return id in list(self._providers)

    def __iter__(self) -> Iterator[Provider]:
        return iter(list(self._providers.values()))

    def __len__(self) -> int:
        return len(self._providers)

    def __repr__(self) -> str:
        return f"<Registry {', '.join(list(self._providers)) or '(empty)'}>"

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _where(kind: type[LocalServer], base_url: str, settings: Any) -> dict[str, Any]:
    """Return the arguments for a provider of ``base_url``, which keep the token to the URL that it was set for."""
    lookup = Settings(kind._names, {}, settings)
    is_set = lookup.find("base_url") is not None
    own = {lookup.config().base_url.text}
    if not is_set and kind is LMStudioProvider:
        own.add(server_url() or "")
    if base_url not in own:
        return {"base_url": base_url, "api_token": False}
    return {} if is_set else {"base_url": base_url}  # the setting itself may hold userinfo, and may change


def _address(base_url: str) -> str:
    """Return host, port and path, which differ between two servers."""
    parts = urlsplit(base_url)
    default = {"http": ":80", "https": ":443"}[parts.scheme]
    return parts.netloc + ("" if parts.port else default) + parts.path
