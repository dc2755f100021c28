"""Models in memory and on disk, by way of ``lm.native``: listed, loaded, unloaded, downloaded."""

import gc
import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tables import for_each

import lmstudio_provider
from lmstudio_provider import (
    Download,
    DownloadError,
    EndpointNotFoundError,
    InvalidRequestError,
    JobNotFoundError,
    LMStudioProvider,
    ModelLoadError,
    ModelNotFoundError,
    OllamaProvider,
    ProtocolError,
    ProviderClosedError,
    ProviderError,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
    Timeouts,
)
from lmstudio_provider._core.types import UNSET
from lmstudio_provider._native import loading as _loading
from lmstudio_provider.simulator import SimulatedLMStudio

MODELS, LOAD, UNLOAD = "/api/v1/models", "/api/v1/models/load", "/api/v1/models/unload"
DOWNLOAD = "/api/v1/models/download"
JOB = "job_493c7c9ded"
LONG = 20


@pytest.fixture
def server():
    with SimulatedLMStudio(["m", "n", "too-large", "text-embedding-e"], loaded=["n"]) as running:
        yield running


@pytest.fixture
def lm(server):
    with LMStudioProvider(server.url, refresh=False) as provider:
        yield provider


@pytest.fixture
def slow(server, monkeypatch):
    """Hold a load until the test lets it continue; signal that it has begun."""
    begun, go_on = threading.Event(), threading.Event()
    load = server._state.load

    def held(*arguments, **config):
        begun.set()
        assert go_on.wait(LONG)
        return load(*arguments, **config)

    monkeypatch.setattr(server._state, "load", held)
    yield begun, go_on
    go_on.set()


def ids(server):
    return [each.id for each in server.instances]


def settled():
    """Wait for what goes on in the background."""
    for thread in threading.enumerate():
        if thread.name in ("lmstudio-load", "lmstudio-unload"):
            thread.join(LONG)


def answer(httpserver, path, body, status=200):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    httpserver.expect_request(path).respond_with_data(data, status, content_type="application/json")


def sent(httpserver):
    return [request.get_json() for request, _ in httpserver.log if request.method == "POST"]


# Refused


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model": None}, "model="),
        ({"model": 7}, "model=7"),
        ({"context_length": 0}, "context_length=0"),
        ({"context_length": 1.5}, "context_length=1.5"),
        ({"num_experts": -(10**5000)}, "num_experts=<int>"),
        ({"eval_batch_size": 10**5000}, "eval_batch_size=<int>"),
        ({"flash_attention": 1}, "flash_attention=1"),
        ({"ttl": 60}, r"lm\.chat\(\.\.\., ttl=\)"),
        ({"context_lenght": 5}, "Did you mean 'context_length'"),
    ],
)
@pytest.mark.parametrize("name", ["load", "ensure_loaded", "loaded"])
def test_an_invalid_load_is_refused_before_anything_is_sent(server, lm, name, config, words):
    with pytest.raises(InvalidRequestError, match=words):
        with getattr(lm.native, name)(**{"model": "m", **config}):
            pass
    assert server.requests == []


def test_echo_load_config_is_true_or_false(lm):
    with pytest.raises(InvalidRequestError, match="echo_load_config='yes'"):
        lm.native.load("m", echo_load_config="yes")


@pytest.mark.parametrize("instance_id", [None, "", 7])
def test_only_an_instance_can_be_unloaded(lm, instance_id):
    with pytest.raises(InvalidRequestError, match="instance_id"):
        lm.native.unload(instance_id)


def test_an_old_server_does_not_know_the_endpoints():
    with SimulatedLMStudio(version="0.3.30") as old, LMStudioProvider(old.url, refresh=False) as lm:
        for call in (lm.native.models, lambda: lm.native.load("m"), lambda: lm.native.download("m")):
            with pytest.raises(EndpointNotFoundError) as caught:
                call()
            assert caught.value.since == "0.4.0"


@pytest.mark.parametrize("name", ["load", "ensure_loaded"])
@pytest.mark.parametrize(("model", "error"), [("no", ModelNotFoundError), ("too-large", ModelLoadError)])
def test_an_error_of_a_load_is_raised_by_its_meaning(lm, name, model, error):
    with pytest.raises(error):
        getattr(lm.native, name)(model)


def test_an_instance_of_the_list_can_be_unloaded(server, lm):
    ((instance,),) = [model.instances for model in lm.native.models() if model.loaded]
    lm.native.unload(instance)
    assert ids(server) == []


