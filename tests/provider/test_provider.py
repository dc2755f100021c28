import base64
import contextlib
import inspect
import io
import json
import logging
import pickle
import re
import threading
from dataclasses import dataclass

import pytest
from tables import for_each
from werkzeug import Response

from lmstudio_provider import (
    AuthenticationError,
    Capabilities,
    ChatRequest,
    CompletionRequest,
    ConfigurationError,
    ContextLengthError,
    Conversation,
    EndpointNotFoundError,
    Failover,
    InvalidRequestError,
    LMStudioProvider,
    MemoryUsage,
    Message,
    ModelMismatchWarning,
    NativeConversation,
    OllamaProvider,
    ProtocolError,
    Provider,
    ProviderClosedError,
    ProviderError,
    RateLimitError,
    ServerError,
    ServerUnavailableError,
    Tool,
    run_tools,
)
from lmstudio_provider.simulator import SimulatedLMStudio, SimulatedOllama

CHAT = "/v1/chat/completions"
TOKEN = "sk-lm-AbCd1234:0123456789abcdefghij"


PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


@dataclass
class City:
    name: str


def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


def sent(httpserver):
    """The bodies of the POSTs so far."""
    return [request.get_json() for request, _ in httpserver.log if request.method == "POST"]


# Nobody there


def test_an_error_about_a_missing_server_names_its_url_and_source_and_how_to_start_it(closed_port):
    with LMStudioProvider(f"localhost:{closed_port}") as lm, pytest.raises(ServerUnavailableError) as caught:
        lm.complete("Hi")
    error = caught.value
    assert (error.refused, error.sent) == (True, False)
    assert (error.provider, error.method) == ("lm-studio", "POST")
    assert error.url == f"http://localhost:{closed_port}{CHAT}"
    assert f"no server answers at http://localhost:{closed_port}" in error.message
    assert f"http://localhost:{closed_port} came from the argument base_url" in error.hint
    assert "lms server start" in error.hint
    assert "Developer tab" in error.hint
    assert isinstance(error.__cause__, OSError)


def test_the_source_of_the_url_is_the_setting_that_it_came_from(monkeypatch, closed_port):
    monkeypatch.setenv("LM_STUDIO_URL", f"127.0.0.1:{closed_port}")
    with LMStudioProvider() as lm, pytest.raises(ServerUnavailableError, match="environment variable LM_STUDIO_URL"):
        lm.list_models()


def test_an_error_about_an_unknown_host_names_it():
    with LMStudioProvider("no-such-host.invalid", refresh=False, max_retries=0) as lm:
        with pytest.raises(ServerUnavailableError, match=r"no-such-host\.invalid"):
            lm.complete("Hi")


def test_without_a_server_refreshing_is_silent_and_health_says_why(closed_port, recwarn, capfd):
    with LMStudioProvider(f"127.0.0.1:{closed_port}") as lm:
        assert lm.refresh_models() is False
        assert lm.wait_until_configured() is False
        assert lm.is_configured() is False
        assert lm.resolve_model() == "local-model"
        health = lm.health_check()
    assert (health.ok, health.latency_s, health.models) == (False, None, ())
    assert isinstance(health.error, ServerUnavailableError)
    assert capfd.readouterr() == ("", "")
    assert not recwarn


# Replies that are errors


MARK = b"\xef\xbb\xbf"  # a byte order mark, which some servers and proxies write before JSON


def test_a_byte_order_mark_before_a_reply_does_not_matter(raw_server):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    message = b'{"message": {"role": "assistant", "content": "Hi"}, "done": %s}\n'
    whole = b'{"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}'
    with LMStudioProvider(raw_server(head + MARK + whole).url, refresh=False) as lm:
        assert lm.complete("Hi", model="m").text == "Hi"
    with OllamaProvider(raw_server(head + MARK + message % b"true").url, refresh=False) as ollama:
        assert ollama.complete("Hi", model="m").text == "Hi"
    lines = MARK + message % b"false" + message % b"true"
    with OllamaProvider(raw_server(head.replace(b"json", b"x-ndjson") + lines).url, refresh=False) as ollama:
        assert ollama.stream("Hi", print, model="m").text == "HiHi"


@for_each("method", ["complete", "chat", "stream", "list_models"])
@for_each(
    ("status", "body", "content_type", "kind"),
    [
        (200, b'{"error":"Unexpected endpoint or method. (POST /x)"}', "application/json", EndpointNotFoundError),
        (200, b"<html>Welcome</html>", "text/html", ProtocolError),
        (200, b"", "application/json", ProtocolError),
        (200, b"[]", "application/json", ProtocolError),
        (200, b"null", "application/json", ProtocolError),
        (200, b"{}", "application/json; charset=utf-8", ProtocolError),
        (200, b'\xef\xbb\xbf\xef\xbb\xbf{"data": []}', "application/json", ProtocolError),
        (200, '{"data": []}'.encode("utf-16"), "application/json", ProtocolError),
        (200, b"[" * 100_000, "application/json", ProtocolError),
        (401, b'{"error":{"code":"invalid_api_key","message":"no"}}', "application/json", AuthenticationError),
        (404, b"404 page not found", "text/plain", EndpointNotFoundError),
        (429, b"{}", "application/json", RateLimitError),
        (500, b"<html>oops</html>", "text/html", ServerError),
        (307, b"", "text/html", ProtocolError),
    ],
)
def test_an_invalid_reply_is_never_a_success(httpserver, provider, method, status, body, content_type, kind):
    response = Response(body, status, {"Location": "/elsewhere"}, content_type=content_type)
    httpserver.expect_request("/v1/models").respond_with_response(response)
    httpserver.expect_request(CHAT).respond_with_response(response)
    arguments = {"complete": ["Hi"], "chat": [[Message.user("Hi")]], "stream": ["Hi"], "list_models": []}[method]
    with pytest.raises(kind) as caught:
        getattr(provider, method)(*arguments)
    assert type(caught.value) is kind
    assert caught.value.sent
    assert caught.value.url.startswith(httpserver.url_for("/v1/"))


