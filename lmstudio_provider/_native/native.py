"""LM Studio's own API, as ``lm.native``: chats with progress and state, models in memory and on disk."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from typing import Any, Callable, Iterator

from .._core.checks import FLAG, check
from .._core.errors import InvalidRequestError, ModelNotFoundError
from .._core.options import Unpack, show_options
from .._core.reasoning import warn_of_empty_answer, warn_of_thoughts
from .._core.requests import check_given, check_name, override
from .._core.types import UNSET, Call, LoadedInstance, ModelInfo, Progress, Timeout, Timeouts, Unset
from .._dialects.json_text import text_or_none
from .._provider.http_provider import Caller, as_it_is
from .._provider.recording import begin
from .._provider.session import CallOptions, Session
from . import dialect as native
from .download import Download
from .events_reader import NativeAssembly
from .loading import Block, Loads, choose, list_models
from .stream import NativeStream, Notices
from .types import (
    ELSEWHERE,
    LoadedModel,
    LoadOptions,
    NativeCompletion,
    NativeInput,
    NativeOptions,
    NativeRequest,
    check_load_options,
    is_http,
    without_secrets,
)

# While a model is loaded, a prompt read or a tool called, a stream is silent for as long as before its first byte.
_PATIENT = Timeouts(idle=Timeouts().first_byte)


@show_options(NativeRequest)
class Native:
    """LM Studio's own API, since 0.4.0. An older server, or another one, raises EndpointNotFoundError.

    The other errors are those of every call of the provider. Every call but ``download_status`` has the keyword
    arguments ``timeout`` (the longest silence, in seconds or as Timeouts) and ``deadline`` (for the whole call, in
    seconds).
    """

    def __init__(self, caller: Caller, loads: Loads) -> None:
        self._caller = caller
        self._loads = loads

    def __repr__(self) -> str:
        return f"<Native {self._caller.provider.base_url}>"

    def chat(self, input: NativeInput, **options: Unpack[NativeOptions]) -> NativeCompletion:
        """Answer ``input``, the user's text; keyword arguments are the fields of NativeRequest.

        LM Studio runs the tools of ``integrations`` itself, and keeps the conversation unless ``store=False``: the next
        turn gives ``previous_response_id=completion.response_id``. Python functions as tools, JSON schemas, ``stop``
        and ``seed`` are for ``lm.chat``.
        """
        session, call, plan, served = self._plan(input, dict(options), stream=False)
        caller, begun = self._caller, begin("native.chat", call, plan)
        with caller.recording_failure(begun):
            completion: NativeCompletion = session.ask(
                call, plan, lambda value: served(native.chat_reply(value, call, time.monotonic() - begun.time_s))
            )
        caller.record(begun, completion)
        return completion

    def stream(
        self,
        input: NativeInput,
        *,
        on_progress: Callable[[str, float], object] | None = None,
        **options: Unpack[NativeOptions],
    ) -> NativeStream:
        """Answer as ``chat`` does, event by event. The request is sent when this returns.

        ``on_progress(stage, fraction)`` is called while the stream is iterated, with "model_load" or
        "prompt_processing" and a number from 0 to 1. An exception in it closes the stream and reaches the caller.
        Without a ``timeout`` the server may be silent for 600 s at any time: while it loads a model, or runs a tool.
        """
        return self._stream(input, on_progress, dict(options), as_it_is)

    def _stream(
        self,
        input: Any,
        on_progress: Callable[[str, float], object] | None,
        options: dict[str, Any],
        keep: Callable[[NativeCompletion], NativeCompletion],
    ) -> NativeStream:
        notices = Notices(on_progress)  # raises for a bad one, before anything is sent
        patient = "timeout" not in options
        session, call, plan, served = self._plan(input, options, stream=True)
        caller, begun = self._caller, begin("native.stream", call, plan)
        if patient and plan.config.timeouts is None:
            plan = plan._replace(timeouts=_PATIENT)

        over = functools.partial(caller.record, begun)
        kind = functools.partial(NativeStream, notices=notices)
        with caller.recording_failure(begun):
            return session.stream(call, plan, kind, NativeAssembly, lambda whole: keep(served(whole)), over)

    def _plan(
        self, input: Any, options: dict[str, Any], stream: bool
    ) -> tuple[Session, Call, CallOptions, Callable[[NativeCompletion], NativeCompletion]]:
        limits = [options.pop(name, UNSET) for name in ("timeout", "deadline")]
        given = input if isinstance(input, NativeRequest) else NativeRequest(input)
        request = override(given, ELSEWHERE, **options)
        session, plan = self._caller.for_call(*limits)
        # LM Studio's own API refuses a name that it does not know, "local-model" too.
        model, served, plan = self._caller.model_of(request.model, request.tier, plan, needed=True)
        call = dataclasses.replace(native.chat_call(request, model, stream), provider_id=self._caller.provider.id)
        return session, call, plan, lambda whole: _ended(served(whole), request)

    def models(self, *, timeout: Timeout | Unset = UNSET, deadline: float | Unset | None = UNSET) -> list[ModelInfo]:
        """Return the models on disk, with all that LM Studio reports; ``ModelInfo.raw`` is that as it came."""
        return list_models(*self._caller.for_call(timeout, deadline))

    def load(
        self,
        model: str,
        *,
        echo_load_config: bool = False,
        timeout: Timeout | Unset = UNSET,
        deadline: float | Unset | None = UNSET,
        **config: Unpack[LoadOptions],
    ) -> LoadedModel:
        """Load ``model`` and return when it is loaded. If it is loaded already, load a second instance, ``model:2``.

        ``config`` are ``context_length`` and ``eval_batch_size`` (tokens), ``flash_attention``, ``num_experts`` and
        ``offload_kv_cache_to_gpu``; ``echo_load_config`` has the server return all of it as ``load_config``. Raises
        ModelNotFoundError and ModelLoadError. After a RequestTimeoutError the server may still be loading.
        """
        body = check_load_options(model, config)
        check("echo_load_config", echo_load_config, FLAG)
        if echo_load_config:
            body["echo_load_config"] = True
        return self._load(native.load_call(model, body), *self._caller.for_call(timeout, deadline))

    def _load(self, call: Call, session: Session, plan: CallOptions) -> LoadedModel:
        loaded: LoadedModel = session.ask(call, plan, native.load_reply)
        self._loads.forget(session.base_url, loaded.instance_id)
        self._caller.forget_models()
        return loaded

    def unload(
        self,
        instance_id: str | LoadedModel | LoadedInstance,
        *,
        timeout: Timeout | Unset = UNSET,
        deadline: float | Unset | None = UNSET,
    ) -> None:
        """Unload an instance: a LoadedModel, a LoadedInstance, or its id. Raises ModelNotFoundError."""
        id_: Any = instance_id.instance_id if isinstance(instance_id, LoadedModel) else instance_id
        id_ = id_.id if isinstance(id_, LoadedInstance) else id_
        check_given("instance_id", id_)
        session, plan = self._caller.for_call(timeout, deadline)
        try:
            session.ask(native.unload_call(id_), plan, native.unload_reply)
            self._loads.forget(session.base_url, id_)
        except ModelNotFoundError as error:
            error.hint = "native.models() lists the instances that are loaded; a time to live may have unloaded it"
            raise
        finally:
            self._caller.forget_models()

    def ensure_loaded(
        self,
        model: str,
        *,
        timeout: Timeout | Unset = UNSET,
        deadline: float | Unset | None = UNSET,
        **config: Unpack[LoadOptions],
    ) -> LoadedModel:
        """Return an instance of ``model``; load one only if none is there that was loaded with ``config``.

        A larger ``context_length`` than the given one is as good. Threads that ask at once load one instance between
        them. One that a block of ``loaded()`` has loaded is unloaded at the end of that block.
        """
        call = native.load_call(model, check_load_options(model, config))
        session, plan = self._caller.for_call(timeout, deadline)
        found = choose(list_models(session, plan), model, config)
        if found is not None:
            return found  # without waiting for what another thread loads
        with self._loads.looking(self._caller.waiting(plan)):
            return choose(list_models(session, plan), model, config) or self._load(call, session, plan)

    def loaded(
        self,
        model: str,
        *,
        timeout: Timeout | Unset = UNSET,
        deadline: float | Unset | None = UNSET,
        **config: Unpack[LoadOptions],
    ) -> contextlib.AbstractContextManager[LoadedModel]:
        """Return an instance as ``ensure_loaded`` does, for a ``with`` block; unload it afterwards if this loaded it.

        It is also unloaded after any exception, including a KeyboardInterrupt and a time limit while the model is being
        loaded: a thread then waits for the server, and unloads it; a program that ends before waits for that thread.
        It is not an error if the instance was unloaded meanwhile. If blocks of one provider share a model, in any
        threads, the last one unloads it.
        """
        check_load_options(model, config)
        self._caller.for_call(timeout, deadline)  # raises for limits that are not valid
        return self._in_block(model, config, timeout, deadline)

    @contextlib.contextmanager
    def _in_block(
        self, model: str, config: LoadOptions, timeout: Timeout | Unset, deadline: float | Unset | None
    ) -> Iterator[LoadedModel]:
        block = Block(self._loads, self._caller, model, config, *self._caller.for_call(timeout, deadline))
        failed = True
        try:
            try:
                yield block.enter()
                failed = False
            finally:
                block.leave(quiet=failed)
        finally:  # once more, because a KeyboardInterrupt may have ended the first one anywhere
            block.leave(quiet=True)

    def download(
        self,
        model: str,
        quantization: str | None = None,
        *,
        timeout: Timeout | Unset = UNSET,
        deadline: float | Unset | None = UNSET,
    ) -> Download:
        """Begin to download ``model``: a name of LM Studio's catalog, or the URL of a repository at Hugging Face.

        ``quantization``, such as "Q4_K_M", goes only with a URL. Returns at once; ``wait()`` waits for the end.
        """
        check_given("model", model)
        check_name("quantization", quantization)
        if "://" in model and not is_http(model):  # not shown: it may hold a secret
            raise InvalidRequestError("model is not an http or https URL")
        if quantization is not None and "://" not in model:
            raise InvalidRequestError(
                f"quantization={quantization!r} goes only with the URL of a repository, and {model!r} is not a URL",
                hint="Give 'https://huggingface.co/...', or leave quantization out",
            )
        session, plan = self._caller.for_call(timeout, deadline)
        try:
            value = session.ask(native.download_call(model, quantization), plan, native.download_reply)
        except ModelNotFoundError as error:
            error.hint = (
                "Give a name as LM Studio's catalog has it, such as 'qwen/qwen3-4b', or the URL of a repository"
            )
            raise
        return Download(self._caller, text_or_none(value.get("job_id")), value, without_secrets(model))

    def download_status(self, job_id: str) -> Progress:
        """Return the progress of a download. Raises JobNotFoundError."""
        return Download.resume(job_id, self._caller.provider).status()


def _ended(completion: NativeCompletion, request: NativeRequest) -> NativeCompletion:
    """Return the completion, with "length" as its ``finish_reason`` if it was cut, which the server does not say."""
    warn_of_thoughts(request.reasoning, completion, "Take a model whose ModelInfo.reasoning_options have 'off'")
    most, used = request.max_output_tokens, completion.usage
    if most is not None and used is not None and (used.completion_tokens or 0) >= most:
        completion = dataclasses.replace(completion, finish_reason="length")
    warn_of_empty_answer(request.reasoning, completion, f"max_output_tokens={most}")
    return completion
