import os
import signal
import socket
import sys
import textwrap
import time
from urllib.parse import urlsplit

import pytest

from lmstudio_provider import ConfigurationError, ServerUnavailableError, discover, start_server

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a script on PATH is no command on Windows")

TOKEN = "sk-lm-AbCd1234:0123456789abcdefghij"

SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{"lmstudio":true}' if self.path == "/lmstudio-greeting" else b'{"error":"Unexpected endpoint"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
open(sys.argv[2], "w").write(str(os.getpid()))
server.serve_forever()
"""


@pytest.fixture
def lms(monkeypatch, tmp_path):
    """Puts a command 'lms' on PATH, and nothing else, that runs ``code`` and notes how it was called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def write(code):
        path = folder / "lms"
        notes = f"open({str(tmp_path / 'called')!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')"
        start = f"#!{sys.executable}\nimport os, subprocess, sys, time\n{notes}\n"
        path.write_text(start + textwrap.dedent(code), encoding="utf-8")
        path.chmod(0o755)

    return write


@pytest.fixture
def called(tmp_path):
    """How often and with what arguments 'lms' was run."""
    path = tmp_path / "called"
    return lambda: path.read_text(encoding="utf-8").splitlines() if path.exists() else []


@pytest.fixture
def starting(tmp_path):
    """Return the code of an 'lms' that starts a server as a separate process, which the test ends by its id."""
    program, pid = tmp_path / "server.py", tmp_path / "pid"
    program.write_text(SERVER, encoding="utf-8")

    def code(port):
        command = [sys.executable, str(program), str(port), str(pid)]
        return f"subprocess.Popen({command!r}, start_new_session=True)"

    yield code
    deadline = time.monotonic() + 10
    while not (pid.exists() and pid.read_text()) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(int(pid.read_text()), signal.SIGKILL)


def free_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def settings(port):
    return {"lmstudio_base_url": f"http://127.0.0.1:{port}"}


@pytest.fixture(autouse=True)
def no_server_of_this_machine():
    if any(each.provider_id == "lm-studio" for each in discover(1.0)):
        pytest.skip("an LM Studio runs on this machine, and would be taken for the one that was to be started")


@pytest.mark.parametrize("bad", [None, 0, -1, "1", True])
def test_a_timeout_that_cannot_be_is_refused(bad):
    with pytest.raises(ConfigurationError, match="timeout="):
        start_server(timeout=bad)


@pytest.mark.parametrize("bad", [0, -1, 65536, "1234", True, 1234.0])
def test_a_port_that_cannot_be_is_refused(bad):
    with pytest.raises(ConfigurationError, match="port="):
        start_server(port=bad)


def test_a_base_url_that_cannot_be_is_the_error_that_it_always_is():
    with pytest.raises(ConfigurationError, match="ftp"):
        start_server(settings={"lmstudio_base_url": "ftp://x"})


def test_an_error_about_a_missing_command_says_how_to_get_it_and_how_to_start_by_hand(
    monkeypatch, tmp_path, closed_port
):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerUnavailableError, match="no command 'lms' on PATH") as caught:
        start_server(settings=settings(closed_port))
    assert f"http://127.0.0.1:{closed_port}" in str(caught.value)
    assert "lmstudio.ai" in caught.value.hint
    assert "Developer tab" in caught.value.hint
    assert caught.value.provider == "lm-studio"


def test_nothing_is_started_for_another_machine(lms, called):
    lms("")
    with pytest.raises(ServerUnavailableError, match="that is another machine") as caught:
        start_server(settings={"lmstudio_base_url": "http://studio.invalid:1234"}, timeout=5)
    assert "Start the server there" in caught.value.hint
    assert called() == []


def test_a_server_that_answers_is_returned_at_once(httpserver, lms, called):
    lms("")
    httpserver.expect_request("/lmstudio-greeting").respond_with_json({"lmstudio": True})
    url = httpserver.url_for("").rstrip("/")
    assert start_server(settings={"lmstudio_base_url": url}).base_url == url
    assert start_server(port=urlsplit(url).port).base_url == f"http://localhost:{urlsplit(url).port}"
    assert called() == []


def test_an_ollama_that_answers_is_not_the_server(httpserver, lms, called):
    lms("sys.exit(1)")
    httpserver.expect_request("/api/version").respond_with_json({"version": "0.33.0"})
    with pytest.raises(ServerUnavailableError):
        start_server(settings={"lmstudio_base_url": httpserver.url_for("")})
    assert called() == ["server start"]


def test_an_error_about_a_command_that_fails_has_its_output(lms, closed_port):
    lms("print('\\x1b[31mno license\\x1b[0m', file=sys.stderr); print('sorry'); sys.exit(3)")
    with pytest.raises(ServerUnavailableError, match="'lms server start' ended with exit status 3") as caught:
        start_server(settings=settings(closed_port), timeout=60)
    assert "no license" in str(caught.value)
    assert "sorry" in str(caught.value)
    assert "\\x1b" not in str(caught.value)


