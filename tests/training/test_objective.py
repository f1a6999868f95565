"""The full-batch objective: value over all rows, gradients, and refused arguments."""

from __future__ import annotations

import numpy as np
import pytest

import xpnet
from xpnet import (
    MAE,
    MLP,
    MSE,
    Activation,
    ArgumentError,
    BatchNorm,
    CrossEntropy,
    Dense,
    Dropout,
    HalfMSE,
    Hinge,
    Sequential,
    Sigmoid,
    Softplus,
    Standardize,
    Tanh,
)
from xpnet.data.preprocessing import InputSpec
from xpnet.minimize import BFGS, LBFGS, Newton, NewtonCG, Objective, TrustRegion, minimize

NETWORKS = {
    "logistic": [Dense(3)],
    "tanh": [Dense(5, Tanh()), Dense(3)],
    "dropout": [Dense(5, Sigmoid()), Dropout(0.4), Dense(3)],
    "batch norm": [Dense(5, bias=False), BatchNorm(), Activation(Softplus()), Dense(3)],
}


def task(rng, m=23):
    return 2.0 + rng.normal(size=(m, 4)), rng.integers(3, size=m), rng.uniform(0.5, 2, size=m)


def network(layers, rng, backend="numpy", **settings):
    """A float64 model with random parameters and the statistics of some batches."""
    model = Sequential(layers, 4, backend=backend, dtype="float64", **settings)
    model.theta = rng.normal(scale=0.7, size=model.layout.size)
    values = rng.uniform(0.5, 2, size=model.network.statistics_layout.size)
    model.statistics[...] = model.backend.asarray(values)
    return model


@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_equals_central_differences(name, place, rng):
    X, y, weight = task(rng)
    model = network(NETWORKS[name], rng, place.backend, preprocessing=Standardize.fit(X))
    objective = model.objective(
        place.array(X), place.array(y), CrossEntropy(), l2=0.3, sample_weight=weight, chunk_rows=7
    )
    theta = place.host(model.theta).copy()
    gradient = place.host(objective.value_and_grad(model.theta)[1]).copy()
    steps = 1e-5 * np.eye(theta.size)
    numerical = [
        (
            float(objective.value(place.writable(theta + step)))
            - float(objective.value(place.writable(theta - step)))
        )
        / 2e-5
        for step in steps
    ]
    np.testing.assert_allclose(gradient, numerical, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["logistic", "tanh"])
@pytest.mark.parametrize("weighted", [False, True])
def test_value_is_independent_of_chunk_rows(name, weighted, place, rng):
    X, y, weight = task(rng)
    weight = weight if weighted else None
    model = network(NETWORKS[name], rng, place.backend)
    loss = CrossEntropy(label_smoothing=0.1)
    expected, gradient = model.value_and_grad(place.array(X), place.array(y), loss, weight=weight)
    expected, gradient = float(expected), place.host(gradient).copy()
    for chunk_rows in (1, 4, 22, 23, 10**6):
        objective = model.objective(X, y, loss, sample_weight=weight, chunk_rows=chunk_rows)
        value, found = objective.value_and_grad(model.theta)
        assert float(value) == pytest.approx(expected, rel=1e-12)
        assert float(objective.value(model.theta)) == pytest.approx(expected, rel=1e-12)
        np.testing.assert_allclose(place.host(found), gradient, rtol=1e-12, atol=1e-14)


def test_penalty_applies_to_weights_only(rng):
    X, y, _ = task(rng)
    model = network(NETWORKS["batch norm"], rng)
    plain, l2 = model.objective(X, y, CrossEntropy()), 0.7
    with_penalty = model.objective(X, y, CrossEntropy(), l2=l2)
    value, gradient = plain.value_and_grad(model.theta)
    views = model.layout.views(model.theta)
    weights = [views[path] for path in views if path.endswith("weight")]
    expected = value + 0.5 * l2 * sum((w * w).sum() for w in weights)
    found, found_gradient = with_penalty.value_and_grad(model.theta)
    assert float(found) == pytest.approx(float(expected), rel=1e-13)
    change = model.layout.views(found_gradient - gradient)
    for path, view in views.items():
        rate = l2 if path.endswith("weight") else 0.0
        np.testing.assert_allclose(change[path], rate * view, atol=1e-13)


def test_value_equals_the_loss_of_evaluate(rng):
    X, y, _ = task(rng)
    model = network(NETWORKS["batch norm"], rng, loss=CrossEntropy())
    value = model.objective(X, y, CrossEntropy()).value(model.theta)
    assert float(value) == pytest.approx(model.evaluate(X, y)["loss"], rel=1e-13)


