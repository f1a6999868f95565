"""Recorded steps when arrays, states and batches change or fail between steps."""

from __future__ import annotations

import gc
import math
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import xpnet
from xpnet import MLP, Adam, ArgumentError, CrossEntropy, Dense, Momentum, TrainingStep
from xpnet.activations import ActivationFunction
from xpnet.ops.numpy import BLOCK
from xpnet.ops.select import why_not_compiled

if why_not_compiled():
    pytest.skip(f"nothing is compiled: {why_not_compiled()}", allow_module_level=True)

from xpnet.engine import recorder as program
from xpnet.ops.cpu import runner
from xpnet.ops.cpu.jit import NotCompiled, loop_of
from xpnet.ops.cpu.jit.arguments import DATA
from xpnet.ops.cpu.jit.intrinsics import IS_X86
from xpnet.ops.cpu.rowwise import column_sum

X = np.random.default_rng(0).normal(size=(24, 4))
Y = np.arange(24) % 3


def pair(**network):
    """A recorded and an eager step, on equal models."""
    return [
        TrainingStep(
            MLP(4, [6], 3, dtype="float64", **network), CrossEntropy(), Adam(0.01), engine=engine
        )
        for engine in (None, "eager")
    ]


def assert_alike(steps):
    recorded, plain = steps
    assert recorded.engine == "replay: a list of compiled calls"
    assert recorded.state.step == plain.state.step
    for name in ("theta", "statistics"):
        actual, expected = (getattr(step._model, name) for step in steps)
        np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-13)


def test_bad_batch_does_not_stop_recording():
    steps = pair(batch_norm=True)
    for step in steps:
        step(X, Y)
        with pytest.raises(ArgumentError, match="batch"):
            step(X[:1], Y[:1])
        step(X[:12], Y[:12])
        step(X, Y)
    assert_alike(steps)


@pytest.mark.parametrize("label", [-1, 3])
def test_label_out_of_range_has_no_gradient(label):
    steps, labels = pair(), np.where(np.arange(24) == 5, label, Y)
    for step in steps:
        step(X, labels, check=False)
        step(X, Y)
        value = step(X, labels, check=False)
    assert_alike(steps)
    np.testing.assert_allclose(
        value, steps[0]._model.value_and_grad(X, Y, CrossEntropy())[0], rtol=0.2
    )


def test_array_subclasses_are_read():
    steps, masked = pair(), np.ma.masked_array(X)
    for step in steps:
        for batch in (masked, X[::-1], masked.copy(), masked):
            step(batch, Y, check=False)
    assert_alike(steps)


def test_replaced_slots_are_recorded_again():
    steps = pair()
    for step in steps:
        for _ in range(3):
            step(X, Y)
        step.state.slots = tuple(np.zeros_like(slot) for slot in step.state.slots)
        step.state.step = 0
        for _ in range(2):
            step(X, Y)
    assert_alike(steps)


def test_threads_step_one_after_another():
    (step, _), batches = pair(), [np.array(X, copy=True) for _ in range(200)]
    with ThreadPoolExecutor(4) as pool:
        losses = list(pool.map(lambda batch: float(step(batch.copy(), Y)), batches))
    assert step.state.step == 200
    assert sorted(losses, reverse=True)[-1] < losses[0]
    assert np.isfinite(step._model.theta).all()


def test_interrupted_recording_changes_nothing(monkeypatch):
    (step, plain), done = pair(dropout=0.5, batch_norm=True), program.Recorder.record

    def interrupted(self, *arguments):
        done(self, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(program.Recorder, "record", interrupted)
        with pytest.raises(KeyboardInterrupt):
            step(X, Y)
    for taken in (step, plain):
        for _ in range(3):
            taken(X, Y)
    assert_alike((step, plain))


class Looks(Dense):
    """A layer with control flow on array values."""

    def forward(self, p, x, ctx):
        y, saved = super().forward(p, x, ctx)
        return (y * 2.0 if float(x[0, 0]) > 0 else y), saved


def test_refused_recording_changes_nothing():
    model = xpnet.Sequential([Looks(5, xpnet.Tanh()), Dense(3)], 4)
    before = model.theta.copy()
    step = TrainingStep(model, CrossEntropy(), Adam(), engine="replay")
    with pytest.raises(ArgumentError, match="could not be recorded"):
        step(X, Y)
    np.testing.assert_array_equal(model.theta, before)
    assert (step.state.step, model.state.masks.step) == (0, 0)


def test_read_only_theta_is_refused():
    (step, _) = pair()
    step._model.theta.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        step(X, Y)


class Mine(xpnet.initializers.HeNormal):
    """A user-defined initializer, which is no part of a step."""


def test_user_defined_initializer_is_replayed():
    model = MLP(4, [6], 3, weight_init=Mine())
    assert TrainingStep(model, CrossEntropy(), Adam()).engine == "replay: a list of compiled calls"


def power(xp, z):
    return 0.1 * xp.exp2(0.5 * z)  # which `xpnet.ops.cpu.vector_math` does not have


def power_derivative(xp, z):
    return 0.05 * math.log(2.0) * xp.exp2(0.5 * z)


class PowerOfTwo(ActivationFunction):
    value = staticmethod(power)
    derivative = staticmethod(power_derivative)
    curvature = None
    saves = "input"


@pytest.mark.parametrize("rows", [8, BLOCK // 4])
def test_rule_without_a_loop_is_one_call(rows):
    """Otherwise each intermediate array would live as long as the step."""
    model = MLP(4, [8], 3, activation=PowerOfTwo())
    step = TrainingStep(model, CrossEntropy(), Adam(), engine="replay")
    data = np.ones((rows, 4), "float32"), np.zeros(rows, int)
    losses = [float(step(*data)) for _ in range(3)]
    assert losses[-1] < losses[0]
    (known,) = step._step._passes.values()
    assert sum(not isinstance(call, program.Call) for call in known.program._steps) == 2


def test_deleted_step_frees_its_memory():
    step, _ = pair()
    step(X, Y)
    slot = weakref.ref(step.state.slots[0])
    gc.disable()
    try:
        del step, _
        assert slot() is None
    finally:
        gc.enable()


TINY = np.float32(1e-40)


@pytest.mark.skipif(not IS_X86, reason="only an x86 processor is told to flush")
@pytest.mark.parametrize("large", [1, 1 << 22])
def test_only_replay_flushes_subnormals(large, monkeypatch):
    monkeypatch.setattr(
        runner, "MIN_PARALLEL_SIZE", large
    )  # the size above which threads share a loop
    step = TrainingStep(MLP(4, [5], 3), CrossEntropy(), Momentum())
    (velocity,) = step.state.slots
    for _ in range(2):  # while it is recorded, and in a replay
        velocity[...] = TINY
        step(np.zeros((8, 4), np.float32), np.zeros(8, np.int64))
        assert (velocity[step._model.grad == 0] == 0).all()
    assert TINY * np.float32(0.5) > 0


def test_refused_replay_restores_subnormals():
    loop = loop_of(column_sum, np.dtype("float32"))
    block = loop.pack([np.ones((2, 3), np.float32), np.empty(3, np.float32)])
    replay = loop_of(program.replay).bind(np.array([[loop.code.address, block.address]]))
    replay()
    block.words[(DATA + 1 + 2 * 2) + 2] += 1  # the size of the second array
    with pytest.raises(NotCompiled, match="does not accept these arguments"):
        replay()
    assert TINY * np.float32(0.5) > 0
