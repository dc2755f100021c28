"""What is finished of an answer that is still coming."""

from __future__ import annotations

import enum
import json
import threading
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple, TypedDict, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import for_each

from lmstudio_provider._core.growing_text import GrowingText
from lmstudio_provider._core.schema.partial import text_since
from lmstudio_provider._core.schema.structured import structure_of


class Kind(enum.Enum):
    NOVEL = "novel"
    PLAY = "play"


@dataclass
class Work:
    title: str
    year: int = 0
    kind: Optional[Kind] = None  # noqa: UP045 (Python 3.9 looks it up)


@dataclass
class Place:
    city: str
    streets: List[str]  # noqa: UP006


@dataclass
class Author:
    name: str
    works: List[Work]  # noqa: UP006
    place: Optional[Place] = None  # noqa: UP045
    pairs: Tuple[Tuple[str, Work], ...] = ()  # noqa: UP006
    famous: bool = False


class Node(TypedDict, total=False):
    name: str
    children: List[Work]  # noqa: UP006


@dataclass
class Tree:
    name: str
    trees: List[Tree]  # noqa: UP006


class Field:
    def __init__(self, annotation, alias=None):
        self.annotation, self.alias, self.validation_alias = annotation, alias, alias


class Model:
    """As pydantic's classes look from here."""

    model_fields = {"works": Field(List[Work], "theWorks"), "odd": Field(List[bytes])}  # noqa: UP006, RUF012

    @classmethod
    def model_json_schema(cls):
        return {"type": "object", "properties": {"theWorks": {"type": "array"}, "odd": {"type": "array"}}}

    @classmethod
    def model_validate_json(cls, text):
        return json.loads(text)


def partial(type_: Any, *texts: str) -> Any:
    """Return what the last call gives if it is called after each text."""
    answer, text, value = structure_of(type_).partial(), GrowingText(), None
    for each in texts:
        text.add(each)
        value = answer.read(text)
    return value


def steps(type_: Any, *texts: str) -> list[Any]:
    return [partial(type_, *texts[: end + 1]) for end in range(len(texts))]


@for_each("text", ["", " \n", "Sure, here it is:", "```json\n", '"Oslo"', "12", "nul"])
def test_before_the_value_begins_there_is_nothing(text):
    assert partial(Author, text) is None


@for_each(
    ("text", "expected"),
    [
        ("{", {}),
        ('{"na', {}),
        ('{"name"', {}),
        ('{"name": ', {}),
        ('{"name": "Ib', {}),
        ('{"name": "Ib\\"', {}),
        ('{"name": "Ibsen"', {"name": "Ibsen"}),
        ('{"name": "Ibsen", "famous": tru', {"name": "Ibsen"}),
        ('{"name": "Ibsen", "famous": true', {"name": "Ibsen"}),
        ('{"name": "Ibsen", "famous": true,', {"name": "Ibsen", "famous": True}),
        ('{"name": "Ibsen", "famous": true}', {"name": "Ibsen", "famous": True}),
        ('{"name": "Ibsen", "wor', {"name": "Ibsen"}),
        ('{"name": "a\nb", "famous": false ,\n}', {"name": "a\nb", "famous": False}),
        ('{"works": [', {"works": []}),
        ('{"works": [{"title": "Brand"', {"works": []}),
        ('{"works": [{"title": "Brand"}', {"works": [Work("Brand")]}),
        ('{"works": [{"title": "[{,}]", "kind": "play"},', {"works": [Work("[{,}]", kind=Kind.PLAY)]}),
        ('{"works": [{"title": "Brand"}, {"title": "Peer', {"works": [Work("Brand")]}),
        ('{"works": [{"title": "Brand"},], "name": "x"', {"works": [Work("Brand")], "name": "x"}),
        ('{"place": {"city": "Skien"', {"place": {"city": "Skien"}}),
        ('{"place": {"streets": ["a", "b', {"place": {"streets": ["a"]}}),
        ('{"place": {"city": "Skien"}, "name": "x"', {"place": {"city": "Skien"}, "name": "x"}),
        ('{"place": null, "pairs": [["a", {"title": "b"}], ["c"', {"place": None, "pairs": [("a", Work("b"))]}),
    ],
)
def test_what_is_finished_is_given_and_nothing_else(text, expected):
    assert partial(Author, text) == expected
    assert partial(Author, *text) == expected  # in pieces of one character


