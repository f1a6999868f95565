"""Optimizers: compared with PyTorch and with their papers, on every backend, in place."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet import optimizers
from xpnet.ops.operations import Operations
from xpnet.optimizers import (
    SGD,
    AdaDelta,
    AdaGrad,
    Adam,
    Adamax,
    AdamW,
    AMSGrad,
    ByRole,
    Grouped,
    Lion,
    Lookahead,
    Momentum,
    Muon,
    Nadam,
    Nesterov,
    Optimizer,
    OptimizerState,
    RAdam,
    RMSProp,
    Rprop,
    ScheduleFreeAdam,
)
from xpnet.parameters import Layout

# The optimizer, the class of PyTorch and its arguments.
TORCH = {
    "sgd": (SGD(lr=0.1), "SGD", {"lr": 0.1}),
    "momentum": (Momentum(0.1, 0.8), "SGD", {"lr": 0.1, "momentum": 0.8}),
    "nesterov": (Nesterov(0.1, 0.8), "SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True}),
    "adagrad": (AdaGrad(0.1, eps=1e-3), "Adagrad", {"lr": 0.1, "eps": 1e-3}),
    "rmsprop": (RMSProp(0.1, 0.8, 1e-3), "RMSprop", {"lr": 0.1, "alpha": 0.8, "eps": 1e-3}),
    "rmsprop-centered": (
        RMSProp(0.1, 0.8, 1e-3, centered=True),
        "RMSprop",
        {"lr": 0.1, "alpha": 0.8, "eps": 1e-3, "centered": True},
    ),
    "adadelta": (AdaDelta(0.7, 0.8, 1e-3), "Adadelta", {"lr": 0.7, "rho": 0.8, "eps": 1e-3}),
    "adam": (Adam(0.1, 0.8, 0.9, 1e-3), "Adam", {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3}),
    "adam-defaults": (Adam(), "Adam", {}),
    "adamw": (AdamW(0.1, weight_decay=0.3), "AdamW", {"lr": 0.1, "weight_decay": 0.3}),
    "amsgrad": (
        AMSGrad(0.1, 0.8, 0.6, 1e-3),
        "Adam",
        {"lr": 0.1, "betas": (0.8, 0.6), "eps": 1e-3, "amsgrad": True},
    ),
    "adamax": (
        Adamax(0.1, 0.8, 0.6, 1e-3),
        "Adamax",
        {"lr": 0.1, "betas": (0.8, 0.6), "eps": 1e-3},
    ),
    "nadam": (
        Nadam(0.1, 0.8, 0.9, 1e-3, momentum_decay=0.5),
        "NAdam",
        {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "momentum_decay": 0.5},
    ),
    "nadam-defaults": (Nadam(), "NAdam", {}),
    "radam": (RAdam(0.1, eps=1e-3), "RAdam", {"lr": 0.1, "eps": 1e-3}),
    "rprop": (
        Rprop(0.1, 0.4, 1.3, 0.02, 0.2),
        "Rprop",
        {"lr": 0.1, "etas": (0.4, 1.3), "step_sizes": (0.02, 0.2)},
    ),
    "rprop-defaults": (Rprop(), "Rprop", {}),
    "radam-never-rectified": (RAdam(0.1, beta2=0.6), "RAdam", {"lr": 0.1, "betas": (0.9, 0.6)}),
}


def textbook_lookahead(theta, grads):
    """Zhang et al. 2019, algorithm 1, around gradient descent, with the settings of OTHERS."""
    slow = theta
    for step, grad in enumerate(grads, start=1):
        theta = theta - 0.1 * grad
        if step % 3 == 0:
            theta = slow = slow + 0.3 * (theta - slow)
    return theta


def textbook_muon(theta, grads):
    """Jordan et al. 2024 for the weight, momentum for the others, with the settings of OTHERS."""
    weight, others = theta[:4].reshape(2, 2), theta[4:]
    mean, velocity = np.zeros((2, 2)), np.zeros(3)
    for grad in grads:
        g = grad[:4].reshape(2, 2)
        mean = 0.8 * mean + 0.2 * g
        u = 0.2 * g + 0.8 * mean
        x = u / np.linalg.norm(u)
        for _ in range(5):
            gram = x @ x.T
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        weight = (1 - 0.1 * 0.3) * weight - 0.1 * x
        velocity = 0.9 * velocity - 0.05 * grad[4:]
        others = others + velocity
    return np.concatenate([weight.ravel(), others])


def textbook_schedule_free(theta, grads):
    """Defazio et al. 2024, algorithm 1 without warm-up, with the hyperparameters of OTHERS."""
    x = z = y = theta
    v = np.zeros_like(theta)
    for step, grad in enumerate(grads, start=1):
        v = 0.9 * v + 0.1 * grad**2
        z = z - 0.1 * grad / (np.sqrt(v / (1 - 0.9**step)) + 1e-3)
        x = (1 - 1 / step) * x + z / step
        y = (1 - 0.8) * z + 0.8 * x
    return y


def textbook_lion(theta, grads):
    """Chen et al. 2023, algorithm 2, with the hyperparameters of OTHERS."""
    mean = np.zeros_like(theta)
    for grad in grads:
        theta = theta - 0.1 * (np.sign(0.8 * mean + 0.2 * grad) + 0.3 * theta)
        mean = 0.9 * mean + 0.1 * grad
    return theta


def textbook_adagrad_norm(theta, grads):
    """Ward et al. 2020, algorithm 1, with the hyperparameters of OTHERS."""
    total = 0.0
    for grad in grads:
        total += np.linalg.norm(grad) ** 2
        theta = theta - 0.1 / (math.sqrt(total) + 1e-3) * grad
    return theta


def textbook_rmsprop_norm(theta, grads):
    """RMSProp with the squared norm instead of the squares."""
    mean = 0.0
    for grad in grads:
        mean = 0.8 * mean + 0.2 * np.linalg.norm(grad) ** 2
        theta = theta - 0.1 / (math.sqrt(mean) + 1e-3) * grad
    return theta


def textbook_groups(theta, grads):
    """Momentum for the bias, gradient descent for the scale, another rate for the weights."""
    velocity, rates = np.zeros_like(theta), np.repeat([0.05, 0.1, 0.2], [4, 2, 1])
    keep = np.repeat([0.0, 0.8, 0.0], [4, 2, 1])
    for grad in grads:
        velocity = keep * velocity - rates * grad
        theta = theta + velocity
    return theta


# The optimizer, and a textbook loop with its hyperparameters.
OTHERS = {
    "schedule-free": (ScheduleFreeAdam(0.1, 0.8, 0.9, 1e-3), textbook_schedule_free),
    "muon": (Muon(0.1, 0.8, weight_decay=0.3, others=Momentum(0.05)), textbook_muon),
    "lookahead": (Lookahead(SGD(0.1), k=3, alpha=0.3), textbook_lookahead),
    "grouped": (
        Grouped(
            [(ByRole("bias"), Momentum(0.1, 0.8)), (lambda e: e.path == "s", SGD(0.2))],
            default=SGD(0.05),
        ),
        textbook_groups,
    ),
    "lion": (Lion(0.1, 0.8, 0.9, weight_decay=0.3), textbook_lion),
    "adagrad-norm": (AdaGrad(0.1, eps=1e-3, norm=True), textbook_adagrad_norm),
    "rmsprop-norm": (RMSProp(0.1, 0.8, 1e-3, norm=True), textbook_rmsprop_norm),
}
ALL = {name: row[0] for name, row in (TORCH | OTHERS).items()}
every_optimizer = pytest.mark.parametrize("optimizer", ALL.values(), ids=ALL)
SELECTING = (Grouped, Muon)
WRAPPERS = (Grouped, Lookahead, Muon)
PLAIN = {name: optimizer for name, optimizer in ALL.items() if not isinstance(optimizer, WRAPPERS)}

N_STEPS, SIZE = 10, 7
LAYOUT = Layout.of([("weight", (2, 2), "weight"), ("bias", (2,), "bias"), ("s", (1,), "scale")])


@pytest.fixture
def theta(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=SIZE)


@pytest.fixture
def grads(rng: np.random.Generator) -> np.ndarray:
    """Ten gradients of various magnitudes, with one entry that is always 0."""
    grads = rng.normal(size=(N_STEPS, SIZE)) * np.logspace(-3, 2, SIZE)
    grads[:, 0] = 0
    return grads


def begin(optimizer: Optimizer, theta) -> OptimizerState:
    """The first state; with a layout only if the optimizer needs one, since others decay all."""
    return optimizer.init(theta, LAYOUT if isinstance(optimizer, SELECTING) else None)


def run(optimizer: Optimizer, theta, grads) -> OptimizerState:
    state = begin(optimizer, theta)
    for grad in grads:
        optimizer.step(theta, grad, state)
    return state


# --- values ---------------------------------------------------------------------------------------


def test_tables_hold_every_optimizer():
    exported = {getattr(optimizers, name) for name in optimizers.__all__}
    kinds = {x for x in exported if isinstance(x, type) and issubclass(x, Optimizer)}
    left_out = kinds - {type(optimizer) for optimizer in ALL.values()}
    assert {kind.__name__ for kind in left_out} == {
        "Optimizer",
        "Averaged",
        "Frozen",
        "Resumed",
        "SAM",
    }


@pytest.fixture
def torch64(torch):
    """PyTorch with the default dtype float64, which the product of NAdam's momenta has."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield torch
    torch.set_default_dtype(before)