@for_each("method", ["chat", "stream", "responses", "messages"])
@for_each("tools", [[], [Tool("look", "Looks.", {"type": "object", "properties": {}})]])
def test_a_template_error_mentions_the_tools_if_the_request_had_any(raw_server, method, tools):
    body = b'{"error": "Error rendering prompt with jinja template: \\"Unknown type\\""}'
    server = raw_server(b"HTTP/1.1 400 X\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    with LMStudioProvider(server.url, refresh=False) as lm, pytest.raises(InvalidRequestError) as caught:
        getattr(lm, method)([Message.user("Hi")], model="m", tools=tools)
    assert ("fail on the tools" in caught.value.hint) == bool(tools)


def test_html_under_200_is_shown_without_its_markup(httpserver, provider):
    httpserver.expect_request(CHAT).respond_with_data("<html>Router login</html>", content_type="text/html")
    with pytest.raises(ProtocolError, match="HTTP 200, 'Router login'"):
        provider.complete("Hi")


def test_json_that_is_not_an_error_in_the_place_of_a_stream_is_a_protocol_error(httpserver, provider, sample):
    httpserver.expect_request(CHAT).respond_with_data(sample("chat_completion.json"), content_type="application/json")
    with pytest.raises(ProtocolError, match="instead of a stream"):
        provider.stream("Hi")


def test_the_source_of_a_refused_token_is_named_and_the_token_is_nowhere(httpserver, sample, caplog):
    caplog.set_level(logging.DEBUG)
    body = sample("errors/api_key_malformed.json").replace(b"sk-bogus-E", TOKEN[:10].encode())
    httpserver.expect_request(CHAT).respond_with_data(body, 401, content_type="application/json")
    with LMStudioProvider(httpserver.url_for(""), api_token=TOKEN, refresh=False) as lm:
        with pytest.raises(AuthenticationError, match="the argument api_token") as caught:
            lm.complete("Hi")
        assert TOKEN[:10] not in str(caught.value) + repr(vars(caught.value)) + repr(lm) + caplog.text


# Arguments that cannot work


@for_each(
    ("arguments", "says"),
    [
        ({"base_url": "ftp://x"}, "the argument base_url"),
        ({"api_token": "two words"}, "the argument api_token"),
        ({"timeout": 0}, "timeout=0"),
        ({"deadline": -1}, "deadline=-1"),
        ({"settings": object()}, "settings=object"),
        ({"usage": object()}, "usage=object"),
        ({"headers": ["X"]}, "headers"),
        ({"headers": {"Bad Name": "x"}}, "'Bad Name'"),
        ({"headers": {"X": "a\r\nEvil: b"}}, "'X'"),
        ({"headers": {"X": 7}}, "'X'"),
        ({"http": object()}, "http=object"),
        ({"max_retries": -1}, "max_retries=-1"),
        ({"models_ttl": "1"}, "models_ttl='1'"),
        ({"limits": 5}, "limits=5"),
        ({"model": 5}, "model=5"),
        ({"refresh": "no"}, "refresh='no'"),
        ({"usage": MemoryUsage}, "usage=MemoryUsage is a class"),
        ({"timeout": 1e10}, "timeout=1"),
        ({"timeout": 10**400}, "timeout=1000"),
        ({"deadline": float("inf")}, "deadline=inf"),
    ],
)
def test_an_argument_that_cannot_work_is_a_configuration_error(arguments, says):
    with pytest.raises(ConfigurationError, match=says):
        LMStudioProvider(**arguments)


@for_each("bad", [None, 7, b"Hi", [Message.user("Hi")]])
def test_complete_wants_a_text_or_a_request(provider, bad):
    with pytest.raises(InvalidRequestError):
        provider.complete(bad)


@for_each("method", ["chat", "complete_with_tools"])
@for_each("bad", [CompletionRequest("Hi"), Message.user("Hi"), b"Hi"])
def test_chat_wants_messages_or_a_text(provider, method, bad):
    with pytest.raises(InvalidRequestError, match="messages"):
        getattr(provider, method)(bad, tools=[Tool("now")])


@for_each(
    ("typed", "says"),
    [
        ("api_key", "Did you mean 'api_token'?"),
        ("token", "Did you mean 'api_token'?"),
        ("apiToken", "Did you mean 'api_token'?"),
        ("host", "Did you mean 'base_url'?"),
        ("url", "Did you mean 'base_url'?"),
        ("baseurl", "Did you mean 'base_url'?"),
        ("port", "Did you mean 'base_url'?"),
        ("default_headers", "Did you mean 'headers'?"),
        ("retries", "Did you mean 'max_retries'?"),
        ("timeouts", "Did you mean 'timeout'?"),
        ("http_client", "Did you mean 'http'?"),
        ("default_model", "Did you mean 'model'?"),
        ("name", "Did you mean 'id'?"),
        ("temperature", "It goes with each call"),
        ("system_prompt", "It goes with each call"),
        ("max_completion_tokens", "It goes with each call"),
        ("organization", "There are base_url, model, api_token"),
    ],
)
@for_each("kind", [LMStudioProvider, OllamaProvider])
def test_an_unknown_argument_is_refused_with_the_right_word_and_without_its_value(kind, typed, says):
    with pytest.raises(ConfigurationError, match=rf"{kind.__name__} has no argument '{typed}'") as caught:
        kind(**{typed: "a-secret"})
    assert caught.value.hint.startswith(says)
    assert "a-secret" not in str(caught.value)


def test_the_arguments_that_there_are_are_those_of_the_signature():
    with pytest.raises(ConfigurationError) as caught:
        LMStudioProvider(organization="Acme")
    assert caught.value.hint == f"There are {', '.join(inspect.signature(LMStudioProvider).parameters)}"


CALLS = {
    "complete": lambda lm, **options: lm.complete("Hi", **options),
    "chat": lambda lm, **options: lm.chat([Message.user("Hi")], **options),
    "stream": lambda lm, **options: lm.stream("Hi", **options),
    "complete_with_tools": lambda lm, **options: lm.complete_with_tools("Hi", tools=[Tool("now")], **options),
    "complete_text": lambda lm, **options: lm.complete_text("Hi", **options),
    "responses": lambda lm, **options: lm.responses("Hi", **options),
    "messages": lambda lm, **options: lm.messages("Hi", **options),
    "native.chat": lambda lm, **options: lm.native.chat("Hi", **options),
    "native.stream": lambda lm, **options: lm.native.stream("Hi", **options),
    "Conversation": lambda lm, **options: Conversation(lm).ask("Hi", **options),
    "Conversation.stream": lambda lm, **options: Conversation(lm).stream("Hi", **options),
    "NativeConversation": NativeConversation,
    "run_tools": lambda lm, **options: run_tools(lm, "Hi", [add], **options),
    "Failover": lambda lm, **options: Failover([lm]).chat("Hi", **options),
}


@for_each("name", CALLS)
def test_a_misspelt_option_is_refused_with_the_right_one_whatever_the_call(httpserver, provider, name):
    with pytest.raises(InvalidRequestError, match="'temprature'") as caught:
        CALLS[name](provider, temprature=1)
    assert caught.value.hint == "Did you mean 'temperature'?"
    assert not httpserver.log


@for_each("name", [each for each in CALLS if not each.startswith(("native", "Native"))])
def test_a_misspelt_option_of_a_tool_loop_is_named_and_no_class_is(httpserver, provider, name):
    with pytest.raises(InvalidRequestError, match="there is no option 'max_round'") as caught:
        CALLS[name](provider, max_round=1)
    assert caught.value.hint == "Did you mean 'max_rounds'? run_tools() and conversations take it"
    assert not httpserver.log


@for_each("name", [each for each in CALLS if each.startswith(("native", "Native"))])
@for_each(
    ("typed", "says"),
    [
        ("on_progres", "Did you mean 'on_progress'? native.stream()"),
        ("mirostat", "go into extra={"),
        ("options", "by its name"),
    ],
)
def test_an_option_that_lm_studios_own_api_does_not_have_is_refused_without_ollama(
    httpserver, provider, name, typed, says
):
    with pytest.raises(InvalidRequestError, match=f"there is no option '{typed}'") as caught:
        CALLS[name](provider, **{typed: 1})
    assert says in caught.value.hint
    assert "Ollama" not in caught.value.hint


@for_each("name", ["complete", "chat", "stream", "complete_with_tools", "complete_text", "Failover"])
@for_each(
    ("option", "says"),
    [
        ("max_completion_tokens", "'max_tokens'"),
        ("num_predict", "'max_tokens'"),
        ("messages", "first argument"),
        ("prompt", "first argument"),
        ("n", "extra={"),
        ("options", "extra={'options'"),
        ("api_key", "LMStudioProvider("),
    ],
)
def test_a_word_of_another_library_is_refused_with_ours(httpserver, provider, name, option, says):
    with pytest.raises(InvalidRequestError, match=f"'{option}'") as caught:
        CALLS[name](provider, **{option: 1})
    assert says in caught.value.hint
    assert not httpserver.log


@for_each("method", ["complete", "chat", "stream", "complete_text", "responses", "messages"])
@for_each("named", [{}, {"messages": [{"role": "user", "content": "Hi"}]}, {"prompt": "Hi"}])
def test_a_call_without_its_first_argument_says_that_it_is_missing(provider, method, named):
    for each in (provider, Failover([provider])):
        if hasattr(each, method):
            with pytest.raises(InvalidRequestError, match="nothing to answer") as caught:
                getattr(each, method)(**named, model="m")
            assert "first argument" in caught.value.hint


def test_complete_with_tools_wants_tools(provider):
    with pytest.raises(InvalidRequestError, match="no tools"):
        provider.complete_with_tools([Message.user("Hi")])


@pytest.mark.parametrize("overrides", [{"temprature": 1}, {"temperature": "hot"}])
def test_an_override_that_cannot_work_is_refused_and_nothing_is_sent(httpserver, provider, overrides):
    with pytest.raises(InvalidRequestError):
        provider.complete("Hi", **overrides)
    assert not httpserver.log


@pytest.mark.parametrize("overrides", [{"timeout": 0}, {"deadline": "1"}])
def test_a_time_that_cannot_be_is_refused_for_one_call_too(provider, overrides):
    with pytest.raises(ConfigurationError):
        provider.complete("Hi", **overrides)


# Models


def test_list_models_and_refresh_models_fill_the_cache(httpserver, provider, sample):
    httpserver.expect_request("/v1/models", method="GET").respond_with_data(sample("models_openai.json"))
    assert provider.is_configured() is False
    assert provider.list_models()[0].id == "qwen/qwen3-8b"
    assert provider.is_configured() is True
    assert provider.refresh_models() is True
    assert provider.capabilities == Capabilities(
        streaming=True,
        tool_calling=True,
        vision=None,
        models=(
            "qwen/qwen3-8b",
            "qwen/qwen3-8b:2",
            "gemma-3-4b-it@q4_k_m",
            "text-embedding-nomic-embed-text-v1.5",
        ),
    )


def test_the_background_thread_finds_the_models(httpserver, sample):
    httpserver.expect_request("/v1/models").respond_with_data(sample("models_openai.json"))
    with LMStudioProvider(httpserver.url_for("")) as lm:
        assert lm.wait_until_configured() is True
        assert lm.is_configured() is True
        assert lm.resolve_model() == "qwen/qwen3-8b"
    assert [request.path for request, _ in httpserver.log] == ["/api/v1/models", "/api/v0/models", "/v1/models"]


def test_a_server_that_comes_up_later_is_found(httpserver, sample):
    up = threading.Event()

    def answer(request):
        return Response(sample("models_openai.json")) if up.is_set() else Response("starting", 503)

    httpserver.expect_request("/v1/models").respond_with_handler(answer)
    with LMStudioProvider(httpserver.url_for("")) as lm:
        # The constructor's discovery failed, or is about to; a later use begins another.
        assert not lm.wait_until_configured()
        up.set()
        while not lm.wait_until_configured():
            assert len(httpserver.log) < 20
        assert lm.resolve_model() == "qwen/qwen3-8b"


def test_models_are_asked_for_again_when_they_are_old(httpserver, sample):
    httpserver.expect_request("/v1/models").respond_with_data(sample("models_openai.json"))
    with LMStudioProvider(httpserver.url_for(""), models_ttl=0) as lm:
        lm.wait_until_configured()
        before = len(httpserver.log)
        lm.resolve_model()
        lm.wait_until_configured()
        assert len(httpserver.log) > before


def test_reset_client_forgets_the_models(httpserver, provider, sample):
    httpserver.expect_request("/v1/models").respond_with_data(sample("models_openai.json"))
    provider.list_models()
    provider.reset_client()
    assert provider.is_configured() is False
    assert provider.capabilities.models == ()
    assert provider.refresh_models() is True


def test_an_embedding_model_is_never_chosen_for_chat(httpserver, provider):
    httpserver.expect_request("/v1/models").respond_with_json({"data": [{"id": "text-embedding-a"}]})
    provider.refresh_models()
    with pytest.raises(InvalidRequestError, match=r"'text-embedding-a' \(embeds\)"):
        provider.resolve_model()


def test_the_first_model_that_can_chat_is_chosen(httpserver, provider):
    ids = ["text-embedding-a", "b", "c"]
    httpserver.expect_request("/v1/models").respond_with_json({"data": [{"id": each} for each in ids]})
    provider.refresh_models()
    assert provider.resolve_model() == "b"


@pytest.mark.filterwarnings("ignore::lmstudio_provider.ModelMismatchWarning")
def test_the_choice_of_a_model_has_its_order(httpserver, sample):
    httpserver.expect_request(CHAT).respond_with_data(sample("chat_completion.json"))
    mapping = {"lmstudio_model_fast": "of-tier", "lmstudio_model": "of-setting"}
    with LMStudioProvider(httpserver.url_for(""), settings=mapping, refresh=False) as lm:
        lm.complete("Hi", model="of-request", tier="fast")
        lm.complete(CompletionRequest("Hi", tier="fast"))
        lm.complete("Hi", tier="slow")
        mapping.clear()
        lm.complete("Hi")
    assert [body["model"] for body in sent(httpserver)] == ["of-request", "of-tier", "of-setting", "local-model"]


def test_the_model_of_the_constructor_wins_over_the_setting(provider):
    with LMStudioProvider(model="mine", settings={"lmstudio_model": "theirs"}, refresh=False) as lm:
        assert lm.resolve_model() == "mine"


def test_health_reports_latency_and_models(httpserver, provider):
    httpserver.expect_request("/v1/models").respond_with_json({"data": [{"id": "m"}]})
    health = provider.health_check()
    assert (health.ok, health.models, health.error) == (True, ("m",), None)
    assert health.latency_s > 0


def test_health_of_a_server_that_answers_badly_gives_the_reason(httpserver, provider):
    httpserver.expect_request("/v1/models").respond_with_data("<html>", content_type="text/html")
    health = provider.health_check()
    assert health.ok is False
    assert isinstance(health.error, ProtocolError)


# Replies


def test_complete_sends_the_request_that_the_contract_specifies(httpserver, provider, sample):
    httpserver.expect_request(CHAT, method="POST").respond_with_data(sample("chat_completion.json"))
    completion = provider.complete("Why is the sky blue?", system_prompt="Be brief", stop="\n")
    assert completion.text == "Grüße! Rayleigh scattering makes the sky blue."
    assert completion.requested_model == "local-model"
    assert sent(httpserver) == [
        {
            "model": "local-model",
            "messages": [
                {"role": "system", "content": "Be brief"},
                {"role": "user", "content": "Why is the sky blue?"},
            ],
            "max_tokens": 4096,
            "temperature": 0.7,
            "stop": "\n",
            "stream": False,
        }
    ]


def test_chat_takes_messages_dicts_and_a_request(httpserver, provider, sample):
    httpserver.expect_request(CHAT).respond_with_data(sample("chat_completion.json"))
    provider.chat([Message.user("Hi")], temperature=0)
    provider.chat([{"role": "user", "content": "Hi"}], temperature=0)
    provider.chat(ChatRequest([Message.user("Hi")], temperature=1), temperature=0)
    first, *others = sent(httpserver)
    assert first["messages"] == [{"role": "user", "content": "Hi"}]
    assert first["temperature"] == 0
    assert others == [first, first]


def failover(url, **arguments):
    return Failover([LMStudioProvider(url, **arguments)])


@for_each("method", ["chat", "stream", "complete_with_tools"])
@for_each(
    ("make", "simulated"),
    [(LMStudioProvider, SimulatedLMStudio), (OllamaProvider, SimulatedOllama), (failover, SimulatedLMStudio)],
)
def test_a_text_is_one_message_of_the_user(method, make, simulated):
    with simulated(replies=["Hello"]) as server, make(server.url, model=server.models[0], refresh=False) as provider:
        reply = getattr(provider, method)("Hi", tools=[add])
        assert ("".join(reply.text()) if method == "stream" else reply.text) == "Hello"
        assert server.requests[-1]["body"]["messages"] == [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize("method", ["complete", "stream", "chat"])
def test_functions_among_the_tools_are_offered(httpserver, provider, sample, method):
    kind = "text/event-stream" if method == "stream" else "application/json"
    name = "chat_stream_tool_calls.sse" if method == "stream" else "chat_completion_tool_calls.json"
    httpserver.expect_request(CHAT).respond_with_data(sample(name), content_type=kind)
    reply = getattr(provider, method)("Add 1 and 2", tools=[add], tool_choice="required")
    if method == "stream":
        list(reply)
        reply = reply.completion
    assert reply.tool_calls[0].name == "get_weather"
    (body,) = sent(httpserver)
    assert body["tools"] == [Tool.from_function(add).as_dict()]
    assert body["tool_choice"] == "required"


@pytest.mark.parametrize("method", ["complete", "stream"])
def test_a_text_has_images_and_a_form_of_the_answer(httpserver, provider, method):
    answer = json.dumps({"name": "Oslo"})
    if method == "stream":
        httpserver.expect_request(CHAT).respond_with_data(
            f"data: {json.dumps({'choices': [{'delta': {'content': answer}, 'finish_reason': 'stop'}]})}\n\n"
            "data: [DONE]\n\n",
            content_type="text/event-stream",
        )
    else:
        reply = {"choices": [{"message": {"content": answer}, "finish_reason": "stop"}]}
        httpserver.expect_request(CHAT).respond_with_json(reply)
    reply = getattr(provider, method)(
        "Which city?", system_prompt="Be brief", images=[PNG], response_format=City, seed=1
    )
    if method == "stream":
        list(reply)
        reply = reply.completion
    assert reply.parsed == City("Oslo")
    (body,) = sent(httpserver)
    url = "data:image/png;base64," + base64.b64encode(PNG).decode()
    assert body["messages"] == [
        {"role": "system", "content": "Be brief"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "Which city?"}, {"type": "image_url", "image_url": {"url": url}}],
        },
    ]
    assert body["response_format"]["json_schema"]["name"] == "City"


