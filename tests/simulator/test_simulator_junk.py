"""Requests with impossible values: they are refused as real servers refuse them, never with a traceback."""

import contextlib
import http.client
import itertools
import json
from urllib.parse import urlsplit

import pytest
from plain_http import ask
from tables import for_each

from lmstudio_provider.simulator import SimulatedLMStudio, SimulatedOllama

JUNK = [None, True, 7, -7, 1.5, "", "junk", [], {}, [None], ["junk"], [[]], [{}], {"junk": 7}, [{"type": "junk"}]]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
FLAT_TOOL = {"type": "function", "name": "f", "parameters": {}}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
PART = {"type": "text", "text": "Hi"}
FORM = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {}}}}

OPENAI = {
    "/v1/chat/completions": {
        "model": "m",
        "messages": [
            {"role": "user", "content": [PART]},
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "1", "content": "Hi"},
        ],
        "stream": False,
        "stream_options": {"include_usage": True},
        "max_tokens": 99,
        "stop": ["x"],
        "tools": [TOOL],
        "tool_choice": "auto",
        "response_format": FORM,
        "reasoning_effort": "low",
        "reasoning": {"effort": "low"},
        "temperature": 1,
        "ttl": 60,
    },
    "/v1/completions": {"model": "m", "prompt": "Once", "max_tokens": 99, "stop": ["x"], "stream_options": {}},
    "/v1/embeddings": {"model": "text-embedding-m", "input": ["a"], "dimensions": 3, "encoding_format": "float"},
    "/v1/responses": {
        "model": "m",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
        "instructions": "Be brief.",
        "previous_response_id": "resp_x",
        "store": True,
        "stream": False,
        "reasoning": {"effort": "low"},
        "tools": [FLAT_TOOL],
        "tool_choice": "auto",
        "max_output_tokens": 99,
        "temperature": 1,
        "text": {"format": {"type": "json_schema", "name": "x", "schema": {}}},
    },
    "/v1/messages": {
        "model": "m",
        "max_tokens": 99,
        "messages": [
            {"role": "user", "content": [PART]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": [PART]}]},
        ],
        "system": [PART],
        "stop_sequences": ["x"],
        "tools": [{"name": "f", "input_schema": {}}],
        "tool_choice": {"type": "auto"},
        "thinking": {"type": "enabled"},
        "temperature": 1,
        "stream": False,
    },
}
LM_STUDIO = {
    **OPENAI,
    "/api/v1/chat": {
        "model": "m",
        "input": [{"type": "message", "content": "Hi"}],
        "integrations": [{"type": "plugin", "id": "x"}],
        "reasoning": "low",
        "context_length": 99,
        "previous_response_id": "resp_x",
        "temperature": 1,
    },
    "/api/v1/models/load": {"model": "m", "context_length": 99},
    "/api/v1/models/unload": {"instance_id": "m"},
    "/api/v1/models/download": {"model": "x", "quantization": "Q4"},
}
#: What is a fault of the request in spite of its status.
EXPECTED = [b'option \\"', b"invalid format", b"failed to parse grammar", b"does not support embeddings"]
DIGEST = "sha256:" + "0" * 64
OLLAMA = {
    **OPENAI,
    "/api/chat": {
        "model": "m",
        "messages": [
            {"role": "user", "content": "Hi", "images": ["aGk="]},
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
            {"role": "tool", "tool_name": "f", "content": "Hi"},
        ],
        "tools": [TOOL],
        "format": {"type": "object"},
        "options": {"num_ctx": 99, "num_predict": 9, "stop": ["x"], "temperature": 1},
        "keep_alive": "5m",
        "think": True,
        "truncate": True,
        "stream": False,
        "top_logprobs": 0,
    },
    "/api/generate": {"model": "m", "prompt": "Once", "system": "x", "raw": False, "images": ["aGk="], "think": "low"},
    "/api/embed": {"model": "text-embedding-m", "input": ["a"], "dimensions": 3, "options": {}, "truncate": True},
    "/api/embeddings": {"model": "text-embedding-m", "prompt": "a", "keep_alive": 5},
    "/api/show": {"model": "m", "verbose": True},
    "/api/pull": {"model": "x", "insecure": True, "stream": True},
    "/api/copy": {"source": "m", "destination": "n"},
    "/api/create": {
        "model": "x",
        "from": "m",
        "files": {"x.gguf": DIGEST},
        "system": "Be brief.",
        "template": "{{ .Prompt }}",
        "parameters": {"num_ctx": 99},
    },
}


def variants(value, values):
    """Yield the value with each of ``values`` in the place of each of its parts."""
    yield from values
    places = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for place, part in places:
        for junk in variants(part, values):
            changed = dict(value) if isinstance(value, dict) else list(value)
            changed[place] = junk
            yield changed
    if isinstance(value, dict):
        yield from ({key: part for key, part in value.items() if key != left_out} for left_out in value)


# What is refused does not depend on the replies: for a reply of the test's own, some of the junk is enough.
@pytest.mark.slow
@for_each(("replies", "values"), [(None, JUNK), ("Hello", JUNK[::7])], ids=["echo", "scripted"])
@for_each(
    ("kind", "path", "body"),
    [
        pytest.param(kind, path, body, id=f"{kind.__name__} {path}")
        for kind, bodies in ((SimulatedLMStudio, LM_STUDIO), (SimulatedOllama, OLLAMA))
        for path, body in bodies.items()
    ],
)
def test_junk_is_never_answered_with_a_traceback(kind, path, body, replies, values):
    failed = []
    with kind(["m", "text-embedding-m"], replies) as server:
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=10)
        with contextlib.closing(connection):
            for changed in variants(body, values):
                connection.request("POST", path, json.dumps(changed))
                reply = connection.getresponse()
                data = reply.read()
                expected = any(each in data for each in EXPECTED)
                if b"could not reply" in data or (reply.status >= 500 and not expected):
                    failed.append((changed, reply.status, data[:300]))
    assert not failed, json.dumps(failed[:2], default=str)


def test_ollama_refuses_a_body_that_is_not_json():
    with SimulatedOllama("m") as server:
        for path, data in itertools.product(OLLAMA, (b"", b"{oops", b"[]", b"7", b'"x"', b"null")):
            status, _, said = ask(server, "POST", path, data=data)
            assert (status, b"error" in said) == (400, True), (path, data, said)
