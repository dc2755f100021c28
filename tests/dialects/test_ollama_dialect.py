from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from tables import for_each

from lmstudio_provider import (
    AuthenticationError,
    ChatRequest,
    CompletionRequest,
    ContextLengthError,
    EndpointNotFoundError,
    InvalidRequestError,
    Limits,
    Message,
    ModelCrashedError,
    ModelLoadError,
    ModelNotFoundError,
    NoModelLoadedError,
    ProtocolError,
    ProviderClosedError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
    StreamInterruptedError,
    TextRequest,
    Tool,
    ToolCall,
    Usage,
)
from lmstudio_provider._core.types import Call
from lmstudio_provider._dialects.errors import ErrorContext
from lmstudio_provider._dialects.ollama import (
    DIALECT,
    OllamaStream,
    chat_call,
    embed_call,
    embed_reply,
    reply,
    text_call,
)
from lmstudio_provider._dialects.ollama_errors import find_error
from lmstudio_provider._dialects.ollama_models import Inquiry, list_models, ps_reply, show_reply, tags_reply
from lmstudio_provider._http.readers import NDJSONReader

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 8
HI = [Message.user("Hi")]


def asked(*tools):
    return Call("POST", "/api/chat", b"", "asked", tools)


def body_of(messages=HI, stream=False, **fields):
    return json.loads(chat_call(ChatRequest(messages, **fields), "m", stream).body)


def streamed(data):
    stream, reader = OllamaStream(asked(), ErrorContext("asked"), 0.0), NDJSONReader(Limits())
    chunks = [chunk for value in reader.feed(data) if (chunk := stream.feed(value))]
    return chunks + stream.finish(), stream.completion()


# Values that are not a reply


@for_each(
    "value",
    [
        None,
        [],
        {},
        {"message": None},
        {"message": {"content": 7}},
        {"message": {"thinking": ["a"]}},
        {"response": 7},
    ],
)
def test_a_reply_of_the_wrong_shape_is_a_protocol_error(value):
    with pytest.raises(ProtocolError) as caught:
        reply(value, asked(), 1.0)
    assert caught.value.sent
    with pytest.raises(ProtocolError) as caught:
        OllamaStream(asked(), ErrorContext("asked"), 0.0).feed(value)
    assert caught.value.sent


@for_each("value", [{"done": True}, {"message": None, "done": True}, {"model": "m", "done": True}])
def test_a_whole_reply_without_a_message_is_a_protocol_error_and_so_is_a_stream(value):
    with pytest.raises(ProtocolError, match="message") as caught:
        reply(value, asked(), 1.0)
    assert caught.value.sent
    with pytest.raises(ProtocolError, match="message") as caught:
        streamed(json.dumps(value).encode() + b"\n")
    assert caught.value.sent


def test_a_text_in_the_last_line_is_not_lost_for_a_message_that_is_null():
    chunk = OllamaStream(asked(), ErrorContext("asked"), 0.0).feed({"message": None, "response": "Hi", "done": True})
    assert chunk.delta == "Hi"


@for_each("value", [None, [], {}, {"models": 7}, {"models": [None]}, {"models": [{"name": 7}]}])
def test_a_list_of_models_of_the_wrong_shape_is_a_protocol_error(value):
    with pytest.raises(ProtocolError) as caught:
        tags_reply(value, {})
    assert caught.value.sent
    with pytest.raises(ProtocolError) as caught:
        ps_reply(value)
    assert caught.value.sent


@for_each("value", [None, [], "m"])
def test_a_model_description_in_the_wrong_shape_is_a_protocol_error(value):
    with pytest.raises(ProtocolError) as caught:
        show_reply(value, "m")
    assert caught.value.sent


@for_each("value", [None, {}, {"embeddings": [[1.0]]}, {"embeddings": [[1.0], "a"]}, {"embeddings": []}])
def test_vectors_that_are_not_those_of_the_texts_are_a_protocol_error(value):
    with pytest.raises(ProtocolError) as caught:
        embed_reply(value, asked(), 2)
    assert caught.value.sent


@for_each(
    ("name", "status", "kind"),
    [
        ("ollama_busy.json", 503, RateLimitError),
        ("ollama_context_overflow.json", 400, ContextLengthError),
        ("ollama_embed_too_long.json", 400, ContextLengthError),
        ("ollama_model_not_found.json", 404, ModelNotFoundError),
        ("ollama_no_tools.json", 400, InvalidRequestError),
        ("ollama_option_type.json", 500, InvalidRequestError),
        ("ollama_unauthorized.json", 401, AuthenticationError),
    ],
)
def test_an_error_has_its_class_by_meaning(sample, name, status, kind):
    data = sample(f"errors/{name}")
    error = find_error(status, {}, data, json.loads(data), ErrorContext("m"))
    assert type(error) is kind
    assert error.hint


