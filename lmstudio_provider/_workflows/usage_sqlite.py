"""Records of usage that are kept in a file."""

from __future__ import annotations

import datetime
import os
import weakref
from pathlib import Path
from typing import Sequence

from .._core.checks import Check, check
from .._core.errors import ConfigurationError
from .._core.usage import UsageRecord
from .usage import Group, UsageSummary, grouping

_FILE = Check(
    lambda path: isinstance(path, str) and path.strip() and "\0" not in path and path != ":memory:",
    "is not the path of a file",
    "MemoryUsage() keeps records in memory",
)


class SqliteUsage:
    """Keeps records in an SQLite database, which several threads and processes may use at once.

    The file is opened for the first record, and made if it is not there; its folder must exist. If a record cannot be
    written, such as to a full disk, the call is not affected. There is one RuntimeWarning, and the last 1,000 of these
    records wait in memory for a later one that can be written, or for ``close``. Raises ConfigurationError if ``path``
    is not the path of a file.
    """

    path: Path
    """The absolute path of the database."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        check("path", os.fspath(path) if isinstance(path, os.PathLike) else path, _FILE, ConfigurationError)
        try:
            from .usage_database import UsageDatabase  # noqa: PLC0415 (there are Pythons without sqlite3)
        except ImportError as error:
            raise ConfigurationError(f"SqliteUsage needs sqlite3, which this Python does not have: {error}") from error
        self.path = Path(path).absolute()
        self._database = UsageDatabase(self.path)
        weakref.finalize(self, self._database.close)  # also when the interpreter ends

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    def __reduce__(self) -> tuple[type[SqliteUsage], tuple[Path]]:
        return type(self), (self.path,)

    def __enter__(self) -> SqliteUsage:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def record(self, record: UsageRecord, /) -> None:
        """Write ``record``; if the file is locked, wait up to 2 seconds the first time."""
        self._database.record(record)

    def summary(
        self, by: Group | Sequence[Group] = "model", since: float | datetime.datetime | None = None
    ) -> list[UsageSummary]:
        """Return a summary for each group of the records in the file, as ``MemoryUsage.summary`` does.

        If there is no file yet, the list is empty. Raises ConfigurationError, also if the file cannot be read.
        """
        return self._database.summary(*grouping(by, since))

    def close(self) -> None:
        """Close the file; another record opens it again."""
        self._database.close()
