"""Providers beside their calls: quick to make, gone without a trace, shared, forked, pickled, vendored."""

import concurrent.futures
import gc
import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import urllib3

import lmstudio_provider
from lmstudio_provider import ConfigurationError, LMStudioProvider, MemoryUsage
from lmstudio_provider.simulator import SimulatedLMStudio

PACKAGE = Path(lmstudio_provider.__file__).parent


def descriptors():
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("open descriptors are counted in /proc, which this system does not have")
    return len(list(folder.iterdir()))


def run(code, **options):
    """Run a program in a new interpreter that prints every warning."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False, **options)


@pytest.fixture(params=["closed", "silent", "hanging"])
def unhelpful_url(request):
    """Where nothing listens; where connections are accepted and nothing is answered; where connecting hangs."""
    if request.param == "closed":
        return "http://127.0.0.1:{}".format(request.getfixturevalue("closed_port"))
    if request.param == "silent":
        return request.getfixturevalue("silent_server").url
    return request.getfixturevalue("hanging_url")


def test_the_constructor_never_waits(unhelpful_url):
    """Of the tries the fastest counts, so that a busy machine does not fail the test; who waits, waits for seconds."""
    times = []
    for _ in range(10):
        started = time.perf_counter()
        lm = LMStudioProvider(unhelpful_url)
        times.append(time.perf_counter() - started)
        assert lm.is_configured() is False
        lm.close()
    assert min(times) < 0.1


@pytest.mark.slow
def test_many_providers_leave_no_thread_and_no_descriptor(unhelpful_url):
    LMStudioProvider(unhelpful_url).close()  # what is only made once is made now
    gc.collect()
    before = descriptors()
    providers = [LMStudioProvider(unhelpful_url) for _ in range(100)]
    for lm in providers:
        lm.close()
    ours = [thread for thread in threading.enumerate() if thread.name == "lmstudio-models"]
    assert ours == []
    del providers, lm
    gc.collect()
    # The server's own side of the connections closes when it notices; ours are closed now.
    deadline = time.monotonic() + 5
    while descriptors() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert descriptors() <= before


@pytest.mark.slow
def test_many_providers_that_were_used_leave_no_descriptor(simulator):
    def use():
        with LMStudioProvider(simulator.url) as lm:
            lm.complete("Hi")
            list(lm.stream("Hi"))
            next(lm.stream("Hi"))

    use()
    gc.collect()
    before = descriptors()
    for _ in range(20):
        use()
    gc.collect()
    deadline = time.monotonic() + 5
    while descriptors() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert descriptors() <= before


def test_a_provider_that_is_dropped_closes_its_sockets(simulator):
    LMStudioProvider(simulator.url).complete("Hi")
    gc.collect()
    before = descriptors()
    for _ in range(10):
        LMStudioProvider(simulator.url, refresh=False).complete("Hi")
    gc.collect()
    deadline = time.monotonic() + 5
    while descriptors() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert descriptors() <= before


@pytest.mark.slow
def test_importing_does_nothing():
    code = """
import logging, os, socket, sys, threading
import urllib3.util  # what others do on import is theirs
def refuse(*arguments): raise AssertionError(arguments)
socket.socket = threading.Thread.start = refuse
seen = []
class Watched(dict):
    def get(self, name, default=None): seen.append(name); return default
    __getitem__ = __contains__ = get
