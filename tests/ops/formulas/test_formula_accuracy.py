"""Formulas and their derivatives agree with mpmath, PyTorch and the hand-written derivatives."""

from __future__ import annotations

from functools import cache

import mpmath
import numpy as np
import pytest
from helpers.formula_cases import ACTIVATIONS, LOSSES
from helpers.formula_truth import truths

import xpnet
from xpnet.ops.formulas import FormulaRule, derivative_of, trace
from xpnet.ops.formulas.decimal_functions import evaluate
from xpnet.ops.formulas.probe import Targets, require_finite

SIZES = (1e-8, 1e-3, 0.1, 0.3, 0.7, 1.1, 1.9, 3.3, 5.7, 8.1, 12.7, 20.3, 37.2, 90.1, 1e4, 1e7)
NUMBERS = [-x for x in reversed(SIZES)] + list(SIZES)
POINTS = {1: [(z,) for z in NUMBERS], 2: [(z, t) for z in NUMBERS for t in (0.0, 1.0, 0.35)]}
CASES = {**ACTIVATIONS, **LOSSES}
HUGE = 1e308
TINY = mpmath.mpf(10) ** -280  # of numbers about as small, factors are subnormal

HAND_WRITTEN = {
    **{name: getattr(xpnet, name)() for name in ("Identity", "Sigmoid", "Tanh", "ReLU", "SELU")},
    **{name: getattr(xpnet, name)() for name in ("ELU", "Softplus", "GELU", "GELUTanh", "SiLU")},
    **{name: getattr(xpnet, name)() for name in ("LeakyReLU", "HardSigmoid", "Exponential")},
    "Affine": xpnet.Affine(2.0, 1.0),
}
NAMES = {
    "GELUTanh": "gelu_tanh",
    "LeakyReLU": "leaky_relu",
    "HardSigmoid": "hard_sigmoid",
    "SiLU": "silu",
}
HAND_WRITTEN_LOSSES = {
    "half_square": xpnet.HalfMSE(),
    "square": xpnet.MSE(),
    "absolute": xpnet.MAE(),
    "huber": xpnet.Huber(1.0),
    "logistic": xpnet.BinaryCrossEntropy(),
    "hinge": xpnet.Hinge(),
    "perceptron": xpnet.PerceptronLoss(),
    "poisson": xpnet.PoissonNLL(),
}


def n_arrays(name):
    return 1 if name in ACTIVATIONS else 2


@cache
def formulas(name):
    """A formula with its two derivatives."""
    case = CASES[name]
    value = trace(case.rule, n_arrays(name) + len(case.parameters))
    slope = derivative_of(value)
    return value, slope, derivative_of(slope)


@cache
def true_values(name):
    case = CASES[name]
    return [truths(case.reference, point, case.parameters) for point in POINTS[n_arrays(name)]]


def computed(name, points, dtype=np.float64):
    """The value and both derivatives at points."""
    arrays = [np.array(column, dtype) for column in zip(*points, strict=True)]
    for formula in formulas(name):
        found = FormulaRule(formula)(np, *arrays, *CASES[name].parameters)
        yield np.broadcast_to(np.asarray(found, dtype), len(points))


def assert_accurate(name, order, found, tolerance=1e-12):
    """Within ``tolerance`` of the condition-scaled value."""
    for point, x, true in zip(
        POINTS[n_arrays(name)], found.tolist(), true_values(name), strict=True
    ):
        want, scale = true[order]
        if abs(want) > HUGE:
            continue
        if order == 0 and n_arrays(name) == 1:
            scale = scale + CASES[name].rounding(point[0])
        assert abs(mpmath.mpf(x) - want) <= tolerance * scale + TINY, (point, x, float(want))


def test_there_are_fifty_formulas():
    assert len(CASES) >= 50


@pytest.mark.parametrize("name", CASES)
def test_derivatives_agree_with_mpmath(name):
    for order, found in enumerate(computed(name, POINTS[n_arrays(name)])):
        assert_accurate(name, order, found)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.torch is not None])
def test_derivatives_agree_with_pytorch(name):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    n = n_arrays(name)
    targets = (1.0, -1.0) if name == "soft_margin" else (0.0, 1.0, 0.35)
    numbers = np.linspace(-7.03, 8.91, 40)
    points = [(z,) for z in numbers] if n == 1 else [(z, t) for z in numbers for t in targets]
    z, *rest = (torch.tensor(column, dtype=torch.float64) for column in zip(*points, strict=True))
    z.requires_grad_()
    value = CASES[name].torch(torch, z, *rest)
    (slope,) = torch.autograd.grad(value.sum(), z, create_graph=True)
    curvature = torch.zeros_like(z)
    if slope.requires_grad:
        (found,) = torch.autograd.grad(slope.sum(), z, allow_unused=True)
        curvature = curvature if found is None else found
    wanted = [x.numpy(force=True) for x in (value, slope, curvature)]
    sizes = sum(np.abs(x) for x in wanted)
    for want, found in zip(wanted, computed(name, points), strict=True):
        # PyTorch's own derivatives cancel, as 1 − tanh² does.
        assert np.all(np.abs(found - want) <= 1e-12 * (1.0 + sizes))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", CASES)
