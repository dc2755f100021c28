"""``measure`` against stand-ins: what fails is counted, what is not known is None, and Ctrl-C keeps what came."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from dataclasses import FrozenInstanceError
from xml.etree import ElementTree

import pytest
from tables import for_each

from lmstudio_provider import (
    ChatRequest,
    Chunk,
    CompletionRequest,
    ConfigurationError,
    Failover,
    InvalidRequestError,
    LMStudioProvider,
    MeasuredRow,
    Measurement,
    Message,
    OllamaProvider,
    Percentiles,
    RequestTiming,
    Stream,
    TextRequest,
    Usage,
    measure,
)
from lmstudio_provider.simulator import SimulatedLMStudio, SimulatedOllama

USAGE = Usage(5, 3, 8)
WORDS = [Chunk("one "), Chunk("two "), Chunk("three", usage=USAGE)]


class Own:
    """A provider of one's own, whose streams are made by a function of the number of the call."""

    def __init__(self, chunks):
        self.chunks = chunks
        self.requests = []
        self.limits = []

    def stream(self, request, on_chunk=None, **limits):
        self.requests.append(request)
        self.limits.append(limits)
        return Stream.from_chunks(self.chunks(len(self.requests)), model="own")


class Nobody:
    def stream(self, request, on_chunk=None, **limits):
        raise AssertionError("nothing is sent")


def fails(error):
    raise error
    yield


def kinds(measured):
    return [each.kind for each in measured.requests]


# What goes wrong


@for_each(
    ("arguments", "said"),
    [
        ({"prompts": []}, "prompts is empty"),
        ({"prompts": 7}, "prompts=7 is not a text or a request"),
        ({"prompts": [7]}, "prompts=7 is not a text or a request"),
        ({"prompts": {"role": "user"}}, "is not a text or a request"),
        ({"prompts": [Message.user("Hi")]}, "Messages go into a ChatRequest"),
        ({"models": []}, "models is empty"),
        ({"models": [""]}, "models=''"),
        ({"models": ["m", None]}, "models=None"),
        ({"models": 7}, "models=7"),
        ({"models": "m", "model": "n"}, "model"),
        ({"concurrency": ()}, "concurrency is empty"),
        ({"concurrency": 0}, "concurrency=0"),
        ({"concurrency": (1, True)}, "concurrency=True"),
        ({"concurrency": "2"}, "concurrency='2'"),
        ({"repeat": 0}, "repeat=0"),
        ({"warm_up": -1}, "warm_up=-1"),
        ({"load": "m"}, "load='m'"),
        ({"load": print}, "load= needs models="),
        ({"on_progress": 7}, "on_progress=7"),
        ({"temperature": "hot"}, "temperature='hot'"),
        ({"max_token": 3}, "max_tokens"),
    ],
)
def test_arguments_that_cannot_work_are_refused_before_anything_is_sent(arguments, said):
    with pytest.raises(InvalidRequestError, match=said):
        measure(Nobody(), **{"prompts": "Hi", **arguments})


@pytest.mark.parametrize("limit", ["timeout", "deadline"])
def test_time_limits_that_cannot_work_are_refused_before_anything_is_sent(limit):
    with pytest.raises(ConfigurationError, match=f"{limit}=-1"):
        measure(Nobody(), "Hi", **{limit: -1})


@for_each("wrong", ["http://localhost:1234", LMStudioProvider, None])
def test_what_is_not_a_provider_is_refused(wrong):
    with pytest.raises(InvalidRequestError, match="not a provider"):
        measure(wrong, "Hi")


def test_a_request_that_fails_is_counted_with_its_error_and_the_others_go_on():
    own = Own(lambda number: fails(OSError("broken")) if number == 2 else WORDS)
    measured = measure(own, "Hi", repeat=4, warm_up=0)
    (row,) = measured.rows
    assert (row.completed, row.errors) == (3, {"OSError": 1})
    assert [str(each.error) for each in measured.requests] == ["None", "broken", "None", "None"]
    assert not measured.interrupted


