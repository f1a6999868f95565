"""User-defined parts in files: they are saved by name and settings, and loaded by their classes."""

from __future__ import annotations

import enum
import json
import random
import sys
import tempfile
from contextlib import suppress
from dataclasses import InitVar, dataclass, field
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import pytest
from helpers.own_types import (
    TYPES,
    Around,
    Bump,
    Cube,
    Falling,
    Halved,
    Options,
    Quartic,
    Ramp,
    Renamed,
    Scaled,
)

import xpnet
from benchmarks.fuzz_checkpoints import Parts, deep
from benchmarks.fuzz_formulas import audited, change_json
from xpnet import MLP, ArgumentError, Dense, FileFormatError, Sequential
from xpnet.activations import ActivationFunction
from xpnet.layers import LayerSpec
from xpnet.minimize import LBFGS
from xpnet.user_types import name_of

X = np.random.default_rng(1).normal(size=(12, 3)).astype("float32")
y = X[:, :1] ** 2
SETTINGS = {"optimizer": xpnet.Adam(0.01), "epochs": 2, "batch_size": 5, "progress": False}
OPTIONS = Options(("a", "b\n\u202e"), ((1, 2.5), (3, float("inf"))), Options(other=Options()))
LAYERS = (
    Dense(4, Bump(0.5), weight_init=Ramp(-0.3)),
    Scaled(Bump(2.0), Ramp(), factor=0.5, options=OPTIONS, note="ä", flag=False, bound=3),
    Around(Around(Dense(3, Cube()))),
    Dense(1),
)


def own_model(loss=None, **given):
    return Sequential(LAYERS, 3, rng=2, loss=loss, **given)


def trained(**given):
    model = own_model()
    model.fit(X, y, **SETTINGS | {"loss": Quartic(0.5)} | given)
    return model


def same(one, other):
    assert (one.layers, one.loss) == (other.layers, other.loss)
    assert repr(one.layers) == repr(other.layers)
    np.testing.assert_array_equal(one.theta, other.theta)
    np.testing.assert_array_equal(one.predict(X), other.predict(X))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "own.st"


# --- saved and loaded -----------------------------------------------------------------------------


def test_own_parts_load_as_they_were(path):
    model = trained()
    model.save(path)
    loaded = xpnet.load(path, types=TYPES)
    same(loaded, model)
    assert loaded.layers[1].double == 1.0
    assert loaded.layers[1].options == OPTIONS
    loaded.save(path)
    same(xpnet.load(path, types=tuple(TYPES)), model)
    same(xpnet.load(path, types={name_of(kind): kind for kind in TYPES}), model)
    assert loaded.fit(X, y, **SETTINGS, loss=loaded.loss)


def test_own_parts_load_on_every_backend(path, place32):
    model = trained()
    model.save(path)
    loaded = xpnet.load(path, backend=place32.backend, types=TYPES)
    output = place32.host(loaded.forward(place32.array(X)))
    np.testing.assert_allclose(output, model.forward(X), rtol=1e-5, atol=1e-6)


def test_numpy_settings_are_saved_as_numbers(path):
    layers = [Dense(2, Bump(np.float32(0.5))), Scaled(bound=np.int64(4), flag=np.True_)]
    Sequential(layers, 3).save(path)
    assert xpnet.load(path, types=TYPES).layers == tuple(layers)


def test_subclass_without_fields_is_saved_by_name(path):
    MLP(3, [], 1, loss=Renamed()).save(path)
    assert type(xpnet.load(path, types=[Renamed]).loss) is Renamed
    with pytest.raises(FileFormatError, match=r"needs the class helpers\.own_types\.Renamed"):
        xpnet.load(path)


def test_file_names_classes_by_module(path):
    own_model(Quartic()).save(path)
    config = Parts.of(path.read_bytes()).metadata["xpnet"]
    assert config["version"] == 4  # xpnet 0.1.0 refuses the name, and asks for a newer version
    assert config["loss"] == {"type": "helpers.own_types.Quartic", "k": 0.25}
    assert config["layers"][0]["activation"] == {"type": "helpers.own_types.Bump", "a": 0.5}
    assert "double" not in config["layers"][1]


# --- training files -------------------------------------------------------------------------------

PARTS = {"loss": Quartic(0.5), "optimizer": Halved(0.05), "schedule": Falling(0.5)}


