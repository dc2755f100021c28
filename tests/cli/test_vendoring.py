"""Copies of the package in other projects: what is in them, and what becomes of changes and of interrupted runs."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tables import for_each

import lmstudio_provider
from lmstudio_provider.cli import vendoring
from lmstudio_provider.cli.vendoring import (
    NAME,
    PARTS,
    RECORD,
    Changes,
    VendoringError,
    check_copy,
    import_from,
    is_newer,
    make_copy,
    package_files,
    write_tree,
)

PACKAGE = Path(lmstudio_provider.__file__).parent
NO_CHANGES = Changes((), (), ())


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def project(tmp_path):
    """The folder of a copy of the core."""
    make_copy(tmp_path, [])
    return tmp_path / NAME


def older(folder):
    """Make the copy in ``folder`` one of an older version, which had another file."""
    (folder / "old.py").write_bytes(b"x = 1\n")
    text = (folder / RECORD).read_text().replace(f"version: {lmstudio_provider.__version__}", "version: 0.0.1")
    (folder / RECORD).write_text(text + f"{hashlib.sha256(b'x = 1' + os.linesep.encode()[-1:]).hexdigest()}  old.py\n")


# Errors


def test_a_part_that_does_not_exist_is_refused_with_the_parts_that_do(tmp_path):
    with pytest.raises(VendoringError, match=r"not a part 'tolls'.*conversation.*tools") as caught:
        make_copy(tmp_path, ["native", "tolls"])
    assert caught.value.hint
    assert files(tmp_path) == {}


@pytest.mark.parametrize("path", ["file", "file/below", "file/below/below"])
def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path, path):
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(VendoringError, match=r"file is not a folder"):
        make_copy(tmp_path / path, [])
    assert files(tmp_path) == {"file": b"mine"}


def test_a_file_with_the_name_of_the_package_is_refused(tmp_path):
    (tmp_path / NAME).write_bytes(b"mine")
    with pytest.raises(VendoringError, match=rf"{NAME} is not a folder"):
        make_copy(tmp_path, [], force=True)
    assert files(tmp_path) == {NAME: b"mine"}


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_that_is_not_a_copy_is_never_overwritten(tmp_path, force):
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "mine.py").write_bytes(b"x = 1")
    with pytest.raises(VendoringError, match=r"is not empty, and not a copy that 'vendor' made") as caught:
        make_copy(tmp_path, [], force=force)
    assert RECORD in caught.value.hint
    assert files(tmp_path) == {f"{NAME}/mine.py": b"x = 1"}


@pytest.mark.parametrize(
    ("change", "report"),
    [
        (lambda folder: (folder / "_core" / "json.py").write_text("x = 1"), "_core/json.py (changed)"),
        (lambda folder: (folder / "LICENSE").unlink(), "LICENSE (missing)"),
        (lambda folder: (folder / "_core" / "mine.txt").touch(), "_core/mine.txt (added)"),
    ],
)
def test_changes_by_hand_are_not_overwritten(project, change, report):
    older(project)
    change(project)
    before = files(project)
    with pytest.raises(VendoringError) as caught:
        make_copy(project.parent)
    assert f"changed by hand: {report}" in caught.value.message
    assert "--force" in caught.value.hint
    assert files(project) == before


@pytest.mark.parametrize("text", ["", "<<<<<<< HEAD\n", "a\nversion: 1\nparts: none\n", "a\nversion: 1\nparts: x\n\n"])
def test_a_broken_record_is_an_error(project, text):
    (project / RECORD).write_text(text)
    for call in (make_copy, check_copy):
        with pytest.raises(VendoringError, match=r"VENDORED is not as 'vendor' wrote it, in line 1") as caught:
            call(project)
        assert "--force" in caught.value.hint
    assert (project / RECORD).read_text() == text


def test_a_line_of_the_record_that_is_broken_is_named(project):
    lines = (project / RECORD).read_bytes().splitlines(keepends=True)
    lines[6] = b"=======\n"
    (project / RECORD).write_bytes(b"".join(lines))
    with pytest.raises(VendoringError, match=r"in line 7\."):
        check_copy(project)


def test_a_record_that_is_not_text_is_an_error(project):
    (project / RECORD).write_bytes(b"\xff\x00" * 100)
    with pytest.raises(VendoringError, match="not as 'vendor' wrote it"):
        check_copy(project)


@pytest.mark.parametrize("path", ["", "nothing/here"])
def test_what_is_not_a_copy_cannot_be_checked(tmp_path, path):
    with pytest.raises(VendoringError, match=r"is not a copy that 'vendor' made"):
        check_copy(tmp_path / path)


def test_a_part_that_only_another_version_has_is_an_error(project):
    text = (project / RECORD).read_text()
    (project / RECORD).write_text(text.replace("parts: none", "parts: telepathy"))
    with pytest.raises(VendoringError, match=r"not a part 'telepathy' in lmstudio_provider \d"):
        make_copy(project)


@pytest.fixture
def read_only(tmp_path):
    """A folder that nobody can write to, root included."""
    folder = tmp_path / "read_only"
    folder.mkdir(mode=0o555)
    for each in (folder, Path("/sys/kernel")):
        if each.is_dir() and not (os.access(each, os.W_OK) and each == folder):
            return each
    return pytest.skip("root writes everywhere on this system")


def test_a_read_only_folder_is_an_error_that_names_it(read_only):
    with pytest.raises(VendoringError, match=r"the copy in .* was left as it was; \w+") as caught:
        make_copy(read_only / "app")
    assert str(read_only) in caught.value.message
    assert isinstance(caught.value.__cause__, OSError)


def test_a_name_that_the_system_does_not_take_is_an_error(tmp_path):
    with pytest.raises(VendoringError, match="was left as it was"):
        make_copy(tmp_path / ("x" * 5000))


@pytest.mark.slow
def test_a_copy_of_a_copy_is_refused(tmp_path):
    make_copy(tmp_path, ["cli"])
    code = "import sys; sys.path[0] = sys.argv[1]; from pathlib import Path\n"
    code += "from lmstudio_provider.cli.vendoring import *; make_copy(Path(sys.argv[1]) / 'other', [])"
    ended = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, timeout=60, check=False
    )
    assert "lmstudio_provider is such a copy itself" in ended.stderr.splitlines()[-1]
    assert not (tmp_path / "other").exists()


# Interrupted runs


def stopping(error):
    yield "a.py", b"new"
    yield "b/c.py", b"new"
    raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("the disk is full"), SystemExit()])
def test_an_interrupted_run_leaves_the_old_copy(project, error):
    before = files(project.parent)
    with pytest.raises(type(error)):
        write_tree(project, stopping(error))
    assert files(project.parent) == before


def test_an_interrupted_first_run_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_tree(tmp_path / NAME, stopping(KeyboardInterrupt()))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_run_that_was_killed_leaves_the_old_copy_and_the_next_one_ends_it(project):
    older(project)
    before = files(project)
    code = f"""
