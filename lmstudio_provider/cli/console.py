"""The output of a command: text, tables, JSON, errors and bars, as fits a terminal or a pipe."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import importlib
import io
import json
import os
import shutil
import sys
import traceback
import unicodedata
from typing import Any, Iterator, Mapping, Sequence, TextIO

from .. import ProviderError
from .words import in_options, visible


class UsageError(Exception):
    """The command line cannot work; the message says why."""


class Bar:
    """Shows on a terminal how much is done, with tqdm or as a percentage; elsewhere it shows nothing."""

    def __init__(self, stream: TextIO, total: float | None, unit: str) -> None:
        self._stream, self._total, self._unit = stream, total, unit
        self._is_shown = stream.isatty()
        self._drawn = ""
        self._tqdm: Any = None
        if self._is_shown:
            try:
                tqdm = importlib.import_module("tqdm").tqdm
            except ImportError:
                return
            tqdm.monitor_interval = 0  # no thread
            scaled = {"unit_scale": True} if unit == "B" else {}
            self._tqdm = tqdm(total=total, unit=unit, file=stream, dynamic_ncols=True, leave=False, **scaled)

    def update(self, done: float, total: float | None = None, text: str = "") -> None:
        """Show that ``done`` of ``total`` are done, after ``text``; without ``total``, the one before holds."""
        self._total = self._total if total is None else total
        text = visible(" ".join(text.split()))
        if self._tqdm is not None:
            self._tqdm.total = self._total
            if text != (self._tqdm.desc or ""):
                self._tqdm.set_description_str(text)
            self._tqdm.update(done - self._tqdm.n)
        elif self._is_shown:
            how = f"{done / self._total:4.0%}" if self._total else f"{done:g} {self._unit}"
            self._draw(" ".join(filter(None, (text, how))))

    def clear(self) -> None:
        """Remove the bar from the screen, until the next update."""
        if self._tqdm is not None:
            self._tqdm.clear()
        else:
            self._draw("")

    def close(self) -> None:
        """Remove the bar from the screen."""
        if self._tqdm is not None:
            self._tqdm.close()
        else:
            self._draw("")

    def _draw(self, line: str) -> None:
        line = line[: shutil.get_terminal_size().columns - 1]  # a longer one could not be wiped
        if line != self._drawn:
            blank = " " * (len(self._drawn) - len(line))
            self._stream.write(f"\r{line}{blank}" + ("" if line else "\r"))
            self._stream.flush()
            self._drawn = line


class Console:
    """Standard output and standard error of a command."""

    def __init__(self) -> None:
        # They are None if the program was started without them.
        self._out, self._err = sys.stdout or io.StringIO(), sys.stderr or io.StringIO()
        self.is_terminal = self._out.isatty()
        """True if a person sees the output; else it is for a file or another program."""
        self.server = ""
        """The options that name the server, for the commands that errors advise."""
        self._bar: Bar | None = None
        self._begins = True  # at the beginning of a line of standard output

    def out(self, text: str) -> None:
        """Write ``text`` to standard output at once."""
        if self._bar is not None:
            self._bar.clear()
        _write(self._out, visible(text) if self.is_terminal else text)
        self._begins = text.endswith("\n") if text else self._begins

    def line(self, text: str = "") -> None:
        """Write ``text`` and a line break."""
        self.out(f"{text}\n")

    def end_line(self) -> None:
        """Write a line break, unless a line has just begun."""
        if not self._begins:
            self.line()

    def dim(self, text: str) -> None:
        """Write ``text`` in a weak colour, if the terminal has one."""
        plain = "NO_COLOR" in os.environ or os.environ.get("TERM", "dumb") == "dumb"
        if self.is_terminal and not plain:
            _write(self._out, f"\x1b[2m{visible(text)}\x1b[0m")
            self._begins = False
        else:
            self.out(text)

    def note(self, text: str) -> None:
        """Write one line to standard error."""
        if not text:
            return
        if self._bar is not None:
            self._bar.clear()
        if self.is_terminal:
            self.end_line()
        text = " ".join(filter(None, map(str.strip, text.splitlines())))
        with contextlib.suppress(OSError, ValueError):  # it is closed, or its reader has left
            _write(self._err, (visible(text) if self._err.isatty() else text) + "\n")

    def error(self, problem: object) -> None:
        """Write the line of an error: a text, or an exception, whose words become those of the command line."""
        self.note(f"error: {in_options(str(problem), self.server) if isinstance(problem, ProviderError) else problem}")

    def traceback(self) -> None:
        """Write the traceback of the error that is handled just now."""
        text = traceback.format_exc()
        with contextlib.suppress(OSError, ValueError):  # it is closed, or its reader has left
            _write(self._err, visible(text) if self._err.isatty() else text)

    def json(self, value: object, indent: int | None = 2) -> None:
        """Write ``value`` as JSON; dataclasses become objects. With ``indent=None``, on one line."""
        ascii_only = not _encoding(self._out).lower().replace("-", "").startswith("utf8")
        self.line(json.dumps(plain(value), indent=indent, ensure_ascii=ascii_only))

    def table(self, rows: Sequence[Sequence[object]], headings: Sequence[str]) -> None:
        """Write a table; on a terminal that is too narrow for it, a line for each cell."""
        texts = [[_cell(value) for value in row] for row in rows]
        widths = [max(map(_width, column)) for column in zip(headings, *texts)]
        if self.is_terminal and sum(widths) + 2 * len(widths) - 2 > shutil.get_terminal_size().columns:
            wide = max(map(_width, headings))
            for text in texts:
                for heading, cell in zip(headings, text):
                    self.line(f"{heading:{wide}}  {cell}")
                self.line()
            return
        right = [all(isinstance(row[at], (int, float, type(None))) for row in rows) for at in range(len(headings))]
        for text in [list(headings), *texts]:
            cells = [_pad(cell, width, side) for cell, width, side in zip(text, widths, right)]
            self.line("  ".join(cells).rstrip())

    @contextlib.contextmanager
    def bar(self, total: float | None, unit: str) -> Iterator[Bar]:
        """Return a bar for a ``with`` block, whose ``update(done)`` draws it; only a terminal shows it."""
        self._bar = Bar(self._err, total, unit)
        try:
            yield self._bar
        finally:
            bar, self._bar = self._bar, None
            bar.close()

    def abandon(self) -> None:
        """Write nothing more to standard output, whose reader has left; Python would complain at its end."""
        with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), self._out.fileno())


def plain(value: Any) -> Any:
    """Return ``value`` as JSON has it, without the raw replies of servers."""
    if isinstance(value, ProviderError):
        return {"class": type(value).__name__, "message": in_options(value.message), "hint": in_options(value.hint)}
    if dataclasses.is_dataclass(value):
        fields = [each.name for each in dataclasses.fields(value) if each.name != "raw"]
        return {name: plain(getattr(value, name)) for name in fields}
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value if isinstance(value, (str, int, float, type(None))) else str(value)


def _write(stream: TextIO, text: str) -> None:
    # A character that the encoding of the locale lacks is shown as \u2026.
    encoding = _encoding(stream)
    try:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except OSError as error:
        if error.errno in (errno.EPIPE, errno.EINVAL):  # the second on Windows
            raise BrokenPipeError(error.errno, error.strerror) from error
        raise


def _encoding(stream: TextIO) -> str:
    return getattr(stream, "encoding", None) or "utf-8"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    text = ("yes" if value else "no") if isinstance(value, bool) else str(value)
    return text if text.isprintable() else repr(text)[1:-1]


def _width(text: str) -> int:
    """Return the columns that ``text`` takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(each) else 1 + (unicodedata.east_asian_width(each) in "WF") for each in text)


def _pad(text: str, width: int, right: bool) -> str:
    blanks = " " * (width - _width(text))
    return blanks + text if right else text + blanks
