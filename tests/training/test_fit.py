"""The training loop: its history, its end, and equal results for every kind of data."""

from __future__ import annotations

import numpy as np
import pytest

import xpnet
from xpnet import MLP, ArgumentError, CrossEntropy, EarlyStopping, HalfMSE, NonFiniteError
from xpnet.optimizers import schedules

QUIET = {"loss": CrossEntropy(), "optimizer": xpnet.Adam(lr=0.01), "progress": False}


@pytest.fixture
def task(rng):
    X = rng.normal(size=(90, 4)).astype("float32")
    return X, (X[:, 0] > 0).astype("int64") + (X[:, 1] > 1)


def test_history_has_one_row_per_epoch(task):
    X, y = task
    history = MLP(4, [8], 3).fit(
        X, y, epochs=3, validation=0.2, metrics=[xpnet.metrics.accuracy], l2=1e-3, **QUIET
    )
    columns = ["epoch", "loss", "penalty", "val_loss", "val_accuracy", "lr", "seconds"]
    assert list(history.columns) == columns
    assert history["epoch"] == [1, 2, 3]
    assert len(history) == 3
    assert history.stopped == ""
    with pytest.raises(ArgumentError, match="Did you mean 'val_loss'"):
        history["val_los"]


def test_history_is_written_as_csv(task, tmp_path):
    history = MLP(4, [8], 3).fit(*task, epochs=2, **QUIET)
    history.to_csv(tmp_path / "history.csv")
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert lines[0] == "epoch,loss,lr,seconds"
    assert float(lines[2].split(",")[1]) == pytest.approx(history["loss"][1], rel=1e-8)


def test_reported_loss_is_the_mean_over_rows(task):
    X, y = task
    model = MLP(4, [8], 3)
    start = model.forward(X)
    expected = float(CrossEntropy().value(start, y))
    history = model.fit(X, y, batch_size=40, epochs=1, **QUIET | {"optimizer": xpnet.SGD(1e-12)})
    assert history["loss"][0] == pytest.approx(expected, rel=1e-5)


def test_memmap_array_and_list_train_alike(task, place32, tmp_path):
    X, y = task
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    thetas = []
    for features in (X, mapped, place32.array(X), X.tolist()):
        model = MLP(4, [8], 3, batch_norm=True, backend=place32.backend)
        model.fit(features, y, epochs=2, batch_size=16, **QUIET)
        thetas.append(place32.host(model.theta))
    for theta in thetas[1:]:
        np.testing.assert_array_equal(theta, thetas[0])


def test_device_targets_and_weights_train_alike(task, place32):
    X, y = task
    weight = np.linspace(0.5, 1.5, len(y)).astype("float32")
    on_device = [place32.array(x) for x in (X, y, weight)]
    thetas, losses = [], []
    for features, targets, weights in ((X, y, weight), on_device):
        model = MLP(4, [8], 3, backend=place32.backend)
        model.fit(
            features, targets, sample_weight=weights, class_weight={1: 2.0}, validation=0.2,
            epochs=2, **QUIET,
        )  # fmt: skip
        thetas.append(place32.host(model.theta))
        losses.append(model.evaluate(features, targets)["loss"])
    np.testing.assert_array_equal(*thetas)
    assert losses[0] == losses[1]


def test_uint8_features_train_like_float32(rng):
    X, y = rng.integers(256, size=(30, 4), dtype="uint8"), rng.integers(3, size=30)
    thetas = []
    for features in (X, X.astype("float32")):
        model = MLP(4, [8], 3, preprocessing=xpnet.MinMax(0, 255, to=(-1, 1)))
        model.fit(features, y, epochs=2, **QUIET)
        thetas.append(model.theta)
    np.testing.assert_array_equal(*thetas)


def test_early_stopping_restores_the_best_weights(task):
    X, y = task
    best = {}

    def remember(run):
        if run.row["val_loss"] <= min(run.history["val_loss"]):
            best["theta"] = run.model.theta.copy()

    model = MLP(4, [32], 3)
    history = model.fit(
        X[:30], y[:30], epochs=200, validation=(X[30:], y[30:]),
        callbacks=[remember, EarlyStopping(patience=3)], **QUIET | {"optimizer": xpnet.Adam(0.05)},
    )  # fmt: skip
    assert len(history) < 200
    assert "has not improved for 3 epochs" in history.stopped
    np.testing.assert_array_equal(model.theta, best["theta"])
    value = model.evaluate(X[30:], y[30:])["loss"]
    assert value == pytest.approx(min(history["val_loss"]), rel=1e-6)


