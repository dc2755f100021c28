"""Summarise each text file of a folder, into a file beside it: summarise_folder.py FOLDER.

If the server goes away, the program waits for it and goes on. Started again, it does only what is missing.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from lmstudio_provider import (
    LMStudioProvider,
    ProviderError,
    ServerUnavailableError,
    StreamInterruptedError,
)

WAIT_S = 600.0


def summarise(lm: LMStudioProvider, path: Path) -> str:
    """Return a summary. It asks again after a failure: for a summary, a second generation does no harm."""
    prompt = f"Summarise this text in two sentences:\n\n{path.read_text(encoding='utf-8', errors='replace')}"
    while True:
        try:
            return lm.complete(prompt, max_tokens=200).text
        except (ServerUnavailableError, StreamInterruptedError) as error:
            print(f"\n{error}\nWaiting for the server ...")
            lm.wait_until_ready(WAIT_S)


def main(folder: Path) -> None:
    paths = sorted(path for path in folder.glob("*.txt") if not path.name.endswith(".summary.txt"))
    with LMStudioProvider() as lm:
        for number, path in enumerate(paths, 1):
            target = path.with_name(f"{path.stem}.summary.txt")
            print(f"[{number}/{len(paths)}] {path.name}", end=" ", flush=True)
            if target.exists():
                print("is there already")
                continue
            text = summarise(lm, path)
            unfinished = target.with_suffix(".part")
            unfinished.write_text(text, encoding="utf-8")
            unfinished.replace(target)  # so that a summary is whole or not there
            print(f"-> {target.name}: {text[:60]}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as example:
        if not sys.argv[1:]:
            (Path(example) / "sky.txt").write_text("The sky is blue because air scatters blue light more than red.")
            (Path(example) / "grass.txt").write_text("Grass is green because chlorophyll absorbs red and blue light.")
        try:
            main(Path(sys.argv[1] if sys.argv[1:] else example))
        except ProviderError as error:
            sys.exit(str(error))
