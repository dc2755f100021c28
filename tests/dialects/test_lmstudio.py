"""How LM Studio is distinguished from other servers by its answers."""

from tables import for_each

from lmstudio_provider._dialects.lmstudio import is_greeting, is_own_list

OWN = {"id": "m", "owned_by": "organization_owner"}


@for_each("value", [None, [], "lmstudio", 7, {}, {"lmstudio": 1}, {"lmstudio": "true"}])
def test_a_greeting_of_another_form_is_not_that_of_lm_studio(value):
    assert not is_greeting(value)
    assert is_greeting({"lmstudio": True})


@for_each(
    "value",
    [
        {},
        {"data": [OWN]},
        {"object": "list"},
        {"object": "list", "data": 7},
        {"object": "list", "data": {"m": OWN}},
        {"object": "list", "data": []},
        {"object": "list", "data": [None]},
        {"object": "list", "data": [OWN, {"id": "n", "owned_by": "library"}]},
    ],
)
def test_a_list_of_another_form_or_owner_is_not_that_of_lm_studio(value):
    assert not is_own_list(value)
    assert is_own_list({"object": "list", "data": [OWN]})
