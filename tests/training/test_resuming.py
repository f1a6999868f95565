"""A training that is interrupted and resumed ends with the bits of one that is not."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
from helpers.kept_files import keep_files

import xpnet
from xpnet import (
    MLP,
    Adam,
    Averaged,
    Checkpoint,
    ClipByNorm,
    CrossEntropy,
    EarlyStopping,
    ExponentialAverage,
    Frozen,
    HalfMSE,
    Momentum,
    Standardize,
    StochasticWeightAveraging,
    TrainingCheckpoint,
    UseAverage,
    optimizers,
    schedules,
)
from xpnet.backend import to_numpy
from xpnet.metrics import accuracy, log_loss
from xpnet.training.data_record import DIGEST_ROWS, data_record

N, EPOCHS, BATCH = 44, 6, 16  # three steps an epoch, the last of 12 rows
ENGINES = ["replay", "eager"]
PLACES = [(1, 1), (3, 2), (3, 3), (4, None), (6, 1), (6, None)]
"""The epoch and the step after which a training is interrupted; ``None``: after the epoch."""


def classes(n=N):
    rng = np.random.default_rng(7)
    return rng.normal(size=(n, 5)).astype("float32"), rng.integers(0, 3, n)


def values(n=N):
    rng = np.random.default_rng(8)
    X = rng.normal(size=(n, 5)).astype("float32")
    return X, 300 + 40 * X @ rng.normal(size=(5, 2)) + rng.normal(size=(n, 2))


class Interrupt:
    """Interrupts the training at a place, as Ctrl-C does there."""

    stateless = True

    def __init__(self, epoch, step):
        self.epoch_number, self.step_number = epoch, step

    def step(self, run):
        if (run.epoch, run.step) == (self.epoch_number, self.step_number):
            run.interrupt()

    def epoch(self, run):
        if self.step_number is None and run.epoch == self.epoch_number:
            run.interrupt()


class Counting:
    """A callback with a state of its own: arrays, numbers and a random generator."""

    def __init__(self):
        self.rng, self.seen = np.random.default_rng(11), []
        self.total = np.zeros(2)

    def step(self, run):
        run.model.theta[0] += 1e-3 * self.rng.normal()  # training depends on the state
        self.total[0] += run.loss

    def epoch(self, run):
        self.seen.append(run.epoch)
        self.total[1] += run.row["loss"]

    def state_dict(self):
        state = {"rng": self.rng.bit_generator.state, "seen": self.seen, "total": self.total}
        return state | {"nothing": None}

    def load_state_dict(self, state):
        self.rng.bit_generator.state = state["rng"]
        self.seen, self.total = state["seen"], state["total"].copy()


def model_of(data, **settings):
    loss = settings.pop("loss", CrossEntropy())
    n_out = 2 if isinstance(loss, HalfMSE) else 3
    return MLP(5, [8, 4], n_out, rng=1, **{"dropout": 0.0, **settings})


@dataclass(frozen=True)
class Case:
    """The arguments of a training.

    Attributes:
        fit: arguments of ``fit``.
        model: arguments of the model.
        callbacks: makes the callbacks, given a folder.
        data: makes X and y.
    """

    fit: dict
    model: dict = None
    callbacks: object = lambda folder: []
    data: object = classes

    def train(self, folder, more=(), model=None, data=None, **fit):
        """Train and return the model and its callbacks."""
        X, y = self.data() if data is None else data
        settings = {"loss": CrossEntropy(), "optimizer": Adam(0.02), "epochs": EPOCHS}
        settings |= {"batch_size": BATCH, "progress": False, "rng": 5} | self.fit | fit
        folder.mkdir(exist_ok=True)
        callbacks = self.callbacks(folder)
        if model is None:
            model = model_of(None, loss=settings["loss"], **(self.model or {}))
        model.fit(X, y, callbacks=[*callbacks, *more], **settings)
        return model, callbacks


def stopping(folder):
    return [EarlyStopping("val_loss", patience=2), Checkpoint(folder / "best")]


WEIGHTS = np.random.default_rng(9).random(N) + 0.1
NOISY = {"model": {"dropout": 0.3, "batch_norm": True}}
CASES = {
    "plain": Case({}),
    "in order": Case({"shuffle": False}),
    "dropout": Case({}, {"dropout": 0.3}),
    "batch norm": Case({}, {"batch_norm": True}),
    "drop last": Case({"drop_last": True}, **NOISY),
    "penalties": Case({"l1": 1e-3, "l2": 1e-2, "clip": ClipByNorm(0.5)}),
    "row weights": Case({"sample_weight": WEIGHTS}, **NOISY),
    "class weights": Case({"class_weight": {0: 1.0, 1: 2.0, 2: 0.5}}),
    "validation share": Case({"validation": 0.3, "metrics": [accuracy]}, **NOISY),
    "given validation": Case({"validation": classes(20)}, **NOISY),
    "generator": Case({"rng": None}, {"dropout": 0.2}),
    "in parts": Case({"accumulate": 3, "sample_weight": WEIGHTS}, {"dropout": 0.3}),
    "float64": Case({}, {"dtype": "float64", "dropout": 0.2}),
    "one cycle": Case({"schedule": schedules.OneCycle()}),
    "cosine": Case({"schedule": schedules.LinearWarmup(2, schedules.Cosine())}),
    "plateau": Case({"schedule": schedules.ReduceOnPlateau(patience=0, min_delta=0.05)}),
    "standardized": Case(
        {"loss": HalfMSE(), "target_scaling": "standardize"}, **NOISY, data=values
    ),
    "early stopping": Case(
        {"validation": 0.3, "optimizer": Momentum(0.5)}, callbacks=stopping, **NOISY
    ),
    "no early stop": Case(
        {"validation": 0.3}, callbacks=lambda folder: [EarlyStopping(patience=99)], **NOISY
    ),
    "averaged": Case(
        {"optimizer": Averaged(Adam(0.02)), "validation": 0.3},
        callbacks=lambda folder: [UseAverage(classes(9)), EarlyStopping("avg_loss", 2)],
        **NOISY,
    ),
    "weight averaging": Case({}, callbacks=lambda folder: [StochasticWeightAveraging(2)], **NOISY),
    "weight averaging, early stopping": Case(
        {"validation": 0.3},
        callbacks=lambda folder: [StochasticWeightAveraging(2), EarlyStopping(patience=2)],
        **NOISY,
    ),
    "own callback": Case({}, callbacks=lambda folder: [Counting()], **NOISY),
    "inspected": Case({}, callbacks=lambda folder: [xpnet.LayerRecorder(*classes(9))]),
}
WRAPPERS = "Averaged", "Frozen", "Grouped", "Lookahead", "Resumed", "SAM"
WHOLE = {
    "SGD": optimizers.SGD(0.1),
    "Frozen": Frozen(Adam(0.02), MLP(5, [8, 4], 3).layout, [0]),
    "SAM": optimizers.SAM(Momentum(0.05)),
    "Lookahead": optimizers.Lookahead(Adam(0.02), k=4),
    "groups": optimizers.Grouped(
        [(optimizers.ByRole("bias"), optimizers.Nadam(0.02))], default=optimizers.AdamW(0.05)
    ),
    "exponential average": Averaged(Momentum(0.05), ExponentialAverage(0.9)),
}


def own_optimizers():
    found = {}
    for name in optimizers.__all__:
        kind = getattr(optimizers, name)
        is_kind = isinstance(kind, type) and issubclass(kind, optimizers.Optimizer)
        if is_kind and name not in (*WRAPPERS, "Optimizer", "SGD"):
            found[name] = kind() if name == "AdaDelta" else kind(lr=0.02)
    return WHOLE | found


OPTIMIZERS = own_optimizers()


def columns_of(model):
    named = {k: v for k, v in model.history.columns.items() if k != "seconds"}
    return repr(named), model.history.stopped


def assert_same(actual, expected):
    for name in ("theta", "statistics"):
        one, other = (to_numpy(getattr(model, name)) for model in (actual, expected))
        np.testing.assert_array_equal(one, other)
    assert columns_of(actual) == columns_of(expected)
    assert actual.state.streams.drawn == expected.state.streams.drawn


def require_engine(engine):
    if engine == "replay":
        pytest.importorskip("numba", reason="replay on a CPU needs Numba")


def interrupted(case, place, folder, **fit):
    """Train until ``place`` and return the path of the checkpoint."""
    path = folder / "training"
    more = [Interrupt(*place), TrainingCheckpoint(path, epochs=100)]
    case.train(folder / "runs", more, on_interrupt="return", **fit)
    return path


def check(case, place, folder, **fit):
    expected, callbacks = case.train(
        folder / "whole", [TrainingCheckpoint(folder / "w", epochs=2)], **fit
    )
    path = interrupted(case, place, folder, **fit)
    actual, others = case.train(folder / "runs", resume=path, **fit)
    assert_same(actual, expected)
    for one, other in zip(others, callbacks, strict=True):
        if hasattr(one, "state_dict"):
            assert repr(one.state_dict()) == repr(other.state_dict())


@pytest.mark.parametrize("place", [(3, 2), (4, None)])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_resumes_to_the_bit(name, engine, place, tmp_path):
    require_engine(engine)
    check(Case({"optimizer": OPTIMIZERS[name]}), place, tmp_path, engine=engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CASES)
def test_every_option_resumes_to_the_bit(name, engine, tmp_path):
    require_engine(engine)
    for number, place in enumerate(PLACES):
        folder = tmp_path / str(number)
        folder.mkdir()
        rng = {"rng": np.random.default_rng(3)} if CASES[name].fit.get("rng", 0) is None else {}
        if rng:
            check_generator(CASES[name], place, folder, engine)
        else:
            check(CASES[name], place, folder, engine=engine)


def check_generator(case, place, folder, engine):
    """A generator ends with the state that it has after the uninterrupted training."""
    generators = [np.random.default_rng(3) for _ in range(3)]
    settings = [{"engine": engine, "rng": rng} for rng in generators]
    expected, _ = case.train(folder / "whole", **settings[0])
    path = interrupted(case, place, folder, **settings[1])
    actual, _ = case.train(folder / "runs", resume=path, **settings[2])
    assert_same(actual, expected)
    states = [rng.bit_generator.state for rng in generators]
    assert states[0] == states[1] == states[2]


def test_streamed_data_resume_to_the_bit(tmp_path):
    X, y = classes()
    np.save(tmp_path / "X.npy", X)
    data = np.load(tmp_path / "X.npy", mmap_mode="r"), y
    check(Case({}, **NOISY, data=lambda: data), (3, 2), tmp_path)


def test_each_backend_resumes_to_the_bit(place32, tmp_path):
    if place32.readonly:
        pytest.skip("the data are read-only, not the backend")
    case = Case({"validation": 0.3}, {**NOISY["model"], "backend": place32.backend})
    for number, place in enumerate([(2, 2), (4, None)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        check(case, place, folder)


def test_another_backend_goes_on_to_rounding(place32, tmp_path):
    case, (X, y) = CASES["validation share"], classes()
    expected, _ = case.train(tmp_path / "whole")
    path = interrupted(case, (3, 2), tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the backend is another one
        model = xpnet.resume(path, X, y, progress=False, callbacks=[], backend=place32.backend)
    np.testing.assert_allclose(to_numpy(model.theta), expected.theta, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("interval", [{"steps": 2}, {"steps": 7}, {"epochs": 2}, {"seconds": 1e-9}])
def test_every_written_file_resumes_to_the_bit(interval, tmp_path, monkeypatch):
    """Also the files of intervals, of which each is kept."""
    case = CASES["early stopping"]
    expected, _ = case.train(tmp_path / "whole")
    paths = keep_files(monkeypatch, tmp_path)
    case.train(tmp_path / "runs", [TrainingCheckpoint(tmp_path / "training", **interval)])
    monkeypatch.undo()
    assert len(paths) >= 2
    for path in paths:
        actual, _ = case.train(tmp_path / "runs", resume=path)
        assert_same(actual, expected)


def test_more_epochs_lengthen_the_schedule_from_there(tmp_path):
    case = CASES["cosine"]
    path = tmp_path / "training"
    case.train(tmp_path / "runs", [TrainingCheckpoint(path, epochs=1)], epochs=4)
    model, _ = case.train(tmp_path / "runs", resume=path, epochs=8)
    factor = partial(case.fit["schedule"].factor, n_epochs=4)
    longer = partial(case.fit["schedule"].factor, n_epochs=8)
    lrs = [0.02 * factor(e + 2 / 3) for e in range(4)] + [
        0.02 * longer(e + 2 / 3) for e in range(4, 8)
    ]
    assert model.history["lr"] == pytest.approx(lrs)


def test_a_finished_training_is_only_ended_again(tmp_path):
    path, case = tmp_path / "training", CASES["averaged"]
    expected, _ = case.train(tmp_path / "runs", [TrainingCheckpoint(path, epochs=1)])
    actual, _ = case.train(tmp_path / "runs", [TrainingCheckpoint(path, epochs=1)], resume=path)
    assert_same(actual, expected)


@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "class weights",
        "validation share",
        "standardized",
        "no early stop",
        "weight averaging",
        "one cycle",
        "plateau",
    ],
)
def test_resume_makes_the_model_and_the_settings(name, tmp_path):
    case = CASES[name]
    expected, _ = case.train(tmp_path / "whole")
    path = tmp_path / "training"
    more = [TrainingCheckpoint(path, steps=4)]
    case.train(tmp_path / "runs", [Interrupt(3, 2), *more], on_interrupt="return")
    own = case.callbacks(tmp_path)
    actual = xpnet.resume(path, *case.data(), progress=False, callbacks=[*own, *more])
    assert_same(actual, expected)


def test_resume_makes_the_callbacks_of_the_file(tmp_path):
    path = tmp_path / "training"
    callbacks = [StochasticWeightAveraging(2, 2), TrainingCheckpoint(path, epochs=2)]
    case = Case({})
    expected, _ = case.train(tmp_path / "runs", callbacks)
    model = xpnet.resume(path, *classes(), epochs=EPOCHS + 2, progress=False)
    longer, _ = case.train(tmp_path / "runs", [StochasticWeightAveraging(2, 2)], epochs=EPOCHS + 2)
    assert_same(model, longer)
    assert not np.array_equal(model.theta, expected.theta)


def test_preprocessing_and_names_come_from_the_file(tmp_path):
    X, y = classes()
    names = np.array(["no", "yes", "perhaps"])[y]
    scaled = Standardize.fit(X)
    case = Case({}, {"preprocessing": scaled}, data=lambda: (X, names))
    check(case, (2, 1), tmp_path)
    model = xpnet.resume(tmp_path / "training", X, names, progress=False, callbacks=[])
    assert model.classes == ("no", "perhaps", "yes")
    assert set(model.predict(X)) <= {"no", "yes", "perhaps"}
    assert xpnet.load(tmp_path / "training").classes == model.classes


def test_labels_from_one_are_named_again(tmp_path):
    X, y = classes()
    check(Case({}, data=lambda: (X, y + 1)), (2, 1), tmp_path)


@dataclass(frozen=True)
class Slower(optimizers.Optimizer):
    """A user-defined optimizer, a value."""

    lr: float = 0.1
    rule = staticmethod(lambda xp, theta, grad, lr: theta - 0.5 * lr * grad)

    def scalars(self, state, lr):
        return (lr,)


@dataclass(frozen=True)
class Falling(schedules.Schedule):
    """A user-defined schedule, a value."""

    def factor(self, epoch, n_epochs, values=()):
        return 1.0 / (1.0 + epoch)


def test_user_defined_values_resume_by_fit(tmp_path):
    case = Case({"optimizer": Slower(), "schedule": Falling()})
    check(case, (3, 2), tmp_path)
    with pytest.raises(xpnet.ArgumentError, match=r"user-defined parts; got one with .*Slower"):
        xpnet.resume(tmp_path / "training", *classes(), callbacks=[], progress=False)


@pytest.mark.parametrize("metric", [lambda p, t: 7.0, partial(log_loss)])
def test_metrics_named_like_ours_are_not_rebuilt(metric, tmp_path):
    named = xpnet.metric(metric, name="accuracy")
    checkpoint = TrainingCheckpoint(tmp_path / "training", epochs=1)
    Case({"metrics": [named]}).train(tmp_path / "runs", [checkpoint])
    with pytest.raises(xpnet.ArgumentError, match=r"got 'accuracy \(user-defined\)'"):
        xpnet.resume(tmp_path / "training", *classes(), epochs=EPOCHS + 1, progress=False)


def test_predictions_are_those_of_the_file(tmp_path):
    case = CASES["batch norm"]
    path = interrupted(case, (3, 2), tmp_path)
    X, _ = classes()
    loaded = xpnet.load(path)
    stopped, _ = case.train(tmp_path / "runs", [Interrupt(3, 2)], on_interrupt="return")
    np.testing.assert_array_equal(loaded.forward(X), stopped.forward(X))


ENVIRONMENT = {
    "CPU": "another CPU",
    "NumPy": "1.0",
    "BLAS threads": 77,
    "backend": "cupy",
}


@pytest.mark.parametrize("name", [*ENVIRONMENT, "engine"])
def test_another_environment_is_one_warning(name, tmp_path, monkeypatch):
    require_engine("replay")
    case = Case({})
    path = interrupted(case, (3, 2), tmp_path, engine="replay")
    found = xpnet.training.environment.environment
    if name != "engine":
        other = lambda backend: found(backend) | {name: ENVIRONMENT[name]}  # noqa: E731
        monkeypatch.setattr(xpnet.training.resuming, "environment", other)
    with pytest.warns(UserWarning, match=f"not with the same bits.*{name}.* then, .* now") as seen:
        case.train(tmp_path / "runs", resume=path, engine="eager" if name == "engine" else "replay")
    assert len(seen) == 1


def test_digest_is_that_of_the_same_rows_anywhere(place32):
    X = np.random.default_rng(0).normal(size=(DIGEST_ROWS + 7, 2)).astype("float32")
    expected = data_record(X=X)["X"]
    assert data_record(X=place32.array(X))["X"] == expected
    for row in (0, 3, DIGEST_ROWS + 6):
        changed = X.copy()
        changed[row] = 9.0
        assert data_record(X=changed)["X"]["digest"] != expected["digest"]


class Counter(np.random.SFC64):
    """A bit generator that is not NumPy's own, which may have any state."""


