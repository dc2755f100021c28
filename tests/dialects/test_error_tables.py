import email.utils
import json
import re
import time

import pytest
from tables import for_each

from lmstudio_provider import (
    AuthenticationError,
    ContextLengthError,
    EndpointNotFoundError,
    InvalidRequestError,
    JobNotFoundError,
    ModelCrashedError,
    ModelLoadError,
    ModelNotFoundError,
    ModelUnloadedError,
    NoModelLoadedError,
    ProtocolError,
    RateLimitError,
    ResponseNotFoundError,
    ServerError,
    StatusError,
)
from lmstudio_provider._dialects import lmstudio_errors, ollama_errors
from lmstudio_provider._dialects.errors import PASSWORD, ErrorContext
from lmstudio_provider._dialects.json_text import preview
from lmstudio_provider._dialects.lmstudio_errors import find_error
from lmstudio_provider._http.exchange import retry_after

TOKEN = "sk-lm-AbCd1234:0123456789abcdefghij"
ASKED = ErrorContext("qwen3-99b", "the argument api_token", (TOKEN,))


def error_of(value, status=400, asked=ASKED, headers=()):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    try:
        parsed = json.loads(body)
    except ValueError:
        parsed = None
    return find_error(status, dict(headers), body, parsed, asked)


@for_each("status", [200, 400, 404, 500])
@for_each(
    ("name", "kind", "says"),
    [
        ("unexpected_endpoint", EndpointNotFoundError, "does not know this endpoint"),
        ("no_models_loaded", NoModelLoadedError, "lms load"),
        ("model_not_found", ModelNotFoundError, "'qwen3-99b'.*qwen/qwen3-8b.*lms get"),
        ("model_load_failed", ModelLoadError, "could not load the model 'qwen3-99b'.*insufficient system resources"),
        ("api_key_missing", AuthenticationError, "api_token.*LM_API_TOKEN"),
        ("api_key_malformed", AuthenticationError, "api_token.*LM_API_TOKEN"),
        ("context_overflow_keep", ContextLengthError, "9214 tokens.*4096"),
        ("context_overflow_nkeep", ContextLengthError, "13055 tokens.*4096"),
        ("context_overflow_engine", ContextLengthError, "9025 tokens.*8192"),
        ("context_size_exceeded", ContextLengthError, "Context size has been exceeded"),
        ("model_crashed", ModelCrashedError, "crashed"),
        ("model_unloaded", ModelUnloadedError, "unloaded"),
        ("grammar", InvalidRequestError, "grammar"),
        ("no_models_loaded_responses", NoModelLoadedError, "lms load"),
        ("v1_engine", ContextLengthError, "Context size has been exceeded"),
        ("v1_model_load_failed", ModelLoadError, "could not load the model 'qwen3-99b'.*insufficient system resources"),
        ("v1_unrecognized_key", InvalidRequestError, "does not take a field.*'seed'"),
        ("anthropic_api_error", InvalidRequestError, "grammar"),
    ],
)
def test_an_error_has_its_class_by_meaning_whatever_the_status(sample, name, kind, says, status):
    error = error_of(sample(f"errors/{name}.json"), status)
    assert type(error) is kind
    assert error.status == status
    assert error.sent
    assert re.search(says, str(error))


@for_each("name", ["response_format", "tool_choice", "message_content", "image_url"])
def test_a_refused_request_is_reported_in_the_words_of_the_server(sample, name):
    body = sample(f"errors/{name}.json")
    error = error_of(body)
    assert type(error) is InvalidRequestError
    assert repr(json.loads(body)["error"])[1:-1] in str(error)


def test_the_numbers_of_an_overflow_are_data():
    error = error_of({"error": "Input length 9000 exceeds context length 2048"})
    assert (error.prompt_tokens, error.context_length) == (9000, 2048)
    error = error_of({"error": {"message": "no numbers", "code": "context_length_exceeded"}})
    assert (error.prompt_tokens, error.context_length) == (None, None)


