"""A provider that says no more than it has to; all else is made of that."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
from tables import for_each

from lmstudio_provider import (
    Capabilities,
    ChatRequest,
    Completion,
    CompletionRequest,
    Conversation,
    Failover,
    InvalidRequestError,
    Message,
    Provider,
    Registry,
    ServerUnavailableError,
    TextRequest,
    Tool,
    ToolCallWarning,
)


def add(a: int, b: int) -> int:
    return a + b


class Echo(Provider):
    id = "echo"
    display_name = "Echo"
    base_url = "echo:"
    capabilities = Capabilities(streaming=False, tool_calling=False, vision=False, models=("echo-1",))

    def chat(self, request, **overrides):
        chat = ChatRequest.from_input(request, **overrides)
        said = f"{chat.messages[-1].content} {[tool.name for tool in chat.tools]} {sorted(overrides)}"
        return Completion(said, "echo-1", "echo-1", "stop", provider_id=self.id)


class Gone(Echo):
    id = "gone"

    def list_models(self, timeout=None):
        raise ServerUnavailableError("gone fishing")


def test_calls_that_it_does_not_support_are_refused():
    for call, said in (
        (lambda: Echo().stream("Hi"), "does not stream"),
        (lambda: Echo().stream(TextRequest("Hi")), "does not stream"),
        (lambda: Echo().embed("Hi"), "does not embed"),
        (lambda: Echo().complete_text("Hi"), "does not complete texts"),
        (lambda: Echo().complete("Hi", temprature=0), "temprature"),
        (lambda: Echo().chat("Hi", temprature=0), "temprature"),
        (lambda: Echo().complete_with_tools("Hi", temprature=0), "temprature"),
        (lambda: Echo().complete(prompt="Hi"), "nothing to answer"),
        (lambda: Echo().complete(7), "text"),
    ):
        with pytest.raises(InvalidRequestError, match=said):
            call()


def test_a_provider_without_a_chat_is_none():
    with pytest.raises(TypeError, match="chat"):
        Provider()


def test_a_health_check_of_a_missing_server_does_not_raise():
    gone = Gone()
    assert gone.refresh_models() is False
    assert gone.health_check().error.message == "gone fishing"


def test_a_text_is_a_chat():
    with Echo() as echo:
        assert echo.complete("Hi", timeout=5, system_prompt="Be brief", seed=1).text == "Hi [] ['timeout']"
        assert echo.complete("Hi", tools=[add], deadline=9).text == "Hi ['add'] ['deadline']"
        assert echo.complete(CompletionRequest("Ho")).text == "Ho [] []"
        assert echo.complete_with_tools([Message.user("Hi")], tools=[Tool("now")]).text == "Hi ['now'] []"
        assert echo.complete_with_tools("Hi", tools=[add], timeout=5).text == "Hi ['add'] ['timeout']"
        assert Failover([echo]).chat("Hi", seed=1).text == "Hi [] ['seed']"
        assert Failover([echo]).complete_with_tools("Hi", tools=[add]).text == "Hi ['add'] []"


def test_a_call_that_came_as_text_is_a_call_of_ones_own_provider_too():
    class Writes(Echo):
        def chat(self, request, **overrides):
            text = '<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>'
            return Completion(text, "echo-1", "echo-1", "stop")

    completion = Writes().complete_with_tools("Hi", tools=[add])
    assert (completion.text, completion.tool_calls[0].name) == ("", "add")
    with pytest.warns(ToolCallWarning, match="as text"):
        Writes().complete_with_tools("Hi", tools=[Tool("now")])


@for_each("request_", ["Hi", [Message.user("Hi")], ChatRequest("Hi"), CompletionRequest("Hi")])
def test_every_form_of_a_chat_is_read_at_once(request_):
    chat = ChatRequest.from_input(request_, temperature=0, tools=[add], timeout=5, deadline=None)
    assert chat == ChatRequest([Message.user("Hi")], [Tool.from_function(add)], temperature=0)


def test_options_that_belong_to_a_text_are_refused_with_messages():
    chat = ChatRequest.from_input("Hi", system_prompt="Be brief")
    assert chat.messages == [Message.system("Be brief"), Message.user("Hi")]
    with pytest.raises(InvalidRequestError, match="system_prompt"):
        ChatRequest.from_input([Message.user("Hi")], system_prompt="Be brief")


@for_each("request_", [TextRequest("Hi"), 7, None])
def test_a_value_that_is_not_a_chat_is_not_read(request_):
    with pytest.raises(InvalidRequestError, match="messages"):
        ChatRequest.from_input(request_)


def test_the_provider_of_the_documentation_is_the_one_whose_types_are_checked():
    root = Path(__file__).parent.parent
    programs = re.split(
        r"\.\. code-block:: python\n", (root.parent / "docs" / "servers.rst").read_text(encoding="utf-8")
    )
    program = next(text for text in programs if "(Provider):" in text)
    checked = (root / "typing" / "documented_provider.py").read_text(encoding="utf-8").partition('"""\n\n')[2]
    assert textwrap.indent(checked, "    ") in program


def test_its_models_are_those_of_its_capabilities():
    echo = Echo()
    assert [model.id for model in echo.list_models()] == ["echo-1"]
    assert echo.is_configured()
    assert echo.wait_until_configured()
    assert echo.refresh_models()
    assert echo.resolve_model() == "echo-1"
    assert echo.health_check().ok
    assert echo.reset_client() is None


def test_it_works_wherever_a_provider_works():
    with Registry() as registry:
        registry.register(Gone())
        registry.register(Echo())
        assert registry.first_available().id == "echo"
        assert Failover(registry).complete("Hi").provider_id == "gone"
        assert Conversation(registry.get("echo")).ask("Hi").text == "Hi [] []"
