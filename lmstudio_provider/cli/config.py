"""``config``: each setting, its value and its source."""

from __future__ import annotations

import argparse
import contextlib
import os
from typing import Iterator

from .. import ConfigurationError
from .._core.types import UNSET
from .._provider.settings import Setting, Settings
from .console import Console
from .providers import KINDS, is_here, kind_of
from .words import in_options

EXAMPLE = "lmstudio-provider config"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the settings of a kind of server, by default of all; return 2 if one of them cannot work."""
    rows, problems = [], []
    for kind in [args.provider] if args.provider else filter(is_here, KINDS):
        timeout = UNSET if args.timeout is None else args.timeout
        names, arguments = kind_of(kind)._names, {"base_url": args.base_url, "timeout": timeout}
        settings, url = Settings(names, arguments, None), None
        try:
            url = settings.config().base_url.text
        except ConfigurationError as error:
            problems.append(error)
        with contextlib.suppress(ConfigurationError):  # the file itself is the problem, which is known then
            rows += [(f"{names.prefix}_{name}", *shown) for name, *shown in _rows(settings, url)]
    file = settings._sources().path
    there = "the file of settings" if file and file.exists() else "the file of settings, which is not there"
    rows += [("LM_STUDIO_CONFIG", file, there)]
    rows += [("LM_STUDIO_USAGE_DB", os.environ.get("LM_STUDIO_USAGE_DB"), "where usage is recorded")]
    if args.json:
        console.json([dict(zip(("setting", "value", "source"), row)) for row in rows])
    else:
        console.table(rows, ("SETTING", "VALUE", "SOURCE"))
    for problem in {str(each): each for each in problems}.values():  # a broken file is a problem of all kinds
        console.error(problem)
    return 2 if problems else 0


def _rows(settings: Settings, url: str | None) -> Iterator[tuple[str, object, str]]:
    """Yield the name, the value and the source of each setting; without a value, the variables that would set it."""
    for name in [*settings._names.variables, *_tiers(settings)]:
        found = settings.find(name)
        value, source = found or Setting(None, f"not set; {' or '.join(settings._variables(name))} would set it")
        if name == "base_url":  # without a password, and nothing if it is not valid
            yield name, url, in_options(source) if found else "the default"
        else:
            yield name, "set" if value is not None and name == "api_token" else value, in_options(source)


def _tiers(settings: Settings) -> list[str]:
    """Return the settings of tiers that the environment or the file has."""
    sources, prefix = settings._sources(), settings._variables("model_")[0]
    names = {f"model_{name[len(prefix) :].lower()}" for name in os.environ if name.startswith(prefix)}
    in_file = settings._read_ini(sources) if sources.file is not None else []
    return sorted({*names, *(name for name in in_file if name.startswith("model_"))})
