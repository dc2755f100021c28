"""Search the paragraphs of text files by meaning: search.py QUESTION [FILE ...]."""

from __future__ import annotations

import math
import sys
from pathlib import Path

from lmstudio_provider import LMStudioProvider, ProviderError

README = Path(__file__).parent.parent / "README.rst"


def paragraphs(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return [" ".join(each.split()) for each in text.split("\n\n") if len(each) > 80]


def normal(vector: list[float]) -> list[float]:
    length = math.hypot(*vector) or 1.0
    return [each / length for each in vector]


def main(question: str, paths: list[Path]) -> None:
    found = [(path.name, each) for path in paths for each in paragraphs(path)]
    with LMStudioProvider() as lm:
        # One call for all: the provider sends them in requests of at most 64 texts.
        vectors = [normal(vector) for vector in lm.embed([question, *(text for _, text in found)]).vectors]
    asked, *others = vectors
    nearness = [sum(a * b for a, b in zip(asked, other)) for other in others]
    for cosine, (name, text) in sorted(zip(nearness, found), reverse=True)[:3]:
        print(f"{cosine:.3f}  {name}: {text[:100]}")


if __name__ == "__main__":
    words = sys.argv[1:] or ["How do I stop a stream?"]
    try:
        main(words[0], [Path(each) for each in words[1:]] or [README])
    except ProviderError as error:
        sys.exit(str(error))
