"""The provider of one's own of docs/servers.rst; ``make check`` runs mypy over it."""

from typing import Any

from lmstudio_provider import Capabilities, ChatRequest, Chunk, Completion, Message, Provider, Registry, Stream


class Echo(Provider):
    id = "echo"
    display_name = "Echo"

    @property
    def base_url(self) -> str:
        return "echo:"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(streaming=True, tool_calling=False, vision=False, models=("echo-1",))

    def chat(self, request: Any, **overrides: Any) -> Completion:
        last = ChatRequest.from_input(request, **overrides).messages[-1]
        said = last.content if isinstance(last, Message) else last["content"]
        return Completion(str(said), "echo-1", "echo-1", "stop", provider_id=self.id)

    def stream(self, request: Any, on_chunk: Any = None, **overrides: Any) -> Any:
        words = (Chunk(f"{word} ") for word in self.chat(request, **overrides).text.split())
        return Stream.from_chunks(words, on_chunk, model="echo-1", provider_id=self.id)


with Registry() as registry:
    registry.register(Echo())
    print(registry.get("echo").complete("Hello").text)
    print(*registry.get("echo").stream("Good morning").text())
