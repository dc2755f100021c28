"""Replies with changed bytes, read by each call: each gives a result or a ProviderError."""

from __future__ import annotations

import logging
import pickle
import random
import socket
import sys
import threading
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import pytest
from conftest import MUTATIONS, SEED
from mutations import mutated
from raw import RawServer
from shapes import misfits

from lmstudio_provider import (
    Completion,
    LMStudioProvider,
    Message,
    NativeCompletion,
    NativeStream,
    OllamaProvider,
    ProviderError,
    RequestTimeoutError,
    Stream,
    TextRequest,
    Tool,
)

SAMPLES = Path(__file__).parent.parent / "samples"
# A call that takes more seconds than this hangs.
PATIENCE_S = 60

WEATHER = Tool("get_weather", "The weather of a city", {"type": "object", "properties": {"city": {"type": "string"}}})
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TALK = [Message.system("Be brief."), Message.user("Hi")]


@dataclass
class Server:
    """Answers each request with ``reply``; closes the connection afterwards if ``hang_up`` is set."""

    reply: bytes = b""
    hang_up: bool = False

    def __call__(self, connection: socket.socket) -> None:
        connection.sendall(self.reply)
        if self.hang_up:
            connection.shutdown(socket.SHUT_WR)


# Each takes its provider, and returns a result. A name begins with the kind of the samples that its call can read.
LM: dict[str, Callable[[LMStudioProvider], Any]] = {
    "chat_completion": lambda lm: lm.chat(TALK),
    "chat_completion to a text": lambda lm: lm.complete("Hi", max_tokens=5),
    "chat_completion with tools": lambda lm: lm.complete_with_tools(TALK, tools=[WEATHER]),
    "chat_completion by a schema": lambda lm: lm.chat(TALK, response_format=SCHEMA),
    "chat_stream": lambda lm: lm.stream(TALK),
    "chat_stream with tools": lambda lm: lm.stream(TALK, tools=[WEATHER]),
    "chat_stream to a function": lambda lm: lm.stream("Hi", lambda chunk: None),
    "chat_stream by a schema": lambda lm: lm.stream(TALK, response_format=SCHEMA),
    "text_completion": lambda lm: lm.complete_text("Once"),
    "chat_stream of a text": lambda lm: lm.stream(TextRequest("Once")),
    "embeddings": lambda lm: lm.embed(["a", "b"], "m"),
    "models": lambda lm: lm.list_models(),
    "models by their health": lambda lm: lm.health_check(),
    "greeting": lambda lm: lm.health_check(),
    "message.": lambda lm: lm.messages(TALK, tools=[WEATHER]),
    "messages_stream": lambda lm: lm.messages_stream(TALK),
    "ollama_seen_messages": lambda lm: lm.messages_stream(TALK, tools=[WEATHER]),
    "response.": lambda lm: lm.responses(TALK, tools=[WEATHER]),
    "responses_stream": lambda lm: lm.responses_stream(TALK),
    "ollama_seen_responses": lambda lm: lm.responses_stream(TALK, tools=[WEATHER]),
    "v1_chat": lambda lm: lm.native.chat("Hi"),
    "v1_chat_stream": lambda lm: lm.native.stream("Hi"),
    "models_v1": lambda lm: lm.native.models(),
    "v1_model_load": lambda lm: lm.native.load("m", echo_load_config=True),
    "v1_model_unload": lambda lm: lm.native.unload("m"),
    "v1_download": lambda lm: lm.native.download("m"),
    "v1_download_status": lambda lm: lm.native.download_status("job"),
}
OLLAMA: dict[str, Callable[[OllamaProvider], Any]] = {
    "ollama_chat": lambda ollama: ollama.chat(TALK),
    "ollama_chat with tools": lambda ollama: ollama.complete_with_tools(TALK, tools=[WEATHER]),
    "ollama_chat by a schema": lambda ollama: ollama.chat(TALK, response_format=SCHEMA),
    "ollama_chat_stream": lambda ollama: ollama.stream(TALK),
    "ollama_chat_stream with tools": lambda ollama: ollama.stream(TALK, tools=[WEATHER]),
    "ollama_generate": lambda ollama: ollama.complete_text("Once"),
    "ollama_generate_stream": lambda ollama: ollama.stream(TextRequest("Once")),
    "ollama_embed": lambda ollama: ollama.embed(["a", "b"], "m"),
    "ollama_tags": lambda ollama: ollama.list_models(),
    "ollama_tags by their health": lambda ollama: ollama.health_check(),
    "ollama_ps": lambda ollama: ollama.ps(),
    "ollama_show": lambda ollama: ollama.show("m"),
    "ollama_version": lambda ollama: ollama.version(),
    "ollama_pull": lambda ollama: ollama.pull("m", lambda progress: None),
    "ollama_pull to create": lambda ollama: ollama.create("m", from_model="n"),
    "ollama_chat to load": lambda ollama: ollama.load("m"),
    "ollama_version to delete": lambda ollama: ollama.delete("m"),
    "ollama_version to copy": lambda ollama: ollama.copy("m", "n"),
}
CALLS = [*LM.items(), *OLLAMA.items()]


@dataclass
class Case:
    """One reply, and the call that reads it."""

    number: int
    sample: Path
    call: str
    make: Callable[[Any], Any]
    reply: bytes
    hang_up: bool

    def __str__(self) -> str:
        return f"mutation {self.number} of {self.sample.name}, read by {self.call!r}"


