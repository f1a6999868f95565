"""Schedules: their values, their bounds, and agreement with PyTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet.errors import ArgumentError
from xpnet.optimizers import (
    SGD,
    ConstantRate,
    Cosine,
    ExponentialDecay,
    LinearWarmup,
    OneCycle,
    ReduceOnPlateau,
    StepDecay,
)
from xpnet.optimizers.schedules import Schedule

ALL = [
    ConstantRate(),
    StepDecay(every=2),
    StepDecay(every=0.3, rate=0.9),
    ExponentialDecay(rate=0.7),
    Cosine(),
    Cosine(final=1.0),
    OneCycle(),
    OneCycle(peak=0.99, initial=1.0, final=1.0),
    ReduceOnPlateau(patience=0),
    ReduceOnPlateau(rate=0.5, patience=2, cooldown=1, floor=0.2),
    LinearWarmup(3),
    LinearWarmup(0.5, then=Cosine()),
    LinearWarmup(1, then=LinearWarmup(1, then=OneCycle())),
    LinearWarmup(2, then=ReduceOnPlateau(patience=0)),
]


@pytest.mark.parametrize(
    ("schedule", "n_epochs", "expected"),
    [
        (ConstantRate(), 3, {0: 1, 1.7: 1, 3: 1, 9: 1}),
        (StepDecay(every=2, rate=0.1), 6, {0: 1, 1.99: 1, 2: 0.1, 4.5: 0.01, 6: 1e-3, 9: 1e-3}),
        (
            ExponentialDecay(rate=0.25),
            4,
            {0: 1, 0.5: 0.5, 1: 0.25, 2: 0.0625, 4: 0.25**4, 9: 0.25**4},
        ),
        (Cosine(), 4, {0: 1, 1: (1 + math.sqrt(0.5)) / 2, 2: 0.5, 4: 0, 9: 0}),
        (Cosine(final=0.5), 4, {0: 1, 2: 0.75, 4: 0.5, 9: 0.5}),
        (LinearWarmup(2), 4, {0: 0, 0.5: 0.25, 2: 1, 4: 1, 9: 1}),
        (LinearWarmup(2, then=Cosine()), 4, {1: 0.5, 2: 1, 3: 0.5, 4: 0, 9: 0}),
        (LinearWarmup(4, then=Cosine()), 4, {2: 0.5, 4: 0}),
        (LinearWarmup(8), 4, {2: 0.25, 4: 0.5}),
        (OneCycle(0.25, 0.1, 0.2), 8, {0: 0.1, 1: 0.55, 2: 1, 5: 0.6, 8: 0.2, 9: 0.2}),
    ],
    ids=repr,
)
def test_factor_at_given_times(schedule, n_epochs, expected):
    factors = {epoch: schedule.factor(epoch, n_epochs) for epoch in expected}
    assert factors == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    ("schedule", "values", "expected"),
    [
        (ReduceOnPlateau(0.5, patience=1), [], 1),
        (ReduceOnPlateau(0.5, patience=1), [1, 1], 1),
        (ReduceOnPlateau(0.5, patience=1), [1, 1, 1], 0.5),
        (ReduceOnPlateau(0.5, patience=1), [1, 1, 1, 1], 0.5),
        (ReduceOnPlateau(0.5, patience=1), [1, 1, 1, 1, 1], 0.25),
        (ReduceOnPlateau(0.5, patience=0), [3, 2, 1], 1),
        (ReduceOnPlateau(0.5, patience=0, min_delta=1.0), [3, 2, 1], 0.5),
        (ReduceOnPlateau(0.5, patience=0, cooldown=2), [1, 1, 1, 1], 0.5),
        (ReduceOnPlateau(0.5, patience=0, cooldown=2), [1, 1, 1, 1, 1], 0.25),
        (ReduceOnPlateau(0.5, patience=0, floor=0.4), [1, 1, 1, 1], 0.4),
        (ReduceOnPlateau(0.5, patience=1), [math.nan] * 2, 0.5),
        (LinearWarmup(2, then=ReduceOnPlateau(0.5, patience=0)), [1, 1, 1], 1),
        (LinearWarmup(2, then=ReduceOnPlateau(0.5, patience=0)), [1, 1, 1, 1], 0.5),
    ],
    ids=repr,
)
def test_factor_after_given_values(schedule, values, expected):
    assert schedule.factor(len(values), 100, values) == expected


@pytest.mark.parametrize("cooldown", [0, 3])
@pytest.mark.parametrize("patience", [0, 2])
def test_plateau_agrees_with_pytorch(patience, cooldown, rng, torch):
    values = np.round(rng.random(60), 1).tolist()
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    other = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.7, patience=patience, threshold=0.05, threshold_mode="abs",
        cooldown=cooldown, min_lr=1e-3, eps=0.0,
    )  # fmt: skip
    schedule = ReduceOnPlateau(0.7, patience, min_delta=0.05, cooldown=cooldown, floor=1e-3)
    for epoch, value in enumerate(values, start=1):
        other.step(value)
        expected = optimizer.param_groups[0]["lr"]
        assert schedule.factor(epoch, 60, values[:epoch]) == pytest.approx(expected, rel=1e-12)


def test_one_cycle_agrees_with_pytorch(torch):
    n, peak = 20, 0.3
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    other = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=n, pct_start=peak, anneal_strategy="linear",
        div_factor=25, final_div_factor=1e4, cycle_momentum=False,
    )  # fmt: skip
    # The last step of PyTorch is number n − 1, and its peak is one step earlier.
    schedule = OneCycle(peak=(peak * n - 1) / (n - 1))
    for step in range(n):
        expected = other.get_last_lr()[0]
        assert schedule.factor(step, n - 1) == pytest.approx(expected, rel=1e-10)
        optimizer.step()
        if step < n - 1:
            other.step()


@settings(derandomize=True, deadline=None, max_examples=50)
@given(
    epoch=st.floats(0, 60),
    n_epochs=st.integers(1, 50),
    values=st.lists(st.floats(0, 2), max_size=30),
)
@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_factor_is_within_zero_and_one(schedule, epoch, n_epochs, values):
    factor = schedule.factor(epoch, n_epochs, values)
    assert isinstance(factor, float)
    assert 0 <= factor <= 1
    assert factor == schedule.factor(epoch, n_epochs, tuple(values))


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_schedule_in_a_hand_written_loop(schedule):
    optimizer, n_epochs = SGD(lr=0.5), 4
    theta = np.ones(1)
    state = optimizer.init(theta)
    rates = []
    for epoch in range(n_epochs):
        lr = optimizer.lr * schedule.factor(epoch, n_epochs)
        before = theta.copy()
        optimizer.step(theta, np.ones(1), state, lr=lr)
        rates.append(float((before - theta)[0]))
    expected = [0.5 * schedule.factor(epoch, n_epochs) for epoch in range(n_epochs)]
    np.testing.assert_allclose(rates, expected, atol=1e-15)


BAD = {
    "every": (lambda: StepDecay(0), "every must be a finite number, above 0; got 0."),
    "step-rate": (lambda: StepDecay(1, 2), "rate must be a finite number, above 0 and at most 1;"),
    "rate": (
        lambda: ExponentialDecay(0),
        "rate must be a finite number, above 0 and at most 1; got 0.",
    ),
    "final": (lambda: Cosine(-1), "final must be a finite number, at least 0 and at most 1; got"),
    "epochs": (lambda: LinearWarmup(-1), "epochs must be a finite number, above 0; got -1."),
    "then": (lambda: LinearWarmup(1, then=0.5), "then must be a Schedule; got 0.5."),
    "class": (lambda: LinearWarmup(1, then=Cosine), "Write Cosine() to make one."),
    "peak": (lambda: OneCycle(peak=1), "peak must be a finite number, above 0 and below 1; got 1."),
    "initial": (lambda: OneCycle(initial=2), "initial must be a finite number, at least 0 and at"),
    "end": (lambda: OneCycle(final=math.nan), "final must be a finite number, at least 0 and at"),
    "drop": (lambda: ReduceOnPlateau(1), "rate must be a finite number, above 0 and below 1; got"),
    "patience": (
        lambda: ReduceOnPlateau(patience=1.5),
        "patience must be an integer of at least 0; got 1.5.",
    ),
    "delta": (lambda: ReduceOnPlateau(min_delta=-1), "min_delta must be a finite number, at least"),
    "cooldown": (
        lambda: ReduceOnPlateau(cooldown=-1),
        "cooldown must be an integer of at least 0; got -1.",
    ),
    "floor": (lambda: ReduceOnPlateau(floor=2), "floor must be a finite number, at least 0 and at"),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_invalid_schedules_are_refused_by_name(call, message):
    with pytest.raises(ArgumentError) as caught:
        call()
    assert message in str(caught.value)


def test_incomplete_schedule_names_what_is_missing():
    class Mine(Schedule):
        pass

    with pytest.raises(NotImplementedError, match=r"Mine must define factor\(epoch, n_epochs, val"):
        Mine().factor(0.0, 1.0)
