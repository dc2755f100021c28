"""Typed questions to a decision model: what is refused, what is sent, and what is read."""

from __future__ import annotations

import base64
import copy
import json
import math
import pickle
import types

import pytest
from tables import for_each

from lmstudio_provider import (
    Choice,
    ChoiceAnswer,
    Condition,
    ConditionAnswer,
    ContextLengthError,
    EndpointNotFoundError,
    InvalidRequestError,
    ProtocolError,
    Score,
    ScoreAnswer,
    ServerError,
    Usage,
)
from lmstudio_provider._dialects import lmstudio, lmstudio_errors, ollama, ollama_errors
from lmstudio_provider._dialects.decisions import decide_body, decide_call, decide_reply
from lmstudio_provider._dialects.errors import ErrorContext

PATH = "/v1/systemone"
LM_STUDIO, OLLAMA = lmstudio.DIALECT.decisions, ollama.DIALECT.decisions
BOTH = pytest.mark.parametrize("limits", [LM_STUDIO, OLLAMA], ids=["LM Studio", "Ollama"])
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
LABEL = Choice("Which label fits?", {"billing": "Payments", "bug": "Software errors"})
URGENT = Condition("It is urgent")
SEVERE = Score("How severe is it?", ["not", "somewhat", "very"])


def body(questions, limits=OLLAMA, state="a state", images=()):
    return json.loads(decide_body(state, questions, images, limits))


def read(answers, questions, **more):
    return decide_reply({"answers": answers, **more}, decide_call("{}", "asked"), questions, "here")


# What is refused before sending


@for_each("words", ["", " ", None, 7, b"text", ["text"]], ids=repr)
def test_instructions_that_are_not_words_are_refused(words):
    for make in (Condition, lambda said: Choice(said, {"a": "b"}), lambda said: Score(said, ["a", "b"])):
        with pytest.raises(InvalidRequestError, match="instructions"):
            make(words)


@for_each(
    "criteria", [{}, {"true": "a"}, {"true": "a", "false": None}, {"yes": "a", "no": "b"}, {True: "a"}, "true", ["a"]]
)
def test_a_condition_describes_both_true_and_false_or_neither(criteria):
    with pytest.raises(InvalidRequestError, match="Condition: criteria"):
        Condition("It is urgent", criteria)


@for_each("criteria", [None, ["a", "b"], "ab", {"": "a"}, {1: "a"}, {"a": 7}, {"a": ["b"]}], ids=repr)
def test_a_choice_is_of_options_with_descriptions(criteria):
    with pytest.raises(InvalidRequestError, match="Choice: criteria"):
        Choice("Which?", criteria)


@for_each("criteria", [None, "ab", {"a": "b"}, {"a"}, ["a", None], ["a", ""], [1, 2]], ids=repr)
def test_a_score_has_a_list_of_descriptions(criteria):
    with pytest.raises(InvalidRequestError, match="Score: criteria"):
        Score("How much?", criteria)


@BOTH
@pytest.mark.parametrize("state", ["", {}, None, 7, ["text"], b"text"], ids=repr)
def test_a_state_is_a_text_or_an_object(state, limits):
    with pytest.raises(InvalidRequestError, match="state"):
        body({"q": URGENT}, limits, state)


def test_a_state_may_be_any_mapping():
    assert body({"q": URGENT}, state=types.MappingProxyType({"a": 1}))["state"] == {"a": 1}


@BOTH
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_state_with_a_number_that_json_does_not_have_is_refused(number, limits):
    with pytest.raises(InvalidRequestError, match="cannot be written as JSON"):
        body({"q": URGENT}, limits, {"deep": [{"x": number}]})


@BOTH
@pytest.mark.parametrize("questions", [{}, None, [URGENT], URGENT, "q"], ids=repr)
def test_questions_are_a_mapping_that_is_not_empty(questions, limits):
    with pytest.raises(InvalidRequestError, match="questions"):
        body(questions, limits)


