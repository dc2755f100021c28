"""The SQLite database of ``SqliteUsage``."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import operator
import os
import sqlite3
import threading
import weakref
from pathlib import Path
from typing import Sequence

from .._core.callbacks import warn
from .._core.errors import ConfigurationError
from .._core.usage import UsageRecord
from .usage import UsageSummary, summary_of

logger = logging.getLogger("lmstudio_provider")

_WAIT_S = 2.0
"""Seconds to wait for another process that writes, unless the last record could not be written."""
_KEPT = 1_000
"""The largest number of records that wait in memory."""
_APPLICATION = 0x4C4D5355
"""Marks the database as one of usage records, in the header of its file (PRAGMA application_id)."""
# Each statement makes the schema one version newer. PRAGMA user_version counts those that were executed.
_STEPS = (
    """CREATE TABLE usage (provider_id TEXT, model TEXT, operation TEXT,
        prompt_tokens INTEGER, completion_tokens INTEGER, total_tokens INTEGER,
        duration_s REAL, time_to_first_token_s REAL, status TEXT, api_key_hash TEXT, created_at REAL,
        request_model TEXT, server_address TEXT, server_port INTEGER, error_type TEXT)""",
    "CREATE INDEX usage_created_at ON usage (created_at)",
)
_FIELDS = [field.name for field in dataclasses.fields(UsageRecord)]
_INSERT = f"INSERT INTO usage ({', '.join(_FIELDS)}) VALUES ({', '.join('?' * len(_FIELDS))})"  # noqa: S608
_values_of = operator.attrgetter(*_FIELDS)

# Rounded down, because SQLite would round to the next millisecond.
_TIME = "CAST(created_at AS INTEGER), 'unixepoch', 'localtime'"
_KEYS = {
    "model": "model",
    "day": f"strftime('%Y-%m-%d', {_TIME})",
    "hour": f"strftime('%Y-%m-%d %H:00', {_TIME})",
    "operation": "operation",
}
# The sums of tokens are floats, because a sum of integers that does not fit into 64 bits is an error.
_SUMS = (
    "count(*), sum(status IN ('timeout', 'interrupted', 'error')), sum(total_tokens IS NULL),"
    " sum(prompt_tokens + 0.0), sum(completion_tokens + 0.0), sum(total_tokens + 0.0),"
    " total(duration_s), sum(CASE WHEN completion_tokens > 0 THEN duration_s END)"
)


class UsageDatabase:
    """The connection of a process to the file, and the records that could not be written yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._waiting: list[tuple[object, ...]] = []
        self._writing = self._failed = self._warned = False
        self.lock = threading.RLock()  # a signal handler may make a call while its thread is in here
        with _FORKING:  # a set cannot be iterated while it changes
            _DATABASES.add(self)

    def record(self, record: UsageRecord) -> None:
        """Write ``record`` and those that wait, or warn."""
        values = tuple(map(_storable, _values_of(record)))
        try:
            with self.lock:
                self._waiting.append(values)
                self._write()
        except sqlite3.Error as error:
            self._report(error)

    def summary(self, names: Sequence[str], oldest: float) -> list[UsageSummary]:
        """Return the summaries of the groups with these names; raise ConfigurationError."""
        self._try_waiting()
        keys = [*(_KEYS[name] for name in names), _SUMS]
        order = ", ".join(str(position) for position in range(1, len(keys)))
        # Without a limit, reading the table in its own order is faster than by the index.
        limited = "+created_at" if oldest == -math.inf else "created_at"
        sql = f"SELECT {', '.join(keys)} FROM usage WHERE {limited} >= ?"  # noqa: S608
        sql += f" GROUP BY {order} ORDER BY {order}" if order else " GROUP BY NULL"  # no row if there is no record
        try:
            self._path.stat()
            return [summary_of(names, row) for row in self._read(sql, oldest)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except (sqlite3.Error, OSError) as error:
            problem = f"cannot read the usage database {str(self._path)!r}: {self._reason(error)}"
            raise ConfigurationError(problem) from error

    def close(self) -> None:
        """Write what waits, if that is possible, and close the connection."""
        self._try_waiting()
        with self.lock:
            self.disconnect()

    def disconnect(self) -> None:
        """Close the connection; SQLite rolls back what was not committed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def forget_waiting(self) -> None:
        """Forget the records that wait."""
        self._waiting.clear()

    def _try_waiting(self) -> None:
        with self.lock, contextlib.suppress(sqlite3.Error):  # the user was warned when they were recorded
            self._write()

    def _write(self) -> None:
        """Write what waits; raise sqlite3.Error."""
        if self._writing:  # by the code that a signal handler has interrupted, which will write this, too
            return
        try:
            self._writing = True
            del self._waiting[:-_KEPT]
            while self._waiting:
                self._write_once(self._waiting[:])
        except BaseException:
            self._failed = True
            self.disconnect()
            raise
        finally:
            self._writing = False

    def _write_once(self, rows: list[tuple[object, ...]]) -> None:
        connection = self._connected()
        try:
            connection.executemany(_INSERT, rows)  # begins a transaction
            del self._waiting[: len(rows)]
            connection.commit()
        except BaseException as error:
            taken = not self._waiting or self._waiting[0] is not rows[0]
            # After Ctrl-C during the commit, there is no transaction any more, and the records are written.
            if taken and (isinstance(error, sqlite3.Error) or connection.in_transaction):
                self._waiting[:0] = rows
            raise
        if self._failed:  # the next connection waits for other processes again
            self._failed = False
            self.disconnect()

    def _connected(self) -> sqlite3.Connection:
        if self._connection is not None and self._identity() != self._file:
            self.disconnect()  # the file was deleted or replaced, and SQLite would go on to write to the old one
        if self._connection is None:
            wait_s = 0 if self._failed else _WAIT_S
            self._connection = sqlite3.connect(
                str(self._path), timeout=wait_s, isolation_level="IMMEDIATE", check_same_thread=False
            )
            _prepare(self._connection)
            self._file = self._identity()
        return self._connection

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _read(self, sql: str, oldest: float) -> list[tuple[object, ...]]:
        try:
            return _rows(str(self._path), sql, oldest)
        except sqlite3.OperationalError:
            # In a read-only folder, SQLite reads a file only if it may rely on no program writing to it.
            if os.access(self._path.parent, os.W_OK) or Path(f"{self._path}-wal").exists():
                raise
            return _rows(f"{self._path.as_uri()}?immutable=1", sql, oldest)

    def _reason(self, error: BaseException) -> str:
        if os.path.isdir(self._path):  # noqa: PTH112 (it does not raise)
            return "it is a folder"
        if not os.path.isdir(self._path.parent):  # noqa: PTH112
            return "its folder cannot be found"
        return str(getattr(error, "strerror", None) or error).rstrip(".")

    def _report(self, error: sqlite3.Error) -> None:
        message = (
            f"cannot write usage to {str(self._path)!r}: {self._reason(error)}. The call is not affected; "
            f"the last {_KEPT:,} records wait in memory until they can be written"
        )
        logger.warning(message)
        if not self._warned:
            self._warned = True
            with contextlib.suppress(RuntimeWarning):  # the user may turn warnings into errors
                warn(message, RuntimeWarning)


def _storable(value: object) -> object:
    """Return ``value``, or what SQLite can hold of it."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")  # half of a surrogate pair cannot be UTF-8
    fits = value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)
    return value if fits else str(value)


