"""Layers with trained parameters of their own beside PyTorch, on every backend."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import (
    GELU,
    Dense,
    GatedDense,
    Identity,
    Maxout,
    OrderedThresholds,
    PReLU,
    ReLU,
    Scale,
    Sequential,
    Sigmoid,
    SiLU,
)
from xpnet.layers import Context
from xpnet.ops import operations_for

M, N, UNITS = 7, 5, 4


def glu(torch, gate):
    """``glu`` of PyTorch for the sigmoid; the papers' formula for other gates."""

    def layer(x, p):
        z = x @ p["weight"] + p.get("bias", 0.0)
        v = x @ p["gate_weight"] + p.get("gate_bias", 0.0)
        if gate is torch.sigmoid:
            return torch.nn.functional.glu(torch.cat([z, v], dim=1), dim=1)
        return z * gate(v)

    return layer


def maxout(x, p):
    z = x @ p["weight"] + p["bias"]
    return z.reshape(len(x), -1, UNITS).max(dim=1).values


def thresholds(torch):
    def layer(x, p):
        gaps = torch.nn.functional.softplus(p["gaps"])
        return x - torch.cat([p["first"], p["first"] + gaps.cumsum(0)])

    return layer


def peers(torch):
    """Each layer, and the function of the input and the parameters that PyTorch differentiates."""
    functional = torch.nn.functional
    gates = {Sigmoid(): torch.sigmoid, ReLU(): torch.relu, SiLU(): functional.silu}
    gates |= {GELU(): functional.gelu, Identity(): lambda v: v}
    return {
        **{GatedDense(UNITS, gate): glu(torch, peer) for gate, peer in gates.items()},
        GatedDense(UNITS, bias=False): glu(torch, torch.sigmoid),
        PReLU(): lambda x, p: functional.prelu(x, p["slope"]),
        Scale(): lambda x, p: x * p["scale"],
        Maxout(UNITS): maxout,
        Maxout(UNITS, n_pieces=5): maxout,
        OrderedThresholds(UNITS): thresholds(torch),
    }


N_LAYERS = 11


def test_table_of_peers_is_complete(torch):
    assert len(peers(torch)) == N_LAYERS


@pytest.mark.parametrize("index", range(N_LAYERS))
def test_layer_equals_pytorch(index, torch, place, rng):
    layer, peer = list(peers(torch).items())[index]
    n_in = 1 if isinstance(layer, OrderedThresholds) else N
    x = rng.normal(size=(M, n_in))
    p = {spec.name: rng.normal(size=spec.shape) for spec in layer.specs(n_in).parameters}
    dy = rng.normal(size=(M, layer.specs(n_in).n_out))
    theirs = {k: torch.tensor(v, requires_grad=True) for k, v in {**p, "x": x}.items()}
    expected = peer(theirs["x"], theirs)
    expected.backward(torch.tensor(dy))

    views, ours = {k: place.array(v) for k, v in p.items()}, place.array(x)
    g = {k: place.writable(np.full(v.shape, np.nan)) for k, v in p.items()}
    ctx = Context(operations_for(ours), memory=place.backend)
    for _ in range(2):  # the second pass on the memory of the first
        ctx.begin_pass()
        y, saved = layer.forward(views, ours, ctx)
        g["x"] = layer.backward(views, g, saved, place.array(dy), ctx)
        np.testing.assert_allclose(place.host(y), expected.detach().numpy(), rtol=1e-11, atol=1e-12)
        for key, value in theirs.items():
            exact = value.grad.numpy()
            np.testing.assert_allclose(place.host(g[key]), exact, rtol=1e-9, atol=1e-10)


def test_prelu_has_the_slope_at_zero(torch):
    x = np.array([[0.0, -0.0, 1e-300, -1e-300]])
    ctx, p, g = Context(operations_for(x)), {"slope": np.full(4, 0.25)}, {"slope": np.empty(4)}
    _, saved = PReLU().forward(p, x, ctx)
    np.testing.assert_array_equal(
        PReLU().backward(p, g, saved, np.ones((1, 4)), ctx), [[0.25, 0.25, 1.0, 0.25]]
    )
    np.testing.assert_array_equal(g["slope"], [0, 0, 0, -1e-300])


def test_first_of_equal_pieces_has_the_gradient():
    layer, x = Maxout(1, n_pieces=3), np.ones((1, 1))
    p = {"weight": np.array([[1.0, 2.0, 2.0]]), "bias": np.zeros(3)}
    g, ctx = {k: np.empty_like(v) for k, v in p.items()}, Context(operations_for(x))
    _, saved = layer.forward(p, x, ctx)
    assert layer.backward(p, g, saved, np.ones((1, 1)), ctx).tolist() == [[2.0]]
    assert g["weight"].tolist() == [[0.0, 1.0, 0.0]]


def test_two_pieces_keep_the_mean_square(rng):
    """With the default initializer, for inputs of mean 0 and variance 1."""
    model = Sequential([Maxout(2000)], 400, dtype="float64", rng=0)
    y = model.forward(rng.normal(size=(50, 400)))
    assert np.mean(y * y) == pytest.approx(1.0, rel=0.03)


@pytest.mark.parametrize("spacing", [1e-6, 0.3, 1.0, 50.0, 1e6])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_thresholds_start_evenly_around_zero(spacing, n):
    model = Sequential([OrderedThresholds(n, spacing)], 1, dtype="float64")
    found = -model.forward(np.zeros((1, 1)))[0]
    expected = spacing * (np.arange(n) - (n - 1) / 2)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-15)


def test_thresholds_stay_ordered_for_any_parameters(place, rng):
    model = Sequential([Dense(1), OrderedThresholds(6)], 3, backend=place.backend)
    model.theta[...] = place.array(10 * rng.normal(size=model.theta.shape))
    z = place.host(model.forward(place.array(rng.normal(size=(20, 3)))))
    assert (np.diff(z, axis=1) < 0).all()


def test_weights_alone_are_penalized():
    """Slopes, scales and thresholds have no role of a weight."""
    for layer in (PReLU(), Scale(), OrderedThresholds(3)):
        assert not any(spec.role == "weight" for spec in layer.specs(1).parameters)
    assert [s.role for s in GatedDense(2).specs(3).parameters] == ["weight", "bias"] * 2


def test_gate_has_the_initializers_of_dense():
    values, _, gate, _ = GatedDense(6, ReLU()).specs(4).parameters
    assert values.init == Dense(6).specs(4).parameters[0].init
    assert gate.init == Dense(6, ReLU()).specs(4).parameters[0].init
