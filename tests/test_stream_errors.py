"""Errors inside streams, in every dialect, at their beginning and after some text."""

import json

import pytest
from test_wire_errors import QUIRKS

from lmstudio_provider import ProviderError
from lmstudio_provider._readers import Event
from lmstudio_provider._types import Call
from lmstudio_provider._wire.errors import Asked
from lmstudio_provider._wire.messages_stream import MessagesStream
from lmstudio_provider._wire.native_stream import NativeAssembly
from lmstudio_provider._wire.openai_stream import ChatStream
from lmstudio_provider._wire.responses_stream import ResponsesStream

# For each kind of stream: what makes its items, an event with the text "Hi", and the shapes that an error can have.
KINDS = {
    "chat": (
        ChatStream,
        {"choices": [{"delta": {"content": "Hi"}}]},
        [
            lambda text: {"error": {"message": text}, "message": text},
            lambda text: {"error": text},
            lambda text: {"error": {"message": text, "type": "invalid_request_error", "param": None, "code": None}},
        ],
    ),
    "responses": (
        ResponsesStream,
        {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "content_index": 0, "delta": "Hi"},
        [
            lambda text: {"type": "response.failed", "response": {"status": "failed", "error": {"message": text}}},
            lambda text: {"type": "error", "message": text, "code": "server_error", "param": None},
            lambda text: {"type": "error", "error": {"message": text}},
        ],
    ),
    "messages": (
        MessagesStream,
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        [lambda text: {"type": "error", "error": {"type": "api_error", "message": text}}, lambda text: {"error": text}],
    ),
    "native": (
        NativeAssembly,
        {"type": "message.delta", "content": "Hi"},
        [
            lambda text: {"type": "error", "error": {"type": "unknown", "message": text}},
            lambda text: {"error": {"message": text}, "message": text},
        ],
    ),
}


def read(assembly, *values):
    """Feed the events, and end the stream."""
    for value in values:
        assembly.feed(Event(value.get("type", "message"), json.dumps(value)))
    assembly.finish()


@pytest.mark.parametrize("text", QUIRKS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_error_has_its_meaning_at_the_beginning_of_a_stream_and_after_text(kind, text):
    make, delta, shapes = KINDS[kind]
    for shape in shapes:
        for before in ([], [delta]):
            assembly = make(Call("POST", "/", b"", "m"), Asked("m"), 0.0)
            with pytest.raises(ProviderError) as caught:
                read(assembly, *before, shape(text))
            assert type(caught.value) is QUIRKS[text]
            assert assembly.completion().text == "Hi" * len(before)
