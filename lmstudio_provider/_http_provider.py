"""A provider that speaks HTTP: all but the server's dialect."""

from __future__ import annotations

import contextlib
import logging
import time
import traceback
import warnings
from typing import TYPE_CHECKING, Any, Callable, Iterator, overload

from ._exceptions import InvalidRequestError, ProviderError
from ._exchange import Deadline
from ._local_server import LocalServer
from ._model_cache import DISCOVERY_S
from ._requests import (
    ChatInput,
    ChatOverrides,
    ChatRequest,
    CompletionInput,
    CompletionOverrides,
    CompletionRequest,
    StreamOverrides,
    override,
)
from ._session import Plan, Session
from ._settings import as_timeouts
from ._stream import Stream
from ._types import UNSET, Call, Chunk, Completion, Timeouts, Usage, check_seconds
from ._usage import UsageRecord, status_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

logger = logging.getLogger("lmstudio_provider")


class HTTPProvider(LocalServer):
    """What generates text, over any dialect."""

    def complete(self, request: CompletionInput, **overrides: Unpack[CompletionOverrides]) -> Completion:
        return self._generate("complete", _completion_request(request), dict(overrides))

    def chat(self, request: ChatInput, **overrides: Unpack[ChatOverrides]) -> Completion:
        return self._generate("chat", _chat_request(request), dict(overrides))

    def complete_with_tools(self, request: ChatInput, **overrides: Unpack[ChatOverrides]) -> Completion:
        request = _chat_request(request)
        if not request.tools and not overrides.get("tools"):
            raise InvalidRequestError("complete_with_tools got no tools", hint="Give tools=[Tool(...)], or call chat()")
        return self._generate("complete_with_tools", request, dict(overrides))

    @overload
    def stream(
        self, request: CompletionInput | ChatInput, on_chunk: None = None, **overrides: Unpack[StreamOverrides]
    ) -> Stream: ...

    @overload
    def stream(
        self,
        request: CompletionInput | ChatInput,
        on_chunk: Callable[[Chunk], object],
        **overrides: Unpack[StreamOverrides],
    ) -> Completion: ...

    def stream(
        self,
        request: CompletionInput | ChatInput,
        on_chunk: Callable[[Chunk], object] | None = None,
        **overrides: Unpack[StreamOverrides],
    ) -> Stream | Completion:
        is_text = isinstance(request, (CompletionRequest, str))
        typed = _completion_request(request) if is_text else _chat_request(request)
        if on_chunk is not None and not callable(on_chunk):
            raise InvalidRequestError(f"on_chunk={on_chunk!r} cannot be called", hint="Options go by name: model=...")
        session, call, plan = self._plan(typed, dict(overrides), stream=True)
        started = time.monotonic()

        def over(completion: Completion, error: BaseException | None) -> None:
            status = "cancelled" if completion.finish_reason == "cancelled" else status_of(error)
            self._record("stream", completion, started, status)

        with self._recording_failure("stream", call, started):
            stream = session.stream(call, plan, over)
        if on_chunk is None:
            return stream
        wanted: Callable[[Chunk], object] | None = on_chunk
        failure = ""
        with stream:
            for chunk in stream:
                if wanted is not None:
                    try:
                        wanted(chunk)
                    except Exception:
                        wanted, failure = None, traceback.format_exc()
        if failure:
            warnings.warn(f"on_chunk failed, and was not called again:\n{failure}", RuntimeWarning, stacklevel=2)
        return stream.completion

    def _generate(
        self, operation: str, request: CompletionRequest | ChatRequest, overrides: dict[str, Any]
    ) -> Completion:
        session, call, plan = self._plan(request, overrides, stream=False)
        started = time.monotonic()
        with self._recording_failure(operation, call, started):
            value = session.ask(call, plan)
            with session.telling(call, plan):
                completion = self._dialect.chat_reply(value, call.model, time.monotonic() - started)
        self._record(operation, completion, started, "ok")
        return completion

    def _plan(
        self, request: CompletionRequest | ChatRequest, overrides: dict[str, Any], stream: bool
    ) -> tuple[Session, Call, Plan]:
        """Who is called with what, and how; raises InvalidRequestError, ConfigurationError, ProviderClosedError."""
        started = time.monotonic()
        timeout = overrides.pop("timeout", UNSET)
        deadline = overrides.pop("deadline", self._deadline)
        check_seconds("deadline", deadline)
        config = self._settings.config()
        timeouts = as_timeouts(timeout) if timeout is not UNSET else config.timeouts or Timeouts()
        request = override(request, **overrides)
        session = self._session(config)
        wait_s = DISCOVERY_S if deadline is None else min(DISCOVERY_S, deadline)
        model = request.model or self._resolve_model(request.tier, wait_s)
        chat = self._dialect.as_chat(request) if isinstance(request, CompletionRequest) else request
        call = self._dialect.chat_call(chat, model, stream)
        return session, call, Plan(config, timeouts, None if deadline is None else Deadline(deadline, started))

    @contextlib.contextmanager
    def _recording_failure(self, operation: str, call: Call, started: float) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            if not isinstance(error, ProviderError) or error.sent:
                self._record(operation, Completion("", call.model, call.model), started, status_of(error))
            raise

    def _record(self, operation: str, completion: Completion, started: float, status: str) -> None:
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
            logger.exception("usage.record() failed; the call itself is not affected")


def _completion_request(request: object) -> CompletionRequest:
    if isinstance(request, CompletionRequest):
        return request
    if isinstance(request, str):
        return CompletionRequest(request)
    raise InvalidRequestError(
        f"complete() got {type(request).__name__}, not a text or a CompletionRequest",
        hint="chat() takes messages",
    )


def _chat_request(request: Any) -> ChatRequest:
    return request if isinstance(request, ChatRequest) else ChatRequest(request)
