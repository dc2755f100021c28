"""Answer the questions of ``/v1/systemone``: the more words an answer shares with the state, the likelier it is."""

from __future__ import annotations

import json
import re
from typing import Any, Mapping, NamedTuple

_DECIDES, _SEES = re.compile(r"(^|[/_-])(nimble|tev1|clef)"), re.compile(r"(^|[/_-])clef")


def decides(model: str) -> bool:
    """Return True for a decision model: nimble, tev1 or clef is in its name."""
    return bool(_DECIDES.search(model))


def sees(model: str) -> bool:
    """Return True for a decision model that reads images."""
    return bool(_SEES.search(model))


class Limits(NamedTuple):
    """What a server takes: the least and the most options and levels, and whether a description may be null."""

    options: tuple[int, int]
    levels: tuple[int, int]
    may_be_null: bool
    has_legend: bool


LM_STUDIO = Limits((1, 10**9), (2, 10), may_be_null=True, has_legend=True)
OLLAMA = Limits((2, 26), (2, 26), may_be_null=False, has_legend=False)


class WrongError(Exception):
    """The request is not valid."""


def answers(body: Any, limits: Limits) -> tuple[dict[str, Any], int]:
    """Return the answers to the questions, and the tokens of the request; raise WrongError if it is not valid."""
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise WrongError("model is required")
    state, questions = body.get("state"), body.get("questions")
    if not state or not isinstance(state, (str, dict)):
        raise WrongError("state is required")
    if not isinstance(questions, dict) or not questions:
        raise WrongError("questions is required")
    text = state if isinstance(state, str) else json.dumps(state, ensure_ascii=False)
    found = {key: _answer(key, question, _words(text), limits) for key, question in questions.items()}
    return found, len(text.split()) + sum(len(json.dumps(each).split()) for each in questions.values())


def _answer(key: str, question: Any, words: set[str], limits: Limits) -> dict[str, Any]:
    kind = question.get("type") if isinstance(question, dict) else None
    if kind not in ("noul", "choice", "score"):
        raise WrongError(f"questions.{key}.type has to be noul, choice or score")
    criteria, instructions = question.get("criteria"), question.get("instructions")
    if not instructions or not isinstance(instructions, str):
        raise WrongError(f"questions.{key}.instructions is required")
    if kind == "noul":
        likely = _shares({"false": "", "true": instructions, **(criteria or {})}, words)["true"]
        return {"type": "noul", "noul": likely}
    form, (least, most) = (dict, limits.options) if kind == "choice" else (list, limits.levels)
    if not isinstance(criteria, form) or not least <= len(criteria) <= most:
        raise WrongError(f"questions.{key}.criteria has to have {least} to {most} entries")
    described = dict(criteria) if kind == "choice" else {str(at): each for at, each in enumerate(criteria)}
    for text in described.values():
        if not isinstance(text, str) and not (text is None and limits.may_be_null and kind == "choice"):
            raise WrongError(f"questions.{key}.criteria has to have texts")
    named = {name: f"{name if kind == 'choice' else ''} {text or ''}" for name, text in described.items()}
    shares = _shares(named, words)
    first, second = sorted([*shares.values(), 0.0], reverse=True)[:2]
    more = {"probabilities": shares, "confidence": round(first - second, 4)}
    if kind == "choice":
        return {"type": kind, "choice": max(shares, key=shares.__getitem__), **more}
    legend = {"legend": described} if limits.has_legend else {}
    mean = sum(int(level) * share for level, share in shares.items())
    return {"type": kind, "score": round(mean, 4), **more, **legend}


def _shares(texts: Mapping[str, str], words: set[str]) -> dict[str, float]:
    weights = {name: 1 + 8 * len(_words(text) & words) for name, text in texts.items()}
    return {name: round(weight / sum(weights.values()), 4) for name, weight in weights.items()}


def _words(text: str) -> set[str]:
    return {word for word in re.findall(r"\w+", text.lower()) if len(word) > 3}
