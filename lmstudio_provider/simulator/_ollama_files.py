"""Ollama's endpoints for models (show, copy, delete, pull, create) and for the files from which models are made."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import threading
from typing import Any, Iterable, Iterator, Mapping

from ._ollama_checks import LIST, OBJECT, TEXT, Fields, check_fields
from ._ollama_json import lines, refused, whole
from ._ollama_models import SIZE_BYTES, OllamaModel, Shelf, named, show
from ._server import Answer, Whole

_NAME: Fields = {"model": TEXT, "name": TEXT, "stream": ((bool,), "bool"), "insecure": ((bool,), "bool")}
_CREATE: Fields = {
    **_NAME,
    "from": TEXT,
    "files": ((dict,), "map[string]string"),
    "system": TEXT,
    "template": TEXT,
    "parameters": OBJECT,
    "messages": LIST,
}
_NOT_THERE = "pull model manifest: file does not exist"
_DIGEST = re.compile(r"sha256[:-][0-9a-f]{64}")


class Files:
    """The endpoints, each a method."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._lock = threading.Lock()
        # The first four bytes of each file, by its digest.
        self._blobs: dict[str, bytes] = {}

    def show(self, body: Any) -> Answer:
        """``POST /api/show``."""
        return whole(show(self._shelf.find(_name(body, "ShowRequest"))))

    def delete(self, body: Any) -> Answer:
        """``DELETE /api/delete``."""
        self._shelf.delete(self._shelf.find(_name(body, "DeleteRequest")))
        return Whole(b"")

    def copy(self, body: Any) -> Answer:
        """``POST /api/copy``."""
        check_fields(body, {"source": TEXT, "destination": TEXT}, "CopyRequest")
        for field in ("source", "destination"):
            if not body.get(field):
                raise refused(400, f'{field} "" is invalid')
        self._shelf.copy(self._shelf.find(body["source"], 'model "{}" not found'), body["destination"])
        return Whole(b"")

    def pull(self, body: Any) -> Answer:
        """``POST /api/pull``; any model can be pulled, unless its name begins with "no-such"."""
        name = _name(body, "PullRequest")
        if not name:
            raise refused(400, "invalid model name")
        return _progress(body, list(self._pull(name)))

    def _pull(self, name: str) -> Iterator[dict[str, Any]]:
        yield {"status": "pulling manifest"}
        if name.startswith("no-such"):
            yield {"error": _NOT_THERE}
            return
        known = self._shelf.get(name)
        model = known or named(name)
        layer = f"sha256:{hashlib.sha256(model.digest.encode()).hexdigest()}"
        step = {"status": f"pulling {layer[7:19]}", "digest": layer, "total": SIZE_BYTES}
        with self._lock:
            there = known is not None or layer in self._blobs
            self._blobs[layer] = b"GGUF"
        if not there:
            yield step  # "completed" is left out while it is 0
        for part in (4,) if there else (1, 2, 3, 4):
            yield {**step, "completed": SIZE_BYTES * part // 4}
        for status in ("verifying sha256 digest", "writing manifest", "removing unused layers"):
            yield {"status": status}
        self._shelf.add(model)
        yield {"status": "success"}

    def create(self, body: Any) -> Answer:
        """``POST /api/create``."""
        name = _name(body, "CreateRequest", _CREATE)
        if not name:
            raise refused(400, "invalid model name")
        files: Mapping[str, Any] = body.get("files") or {}
        for file, digest in files.items():
            if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
                raise refused(400, "invalid digest format")
            if digest.replace("-", ":") not in self._blobs:
                raise refused(400, f"open {file}: no such file or directory")
        return _progress(body, list(self._create(name, body, [each.replace("-", ":") for each in files.values()])))

    def _create(self, name: str, body: Mapping[str, Any], digests: list[str]) -> Iterator[dict[str, Any]]:
        if body.get("from"):
            if self._shelf.get(body["from"]) is None:  # Ollama pulls it (seen)
                *steps, last = self._pull(body["from"])
                yield from steps
                if "error" in last:
                    yield last
                    return
            base = self._shelf.find(body["from"])
            yield {"status": f"using existing layer sha256:{base.digest}"}
        elif digests:
            yield {"status": "parsing GGUF"}
            if any(self._blobs[digest] != b"GGUF" for digest in digests):
                yield {"error": "supplied file was not in GGUF format"}
                return
            yield from ({"status": f"using existing layer {digest}"} for digest in digests)
            if not body.get("template"):
                yield {"status": "using autodetected template chatml"}
            base = OllamaModel(name)
        else:
            yield {"error": "neither 'from' or 'files' was specified"}
            return
        given = {field: body[field] for field in ("system", "template") if body.get(field)}
        parameters = {**base.parameters, **(body.get("parameters") or {})}
        made = repr((base.digest, digests, given, parameters))
        digest = hashlib.sha256(made.encode()).hexdigest()
        self._shelf.add(dataclasses.replace(base, name=name, digest=digest, parameters=parameters, **given))
        yield from ({"status": status} for status in ("writing manifest", "success"))

    def has_blob(self, digest: str) -> Answer:
        """``HEAD /api/blobs/sha256:…``."""
        _check_digest(digest)
        if digest in self._blobs:
            return Whole(b"", 200, {})
        return whole({"error": f'blob "{digest}" not found'}, 404)  # of which HEAD gets the headers

    def take_blob(self, digest: str, body: Iterable[bytes]) -> Answer:
        """``POST /api/blobs/sha256:…``; it reads the whole file and keeps only the beginning."""
        _check_digest(digest)
        if digest in self._blobs:
            return Whole(b"", 200, {})
        sha256, start = hashlib.sha256(), b""
        for piece in body:
            start = (start + piece)[:4]
            sha256.update(piece)
        got = f"sha256:{sha256.hexdigest()}"
        if got != digest:
            raise refused(400, f'digest mismatch, expected "{digest}", got "{got}"')
        with self._lock:
            self._blobs[digest] = start
        return Whole(b"", 201, {})


def _check_digest(digest: str) -> None:
    if not _DIGEST.fullmatch(digest):
        raise refused(400, "invalid digest format")


def _name(body: Any, request: str, fields: Fields = _NAME) -> str:
    check_fields(body, fields, request)
    return str(body.get("model") or body.get("name") or "")


def _progress(body: Mapping[str, Any], steps: list[dict[str, Any]]) -> Answer:
    """Return the steps as lines, or only the last one if the request does not want a stream."""
    if body.get("stream") is not False:
        return lines(steps)
    if "error" in steps[-1]:
        raise refused(500, steps[-1]["error"])
    return whole(steps[-1])
