"""A provider that says no more than it has to; all else is made of that."""

from __future__ import annotations

import pytest

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
)


class Echo(Provider):
    id = "echo"
    display_name = "Echo"
    base_url = "echo:"
    capabilities = Capabilities(streaming=False, tool_calling=False, vision=False, models=("echo-1",))

    def chat(self, request, **overrides):
        messages = request.messages if isinstance(request, ChatRequest) else request
        said = f"{messages[-1].content} {sorted(overrides)}"
        return Completion(said, "echo-1", "echo-1", "stop", provider_id=self.id)


class Gone(Echo):
    id = "gone"

    def list_models(self, timeout=None):
        raise ServerUnavailableError("gone fishing")


def test_what_it_cannot_do_it_refuses():
    for call, said in (
        (lambda: Echo().stream("Hi"), "does not stream"),
        (lambda: Echo().stream(TextRequest("Hi")), "does not stream"),
        (lambda: Echo().embed("Hi"), "does not embed"),
        (lambda: Echo().complete_text("Hi"), "does not complete texts"),
        (lambda: Echo().complete("Hi", temprature=0), "temprature"),
        (lambda: Echo().complete(7), "text"),
    ):
        with pytest.raises(InvalidRequestError, match=said):
            call()


def test_a_provider_without_a_chat_is_none():
    with pytest.raises(TypeError, match="chat"):
        Provider()


def test_that_nobody_is_there_is_no_error_of_health():
    gone = Gone()
    assert gone.refresh_models() is False
    assert gone.health_check().error.message == "gone fishing"


def test_a_text_is_a_chat():
    with Echo() as echo:
        assert echo.complete("Hi", timeout=5, system_prompt="Be brief", seed=1).text == "Hi ['timeout']"
        assert echo.complete(CompletionRequest("Ho")).text == "Ho []"
        assert echo.complete_with_tools([Message.user("Hi")], tools=[Tool("now")]).text == "Hi ['tools']"


def test_its_models_are_those_of_its_capabilities():
    echo = Echo()
    assert [model.id for model in echo.list_models()] == ["echo-1"]
    assert echo.is_configured()
    assert echo.wait_until_configured()
    assert echo.refresh_models()
    assert echo.resolve_model() == "echo-1"
    assert echo.health_check().ok
    assert echo.reset_client() is None


def test_it_goes_everywhere_where_a_provider_goes():
    with Registry() as registry:
        registry.register(Gone())
        registry.register(Echo())
        assert registry.first_available().id == "echo"
        assert Failover(registry).complete("Hi").provider_id == "gone"
        assert Conversation(registry.get("echo")).ask("Hi").text == "Hi []"
