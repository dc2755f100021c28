"""Finds the secrets of a request, and takes them out of what is written to a recording."""

from __future__ import annotations

import base64
import io
import json
import re
from typing import Any, Iterable, Iterator
from urllib.parse import unquote

HIDDEN = "***"
_NAMES = (
    "authorization|cookie|api[-_ ]?key|(api|access|auth|bearer|refresh|session)[-_ ]?token|passw|secret|credential"
    "|signature"
)
# JSON has other fields that are called "token" or "key", the tokens of a model among them.
_JSON_NAME = re.compile(_NAMES, re.IGNORECASE)
_NAME = re.compile(_NAMES + "|(key|token|auth|session|session-?id|sig)$", re.IGNORECASE)
_PARAMETER = re.compile(r"(?<=[?&])([^=&#]*)=([^&#]*)")
# A word that stands in for a key ("ollama", "lm-studio"); the texts of a model may contain it.
_WORD = re.compile(r"[A-Za-z-]{1,11}|.{0,3}", re.DOTALL)
_NUMBER = re.compile(rb"[-+.\deE]+")
_STRING = rb'"((?:[^"\\]|\\.)*)"'
_MEMBER = re.compile(rb'index"\s*:\s*(\d+)|%b\s*:\s*%b' % (_STRING, _STRING), re.DOTALL)


def is_secret(name: str) -> bool:
    """Return True if a header or a parameter of that name holds a secret."""
    return _NAME.search(name) is not None


class Secrets:
    """The secrets of one exchange; ``known`` are those of the recorder itself."""

    def __init__(self, headers: Iterable[tuple[str, str]], known: Iterable[str] = ()) -> None:
        self._found = {*known}
        for name, value in headers:
            if is_secret(name):
                self._found.update(_parts(value))

    def hide_in_path(self, path: str) -> str:
        """Return ``path`` without the values of the parameters that hold secrets."""

        def hide(parameter: re.Match[str]) -> str:
            name, value = parameter.groups()
            if not is_secret(unquote(name)):
                return parameter[0]
            self._found.update((value, unquote(value)))
            return f"{name}={HIDDEN}"

        return _PARAMETER.sub(hide, path)

    def hide_in_json(self, data: bytes) -> Any:
        """Return the JSON value of ``data`` without the texts of the fields that hold secrets, or raise ValueError."""

        def hide(fields: dict[str, Any]) -> dict[str, Any]:
            for name, value in fields.items():
                if isinstance(value, str) and _JSON_NAME.search(name):
                    self._found.update(_parts(value))
                    fields[name] = HIDDEN
            return fields

        return json.loads(data, object_hook=hide)

    def hide(self, data: bytes) -> bytes:
        """Return ``data``, in which each secret that was found is as many asterisks, so that lengths stay."""
        secrets = [each for each in self._found if not _WORD.fullmatch(each)]
        # The longest first: one secret may begin with another.
        for form in sorted({form for each in secrets for form in _forms(each)}, key=len, reverse=True):
            # In JSON, a number has to stay one.
            data = data.replace(form, (b"9" if _NUMBER.fullmatch(form) else b"*") * len(form))
        return data

    def hide_in_reply(self, data: bytes) -> bytes:
        """Return ``data`` as ``hide`` does, also without a secret that several events of a stream spell."""
        found: dict[object, list[slice]] = {}
        index = None
        for member in _MEMBER.finditer(data):
            index, name = member[1] or index, member[2]
            for key in (name, (name, index)):  # of two texts at once, each event says which one goes on
                found.setdefault(key, []).append(slice(*member.span(3)))
        hidden = bytearray(data)
        for places in (each for each in found.values() if len(each) > 1):
            text = io.BytesIO(self.hide(b"".join(hidden[each] for each in places)))
            for each in places:
                hidden[each] = text.read(each.stop - each.start)
        return self.hide(bytes(hidden))


def _parts(value: str) -> Iterator[str]:
    """Yield a header's value, and its parts that are secrets of their own: "Bearer x", "Basic x", "name=x; name=x"."""
    yield value
    for part in re.split(r"[;,\s]+", value):
        yield part
        yield part.partition("=")[2].strip('"')
    scheme, _, credentials = value.partition(" ")
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(credentials).decode()
        except ValueError:
            return
        yield pair
        yield pair.partition(":")[2]


def _forms(secret: str) -> Iterator[bytes]:
    """Yield the forms in which a reply may repeat a secret. LM Studio repeats the first ten characters (seen)."""
    for each in [secret, *(secret[:length] for length in range(16, 7, -1) if len(secret) >= 20)]:
        yield each.encode(errors="replace")
        yield each.encode("latin-1", errors="replace")  # as http.server and http.client read headers
        yield json.dumps(each)[1:-1].encode()
