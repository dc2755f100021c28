"""``status``: the servers that are running, and what to do if something is wrong."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any, Mapping

from .. import Health, Provider, ProviderError, Registry
from .._servers.asking import check_health
from .._servers.discovery import PROVIDERS
from .console import Console
from .providers import make_provider
from .words import in_options

EXAMPLE = "lmstudio-provider status"
_SECONDS = 3.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""


def run(args: argparse.Namespace, console: Console) -> int:
    """Check the servers; return 0 if any of them answers as it should."""
    with _registry(args) as registry:
        checked = [_seen(*each, console.server) for each in check_health(registry, args.timeout or _SECONDS)]
    if args.json:
        console.json(checked)
    else:
        for each in checked:
            _show(each, console)
    return 0 if any(each["ok"] for each in checked) else 1


def _registry(args: argparse.Namespace) -> Registry:
    """Return the server that the options name; else all that answer, and all that should: those with a set URL."""
    if args.provider or args.base_url:
        registry = Registry()
        registry.register(make_provider(args, refresh=False))
        return registry
    registry = Registry.local(refresh=False)
    some = len(registry) > 0
    for kind in PROVIDERS.values():
        if kind.id not in registry:
            provider = kind(refresh=False)
            if provider._settings.find("base_url") or not some:
                registry.register(provider)
    return registry


def _seen(provider: Any, health: Health, server: str) -> Mapping[str, Any]:
    version = health.version
    if health.ok and hasattr(provider, "version"):
        try:
            version = provider.version()
        except ProviderError as error:
            health = dataclasses.replace(health, ok=False, error=error, advice=(str(error),))
    seen = {"provider": provider.id, "name": provider.display_name, "base_url": _address(provider)}
    return {**seen, **vars(health), "advice": [in_options(each, server) for each in health.advice], "version": version}


def _address(provider: Provider) -> str | None:
    try:
        return provider.base_url
    except ProviderError:  # a setting is not valid, as the error of the health says
        return None


def _show(seen: Mapping[str, Any], console: Console) -> None:
    name = "Another server" if seen["is_lm_studio"] is False else seen["name"]
    name = " ".join(filter(None, (name, seen["version"])))
    if seen["ok"]:
        count = len(seen["models"])
        how = f"answers in {seen['latency_s'] * 1000:.0f} ms; {count} model{'' if count == 1 else 's'}"
    elif seen["needs_token"]:
        how = "wants another API token" if seen["token_refused"] else "wants an API token"
    else:
        refused = getattr(seen["error"], "refused", False)
        how = "is not running" if refused else "does not work" if seen["reachable"] else "does not answer"
    console.line(f"{name} at {seen['base_url']} {how}")
    if seen["loaded"]:
        console.line(f"  in memory: {', '.join(seen['loaded'])}")
    for advice in seen["advice"]:
        console.line(f"  {advice}")
