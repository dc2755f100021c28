import threading

import pytest
from tables import for_each

from lmstudio_provider._core.threads import Event, start
from lmstudio_provider._servers.asking import run_in_daemon_thread


class Unstartable(threading.Thread):
    """A thread of which Python says that it cannot be started, as it does if the system has no more."""

    def start(self):
        raise RuntimeError("can't start new thread")


class Interrupted(threading.Thread):
    """A thread whose start is interrupted inside threading.Event, whose lock is not held just then."""

    def start(self):
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("release unlocked lock")


@for_each("timeout", [0, 0.01, -1])
def test_an_event_that_is_not_set_is_waited_for_no_longer_than_the_timeout(timeout):
    event = Event()
    assert not event.wait(timeout)
    assert not event.is_set()


def test_an_event_may_be_set_twice_and_is_then_not_waited_for():
    event = Event()
    event.set()
    event.set()
    assert event.is_set()
    assert event.wait()
    assert event.wait(0)


def test_all_waiters_go_on_if_an_event_is_set():
    event = Event()
    waiters = [run_in_daemon_thread(event.wait) for _ in range(8)]
    event.set()
    assert all(each.result(60) for each in waiters)


def test_a_waiter_goes_on_even_if_another_took_the_lock_of_the_event_away():
    event = Event()
    waiter = run_in_daemon_thread(event.wait)
    event._is_set = True  # and the lock stays held, as if the setter or a waiter had been interrupted
    assert waiter.result(60)


def test_a_thread_that_cannot_be_started_is_reported():
    assert not start(Unstartable())


def test_a_thread_that_cannot_be_started_while_an_error_is_handled_is_reported():
    try:
        raise KeyError
    except KeyError:
        assert not start(Unstartable())


def test_an_interrupt_while_a_thread_starts_is_raised_as_it_is():
    with pytest.raises(KeyboardInterrupt):
        start(Interrupted())
