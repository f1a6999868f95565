"""What may go wrong with checkpoints: disks, files that are gone, overflow, further Ctrl-C."""

from __future__ import annotations

import errno
import shutil
import signal
import warnings

import numpy as np
import pytest
from helpers.fake_device import fake_backend, use_fake_device

import xpnet
from xpnet import (
    MLP,
    SGD,
    Adam,
    ArgumentError,
    Averaged,
    Checkpoint,
    CrossEntropy,
    EarlyStopping,
    HalfMSE,
    Momentum,
    TrainingCheckpoint,
    UseAverage,
)
from xpnet.minimize import LBFGS, FirstOrder, MinimizationCheckpoint, minimize
from xpnet.training import background_write
from xpnet.training.data_record import DIGEST_VALUES, data_record

N, BATCH, STEPS = 40, 8, 5
ENGINES = ["captured", "replay", "eager"]


def task():
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, 3)), rng.integers(0, 2, N)


@pytest.fixture(params=ENGINES)
def backend(request, monkeypatch):
    """The settings of an engine: the backend of a model and the argument of ``fit``."""
    if request.param == "captured":
        use_fake_device(monkeypatch)
        return fake_backend("float64"), "replay"
    if request.param == "replay":
        pytest.importorskip("numba", reason="replay on a CPU needs Numba")
    return "numpy", request.param


def train(callbacks=(), model=None, data=None, backend=("numpy", None), **settings):
    place, engine = backend
    if model is None:
        model = MLP(3, [6], 2, backend=place, dtype="float64")
    given = {"loss": CrossEntropy(), "optimizer": Momentum(0.1), "batch_size": BATCH, "rng": 2}
    given |= {"progress": False, "epochs": 5, "engine": engine} | settings
    model.fit(*(data or task()), callbacks=[*callbacks], **given)
    return model


class Press:
    """Presses Ctrl-C, as a callback or a metric, in its n-th call."""

    stateless = True

    def __init__(self, number, times=1):
        self.left, self.times, self.__name__ = number, times, "pressed"

    def press(self):
        self.left -= 1
        if self.left == 0:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)

    def epoch(self, run):
        self.press()

    def __call__(self, predicted, target):
        self.press()
        return 0.0


class PressAtEnd:
    """Presses Ctrl-C after an epoch and in ``end``."""

    stateless = True

    def epoch(self, run):
        if run.epoch == 2:
            signal.raise_signal(signal.SIGINT)

    def end(self, run):
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the second Ctrl-C is not raised")


class Keep:
    """Keeps a copy of every file of a `TrainingCheckpoint` that was written after a step."""

    stateless = True

    def __init__(self, checkpoint, folder):
        self.checkpoint, self.folder, self.paths = checkpoint, folder, []

    def step(self, run):
        self.checkpoint.wait()
        if self.checkpoint.path.exists():
            self.paths.append(self.folder / f"file {len(self.paths)}")
            shutil.copy(self.checkpoint.path, self.paths[-1])


@pytest.mark.parametrize("steps", [1, STEPS, 2 * STEPS])
def test_file_of_the_last_step_of_an_epoch_resumes(backend, steps, tmp_path):
    checkpoint = TrainingCheckpoint(tmp_path / "training", steps=steps)
    keep = Keep(checkpoint, tmp_path)
    expected = train([keep, checkpoint], backend=backend)
    assert len(keep.paths) == 5 * STEPS
    for path in keep.paths:
        resumed = train(backend=backend, resume=path)
        np.testing.assert_array_equal(resumed.theta, expected.theta)


def test_full_batch_stopped_at_a_worse_point_resumes(tmp_path):
    path, stop = tmp_path / "training", lambda run: run.epoch == 4
    settings = {"optimizer": FirstOrder(SGD(30.0)), "loss": CrossEntropy(), "progress": False}
    expected, resumed = (MLP(3, [6], 2, dtype="float64") for _ in range(2))
    history = expected.fit(
        *task(), callbacks=[stop, TrainingCheckpoint(path, epochs=1)], **settings
    )
    assert history["loss"][-1] > min(history["loss"])
    resumed.fit(*task(), resume=path, **settings)
    np.testing.assert_array_equal(resumed.theta, expected.theta)


