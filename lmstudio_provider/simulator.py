"""A stand-in for LM Studio's server, for tests and demos: real HTTP on loopback, no model.

It imports nothing else of this package and spells its JSON out by hand, so that client and stand-in cannot be wrong
together. Its replies say that they are simulated.
"""

from __future__ import annotations

import itertools
import json
import re
import socket
import socketserver
import sys
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Callable, Iterable, Iterator, Mapping, Union

#: A text, or a dict with any of "content", "reasoning_content", "tool_calls" (``{"name", "arguments"}`` each).
Reply = Union[str, Mapping[str, Any]]

_FINGERPRINT = "simulated"


class SimulatedLMStudio:
    """A context manager that serves ``/v1/models`` and ``/v1/chat/completions`` at ``url``, as LM Studio does.

    ``models`` are the ids to list; those that begin with ``text-embedding-`` do not chat. ``replies`` are given in
    turn, over and over, or made by a function of the request's body; without them, a reply says what it was asked,
    and where tools are offered the first one is called. ``delay_s`` is the pause before each piece of a stream, and
    ``port`` 0 takes any that is free. ``requests`` holds the method, path, headers and body of each request so far.
    What a function of ``replies`` raises is answered as HTTP 500, with its traceback.
    """

    def __init__(
        self,
        models: Iterable[str] = ("simulated-model", "text-embedding-simulated"),
        replies: Iterable[Reply] | Callable[[Mapping[str, Any]], Reply] | None = None,
        delay_s: float = 0.0,
        port: int = 0,
    ) -> None:
        self.models = [models] if isinstance(models, str) else list(models)
        self.delay_s = delay_s
        self.port = port
        self.requests: list[dict[str, Any]] = []
        if isinstance(replies, (str, Mapping)):
            replies = [replies]
        self._make_reply = replies if callable(replies) else _in_turn(replies) if replies else _echo
        self._ids = itertools.count(1)
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        """Where the server listens; only while the context is entered."""
        if self._server is None:
            raise RuntimeError("the simulator is not running: use it in a with statement")
        return "http://{}:{}".format(*self._server.server_address[:2])

    def __enter__(self) -> SimulatedLMStudio:
        self._server = _Server(self)
        threading.Thread(target=self._server.serve_forever, args=[0.02], name="simulator", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    def reply(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """What to answer to a chat: a dict with the keys of Reply."""
        reply = self._make_reply(body)
        if isinstance(reply, str):
            return {"content": reply}
        if not isinstance(reply, Mapping) or not set(reply) <= {"content", "reasoning_content", "tool_calls"}:
            raise TypeError(f"replies: {reply!r} is neither text nor a dict of content, reasoning_content, tool_calls")
        return dict(reply)

    def next_id(self) -> str:
        """The id of the next reply."""
        return f"chatcmpl-simulated{next(self._ids):06}"


def _in_turn(replies: Iterable[Reply]) -> Callable[[Mapping[str, Any]], Reply]:
    endless = itertools.cycle(list(replies))
    lock = threading.Lock()

    def take(body: Mapping[str, Any]) -> Reply:
        with lock:
            return next(endless)

    return take


def _echo(body: Mapping[str, Any]) -> Reply:
    last = body["messages"][-1]
    tools = body.get("tools")
    if tools and last.get("role") != "tool" and body.get("tool_choice") != "none":
        function = tools[0]["function"]
        return {"tool_calls": [{"name": function["name"], "arguments": _arguments(function.get("parameters") or {})}]}
    content = last.get("content")
    if isinstance(content, list):
        content = " ".join(part.get("text", "[image]") for part in content)
    what = "The tool answered" if last.get("role") == "tool" else "You said"
    return f"This is a simulated reply, no model wrote it. {what}: {content}"


def _arguments(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Something for each property that is required."""
    examples: dict[Any, Any] = {"integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}}
    properties = schema.get("properties", {})
    return {
        name: each["enum"][0] if each.get("enum") else examples.get(each.get("type"), "simulated")
        for name, each in properties.items()
        if name in schema.get("required", properties)
    }


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, simulator: SimulatedLMStudio) -> None:
        self.simulator = simulator
        self.stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        super().__init__(("127.0.0.1", simulator.port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing where a client went away, which is nobody's fault."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)

    def stop(self) -> None:
        """Close the port and all connections, and wait for their threads."""
        self.stopping.set()
        self.shutdown()
        self.server_close()
        with self._changed:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # the client was faster
            self._changed.wait_for(lambda: not self._open, timeout=5)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 5  # LM Studio, too, closes a connection that was idle for 5 s
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def version_string(self) -> str:
        return "SimulatedLMStudio"

    def do_GET(self) -> None:
        """Answer a GET."""
        self._answer(b"")

    def do_POST(self) -> None:
        """Answer a POST."""
        self._answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _answer(self, data: bytes) -> None:
        simulator = self.server.simulator
        try:
            body = json.loads(data) if data else None
        except ValueError:
            body = None
        record = {"method": self.command, "path": self.path, "headers": dict(self.headers), "body": body}
        simulator.requests.append(record)
        endpoint = f"{self.command} {self.path}"
        if endpoint == "GET /v1/models":
            data_ = [{"id": id_, "object": "model", "owned_by": "organization_owner"} for id_ in simulator.models]
            self._send_json({"data": data_, "object": "list"})
        elif endpoint == "POST /v1/chat/completions":
            self._chat(body)
        else:
            self._send_error_text(200, f"Unexpected endpoint or method. ({endpoint})")

    def _chat(self, body: Any) -> None:
        if not isinstance(body, dict) or not body.get("messages"):
            self._send_error_text(400, "'messages' field is required")
            return
        chatting = [id_ for id_ in self.server.simulator.models if not id_.startswith("text-embedding-")]
        model = body.get("model")
        if not chatting:
            text = "No models loaded. Please load a model in the developer page or use the 'lms load' command."
            self._send_error_text(400, text)
            return
        if model not in chatting:
            if len(chatting) > 1:
                self._send_model_not_found(model, chatting)
                return
            model = chatting[0]  # with one model loaded, the name is ignored
        try:
            reply = self.server.simulator.reply(body)
            json.dumps([*_tool_calls(reply), _generate(body, reply), _usage(body, [])])
        except Exception:
            # A test that is wrong has to be told so, and there is nobody else to tell it.
            self._send_error_text(500, f"the simulator could not reply:\n{traceback.format_exc()}")
            return
        if body.get("stream"):
            self._stream(body, model, reply)
        else:
            self._send_completion(body, model, reply)

    def _send_completion(self, body: Mapping[str, Any], model: str, reply: Mapping[str, Any]) -> None:
        pieces, finish_reason = _generate(body, reply)
        message: dict[str, Any] = {"role": "assistant", "content": "".join(pieces)}
        if reply.get("reasoning_content"):
            message["reasoning_content"] = reply["reasoning_content"]
        message["tool_calls"] = list(_tool_calls(reply))
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
        self._send_json(
            {
                "id": self.server.simulator.next_id(),
                "object": "chat.completion",
                "created": int(time.time()),
                "model": model,
                "choices": [choice],
                "usage": _usage(body, pieces),
                "stats": {},
                "system_fingerprint": _FINGERPRINT,
            }
        )

    def _stream(self, body: Mapping[str, Any], model: str, reply: Mapping[str, Any]) -> None:
        self.send_response(200)
        self.send_header("X-Powered-By", "Express")
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Connection", "keep-alive")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        head = {
            "id": self.server.simulator.next_id(),
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": _FINGERPRINT,
        }
        pieces, finish_reason = _generate(body, reply)
        deltas: list[dict[str, Any]] = []
        if reply.get("reasoning_content"):
            deltas += [{"reasoning_content": piece} for piece in _pieces(reply["reasoning_content"])]
        deltas += [{"content": piece} for piece in pieces]
        deltas += _tool_call_deltas(reply)
        for delta in deltas:
            if self.server.simulator.delay_s and self.server.stopping.wait(self.server.simulator.delay_s):
                return
            self._send_chunk(head, {"role": "assistant", **delta}, None)
        self._send_chunk(head, {}, finish_reason)
        if (body.get("stream_options") or {}).get("include_usage"):
            self._send_frame(json.dumps({**head, "choices": [], "usage": _usage(body, pieces)}))
        self._send_frame("[DONE]")
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _send_chunk(self, head: Mapping[str, Any], delta: Mapping[str, Any], finish_reason: str | None) -> None:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        self._send_frame(json.dumps({**head, "choices": [choice]}, ensure_ascii=False))

    def _send_frame(self, data: str) -> None:
        frame = f"data: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(frame), frame))
        self.wfile.flush()

    def _send_json(self, value: object) -> None:
        self._send(200, json.dumps(value, indent=2, ensure_ascii=False).encode())

    def _send_error_text(self, status: int, text: str) -> None:
        self._send(status, json.dumps({"error": text}, separators=(",", ":")).encode())

    def _send_model_not_found(self, model: object, known: list[str]) -> None:
        text = (
            f'Invalid model identifier "{model}". Please specify a valid downloaded model (e.g., {", ".join(known)}).'
        )
        error = {"message": text, "type": "invalid_request_error", "param": "model", "code": "model_not_found"}
        self._send(400, json.dumps({"error": error}, separators=(",", ":")).encode())

    def _send(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("X-Powered-By", "Express")
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "keep-alive")
        self.send_header("Keep-Alive", "timeout=5")
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()


def _pieces(text: str) -> list[str]:
    """The text in pieces of one word, which stand in for tokens."""
    return re.findall(r"\s*\S+|\s+", text)


def _generate(body: Mapping[str, Any], reply: Mapping[str, Any]) -> tuple[list[str], str]:
    """The pieces of the answer, cut as the request wants, and why it ended."""
    pieces = _pieces(reply.get("content") or "")
    most = body.get("max_tokens")
    if isinstance(most, int) and 0 <= most < len(pieces):
        return pieces[:most], "length"
    return pieces, "tool_calls" if reply.get("tool_calls") else "stop"


def _usage(body: Mapping[str, Any], pieces: list[str]) -> dict[str, int]:
    prompt = sum(len(_pieces(json.dumps(message.get("content")))) for message in body["messages"])
    return {"prompt_tokens": prompt, "completion_tokens": len(pieces), "total_tokens": prompt + len(pieces)}


def _tool_calls(reply: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for number, call in enumerate(reply.get("tool_calls") or ()):
        arguments = call.get("arguments", {})
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        function = {"name": call["name"], "arguments": text}
        yield {"type": "function", "id": str(100000001 + number), "function": function}


def _tool_call_deltas(reply: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Each call as LM Studio streams it: first who is called, then the arguments in two pieces."""
    for index, call in enumerate(_tool_calls(reply)):
        arguments = call["function"]["arguments"]
        first = {"index": index, **call, "function": {"name": call["function"]["name"], "arguments": ""}}
        half = len(arguments) // 2
        for piece in (first, {"index": index, "function": {"arguments": arguments[:half]}}):
            yield {"tool_calls": [piece]}
        yield {"tool_calls": [{"index": index, "function": {"arguments": arguments[half:]}}]}
