"""A process that holds one client and measures what it is asked for: one line of JSON in, one line of JSON out."""

from __future__ import annotations

import gc
import json
import os
import statistics
import sys
import threading
import time
from typing import Any, Callable

import psutil

from benchmarks import replies, server
from benchmarks.clients import CLIENTS, Client

PROCESS = psutil.Process()


def run(order: dict[str, Any], make: Callable[[str, str], Client], made: dict[tuple[str, str], Client]) -> Any:
    if order["do"] in ALONE:
        return ALONE[order["do"]](order)
    key = (order["base"], order["protocol"])
    if key not in made:
        made[key] = make(*key)
    return TASKS[order["do"]](made[key], order)


def chat(client: Client, order: dict[str, Any]) -> dict[str, float]:
    def once() -> int:
        assert client.chat() == replies.TEXT
        return 1

    return cost(once, order)


def stream(client: Client, order: dict[str, Any]) -> dict[str, float]:
    expected = len("".join(replies.words(order["pieces"])))

    def once() -> int:
        pieces = characters = 0
        for text in client.stream():
            pieces += 1
            characters += len(text)
        assert characters == expected, (pieces, characters)
        return order["pieces"]  # type: ignore[no-any-return]

    return cost(once, order)


def cost(once: Callable[[], int], order: dict[str, Any]) -> dict[str, float]:
    """Return the CPU and wall seconds of one unit; repeat ``once`` in each thread until the CPU budget is spent."""
    counts: list[int] = []
    gc.collect()
    wall, start = time.perf_counter(), time.process_time()

    def repeat() -> None:
        count = once()
        while time.process_time() - start < order["budget"]:
            count += once()
        counts.append(count)

    if order["threads"] == 1:
        repeat()
    else:
        threads = [threading.Thread(target=repeat) for _ in range(order["threads"])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    cpu, wall = time.process_time() - start, time.perf_counter() - wall
    assert len(counts) == order["threads"], "a thread failed"
    return {"cpu": cpu / sum(counts), "wall": wall / sum(counts)}


def latency(client: Client, order: dict[str, Any]) -> dict[str, float]:
    """Return how late the pieces of a paced stream are; each holds the time of its write."""
    start, late = 0.0, []
    for text in client.stream():
        late.append((time.monotonic_ns() - int(text)) / 1e9)
        start = start or time.process_time()  # without the request
    cpu = (time.process_time() - start) / (len(late) - 1)
    assert len(late) == server.PACED_PIECES
    return {"p50": statistics.median(late), "p99": statistics.quantiles(late, n=100)[98], "cpu": cpu}


def long_stream(client: Client, order: dict[str, Any]) -> dict[str, float]:
    """Return the CPU seconds a piece of one long stream, and the bytes by which the memory grew for each piece."""
    gc.collect()
    before, start, pieces, most = PROCESS.memory_info().rss, time.process_time(), 0, 0
    for _ in client.stream():
        pieces += 1
        if pieces % 10000 == 0:
            most = max(most, PROCESS.memory_info().rss)
    cpu = time.process_time() - start
    return {"cpu": cpu / pieces, "memory": max(0, most - before) / pieces}


def open_streams(client: Client, order: dict[str, Any]) -> dict[str, float]:
    """Return the bytes of an open stream of which one piece has come; the buffers of its socket are the kernel's."""
    next(client.stream())  # what the first call alone needs
    gc.collect()
    before = PROCESS.memory_info().rss
    streams = [client.stream() for _ in range(order["count"])]
    assert all(next(each) == replies.WORDS[0] for each in streams)
    return {"memory": (PROCESS.memory_info().rss - before) / order["count"]}


def constructor(order: dict[str, Any]) -> dict[str, float]:
    """Return the seconds of making a provider that looks for models: its caller's, and those of the whole process."""
    from lmstudio_provider import LMStudioProvider

    count = order["count"]
    gc.collect()
    walls, callers, start = [], [], time.process_time()
    for _ in range(count):
        wall, caller = time.perf_counter(), time.thread_time()
        provider = LMStudioProvider(order["base"])
        walls.append(time.perf_counter() - wall)
        callers.append(time.thread_time() - caller)
        provider.close()
    whole = (time.process_time() - start) / count
    return {"wall": statistics.median(walls), "cpu": statistics.median(callers), "process": whole}


def provider_memory(order: dict[str, Any]) -> dict[str, float]:
    from lmstudio_provider import LMStudioProvider

    LMStudioProvider(order["base"], model=replies.MODEL, refresh=False)
    gc.collect()
    before = PROCESS.memory_info().rss
    kept = [LMStudioProvider(order["base"], model=replies.MODEL, refresh=False) for _ in range(order["count"])]
    return {"memory": (PROCESS.memory_info().rss - before) / len(kept)}


TASKS = {"chat": chat, "stream": stream, "latency": latency, "long": long_stream, "open": open_streams}
ALONE = {"constructor": constructor, "provider": provider_memory}


def main() -> None:
    # Some clients print: the results go out on a descriptor of their own.
    results = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    make = CLIENTS[sys.argv[1]]
    made: dict[tuple[str, str], Client] = {}
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line), make, made)), file=results)


if __name__ == "__main__":
    main()
