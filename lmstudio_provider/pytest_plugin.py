"""Fixtures for tests of applications that call LM Studio or Ollama, without either.

Put ``pytest_plugins = ["lmstudio_provider.pytest_plugin"]`` into the ``conftest.py`` at the top of the tests. No other
test run imports this. ``docs/testing.rst`` shows how to use it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
from pathlib import Path
from typing import Iterator

import pytest

from . import LMStudioProvider
from .simulator import SimulatedLMStudio, SimulatedOllama, record, replay

_FLAG = "--lmstudio-record"
_LM_STUDIO, _OLLAMA = ("LM_STUDIO_", "LMSTUDIO_", "LM_API_TOKEN"), ("OLLAMA_",)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the flag that records."""
    parser.getgroup("lmstudio-provider").addoption(
        _FLAG,
        nargs="?",
        const="",
        type=_url,
        metavar="URL",
        help="record the replies for tests with lmstudio_recording, from the server at URL, by default that of the "
        "settings, such as LM_STUDIO_URL, else http://localhost:1234",
    )


@pytest.fixture
def lmstudio_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedLMStudio]:
    """Yield a stand-in for LM Studio, which ``LMStudioProvider()`` reaches; no other setting of the machine counts."""
    with SimulatedLMStudio(**getattr(request, "param", {})) as server:
        _settings(monkeypatch, _LM_STUDIO, LM_STUDIO_URL=server.url)
        yield server


@pytest.fixture
def ollama_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedOllama]:
    """Yield a stand-in for Ollama, which ``OllamaProvider()`` reaches; no other setting of the machine counts."""
    with SimulatedOllama(**getattr(request, "param", {})) as server:
        _settings(monkeypatch, _OLLAMA, OLLAMA_HOST=server.url)
        yield server


@pytest.fixture
def lmstudio_recording(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[record | replay]:
    """Yield a server that repeats the replies of the real one, which ``LMStudioProvider()`` reaches.

    With ``--lmstudio-record``, it forwards to the real server and records its replies in a file that has the name of
    the test, in the folder ``recordings`` beside it. The file is replaced only if the test passes.
    """
    path, url = _path(request.path, request.node.nodeid), request.config.getoption(_FLAG)
    if url is None:
        if not path.exists():
            how = f'start the server, and record one with: pytest "{request.node.nodeid}" {_FLAG}'
            pytest.fail(f"there is no recording at {path}; {how}", pytrace=False)
        with replay(path) as replayed:
            _settings(monkeypatch, _LM_STUDIO, LM_STUDIO_URL=replayed.base_url)
            yield replayed
        return
    with LMStudioProvider(refresh=False) as lm:
        config = lm._settings.config()
    recorder, failed = record(url or config.base_url.text, path), request.session.testsfailed
    recorder.__enter__()
    _settings(monkeypatch, _LM_STUDIO, LM_STUDIO_URL=recorder.base_url, LM_API_TOKEN=config.api_token or "")
    yield recorder
    recorder.__exit__(pytest.fail.Exception if request.session.testsfailed > failed else None, None, None)


def _url(text: str) -> str:
    if not re.match("https?://|$", text):
        # Most likely it is the path after the flag.
        raise argparse.ArgumentTypeError(
            f"{text!r} is not the URL of a server; write {_FLAG}=http://localhost:1234, or put {_FLAG} at the end"
        )
    return text


def _settings(monkeypatch: pytest.MonkeyPatch, prefixes: tuple[str, ...], **variables: str) -> None:
    """Set the environment variables, and hide all others with these prefixes, and the INI file."""
    for name in list(os.environ):
        if name.startswith(prefixes):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LM_STUDIO_CONFIG", os.devnull)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def _path(test_file: Path, nodeid: str) -> Path:
    """Return the path of a test's recording. A name that no file can have gets a hash, to be still the only one."""
    test = nodeid.partition("::")[2].replace("::", "-")
    name = re.sub(r"[^\w.-]+", "-", test, flags=re.ASCII)[:60]
    if name != test:
        name = f"{name.rstrip('-')}-{hashlib.sha256(test.encode()).hexdigest()[:8]}"
    return test_file.parent / "recordings" / f"{test_file.stem}-{name}.jsonl"
