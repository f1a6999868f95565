"""The errors of the optimizers and their messages."""

from __future__ import annotations

import math

import numpy as np
import pytest

from xpnet.errors import ArgumentError
from xpnet.optimizers import (
    SGD,
    AdaDelta,
    AdaGrad,
    Adam,
    Adamax,
    AdamW,
    AMSGrad,
    Lion,
    Lookahead,
    Momentum,
    Nadam,
    Nesterov,
    OptimizerState,
    RAdam,
    Resumed,
    RMSProp,
    Rprop,
)
from xpnet.parameters import Layout

LAYOUT = Layout.of([("weight", (2, 3), "weight"), ("bias", (1,), "bias")])
THETA = np.zeros(3)

BAD = {
    "lr": (lambda: SGD(lr=-0.1), "lr must be a finite number, above 0; got -0.1."),
    "lr-0": (lambda: Adam(lr=0), "lr must be a finite number, above 0; got 0."),
    "lr-nan": (lambda: AdaGrad(lr=math.nan), "lr must be a finite number, above 0; got nan."),
    "lr-text": (lambda: RMSProp(lr="fast"), "lr must be a finite number, above 0; got 'fast'."),
    "momentum": (
        lambda: Momentum(momentum=1),
        "momentum must be a finite number, at least 0 and below 1",
    ),
    "momentum-2": (
        lambda: Nesterov(momentum=-1),
        "momentum must be a finite number, at least 0 and below",
    ),
    "rho": (lambda: RMSProp(rho=1.0), "rho must be a finite number, at least 0 and below 1; got 1"),
    "rho-2": (lambda: AdaDelta(rho=2), "rho must be a finite number, at least 0 and below 1; got"),
    "beta1": (
        lambda: Adam(beta1=1),
        "beta1 must be a finite number, at least 0 and below 1; got 1.",
    ),
    "beta2": (
        lambda: RAdam(beta2=-1),
        "beta2 must be a finite number, at least 0 and below 1; got",
    ),
    "beta2-2": (
        lambda: Lion(beta2=1),
        "beta2 must be a finite number, at least 0 and below 1; got",
    ),
    "eps": (lambda: Adamax(eps=0), "eps must be a finite number, above 0; got 0."),
    "eps-2": (lambda: AMSGrad(eps=math.inf), "eps must be a finite number, above 0; got inf."),
    "eps-3": (lambda: AdaGrad(eps=None), "eps must be a finite number, above 0; got None."),
    "decay": (lambda: AdamW(weight_decay=-1), "weight_decay must be a finite number, at least 0;"),
    "psi": (lambda: Nadam(momentum_decay=-1), "momentum_decay must be a finite number, at least"),
    "norm": (lambda: AdaGrad(norm="l2"), "norm must be True or False; got 'l2'."),
    "centered": (lambda: RMSProp(centered=1), "centered must be True or False; got 1."),
    "both": (lambda: RMSProp(centered=True, norm=True), "norm must be False with centered=True"),
    "eta-minus": (
        lambda: Rprop(eta_minus=1),
        "eta_minus must be a finite number, above 0",
    ),
    "eta-plus": (lambda: Rprop(eta_plus=1), "eta_plus must be a finite number, above 1; got 1."),
    "step-min": (lambda: Rprop(step_min=0), "step_min must be a finite number, above 0; got 0."),
    "step-max": (lambda: Rprop(step_max=0), "step_max must be at least step_min, 1e-06; got 0."),
    "k": (lambda: Lookahead(SGD(), k=0), "k must be an integer of at least 1; got 0."),
    "alpha": (lambda: Lookahead(SGD(), alpha=0), "alpha must be a finite number, above 0 and at"),
    "inner": (lambda: Lookahead("sgd"), "optimizer must be an Optimizer; got 'sgd'. Write SGD()"),
    "inner-resumed": (
        lambda: Lookahead(Resumed(SGD(), OptimizerState())),
        "Put Resumed outside: Resumed(Lookahead(...), state).",
    ),
    "theta-2d": (
        lambda: SGD().init(np.zeros((2, 3))),
        "theta must be a 1-D floating array; got a float64 array of shape (2, 3).",
    ),
    "theta-int": (
        lambda: Adam().init(np.arange(3)),
        "theta must be a 1-D floating array; got an int64 array of shape (3,).",
    ),
    "theta-list": (
        lambda: Adam().init([1.0, 2.0]),
        "theta must be a 1-D floating array; got [1.0, 2.0].",
    ),
    "layout": (
        lambda: AdamW().init(THETA, LAYOUT),
        "theta must have the layout's size 7; got a float64 array of shape (3,).",
    ),
    "grad-shape": (
        lambda: SGD().step(THETA, np.zeros(4), OptimizerState()),
        "grad must have theta's shape (3,) and dtype float64; got a float64 array of shape (4,).",
    ),
    "grad-dtype": (
        lambda: SGD().step(THETA, np.zeros(3, dtype="float32"), OptimizerState()),
        "grad must have theta's shape (3,) and dtype float64; got a float32 array of shape (3,).",
    ),
    "grad-list": (
        lambda: SGD().step(THETA, [0.0] * 3, OptimizerState()),
        "grad must have theta's shape (3,) and dtype float64; got [0.0, 0.0, 0.0].",
    ),
    "state-size": (
        lambda: Momentum().step(THETA, THETA, Momentum().init(np.zeros(4))),
        "state must be what Momentum.init makes for a float64 theta of shape (3,); "
        "got slots [float64 (4,)] and 0 scalars. Make a state for each optimizer and each theta.",
    ),
    "state-dtype": (
        lambda: Momentum().step(THETA, THETA, Momentum().init(np.zeros(3, dtype="float32"))),
        "state must be what Momentum.init makes for a float64 theta of shape (3,); "
        "got slots [float32 (3,)] and 0 scalars.",
    ),
    "state-kind": (
        lambda: Nadam().step(THETA, THETA, Adam().init(THETA)),
        "state must be what Nadam.init makes for a float64 theta of shape (3,); "
        "got slots [float64 (3,), float64 (3,)] and 0 scalars.",
    ),
    "step-lr": (
        lambda: SGD().step(THETA, THETA, OptimizerState(), lr=-1.0),
        "lr must be a finite number, at least 0; got -1.0.",
    ),
    "step-lr-nan": (
        lambda: SGD().step(THETA, THETA, OptimizerState(), lr=math.nan),
        "lr must be a finite number, at least 0; got nan.",
    ),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_invalid_input_is_refused_by_name(call, message):
    with pytest.raises(ArgumentError) as caught:
        call()
    assert message in str(caught.value)


def test_refused_step_changes_nothing():
    theta, adam = np.ones(3), Adam()
    state = adam.init(theta)
    with pytest.raises(ArgumentError):
        adam.step(theta, np.ones(4), state)
    assert state.step == 0
    np.testing.assert_array_equal(theta, np.ones(3))
