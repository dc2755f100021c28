"""Ctrl-C, forks, resets and closes at random moments: nothing hangs, no thread and no descriptor is lost."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from conftest import SECONDS, SEED
from interrupted import ANSWER, MODELS, PATIENCE_S

from lmstudio_provider.simulator import SimulatedLMStudio, SimulatedOllama

# Seconds of one process. Each process also tests first calls and a shutdown.
ROUND_S = 10.0


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="this system has no fork, and no signals to one process")
def test_no_call_hangs_and_nothing_is_lost_if_ctrl_c_comes_at_any_moment():
    done: Counter[str] = Counter()
    with SimulatedLMStudio(MODELS, ANSWER, 0.001, loaded=MODELS[:2]) as lm_studio:
        with SimulatedOllama(MODELS, ANSWER, 0.001) as ollama:
            end, number = time.monotonic() + SECONDS, 0
            while time.monotonic() < end:
                done += interrupted(min(SECONDS, ROUND_S), f"{SEED}-{number}", lm_studio.url, ollama.url)
                number += 1
                for server in (lm_studio, ollama):
                    server.requests.clear()
    print(done)
    for what in ("interrupted", "fork", "close", "reset", "call", "stream"):
        assert done[what] > 0


def interrupted(seconds: float, seed: str, *urls: str) -> Counter[str]:
    """Run the program and interrupt it until it ends; return how often it did each action."""
    script = str(Path(__file__).with_name("interrupted.py"))
    command = [sys.executable, script, str(seconds), seed, *urls]
    rng = random.Random(seed)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        try:
            ready = program.stdout.readline()
            end = time.monotonic() + seconds + 3 * PATIENCE_S
            while ready and program.poll() is None and time.monotonic() < end:
                program.send_signal(signal.SIGINT)
                time.sleep(rng.uniform(0.001, 0.05))
        finally:
            program.kill()
        out, errors = program.communicate()
    assert program.returncode == 0, f"SOAK_SEED={SEED}, round {seed}: ended with {program.returncode}\n{errors}"
    return Counter(json.loads(out))
