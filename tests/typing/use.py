"""Typed as a user would type it; ``make check`` runs mypy over it, nothing runs it."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Iterator, Mapping, Sequence, Union

from lmstudio_provider import (
    ChatRequest,
    Choice,
    Chunk,
    Completion,
    CompletionRequest,
    Condition,
    Conversation,
    Decisions,
    Download,
    Endpoint,
    EphemeralMCP,
    Failover,
    LMStudioProvider,
    LoadedModel,
    MeasuredRow,
    Measurement,
    MemoryUsage,
    Message,
    MessageItem,
    NativeCompletion,
    NativeConversation,
    NativeStream,
    OllamaProvider,
    Plugin,
    Progress,
    Provider,
    Question,
    Registry,
    ResponsesRequest,
    Result,
    Score,
    ScoreAnswer,
    Stream,
    TextRequest,
    Timeouts,
    Tool,
    ToolRun,
    UsageRecord,
    complete_many,
    discover,
    events,
    measure,
    run_tools,
    start_server,
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
    lm.chat("Hi", reasoning_effort="low")
    lm.stream(ChatRequest("Hi", reasoning="off"), reasoning="on")
    lm.chat(ChatRequest([Message.system("Be brief")], tools=[Tool("now")]), tier="fast")
    stream: Stream = lm.stream("Hi")
    chunks: Iterator[Chunk] = stream
    texts: list[str] = list(stream.text())
    whole: Completion = lm.stream("Hi", lambda chunk: print(chunk.delta))
    arguments: dict[str, object] = whole.tool_calls[0].arguments
    print(length, tokens, chunks, texts, arguments)


class Picture:
    def save(self, fp: object, format: str | None = None, **params: object) -> None:
        print(fp, format, params)


def images(lm: LMStudioProvider, file: BinaryIO) -> None:
    Message.user("Hi", images=[Path("a.png"), "a.png", b"", file, BytesIO(), Picture()])
    Message.user("Hi", images=file)
    lm.native.chat("Hi", images=Picture())


def add(a: int, b: int) -> int:
    return a + b


@dataclass
class City:
    name: str


def more(lm: LMStudioProvider) -> None:
    completion, messages = run_tools(lm, [Message.user("1 + 2?")], [add, Tool.from_function(add)], temperature=0)
    run: ToolRun = run_tools(lm, [{"role": "user", "content": "Hi"}], [add], confirm=lambda call: call.name == "add")
    name: str = lm.chat([Message.user("Hi")], response_format=City, tools=[add]).parsed.name
    city: Completion[City] = lm.complete("Hi", response_format=City, system_prompt="Be brief", temperature=0)
    cities: list[City] = lm.chat("Hi", response_format=list[City]).parsed
    called: City = lm.complete_with_tools("Hi", tools=[add], response_format=City).parsed
    either: Completion = lm.chat("Hi", response_format=Union[City, None])
    parsed = lm.chat("Hi", response_format={"type": "object"}).parsed["name"]
    lm.chat([Message.user("Hi")], response_format={"type": "object"})
    lm.chat("Hi", tools=[add, Tool("now"), {"type": "function"}], tool_choice="add")
    lm.complete("Hi", images=["a.png", b"PNG"], tools=[add], response_format=list[City], system_prompt="Be brief")
    lm.complete(CompletionRequest("Hi", images="a.png", tools=[add], response_format=City))
    lm.complete_with_tools("Hi", tools=(Tool(name) for name in ["now", "then"]))
    for chunk in lm.stream("Hi", images=[b"PNG"], tools=[add], response_format=City):
        print(chunk.delta)
    request: ChatRequest = ChatRequest.from_input("Hi", tools=[add], timeout=5)
    held: Sequence[Message | Mapping[str, Any]] = ChatRequest("Hi", tools=[add], seed=1).messages
    told: ResponsesRequest = ResponsesRequest("Hi", [add], store=False, temperature=0)
    vectors: list[list[float]] = lm.embed(["a"], timeout=5).vectors
    text: str = lm.complete_text("Once", stop=".").text
    stream: Stream = lm.stream(TextRequest("Once"))
    Conversation(lm, token_budget="context")
    conversation = Conversation(lm, "Be brief", token_budget=1000).load("chat.json")
    answer: Completion = conversation.ask("Hi", images=["a.png"], tools=[add], max_tokens=5)
    pieces: Iterator[Chunk] = conversation.stream("Hi", seed=1)
    steps: Stream = conversation.stream("Hi", tools=[add], on_event=lambda event: print(event.kind), max_rounds=2)
    handed: Completion = conversation.stream("Hi", on_chunk=lambda chunk: print(chunk.delta), tools=[add])
    handed = conversation.ask("Hi", on_chunk=lambda chunk: print(chunk.delta), on_event=lambda event: print(event.call))
    conversation.add("Hi", Message.assistant("Hello"), {"role": "user", "content": "Bye"})
    history: tuple[Message, ...] = conversation.messages + conversation.undo()
    made: Stream = Stream.from_chunks((Chunk(each) for each in "Hi"), model="m", provider_id="mine")
    answer = Stream.from_chunks([Chunk("Hi")], lambda chunk: print(chunk.done))
    print(completion.text, messages, run, parsed, vectors, text, stream, answer, pieces, request, held, told)
    print(steps, handed, history, made, name, city, cities, called, either)


def typed_streams(lm: LMStudioProvider, ollama: OllamaProvider, mine: Provider, failover: Failover) -> list[str]:
    stream: Stream[City] = lm.stream("Hi", response_format=City, temperature=0)
    for chunk in stream:
        print(chunk.delta, stream.partial_parsed())
    names: list[str] = [each.name for each in lm.stream("Hi", response_format=list[City]).completion.parsed]
    names.append(stream.completion.parsed.name)
    for provider in (ollama, mine, failover):
        names.append(provider.stream([Message.user("Hi")], response_format=City, tools=[add]).completion.parsed.name)
    names.append(lm.stream("Hi", lambda chunk: print(chunk.delta), response_format=City).parsed.name)
    names.append(lm.responses_stream("Hi", response_format=City, store=False).completion.parsed.name)
    names.append(lm.responses_stream("Hi", print, response_format=City).parsed.name)
    plain: Stream = stream
    anything: Stream = lm.stream("Hi", response_format={"type": "object"})
    stream.add_done_callback(lambda completion, error: print(completion.parsed.name, error))
    return [*names, plain.completion.parsed.anything, anything.completion.parsed["name"]]


def dialects(lm: LMStudioProvider) -> None:
    first: Completion = lm.responses("Hi", store=True, reasoning_effort="low", system_prompt="Be brief")
    stream: Stream = lm.responses_stream([Message.user("Hi")], previous_response_id=first.id)
    whole: Completion = lm.responses_stream(ResponsesRequest([Message.user("Hi")]), lambda chunk: print(chunk.delta))
    parsed: City = lm.responses(ChatRequest([Message.user("Hi")]), response_format=City, timeout=5, store=False).parsed
    message: Completion = lm.messages("Hi", stop=["."], top_k=40, tools=[Tool("now"), add], images=["a.png"])
    pieces: Stream = lm.messages_stream(CompletionRequest("Hi"), deadline=60)
    joined: Completion = lm.messages_stream("Hi", on_chunk=lambda chunk: print(chunk.delta))
    print(stream, whole, parsed, message, pieces, joined)


def native(lm: LMStudioProvider) -> None:
    server = EphemeralMCP("catalog", "https://example.com/mcp", ["search"], headers={"Authorization": "x"})
    reply: NativeCompletion = lm.native.chat("Hi", integrations=[server, Plugin("mcp/x"), "mcp/y"], context_length=8192)
    texts: list[str] = [item.content for item in reply.output if isinstance(item, MessageItem)]
    stream: NativeStream = lm.native.stream("Hi", on_progress=lambda stage, fraction: print(stage, fraction + 1))
    for event in stream:
        if isinstance(event, events.MessageDelta):
            texts.append(event.content)
        elif isinstance(event, events.ChatEnd):
            reply = event.result
    conversation = NativeConversation(lm, "Be brief.", reasoning="off")
    reply = conversation.branch().ask("Hi", images=["a.png"], timeout=5)
    loaded: LoadedModel = lm.native.load("m", context_length=8192, echo_load_config=True)
    lm.native.unload(loaded)
    with lm.native.loaded("m", flash_attention=True, deadline=60) as instance:
        print(instance.instance_id, lm.native.ensure_loaded("m").load_config)
    download: Download = lm.native.download("https://huggingface.co/a/b", "Q4_K_M")
    progress: Progress = download.wait(
        on_progress=lambda progress: print(progress.completed_bytes), poll=2, deadline=60
    )
    print(texts, stream.completion.response_id, progress.seconds_left, Download.resume("job").status().status)


def formats(mine: Provider, ollama: OllamaProvider, failover: Failover) -> list[str]:
    completions = [each.chat("Hi", response_format=City) for each in (ollama, failover)]
    whole: Completion = completions[0]
    return [mine.complete("Hi", response_format=City).parsed.name, completions[1].parsed.name, whole.parsed.anything]


def mistakes(lm: LMStudioProvider) -> None:
    print(lm.chat("Hi", response_format=City).parsed.nmae)  # type: ignore[attr-defined]
    print(lm.complete("Hi", response_format=City).parsed + 1)  # type: ignore[operator]
    print(lm.stream("Hi", response_format=City).completion.parsed.nmae)  # type: ignore[attr-defined]
    lm.native.chat("Hi", stop=".")  # type: ignore[call-arg]
    lm.native.stream("Hi", store="yes")  # type: ignore[arg-type]
    lm.native.load("m", ttl=60)  # type: ignore[call-arg]
    lm.native.unload(7)  # type: ignore[arg-type]
    lm.complete("Hi", temprature=0.2)  # type: ignore[call-overload]
    lm.complete("Hi", temperature="hot")  # type: ignore[call-overload]
    lm.complete("Hi", tools=[1])  # type: ignore[list-item]
    lm.chat("Hi", system_prompt="Be brief")  # type: ignore[call-overload]
    lm.chat(messages=[Message.user("Hi")])  # type: ignore[call-overload]
    lm.chat()  # type: ignore[call-overload]
    ChatRequest("Hi", temprature=1)  # type: ignore[call-arg]
    LMStudioProvider(api_key="x")  # type: ignore[arg-type]
    lm.complete_text("Hi", tools=[])  # type: ignore[call-arg]
    lm.embed([1])  # type: ignore[list-item]
    run_tools(lm, [], [add], tools=[])  # type: ignore[misc]
    lm.messages("Hi", store=True)  # type: ignore[call-arg]
    lm.responses("Hi", stroe=True)  # type: ignore[call-overload]
    lm.responses("Hi", stream=True)  # type: ignore[call-overload]
    lm.messages_stream("Hi", store=True)  # type: ignore[call-overload]
    print(lm.responses_stream("Hi").finish_reason)  # type: ignore[attr-defined]
    lm.stream("Hi").txt()  # type: ignore[attr-defined]
    Stream.from_chunks(["Hi"])  # type: ignore[list-item]
    Conversation(lm).messages.append(Message.user("Hi"))  # type: ignore[attr-defined]
    Conversation(lm).stream("Hi", on_chunk=print).text()  # type: ignore[operator]


def ollama(server: OllamaProvider) -> None:
    server.pull("m", on_progress=lambda progress: print(progress.completed_bytes, progress.seconds_left))
    server.delete("m")
    version: str = server.version()
    print(version, server.chat([Message.user("Hi")], response_format=City).parsed)


class SecretText:
    def get_secret_value(self) -> str:
        return "sk-lm-AbCd1234:0123456789abcdefghij"


def providers() -> Iterator[Provider]:
    yield LMStudioProvider()
    yield LMStudioProvider(api_token=SecretText())
    yield LMStudioProvider("localhost", usage=MemoryUsage(), timeout=None, settings={"lmstudio_model": "m"})
    with LMStudioProvider(usage=Printer(), headers={"X-Title": "Demo"}) as lm:
        yield lm


def several(mine: Provider) -> None:
    endpoints: list[Endpoint] = discover(1.0, hosts=["gpu-box", "10.0.0.5:8080"], settings={"lmstudio_base_url": "a"})
    started: Endpoint = start_server(timeout=60, port=1234)
    with Registry.local(timeout=1.0, refresh=False) as registry, Failover(registry, balance="least_busy") as failover:
        registry.register(mine, replace=True)
        provider: Provider = registry.first_available()
        text: str = failover.complete("Hi", deadline=60).text
        stream: Stream = failover.stream("Hi")
        measured: Measurement = measure(failover, ["Hi", "Hello"], models=["m"], concurrency=(1, 4), temperature=0)
        results: list[Result] = list(
            complete_many(failover, ["Hi", ChatRequest("Hi"), [Message.user("Hi")]], ordered=False)
        )
        print(results[0].completion, results[0].error)
        row: MeasuredRow = measure(mine, "Hi", load=print, models="m", concurrency=2, deadline=60).rows[0]
    speed: float | None = row.tokens_per_second.p50 if row.tokens_per_second else None
    print(endpoints, started, provider, text, stream, measured.table(), speed)


def decisions(lm: Provider) -> None:
    label = Choice("Which?", {"a": "first", "b": "second"})
    alike = lm.decide("text", {"label": label, "other": label}, timeout=5)
    chosen: str = alike["label"].choice
    mixed = lm.decide({"text": "..."}, {"label": label, "urgent": Condition("It is urgent")}, "nimble", images="a.png")
    likely: float = mixed.condition("urgent").probability
    score: ScoreAnswer = mixed.score("label")
    questions: dict[str, Question[Any]] = {"label": label, "how": Score("How much?", ["a", "b"])}
    found: Decisions[Any] = lm.decide("text", questions)
    print(chosen, likely, score, [answer.confidence for answer in found.values()])


def counting(lm: Provider) -> None:
    tokens: int = lm.count_tokens("Hi", system_prompt="Be brief", model="m", timeout=5)
    tokens += lm.count_tokens([Message.user("Hi")], tools=[add]) + lm.count_tokens(TextRequest("Once"))
    context: int | None = lm.context_length("m", timeout=5)
    print(tokens, context)
