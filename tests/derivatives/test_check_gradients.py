"""Gradient checks accept correct gradients, find wrong ones, and recognize kinks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from xpnet import (
    MAE,
    MLP,
    ArgumentError,
    BatchNorm,
    CrossEntropy,
    Dense,
    Dropout,
    HalfMSE,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
)
from xpnet.backend import namespace_of
from xpnet.derivatives import check_gradients, gradient
from xpnet.layers import LayerSpec
from xpnet.minimize.functions import Rosenbrock
from xpnet.parameters import Layout

M, N = 6, 3
LAYERS = [Dense(5, Tanh()), BatchNorm(), Dropout(0.3), Dense(4, Sigmoid()), Dense(3)]


def network(place):
    rng = np.random.default_rng(3)
    model = Sequential(LAYERS, N, backend=place.backend)
    model.theta = rng.normal(scale=0.7, size=model.layout.size)
    return model


def rows(place):
    rng = np.random.default_rng(4)
    return place.array(rng.normal(size=(M, N))), place.array(rng.integers(3, size=M))


# --- correct gradients ----------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_correct_network_passes(training, place):
    model = network(place)
    report = check_gradients(model, *rows(place), CrossEntropy(), training=training, entries=6)
    assert report.ok
    report.raise_if_wrong()
    assert [check.name for check in report.checks] == [e.path for e in model.layout.entries]
    assert [check.size for check in report.checks[:2]] == [15, 20]
    assert all(check.checked == min(6, check.size) for check in report.checks)
    assert all(check.error < 1e-7 and not check.kink for check in report.checks)


def test_float32_network_is_checked_in_float64(place32):
    model = network(place32)
    X, y = rows(place32)
    report = check_gradients(model, X, y, CrossEntropy(), entries=4)
    assert report.ok
    assert report.tolerance < 1e-6
    assert report.worst.error < 1e-7
    assert model.theta.dtype == place32.backend.dtype


def test_correct_function_passes(place):
    x = place.array([-1.2, 1.0, 0.3])
    function = Rosenbrock(3)
    for report in (
        check_gradients(function, x),
        check_gradients(function.value_and_grad, x),
        check_gradients(function.value, x, jac=function.grad),
    ):
        assert report.ok
        assert report.worst.error < 1e-8
        assert (report.checks[0].name, report.checks[0].checked) == ("x", 3)


def test_float32_function_has_float32_tolerance(place32):
    report = check_gradients(Rosenbrock(3), place32.array([-1.2, 1.0, 0.3]))
    assert report.ok
    assert 1e-3 < report.tolerance < 0.02


def test_check_is_scale_invariant():
    assert check_gradients(lambda x: (0.0, 0 * x), np.ones(2)).worst.error == 0
    for scale in (1e-12, 1e12):
        right = check_gradients(lambda x, s=scale: (s * (x @ x), 2 * s * x), np.array([1.0, 3.0]))
        wrong = check_gradients(lambda x, s=scale: (s * (x @ x), 3 * s * x), np.array([1.0, 3.0]))
        assert (right.ok, wrong.ok) == (True, False)


# --- wrong gradients ------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1.00001, 1.5, -1.0, 0.0, np.nan, np.inf])
def test_one_wrong_entry_is_found(factor, place):
    function, layout = Rosenbrock(7), Layout.of([("W", (2, 3), "weight"), ("b", (1,), "bias")])
    x = place.array(np.random.default_rng(1).normal(size=7))

    def fun(at):
        value, grad = function.value_and_grad(at)
        grad[4] *= factor
        return value, grad

    report = check_gradients(fun, x, layout=layout)
    assert not report.ok
    wrong, right = report.checks
    assert (wrong.name, wrong.where, wrong.n_wrong, wrong.kink) == ("W", "W[1, 1]", 1, False)
    assert right.n_wrong == 0
    assert report.worst is wrong
    exact = float(function.grad(x)[4])
    assert wrong.numerical == pytest.approx(exact, rel=1e-7)
    assert wrong.given == pytest.approx(exact * factor, rel=1e-12, nan_ok=True)
    with pytest.raises(ArgumentError, match=r"^the gradient must be that .* in W\[1, 1\], where"):
        report.raise_if_wrong()


@dataclass(frozen=True)
class HalvesBiasGradient(Dense):
    """A user-defined layer with a wrong backward pass."""

    def backward(self, p, g, saved, dy, ctx):
        dx = super().backward(p, g, saved, dy, ctx)
        g["bias"][...] *= 0.5
        return dx


def test_wrong_layer_is_found(place):
    model = Sequential([Dense(4, Tanh()), HalvesBiasGradient(3)], N, backend=place.backend)
    report = check_gradients(model, *rows(place), CrossEntropy())
    assert [check.name for check in report.checks if check.n_wrong] == ["layers.1.bias"]
    assert report.worst.error == pytest.approx(0.5, rel=1e-6)
    assert report.worst.n_wrong == 3


def test_drawn_entries_depend_on_rng():
    def fun(x):
        grad = 2 * x
        grad[17] += 1.0
        return x @ x, grad

    x = np.random.default_rng(0).normal(size=1000)
    assert check_gradients(fun, x, entries=5).ok
    assert check_gradients(fun, x, entries=5).checks[0].checked == 5
    assert check_gradients(fun, x, entries=None).worst.where == "x[17]"
    draws = [check_gradients(fun, x, entries=300, rng=seed).ok for seed in range(8)]
    assert set(draws) == {True, False}


# --- reused buffers -------------------------------------------------------------------------------


def into(out, x):
    """Write ``x`` into ``out``, or return it where there are no buffers."""
    if out is None:
        return x
    out[...] = x
    return out


class Cube:
    """``Y = X³`` with ``X²`` saved in a buffer."""

    def specs(self, n_in):
        return LayerSpec(n_in)

    def forward(self, p, x, ctx):
        buffers = ctx.claim()
        square = into(buffers["square", *x.shape], x * x)
        return into(buffers["y", *x.shape], square * x), square

    def backward(self, p, g, saved, dy, ctx):
        return 3.0 * saved * dy


class OverwritesSaved(Cube):
    """A layer that writes its output into the buffer with the saved square."""

    def forward(self, p, x, ctx):
        buffers = ctx.claim()
        square = into(buffers["square", *x.shape], x * x)
        return into(buffers["square", *x.shape], square * x), square


class OverwritesSavedLater(Cube):
    """A layer that uses the same buffer in a larger shape, which only the first call allocates."""

    def forward(self, p, x, ctx):
        buffers = ctx.claim()
        square = into(buffers["square", *x.shape], x * x)
        y, (m, n) = square * x, x.shape
        into(buffers["square", m, 2 * n], 0.0)
        return y, square


def test_layer_with_its_own_buffers_passes(place):
    model = Sequential([Dense(4, Tanh()), Cube(), Dense(3)], N, backend=place.backend)
    report = check_gradients(model, *rows(place), CrossEntropy())
    assert report.ok
    assert {check.call for check in report.checks} == {""}


@pytest.mark.parametrize(
    ("layer", "call"),
    [
        (OverwritesSaved(), "first call on reused buffers"),
        (OverwritesSavedLater(), "second call on reused buffers"),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_fault_on_reused_buffers_is_found(layer, call, training, place):
    model = Sequential([Dense(4, Tanh()), layer, Dense(3)], N, backend=place.backend)
    X, y = rows(place)
    report = check_gradients(model, X, y, CrossEntropy(), training=training)
    wrong = [check for check in report.checks if check.n_wrong]
    assert [check.name for check in wrong] == ["layers.0.weight", "layers.0.bias"]
    assert {check.call for check in wrong} == {call}
    assert f"wrong: 4 entries in the {call}" in str(report)
    message = f"in the {call}, where central differences give .* context of its own"
    with pytest.raises(ArgumentError, match=message):
        report.raise_if_wrong()
    on_new_memory = place.host(gradient(model, X, y, CrossEntropy(), training=training))
    bias = {entry.path: entry for entry in model.layout.entries}["layers.0.bias"]
    index = next(i for i in range(bias.start, bias.stop) if model.layout.where(i) == wrong[1].where)
    assert on_new_memory[index] == pytest.approx(wrong[1].numerical, rel=1e-7)


def test_second_call_of_a_function_is_checked():
    calls = []

    def fun(x):
        calls.append(1)
        return x @ x, (2.0 if len(calls) == 1 else 3.0) * x

    report = check_gradients(fun, np.ones(2))
    assert [check.call for check in report.checks] == ["second call"]
    assert not report.ok


# --- kinks ----------------------------------------------------------------------------------------


def relu_sum(derivative_at_kink):
    """Return ``Σ max(0, x) + sin x`` with a choice of the derivative of max where ``x ≤ 0``."""

    def fun(x):
        xp = namespace_of(x)
        up = xp.astype(x > 0, x.dtype)
        derivative = up + (1.0 - up) * derivative_at_kink
        return xp.sum(x * up + xp.sin(x)), derivative + xp.cos(x)

    return fun


@pytest.mark.parametrize("x", [1e-7, 3e-6, -1e-7, -3e-6, 5e-6])
def test_kink_within_the_step_is_reported(x, place):
    report = check_gradients(relu_sum(0.0), place.array([x, 0.5, -0.5]))
    check = report.checks[0]
    assert report.ok
    assert (check.where, check.kink, check.n_kinks, check.n_wrong) == ("x[0]", True, 1, 0)
    assert check.error > 1e-3


@pytest.mark.parametrize(
    ("derivative", "ok"), [(0.0, True), (0.3, True), (1.0, True), (1.2, False)]
)
def test_any_subgradient_at_a_kink_passes(derivative, ok, place):
    report = check_gradients(relu_sum(derivative), place.array([0.0]))
    assert report.ok is ok
    assert report.checks[0].kink is ok
    below, above = 1.0, 2.0
    assert report.checks[0].numerical == pytest.approx((below + above) / 2, rel=1e-6)


def test_wrong_entry_is_reported_before_kink(place):
    def fun(x):
        value, grad = relu_sum(0.0)(x)
        grad[1] += 1e-4
        return value, grad

    x = place.array([1e-7, 0.5])
    check = check_gradients(fun, x).checks[0]
    assert (check.where, check.kink, check.n_kinks, check.n_wrong) == ("x[1]", False, 1, 1)
    apart = Layout.of([("a", (1,), "weight"), ("b", (1,), "bias")])
    report = check_gradients(fun, x, layout=apart)
    assert report.checks[0].error > report.checks[1].error
    assert report.worst.where == "b[0]"


def test_kinks_of_network_and_loss_are_reported(place):
    """A unit at the kink of ReLU, and an output next to its target under the absolute error."""
    model = MLP(2, [2], 1, activation=ReLU(), backend=place.backend)
    layout = model.layout
    theta = np.array([1.0, 0.5, -1.0, 0.7, 2.0, 1.0, 0.0, 0.1, 0.3])
    model.theta = theta
    X, y = place.array([[1.0, 1.0], [0.4, 2.0]]), place.array([0.2, -1.0])
    report = check_gradients(model, X, y, HalfMSE(), entries=None)
    assert layout.where(0) == "layers.0.weight[0, 0]"  # x W + b = 0 for the first row and unit
    assert report.ok
    kinks = {check.name: check.n_kinks for check in report.checks}
    assert kinks == {
        "layers.0.weight": 2,
        "layers.1.weight": 0,
        "layers.0.bias": 1,
        "layers.1.bias": 0,
    }
    linear = MLP(1, [], 1, backend=place.backend)
    linear.theta = [2.0, 1.0]
    report = check_gradients(linear, place.array([[1.0]]), place.array([3.000002]), MAE())
    assert report.ok
    assert [check.kink for check in report.checks] == [True, True]


# --- the printed report ---------------------------------------------------------------------------


def test_report_prints_as_table():
    layout = Layout.of([("W", (1, 2), "weight"), ("b", (2,), "bias")])

    def fun(x):
        value, grad = relu_sum(0.0)(x)
        grad[1] *= 2
        return value, grad

    report = check_gradients(fun, np.array([0.5, 0.5, 0.0, 1.0]), layout=layout)
    assert str(report).splitlines() == [
        "parameter  checked  worst error      at    given  differences  verdict",
        "W              2/2      5.0e-01  [0, 1]  3.75517      1.87758  wrong: 1 entry",
        "b              2/2      3.3e-01     [0]        1          1.5  1 at a kink",
    ]
    with pytest.raises(ArgumentError) as error:
        report.raise_if_wrong()
    assert str(error.value) == (
        "the gradient must be that of the function; got 3.7551651 in W[0, 1], "
        f"where central differences give 1.8775826.\n{report}"
    )


# --- invalid input --------------------------------------------------------------------------------

MODEL = MLP(2, [], 2)
X0 = np.ones((3, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: check_gradients(MODEL, X0, [0, 1, 0]),
            "loss must be given to check a model; got None.",
        ),
        (
            lambda: check_gradients(MODEL.network, X0, [0, 1, 0], CrossEntropy()),
            "the subject must be a model with parameters, such as MLP(...); got a Network. "
            "Give the model: a network alone has no parameters.",
        ),
        (
            lambda: check_gradients(MODEL, X0, [0, 1, 2], CrossEntropy()),
            "y must hold class indices of 0 to 1; got 2 in row 2.",
        ),
        (
            lambda: check_gradients(np.sum, np.ones(2)),
            "the function must return a pair (value, gradient); got <function sum at ",
        ),
        (
            lambda: check_gradients("sum", np.ones(2)),
            "fun must be a function of a vector or an Objective; got 'sum'.",
        ),
        (
            lambda: check_gradients(lambda x: (0.0, x[:1]), np.ones(2)),
            "the gradient must be of shape (2,); got a float64 array of shape (1,).",
        ),
        (
            lambda: check_gradients(Rosenbrock(), np.ones((2, 1))),
            "x must be a vector; got a float64 array of shape (2, 1).",
        ),
        (
            lambda: check_gradients(Rosenbrock(), np.array([1, 2])),
            "the dtype of an array must be one of float32, float64; got 'int64'.",
        ),
        (
            lambda: check_gradients(Rosenbrock(), np.ones(2), layout=MODEL.layout),
            "x must have 6 numbers, as many as its layout; got a float64 array of shape (2,).",
        ),
        (
            lambda: check_gradients(Rosenbrock(), np.ones(2), entries=0),
            "entries must be an integer of at least 1; got 0.",
        ),
        (
            lambda: check_gradients(Rosenbrock(), np.ones(2), tolerance=-1),
            "tolerance must be a finite number, above 0; got -1.",
        ),
    ],
)
def test_invalid_argument_raises(call, message):
    with pytest.raises(ArgumentError) as error:
        call()
    assert str(error.value).startswith(message)
