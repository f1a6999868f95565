"""Training steps allocate no arrays, repeat to the bit and share scratch memory safely."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest

import xpnet
from xpnet import (
    GELU,
    MLP,
    Activation,
    Adam,
    BatchNorm,
    CrossEntropy,
    Dense,
    Dropout,
    GatedDense,
    Identity,
    LayerNorm,
    Maxout,
    OrderedThresholds,
    PReLU,
    ReLU,
    RMSNorm,
    Scale,
    Sequential,
    Sigmoid,
    Tanh,
    Temperature,
    activations,
)
from xpnet.derivatives import gradient
from xpnet.engine.value_and_grad import ValueAndGrad
from xpnet.ops.operations import Operations
from xpnet.ops.select import why_not_compiled

NETWORKS = {
    "sigmoid": {"activation": Sigmoid()},
    "relu": {"activation": ReLU()},
    "batch norm": {"activation": ReLU(), "batch_norm": True},
    "dropout": {"activation": ReLU(), "dropout": 0.3},
}
networks = pytest.mark.parametrize("name", NETWORKS)


def data(rows=64, n_in=300):
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, n_in), dtype=np.float32), rng.integers(0, 10, rows)


@networks
def test_step_allocates_no_array_of_layer_size(name):
    """A layer output has 64 × 200 numbers, 51 kB; at most a fifth of it is allocated."""
    if why_not_compiled():
        pytest.skip(f"rules make arrays on their way: {why_not_compiled()}")
    model = MLP(300, [200, 200], 10, **NETWORKS[name])
    X, y = data()
    loss, optimizer = CrossEntropy(), Adam()
    state = optimizer.init(model.theta)
    value_and_grad = ValueAndGrad(model.state)

    def step():
        value_and_grad(loss, X, y)
        optimizer.step(model.theta, model.grad, state)

    step()
    tracemalloc.start()
    step()  # memory that the measurement itself keeps
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(3):
        step()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - before < 10_000


@networks
def test_same_seed_gives_the_same_bits(name):
    X, y = data(rows=500)
    thetas = []
    for _ in range(2):
        model = MLP(300, [50], 10, rng=3, **NETWORKS[name])
        settings = {"loss": CrossEntropy(), "optimizer": Adam(), "epochs": 2, "progress": False}
        model.fit(X, y, rng=4, **settings)
        thetas.append(model.theta)
    np.testing.assert_array_equal(thetas[0], thetas[1])


def test_number_of_threads_changes_only_rounding(monkeypatch):
    if why_not_compiled():
        pytest.skip(f"no loop has threads: {why_not_compiled()}")
    from xpnet.ops.cpu import runner, threads  # noqa: PLC0415

    X, y = data()
    found = []
    monkeypatch.setattr(runner, "MIN_PARALLEL_SIZE", 1000)
    for count in (1, 2, 3):
        monkeypatch.setattr(threads, "n_threads", lambda count=count: count)
        threads._pool.cache_clear()
        model = MLP(300, [200], 10)
        found.append((float(ValueAndGrad(model.state)(CrossEntropy(), X, y)), model.grad.copy()))
    threads._pool.cache_clear()
    for loss, grad in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-6)
        np.testing.assert_allclose(grad, found[0][1], rtol=1e-4, atol=1e-7)


# --- the memory of the backward pass --------------------------------------------------------------


@dataclass(frozen=True)
class Flip(activations.Identity):
    """``φ(z) = z`` reversed in each row; its backward pass returns a view of dy."""

    def forward(self, ops, z, out=None):
        return z[:, ::-1]

    def shifted(self, ops, z, bias, out=None):
        y = self.forward(ops, ops.shift(z, bias))
        return y, y

    def backward(self, ops, saved, dy, out=None):
        return dy[:, ::-1]

    def backward_and_sum(self, ops, saved, dy, sums, out=None):
        dz = self.backward(ops, saved, dy)
        sums[...] = ops.xp.sum(dz, axis=0)
        return dz


@dataclass(frozen=True)
class Turned(activations.Tanh):
    """A tanh with a backward pass that overwrites dy and returns a view of it."""

    def backward(self, ops, saved, dy, out=None):
        dy[...] = dy * (1.0 - saved * saved)
        return dy[...]

    def backward_and_sum(self, ops, saved, dy, sums, out=None):
        dz = self.backward(ops, saved, dy)
        sums[...] = ops.xp.sum(dz, axis=0)
        return dz


WAYS_BACK = {
    "narrower": [Dense(9, Tanh()), Dense(6, GELU()), Dense(3)],
    "wider": [Dense(4, Tanh()), Dense(6, ReLU()), Dense(9, Sigmoid()), Dense(3)],
    "linear": [Dense(5), Dense(5), Dense(5), Dense(5)],
    "linear between": [Dense(5, Tanh()), Dense(5), Dense(5, Tanh()), Dense(5), Dense(5)],
    "passed on": [
        *(Dense(5), Activation(activations.Identity()), Dense(5), Dropout(0.0), Dense(5, Tanh())),
        *(Activation(activations.Identity()), Dense(5), Dense(5)),
    ],
    "softmax": [Dense(5, activations.Softmax()), Dense(5, activations.Softmax()), Dense(5)],
    "batch norm": [
        Dense(5, bias=False),
        BatchNorm(),
        Activation(ReLU()),
        Dense(5, Tanh()),
        Dense(5),
    ],
    "every kind": [
        *(BatchNorm(), Dense(5, Tanh()), Dropout(0.4), Dense(5), BatchNorm(), Dense(5, Tanh())),
        *(Activation(Tanh()), Activation(ReLU()), Dropout(0.4), BatchNorm(), Dense(5)),
        *(Activation(Tanh()), Dropout(0.4), Dense(4), BatchNorm(), Activation(Tanh())),
    ],
    "views between": [
        *(Dense(5, Tanh()), Activation(Flip()), Dense(5), BatchNorm(), Activation(Flip())),
        *(Dropout(0.4), Activation(Turned()), Activation(Tanh()), Dense(5), Activation(Turned())),
        *(Dense(5), Activation(Flip()), BatchNorm(), Dense(5)),
    ],
    "temperature": [Dense(5, Tanh()), Temperature(2.0), Dense(5), Temperature(0.5)],
    "norms": [Dense(5), LayerNorm(), PReLU(), Dense(5), RMSNorm(), Scale(), LayerNorm(shift=False)],
    "gates": [GatedDense(5), GatedDense(6, Identity()), Maxout(5), Maxout(4, 3), GatedDense(2)],
    "thresholds": [Dense(5, Tanh()), Dense(1, bias=False), OrderedThresholds(3)],
    "a last activation": [Dense(5, Tanh()), Dense(5), Dense(5, Tanh())],
    "views": [Dense(5, Tanh()), Dense(5, Flip()), Dense(5, Flip()), Dense(5, Turned()), Dense(5)],
}


class Watched:
    """Operations with products that refuse to overwrite their factors, as in cuBLAS."""

    def __init__(self, ops):
        self.ops = ops

    affine_backward = Operations.affine_backward
    matmul_and_sum = Operations.matmul_and_sum

    def __getattr__(self, name):
        return getattr(self.ops, name)

    def matmul(self, a, b, out=None):
        read = [x for x in (a, b) if isinstance(out, np.ndarray)]
        assert not any(np.shares_memory(x, out) for x in read)
        return self.ops.matmul(a, b, out)


def takes_negative_steps(place):
    try:
        place.array(np.ones((1, 2)))[:, ::-1]
    except (IndexError, ValueError):
        return False
    return True


@pytest.mark.parametrize("name", WAYS_BACK)
def test_shared_scratch_changes_no_gradient(name, place):
    if "views" in name and not takes_negative_steps(place):
        pytest.skip("an index with a negative step is not supported")
    layers, rng = WAYS_BACK[name], np.random.default_rng(3)
    model = Sequential(layers, 5, backend=place.backend, rng=1)
    network, loss, grads = model.network, xpnet.HalfMSE(), []
    ways = [
        network.contexts(place.backend, model.statistics, training=True, reuse=reuse)
        for reuse in (True, False)
    ]
    for context in ways[0]:
        context.ops = Watched(context.ops)
    for m in (4, 7, 4):
        X, y = (place.writable(rng.normal(size=(m, n))) for n in (5, model.n_out))
        for contexts in ways:
            grad = place.writable(np.zeros(model.layout.size))
            p, g = network.by_layer(model.theta), network.by_layer(grad)
            output, saved = network.forward(p, X, contexts)
            network.backward(p, g, saved, loss.value_and_grad(output, y)[1], contexts)
            grads.append(place.host(grad))
        np.testing.assert_allclose(grads[-2], grads[-1], rtol=1e-12, atol=1e-14)
        assert np.abs(grads[-1]).max() > 0


def test_backward_pass_uses_two_scratch_arrays():
    """Each layer keeps its output; dz and dx are those of one layer at a time."""
    model = MLP(7, [6, 5, 5], 3)
    X, y = np.ones((4, 7), np.float32), np.zeros(4, int)
    value_and_grad = ValueAndGrad(model.state)
    value_and_grad(CrossEntropy(), X, y)
    numbers = sum(block.shape[0] for block in value_and_grad.blocks)
    assert numbers == 4 * ((6 + 5 + 5 + 3) + 3 + 6 + 6)


def test_scratch_does_not_grow_with_batch_norm():
    """Batch norm keeps x̂ too, and dropout its mask."""
    model = MLP(7, [6, 5, 5], 3, batch_norm=True, dropout=0.3)
    X, y = np.ones((4, 7), np.float32), np.zeros(4, int)
    value_and_grad = ValueAndGrad(model.state)
    value_and_grad(CrossEntropy(), X, y)
    numbers = sum(block.shape[0] for block in value_and_grad.blocks)
    kept = {"z": 1, "x̂, y": 2, "φ": 1, "mask, y": 2}
    assert numbers == 4 * (sum(kept.values()) * (6 + 5 + 5) + 3 + 3 + 6 + 6)


class Residual(Dense):
    """A user-defined layer around a Dense, which reads dy after the Dense's backward pass."""

    def forward(self, p, x, ctx):
        y, saved = super().forward(p, x, ctx)
        return x + y, saved

    def backward(self, p, g, saved, dy, ctx):
        return super().backward(p, g, saved, dy, ctx) + dy


