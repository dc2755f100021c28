"""Examples that are interrupted, or whose server is not there."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lmstudio_provider.simulator import SimulatedLMStudio

ROOT = Path(__file__).parent.parent


def start(name, *arguments, url):
    return subprocess.Popen(
        [sys.executable, "-u", str(ROOT / "examples" / name), *map(str, arguments)],
        env={**os.environ, "LM_STUDIO_URL": url, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )


def read_until(process, text):
    came = ""
    while text not in came:
        piece = process.stdout.read(1)
        assert piece, came
        came += piece
    return came


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send Ctrl-C to one process")
def test_ctrl_c_stops_an_answer_and_keeps_the_chat():

    def reply(request):
        return "yes" if request["messages"][-1]["content"] == "Still there?" else "one two three four five six"

    with SimulatedLMStudio(replies=reply, delay_s=0.3) as server:
        process = start("repl.py", url=server.url)
        with process:
            process.stdin.write("Count\n")
            process.stdin.flush()
            read_until(process, "one")
            process.send_signal(signal.SIGINT)
            assert "six" not in read_until(process, "[stopped]")
            shown, _ = process.communicate("Still there?\n", timeout=30)
    assert "yes" in shown
    assert "5 messages" in shown
    assert process.returncode == 0


@pytest.mark.slow
def test_the_example_of_summaries_waits_for_a_server_and_keeps_older_ones(tmp_path):
    with SimulatedLMStudio() as server:
        url = server.url
    (tmp_path / "one.txt").write_text("The sky is blue.")
    (tmp_path / "two.txt").write_text("Grass is green.")
    (tmp_path / "two.summary.txt").write_text("made before")
    with start("summarise_folder.py", tmp_path, url=url) as process:
        assert "lms server start" in read_until(process, "Waiting for the server")
        with SimulatedLMStudio(replies=["Blue sky."], port=int(url.rpartition(":")[2])):
            shown, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "two.txt is there already" in shown
    assert (tmp_path / "one.summary.txt").read_text() == "Blue sky."
    assert (tmp_path / "two.summary.txt").read_text() == "made before"
