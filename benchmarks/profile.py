"""Say where the CPU time of a chat and of a streamed piece goes, module by module.

The system interrupts the process after each few milliseconds of CPU time, and the module of ours that is running (or
that called what is running) gets the sample. So the calls themselves are not slowed down, as a tracing profiler does.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections import Counter
from types import FrameType
from typing import Callable

from benchmarks.clients import CLIENTS, OURS

SECONDS = 4.0
INTERVAL_S = 0.002
SHOWN = 12


def samples(once: Callable[[], object]) -> Counter[str]:
    """Repeat ``once`` for some seconds of CPU time, and return how often each module was seen."""
    if sys.platform == "win32":
        raise SystemExit("Windows does not interrupt a process by its CPU time")
    seen: Counter[str] = Counter()

    def sample(_: int, frame: FrameType | None) -> None:
        inner = frame.f_globals.get("__name__", "") if frame else ""
        while frame and not frame.f_globals.get("__name__", "").startswith(OURS):
            frame = frame.f_back
        if frame:
            module = frame.f_globals["__name__"].removeprefix(OURS + ".")
            seen[f"{module}, in {inner.partition('.')[0]}" if not inner.startswith(OURS) else module] += 1

    signal.signal(signal.SIGPROF, sample)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)
    end = time.process_time() + SECONDS
    while time.process_time() < end:
        once()
    signal.setitimer(signal.ITIMER_PROF, 0)
    return seen


def shares(seen: Counter[str]) -> list[tuple[str, float]]:
    """Return the modules that were seen most, each with its part of all samples."""
    return [(module, count / sum(seen.values())) for module, count in seen.most_common(SHOWN)]


def main(server: str) -> None:
    """Print the shares as JSON: by task, a list of modules and their parts."""
    make = CLIENTS[OURS]
    client, streaming = make(f"{server}/unary/length", "sse"), make(f"{server}/stream/chunked-1", "sse")
    tasks = {"a chat": client.chat, "a streamed piece": lambda: sum(1 for _ in streaming.stream())}
    print(json.dumps({name: shares(samples(once)) for name, once in tasks.items()}))


if __name__ == "__main__":
    main(sys.argv[1])
