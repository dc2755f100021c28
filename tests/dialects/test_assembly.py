import itertools

import pytest
from tables import for_each

from lmstudio_provider._dialects.accumulator import ToolCallAssembly


def assembled(*deltas, whole=False):
    assembly = ToolCallAssembly()
    for delta in deltas:
        assembly.add(delta, whole=whole)
    return [(call.id, call.name, call.raw_arguments) for call in assembly.calls()]


def piece(arguments=None, name=None, **fields):
    return {**fields, "function": {"name": name, "arguments": arguments}}


def test_pieces_are_joined_by_index():
    deltas = [[piece("{", "f", index=0, id="1")], [piece("[", "g", index=1, id="2")], [piece("}", index=0, id="")]]
    assert assembled(*deltas, [piece("]", index=1, id=None)]) == [("1", "f", "{}"), ("2", "g", "[]")]


def test_pieces_without_index_are_joined_by_id_or_to_the_last_call():
    deltas = [[piece("{", "f", id="1")], [piece("}")], [piece("[", "g", id="2")], [piece("]")], [piece(" ", id="1")]]
    assert assembled(*deltas) == [("1", "f", "{} "), ("2", "g", "[]")]


def test_a_piece_alone_belongs_to_the_last_of_the_calls_that_stood_beside_each_other():
    deltas = [[piece("{", "f", id="1"), piece("[", "g", id="2")], [piece("]")]]
    assert assembled(*deltas) == [("1", "f", "{"), ("2", "g", "[]")]


def test_a_piece_without_an_id_belongs_to_the_last_call_whether_that_has_one_or_not():
    deltas = [[piece("{", "f")], [piece("[", "g", id="2")], [piece("]")]]
    assert [call[1:] for call in assembled(*deltas)] == [("f", "{"), ("g", "[]")]


def test_an_id_says_which_call_it_is_if_only_the_first_piece_has_an_index():
    assert assembled([piece("{", "f", index=0, id="1")], [piece("}", id="1")]) == [("1", "f", "{}")]


def test_an_id_after_a_call_without_one_begins_another_call():
    assert [call[1:] for call in assembled([piece("{}", "f")], [piece("{}", "f", id="1")])] == [("f", "{}")] * 2


def test_arguments_without_a_name_are_kept():
    assert [call[1:] for call in assembled([piece("{}")])] == [("", "{}")]


def test_a_new_id_under_an_index_that_is_taken_is_another_call():
    assert assembled(
        [piece("{}", "f", index=0, id="1")], [piece("{}", "f", index=0, id="2")], [piece(" ", index=0)]
    ) == [
        ("1", "f", "{}"),
        ("2", "f", "{} "),
    ]


def test_calls_that_stand_beside_each_other_are_different_calls():
    (first, *_), (second, *_) = assembled([piece("{}", "f"), piece("[]", "f")])
    assert first != second
    assert len(assembled([piece("{}", "f")], whole=True)) == 1


def test_a_missing_id_is_made_up_and_stays():
    assembly = ToolCallAssembly()
    assembly.add([piece("{}", "f", index=0)])
    (first,), (second,) = assembly.calls(), assembly.calls()
    assert first.id
    assert first == second


def test_a_repeated_name_is_not_appended_and_an_object_is_kept_as_json():
    assert assembled([piece(None, "f", index=0, id="1")], [piece({"a": 1}, "f", index=0)]) == [("1", "f", '{"a": 1}')]


@for_each("junk", [None, {}, "x", [None], [7], [{}], [{"function": 7}], [{"function": {"name": 7}}]])
def test_junk_in_the_place_of_calls_does_no_harm(junk):
    assert assembled(junk) == []


def test_the_order_of_interleaved_pieces_does_not_matter_between_calls():
    first, second = [piece("a", "f", index=0, id="1"), piece("b", index=0)], [piece("c", "g", index=1, id="2")]
    for place in range(3):
        deltas = [[each] for each in itertools.chain(first[:place], second, first[place:])]
        assert sorted(assembled(*deltas)) == [("1", "f", "ab"), ("2", "g", "c")]