def test_overflow_of_a_loss_leaves_the_last_good_file(backend, tmp_path):
    X, _ = task()
    values = np.where(np.arange(N) < 20, 1e-3, 1e200)[:, None]  # squares from the third batch on
    settings = {"loss": HalfMSE(), "optimizer": SGD(1e-300), "shuffle": False}
    model = MLP(3, [6], 1, backend=backend[0], dtype="float64")
    checkpoint = TrainingCheckpoint(tmp_path / "training", steps=1)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the targets are large
        with pytest.raises(xpnet.NonFiniteError):
            train([checkpoint], model, (X, values), backend, **settings)
    assert np.isfinite(xpnet.load(tmp_path / "training").theta).all()
    xpnet.training.resuming.read_training(tmp_path / "training")


def test_second_ctrl_c_in_an_evaluation_saves_nothing(tmp_path):
    path, expected = tmp_path / "training", train()
    with pytest.raises(KeyboardInterrupt):
        train([TrainingCheckpoint(path, epochs=1)], metrics=[Press(3, times=2)])
    assert len(xpnet.training.resuming.read_training(path).state["history"]["columns"][0]) == 2
    resumed = train(resume=path)
    np.testing.assert_array_equal(resumed.theta, expected.theta)


def test_second_ctrl_c_in_end_is_raised_at_once():
    with pytest.raises(KeyboardInterrupt):
        train([PressAtEnd()], on_interrupt="return")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_refused_resumption_leaves_the_model(tmp_path, monkeypatch):
    path, model = tmp_path / "training", MLP(3, [6], 2, dtype="float64")
    train([TrainingCheckpoint(path, epochs=1)])
    before, streams = model.theta.copy(), model.state.streams.drawn
    other = lambda backend: {"CPU": "another"}  # noqa: E731
    monkeypatch.setattr(xpnet.training.resuming, "environment", other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match=r"CPU .* then, another now"):
            train(model=model, resume=path, epochs=6)
    monkeypatch.undo()
    with monkeypatch.context() as patch:
        patch.setattr(background_write, "write_atomically", disk_full)
        with pytest.raises(OSError, match="disk full"):
            train([TrainingCheckpoint(tmp_path / "b", epochs=1)], model, resume=path, epochs=6)
    np.testing.assert_array_equal(model.theta, before)
    assert model.state.streams.drawn == streams
    assert not model.trained
    assert len(model.history) == 0


def disk_full(path, content):
    raise OSError(errno.ENOSPC, "disk full")


def test_disk_error_after_ctrl_c_stops_no_other(tmp_path, monkeypatch):
    write = background_write.write_atomically

    def fails(path, content):
        return (disk_full if str(path).endswith("a") and ready else write)(path, content)

    ready, model = [], MLP(3, [6], 2, dtype="float64")
    monkeypatch.setattr(background_write, "write_atomically", fails)
    checkpoints = [TrainingCheckpoint(tmp_path / name, epochs=9) for name in "ab"]
    callbacks = [EarlyStopping("loss", patience=99), Press(2), *checkpoints]
    callbacks.append(lambda run: ready.append(1) and None)
    with pytest.raises(OSError, match="disk full"):
        train(callbacks, model)
    assert model.history.stopped == "interrupted after epoch 2"
    expected = train()
    for name, done in (("a", 0), ("b", 2)):
        path = tmp_path / name
        assert xpnet.training.resuming.read_training(path).state["completed"] == done
        resumed = train([EarlyStopping("loss", patience=99)], resume=path)
        assert resumed.history["loss"] == expected.history["loss"]


def test_disk_error_is_raised_at_the_next_interval(tmp_path, monkeypatch):
    model = MLP(3, [6], 2, dtype="float64")
    start = lambda run: monkeypatch.setattr(background_write, "write_atomically", disk_full)  # noqa: E731
    with pytest.raises(OSError, match=r"disk full: '.*a'"):
        train([start, TrainingCheckpoint(tmp_path / "a", epochs=1)], model)
    assert len(model.history) == 2
    assert xpnet.load(tmp_path / "a").theta.shape == model.theta.shape


def test_missing_file_of_the_best_is_written_again(tmp_path):
    path, best = tmp_path / "training", tmp_path / "best"
    callbacks = lambda: [Checkpoint(best, "loss"), TrainingCheckpoint(path, epochs=2)]  # noqa: E731
    train(callbacks(), epochs=4)
    best.unlink()
    with pytest.warns(UserWarning, match="not the file of the training that is resumed"):
        model = train(callbacks(), resume=path, epochs=6)
    assert best.exists()
    assert len(model.history) == 6


