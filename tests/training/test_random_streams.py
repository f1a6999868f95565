"""The random numbers of trainings: continued, restarted, copied, saved, and divided by purpose."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import xpnet
from xpnet import (
    MLP,
    SGD,
    Adam,
    ArgumentError,
    CrossEntropy,
    FileFormatError,
    HalfMSE,
    NonFiniteError,
    TrainingStep,
    to_numpy,
)
from xpnet.minimize import LBFGS
from xpnet.optimizers.schedules import Schedule
from xpnet.random import RandomStreams, as_seed, held_out_generator

HOW = {"loss": CrossEntropy(), "optimizer": SGD(lr=0.1), "batch_size": 16, "progress": False}
NETWORKS = {"plain": {}, "dropout": {"dropout": 0.3}, "batch norm": {"batch_norm": True}}


def data():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(72, 5)).astype("float32")
    return X, (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)


def trained(model, epochs=1, **settings):
    """Train and return θ."""
    model.fit(*data(), epochs=epochs, **(HOW | settings))
    return to_numpy(model.theta).copy()


def new(place, name="dropout", **settings):
    return MLP(5, [8], 3, backend=place.backend, **NETWORKS[name], **settings)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("engine", [None, "eager"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_two_trainings_equal_one_to_the_bit(shuffle, engine, name, place32):
    settings = {"engine": engine, "shuffle": shuffle}
    whole = trained(new(place32, name), 4, **settings)
    model = new(place32, name)
    trained(model, 1, **settings)
    np.testing.assert_array_equal(trained(model, 3, **settings), whole)


def test_default_continues_the_constructors_stream(place32):
    for rng in (0, 7, 2**70):
        expected = trained(new(place32, rng=rng), rng=rng)
        np.testing.assert_array_equal(trained(new(place32, rng=rng)), expected)
    generators = [np.random.default_rng(3) for _ in range(2)]
    found = [trained(new(place32, rng=generator)) for generator in generators]
    np.testing.assert_array_equal(*found)


def test_seed_restarts_the_streams(place32):
    model = new(place32)
    start = to_numpy(model.theta).copy()
    found = []
    for rng in (5, 5, None, 6):
        model.theta = start
        found.append(trained(model, rng=rng))
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[1], found[2])
    assert not np.array_equal(found[1], found[3])


def test_generator_is_advanced_and_gives_the_seed(place32):
    generator, same = (np.random.default_rng(8) for _ in range(2))
    first = trained(new(place32), rng=generator)
    np.testing.assert_array_equal(trained(new(place32), rng=as_seed(same)), first)
    assert generator.bit_generator.state == same.bit_generator.state
    assert not np.array_equal(trained(new(place32), rng=generator), first)


def reloaded(model, folder):
    model.save(folder / "model")
    return xpnet.load(folder / "model", backend=model.backend)


WAYS = {
    "deepcopy": lambda model, _: copy.deepcopy(model),
    "pickle": lambda model, _: pickle.loads(pickle.dumps(model)),
    "save": reloaded,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("rng", [0, 11, 2**70])
def test_copy_continues_the_streams(rng, way, place32, tmp_path):
    model = new(place32, rng=rng)
    trained(model, 2)
    other = way(model, tmp_path)
    expected = trained(model)
    np.testing.assert_array_equal(trained(other), expected)
    assert other.state.streams == model.state.streams
    assert other.state.streams is not model.state.streams


def test_steps_and_epochs_share_the_stream_of_masks():
    """A step of a hand-written loop advances the masks of later trainings, and nothing else."""
    X, y = data()
    found = []
    for n_steps in (0, 2):
        model = MLP(5, [8], 3, dropout=0.3)
        step = TrainingStep(model, CrossEntropy(), SGD(lr=0.1))
        for _ in range(n_steps):
            step(X[:16], y[:16], lr=0.0)
        assert model.state.streams.masks.step == n_steps
        assert model.state.streams.orders == 0
        found.append(trained(model))
    assert not np.array_equal(*found)


def test_substreams_do_not_depend_on_each_other():
    shuffled, masked, split = (RandomStreams(4) for _ in range(3))
    order = shuffled.row_order(30)
    masked.masks.step += 5
    np.testing.assert_array_equal(masked.row_order(30), order)
    held_out_generator(4).permutation(30)
    np.testing.assert_array_equal(split.row_order(30), order)
    assert not np.array_equal(held_out_generator(4).permutation(30), order)
    assert not np.array_equal(np.random.default_rng(4).permutation(30), order)
    assert shuffled.masks.seed == masked.masks.seed != RandomStreams(5).masks.seed


def test_continued_training_holds_out_the_same_rows(place32):
    X, y = data()
    seen = []

    class Seen:
        def __call__(self, run):
            seen.append(sorted(to_numpy(run.rows.X)[:, 0].tolist()))

    model = new(place32)
    for rng in (None, None, 0, 1):
        settings = HOW | {"validation": 0.25, "callbacks": [Seen()], "epochs": 1, "rng": rng}
        model.fit(X, y, **settings)
    assert seen[0] == seen[1] == seen[2] != seen[3]


@pytest.mark.parametrize(
    "settings",
    [
        *({"batch_size": 0}, {"validation": 2.0}, {"rng": -1}, {"rng": "0"}, {"rng": 1.5}),
        *({"rng": 9, "batch_size": 0}, {"rng": np.random.default_rng(1), "batch_size": 0}),
        {"callbacks": [lambda run: run.monitored("no column")]},
        {"loss": HalfMSE(), "y": np.zeros((72, 3)), "optimizer": SGD(lr=1e30)},
    ],
)
def test_refused_training_leaves_the_model_alone(settings):
    model, settings = MLP(5, [8], 3, dropout=0.3), dict(settings)
    trained(model)
    before = copy.deepcopy(model)
    generator = copy.deepcopy(settings.get("rng"))
    (X, y), settings["rng"] = data(), settings.get("rng", 9)
    with pytest.raises((ArgumentError, NonFiniteError)):
        model.fit(X, settings.pop("y", y), epochs=2, **(HOW | settings))
    assert model.state.streams == before.state.streams
    assert (model.loss, model.classes, model.history) == (before.loss, None, before.history)
    np.testing.assert_array_equal(model.theta, before.theta)
    if isinstance(generator, np.random.Generator):
        assert settings["rng"].bit_generator.state == generator.bit_generator.state


class Diverges(Schedule):
    """A learning rate that is enormous from the second epoch on."""

    def factor(self, epoch, n_epochs, values=()):
        return 1.0 if epoch < 1 else 1e35


@pytest.mark.parametrize("engine", [None, "eager"])
def test_epoch_that_failed_can_be_repeated(engine):
    """Its row order and masks are drawn again."""
    model = MLP(5, [8], 3, dropout=0.3)
    expected = trained(copy.deepcopy(model), 2, engine=engine)
    with pytest.raises(NonFiniteError) as error:
        trained(model, 2, schedule=Diverges(), engine=engine)
    assert (error.value.epoch, model.state.streams.orders) == (2, 1)
    np.testing.assert_array_equal(trained(model, 1, engine=engine), expected)


def test_shared_generator_draws_parameters_only():
    generator, same = (np.random.default_rng(4) for _ in range(2))
    models = [MLP(3, [4], 2, rng=generator) for _ in range(2)]
    for model in models:
        theta = np.empty_like(model.theta)
        model.network.init(theta, np.empty(0), same)
        np.testing.assert_array_equal(model.theta, theta)
    assert models[0].state.streams != models[1].state.streams


# Files

REMOVED = object()


def rewritten(path, **changes):
    """Replace entries of the configuration in a model file; `REMOVED` removes one."""
    with safe_open(path, framework="numpy") as file:
        config = json.loads(file.metadata()["xpnet"])
    config = {k: v for k, v in (config | changes).items() if v is not REMOVED}
    save_file(load_file(path), path, metadata={"xpnet": json.dumps(config)})


def test_file_without_streams_loads_with_seed_0(tmp_path):
    path = tmp_path / "model"
    MLP(5, [8], 3, rng=4).save(path)
    rewritten(path, random=REMOVED)
    assert xpnet.load(path).state.streams == RandomStreams(0)


@pytest.mark.parametrize(
    "value",
    [
        3,
        {},
        {"seed": 1},
        {"seed": -1, "orders": 0, "masks": 0},
        {"seed": 1.5, "orders": 0, "masks": 0},
        {"seed": True, "orders": 0, "masks": 0},
        {"seed": 1, "orders": "2", "masks": 0},
        {"seed": 1, "orders": 0, "masks": 2**200},
    ],
)
def test_bad_streams_in_a_file_are_refused(value, tmp_path):
    path = tmp_path / "model"
    MLP(5, [8], 3).save(path)
    rewritten(path, random=value)
    with pytest.raises(FileFormatError):
        xpnet.load(path)


# The validation loss


@pytest.mark.parametrize("validation", ["share", "pair"])
@pytest.mark.parametrize("weighted", [True, False])
def test_val_loss_is_that_of_evaluate(weighted, validation, place32):
    X, y = data()
    weight = np.random.default_rng(2).uniform(0.5, 2, size=len(X)) if weighted else None
    rng = 3
    held = xpnet.data.splitting.split_rows(len(X), 0.25, held_out_generator(rng), y)[1]
    kept = np.setdiff1d(np.arange(len(X)), held)
    settings = {"l2": 0.1, "class_weight": [1.0, 5.0, 0.5], "epochs": 2, "rng": rng}
    model = new(place32, "plain")
    weights = {} if weight is None else {"sample_weight": weight}
    held_weights = {} if weight is None else {"sample_weight": weight[held]}
    if validation == "share":
        history = model.fit(X, y, validation=0.25, **weights, **(HOW | settings))
    else:
        given = (X[held], y[held], *held_weights.values())
        weights = {name: w[kept] for name, w in weights.items()}
        history = model.fit(X[kept], y[kept], validation=given, **weights, **(HOW | settings))
    expected = model.evaluate(X[held], y[held], **held_weights)["loss"]
    assert history["val_loss"][-1] == pytest.approx(expected, rel=1e-6)


def test_full_batch_training_holds_out_the_same_rows():
    X, _ = data()
    target, histories = (X @ np.arange(5.0))[:, None], []
    for optimizer in (LBFGS(), Adam(lr=1e-3)):
        model = MLP(5, [], 1, rng=2)
        start = model.theta.copy()
        seen = []
        callback = lambda run, seen=seen: seen.append(run.rows.X.tolist())  # noqa: E731
        model.fit(
            X,
            target,
            loss=HalfMSE(),
            optimizer=optimizer,
            epochs=1,
            validation=0.25,
            callbacks=[callback],
            progress=False,
        )
        model.theta = start
        histories.append(seen[0])
    assert histories[0] == histories[1]
