"""The options of all commands, and how a command ends."""

import contextlib
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from commands import PROGRAM, error_of, run
from tables import for_each

from lmstudio_provider import __version__
from lmstudio_provider.cli.main import COMMANDS, main
from lmstudio_provider.simulator import SimulatedLMStudio, SimulatedOllama

ROOT = Path(__file__).parent.parent.parent
FULL = Path("/dev/full")
# Examples that are shown by a test of their own, because they run until they are stopped, or need files.
APART = {"simulate", "batch", "usage", "vendor"}


def module_of(name):
    return __import__(f"lmstudio_provider.cli.{name}", fromlist=["EXAMPLE"])


@pytest.fixture
def servers(monkeypatch):
    """Servers with all kinds of models, at the addresses of the settings."""
    with SimulatedLMStudio(["simulated-model", "text-embedding-simulated", "nimble"]) as lm_studio:
        with SimulatedOllama() as ollama:
            monkeypatch.setenv("LM_STUDIO_URL", lm_studio.url)
            monkeypatch.setenv("OLLAMA_HOST", ollama.url)
            yield lm_studio, ollama


@for_each(
    ("arguments", "what"),
    [
        (["nonsense"], "invalid choice: 'nonsense'"),
        (["models", "--nonsense"], "unrecognized arguments: --nonsense; see 'lmstudio-provider models --help'"),
        (["--nonsense", "models"], "--nonsense"),
        (["models", "--timeout", "soon"], "'soon' is not a number of seconds"),
        (["models", "--timeout", "0"], "'0' is not a number of seconds"),
        (["models", "--provider", "openai"], "invalid choice: 'openai'"),
        (["models", "--base-url", "ftp://here"], "ftp"),
        (["models", "--prov", "ollama"], "--prov"),
        (["load"], "the following arguments are required: model"),
        (["pull", "m", "--provider", "lm-studio"], "'pull' is for ollama, not for lm-studio"),
        (["download", "m", "--provider", "ollama"], "'download' is for lm-studio, not for ollama"),
        (["download"], "give either a model or --job"),
        (["unload"], "give either a model or --all"),
        (["unload", "m", "--all"], "give either a model or --all"),
        (["load", "m", "--keep-alive", "1m"], "--keep-alive is for Ollama"),
        (["chat", "-p", ""], "there is no text"),
        (["chat", "-p", "x", "--temperature", "-1"], "temperature"),
        (["chat", "-p", "x", "--image", "no-such.png"], "no-such.png"),
        (["chat", "-p", "x", "--schema", "no-such.json"], "cannot read no-such.json: No such file or directory"),
        (["chat", "-p", "x", "--resume", "no-such.json"], "cannot read a conversation from 'no-such.json'"),
        (["complete", "x", "--raw", "--system", "y"], "a text that is continued has no --system"),
        (["complete", "x", "--raw", "--reasoning", "off"], "reasoning"),
        (["embed"], "there is no text"),
        (["embed", "a", ""], "there is no text"),
        (["chat", "-p", "x", "--save", "no-such-folder/chat.json"], "its folder does not exist"),
        (["models", "--timeout", "nan"], "'nan' is not a number of seconds"),
        (["bench", "--plot", "speed.gif"], "'speed.gif' does not end in .png, .svg or .pdf"),
        (["download", "--job", ""], "give either a model or --job"),
        (["decide", "x"], "there is no question"),
        (["decide", "x", "--choice", "q", "a", "a=b"], "--choice 'q' has an option twice"),
        (["decide", "x", "--score", "How bad?"], "--score needs a question and"),
        (["decide", "x", "--condition", "y", "--image", "no-such.png"], "no-such.png"),
        (["bench", "--repeat", "0"], "'0' is not a whole number of at least 1"),
        (["bench", "--warm-up", "-1"], "--warm-up -1"),
        (["decide", "x", "--condition", "q", "--choice", "q", "a", "b"], "two questions have the same text"),
        (["decide", "x", "--score", "z", "a"], "z"),
        (["embed", "x", "--model", ""], "model"),
        (["download", "foo", "--quantization", "Q4"], "quantization"),
        (["load", "m", "--provider", "ollama", "--keep-alive", "soon"], "'soon' is not a length of time"),
        (["load", "m", "--provider", "ollama", "--keep-alive", "0"], "keep-alive"),
        (["load", "m", "--context-length", "many"], "'many' is not a whole number"),
        (["simulate", "--port", "99999"], "'99999' is not a port"),
    ],
)
def test_wrong_usage_is_one_line_and_exits_with_2(arguments, what):
    ended = run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert what in error_of(ended)


