"""Stream the thoughts of a model and its answer, each under a heading; then ask again, without thoughts."""

from __future__ import annotations

import sys
import warnings

from lmstudio_provider import LMStudioProvider, ProviderError, ReasoningWarning

QUESTION = "What is 17 times 23?"


def main() -> None:
    with LMStudioProvider() as lm:
        # Thoughts count towards max_tokens: leave room for the answer. With a low effort, they take less.
        stream = lm.stream(QUESTION, max_tokens=8192, reasoning="low")
        part = ""
        for chunk in stream:
            for name, text in (("thinks", chunk.reasoning), ("answers", chunk.delta)):
                if text:
                    if part != name:
                        print(f"\nThe model {name}:")
                        part = name
                    print(text, end="", flush=True)
        usage = stream.completion.usage
        if usage is not None and usage.reasoning_tokens is not None:
            print(f"\n\n{usage.reasoning_tokens} of {usage.completion_tokens} tokens went into reasoning.")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ReasoningWarning)
            answer = lm.complete(QUESTION, reasoning="off")
        print(f"\nWithout thoughts:\n{answer.text}")
        for each in caught:  # not every model can do without them
            print(each.message)


if __name__ == "__main__":
    try:
        main()
    except ProviderError as error:
        sys.exit(str(error))
