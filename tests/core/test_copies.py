"""Copies of providers, by copy, deepcopy and pickle: their own attributes survive, sockets and threads do not."""

import copy
import pickle
import threading

import pytest

from lmstudio_provider import (
    Capabilities,
    Completion,
    ConfigurationError,
    Failover,
    LMStudioProvider,
    MemoryUsage,
    OllamaProvider,
    Provider,
)
from lmstudio_provider.simulator import SimulatedLMStudio


def through_pickle(value):
    return pickle.loads(pickle.dumps(value))


WAYS = pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, through_pickle])


class Named(LMStudioProvider):
    """With attributes from before and after, and a constructor of its own."""

    def __init__(self, name, url):
        self.name = name
        super().__init__(url, refresh=False, model="m", usage=MemoryUsage())
        self._notes = [name]
        self.display_name = f"{name}'s"

    @property
    def loud_name(self):
        return self.name.upper()


class Counting(OllamaProvider):
    count = 0

    def version(self):
        self.count += 1
        return "0"


class Pair(Failover):
    def __init__(self, first, second):
        super().__init__([first, second], balance="least_busy", id="pair")
        self.made_of = (first.id, second.id)
        self.display_name = "Two of them"


class Mine(Provider):
    id = "mine"
    display_name = "Mine"
    base_url = "mine:"
    capabilities = Capabilities(streaming=False, tool_calling=False, vision=False, models=("m",))

    def __init__(self, greeting):
        self.greeting = greeting

    def chat(self, request, **overrides):
        return Completion(self.greeting, "m", "m", "stop")


@pytest.fixture
def url():
    with SimulatedLMStudio(["m"], lambda body: "Hello") as server:
        yield server.url


@WAYS
def test_a_copy_of_a_subclass_keeps_its_attributes_and_works(again, url):
    with Named("Ada", url) as lm:
        lm.extra = {"a": 1}
        lm.id = "ada"
        lm.complete("Hi")
        with again(lm) as other:
            assert type(other) is Named
            assert (other.name, other._notes, other.display_name, other.extra) == ("Ada", ["Ada"], "Ada's", {"a": 1})
            assert (other.loud_name, other.id, other.base_url) == ("ADA", "ada", url)
            assert other.complete("Hi").provider_id == "ada"
            assert other._current is not lm._current
        assert lm.complete("Hi").text == "Hello"  # what was closed is the copy


@WAYS
def test_a_copy_of_a_copy_is_as_good(again, url):
    with Named("Ada", url) as lm, again(again(lm)) as other:
        assert (other.name, other.complete("Hi").text) == ("Ada", "Hello")


def test_a_copy_shares_and_a_deep_copy_does_not(url):
    with Named("Ada", url) as lm, copy.copy(lm) as shallow, copy.deepcopy(lm) as deep:
        assert shallow._notes is lm._notes
        assert deep._notes is not lm._notes
        shallow.complete("Hi")
        deep.complete("Hi")
        assert len(lm._usage.records) == 1


@WAYS
def test_an_attribute_that_replaces_one_of_the_class_survives(again, url):
    with Counting(url, refresh=False) as ollama:
        ollama.version()
        with again(ollama) as other:
            assert other.count == 1
            other.version()
        assert (ollama.count, Counting.count) == (1, 0)


@WAYS
def test_a_copy_of_a_provider_that_was_closed_is_open(again, url):
    lm = Named("Ada", url)
    lm.close()
    with again(lm) as other:
        assert other.complete("Hi").text == "Hello"


@WAYS
def test_what_a_provider_does_is_not_in_its_copy(again, url):
    with Named("Ada", url) as lm:
        stream = lm.stream("Hi")
        next(stream)
        threads = threading.active_count()
        with again(lm) as other:
            assert threading.active_count() == threads
            assert "".join(other.stream("Hi").text()) == "Hello"
        assert next(stream).done


@WAYS
def test_a_copy_of_a_failover_keeps_its_attributes_and_works(again, url):
    with Pair(Named("Ada", url), Mine("Hi")) as pair:
        assert pair.complete("Hi").text == "Hello"
        other = again(pair)
        assert type(other) is Pair
        assert (other.made_of, other.display_name, other.id) == (("lm-studio", "mine"), "Two of them", "pair")
        assert other.complete("Hi").text == "Hello"
        assert repr(other) == repr(pair)
        assert other._balancer is not pair._balancer
        other.close()


@WAYS
def test_a_provider_of_ones_own_is_copied_as_python_does(again):
    assert again(Mine("Good morning")).complete("Hi").text == "Good morning"


def test_a_manager_of_urllib3_is_not_copied(url):
    import urllib3

    with LMStudioProvider(url, refresh=False, http=urllib3.PoolManager()) as lm:
        with pytest.raises(ConfigurationError, match="http="):
            pickle.dumps(lm)
