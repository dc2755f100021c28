"""``download``: download a model into LM Studio."""

from __future__ import annotations

import argparse

from .. import Download
from .console import Console, UsageError
from .providers import make_provider

EXAMPLE = "lmstudio-provider download qwen/qwen3-4b"
# Seconds between two looks at the progress.
_PAUSE_S = 0.25


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("model", nargs="?", help="a name of LM Studio's catalog, or the URL of a repository")
    parser.add_argument("--quantization", metavar="NAME", help="such as Q4_K_M; only with a URL")
    parser.add_argument("--job", metavar="ID", help="wait for a download that was begun before")


def run(args: argparse.Namespace, console: Console) -> int:
    """Begin a download, and wait for its end."""
    if bool(args.model) == bool(args.job):
        raise UsageError("give either a model or --job")
    with make_provider(args, only="lm-studio", refresh=False) as provider:
        if args.job:
            job = Download.resume(args.job, provider)
        else:
            job = provider.native.download(args.model, args.quantization)
        try:
            with console.bar(None, "B") as bar:
                done = job.wait(lambda progress: bar.update(progress.completed_bytes, progress.total_bytes), _PAUSE_S)
        except KeyboardInterrupt:
            console.note(f"LM Studio goes on; to wait for it again: download --job {job.job_id}{console.server}")
            raise
    if args.json:
        console.json({"job_id": job.job_id, **vars(done)})
    elif done.status == "already_downloaded":
        console.line(f"{job.model} is there already")
    else:
        console.line(f"{job.model or job.job_id} is downloaded")
    return 0
