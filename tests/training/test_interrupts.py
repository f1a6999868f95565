"""Ctrl-C and other ends of a training: what is saved, restored and called, and in which order."""

from __future__ import annotations

import signal
import threading

import numpy as np
import pytest

import xpnet
from xpnet import (
    MLP,
    ArgumentError,
    Checkpoint,
    CrossEntropy,
    EarlyStopping,
    Momentum,
    TrainingCheckpoint,
)
from xpnet.minimize import LBFGS
from xpnet.training.interrupts import Interrupts

N, BATCH, STEPS = 40, 8, 5
QUIET = {"loss": CrossEntropy(), "optimizer": Momentum(0.3), "batch_size": BATCH}
QUIET |= {"progress": False, "epochs": 6, "rng": 2, "validation": 0.2}
STEPS = 4  # of an epoch, on the 32 rows that are left


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, 3)), rng.integers(0, 2, N)


class Press:
    """Presses Ctrl-C in an epoch, after a step or after the epoch, so many times."""

    stateless = True

    def __init__(self, epoch=3, step=2, times=1):
        self.at, self.times = (epoch, step), times

    def step(self, run):
        if (run.epoch, run.step) == self.at:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)

    def epoch(self, run):
        if (run.epoch, None) == self.at:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)


class Noted:
    """Notes every call with its position."""

    stateless = True

    def __init__(self):
        self.calls = []

    def begin(self, run):
        self.calls.append("begin")

    def exception(self, run, error):
        self.calls.append(f"{type(error).__name__} {run.epoch}.{run.step}")

    def end(self, run):
        self.calls.append(f"end {run.epoch} {run.history.stopped}")


WHERE = {
    "step": (Press(3, 2), "interrupted in epoch 3, step 2", 3, 2),
    "last step": (Press(3, STEPS), "interrupted after epoch 3", 3, 0),
    "epoch": (Press(3, None), "interrupted after epoch 3", 3, 0),
    "first step": (Press(1, 1), "interrupted in epoch 1, step 1", 1, 1),
    "last epoch": (Press(6, None), "interrupted after epoch 6", 6, 0),
}


@pytest.mark.parametrize("case", WHERE)
def test_ctrl_c_ends_the_training_and_is_raised(task, tmp_path, case):
    press, stopped, epoch, step = WHERE[case]
    model, noted, path = MLP(3, [6], 2), Noted(), tmp_path / "training"
    callbacks = [noted, press, TrainingCheckpoint(path, epochs=99)]
    with pytest.raises(KeyboardInterrupt):
        model.fit(*task, callbacks=callbacks, **QUIET)
    assert model.history.stopped == stopped
    assert noted.calls == ["begin", f"KeyboardInterrupt {epoch}.{step}", f"end {epoch} {stopped}"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    whole, resumed = MLP(3, [6], 2), MLP(3, [6], 2)
    whole.fit(*task, **QUIET)
    resumed.fit(*task, resume=path, **QUIET)
    np.testing.assert_array_equal(resumed.theta, whole.theta)
    assert resumed.history.stopped == ""


def test_ctrl_c_returns_the_best_epoch(task, tmp_path):
    model = MLP(3, [6], 2)
    callbacks = [EarlyStopping(patience=99), Checkpoint(tmp_path / "best"), Press(5, 3)]
    history = model.fit(*task, callbacks=callbacks, on_interrupt="return", **QUIET)
    assert history.stopped == "interrupted in epoch 5, step 3"
    assert len(history) == 4
    np.testing.assert_array_equal(model.theta, xpnet.load(tmp_path / "best").theta)


def test_second_ctrl_c_ends_the_step_at_once(task, tmp_path):
    """No file is written then: a callback, or a step, may be half done."""
    model, path = MLP(3, [6], 2), tmp_path / "training"
    callbacks = [Press(3, 2, times=2), TrainingCheckpoint(path, epochs=1)]
    with pytest.raises(KeyboardInterrupt):
        model.fit(*task, callbacks=callbacks, **QUIET)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    whole, resumed = MLP(3, [6], 2), MLP(3, [6], 2)
    whole.fit(*task, **QUIET)
    resumed.fit(*task, resume=path, **QUIET)
    np.testing.assert_array_equal(resumed.theta, whole.theta)


def test_handlers_of_others_stay(task):
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    try:
        MLP(3, [6], 2).fit(*task, callbacks=[Press()], **QUIET)
        assert seen == [1]
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_do_not_touch_the_handler(task):
    found = []
    look = lambda run: found.append(signal.getsignal(signal.SIGINT))  # noqa: E731
    fit = lambda: MLP(3, [6], 2).fit(*task, callbacks=[look], **QUIET)  # noqa: E731
    thread = threading.Thread(target=fit)
    thread.start()
    thread.join()
    assert set(found) == {signal.default_int_handler}


def test_training_in_a_callback_ends_both(task):
    inner, outer = MLP(3, [6], 2), MLP(3, [6], 2)
    nested = lambda run: inner.fit(*task, callbacks=[Press(2, 1)], **QUIET) and None  # noqa: E731
    with pytest.raises(KeyboardInterrupt):
        outer.fit(*task, callbacks=[nested], **QUIET)
    assert inner.history.stopped == "interrupted in epoch 2, step 1"
    assert outer.history.stopped == "interrupted within the callbacks of epoch 1"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_unread_ctrl_c_is_raised_at_the_end():
    with pytest.raises(KeyboardInterrupt), Interrupts():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class Fails:
    stateless = True

    def epoch(self, run):
        if run.epoch == 3:
            raise OSError("disk full")


def test_other_exceptions_are_told_and_raised(task, tmp_path):
    model, noted, path = MLP(3, [6], 2), Noted(), tmp_path / "training"
    callbacks = [noted, Fails(), TrainingCheckpoint(path, epochs=2)]
    with pytest.raises(OSError, match="disk full"):
        model.fit(*task, callbacks=callbacks, **QUIET)
    assert noted.calls == ["begin", "OSError 3.0"]
    whole, resumed = MLP(3, [6], 2), MLP(3, [6], 2)
    whole.fit(*task, **QUIET)
    resumed.fit(*task, resume=path, **QUIET)
    np.testing.assert_array_equal(resumed.theta, whole.theta)


def test_on_interrupt_is_checked(task):
    for optimizer in (Momentum(), LBFGS()):
        with pytest.raises(ArgumentError, match="on_interrupt must be one of raise, return"):
            MLP(3, [], 2).fit(*task, loss=CrossEntropy(), optimizer=optimizer, on_interrupt="stop")
