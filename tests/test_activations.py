"""Activations: compared with PyTorch and differences, on every backend, at extreme values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet import activations
from xpnet.activations import (
    ELU,
    GELU,
    SELU,
    ActivationFunction,
    Affine,
    Exponential,
    GELUTanh,
    HardSigmoid,
    Identity,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Step,
    Tanh,
    from_formula,
)
from xpnet.errors import ArgumentError
from xpnet.ops import operations_for

# The activation, the same in PyTorch, and its limits: φ(-∞), φ(∞), φ'(-∞), φ'(∞).
INF = math.inf
TABLE = {
    "identity": (Identity(), lambda F, z: z, (-INF, INF, 1, 1)),
    "affine": (Affine(2, -0.5), lambda F, z: 2 * z - 0.5, (-INF, INF, 2, 2)),
    "sigmoid": (Sigmoid(), lambda F, z: F.sigmoid(z), (0, 1, 0, 0)),
    "tanh": (Tanh(), lambda F, z: F.tanh(z), (-1, 1, 0, 0)),
    "relu": (ReLU(), lambda F, z: F.relu(z), (0, INF, 0, 1)),
    "leaky_relu": (LeakyReLU(0.1), lambda F, z: F.leaky_relu(z, 0.1), (-INF, INF, 0.1, 1)),
    "elu": (ELU(0.7), lambda F, z: F.elu(z, 0.7), (-0.7, INF, 0, 1)),
    "selu": (
        SELU(),
        lambda F, z: F.selu(z),
        (-1.0507009873554805 * 1.6732632423543772, INF, 0, 1.0507009873554805),
    ),
    "softplus": (Softplus(), lambda F, z: F.softplus(z, threshold=1000), (0, INF, 0, 1)),
    "gelu": (GELU(), lambda F, z: F.gelu(z), (0, INF, 0, 1)),
    "gelu_tanh": (GELUTanh(), lambda F, z: F.gelu(z, approximate="tanh"), (0, INF, 0, 1)),
    "silu": (SiLU(), lambda F, z: F.silu(z), (0, INF, 0, 1)),
    "hard_sigmoid": (HardSigmoid(), lambda F, z: (0.2 * z + 0.5).clamp(0, 1), (0, 1, 0, 0)),
    "exponential": (Exponential(), lambda F, z: z.exp(), (0, INF, 0, INF)),
    "sigmoid by a formula": (
        from_formula(lambda xp, z: 1 / (1 + xp.exp(-z)), name="sigmoid"),
        lambda F, z: F.sigmoid(z),
        (0, 1, 0, 0),
    ),
    "elu by a formula": (
        from_formula(
            lambda xp, z, alpha: xp.where(z > 0, z, alpha * (xp.exp(z) - 1)), name="elu", alpha=0.7
        ),
        lambda F, z: F.elu(z, 0.7),
        (-0.7, INF, 0, 1),
    ),
    "gompertz by a formula": (
        from_formula(lambda xp, z: xp.exp(-xp.exp(-z)), name="gompertz"),
        lambda F, z: (-(-z).exp()).exp(),
        (0, 1, 0, 0),
    ),
    "softmax": (Softmax(), lambda F, z: F.softmax(z, dim=1), None),
}
ELEMENTWISE = {name: row for name, row in TABLE.items() if name != "softmax"}
every_activation = pytest.mark.parametrize("name", TABLE)
every_elementwise = pytest.mark.parametrize("name", ELEMENTWISE)

KINKS = (0.0, -2.5, 2.5)


@pytest.fixture
def z(rng: np.random.Generator) -> np.ndarray:
    """Return numbers of both signs, none within 0.01 of a kink."""
    z = rng.normal(scale=3.0, size=(6, 5))
    for kink in KINKS:
        z = np.where(np.abs(z - kink) < 0.01, kink + 0.3, z)
    return z


@pytest.fixture
def dy(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(6, 5))


def forward_and_saved(phi: ActivationFunction, z):
    saved, a = phi.kept(operations_for(z), z)
    return a, saved


# --- values ---------------------------------------------------------------------------------------


def test_table_holds_every_activation():
    kinds = {getattr(activations, name) for name in activations.__all__}
    left_out = kinds - {type(phi) for phi, _, _ in TABLE.values()}
    assert left_out == {ActivationFunction, Step}  # a step has no derivative


@every_activation
def test_value_and_gradient_agree_with_pytorch(name, z, dy, torch):
    phi, other, _ = TABLE[name]
    leaf = torch.tensor(z, requires_grad=True)
    expected = other(torch.nn.functional, leaf)
    expected.backward(torch.tensor(dy))
    a, saved = forward_and_saved(phi, z)
    dz = phi.backward(operations_for(z), saved, dy)
    np.testing.assert_allclose(a, expected.detach().numpy(), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(dz, leaf.grad.numpy(), rtol=1e-10, atol=1e-10)


SMOOTH = [n for n in TABLE if n not in ("relu", "leaky_relu", "elu", "selu", "hard_sigmoid")]


@pytest.mark.parametrize("name", TABLE)
def test_pytorch_differentiates_an_activation(name, torch):
    """Three times, also at 0, where a smooth rule is written by functions with a kink."""
    phi, other, _ = TABLE[name]
    points = [-12.0, -3.3, -1.0, -1e-3, 1e-3, 0.7, 3.1, 12.0]
    if name in SMOOTH and "elu by" not in name:
        points += [0.0, -0.0]
    leaf = torch.tensor([points], dtype=torch.float64, requires_grad=True)
    u = torch.cos(torch.arange(len(points), dtype=torch.float64))[None, :]
    found, expected = phi.forward(operations_for(leaf), leaf), other(torch.nn.functional, leaf)
    for _ in range(4):
        np.testing.assert_allclose(
            found.detach().numpy(), expected.detach().numpy(), rtol=1e-12, atol=1e-12
        )
        if not (found.requires_grad and expected.requires_grad):
            break
        found, expected = (
            torch.autograd.grad(each, leaf, u, create_graph=True)[0] for each in (found, expected)
        )


@every_activation
def test_autograd_agrees_with_backward(name, torch):
    """Also at the kinks, where both have the slope of one side."""
    far = 30.0 if name.endswith("formula") else 900.0  # beyond it a formula may overflow
    phi, points = TABLE[name][0], [*KINKS[:2], -0.0, -1.0, 0.3, far, -far]
    leaf = torch.tensor([points], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(phi.forward(operations_for(leaf), leaf).sum(), leaf)
    z = leaf.detach()
    _, saved = forward_and_saved(phi, z)
    expected = phi.backward(operations_for(z), saved, torch.ones_like(z))
    np.testing.assert_allclose(slope.numpy(), expected.numpy(), rtol=1e-12, atol=1e-12)


@every_activation
def test_backward_and_jvp_agree_with_differences(name, z, dy):
    phi, ops = TABLE[name][0], operations_for(z)
    _, saved = forward_and_saved(phi, z)
    h = 1e-5
    slope = (phi.forward(ops, z + h * dy) - phi.forward(ops, z - h * dy)) / (2 * h)
    np.testing.assert_allclose(phi.jvp(ops, saved, dy), slope, rtol=1e-6, atol=1e-8)
    v = np.cos(np.arange(30.0)).reshape(6, 5)
    assert np.sum(phi.backward(ops, saved, v) * dy) == pytest.approx(np.sum(v * slope), rel=1e-6)


@every_activation
def test_backward_jvp_agrees_with_differences(name, z, dy, place):
    phi, rng = TABLE[name][0], np.random.default_rng(3)
    dz, ddy = rng.normal(size=z.shape), rng.normal(size=z.shape)
    ops, h = operations_for(z), 1e-5
    ends = [phi.backward(ops, forward_and_saved(phi, z + s * dz)[1], dy + s * ddy) for s in (h, -h)]
    x, v = place.array(z), place.array(dy)
    there = operations_for(x)
    _, saved = forward_and_saved(phi, x)
    dsaved = phi.jvp(there, saved, place.array(dz))
    dsaved = dsaved if phi.saves == "output" else place.array(dz)
    back, tangent = phi.backward_jvp(there, saved, dsaved, v, place.array(ddy))
    expected = (ends[0] - ends[1]) / (2 * h)
    np.testing.assert_allclose(place.host(tangent), expected, rtol=1e-6, atol=1e-8)
    right = phi.backward(ops, forward_and_saved(phi, z)[1], dy)
    np.testing.assert_allclose(place.host(back), right, rtol=1e-12, atol=1e-12)
    _, still = phi.backward_jvp(there, saved, None, v, place.array(ddy))
    right = phi.backward(ops, forward_and_saved(phi, z)[1], ddy)
    np.testing.assert_allclose(place.host(still), right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [100.0, 1e4, 1e30])
@every_elementwise
def test_second_derivatives_do_not_overflow(name, size, dtype):
    phi = ELEMENTWISE[name][0]
    z = np.array([[-size, size]], dtype=dtype)
    z = np.minimum(z, 0) if name == "exponential" else z
    one = np.ones_like(z)
    _, saved = forward_and_saved(phi, z)
    dsaved = one if phi.saves == "input" else phi.jvp(operations_for(z), saved, one)
    _, tangent = phi.backward_jvp(operations_for(z), saved, dsaved, one, 0 * one)
    assert tangent.dtype == z.dtype
    expected = [[0.0, 1.0]] if name == "exponential" else 0.0
    np.testing.assert_allclose(tangent, expected, atol=1e-6)


def test_activation_without_curvature_is_refused(z, dy):
    class Cube(ActivationFunction):
        value = staticmethod(lambda xp, z: z**3)
        derivative = staticmethod(lambda xp, z: 3 * z * z)
        saves = "input"

    message = (
        r"must have a rule curvature for second derivatives, None if φ'' is 0; got Cube\(\)\.$"
    )
    with pytest.raises(ArgumentError, match=message):
        Cube().backward_jvp(operations_for(z), z, z, dy, dy)


def test_gelu_is_accurate_in_the_left_tail():
    z = np.array([[-9.0, -20.0, -37.0]])
    expected = [[0.5 * x * math.erfc(-x * math.sqrt(0.5)) for x in z[0]]]
    np.testing.assert_allclose(GELU().forward(operations_for(z), z), expected, rtol=1e-12)


def test_step_is_zero_at_zero():
    z = np.array([[-2.0, -0.0, 0.0, 1e-300]])
    np.testing.assert_array_equal(Step().forward(operations_for(z), z), [[0, 0, 0, 1]])


@pytest.mark.parametrize(("phi", "at_zero"), [(ReLU(), 0), (LeakyReLU(0.1), 0.1), (ELU(0.7), 0.7)])
def test_derivative_at_a_kink_is_that_of_the_left(phi, at_zero):
    z = np.zeros((1, 1))
    _, saved = forward_and_saved(phi, z)
    assert phi.backward(operations_for(z), saved, np.ones((1, 1)))[0, 0] == at_zero


# --- backends -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*TABLE, "step"])
def test_backends_agree_with_numpy(name, z, dy, place):
    check_place(TABLE[name][0] if name in TABLE else Step(), z, dy, place, 1e-12)


@pytest.mark.parametrize("name", [*TABLE, "step"])
def test_float32_is_preserved_on_every_backend(name, z, dy, place32):
    check_place(TABLE[name][0] if name in TABLE else Step(), z, dy, place32, 1e-5)


def check_place(phi, z, dy, place, tolerance):
    x, v = place.array(z), place.array(dy)
    ops = operations_for(x)
    a, saved = forward_and_saved(phi, x)
    expected, expected_saved = forward_and_saved(phi, z)
    pairs = [(a, expected)]
    if phi != Step():
        dz = phi.backward(operations_for(z), expected_saved, dy)
        pairs += [(phi.backward(ops, saved, v), dz), (phi.jvp(ops, saved, v), dz)]
    for got, right in pairs:
        assert got.dtype == place.backend.dtype
        np.testing.assert_allclose(place.host(got), right, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", TABLE)
def test_out_may_be_the_input(name, z, dy, place):
    phi = TABLE[name][0]
    x, v = place.writable(z), place.writable(dy)
    ops = operations_for(x)
    kept, a = phi.kept(ops, x, out=x if phi.saves == "output" else place.writable(z), scratch=x)
    dz = phi.backward(ops, kept, v, out=v)
    expected, saved = forward_and_saved(phi, z)
    np.testing.assert_allclose(place.host(a), expected, rtol=1e-12, atol=1e-12)
    right = phi.backward(operations_for(z), saved, dy)
    np.testing.assert_allclose(place.host(dz), right, rtol=1e-12, atol=1e-12)


# --- extreme values -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_elementwise
def test_limits_at_infinity(name, dtype):
    phi, _, (left, right, slope_left, slope_right) = ELEMENTWISE[name]
    z = np.array([[-INF, INF]], dtype=dtype)
    a, saved = forward_and_saved(phi, z)
    slopes = phi.backward(operations_for(z), saved, np.ones_like(z))
    np.testing.assert_allclose(a, [[left, right]], rtol=1e-6)
    np.testing.assert_allclose(slopes, [[slope_left, slope_right]], rtol=1e-6, atol=2e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [100.0, 1e4, 1e30])
@every_elementwise
def test_large_inputs_do_not_overflow(name, size, dtype):
    phi, _, (_, _, slope_left, slope_right) = ELEMENTWISE[name]
    z = np.array([[-size, size]], dtype=dtype)
    if name == "exponential":
        z = -np.abs(z)
        slope_right = 0
    a, saved = forward_and_saved(phi, z)
    slopes = phi.backward(operations_for(z), saved, np.ones_like(z))
    assert np.all(np.isfinite(a))
    np.testing.assert_allclose(slopes, [[slope_left, slope_right]], rtol=1e-6, atol=2e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softmax_of_large_inputs(dtype):
    z = np.array([[1e4, -1e4, 1e4], [-INF, 0.0, 0.0]], dtype=dtype)
    a = Softmax().forward(operations_for(z), z)
    np.testing.assert_array_equal(a, [[0.5, 0, 0.5], [0, 0.5, 0.5]])


@pytest.mark.parametrize("name", [*ELEMENTWISE, "step"])
def test_nan_propagates(name, place):
    phi = TABLE[name][0] if name in TABLE else Step()
    z = place.array([[math.nan, 1.0]])
    a = place.host(phi.forward(operations_for(z), z))
    assert np.isnan(a).tolist() == [[True, False]]


rows = st.lists(st.floats(-700, 700), min_size=1, max_size=8)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(rows)
def test_activations_have_their_symmetries(row):
    z = np.array([row])
    ops = operations_for(z)

    def at(phi, x):
        return phi.forward(ops, x)

    np.testing.assert_allclose(at(Sigmoid(), z) + at(Sigmoid(), -z), 1.0, rtol=1e-15)
    np.testing.assert_allclose(at(Softplus(), z) - at(Softplus(), -z), z, atol=1e-12)
    for gated in (GELU(), GELUTanh(), SiLU()):
        np.testing.assert_allclose(at(gated, z) - at(gated, -z), z, rtol=1e-14, atol=1e-300)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(rows, st.floats(-1e3, 1e3))
def test_softmax_is_invariant_under_a_shift(row, shift):
    z = np.array([row])
    ops = operations_for(z)
    a = Softmax().forward(ops, z)
    assert a.min() >= 0
    assert a.sum() == pytest.approx(1)
    np.testing.assert_allclose(a, Softmax().forward(ops, z + shift), rtol=1e-9, atol=1e-12)


# --- as dataclasses -------------------------------------------------------------------------------


def test_activations_read_nothing_to_the_host(torch):
    z = torch.zeros((3, 2), dtype=torch.float64, device="meta")
    for phi, _, _ in TABLE.values():
        a, saved = forward_and_saved(phi, z)
        assert phi.backward(operations_for(z), saved, a).device.type == "meta"


def test_scalars_are_floats():
    scalars = Affine(2, 1).scalars()
    assert scalars == (2.0, 1.0)
    assert all(type(number) is float for number in scalars)
    assert Tanh().scalars() == ()


def test_equal_hyperparameters_compare_equal():
    assert LeakyReLU(0.2) == LeakyReLU(0.2) != LeakyReLU(0.1)
    assert len({ReLU(), ReLU(), SiLU()}) == 2


@pytest.mark.parametrize("method", ["backward", "jvp"])
def test_step_cannot_be_trained(method, z):
    with pytest.raises(ArgumentError, match=r"got Step\(\), with a derivative of 0 almost every"):
        getattr(Step(), method)(operations_for(z), z, z)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LeakyReLU(-0.1), "alpha must be a finite number, above 0; got -0.1."),
        (lambda: LeakyReLU(0), "alpha must be a finite number, above 0; got 0."),
        (lambda: ELU(0.0), "alpha must be a finite number, above 0; got 0.0."),
        (lambda: ELU(math.inf), "alpha must be a finite number, above 0; got inf."),
        (lambda: Affine(slope="2"), "slope must be a finite number; got '2'."),
        (lambda: Affine(intercept=math.nan), "intercept must be a finite number; got nan."),
        (lambda: Affine(slope=True), "slope must be a finite number; got True."),
    ],
)
def test_invalid_hyperparameters_are_refused(make, message):
    with pytest.raises(ArgumentError) as error:
        make()
    assert str(error.value) == message


def test_class_with_a_value_alone_has_derivatives(place, z, dy):
    class Cubic(ActivationFunction):
        value = staticmethod(lambda xp, z: z * z * z)

    class Growth(ActivationFunction):
        value = staticmethod(lambda xp, z: xp.exp(0.1 * z))

    x, v, ops = place.array(z), place.array(dy), operations_for(place.array(z))
    for phi, saves, value, slope in (
        (Cubic(), "input", z**3, 3.0 * z**2),
        (Growth(), "output", np.exp(0.1 * z), 0.1 * np.exp(0.1 * z)),
    ):
        saved, a = phi.kept(ops, x)
        assert phi.saves == saves
        np.testing.assert_allclose(place.host(a), value, rtol=1e-12)
        np.testing.assert_allclose(place.host(phi.backward(ops, saved, v)), slope * dy, rtol=1e-12)
