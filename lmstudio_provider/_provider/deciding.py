"""Typed questions to a decision model."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from .._core.decisions import Answer, Decisions, Question
from .._core.errors import InvalidRequestError, preview
from .._core.images import Image
from .._core.model_names import find
from .._core.requests import check_name
from .._core.types import UNSET, Completion, Timeout, Unset
from .._dialects import decisions as wire
from .counting import CountingProvider
from .embedding import hinting
from .http_provider import as_it_is
from .local_models import decides
from .recording import begin
from .session import CallOptions


class DecidingProvider(CountingProvider):
    """A local server with decision models."""

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
