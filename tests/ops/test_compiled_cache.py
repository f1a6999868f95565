"""Compiled loops on disk: what identifies them, which files are used, and what is not kept."""

import os
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest

import xpnet
from xpnet.ops.select import why_not_compiled

if why_not_compiled():
    pytest.skip(why_not_compiled(), allow_module_level=True)

from xpnet.ops.cpu import call_list, elementwise, product, rowwise
from xpnet.ops.cpu.jit import LazyModule, NotCompiled, code_cache, fingerprint, loop, loop_of
from xpnet.ops.cpu.jit import compile as compiler
from xpnet.ops.cpu.jit.fingerprint import NoFingerprint, fingerprint_of
from xpnet.ops.rules import activations

pytestmark = pytest.mark.slow

SCRIPT = """
import sys
import numpy as np
from xpnet.ops.cpu.operations import CompiledOperations
from xpnet.engine.recorder import Recorder
from xpnet.ops.rules import activations


def user_defined(slope):
    def rule(xp, z):
        for i in range(3):
            z = xp.exp(0.1 * z) + xp.tanh(z) / (xp.exp(-z * z) + slope)
        return z

    return rule


for name in sys.argv[1:]:
    rule = user_defined(float(name)) if name.isdigit() else getattr(activations, name)
    zeros, bias = np.zeros((3, 4), np.float32), np.linspace(-2, 2, 4, dtype=np.float32)
    want = rule(np, zeros + bias)

    recorder, recorded = Recorder(), zeros.copy()
    z, b = recorder.traced(recorded), recorder.traced(bias)
    recorder.record(lambda: recorder.operations.shift_and_apply(rule, z, b))
    np.testing.assert_allclose(recorded, want, rtol=1e-5)

    eager = CompiledOperations(np).shift_and_apply(rule, zeros.copy(), bias)
    np.testing.assert_allclose(eager, want, rtol=1e-5)

print("compiled" if "xpnet.ops.cpu.jit.compile" in sys.modules else "loaded")
print("with Numba" if "numba" in sys.modules else "without Numba")
"""

COMPILED, LOADED = ["compiled", "with Numba"], ["loaded", "without Numba"]


def run_script(folder, *names, **variables):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder), **variables}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *names],
        env=environment,
        text=True,
        check=True,
        stdout=subprocess.PIPE,
    ).stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("names", [["relu", "identity", "tanh"], ["1", "2", "3"]])
def test_another_process_loads_the_loop_of_each_rule(tmp_path, names):
    for name in names:
        assert run_script(tmp_path, name) == COMPILED
    assert run_script(tmp_path, *names) == LOADED


def test_failing_import_of_numba_is_reported(tmp_path):
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
    lines = run.stdout.splitlines()
    assert lines[0] == "column_sum on numpy: NumPy, filling the given buffers."
    assert lines[1].startswith("Numba cannot be used (Numba needs an older NumPy); NumPy computes")


@pytest.mark.slow
def test_settings_of_numba_identify_the_folder(tmp_path):
    run_script(tmp_path, "relu")
    assert run_script(tmp_path, "relu", NUMBA_OPT="2") == COMPILED
    assert run_script(tmp_path, "relu", NUMBA_NUM_THREADS="1") == LOADED


# --- the folder -----------------------------------------------------------------------------------


@pytest.fixture
def where(monkeypatch):
    """A function that says where loops are kept now."""
    monkeypatch.setattr(code_cache, "_folder", cache(code_cache._folder.__wrapped__))
    return code_cache._folder


def test_cache_folder_of_the_user_is_the_default(where, monkeypatch, tmp_path):
    platformdirs = pytest.importorskip("platformdirs")
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name, appauthor: tmp_path / name)
    assert where().parent == tmp_path / "xpnet"


