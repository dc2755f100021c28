"""A real engine: llama.cpp behind ``python -m llama_cpp.server``, on loopback, with a model that the tests write."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Sequence

import pytest
import tiny_model

from lmstudio_provider import LMStudioProvider

MISSING = [name for name in ("llama_cpp", "gguf", "uvicorn") if importlib.util.find_spec(name) is None]
STARTED_IN_S = 120.0


def pytest_collection_modifyitems(items):
    if MISSING and os.environ.get("INTEGRATION") != "required":
        reason = f"not installed: {', '.join(MISSING)}; 'make integration' installs the integration extra"
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=reason))


CONTEXT = str(tiny_model.CONTEXT)
PYTHON_SERVER = (
    sys.executable, "-m", "llama_cpp.server", "--model_alias", "tiny", "--n_ctx", CONTEXT, "--n_threads", "1",
)  # fmt: skip


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


@contextmanager
def serving(model: Path, *flags: str, program: Sequence[str] = PYTHON_SERVER) -> Iterator[str]:
    """The URL of a server of its own for the model; what it prints is shown when it does not come up.

    ``flags`` come last, so that they win over those that are set here.
    """
    port = free_port()
    command = [*program, "--model", str(model), "--host", "127.0.0.1", "--port", str(port)]
    log = model.with_name(f"server-{port}.log")
    with log.open("wb") as output, subprocess.Popen([*command, *flags], stdout=output, stderr=output) as server:
        try:
            with LMStudioProvider(f"127.0.0.1:{port}", refresh=False) as lm:
                deadline = time.monotonic() + STARTED_IN_S
                pause = threading.Event()
                while not lm.health_check().ok:
                    if server.poll() is not None or time.monotonic() > deadline:
                        pytest.fail(f"{command[:3]} did not start:\n{log.read_text(errors='replace')}")
                    pause.wait(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory) -> Path:
    model = tmp_path_factory.mktemp("llama_cpp") / "tiny.gguf"
    tiny_model.write(model)
    assert model.stat().st_size < 1_000_000
    return model


@pytest.fixture(scope="session")
def llama_cpp(tiny_gguf) -> Iterator[str]:
    """The URL of a server that chats, completes texts and writes JSON by a schema."""
    with serving(tiny_gguf) as url:
        yield url


@pytest.fixture(scope="session")
def llama_cpp_embedding(tiny_gguf) -> Iterator[str]:
    """The URL of a server that embeds texts, too, which the others refuse."""
    with serving(tiny_gguf, "--embedding", "true") as url:
        yield url


@pytest.fixture(scope="session")
def llama_cpp_tools(tiny_gguf) -> Iterator[str]:
    """The URL of a server that calls a tool when ``tool_choice`` is "auto"; it tells the model of tools at length."""
    with serving(tiny_gguf, "--chat_format", "chatml-function-calling", "--n_ctx", "2048") as url:
        yield url


@pytest.fixture
def lm(llama_cpp) -> Iterator[LMStudioProvider]:
    with LMStudioProvider(llama_cpp) as provider:
        yield provider


@pytest.fixture(scope="session")
def llama_server(tiny_gguf) -> Iterator[str]:
    """The URL of llama.cpp's own server, which speaks more dialects than the one in Python."""
    program = os.environ.get("LLAMA_SERVER") or shutil.which("llama-server")
    if program is None:
        leave = pytest.fail if os.environ.get("INTEGRATION") == "required" else pytest.skip
        leave("no llama-server on the PATH, and none in $LLAMA_SERVER; llama_cpp.server has neither endpoint")
    with serving(tiny_gguf, program=[program, "--alias", "tiny", "--ctx-size", CONTEXT, "--threads", "1"]) as url:
        yield url
