"""Ask a decision model, such as nimble, what to do with a message; without one, ask the stand-in."""

from __future__ import annotations

import sys

from lmstudio_provider import Choice, Condition, InvalidRequestError, LMStudioProvider, ProviderError, Score
from lmstudio_provider.simulator import SimulatedLMStudio

TICKET = "Our checkout has returned errors since 9am, and customers are leaving."
QUESTIONS = {
    "label": Choice(
        "Which label fits this ticket?",
        {"billing": "Payments and refunds", "bug": "Software errors", "account": "Login and account access"},
    ),
    "urgent": Condition("It needs an answer today: customers are affected"),
    "severity": Score("How severe is it?", ["A question", "A small nuisance", "Customers are leaving"]),
}


def show(lm: LMStudioProvider) -> None:
    decisions = lm.decide(TICKET, QUESTIONS)
    label, severity = decisions.choice("label"), decisions.score("severity")
    print(f"{decisions.model} answers:")
    print(f"label: {label.choice}, {label.probabilities[label.choice]:.0%} likely")
    print(f"urgent: {decisions.condition('urgent').probability:.0%} likely")
    print(f"severity: {severity.score:.1f} of 2")


def main() -> None:
    try:
        with LMStudioProvider() as lm:
            show(lm)
    except InvalidRequestError as error:
        print(error)
        with SimulatedLMStudio(["nimble"]) as server, LMStudioProvider(server.url) as lm:
            show(lm)


if __name__ == "__main__":
    try:
        main()
    except ProviderError as error:
        sys.exit(str(error))
