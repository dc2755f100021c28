"""Runs commands as a person does: in this process, in a child, or in a pseudo-terminal."""

from __future__ import annotations

import contextlib
import io
import os
import select
import subprocess
import sys
from typing import NamedTuple

import pytest

from lmstudio_provider.cli.main import main

PROGRAM = [sys.executable, "-m", "lmstudio_provider"]
WITH_PTY = pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals for Python's pty module")
# Makes its terminal the controlling one, so that Ctrl-C reaches it.
_IN_TERMINAL = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from lmstudio_provider.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


class Ended(NamedTuple):
    code: int
    out: str
    err: str


class Stream(io.TextIOWrapper):
    """Standard input or output that is a terminal or not, with an encoding."""

    def __init__(self, data=b"", is_terminal=False, encoding="utf-8"):
        super().__init__(io.BytesIO(data), encoding=encoding, newline="")
        self.is_terminal = is_terminal

    def isatty(self):
        return self.is_terminal

    def text(self):
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)


def run(*arguments, given=None, terminal=False, encoding="utf-8", typed=None, out=None):
    """Run a command in this process; ``given`` is what standard input holds, ``typed`` what a person types."""
    before = sys.stdin, sys.stdout, sys.stderr
    data = given if given is not None else typed or ""
    sys.stdin, sys.stdout, sys.stderr = (
        Stream(data if isinstance(data, bytes) else data.encode(), is_terminal=given is None),
        out or Stream(is_terminal=terminal, encoding=encoding),
        Stream(is_terminal=terminal, encoding=encoding),
    )
    try:
        code = main([str(each) for each in arguments])
        return Ended(code, "" if out else sys.stdout.text(), sys.stderr.text())
    finally:
        sys.stdin, sys.stdout, sys.stderr = before


def error_of(ended):
    """Return the one line of an error."""
    (line,) = ended.err.splitlines()
    assert line.startswith("error: ")
    assert "Traceback" not in line
    return line


class Terminal:
    """A command in a pseudo-terminal, with a person who types and reads."""

    def __init__(self, arguments, columns, environment):
        import fcntl
        import pty
        import struct
        import termios

        self.screen = ""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-c", _IN_TERMINAL, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm", **environment},
        )
        os.close(slave)

    def wait_for(self, text):
        """Read until ``text`` is on the screen, after what was waited for before; return all up to it."""
        while text not in self.screen:
            if not self._read():
                raise AssertionError(f"the command ended before {text!r}: {self.screen!r}")
        seen, _, self.screen = self.screen.partition(text)
        return seen + text

    def type(self, text):
        os.write(self._master, text.encode())

    def interrupt_until(self, text):
        """Press Ctrl-C until ``text`` is on the screen: Python misses one that comes just before it reads a line."""
        while text not in self.screen:
            self.type("\x03")
            while text not in self.screen and select.select([self._master], [], [], 0.5)[0]:
                self._read()
        self.wait_for(text)

    def end(self):
        """Read to the end; return the exit code."""
        while self._read():
            continue
        return self.process.wait(30)

    def _read(self):
        if not select.select([self._master], [], [], 30)[0]:
            raise AssertionError(f"nothing more came: {self.screen!r}")
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux: nobody has the other end any more
            data = b""
        self.screen += data.decode()
        return bool(data)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@contextlib.contextmanager
def in_terminal(*arguments, columns=80, **environment):
    terminal = Terminal([str(each) for each in arguments], columns, environment)
    try:
        yield terminal
    finally:
        terminal.close()
