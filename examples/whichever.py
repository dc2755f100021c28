"""Use the local server that is running: LM Studio or Ollama."""

from __future__ import annotations

import sys

from lmstudio_provider import ProviderError, Registry


def main() -> None:
    # By default, it waits half a second. A machine that is loading a model may need longer to answer.
    with Registry.local(timeout=2) as registry:
        provider = registry.first_available()
        print(f"{provider.display_name} at {provider.base_url} answers:")
        for text in provider.stream("Why is the sky blue? Answer in one sentence.").text():
            print(text, end="", flush=True)
        print()


if __name__ == "__main__":
    try:
        main()
    except ProviderError as error:
        sys.exit(str(error))
