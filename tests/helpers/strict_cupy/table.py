"""The names and the parameters of CuPy: of the one that is installed, or recorded in a file.

A signature is recorded as text in which every default is 0: it serves only to refuse unknown
names and keywords.
"""

from __future__ import annotations

import importlib
import inspect
import json
import types
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("table.json")

MODULES = ("cupy", "cupy.linalg", "cupy.fft", "cupy.random", "cupy.cuda")

ANYTHING = "*arguments, **keywords"


def table_of_installed():
    """The table of the installed CuPy, which needs no device."""
    cupy = importlib.import_module("cupy")
    table = {"version": cupy.__version__, "cupy.ndarray": public(cupy.ndarray)}
    return table | {name: names_of(importlib.import_module(name)) for name in MODULES}


@cache
def recorded_table():
    """The table in the file."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def record():
    """Write the table of the installed CuPy to the file, one function a line."""
    text = json.dumps(table_of_installed(), indent=0, sort_keys=True)
    FILE.write_text(text + "\n", encoding="utf-8")


def public(thing):
    return " ".join(name for name in dir(thing) if not name.startswith("_"))


def names_of(module):
    """The public names of a module by kind; functions with their parameters."""
    found: dict = {"functions": {}}
    for name in public(module).split():
        thing = getattr(module, name)
        kind = kind_of(thing)
        if kind == "functions":
            found[kind][name] = parameters(thing)
        else:
            found[kind] = f"{found.get(kind, '')} {name}".strip()
    return found


def kind_of(thing):
    if isinstance(thing, types.ModuleType):
        return "modules"
    if type(thing).__name__ == "ufunc":
        return "ufuncs"
    if isinstance(thing, type):
        return "types"
    return "functions" if callable(thing) else "constants"


def parameters(function):
    """The parameters of a function as text without annotations; every default is 0."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # it is compiled
        return ANYTHING
    plain = [
        each.replace(annotation=each.empty, default=each.empty if each.default is each.empty else 0)
        for each in signature.parameters.values()
    ]
    return str(signature.replace(parameters=plain, return_annotation=signature.empty))[1:-1]


def check_of(name, text):
    """A function that raises a TypeError if it is not called with the parameters in ``text``."""
    names: dict = {}
    exec(f"def {name}({text}): pass", names)
    return names[name]