def test_numba_cache_dir_has_priority(where, monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    assert where().parent == tmp_path / "xpnet"


def test_without_platformdirs_nothing_is_kept(where, monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    assert where() is None
    assert code_cache.path_of(TOTAL) is None
    assert total_of(loop.load_or_compile(TOTAL)) == 20


def test_without_a_home_nothing_is_kept(where, monkeypatch):
    platformdirs = pytest.importorskip("platformdirs")
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name, appauthor: f"~/{name}")
    assert where() is None


def test_without_source_files_nothing_is_kept(where, monkeypatch, tmp_path):
    def source_of(name):
        raise NoFingerprint(name)

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(code_cache, "source_of", source_of)
    assert where() is None


def test_without_modules_nothing_is_kept(where, monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(code_cache.pkgutil, "iter_modules", lambda path: [])
    assert where() is None


def write_zip(path, *changes):
    """Write this package to a zip file, with ``(file, old, new)`` changed."""
    root = Path(xpnet.__file__).parent
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*.py")):
            name = file.relative_to(root.parent).as_posix()
            text = file.read_text(encoding="utf-8")
            for changed, old, new in changes:
                assert name != changed or old in text
                text = text.replace(old, new) if name == changed else text
            archive.writestr(name, text)


PACKED = """
import sys
sys.path.insert(0, sys.argv[1])
from xpnet.ops.cpu import elementwise
from xpnet.ops.cpu.jit import code_cache
from xpnet.ops.rules import activations
import numpy as np

assert ".zip" in code_cache.__file__
print(code_cache.path_of((elementwise.apply_to_one, activations.sigmoid, np.dtype("f4"), 0)))
"""


CHANGE = "import numpy as np", "import numpy as np  # changed"


@pytest.mark.slow
def test_code_in_a_zip_is_identified_by_its_content(tmp_path):
    rules, vector_math = "xpnet/ops/rules/activations.py", "xpnet/ops/cpu/vector_math.py"
    write_zip(tmp_path / "a.zip")
    write_zip(tmp_path / "same.zip")
    write_zip(tmp_path / "rule.zip", (rules, "(1.0 + e)", "(1.5 + e)"))
    write_zip(tmp_path / "math.zip", (vector_math, *CHANGE))
    write_zip(tmp_path / "jit.zip", ("xpnet/ops/cpu/jit/loop.py", *CHANGE))
    paths = {}
    for name in ("a", "same", "rule", "math", "jit"):
        done = subprocess.run(
            [sys.executable, "-c", PACKED, str(tmp_path / f"{name}.zip")],
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        paths[name] = done.stdout.strip()
        assert paths[name] != "None"
    assert paths["a"] == paths["same"]
    assert len({*paths.values()}) == 4


# --- files ----------------------------------------------------------------------------------------

TOTAL = rowwise.total, np.dtype("float64")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder in which no loop is kept yet."""
    monkeypatch.setattr(code_cache, "_folder", lambda: tmp_path / "loops")
    return tmp_path / "loops"


def total_of(total):
    sums = np.empty(1)
    total(np.arange(5.0), sums, 2.0)
    return sums[0]


def test_loop_from_disk_computes_the_same(folder, monkeypatch):
    first = total_of(loop.load_or_compile(TOTAL))
    monkeypatch.setattr(compiler, "compile_loop", None)
    assert total_of(loop.load_or_compile(TOTAL)) == first == 20


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:40],
        lambda content: content[:-1],
        lambda content: content[:-9] + b"x" + content[-8:],
        lambda content: content.replace(b"float64", b"float32"),
    ],
)
def test_damaged_file_is_compiled_again(folder, damage):
    loop.load_or_compile(TOTAL)
    (file,) = folder.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert code_cache.read(file) is None
    assert total_of(loop.load_or_compile(TOTAL)) == 20
    assert code_cache.read(file) is not None
    assert list(folder.iterdir()) == [file]


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="access rights are those of POSIX")
@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_file_writable_by_others_is_not_used(folder, mode):
    loop.load_or_compile(TOTAL)
    (file,) = folder.iterdir()
    assert code_cache.read(file) is not None
    file.chmod(mode)
    assert code_cache.read(file) is None
    assert total_of(loop.load_or_compile(TOTAL)) == 20


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="access rights are those of POSIX")
@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_folder_writable_by_others_is_not_used(folder, level, mode):
    loop.load_or_compile(TOTAL)
    (file,) = folder.iterdir()
    place = [folder, folder.parent][level]
    before = place.stat().st_mode
    place.chmod(mode)
    assert code_cache.read(file) is None
    assert total_of(loop.load_or_compile(TOTAL)) == 20
    assert place.stat().st_mode & 0o022 == 0  # it is ours, so that a write makes it private
    assert code_cache.read(file) is not None
    place.chmod(before)


def test_folder_of_another_user_is_not_changed(folder, monkeypatch):
    loop.load_or_compile(TOTAL)
    (file,) = folder.iterdir()
    folder.chmod(0o777)
    other = file.stat().st_uid + 1
    monkeypatch.setattr(code_cache.os, "getuid", lambda: other, raising=False)
    loop.load_or_compile(TOTAL)
    assert folder.stat().st_mode & 0o777 == 0o777


def test_renamed_file_is_not_used(folder, tmp_path):
    loop.load_or_compile(TOTAL)
    (file,) = folder.iterdir()
    content = file.read_bytes()
    for name in (f"loops/{'0' * 32}", f"others/{file.name}"):
        other = tmp_path / name
        other.parent.mkdir(exist_ok=True)
        other.write_bytes(content)
        assert code_cache.read(other) is None
    assert code_cache.read(file) is not None


def test_exchanged_files_are_compiled_again(folder):
    keys = [TOTAL, (rowwise.total, np.dtype("float32"))]
    for key in keys:
        loop.load_or_compile(key)
    first, second = map(code_cache.path_of, keys)
    first.rename(folder / "x")
    second.rename(first)
    (folder / "x").rename(second)
    assert [code_cache.read(path) for path in (first, second)] == [None, None]
    assert total_of(loop.load_or_compile(TOTAL)) == 20
    assert code_cache.read(first) is not None


def test_leftovers_of_kills_are_removed(folder):
    loop.load_or_compile(TOTAL)
    (file,) = folder.iterdir()
    other = folder / ("0" * 32)
    (folder / f"{file.name}.{'1' * 32}").touch()
    other.touch()
    file.unlink()
    loop.load_or_compile(TOTAL)
    assert sorted(folder.iterdir()) == sorted([file, other])


def test_file_of_another_user_is_not_used(folder, monkeypatch):
    loop.load_or_compile(TOTAL)
    (file,) = folder.iterdir()
    other = file.stat().st_uid + 1
    monkeypatch.setattr(code_cache.os, "getuid", lambda: other, raising=False)
    monkeypatch.setattr(code_cache, "ROOT", -1)
    assert code_cache.read(file) is None


def test_files_are_used_on_systems_without_user_ids(folder, monkeypatch):
    loop.load_or_compile(TOTAL)
    (file,) = folder.iterdir()
    file.chmod(0o666)  # what `os.stat` reports of any file on Windows
    monkeypatch.delattr(code_cache.os, "getuid", raising=False)
    assert code_cache.read(file) is not None


def test_files_are_written_for_any_umask(folder):
    before = os.umask(0o002)
    try:
        loop.load_or_compile(TOTAL)
    finally:
        os.umask(before)
    (file,) = folder.iterdir()
    assert code_cache.read(file) is not None


def test_unwritable_folder_is_ignored(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(code_cache, "_folder", lambda: tmp_path / "file" / "loops")
    assert total_of(loop.load_or_compile(TOTAL)) == 20
    monkeypatch.setattr(code_cache, "_folder", lambda: None)
    assert total_of(loop.load_or_compile(TOTAL)) == 20
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# --- code that needs this process -----------------------------------------------------------------


def code_calling(function):
    """Object code with a function ``f`` that calls another function of doubles."""
    code_cache._linker()  # initializes LLVM
    module = llvm.parse_assembly(
        f"""
        target triple = "{llvm.get_process_triple()}"
        declare double @{function}(double)
        define double @f(double %x) {{
            %y = call double @{function}(double %x)
            ret double %y
        }}
        """
    )
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    return code_cache.ObjectCode((), "f", machine.emit_object(module))


def test_code_calls_functions_of_the_c_library():
    assert code_cache.link(code_calling("exp")) is not None


@pytest.mark.parametrize("function", ["NRT_MemInfo_call_dtor", "numba_attempt_nocopy_reshape"])
def test_code_that_calls_numba_is_not_linked(function):
    assert code_cache.link(code_calling(function)) is None


def test_code_that_calls_numba_is_not_kept(folder, monkeypatch):
    real = compiler.compile_loop

    def compile_loop(key):
        code, types, _ = real(key)
        return code, types, code_calling("NRT_MemInfo_call_dtor")

    monkeypatch.setattr(compiler, "compile_loop", compile_loop)
    assert total_of(loop.load_or_compile(TOTAL)) == 20
    assert not folder.exists()


def test_file_that_does_not_link_is_compiled_again(folder):
    code_cache.write(code_cache.path_of(TOTAL), code_calling("NRT_MemInfo_call_dtor"))
    assert total_of(loop.load_or_compile(TOTAL)) == 20
    assert code_cache.read(code_cache.path_of(TOTAL)).symbol != "f"


LONG = np.linspace(0, 1, 200_000)


def reads_a_large_constant(xp, z):
    return z + LONG[100_000]


def test_code_with_addresses_is_not_kept(folder):
    x = np.zeros(3)
    out = np.empty(3)
    loop.load_or_compile((elementwise.apply_to_one, reads_a_large_constant, x.dtype, 0))(x, out, ())
    np.testing.assert_array_equal(out, LONG[100_000])
    assert not folder.exists()


# --- fingerprints ---------------------------------------------------------------------------------

FLOAT32 = np.dtype("float32")
KEYS = [
    (elementwise.apply_to_one, activations.silu, FLOAT32, 0),
    (elementwise.apply_to_two, activations.silu, FLOAT32, 0),
    (elementwise.shift_and_apply, activations.gelu, FLOAT32, 0),
    (elementwise.chain, activations.elu_derivative, FLOAT32, 1),
    (elementwise.chain_and_sum, activations.gelu_derivative, FLOAT32, 0),
    (elementwise.update, activations.relu, FLOAT32, 1, 0, 0),
    *((getattr(rowwise, name), FLOAT32) for name in ("take_rows", "total", "convert")),
    *((getattr(rowwise, name), FLOAT32) for name in ("column_sum", "normalize", "batch_norm")),
    *((getattr(rowwise, name), FLOAT32) for name in ("batch_norm_backward", "keep_mask")),
    *((getattr(rowwise, f"cross_entropy_of_{name}"), FLOAT32) for name in ("indices", "rows")),
    (call_list.replay,),
    (product.multiply, FLOAT32, "int64"),
]


def test_every_loop_of_xpnet_has_its_own_file(folder):
    paths = [code_cache.path_of(key) for key in KEYS]
    assert None not in paths
    assert len({*paths}) == len(KEYS)


def test_vector_math_identifies_elementwise_loops(folder, monkeypatch):
    keys = [KEYS[0], (rowwise.batch_norm, FLOAT32), (rowwise.column_sum, FLOAT32)]
    before = [code_cache.path_of(key) for key in keys]
    monkeypatch.setattr(fingerprint, "source_of", lambda name: b"changed")
    after = [code_cache.path_of(key) for key in keys]
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, False, True]


def test_module_without_source_has_no_fingerprint():
    for name in ("sys", "numpy.no_such_module"):
        with pytest.raises(NoFingerprint, match="has no source file"):
            fingerprint_of(LazyModule(name))


def test_rule_without_fingerprint_has_no_file(folder):
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
        lambda: fingerprint_of(rule_of(3.0)),
        lambda: fingerprint_of(rule_of(np.float32(2.0))),
        lambda: fingerprint_of(rule_of(2)),
        lambda: fingerprint_of(rule_of((2.0,))),
        lambda: fingerprint_of(rule_by_default),
        lambda: fingerprint_of(rule_by_name),
        lambda: fingerprint_of(lambda xp, z: z),
    ],
)
def test_fingerprints_of_other_rules_differ(other):
    assert fingerprint_of(rule_of(2.0)) == fingerprint_of(rule_of(2.0)) != other()


def test_fingerprint_includes_the_value_of_a_global(monkeypatch):
    before = fingerprint_of(rule_by_name)
    monkeypatch.setitem(globals(), "SLOPE", 3.0)
    assert fingerprint_of(rule_by_name) != before
    monkeypatch.setitem(globals(), "SLOPE", 2.0)
    assert fingerprint_of(rule_by_name) == before


def test_fingerprint_includes_other_files(monkeypatch):
    rule = activations.silu
    before = fingerprint_of(rule)
    monkeypatch.setitem(rule.__globals__, "sigmoid", activations.tanh)
    assert fingerprint_of(rule) != before


def test_recursive_rule_has_a_fingerprint():
    def rule(xp, z):
        return rule(xp, z - 1) if z > 1 else z

    assert fingerprint_of(rule) == fingerprint_of(rule)


@pytest.mark.parametrize("value", [os, sys.stdout, {1: 2}, [1], np.array([None]), object()])
def test_unknown_value_has_no_fingerprint(value):
    with pytest.raises(NoFingerprint, match="has no fingerprint"):
        fingerprint_of((1, value))


# --- NotCompiled ----------------------------------------------------------------------------------


@pytest.mark.parametrize("calls", [0, 1 << 60])
def test_loop_rejects_arguments_that_do_not_fit(calls, monkeypatch):
    monkeypatch.setattr(loop, "CALLS_BEFORE_NATIVE_WRAPPER", calls)
    normalize = loop.load_or_compile((rowwise.normalize, np.dtype("float64")))
    x, y, x_hat = np.ones((2, 3)), np.empty((2, 3)), np.empty((2, 3))
    good = x, y, x_hat, *np.ones((5, 3))
    normalize(*good)
    swapped = x.astype(x.dtype.newbyteorder())
    for i, bad in [(0, swapped), (0, [[1.0]]), (0, x[0]), (1, x.T), (3, np.ones(2)), (2, None)]:
        with pytest.raises(NotCompiled, match="does not accept these arguments"):
            normalize(*good[:i], bad, *good[i + 1 :])
    normalize(*good)


@pytest.mark.parametrize("eps", [[1.0] * 6, np.ones(2), None, "1e-3", np.float16(1)])
def test_loop_rejects_other_types_of_numbers(eps):
    loop = loop_of(rowwise.batch_norm, np.dtype("float64"))
    with pytest.raises(NotCompiled, match="does not accept these arguments"):
        loop.pack((np.ones((2, 3)), *np.ones((2, 3)), eps, *np.ones((2, 2, 3)), *np.ones((3, 3))))


class UnhashableRule:
    """A user-defined rule that is compared by value."""

    __hash__ = None

    def __eq__(self, other):
        return True

    def __call__(self, xp, z):
        return z


def calls_an_unknown_function(xp, z):
    return xp.exp2(z)


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (UnhashableRule(), "hashable"),
        (np.tanh, "must be a plain function"),
        (calls_an_unknown_function, "it does not compile"),
    ],
)
def test_rule_that_does_not_compile_is_not_an_error(rule, reason):
    for _ in range(2):
        with pytest.raises(NotCompiled, match=reason):
            loop_of(elementwise.apply_to_one, rule, FLOAT32, 0)


@pytest.mark.parametrize("error", [TypeError, AttributeError, KeyError])
def test_error_in_a_builder_is_raised(error):
    def build(api, dtype):
        raise error("a bug")

    with pytest.raises(error, match="a bug"):
        loop_of(build, FLOAT32)


def test_update_of_other_counts_is_not_compiled():
    with pytest.raises(NotCompiled, match="no loop updates 7 arrays from 1"):
        loop_of(elementwise.update, activations.relu, FLOAT32, 7, 1, 0)
