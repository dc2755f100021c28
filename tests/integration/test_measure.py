"""``measure`` with the real engine, whose model always says the same sentence."""

import json

import tiny_model

from lmstudio_provider import measure

TOKENS = len(tiny_model.SENTENCE) + 1  # the end is one, too


def test_a_prompt_that_does_not_fit_is_counted_as_an_error_and_the_others_are_measured(lm):
    good, bad = measure(lm, ["Hi", "too-long-" * 200], repeat=2).rows
    assert (good.completed, good.errors) == (2, {})
    assert (bad.completed, bad.errors, bad.time_to_first_token_s) == (0, {"ContextLengthError": 2}, None)


def test_the_engine_is_measured_with_its_own_counts(lm, tmp_path):
    measured = measure(lm, ["Hi", "Hello?"], models="tiny", concurrency=(1, 3), repeat=2)
    assert [(row.prompt_tokens, row.concurrency, row.completed) for row in measured.rows] == [
        (len("Hi") + 3, 1, 2),
        (len("Hi") + 3, 3, 6),
        (len("Hello?") + 3, 1, 2),
        (len("Hello?") + 3, 3, 6),
    ]
    assert {each.usage.completion_tokens for each in measured.requests} == {TOKENS}
    for row in measured.rows:
        assert row.time_to_first_token_s.p50 > 0
        assert row.tokens_per_second.p50 > 0
        assert row.total_tokens_per_second > 0
        assert row.model_load_time_s is None  # this engine does not report it
    assert len(json.loads(measured.to_json())["requests"]) == 17
    measured.plot(tmp_path / "speed.png")
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")
    print(measured.table())
