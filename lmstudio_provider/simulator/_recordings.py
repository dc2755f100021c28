"""The file of a recording: a line of JSON for the file, and one for each request with its reply."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from ._secrets import Secrets, is_secret

_VERSION = 1
COMPLETE = "complete"
BROKEN = "broken"
LEFT = "left"

StrPath = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class Exchange:
    """A request and its reply, as far as it came."""

    number: int
    """The position of the request among all."""
    request: dict[str, Any]
    """Its method, its path, and its body as "json" or "body", without secrets."""
    status: int | None
    """The status of the reply, None if it did not begin."""
    headers: list[tuple[str, str]]
    pieces: list[bytes]
    """The body in the pieces in which it came."""
    end: str
    """"complete", "broken" if the server broke off, "left" if the client did not wait for the end."""

    def line(self, secrets: Secrets) -> bytes:
        """Return the line for the file, without ``secrets``."""
        whole, pieces, at = secrets.hide_in_reply(b"".join(self.pieces)), [], 0
        for piece in self.pieces:
            pieces.append(_written(whole[at : at + len(piece)]))
            at += len(piece)
        # Date would be another one in each recording.
        headers = [
            (name, secrets.hide(value.encode("latin-1")).decode("latin-1"))
            for name, value in self.headers
            if name.lower() != "date" and not is_secret(name)
        ]
        reply = {"status": self.status, "headers": headers, "pieces": pieces, "end": self.end}
        return _line({"number": self.number, "request": self.request, "reply": reply})


def head(base_path: str) -> bytes:
    """Return the first line of a file; ``base_path`` is the path of the server's URL."""
    return _line({"recording": _VERSION, "base_path": base_path})


def cleaned(method: str, path: str, data: bytes, secrets: Secrets) -> dict[str, Any]:
    """Return a request as it is written and compared; add its secrets to ``secrets``."""
    request: dict[str, Any] = {"method": method, "path": secrets.hide_in_path(path)}
    if data:
        try:
            request["json"] = secrets.hide_in_json(data)
        except (ValueError, RecursionError):
            request["body"] = _written(secrets.hide(data))
    cleaned_request: dict[str, Any] = json.loads(secrets.hide(json.dumps(request).encode()))
    return cleaned_request


def key(request: dict[str, Any]) -> str:
    """Return a text that is the same for equal requests: the order of fields and 1 or 1.0 make no difference."""
    return json.dumps(json.loads(json.dumps(request), parse_float=_number), sort_keys=True)


def load(path: StrPath) -> tuple[str, list[Exchange]]:
    """Return the base path and the exchanges of a file, or raise ValueError with the line that is wrong."""
    data = Path(path).read_bytes()
    lines = [(number, line) for number, line in enumerate(data.split(b"\n"), 1) if line.strip()]
    values = [(number, _value(path, number, line, whole=data.endswith(b"\n"))) for number, line in lines]
    first = values[0][1] if values else None
    if not isinstance(first, dict) or not isinstance(first.get("base_path"), str) or "recording" not in first:
        raise ValueError(f"{path}, line 1: this is not a recording; make one with record()")
    if first["recording"] != _VERSION:
        raise ValueError(f"{path}, line 1: recordings of version {first['recording']} are unknown; record it again")
    exchanges = [_exchange(path, number, value) for number, value in values[1:]]
    return first["base_path"], sorted(exchanges, key=lambda each: each.number)


def _value(path: StrPath, number: int, line: bytes, *, whole: bool) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        what = "the line is not JSON" if whole else "the line is not JSON, or incomplete"
        raise ValueError(f"{path}, line {number}: {what}; delete it, or record again") from error


def _exchange(path: StrPath, number: int, value: Any) -> Exchange:
    try:
        request, reply = value["request"], value["reply"]
        if not isinstance(request["method"] + request["path"], str) or reply["end"] not in (COMPLETE, BROKEN, LEFT):
            raise ValueError("the method, the path or the end is wrong")
        return Exchange(
            int(value["number"]),
            request,
            None if reply["status"] is None else int(reply["status"]),
            [(name + "", value + "") for name, value in reply["headers"]],
            [_read(piece) for piece in reply["pieces"]],
            reply["end"],
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path}, line {number}: this is not a recorded exchange ({what}); record it again") from error


def _line(value: object) -> bytes:
    # A lone surrogate becomes the escape that JSON has for it.
    return json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace") + b"\n"


def _written(data: bytes) -> str | dict[str, str]:
    try:
        return data.decode()
    except UnicodeDecodeError:  # also half a character, if a piece ends inside of one
        return {"base64": base64.b64encode(data).decode()}


def _read(piece: Any) -> bytes:
    return piece.encode() if isinstance(piece, str) else base64.b64decode(piece["base64"], validate=True)


def _number(text: str) -> float:
    number = float(text)
    return int(number) if number.is_integer() else number
