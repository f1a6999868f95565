"""Layer norm and RMS norm beside PyTorch, their accuracy, and rows without a variance."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import ArgumentError, LayerNorm, RMSNorm
from xpnet.initializers import Zeros
from xpnet.layers import Context
from xpnet.ops import operations_for

M = 6
WIDTHS = [1, 2, 33, 700, 2100]
NORMS = {"layer norm": LayerNorm(), "RMS norm": RMSNorm(), "no shift": LayerNorm(shift=False)}
norms = pytest.mark.parametrize("name", NORMS)


def case(rng, layer, n, mean=0.0):
    """An input, the parameters and ``dy``."""
    p = {spec.name: rng.normal(1, 0.3, n) for spec in layer.specs(n).parameters}
    return mean + rng.normal(size=(M, n)), p, rng.normal(size=(M, n))


def run(layer, place, x, p, dy):
    """The output, and the gradients by name, on the host."""
    p, x = {k: place.writable(v) for k, v in p.items()}, place.array(x)
    g = {k: place.writable(np.full(v.shape, np.nan)) for k, v in p.items()}
    ctx = Context(operations_for(x))
    y, saved = layer.forward(p, x, ctx)
    g["x"] = layer.backward(p, g, saved, place.array(dy), ctx)
    return place.host(y), {k: place.host(v) for k, v in g.items()}


def by_torch(torch, layer, x, p, dy, dtype):
    """The output and the gradients of PyTorch."""
    x, dy = (torch.tensor(a, dtype=dtype) for a in (x, dy))
    p = {k: torch.tensor(v, dtype=dtype, requires_grad=True) for k, v in p.items()}
    x.requires_grad_()
    functional = torch.nn.functional
    if isinstance(layer, RMSNorm):
        y = functional.rms_norm(x, x.shape[1:], p["scale"], layer.eps)
    else:
        y = functional.layer_norm(x, x.shape[1:], p["scale"], p.get("shift"), layer.eps)
    y.backward(dy)
    grads = {k: v.grad.numpy() for k, v in {**p, "x": x}.items()}
    return y.detach().numpy(), grads


@norms
@pytest.mark.parametrize("n", WIDTHS)
def test_row_norms_equal_pytorch(name, n, torch, place, rng):
    given = case(rng, NORMS[name], n)
    y, grads = run(NORMS[name], place, *given)
    expected, exact = by_torch(torch, NORMS[name], *given, torch.float64)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    assert grads.keys() == exact.keys()
    for key, value in exact.items():
        np.testing.assert_allclose(grads[key], value, rtol=1e-9, atol=1e-9, err_msg=key)


@norms
@pytest.mark.parametrize("mean", [0.0, 1e4, -1e6])
def test_float32_is_accurate_to_rounding(name, mean, place32, torch, rng):
    """Also where the mean is 10⁶ σ: a rounded mean alone would lose 0.03 σ."""
    x, p, dy = case(rng, NORMS[name], 300, mean)
    x, dy = x.astype("float32"), dy.astype("float32")
    p = {k: v.astype("float32") for k, v in p.items()}
    y, grads = run(NORMS[name], place32, x, p, dy)
    expected, exact = by_torch(torch, NORMS[name], x, p, dy, torch.float64)
    eps = np.finfo("float32").eps
    for actual, right in [(y, expected), *((grads[k], exact[k]) for k in exact)]:
        assert actual.dtype == np.float32
        assert np.abs(actual - right).max() <= 6 * eps * np.abs(right).max()


@norms
@pytest.mark.parametrize("value", [0.0, 5.0, 1e6, -1e-30])
@pytest.mark.parametrize("n", [1, 8])
def test_rows_of_equal_numbers_are_finite(name, value, n, place32, rng):
    layer, (_, p, dy) = NORMS[name], case(rng, NORMS[name], n)
    y, grads = run(layer, place32, np.full((M, n), value), p, dy)
    assert all(np.isfinite(array).all() for array in (y, *grads.values()))
    if isinstance(layer, LayerNorm):
        np.testing.assert_array_equal(
            y, np.broadcast_to(p.get("shift", np.zeros(n)), (M, n)).astype("f")
        )
        np.testing.assert_array_equal(grads["scale"], 0)
        if n == 1:
            np.testing.assert_array_equal(grads["x"], 0)


def test_rows_of_two_neighbours_are_normalized(place32):
    """The variance is a quarter of the squared distance, and no difference of large numbers."""
    low = np.float32(1e6)
    x = np.where(np.arange(64) % 2, np.nextafter(low, np.float32(2e6)), low)[None, :]
    p = {"scale": place32.array(np.ones(64)), "shift": place32.array(np.zeros(64))}
    given = place32.array(x)
    y, _ = LayerNorm(eps=1e-12).forward(p, given, Context(operations_for(given)))
    np.testing.assert_allclose(np.abs(place32.host(y)), 1.0, rtol=1e-5)


@pytest.mark.parametrize("layer", [LayerNorm, RMSNorm])
def test_bad_settings_of_row_norms_are_refused(layer):
    for eps in (0.0, -1.0, float("nan"), "1e-5"):
        with pytest.raises(ArgumentError, match=r"^eps must be a finite number, above 0; got"):
            layer(eps=eps)
    with pytest.raises(ArgumentError, match=r"^scale_init must be an Initializer; got 1\.0"):
        layer(scale_init=1.0)
    with pytest.raises(ArgumentError, match=r"^shift must be a bool; got None"):
        LayerNorm(shift=None)


def test_scale_init_of_zeros_gives_the_shift():
    (scale, _) = LayerNorm(scale_init=Zeros()).specs(3).parameters
    np.testing.assert_array_equal(scale.init.draw(np.random.default_rng(0), scale.shape), 0)