import os, signal
from pathlib import Path
from lmstudio_provider.cli.vendoring import write_tree
def files():
    yield "_core/killed.py", b""
    os.kill(os.getpid(), signal.SIGKILL)
write_tree(Path({str(project)!r}), files())
"""
    ended = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert files(project) == before
    assert len(list(project.parent.iterdir())) == 2
    make_copy(project)
    assert list(project.parent.iterdir()) == [project]
    assert check_copy(project)[0].version == lmstudio_provider.__version__
    assert check_copy(project)[1] == NO_CHANGES


@pytest.mark.parametrize("call", [check_copy, make_copy])
def test_a_run_that_was_killed_before_the_new_copy_took_the_place_of_the_old_one_is_undone(project, call):
    before = files(project)
    project.rename(project.with_name(f".{NAME}.vendor-old"))
    call(project.parent)
    assert list(project.parent.iterdir()) == [project]
    assert files(project) == before


def test_a_run_that_was_killed_before_it_removed_the_old_copy_is_finished(project):
    before = files(project)
    write_tree(project.with_name(f".{NAME}.vendor-old"), [("old.py", b"")])
    check_copy(project)
    assert list(project.parent.iterdir()) == [project]
    assert files(project) == before


# What is in a copy


def test_a_copy_has_the_core_the_licence_and_a_record_with_the_sum_of_each_file(tmp_path):
    before, copy = make_copy(tmp_path / "app" / "_vendor", [])
    folder = tmp_path / "app" / "_vendor" / NAME
    there = files(folder)
    assert before is None
    assert (copy.version, copy.parts, copy.urllib3) == (lmstudio_provider.__version__, (), "urllib3")
    assert b"Apache License" in there["LICENSE"]
    assert {"__init__.py", "py.typed", "_lmstudio.py", "_core/errors.py"} <= set(there)
    assert not {path.partition("/")[0] for path in there} & {"_native", "_workflows", "_servers", "simulator", "cli"}
    record = there.pop(RECORD).decode().splitlines()
    assert record[1:4] == [f"version: {copy.version}", "parts: none", "urllib3: urllib3"]
    assert record[4:] == [f"{hashlib.sha256(there[path]).hexdigest()}  {path}" for path in sorted(there)]


def test_the_record_can_be_read_by_sha256sum(project):
    lines = (project / RECORD).read_bytes().split(b"\n", 4)[4]
    try:
        ended = subprocess.run(["sha256sum", "--check", "--strict", "--quiet"], cwd=project, input=lines, check=False)
    except FileNotFoundError:
        pytest.skip("there is no sha256sum")
    assert ended.returncode == 0


def test_a_folder_with_the_name_of_the_package_is_the_copy_itself(tmp_path):
    make_copy(tmp_path / NAME, ["tools"])
    assert (tmp_path / NAME / RECORD).exists()
    assert check_copy(tmp_path)[0] == check_copy(tmp_path / NAME)[0]


def test_an_empty_folder_may_be_there(tmp_path):
    (tmp_path / NAME).mkdir()
    make_copy(tmp_path, [])
    assert check_copy(tmp_path)[1] == NO_CHANGES


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_a_link_to_a_copy_stays_a_link(project, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / NAME).symlink_to(project)
    make_copy(tmp_path / "other", ["native"])
    assert (tmp_path / "other" / NAME).is_symlink()
    assert check_copy(project)[0].parts == ("native",)


def test_other_packages_beside_the_copy_stay_as_they_are(tmp_path):
    (tmp_path / "urllib3").mkdir()
    (tmp_path / "urllib3" / "__init__.py").write_bytes(b"mine")
    make_copy(tmp_path, [])
    make_copy(tmp_path, ["native"])
    assert (tmp_path / "urllib3" / "__init__.py").read_bytes() == b"mine"


def test_a_part_brings_the_parts_that_it_needs(tmp_path):
    _, copy = make_copy(tmp_path, ["conversation"])
    assert copy.parts == ("conversation", "tools", "types")
    assert {"_workflows/tools.py", "_core/schema/functions.py", "_core/files.py"} <= set(copy.sums)
    assert "_workflows/measure.py" not in copy.sums


def test_all_parts_make_the_whole_package(tmp_path):
    _, copy = make_copy(tmp_path, PARTS)
    paths = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}
    assert set(copy.sums) == {*paths, "py.typed", "LICENSE"}


@for_each("part", PARTS)
def test_each_pattern_of_a_part_names_files(part):
    for pattern in PARTS[part].files:
        assert list(PACKAGE.glob(pattern)), pattern


def test_a_file_that_no_part_names_is_of_the_core():
    # A new module of an optional folder belongs into the list of a part.
    core = {path.partition("/")[0] for path, _ in package_files(())}
    assert core == {"__init__.py", "py.typed", "_lmstudio.py", "_core", "_http", "_dialects", "_provider"}


# Commands of the command line need parts that may be missing, and say so: tests/test_optional.py.
@pytest.mark.slow
def test_a_copy_with_one_part_has_what_each_of_its_modules_imports(tmp_path):
    copies = []
    for part in sorted({*PARTS} - {"cli"}):
        make_copy(tmp_path / part, [part])
        paths = [
            path.relative_to(tmp_path / part)
            for path in sorted((tmp_path / part).rglob("*.py"))
            if path.name not in ("__init__.py", "__main__.py", "pytest_plugin.py")
        ]
        copies.append((tmp_path / part, [".".join(path.with_suffix("").parts) for path in paths]))
    import_all(copies)


@pytest.mark.slow
def test_a_command_imports_nothing_beside_its_part(tmp_path):
    commands = {
        "batch": "batch",
        "bench": "measure",
        "chat": "conversation",
        "decide": "decisions",
        "download": "native",
        "pull": "ollama",
        "simulate": "simulator",
        "status": "servers",
        "usage": "usage",
    }
    for part in commands.values():
        make_copy(tmp_path / part, ["cli", part])
    import_all([(tmp_path / part, [f"lmstudio_provider.cli.{command}"]) for command, part in commands.items()])


def import_all(copies):
    """Import the modules of each folder, in one interpreter, which compiles a module once and runs it for each copy."""
    # The finder of an editable installation would find what is missing here in the sources.
    code = f"""
