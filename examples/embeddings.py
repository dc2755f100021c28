"""Sort texts by their nearness to a question: the smaller the angle between the vectors, the nearer."""

from __future__ import annotations

import math
import sys

from lmstudio_provider import LMStudioProvider, ProviderError

TEXTS = [
    "The cat sleeps on the sofa.",
    "Interest rates went up again.",
    "Dogs bark at strangers.",
    "The parliament votes on the budget today.",
]


def nearness(one: list[float], other: list[float]) -> float:
    """Return the cosine of the angle between two vectors: 1 if they have the same direction."""
    return sum(a * b for a, b in zip(one, other)) / (math.hypot(*one) * math.hypot(*other))


def main() -> None:
    with LMStudioProvider() as lm:
        vectors = lm.embed([*TEXTS, "Where does the cat sleep?"]).vectors
    question = vectors.pop()
    found = [(nearness(question, vector), text) for vector, text in zip(vectors, TEXTS)]
    for cosine, text in sorted(found, reverse=True):
        print(f"{cosine:6.3f}  {text}")


if __name__ == "__main__":
    try:
        main()
    except ProviderError as error:
        sys.exit(str(error))
