"""Texts as vectors, and texts that go on."""

from __future__ import annotations

import array
import base64
import json
import math
import struct

import pytest
from tables import for_each
from werkzeug import Response

from lmstudio_provider import (
    EmptyAnswerWarning,
    InvalidRequestError,
    LMStudioProvider,
    MemoryUsage,
    ProtocolError,
    Provider,
    ProviderError,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
    TextRequest,
    Tool,
    Usage,
)
from lmstudio_provider._core.types import Call
from lmstudio_provider._dialects.embeddings import embed_call, embed_reply

EMBED = "/v1/embeddings"


def read(value, count=1):
    return embed_reply(value, Call("POST", EMBED, None, "asked"), count)


def entry(vector, **more):
    return {"object": "embedding", "embedding": vector, **more}


# Replies that are none


@for_each(
    "value",
    [
        None,
        [],
        {},
        {"data": None},
        {"data": []},
        {"data": [None]},
        {"data": [{}]},
        {"data": [entry([])]},
        {"data": [entry(["a"])]},
        {"data": [entry([None])]},
        {"data": [entry([[1.0]])]},
        {"data": [entry("no base64!")]},
        {"data": [entry("AAAA")]},
        {"data": [entry([10**400])]},
        {"data": [entry([1.0], index=1)]},
        {"data": [entry([1.0], index=[])]},
        {"data": [entry([1.0], index=0), entry([1.0], index=0)]},
        {"data": [entry([1.0]), entry([1.0])]},
        {"data": [entry("")]},
        *(
            {"data": [entry(vector)]}
            for vector in (
                [True],
                [0.5, False],
                [math.nan, 1.0],
                [1.0, math.inf],
                [-math.inf],
                [1e999],
                base64.b64encode(struct.pack("<2f", 0.5, math.nan)).decode(),
                base64.b64encode(struct.pack("<2f", -math.inf, 0.5)).decode(),
            )
        ),
    ],
    ids=str,
)
def test_a_reply_that_is_not_the_vectors_of_the_texts_is_a_protocol_error(value):
    with pytest.raises(ProtocolError):
        read(value)


@for_each("texts", [7, None, [7], ["a", None], [b"a"], [["a"]]])
def test_a_value_that_is_not_text_is_refused_with_its_position(provider, texts):
    with pytest.raises(InvalidRequestError, match=r"texts\[[01]\]"):
        provider.embed(texts, "m")


def test_a_model_that_is_not_a_name_is_refused(provider):
    with pytest.raises(InvalidRequestError, match="model=7"):
        provider.embed("a", 7)


@pytest.mark.parametrize("status", [400, 500])
def test_an_error_about_a_model_that_cannot_embed_names_those_that_can(httpserver, provider, sample, status):
    httpserver.expect_request("/v1/models").respond_with_data(
        sample("models_openai.json"), content_type="application/json"
    )
    provider.list_models()
    error = {"error": {"message": "Llama model must be created with embedding=True to call this method"}}
    httpserver.expect_request(EMBED).respond_with_json(error, status)
    with pytest.raises(InvalidRequestError, match="cannot embed") as caught:
        provider.embed("a", "qwen/qwen3-8b")
    assert "the server has text-embedding-nomic-embed-text-v1.5" in caught.value.hint


def test_a_failure_of_a_model_that_embeds_says_nothing_of_others(httpserver, provider, sample):
    httpserver.expect_request("/v1/models").respond_with_data(
        sample("models_openai.json"), content_type="application/json"
    )
    provider.list_models()
    httpserver.expect_request(EMBED).respond_with_json({"error": "boom"}, 500)
    with pytest.raises(ServerError) as caught:
        provider.embed("a")
    assert "embedding model" not in caught.value.hint


def test_embedding_has_the_errors_and_limits_of_all_calls(closed_port, silent_server, provider_of):
    with pytest.raises(ServerUnavailableError, match="no server answers"):
        provider_of(f"127.0.0.1:{closed_port}").embed("a", "m")
    lm = provider_of(silent_server)
    with pytest.raises(RequestTimeoutError) as caught:
        lm.embed("a", "m", timeout=0.1)
    assert caught.value.limit == "first_byte"
    with pytest.raises(RequestTimeoutError) as caught:
        lm.embed("a", "m", deadline=0.1)
    assert caught.value.limit == "deadline"


