# PYTHON_ARGCOMPLETE_OK
"""The command line: the options of all commands, and how a command ends."""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import logging
import os
import sys
import warnings
from typing import Any, Iterator, NoReturn, Sequence

from .. import ConfigurationError, InvalidRequestError, ProviderError, ServerUnavailableError, __version__
from .console import Console, UsageError
from .providers import KINDS, seconds, server_options, who_answers
from .words import in_options

# Each is a module of this folder, which is imported when its command runs or its help is asked for.
COMMANDS = {
    "status": "say which servers are running, and what to do if none is",
    "models": "list the models of a server",
    "chat": "ask a model, once or in a conversation",
    "complete": "answer one text, or continue it",
    "embed": "turn texts into vectors, as lines of JSON",
    "count": "count the tokens of a prompt",
    "decide": "ask a decision model typed questions",
    "load": "put a model in memory",
    "unload": "take models out of memory",
    "download": "download a model into LM Studio",
    "pull": "download a model into Ollama",
    "batch": "answer each line of a file, and go on where that stopped",
    "bench": "measure how fast a server answers",
    "usage": "sum up the calls that were recorded",
    "simulate": "run a stand-in for a server, without a model",
    "config": "show each setting, its value and its source",
    "vendor": "copy the package, or parts of it, into another project",
}
_DEFAULTS = {"provider": None, "base_url": None, "timeout": None, "json": False, "verbose": 0, "command": None}
_PACKAGE = __package__.rpartition(".")[0]


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line; that of a command imports the command when it is used."""

    command: str | None = None
    given: argparse.Namespace | None = None
    """What stands before the command; what stands after it is added."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self.command is None:
            return super().parse_known_args(args, namespace)
        if self.epilog is None:
            module = importlib.import_module(f".{self.command}", __package__)
            module.add_arguments(self)
            _add_common(self)
            self.epilog = f"example:\n  {module.EXAMPLE}"
        given, others = super().parse_known_args(args, self.given)
        if others:
            self.error(f"unrecognized arguments: {' '.join(others)}")
        return given, others

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        if sys.stdout is not None:
            sys.stdout.flush()  # a closed pipe is noticed here
        super().exit(status, message)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see '{self.prog} --help'")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv``, by default that of the program; return the exit code.

    It is 0 if all is fine, 1 if the server or the model said no, 2 for wrong usage or files, and 130 after Ctrl-C.
    """
    args, console = argparse.Namespace(**_DEFAULTS), Console()
    try:
        parser = _parser(args)
        if "_ARGCOMPLETE" in os.environ:
            importlib.import_module("argcomplete").autocomplete(parser)
        parser.parse_args(argv, args)
        console.server = server_options(args)
        if args.command is None:
            parser.print_help(sys.stderr)
            return 2
        with _reporting(args.verbose, console):
            code: int = importlib.import_module(f".{args.command}", __package__).run(args, console)
            return code
    except SystemExit as end:  # after --help and --version
        return int(end.code or 0)
    except (Exception, KeyboardInterrupt) as error:
        if args.verbose > 1:
            console.traceback()
        return _end(error, args, console)


def _parser(args: argparse.Namespace) -> argparse.ArgumentParser:
    # Abbreviations of options would change their meaning when others are added.
    same: Any = {"allow_abbrev": False, "formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = _Parser(prog=_program(), description="Use LM Studio and Ollama from a terminal.", **same)
    parser.epilog = f"'{parser.prog} COMMAND --help' shows the options of a command, with an example."
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, summary in COMMANDS.items():
        about = f"{summary[:1].upper()}{summary[1:]}."
        command = commands.add_parser(name, help=summary, description=about, **same)
        command.command, command.given = name, args
    _add_common(parser)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options that stand before or after a command, which leave what the others have set."""
    group = parser.add_argument_group("options of all commands")
    add = functools.partial(group.add_argument, default=argparse.SUPPRESS)
    add("--provider", choices=KINDS, help="the kind of server, by default lm-studio")
    add("--base-url", metavar="URL", help="the address of the server; see 'config' for the default")
    add("--timeout", type=seconds, metavar="SECONDS", help="the longest silence of the server")
    add("--json", action="store_true", help="print JSON instead of text")
    add("-v", "--verbose", action="count", help="say more; -vv for every detail")
    add("--version", action="version", version=f"lmstudio-provider {__version__}")


def _program() -> str:
    """Return how this program was called."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return f"python -m {_PACKAGE}" if spec is not None and spec.parent == _PACKAGE else "lmstudio-provider"


@contextlib.contextmanager
def _reporting(verbose: int, console: Console) -> Iterator[None]:
    """Show warnings as lines, and with ``verbose`` what is logged."""

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            console.note(f"{record.levelname.lower()}: {record.getMessage()}")

    logger, handler = logging.getLogger("lmstudio_provider"), Lines()
    before = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("always", RuntimeWarning)
        warnings.showwarning = lambda message, *where: console.note(
            f"warning: {in_options(str(message), console.server)}"
        )
        if verbose:
            logger.addHandler(handler)
            logger.setLevel(logging.DEBUG if verbose > 1 else logging.INFO)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(before)


def _end(error: BaseException, args: argparse.Namespace, console: Console) -> int:
    """Say why the command ended; return the exit code."""
    if isinstance(error, KeyboardInterrupt):
        with contextlib.suppress(OSError):
            if console.is_terminal:  # it shows a ^C
                console.line()
        return 130
    if isinstance(error, BrokenPipeError):  # whoever read the output has read enough
        console.abandon()
        return 0
    if isinstance(error, UsageError):
        console.error(str(error))
        return 2
    if isinstance(error, ProviderError):
        others = who_answers(args) if isinstance(error, ServerUnavailableError) else ""
        console.error(". ".join(filter(None, (in_options(str(error), console.server), others))))
        is_wrong = isinstance(error, InvalidRequestError) and error.provider is None  # it was not sent
        return 2 if is_wrong or isinstance(error, ConfigurationError) else 1
    # A part was left out of this copy, or a package is missing.
    if isinstance(error, ImportError) or (isinstance(error, AttributeError) and "left out of this copy" in str(error)):
        console.error(str(error))
    elif isinstance(error, OSError):
        console.error(": ".join(str(each) for each in (error.filename, error.strerror or error) if each))
        return 2 if error.filename else 1  # the user names the files; a full disk has none
    else:
        console.error(f"{type(error).__name__}: {error}; this is a mistake of the program, -vv shows where")
    return 1
