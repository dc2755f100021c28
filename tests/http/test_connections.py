"""Connections: how they are opened, kept and shared, and what may come in the middle of all that."""

import gc
import inspect
import os
import queue
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import urllib3
from tables import for_each

import lmstudio_provider
from lmstudio_provider import RequestTimeoutError, ServerError, ServerUnavailableError, Timeouts
from lmstudio_provider._http.connection import _Idle, causes

BODY = b'{"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


def run(code):
    """Run a program in a new interpreter."""
    environment = {**os.environ, "PYTHONPATH": str(Path(lmstudio_provider.__file__).parent.parent)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)


# What may come at any moment


# Modules below the session; Python does not raise an exception of a generator that is being closed.
BELOW = re.compile(r"lmstudio_provider\._http\.|urllib3|queue|threading|http")


def at_each_return(call, do):
    """Make ``call`` again and again, and ``do`` something where its first, second, third ... function returns."""
    number, done = 0, False
    while not done:
        number += 1
        left = number

        def trace(frame, event, argument):
            nonlocal left
            if not BELOW.match(frame.f_globals["__name__"]) or frame.f_code.co_flags & inspect.CO_GENERATOR:
                return None
            if event == "return":
                left -= 1
                if left == 0:
                    sys.settrace(None)
                    do()
            return trace

        sys.settrace(trace)
        try:
            call()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        done = left > 0
    return number


