"""A file as the body of a request: read and sent in pieces, never whole in memory."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Callable, Generator, Iterator

from .errors import InvalidRequestError, preview

_PIECE_BYTES = 1024 * 1024


class StoppedError(Exception):  # it never leaves the package
    """The caller's function has raised. It has its own type so that it is not taken for an error of the connection."""


class Upload:
    """A file to send, from its beginning each time it is iterated over.

    ``report`` is called with the number of bytes that were sent. Its exception ends the call, and is kept in
    ``failure``.
    """

    def __init__(self, name: str, path: object, report: Callable[[int], object]) -> None:
        text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
        if not isinstance(text, str):
            raise InvalidRequestError(f"{name}={preview(path)} is not a path")
        self._path = Path(text)
        self._what = f"{name}={preview(text)}"
        self._report = report
        self._sending: Generator[bytes, None, None] | None = None
        self.failure: Exception | None = None
        try:
            status = self._path.stat()
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from error
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer
            raise InvalidRequestError(f"{self._what} is not a file", hint="Give the path of a file")
        self.size = status.st_size

    def pieces(self) -> Generator[bytes, None, None]:
        """Yield the content; raise InvalidRequestError if it cannot be read, or is shorter than it was."""
        left = self.size
        try:
            with self._path.open("rb") as file:
                while left:
                    piece = file.read(min(left, _PIECE_BYTES))
                    if not piece:
                        what = f"{self._what} became shorter while it was read"
                        raise InvalidRequestError(what, hint="Wait until it is complete")
                    left -= len(piece)
                    yield piece
        except OSError as error:
            raise self._unreadable(error) from error

    def __iter__(self) -> Iterator[bytes]:
        self.close()
        self._sending, sent = self.pieces(), 0
        for piece in self._sending:
            yield piece
            sent += len(piece)
            try:
                self._report(sent)
            except Exception as error:
                self.failure = error
                raise StoppedError from error

    def close(self) -> None:
        """Close the file, if it is open."""
        if self._sending is not None:
            self._sending.close()

    def _unreadable(self, error: Exception) -> InvalidRequestError:
        why = getattr(error, "strerror", None) or str(error)
        return InvalidRequestError(f"{self._what} cannot be read ({why})", hint="Give the path of a file")
