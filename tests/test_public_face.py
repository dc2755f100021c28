"""Every public name stays as ``public_face.json`` records it: signatures, bases, fields, defaults and members.

After an intended change, run this file as a script: it rewrites the record, and the diff shows what users lose or gain.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
import json
import re
import textwrap
from pathlib import Path

RECORD = Path(__file__).with_name("public_face.json")
MODULES = ("lmstudio_provider", "lmstudio_provider.events", "lmstudio_provider.simulator")


def public_names(module):
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    return sorted(getattr(module, "__all__", None) or (name for name in own if not name.startswith("_")))


def text(value):
    """Return ``value`` (a default or an annotation) as every Python writes it, without addresses and module names."""
    if isinstance(value, str):
        return value  # an annotation, because all modules postpone their evaluation
    if isinstance(value, type) and not hasattr(value, "__origin__"):
        return value.__name__
    plain = re.sub(r"ForwardRef\('([^']*)'[^)]*\)", r"\1", repr(value))
    return re.sub(r" at 0x[0-9a-fA-F]+|\b(typing|typing_extensions|lmstudio_provider[\w.]*)\.", "", plain)


def signature(function):
    parameters, star = [], False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            parameters.append("*")
        star = star or parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        prefix = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        shown = prefix + parameter.name
        if parameter.annotation is not parameter.empty:
            shown += f": {text(parameter.annotation)}"
        if parameter.default is not parameter.empty:
            default = parameter.default
            shown += f" = {text(default) if not isinstance(default, str) else repr(default)}"
        parameters.append(shown)
    returns = inspect.signature(function).return_annotation
    return f"({', '.join(parameters)})" + ("" if returns is inspect.Signature.empty else f" -> {text(returns)}")


def is_ours(kind):
    return kind.__module__.split(".")[0] == "lmstudio_provider"


@functools.cache
def set_on_self(kind):
    """Return the public attributes that the methods of ``kind`` set on ``self``."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if isinstance(node.value, ast.Name) and node.value.id == "self" and not node.attr.startswith("_")
    }


def member(value):
    if isinstance(value, property):
        return f"property -> {text(inspect.signature(value.fget).return_annotation)}"
    if isinstance(value, (classmethod, staticmethod)):
        return f"{type(value).__name__} {signature(value.__func__)}"
    if inspect.isfunction(value):
        return f"method {signature(value)}"
    return f"{type(value).__name__} {value!r}" if isinstance(value, (str, int, float, type(None))) else "attribute"


def members(kind):
    found = {}
    for base in reversed([base for base in kind.__mro__ if is_ours(base)]):
        values = {name: value for name, value in vars(base).items() if not name.startswith("_")}
        found.update(dict.fromkeys(set_on_self(base) - set(found), "attribute"))
        found.update({name: member(value) for name, value in values.items()})
    fields = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    return {name: found[name] for name in sorted(set(found) - fields - set(getattr(kind, "_fields", ())))}


def default_of(field):
    if field.default_factory is not dataclasses.MISSING:
        return f"{field.default_factory.__name__}()"
    return "required" if field.default is dataclasses.MISSING else text(repr(field.default))


def described_class(kind, exported):
    described = {
        "kind": "class",
        "bases": [base.__name__ for base in kind.__mro__[1:-1] if base.__name__ in exported or not is_ours(base)],
    }
    if "__init__" in dir(kind) and any("__init__" in vars(base) for base in kind.__mro__ if is_ours(base)):
        described["signature"] = signature(kind)
    if dataclasses.is_dataclass(kind):
        described["frozen"] = kind.__dataclass_params__.frozen
        described["fields"] = {
            field.name: f"{text(field.type)} = {default_of(field)}" for field in dataclasses.fields(kind)
        }
    if hasattr(kind, "_fields"):
        described["fields"] = list(kind._fields)
        described["defaults"] = {name: text(repr(value)) for name, value in kind._field_defaults.items()}
    described["members"] = members(kind)
    return described


def described(value, exported):
    if inspect.isclass(value):
        return described_class(value, exported)
    if inspect.isfunction(value):
        return {"kind": "function", "signature": signature(value)}
    return {"kind": "module"} if inspect.ismodule(value) else {"kind": "value", "text": text(value)}


def face():
    """Return what a user can see of each public module."""
    modules = [importlib.import_module(name) for name in MODULES]
    exported = {name for module in modules for name in public_names(module)}
    return {
        module.__name__: {name: described(getattr(module, name), exported) for name in public_names(module)}
        for module in modules
    }


def test_each_public_name_is_as_recorded():
    found, recorded = face(), json.loads(RECORD.read_text(encoding="utf-8"))
    for module in MODULES:
        assert list(found[module]) == list(recorded[module])
        for name in recorded[module]:
            assert found[module][name] == recorded[module][name], name


if __name__ == "__main__":
    RECORD.write_text(json.dumps(face(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