def test_an_instance_that_is_not_there_cannot_be_unloaded(lm):
    with pytest.raises(ModelNotFoundError, match="time to live"):
        lm.native.unload("m:7")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"instance_id": 7}'])
def test_a_reply_to_a_load_without_an_instance_id_is_a_protocol_error(httpserver, provider, body):
    answer(httpserver, LOAD, body)
    with pytest.raises(ProtocolError):
        provider.native.load("m")


# Lists, load, unload


def test_the_models_of_the_sample_are_listed(httpserver, provider, sample):
    answer(httpserver, MODELS, sample("models_v1.json"))
    assert [each.id for each in provider.native.models()] == [
        each["key"] for each in json.loads(sample("models_v1.json"))["models"]
    ]
    assert provider.capabilities.models


def test_a_model_is_loaded_as_the_sample_has_it(httpserver, provider, sample):
    answer(httpserver, LOAD, sample("v1_model_load.json"))
    got = provider.native.load("m", context_length=16384, flash_attention=None, echo_load_config=True)
    assert (got.instance_id, got.load_time_seconds, got.load_config["num_experts"]) == ("openai/gpt-oss-20b", 9.099, 4)
    assert sent(httpserver) == [{"model": "m", "context_length": 16384, "echo_load_config": True}]


def test_an_instance_is_unloaded_as_the_sample_has_it(httpserver, provider, sample):
    answer(httpserver, UNLOAD, sample("v1_model_unload.json"))
    provider.native.unload("openai/gpt-oss-20b")
    assert sent(httpserver) == [{"instance_id": "openai/gpt-oss-20b"}]


def test_a_model_that_is_loaded_twice_has_two_instances_that_are_unloaded_one_by_one(server, lm):
    one, two = lm.native.load("m", echo_load_config=True, context_length=16), lm.native.load("m")
    assert (one.load_config["context_length"], two.load_config, two.type) == (16, None, "llm")
    assert ids(server) == ["n", "m", "m:2"]
    lm.native.unload(two)
    lm.native.unload(one.instance_id)
    assert ids(server) == ["n"]


def test_the_choice_of_a_model_follows_loads_and_unloads_at_once(server):
    with LMStudioProvider(server.url) as lm:
        assert lm.wait_until_configured(LONG)
        lm.native.unload("n")
        assert lm.resolve_model() == "m"
        lm.native.load("n")
        again = lm.native.load("n")
        lm.native.unload("n")
        assert lm.resolve_model() == "n:2"
        lm.native.unload(again)
        assert lm.resolve_model() == "m"


@pytest.mark.parametrize(
    ("model", "config", "instance"),
    [
        ("n", {}, "n"),
        ("n@q4_k_m", {}, "n"),
        ("n", {"context_length": 4096}, "n"),
        ("n", {"context_length": 64, "flash_attention": True}, "n"),
        ("n", {"context_length": 8192}, "n:2"),
        ("n", {"flash_attention": False}, "n:2"),
        ("m", {}, "m"),
        ("text-embedding-e", {}, "text-embedding-e"),
    ],
)
def test_a_model_is_only_loaded_if_no_instance_has_these_settings(server, lm, model, config, instance):
    got = lm.native.ensure_loaded(model, **config)
    assert (got.instance_id, ids(server)) == (instance, list(dict.fromkeys(["n", instance])))
    assert lm.native.ensure_loaded(model, **config).instance_id == instance


def test_an_instance_with_a_variant_in_its_name_is_found_by_it(httpserver, provider):
    instance = {"id": "m@q8_0", "config": {"context_length": "many"}}
    model = {"key": "m", "selected_variant": "m@q4_k_m", "loaded_instances": [instance]}
    answer(httpserver, MODELS, {"models": [model]})
    assert provider.native.ensure_loaded("m@q8_0", context_length=5).instance_id == "m@q8_0"


def test_another_variant_than_the_one_that_is_selected_is_loaded(httpserver, provider, sample):
    model = {"key": "m", "selected_variant": "m@q4_k_m", "loaded_instances": [{"id": "m", "config": {}}]}
    answer(httpserver, MODELS, {"models": [model]})
    answer(httpserver, LOAD, sample("v1_model_load.json"))
    provider.native.ensure_loaded("m@q8_0")
    assert sent(httpserver) == [{"model": "m@q8_0"}]


def test_threads_that_ask_at_once_load_one_between_them(server, lm, slow, in_background):
    begun, go_on = slow
    asking = [in_background(lm.native.ensure_loaded, "m") for _ in range(3)]
    assert begun.wait(LONG)
    go_on.set()
    assert {each.result(LONG).instance_id for each in asking} == {"m"}
    assert ids(server) == ["n", "m"]