def test_early_stopping_can_maximize(task):
    X, y = task
    stop = EarlyStopping("val_accuracy", patience=2, maximize=True)
    model = MLP(4, [8], 3)
    history = model.fit(
        X, y, epochs=100, validation=0.3, metrics=[xpnet.metrics.accuracy], callbacks=[stop],
        **QUIET,
    )  # fmt: skip
    assert len(history) < 100
    best = int(np.argmax(history["val_accuracy"])) + 1
    assert f"epoch {best} are restored" in history.stopped


def test_unknown_monitor_is_refused(task):
    with pytest.raises(ArgumentError, match="monitor must be one of epoch, loss, lr"):
        MLP(4, [8], 3).fit(*task, callbacks=[EarlyStopping()], epochs=1, **QUIET)


def test_callback_can_stop_training(task):
    history = MLP(4, [8], 3).fit(*task, callbacks=[lambda run: run.epoch == 2], epochs=9, **QUIET)
    assert len(history) == 2
    assert history.stopped == "a callback stopped training in epoch 2"


def test_checkpoint_keeps_the_best_model(task, tmp_path):
    path = tmp_path / "best.safetensors"
    X, y = task
    model = MLP(4, [32], 3)
    history = model.fit(
        X[:30], y[:30], epochs=60, validation=(X[30:], y[30:]),
        callbacks=[xpnet.Checkpoint(path)], **QUIET | {"optimizer": xpnet.Adam(0.05)},
    )  # fmt: skip
    value = xpnet.load(path).evaluate(X[30:], y[30:])["loss"]
    assert value == pytest.approx(min(history["val_loss"]), rel=1e-6)
    assert value < history["val_loss"][-1]


def test_schedule_sets_the_learning_rate(task):
    history = MLP(4, [8], 3).fit(
        *task, epochs=4, schedule=schedules.StepDecay(every=2, rate=0.1), **QUIET
    )
    assert history["lr"] == pytest.approx([0.01, 0.01, 0.001, 0.001])


def test_clipping_bounds_the_step(task):
    model = MLP(4, [8], 3)
    before = model.theta.copy()
    model.fit(
        *task, epochs=1, batch_size=90, clip=xpnet.ClipByNorm(1e-3),
        **QUIET | {"optimizer": xpnet.SGD(1.0)},
    )  # fmt: skip
    assert np.linalg.norm(model.theta - before) == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_penalty_shrinks_weights_only(task, penalty):
    X, y = task
    norms = []
    for rate in (0.0, 0.5):
        model = MLP(4, [8], 3)
        model.fit(X, y, epochs=30, **{penalty: rate}, **QUIET)
        norms.append(np.abs(model.theta[model.layout.weights]).sum())
    assert norms[1] < 0.3 * norms[0]


def test_class_weights_are_sample_weights(task):
    X, y = task
    weights = np.array([1.0, 5.0, 2.0])
    thetas = []
    for arguments in (
        {"class_weight": {1: 5.0, 2: 2.0}},
        {"class_weight": [1.0, 5.0, 2.0]},
        {"sample_weight": weights[y]},
    ):
        model = MLP(4, [8], 3)
        model.fit(X, y, epochs=2, **arguments, **QUIET)
        thetas.append(model.theta)
    np.testing.assert_array_equal(thetas[0], thetas[1])
    np.testing.assert_array_equal(thetas[0], thetas[2])


def test_class_weights_take_class_names(task):
    X, y = task
    names = np.array(["a", "b", "c"])[y]
    thetas = []
    for labels, weight in ((names, {"b": 5.0}), (y, {1: 5.0})):
        model = MLP(4, [8], 3)
        model.fit(X, labels, epochs=1, class_weight=weight, **QUIET)
        thetas.append(model.theta)
    np.testing.assert_array_equal(*thetas)


def test_rows_of_weight_zero_have_no_effect(task):
    X, y = task
    junk = np.concatenate([X, 100 * X]), np.concatenate([y, y])
    weight = np.repeat([1.0, 0.0], len(y))
    model = MLP(4, [8], 3)
    loss, _ = model.value_and_grad(*junk, CrossEntropy(), weight=weight)
    expected, _ = MLP(4, [8], 3).value_and_grad(X, y, CrossEntropy())
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_exploding_loss_stops_training(rng, place):
    X, y = rng.normal(size=(64, 4)), rng.normal(size=(64, 2))
    model = MLP(4, [8], 2, backend=place.backend)
    with pytest.raises(NonFiniteError, match=r"epoch \d+, step \d+ \(") as caught:
        model.fit(X, y, loss=HalfMSE(), optimizer=xpnet.SGD(1e4), epochs=50, progress=False)
    assert caught.value.epoch >= 1
    assert caught.value.step >= 1
    assert caught.value.layer.startswith("layers.") or caught.value.layer == "loss"
    assert np.isfinite(place.host(model.theta)).all()
    assert model.history is caught.value.history
    assert len(model.history) == caught.value.epoch - 1