@BOTH
@pytest.mark.parametrize(
    "questions",
    [{"": URGENT}, {" ": URGENT}, {7: URGENT}, {"q": {"type": "noul"}}, {"q": "x"}, {"q": Choice}],
    ids=repr,
)
def test_an_id_is_a_name_and_a_question_is_one_of_three_kinds(questions, limits):
    with pytest.raises(InvalidRequestError, match="questions"):
        body(questions, limits)


def options(count):
    return Choice("Which?", {f"option {number}": "text" for number in range(count)})


def levels(count):
    return Score("How much?", [f"level {number}" for number in range(count)])


@for_each(
    ("question", "limits"),
    [
        (options(0), LM_STUDIO),
        (options(1), OLLAMA),
        (options(27), OLLAMA),
        (levels(1), LM_STUDIO),
        (levels(11), LM_STUDIO),
        (levels(1), OLLAMA),
        (levels(27), OLLAMA),
    ],
)
def test_a_number_of_options_that_the_server_does_not_take_is_refused(question, limits):
    with pytest.raises(InvalidRequestError, match=r"questions\['label'\]: the number of (options|levels)"):
        body({"urgent": URGENT, "label": question}, limits)


@for_each(
    ("question", "limits"),
    [
        (options(1), LM_STUDIO),
        (options(100), LM_STUDIO),
        (options(2), OLLAMA),
        (options(26), OLLAMA),
        (levels(10), LM_STUDIO),
        (levels(26), OLLAMA),
    ],
)
def test_a_number_of_options_that_the_server_takes_is_sent(question, limits):
    assert len(body({"q": question}, limits)["questions"]["q"]["criteria"]) == len(question.criteria)


def test_only_lm_studio_takes_an_option_without_a_description():
    bare = Choice("Which?", {"a": None, "b": "text"})
    assert body({"q": bare}, LM_STUDIO)["questions"]["q"]["criteria"] == {"a": None, "b": "text"}
    with pytest.raises(InvalidRequestError, match=r"criteria\['a'\]=None"):
        body({"q": bare}, OLLAMA)


@BOTH
def test_an_image_is_checked_as_in_messages(limits):
    with pytest.raises(InvalidRequestError, match="images"):
        body({"q": URGENT}, limits, images=[b"GIF89a" + bytes(10)])


# What is sent


def test_the_three_kinds_of_questions_have_the_words_of_the_server():
    explained = Condition("It is urgent", {"true": "Today", "false": "Later"})
    assert body({"a": URGENT, "b": explained, "c": LABEL, "d": SEVERE}, state={"text": "ü"}) == {
        "state": {"text": "ü"},
        "questions": {
            "a": {"type": "noul", "instructions": "It is urgent"},
            "b": {"type": "noul", "instructions": "It is urgent", "criteria": {"true": "Today", "false": "Later"}},
            "c": {
                "type": "choice",
                "instructions": "Which label fits?",
                "criteria": {"billing": "Payments", "bug": "Software errors"},
            },
            "d": {
                "type": "score",
                "instructions": "How severe is it?",
                "criteria": ["not", "somewhat", "very"],
            },
        },
    }


def test_a_call_has_the_model_and_the_body():
    call = decide_call(decide_body("s", {"q": URGENT}, (), OLLAMA), 'a "model"')
    assert (call.method, call.path, call.model_kind) == ("POST", PATH, "decision")
    sent = json.loads(call.body)
    assert sent == {
        "model": 'a "model"',
        "state": "s",
        "questions": {"q": {"type": "noul", "instructions": "It is urgent"}},
    }


def test_images_are_data_urls_for_lm_studio_and_base64_for_ollama():
    plain = base64.b64encode(PNG).decode()
    assert body({"q": URGENT}, LM_STUDIO, images=PNG)["images"] == [f"data:image/png;base64,{plain}"]
    assert body({"q": URGENT}, OLLAMA, images=[PNG, PNG])["images"] == [plain, plain]


def test_a_question_keeps_its_own_copy_of_what_it_was_given():
    given, scale = {"a": "b"}, ["low", "high"]
    choice, score = Choice("Which?", given), Score("How much?", scale)
    given["c"] = "d"
    scale.append("higher")
    assert (choice.criteria, score.criteria) == ({"a": "b"}, ("low", "high"))


