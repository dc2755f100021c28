"""Copies of this package inside other projects: the parts that they need, and what was changed in them."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import re
import shutil
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib import metadata, resources
from itertools import accumulate
from pathlib import Path
from typing import Collection, Iterable, Iterator, NamedTuple

from .. import __version__
from .._core.errors import ConfigurationError

NAME = "lmstudio_provider"
PACKAGE = __name__.rpartition(".cli.")[0]
RECORD = "VENDORED"
NO_PARTS = "none"


class Part(NamedTuple):
    """An optional part of the package."""

    about: str
    files: tuple[str, ...]
    """Patterns of paths in the package. A file of several parts is in the copy if one of them is."""
    needs: tuple[str, ...] = ()
    """Other parts that it cannot work without."""


_TYPES = ("functions", "hints", "partial", "schemas", "typed")
# What no part names is the core, which is in each copy: LMStudioProvider with chats, streams and embeddings.
PARTS = {
    "batch": Part("complete_many()", ("_workflows/__init__.py", "_workflows/batch.py", "_workflows/cancelling.py")),
    "cli": Part("the command line, whose commands say which part they need", ("cli/*", "__main__.py")),
    "conversation": Part(
        "Conversation",
        (
            "_workflows/__init__.py",
            "_workflows/conversation*.py",
            "_workflows/tool_turn.py",
            "_core/files.py",
            "_provider/chunks.py",
        ),
        ("tools",),
    ),
    "decisions": Part(
        "count_tokens() and decide()",
        ("_core/decisions.py", "_dialects/decisions.py", "_provider/deciding.py"),
    ),
    "measure": Part("measure()", ("_workflows/__init__.py", "_workflows/measure*.py", "_workflows/cancelling.py")),
    "messages": Part("the Messages API", ("_dialects/messages.py", "_dialects/typed.py")),
    "native": Part("LM Studio's own API", ("_native/*", "events.py", "_core/progress.py")),
    "ollama": Part("OllamaProvider", ("_ollama.py", "_dialects/ollama*.py", "_core/progress.py", "_core/upload.py")),
    "responses": Part("the Responses API", ("_dialects/responses.py", "_dialects/typed.py")),
    "servers": Part("discover(), Registry, Failover and start_server()", ("_servers/*", "_provider/lmstudio_home.py")),
    "simulator": Part("stand-in servers and recordings", ("simulator/*",)),
    "testing": Part("fixtures for pytest", ("pytest_plugin.py",), ("simulator",)),
    "tools": Part("run_tools()", ("_workflows/__init__.py", "_workflows/tools.py"), ("types",)),
    "types": Part(
        "types as response_format, and functions as tools", tuple(f"_core/schema/{name}.py" for name in _TYPES)
    ),
    "usage": Part("MemoryUsage and SqliteUsage", ("_workflows/__init__.py", "_workflows/usage*.py", "_core/files.py")),
}


class VendoringError(ConfigurationError):
    """A copy could not be made, updated or checked; the copy that was there is still there."""


@dataclass(frozen=True)
class Copy:
    """What the file VENDORED of a copy says about it."""

    version: str
    parts: tuple[str, ...] = ()
    urllib3: str = "urllib3"
    """The module that its files import as urllib3."""
    sums: dict[str, str] = field(default_factory=dict)
    """The SHA-256 of each file by its path in the copy. Line breaks count as LF, whatever Git makes of them."""


@dataclass(frozen=True)
class Changes:
    """How the files of a copy differ from those that were copied."""

    changed: tuple[str, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.changed or self.missing or self.added)

    def __str__(self) -> str:
        return ", ".join(f"{path} ({kind})" for kind, paths in vars(self).items() for path in paths)


def copy_folder(folder: Path) -> Path:
    """Return where the copy in ``folder`` is: below it, or ``folder`` itself if it has the name of the package."""
    found = folder.resolve()
    return found if found.name == NAME else (found / NAME).resolve()


def make_copy(
    folder: Path, parts: Collection[str] | None = None, urllib3: str | None = None, *, force: bool = False
) -> tuple[Copy | None, Copy]:
    """Make or update the copy in ``folder``; return what was there, and what is there now.

    Without ``parts`` or ``urllib3``, they stay as they are in the copy. Files that were changed by hand are overwritten
    only with ``force``, and a folder that is not a copy never is.
    """
    with _os_errors(folder):
        target = copy_folder(folder)
        _finish(target)
        old = _copy_to_replace(target, force)
        parts = (old.parts if old else ()) if parts is None else parts
        copy, files = _new_copy(parts, urllib3 or (old.urllib3 if old else "urllib3"))
        if copy != old or compare(target, old):
            target.parent.mkdir(parents=True, exist_ok=True)
            write_tree(target, files.items())
        return old, copy


def check_copy(folder: Path) -> tuple[Copy, Changes]:
    """Return what the copy in ``folder`` is, and what was changed in it by hand."""
    with _os_errors(folder):
        target = copy_folder(folder)
        _finish(target)
        copy = read_record(target)
        if copy is None:
            raise VendoringError(f"{target} is not a copy that 'vendor' made", hint=f"It has no file {RECORD}.")
        return copy, compare(target, copy)


@contextlib.contextmanager
def _os_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        raise VendoringError(f"the copy in {folder} was left as it was; {error.strerror or error}{where}") from error


def _copy_to_replace(target: Path, force: bool) -> Copy | None:
    for path in (target, *target.parents):
        if path.exists() and not path.is_dir():
            raise VendoringError(f"{path} is not a folder", hint="Name the folder that the copy goes into.")
    try:
        old = read_record(target)
    except VendoringError:
        if not force:
            raise
        return None
    if old is None:
        if target.exists() and any(target.iterdir()):
            hint = f"It has no file {RECORD}. Name another folder, or remove this one first."
            raise VendoringError(f"{target} is not empty, and not a copy that 'vendor' made", hint=hint)
        return None
    changes = compare(target, old)
    if changes and not force:
        hint = "Keep them elsewhere, then use --force to overwrite them."
        raise VendoringError(f"files of {target} were changed by hand: {changes}", hint=hint)
    return old


def _new_copy(parts: Iterable[str], urllib3: str) -> tuple[Copy, dict[str, bytes]]:
    """Return the copy of the installed package with ``parts``, and its files with the record of them."""
    if (resources.files(PACKAGE) / RECORD).is_file():  # parts and imports of it were left out and changed
        hint = "Use the 'vendor' command of an installed lmstudio_provider."
        raise VendoringError(f"{PACKAGE} is such a copy itself, and copies are not made of copies", hint=hint)
    chosen = with_needs(parts)
    files = dict(package_files(chosen))
    if urllib3 != "urllib3":
        files = {path: import_from(urllib3, data) if path.endswith(".py") else data for path, data in files.items()}
    files["LICENSE"] = _license()
    copy = Copy(__version__, chosen, urllib3, {path: _sum(files[path]) for path in sorted(files)})
    files[RECORD] = record(copy).encode()
    return copy, files


def with_needs(parts: Iterable[str]) -> tuple[str, ...]:
    """Return ``parts`` and those that they need, sorted."""
    chosen: set[str] = set()
    todo = list(parts)
    for part in todo:
        if part not in PARTS:
            hint = f"The parts are {', '.join(PARTS)}."
            raise VendoringError(f"there is not a part {part!r} in lmstudio_provider {__version__}", hint=hint)
        chosen.add(part)
        todo += PARTS[part].needs
    return tuple(sorted(chosen))


def package_files(parts: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of each file of the installed package that belongs to the core or to one of ``parts``."""
    folders = [("", resources.files(PACKAGE))]
    for prefix, folder in folders:
        for each in folder.iterdir():
            path = prefix + each.name
            if each.is_dir():
                folders += [(f"{path}/", each)] if each.name != "__pycache__" else []
            elif not path.endswith(".pyc") and belongs(path, parts):
                yield path, each.read_bytes()


