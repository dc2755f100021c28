"""``count``: the tokens of a prompt."""

from __future__ import annotations

import argparse

from .. import CompletionRequest
from .console import Console
from .generation import add_prompt, checking, options_of, question_of
from .providers import make_provider

EXAMPLE = 'lmstudio-provider count "Why is the sky blue?"'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("text", nargs="?", help="the text; standard input comes after it, if that is not a terminal")
    add_prompt(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Print how many tokens the prompt has, as the server counts them."""
    options, text = options_of(args), question_of(args.text)
    with checking():
        request = CompletionRequest(text, system_prompt=args.system, images=args.image, **options)
    with make_provider(args) as provider:
        tokens = provider.count_tokens(request)
        if args.json:
            model = args.model or provider.resolve_model(args.tier)
            console.json({"tokens": tokens, "model": model, "context_length": provider.context_length(model)})
        else:
            console.line(str(tokens))
    return 0
