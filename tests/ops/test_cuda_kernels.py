"""CUDA kernels compile for devices, and those of `CudaOperations` alone give the right numbers.

That every kernel agrees with the reference is tested in ``test_faster_operations``.
"""

from __future__ import annotations

import gc
import math
import re
import shutil
import subprocess
import weakref
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import emulated_cuda
from helpers.cases import looped
from helpers.emulated_cuda import cuda_operations
from helpers.fake_cublas import rounded, widened
from helpers.formula_cases import OPERATION_NAMES, every_operation
from helpers.kernel_sources import FILES, INTEGERS, as_one, kernels
from helpers.rules import SCALARS, UPDATES, counts_of, targets_of

from xpnet import MLP, CrossEntropy
from xpnet.errors import ArgumentError
from xpnet.ops import select
from xpnet.ops.cuda import columns, elementwise
from xpnet.ops.cuda.matmul import Product, layout_of
from xpnet.ops.cuda.translate import translate
from xpnet.ops.formulas import FormulaRule
from xpnet.ops.formulas.table import OPERATIONS
from xpnet.ops.operations import Operations, RunningStatistics
from xpnet.ops.rules import activations, losses, optimizers
from xpnet.optimizers import AdamW, Lion
from xpnet.random import stream_key

REFERENCE = Operations(np)
pytestmark = pytest.mark.slow  # it compiles C++
dtypes = looped(dtype=["float32", "float64"])


@pytest.fixture(scope="module")
def ops():
    return cuda_operations()


# --- compiled for devices -------------------------------------------------------------------------


compilations = pytest.mark.parametrize(
    "together", [["float32"], ["float64"], INTEGERS], ids=["float32", "float64", "others"]
)


