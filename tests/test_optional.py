"""A vendored copy of the package can leave optional parts out; the rest works, and its errors name the missing part."""

from __future__ import annotations

import ast
import io
import shutil
import subprocess
import sys
import zipfile
from importlib.util import cache_from_source
from pathlib import Path

import pytest
import urllib3

import lmstudio_provider
from lmstudio_provider.cli.vendoring import PARTS, belongs, with_needs

pytestmark = pytest.mark.slow

PACKAGE = Path(lmstudio_provider.__file__).parent
SOURCES = [path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")]
END = "-- the end of a program --"
CHAT = """
from lmstudio_provider import *
with LMStudioProvider({url!r}) as lm:
    print(lm.chat("Hi").text)
    print("".join(lm.stream("Hi").text()))
    print(len(lm.embed(["a", "b"]).vectors))
"""


@pytest.fixture
def copy(tmp_path):
    """Return a function that copies the package without the optional parts that it is given."""

    def make(*names):
        assert set(names) <= set(PARTS)
        folder = tmp_path / f"without {' '.join(names)[:80]}" / "lmstudio_provider"
        kept = [part for part in PARTS if not set(names).intersection(with_needs([part]))]
        for path in SOURCES:
            if belongs(path, kept):
                bytecode = Path(cache_from_source(path)).as_posix()  # with it, nothing is compiled again
                (folder / bytecode).parent.mkdir(parents=True, exist_ok=True)
                for each in (path, bytecode) if (PACKAGE / bytecode).exists() else (path,):
                    shutil.copy2(PACKAGE / each, folder / each)  # no link: a test that writes there changes the copy
        return folder

    return make


def run_each(folders_and_codes):
    """Run each code with the package of its folder, in one interpreter, which imports the package anew each time."""
    # -I and -S keep the installed package and the current folder away.
    program = f"""
import sys
sys.path.append({str(Path(urllib3.__file__).parent.parent)!r})
for folder, code in {[(str(folder.parent), code) for folder, code in folders_and_codes]!r}:
    for name in [name for name in sys.modules if name.partition(".")[0] == "lmstudio_provider"]:
        del sys.modules[name]
    sys.path.insert(0, folder)
    exec(code, {{"__name__": "__main__"}})
    sys.path.remove(folder)
    print({END!r}, flush=True)
"""
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=60, check=False
    )


def run(folder, code):
    return run_each([(folder, code)])


def printed_by_each(folders_and_codes):
    ended = run_each(folders_and_codes)
    assert (ended.returncode, ended.stderr) == (0, "")
    texts = ended.stdout.split(f"{END}\n")
    assert texts.pop() == ""
    assert len(texts) == len(folders_and_codes)
    return texts


def printed(folder, code):
    return printed_by_each([(folder, code)])[0]


def check_chats(folders, url):
    for text in printed_by_each([(folder, CHAT.format(url=url)) for folder in folders]):
        *texts, vectors = text.splitlines()
        assert len(texts) == 2
        assert all(text.endswith("You said: Hi") for text in texts)
        assert vectors == "2"


def test_a_copy_without_an_optional_part_chats(copy, simulator):
    check_chats([copy(name) for name in PARTS], simulator.url)


def test_a_copy_without_all_optional_parts_chats(copy, simulator):
    check_chats([copy(*PARTS)], simulator.url)


def test_a_copy_in_a_zip_file_chats(copy, simulator):
    folder = copy("servers")
    archive = shutil.make_archive(str(folder.parent / "vendored"), "zip", folder.parent, folder.name)
    shutil.rmtree(folder)
    check_chats([Path(archive) / "lmstudio_provider"], simulator.url)


LEFT_OUT = [
    (["native"], "_native", ["Native", "NativeRequest", "events"]),
    (["batch", "tools", "measure", "usage"], "_workflows", ["Conversation", "MemoryUsage", "measure", "run_tools"]),
    (["tools"], "_workflows.tools", ["ToolRun", "run_tools"]),
    (["conversation"], "_workflows.conversation", ["Conversation"]),
    (["measure"], "_workflows.measure", ["measure"]),
    (["types"], "_workflows.tools", ["run_tools"]),
    (["batch"], "_workflows.batch", ["complete_many"]),
    (["usage"], "_workflows.usage", ["MemoryUsage"]),
    (["servers"], "_servers", ["Registry", "discover"]),
    (["ollama"], "_ollama", ["OllamaProvider"]),
    (["decisions"], "_core.decisions", ["Choice", "Condition", "Decisions", "Score"]),
]


def test_the_error_about_a_name_that_was_left_out_names_the_missing_part(copy):
    code = """
import lmstudio_provider
for name in {names!r}:
    try:
        exec("from lmstudio_provider import " + name)
    except ImportError as error:
        print(error)
    try:
        getattr(lmstudio_provider, name)
    except AttributeError as error:
        print(error)
    print(name in lmstudio_provider.__all__, name in dir(lmstudio_provider), hasattr(lmstudio_provider, name))
"""
    texts = printed_by_each([(copy(*parts), code.format(names=names)) for parts, _, names in LEFT_OUT])
    for text, (_, module, names) in zip(texts, LEFT_OUT):
        messages = [
            f"{name!r} needs {module!r}, which was left out of this copy of lmstudio_provider" for name in names
        ]
        assert text.splitlines() == [line for message in messages for line in (message, message, "False False False")]


