"""Builds llama.cpp's own server, from the source that llama-cpp-python brings along.

    python build_llama_server.py PROGRAM

The Python package has another server, which does not speak ``/v1/responses`` and ``/v1/messages``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

SOURCE = "vendor/llama.cpp/"
OPTIONS = [
    "-DCMAKE_BUILD_TYPE=None",
    # The model is tiny: what counts is how long the compiler takes.
    "-DCMAKE_C_FLAGS=-O1",
    "-DCMAKE_CXX_FLAGS=-O1",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DGGML_NATIVE=OFF",
    "-DGGML_OPENMP=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
]


def main(program: Path) -> None:
    # The package of that name puts it beside Python.
    cmake = shutil.which("cmake", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if cmake is None:
        sys.exit("cmake is neither on the PATH nor installed")
    with tempfile.TemporaryDirectory() as folder:
        wanted = f"llama-cpp-python=={version('llama-cpp-python')}"
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        run(*pip, "download", "--no-deps", "--no-binary", "llama-cpp-python", "--dest", folder, wanted)
        (archive,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            members = [each for each in tar if each.name.partition("/")[2].startswith(SOURCE)]
            # The packages of the index are trusted, and run anyway; newer Pythons want to be told.
            extra = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            tar.extractall(folder, members, **extra)
        build = Path(folder, "build")
        (source,) = Path(folder).glob(f"*/{SOURCE}")
        run(cmake, "-S", str(source), "-B", str(build), *OPTIONS)
        run(cmake, "--build", str(build), "--target", "llama-server", "--parallel", str(os.cpu_count() or 1))
        shutil.copy2(build / "bin" / "llama-server", program)


def run(*command: str) -> None:
    """Run a command; what it prints is shown where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-5000:]}\n{done.stderr[-5000:]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
