"""The file of a recording: when it is written, and what is said about one that cannot be read."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from plain_http import ask

from lmstudio_provider.simulator import record, replay

HEAD = '{"recording": 1, "base_path": ""}\n'
LINE = json.dumps(
    {
        "number": 1,
        "request": {"method": "GET", "path": "/"},
        "reply": {"status": 200, "headers": [["A", "b"]], "pieces": ["a", {"base64": "/w=="}], "end": "complete"},
    }
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "recording.jsonl"


@pytest.fixture
def real(raw_server):
    return raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").url


def broken(path, text):
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"recording\.jsonl, line ") as raised:
        replay(path).__enter__()
    return str(raised.value).partition("recording.jsonl, ")[2]


# What cannot be read


def test_a_file_that_is_not_there_is_named(path):
    with pytest.raises(FileNotFoundError, match=r"recording\.jsonl"):
        replay(path).__enter__()


@pytest.mark.parametrize(
    "text", ["", "\n", "[]\n", '"x"\n', "{}\n", LINE + "\n", '{"recording": 1}\n', '{"base_path": ""}\n']
)
def test_a_file_that_is_not_a_recording_is_refused(path, text):
    assert broken(path, text) == "line 1: this is not a recording; make one with record()"


def test_a_file_that_is_not_json_is_refused(path):
    assert broken(path, "hello\n") == "line 1: the line is not JSON; delete it, or record again"
    path.write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(ValueError, match="line 1: "):
        replay(path).__enter__()


@pytest.mark.parametrize("version", [2, 0, "1", None])
def test_a_recording_of_another_version_is_refused(path, version):
    said = broken(path, json.dumps({"recording": version, "base_path": ""}) + "\n")
    assert said == f"line 1: recordings of version {version} are unknown; record it again"


@pytest.mark.parametrize("cut", [1, 20, len(LINE) - 1])
def test_a_line_that_was_not_written_whole_is_named(path, cut):
    said = broken(path, HEAD + LINE + "\n" + LINE[:cut])
    assert said == "line 3: the line is not JSON, or incomplete; delete it, or record again"


@pytest.mark.parametrize(
    "change",
    [
        {"request": None},
        {"request": {"method": "GET"}},
        {"request": {"method": "GET", "path": 5}},
        {"request": []},
        {"reply": None},
        {"reply": {}},
        *(
            {"reply": {**json.loads(LINE)["reply"], **fields}}
            for fields in [
                {"status": "OK"},
                {"status": []},
                {"headers": [["a"]]},
                {"headers": 5},
                {"headers": [["a", 5]]},
                {"pieces": None},
                {"pieces": [5]},
                {"pieces": [{"base64": "*"}]},
                {"pieces": [{}]},
                {"end": "?"},
            ]
        ),
        {"number": "x"},
        {"number": None},
    ],
)
def test_a_line_that_is_not_an_exchange_is_named(path, change):
    said = broken(path, HEAD + LINE + "\n" + json.dumps({**json.loads(LINE), **change}) + "\n")
    assert said.startswith("line 3: this is not a recorded exchange (")


@pytest.mark.parametrize("value", ["[]", "5", "null", '"x"', "[" * 100_000])
def test_another_value_in_a_line_is_named(path, value):
    assert broken(path, HEAD + value + "\n").startswith("line 2: ")


# What can be read


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\n\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace('"number"', '"later": 1, "number"'),
    ],
    ids=["as it is", "no last line break", "CRLF", "blank lines", "BOM", "an unknown field"],
)
def test_changes_that_editors_and_git_make_do_not_break_a_file(path, change):
    path.write_bytes(change(HEAD + LINE + "\n").encode())
    with replay(str(path)) as server:
        assert ask(server, "GET", "/")[2] == b"a\xff"


def test_the_order_of_the_requests_counts_and_not_that_of_the_lines(path):
    lines = [json.loads(LINE) for _ in range(2)]
    for number, line in enumerate(lines):
        line["number"], line["reply"]["pieces"] = 2 - number, [str(2 - number)]
    path.write_text(HEAD + "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    with replay(path) as server:
        assert [ask(server, "GET", "/")[2] for _ in range(2)] == [b"1", b"2"]


def test_one_replay_can_be_used_again_from_the_start(path, real):
    with record(real, path) as server:
        ask(server, "GET", "/")
    again = replay(path)
    for _ in range(2):
        with again as server:
            assert ask(server, "GET", "/")[0] == 200


# When it is written


def test_a_recording_replaces_an_older_one_at_its_end(path, real):
    path.write_text("older", encoding="utf-8")
    with record(real, path) as server:
        ask(server, "GET", "/new")
        assert path.read_text(encoding="utf-8") == "older"
    with replay(path) as server:
        assert ask(server, "GET", "/new")[0] == 200
    assert list(path.parent.iterdir()) == [path]


def test_an_exception_keeps_the_older_recording_and_what_came(path, real):
    path.write_text("older", encoding="utf-8")
    with pytest.raises(KeyError), record(real, path) as server:
        ask(server, "GET", "/new")
        raise KeyError
    assert path.read_text(encoding="utf-8") == "older"
    with replay(f"{path}.partial") as server:
        assert ask(server, "GET", "/new")[0] == 200


def test_a_server_that_is_not_there_keeps_the_older_recording(path, closed_port):
    path.write_text("older", encoding="utf-8")
    with record(f"http://127.0.0.1:{closed_port}", path) as server:
        ask(server, "GET", "/")
    assert path.read_text(encoding="utf-8") == "older"
    assert list(path.parent.iterdir()) == [path]


def test_the_folder_of_a_recording_is_made(tmp_path, real):
    path = tmp_path / "a" / "b" / "recording.jsonl"
    with record(real, str(path)) as server:
        ask(server, "GET", "/")
    assert path.exists()


def test_a_file_that_cannot_be_written_is_an_error_at_once(tmp_path, real):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        record(real, tmp_path / "file" / "recording.jsonl").__enter__()


def test_each_exchange_is_in_the_file_when_the_client_has_the_end_of_its_reply(path, raw_server):
    real = raw_server(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n")
    with record(real.url, path) as server:
        for count in range(1, 4):
            ask(server, "GET", "/")
            assert Path(f"{path}.partial").read_bytes().count(b"\n") == 1 + count


def test_text_is_written_so_that_people_can_read_it(path, real):
    body = '{"text": "Grüße, 你好 \\ud800 \u2028"}'.encode()
    with record(real, path) as server:
        ask(server, "POST", "/", data=body)
    assert '"text": "Grüße, 你好 \\ud800 \u2028"' in path.read_text(encoding="utf-8")
    with replay(path) as server:
        assert ask(server, "POST", "/", data=body)[0] == 200


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a file that is always full")
def test_a_full_disk_is_an_error_of_the_with_statement_and_not_of_the_client(path, real):
    Path(f"{path}.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        record(real, path).__enter__()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="only POSIX limits the size of files")
def test_a_disk_that_becomes_full_is_an_error_at_the_end_and_not_of_the_client(path, real):
    program = """
import resource, signal, sys
from plain_http import ask
from lmstudio_provider.simulator import record
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
try:
    with record(*sys.argv[1:]) as server:
        print([ask(server, "GET", "/")[0] for _ in range(3)])
except OSError as error:
    print(type(error).__name__)
"""
    result = subprocess.run(
        [sys.executable, "-c", program, real, str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), *sys.path])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.stdout, result.stderr) == ("[200, 200, 200]\nOSError\n", "")
    assert not path.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only POSIX forks")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_that_leaves_the_with_statement_takes_nothing_away(path, real):
    with record(real, path) as server:
        child = os.fork()
        if child == 0:
            try:
                server.__exit__(None, None, None)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert not path.exists()
        ask(server, "GET", "/")
    with replay(path) as server:
        assert ask(server, "GET", "/")[0] == 200
