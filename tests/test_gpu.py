"""On a CUDA device: agreement with NumPy, and of graphs with eager steps."""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import pytest

import xpnet
from xpnet import MLP, BatchNorm, ClipByNorm, CrossEntropy, to_numpy
from xpnet.backend import get_backend
from xpnet.engine import select as engines
from xpnet.engine.cuda_graph import CudaCapture
from xpnet.engine.loss_scaling import LossScaling
from xpnet.ops import operations_for
from xpnet.ops.cuda import operations
from xpnet.ops.cuda.columns import ROWS_PER_BLOCK
from xpnet.ops.cuda.cublas_lt import BGRADA, BIAS, RELU_BIAS
from xpnet.ops.cuda.operations import CudaOperations
from xpnet.ops.graph_operations import BatchRows, LossLog, StepTables
from xpnet.ops.operations import Operations
from xpnet.ops.rules import activations, optimizers, scaling
from xpnet.optimizers import schedules

pytestmark = pytest.mark.gpu


@pytest.fixture(params=["float64", "float32"])
def backends(request, cuda):
    return [get_backend(name, dtype=request.param) for name in ("numpy", "cupy")]


@pytest.fixture
def task(rng):
    X = rng.normal(size=(300, 20))
    return X, (X[:, 0] > 0).astype("int64") + (X[:, 1] > 1)


NETWORKS = {
    "relu": {},
    "dropout": {"dropout": 0.3},
    "batch norm": {"batch_norm": True},
    "cumulative": {"batch_norm": BatchNorm(momentum=None), "activation": xpnet.GELU()},
}
OPTIMIZERS = [
    *(xpnet.SGD(0.1), xpnet.Momentum(0.1), xpnet.Nesterov(0.1), xpnet.AdaGrad(0.1)),
    *(xpnet.AdaGrad(0.1, norm=True), xpnet.RMSProp(0.01), xpnet.RMSProp(0.01, centered=True)),
    *(xpnet.AdaDelta(), xpnet.Adam(0.01), xpnet.AdamW(0.01), xpnet.AMSGrad(0.01)),
    *(xpnet.Adamax(0.01), xpnet.Nadam(0.01), xpnet.RAdam(0.01), xpnet.Lion(0.01)),
    xpnet.Averaged(xpnet.Adam(0.01)),
]


def train(backend, task, network=None, **settings):
    arguments = {"loss": CrossEntropy(), "optimizer": xpnet.Adam(0.01), "progress": False}
    settings_of = {"hidden": [33, 17]} | (network or {})
    model = MLP(20, n_out=3, backend=backend, **settings_of)
    history = model.fit(*task, **arguments | {"epochs": 1, "batch_size": 64} | settings)
    return history, to_numpy(model.theta), to_numpy(model.statistics)


def assert_near(actual, expected, dtype, steps):
    rtol = steps * {"float64": 1e-12, "float32": 1e-5}[dtype]
    for ours, theirs in zip(actual, expected, strict=True):
        scale = np.abs(theirs).max(initial=1e-3)
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * scale)


def comparable(backend, lr):
    """An optimizer with steps that differ between two libraries no more than gradients do.

    Adam's first step is nearly the sign of the gradient, which rounding may flip in float32.
    """
    return xpnet.Adam(0.01) if backend.dtype_name == "float64" else xpnet.SGD(lr)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("engine", ["eager", "replay"])
def test_step_equals_numpy(engine, network, backends, task):
    X, y = (part[:64] for part in task)
    numpy, cupy = backends
    optimizer = comparable(
        numpy, lr=10.0
    )  # so that the gradient changes θ as much as its start value
    expected = train(numpy, (X, y), NETWORKS[network], optimizer=optimizer)
    actual = train(cupy, (X, y), NETWORKS[network], optimizer=optimizer, engine=engine)
    assert actual[0].engine.partition(":")[0] == engine
    assert_near(actual[1:], expected[1:], numpy.dtype_name, steps=1)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_graph_steps_equal_eager_steps(optimizer, backends, task):
    """Batches of 49 and of 44 rows, a schedule, clipping, penalties, weights and dropout."""
    cupy, settings = backends[1], {"optimizer": optimizer, "epochs": 2, "validation": 0.2}
    settings |= {"schedule": schedules.Cosine(), "clip": ClipByNorm(0.5), "l1": 1e-3, "l2": 1e-3}
    settings |= {"sample_weight": np.linspace(0.5, 2, 300), "batch_size": 49}
    network = {"dropout": 0.2, "batch_norm": True}
    eager = train(cupy, task, network, engine="eager", **settings)
    graph = train(cupy, task, network, engine="replay", **settings)
    assert graph[0].engine == "replay: a CUDA graph"
    assert_near(graph[1:], eager[1:], cupy.dtype_name, steps=10)
    for name in ("loss", "val_loss", "penalty"):
        np.testing.assert_allclose(graph[0][name], eager[0][name], rtol=1e-4)