def test_a_deadline_counts_while_another_thread_loads(lm, slow, in_background):
    begun, go_on = slow
    asking = in_background(lm.native.ensure_loaded, "m")
    assert begun.wait(LONG)
    with pytest.raises(RequestTimeoutError) as caught:
        lm.native.ensure_loaded("m", deadline=0.05)
    assert caught.value.limit == "deadline"
    go_on.set()
    asking.result(LONG)


def test_a_wait_for_another_thread_is_cut_into_short_ones_that_ctrl_c_can_end(lm):
    """On Windows it does not end a wait for a lock; here it raises as it does there at the end of a wait."""
    waits = []

    class Held:
        def acquire(self, timeout):
            waits.append(timeout)
            if len(waits) == 3:
                raise KeyboardInterrupt
            return False

        def release(self):
            raise RuntimeError("cannot release un-acquired lock")

    lm._loads._locks[os.getpid()] = Held()
    with pytest.raises(KeyboardInterrupt):
        lm.native.ensure_loaded("m")
    assert [0 < each <= 1 for each in waits] == [True] * 3


# Loaded for a while


def test_a_loaded_model_does_not_wait_for_a_load_in_another_thread(server, lm, slow, in_background):
    begun, go_on = slow
    loading = in_background(lm.native.ensure_loaded, "m")
    assert begun.wait(LONG)
    assert lm.native.ensure_loaded("n").instance_id == "n"
    with lm.native.loaded("n") as instance:
        assert instance.instance_id == "n"
    assert not loading.done()
    go_on.set()


def test_an_instance_that_is_not_there_is_not_taken_for_the_model(server, lm):
    for call in (lm.native.ensure_loaded, lambda name: lm.native.loaded(name).__enter__()):
        with pytest.raises(ModelNotFoundError, match="n:77"):
            call("n:77")
    assert ids(server) == ["n"]


def test_an_error_about_an_unknown_model_of_a_block_suggests_similar_names(lm):
    with pytest.raises(ModelNotFoundError) as caught:
        lm.native.loaded("too-larg").__enter__()
    assert caught.value.near == ("too-large",)


def test_threads_share_a_model_and_the_last_one_unloads_it(server, lm, in_background):
    inside, leave = threading.Barrier(3), threading.Event()

    def use():
        with lm.native.loaded("m") as instance:
            inside.wait(LONG)
            leave.wait(LONG)
            return lm.complete("Hi", model=instance.instance_id).model

    using = [in_background(use) for _ in range(2)]
    inside.wait(LONG)
    assert ids(server) == ["n", "m"]
    leave.set()
    assert [each.result(LONG) for each in using] == ["m", "m"]
    assert ids(server) == ["n"]


def test_a_model_that_is_unloaded_during_the_lookup_is_loaded_again(server, lm, monkeypatch):
    blocks, models = [lm.native.loaded("m")], _loading.list_models
    blocks[0].__enter__()

    def listed_and_left(*arguments):
        found = models(*arguments)
        if blocks:
            blocks.pop().__exit__(None, None, None)
        return found

    monkeypatch.setattr(_loading, "list_models", listed_and_left)
    with lm.native.loaded("m") as instance:
        assert instance.instance_id in ids(server)


def test_an_instance_whose_load_reply_has_not_arrived_is_shared(server, lm, monkeypatch, in_background):
    sharing, listed, inside, leave = (threading.Event() for _ in range(4))
    asking = []
    load_reply, models = _loading.native.load_reply, _loading.list_models

    def share():
        with lm.native.loaded("m"):
            inside.set()
            assert leave.wait(LONG)
            return ids(server)

    def reply_late(value):
        sharing.set()
        asking.append(in_background(share))
        assert listed.wait(LONG)
        return load_reply(value)

    def told(*arguments):
        found = models(*arguments)
        if sharing.is_set():
            listed.set()
        return found

    monkeypatch.setattr(_loading.native, "load_reply", reply_late)
    monkeypatch.setattr(_loading, "list_models", told)
    with lm.native.loaded("m"):
        assert inside.wait(LONG)
    leave.set()
    assert asking[0].result(LONG) == ["n", "m"]
    assert ids(server) == ["n"]