@pytest.mark.parametrize("activation", [xpnet.Tanh(), xpnet.Identity()], ids=repr)
def test_layer_around_a_layer_keeps_its_dy(activation, rng):
    layers = [Dense(5, xpnet.Tanh()), Residual(5, activation), Residual(5, activation)]
    model = xpnet.Sequential([*layers, Dense(5, xpnet.Tanh()), Dense(3)], 4, dtype="float64")
    X, y = rng.normal(size=(6, 4)), np.arange(6) % 3
    for _ in range(2):
        _, grad = model.value_and_grad(X, y, CrossEntropy())
    one_by_one = gradient(model, X, y, CrossEntropy())
    np.testing.assert_allclose(grad, one_by_one, rtol=1e-11, atol=1e-13)


def test_blocks_hold_the_shared_scratch():
    model = xpnet.Sequential([xpnet.Dropout(0.5), Dense(6, xpnet.Tanh()), Dense(3)], 4)
    value_and_grad = ValueAndGrad(model.state)
    value_and_grad(CrossEntropy(), np.ones((5, 4), np.float32), np.zeros(5, int))
    shared = value_and_grad._contexts[1].scratch
    assert shared.blocks
    assert {id(b) for b in shared.blocks} <= {id(b) for b in value_and_grad.blocks}


@pytest.mark.parametrize("model", [MLP(2, [], 2).network, np.zeros(3), None])
def test_training_step_refuses_what_is_no_model(model):
    with pytest.raises(xpnet.ArgumentError, match="model must be a model with parameters"):
        xpnet.TrainingStep(model, CrossEntropy(), xpnet.SGD())