@pytest.mark.parametrize("whole", [True, False])
def test_calls_that_are_all_counted_as_0_stay_apart(whole):
    assembly = ToolCallAssembly()
    pieces = [{"index": 0, "function": {"name": name, "arguments": '{"x": 1}'}} for name in "aab"]
    assembly.add(pieces, whole)
    assert [(call.name, call.arguments) for call in assembly.calls()] == [(name, {"x": 1}) for name in "aab"]


def test_whole_calls_in_separate_pieces_stay_apart():
    assembly = ToolCallAssembly()
    for name in "ab":
        assembly.add([{"function": {"name": name, "arguments": "{}"}}])
    assert [call.name for call in assembly.calls()] == ["a", "b"]


def test_a_name_that_is_repeated_with_each_piece_is_one_call():
    assembly = ToolCallAssembly()
    for arguments in ("", '{"x"', ": 1}", ""):
        assembly.add([{"index": 0, "function": {"name": "a", "arguments": arguments}}])
    assert [(call.name, call.arguments) for call in assembly.calls()] == [("a", {"x": 1})]


# Parallel calls without ids, or all at index 0


@for_each("whole", [True, False])
@for_each("arguments", ['{"a": 1}', {"a": 1}])
def test_a_call_without_the_level_of_the_function_is_read(whole, arguments):
    call = {"id": "1", "name": "f", "arguments": arguments}
    for piece in (call, {"type": "function", "function": None, **call}):
        assert assembled([piece], whole=whole) == [("1", "f", '{"a": 1}')]


def test_the_pieces_of_a_call_without_the_level_of_the_function_are_joined():
    pieces = [
        {"index": 0, "id": "1", "name": "f"},
        {"index": 0, "arguments": '{"a"'},
        {"index": 0, "arguments": ": 1}"},
    ]
    assert assembled(*([each] for each in pieces)) == [("1", "f", '{"a": 1}')]


NAMES = ("get_weather", "weather", "now")


@for_each(
    ("names", "calls"),
    [
        (["get_", "weather"], ["get_weather"]),
        (["g", "et_we", "ather"], ["get_weather"]),
        (["we", "ather"], ["weather"]),
        (["get_", "get_", "weather"], ["get_weather"]),
        (["now", "weather"], ["now", "weather"]),
        (["weather", "now"], ["weather", "now"]),
        (["get_", "else"], ["get_", "else"]),
        (["x", "now"], ["x", "now"]),
    ],
)
def test_a_name_in_pieces_is_joined_only_to_that_of_an_offered_tool(names, calls):
    assembly = ToolCallAssembly(NAMES)
    for name in names:
        assembly.add([{"index": 0, "function": {"name": name, "arguments": ""}}])
    assert [call.name for call in assembly.calls()] == calls


def test_a_name_after_arguments_is_not_a_piece_of_the_name_before():
    assembly = ToolCallAssembly(NAMES)
    for name, arguments in (("get_", "{}"), ("weather", "{}")):
        assembly.add([{"index": 0, "function": {"name": name, "arguments": arguments}}])
    assert [call.name for call in assembly.calls()] == ["get_", "weather"]


def named(*pieces):
    """Return the names and arguments of the calls in ``pieces``: each is a name and arguments, or only arguments."""
    fields = [
        dict(zip(("name", "arguments"), each)) if isinstance(each, tuple) else {"arguments": each} for each in pieces
    ]
    found = []
    for index in ({}, {"index": 0}, {"index": 0, "id": ""}, {"index": None, "id": None}):
        assembly = ToolCallAssembly()
        for each in fields:
            assembly.add([{**index, "function": each}])
        calls = assembly.calls()
        assert len({call.id for call in calls} - {""}) == len(calls)
        found.append([(call.name, call.raw_arguments) for call in calls])
    assert all(each == found[0] for each in found)
    return found[0]


