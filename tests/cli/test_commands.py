"""``status``, ``embed``, ``count``, ``decide``, ``bench``, ``simulate`` and ``config``."""

import json
import re
import signal
import subprocess
import sys

import pytest
from commands import PROGRAM, WITH_PTY, error_of, in_terminal, run
from tables import for_each

from lmstudio_provider.simulator import SimulatedLMStudio, SimulatedOllama


@pytest.fixture
def nobody(monkeypatch, closed_port):
    """Addresses at which nothing listens, in the settings."""
    monkeypatch.setenv("LM_STUDIO_URL", f"http://localhost:{closed_port}")
    monkeypatch.setenv("OLLAMA_HOST", f"http://localhost:{closed_port}")


def test_the_status_shows_what_runs_and_exits_with_0(nobody, monkeypatch):
    with SimulatedLMStudio(["a", "b"], loaded=["b"]) as server:
        monkeypatch.setenv("LM_STUDIO_URL", server.url)
        ended, url = run("status"), server.url
    assert ended.code == 0
    first, second, *_ = ended.out.splitlines()
    assert re.fullmatch(rf"LM Studio \(Local\) at {url} answers in \d+ ms; 2 models", first)
    assert second == "  in memory: b"
    assert "Ollama (Local) at http://localhost:" in ended.out  # it is set, and does not run
    assert "ollama serve" in ended.out


def test_the_status_says_how_to_start_a_server_and_exits_with_1(nobody):
    ended = run("status")
    assert (ended.code, ended.err) == (1, "")
    assert "lms server start" in ended.out
    assert "ollama serve" in ended.out


def test_the_status_of_ollama_has_its_version():
    with SimulatedOllama() as server:
        ended = run("status", "--provider", "ollama", "--base-url", server.url)
        assert ended.out.startswith(f"Ollama (Local) 0.35.1 at {server.url} answers in ")


def test_the_status_says_that_a_token_is_needed(monkeypatch):
    with SimulatedLMStudio(api_token="t") as server:
        ended = run("status", "--base-url", server.url)
        assert ended.code == 1
        assert f"at {server.url} wants an API token\n" in ended.out
        assert "LM_API_TOKEN" in ended.out
        monkeypatch.setenv("LM_API_TOKEN", "wrong")
        assert "wants another API token" in run("status", "--base-url", server.url).out
        monkeypatch.setenv("LM_API_TOKEN", "t")
        assert run("status", "--base-url", server.url).code == 0


def test_the_status_says_if_no_model_is_loaded():
    with SimulatedLMStudio(["a"], loaded=[]) as server:
        ended = run("status", "--base-url", server.url)
        advice = f"'lmstudio-provider load MODEL --base-url {server.url}'"
    assert "lms load" in ended.out
    assert advice in ended.out


def test_the_status_is_json_too(simulator, closed_port):
    (shown,) = json.loads(run("status", "--base-url", simulator.url, "--json").out)
    assert (shown["provider"], shown["ok"], shown["models"]) == ("lm-studio", True, simulator.models)
    (shown,) = json.loads(run("status", "--base-url", f"localhost:{closed_port}", "--json").out)
    assert shown["error"]["class"] == "ServerUnavailableError"
    assert shown["reachable"] is False


def test_texts_become_lines_of_json(simulator):
    ended = run("embed", "one", "two", "--base-url", simulator.url)
    lines = [json.loads(line) for line in ended.out.splitlines()]
    assert [(line["index"], line["text"]) for line in lines] == [(0, "one"), (1, "two")]
    assert all(isinstance(each, float) for line in lines for each in line["vector"])


def test_each_line_of_standard_input_is_a_text(simulator):
    ended = run("embed", "--base-url", simulator.url, given="one\r\ntwo\u2028words\n")
    assert [json.loads(line)["text"] for line in ended.out.strip().split("\n")] == ["one", "two\u2028words"]


