"""The benchmark itself: its clients read what its server sends, and its bounds are compared with the right figures."""

import subprocess
import sys
from pathlib import Path

import pytest
import urllib3
from tables import for_each

from benchmarks import replies, report
from benchmarks.clients import BARE, CLIENTS, OURS
from benchmarks.rows import BOUNDS, Bound

ROOT = Path(__file__).resolve().parent.parent
HERE = [OURS, *BARE]  # the others are not installed beside the tests


@pytest.fixture(scope="module")
def server():
    command = [sys.executable, "-m", "benchmarks.server"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as process:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()


@pytest.mark.slow
@for_each("protocol", ["sse", "ndjson"])
@for_each("name", HERE)
def test_each_client_reads_a_whole_chat(server, name, protocol):
    client = CLIENTS[name](f"{server}/unary/length", protocol)
    assert client.chat() == replies.TEXT
    client.close()


@pytest.mark.parametrize("protocol", ["sse", "ndjson"])
@pytest.mark.parametrize("framing", ["chunked-1", "chunked-16", "close", "length", "gzip"])
@pytest.mark.parametrize("name", HERE)
def test_each_client_reads_all_pieces_in_each_framing(server, name, framing, protocol):
    if name == "urllib3 read_chunked" and not framing.startswith("chunked"):
        pytest.skip("read_chunked reads only chunks")
    if name == "urllib3 urlopen" and not hasattr(urllib3.HTTPResponse, "read1"):
        pytest.skip("urllib3 1.26 has no read1")
    client = CLIENTS[name](f"{server}/stream/{framing}", protocol)
    for _ in range(2):
        assert [text for text in client.stream() if text] == replies.words(replies.PIECES)
    client.close()


def samples(ours, **others):
    return {"x": {"unit": "µs", "values": {OURS: ours, **others}}}


def test_a_ratio_compares_figures_of_the_same_round():
    verdict = report.verdict(samples([2.0, 40.0, 6.0], openai=[1.0, 10.0, 2.0]), Bound("x", "x", 3.0, "openai"))
    assert verdict.spread.median == 3
    assert verdict.inside


def test_a_figure_above_its_bound_is_reported():
    assert not report.verdict(samples([2.0], openai=[1.0]), Bound("x", "x", 1.9, "openai")).inside


def test_the_best_bare_loop_is_the_fastest_one():
    row = samples([6.0], openai=[1.0], requests=[3.0], **{"http.client": [2.0]})
    verdict = report.verdict(row, Bound("x", "x", 2.0, "best bare"))
    assert (verdict.base, verdict.spread.median) == ("http.client", 3)


def test_a_difference_has_the_unit_of_its_figure():
    verdict = report.verdict(samples([50.0], requests=[20.0]), Bound("x", "x", 40, "requests", minus=True))
    assert (verdict.spread.median, verdict.unit) == (30, "µs")


def test_a_client_with_few_rounds_is_compared_with_the_same_rounds():
    assert report.pairs([1.0, 2.0, 3.0, 4.0], [10.0, 30.0]) == [(1.0, 10.0), (3.0, 30.0)]


def test_each_bound_has_a_different_title():
    assert len({(bound.what, bound.base) for bound in BOUNDS}) == len(BOUNDS)