@for_each(
    ("pieces", "calls"),
    [
        ([("f", ""), ("g", "")], [("f", ""), ("g", "")]),
        ([("f",), ("g",), ("f",)], [("f", ""), ("g", ""), ("f", "")]),
        ([("f", ""), ("g", ""), "{}"], [("f", ""), ("g", "{}")]),
        ([("f", ""), '{"a"', ":1}", ("g", ""), "{}"], [("f", '{"a":1}'), ("g", "{}")]),
        ([("f", '{"a"'), ("g", '{"b":1}')], [("f", '{"a"'), ("g", '{"b":1}')]),
        ([("f", "{}"), ("f", "{}")], [("f", "{}"), ("f", "{}")]),
        ([("f", "{}"), ("f", ""), "{}"], [("f", "{}"), ("f", "{}")]),
        ([("f", "{}"), ("f",)], [("f", "{}"), ("f", "")]),
        ([("f", {}), ("f", {})], [("f", "{}"), ("f", "{}")]),
        ([("f", {"a": 1}), ("f", {"a": 2})], [("f", '{"a": 1}'), ("f", '{"a": 2}')]),
        ([("f", ""), '{"a": "', "}", '{"}', ("f", ""), "{}"], [("f", '{"a": "}{"}'), ("f", "{}")]),
        ([("f", ""), '{"a": "\\', '"}"', "}", ("f", "{}")], [("f", '{"a": "\\"}"}'), ("f", "{}")]),
        ([("f", '"a'), ("f", 'b"')], [("f", '"ab"')]),
        ([("f", '"{}"'), ("f", '"{}"')], [("f", '"{}"'), ("f", '"{}"')]),
        ([("f", "[1, [2]]"), ("f", "[]")], [("f", "[1, [2]]"), ("f", "[]")]),
        # One call, of which each piece says the name.
        ([("f", ""), ("f", '{"a"'), ("f", ":1}"), ("f", "")], [("f", '{"a":1}')]),
        ([("f", '{"a"'), ("f", ": {}"), ("f", "}")], [("f", '{"a": {}}')]),
        # Two of them.
        ([("f", '{"a"'), ("f", ":1}"), ("f", '{"a"'), ("f", ":2}"), ("f", "")], [("f", '{"a":1}'), ("f", '{"a":2}')]),
        ([("f", "{}"), " \n"], [("f", "{} \n")]),
        (["{}", ("f", "")], [("f", "{}")]),
    ],
)
def test_a_new_name_or_the_same_after_whole_arguments_begins_another_call(pieces, calls):
    assert named(*pieces) == calls


def test_a_name_that_comes_with_an_id_is_of_that_call_unless_it_is_another():
    assert assembled([piece("{}", "f", id="1")], [piece("", "f", id="1")]) == [("1", "f", "{}")]
    first, second = assembled([piece("{}", "f", index=0, id="1")], [piece("{}", "g", index=0, id="1")])
    assert (first, second[1:]) == (("1", "f", "{}"), ("g", "{}"))
    assert second[0] not in ("", "1")


def test_calls_with_the_same_id_under_their_own_indexes_stay_apart():
    deltas = [[piece("{", "f", index=0, id="x")], [piece("[", "g", index=1, id="x")], [piece("}", index=0, id="x")]]
    assert [call[1:] for call in assembled(*deltas)] == [("f", "{}"), ("g", "[")]


@pytest.mark.parametrize("whole", [True, False])
def test_two_calls_never_have_the_same_id(whole):
    first, second = assembled([piece("{}", "f", id="1"), piece("{}", "g", id="1")], whole=whole)
    assert (first[0], first[1], second[1]) == ("1", "f", "g")
    assert second[0] not in ("", "1")


def test_a_key_says_which_call_it_is_whatever_the_piece_says():
    assembly = ToolCallAssembly()
    for key, name, arguments in [("0", "f", ""), ("1", "f", ""), ("0", "", "{}"), ("1", None, "[]"), ("0", "f", "")]:
        assembly.add_to(key, piece(arguments, name))
    assert [(call.name, call.raw_arguments) for call in assembly.calls()] == [("f", "{}"), ("f", "[]")]


