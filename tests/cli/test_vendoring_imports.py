"""A copy can import urllib3 from another place: each form of import is rewritten, and nothing else."""

from __future__ import annotations

import ast
import sys

import pytest
from tables import for_each

from lmstudio_provider.cli.vendoring import PACKAGE, PARTS, import_from, package_files

MODULE = "app._vendor.urllib3"


def rewritten(source, module=MODULE):
    return import_from(module, source.encode()).decode()


@for_each(
    "source",
    [
        "import urllib3x\n",
        "import os, urllib3_ext.util\n",
        "from urllib3x import urllib3\n",
        "from . import urllib3\n",
        "from .urllib3 import PoolManager\n",
        "from .. urllib3.util import parse_url\n",
        "from requests.packages import urllib3\n",
        "import requests.packages.urllib3\n",
        "import requests as urllib3\n",
        "'import urllib3'\n",
        '"""Example::\n\n    import urllib3\n    from urllib3 import PoolManager\n"""\n',
        "# import urllib3\n",
        "def f():\n    yield from urllib3\n",
        "def f():\n    raise ValueError from urllib3.error\n",
        "urllib3.PoolManager()\n",
        "print(f'from urllib3 import {x}')\n",
        "",
    ],
)
def test_what_does_not_import_urllib3_stays_as_it_is(source):
    assert rewritten(source) == source


@for_each(
    ("source", "expected"),
    [
        ("import urllib3\n", "import app._vendor.urllib3 as urllib3\n"),
        ("import urllib3 as u\n", "import app._vendor.urllib3 as u\n"),
        ("import urllib3.util as u\n", "import app._vendor.urllib3.util as u\n"),
        (
            "import urllib3.util.retry  # noqa\n",
            "import app._vendor.urllib3.util.retry as urllib3; import app._vendor.urllib3 as urllib3  # noqa\n",
        ),
        ("import os, urllib3, sys\n", "import os, app._vendor.urllib3 as urllib3, sys\n"),
        ("from urllib3 import PoolManager\n", "from app._vendor.urllib3 import PoolManager\n"),
        ("from urllib3 import *\n", "from app._vendor.urllib3 import *\n"),
        ("from urllib3.util import urllib3 as u\n", "from app._vendor.urllib3.util import urllib3 as u\n"),
        ("from urllib3 . util import parse_url\n", "from app._vendor.urllib3 . util import parse_url\n"),
        ("from \\\n  urllib3 import a\n", "from \\\n  app._vendor.urllib3 import a\n"),
        (
            "from urllib3.exceptions import (\n    HTTPError,  # of urllib3\n    SSLError as E,\n)\n",
            "from app._vendor.urllib3.exceptions import (\n    HTTPError,  # of urllib3\n    SSLError as E,\n)\n",
        ),
        ("if TYPE_CHECKING:\n    import urllib3\n", "if TYPE_CHECKING:\n    import app._vendor.urllib3 as urllib3\n"),
        ("if x: import urllib3; y = 1\n", "if x: import app._vendor.urllib3 as urllib3; y = 1\n"),
        (
            "try:\n\tfrom urllib3 import a\nexcept E: a = 1",
            "try:\n\tfrom app._vendor.urllib3 import a\nexcept E: a = 1",
        ),
        (
            "a = 'é'; import urllib3; from urllib3 import b; c = '…'\n",
            "a = 'é'; import app._vendor.urllib3 as urllib3; from app._vendor.urllib3 import b; c = '…'\n",
        ),
        ("import urllib3\r\nx = 1\r\nimport urllib3 as u\r\n", None),
        ("x = '''\x0c\u2028'''\nimport urllib3\n", "x = '''\x0c\u2028'''\nimport app._vendor.urllib3 as urllib3\n"),
    ],
)
def test_each_form_of_import_is_rewritten(source, expected):
    expected = expected or source.replace("urllib3 as u", f"{MODULE} as u").replace(
        "import urllib3\r", f"import {MODULE} as urllib3\r"
    )
    assert rewritten(source) == expected


def test_no_line_moves():
    source = "import os, \\\n  urllib3.util, \\\n  sys\nlast = 1\n"
    assert ast.parse(rewritten(source)).body[-1].lineno == 4


@pytest.mark.parametrize("module", ["app._vendor.urllib3", "vendored", "a.b"])
@pytest.mark.parametrize(
    "source",
    [
        "import urllib3",
        "import urllib3.util",
        "import sys, urllib3.util.retry, urllib3.exceptions, os",
        "import os, \\\n    urllib3, \\\n    urllib3.util",
        "import urllib3 as urllib3, urllib3.util",
    ],
)
def test_what_is_imported_has_the_name_that_it_had(tmp_path, monkeypatch, module, source):
    folder = tmp_path.joinpath(*module.split("."))
    for path in ("__init__.py", "exceptions.py", "util/__init__.py", "util/retry.py"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    names: dict[str, object] = {}
    exec(rewritten(source, module), names)
    for name in set(sys.modules) - before:
        del sys.modules[name]
    imported = {name: value for name, value in names.items() if name != "__builtins__"}
    assert names["urllib3"].__name__ == module
    assert set(imported) <= {"urllib3", "sys", "os"}
    if "util.retry" in source:
        assert names["urllib3"].util.retry.__name__ == f"{module}.util.retry"


@pytest.mark.slow
def test_the_package_imports_urllib3_in_no_way_that_is_not_rewritten():
    for path, data in package_files(PARTS):
        if not path.endswith(".py") or path == "cli/vendoring.py":  # which looks for such imports
            continue
        for node in ast.walk(ast.parse(data)):
            if isinstance(node, ast.Call):
                texts = [each.value for each in node.args if isinstance(each, ast.Constant)]
                words = [text for text in texts if isinstance(text, str) and text.partition(".")[0] == "urllib3"]
                assert words == [], f"{PACKAGE}/{path}, line {node.lineno}"
