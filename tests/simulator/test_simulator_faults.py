"""The faults that a test can script: a server that refuses, hangs, breaks off, fails, or answers something else."""

import contextlib
import http.client
import json
import socket
import threading
from urllib.parse import urlsplit

import pytest
from plain_http import CHAT, HI, ask, chat_reply, post
from tables import for_each

from lmstudio_provider.simulator import Fault, SimulatedLMStudio, SimulatedOllama

MODEL = "m:latest"
MESSAGES = {"model": MODEL, "messages": HI}
# Each endpoint that generates, with a request.
GENERATING = [
    (SimulatedLMStudio, CHAT, MESSAGES),
    (SimulatedLMStudio, "/v1/completions", {"model": MODEL, "prompt": "Hi"}),
    (SimulatedLMStudio, "/v1/responses", {"model": MODEL, "input": "Hi"}),
    (SimulatedLMStudio, "/v1/messages", {**MESSAGES, "max_tokens": 99}),
    (SimulatedLMStudio, "/api/v1/chat", {"model": MODEL, "input": "Hi"}),
    (SimulatedOllama, CHAT, MESSAGES),
    (SimulatedOllama, "/v1/completions", {"model": MODEL, "prompt": "Hi"}),
    (SimulatedOllama, "/v1/responses", {"model": MODEL, "input": "Hi"}),
    (SimulatedOllama, "/v1/messages", {**MESSAGES, "max_tokens": 99}),
    (SimulatedOllama, "/api/chat", MESSAGES),
    (SimulatedOllama, "/api/generate", {"model": MODEL, "prompt": "Hi"}),
]
EACH = for_each(("kind", "path", "body"), GENERATING, ids=[f"{kind.__name__}{path}" for kind, path, _ in GENERATING])
BOTH = pytest.mark.parametrize("kind", [SimulatedLMStudio, SimulatedOllama])
WORDS = "one two three four"


