"""Requests with values that no field takes: they are refused as real servers refuse them, never with a traceback."""

import contextlib
import http.client
import json
from urllib.parse import urlsplit

import pytest

from lmstudio_provider.simulator import SimulatedLMStudio

JUNK = [None, True, 7, -7, 1.5, "", "junk", [], {}, [None], [7], ["junk"], [[]], [{}], {"junk": 7}, [{"type": "junk"}]]
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


def variants(value):
    """The value with junk in the place of each part of it."""
    yield from JUNK
    places = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for place, part in places:
        for junk in variants(part):
            changed = dict(value) if isinstance(value, dict) else list(value)
            changed[place] = junk
            yield changed
    if isinstance(value, dict):
        yield from ({key: part for key, part in value.items() if key != left_out} for left_out in value)


@pytest.mark.parametrize("replies", [None, "Hello"], ids=["echo", "scripted"])
@pytest.mark.parametrize(
    ("kind", "path", "body"),
    [
        pytest.param(kind, path, body, id=f"{kind.__name__} {path}")
        for kind, bodies in ((SimulatedLMStudio, LM_STUDIO),)
        for path, body in bodies.items()
    ],
)
def test_junk_is_never_answered_with_a_traceback(kind, path, body, replies):
    failed = []
    with kind(["m", "text-embedding-m"], replies) as server:
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=10)
        with contextlib.closing(connection):
            for changed in variants(body):
                connection.request("POST", path, json.dumps(changed))
                reply = connection.getresponse()
                data = reply.read()
                expected = any(each in data for each in EXPECTED)
                if b"could not reply" in data or (reply.status >= 500 and not expected):
                    failed.append((changed, reply.status, data[:300]))
    assert not failed, json.dumps(failed[:2], default=str)
