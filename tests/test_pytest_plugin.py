"""The fixtures for tests of applications, tried in separate test runs."""

import re
import textwrap
from pathlib import Path

import pytest

from lmstudio_provider.simulator import SimulatedLMStudio

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parent.parent
CONFTEST = 'pytest_plugins = ["lmstudio_provider.pytest_plugin"]'
ASK = """
from lmstudio_provider import LMStudioProvider

def ask(question="Why is the sky blue?"):
    with LMStudioProvider() as lm:
        return lm.complete(question).text
"""
RECORDED = ASK + "\ndef test_sky(lmstudio_recording):\n    assert ask()\n"


@pytest.fixture
def project(pytester, monkeypatch):
    """Return a function that writes a test file and runs it; it returns the exit status and what pytest prints."""
    folder = pytester.mkdir("tests")
    pytester.makeini("[pytest]")  # the root of the project
    (folder / "conftest.py").write_text(CONFTEST, encoding="utf-8")

    def run(program, *arguments, **environment):
        (folder / "test_app.py").write_text(program, encoding="utf-8")
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, str(value))
            result = pytester.runpytest("-q", "-W", "error", "-p", "no:cacheprovider", *arguments)
        return result.ret, str(result.stdout) + str(result.stderr)

    return run


def recordings(pytester):
    return sorted(path.relative_to(pytester.path).as_posix() for path in pytester.path.rglob("*.jsonl*"))


# Documentation


