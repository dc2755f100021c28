"""The folders are floors: an import goes to the same folder or to a lower floor, and never in a circle."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Iterator

import lmstudio_provider

PACKAGE = Path(lmstudio_provider.__file__).parent
# docs/architecture.rst has the same table, with what lives on each floor.
FLOORS = {
    "_core": 1,
    "_http": 2,
    "_dialects": 3,
    "_provider": 4,
    "_native": 5,
    "_workflows": 5,
    "_lmstudio": 6,
    "_ollama": 6,
    "_servers": 7,
    "events": 8,
    "pytest_plugin": 9,
    "simulator": 0,  # apart: only front doors import it
    "__init__": 8,
    "cli": 9,
    "__main__": 10,
}
NETWORK = {"urllib3", "socket", "ssl", "http"}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "simulator" not in path.parts)
STAND_INS = sorted(PACKAGE.glob("simulator/*.py"))


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


NAMES = {name_of(path): path for path in MODULES}


def room(name: str) -> str:
    return name.partition(".")[0]


def type_checking(path: Path) -> set[int]:
    """Return the lines that only type checkers read."""
    blocks = [node for node in nodes(path) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    return {each.lineno for block in blocks for each in ast.walk(block) if isinstance(each, ast.stmt)}


def imports(path: Path) -> Iterator[tuple[str, ast.stmt]]:
    """Yield the modules of the package that ``path`` imports, also under TYPE_CHECKING and inside functions."""
    folder = path.relative_to(PACKAGE).parts[:-1]
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*folder[: len(folder) - node.level + 1], *filter(None, (node.module or "").split("."))]
            for each in node.names:
                whole = ".".join([*base, each.name])
                yield (whole if whole in NAMES else ".".join(base) or "__init__"), node


def outside(path: Path) -> set[str]:
    """Return the top-level names of the other packages that ``path`` imports."""
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found.update(each.name.partition(".")[0] for each in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found


def test_each_module_has_a_floor():
    assert [name for name in NAMES if room(name) not in FLOORS] == []


def test_no_import_points_up():
    up = [
        f"{path}, line {node.lineno}: {target}"
        for name, path in NAMES.items()
        for target, node in imports(path)
        if room(target) != room(name) and FLOORS[room(target)] >= FLOORS[room(name)]
    ]
    assert up == []


def test_imports_do_not_go_in_a_circle():
    # An error carries the reply so far, and reading a reply can raise one: their annotations name each other.
    graph: dict[str, set[str]] = {}
    for name, path in NAMES.items():
        for_checkers = type_checking(path)
        graph[name] = {target for target, node in imports(path) if target != name and node.lineno not in for_checkers}
    while graph:
        free = [name for name, targets in graph.items() if not targets & graph.keys()]
        assert free, f"a circle among {sorted(graph)}"
        for name in free:
            del graph[name]


def test_only_the_http_floor_uses_the_network():
    using = {name for name, path in NAMES.items() if outside(path) & NETWORK}
    assert [name for name in using if room(name) != "_http"] == []


def test_the_stand_ins_import_nothing_from_the_rest_of_the_package():
    for path in STAND_INS:
        for node in nodes(path):
            if isinstance(node, ast.ImportFrom):
                assert node.level < 2, path
                assert not (node.module or "").startswith("lmstudio_provider"), path


def test_no_call_caches_a_property_under_a_lock():
    """Before Python 3.12 a ``cached_property`` has one, and a fork may leave it locked for ever."""
    floors = [path for name, path in NAMES.items() if room(name) in ("_core", "_http", "_dialects", "_provider")]
    assert [path for path in floors if re.search(r"@(functools\.)?cached_property", path.read_text("utf-8"))] == []
    assert len(floors) > 50


def test_no_module_is_over_400_lines():
    assert [path for path in [*MODULES, *STAND_INS] if len(path.read_text("utf-8").splitlines()) > 400] == []