def test_the_error_about_a_call_names_the_missing_part_that_it_needs(copy):
    code = """
from lmstudio_provider import ConfigurationError, LMStudioProvider
lm = LMStudioProvider(refresh=False)
calls = [lambda: lm.native, lambda: lm.responses("Hi"), lambda: lm.responses_stream("Hi")]
for call in [*calls, lambda: lm.messages("Hi"), lambda: lm.messages_stream("Hi")]:
    try:
        call()
    except (AttributeError if call is calls[0] else ConfigurationError) as error:
        print(error)
assert not hasattr(lm, "native")
"""
    messages = printed(copy("native", "responses", "messages"), code).splitlines()
    parts = {"native": "_native", "responses": "_dialects.responses", "messages": "_dialects.messages"}
    assert messages == [
        f"{name!r} needs {parts[name]!r}, which was left out of this copy of lmstudio_provider"
        for name in ("native", "responses", "responses", "messages", "messages")
    ]


def test_the_command_line_of_a_small_copy_works_and_names_missing_parts(copy, simulator):
    folder = copy(*(name for name in PARTS if name != "cli"))
    code = f"""
from lmstudio_provider.cli.main import main
for command in ("complete Hi", "models --json", "status", "chat -p Hi", "simulate", "config", "load m"):
    print(main([*command.split(), "--base-url", {simulator.url!r}]), flush=True)
"""
    ended = run(folder, code)
    assert [line for line in ended.stdout.splitlines() if line in "012"] == ["0", "0", "1", "1", "1", "0", "1"]
    errors = ended.stderr.splitlines()
    assert errors[:2] == [
        f"error: {name!r} needs {part!r}, which was left out of this copy of lmstudio_provider"
        for name, part in [("Registry", "_servers"), ("Conversation", "_workflows")]
    ]
    assert "lmstudio_provider.simulator" in errors[2]
    assert errors[3:] == ["error: 'native' needs '_native', which was left out of this copy of lmstudio_provider"]


def test_each_way_to_import_events_gives_the_same_module():
    codes = [
        "import lmstudio_provider.events as one; two = lmstudio_provider.events",
        "one = lmstudio_provider.events; import lmstudio_provider.events as two",
        "from lmstudio_provider import events as one; import lmstudio_provider.events as two",
    ]
    code = "import lmstudio_provider\n{}\nprint(one is two, one.__name__)"
    texts = printed_by_each([(PACKAGE, code.format(each)) for each in codes])
    assert texts == ["True lmstudio_provider.events\n"] * 3


def test_dir_lists_only_public_names():
    assert [name for name in dir(lmstudio_provider) if not name.startswith("__")] == sorted(lmstudio_provider.__all__)


def test_a_copy_without_decisions_refuses_to_decide(copy):
    code = """
from lmstudio_provider import InvalidRequestError, LMStudioProvider
try:
    LMStudioProvider(refresh=False).decide("text", {})
except InvalidRequestError as error:
    print(error.message)
"""
    assert printed(copy("decisions"), code) == "LM Studio (Local) does not decide\n"


def test_a_copy_without_types_refuses_types_and_functions_and_suggests_schemas(copy):
    code = """
from lmstudio_provider import ChatRequest, ConfigurationError, Tool
ChatRequest("Hi", response_format={"type": "object"})
for make in (lambda: ChatRequest("Hi", response_format=int), lambda: Tool.from_function(print)):
    try:
        make()
    except ConfigurationError as error:
        print(error)
"""
    assert printed(copy("types"), code).splitlines() == [
        f"{what}, which was left out of this copy. Give {other} instead"
        for what, other in [
            ("a type as response_format needs '_core.schema.schemas'", "a JSON schema"),
            ("Tool.from_function needs '_core.schema.functions'", "Tool(name, description, parameters)"),
        ]
    ]


def test_a_copy_without_conversations_refuses_a_stream_of_chunks(copy):
    code = """
from lmstudio_provider import Chunk, ConfigurationError, Stream
try:
    Stream.from_chunks([Chunk("Hi")])
except ConfigurationError as error:
    print(error)
"""
    what = "from_chunks() needs '_provider.chunks', which was left out of this copy\n"
    assert printed(copy("conversation"), code) == what


def test_a_copy_without_types_refuses_a_partial_answer(copy, simulator):
    code = f"""
from lmstudio_provider import ConfigurationError, LMStudioProvider
with LMStudioProvider({simulator.url!r}) as lm, lm.stream("Hi", response_format={{"type": "object"}}) as stream:
    try:
        stream.partial_parsed()
    except ConfigurationError as error:
        print(error)
    print("".join(stream.text()) != "", stream.completion.parsed)
"""
    what = "partial_parsed() needs '_core.schema.partial', which was left out of this copy. completion.parsed"
    assert printed(copy("types"), code) == f"{what} is the whole answer\nTrue {{}}\n"


