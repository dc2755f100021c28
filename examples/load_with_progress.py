"""Ask a model, and show the progress of loading it and of reading the prompt.

The model stays in memory as long as LM Studio keeps it.
"""

from __future__ import annotations

import argparse
import sys

from lmstudio_provider import LMStudioProvider, ProviderError

STAGES = {"model_load": "loading the model", "prompt_processing": "reading the prompt"}


def show(stage: str, fraction: float) -> None:
    """Draw a bar, over and over on one line."""
    bar = ("#" * round(fraction * 30)).ljust(30)
    end = "\n" if fraction == 1 else ""
    print(f"\r{STAGES[stage]:18} [{bar}] {fraction:4.0%}", end=end, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", help="by default, the model that any call without one would use")
    model = parser.parse_args().model
    with LMStudioProvider() as lm:
        stream = lm.native.stream("Say hello in five words.", model=model, on_progress=show)
        for text in stream.text():
            print(text, end="", flush=True)
        stats = stream.completion.stats
        print(f"\n{stream.completion.model} answered", end="")
        if stats.model_load_time_s is not None:
            print(f", after {stats.model_load_time_s:.1f} s of loading", end="")
        print()

        print("In memory now:")
        for info in lm.native.models():
            for instance in info.instances:
                print(f"  {instance.id}, with a context of {instance.context_length} tokens")

        # To load a model for a while, with the context that you need, and to free its memory even after an error:
        #     with lm.native.loaded(model, context_length=16384) as instance:
        #         lm.complete("...", model=instance.instance_id)


if __name__ == "__main__":
    try:
        main()
    except ProviderError as error:
        sys.exit(f"\n{error}")
    except KeyboardInterrupt:
        sys.exit("\nStopped. The connection is closed, so LM Studio stops, too.")