def test_an_escape_may_be_cut_in_two():
    assert partial(Author, '{"name": "a\\', '"b\\u00', 'e9"') == {"name": 'a"bé'}


def test_a_number_is_finished_by_what_follows_it():
    values = steps(List[int], "[1", "2", ",", " 3", ".0", "e1 ", "]")  # noqa: UP006
    assert values == [[], [], [12], [12], [12], [12], [12, 30]]


@for_each(
    ("type_", "text", "expected"),
    [
        (List[Work], '{"value": [{"title": "a"}, {', [Work("a")]),  # noqa: UP006
        (List[Work], '[{"title": "a"}, {', [Work("a")]),  # noqa: UP006
        (List[Work], "{", None),  # noqa: UP006
        (List[List[int]], '{"value": [[1, 2], [3', [[1, 2]]),  # noqa: UP006
        (Tuple[int, Work], '{"value": [1, {"title": "a"}', [1, Work("a")]),  # noqa: UP006
        (List[Kind], '{"value": ["play", "no', [Kind.PLAY]),  # noqa: UP006
        (Dict[str, List[Work]], '{"x": [{"title": "a"}, 1', {"x": [Work("a")]}),  # noqa: UP006
        (Dict[str, int], '{"x": 1, "y": 2', {"x": 1}),  # noqa: UP006
        (Optional[Author], '{"value": {"name": "a"', {"name": "a"}),
        (Union[Author, Node], '{"works": [{"title": "a"}, ', {"works": [Work("a")]}),
        (Union[List[Work], List[int]], '{"value": [{"title": "a"}, 3, "', [Work("a"), 3]),  # noqa: UP006
        (Node, '{"children": [{"title": "a"}', {"children": [Work("a")]}),
        (Tree, '{"trees": [{"name": "a", "trees": []}', {"trees": [Tree("a", [])]}),
        (Model, '{"theWorks": [{"title": "a"}], "odd": ["b"', {"theWorks": [Work("a")], "odd": ["b"]}),
        (int, '{"value": 3', None),
        (int, '{"value": 3}', 3),
        (Kind, '{"value": "play"', "play"),
        (Any, '{"value": {"a": [{"b": 1}, ', {"a": [{"b": 1}]}),
        ({"type": "object"}, '{"a": [{"b": 1}, ', {"a": [{"b": 1}]}),
        ({"type": "array"}, "[1, 2", [1]),
        ({"type": "json_object"}, '{"a": {"b": "c"', {"a": {"b": "c"}}),
    ],
)
def test_each_kind_of_type_has_its_form(type_, text, expected):
    assert partial(type_, text) == expected
    assert partial(type_, *text) == expected


def test_a_value_that_grows_keeps_its_type():
    texts = ['{"place": {"city": "a"', "}", ', "works": [', "]", "}"]
    assert [type(value["place"]) for value in steps(Author, *texts)] == [dict] * 5
    assert [type(value["works"]) for value in steps(Author, *texts)[2:]] == [list] * 3


def test_an_item_that_does_not_fit_is_left_out():
    text = '{"works": [{"title": "a"}, {"titel": "b"}, 5, {"title": "c"}, '
    assert partial(Author, text) == {"works": [Work("a"), Work("c")]}


@for_each(
    "before",
    ["Sure!\n```json\n", "Here (see [1] and {x}):", "{", "{{", "[a {b: ", "{1: 2} ", '{"a" "b"} ', "{'a': 1} "],
)
@for_each("after", ["", "\n```\nI hope {this} helps [1].", ' Source: {"url": "x"}', ' See [1, "a"].'])
def test_words_and_a_fence_around_the_value_do_not_matter(before, after):
    text = f'{before}{{"name": "a", "works": [{{"title": "b"}}]}}{after}'
    expected = {"name": "a", "works": [Work("b")]}
    assert partial(Author, text) == expected
    assert partial(Author, *text) == expected


def test_the_last_value_of_the_type_is_the_answer():
    texts = ['{"name": "draft"} I mean ', "{", '"name": ', '"final"']
    assert steps(Author, *texts) == [{"name": "draft"}, {"name": "draft"}, {}, {"name": "final"}]


