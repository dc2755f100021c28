"""The result of a tool as text for the model."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import itertools
import json
import math
import pathlib
import uuid
import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from tables import for_each

from lmstudio_provider import InvalidRequestError, Message, ToolCall, ToolCallWarning

CALL = ToolCall("1", "look")


class Sky(enum.Enum):
    GREY = "grey"


class Level(enum.IntEnum):
    HIGH = 2


class Word(str, enum.Enum):
    YES = "yes"


class Point(NamedTuple):
    x: int
    y: int


@dataclass
class Place:
    city: str
    founded: datetime.date


class Model:
    """As pydantic's look from here."""

    def model_dump(self):
        return {"at": datetime.date(2026, 1, 2)}


class Array:
    """As numpy's look from here."""

    def __init__(self, values):
        self._values = values

    def tolist(self):
        return self._values

    def __repr__(self):
        return "array([0, ..., 9])"


class Scalar:
    def item(self):
        return 7


class Times:
    """As an array of numpy's times looks from here."""

    dtype = Any
    ndim = 1

    def __iter__(self):
        return iter(["2026-01-02T00:00:00"])

    def tolist(self):
        return [1_767_312_000_000_000_000]


Times.dtype = type("dtype", (), {"kind": "M"})


class Column:
    """As a Series of pandas looks from here."""

    def __init__(self, index, values):
        self.index, self._values = index, values

    def to_dict(self):
        return dict(zip(self.index, self._values))

    def items(self):
        return zip(self.index, self._values)

    def __iter__(self):
        return iter(self._values)


class Frame(Column):
    """As a DataFrame of pandas looks from here."""

    def __init__(self, index, columns, rows):
        super().__init__(index, rows)
        self.columns = columns

    def to_dict(self, orient="dict"):
        return {"index": self.index, "columns": self.columns, "data": self._values}

    def __iter__(self):
        return iter(self.columns)


class Row:
    """As a row of sqlite3 looks from here."""

    def keys(self):
        return ["city"]

    def __getitem__(self, name):
        return {"city": "Oslo"}[name]

    def __iter__(self):
        return iter(["Oslo"])


class Selfish(collections.UserString):
    """Its item is itself, as that of a number that Python has no type for."""

    def __init__(self):
        super().__init__("selfish")

    def item(self):
        return self


@dataclass(repr=False)
class Unset:
    size: int = dataclasses.field(init=False)


def text_of(result):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return Message.tool(CALL, result).content


# What cannot be written


def with_itself():
    value: list[Any] = []
    value.append({"again": value})
    return value


def test_data_that_contains_itself_is_an_error_that_names_the_tool():
    with pytest.raises(InvalidRequestError, match="tool look contains itself"):
        Message.tool(CALL, with_itself())


def test_data_that_never_ends_is_an_error_that_names_the_tool():
    nested: Any = 1
    for _ in range(100_000):
        nested = [nested]
    try:
        with pytest.raises(InvalidRequestError, match="tool look is nested too deeply"):
            Message.tool(CALL, nested)
    finally:
        while isinstance(nested, list):  # or Python itself fails when it lets go of it
            nested = nested.pop()


# What is written


def named(value):
    """Return a name for a value that is the same in each process, as its address is not."""
    return value if isinstance(value, str) else type(value).__name__