@for_each("error", [SystemExit(3), GeneratorExit(), KeyboardInterrupt(), ValueError("x")])
def test_a_provider_that_raises_anything_does_not_stop_the_rest(error):
    class Raising:
        def stream(self, request, on_chunk=None, **limits):
            raise error

    measured = measure(Raising(), "Hi", warm_up=0, concurrency=2)
    assert measured.rows[0].errors == {type(error).__name__: 6}


def test_a_server_that_is_down_is_an_error_of_each_request(closed_port):
    with LMStudioProvider(f"127.0.0.1:{closed_port}", refresh=False) as lm:
        measured = measure(lm, "Hi", models="m", repeat=2)
    (row,) = measured.rows
    assert (row.completed, row.errors) == (0, {"ServerUnavailableError": 2})
    unknown = (row.prompt_tokens, row.time_to_first_token_s, row.tokens_per_second, row.total_tokens_per_second)
    assert unknown == (None, None, None, None)
    assert (row.model, row.duration_s, row.model_load_time_s) == ("m", None, None)
    assert "\n3 failed with ServerUnavailableError: " in measured.table()


def test_a_model_that_does_not_exist_leaves_the_others_measured():
    with SimulatedOllama() as server, OllamaProvider(server.url) as ollama:
        measured = measure(ollama, "Hi", models=["missing", "simulated-model"], warm_up=0, repeat=1)
    assert [(row.model, row.completed, row.errors) for row in measured.rows] == [
        ("missing", 0, {"ModelNotFoundError": 1}),
        ("simulated-model", 1, {}),
    ]


def test_a_load_that_fails_is_counted_and_its_model_is_measured_all_the_same():
    def load(model):
        raise ValueError("no room")

    measured = measure(Own(lambda number: WORDS), "Hi", models="m", load=load, repeat=1)
    assert kinds(measured) == ["load", "warm-up", "measured"]
    assert str(measured.requests[0].error) == "no room"
    assert measured.rows[0].errors == {}


def test_what_on_progress_raises_reaches_the_caller_and_closes_the_streams():
    closed = threading.Event()
    reading = threading.Event()

    def chunks(number):
        try:
            yield Chunk("one")
            if number == 2:
                reading.set()
                while True:
                    yield Chunk("more")
            reading.wait(10)
        finally:
            if number == 2:
                closed.set()

    def on_progress(timing):
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        measure(Own(chunks), "Hi", concurrency=2, warm_up=0, on_progress=on_progress)
    assert closed.wait(10)


