"""A provider that speaks HTTP: all but the server's dialect."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
import time
from typing import Any, Callable, Iterable, Iterator, Literal, Sequence, TypeVar, Union, overload

from .._core.callbacks import Callback, report_failure, warn
from .._core.errors import (
    EmptyAnswerWarning,
    InvalidRequestError,
    ModelMismatchWarning,
    ModelNotFoundError,
    ModelUnloadedError,
    NoModelLoadedError,
    ProviderError,
)
from .._core.model_names import find, is_same
from .._core.options import Unpack, show_options, with_defaults
from .._core.overrides import ChatOverrides, CompletionOverrides, Overrides, StreamOverrides
from .._core.requests import (
    ChatInput,
    ChatRequest,
    CompletionInput,
    CompletionRequest,
    StreamInput,
    TextInput,
    TextRequest,
    ToolLoopRequest,
    chat_request,
    check_name,
    check_on_truncation,
    completion_request,
    embed_options,
    override,
    text_request,
)
from .._core.schema.structured import structure_of
from .._core.types import UNSET, Call, Chunk, Completion, Embeddings, Timeout, Unset, Usage
from .._core.usage import Status, UsageRecord, status_of
from .._dialects.dialect import Dialect
from .._dialects.tool_text import take_calls, warn_of_lost_calls
from .embedding import checked_texts, embed_and_compare, embed_in_batches, embed_what_fits, hinting
from .local_models import LocalModels, patience
from .session import CallOptions, Session
from .settings import Config
from .stream import Stream
from .truncation import contexts_of, find_cut, send_or_cut, warn_of_cut_prompt, warn_of_cut_texts

_Served = TypeVar("_Served", bound=Union[Completion, Embeddings])
Request = Union[CompletionRequest, ChatRequest, TextRequest]


@show_options(CompletionRequest)
class HTTPProvider(LocalModels):
    """What generates text, over any dialect."""

    #: How to have more room for a text to embed, as the beginning of a sentence.
    _context_hint: str

    def complete(self, request: CompletionInput, **overrides: Unpack[CompletionOverrides]) -> Completion:
        return self._generate("complete", completion_request(request), dict(overrides))

    def complete_text(self, request: TextInput, **overrides: Unpack[Overrides]) -> Completion:
        return self._generate("complete_text", text_request(request), dict(overrides))

    def chat(self, request: ChatInput, **overrides: Unpack[ChatOverrides]) -> Completion:
        return self._generate("chat", chat_request(request), dict(overrides))

    def complete_with_tools(self, request: ChatInput, **overrides: Unpack[ChatOverrides]) -> Completion:
        request = chat_request(request)
        if not request.tools and not overrides.get("tools"):
            raise InvalidRequestError("complete_with_tools got no tools", hint="Give tools=[Tool(...)], or call chat()")
        completion = self._generate("complete_with_tools", ToolLoopRequest.of(request), dict(overrides))
        warn_of_lost_calls(completion, True, overrides.get("max_tokens", request.max_tokens))
        return completion

    @overload
    def stream(self, request: StreamInput, on_chunk: None = None, **overrides: Unpack[StreamOverrides]) -> Stream: ...

    @overload
    def stream(
        self, request: StreamInput, on_chunk: Callable[[Chunk], object], **overrides: Unpack[StreamOverrides]
    ) -> Completion: ...

    def stream(
        self,
        request: StreamInput,
        on_chunk: Callable[[Chunk], object] | None = None,
        **overrides: Unpack[StreamOverrides],
    ) -> Stream | Completion:
        if isinstance(request, (CompletionRequest, str)):
            request = completion_request(request)
        elif not isinstance(request, TextRequest):
            request = chat_request(request)
        return self._stream("stream", request, on_chunk, dict(overrides), self._dialect)

    def _stream(
        self,
        operation: str,
        request: Request,
        on_chunk: Callable[[Chunk], object] | None,
        overrides: dict[str, Any],
        dialect: Dialect,
    ) -> Stream | Completion:
        callback = Callback("on_chunk", on_chunk)
        session, call, plan, finished = self._plan(request, overrides, dialect, stream=True)
        started = time.monotonic()

        def over(completion: Completion, error: BaseException | None) -> None:
            status = "cancelled" if completion.finish_reason == "cancelled" else status_of(error)
            self._record(operation, completion, started, status)

        with self._recording_failure(operation, call, started):
            stream, refusal = send_or_cut(
                lambda call, plan: session.stream(call, plan, Stream, dialect.accumulator, finished, over), call, plan
            )
        if refusal is not None:
            try:
                warn_of_cut_prompt(refusal, call.model)
            except BaseException:
                stream.close()
                raise
        if on_chunk is None:
            return stream
        return stream._deliver(callback)

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
        check_on_truncation(on_truncation)
        session, plan = self._where(timeout, deadline)
        options = embed_options(self._defaults(plan.config), num_ctx=num_ctx, keep_alive=keep_alive)
        check_name("model", model)
        served = self._served if model or self._settings.find("model_embedding") is not None else as_it_is
        if not model:
            model, plan = self._embedding_model(plan)
        if not inputs:
            return Embeddings([], model, model, truncated=())
        chosen, dialect, started = model, self._dialect, time.monotonic()
        call = dialect.embed_call([], model, True, **options)  # which stands for all of them

        def ask(batch: Sequence[str], truncate: bool) -> Embeddings:
            nonlocal plan
            call = dialect.embed_call(batch, chosen, truncate, **options)
            try:
                part: Embeddings = session.ask(call, plan, lambda value: dialect.embed_reply(value, call, len(batch)))
            finally:
                plan = plan._replace(waited_s=0.0)
            return part

        with (
            self._recording_failure("embed", call, started),
            session.annotate_errors(call, plan),
            hinting(session, model),
        ):
            if on_truncation == "ignore":
                whole, context = embed_in_batches(ask, inputs), None
            elif dialect.refuses_long_texts:
                whole, context = embed_what_fits(ask, inputs, model, on_truncation, self._context_hint)
            else:
                find_cut = functools.partial(self._find_cut, inputs, plan)
                whole, context = embed_and_compare(ask, inputs, model, on_truncation, self._context_hint, find_cut)
        whole = served(whole)
        self._record("embed", Completion("", whole.model, model, usage=whole.usage), started, "ok")
        if whole.truncated:
            warn_of_cut_texts(whole.truncated, model, context, self._context_hint)
        return whole

    def _find_cut(
        self, texts: Sequence[str], plan: CallOptions, model: str, sent: bool, counted: int | None
    ) -> tuple[tuple[int, ...] | None, int | None]:
        """Return which texts do not fit into the context of ``model``, None if that is not known, and its length.

        Goes by the list of models, which is asked for again if it may be too old: a text seems not to fit, or the model
        that was ``sent`` the texts is not loaded there. ``counted`` is as that of ``find_cut``.
        """
        refreshes = self._arguments["refresh"]
        for anew in (False, True):
            if anew:
                self._forget_models()
            cache = self._cache(eager=anew)
            if not cache.is_told:
                cache.wait(patience(plan))
            models = cache.models if cache.is_told or not refreshes else ()
            contexts = contexts_of(models, model)
            cut = find_cut(texts, contexts, counted)
            known = find(models, model)
            if not refreshes or not (cut or (sent and known is not None and known.loaded is False)):
                break
        return cut, max(contexts, default=None)

    def _generate(
        self, operation: str, request: Request, overrides: dict[str, Any], dialect: Dialect | None = None
    ) -> Completion:
        dialect = dialect or self._dialect
        session, call, plan, finished = self._plan(request, overrides, dialect, stream=False)
        started = time.monotonic()

        def ask(call: Call, plan: CallOptions) -> Completion:
            begun = time.monotonic()
            reply: Completion = session.ask(
                call, plan, lambda value: dialect.reply(value, call, time.monotonic() - begun), dialect
            )
            return reply

        with self._recording_failure(operation, call, started), session.annotate_errors(call, plan):
            completion, refusal = send_or_cut(ask, call, plan)
            if refusal is not None:
                warn_of_cut_prompt(refusal, call.model)
            completion = finished(completion)
        self._record(operation, completion, started, "ok")
        return completion

    def _plan(
        self, request: Request, overrides: dict[str, Any], dialect: Dialect, stream: bool
    ) -> tuple[Session, Call, CallOptions, Callable[[Completion], Completion]]:
        """Who is called with what, and how, and what makes of the reply what the caller gets.

        Raises InvalidRequestError, ConfigurationError, ProviderClosedError.
        """
        timeout, deadline = overrides.pop("timeout", UNSET), overrides.pop("deadline", UNSET)
        session, plan = self._where(timeout, deadline)
        request = with_defaults(override(request, **overrides), self._defaults(plan.config))
        model, served, plan = self._model_of(request.model, request.tier, plan)
        if isinstance(request, TextRequest):
            return session, dialect.text_call(request, model, stream, self.id), plan, served
        chat = request.as_chat() if isinstance(request, CompletionRequest) else request
        call = dialect.chat_call(chat, model, stream, self.id)
        warn_of(call)
        return session, call, plan, lambda completion: finished(served(completion), chat, call, dialect.no_reasoning)

    def _defaults(self, config: Config) -> dict[str, Any]:
        """Return the options of calls that do not say otherwise; None is not sent."""
        return {}

    def _model_of(
        self, model: str | None, tier: str | None, plan: CallOptions
    ) -> tuple[str, Callable[[_Served], _Served], CallOptions]:
        """The model to name, what looks at the one that answered, if anybody has asked for one, and what time is left.

        Raises ProviderError, if none was named and none can be chosen.
        """
        asked = model or self._settings.model(tier)
        if asked:
            return asked, self._served, plan
        model, plan = self._choose_model(plan)
        return model, as_it_is, plan

    def _served(self, completion: _Served) -> _Served:
        """Warn where another model answered than was asked for; once for each pair, with a reply that is kept."""
        pair = asked, served = completion.requested_model, completion.model
        # A name with a number is that of one instance, which may be gone.
        numbered = re.search(r":\d+$", asked)
        if pair not in self._mismatches and not (asked == served if numbered else is_same(asked, served)):
            known = None if numbered else find(self._cached_models(), asked)
            # An instance may have been given any name.
            named = known is not None and served in [instance.id for instance in known.instances]
            mark = object()
            if not named and self._mismatches.setdefault(pair, mark) is mark:  # of two threads, one
                warn(
                    f"{served!r} answered, and not {asked!r}, which was asked for: a server with one model "
                    "loaded may ignore the name; list_models() tells what is there",
                    ModelMismatchWarning,
                )
        return completion

    @contextlib.contextmanager
    def _recording_failure(self, operation: str, call: Call, started: float) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            if isinstance(error, (ModelNotFoundError, NoModelLoadedError, ModelUnloadedError)):
                self._forget_models()  # what is loaded has changed since they were listed
            if not isinstance(error, ProviderError) or error.sent:
                nothing = Completion("", call.model, call.model, provider_id=self.id)
                completion = getattr(error, "partial", None) or nothing
                self._record(operation, completion, started, status_of(error))
            raise

    def _record(self, operation: str, completion: Completion, started: float, status: Status) -> None:
        if self._usage is None:
            return
        usage = completion.usage or Usage()
        record = UsageRecord(
            provider_id=self.id,
            model=completion.model,
            operation=operation,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            total_tokens=usage.total_tokens,
            duration_s=time.monotonic() - started,
            time_to_first_token_s=completion.stats.time_to_first_token_s,
            status=status,
            api_key_hash=self._api_key_hash,
            created_at=time.time(),
        )
        try:
            self._usage.record(record)
        except Exception:
            mark = object()
            first = self._mismatches.setdefault(("usage", ""), mark) is mark  # of all threads, one
            report_failure("usage.record()", quiet=not first)


class Caller:
    """Makes calls for a part of a provider that lives elsewhere, and needs no more of it than this."""

    def __init__(self, provider: HTTPProvider) -> None:
        self.provider = provider
        #: Return the session with the server as it is set now, and how it is to be called.
        self.where = provider._where
        #: Return a session with connections of its own.
        self.new_session = provider._new_session
        #: Return how long another thread is waited for.
        self.waiting = provider._waiting
        #: Return the model to name, what looks at the one that answered, and what time is left.
        self.model_of = provider._model_of
        #: Have the models listed anew, because they were changed.
        self.forget_models = provider._forget_models
        #: Record the usage of a call that came to its end, or of the block that failed.
        self.record = provider._record
        self.recording_failure = provider._recording_failure


def warn_of(call: Call) -> None:
    """Warn of what the dialect has noted, once."""
    while call.warnings:
        noted = call.warnings.pop(0)
        warn(str(noted), type(noted))


def finished(completion: Completion, request: ChatRequest, call: Call, no_reasoning: str) -> Completion:
    """The completion as the caller gets it: parsed where that was asked for; raises StructuredOutputError.

    ``no_reasoning`` is the option that switches reasoning off, if there is one.
    """
    warn_of(call)
    if isinstance(request, ToolLoopRequest):
        completion = take_calls(completion, request.tools)
    else:
        warn_of_lost_calls(completion, bool(request.tools), request.max_tokens)
    structure = structure_of(request.response_format)
    empty = not completion.text.strip() and not completion.tool_calls
    if structure is not None and not completion.tool_calls:  # what is said beside a call is no answer yet
        return dataclasses.replace(completion, parsed=structure.parse(completion))
    if empty and completion.finish_reason == "length":
        limit = f"max_tokens={request.max_tokens}"
        how = f"reasoning took all of {limit}" if completion.reasoning else f"{limit} were used up before any text came"
        more = f", or switch reasoning off with {no_reasoning}" if no_reasoning else ""
        warn(f"the answer is empty: {how}; raise it{more}", EmptyAnswerWarning)
    return completion


def as_it_is(completion: _Served) -> _Served:
    """The completion as it came."""
    return completion
