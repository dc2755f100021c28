"""nginx and Squid, started by the tests: on loopback, with all their files in one folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Iterator

import pytest

# Folders of programs for administrators, which are not on the PATH of every user.
FOLDERS = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin", "/opt/homebrew/sbin"]
# Seconds that such a program may take to start, or to end.
PATIENCE_S = 20


def program(name: str) -> str:
    """Return the path of a program; skip the test if it is not installed."""
    path = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *FOLDERS]))
    return path or pytest.skip(f"{name} is not installed (on Debian: apt-get install nginx-light squid)")


def free_port() -> int:
    """Return a port on which nothing listens; neither program can choose a free one by itself."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


@contextlib.contextmanager
def running(command: list[str], folder: Path, port: int) -> Iterator[None]:
    """Run ``command``, and wait until it takes connections at ``port``; if it does not, show its output."""
    log = folder / "output.log"
    with log.open("wb") as output, subprocess.Popen(command, cwd=folder, stdout=output, stderr=output) as process:
        try:
            end = time.monotonic() + PATIENCE_S
            while process.poll() is None and time.monotonic() < end:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), PATIENCE_S):
                    break
                time.sleep(0.01)
            else:
                pytest.fail(f"{command} did not start:\n{log.read_text(errors='replace')}")
            yield
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
