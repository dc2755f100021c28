"""A copy inside an application works beside another version of the package, and if none is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import urllib3

import lmstudio_provider
from lmstudio_provider.cli.vendoring import import_from

PACKAGE = Path(lmstudio_provider.__file__).parent
# It prints the results of chats, a stream and a tool call, and the imported packages outside of the application.
APPLICATION = '''
import importlib.util
import sys

from app._vendor.lmstudio_provider import LMStudioProvider, ServerUnavailableError, Tool, __version__, run_tools


def double(number: int) -> str:
    """Double a number."""
    return str(2 * number)


with LMStudioProvider(sys.argv[1]) as lm:
    print(lm.chat("Hi").text)
    print("".join(lm.stream("Hi").text()))
    print(lm.native.chat("Hi").text)
    print(run_tools(lm, "Hi", [double]).completion.text)
try:
    LMStudioProvider(sys.argv[2], refresh=False).chat("Hi")
except ServerUnavailableError as error:
    print(type(error).__module__)
print(__version__)
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"lmstudio_provider", "urllib3"}))
'''


def copied(source, folder):
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__"))


def vendor(folder, *arguments):
    command = [sys.executable, "-m", "lmstudio_provider", "vendor", "app/_vendor", "--with", "tools,native", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    subprocess.run(command, cwd=folder, env=environment, check=True, timeout=60)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """An application with a copy of the package; urllib3 is in the folder ``lib`` beside it."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "app").mkdir()
    (folder / "app" / "__main__.py").write_text(APPLICATION, encoding="utf-8")
    copied(Path(urllib3.__file__).parent, folder / "lib" / "urllib3")
    vendor(folder)
    return folder


@pytest.fixture(scope="module")
def project_with_urllib3(project, tmp_path_factory):
    """The same with urllib3 beside the copy, and nowhere else."""
    folder = tmp_path_factory.mktemp("with_urllib3")
    copied(project / "app", folder / "app")
    copied(project / "lib" / "urllib3", folder / "app" / "_vendor" / "urllib3")
    for path in (folder / "app" / "_vendor" / "urllib3").rglob("*.py"):  # urllib3 1.26 imports itself by its name
        path.write_bytes(import_from("app._vendor.urllib3", path.read_bytes()))
    vendor(folder, "--urllib3", "app._vendor.urllib3")
    return folder


@pytest.fixture
def chat(simulator, closed_port):
    """Return a function that runs the application with ``python``; it returns the version, and the packages in use."""

    def run(*python, where):
        urls = [simulator.url, f"http://127.0.0.1:{closed_port}"]
        ended = subprocess.run([*python, *urls], cwd=where, capture_output=True, text=True, timeout=60, check=False)
        assert (ended.returncode, ended.stderr) == (0, "")
        *texts, error, version, packages = ended.stdout.splitlines()
        assert [text[-12:] for text in texts] == [*["You said: Hi"] * 3, " answered: 2"]
        assert error == "app._vendor.lmstudio_provider._core.errors"
        return version, packages

    return run


def alone(*paths, code="import runpy; runpy.run_module('app', run_name='__main__')"):
    """Return the command for a Python that sees ``paths`` and its standard library, and nothing that is installed."""
    hidden = "assert importlib.util.find_spec('lmstudio_provider') is None"
    return [sys.executable, "-S", "-I", "-c", f"import importlib.util, sys; sys.path[:0] = {paths!r}; {hidden}; {code}"]


def zipped(folder):
    archive = shutil.make_archive(str(folder / "zipped"), "zip", folder, "app")
    return Path(archive).rename(folder / "application.zip")


def test_a_copy_chats_if_nothing_is_installed(project, chat):
    command = alone(str(project), str(project / "lib"))
    assert chat(*command, where=project) == (lmstudio_provider.__version__, "urllib3")


def test_a_copy_chats_from_inside_a_zip_file(project, chat, tmp_path):
    command = alone(str(zipped(project)), str(project / "lib"))
    assert chat(*command, where=tmp_path) == (lmstudio_provider.__version__, "urllib3")


def test_a_copy_chats_with_urllib3_beside_it(project_with_urllib3, chat):
    command = alone(str(project_with_urllib3))
    assert chat(*command, where=project_with_urllib3) == (lmstudio_provider.__version__, "")


def test_a_copy_chats_with_urllib3_beside_it_from_inside_a_zip_file(project_with_urllib3, chat, tmp_path):
    command = alone(str(zipped(project_with_urllib3)))
    assert chat(*command, where=tmp_path) == (lmstudio_provider.__version__, "")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The Python of an environment in which version 99.0 of the package is installed."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=os.name != "nt")
    python = str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip())
    copied(PACKAGE, packages / "lmstudio_provider")
    copied(Path(urllib3.__file__).parent, packages / "urllib3")
    about = packages / "lmstudio_provider-99.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: lmstudio-provider\nVersion: 99.0\n")
    (about / "RECORD").write_text(f"{about.name}/LICENSE,,\n")
    (about / "LICENSE").write_text("The licence of 99.0")
    own = packages / "lmstudio_provider" / "__init__.py"
    text = own.read_text(encoding="utf-8")
    own.write_text(text.replace(f'"{lmstudio_provider.__version__}"', '"99.0"'), encoding="utf-8")
    return python


def test_a_copy_chats_beside_an_installed_copy_of_another_version(project, chat, installed):
    assert chat(installed, "-m", "app", where=project) == (lmstudio_provider.__version__, "urllib3")


def test_a_copy_and_the_installed_version_work_in_one_process(project, installed, simulator):
    code = f"""
import lmstudio_provider
from app._vendor import lmstudio_provider as copy
for package in lmstudio_provider, copy:
    with package.LMStudioProvider({simulator.url!r}) as lm:
        print(package.__version__, lm.chat("Hi").text[-12:], isinstance(lm, lmstudio_provider.Provider))
"""
    ended = subprocess.run(
        [installed, "-c", code], cwd=project, capture_output=True, text=True, timeout=60, check=False
    )
    versions = [("99.0", True), (lmstudio_provider.__version__, False)]
    assert ended.stdout.splitlines() == [f"{version} You said: Hi {known}" for version, known in versions]


def test_the_installed_version_updates_the_copy_of_another_one(project, installed, tmp_path):
    copied(project / "app", tmp_path / "app")

    def run(*arguments):
        command = [installed, "-m", "lmstudio_provider", "vendor", "app/_vendor", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True).stdout

    assert "99.0 is installed and newer; to update the copy, use 'vendor app" in run("--check")
    assert f"lmstudio_provider 99.0 with native, tools, types; it was {lmstudio_provider.__version__}\n" in run()
    assert "is installed" not in run("--check")
    licence = tmp_path / "app" / "_vendor" / "lmstudio_provider" / "LICENSE"
    assert licence.read_text() == "The licence of 99.0"


def test_the_command_line_of_a_copy_runs(project, tmp_path):
    vendor(tmp_path, "--with", "all")
    code = "import runpy; runpy.run_module('app._vendor.lmstudio_provider', run_name='__main__')"
    command = [*alone(str(tmp_path), str(project / "lib"), code=code), "vendor", "--check", "app/_vendor"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"lmstudio_provider {lmstudio_provider.__version__} with batch, cli, conversation" in ended.stdout
