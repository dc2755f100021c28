"""A text that arrives in pieces."""

from __future__ import annotations

import re

_BLOCK = 1000


class GrowingText:
    """A growing text, which other threads can read while one thread appends to it.

    A list of a million pieces would take ten times the memory. The garbage collector may close a StringIO before the
    stream that needs it ends.
    """

    def __init__(self) -> None:
        self.length = 0
        """The number of characters."""
        self.half = ""
        """A surrogate at the end that waits for the second half of its pair."""
        self._blocks: list[str] = []
        # The number of blocks and the pieces after them, in one object: no thread sees a piece twice, or misses one.
        self._end: tuple[int, list[str]] = 0, []

    def add(self, piece: str) -> None:
        """Append ``piece``."""
        count, pieces = self._end
        self.length += len(piece)
        pieces.append(piece)
        if len(pieces) >= _BLOCK:
            self._blocks[count:] = ["".join(pieces)]
            self._end = count + 1, []

    def mended(self, piece: str, end: bool = False) -> str:
        """Return ``piece`` after the half that waits; the half at its end waits, too, unless that is the ``end``."""
        if self.half or "\ud7ff" < piece[-1:] < "\udc00":
            piece, self.half = with_pairs(self.half + piece), ""
            if "\ud7ff" < piece[-1:] < "\udc00" and not end:
                piece, self.half = piece[:-1], piece[-1]
        return piece

    def whole(self) -> str:
        """Return all of the text."""
        blocks, count, pieces = self.parts()
        return "".join([*blocks[:count], *pieces, self.half])

    def parts(self) -> tuple[list[str], int, list[str]]:
        """Return a list of blocks, how many of them to read, and the pieces after these."""
        return self._blocks, *self._end


def with_pairs(text: str) -> str:
    """Return ``text`` with each pair of surrogates as one character."""
    # By hand: a codec could be imported by a call, which may hang in a forked child.
    pair = "[\ud800-\udbff][\udc00-\udfff]"
    return re.sub(pair, lambda both: chr((ord(both[0][0]) << 10) + ord(both[0][1]) - 0x35FDC00), text)