def test_an_overflow_reports_both_numbers(sample):
    data = sample("errors/ollama_context_overflow.json")
    error = find_error(400, {}, data, json.loads(data), ErrorContext("m"))
    assert (error.prompt_tokens, error.context_length) == (9025, 8192)


@for_each(
    ("status", "body", "kind"),
    [(404, b"404 page not found", EndpointNotFoundError), (403, b"", AuthenticationError), (500, b"", ServerError)],
)
def test_an_error_that_is_not_json_gets_its_class_from_its_status(status, body, kind):
    assert type(find_error(status, {}, body, None, ErrorContext("m"))) is kind


def test_an_error_line_ends_the_stream_and_keeps_the_partial_reply(sample):
    stream = OllamaStream(asked(), ErrorContext("asked"), 0.0)
    with pytest.raises(ServerError, match="crashed"):
        for value in NDJSONReader(Limits()).feed(sample("ollama_chat_stream_error.ndjson")):
            stream.feed(value)
    assert stream.completion().text == "Once upon a time"


def test_a_stream_that_ends_before_done_is_interrupted(sample):
    lines = sample("ollama_chat_stream.ndjson").splitlines(keepends=True)
    with pytest.raises(StreamInterruptedError):
        streamed(b"".join(lines[:-1]))


# What cannot be asked


@pytest.mark.parametrize("option", [{"logit_bias": {"1": 1}}, {"draft_model": "small"}])
def test_what_ollama_does_not_take_is_refused(option):
    with pytest.raises(InvalidRequestError, match=next(iter(option))):
        body_of(**option)


@for_each(
    "part",
    [
        {"type": "audio", "data": "x"},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        {"type": "image_url"},
    ],
)
def test_a_part_that_ollama_does_not_take_is_refused(part):
    with pytest.raises(InvalidRequestError):
        body_of([{"role": "user", "content": [part]}])


def test_the_choice_of_no_tool_of_the_request_is_refused():
    with pytest.raises(InvalidRequestError, match="'never'"):
        body_of(tools=[Tool("now")], tool_choice="never")


# Requests


def test_only_options_that_are_set_are_sent_and_sampling_goes_into_options():
    call = chat_call(CompletionRequest("Hi", "Be brief").as_chat(), "m", stream=False)
    assert (call.method, call.path, call.model) == ("POST", "/api/chat", "m")
    assert json.loads(call.body) == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hi"}],
        "stream": False,
        "truncate": False,
        "options": {"num_predict": 4096, "temperature": 0.7},
    }


def test_every_option_goes_under_its_name_there():
    options = {
        "temperature": 0,
        "top_p": 0.5,
        "top_k": 40,
        "min_p": 0.05,
        "repeat_penalty": 1.1,
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "seed": 7,
    }
    body = body_of(max_tokens=5, stop="\n", ttl=60, extra={"think": False, "options": {"num_ctx": 8192}}, **options)
    assert body["options"] == {**options, "num_predict": 5, "stop": ["\n"], "num_ctx": 8192}
    assert (body["keep_alive"], body["think"]) == (60, False)


def test_images_go_as_base64_beside_the_text():
    (message,) = body_of([Message.user("What is it?", images=PNG)])["messages"]
    assert message == {"role": "user", "content": "What is it?", "images": ["iVBORw0KGgowMDAwMDAwMA=="]}


def test_a_data_url_beside_the_text_of_a_dict_is_sent_as_its_base64():
    url = "data:image/jpeg;base64,iVBORw0KGgowMDAwMDAwMA=="  # with another type, it would not look like base64 itself
    (message,) = body_of([{"role": "user", "content": "What is it?", "images": [url]}])["messages"]
    assert message["images"] == ["iVBORw0KGgowMDAwMDAwMA=="]


def test_calls_go_as_objects_and_results_with_the_name_of_their_tool():
    call, broken = ToolCall("7", "now", {"tz": "UTC"}), ToolCall("8", "then", raw_arguments="no json")
    as_dict = {"role": "tool", "content": "then", "tool_call_id": "8"}
    _, one, two, three = body_of([*HI, Message.assistant("", [call, broken]), Message.tool(call, "noon"), as_dict])[
        "messages"
    ]
    assert [each["function"]["arguments"] for each in one["tool_calls"]] == [{"tz": "UTC"}, {"arguments": "no json"}]
    assert two == {"role": "tool", "content": "noon", "tool_name": "now", "tool_call_id": "7"}
    assert three["tool_name"] == "then"


