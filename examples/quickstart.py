"""A tour of lmstudio_provider, with your LM Studio if it answers, else with a stand-in."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass

from lmstudio_provider import Conversation, LMStudioProvider, Message, ProviderError, Tool
from lmstudio_provider.simulator import SimulatedLMStudio

WEATHER = Tool(
    "get_weather",
    "Return the current weather in a city.",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
COLOURS = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.name != "nt"


@dataclass
class City:
    """What the model fills in."""

    name: str
    country: str


def heading(text: str) -> None:
    print(f"\n\033[1;36m{text}\033[0m" if COLOURS else f"\n{text}")


def main() -> None:
    with contextlib.ExitStack() as stack:
        lm = stack.enter_context(LMStudioProvider())
        error = lm.health_check().error
        if error is not None and error.sent:
            sys.exit(f"The server at {lm.base_url} cannot be used: {error}")
        if error is not None:
            print(f"No LM Studio answers at {lm.base_url}. A stand-in takes its place, without a model.\n")
            stand_in = stack.enter_context(SimulatedLMStudio(delay_s=0.03))
            lm = stack.enter_context(LMStudioProvider(stand_in.url))
        show(lm)


def show(lm: LMStudioProvider) -> None:
    print("Models:", ", ".join(model.id for model in lm.list_models()) or "none")

    heading("One answer to one text:")
    print(" ", lm.complete("Why is the sky blue? Answer in one sentence.").text)

    heading("A conversation:")
    conversation = Conversation(lm, "You are a poet.")
    print(" ", conversation.ask("Say hello in five words.").text)
    print(" ", conversation.ask("And now goodbye.").text)

    heading("Token by token:")
    print("  ", end="")
    stream = lm.stream("Tell a story in two sentences.")
    for text in stream.text():
        print(text, end="", flush=True)
    print()

    heading("An answer as a dataclass:")
    print(" ", lm.chat("What is the capital of Norway?", response_format=City).parsed)

    heading("A tool:")
    messages = [Message.user("How is the weather in Oslo?")]
    asked = lm.complete_with_tools(messages, tools=[WEATHER])
    for call in asked.tool_calls:
        print(f"  the model calls {call.name}({call.arguments})")
    if asked.tool_calls:
        messages.append(Message.assistant(asked.text, asked.tool_calls))
        messages += [Message.tool(call, {"sky": "clear", "celsius": 21}) for call in asked.tool_calls]
        print(" ", lm.chat(messages, tools=[WEATHER]).text)
    else:
        print("  the model did not call a tool:", asked.text)

    heading("An error:")
    try:
        LMStudioProvider("localhost:1", refresh=False).complete("Hello")
    except ProviderError as error:
        print(" ", error)

    usage, stats = stream.completion.usage, stream.completion.stats
    if usage is not None and stats.tokens_per_second is not None:
        print(f"\nThe story took {usage.completion_tokens} tokens, at {stats.tokens_per_second:.1f} a second.")


if __name__ == "__main__":
    try:
        main()
    except ProviderError as error:
        sys.exit(str(error))