@compilations
def test_every_kernel_compiles_for_devices(together, tmp_path):
    """By nvcc. One front end serves both devices, because no kernel asks for the architecture."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc to compile for a device with")
    code = as_one(together)
    assert "__CUDA_ARCH__" not in code
    version, known = (
        subprocess.run([nvcc, option], capture_output=True, text=True, check=True).stdout
        for option in ("--version", "--help")
    )
    options = ["-std=c++17", "-w", "-fatbin", "-gencode=arch=compute_80,code=[sm_80,sm_90]"]
    if "--Ofast-compile" in known:  # no time for optimization
        options.append("--Ofast-compile=max")
    done_before = emulated_cuda.stem_of("\n".join([version, *options, code])).with_suffix(".nvcc")
    if done_before.exists():
        return
    whole = tmp_path / "all.cu"
    whole.write_text(code, encoding="utf-8")
    command = [nvcc, *options, "-o", tmp_path / "all.fatbin", whole]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    done_before.touch()


@compilations
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_every_kernel_compiles_without_headers(arch, together):
    """By NVRTC, as in CuPy, where its packages are installed."""
    core = pytest.importorskip("cuda.core", reason="no NVRTC: pip install cuda-core")
    options = core.ProgramOptions(arch=arch, std="c++17")
    core.Program(as_one(together), "c++", options).compile("cubin")


@looped(dtype=INTEGERS)
def test_integer_kernels_call_no_float_functions(dtype):
    """NVRTC refuses ``log`` of an integer even if it is not called; nvcc accepts it."""
    for (kernel,) in kernels(dtype):
        assert not re.search(r"\b(log|exp|sqrt|fabs)\(", kernel.source)


def test_every_kernel_file_is_compiled():
    folder = elementwise.Path(elementwise.__file__).parent / "kernels"
    assert {path.name for path in folder.glob("*.cu")} == set(FILES.values())


# --- translation ----------------------------------------------------------------------------------


def test_repeated_value_is_computed_once():
    lines, values = translate(activations.sigmoid, 1)
    assert sum("exp(" in line for line in lines) == 1
    assert lines[-1].startswith(f"const T {values[0]} = ")


def test_infinity_and_nan_are_translated():
    lines, _ = translate(lambda xp, z: xp.where(z > math.inf, -math.inf, math.nan), 1)
    assert lines[0] == "const bool v0 = a0 > infinity();"
    assert lines[1].endswith("? (-infinity()) : (infinity() - infinity());")


def test_equality_in_a_rule_is_translated(ops):
    """Python would compare the symbols themselves, which are never equal."""

    def changed(xp, z, t):
        return xp.where(z != t, 7.0, xp.where(z == 2.0, -1.0, z))

    z, t = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, np.nan])
    np.testing.assert_array_equal(ops.apply(changed, z, t), [1, -1, 7])


def test_untranslatable_rules_are_refused():
    with pytest.raises(TypeError, match=r"branches on a value: use xp\.where"):
        translate(lambda xp, z: z if z > 0.0 else -z, 1)
    with pytest.raises(ArgumentError, match=r"a function of xp in a formula must be one of abs, "):
        translate(lambda xp, z: xp.cbrt(z), 1)


def test_every_operation_of_a_formula_is_computed(ops):
    """By one kernel, which selects the operation by the number k."""
    formula = every_operation()
    a, b = np.random.default_rng(0).uniform(0.1, 0.9, (2, 8))
    for index, name in enumerate(OPERATION_NAMES):
        found = ops.apply(FormulaRule(formula), a, b, np.full(8, float(index)))
        with np.errstate(invalid="ignore"):
            expected = OPERATIONS[name].function(np, *(a, b)[: OPERATIONS[name].arity])
        np.testing.assert_allclose(found, np.asarray(expected, float), rtol=1e-14, err_msg=name)


# --- on the CPU -----------------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("shape", [(1500, 3), (513, 40), (1, 70), (33, 1)])
def test_sums_of_tall_and_odd_shapes_agree(shape, dtype, ops):
    rng = np.random.default_rng(0)
    dy, a = (rng.uniform(-1, 1, shape).astype(dtype) for _ in range(2))
    sums, expected_sums = np.empty(shape[1], dtype), np.empty(shape[1], dtype)
    dz = ops.chain_and_sum(activations.tanh_derivative, dy, a, sums)
    expected = REFERENCE.chain_and_sum(activations.tanh_derivative, dy, a, expected_sums)
    close = {"rtol": 2e-5, "atol": 2e-5} if dtype == "float32" else {"rtol": 1e-12, "atol": 1e-13}
    np.testing.assert_allclose(dz, expected, **close)
    np.testing.assert_allclose(sums, expected_sums, **close)
    np.testing.assert_allclose(ops.column_sum(dy), dy.sum(axis=0), **close)


SHARE = columns.ROWS_PER_BLOCK
HEIGHTS = [1, 2, 31, 33, SHARE - 1, SHARE, SHARE + 1, 2 * SHARE, 2 * SHARE + 1, 5 * SHARE + 7]


def normalized(ops, x, dy, scale, shift):
    """The results of batch norm and of its backward pass, by name."""
    y, x_hat, mean, var, rest = ops.batch_norm(x, scale, shift, 1e-3)
    d_scale, d_shift = np.empty_like(scale), np.empty_like(scale)
    dx = ops.batch_norm_backward(dy, x_hat, scale, var, 1e-3, d_scale, d_shift)
    names = "y", "x_hat", "mean", "var", "dx", "d_scale", "d_shift"
    values = y, x_hat, mean.astype("float64") + rest, var, dx, d_scale, d_shift
    return dict(zip(names, values, strict=True))


def batch_of(m, n, mean, dtype):
    """Rows with a drifting mean, so that shares of the rows differ."""
    rng = np.random.default_rng(m)
    x = mean + rng.normal(size=(m, n)) + np.linspace(-2, 2, m)[:, None]
    dy = rng.normal(size=(m, n)) + 0.5
    return [a.astype(dtype) for a in (x, dy, rng.uniform(0.5, 2, n), rng.normal(size=n))]


@dtypes
@looped(n=[1, 33])
@pytest.mark.parametrize("m", HEIGHTS)
def test_batch_norm_of_tall_batches_agrees(n, m, dtype, ops):
    given = batch_of(m, n, 3, dtype)
    expected = normalized(REFERENCE, *(a.astype("float64") for a in given))
    actual = normalized(ops, *given)
    tolerance = {"float32": 2e-5, "float64": 1e-12}[dtype]
    for name, value in expected.items():
        size = max(np.abs(value).max(), m**0.5)  # the terms of a sum may cancel
        np.testing.assert_allclose(actual[name], value, rtol=0, atol=tolerance * size, err_msg=name)


@dtypes
@looped(n=[1, 33], centered=[False, True], backwards=[False, True])
@pytest.mark.parametrize("m", [1, 33, SHARE, 2 * SHARE + 1])
def test_row_norm_of_tall_batches_agrees(m, n, centered, backwards, dtype, ops):
    """Two kernels for the backward pass; three more to add the sums of tall batches."""
    kernels, (x, dy, scale, shift) = [], batch_of(m, n, 1e3, dtype)

    def launch(kernel, *how):
        kernels.append(kernel.name)
        emulated_cuda.launch(kernel, *how, backwards=backwards)

    found = []
    for one, kind in ((REFERENCE, "float64"), (replace(ops, launch=launch), dtype)):
        given, gamma, beta, grad = (a.astype(kind) for a in (x, scale, shift, dy))
        y, rows = one.row_norm(given, gamma, beta, 1e-3, centered=centered)
        sums = np.empty_like(gamma), np.empty_like(gamma)
        dx = one.row_norm_backward(grad, given, rows, gamma, *sums, centered=centered)
        found.append((y, dx, *sums))
    near = {"float32": 2e-5, "float64": 1e-11}[dtype]
    for actual, expected in zip(*reversed(found), strict=True):
        size = max(np.abs(expected).max(), 1.0)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=near * size)
    assert len(kernels) == 3 + 2 * (m > SHARE)


def statistics(n, count, momentum, dtype):
    rng = np.random.default_rng(n)
    mean, rest, var = rng.normal(3, 1, n), rng.uniform(-1, 1, n) * 1e-8, rng.uniform(0.5, 2, n)
    arrays = [a.astype(dtype) for a in (mean, rest, var, np.full(1, count))]
    return RunningStatistics(*arrays, momentum)


@dtypes
@looped(n=[1, 33, 70], momentum=[None, 0.0, 0.9], count=[0, 1, 1000], backwards=[False, True])
@pytest.mark.parametrize("m", [2, 33, 2 * SHARE + 1])
def test_running_statistics_are_updated_once(m, n, momentum, count, backwards, dtype, ops):
    """In several blocks of columns, all of which read the count, and in any order of them."""
    kernels, given = [], batch_of(m, n, 3, dtype)
    x, _, scale, shift = given

    def launch(kernel, *how):
        kernels.append(kernel.name)
        emulated_cuda.launch(kernel, *how, backwards=backwards)

    exact, actual = statistics(n, count, momentum, "float64"), statistics(n, count, momentum, dtype)
    for wide, array in zip(exact, actual[:3], strict=False):
        wide[...] = array
    REFERENCE.batch_norm(*(a.astype("float64") for a in (x, scale, shift)), 1e-3, running=exact)
    replace(ops, launch=launch).batch_norm(x, scale, shift, 1e-3, running=actual)
    near = {"float32": 3e-6, "float64": 1e-12}[dtype]
    mean = actual.mean.astype("float64") + actual.rest
    np.testing.assert_allclose(mean, exact.mean + exact.rest, rtol=near, atol=near)
    np.testing.assert_allclose(actual.var, exact.var, rtol=near)
    assert actual.count == count + m
    assert len(kernels) == (m > SHARE) + 1 + (momentum is None)


@dtypes
@looped(backwards=[False, True], largest=[1e-3, 1.0, 1e3, 1e30])
@pytest.mark.parametrize("size", [1, 255, 257, 70000, 1024 * 256 + 3])
def test_clip_by_norm_takes_two_kernels(size, largest, backwards, dtype, ops):
    """For norms below and above the limit, and for squares that overflow in float32."""
    kernels, rng = [], np.random.default_rng(size)
    grad = (rng.uniform(-1, 1, size) * largest).astype(dtype)

    def launch(kernel, *how):
        kernels.append(kernel.name)
        emulated_cuda.launch(kernel, *how, backwards=backwards)

    exact, actual = grad.astype("float64"), grad.copy()
    REFERENCE.clip_by_norm(exact, 2.5)
    replace(ops, launch=launch).clip_by_norm(actual, 2.5)
    near = {"float32": 2e-6, "float64": 1e-13}[dtype]
    np.testing.assert_allclose(actual, exact, rtol=near, atol=near * np.abs(exact).max())
    assert kernels == ["norm_parts", "clip_by_norm"]


@dtypes
@looped(bad=[np.nan, np.inf, -np.inf], at=[0, 299, -1], size=[300, 70000])
def test_clip_by_norm_of_no_number_is_nan(bad, at, size, dtype, ops):
    for one in (ops, REFERENCE):
        grad = np.full(size, 1e20, dtype)
        grad[at] = bad
        with np.errstate(invalid="ignore"):
            one.clip_by_norm(grad, 1.0)
        assert np.isnan(grad).all()


@dtypes
@looped(backwards=[False, True], largest=[0.0, 1e-30, 1.0, 1e30])
@pytest.mark.parametrize("size", [1, 257, 1024 * 256 + 3])
def test_ascent_takes_two_kernels(size, largest, backwards, dtype, ops):
    kernels, rng = [], np.random.default_rng(size)
    theta, grad = (rng.uniform(-1, 1, size).astype(dtype) for _ in range(2))
    grad *= largest

    def launch(kernel, *how):
        kernels.append(kernel.name)
        emulated_cuda.launch(kernel, *how, backwards=backwards)

    exact, actual = np.empty(size), np.empty_like(theta)
    REFERENCE.ascend(theta.astype("float64"), grad.astype("float64"), 2.5, exact)
    replace(ops, launch=launch).ascend(theta, grad, 2.5, actual)
    near = {"float32": 2e-6, "float64": 1e-13}[dtype]
    np.testing.assert_allclose(actual, exact, rtol=near, atol=near)
    assert kernels == ["norm_parts", "ascend"]


@dtypes
@looped(n=[1, 31, 1025, 5000], total=[0.0, 1.0])
def test_row_weights_are_one_kernel(n, total, dtype, ops):
    kernels, weight = [], np.random.default_rng(n).uniform(size=(n, 1)).astype(dtype) * total

    def launch(kernel, *how):
        kernels.append(kernel.name)
        emulated_cuda.launch(kernel, *how)

    shares = replace(ops, launch=launch).row_weights(weight.astype(dtype))
    exact = REFERENCE.row_weights(weight.astype("float64"))
    np.testing.assert_allclose(shares, exact, rtol={"float32": 1e-6, "float64": 1e-13}[dtype])
    assert kernels == ["row_weights"]
    assert shares.shape == (n, 1)


@pytest.mark.parametrize("m", [15, 16, 22, 43])
def test_uneven_shares_of_rows_agree(m, ops, monkeypatch):
    """15 rows are 7 shares of 3, two of them empty."""
    monkeypatch.setattr(columns, "ROWS_PER_BLOCK", 2)
    monkeypatch.setattr(columns, "MAX_BLOCKS_PER_COLUMN", 7)
    for dtype in ("float32", "float64"):
        given = batch_of(m, 2, 3, dtype)
        expected, actual = normalized(REFERENCE, *given), normalized(ops, *given)
        near = {"float32": 2e-5, "float64": 1e-13}[dtype]
        for name, value in expected.items():
            np.testing.assert_allclose(actual[name], value, rtol=near, atol=near, err_msg=name)
        np.testing.assert_allclose(ops.column_sum(given[0]), given[0].sum(axis=0), rtol=near)


@pytest.mark.parametrize("m", [2, 300, 3 * SHARE])
@pytest.mark.parametrize("outlier", [False, True])
@pytest.mark.parametrize("mean", [2**16, 1e6, -1e7])
def test_batch_norm_of_large_means_is_accurate(m, outlier, mean, ops):
    """``E[x²] - E[x]²`` in float32 would have no correct digit of this variance."""
    given = batch_of(m, 3, 0, "float32")
    given[0] += np.float32(mean)
    if outlier:  # in the first row, from which differences are taken
        given[0][0] *= np.float32(100)
    expected = normalized(REFERENCE, *(a.astype("float64") for a in given))
    actual, near = normalized(ops, *given), 3e-5 if outlier else 3e-6
    for name in ("var", "x_hat", "y"):
        np.testing.assert_allclose(actual[name], expected[name], rtol=near, atol=near)
    assert (np.abs(actual["mean"] - expected["mean"]) <= 1e-3 * np.sqrt(expected["var"])).all()


def test_order_of_blocks_changes_no_bit(ops):
    """A device guarantees no order, and two runs must give the same numbers."""
    backwards = replace(ops, launch=partial(emulated_cuda.launch, backwards=True))
    given = batch_of(3 * SHARE, 40, 3, "float32")
    forwards, other = normalized(ops, *given), normalized(backwards, *given)
    for name, value in forwards.items():
        np.testing.assert_array_equal(other[name], value, err_msg=name)
    np.testing.assert_array_equal(backwards.column_sum(given[0]), ops.column_sum(given[0]))


def test_sums_of_a_result_in_place_of_dy_agree(ops):
    """A layer may let the derivative of its activation overwrite ``dy``."""
    saved, dy = np.full((3, 2), 0.5, "float32"), np.ones((3, 2), "float32")
    derivative, sums = activations.sigmoid_derivative, np.empty(2, "float32")
    dz = ops.chain_and_sum(derivative, dy, saved, sums, out=dy)
    assert dz is dy
    np.testing.assert_array_equal(dz, np.full((3, 2), 0.25))
    np.testing.assert_array_equal(sums, [0.75, 0.75])


@pytest.mark.parametrize("rule", UPDATES, ids=lambda rule: rule.__name__)
def test_scalars_may_be_in_device_memory(rule, ops):
    dtype = "float32"
    (n_arrays, n_scalars), n_targets = counts_of(rule), targets_of(rule)
    arrays = [np.random.default_rng(i).uniform(0.1, 2, 700).astype(dtype) for i in range(n_arrays)]
    ours = [array.copy() for array in arrays]
    row = np.array(SCALARS[:n_scalars], dtype)
    ops.update(rule, arrays[:n_targets], arrays[n_targets:], SCALARS[:n_scalars])
    views = tuple(row[i : i + 1].reshape(()) for i in range(n_scalars))
    ops.update(rule, ours[:n_targets], ours[n_targets:], views)
    for actual, expected in zip(ours, arrays, strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("rule", UPDATES, ids=lambda rule: rule.__name__)
def test_skipped_update_is_one_kernel_without_effect(rule, ops):
    """Nor does the flag of a regular update change a bit. No array is copied."""
    (n_arrays, n_scalars), n_targets = counts_of(rule), targets_of(rule)
    rng, dtype = np.random.default_rng(0), "float32"
    arrays = [rng.uniform(0.1, 2, 700).astype(dtype) for _ in range(n_arrays)]
    arrays[0][:3] = -0.0, np.nan, np.inf
    arrays[-1][-3:] = np.nan, np.inf, -np.inf
    kernels, none = [], SimpleNamespace(float32=np.float32)  # it creates no arrays

    def launch(kernel, *how):
        kernels.append(kernel.name)
        emulated_cuda.launch(kernel, *how)

    moving = [array.copy() for array in arrays]
    ops.update(rule, moving[:n_targets], moving[n_targets:], SCALARS[:n_scalars])
    for flag, expected in ((1.0, arrays), (0.0, moving)):
        ours, skip = [array.copy() for array in arrays], np.full(1, flag, dtype)
        given = rule, ours[:n_targets], ours[n_targets:], SCALARS[:n_scalars]
        replace(ops, launch=launch, xp=none).update_unless(skip, *given)
        for actual, array in zip(ours, expected, strict=True):
            assert actual.tobytes() == array.tobytes()
    assert kernels == [f"rule_{rule.__name__}_unless"] * 2


@looped(n=[0, 1, 333, 699, 700], flag=[None, 0.0, 1.0])
@pytest.mark.parametrize("optimizer", [AdamW(0.1, weight_decay=0.5), Lion(0.1, weight_decay=0.5)])
def test_update_with_partial_decay_is_one_kernel(optimizer, n, flag, ops):
    """With scalars of the host and with those that a captured step reads."""
    dtype, kernels = "float32", []
    rng, skip = np.random.default_rng(0), None if flag is None else np.full(1, flag, dtype)
    layout = SimpleNamespace(size=700, weights=slice(0, n))

    def launch(kernel, *how):
        kernels.append(kernel.name)
        emulated_cuda.launch(kernel, *how)

    theta, grad = rng.normal(size=(2, 700)).astype(dtype)
    state = optimizer.init(theta, layout)
    state.step = 1
    for slot in state.slots:
        slot[...] = rng.uniform(0.1, 1, 700)
    scalars = optimizer.scalars(state, 0.1)
    row = np.array(scalars, dtype)
    ours = replace(ops, launch=launch)
    targets = [theta, *state.slots]
    for given in (scalars, tuple(row[i : i + 1] for i in range(len(row)))):
        expected, actual = ([array.copy() for array in targets] for _ in range(2))
        REFERENCE.update_decaying(skip, optimizer.rule, expected, (grad,), scalars, n)
        ours.update_decaying(skip, optimizer.rule, actual, (grad,), given, n)
        for mine, theirs, before in zip(actual, expected, targets, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
            assert flag != 1.0 or mine.tobytes() == before.tobytes()
    assert len(kernels) == 2


def test_misfit_partial_decay_runs_as_plain_code(ops):
    gaps, grad = np.ones(20, "f")[::2], np.ones(10, "f")
    ours = replace(ops, launch=never)
    ours.update_decaying(None, optimizers.times, (gaps,), (), (0.5,), 4)
    np.testing.assert_array_equal(gaps, [0.5] * 4 + [1.0] * 6)
    with pytest.raises(ValueError, match="broadcast"):
        ops.update_decaying(None, optimizers.sgd, (np.ones(9, "f"),), (grad,), (0.5,), 4)


def test_array_of_one_number_is_broadcast(ops):
    theta, grad, r = np.ones(300), np.arange(300.0), np.array([4.0])
    ops.update(optimizers.norm_scaled, (theta,), (grad, r), (0.5, 1.0))
    np.testing.assert_allclose(theta, 1 - 0.5 * np.arange(300) / 3, rtol=1e-15)


@dtypes
def test_mask_key_may_be_in_device_memory(dtype, ops):
    like, key = np.empty((40, 30), dtype), stream_key(1, 2, 3)
    expected = REFERENCE.keep_mask(like, key, 0.3)
    np.testing.assert_array_equal(ops.keep_mask(like, np.array(key), 0.3), expected)
    np.testing.assert_array_equal(REFERENCE.keep_mask(like, np.array(key), 0.3), expected)


def test_large_arrays_use_64_bit_indices(ops, monkeypatch):
    """Tested on small arrays, because arrays above the limit are too large."""
    assert elementwise.index_type(2**31 - 1) == "unsigned"
    assert elementwise.index_type(2**31) == "long long"
    rng, kinds = np.random.default_rng(0), []

    def launch(kernel, *how):
        kinds.extend(re.findall("#define INDEX (.*)", kernel.source))
        emulated_cuda.launch(kernel, *how)

    z, bias, order = rng.normal(size=(37, 23)), rng.normal(size=23), rng.permutation(37)
    results = []
    for narrow in (2**31, 0):
        monkeypatch.setattr(elementwise, "LIMIT_32_BIT", narrow)
        ours = replace(ops, launch=launch)
        taken = ours.take_rows(z, order)
        results.append([ours.shift_and_apply(activations.tanh, z.copy(), bias), taken])
    assert kinds == ["unsigned"] * 2 + ["long long"] * 2
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])


@dtypes
@pytest.mark.parametrize("size", [1, 300, 70000])
@looped(bad=[None, np.inf, -np.inf, np.nan])
def test_unscale_divides_and_finds_overflow(bad, size, dtype, ops):
    grad = np.random.default_rng(0).normal(size=size).astype(dtype)
    if bad is not None:
        grad[-1] = bad
    scale, found = np.full(1, 2**15, dtype), np.zeros(1, dtype)
    for one in (ops, REFERENCE):
        x, flag = grad.copy(), found.copy()
        one.for_graphs.unscale(x, scale, flag)
        np.testing.assert_array_equal(x, grad / scale)
        assert flag == (bad is not None)
        one.for_graphs.unscale(np.ones(size, dtype), scale, flag)
        assert flag == (bad is not None)  # the flag stays set
        target = np.zeros(size, dtype)
        one.update_unless(flag, optimizers.sgd, (target,), (grad,), (-1.0,))
        np.testing.assert_array_equal(target, grad if bad is None else 0)


# --- bounds ---------------------------------------------------------------------------------------


def never(*arguments):
    raise AssertionError("a kernel was started on arrays that do not fit")


X, FEW, INDEX = np.ones((6, 4)), np.ones(3), np.zeros(1, np.int64)
COLUMN, SIX, SIX32 = np.ones(4), np.arange(6), np.zeros(6, np.int32)
MISFITS = {
    "a rule of two shapes": lambda ops: ops.apply(losses.square, X, X[:1].copy()),
    "a derivative of two shapes": lambda ops: ops.chain(
        activations.relu_derivative, X, X[:1].copy()
    ),
    "an update of two shapes": lambda ops: ops.update(optimizers.sgd, (COLUMN,), (FEW,), (0.1,)),
    "a bias for others": lambda ops: ops.shift(X.copy(), FEW),
    "a bias for one": lambda ops: ops.shift(X.copy(), FEW[:1]),
    "a scalar of another type": lambda ops: ops.apply(
        activations.leaky_relu, X, scalars=(np.ones(1, "float32"),)
    ),
    "a scalar of many numbers": lambda ops: ops.update(
        optimizers.sgd, (COLUMN.copy(),), (COLUMN,), (COLUMN,)
    ),
    "an out for few sums": lambda ops: ops.column_sum(X, FEW),
    "running statistics of few columns": lambda ops: ops.batch_norm(
        X, COLUMN, COLUMN, 1e-3, running=RunningStatistics(FEW.copy(), FEW, FEW, FEW[:1], 0.5)
    ),
    "weights with gaps": lambda ops: ops.row_weights(X[:, 1]),
    "a gradient with gaps": lambda ops: ops.clip_by_norm(X.copy()[:, 1], 0.5),
    "an ascent of two sizes": lambda ops: ops.ascend(X[0], X[0, :2], 0.1, X[0].copy()),
    "few scales": lambda ops: ops.batch_norm(X, FEW, FEW, 1e-3),
    "an out for few gradients": lambda ops: ops.batch_norm_backward(
        X, X, COLUMN, COLUMN, 1e-3, FEW, FEW
    ),
    "x_hat of another batch": lambda ops: ops.batch_norm_backward(
        X, X[:3].copy(), COLUMN, COLUMN, 1e-3, COLUMN.copy(), COLUMN.copy()
    ),
    "few labels": lambda ops: ops.softmax_cross_entropy(X, SIX[:2], 0.1),
    "rows of few labels": lambda ops: ops.softmax_cross_entropy(X, np.ones((6, 2)), 0.1),
    "a weight for all": lambda ops: ops.softmax_cross_entropy(X, SIX % 4, np.ones((1, 1))),
    "few weights": lambda ops: ops.softmax_cross_entropy(X, SIX % 4, np.ones((2, 1))),
    "a key of another type": lambda ops: ops.keep_mask(X, np.ones(1, np.int32), 0.5),
    "an out for few rows": lambda ops: ops.take_rows(X, SIX, np.empty((2, 4))),
    "indices of another type": lambda ops: ops.take_rows(X, SIX32, np.empty((6, 4))),
    "two scales": lambda ops: ops.for_graphs.unscale(np.ones(2), np.ones(2), np.zeros(1)),
    "two flags": lambda ops: ops.update_unless(
        np.ones(2), optimizers.sgd, (np.zeros(2),), (np.ones(2),), (0.1,)
    ),
    "factors of two sizes": lambda ops: ops.matmul(X, X),
    "an out of another product": lambda ops: ops.matmul(X, X.T, X.copy()),
}


@pytest.mark.parametrize("name", MISFITS)
def test_misfit_arguments_reach_no_kernel(name, ops):
    """The plain code refuses or broadcasts them, as NumPy does."""

    def outcome(ops):
        try:
            return MISFITS[name](ops)
        except (ValueError, IndexError) as error:
            return repr(error)

    ours = outcome(replace(ops, launch=never, product=never))
    np.testing.assert_equal(ours, outcome(REFERENCE))


def test_out_of_another_shape_is_not_written(ops):
    small = np.full((2, 4), 9.0)
    np.testing.assert_array_equal(ops.apply(activations.relu, X, out=small), X)
    np.testing.assert_array_equal(small, 9)


WILD = np.array([0, -1, 6, 10**12, -(10**12), 3])


def test_index_out_of_range_reads_nearest_row(ops):
    x = np.arange(24.0).reshape(6, 4)
    np.testing.assert_array_equal(ops.take_rows(x, WILD), x[np.clip(WILD, 0, 5)])


@dtypes
@looped(mass=[0.0, 0.4, 2.0])
def test_cross_entropy_of_unnormalized_rows_agrees(mass, dtype, ops):
    rng = np.random.default_rng(0)
    z, target = rng.normal(size=(9, 40)).astype(dtype), rng.random((9, 40)).astype(dtype)
    target *= mass / target.sum(axis=1, keepdims=True)
    expected = REFERENCE.softmax_cross_entropy(z, target, 0.1)
    actual = ops.softmax_cross_entropy(z, target, 0.1)
    near = {"float32": 1e-6, "float64": 1e-14}[dtype]
    np.testing.assert_allclose(actual[0], expected[0], rtol=10 * near)
    np.testing.assert_allclose(actual[1], expected[1], rtol=0, atol=near)


@dtypes
@looped(rows=[False, True])
def test_cross_entropy_of_large_logits_is_finite(rows, dtype, ops):
    largest = {"float32": 3e38, "float64": 1.7e308}[dtype]
    table = [[1, -1, 0], [-1, 1, 0.5], [1, 1, 1], [-1, -1, -1], [0, -np.inf, -1], [0, -1, 0]]
    z, labels = (np.array(table) * largest).astype(dtype), np.array([0, 1, 2, 0, 0, 1])
    target = np.eye(3, dtype=dtype)[labels] if rows else labels
    expected = REFERENCE.softmax_cross_entropy(z, target, 0.5)
    loss, grad = ops.softmax_cross_entropy(z, target, 0.5)
    assert np.isfinite(loss)
    np.testing.assert_allclose(loss, expected[0], rtol=1e-6)
    np.testing.assert_allclose(grad, expected[1], rtol=1e-6, atol=1e-7)


@dtypes
@looped(rows=[False, True])
def test_excluded_true_class_costs_infinity(rows, dtype, ops):
    z, labels = np.array([[-np.inf, 0, 1], [0, 1, 2]], dtype), np.array([0, 1])
    target = np.eye(3, dtype=dtype)[labels] if rows else labels
    expected = REFERENCE.softmax_cross_entropy(z, target, 0.5)
    loss, grad = ops.softmax_cross_entropy(z, target, 0.5)
    assert loss == expected[0] == np.inf
    np.testing.assert_allclose(grad, expected[1], rtol=1e-6, atol=1e-7)


NO_CLASSES = [
    *(("int64", -1), ("int64", 4), ("int64", -(2**63)), ("int64", 2**63 - 1), ("int8", -128)),
    *(("uint8", 255), ("int32", -(2**31)), ("uint32", 2**32 - 1), ("uint64", 2**64 - 1)),
]


@dtypes
@looped(given=NO_CLASSES)
def test_label_out_of_range_has_no_loss_or_gradient(given, dtype, ops):
    kind, label = given
    z, target = np.random.default_rng(0).normal(size=(5, 4)).astype(dtype), np.arange(5) % 4
    target = target.astype(kind)
    target[2] = label
    others = np.arange(5) != 2
    expected = ops.softmax_cross_entropy(z[others], target[others], 0.5)
    loss, grad = ops.softmax_cross_entropy(z, target, 0.5)
    np.testing.assert_array_equal(grad[2], 0)
    np.testing.assert_array_equal(grad[others], expected[1])
    np.testing.assert_allclose(loss, expected[0], rtol=1e-6)
    for ours, theirs in zip(
        (loss, grad), REFERENCE.softmax_cross_entropy(z, target, 0.5), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


def test_numpy_scalars_are_passed_by_value(ops):
    """They have a shape, as arrays do, but their bits are not an address."""
    theta, number = np.ones(5), np.float64(0.5)
    ops.update(optimizers.sgd, (theta,), (np.ones(5),), (number,))
    np.testing.assert_array_equal(theta, 0.5)
    np.testing.assert_array_equal(ops.apply(activations.leaky_relu, -X, scalars=(number,)), -0.5)
    losses_of = [ops.softmax_cross_entropy(X, SIX % 4, scale)[0] for scale in (number, 0.5)]
    assert losses_of[0] == losses_of[1]
    sums = np.empty(4)
    ops.chain_and_sum(activations.leaky_relu_derivative, X, -X, sums, (number,))
    np.testing.assert_array_equal(sums, 3)
    key = np.int64(stream_key(1))
    np.testing.assert_array_equal(ops.keep_mask(X, key, 0.5), ops.keep_mask(X, int(key), 0.5))


# --- products -------------------------------------------------------------------------------------


HALVES = pytest.mark.parametrize("precision", ["bf16", "fp16"])


def product(precision="float32", launch=emulated_cuda.launch):
    return Product(precision, launch)


def work(devices):
    """The allocations and products of a fake machine, without their preparations."""
    return [call for call in devices.calls if call == "Matmul" or call[0] == "empty"]


def counting(taken):
    """A launch that notes how many elements each rounding takes."""

    def launch(kernel, grid, block, arguments):
        if kernel.name == "to_16_bits":
            taken.append(int(arguments[2]))
        emulated_cuda.launch(kernel, grid, block, arguments)

    return launch


@HALVES
def test_16_bit_numbers_are_rounded_to_nearest(precision, ops, devices):
    """For numbers of every size, halfway cases and their neighbours, infinity and NaN."""
    bits = np.random.default_rng(0).integers(0, 2**32, 20000, dtype="uint32")
    edges = np.arange(0, 2**32, 2**19, dtype="uint64")[:, None] + [0, 1, 4095, 4096, 4097, 32768]
    x = np.concatenate([bits, edges.astype("uint32").ravel()]).view("float32")
    x = np.concatenate(
        [x, np.float32([65504, 65519, 65520, -65520, 3e38, 2**-24, 2**-25, 3 * 2**-25])]
    )
    factor = product(precision).factor(x[None, :])
    kind = {"bf16": "uint16", "fp16": "float16"}[precision]
    actual = widened(factor.memory.view(kind), "float32")
    with np.errstate(invalid="ignore"):
        expected = rounded(x, precision)
    np.testing.assert_array_equal(actual, expected)
    signs = np.isfinite(x)
    np.testing.assert_array_equal(np.signbit(actual)[signs], np.signbit(x)[signs])


@HALVES
@pytest.mark.parametrize(("m", "k", "n"), [(4, 3, 5), (1, 3, 5), (4, 1, 5), (4, 3, 1), (1, 1, 1)])
def test_16_bit_products_agree(m, k, n, precision, ops, devices):
    rng, multiply = np.random.default_rng(0), product(precision)
    for a in (rng.random((m, k)), rng.random((k, m)).T, rng.random((m, k + 2))[:, :k]):
        for b in (rng.random((k, n)), rng.random((n, k)).T, rng.random((n, k + 1)).T[:k]):
            left, right = (cut(x) for x in (a, b))
            out = np.full((m, n), 9, "float32")
            assert multiply(left, right, out) is out
            expected = rounded(left.copy(), precision) @ rounded(right.copy(), precision)
            np.testing.assert_allclose(out, expected, rtol=1e-6)
    assert work(devices) == [("empty", m * k), ("empty", k * n), "Matmul"] * 9


def cut(x):
    """``x`` in float32 with the same gaps between its elements."""
    whole = (x if x.base is None else x.base).astype("float32")
    return np.lib.stride_tricks.as_strided(whole, x.shape, [stride // 2 for stride in x.strides])


@HALVES
def test_float64_factors_are_not_rounded(precision, devices):
    a, b = np.random.default_rng(0).random((2, 3, 3))
    np.testing.assert_allclose(product(precision)(a, b, np.empty((3, 3))), a @ b, rtol=1e-15)
    assert work(devices) == ["Matmul"]


def test_fp16_overflow_becomes_infinite(ops, devices):
    """Loss scaling finds it, skips the step and halves the scale."""
    multiply, a = product("fp16"), np.full((1, 1), 7e4, "float32")
    assert np.isinf(multiply(a, np.ones_like(a), np.empty_like(a)))
    assert multiply(a / 2, np.ones_like(a), np.empty_like(a)) == np.float16(3.5e4)


def test_rounded_factor_serves_many_products(ops, devices):
    """A benchmark of the products alone does so."""
    bf16, (a, b) = product("bf16"), np.random.default_rng(0).random((2, 3, 3)).astype("float32")
    factors, outs = [bf16.factor(x) for x in (a, b)], np.empty((2, 3, 3), "float32")
    for out in outs:
        assert bf16.multiply(*factors, out)
    np.testing.assert_array_equal(*outs)
    np.testing.assert_allclose(outs[0], a @ b, rtol=1e-2)
    assert work(devices) == [("empty", 9), ("empty", 9), "Matmul", "Matmul"]


@pytest.mark.parametrize(("precision", "rounded"), [("bf16", 3), ("fp16", 3), ("float32", 0)])
@pytest.mark.parametrize("sums", [None, np.empty(3, "float32")], ids=["hidden", "last"])
@pytest.mark.parametrize("gaps", [False, True])
def test_backward_pass_rounds_each_factor_once(gaps, sums, precision, rounded, ops, devices):
    rng = np.random.default_rng(0)
    x, weight, dz = (rng.random(shape).astype("float32") for shape in ((6, 4), (4, 3), (6, 3)))
    dz = np.repeat(dz, 2, axis=1)[:, ::2] if gaps else dz  # which cublasLt cannot read
    ours = replace(ops, product=product(precision))
    dw, expected_dw = (np.empty((4, 3), "float32") for _ in range(2))
    dx, expected_dx = (np.empty((6, 4), "float32") for _ in range(2))
    assert ours.affine_backward(x, weight, dz, dw, dx, sums) is dx
    assert gaps or sum(call[0] == "empty" for call in devices.calls) == rounded
    ours.matmul(x.T, dz, expected_dw)
    ours.matmul(dz, weight.T, expected_dx)
    np.testing.assert_array_equal(dw, expected_dw)
    np.testing.assert_array_equal(dx, expected_dx)
    if sums is not None:
        np.testing.assert_allclose(sums, dz.sum(axis=0), rtol=1e-6)


def test_step_rounds_each_factor_once(ops, devices, monkeypatch):
    """Of two layers: 784-200-10 in bf16 would take as many."""
    taken = []
    kernels = replace(ops, product=product("bf16", launch=counting(taken)))
    monkeypatch.setitem(select._chosen, np.ndarray, kernels)
    monkeypatch.setattr(type(ops), "at_precision", lambda self, precision: self)
    model = MLP(6, [4], 3, dtype="float32")
    model.value_and_grad(np.ones((5, 6), "f"), np.zeros(5, "int64"), CrossEntropy())
    x, z1, z2 = (5, 6), (5, 4), (5, 3)
    forward = [x, (6, 4), z1, (4, 3)]
    last = [z2, z1[::-1], (3, 4)]  # ∂z for both of its products
    first = [x[::-1], z1]
    assert taken == [a * b for a, b in [*forward, *last, *first]]


@dtypes
@pytest.mark.parametrize(("m", "k", "n"), [(4, 3, 5), (1, 3, 5), (4, 1, 5), (4, 3, 1), (1, 1, 1)])
def test_products_of_views_agree(m, k, n, dtype, devices):
    rng, multiply = np.random.default_rng(0), product()
    devices.calls.clear()
    for a in (rng.random((m, k)), rng.random((k, m)).T, rng.random((m, k + 2))[:, :k]):
        for b in (rng.random((k, n)), rng.random((n, k)).T, rng.random((k, n + 1))[:, :n]):
            left, right = (np.asarray(x.astype(dtype, order="K")) for x in (a, b))
            flat = np.full(m * n + 4, 9, dtype)
            out = flat[2:-2].reshape(m, n)
            assert multiply(left, right, out) is out
            np.testing.assert_allclose(out, left @ right, rtol=1e-6)
            assert (flat[:2] == 9).all()
            assert (flat[-2:] == 9).all()
    assert work(devices) == ["Matmul"] * 9


def test_products_cublas_cannot_read_agree(devices):
    a, b = np.arange(48.0).reshape(6, 8)[::2, ::2], np.arange(8.0).reshape(4, 2)
    assert layout_of(a) is None
    np.testing.assert_allclose(product()(a, b, np.empty((3, 2))), a @ b)
    np.testing.assert_array_equal(product()(b[:, :0], b[:0], np.full((4, 2), 9.0)), 0)
    assert devices.calls == []


def test_sources_of_deleted_rules_are_released():
    """A program may define new rules as long as it runs."""
    for name in ("rule_kernel", "column_sum_kernel"):
        assert getattr(elementwise, name).cache_info().maxsize == elementwise.MAX_RULES

    def new():
        return lambda xp, x: x + 1.0

    forgotten = []
    for make in (elementwise.shifted, partial(elementwise.unless, n_targets=1)):
        rule = new()
        forgotten.append(weakref.ref(rule))
        assert make(rule) is make(rule)
        del rule
        for _ in range(elementwise.MAX_RULES):
            make(new())
    gc.collect()
    assert [reference() for reference in forgotten] == [None, None]
