"""Random networks of every layer, three deep, with every loss: the derivatives of PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.torch_layers import LAYERS, network, torch
from helpers.torch_losses import LOSSES, loss_of, mean_loss

from xpnet import SGD, Branches, Dense, Residual, Sequential, TrainingStep, derivatives, layers
from xpnet import losses as all_losses
from xpnet.engine.recorded_step import why_not_recorded

ROWS, N_IN, WIDTH, CALLS = 9, 3, 4, 10

KINDS = [name for name in LAYERS if hasattr(layers, name)]
KNOWN_LOSSES = [name for name in LOSSES if hasattr(all_losses, name.split()[0])]

needs_replay = pytest.mark.skipif(
    bool(why_not_recorded()), reason=f"no replay: {why_not_recorded()}"
)


def test_tables_hold_every_layer_and_loss():
    exported = {getattr(layers, name) for name in layers.__all__}
    exported -= {layers.Layer, layers.TangentLayer}
    kinds = {kind.__name__ for kind in exported if hasattr(kind, "backward")}
    assert kinds == {*KINDS}
    named = {name.split()[0] for name in KNOWN_LOSSES}
    assert {*all_losses.__all__} - {"Loss", "from_formula"} == named


def nested(rng, kind):
    """Layers of width `WIDTH`: those of ``kind`` inside three layers, with others beside them."""

    def beside():
        return LAYERS[rng.choice(KINDS)].layers(rng, WIDTH)

    row = restored(LAYERS[kind].layers(rng, WIDTH))
    for _ in range(3):
        outer = (
            lambda row: Residual(*row),
            lambda row: Residual(*restored(beside()), *row),
            lambda row: Branches(row, beside()),
            lambda row: Branches(restored(beside()), row, [], join="sum"),
            lambda row: Branches(beside(), [*row, Dense(2)], []),
        )[rng.integers(5)]
        row = restored([outer(row)])
    return row


def restored(row):
    """Layers with an output of width `WIDTH`."""
    n = WIDTH
    for layer in row:
        n = layer.specs(n).n_out
    return row if n == WIDTH else [*row, Dense(WIDTH)]


class Case:
    """A random network with a kind of layer in it, a loss, and rows for both."""

    def __init__(self, seed):
        rng = np.random.default_rng([2027, seed])
        self.kind = KINDS[seed % len(KINDS)]
        name = KNOWN_LOSSES[seed % len(KNOWN_LOSSES)]
        self.row, self.loss = LOSSES[name], loss_of(name)
        first = [Dense(WIDTH)] if rng.integers(2) else []
        n_in = N_IN if first else WIDTH
        self.layers = [*first, *nested(rng, self.kind), *self.row.last_layers()]
        self.X, self.y = rng.normal(size=(ROWS, n_in)), self.row.target(rng, ROWS)
        self.weight = rng.uniform(0.5, 2.0, ROWS) if rng.integers(2) else None
        self.model = self.new_model()
        self.dX, self.v = rng.normal(size=self.X.shape), rng.normal(size=self.model.theta.size)

    def new_model(self):
        """The network with random parameters, so that no scale is 1 and no shift is 0."""
        model = Sequential(self.layers, self.X.shape[1], dtype="float64", rng=1)
        model.theta[...] += 0.2 * np.random.default_rng(3).normal(size=model.theta.size)
        return model

    def batch(self, call):
        """Rows of a call: fewer in every third one, which then use the memory of more."""
        n = ROWS - 3 if call % 3 == 2 else ROWS
        return self.X[:n], self.y[:n], None if self.weight is None else self.weight[:n]

    def output(self, theta, X, *, step=0, seed=0, training=True):
        """The output in PyTorch."""
        return network(self.model, theta, X, seed=seed, step=step, training=training)

    def value(self, theta, X, y, weight=None, **settings):
        """The loss in PyTorch."""
        z, t = self.output(theta, torch.tensor(X), **settings), torch.tensor(y)
        t = t if t.ndim == 1 else t.to(z.dtype)
        w = None if weight is None else torch.tensor(weight)
        return mean_loss(self.row, self.loss, z, t, w)

    def gradient(self, theta, batch, step, seed):
        """The loss and its gradient in PyTorch."""
        at = torch.tensor(theta, requires_grad=True)
        value = self.value(at, *batch, step=step, seed=seed)
        value.backward()
        return value.item(), at.grad.numpy()


# As many as the table that is longer, twice: then a layer is in two networks at least.
every_case = pytest.mark.parametrize("seed", range(2 * max(len(KINDS), len(KNOWN_LOSSES))))


def close(actual, expected):
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9 * scale)


@every_case
def test_gradient_on_reused_memory_is_pytorchs(seed):
    case = Case(seed)
    model, masks = case.model, case.model.state.masks
    for call in range(1, CALLS + 1):
        X, y, weight = batch = case.batch(call)
        value, grad = model.value_and_grad(X, y, case.loss, weight=weight)
        if call in (1, CALLS):
            expected, expected_grad = case.gradient(model.theta, batch, call, masks.seed)
            assert float(value) == pytest.approx(expected, rel=1e-9, abs=1e-12)
            close(grad, expected_grad)


@needs_replay
@every_case
def test_replayed_gradient_is_pytorchs(seed):
    case = Case(seed)
    model = case.model
    step = TrainingStep(model, case.loss, SGD(1e-6), engine="replay")
    for call in range(1, CALLS + 1):
        X, y, weight = batch = case.batch(call)
        before = model.theta.copy()
        value = float(step(X, y, weight=weight))
        if call in (1, CALLS):
            expected = case.gradient(before, batch, call, model.state.masks.seed)
            assert value == pytest.approx(expected[0], rel=1e-9, abs=1e-12)
            close(model.grad, expected[1])
    assert step.engine == "replay: a list of compiled calls"


# `torch.func` imports a module that uses what PyTorch itself has deprecated.
@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
@every_case
def test_second_derivatives_are_pytorchs(seed):
    """The Hessian product by autograd of autograd, and the tangent of the output."""
    case, training = Case(seed), bool(seed % 4)
    model, settings = case.model, {"training": training, "seed": 4}
    if case.model.statistics.size and not training:
        model.value_and_grad(case.X, case.y, case.loss)  # statistics other than 0 and 1
    theta, v = (torch.tensor(x, requires_grad=True) for x in (model.theta, case.v))
    value = case.value(theta, case.X, case.y, case.weight, seed=4, training=training)
    (grad,) = torch.autograd.grad(value, theta, create_graph=True)
    (expected,) = torch.autograd.grad(grad @ v.detach(), theta)
    product = derivatives.hvp(
        model, case.X, case.y, case.loss, case.v, weight=case.weight, **settings
    )
    close(product, expected.numpy())
    primals = torch.tensor(model.theta), torch.tensor(case.X)
    tangents = torch.tensor(case.v), torch.tensor(case.dX)
    _, tangent = torch.func.jvp(
        lambda theta, X: case.output(theta, X, seed=4, training=training), primals, tangents
    )
    close(derivatives.jvp(model, case.X, case.dX, case.v, **settings), tangent.numpy())


def depth_of(kind, value, depth=0):
    """How many layers are around the innermost layer of a kind."""
    if isinstance(value, (list, tuple)):
        return max([depth_of(kind, each, depth) for each in value], default=-1)
    inside = getattr(value, "layers", getattr(value, "paths", ()))
    own = depth if type(value).__name__ == kind else -1
    return max(own, depth_of(kind, inside, depth + 1))


def test_cases_are_three_deep():
    for seed in range(len(KINDS)):
        case = Case(seed)
        assert depth_of(case.kind, case.layers) >= 3
