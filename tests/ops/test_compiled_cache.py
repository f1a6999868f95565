"""Loops that one process compiled and another reads from the disk are those of their own rule."""

import os
import subprocess
import sys

import numpy as np
import pytest

from xpnet.ops.select import why_not_compiled

if why_not_compiled():
    pytest.skip(why_not_compiled(), allow_module_level=True)

from xpnet.ops.compiled import compile as compiler
from xpnet.ops.compiled import entries, loops, rows, store
from xpnet.ops.rules import activations

SCRIPT = """
import sys
import numpy as np
from xpnet.ops.compiled.operations import CompiledOperations
from xpnet.ops.compiled.program import Recorder
from xpnet.ops.rules import activations


def own(slope):
    def rule(xp, z):
        for i in range(3):
            z = xp.exp(0.1 * z) + xp.tanh(z) / (xp.exp(-z * z) + slope)
        return z

    return rule


for name in sys.argv[1:]:
    rule = own(float(name)) if name.isdigit() else getattr(activations, name)
    zeros, bias = np.zeros((3, 4), np.float32), np.linspace(-2, 2, 4, dtype=np.float32)
    want = rule(np, zeros + bias)

    recorder, recorded = Recorder(), zeros.copy()
    z, b = recorder.traced(recorded), recorder.traced(bias)
    recorder.record(lambda: recorder.operations.shift_and_apply(rule, z, b))
    np.testing.assert_allclose(recorded, want, rtol=1e-5)

    direct = CompiledOperations(np).shift_and_apply(rule, zeros.copy(), bias)
    np.testing.assert_allclose(direct, want, rtol=1e-5)

print("compiled" if "xpnet.ops.compiled.compile" in sys.modules else "read")
print("with Numba" if "numba" in sys.modules else "without Numba")
"""


def done(folder, *given, **variables):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder), **variables}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *given],
        env=environment,
        text=True,
        check=True,
        stdout=subprocess.PIPE,
    ).stdout.splitlines()


@pytest.mark.parametrize("names", [["relu", "identity", "tanh"], ["1", "2", "3"]])
def test_a_third_process_runs_each_rule_in_its_own_loop(tmp_path, names):
    for name in names:
        assert done(tmp_path, name) == ["compiled", "with Numba"]
    numba = "with Numba" if names[0].isdigit() else "without Numba"  # it tells users' rules apart
    assert done(tmp_path, *names) == ["read", numba]


def test_a_compiler_that_cannot_be_loaded_is_told_of(tmp_path):
    (tmp_path / "numba").mkdir()
    (tmp_path / "numba" / "__init__.py").write_text(
        "raise ImportError('Numba needs an older NumPy')"
    )
    code = """
import warnings
import numpy as np
from xpnet.backend import get_backend
from xpnet.ops.explain import explain

with warnings.catch_warnings(record=True) as caught:
    print(explain("column_sum", get_backend("numpy")))
print(caught[0].message)
"""
    environment = {
        **os.environ,
        "NUMBA_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
    }
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, text=True, check=True, stdout=subprocess.PIPE
    )
    told = run.stdout.splitlines()
    assert told[0] == "column_sum on numpy: NumPy, filling the buffers it is given."
    assert told[1].startswith("Numba cannot be used (Numba needs an older NumPy); NumPy computes")


def test_a_setting_of_the_compiler_has_loops_of_its_own(tmp_path):
    done(tmp_path, "relu")
    assert done(tmp_path, "relu", NUMBA_OPT="2") == ["compiled", "with Numba"]
    assert done(tmp_path, "relu", NUMBA_NUM_THREADS="1") == ["read", "without Numba"]


TOTAL = rows.total, np.dtype("float64")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of loops."""
    monkeypatch.setattr(store, "_folder", lambda: tmp_path / "loops")
    return tmp_path / "loops"


def total_of(loop):
    sums = np.empty(1)
    loop(np.arange(5.0), sums, 2.0)
    return sums[0]


def test_a_loop_from_the_disk_computes_the_same(folder, monkeypatch):
    first = total_of(entries.new_loop(TOTAL))
    monkeypatch.setattr(compiler, "compiled", None)
    assert total_of(entries.new_loop(TOTAL)) == first == 20


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: content[:40],
        lambda content: content[:-1],
        lambda content: content[:-9] + b"x" + content[-8:],
        lambda content: content.replace(b"float64", b"float32"),
    ],
)
def test_a_spoilt_file_is_compiled_anew(folder, spoil):
    entries.new_loop(TOTAL)
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(spoil(whole))
    assert store.read(file) is None
    assert total_of(entries.new_loop(TOTAL)) == 20
    assert store.read(file) is not None
    assert list(folder.iterdir()) == [file]


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(store, "_folder", lambda: tmp_path / "file" / "loops")
    assert total_of(entries.new_loop(TOTAL)) == 20
    monkeypatch.setattr(store, "_folder", lambda: None)
    assert total_of(entries.new_loop(TOTAL)) == 20
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_calls_the_compilers_own_library_is_not_kept():
    assert store.stands_alone(["expf", "memset"])
    assert not store.stands_alone(["expf", "NRT_MemInfo_call_dtor"])
    code = compiler.compiled((loops.apply_to_one, activations.relu, np.dtype("float32"), 0)).code
    assert code is not None


@pytest.mark.parametrize("calls", ["logf", "numba_attempt_nocopy_reshape", '"with space"'])
def test_the_calls_of_a_loop_are_found_in_its_text(calls):
    text = f"declare float @llvm.fabs.f32(float) #2\ndeclare nofree i32 @{calls}(i64, ptr) #1\n"
    assert compiler.CALLED.findall(text) == [calls.strip('"')]


def test_a_rule_that_has_no_content_is_refused(tmp_path):
    with open(tmp_path / "log", "w") as file:

        def rule(xp, z):
            return z * len(file.name)

        with pytest.raises(TypeError, match="rule cannot be kept on disk"):
            store.path_of((loops.apply_to_one, rule, np.dtype("float32"), 0))
