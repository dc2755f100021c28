import dataclasses
import math
import pickle

import pytest

from lmstudio_provider import (
    Chunk,
    Completion,
    ConfigurationError,
    Health,
    Limits,
    ModelInfo,
    Timeouts,
    ToolArgumentsError,
    ToolCall,
)


@pytest.mark.parametrize("text", ["not json", '{"city": ', "[1]", '"text"', "null", "[" * 100_000])
def test_arguments_that_are_no_object_raise_only_when_they_are_read(text):
    call = ToolCall("1", "get_weather", raw_arguments=text)
    assert call.raw_arguments == text
    with pytest.raises(ToolArgumentsError, match="get_weather") as caught:
        _ = call.arguments
    assert caught.value.raw_arguments == text


@pytest.mark.parametrize("text", ["", " \n"])
def test_no_arguments_are_an_empty_object(text):
    assert ToolCall("1", "now", raw_arguments=text).arguments == {}


def test_a_call_is_made_of_arguments_or_of_their_text():
    assert ToolCall("1", "f", {"city": "Grünau"}).raw_arguments == '{"city": "Grünau"}'
    assert ToolCall("1", "f", raw_arguments='{"a": 1}').arguments == {"a": 1}
    assert ToolCall("1", "f") == ToolCall("1", "f", raw_arguments="")


def test_a_call_is_frozen_and_can_be_replaced_hashed_and_pickled():
    call = ToolCall("1", "f", {"a": 1})
    with pytest.raises(dataclasses.FrozenInstanceError):
        call.name = "g"
    assert dataclasses.replace(call, name="g").arguments == {"a": 1}
    assert pickle.loads(pickle.dumps(call)) == call
    assert len({call, ToolCall("1", "f", {"a": 1})}) == 1


@pytest.mark.parametrize("bad", [0, -1, math.nan, math.inf, True, "10"])
@pytest.mark.parametrize("name", ["connect", "first_byte", "idle"])
def test_a_timeout_that_is_no_positive_number_is_refused_by_name(name, bad):
    with pytest.raises(ConfigurationError, match=rf"Timeouts\.{name}="):
        Timeouts(**{name: bad})


@pytest.mark.parametrize("name", ["max_line_bytes", "max_reply_bytes", "max_events_without_data"])
@pytest.mark.parametrize("bad", [0, 1.5, None, True])
def test_a_limit_that_is_no_positive_whole_number_is_refused_by_name(name, bad):
    with pytest.raises(ConfigurationError, match=rf"Limits\.{name}="):
        Limits(**{name: bad})


def test_a_completion_can_be_hashed_whatever_its_raw_reply_holds():
    assert hash(Completion("", "m", "m", raw={"a": []})) == hash(Completion("", "m", "m"))


def test_a_chunk_is_nothing_unless_told():
    assert Chunk() == ("", False, "", (), None, None)


@pytest.mark.parametrize(
    ("kind", "can"),
    [
        ("llm", True),
        ("vlm", True),
        ("embedding", False),
        ("drafter", False),
        ("decision", False),
        (None, False),
        ("", False),
    ],
)
def test_only_what_generates_text_can_chat(kind, can):
    assert ModelInfo("m", kind).can_chat is can
    assert ModelInfo("m").remote is False


def test_health_is_true_where_it_is_ok():
    assert Health(True)
    assert not Health(False)