def test_members_that_the_type_does_not_have_are_given_only_beside_others():
    texts = ['{"comment": "b", ', '"name": "a"}']
    assert steps(Author, *texts) == [{}, {"comment": "b", "name": "a"}]
    assert partial(List[Work], '{"cities": [{"title": "a"}]}') is None  # noqa: UP006


@for_each(
    ("type_", "before"),
    [
        (Author, """f = () => { log('it"s') }\n"""),
        (Author, 'It begins with "{" and ends with "}": '),
        (Author, "{1: "),
        (Author, '{"a": {"b" '),
        (List[Work], "[see "),  # noqa: UP006
        (List[Work], '["'),  # noqa: UP006
    ],
)
def test_the_answer_is_found_in_what_only_seemed_to_be_its_beginning(type_, before):
    answer, expected = '{"works": [{"title": "a"}]}', {"works": [Work("a")]}
    if type_ is not Author:
        answer, expected = '{"value": [{"title": "a"}]}', [Work("a")]
    assert partial(type_, f"{before}{answer}]\n") == expected
    assert partial(type_, *f"{before}{answer}]\n") == expected


@for_each(
    "broken", ['"famous": yes, ', '"famous": true "x"', "oops {", "]", ":", ", ,", '"a": 1 : 2', "[]", '"famous" }']
)
def test_what_was_finished_stays_when_the_text_stops_being_json(broken):
    assert partial(Author, '{"name": "a", ' + broken)["name"] == "a"


def test_a_text_that_is_nested_too_deeply_gives_what_came_before():
    assert partial(Author, '{"a":' * 250) is not None
    assert partial(List[Any], "[1, " + "[" * 250 + "]" * 250) == [1]  # noqa: UP006


def test_what_a_call_returned_does_not_grow_later():
    first, second, third = steps_of_one(Author, '{"works": [{"title": "a"}', ", ", '{"title": "b"}')
    assert (first, third) == ({"works": [Work("a")]}, {"works": [Work("a"), Work("b")]})
    assert second is first  # nothing was finished


def steps_of_one(type_, *texts):
    answer, text, values = structure_of(type_).partial(), GrowingText(), []
    for each in texts:
        text.add(each)
        values.append(answer.read(text))
    return values


def test_each_item_is_built_once():
    built = []

    @dataclass
    class Counted:
        name: str

        def __post_init__(self):
            built.append(self.name)

    text = json.dumps([{"name": str(i)} for i in range(20)])
    values = steps_of_one(List[Counted], *text)  # noqa: UP006
    assert built == [str(i) for i in range(20)]
    assert values[-1][0] is values[len(text) // 2][0]


def test_another_text_is_another_answer():
    answer, first, second = structure_of(Author).partial(), GrowingText(), GrowingText()
    first.add('{"name": "a')
    assert answer.read(first) == {}
    second.add('{"name": "b"')
    assert answer.read(second) == {"name": "b"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.slow
@given(value=st.dictionaries(st.text(max_size=5), JSON), cuts=st.lists(st.integers(0, 500)), escaped=st.booleans())
def test_a_whole_value_is_given_whole_however_it_is_cut(value, cuts, escaped):
    text = json.dumps(value, ensure_ascii=escaped)
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    assert partial({"type": "json_object"}, *(text[a:b] for a, b in zip(edges, edges[1:]))) == value


@pytest.mark.slow
@given(value=st.dictionaries(st.text(max_size=5), JSON), end=st.integers(0, 500))
def test_a_part_of_a_value_never_has_more_than_the_whole(value, end):
    found = partial({"type": "json_object"}, json.dumps(value)[:end])
    assert found is None or is_part(found, value)


def is_part(found, whole):
    if isinstance(found, dict):
        return isinstance(whole, dict) and all(is_part(each, whole[name]) for name, each in found.items())
    return found == (whole[: len(found)] if isinstance(found, list) else whole)


def test_a_growing_text_is_read_to_its_end_by_other_threads():
    text, pieces = GrowingText(), [f"{i}," for i in range(20_000)]
    over, results = threading.Event(), []

    def read():
        came, position, last = [], (0, 0, 0), False
        while not last:
            last = over.is_set()
            new, position = text_since(text, position)
            came.append(new)
        results.append("".join(came))

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for piece in pieces:
        text.add(piece)
    over.set()
    for thread in threads:
        thread.join()
    assert results == ["".join(pieces)] * 3 == [text.whole()] * 3
