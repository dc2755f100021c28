"""The openai and ollama packages work with the stand-ins as with the real servers."""

from __future__ import annotations

import asyncio
from typing import Iterator

import pytest

from lmstudio_provider.simulator import Fault, SimulatedLMStudio, SimulatedOllama

MODELS = ["a-model", "text-embedding-x"]
HI = [{"role": "user", "content": "Hi"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "get_weather", "description": "Get the weather.", "parameters": SCHEMA}
TOOLS = [{"type": "function", "function": FUNCTION}]
BUSY = Fault(status=503, headers={"Retry-After": 0})


@pytest.fixture(params=[SimulatedLMStudio, SimulatedOllama])
def server(request) -> Iterator[SimulatedLMStudio | SimulatedOllama]:
    with request.param(MODELS) as running:
        yield running


@pytest.fixture
def openai_client(server):
    from openai import OpenAI

    with OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def ollama_server() -> Iterator[SimulatedOllama]:
    with SimulatedOllama(MODELS) as running:
        yield running


@pytest.fixture
def ollama_client(ollama_server):
    from ollama import Client

    with Client(ollama_server.url) as client:
        yield client


def city():
    """Return a pydantic model; made here, so that nothing is imported if the tests are skipped."""
    from pydantic import create_model

    return create_model("City", city=(str, ...))


def texts(stream):
    return [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]


# openai


def test_openai_lists_the_models(openai_client):
    assert {model.id.partition(":")[0] for model in openai_client.models.list()} == set(MODELS)


def test_openai_chats_whole_and_in_pieces(server, openai_client):
    server.replies = "Hello to you"
    whole = openai_client.chat.completions.create(model="a-model", messages=HI)
    assert whole.choices[0].message.content == "Hello to you"
    assert (whole.choices[0].finish_reason, whole.usage.total_tokens) == ("stop", 4)
    options = {"include_usage": True}
    chunks = list(
        openai_client.chat.completions.create(model="a-model", messages=HI, stream=True, stream_options=options)
    )
    assert "".join(texts(chunks)) == "Hello to you"
    assert chunks[-1].usage == whole.usage


def test_openai_calls_tools_whole_and_in_pieces(openai_client):
    arguments = {"model": "a-model", "messages": HI, "tools": TOOLS}
    whole = openai_client.chat.completions.create(**arguments)
    with openai_client.chat.completions.stream(**arguments) as stream:
        streamed = stream.get_final_completion()
    for completion in (whole, streamed):
        (call,) = completion.choices[0].message.tool_calls
        assert (call.function.name, completion.choices[0].finish_reason) == ("get_weather", "tool_calls")


def test_openai_parses_answers(openai_client):
    City = city()
    parsed = openai_client.chat.completions.parse(model="a-model", messages=HI, response_format=City)
    assert isinstance(parsed.choices[0].message.parsed, City)
    assert isinstance(openai_client.responses.parse(model="a-model", input="Hi", text_format=City).output_parsed, City)


def test_openai_continues_texts(server, openai_client):
    server.replies = "and so on"
    assert openai_client.completions.create(model="a-model", prompt="Hi").choices[0].text == "and so on"
    stream = openai_client.completions.create(model="a-model", prompt="Hi", stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == "and so on"


def test_openai_embeds(openai_client):
    for form in ({}, {"encoding_format": "float"}):  # by default, the package asks for base64
        entries = openai_client.embeddings.create(model="text-embedding-x", input=["a", "b"], **form).data
        assert [len(entry.embedding) for entry in entries] == [32, 32]


def test_openai_gets_responses_whole_and_in_pieces(server, openai_client):
    server.replies = "Hello to you"
    assert openai_client.responses.create(model="a-model", input="Hi").output_text == "Hello to you"
    with openai_client.responses.stream(model="a-model", input="Hi") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        assert stream.get_final_response().output_text == "".join(deltas) == "Hello to you"
    server.replies = None
    tools = [{"type": "function", **FUNCTION}]
    (call,) = openai_client.responses.create(model="a-model", input="Hi", tools=tools).output
    assert call.name == "get_weather"


def test_openai_streams_in_asyncio(server):
    from openai import AsyncOpenAI

    async def chat():
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="any") as client:
            stream = await client.chat.completions.create(model="a-model", messages=HI, stream=True)
            return [chunk.choices[0].delta.content or "" async for chunk in stream]

    server.replies = "Hello to you"
    assert "".join(asyncio.run(chat())) == "Hello to you"


def test_openai_retries_after_a_fault(server, openai_client):
    server.replies = [BUSY, "Hello"]
    reply = openai_client.with_options(max_retries=1).chat.completions.create(model="a-model", messages=HI)
    assert reply.choices[0].message.content == "Hello"
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (Fault(status=401), "AuthenticationError"),
        (Fault(status=404), "NotFoundError"),
        (Fault(status=429), "RateLimitError"),
        (Fault(status=503), "InternalServerError"),
        (Fault("refuse"), "APIConnectionError"),
        (Fault("stall"), "APITimeoutError"),
        (Fault(cut_after=2), "APIConnectionError"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_openai_reports_faults(server, openai_client, fault, name, stream):
    import openai

    server.replies = fault
    with pytest.raises(openai.OpenAIError) as caught:
        list(openai_client.with_options(timeout=1).chat.completions.create(model="a-model", messages=HI, stream=stream))
    assert type(caught.value).__name__ == name


def test_openai_reports_a_server_that_is_not_there(server, openai_client):
    import openai

    server.fault = Fault("refuse")
    with pytest.raises(openai.APIConnectionError):
        openai_client.models.list()
    server.fault = None
    assert list(openai_client.models.list())


# ollama


def test_ollama_chats_whole_and_in_pieces(ollama_server, ollama_client):
    ollama_server.replies = "Hello to you"
    whole = ollama_client.chat("a-model", HI)
    assert (whole.message.content, whole.done_reason) == ("Hello to you", "stop")
    assert (whole.prompt_eval_count, whole.eval_count) == (1, 3)
    assert "".join(chunk.message.content for chunk in ollama_client.chat("a-model", HI, stream=True)) == "Hello to you"


def test_ollama_thinks(ollama_client):
    message = ollama_client.chat("a-model", HI, think=True).message
    assert message.thinking.startswith("This is simulated reasoning")
    assert not ollama_client.chat("a-model", HI, think=False).message.thinking


def test_ollama_calls_functions_as_tools(ollama_client):
    def get_weather(city: str) -> str:
        """Get the weather.

        Args:
            city: the name of the city
        """

    chunks = [ollama_client.chat("a-model", HI, tools=[get_weather])]
    chunks += ollama_client.chat("a-model", HI, tools=[get_weather], stream=True)
    calls = [call.function for chunk in chunks for call in chunk.message.tool_calls or ()]
    assert [(call.name, list(call.arguments)) for call in calls] == [("get_weather", ["city"])] * 2


def test_ollama_fits_the_answer_to_a_schema(ollama_client):
    City = city()
    City.model_validate_json(ollama_client.chat("a-model", HI, format=City.model_json_schema()).message.content)


def test_ollama_continues_texts(ollama_server, ollama_client):
    ollama_server.replies = "and so on"
    assert ollama_client.generate("a-model", "Hi").response == "and so on"
    assert "".join(part.response for part in ollama_client.generate("a-model", "Hi", stream=True)) == "and so on"


def test_ollama_embeds(ollama_client):
    assert len(ollama_client.embed("text-embedding-x", ["a", "b"]).embeddings) == 2
    assert len(ollama_client.embeddings("text-embedding-x", "a").embedding) == 32


def test_ollama_manages_models(ollama_server, ollama_client, tmp_path):
    from ollama import ResponseError

    assert [part.status for part in ollama_client.pull("new", stream=True)][-1] == "success"
    ollama_client.copy("new", "copied")
    ollama_client.create("made", from_="new", system="Be brief")
    file = tmp_path / "tiny.gguf"
    file.write_bytes(b"GGUF" + bytes(100))
    ollama_client.create("of-a-file", files={file.name: ollama_client.create_blob(file)})
    ollama_client.delete("copied")
    with pytest.raises(ResponseError, match="model 'copied' not found"):
        ollama_client.delete("copied")
    names = {model.model for model in ollama_client.list().models}
    assert names == {f"{name}:latest" for name in (*MODELS, "new", "made", "of-a-file")}
    assert "completion" in ollama_client.show("made").capabilities
    ollama_client.chat("made", HI)
    assert [model.model for model in ollama_client.ps().models] == ["made:latest"]


def test_ollama_streams_in_asyncio(ollama_server):
    from ollama import AsyncClient

    async def chat():
        async with AsyncClient(ollama_server.url) as client:
            return [part.message.content async for part in await client.chat("a-model", HI, stream=True)]

    ollama_server.replies = "Hello to you"
    assert "".join(asyncio.run(chat())) == "Hello to you"


def test_ollama_reports_faults(ollama_server, ollama_client):
    import httpx
    from ollama import ResponseError

    ollama_server.replies = [Fault(status=503), Fault(cut_after=2), Fault("refuse"), "Hello"]
    with pytest.raises(ResponseError, match="503 Service Unavailable"):
        ollama_client.chat("a-model", HI)
    for _ in range(2):
        with pytest.raises(httpx.RemoteProtocolError):
            list(ollama_client.chat("a-model", HI, stream=True))
    assert ollama_client.chat("a-model", HI).message.content == "Hello"
    ollama_server.fault = Fault("refuse")
    with pytest.raises(ConnectionError, match="Failed to connect to Ollama"):
        ollama_client.chat("a-model", HI)
