"""The file of the answers of ``batch``: a later run reads it, repairs it and goes on with it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
import threading
from io import FileIO
from pathlib import Path
from typing import Any

from .._core.json import loads
from .._core.threads import Event, start
from .console import UsageError

if sys.platform == "win32":
    import msvcrt

    def _lock(number: int) -> None:
        # One byte far behind the others: nobody else can read or write what is locked.
        os.lseek(number, 2**31 - 2, os.SEEK_SET)
        msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(number: int) -> None:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)


_SYNC_S = 1.0
_BEGIN = b'{"id": '  # of each line


def key_of(id_: object) -> str:
    """Return a key for the id of a line, which is another one for 1 than for "1"."""
    return json.dumps(id_)


class AnswerFile:
    """Appends lines to a file; each is on the disk a second later.

    ``answered`` and ``failed`` have the keys of the ids of the lines that are there. A last line that was written only
    in part is removed, and with ``retry_errors`` each that failed. Raises UsageError if the file has other lines, or if
    another process writes it: it is locked until it is closed.
    """

    def __init__(self, path: Path, retry_errors: bool) -> None:
        self.answered: set[str] = set()
        self.failed: set[str] = set()
        self._file = path.open("ab", buffering=0)
        try:
            is_file = lock(self._file, path)
            if is_file:
                self._read(path, retry_errors)
        except BaseException:
            self._file.close()
            raise
        self._changed = False
        self._problem: OSError | None = None
        self._closing = Event()
        self._syncing = threading.Thread(target=self._sync, daemon=True)
        if is_file:
            start(self._syncing)

    def append(self, line: dict[str, Any]) -> None:
        """Write one line."""
        # Half of a surrogate pair, which UTF-8 does not have, becomes its escape in JSON.
        data = (json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
        while data:
            data = data[self._file.write(data) or 0 :]
        self._changed = True

    def __enter__(self) -> AnswerFile:
        return self

    def __exit__(self, kind: object = None, *rest: object) -> None:
        self._closing.set()
        if self._syncing.is_alive():
            self._syncing.join()
        self._file.close()
        if self._problem is not None and kind is None:
            raise self._problem

    def _sync(self) -> None:
        closing = False
        while not closing:
            closing = self._closing.wait(_SYNC_S)
            if self._changed:
                self._changed = False
                try:
                    os.fsync(self._file.fileno())
                except OSError as error:
                    self._problem = error

    def _read(self, path: Path, retry_errors: bool) -> None:
        is_whole = True
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                answer, is_whole = _answer_of(line), line.endswith(b"\n")
                if answer is not None:
                    (self.failed if "error" in answer else self.answered).add(key_of(answer["id"]))
                elif is_whole or not _is_part(line):
                    raise UsageError(
                        f"{path}, line {number}, is not an answer of this command; give another file to -o"
                    )
        if not is_whole or (retry_errors and self.failed):
            self._replace(path.resolve(), retry_errors)
        if retry_errors:
            self.failed.clear()

    def _replace(self, path: Path, retry_errors: bool) -> None:
        copy, old = _rewritten(path, retry_errors), self._file
        if os.name == "nt":  # which does not replace an open file
            old.close()
        try:
            copy.replace(path)
            self._file = path.open("ab", buffering=0)
            lock(self._file, path)
        finally:
            old.close()  # only now: nobody may write to it after the copy was made


def lock(file: FileIO, path: Path) -> bool:
    """Lock a file until it is closed; return False if it is a pipe or a device, which several can write.

    Raises UsageError if another process has the lock.
    """
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        return False
    try:
        _lock(file.fileno())
        # Another process may have replaced it since it was opened; Windows does not replace an open file.
        is_free = os.name == "nt" or os.path.samestat(status, path.stat())
    except (BlockingIOError, PermissionError, FileNotFoundError):
        is_free = False
    except OSError:  # this file system has no locks
        is_free = True
    if not is_free:
        raise UsageError(f"another batch writes {path}")
    return True


def _answer_of(line: bytes) -> dict[str, Any] | None:
    """Return the answer in a line; None if there is none."""
    try:
        value = loads(line.decode().strip())
    except ValueError:
        return None
    return value if isinstance(value, dict) and "id" in value and ("text" in value or "error" in value) else None


def _is_part(line: bytes) -> bool:
    """Return True if ``line`` can be the beginning of an answer. After a crash of the machine it may end with NULs."""
    begin = line.rstrip(b"\0")
    return begin.startswith(_BEGIN) or _BEGIN.startswith(begin)


def _rewritten(path: Path, retry_errors: bool) -> Path:
    """Return a copy of the file with its whole answers only, and without those that failed if ``retry_errors``."""
    copy = path.with_name(f".{path.name}.batch-new")
    with path.open("rb") as old, copy.open("wb") as new:
        for line in old:
            answer = _answer_of(line)
            if answer is not None and not (retry_errors and "error" in answer):
                new.write(line.rstrip(b"\n") + b"\n")
        new.flush()
        os.fsync(new.fileno())
    shutil.copymode(path, copy)
    return copy
