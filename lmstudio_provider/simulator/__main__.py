"""Run a stand-in in the foreground: ``python -m lmstudio_provider.simulator [--ollama] [--port N]``."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
from typing import Sequence

from . import SimulatedLMStudio, SimulatedOllama


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a stand-in until it is stopped. Return the exit status."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {__package__}",
        description="Run a stand-in for LM Studio or Ollama, without a model. Its replies repeat the request.",
    )
    add_arguments(parser)
    return serve(parser.parse_args(arguments))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a stand-in."""
    parser.add_argument("--ollama", action="store_true", help="a stand-in for Ollama")
    parser.add_argument(
        "--port", type=_port, metavar="N", help="where to listen: 1234 or 11434 by default, and 0 for any free port"
    )
    parser.add_argument("--model", action="append", metavar="ID", help="a model that it has, once for each")
    parser.add_argument("--reply", action="append", metavar="TEXT", help="what it answers; several take turns")
    parser.add_argument("--delay", type=_delay, default=0.0, metavar="SECONDS", help="the pause before each piece")


def serve(given: argparse.Namespace) -> int:
    """Run the stand-in of these options until it is stopped. Return the exit status."""
    stopped = threading.Event()
    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):  # only Windows has the last, which is Ctrl-Break
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, frame: stopped.set())
    kind = SimulatedOllama if given.ollama else SimulatedLMStudio
    default = 11434 if given.ollama else 1234
    models = {"models": given.model} if given.model else {}
    port = default if given.port is None else given.port
    server = kind(replies=given.reply, delay_s=given.delay, port=port, **models)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(server)
        except OSError as error:
            sys.stderr.write(f"{error.strerror}\n")
            return 2
        print(f"{kind.__name__} at {server.url}; press Ctrl-C to stop it", flush=True)  # noqa: T201 (may be closed)
        # With a timeout, because on Windows Ctrl-C does not wake a thread that waits without one.
        while not stopped.wait(0.5):
            continue
    return 0


def _delay(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= float(text) <= 1e6:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds; use 0 to 1,000,000, such as 0.05")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; use 0 to 65535")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
