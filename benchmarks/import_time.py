"""Print how much CPU time and memory importing the package takes, compared with importing urllib3.

Run it with `make import-time`. The aim is at most 1.35 times the CPU time of `import urllib3`, and 4 MiB more memory,
for `import lmstudio_provider`. Each figure is the median of new interpreters, started in turn so that a busy moment
slows all of them.
"""

from __future__ import annotations

import importlib.util
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
# Not imported here: a new process counts the memory of the process that started it.
SPECS = [importlib.util.find_spec(name) for name in ("lmstudio_provider", "urllib3")]
PATHS = [str(Path(str(spec.origin)).parent.parent) for spec in SPECS if spec is not None]
MIB = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes, other systems count KiB


def cost(program: str) -> tuple[float, float]:
    """Return the CPU seconds and the MiB of a new interpreter that runs ``program``."""
    # -S leaves out the .pth files of the environment: an editable installation imports modules with them.
    command = [sys.executable, "-S", "-c", program]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(command, env={**environ, "PYTHONPATH": os.pathsep.join(PATHS)})
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"failed: {program}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / MIB


def main() -> None:
    if not hasattr(os, "wait4"):
        raise SystemExit("this system does not measure single processes; use Linux or macOS")
    for program in PROGRAMS:
        cost(program)  # compiles the bytecode
    costs = [[cost(program) for program in PROGRAMS] for _ in range(ROUNDS)]
    medians = [[statistics.median(column) for column in zip(*each)] for each in zip(*costs)]
    base_seconds, base_mib = medians[0]
    for program, (seconds, mib) in zip(PROGRAMS, medians):
        print(f"{seconds * 1000:6.1f} ms  {seconds / base_seconds:4.2f} x  {mib - base_mib:+5.1f} MiB  {program}")


if __name__ == "__main__":
    main()
