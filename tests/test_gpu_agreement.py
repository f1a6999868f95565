"""Steps and initial weights on a device equal those of NumPy, for every part of xpnet."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.training_cases import LOSSES, OPTIMIZERS, targets, width_of

import xpnet
from xpnet import MLP, CrossEntropy, Dense, Sequential, initializers, losses, optimizers, to_numpy
from xpnet.backend import get_backend

INITIALIZERS = [
    *(initializers.Zeros(), initializers.Ones(), initializers.Constant(0.5)),
    *(initializers.Uniform(0.2), initializers.Normal(0.1), initializers.Normal(0.1, True)),
    *(initializers.LecunUniform(), initializers.LecunNormal(), initializers.GlorotUniform()),
    *(initializers.GlorotNormal(), initializers.HeUniform(), initializers.HeNormal()),
    *(initializers.FanInUniform(), initializers.Orthogonal()),
]
NEAR = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture
def there(cuda):
    return get_backend("cupy", dtype="float32")


@pytest.fixture
def here():
    return get_backend("numpy", dtype="float32")


def test_tables_hold_every_part():
    def kinds(module, root):
        found = {x for x in vars(module).values() if isinstance(x, type) and issubclass(x, root)}
        return {kind for kind in found - {root} if not kind.__name__.startswith("_")}

    assert kinds(losses, losses.Loss) == {type(x) for x in LOSSES}
    assert kinds(initializers, initializers.Initializer) == {type(x) for x in INITIALIZERS}
    left_out = kinds(optimizers, optimizers.Optimizer) - {type(x) for x in OPTIMIZERS}
    assert {kind.__name__ for kind in left_out} == {
        "Frozen",
        "Resumed",
    }  # they wrap another optimizer


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_optimizer_steps_equal_numpy(optimizer, here, there, rng):
    """Two steps of different gradients, so that states are not zero."""
    layout = MLP(20, [10], 3).layout
    theta, *grads = rng.normal(size=(3, layout.size))
    ends = []
    for backend in (here, there):
        mine = backend.asarray(theta, backend.dtype)
        state = optimizer.init(mine, layout)
        for grad in grads:
            optimizer.step(mine, backend.asarray(grad, backend.dtype), state)
        ends.append([to_numpy(array) for array in (mine, *state.slots)])
    for actual, expected in zip(*reversed(ends), strict=True):
        np.testing.assert_allclose(actual, expected, **NEAR)


@pytest.mark.gpu
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_loss_steps_equal_numpy(loss, here, there, rng):
    n_out = width_of(loss, 2)
    y = targets(rng, loss, n_out, rows=64)
    X, weight, ends = rng.normal(size=(64, 20)), rng.uniform(0.5, 2, 64), []
    for backend in (here, there):
        model = MLP(20, [16], n_out, backend=backend, activation=xpnet.Tanh())
        how = {"optimizer": xpnet.SGD(0.1), "sample_weight": weight, "batch_size": 64}
        history = model.fit(X, y, loss=loss, epochs=1, engine="eager", progress=False, **how)
        ends.append([*to_numpy(model.theta), *history["loss"]])
    np.testing.assert_allclose(ends[1], ends[0], **NEAR)


@pytest.mark.gpu
@pytest.mark.parametrize("init", INITIALIZERS, ids=repr)
def test_initial_weights_equal_numpy(init, here, there):
    layers = [Dense(16, xpnet.Tanh(), weight_init=init), Dense(3, weight_init=init)]
    ours, theirs = (to_numpy(Sequential(layers, 20, backend=b, rng=7).theta) for b in (there, here))
    np.testing.assert_array_equal(ours, theirs)


def test_another_loss_gives_another_step(here, rng):
    """So the cases above can find a difference."""
    X, y, thetas = rng.normal(size=(64, 20)), rng.integers(0, 2, 64), []
    for smoothing in (0.0, 0.1):
        model = MLP(20, [16], 2, backend=here)
        loss = CrossEntropy(label_smoothing=smoothing)
        model.fit(X, y, loss=loss, optimizer=xpnet.SGD(0.1), epochs=1, progress=False)
        thetas.append(to_numpy(model.theta).copy())
    assert not np.allclose(*thetas, **NEAR)
