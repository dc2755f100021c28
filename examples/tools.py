"""Let the model call a Python function, and answer with its result."""

from __future__ import annotations

import sys
from typing import Literal

from lmstudio_provider import LMStudioProvider, Message, ProviderError, ToolEvent, run_tools


def get_weather(city: str, unit: Literal["celsius", "fahrenheit"] = "celsius") -> dict[str, object]:
    """Return the current weather in a city.

    Args:
        city: The city's name, in English.
        unit: The unit of the temperature.
    """
    return {"city": city, "sky": "clear", "degrees": 21 if unit == "celsius" else 70}


def show(event: ToolEvent) -> None:
    if event.kind == "result" and event.call is not None:
        print(f"  {event.call.name}({event.call.raw_arguments}) -> {event.result}")


def main() -> None:
    with LMStudioProvider() as lm:
        run = run_tools(lm, [Message.user("How is the weather in Oslo?")], [get_weather], on_event=show)
    print(run.completion.text)


if __name__ == "__main__":
    try:
        main()
    except ProviderError as error:
        sys.exit(str(error))
