"""Records of usage, in memory and in a file, and their summaries."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import gc
import logging
import multiprocessing
import os
import pickle
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import for_each
from usage_records import RECORD, changed, record_many, record_times

from lmstudio_provider import (
    ConfigurationError,
    LMStudioProvider,
    MemoryUsage,
    SqliteUsage,
    UsageSummary,
)

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
needs_modes = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="this system has no permissions of POSIX")


def local(text):
    return datetime.datetime.fromisoformat(text).timestamp()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "usage.db"


@pytest.fixture
def usage(path):
    with SqliteUsage(path) as usage:
        yield usage


def rows(path, columns="*"):
    with contextlib.closing(sqlite3.connect(str(path))) as connection:
        return connection.execute(f"SELECT {columns} FROM usage ORDER BY rowid").fetchall()


def calls(path):
    return rows(path, "count(*)")[0][0]


def in_child(function):
    """Run ``function`` in a forked child; return the exit code."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = function() or 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# What cannot work


@for_each("wrong", ["", " ", ":memory:", b"usage.db", 7, None, "a\0b"])
def test_what_is_not_the_path_of_a_file_is_refused(wrong):
    with pytest.raises(ConfigurationError, match=r"path=.* is not the path of a file.*MemoryUsage\(\)"):
        SqliteUsage(wrong)


@pytest.mark.parametrize("kind", [lambda path: MemoryUsage(), SqliteUsage])
@pytest.mark.parametrize("by", ["week", "Model", None, 7, ["model", "week"], "model,day"])
def test_a_group_that_is_not_known_is_refused_with_those_that_are(kind, by, path):
    with pytest.raises(ConfigurationError, match=r"by=.* is not one of 'model', 'day', 'hour', 'operation'"):
        kind(path).summary(by=by)


@pytest.mark.parametrize("kind", [lambda path: MemoryUsage(), SqliteUsage])
@pytest.mark.parametrize("since", ["7d", True, float("nan"), float("inf"), datetime.date(2026, 11, 29)])
def test_a_time_that_is_not_one_is_refused(kind, since, path):
    with pytest.raises(ConfigurationError, match=r"since=.* is not valid: use a number"):
        kind(path).summary(since=since)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"this is not a database at all, but a text that is long enough to have a header" * 20, "not a database"),
        (b"SQLite format 3\0" + bytes(4080), "not a database|malformed|disk I/O error"),
    ],
)
def test_a_broken_file_is_named_once_and_breaks_nothing(path, content, why):
    path.write_bytes(content)
    usage = SqliteUsage(path)
    with pytest.warns(RuntimeWarning, match=f"cannot write usage to '.*usage.db'.*({why})") as caught:
        record_times(usage, 3)
    assert len(caught) == 1
    assert Path(caught[0].filename).name == "usage_records.py"
    with pytest.raises(ConfigurationError, match=f"cannot read the usage database '.*usage.db'.*({why})"):
        usage.summary()
    assert path.read_bytes() == content


def test_the_database_of_another_program_is_left_as_it_is(path):
    with contextlib.closing(sqlite3.connect(str(path))) as connection:
        connection.execute("CREATE TABLE bookmarks (url)")
    before = path.read_bytes()
    usage = SqliteUsage(path)
    with pytest.warns(RuntimeWarning, match="it is the database of another program"):
        usage.record(RECORD)
    with pytest.raises(ConfigurationError, match="it is the database of another program"):
        usage.summary()
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused_and_left_as_it_is(usage, path):
    usage.record(RECORD)
    usage.close()
    with contextlib.closing(sqlite3.connect(str(path))) as connection:
        connection.execute("PRAGMA user_version=99")
    before = path.read_bytes()
    with pytest.warns(RuntimeWarning, match="its schema has version 99, and .* only those up to 2. Update it"):
        usage.record(RECORD)
    with pytest.raises(ConfigurationError, match="its schema has version 99"):
        usage.summary()
    assert path.read_bytes() == before