def test_chunk_of_zero_weights_has_no_effect(rng):
    X, y, weight = task(rng)
    weight[:10] = 0.0
    model = network(NETWORKS["tanh"], rng)
    parts = model.objective(X, y, CrossEntropy(), sample_weight=weight, chunk_rows=5)
    rest = model.objective(X[10:], y[10:], CrossEntropy(), sample_weight=weight[10:])
    value, gradient = parts.value_and_grad(model.theta)
    expected, rest_gradient = rest.value_and_grad(model.theta)
    assert float(value) == pytest.approx(float(expected), rel=1e-13)
    np.testing.assert_allclose(gradient, rest_gradient, rtol=1e-12, atol=1e-15)


def test_class_weights_and_words_work_as_in_fit(rng):
    X, y, _ = task(rng)
    words = np.array(["ash", "birch", "cedar"])[y]
    model = network(NETWORKS["tanh"], rng)
    by_word = model.objective(X, words, CrossEntropy(), class_weight={"birch": 3.0})
    by_row = model.objective(X, y, CrossEntropy(), sample_weight=np.where(y == 1, 3.0, 1.0))
    found, expected = (float(f.value(model.theta)) for f in (by_word, by_row))
    assert found == pytest.approx(expected, rel=1e-13)
    assert model.classes is None


def test_memmap_is_read_by_chunks(rng, tmp_path, monkeypatch):
    X, y, _ = task(rng, m=50)
    np.save(tmp_path / "X.npy", X.astype("float32"))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    model = network(NETWORKS["tanh"], rng, preprocessing=Standardize.fit(X))
    in_memory = model.objective(X.astype("float32"), y, CrossEntropy(), chunk_rows=8)
    sizes = []
    convert = InputSpec.network_inputs
    monkeypatch.setattr(
        InputSpec,
        "network_inputs",
        lambda self, part: sizes.append(len(part)) or convert(self, part),
    )
    from_file = model.objective(mapped, y, CrossEntropy(), chunk_rows=8)
    value, gradient = from_file.value_and_grad(model.theta)
    assert sizes == [8] * 6 + [2]
    expected, in_memory_gradient = in_memory.value_and_grad(model.theta)
    assert float(value) == float(expected)
    np.testing.assert_array_equal(gradient, in_memory_gradient)


def test_objective_and_model_are_independent(rng):
    X, y, _ = task(rng)
    model = network(NETWORKS["batch norm"], rng)
    before = [model.theta.copy(), model.statistics.copy(), model.grad.copy()]
    objective = model.objective(X, y, CrossEntropy())
    first = float(objective.value_and_grad(before[0])[0])
    for vector, kept in zip((model.theta, model.statistics, model.grad), before, strict=True):
        np.testing.assert_array_equal(vector, kept)
    model.fit(X, y, loss=CrossEntropy(), optimizer=xpnet.SGD(0.1), epochs=1, progress=False)
    assert float(objective.value(before[0])) == first


def test_ten_lbfgs_steps_agree_on_every_backend(place):
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(200, 784)), rng.integers(10, size=200)
    paths = []
    for backend in ("numpy", place.backend):
        model = MLP(784, [64], 10, activation=Tanh(), backend=backend, dtype="float64")
        objective = model.objective(X, y, CrossEntropy(), l2=1e-3, chunk_rows=64)
        assert isinstance(objective, Objective)
        result = minimize(objective, model.theta, LBFGS(), max_iter=10, keep_trajectory=True)
        paths.append(result.trajectory)
    assert len(paths[0]) == len(paths[1]) == 11
    for here, there in zip(*paths, strict=True):
        assert place.backend.owns(there.x)
        np.testing.assert_allclose(place.host(there.x), here.x, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    "method", [LBFGS(), NewtonCG(), BFGS(), Newton(), TrustRegion()], ids=lambda m: type(m).__name__
)
def test_methods_solve_a_logistic_regression(method, rng):
    """Newton methods use differences of gradients where no Hessian is given."""
    X, y, _ = task(rng, m=60)
    model = Sequential([Dense(3)], 4, dtype="float64", preprocessing=Standardize.fit(X))
    objective = model.objective(X, y, CrossEntropy(), l2=0.1)
    result = minimize(objective, model.theta, method, tol=1e-7)
    assert result.success
    # The minimum of a convex function: zero gradient, and larger values around it.
    assert result.grad_norm <= 1e-7
    reference = minimize(objective, model.theta, LBFGS(), tol=1e-9)
    assert result.value == pytest.approx(reference.value, abs=1e-12)
    weights = model.layout.weights
    np.testing.assert_allclose(result.x[weights], reference.x[weights], atol=1e-5)


