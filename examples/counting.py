"""Count the tokens of a prompt before it is sent, and compare them with the context of the model."""

from __future__ import annotations

import sys

from lmstudio_provider import ChatRequest, LMStudioProvider, Message, ProviderError


def get_weather(city: str) -> str:
    """Return the weather in a city."""
    return f"It rains in {city}."


def main() -> None:
    request = ChatRequest(
        [Message.system("Answer in one sentence."), Message.user("Do I need an umbrella in Paris?")],
        tools=[get_weather],
    )
    with LMStudioProvider() as lm:
        tokens = lm.count_tokens(request)  # the server reads the prompt, and keeps it for the call below
        context = lm.context_length()
        print(f"The prompt has {tokens} tokens. The context holds {context or 'an unknown number of'} tokens.")
        if context is not None:
            completion = lm.chat(request, max_tokens=max(1, min(500, context - tokens)))
            print(completion.text or completion.tool_calls)


if __name__ == "__main__":
    try:
        main()
    except ProviderError as error:
        sys.exit(str(error))