@contextlib.contextmanager
def sent(server, path, body):
    """Send a request, and yield its connection."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body))
        yield connection


def cut_short(server, path, body):
    """Return the bytes of a reply that breaks off."""
    with sent(server, path, body) as connection, pytest.raises(http.client.IncompleteRead) as caught:
        connection.getresponse().read()
    return caught.value.partial


def silent(connection):
    """Return True if the connection is open and nothing comes."""
    connection.sock.settimeout(0.05)
    with pytest.raises(socket.timeout):  # before Python 3.10, it is not TimeoutError
        connection.sock.recv(1)
    return True


# Refused when they are written


@for_each(
    ("arguments", "says"),
    [
        ({}, "Fault() needs one of kind, cut_after, stall_after, status; write Fault('stall') or Fault(status=503)"),
        ({"kind": "stall", "status": 503}, "Fault(kind='stall', status=503) has more than one of kind, cut_after, "),
        ({"kind": "explode"}, "kind='explode' is not a fault; use 'refuse', 'stall' or 'garbage'"),
        ({"cut_after": -1}, "cut_after=-1 is not valid; use a whole number of pieces, 0 or more"),
        ({"cut_after": 1.5}, "cut_after=1.5 is not valid"),
        ({"stall_after": True}, "stall_after=True is not valid"),
        ({"status": 99}, "status=99 is not valid; use one of 200 to 599"),
        ({"status": "503"}, "status='503' is not valid"),
        ({"cut_after": 1, "body": "x"}, "headers and body go with status"),
        ({"kind": "stall", "headers": {"Retry-After": 1}}, "headers and body go with status"),
        ({"status": 503, "headers": "Retry-After: 1"}, "headers='Retry-After: 1' is not valid; use a dict of names"),
        ({"status": 503, "headers": {"X": "a\r\nb"}}, "headers={'X': 'a\\r\\nb'} is not valid"),
        (
            {"status": 503, "headers": {"content-length": 5}},
            "headers={'content-length': 5} is not valid; use a dict of",
        ),
        ({"status": 503, "body": {"error": "x"}}, "body={'error': 'x'} is not valid; use a text or bytes"),
    ],
)
def test_an_impossible_fault_says_what_to_write(arguments, says):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        Fault(**arguments)
    assert str(caught.value).startswith(says)


@BOTH
def test_a_fault_that_counts_pieces_is_not_for_all_requests(kind):
    with pytest.raises(ValueError, match=r"cut_after and stall_after .* replies=Fault\(cut_after=5\)"):
        kind(fault=Fault(cut_after=5))


@BOTH
@pytest.mark.parametrize("fault", ["stall", 503, {"status": 503}])
def test_a_fault_of_another_type_is_refused(kind, fault):
    with kind() as server, pytest.raises(TypeError, match="use a Fault, a function that takes a request, or None"):
        server.fault = fault


@BOTH
def test_the_fault_of_a_reply_has_to_be_one(kind):
    with pytest.raises(
        TypeError, match=r"^replies\[1\]\[\"fault\"\] is 'stall'; use a Fault, such as Fault\('stall'\)"
    ):
        kind(replies=["one", {"fault": "stall"}])


# A reply that breaks off


@EACH
@for_each("stream", [True, False])
def test_a_reply_is_cut_after_as_many_pieces(kind, path, body, stream):
    with kind(MODEL, {"content": WORDS, "fault": Fault(cut_after=2)}) as server:
        came = cut_short(server, path, {**body, "stream": stream})
    assert b"one" in came
    assert b" two" in came
    assert b"three" not in came


@for_each(("kind", "path", "body"), [each for each in GENERATING if each[1] != "/v1/completions"])
def test_thoughts_are_counted_as_pieces_too(kind, path, body):
    reply = {"reasoning_content": "first second third", "content": WORDS, "fault": Fault(cut_after=2)}
    with kind(MODEL, reply) as server:
        came = cut_short(server, path, {**body, "stream": True})
    assert b"first" in came
    assert b" second" in came
    assert b"third" not in came


@EACH
def test_a_reply_with_fewer_pieces_is_cut_before_its_end(kind, path, body):
    with kind(MODEL, {"content": WORDS, "fault": Fault(cut_after=99)}) as server:
        came = cut_short(server, path, {**body, "stream": True})
    assert b" four" in came
    assert b'"finish_reason":"stop"' not in came.replace(b" ", b"")
    for end in (b"[DONE]", b'"done":true', b"response.completed", b"message_stop", b"chat.end"):
        assert end not in came


@EACH
def test_nothing_is_written_of_a_reply_that_is_cut_at_once(kind, path, body):
    with kind(MODEL, {"content": WORDS, "fault": Fault(cut_after=0)}) as server:
        assert b"one" not in cut_short(server, path, {**body, "stream": True})


def test_the_limit_of_the_request_still_counts():
    with SimulatedLMStudio(replies={"content": WORDS, "fault": Fault(cut_after=3)}) as server:
        came = cut_short(server, CHAT, {"messages": HI, "max_tokens": 1, "stream": True})
    assert b"one" in came
    assert b"two" not in came


def test_a_fault_without_a_text_has_that_of_the_default_reply():
    with SimulatedLMStudio(replies=Fault(cut_after=3)) as server:
        came = cut_short(server, CHAT, {"messages": HI, "stream": True})
    assert came.count(b'"content"') == 3
    assert b"This" in came


def test_a_cut_reply_is_followed_by_a_whole_one():
    with SimulatedLMStudio(replies=[Fault(cut_after=1), "Hello"]) as server:
        cut_short(server, CHAT, {"messages": HI})
        assert chat_reply(server)["choices"][0]["message"]["content"] == "Hello"


# A server that hangs


@EACH
def test_a_reply_stalls_after_as_many_pieces_until_the_client_leaves(kind, path, body):
    with kind(MODEL, [{"content": WORDS, "fault": Fault(stall_after=1)}, "Hello"]) as server:
        with sent(server, path, {**body, "stream": True}) as connection:
            reply = connection.getresponse()
            came = b""
            while b"one" not in came:
                came += reply.read1(65536)
            assert silent(connection)
            assert b"two" not in came
        assert ask(server, "POST", path, body)[0] == 200


@EACH
def test_a_generation_stalls_before_its_first_byte(kind, path, body):
    with kind(MODEL, [Fault("stall"), "Hello"]) as server:
        with sent(server, path, body) as connection:
            assert silent(connection)
        assert ask(server, "POST", path, body)[0] == 200


@BOTH
def test_a_stand_in_that_ends_lets_go_of_clients_that_wait(kind):
    with contextlib.ExitStack() as stack:
        with kind(MODEL, Fault("stall")) as server:
            connection = stack.enter_context(sent(server, CHAT, MESSAGES))
            assert silent(connection)
        connection.sock.settimeout(10)
        assert connection.sock.recv(1) == b""
    assert not [each for each in threading.enumerate() if "process_request_thread" in each.name]


@BOTH
def test_all_requests_can_hang(kind):
    with kind(fault=Fault("stall")) as server:
        with sent(server, "/v1/models", None) as connection:
            assert silent(connection)
        server.fault = None
        assert ask(server, "GET", "/v1/models")[0] == 200


# Error statuses


@EACH
def test_the_third_request_fails_and_the_next_works(kind, path, body):
    busy = Fault(status=503, headers={"Retry-After": 1})
    with kind(MODEL, ["one", "two", busy, "four"]) as server:
        replies = [ask(server, "POST", path, body) for _ in range(4)]
    assert [status for status, _, _ in replies] == [200, 200, 503, 200]
    assert replies[2][1]["Retry-After"] == "1"
    assert json.loads(replies[2][2]) == {"error": "simulated fault: 503 Service Unavailable"}
    assert b"four" in replies[3][2]


def test_a_status_has_the_body_and_the_headers_that_were_given():
    fault = Fault(status=429, body='{"error": {"message": "slow down"}}', headers={"content-type": "application/x"})
    with SimulatedLMStudio(replies=fault) as server:
        status, headers, data = ask(server, "POST", CHAT, {"messages": HI})
    assert (status, headers["content-type"], "Content-Type" in headers) == (429, "application/x", False)
    assert data == b'{"error": {"message": "slow down"}}'


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_leaves_the_connection_usable(status):
    with SimulatedLMStudio(replies=[Fault(status=status), "Hello"]) as server:
        with sent(server, CHAT, {"messages": HI}) as connection:
            reply = connection.getresponse()
            assert (reply.status, reply.read()) == (status, b"")
            connection.request("POST", CHAT, json.dumps({"messages": HI}))
            assert b"Hello" in connection.getresponse().read()


def test_a_status_that_has_no_name_is_sent():
    with SimulatedLMStudio(replies=Fault(status=599)) as server:
        assert post(server, CHAT, {"messages": HI}) == (599, {"error": "simulated fault: 599"})


# Answers that are not the API's


@EACH
@for_each("stream", [True, False])
def test_a_page_comes_instead_of_the_answer(kind, path, body, stream):
    with kind(MODEL, Fault("garbage")) as server:
        status, headers, data = ask(server, "POST", path, {**body, "stream": stream})
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert data.startswith(b"<!DOCTYPE html>")


def test_any_bytes_can_come_instead():
    with SimulatedLMStudio(replies=Fault(status=200, body=b'{"choices": [\xff')) as server:
        assert ask(server, "POST", CHAT, {"messages": HI})[2] == b'{"choices": [\xff'


# A server that is not there


@BOTH
def test_a_server_refuses_connections_until_the_fault_is_over(kind):
    with kind() as server:
        url = server.url
        assert ask(server, "GET", "/v1/models")[0] == 200
        for _ in range(2):
            server.fault = Fault("refuse")
            assert server.url == url
            with pytest.raises(ConnectionRefusedError):
                ask(server, "GET", "/v1/models")
            server.fault = None
            assert ask(server, "GET", "/v1/models")[0] == 200


def test_a_server_that_refuses_from_the_start_has_a_port_that_it_keeps():
    with SimulatedLMStudio(fault=Fault("refuse")) as server:
        with pytest.raises(ConnectionRefusedError):
            ask(server, "GET", "/v1/models")
        port = urlsplit(server.url).port
        server.fault = None
        assert ask(server, "GET", "/v1/models")[0] == 200
    assert server.port == 0
    with SimulatedLMStudio(port=port) as again:  # and gives back
        assert ask(again, "GET", "/v1/models")[0] == 200


def test_a_server_that_begins_to_refuse_closes_the_connections_that_are_open():
    with SimulatedLMStudio(replies=Fault("stall")) as server:
        with sent(server, CHAT, {"messages": HI}) as connection:
            assert silent(connection)
            server.fault = Fault("refuse")
            connection.sock.settimeout(10)
            assert connection.sock.recv(1) == b""


@pytest.mark.parametrize("slow", [{"first_byte_s": 3600}, {"delay_s": 3600}])
def test_a_server_that_begins_to_refuse_does_not_wait_for_delays(slow):
    with SimulatedLMStudio(**slow) as server:
        with sent(server, CHAT, {"messages": HI, "stream": True}) as connection:
            assert silent(connection)
            server.fault = Fault("refuse")
            assert not [each for each in threading.enumerate() if "process_request_thread" in each.name]
        server.fault, server.first_byte_s, server.delay_s = None, 0, 0
        chat_reply(server)


def test_a_stand_in_can_end_while_it_refuses_and_begin_again():
    server = SimulatedLMStudio()
    for fault in (Fault("refuse"), None):
        with server:
            server.fault = fault
    with server:
        assert ask(server, "GET", "/v1/models")[0] == 200


@EACH
def test_a_generation_that_is_refused_is_hung_up_on_without_an_answer(kind, path, body):
    with kind(MODEL, [Fault("refuse"), "Hello"]) as server:
        with pytest.raises(http.client.RemoteDisconnected):
            ask(server, "POST", path, body)
        assert ask(server, "POST", path, body)[0] == 200
        assert len(server.requests) == 2


def test_a_function_given_as_replies_can_end_the_server():
    def reply(body):
        server.fault = Fault("refuse")
        return "Hello"

    with SimulatedLMStudio(replies=reply) as server:
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            ask(server, "POST", CHAT, {"messages": HI})
        with pytest.raises(ConnectionRefusedError):
            ask(server, "POST", CHAT, {"messages": HI})


# Some of the requests


@BOTH
def test_a_function_chooses_the_requests_that_fail(kind):
    def fault(request):
        return Fault(status=500) if request["path"] == "/v1/embeddings" else None

    models = ["simulated-model", "text-embedding-simulated"]
    with kind(models, fault=fault) as server:
        asked = {"model": models[1], "input": ["Hi"]}
        assert ask(server, "POST", "/v1/embeddings", asked)[0] == 500
        assert ask(server, "GET", "/v1/models")[0] == 200
        server.fault = None
        assert ask(server, "POST", "/v1/embeddings", asked)[0] == 200


def test_a_function_can_count_the_requests():
    with SimulatedLMStudio() as server:
        server.fault = lambda request: Fault(status=500) if len(server.requests) == 2 else None
        assert [ask(server, "GET", "/v1/models")[0] for _ in range(3)] == [200, 500, 200]


@for_each(
    ("fault", "says"),
    [
        (lambda request: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda request: "stall", "TypeError: the result of the function given as fault is 'stall'; use a Fault"),
        (lambda request: Fault(cut_after=1), "ValueError: cut_after and stall_after "),
    ],
)
def test_an_exception_in_a_function_given_as_fault_is_a_server_error(fault, says):
    with SimulatedLMStudio(fault=fault) as server:
        status, value = post(server, CHAT, {"messages": HI})
    assert status == 500
    assert value["error"].startswith(f"the simulator could not reply: {says}")


def test_requests_that_fail_are_recorded():
    with SimulatedLMStudio(fault=Fault(status=500)) as server:
        ask(server, "POST", CHAT, {"messages": HI})
        assert server.requests[0]["body"] == {"messages": HI}


# Delays


@EACH
def test_a_reply_begins_after_its_delay(kind, path, body):
    with kind(MODEL, [{"content": "Hello", "first_byte_s": 3600}, {"content": "Hi", "first_byte_s": 0.01}]) as server:
        with sent(server, path, body) as connection:
            assert silent(connection)
        assert ask(server, "POST", path, body)[0] == 200
    assert not [each for each in threading.enumerate() if "process_request_thread" in each.name]


@BOTH
def test_all_replies_can_begin_after_a_delay_and_other_answers_do_not(kind):
    with kind(MODEL, first_byte_s=3600) as server:
        assert ask(server, "GET", "/v1/models")[0] == 200
        with sent(server, CHAT, MESSAGES) as connection:
            assert silent(connection)
        server.first_byte_s = 0
        chat_reply(server, model=MODEL)


@for_each("seconds", [-1, "1", True, float("nan"), float("inf")])
def test_an_impossible_delay_is_refused(seconds):
    with pytest.raises(TypeError, match=r'^replies\["first_byte_s"\] is .*; use seconds, 0 or more'):
        SimulatedLMStudio(replies={"first_byte_s": seconds})
    for name in ("delay_s", "first_byte_s"):
        with pytest.raises(ValueError, match=f"^{name}=.* is not valid; use seconds, 0 or more"):
            SimulatedLMStudio(**{name: seconds})


@EACH
def test_a_stream_has_the_pace_that_is_set(kind, path, body):
    with kind(MODEL, WORDS, delay_s=3600) as server:
        with sent(server, path, {**body, "stream": True}) as connection:
            assert silent(connection)
        server.delay_s = 0.001
        data = ask(server, "POST", path, {**body, "stream": True})[2]
        assert b" four" in data
