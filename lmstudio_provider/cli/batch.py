"""``batch``: answer each line of a file."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import Any, BinaryIO, Callable, Collection, Iterable, Iterator

from .. import (
    ChatRequest,
    CompletionRequest,
    InvalidRequestError,
    ProviderError,
    RequestTimeoutError,
    Result,
    ServerUnavailableError,
    complete_many,
)
from .._core.checks import TEXT, check
from .._core.errors import preview
from .._core.json import loads
from .._core.options import nearest
from .answer_file import AnswerFile, key_of
from .console import Console, UsageError, plain
from .generation import add_model, checking, is_same_file
from .providers import make_provider, positive
from .words import in_options

EXAMPLE = "lmstudio-provider batch questions.jsonl -o answers.jsonl"
_ABOUT = """
A line of IN is a JSON object with a "prompt" or "messages", any options of a
request, such as "temperature", and an "id"; without one, the id is the number of
the line. A line of OUT has the "id" and "text", "usage", "model" and
"finish_reason", or an "error" with its "class" and "message".

If OUT has lines already, only the others are asked: after Ctrl-C, a crash, or the
end of the server, the same command goes on from there."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.description = f"{parser.description}\n{_ABOUT}"
    parser.add_argument("input", metavar="IN", help="a file of JSON lines; - for standard input")
    parser.add_argument(
        "-o", "--output", metavar="OUT", default="-", help="the file to append to; - for standard output"
    )
    parser.add_argument("--retry-errors", action="store_true", help="ask again for the lines of OUT that failed")
    parser.add_argument("--workers", type=positive, metavar="N", default=4, help="requests at once, by default 4")
    add_model(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Write a line for each line of the input; return 1 if any has failed or was left out."""
    defaults = {name: value for name in ("model", "tier") if (value := getattr(args, name)) is not None}
    with checking():
        CompletionRequest("-", **defaults)
    with contextlib.ExitStack() as stack:
        lines, count = stack.enter_context(_opened(args.input))
        provider = stack.enter_context(make_provider(args))
        if args.output == "-":
            if args.retry_errors:
                raise UsageError("--retry-errors needs the file that has the errors: -o OUT")
            batch = _Batch(console, lambda line: console.json(line, indent=None), "")
        else:
            path = Path(args.output)
            if args.input != "-" and is_same_file(path, args.input):
                raise UsageError(f"{path} is the input and the output")
            file = stack.enter_context(AnswerFile(path, args.retry_errors))
            batch = _Batch(console, file.append, "; the same command goes on", file.answered, file.failed)
        bar = stack.enter_context(console.bar(count and max(0, count - len(batch.done)), "line"))
        requests = batch.requests(lines, defaults)
        results = complete_many(provider, requests, max_workers=args.workers, ordered=False)
        try:
            for result in stack.enter_context(contextlib.closing(results)):
                batch.write_result(result)
                bar.update(batch.written, text=f"{batch.failed} failed" if batch.failed else "")
        except KeyboardInterrupt:
            if console.is_terminal:  # it shows a ^C
                console.line()
            console.note(batch.state("interrupted"))
            return 130
    if args.output != "-" and args.json:
        console.json(batch.counts())
    elif args.output != "-" and batch.gone is None:
        console.line("{answered} answered, {done_before} done before".format_map(batch.counts()))
    code = batch.report()
    if batch.gone is not None:
        console.note(batch.state("stopped"))
        raise batch.gone
    return code


@contextlib.contextmanager
def _opened(name: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """Return the input for a ``with`` block, and how many lines it has, if that can be known."""
    if name == "-":
        if sys.stdin is None:
            raise UsageError("there is no standard input")
        yield sys.stdin.buffer, None
        return
    with Path(name).open("rb") as file:
        count = None
        if file.seekable():
            count = sum(not line.isspace() for line in file)
            file.seek(0)
        yield file, count


class _Batch:
    """One run: the lines to ask, and the lines to write."""

    def __init__(
        self,
        console: Console,
        write: Callable[[dict[str, Any]], None],
        advice: str,
        answered: Collection[str] = (),
        failed: Collection[str] = (),
    ) -> None:
        self.done = {*answered, *failed}
        self.written = self.failed = 0
        self.gone: ProviderError | None = None
        """The error of a call that was not sent, because no server answers."""
        self._advice = advice
        self._failed_before = len(self.done) - len(answered)
        self._left_out = 0
        self._console = console
        self._write = write
        self._ids: dict[int, str | int] = {}  # of the requests that run, by their index
        self._last: BaseException | None = None

    def requests(self, lines: Iterable[bytes], defaults: dict[str, Any]) -> Iterator[CompletionRequest | ChatRequest]:
        """Yield the request of each line that is not done; write an error for a line that cannot be one."""
        numbers: dict[str, int] = {}
        index = 0
        for number, line in enumerate(lines, 1):
            if self.gone is not None:
                return
            if line.isspace():
                continue
            id_, fields = _parse(line, number)
            key = key_of(id_)
            if numbers.setdefault(key, number) != number:
                self._console.error(f"line {number} is left out: line {numbers[key]} has the same id, {key}")
                self._left_out += 1
            elif key not in self.done:
                try:
                    request = _request(fields, defaults)
                except Exception as error:  # whatever the line has: the others go on
                    self._write_error(id_, error)
                else:
                    self._ids[index] = id_
                    index += 1
                    yield request

    def write_result(self, result: Result) -> None:
        """Write the line of a result, unless no server answers."""
        id_, completion, error = self._ids.pop(result.index), result.completion, result.error
        if completion is None:
            if isinstance(error, (ServerUnavailableError, RequestTimeoutError)) and _is_gone(error):
                self.gone = error
            else:
                self._write_error(id_, error)
            return
        more = {name: plain(value) for name in ("reasoning", "tool_calls") if (value := getattr(completion, name))}
        names = ("text", "usage", "model", "finish_reason")
        self._write({"id": id_, **{name: plain(getattr(completion, name)) for name in names}, **more})
        self.written += 1

    def _write_error(self, id_: str | int, error: BaseException | None) -> None:
        about = {"class": type(error).__name__, "message": str(error)}
        partial = error.partial if isinstance(error, ProviderError) else None
        if partial is not None and partial.text:
            about["partial"] = partial.text
        self._write({"id": id_, "error": about})
        self.written += 1
        self.failed += 1
        self._last = error

    def counts(self) -> dict[str, int]:
        """Return how many lines of the input had each outcome."""
        return {
            "answered": self.written - self.failed,
            "failed": self.failed,
            "left_out": self._left_out,
            "done_before": len(self.done),
            "failed_before": self._failed_before,
        }

    def state(self, what: str) -> str:
        """Return a line for a run that ends early."""
        return f"{what}: {self.written - self.failed} answered{self._advice}"

    def report(self) -> int:
        """Say how many have failed; return the exit code."""
        if self._last is not None:
            last = str(self._last)
            # An error of a request names the fields of its line, which are no options here.
            if isinstance(self._last, ProviderError) and not isinstance(self._last, InvalidRequestError):
                last = in_options(last)
            what = f"{self.failed} of {self.written} lines failed, the last with {type(self._last).__name__}"
            self._console.error(f"{what}: {last}")
        if self._failed_before:
            self._console.error(
                f"{self._failed_before} of the lines failed in an earlier run; --retry-errors asks them again"
            )
        return 1 if self.failed or self._failed_before or self._left_out else 0


def _is_gone(error: ServerUnavailableError | RequestTimeoutError) -> bool:
    """Return True if the call was not sent, because no server answers."""
    return not error.sent and (isinstance(error, ServerUnavailableError) or error.limit == "connect")


def _parse(line: bytes, number: int) -> tuple[str | int, dict[str, Any] | InvalidRequestError]:
    """Return the id of a line and its other fields, or the error of a line that has none."""
    try:
        fields = loads(line.decode("utf-8-sig").strip())
    except ValueError as error:
        return number, InvalidRequestError(f"line {number} is not JSON in UTF-8: {error}")
    if not isinstance(fields, dict):
        return number, InvalidRequestError(f"line {number} is not a JSON object: {preview(fields)}")
    id_ = fields.pop("id", None)
    if id_ is None:
        return number, fields
    if isinstance(id_, bool) or not isinstance(id_, (str, int)):
        return number, InvalidRequestError(f"line {number}: id={preview(id_)} is not a text or a whole number")
    return id_, fields


def _request(fields: dict[str, Any] | InvalidRequestError, defaults: dict[str, Any]) -> CompletionRequest | ChatRequest:
    if isinstance(fields, InvalidRequestError):
        raise fields
    options = {**defaults, **fields}
    if ("prompt" in options) == ("messages" in options) or "user_message" in options:
        needed = ("prompt", "messages")
        near = next(filter(None, (nearest(name, needed) for name in fields if name not in needed)), None)
        hint = f"Did you mean {near!r}?" if near else ""
        raise InvalidRequestError("a line needs either a prompt or messages", hint=hint)
    if "messages" in options:
        return ChatRequest(options.pop("messages"), **options)
    check("prompt", options["prompt"], TEXT)
    return CompletionRequest(options.pop("prompt"), **options)
