"""Models and trainings with formulas: they are saved, loaded, resumed and copied."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import xpnet
from xpnet import ArgumentError, Dense, Sequential
from xpnet.activations import from_formula
from xpnet.losses import from_formula as loss_from_formula

MISH = from_formula(lambda xp, z: z * xp.tanh(xp.log1p(xp.exp(z))), name="mish")
SWISH = from_formula(lambda xp, z, b: z / (1 + xp.exp(-b * z)), name="swish", b=2.0)
DIGITS = from_formula(
    lambda xp, z, a: xp.where(z < xp.inf, 1e-7 * z + (0.1 + 0.2) * xp.sin(a * z), -xp.inf),
    name="digits",
    a=1 / 3,
)
PINBALL = loss_from_formula(
    lambda xp, z, t, q: xp.maximum(q * (t - z), (q - 1) * (t - z)), q=0.9, name="pinball"
)


def focal(xp, z, t, g):
    u = xp.where(t > 0.5, -z, z)
    return xp.sigmoid(u) ** g * xp.softplus(u)


FOCAL = loss_from_formula(focal, name="focal", target_kind="binary", g=2.0)
SIGNED = loss_from_formula(
    lambda xp, z, t: xp.maximum(0, 1 - t * z), name="margin", target_kind="signs", mean=True
)
RATE = loss_from_formula(lambda xp, z, t: xp.exp(z) - t * z, name="rate", target_min=0)

X = np.random.default_rng(0).normal(size=(24, 3)).astype("float32")
VALUES = X[:, 0] - 2 * X[:, 1] + 1
LABELS = (VALUES > 0).astype(int)
NAMES = np.array(["ash", "elm"])[LABELS]
CASES = {
    "mish and pinball": (MISH, PINBALL, VALUES),
    "swish and focal": (SWISH, FOCAL, NAMES),
    "digits and margin": (DIGITS, SIGNED, 2 * LABELS - 1),
    "swish and rate": (SWISH.with_parameters(b=0.5), RATE, LABELS.astype(float)),
    "mish and a loss of its own": (MISH, xpnet.HalfMSE(), VALUES),
    "tanh and pinball": (xpnet.Tanh(), PINBALL, VALUES),
}
FIT = {"batch_size": 8, "progress": False}


def made(activation):
    layers = [Dense(4, activation), xpnet.Activation(activation), Dense(1)]
    return Sequential(layers, 3, rng=1)


def trained(name, epochs=3, **given):
    activation, loss, y = CASES[name]
    model = made(activation)
    model.fit(X, y, loss=loss, optimizer=xpnet.Adam(0.01), epochs=epochs, **FIT, **given)
    return model


def same(one, other):
    """Whether two models have the same parts and give the same bits."""
    X64 = X.astype(float)
    assert (one.layers, one.loss, one.classes) == (other.layers, other.loss, other.classes)
    assert [repr(layer) for layer in one.layers] == [repr(layer) for layer in other.layers]
    for found, expected in (
        (one.theta, other.theta),
        (one.forward(X), other.forward(X)),
        (one.predict(X64), other.predict(X64)),
    ):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    y = np.zeros((len(X), 1)) if one.loss.target_kind == "values" else None
    if y is not None:
        pairs = (m.value_and_grad(X, y, m.loss) for m in (one, other))
        np.testing.assert_equal(*(tuple(map(np.asarray, pair)) for pair in pairs))


def reloaded(model, folder):
    model.save(folder / "model.st")
    return xpnet.load(folder / "model.st")


COPIES = {
    "loaded": reloaded,
    "loaded twice": lambda model, folder: reloaded(reloaded(model, folder), folder),
    "copied": lambda model, folder: copy.deepcopy(model),
    "pickled": lambda model, folder: pickle.loads(pickle.dumps(model)),
}


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("name", CASES)
def test_copies_give_the_same_bits(name, kind, tmp_path):
    model = trained(name, epochs=1)
    same(COPIES[kind](model, tmp_path), model)


@pytest.mark.parametrize("name", CASES)
def test_trainings_are_resumed_with_the_same_bits(name, tmp_path):
    path, y = tmp_path / "run.st", CASES[name][2]
    whole = trained(name, epochs=4)
    trained(name, epochs=2, callbacks=[xpnet.TrainingCheckpoint(path, epochs=1)])
    kept = path.read_bytes()
    resumed = xpnet.resume(path, X, y, epochs=4, progress=False)
    same(resumed, whole)
    assert resumed.history["loss"] == whole.history["loss"]
    path.write_bytes(kept)
    same(trained(name, epochs=4, resume=path), whole)
    assert xpnet.load(path).loss == CASES[name][1]


def test_full_batch_training_is_resumed(tmp_path):
    path = tmp_path / "run.st"
    given = {"loss": PINBALL, "optimizer": xpnet.minimize.LBFGS(3), "batch_size": None}
    given |= {"progress": False}
    models = made(MISH), made(MISH)
    models[0].fit(X, VALUES, epochs=6, **given)
    callbacks = [xpnet.TrainingCheckpoint(path, epochs=1)]
    models[1].fit(X, VALUES, epochs=3, callbacks=callbacks, **given)
    same(xpnet.resume(path, X, VALUES, epochs=6, progress=False), models[0])


OTHERS = {
    "a parameter": (
        MISH,
        PINBALL.with_parameters(q=0.5),
        ["loss must be that of the training that is resumed, pinball(q=0.9); got pinball(q=0.5)."],
    ),
    "a parameter with the same first digits": (
        MISH,
        PINBALL.with_parameters(q=0.9000000001),
        ["is resumed, pinball(q=0.9); got pinball(q=0.9000000001)."],
    ),
    "bounds of the targets": (
        MISH,
        replace(PINBALL, target_min=-9.0, scalable=False),
        ["pinball(q=0.9); got pinball(q=0.9) with scalable=False, target_min=-9.0."],
    ),
    "a formula": (
        MISH,
        loss_from_formula(lambda xp, z, t, q: q * (z - t) ** 2, name="pinball", q=0.9),
        [
            "loss must be that of the training that is resumed, pinball(q=0.9); got pinball(q=0.9) "
            "of another formula, in which node 3 is subtract(z, t) instead of subtract(t, z)."
        ],
    ),
    "a number of a formula": (
        MISH,
        loss_from_formula(
            lambda xp, z, t, q: xp.maximum(q * (t - z), (q - 1.5) * (t - z)), q=0.9, name="pinball"
        ),
        ["of another formula, in which node 5 is 1.5 instead of 1.0."],
    ),
    "an activation": (
        SWISH,
        PINBALL,
        ["layers must be those of the model", "activation=mish()", "activation=swish(b=2)"],
    ),
    "a formula of an activation": (
        from_formula(lambda xp, z: z * xp.tanh(xp.sin(z)), name="mish"),
        PINBALL,
        ["of another formula, in which node 1 is sin(z) instead of softplus(z)."],
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_formulas_are_refused_by_a_resume(case, tmp_path):
    path = tmp_path / "run.st"
    trained("mish and pinball", callbacks=[xpnet.TrainingCheckpoint(path, epochs=1)])
    activation, loss, texts = OTHERS[case]
    with pytest.raises(ArgumentError) as caught:
        made(activation).fit(
            X, VALUES, loss=loss, optimizer=xpnet.Adam(0.01), epochs=4, resume=path, **FIT
        )
    for text in texts:
        assert text in str(caught.value)
    assert len(str(caught.value)) < 600
    assert str(caught.value).count("\n") == 0


def test_names_and_parameters_are_shown(tmp_path):
    model = reloaded(trained("swish and focal"), tmp_path)
    assert repr(model.loss) == "focal(g=2)"
    assert "Dense(4, swish(b=2))" in str(model.summary())
    assert "swish(b=2)" in repr(model.layers[1])


def test_rules_are_pickled_after_use():
    """A hash of texts differs between processes, and operations are functions without a name."""
    rule = SWISH.value
    assert rule(np, np.ones(1), 2.0) == pickle.loads(pickle.dumps(rule))(np, np.ones(1), 2.0)
    assert hash(rule) == hash(copy.deepcopy(rule))
    code = (
        "import pickle, sys; rule = pickle.load(sys.stdin.buffer); "
        "from xpnet.ops.formulas import FormulaRule; "
        "assert {FormulaRule(rule.formula, rule.name): 1}[rule] == 1"
    )
    subprocess.run([sys.executable, "-c", code], input=pickle.dumps(rule), check=True)


def test_layers_with_formulas_are_transferred(tmp_path):
    teacher = reloaded(trained("mish and pinball"), tmp_path)
    start = xpnet.transfer.first_layers(teacher, 2)
    assert start.layers == teacher.layers[:2]
    student = Sequential([Dense(4, MISH), Dense(2)], 3, rng=2)
    xpnet.transfer.copy_layers(teacher, student, [0])
    hidden = xpnet.transfer.first_layers(student, 1).forward(X)
    np.testing.assert_array_equal(hidden, xpnet.transfer.first_layers(teacher, 1).forward(X))


def test_model_with_formulas_is_a_teacher(tmp_path):
    layers, y = [Dense(4, SWISH), Dense(2)], LABELS
    given = {"optimizer": xpnet.Adam(0.01), "epochs": 2} | FIT
    teacher = Sequential(layers, 3, rng=1)
    teacher.fit(X, y, loss=xpnet.CrossEntropy(), **given)
    targets = [
        xpnet.transfer.distillation_targets(model, X, y)
        for model in (teacher, reloaded(teacher, tmp_path))
    ]
    np.testing.assert_array_equal(*targets)
    student = Sequential([Dense(3, MISH), Dense(2)], 3, rng=2)
    student.fit(X, targets[0], loss=xpnet.Distillation(2.0, 0.5), **given)
    same(reloaded(student, tmp_path), student)


def test_commands_read_models_with_formulas(tmp_path, monkeypatch):
    typer = pytest.importorskip("typer.testing", reason="needs typer, of the extra cli")
    from xpnet.cli.app import app  # noqa: PLC0415

    monkeypatch.chdir(tmp_path)
    model = trained("swish and focal")
    model.save("model.safetensors")
    rows = [[*map(str, row), str(name)] for row, name in zip(X, NAMES, strict=True)]
    for file, n in (("table.csv", 4), ("features.csv", 3)):
        lines = [["a", "b", "c", "name"], *rows]
        (tmp_path / file).write_text("".join(f"{','.join(line[:n])}\n" for line in lines))
    commands = ["evaluate", "table.csv", "--target", "name"], ["predict", "features.csv"]
    found = []
    for command, *words in commands:
        result = typer.CliRunner().invoke(app, [command, "model.safetensors", *words])
        assert result.exit_code == 0, result.output
        found.append(result.stdout)
    assert "accuracy" in found[0]
    assert found[1].split()[1:] == [*model.predict(X)]
