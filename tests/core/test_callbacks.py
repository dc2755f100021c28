"""The one rule for the caller's functions: an exception ends the call and reaches the caller."""

import copy
import logging
import threading
import warnings

import pytest
from raw import stream_of

from lmstudio_provider import (
    Download,
    Failover,
    LMStudioProvider,
    MemoryUsage,
    Message,
    OllamaProvider,
    ProviderError,
    RequestTimeoutError,
    ServerUnavailableError,
    Timeouts,
    run_tools,
)
from lmstudio_provider.simulator import SimulatedLMStudio

pytestmark = pytest.mark.filterwarnings("ignore::lmstudio_provider.ModelMismatchWarning")

HI = b'data: {"choices": [{"delta": {"content": "Hi"}}]}\n\n'
STOP = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'

# Some are errors that mean something to whoever calls the function: they are not theirs.
ERRORS = [
    ValueError("my own bug"),
    ProviderError("mine"),
    ServerUnavailableError("mine"),
    RequestTimeoutError("mine", limit="deadline"),
    StopIteration("mine"),
    Warning("mine"),
    KeyboardInterrupt(),
    SystemExit(3),
]


def add(a: int, b: int) -> int:
    return a + b


class Raising:
    """A function that raises ``error``, and counts how often it was called."""

    def __init__(self, error):
        self.error = error
        self.calls = 0

    def __call__(self, *arguments):
        self.calls += 1
        raise self.error


@pytest.fixture
def error(request):
    """One of ERRORS, anew: those would keep all that their tracebacks hold."""
    return copy.copy(request.param)


@pytest.fixture
def usage():
    return MemoryUsage()


@pytest.fixture
def lm(usage):
    with SimulatedLMStudio(["m"], ["one two three"], delay_s=0.01, loaded=[]) as server:
        with LMStudioProvider(server.url, refresh=False, model="m", usage=usage) as provider:
            yield provider


def native(lm, raising):
    for _ in lm.native.stream("Hi", on_progress=raising):
        pass


def native_by_hand(lm, raising):
    stream = lm.native.stream("Hi", on_progress=raising)
    while True:
        next(stream)


CALLS = {
    "stream": lambda lm, raising: lm.stream("Hi", raising),
    "responses": lambda lm, raising: lm.responses_stream("Hi", raising),
    "messages": lambda lm, raising: lm.messages_stream("Hi", raising),
    "failover": lambda lm, raising: Failover([lm, Unasked()]).stream("Hi", raising),
    "native": native,
    "native by hand": native_by_hand,
    "run_tools": lambda lm, raising: run_tools(lm, "Hi", [add], on_event=raising, stream=True),
}


class Unasked(LMStudioProvider):
    """A second provider that must not be called."""

    def __init__(self):
        super().__init__("localhost:1", refresh=False, id="unasked")

    def stream(self, *arguments, **options):
        raise AssertionError("the call was made twice")


@pytest.mark.parametrize(
    ("call", "error"),
    # A StopIteration out of an iterator is the iterator's end, in Python itself.
    [(call, each) for call in CALLS for each in ERRORS if "native" not in call or not isinstance(each, StopIteration)],
    ids=repr,
    indirect=["error"],
)
def test_an_exception_in_a_function_ends_the_stream_and_reaches_the_caller_unchanged(lm, usage, call, error):
    raising, before = Raising(error), dict(vars(error))
    with pytest.raises(type(error)) as caught:
        CALLS[call](lm, raising)
    assert caught.value is error
    assert call == "run_tools" or vars(error) == before
    assert raising.calls == 1
    assert [record.status for record in usage.records] == ["cancelled"]


def test_the_server_sees_a_closed_connection(raw_server, provider_of):
    server = raw_server(stream_of(HI), lambda connection: connection.recv(1) and None)
    with pytest.raises(ZeroDivisionError):
        provider_of(server).stream("Hi", lambda chunk: 1 / 0)
    assert server.client_left.wait(5)


def test_a_call_whose_function_raised_is_cancelled_also_if_all_of_the_reply_had_come(raw_server, provider_of, usage):
    lm = provider_of(raw_server(stream_of(HI, HI, STOP)), usage=usage)
    with pytest.raises(ZeroDivisionError):
        lm.stream("Hi", lambda chunk: 1 / 0)
    assert [record.status for record in usage.records] == ["cancelled"]


@pytest.mark.parametrize("error", ERRORS, ids=repr, indirect=True)
def test_an_exception_while_a_download_is_watched_reaches_the_caller_unchanged(lm, error):
    download, before = lm.native.download("new/model"), dict(vars(error))
    with pytest.raises(type(error)) as caught:
        download.wait(Raising(error), poll=0.001, deadline=60)
    assert caught.value is error
    assert vars(error) == before
    assert Download.resume(download.job_id, lm).wait(poll=0.001).status == "completed"


@pytest.mark.parametrize("error", ERRORS, ids=repr, indirect=True)
def test_an_exception_while_a_model_is_pulled_reaches_the_caller_unchanged(httpserver, sample, error):
    pull = sample("ollama_pull_stream.ndjson")
    httpserver.expect_request("/api/pull").respond_with_data(pull, content_type="application/x-ndjson")
    before = dict(vars(error))
    with OllamaProvider(httpserver.url_for(""), refresh=False) as ollama, pytest.raises(type(error)) as caught:
        ollama.pull("qwen3:8b", Raising(error))
    assert caught.value is error
    assert vars(error) == before


# What keeps count of usage


class Broken:
    """A recorder that cannot record."""

    def __init__(self):
        self.calls = 0

    def record(self, record, /):
        self.calls += 1
        raise OSError("disk full")