def test_more_epochs_go_on_after_early_stopping(tmp_path):
    path = tmp_path / "training"
    checkpoint = TrainingCheckpoint(path, epochs=1)
    stopped = train([EarlyStopping("lr", patience=2), checkpoint])
    assert len(stopped.history) == 3
    assert stopped.history.stopped
    same = train([EarlyStopping("lr", patience=2)], resume=path)
    assert columns(same) == columns(stopped)
    longer = train([EarlyStopping("lr", patience=99)], resume=path, epochs=7)
    assert len(longer.history) == 7
    assert longer.history.stopped == ""


def columns(model):
    return {k: v for k, v in model.history.columns.items() if k != "seconds"}


def test_column_of_text_is_refused_by_name(tmp_path):
    def text(run):
        run.row["name"] = "text"
        run.history.columns.setdefault("name", []).append("text")

    with pytest.raises(ArgumentError, match="the column 'name' must hold real numbers; got 'text'"):
        train([text, TrainingCheckpoint(tmp_path / "a", epochs=1)])


def test_metrics_of_an_average_must_be_passed_again(tmp_path):
    average = UseAverage(metrics=[xpnet.metrics.accuracy])
    train([average, TrainingCheckpoint(tmp_path / "a", epochs=1)], optimizer=Averaged(Adam()))
    with pytest.raises(ArgumentError, match="callbacks must be given"):
        xpnet.resume(tmp_path / "a", *task(), progress=False)


def test_share_of_numpy_is_a_share(tmp_path):
    path = tmp_path / "a"
    train([TrainingCheckpoint(path, epochs=1)], validation=np.float32(0.25))
    assert "val_loss" in xpnet.resume(path, *task(), epochs=6, progress=False).history


def test_digest_of_wide_rows_reads_few_of_them():
    wide = np.zeros((40, DIGEST_VALUES // 10), np.int8)
    digest = data_record(X=wide)["X"]["digest"]
    wide[1, 0] = 1  # between two of ten rows
    assert data_record(X=wide)["X"]["digest"] == digest
    wide[39, 5] = 1
    assert data_record(X=wide)["X"]["digest"] != digest


def test_new_minimization_keeps_the_file_of_another(tmp_path):
    path, f = tmp_path / "a", lambda x: ((x - 3.0) ** 4).sum()
    minimize(f, np.zeros(2), LBFGS(), checkpoint=MinimizationCheckpoint(path, iterations=1))
    before = path.read_bytes()
    seen = []

    def look(iterate):
        seen.append(path.read_bytes() == before)
        return True

    checkpoint = MinimizationCheckpoint(path, iterations=5)
    minimize(f, np.zeros(2), LBFGS(), callback=look, checkpoint=checkpoint)
    assert seen == [True]


def test_unfinished_training_is_kept_beside_the_new(tmp_path):
    path, previous = tmp_path / "a", tmp_path / "a.previous"
    with pytest.raises(KeyboardInterrupt):
        train([Press(2), TrainingCheckpoint(path, epochs=9)])
    before = path.read_bytes()
    text = r"had not ended, after 2 of 5 epochs; it is kept as '.*a\.previous'\. Pass resume="
    with pytest.warns(UserWarning, match=text):
        train([TrainingCheckpoint(path, epochs=9)], epochs=3)
    assert previous.read_bytes() == before
    assert xpnet.training.training_file.progress_of(path) == (3, 0, True, 3)
    resumed = train([TrainingCheckpoint(path, epochs=1)], resume=previous)
    np.testing.assert_array_equal(resumed.theta, train().theta)


def test_refused_training_keeps_the_unfinished_file(tmp_path):
    path, model = tmp_path / "a", MLP(3, [6], 2, dtype="float64")
    with pytest.raises(KeyboardInterrupt):
        train([Press(2), TrainingCheckpoint(path, epochs=9)])
    before = path.read_bytes()
    with pytest.raises(ArgumentError, match="monitor must be"):
        train([TrainingCheckpoint(path, epochs=9), EarlyStopping("val_loss")], model)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_finished_training_is_replaced_before_a_step(tmp_path):
    path, found = tmp_path / "a", []
    train([TrainingCheckpoint(path, epochs=9)])

    class Look:
        stateless = True

        def step(self, run):
            found.append(xpnet.training.training_file.progress_of(path))

    train([Look(), TrainingCheckpoint(path, epochs=9)], epochs=3)
    assert found[0] == (0, 0, False, 3)
    assert xpnet.training.training_file.progress_of(path) == (3, 0, True, 3)


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"\0" * 64, "model"])
def test_file_of_others_is_not_replaced(content, tmp_path):
    path = tmp_path / "a"
    if content == "model":
        MLP(3, [6], 2).save(path)
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(ArgumentError, match=r"path must be new, .* which is another file"):
        train([TrainingCheckpoint(path, epochs=1)])
    assert path.read_bytes() == before


