"""Run the benchmark: ``python -m benchmarks``, or ``make bench``.

It prints the tables, writes ``build/bench.json`` and ``build/bench.png``, and ends with 1 if a figure is out of bounds.
``--publish`` takes the last results into ``docs/performance.rst`` instead.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks import picture, report
from benchmarks.rounds import ROOT, Rounds

JSON, PNG = ROOT / "build" / "bench.json", ROOT / "build" / "bench.png"
DOCUMENT = ROOT / "docs" / "performance.rst"
BEGIN, END = ".. The figures: written by python -m benchmarks --publish\n\n", "\n.. The end of the figures\n"


def measure(rounds: int, budget: float, quick: bool) -> dict[str, Any]:
    with Rounds(budget, quick) as measured:
        measured.warm_up()
        for number in range(rounds):
            measured.run(number)
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
        measured.imports()
        measured.packages()
        return {"about": about(rounds), "samples": measured.samples, "profile": measured.profile()}


def about(rounds: int) -> dict[str, str]:
    names = ("urllib3", "requests", "openai", "ollama", "lmstudio", "litellm")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{processor()} ({platform.system()} {platform.machine()})",
        "Python": platform.python_version(),
        **{name: found for name in names if (found := version_of(name))},
        "rounds": str(rounds),
    }


def write_pyperf(samples: dict[str, Any], path: Path) -> None:
    """Write the figures that are times or bytes for pyperf, which compares two runs."""
    import pyperf

    units = {"µs": ("second", 1e-6), "ms": ("second", 1e-3), "KiB": ("byte", 2**10), "MiB": ("byte", 2**20)}
    kept = []
    for title, row in samples.items():
        for client, values in row["values"].items():
            if row["unit"] in units and min(values) > 0:
                unit, factor = units[row["unit"]]
                metadata = {"name": f"{title}, {client}", "unit": unit}
                scaled = [value * factor for value in values]
                run = pyperf.Run([int(each) for each in scaled] if unit == "byte" else scaled, metadata=metadata,
                                 collect_metadata=False)  # fmt: skip
                kept.append(pyperf.Benchmark([run]))
    pyperf.BenchmarkSuite(kept).dump(str(path), replace=True)


def version_of(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def processor() -> str:
    count = os.cpu_count()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{count} cores of {model or platform.processor() or 'an unknown processor'}"


def publish() -> None:
    """Write the tables of the last results into the document, and put the picture beside it."""
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    tables = report.rst(json.loads(JSON.read_text(encoding="utf-8")))
    DOCUMENT.write_text(before + BEGIN + tables + END + after, encoding="utf-8")
    shutil.copy(PNG, DOCUMENT.with_suffix(".png"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few and short rounds: about two minutes")
    parser.add_argument("--publish", action="store_true", help="write the last results into the documentation")
    options = parser.parse_args()
    if options.publish:
        publish()
        return 0
    results = measure(2, 0.06, True) if options.quick else measure(8, 0.1, False)
    JSON.parent.mkdir(exist_ok=True)
    JSON.write_text(json.dumps(results, indent=1, ensure_ascii=False), encoding="utf-8")
    picture.draw(results, PNG)
    write_pyperf(results["samples"], JSON.with_name("bench-pyperf.json"))
    print(report.text(results))
    return 0 if all(each.inside for each in report.verdicts(results["samples"])) else 1


if __name__ == "__main__":
    sys.exit(main())
