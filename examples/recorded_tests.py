"""Record what a real server answers, and test an application with it, without the server."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from lmstudio_provider import LMStudioProvider, ProviderError
from lmstudio_provider.simulator import record, replay


def explain(url: str) -> str:
    """Stand for the application under test, which takes the URL of its server."""
    with LMStudioProvider(url) as lm:
        return "".join(lm.stream("Why is the sky blue? Answer in one sentence.", temperature=0).text())


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "explain.jsonl")  # in a project: tests/recordings/explain.jsonl

        with record(os.environ.get("LM_STUDIO_URL", "http://localhost:1234"), path) as server:
            answer = explain(server.base_url)
        print("recorded:", answer)
        print(f"{len(server.requests)} requests, {path.stat().st_size} bytes")

        with replay(path) as again:
            assert explain(again.base_url) == answer
        print("replayed: the same answer, without the server")


if __name__ == "__main__":
    try:
        main()
    except ProviderError as error:
        sys.exit(str(error))
