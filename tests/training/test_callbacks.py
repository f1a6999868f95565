"""Callbacks: what is refused before the first step, what is best, and who stops a training."""

from __future__ import annotations

import copy
import io
import itertools
import warnings
from contextlib import nullcontext

import numpy as np
import pytest
from helpers.nested_layers import Chain
from helpers.training_cases import ENGINES

import xpnet
from xpnet import (
    MLP,
    SGD,
    Adam,
    Averaged,
    BatchNorm,
    Checkpoint,
    CrossEntropy,
    Dense,
    EarlyStopping,
    ExponentialAverage,
    Sequential,
    StochasticWeightAveraging,
    UseAverage,
)
from xpnet.errors import ArgumentError
from xpnet.metrics import accuracy
from xpnet.minimize import LBFGS, Reason, minimize
from xpnet.minimize.functions import Rosenbrock
from xpnet.serialization import write_model

kept = pytest.mark.filterwarnings("ignore:.*keeps the model of an earlier training")
QUIET = {"loss": CrossEntropy(), "optimizer": SGD(lr=0.1), "progress": False}
AVERAGED = QUIET | {"optimizer": Averaged(SGD(lr=0.1))}
METHOD = QUIET | {"optimizer": LBFGS()}


@pytest.fixture
def task(rng):
    """Features, and classes that depend on them."""
    X = rng.standard_normal((80, 3))
    return X, (X[:, 0] > 0).astype(int)


def metric_of(values):
    """A metric with given values, one per epoch; the last one is repeated."""
    remaining = itertools.chain(values, itertools.repeat(values[-1]))

    def score(predicted, target):
        return next(remaining)

    return score


def contents(model):
    """Everything that a refused training must not change."""
    vectors = model.theta.copy(), model.statistics.copy()
    columns = {name: list(values) for name, values in model.history.columns.items()}
    rest = model.history, columns, model.history.stopped, model.loss, model.classes
    return vectors, (*rest, copy.deepcopy(model.state.streams))


def assert_refused(model, X, y, settings, error=ArgumentError, match=None):
    """Assert that `fit` raises an error and leaves the model as it was."""
    vectors, rest = contents(model)
    with pytest.raises(error, match=match) as caught:
        model.fit(X, y, **settings)
    new_vectors, new_rest = contents(model)
    for before, after in zip(vectors, new_vectors, strict=True):
        np.testing.assert_array_equal(after, before)
    assert new_rest == rest
    return caught.value


def small_model(n_hidden=4):
    return MLP(3, [n_hidden], 2, batch_norm=True, dropout=0.1, rng=1)


# ------------------------------------------------------------------------------------------------
# What is refused before the first step


class Refusing:
    """A callback with a method begin that raises an error."""

    def __init__(self, error):
        self.error = error

    def begin(self, run):
        raise self.error

    def __call__(self, run):
        raise AssertionError("a step has been taken")


class BadBegin:
    def begin(self):
        """Take no run, which is an error."""

    def __call__(self, run):
        raise AssertionError("a step has been taken")


class BadRestore(BadBegin):
    begin = 3.5  # an attribute that is not called

    def restore(self, snapshot):
        """Take no run, which is an error."""


class BadEnd(BadBegin):
    begin = None

    def end(self, run, more):
        """Take two arguments, which is an error."""


class Former(BadBegin):
    begin = None

    def finish(self, run):
        """Have the name of an earlier version, which is an error."""


class NoMethod:
    """An object without a method that could be called."""


class BadEvery(BadBegin):
    begin, every = None, 0

    def step(self, run):
        raise AssertionError("a step has been taken")


def fine(run):
    """A callback that declares no columns, so that it may add any."""


