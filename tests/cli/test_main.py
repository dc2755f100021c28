"""The options of all commands, and how a command ends."""

import json

import pytest
from commands import run

from lmstudio_provider import __version__


def one_line(ended):
    (line,) = ended.err.splitlines()
    return line


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["nonsense"], "invalid choice: 'nonsense'"),
        (["models", "--nonsense"], "unrecognized arguments: --nonsense; see 'lmstudio-provider models --help'"),
        (["--nonsense", "models"], "--nonsense"),
        (["models", "--timeout", "soon"], "'soon' is not a number of seconds"),
        (["models", "--timeout", "0"], "--timeout 0.0 is not valid"),
        (["models", "--provider", "openai"], "invalid choice: 'openai'"),
        (["models", "--base-url", "ftp://here"], "ftp"),
        (["models", "--prov", "ollama"], "--prov"),
    ],
)
def test_wrong_usage_is_one_line_and_exits_with_2(arguments, what):
    ended = run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert one_line(ended).startswith("error: ")
    assert what in one_line(ended)


def test_without_a_command_the_help_is_shown_and_the_exit_code_is_2():
    ended = run()
    assert (ended.code, ended.out) == (2, "")
    assert "commands:" in ended.err


@pytest.mark.parametrize("arguments", [["--version"], ["models", "--version"]])
def test_the_version_is_shown_before_and_after_a_command(arguments):
    assert run(*arguments) == (0, f"lmstudio-provider {__version__}\n", "")


def test_options_of_all_commands_stand_before_and_after_the_command(simulator):
    before = run("--json", "--base-url", simulator.url, "models")
    after = run("models", "--json", "--base-url", simulator.url)
    assert before == after
    assert [each["id"] for each in json.loads(before.out)] == simulator.models


def test_a_server_that_is_not_running_is_one_line_with_what_to_do(closed_port):
    ended = run("models", "--base-url", f"localhost:{closed_port}")
    assert (ended.code, ended.out) == (1, "")
    assert "no server answers" in one_line(ended)
    assert "lms server start" in one_line(ended)
