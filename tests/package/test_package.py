"""The sdist and the wheel are complete and valid, and the tests pass against the installed wheel."""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOT_SOURCES = (".git", ".venv*", ".*_cache", ".hypothesis", "*.egg-info", "__pycache__", "build", "dist")
# Together they import each module and use each kind of provider and the command. All tests would take too long.
PARTS = [
    "test_architecture.py",
    "test_public_face.py",
    "cli/test_documented.py",
    "cli/test_main.py",
    "cli/test_vendor.py",
    "core",
    "dialects",
    "native",
    "workflows/test_conversation.py",
    "workflows/test_tools.py",
    "servers/test_registry.py",
    "simulator/test_simulator.py",
    "http/test_readers.py",
    "http/test_transport.py",
    "provider/test_provider.py",
    "test_ollama.py",
]


def run(*command, where):
    """Run a command without the source tree on its path; return its output, and show that if it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
    ended = subprocess.run(
        [*map(str, command)], cwd=where, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    output = ended.stdout.decode(errors="replace")
    assert ended.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A copy of the source tree, because building writes into it."""
    folder = tmp_path_factory.mktemp("sources") / "project"
    return shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_SOURCES))


@pytest.fixture(scope="module")
def dist(sources):
    """The sdist, and the wheel that is built from it, each in a separate environment."""
    run(sys.executable, "-m", "build", ".", where=sources)
    (sdist,) = (sources / "dist").glob("*.tar.gz")
    (wheel,) = (sources / "dist").glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def wheel(dist):
    with zipfile.ZipFile(dist[1]) as archive:
        yield archive


@pytest.fixture(scope="module")
def metadata(wheel):
    (path,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(wheel.read(path))


@pytest.fixture(scope="module")
def installed(dist, tmp_path_factory):
    """The folder with the programs of an environment that has the wheel and the requirements of the tests."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=True, symlinks=os.name != "nt")
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    options = ["--quiet", "--disable-pip-version-check"]
    run(programs / "python", "-m", "pip", "install", *options, f"{dist[1]}[test]", where=folder)
    return programs


def test_twine_finds_nothing_wrong(dist):
    run(sys.executable, "-m", "twine", "check", "--strict", *dist, where=dist[0].parent)


def test_the_wheel_has_each_file_of_the_package_and_no_other(wheel, sources):
    package = sources / "lmstudio_provider"
    files = {path.relative_to(sources).as_posix(): path for path in package.rglob("*") if path.is_file()}
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == set(files)
    assert [name for name, path in files.items() if wheel.read(name) != path.read_bytes()] == []


def test_the_licence_is_in_the_wheel_and_in_the_sdist(dist, wheel, sources):
    licence = (sources / "LICENSE").read_bytes()
    (name,) = (name for name in wheel.namelist() if name.endswith("/LICENSE"))
    assert wheel.read(name) == licence
    with tarfile.open(dist[0]) as archive:
        (name,) = (name for name in archive.getnames() if name.endswith("/LICENSE"))
        assert archive.extractfile(name).read() == licence


def test_the_sdist_has_what_the_tests_and_the_documentation_need(dist, sources):
    with tarfile.open(dist[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    kinds = ("tests", "docs", "examples", "benchmarks", "lmstudio_provider")
    paths = [path for kind in kinds for path in (sources / kind).rglob("*") if path.is_file()]
    paths += [
        sources / name for name in ("README.rst", "CHANGES.rst", "Makefile", "setup.cfg", "setup.py", "ruff.toml")
    ]
    assert {path.relative_to(sources).as_posix() for path in paths} - names == set()


def test_the_wheel_is_small(dist):
    # The aim is 260 kB. The bound is the present size; lower it if the wheel shrinks.
    size = dist[1].stat().st_size
    print(f"the wheel has {size / 1000:.0f} kB")
    assert size <= 468_000


def test_the_wheel_names_the_versions_of_python_and_one_requirement(metadata):
    prefix = "Programming Language :: Python :: 3."
    minors = [int(each[len(prefix) :]) for each in metadata.get_all("Classifier") if each.startswith(prefix)]
    assert minors == list(range(9, 16))
    assert metadata["Requires-Python"] == ">=3.9"
    needed = [each for each in metadata.get_all("Requires-Dist") if "extra ==" not in each]
    assert [each.partition("<")[0].partition(">")[0].strip(" (") for each in needed] == ["urllib3"]


def test_the_command_of_the_wheel_makes_copies_with_the_licence(installed, tmp_path, sources):
    run(installed / "lmstudio-provider", "vendor", "app", "--with", "all", where=tmp_path)
    copy = tmp_path / "app" / "lmstudio_provider"
    assert (copy / "LICENSE").read_bytes() == (sources / "LICENSE").read_bytes()
    assert (copy / "__init__.py").read_bytes() == (sources / "lmstudio_provider" / "__init__.py").read_bytes()


def test_tests_pass_against_the_installed_wheel(installed, tmp_path, sources):
    for folder in ("tests", "docs"):
        shutil.copytree(sources / folder, tmp_path / folder)
    shutil.copy(sources / "setup.cfg", tmp_path)  # it has the options of pytest
    python = installed / "python"
    where = run(python, "-c", "import lmstudio_provider; print(lmstudio_provider.__file__)", where=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)
    paths = [f"tests/{part}" for part in PARTS]
    print(run(python, "-m", "pytest", "-q", "-n", "auto", "-p", "no:cacheprovider", *paths, where=tmp_path)[-300:])
