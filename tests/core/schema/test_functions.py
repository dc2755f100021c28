from __future__ import annotations

import dataclasses
import enum
import functools
import json
import pickle
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, Optional, TypedDict, Union
from uuid import UUID

import pytest
import typing_extensions
from tables import for_each

from lmstudio_provider import ConfigurationError, InvalidRequestError, Tool
from lmstudio_provider._core.schema.functions import Function
from lmstudio_provider._core.schema.json_schema import MisfitError


class Sky(enum.Enum):
    CLEAR = "clear"
    GREY = "grey"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class When(enum.Enum):
    NOW = datetime(2026, 1, 1)


@dataclass
class Place:
    """Where it is."""

    city: str
    country: Annotated[str, "As two letters."] = "NO"
    tags: list[str] = field(default_factory=list)


@dataclass
class Tree:
    name: str
    children: list[Tree] = field(default_factory=list)


@dataclass
class Positive:
    value: int

    def __post_init__(self) -> None:
        if self.value < 1:
            raise ValueError("below 1")


class Options(TypedDict, total=False):
    verbose: bool


class Query(Options):
    text: str


@dataclass
class Stamped:
    at: bytes


@dataclass
class Broken:
    at: NoSuchThing  # noqa: F821


UserId = NewType("UserId", int)


def of_hint(hint, **members):
    """A function with one parameter, ``x``, of that hint."""

    def function(x):
        return x

    function.__annotations__ = {"x": hint}
    return Function(function)


def called(function, arguments):
    return function.call(function.read(arguments))


# What cannot be a tool


@for_each(
    ("hint", "said"),
    [
        (bytes, "bytes, which JSON schema cannot express; use a str of base64"),
        (list[complex], "complex"),
        (dict[int, str], "keys"),
        (Optional[complex], "complex"),
        (Literal[b"x"], "not JSON"),
        (When, "not JSON"),
        (enum.Enum("Empty", []), "not JSON"),
        (typing.TypeVar("T"), "~T"),
        (typing.Callable[[], None], "Callable"),
        (type, "type"),
    ],
    ids=str,
)
def test_a_hint_that_json_schema_cannot_say_names_function_and_parameter(hint, said):
    with pytest.raises(ConfigurationError, match=r"function: the parameter 'x'") as caught:
        of_hint(hint)
    assert said in str(caught.value)


def test_the_field_of_a_class_that_cannot_be_said_is_named_with_its_way():
    with pytest.raises(ConfigurationError, match=r"function: the parameter 'x' > Stamped: the field 'at' is hinted"):
        of_hint(Stamped)


def test_a_parameter_without_a_hint_is_refused():
    def look_up(word):
        return word

    with pytest.raises(ConfigurationError, match="look_up: the parameter 'word' has no type hint"):
        Tool.from_function(look_up)


def test_any_number_of_values_is_refused():
    def add(*numbers: int) -> int:
        return sum(numbers)

    def note(**fields: str) -> None: ...

    for function in (add, note):
        with pytest.raises(ConfigurationError, match="any number of values"):
            Tool.from_function(function)


@pytest.mark.parametrize("hint", ["NoSuchThing", Broken])
def test_a_hint_that_cannot_be_looked_up_is_refused(hint):
    with pytest.raises(ConfigurationError, match="NoSuchThing"):
        of_hint(hint)


def test_an_async_function_is_refused():
    async def wait(seconds: float) -> None: ...

    with pytest.raises(ConfigurationError, match="wait is async"):
        Tool.from_function(wait)


@for_each("value", [None, 7, "get_weather"])
def test_a_tool_that_is_not_a_function_is_refused(value):
    with pytest.raises(ConfigurationError, match="cannot be called"):
        Tool.from_function(value)


def test_a_builtin_whose_parameters_have_no_hints_is_refused():
    with pytest.raises(ConfigurationError, match="len"):
        Tool.from_function(len)


def test_a_function_without_a_name_needs_one():
    lambda_: Any = lambda: 1  # noqa: E731
    with pytest.raises(InvalidRequestError, match="<lambda>"):
        Tool.from_function(lambda_)
    assert Tool.from_function(lambda_, name="one", description="Always 1").name == "one"


# The schema of each kind


