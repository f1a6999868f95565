"""Every faster operation agrees with the plain one on arrays of every layout."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.cases import looped
from helpers.emulated_cuda import cuda_operations
from helpers.rules import (
    CURVATURES,
    CURVATURES_OF_LOSSES,
    DERIVATIVES,
    LOSSES,
    OF_POSITIVE,
    SCALARS,
    UPDATES,
    VALUES,
    M,
    N,
    counts_of,
    matrix,
    scalars_of,
    targets_of,
)

from xpnet.ops import operations_for
from xpnet.ops.explain import OPERATIONS
from xpnet.ops.numpy import BLOCK, NumPyOperations
from xpnet.ops.operations import Operations, RunningStatistics
from xpnet.ops.rules import activations, layers, losses, optimizers
from xpnet.ops.rules.layers import running_mean
from xpnet.ops.select import why_not_compiled
from xpnet.random import stream_key

REFERENCE = Operations(np)


OPERATIONS_TESTED = [
    *("host", "compiled"),
    pytest.param("compiled, called often", marks=pytest.mark.slow),  # it compiles more
    pytest.param("cuda", marks=pytest.mark.slow),  # it compiles C++
]


@pytest.fixture(params=OPERATIONS_TESTED, scope="module")
def ops(request):
    if request.param == "host":
        yield NumPyOperations(np)
        return
    if request.param == "cuda":
        yield cuda_operations()
        return
    if why_not_compiled():
        pytest.skip(why_not_compiled())
    from xpnet.ops.cpu.jit import loop  # noqa: PLC0415
    from xpnet.ops.cpu.operations import CompiledOperations  # noqa: PLC0415

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            loop, "CALLS_BEFORE_NATIVE_WRAPPER", 0 if "often" in request.param else 1 << 60
        )
        loop._loop_or_reason.cache_clear()
        yield CompiledOperations(np)
    loop._loop_or_reason.cache_clear()


def strided(x):
    wide = np.zeros((x.shape[0], 2 * x.shape[1]), x.dtype)
    wide[:, ::2] = x
    return wide[:, ::2]


def frozen(x):
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS = {
    "contiguous": lambda x: x,
    "strided": strided,
    "transposed": np.asfortranarray,
    "read-only": frozen,
    "empty": lambda x: x[:0].copy(),
    "one row": lambda x: x[:1].copy(),
}
layouts = looped(layout=LAYOUTS)
dtypes = looped(dtype=["float32", "float64"])


def close(actual, expected, dtype, scale=1.0):
    tolerance = scale * {"float32": 4e-6, "float64": 4e-15}[str(dtype)]
    assert np.asarray(actual).dtype == np.asarray(expected).dtype
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


# --- rules ----------------------------------------------------------------------------------------


@layouts
@dtypes
@pytest.mark.parametrize("rule", VALUES, ids=lambda rule: rule.__name__)
def test_activation_values_agree(rule, dtype, layout, ops):
    scalars, x = scalars_of(rule), LAYOUTS[layout](matrix(dtype, 1))
    expected = REFERENCE.apply(rule, x, scalars=scalars)
    close(ops.apply(rule, x, scalars=scalars, out=np.full(x.shape, 9, dtype)), expected, dtype)
    close(ops.apply(rule, x, scalars=scalars), expected, dtype)


@layouts
@dtypes
@pytest.mark.parametrize("rule", [*DERIVATIVES, *CURVATURES], ids=lambda rule: rule.__name__)
def test_activation_derivatives_agree(rule, dtype, layout, ops):
    scalars = scalars_of(rule)
    low = 0.0 if rule in OF_POSITIVE else -4.0
    x, dy = LAYOUTS[layout](matrix(dtype, 1, low)), LAYOUTS[layout](matrix(dtype, 2))
    sums, expected_sums = np.full(N, 9, dtype), np.full(N, 9, dtype)
    expected = REFERENCE.chain_and_sum(rule, dy, x, expected_sums, scalars)
    close(ops.chain(rule, dy, x, scalars=scalars), expected, dtype, 4)
    close(ops.chain_and_sum(rule, dy, x, sums, scalars), expected, dtype, 4)
    close(sums, expected_sums, dtype, 100)


@dtypes
@pytest.mark.parametrize("rule", VALUES, ids=lambda rule: rule.__name__)
def test_shift_and_apply_agrees(rule, dtype, ops):
    scalars, z, bias = scalars_of(rule), matrix(dtype), matrix(dtype, 1)[0]
    expected = REFERENCE.shift_and_apply(rule, z.copy(), bias, scalars)
    for given in (z.copy(), np.asfortranarray(z)):
        close(ops.shift_and_apply(rule, given, bias, scalars), expected, dtype)
    close(ops.shift(z.copy(), bias), z + bias, dtype)


@dtypes
@pytest.mark.parametrize("rule", VALUES, ids=lambda rule: rule.__name__)
def test_shift_and_keep_agrees(rule, dtype, ops):
    scalars, z, bias = scalars_of(rule), matrix(dtype), matrix(dtype, 1)[0]
    expected = REFERENCE.shift_and_apply(rule, z.copy(), bias, scalars)
    for out in (None, np.empty_like(z), np.empty_like(z, order="F")):
        for given in (z.copy(), np.asfortranarray(z)):
            kept, value = ops.shift_and_keep(rule, given, bias, scalars, out)
            close(kept, z + bias, dtype)
            close(value, expected, dtype)


@dtypes
def test_shift_and_keep_keeps_an_intermediate(dtype, ops):
    z, bias = matrix(dtype), matrix(dtype, 1)[0]
    for given in (z.copy(), np.asfortranarray(z)):
        kept, value = ops.shift_and_keep(activations.silu, given, bias, inner=activations.tanh)
        close(kept, np.tanh(z + bias), dtype)
        close(value, activations.silu(np, np.tanh(z + bias)), dtype)


@layouts
@dtypes
@pytest.mark.parametrize("rule", LOSSES, ids=lambda rule: rule.__name__)
def test_loss_values_agree(rule, dtype, layout, ops):
    scalars = scalars_of(rule)
    z, t = LAYOUTS[layout](matrix(dtype)), LAYOUTS[layout](np.sign(matrix(dtype, 1)))
    close(ops.apply(rule, z, t, scalars=scalars), rule(np, z, t, *scalars), dtype)


@layouts
@dtypes
@pytest.mark.parametrize("rule", CURVATURES_OF_LOSSES, ids=lambda rule: rule.__name__)
def test_loss_curvatures_agree(rule, dtype, layout, ops):
    scalars = scalars_of(rule)
    dz, z, t = (LAYOUTS[layout](matrix(dtype, seed)) for seed in range(3))
    close(ops.chain(rule, dz, z, t, scalars=scalars), dz * rule(np, z, t, *scalars), dtype, 4)


@dtypes
@looped(size=[0, 1, 1000, BLOCK + 5, 3 * BLOCK])
@pytest.mark.parametrize("rule", UPDATES, ids=lambda rule: rule.__name__)
def test_updates_agree(rule, size, dtype, ops):
    (n_arrays, n_scalars), n_targets = counts_of(rule), targets_of(rule)
    rng = np.random.default_rng(size)
    arrays = [rng.uniform(0.1, 2, size).astype(dtype) for _ in range(n_arrays)]
    ours = [array.copy() for array in arrays]
    REFERENCE.update(rule, arrays[:n_targets], arrays[n_targets:], SCALARS[:n_scalars])
    ops.update(rule, ours[:n_targets], ours[n_targets:], SCALARS[:n_scalars])
    for actual, expected in zip(ours, arrays, strict=True):
        close(actual, expected, dtype, 16)


@dtypes
@looped(state=[0.0, 1.0])
@pytest.mark.parametrize("rule", UPDATES, ids=lambda rule: rule.__name__)
def test_updates_by_extreme_gradients_agree(rule, state, dtype, ops):
    """Results are finite exactly where those of plain NumPy are.

    Except for the centered RMSProp: in ``r − s²`` a fused product overflows no sooner than ``r``.
    """
    (n_arrays, n_scalars), n_targets = counts_of(rule), targets_of(rule)
    exponents = np.linspace(-30, 30, 121)
    grad = np.concatenate([10**exponents, -(10**exponents), [0.0]]).astype(dtype)
    arrays = [np.full(grad.size, state, dtype) for _ in range(n_arrays)]
    arrays[min(n_targets, n_arrays - 1)] = grad
    ours = [array.copy() for array in arrays]
    with np.errstate(all="ignore"):
        REFERENCE.update(rule, arrays[:n_targets], arrays[n_targets:], SCALARS[:n_scalars])
        ops.update(rule, ours[:n_targets], ours[n_targets:], SCALARS[:n_scalars])
    for actual, expected in zip(ours, arrays, strict=True):
        finite = np.isfinite(expected)
        if rule is not optimizers.rmsprop_centered:
            np.testing.assert_array_equal(np.isfinite(actual), finite)
        close(actual[finite], expected[finite], dtype, 16)


@pytest.mark.parametrize("new", [0.1, 1.0])
def test_running_means_lose_no_rounding(new, ops):
    """Steps of 0.003 and less, which rounding to the ulp 0.06 of the mean would lose or double."""
    rng = np.random.default_rng(0)
    mean, rest = np.zeros((2, 40), "float32")
    exact = np.zeros(40)
    for _ in range(200):
        batch = rng.normal(1e6, 0.03, 40).astype("float32")
        lost = rng.uniform(0, 0.03, 40).astype("float32")
        exact += new * (batch.astype("float64") + lost - exact)
        ops.update(running_mean, (mean, rest), (batch, lost), (new,))
    np.testing.assert_allclose(mean.astype("float64") + rest, exact, rtol=0, atol=2e-3)
    assert (np.abs(rest) <= 0.51 * np.spacing(mean)).all()


OF_ONE_ARRAY = [*VALUES, *DERIVATIVES, *CURVATURES]
EXTREME = np.array([0.0, 1e-40, 1e-8, 80.0, -80.0, 700.0, -700.0, 1e30, -1e30, np.inf, -np.inf])


@dtypes
@pytest.mark.parametrize(
    "rule", [*VALUES, *DERIVATIVES, *CURVATURES], ids=lambda rule: rule.__name__
)
def test_extreme_numbers_and_nan_agree(rule, dtype, ops):
    scalars = scalars_of(rule)
    x = np.append(EXTREME, np.nan).astype(dtype)[None, :]
    if rule in OF_POSITIVE:
        x = np.abs(x)
    run, ones = (ops.apply, ()) if rule in VALUES else (ops.chain, (np.ones_like(x),))
    with np.errstate(all="ignore"):
        expected = np.zeros_like(x) + rule(np, x, *scalars)
        actual = run(rule, *ones, x, scalars=scalars)
    close(actual, expected, dtype)


def test_out_may_be_the_input(ops):
    x = matrix("float64")
    expected = activations.sigmoid(np, x)
    close(ops.apply(activations.sigmoid, x, out=x), expected, "float64")


def test_sums_are_not_reordered(ops):
    """``z - z + log(1 + e^(-z))``: reordering the sum would lose the last term."""
    z = np.array([[28.0]])
    exact = 6.914400106935423e-13  # e^-28, to which log(1 + e^-28) is equal in 12 digits
    assert ops.apply(losses.logistic, z, np.ones((1, 1)))[0, 0] == pytest.approx(exact, rel=1e-10)


def test_user_rules_run_compiled_or_plain(ops):
    def compiles(xp, z, factor):
        return factor * xp.exp(z)

    def does_not(xp, z, factor):
        return factor * xp.cos(xp.asarray(z))

    z = matrix("float64")
    close(ops.apply(compiles, z, scalars=(2.0,)), 2 * np.exp(z), "float64", 10)
    close(ops.apply(does_not, z, scalars=(2.0,)), 2 * np.cos(z), "float64")


# --- operations that are not elementwise ----------------------------------------------------------


@layouts
@dtypes
@looped(target=["int64", "uint8", "rows"])
@looped(weighted=[False, True])
def test_softmax_cross_entropy_agrees(weighted, target, dtype, layout, ops):
    z = LAYOUTS[layout](matrix(dtype, 3, -30, 30))
    m = z.shape[0]
    rng = np.random.default_rng(4)
    t = rng.integers(0, N, m).astype(target) if target != "rows" else rng.random((m, N))
    if target == "rows":
        t = (t / t.sum(axis=1, keepdims=True)).astype(dtype)
    scale = rng.random((m, 1)).astype(dtype) if weighted else 1.0 / M
    expected = REFERENCE.softmax_cross_entropy(z, t, scale)
    out = np.empty(z.shape, dtype)
    for given in (out, None):
        actual = ops.softmax_cross_entropy(z, t, scale, given)
        np.testing.assert_allclose(actual[0], expected[0], rtol={"float32": 2e-6}.get(dtype, 1e-13))
        close(actual[1], expected[1], dtype, 8)


def test_cross_entropy_of_extreme_logits_agrees(ops):
    z = np.array([[1e4, 0.0, -1e4], [np.nan, 0.0, 0.0], [np.inf, 0.0, 0.0]])
    with np.errstate(all="ignore"):
        for row in range(3):
            part, t = z[row : row + 1], np.array([1])
            expected = REFERENCE.softmax_cross_entropy(part, t, 1.0)
            actual = ops.softmax_cross_entropy(part, t, 1.0)
            np.testing.assert_allclose(actual[0], expected[0])
            np.testing.assert_allclose(actual[1], expected[1])


@layouts
@dtypes
def test_batch_norm_and_its_backward_agree(dtype, layout, ops):
    x = LAYOUTS[layout](matrix(dtype, 5) + np.asarray(3, dtype))
    if x.shape[0] == 0:
        pytest.skip("no rows have no statistics")
    dy = matrix(dtype, 6)[: x.shape[0]]
    scale, shift = matrix(dtype, 7)[0], matrix(dtype, 8)[0]
    expected = REFERENCE.batch_norm(x, scale, shift, 1e-3)
    actual = ops.batch_norm(
        x, scale, shift, 1e-3, np.empty(x.shape, dtype), np.empty(x.shape, dtype)
    )
    for ours, theirs in zip(actual, expected, strict=True):
        close(ours, theirs, dtype, 30)
    _, x_hat, _, var, _ = expected
    sums = [np.empty(N, dtype) for _ in range(4)]
    theirs = REFERENCE.batch_norm_backward(dy, x_hat, scale, var, 1e-3, *sums[:2])
    ours = ops.batch_norm_backward(dy, x_hat, scale, var, 1e-3, *sums[2:], np.empty(x.shape, dtype))
    close(ours, theirs, dtype, 300)
    close(sums[2], sums[0], dtype, 100)
    close(sums[3], sums[1], dtype, 100)


def statistics(dtype, momentum, count, n=N):
    """Running statistics of ``count`` rows."""
    views = [matrix(dtype, seed, 0.5, 2.0, (1, n))[0] for seed in range(3)]
    views[1] *= np.finfo(dtype).eps
    return RunningStatistics(*views, np.full(1, count, dtype), momentum)


@layouts
@dtypes
@looped(momentum=[None, 0.0, 0.9, 0.999], count=[0, 1, 50])
def test_batch_norm_updates_running_statistics(momentum, count, dtype, layout, ops):
    x = LAYOUTS[layout](matrix(dtype, 5) + np.asarray(3, dtype))
    if x.shape[0] < 2:
        pytest.skip("layers refuse such batches")
    scale, shift = matrix(dtype, 7)[0], matrix(dtype, 8)[0]
    expected, actual = (statistics(dtype, momentum, count) for _ in range(2))
    REFERENCE.batch_norm(x, scale, shift, 1e-3, running=expected)
    ops.batch_norm(x, scale, shift, 1e-3, running=actual)
    close(actual.mean, expected.mean, dtype, 4)
    close(actual.mean - expected.mean + actual.rest, expected.rest, dtype, 4)
    close(actual.var, expected.var, dtype, 30)
    assert actual.count == expected.count == count + M


@dtypes
@looped(shape=[(1, 1), (M, 1), (M,)], weighted=[False, True])
def test_row_weights_agree(weighted, shape, dtype, ops):
    weight = np.abs(matrix(dtype, 3, shape=shape)) * weighted
    shares = ops.row_weights(weight)
    assert shares.shape == shape
    close(shares, REFERENCE.row_weights(weight), dtype)


@layouts
@dtypes
def test_normalize_agrees(dtype, layout, ops):
    x, columns = LAYOUTS[layout](matrix(dtype, 5)), matrix(dtype, 7)[:5].copy()
    expected = REFERENCE.normalize(x, columns)
    out, x_hat = np.full(x.shape, 9, dtype), np.full(x.shape, 9, dtype)
    for actual in (ops.normalize(x, columns), ops.normalize(x, columns, out, x_hat)):
        for ours, theirs in zip(actual, expected, strict=True):
            close(ours, theirs, dtype, 30)


BY_COLUMN = {
    "product": (layers.multiply, layers.multiply_derivatives),
    "PReLU": (layers.prelu, layers.prelu_derivatives),
}


@layouts
@dtypes
@looped(m=[M, 1200])
@pytest.mark.parametrize("name", BY_COLUMN)
def test_rules_by_column_agree(name, m, dtype, layout, ops):
    rule, derivatives = BY_COLUMN[name]
    x, dy = (LAYOUTS[layout](matrix(dtype, seed, shape=(m, N))) for seed in (1, 2))
    column, sums = matrix(dtype, 3)[0], [np.full(N, 9, dtype) for _ in range(3)]
    expected = REFERENCE.apply_by_column(rule, x, column)
    dx = REFERENCE.chain_by_column(derivatives, dy, x, column, sums[0])
    for i, out in ((1, np.full(x.shape, 9, dtype)), (2, None)):
        close(ops.apply_by_column(rule, x, column, out), expected, dtype)
        close(ops.chain_by_column(derivatives, dy, x, column, sums[i], out), dx, dtype)
        close(sums[i], sums[0], dtype, 1000)


@layouts
@dtypes
@looped(n_pieces=[1, 2, 5])
def test_largest_pieces_agree(n_pieces, dtype, layout, ops):
    """With ties, of which the first counts, and NaN, which is the largest."""
    z = np.round(matrix(dtype, 1, shape=(M, n_pieces * N)))
    z[3, 2::N], z[4, -1], z[5, 0] = 7.0, np.nan, np.nan
    z = LAYOUTS[layout](z)
    dy = LAYOUTS[layout](matrix(dtype, 2))[: z.shape[0]]
    shape = dy.shape
    expected = REFERENCE.largest_piece(z, N)
    dz = REFERENCE.largest_piece_backward(dy, expected[1], n_pieces)
    given = np.full(shape, 9, dtype), np.full(shape, 9, dtype)
    for buffers, out in (((), None), (given, np.full(z.shape, 9, dtype))):
        for ours, theirs in zip(ops.largest_piece(z, N, *buffers), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        found = ops.largest_piece_backward(dy, expected[1], n_pieces, out)
        np.testing.assert_array_equal(found, dz)


@layouts
@dtypes
@looped(n=[1, 2, 7])
def test_ordered_thresholds_agree(n, dtype, layout, ops):
    x, first = LAYOUTS[layout](matrix(dtype, 1, shape=(M, 1))), matrix(dtype, 2, shape=(1,))
    gaps = matrix(dtype, 3, -9, 9, shape=(n - 1,))
    expected = REFERENCE.ordered_thresholds(x, first, gaps)
    assert (np.diff(expected, axis=1) < 0).all()
    close(ops.ordered_thresholds(x, first, gaps), expected, dtype, 10)
    close(
        ops.ordered_thresholds(x, first, gaps, np.full((len(x), n), 9, dtype)), expected, dtype, 10
    )
    dz = LAYOUTS[layout](matrix(dtype, 4, shape=(M, n)))
    results = [[np.full(1, 9, dtype), np.full(n - 1, 9, dtype)] for _ in range(3)]
    results[0].append(REFERENCE.ordered_thresholds_backward(dz, gaps, *results[0]))
    for found, out in zip(results[1:], (None, np.full((len(dz), 1), 9, dtype)), strict=True):
        found.append(ops.ordered_thresholds_backward(dz, gaps, *found, out))
        for ours, theirs in zip(found, results[0], strict=True):
            close(ours, theirs, dtype, 100)


@layouts
@dtypes
@looped(centered=[False, True], shifted=[False, True], width=[1, N, 1500])
def test_row_norm_and_its_backward_agree(width, centered, shifted, dtype, layout, ops):
    shape = M, width
    x = LAYOUTS[layout](matrix(dtype, 5, shape=shape) + np.asarray(30, dtype))
    dy, (scale, beta) = (
        matrix(dtype, 6, shape=shape)[: x.shape[0]],
        matrix(dtype, 7, shape=(2, width)),
    )
    shift = beta if shifted else None
    y, rows = REFERENCE.row_norm(x, scale, shift, 1e-3, centered=centered)
    given = {"out": np.full(x.shape, 9, dtype), "rows": np.full((x.shape[0], 3), 9, dtype)}
    for buffers in ({}, given):
        actual, kept = ops.row_norm(x, scale, shift, 1e-3, centered=centered, **buffers)
        close(actual, y, dtype, 30)
        normal = REFERENCE.row_normalized(x, kept), REFERENCE.row_normalized(x, rows)
        close(*normal, dtype, 30)
    sums = [np.full(width, 9, dtype) for _ in range(4)]
    theirs, ours = (
        one.row_norm_backward(
            *(dy, x, rows, scale, d_scale, d_shift if shifted else None), centered=centered
        )
        for one, d_scale, d_shift in ((REFERENCE, *sums[:2]), (ops, *sums[2:]))
    )
    close(ours, theirs, dtype, 300)
    close(sums[2], sums[0], dtype, 300)
    close(sums[3], sums[1], dtype, 100)


@dtypes
@looped(p=[0.1, 0.5, 0.9])
def test_dropout_masks_are_identical(p, dtype, ops):
    like, key = matrix(dtype), stream_key(3, 1, 4)
    np.testing.assert_array_equal(ops.keep_mask(like, key, p), REFERENCE.keep_mask(like, key, p))


@dtypes
@looped(first_row=[0, 1, 1000, 2**40])
def test_masks_of_later_rows_are_identical(first_row, dtype, ops):
    given = matrix(dtype), stream_key(3, 1, 4), 0.5
    actual, expected = (each.keep_mask(*given, first_row=first_row) for each in (ops, REFERENCE))
    np.testing.assert_array_equal(actual, expected)
    in_memory = ops.keep_mask(*given, first_row=np.array([first_row]))
    np.testing.assert_array_equal(in_memory, expected)


def test_masks_of_parts_are_those_of_the_batch(place):
    ops, x = operations_for(place.array(np.zeros(1))), place.array(np.zeros((7, 5)))
    whole = place.host(ops.keep_mask(x, 7, 0.5))
    parts = [ops.keep_mask(x[i : min(i + 3, 7), :], 7, 0.5, first_row=i) for i in (0, 3, 6)]
    np.testing.assert_array_equal(np.concatenate([place.host(part) for part in parts]), whole)
    assert (whole[:3] != whole[3:6]).any()


@layouts
@dtypes
def test_products_sums_and_rows_agree(dtype, layout, ops):
    x, w = LAYOUTS[layout](matrix(dtype, 9)), matrix(dtype, 10, shape=(N, 5))
    z = np.empty((x.shape[0], 5), dtype)
    close(ops.matmul(x, w, z), x @ w, dtype, 10)
    g = np.empty((N, 5), dtype)
    close(ops.matmul(x.T, z, g), x.T @ z, dtype, 400)
    sums = np.empty(N, dtype)
    close(ops.column_sum(x, sums), x.sum(axis=0), dtype, 40)
    close(ops.column_sum(x), x.sum(axis=0), dtype, 40)
    close(ops.total(x, 0.5), x.dtype.type(0.5 * x.sum()), dtype, 400)
    close(ops.multiply(x, x), x * x, dtype)
    indices = np.arange(x.shape[0])[::-1]
    close(ops.take_rows(x, indices, np.empty(x.shape, dtype)), x[::-1], dtype)


@layouts
@dtypes
@looped(n=[1, 2, 4])
def test_arrays_are_added(n, dtype, layout, ops):
    arrays = [LAYOUTS[layout](matrix(dtype, seed)) for seed in range(n)]
    before = [array.copy() for array in arrays]
    for out in (None, np.full(arrays[0].shape, 9, dtype)):
        close(ops.add(arrays, out=out), sum(before), dtype)
    for array, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, old)


@layouts
@dtypes
@looped(stops=[(N,), (1, N), (3, 3, 8, N)])
def test_columns_are_taken_and_joined(stops, dtype, layout, ops):
    x = LAYOUTS[layout](matrix(dtype))
    limits = list(zip((0, *stops[:-1]), stops, strict=True))
    for out in (None, np.full(x.shape, 9, dtype)):
        parts = []
        for start, stop in limits:
            into = None if out is None else np.full((len(x), stop - start), 9, dtype)
            parts.append(ops.take_columns(x, start, stop, out=into))
            np.testing.assert_array_equal(parts[-1], x[:, start:stop])
        joined = ops.join_columns(parts, out=out)
        assert joined.dtype == x.dtype
        np.testing.assert_array_equal(joined, x)
    wide = np.full((len(x), 2 * N), 9, dtype)
    np.testing.assert_array_equal(ops.join_columns([x, x], out=wide[:, :]), np.hstack([x, x]))


@dtypes
def test_index_out_of_range_takes_nearest_row(dtype, ops):
    x, wrong = matrix(dtype), np.array([-1, M, 1 << 40])
    close(ops.take_rows(x, wrong, np.empty((3, N), dtype)), x[[0, M - 1, M - 1]], dtype)


@layouts
@dtypes
@looped(rule=[activations.identity, activations.relu])
def test_fused_products_agree(rule, dtype, layout, ops):
    x, w = LAYOUTS[layout](matrix(dtype, 9)), matrix(dtype, 10, shape=(N, 5))
    bias, z = matrix(dtype, 11)[0, :5].copy(), np.full((x.shape[0], 5), 9, dtype)
    expected = rule(np, x @ w + bias)
    close(ops.affine_and_apply(rule, x, w, bias, z), expected, dtype, 10)
    close(ops.affine_and_apply(rule, x, w, bias), expected, dtype, 10)
    g, sums = np.full((N, 5), 9, dtype), np.full(5, 9, dtype)
    assert ops.matmul_and_sum(x.T, z, g, sums) is g
    close(g, x.T @ z, dtype, 400)
    close(sums, z.sum(axis=0), dtype, 400)


def test_threads_give_the_same_numbers(monkeypatch, ops):
    if type(ops).__name__ != "CompiledOperations":
        pytest.skip("only compiled loops share their work")
    from xpnet.ops.cpu import runner, threads  # noqa: PLC0415

    x, dy = matrix("float32", 1, shape=(301, 40)), matrix("float32", 2, shape=(301, 40))
    sums, shared_sums = np.empty(40, "float32"), np.empty(40, "float32")
    alone = ops.chain_and_sum(activations.tanh_derivative, dy, x, sums)
    theta, state, grad = x.ravel().copy(), np.abs(dy).ravel().copy(), dy.ravel().copy()
    other, other_state = theta.copy(), state.copy()
    ops.update(optimizers.adagrad, (theta, state), (grad,), (0.1, 1e-7))
    normal = ops.row_norm(x, dy[0], dy[1], 1e-5)
    monkeypatch.setattr(runner, "MIN_PARALLEL_SIZE", 100)
    monkeypatch.setattr(threads, "n_threads", lambda: 3)
    threads._pool.cache_clear()
    together = ops.chain_and_sum(activations.tanh_derivative, dy, x, shared_sums)
    ops.update(optimizers.adagrad, (other, other_state), (grad,), (0.1, 1e-7))
    for actual, expected in zip(ops.row_norm(x, dy[0], dy[1], 1e-5), normal, strict=True):
        np.testing.assert_array_equal(actual, expected)
    threads._pool.cache_clear()
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(other, theta)
    np.testing.assert_array_equal(other_state, state)
    np.testing.assert_allclose(shared_sums, sums, rtol=1e-5, atol=1e-4)


def test_misfit_shapes_are_refused_or_broadcast(ops):
    """Loops and kernels check no bounds, so other memory lies beyond them."""
    x, short, b = matrix("float32"), matrix("float32")[:5].copy(), matrix("float32")[0]
    few = b[:3].copy()
    for call in (
        lambda: ops.apply(losses.square, x, short),
        lambda: ops.chain(activations.tanh_derivative, x, short),
        lambda: ops.chain_and_sum(activations.tanh_derivative, x, short, b.copy()),
        lambda: ops.shift_and_apply(activations.relu, x.copy(), few),
        lambda: ops.shift_and_keep(activations.relu, x.copy(), few),
        lambda: ops.shift(x.copy(), few),
        lambda: ops.update(optimizers.sgd, (b.copy(),), (few,), (0.1,)),
        lambda: ops.update(optimizers.momentum, (b.copy(), few.copy()), (b,), (0.1, 0.9)),
        lambda: ops.batch_norm(x, few, few, 1e-5),
        lambda: ops.normalize(x, (b, b, few, b, b)),
        lambda: ops.apply_by_column(layers.prelu, x, few),
        lambda: ops.chain_by_column(layers.prelu_derivatives, x, short, b, b.copy()),
        lambda: ops.chain_by_column(layers.prelu_derivatives, x, x, b, few.copy()),
        lambda: ops.chain_by_column(layers.prelu_derivatives, x, x, few, b.copy()),
        lambda: ops.largest_piece_backward(x, short, 2),
        lambda: ops.ordered_thresholds(x[:, :2].copy(), b[:1].copy(), b.copy()),
        lambda: ops.ordered_thresholds_backward(x, few, b[:1].copy(), few.copy()),
        lambda: ops.row_norm(x, few, None, 1e-5),
        lambda: ops.row_norm(x, b, few, 1e-5),
        lambda: ops.row_norm_backward(x, x, np.ones((5, 3), "f"), b, b.copy(), b.copy()),
        lambda: ops.row_norm_backward(x, x, np.ones((M, 3), "f"), b, few.copy(), b.copy()),
        lambda: ops.softmax_cross_entropy(x, np.zeros(3, np.int64), 0.1),
    ):
        with pytest.raises(ValueError, match=r"broadcast|shape|match"):
            call()
    row = ops.apply(losses.square, x, x[:1].copy())
    close(row, (x - x[:1]) * (x - x[:1]), "float32")


@looped(label=[-1, N, 10**6])
def test_label_out_of_range_reads_no_other_memory(label, ops):
    z, target = matrix("float64"), np.zeros(M, np.int64)
    target[3] = label
    expected = REFERENCE.softmax_cross_entropy(z, target, 0.1)
    actual = ops.softmax_cross_entropy(z, target, 0.1)
    np.testing.assert_allclose(actual[0], expected[0])
    np.testing.assert_allclose(actual[1], expected[1], atol=1e-15)


def test_ordinary_arrays_use_compiled_loops(monkeypatch, ops):
    """A loop that refuses its regular arguments would give the right numbers, but slowly."""
    if isinstance(ops, NumPyOperations):
        pytest.skip("for compiled loops: NumPy alone has none")

    def refused(*arguments, **settings):
        raise AssertionError("the compiled loop refused ordinary arrays")

    for name in OPERATIONS:
        if hasattr(NumPyOperations, name) and name != "matmul":
            monkeypatch.setattr(NumPyOperations, name, refused)
    x, dy, b, sums = (
        matrix("float32"),
        matrix("float32", 1),
        matrix("float32", 2)[0],
        np.empty(N, "f"),
    )
    out, rows = np.empty_like(x), np.full((M, N), 1 / N, "f")
    ops.apply(activations.elu, x, scalars=(0.5,), out=out)
    ops.apply(activations.relu, dy, out=dy)
    ops.apply(losses.square, x, dy)
    ops.chain(activations.tanh_derivative, dy, x)
    ops.chain_and_sum(activations.tanh_derivative, dy, x, sums)
    ops.shift_and_apply(activations.relu, x, b)
    ops.shift_and_keep(activations.gelu, x, b)
    ops.shift(x, b)
    ops.column_sum(x)
    ops.update(optimizers.sgd, (x.ravel(),), (dy.ravel(),), (0.1,))
    ops.ascend(x[0], dy[0], 0.1, np.empty_like(b))
    ops.batch_norm(x, b, b, 1e-5)
    ops.normalize(x, (b, b, b, b, b))
    ops.batch_norm_backward(dy, x, b, np.abs(b), 1e-5, sums, sums.copy())
    ops.apply_by_column(layers.prelu, x, b)
    ops.chain_by_column(layers.prelu_derivatives, dy, x, b, sums)
    y, piece = ops.largest_piece(np.concatenate([x, dy], axis=1), N)
    ops.largest_piece_backward(y, piece, 2)
    ops.ordered_thresholds(x[:, :1].copy(), b[:1], b[1:])
    ops.ordered_thresholds_backward(x, b[1:], sums[:1], sums[1:].copy())
    _, moments = ops.row_norm(x, b, b, 1e-5)
    ops.row_norm_backward(dy, x, moments, b, sums, sums.copy())
    ops.row_norm(x, b, None, 1e-5, centered=False)
    ops.row_norm_backward(dy, x, moments, b, sums, None, centered=False)
    ops.keep_mask(x, 7, 0.5)
    ops.softmax_cross_entropy(x, np.zeros(M, np.int64), 0.1)
    ops.take_rows(x, np.arange(3), np.empty((3, N), "f"))
    ops.add((x, dy, x), out=out)
    ops.join_columns((x, dy), out=np.empty((M, 2 * N), "f"))
    ops.take_columns(x, 2, 5, out=np.empty((M, 3), "f"))
    ops.softmax_cross_entropy(x, np.zeros(M, np.uint8), np.ones((M, 1), "f"), out)
    ops.softmax_cross_entropy(x, rows, 0.1)


@dtypes
@looped(size=[0, 1, 7, 70000], largest=[0.0, 1e-30, 1.0, 1e30])
def test_ascents_agree(largest, size, dtype, ops):
    rng = np.random.default_rng(size)
    theta, out = rng.standard_normal(size).astype(dtype), np.full(size, 9, dtype)
    grad = (rng.uniform(-1, 1, size) * largest).astype(dtype)
    exact, before = np.full(size, 9.0), theta.copy()
    REFERENCE.ascend(theta.astype("float64"), grad.astype("float64"), 0.3, exact)
    ops.ascend(theta, grad, 0.3, out)
    close(out, exact.astype(dtype), dtype)
    np.testing.assert_array_equal(theta, before)


@looped(bad=[np.nan, np.inf, -np.inf], at=[0, 150, -1])
def test_ascent_by_no_number_is_nan(bad, at, ops):
    for one in (ops, REFERENCE):
        grad, out = np.ones(300, "float32"), np.zeros(300, "float32")
        grad[at] = bad
        with np.errstate(invalid="ignore"):
            one.ascend(grad, grad, 0.3, out)
        assert np.isnan(out).all()


def test_every_override_is_tested_here(ops):
    """A new override needs a test above and its name here."""
    covered = {
        *("apply", "chain", "update", "matmul", "shift", "shift_and_apply", "chain_and_sum"),
        *(
            "shift_and_keep",
            "column_sum",
            "multiply",
            "normalize",
            "batch_norm",
            "batch_norm_backward",
        ),
        *("largest_piece", "largest_piece_backward"),
        *("ordered_thresholds", "ordered_thresholds_backward"),
        *("row_norm", "row_norm_backward", "apply_by_column", "chain_by_column"),
        *("keep_mask", "take_rows", "begin_step", "record", "softmax_cross_entropy"),
        *("logged_cross_entropy", "unscale", "total", "affine_and_apply", "matmul_and_sum"),
        *("join_columns", "take_columns"),
        *("update_unless", "update_decaying", "affine_backward", "clip_by_norm", "row_weights"),
        "ascend",
    }
    overridden = {*vars(type(ops)), *vars(type(ops.for_graphs))}
    assert overridden & set(OPERATIONS) <= covered
