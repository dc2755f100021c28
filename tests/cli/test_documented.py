"""The commands of docs/command-line.rst work as they stand."""

import json
import re
import shlex
from pathlib import Path

import pytest
from commands import run
from tables import for_each

from lmstudio_provider.cli.main import COMMANDS
from lmstudio_provider.simulator import SimulatedLMStudio, SimulatedOllama

PAGE = (Path(__file__).parent.parent.parent / "docs" / "command-line.rst").read_text(encoding="utf-8")
# A conversation, which waits for what a person types, has tests of its own.
LINES = [line for line in re.findall(r"^    \$ (.+)$", PAGE, re.M) if line != "lmstudio-provider chat"]


@for_each("name", COMMANDS)
def test_each_command_has_an_example_on_the_page(name):
    assert f"lmstudio-provider {name} " in PAGE.replace("\n", " ")


@pytest.mark.slow
def test_the_commands_of_the_page_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("The sky is blue.\nGrass is green.\n")
    Path("photo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    Path("city.json").write_text(json.dumps({"type": "object", "properties": {"name": {"type": "string"}}}))
    Path("questions.jsonl").write_text('{"prompt": "Why is the sky blue?"}\n')
    models = ["simulated-vl", "text-embedding-simulated", "nimble"]
    with SimulatedLMStudio(models) as lm_studio, SimulatedOllama() as ollama:
        monkeypatch.setenv("LM_STUDIO_URL", lm_studio.url)
        monkeypatch.setenv("OLLAMA_HOST", ollama.url)
        monkeypatch.setenv("LM_STUDIO_USAGE_DB", "usage.db")
        for line in LINES:
            command, _, file = line.partition(" < ")
            program, *arguments = shlex.split(command)
            assert program == "lmstudio-provider"
            ended = run(*arguments, given=Path(file).read_text() if file else None)
            assert (line, ended.code, ended.err) == (line, 0, "")
            assert ended.out
