"""Typed as a user would type it; ``make check`` runs mypy over it, nothing runs it."""

from __future__ import annotations

from typing import Iterator

from lmstudio_provider import (
    ChatRequest,
    Chunk,
    Completion,
    CompletionRequest,
    LMStudioProvider,
    MemoryUsage,
    Message,
    Provider,
    Stream,
    Timeouts,
    Tool,
    UsageRecord,
)


class Printer:
    def record(self, record: UsageRecord, /) -> None:
        print(record.total_tokens)


def calls(lm: LMStudioProvider) -> None:
    completion: Completion = lm.complete("Hi", temperature=0.2, timeout=5, deadline=None)
    length: int = len(completion.text)
    tokens: int | None = completion.usage.total_tokens if completion.usage else None
    lm.complete(CompletionRequest("Hi"), stop=["\n"], timeout=Timeouts(idle=1))
    lm.chat([Message.user("Hi"), {"role": "assistant", "content": "Hello"}], model="m")
    lm.chat(ChatRequest([Message.system("Be brief")], tools=[Tool("now")]), tier="fast")
    stream: Stream = lm.stream("Hi")
    chunks: Iterator[Chunk] = stream
    texts: list[str] = list(stream.text())
    whole: Completion = lm.stream("Hi", lambda chunk: print(chunk.delta))
    arguments: dict[str, object] = whole.tool_calls[0].arguments
    print(length, tokens, chunks, texts, arguments)


def mistakes(lm: LMStudioProvider) -> None:
    lm.complete("Hi", temprature=0.2)  # type: ignore[call-arg]
    lm.complete("Hi", temperature="hot")  # type: ignore[arg-type]
    lm.complete("Hi", tools=[])  # type: ignore[call-arg]
    lm.stream("Hi").txt()  # type: ignore[attr-defined]


def providers() -> Iterator[Provider]:
    yield LMStudioProvider()
    yield LMStudioProvider("localhost", usage=MemoryUsage(), timeout=None, settings={"lmstudio_model": "m"})
    with LMStudioProvider(usage=Printer(), headers={"X-Title": "Demo"}) as lm:
        yield lm
