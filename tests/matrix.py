"""Runs the unit tests on each Python and urllib3 that the package supports and the machine has; prints a table.

With ``--ends`` only the oldest Python with the oldest urllib3, and the newest with the newest.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv" / "matrix"
MINORS = range(9, 16)
OLDEST, NEWEST = "urllib3==1.26.5", "urllib3>=2,<3"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ends", action="store_true")
    pythons = {minor: python for minor in MINORS if (python := find_python(minor))}
    pairs = [(minor, urllib3) for minor in pythons for urllib3 in (OLDEST, NEWEST)]
    if parser.parse_args().ends:
        pairs = [(min(pythons), OLDEST), (max(pythons), NEWEST)]
    rows = [(f"3.{minor}", urllib3, run(pythons[minor], minor, urllib3)) for minor, urllib3 in pairs]
    rows += [(f"3.{minor}", "", "not on this machine") for minor in MINORS if minor not in pythons]
    print()
    for row in rows:
        print("{:6} {:18} {}".format(*row))
    return any(outcome.startswith("FAILED") for *_, outcome in rows)


def find_python(minor: int) -> str | None:
    """Return a Python 3.``minor`` that runs: on PATH, among pyenv's, or the one that runs this."""
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    candidates = [sys.executable, shutil.which(f"python3.{minor}"), *sorted(versions.glob(f"3.{minor}.*/bin/python"))]
    wanted = f"import sys, venv; sys.exit(sys.version_info[:2] != (3, {minor}))"
    for candidate in candidates:
        # A shim may be there without a Python behind it, so it has to be run.
        if candidate and runs(candidate, wanted):
            return str(candidate)
    return None


def runs(python: str | Path, code: str) -> bool:
    """Return True if ``python`` runs ``code`` without an error."""
    return subprocess.run([str(python), "-c", code], capture_output=True, check=False).returncode == 0


def run(python: str, minor: int, urllib3: str) -> str:
    """Run the tests in a separate environment; return how they ended."""
    print(f"\n== Python 3.{minor}, {urllib3}", flush=True)
    folder = FOLDER / f"3.{minor}-{urllib3.translate(str.maketrans('=<>,', '----'))}"
    inside = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not (inside.exists() and runs(inside, "import pip")):  # making it may have been interrupted
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
    install = [str(inside), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-e", ".[test]", urllib3]
    subprocess.run(install, cwd=ROOT, check=True)
    if not runs(inside, "import urllib3"):
        return "skipped: this urllib3 does not import on this Python"
    tests = [str(inside), "-m", "pytest", "-q", "-n", "auto", "-p", "no:cacheprovider"]
    tests += [f"--ignore=tests/{folder}" for folder in ("integration", "load", "soak", "package")]
    result = subprocess.run(tests, cwd=ROOT, check=False, stdout=subprocess.PIPE, text=True)
    last = result.stdout.strip().splitlines()[-1].strip("= ") if result.stdout.strip() else "nothing printed"
    print(result.stdout if result.returncode else last, flush=True)
    return f"FAILED: {last}" if result.returncode else last


if __name__ == "__main__":
    sys.exit(main())
