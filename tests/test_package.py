"""The names of the package, which are loaded on first access."""

from __future__ import annotations

import subprocess
import sys

import pytest

import xpnet


def fresh(code: str) -> list[str]:
    """What a new process prints."""
    run = [sys.executable, "-c", code]
    return subprocess.run(run, check=True, text=True, stdout=subprocess.PIPE).stdout.split()


def test_import_loads_no_module_of_the_package():
    code = "import sys, xpnet; print(*[m for m in sys.modules if m.startswith('xpnet.')])"
    assert fresh(code) == ["xpnet._version"]


def test_formulas_load_on_first_use():
    used = "xpnet.MLP(3, [2], 1), xpnet.Adam(), xpnet.MSE()"
    found = "*[m for m in sys.modules if m.startswith('xpnet.ops.formulas.')]"
    assert fresh(f"import sys, xpnet; {used}; print({found})") == ["xpnet.ops.formulas.class_rules"]


@pytest.mark.parametrize("module", ["data", "derivatives", "minimize", "plots"])
def test_module_is_an_attribute_after_import(module):
    assert fresh(f"import xpnet; print(xpnet.{module}.__name__)") == [f"xpnet.{module}"]


def test_star_import_gives_every_name():
    code = "from xpnet import *; print(len([n for n in dir() if not n.startswith('__')]))"
    assert fresh(code) == [str(len(xpnet.__all__) - 1)]  # without __version__


def test_dir_lists_every_name():
    assert set(xpnet.__all__) <= set(dir(xpnet))
    assert [name for name in xpnet.__all__ if not hasattr(xpnet, name)] == []
    assert {"MLP", "Adam", "ReLU", "plots", "Cosine", "load"} <= set(xpnet.__all__)


@pytest.mark.parametrize("module", ["data", "derivatives", "minimize", "plots"])
def test_dir_of_module_lists_every_name(module):
    names = set(getattr(xpnet, module).__all__)
    assert names
    assert names <= set(dir(getattr(xpnet, module)))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'xpnet' has no attribute 'Convolution'"):
        _ = xpnet.Convolution
