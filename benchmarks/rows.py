"""What is measured, with which clients, and where the figures must be."""

from __future__ import annotations

from typing import Any, NamedTuple

from benchmarks.clients import BARE, OURS
from benchmarks.replies import PIECES

US, MS, KIB, MIB = ("µs", 1e6), ("ms", 1e3), ("KiB", 1 / 2**10), ("MiB", 1 / 2**20)
BYTES, COUNT = ("bytes", 1.0), ("", 1.0)

BASES = (*BARE, "requests")
READ1 = ("urllib3 urlopen", "http.client")  # read_chunked reads nothing else than chunks
WHOLE = ("urllib3 urlopen", "http.client", "requests")


class Row(NamedTuple):
    """A task that each of its clients runs, one after the other, ``times`` times in every ``every``-th round."""

    task: str
    path: str
    protocol: str
    clients: tuple[str, ...]
    figures: dict[str, tuple[str, tuple[str, float]]]
    """By the name of the figure in the answer of the worker: its title in the report, and its unit."""
    order: dict[str, Any]
    """What the worker has to know beside them."""
    every: int = 1
    times: int = 1
    slow: bool = False
    """It takes so long that a short run leaves it out."""


def stream(title: str, protocol: str, framing: str, *clients: str) -> Row:
    bases = BASES if framing.startswith("chunked") else WHOLE
    figures = {"cpu": (f"{title}: CPU a piece", US)}
    order = {"threads": 1, "pieces": PIECES}
    return Row("stream", f"stream/{framing}", protocol, (OURS, *bases, *clients), figures, order, times=3)


def chat(title: str, protocol: str, threads: int, *clients: str) -> Row:
    figures = {"cpu": (f"{title}: CPU a call", US), "wall": (f"{title}: time a call", US)}
    return Row("chat", "unary/length", protocol, (OURS, *WHOLE, *clients), figures, {"threads": threads}, times=3)


def latency(title: str, framing: str) -> Row:
    figures = {key: (f"latency, {title}: {key}", US) for key in ("p50", "p99")}
    figures["cpu"] = (f"latency, {title}: CPU a piece", US)
    bases = (READ1[0], "urllib3 read_chunked", READ1[1]) if framing == "chunked-1" else READ1
    return Row("latency", f"paced/{framing}", "sse", (OURS, *bases, "openai"), figures, {}, every=2, times=10)


def at_once(streams: int) -> Row:
    figures = {"cpu": (f"{streams} streams at once: CPU a piece", US)}
    order = {"threads": streams, "pieces": 1000, "budget": 2.0}  # all take about as long, for a comparison
    return Row("stream", "long-1/chunked-1", "sse", (OURS,), figures, order, every=2)


def long_stream(thousands: int) -> Row:
    title, slow = f"a stream of {thousands * 1000:,} pieces", thousands >= 1000
    figures = {"cpu": (f"{title}: CPU a piece", US), "memory": (f"{title}: memory a piece", BYTES)}
    return Row("long", f"long-{thousands}/chunked-1", "sse", (OURS,), figures, {}, every=8 if slow else 1, slow=slow)


def constructor(server: str, path: str) -> Row:
    figures = {
        "cpu": (f"constructor, server {server}: CPU", MS),
        "process": (f"constructor, server {server}: CPU with its thread and close()", MS),
        "wall": (f"constructor, server {server}: time", MS),
    }
    return Row("constructor", path, "sse", (OURS,), figures, {"count": 50})


