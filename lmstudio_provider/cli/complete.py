"""``complete``: answer one text, or continue it."""

from __future__ import annotations

import argparse

from .. import CompletionRequest, TextRequest
from .console import Console, UsageError
from .generation import add_options, checking, options_of, question_of, show
from .providers import make_provider

EXAMPLE = 'lmstudio-provider complete "Why is the sky blue?" --max-tokens 200'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("text", nargs="?", help="the text; standard input comes after it, if that is not a terminal")
    parser.add_argument("--raw", action="store_true", help="continue the text, without a chat template")
    add_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Write the answer to one text as it comes."""
    options, text = options_of(args), question_of(args.text)
    if args.raw and (args.system or args.image or args.schema):
        raise UsageError("a text that is continued has no --system, --image and --schema")
    with checking():
        if args.raw:
            request: CompletionRequest | TextRequest = TextRequest(text, **options)
        else:
            request = CompletionRequest(text, system_prompt=args.system, images=args.image, **options)
    with make_provider(args) as provider:
        show(provider.stream(request), args, console)
    return 0
