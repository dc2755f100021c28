"""Frozen dataclasses share methods; they act as those do that ``dataclass`` writes for each class."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import pytest
from tables import for_each

from lmstudio_provider import Completion, Message, ModelInfo, Tool, ToolCall, Usage
from lmstudio_provider._core.frozen import Frozen


@dataclass(frozen=True, repr=False, eq=False)
class Ours(Frozen):
    first: Any
    secret: Any = field(default="", repr=False)
    note: Any = field(default="", compare=False)


@dataclass(frozen=True, repr=False, eq=False)
class Derived(Ours):
    more: Any = None


def theirs(*values):
    """Return an instance of the class that ``dataclass`` makes alone, under the same name."""

    @dataclass(frozen=True)
    class Ours:
        first: Any
        secret: Any = field(default="", repr=False)
        note: Any = field(default="", compare=False)

    Ours.__qualname__ = "Ours"
    return Ours(*values)


@for_each("other", [Ours(2), Ours(1, "x"), Derived(1), theirs(1), 1, None, (1, "")])
def test_another_value_or_another_class_is_not_equal(other):
    assert Ours(1) != other
    assert other != Ours(1)


def test_equal_fields_are_equal_and_have_one_hash():
    assert Ours(1, "a") == Ours(1, "a")
    assert hash(Ours(1, "a")) == hash(Ours(1, "a"))
    assert Derived(1, more=2) == Derived(1, more=2) != Derived(1)


def test_a_field_that_is_not_compared_does_not_count():
    assert Ours(1, note="a") == Ours(1, note="b")
    assert hash(Ours(1, note="a")) == hash(Ours(1, note="b"))
    assert Completion("a", "m", "m", raw={}) == Completion("a", "m", "m", raw={"id": "1"})


def test_a_list_in_a_field_makes_it_unhashable():
    with pytest.raises(TypeError, match="unhashable"):
        hash(Ours([1]))


@for_each("values", [(1,), ("a", "b", "c"), ([1], None, {"a": 1})])
def test_it_shows_itself_as_a_dataclass_does(values):
    assert repr(Ours(*values)) == repr(theirs(*values))


def test_what_users_see_stays():
    assert repr(Usage(1, 2)) == (
        "Usage(prompt_tokens=1, completion_tokens=2, total_tokens=None, reasoning_tokens=None, cached_tokens=None)"
    )
    assert repr(ToolCall("7", "now", {})) == "ToolCall(id='7', name='now', raw_arguments='{}')"
    assert "function" not in repr(Tool("f", function=print))
    assert {ModelInfo("m"), ModelInfo("m")} == {ModelInfo("m")}
    assert Message.user("Hi") == Message("user", "Hi")


def test_it_stays_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Usage().prompt_tokens = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        del Usage().prompt_tokens


def test_users_can_extend_our_dataclasses():
    @dataclass(frozen=True)
    class Priced(Usage):
        price: float = 0.0

    assert Priced(1, price=2.0) == Priced(1, price=2.0) != Priced(1)
    assert dataclasses.replace(Priced(1), price=3.0).price == 3.0
    assert "price=3.0" in repr(Priced(price=3.0))
