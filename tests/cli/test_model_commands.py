"""``models``, ``load``, ``unload``, ``download`` and ``pull``."""

import json
import sys

import pytest
from commands import WITH_PTY, error_of, in_terminal, run

from lmstudio_provider.simulator import OllamaModel, SimulatedLMStudio, SimulatedOllama


@pytest.fixture
def ollama():
    with SimulatedOllama() as server:
        yield server


@pytest.fixture
def without_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)


def test_models_are_a_table(simulator):
    heading, *rows = run("models", "--base-url", simulator.url).out.splitlines()
    assert heading.split()[:4] == ["MODEL", "TYPE", "LOADED", "CONTEXT"]
    assert rows[0].split()[:4] == ["simulated-model", "llm", "yes", "4096"]
    assert all(row == row.rstrip() for row in rows)


def test_a_narrow_terminal_shows_each_model_as_lines(simulator, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    shown = run("models", "--base-url", simulator.url, terminal=True).out
    assert "MODEL         simulated-model\nTYPE          llm\n" in shown
    assert max(map(len, shown.splitlines())) <= 40
    piped = run("models", "--base-url", simulator.url).out
    assert len(piped.splitlines()) == 3


def test_names_of_models_cannot_break_the_table_nor_the_terminal():
    names = ["模型", "a\nb", "c\x1b[2Jd"]
    with SimulatedLMStudio(names) as server:
        for terminal in (False, True):
            shown = run("models", "--base-url", server.url, terminal=terminal).out
            assert "\x1b" not in shown
            assert "a\\nb" in shown
    with SimulatedLMStudio(["模型", "abcd"]) as server:
        rows = run("models", "--base-url", server.url).out.splitlines()[1:]
    assert rows[0].index("llm") == rows[1].index("llm") - 2  # each of the two takes two columns


def test_a_server_without_models_says_so():
    with SimulatedLMStudio([]) as server:
        assert run("models", "--base-url", server.url) == (0, "", "the server has no models\n")
        assert run("models", "--base-url", server.url, "--json").out == "[]\n"


def test_a_model_is_loaded_once_and_unloaded():
    with SimulatedLMStudio(["m"], loaded=[]) as server:
        first = run("load", "m", "--context-length", "2048", "--base-url", server.url)
        assert (first.code, first.err) == (0, "")
        assert first.out.startswith("m is in memory; loading it took ")
        assert run("load", "m", "--base-url", server.url) == (0, "m is in memory\n", "")
        assert [each.context_length for each in server.instances] == [2048]
        assert run("unload", "m", "--base-url", server.url) == (0, "m is not in memory any more\n", "")
        assert server.instances == []


def test_unload_takes_all_instances_of_a_model_or_one(simulator):
    for context in ("2048", "8192"):
        run("load", "simulated-model", "--context-length", context, "--base-url", simulator.url)
    ended = run("unload", "simulated-model:2", "--base-url", simulator.url, "--json")
    assert json.loads(ended.out) == {"unloaded": ["simulated-model:2"]}
    run("unload", "simulated-model", "--base-url", simulator.url)
    assert [each.id for each in simulator.instances] == ["text-embedding-simulated"]
    assert run("unload", "--all", "--base-url", simulator.url).code == 0
    assert run("unload", "--all", "--base-url", simulator.url) == (0, "", "no model is in memory\n")


@pytest.mark.parametrize("tqdm", [True, False])
def test_what_a_server_says_in_a_bar_cannot_move_the_cursor(tqdm, raw_server, monkeypatch):
    if not tqdm:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setenv("COLUMNS", "30")
    lines = b'{"status": "a\\u001b[2J\\nb"}\n{"status": "success"}\n'
    server = raw_server(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n" + lines)
    ended = run("pull", "tiny", "--base-url", server.url, terminal=True)
    assert ended.code == 0
    assert "a\\x1b[2J b" in ended.err
    assert "\x1b[2J" not in ended.err


@pytest.mark.parametrize("command", ["load", "unload"])
def test_a_model_that_is_not_there_exits_with_1(command, simulator):
    ended = run(command, "no-such", "--base-url", simulator.url)
    assert (ended.code, ended.out) == (1, "")
    assert "no-such" in error_of(ended)


def test_ollama_loads_and_unloads(ollama):
    options = ("--provider", "ollama", "--base-url", ollama.url)
    assert run("load", "simulated-model", "--keep-alive", "5m", "--context-length", "2048", *options).code == 0
    assert ollama.loaded == ["simulated-model:latest"]
    assert run("unload", "simulated-model", *options).code == 0
    assert ollama.loaded == []


@pytest.mark.parametrize("given", ["600", "-1"])
def test_a_time_without_a_unit_is_seconds(ollama, given):
    options = ("--provider", "ollama", "--base-url", ollama.url)
    assert run("load", "simulated-model", "--keep-alive", given, *options).code == 0
    assert ollama.requests[-1]["body"]["keep_alive"] == int(given)


def test_a_token_in_the_url_of_a_model_is_not_shown(simulator):
    url = "https://huggingface.co/acme/m?token=s3cret"
    for _ in range(2):
        ended = run("download", url, "--base-url", simulator.url)
        assert ended.code == 0
        assert "s3cret" not in ended.out + ended.err


def test_a_download_without_a_terminal_has_no_bar(simulator):
    ended = run("download", "qwen/qwen3-4b", "--base-url", simulator.url)
    assert ended == (0, "qwen/qwen3-4b is downloaded\n", "")
    assert run("download", "qwen/qwen3-4b", "--base-url", simulator.url).out == "qwen/qwen3-4b is there already\n"


def test_a_download_is_waited_for_again(simulator):
    run("download", "qwen/qwen3-4b", "--base-url", simulator.url)
    (job,) = simulator.jobs
    ended = run("download", "--job", job, "--base-url", simulator.url, "--json")
    assert json.loads(ended.out)["status"] == "completed"
    ended = run("download", "--job", "no-such", "--base-url", simulator.url)
    assert ended.code == 1
    assert "no-such" in error_of(ended)


def test_a_pull_without_a_terminal_has_no_bar(ollama):
    assert run("pull", "tiny", "--base-url", ollama.url) == (0, "tiny is there\n", "")
    assert "tiny:latest" in ollama.models
    ended = run("pull", "no-such", "--base-url", ollama.url)
    assert (ended.code, ended.out) == (1, "")
    assert "no such model to download" in error_of(ended)


def test_without_tqdm_a_terminal_shows_percentages(ollama, without_tqdm):
    ended = run("pull", "tiny", "--base-url", ollama.url, terminal=True)
    assert (ended.code, ended.out) == (0, "tiny is there\n")
    assert "\rpulling manifest 0 B" in ended.err
    assert " 100%" in ended.err
    assert ended.err.rpartition("\r")[2] == ""
    assert ended.err.split("\r")[-2].isspace()  # the last one is wiped


def test_with_tqdm_a_terminal_shows_a_bar(ollama):
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    ended = run("pull", "tiny", "--base-url", ollama.url, terminal=True)
    assert (ended.code, ended.out) == (0, "tiny is there\n")
    assert "B/s" in ended.err


@pytest.mark.slow
@WITH_PTY
def test_ctrl_c_during_a_download_says_how_to_wait_for_it_again(raw_server):
    job = b'{"job_id": "job_1", "status": "downloading", "total_size_bytes": 100, "downloaded_bytes": 50}'
    server = raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(job), job))
    with in_terminal("download", "qwen/qwen3-4b", "--base-url", server.url, columns=40) as terminal:
        terminal.wait_for("50%")
        terminal.type("\x03")
        assert terminal.end() == 130
        assert "download --job job_1" in terminal.screen
        assert "Traceback" not in terminal.screen


def test_a_model_that_runs_elsewhere_is_listed():
    with SimulatedOllama([OllamaModel("big:cloud")]) as server:
        ended = run("models", "--provider", "ollama", "--base-url", server.url, "--json")
    assert json.loads(ended.out)[0]["remote"] is True
