"""Steps and predictions that interrupt others: signal handlers, threads and forked processes."""

from __future__ import annotations

import copy
import os
import threading

import numpy as np
import pytest

from xpnet import MLP, SGD, Adam, CrossEntropy, TrainingStep
from xpnet.engine.prediction import CALLS_BEFORE_RECORDING, prediction_of
from xpnet.engine.recorded_step import why_not_recorded
from xpnet.engine.step_lock import StepLock

TIMEOUT = 30
"""Seconds after which a lock counts as never released."""


def unchanged(X):
    """The preparation of rows that are network inputs already."""
    return X


@pytest.mark.skipif(bool(why_not_recorded()), reason="passes are not recorded here")
@pytest.mark.parametrize("features", [20, 2000])  # copied, and read in place
def test_prediction_inside_a_prediction(rng, features):
    model = MLP(features, [16], 3)
    predict = prediction_of(model.state)
    A, B = rng.standard_normal((2, 4, features)).astype("float32")
    expected = predict(A, unchanged), predict(B, unchanged)
    for _ in range(CALLS_BEFORE_RECORDING + 2):
        predict(A, unchanged)
    recorded = predict._own.__dict__
    program, set_input = recorded[4]
    inner = []

    def set_input_and_interrupt(inputs):
        set_input(inputs)
        inner.append(predict(B, unchanged))

    recorded[4] = program, set_input_and_interrupt
    np.testing.assert_allclose(predict(A, unchanged), expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(inner[0], expected[1], rtol=1e-5, atol=1e-6)
    recorded[4] = program, set_input
    np.testing.assert_allclose(predict(B, unchanged), expected[1], rtol=1e-5, atol=1e-6)


class Interrupted:
    """Steps during which others are taken, between the gradient and the update."""

    def __init__(self, steps, interrupt):
        self.steps, self.interrupt = steps, interrupt

    def __call__(self, X, y, weight, lr):
        value = self.steps.gradient(X, y, weight)
        self.interrupt()
        self.steps.update(lr)
        return value


@pytest.mark.parametrize("engine", ["eager", None])
def test_step_inside_a_step(rng, engine):
    X = rng.standard_normal((2, 8, 4)).astype("float32")
    y = rng.integers(0, 3, (2, 8))
    model = MLP(4, [5], 3, rng=1)
    step = TrainingStep(model, CrossEntropy(), SGD(0.5), engine=engine)
    for _ in range(2):
        step(X[0], y[0], lr=0.0)
    theta = model.theta.copy()
    grads = [np.array(model.value_and_grad(X[i], y[i], CrossEntropy())[1]) for i in (0, 1)]
    inner = step._step
    step._step = Interrupted(inner, lambda: step(X[1], y[1]))
    step(X[0], y[0])
    expected = theta - 0.5 * (grads[0] + grads[1])
    np.testing.assert_allclose(model.theta, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.grad, grads[0], rtol=1e-5, atol=1e-6)
    step._step = inner
    assert float(step(X[0], y[0])) > 0


def test_failed_step_releases_the_lock(rng):
    step = TrainingStep(MLP(4, [5], 3), CrossEntropy(), Adam())
    step._step = Interrupted(step._step, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        step(np.ones((2, 4), "float32"), np.array([0, 1]))
    assert not step._lock.busy
    assert step._lock.lock.acquire(timeout=TIMEOUT)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("held", ["by another thread", "by this thread", "by none"])
def test_lock_is_renewed_after_a_fork(held):
    own, taken, done = StepLock(), threading.Event(), threading.Event()

    def hold():
        with own.lock:
            own.busy = True
            taken.set()
            done.wait(TIMEOUT)

    thread = threading.Thread(target=hold)
    if held == "by another thread":
        thread.start()
        taken.wait(TIMEOUT)
    elif held == "by this thread":
        own.lock.acquire()
        own.busy = True
    pid = os.fork()
    if pid == 0:
        kept = own.busy == (held == "by this thread")
        os._exit(0 if own.lock.acquire(timeout=TIMEOUT) and kept else 1)
    done.set()
    assert os.waitpid(pid, 0)[1] == 0
    if thread.ident is not None:
        thread.join(TIMEOUT)


def test_lock_is_not_copied():
    own = StepLock()
    with own.lock:
        other = copy.deepcopy(own)
    assert other.lock is not own.lock
    assert not other.busy