@for_each(
    ("status", "kind"),
    [
        (400, InvalidRequestError),
        (401, AuthenticationError),
        (403, AuthenticationError),
        (404, EndpointNotFoundError),
        (405, EndpointNotFoundError),
        (408, StatusError),
        (409, StatusError),
        (413, InvalidRequestError),
        (418, StatusError),
        (422, InvalidRequestError),
        (429, RateLimitError),
        (500, ServerError),
        (502, ServerError),
        (503, ServerError),
        (504, ServerError),
    ],
)
@for_each("body", [b'{"error": {"message": "hm"}}', b'{"error": "hm"}', b"<html>hm</html>", b"", b"[]"])
def test_without_a_meaning_the_status_decides(status, kind, body):
    error = error_of(body, status)
    assert type(error) is kind
    assert error.status == status
    assert error.body == body.decode()


def test_an_error_of_unknown_meaning_under_200_is_never_a_success():
    assert type(error_of({"error": "hm"}, 200)) is ServerError
    assert type(error_of({"error": {"message": "hm", "type": "invalid_request_error"}}, 200)) is InvalidRequestError


@for_each("error", [None, "", {}, False])
def test_a_falsy_error_under_200_is_none(error):
    assert error_of({"error": error}, 200) is None


@for_each("error", [["a"], 7, {"a": 1}, True])
def test_an_error_of_any_other_shape_is_one_still(error):
    assert type(error_of({"error": error}, 200)) is ServerError


@for_each("wrapped", ["Engine protocol {", 'Engine protocol {"error": 7}', "Engine protocol [] {}"])
def test_text_that_only_looks_like_an_engine_error_is_reported_unchanged(wrapped):
    assert wrapped[:15] in str(error_of({"error": wrapped}))


def test_text_that_contains_an_error_of_an_engine_is_shown_whole():
    assert "Failed" in error_of({"error": 'Failed: {"error": {"message": "no"}}'}).message


def test_a_reply_is_not_an_error_for_the_words_in_it():
    assert error_of({"said": "Ollama is running"}, 200) is None


def test_a_redirect_is_a_protocol_error():
    error = error_of(b"", 307)
    assert type(error) is ProtocolError
    assert error.sent
    assert "307" in str(error)


def test_names_of_models_do_not_change_the_meaning():
    text = 'Invalid model identifier "x". Please specify (e.g., jinja-7b, context-length-crash).'
    assert type(error_of({"error": text})) is ModelNotFoundError


def test_code_param_and_the_body_are_data(sample):
    error = error_of(sample("errors/model_not_found.json"))
    assert (error.code, error.param, error.model) == ("model_not_found", "model", "qwen3-99b")
    assert "Invalid model identifier" in error.body


def test_a_token_is_nowhere_whole_or_in_part(sample):
    for body in (
        json.dumps({"error": f"Malformed LM Studio API token provided: {TOKEN[:10]}**************. Ensure"}).encode(),
        json.dumps({"error": f"what is {TOKEN}?"}).encode(),
        f"<html>{TOKEN}</html>".encode(),
    ):
        error = error_of(body, 400)
        assert TOKEN[:10] not in str(error) + repr(error) + repr(vars(error))


def test_an_error_about_a_missing_token_says_how_to_get_one():
    error = error_of({"error": {"code": "invalid_api_key", "message": "no"}}, 401, ErrorContext("m"))
    assert "none was given" in str(error)
    assert "Developer > Server Settings" in error.hint


def test_the_detail_of_fastapi_is_shown():
    assert "Not Found" in str(error_of({"detail": "Not Found"}, 404))
    assert error_of({"detail": "no"}, 418).hint == ""


def test_long_texts_are_cut():
    assert len(str(error_of({"error": "x" * 100_000}))) < 1000


@for_each(("length", "shown"), [(0, "it is empty"), (200, f"'{'x' * 200}'"), (201, f"'{'x' * 200}…'")])
def test_the_beginning_of_a_text_is_shown_for_all_of_it(length, shown):
    assert preview("x" * length) == shown