def test_without_a_command_the_help_is_shown_and_the_exit_code_is_2():
    ended = run()
    assert (ended.code, ended.out) == (2, "")
    assert "commands:" in ended.err


@pytest.mark.parametrize("arguments", [["--version"], ["models", "--version"]])
def test_the_version_is_shown_before_and_after_a_command(arguments):
    assert run(*arguments) == (0, f"lmstudio-provider {__version__}\n", "")


@for_each("name", COMMANDS)
def test_the_help_of_a_command_ends_with_an_example(name):
    ended = run(name, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(f"usage: lmstudio-provider {name} ")
    assert ended.out.endswith(f"example:\n  {module_of(name).EXAMPLE}\n")
    assert "--base-url" in ended.out


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in APART])
def test_the_example_of_a_command_works(name, servers):
    program, *arguments = shlex.split(module_of(name).EXAMPLE)
    assert program == "lmstudio-provider"
    lm_studio, _ = servers
    for model in arguments if name in ("load", "unload") else ():  # those that the examples name
        lm_studio.models.append(model)
    if name == "unload":
        assert run("load", arguments[1]).code == 0
    ended = run(*arguments)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out


@for_each("arguments", [["-v", "models", "-v"], ["-vv", "models"], ["models", "-v", "--verbose"]])
def test_each_v_counts_wherever_it_stands(closed_port, arguments):
    assert "Traceback" in run(*arguments, "--base-url", f"localhost:{closed_port}").err


def test_a_wrong_option_after_v_shows_where_the_error_came_from():
    assert "Traceback" in run("-v", "models", "-v", "--nonsense").err


def test_options_of_all_commands_stand_before_and_after_the_command(simulator):
    before = run("--json", "--base-url", simulator.url, "models")
    after = run("models", "--json", "--base-url", simulator.url)
    assert before == after
    assert [each["id"] for each in json.loads(before.out)] == simulator.models


def test_an_option_before_the_command_holds_if_others_stand_after_it(simulator):
    ended = run("--base-url", simulator.url, "--json", "models", "--timeout", "5", "--provider", "lm-studio", "-v")
    assert [each["id"] for each in json.loads(ended.out)] == simulator.models


def test_an_option_after_the_command_wins(simulator, closed_port):
    ended = run("--base-url", f"localhost:{closed_port}", "models", "--base-url", simulator.url)
    assert ended.code == 0


def test_a_server_that_is_not_running_is_one_line_with_what_to_do(closed_port):
    ended = run("models", "--base-url", f"localhost:{closed_port}")
    assert (ended.code, ended.out) == (1, "")
    assert "no server answers" in error_of(ended)
    assert "lms server start" in error_of(ended)
    assert "--base-url or LM_STUDIO_URL" in error_of(ended)


def test_if_another_server_answers_the_error_names_it(servers, closed_port, monkeypatch):
    monkeypatch.setenv("LM_STUDIO_URL", f"localhost:{closed_port}")
    ended = run("chat", "-p", "Hi")
    assert ended.code == 1
    assert error_of(ended).endswith(f"another server answers: give --provider ollama --base-url {servers[1].url}")


def test_what_the_error_advises_works_also_if_the_other_server_is_of_the_same_kind(simulator, closed_port, monkeypatch):
    monkeypatch.setenv("LM_STUDIO_URL", f"localhost:{closed_port}")
    monkeypatch.setenv("OLLAMA_HOST", simulator.url)
    ended = run("chat", "-p", "Hi")
    assert ended.code == 1
    advised = ended.err.split()[-4:]
    assert advised == ["--provider", "lm-studio", "--base-url", simulator.url]
    assert run("chat", "-p", "Hi", *advised).code == 0


@pytest.mark.parametrize(
    ("command", "setting", "other"), [("pull", "OLLAMA_HOST", "lm-studio"), ("download", "LM_STUDIO_URL", "ollama")]
)
def test_a_command_for_one_kind_of_server_does_not_advise_the_other(
    servers, closed_port, monkeypatch, command, setting, other
):
    monkeypatch.setenv(setting, f"localhost:{closed_port}")
    ended = run(command, "m")
    assert ended.code == 1
    assert "no server answers" in error_of(ended)
    assert other not in error_of(ended).replace("'lmstudio-provider", "")