import functools, importlib, sys
from importlib.machinery import SourceFileLoader
sys.meta_path[:] = [each for each in sys.meta_path if "editable" not in repr(each)]
compiled = functools.lru_cache(None)(lambda data: compile(data, "a module", "exec", dont_inherit=True))
SourceFileLoader.source_to_code = lambda loader, data, path, **_: compiled(data)
for folder, modules in {[(str(folder), modules) for folder, modules in copies]!r}:
    for name in [name for name in sys.modules if name.partition(".")[0] == "lmstudio_provider"]:
        del sys.modules[name]
    sys.path[0] = folder
    for module in modules:
        try:
            assert importlib.import_module(module).__spec__.origin.startswith(folder)
        except ImportError as error:
            print(folder, module, error, file=sys.stderr)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=copies[0][0], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stderr == ""


@pytest.mark.slow
def test_a_copy_imports_urllib3_from_the_given_module(tmp_path):
    _, copy = make_copy(tmp_path, PARTS, "app._vendor.urllib3")
    original = dict(package_files(PARTS))
    there = files(tmp_path / NAME)
    changed = {path for path in original if there[path] != original[path]}
    assert copy.urllib3 == "app._vendor.urllib3"
    assert {"_http/connection.py", "_http/transport.py", "_http/reply.py"} <= changed
    assert {path: import_from("app._vendor.urllib3", original[path]) for path in changed} == {
        path: there[path] for path in changed
    }
    assert check_copy(tmp_path)[1] == NO_CHANGES