@pytest.mark.slow
def test_requests_for_which_the_system_has_no_thread_are_counted_as_failed():
    code = """
import threading
from lmstudio_provider import measure
class Nobody:
    def stream(self, request, on_chunk=None, **limits):
        raise AssertionError
threading.stack_size(1 << 46)
try:
    threading.Thread(target=print).start()
except RuntimeError:
    print(measure(Nobody(), "Hi", warm_up=0, repeat=2, concurrency=4).table())
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    if not ended.stdout.strip():
        pytest.skip("this system starts the thread all the same")
    assert (ended.stderr, ended.returncode) == ("", 0)
    said = "the system allows no more threads, so 4 requests cannot be sent at once. Use a smaller concurrency"
    assert ended.stdout.splitlines()[-1] == f"8 failed with ConfigurationError: {said}"


def test_ctrl_c_while_a_thread_starts_is_not_taken_for_a_lack_of_threads(monkeypatch):
    def start(thread):
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("release unlocked lock")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert measure(Nobody(), "Hi", warm_up=0).interrupted


def test_errors_of_one_class_take_one_line_of_the_table():
    def chunks(number):
        raise ValueError(f"number {number}")

    measured = measure(Own(chunks), "Hi", warm_up=0, repeat=5)
    assert measured.table().splitlines()[2:] == ["5 failed with ValueError: number 1"]


def test_an_error_that_cannot_be_copied_is_written_as_json():
    class TwoArguments(Exception):
        def __init__(self, one, two):
            super().__init__(f"{one} and {two}")

    def chunks(number):
        raise TwoArguments(1, 2)

    read = json.loads(measure(Own(chunks), "Hi", warm_up=0, repeat=1).to_json())
    assert read["requests"][0]["error"] == "TwoArguments: 1 and 2"


# Ctrl-C


def test_ctrl_c_keeps_what_was_measured_and_closes_the_streams():
    closed = threading.Event()

    def chunks(number):
        try:
            yield Chunk("one ")
            while number == 3:
                yield Chunk("more ")
            yield Chunk("two", usage=USAGE)
        finally:
            if number == 3:
                closed.set()

    def on_progress(timing):
        if timing.number == 2:
            raise KeyboardInterrupt

    own = Own(chunks)
    measured = measure(own, ["Hi", "Hello"], warm_up=0, on_progress=on_progress)
    assert (measured.interrupted, measured.planned, len(measured.requests)) == (True, 6, 2)
    (row,) = measured.rows
    assert (row.completed, row.errors) == (2, {})
    assert closed.wait(10) or len(own.requests) == 2
    assert measured.table().endswith("\nInterrupted: 2 of 6 requests ended.")
    assert json.loads(measured.to_json())["interrupted"] is True


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this system sends no signal to one thread")
def test_a_real_ctrl_c_while_a_server_is_silent_closes_the_connection(raw_server, provider_of):
    gone = threading.Event()
    me = threading.get_ident()

    def silent(connection):
        signal.pthread_kill(me, signal.SIGINT)
        while connection.recv(65536):
            continue
        gone.set()

    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    begin = head + b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        measured = measure(provider_of(raw_server(begin, silent)), "Hi", models="m", warm_up=0)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (measured.interrupted, measured.requests, measured.rows) == (True, (), ())
    assert gone.wait(10)


@pytest.mark.slow
def test_a_measurement_that_ctrl_c_stopped_lets_the_program_end(silent_server):
    code = f"""
import threading, _thread
from lmstudio_provider import LMStudioProvider, measure
lm = LMStudioProvider({silent_server.url!r}, refresh=False)
threading.Timer(0.3, _thread.interrupt_main).start()
print(measure(lm, "Hi", models="m", concurrency=3, timeout=None).interrupted)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("True\n", "", 0)


# What is not known


def test_without_usage_there_are_no_token_counts_and_no_speeds():
    measured = measure(Own(lambda number: [Chunk("one "), Chunk("two")]), "Hi", repeat=2)
    (row,) = measured.rows
    assert (row.prompt_tokens, row.tokens_per_second, row.total_tokens_per_second) == (None, None, None)
    assert row.time_to_first_token_s.p50 > 0
    assert {each.usage for each in measured.requests} == {None}


def test_one_reply_without_usage_leaves_the_speed_of_all_unknown():
    own = Own(lambda number: WORDS if number == 1 else [Chunk("one "), Chunk("two")])
    row = measure(own, "Hi", warm_up=0, repeat=2).rows[0]
    assert row.total_tokens_per_second is None
    assert row.tokens_per_second is not None


def test_a_reply_in_one_piece_has_no_speed_of_its_own():
    row = measure(Own(lambda number: [Chunk("all of it", usage=USAGE)]), "Hi", warm_up=0).rows[0]
    assert row.tokens_per_second is None
    assert row.total_tokens_per_second > 0


def test_a_reply_of_one_token_has_no_speed_of_its_own():
    chunks = [Chunk("o"), Chunk("ne", usage=Usage(5, 1, 6))]
    assert measure(Own(lambda number: chunks), "Hi", warm_up=0).rows[0].tokens_per_second is None


def test_a_reply_without_text_has_no_first_token():
    row = measure(Own(lambda number: [Chunk(done=True, finish_reason="stop")]), "Hi", warm_up=0).rows[0]
    assert (row.completed, row.time_to_first_token_s) == (3, None)


