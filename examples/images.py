"""Ask a model about an image: ``python images.py photo.jpg``, or about a red square that is drawn here."""

from __future__ import annotations

import struct
import sys
import zlib

from lmstudio_provider import Conversation, LMStudioProvider, ProviderError


def red_square(size: int = 64) -> bytes:
    """Return a red square as PNG (PNG specification, sections 5 and 11)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)  # 8 bits for each of red, green and blue
    rows = (b"\0" + b"\xff\0\0" * size) * size
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def main() -> None:
    with LMStudioProvider() as lm:
        if lm.capabilities.vision is False:
            sys.exit("This server does not have a model that reads images; load one, such as gemma-3")
        conversation = Conversation(lm)
        print(conversation.ask("What is in this image?", images=sys.argv[1:] or [red_square()]).text)
        print(conversation.ask("And which colour is most of it?").text)


if __name__ == "__main__":
    try:
        main()
    except ProviderError as error:
        sys.exit(str(error))
