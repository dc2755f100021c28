"""Downloads a model into LM Studio, and shows how far it is.

    python download_with_progress.py qwen/qwen3-4b
    python download_with_progress.py https://huggingface.co/OWNER/REPOSITORY Q4_K_M
    python download_with_progress.py --resume JOB

LM Studio goes on with it where this program is stopped; --resume watches it again.
"""

from __future__ import annotations

import sys

from lmstudio_provider import Download, DownloadError, LMStudioProvider, Progress, ProviderError


def show(progress: Progress) -> None:
    """Write how far it is, over and over on one line."""
    line = f"{progress.status}: {progress.completed_bytes / 1e6:.1f}"
    if progress.total_bytes is not None:
        line += f" of {progress.total_bytes / 1e6:.1f}"
    line += " MB"
    if progress.bytes_per_second is not None and progress.seconds_left is not None:
        line += f", {progress.bytes_per_second / 1e6:.1f} MB/s, {progress.seconds_left:.0f} s left"
    print(f"\r{line:70}", end="", flush=True)


def main(arguments: list[str]) -> None:
    if not arguments:
        print(__doc__)
        return
    with LMStudioProvider() as lm:
        if arguments[0] == "--resume":
            job = Download.resume(arguments[1], lm)
        else:
            job = lm.native.download(*arguments[:2])
            print(f"The job is {job.job_id}." if job.job_id else "There is nothing to do.")
        try:
            job.wait(show, poll=0.5)
        except DownloadError as error:
            print()
            sys.exit(f"{error}\nIt was at {error.progress.completed_bytes} bytes.")
        except KeyboardInterrupt:
            sys.exit(f"\nIt goes on in LM Studio; watch it again with --resume {job.job_id}")
        print("\nDone.")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ProviderError as error:
        sys.exit(str(error))
