"""``batch``: a broken line stops nothing, and a run that was killed goes on where it was."""

import json
import os
import random
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from commands import PROGRAM, WITH_PTY, error_of, in_terminal, run
from tables import for_each

from lmstudio_provider.cli.answer_file import lock
from lmstudio_provider.cli.console import UsageError
from lmstudio_provider.simulator import SimulatedLMStudio, SimulatedOllama

PATIENCE_S = 30
FULL = Path("/dev/full")


@pytest.fixture
def files(tmp_path):
    """The paths of an input and an output, and a function that writes the input."""

    class Files:
        given, written = tmp_path / "in.jsonl", tmp_path / "out.jsonl"

        def give(self, *lines):
            texts = [line if isinstance(line, (str, bytes)) else json.dumps(line) for line in lines]
            data = [text.encode() if isinstance(text, str) else text for text in texts]
            self.given.write_bytes(b"".join(each + b"\n" for each in data))

        def read(self):
            data = self.written.read_bytes()
            assert data.endswith(b"\n") or not data
            return [json.loads(line) for line in data.splitlines()]

        def by_id(self):
            lines = self.read()
            found = {line["id"]: line for line in lines}
            assert len(found) == len(lines)
            return found

    return Files()


def batch(files, server, *options, **given):
    return run("batch", files.given, "-o", files.written, "--base-url", server.url, *options, **given)