def test_a_copy_without_ollama_finds_lm_studio(copy, simulator):
    code = f"from lmstudio_provider import Registry, discover\nfound = discover(5, hosts=[{simulator.url!r}])\n"
    code += f"print([each.provider_id for each in found if each.base_url == {simulator.url!r}], len(Registry()))"
    assert printed(copy("ollama"), code) == "['lm-studio'] 0\n"


def code_lines(path):
    """Return how many lines of ``path`` are not blank, a comment or a docstring."""
    source = path.read_text(encoding="utf-8")
    texts = [
        statement
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        for statement in node.body
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    ]
    documented = {line for each in texts for line in range(each.lineno, (each.end_lineno or each.lineno) + 1)}
    lines = enumerate(map(str.strip, source.splitlines()), 1)
    return sum(bool(line) and not line.startswith("#") and number not in documented for number, line in lines)


def test_the_smallest_copy_is_small(copy):
    folder = copy(*PARTS)
    paths = sorted(folder.rglob("*.py"))
    with zipfile.ZipFile(io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            archive.write(path, path.relative_to(folder.parent))
        zipped = sum(each.compress_size for each in archive.infolist())
    lines = sum(map(code_lines, paths))
    print(f"{lines} code lines, {zipped / 1000:.0f} kB zipped")
    # The aim is 4,600 lines and 95 kB.
    assert lines <= 7_500
    assert zipped <= 170_000


def test_the_front_door_loads_the_names_that_type_checkers_see():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    block = next(each for each in tree.body if isinstance(each, ast.If))
    for_checkers = next(
        each.value for each in tree.body if isinstance(each, ast.Assign) and "__all__" in ast.dump(each)
    )
    imported = {each.name: node.module for node in block.body for each in node.names}
    assert imported == {**lmstudio_provider._MODULES, "events": "_native"}
    assert ast.literal_eval(for_checkers) == lmstudio_provider.__all__
    assert set(lmstudio_provider.__all__) <= set(dir(lmstudio_provider))


def test_importing_the_package_does_not_import_urllib3_or_an_optional_part():
    folders = ["lmstudio_provider." + name for name in ("_native", "_workflows", "_servers", "_ollama", "simulator")]
    code = f"import sys, lmstudio_provider; print([name for name in ['urllib3', *{folders!r}] if name in sys.modules])"
    assert printed(PACKAGE, code) == "[]\n"


def test_importing_a_provider_imports_nothing_that_only_some_calls_need():
    names = ["concurrent.futures", "configparser", "decimal", "html", "platform", "subprocess", "uuid"]
    code = f"""
import sys
import urllib3  # some versions import some of them
before = set(sys.modules)
from lmstudio_provider import LMStudioProvider
print([name for name in {names!r} if name in set(sys.modules) - before])
"""
    assert printed(PACKAGE, code) == "[]\n"


def test_urllib3_is_imported_when_a_provider_is_made():
    code = """
import sys
from lmstudio_provider import LMStudioProvider, OllamaProvider
print("urllib3" in sys.modules)
OllamaProvider(refresh=False)
print("urllib3" in sys.modules)
"""
    assert printed(PACKAGE, code) == "False\nTrue\n"


def test_an_unknown_name_is_an_ordinary_attribute_error():
    with pytest.raises(AttributeError, match=r"^module 'lmstudio_provider' has no attribute 'Nonsense'$"):
        lmstudio_provider.Nonsense  # noqa: B018


def test_a_call_imports_nothing(simulator):
    # A fork while another thread imports a module can leave the child waiting for that import.
    code = f"""
import sys
from dataclasses import dataclass
from lmstudio_provider import Condition, LMStudioProvider, Message, ProviderError

def add(a: int, b: int) -> int:
    return a + b

@dataclass
class Person:
    name: str

with LMStudioProvider({simulator.url!r}) as lm:
    before = set(sys.modules)
    lm.chat([Message.user("Hi")], temperature=0, max_tokens=5)
    for stream in lm.stream("Hi"), lm.responses_stream("Hi"), lm.messages_stream("Hi"), lm.native.stream("Hi"):
        list(stream)
    lm.chat([Message.tool("1", 7), Message.user("Hi")], tools=[add]), lm.chat("Hi", response_format=Person)
    lm.complete("Hi"), lm.responses("Hi"), lm.messages("Hi"), lm.native.chat("Hi"), lm.embed(["a", "b"])
    lm.list_models(), lm.native.models(), lm.refresh_models(), lm.health_check()
    try:
        lm.decide("Hi", {{"q": Condition("It is a greeting")}}, "nimble")
    except ProviderError as error:  # the stand-in has no such model
        assert error.sent
    print(sorted(set(sys.modules) - before))
"""
    assert printed(PACKAGE, code) == "[]\n"