def test_late_nan_check_names_step_and_layer(rng, monkeypatch):
    """As on a GPU, where reading a number waits for all queued work."""
    monkeypatch.setattr(xpnet.Backend, "is_host", False)
    X, y = rng.normal(size=(64, 4)), rng.normal(size=(64, 2))
    model = MLP(4, [8], 2)
    with pytest.raises(NonFiniteError) as caught:
        model.fit(
            X, y, loss=HalfMSE(), optimizer=xpnet.SGD(1e4), epochs=50, batch_size=8, progress=False
        )
    assert 1 <= caught.value.step <= 8
    assert caught.value.layer.startswith("layers.")
    assert np.isfinite(model.theta).all()


def test_nan_after_the_last_step_is_found(rng):
    X, y = rng.normal(size=(8, 4)), rng.normal(size=(8, 2))
    model = MLP(4, [8], 2)

    class Explosion:
        def apply(self, grad):
            grad[...] = np.nan

    with pytest.raises(NonFiniteError, match=r"the parameter layers\.0\.weight\[0, 0\]"):
        model.fit(
            X, y, loss=HalfMSE(), optimizer=xpnet.SGD(), clip=Explosion(), epochs=1, progress=False
        )
    assert np.isfinite(model.theta).all()


ONE_ROW = [
    (65, 64, False, False),
    (65, 64, True, True),
    (64, 1, False, False),
    (1, 64, False, False),
    (66, 64, False, True),
]


@pytest.mark.parametrize(("rows", "batch_size", "drop_last", "works"), ONE_ROW)
def test_batch_norm_refuses_batches_of_one_row(rng, rows, batch_size, drop_last, works):
    X, y = rng.normal(size=(rows, 4)), rng.integers(3, size=rows)
    model = MLP(4, [8], 3, batch_norm=True)
    arguments = {"epochs": 1, "batch_size": batch_size, "drop_last": drop_last} | QUIET
    if works:
        model.fit(X, y, **arguments)
        return
    with pytest.raises(ArgumentError, match="one row"):
        model.fit(X, y, **arguments)


def test_progress_is_a_plain_line_when_piped(task, capsys):
    MLP(4, [8], 3).fit(*task, epochs=2, **QUIET | {"progress": True})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1/2  loss ")
    assert lines[0].endswith(" s")


def test_progress_false_prints_nothing(task, capsys):
    MLP(4, [8], 3).fit(*task, epochs=2, **QUIET)
    assert capsys.readouterr() == ("", "")


BATCHES = [(10, 3, False, [3, 3, 3, 1]), (10, 3, True, [3, 3, 3]), (4, 9, False, [4])]


@pytest.mark.parametrize(("rows", "size", "drop_last", "sizes"), BATCHES)
def test_batches_partition_the_rows(rows, size, drop_last, sizes):
    X, y = np.arange(rows)[:, None], np.arange(rows)
    parts = list(xpnet.batches(X, y, size, rng=1, drop_last=drop_last))
    assert [len(y_b) for _, y_b in parts] == sizes
    seen = np.concatenate([y_b for _, y_b in parts])
    assert len(set(seen.tolist())) == len(seen)
    assert all((X_b[:, 0] == y_b).all() for X_b, y_b in parts)


def test_regression_finds_the_line(rng, place):
    X = rng.normal(size=(200, 2))
    y = X @ np.array([2.0, -1.0]) + 0.5
    model = xpnet.Sequential([xpnet.Dense(1)], 2, backend=place.backend, dtype="float64")
    model.fit(X, y, loss=HalfMSE(), optimizer=xpnet.SGD(0.1), epochs=60, progress=False)
    assert model.evaluate(X, y, metrics=[xpnet.metrics.r2])["r2"] > 0.999999
    np.testing.assert_allclose(place.host(model.theta), [2.0, -1.0, 0.5], atol=1e-4)


def test_batch_of_zero_weights_changes_nothing():
    X, y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
    weight = np.zeros(40)
    weight[:10] = 1.0
    model = MLP(3, [5], 2)
    settings = {
        "loss": CrossEntropy(),
        "optimizer": xpnet.SGD(lr=0.1),
        "epochs": 2,
        "progress": False,
    }
    history = model.fit(X, y, batch_size=4, sample_weight=weight, **settings)
    assert np.all(np.isfinite(history["loss"]))
