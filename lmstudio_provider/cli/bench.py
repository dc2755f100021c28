"""``bench``: how fast a server answers."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

from .. import RequestTiming, measure
from .console import Console
from .generation import checking
from .providers import make_provider, positive
from .words import in_options

EXAMPLE = "lmstudio-provider bench --concurrency 1 4 --repeat 3"
_PROMPT = "Explain in a few sentences why the sky is blue."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("-p", "--prompt", metavar="TEXT", action="append", help="a prompt, once for each length")
    parser.add_argument("--model", metavar="ID", action="append", help="a model, once for each to compare")
    parser.add_argument("--concurrency", type=positive, metavar="N", nargs="+", default=[1], help="requests at once")
    parser.add_argument("--repeat", type=positive, metavar="N", default=3, help="how often each is sent, by default 3")
    parser.add_argument("--warm-up", type=int, metavar="N", default=1, help="requests before them, by default 1")
    parser.add_argument("--max-tokens", type=positive, metavar="N", default=128, help="the most of an answer, 128")
    parser.add_argument(
        "--plot", type=_picture, metavar="FILE", help="draw a picture: .png, .svg or .pdf (needs matplotlib)"
    )


def _picture(path: str) -> str:
    """Return the path of a picture that can be drawn; raise ArgumentTypeError."""
    if Path(path).suffix.lower() not in (".png", ".svg", ".pdf"):
        raise argparse.ArgumentTypeError(f"{path!r} does not end in .png, .svg or .pdf")
    if importlib.util.find_spec("matplotlib") is None:
        raise argparse.ArgumentTypeError("it needs matplotlib: pip install 'lmstudio-provider[plot]'")
    return path


def run(args: argparse.Namespace, console: Console) -> int:
    """Measure and print a table; return 1 if any request failed, 130 if Ctrl-C ended it."""
    with make_provider(args) as provider, console.bar(None, "request") as bar:

        def show(timing: RequestTiming) -> None:
            bar.update(timing.number, timing.planned)

        with checking():
            result = measure(
                provider,
                args.prompt or [_PROMPT],
                models=args.model,
                concurrency=args.concurrency,
                repeat=args.repeat,
                warm_up=args.warm_up,
                max_tokens=args.max_tokens,
                on_progress=show,
            )
    if args.json:
        console.line(result.to_json())
    else:
        console.line(in_options(result.table(), console.server))
    if args.plot:
        result.plot(args.plot)
    if result.interrupted:
        return 130
    return 1 if any(each.error is not None for each in result.requests) else 0
