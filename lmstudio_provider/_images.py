"""Images as LM Studio takes them: base64 ``data:`` URLs of PNG or JPEG."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Iterable, Sequence, Union

from ._exceptions import InvalidRequestError

#: What ``Message.user(images=)`` takes: the path of a file, the file's bytes, or a ``data:`` URL.
Image = Union[str, bytes, bytearray, memoryview, "os.PathLike[str]"]

# The first bytes of each kind: PNG specification 5.2; ITU T.81 B.1.1.3; RFC 9649 2.4; GIF89a specification 17.
_KINDS = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp", b"GIF8": "gif"}


def listed(images: Image | Sequence[Image] | None) -> list[Image]:
    """Several images, of one or several."""
    if images is None:
        return []
    one = isinstance(images, (str, bytes, bytearray, memoryview, os.PathLike)) or not isinstance(images, Iterable)
    return [images] if one else list(images)  # type: ignore[list-item,arg-type]  # one is no Sequence[Image]


def data_url(image: Image) -> str:
    """Return ``image`` as a ``data:`` URL; raises InvalidRequestError for what LM Studio is known to refuse."""
    if isinstance(image, str) and image.startswith("data:"):
        head, _, text = image.partition(",")
        if not head.endswith(";base64"):
            raise InvalidRequestError("images: a data: URL that is not base64", hint="Local servers take base64 alone")
        try:
            content = base64.b64decode(text, validate=True)
        except ValueError as error:
            raise InvalidRequestError(f"images: the data: URL holds no base64: {error}") from error
        name = "the data: URL"
    elif isinstance(image, str) and image.lower().startswith(("http://", "https://")):
        raise InvalidRequestError(
            "images: an http URL, which local servers do not fetch", hint="Download it and give its path or bytes"
        )
    elif isinstance(image, (bytes, bytearray, memoryview)):
        content, name = bytes(image), "the bytes given"
    elif isinstance(image, (str, os.PathLike)):
        name = repr(os.fspath(image))
        try:
            content = Path(image).read_bytes()
        except (OSError, ValueError) as error:
            raise InvalidRequestError(f"images: cannot read {name}: {error}") from error
    else:
        raise InvalidRequestError(f"images: {type(image).__name__} is no path, bytes or data: URL")
    kind = next((kind for start, kind in _KINDS.items() if content.startswith(start)), None)
    if kind not in ("png", "jpeg"):
        what = "no image" if kind is None else f"a {kind} image"
        raise InvalidRequestError(f"images: {name} is {what}", hint="PNG and JPEG are taken everywhere: convert it")
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