@for_each(
    ("hint", "schema"),
    [
        (str, {"type": "string"}),
        (int, {"type": "integer"}),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (None, {"type": "null"}),
        (Any, {}),
        (object, {}),
        (Optional[int], {"type": "integer"}),
        (Optional[Literal["a", "b"]], {"type": "string", "enum": ["a", "b"]}),
        (list[Optional[int]], {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}),
        (Optional[Annotated[int, "How many."]], {"type": "integer", "description": "How many."}),
        (Annotated[Optional[int], "How many."], {"type": "integer", "description": "How many."}),
        (Union[int, str, None], {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        (datetime, {"type": "string", "format": "date-time"}),
        (date, {"type": "string", "format": "date"}),
        (time, {"type": "string", "format": "time"}),
        (timedelta, {"type": "string", "format": "duration"}),
        (UUID, {"type": "string", "format": "uuid"}),
        (Decimal, {"type": "string", "format": "decimal"}),
        (Path, {"type": "string", "format": "path"}),
        (Union[int, str], {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (Literal[1, "a", None], {"anyOf": [{"type": "integer", "enum": [1]}, {"type": "string", "enum": ["a"]}]}),
        (Literal[Sky.GREY], {"type": "string", "enum": ["grey"]}),
        (Sky, {"type": "string", "enum": ["clear", "grey"]}),
        (Level, {"type": "integer", "enum": [1, 2]}),
        (list, {"type": "array"}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (Sequence, {"type": "array"}),
        (typing.Sequence[str], {"type": "array", "items": {"type": "string"}}),
        (set[str], {"type": "array", "items": {"type": "string"}}),
        (tuple, {"type": "array"}),
        (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
        (
            tuple[int, str],
            {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2},
        ),
        (dict, {"type": "object"}),
        (Mapping, {"type": "object"}),
        (dict[str, float], {"type": "object", "additionalProperties": {"type": "number"}}),
        (Annotated[int, "How many."], {"type": "integer", "description": "How many."}),
        (Annotated[int, 7, "How many."], {"type": "integer", "description": "How many."}),
        (UserId, {"type": "integer"}),
        (
            Place,
            {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "country": {"type": "string", "description": "As two letters.", "default": "NO"},
                    "tags": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["city"],
                "additionalProperties": False,
                "description": "Where it is.",
            },
        ),
        (
            Query,
            {
                "type": "object",
                "properties": {"verbose": {"type": "boolean"}, "text": {"type": "string"}},
                "required": ["text"],
                "additionalProperties": False,
            },
        ),
    ],
    ids=lambda value: str(getattr(value, "__name__", value)),  # str() of a NewType has its address on Python 3.9
)
def test_the_schema_of_a_hint(hint, schema):
    assert of_hint(hint).schema["properties"]["x"] == schema


def test_a_class_that_refers_to_itself_is_a_definition():
    schema = of_hint(Tree).schema
    assert schema["properties"]["x"] == {"$ref": "#/$defs/Tree"}
    assert schema["$defs"]["Tree"] == {
        "type": "object",
        "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}},
        "required": ["name"],
        "additionalProperties": False,
    }


@pytest.mark.skipif(sys.version_info < (3, 10), reason="X | Y is Python 3.10 syntax")
def test_a_union_may_be_written_with_a_bar():
    assert of_hint("int | str").schema["properties"]["x"] == {"anyOf": [{"type": "integer"}, {"type": "string"}]}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="NotRequired is in typing since Python 3.11")
def test_a_key_that_is_not_required_may_be_missing():
    class Search(TypedDict):
        text: str
        limit: typing.NotRequired[int]

    schema = of_hint(Search).schema["properties"]["x"]
    assert schema["required"] == ["text"]
    assert schema["properties"]["limit"] == {"type": "integer"}


def get_weather(
    city: str,
    days: int = 1,
    unit: Literal["celsius", "fahrenheit"] = "celsius",
    place: Optional[Place] = None,  # noqa: UP045 (Python 3.9 looks it up)
) -> str:
    """Tell the weather.

    Looks into the sky.

    Args:
        city: Where to look,
            by its name: as on a map.
        days (int): How far ahead.
        unit: Of the temperature.

    Returns:
        A sentence.
    """
    return f"{city} {days} {unit} {place}"


def test_name_description_and_parameters_come_from_the_function():
    tool = Tool.from_function(get_weather)
    assert (tool.name, tool.description) == ("get_weather", "Tell the weather.\n\nLooks into the sky.")
    assert tool.function is get_weather
    properties = tool.parameters["properties"]
    assert tool.parameters["required"] == ["city"]
    assert tool.parameters["additionalProperties"] is False
    assert properties["city"] == {"type": "string", "description": "Where to look, by its name: as on a map."}
    assert properties["days"] == {"type": "integer", "description": "How far ahead.", "default": 1}
    assert properties["unit"]["enum"] == ["celsius", "fahrenheit"]
    assert "default" not in properties["place"]


def test_the_text_of_annotated_wins_over_the_docstring():
    def roll(sides: Annotated[int, "At least 2."]) -> int:
        """Roll a die.

        Args:
            sides: Of the die.
        """
        return sides

    assert Tool.from_function(roll).parameters["properties"]["sides"]["description"] == "At least 2."


def test_a_function_without_a_docstring_has_no_description():
    assert of_hint(int).description == ""


def test_methods_partials_classes_and_callable_objects_are_functions():
    class Clock:
        def at(self, hour: int) -> str:
            """Tell the hour."""
            return f"{hour} h"

        def __call__(self, minute: int) -> int:
            """Tell the minute."""
            return minute

    assert called(Function(Clock().at), {"hour": 3}) == "3 h"
    assert Function(Clock().at).description == "Tell the hour."
    assert called(Function(Clock()), {"minute": 4}) == 4
    assert called(Function(functools.partial(get_weather, days=2)), {"city": "Oslo"}).startswith("Oslo 2")
    assert called(Function(Place), {"city": "Oslo"}) == Place("Oslo")


# Calling it with the arguments that the model wrote


@for_each(
    ("hint", "value", "path"),
    [
        (str, 7, "$.x"),
        (int, "many", "$.x"),
        (int, "3.5", "$.x"),
        (int, "0x10", "$.x"),
        (int, "1_000", "$.x"),
        (int, "", "$.x"),
        (int, "9" * 5000, "$.x"),
        (int, None, "$.x"),
        (float, "NaN", "$.x"),
        (float, "1e999", "$.x"),
        (bool, "yes", "$.x"),
        (bool, "1", "$.x"),
        (str, None, "$.x"),
        (date, "28.11.2026", "$.x"),
        (date, "2026-11-28T10:00:00", "$.x"),
        (datetime, "now", "$.x"),
        (timedelta, "P", "$.x"),
        (timedelta, 90, "$.x"),
        (UUID, "7", "$.x"),
        (Decimal, "NaN", "$.x"),
        (list[int], "1, 2", "$.x"),
        (int, 1.5, "$.x"),
        (int, True, "$.x"),
        (float, float("nan"), "$.x"),
        (bool, 1, "$.x"),
        (Literal[1], True, "$.x"),
        (Sky, "blue", "$.x"),
        (list[int], [1, "two"], "$.x[1]"),
        (tuple[int, str], [1], "$.x"),
        (dict[str, int], {"a": None}, "$.x.a"),
        (Place, {}, "$.x.city"),
        (Place, {"city": "Oslo", "zip": 7}, "$.x.zip"),
        (Optional[Place], {"city": 7}, "$.x.city"),
        (Tree, {"name": "a", "children": [{"name": 7}]}, "$.x.children[0].name"),
        (Positive, {"value": 0}, "$.x"),
        (list[Positive], [{"value": 1}, {"value": -1}], "$.x[1]"),
    ],
    ids=str,
)
def test_arguments_that_do_not_fit_name_the_place(hint, value, path):
    with pytest.raises(MisfitError) as caught:
        called(of_hint(hint), {"x": value})
    assert caught.value.path == path


def test_a_missing_and_an_unknown_argument_do_not_fit():
    for arguments, path in (({}, "$.city"), ({"city": "Oslo", "town": "Oslo"}, "$.town")):
        with pytest.raises(MisfitError) as caught:
            called(Function(get_weather), arguments)
        assert caught.value.path == path


def test_a_number_that_no_float_holds_does_not_fit():
    with pytest.raises(MisfitError):
        called(of_hint(float), {"x": 10**400})


@for_each(
    ("hint", "value", "built"),
    [
        (int, 3.0, 3),
        (int, "3", 3),
        (int, " -3 ", -3),
        (int, "3.0", 3),
        (float, "3", 3.0),
        (float, "-1.5e3", -1500.0),
        (bool, "true", True),
        (bool, "False", False),
        (None, "null", None),
        (Optional[int], "null", None),
        (Optional[int], "None", None),
        (Optional[int], "7", 7),
        (Optional[str], "null", "null"),
        (Union[int, str], "3", "3"),
        (Union[str, int], 3, 3),
        (Union[float, int], 3, 3),
        (Union[int, float], 3.0, 3.0),
        (Union[bool, int], "true", True),
        (Union[list[int], str], "[1]", "[1]"),
        (list[int], "[1, 2]", [1, 2]),
        (list[int], ["1", 2.0], [1, 2]),
        (tuple[int, str], '[1, "a"]', (1, "a")),
        (dict[str, int], '{"a": "1"}', {"a": 1}),
        (Place, '{"city": "Oslo",}', Place("Oslo")),
        (Place, {"city": "Oslo", "country": None}, Place("Oslo")),
        (Place, {"city": "Oslo", "tags": None}, Place("Oslo")),
        (list[Place], '[{"city": "Oslo", "tags": "[\\"x\\"]"}]', [Place("Oslo", tags=["x"])]),
        (Literal[1, 2], "2", 2),
        (Literal["1", "2"], 2, "2"),
        (Literal[True, "x"], "true", True),
        (Level, "2", Level.HIGH),
        (date, "2026-11-28", date(2026, 11, 28)),
        (datetime, "2026-11-28T10:00:00Z", datetime(2026, 11, 28, 10, tzinfo=timezone.utc)),
        (datetime, "2026-11-28 10:00:00.5+01:00", datetime.fromisoformat("2026-11-28T10:00:00.500000+01:00")),
        (time, "10:30", time(10, 30)),
        (time, "10:30:00Z", time(10, 30, tzinfo=timezone.utc)),
        (timedelta, "PT1H30M", timedelta(minutes=90)),
        (timedelta, "-P1DT0.5S", -timedelta(days=1, seconds=0.5)),
        (timedelta, "P2W", timedelta(weeks=2)),
        (timedelta, "1:30:00", timedelta(minutes=90)),
        (UUID, "12345678123456781234567812345678", UUID("12345678-1234-5678-1234-567812345678")),
        (Decimal, "1.10", Decimal("1.10")),
        (Decimal, 1.1, Decimal("1.1")),
        (Path, "a/b.txt", Path("a/b.txt")),
        (Path, " notes ", Path(" notes ")),
        (int, "9007199254740993.0", 9007199254740993),
        (Union[datetime, date], "2026-11-28", date(2026, 11, 28)),
        (dict[str, date], {"a": "2026-11-28"}, {"a": date(2026, 11, 28)}),
        (float, 3, 3.0),
        (Union[float, str], 3, 3.0),
        (Any, {"a": [1]}, {"a": [1]}),
        (Optional[int], None, None),
        (Literal[Sky.GREY], "grey", Sky.GREY),
        (Sky, "clear", Sky.CLEAR),
        (Level, 2, Level.HIGH),
        (set[int], [1, 1], {1}),
        (tuple[int, ...], [1, 2], (1, 2)),
        (tuple[int, Sky], [1, "grey"], (1, Sky.GREY)),
        (dict[str, Sky], {"a": "grey"}, {"a": Sky.GREY}),
        (typing.Sequence[Place], [{"city": "Oslo"}], [Place("Oslo")]),
        (Union[Tree, Place], {"city": "Oslo", "tags": ["x"]}, Place("Oslo", tags=["x"])),
        (Tree, {"name": "a", "children": [{"name": "b"}]}, Tree("a", [Tree("b")])),
        (Query, {"text": "a"}, {"text": "a"}),
    ],
    ids=str,
)
def test_arguments_are_converted_to_their_hints(hint, value, built):
    result = called(of_hint(hint), {"x": value})
    assert result == built
    assert type(result) is type(built)


@for_each("text", ["1e-" + "9" * 30, "1e" + "9" * 30, "-0.1e-" + "9" * 300])
@for_each("hint", [int, Decimal, timedelta, list[int]])
def test_a_number_with_an_exponent_of_many_digits_does_not_fit(hint, text):
    with pytest.raises(MisfitError):
        called(of_hint(hint), {"x": text})


@pytest.mark.skipif(not hasattr(sys, "set_int_max_str_digits"), reason="this Python reads any number of digits")
@for_each("digits", [640, 641, 999, 1000, 5000])
def test_a_number_of_more_digits_than_python_may_read_does_not_fit(digits):
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        with pytest.raises(MisfitError, match=r"\$\.x: .* is not of type integer"):
            called(of_hint(int), {"x": "9" * digits})
    finally:
        sys.set_int_max_str_digits(before)


def test_a_parameter_that_is_left_out_has_its_default():
    assert called(Function(get_weather), {"city": "Oslo"}) == "Oslo 1 celsius None"


def test_positional_only_parameters_are_passed_by_position():
    def divide(a: int, b: int = 2, /) -> float:
        return a / b

    assert called(Function(divide), {"b": 4, "a": 2}) == 0.5


def test_a_field_that_the_constructor_does_not_take_is_not_a_parameter():
    @dataclass
    class Counted:
        name: str
        size: int = dataclasses.field(init=False)

        def __post_init__(self) -> None:
            self.size = len(self.name)

    assert called(of_hint(Counted), {"x": {"name": "abc"}}).size == 3


# Types that are odd, and plausible


@dataclass
class Many:
    """Uses what uses it."""

    kind: Literal["many"]
    one: Optional[One] = None  # noqa: UP045 (Python 3.9 looks it up)
    two: Optional[Two] = None  # noqa: UP045
    three: Optional[Three] = None  # noqa: UP045


@dataclass
class One:
    many: list[Many]
    two: Optional[Two] = None  # noqa: UP045
    three: Optional[Three] = None  # noqa: UP045


@dataclass
class Two:
    many: list[Many]
    one: Optional[One] = None  # noqa: UP045
    three: Optional[Three] = None  # noqa: UP045


@dataclass
class Three:
    many: list[Many]
    one: Optional[One] = None  # noqa: UP045
    two: Optional[Two] = None  # noqa: UP045


@dataclass
class my_node:
    children: list[my_node]


class Odd(TypedDict, total=False):
    needed: typing_extensions.Required[int]
    free: int


class Even(TypedDict):
    needed: int
    free: Annotated[typing_extensions.NotRequired[int], "May be missing."]


class Noted(TypedDict):
    note: Optional[str]  # noqa: UP045 (Python 3.9 looks it up)
    size: typing_extensions.NotRequired[Optional[int]]  # noqa: UP045


def namesake(hint):
    @dataclass
    class Node:
        children: list
        size: int

    Node.__annotations__.update(children=list[Node], size=hint)
    return Node


def test_classes_that_use_each_other_are_said_once_each():
    schema = of_hint(Many).schema
    assert len(json.dumps(schema)) < 5000
    assert called(of_hint(Many), {"x": {"kind": "many", "one": {"many": []}}}) == Many("many", One([]))


def test_a_class_that_is_used_twice_is_built_twice():
    assert called(of_hint(tuple[Place, Place]), {"x": [{"city": "a"}, {"city": "b"}]}) == (Place("a"), Place("b"))


def test_classes_of_one_name_stay_apart():
    first, second = namesake(str), namesake(int)
    definitions = of_hint(tuple[first, first, second, second]).schema["$defs"]
    assert len(definitions) == 2


def test_a_definition_has_a_name_that_engines_can_make_a_rule_of():
    assert list(of_hint(my_node).schema["$defs"]) == ["mynode"]


def test_an_initvar_is_a_parameter():
    def add(self, seed):
        self.value += seed

    fields = [("value", int), ("seed", dataclasses.InitVar[int])]
    seeded = dataclasses.make_dataclass("Seeded", fields, namespace={"__post_init__": add})
    assert called(of_hint(seeded), {"x": {"value": 1, "seed": 2}}).value == 3


@pytest.mark.parametrize("hint", [Odd, Even])
def test_required_keys_are_found_in_each_notation_of_hints(hint):
    assert of_hint(hint).schema["properties"]["x"]["required"] == ["needed"]


@for_each("hint", [[int], {"a": int}, Literal["a", ("b",)]], ids=str)
def test_a_hint_that_is_not_a_type_is_refused(hint):
    with pytest.raises(ConfigurationError, match="'x'"):
        of_hint(hint)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_choice_that_is_not_a_number_of_json_is_refused(number):
    with pytest.raises(ConfigurationError, match="not JSON"):
        of_hint(enum.Enum("Level", {"A": number}))


@dataclass
class Pair:
    left: Place
    right: Place


def test_a_class_that_is_used_twice_is_written_out_at_each_place():
    schema = of_hint(Pair).schema
    left, right = schema["properties"]["x"]["properties"].values()
    assert left == right == of_hint(Place).schema["properties"]["x"]
    assert "$defs" not in schema


def test_classes_that_use_another_twice_many_times_over_have_a_schema_that_ends():
    inner: Any = int
    for number in range(18):
        inner = dataclasses.make_dataclass(f"Level{number}", [("left", inner), ("right", inner)])
    assert len(json.dumps(of_hint(inner).schema)) < 1_000_000


def test_alternatives_in_alternatives_are_not_tried_over_and_over():
    hint, value, tried = Any, "bottom", []

    def count(self):
        tried.append(type(self))

    for number in range(18):
        fields = [("down", hint), ("kind", int)]
        other = dataclasses.make_dataclass(f"Other{number}", [("down", hint), ("size", int)])
        same = dataclasses.make_dataclass(f"Same{number}", fields, namespace={"__post_init__": count})
        hint, value = Union[other, same], {"down": value, "kind": "1"}
    assert called(of_hint(hint), {"x": value}).down.down.kind == 1
    assert len(tried) < 18 * 8


def test_a_dataclass_whose_init_takes_something_else_is_refused():
    @dataclass(init=False)
    class Odd:
        size: int

        def __init__(self, text: str) -> None:
            self.size = len(text)

    @dataclass(init=False)
    class Any_:
        size: int

        def __init__(self, **fields) -> None:
            self.size = 0

    @dataclass(init=False)
    class Less:
        size: int

    with pytest.raises(ConfigurationError, match="does not take the field 'size'"):
        of_hint(Less)
    for cls, name in ((Odd, "text"), (Any_, "fields")):
        with pytest.raises(ConfigurationError, match=f"takes '{name}', which is not a field"):
            of_hint(cls)


@for_each("hint", [Optional[int], Optional[Place], Optional[Literal["a"]], None])
def test_an_optional_parameter_may_be_left_out_and_may_be_null(hint):
    function = of_hint(hint)
    if hint is not None:
        assert "type" in function.schema["properties"]["x"]
    assert function.schema["required"] == []
    assert called(function, {}) is None
    assert called(function, {"x": None}) is None


def test_the_optional_field_of_a_class_may_be_left_out():
    noted = dataclasses.make_dataclass("Noted", [("note", Optional[str]), ("size", Optional[int], 3)])
    assert called(of_hint(noted), {"x": {}}) == noted(None, 3)
    assert called(of_hint(noted), {"x": {"note": None, "size": None}}) == noted(None, None)


def test_the_optional_key_of_a_typed_dict_is_filled_in_and_one_that_is_not_required_is_not():
    assert called(of_hint(Noted), {"x": {}}) == {"note": None}


class Model:
    """As a model of pydantic's looks from here."""

    def __init__(self, city):
        self.city = city

    @classmethod
    def model_json_schema(cls):
        return {
            "$defs": {
                "Town": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
                "Node": {
                    "type": "object",
                    "properties": {"next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}], "default": None}},
                },
            },
            "type": "object",
            "properties": {
                "home": {"$ref": "#/$defs/Town", "description": "Where one lives."},
                "work": {"anyOf": [{"$ref": "#/$defs/Town"}, {"type": "null"}], "default": None, "title": "Work"},
                "age": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
                "node": {"$ref": "#/$defs/Node"},
            },
            "required": ["home", "age"],
        }

    @classmethod
    def model_validate_json(cls, text):
        value = json.loads(text)
        if "home" not in value:
            raise ValueError("no home")
        return cls(value["home"]["name"])


def test_a_model_of_pydantic_is_a_parameter_with_its_references_written_out():
    schema = of_hint(Model).schema
    town = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    node = {"$ref": "#/$defs/Node"}
    assert schema["properties"]["x"]["properties"] == {
        "home": {**town, "description": "Where one lives."},
        "work": {**town, "title": "Work"},
        "age": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "node": node,
    }
    assert schema["$defs"] == {"Node": {"type": "object", "properties": {"next": node}}}


def test_a_model_of_pydantic_is_built_from_an_object_or_its_text():
    for value in ({"home": {"name": "Oslo"}}, '{"home": {"name": "Oslo"}}'):
        assert called(of_hint(Model), {"x": value}).city == "Oslo"
    with pytest.raises(MisfitError, match="no home") as caught:
        called(of_hint(list[Model]), {"x": [{}]})
    assert caught.value.path == "$.x[0]"


def model_of(kind, word):
    """A class like pydantic's, with a member ``n`` of that kind, and ``tags`` that may be left out."""

    class Like:
        def __init__(self, value):
            self.value = value

        @classmethod
        def model_json_schema(cls):
            properties = {"n": {"type": word}, "tags": {"type": "array"}}
            return {"type": "object", "properties": properties, "required": ["n"]}

        @classmethod
        def model_validate_json(cls, text):
            value = json.loads(text)
            if not isinstance(value["n"], kind) or value.get("tags", []) is None or isinstance(value.get("tags"), str):
                raise ValueError("not valid")
            return cls(value)

    return Like


@for_each("tags", ['["a"]', None, ["a"]])
def test_values_are_converted_inside_a_model_of_pydantic_too(tags):
    built = called(of_hint(model_of(int, "integer")), {"x": {"n": "3", "tags": tags}})
    assert built.value == ({"n": 3} if tags is None else {"n": 3, "tags": ["a"]})


def test_the_model_of_pydantic_that_fits_exactly_wins_before_one_that_would_convert():
    number, text = model_of(int, "integer"), model_of(str, "string")
    assert type(called(of_hint(Union[number, text]), {"x": {"n": "3"}})) is text
    assert type(called(of_hint(Union[text, number]), {"x": {"n": 3}})) is number


def test_a_set_of_values_without_a_hash_does_not_fit():
    with pytest.raises(MisfitError):
        called(of_hint(set[Place]), {"x": [{"city": "Oslo"}]})


def test_another_alternative_is_used_if_one_refuses_the_value():
    negative = dataclasses.make_dataclass("Negative", [("value", int)])
    assert called(of_hint(Union[Positive, negative]), {"x": {"value": -1}}) == negative(-1)
    with pytest.raises(MisfitError, match="below 1"):
        called(of_hint(Union[Positive, str]), {"x": {"value": -1}})


class Bounds:
    """As those of annotated-types and pydantic look."""

    def __init__(self, **bounds):
        self.__dict__.update(bounds)


def test_constraints_of_annotated_are_said_and_kept():
    number = Annotated[int, Bounds(ge=1, description="How many."), Bounds(metadata=[Bounds(lt=5)])]
    words = Annotated[list[str], Bounds(min_length=1)]
    text = Annotated[str, Bounds(max_length=3)]
    assert of_hint(number).schema["properties"]["x"] == {
        "type": "integer",
        "minimum": 1,
        "exclusiveMaximum": 5,
        "description": "How many.",
    }
    for hint, value in ((number, 5), (words, []), (text, "abcd")):
        with pytest.raises(MisfitError):
            called(of_hint(hint), {"x": value})


@for_each("value", ["a", [1], {"x": 1}])
def test_the_bounds_of_a_union_concern_the_values_of_each_type(value):
    union = Annotated[Union[str, list[int], int], Bounds(min_length=2)]
    with pytest.raises(MisfitError):
        called(of_hint(union), {"x": value})
    assert called(of_hint(list[union]), {"x": ["ab", [1, 2], 1]}) == ["ab", [1, 2], 1]


def test_the_schema_of_a_tool_is_a_plain_dict_that_can_be_pickled():
    tool = Tool.from_function(get_weather)
    assert type(tool.parameters["properties"]["city"]) is dict
    assert pickle.loads(pickle.dumps(tool)).parameters == tool.parameters


def test_the_text_of_args_wins_over_the_docstring_of_a_class():
    def look(place: Place) -> str:
        """Look.

        Args:
            place (Callable[[int], str], default (1, 2)): Where to look.

        And a word at the margin.
        """
        return place.city

    schema = Function(look).schema["properties"]["place"]
    assert schema["description"] == "Where to look."


def test_an_async_function_is_refused_whatever_wraps_it():
    async def generate(query: str) -> typing.AsyncIterator[str]:
        yield query

    async def wait(seconds: float) -> None: ...

    @functools.wraps(wait)
    def wrapper(seconds: float) -> Any:
        return wait(seconds)

    for function in (generate, wrapper):
        with pytest.raises(ConfigurationError, match="async"):
            Function(function)


def test_an_object_that_can_be_called_is_named_by_its_class():
    class Clock:
        def __call__(self, hour: int) -> int:
            return hour

    assert Function(Clock()).name == "Clock"