@pytest.mark.parametrize("method", ["responses", "messages"])
def test_a_text_has_images_and_tools_over_the_other_endpoints(method):
    with SimulatedLMStudio() as server, LMStudioProvider(server.url, refresh=False) as lm:
        getattr(lm, method)("What is this?", system_prompt="Be brief", images=PNG, tools=[add])
        body = server.requests[-1]["body"]
    assert base64.b64encode(PNG).decode() in json.dumps(body["messages" if method == "messages" else "input"])
    assert "add" in json.dumps(body["tools"])
    assert "Be brief" in json.dumps(body)


@pytest.mark.parametrize("method", ["complete", "stream"])
def test_an_open_image_reaches_the_second_server_too(closed_port, method):
    with SimulatedLMStudio(replies=["A dot."]) as server:
        with failover(f"127.0.0.1:{closed_port}", refresh=False) as first, failover(server.url) as second:
            with Failover([first, second]) as both:
                reply = getattr(both, method)("What is this?", images=io.BytesIO(PNG))
                assert ("".join(reply.text()) if method == "stream" else reply.text) == "A dot."
        assert base64.b64encode(PNG).decode() in json.dumps(server.requests[-1]["body"])


def test_the_options_of_a_request_can_be_given_anew(httpserver, provider, sample):
    httpserver.expect_request(CHAT).respond_with_data(sample("chat_completion.json"))
    request = CompletionRequest("What is this?", images=[PNG], tools=[add])
    provider.complete(request, images=(), tools=None, system_prompt="Be brief")
    (body,) = sent(httpserver)
    assert [message["content"] for message in body["messages"]] == ["Be brief", "What is this?"]
    assert "tools" not in body


