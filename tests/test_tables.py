from __future__ import annotations

import pytest
from tables import for_each


def test_each_case_that_fails_is_named_and_the_others_run():
    seen = []

    @for_each("number", [0, pytest.param(1, id="one"), 2, 3])
    def test(number):
        seen.append(number)
        with pytest.raises(ZeroDivisionError):
            1 / (number % 2)
        assert number < 2

    with pytest.raises(AssertionError, match=r"^3 of 4 cases failed") as caught:
        test()
    assert seen == [0, 1, 2, 3]
    assert [line.split(": ")[:2] for line in str(caught.value).splitlines() if "Error" in line or "Failed" in line] == [
        ["one", "Failed"],
        ["2", "AssertionError"],
        ["3", "Failed"],
    ]


@for_each("second", ["c", "d"])
@for_each(("first", "third"), [("a", 1), ("b", 2)])
def test_tables_multiply_and_leave_the_fixtures_to_pytest(first, second, third, capsys):
    print(first, second, third)
    assert capsys.readouterr().out == f"{first} {second} {third}\n"


def test_a_case_that_skips_the_test_is_a_failure_and_hides_none():
    @for_each("number", [0, 1])
    def test(number):
        assert number
        pytest.skip("not here")

    with pytest.raises(AssertionError, match=r"^2 of 2 cases failed"):
        test()


@pytest.mark.parametrize("cases", [[], [(1, 2)], [pytest.param(1, 2, 3, marks=pytest.mark.xfail)]])
def test_a_table_that_tests_nothing_or_does_not_fit_is_refused(cases):
    with pytest.raises(AssertionError):
        for_each(("a", "b", "c"), cases)