def test_unloading_waits_no_longer_than_the_timeout(httpserver, provider, sample):
    listed = {"models": [{"type": "llm", "key": "m", "loaded_instances": []}]}
    httpserver.expect_request(MODELS).respond_with_json(listed)
    httpserver.expect_request(LOAD).respond_with_data(sample("v1_model_load.json"))
    go_on = threading.Event()
    httpserver.expect_request(UNLOAD).respond_with_handler(lambda request: go_on.wait(LONG) and None)
    with pytest.raises(RequestTimeoutError, match="models/unload"):
        with provider.native.loaded("m", timeout=0.2):
            pass
    go_on.set()


def test_a_block_unloads_nothing_of_the_same_name_that_came_later(server, lm):
    first, second = lm.native.loaded("m"), lm.native.loaded("m")
    lm.native.unload(first.__enter__())
    second.__enter__()
    first.__exit__(None, None, None)
    assert ids(server) == ["n", "m"]
    second.__exit__(None, None, None)
    assert ids(server) == ["n"]
    with lm.native.loaded("m") as instance:
        server._state.unload(instance.instance_id)  # by somebody else
        lm.native.load("m")
    assert ids(server) == ["n", "m"]


@pytest.mark.parametrize("limits", [{"timeout": 0.2}, {"deadline": 0.2}])
def test_limits_count_while_another_thread_loads_or_unloads(server, lm, monkeypatch, in_background, limits):
    begun, go_on, left = (threading.Event() for _ in range(3))
    unload = server._state.unload

    def held(id):
        begun.set()
        assert go_on.wait(LONG)
        unload(id)

    def use():
        with lm.native.loaded("m"):
            pass
        left.set()

    monkeypatch.setattr(server._state, "unload", held)
    in_background(use)
    assert begun.wait(LONG)
    with pytest.raises(RequestTimeoutError, match="another thread was still unloading"):
        lm.native.loaded("m", **limits).__enter__()
    go_on.set()
    assert left.wait(LONG)


def test_a_timeout_counts_while_another_thread_loads(lm, slow, in_background):
    begun, go_on = slow
    loading = in_background(lm.native.ensure_loaded, "m")
    assert begun.wait(LONG)
    for call in (lm.native.ensure_loaded, lambda *names, **limits: lm.native.loaded(*names, **limits).__enter__()):
        with pytest.raises(RequestTimeoutError, match="another thread was still loading"):
            call("text-embedding-e", timeout=0.2)
    go_on.set()
    loading.result(LONG)


@pytest.mark.slow
def test_closing_the_provider_ends_the_wait_and_the_model_is_unloaded(server, slow, in_background):
    begun, go_on = slow
    lm = LMStudioProvider(server.url, refresh=False)
    waiting = in_background(lm.native.loaded("m").__enter__)
    assert begun.wait(LONG)
    lm.close()
    with pytest.raises(ProviderClosedError, match="will be unloaded"):
        waiting.result(LONG)
    go_on.set()
    gc.collect()
    settled()
    assert ids(server) == ["n"]


def test_a_model_that_was_loaded_for_a_block_is_unloaded_after_it(server, lm):
    with lm.native.loaded("m", context_length=16) as got:
        assert ids(server) == ["n", got.instance_id]
    assert ids(server) == ["n"]


