"""What an installation brings: packages and bytes, read from what is installed beside the benchmark."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("lmstudio-provider", "requests", "ollama", "openai", "lmstudio", "litellm")


class Installed(NamedTuple):
    """A distribution with all that it requires."""

    packages: int
    size: int
    """Bytes of its files, without bytecode."""


def installed() -> dict[str, Installed]:
    return {name: _installed(_closure(name)) for name in NAMES}


def _closure(name: str) -> set[str]:
    found: set[str] = set()
    waiting = [canonicalize_name(name)]
    while waiting:
        each = waiting.pop()
        if each in found:
            continue
        try:
            requires = distribution(each).requires or []
        except PackageNotFoundError:
            continue  # for another system or Python
        found.add(each)
        for line in requires:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(canonicalize_name(requirement.name))
    return found


def _installed(names: set[str]) -> Installed:
    return Installed(len(names), sum(map(_size, names)))


def _size(name: str) -> int:
    if name == "lmstudio-provider":  # installed as a link to its sources
        return sum(path.stat().st_size for path in (ROOT / "lmstudio_provider").rglob("*.py"))
    files = distribution(name).files or []
    return sum(file.size or 0 for file in files if not file.name.endswith(".pyc"))


def wheel_size() -> int:
    """Return the bytes of the wheel of this package; 0 if it cannot be built here."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, str(ROOT)]
        if subprocess.run(command, check=False).returncode:
            return 0
        return sum(path.stat().st_size for path in Path(folder).glob("*.whl"))
