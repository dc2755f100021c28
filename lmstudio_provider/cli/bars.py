"""The bar of something that takes long: tqdm's, or a percentage if tqdm is not installed."""

from __future__ import annotations

import importlib
import shutil
from typing import Any, TextIO

from .words import visible


class Bar:
    """Shows on a terminal how much is done; elsewhere it shows nothing."""

    def __init__(self, stream: TextIO, total: float | None, unit: str) -> None:
        self._stream, self._total, self._unit = stream, total, unit
        self._is_shown = stream.isatty()
        self._drawn = ""
        self._tqdm: Any = None
        if self._is_shown:
            try:
                tqdm = importlib.import_module("tqdm").tqdm
            except ImportError:
                return
            tqdm.monitor_interval = 0  # no thread
            scaled = {"unit_scale": True} if unit == "B" else {}
            self._tqdm = tqdm(total=total, unit=unit, file=stream, dynamic_ncols=True, leave=False, **scaled)

    def update(self, done: float, total: float | None = None, text: str = "") -> None:
        """Show that ``done`` of ``total`` are done, after ``text``; without ``total``, the one before holds."""
        self._total = self._total if total is None else total
        text = visible(" ".join(text.split()))
        if self._tqdm is not None:
            self._tqdm.total = self._total
            if text != (self._tqdm.desc or ""):
                self._tqdm.set_description_str(text)
            self._tqdm.update(done - self._tqdm.n)
        elif self._is_shown:
            how = f"{done / self._total:4.0%}" if self._total else f"{done:g} {self._unit}"
            self._draw(" ".join(filter(None, (text, how))))

    def clear(self) -> None:
        """Remove the bar from the screen, until the next update."""
        if self._tqdm is not None:
            self._tqdm.clear()
        else:
            self._draw("")

    def close(self) -> None:
        """Remove the bar from the screen."""
        if self._tqdm is not None:
            self._tqdm.close()
        else:
            self._draw("")

    def _draw(self, line: str) -> None:
        line = line[: shutil.get_terminal_size().columns - 1]  # a longer one could not be wiped
        if line != self._drawn:
            blank = " " * (len(self._drawn) - len(line))
            self._stream.write(f"\r{line}{blank}" + ("" if line else "\r"))
            self._stream.flush()
            self._drawn = line
