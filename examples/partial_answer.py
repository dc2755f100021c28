"""Show the items of a structured answer as soon as each is finished, while the model writes the next one."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from lmstudio_provider import LMStudioProvider, ProviderError, StructuredOutputError


@dataclass
class Step:
    """One step of a recipe."""

    what: str
    minutes: int


@dataclass
class Recipe:
    """A recipe for a beginner."""

    dish: str
    steps: list[Step]


def main() -> None:
    shown = 0
    with LMStudioProvider() as lm, lm.stream("How do I bake bread?", response_format=Recipe) as stream:
        for _ in stream:
            # A dict of what is finished, in which the finished steps are instances already.
            recipe = stream.partial_parsed() or {}
            steps: list[Step] = recipe.get("steps", [])
            for step in steps[shown:]:
                print(f"{step.minutes:4} min  {step.what}", flush=True)
            shown = len(steps)
    whole = stream.completion.parsed  # a Recipe, also to type checkers
    print(f"{whole.dish} takes {sum(step.minutes for step in whole.steps)} minutes.")


if __name__ == "__main__":
    try:
        main()
    except StructuredOutputError as error:
        sys.exit(f"The model wrote something else, at {error.path}: {error.text}")
    except ProviderError as error:
        sys.exit(str(error))