def test_complete_with_tools_gives_the_calls(httpserver, provider, sample):
    httpserver.expect_request(CHAT).respond_with_data(sample("chat_completion_tool_calls.json"))
    completion = provider.complete_with_tools([Message.user("Weather?")], tools=[Tool("get_weather")])
    assert [call.name for call in completion.tool_calls] == ["get_weather", "get_time"]
    assert sent(httpserver)[0]["tools"][0]["function"]["name"] == "get_weather"


def test_tools_from_a_generator_are_sent(httpserver, provider, sample):
    httpserver.expect_request(CHAT).respond_with_data(sample("chat_completion_tool_calls.json"))
    provider.complete_with_tools([Message.user("Weather?")], tools=(Tool(name) for name in ["get_weather"]))
    assert len(sent(httpserver)[0]["tools"]) == 1


def test_a_call_that_the_model_made_can_be_answered(httpserver, provider, sample):
    httpserver.expect_request(CHAT).respond_with_data(sample("chat_completion_tool_calls.json"))
    question = Message.user("Weather?")
    completion = provider.complete_with_tools([question], tools=[Tool("get_weather")])
    answers = [Message.tool(call, "sunny") for call in completion.tool_calls]
    provider.chat([question, Message.assistant(completion.text, completion.tool_calls), *answers])
    _, assistant, *tools = sent(httpserver)[1]["messages"]
    assert assistant["content"] == ""
    assert [call["id"] for call in assistant["tool_calls"]] == [tool["tool_call_id"] for tool in tools]