os.environ = Watched()
files = []
sys.addaudithook(lambda event, args: files.append(args[0]) if event == "open" else None)
import lmstudio_provider
ours = [name for name in seen if "LM" in str(name)]
others = [name for name in files if not str(name).endswith((".py", ".pyc", ".so", ".pyd", ".zip"))]
others = [name for name in others if "__pycache__" not in str(name)]
assert not ours and not others, (ours, others)
"""
    result = run(code)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.slow
def test_a_provider_alive_at_exit_delays_nothing_and_prints_nothing(unhelpful_url):
    started = time.monotonic()
    result = run(
        f"from lmstudio_provider import LMStudioProvider\nlm = LMStudioProvider({unhelpful_url!r})\n"
        f"LMStudioProvider({unhelpful_url!r})"
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert time.monotonic() - started < 30


@pytest.mark.slow
def test_a_stream_alive_at_exit_prints_nothing():
    with SimulatedLMStudio(delay_s=0.05) as server:
        result = run(
            f"from lmstudio_provider import LMStudioProvider\nlm = LMStudioProvider({server.url!r})\n"
            "stream = lm.stream('Hi')\nprint(next(stream).delta)"
        )
    assert (result.returncode, result.stdout.strip(), result.stderr) == (0, "This", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_provider_survives_fork(simulator):
    with LMStudioProvider(simulator.url) as lm:
        stream = lm.stream("parent")
        first = next(stream).delta
        lm.complete("Hi")
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                text = lm.complete("child").text
                del stream
                gc.collect()
                lm.close()
                os.write(writer, text.encode())
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            assert pipe.read().endswith(b"You said: child")
        os.waitpid(child, 0)
        assert first + "".join(stream.text()) == "This is a simulated reply, no model wrote it. You said: parent"
        assert lm.complete("again").text.endswith("again")


def answer(lm):
    return lm.complete("Hi").text


@pytest.mark.slow
def test_a_provider_goes_to_another_process_by_pickle(simulator):
    with LMStudioProvider(simulator.url, usage=MemoryUsage(), headers={"X-Title": "Demo"}) as lm:
        spawn = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
            assert pool.submit(answer, lm).result(60).endswith("You said: Hi")


def test_pickle_keeps_the_settings_and_nothing_else(simulator):
    with LMStudioProvider(simulator.url, model="simulated-model", timeout=5, refresh=False) as lm:
        lm.complete("Hi")
        with pickle.loads(pickle.dumps(lm)) as again:
            assert (again.base_url, again.resolve_model()) == (lm.base_url, "simulated-model")
            assert again.complete("Hi").requested_model == "simulated-model"


def test_a_provider_with_a_manager_of_the_users_says_that_it_cannot_be_pickled():
    with LMStudioProvider(http=urllib3.PoolManager(), refresh=False) as lm:
        with pytest.raises(ConfigurationError, match="http="):
            pickle.dumps(lm)


@pytest.mark.slow
def test_a_provider_is_shared_by_threads_while_its_settings_change(simulator):
    mapping = {"lmstudio_base_url": simulator.url}
    with SimulatedLMStudio() as other, LMStudioProvider(settings=mapping) as lm:

        def ask(number):
            mapping["lmstudio_base_url"] = (simulator, other)[number % 2].url
            if number % 7 == 0:
                lm.reset_client()
            return lm.complete(f"number {number}").text

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            texts = list(pool.map(ask, range(100)))
    assert all(text.endswith(f"number {number}") for number, text in enumerate(texts))


@pytest.mark.slow
def test_the_package_works_as_a_copy_in_another_project(tmp_path, simulator):
    shutil.copytree(PACKAGE, tmp_path / "app" / "_vendor" / "lmstudio_provider")
    code = (
        "from app._vendor.lmstudio_provider import LMStudioProvider, simulator\nimport sys\n"
        f"with LMStudioProvider({simulator.url!r}) as lm: print(lm.complete('Hi').text)\n"
        "assert not [name for name in sys.modules if name.startswith('lmstudio_provider')]"
    )
    result = run(code, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.strip().endswith("You said: Hi")


def test_every_public_name_is_there_and_documented():
    names = lmstudio_provider.__all__
    assert names == sorted(names)
    assert all(getattr(lmstudio_provider, name).__doc__ for name in names)


def test_the_version_is_the_one_of_the_changes():
    changes = (PACKAGE.parent / "CHANGES.rst").read_text(encoding="utf-8")
    assert f"\n{lmstudio_provider.__version__} " in changes


def test_the_installed_package_needs_only_urllib3():
    lines = (PACKAGE.parent / "setup.cfg").read_text(encoding="utf-8").splitlines()
    start = lines.index("install_requires =")
    assert [line.strip() for line in lines[start + 1 : start + 3]] == ["urllib3>=1.26.5,<3", ""]


def test_the_samples_are_json():
    folder = Path(__file__).parent.parent / "samples"
    assert all(json.loads(path.read_bytes()) for path in folder.rglob("*.json"))