def programs(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    return [textwrap.dedent(each) for each in re.findall(r"code-block:: python\n\n((?:    .*\n|\n)+)", text)]


@pytest.mark.slow
def test_the_programs_of_the_documentation_run_as_tests(pytester):
    conftest, *tests = programs("docs/testing.rst")
    assert conftest.strip() == CONFTEST
    tests += [each for each in programs("README.rst") if "def test_" in each]
    pytester.makeconftest(conftest)
    pytester.makepyfile(**{f"test_{number}": program for number, program in enumerate(tests)})
    result = pytester.runpytest("-q", "-W", "error", "-p", "no:cacheprovider")
    assert result.parseoutcomes() == {"passed": "\n".join(tests).count("def test_")}


# Servers


def test_an_application_without_settings_reaches_the_stand_ins(project, pytester):
    ini = pytester.path / "settings.ini"
    ini.write_text("[lmstudio]\nmodel = of-this-machine\napi_token = secret\n[ollama]\nmodel = of-this-machine\n")
    program = """
from lmstudio_provider import LMStudioProvider, OllamaProvider
from lmstudio_provider.simulator import Fault, When

def test_lmstudio(lmstudio_server):
    lmstudio_server.replies = ["one", Fault(status=503, headers={"Retry-After": 0}), When(lambda body: 0, "x")]
    lmstudio_server.replies = "Because of Rayleigh."
    with LMStudioProvider() as lm:
        assert lm.base_url == lmstudio_server.url
        assert lm.complete("Why?").text == "Because of Rayleigh."
    chats = [each for each in lmstudio_server.requests if each["method"] == "POST"]
    assert chats[0]["body"]["model"] == "simulated-model"
    assert not any("Authorization" in each["headers"] for each in lmstudio_server.requests)

def test_ollama(ollama_server):
    ollama_server.replies = "Because of Rayleigh."
    with OllamaProvider() as lm:
        assert lm.base_url == ollama_server.url
        assert lm.complete("Why?").text == "Because of Rayleigh."
"""
    variables = {
        "LM_STUDIO_URL": "http://127.0.0.1:9", "LM_STUDIO_MODEL": "of-this-machine", "LM_STUDIO_CONFIG": ini,
        "LM_API_TOKEN": "secret", "OLLAMA_HOST": "http://127.0.0.1:9", "OLLAMA_MODEL": "of-this-machine",
    }  # fmt: skip
    status, printed = project(program, **variables)
    assert (status, "2 passed" in printed) == (0, True), printed


def test_the_settings_of_the_machine_are_restored_after_the_test(project):
    program = """
import os

def test_one(lmstudio_server, ollama_server):
    assert os.environ["LM_STUDIO_URL"] == lmstudio_server.url
    assert os.environ["OLLAMA_HOST"] == ollama_server.url

def test_two():
    assert os.environ["LM_STUDIO_URL"] == os.environ["OLLAMA_HOST"] == "http://127.0.0.1:9"
"""
    status, printed = project(program, LM_STUDIO_URL="http://127.0.0.1:9", OLLAMA_HOST="http://127.0.0.1:9")
    assert status == 0, printed


def test_a_test_can_choose_the_models(project):
    program = """
import pytest
from lmstudio_provider import LMStudioProvider, OllamaProvider

@pytest.mark.parametrize("lmstudio_server", [{"models": ["a", "b"], "replies": "B"}], indirect=True)
def test_lmstudio(lmstudio_server):
    with LMStudioProvider(model="b") as lm:
        assert (lm.complete("Hi").text, [model.id for model in lm.list_models()]) == ("B", ["a", "b"])

@pytest.mark.parametrize("ollama_server", [{"models": ["a", "b"]}], indirect=True)
def test_ollama(ollama_server):
    with OllamaProvider() as lm:
        assert [model.id for model in lm.list_models()] == ["a:latest", "b:latest"]
"""
    status, printed = project(program)
    assert status == 0, printed


def test_a_misspelt_attribute_fails_the_test_and_is_named(project):
    program = """
def test_one(lmstudio_server):
    lmstudio_server.reply = "Hello"

def test_two(ollama_server):
    ollama_server.first_byte = 1
"""
    status, printed = project(program)
    assert (status, "2 failed" in printed) == (1, True)
    assert "did you mean 'replies'?" in printed
    assert "did you mean 'first_byte_s'?" in printed


# Recordings


def test_a_replay_without_a_recording_fails_and_names_the_flag(project, pytester):
    status, printed = project(RECORDED)
    assert status == 1
    path = pytester.path / "tests" / "recordings" / "test_app-test_sky.jsonl"
    assert f"there is no recording at {path}; start the server, and record one with: pytest" in printed
    assert '"tests/test_app.py::test_sky" --lmstudio-record' in printed
    assert recordings(pytester) == []


def test_a_test_is_recorded_once_and_replayed_without_the_server(project, pytester):
    with SimulatedLMStudio(replies="Because of Rayleigh.") as server:
        status, printed = project(RECORDED, f"--lmstudio-record={server.url}")
        assert status == 0, printed
        assert len(server.requests) >= 1
    assert recordings(pytester) == ["tests/recordings/test_app-test_sky.jsonl"]
    status, printed = project(RECORDED.replace("assert ask()", 'assert ask() == "Because of Rayleigh."'))
    assert status == 0, printed


@pytest.mark.slow
def test_without_a_url_the_server_of_the_settings_is_recorded(project, pytester):
    with SimulatedLMStudio(api_token="secret-token-of-mine") as server:
        status, printed = project(
            RECORDED, "--lmstudio-record", LM_STUDIO_URL=server.url, LM_API_TOKEN="secret-token-of-mine"
        )
    assert status == 0, printed
    (path,) = recordings(pytester)
    assert "secret-token" not in (pytester.path / path).read_text(encoding="utf-8")
    assert project(RECORDED, LM_API_TOKEN="another-token-than-that")[0] == 0
    assert project(RECORDED)[0] == 0


def test_a_replay_does_not_depend_on_the_settings_of_the_machine(project):
    with SimulatedLMStudio() as server:
        assert project(RECORDED, f"--lmstudio-record={server.url}", LM_STUDIO_MODEL="mine")[0] == 0
    status, printed = project(RECORDED, LM_STUDIO_MODEL="another", LM_STUDIO_URL="http://127.0.0.1:9")
    assert status == 0, printed


def test_a_path_is_not_taken_for_the_url(project):
    status, printed = project(RECORDED, "--lmstudio-record", "tests")
    assert status == 4
    assert (
        "--lmstudio-record: 'tests' is not the URL of a server; write --lmstudio-record=http://localhost:1234"
        in printed
    )


@pytest.mark.slow
def test_a_test_that_fails_keeps_its_older_recording(project, pytester):
    with SimulatedLMStudio(replies=["old", "new"]) as server:
        assert project(RECORDED, f"--lmstudio-record={server.url}")[0] == 0
        (path,) = recordings(pytester)
        old = (pytester.path / path).read_bytes()
        failing = RECORDED.replace("assert ask()", 'assert ask() == "old"')
        assert project(failing, f"--lmstudio-record={server.url}")[0] == 1
    assert (pytester.path / path).read_bytes() == old
    assert recordings(pytester) == [path, f"{path}.partial"]


@pytest.mark.slow
def test_a_request_that_was_not_recorded_fails_the_test_even_if_the_application_hides_it(project):
    with SimulatedLMStudio() as server:
        assert project(RECORDED, f"--lmstudio-record={server.url}")[0] == 0
    hiding = RECORDED.replace(
        "assert ask()", 'try:\n        ask("Why is it red?")\n    except Exception:\n        pass'
    )
    status, printed = project(hiding)
    assert status == 1
    assert "was not recorded in test_app-test_sky.jsonl" in printed
    assert "Why is it red?" in printed


@pytest.mark.slow
def test_each_test_has_its_own_recording(project, pytester):
    program = (
        ASK
        + """
import pytest

@pytest.mark.parametrize("question", ["a/b", "a:b", "x" * 300, "é"])
def test_each(lmstudio_recording, question):
    assert ask(question)

class TestGroup:
    def test_sky(self, lmstudio_recording):
        assert ask()
"""
    )
    with SimulatedLMStudio() as server:
        status, printed = project(program, f"--lmstudio-record={server.url}")
    assert status == 0, printed
    paths = recordings(pytester)
    assert len(paths) == 5
    assert all(len(Path(path).name) <= 120 and path.isascii() for path in paths)
    assert "tests/recordings/test_app-TestGroup-test_sky.jsonl" in paths
    assert project(program)[0] == 0


@pytest.mark.slow
def test_a_run_without_the_plugin_does_not_import_the_package(pytester):
    pytester.makepyfile("import sys\ndef test(): assert 'lmstudio_provider' not in sys.modules")
    assert pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider").ret == 0


def test_a_server_that_is_not_there_while_recording_leaves_no_file(project, pytester, closed_port):
    status, printed = project(RECORDED, f"--lmstudio-record=http://127.0.0.1:{closed_port}")
    assert status == 1
    assert "cannot be reached" in printed
    assert recordings(pytester) == []
