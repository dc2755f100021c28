"""``complete_many``: one failure does not stop the rest, nothing is taken too early, and Ctrl-C leaves nothing open."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from interrupts import interrupted, lines_of
from tables import for_each

from lmstudio_provider import (
    ChatRequest,
    Completion,
    CompletionRequest,
    ConfigurationError,
    Failover,
    InvalidRequestError,
    LMStudioProvider,
    MemoryUsage,
    Message,
    NoModelLoadedError,
    ProviderError,
    ServerUnavailableError,
    TextRequest,
    complete_many,
)
from lmstudio_provider.simulator import SimulatedLMStudio

PATIENCE_S = 20


class Own:
    """A provider of one's own, which answers with the last message, or as ``answer`` does."""

    def __init__(self, answer=None):
        self.answer = answer or (lambda text: text)
        self.asked = []

    def chat(self, request):
        text = request.messages[-1].content
        self.asked.append(text)
        return Completion(self.answer(text), "own", "own")


class Counted:
    """An iterator that counts what was taken of it."""

    def __init__(self, count):
        self.count, self.taken = count, 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.taken == self.count:
            raise StopIteration
        self.taken += 1
        return f"request {self.taken - 1}"


def texts(results):
    return [result.completion and result.completion.text for result in results]


def batch_threads():
    return [thread for thread in threading.enumerate() if thread.name == "lmstudio-batch"]


@pytest.fixture
def unanswered(raw_server):
    """A server that never answers; it counts the requests that have come and the clients that have left."""
    come, left = threading.Semaphore(0), threading.Semaphore(0)

    def wait(connection):
        come.release()
        while connection.recv(65536):
            continue
        left.release()

    server = raw_server(wait)
    server.come, server.left = come, left
    return server


def wait_for(count, semaphore):
    for _ in range(count):
        assert semaphore.acquire(timeout=PATIENCE_S)


# What goes wrong


@for_each(
    ("arguments", "said"),
    [
        ({"provider": LMStudioProvider}, "complete_many got the class LMStudioProvider"),
        ({"provider": "http://localhost:1234"}, "got str, not a provider"),
        ({"requests": "Hi"}, "requests='Hi' is not an iterable of requests"),
        ({"requests": {"prompt": "Hi"}}, "is not an iterable of requests. Give a list"),
        ({"requests": ChatRequest("Hi")}, "is not an iterable of requests"),
        ({"requests": None}, "requests=None"),
        ({"max_workers": 0}, "max_workers=0"),
        ({"max_workers": True}, "max_workers=True"),
        ({"max_workers": 1.5}, "max_workers=1.5"),
        ({"ordered": 1}, "ordered=1"),
        ({"on_progress": 7}, "on_progress=7 cannot be called"),
    ],
)
def test_arguments_that_cannot_work_are_refused_before_anything_is_taken(arguments, said):
    taken = Counted(3)
    with pytest.raises(InvalidRequestError) as caught:
        complete_many(**{"provider": Own(), "requests": taken, **arguments})
    assert said in str(caught.value)
    assert taken.taken == 0


def test_what_is_not_an_executor_is_refused_with_how_to_get_one():
    with pytest.raises(ConfigurationError, match=r"is not an Executor. With Dask, give client\.get_executor\(\)"):
        complete_many(Own(), ["Hi"], executor=8)


def test_a_provider_that_does_not_pickle_is_refused_before_anything_is_sent():
    taken = Counted(3)
    with ProcessPoolExecutor(1) as pool, pytest.raises(ConfigurationError, match="cannot be sent to another process"):
        complete_many(Own(lambda text: text), taken, executor=pool)
    assert taken.taken == 0