def start(files, server, *options):
    command = [*PROGRAM, "batch", str(files.given), "-o", str(files.written), "--base-url", server.url, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def prompts(server):
    return [each["body"]["messages"][-1]["content"] for each in server.requests if "chat" in each["path"]]


# What goes wrong


@pytest.mark.parametrize(
    ("line", "kind", "said"),
    [
        ("{", "InvalidRequestError", "line 2 is not JSON in UTF-8"),
        ("nonsense", "InvalidRequestError", "line 2 is not JSON in UTF-8"),
        (b'{"prompt": "\xff"}', "InvalidRequestError", "line 2 is not JSON in UTF-8"),
        ('{"prompt": "Hi"} x', "InvalidRequestError", "line 2 is not JSON in UTF-8"),
        ("[" * 100_000, "InvalidRequestError", "nested too deeply"),
        ('["Hi"]', "InvalidRequestError", "line 2 is not a JSON object: ['Hi']"),
        ("null", "InvalidRequestError", "line 2 is not a JSON object"),
        ({}, "InvalidRequestError", "a line needs either a prompt or messages"),
        ({"prompt": "a", "messages": []}, "InvalidRequestError", "a line needs either a prompt or messages"),
        ({"prompt": "a", "user_message": "b"}, "InvalidRequestError", "a line needs either a prompt or messages"),
        ({"promt": "x"}, "InvalidRequestError", "a line needs either a prompt or messages. Did you mean 'prompt'?"),
        ({"id": 2, "Prompt": "x"}, "InvalidRequestError", "Did you mean 'prompt'?"),
        ({"temperature": 0, "mesages": []}, "InvalidRequestError", "Did you mean 'messages'?"),
        ({"message": []}, "InvalidRequestError", "Did you mean 'messages'?"),
        ({"prompt": "a", "promt": "x"}, "InvalidRequestError", "Did you mean 'prompt'?"),
        ({"prompt": 5}, "InvalidRequestError", "prompt=5 is not text"),
        ({"prompt": None}, "InvalidRequestError", "prompt=None is not text"),
        ({"messages": []}, "InvalidRequestError", "messages is empty"),
        ({"messages": [5]}, "InvalidRequestError", "messages"),
        ({"prompt": "a", "id": ["b"]}, "InvalidRequestError", "line 2: id=['b'] is not a text or a whole number"),
        ({"prompt": "a", "id": True}, "InvalidRequestError", "id=True"),
        ({"prompt": "a", "id": 1.5}, "InvalidRequestError", "id=1.5"),
        ({"prompt": "a", "temperatur": 0}, "InvalidRequestError", "Did you mean 'temperature'?"),
        ({"prompt": "a", "temperature": "hot"}, "InvalidRequestError", "temperature='hot'"),
        ({"prompt": "a", "timeout": 3}, "InvalidRequestError", "timeout"),
        ({"prompt": "a", "images": ["no-such.png"]}, "InvalidRequestError", "no-such.png"),
        ({"prompt": "a", "stop": {"b": 1}}, "InvalidRequestError", "stop="),
    ],
)
def test_a_broken_line_is_an_error_and_the_others_go_on(files, simulator, line, kind, said):
    files.give({"prompt": "one"}, line, {"prompt": "three"})
    ended = batch(files, simulator)
    assert ended.code == 1
    assert said in error_of(ended)
    found = files.by_id()
    assert sorted(found) == [1, 2, 3]
    assert found[2]["error"]["class"] == kind
    assert said in found[2]["error"]["message"]
    assert (found[1]["text"][-3:], found[3]["text"][-5:]) == ("one", "three")


def test_a_failing_request_is_an_error_line_and_the_exit_code_is_1(files):
    with SimulatedLMStudio(replies=lambda body: 1 / 0) as server:
        files.give({"prompt": "one", "id": "a"})
        ended = batch(files, server)
    assert ended.code == 1
    assert ended.err.startswith("error: 1 of 1 lines failed, the last with ServerError: POST /v1/chat/completions: the")
    (line,) = files.read()
    assert (line["id"], line["error"]["class"]) == ("a", "ServerError")


def test_the_last_error_has_the_words_of_the_command_line(files):
    files.give({"prompt": "one"})
    with SimulatedOllama() as server:
        ended = batch(files, server, "--provider", "ollama", "--model", "nope")
    assert ended.code == 1
    assert "'lmstudio-provider pull MODEL'" in error_of(ended)
    assert "pull()" not in error_of(ended)


def test_an_error_about_a_field_of_a_line_keeps_the_name_of_the_field(files, simulator):
    files.give({"prompt": "one", "max_tokens": "x"})
    assert "max_tokens='x'" in error_of(batch(files, simulator))


def test_an_answer_that_does_not_follow_its_schema_is_kept_in_the_error(files):
    with SimulatedLMStudio(replies=["no JSON"]) as server:
        files.give({"prompt": "one", "response_format": {"type": "object"}})
        assert batch(files, server).code == 1
    (line,) = files.read()
    assert line["error"]["class"] == "StructuredOutputError"
    assert line["error"]["partial"] == "no JSON"


def test_equal_ids_are_reported_and_asked_once(files, simulator):
    files.give({"prompt": "one", "id": "a"}, {"prompt": "two", "id": "a"}, {"prompt": "x", "id": 4}, {"prompt": "y"})
    ended = batch(files, simulator)
    assert ended.code == 1
    assert ended.err.splitlines() == [
        'error: line 2 is left out: line 1 has the same id, "a"',
        "error: line 4 is left out: line 3 has the same id, 4",
    ]
    assert sorted(prompts(simulator)) == ["one", "x"]
    assert batch(files, simulator).err == ended.err  # also if the first of them is answered
    assert len(prompts(simulator)) == 2


def test_a_number_and_a_text_are_different_ids(files, simulator):
    files.give({"prompt": "one", "id": "1"}, {"prompt": "two", "id": 1})
    assert batch(files, simulator).code == 0
    assert sorted(map(repr, files.by_id())) == ["'1'", "1"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{in}", "-o", "{in}"], "is the input and the output"),
        (["{in}", "--retry-errors"], "--retry-errors needs the file that has the errors: -o OUT"),
        (["{in}", "-o", "{out}", "--model", ""], "--model '' is not a name"),
        (["{in}", "-o", "{out}", "--tier", ""], "''"),
        (["{in}", "--workers", "0"], "'0' is not a whole number"),
        ([], "the following arguments are required: IN"),
    ],
)
def test_wrong_usage_is_refused(files, simulator, arguments, said):
    files.give({"prompt": "one"})
    paths = {"{in}": files.given, "{out}": files.written}
    ended = run("batch", *(paths.get(each, each) for each in arguments), "--base-url", simulator.url)
    assert ended.code == 2
    assert not files.written.exists()
    assert said in error_of(ended)
    assert prompts(simulator) == []


def test_an_address_that_cannot_work_makes_no_output(files):
    files.give({"prompt": "one"})
    ended = run("batch", files.given, "-o", files.written, "--base-url", "ftp://here")
    assert ended.code == 2
    assert "ftp" in error_of(ended)
    assert not files.written.exists()


def test_an_input_that_is_not_there_is_an_error_and_makes_no_output(files, simulator):
    ended = batch(files, simulator)
    assert ended.code == 2
    assert "in.jsonl: No such file or directory" in error_of(ended)
    assert not files.written.exists()