# What is read


def test_the_example_of_the_documentation():
    probabilities = {"billing": 0.0125, "bug": 0.9781}
    answer = {"type": "choice", "choice": "bug", "probabilities": probabilities, "confidence": 0.8906}
    found = read({"label": answer}, {"label": LABEL}, model="nimble", usage={"input_tokens": 174, "output_tokens": 1})
    assert found["label"] == ChoiceAnswer("bug", probabilities, 0.8906)
    assert (found.model, found.requested_model, found.provider_id) == ("nimble", "asked", "here")
    assert found.usage == Usage(174, 1, 175)
    assert found.raw["answers"]["label"] is answer


@pytest.mark.parametrize("probabilities", [[0.5, 0.25, 0.25], {"2": 0.25, "0": 0.5, "1": 0.25}], ids=type)
def test_the_probabilities_of_levels_come_as_a_list_or_as_an_object(probabilities):
    answer = {"type": "score", "score": 0.75, "probabilities": probabilities, "legend": {"0": "not"}}
    assert read({"q": answer}, {"q": SEVERE}).score("q") == ScoreAnswer(0.75, (0.5, 0.25, 0.25), None)


@for_each("probabilities", [None, 7, "x", [], {}, [0.5, 0.5], {"0": 1}, [0.1, None, 0.9], [1, 0, 0, 0]])
def test_probabilities_that_are_not_those_of_all_levels_are_empty(probabilities):
    assert read({"q": {"score": 1, "probabilities": probabilities}}, {"q": SEVERE})["q"] == ScoreAnswer(1.0)


def test_the_probabilities_of_options_may_be_a_list_in_their_order():
    answer = {"choice": "bug", "probabilities": [0.25, 0.75], "extra": 1}
    assert read({"q": answer}, {"q": LABEL})["q"].probabilities == {"billing": 0.25, "bug": 0.75}


def test_confidence_usage_and_model_may_be_missing():
    found = read({"q": {"noul": 1}}, {"q": URGENT})
    assert found["q"] == ConditionAnswer(1.0, None)
    assert (found.model, found.usage) == ("asked", None)


def test_the_answers_are_in_the_order_of_the_questions_and_others_are_only_in_raw():
    found = read({"b": {"noul": 0.1}, "other": {}, "a": {"noul": 0.9}}, {"a": URGENT, "b": URGENT})
    assert list(found) == ["a", "b"]
    assert "other" in found.raw["answers"]


@for_each(
    ("question", "answer"),
    [
        (URGENT, None),
        (URGENT, "true"),
        (URGENT, {}),
        (URGENT, {"noul": None}),
        (URGENT, {"noul": True}),
        (URGENT, {"noul": "0.5"}),
        (URGENT, {"noul": math.nan}),
        (URGENT, {"noul": math.inf}),
        (URGENT, {"type": "choice", "noul": 0.5}),
        (URGENT, {"type": ["noul"], "noul": 0.5}),
        (LABEL, {"type": "choice", "choice": "sales"}),
        (LABEL, {"type": "choice", "choice": None}),
        (LABEL, {"type": "choice", "choice": ["bug"]}),
        (LABEL, {"type": "noul", "noul": 0.5}),
        (LABEL, {"type": "refusal"}),
        (SEVERE, {"type": "score", "score": "high"}),
        (SEVERE, {"type": "score", "score": 10**400}),
        (SEVERE, {"type": "choice", "choice": "not"}),
        (SEVERE, []),
    ],
    ids=repr,
)
def test_an_answer_that_does_not_fit_is_a_protocol_error_that_names_the_question(question, answer):
    with pytest.raises(ProtocolError, match="the answer to 'the id' does not fit a ") as caught:
        read({"fine": {"noul": 0.5}, "the id": answer}, {"fine": URGENT, "the id": question}, usage={"input_tokens": 9})
    assert caught.value.sent
    assert caught.value.partial.usage == Usage(9)
    assert caught.value.partial.raw["answers"]["fine"] == {"noul": 0.5}


