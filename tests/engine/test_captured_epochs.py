"""Several steps a graph and tables that are written ahead change no number."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.fake_device import (
    FakeBackend,
    FakeCapture,
    FakeLibrary,
    fake_backend,
    use_fake_device,
)
from helpers.training_cases import NETWORKS, SETTINGS

import xpnet
from xpnet import MLP, CrossEntropy
from xpnet.engine import captured_epochs
from xpnet.engine.captured_epochs import CapturedEpochs, launches
from xpnet.optimizers import schedules
from xpnet.training import progress_bar
from xpnet.training.progress_bar import ProgressBar


@pytest.fixture
def device(monkeypatch):
    return use_fake_device(monkeypatch)


def task(rows=83):
    X = np.random.default_rng(0).normal(size=(rows, 4))
    return X, (X[:, 0] > 0).astype("int64") + (X[:, 1] > 1)


def train(network=None, backend=None, data=None, **settings):
    """A model trained for three epochs of 20 steps of four rows and one of three."""
    model = MLP(4, [6, 5], 3, backend=backend or fake_backend("float64"), **network or {})
    arguments = {"loss": CrossEntropy(), "optimizer": xpnet.Adam(0.01), "epochs": 3}
    arguments |= {"batch_size": 4, "progress": False, "rng": 5, "engine": "replay"} | settings
    history = model.fit(*(data or task()), **arguments)
    return np.asarray(model.theta), np.asarray(model.statistics), history, model.state.streams


CASES = {
    **{name: {"network": network} for name, network in NETWORKS.items()},
    **{name: how for name, how in SETTINGS.items() if name != "weights"},
    "weights": {"sample_weight": np.linspace(0.1, 2, 83)},
    "a resumed state": {"optimizer": xpnet.Nadam(0.01)},
    "fewer steps than a graph has": {"batch_size": 30},
}


@pytest.mark.parametrize("name", CASES)
def test_steps_of_a_graph_have_the_bits_of_one(name, device, monkeypatch):
    results = []
    for steps in (1, 3, 8):
        monkeypatch.setattr(captured_epochs, "STEPS_PER_GRAPH", steps)
        theta, statistics, history, _ = train(**{"epochs": 3} | CASES[name])
        columns = [history[column] for column in history.columns if column != "seconds"]
        results.append([theta, statistics, *columns])
    for other in results[1:]:
        for actual, expected in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(actual, expected)


def test_host_launches_once_for_several_steps(device):
    """20 steps of four rows are two graphs of eight and four of one; then one of three rows."""
    train(epochs=1)
    assert (device.captured, device.replayed) == (3, 2 + 4 + 1)
    assert list(launches([4] * 20 + [3], 8)) == [(4, 8)] * 2 + [(4, 1)] * 4 + [(3, 1)]


def test_bar_divides_no_graph(device, monkeypatch):
    """It follows the launches, which are those of a training without one."""
    pytest.importorskip("rich", reason="rich is not installed")
    seen, original = [], ProgressBar.after_step

    def after_step(bar, taken, losses):
        seen.append((taken, len(losses)))
        original(bar, taken, losses)

    monkeypatch.setattr(ProgressBar, "after_step", after_step)
    monkeypatch.setattr(progress_bar, "INTERVAL", 0.0)
    theta, _, history, _ = train(progress="bar", epochs=2)
    assert (device.captured, device.replayed) == (3, 2 * (2 + 4 + 1))
    assert seen == [(taken, 0) for taken in (8, 16, 17, 18, 19, 20, 21)] * 2
    expected = train(epochs=2)
    np.testing.assert_array_equal(theta, expected[0])
    assert history["loss"] == expected[2]["loss"]


@pytest.mark.parametrize("at", [1, 7, 8, 13, 20, 21])
def test_error_names_the_step_inside_a_graph(at, device):
    X, y = task()[0], np.zeros((83, 3))
    X[4 * (at - 1), 0] = 1e300  # the square of the output overflows
    how = {"loss": xpnet.losses.HalfMSE(), "optimizer": xpnet.SGD(0.1), "shuffle": False}
    with np.errstate(all="ignore"), pytest.raises(xpnet.NonFiniteError) as caught:
        train(data=(X, y), **how)
    assert (caught.value.epoch, caught.value.step) == (1, at)


class Noted(CapturedEpochs):
    """Epochs that note when tables are written: 0 before an epoch, 1 while the device works."""

    written: list[int]

    def prepare(self, order, lrs, first=0):
        Noted.written.append(self._device.inside)
        super().prepare(order, lrs, first)


SCHEDULES = {
    "none": (None, [0, 0, 1, 1]),
    "cosine": (schedules.Cosine(), [0, 0, 1, 1]),
    "plateau": (schedules.ReduceOnPlateau(patience=0), [0, 0, 0, 0]),
    "warm-up, then plateau": (
        schedules.LinearWarmup(1, schedules.ReduceOnPlateau(patience=0)),
        [0, 0, 0, 0],
    ),
}
"""Schedules, and where tables are written in three epochs: once for the capture, once an epoch."""


@pytest.mark.parametrize("name", SCHEDULES)
def test_tables_are_written_while_the_device_works(name, device, monkeypatch):
    schedule, expected = SCHEDULES[name]
    monkeypatch.setattr(xpnet.engine.select, "CapturedEpochs", Noted)
    Noted.written = []
    captured = train(schedule=schedule)
    assert Noted.written == expected
    eager = train(schedule=schedule, engine="eager")
    for actual, wanted in zip(captured[:2], eager[:2], strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-12, atol=1e-13)
    assert captured[2]["lr"] == eager[2]["lr"]
    assert captured[3].drawn == eager[3].drawn


def test_rates_are_computed_once(device, monkeypatch):
    times, factor = [], schedules.Cosine.factor
    monkeypatch.setattr(
        schedules.Cosine, "factor", lambda *given: (times.append(given[1]), factor(*given))[1]
    )
    train(schedule=schedules.Cosine())
    assert len(times) == 3 * 21
    assert times == sorted(times)


def restart(run):
    run.model.state.streams.restart(9)


def draw(run):
    run.model.state.streams.row_order(83)


def skip_ahead(run):
    run.state.step += 100


def forget_product(run):
    run.state.scalars = (0.5,)


CHANGES = {
    "other streams": ([restart], {}),
    "an order drawn": ([draw], {}),
    "masks drawn": ([lambda run: run.model.forward(task()[0], training=True)], {}),
    "a later step": ([skip_ahead], {}),
    "another scalar": ([forget_product], {"optimizer": xpnet.Nadam(0.01)}),
    "a stop": ([lambda run: run.epoch == 2], {}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_callback_between_epochs_has_the_last_word(name, device):
    """What a callback changes is used, although the tables were written before it ran."""
    callbacks, settings = CHANGES[name]
    how = {"network": {"dropout": 0.3}, "callbacks": callbacks, "epochs": 4} | settings
    captured, eager = train(**how), train(**how, engine="eager")
    np.testing.assert_allclose(captured[0], eager[0], rtol=1e-12, atol=1e-13)
    assert captured[3].drawn == eager[3].drawn
    assert captured[3] == eager[3]


def test_zeros_of_tables_are_done_before_copies(device, monkeypatch):
    """On a device the stream of copies could overtake the stream that fills tables with zeros."""
    events, zeros = [], FakeBackend.zeros

    def zeros_noted(self, *shape, **how):
        events.append("zeros")
        return zeros(self, *shape, **how)

    monkeypatch.setattr(FakeBackend, "zeros", zeros_noted)
    monkeypatch.setattr(FakeLibrary, "synchronize", lambda self: events.append("wait"))
    monkeypatch.setattr(
        captured_epochs, "write", lambda *given: (events.append("copy"), write(*given))
    )
    write = xpnet.backend.write
    train(epochs=1)
    first = events.index("copy")
    assert events[first - 2 : first] == ["zeros", "wait"]


def test_epochs_copy_nothing_between_their_steps(device, monkeypatch):
    """From the first launch to the last, the host does nothing but launch."""
    events = []
    replay, prepare = FakeCapture.capture, CapturedEpochs.prepare

    def capture(self, step):
        launch = replay(self, step)
        return lambda: (events.append("launch"), launch())

    monkeypatch.setattr(FakeCapture, "capture", capture)
    monkeypatch.setattr(
        CapturedEpochs, "prepare", lambda *given: (events.append("tables"), prepare(*given))[1]
    )
    monkeypatch.setattr(
        captured_epochs, "write", lambda *given: (events.append("copy"), write(*given))[1]
    )
    write = xpnet.backend.write
    train()
    tables = ["tables", "copy", "copy", "copy"]
    epoch = ["launch"] * 7
    assert events == [*tables, *tables, *epoch, *tables, *epoch, *tables, *epoch]
