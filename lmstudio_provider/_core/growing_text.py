"""A text that arrives in pieces."""

from __future__ import annotations

_BLOCK = 1000
# The blocks, the pieces after them, and the characters of these pieces, that were read.
Position = tuple[int, int, int]
START: Position = 0, 0, 0


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
        count, pieces = self._end
        return "".join([*self._blocks[:count], *pieces])

    def since(self, position: Position = START) -> tuple[str, Position]:
        """Return the text that came after ``position``, which this returned before, and the position of its end."""
        blocks, read, characters = position
        count, pieces = self._end
        earlier: list[str] = []
        if count > blocks:
            earlier = [self._blocks[blocks][characters:], *self._blocks[blocks + 1 : count]]
            read = characters = 0
        new = pieces[read:]
        end = "".join(new)
        return "".join([*earlier, end]), (count, read + len(new), characters + len(end))
