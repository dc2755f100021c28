"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from pathlib import Path


def write_whole(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8, so that a reader sees the old content or the new one; raise OSError.

    Only its owner can read a new file. A pipe, a device, or anything else that is not a regular file is not replaced.
    """
    target = Path(os.path.realpath(path))  # a link stays one
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(target.stat().st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
    # The name of the target is not part of it, because it may be as long as the file system allows.
    number, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=target.parent)
    try:
        with open(number, "w", encoding="utf-8", newline="\n") as file:  # noqa: PTH123 (a descriptor)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, name)
        Path(name).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