def test_a_provider_that_does_not_embed_says_so():
    class Small(Provider):
        display_name = "Small"

    Small.__abstractmethods__ = frozenset()
    with pytest.raises(InvalidRequestError, match="Small does not embed"):
        Small().embed("a")
    with pytest.raises(InvalidRequestError, match="Small does not complete texts"):
        Small().complete_text("a")


# Vectors


def test_the_vectors_of_a_sample(sample):
    embeddings = read(json.loads(sample("embeddings.json")), 2)
    assert embeddings.vectors == [[0.0125, -0.25, 0.5, 0.0625], [-0.5, 0.125, 0.0, 1e-05]]
    assert (embeddings.model, embeddings.requested_model) == ("text-embedding-nomic-embed-text-v1.5@q4_k_m", "asked")


def test_a_usage_of_zero_is_none_because_lm_studio_does_not_count(sample):
    assert read(json.loads(sample("embeddings.json")), 2).usage is None
    counted = {"data": [entry([1.0])], "usage": {"prompt_tokens": 3, "total_tokens": 3}}
    assert read(counted).usage == Usage(3, total_tokens=3)


def test_whole_numbers_become_floats():
    (vector,) = read({"data": [entry([1, 0, -2])]}).vectors
    assert [type(each) for each in vector] == [float] * 3
    assert array.array("f", vector).tolist() == [1.0, 0.0, -2.0]


def test_a_vector_in_base64_is_of_little_endian_32_bit_floats():
    text = base64.b64encode(struct.pack("<3f", 0.5, -1.0, 2.0)).decode()
    assert read({"data": [entry(text)]}).vectors == [[0.5, -1.0, 2.0]]


def test_the_order_is_that_of_the_texts_whatever_the_server_says_first():
    assert read({"data": [entry([2.0], index=1), entry([1.0], index=0)]}, 2).vectors == [[1.0], [2.0]]


def test_texts_are_sent_as_an_array():
    call = embed_call(["a", "ü"], "m")
    assert (call.path, json.loads(call.body)) == (EMBED, {"model": "m", "input": ["a", "ü"]})


def numbered(request):
    """Answers with a vector that says which text it belongs to, in the wrong order."""
    texts = request.get_json()["input"]
    data = [entry([float(text)], index=index) for index, text in enumerate(texts)]
    body = {"data": data[::-1], "model": "m", "usage": {"prompt_tokens": len(texts), "total_tokens": len(texts)}}
    return Response(json.dumps(body), content_type="application/json")


def test_many_texts_go_in_batches_of_64_and_are_recorded_once(httpserver):
    httpserver.expect_request(EMBED).respond_with_handler(numbered)
    usage = MemoryUsage()
    with LMStudioProvider(httpserver.url_for(""), refresh=False, usage=usage) as lm:
        embeddings = lm.embed((str(number) for number in range(150)), "m")
    assert embeddings.vectors == [[float(number)] for number in range(150)]
    assert [len(request.get_json()["input"]) for request, _ in httpserver.log] == [64, 64, 22]
    assert embeddings.usage == Usage(150, total_tokens=150)
    assert [(each.operation, each.model, each.prompt_tokens, each.status) for each in usage.records] == [
        ("embed", "m", 150, "ok")
    ]


def test_a_batch_that_fails_is_recorded_once_and_raises(httpserver):
    httpserver.expect_ordered_request(EMBED).respond_with_handler(numbered)
    httpserver.expect_ordered_request(EMBED).respond_with_json({"error": "boom"}, 500)
    usage = MemoryUsage()
    with LMStudioProvider(httpserver.url_for(""), refresh=False, usage=usage) as lm, pytest.raises(ServerError):
        lm.embed([str(number) for number in range(100)], "m")
    assert [(each.operation, each.status) for each in usage.records] == [("embed", "error")]


def test_one_text_has_one_vector_and_no_texts_have_none(httpserver, provider):
    httpserver.expect_request(EMBED).respond_with_handler(numbered)
    assert provider.embed("7", "m").vectors == [[7.0]]
    assert provider.embed([], "m").vectors == []
    assert len(httpserver.log) == 1


