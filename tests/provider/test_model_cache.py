"""Lists of models that were asked for before the models were changed."""

import json
import threading

import pytest

from lmstudio_provider import LMStudioProvider, OllamaProvider

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
CHANGES = {
    "delete": (OllamaProvider, lambda provider: provider.delete("old")),
    "unload": (OllamaProvider, lambda provider: provider.unload("old")),
    "copy": (OllamaProvider, lambda provider: provider.copy("old", "new")),
    "reset": (OllamaProvider, lambda provider: provider.reset_client()),
    "LM Studio: unload": (LMStudioProvider, lambda provider: provider.native.unload("old")),
    "LM Studio: load": (LMStudioProvider, lambda provider: provider.native.load("new")),
    "LM Studio: reset": (LMStudioProvider, lambda provider: provider.reset_client()),
}


class Server:
    """A server that has "old", then "new"; the first request whose path ends with ``held`` waits for ``go_on``."""

    def __init__(self, raw_server, held):
        self._held = held
        # Set when the held request has arrived, and when it may be answered.
        self.asked, self.go_on = threading.Event(), threading.Event()
        self.lists = 0
        self._raw = raw_server(self._answer)
        self.url = self._raw.url

    def _answer(self, connection):
        path = self._raw.requests[-1].split()[1].decode()
        body = {"instance_id": "new", "done": True, "message": {}, "response": ""}
        if path.endswith(("models", "tags")):
            self.lists += 1
            name = "old" if self.lists == 1 else "new"
            body = {"models": [{"name": name, "key": name, "type": "llm"}, {"name": "b", "key": "b", "type": "llm"}]}
        if path.endswith("ps"):
            body = {"models": [{"name": "b"}]}
        if path.endswith(self._held) and not self.asked.is_set():
            self.asked.set()
            assert self.go_on.wait(10)
        content = json.dumps(body).encode()
        connection.sendall(HEAD % len(content) + content)


@pytest.fixture
def server(raw_server):
    return Server(raw_server, ("models", "tags"))


@pytest.mark.parametrize(("kind", "change"), CHANGES.values(), ids=CHANGES)
def test_a_discovery_that_began_before_a_change_asks_again(server, kind, change):
    with kind(server.url) as provider:
        assert server.asked.wait(10)
        change(provider)
        server.go_on.set()
        assert provider.wait_until_configured(10)
        assert provider.capabilities.models == ("new", "b")


@pytest.mark.parametrize(("kind", "change"), CHANGES.values(), ids=CHANGES)
def test_a_list_that_was_asked_for_before_a_change_is_returned_and_not_kept(server, in_background, kind, change):
    with kind(server.url, refresh=False) as provider:
        listing = in_background(provider.list_models)
        assert server.asked.wait(10)
        change(provider)
        server.go_on.set()
        assert [model.id for model in listing.result(10)] == ["old", "b"]
        assert provider.capabilities.models == ()
        provider.refresh_models()
        assert provider.capabilities.models == ("new", "b")


def test_the_models_of_lm_studio_s_own_list_are_not_kept_either(server, in_background, provider_of):
    lm = provider_of(server.url)
    listing = in_background(lm.native.models)
    assert server.asked.wait(10)
    lm.native.unload("old")
    server.go_on.set()
    assert [model.id for model in listing.result(10)] == ["old", "b"]
    assert lm.capabilities.models == ()


def test_a_model_that_is_deleted_after_a_reset_is_gone_from_the_list_that_came_between(raw_server, in_background):
    server = Server(raw_server, "delete")
    with OllamaProvider(server.url, refresh=False) as provider:
        deleting = in_background(provider.delete, "old")
        assert server.asked.wait(10)
        provider.reset_client()
        provider.list_models()
        server.go_on.set()
        deleting.result(10)
        assert provider.capabilities.models == ("b",)


def test_details_of_models_are_not_kept_for_a_list_that_is_newer(raw_server, in_background):
    server = Server(raw_server, "ps")
    with OllamaProvider(server.url) as provider:
        assert provider.wait_until_configured(10)
        choosing = in_background(provider.resolve_model)
        assert server.asked.wait(10)
        provider.unload("b")
        assert provider.wait_until_configured(10)
        assert provider.capabilities.models == ("new", "b")
        server.go_on.set()
        assert choosing.result(10) == "b"  # which was loaded when it was asked
        assert [model.loaded for model in provider._cached_models()] == [None, None]