def test_a_count_is_a_number(simulator):
    assert run("count", "one two three", "--base-url", simulator.url) == (0, "3\n", "")
    assert run("count", "--base-url", simulator.url, given="one two\n") == (0, "2\n", "")
    shown = json.loads(run("count", "one two", "--base-url", simulator.url, "--json").out)
    assert shown == {"tokens": 2, "model": "simulated-model", "context_length": 4096}


@pytest.fixture
def decider():
    with SimulatedLMStudio(["nimble"]) as server:
        yield server


def test_decisions_are_a_table(decider):
    options = [
        "--condition",
        "It is urgent",
        "--choice",
        "What?",
        "bug",
        "billing=Refunds",
        "--score",
        "How?",
        "a",
        "b",
    ]
    ended = run("decide", "The checkout fails.", *options, "--base-url", decider.url)
    assert (ended.code, ended.err) == (0, "")
    rows = ended.out.splitlines()
    assert rows[0].split() == ["QUESTION", "ANSWER", "PROBABILITY"]
    assert [row.split("  ")[0] for row in rows[1:]] == ["It is urgent", "What?", "How?"]
    asked = decider.requests[-1]["body"]["questions"]
    assert asked["What?"]["criteria"] == {"bug": None, "billing": "Refunds"}


def test_questions_come_from_a_file(decider, tmp_path):
    file = tmp_path / "questions.json"
    questions = {"urgent": {"condition": "It is urgent"}, "what": {"choice": "What?", "criteria": {"a": "x", "b": "y"}}}
    file.write_text(json.dumps(questions))
    ended = run("decide", "--questions", file, "--base-url", decider.url, "--json", given="The checkout fails.")
    assert list(json.loads(ended.out)["answers"]) == ["urgent", "what"]


@pytest.mark.parametrize(
    "content",
    ["[]", "1", '{"a": 1}', '{"a": {}}', '{"a": {"condition": "x", "score": "y"}}', '{"a": {"condition": ""}}', "{"],
)
def test_a_bad_file_of_questions_is_wrong_usage(content, tmp_path):
    (tmp_path / "q.json").write_text(content)
    ended = run("decide", "x", "--questions", tmp_path / "q.json")
    assert (ended.code, ended.out) == (2, "")
    assert error_of(ended)


@pytest.mark.parametrize("kind", ["choice", "score"])
def test_a_question_without_criteria_says_how_to_write_it(kind, tmp_path):
    (tmp_path / "q.json").write_text(json.dumps({"u": {kind: "W"}}))
    ended = run("decide", "x", "--questions", tmp_path / "q.json")
    assert ended.code == 2
    assert f'u lacks its criteria; write {{"{kind}": TEXT, "criteria": ' in error_of(ended)


def test_ollama_wants_a_description_of_each_option():
    with SimulatedOllama() as server:
        options = ["--choice", "What?", "bug", "billing=b", "--provider", "ollama", "--base-url", server.url]
        ended = run("decide", "x", *options)
    assert (ended.code, error_of(ended)) == (2, "error: What?: with Ollama, write bug=DESCRIPTION")


@for_each("delay", ["-1", "nan", "inf", "soon", "1e300"])
def test_a_pause_that_cannot_be_is_wrong_usage(delay):
    ended = run("simulate", "--port", "0", f"--delay={delay}")
    assert ended.code == 2
    assert "is not a number of seconds; use 0 to 1,000,000" in error_of(ended)


def test_a_server_without_a_decision_model_exits_with_1(simulator):
    ended = run("decide", "x", "--condition", "y", "--base-url", simulator.url)
    assert ended.code == 1
    assert "decision" in error_of(ended)


def test_a_bench_is_a_table_or_json(simulator):
    options = ["--repeat", "1", "--warm-up", "0", "--concurrency", "1", "2", "--base-url", simulator.url]
    ended = run("bench", *options)
    assert (ended.code, ended.err) == (0, "")
    assert [row.split()[0] for row in ended.out.splitlines()[1:]] == ["simulated-model"] * 2
    assert len(json.loads(run("bench", *options, "--json").out)["requests"]) == 3