def finished(function):
    """Return the result of ``function``, called in a thread that is abandoned if it hangs."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()), daemon=True)
    thread.start()
    thread.join(30)
    assert results, "it hangs, or has failed"
    return results[0]


def interrupt():
    raise KeyboardInterrupt


# A socket without references is closed, with a warning.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_ctrl_c_at_any_moment_of_a_call_lets_the_next_one_through(raw_server, provider_of):
    lm = provider_of(raw_server(OK, keep_open=True), timeout=10)
    lm.complete("Hi")

    def calls():
        lm.complete("Hi")
        assert lm.complete("Hi").text == "Hello"

    assert finished(lambda: at_each_return(calls, interrupt)) > 50
    assert finished(lambda: lm.complete("Hi").text) == "Hello"
    gc.collect()


def test_a_call_of_a_signal_handler_at_any_moment_of_a_call_harms_neither(raw_server, provider_of):
    lm = provider_of(raw_server(OK, keep_open=True), timeout=10)
    texts = []

    def call():
        texts.append(lm.complete("Hi").text)

    assert finished(lambda: at_each_return(call, call)) > 50
    assert set(texts) == {"Hello"}


FORK = """
import importlib.machinery, os, sys, threading, time
from lmstudio_provider import LMStudioProvider, ProviderError
providers = [LMStudioProvider(url, refresh=False, max_retries=0, timeout=0.5) for url in {urls!r}]
importing = threading.Event()
class Slow:
    def find_spec(self, name, path, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name == "encodings.idna" else None
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        importing.set()
        threading.Event().wait()
sys.meta_path.insert(0, Slow())
# As a first call would, in another thread.
threading.Thread(target=lambda: "a".encode("idna"), daemon=True).start()
"encodings.idna" in sys.modules or importing.wait(10)  # for TLS it has been imported before
for lm in providers:
    child = os.fork()
    if child == 0:
        try:
            lm.complete("Hi")
        except ProviderError:
            pass
        os._exit(7)
    for _ in range(2000):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            print(lm.base_url, status >> 8, flush=True)
            break
        time.sleep(0.01)
    else:
        os.kill(child, 9)
os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_fork_calls_although_a_thread_that_is_not_there_was_importing_a_codec(raw_server, scheme):
    hosts = ["127.0.0.1", "127.1", "no-such-host.invalid"]
    urls = [raw_server(OK).url.replace("http://127.0.0.1", f"{scheme}://{host}") for host in hosts]
    assert run(FORK.format(urls=urls)).stdout.splitlines() == [f"{url} 7" for url in urls]


MANAGED = """
import sys, urllib3
from lmstudio_provider import LMStudioProvider
LMStudioProvider("http://lmstudio.invalid", refresh=False, http=urllib3.PoolManager())
print("encodings.idna" in sys.modules)
"""


@pytest.mark.slow
def test_the_codec_that_a_manager_may_need_in_a_call_is_imported_when_its_provider_is_made():
    assert run(MANAGED).stdout == "True\n"


FIRST_CALLS = """
import os, threading, time
from lmstudio_provider import LMStudioProvider
LMStudioProvider({url!r}, refresh=False).close()  # which imports what calls need
def ask():
    with LMStudioProvider({url!r}, refresh=False, timeout=20) as lm:
        assert lm.complete("Hi").text == "Hello"
begin, children = threading.Barrier(2), []
def first():
    begin.wait()
    ask()
thread = threading.Thread(target=first)
thread.start()
begin.wait()
for number in range(20):  # in the middle of the first call, whatever it is doing
    child = os.fork()
    if child == 0:
        ask()
        os._exit(7)
    children.append(child)
    time.sleep(0.001)
thread.join()
until, left = time.monotonic() + 30, set(children)
while left and time.monotonic() < until:
    for child in list(left):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            left.discard(child)
            assert status >> 8 == 7
    time.sleep(0.01)
for child in left:
    os.kill(child, 9)
assert not left, f"{{len(left)}} of the children hang"
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_while_another_thread_makes_its_very_first_call_can_call(raw_server):
    result = run(FIRST_CALLS.format(url=raw_server(OK).url))
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_a_thread_that_cannot_start_is_nothing_that_a_user_sees():
    """As for a process that has as many as it may have: here none has room for its stack."""
    result = run(
        "import threading\nthreading.stack_size(1 << 46)\n"
        "try: threading.Thread(target=print).start()\n"
        "except RuntimeError: print('there is none')\n"
        "import lmstudio_provider\nfrom lmstudio_provider import LMStudioProvider, ServerUnavailableError\n"
        "lm = LMStudioProvider('http://no-such-host.invalid:1', refresh=True, max_retries=0)\n"
        "try: lm.complete('Hi')\n"
        "except ServerUnavailableError as error: print(error.message)\n"
        "print(lm.refresh_models(), lm.health_check().ok, lmstudio_provider.discover())\n"
    )
    if "there is none" not in result.stdout:
        pytest.skip("this system starts the thread all the same")
    assert (result.returncode, result.stderr) == (0, "")
    assert "'no-such-host.invalid' was not found" in result.stdout
    assert "False False [" in result.stdout


@pytest.mark.slow
def test_a_call_at_the_end_of_the_interpreter_finds_its_host_all_the_same():
    """There no thread can be started any more, from Python 3.12 on."""
    result = run(
        "import atexit\nfrom lmstudio_provider import LMStudioProvider, ServerUnavailableError\n"
        "lm = LMStudioProvider('http://no-such-host.invalid:1', refresh=False, max_retries=0)\n"
        "def ask():\n    try: lm.complete('Hi')\n    except ServerUnavailableError as error: print(error.message)\n"
        "atexit.register(ask)"
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "'no-such-host.invalid' was not found" in result.stdout


# Opening and keeping


def test_a_silent_address_does_not_hide_the_next_one(hanging_url, provider_of):
    port = int(hanging_url.rsplit(":", 1)[1])
    try:
        listener = socket.create_server(("::1", port), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback, or something listens there")

    def serve():
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(OK.replace(b"200 OK\r\n", b"200 OK\r\nConnection: close\r\n"))

    with listener:
        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        lm = provider_of(f"http://localhost:{port}", max_retries=0)
        assert lm.complete("Hi", timeout=Timeouts(connect=0.2)).text == "Hello"
        # Now it is known which one answers.
        assert lm.complete("Hi", timeout=Timeouts(connect=10)).text == "Hello"
        serving.join(5)


def test_addresses_that_are_all_silent_run_into_the_limit_to_connect(hanging_url, provider_of):
    url = hanging_url.replace("127.0.0.1", "localhost")
    with pytest.raises((RequestTimeoutError, ServerUnavailableError)) as caught:
        provider_of(url, max_retries=0).complete("Hi", timeout=Timeouts(connect=0.2))
    assert isinstance(caught.value, RequestTimeoutError)
    assert (caught.value.limit, caught.value.sent) == ("connect", False)


def test_a_request_goes_out_in_one_piece(provider_of):
    received = []

    def serve(listener):
        connection, _ = listener.accept()
        with connection:
            received.append(connection.recv(1 << 20))
            connection.sendall(OK)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=serve, args=[listener])
        serving.start()
        lm = provider_of(f"http://127.0.0.1:{listener.getsockname()[1]}", max_retries=0)
        assert lm.complete("Hi").text == "Hello"
        serving.join(5)
    assert received[0].endswith(b"}")


@pytest.mark.parametrize("own", [False, True])
def test_as_many_connections_are_kept_as_were_used_at_once(raw_server, provider_of, caplog, own):
    together = threading.Barrier(8)
    server = raw_server(lambda _: together.wait(10) and None, OK, keep_open=True)
    lm = provider_of(server, **({"http": urllib3.PoolManager()} if own else {}))
    for _ in range(3):
        threads = [threading.Thread(target=lm.complete, args=["Hi"]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert len(server.requests) == 24
    assert server.accepted == 8
    assert "pool" not in caplog.text


def test_a_call_after_a_reset_opens_a_connection_that_is_not_kept(raw_server, provider_of):
    server = raw_server(OK, keep_open=True)
    lm = provider_of(server)
    lm.complete("Hi")
    lm.reset_client()
    assert server.client_left.wait(5)
    assert lm.complete("Hi").text == "Hello"


@pytest.mark.parametrize("kind", [urllib3.HTTPConnectionPool, urllib3.HTTPSConnectionPool])
def test_urllib3_has_the_private_methods_that_are_used(kind):
    def parameters(function):
        return list(inspect.signature(function).parameters)

    assert parameters(kind._get_conn) == ["self", "timeout"]
    assert parameters(kind._put_conn) == ["self", "conn"]
    assert parameters(kind._prepare_proxy) == parameters(kind._validate_conn) == ["self", "conn"]
    assert parameters(kind._new_conn) == ["self"]
    connection = kind("localhost", 1)._new_conn()
    assert parameters(type(connection)._new_conn) == parameters(type(connection)._tunnel) == ["self"]
    assert connection.sock is connection.timeout is None or connection.sock is None
    assert connection.response_class


def test_the_idle_connections_answer_what_urllib3_asks_of_a_queue():
    idle = _Idle()
    with pytest.raises(queue.Empty):
        idle.get(block=False)
    connections = [urllib3.connection.HTTPConnection("localhost") for _ in range(2)]
    for connection in connections:
        idle.put(connection, block=False)
    assert idle.get(block=True, timeout=None) is connections[1]


def test_no_more_than_128_idle_connections_are_kept():
    class Connection:
        closed = False

        def close(self):
            self.closed = True

    idle, connections = _Idle(), [Connection() for _ in range(129)]
    for connection in connections:
        idle.put(connection)
    assert [connection.closed for connection in connections] == [False] * 128 + [True]


# Proxies


@for_each("scheme", ["http", "https"])
@for_each("host", ["127.0.0.1", "no-such-host.invalid"])
def test_a_proxy_that_is_not_there_is_named(provider_of, closed_port, scheme, host):
    proxy = f"http://{host}:{closed_port}"
    lm = provider_of(f"{scheme}://lmstudio.invalid", http=urllib3.ProxyManager(proxy), max_retries=0)
    with pytest.raises(ServerUnavailableError) as caught:
        lm.complete("Hi")
    error = caught.value
    assert error.message.startswith(f"the proxy did not connect to the server ({proxy}: ")
    assert (error.proxy, error.sent, error.refused) == (proxy, False, host == "127.0.0.1")
    assert "lms server start" not in error.hint
    assert "the proxy runs" in error.hint


@for_each(
    ("answer", "hint"),
    [
        (b"407 Proxy Authentication Required", "proxy_headers="),
        (b"403 Forbidden", "rules"),
        (b"502 Bad Gateway", "can reach the server"),
        (b"503 Service Unavailable", "can reach the server"),
    ],
)
def test_a_proxy_that_refuses_to_connect_is_named_with_its_answer(raw_server, provider_of, answer, hint):
    server = raw_server(b"HTTP/1.1 %b\r\nContent-Length: 4\r\n\r\nnope" % answer)
    proxy = urllib3.ProxyManager(server.url.replace("://", "://ann:pass-word@"))
    lm = provider_of("https://lmstudio.invalid", http=proxy)
    with pytest.raises(ServerUnavailableError) as caught:
        lm.complete("Hi")
    error = caught.value
    said = answer.decode()
    assert f"the proxy did not connect to the server ({server.url}: it answered CONNECT with {said})" in error.message
    assert (error.proxy, error.answered, error.sent) == (server.url, False, False)
    assert hint in error.hint
    assert "lms server start" not in error.hint
    assert len(server.requests) == 1
    assert not lm.health_check().reachable


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.2\r\n"])
def test_a_server_that_is_not_a_proxy_is_named(raw_server, provider_of, answer):
    server = raw_server(answer)
    lm = provider_of("https://lmstudio.invalid", http=urllib3.ProxyManager(server.url), max_retries=0)
    with pytest.raises(ServerUnavailableError, match="the proxy did not connect") as caught:
        lm.complete("Hi")
    assert caught.value.proxy == server.url


def test_a_proxy_that_does_not_speak_tls_is_named(raw_server, provider_of):
    server = raw_server(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    url = server.url.replace("http:", "https:")
    lm = provider_of("https://lmstudio.invalid", http=urllib3.ProxyManager(url), max_retries=0, timeout=0.3)
    with pytest.raises((ServerUnavailableError, RequestTimeoutError)) as caught:
        lm.complete("Hi")
    assert caught.value.sent is False
    if isinstance(caught.value, ServerUnavailableError):
        assert caught.value.proxy == url


# urllib3 1.26 leaves the socket of a proxy that does not connect to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("answer", [None, b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"])
def test_a_proxy_is_named_too_if_the_manager_watches_its_requests(raw_server, provider_of, closed_port, answer):
    """As those of tracing do, whose urlopen is not urllib3's."""

    class Watched(urllib3.ProxyManager):
        def urlopen(self, *arguments, **options):
            return super().urlopen(*arguments, **options)

    proxy = f"http://127.0.0.1:{closed_port}" if answer is None else raw_server(answer).url
    lm = provider_of("https://lmstudio.invalid", http=Watched(proxy), max_retries=0)
    with pytest.raises(ServerUnavailableError, match="the proxy did not connect to the server") as caught:
        lm.complete("Hi")
    assert (caught.value.proxy, caught.value.sent) == (proxy, False)
    del caught
    gc.collect()


# Errors


def test_the_cause_of_an_error_of_urllib3_is_what_it_wraps():
    inner = ConnectionResetError("gone")
    assert causes(urllib3.exceptions.ProtocolError("aborted", inner))[-1] is inner


@pytest.mark.parametrize("arguments", [[], ["aborted"]])
def test_an_error_of_urllib3_that_wraps_nothing_is_its_own_cause(arguments):
    error = urllib3.exceptions.HTTPError(*arguments)
    assert causes(error) == [error]


def test_no_more_than_a_mebibyte_of_an_error_is_read(raw_server, provider_of):
    def endless(connection):
        while True:
            connection.sendall(b"x" * 65536)

    server = raw_server(b"HTTP/1.1 500 Oops\r\nContent-Type: text/plain\r\n\r\n", endless)
    with pytest.raises(ServerError) as caught:
        provider_of(server, timeout=10).complete("Hi")
    assert caught.value.status == 500
    assert len(caught.value.body) <= 1024 * 1024
    assert server.client_left.wait(5)