@pytest.mark.parametrize("method", [False, True])
def test_trainings_of_own_parts_are_resumed(path, method):
    settings = {"loss": Quartic(0.5), "optimizer": LBFGS(), "batch_size": None}
    settings = settings if method else PARTS
    whole = trained(epochs=4, **settings)
    trained(epochs=2, **settings, callbacks=[xpnet.TrainingCheckpoint(path, epochs=1)])
    kept = path.read_bytes()
    same(xpnet.resume(path, X, y, epochs=4, progress=False, types=TYPES), whole)
    path.write_bytes(kept)
    same(trained(epochs=4, **settings, resume=path), whole)
    assert xpnet.load(path, types=TYPES).loss == Quartic(0.5)
    with pytest.raises(FileFormatError, match=r"Write xpnet\.load\(.*, types=\[Bump, Ramp, Sca"):
        xpnet.load(path)


def test_resume_names_the_class_that_is_missing(path):
    trained(**PARTS, callbacks=[xpnet.TrainingCheckpoint(path, epochs=1)])
    for kind in (Cube, Quartic, Halved, Falling):
        few = [other for other in TYPES if other is not kind]
        message = f"got one with helpers.own_types.{kind.__name__}. Pass its class, types=\\[{kind}"
        with pytest.raises(ArgumentError, match=message.replace(str(kind), kind.__name__)):
            xpnet.resume(path, X, y, progress=False, types=few)
    with pytest.raises(
        ArgumentError,
        match=r"types must be a sequence of classes; got .* Give the classes that the",
    ):
        xpnet.resume(path, X, y, progress=False, types={"a.b": Cube})


def test_best_model_of_own_parts_is_kept(path):
    callbacks = [xpnet.Checkpoint(path, "loss")]
    model = trained(callbacks=callbacks)
    best = callbacks[0].best
    assert xpnet.load(path, types=TYPES).layers == model.layers
    again = [xpnet.Checkpoint(path, "loss")]
    with pytest.warns(UserWarning, match="no epoch of this one was better"):
        trained(callbacks=again, epochs=1)
    assert again[0].best == best


# --- without the classes --------------------------------------------------------------------------


def test_missing_classes_are_named_not_imported(path):
    own_model(Quartic()).save(path)
    kept = {name: sys.modules.pop(name) for name in [*sys.modules] if name == "helpers.own_types"}
    try:
        with audited() as events, pytest.raises(FileFormatError) as error:
            xpnet.load(path)
        assert "helpers.own_types" not in sys.modules
    finally:
        sys.modules.update(kept)
    assert events == []
    names = ["Bump", "Ramp", "Scaled", "Options", "Around"]
    listed = ", ".join(f"helpers.own_types.{name}" for name in names)
    assert str(error.value) == (
        f"{str(path)!r} needs the classes {listed} and 2 more, which no file imports. Write "
        f"xpnet.load({str(path)!r}, types=[Bump, Ramp, Scaled, Options, Around and 2 more])."
    )
    with pytest.raises(FileFormatError, match=r"Cube, which no .* types=\[Cube\]\)\.$"):
        xpnet.load(path, types=[kind for kind in TYPES if kind is not Cube])


def test_moved_class_is_given_by_its_name_in_the_file(path):
    """As a class of a script, which is of the module __main__ there."""
    MLP(3, [], 1, loss=Quartic()).save(path)
    parts = Parts.of(path.read_bytes())
    parts.metadata["xpnet"]["loss"]["type"] = "__main__.Quartic"
    path.write_bytes(parts.encoded())
    with pytest.raises(FileFormatError) as error:
        xpnet.load(path, types=[Cube, Quartic])
    assert str(error.value).endswith(
        "If helpers.own_types.Quartic is this class, write "
        f"xpnet.load({str(path)!r}, types={{'__main__.Quartic': Quartic}})."
    )
    assert xpnet.load(path, types={"__main__.Quartic": Quartic}).loss == Quartic()


# --- what cannot be saved -------------------------------------------------------------------------


class Plain:
    """A layer that is no dataclass."""

    def specs(self, n_in):
        return LayerSpec(n_in)

    def forward(self, p, x, ctx):
        return x, None

    def backward(self, p, g, saved, dy, ctx):
        return dy


@dataclass
class Mutable(Plain):
    """A layer that may change."""


@dataclass(frozen=True)
class Holds(Plain):
    """A layer with any setting."""

    setting: object = None


@dataclass(frozen=True)
class Needs(Plain):
    """A layer whose constructor takes what it does not keep."""

    seed: InitVar[int]
    draw: float = field(init=False, default=0.0)

    def __post_init__(self, seed):
        object.__setattr__(self, "draw", float(seed))