VAL = r"monitor must be one of .*; got 'val_.*pass validation=\(X, y\)"
INVALID = {
    "no validation": (lambda path: [EarlyStopping()], VAL),
    "after another": (lambda path: [fine, EarlyStopping()], VAL),
    "validated metric": (lambda path: [fine, EarlyStopping("val_accuracy")], VAL),
    "checkpoint": (lambda path: [Checkpoint(path / "a")], VAL),
    "misspelled": (lambda path: [EarlyStopping("los")], "got 'los'. Did you mean 'loss'"),
    "no such average": (lambda path: [EarlyStopping("avg_loss")], "got 'avg_loss'"),
    "no folder": (lambda path: [Checkpoint(path / "none" / "a", "loss")], "existing folder"),
    "folder": (lambda path: [Checkpoint(path, "loss")], "must be a file; got .* is a folder"),
    "late": (lambda path: [StochasticWeightAveraging(99)], "at most the 3 epochs; got 99"),
    "no average": (lambda path: [UseAverage()], r"optimizer must be Averaged\(...\)"),
    "two averages": (
        lambda path: [StochasticWeightAveraging(1), StochasticWeightAveraging(2)],
        "at most one that averages .* got StochasticWeightAveraging and Stoch",
    ),
    "two stops": (
        lambda path: [EarlyStopping("loss"), EarlyStopping("lr")],
        "at most one EarlyStopping, .*; got 2",
    ),
    "one file twice": (
        lambda path: [Checkpoint(path / "a", "loss"), Checkpoint(path / "." / "a", "lr")],
        "hold Checkpoints of different paths; got two with",
    ),
    "recorder": (lambda path: [xpnet.LayerRecorder(np.ones((2, 7)))], "X must have 3 columns"),
    "begin": (lambda path: [Refusing(ArgumentError("no"))], "^no$"),
    "begin of another error": (lambda path: [Refusing(RuntimeError("no"))], "^no$"),
    "no argument": (lambda path: [lambda: None], r"can be called as f\(run\)"),
    "two arguments": (lambda path: [lambda run, more: None], r"can be called as f\(run\)"),
    "begin of no argument": (lambda path: [BadBegin()], r"can be called as begin\(run\)"),
    "end of two": (lambda path: [BadEnd()], r"can be called as end\(run\)"),
    "former name": (
        lambda path: [Former()],
        "got finish of Former. Rename it to end",
    ),
    "no method": (
        lambda path: [NoMethod()],
        "objects with a method begin, step, .* or end",
    ),
    "every of zero": (lambda path: [BadEvery()], "BadEvery.every must be an integer"),
    "restore of one": (lambda path: [BadRestore()], r"can be called as restore\(run, snapshot\)"),
}


@pytest.mark.parametrize("case", INVALID)
@pytest.mark.parametrize("how", [*ENGINES, "minimize"])
def test_invalid_callbacks_leave_the_model(task, tmp_path, case, how):
    callbacks, match = INVALID[case]
    model = MLP(3, [4], 2, rng=1) if how == "minimize" else small_model()
    model.fit(*task, epochs=1, **(QUIET if how == "minimize" else AVERAGED))
    settings = METHOD if how == "minimize" else QUIET | {"engine": how}
    steps = []
    seen = settings | {"metrics": [accuracy, lambda p, t: steps.append(1) or 0.5]}
    seen |= {"callbacks": callbacks(tmp_path), "epochs": 3}
    assert_refused(model, *task, seen, (ArgumentError, OSError, RuntimeError), match)
    assert steps == []
    assert not list(tmp_path.iterdir())


def test_new_model_stays_without_loss_and_classes(task):
    X, y = task
    names = np.array(["no", "yes"])[y]
    model = small_model()
    assert_refused(model, X, names, QUIET | {"callbacks": [EarlyStopping()]})
    assert model.loss is None
    assert model.classes is None


def test_metric_of_a_missing_function_names_metrics(task):
    settings = QUIET | {"callbacks": [EarlyStopping("val_accuracy")], "validation": 0.2}
    message = r"got 'val_accuracy'. .* need a metric: pass metrics=\[...\] to fit"
    assert_refused(small_model(), *task, settings, match=message)


@pytest.mark.parametrize("metric", [lambda predicted: 0.5, lambda p, t, weight: 0.5])
def test_metrics_with_another_signature_are_refused(task, metric):
    message = r"metrics must hold functions that can be called as f\(predicted, target\)"
    assert_refused(small_model(), *task, QUIET | {"metrics": [metric]}, match=message)


@pytest.mark.parametrize("columns", [5, 2])
def test_average_refuses_unfit_validation_at_once(task, columns):
    use = UseAverage((np.ones((2, columns)), [0, 1]))
    settings = AVERAGED | {"callbacks": [use]}
    assert_refused(small_model(), *task, settings, match="X must have 3 columns")


def test_metric_of_an_average_is_tried_before(task):
    use, epochs = UseAverage(task, metrics=[lambda predicted, target: np.ones(2)]), []
    callbacks = [lambda run: epochs.append(run.epoch), use]
    assert_refused(small_model(), *task, AVERAGED | {"callbacks": callbacks}, match="one number")
    assert epochs == []
    with pytest.raises(ArgumentError, match="distinct names"):
        UseAverage(task, metrics=[accuracy, accuracy])


