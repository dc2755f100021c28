"""The dialects beside chat, as methods of the provider."""

import json
import pickle
from dataclasses import dataclass

import pytest
from tables import for_each

from lmstudio_provider import (
    ChatRequest,
    CompletionRequest,
    ContextLengthError,
    ConversationLostWarning,
    EmptyAnswerWarning,
    EndpointNotFoundError,
    InvalidRequestError,
    LMStudioProvider,
    MemoryUsage,
    Message,
    OllamaProvider,
    ProtocolError,
    ResponseNotFoundError,
    ResponsesRequest,
    ServerError,
    StreamInterruptedError,
    StructuredOutputError,
    TextRequest,
    Tool,
    Usage,
)
from lmstudio_provider.simulator import SimulatedLMStudio, SimulatedOllama

# The samples name another model than the tests ask for.
pytestmark = pytest.mark.filterwarnings("ignore::lmstudio_provider.ModelMismatchWarning")

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
PATHS = [("responses", RESPONSES), ("messages", MESSAGES)]
WHOLE = {RESPONSES: "response.json", MESSAGES: "message.json"}
STREAMS = {CHAT: "chat_stream_usage.sse", RESPONSES: "responses_stream.sse", MESSAGES: "messages_stream.sse"}
USER = [Message.user("Hi")]


def sent(httpserver):
    """The bodies of the POSTs so far."""
    return [request.get_json() for request, _ in httpserver.log if request.method == "POST"]


def answer(httpserver, path, body):
    httpserver.expect_request(path, method="POST").respond_with_data(body, content_type="application/json")


def stream(httpserver, path, body):
    httpserver.expect_request(path, method="POST").respond_with_data(body, content_type="text/event-stream")


def saying(text, **more):
    """A reply of /v1/responses."""
    part = {"type": "output_text", "text": text}
    return json.dumps({"status": "completed", "output": [{"type": "message", "content": [part]}], **more})


# Errors


@pytest.mark.parametrize(("name", "path"), PATHS)
def test_a_server_that_is_too_old_does_not_know_the_endpoint(httpserver, provider, name, path):
    answer(httpserver, path, json.dumps({"error": f"Unexpected endpoint or method. (POST {path})"}))
    with pytest.raises(EndpointNotFoundError) as caught:
        getattr(provider, name)("Hi", model="m")
    assert caught.value.url == httpserver.url_for(path)


@for_each(
    ("name", "options", "word"),
    [
        ("responses", {"seed": 7}, "seed cannot be given to /v1/responses"),
        ("responses", {"stop": "."}, "stop cannot be given to /v1/responses"),
        ("responses", {"store": None}, "store=None"),
        ("messages", {"seed": 7}, "seed cannot be given to /v1/messages"),
        ("messages", {"max_tokens": -1}, "max_tokens=-1 cannot be given to /v1/messages"),
        ("messages", {"store": False}, "no option 'store'"),
        ("messages", {"tempratur": 1}, "no option 'tempratur'"),
    ],
)
def test_an_option_that_does_not_fit_is_refused_before_anything_is_sent(httpserver, provider, name, options, word):
    with pytest.raises(InvalidRequestError, match=word) as caught:
        getattr(provider, name)("Hi", model="m", **options)
    assert caught.value.sent is False
    assert httpserver.log == []


@for_each("request_", [TextRequest("Once"), 7, []])
@for_each("name", ["responses", "messages"])
def test_a_request_of_another_kind_is_refused(provider, name, request_):
    with pytest.raises(InvalidRequestError):
        getattr(provider, name)(request_, model="m")


@for_each("name", ["chat", "complete_with_tools", "stream", "messages"])
def test_a_request_for_responses_goes_nowhere_else(provider, name):
    request = ResponsesRequest(USER, model="m", tools=[Tool("now")], previous_response_id="resp_1")
    with pytest.raises(InvalidRequestError, match=r"only responses\(\) takes"):
        getattr(provider, name)(request)


def test_ollama_does_not_take_a_request_for_responses(closed_port):
    with OllamaProvider(f"127.0.0.1:{closed_port}", refresh=False) as server:
        with pytest.raises(InvalidRequestError, match=r"only responses\(\) takes"):
            server.chat(ResponsesRequest(USER, model="m"))


