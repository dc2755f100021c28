"""An agent with three tools, which may only read: it answers questions about the files of a folder.

agent.py "Which example is the longest?" [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Callable

from lmstudio_provider import LMStudioProvider, Message, ProviderError, ToolEvent, run_tools

MOST_CHARACTERS = 4000


def tools_for(folder: Path) -> list[Callable[..., object]]:
    """Return tools that see ``folder`` and nothing outside it."""

    def inside(name: str) -> Path:
        path = (folder / name).resolve()
        if folder.resolve() not in path.parents:
            raise ValueError(f"{name!r} is not in the folder")  # the model gets this text
        return path

    def list_files(ending: str = "") -> list[dict[str, object]]:
        """Return the name and the size of each file whose name ends with ``ending``."""
        paths = sorted(path for path in folder.iterdir() if path.is_file() and path.name.endswith(ending))
        return [{"name": path.name, "bytes": path.stat().st_size} for path in paths]

    def read_file(name: str, first_line: int = 1) -> str:
        """Return the text of a file, from a line on."""
        lines = inside(name).read_text(encoding="utf-8").splitlines()
        return "\n".join(lines[first_line - 1 :])[:MOST_CHARACTERS]

    def search(text: str) -> list[str]:
        """Return the lines of all files that contain ``text``, each with the name of its file."""
        found = []
        for path in sorted(folder.glob("*")):
            if path.is_file():
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
                found += [f"{path.name}: {line.strip()}" for line in lines if text in line]
        return found[:50]

    return [list_files, read_file, search]


def show(event: ToolEvent) -> None:
    if event.kind == "call" and event.call is not None:
        print(f"  {event.call.name}({event.call.raw_arguments})")


def main(question: str, folder: Path) -> None:
    with LMStudioProvider() as lm:
        messages = [Message.system("Use the tools to look at the files, then answer."), Message.user(question)]
        run = run_tools(lm, messages, tools_for(folder), on_event=show, max_rounds=8)
    print(run.completion.text)
    for error in run.errors:
        print(f"a tool failed: {error}", file=sys.stderr)


if __name__ == "__main__":
    asked = sys.argv[1] if sys.argv[1:] else "Which example is the longest?"
    try:
        main(asked, Path(sys.argv[2]) if sys.argv[2:] else Path(__file__).parent)
    except ProviderError as error:
        sys.exit(str(error))