class Cases:
    """The calls and their replies. Each is made from the seed and its number."""

    def __init__(self) -> None:
        self._data = {path: path.read_bytes() for path in sorted(SAMPLES.rglob("*")) if path.is_file()}
        self._bodies = [data for path, data in self._data.items() if path.suffix != ".http"]
        folders = [SAMPLES, SAMPLES / "errors", SAMPLES / "pages"]
        self._samples = [[path for path in self._data if path.parent == folder] for folder in folders]

    def case(self, number: int) -> Case:
        rng = random.Random(f"{SEED}-{number}")
        sample = rng.choice(rng.choices(self._samples, [8, 1, 1])[0])
        # An error or a page may answer any call, and sometimes the reply to another call does.
        meant = [(name, make) for name, make in CALLS if sample.name.startswith(name.split()[0])]
        name, make = rng.choice(meant if meant and rng.random() < 0.9 else CALLS)
        data = mutated(self._data[sample], self._bodies, rng)
        if sample.suffix == ".http":
            return Case(number, sample, name, make, data, hang_up=True)
        status = rng.choice([200, 400, 401, 404, 429, 500, 503]) if sample.parent.name == "errors" else 200
        kind = {".sse": "text/event-stream", ".ndjson": "application/x-ndjson"}.get(sample.suffix, "application/json")
        head = f"HTTP/1.1 {status} Said\r\nContent-Type: {kind}\r\n"
        framing = rng.choice(["length", "chunked", "end"])
        if framing == "length":
            reply = f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data
        elif framing == "chunked":
            size = rng.randint(1, 2000)
            pieces = [data[start : start + size] for start in range(0, len(data), size)]
            chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
            reply = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n"
        else:
            reply = f"{head}\r\n".encode() + data
        return Case(number, sample, name, make, reply, hang_up=framing == "end")


def check(result: Any) -> None:
    """Read each part of a result, as a user does; raise AssertionError if a part does not have its type."""
    repr(result)
    if isinstance(result, (Stream, NativeStream)):
        for each in result:
            wrong = list(misfits(each))
            assert not wrong, wrong
        result = result.completion
    for each in result if isinstance(result, list) else [result]:
        wrong = list(misfits(each))
        assert not wrong, wrong
        pickle.loads(pickle.dumps(each)) if not hasattr(each, "wait") else None
    if isinstance(result, (Completion, NativeCompletion)):
        str(result)
        for call in result.tool_calls:
            assert isinstance(call.arguments, dict)


def check_error(error: ProviderError) -> None:
    assert not isinstance(error, RequestTimeoutError), "the server answers at once"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), type(again)) == (str(error), type(error))
    assert isinstance(error.message, str)
    if error.partial is not None:
        assert not list(misfits(error.partial)), list(misfits(error.partial))


def run(cases: Cases, server: Server, providers: dict[type, Any], now: list[Case], wrong: list[str]) -> Counter[str]:
    """Make each call, with the current case in ``now``; return the number of each outcome."""
    outcomes: Counter[str] = Counter()
    for number in range(MUTATIONS):
        case = cases.case(number)
        now[:] = [case]
        server.reply, server.hang_up = case.reply, case.hang_up
        provider = providers[LMStudioProvider if LM.get(case.call) is case.make else OllamaProvider]
        try:
            try:
                check(case.make(provider))
                outcomes["result"] += 1
            except ProviderError as error:
                check_error(error)
                outcomes[type(error).__name__] += 1
        except Exception:
            outcomes["wrong"] += 1
            wrong.append(f"{case}:\n{case.reply!r:.3000}\n{traceback.format_exc()}")
    return outcomes


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # about odd replies
def test_any_reply_gives_a_result_or_a_provider_error(raw_server, caplog):
    caplog.set_level(logging.CRITICAL, "urllib3")  # which logs each header that it cannot read
    server = Server()
    raw: RawServer = raw_server(server, lambda connection: raw.requests.clear(), keep_open=True)
    arguments = {"model": "m", "refresh": False, "max_retries": 0, "timeout": PATIENCE_S}
    now: list[Case] = []
    wrong: list[str] = []
    outcomes: list[Counter[str]] = []
    with LMStudioProvider(raw.url, **arguments) as lm, OllamaProvider(raw.url, **arguments) as ollama:
        providers = {LMStudioProvider: lm, OllamaProvider: ollama}
        runner = threading.Thread(
            target=lambda: outcomes.append(run(Cases(), server, providers, now, wrong)), daemon=True
        )
        runner.start()
        before = None
        while runner.is_alive():
            runner.join(PATIENCE_S)
            if runner.is_alive() and now[0] is before:
                stack = "".join(traceback.format_stack(sys._current_frames()[runner.ident]))
                pytest.fail(f"SOAK_SEED={SEED}: {before} hangs:\n{before.reply!r:.3000}\n{stack}")
            before = now[0]
    print(outcomes)
    shown = "\n\n".join(wrong[:10])
    assert not wrong, f"SOAK_SEED={SEED}: {len(wrong)} of {MUTATIONS} mutations went wrong; the first ten:\n{shown}"
    assert outcomes[0]["result"] > MUTATIONS / 20
