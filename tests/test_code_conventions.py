"""The code keeps its conventions: order of imports, sizes, inheritance, exports, names."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import xpnet

ROOT = Path(xpnet.__file__).parent
FILES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}

# A module or package imports from those before it, and from itself.
IMPORT_ORDER = [
    "_version",
    "lazy",
    "renamed",
    "errors",
    "blas",
    "atomic",
    "figure",
    "memory",
    "backend",
    "finite",
    "random",
    "tensor_file",
    "state_dict",
    "state_entries",
    "generators",
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
    "user_types",
    "serialization",
    "engine",
    "training",
    "derivatives",
    "perceptron",
    "model",
    "calibration",
    "transfer",
    "inspection",
    "plots",
    "doctor",
    "cli",
]
SEE_ALL = ("__init__.py", "__main__.py")

OPTIONAL = {
    *("cupy", "cuda", "torch", "numba", "matplotlib", "rich", "typer", "pooch", "sklearn"),
    *("pandas", "IPython"),
}
HEAVY = [*sorted(OPTIONAL), "array_api_compat", "llvmlite"]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def top_of(name: str) -> str:
    """The module or package of xpnet that a file belongs to."""
    return name.removesuffix(".py").split("/")[0]


def imports_of(tree: ast.AST) -> list[tuple[str, int]]:
    """Every module that a file imports, and the line; ``from xpnet import x`` is ``xpnet.x``."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "xpnet":
            found += [(f"xpnet.{alias.name}", node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level
            found.append((relative + (node.module or ""), node.lineno))
    return found


@cache
def trees() -> dict[str, ast.Module]:
    """The syntax trees of all files; made by the first test, not when tests are collected."""
    return {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}


def docstring_lines(tree: ast.AST) -> set[int]:
    """Every line of a string that is a statement: docstrings, and those under attributes."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        alone = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if alone and isinstance(node.value.value, str):
            lines |= set(range(node.lineno, node.end_lineno + 1))
    return lines


@cache
def code_lines(name: str) -> set[int]:
    """The lines that hold code: no docstring, blank or comment."""
    text = FILES[name].read_text(encoding="utf-8").splitlines()
    lines = {i for i, line in enumerate(text, 1) if line.strip() and line.lstrip()[0] != "#"}
    for node in ast.walk(trees()[name]):
        if isinstance(node, ast.JoinedStr) or (
            isinstance(node, ast.Constant) and isinstance(node.value, str)
        ):
            lines |= set(range(node.lineno, node.end_lineno + 1))
    return lines - docstring_lines(trees()[name])


def test_files_are_found():
    assert {"model.py", "engine/eager_step.py", "ops/cpu/jit/loop.py", "minimize/lbfgs.py"} <= set(
        FILES
    )
    assert len(FILES) > 100


def test_imports_follow_the_order():
    wrong = []
    for name, tree in trees().items():
        top = top_of(name)
        known = IMPORT_ORDER if name in SEE_ALL else IMPORT_ORDER[: IMPORT_ORDER.index(top) + 1]
        wrong += [
            f"{name}:{line} imports {module}"
            for module, line in imports_of(tree)
            if module.startswith(".")
            or (module.startswith("xpnet.") and module.split(".")[1] not in known)
        ]
    assert not wrong
    assert IMPORT_ORDER.index("engine") < IMPORT_ORDER.index("training")


def test_compiler_imports_no_other_xpnet_module():
    jit = {name: tree for name, tree in trees().items() if name.startswith("ops/cpu/jit/")}
    assert jit
    for name, tree in jit.items():
        ours = {module for module, _ in imports_of(tree) if module.partition(".")[0] == "xpnet"}
        assert not {m for m in ours if not f"{m}.".startswith("xpnet.ops.cpu.jit.")}, name
        text = FILES[name].read_text(encoding="utf-8").replace("xpnet.ops.cpu.jit", "")
        assert "xpnet" not in text, name


def test_compiler_exports_one_function():
    jit = importlib.import_module("xpnet.ops.cpu.jit")
    functions = [name for name in jit.__all__ if inspect.isfunction(getattr(jit, name))]
    assert functions == ["loop_of"]


def test_vector_math_imports_no_xpnet_module():
    """Its own source code alone identifies the loops that use it."""
    modules = {module for module, _ in imports_of(trees()["ops/cpu/vector_math.py"])}
    assert not {module for module in modules if module.partition(".")[0] == "xpnet"}


def test_functions_import_only_optional_packages():
    wrong = []
    for name, tree in trees().items():
        for function in (n for n in ast.walk(tree) if isinstance(n, FUNCTIONS)):
            wrong += [
                f"{name}:{line} {function.name} imports {module}"
                for module, line in imports_of(function)
                if module.partition(".")[0] not in OPTIONAL
            ]
    assert not wrong


def test_files_have_at_most_500_lines_of_code():
    assert {
        name: len(lines)
        for name, lines in [(name, code_lines(name)) for name in FILES]
        if len(lines) > 500
    } == {}


def test_functions_have_under_40_lines_of_code():
    """Unless the reason is given where the function begins: ``# long: ...``."""
    wrong = []
    for name, tree in trees().items():
        text = FILES[name].read_text(encoding="utf-8").splitlines()
        for node in (n for n in ast.walk(tree) if isinstance(n, FUNCTIONS)):
            size = len(code_lines(name) & set(range(node.lineno, node.end_lineno + 1)))
            if size >= 40 and "# long: " not in text[node.lineno - 1]:
                wrong.append(f"{name}:{node.lineno} {node.name} has {size} lines")
    assert not wrong


def classes():
    for name in FILES:
        if name == "__main__.py" or top_of(name) == "cli":
            continue
        module = "xpnet." + name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for kind in vars(importlib.import_module(module.removesuffix(".__init__"))).values():
            if isinstance(kind, type) and kind.__module__ == module:
                yield kind


def test_class_names_are_unique():
    found: dict[str, list[str]] = {}
    for name, tree in trees().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(name)
    assert {name: files for name, files in found.items() if len(files) > 1} == {}


def test_inheritance_has_one_level():
    deep = {}
    for kind in classes():
        ours = [base for base in kind.__mro__[1:] if base.__module__.startswith("xpnet")]
        if len(ours) > 1:
            deep[kind.__qualname__] = [base.__name__ for base in ours]
    assert not deep


def test_exports_exist_and_are_sorted():
    def rank(name: str) -> tuple[int, str]:
        """Constants, then classes, then the rest, as Ruff sorts them."""
        return (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2), name

    packages = [Path(name).parent for name in FILES if Path(name).name == "__init__.py"]
    for folder in packages:
        package = ".".join(["xpnet", *folder.parts])
        if top_of(folder.as_posix()) == "cli" or package == "xpnet.ops.rules":
            continue  # the modules of the latter are named one by one
        module = importlib.import_module(package)
        exported = module.__all__
        assert exported == sorted(set(exported), key=rank), package
        assert [name for name in exported if not hasattr(module, name)] == [], package


def test_nothing_is_evaluated_or_unpickled():
    forbidden = {"eval", "exec", "compile", "__import__"}
    pickles = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
    assert forbidden <= set(dir(builtins))
    wrong = []
    for name, tree in trees().items():
        wrong += [f"{name}:{n} {m}" for m, n in imports_of(tree) if m.partition(".")[0] in pickles]
        for node in ast.walk(tree):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            if called and node.func.id in forbidden:
                wrong.append(f"{name}:{node.lineno} {node.func.id}")
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                off = isinstance(node.value, ast.Constant) and node.value.value is False
                wrong += [] if off else [f"{name}:{node.value.lineno} allow_pickle"]
    assert not wrong


def test_import_loads_no_optional_package():
    use = "xpnet.MLP, xpnet.Adam, xpnet.CrossEntropy, xpnet.inspect_layers, xpnet.minimize"
    code = f"import sys, xpnet; {use}; print(*{{m.partition('.')[0] for m in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT.parent,
    )
    assert set(done.stdout.split()) & set(HEAVY) == set()


def test_test_names_have_at_most_50_characters():
    long = []
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        names = re.findall(r"^ *def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        long += [f"{path.name}: {name}" for name in names if len(name) > 50]
    assert not long
