"""The tokens of a prompt, by the server's own count, the context of a model, and typed questions to decision models."""

from __future__ import annotations

import dataclasses
from typing import Any, Iterator, Mapping, Sequence

from .._core.decisions import Answer, Decisions, Question
from .._core.errors import ContextLengthError, InvalidRequestError, ProtocolError, preview
from .._core.images import Image
from .._core.messages import Message
from .._core.model_names import find
from .._core.options import Unpack, show_options
from .._core.overrides import StreamOverrides
from .._core.requests import ChatRequest, CompletionRequest, StreamInput, TextRequest, any_request, check_name
from .._core.types import UNSET, Completion, Timeout, Unset
from .._dialects import decisions as wire
from .embedding import hinting
from .http_provider import HTTPProvider, as_it_is
from .local_models import decides
from .recording import begin
from .session import CallOptions
from .truncation import least_tokens

# In ``extra``, these would win over the limit of one token, or let the server cut the prompt.
_LIMITS = ("max_tokens", "max_completion_tokens", "num_predict", "truncate")


@show_options(CompletionRequest)
class DecidingProvider(HTTPProvider):
    """A local server that counts tokens, and asks decision models."""

    def context_length(self, model: str | None = None, *, timeout: Timeout | Unset = UNSET) -> int | None:
        num_ctx: int | None = self._defaults(self._settings.config()).get("num_ctx")
        if num_ctx is None:
            return super().context_length(model, timeout=timeout)
        known = find(self.list_models(timeout), model or self.resolve_model())
        longest = known.max_context_length if known else None
        return min(num_ctx, longest or num_ctx)

    def count_tokens(self, request: StreamInput, **overrides: Unpack[StreamOverrides]) -> int:
        whole = any_request(request, **overrides)
        extra = _without_limits(whole.extra)
        if isinstance(extra.get("options"), Mapping):
            extra["options"] = _without_limits(extra["options"])
        one = dataclasses.replace(whole, max_tokens=1, on_truncation="error", extra=extra)
        dialect = self._server.dialect
        session, call, options, check_model, *_ = self._prepare_call(one, overrides, dialect, stream=False)
        begun = begin("count_tokens", call, options)
        completion, counted = Completion("", call.model, call.model, provider_id=self.id), None
        with self._recording_failure(begun), session.annotate_errors(call, options):
            try:
                completion = check_model(
                    session.ask(call, options, lambda value: dialect.reply(value, call, 0.0), dialect)
                )
                counted = completion.usage.prompt_tokens if completion.usage else None
            except ContextLengthError as error:
                if error.prompt_tokens is None:
                    raise
                counted = error.prompt_tokens
            if counted is None:
                hint = "A newer version may report it"
                raise ProtocolError("the reply does not say how many tokens the prompt has", hint=hint, sent=True)
            least = sum(map(least_tokens, _texts(whole)))
            if counted < least:
                what = f"the server cut the prompt: it counted {counted} tokens of at least {least}"
                raise ContextLengthError(what, hint=self._server.context_hint, sent=True)
        self._record(begun, completion)
        return counted

    def decide(
        self,
        state: str | Mapping[str, Any],
        questions: Mapping[str, Question[Answer]],
        model: str | None = None,
        *,
        images: Image | Sequence[Image] = (),
        timeout: Timeout | Unset = UNSET,
        deadline: float | Unset | None = UNSET,
    ) -> Decisions[Answer]:
        body = wire.decide_body(state, questions, images, self._server.dialect.decisions)
        asked = dict(questions)
        session, options = self._for_call(timeout, deadline)
        check_name("model", model)
        named = model or (self._settings.find("model_decision") and self._settings.model("decision"))
        chosen, options = (named, options) if named else self._decision_model(options, sees=bool(images))
        known = find(session.cache.models, chosen)
        if images and known is not None and known.vision is False:
            hint = "Leave the images out, or take a model that reads them, such as clef"
            raise InvalidRequestError(f"the model {chosen!r} does not read images", hint=hint)
        call = wire.decide_call(body, chosen)
        begun = begin("decide", call, options)
        check_model = self._check_model if named else as_it_is
        with (
            self._recording_failure(begun),
            hinting(session, chosen, "decision", "decision", "nimble"),
        ):
            decisions: Decisions[Answer] = session.ask(
                call, options, lambda value: check_model(wire.decide_reply(value, call, asked, self.id))
            )
        self._record(begun, Completion("", decisions.model, chosen, usage=decisions.usage))
        return decisions

    def _decision_model(self, options: CallOptions, sees: bool) -> tuple[str, CallOptions]:
        """Return the first decision model, if possible one that reads images, and the options with less time."""
        wanted = [lambda model: decides(model) and bool(model.vision)] if sees else []
        found, models, options = self._find_model(options, True, *wanted, decides)
        if found is not None:
            return found.name, options
        server = f"{self._server.name} at {self.base_url}"
        has = ", ".join(f"{preview(each.id)} ({each.type or 'its type is not known'})" for each in models[:20])
        raise InvalidRequestError(
            f"no model was named, and {server} has no decision model{has and f', only {has}'}",
            hint=f"{self._server.get_hint}, such as nimble; or name a model with model= or the setting "
            f"{self._names.prefix}_model_decision",
            provider=self.id,
        )


def _without_limits(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in _LIMITS}


def _texts(request: CompletionRequest | ChatRequest | TextRequest) -> Iterator[str]:
    """Return the texts of the user, because templates leave out others, such as earlier thoughts of the model."""
    if isinstance(request, TextRequest):
        yield request.prompt
        return
    chat = request.as_chat() if isinstance(request, CompletionRequest) else request
    for message in chat.messages:
        form = message.as_dict() if isinstance(message, Message) else message
        content = form.get("content") if form.get("role") == "user" else None
        parts = content if isinstance(content, list) else [{"text": content}]
        yield from (text for part in parts if isinstance(text := part.get("text"), str))
