"""Requests to a stand-in over http.client, so that the client under test cannot hide a defect."""

import http.client
import json
from urllib.parse import urlsplit

CHAT = "/v1/chat/completions"
HI = [{"role": "user", "content": "Hi"}]


def ask(server, method, path, body=None, data=None, headers=None):
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=10)
    try:
        connection.request(method, path, data if body is None else json.dumps(body), headers or {})
        reply = connection.getresponse()
        return reply.status, dict(reply.getheaders()), reply.read()
    finally:
        connection.close()


def events(data):
    frames = data.decode().split("\n\n")
    assert frames.pop() == ""
    assert all(frame.startswith("data: ") and "\n" not in frame for frame in frames)
    assert frames.pop() == "data: [DONE]"
    return [json.loads(frame[6:]) for frame in frames]


def post(server, path, body):
    status, _, data = ask(server, "POST", path, body)
    return status, json.loads(data)


def named_events(data):
    """Return the values of an event stream in which each frame says its type twice, and none is [DONE]."""
    frames = [frame.split("\n") for frame in data.decode().split("\n\n") if frame]
    values = [json.loads(value.partition("data: ")[2]) for _, value in frames]
    assert [name for name, _ in frames] == [f"event: {value['type']}" for value in values]
    return values


def lines(data):
    """Return the values of a stream of lines."""
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


def keys(value):
    if isinstance(value, dict):
        return {key: keys(each) for key, each in value.items()}
    return [keys(each) for each in value] if isinstance(value, list) else None


def chat_reply(server, messages=HI, **fields):
    """Return the whole reply to a chat."""
    status, _, data = ask(server, "POST", CHAT, {"messages": messages, **fields})
    assert status == 200, data
    return json.loads(data)
