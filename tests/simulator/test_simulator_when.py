"""Replies that depend on the request, and replies that are changed while the stand-in runs."""

import pytest
from plain_http import CHAT, HI, ask, chat_reply, post

from lmstudio_provider.simulator import Fault, SimulatedLMStudio, SimulatedOllama, When

BOTH = pytest.mark.parametrize("kind", [SimulatedLMStudio, SimulatedOllama])


def text(server, content="Hi", **fields):
    reply = chat_reply(server, [{"role": "user", "content": content}], **{"model": "a", **fields})
    return reply["choices"][0]["message"]["content"]


def about_weather(body):
    return "weather" in body["messages"][-1]["content"]


@BOTH
@pytest.mark.parametrize(
    ("replies", "says"),
    [
        (When(5, "x"), "replies.which is 5; use a model's name or a function"),
        (["one", When("a", 5)], "replies[1].replies is 5; use a reply, a list of replies, or a function"),
        ([When("a", ["x", None])], "replies[0].replies[1] is None; a reply is"),
        ([When("a", [])], "replies[0].replies is empty; give at least one, or leave it out"),
    ],
)
def test_an_invalid_rule_is_refused_with_its_position(kind, replies, says):
    with pytest.raises(TypeError) as caught:
        kind(replies=replies)
    assert str(caught.value).startswith(says)


@BOTH
def test_each_model_has_replies_of_its_own(kind):
    replies = [When("a", ["one", "two"]), When("b", "B"), "other"]
    with kind(["a", "b", "c"], replies) as server:
        assert [text(server, model=model) for model in "abacab"] == ["one", "B", "two", "other", "one", "B"]


def test_a_name_with_the_tag_latest_is_the_same_name():
    with SimulatedOllama(["a", "b:7b"], [When("a:latest", "A"), When("b:7b", "B")]) as server:
        assert [text(server, model=model) for model in ("a", "a:latest", "b:7b")] == ["A", "A", "B"]


def test_a_rule_fits_the_model_that_answers_if_the_request_names_another():
    with SimulatedLMStudio(["a"], When("a", "A")) as server:
        assert text(server, model="gpt-5") == "A"
        assert text(server, model=None) == "A"


@BOTH
def test_a_function_chooses_the_requests_and_the_first_that_fits_decides(kind):
    with kind(["a"], ["one", When(about_weather, "Sunny"), When(lambda body: True, lambda body: "all")]) as server:
        assert [text(server), text(server, "the weather?")] == ["all", "Sunny"]


@BOTH
def test_a_request_that_no_rule_fits_has_the_default_reply(kind):
    with kind(["a"], When(about_weather, "Sunny")) as server:
        assert text(server).endswith("You said: Hi")


@BOTH
def test_a_rule_can_let_its_requests_fail(kind):
    with kind(["a"], [When(about_weather, Fault(status=503)), "fine"]) as server:
        body = {"model": "a", "messages": [{"role": "user", "content": "the weather?"}]}
        assert post(server, CHAT, body)[0] == 503
        assert text(server) == "fine"


def test_an_exception_in_a_function_that_chooses_is_a_server_error():
    with SimulatedLMStudio(replies=When(lambda body: body["nothing"], "x")) as server:
        status, value = post(server, CHAT, {"messages": HI})
    assert (status, value["error"][:47]) == (500, "the simulator could not reply: KeyError: 'nothi")


@BOTH
def test_replies_can_be_changed_while_the_server_runs(kind):
    with kind(["a"], ["one", "two"]) as server:
        assert text(server) == "one"
        server.replies = ["new"]
        assert (text(server), server.replies) == ("new", ["new"])
        server.replies = None
        assert text(server).endswith("You said: Hi")


@BOTH
def test_an_invalid_change_is_refused_and_changes_nothing(kind):
    with kind(["a"], "one") as server:
        with pytest.raises(TypeError, match=r"^replies\[0\] is 5"):
            server.replies = [5]
        assert text(server) == "one"


@BOTH
def test_each_of_the_same_requests_has_the_same_token_counts(kind):
    with kind(["a"], {"reasoning_content": "Well then", "content": "one two three"}) as server:
        used = [chat_reply(server, HI, model="a")["usage"] for _ in range(2)]
        assert used[0] == used[1]
        assert (used[0]["prompt_tokens"], used[0]["completion_tokens"]) == (1, 5)
        assert ask(server, "GET", "/v1/models")[0] == 200