@for_each("output", ["no/such/folder/out.jsonl", "."])
def test_an_output_that_cannot_be_opened_is_an_error_and_nothing_is_asked(files, simulator, output):
    files.give({"prompt": "one"})
    ended = run("batch", files.given, "-o", files.given.parent / output, "--base-url", simulator.url)
    assert ended.code == 2
    assert error_of(ended).startswith(f"error: {files.given.parent / output}: ")
    assert prompts(simulator) == []


@pytest.mark.parametrize(
    "content",
    [
        b'{"id": 1, "prompt": "of another input"}\n',
        b"a,b\n1,2\n",
        b"\x89PNG\r\n\x1a\n\0\0",
        b"one line",
        b'{"id": 1, "text": "one"}\nnonsense\n{"id": 2, "text": "two"}\n',
        b'{"text": "no id"}\n',
    ],
)
def test_a_file_of_something_else_is_refused_and_not_changed(files, simulator, content):
    files.give({"prompt": "one"})
    files.written.write_bytes(content)
    ended = batch(files, simulator, "--retry-errors")
    assert ended.code == 2
    assert "is not an answer of this command; give another file to -o" in error_of(ended)
    assert files.written.read_bytes() == content
    assert prompts(simulator) == []


def test_a_file_that_is_named_like_a_copy_stays(files, simulator):
    files.give({"prompt": "one"})
    files.written.write_bytes(b'{"id": 1, "error": {"message": "m"}}\n')
    other = files.written.with_name(f"{files.written.name}.new")
    other.write_text("mine")
    assert batch(files, simulator, "--retry-errors").code == 0
    assert other.read_text() == "mine"
    assert {each.name for each in files.written.parent.iterdir()} == {files.given.name, files.written.name, other.name}


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_an_error_of_one_line(files, simulator):
    files.give(*[{"prompt": "one"}] * 5)
    ended = run("batch", files.given, "-o", FULL, "--base-url", simulator.url)
    assert ended.code == 1
    assert "No space left on device" in error_of(ended)


# A server that ends


GOES_ON = "answered; the same command goes on"


def answer_of(text):
    data = json.dumps({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}).encode()
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data)


def test_without_a_server_nothing_is_written(files, closed_port):
    files.give(*[{"prompt": "one"}] * 20)
    ended = run("batch", files.given, "-o", files.written, "--base-url", f"http://127.0.0.1:{closed_port}")
    assert (ended.code, ended.out) == (1, "")
    state, error = ended.err.splitlines()
    assert state == f"stopped: 0 {GOES_ON}"
    assert error.startswith("error: POST /v1/chat/completions: no server answers at http://127.0.0.1:")
    assert files.read() == []


def test_a_host_to_which_no_connection_opens_stops_it_too(files, hanging_url):
    files.give(*[{"prompt": "one"}] * 3)
    options = ["--timeout", "0.5", "--workers", "3"]
    ended = run("batch", files.given, "-o", files.written, "--base-url", hanging_url, *options)
    assert ended.code == 1
    assert ended.err.startswith(f"stopped: 0 {GOES_ON}\nerror: ")
    assert files.read() == []


def test_without_a_file_the_same_command_does_not_go_on(files, closed_port):
    files.give({"prompt": "one"})
    ended = run("batch", files.given, "--base-url", f"http://127.0.0.1:{closed_port}")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.splitlines()[0] == "stopped: 0 answered"


def test_if_the_server_ends_the_same_command_goes_on_with_the_lines_that_were_not_sent(files, raw_server, simulator):
    def reply(connection):
        if b"two" in server.requests[-1]:
            server.refuse()
        connection.sendall(answer_of("fine"))

    server = raw_server(reply)
    files.give(*[{"prompt": word} for word in ("one", "two", "three", "four", "five")], "{")
    ended = batch(files, server, "--model", "m", "--workers", "1")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.splitlines()[0] == f"stopped: 2 {GOES_ON}"
    assert "no server answers" in ended.err.splitlines()[1]
    assert [(line["id"], line["text"]) for line in files.read()] == [(1, "fine"), (2, "fine")]
    assert batch(files, simulator).code == 1  # because of the last line
    assert sorted(prompts(simulator)) == ["five", "four", "three"]
    assert sorted(files.by_id()) == [1, 2, 3, 4, 5, 6]