@pytest.mark.parametrize("callback", [UseAverage(), StochasticWeightAveraging(1)])
def test_nested_batch_norm_leaves_the_model(task, callback):
    model = Sequential([Chain((Dense(3), BatchNorm())), Dense(2)], 3)
    assert_refused(model, *task, AVERAGED | {"callbacks": [callback]}, match="another layer")


class OwnLayer:
    """A user-defined layer, which no file can describe."""

    def specs(self, n_in):
        return xpnet.Activation(xpnet.Tanh()).specs(n_in)

    def forward(self, p, x, ctx):
        return x, None

    def backward(self, p, g, saved, dy, ctx):
        return dy


def test_model_that_cannot_be_saved_is_refused(task, tmp_path):
    model = Sequential([OwnLayer(), Dense(2)], 3)
    settings = QUIET | {"callbacks": [Checkpoint(tmp_path / "best", "loss")]}
    assert_refused(model, *task, settings, match="OwnLayer")
    assert not list(tmp_path.iterdir())


def test_folder_that_cannot_be_written_is_refused(task, tmp_path, monkeypatch):
    def denied(folder, mode):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("xpnet.atomic._new_file", denied)
    settings = QUIET | {"callbacks": [Checkpoint(tmp_path / "best", "loss")]}
    assert_refused(small_model(), *task, settings, PermissionError, "can be written: Perm")


@pytest.mark.parametrize("callback", [EarlyStopping, lambda m: Checkpoint("best", m)])
@pytest.mark.parametrize("monitor", [None, 3, accuracy])
def test_monitor_must_be_the_name_of_a_column(callback, monitor):
    with pytest.raises(ArgumentError, match="monitor must be a str"):
        callback(monitor)


@pytest.mark.parametrize("base", [QUIET, METHOD])
def test_unknown_column_beside_a_function_is_refused(task, base):
    """The function may add the column, so that it is refused at the end of the first epoch."""
    model, epochs = MLP(3, [4], 2), []
    callbacks = [EarlyStopping("accurcy"), lambda run: epochs.append(run.epoch)]
    settings = base | {"callbacks": callbacks, "metrics": [accuracy]}
    assert_refused(model, *task, settings, match="Did you mean 'accuracy'")
    assert epochs == [1]


@pytest.mark.parametrize("value", [None, "0.5", np.ones(2)])
@pytest.mark.parametrize("base", [QUIET, METHOD])
def test_column_without_numbers_is_refused(task, value, base):
    def add(run):
        run.row["own"] = value

    settings = base | {"callbacks": [EarlyStopping("own"), add]}
    assert_refused(MLP(3, [4], 2), *task, settings, match="column 'own' must hold one real number")


# ------------------------------------------------------------------------------------------------
# Metrics that are no numbers


class Recalls:
    """A metric that is an object, so that it may hold state."""

    __name__ = "recalls"
    calls = 0

    def __call__(self, predicted, target):
        self.calls += 1
        return np.ones(2)


@pytest.mark.parametrize("base", [QUIET, METHOD])
@pytest.mark.parametrize("validation", [None, 0.25])
def test_metric_with_state_is_refused_after_one_call(task, base, validation):
    model, metric = MLP(3, [4], 2, batch_norm=base is QUIET), Recalls()
    settings = base | {"metrics": [metric], "validation": validation, "epochs": 3}
    assert_refused(model, *task, settings, match="metric 'recalls' must return one number")
    assert metric.calls == 1


@pytest.mark.parametrize("base", [QUIET, METHOD])
def test_later_refusals_keep_the_later_epoch(task, base):
    model, thetas = MLP(3, [4], 2), []
    callbacks = [lambda run: thetas.append(run.model.theta.copy())]
    settings = base | {"metrics": [metric_of([0.1, 0.2, "no"])], "callbacks": callbacks}
    with pytest.raises(ArgumentError, match="'score' must return one number"):
        model.fit(*task, epochs=9, **settings)
    assert len(thetas) == len(model.history) == 2
    assert model.loss is not None
    assert not (model.theta == thetas[0]).all()


