"""The clients that are measured: each asks for one chat, whole or in pieces.

The bare loops are the limit: they have no types and no checks, and do the least that reads the text of a reply.
Each client is imported when it is made, in the process that measures it alone.
"""

from __future__ import annotations

import json
import zlib
from typing import Any, Callable, Iterator, NamedTuple

from benchmarks.replies import MODEL

PROMPT = "Why is the sky blue?"
MESSAGES: list[Any] = [{"role": "user", "content": PROMPT}]
HEADERS = {"Content-Type": "application/json", "Accept": "text/event-stream"}
PATHS = {"sse": "/v1/chat/completions", "ndjson": "/api/chat"}


class Client(NamedTuple):
    """A client of one server, in one of the two protocols."""

    chat: Callable[[], str]
    """Ask, and return the text of the whole reply."""
    stream: Callable[[], Iterator[str]]
    """Ask, and yield the text of each piece as it comes."""
    close: Callable[[], object] = lambda: None
    """Close its connections."""


def body(stream: bool) -> bytes:
    return json.dumps({"model": MODEL, "messages": MESSAGES, "stream": stream}).encode()


def whole_text(data: bytes, protocol: str) -> str:
    value = json.loads(data)
    message = value["choices"][0]["message"] if protocol == "sse" else value["message"]
    return str(message["content"])


def texts(parts: Iterator[bytes], protocol: str) -> Iterator[str]:
    """Yield the texts of the pieces in ``parts``, which are cut anywhere."""
    rest = b""
    for part in parts:
        *lines, rest = (rest + part).split(b"\n")
        yield from line_texts(lines, protocol)


def line_texts(lines: Any, protocol: str) -> Iterator[str]:
    if protocol == "ndjson":
        for line in lines:
            yield json.loads(line)["message"]["content"]
        return
    for line in lines:
        if line.startswith(b"data: {"):
            text = json.loads(line[6:])["choices"][0]["delta"].get("content")
            if text:
                yield text


def read1(reply: Any) -> Iterator[bytes]:
    while part := reply.read1(65536):
        yield part


def unzipped(parts: Iterator[bytes]) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    return map(unpacker.decompress, parts)


def bare_urllib3(base: str, protocol: str, read: Callable[[Any], Iterator[bytes]]) -> Client:
    import urllib3

    url = urllib3.util.parse_url(base)
    pool = urllib3.HTTPConnectionPool(url.host or "", url.port, maxsize=256)
    path = str(url.path) + PATHS[protocol]

    def chat() -> str:
        return whole_text(pool.urlopen("POST", path, body=body(False), headers=HEADERS).data, protocol)

    def stream() -> Iterator[str]:
        reply = pool.urlopen("POST", path, body=body(True), headers=HEADERS, preload_content=False)
        yield from texts(read(reply), protocol)
        reply.release_conn()

    return Client(chat, stream, pool.close)


def urllib3_read1(base: str, protocol: str) -> Client:
    return bare_urllib3(base, protocol, read1)


def urllib3_read_chunked(base: str, protocol: str) -> Client:
    return bare_urllib3(base, protocol, lambda reply: reply.read_chunked())


def http_client(base: str, protocol: str) -> Client:
    from http.client import HTTPConnection
    from threading import local
    from urllib.parse import urlsplit

    url, own = urlsplit(base), local()

    def ask(stream: bool) -> Any:
        if not hasattr(own, "connection"):
            own.connection = HTTPConnection(str(url.hostname), url.port)
        own.connection.request("POST", url.path + PATHS[protocol], body(stream), HEADERS)
        return own.connection.getresponse()

    def stream() -> Iterator[str]:
        reply = ask(True)
        parts = read1(reply)
        yield from texts(unzipped(parts) if reply.getheader("Content-Encoding") == "gzip" else parts, protocol)
        reply.close()  # read1 does not, at the end of a Content-Length

    def close() -> None:
        own.connection.close()

    return Client(lambda: whole_text(ask(False).read(), protocol), stream, close)


def requests(base: str, protocol: str) -> Client:
    import requests
    from requests.adapters import HTTPAdapter

    session, url = requests.Session(), base + PATHS[protocol]
    session.mount("http://", HTTPAdapter(pool_maxsize=256))

    def stream() -> Iterator[str]:
        with session.post(url, data=body(True), headers=HEADERS, stream=True) as reply:
            yield from line_texts(filter(None, reply.iter_lines()), protocol)

    return Client(lambda: whole_text(session.post(url, data=body(False), headers=HEADERS).content, protocol), stream)


def lmstudio_provider(base: str, protocol: str) -> Client:
    from lmstudio_provider import LMStudioProvider, OllamaProvider

    provider = (LMStudioProvider if protocol == "sse" else OllamaProvider)(base, model=MODEL, refresh=False)

    def stream() -> Iterator[str]:
        for chunk in provider.stream(PROMPT):
            if chunk.delta:
                yield chunk.delta

    return Client(lambda: provider.chat(PROMPT).text, stream, provider.close)


def openai(base: str, protocol: str) -> Client:
    from openai import OpenAI

    completions = OpenAI(base_url=base + "/v1", api_key="none").chat.completions

    def chat() -> str:
        return str(completions.create(model=MODEL, messages=MESSAGES).choices[0].message.content)

    def stream() -> Iterator[str]:
        for chunk in completions.create(model=MODEL, messages=MESSAGES, stream=True):
            if text := chunk.choices[0].delta.content:
                yield text

    return Client(chat, stream)


def ollama(base: str, protocol: str) -> Client:
    from ollama import Client as Ollama

    client = Ollama(base)

    def stream() -> Iterator[str]:
        for part in client.chat(MODEL, MESSAGES, stream=True):
            if text := part.message.content:
                yield text

    return Client(lambda: str(client.chat(MODEL, MESSAGES).message.content), stream)


def litellm(base: str, protocol: str) -> Client:
    from litellm import completion

    known: dict[str, Any] = {"model": f"openai/{MODEL}", "api_base": base + "/v1", "api_key": "none"}
    if protocol == "ndjson":
        known = {"model": f"ollama_chat/{MODEL}", "api_base": base}

    def stream() -> Iterator[str]:
        for chunk in completion(messages=MESSAGES, stream=True, **known):
            if text := chunk.choices[0].delta.content:
                yield text

    return Client(lambda: str(completion(messages=MESSAGES, **known).choices[0].message.content), stream)


OURS = "lmstudio_provider"
BARE = {"urllib3 urlopen": urllib3_read1, "urllib3 read_chunked": urllib3_read_chunked, "http.client": http_client}
CLIENTS: dict[str, Callable[[str, str], Client]] = {
    OURS: lmstudio_provider,
    **BARE,
    "requests": requests,
    "openai": openai,
    "ollama": ollama,
    "litellm": litellm,
}