ROWS = (
    chat("chat", "sse", 1, "openai"),
    chat("chat, 16 threads", "sse", 16, "openai"),
    chat("chat of Ollama", "ndjson", 1, "ollama"),
    stream("SSE, a piece a chunk", "sse", "chunked-1", "openai"),
    stream("SSE, 16 pieces a chunk", "sse", "chunked-16", "openai"),
    stream("SSE, close-delimited", "sse", "close", "openai"),
    stream("NDJSON, a piece a chunk", "ndjson", "chunked-1", "ollama"),
    stream("NDJSON, 16 pieces a chunk", "ndjson", "chunked-16", "ollama"),
    stream("NDJSON, close-delimited", "ndjson", "close", "ollama"),
    # litellm takes as long as all others together: it is measured in few rounds.
    chat("chat", "sse", 1)._replace(clients=("litellm",), every=4, times=1, slow=True),
    stream("SSE, a piece a chunk", "sse", "chunked-1")._replace(clients=("litellm",), every=4, times=1, slow=True),
    stream("NDJSON, a piece a chunk", "ndjson", "chunked-1")._replace(
        clients=("litellm",), every=4, times=1, slow=True
    ),
    latency("chunked", "chunked-1"),
    latency("close-delimited", "close"),
    latency("Content-Length", "length"),
    latency("gzip", "gzip"),
    constructor("up", "unary/length"),
    constructor("down", "down"),
    constructor("black hole", "black hole"),
    # One after the other and then again: the speed of a machine may change from one second to the next.
    *(at_once(streams) for _ in range(3) for streams in (1, 8, 64, 256)),
    *(long_stream(thousands) for thousands in (10, 100, 1000)),
)
# Each in a new process, where no memory is free that an earlier task left.
FRESH = (
    Row("open", "held/chunked-1", "sse", (OURS, "urllib3 urlopen", "openai"),
        {"memory": ("open stream: memory", KIB)}, {"count": 256}, every=4),
    Row("provider", "unary/length", "sse", (OURS,), {"memory": ("provider: memory", KIB)}, {"count": 500}, every=4),
)  # fmt: skip


OUR_IMPORT = "from lmstudio_provider import LMStudioProvider"
PACKAGE = "import lmstudio_provider"
"""The package loads its parts when they are used, so this loads few; OUR_IMPORT is what a user writes."""


class Bound(NamedTuple):
    """The most that a figure of ours may be, and against which figure.

    The base "best bare" is the fastest of BASES, and "" is none: the figure itself is bounded.
    """

    what: str
    title: str
    at_most: float
    base: str = ""
    base_title: str = ""
    """The title of the other figure; "" is the same."""
    minus: bool = False
    """The difference is bounded, in the unit of the figure, and not the ratio."""
    ours: str = ""
    """Our figure, if the row has several."""


def _bounds() -> list[Bound]:
    chunked, close = ("a piece a chunk", "16 pieces a chunk"), "close-delimited"
    best, threads = "best bare", "1 streams at once: CPU a piece"
    million, ten_thousand = (f"a stream of {count} pieces: CPU a piece" for count in ("1,000,000", "10,000"))
    return [
        Bound("chat, CPU", "chat: CPU a call", 1.30, "urllib3 urlopen"),
        Bound("chat, CPU", "chat: CPU a call", 0.25, "openai"),
        Bound("chat of Ollama, CPU", "chat of Ollama: CPU a call", 0.60, "ollama"),
        *(Bound(f"SSE, {cut}, CPU", f"SSE, {cut}: CPU a piece", 1.25, best) for cut in chunked),
        Bound(f"SSE, {close}, CPU", f"SSE, {close}: CPU a piece", 1.5, best),
        *(Bound(f"SSE, {cut}, CPU", f"SSE, {cut}: CPU a piece", 0.08, "openai") for cut in (*chunked, close)),
        *(Bound(f"NDJSON, {cut}, CPU", f"NDJSON, {cut}: CPU a piece", 0.6, "ollama") for cut in chunked),
        Bound(f"NDJSON, {close}, CPU", f"NDJSON, {close}: CPU a piece", 0.9, "ollama"),
        *(
            Bound(f"latency, {framing}, p50", f"latency, {framing}: p50", 40, best, minus=True)
            for framing in ("chunked", "close-delimited", "Content-Length", "gzip")
        ),
        Bound("import lmstudio_provider, CPU", "import: CPU", 1.35, "import urllib3", ours=PACKAGE),
        Bound("import lmstudio_provider, memory", "import: memory", 4, "import urllib3", minus=True, ours=PACKAGE),
        Bound("import of LMStudioProvider, CPU", "import: CPU", 1.35, "import urllib3"),
        Bound("import of LMStudioProvider, memory", "import: memory", 4, "import urllib3", minus=True),
        Bound("constructor, server down, CPU", "constructor, server down: CPU", 0.5),
        Bound("256 streams at once, CPU a piece", "256 streams at once: CPU a piece", 1.3, OURS, threads),
        Bound("1,000,000 pieces, CPU a piece", million, 1.3, OURS, ten_thousand),
        Bound("open stream, memory", "open stream: memory", 64),
    ]


BOUNDS = _bounds()