@for_each(
    ("value", "seconds"),
    [
        ("5", 5.0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("²", None),
        ("9" * 20, None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_read_as_seconds_or_date(value, seconds):
    assert retry_after({"Retry-After": value}) == seconds


def test_a_date_in_retry_after_is_counted_from_now():
    assert 0 < retry_after({"Retry-After": email.utils.formatdate(time.time() + 1000, usegmt=True)}) <= 1000


# Texts that were seen in bug reports (wire facts: quirks seen in the wild).
QUIRKS = {
    "Unexpected endpoint or method. (POST /chat/completions)": EndpointNotFoundError,
    "No models loaded. Please load a model in the developer page or use the 'lms load' command.": NoModelLoadedError,
    'Invalid model identifier "x". Please specify a valid downloaded model (e.g., context size, jinja).': (
        ModelNotFoundError
    ),
    'Failed to load model "x". Error: the context length is too large': ModelLoadError,
    "Error loading model.": ModelLoadError,
    "Model loading aborted due to insufficient system resources. Overloading the system will freeze.": ModelLoadError,
    "Model loading was stopped due to insufficient system resources.": ModelLoadError,
    "Engine protocol runtime llama-server for x exited before becoming healthy. exitCode=1, signal=null": (
        ModelCrashedError
    ),
    "The model has crashed without additional information. (Exit code: 18446744072635812000)": ModelCrashedError,
    "Channel Error": ModelCrashedError,
    "Error in iterating prediction stream: StopIteration: x": ModelCrashedError,
    "Model unloaded.": ModelUnloadedError,
    "Model is unloaded.": ModelUnloadedError,
    "Model reloaded.": ModelUnloadedError,
    "Context size has been exceeded.": ContextLengthError,
    "Trying to keep the first 9 tokens when context overflows. However, the model is loaded with context length of "
    "only 4 tokens, which is not enough.": ContextLengthError,
    "The number of tokens to keep from the initial prompt is greater than the context length.": ContextLengthError,
    "Input length 9 exceeds context length 4": ContextLengthError,
    'Error rendering prompt with jinja template: "Conversation roles must alternate"': InvalidRequestError,
    "Failed to initialize samplers: failed to parse grammar": InvalidRequestError,
    "Unrecognized key(s) in object: 'seed'": InvalidRequestError,
    "Llama model must be created with embedding=True to call this method": InvalidRequestError,
}


@for_each("shape", ["text", "object", "nulls", "anthropic", "engine"])
@for_each("text", QUIRKS)
def test_a_text_has_its_meaning_in_every_shape(text, shape):
    nulls = {"message": text, "type": "invalid_request_error", "param": None, "code": None}
    body = {
        "text": {"error": text},
        "object": {"error": {"message": text, "type": "unknown"}},
        "nulls": {"error": nulls},
        "anthropic": {"type": "error", "error": {"type": "api_error", "message": text}},
        "engine": {"error": "Engine protocol predict request returned 400: " + json.dumps({"error": nulls})},
    }[shape]
    for status in (200, 400, 404, 500):
        assert type(error_of(body, status)) is QUIRKS[text]


@for_each(
    ("code", "kind"),
    [
        ("job_not_found", JobNotFoundError),
        ("previous_response_not_found", ResponseNotFoundError),
        ("model_not_found", ModelNotFoundError),
        ("model_load_failed", ModelLoadError),
        ("mcp_connection_error", ServerError),
        ("plugin_connection_error", ServerError),
        ("internal_error", ServerError),
        ("not_implemented", ServerError),
        ("unknown", ServerError),
    ],
)
def test_a_type_of_the_native_api_has_its_meaning(code, kind):
    for name in ("type", "code"):
        error = error_of({"error": {name: code, "message": "It went wrong."}}, 200)
        assert type(error) is kind
        assert "It went wrong." in str(error)


def test_an_error_about_an_unreachable_mcp_server_names_the_switches_of_lm_studio():
    error = error_of({"error": {"type": "mcp_connection_error", "message": "The MCP server 'x' is gone."}}, 200)
    assert "Allow per-request MCPs" in error.hint
    assert "mcp.json" in error.hint


KNOWN = ("qwen/qwen3-8b", "openai/gpt-oss-20b", "gemma-3-4b-it")


@for_each(
    ("asked", "near"),
    [
        ("qwen/qwen3-9b", ("qwen/qwen3-8b",)),
        ("Qwen3-8B-instruct", ("qwen/qwen3-8b",)),
        ("gpt-oss", ("openai/gpt-oss-20b",)),
        ("gemma-3-4b", ("gemma-3-4b-it",)),
        ("completely different", ()),
        ("gemma-3-4b-it", ()),
        ("", ()),
    ],
)
def test_an_error_about_an_unknown_model_suggests_similar_names(asked, near):
    error = error_of({"error": {"code": "model_not_found", "message": "no"}}, 404, ErrorContext(asked, known=KNOWN))
    assert (error.model, error.near) == (asked, near)
    assert ("Did you mean" in error.hint) == bool(near)
    assert all(repr(each) in error.hint for each in near)


@for_each(
    ("path", "since"),
    [
        ("/api/v1/chat", "0.4.0"),
        ("/api/v1/models/load", "0.4.0"),
        ("/api/v0/models", "0.3.6"),
        ("/v1/responses", "0.3.29"),
        ("/v1/messages", "0.4.1"),
        ("/v1/chat/completions", None),
    ],
)
def test_an_error_about_an_unknown_endpoint_names_the_version_that_has_it(sample, path, since):
    for status in (200, 404):
        error = error_of(sample("errors/unexpected_endpoint.json"), status, ErrorContext(path=path))
        assert isinstance(error, EndpointNotFoundError)
        assert error.since == since
        assert (since or "the version of LM Studio") in error.hint
    assert (since or "the version of LM Studio") in error_of({"error": "no"}, 404, ErrorContext(path=path)).hint
    assert "has it since" not in error_of(b"<title>Not Found</title>", 404, ErrorContext(path=path)).hint


def test_the_beginning_of_a_malformed_token_is_removed_from_the_error(sample):
    error = error_of(sample("errors/api_key_malformed.json"), 401, ErrorContext(token_source="the argument api_token"))
    assert "sk-bogus" not in f"{error!r} {error.body} {error.message}"
    assert "the argument api_token" in str(error)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (None, "the server forbids it"),
        ("the argument api_token", "the server refused the API token that came from the argument api_token"),
    ],
)
def test_an_error_about_a_forbidden_request_says_where_the_token_came_from(source, says):
    error = error_of({"error": "no"}, 403, ErrorContext(token_source=source))
    assert error.message.startswith(says)
    assert error.token_source == source


@for_each("status", [200, 500, 503])
@for_each(
    "error",
    [
        "Loading model",
        "Loading model.",
        "llm server loading model",
        "The model is still loading, try again",
        "Model m is currently loading",
        "Model loading in progress",
        {"message": "Loading model", "type": "unavailable_error", "code": 503},
    ],
)
def test_a_server_that_still_loads_the_model_is_to_be_asked_again(error, status):
    error = error_of({"error": error}, status)
    assert type(error) is ServerError
    assert "loading the model" in error.message
    assert "Ask again shortly" in error.hint


def test_an_error_text_that_is_not_json_is_recognised_too():
    error = error_of(b"Loading model", 503)
    assert "loading the model: the server answered HTTP 503, 'Loading model'" in error.message
    assert "Ask again shortly" in error.hint


@for_each("text", ["Error loading model.", "error loading model: no such file", "Failed to load model x"])
def test_a_model_that_could_not_be_loaded_is_not_still_loading(text):
    assert type(error_of({"error": text}, 500)) is ModelLoadError


@for_each("status", [500, 503])
@for_each(
    "text",
    [
        "cannot open /home/me/.lmstudio/models/jinja/model-unloaded.gguf",
        "cannot open '/home/me/my models/model unloaded/x.gguf'",
        'cannot read "C:\\models\\context length\\x.gguf"',
        "cannot read C:\\models\\context-size\\x.gguf: access denied",
        "the file `channel error.gguf` is broken",
        "qwen/qwen3-jinja said nothing",
        "http://127.0.0.1:1234/unexpected-endpoint/n_ctx did not answer",
    ],
)
def test_names_in_the_text_of_a_failure_do_not_change_its_class(text, status):
    assert type(error_of({"error": text}, status)) is ServerError


@pytest.mark.parametrize("text", ["The model's context length is too small for what the user's prompt has", "'n_ctx'"])
def test_an_apostrophe_begins_no_name(text):
    assert type(error_of({"error": text}, 400)) is ContextLengthError


@for_each(
    "text",
    [
        'Error rendering prompt with jinja template: "Cannot apply filter upper to type: NullValue"',
        "Failed to apply chat template: Value is not callable",
        "Unable to generate parser for this chat_template",
    ],
)
def test_a_template_error_mentions_the_tools_if_the_request_had_any(text):
    for status in (200, 400, 500):
        assert "tools" not in error_of({"error": text}, status).hint
        error = error_of({"error": text}, status, ErrorContext("m", tools=True))
        assert type(error) is InvalidRequestError
        assert "tools: give each parameter one plain type" in error.hint
        assert "one system message" in error.hint


def test_an_error_of_another_kind_is_not_about_the_tools():
    assert "tools" not in error_of({"error": "Model unloaded."}, 400, ErrorContext("m", tools=True)).hint


# Who answers


@for_each(
    ("status", "value", "kind"),
    [
        (404, b"404 page not found", EndpointNotFoundError),
        (405, b"405 method not allowed", EndpointNotFoundError),
        (404, {"error": "model 'qwen3-99b' not found"}, ModelNotFoundError),
        (404, {"error": 'model "qwen3-99b" not found, try pulling it first'}, ModelNotFoundError),
        (
            404,
            {
                "error": {
                    "message": "model 'qwen3-99b' not found",
                    "type": "not_found_error",
                    "param": None,
                    "code": None,
                }
            },
            ModelNotFoundError,
        ),
        (
            400,
            {"error": {"message": "registry.ollama.ai/library/m:latest does not support tools"}},
            InvalidRequestError,
        ),
        (500, {"error": {"message": "llama runner process has terminated: signal: killed"}}, ModelCrashedError),
    ],
)
def test_ollama_is_recognised_by_its_error_texts(status, value, kind):
    error = error_of(value, status, ErrorContext("qwen3-99b", path="/api/v1/chat"))
    assert type(error) is kind
    assert "it answers as Ollama does" in error.message
    assert error.hint.startswith("Ask Ollama with OllamaProvider")
    assert error.hint.endswith("lists the servers that answer")
    assert "lms" not in error.hint
    assert "update it" not in error.hint


@for_each(
    "value",
    [
        {"error": {"message": "The model `qwen3-99b` does not exist.", "type": "NotFoundError", "code": 404}},
        {"detail": "Not Found"},
        b"<html><title>404 Not Found</title></html>",
        b"Not Found",
    ],
)
def test_another_server_is_not_taken_for_ollama(value):
    assert "Ollama" not in str(error_of(value, 404))


def test_a_server_in_go_may_be_a_proxy_too():
    headers = {"X-Content-Type-Options": "nosniff", "Content-Type": "text/plain; charset=utf-8"}
    error = error_of(b"404 page not found\n", 404, headers=headers)
    assert "OllamaProvider" in error.hint
    assert "check host and port" in error.hint


# Who asks


@for_each("body", [{"error": "no"}, b"<html><title>401 Unauthorized</title></html>", b""])
@for_each("headers", [{}, {"WWW-Authenticate": 'Basic realm="x"'}])
def test_a_name_and_password_that_are_refused_are_not_called_a_token(body, headers):
    asked = ErrorContext(token_source="the base URL", credentials=PASSWORD)
    error = error_of(body, 401, asked, headers)
    assert error.message.startswith("the server refused the name and password that came from the base URL")
    assert "the base URL" in error.hint
    assert "token" not in str(error).lower()
    assert (error.wants_password, error.token_source) == (True, "the base URL")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (None, "the server wants a name and a password, and none were given"),
        ("the argument api_token", "and not the API token that came from the argument api_token"),
    ],
)
def test_a_proxy_that_wants_a_name_and_a_password_does_not_want_a_token(source, says):
    error = error_of(b"", 401, ErrorContext(token_source=source), {"WWW-Authenticate": 'basic realm="x"'})
    assert says in error.message
    assert "http://NAME:PASSWORD@host" in error.hint
    assert ("give no API token" in error.hint) == bool(source)
    assert error.wants_password