@for_each(("choice", "offered"), [(None, 2), ("auto", 2), ("required", 2), ("none", 0), ("then", 1)], ids=str)
def test_the_tool_choice_decides_which_tools_are_offered(choice, offered):
    body = body_of(tools=[Tool("now"), Tool("then")], tool_choice=choice)
    assert len(body.get("tools", [])) == offered
    assert "tool_choice" not in body


def test_a_format_is_only_the_schema():
    @dataclass
    class City:
        name: str

    assert body_of(response_format=City)["format"]["required"] == ["name"]


def test_a_text_goes_on_without_a_template():
    call = text_call(TextRequest("Once", stop=["."]), "m", stream=True)
    assert call.path == "/api/generate"
    body = json.loads(call.body)
    assert (body["prompt"], body["raw"], body["stream"], body["options"]["stop"]) == ("Once", True, True, ["."])


def test_texts_are_embedded_together():
    call = embed_call(["a", "ü"], "m", truncate=False)
    assert (call.path, json.loads(call.body)) == ("/api/embed", {"model": "m", "input": ["a", "ü"], "truncate": False})
    assert call.model_kind == "embedding"


def test_vectors_without_the_name_of_a_model_have_the_name_that_was_asked():
    assert embed_reply({"embeddings": [[1.0]]}, asked(), 1).model == "asked"


@for_each(
    ("path", "may_load"), [("/api/chat", True), ("/api/generate", True), ("/api/embed", True), ("/api/tags", False)]
)
def test_only_of_a_call_that_loads_a_model_it_is_said_that_the_load_stops(path, may_load):
    assert ("stops loading" in DIALECT.load_hint(Call("POST", path, b"", "m"))) == may_load


# Replies


def test_a_plain_reply_with_its_seconds(sample):
    completion = reply(json.loads(sample("ollama_chat.json")), asked(), 9.0)
    assert (completion.text, completion.model, completion.requested_model) == ("Grüße!", "qwen3:8b", "asked")
    assert (completion.finish_reason, completion.usage) == ("stop", Usage(26, 3, 29))
    stats = completion.stats
    assert stats.tokens_per_second == pytest.approx(3 / 0.062021)
    assert (stats.model_load_time_s, stats.generation_time_s) == (1.334875416, 0.062021)


def test_counts_that_are_left_out_are_not_known():
    completion = reply({"message": {"content": "Hi"}, "done": True}, asked(), 2.0)
    assert (completion.usage, completion.finish_reason, completion.stats.tokens_per_second) == (None, "stop", None)


@for_each(
    ("counts", "usage"),
    [
        ({"prompt_eval_count": 0, "eval_count": 7}, Usage(None, 7)),
        ({"prompt_eval_count": 9, "eval_count": 0}, Usage(9, 0, 9)),
        ({"prompt_eval_count": 9, "eval_count": 7, "prompt_eval_cached_count": 8}, Usage(9, 7, 16, None, 8)),
        ({"prompt_eval_count": 9, "eval_count": 7, "prompt_eval_cached_count": 0}, Usage(9, 7, 16, None, 0)),
        ({"prompt_eval_count": 0}, None),
    ],
)
@for_each("content", [{"message": {"content": "Hi"}}, {"response": "Hi"}])
def test_a_prompt_of_zero_tokens_is_unknown_and_cached_tokens_are_reported(counts, usage, content):
    line = {**content, "done": True, **counts}
    chunks, completion = streamed(json.dumps(line).encode() + b"\n")
    assert chunks[-1].usage == completion.usage == reply(line, asked(), 1.0).usage == usage


def test_texts_of_no_tokens_are_not_counted():
    assert embed_reply({"embeddings": [[1.0]], "prompt_eval_count": 0}, asked(), 1).usage is None


@pytest.mark.parametrize("reason", ["length", "load"])
def test_a_call_of_a_reply_that_was_cut_off_is_not_lost(reason):
    call = {"function": {"name": "purge", "arguments": {}}}
    line = {"message": {"content": "", "tool_calls": [call]}, "done": True, "done_reason": reason}
    for completion in (reply(line, asked(), 1.0), streamed(json.dumps(line).encode() + b"\n")[1]):
        assert ([each.name for each in completion.tool_calls], completion.finish_reason) == (["purge"], reason)


