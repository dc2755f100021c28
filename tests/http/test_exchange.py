"""The limits and the progress of one call, without a server."""

import http.client
import os
import socket
import time

import pytest

from lmstudio_provider import RequestTimeoutError, Timeouts
from lmstudio_provider._http.exchange import CancelledCall, Deadline, Exchange

NO_LIMIT = Timeouts(None, None, None)


def exchange(timeouts=NO_LIMIT, deadline=None, **arguments):
    return Exchange(timeouts, None if deadline is None else Deadline(deadline, time.monotonic()), **arguments)


@pytest.fixture
def begun():
    """A call whose request went out over a kept-alive connection."""
    call = exchange(Timeouts(1, 2, 3))
    call.begin(reused=True)
    call.mark_sent()
    return call


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


# Limits


def test_without_a_limit_a_call_may_wait_for_ever_although_it_has_waited_before():
    assert exchange(waited_s=5.0).allowed("connect") is None


@pytest.mark.parametrize("arguments", [{}, {"timeouts": Timeouts(60, None, None)}, {"deadline": 60}])
def test_a_call_that_opens_a_connection_looks_often_whether_it_is_still_wanted(arguments):
    assert 0 < exchange(**arguments).connect_slice(time.monotonic()) <= 0.1


def test_a_call_that_opens_a_connection_looks_at_the_end_of_its_limit():
    assert exchange(Timeouts(0.001, None, None)).connect_slice(time.monotonic() + 60) <= 0.001


def test_the_limit_to_connect_holds_from_its_beginning():
    with pytest.raises(RequestTimeoutError) as caught:
        exchange(Timeouts(5, None, None)).connect_slice(time.monotonic() - 5)
    assert (caught.value.limit, caught.value.sent) == ("connect", False)
    assert 5 <= caught.value.waited_s < 6


def test_the_first_byte_of_the_body_may_take_as_long_as_that_of_the_headers(begun):
    begun.expect_more()
    assert begun.allowed() == 3
    begun.expect_body()
    assert begun.allowed() == 2


def test_after_an_interim_reply_the_limit_is_that_of_the_first_byte(begun):
    begun.expect_more()
    begun.expect_reply()
    assert begun.allowed() == 2


@pytest.mark.parametrize(("idle", "left"), [(None, 2), (0.5, 0.5), (3, 2)])
def test_the_limit_between_bytes_can_become_shorter_and_never_longer(idle, left):
    call = exchange(Timeouts(None, None, idle))
    call.limit_idle(2)
    assert call.allowed("idle") == left


def test_a_model_that_loads_is_the_excuse_of_a_first_byte_alone(begun):
    assert "is being loaded" in begun.timeout(2).hint
    busy = begun.timeout(2, "the server did not take the request")
    assert busy.message.startswith("the server did not take the request for 2.0 s")
    assert "is being loaded" not in busy.hint
    begun.expect_more()
    assert "is being loaded" not in begun.timeout(3).hint


# Before another attempt


def test_a_cancel_ends_the_wait_before_another_attempt():
    call = exchange()
    call.cancel()
    with pytest.raises(CancelledCall):
        call.pause(60)


def test_the_deadline_ends_the_wait_before_another_attempt():
    with pytest.raises(RequestTimeoutError) as caught:
        exchange(deadline=0.001).pause(60)
    assert caught.value.limit == "deadline"


@pytest.mark.parametrize(("deadline", "enough"), [(None, True), (60, True), (1, False)])
def test_a_wait_that_would_pass_the_deadline_is_known(deadline, enough):
    assert exchange(deadline=deadline).has_time_for(5) is enough


# Kept-alive connections


def test_a_connection_that_was_closed_while_it_was_idle_has_not_carried_the_call(begun):
    assert begun.died_idle()
    begun.start_afresh()
    assert (begun.sent, begun.fresh) == (False, True)


def test_an_attempt_that_the_server_never_saw_does_not_undo_one_that_it_saw(begun):
    begun.begin(reused=True)
    begun.mark_sent()
    begun.start_afresh()
    assert begun.sent


def test_only_a_connection_that_was_kept_alive_can_have_been_closed_while_it_was_idle(begun):
    begun.begin()
    begun.mark_sent()
    assert not begun.died_idle()


def test_a_connection_is_replaced_once(begun):
    begun.start_afresh()
    begun.begin(reused=True)
    begun.mark_sent()
    assert not begun.died_idle()


def test_a_server_that_began_to_answer_saw_the_call(begun, pair):
    ours, theirs = pair
    theirs.sendall(b"H")
    begun.receive(ours, bytearray(8))
    assert not begun.died_idle()


def test_another_attempt_forgets_the_bytes_of_the_one_before(begun, pair):
    ours, theirs = pair
    theirs.sendall(b"\x15\x03")
    begun.receive(ours, bytearray(8))
    assert (begun.received, begun.first) == (2, b"\x15\x03")
    begun.begin()
    assert (begun.received, begun.first, begun.sent_at) == (0, b"", None)


def test_the_first_bytes_of_a_reply_are_kept_and_later_ones_are_counted(begun, pair):
    ours, theirs = pair
    theirs.sendall(b"HTTP/1.1 200 OK")
    for _ in range(2):
        begun.receive(ours, bytearray(9))
    assert (begun.first, begun.received) == (b"HTTP/1.1", 15)


def test_a_server_that_hangs_up_before_the_headers_of_another_attempt_sent_no_reply(begun, pair):
    ours, theirs = pair
    begun.expect_body()
    begun.begin()
    theirs.close()
    with pytest.raises(http.client.RemoteDisconnected):
        begun.receive(ours, bytearray(8))


@pytest.mark.parametrize(("proxy", "limit"), [("", 3), ("http://proxy.invalid", 1)])
def test_after_a_byte_the_limit_is_that_between_bytes_unless_a_proxy_sent_it(pair, proxy, limit):
    ours, theirs = pair
    call = exchange(Timeouts(1, 2, 3))
    call.begin(proxy=proxy)
    theirs.sendall(b"H")
    call.receive(ours, bytearray(8))
    assert call.allowed() == limit


def test_a_server_that_does_not_take_the_request_runs_into_the_limit_of_the_first_byte(pair):
    ours, _ = pair
    with pytest.raises(RequestTimeoutError, match="did not take the request") as caught:
        exchange(Timeouts(0.05, 0.05, 0.05)).send(ours, bytes(8_000_000))
    assert caught.value.limit == "first_byte"


# Cancelling


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_cancel_in_a_forked_child_leaves_the_connection_to_the_parent(begun, pair):
    ours, theirs = pair
    begun.send(ours, b"a")
    child = os.fork()
    if child == 0:
        try:
            begun.cancel()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    begun.send(ours, b"b")
    assert theirs.recv(2) == b"ab"