def test_a_request_that_was_sent_when_the_server_ended_is_an_error_line(files, raw_server):
    def reply(connection):
        if b"one" in server.requests[-1]:
            server.refuse()
        else:  # the list of models
            connection.sendall(answer_of("fine"))

    server = raw_server(reply)
    files.give({"prompt": "one"}, {"prompt": "two"}, {"prompt": "three"})
    ended = batch(files, server, "--model", "m", "--workers", "1")
    assert ended.code == 1
    failed, state, error = ended.err.splitlines()
    assert failed.startswith("error: 1 of 1 lines failed, the last with ServerUnavailableError: ")
    assert (state, "no server answers" in error) == (f"stopped: 0 {GOES_ON}", True)
    assert [line["error"]["class"] for line in files.read()] == ["ServerUnavailableError"]


# Lines


def test_each_line_has_its_answer_with_usage_model_and_the_reason_of_its_end(files, simulator):
    files.give({"prompt": "one", "id": "a", "max_tokens": 50}, "", {"messages": [{"role": "user", "content": "two"}]})
    ended = batch(files, simulator)
    assert ended == (0, "2 answered, 0 done before\n", "")
    found = files.by_id()
    assert list(found["a"]) == ["id", "text", "usage", "model", "finish_reason"]
    assert found["a"]["text"].endswith("You said: one")
    assert found["a"]["usage"]["total_tokens"] > 0
    assert (found["a"]["model"], found["a"]["finish_reason"]) == ("simulated-model", "stop")
    assert found[3]["text"].endswith("two")  # the number of the line


def test_with_json_the_counts_are_an_object(files, simulator):
    files.give({"prompt": "one"}, {"prompt": "two"}, {})
    counts = {"answered": 2, "failed": 1, "left_out": 0, "done_before": 0, "failed_before": 0}
    assert json.loads(batch(files, simulator, "--json").out) == counts
    files.give({"prompt": "one"}, {"prompt": "two"}, {}, {"prompt": "four"}, {"prompt": "five", "id": 1})
    counts = {"answered": 1, "failed": 0, "left_out": 1, "done_before": 3, "failed_before": 1}
    assert json.loads(batch(files, simulator, "--json").out) == counts


def test_with_json_the_counts_are_there_if_no_server_answers_too(files, closed_port):
    files.give({"prompt": "one"}, {})
    ended = run("batch", files.given, "-o", files.written, "--json", "--base-url", f"http://127.0.0.1:{closed_port}")
    assert (ended.code, json.loads(ended.out)["answered"], json.loads(ended.out)["failed"]) == (1, 0, 1)


def test_with_json_and_no_file_the_output_is_only_the_lines(files, simulator):
    files.give({"prompt": "one"}, {"prompt": "two"})
    ended = run("batch", files.given, "--json", "--base-url", simulator.url)
    assert [sorted(json.loads(line))[1] for line in ended.out.splitlines()] == ["id", "id"]


def test_calls_and_thoughts_are_in_the_line_too(files):
    call = {"content": "", "reasoning_content": "hm", "tool_calls": [{"name": "look", "arguments": {"at": "sky"}}]}
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    with SimulatedLMStudio(replies=[call]) as server:
        files.give({"prompt": "one", "tools": [tool]})
        assert batch(files, server).code == 0
    (line,) = files.read()
    assert (line["reasoning"], line["finish_reason"]) == ("hm", "tool_calls")
    assert line["tool_calls"][0]["name"] == "look"


def test_standard_input_and_output_are_a_pipe(simulator):
    given = '\ufeff{"prompt": "one"}\r\n\r\n{"prompt": "zwei \u2028 \u00e4", "id": "b"}'
    ended = run("batch", "-", "--base-url", simulator.url, given=given)
    lines = {line["id"]: line for line in map(json.loads, ended.out.split("\n")[:-1])}
    assert (ended.code, ended.err) == (0, "")
    assert lines[1]["text"].endswith("one")
    assert lines["b"]["text"].endswith("zwei \u2028 \u00e4")


def test_half_of_a_surrogate_pair_is_written_as_its_escape(files):
    with SimulatedLMStudio(replies=["\ud83d"]) as server:
        files.give({"prompt": "one"})
        assert batch(files, server).code == 0
    assert files.read()[0]["text"] in ("\ud83d", "?", "\ufffd")


