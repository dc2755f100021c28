"""A long prompt and Ollama: by itself, the server would cut the prompt and answer what is left, without a word."""

from __future__ import annotations

import sys
import warnings

from lmstudio_provider import ContextLengthError, OllamaProvider, ProviderError, TruncationWarning

PROMPT = f"This comes first. The word is heron. {'All of this is only here to be long. ' * 500}Which word is it?"
# A small context, so that the prompt does not fit whatever the model is; a larger number is what helps.
SMALL = {"options": {"num_ctx": 1024}}


def main() -> None:
    with OllamaProvider() as ollama:
        print("on_truncation='error' raises, and nothing is generated:")
        try:
            ollama.complete(PROMPT, on_truncation="error", extra=SMALL)
        except ContextLengthError as error:
            print(f"  {error.prompt_tokens} tokens do not fit into {error.context_length}. {error.hint}.")

        print("on_truncation='warn', which is the default, answers what is left, and says so:")
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", TruncationWarning)
            print(f"  {ollama.complete(PROMPT, max_tokens=200, extra=SMALL).text}")
        print(*(f"  {each.message}." for each in warned), sep="\n")

        print("on_truncation='ignore' has the prompt cut, as other clients do:")
        completion = ollama.complete(PROMPT, on_truncation="ignore", max_tokens=200, extra=SMALL)
        print(f"  {completion.usage.prompt_tokens if completion.usage else '?'} tokens were read: {completion.text}")


if __name__ == "__main__":
    try:
        main()
    except ProviderError as error:
        sys.exit(str(error))