def test_a_model_that_was_loaded_before_stays(server, lm):
    with lm.native.loaded("n") as got:
        assert got.instance_id == "n"
    assert ids(server) == ["n"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_exception_in_the_block_unloads_and_goes_on(server, lm, error):
    with pytest.raises(error):
        with lm.native.loaded("m"):
            raise error
    assert ids(server) == ["n"]


@pytest.mark.parametrize("limits", [{"timeout": Timeouts(first_byte=0.05)}, {"deadline": 0.3}])
def test_a_time_limit_while_it_is_loaded_unloads_it_later(server, lm, slow, limits):
    begun, go_on = slow
    with pytest.raises(RequestTimeoutError, match="will be unloaded"):
        with lm.native.loaded("m", **limits):
            pass
    assert begun.wait(LONG)
    go_on.set()
    settled()
    assert [each["path"] for each in server.requests][-1] == UNLOAD
    assert ids(server) == ["n"]


def test_models_that_other_programs_load_meanwhile_are_not_unloaded(server, lm, slow):
    _, go_on = slow
    with pytest.raises(RequestTimeoutError):
        with lm.native.loaded("m", deadline=0.3):
            pass
    for _ in range(2):
        type(server._state).load(server._state, "m")
    go_on.set()
    settled()
    assert ids(server) == ["n", "m", "m:2"]


def test_a_load_that_fails_after_its_block_was_left_is_logged(server, lm, slow, caplog):
    _, go_on = slow
    with pytest.raises(RequestTimeoutError):
        with lm.native.loaded("too-large", deadline=0.3):
            pass
    go_on.set()
    settled()
    assert "'too-large' was still being loaded" in caplog.text


def test_a_model_whose_block_was_left_before_its_thread_began_is_not_loaded(server, lm):
    native = lm.native
    block = _loading.Block(native._loads, native._caller, "m", {}, *native._caller.for_call(UNSET, UNSET))
    shared = _loading.SharedModel("m", server.url, block)
    shared.users.clear()
    block._ask(shared)
    assert shared.loaded.is_set()
    assert [each["path"] for each in server.requests] == []
    assert native._loads.shared == set()


def test_an_instance_that_reuses_the_name_of_one_that_was_unloaded_is_unloaded(server, lm, slow):
    _, go_on = slow
    go_on.set()
    first = lm.native.loaded("m")
    first.__enter__()
    go_on.clear()
    with pytest.raises(RequestTimeoutError):
        with lm.native.loaded("m", context_length=8192, deadline=0.3):
            pass
    first.__exit__(None, None, None)
    go_on.set()
    settled()
    assert ids(server) == ["n"]


def test_a_signal_handler_can_load_the_model_that_the_interrupted_code_unloads(server, lm, monkeypatch):
    unload_call, names = _loading.native.unload_call, []

    def interrupted(instance_id):
        monkeypatch.setattr(_loading.native, "unload_call", unload_call)
        with lm.native.loaded("m", timeout=LONG) as instance:
            names.append(instance.instance_id)
        return unload_call(instance_id)

    monkeypatch.setattr(_loading.native, "unload_call", interrupted)
    with lm.native.loaded("m"):
        pass
    assert (names, ids(server)) == (["m:2"], ["n"])


def test_a_load_that_fails_raises_and_unloads_nothing(server, lm):
    with pytest.raises(ModelLoadError):
        with lm.native.loaded("too-large"):
            pass
    assert [each["path"] for each in server.requests] == [MODELS, MODELS, LOAD]


def test_a_missing_server_is_an_error_of_the_first_call(closed_port):
    with LMStudioProvider(f"127.0.0.1:{closed_port}", refresh=False) as lm:
        with pytest.raises(ServerUnavailableError):
            with lm.native.loaded("m"):
                pass


def test_closing_the_provider_in_the_block_unloads_nevertheless(server):
    lm = LMStudioProvider(server.url, refresh=False)
    with lm.native.loaded("m"):
        lm.close()
    assert ids(server) == ["n"]
    with pytest.raises(ProviderClosedError):
        lm.native.models()


def test_a_model_is_unloaded_by_the_server_that_loaded_it_after_the_settings_changed(server, simulator):
    settings = {"lmstudio_base_url": server.url}
    with LMStudioProvider(settings=settings, refresh=False) as lm:
        with lm.native.loaded("m"):
            settings["lmstudio_base_url"] = simulator.url
    assert ids(server) == ["n"]


def test_a_model_that_was_unloaded_meanwhile_is_not_an_error(server, lm):
    with lm.native.loaded("m") as got:
        lm.native.unload(got)
    assert ids(server) == ["n"]


def test_a_model_that_cannot_be_unloaded_is_an_error(server, lm, monkeypatch):
    monkeypatch.setitem(server._endpoints, f"POST {UNLOAD}", lambda body: 1 / 0)
    with pytest.raises(ServerError):
        with lm.native.loaded("m"):
            pass


def test_a_model_that_cannot_be_unloaded_hides_no_exception_of_the_block(server, lm, monkeypatch, caplog):
    monkeypatch.setitem(server._endpoints, f"POST {UNLOAD}", lambda body: 1 / 0)
    with pytest.raises(ValueError, match="mine"):
        with lm.native.loaded("m"):
            raise ValueError("mine")
    assert "could not be unloaded" in caplog.text


def test_two_blocks_share_a_model_and_the_last_one_unloads_it(server, lm):
    first, second = lm.native.loaded("m"), lm.native.loaded("m")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert ids(server) == ["n", "m"]
    second.__exit__(None, None, None)
    assert ids(server) == ["n"]


@pytest.fixture
def no_threads(monkeypatch):
    """No thread of ours can be started, as when the interpreter shuts down on Python 3.12 on."""
    start = threading.Thread.start

    def refuse(thread):
        if thread.name.startswith("lmstudio-"):
            raise RuntimeError("can't create new thread at interpreter shutdown")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)