@dataclass(frozen=True)
class Doubles(Plain):
    """A layer that changes a setting whenever it is made."""

    n: int = 1

    def __post_init__(self):
        object.__setattr__(self, "n", 2 * self.n)


class Hidden(Holds):
    """A layer with an attribute beside its fields."""

    def __init__(self, secret):
        super().__init__(1)
        object.__setattr__(self, "secret", secret)


class Mode(enum.IntEnum):
    """A number that is no plain one."""

    ONE = 1


SETTING = "must be a number, a text, None, a tuple or a frozen dataclass to be saved; got"
REFUSED = {
    "no dataclass": (Plain(), "Plain must be a frozen dataclass to be saved; got the class "),
    "a mutable dataclass": (Mutable(), "Mutable must be a frozen dataclass to be saved; got"),
    "an array": (Holds(np.ones(3)), f"Holds.setting {SETTING} a float64 array of shape (3,)."),
    "a list": (Holds([1]), f"Holds.setting {SETTING} [1]. Write a tuple."),
    "a list in a tuple": (Holds((1, [2])), f"Holds.setting {SETTING} [2]. Write a tuple."),
    "a dictionary": (Holds({"a": 1}), f"Holds.setting {SETTING} {{'a': 1}}."),
    "a function": (Holds(max), f"Holds.setting {SETTING} <built-in function max>."),
    "a class": (Holds(Cube), f"Holds.setting {SETTING} <class 'helpers.own_types.Cube'>."),
    "a complex number": (Holds(1j), f"Holds.setting {SETTING} 1j."),
    "an enumeration": (Holds(Mode.ONE), f"Holds.setting {SETTING} <Mode.ONE: 1>."),
    "a mutable setting": (Holds(Mutable()), "Mutable must be a frozen dataclass to be saved"),
    "a setting of xpnet's": (
        Holds(xpnet.schedules.Cosine()),
        "Cosine must be of a module of yours to be saved; got the class xpnet.",
    ),
    "an argument that is not kept": (Needs(3), "Needs must be made again from its fields to be "),
    "a setting that changes": (Doubles(), "Doubles must be made again from its fields to be saved"),
    "a hidden attribute": (Hidden(3), "Hidden must hold its settings in fields to be saved; got "),
    "a layer inside": (Around(Plain()), f"Around.inner {SETTING} <"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_saved_is_refused_by_name(case, path):
    layer, message = REFUSED[case]
    with pytest.raises(ArgumentError) as error:
        Sequential([Dense(2), layer], 3).save(path)
    assert str(error.value).startswith(message)
    assert not path.exists()


def test_deep_layers_are_refused_at_once(path):
    layer = Dense(2)
    for _ in range(70):
        layer = Around(layer)
    with pytest.raises(ArgumentError, match="a saved model must be nested at most 64 levels deep"):
        Sequential([layer], 3).save(path)


def test_cached_properties_are_no_settings(path):
    @dataclass(frozen=True)
    class Cached(Holds):
        @cached_property
        def twice(self):
            return 2 * self.setting

    layer = Cached(3)
    assert layer.twice == 6
    Sequential([layer], 3).save(path)
    assert xpnet.load(path, types=[Cached]).layers == (layer,)


# --- the argument types ---------------------------------------------------------------------------


def local(name):
    return dataclass(frozen=True)(type(name, (), {"__qualname__": "Same"}))


GIVEN = {
    "one class": (Cube, "types must be a sequence of classes; got <class .*Write types=.Cube.*"),
    "a text": ("Cube", "types must be a sequence of classes; got 'Cube'"),
    "a number": (3, "types must be a sequence of classes; got 3"),
    "an object": ([Bump()], r"types must hold classes; got Bump\(a=1.0\). Write its class."),
    "a name": (["Cube"], "types must hold classes; got 'Cube'"),
    "no dataclass": ([Plain], "types must hold frozen dataclasses; got .*Plain. Write @dataclass"),
    "a mutable dataclass": ([Mutable], "types must hold frozen dataclasses; got .*Mutable"),
    "a type of xpnet": ([Dense], "types must hold classes of your own; got Dense. Leave it out"),
    "a class twice": ([Cube, Cube], "types must hold one class of each name; got two helpers.own"),
    "one name twice": ([local("A"), local("B")], "one class of each name; got two .*[.]Same"),
    "a name without a module": ({"Dense": Cube}, "types must have names with a module.*'Dense'"),
    "a name that is no text": ({3: Cube}, "types must have names with a module.*got 3"),
    "an unhashable name": ([type("X", (), {"__module__": []})], "types must hold frozen"),
}


@pytest.mark.parametrize("case", GIVEN)
def test_types_are_checked_before_the_file(case, tmp_path):
    types, message = GIVEN[case]
    with pytest.raises(ArgumentError, match=message):
        xpnet.load(tmp_path / "none", types=types)


# --- hostile files --------------------------------------------------------------------------------


@cache
def original():
    """The bytes of a file with own types."""
    with tempfile.TemporaryDirectory() as folder:
        own_model(Quartic()).save(f"{folder}/own.st")
        return Path(folder, "own.st").read_bytes()


OWN = "helpers.own_types."
HOSTILE = {
    "a name that pretends to be of xpnet": (
        {"type": "xpnet.layers.dense.Dense", "n_out": 2},
        "must name xpnet's own types without a module; got 'xpnet.layers.dense.Dense'",
    ),
    "a name of a module": ({"type": "os.system", "command": "true"}, "needs the class os.system"),
    "a name of spaces": ({"type": "a. b"}, "may only name xpnet's own types; got 'a. b'"),
    "a name of nothing": ({"type": "."}, "may only name xpnet's own types"),
    "a name of control characters": ({"type": "a.\x1b[2J"}, "may only name xpnet's own types"),
    "a name that is a list": ({"type": [OWN + "Cube"]}, "may only name xpnet's own types"),
    "a name that is a table": ({"type": {"type": OWN + "Cube"}}, "may only name xpnet's own"),
    "a long name": ({"type": "a." + "b" * 100_000}, "needs the class a.bbb"),
    "a field that is not there": ({"type": OWN + "Bump", "evil": 1}, "no field 'evil'"),
    "a field that is computed": ({"type": OWN + "Scaled", "double": 1.0}, "no field 'double'"),
    "a missing field": ({"type": OWN + "Around"}, "does not hold a model"),
    "an activation as a layer": ({"type": OWN + "Bump", "a": 1.0}, "must be a layer"),
    "options as a layer": ({"type": OWN + "Options"}, "must be a layer"),
    "a text for a layer": ({"type": OWN + "Around", "inner": "x"}, "does not hold a model"),
    "deep": ({"type": OWN + "Around", "inner": deep(400)}, "nested at most 64 levels deep"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_types_are_refused_by_name(case, path):
    layer, message = HOSTILE[case]
    parts = Parts.of(original())
    parts.metadata["xpnet"]["layers"][1] = layer
    path.write_bytes(parts.encoded())
    with audited() as events, pytest.raises(FileFormatError) as error:
        xpnet.load(path, types=TYPES)
    assert message in str(error.value)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 600
    assert events == []


def test_many_missing_classes_are_one_short_sentence(path):
    parts = Parts.of(original())
    parts.metadata["xpnet"]["loss"] = [{"type": "m." + f"C{i}" * 50} for i in range(900)]
    path.write_bytes(parts.encoded())
    with pytest.raises(FileFormatError, match="and 895 more") as error:
        xpnet.load(path, types=TYPES)
    assert len(str(error.value)) < 1500


def test_later_of_equal_names_counts(path):
    parts = Parts.of(original())
    text = json.dumps(parts.metadata["xpnet"])
    parts.metadata["xpnet"] = text.replace('"k": 0.25', '"k": 3.0, "k": 0.5')
    path.write_bytes(parts.encoded())
    assert xpnet.load(path, types=TYPES).loss == Quartic(0.5)


def test_mutated_files_are_refused_or_load(path):
    outcomes = {"loaded": 0, "refused": 0}
    with audited() as events:
        for number in range(400):
            rng, parts = random.Random(number), Parts.of(original())
            with suppress(TypeError, KeyError, IndexError, AttributeError, ValueError):
                change_json(rng, parts)
            path.write_bytes(parts.encoded())
            try:
                model = xpnet.load(path, types=TYPES)
            except FileFormatError:
                outcomes["refused"] += 1
            else:
                outcomes["loaded"] += 1
                assert repr(model.layers)
    assert events == []
    assert min(outcomes.values()) > 20


def test_class_named_like_ours_is_not_taken_for_it(path):
    """An activation of the name of one of xpnet is not that one."""

    @dataclass(frozen=True)
    class Tanh(ActivationFunction):
        value = staticmethod(lambda xp, z: 3.0 * z)

    MLP(3, [2], 1, activation=Tanh()).save(path)
    assert type(xpnet.load(path, types=[Tanh]).layers[0].activation) is Tanh
    with pytest.raises(FileFormatError, match=r"needs the class .*<locals>\.Tanh"):
        xpnet.load(path)