def test_one_failure_does_not_stop_the_rest():
    def answer(text):
        if text == "bad":
            raise NoModelLoadedError("no model is loaded")
        if text == "worse":
            raise ZeroDivisionError("of the provider itself")
        return text

    bad, worse, *fine = complete_many(Own(answer), ["bad", "worse", "one", "two", "three"], max_workers=1)
    assert isinstance(bad.error, NoModelLoadedError)
    assert str(worse.error) == "of the provider itself"
    assert bad.completion is worse.completion is None
    assert bad.error.__traceback__ is None  # its frames would keep the request and the reply
    assert texts(fine) == ["one", "two", "three"]
    assert {each.error for each in fine} == {None}


@for_each("wrong", [None, 7, b"bytes", {"role": "user", "content": "Hi"}, [], [7], Message.user("Hi")])
def test_a_request_that_cannot_work_is_an_error_of_its_own(wrong):
    bad, good = complete_many(Own(), [wrong, "good"])
    assert isinstance(bad.error, InvalidRequestError)
    assert bad.request is wrong
    assert good.completion.text == "good"


def test_a_text_to_continue_is_refused_with_the_method_that_takes_it():
    (result,) = complete_many(Own(), [TextRequest("Once")])
    assert "complete_text() a TextRequest" in str(result.error)


def test_no_server_is_an_error_of_each_request(closed_port, provider_of):
    lm = provider_of(f"http://127.0.0.1:{closed_port}", model="m")
    results = list(complete_many(lm, ["one", "two"]))
    assert [type(each.error) for each in results] == [ServerUnavailableError] * 2


def test_an_exception_of_the_requests_is_raised_after_the_results_before_it():
    def requests():
        yield "one"
        yield "two"
        raise OSError("the file is gone")

    got = []
    with pytest.raises(OSError, match="the file is gone"):
        for result in complete_many(Own(), requests()):
            got.append(result)
    assert texts(got) == ["one", "two"]


def test_an_executor_that_was_shut_down_is_an_error_that_says_where_to_go_on():
    pool = ThreadPoolExecutor(1)
    got = []

    def requests():
        yield "one"
        pool.shutdown()
        yield "two"

    with pytest.raises(ConfigurationError, match=r"takes no more requests.*from index 1 on"):
        for result in complete_many(Own(), requests(), executor=pool):
            got.append(result)
    assert texts(got) == ["one"]


def test_what_on_progress_raises_stops_the_batch_and_reaches_the_caller(unanswered, provider_of):
    def stop(result):
        raise KeyError("mine")

    requests = iter([[], *["Hi"] * 5])
    with pytest.raises(KeyError, match="mine"):
        next(complete_many(provider_of(unanswered, model="m"), requests, max_workers=2, on_progress=stop))
    assert len(list(requests)) == 2
    wait_for_the_end_of_threads()


def wait_for_the_end_of_threads():
    for thread in batch_threads():
        thread.join(PATIENCE_S)
    assert not batch_threads()