@pytest.mark.usefixtures("no_threads")
def test_a_model_is_loaded_and_unloaded_without_a_thread(server, lm):
    with lm.native.loaded("m"):
        assert ids(server) == ["n", "m"]
    assert ids(server) == ["n"]


@pytest.mark.usefixtures("no_threads")
def test_without_a_thread_the_caller_waits_for_the_load_to_end(server, lm, slow, in_background):
    begun, go_on = slow
    block = lm.native.loaded("m", timeout=0.1)
    waiting = in_background(block.__enter__)
    assert begun.wait(LONG)
    go_on.set()
    assert waiting.result(LONG).instance_id == "m"
    block.__exit__(None, None, None)
    assert ids(server) == ["n"]


def test_a_block_that_is_garbage_collected_unloads_its_model(server, lm):
    block = lm.native.loaded("m")
    block.__enter__()
    del block
    gc.collect()
    settled()
    assert ids(server) == ["n"]


def test_a_pickled_provider_loads_and_unloads_for_itself(server, lm):
    with lm.native.loaded("m"), pickle.loads(pickle.dumps(lm)) as copy:
        with copy.native.loaded("m", context_length=9000):
            assert ids(server) == ["n", "m", "m:2"]
        assert ids(server) == ["n", "m"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_leaves_the_block_unloads_nothing(server, lm):
    child = None
    try:
        with lm.native.loaded("m"):
            child = os.fork()
            if child:
                assert os.waitpid(child, 0)[1] == 0
                assert ids(server) == ["n", "m"]
        if child == 0:
            os._exit(0)
    finally:
        if child == 0:
            os._exit(1)
    assert ids(server) == ["n"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_was_forked_while_a_thread_held_the_locks_loads_and_ends(server, lm, slow, in_background):
    begun, go_on = slow
    loading = in_background(lm.native.ensure_loaded, "m")
    with lm.native.loaded("n"):
        assert begun.wait(LONG)
        child = os.fork()
        if child == 0:
            signal.alarm(LONG)  # ends a child that hangs
            with lm._loads.looking(lm._waiting(lm._for_call(None, None)[1])):
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    go_on.set()
    loading.result(LONG)
    assert ids(server) == ["n", "m"]


def interrupted(block, step):
    """Enter and leave ``block`` with a KeyboardInterrupt at one line of the two modules; return which, if any."""
    steps, where = 0, None

    def trace(frame, event, argument):
        nonlocal steps, where
        if not (frame.f_code.co_filename.endswith(("loading.py", "instances.py")) or frame.f_code.co_name == "loaded"):
            return None
        steps += event == "line"
        if steps == step and where is None:
            sys.settrace(before)
            where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with block:
            pass
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return where


@pytest.mark.slow
def test_ctrl_c_at_any_line_leaves_nothing_loaded(server, lm):
    step, lines = 1, set()
    while where := interrupted(lm.native.loaded("m"), step):
        settled()  # a thread may still load, and then unload
        assert (where, ids(server)) == (where, ["n"])
        lines.add(where)
        step += 1
    assert len(lines) > 70
    assert lm.native.ensure_loaded("m", deadline=LONG).instance_id == "m"


PROGRAM = """
import signal, sys, time
from lmstudio_provider import LMStudioProvider
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs this in the background ignores it
lm = LMStudioProvider(sys.argv[1], refresh=False)
block = lm.native.loaded("m")
if sys.argv[2] == "exit":
    block.__enter__()
    sys.exit()
print("begun", flush=True)
with block:
    print("inside", flush=True)
    time.sleep(60)
"""


def program(server, what):
    environment = {**os.environ, "PYTHONPATH": str(Path(lmstudio_provider.__file__).parent.parent)}
    command = [sys.executable, "-c", PROGRAM, server.url, what]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )


@pytest.mark.slow
def test_a_program_that_ends_inside_of_a_block_unloads(server):
    with program(server, "exit") as running:
        assert (running.stderr.read(), running.wait(LONG)) == ("", 0)
    assert ids(server) == ["n"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")
@pytest.mark.parametrize("when", ["loading", "inside"])
def test_ctrl_c_unloads(server, slow, when):
    begun, go_on = slow
    with program(server, when) as running:
        assert running.stdout.readline() == "begun\n"
        assert begun.wait(LONG)
        if when == "inside":
            go_on.set()
            assert running.stdout.readline() == "inside\n"
        running.send_signal(signal.SIGINT)
        told = "".join(itertools.takewhile(lambda line: line != "KeyboardInterrupt\n", running.stderr))
        go_on.set()  # it waits for this now, after printing why it ends
        assert running.wait(LONG) == -signal.SIGINT
        assert ("RuntimeWarning: the model is still being loaded; the model will be unloaded as soon as" in told) is (
            when == "loading"
        )
    assert [each["path"] for each in server.requests][-1] == UNLOAD
    assert ids(server) == ["n"]


# Downloads


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((None,), "model="),
        ((7,), "model=7"),
        (("https://a/b", ""), "quantization=''"),
        (("a/b", "Q4_K_M"), "goes only with the URL"),
        (("https://[::1",), "model is not an http"),
        (("https://a\u2100b.c/d", "Q4_K_M"), "model is not an http"),
    ],
)
def test_an_invalid_download_is_refused(lm, arguments, words):
    with pytest.raises(InvalidRequestError, match=words):
        lm.native.download(*arguments)