def test_the_name_of_a_call_is_that_of_the_offered_tool():
    call = {"function": {"name": "functions.weather<|channel|>commentary", "arguments": {}}}
    completion = reply({"message": {"tool_calls": [call]}, "done": True}, asked("weather"), 1.0)
    assert [each.name for each in completion.tool_calls] == ["weather"]


def test_tool_calls_come_as_objects_and_end_the_reply_in_the_words_of_all(sample):
    completion = reply(json.loads(sample("ollama_chat_tools.json")), asked(), 1.0)
    assert [(call.id, call.name, call.arguments) for call in completion.tool_calls] == [
        ("call_k3v9x2pq", "get_weather", {"city": "Oslo"})
    ]
    assert completion.finish_reason == "tool_calls"


def test_thoughts_inside_the_text_are_parted_from_it():
    completion = reply({"message": {"content": "<think>I see.</think>\nYes."}, "done": True}, asked(), 1.0)
    assert (completion.text, completion.reasoning) == ("Yes.", "I see.")


def test_a_stream_gives_its_text(sample):
    chunks, completion = streamed(sample("ollama_chat_stream.ndjson"))
    assert "".join(chunk.delta for chunk in chunks) == completion.text
    assert completion.text
    assert chunks[-1].done
    assert chunks[-1].usage == completion.usage == Usage(26, 3, 29)


def test_reasoning_is_streamed_beside_the_answer(sample):
    chunks, completion = streamed(sample("ollama_chat_stream_thinking.ndjson"))
    assert "".join(chunk.reasoning for chunk in chunks) == completion.reasoning == "17×20 + 51"
    assert completion.text == "391"


def test_calls_on_several_lines_stay_apart(sample):
    chunks, completion = streamed(sample("ollama_chat_stream_tools.ndjson"))
    assert [(call.id, call.arguments) for call in completion.tool_calls] == [
        ("call_k3v9x2pq", {"city": "Oslo"}),
        ("call_m8t4w1zc", {"city": "Bergen"}),
    ]
    assert (chunks[-1].finish_reason, chunks[-1].tool_calls) == ("tool_calls", completion.tool_calls)