@pytest.mark.parametrize("name", TORCH)
def test_ten_steps_agree_with_pytorch(name, theta, grads, torch64):
    optimizer, torch_name, settings = TORCH[name]
    expected = torch64.tensor(theta, requires_grad=True)
    other = getattr(torch64.optim, torch_name)([expected], **settings)
    for grad in grads:
        expected.grad = torch64.tensor(grad)
        other.step()
    run(optimizer, theta, grads)
    np.testing.assert_allclose(theta, expected.detach().numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", OTHERS)
def test_ten_steps_agree_with_the_paper(name, theta, grads):
    optimizer, textbook = OTHERS[name]
    expected = textbook(theta, grads)
    run(optimizer, theta, grads)
    np.testing.assert_allclose(theta, expected, rtol=1e-12, atol=1e-12)


def test_nesterov_reads_back_the_classical_iterates(theta):
    curvature = np.linspace(0.1, 3.0, SIZE)
    classical, v = theta.copy(), np.zeros(SIZE)
    nesterov = Nesterov(lr=0.1, momentum=0.8)
    state = nesterov.init(theta)
    for _ in range(N_STEPS):
        v = 0.8 * v - 0.1 * curvature * (classical + 0.8 * v)
        classical = classical + v
        nesterov.step(theta, curvature * theta, state)
        np.testing.assert_allclose(nesterov.read_back(theta, state), classical, rtol=1e-12)


@pytest.mark.parametrize(
    ("optimizer", "first"),
    [
        (SGD(), -0.02),
        (Momentum(), -0.02),
        (Nesterov(), -0.038),
        (Lion(), -1e-4),
        (AdaGrad(), -0.01),
        (AdaGrad(norm=True), -0.01),
        (RMSProp(), -1e-3 / math.sqrt(0.1)),
        (RMSProp(centered=True), -1e-3 / 0.3),
        (RMSProp(norm=True), -1e-3 / math.sqrt(0.1)),
        (AdaDelta(), -1e-3 / math.sqrt(0.05)),
        (Adam(), -1e-3),
        (AdamW(), -1e-3),
        (AMSGrad(), -1e-3),
        (Adamax(), -2e-3),
        (RAdam(), -2e-3),
        (Rprop(), -0.01),
        (ScheduleFreeAdam(), -2.5e-3),
    ],
    ids=repr,
)
def test_first_step_with_default_hyperparameters(optimizer, first):
    theta = np.zeros(1)
    optimizer.step(theta, np.array([2.0]), optimizer.init(theta))
    assert theta[0] == pytest.approx(first, rel=1e-4)


def test_centered_rmsprop_takes_a_constant_gradient():
    theta = np.zeros(3)
    run(RMSProp(rho=0.5, centered=True), theta, np.full((200, 3), [1e-3, 0.1, 1e3]))
    assert np.all(np.isfinite(theta))


# --- backends -------------------------------------------------------------------------------------


@every_optimizer
def test_backends_agree_with_numpy(optimizer, place, theta, grads):
    there = place.writable(theta)
    run(optimizer, there, [place.array(grad) for grad in grads])
    run(optimizer, theta, grads)
    np.testing.assert_allclose(place.host(there), theta, rtol=1e-13, atol=1e-13)


@every_optimizer
def test_float32_is_preserved(optimizer, place32, theta, grads):
    there = place32.writable(theta)
    state = run(optimizer, there, [place32.array(grad) for grad in grads])
    assert all(array.dtype == place32.backend.dtype for array in (there, *state.slots))
    run(optimizer, theta, grads)
    np.testing.assert_allclose(place32.host(there), theta, rtol=2e-4, atol=2e-4)


@every_optimizer
def test_step_writes_through_a_view(optimizer, place, theta, grads):
    vector = place.writable(np.concatenate([[5.0], theta, [6.0]]))
    run(optimizer, vector[1:-1], [place.array(grad) for grad in grads])
    run(optimizer, theta, grads)
    expected = np.concatenate([[5.0], theta, [6.0]])
    np.testing.assert_allclose(place.host(vector), expected, rtol=1e-13, atol=1e-13)


@every_optimizer
def test_step_keeps_arrays_and_gradient(optimizer, theta, grads):
    state = begin(optimizer, theta)
    slots, grad = state.slots, grads[0].copy()
    optimizer.step(theta, grad, state)
    assert all(new is old for new, old in zip(state.slots, slots, strict=True))
    np.testing.assert_array_equal(grad, grads[0])


@every_optimizer
def test_step_reads_nothing_from_the_device(optimizer, torch):
    theta = torch.ones(SIZE, device="meta")  # has no values: reading one raises
    run(optimizer, theta, [torch.ones(SIZE, device="meta")] * 2)


@every_optimizer
def test_rules_work_on_single_numbers(optimizer, theta, grads):
    class Scalars(Operations):
        """Operations that apply the rule to one number after another."""

        def update(self, rule, targets, inputs=(), scalars=()):
            for i in range(len(targets[0])):
                new = rule(np, *(float(a[i]) for a in (*targets, *inputs)), *scalars)
                for target, value in zip(targets, new if len(targets) > 1 else (new,), strict=True):
                    target[i] = value

    alone, module = theta.copy(), "xpnet.optimizers"
    run(optimizer, theta, grads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{module}.base.operations_for", lambda *_: Scalars(np))
        patch.setattr(f"{module}.adaptive.operations_for", lambda *_: Scalars(np))
        run(optimizer, alone, grads)
    np.testing.assert_allclose(alone, theta, rtol=1e-13)


# --- state ----------------------------------------------------------------------------------------


@every_optimizer
def test_state_starts_and_counts(optimizer, place, theta, grads):
    state = begin(optimizer, place.array(theta))
    assert state.step == 0
    others = {Rprop: [0.0, 1.0], Lookahead: [theta], ScheduleFreeAdam: [0.0, theta, theta]}
    first = others.get(type(optimizer), [0.0] * len(state.slots))
    for slot, expected in zip(state.slots, first, strict=True):
        np.testing.assert_array_equal(place.host(slot), expected)
    assert all(isinstance(number, float) for number in state.scalars)
    assert run(optimizer, place.writable(theta), [place.array(g) for g in grads]).step == N_STEPS


@every_optimizer
def test_copied_state_is_independent(optimizer, place, theta, grads):
    grads = [place.array(grad) for grad in grads]
    one = place.writable(theta)
    state = run(optimizer, one, grads[:3])
    kept, other = state.copy(), place.writable(place.host(one))
    for grad in grads[3:]:
        optimizer.step(one, grad, state)
    assert kept.step == 3
    for grad in grads[3:]:
        optimizer.step(other, grad, kept)
    np.testing.assert_array_equal(place.host(one), place.host(other))


@pytest.mark.parametrize("name", ["adagrad-norm", "rmsprop-norm"])
def test_norm_variants_have_a_state_of_one_number(name, theta):
    assert [slot.shape for slot in ALL[name].init(theta).slots] == [(1,)]


# --- learning rate --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(PLAIN.keys() - {"rprop"}))  # its bounds are relative to lr
def test_lr_overrides_one_step(name, theta, grads):
    optimizer = PLAIN[name]
    other, n = theta.copy(), N_STEPS // 2
    state = run(optimizer, theta, grads[:n])
    optimizer.step(theta, grads[n], state, lr=0.5)
    optimizer.step(theta, grads[n + 1], state)

    faster = replace(optimizer, lr=0.5)
    state = run(optimizer, other, grads[:n])
    faster.step(other, grads[n], state)
    optimizer.step(other, grads[n + 1], state)
    np.testing.assert_array_equal(theta, other)


@every_optimizer
def test_first_step_with_lr_zero_changes_nothing(optimizer, theta, grads):
    before = theta.copy()
    optimizer.step(theta, grads[0], begin(optimizer, theta), lr=0)
    np.testing.assert_array_equal(theta, before)


@every_optimizer
def test_zero_gradient_changes_only_what_decays(optimizer, theta):
    before = theta.copy()
    run(optimizer, theta, np.zeros((2, SIZE)))
    keep = np.full(SIZE, 1 - optimizer.lr * getattr(optimizer, "weight_decay", 0.0))
    if isinstance(optimizer, SELECTING):
        keep[LAYOUT.weights.stop :] = 1.0
    np.testing.assert_allclose(theta, before * keep**2, rtol=1e-14)


vectors = st.lists(st.floats(-10, 10), min_size=3, max_size=3).map(np.array)
rates = st.floats(1e-3, 10)
hypothesis_settings = settings(derandomize=True, deadline=None, max_examples=50)


@hypothesis_settings
@given(theta=vectors, grad=vectors, lr=rates, times=rates)
def test_step_of_sgd_is_linear_in_lr(theta, grad, lr, times):
    steps = []
    for rate in (lr, lr * times):
        moved = theta.copy()
        SGD(rate).step(moved, grad, OptimizerState())
        steps.append(moved - theta)
    np.testing.assert_allclose(steps[1], steps[0] * times, rtol=1e-9, atol=1e-12 * (1 + times))


@settings(hypothesis_settings, max_examples=10)
@given(start=st.floats(0.5, 3), curvature=st.floats(0.3, 2), sign=st.sampled_from([-1.0, 1.0]))
@pytest.mark.parametrize("kind", sorted({type(o) for o in PLAIN.values()}, key=repr))
def test_optimizers_descend_a_convex_quadratic(kind, start, curvature, sign):
    theta, optimizer = np.array([start, -start]) * sign, kind()
    hessian = np.array([curvature, 1.5 * curvature])
    first, state = 0.5 * hessian @ theta**2, optimizer.init(theta)
    for _ in range(100):
        optimizer.step(theta, hessian * theta, state)
    assert 0.5 * hessian @ theta**2 < first


# --- decoupled decay ------------------------------------------------------------------------------

decaying = pytest.mark.parametrize(
    "optimizer", [AdamW(0.1, weight_decay=0.5), Lion(0.1, weight_decay=0.5)], ids=repr
)


@decaying
def test_only_weights_decay_with_a_layout(optimizer, place):
    theta = place.writable(np.ones(SIZE))
    state = optimizer.init(theta, LAYOUT)
    for _ in range(3):
        optimizer.step(theta, place.array(np.zeros(SIZE)), state)
    np.testing.assert_allclose(place.host(theta), [0.95**3] * 4 + [1.0] * 3, rtol=1e-14)


@decaying
def test_layout_changes_only_the_decay(optimizer, theta, grads):
    plain, other = replace(optimizer, weight_decay=0.0), theta.copy()
    state = plain.init(theta, LAYOUT)
    for grad in grads:
        plain.step(theta, grad, state)
    other_state = run(plain, other, grads)
    np.testing.assert_array_equal(theta, other)
    for one, two in zip(state.slots, other_state.slots, strict=True):
        np.testing.assert_array_equal(one, two)