def _version(connection: sqlite3.Connection) -> int:
    """Return the version of the schema, 0 for an empty database; raise sqlite3.DatabaseError if it is not known."""
    # The tables are read first: another process that creates them later also creates the marks, in one transaction.
    questions = ("SELECT count(*) FROM sqlite_master", "PRAGMA application_id", "PRAGMA user_version")
    tables, application, version = (connection.execute(question).fetchone()[0] for question in questions)
    if tables and application != _APPLICATION:
        raise sqlite3.DatabaseError("it is the database of another program. Choose another file")
    if version > len(_STEPS):
        problem = f"its schema has version {version}, and this version of {__package__.partition('.')[0]} knows"
        raise sqlite3.DatabaseError(f"{problem} only those up to {len(_STEPS)}. Update it, or choose another file")
    return int(version)


def _prepare(connection: sqlite3.Connection) -> None:
    """Make the database ready for writing, with the newest schema; raise sqlite3.Error."""
    is_old = _version(connection) < len(_STEPS)
    # SQLite does not wait if another process does the same, and not every file system can have it. Both are fine.
    with contextlib.suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")  # no wait for the disk at each record
    if is_old:
        connection.execute("BEGIN IMMEDIATE")
        for step in _STEPS[_version(connection) :]:
            connection.execute(step)
        connection.execute(f"PRAGMA application_id={_APPLICATION}")
        connection.execute(f"PRAGMA user_version={len(_STEPS)}")
        connection.commit()


def _rows(path: str, sql: str, oldest: float) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(path, timeout=_WAIT_S, uri=path.startswith("file:"))) as connection:
        return connection.execute(sql, (oldest,)).fetchall() if _version(connection) else []


# A connection that a child process inherits can damage the database, even by closing it. So there is none during a
# fork, and no thread is in the middle of something (SQLite, "How To Corrupt An SQLite Database File", 2.6).
_DATABASES: weakref.WeakSet[UsageDatabase] = weakref.WeakSet()
_HELD: list[UsageDatabase] = []
_FORKING = threading.RLock()


def _before_fork() -> None:
    _FORKING.acquire()
    for each in list(_DATABASES):
        each.lock.acquire()
        _HELD.append(each)
        each.disconnect()


def _after_fork() -> None:
    while _HELD:
        _HELD.pop().lock.release()
    _FORKING.release()


def _after_fork_in_child() -> None:
    for each in _HELD:
        each.forget_waiting()  # the parent writes them
    _after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