def test_formulas_are_finite_where_the_truth_is(name, dtype):
    """At numbers that are drawn from the whole range, other than those of the probe."""
    rng = np.random.default_rng(5)
    info = np.finfo(dtype)
    n, parameters = n_arrays(name), CASES[name].parameters
    far = 10.0 ** rng.uniform(-0.99 * info.maxexp / 3.33, 0.99 * info.maxexp / 3.33, 150)
    near = rng.uniform(0.0, 800.0, 150)
    z = np.concatenate([far, near]) * rng.choice([-1.0, 1.0], 300)
    points = [(x,) for x in z] if n == 1 else [(x, t) for x in z for t in (0.0, 1.0)]
    points = [tuple(float(dtype(x)) for x in point) for point in points]
    limit = float(info.max) * (1.0 - 1024.0 * float(info.eps))  # roundings may overflow
    for formula, found in zip(formulas(name), computed(name, points, dtype), strict=True):
        for index in np.flatnonzero(~np.isfinite(found)).tolist():
            true = evaluate(formula, [*points[index], *parameters])[formula.result]
            assert not true.is_finite() or true.copy_abs() > limit, points[index]


@pytest.mark.parametrize("name", CASES)
def test_formulas_pass_the_probe(name):
    formula, *_ = formulas(name)
    targets = None if n_arrays(name) == 1 else Targets()
    require_finite(formula, CASES[name].parameters, name, targets)


@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_activations_agree_with_derived_derivatives(name):
    """The hand-written derivatives, by the output ones too, round at most relative to 1."""
    phi, case = HAND_WRITTEN[name], NAMES.get(name, name.lower())
    z = np.linspace(-6.03, 6.91, 61)
    scalars = CASES[case].parameters if case in ("affine", "leaky_relu", "elu") else ()
    a = type(phi).value(np, z, *scalars)
    saved = a if phi.saves == "output" else z
    slope = type(phi).derivative(np, saved, *scalars)
    value, derived, bend = computed(case, [(x,) for x in z])
    np.testing.assert_allclose(a, value, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(np.broadcast_to(slope, z.shape), derived, rtol=1e-12, atol=1e-14)
    if phi.curvature is not None:
        curvature = type(phi).curvature(np, saved, *scalars)
        curvature = curvature * (slope if phi.saves == "output" else 1.0)
        np.testing.assert_allclose(
            np.broadcast_to(curvature, z.shape), bend, rtol=1e-11, atol=1e-13
        )


@pytest.mark.parametrize("name", HAND_WRITTEN_LOSSES)
def test_losses_agree_with_derived_derivatives(name):
    loss = HAND_WRITTEN_LOSSES[name]
    points = [(z, t) for z in np.linspace(-6.03, 6.91, 61) for t in (0.0, 1.0, 0.35)]
    z, t = (np.array(column) for column in zip(*points, strict=True))
    rules = type(loss).rule, type(loss).derivative, getattr(type(loss), "curvature", None)
    for rule, derived in zip(rules, computed(name, points), strict=True):
        found = 0.0 if rule is None else rule(np, z, t, *CASES[name].parameters)
        np.testing.assert_allclose(np.broadcast_to(found, z.shape), derived, rtol=1e-12, atol=1e-14)


def assert_agrees(place, name, tolerance):
    """A formula and its derivatives on a backend give the numbers and the dtype of NumPy."""
    points = [(x,) if n_arrays(name) == 1 else (x, 0.35) for x in np.linspace(-3.03, 3.91, 9)]
    arrays = [place.array(np.array(column)) for column in zip(*points, strict=True)]
    for formula, want in zip(formulas(name), computed(name, points), strict=True):
        found = FormulaRule(formula)(place.xp, *arrays, *CASES[name].parameters)
        assert (found.dtype, found.shape) == (arrays[0].dtype, arrays[0].shape)
        np.testing.assert_allclose(place.host(found), want, rtol=tolerance, atol=tolerance)


def test_numbers_of_parameters_become_arrays(place):
    x = place.array(np.ones((2, 3)))
    found = FormulaRule(trace(lambda xp, z, a: 2.0 * a, 2))(place.xp, x, 1.5)
    assert (found.dtype, found.shape) == (x.dtype, (2, 3))
    assert place.host(found).tolist() == [[3.0] * 3] * 2


def test_calls_without_the_parameters_are_refused():
    with pytest.raises(TypeError, match=r"f must be called with xp and 2 arrays and .*; got 1"):
        FormulaRule(trace(lambda xp, z, a: a * z, 2), "f")(np, np.ones(3))


@pytest.mark.parametrize("name", CASES)
def test_formulas_agree_on_every_backend(place, name):
    assert_agrees(place, name, 1e-13)


@pytest.mark.parametrize("name", CASES)
def test_numbers_do_not_raise_the_precision(place32, name):
    assert_agrees(place32, name, 2e-5)