# Updates


@pytest.mark.slow
def test_an_update_keeps_parts_and_urllib3_and_removes_what_is_gone(tmp_path):
    make_copy(tmp_path, ["native"], "app._vendor.urllib3")
    older(tmp_path / NAME)
    before, copy = make_copy(tmp_path)
    assert before.version == "0.0.1"
    assert (copy.version, copy.parts, copy.urllib3) == (lmstudio_provider.__version__, ("native",), before.urllib3)
    assert "old.py" not in files(tmp_path / NAME)
    assert check_copy(tmp_path) == (copy, NO_CHANGES)


def test_other_parts_replace_those_of_the_copy(tmp_path):
    make_copy(tmp_path, ["native", "tools"])
    make_copy(tmp_path, ["servers"], "urllib3")
    assert check_copy(tmp_path)[0].parts == ("servers",)
    assert not (tmp_path / NAME / "_native").exists()


def test_the_same_again_writes_nothing(project):
    before = {path: path.stat().st_mtime_ns for path in [project, *project.rglob("*")]}
    old, new = make_copy(project)
    assert old == new
    assert {path: path.stat().st_mtime_ns for path in [project, *project.rglob("*")]} == before


def test_force_overwrites_changes(project):
    (project / "_core" / "json.py").write_bytes(b"x = 1")
    (project / "mine.py").write_bytes(b"x = 1")
    (project / "LICENSE").unlink()
    make_copy(project, force=True)
    assert check_copy(project)[1] == NO_CHANGES


def test_force_makes_a_copy_with_a_broken_record_again(project):
    (project / RECORD).write_bytes(b"")
    make_copy(project, ["tools"], force=True)
    assert check_copy(project)[0].parts == ("tools", "types")


# Checks


def test_what_was_changed_is_listed(project):
    (project / "_core" / "json.py").write_bytes(b"x = 1")
    (project / "py.typed").unlink()
    (project / "_core" / "ä b.py").write_bytes(b"x = 1")
    changes = check_copy(project)[1]
    assert changes == Changes(("_core/json.py",), ("py.typed",), ("_core/ä b.py",))


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_a_link_in_the_copy_is_a_change(project, tmp_path):
    (project / "link").symlink_to(tmp_path)
    (project / "dangling").symlink_to("nowhere")
    assert check_copy(project)[1] == Changes((), (), ("dangling", "link"))
    make_copy(project, force=True)
    assert check_copy(project)[1] == NO_CHANGES
    assert project.is_dir()


def test_bytecode_and_line_breaks_of_windows_are_not_changes(project):
    (project / "_core" / "__pycache__").mkdir()
    (project / "_core" / "__pycache__" / "json.cpython-39.pyc").write_bytes(b"x")
    for path in project.rglob("*.py"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    (project / RECORD).write_bytes((project / RECORD).read_bytes().replace(b"\n", b"\r\n"))
    assert check_copy(project)[1] == NO_CHANGES


@for_each(
    "versions",
    [
        ["0.9", "0.10", "0.10.1"],
        ["1.0.dev1", "1.0a1", "1.0b2", "1.0rc1", "1.0rc2", "1.0", "1.0.post1", "1.0.1"],
        ["2.0.1.dev3", "2.0.1"],
    ],
)
def test_versions_are_in_the_order_of_pep_440(versions):
    for earlier, later in zip(versions, versions[1:]):
        assert is_newer(later, earlier)
        assert not is_newer(earlier, later)
    assert not is_newer(versions[0], versions[0])


def test_the_module_copies_itself():
    assert vendoring.PACKAGE == NAME