def test_the_model_of_the_command_is_for_the_lines_without_one(files):
    with SimulatedLMStudio(["m", "n"]) as server:
        files.give({"prompt": "one"}, {"prompt": "two", "model": "n"})
        assert batch(files, server, "--model", "m").code == 0
    assert [files.by_id()[number]["model"] for number in (1, 2)] == ["m", "n"]


# Going on


def test_the_same_command_again_asks_nothing_twice(files, simulator):
    files.give({"prompt": "one"}, {"prompt": "two"})
    assert batch(files, simulator).code == 0
    before = files.written.read_bytes()
    files.give({"prompt": "one"}, {"prompt": "two"}, {"prompt": "three"})
    assert batch(files, simulator) == (0, "1 answered, 2 done before\n", "")
    assert sorted(prompts(simulator)) == ["one", "three", "two"]
    assert files.written.read_bytes().startswith(before)


def test_failures_are_asked_again_only_if_that_is_wanted(files):
    answers = iter(["fails", *["fine"] * 9])

    def reply(body):
        if next(answers) == "fails":
            raise ZeroDivisionError
        return "fine"

    with SimulatedLMStudio(replies=reply) as server:
        files.give({"prompt": "one"}, {"prompt": "two"})
        assert batch(files, server, "--workers", "1").code == 1
        ended = batch(files, server)
        assert ended.code == 1
        assert error_of(ended) == "error: 1 of the lines failed in an earlier run; --retry-errors asks them again"
        assert len(prompts(server)) == 2
        files.written.chmod(0o640)
        assert batch(files, server, "--retry-errors") == (0, "1 answered, 1 done before\n", "")
        assert batch(files, server, "--retry-errors") == (0, "0 answered, 2 done before\n", "")
        assert len(prompts(server)) == 3
    assert {number: line["text"] for number, line in files.by_id().items()} == {1: "fine", 2: "fine"}
    assert os.name == "nt" or files.written.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in files.written.parent.iterdir()) == ["in.jsonl", "out.jsonl"]


@pytest.mark.slow
def test_a_last_line_that_was_half_written_is_repaired_wherever_it_was_cut(files, simulator):
    files.give({"prompt": "one"}, {"prompt": "two"})
    batch(files, simulator)
    whole = files.written.read_bytes()
    start = whole.index(b"\n") + 1
    cuts = [start, start + 1, start + 5, start + 8, start + 30, len(whole) - 2, len(whole) - 1]
    for cut, tail in [(cut, tail) for cut in cuts for tail in (b"", b"\0\0\0")]:
        files.written.write_bytes(whole[:cut] + tail)
        asked = len(prompts(simulator))
        assert batch(files, simulator).code == 0
        assert files.written.read_bytes().startswith(whole[:start])
        assert sorted(files.by_id()) == [1, 2]
        # Of a line that lacks only its end, nothing is asked again.
        assert len(prompts(simulator)) - asked == (0 if cut == len(whole) - 1 and not tail else 1)


