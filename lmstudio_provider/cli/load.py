"""``load``: put a model in memory."""

from __future__ import annotations

import argparse

from .. import LMStudioProvider
from .console import Console, UsageError
from .providers import make_provider, model_name, positive

EXAMPLE = "lmstudio-provider load qwen/qwen3-4b --context-length 8192"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("model", type=model_name, help="the id of the model, as 'models' lists it")
    parser.add_argument("--context-length", type=positive, metavar="N", help="the tokens that its context holds")
    parser.add_argument(
        "--keep-alive", type=_time, metavar="TIME", help="Ollama: how long it stays without use, such as 10m"
    )


def _time(text: str) -> int | str:
    return int(text) if text.lstrip("-").isdecimal() else text


def run(args: argparse.Namespace, console: Console) -> int:
    """Load a model, unless it is there with such a context."""
    with make_provider(args, refresh=False) as provider:
        if not isinstance(provider, LMStudioProvider):
            provider.load(args.model, num_ctx=args.context_length, keep_alive=args.keep_alive)
            instance, took = args.model, None
        elif args.keep_alive is not None:
            raise UsageError("--keep-alive is for Ollama")
        else:
            loaded = provider.native.ensure_loaded(args.model, context_length=args.context_length)
            instance, took = loaded.instance_id, loaded.load_time_seconds
    if args.json:
        console.json({"model": args.model, "instance": instance, "load_time_seconds": took})
    else:
        console.line(f"{instance} is in memory" + ("" if took is None else f"; loading it took {took:.1f} s"))
    return 0