def test_a_missing_token_is_one_line_with_what_to_do():
    with SimulatedLMStudio(api_token="secret") as server:
        ended = run("chat", "-p", "Hi", "--base-url", server.url)
    assert (ended.code, ended.out) == (1, "")
    assert "LM_API_TOKEN" in error_of(ended)


def test_a_wrong_token_is_never_shown(monkeypatch):
    monkeypatch.setenv("LM_API_TOKEN", "a-wrong-token")
    with SimulatedLMStudio(api_token="secret") as server:
        for arguments in (["models", "-vv"], ["status"], ["config"], ["chat", "-p", "Hi", "-vv"]):
            ended = run(*arguments, "--base-url", server.url)
            assert "a-wrong-token" not in ended.out + ended.err


def test_a_silent_server_ends_after_the_timeout(silent_server):
    ended = run("models", "--base-url", silent_server.url, "--timeout", "0.1")
    assert ended.code == 1
    assert "--timeout" in error_of(ended)


def test_only_vv_shows_the_traceback(closed_port):
    ended = run("models", "--base-url", f"localhost:{closed_port}", "-vv")
    assert "Traceback" in ended.err
    assert ended.err.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in run("models", "--base-url", f"localhost:{closed_port}", "-v").err


def test_v_says_which_model_answered(simulator):
    ended = run("chat", "-p", "Hi", "-v", "--base-url", simulator.url)
    assert "simulated-model, 12 tokens" in ended.err


def test_a_warning_of_the_library_is_a_line(simulator):
    ended = run("chat", "-p", "Hi", "--model", "another", "--base-url", simulator.url)
    assert ended.code == 0
    (line,) = ended.err.splitlines()
    assert line.startswith("warning: 'simulated-model' answered, but 'another' was asked for")


@pytest.mark.slow
def test_a_pipe_that_is_closed_ends_quietly(simulator):
    process = subprocess.Popen(
        [*PROGRAM, "models", "--base-url", simulator.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(30) == 0


def test_a_program_without_standard_streams_still_has_an_exit_code(monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert main(["config"]) == 0
    assert main(["nonsense"]) == 2
    assert main(["chat"]) == 2


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_one_line():
    full = FULL.open("w")
    assert run("config", out=full) == (1, "", "error: No space left on device\n")
    with contextlib.suppress(OSError):
        full.close()


def test_a_locale_without_unicode_shows_escapes(simulator):
    with SimulatedLMStudio(replies=["Grüße: 你好 \U0001f600"]) as server:
        ended = run("chat", "-p", "Hi", "--base-url", server.url, encoding="ascii")
        assert ended == (0, "Gr\\xfc\\xdfe: \\u4f60\\u597d \\U0001f600\n", "")
        ended = run("chat", "-p", "Hi", "--base-url", server.url, "--json", encoding="ascii")
        assert json.loads(ended.out)["text"] == "Grüße: 你好 \U0001f600"


@pytest.mark.slow
def test_the_program_runs_as_a_module_in_the_c_locale():
    environment = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    with SimulatedLMStudio(replies=["Grüße"]) as server:
        process = subprocess.run(
            [*PROGRAM, "chat", "--base-url", server.url],
            input=b"Gr\xc3\xbc\xc3\x9fe",
            capture_output=True,
            env=environment,
            check=False,
        )
        assert (process.returncode, process.stderr) == (0, b"")
        assert server.requests[-1]["body"]["messages"][0]["content"] == "Grüße"
    (word,) = process.stdout.split()  # as the encoding of this system has it
    assert word in (b"Gr\\xfc\\xdfe", "Grüße".encode(), "Grüße".encode("cp1252"))


def test_the_command_completes_words_with_argcomplete():
    pytest.importorskip("argcomplete", reason="argcomplete is not installed")
    code = "import sys; from lmstudio_provider.cli.main import main; sys.exit(main())"
    environment = {**os.environ, "_ARGCOMPLETE": "1", "_ARGCOMPLETE_STDOUT_FILENAME": os.devnull}
    for line, expected in [("lmstudio-provider sta", "status"), ("lmstudio-provider chat --tempe", "--temperature")]:
        shell = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"}
        target = ROOT / ".completions"
        shell["_ARGCOMPLETE_STDOUT_FILENAME"] = str(target)
        try:
            subprocess.run([sys.executable, "-c", code], env={**environment, **shell}, check=False, timeout=60)
            assert target.read_text().split() == [expected]
        finally:
            target.unlink(missing_ok=True)
