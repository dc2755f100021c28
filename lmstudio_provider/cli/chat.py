"""``chat``: one question, or a conversation in a terminal."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
from pathlib import Path
from typing import Any, Sequence

from .. import ConfigurationError, Conversation, Message, ProviderError
from .._workflows.conversation_file import read_conversation
from .console import Console, UsageError
from .generation import add_options, is_same_file, options_of, question_of, show
from .providers import make_provider

EXAMPLE = 'lmstudio-provider chat -p "Why is the sky blue?"'
_HELP = """\
Ctrl-C stops an answer, Ctrl-D ends the chat.
/undo        forget the last question and its answer
/clear       forget all of them
/save FILE   write the chat to a file, for --resume
/quit        end the chat"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("-p", "--prompt", metavar="TEXT", help="ask this and end; standard input comes after it")
    parser.add_argument("--resume", metavar="FILE", help="go on with the chat that --save wrote")
    parser.add_argument(
        "--save", metavar="FILE", help="write the chat to a new file, or that of --resume, after each answer"
    )
    add_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Ask one question, or all that a person types."""
    options = options_of(args)
    if args.save:
        _check_file(args.save, args.resume)
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


def _check_file(path: str, *own: str | None) -> None:
    """Raise UsageError if a chat cannot be saved there: the file exists, and is not one of this chat's ``own``."""
    file = Path(path)
    try:
        if not file.absolute().parent.is_dir():
            raise UsageError(f"cannot write {path}: its folder does not exist")
        if not file.exists() or any(each and is_same_file(path, each) for each in own):
            return
        if file.is_file():  # to read a pipe would wait for its other end
            read_conversation(path)
            raise UsageError(f"{path} holds another chat: go on with it by --resume {path}, or choose another name")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    except ConfigurationError:
        pass
    raise UsageError(f"{path} is there already, and does not hold a chat: choose another name")


class _Turn:
    """Asks questions, with the images until a turn has them, and saves the chat after each."""

    def __init__(self, chat: Conversation, args: argparse.Namespace, options: dict[str, Any], console: Console) -> None:
        self.chat = chat
        self._args, self._options, self._console = args, options, console
        self._images = args.image
        self._own = [args.resume, args.save]

    def ask(self, question: str, keep_part: bool = False) -> None:
        """Show the answer; with ``keep_part``, what came of one that broke off stays in the chat."""
        before = self.chat.messages
        stream = self.chat.stream(question, self._images, **self._options)
        try:
            show(stream, self._args, self._console)
        except ProviderError:
            text = stream.completion.text
            if keep_part and text and self.chat.messages == before:
                self.chat.add(Message.user(question, self._images), Message.assistant(text))
                self._console.note("The question and what came of the answer are kept; /undo forgets them.")
            raise
        finally:
            if self._save_changes(before):
                self._images = []

    def obey(self, word: str, rest: str) -> None:
        """Do what a word of the chat asks for."""
        before = self.chat.messages
        if word == "/save" and rest:
            _check_file(rest, *self._own)
            self.chat.save(rest)
            self._own.append(rest)
            said = f"The chat is in {rest}."
        elif word == "/undo":
            said = "The last question is forgotten." if self.chat.undo() else "There is no question to forget."
        elif word == "/clear":
            self.chat.clear()
            said = "All questions are forgotten."
        elif word == "/save":
            said = "/save needs the name of a file, such as /save chat.json"
        else:
            said = _HELP if word == "/help" else f"{word} is not a word of the chat. {_HELP}"
        self._console.line(said)
        if self._save_changes(before) and self._args.save:
            self._console.line(f"{self._args.save} is written anew.")

    def _save_changes(self, before: Sequence[Message]) -> bool:
        """Save the chat, if a file is named for it; return True if it changed."""
        changed = self.chat.messages != before
        if changed and self._args.save:
            self.chat.save(self._args.save)
        return changed


def _talk(turn: _Turn, console: Console) -> None:
    with contextlib.suppress(ImportError):  # which edits lines and recalls earlier ones; Windows has none
        importlib.import_module("readline")
    console.line(f"{_HELP.splitlines()[0]} /help lists the rest.")
    while True:
        try:
            line = input("> ")
            if line.startswith("/"):
                word, _, rest = line.strip().partition(" ")
                if word in ("/quit", "/exit"):
                    return
                turn.obey(word, rest.strip())
            elif line.strip():
                turn.ask(line, keep_part=True)
        except EOFError:
            console.line()
            return
        except KeyboardInterrupt:  # of an answer, or of a question that is typed
            console.line()
        except (ProviderError, UsageError, UnicodeDecodeError) as error:
            console.error(error)