def test_a_stream_gives_chunks_then_the_completion(httpserver, provider, sample):
    httpserver.expect_request(CHAT).respond_with_data(sample("chat_stream_usage.sse"), content_type="text/event-stream")
    stream = provider.stream("2+2?")
    assert [chunk.delta for chunk in stream] == ["Four", ".", ""]
    assert stream.completion.text == "Four."
    assert stream.completion.usage.total_tokens == 27
    assert sent(httpserver)[0]["stream"] is True
    assert sent(httpserver)[0]["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("request_", ["2+2?", CompletionRequest("2+2?"), [Message.user("2+2?")]])
def test_a_stream_takes_every_kind_of_request(httpserver, provider, sample, request_):
    httpserver.expect_request(CHAT).respond_with_data(sample("chat_stream.sse"), content_type="text/event-stream")
    assert "".join(provider.stream(request_).text()) == "Grüße! 🌍"
    assert sent(httpserver)[0]["messages"] == [{"role": "user", "content": "2+2?"}]


def test_with_on_chunk_every_piece_is_handed_over_and_the_completion_returned(httpserver, provider, sample):
    httpserver.expect_request(CHAT).respond_with_data(sample("chat_stream.sse"), content_type="text/event-stream")
    chunks = []
    completion = provider.stream("Hi", chunks.append)
    assert completion.text == "".join(chunk.delta for chunk in chunks) == "Grüße! 🌍"
    assert [chunk.done for chunk in chunks][-2:] == [False, True]


def test_a_callback_that_cannot_be_called_is_refused_before_anything_is_sent(httpserver, provider):
    with pytest.raises(InvalidRequestError, match="on_chunk='qwen'"):
        provider.stream("Hi", "qwen")
    assert not httpserver.log


@pytest.mark.parametrize("name", ["chat_stream_tool_calls.sse", "chat_stream_tool_calls_parallel.sse"])
def test_tool_calls_can_be_streamed(httpserver, provider, sample, name):
    httpserver.expect_request(CHAT).respond_with_data(sample(name), content_type="text/event-stream")
    *_, last = provider.stream([Message.user("Weather?")], tools=[Tool("get_weather")])
    assert {call.name for call in last.tool_calls} == {"get_weather"}


# Headers and other fields of a request


def headers_of(httpserver, sample, **arguments):
    httpserver.expect_request(CHAT).respond_with_data(sample("chat_completion.json"))
    with LMStudioProvider(refresh=False, **{"base_url": httpserver.url_for(""), **arguments}) as lm:
        lm.complete("Hi")
    return httpserver.log[-1][0].headers


def test_the_headers_are_few_and_describe_the_body(httpserver, sample):
    headers = headers_of(httpserver, sample)
    assert headers["Content-Type"] == "application/json"
    assert headers["Accept"] == "application/json"
    assert headers["Accept-Encoding"] == "identity"
    assert "Authorization" not in headers


def test_a_token_is_sent_as_bearer(httpserver, sample):
    assert headers_of(httpserver, sample, api_token=TOKEN)["Authorization"] == f"Bearer {TOKEN}"


def test_userinfo_of_the_url_is_sent_as_basic_and_a_token_wins(httpserver, sample):
    url = httpserver.url_for("").replace("http://", "http://ann:secret@")
    assert headers_of(httpserver, sample, base_url=url)["Authorization"] == "Basic YW5uOnNlY3JldA=="
    assert headers_of(httpserver, sample, base_url=url, api_token=TOKEN)["Authorization"] == f"Bearer {TOKEN}"


def test_own_headers_are_sent_and_win(httpserver, sample):
    headers = headers_of(httpserver, sample, api_token=TOKEN, headers={"authorization": "Token x", "X-Title": "Demo"})
    assert (headers["Authorization"], headers["X-Title"]) == ("Token x", "Demo")


def test_a_path_prefix_of_a_proxy_is_kept(httpserver, sample):
    httpserver.expect_request("/lm" + CHAT).respond_with_data(sample("chat_completion.json"))
    with LMStudioProvider(httpserver.url_for("/lm/v1/"), refresh=False) as lm:
        assert lm.base_url == httpserver.url_for("/lm")
        assert lm.complete("Hi").text


# Settings, logging, usage


def test_a_changed_setting_holds_from_the_next_call_on(httpserver, sample, closed_port):
    httpserver.expect_request(CHAT).respond_with_data(sample("chat_completion.json"))
    mapping = {"lmstudio_base_url": f"127.0.0.1:{closed_port}", "lmstudio_model": "one", "lmstudio_api_token": "first"}
    with LMStudioProvider(settings=mapping, refresh=False) as lm:
        with pytest.raises(ServerUnavailableError, match=f"{closed_port} came from the setting lmstudio_base_url"):
            lm.complete("Hi")
        mapping.update(
            lmstudio_base_url=httpserver.url_for(""), lmstudio_model="qwen/qwen3-8b", lmstudio_api_token="second"
        )
        lm.complete("Hi")
        assert lm.base_url == httpserver.url_for("").rstrip("/")
        mapping["lmstudio_base_url"] = "ftp://x"
        with pytest.raises(ConfigurationError):
            lm.complete("Hi")
    assert sent(httpserver)[0]["model"] == "qwen/qwen3-8b"
    assert httpserver.log[0][0].headers["Authorization"] == "Bearer second"


def test_models_of_another_url_are_not_those_of_this_one(httpserver):
    httpserver.expect_request("/a/v1/models").respond_with_json({"data": [{"id": "of-a"}]})
    httpserver.expect_request("/b/v1/models").respond_with_json({"data": [{"id": "of-b"}]})
    mapping = {"lmstudio_base_url": httpserver.url_for("/a")}
    with LMStudioProvider(settings=mapping) as lm:
        assert lm.resolve_model() == "of-a"
        mapping["lmstudio_base_url"] = httpserver.url_for("/b")
        assert lm.resolve_model() == "of-b"


def test_each_call_is_one_debug_record_without_secrets(httpserver, sample, caplog):
    caplog.set_level(logging.DEBUG, "lmstudio_provider")
    headers_of(httpserver, sample, api_token=TOKEN)
    (record,) = [record for record in caplog.records if record.name == "lmstudio_provider"]
    assert record.levelno == logging.DEBUG
    assert re.fullmatch(rf"POST {CHAT} 200 \d+ ms \d+ bytes", record.getMessage())
    assert TOKEN[:8] not in caplog.text


def test_the_logger_is_silent_unless_it_is_asked(capfd, closed_port):
    with LMStudioProvider(f"127.0.0.1:{closed_port}") as lm:
        lm.refresh_models()
    assert capfd.readouterr() == ("", "")
    assert any(isinstance(h, logging.NullHandler) for h in logging.getLogger("lmstudio_provider").handlers)


def recorded(httpserver, sample, name, call, content_type="application/json"):
    usage = MemoryUsage()
    httpserver.expect_request(CHAT).respond_with_data(sample(name), content_type=content_type)
    with LMStudioProvider(httpserver.url_for(""), usage=usage) as lm:
        call(lm)
    return usage.records


@for_each(
    ("operation", "call"),
    [
        ("complete", lambda lm: lm.complete("Hi")),
        ("chat", lambda lm: lm.chat([Message.user("Hi")])),
        ("complete_with_tools", lambda lm: lm.complete_with_tools([Message.user("Hi")], tools=[Tool("now")])),
    ],
)
def test_each_call_is_one_usage_record(httpserver, sample, operation, call):
    (record,) = recorded(httpserver, sample, "chat_completion.json", call)
    assert (record.provider_id, record.model, record.operation) == ("lm-studio", "qwen/qwen3-8b", operation)
    assert (record.prompt_tokens, record.completion_tokens, record.total_tokens) == (21, 11, 32)
    assert (record.status, record.api_key_hash, record.time_to_first_token_s) == ("ok", "lmstudio-local", None)
    assert 0 < record.duration_s < 60
    assert record.created_at > 1.7e9


def test_a_stream_is_recorded_once_at_its_end(httpserver, sample):
    def call(lm):
        stream = lm.stream("Hi")
        list(stream)
        list(stream)
        stream.close()

    (record,) = recorded(httpserver, sample, "chat_stream_usage.sse", call, "text/event-stream")
    assert (record.operation, record.status, record.total_tokens) == ("stream", "ok", 27)
    assert 0 < record.time_to_first_token_s <= record.duration_s


def test_an_abandoned_stream_is_recorded_as_cancelled():
    usage = MemoryUsage()
    with SimulatedLMStudio(delay_s=0.05) as server, LMStudioProvider(server.url, usage=usage) as lm:
        with lm.stream("Hi") as stream:
            next(stream)
    (record,) = usage.records
    assert (record.status, record.total_tokens, record.model) == ("cancelled", None, "simulated-model")


@pytest.mark.parametrize(
    ("name", "status"), [("chat_stream_cut.sse", "interrupted"), ("chat_stream_error_mid.sse", "error")]
)
def test_a_broken_stream_is_recorded_with_how_it_ended(httpserver, sample, name, status):
    def call(lm):
        with pytest.raises(ProviderError) as caught:
            list(lm.stream("Hi"))
        assert caught.value.partial.text == "Once upon a time"

    (record,) = recorded(httpserver, sample, name, call, "text/event-stream")
    assert record.status == status


def test_an_error_of_the_server_is_recorded_and_a_server_that_is_not_there_is_not(httpserver, sample, closed_port):
    def call(lm):
        with pytest.raises(ContextLengthError):
            lm.complete("Hi")

    (record,) = recorded(httpserver, sample, "errors/context_overflow_keep.json", call)
    assert (record.status, record.model, record.total_tokens) == ("error", "local-model", None)
    usage = MemoryUsage()
    with LMStudioProvider(f"127.0.0.1:{closed_port}", usage=usage, refresh=False) as lm:
        with pytest.raises(ServerUnavailableError):
            lm.complete("Hi")
        with pytest.raises(ServerUnavailableError):
            lm.stream("Hi")
    assert usage.records == ()


@for_each(
    ("name", "error_type"),
    [
        ("chat_stream_cut.sse", "StreamInterruptedError"),
        ("chat_stream_error_mid.sse", "ModelCrashedError"),
        ("chat_stream_usage.sse", None),
    ],
)
def test_a_record_names_the_class_of_the_error_that_ended_the_call(httpserver, sample, name, error_type):
    def call(lm):
        with contextlib.suppress(ProviderError):
            list(lm.stream("Hi"))

    (record,) = recorded(httpserver, sample, name, call, "text/event-stream")
    assert record.error_type == error_type


def test_a_record_of_an_abandoned_stream_has_no_error(simulator):
    usage = MemoryUsage()
    with LMStudioProvider(simulator.url, usage=usage) as lm, lm.stream("Hi") as stream:
        next(stream)
    assert [(each.status, each.error_type) for each in usage.records] == [("cancelled", None)]


def test_a_record_has_the_model_that_was_asked_for_and_the_one_that_answered(httpserver, sample):
    def call(lm):
        with pytest.warns(ModelMismatchWarning):
            lm.complete("Hi", model="mine")

    (record,) = recorded(httpserver, sample, "chat_completion.json", call)
    assert (record.request_model, record.model) == ("mine", "qwen/qwen3-8b")


@pytest.mark.parametrize(
    ("prefix", "host"), [("http://name:secret@127.0.0.1", "127.0.0.1"), ("http://localhost", "localhost")]
)
def test_a_record_has_the_host_and_the_port_of_the_server(simulator, prefix, host):
    usage, port = MemoryUsage(), int(simulator.url.rpartition(":")[2])
    with LMStudioProvider(f"{prefix}:{port}", usage=usage) as lm:
        lm.complete("Hi")
        lm.embed("Hi", "text-embedding-simulated")
    assert [(each.server_address, each.server_port) for each in usage.records] == [(host, port)] * 2
    assert "secret" not in repr(usage.records)


def test_a_recorder_that_fails_is_logged_and_breaks_nothing(httpserver, sample, caplog):
    class Broken:
        def record(self, record):
            raise OSError("disk full")

    httpserver.expect_request(CHAT).respond_with_data(sample("chat_completion.json"))
    with LMStudioProvider(httpserver.url_for(""), usage=Broken(), refresh=False) as lm:
        assert lm.complete("Hi").text
    assert "disk full" in caplog.text


def test_memory_usage_forgets_the_oldest_and_adds_up(httpserver, sample):
    usage = MemoryUsage(max_records=2)
    httpserver.expect_request(CHAT).respond_with_data(sample("chat_completion.json"))
    with LMStudioProvider(httpserver.url_for(""), usage=usage, refresh=False) as lm:
        for _ in range(3):
            lm.complete("Hi")
    assert len(usage.records) == 2
    assert usage.total().total_tokens == 64


# Closing


@for_each(
    "use",
    [
        lambda lm: lm.complete("Hi"),
        lambda lm: lm.stream("Hi"),
        lambda lm: lm.list_models(),
        lambda lm: lm.refresh_models(),
        lambda lm: lm.health_check(),
        lambda lm: lm.wait_until_configured(),
        lambda lm: lm.resolve_model(),
        lambda lm: lm.reset_client(),
    ],
)
@for_each("model", [None, "m"])
def test_using_a_closed_provider_is_an_error_that_says_so(use, model):
    lm = LMStudioProvider(model=model)
    lm.close()
    lm.close()
    with pytest.raises(ProviderClosedError, match="closed"):
        use(lm)
    assert lm.is_configured() is False


def test_the_provider_has_an_id_a_name_and_a_repr():
    with LMStudioProvider("http://ann:secret@host/v1", refresh=False) as lm:
        assert isinstance(lm, Provider)
        assert (lm.id, lm.display_name, lm.base_url) == ("lm-studio", "LM Studio (Local)", "http://host")
        assert repr(lm) == "<LMStudioProvider http://host>"


def test_the_body_is_json_of_ascii(httpserver, provider, sample):
    httpserver.expect_request(CHAT).respond_with_data(sample("chat_completion.json"))
    provider.complete("Grüße 🌍")
    data = httpserver.log[0][0].get_data()
    assert data.isascii()
    assert json.loads(data)["messages"][0]["content"] == "Grüße 🌍"


@pytest.mark.parametrize(
    ("told", "vision"),
    [
        ([{}, {}], None),
        ([{"type": "vlm"}, {}], True),
        ([{"capabilities": {"vision": False}}, {}], None),
        ([{"capabilities": {"vision": False}}, {"type": "embeddings"}], False),
    ],
)
def test_vision_is_reported_if_the_server_reports_it(httpserver, provider, told, vision):
    data = [{"id": f"m{number}", **each} for number, each in enumerate(told)]
    httpserver.expect_request("/v1/models").respond_with_json({"data": data})
    assert provider.capabilities.vision is None
    provider.list_models()
    assert provider.capabilities.vision is vision


@for_each("biases", [{"15": "high"}, {"15": True}, {"15": float("nan")}, [15], "15"])
def test_a_bias_that_is_not_a_number_is_refused(provider, biases):
    with pytest.raises(InvalidRequestError, match="logit_bias"):
        provider.complete("Hi", logit_bias=biases)


@for_each("id_", ["", " ", 7])
def test_an_id_that_is_not_a_name_is_refused(id_):
    with pytest.raises(ConfigurationError, match="id="):
        LMStudioProvider(id=id_)


def test_a_reply_names_its_provider(simulator):
    usage = MemoryUsage()
    with LMStudioProvider(simulator.url) as lm, LMStudioProvider(simulator.url, id="second", usage=usage) as second:
        assert lm.complete("Hi").provider_id == lm.id == "lm-studio"
        assert second.complete("Hi").provider_id == "second"
        assert second.stream("Hi", lambda chunk: None).provider_id == "second"
        with second.stream("Hi") as stream:
            next(stream)
        assert stream.completion.provider_id == "second"
        assert pickle.loads(pickle.dumps(second)).id == "second"
    assert {record.provider_id for record in usage.records} == {"second"}