@pytest.mark.parametrize("optimizer", [LBFGS(), Momentum(0.1)], ids=["LBFGS", "Momentum"])
def test_progress_says_that_nothing_is_left(optimizer, tmp_path, capsys):
    settings = {"loss": CrossEntropy(), "optimizer": optimizer, "epochs": 3}
    stop, checkpoint = (lambda run: run.epoch == 2), TrainingCheckpoint(tmp_path / "a", epochs=1)
    MLP(3, [6], 2).fit(*task(), callbacks=[stop, checkpoint], progress=False, **settings)
    MLP(3, [6], 2).fit(*task(), resume=tmp_path / "a", **settings)
    out = capsys.readouterr().out
    assert "ended after 2 epochs (a callback stopped training in epoch 2); a larger number" in out


class Grows:
    """A callback that gets its first attribute in an epoch."""

    def epoch(self, run):
        self.best = run.row["loss"]


class HalfSaved:
    """A callback whose state could not be set again."""

    def epoch(self, run):
        """Do nothing."""

    def state_dict(self):
        return {}


class Foreign:
    """A callback with a method of another library beside one of xpnet."""

    def epoch(self, run):
        """Do nothing."""

    def on_validation_end(self, run):
        """Never be called."""


@pytest.mark.parametrize("callback", [Grows(), HalfSaved()], ids=["grows", "half"])
def test_state_that_would_be_lost_is_refused(callback, tmp_path):
    with pytest.raises(ArgumentError, match="methods state_dict and load_state_dict"):
        train([callback, TrainingCheckpoint(tmp_path / "a", epochs=1)])


class Helped:
    """A callback with a method of its own that begins like one of another library."""

    def epoch(self, run):
        self.on_improvement(run)

    def on_improvement(self, run):
        """Be called by `epoch`."""


def test_own_methods_may_begin_with_on():
    assert len(train([Helped()]).history) == 5


def test_methods_of_other_libraries_are_refused():
    with pytest.raises(ArgumentError, match="got on_validation_end of Foreign"):
        train([Foreign()])


class Own(HalfMSE):
    """A user-defined loss."""


def test_resume_names_what_is_user_defined(tmp_path):
    (X, _), path = task(), tmp_path / "a"
    settings = {"loss": Own(), "callbacks": [TrainingCheckpoint(path, epochs=1)]}
    settings |= {"optimizer": Adam(), "progress": False, "epochs": 2}
    MLP(3, [6], 1).fit(X, X[:, :1], **settings)
    with pytest.raises(ArgumentError, match=r"got one with .*\.Own\. .* model.fit\(..., resume=pa"):
        xpnet.resume(path, X, X[:, :1], progress=False)
    history = MLP(3, [6], 1).fit(X, X[:, :1], resume=path, **settings | {"epochs": 3})
    assert len(history) == 3


def test_arguments_of_resume_are_checked_by_name(tmp_path):
    train([TrainingCheckpoint(tmp_path / "a", epochs=1)])
    with pytest.raises(ArgumentError, match="resume must be"):
        train(resume=True)
    with pytest.raises(FileNotFoundError, match=r"resume must be .* is a folder"):
        train(resume=tmp_path)
    state = Momentum(0.1).init(np.zeros(38))
    with pytest.raises(ArgumentError, match=r"optimizer must be new; .*Leave Resumed out"):
        train(resume=tmp_path / "a", optimizer=xpnet.Resumed(Momentum(0.1), state))
    MLP(3, [6], 2).save(tmp_path / "model")
    with pytest.raises(xpnet.FileFormatError, match=r"It is a model, which xpnet\.load reads"):
        train(resume=tmp_path / "model")


def test_step_refuses_the_state_of_another_optimizer():
    model = MLP(3, [6], 2)
    state = xpnet.TrainingStep(model, CrossEntropy(), Averaged(Momentum(0.1))).state_dict()
    other = xpnet.TrainingStep(model, CrossEntropy(), Averaged(xpnet.AdaGrad()))
    with pytest.raises(ArgumentError, match=r"must be Averaged\(Momentum\), .*Averaged\(AdaGrad\)"):
        other.load_state_dict(state)
