"""A stand-in for Ollama, with the endpoints that it imitates."""

from __future__ import annotations

import itertools
import time
from email.message import Message
from typing import Any, Callable, ClassVar, Iterable, Mapping
from urllib.parse import unquote

from ._decisions import OLLAMA, WrongError, answers
from ._ollama_files import Files
from ._ollama_json import refused, text, whole
from ._ollama_models import KEEP_ALIVE_S, OllamaModel, Shelf
from ._ollama_own import Own
from ._ollama_run import Runner
from ._ollama_v1 import V1, v1_error
from ._ollama_v1_typed import Typed
from ._replies import Replies
from ._server import Answer, RefusedError
from ._stand_in import Faults, StandIn

# The first version whose ``/v1/systemone`` reads images.
_VERSION = "0.35.1"
_BLOBS, _MODEL = "/api/blobs/", "GET /v1/models/"


class SimulatedOllama(StandIn):
    """A context manager that serves Ollama's APIs at ``url``, as Ollama does: its own, and ``/v1``.

    ``models`` are the models on disk, newest first: names, or an OllamaModel if the name does not say enough. A model
    with "embed" in its name embeds and does not chat, one with nimble, tev1 or clef answers questions in
    ``/v1/systemone``; the others chat, call tools, think and read images. A model whose
    name ends in "-cloud" or ":cloud" runs elsewhere. ``models=None`` makes the list of models ``null``. Any model can
    be pulled, unless its name begins with "no-such".

    ``replies`` is one reply, a list of replies to give in turn, over and over, or a function that takes the request's
    body, in OpenAI's form, and returns a reply. A reply is a text, a ``Fault``, or a dict such as
    ``{"tool_calls": [{"name": "get_weather", "arguments": {"city": "Oslo"}}]}``; ``help(SimulatedLMStudio)`` lists its
    keys. ``When`` in a list has replies for some of the requests. Without ``replies``, a reply repeats the last
    message, calls the first tool that the request offers, or fits the ``format``; it has thoughts if ``think`` asks for
    them. A call of a tool that the request does not offer is dropped; if it offers none, the text has the markup of the
    call. With a ``format``, tools are never called.

    A token is a word with the blanks before it. A prompt has the tokens of the texts of its messages; a reply has those
    of its thoughts, its text, and the names and arguments of its calls, even of dropped ones. A prompt of more than
    ``num_ctx`` tokens, by default ``context_length``, is cut silently: old messages are dropped, and if the last one is
    still too long, half of ``num_ctx`` and two tokens are left. With ``truncate: false``, it is refused.

    ``delay_s``, ``first_byte_s`` and ``fault`` are as in ``SimulatedLMStudio``. ``port`` 0 takes any free port.
    ``clock`` returns seconds; a model is unloaded after the time that ``keep_alive`` sets.

    ``requests`` holds the method, path, headers and body of each request so far, ``models`` the names on disk, and
    ``loaded`` the names in memory. If a function given as ``replies`` raises an exception, the reply is HTTP 500 with
    the traceback.
    """

    headers: ClassVar[Mapping[str, str]] = {}
    uploads: ClassVar[tuple[str, ...]] = (_BLOBS,)

    def __init__(
        self,
        models: Iterable[str | OllamaModel] | None = ("simulated-model:latest", "simulated-embed:latest"),
        replies: Replies | None = None,
        delay_s: float = 0.0,
        port: int = 0,
        *,
        context_length: int = 4096,
        clock: Callable[[], float] = time.monotonic,
        first_byte_s: float = 0.0,
        fault: Faults | None = None,
    ) -> None:
        super().__init__(replies, delay_s, port, first_byte_s, fault)
        self._shelf = Shelf(models, context_length, clock)
        self.models = self._shelf.names
        self._files = Files(self._shelf)
        self._numbers = itertools.count(1)
        runner = Runner(self._shelf, self._next_reply)
        own = Own(self._shelf, runner)
        v1, typed = V1(self._shelf, runner, own), Typed(runner)
        self._endpoints: dict[str, Callable[[Any], Answer]] = {
            "GET /": lambda body: text(200, "Ollama is running"),
            "GET /api/version": lambda body: whole({"version": _VERSION}),
            "GET /api/tags": lambda body: whole(self._shelf.tags()),
            "GET /api/ps": lambda body: whole(self._shelf.running()),
            "GET /v1/models": v1.list_models,
            "POST /api/show": self._files.show,
            "POST /api/chat": own.chat,
            "POST /api/generate": own.generate,
            "POST /api/embed": own.embed,
            "POST /api/embeddings": own.embeddings,
            "POST /api/pull": self._files.pull,
            "POST /api/create": self._files.create,
            "POST /api/copy": self._files.copy,
            "DELETE /api/delete": self._files.delete,
            "POST /v1/chat/completions": v1.chat,
            "POST /v1/completions": v1.complete,
            "POST /v1/embeddings": v1.embed,
            "POST /v1/responses": typed.respond,
            "POST /v1/messages": typed.message,
            "POST /v1/systemone": self._decide,
        }
        for path in ("/", "/api/version", "/api/tags"):
            self._endpoints[f"HEAD {path}"] = self._endpoints[f"GET {path}"]
        self._retrieve = v1.retrieve

    @property
    def loaded(self) -> list[str]:
        """The names of the models in memory, in the order in which they were loaded."""
        return list(self._shelf.loaded)

    def answer(self, endpoint: str, body: Any, headers: Message) -> Answer:
        """Return Ollama's answer."""
        path = endpoint.partition(" ")[2]
        try:
            return self._answer(endpoint, path, body, headers)
        except RefusedError as error:
            if path.startswith("/v1/"):
                raise v1_error(error, path, next(self._numbers)) from error
            raise

    def _answer(self, endpoint: str, path: str, body: Any, headers: Message) -> Answer:
        if path.startswith(_BLOBS):
            return self._blob(endpoint.partition(" ")[0], path[len(_BLOBS) :], body)
        if endpoint.startswith(_MODEL):
            return self._retrieve(unquote(endpoint[len(_MODEL) :]))
        if endpoint not in self._endpoints:
            known = any(each.partition(" ")[2] == path for each in self._endpoints)
            return text(405, "405 method not allowed") if known else text(404, "404 page not found")
        if body is None and not endpoint.startswith(("GET ", "HEAD ")):
            if headers.get("Content-Length", "0") == "0" and "Transfer-Encoding" not in headers:
                raise refused(400, "EOF" if path.startswith("/v1/") else "missing request body")
            raise refused(400, "invalid character in the request: it is not JSON")
        return self._endpoints[endpoint](body)

    def _decide(self, body: Any) -> Answer:
        try:
            found, tokens = answers(body, OLLAMA)
        except WrongError as wrong:
            raise refused(400, str(wrong)) from wrong
        model = self._shelf.find(body["model"])
        if "decision" not in model.capabilities:
            raise refused(400, f"{body['model']!r} does not support decisions")
        if body.get("images") and "vision" not in model.capabilities:
            raise refused(501, f"{body['model']!r} does not support images")
        self._shelf.load(model, self._shelf.room(model, None), KEEP_ALIVE_S)
        return whole({"model": body["model"], "answers": found, "usage": {"input_tokens": tokens, "output_tokens": 1}})

    def _blob(self, method: str, digest: str, body: Any) -> Answer:
        if method == "HEAD":
            return self._files.has_blob(digest)
        return self._files.take_blob(digest, body) if method == "POST" else text(405, "405 method not allowed")
