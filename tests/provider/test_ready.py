import contextlib
import socket
import threading

import pytest
from tables import for_each

from lmstudio_provider import (
    AuthenticationError,
    ConfigurationError,
    LMStudioProvider,
    OllamaProvider,
    ProviderClosedError,
    ServerError,
    ServerUnavailableError,
)
from lmstudio_provider.simulator import SimulatedLMStudio, SimulatedOllama


@for_each("bad", [0, -1, "1", True])
def test_a_time_to_wait_that_is_not_valid_is_refused(bad, closed_port):
    with LMStudioProvider(f"localhost:{closed_port}", refresh=False) as lm, pytest.raises(ConfigurationError):
        lm.wait_until_ready(bad)


def test_a_server_that_does_not_start_is_the_error_of_the_last_look(closed_port):
    with LMStudioProvider(f"localhost:{closed_port}", refresh=False) as lm:
        with pytest.raises(ServerUnavailableError, match=str(closed_port)) as caught:
            lm.wait_until_ready(0.3)
    assert "lms server start" in caught.value.hint


def test_an_error_that_waiting_does_not_mend_is_raised_at_once():
    with SimulatedLMStudio(api_token="sk-lm-1") as server, LMStudioProvider(server.url, refresh=False) as lm:
        with pytest.raises(AuthenticationError):
            lm.wait_until_ready(60)


def test_a_closed_provider_does_not_wait(closed_port):
    lm = LMStudioProvider(f"localhost:{closed_port}", refresh=False)
    threading.Timer(0.2, lm.close).start()
    with pytest.raises(ProviderClosedError):
        lm.wait_until_ready(60)


@pytest.mark.parametrize(
    ("kind", "simulator"), [(LMStudioProvider, SimulatedLMStudio), (OllamaProvider, SimulatedOllama)]
)
def test_a_server_that_starts_meanwhile_is_waited_for(kind, simulator):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    with kind(f"localhost:{port}", refresh=False) as provider, contextlib.ExitStack() as servers:
        starter = threading.Timer(0.3, lambda: servers.enter_context(simulator(["m"], port=port)))
        starter.start()
        try:
            assert provider.wait_until_ready(60).models[0].startswith("m")
        finally:
            starter.join()


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_before_a_server_that_starts_is_waited_for(provider, httpserver, status):
    httpserver.expect_oneshot_request("/v1/models").respond_with_data("starting", status)
    httpserver.expect_request("/v1/models").respond_with_json({"object": "list", "data": [{"id": "m"}]})
    assert provider.wait_until_ready(60).models == ("m",)


def test_a_server_that_fails_is_not_waited_for(provider, httpserver):
    httpserver.expect_request("/v1/models").respond_with_data("broken", 500)
    with pytest.raises(ServerError):
        provider.wait_until_ready(60)