@pytest.mark.parametrize("calls", [1, 4])
def test_errors_of_metrics_are_not_changed(task, calls):
    def broken(predicted, target, numbers=iter(range(1, 99))):  # noqa: B008 - holds state
        if next(numbers) >= calls:
            raise ZeroDivisionError("of the metric")
        return 0.5

    with pytest.raises(ZeroDivisionError, match=r"^of the metric$"):
        MLP(3, [4], 2).fit(*task, metrics=[broken], **QUIET)


# ------------------------------------------------------------------------------------------------
# What is monitored, and what is best


@pytest.mark.parametrize("order", [1, -1])
def test_columns_of_user_callbacks_are_monitored(task, order):
    def add(run):
        run.row["own"] = float(run.epoch)

    callbacks = [EarlyStopping("own", patience=2), add][::order]
    history = MLP(3, [], 2).fit(*task, epochs=9, callbacks=callbacks, **QUIET)
    assert len(history) == 3
    assert "epoch 1" in history.stopped


@pytest.mark.parametrize("order", [1, -1])
def test_columns_of_averages_are_monitored(task, tmp_path, order):
    path = tmp_path / "best"
    use, model = UseAverage(task, [accuracy]), small_model()
    stop = EarlyStopping("avg_loss", patience=99)
    callbacks = [stop, Checkpoint(path, "avg_loss"), use][::order]
    history = model.fit(*task, epochs=3, callbacks=callbacks, **AVERAGED)
    assert np.argmin(history["avg_loss"]) == 2
    saved = xpnet.load(path)
    np.testing.assert_array_equal(saved.theta, model.theta)  # the average
    np.testing.assert_array_equal(saved.statistics, model.statistics)
    assert not (saved.theta == use.theta).all()


