"""A stand-in for LM Studio, with the endpoints that it imitates."""

from __future__ import annotations

import re
import time
from email.message import Message
from typing import Any, Callable, ClassVar, Iterable, Iterator, Mapping

from ._checks import check_chat, refused, wrong_field
from ._decisions import LM_STUDIO, WrongError, answers, sees
from ._engine import Engine
from ._errors import failure_answer, unauthorized
from ._examples import vector
from ._generate import Generated, whole_calls
from ._messages import Messages
from ._models import Models
from ._native import Native
from ._replies import Replies, pieces
from ._responses import Responses
from ._server import Answer, Whole, error, event, events, indented
from ._stand_in import Faults, StandIn
from ._state import FailedError, Instance, State, embeds

_FINGERPRINT = "simulated"
_DOWNLOAD_STATUS = "GET /api/v1/models/download/status/"
# The first version that has each API (LM Studio docs: developer/api-changelog; the last two from reports).
_SINCE = {"/api/v0/": (0, 3, 6), "/v1/responses": (0, 3, 29), "/api/v1/": (0, 4, 0), "/v1/messages": (0, 4, 1)}


class SimulatedLMStudio(StandIn):
    """A context manager that serves LM Studio's APIs at ``url``, as LM Studio does.

    ``models`` are the ids on disk. A model whose id begins with ``text-embedding-`` embeds and does not chat. One with
    nimble, tev1 or clef in its id answers questions in ``/v1/systemone`` and does not chat; clef reads images. One with
    ``-vl`` in its id reads images. One with ``too-large`` cannot be loaded. ``loaded`` are the models in memory at the
    start, by default all that can be loaded; any other is loaded when a request names it, unless ``jit`` is false. A
    model in memory takes prompts of up to ``context_length`` tokens. Of a longer text to embed, it silently reads only
    the first ``context_length`` tokens. A token is a word with the blanks before it.

    ``replies`` is one reply, a list of replies to give in turn, over and over, or a function that takes the request's
    body, in OpenAI's form, and returns a reply. Without it, a reply repeats the last message, calls the first tool that
    the request offers, or fits the request's JSON schema. ``When`` in a list has replies for some of the requests. A
    reply is a text, a ``Fault``, or a dict of any of:

    - ``"content"``: a text, which is streamed word by word, or a list of texts, which are streamed as they are. Markup
      of tool calls and thoughts is sent unchanged
    - ``"reasoning_content"``: the thoughts before the content, in the same two forms
    - ``"tool_calls"``: a list of calls, such as ``[{"name": "get_weather", "arguments": {"city": "Oslo"}}]``.
      ``"arguments"`` is a dict, or a text that is sent unchanged; the default is no arguments. Each call gets an
      ``"id"`` and an ``"index"``; set one to use another value, or to None to leave it out
    - ``"finish_reason"``, such as "length"; the default is "stop", or "tool_calls" if the reply has calls
    - ``"completion_tokens"``, ``"prompt_tokens"`` and ``"cached_tokens"``: counts to report, instead of the numbers of
      words in the reply and in the request. By default, cached tokens are not reported
    - ``"first_byte_s"``: the seconds before the reply begins, streamed or not
    - ``"fault"``: a ``Fault``, such as ``Fault(cut_after=5)``, for this reply

    Any other reply raises TypeError, with the position and the mistake.

    ``delay_s`` is the pause before each piece of a stream: 0.05 is the pace of 20 tokens per second. ``first_byte_s``
    is for all generated replies. ``fault`` is a ``Fault`` of all requests, or a function that takes a request, as in
    ``requests``, and returns its fault or None. Like ``replies``, all three may be set while the server runs.

    ``port`` 0 takes any free port. If ``api_token`` is set,
    requests need that token. Endpoints that are newer than ``version`` are unknown. ``clock`` returns seconds; a model
    that a request loaded is unloaded after it was idle for its time to live.

    ``requests`` holds the method, path, headers and body of each request so far, ``instances`` the models in memory,
    ``jobs`` the downloads, and ``responses`` the stored conversations. If a function given as ``replies`` raises an
    exception, the reply is HTTP 500 with the traceback.
    """

    headers: ClassVar[Mapping[str, str]] = {"X-Powered-By": "Express", "Connection": "keep-alive"}

    def __init__(
        self,
        models: Iterable[str] = ("simulated-model", "text-embedding-simulated"),
        replies: Replies | None = None,
        delay_s: float = 0.0,
        port: int = 0,
        *,
        loaded: Iterable[str] | None = None,
        jit: bool = True,
        api_token: str | None = None,
        context_length: int = 4096,
        version: str = "0.4.20",
        clock: Callable[[], float] = time.monotonic,
        first_byte_s: float = 0.0,
        fault: Faults | None = None,
    ) -> None:
        super().__init__(replies, delay_s, port, first_byte_s, fault)
        self._state = State(models, loaded, jit, context_length, clock)
        self.models = self._state.models
        self.jobs = self._state.jobs
        self.responses = self._state.responses
        self._engine = Engine(self._next_reply)
        self._api_token = api_token
        self._version = tuple(map(int, version.split(".")))
        self._models = Models(self._state)
        self._endpoints: dict[str, Callable[[Any], Answer]] = {
            "GET /lmstudio-greeting": lambda body: Whole(b'{"lmstudio":true}'),
            "GET /api/v0/models": self._models.list_v0,
            "GET /api/v1/models": self._models.list_v1,
            "POST /api/v1/chat": Native(self._state, self._engine).chat,
            "POST /api/v1/models/load": self._models.load,
            "POST /api/v1/models/unload": self._models.unload,
            "POST /api/v1/models/download": self._models.download,
            "GET /v1/models": self._list_models,
            "POST /v1/chat/completions": self._chat,
            "POST /v1/completions": self._complete,
            "POST /v1/embeddings": self._embed,
            "POST /v1/responses": Responses(self._state, self._engine).create,
            "POST /v1/systemone": self._decide,
            "POST /v1/messages": Messages(self._state, self._engine).create,
        }

    @property
    def instances(self) -> list[Instance]:
        """The models in memory, in the order in which they were loaded."""
        return self._state.instances

    def answer(self, endpoint: str, body: Any, headers: Message) -> Answer:
        """Return LM Studio's answer. An unknown endpoint is an error under status 200 (its bug-tracker, 618)."""
        self._check_token(endpoint, headers)
        path = endpoint.partition(" ")[2]
        known = all(self._version >= since for prefix, since in _SINCE.items() if path.startswith(prefix))
        if known and endpoint.startswith(_DOWNLOAD_STATUS):
            return self._models.download_status(endpoint[len(_DOWNLOAD_STATUS) :])
        if not known or endpoint not in self._endpoints:
            return error(200, f"Unexpected endpoint or method. ({endpoint})")
        try:
            return self._endpoints[endpoint](body)
        except FailedError as failed:
            return failure_answer(endpoint, failed, bool(body.get("stream")))

    def _check_token(self, endpoint: str, headers: Message) -> None:
        if self._api_token is None or endpoint == "GET /lmstudio-greeting":
            return
        # Only /v1/messages takes Anthropic's header, too (LM Studio docs: developer/core/authentication).
        bearer = re.fullmatch(r"Bearer (.*)", headers.get("Authorization", ""))
        token = bearer[1] if bearer else headers.get("x-api-key") if endpoint == "POST /v1/messages" else None
        if token != self._api_token:
            raise unauthorized(token)

    def _list_models(self, body: Any) -> Answer:
        instances = [each.id for each in self.instances]
        # With just-in-time loading, LM Studio lists all models on disk, because each can be named; else those loaded.
        ids = dict.fromkeys([*self.models, *instances] if self._state.jit else instances)
        data = [{"id": id_, "object": "model", "owned_by": "organization_owner"} for id_ in ids]
        return indented({"data": data, "object": "list"})

    def _chat(self, body: Any) -> Answer:
        check_chat(body)
        instance = self._take(body)
        generated, used = self._engine.chat(body, instance)
        head = {"id": f"chatcmpl-{self._next()}", "created": int(time.time()), "model": instance.id}
        if body.get("stream"):
            head = {**head, "object": "chat.completion.chunk", "system_fingerprint": _FINGERPRINT}
            # LM Studio repeats the role in every delta (seen).
            choices = [_choice(delta={"role": "assistant", **delta}) for delta in _deltas(generated)]
            return _stream(body, head, [*choices, _choice(generated.finish_reason, delta={})], used)
        message: dict[str, Any] = {"role": "assistant", "content": "".join(generated.content)}
        if generated.reasoning:
            message["reasoning_content"] = "".join(generated.reasoning)
        message["tool_calls"] = whole_calls(generated)
        choice = _choice(generated.finish_reason, message=message)
        head = {**head, "object": "chat.completion"}
        return indented({**head, "choices": [choice], "usage": used, "stats": {}, "system_fingerprint": _FINGERPRINT})

    def _complete(self, body: Any) -> Answer:
        if not isinstance(body, dict) or not isinstance(body.get("prompt"), str):
            raise refused("'prompt' field is required")  # we made up this text, because LM Studio's is unknown
        wrong = wrong_field(body)
        if wrong:
            raise refused(wrong[1])
        instance = self._take(body)
        generated, used = self._engine.complete(body, instance)
        head: dict[str, Any] = {"id": f"cmpl-{self._next()}", "object": "text_completion"}
        head.update(created=int(time.time()), model=instance.id)
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
        named = self._state.model_of(body.get("model"))
        if named is not None and not embeds(named):
            raise refused(f"{named} is not an embedding model")  # we made up this text, because LM Studio's is unknown
        instance = self._take(body, "embedding")
        # LM Studio embeds the first context_length tokens of each text, and silently drops the rest (seen: 0.4.25).
        read = ["".join(pieces(text)[: instance.context_length]) for text in texts]
        data = [{"object": "embedding", "embedding": vector(text), "index": at} for at, text in enumerate(read)]
        used = {"prompt_tokens": 0, "total_tokens": 0}  # LM Studio reports 0 for every text (seen)
        return indented({"object": "list", "data": data, "model": instance.id, "usage": used})

    def _decide(self, body: Any) -> Answer:
        try:
            found, tokens = answers(body, LM_STUDIO)
        except WrongError as wrong:
            return _decision_error(400, "invalid_request_error", str(wrong))
        instance = self._take(body, "decision")
        if body.get("images") and not sees(instance.model):
            return _decision_error(501, "not_supported_error", "Images are not supported by this model")
        batch = instance.config["eval_batch_size"]
        if tokens > batch:  # we made up this text: reports say only that it names the cap
            return _decision_error(500, "server_error", f"Input length {tokens} exceeds eval_batch_size ({batch})")
        used = {"input_tokens": tokens, "output_tokens": 0}
        return indented({"model": instance.id, "answers": found, "usage": used})

    def _take(self, body: Mapping[str, Any], kind: str = "llm") -> Instance:
        """Return the instance that answers; raise FailedError if none can."""
        ttl_s = body.get("ttl")
        ttl_s = ttl_s if type(ttl_s) is int and ttl_s > 0 else None  # others mean the default (recorded)
        return self._state.take(body.get("model"), kind, ttl_s)[0]

    def _next(self) -> str:
        return f"simulated{self._state.number():06}"


def _decision_error(status: int, type_: str, message: str) -> Answer:
    return error(status, {"code": status, "type": type_, "message": message})


def _choice(finish_reason: str | None = None, **content: object) -> dict[str, Any]:
    return {"index": 0, **content, "logprobs": None, "finish_reason": finish_reason}


def _stream(
    body: Mapping[str, Any], head: Mapping[str, Any], choices: Iterable[Mapping[str, Any]], used: Mapping[str, Any]
) -> Answer:
    # Make all frames before sending the first: if a value cannot be JSON, the reply is an error and not half a stream.
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
    # LM Studio streams each call so: first the name, then the arguments in pieces (seen).
    for number, call in enumerate(generated.tool_calls):
        index = call.get("index", number)
        place = {} if index is None else {"index": index}
        rest = {key: each for key, each in call.items() if key != "index"}
        arguments = call["function"]["arguments"]
        half = len(arguments) // 2
        yield {"tool_calls": [{**place, **rest, "function": {"name": call["function"]["name"], "arguments": ""}}]}
        for piece in (arguments[:half], arguments[half:]):
            yield {"tool_calls": [{**place, "function": {"arguments": piece}}]}
