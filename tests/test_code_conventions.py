"""The code keeps the house rules: rooms, sizes, inheritance, exports, light imports."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import io
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

import xpnet

ROOT = Path(xpnet.__file__).parent
FILES = {str(path.relative_to(ROOT)): path for path in sorted(ROOT.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}

# A room imports from the rooms before it, and from itself.
ROOMS = [
    "_version",
    "renamed",
    "errors",
    "figure",
    "memory",
    "backend",
    "random",
    "ops",
    "parameters",
    "initializers",
    "activations",
    "losses",
    "layers",
    "network",
    "state",
    "optimizers",
    "minimize",
    "metrics",
    "data",
    "engine",
    "training",
    "derivatives",
    "perceptron",
    "serialization",
    "model",
    "transfer",
    "inspection",
    "plots",
    "blas",
    "doctor",
    "cli",
]
ENTRANCES = ("__init__.py", "__main__.py")  # they see every room
OPTIONAL = {
    *("cupy", "nvmath", "torch", "numba", "matplotlib", "rich", "typer", "pooch"),
}
HEAVY = [*sorted(OPTIONAL), "array_api_compat", "llvmlite"]

every_file = pytest.mark.parametrize("name", FILES)


def room_of(name: str) -> str:
    return name.removesuffix(".py").split("/")[0]


def imported_rooms(tree: ast.AST) -> set[str]:
    """The rooms of xpnet that a file imports, ``from xpnet import room`` too."""
    modules = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "xpnet":
            modules += [f"xpnet.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            modules.append(node.module or "")
    return {module.split(".")[1] for module in modules if module.startswith("xpnet.")}


def docstring_lines(tree: ast.AST) -> set[int]:
    """Every line of a string that stands alone: docstrings, and those under attributes."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        alone = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if alone and isinstance(node.value.value, str):
            lines |= set(range(node.lineno, node.end_lineno + 1))
    return lines


def code_lines(name: str) -> set[int]:
    """The lines that hold code: no docstring, blank or comment."""
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    text = FILES[name].read_text(encoding="utf-8")
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in (*skipped, tokenize.ENDMARKER):
            lines |= set(range(token.start[0], token.end[0] + 1))
    return lines - docstring_lines(TREES[name])


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@every_file
def test_a_room_imports_only_from_rooms_above(name):
    if name in ENTRANCES:
        return
    room = room_of(name)
    assert room in ROOMS, f"{room} has no place in the order of rooms"
    above = ROOMS[: ROOMS.index(room) + 1]
    assert imported_rooms(TREES[name]) <= set(above)


JIT = [name for name in FILES if name.startswith("ops/cpu/jit/")]


@pytest.mark.parametrize("name", JIT)
def test_compiler_imports_no_other_module_of_xpnet(name):
    modules = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module or "")
    ours = {module for module in modules if module.partition(".")[0] == "xpnet"}
    assert {module for module in ours if not f"{module}.".startswith("xpnet.ops.cpu.jit.")} == set()
    text = FILES[name].read_text(encoding="utf-8").replace("xpnet.ops.cpu.jit", "")
    assert "xpnet" not in text


def test_compiler_exports_one_function():
    from xpnet.ops.cpu import jit  # noqa: PLC0415

    functions = [name for name in jit.__all__ if inspect.isfunction(getattr(jit, name))]
    assert functions == ["loop_of"]


def test_vector_math_imports_no_module_of_xpnet():
    """Its own source code alone identifies the loops that use it."""
    assert imported_rooms(TREES["ops/cpu/vector_math.py"]) == set()


@every_file
def test_functions_import_nothing_but_optional_dependencies(name):
    for function in (n for n in ast.walk(TREES[name]) if isinstance(n, FUNCTIONS)):
        for node in ast.walk(function):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module]
            found = {module.partition(".")[0] for module in modules} - OPTIONAL
            assert not found, f"{function.name}, line {node.lineno}"


@every_file
def test_files_are_short(name):
    assert len(code_lines(name)) <= 500


@every_file
def test_functions_are_short(name):
    """Under 40 lines, unless the reason stands where the function does: ``# long: ...``."""
    code = code_lines(name)
    lines = FILES[name].read_text(encoding="utf-8").splitlines()
    for node in ast.walk(TREES[name]):
        if isinstance(node, FUNCTIONS):
            size = len(code & set(range(node.lineno, node.end_lineno + 1)))
            explained = "# long: " in lines[node.lineno - 1]
            assert size < 40 or explained, f"{node.name}, line {node.lineno}"


def classes():
    for name in FILES:
        if name == "__main__.py" or room_of(name) == "cli":
            continue
        module = "xpnet." + name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for kind in vars(importlib.import_module(module.removesuffix(".__init__"))).values():
            if isinstance(kind, type) and kind.__module__ == module:
                yield kind


def test_one_level_of_inheritance():
    deep = {}
    for kind in classes():
        ours = [base for base in kind.__mro__[1:] if base.__module__.startswith("xpnet")]
        if len(ours) > 1:
            deep[kind.__qualname__] = [base.__name__ for base in ours]
    assert not deep


PACKAGES = [
    "xpnet" + "".join(f".{part}" for part in Path(name).parent.parts)
    for name in FILES
    if Path(name).name == "__init__.py" and room_of(name) != "cli"
]


@pytest.mark.parametrize("package", PACKAGES)
def test_exports_exist_and_are_sorted(package):
    module = importlib.import_module(package)
    if package == "xpnet.ops.rules":
        return  # its modules are named one by one
    exported = module.__all__
    assert len(set(exported)) == len(exported)
    assert [name for name in exported if not hasattr(module, name)] == []

    def rank(name: str) -> tuple[int, str]:
        """Constants, then classes, then the rest, as Ruff sorts them."""
        return (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2), name

    assert exported == sorted(exported, key=rank)


@every_file
def test_nothing_is_evaluated_or_unpickled(name):
    forbidden = {"eval", "exec", "compile", "__import__"}
    assert forbidden <= set(dir(builtins))
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in forbidden, f"line {node.lineno}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
            assert not names & {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant)
            assert node.value.value is False


def test_import_is_light():
    code = "import sys, xpnet; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT.parent,
    )
    assert set(done.stdout.split()) & set(HEAVY) == set()