def test_a_failed_reply_keeps_the_generated_text(httpserver):
    token = "sk-lm-AbCd1234:0123456789abcdefghij"
    error = {"code": "server_error", "message": f"The model has crashed. {token}"}
    answer(httpserver, RESPONSES, saying("29", status="failed", error=error))
    usage = MemoryUsage()
    with LMStudioProvider(httpserver.url_for(""), refresh=False, usage=usage, api_token=token) as lm:
        with pytest.raises(ServerError, match="the model crashed") as caught:
            lm.responses("Hi", model="m")
    assert (caught.value.partial.text, caught.value.partial.provider_id) == ("29", "lm-studio")
    assert caught.value.url == httpserver.url_for(RESPONSES)
    assert token not in caught.value.message + caught.value.body
    assert token.encode() not in pickle.dumps(caught.value)
    assert [(record.operation, record.status) for record in usage.records] == [("responses", "error")]


def test_continuing_from_an_unknown_response_is_a_response_not_found_error(httpserver, provider):
    error = {"message": "Response with id 'resp_1' not found.", "code": "previous_response_not_found"}
    httpserver.expect_request(RESPONSES).respond_with_json({"error": error}, status=400)
    with pytest.raises(ResponseNotFoundError, match="does not know the response"):
        provider.responses("Hi", model="m", previous_response_id="resp_1")


@pytest.mark.parametrize(
    ("name", "path", "file", "error"),
    [
        ("responses", RESPONSES, "responses_stream_failed.sse", ServerError),
        ("messages", MESSAGES, "messages_stream_error.sse", ContextLengthError),
    ],
)
def test_an_error_in_a_stream_comes_after_the_text_and_keeps_it(httpserver, provider, sample, name, path, file, error):
    stream(httpserver, path, sample(file))
    texts = []
    with pytest.raises(error) as caught:
        for chunk in getattr(provider, f"{name}_stream")("Hi", model="m"):
            texts.append(chunk.delta)
    assert "".join(texts) == caught.value.partial.text == ("29" if name == "responses" else "")


@pytest.mark.parametrize(("name", "path"), PATHS)
def test_a_stream_that_is_cut_is_interrupted(httpserver, provider, sample, name, path):
    stream(httpserver, path, sample(STREAMS[path])[:-400])
    with pytest.raises((StreamInterruptedError, ProtocolError)) as caught:
        getattr(provider, f"{name}_stream")("Hi", print, model="m")
    assert isinstance(caught.value, StreamInterruptedError)
    assert caught.value.partial.reasoning


def test_an_answer_that_does_not_match_the_schema_is_an_error_because_the_server_does_not_check(httpserver, provider):
    answer(httpserver, RESPONSES, saying("Oslo"))
    with pytest.raises(StructuredOutputError):
        provider.responses(USER, model="m", response_format={"type": "object"})


# Requests


@for_each("request_", ["Hi", CompletionRequest("Hi"), USER, ChatRequest(USER), ResponsesRequest(USER)])
def test_responses_takes_texts_messages_and_requests(httpserver, provider, sample, request_):
    answer(httpserver, RESPONSES, sample("response.json"))
    completion = provider.responses(request_, model="m", store=False, reasoning_effort="low", max_tokens=9)
    assert completion.text == "29, and now the weather."
    assert sent(httpserver) == [
        {
            "model": "m",
            "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
            "max_output_tokens": 9,
            "temperature": 0.7,
            "store": False,
            "reasoning": {"effort": "low"},
            "stream": False,
        }
    ]


@for_each("request_", ["Hi", CompletionRequest("Hi"), USER, ChatRequest(USER)])
def test_messages_takes_texts_messages_and_requests(httpserver, provider, sample, request_):
    answer(httpserver, MESSAGES, sample("message.json"))
    assert provider.messages(request_, model="m", top_k=5).text == "Let me look."
    assert sent(httpserver) == [
        {
            "model": "m",
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
            "max_tokens": 4096,
            "temperature": 0.7,
            "top_k": 5,
            "stream": False,
        }
    ]


