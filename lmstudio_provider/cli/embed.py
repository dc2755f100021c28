"""``embed``: turn texts into vectors."""

from __future__ import annotations

import argparse
import re

from .console import Console, UsageError
from .generation import read_input
from .providers import make_provider

EXAMPLE = 'lmstudio-provider embed "The sky is blue." "Grass is green."'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "texts", nargs="*", metavar="TEXT", help="a text; without one, each line of standard input that is not blank"
    )
    parser.add_argument("--model", metavar="ID", help="the embedding model, by default the first of the server")


def run(args: argparse.Namespace, console: Console) -> int:
    """Write a line of JSON for each text, in their order."""
    texts = args.texts or [line for line in re.split(r"\r\n|\r|\n", read_input()) if line.strip()]
    if not all(texts) or not texts:
        raise UsageError("there is no text; give one or more, or let standard input have a line for each")
    with make_provider(args) as provider:
        embeddings = provider.embed(texts, args.model)
    cut = embeddings.truncated
    for index, vector in enumerate(embeddings.vectors):
        about = {"index": index, "model": embeddings.model, "truncated": None if cut is None else index in cut}
        console.json({**about, "text": texts[index], "vector": vector}, indent=None)
    return 0
