"""The base of the stand-ins: requests are recorded, and answered as the test says."""

from __future__ import annotations

import abc
import reprlib
import traceback
from email.message import Message
from typing import Any, Callable, ClassVar, Iterable, Mapping, TypeVar, Union

from ._faults import Fault, FaultError, answer_of, counts_pieces, until_fault
from ._replies import MakeReply, Replies, Script, Scripted, is_seconds
from ._server import Answer, Handler, Listener, RefusedError, Stream, Whole, error

# A fault of all requests, or a function that takes a request and returns a fault or None.
Faults = Union[Fault, Callable[[Mapping[str, Any]], Union[Fault, None]]]
_Self = TypeVar("_Self", bound="StandIn")


class StandIn(Listener, abc.ABC):
    """The base of the stand-ins. Each kind of server implements ``answer``."""

    headers: ClassVar[Mapping[str, str]] = {}
    """The headers of every reply."""
    uploads: ClassVar[tuple[str, ...]] = ()
    """The prefixes of the paths that take files. Their bodies are not read as JSON, nor held in memory."""

    def __init__(
        self, replies: Replies | None, delay_s: float, port: int, first_byte_s: float, fault: Faults | None
    ) -> None:
        super().__init__(port)
        for name, value in (("delay_s", delay_s), ("first_byte_s", first_byte_s)):
            if not is_seconds(value):
                raise ValueError(f"{name}={value!r} is not valid; use seconds, 0 or more")
        self.delay_s = delay_s
        self.first_byte_s = first_byte_s
        self.replies = replies
        self.fault = fault

    @property
    def replies(self) -> Replies | None:
        """The replies of the test; None for replies that repeat the request. Set, a list begins with its first."""
        return self._replies

    @replies.setter
    def replies(self, replies: Replies | None) -> None:
        self._script = Script(replies)
        self._replies = replies

    @property
    def fault(self) -> Faults | None:
        """What is wrong with the server: a Fault, a function that takes a request and returns one or None, or None."""
        return self._fault

    @fault.setter
    def fault(self, fault: Faults | None) -> None:
        if not callable(fault):
            _checked(fault, "fault")
        self._fault = fault
        self._refuse_or_accept()

    @abc.abstractmethod
    def answer(self, endpoint: str, body: Any, headers: Message) -> Answer:
        """Return the answer of ``endpoint`` ("POST /path"), or raise RefusedError.

        ``body`` is the request's JSON value, None without valid JSON, or for an upload an iterator of its bytes.
        """

    def __enter__(self: _Self) -> _Self:
        self._listen(_StandInHandler)
        self._refuse_or_accept()
        return self

    def _next_reply(self, body: Mapping[str, Any], default: MakeReply, models: Iterable[str]) -> Scripted:
        """Return the reply to a generation, after its delay. Raise FaultError if a fault takes its place."""
        scripted = self._script.reply(body, default, models)
        if self._server is not None:
            self._server.stopping.wait(self.first_byte_s if scripted.first_byte_s is None else scripted.first_byte_s)
        if scripted.fault is not None and not counts_pieces(scripted.fault):
            raise FaultError(scripted.fault)
        return scripted

    def _check_fault(self, request: Mapping[str, Any]) -> None:
        """Raise FaultError if ``fault`` takes the place of the answer."""
        fault = self._fault
        if callable(fault):
            fault = _checked(fault(request), "the result of the function given as fault")
        if fault is not None:
            raise FaultError(fault)

    def _refuse_or_accept(self) -> None:
        if self._server is not None:
            self._server.refuse_connections(isinstance(self._fault, Fault) and self._fault.kind == "refuse")


def _checked(fault: Any, where: str) -> Fault | None:
    if not isinstance(fault, (Fault, type(None))):
        what = f"{where} is {reprlib.repr(fault)}; use a Fault, a function that takes a request, or None"
        raise TypeError(what)
    if fault is not None and counts_pieces(fault):
        what = "cut_after and stall_after count the pieces of a generated reply; write replies=Fault(cut_after=5)"
        raise ValueError(what)
    return fault


class _StandInHandler(Handler):
    def answer(self) -> None:
        """Send what the stand-in answers."""
        stand_in: StandIn = self.server.listener
        pieces = self.pieces()
        try:
            body = pieces if self.path.startswith(stand_in.uploads) else self.json_of(b"".join(pieces))
        except ValueError:
            self.send_error(400)
            return
        asked = {"method": self.command, "path": self.path, "headers": dict(self.headers)}
        request = {**asked, "body": None if body is pieces else body}
        stand_in.requests.append(request)
        fault, answer = None, None
        try:
            stand_in._check_fault(request)
            answer = stand_in.answer(f"{self.command} {self.path}", body, self.headers)
        except RefusedError as refused:
            answer = refused.answer
        except FaultError as wanted:
            fault = wanted.fault
            answer = answer_of(fault)
        except Exception as failure:
            # Most likely a function of the test failed. The test sees only replies, so one has to report it.
            what = f"{type(failure).__name__}: {failure}"
            answer = error(500, f"the simulator could not reply: {what}\n\n{traceback.format_exc()}")
        for _ in pieces:
            continue  # the rest of an upload must be read, or it would be taken for the next request
        if answer is None:
            self._break_off(stall=fault is not None and fault.kind == "stall")
        else:
            self.connection.settimeout(None)  # a client may be slow to read
            self._send(answer)
            self.connection.settimeout(self.timeout)

    def _send(self, answer: Answer) -> None:
        if isinstance(answer, Whole):
            length = {"Content-Length": str(len(answer.content)), "Keep-Alive": f"timeout={self.timeout}"}
            self._send_head(answer.status, {**answer.headers, **length})
            content, fault = until_fault(answer.content)
            if self.command != "HEAD" and answer.status not in (204, 304):
                self.wfile.write(content)
            self.wfile.flush()
            if fault:
                self._break_off(fault == "stall")
        else:
            self._send_head(200, {**answer.headers, "Transfer-Encoding": "chunked"})
            self._send_chunks(answer)

    def _send_head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**self.server.listener.headers, **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_chunks(self, stream: Stream) -> None:
        delay_s = self.server.listener.delay_s
        for piece in stream.pieces:
            if delay_s and self.server.stopping.wait(delay_s):
                return
            fault = until_fault(piece)[1]
            if fault:
                self.wfile.flush()
                self._break_off(fault == "stall")
                return
            self.send_chunk(piece)
        for piece in (*stream.end, b""):  # the empty one ends the body
            self.send_chunk(piece)

    def _break_off(self, stall: bool) -> None:
        """Close the connection, at once or after the client did."""
        self.close_connection = True
        if stall:
            self.connection.settimeout(None)
            self.connection.recv(1)
