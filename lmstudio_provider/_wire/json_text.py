"""JSON as servers send it: read strictly, and described when it is not what was promised."""

from __future__ import annotations

import json
from typing import Any

from .._exceptions import ProtocolError


def parse(text: bytes | str, what: str) -> Any:
    """The value of ``text``; raises ProtocolError, which says that ``what`` is no JSON and how it begins."""
    try:
        return json.loads(text.decode("utf-8") if isinstance(text, bytes) else text)
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
    # Out here the error has no context, which would carry the whole text: it may be large, and repeat a secret.
    raise ProtocolError(f"{what} is no JSON ({why}): {shown(text)}", sent=True)


def member(value: Any, name: str, kind: type, what: str) -> Any:
    """``value[name]``, which has to be of ``kind``; raises ProtocolError."""
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, kind):
        whole = f"{what} has no {name!r} of type {kind.__name__}" if isinstance(value, dict) else f"{what} is no object"
        raise ProtocolError(f"{whole}: {shown(json.dumps(value))}", hint=_HINT, sent=True)
    return found


_HINT = "Check that the base URL is LM Studio's, or that of another server with an OpenAI-compatible API"


def shown(text: bytes | str) -> str:
    """The beginning of ``text``, quoted, for a message."""
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return repr(text if len(text) <= 200 else text[:200] + "…") if text else "it is empty"