def test_a_bench_whose_requests_fail_exits_with_1(closed_port):
    ended = run("bench", "--model", "m", "--repeat", "1", "--warm-up", "0", "--base-url", f"localhost:{closed_port}")
    assert ended.code == 1
    assert "ServerUnavailableError" in ended.out


@pytest.mark.slow
@WITH_PTY
def test_ctrl_c_ends_a_bench_and_shows_what_was_measured():
    with SimulatedLMStudio(replies=["a " * 20], delay_s=0.01) as server:
        with in_terminal("bench", "--repeat", "1000", "--warm-up", "0", "--base-url", server.url) as terminal:
            terminal.wait_for("%")
            terminal.type("\x03")
            assert terminal.end() == 130
    assert "Interrupted: " in terminal.screen


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "kind"), [([], "SimulatedLMStudio"), (["--provider", "ollama"], "SimulatedOllama")]
)
def test_a_stand_in_runs_until_ctrl_c(options, kind):
    flags = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
    command = [*PROGRAM, "simulate", "--port", "0", "--model", "m", "--reply", "Yes.", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, creationflags=flags) as process:
        try:
            said = process.stdout.readline()
            assert said.startswith(f"{kind} at http://127.0.0.1:")
            ended = run("chat", "-p", "Hi", "--base-url", said.split()[2].rstrip(";"), *options)
            assert ended == (0, "Yes.\n", "")
            process.send_signal(signal.CTRL_BREAK_EVENT if sys.platform == "win32" else signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()


def test_the_settings_are_shown_with_their_sources(own_home, monkeypatch, tmp_path):
    (tmp_path / "settings.ini").write_text("[lmstudio]\nmodel_fast = small\n[ollama]\nnum_ctx = 8192\n")
    monkeypatch.setenv("LM_STUDIO_CONFIG", str(tmp_path / "settings.ini"))
    monkeypatch.setenv("LM_STUDIO_MODEL_SMART", "large")
    monkeypatch.setenv("LM_API_TOKEN", "very-secret")
    monkeypatch.setenv("LM_STUDIO_URL", "http://me:secret@here:99/v1")
    ended = run("config", "--json")
    assert ended.code == 0
    assert "secret" not in ended.out
    shown = {row["setting"]: (row["value"], row["source"]) for row in json.loads(ended.out)}
    assert shown["lmstudio_base_url"] == ("http://here:99", "the environment variable LM_STUDIO_URL")
    assert shown["lmstudio_api_token"] == ("set", "the environment variable LM_API_TOKEN")
    assert shown["lmstudio_model_smart"] == ("large", "the environment variable LM_STUDIO_MODEL_SMART")
    assert shown["lmstudio_model_fast"] == ("small", f"model_fast in [lmstudio] of {tmp_path / 'settings.ini'}")
    assert shown["ollama_num_ctx"][0] == "8192"
    assert shown["ollama_base_url"] == ("http://localhost:11434", "the default")
    assert shown["ollama_model"] == (None, "not set; OLLAMA_MODEL would set it")
    assert shown["LM_STUDIO_CONFIG"] == (str(tmp_path / "settings.ini"), "the file of settings")


def test_the_settings_show_what_an_option_sets():
    rows = json.loads(run("config", "--provider", "lm-studio", "--base-url", "there:1", "--json").out)
    assert rows[0]["value"] == "http://there:1"
    assert rows[0]["source"] == "--base-url"


def test_a_setting_that_cannot_work_is_shown_and_exits_with_2(monkeypatch):
    monkeypatch.setenv("LM_STUDIO_TIMEOUT", "soon")
    ended = run("config")
    assert ended.code == 2
    assert "lmstudio_timeout    soon" in ended.out
    assert "'soon'" in error_of(ended)


def test_a_password_in_an_address_that_cannot_work_is_not_shown(monkeypatch):
    monkeypatch.setenv("LM_STUDIO_URL", "ftp://me:secret@here")
    ended = run("config")
    assert ended.code == 2
    assert "secret" not in ended.out + ended.err