@pytest.mark.filterwarnings("ignore::lmstudio_provider.ModelMismatchWarning")
def test_the_model_is_the_setting_else_the_first_that_embeds_else_any(httpserver, sample):
    httpserver.expect_request(EMBED).respond_with_handler(numbered)
    httpserver.expect_request("/v1/models").respond_with_data(
        sample("models_openai.json"), content_type="application/json"
    )
    with LMStudioProvider(httpserver.url_for("")) as lm:
        assert lm.embed("1").requested_model == "text-embedding-nomic-embed-text-v1.5"
    with LMStudioProvider(httpserver.url_for(""), settings={"lmstudio_model_embedding": "set"}) as lm:
        assert lm.embed("1").requested_model == "set"
    with LMStudioProvider(httpserver.url_for(""), refresh=False) as lm:
        assert lm.embed("1").requested_model == "local-model"


# Texts that go on


@pytest.mark.parametrize("prompt", [7, None, ["a"]])
def test_a_prompt_that_is_not_text_is_refused(provider, prompt):
    with pytest.raises(InvalidRequestError, match=r"prompt=.* is not text"):
        provider.complete_text(prompt)


def test_an_echo_of_the_prompt_cannot_be_asked_for(provider):
    with pytest.raises(InvalidRequestError, match="echo"):
        provider.complete_text("Hello", extra={"echo": True})


def test_options_of_a_chat_are_refused(provider):
    with pytest.raises(InvalidRequestError, match="tools"):
        provider.complete_text("Hello", tools=[])


def test_a_text_is_completed_as_in_the_sample(httpserver, provider, sample):
    httpserver.expect_request("/v1/completions").respond_with_data(
        sample("text_completion.json"), content_type="application/json"
    )
    model = json.loads(sample("text_completion.json"))["model"]
    completion = provider.complete_text("The best way to learn is", stop=["."], model=model, max_tokens=5)
    assert (completion.text, completion.finish_reason) == (" to keep asking questions", "length")
    assert completion.usage == Usage(5, 5, 10)
    request, _ = httpserver.log[0]
    assert request.get_json() == {
        "model": model,
        "prompt": "The best way to learn is",
        "max_tokens": 5,
        "temperature": 0.7,
        "stop": ["."],
        "stream": False,
    }


def test_a_text_is_the_output_of_the_model_with_its_tags(httpserver, provider):
    choice = {"index": 0, "text": "<think>a</think>b", "finish_reason": "stop"}
    httpserver.expect_request("/v1/completions").respond_with_json({"choices": [choice]})
    assert provider.complete_text("x").text == "<think>a</think>b"


def test_a_text_is_streamed_as_it_comes(raw_server, provider_of):
    events = [
        {"choices": [{"text": "I see.</think>\n", "index": 0, "finish_reason": None}]},
        {"choices": [{"text": "Yes", "index": 0, "finish_reason": None}]},
        {"choices": [{"text": "", "index": 0, "finish_reason": "stop"}]},
    ]
    body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"
    server = raw_server(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + body)
    stream = provider_of(server).stream(TextRequest("x", model="m"))
    assert list(stream.text()) == ["I see.</think>\n", "Yes"]
    assert (stream.completion.text, stream.completion.reasoning) == ("I see.</think>\nYes", "")
    assert stream.completion.finish_reason == "stop"


# Reasoning that leaves nothing


CUT = {"choices": [{"message": {"content": "", "reasoning_content": "Let me see"}, "finish_reason": "length"}]}


def test_an_answer_that_reasoning_left_no_tokens_for_warns_at_the_line_that_asked(httpserver, provider):
    httpserver.expect_request("/v1/chat/completions").respond_with_json(CUT)
    with pytest.warns(EmptyAnswerWarning, match="max_tokens=3") as warned:
        completion = provider.complete("Hi", max_tokens=3)
    assert (completion.text, completion.reasoning, completion.finish_reason) == ("", "Let me see", "length")
    assert warned[0].filename == __file__


@for_each(
    "message",
    [
        {"content": "", "reasoning_content": "It is Paris."},
        {"content": None, "reasoning": "It is Paris."},
        {"content": " \n", "reasoning_content": "It is Paris."},
        {"content": "<think>It is Paris."},
        {"content": "[THINK]It is Paris.[/THINK]\n"},
        {"content": "It is Paris.</think>"},
    ],
)
@for_each("finish_reason", ["stop", None, "content_filter"])
def test_an_answer_that_is_all_thoughts_is_warned_of(httpserver, provider, message, finish_reason):
    reply = {"choices": [{"message": message, "finish_reason": finish_reason}]}
    httpserver.expect_request("/v1/chat/completions").respond_with_json(reply)
    with pytest.warns(EmptyAnswerWarning, match=r"thoughts, which are in \.reasoning; ask again, or switch") as warned:
        completion = provider.complete("Hi")
    assert (completion.text.strip(), completion.reasoning) == ("", "It is Paris.")
    assert [each.filename for each in warned] == [__file__]