def test_lm_studio_does_not_report_a_load_time_with_a_reply(simulator):
    with LMStudioProvider(simulator.url) as lm:
        assert measure(lm, "Hi", repeat=1).rows[0].model_load_time_s is None


# What is measured


def test_every_model_prompt_and_concurrency_has_a_row():
    own = Own(lambda number: WORDS)
    measured = measure(own, ["Hi", "Hello"], models=["a", "b"], concurrency=(1, 3), repeat=2, warm_up=2)
    cases = [(row.model, row.prompt, row.concurrency, row.completed) for row in measured.rows]
    assert cases == [(m, p, c, 2 * c) for m in "ab" for p in (0, 1) for c in (1, 3)]
    assert measured.planned == len(measured.requests) == len(own.requests) == 2 * (2 + 2 * (2 + 6))
    assert kinds(measured)[:3] == ["warm-up", "warm-up", "measured"]
    assert [each.number for each in measured.requests] == list(range(1, measured.planned + 1))


def test_that_many_requests_are_under_way_at_once():
    barrier = threading.Barrier(3)

    def chunks(number):
        yield Chunk("one")
        barrier.wait(10)

    assert measure(Own(chunks), "Hi", concurrency=3, warm_up=0, repeat=2).rows[0].errors == {}


def test_each_request_has_the_options_and_the_limits():
    own = Own(lambda number: WORDS)
    prompts = ["Hi", CompletionRequest("Hello", max_tokens=9, seed=4)]
    measure(own, prompts, models="m", repeat=1, warm_up=0, temperature=0, timeout=5, deadline=9)
    assert own.requests == [
        CompletionRequest("Hi", model="m", max_tokens=128, temperature=0),
        CompletionRequest("Hello", model="m", max_tokens=128, temperature=0, seed=4),
    ]
    assert own.limits == [{"timeout": 5, "deadline": 9}] * 2


@pytest.mark.parametrize(
    "prompt", [TextRequest("Once"), ChatRequest([Message.user("Hi")]), CompletionRequest("Hi", stop="x")]
)
def test_a_prompt_can_be_a_request_of_any_kind(simulator, prompt):
    with LMStudioProvider(simulator.url) as lm:
        (row,) = measure(lm, prompt, models="simulated-model", repeat=1).rows
    assert (row.completed, row.prompt_tokens) == (1, 1)


def test_an_iterator_of_chunks_is_a_stream_too():
    class Generates:
        def stream(self, request, on_chunk=None, **limits):
            yield from WORDS

    row = measure(Generates(), "Hi", repeat=2).rows[0]
    assert (row.completed, row.prompt_tokens, row.model) == (2, 5, None)


def test_reasoning_is_a_first_token_too():
    row = measure(Own(lambda number: [Chunk(reasoning="hm"), *WORDS]), "Hi").rows[0]
    assert row.time_to_first_token_s is not None


def test_lm_studio_is_measured_with_its_own_counts():
    with SimulatedLMStudio(replies=["one two three four"]) as server, LMStudioProvider(server.url) as lm:
        measured = measure(lm, ["Hi", "Say it again"], concurrency=2)
        assert {each["body"]["max_tokens"] for each in server.requests if each["body"]} == {128}
    first, second = measured.rows
    assert (first.model, first.prompt_tokens, second.prompt_tokens) == ("simulated-model", 1, 3)
    assert {each.usage.completion_tokens for each in measured.requests} == {4}
    assert first.tokens_per_second.p50 > 0
    assert first.total_tokens_per_second > 0
    assert first.time_to_first_token_s.p50 <= first.time_to_first_token_s.p95 <= first.duration_s.p95


def test_a_load_by_lm_studio_has_the_time_that_it_reports():
    with SimulatedLMStudio(["small", "large"], loaded=["small"]) as server, LMStudioProvider(server.url) as lm:
        measured = measure(lm, "Hi", models=["large", "small"], load=lm.native.ensure_loaded, repeat=1)
    load, *_ = measured.requests
    large, small = measured.rows
    assert (load.kind, load.model, load.error) == ("load", "large", None)
    assert large.model_load_time_s == load.model_load_time_s
    assert large.model_load_time_s is not None
    assert small.model_load_time_s is None