def belongs(path: str, parts: Collection[str]) -> bool:
    """Return True if the file at ``path`` in the package belongs to the core or to one of ``parts``."""
    owners = [name for name, part in PARTS.items() if any(fnmatchcase(path, pattern) for pattern in part.files)]
    return not owners or any(name in parts for name in owners)


def _license() -> bytes:
    source = Path(__file__).parents[2]
    if (source / "setup.cfg").is_file():
        return (source / "LICENSE").read_bytes()
    with contextlib.suppress(metadata.PackageNotFoundError):
        for path in metadata.files("lmstudio-provider") or ():
            if path.name == "LICENSE":
                return path.read_binary()
    raise VendoringError("the file LICENSE of lmstudio_provider was not found", hint="Install the package again.")


def _sum(data: bytes) -> str:
    return hashlib.sha256(data.replace(b"\r\n", b"\n")).hexdigest()


def compare(target: Path, copy: Copy | None) -> Changes:
    """Return how the files in ``target`` differ from those that were copied; bytecode does not count."""
    there = {
        path.relative_to(target).as_posix(): path
        for path in sorted(target.rglob("*"))
        if (path.is_symlink() or not path.is_dir()) and path.parent.name != "__pycache__" and path != target / RECORD
    }
    sums = copy.sums if copy else {}
    return Changes(
        changed=tuple(path for path in sums if path in there and _sum(there[path].read_bytes()) != sums[path]),
        missing=tuple(path for path in sums if path not in there),
        added=tuple(path for path in there if path not in sums),
    )