@for_each(
    ("result", "text"),
    [
        ("a text", "a text"),
        (None, "null"),
        (True, "true"),
        (7, "7"),
        (1.5, "1.5"),
        ([1, "ä"], '[1,"ä"]'),
        ({"a": (1, 2)}, '{"a":[1,2]}'),
        ({1}, "[1]"),
        (frozenset(), "[]"),
        (math.nan, "null"),
        ({"a": math.inf, "b": [-math.inf]}, '{"a":null,"b":[null]}'),
        (decimal.Decimal("1.10"), "1.10"),
        ([decimal.Decimal("NaN")], "[null]"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        ([datetime.datetime(2026, 1, 2, 3)], '["2026-01-02T03:00:00"]'),
        ([datetime.time(3, 4)], '["03:04:00"]'),
        ([datetime.timedelta(minutes=90)], '["P0DT5400S"]'),
        ([-datetime.timedelta(days=1, microseconds=1500)], '["-P1DT0.0015S"]'),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ([pathlib.PurePosixPath("a/b")], '["a/b"]'),
        ([1j], '["1j"]'),
        (b"\x00\xff", "AP8="),
        ([bytearray(b"a"), memoryview(b"b")], '["YQ==","Yg=="]'),
        (Sky.GREY, "grey"),
        (Level.HIGH, "2"),
        ([Word.YES], '["yes"]'),
        (Point(1, 2), '{"x":1,"y":2}'),
        (Place("Oslo", datetime.date(1048, 1, 1)), '{"city":"Oslo","founded":"1048-01-01"}'),
        (Place, "Place"),
        (Model(), '{"at":"2026-01-02"}'),
        ([Array([1, 2])], "[[1,2]]"),
        (Scalar(), "7"),
        (Times(), '["2026-01-02T00:00:00"]'),
        (Frame([0, 1], ["a", "b"], [[1, 2], [3, 4]]), '[{"a":1,"b":2},{"a":3,"b":4}]'),
        (Frame(["x", "x"], ["a"], [[1], [3]]), '[["x",{"a":1}],["x",{"a":3}]]'),
        (Frame([0], ["a", "a"], [[1, 2]]), '{"columns":["a","a"],"index":[0],"data":[[1,2]]}'),
        (Column([0, 1], ["x", "y"]), '["x","y"]'),
        (Column(["Oslo", "Rome"], [3, 20]), '{"Oslo":3,"Rome":20}'),
        (Row(), '{"city":"Oslo"}'),
        (Selfish(), "selfish"),
        (Unset(), "{}"),
        (collections.UserString("a"), "a"),
        (memoryview(b"abcd")[::2], "YWM="),
        (array.array("i", [1, 2]), "[1,2]"),
        (collections.deque([1]), "[1]"),
        (collections.OrderedDict(a=1), '{"a":1}'),
        ({"a": 1}.keys(), '["a"]'),
        ({"a": 1}.items(), '[["a",1]]'),
        (range(3), "[0,1,2]"),
        ((each for each in "ab"), '["a","b"]'),
        (map(str, [1]), '["1"]'),
        ({datetime.date(2026, 1, 2): 1}, '{"2026-01-02":1}'),
        ({(1, 2): 1, None: 2, True: 3, 1.5: 4}, '{"[1,2]":1,"null":2,"true":3,"1.5":4}'),
        ({Sky.GREY: 1}, '{"grey":1}'),
        ({1: "a", "1": "b"}, '[["1","a"],["1","b"]]'),
    ],
    ids=named,
)
def test_a_result_is_written_without_loss_and_without_a_warning(result, text):
    assert text_of(result) == text


def test_a_long_array_is_whole():
    assert json.loads(text_of(Array(list(range(20_000))))) == list(range(20_000))
    assert len(json.loads(text_of(list(range(20_000))))) == 20_000


def test_a_number_of_thousands_of_digits_is_written():
    assert int(json.loads(text_of([10**5000]))[0], 16) == 10**5000


def test_data_that_is_used_twice_does_not_contain_itself():
    point = Point(1, 2)
    assert text_of([point, point]) == '[{"x":1,"y":2},{"x":1,"y":2}]'


@for_each("items", [itertools.count(), iter(range(10_001)), range(10_001)], ids=named)
def test_an_iterator_is_cut_at_ten_thousand_with_a_warning_that_names_the_tool(items):
    with pytest.warns(ToolCallWarning, match="tool look returned more than 10,000 items"):
        text = Message.tool(CALL, items).content
    assert json.loads(text) == list(range(10_000))


def test_an_iterator_of_ten_thousand_is_whole():
    assert len(json.loads(text_of(iter(range(10_000))))) == 10_000


class Plain:
    pass


class Told:
    def __str__(self):
        return "told"


class Broken:
    def __str__(self):
        raise ValueError


class Misleading:
    """Its methods of a familiar name mean something else."""

    def item(self, position):
        return position

    def __str__(self):
        return "one of many"


@for_each(
    ("result", "text"),
    [
        (Plain(), "Plain"),
        (Told(), "told"),
        (Broken(), "Broken"),
        (Misleading(), "one of many"),
        (fractions.Fraction(1, 3), "1/3"),
        ([fractions.Fraction(1, 3)], '["1/3"]'),
        ({"f": Plain()}, '{"f":"Plain"}'),
        (dataclasses.field, "function"),
        (ValueError("why"), "why"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_object_of_another_kind_is_its_text_with_a_warning_that_names_the_tool(result, text):
    with pytest.warns(ToolCallWarning, match=r"tool look returned an object of type \w+, which JSON does not have"):
        assert Message.tool(CALL, result).content == text
