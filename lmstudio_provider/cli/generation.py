"""The options, the input and the output of the commands that generate text."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any, Iterator

from .. import CompletionRequest, ConfigurationError, InvalidRequestError, Stream
from .console import Console, UsageError
from .providers import positive
from .words import in_options

# The options that are fields of a request.
_FIELDS = ("model", "tier", "reasoning", "max_tokens", "temperature", "seed")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose the model."""
    parser.add_argument("--model", metavar="ID", help="the model, by default one that is loaded")
    parser.add_argument("--tier", metavar="NAME", help="take the model that is set for this tier, such as fast")


def add_prompt(parser: argparse.ArgumentParser) -> None:
    """Add the options that are sent with a question."""
    add_model(parser)
    parser.add_argument("--system", metavar="TEXT", help="the system prompt")
    parser.add_argument("--image", metavar="FILE", action="append", default=[], help="an image, once for each")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of an answer."""
    add_prompt(parser)
    parser.add_argument("--reasoning", metavar="WORD", help="off, low, medium, high, on, or a word of the model")
    parser.add_argument("--schema", metavar="FILE", help="have the answer follow the JSON schema in FILE")
    parser.add_argument(
        "--max-tokens", type=positive, metavar="N", help="the most tokens of an answer, by default 4096"
    )
    parser.add_argument("--temperature", type=float, metavar="T", help="0 for the likeliest words, by default 0.7")
    parser.add_argument("--seed", type=int, metavar="N", help="repeat an answer with the same number")


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of an answer that were given; raise UsageError for one that cannot work."""
    options = {name: value for name in _FIELDS if (value := getattr(args, name, None)) is not None}
    if getattr(args, "schema", None):
        options["response_format"] = schema = read_json(args.schema)
        if not isinstance(schema, dict):
            what = 'an object such as {"type": "object", "properties": {"name": {"type": "string"}}}'
            raise UsageError(f"{args.schema} is not a JSON schema; write {what}")
    with checking():
        # What was read is sent: a pipe can be read only once.
        args.image = CompletionRequest("-", images=args.image, **options).images
    return options


@contextlib.contextmanager
def checking() -> Iterator[None]:
    """Make UsageErrors of the errors of requests that are made in the block, before anything is sent."""
    try:
        yield
    except (InvalidRequestError, ConfigurationError) as error:
        raise UsageError(in_options(str(error))) from error


def read_json(path: str) -> Any:
    """Return the JSON value in a file; raise UsageError."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        why = getattr(error, "strerror", None) or f"it is not valid JSON: {error}"
        raise UsageError(f"cannot read {path}: {why}") from error


def is_same_file(path: str | Path, other: str | Path) -> bool:
    """Return True if both are names of one file, which need not be there yet."""
    with contextlib.suppress(OSError, ValueError):
        return Path(path).samefile(other)
    return os.path.realpath(path) == os.path.realpath(other)


def read_input() -> str:
    """Return the text on standard input; "" if that is a terminal, or not there. Raises UsageError."""
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    data = sys.stdin.buffer.read()
    for encoding in ("utf-8-sig", sys.stdin.encoding):
        with contextlib.suppress(UnicodeDecodeError, LookupError):
            return data.decode(encoding)
    raise UsageError("standard input is not text in UTF-8")


def question_of(text: str | None) -> str:
    """Return ``text``, followed by the text on standard input; raise UsageError if there is neither."""
    question = "\n\n".join(filter(None, (text, read_input().rstrip())))
    if not question:
        raise UsageError("there is no text; give one, or let standard input have it")
    return question


def show(stream: Stream, args: argparse.Namespace, console: Console) -> None:
    """Write the answer as it comes, or as JSON when it is over; after an error or Ctrl-C, the part that came."""
    thinks = False
    try:
        with stream:
            for chunk in stream:
                if args.json:
                    continue
                if chunk.reasoning and console.is_terminal:
                    console.dim(chunk.reasoning)
                    thinks = True
                if chunk.delta:
                    console.out(f"\n\n{chunk.delta}" if thinks else chunk.delta)
                    thinks = False
    finally:
        answer = stream.completion
        if args.json:
            console.json(answer)
        else:
            console.end_line()
    if answer.finish_reason == "length":
        console.note("note: the answer is cut, because it has as many tokens as it may; see --max-tokens")
    if args.verbose:
        known = [answer.model]
        if answer.usage and answer.usage.completion_tokens is not None:
            known.append(f"{answer.usage.completion_tokens} tokens")
        if answer.stats.tokens_per_second is not None:
            known.append(f"{answer.stats.tokens_per_second:.1f} tokens/s")
        console.note(", ".join(known))
