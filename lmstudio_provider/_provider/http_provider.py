"""A provider that speaks HTTP: everything except the dialect of its server."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import re
import time
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Iterable,
    Iterator,
    Literal,
    Mapping,
    NamedTuple,
    Sequence,
    TypeVar,
    Union,
)

from .._core.callbacks import Callback, report_failure, warn
from .._core.checks import ON_TRUNCATION, check
from .._core.errors import (
    InvalidRequestError,
    ModelMismatchWarning,
    ModelNotFoundError,
    ModelUnloadedError,
    NoModelLoadedError,
    StructuredOutputError,
)
from .._core.model_names import find, is_same
from .._core.options import Unpack, show_options, with_defaults
from .._core.overrides import ChatOverrides, CompletionOverrides, Overrides
from .._core.reasoning import warn_of_empty_answer, warn_of_thoughts
from .._core.requests import (
    ChatInput,
    ChatRequest,
    CompletionInput,
    CompletionRequest,
    TextInput,
    TextRequest,
    ToolLoopRequest,
    any_request,
    chat_request,
    check_name,
    completion_request,
    embed_options,
    text_request,
)
from .._core.schema.structured import structure_of
from .._core.types import UNSET, Call, Chunk, Completion, Embeddings, Timeout, Unset
from .._dialects.dialect import Dialect
from .._dialects.tool_text import take_calls, warn_of_lost_calls, written_call
from .base import Provider, typed_as
from .embedding import Embedder, checked_texts, hinting
from .local_models import LocalModels, patience
from .recording import BegunCall, begin
from .session import CallOptions, Session
from .settings import Config
from .stream import Stream
from .truncation import contexts_of, find_cut, send_or_cut, warn_of_cut_prompt, warn_of_cut_texts

if TYPE_CHECKING:
    from .._core.decisions import Decisions  # a vendored copy may leave it out

logger = logging.getLogger("lmstudio_provider")

_Reply = TypeVar("_Reply", bound="Completion | Embeddings | Decisions[Any]")
Request = Union[CompletionRequest, ChatRequest, TextRequest]


@show_options(CompletionRequest)
class HTTPProvider(LocalModels):
    """A local server that generates text, over any dialect."""

    @typed_as(Provider.complete)
    def complete(self, request: CompletionInput, **overrides: Unpack[CompletionOverrides]) -> Completion:
        return self._generate("complete", completion_request(request, **overrides), overrides)

    def complete_text(self, request: TextInput, **overrides: Unpack[Overrides]) -> Completion:
        return self._generate("complete_text", text_request(request, **overrides), overrides)

    @typed_as(Provider.chat)
    def chat(self, request: ChatInput, **overrides: Unpack[ChatOverrides]) -> Completion:
        return self._generate("chat", chat_request(request, **overrides), overrides)

    @typed_as(Provider.complete_with_tools)
    def complete_with_tools(self, request: ChatInput, **overrides: Unpack[ChatOverrides]) -> Completion:
        request = ToolLoopRequest.of(chat_request(request, **overrides))
        if not request.tools:
            raise InvalidRequestError("complete_with_tools got no tools", hint="Give tools=[Tool(...)], or call chat()")
        return self._generate("complete_with_tools", request, overrides)

    def _stream_any(
        self, request: Any, on_chunk: Callable[[Chunk], object] | None, overrides: dict[str, Any]
    ) -> Stream | Completion:
        return self._stream("stream", any_request(request, **overrides), on_chunk, overrides, self._server.dialect)

    def _stream(
        self,
        operation: str,
        request: Request,
        on_chunk: Callable[[Chunk], object] | None,
        limits: Mapping[str, Any],
        dialect: Dialect,
    ) -> Stream | Completion:
        callback = Callback("on_chunk", on_chunk)
        prepared = self._prepare_call(request, limits, dialect, stream=True)
        begun = begin(operation, prepared.call, prepared.options)
        on_end = functools.partial(self._record, begun)
        chat = prepared.request
        kind = functools.partial(Stream, structure=None if chat is None else structure_of(chat.response_format))

        def send(call: Call, options: CallOptions) -> Stream:
            return prepared.session.stream(call, options, kind, dialect.accumulator, prepared.parse_result, on_end)

        with self._recording_failure(begun):
            stream, refusal = send_or_cut(send, prepared.call, prepared.options)
        if refusal is not None:
            try:
                warn_of_cut_prompt(refusal, prepared.call.model)
            except BaseException:  # the user has made an error of the warning
                stream.close()
                raise
        return stream if on_chunk is None else stream._deliver(callback)

    def embed(
        self,
        texts: str | Iterable[str],
        model: str | None = None,
        *,
        num_ctx: int | None = None,
        keep_alive: float | str | None = None,
        on_truncation: Literal["warn", "error", "ignore"] = "warn",
        timeout: Timeout | Unset = UNSET,
        deadline: float | Unset | None = UNSET,
    ) -> Embeddings:
        inputs = checked_texts(texts)
        check("on_truncation", on_truncation, ON_TRUNCATION)
        session, options = self._for_call(timeout, deadline)
        fields = embed_options(self._defaults(options.config), num_ctx=num_ctx, keep_alive=keep_alive)
        check_name("model", model)
        is_named = model or self._settings.find("model_embedding") is not None
        if not model:
            model, options = self._embedding_model(options)
        if not inputs:
            return Embeddings([], model, model, truncated=())
        # For messages and records: it stands for the calls of all batches.
        call = self._server.dialect.embed_call([], model, True, **fields)
        begun = begin("embed", call, options)
        may_cut = on_truncation != "error"
        embedder = Embedder(session, options, self._server.dialect, model, fields, may_cut, self._server.context_hint)
        with (
            self._recording_failure(begun),
            session.annotate_errors(call, options),
            hinting(session, model, "embedding", "embed", "nomic-embed-text"),
        ):
            if on_truncation == "ignore":
                whole, context = embedder.in_batches(inputs), None
            elif self._server.dialect.refuses_long_texts:
                whole, context = embedder.fitting(inputs)
            else:
                whole, context = embedder.compared(inputs, functools.partial(self._find_cut, options))
        whole = self._check_model(whole) if is_named else whole
        self._record(begun, Completion("", whole.model, model, usage=whole.usage))
        if whole.truncated:
            warn_of_cut_texts(whole.truncated, model, context, self._server.context_hint)
        return whole

    def _find_cut(
        self, options: CallOptions, texts: Sequence[str], model: str, sent: bool, counted: int | None
    ) -> tuple[tuple[int, ...] | None, int | None]:
        """Return the positions of the texts that do not fit into the context of ``model``, and that context.

        This goes by the list of models, and asks for it again if it may be too old: a text seems not to fit, or the
        model that was ``sent`` the texts is not loaded in it.
        """
        refreshes = self._arguments["refresh"]
        for anew in (False, True):
            if anew:
                self._forget_models()
            cache = self._cache(eager=anew)
            if not cache.is_told:
                cache.wait(patience(options))
            models = cache.models if cache.is_told or not refreshes else ()
            contexts = contexts_of(models, model)
            cut = find_cut(texts, contexts, counted)
            known = find(models, model)
            if not refreshes or not (cut or (sent and known is not None and known.loaded is False)):
                break
        return cut, max(contexts, default=None)

    def _generate(
        self, operation: str, request: Request, limits: Mapping[str, Any], dialect: Dialect | None = None
    ) -> Completion:
        dialect = dialect or self._server.dialect
        prepared = self._prepare_call(request, limits, dialect, stream=False)
        session, begun = prepared.session, begin(operation, prepared.call, prepared.options)

        def send(call: Call, options: CallOptions) -> Completion:
            sent = time.monotonic()
            completion: Completion = session.ask(
                call, options, lambda value: dialect.reply(value, call, time.monotonic() - sent), dialect
            )
            return completion

        with self._recording_failure(begun), session.annotate_errors(prepared.call, prepared.options):
            completion, refusal = send_or_cut(send, prepared.call, prepared.options)
            try:
                if refusal is not None:
                    warn_of_cut_prompt(refusal, prepared.call.model)
                completion = prepared.parse_result(completion)
                if operation == "complete_with_tools" and prepared.request:
                    warn_of_lost_calls(completion, prepared.request.tools, request.max_tokens)
            except Warning as warning:  # the user has made an error of it, and the reply must not be lost
                vars(warning).update(partial=completion)
                raise
        self._record(begun, completion)
        return completion

    def _prepare_call(
        self, request: Request, limits: Mapping[str, Any], dialect: Dialect, stream: bool
    ) -> _PreparedCall:
        """Choose the model and make the call; raises InvalidRequestError, ConfigurationError, ProviderClosedError."""
        session, options = self._for_call(limits.get("timeout", UNSET), limits.get("deadline", UNSET))
        request = with_defaults(request, self._defaults(options.config))
        model, check_model, options = self._model_of(request.model, request.tier, options)
        if isinstance(request, TextRequest):
            call = dialect.text_call(request, model, stream, self.id)
            return _PreparedCall(session, call, options, check_model, None, dialect)
        chat = request.as_chat() if isinstance(request, CompletionRequest) else request
        call = dialect.chat_call(chat, model, stream, self.id)
        warn_of(call)
        return _PreparedCall(session, call, options, check_model, chat, dialect)

    def _defaults(self, config: Config) -> dict[str, Any]:
        """Return values for the fields that a request leaves out; None is not sent."""
        return {}

    def _model_of(
        self, model: str | None, tier: str | None, options: CallOptions, needed: bool = False
    ) -> tuple[str, Callable[[_Reply], _Reply], CallOptions]:
        """Return the model to ask for, the function that checks which one answered, and the options with less time.

        Raises ProviderError if none was named or can be chosen. ``needed`` is that of ``_choose_model``.
        """
        named = model or self._settings.model(tier, options.config)
        if tier and not model and self._settings.find(f"model_{tier}") is None:
            logger.info("no model is set for tier=%r; the one for all tiers is used", tier)
        if named:
            return named, self._check_model, options
        model, options = self._choose_model(options, needed=needed)
        return model, as_it_is, options

    def _check_model(self, reply: _Reply) -> _Reply:
        """Return ``reply``; warn, once for each pair of names, if another model answered than the caller asked for."""
        pair = asked, answered = reply.requested_model, reply.model
        if asked == answered or pair in self._warned:
            return reply
        # A name such as "m:2" is that of one instance, which may be gone.
        numbered = re.search(r":\d+$", asked)
        if numbered or not is_same(asked, answered):
            known = None if numbered else find(self._cached_models(), asked)
            # An instance can have any name (``identifier`` of LM Studio).
            is_instance = known is not None and answered in [instance.id for instance in known.instances]
            if not is_instance and self._is_first(pair):
                warn(
                    f"{answered!r} answered, but {asked!r} was asked for: a server that has one model "
                    "loaded may ignore the name; list_models() returns the models that it has",
                    ModelMismatchWarning,
                )
        return reply

    def _is_first(self, pair: tuple[str, str]) -> bool:
        """Return True in one thread only, once for each ``pair``."""
        mark = object()
        return self._warned.setdefault(pair, mark) is mark

    @contextlib.contextmanager
    def _recording_failure(self, begun: BegunCall) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            if isinstance(error, (ModelNotFoundError, NoModelLoadedError, ModelUnloadedError)):
                self._forget_models()  # what is loaded has changed since they were listed
            if getattr(error, "sent", True):
                nothing = Completion("", begun.model, begun.model, provider_id=self.id)
                self._record(begun, getattr(error, "partial", None) or nothing, error)
            raise

    def _record(self, begun: BegunCall, completion: Completion, error: BaseException | None = None) -> None:
        if self._usage is None:
            return
        record = begun.record(self.id, self._server.api_key_hash, completion, error)
        try:
            self._usage.record(record)
        except Exception:
            report_failure("usage.record()", quiet=not self._is_first(("usage", "")))


class Caller:
    """The methods of a provider with which its optional parts make calls."""

    def __init__(self, provider: HTTPProvider) -> None:
        self.provider = provider
        self.for_call = provider._for_call
        self.new_session = provider._new_session
        self.waiting = provider._waiting
        self.model_of = provider._model_of
        self.forget_models = provider._forget_models
        self.record = provider._record
        self.recording_failure = provider._recording_failure


class _PreparedCall(NamedTuple):
    """A call that is ready to be sent, and the means to check its completion."""

    session: Session
    call: Call
    options: CallOptions
    check_model: Callable[[Completion], Completion]
    request: ChatRequest | None
    """None if the call continues a text, which has no format and no tools."""
    dialect: Dialect

    def parse_result(self, completion: Completion) -> Completion:
        """Return the completion, with ``parsed`` if a format was asked for, and warn; raise StructuredOutputError."""
        completion, request = self.check_model(completion), self.request
        if request is None:
            return completion
        warn_of(self.call)
        warn_of_thoughts(request.reasoning, completion, self.dialect.no_reasoning)
        structure = structure_of(request.response_format)
        looped = isinstance(request, ToolLoopRequest)  # it warns of lost calls itself
        if looped:
            completion = take_calls(completion, request.tools, structure is None)
        if structure is not None and not completion.tool_calls:  # text beside a call is not the answer yet
            try:
                completion = dataclasses.replace(completion, parsed=structure.parse(completion))
            except StructuredOutputError:
                warn_of_lost_calls(completion, request.tools, request.max_tokens)
                raise
        elif (not completion.text or completion.text.isspace()) and not written_call(completion, request.tools):
            warn_of_empty_answer(request.reasoning, completion, f"max_tokens={request.max_tokens}")
        if not looped:
            warn_of_lost_calls(completion, request.tools, request.max_tokens)
        return completion


def warn_of(call: Call) -> None:
    """Warn, once, of the problems that the dialect has noted."""
    while call.warnings:
        noted = call.warnings.pop(0)
        warn(str(noted), type(noted))


def as_it_is(reply: _Reply) -> _Reply:
    """Return ``reply`` without a check: the provider chose the model, the caller asked for none."""
    return reply