def test_a_folder_that_does_not_exist_is_not_made(tmp_path):
    usage = SqliteUsage(tmp_path / "none" / "usage.db")
    with pytest.warns(RuntimeWarning, match="usage.db': its folder cannot be found. The call is not affected"):
        usage.record(RECORD)
    assert list(tmp_path.iterdir()) == []
    assert usage.summary() == []


def test_a_folder_as_the_file_is_an_error(tmp_path):
    usage = SqliteUsage(tmp_path)
    with pytest.warns(RuntimeWarning, match="it is a folder"):
        usage.record(RECORD)
    with pytest.raises(ConfigurationError, match="it is a folder"):
        usage.summary()


@pytest.mark.slow
def test_without_the_module_of_sqlite_the_error_says_so(tmp_path):
    # A Python can be built without it.
    code = """
import sys
sys.modules["_sqlite3"] = None
from lmstudio_provider import *
try:
    SqliteUsage("usage.db")
except ConfigurationError as error:
    print(error)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert ended.stdout.startswith("SqliteUsage needs sqlite3, which this Python does not have")


# A call is never broken


def test_a_call_goes_on_if_its_record_cannot_be_written(simulator, tmp_path):
    usage = SqliteUsage(tmp_path / "none" / "usage.db")
    with LMStudioProvider(simulator.url, usage=usage) as lm:
        with pytest.warns(RuntimeWarning) as caught:
            assert lm.chat("Hi").text and lm.chat("Hi").text and "".join(lm.stream("Hi").text())  # noqa: PT018
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_a_warning_that_is_an_error_does_not_reach_the_call(tmp_path, caplog):
    usage = SqliteUsage(tmp_path / "none" / "usage.db")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        usage.record(RECORD)
        usage.record(RECORD)
    assert [each.levelno for each in caplog.records] == [logging.WARNING] * 2


def test_what_could_not_be_written_is_written_later_in_order(tmp_path):
    path = tmp_path / "later" / "usage.db"
    usage = SqliteUsage(path)
    with pytest.warns(RuntimeWarning):
        usage.record(changed(model="first"))
    usage.record(changed(model="second"))
    path.parent.mkdir()
    usage.record(changed(model="third"))
    assert rows(path, "model") == [("first",), ("second",), ("third",)]


def test_what_could_not_be_written_is_written_when_it_is_closed_or_summed_up(tmp_path):
    for number, write in enumerate([SqliteUsage.close, SqliteUsage.summary]):
        path = tmp_path / str(number) / "usage.db"
        usage = SqliteUsage(path)
        with pytest.warns(RuntimeWarning):
            usage.record(RECORD)
        path.parent.mkdir()
        write(usage)
        assert calls(path) == 1


def test_what_could_not_be_written_is_written_when_the_interpreter_ends(tmp_path):
    code = f"""
import dataclasses, pathlib, sys, warnings
sys.path.insert(0, {str(Path(__file__).parent)!r})
from lmstudio_provider import SqliteUsage
from usage_records import RECORD
warnings.simplefilter("ignore")
usage = SqliteUsage("later/usage.db")
usage.record(RECORD)
pathlib.Path("later").mkdir()
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, check=True)
    assert calls(tmp_path / "later" / "usage.db") == 1


def test_only_the_last_thousand_records_wait(tmp_path):
    path = tmp_path / "later" / "usage.db"
    usage = SqliteUsage(path)
    with pytest.warns(RuntimeWarning, match="the last 1,000 records wait in memory"):
        record_times(usage, 1_100)
    path.parent.mkdir()
    usage.close()
    assert [count for (count,) in rows(path, "prompt_tokens")] == list(range(100, 1_100))