def test_thoughts_before_a_tool_call_are_not_an_empty_answer(httpserver, provider):
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"content": "", "reasoning_content": "Let me see", "tool_calls": [call]}
    reply = {"choices": [{"message": message, "finish_reason": "tool_calls"}]}
    httpserver.expect_request("/v1/chat/completions").respond_with_json(reply)
    assert provider.chat("Hi", tools=[Tool("f")]).tool_calls


def test_a_stream_warns_of_it_at_its_end(raw_server, provider_of):
    event = {"choices": [{"delta": {"reasoning_content": "Let me see"}, "finish_reason": "length"}]}
    body = b"data: " + json.dumps(event).encode() + b"\n\ndata: [DONE]\n\n"
    server = raw_server(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + body)
    with pytest.warns(EmptyAnswerWarning) as warned:
        chunks = list(provider_of(server).stream("Hi", model="m"))
    assert chunks[-1].finish_reason == "length"
    assert warned[0].filename == __file__


def test_a_warning_that_is_made_an_error_ends_the_stream_and_keeps_the_reply(raw_server, provider_of):
    event = {"choices": [{"delta": {"reasoning_content": "Let me see"}, "finish_reason": "length"}]}
    body = b"data: " + json.dumps(event).encode() + b"\n\ndata: [DONE]\n\n"
    server = raw_server(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + body)
    stream = provider_of(server).stream("Hi", model="m")
    with pytest.raises(EmptyAnswerWarning):  # which is an error in these tests
        list(stream)
    assert stream.completion.reasoning == "Let me see"


@pytest.mark.parametrize(
    ("message", "finish_reason"),
    [
        ({"content": "Yes", "reasoning_content": "Let me see"}, "length"),
        ({"content": "Yes", "reasoning_content": "Let me see"}, "stop"),
        ({"content": ""}, "stop"),
    ],
)
def test_other_answers_do_not_warn(httpserver, provider, message, finish_reason):
    reply = {"choices": [{"message": message, "finish_reason": finish_reason}]}
    httpserver.expect_request("/v1/chat/completions").respond_with_json(reply)
    assert provider.complete("Hi").finish_reason == finish_reason


def test_a_stream_whose_warning_is_an_error_is_recorded_once_and_ends_once(raw_server):
    event = {"choices": [{"delta": {"reasoning_content": "Let me see"}, "finish_reason": "length"}]}
    body = b"data: " + json.dumps(event).encode() + b"\n\ndata: [DONE]\n\n"
    server = raw_server(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + body)
    usage, told = MemoryUsage(), []
    with LMStudioProvider(server.url, refresh=False, usage=usage) as lm:
        stream = lm.stream("Hi", model="m")
        stream.add_done_callback(lambda completion, error: told.append(type(error)))
        with pytest.raises(EmptyAnswerWarning):
            list(stream)
    assert told == [EmptyAnswerWarning]
    assert len(usage.records) == 1
    with pytest.raises(ProviderError, match="over already"):
        stream.add_done_callback(print)
    with pytest.raises(InvalidRequestError):
        stream.add_done_callback("print")


def test_a_callback_at_the_end_that_fails_is_logged(simulator, caplog):
    with LMStudioProvider(simulator.url) as lm:
        stream = lm.stream("Hi")
        stream.add_done_callback(lambda completion, error: 1 / 0)
        assert "".join(stream.text())
    assert "ZeroDivisionError" in caplog.text


def test_the_usage_of_a_reply_with_a_wrong_vector_is_kept(httpserver, provider):
    reply = {"data": [entry([True])], "usage": {"prompt_tokens": 7, "total_tokens": 7}}
    httpserver.expect_request("/v1/embeddings").respond_with_json(reply)
    with pytest.raises(ProtocolError) as caught:
        provider.embed("a", model="m")
    assert caught.value.partial.usage.prompt_tokens == 7