def test_ollama_reports_the_time_to_load_with_its_first_reply():
    with SimulatedOllama() as server, OllamaProvider(server.url) as ollama:
        measured = measure(ollama, "Hi", repeat=1)
    assert measured.rows[0].model_load_time_s == 0.001 == measured.requests[0].model_load_time_s


def test_failover_is_measured_as_one_provider(simulator, closed_port):
    down = LMStudioProvider(f"127.0.0.1:{closed_port}", refresh=False)
    with LMStudioProvider(simulator.url) as up, down:
        row = measure(Failover([down, up]), "Hi", models="simulated-model", concurrency=2).rows[0]
    assert (row.completed, row.errors) == (6, {})


@for_each(
    ("values", "percentiles"),
    [
        ([], None),
        ([None, None], None),
        ([3.0], Percentiles(3.0, 3.0)),
        ([2.0, None, 1.0], Percentiles(1.0, 2.0)),
        ([float(each) for each in range(100, 0, -1)], Percentiles(50.0, 95.0)),
        ([float(each) for each in range(1, 21)], Percentiles(10.0, 19.0)),
    ],
)
def test_percentiles_are_values_that_were_measured(values, percentiles):
    assert Percentiles.of(values) == percentiles


def test_the_results_cannot_be_changed():
    measured = measure(Own(lambda number: WORDS), "Hi", repeat=1)
    with pytest.raises(FrozenInstanceError):
        measured.planned = 0


# Table, JSON and picture


@pytest.fixture
def measured():
    row = MeasuredRow("m", 0, 12, 4, 8, {"OSError": 1}, Percentiles(0.25, 1.5), None, 41.256, Percentiles(2, 3), None)
    return Measurement((row,), (RequestTiming("measured", "m", 0, 4, 0.0, 2.0, error=OSError("broken")),), 1)


def test_the_table_is_aligned_and_shows_what_is_unknown_as_a_dash(measured):
    heading, line, failed = measured.table().splitlines()
    assert line.split() == ["m", "0", "12", "4", "8", "1", "0.25", "1.5", "-", "-", "41.26", "-"]
    assert len(heading) == len(line)
    assert failed == "1 failed with OSError: broken"


def test_the_json_has_everything_and_the_class_of_each_error(measured):
    read = json.loads(measured.to_json())
    assert (read["interrupted"], read["planned"]) == (False, 1)
    assert read["rows"][0]["time_to_first_token_s"] == {"p50": 0.25, "p95": 1.5}
    assert read["rows"][0]["errors"] == {"OSError": 1}
    assert read["requests"][0]["error"] == "OSError: broken"


def test_the_table_of_nothing_is_its_heading():
    assert Measurement((), (), 0).table().startswith("model  prompt")


def test_a_picture_of_another_kind_is_refused(measured, tmp_path):
    with pytest.raises(InvalidRequestError, match=r"'\.docx' is not one of '\.png', '\.svg', '\.pdf'"):
        measured.plot(tmp_path / "speed.docx")


def test_a_picture_without_matplotlib_says_what_to_install():
    code = """
import sys
sys.modules["matplotlib"] = None
from lmstudio_provider import ConfigurationError, Measurement
try:
    Measurement((), (), 0).plot("speed.png")
except ConfigurationError as error:
    print(error)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "pip install 'lmstudio-provider[plot]'" in ended.stdout


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_picture_is_drawn_also_of_what_failed_and_of_nothing(measured, tmp_path, suffix):
    pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")
    failed = Measurement((measure(Own(lambda number: fails(OSError())), "Hi").rows), (), 0)
    for number, each in enumerate((measured, failed, Measurement((), (), 0))):
        path = tmp_path / f"{number}{suffix}"
        each.plot(path)
        begin = path.read_bytes()
        assert begin.startswith(b"\x89PNG") if suffix == ".png" else ElementTree.fromstring(begin).tag.endswith("svg")
