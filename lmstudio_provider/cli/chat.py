"""``chat``: one question, or a conversation in a terminal."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
from pathlib import Path
from typing import Any

from .. import Conversation, ProviderError
from .console import Console, UsageError
from .generation import add_options, options_of, question_of, show
from .providers import make_provider

EXAMPLE = 'lmstudio-provider chat -p "Why is the sky blue?"'
_HELP = """\
Ctrl-C stops an answer, Ctrl-D ends the chat.
/undo        forget the last question and its answer
/clear       forget all of them
/save FILE   write the chat to a file, for --resume
/quit        end the chat"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("-p", "--prompt", metavar="TEXT", help="ask this and end; standard input comes after it")
    parser.add_argument("--resume", metavar="FILE", help="go on with the chat that --save wrote")
    parser.add_argument("--save", metavar="FILE", help="write the chat to a file after each answer")
    add_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Ask one question, or all that a person types."""
    options = options_of(args)
    if args.save and not Path(args.save).absolute().parent.is_dir():
        raise UsageError(f"cannot write {args.save}: its folder does not exist")
    is_conversation = args.prompt is None and sys.stdin is not None and sys.stdin.isatty() and console.is_terminal
    question = "" if is_conversation else question_of(args.prompt)
    with make_provider(args) as provider:
        chat = Conversation(provider, args.system)
        if args.resume:
            chat.load(args.resume)
            chat.system_prompt = args.system or chat.system_prompt
        turn = _Turn(chat, args, options, console)
        if is_conversation:
            _talk(turn, console)
        else:
            turn.ask(question)
    return 0


class _Turn:
    """Asks questions, the first with the images, and saves the chat after each."""

    def __init__(self, chat: Conversation, args: argparse.Namespace, options: dict[str, Any], console: Console) -> None:
        self.chat = chat
        self._args, self._options, self._console = args, options, console
        self._images = args.image

    def ask(self, question: str) -> None:
        images, self._images = self._images, []
        before = self.chat.messages
        try:
            show(self.chat.stream(question, images, **self._options), self._args, self._console)
        finally:
            if self._args.save and self.chat.messages != before:
                self.chat.save(self._args.save)


def _talk(turn: _Turn, console: Console) -> None:
    with contextlib.suppress(ImportError):  # which edits lines and recalls earlier ones; Windows has none
        importlib.import_module("readline")
    console.line(f"{_HELP.splitlines()[0]} /help lists the rest.")
    while True:
        try:
            line = input("> ")
            if line.startswith("/"):
                if line.strip() == "/quit":
                    return
                _obey(line, turn.chat, console)
            elif line.strip():
                turn.ask(line)
        except EOFError:
            console.line()
            return
        except KeyboardInterrupt:  # of an answer, or of a question that is typed
            console.line()
        except (ProviderError, UnicodeDecodeError) as error:
            console.error(error)


def _obey(line: str, chat: Conversation, console: Console) -> None:
    word, _, file = line.strip().partition(" ")
    if word == "/undo":
        console.line("The last question is forgotten." if chat.undo() else "There is no question to forget.")
    elif word == "/clear":
        chat.clear()
    elif word == "/save" and file:
        chat.save(file.strip())
    else:
        console.line(_HELP)