def test_larger_batch_between_steps_keeps_graphs(backends, task, monkeypatch):
    """The larger buffers must not free memory that graphs write.

    Freed memory returns to the stream on which it was allocated, that of the graphs. New arrays of
    the same sizes on that stream would overlap the buffers of the graphs.
    """
    cupy, captures, met = backends[1], [], []

    def new():
        captures.append(CudaCapture())
        return captures[-1]

    def between(run):
        if met:
            return
        run.model.value_and_grad(*task, CrossEntropy())
        sizes = [block.size for block in run.model._value_and_grad.blocks]
        with captures[-1].running():
            met.extend(cupy.zeros(size) + 1.0 for size in sizes for _ in range(2))

    monkeypatch.setattr(engines, "CudaCapture", new)
    expected = train(cupy, task, engine="replay", epochs=4)
    actual = train(cupy, task, engine="replay", epochs=4, callbacks=[between])
    np.testing.assert_array_equal(actual[1], expected[1])
    assert all((to_numpy(array) == 1.0).all() for array in met)


class Quarter:
    """A clip that copies the gradient."""

    def apply(self, grad):
        grad[...] = grad * 0.25


def test_graphs_free_their_memory(cuda, rng):
    """A copy of the gradient takes 4 MB of it here; the device counts in steps of 2 MiB."""
    import cupy  # noqa: PLC0415

    X, y, free = rng.normal(size=(64, 1000)), rng.integers(0, 3, 64), []
    for _ in range(3):
        model = MLP(1000, [1000], 3, backend="cupy")
        how = {"loss": CrossEntropy(), "optimizer": xpnet.SGD(0.1), "clip": Quarter()}
        history = model.fit(X, y, epochs=1, engine="replay", progress=False, **how)
        del model, history
        gc.collect()
        cupy.get_default_memory_pool().free_all_blocks()
        free.append(cupy.cuda.Device().mem_info[0])
    assert free[1] - free[2] < 1 << 22


def test_self_check_passes(cuda):
    ops = operations_for(get_backend("cupy").zeros(1))
    assert isinstance(ops, CudaOperations)
    assert ops.product.epilogues == {BIAS, RELU_BIAS, BGRADA}
    assert ops.why_not_captured == ""
    for precision in ("tf32", "bf16", "fp16"):
        assert ops.at_precision(precision).product.precision == precision


def rows(xp, dtype, m=4):
    return xp.reshape(xp.linspace(-2.0, 2.0, 3 * m, dtype=dtype), (m, 3))


def rules(ops, xp, dtype, m):
    """Kernels generated from a rule, and sums over more rows than one block reduces."""
    z, bias, sums = rows(xp, dtype, m), xp.ones(3, dtype=dtype), xp.zeros(3, dtype=dtype)
    a = ops.shift_and_apply(activations.sigmoid, z + 0.0, bias)
    dz = ops.chain_and_sum(activations.sigmoid_derivative, z + 1.0, a, sums)
    theta = z[0, ...] + 3.0
    ops.update(optimizers.sgd, (theta,), (bias,), (0.5,))
    return a, dz, sums, theta, ops.column_sum(dz)