NAN = float("nan")
SCORES = [
    ([NAN, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], 8, 8, ""),
    ([NAN, NAN, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 8, 8, ""),
    ([0.5, NAN, NAN, 0.6, NAN, NAN, 0.7, 0.8], 8, 8, ""),
    ([0.5, NAN, 0.4, NAN], 4, 1, "not improved for 3 epochs; the weights of epoch 1 are restored"),
    ([NAN], 3, None, "score was NaN for 3 epochs; the weights of the last epoch are kept"),
    ([np.inf, NAN, 0.5], 4, 1, "the weights of epoch 1 are restored"),
    ([-np.inf, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], 8, 8, ""),
    ([0.5, 0.5, 0.5, 0.5], 4, 1, "the weights of epoch 1 are restored"),
]


@pytest.mark.parametrize(("values", "epochs", "best", "stopped"), SCORES)
@pytest.mark.parametrize("sign", [1, -1])
def test_nan_is_never_best(task, tmp_path, values, epochs, best, stopped, sign):
    path, thetas = tmp_path / "best", []
    score = metric_of([sign * value for value in values])
    callbacks = [
        EarlyStopping("val_score", patience=3, maximize=sign > 0),
        Checkpoint(path, "val_score", maximize=sign > 0),
        lambda run: thetas.append(run.model.theta.copy()),
    ]
    model = MLP(3, [4], 2)
    settings = QUIET | {"validation": 0.25, "metrics": [score], "callbacks": callbacks}
    unsaved = pytest.warns(UserWarning, match="was not written: val_score was NaN in every epoch")
    with unsaved if best is None else nullcontext():
        history = model.fit(*task, epochs=8, **settings)
    assert len(history) == epochs
    assert history.stopped.endswith(stopped)
    assert bool(history.stopped) == bool(stopped)
    assert path.exists() == (best is not None)
    kept = thetas[-1] if best is None else thetas[best - 1]
    np.testing.assert_array_equal(model.theta, kept)
    if best is not None:
        np.testing.assert_array_equal(xpnet.load(path).theta, kept)
        assert callbacks[1].best == sign * values[best - 1]


def test_nan_keeps_the_lowest_loss_of_a_method(task):
    stop = EarlyStopping("score", patience=2)
    model = MLP(3, [4], 2)
    history = model.fit(*task, metrics=[metric_of([NAN])], callbacks=[stop], **METHOD)
    assert history.stopped == "score was NaN for 2 epochs; the weights of the lowest loss are kept"
    assert model.evaluate(*task)["loss"] == pytest.approx(min(history["loss"]), rel=1e-6)


def test_early_stopping_forgets_an_earlier_training(task):
    stop, model = EarlyStopping("score", patience=2, maximize=True), MLP(3, [], 2)
    for values, epochs in (([0.9, 0.8, 0.7], 3), ([0.1, 0.2, 0.3, 0.4], 4), ([NAN, 0.1], 3)):
        history = model.fit(
            *task, epochs=min(len(values), 4) if epochs == 4 else 9,
            metrics=[metric_of(values)], callbacks=[stop], **QUIET,
        )  # fmt: skip
        assert len(history) == epochs + (values[0] != values[0])


# ------------------------------------------------------------------------------------------------
# The best of several trainings


class Saves:
    """Trainings with given scores, of a model that a checkpoint saves."""

    def __init__(self, task, path):
        self.task, self.path, self.model = task, path, MLP(3, [4], 2)

    def fit(self, *scores, new=True, maximize=True, monitor="val_score", model=None):
        """Train; return whether the file was replaced by the last epoch."""
        if new:
            self.checkpoint = Checkpoint(self.path, monitor, maximize=maximize)
        model = self.model if model is None else model
        settings = QUIET | {"validation": 0.25, "metrics": [metric_of(scores), accuracy]}
        model.fit(*self.task, epochs=len(scores), callbacks=[self.checkpoint], **settings)
        saved = xpnet.load(self.path)
        return saved.theta.shape == model.theta.shape and (saved.theta == model.theta).all()


@kept
@pytest.mark.parametrize("new", [True, False])
def test_checkpoint_keeps_its_best_over_fits(task, tmp_path, new):
    saves = Saves(task, tmp_path / "best")
    assert saves.fit(0.2, 0.6)
    assert not saves.fit(0.5, 0.6, new=new)
    assert not saves.fit(NAN, new=new)
    assert saves.checkpoint.best == 0.6
    assert saves.fit(0.7, new=new)
    assert saves.checkpoint.best == 0.7
    assert not saves.fit(0.1, model=MLP(3, [4], 2, rng=5), new=new)


@kept
def test_checkpoint_keeps_its_best_in_other_processes(task, tmp_path):
    """Nothing but the file is left of the first training."""
    first, second = Saves(task, tmp_path / "best"), Saves(task, tmp_path / "best")
    first.fit(0.6)
    before = (tmp_path / "best").read_bytes()
    second.fit(0.5, 0.4)
    assert (tmp_path / "best").read_bytes() == before


OTHERS = {
    "another column": {"monitor": "val_accuracy"},
    "another direction": {"maximize": False},
    "another width": {"model": MLP(3, [5], 2)},
    "another layer": {"model": MLP(3, [4], 2, activation=xpnet.Tanh())},
    "another dtype": {"model": MLP(3, [4], 2, dtype="float64")},
}


@pytest.mark.parametrize("case", OTHERS)
@pytest.mark.parametrize("new", [True, False])
def test_checkpoint_starts_anew_for_another_model(task, tmp_path, case, new):
    saves = Saves(task, tmp_path / "best")
    saves.fit(1e9)
    new = new or "model" not in OTHERS[case]
    assert saves.fit(-1e9 if case != "another direction" else 2e9, new=new, **OTHERS[case])


def test_checkpoint_without_a_better_epoch_warns(task, tmp_path):
    saves = Saves(task, tmp_path / "best")
    saves.fit(0.6)
    with pytest.warns(UserWarning, match=r"keeps the model .* with val_score = 0.6: no epoch of"):
        Saves(task, tmp_path / "best").fit(0.5, 0.4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        saves.fit(0.7, 0.1)


@kept
def test_checkpoint_keeps_the_best_of_restarts(task, tmp_path):
    """The held-out rows are others for each seed."""
    scores, best = (0.4, 0.9, 0.2), None
    for seed, score in enumerate(scores):
        saves = Saves(task, tmp_path / "best")
        model = MLP(3, [4], 2, rng=seed)
        saves.fit(score, model=model)
        best = model.theta.copy() if score == 0.9 else best
    np.testing.assert_array_equal(xpnet.load(tmp_path / "best").theta, best)


@pytest.mark.parametrize("content", ["none", "other", "model", "deleted"])
def test_checkpoint_replaces_other_files(task, tmp_path, content):
    saves = Saves(task, tmp_path / "best")
    saves.fit(0.9)
    if content == "other":
        saves.path.write_bytes(b"no model" * 9)
    elif content == "model":
        saves.model.save(saves.path)
    else:
        saves.path.unlink()
    assert saves.fit(0.1, new=content != "deleted")


@pytest.mark.parametrize(
    "entry",
    ['{"monitor": "val_score", "maximize": true, "best": NaN}', "[]", "{", '{"best": 1e9}',
     '{"monitor": "val_score", "maximize": true, "best": "1e9"}'],
)  # fmt: skip
def test_checkpoint_ignores_invalid_entries(task, tmp_path, entry):
    saves = Saves(task, tmp_path / "best")
    saves.fit(0.9)
    write_model(saves.model, saves.path, {"xpnet-checkpoint": entry})
    assert saves.fit(0.1)


@pytest.mark.parametrize(
    ("monitor", "maximize"),
    [("accuracy", False), ("val_accuracy", False), ("loss", True), ("val_loss", True)],
)
@pytest.mark.parametrize("kind", ["stopping", "checkpoint"])
def test_wrong_direction_of_a_known_column_warns(task, tmp_path, kind, monitor, maximize):
    if kind == "stopping":
        callback = EarlyStopping(monitor, maximize=maximize)
    else:
        callback = Checkpoint(tmp_path / "best", monitor, maximize=maximize)
    settings = QUIET | {"metrics": [accuracy], "callbacks": [callback], "epochs": 1}
    if monitor.startswith("val_"):
        settings["validation"] = 0.25
    with pytest.warns(UserWarning, match=f"{monitor} is better .* maximize={not maximize}"):
        MLP(3, [4], 2).fit(*task, **settings)


# ------------------------------------------------------------------------------------------------
# Averages and early stopping, in any order

PERIODS = [0.1, 0.2, 0.3, 0.9, 0.1, 0.1, 0.1]
AVERAGES = {
    "Polyak": (UseAverage, Averaged(SGD(lr=0.5))),
    "exponential": (UseAverage, Averaged(Adam(lr=0.01), ExponentialAverage(0.9))),
    "evaluated": (lambda: UseAverage((np.eye(3), [0, 1, 1])), Averaged(SGD(lr=0.5))),
    "SWA": (lambda: StochasticWeightAveraging(2), SGD(lr=0.5)),
    "SWA from the best": (lambda: StochasticWeightAveraging(4), SGD(lr=0.5)),
    "SWA after the best": (lambda: StochasticWeightAveraging(5), SGD(lr=0.5)),
}


@pytest.mark.parametrize("case", AVERAGES)
@pytest.mark.parametrize("patience", [2, 99])
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_average_ends_with_the_best_epoch(task, tmp_path, case, order, patience):
    """Restoring the best epoch is the training that ends there, in any order of callbacks."""
    make, optimizer = AVERAGES[case]
    settings = QUIET | {"optimizer": optimizer, "validation": 0.2}
    stop = EarlyStopping("val_score", patience=patience, maximize=True)
    thetas = []
    callbacks = [make(), stop, Checkpoint(tmp_path / "best", "val_score", maximize=True)]
    remember = [lambda run: thetas.append(run.model.theta.copy())]
    model, expected = small_model(), small_model()
    history = model.fit(
        *task, epochs=7, metrics=[metric_of(PERIODS)],
        callbacks=[*(callbacks[i] for i in order), *remember], **settings,
    )  # fmt: skip
    assert len(history) == min(7, 4 + patience)
    text = "the weights and averages of epoch 4 are restored" if patience == 2 else ""
    assert history.stopped.endswith(text)
    ends = [] if case == "SWA after the best" else [make()]
    expected.fit(*task, epochs=4, callbacks=ends, **settings)
    np.testing.assert_array_equal(model.theta, expected.theta)
    np.testing.assert_array_equal(model.statistics, expected.statistics)
    np.testing.assert_array_equal(xpnet.load(tmp_path / "best").theta, thetas[3])
    if isinstance(callbacks[0], UseAverage):
        np.testing.assert_array_equal(callbacks[0].theta, thetas[3])
        np.testing.assert_array_equal(callbacks[0].state.slots[-1], model.theta)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("case", ["exponential", "SWA"])
def test_every_backend_ends_with_the_best_epoch(place, task, case, order):
    (make, optimizer), (X, y) = AVERAGES[case], map(place.array, task)
    stop = EarlyStopping("score", patience=2, maximize=True)
    models = [MLP(3, [4], 2, batch_norm=True, backend=place.backend) for _ in range(2)]
    settings = QUIET | {"optimizer": optimizer, "metrics": [metric_of(PERIODS)]}
    models[0].fit(X, y, epochs=7, callbacks=[stop, make()][::order], **settings)
    models[1].fit(X, y, epochs=4, callbacks=[make()], **QUIET | {"optimizer": optimizer})
    for name in ("theta", "statistics"):
        np.testing.assert_array_equal(*(place.host(getattr(model, name)) for model in models))


@pytest.mark.parametrize("order", [1, -1])
def test_resuming_from_the_best_epoch_is_exact(task, order):
    how = QUIET | {"shuffle": False}
    optimizer = Averaged(Adam(lr=0.01), ExponentialAverage(0.9))
    use, stop = UseAverage(), EarlyStopping("score", patience=2, maximize=True)
    model, expected = MLP(3, [8], 2), MLP(3, [8], 2)
    settings = how | {"optimizer": optimizer, "metrics": [metric_of(PERIODS)]}
    model.fit(*task, epochs=7, callbacks=[use, stop][::order], **settings)
    model.theta = use.theta
    resumed = how | {"optimizer": xpnet.Resumed(optimizer, use.state)}
    model.fit(*task, epochs=3, callbacks=[UseAverage()], **resumed)
    expected.fit(*task, epochs=7, callbacks=[UseAverage()], **how | {"optimizer": optimizer})
    np.testing.assert_array_equal(model.theta, expected.theta)


@pytest.mark.parametrize("order", [1, -1])
def test_methods_average_up_to_the_best_epoch(task, order):
    settings = METHOD | {"metrics": [metric_of(PERIODS)]}
    thetas, stop = [], EarlyStopping("score", patience=2, maximize=True)
    callbacks = [StochasticWeightAveraging(3), stop][::order]
    model = MLP(3, [4], 2, dtype="float64")
    callbacks.append(lambda run: thetas.append(run.model.theta.copy()))
    assert len(model.fit(*task, callbacks=callbacks, **settings)) == 6
    np.testing.assert_allclose(model.theta, (thetas[2] + thetas[3]) / 2, rtol=1e-12)


# ------------------------------------------------------------------------------------------------
# Who stops a training, and in which order callbacks are called

VALUES = [
    (True, True), (np.True_, True), (False, False), (None, False), (1, False), (17, False),
    (1.0, False), ("True", False), ([1], False), ((), False), (np.ones(3), False),
    (np.array([True]), False), (np.int64(1), False), (object(), False),
]  # fmt: skip


@pytest.mark.parametrize(("value", "stops"), VALUES)
@pytest.mark.parametrize("base", [QUIET, METHOD])
def test_only_true_stops_training(task, value, stops, base):
    history = MLP(3, [], 2).fit(*task, epochs=3, callbacks=[lambda run: value], **base)
    assert len(history) == (1 if stops else 3)
    stopped = history.stopped == "a callback stopped training in epoch 1"
    assert stopped == stops


@pytest.mark.parametrize(("value", "stops"), VALUES)
def test_only_true_stops_minimize(value, stops):
    function = Rosenbrock()
    result = minimize(function, np.array([-1.2, 1.0]), callback=lambda iterate: value, max_iter=3)
    assert (result.reason is Reason.CALLBACK) == stops


def test_written_characters_stop_nothing(task):
    file = io.StringIO()
    callbacks = [lambda run: file.write(f"{run.epoch} ")]
    MLP(3, [], 2).fit(*task, epochs=3, callbacks=callbacks, **QUIET)
    assert file.getvalue() == "1 2 3 "


class Noted:
    """A callback that notes its calls."""

    def __init__(self, name, calls, monitor=False):
        self.name, self.calls = name, calls
        if monitor:
            self.monitor = "loss"

    def begin(self, run):
        self.calls.append(("begin", self.name, run.epoch, len(run.model.history)))

    def epoch(self, run):
        self.calls.append(("epoch", self.name, run.epoch, len(run.model.history)))

    def end(self, run):
        self.calls.append(("end", self.name, run.epoch, len(run.model.history)))


@pytest.mark.parametrize("base", [QUIET, METHOD])
def test_callbacks_are_called_in_a_defined_order(task, base):
    calls = []
    callbacks = [Noted("a", calls, monitor=True), Noted("b", calls), Noted("c", calls)]
    MLP(3, [], 2).fit(*task, epochs=1, callbacks=callbacks, **base)
    steps = ("begin", 0, 0), ("epoch", 1, 1), ("end", 1, 1)
    assert calls == [(step, name, *rest) for step, *rest in steps for name in "bca"]
