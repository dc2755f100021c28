from __future__ import annotations

import gc
import os
import signal
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Iterator

import pytest
from hypothesis import settings
from raw import RawServer

from lmstudio_provider import LMStudioProvider
from lmstudio_provider.simulator import SimulatedLMStudio

SAMPLES = Path(__file__).parent / "samples"


# With a deadline, an example would fail on a busy machine.
settings.register_profile("tests", max_examples=40, deadline=None, database=None)
settings.load_profile("tests")

HOMES = ("XDG_CONFIG_HOME", "APPDATA", "HOME", "USERPROFILE")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Run one worker more than there are cores: a third of the time of the tests is waits."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(autouse=True, scope="session")
def ctrl_c_works():
    """Have the programs that tests start listen to Ctrl-C, also if a shell runs the tests in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="module")
def quick_collections():
    """Keep pytest's objects out of each garbage collection: many tests ask for one, and some for hundreds."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def no_settings_of_this_machine(tmp_path_factory):
    """Hide the settings of this machine; once, because each test restores the ones that it sets."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("LM_", "LMS_", "LMSTUDIO_", "OLLAMA_")):
                patch.delenv(name)
        for name in HOMES:
            patch.setenv(name, str(home))
        yield


@pytest.fixture
def own_home(monkeypatch, tmp_path):
    """Make ``tmp_path`` the home of a test that writes there."""
    for name in HOMES:
        monkeypatch.setenv(name, str(tmp_path))


@pytest.fixture
def sample() -> Callable[[str], bytes]:
    return lambda name: (SAMPLES / name).read_bytes()


@pytest.fixture
def simulator() -> Iterator[SimulatedLMStudio]:
    with SimulatedLMStudio() as server:
        yield server


@pytest.fixture
def provider(httpserver) -> Iterator[LMStudioProvider]:
    """A provider for the server that the test scripts; it discovers nothing by itself."""
    with LMStudioProvider(httpserver.url_for(""), refresh=False) as lm:
        yield lm


@pytest.fixture
def raw_server() -> Iterator[Callable[..., RawServer]]:
    """Make servers that answer each request with the given bytes, then close, unless ``keep_open``."""
    servers: list[RawServer] = []

    def make(*parts: bytes | Callable[[socket.socket], None], keep_open: bool = False) -> RawServer:
        servers.append(RawServer(parts, keep_open))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def silent_server(raw_server) -> RawServer:
    """A server that reads requests and never answers."""
    return raw_server(lambda connection: connection.recv(1) and None)


@pytest.fixture
def closed_port() -> int:
    """A port on which nothing listens: another socket is bound to it, and does not listen."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def hanging_url() -> Iterator[str]:
    """A URL to which no connection can be opened, because the backlog of its listener is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = []
        while len(fillers) < 64:
            filler = socket.socket()
            fillers.append(filler)
            filler.settimeout(0.2)
            try:
                filler.connect(("127.0.0.1", port))
            except socket.timeout:
                break
        else:
            pytest.skip("this system's backlog takes 64 connections and is not full yet")
        yield f"http://127.0.0.1:{port}"
        for filler in fillers:
            filler.close()


@pytest.fixture
def provider_of() -> Iterator[Callable[..., LMStudioProvider]]:
    """Make providers for a raw server or a URL, which discover nothing by themselves, and close them."""
    made: list[LMStudioProvider] = []

    def make(server: RawServer | str, **arguments: object) -> LMStudioProvider:
        url = server if isinstance(server, str) else server.url
        made.append(LMStudioProvider(url, **{"refresh": False, **arguments}))
        return made[-1]

    yield make
    for lm in made:
        lm.close()


@pytest.fixture
def in_background() -> Iterator[Callable[..., Future]]:
    """Run calls in threads; ``result(timeout)`` returns the result of each."""
    with ThreadPoolExecutor(4) as pool:
        yield pool.submit