@pytest.mark.parametrize("job_id", [None, "", 7])
def test_a_value_that_is_not_a_job_is_refused(lm, job_id):
    with pytest.raises(InvalidRequestError, match="job_id"):
        Download.resume(job_id, lm)


@pytest.mark.parametrize("other", ["http://localhost", OllamaProvider(refresh=False)], ids=["str", "OllamaProvider"])
def test_a_provider_of_another_kind_is_refused(other):
    with pytest.raises(InvalidRequestError, match=f"{type(other).__name__} is not an LMStudioProvider"):
        Download.resume("job", other)


@pytest.mark.parametrize("job_id", ["job_0", "a/b c?d#e", "\ud800"])
def test_an_unknown_job_is_an_error(lm, job_id):
    with pytest.raises(JobNotFoundError):
        lm.native.download_status(job_id)


def test_an_unknown_model_cannot_be_downloaded(lm):
    with pytest.raises(ModelNotFoundError):
        lm.native.download("no-such/model")


def test_a_download_reports_its_progress_as_the_samples_do(httpserver, provider, sample):
    answer(httpserver, DOWNLOAD, sample("v1_download.json"))
    answer(httpserver, f"{DOWNLOAD}/status/{JOB}", sample("v1_download_status.json"))
    download = provider.native.download("https://huggingface.co/a/b", "Q4_K_M")
    assert (download.job_id, download.progress.status, download.progress.total_bytes) == (
        JOB,
        "downloading",
        2279145003,
    )
    progress = download.status()
    assert (progress.completed_bytes, progress.bytes_per_second) == (1012400128, 41288123)
    assert progress.seconds_left == pytest.approx(30.68, abs=0.01)
    assert provider.native.download_status(JOB) == progress
    assert sent(httpserver) == [{"model": "https://huggingface.co/a/b", "quantization": "Q4_K_M"}]


def test_a_model_that_is_already_downloaded_needs_no_wait(httpserver, provider, sample):
    answer(httpserver, DOWNLOAD, sample("v1_download_already.json"))
    download = provider.native.download("m")
    assert (download.job_id, download.wait().status) == (None, "already_downloaded")
    assert len(httpserver.log) == 1


