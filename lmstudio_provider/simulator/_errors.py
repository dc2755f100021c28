"""LM Studio's error replies, in the form of each of its APIs."""

from __future__ import annotations

import json

from ._server import Answer, RefusedError, Whole, error, event, events
from ._state import FailedError

# Each kind of failure with the type and the status of its error. The documentation does not give all the statuses.
_NATIVE = {
    "model_not_found": ("model_not_found", 404),
    "model_load_failed": ("model_load_failed", 500),
    "no_model_loaded": ("invalid_request", 400),
    "context_length": ("unknown", 500),
    "grammar": ("unknown", 500),
}
_ANTHROPIC = {
    "model_not_found": ("not_found_error", 404),
    "model_load_failed": ("api_error", 500),
    "no_model_loaded": ("invalid_request_error", 400),
    "context_length": ("api_error", 500),
    "grammar": ("api_error", 500),
}
_OF_THE_ENGINE = ("context_length", "grammar")
_UNAUTHORIZED = (
    "An LM Studio API token is required to make requests to this server, but none was provided using the Authorization "
    "header using the 'Bearer' scheme (i.e., 'Authorization: Bearer $LM_API_TOKEN'). "
    "Learn more at: https://lmstudio.ai/docs/developer/core/authentication."
)


def failure_answer(endpoint: str, failed: FailedError, stream: bool) -> Answer:
    """Return the error reply for ``failed`` in the form of the endpoint's API; ``stream`` is the request's."""
    path = endpoint.partition(" ")[2]
    if path.startswith("/api/v1/"):
        type_, status = _NATIVE[failed.kind]
        return native_error(status, type_, failed.text)
    if path == "/v1/messages":
        type_, status = _ANTHROPIC[failed.kind]
        return anthropic_error(status, type_, failed.text)
    if failed.kind == "model_not_found":
        return openai_error(failed.text, "model", failed.kind)
    if path == "/v1/responses":
        return openai_error(failed.text, "input" if failed.kind in _OF_THE_ENGINE else "model")
    # A failure of the engine comes as status 200 and one frame if the request wanted a stream; all other errors keep
    # their status (zed issue 34513).
    if failed.kind in _OF_THE_ENGINE and stream:
        return events([event({"error": {"message": failed.text}, "message": failed.text}, "error")], [])
    return error(400, failed.text)


def openai_error(message: str, param: str, code: str | None = None) -> Whole:
    """Return an error in the form of OpenAI's API."""
    return error(400, {"message": message, "type": "invalid_request_error", "param": param, "code": code})


def native_error(status: int, type: str, message: str, **more: object) -> Whole:
    """Return an error in the form of ``/api/v1``; ``more`` may have "code" and "param"."""
    return error(status, {"message": message, "type": type, **more})


def anthropic_error(status: int, type: str, message: str) -> Whole:
    """Return an error in the form of Anthropic's API."""
    content = json.dumps({"type": "error", "error": {"type": type, "message": message}}, separators=(",", ":"))
    return Whole(content.encode(), status)


def invalid(message: str, code: str, param: str) -> RefusedError:
    """Return the error to raise for a body that ``/api/v1`` refuses."""
    return RefusedError(native_error(400, "invalid_request", message, param=param, code=code))


def unauthorized(token: str | None) -> RefusedError:
    """Return the error to raise for a request with the wrong ``token``, or without any."""
    text = _UNAUTHORIZED
    if token:  # LM Studio repeats the first ten characters of it (opencode-lmstudio issue 41, seen with 0.4.18)
        text = f"Malformed LM Studio API token provided: {token[:10]}{'*' * 14}. Ensure you are using a valid token."
    return RefusedError(error(401, {"type": "invalid_request", "code": "invalid_api_key", "message": text}))
