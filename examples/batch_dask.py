"""Answer many requests on several machines with Dask: python examples/batch_dask.py [SCHEDULER].

The scheduler is an address such as tcp://10.0.0.5:8786; each worker asks the LM Studio of its own machine. Without one,
this starts two worker processes here. It needs pip install distributed, and this package on each worker.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from distributed import Client, LocalCluster

from lmstudio_provider import CompletionRequest, LMStudioProvider, MemoryUsage, complete_many

REVIEWS = ["Great phone, weak battery.", "It broke after a day.", "My children love it.", "It is a phone."] * 3


@dataclass
class Opinion:
    """What a review says."""

    likes_it: bool
    reason: str


def main() -> None:
    usage = MemoryUsage()
    requests = (CompletionRequest(f"What does this review say? {each}", response_format=Opinion) for each in REVIEWS)
    cluster = sys.argv[1] if sys.argv[1:] else LocalCluster(n_workers=2, threads_per_worker=4, dashboard_address=None)
    with Client(cluster) as client, LMStudioProvider(usage=usage) as lm:
        workers = sum(client.nthreads().values())
        for result in complete_many(lm, requests, executor=client.get_executor(), max_workers=workers):
            if result.completion is None:
                print(f"{result.index}: {result.error}")
            else:
                print(f"{result.index}: {result.completion.parsed}")
    if not isinstance(cluster, str):
        cluster.close()
    print(f"{len(usage.records)} calls took {usage.total().total_tokens} tokens")


if __name__ == "__main__":
    main()
