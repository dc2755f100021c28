"""LM Studio's endpoints, as far as the stand-in has them."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any, Callable, ClassVar, Iterable, Iterator, Mapping

from ._checks import check_chat, refused
from ._replies import Generated, Replies, checked, echo, echo_text, generate, maker, usage, vector
from ._server import Answer, RefusedError, StandIn, error, event, events, indented

_FINGERPRINT = "simulated"


class SimulatedLMStudio(StandIn):
    """A context manager that serves LM Studio's OpenAI-compatible endpoints at ``url``, as LM Studio does.

    ``models`` are the ids to list; those that begin with ``text-embedding-`` embed, and do not chat. ``replies`` are
    given in turn, over and over, or made by a function of the request's body; without them, a reply says what it was
    asked, where tools are offered the first one is called, and where a JSON schema is given it is kept. ``delay_s`` is
    the pause before each piece of a stream, and ``port`` 0 takes any that is free. ``requests`` holds the method, path,
    headers and body of each request so far. What a function of ``replies`` raises is answered as HTTP 500, with its
    traceback.
    """

    headers: ClassVar[Mapping[str, str]] = {"X-Powered-By": "Express", "Connection": "keep-alive"}

    def __init__(
        self,
        models: Iterable[str] = ("simulated-model", "text-embedding-simulated"),
        replies: Replies | None = None,
        delay_s: float = 0.0,
        port: int = 0,
    ) -> None:
        super().__init__(delay_s, port)
        self.models = [models] if isinstance(models, str) else list(models)
        self._make_reply = maker(replies)
        self._numbers = itertools.count(1)
        self._endpoints: dict[str, Callable[[Any], Answer]] = {
            "GET /v1/models": self._list_models,
            "POST /v1/chat/completions": self._chat,
            "POST /v1/completions": self._complete,
            "POST /v1/embeddings": self._embed,
        }

    def answer(self, endpoint: str, body: Any) -> Answer:
        """Answer what LM Studio would; an unknown endpoint is an error under status 200 there."""
        if endpoint not in self._endpoints:
            return error(200, f"Unexpected endpoint or method. ({endpoint})")
        return self._endpoints[endpoint](body)

    def _list_models(self, body: Any) -> Answer:
        data = [{"id": id_, "object": "model", "owned_by": "organization_owner"} for id_ in self.models]
        return indented({"data": data, "object": "list"})

    def _chat(self, body: Any) -> Answer:
        check_chat(body)
        model = self._model(body)
        reply = checked((self._make_reply or echo)(body))
        generated = generate(reply, body.get("max_tokens"), body.get("stop"))
        used = usage((json.dumps(message.get("content")) for message in body["messages"]), generated)
        head = {"id": f"chatcmpl-{self._next()}", "created": int(time.time()), "model": model}
        if body.get("stream"):
            head = {**head, "object": "chat.completion.chunk", "system_fingerprint": _FINGERPRINT}
            choices = [_choice(delta={"role": "assistant", **delta}) for delta in _deltas(generated)]
            return _stream(body, head, [*choices, _choice(generated.finish_reason, delta={})], used)
        message: dict[str, Any] = {"role": "assistant", "content": "".join(generated.content)}
        if generated.reasoning:
            message["reasoning_content"] = "".join(generated.reasoning)
        message["tool_calls"] = generated.tool_calls
        choice = _choice(generated.finish_reason, message=message)
        head = {**head, "object": "chat.completion"}
        return indented({**head, "choices": [choice], "usage": used, "stats": {}, "system_fingerprint": _FINGERPRINT})

    def _complete(self, body: Any) -> Answer:
        if not isinstance(body, dict) or not isinstance(body.get("prompt"), str):
            raise refused("'prompt' field is required")  # a wording of our own: LM Studio's is not known
        model = self._model(body)
        reply = checked((self._make_reply or echo_text)(body))
        # There is no chat template, and so neither reasoning nor calls.
        generated = generate({"content": reply.get("content")}, body.get("max_tokens"), body.get("stop"))
        used = usage([body["prompt"]], generated)
        head = {"id": f"cmpl-{self._next()}", "object": "text_completion", "created": int(time.time()), "model": model}
        if body.get("stream"):
            choices = [_choice(text=piece) for piece in generated.content]
            return _stream(body, head, [*choices, _choice(generated.finish_reason, text="")], used)
        choice = _choice(generated.finish_reason, text="".join(generated.content))
        return indented({**head, "choices": [choice], "usage": used, "stats": {}})

    def _embed(self, body: Any) -> Answer:
        texts = body.get("input") if isinstance(body, dict) else None
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise refused("'input' field must be a string or an array of strings")
        model = body.get("model")
        if model not in self.models:
            raise _model_not_found(model, self.models)
        if not str(model).startswith("text-embedding-"):
            raise refused(f"{model} is no embedding model")  # a wording of our own: LM Studio's is not known
        data = [{"object": "embedding", "embedding": vector(text), "index": at} for at, text in enumerate(texts)]
        used = {"prompt_tokens": 0, "total_tokens": 0}  # as LM Studio has it, whatever it read
        return indented({"object": "list", "data": data, "model": model, "usage": used})

    def _model(self, body: Mapping[str, Any]) -> object:
        """The model that answers; raises RefusedError where there is none."""
        chatting = [id_ for id_ in self.models if not id_.startswith("text-embedding-")]
        model = body.get("model")
        if not chatting:
            text = "No models loaded. Please load a model in the developer page or use the 'lms load' command."
            raise refused(text)
        if model in chatting:
            return model
        if len(chatting) > 1:
            raise _model_not_found(model, chatting)
        return chatting[0]  # with one model loaded, the name is ignored

    def _next(self) -> str:
        return f"simulated{next(self._numbers):06}"


def _choice(finish_reason: str | None = None, **content: object) -> dict[str, Any]:
    return {"index": 0, **content, "logprobs": None, "finish_reason": finish_reason}


def _stream(
    body: Mapping[str, Any], head: Mapping[str, Any], choices: Iterable[Mapping[str, Any]], used: Mapping[str, Any]
) -> Answer:
    # All frames are made before the first is sent: what cannot be JSON is an error of its own then.
    *frames, last = [event({**head, "choices": [choice]}) for choice in choices]
    end = [last]
    if (body.get("stream_options") or {}).get("include_usage"):
        end.append(event({**head, "choices": [], "usage": used}))
    return events(frames, [*end, event("[DONE]")])


def _deltas(generated: Generated) -> Iterator[dict[str, Any]]:
    for piece in generated.reasoning:
        yield {"reasoning_content": piece}
    for piece in generated.content:
        yield {"content": piece}
    # Each call as LM Studio streams it: first who is called, then the arguments in two pieces.
    for index, call in enumerate(generated.tool_calls):
        arguments = call["function"]["arguments"]
        half = len(arguments) // 2
        first = {"index": index, **call, "function": {"name": call["function"]["name"], "arguments": ""}}
        yield {"tool_calls": [first]}
        for piece in (arguments[:half], arguments[half:]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _model_not_found(model: object, known: Iterable[str]) -> RefusedError:
    text = f'Invalid model identifier "{model}". Please specify a valid downloaded model (e.g., {", ".join(known)}).'
    what = {"message": text, "type": "invalid_request_error", "param": "model", "code": "model_not_found"}
    return RefusedError(error(400, what))