# The names of tools

OFFERED = ("weather", "get_time", "getUser", "functions.exact", "files.read")


@for_each(
    ("name", "tool"),
    [
        ("weather", "weather"),
        ("functions.weather", "weather"),
        ("functions.get_user", "getUser"),
        ("functions.exact", "functions.exact"),
        ("functions.files.read", "files.read"),
        ("functions/weather", "weather"),
        ("functions.weather:0", "weather"),
        (" weather\n", "weather"),
        ("weather<|channel|>analysis", "weather"),
        ("weather<|channel|>commentary json", "weather"),
        ("weather <|constrain|>json", "weather"),
        ("weather<|message|>", "weather"),
        ("weather json", "weather"),
        ("functions.weather<|channel|>commentary", "weather"),
        ("functions.weather <|constrain|>json<|message|>", "weather"),
        ("functions.weather json", "weather"),
        ("to=functions.weather", "weather"),
        ("to=weather", "weather"),
        ("assistant<|channel|>commentary to=functions.weather", "weather"),
        ("assistant<|channel|>commentary to=functions.weather <|constrain|>json", "weather"),
        ("<|start|>assistant to=functions.get_time<|channel|>commentary json<|message|>", "get_time"),
        ("assistant to=functions.getTime<|channel|>analysis code", "get_time"),
        ("commentary to=getuser", "getUser"),
        # The tool was not offered, so only text that cannot be part of a name is cut off.
        ("other", "other"),
        ("functions.other", "functions.other"),
        ("other json", "other json"),
        ("weather in Oslo", "weather in Oslo"),
        ("files", "files"),
        ("files.weather", "files.weather"),
        ("my.functions.weather", "my.functions.weather"),
        ("functions.other<|channel|>commentary", "other"),
        ("to=functions.other", "other"),
        ("assistant<|channel|>commentary to=functions.other json", "other"),
        ("assistant<|channel|>analysis", "assistant<|channel|>analysis"),
        ("<|channel|>commentary", "<|channel|>commentary"),
    ],
)
def test_a_name_is_that_of_the_tool_it_means(name, tool):
    assert ToolCallAssembly(OFFERED).name_of(name) == tool
    for whole in (True, False):
        assembly = ToolCallAssembly(OFFERED)
        assembly.add([piece("{}", name, index=0)], whole)
        assert [call.name for call in assembly.calls()] == [tool]


@for_each(
    ("name", "tool"),
    [
        ("functions.weather", "functions.weather"),
        ("weather json", "weather json"),
        ("weather<|channel|>analysis", "weather"),
        ("functions.weather<|channel|>commentary", "weather"),
        ("assistant<|channel|>commentary to=functions.weather", "weather"),
    ],
)
def test_without_offered_tools_only_markup_is_cut_off(name, tool):
    assert ToolCallAssembly().name_of(name) == tool


def test_a_name_that_was_offered_as_it_is_means_no_other_tool():
    assert ToolCallAssembly(("weather", "functions.weather")).name_of("functions.weather") == "functions.weather"


def test_a_name_that_could_be_of_two_tools_stays():
    assert ToolCallAssembly(("getWeather", "get-weather")).name_of("functions.get_weather") == "functions.get_weather"
    assert ToolCallAssembly(("getWeather", "get_weather")).name_of("functions.get_weather") == "get_weather"


def test_names_of_one_tool_in_two_forms_are_those_of_one_call():
    assembly = ToolCallAssembly(OFFERED)
    for name, arguments in [("functions.weather", ""), ("weather<|channel|>commentary", '{"a"'), ("weather", ":1}")]:
        assembly.add([piece(arguments, name, index=0)])
    assert [(call.name, call.arguments) for call in assembly.calls()] == [("weather", {"a": 1})]