@pytest.mark.parametrize("loss", [HalfMSE(), MSE(), MAE(), Hinge()], ids=repr)
def test_losses_and_targets_are_accepted(loss, rng):
    X = rng.normal(size=(20, 4))
    y = np.sign(X[:, 0]) if isinstance(loss, Hinge) else X @ rng.normal(size=(4, 1))
    model = MLP(4, [6], 1, activation=Tanh(), dtype="float64")
    objective = model.objective(X, y, loss, chunk_rows=6)
    whole = model.objective(X, y, loss)
    assert float(objective.value(model.theta)) == pytest.approx(float(whole.value(model.theta)))
    result = minimize(objective, model.theta, LBFGS(), max_iter=15)
    assert result.value < float(whole.value(model.theta))


def test_overflow_in_a_trial_step_does_not_warn(rng):
    X, y, _ = task(rng)
    model = MLP(4, [5], 3, dtype="float32")
    objective = model.objective(X, y, CrossEntropy())
    value, _ = objective.value_and_grad(model.theta * np.float32(1e30))
    assert not np.isfinite(float(value))


X, Y = np.ones((6, 4)), np.arange(6) % 3


def small(layers=None, **settings):
    return Sequential(layers or [Dense(3)], 4, **settings)


def at(theta, **settings):
    small(**settings).objective(X, Y, CrossEntropy()).value_and_grad(theta)


BAD = {
    "loss": (lambda: small().objective(X, Y, "mse"), r"loss must be a Loss; got 'mse'"),
    "loss class": (lambda: small().objective(X, Y, MSE), r"Write MSE\(\) to make one"),
    "rows": (lambda: small().objective(X[:5], Y, CrossEntropy()), r"y must have the shape"),
    "columns": (lambda: small().objective(X[:, :3], Y, CrossEntropy()), r"4 columns|n_in"),
    "label": (lambda: small().objective(X, Y + 9, CrossEntropy()), r"y must "),
    "l2": (lambda: small().objective(X, Y, CrossEntropy(), l2=-1.0), r"l2 must be a finite .* -1"),
    "chunk": (
        lambda: small().objective(X, Y, CrossEntropy(), chunk_rows=0),
        r"chunk_rows must be an integer of at least 1; got 0",
    ),
    "weights": (
        lambda: small().objective(X, Y, CrossEntropy(), sample_weight=-np.ones(6)),
        r"sample_weight must be at least 0",
    ),
    "batch norm": (
        lambda: small([BatchNorm(), Dense(3)]).objective(X, Y, CrossEntropy()),
        r"got a BatchNorm in layer 0 that has seen no rows\. Train it for an epoch",
    ),
    "theta's length": (lambda: at(np.zeros(3, "float32")), r"theta must be .* shape \(15,\)"),
    "theta's dtype": (lambda: at(np.zeros(15)), r"float32 vector .* got a float64 array"),
    "theta's kind": (lambda: at([0.0] * 15), r"theta must be .* Start at model\.theta"),
    "theta's backend": (
        lambda: at(np.zeros(15, "float32"), backend="array_api_strict"),
        r"on the backend 'array_api_strict'",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name):
    call, message = BAD[name]
    with pytest.raises(ArgumentError, match=message):
        call()


def test_newton_cg_without_hessian_finds_a_minimum(rng):
    X, y, _ = task(rng, m=60)
    model = MLP(4, [5], 3, activation=Tanh(), dtype="float64", preprocessing=Standardize.fit(X))
    objective = model.objective(X, y, CrossEntropy(), l2=0.05)
    result = minimize(objective, model.theta, NewtonCG(), tol=1e-7, max_iter=100)
    assert result.success
    assert result.evaluations.products > 0
    away = rng.normal(size=(20, model.layout.size))
    # Softmax leaves one direction of the biases flat, hence the tolerance.
    for direction in away:
        near = result.x + 1e-2 * direction
        assert float(objective.value(near)) > result.value - 1e-9


def test_bounds_hold_for_network_parameters(rng):
    X, y, _ = task(rng, m=60)
    model = MLP(4, [5], 3, activation=Tanh(), dtype="float64", preprocessing=Standardize.fit(X))
    objective = model.objective(X, y, CrossEntropy(), l2=0.05)
    start = np.abs(model.theta)
    result = minimize(objective, start, LBFGS(), bounds=(0.0, None), tol=1e-6)
    assert result.success
    assert result.x.min() == 0.0
    assert result.value < float(objective.value(start))