def test_a_download_is_waited_for_with_progress(server, lm):
    seen = []
    progress = lm.native.download("new/model").wait(seen.append, poll=0.001)
    assert [each.completed_bytes * 4 // each.total_bytes for each in seen] == [1, 2, 3, 4]
    assert (progress, progress.status, progress.seconds_left) == (seen[-1], "completed", None)
    assert "new/model" in [each.id for each in lm.native.models()]


@pytest.mark.parametrize(("status", "words"), [("paused", "was paused"), ("failed", "does not say why")])
def test_a_download_that_stopped_is_an_error_that_says_how_far_it_came(server, lm, status, words):
    download = lm.native.download("new/model")
    download.status()
    server.jobs[download.job_id].status = status
    with pytest.raises(DownloadError, match=words) as caught:
        download.wait()
    assert (caught.value.progress.status, caught.value.job_id) == (status, download.job_id)
    assert caught.value.progress.completed_bytes > 0


def test_a_job_that_is_not_text_is_none(httpserver, provider):
    answer(httpserver, DOWNLOAD, {"status": "completed", "job_id": 5})
    job = provider.native.download("a/b")
    assert (job.job_id, job.wait().status) == (None, "completed")


def test_a_completed_download_has_all_of_its_bytes(httpserver, provider):
    answer(httpserver, DOWNLOAD, {"status": "downloading", "job_id": JOB, "total_size_bytes": 100})
    answer(httpserver, f"{DOWNLOAD}/status/{JOB}", {"status": "completed", "job_id": JOB})
    progress = provider.native.download("a/b").wait()
    assert (progress.completed_bytes, progress.total_bytes) == (100, 100)


def test_completed_bytes_never_decrease(httpserver, provider, sample):
    path = f"{DOWNLOAD}/status/{JOB}"
    for done in (50, 20):
        told = {"job_id": JOB, "status": "downloading", "downloaded_bytes": done, "bytes_per_second": -5}
        httpserver.expect_ordered_request(path).respond_with_json({**told, "total_size_bytes": 100})
    download = Download.resume(JOB, provider)
    assert [download.status().completed_bytes for _ in range(2)] == [50, 50]
    assert download.progress.seconds_left is None


def test_a_download_that_takes_too_long_goes_on_without_the_caller(httpserver, provider, sample):
    answer(httpserver, f"{DOWNLOAD}/status/{JOB}", sample("v1_download_status.json"))
    with pytest.raises(RequestTimeoutError, match=r"Download\.resume") as caught:
        Download.resume(JOB, provider).wait(poll=0.01, deadline=0.5)
    assert (caught.value.limit, caught.value.progress.completed_bytes) == ("deadline", 1012400128)


def test_a_server_that_is_silent_runs_into_the_same_deadline(silent_server, provider_of):
    with pytest.raises(RequestTimeoutError, match=r"did not end in 0\.1 s") as caught:
        Download.resume(JOB, provider_of(silent_server)).wait(deadline=0.1)
    assert caught.value.progress.status == "unknown"


def test_a_download_is_taken_up_again_by_the_settings(server, lm, monkeypatch):
    job_id = lm.native.download("new/model").job_id
    monkeypatch.setenv("LM_STUDIO_URL", server.url)
    assert Download.resume(job_id).wait(poll=0.001).status == "completed"


@pytest.mark.parametrize("poll", [0, -1, None, True, "x", float("nan"), float("inf")])
def test_an_invalid_poll_is_refused(lm, poll):
    with pytest.raises(InvalidRequestError, match="poll="):
        lm.native.download("a/b").wait(poll=poll)


@pytest.mark.parametrize("status", ["paused", "failed", "downloading"])
def test_the_hint_of_a_download_names_the_job_and_the_provider(server, lm, status):
    job = lm.native.download("a/b")
    server.jobs[job.job_id].status = status
    server.jobs[job.job_id].total_size_bytes = 2**40
    with pytest.raises((DownloadError, RequestTimeoutError)) as caught:
        job.wait(poll=60, deadline=0.03)
    assert (f"Download.resume('{job.job_id}', lm).wait()" in str(caught.value)) is (status != "failed")


def test_an_error_about_a_server_that_goes_away_says_how_to_resume(lm, server):
    job = lm.native.download("a/b")
    server.__exit__(None, None, None)
    with pytest.raises(ServerUnavailableError) as caught:
        job.wait()
    assert f"Download.resume('{job.job_id}', lm)" in caught.value.hint
    assert caught.value.progress.status == "downloading"
    server.__enter__()


def test_an_error_about_an_unknown_download_explains_model_names(lm):
    with pytest.raises(ModelNotFoundError) as caught:
        lm.native.download("no-such-model")
    assert "catalog" in caught.value.hint


def test_secrets_of_a_url_are_not_shown(httpserver, provider):
    url = "https://user:pass%21word@example.com/owner/repository;key=ijklmnop?token=abcdefgh"
    said = {"error": f"Cannot fetch {url} (pass!word)"}
    httpserver.expect_ordered_request(DOWNLOAD).respond_with_json({"status": "downloading", "job_id": "j"})
    httpserver.expect_ordered_request(DOWNLOAD).respond_with_json(said, 500)
    assert repr(provider.native.download(url)) == "<Download j https://example.com/owner/repository downloading>"
    with pytest.raises(ServerError) as caught:
        provider.native.download(url)
    for secret in ("pass%21word", "pass!word", "abcdefgh", "ijklmnop"):
        assert secret not in f"{caught.value!r} {caught.value.body}"


@for_each(
    ("given", "says"),
    [({"ctx": 3}, "no option 'ctx'"), ({"context_length": 0}, "context_length=0"), ({"timeout": 0}, "timeout=0")],
)
def test_a_block_that_cannot_work_is_refused_when_it_is_made(given, says):
    with LMStudioProvider(refresh=False) as lm, pytest.raises(ProviderError, match=says):
        lm.native.loaded("m", **given)