def test_a_system_without_threads_left_makes_the_calls_one_by_one(monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert texts(complete_many(Own(), ["one", "two", "three"])) == ["one", "two", "three"]


def test_more_workers_than_requests_cost_nothing():
    assert texts(complete_many(Own(), ["one"], max_workers=10**12)) == ["one"]


# What is taken, and when


@for_each("ordered", [True, False])
@for_each("max_workers", [1, 3])
def test_at_most_twice_as_many_are_taken_as_there_are_workers(ordered, max_workers):
    taken = Counted(50)
    for count, _ in enumerate(complete_many(Own(), taken, max_workers=max_workers, ordered=ordered), 1):
        assert taken.taken <= count + 2 * max_workers
    assert (count, taken.taken) == (50, 50)


def test_nothing_is_taken_before_the_first_result_is_wanted():
    taken = Counted(3)
    results = complete_many(Own(), taken)
    assert taken.taken == 0
    assert next(results).index == 0


def test_the_requests_may_be_an_endless_iterable():
    results = complete_many(Own(), iter(lambda: "Hi", None))
    assert [next(results).index for _ in range(20)] == list(range(20))
    results.close()


def test_without_requests_there_are_no_results_and_no_threads():
    before = set(batch_threads())
    assert list(complete_many(Own(), [])) == []
    assert set(batch_threads()) <= before


def test_an_iterator_is_not_asked_again_after_its_end():
    class Again(Counted):
        ends = 0

        def __next__(self):
            self.ends += self.taken == self.count
            return super().__next__()

    requests = Again(3)
    assert len(list(complete_many(Own(), requests))) == 3
    assert requests.ends == 1


def test_not_more_calls_run_at_once_than_there_are_workers():
    running, most, both = set(), [], threading.Barrier(2)

    def answer(text):
        running.add(text)
        most.append(len(running))
        both.wait(PATIENCE_S)
        running.discard(text)
        return text

    list(complete_many(Own(answer), Counted(8), max_workers=2))
    assert max(most) == 2


# Order


def test_results_come_in_the_order_of_the_requests_and_progress_as_it_is_made():
    last = threading.Event()

    def answer(text):
        if text == "request 0":
            last.wait(PATIENCE_S)
        if text == "request 3":
            last.set()
        return text

    seen = []
    results = list(complete_many(Own(answer), Counted(4), max_workers=2, on_progress=seen.append))
    assert [each.index for each in results] == [0, 1, 2, 3]
    assert sorted(each.index for each in seen) == [0, 1, 2, 3]
    assert seen[0].index == 1
    assert set(seen) == set(results)


def test_unordered_results_come_as_they_are_ready():
    rest = threading.Event()
    own = Own(lambda text: text if text != "request 0" else str(rest.wait(PATIENCE_S)))
    results = complete_many(own, Counted(4), max_workers=2, ordered=False)
    assert sorted(next(results).index for _ in range(3)) == [1, 2, 3]
    rest.set()
    assert [each.index for each in results] == [0]


# What a request can be


def test_each_form_of_a_request_is_answered_with_its_own_options(simulator, provider_of):
    lm = provider_of(simulator.url)
    requests = [
        "one",
        CompletionRequest("two", "Be brief.", temperature=0),
        ChatRequest("three", max_tokens=5),
        [Message.system("Be brief."), Message.user("four")],
        [{"role": "user", "content": "five"}],
    ]
    results = list(complete_many(lm, requests, max_workers=1))
    assert [each.error for each in results] == [None] * 5
    assert [each.request for each in results] == requests
    sent = [each["body"] for each in simulator.requests if "chat" in each["path"]]
    assert [each["messages"][-1]["content"] for each in sent] == ["one", "two", "three", "four", "five"]
    assert (sent[1]["temperature"], sent[1]["messages"][0]["role"], sent[2]["max_tokens"]) == (0, "system", 5)


def test_an_answer_as_a_type_is_parsed(provider_of):
    with SimulatedLMStudio(replies=['{"price": 3}']) as server:
        lm = provider_of(server.url)
        (result,) = complete_many(lm, [CompletionRequest("How much?", response_format=Offer)])
    assert result.completion.parsed == Offer(3)


@dataclass
class Offer:
    price: int


# Stopping


def test_leaving_the_loop_closes_the_connections_and_cancels_the_rest(unanswered, provider_of):
    usage = MemoryUsage()
    lm = provider_of(unanswered, model="m", usage=usage)
    for result in complete_many(lm, [[], *["Hi"] * 9], max_workers=3):
        assert result.error  # the first one is not sent
        wait_for(3, unanswered.come)
        break
    wait_for_the_end_of_threads()
    wait_for(3, unanswered.left)
    assert len(unanswered.requests) == 3
    assert [each.status for each in usage.records] == ["cancelled"] * 3


def test_a_batch_that_is_dropped_closes_its_connections(unanswered, provider_of):
    results = complete_many(provider_of(unanswered, model="m"), [[], "Hi"], max_workers=1)
    next(results)
    wait_for(1, unanswered.come)
    del results
    gc.collect()
    wait_for(1, unanswered.left)
    wait_for_the_end_of_threads()


def test_the_provider_goes_on_after_a_batch_that_was_left(simulator, provider_of):
    lm = provider_of(simulator.url)
    for _ in complete_many(lm, Counted(10)):
        break
    assert lm.chat("Hi").text.endswith("You said: Hi")


def test_leaving_the_loop_closes_connections_in_a_pool_of_threads_too(unanswered, provider_of):
    with ThreadPoolExecutor(2) as pool:  # waits for its threads
        for _ in complete_many(provider_of(unanswered, model="m"), [[], *["Hi"] * 9], executor=pool):
            wait_for(2, unanswered.come)
            break
    assert unanswered.accepted == 2


def test_the_hosts_of_a_failover_are_left_as_well(unanswered, provider_of):
    with Failover([provider_of(unanswered, model="m")]) as hosts:
        for _ in complete_many(hosts, [[], "Hi"]):
            wait_for(1, unanswered.come)
            break
    wait_for(1, unanswered.left)


INTERRUPTED = """
import sys, threading
from lmstudio_provider import LMStudioProvider, complete_many
lm = LMStudioProvider(sys.argv[1], model="m", refresh=False)
try:
    for result in complete_many(lm, (f"request {number}" for number in range(100)), max_workers=3):
        print(result, flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    for thread in threading.enumerate():
        if thread.name == "lmstudio-batch":
            thread.join(10)
    print([thread.name for thread in threading.enumerate() if "batch" in thread.name])
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows sends no Ctrl-C to one process")
def test_ctrl_c_closes_the_connections_and_ends_the_program(unanswered):
    with subprocess.Popen([sys.executable, "-c", INTERRUPTED, unanswered.url], stdout=subprocess.PIPE) as child:
        try:
            wait_for(3, unanswered.come)
            child.send_signal(signal.SIGINT)
            wait_for(3, unanswered.left)
            assert child.communicate(timeout=PATIENCE_S)[0].split() == [b"interrupted", b"[]"]
        finally:
            child.kill()
    assert unanswered.accepted == 3


def test_ctrl_c_at_any_line_lets_the_threads_end(unanswered, provider_of):
    lm = provider_of(unanswered, model="m")

    def leave_early():
        # Python would only report an interrupt in a generator that is dropped.
        with contextlib.closing(complete_many(lm, [[], "one", "two", [], "three"], max_workers=2)) as results:
            next(results)

    for line in lines_of(leave_early):
        interrupted(leave_early, line, 1)
        wait_for_the_end_of_threads()


# Several hosts


def test_a_failover_spreads_the_requests_over_its_hosts():
    everybody = threading.Barrier(4)

    def reply(body):
        everybody.wait(PATIENCE_S)
        return body["messages"][-1]["content"]

    with SimulatedLMStudio(replies=reply) as one, SimulatedLMStudio(replies=reply) as two:
        hosts = [LMStudioProvider(each.url, id=name) for each, name in ((one, "one"), (two, "two"))]
        with Failover(hosts, balance="least_busy") as both:
            results = list(complete_many(both, Counted(12)))
    assert texts(results) == [f"request {number}" for number in range(12)]
    assert {each.completion.provider_id for each in results} == {"one", "two"}


# Other processes


class Somewhere:
    """A provider that a process can make of its pickle; it answers with what is known of the process."""

    def chat(self, request):
        text = request.messages[-1].content
        if text == "fail":
            raise UnpicklableError("one", "two")
        if text == "die":
            os._exit(3)
        if text == "leave":
            raise SystemExit(3)
        return Completion(f"{os.getpid()} {id(self)}", "own", "own")


class UnpicklableError(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def two_processes():
    """They are not forked: the threads of the tests would be a reason for a warning."""
    return ProcessPoolExecutor(2, multiprocessing.get_context("spawn"))


@pytest.fixture(scope="module")
def pool():
    with two_processes() as executor:
        yield executor


@pytest.mark.slow
def test_an_exception_that_does_not_pickle_does_not_break_the_pool(pool):
    bad, good = complete_many(Somewhere(), ["fail", "Hi"], executor=pool)
    assert str(bad.error) == "UnpicklableError: one and two"
    assert isinstance(bad.error, ProviderError)
    assert good.error is None


def test_a_request_that_does_not_pickle_is_an_error_of_its_own(pool):
    bad, good = complete_many(Somewhere(), [Unsendable("Hi"), "Hi"], executor=pool)
    assert "cannot be sent" in str(bad.error)
    assert good.error is None


class Unsendable(ChatRequest):
    def __reduce__(self):
        raise TypeError("cannot be sent")


@pytest.mark.slow
def test_a_worker_that_dies_is_an_error_that_says_where_to_go_on():
    got = []
    with two_processes() as pool, pytest.raises(ConfigurationError, match="takes no more requests"):
        for result in complete_many(Somewhere(), ["die", *["Hi"] * 20], executor=pool, max_workers=1):
            got.append(result)
    assert isinstance(got[0].error, concurrent.futures.BrokenExecutor)
    assert 2 <= len(got) < 21


def test_an_exit_in_a_worker_ends_the_batch(pool):
    with pytest.raises(SystemExit):
        list(complete_many(Somewhere(), ["leave", "Hi"], executor=pool))


def test_a_worker_process_makes_one_provider_and_keeps_it(pool):
    results = list(complete_many(Somewhere(), Counted(30), executor=pool))
    results += complete_many(Somewhere(), Counted(30), executor=pool)
    by_process = {}
    for result in results:
        process, made = result.completion.text.split()
        by_process.setdefault(process, set()).add(made)
    assert str(os.getpid()) not in by_process
    assert [len(made) for made in by_process.values()] == [1] * len(by_process)


class LockedUsage(MemoryUsage):
    """A recorder that does not pickle."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


def test_usage_records_come_home_to_the_recorder_of_the_caller(pool, simulator):
    usage = LockedUsage()
    with LMStudioProvider(simulator.url, usage=usage) as lm:
        results = list(complete_many(lm, [*map(str, range(5)), []], executor=pool))
    assert [each.error is None for each in results] == [True] * 5 + [False]
    assert [each.status for each in usage.records] == ["ok"] * 5
    assert usage.total().total_tokens == sum(each.completion.usage.total_tokens for each in results[:5])
    assert len([each for each in simulator.requests if "chat" in each["path"]]) == 5


def test_each_host_of_a_failover_has_its_records_in_its_own_recorder(pool, simulator, closed_port):
    mine, others = MemoryUsage(), MemoryUsage()
    down = LMStudioProvider(f"http://127.0.0.1:{closed_port}", model="m", usage=others, refresh=False)
    with Failover([down, LMStudioProvider(simulator.url, usage=mine)]) as both:
        results = list(complete_many(both, ["one", "two"], executor=pool))
    assert [each.error for each in results] == [None, None]
    assert (len(mine.records), len(others.records)) == (2, 0)


def test_a_recorder_that_fails_is_one_warning_and_no_result_is_lost(pool, simulator):
    class Full:
        def record(self, record):
            raise OSError("the disk is full")

    with LMStudioProvider(simulator.url, usage=Full()) as lm, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = list(complete_many(lm, ["one", "two", "three"], executor=pool))
    assert [each.error for each in results] == [None] * 3
    assert ["the disk is full" in str(each.message) for each in caught] == [True]


@pytest.mark.slow
def test_errors_of_a_server_come_home_whole(pool, closed_port):
    with LMStudioProvider(f"http://127.0.0.1:{closed_port}", model="m", refresh=False) as lm:
        (result,) = complete_many(lm, ["Hi"], executor=pool)
    assert isinstance(result.error, ServerUnavailableError)
    assert result.error.refused
    assert "lms server start" in result.error.hint
