"""Batches on a real local Dask cluster, whose worker processes have one provider each."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from lmstudio_provider.simulator import SimulatedLMStudio

ROOT = Path(__file__).parents[2]
PROGRAM = """
import threading
from distributed import Client, LocalCluster
from lmstudio_provider import LMStudioProvider, MemoryUsage, complete_many

class Usage(MemoryUsage):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()  # does not pickle

def main():
    usage = Usage()
    with LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None) as cluster, Client(cluster) as client:
        with LMStudioProvider(usage=usage) as lm:
            answers = complete_many(lm, ["same", [], lambda: 0, "same"], executor=client.get_executor())
            for result in answers:
                print(result.index, result.error and type(result.error).__name__)
            print(len(usage.records), "records")
            for result in complete_many(lm, map(str, range(100)), executor=client.get_executor(), max_workers=2):
                break

if __name__ == "__main__":
    main()
"""


def run(*arguments, url):
    environment = {**os.environ, "LM_STUDIO_URL": url, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def chats(server):
    return [each["body"] for each in server.requests if each["path"] == "/v1/chat/completions"]


def test_a_batch_keeps_failures_as_results_and_is_cancelled_if_it_is_left_early(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    with SimulatedLMStudio() as server:
        shown = run(program, url=server.url)
        texts = [body["messages"][-1]["content"] for body in chats(server)]
    assert shown.splitlines() == ["0 None", "1 InvalidRequestError", "2 InvalidRequestError", "3 None", "2 records"]
    assert texts.count("same") == 2
    assert len(texts) < 2 + 2 * 2 + 2


def test_the_example_makes_one_provider_on_each_of_two_workers():
    with SimulatedLMStudio() as server:
        shown = run(ROOT / "examples" / "batch_dask.py", url=server.url)
        asked = len(chats(server))
        lists = [each for each in server.requests if each["path"] == "/api/v1/models"]
    assert re.findall(r"^(\d+): Opinion\(likes_it=True", shown, re.M) == [str(number) for number in range(12)]
    assert re.search(r"\n12 calls took \d+ tokens\n$", shown)
    assert asked >= 12  # Dask may run a task again, for example if it lost a worker
    assert len(lists) == 3  # one for each worker, and one here
