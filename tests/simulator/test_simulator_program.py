"""``python -m lmstudio_provider.simulator``, run as users run it."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys

import pytest
from plain_http import CHAT, HI, ask, post

PROGRAM = [sys.executable, "-m", "lmstudio_provider.simulator"]
WINDOWS = os.name == "nt"
# On Windows, Ctrl-Break can stop only this program if it is in a separate process group.
FLAGS = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
SIGNALS = ["CTRL_BREAK_EVENT"] if WINDOWS else ["SIGINT", "SIGTERM"]


class Running:
    """A running program that has printed where it listens."""

    def __init__(self, process):
        self.process = process
        self.said = process.stdout.readline()
        self.url = re.search(r"http://[\d.]+:\d+", self.said)[0]

    def stop(self, name):
        self.process.send_signal(getattr(signal, name))
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@contextlib.contextmanager
def running(*arguments):
    process = subprocess.Popen(
        [*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, creationflags=FLAGS
    )
    try:
        yield Running(process)
    finally:
        process.kill()
        process.communicate()


def run(*arguments):
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--port", "x"], ["--port", "65536"]])
def test_invalid_arguments_are_refused_with_the_usage(arguments):
    ended = run(*arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("usage: python -m lmstudio_provider.simulator [-h] [--ollama] [--port N]")
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[], ["--ollama"]])
def test_a_port_in_use_is_an_error_of_one_line(arguments):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("--port", str(port), *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"cannot listen on 127.0.0.1:{port} (")
    assert line.endswith("use another port, or 0 for any")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "kind", "path", "data", "name"),
    [
        ([], "SimulatedLMStudio", "/lmstudio-greeting", b'{"lmstudio":true}', SIGNALS[0]),
        (["--ollama"], "SimulatedOllama", "/", b"Ollama is running", SIGNALS[-1]),
    ],
)
def test_it_runs_until_it_is_stopped_and_exits_with_0(arguments, kind, path, data, name):
    with running("--port", "0", *arguments) as program:
        assert program.said == f"{kind} at {program.url}; press Ctrl-C to stop it\n"
        assert ask(program, "GET", path)[2] == data
        assert program.stop(name) == (0, "", "")


@pytest.mark.slow
def test_it_stops_even_if_clients_are_connected():
    with running("--port", "0") as program:
        host, port = program.url[len("http://") :].split(":")
        with socket.create_connection((host, int(port)), timeout=10) as idle:
            assert post(program, CHAT, {"messages": HI})[0] == 200
            assert program.stop(SIGNALS[0])[0] == 0
            assert idle.recv(1) == b""


def test_the_port_can_be_chosen_on_the_command_line():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with running("--port", str(port)) as program:
        assert program.url == f"http://127.0.0.1:{port}"


@pytest.mark.slow
def test_help_lists_the_options():
    ended = run("--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert all(each in ended.stdout for each in ("--ollama", "--port", "1234", "11434"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("lmstudio_provider", ["lmstudio_provider.simulator"]),
        ("lmstudio_provider.simulator", ["lmstudio_provider.simulator.__main__", "argparse"]),
    ],
)
def test_importing_it_imports_only_what_it_needs(module, absent):
    program = f"import sys, {module}; print([each for each in {absent!r} if each in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.strip() == "[]"
