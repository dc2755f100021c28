"""The provider of a command, as its options and the settings name it."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
from typing import TYPE_CHECKING, Any

from .. import ConfigurationError, ProviderError, UsageRecorder
from .console import UsageError

if TYPE_CHECKING:
    from .. import SqliteUsage

KINDS = {"lm-studio": "LMStudioProvider", "ollama": "OllamaProvider"}
_MOST_SECONDS = 1e6


def seconds(text: str) -> float:
    """Return a number of seconds for ``--timeout``; raise ArgumentTypeError."""
    with contextlib.suppress(ValueError):
        if 0 < float(text) <= _MOST_SECONDS:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds; use more than 0, at most 1,000,000")


def positive(text: str) -> int:
    """Return a whole number of at least 1 for an option; raise ArgumentTypeError."""
    if not text.isdecimal() or len(text) > 15 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def model_name(text: str) -> str:
    """Return the name of a model for an argument; raise ArgumentTypeError."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is blank; give the name of a model, as 'models' lists it")
    return text


def kind_of(name: str) -> Any:
    """Return the class of the provider ``name``; raise UsageError if this copy does not have it."""
    try:
        return getattr(importlib.import_module("..", __package__), KINDS[name])
    except AttributeError as error:
        raise UsageError(str(error)) from error


def is_here(name: str) -> bool:
    """Return True if this copy of the package has the provider ``name``."""
    return hasattr(importlib.import_module("..", __package__), KINDS[name])


def make_provider(
    args: argparse.Namespace, usage: UsageRecorder | None = None, *, only: str | None = None, refresh: bool = True
) -> Any:
    """Return the provider that ``--provider`` and ``--base-url`` name, for a ``with`` block.

    ``only`` is the one kind of server that the command is for. Without ``refresh``, it asks for no list of models.
    """
    args.provider = args.provider or only  # an error then advises no other kind
    name = args.provider or "lm-studio"
    if only not in (None, name):
        raise UsageError(f"'{args.command}' is for {only}, not for {name}")
    kind = kind_of(name)
    given = {} if args.timeout is None else {"timeout": args.timeout}
    return kind(args.base_url, usage=usage or usage_database(), refresh=refresh, **given)


def server_options(args: argparse.Namespace) -> str:
    """Return the options that name the server as they are written; without an address that may hold a password."""
    provider = f" --provider {args.provider}" if args.provider else ""
    return provider + (f" --base-url {args.base_url}" if args.base_url and "@" not in args.base_url else "")


def usage_database(path: str | None = None) -> SqliteUsage | None:
    """Return the records in the file at ``path``, else at $LM_STUDIO_USAGE_DB, if that is set; raise UsageError."""
    path, source = (path, "--db") if path else (os.environ.get("LM_STUDIO_USAGE_DB"), "LM_STUDIO_USAGE_DB")
    if not path:
        return None
    try:
        from .. import SqliteUsage  # noqa: PLC0415 (a copy may have left it out)

        return SqliteUsage(path)
    except (ImportError, ConfigurationError) as error:
        raise UsageError(f"{source}: {error}") from error


def who_answers(args: argparse.Namespace) -> str:
    """Return a sentence about other servers that answer, if the user named none; it may be empty."""
    if args.provider or args.base_url:
        return ""
    with contextlib.suppress(ImportError, ProviderError):
        from .. import discover  # noqa: PLC0415 (a copy may have left it out)

        for each in discover(0.5):
            return f"another server answers: give --provider {each.provider_id} --base-url {each.base_url}"
    return ""
