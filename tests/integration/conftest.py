"""A real engine: the server of llama.cpp, on loopback, with a model that the tests write."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import pytest
import tiny_model
from intermediaries import nginx, squid, trusting

from lmstudio_provider import LMStudioProvider

__all__ = ["nginx", "squid", "trusting"]

PACKAGES = (
    "xllamacpp",
    "gguf",
    "numpy",
    "pandas",
    "pydantic",
    "opentelemetry",
    "openai",
    "ollama",
    "distributed",
)
MISSING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def pytest_collection_modifyitems(items):
    if MISSING and os.environ.get("INTEGRATION") != "required":
        reason = f"not installed: {', '.join(MISSING)}; 'make integration' installs them (xllamacpp needs Python 3.10)"
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=reason))


@contextmanager
def serving(model: Path, *flags: str) -> Iterator[str]:
    """Yield the URL of a separate server for the model; if it does not start, show its output."""
    command = [sys.executable, str(Path(__file__).with_name("serve_model.py")), str(model), *flags]
    log = model.with_name(f"server{''.join(flags)}.log")
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True) as server,
    ):
        try:
            url = server.stdout.readline().strip()
            if not url:
                pytest.fail(f"{command} did not start:\n{log.read_text(errors='replace')}")
            yield url
        finally:
            server.kill()  # it has nothing to clean up


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory) -> Path:
    model = tmp_path_factory.mktemp("llama_cpp") / "tiny.gguf"
    tiny_model.write(model)
    assert model.stat().st_size < 1_000_000
    return model


@pytest.fixture(scope="session")
def llama_cpp(tiny_gguf) -> Iterator[str]:
    """The URL of a server that chats, completes texts, writes JSON by a schema and calls tools."""
    with serving(tiny_gguf) as url:
        yield url


@pytest.fixture(scope="session")
def llama_cpp_embedding(tiny_gguf) -> Iterator[str]:
    """The URL of a server that also embeds texts, which the other refuses."""
    with serving(tiny_gguf, "--embeddings") as url:
        yield url


@pytest.fixture
def lm(llama_cpp) -> Iterator[LMStudioProvider]:
    with LMStudioProvider(llama_cpp) as provider:
        yield provider
