"""The programs of the README, of docs/ and of examples/ run as they stand."""

import contextlib
import io
import json
import logging
import os
import re
import runpy
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tables import for_each

import lmstudio_provider
from lmstudio_provider import Download
from lmstudio_provider.simulator import SimulatedLMStudio, SimulatedOllama

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.rst").read_text(encoding="utf-8")


def programs(text):
    found = [textwrap.dedent(each) for each in re.findall(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", text)]
    return [each for each in found if "def test_" not in each]  # test_pytest_plugin.py runs those that are tests


PROGRAMS = programs(README)
OF_PAGES = {
    f"{path.name}, program {number}": program
    for path in sorted((ROOT / "docs").glob("*.rst"))
    for number, program in enumerate(programs(path.read_text(encoding="utf-8")), 1)
}
# Two need packages that only the integration tests install; those tests run them.
OTHERS = {ROOT / "examples" / name for name in ("batch_dask.py", "tracing.py")}
EXAMPLES = sorted(set((ROOT / "examples").glob("*.py")) - OTHERS)


# Runs each given program as if it had an interpreter to itself. Starting one takes longer than most programs do.
RUNNER = """
import contextlib, gc, io, json, logging, os, runpy, sys, traceback

printed = []
for path, environment in json.load(sys.stdin):
    os.environ.update(environment)
    sys.argv = [path]
    with io.StringIO() as out, contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            runpy.run_path(path, run_name="__main__")
        except BaseException:
            traceback.print_exc(file=out)
            out.write("FAILED")
        gc.collect()
        logging.getLogger().handlers.clear()
        logging.getLogger("lmstudio_provider").setLevel(logging.NOTSET)
        printed.append(out.getvalue())
json.dump(printed, sys.stdout)
"""


def run(path, *arguments, url):
    """Return what an example prints, in this interpreter; a carriage return becomes a new line."""
    handlers = logging.getLogger().handlers[:]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
        patch.setenv("LM_STUDIO_URL", url)
        patch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        with contextlib.redirect_stderr(io.StringIO()) as errors:
            runpy.run_path(str(path), run_name="__main__")
    logging.getLogger().handlers[:] = handlers
    assert errors.getvalue() == ""
    return out.getvalue().replace("\r", "\n")


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """Return what each program of the README and each example prints; each has its own servers."""
    models = ["simulated-vl", "text-embedding-simulated", "nimble"]  # one reads images, one decides
    folder = tmp_path_factory.mktemp("programs")
    texts = [*PROGRAMS, *OF_PAGES.values()]
    paths = [folder / f"{number}.py" for number, _ in enumerate(texts)]
    for path, text in zip(paths, texts):
        path.write_text(text, encoding="utf-8")
    with contextlib.ExitStack() as stack:
        jobs = []
        for path in [*paths, *EXAMPLES]:
            lm_studio, ollama = (stack.enter_context(kind(models)) for kind in (SimulatedLMStudio, SimulatedOllama))
            jobs.append((str(path), {"LM_STUDIO_URL": lm_studio.url, "OLLAMA_HOST": ollama.url}))
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
        command = [sys.executable, "-X", "dev", "-W", "error", "-c", RUNNER]
        result = subprocess.run(
            command,
            input=json.dumps(jobs),
            capture_output=True,
            text=True,
            timeout=60,
            env=environment,
            check=False,
            cwd=folder,
        )
    assert (result.returncode, result.stderr) == (0, "")
    return dict(zip([*PROGRAMS, *OF_PAGES, *EXAMPLES], json.loads(result.stdout)))


@pytest.mark.slow
@for_each("program", PROGRAMS, ids=lambda program: program.splitlines()[-1].strip()[:40])
def test_a_program_of_the_readme_runs_as_it_stands(printed, program):
    assert printed[program].strip()
    assert not printed[program].endswith("FAILED"), printed[program]


@for_each("name", OF_PAGES)
def test_a_program_of_a_page_runs_when_it_is_typed_alone(printed, name):
    assert "print(" not in OF_PAGES[name] or printed[name].strip()
    assert not printed[name].endswith("FAILED"), printed[name]


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 350


def test_the_readme_has_programs_and_begins_with_a_short_one():
    assert len(PROGRAMS) >= 7
    assert len(PROGRAMS[0].strip().splitlines()) <= 10


@for_each("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs_as_it_stands(printed, path):
    assert printed[path].strip()
    assert not printed[path].endswith("FAILED"), printed[path]


def test_the_example_for_any_running_server_finds_ollama(monkeypatch, closed_port):
    with SimulatedOllama(replies=["Because of Rayleigh."]) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        shown = run(ROOT / "examples" / "whichever.py", url=f"http://127.0.0.1:{closed_port}")
        assert shown == f"Ollama (Local) at {server.url} answers:\nBecause of Rayleigh.\n"


def test_the_example_for_long_prompts_shows_each_choice(monkeypatch, simulator):
    with SimulatedOllama(replies=["I do not know."]) as ollama:
        monkeypatch.setenv("OLLAMA_HOST", ollama.url)
        shown = run(ROOT / "examples" / "on_truncation.py", url=simulator.url)
        sent = [request["body"]["truncate"] for request in ollama.requests if request["path"] == "/api/chat"]
    assert sent == [False, False, True, True]
    assert "  4511 tokens do not fit into 1024. Send less, or raise" in shown
    assert "the prompt has 4511 tokens and the context of 'simulated-model:latest' holds 1024" in shown
    assert "  514 tokens were read: I do not know." in shown


def test_the_quickstart_uses_the_server_that_answers():
    with SimulatedLMStudio(models=["a-model", "text-embedding-x"]) as server:
        shown = run(ROOT / "examples" / "quickstart.py", url=server.url)
    assert "stand-in" not in shown
    assert "Models: a-model, text-embedding-x" in shown
    assert "You said: Say hello in five words." in shown
    assert "the model calls get_weather({'city': 'simulated'})" in shown
    assert re.search(r"took \d+ tokens, at \d+\.\d a second", shown)


def test_the_quickstart_uses_the_stand_in_if_no_server_answers(closed_port):
    shown = run(ROOT / "examples" / "quickstart.py", url=f"http://127.0.0.1:{closed_port}")
    assert f"No LM Studio answers at http://127.0.0.1:{closed_port}" in shown.splitlines()[0]
    assert "simulated-model" in shown


def test_the_example_for_ollama_models_makes_one_from_a_file(monkeypatch, simulator, tmp_path):
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF" + bytes(100))
    with SimulatedOllama(["talk", "text-embed"], replies=["Because of Rayleigh."]) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        shown = run(ROOT / "examples" / "ollama_models.py", tmp_path / "tiny.gguf", url=simulator.url)
        assert server.models == ["talk:latest", "text-embed:latest"]
    assert "talk:latest: llm, on disk, at most 131072 tokens\ntext-embed:latest: embedding, on disk" in shown
    assert "\nuploading: 0.0 MB" in shown
    assert "\nbrief:latest holds 2048 tokens until " in shown
    assert shown.endswith("\nBecause of Rayleigh.\n")


def test_the_error_in_the_readme_says_how_to_start_the_server(simulator, tmp_path):
    path = tmp_path / "program.py"
    path.write_text(next(program for program in PROGRAMS if '"localhost:1"' in program), encoding="utf-8")
    assert "lms server start" in run(path, url=simulator.url)


def test_the_example_of_loading_shows_its_progress():
    with SimulatedLMStudio(["small", "large"], ["Hello to all of you!"], loaded=["small"]) as server:
        shown = run(ROOT / "examples" / "load_with_progress.py", "large", url=server.url)
    assert re.search(r"\nloading the model  \[#{15} {15}\]  50%", shown)
    assert "\nreading the prompt [##############################] 100%\nHello to all of you!\n" in shown
    assert re.search(r"large answered, after \d+\.\d s of loading\n", shown)
    assert "  small, with a context of 4096 tokens\n  large, with" in shown


@pytest.mark.slow
def test_the_example_of_downloading_shows_its_progress_and_resumes_a_job():
    with SimulatedLMStudio() as server:
        shown = run(ROOT / "examples" / "download_with_progress.py", "qwen/qwen3-4b", url=server.url)
        (job,) = server.jobs
        assert f"The job is {job}.\n" in shown
        assert re.search(r"\ndownloading: 1\.0 of 4\.2 MB, \d+\.\d MB/s, \d+ s left", shown)
        assert "Done." in shown
        assert "qwen/qwen3-4b" in server.models
        shown = run(ROOT / "examples" / "download_with_progress.py", "--resume", job, url=server.url)
        assert "completed: 4.2 of 4.2 MB" in shown
        shown = run(ROOT / "examples" / "download_with_progress.py", "qwen/qwen3-4b", url=server.url)
        assert shown == "It is there already.\n"


def test_the_example_of_downloading_says_how_to_resume_after_ctrl_c(monkeypatch, simulator):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(Download, "wait", stop)
    monkeypatch.setattr(sys, "argv", ["download_with_progress.py", "qwen/qwen3-4b"])
    monkeypatch.setenv("LM_STUDIO_URL", simulator.url)
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(ROOT / "examples" / "download_with_progress.py"), run_name="__main__")
    (job,) = simulator.jobs
    assert caught.value.code == f"\nStopped. Watch it again with --resume {job}"


def test_the_example_of_decisions_asks_a_decision_model_if_there_is_one():
    with SimulatedLMStudio(["a-model", "clef"]) as server:
        shown = run(ROOT / "examples" / "decisions.py", url=server.url)
    assert shown.startswith("clef answers:\nlabel: bug, ")


def test_the_reference_has_every_public_name():
    listed = set(
        re.findall(r"auto(?:class|exception|function|module):: (\S+)", (ROOT / "docs" / "api.rst").read_text("utf-8"))
    )
    assert listed >= {*lmstudio_provider.__all__, "lmstudio_provider.events"} - {"events"}


def test_the_table_of_contents_has_every_page():
    pages = {path.stem for path in (ROOT / "docs").glob("*.rst")} - {"index"}
    assert pages == set(re.findall(r"^   ([a-z-]+)$", (ROOT / "docs" / "index.rst").read_text("utf-8"), re.M))


def test_the_example_of_partial_answers_shows_each_step_when_it_is_complete():
    answer = {"dish": "Bread", "steps": [{"what": "Knead", "minutes": 10}, {"what": "Bake", "minutes": 50}]}
    with SimulatedLMStudio(replies=[json.dumps(answer)]) as server:
        shown = run(ROOT / "examples" / "partial_answer.py", url=server.url)
    assert shown == "  10 min  Knead\n  50 min  Bake\nBread takes 60 minutes.\n"
