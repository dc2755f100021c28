"""Images as LM Studio takes them: base64 ``data:`` URLs of PNG or JPEG."""

from __future__ import annotations

import base64
import dataclasses
import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Iterable, Protocol, Union
from urllib.parse import unquote_to_bytes

from .errors import InvalidRequestError, class_and_text, preview


class ReadableImage(Protocol):
    """A file that is open in binary mode, or anything else with its ``read``."""

    def read(self) -> bytes:
        """Return the bytes from the current position to the end."""


class SavableImage(Protocol):
    """A ``PIL.Image``, or anything else with its ``save``."""

    def save(self, fp: Any, format: str) -> object:
        """Write the image to a file."""


# One image of ``Message.user(images=)``.
Image = Union[str, bytes, bytearray, memoryview, os.PathLike[str], ReadableImage, SavableImage]

# The first bytes of each kind: PNG specification 5.2; ITU T.81 B.1.1.3; RFC 9649 2.4; GIF89a specification 17.
_KINDS = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp", b"GIF8": "gif"}
_URLSAFE = bytes.maketrans(b"-_", b"+/")
# The longest path of any system, and the most characters of an image in a repr.
_LONGEST_PATH, _LONGEST_SHOWN = 32767, 100


def listed(images: Image | Sequence[Image] | None) -> list[Image]:
    """Return one image, or several, as a list."""
    if images is None or (isinstance(images, tuple) and not images):
        return []
    one = isinstance(images, (str, bytes, bytearray, memoryview, os.PathLike, Mapping))
    one = one or hasattr(images, "read") or hasattr(images, "save")  # an open file iterates over its lines
    return [images] if one or not isinstance(images, Iterable) else list(images)  # type: ignore[list-item,arg-type]


def data_url(image: Image) -> str:
    """Return ``image`` as a ``data:`` URL; raise InvalidRequestError if LM Studio is known to refuse it."""
    content, name = _content(image)
    if _kind(content) is None:  # the bytes may be base64, or a data: URL
        content = _decoded(content) or content
    kind = _kind(content)
    if kind not in ("png", "jpeg"):
        what = f"{name} is {'not a PNG or JPEG image' if kind is None else f'a {kind} image'}"
        raise InvalidRequestError(f"images: {what}", hint="Convert it to PNG or JPEG, which every server takes")
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _kind(content: bytes) -> str | None:
    return next((kind for start, kind in _KINDS.items() if content.startswith(start)), None)


def _content(image: Any) -> tuple[bytes, str]:
    """Return the bytes of ``image``, and its name in an error; raise InvalidRequestError."""
    if isinstance(image, os.PathLike):
        path = os.fsdecode(image)
        try:
            return Path(path).read_bytes(), preview(path)
        except (OSError, ValueError) as error:
            raise _unreadable(path, error) from error
    if hasattr(image, "read"):
        return _read(image), "the file"
    if hasattr(image, "save"):
        return _saved(image), f"the output of save() of the {type(image).__name__}"
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image), "the content of the bytes"
    if isinstance(image, str):
        return _of_text(image)
    hint = "Give a path, bytes, a file that is open in binary mode, a PIL image, base64 or a data: URL"
    raise InvalidRequestError(f"images: {type(image).__name__} is not an image", hint=hint)


def _of_text(text: str) -> tuple[bytes, str]:
    """Return the bytes and the name of a ``data:`` URL, of the path of a file that exists, or of base64."""
    if re.match(r"\s*https?://", text, re.IGNORECASE):
        hint = "Download it and give its path or bytes"
        raise InvalidRequestError("images: an http URL, but local servers do not fetch images", hint=hint)
    failure: Exception | None = None
    if not _is_data_url(text) and len(text) <= _LONGEST_PATH:
        try:
            return Path(text).read_bytes(), preview(text)
        except (OSError, ValueError) as error:
            failure = error
    content = _decoded(text.encode("ascii", "replace"))
    if content is not None:
        return content, "the data: URL" if _is_data_url(text) else "the content of the base64"
    # An error about a path quotes it. A long text may be anything, and the error does not quote it.
    if failure is not None and len(text) <= (1024 if re.search(r"\.\w{1,5}$", text[-6:]) else 64):
        raise _unreadable(text, failure) from failure
    raise InvalidRequestError(
        f"images: a text of {len(text):,} characters is neither the path of a file nor the base64 of an image",
        hint="Give the path of a PNG or JPEG file, or the result of base64.b64encode() for its bytes",
    )