@pytest.mark.slow
def test_a_locked_file_is_waited_for_once_and_written_when_it_is_free(usage, path):
    usage.record(RECORD)
    with contextlib.closing(sqlite3.connect(str(path), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.warns(RuntimeWarning, match="database is locked") as caught:
            record_times(usage, 20)
        assert len(caught) == 1
        assert len(usage.summary()) == 1  # it can be read
        other.execute("ROLLBACK")
    usage.record(RECORD)
    assert calls(path) == 22


@pytest.mark.slow
def test_a_file_that_is_locked_for_readers_too_cannot_be_summed_up(path):
    with contextlib.closing(sqlite3.connect(str(path), isolation_level=None)) as other:
        other.execute("CREATE TABLE usage (x)")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ConfigurationError, match="database is locked"):
            SqliteUsage(path).summary()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of the size of files")
def test_a_full_disk_is_named_once_and_what_waits_is_written_when_there_is_room(tmp_path):
    code = f"""
import resource, signal, sys, warnings
sys.path.insert(0, {str(Path(__file__).parent)!r})
from lmstudio_provider import SqliteUsage
from usage_records import RECORD
usage = SqliteUsage("usage.db")
usage.record(RECORD)
none, most = resource.getrlimit(resource.RLIMIT_FSIZE)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, most))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(300):
        usage.record(RECORD)
print(len(caught), "cannot write usage to" in str(caught[0].message))
print(usage.summary()[0].calls < 301)
resource.setrlimit(resource.RLIMIT_FSIZE, (none, most))
usage.record(RECORD)
print(usage.summary()[0].calls)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert ended.stdout.splitlines() == ["1 True", "True", "302"]


@needs_fork
@needs_modes
def test_a_folder_that_is_read_only_breaks_no_call_and_can_be_read():
    with tempfile.TemporaryDirectory() as name:  # its parents can be entered by everyone
        folder, path = Path(name), Path(name) / "usage.db"
        with SqliteUsage(path) as usage:
            usage.record(RECORD)
        path.chmod(0o444)
        folder.chmod(0o555)

        def read_and_record():
            if os.geteuid() == 0:
                os.setuid(65534)
            reader = SqliteUsage(path)
            assert reader.summary()[0].calls == 1
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                for _ in range(3):
                    reader.record(RECORD)
                    SqliteUsage(folder / "other.db").record(RECORD)
            kinds = [str(each.message).partition(": ")[2].partition(".")[0] for each in caught]
            assert kinds == ["attempt to write a readonly database", *["unable to open database file"] * 3]

        def find_it_closed():
            if os.geteuid() == 0:
                os.setuid(65534)
            with pytest.raises(ConfigurationError, match=r"cannot read .*: (Permission denied|unable to open)"):
                SqliteUsage(path).summary()

        try:
            assert in_child(read_and_record) == 0
            folder.chmod(0)
            assert in_child(find_it_closed) == 0
        finally:
            folder.chmod(stat.S_IRWXU)


def test_text_and_numbers_that_sqlite_cannot_hold_are_kept_as_near_as_it_can(usage, path):
    usage.record(changed(model="half of a pair: \ud83c", prompt_tokens=10**30, duration_s=float("nan")))
    usage.record(RECORD)
    assert rows(path, "model, prompt_tokens") == [("half of a pair: \\ud83c", 1e30), ("qwen", 10)]


def test_counts_whose_sum_has_more_than_64_bits_are_summed_up(usage):
    for _ in range(3):
        usage.record(changed(total_tokens=2**62))
    assert usage.summary()[0].total_tokens == pytest.approx(3 * 2**62)


# Where and when


def test_nothing_is_opened_before_the_first_record(path):
    usage = SqliteUsage(str(path))
    assert usage.summary() == []
    assert not path.exists()
    usage.record(RECORD)
    assert path.exists()


@pytest.mark.slow
def test_the_module_of_sqlite_is_imported_only_if_it_is_used():
    code = """
import sys
from lmstudio_provider import *
MemoryUsage().summary()
print("sqlite3" in sys.modules)
SqliteUsage("usage.db")
print("sqlite3" in sys.modules)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["False", "True"]


def test_a_relative_path_stays_the_same_file_in_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    usage = SqliteUsage("usage.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    usage.record(RECORD)
    usage.close()
    assert usage.path == tmp_path / "usage.db"
    assert calls(usage.path) == 1


@pytest.mark.parametrize("name", ["a b?c#d%20.db", "grüße 🌍.db", "it's; DROP TABLE usage.db"])
def test_any_name_of_a_file_works(tmp_path, name):
    if sys.platform == "win32" and set(name) & set('?*"<>|'):
        pytest.skip("Windows does not allow this name")
    with SqliteUsage(tmp_path / name) as usage:
        usage.record(RECORD)
        assert usage.summary()[0].calls == 1
    assert (tmp_path / name).exists()


def test_a_record_has_all_fields(usage, path):
    usage.record(changed(error_type="RequestTimeoutError", status="timeout"))
    with contextlib.closing(sqlite3.connect(str(path))) as connection:
        connection.row_factory = sqlite3.Row
        row = connection.execute("SELECT * FROM usage").fetchone()
    assert dict(row) == dataclasses.asdict(changed(error_type="RequestTimeoutError", status="timeout"))


def test_the_file_is_in_wal_mode(usage, path):
    usage.record(RECORD)
    with contextlib.closing(sqlite3.connect(str(path))) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_closed_file_is_whole_in_one_file_and_opens_again(usage, path):
    usage.record(RECORD)
    usage.close()
    usage.close()
    assert list(path.parent.iterdir()) == [path]
    usage.record(RECORD)
    assert usage.summary()[0].calls == 2


def test_a_recorder_that_is_collected_closes_its_file(path):
    usage = SqliteUsage(path)
    usage.record(RECORD)
    del usage
    gc.collect()
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not delete a file that is open")
def test_a_file_that_was_deleted_is_made_again(usage, path):
    usage.record(changed(model="old"))
    for each in path.parent.iterdir():
        each.unlink()
    usage.record(changed(model="new"))
    assert [row.model for row in usage.summary()] == ["new"]
    path.unlink()
    with contextlib.closing(sqlite3.connect(str(path))), SqliteUsage(path) as other:
        other.record(changed(model="of another"))
    usage.record(changed(model="newest"))
    assert [row.model for row in usage.summary()] == ["newest", "of another"]


def test_a_file_with_an_older_schema_gets_the_newer_one(usage, path):
    usage.record(RECORD)
    usage.close()
    with contextlib.closing(sqlite3.connect(str(path))) as connection:  # as the first version made it
        connection.execute("DROP INDEX usage_created_at")
        connection.execute("PRAGMA user_version=1")
    assert usage.summary()[0].calls == 1
    usage.record(RECORD)
    with contextlib.closing(sqlite3.connect(str(path))) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        assert connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'").fetchall() == [
            ("usage_created_at",)
        ]
    assert calls(path) == 2


def test_an_empty_file_becomes_a_database(usage, path):
    path.touch()
    assert usage.summary() == []
    usage.record(RECORD)
    assert calls(path) == 1


# Several at once


def test_several_threads_share_a_recorder(usage, path):
    threads = [threading.Thread(target=lambda: [usage.record(RECORD) for _ in range(50)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls(path) == 400


@pytest.mark.slow
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_several_processes_write_and_the_first_record_of_each_comes_at_once(path, method):
    context = multiprocessing.get_context(method)
    usage = SqliteUsage(path)  # pickled, except for a fork
    processes = [context.Process(target=record_many, args=(usage, f"model {number}")) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert [(row.model, row.calls) for row in usage.summary()] == [(f"model {number}", 100) for number in range(4)]


@needs_fork
def test_parent_and_child_go_on_after_a_fork(usage, path):
    usage.record(changed(model="before"))

    def record():
        usage.record(changed(model="child"))
        usage.close()

    assert in_child(record) == 0
    usage.record(changed(model="parent"))
    assert rows(path, "model") == [("before",), ("child",), ("parent",)]


@needs_fork
def test_no_connection_to_the_file_is_inherited(usage, path):
    usage.record(RECORD)
    fds = Path("/proc/self/fd") if Path("/proc/self/fd").exists() else Path("/dev/fd")

    def look():
        opened = [each.resolve() for each in fds.iterdir()]
        return any(each.name.startswith(path.name) for each in opened)

    assert in_child(look) == 0


@needs_fork
def test_records_that_wait_are_written_by_the_parent_alone(tmp_path):
    path = tmp_path / "later" / "usage.db"
    usage = SqliteUsage(path)
    with pytest.warns(RuntimeWarning):
        usage.record(changed(model="waits"))
    path.parent.mkdir()

    def record():
        usage.record(changed(model="child"))
        usage.close()

    assert in_child(record) == 0
    usage.close()
    assert rows(path, "model") == [("child",), ("waits",)]


@pytest.mark.slow
@needs_fork
def test_forks_while_threads_record_lose_nothing(usage, path):
    over = threading.Event()
    counts = [0, 0]

    def record(position):
        while not over.is_set():
            usage.record(RECORD)
            counts[position] += 1

    threads = [threading.Thread(target=record, args=(position,)) for position in range(2)]
    for thread in threads:
        thread.start()
    codes = [in_child(lambda: usage.record(RECORD) or usage.close()) for _ in range(20)]
    over.set()
    for thread in threads:
        thread.join()
    assert codes == [0] * 20
    assert calls(path) == sum(counts) + 20
    with contextlib.closing(sqlite3.connect(str(path))) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_killed_process_leaves_what_it_had_recorded(path):
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from lmstudio_provider import SqliteUsage
from usage_records import RECORD
usage = SqliteUsage({str(path)!r})
usage.record(RECORD)
os.kill(os.getpid(), {int(getattr(signal, "SIGKILL", signal.SIGTERM))})
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    assert SqliteUsage(path).summary()[0].calls == 1


@needs_fork
def test_a_signal_handler_may_record_while_its_thread_does(usage, path):
    handled = []  # no count: a second signal may come between the two halves of "+= 1"

    def handler(number, frame):
        handled.append(number)
        if len(handled) == 50:  # if writing takes longer than the interval, the loop below does not get its turn
            signal.setitimer(signal.ITIMER_REAL, 0)
        usage.record(RECORD)

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        done = 0
        while len(handled) < 50:
            usage.record(RECORD)
            done += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    usage.close()
    assert calls(path) == done + len(handled)


@needs_fork
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of a connection that was just made
def test_an_interrupt_while_recording_loses_and_repeats_nothing(usage, path):
    class Interrupt(BaseException):
        pass

    def handler(number, frame):
        raise Interrupt

    before = signal.signal(signal.SIGALRM, handler)
    begun = interrupted = 0
    try:
        while interrupted < 50:
            begun += 1
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 2e-4))
                usage.record(changed(prompt_tokens=begun))
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupt:
                interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    usage.close()
    written = [count for (count,) in rows(path, "prompt_tokens")]
    assert written == sorted(set(written))  # each once, and in order
    assert len(written) >= begun - interrupted
    gc.collect()


def test_a_recorder_is_pickled_as_its_path(usage, path):
    usage.record(RECORD)
    copy = pickle.loads(pickle.dumps(usage))
    copy.record(RECORD)
    copy.close()
    assert copy.path == usage.path
    assert repr(copy) == f"SqliteUsage({str(path)!r})"
    assert calls(path) == 2


def test_a_provider_with_a_recorder_pickles(simulator, usage, path):
    with LMStudioProvider(simulator.url, usage=usage) as lm, pickle.loads(pickle.dumps(lm)) as copy:
        lm.chat("Hi")
        copy.chat("Hi")
        assert usage.summary(by="operation")[0].calls == 2


# Summaries

RECORDS = [
    changed(created_at=local("2026-11-28 23:59:59.999900"), prompt_tokens=1, completion_tokens=2, total_tokens=3),
    changed(created_at=local("2026-11-29 00:00:00"), model="gemma", operation="stream", duration_s=1.0),
    changed(created_at=local("2026-11-29 00:30:00"), operation="embed", completion_tokens=None, duration_s=8.0),
    changed(
        created_at=local("2026-11-29 14:00:00"),
        prompt_tokens=None,
        completion_tokens=None,
        total_tokens=None,
        status="timeout",
        error_type="RequestTimeoutError",
        duration_s=30.0,
    ),
    changed(created_at=local("2026-11-29 14:59:59"), model="gemma", status="cancelled", completion_tokens=0),
]


@pytest.fixture(params=["memory", "sqlite"])
def recorded(request, path):
    usage = MemoryUsage() if request.param == "memory" else SqliteUsage(path)
    for each in RECORDS:
        usage.record(each)
    yield usage
    if request.param == "sqlite":
        usage.close()


def test_a_summary_has_the_sums_of_each_model(recorded):
    assert recorded.summary() == [
        UsageSummary(
            model="gemma",
            day=None,
            hour=None,
            operation=None,
            calls=2,
            errors=0,
            uncounted=0,
            prompt_tokens=20,
            completion_tokens=20,
            total_tokens=60,
            duration_s=3.0,
            tokens_per_second=20.0,
        ),
        UsageSummary(
            model="qwen",
            day=None,
            hour=None,
            operation=None,
            calls=3,
            errors=1,
            uncounted=1,
            prompt_tokens=11,
            completion_tokens=2,
            total_tokens=33,
            duration_s=40.0,
            tokens_per_second=1.0,
        ),
    ]


def test_a_sum_of_what_is_not_known_is_not_known(recorded):
    (row,) = [row for row in recorded.summary(by="operation") if row.operation == "embed"]
    assert (row.prompt_tokens, row.completion_tokens, row.tokens_per_second) == (10, None, None)


def test_days_and_hours_are_those_of_the_clock_on_the_wall(recorded):
    assert [(row.day, row.calls) for row in recorded.summary(by="day")] == [("2026-11-28", 1), ("2026-11-29", 4)]
    assert [(row.hour, row.calls) for row in recorded.summary(by="hour")] == [
        ("2026-11-28 23:00", 1),
        ("2026-11-29 00:00", 2),
        ("2026-11-29 14:00", 2),
    ]


def test_several_groups_are_combined(recorded):
    found = [(row.day, row.model, row.hour, row.calls) for row in recorded.summary(by=["day", "model"])]
    assert found == [
        ("2026-11-28", "qwen", None, 1),
        ("2026-11-29", "gemma", None, 2),
        ("2026-11-29", "qwen", None, 2),
    ]


def test_no_group_is_the_sum_of_all(recorded):
    (row,) = recorded.summary(by=())
    assert (row.calls, row.errors, row.total_tokens, row.model) == (5, 1, 93, None)
    assert recorded.summary(by=(), since=4e9) == []


@pytest.mark.parametrize(
    "since", [local("2026-11-29 14:00:00"), datetime.datetime(2026, 11, 29, 14).astimezone(datetime.timezone.utc)]
)
def test_older_calls_are_left_out(recorded, since):
    assert sum(row.calls for row in recorded.summary(since=since)) == 2


counts = st.none() | st.integers(0, 2**40)
durations = st.integers(0, 1000).map(lambda value: value / 8)
records = st.builds(
    changed,
    model=st.sampled_from(["a", "B", "ä", "", "🌍", "a\0b", "'"]),
    operation=st.sampled_from(["chat", "embed"]),
    prompt_tokens=counts,
    completion_tokens=counts,
    total_tokens=counts,
    duration_s=durations,
    status=st.sampled_from(["ok", "cancelled", "timeout", "interrupted", "error"]),
    created_at=st.floats(1.6e9, 1.9e9),
)
groups = st.lists(st.sampled_from(["model", "day", "hour", "operation"]), unique=True)


@pytest.mark.slow
@given(st.lists(records, max_size=20), groups, st.none() | st.floats(1.6e9, 1.9e9))
def test_both_sum_up_alike(given_records, by, since):
    with tempfile.TemporaryDirectory() as folder, SqliteUsage(Path(folder) / "usage.db") as sqlite:
        memory = MemoryUsage()
        for each in given_records:
            memory.record(each)
            sqlite.record(each)
        assert sqlite.summary(by, since) == memory.summary(by, since)


def test_summaries_hold_while_others_write(usage, path):
    over = threading.Event()

    def write():
        with SqliteUsage(path) as other:
            while not over.is_set():
                other.record(RECORD)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        while thread.is_alive() and not (found := usage.summary()):
            time.sleep(0)
        assert found[0].total_tokens == 30 * found[0].calls
    finally:
        over.set()
        thread.join()
