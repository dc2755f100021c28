"""Embeds texts with the OpenAI-compatible ``/v1/embeddings``."""

from __future__ import annotations

import array
import base64
import dataclasses
import math
import struct
from typing import Any, Sequence

from .._core.checks import to_json
from .._core.errors import ProtocolError
from .._core.ollama_options import refuse_for_lm_studio
from .._core.types import Call, Completion, Embeddings, Usage
from .json_text import member, text_or_none
from .openai import read_usage


def embed_call(
    texts: Sequence[str],
    model: str,
    truncate: bool = True,
    *,
    num_ctx: int | None = None,
    keep_alive: float | str | None = None,
) -> Call:
    """Return the call for vectors. The server cuts a text that is too long: it has no ``truncate``.

    Raises InvalidRequestError for options that only Ollama has.
    """
    refuse_for_lm_studio(num_ctx=num_ctx, keep_alive=keep_alive)
    body = {"model": model, "input": list(texts)}
    content = to_json(body, "the texts").encode("ascii")
    return Call("POST", "/v1/embeddings", content, model, model_kind="embedding")


def embed_reply(value: Any, call: Call, count: int) -> Embeddings:
    """Return the vectors of ``count`` texts, in the order of the texts; raises ProtocolError."""
    entries = member(value, "data", list, "the reply")
    usage = read_usage(value.get("usage"))
    if usage is not None:  # LM Studio always reports 0, which is not a count
        usage = dataclasses.replace(usage, total_tokens=usage.total_tokens or None)
    usage = None if usage == Usage() else usage
    vectors: dict[str, list[float]] = {}
    for position, entry in enumerate(entries):
        found = vector(entry.get("embedding") if isinstance(entry, dict) else None, call, usage)
        index = entry.get("index")
        vectors[str(position if index is None else index)] = found
    if len(entries) != count or set(vectors) != set(map(str, range(count))):
        raise ProtocolError(
            f"the reply has {len(entries)} vectors for {count} texts, with the indexes {', '.join(vectors)[:100]}",
            sent=True,
        )
    if len({len(found) for found in vectors.values()}) > 1:
        raise ProtocolError("the vectors of the reply differ in length", sent=True)
    return Embeddings(
        [vectors[str(index)] for index in range(count)],
        text_or_none(value.get("model")) or call.model,
        call.model,
        usage,
    )


def vector(value: object, call: Call, usage: Usage | None) -> list[float]:
    """Return the vector in a list of numbers, or in base64 of little-endian 32-bit floats.

    Raises ProtocolError, whose ``partial`` has the ``usage`` of the reply.
    """
    try:
        if isinstance(value, str):
            data = base64.b64decode(value, validate=True) or b"?"
            found = list(struct.unpack(f"<{len(data) // 4}f", data))
        elif isinstance(value, list) and value and bool not in set(map(type, value)):
            found = array.array("d", value).tolist()
        else:
            found = [math.nan]
    except (ValueError, TypeError, OverflowError, struct.error):
        found = [math.nan]
    if not all(map(math.isfinite, found)):
        partial = Completion("", call.model, call.model, usage=usage)
        message = f"a vector of the reply is not a list of finite numbers: {str(value)[:100]}"
        raise ProtocolError(message, sent=True, partial=partial)
    return found