def test_an_error_about_a_command_that_fails_in_silence_says_so(lms, closed_port):
    lms("sys.exit(1)")
    with pytest.raises(ServerUnavailableError, match="it said nothing"):
        start_server(settings=settings(closed_port), timeout=60)


def test_a_command_that_starts_nothing_is_an_error_after_the_timeout(lms, closed_port, called):
    lms("print('Success! Server is now running')")
    with pytest.raises(
        ServerUnavailableError, match=r"exit status 0, and no LM Studio answers .* after 0\.5 s"
    ) as caught:
        start_server(port=closed_port, timeout=0.5)
    assert "Success!" in str(caught.value)
    assert "timeout=" in caught.value.hint
    assert called() == [f"server start --port {closed_port}"]


@pytest.mark.slow
def test_a_command_that_hangs_is_ended(lms, tmp_path, closed_port):
    pid = tmp_path / "pid of lms"
    lms(f"open({str(pid)!r}, 'w').write(str(os.getpid()))\nprint('Waking up', flush=True)\ntime.sleep(600)")
    started = time.monotonic()
    with pytest.raises(ServerUnavailableError, match="did not end") as caught:
        start_server(settings=settings(closed_port), timeout=3)
    assert time.monotonic() - started < 30
    assert "Waking up" in str(caught.value)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


@pytest.fixture
def interruptible():
    """Let Ctrl-C raise KeyboardInterrupt; it does not if a shell runs the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_command_that_is_interrupted_is_ended(lms, tmp_path, closed_port):
    """As by Ctrl-C, which comes when the command runs: half a second after it began, it is waited for."""
    pid = tmp_path / "pid of lms"
    interrupt = f"time.sleep(0.5)\nos.kill(os.getppid(), {int(signal.SIGINT)})\ntime.sleep(600)"
    lms(f"open({str(pid)!r}, 'w').write(str(os.getpid()))\n{interrupt}")
    with pytest.raises(KeyboardInterrupt):
        start_server(settings=settings(closed_port), timeout=60)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_a_command_that_cannot_be_run_is_an_error(lms, tmp_path, closed_port):
    lms("")
    (tmp_path / "bin" / "lms").write_text("#!/nonexistent/interpreter\n", encoding="utf-8")
    with pytest.raises(ServerUnavailableError, match="'lms server start' cannot be run: No such file"):
        start_server(settings=settings(closed_port))


def test_no_more_of_the_output_is_kept_than_can_be_read(lms, closed_port):
    lms("sys.stdout.buffer.write(b'a' * 10_000_000 + b'\\xff the end'); sys.exit(1)")
    with pytest.raises(ServerUnavailableError) as caught:
        start_server(settings=settings(closed_port), timeout=60)
    assert "the end" in str(caught.value)
    assert len(str(caught.value)) < 5000


@pytest.mark.parametrize(
    "said", [TOKEN, f"({TOKEN})", f"\x1b[1m{TOKEN[:12]}\x1b[0m{TOKEN[12:]}", "my-own-secret", "sk-lm-AbCd****"]
)
def test_no_token_is_shown(monkeypatch, lms, closed_port, said):
    monkeypatch.setenv("LM_API_TOKEN", "my-own-secret")
    lms(f"print('the token is', {said!r}); sys.exit(1)")
    with pytest.raises(ServerUnavailableError, match="the token is") as caught:
        start_server(settings=settings(closed_port), timeout=60)
    assert not any(part in str(caught.value) for part in (TOKEN[:12], TOKEN[12:], TOKEN[-6:], "my-own", "AbCd"))


def test_the_server_is_started_and_waited_for(lms, starting, called):
    port = free_port()
    lms(starting(port))
    endpoint = start_server(settings=settings(port), timeout=60)
    assert (endpoint.provider_id, endpoint.base_url) == ("lm-studio", f"http://127.0.0.1:{port}")
    assert called() == ["server start"]


def test_the_port_is_passed_on(lms, starting, called):
    port = free_port()
    lms(starting("PORT").replace("'PORT'", "sys.argv[4]"))
    assert start_server(port=port, timeout=60).base_url == f"http://localhost:{port}"
    assert called() == [f"server start --port {port}"]


def test_a_command_that_keeps_running_does_not_block(lms, starting):
    port = free_port()
    lms(starting(port) + ".wait()")
    assert start_server(port=port, timeout=60).base_url == f"http://localhost:{port}"


@pytest.mark.slow
def test_a_server_that_logs_to_the_pipe_goes_on_answering(lms, starting):
    """http.server logs each request to the output that it has from the command."""
    port = free_port()
    lms(starting(port))
    start_server(port=port, timeout=60)
    for _ in range(20):
        assert start_server(port=port, timeout=10).base_url == f"http://localhost:{port}"
