import pytest
from tables import for_each

from lmstudio_provider._core.json import loads


@for_each("text", ["[" * 100_000, '{"a":' * 300, "[" * 201 + "]" * 201, '["[", ' * 201])
def test_json_that_is_nested_too_deeply_is_refused_without_parsing(text):
    with pytest.raises(ValueError, match="nested too deeply"):
        loads(text)


@for_each("text", ["", "{", "[1,]", "'a'"])
def test_a_text_that_is_not_json_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        loads(text)


def test_brackets_beside_each_other_and_in_texts_are_not_nested():
    assert loads("[" + "[], " * 1000 + "[]]") == [[]] * 1001
    assert loads('["' + "[{" * 1000 + '\\" [", 1]') == ["[{" * 1000 + '" [', 1]
    assert loads("[" * 200 + "]" * 200)
