"""Share many requests between two hosts: python examples/batch_two_hosts.py [URL URL]. Ctrl-C ends it at once.

If one host cannot be reached, the other gets its requests. The defaults are LM Studio and Ollama on this machine.
"""

from __future__ import annotations

import sys

from lmstudio_provider import Failover, LMStudioProvider, MemoryUsage, OllamaProvider, Provider, Result, complete_many

WORDS = ["sky", "sea", "sun", "moon", "rain", "snow", "wind", "fire"] * 2
# LM Studio answers as many at once by default; Ollama answers one, unless OLLAMA_NUM_PARALLEL says otherwise.
AT_ONCE = 4


def show(result: Result) -> None:
    print(f"\r{result.index + 1} of {len(WORDS)}", end="", file=sys.stderr, flush=True)


def main() -> None:
    usage = MemoryUsage()
    hosts: list[Provider] = [LMStudioProvider(url, id=url, usage=usage) for url in sys.argv[1:]]
    hosts = hosts or [LMStudioProvider(usage=usage), OllamaProvider(usage=usage)]
    with Failover(hosts, balance="least_busy") as all_hosts:
        prompts = (f"Why is the {word} beautiful? Answer in one sentence." for word in WORDS)
        progress = show if sys.stderr.isatty() else None
        workers = AT_ONCE * len(hosts)
        for result in complete_many(all_hosts, prompts, max_workers=workers, on_progress=progress):
            if result.completion is None:
                print(f"{result.request} failed: {result.error}")
            else:
                print(f"{result.completion.provider_id}: {result.completion.text}")
    counts = {host.id: sum(record.provider_id == host.id for record in usage.records) for host in hosts}
    print(", ".join(f"{name} answered {count}" for name, count in counts.items()))


if __name__ == "__main__":
    main()