def cross_entropy(ops, xp, dtype, m):
    classes = xp.asarray([0, 2, 1, 0] * (m // 4), dtype=xp.int64)
    return ops.softmax_cross_entropy(rows(xp, dtype, len(classes)), classes, 0.25)


def batch_norm(ops, xp, dtype, m):
    x, scale = rows(xp, dtype, m), xp.linspace(0.5, 1.5, 3, dtype=dtype)
    d_scale, d_shift = (xp.zeros(3, dtype=dtype) for _ in range(2))
    y, x_hat, mean, var, _ = ops.batch_norm(x, scale, scale + 1.0, 1e-3)
    dx = ops.batch_norm_backward(y * y, x_hat, scale, var, 1e-3, d_scale, d_shift)
    return y, x_hat, mean, var, dx, d_scale, d_shift


def captured_operations(ops, xp, dtype, m):
    """Batches of rows and of scaled bytes, the tables of a captured step, and its log."""
    order, cursor = (xp.asarray(x, dtype=xp.int64) for x in ([3, 1, 0, 2], [1]))
    small = xp.astype(xp.reshape(xp.arange(12), (4, 3)) * 20, xp.uint8)
    columns = [xp.linspace(1.0, 2.0, 3, dtype=dtype) + i for i in range(3)]
    found = []
    for x, limits in ((rows(xp, dtype), ()), (small, ()), (small, columns)):
        now = xp.zeros(2, dtype=xp.int64), xp.zeros(3, dtype=dtype)
        integers, scalars = xp.reshape(order, (2, 2)), rows(xp, dtype)[:2]
        tables = StepTables(cursor, order, integers, scalars, now)
        X = BatchRows(x, xp.zeros((2, 3), dtype=dtype), limits)
        y = BatchRows(order, xp.zeros(2, dtype=xp.int64))
        weight = BatchRows(rows(xp, dtype)[:, 0] + 0.0, xp.zeros(2, dtype=dtype))
        ops.for_graphs.begin_step(tables, X, y, weight)
        found += [*now, X.out, y.out, weight.out]
    log, theta = LossLog(xp.zeros(3, dtype=dtype), cursor), xp.zeros(3, dtype=dtype)
    ops.for_graphs.record(log, now[1][:1])
    loss, grad = ops.logged_cross_entropy(log, rows(xp, dtype), order % 3, 0.25)
    ops.update(optimizers.sgd, (theta,), (now[1],), (now[1][:1],))
    return *found, *log, loss, grad, theta


def masks(ops, xp, dtype, m):
    """By a key passed by value and by one in device memory."""
    keys = 7 << 40, xp.asarray([7 << 40], dtype=xp.int64)
    return [ops.keep_mask(rows(xp, dtype, m), key, 0.3) for key in keys]


def loss_scaling(ops, xp, dtype, m):
    """A step that is taken, and one that overflows and is skipped."""
    found = []
    for largest in (1.0, float("inf")):
        scale, good, flag, skip = (xp.zeros(1, dtype=dtype) for _ in range(4))
        scale, theta = scale + 8.0, rows(xp, dtype)
        grad = ops.apply(optimizers.times, xp.ones((4, 3), dtype=dtype), scalars=(scale,))
        grad[0, 0] = largest
        ops.for_graphs.unscale(grad, scale, flag)
        found.append(flag + 0.0)
        ops.update(scaling.next_scale, (scale, good, flag, skip), (), (1.0, 64.0))
        ops.update_unless(skip, optimizers.sgd, (theta,), (grad,), (0.5,))
        found += scale, theta
    return found


KERNELS = [rules, cross_entropy, batch_norm, captured_operations, masks, loss_scaling]


@pytest.mark.parametrize("m", [4, ROWS_PER_BLOCK + 4])
@pytest.mark.parametrize("compute", KERNELS, ids=lambda compute: compute.__name__)
def test_kernels_equal_plain_operations(compute, m, backends):
    dtype = backends[0].dtype_name
    ops = operations_for(backends[1].zeros(1))
    actual = compute(ops, ops.xp, getattr(ops.xp, dtype), m)
    expected = compute(Operations(np), np, np.dtype(dtype), m)
    rtol = {"float64": 1e-12, "float32": 1e-4}[dtype]
    for ours, theirs in zip(actual, expected, strict=True):
        np.testing.assert_allclose(to_numpy(ours), theirs, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_skipped_step_changes_no_bit(optimizer, backends, rng):
    cupy = backends[1]
    theta, good, bad = (cupy.asarray(rng.normal(size=999), cupy.dtype) for _ in range(3))
    state, scaling = optimizer.init(theta), LossScaling(theta, 2.0**15)
    bad[7] = np.inf
    moved = []
    for grad in (good, bad, good):
        grad = grad * 2.0**15  # noqa: PLW2901
        before = [to_numpy(array).copy() for array in (theta, *state.slots)]
        scaling.down(grad)
        optimizer.step(theta, grad, state, skip=scaling.skip)
        after = [to_numpy(array).copy() for array in (theta, *state.slots)]
        moved.append([a.tobytes() != b.tobytes() for a, b in zip(after, before, strict=True)])
    assert [any(each) for each in moved] == [True, False, True]


def test_graph_is_the_default_engine(backends, task):
    assert train(backends[1], task)[0].engine == "replay: a CUDA graph"


def test_initial_weights_and_masks_equal_numpy(backends):
    numpy, cupy = backends
    a, b = (MLP(20, [33], 3, backend=backend) for backend in backends)
    np.testing.assert_array_equal(to_numpy(b.theta), a.theta)
    masks = [operations_for(x).keep_mask(x, 77, 0.3) for x in (numpy.zeros(9, 9), cupy.zeros(9, 9))]
    np.testing.assert_array_equal(to_numpy(masks[1]), masks[0])


def test_uint8_rows_train_like_numpy(backends, rng):
    X, y = rng.integers(0, 256, (300, 20)).astype("uint8"), rng.integers(0, 3, 300)
    network = {"preprocessing": xpnet.MinMax(0, 255, to=(-1, 1))}
    numpy, cupy = backends
    optimizer = comparable(numpy, lr=0.1)
    expected = train(numpy, (X, y), network, optimizer=optimizer)
    for engine in ("eager", "replay"):
        actual = train(cupy, (X, y), network, optimizer=optimizer, engine=engine)
        assert_near(actual[1:], expected[1:], numpy.dtype_name, steps=20)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("engine", ["eager", "replay"])
def test_streamed_rows_train_like_resident_rows(engine, dtype, backends, rng, tmp_path):
    X, y = rng.integers(0, 256, (300, 20)).astype(dtype), rng.integers(0, 3, 300)
    X.tofile(tmp_path / "X")
    mapped = np.memmap(tmp_path / "X", dtype, "r", shape=X.shape)
    network = {"preprocessing": xpnet.MinMax(0, 255, to=(-1, 1))}
    expected = train(backends[1], (X, y), network, engine=engine, epochs=3)
    actual = train(backends[1], (mapped, y), network, engine=engine, epochs=3)
    assert actual[0].engine.partition(":")[0] == engine
    assert_near(actual[1:], expected[1:], "float32", steps=1)


def test_two_runs_give_the_same_numbers(backends, task):
    first, second = (train(backends[1], task, {"batch_norm": True}) for _ in range(2))
    np.testing.assert_array_equal(first[1], second[1])


@pytest.mark.parametrize("m", [700, 40_000])
def test_batch_norm_over_several_blocks_agrees(m, backends, rng):
    arrays = [rng.normal(size=(m, 40)) + 5, rng.normal(size=(m, 40)), *rng.uniform(1, 2, (2, 40))]
    results = []
    for backend in backends:
        x, dy, scale, shift = (backend.asarray(array, backend.dtype) for array in arrays)
        ops, d_scale, d_shift = operations_for(x), backend.empty(40), backend.empty(40)
        y, x_hat, mean, var, _ = ops.batch_norm(x, scale, shift, 1e-3)
        dx = ops.batch_norm_backward(dy, x_hat, scale, var, 1e-3, d_scale, d_shift)
        results.append([to_numpy(array) for array in (y, mean, var, dx, d_scale, d_shift)])
    assert_near(results[1], results[0], backends[0].dtype_name, steps=20)


def test_indices_out_of_range_are_clipped(backends, rng):
    x, wild = rng.normal(size=(6, 4)), np.array([0, -1, 6, 10**12, -(10**12), 3])
    cupy = backends[1]
    there, labels = cupy.asarray(x, cupy.dtype), cupy.asarray(wild)
    ops = operations_for(there)
    taken = to_numpy(ops.take_rows(there, labels))
    np.testing.assert_array_equal(taken, to_numpy(there)[np.clip(wild, 0, 5)])
    ours, theirs = ops.softmax_cross_entropy(there, labels, 0.1), Operations(np)
    expected = theirs.softmax_cross_entropy(to_numpy(there), wild, 0.1)
    assert_near([to_numpy(a) for a in ours], expected, cupy.dtype_name, steps=1)


@pytest.mark.filterwarnings("ignore:the targets are far from the scale")
def test_fp16_trains_on_tiny_and_huge_gradients(backends, task):
    """Targets of 10⁴ overflow at the first loss scale; those of 10⁻⁴ vanish without one."""
    for size in (1e4, 1e-4):
        thetas = []
        for engine in ("eager", "replay"):
            model = MLP(20, [], 1, backend=backends[1])
            model.theta = np.zeros(21)
            settings = {"loss": xpnet.HalfMSE(), "optimizer": xpnet.Momentum(0.05, 0.5)}
            settings |= {"epochs": 20, "precision": "fp16", "engine": engine, "progress": False}
            history = model.fit(task[0], size * task[1].astype("float64"), **settings)
            assert history["loss"][-1] < 0.5 * history["loss"][0]
            thetas.append(to_numpy(model.theta) / size)
        assert_near(thetas[1:], thetas[:1], "float32", steps=100)


FACTORS = {
    "whole": ((65, 130), (130, 33), lambda x: x),
    "transposed": ((130, 65), (33, 130), lambda x: x.T),
    "columns of wider ones": ((65, 131), (130, 34), lambda x: x[:, :-1]),
}
NEAR = {"float32": 1e-5, "tf32": 2e-3, "bf16": 1e-2, "fp16": 2e-3}


@pytest.mark.parametrize("precision", NEAR)
@pytest.mark.parametrize("left", FACTORS)
@pytest.mark.parametrize("right", FACTORS)
def test_products_in_every_precision_agree(right, left, precision, backends, rng):
    (shape, _, cut_left), (_, other, cut_right) = FACTORS[left], FACTORS[right]
    given, cupy = (rng.random(shape), rng.random(other)), backends[1]
    there = [cupy.asarray(x, cupy.dtype) for x in given]
    a, b = cut_left(there[0]), cut_right(there[1])
    expected = cut_left(given[0]) @ cut_right(given[1])
    out = operations_for(a).at_precision(precision).matmul(a, b)
    np.testing.assert_allclose(to_numpy(out), expected, rtol=NEAR[precision])


SHAPES = [(64, 128, 32), (65, 131, 33), (1, 7, 5), (33, 1, 3), (5, 7, 1), (256, 784, 10)]


@pytest.mark.parametrize("precision", NEAR)
@pytest.mark.parametrize("odd", [0, 1], ids=["even addresses", "odd addresses"])
@pytest.mark.parametrize(("m", "k", "n"), SHAPES)
@pytest.mark.parametrize("rule", [activations.identity, activations.relu])
def test_fused_products_agree(rule, m, k, n, odd, precision, backends, rng):
    """With widths and addresses as in θ; a misaligned bias is left to a kernel."""
    sizes, cupy = {"x": (m, k), "weight": (k, n), "bias": (1, n), "dz": (m, n)}, backends[1]
    flat = cupy.asarray(rng.uniform(-1, 1, odd + sum(a * b for a, b in sizes.values())), cupy.dtype)
    given, at = {}, odd
    for name, (a, b) in sizes.items():
        given[name], at = flat[at : at + a * b].reshape(a, b), at + a * b
    x, weight, bias, dz = given["x"], given["weight"], given["bias"][0], given["dz"]
    ops, plain = operations_for(x).at_precision(precision), Operations(np)
    assert ops.product is not None
    rtol = {"float64": 1e-12, "float32": NEAR[precision]}[cupy.dtype_name]
    for aligned in (bias, bias.copy()):
        y = ops.affine_and_apply(rule, x, weight, aligned)
        expected = plain.affine_and_apply(rule, *map(to_numpy, (x, weight, bias)))
        np.testing.assert_allclose(to_numpy(y), expected, rtol=rtol, atol=rtol * k**0.5)
    d_weight, d_bias = cupy.empty(k, n), cupy.empty(n)
    ops.matmul_and_sum(x.T, dz, d_weight, d_bias)
    expected = to_numpy(x).T @ to_numpy(dz)
    np.testing.assert_allclose(to_numpy(d_weight), expected, rtol=rtol, atol=rtol * m**0.5)
    exact = {"float64": 1e-12, "float32": 1e-5}[cupy.dtype_name]  # in every precision
    np.testing.assert_allclose(
        to_numpy(d_bias), to_numpy(dz).sum(axis=0), rtol=exact, atol=exact * m**0.5
    )


@pytest.mark.parametrize("rule", [activations.identity, activations.relu])
def test_fused_products_keep_nan(rule, backends):
    """An exploding loss must be found, whichever algorithm the size of a product selects."""
    cupy = backends[1]
    for m, k, n in SHAPES:
        x = cupy.zeros(m, k)
        x[-1, -1] = np.nan
        y = operations_for(x).affine_and_apply(rule, x, cupy.zeros(k, n) + 1.0, cupy.zeros(n))
        assert np.isnan(to_numpy(y)[-1]).all()
        assert np.isfinite(to_numpy(y)[:-1]).all()


@pytest.mark.parametrize("hidden", [[32, 32], [33, 17]], ids=["even", "odd"])
@pytest.mark.parametrize("precision", NEAR)
def test_graph_with_epilogues_equals_eager_without(precision, hidden, backends, task, monkeypatch):
    """Two layers of one shape share a plan of cublasLt, but not their biases."""
    how = {"optimizer": xpnet.SGD(0.1), "precision": precision, "epochs": 2, "batch_size": 49}
    network = {"hidden": hidden}
    graph = train(backends[1], task, network, engine="replay", **how)
    eager = train(backends[1], task, network, engine="eager", **how)
    product = operations_for(backends[1].zeros(1)).at_precision(precision).product
    product = replace(product, epilogues=frozenset())
    monkeypatch.setattr(operations, "checked_product", lambda *given: product)
    without = train(backends[1], task, network, engine="eager", **how)
    assert graph[0].engine == "replay: a CUDA graph"
    dtype, steps = backends[1].dtype_name, 100 if precision in ("tf32", "bf16", "fp16") else 20
    assert_near(graph[1:], eager[1:], dtype, steps=20)
    assert_near(eager[1:], without[1:], dtype, steps=steps)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_graph_precision_equals_eager_precision(precision, backends, task):
    """The last batch is shorter, so that two graphs share the memory of rounded factors."""
    if backends[1].dtype_name == "float64":
        pytest.skip("float64 is not multiplied in fewer bits")
    how = {"precision": precision, "optimizer": xpnet.SGD(0.1), "epochs": 3}
    plain, graph = (train(backends[1], task, engine=e, **how) for e in ("eager", "replay"))
    assert (plain[0].engine, graph[0].engine) == ("eager", "replay: a CUDA graph")
    assert_near(graph[1:], plain[1:], "float32", steps=15)


@pytest.mark.parametrize("engine", ["eager", "replay"])
def test_exploding_loss_is_an_error(engine, backends, task):
    model = MLP(20, [33, 17], 3, backend=backends[1])
    before, dtype = to_numpy(model.theta).copy(), backends[1].dtype_name
    how = {"optimizer": xpnet.SGD(1e100 if dtype == "float64" else 1e30), "progress": False}
    with pytest.raises(xpnet.NonFiniteError, match="in epoch 1, step"):
        model.fit(*task, loss=CrossEntropy(), epochs=2, engine=engine, **how)
    np.testing.assert_array_equal(to_numpy(model.theta), before)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int32", "uint64"])
def test_label_dtypes_train_alike(kind, backends, task):
    data, optimizer = (task[0], (task[1] > 0).astype(kind)), comparable(backends[0], lr=0.1)
    expected, actual = (train(backend, data, optimizer=optimizer) for backend in backends)
    assert_near(actual[1:], expected[1:], backends[0].dtype_name, steps=20)
