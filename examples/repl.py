"""Chat in the terminal. Ctrl-C stops an answer and keeps the chat; an empty line or Ctrl-D ends it."""

from __future__ import annotations

import sys

from lmstudio_provider import Conversation, LMStudioProvider, ProviderError


def answer(conversation: Conversation, text: str) -> None:
    """Print the answer as it comes. What came of it before Ctrl-C stays in the conversation."""
    try:
        with conversation.stream(text) as stream:
            for delta in stream.text():
                print(delta, end="", flush=True)
    except KeyboardInterrupt:
        print(" [stopped]", end="")
    except ProviderError as error:
        print(f"\n{error}", end="")
    print()


def main() -> None:
    with LMStudioProvider() as lm:
        print(f"Talking to {lm.resolve_model()} at {lm.base_url}.")
        conversation = Conversation(lm, "You are brief.", token_budget="context")
        try:
            while text := input("> ").strip():
                answer(conversation, text)
        except (EOFError, KeyboardInterrupt):
            print()
        print(f"{len(conversation.messages)} messages")


if __name__ == "__main__":
    try:
        main()
    except ProviderError as error:
        sys.exit(str(error))
