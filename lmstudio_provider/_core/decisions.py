"""Questions to a decision model, and its answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, Iterator, Mapping, NamedTuple, Sequence, TypeVar

from .checks import MAPPING, NAME, TEXT, check, instance
from .errors import InvalidRequestError, preview
from .frozen import Frozen
from .types import Usage

_WORDS = NAME._replace(problem="is not a text, or is blank")
_LEVELS = instance((list, tuple), "is not a list", "Give the descriptions of the levels, lowest first")


class ConditionAnswer(NamedTuple):
    """The answer to a Condition; it is true, as in ``if answer:``, if the condition probably holds."""

    probability: float
    """The probability that the condition holds, from 0 to 1."""
    confidence: float | None = None
    """How strongly the model prefers one answer, from 0 to 1; it does not say that the answer is right. None if the
    server does not report it."""

    def __bool__(self) -> bool:
        return self.probability > 0.5


class ChoiceAnswer(NamedTuple):
    """The answer to a Choice."""

    choice: str
    """The option that fits best."""
    probabilities: Mapping[str, float] = {}
    """The probability of each option; empty if the server does not report them."""
    confidence: float | None = None
    """As in ConditionAnswer."""


class ScoreAnswer(NamedTuple):
    """The answer to a Score."""

    score: float
    """The mean of the positions of the levels, weighted by their probabilities; the lowest level has position 0."""
    probabilities: tuple[float, ...] = ()
    """The probability of each level, lowest first; empty if the server does not report all of them."""
    confidence: float | None = None
    """As in ConditionAnswer."""


# The type of an answer: one of the three above, or several of them.
Answer = TypeVar("Answer", covariant=True)  # noqa: PLC0105 (users read it in signatures)
_Kind = TypeVar("_Kind", ConditionAnswer, ChoiceAnswer, ScoreAnswer)


class Question(Frozen, Generic[Answer]):
    """The base of Condition, Choice and Score, for annotations such as ``dict[str, Question[Any]]``."""

    instructions: str

    def __post_init__(self) -> None:
        check(f"{type(self).__name__}: instructions", self.instructions, _WORDS)


@dataclass(frozen=True, repr=False, eq=False)
class Condition(Question[ConditionAnswer]):
    """Asks for the probability that a condition holds. Raises InvalidRequestError for values that cannot work."""

    instructions: str
    """The condition, such as "The customer is angry"."""
    criteria: Mapping[str, str] | None = None
    """When the condition holds, under the key "true", and when it does not, under "false"."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.criteria is not None:
            hint = "Describe both: {'true': '...', 'false': '...'}"
            kept = _keep_criteria(self, hint)
            if set(kept) != {"true", "false"} or None in kept.values():
                raise InvalidRequestError(f"Condition: criteria={preview(kept)} is not valid", hint=hint)


@dataclass(frozen=True, repr=False, eq=False)
class Choice(Question[ChoiceAnswer]):
    """Asks which of several options fits best. Raises InvalidRequestError for values that cannot work."""

    instructions: str
    """The question, such as "Which team should answer?"."""
    criteria: Mapping[str, str | None]
    """The options, each with a description of what belongs to it. Ollama takes from 2 to 26 options; only LM Studio
    takes None for a description."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _keep_criteria(self, "Give the options with their descriptions: {'option': '...'}")


@dataclass(frozen=True, repr=False, eq=False)
class Score(Question[ScoreAnswer]):
    """Asks for a place on a scale. Raises InvalidRequestError for values that cannot work."""

    instructions: str
    """The question, such as "How severe is the problem?"."""
    criteria: Sequence[str]
    """The descriptions of the levels, lowest first: from 2 to 10 of them, with Ollama to 26."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check("Score: criteria", self.criteria, _LEVELS)
        for position, level in enumerate(self.criteria):
            check(f"Score: criteria[{position}]", level, _WORDS)
        object.__setattr__(self, "criteria", tuple(self.criteria))


def _keep_criteria(question: Condition | Choice, hint: str) -> dict[str, str | None]:
    """Check the criteria; put a copy of them in their place, and return it."""
    name, criteria = f"{type(question).__name__}: criteria", question.criteria
    check(name, criteria, MAPPING._replace(hint=hint))
    kept: dict[str, str | None] = dict(criteria or {})
    for option, text in kept.items():
        check(f"{name}: the option", option, _WORDS)
        if text is not None:
            check(f"{name}[{option!r}]", text, TEXT)
    object.__setattr__(question, "criteria", kept)
    return kept


@dataclass(frozen=True, repr=False, eq=False)
class Decisions(Frozen, Mapping[str, Answer]):
    """The answers of a decision model, by the ids of the questions, in the order of these.

    ``decisions["label"]`` is any kind of answer. If the questions differ in kind, ``condition()``, ``choice()`` and
    ``score()`` return an answer whose kind type checkers know.
    """

    answers: Mapping[str, Answer]
    model: str
    """The model that answered, as the server names it."""
    requested_model: str
    usage: Usage | None = None
    """None if the server reports nothing."""
    raw: Mapping[str, Any] | None = field(default=None, compare=False)
    """The reply as the server sent it."""
    provider_id: str = ""
    """The ``id`` of the provider that answered."""

    def __getitem__(self, id: str) -> Answer:
        return self.answers[id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.answers)

    def __len__(self) -> int:
        return len(self.answers)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.answers!r} from {self.model!r}>"

    def condition(self, id: str) -> ConditionAnswer:
        """Return the answer to a Condition; raise KeyError for an unknown id, TypeError for another kind of answer."""
        return self._of_kind(id, ConditionAnswer)

    def choice(self, id: str) -> ChoiceAnswer:
        """Return the answer to a Choice; raise KeyError or TypeError as ``condition`` does."""
        return self._of_kind(id, ChoiceAnswer)

    def score(self, id: str) -> ScoreAnswer:
        """Return the answer to a Score; raise KeyError or TypeError as ``condition`` does."""
        return self._of_kind(id, ScoreAnswer)

    def _of_kind(self, id: str, kind: type[_Kind]) -> _Kind:
        answer = self.answers[id]
        if not isinstance(answer, kind):
            raise TypeError(f"the answer to {id!r} is a {type(answer).__name__}, not a {kind.__name__}")
        return answer
