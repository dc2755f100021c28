"""``decide``: typed questions to a decision model."""

from __future__ import annotations

import argparse
from typing import Any

from .. import Choice, CompletionRequest, Condition, Score
from .console import Console, UsageError
from .generation import checking, question_of, read_json
from .providers import make_provider

EXAMPLE = (
    'lmstudio-provider decide "The checkout fails." --choice "What is it?" "bug=an error" "billing=a wrong charge"'
)
_HEADINGS = ("QUESTION", "ANSWER", "PROBABILITY")
_FORMS = {
    "choice": '{"choice": TEXT, "criteria": {OPTION: DESCRIPTION, ...}}',
    "score": '{"score": TEXT, "criteria": [LOWEST, ..., HIGHEST]}',
}
_KINDS: dict[str, Any] = {"condition": Condition, "choice": Choice, "score": Score}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("state", nargs="?", metavar="TEXT", help="what the questions are about; or standard input")
    parser.add_argument("--condition", metavar="TEXT", action="append", default=[], help="ask how likely this is")
    choice, score = ("QUESTION", "OPTION"), ("QUESTION", "LEVEL")
    parser.add_argument(
        "--choice",
        nargs="+",
        action="append",
        default=[],
        metavar=choice,
        help="ask which fits; or OPTION=DESCRIPTION",
    )
    parser.add_argument(
        "--score", nargs="+", action="append", default=[], metavar=score, help="ask for a place; the lowest comes first"
    )
    parser.add_argument("--questions", metavar="FILE", help='a JSON file: {"ID": {"condition": TEXT, "criteria": ...}}')
    parser.add_argument("--model", metavar="ID", help="the decision model, by default the first of the server")
    parser.add_argument("--image", metavar="FILE", action="append", default=[], help="an image, once for each")


def run(args: argparse.Namespace, console: Console) -> int:
    """Print an answer for each question."""
    with checking():
        questions = _questions(args)
        args.image = CompletionRequest("-", images=args.image).images
    if not questions:
        raise UsageError("there is no question; give --condition, --choice, --score or --questions")
    if args.provider == "ollama":
        _check_descriptions(questions)
    state = question_of(args.state)
    with make_provider(args) as provider:
        decisions = provider.decide(state, questions, args.model, images=args.image)
    if args.json:
        console.json(decisions)
        return 0
    console.table([(id_, *_row(questions[id_], answer)) for id_, answer in decisions.items()], _HEADINGS)
    return 0


def _check_descriptions(questions: dict[str, Any]) -> None:
    """Raise UsageError for an option without a description, which only LM Studio takes."""
    for id_, question in questions.items():
        for option, text in question.criteria.items() if isinstance(question, Choice) else ():
            if text is None:
                raise UsageError(f"{id_}: with Ollama, write {option}=DESCRIPTION")


def _row(question: Any, answer: Any) -> tuple[object, str | None]:
    """Return the answer and its probability, if there is one."""
    if isinstance(question, Score):
        return f"{answer.score:.2f} of {len(question.criteria) - 1}", None
    if isinstance(question, Choice):
        likely = answer.probabilities.get(answer.choice)
        return answer.choice, None if likely is None else f"{likely:.0%}"
    return bool(answer), f"{max(answer.probability, 1 - answer.probability):.0%}"


def _questions(args: argparse.Namespace) -> dict[str, Any]:
    """Return the questions by their ids: those of the file, and those of the options by their texts."""
    bare = [name for name in ("choice", "score") for given in getattr(args, name) if len(given) < 2]
    if bare:
        raise UsageError(f"--{bare[0]} needs a question and, after it, what to choose from")
    questions = _from_file(args.questions) if args.questions else {}
    count = len(questions) + len(args.condition + args.choice + args.score)
    questions.update((text, Condition(text)) for text in args.condition)
    for text, *options in args.choice:
        pairs = [option.partition("=") for option in options]
        criteria = {name: description or None for name, _, description in pairs}
        if len(criteria) < len(options):
            raise UsageError(f"--choice {text!r} has an option twice")
        questions[text] = Choice(text, criteria)
    questions.update((text, Score(text, levels)) for text, *levels in args.score)
    if len(questions) < count:
        raise UsageError("two questions have the same text or id")
    return questions


def _from_file(path: str) -> dict[str, Any]:
    content = read_json(path)
    questions = {}
    for id_, entry in content.items() if isinstance(content, dict) else [("the file", content)]:
        kinds = [name for name in _KINDS if isinstance(entry, dict) and name in entry]
        if len(kinds) != 1 or not {*kinds, "criteria"}.issuperset(entry):
            raise UsageError(f'{path}: {id_} is not an object such as {{"condition": TEXT}} or {{"choice": TEXT, ...}}')
        if kinds[0] != "condition" and "criteria" not in entry:
            raise UsageError(f"{path}: {id_} lacks its criteria; write {_FORMS[kinds[0]]}")
        criteria = {"criteria": entry["criteria"]} if "criteria" in entry else {}
        questions[id_] = _KINDS[kinds[0]](entry[kinds[0]], **criteria)
    return questions