def _unreadable(path: str, error: Exception) -> InvalidRequestError:
    return InvalidRequestError(f"images: cannot read {preview(path)}: {getattr(error, 'strerror', None) or error}")


def _is_data_url(text: str) -> bool:
    return text[:_LONGEST_SHOWN].lstrip()[:5].lower() == "data:"


def _decoded(text: bytes) -> bytes | None:
    """Return the bytes in a ``data:`` URL, or in the base64 of an image; None if ``text`` is neither.

    Base64 may have either alphabet, blanks and line breaks, and no padding. Raises InvalidRequestError, which does not
    quote the text, if it is broken.
    """
    if _is_data_url(text[:_LONGEST_SHOWN].decode("latin-1")):
        head, _, text = text.partition(b",")
        if not head.lower().endswith(b";base64"):
            raise InvalidRequestError("images: a data: URL that is not base64", hint="Local servers take only base64")
        name, text = "the data: URL", unquote_to_bytes(text)
    else:
        name = "the text begins like the base64 of an image, and"
        try:
            if _kind(_from_base64(_plain(text[:_LONGEST_SHOWN])[:16])) is None:
                return None
        except ValueError:
            return None
    try:
        return _from_base64(_plain(text))
    except ValueError as error:
        raise InvalidRequestError(f"images: {name} is not valid base64: {error}") from error


def _plain(text: bytes) -> bytes:
    """Return base64 in the standard alphabet, without blanks and line breaks."""
    return text.translate(_URLSAFE, b" \t\r\n")


def _from_base64(plain: bytes) -> bytes:
    return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)


def _read(file: Any) -> bytes:
    """Return the bytes of ``file`` from its position to its end; raise InvalidRequestError."""
    content: Any = ""
    try:
        if not isinstance(file, io.TextIOBase):
            content = file.read()
    except UnicodeDecodeError:  # it is in text mode; the error holds the content, so it is not chained
        pass
    except Exception as error:
        what = f"images: read() of the {type(file).__name__} raised {class_and_text(error)}"
        raise InvalidRequestError(what) from error
    if isinstance(content, str):
        hint = "Open it in binary mode: open(path, 'rb')"
        raise InvalidRequestError("images: the file is open in text mode", hint=hint)
    if not isinstance(content, (bytes, bytearray, memoryview)):
        what = f"read() of the {type(file).__name__} returned {type(content).__name__}, not bytes"
        raise InvalidRequestError(f"images: {what}")
    if not content:
        hint = "Call seek(0) to read it from its beginning"
        raise InvalidRequestError("images: the file has nothing to read at its position", hint=hint)
    return bytes(content)


def _saved(image: Any) -> bytes:
    """Return ``image`` as PNG; raise InvalidRequestError."""
    file = io.BytesIO()
    try:
        image.save(file, format="PNG")
    except Exception as error:
        why, hint = class_and_text(error), "If PNG does not have the mode of the PIL image, give image.convert('RGB')"
        raise InvalidRequestError(f"images: save() of the {type(image).__name__} raised {why}", hint=hint) from error
    return file.getvalue()


def repr_without_images(value: Any) -> str:
    """Return the repr of a dataclass without the data of its images."""
    fields = [each.name for each in dataclasses.fields(value) if each.repr]
    return f"{type(value).__qualname__}({', '.join(f'{name}={_shown(getattr(value, name))!r}' for name in fields)})"


def _shown(value: Any, key: object = None) -> Any:
    """Return ``value``, the member ``key`` of a part of a message, without the data of images."""
    if isinstance(value, Mapping):
        return {key: _shown(each, key) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        shorter = [_shown(each, key) for each in value]
        return tuple(shorter) if isinstance(value, tuple) else shorter
    if not isinstance(value, (str, bytes)) or len(value) <= _LONGEST_SHOWN:
        return value
    if isinstance(value, bytes):
        return f"… {len(value):,} bytes"
    head = re.match(r"data:[^\s,]*,|", value[:_LONGEST_SHOWN], re.IGNORECASE)
    if (head and head[0]) or key in ("data", "images"):
        return f"{head[0] if head else ''}… {len(value):,} characters"
    return value
