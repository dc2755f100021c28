"""Asks a decision model with ``/v1/systemone``, which LM Studio and Ollama have."""

from __future__ import annotations

import json
from typing import Any, Mapping

from .._core.checks import NAME, TEXT, Check, check, number, to_json
from .._core.decisions import Choice, ChoiceAnswer, Condition, ConditionAnswer, Decisions, Question, Score, ScoreAnswer
from .._core.errors import InvalidRequestError, ProtocolError
from .._core.images import data_url, listed
from .._core.types import Call, Completion, Usage
from .dialect import DecisionLimits
from .json_text import count, mapping, member, preview, prompt_count, text_or_none, total
from .json_text import number as number_or_none

_STATE = Check(
    lambda value: isinstance(value, (str, Mapping)) and value,
    "is not a text or a mapping, or is empty",
    "Give what the questions are about; a conversation can be {'messages': [...]}",
)
_QUESTIONS = Check(
    lambda value: isinstance(value, Mapping) and value,
    "is not a mapping, or is empty",
    "Give {'label': Choice(...), ...}; the answers have the same ids",
)


def decide_body(state: Any, questions: Any, images: Any, limits: DecisionLimits) -> str:
    """Return the body of a request as JSON, without its model; raise InvalidRequestError."""
    check("state", state, _STATE)
    check("questions", questions, _QUESTIONS)
    body: dict[str, Any] = {
        "state": state if isinstance(state, str) else dict(state),
        "questions": {key: _question(key, each, limits) for key, each in questions.items()},
    }
    urls = [data_url(image) for image in listed(images)]
    if urls:
        body["images"] = urls if limits.takes_data_urls else [url.partition(",")[2] for url in urls]
    return to_json(body, "the request")


def _question(key: object, question: object, limits: DecisionLimits) -> dict[str, Any]:
    check("questions: the id", key, NAME)
    what = f"questions[{key!r}]"
    if not isinstance(question, (Condition, Choice, Score)):
        hint = "Give a Condition, Choice or Score"
        raise InvalidRequestError(f"{what} is {type(question).__name__}, not a question", hint=hint)
    if isinstance(question, Choice):
        check(f"{what}: the number of options", len(question.criteria), number(*limits.options, whole=True))
        if limits.needs_descriptions:
            for option, text in question.criteria.items():
                check(f"{what}: criteria[{option!r}]", text, TEXT._replace(hint="Only LM Studio takes None"))
    if isinstance(question, Score):
        check(f"{what}: the number of levels", len(question.criteria), number(*limits.levels, whole=True))
    criteria = {} if question.criteria is None else {"criteria": question.criteria}
    return {"type": _kind(question), "instructions": question.instructions, **criteria}


def _kind(question: Question[Any]) -> str:
    """Return the server's word for the kind of a question, which is also a field of its answer."""
    return "noul" if isinstance(question, Condition) else "choice" if isinstance(question, Choice) else "score"


def decide_call(body: str, model: str) -> Call:
    """Return the call for the answers of ``model``; ``body`` is that of ``decide_body``."""
    content = f'{{"model":{to_json(model, "model")},{body[1:]}'.encode("ascii")
    return Call("POST", "/v1/systemone", content, model, model_kind="decision")


def decide_reply(value: Any, call: Call, questions: Mapping[str, Question[Any]], provider_id: str) -> Decisions[Any]:
    """Return the answers to ``questions``; raises ProtocolError, whose ``partial`` has the reply as it came."""
    came = member(value, "answers", dict, "the reply")
    model, used = text_or_none(value.get("model")) or call.model, mapping(value.get("usage"))
    counts = prompt_count(used.get("input_tokens")), count(used.get("output_tokens"))
    usage = None if counts == (None, None) else Usage(*counts, total(*counts))
    answers = {key: _answer(question, mapping(came.get(key))) for key, question in questions.items()}
    for key, answer in answers.items():
        if answer is None:
            kind, shown = type(questions[key]).__name__, preview(json.dumps(came.get(key)))
            raise ProtocolError(
                f"the answer to {key!r} does not fit a {kind}: {shown}"
                if key in came
                else f"the reply has no answer to {key!r}",
                hint="partial.raw has the whole reply",
                partial=Completion("", model, call.model, usage=usage, raw=value),
                sent=True,
            )
    return Decisions(answers, model, call.model, usage, value, provider_id)


def _answer(question: Question[Any], came: Mapping[str, Any]) -> ConditionAnswer | ChoiceAnswer | ScoreAnswer | None:
    """Return an answer, None if it is not one to ``question``."""
    kind, given = _kind(question), came.get("probabilities")
    value, confidence = came.get(kind), _float(came.get("confidence"))
    if (came.get("type") or kind) != kind:
        return None
    if isinstance(question, Choice):
        if not isinstance(value, str) or value not in question.criteria:
            return None
        pairs = zip(question.criteria, given) if isinstance(given, list) else mapping(given).items()
        known = {option: found for option, each in pairs if (found := _float(each)) is not None}
        return ChoiceAnswer(value, known, confidence)
    amount = _float(value)
    if amount is None or not isinstance(question, Score):
        return None if amount is None else ConditionAnswer(amount, confidence)
    places = range(len(question.criteria))
    levels = given if isinstance(given, list) else [mapping(given).get(str(place)) for place in places]
    numbers = tuple(found for each in levels if (found := _float(each)) is not None)
    return ScoreAnswer(amount, numbers if len(numbers) == len(levels) == len(places) else (), confidence)


def _float(value: object) -> float | None:
    found = number_or_none(value)
    return None if found is None else float(found)
