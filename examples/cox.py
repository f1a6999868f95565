"""Survival times: Cox's partial likelihood with Efron's ties, a loss that is no mean over rows.

A network gives each row a log-risk z. An event at time t is explained by the share of its risk in
that of all rows R(t) whose time is at least t; with d events D(t) at one time,

    ℓ = -Σ_t [ Σ_{i ∈ D(t)} z_i - Σ_{l<d} log( Σ_{R(t)} e^z - l/d Σ_{D(t)} e^z ) ].

Each term needs other rows, so the class sets `row_mean = False`: xpnet then gives it all rows, in
their order (sorted by time), and refuses mini-batches. It is trained by L-BFGS, and measured by the
concordance index: how often, of two rows, the one with the higher risk has its event first.

D. Cox, "Regression Models and Life-Tables", JRSS B 34, 1972; B. Efron, "The Efficiency of Cox's
Likelihood Function for Censored Data", JASA 72, 1977.

    python examples/cox.py
"""

import numpy as np

from xpnet import MLP, Tanh
from xpnet.derivatives import check_gradients
from xpnet.errors import require
from xpnet.losses import Loss
from xpnet.minimize import LBFGS


class CoxEfron(Loss):
    """The partial likelihood, for each event; targets are rows ``[time, event]`` by time."""

    row_mean = scalable = False

    def check(self, target, n_out, n_rows):
        """Refuse other targets, and rows in another order."""
        ok = target.shape == (n_rows, 2) and n_out == 1 and np.all(np.diff(target[:, 0]) >= 0)
        require(bool(ok), "y", "hold rows [time, event] by ascending time, for one output", target)

    def value_and_grad(self, output, target, weight=None, *, out=None):
        """Return the loss of an event and its gradient."""
        require(weight is None, "sample_weight", "be left out for CoxEfron", weight)
        (time, event), z = target.T, output[:, 0]
        e = np.exp(z - z.max())
        first, last = np.searchsorted(time, time), np.searchsorted(time, time, side="right") - 1
        before = np.cumsum(event) - event  # the events of earlier rows
        d = (before + event)[last] - before[first]
        share = (before - before[first]) / np.maximum(d, 1.0)  # l/d
        tied = np.bincount(first, event * e, len(z))[first]
        risk = np.cumsum(e[::-1])[::-1][first] - share * tied
        inverse = event / risk
        removed = np.bincount(first, share * inverse, len(z))[first]
        grad = e * (np.cumsum(inverse)[last] - event * removed) - event
        value = np.sum(event * (np.log(risk) + z.max() - z))
        return value / event.sum(), grad[:, None] / event.sum()

    def value(self, output, target, weight=None):
        """Return the loss of an event."""
        return self.value_and_grad(output, target, weight)[0]


def plain_loop(z, time, event):
    """The same loss, as it is written in the paper."""
    total = 0.0
    for t in np.unique(time[event == 1]):
        died, risk = np.exp(z[(time == t) & (event == 1)]), np.exp(z[time >= t]).sum()
        total -= np.log(died).sum()
        total += sum(np.log(risk - k / len(died) * died.sum()) for k in range(len(died)))
    return total / event.sum()


def concordance(predicted, target):
    """The share of comparable pairs in the right order; ½ is chance."""
    (time, event), z = target.T, np.ravel(predicted)
    earlier = (time[:, None] < time) & (event[:, None] == 1)
    return np.sum(earlier * ((z[:, None] > z) + 0.5 * (z[:, None] == z))) / earlier.sum()


def patients(n, rng):
    """Rows with a U-shaped risk, times in whole months, and a third that is censored."""
    X = rng.normal(size=(n, 3))
    life = rng.exponential(np.exp(3.0 - X[:, 0] ** 2 + 0.5 * X[:, 1]))
    end = rng.exponential(30.0, n)
    order = np.argsort(time := np.ceil(np.minimum(life, end)))
    return X[order], np.stack([time, life <= end], axis=1)[order]


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    (X, y), (X_test, y_test) = patients(400, rng), patients(400, rng)
    for name, hidden in (("linear", []), ("tanh 8", [8])):
        model = MLP(3, hidden, 1, activation=Tanh(), dtype="float64")
        check_gradients(model, X, y, CoxEfron()).raise_if_wrong()
        fit = {"loss": CoxEfron(), "optimizer": LBFGS(), "l2": 1e-3, "epochs": 60}
        model.fit(X, y, **fit, progress=False)
        z = model.forward(X)
        off = abs(CoxEfron().value(z, y) - plain_loop(z[:, 0], *y.T))
        found = model.evaluate(X_test, y_test, metrics=[concordance])
        print(f"{name:8} concordance {found['concordance']:.3f}, beside a plain loop {off:.0e}")