def record(copy: Copy) -> str:
    """Return the text of the file VENDORED."""
    return (
        "A copy of lmstudio_provider. Update it with 'lmstudio-provider vendor', or compare it with 'vendor --check'.\n"
        f"version: {copy.version}\nparts: {', '.join(copy.parts) or NO_PARTS}\nurllib3: {copy.urllib3}\n"
        + "".join(f"{each}  {path}\n" for path, each in copy.sums.items())
    )


def read_record(target: Path) -> Copy | None:
    """Return what the file VENDORED in ``target`` says, or None if there is not such a file."""
    path = target / RECORD
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    head = re.match(r".+\nversion: (\S+)\nparts: (.+)\nurllib3: (\S+)\n", text)
    lines = text[head.end() :].splitlines() if head else []
    wrong = [number for number, line in enumerate(lines, 5) if not re.fullmatch(r"[0-9a-f]{64}  .+", line)]
    if head is None or wrong:
        hint = "Restore it, or make the copy again with 'vendor --force', which overwrites all of it."
        raise VendoringError(f"{path} is not as 'vendor' wrote it, in line {[*wrong, 1][0]}", hint=hint)
    version, parts, urllib3 = head.groups()
    chosen = () if parts == NO_PARTS else tuple(parts.split(", "))
    return Copy(version, chosen, urllib3, {line[66:]: line[:64] for line in lines})


def is_newer(version: str, than: str) -> bool:
    """Return True if ``version`` comes after ``than`` (PEP 440)."""
    return _order(version) > _order(than)


def _order(version: str) -> list[tuple[int, int]]:
    words = {"dev": -4, "a": -3, "b": -2, "rc": -1, "post": 1}
    pieces = re.findall(r"\d+|[a-z]+", version)
    return [(2, int(piece)) if piece.isdecimal() else (words.get(piece, -4), 0) for piece in pieces] + [(0, 0)]


def import_from(module: str, source: bytes) -> bytes:
    """Return ``source`` with all imports of urllib3 turned into imports of ``module``; no line moves."""
    starts = [0, *accumulate(map(len, source.splitlines(keepends=True)))]
    statements = [node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.Import, ast.ImportFrom))]
    for node in sorted(statements, key=lambda each: (each.lineno, each.col_offset), reverse=True):
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        text = source[start:end]
        if isinstance(node, ast.Import):
            if any(_of_urllib3(each.name) for each in node.names):
                text = _imported_from(module, node).encode()
        elif not node.level and _of_urllib3(node.module or ""):
            text = text.replace(b"urllib3", module.encode(), 1)  # nothing but "from" and blanks is before it
        source = source[:start] + text + source[end:]
    return source


def _of_urllib3(name: str) -> bool:
    return name.partition(".")[0] == "urllib3"


def _imported_from(module: str, node: ast.Import) -> str:
    names, last = [], ""
    for each in node.names:
        name, alias = each.name, each.asname
        if _of_urllib3(name):
            name = module + name[len("urllib3") :]
            alias = alias or "urllib3"
            if each.asname is None and name != module:  # "import urllib3.util" binds urllib3
                last = f"; import {module} as urllib3"
        names.append(f"{name} as {alias}" if alias else name)
    breaks = "\\\n" * ((node.end_lineno or node.lineno) - node.lineno)
    return f"import {breaks}{', '.join(names)}{last}"


def _new_and_old(folder: Path) -> tuple[Path, Path]:
    return folder.with_name(f".{folder.name}.vendor-new"), folder.with_name(f".{folder.name}.vendor-old")


def write_tree(folder: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Put ``files`` in the place of ``folder``; a run that is interrupted leaves all of the old ones, or of the new."""
    new, old = _new_and_old(folder)
    try:
        for path, data in files:
            (new / path).parent.mkdir(parents=True, exist_ok=True)
            (new / path).write_bytes(data)
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        _finish(folder)


def _finish(folder: Path) -> None:
    """Put the old copy back if a run was interrupted before the new one took its place; remove what it left."""
    new, old = _new_and_old(folder)
    if old.exists() and not folder.exists():
        old.rename(folder)
    for path in (new, old):
        if path.exists():
            shutil.rmtree(path)
