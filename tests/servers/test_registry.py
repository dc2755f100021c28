import threading
from urllib.parse import urlsplit

import pytest
from plugin import Plugin

from lmstudio_provider import (
    ConfigurationError,
    Health,
    LMStudioProvider,
    Provider,
    ProviderClosedError,
    ProviderError,
    Registry,
    ServerUnavailableError,
)
from lmstudio_provider.simulator import SimulatedLMStudio


@pytest.fixture
def registry():
    with Registry() as made:
        yield made


@pytest.mark.parametrize("other", [None, "lm-studio", Plugin, SimulatedLMStudio()])
def test_a_value_that_is_not_a_provider_cannot_be_registered(registry, other):
    with pytest.raises(ConfigurationError, match="is not a Provider"):
        registry.register(other)


@pytest.mark.parametrize("bad", ["", " ", None, 7])
def test_a_provider_without_a_name_cannot_be_registered(registry, bad):
    with pytest.raises(ConfigurationError, match="which is not a name"):
        registry.register(Plugin(bad))


def test_a_second_provider_with_an_id_is_refused(registry):
    first = Plugin()
    registry.register(first)
    with pytest.raises(ConfigurationError, match="another provider has the id 'plugin'"):
        registry.register(Plugin())
    assert list(registry) == [first]


def test_a_second_provider_with_an_id_may_replace_the_first(registry):
    providers = [Plugin("a"), Plugin("b"), Plugin("a")]
    registry.register(providers[0])
    registry.register(providers[1])
    registry.register(providers[2], replace=True)
    assert list(registry) == [providers[2], providers[1]]
    assert not providers[0].closed


def test_a_provider_may_be_registered_twice(registry):
    provider = Plugin()
    registry.register(provider)
    registry.register(provider)
    assert len(registry) == 1


@pytest.mark.parametrize("unknown", ["c", None, ["a"]])
def test_an_error_about_an_unknown_id_names_the_known_ones(registry, unknown):
    registry.register(Plugin("a"))
    registry.register(Plugin("b"))
    with pytest.raises(ConfigurationError, match=r"no provider with the id .*Registered: 'a', 'b'"):
        registry.get(unknown)


def test_providers_are_found_by_id_and_iterated_in_order(registry):
    providers = [Plugin("b"), Plugin("a")]
    for each in providers:
        registry.register(each)
    assert registry.get("a") is providers[1]
    assert list(registry) == providers
    assert len(registry) == 2
    assert "b" in registry
    assert "c" not in registry
    assert ["b"] not in registry
    assert repr(registry) == "<Registry b, a>"


def test_providers_may_be_registered_while_others_iterate(registry):
    registry.register(Plugin("a"))
    for number, _ in enumerate(registry):
        registry.register(Plugin(f"another {number}"))
    assert len(registry) == 2


class Raising(Plugin):
    def health_check(self, timeout=3.0):
        raise self.error


def test_a_provider_that_is_down_or_raises_is_not_available_and_harms_no_other(registry, simulator, closed_port):
    registry.register(LMStudioProvider(f"127.0.0.1:{closed_port}", refresh=False))
    registry.register(Plugin("down", error=ProviderError("down")))
    registry.register(LMStudioProvider(simulator.url, refresh=False, id="up"))
    registry.register(Raising("raising", error=ConfigurationError("raised")))
    registry.register(Plugin("plugin"))
    assert [each.id for each in registry.available()] == ["up", "plugin"]


def test_an_exception_in_a_health_check_is_reported_and_harms_no_other_provider(registry):
    registry.register(Raising("broken", error=KeyError("oops")))
    with pytest.raises(ServerUnavailableError, match="KeyError: 'oops'"):
        registry.first_available()
    registry.register(Plugin("fine"))
    assert [provider.id for provider in registry.available()] == ["fine"]


def test_all_are_asked_at_once(registry):
    """Each health check comes to its end only when all have begun."""
    together = threading.Barrier(3)

    class Meeting(Plugin):
        def health_check(self, timeout=3.0):
            together.wait(30)
            return Health(True)

    for number in range(3):
        registry.register(Meeting(f"plugin {number}"))
    assert len(registry.available(60)) == 3


@pytest.fixture
def hanging():
    """A provider whose health check takes no notice of its timeout."""
    over = threading.Event()

    class Hanging(Plugin):
        def health_check(self, timeout=3.0):
            over.wait(60)
            return Health(True)

    yield Hanging("hanging")
    over.set()


def test_a_health_check_that_hangs_is_not_waited_for(registry, hanging):
    registry.register(hanging)
    registry.register(Plugin())
    assert [each.id for each in registry.available(0.05)] == ["plugin"]


def test_the_first_available_does_not_wait_for_those_after_it(registry, hanging):
    registry.register(Plugin())
    registry.register(hanging)
    assert registry.first_available(timeout=None).id == "plugin"


def test_an_empty_registry_has_nothing_available(registry):
    assert registry.available() == []
    with pytest.raises(ServerUnavailableError, match="the registry is empty"):
        registry.first_available()


@pytest.mark.parametrize("bad", [0, -1, "1", True])
def test_a_timeout_that_cannot_be_is_refused(registry, bad):
    with pytest.raises(ConfigurationError, match="timeout="):
        registry.available(bad)


