"""Runs commands as a person does: in this process, in a child, or in a terminal."""

from __future__ import annotations

import io
import sys
from typing import NamedTuple

from lmstudio_provider.cli.main import main


class Ended(NamedTuple):
    code: int
    out: str
    err: str


class Stream(io.TextIOWrapper):
    """Standard output or input that is a terminal or not, with an encoding."""

    def __init__(self, data=b"", is_terminal=False, encoding="utf-8"):
        super().__init__(io.BytesIO(data), encoding=encoding, newline="")
        self.is_terminal = is_terminal

    def isatty(self):
        return self.is_terminal

    def text(self):
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)


def run(*arguments, given=None, terminal=False, encoding="utf-8"):
    """Run a command in this process; ``given`` is what standard input holds."""
    before = sys.stdin, sys.stdout, sys.stderr
    data = given.encode() if isinstance(given, str) else given or b""
    sys.stdin, sys.stdout, sys.stderr = (
        Stream(data, is_terminal=given is None),
        Stream(is_terminal=terminal, encoding=encoding),
        Stream(is_terminal=terminal, encoding=encoding),
    )
    try:
        code = main([str(each) for each in arguments])
        return Ended(code, sys.stdout.text(), sys.stderr.text())
    finally:
        sys.stdin, sys.stdout, sys.stderr = before
