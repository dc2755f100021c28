"""Send Ollama a prompt that is too long. By default, the server would silently cut it and answer the rest."""

from __future__ import annotations

import sys
import warnings

from lmstudio_provider import ContextLengthError, OllamaProvider, ProviderError, TruncationWarning

PROMPT = f"This comes first. The word is heron. {'All of this is only here to be long. ' * 500}Which word is it?"
# A small context, so that the prompt does not fit with any model. Outside of an example, use a larger one.
SMALL = {"options": {"num_ctx": 1024}}


def main() -> None:
    with OllamaProvider() as ollama:
        print("on_truncation='error' raises, and nothing is generated:")
        try:
            ollama.complete(PROMPT, on_truncation="error", extra=SMALL)
        except ContextLengthError as error:
            print(f"  {error.prompt_tokens} tokens do not fit into {error.context_length}. {error.hint}.")

        print("on_truncation='warn', the default, answers the rest of the prompt, and says so:")
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", TruncationWarning)
            print(f"  {ollama.complete(PROMPT, max_tokens=200, extra=SMALL).text}")
        print(*(f"  {each.message}." for each in warned), sep="\n")

        print("on_truncation='ignore' lets Ollama cut the prompt silently, as other clients do:")
        completion = ollama.complete(PROMPT, on_truncation="ignore", max_tokens=200, extra=SMALL)
        print(f"  {completion.usage.prompt_tokens if completion.usage else '?'} tokens were read: {completion.text}")


if __name__ == "__main__":
    try:
        main()
    except ProviderError as error:
        sys.exit(str(error))