def test_if_none_is_available_all_are_named_with_reason_and_how_to_start_them(registry, closed_port):
    registry.register(LMStudioProvider(f"127.0.0.1:{closed_port}", refresh=False))
    registry.register(Plugin("mine", error=ServerUnavailableError("it sleeps", hint="Wake it")))
    registry.register(Raising("other", error=ConfigurationError("it is misconfigured")))
    with pytest.raises(ServerUnavailableError) as caught:
        registry.first_available()
    told = str(caught.value)
    assert f"lm-studio at http://127.0.0.1:{closed_port}: no server answers" in told
    assert "mine at plugin://mine: it sleeps" in told
    assert "other at plugin://other: it is misconfigured" in told
    assert "lms server start" in told
    assert "Wake it" in told
    assert caught.value.sent is False


def test_a_provider_whose_settings_cannot_work_is_named_all_the_same(registry):
    mapping = {}
    registry.register(LMStudioProvider(settings=mapping, refresh=False))
    mapping["lmstudio_base_url"] = "ftp://x"
    with pytest.raises(ServerUnavailableError, match=r"lm-studio at an unknown address: .*has the scheme 'ftp'"):
        registry.first_available()


def test_closing_closes_all_even_if_one_fails():
    class Stuck(Plugin):
        def close(self):
            raise ProviderError("stuck")

    providers = [Plugin("a"), Stuck("b"), Plugin("c")]
    registry = Registry()
    for each in providers:
        registry.register(each)
    with pytest.raises(ProviderError, match="stuck"):
        registry.close()
    assert [each.closed for each in providers] == [True, False, True]


def test_leaving_the_context_closes_all(simulator):
    with Registry() as registry:
        registry.register(LMStudioProvider(simulator.url))
    with pytest.raises(ProviderClosedError):
        registry.get("lm-studio").complete("Hi")


def here(registry):
    """The ids and URLs of the test's servers; what this machine runs at the default ports is not the test's."""
    return {each.id: each.base_url for each in registry if urlsplit(each.base_url).port not in (1234, 11434)}


def test_a_setting_that_cannot_work_is_the_error_that_it_always_is():
    with pytest.raises(ConfigurationError, match="ftp"):
        Registry.local({"lmstudio_base_url": "ftp://x"})


def test_an_argument_that_cannot_work_is_the_error_of_the_constructor(simulator):
    with pytest.raises(ConfigurationError, match="max_retries"):
        Registry.local({"lmstudio_base_url": simulator.url}, 10, max_retries=-1)


def test_the_local_registry_has_the_servers_that_answer(simulator):
    with Registry.local({"lmstudio_base_url": simulator.url}, 10, model="simulated-model") as registry:
        assert here(registry) == {"lm-studio": simulator.url}
        assert registry.get("lm-studio").resolve_model() == "simulated-model"
        assert registry.get("lm-studio").complete("Hi").provider_id == "lm-studio"


def test_a_second_server_of_a_kind_is_named_by_its_address(simulator):
    with SimulatedLMStudio() as other:
        mapping = {"lmstudio_base_url": simulator.url, "ollama_base_url": other.url}
        with Registry.local(mapping, 10) as registry:
            port = urlsplit(other.url).port
            assert here(registry) == {"lm-studio": simulator.url, f"lm-studio@127.0.0.1:{port}": other.url}
            assert registry.get(f"lm-studio@127.0.0.1:{port}").complete("Hi").provider_id.startswith("lm-studio@")


def test_a_token_is_kept_back_from_a_server_that_it_was_not_set_for(monkeypatch, simulator):
    monkeypatch.setenv("LM_API_TOKEN", "a-secret-token")
    with SimulatedLMStudio() as other:
        mapping = {"lmstudio_base_url": simulator.url, "ollama_base_url": other.url}
        with Registry.local(mapping, 10, refresh=False) as registry:
            for each in registry:
                if each.base_url in (simulator.url, other.url):
                    each.list_models()
        sent = [{each["headers"].get("Authorization") for each in server.requests} for server in (simulator, other)]
    assert sent == [{"Bearer a-secret-token"}, {None}]


def test_userinfo_of_the_configured_url_reaches_the_provider(simulator):
    url = simulator.url.replace("http://", "http://user:passw0rd@")
    with Registry.local({"lmstudio_base_url": url}, 10, refresh=False) as registry:
        registry.get("lm-studio").list_models()
    assert {each["headers"].get("Authorization") for each in simulator.requests} == {"Basic dXNlcjpwYXNzdzByZA=="}


def test_an_ollama_does_not_become_an_lm_studio(httpserver):
    httpserver.expect_request("/api/version").respond_with_json({"version": "0.33.0"})
    url = httpserver.url_for("").rstrip("/")
    with Registry.local({"lmstudio_base_url": url}, 10) as registry:
        assert "lm-studio" not in here(registry)


def test_a_third_partys_provider_is_one_like_ours(registry):
    registry.register(Plugin("mine"))
    provider: Provider = registry.first_available()
    assert provider.complete("Hi").provider_id == "mine"
