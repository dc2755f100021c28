"""``simulate``: a stand-in for a server, in the foreground."""

from __future__ import annotations

import argparse

from ..simulator.__main__ import add_arguments as add_arguments  # noqa: PLC0414 (they are those of this command)
from ..simulator.__main__ import serve
from .console import Console

EXAMPLE = "lmstudio-provider simulate --port 0"


def run(args: argparse.Namespace, console: Console) -> int:
    """Run the stand-in until Ctrl-C; ``--provider ollama`` is as good as ``--ollama``."""
    args.ollama = args.ollama or args.provider == "ollama"
    return serve(args)