def test_calls_without_ids_stay_apart():
    call = {"function": {"name": "f", "arguments": {}}}
    lines = [{"message": {"content": "", "tool_calls": [call]}}] * 2 + [{"message": {"content": ""}, "done": True}]
    _, completion = streamed(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    assert len({call.id for call in completion.tool_calls}) == 2


def test_calls_of_one_name_without_arguments_stay_apart():
    line = {"message": {"tool_calls": [{"function": {"name": "now"}}]}}
    _, completion = streamed(b"".join(json.dumps(each).encode() + b"\n" for each in (line, line, {"done": True})))
    assert [call.name for call in completion.tool_calls] == ["now", "now"]


def test_a_text_that_goes_on_is_streamed(sample):
    chunks, completion = streamed(sample("ollama_generate_stream.ndjson"))
    assert [chunk.delta for chunk in chunks] == ["Four", ".", ""]
    assert (completion.text, completion.usage) == ("Four.", Usage(26, 3, 29))


def test_vectors_come_in_the_order_of_the_texts(sample):
    embeddings = embed_reply(json.loads(sample("ollama_embed.json")), asked(), 2)
    assert embeddings.vectors == [[0.0101, -0.0017, 0.0501], [-0.0098, 0.0602, 0.0255]]
    assert (embeddings.model, embeddings.usage) == ("nomic-embed-text", Usage(8, total_tokens=8))


# Models


def replies(calls, **values):
    """Ask a server that has these replies, by the last part of their paths; a class of errors is raised."""

    def ask(call, read=lambda value: value):
        name = call.path.rpartition("/")[2]
        calls.append(name)
        value = values[name]
        if isinstance(value, type):
            raise value("not now")
        return read(value)

    return ask


def test_models_have_the_fields_of_both_lists(sample):
    tags, ps = (json.loads(sample(f"ollama_{name}.json")) for name in ("tags", "ps"))
    chat, cloud, embedding = list_models(replies([], tags=tags, ps=ps, show={}), {}, False)
    assert (chat.id, chat.type, chat.loaded, chat.context_length) == ("qwen3:8b", "llm", True, 4096)
    assert (chat.quantization, chat.size_bytes, chat.vision, chat.tool_use) == ("Q4_K_M", 5225388164, False, True)
    (instance,) = chat.instances
    assert (instance.id, instance.context_length, instance.config) == ("qwen3:8b", 4096, ps["models"][0])
    assert (chat.name, chat.raw, chat.max_context_length) == ("qwen3:8b", tags["models"][0], 40960)
    assert (cloud.loaded, cloud.context_length, cloud.instances, cloud.remote) == (False, None, (), True)
    assert (embedding.id, embedding.type) == ("nomic-embed-text:latest", "embedding")


def test_a_brief_list_is_one_request_and_reuses_details_from_before(sample):
    calls, details = [], {}
    tags = json.loads(sample("ollama_tags.json"))
    ask = replies(calls, tags=tags, ps={"models": None}, show={"capabilities": ["embedding"]})
    assert [model.type for model in list_models(ask, details, True)] == ["llm", "llm", "embedding"]
    assert calls == ["tags"]
    list_models(ask, details, False)
    assert calls == ["tags", "tags", "ps", "show", "show", "show"]
    assert [model.type for model in list_models(ask, details, True)] == ["embedding"] * 3
    list_models(ask, details, False)
    assert calls[6:] == ["tags", "tags", "ps"]


def test_another_version_of_a_model_is_asked_about_anew():
    calls, details = [], {}
    for digest, modified in (("a", 1), ("a", 2), ("b", 2), (None, 3), (None, 3), (None, 4)):
        entry = {"name": "m", "digest": digest, "modified_at": modified}
        list_models(replies(calls, tags={"models": [entry]}, ps={}, show={}), details, False)
    assert calls.count("show") == 4


def test_two_names_of_one_model_are_asked_about_once():
    calls = []
    entries = [{"name": name, "digest": "a"} for name in ("m", "n")]
    shown = {"capabilities": ["embedding"]}
    models = list_models(replies(calls, tags={"models": entries}, ps={}, show=shown), {}, False)
    assert [(model.id, model.type) for model in models] == [("m", "embedding"), ("n", "embedding")]
    assert calls.count("show") == 1


def test_the_description_of_a_model_overrides_the_list(sample):
    shown = json.loads(sample("ollama_show.json"))
    entry = {"name": "qwen3:8b", "capabilities": ["embedding", "vision"]}
    (model,) = list_models(replies([], tags={"models": [entry]}, ps={}, show=shown), {}, False)
    assert (model.type, model.vision, model.tool_use, model.raw) == ("llm", False, True, entry)
    architecture = shown["model_info"]["general.architecture"]
    assert model.max_context_length == shown["model_info"][f"{architecture}.context_length"]


@for_each(
    ("thinking", "options", "default"),
    [
        ({"values": [False, True, "low", "max"], "default": False}, ("off", "on", "low", "max"), "off"),
        ({"values": ["low", "high"], "default": "low"}, ("low", "high"), "low"),
        ({"values": [True], "default": True}, ("on",), "on"),
        ({"values": None, "default": None}, (), None),
        ({"values": [1, 0, None, ["low"], ""], "default": 7}, (), None),
        ({"values": "low"}, (), None),
        ([], (), None),
        (None, (), None),
    ],
)
def test_how_a_model_can_think_is_in_the_words_of_all_servers(thinking, options, default):
    model = show_reply({"thinking": thinking}, "m")
    assert (model.reasoning_options, model.reasoning_default) == (options, default)


@for_each(
    ("info", "longest"),
    [
        ({"general.architecture": "bert", "bert.context_length": 512, "clip.context_length": 9}, 512),
        ({"bert.context_length": 512}, None),
        ({"general.architecture": ["bert"], "bert.context_length": 512}, None),
        ({"general.architecture": "bert", "bert.context_length": "512"}, None),
        ({"general.architecture": "bert", "bert.context_length": None}, None),
        (None, None),
        ([], None),
    ],
)
def test_the_longest_context_is_that_of_the_architecture(info, longest):
    assert show_reply({"model_info": info}, "m").max_context_length == longest


def test_models_are_listed_if_the_requests_for_details_fail():
    (model,) = list_models(replies([], tags={"models": [{"name": "m"}]}, ps=ServerError, show=ServerError), {}, False)
    assert (model.id, model.type, model.vision, model.loaded) == ("m", "llm", None, None)


@for_each(
    ("failure", "times"),
    [
        (EndpointNotFoundError, 1),
        (InvalidRequestError, 1),
        (ServerError, 2),
        (RateLimitError, 2),
        (RequestTimeoutError, 2),
    ],
)
def test_only_a_failure_that_may_pass_is_asked_about_again(failure, times):
    calls, details = [], {}
    ask = replies(calls, tags={"models": [{"name": "m"}]}, ps={"models": []}, show=failure)
    for _ in range(2):
        list_models(ask, details, False)
    assert calls.count("show") == times


@pytest.mark.parametrize("reply", ["tags_reply", "ps_reply"])
def test_a_list_that_is_null_is_empty(reply):
    value = {"models": None}
    assert (tags_reply(value, {}) if reply == "tags_reply" else ps_reply(value)) == []


THINKS = [("off", False), ("none", False), ("on", True), ("low", "low"), ("high", "high"), ("max", "max")]


@for_each(("reasoning", "think"), THINKS)
@for_each("name", ["reasoning", "reasoning_effort"])
def test_reasoning_is_called_think(name, reasoning, think):
    body = body_of(**{name: reasoning})
    assert (type(body["think"]), body["think"]) == (type(think), think)
    assert name not in body


def test_an_extra_think_is_sent_instead_of_reasoning():
    assert body_of(reasoning="high", extra={"think": False})["think"] is False


@for_each(("effort", "think"), THINKS)
def test_the_effort_of_reasoning_has_another_name(effort, think):
    body = body_of(extra={"reasoning_effort": effort})
    assert (type(body["think"]), body["think"]) == (type(think), think)
    assert "reasoning_effort" not in body


@for_each(
    ("status", "error", "kind"),
    [
        (200, "Unexpected endpoint or method. (POST /api/chat)", EndpointNotFoundError),
        (404, "Unexpected endpoint or method. (POST /api/chat)", EndpointNotFoundError),
        (401, {"type": "invalid_request", "code": "invalid_api_key", "message": "none"}, AuthenticationError),
        (400, "No models loaded. Please load a model in the developer page or use the 'lms load' command.", None),
        (400, 'Invalid model identifier "m". Please specify a valid downloaded model (e.g., x).', ModelNotFoundError),
    ],
)
def test_lm_studio_is_recognised_by_its_error_texts(status, error, kind):
    body = {"error": error}
    found = find_error(status, {}, json.dumps(body).encode(), body, ErrorContext("m"))
    assert type(found) is (kind or NoModelLoadedError)
    assert "it answers as LM Studio does" in found.message
    assert "LMStudioProvider" in found.hint


@for_each("path", ["/home/me/models/m", "C:\\models\\does not support\\m", "/models/not found/unauthorized"])
@for_each(
    ("text", "kind"),
    [
        ("llama runner process has terminated: error:failed to create context with model '{}'", ModelCrashedError),
        ("llama runner process has terminated: error loading model {}", ModelCrashedError),
        ("llama-server process has terminated: signal: killed", ModelCrashedError),
        ("an error was encountered while running the model: unexpected EOF", ModelCrashedError),
        ("model runner has unexpectedly stopped, this may be due to resource limitations", ModelCrashedError),
        ("cudaMalloc failed: out of memory", ModelCrashedError),
        ("model requires more system memory (5.6 GiB) than is available (3.1 GiB)", ModelLoadError),
        ("unable to load model: {}", ModelLoadError),
        ("failed to load model '{}'", ModelLoadError),
        ("time: missing unit in duration '{}'", InvalidRequestError),
        ("time: unknown unit 'x' in duration '{}'", InvalidRequestError),
        ("time: invalid duration '{}'", InvalidRequestError),
        ("unsupported type: float64", InvalidRequestError),
        ("pull model manifest: file does not exist", ModelNotFoundError),
        ("digest mismatch: '{}'", InvalidRequestError),
        ("template error: '{}'", InvalidRequestError),
        ("invalid file magic", InvalidRequestError),
        ("model '{}' is broken", ServerError),
        ('open "{}": permission denied', ServerError),
    ],
)
def test_names_in_the_text_of_a_failure_do_not_change_its_class(text, kind, path):
    body = {"error": text.format(path)}
    assert type(find_error(500, {}, b"", body, ErrorContext("m"))) is kind


@for_each("status", [200, 404])
@for_each(
    "text",
    [
        "model 'm' not found",
        'model "m" not found, try pulling it first',
        "model 'does not support' not found",
        "pull model manifest: file does not exist",
    ],
)
def test_a_model_that_is_missing_is(text, status):
    assert type(find_error(status, {}, b"", {"error": text}, ErrorContext("m"))) is ModelNotFoundError


@for_each("status", [200, 500, 503])
def test_a_server_that_still_loads_the_model_is_to_be_asked_again(status):
    error = find_error(status, {}, b"", {"error": "llm server loading model"}, ErrorContext("m"))
    assert type(error) is ServerError
    assert "Ask again shortly" in error.hint


def test_a_template_error_mentions_the_tools_if_the_request_had_any():
    body = {"error": 'template: :3:14: executing "" at <.Tools>: can\'t evaluate field Properties'}
    error = find_error(500, {}, b"", body, ErrorContext("m", tools=True))
    assert type(error) is InvalidRequestError
    assert "tools" in error.hint


# Odd input


HUGE = int("9" * 400)


@for_each("name", ["eval_duration", "prompt_eval_duration", "load_duration", "eval_count"])
@for_each("figure", [HUGE, 1e999, float("nan"), -1, True, "1", [1]])
def test_figures_that_cannot_be_harm_no_reply(name, figure):
    value = {"message": {"content": "Hi"}, "done": True, "eval_count": 3, name: figure}
    assert reply(value, asked(), 1.0).text == "Hi"
    stream = OllamaStream(asked(), ErrorContext("asked"), 0.0)
    stream.feed(value)
    assert stream.completion().text == "Hi"


@for_each("running", [[{"name": ["a"]}], [{}], [None], {}, None, 7])
def test_running_models_of_an_odd_shape_harm_no_list(running):
    tags = {"models": [{"name": "m", "capabilities": []}]}
    (model,) = list_models(replies([], tags=tags, ps={"models": running}, show={}), {}, False)
    assert (model.id, model.instances) == ("m", ())


@pytest.mark.parametrize("failure", [RequestTimeoutError, ServerUnavailableError])
def test_a_server_that_falls_silent_is_asked_no_more_and_its_models_are_listed(failure):
    calls = []
    tags = {"models": [{"name": "first"}, {"name": "nomic-embed-text"}, {"name": "third"}]}
    models = list_models(replies(calls, tags=tags, ps={"models": []}, show=failure), {}, False)
    assert [(model.id, model.can_chat, model.vision, model.loaded) for model in models] == [
        ("first", True, None, False),
        ("nomic-embed-text", False, None, False),
        ("third", True, None, False),
    ]
    assert calls == ["tags", "ps", "show"]


def test_a_provider_that_is_closed_meanwhile_lists_nothing():
    for part in ("ps", "show"):
        values = {"ps": {"models": []}, "show": {}, part: ProviderClosedError}
        with pytest.raises(ProviderClosedError):
            list_models(replies([], tags={"models": [{"name": "m"}]}, **values), {}, False)


def test_a_licence_is_not_kept():
    details = {}
    model = tags_reply({"models": [{"name": "m", "digest": "a"}]}, details)[0]
    Inquiry(replies([], show={"license": "x" * 10_000}), details).confirm(model)
    assert details["a"].raw == {}


@for_each("tool", [{"function": "f"}, {"function": [1]}, {"function": {}}, {}])
def test_a_tool_without_a_function_is_refused(tool):
    with pytest.raises(InvalidRequestError, match=r"tools\[0\]"):
        body_of(tools=[tool])


def test_an_overflow_with_numbers_without_end_is_one_all_the_same():
    body = {"error": f"request ({'9' * 5000} tokens) exceeds the available context size (9 tokens)"}
    assert type(find_error(400, {}, b"", body, ErrorContext("m"))) is ContextLengthError


def test_other_fields_of_a_dict_are_sent_too():
    message = {"role": "user", "content": "See", "images": ["aGk="], "thinking": "t"}
    assert body_of([message])["messages"] == [message]


def test_a_part_whose_text_is_none_is_refused():
    with pytest.raises(InvalidRequestError, match="NoneType"):
        body_of([{"role": "user", "content": [{"type": "text", "text": None}]}])


def test_parts_from_a_generator_are_sent():
    parts = ({"type": "text", "text": each} for each in ("a", "b"))
    assert body_of([Message("user", parts)])["messages"] == [{"role": "user", "content": "ab"}]


def test_the_end_of_a_stream_needs_no_message():
    lines = [{"message": {"content": "Hi"}}, {"done": True, "done_reason": "stop"}]
    _, completion = streamed(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    assert (completion.text, completion.finish_reason) == ("Hi", "stop")


def test_calls_that_are_none_are_ignored():
    _, completion = streamed(
        json.dumps({"message": {"content": "Hi", "tool_calls": [None]}, "done": True}).encode() + b"\n"
    )
    assert (completion.tool_calls, completion.finish_reason) == ((), "stop")


def test_the_usage_of_a_reply_with_a_wrong_vector_is_kept():
    with pytest.raises(ProtocolError) as caught:
        embed_reply({"embeddings": [[True]], "prompt_eval_count": 7}, asked(), 1)
    assert caught.value.partial.usage.prompt_tokens == 7


@for_each("number", [True, float("nan"), float("inf"), None, "1"])
def test_a_vector_with_a_value_that_is_not_a_finite_number_is_a_protocol_error(number):
    with pytest.raises(ProtocolError, match="finite") as caught:
        embed_reply({"embeddings": [[1.0, number]]}, asked(), 1)
    assert caught.value.sent


def test_vectors_of_several_lengths_are_none():
    with pytest.raises(ProtocolError) as caught:
        embed_reply({"embeddings": [[1.0, 2.0], [3.0]]}, asked(), 2)
    assert caught.value.sent


def test_a_server_that_forbids_does_not_want_a_token():
    error = find_error(403, {}, b"", None, ErrorContext("m"))
    assert "forbids" in error.message
    assert "token" not in error.message


def test_a_result_without_an_id_has_that_of_its_call():
    _, result = body_of([Message.assistant("", [ToolCall("7", "now")]), {"role": "tool", "content": "noon"}])[
        "messages"
    ]
    assert (result["tool_name"], result["tool_call_id"]) == ("now", "7")


def test_a_result_of_an_unknown_call_has_no_name_of_a_tool():
    assert body_of([Message.tool("unknown", "1")])["messages"] == [
        {"role": "tool", "content": "1", "tool_call_id": "unknown"}
    ]


# Lines that say nothing but a text, which are read in a shorter way


def begun():
    """Return a stream whose lines may go the shorter way: it has had text and a model."""
    stream = OllamaStream(asked(), ErrorContext("asked"), 0.0)
    stream.feed({"model": "m", "message": {"role": "assistant", "content": "Hi"}, "done": False})
    return stream


def line_of(message=(), **beside):
    return {"message": {"role": "assistant", "content": "!", **dict(message)}, "done": False, **beside}


@for_each(
    "line",
    [
        line_of(error="out of memory"),
        line_of(error={"message": "out of memory"}),
        line_of(object="error"),
        line_of({"content": 7}),
        line_of({"content": ["a"]}),
        line_of({"thinking": 7}),
        {"message": []},
        {"message": "text"},
        {"message": ["content"]},
        {"message": None},
        ["message"],
        "message",
        7,
    ],
)
def test_text_does_not_hide_an_error_in_its_line(line):
    with pytest.raises((ServerError, ProtocolError)):
        begun().feed(line)


@for_each("more", [{}, {"thinking": ""}, {"thinking": None}, {"tool_calls": []}, {"images": None}])
def test_a_piece_is_its_text_whatever_says_nothing_beside_it(more):
    stream = begun()
    assert stream.feed(line_of(more, model="another", error=None)) == ("!", False, "", (), None, None)
    assert stream.completion().text == "Hi!"
    assert stream.completion().model == "m"


def test_all_that_comes_beside_a_text_is_kept():
    stream = begun()
    call = {"function": {"name": "f", "arguments": {}}}
    assert stream.feed(line_of({"thinking": "b"})).reasoning == "b"
    assert stream.feed({"message": {"content": "c", "tool_calls": [call]}}).delta == "c"
    assert stream.feed({"message": {"thinking": "d", "content": "e"}}).reasoning == "d"
    assert stream.feed(line_of(done=True, done_reason="length", eval_count=3)).delta == "!"
    assert stream.done
    whole = stream.completion()
    assert (whole.text, whole.reasoning, whole.finish_reason) == ("Hi!ce!", "bd", "length")
    assert (whole.tool_calls[0].name, whole.usage.completion_tokens) == ("f", 3)


def test_a_model_that_comes_late_is_kept():
    stream = OllamaStream(asked(), ErrorContext("asked"), 0.0)
    stream.feed(line_of())
    stream.feed(line_of(model="late"))
    assert stream.completion().model == "late"


def test_the_thoughts_in_a_text_are_separated_in_the_shorter_way_too():
    stream = OllamaStream(asked(), ErrorContext("asked"), 0.0)
    for text in ("<th", "ink>", "Hm", "</thi", "nk>", "Hi"):
        stream.feed(line_of({"content": text}, model="m"))
    assert (stream.completion().reasoning, stream.completion().text) == ("Hm", "Hi")
