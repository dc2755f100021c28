"""``unload``: take models out of memory."""

from __future__ import annotations

import argparse
from typing import Any

from .. import LMStudioProvider
from .console import Console, UsageError
from .providers import make_provider, model_name

EXAMPLE = "lmstudio-provider unload qwen/qwen3-4b"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "model", type=model_name, nargs="?", help="the id of a model, for all of its instances, or of one instance"
    )
    parser.add_argument("--all", action="store_true", help="unload all models")


def run(args: argparse.Namespace, console: Console) -> int:
    """Unload the instances of a model, or all."""
    if (args.model is None) != args.all:
        raise UsageError("give either a model or --all")
    with make_provider(args, refresh=False) as provider:
        is_lm_studio = isinstance(provider, LMStudioProvider)
        unload = provider.native.unload if is_lm_studio else provider.unload
        instances = _instances(provider, args.model) if is_lm_studio or args.all else [args.model]
        for instance in instances:
            unload(instance)
            if not args.json:
                console.line(f"{instance} is not in memory any more")
    if args.json:
        console.json({"unloaded": instances})
    elif not instances:
        console.note("no model is in memory")
    return 0


def _instances(provider: Any, model: str | None) -> list[str]:
    """Return the instances of ``model``, which may be the name of one; or all."""
    listed = provider.list_models()
    if model is None:
        return [instance.id for each in listed for instance in each.instances]
    return [instance.id for each in listed if each.id == model for instance in each.instances] or [model]
