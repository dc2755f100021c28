"""The rounds: each runs every client of every row once, so that a busy moment of the machine slows all of them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Iterator

from benchmarks.clients import OURS
from benchmarks.rows import COUNT, FRESH, MS, ROWS, Row

ROOT = Path(__file__).resolve().parent.parent
# litellm would ask for a list of prices on the Internet when it is imported.
ENVIRON = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONDONTWRITEBYTECODE": ""}

Samples = dict[str, dict[str, Any]]
"""By title: the "unit" of a figure, and its "values" by client, in the order of the rounds."""


@contextmanager
def python(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT, env=ENVIRON) as process:
        try:
            yield process
        finally:
            if process.stdin:
                process.stdin.close()  # which ends it


def ask(worker: subprocess.Popen[str], order: dict[str, Any]) -> dict[str, float]:
    assert worker.stdin
    assert worker.stdout
    print(json.dumps(order), file=worker.stdin, flush=True)
    line = worker.stdout.readline()
    if not line:
        raise SystemExit(f"a client failed; its traceback is above: {worker.args!r}, {order}")
    return json.loads(line)  # type: ignore[no-any-return]


class Rounds:
    """The server and a worker for each client, as long as the ``with`` block lasts."""

    def __init__(self, budget: float, quick: bool) -> None:
        self.samples: Samples = {}
        self._rows = [row for row in ROWS if not (quick and row.slow)]
        self._quick = quick
        self._budget = budget
        self._stack = ExitStack()
        self._workers: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> Rounds:
        server = self._stack.enter_context(python("benchmarks.server"))
        assert server.stdout
        self._server = f"http://127.0.0.1:{int(server.stdout.readline())}"
        # Connections are accepted by the system, and never answered.
        self._black_hole = self._stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=512))
        with socket.create_server(("127.0.0.1", 0)) as closed:
            self._down = closed.getsockname()[1]
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def warm_up(self) -> None:
        """Run each row once with little work, and forget its figures."""
        for row in self._rows:
            if row.task not in ("latency", "long"):
                for client in row.clients:
                    ask(self._worker(client), self._order(row) | {"budget": 0.0})

    def run(self, number: int) -> None:
        for row in self._rows:
            if number % row.every == 0:
                for turn in range(row.times):
                    for client in turned(row.clients, number * row.times + turn):
                        self.add(row, client, ask(self._worker(client), self._order(row)))
        for row in FRESH:
            if number % row.every == 0:
                for client in row.clients:
                    with python("benchmarks.worker", client) as worker:
                        self.add(row, client, ask(worker, self._order(row)))

    def add(self, row: Row, client: str, answer: dict[str, float]) -> None:
        for figure, (title, unit) in row.figures.items():
            self.keep(title, unit, client, answer[figure])

    def keep(self, title: str, unit: tuple[str, float], client: str, value: float) -> None:
        name, factor = unit
        row = self.samples.setdefault(title, {"unit": name, "values": {}})
        row["values"].setdefault(client, []).append(value * factor)

    def imports(self) -> None:
        """Measure the imports in a process of its own, which has imported little: memory of the parent would count."""
        with python("benchmarks.import_time", "--json", *(["--quick"] if self._quick else [])) as process:
            answer = json.loads(process.stdout.read() if process.stdout else "")
        for program, figures in answer.items():
            for seconds in figures["cpu"]:
                self.keep("import: CPU", MS, program, seconds)
            for mib in figures["memory"]:
                self.keep("import: memory", ("MiB", 1.0), program, mib)
            self.keep("import: modules", COUNT, program, figures["modules"])

    def profile(self) -> dict[str, list[tuple[str, float]]]:
        """Return where the CPU time of our client goes; {} on a system that has no timer of CPU time."""
        if not hasattr(signal, "SIGPROF"):
            return {}
        with python("benchmarks.profile", self._server) as process:
            return json.loads(process.stdout.read() if process.stdout else "")  # type: ignore[no-any-return]

    def packages(self) -> None:
        from benchmarks import packages

        for name, sizes in packages.installed().items():
            self.keep("installed: packages", COUNT, name, sizes.packages)
            self.keep("installed: size", ("MiB", 1 / 2**20), name, sizes.size)
        if size := packages.wheel_size():
            self.keep("wheel: size", ("KiB", 1 / 2**10), OURS, size)

    def _worker(self, client: str) -> subprocess.Popen[str]:
        if client not in self._workers:
            self._workers[client] = self._stack.enter_context(python("benchmarks.worker", client))
        return self._workers[client]

    def _order(self, row: Row) -> dict[str, Any]:
        special = {"down": self._down, "black hole": self._black_hole.getsockname()[1]}
        port = special.get(row.path)
        base = f"http://127.0.0.1:{port}" if port else f"{self._server}/{row.path}"
        return {"do": row.task, "base": base, "protocol": row.protocol, "budget": self._budget / row.times, **row.order}


def turned(clients: tuple[str, ...], number: int) -> tuple[str, ...]:
    """Return ``clients`` in an order that begins with another one each time."""
    first = number % len(clients)
    return clients[first:] + clients[:first]