def test_a_text_may_have_a_system_prompt_and_tools(httpserver, provider, sample):
    answer(httpserver, RESPONSES, sample("response.json"))
    answer(httpserver, MESSAGES, sample("message.json"))
    provider.responses("Hi", model="m", system_prompt="Be brief", tools=[Tool("now")])
    provider.messages(CompletionRequest("Hi", "Be long"), model="m", system_prompt="Be brief", tools=[Tool("now")])
    first, second = sent(httpserver)
    assert (first["instructions"], first["tools"][0]["name"]) == ("Be brief", "now")
    assert (second["system"], second["tools"][0]["name"]) == ("Be brief", "now")


def continued(reply):
    """A reply that goes on from another."""
    return json.dumps({**json.loads(reply), "previous_response_id": "resp_0"})


def responded(lm, text, stream, **given):
    """The completion of /v1/responses."""
    if not stream:
        return lm.responses(text, **given)
    reply = lm.responses_stream(text, **given)
    return [*reply, reply.completion][-1]


@for_each("stream", [False, True], ids=["whole", "streamed"])
@for_each(
    "given", [{"previous_response_id": "resp_1"}, {"extra": {"previous_response_id": "resp_1"}}], ids=["field", "extra"]
)
def test_a_server_that_keeps_no_conversation_and_begins_it_anew_is_warned_of(stream, given):
    with SimulatedOllama(["m"]) as server, LMStudioProvider(server.url, model="m", refresh=False) as lm:
        with pytest.warns(ConversationLostWarning, match=r"began anew.*previous_response_id") as caught:
            completion = responded(lm, "And now?", stream, **given)
        assert completion.text
        assert [each.filename for each in caught] == [__file__]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_no_server_that_goes_on_or_was_not_asked_to_is_warned_of(stream):
    for stand_in in (SimulatedOllama(["m"]), SimulatedLMStudio(["m"])):
        with stand_in as server, LMStudioProvider(server.url, model="m", refresh=False) as lm:
            first = responded(lm, "Hi", stream)
            if isinstance(server, SimulatedLMStudio):
                assert responded(lm, "And now?", stream, previous_response_id=first.id).text


def test_a_reply_that_does_not_say_from_which_it_goes_on_is_not_warned_of(httpserver, provider, sample):
    reply = json.loads(sample("response.json"))
    del reply["previous_response_id"]
    answer(httpserver, RESPONSES, json.dumps(reply))
    assert provider.responses("And now?", model="m", previous_response_id="resp_1").text


def test_a_failed_reply_is_reported_as_such_and_not_as_a_forgotten_conversation(httpserver, provider):
    error = {"code": "server_error", "message": "The model has crashed."}
    answer(httpserver, RESPONSES, saying("29", status="failed", error=error, previous_response_id=None))
    with pytest.raises(ServerError):
        provider.responses("And now?", model="m", previous_response_id="resp_1")


def test_a_conversation_goes_on_from_the_id_of_a_reply(httpserver, provider, sample):
    answer(httpserver, RESPONSES, continued(sample("response.json")))
    first = provider.responses("Hi", model="m")
    provider.responses("And now?", model="m", previous_response_id=first.id)
    assert [body.get("previous_response_id") for body in sent(httpserver)] == [None, first.id]


def test_the_fields_of_a_request_are_kept(httpserver, provider, sample):
    answer(httpserver, RESPONSES, continued(sample("response.json")))
    provider.responses(ResponsesRequest(USER, model="m", previous_response_id="resp_1", store=False), temperature=0)
    (body,) = sent(httpserver)
    assert (body["previous_response_id"], body["store"], body["temperature"]) == ("resp_1", False, 0)


@pytest.mark.parametrize(("name", "path"), PATHS)
def test_a_model_in_extra_is_sent_as_it_is_and_the_one_that_was_asked_for_is_kept(
    httpserver, provider, sample, name, path
):
    answer(httpserver, path, sample(WHOLE[path]))
    completion = getattr(provider, name)("Hi", model="m", extra={"model": 7})
    assert (sent(httpserver)[0]["model"], completion.requested_model) == (7, "m")


# Replies


@dataclass
class City:
    name: str


def test_an_answer_is_parsed(httpserver, provider):
    answer(httpserver, RESPONSES, saying('{"name": "Oslo"}'))
    assert provider.responses("Where?", model="m", response_format=City).parsed == City("Oslo")


