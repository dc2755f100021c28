"""``models``: the models of a server."""

from __future__ import annotations

import argparse

from .console import Console
from .providers import make_provider

EXAMPLE = "lmstudio-provider models --json"
_HEADINGS = ("MODEL", "TYPE", "LOADED", "CONTEXT", "AT MOST", "QUANTIZATION", "GB", "IMAGES", "TOOLS")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the models as a table."""
    with make_provider(args, refresh=False) as provider:
        models = provider.list_models()
    if args.json:
        console.json(models)
        return 0
    rows = [
        (
            each.id,
            each.type,
            each.loaded,
            each.context_length,
            each.max_context_length,
            each.quantization,
            None if each.size_bytes is None else round(each.size_bytes / 1e9, 2),
            each.vision,
            each.tool_use,
        )
        for each in models
    ]
    if rows:
        console.table(rows, _HEADINGS)
    else:
        console.note("the server has no models")
    return 0