RECORDED = {
    "complete": lambda lm: lm.complete("Hi").text,
    "stream": lambda lm: "".join(lm.stream("Hi").text()),
    "on_chunk": lambda lm: lm.stream("Hi", lambda chunk: None).text,
    "native.chat": lambda lm: lm.native.chat("Hi").text,
    "native.stream": lambda lm: "".join(lm.native.stream("Hi").text()),
}


@pytest.mark.parametrize("call", RECORDED.values(), ids=RECORDED)
def test_a_recorder_that_fails_is_a_warning_once_and_logged_each_time(call, caplog):
    recorder = Broken()
    with SimulatedLMStudio(["m"], lambda body: "one two") as server:
        with LMStudioProvider(server.url, refresh=False, model="m", usage=recorder) as lm:
            with pytest.warns(RuntimeWarning, match=r"(?s)usage\.record\(\) failed.*disk full") as caught:
                assert [call(lm) for _ in range(3)] == ["one two"] * 3
    assert recorder.calls == 3
    assert [warning.filename for warning in caught] == [__file__]
    assert caplog.text.count("OSError: disk full") == 3


@pytest.mark.parametrize("call", RECORDED.values(), ids=RECORDED)
def test_a_reply_is_not_lost_if_the_warning_is_an_error(call, caplog):
    with SimulatedLMStudio(["m"], lambda body: "one two") as server:
        with LMStudioProvider(server.url, refresh=False, model="m", usage=Broken()) as lm:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert call(lm) == "one two"
    assert "disk full" in caplog.text


def test_each_provider_warns_about_its_recorder(simulator):
    for name in ("one", "two"):
        with LMStudioProvider(simulator.url, usage=Broken(), id=name) as lm:
            with pytest.warns(RuntimeWarning, match="disk full"):
                lm.complete("Hi")


def test_of_many_threads_one_warns(simulator, in_background):
    begun = threading.Barrier(4)

    def ask(lm):
        begun.wait(10)
        return lm.complete("Hi").text

    with LMStudioProvider(simulator.url, usage=Broken()) as lm, pytest.warns(RuntimeWarning) as caught:
        assert all(each.result(30) for each in [in_background(ask, lm) for _ in range(4)])
    assert len(caught) == 1


def test_an_error_of_the_call_is_raised_though_its_recorder_fails(raw_server, provider_of):
    server = raw_server(b"HTTP/1.1 500 X\r\nContent-Length: 4\r\n\r\nBoom")
    with pytest.warns(RuntimeWarning, match="disk full"), pytest.raises(ProviderError, match="Boom"):
        provider_of(server, usage=Broken()).complete("Hi")


# Functions that are called at the end of a stream


def test_a_function_at_the_end_that_fails_is_a_warning_and_logged_and_the_others_are_called(simulator, caplog):
    told = []
    with LMStudioProvider(simulator.url) as lm:
        stream = lm.stream("Hi")
        for function in (lambda completion, error: 1 / 0, lambda completion, error: told.append(error)):
            stream.add_done_callback(function)
        with pytest.warns(RuntimeWarning, match="(?s)add_done_callback.*ZeroDivisionError") as caught:
            assert "".join(stream.text()).endswith("Hi")
    assert told == [None]
    assert [warning.filename for warning in caught] == [__file__]
    assert "ZeroDivisionError" in caplog.text


def test_a_stream_that_is_collected_warns_if_a_function_at_its_end_fails(simulator, caplog):
    with LMStudioProvider(simulator.url) as lm:
        stream = lm.stream("Hi")
        stream.add_done_callback(lambda completion, error: 1 / 0)
        streams = [stream]
        del stream
        with pytest.warns(RuntimeWarning, match="ZeroDivisionError"):
            streams.clear()


def test_ctrl_c_in_one_function_at_the_end_does_not_keep_the_others_from_being_called(simulator):
    def interrupted(completion, error):
        told.append("interrupted")
        raise KeyboardInterrupt

    told = []
    with LMStudioProvider(simulator.url) as lm:
        stream = lm.stream("Hi")
        stream.add_done_callback(interrupted)
        stream.add_done_callback(lambda completion, error: told.append(completion.text))
        with pytest.raises(KeyboardInterrupt):
            list(stream)
        assert told == ["interrupted", stream.completion.text]


def test_a_function_that_closes_its_stream_is_called_once(simulator):
    calls = []

    with LMStudioProvider(simulator.url) as lm:
        stream = lm.stream("Hi")
        stream.add_done_callback(lambda completion, error: (calls.append(completion), stream.close()))
        list(stream)
        stream.close()
    assert len(calls) == 1


def test_nothing_that_is_logged_is_printed(simulator, capfd):
    with LMStudioProvider(simulator.url, usage=Broken()) as lm, pytest.warns(RuntimeWarning):
        lm.complete("Hi")
    assert "Traceback" not in capfd.readouterr().err
    assert logging.getLogger("lmstudio_provider").handlers


def test_a_timeout_of_the_stream_is_not_that_of_the_function(raw_server, provider_of):
    """The function raises while the server is silent: its own error counts, not the limit that comes next."""
    server = raw_server(stream_of(HI), lambda connection: connection.recv(1) and None)
    with pytest.raises(LookupError):
        provider_of(server).stream([Message.user("Hi")], Raising(LookupError()), timeout=Timeouts(idle=0.2))


@pytest.mark.parametrize("module", ["lmstudio_provider_demo", "contextlib_demo", "__main__"])
def test_a_warning_names_the_line_of_a_program_whatever_its_module_is_called(simulator, module):
    program = compile("ask('Hi', model='another')", "the program", "exec")
    with LMStudioProvider(simulator.url) as lm, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        exec(program, {"__name__": module, "ask": lm.chat})
    assert [each.filename for each in warned] == ["the program"]
