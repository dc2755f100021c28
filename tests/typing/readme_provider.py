"""The provider of one's own that the README has; ``make check`` runs mypy over it."""

from typing import Any

from lmstudio_provider import Capabilities, ChatRequest, Completion, Message, Provider, Registry


class Echo(Provider):
    id = "echo"
    display_name = "Echo"

    @property
    def base_url(self) -> str:
        return "echo:"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(streaming=False, tool_calling=False, vision=False, models=("echo-1",))

    def chat(self, request: Any, **overrides: Any) -> Completion:
        last = ChatRequest.from_input(request, **overrides).messages[-1]
        said = last.content if isinstance(last, Message) else last["content"]
        return Completion(str(said), "echo-1", "echo-1", "stop", provider_id=self.id)


with Registry() as registry:
    registry.register(Echo())
    print(registry.get("echo").complete("Hello").text)