def test_an_answer_that_reasoning_left_no_room_for_is_warned_of(httpserver, provider):
    reasoning = {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "Hm"}]}
    details = {"reason": "max_output_tokens"}
    value = {"status": "incomplete", "incomplete_details": details, "output": [reasoning]}
    answer(httpserver, RESPONSES, json.dumps(value))
    with pytest.warns(EmptyAnswerWarning, match="off with reasoning='off'"):
        assert provider.responses("Hi", model="m").finish_reason == "length"


def test_an_answer_without_room_is_not_warned_of_with_an_option_that_is_not_there(httpserver, provider):
    thought = {"type": "thinking", "thinking": "Hm"}
    answer(httpserver, MESSAGES, json.dumps({"content": [thought], "stop_reason": "max_tokens"}))
    with pytest.warns(EmptyAnswerWarning) as caught:
        provider.messages("Hi", model="m")
    assert "reasoning_effort" not in str(caught[0].message)


@pytest.mark.parametrize(("name", "path"), PATHS)
def test_with_on_chunk_each_piece_is_shown_and_the_whole_returned(httpserver, provider, sample, name, path):
    stream(httpserver, path, sample(STREAMS[path]))
    chunks = []
    completion = getattr(provider, f"{name}_stream")("Hi", chunks.append, model="m")
    assert "".join(chunk.delta for chunk in chunks) == completion.text
    assert [chunk.done for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert sent(httpserver)[0]["stream"] is True


@pytest.mark.parametrize("name", ["responses", "messages"])
def test_a_callback_that_cannot_be_called_is_refused(provider, name):
    with pytest.raises(InvalidRequestError, match="cannot be called"):
        getattr(provider, f"{name}_stream")("Hi", "model")


@pytest.mark.parametrize(("name", "path"), PATHS)
def test_usage_is_recorded_under_the_name_of_the_method(httpserver, sample, name, path):
    usage = MemoryUsage()
    with LMStudioProvider(httpserver.url_for(""), refresh=False, usage=usage) as lm:
        httpserver.expect_ordered_request(path).respond_with_data(sample(WHOLE[path]))
        httpserver.expect_ordered_request(path).respond_with_data(
            sample(STREAMS[path]), content_type="text/event-stream"
        )
        whole = getattr(lm, name)("Hi", model="m")
        streamed = getattr(lm, f"{name}_stream")("Hi", print, model="m")
    assert [(each.operation, each.status, each.total_tokens) for each in usage.records] == [
        (name, "ok", whole.usage.total_tokens),
        (name, "ok", streamed.usage.total_tokens),
    ]
    assert [each.model for each in usage.records] == [whole.model, streamed.model]


@pytest.mark.parametrize(
    ("path", "text", "reasoning", "calls", "usage"),
    [
        (CHAT, "Four.", "", [], Usage(24, 3, 27)),
        (RESPONSES, "29, and now the weather.", "A small prime will do.", ["call_18c7d2"], Usage(71, 33, 104, 9, 0)),
        (MESSAGES, "Let me look.", "The weather is wanted.", ["toolu_365174485"], Usage(263, 41, 304)),
    ],
)
def test_one_loop_reads_every_dialect(httpserver, provider, sample, path, text, reasoning, calls, usage):
    stream(httpserver, path, sample(STREAMS[path]))
    opened = {
        CHAT: lambda: provider.stream(USER, model="m"),
        RESPONSES: lambda: provider.responses_stream(USER, model="m"),
        MESSAGES: lambda: provider.messages_stream(USER, model="m"),
    }[path]()
    said = thought = ""
    with opened:
        for chunk in opened:
            said += chunk.delta
            thought += chunk.reasoning
    assert (said, thought) == (text, reasoning)
    assert [call.id for call in chunk.tool_calls] == calls
    assert (chunk.done, chunk.finish_reason, chunk.usage) == (True, "tool_calls" if calls else "stop", usage)
    completion = opened.completion
    assert (completion.text, completion.reasoning, completion.usage) == (text, reasoning, usage)
    assert completion.provider_id == "lm-studio"


@for_each("option", [{"stream": True}, {"stream": False}, {"on_chunk": print}], ids=str)
@for_each("name", ["responses", "messages"])
def test_an_option_of_the_stream_is_refused_with_the_method_that_streams(httpserver, provider, name, option):
    with pytest.raises(InvalidRequestError, match=rf"no option '{next(iter(option))}'.*{name}_stream\(\)"):
        getattr(provider, name)("Hi", model="m", **option)
    assert httpserver.log == []
