import itertools

import pytest

from lmstudio_provider._wire.assembly import ToolCallAssembly


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


@pytest.mark.parametrize("junk", [None, {}, "x", [None], [7], [{}], [{"function": 7}], [{"function": {"name": 7}}]])
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


def test_whole_calls_in_pieces_of_their_own_stay_apart():
    assembly = ToolCallAssembly()
    for name in "ab":
        assembly.add([{"function": {"name": name, "arguments": "{}"}}])
    assert [call.name for call in assembly.calls()] == ["a", "b"]


def test_a_name_that_is_repeated_with_each_piece_is_one_call():
    assembly = ToolCallAssembly()
    for arguments in ("", '{"x"', ": 1}", ""):
        assembly.add([{"index": 0, "function": {"name": "a", "arguments": arguments}}])
    assert [(call.name, call.arguments) for call in assembly.calls()] == [("a", {"x": 1})]
