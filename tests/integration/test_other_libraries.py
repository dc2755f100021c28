"""Values of other libraries as parameters and results of tools, and as answers, with the real engine."""

from __future__ import annotations

import json
from typing import List

import pytest
import tiny_model

from lmstudio_provider import Message, StructuredOutputError, run_tools

SENTENCE = "".join(tiny_model.SENTENCE)
ASK = [Message.user("How is it?")]


@pytest.fixture(params=["chat", "stream"])
def answer(lm, request):
    """Ask, with or without a stream."""
    if request.param == "chat":
        return lambda **arguments: lm.chat(ASK, **arguments)
    return lambda **arguments: lm.stream(ASK, lambda chunk: None, **arguments)


def models():
    """Two nested pydantic models; made here, so that nothing is imported if the tests are skipped."""
    from pydantic import BaseModel, Field, create_model

    class Wind(BaseModel):
        knots: float = Field(ge=0, description="how fast it is")

    return Wind, create_model("Report", city=(str, ...), winds=(List[Wind], ...))  # noqa: UP006


def test_the_answer_is_a_pydantic_model(answer):
    Wind, Report = models()
    assert answer(response_format=Report).parsed == Report(city=SENTENCE, winds=[Wind(knots=2.5)])
    assert answer(response_format=Wind).parsed == Wind(knots=2.5)


def test_a_stream_builds_the_finished_items_as_pydantic_models(lm):
    Wind, Report = models()
    stream = lm.stream(ASK, response_format=Report)
    assert {"city": SENTENCE, "winds": [Wind(knots=2.5)]} in [stream.partial_parsed() for _ in stream]


def test_a_refusal_by_a_pydantic_validator_is_an_error_with_its_reason(answer):
    from pydantic import BaseModel, field_validator

    class Strict(BaseModel):
        city: str

        @field_validator("city")
        @classmethod
        def check(cls, value):
            raise ValueError("it is not on the map")

    with pytest.raises(StructuredOutputError, match="it is not on the map") as caught:
        answer(response_format=Strict)
    assert json.loads(caught.value.text) == {"city": SENTENCE}


def test_a_pydantic_model_is_a_parameter_and_a_result_of_a_tool(lm):
    Wind, _ = models()
    got = []

    def double(wind):
        """Double the wind."""
        got.append(wind)
        return Wind(knots=wind.knots * 2)

    double.__annotations__ = {"wind": Wind}
    assert results(lm, double) == [{"knots": 5.0}]
    assert got == [Wind(knots=2.5)]


def test_values_of_numpy_and_pandas_are_results_of_tools(lm):
    import numpy as np
    import pandas as pd

    frame = pd.DataFrame({"city": ["Oslo", "Rome"], "celsius": [2.5, np.nan]})
    when = pd.Timestamp("2024-05-01T12:00")
    values = [np.float32(2.5), np.int64(2), np.bool_(True), np.arange(4).reshape(2, 2), pd.Series([1, 2]), pd.NaT, when]

    def measure():
        """Measure all there is."""
        return {"values": values, "frame": frame}

    (result,) = results(lm, measure)
    assert result["values"][:4] == [2.5, 2, True, [[0, 1], [2, 3]]]
    assert result["values"][5:] == [None, "2024-05-01T12:00:00"]
    assert result["frame"] == [{"city": "Oslo", "celsius": 2.5}, {"city": "Rome", "celsius": None}]


def results(lm, function):
    """Return the results of the function as the model got them, after one question."""
    run = run_tools(lm, ASK, [function], max_rounds=1)
    assert run.errors == ()
    return [json.loads(message.content) for message in run.messages if message.role == "tool"]
