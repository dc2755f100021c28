"""``pull``: download a model into Ollama."""

from __future__ import annotations

import argparse

from .. import Progress
from .console import Console
from .providers import make_provider, model_name

EXAMPLE = "lmstudio-provider pull qwen3:4b"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("model", type=model_name, help="the name of the model, with its tag")
    parser.add_argument("--insecure", action="store_true", help="let Ollama use plain HTTP")


def run(args: argparse.Namespace, console: Console) -> int:
    """Pull a model and show the progress; the same command again continues an interrupted one."""
    with make_provider(args, only="ollama", refresh=False) as provider, console.bar(None, "B") as bar:

        def show(progress: Progress) -> None:
            bar.update(progress.completed_bytes, progress.total_bytes, progress.status)

        provider.pull(args.model, show, insecure=args.insecure)
    if args.json:
        console.json({"model": args.model, "status": "success"})
    else:
        console.line(f"{args.model} is there")
    return 0