def test_a_missing_answer_is_a_protocol_error_that_names_the_question():
    with pytest.raises(ProtocolError, match="the reply has no answer to 'b'"):
        read({"a": {"noul": 0.5}}, {"a": URGENT, "b": URGENT})


@for_each("value", [None, [], {}, {"answers": []}, {"answers": None}, {"choices": []}])
def test_a_reply_without_answers_is_a_protocol_error(value):
    with pytest.raises(ProtocolError, match="the reply"):
        decide_reply(value, decide_call("{}", "m"), {"q": URGENT}, "here")


# The answers in Python


def decisions():
    answers = {"a": {"noul": 0.75}, "b": {"choice": "bug"}, "c": {"score": 2}}
    return read(answers, {"a": URGENT, "b": LABEL, "c": SEVERE}, model="m")


def test_each_kind_of_answer_has_a_method_that_refuses_the_others():
    found = decisions()
    assert (found.condition("a").probability, found.choice("b").choice, found.score("c").score) == (0.75, "bug", 2.0)
    with pytest.raises(TypeError, match="the answer to 'b' is a ChoiceAnswer, not a ScoreAnswer"):
        found.score("b")
    with pytest.raises(KeyError, match="d"):
        found.condition("d")


def test_a_condition_is_true_if_it_probably_holds():
    assert ConditionAnswer(0.51)
    assert not ConditionAnswer(0.5)
    assert not ConditionAnswer(0.0)


def test_decisions_are_a_mapping_that_copies_and_pickles():
    found = decisions()
    assert (len(found), "a" in found, dict(found.items())) == (3, True, dict(found.answers))
    assert pickle.loads(pickle.dumps(found)) == copy.deepcopy(found) == found
    assert "from 'm'" in repr(found)
    assert pickle.loads(pickle.dumps(LABEL)) == LABEL


# Errors


def error_of(table, status, error):
    body = json.dumps({"error": error}).encode()
    return table.find_error(status, {}, body, json.loads(body), ErrorContext(model="nimble", path=PATH))


@pytest.mark.parametrize("table", [lmstudio_errors, ollama_errors], ids=["LM Studio", "Ollama"])
def test_a_number_as_code_is_kept_as_text(table):
    error = error_of(table, 400, {"code": 400, "type": "invalid_request_error", "message": "questions is required"})
    assert type(error) is InvalidRequestError
    assert (error.status, error.code) == (400, "400")
    assert "questions is required" in error.message


@pytest.mark.parametrize("table", [lmstudio_errors, ollama_errors], ids=["LM Studio", "Ollama"])
def test_images_that_are_not_supported_are_an_invalid_request(table):
    error = error_of(table, 501, {"code": 501, "type": "not_supported_error", "message": "no images with this model"})
    assert type(error) is InvalidRequestError
    assert "clef" in error.hint


def test_a_text_says_more_than_the_type_of_an_error_about_what_is_not_supported():
    said = "This server does not support embeddings. Start it with `--embeddings`"
    error = error_of(lmstudio_errors, 501, {"code": 501, "type": "not_supported_error", "message": said})
    assert type(error) is InvalidRequestError
    assert "cannot embed" in error.message


@for_each(
    "text",
    [
        "Input has 700 tokens, which exceeds eval_batch_size (512)",
        "the input exceeds `eval_batch_size` of 512",
        "'evalBatchSize' is 512, and the input has 700 tokens",
        "input is too large to process. increase the physical batch size (current batch size: 512)",
    ],
)
def test_an_input_that_is_longer_than_the_batch_is_a_context_length_error(text):
    error = error_of(lmstudio_errors, 500, {"code": 500, "type": "server_error", "message": text})
    assert type(error) is ContextLengthError
    assert "eval_batch_size=" in error.hint


def test_another_failure_stays_a_server_error():
    assert type(error_of(lmstudio_errors, 500, {"code": 500, "message": "boom"})) is ServerError


def test_an_old_ollama_is_to_be_updated():
    error = ollama_errors.find_error(404, {}, b"404 page not found", None, ErrorContext(model="nimble", path=PATH))
    assert type(error) is EndpointNotFoundError
    assert "Ollama has it since 0.35: update it" in error.hint
