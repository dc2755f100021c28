"""Download a model into LM Studio and show the progress. LM Studio goes on with it if this program is stopped."""

from __future__ import annotations

import argparse
import sys

from lmstudio_provider import Download, LMStudioProvider, Progress, ProviderError


def show(progress: Progress) -> None:
    """Write the progress, over and over on one line."""
    line = f"{progress.status}: {progress.completed_bytes / 1e6:.1f}"
    if progress.total_bytes is not None:
        line += f" of {progress.total_bytes / 1e6:.1f}"
    line += " MB"
    if progress.bytes_per_second is not None and progress.seconds_left is not None:
        line += f", {progress.bytes_per_second / 1e6:.1f} MB/s, {progress.seconds_left:.0f} s left"
    print(f"\r{line:70}", end="", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", help="such as qwen/qwen3-4b, or the URL of a Hugging Face repository")
    parser.add_argument("quantization", nargs="?", help="for a URL only, such as Q4_K_M")
    parser.add_argument("--resume", metavar="JOB", help="watch a download that was started before")
    given = parser.parse_args()
    if given.model is None and given.resume is None:
        parser.print_help()
        return
    with LMStudioProvider() as lm:
        job = Download.resume(given.resume, lm) if given.resume else lm.native.download(given.model, given.quantization)
        if job.job_id is None:
            print("It is there already.")
            return
        print(f"The job is {job.job_id}.")
        try:
            job.wait(show, poll=0.5)
        except ProviderError as error:  # its message says how to go on, if that is possible
            print()
            sys.exit(str(error))
        except KeyboardInterrupt:
            sys.exit(f"\nStopped. Watch it again with --resume {job.job_id}")
        print("\nDone.")


if __name__ == "__main__":
    try:
        main()
    except ProviderError as error:
        sys.exit(str(error))
