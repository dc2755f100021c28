"""Measure how much CPU time and memory importing the package takes, beside urllib3 and other clients.

Run it alone with `make import-time`; `make bench` includes it. Each figure is of a new interpreter that finds bytecode,
and they are started in turn so that a busy moment slows all of them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROUNDS = 15
PROGRAMS = (
    "import urllib3",
    "import lmstudio_provider",
    "from lmstudio_provider import LMStudioProvider",
    "from lmstudio_provider import LMStudioProvider; LMStudioProvider(refresh=False)",
    "from lmstudio_provider import *",
)
# They take a second or more: they are measured in few rounds.
OTHERS = tuple(f"import {name}" for name in ("requests", "ollama", "openai", "lmstudio", "litellm"))
COUNT_MODULES = "import sys; before = set(sys.modules)\n{}\nprint(len(set(sys.modules) - before))"
# Not imported here: a new process counts the memory of the process that started it.
SPECS = [importlib.util.find_spec(name) for name in ("lmstudio_provider", "urllib3")]
PATHS = [str(Path(str(spec.origin)).parent.parent) for spec in SPECS if spec is not None]
MIB = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes, other systems count KiB


def start(program: str, stdout: int | None = None) -> subprocess.Popen[str]:
    # -S leaves out the .pth files of the environment: an editable installation imports modules with them.
    command = [sys.executable, "-S", "-c", program]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environ["PYTHONPATH"] = os.pathsep.join(PATHS)
    return subprocess.Popen(command, env=environ, stdout=stdout, text=True)


def cost(program: str) -> tuple[float, float]:
    """Return the CPU seconds and the MiB of a new interpreter that runs ``program``."""
    if sys.platform == "win32":
        raise SystemExit("Windows does not report the CPU time and the memory of a process that has ended")
    process = start(program)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"failed: {program}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / MIB


def modules(program: str) -> int:
    """Return how many modules ``program`` imports."""
    output, _ = start(COUNT_MODULES.format(program), subprocess.PIPE).communicate()
    return int(output)


def measure(programs: tuple[str, ...], rounds: int) -> dict[str, list[tuple[float, float]]]:
    for program in programs:
        cost(program)  # compiles the bytecode
    costs = [[cost(program) for program in programs] for _ in range(rounds)]
    return {program: list(values) for program, values in zip(programs, zip(*costs))}


def main() -> None:
    if not hasattr(os, "wait4"):
        raise SystemExit("this system does not measure single processes; use Linux or macOS")
    if "--json" in sys.argv:
        quick = "--quick" in sys.argv
        costs = measure(PROGRAMS, 5) if quick else measure(PROGRAMS, ROUNDS) | measure(OTHERS, ROUNDS // 5)
        print(json.dumps({
            program: {"cpu": [s for s, _ in each], "memory": [m for _, m in each], "modules": modules(program)}
            for program, each in costs.items()
        }))  # fmt: skip
        return
    medians = {
        program: [statistics.median(column) for column in zip(*each)]
        for program, each in measure(PROGRAMS, ROUNDS).items()
    }
    base_seconds, base_mib = medians["import urllib3"]
    for program, (seconds, mib) in medians.items():
        ratio, more = seconds / base_seconds, mib - base_mib
        print(f"{seconds * 1000:6.1f} ms  {ratio:4.2f} x  {more:+5.1f} MiB  {modules(program):4}  {program}")


if __name__ == "__main__":
    main()
