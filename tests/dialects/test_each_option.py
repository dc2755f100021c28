"""Each option of a request reaches the server, or is an error: none is dropped."""

import dataclasses

import pytest

from lmstudio_provider import ChatRequest, InvalidRequestError, TextRequest
from lmstudio_provider._dialects import messages, ollama, openai, responses

# Options that are not for the server, or that are in each body.
ELSEWHERE = {"model", "tier", "extra", "on_truncation"}
VALUES = {
    "max_tokens": 7,
    "temperature": 0.3,
    "top_p": 0.4,
    "top_k": 5,
    "min_p": 0.1,
    "repeat_penalty": 1.2,
    "presence_penalty": 0.6,
    "frequency_penalty": 0.7,
    "stop": "x",
    "seed": 8,
    "logit_bias": {"1": 2},
    "ttl": 9,
    "draft_model": "d",
    "reasoning": "low",
    "num_ctx": 10,
    "keep_alive": 11,
}
OPTIONS = [each.name for each in dataclasses.fields(TextRequest) if each.name not in {"prompt", *ELSEWHERE}]
CALLS = {
    "chat": lambda **given: openai.chat_call(ChatRequest("Hi", **given), "m", False),
    "text": lambda **given: openai.text_call(TextRequest("Hi", **given), "m", False),
    "responses": lambda **given: responses.chat_call(ChatRequest("Hi", **given), "m", False),
    "messages": lambda **given: messages.chat_call(ChatRequest("Hi", **given), "m", False),
    "Ollama chat": lambda **given: ollama.chat_call(ChatRequest("Hi", **given), "m", False),
    "Ollama text": lambda **given: ollama.text_call(TextRequest("Hi", **given), "m", False),
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("make", CALLS.values(), ids=CALLS)
def test_each_option_is_sent_or_refused(make, option):
    try:
        body, refusal = make(**{option: VALUES[option]}).body, ""
    except InvalidRequestError as error:
        body, refusal = None, error.message
    assert option in refusal or body not in (None, make().body)
