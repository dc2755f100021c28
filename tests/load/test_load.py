"""Many streams at once, and a very long one: no piece is lost, and no memory or descriptor piles up."""

import gc
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from streams import text_of

from lmstudio_provider import LMStudioProvider

THREADS, STREAMS, PIECES = 64, 50, 200
LONG = 1_000_000


@pytest.fixture(scope="module")
def url():
    script = str(Path(__file__).with_name("streams.py"))
    with subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        server.stdin.close()
        server.wait(10)


def descriptors():
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("open descriptors are counted in /proc, which this system does not have")
    return len(list(folder.iterdir()))


def test_many_streams_through_one_provider_lose_no_piece_and_no_descriptor(url):
    expected = text_of(PIECES)
    before = descriptors()
    threads = threading.active_count()
    with LMStudioProvider(url, refresh=False) as lm:

        def read(_):
            return sum("".join(lm.stream("Hi", max_tokens=PIECES).text()) == expected for _ in range(STREAMS))

        with ThreadPoolExecutor(THREADS) as pool:
            whole = sum(pool.map(read, range(THREADS)))
        assert whole == THREADS * STREAMS
        gc.collect()
        assert descriptors() <= before + THREADS  # the idle connections of the pool
    gc.collect()
    assert descriptors() <= before
    assert threading.active_count() == threads


def resident_bytes():
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("memory is read from /proc, which this system does not have")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_very_long_stream_whose_texts_are_thrown_away_takes_little_memory(url):
    with LMStudioProvider(url, refresh=False) as lm:
        list(lm.stream("Hi", max_tokens=1000))
        gc.collect()
        before = most = resident_bytes()
        stream = lm.stream("Hi", max_tokens=LONG)
        for count, _ in enumerate(stream):
            if count % 10_000 == 0:
                most = max(most, resident_bytes())
        most = max(most, resident_bytes())
    assert count == LONG
    assert most - before < 16 * 1024 * 1024
    assert stream.completion.text == text_of(LONG)
