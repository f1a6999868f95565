"""Steps and predictions that interrupt others: signal handlers, threads and forked processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from xpnet import MLP, SGD, Adam, CrossEntropy, Dense, Sequential, TrainingStep
from xpnet.engine.prediction import CALLS_BEFORE_RECORDING, prediction_of
from xpnet.engine.recorded_step import why_not_recorded
from xpnet.ops.cpu import threads


@pytest.fixture
def interrupt():
    """A function that sends a signal to this thread, and handles it by a given function."""
    number = signal.SIGINT
    before = signal.getsignal(number)

    def send(function):
        signal.signal(number, lambda *_: function())
        signal.raise_signal(number)

    yield send
    signal.signal(number, before)


def unchanged(X):
    """The preparation of rows that are network inputs already."""
    return X


@pytest.mark.skipif(bool(why_not_recorded()), reason="passes are not recorded here")
@pytest.mark.parametrize("features", [20, 2000])  # copied, and read in place
def test_prediction_inside_a_prediction(rng, features, interrupt):
    model = MLP(features, [16], 3)
    predict = prediction_of(model.state)
    A, B = rng.standard_normal((2, 4, features)).astype("float32")
    expected = predict(A, unchanged), predict(B, unchanged)
    for _ in range(CALLS_BEFORE_RECORDING + 2):
        predict(A, unchanged)
    recorded = predict._own.__dict__
    program, set_input, guards = recorded[4]
    inner = []

    def set_input_and_interrupt(inputs):
        set_input(inputs)
        interrupt(lambda: inner.append(predict(B, unchanged)))

    recorded[4] = program, set_input_and_interrupt, guards
    np.testing.assert_allclose(predict(A, unchanged), expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(inner[0], expected[1], rtol=1e-5, atol=1e-6)
    recorded[4] = program, set_input, guards
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
def test_step_inside_a_step(rng, engine, interrupt):
    X = rng.standard_normal((2, 8, 4)).astype("float32")
    y = rng.integers(0, 3, (2, 8))
    model = MLP(4, [5], 3, rng=1)
    step = TrainingStep(model, CrossEntropy(), SGD(0.5), engine=engine)
    for _ in range(2):
        step(X[0], y[0], lr=0.0)
    theta = model.theta.copy()
    grads = [np.array(model.value_and_grad(X[i], y[i], CrossEntropy())[1]) for i in (0, 1)]
    inner = step._step
    step._step = Interrupted(inner, lambda: interrupt(lambda: step(X[1], y[1])))
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
    with ThreadPoolExecutor(1) as other:
        assert other.submit(step._lock.lock.acquire, blocking=False).result()


FORK = """
import os, signal, sys, threading
import numpy as np
from xpnet import MLP, Adam, CrossEntropy, TrainingStep

held, engine = sys.argv[1:]
X, y = np.ones((8, 4), "float32"), np.arange(8) % 3
model = MLP(4, [5], 3)
step = TrainingStep(model, CrossEntropy(), Adam(), engine=None if engine == "None" else engine)
step(X, y)
step(X, y)
inner, inside, done = step._step, threading.Event(), threading.Event()


class Slow:
    def __call__(self, *batch):
        inside.set()
        done.wait()
        return inner(*batch)


class Forks:
    def __call__(self, *batch):
        fork()
        return inner(*batch)


def fork():
    pid = os.fork()
    if pid:
        sys.exit(os.waitpid(pid, 0)[1])
    signal.alarm(60)  # ends a child that waits for a lock which nobody releases
    step._step = inner
    before = model.theta.copy()
    finite = np.isfinite(float(step(X, y)))
    other = threading.Thread(target=step, args=(X, y))
    if held != "by this thread":  # which still holds it in the child
        other.start()
        other.join()
    os._exit(0 if finite and (model.theta != before).any() else 1)


if held == "by another thread":
    step._step = Slow()
    threading.Thread(target=step, args=(X, y), daemon=True).start()
    inside.wait()
    fork()
elif held == "by this thread":
    step._step = Forks()
    step(X, y)
else:
    fork()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("engine", ["eager", "None"])
@pytest.mark.parametrize("held", ["by another thread", "by this thread", "by none"])
def test_forked_process_takes_steps(held, engine):
    """In a process of its own: JAX, which other tests may have imported, warns about forks."""
    call = [sys.executable, "-c", FORK, held, engine]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_call_inside_a_submission_is_not_submitted(monkeypatch):
    """The pool holds a lock while it accepts a call, for which a signal handler would wait."""
    found = []

    class Pool:
        def submit(self, function, *arguments):
            found.append(threads.run_in_threads(lambda i: i * i, [(4,), (5,), (6,)]))
            raise RuntimeError("cannot schedule new futures")

    monkeypatch.setattr(threads, "_pool", lambda pid: Pool())
    assert threads.run_in_threads(lambda i: i + 1, [(1,), (2,)]) == [2, 3]
    assert found == [[16, 25, 36]]
    assert threads.run_in_threads(lambda i: i + 1, [(1,), (2,)]) == [2, 3]
    assert len(found) == 2


class Predicts(Dense):
    """A layer that predicts in the middle of a prediction, as a signal handler may."""

    def forward(self, p, x, ctx):
        y, saved = super().forward(p, x, ctx)
        if INSIDE:
            INSIDE.pop()()
        return y, saved


INSIDE: list = []


@pytest.mark.parametrize("rows", [1, 64, 65, 3000])
def test_prediction_in_a_layer_of_a_prediction(rng, rows):
    model = Sequential([Predicts(7), Dense(3)], 5)
    A, B = rng.standard_normal((2, rows, 5)).astype("float32")
    expected, inner = [model.predict(A), model.predict(B)], []
    INSIDE.append(lambda: inner.append(model.predict(B)))
    np.testing.assert_array_equal(model.predict(A), expected[0])
    np.testing.assert_array_equal(inner[0], expected[1])