def test_a_refused_authorization_header_is_reported_with_its_source():
    asked = ErrorContext(token_source="the argument headers", credentials="Authorization")
    error = error_of({"error": "no"}, 401, asked)
    assert "refused the Authorization that came from the argument headers" in error.message
    assert error.hint == "Check the argument headers"
    assert not error.wants_password


def test_code_and_param_show_no_secret():
    error = error_of({"error": {"message": "no", "code": TOKEN, "param": f"key={TOKEN}"}})
    assert (error.code, error.param) == ("[hidden]", "key=[hidden]")


# How long a prompt is, in each shape


ENGINE = {
    "code": 400,
    "message": "request (9025 tokens) exceeds the available context size (8192 tokens), try increasing it",
    "type": "exceed_context_size_error",
    "n_prompt_tokens": 9025,
    "n_ctx": 8192,
}
# An older llama.cpp.
BARE = {**ENGINE, "message": "the request exceeds the available context size. try increasing the context size"}


@for_each("errors", [lmstudio_errors, ollama_errors], ids=["LM Studio", "Ollama"])
@for_each("engine", [ENGINE, BARE], ids=["text", "fields alone"])
@for_each("status", [200, 400, 500])
@for_each(
    "shape",
    [
        lambda error: {"error": error},
        lambda error: {"error": json.dumps({"error": error})},
        lambda error: {"error": "Engine protocol predict request returned 400: " + json.dumps({"error": error})},
        lambda error: {"error": {"message": json.dumps({"error": error}), "type": "api_error"}},
    ],
    ids=["as it is", "as text", "after a text", "inside another"],
)
def test_the_counts_of_the_engine_are_read_however_they_are_wrapped(errors, engine, status, shape):
    value = shape(engine)
    error = errors.find_error(status, {}, json.dumps(value).encode(), value, ErrorContext("m"))
    assert isinstance(error, ContextLengthError)
    assert (error.prompt_tokens, error.context_length) == (9025, 8192)


@for_each("number", [None, "9025", True, -1, 0, 10**400, [1]])
def test_a_count_that_is_not_valid_is_unknown(number):
    value = {"error": {**BARE, "n_prompt_tokens": number}}
    error = ollama_errors.find_error(400, {}, b"", value, ErrorContext("m"))
    assert (error.prompt_tokens, error.context_length) in [(None, None), (None, 8192)]


@for_each(
    "said",
    [
        "prompt too long; exceeded max context length by 812 tokens",
        "the input length exceeds the context length",
        "input exceeds maximum context length and cannot be truncated further",
        "the prompt is longer than the context length currently set",
        "input is larger than the max context size. skipping",
    ],
)
def test_what_ollama_says_without_both_numbers_is_a_context_error_too(said):
    for value in ({"error": said}, {"error": {"message": said, "type": "invalid_request_error"}}):
        error = ollama_errors.find_error(400, {}, json.dumps(value).encode(), value, ErrorContext("m"))
        assert isinstance(error, ContextLengthError), value
        assert (error.prompt_tokens, error.context_length) == (None, None)
        assert said in error.message
