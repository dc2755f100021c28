"""Measure how fast your models answer: python examples/measure.py [MODEL ...]. Ctrl-C keeps what was measured."""

from __future__ import annotations

import sys

from lmstudio_provider import LMStudioProvider, ProviderError, RequestTiming, measure

SHORT = "Why is the sky blue?"
LONG = "Summarise this: " + "The sky scatters blue light more than red light. " * 40


def show(timing: RequestTiming) -> None:
    print(f"\r{timing.number} of {timing.planned} requests", end="", file=sys.stderr, flush=True)


def main() -> None:
    with LMStudioProvider() as lm:
        progress = show if sys.stderr.isatty() else None
        models = sys.argv[1:] or None
        measured = measure(lm, [SHORT, LONG], models=models, concurrency=(1, 4), max_tokens=64, on_progress=progress)
    print(measured.table())
    # measured.plot("speed.png") draws it, with the extra "plot"; measured.to_json() has every request.


if __name__ == "__main__":
    try:
        main()
    except ProviderError as error:
        sys.exit(str(error))
