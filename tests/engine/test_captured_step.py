"""Hand-written loops replay a graph for each kind of batch, with the numbers of eager steps."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from helpers.cases import warns_here
from helpers.fake_device import FakeCapture, fake_backend, use_fake_device
from helpers.training_cases import NETWORKS, OPTIMIZERS

import xpnet
from xpnet import MLP, ArgumentError, ClipByNorm, CrossEntropy, TrainingStep
from xpnet.engine import captured_step
from xpnet.engine import select as engines

ENGINE = "replay: a CUDA graph"


@pytest.fixture
def device(monkeypatch):
    return use_fake_device(monkeypatch)


def batch(seed=0, rows=8):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, 4)), rng.integers(0, 3, rows)


def loop(step, sizes=(8,) * 6, **settings):
    """Losses of steps on batches of the given sizes."""
    return [float(np.asarray(step(*batch(i, rows), **settings))) for i, rows in enumerate(sizes)]


def trained(backend, network=None, work=loop, optimizer=None, **how):
    """The engine, losses, θ, statistics and optimizer state after some work with a new step."""
    model = MLP(4, [6, 5], 3, backend=backend, **{"rng": 1} | (network or {}))
    step = TrainingStep(model, CrossEntropy(), optimizer or xpnet.Adam(0.01), **how)
    losses = work(step)
    slots = [np.asarray(slot) for slot in step.state.slots]
    numbers = losses, np.asarray(model.theta), np.asarray(model.statistics), *slots
    return step.engine, numbers, (step.state.step, step.state.scalars)


def assert_same(**case):
    captured = trained(fake_backend("float64"), **{"engine": "replay"} | case)
    eager = trained(xpnet.get_backend("numpy", dtype="float64"), **case | {"engine": "eager"})
    assert captured[0] == ENGINE
    for actual, expected in zip(captured[1], eager[1], strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-13)
    assert captured[2] == eager[2]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_optimizers_take_eager_steps(optimizer, device):
    assert_same(optimizer=optimizer)
    assert (device.captured, device.replayed) == (1, 6)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_take_eager_steps(name, device):
    assert_same(network=NETWORKS[name])


def weighted(step):
    return loop(step, weight=np.linspace(0.1, 2, 8)) + loop(step)


def rates(step):
    return [loop(step, (8,), lr=lr)[0] for lr in (0.1, 0.0, 0.3)]


def rows_of_probabilities(step):
    return [float(np.asarray(step(batch(i)[0], np.eye(3)[batch(i)[1]]))) for i in range(3)]


def with_masks(step):
    """Steps draw the masks after those of a forward pass between them."""
    first = loop(step)
    step._model.forward(batch()[0], training=True)
    return first + loop(step)


def replaced_slots(step):
    first = loop(step)
    step.state.slots = tuple(slot + 0.25 for slot in step.state.slots)
    return first + loop(step)


def strided(step):
    X, y = batch(rows=16)
    return [float(np.asarray(step(X[::2], y[::2]))), float(np.asarray(step(X[::-2], y[::-2])))]


WORK = {
    "batches of several sizes": (partial(loop, sizes=(8, 3, 8, 12, 3, 12, 8)), 3),
    "weights": (weighted, 2),
    "learning rates": (rates, 1),
    "rows of probabilities": (rows_of_probabilities, 1),
    "masks drawn between": (with_masks, 1),
    "slots replaced": (replaced_slots, 2),
    "strided rows": (strided, 1),
}
"""Work with a step, and the number of graphs that it takes."""


@pytest.mark.parametrize("name", WORK)
def test_loops_take_eager_steps(name, device):
    work, graphs = WORK[name]
    network = {"dropout": 0.3, "batch_norm": True}
    assert_same(network=network, work=work, clip=ClipByNorm(0.5), l1=1e-3, l2=1e-2)
    assert device.captured == graphs


def test_returned_losses_are_not_overwritten(device):
    step = TrainingStep(
        MLP(4, [6], 3, backend=fake_backend("float64")), CrossEntropy(), xpnet.Adam()
    )
    losses = [step(*batch()) for _ in range(4)]
    assert len({float(np.asarray(loss)) for loss in losses}) == 4


def test_caller_may_overwrite_its_batch(device):
    """The graph reads a copy, so a loop can fill one array with batch after batch."""

    def work(step):
        X, y = (np.array(part) for part in batch())
        losses = []
        for seed in range(4):
            X[...], y[...] = batch(seed)
            losses.append(float(np.asarray(step(X, y))))
        return losses

    assert_same(work=work)


def test_capture_leaves_the_model_as_it_was(device, monkeypatch):
    """The steps that warm up are not training, also if the capture then fails."""

    class Failing(FakeCapture):
        def capture(self, step):
            raise RuntimeError("cudaErrorStreamCaptureUnsupported")

    monkeypatch.setattr(engines, "CudaCapture", Failing)
    eager = trained(xpnet.get_backend("numpy", dtype="float64"), engine="eager")
    with warns_here("could not be captured: cudaError"):
        found = trained(fake_backend("float64"))
    assert found[0].startswith("eager: a step could not be captured")
    for actual, expected in zip(found[1], eager[1], strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-13)
    with pytest.raises(ArgumentError, match=r"here; got 'replay'\. a step could"):
        trained(fake_backend("float64"), engine="replay")


def test_user_defined_parts_are_eager(device):
    class Bent(xpnet.Tanh):
        pass

    network = {"activation": Bent()}
    assert trained(fake_backend("float64"), network)[0].startswith("eager: layers.0 contains Bent")
    assert trained(fake_backend("float64"), network, engine="replay")[0] == ENGINE
    Bent.replayable = True
    assert trained(fake_backend("float64"), network)[0] == ENGINE


def test_many_kinds_of_batches_are_eager(device, monkeypatch):
    monkeypatch.setattr(captured_step, "MAX_GRAPHS", 2)
    assert_same(work=partial(loop, sizes=(8, 3, 5, 6, 8, 3, 5)))
    assert device.captured == 2


def test_state_of_another_shape_is_refused(device):
    def work(step):
        loop(step)
        step.state.slots = (np.zeros(3),) * 2
        return loop(step)

    with pytest.raises(ArgumentError, match=r"state"):
        trained(fake_backend("float64"), work=work)
