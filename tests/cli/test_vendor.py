"""``vendor`` as a person uses it; tests/cli/test_vendoring.py shows what is in a copy and what becomes of changes."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from commands import run
from tables import for_each

from lmstudio_provider import __version__
from lmstudio_provider.cli.vendor import EXAMPLE
from lmstudio_provider.cli.vendoring import NAME, PARTS, RECORD, check_copy

PAGE = (Path(__file__).parents[2] / "docs" / "vendoring.rst").read_text(encoding="utf-8")


def of_version(folder, version):
    text = (folder / NAME / RECORD).read_text()
    (folder / NAME / RECORD).write_text(text.replace(f"version: {__version__}", f"version: {version}"))


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ([], "DIR"),
        (["x", "y"], "y"),
        (["x", "--with", "tolls"], "there is not a part 'tolls' in lmstudio_provider "),
        (["x", "--with", "tools native"], "there is not a part 'tools native'"),
        (["x", "--with", "all,tools"], "there is not a part 'all'"),
        (["x", "--with", ""], "no part is named; use 'none' for only the core"),
        (["x", "--with", ","], "no part is named"),
        (["x", "--urllib3", ""], "'' is not the name of a module"),
        (["x", "--urllib3", "app/_vendor/urllib3"], "'app/_vendor/urllib3' is not the name of a module"),
        (["x", "--urllib3", "..urllib3"], "'..urllib3' is not the name of a module"),
        (["x", "--urllib3", "app.import.urllib3"], "'app.import.urllib3' is not the name of a module"),
        (["x", "--urllib3", "a;b"], "'a;b' is not the name of a module"),
        (["x", "--check", "--with", "tools"], "--check copies nothing"),
        (["x", "--check", "--urllib3", "a.b"], "--check copies nothing"),
        (["x", "--check", "--force"], "--check copies nothing"),
    ],
)
def test_wrong_usage_is_one_line_and_writes_nothing(tmp_path, monkeypatch, arguments, what):
    monkeypatch.chdir(tmp_path)
    ended = run("vendor", *arguments)
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert what in line
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_done_is_one_line_with_what_to_do_next(tmp_path):
    (tmp_path / "file").touch()
    ended = run("vendor", tmp_path / "file")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"error: {tmp_path / 'file'} is not a folder. Name the folder that the copy goes into.\n"


def test_changes_are_refused_until_they_are_forced(tmp_path):
    assert run("vendor", tmp_path).code == 0
    (tmp_path / NAME / "_lmstudio.py").write_bytes(b"x = 1")
    refused = run("vendor", tmp_path)
    assert (refused.code, refused.out) == (2, "")
    assert "changed by hand: _lmstudio.py (changed). Keep them elsewhere, then use --force" in refused.err
    assert run("vendor", tmp_path, "--force").code == 0
    assert run("vendor", tmp_path, "--check").code == 0


@pytest.mark.slow
def test_a_copy_has_the_parts_that_were_asked_for(tmp_path):
    ended = run("vendor", tmp_path / "app" / "_vendor", "--with", "conversation, native", "--urllib3", "a.urllib3")
    folder = tmp_path / "app" / "_vendor" / NAME
    what = (
        f"lmstudio_provider {__version__} with conversation, native, tools, types, and imports urllib3 from a.urllib3"
    )
    assert ended == (0, f"{folder} is now {what}\n", "")
    assert check_copy(folder)[0].parts == ("conversation", "native", "tools", "types")
    assert run("vendor", folder) == (0, f"{folder} is {what}\n", "")


def test_parts_can_be_named_one_by_one(tmp_path):
    assert run("vendor", tmp_path, "--with", "tools", "--with", "native,measure").code == 0
    assert check_copy(tmp_path)[0].parts == ("measure", "native", "tools", "types")


def test_all_and_none_are_words_for_parts(tmp_path):
    assert run("vendor", tmp_path, "--with", "all").code == 0
    assert check_copy(tmp_path)[0].parts == tuple(sorted(PARTS))
    assert "with no optional parts\n" in run("vendor", tmp_path, "--with", "none").out
    assert check_copy(tmp_path)[0].parts == ()


def test_an_update_says_which_version_it_was(tmp_path):
    run("vendor", tmp_path)
    of_version(tmp_path, "0.0.1")
    assert run("vendor", tmp_path).out.endswith(f"{__version__} with no optional parts; it was 0.0.1\n")


def test_a_check_lists_what_was_changed_and_exits_with_1(tmp_path):
    run("vendor", tmp_path)
    (tmp_path / NAME / "py.typed").unlink()
    (tmp_path / NAME / "_core" / "json.py").write_bytes(b"x = 1")
    ended = run("vendor", "--check", tmp_path)
    assert (ended.code, ended.err) == (1, "")
    assert ended.out.splitlines()[1:] == ["changed: _core/json.py", "missing: py.typed"]


def test_a_check_says_if_a_newer_version_is_installed(tmp_path):
    run("vendor", tmp_path)
    assert "is installed" not in run("vendor", tmp_path, "--check").out
    of_version(tmp_path, "99.0")
    assert "is installed" not in run("vendor", tmp_path, "--check").out
    run("vendor", tmp_path)
    of_version(tmp_path, "0.0.1")
    ended = run("vendor", tmp_path, "--check")
    assert ended.code == 0
    assert f"{__version__} is installed and newer; to update the copy, use 'vendor {tmp_path}'" in ended.out


def test_the_json_of_a_copy_and_of_a_check_has_the_facts(tmp_path):
    made = json.loads(run("vendor", tmp_path, "--with", "tools", "--json").out)
    assert made == {
        "folder": str(tmp_path / NAME),
        "before": None,
        "version": __version__,
        "parts": ["tools", "types"],
        "urllib3": "urllib3",
    }
    of_version(tmp_path, "0.0.1")
    (tmp_path / NAME / "mine.py").touch()
    ended = run("--json", "vendor", tmp_path, "--check")
    assert ended.code == 1
    assert json.loads(ended.out) == {
        "folder": str(tmp_path / NAME),
        "version": "0.0.1",
        "parts": ["tools", "types"],
        "urllib3": "urllib3",
        "installed": __version__,
        "newer_is_installed": True,
        "changed": [],
        "missing": [],
        "added": ["mine.py"],
    }


def test_the_page_names_each_part_with_what_it_needs():
    rows = [re.split(r"\s{2,}", line.replace("``", "")) for line in PAGE.splitlines() if re.match("``.+kB$", line)]
    assert [row[:-1] for row in rows] == [[name, part.about, *part.needs] for name, part in PARTS.items()]


@pytest.mark.slow
def test_the_commands_of_the_page_work_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = ""
    for line in re.findall(r"^    \$ lmstudio-provider (.+)$", PAGE, re.M):
        ended = run(*shlex.split(line))
        assert (line, ended.code, ended.err) == (line, 0, "")
        shown += ended.out.replace(str(tmp_path), "/src")
    assert shown.splitlines()[0] in PAGE.replace("0.1.0", __version__)
    assert check_copy(tmp_path / "app" / "_vendor")[0].urllib3 == "app._vendor.urllib3"


def test_the_example_of_the_help_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert EXAMPLE in run("vendor", "--help").out
    assert run(*EXAMPLE.split()[1:]).code == 0
    assert check_copy(tmp_path / "app" / "_vendor")[0].parts == ("native", "tools", "types")


@for_each("part", PARTS)
def test_the_help_names_each_part(part):
    text = " ".join(run("vendor", "--help").out.split())
    assert f"{part}: {PARTS[part].about}" in text
