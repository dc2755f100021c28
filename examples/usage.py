"""Record your calls in a file, and sum them up: python examples/usage.py [FILE].

``lmstudio-provider usage --db FILE --html usage.html`` makes a page with charts of the same file.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from lmstudio_provider import LMStudioProvider, ProviderError, SqliteUsage


def main() -> None:
    # Several programs can share the file.
    path = sys.argv[1] if sys.argv[1:] else Path(tempfile.mkdtemp()) / "usage.db"
    with SqliteUsage(path) as usage, LMStudioProvider(usage=usage) as lm:
        lm.complete("Why is the sky blue?", max_tokens=200)
        "".join(lm.stream("Why is the sea blue?", max_tokens=200).text())
        for row in usage.summary(by=("day", "operation")):
            speed = "?" if row.tokens_per_second is None else f"{row.tokens_per_second:.1f}"
            print(f"{row.day}  {row.operation:8}  {row.calls} calls, {row.total_tokens} tokens, {speed} a second")
    print(f"The records are in {path}")


if __name__ == "__main__":
    try:
        main()
    except ProviderError as error:
        sys.exit(str(error))