def test_foreign_bit_generator_is_refused(tmp_path):
    rng, model = np.random.Generator(Counter(1)), MLP(5, [8, 4], 3)
    checkpoint = TrainingCheckpoint(tmp_path / "training", epochs=1)
    with pytest.raises(xpnet.ArgumentError, match="rng must have a bit generator of NumPy"):
        Case({"rng": rng}).train(tmp_path / "runs", [checkpoint], model=model)
    assert len(model.history) == 0
    Case({"rng": rng}).train(tmp_path / "runs", model=model)


def test_generator_of_another_kind_is_refused(tmp_path):
    path = interrupted(Case({"rng": np.random.default_rng(3)}), (2, 1), tmp_path)
    other = np.random.Generator(np.random.MT19937(3))
    with pytest.raises(xpnet.ArgumentError, match="bit generator PCG64 of the training; got MT1"):
        Case({"rng": other}).train(tmp_path / "runs", resume=path)


def test_moved_file_is_continued_where_it_is(tmp_path):
    path, moved = tmp_path / "training", tmp_path / "moved"
    Case({}).train(tmp_path / "runs", [TrainingCheckpoint(path, epochs=1)])
    path.rename(moved)
    xpnet.resume(moved, *classes(), epochs=EPOCHS + 1, progress=False)
    assert not path.exists()
    again = xpnet.resume(moved, *classes(), progress=False)
    assert len(again.history) == EPOCHS + 1
