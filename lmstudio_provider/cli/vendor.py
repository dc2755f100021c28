"""``vendor``: copy the package, or parts of it, into another project; update such a copy, or check it."""

from __future__ import annotations

import argparse
import keyword
from pathlib import Path

from .. import __version__
from .console import Console, UsageError
from .vendoring import NO_PARTS, PARTS, Copy, check_copy, copy_folder, is_newer, make_copy

EXAMPLE = "lmstudio-provider vendor app/_vendor --with tools,native"
ALL = "all"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parts = "; ".join(f"{name}: {part.about}" for name, part in PARTS.items())
    parser.add_argument("dir", metavar="DIR", type=Path, help="the folder that the copy goes into")
    parser.add_argument(
        "--with",
        dest="parts",
        action="extend",
        type=_parts,
        default=None,
        metavar="PARTS",
        help=f"what to copy beside the core, separated by commas, or {ALL!r} or {NO_PARTS!r}; by default what the copy "
        f"has, at first nothing. The parts are {parts}",
    )
    parser.add_argument(
        "--urllib3",
        type=_module,
        default=None,
        metavar="MODULE",
        help="the module that the copy imports as urllib3, such as app._vendor.urllib3",
    )
    parser.add_argument("--force", action="store_true", default=False, help="overwrite files that were changed by hand")
    parser.add_argument(
        "--check",
        action="store_true",
        default=False,
        help="copy nothing; say what was changed by hand (exit code 1), and whether a newer version is installed",
    )


def run(args: argparse.Namespace, console: Console) -> int:
    """Run the command; return its exit code."""
    if args.check:
        if args.parts is not None or args.urllib3 or args.force:
            raise UsageError("--check copies nothing; use it without --with, --urllib3 and --force")
        return _check(args, console)
    old, new = make_copy(args.dir, args.parts, args.urllib3, force=args.force)
    folder = copy_folder(args.dir)
    if args.json:
        console.json({**_facts(folder, new), "before": old and old.version})
        return 0
    changed = "is now" if old != new else "is"
    before = f"; it was {old.version}" if old and old.version != new.version else ""
    console.line(f"{folder} {changed} {_described(new)}{before}")
    return 0


def _check(args: argparse.Namespace, console: Console) -> int:
    copy, changes = check_copy(args.dir)
    folder = copy_folder(args.dir)
    newer = is_newer(__version__, copy.version)
    if args.json:
        facts = {"installed": __version__, "newer_is_installed": newer, **vars(changes)}
        console.json({**_facts(folder, copy), **facts})
        return int(bool(changes))
    console.line(f"{folder} is {_described(copy)}")
    for kind, paths in vars(changes).items():
        for path in paths:
            console.line(f"{kind}: {path}")
    if newer:
        console.line(f"{__version__} is installed and newer; to update the copy, use 'vendor {args.dir}'")
    return int(bool(changes))


def _facts(folder: Path, copy: Copy) -> dict[str, object]:
    return {"folder": folder, "version": copy.version, "parts": copy.parts, "urllib3": copy.urllib3}


def _described(copy: Copy) -> str:
    urllib3 = "" if copy.urllib3 == "urllib3" else f", and imports urllib3 from {copy.urllib3}"
    return f"lmstudio_provider {copy.version} with {', '.join(copy.parts) or 'no optional parts'}{urllib3}"


def _parts(text: str) -> list[str]:
    names = [name for name in map(str.strip, text.split(",")) if name]
    if names in ([ALL], [NO_PARTS]):
        return list(PARTS) if names == [ALL] else []
    if not names:
        raise argparse.ArgumentTypeError(f"no part is named; use {NO_PARTS!r} for only the core")
    return names


def _module(text: str) -> str:
    if not all(name.isidentifier() and not keyword.iskeyword(name) for name in text.split(".")):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a module, such as app._vendor.urllib3")
    return text
