"""A text that arrives in pieces."""

from __future__ import annotations

_BLOCK = 1000


class GrowingText:
    """A growing text, which other threads can read while one thread appends to it.

    A list of a million pieces would take ten times the memory. The garbage collector may close a StringIO before the
    stream that needs it ends.
    """

    def __init__(self) -> None:
        self.length = 0
        """The number of characters."""
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

    def whole(self) -> str:
        """Return all of the text."""
        blocks, count, pieces = self.parts()
        return "".join([*blocks[:count], *pieces])

    def parts(self) -> tuple[list[str], int, list[str]]:
        """Return a list of blocks, how many of them to read, and the pieces after these."""
        return self._blocks, *self._end