# Two at a time


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--retry-errors"]])
def test_a_file_that_another_batch_writes_is_refused(files, options):
    come, left = threading.Event(), threading.Event()

    def reply(body):
        come.set()
        left.wait(PATIENCE_S)
        return "late"

    with SimulatedLMStudio(replies=reply) as server:
        files.give({"prompt": "one"})
        # Each of them makes the first one replace the file by a copy.
        files.written.write_bytes(b'{"id": "e", "error": {}}\n{"id": "half')
        with start(files, server, *options) as child:
            assert come.wait(PATIENCE_S)
            before = files.written.read_bytes()
            ended = batch(files, server, *options)
            assert (ended.code, error_of(ended)) == (2, f"error: another batch writes {files.written}")
            assert files.written.read_bytes() == before
            left.set()
            child.communicate(timeout=PATIENCE_S)
        assert len(prompts(server)) == 1
        assert batch(files, server, *options).out == f"0 answered, {1 if options else 2} done before\n"
    assert sorted(path.name for path in files.written.parent.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_a_file_that_was_refused_is_free(files, simulator):
    files.give({"prompt": "one"})
    files.written.write_bytes(b"something else\n")
    assert batch(files, simulator).code == 2
    files.written.write_bytes(b"")
    assert batch(files, simulator).code == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows does not replace an open file")
def test_a_file_that_was_replaced_while_it_was_opened_is_refused(tmp_path):
    path, other = tmp_path / "out.jsonl", tmp_path / "other"
    with path.open("ab", buffering=0) as file:
        other.touch()
        other.replace(path)
        with pytest.raises(UsageError, match="another batch writes"):
            lock(file, path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no /dev/null")
def test_a_device_is_not_locked(files, simulator):
    files.give({"prompt": "one"})
    with Path(os.devnull).open("ab") as null:
        import fcntl

        fcntl.flock(null, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert run("batch", files.given, "-o", os.devnull, "--base-url", simulator.url).code == 0


# Stopping


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")
def test_no_line_is_lost_or_repeated_if_it_is_killed_at_random_moments(files):
    count, kills, chance = 40, 3, random.Random()
    files.give(*[{"prompt": f"prompt {number}", "id": f"id {number}"} for number in range(count)])
    come = threading.Semaphore(0)

    def reply(body):
        come.release()
        return body["messages"][-1]["content"]

    with SimulatedLMStudio(replies=reply) as server:
        for _ in range(kills):
            with start(files, server) as child:
                for _ in range(chance.randint(1, 10)):
                    assert come.acquire(timeout=PATIENCE_S)
                threading.Event().wait(chance.random() / 100)  # somewhere between two lines
                child.kill()
        with start(files, server) as child:
            assert child.wait(PATIENCE_S) == 0
        asked = prompts(server)
    found = files.by_id()
    assert {id_: line["text"] for id_, line in found.items()} == {f"id {n}": f"prompt {n}" for n in range(count)}
    assert set(asked) == {f"prompt {number}" for number in range(count)}
    assert len(asked) <= count + 2 * 4 * kills  # those that were on their way


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows sends no Ctrl-C to one process")
def test_ctrl_c_keeps_what_came_and_closes_the_connections(files):
    come, left = threading.Semaphore(0), threading.Event()

    def reply(body):
        if body["messages"][-1]["content"] == "one":
            return "1"
        come.release()
        left.wait(PATIENCE_S)
        return "late"

    with SimulatedLMStudio(replies=reply) as server:
        files.give({"prompt": "one"}, *[{"prompt": "more"}] * 20)
        with start(files, server) as child:
            for _ in range(4):
                assert come.acquire(timeout=PATIENCE_S)
            while not files.written.read_bytes():  # the answer has come, and is about to be written
                assert child.poll() is None
                threading.Event().wait(0.001)
            child.send_signal(signal.SIGINT)
            assert child.wait(PATIENCE_S) == 130
            assert child.stderr.read().decode().splitlines() == [f"interrupted: 1 {GOES_ON}"]
        left.set()
    assert [line["text"] for line in files.read()] == ["1"]


@pytest.mark.slow
def test_a_reader_that_leaves_early_is_not_an_error(files, simulator):
    files.give(*[{"prompt": "one"}] * 50)
    command = [*PROGRAM, "batch", str(files.given), "--base-url", simulator.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        child.stdout.readline()
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait(PATIENCE_S) == 0


# On a terminal


@pytest.mark.slow
@WITH_PTY
def test_ctrl_c_in_a_terminal_says_on_a_line_of_its_own_what_is_answered(files):
    come, left = threading.Event(), threading.Event()

    def reply(body):
        come.set()
        left.wait(PATIENCE_S)
        return "late"

    with SimulatedLMStudio(replies=reply) as server:
        files.give({"prompt": "one"})
        with in_terminal("batch", files.given, "-o", files.written, "--base-url", server.url) as terminal:
            assert come.wait(PATIENCE_S)
            terminal.type("\x03")
            assert "\n" in terminal.wait_for(f"interrupted: 0 {GOES_ON}\r\n")
            assert terminal.end() == 130
        left.set()


@WITH_PTY
def test_a_bar_shows_the_rate_and_the_time_left(files):
    pytest.importorskip("tqdm")
    go_on = threading.Event()

    def reply(body):
        if body["messages"][-1]["content"] == "slow":
            go_on.wait(PATIENCE_S)
        return "fine"

    with SimulatedLMStudio(replies=reply) as server:
        files.give(*[{"prompt": "fast"}] * 3, {"prompt": "slow"})
        with in_terminal("batch", files.given, "-o", files.written, "--base-url", server.url) as terminal:
            terminal.wait_for("0/4 [00:00<?, ?line/s]")
            go_on.set()
            assert terminal.end() == 0
