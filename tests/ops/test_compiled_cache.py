"""Loops that one process compiled and another reads from the disk are those of their own rule."""

import os
import subprocess
import sys

import numpy as np
import pytest

from xpnet.ops.select import why_not_compiled

if why_not_compiled():
    pytest.skip(why_not_compiled(), allow_module_level=True)

from xpnet.ops.cpu import elementwise, rowwise
from xpnet.ops.cpu.jit import code_cache
from xpnet.ops.cpu.jit import compile as compiler
from xpnet.ops.cpu.jit import loop as entries
from xpnet.ops.cpu.jit.fingerprint import content_of
from xpnet.ops.rules import activations

SCRIPT = """
import sys
import numpy as np
from xpnet.ops.cpu.operations import CompiledOperations
from xpnet.engine.recording import Recorder
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

print("compiled" if "xpnet.ops.cpu.jit.compile" in sys.modules else "read")
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
    assert done(tmp_path, *names) == ["read", "without Numba"]


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


TOTAL = rowwise.total, np.dtype("float64")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of elementwise."""
    monkeypatch.setattr(code_cache, "_folder", lambda: tmp_path / "loops")
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
    assert code_cache.read(file) is None
    assert total_of(entries.new_loop(TOTAL)) == 20
    assert code_cache.read(file) is not None
    assert list(folder.iterdir()) == [file]


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_may_write_to_is_not_run(folder, mode):
    entries.new_loop(TOTAL)
    (file,) = folder.iterdir()
    assert code_cache.read(file) is not None
    file.chmod(mode)
    assert code_cache.read(file) is None
    assert total_of(entries.new_loop(TOTAL)) == 20


def test_a_file_of_another_user_is_not_run(folder, monkeypatch):
    entries.new_loop(TOTAL)
    (file,) = folder.iterdir()
    monkeypatch.setattr(code_cache.os, "getuid", lambda: file.stat().st_uid + 1)
    monkeypatch.setattr(code_cache, "ROOT", -1)
    assert code_cache.read(file) is None


def test_files_are_written_so_that_they_are_read_whatever_the_umask(folder):
    before = os.umask(0o002)
    try:
        entries.new_loop(TOTAL)
    finally:
        os.umask(before)
    (file,) = folder.iterdir()
    assert code_cache.read(file) is not None


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(code_cache, "_folder", lambda: tmp_path / "file" / "loops")
    assert total_of(entries.new_loop(TOTAL)) == 20
    monkeypatch.setattr(code_cache, "_folder", lambda: None)
    assert total_of(entries.new_loop(TOTAL)) == 20
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_calls_the_compilers_own_library_is_not_kept():
    assert code_cache.stands_alone(["expf", "memset"])
    assert not code_cache.stands_alone(["expf", "NRT_MemInfo_call_dtor"])
    assert not code_cache.stands_alone(["__svml_expf16"])
    _, _, code = compiler.compiled(
        (elementwise.apply_to_one, activations.relu, np.dtype("float32"), 0)
    )
    assert code is not None


@pytest.mark.parametrize("calls", ["logf", "numba_attempt_nocopy_reshape", '"with space"'])
def test_the_calls_of_a_loop_are_found_in_its_text(calls):
    text = f"declare float @llvm.fabs.f32(float) #2\ndeclare nofree i32 @{calls}(i64, ptr) #1\n"
    assert compiler.CALLED.findall(text) == [calls.strip('"')]


LONG = np.linspace(0, 1, 200_000)


def looks_up(xp, z):
    return z + LONG[100_000]


def test_what_holds_addresses_of_this_process_is_not_kept(folder):
    x = np.zeros(3)
    out = np.empty(3)
    entries.new_loop((elementwise.apply_to_one, looks_up, x.dtype, 0))(x, out, ())
    np.testing.assert_array_equal(out, LONG[100_000])
    assert not folder.exists()


def test_a_rule_that_has_no_content_is_compiled_and_not_kept(folder, tmp_path):
    def rule(xp, z):
        return z * 2.0 if len(unknown) else z

    unknown = {1: 2}
    assert code_cache.path_of((elementwise.apply_to_one, rule, np.dtype("float32"), 0)) is None


def rule_of(slope):
    def rule(xp, z):
        return slope * z

    return rule


def rule_by_default(xp, z, slope=2.0):
    return slope * z


def rule_by_name(xp, z):
    return SLOPE * z


SLOPE = 2.0


@pytest.mark.parametrize(
    "other",
    [
        lambda: content_of(rule_of(3.0)),
        lambda: content_of(rule_of(np.float32(2.0))),
        lambda: content_of(rule_of(2)),
        lambda: content_of(rule_of((2.0,))),
        lambda: content_of(rule_by_default),
        lambda: content_of(rule_by_name),
        lambda: content_of(lambda xp, z: z),
    ],
)
def test_other_rules_have_other_contents(other):
    assert content_of(rule_of(2.0)) == content_of(rule_of(2.0)) != other()


def test_what_a_rule_names_is_of_its_content(monkeypatch):
    before = content_of(rule_by_name)
    monkeypatch.setitem(globals(), "SLOPE", 3.0)
    assert content_of(rule_by_name) != before
    monkeypatch.setitem(globals(), "SLOPE", 2.0)
    assert content_of(rule_by_name) == before


def test_a_rule_that_calls_itself_has_a_content():
    def rule(xp, z):
        return rule(xp, z - 1) if z > 1 else z

    assert content_of(rule) == content_of(rule)


@pytest.mark.parametrize("value", [os, sys.stdout, {1: 2}, [1], np.array([None]), object()])
def test_what_another_process_would_not_know_has_no_content(value):
    with pytest.raises(TypeError, match="has no content"):
        content_of((1, value))


@pytest.mark.parametrize("often", [0, 1 << 60])
def test_what_a_loop_does_not_take_it_refuses(often, monkeypatch):
    monkeypatch.setattr(entries, "OFTEN", often)
    loop = entries.new_loop((rowwise.normalize, np.dtype("float64")))
    x, y, x_hat = np.ones((2, 3)), np.empty((2, 3)), np.empty((2, 3))
    good = x, y, x_hat, *np.ones((4, 3))
    loop(*good)
    swapped = x.astype(x.dtype.newbyteorder())
    for i, bad in [(0, swapped), (0, [[1.0]]), (0, x[0]), (1, x.T), (3, np.ones(2)), (2, None)]:
        with pytest.raises(TypeError):
            loop(*good[:i], bad, *good[i + 1 :])
    loop(*good)


@pytest.mark.parametrize("eps", [[1.0] * 6, np.ones(2), None, "1e-3", np.float16(1)])
def test_what_is_no_number_is_refused(eps):
    loop = entries.new_loop((rowwise.batch_norm, np.dtype("float64")))
    with pytest.raises(TypeError):
        loop.pack((np.ones((2, 3)), *np.ones((2, 3)), eps, *np.ones((2, 2, 3)), *np.ones((3, 3))))
