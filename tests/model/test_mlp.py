"""The layers of an MLP: normalization, residual blocks and the activation of the output."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import xpnet
from xpnet import (
    MLP,
    Activation,
    Adam,
    ArgumentError,
    BatchNorm,
    BinaryCrossEntropy,
    BinaryFocal,
    CrossEntropy,
    Dense,
    Dropout,
    Focal,
    HalfMSE,
    ReLU,
    Residual,
    Sigmoid,
    Softmax,
    Tanh,
    Temperature,
    derivatives,
)
from xpnet.engine.recorded_step import why_not_recorded
from xpnet.initializers import GlorotUniform, HeNormal, Zeros

INIT = HeNormal()
HIDDEN = Dense(8, ReLU(), weight_init=INIT)
NORMED = Dense(8, weight_init=INIT, bias=False), BatchNorm(), Activation(ReLU())

LAYERS = {
    "plain": ({}, (HIDDEN, HIDDEN, Dense(3))),
    "batch norm": ({"batch_norm": True}, (*NORMED, *NORMED, Dense(3))),
    "norm": ({"norm": BatchNorm()}, (*NORMED, *NORMED, Dense(3))),
    "another norm": (
        {"norm": Temperature(2.0)},
        (*[Dense(8, weight_init=INIT), Temperature(2.0), Activation(ReLU())] * 2, Dense(3)),
    ),
    "residual": ({"residual": True}, (HIDDEN, Residual(HIDDEN), Dense(3))),
    "residual with all": (
        {"residual": True, "norm": BatchNorm(), "dropout": 0.2},
        (*NORMED, Dropout(0.2), Residual(*NORMED, Dropout(0.2)), Dense(3)),
    ),
    "output": ({"output_activation": Sigmoid()}, (HIDDEN, HIDDEN, Dense(3, Sigmoid()))),
}


def test_no_hidden_layer_is_a_linear_model():
    for settings in ({}, {"norm": BatchNorm(), "dropout": 0.2}):
        assert MLP(4, [], 3, **settings).layers == (Dense(3),)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_follow_from_the_arguments(name, tmp_path):
    settings, expected = LAYERS[name]
    model = MLP(4, [8, 8], 3, **settings)
    assert model.layers == expected
    model.save(tmp_path / "model.safetensors")
    assert xpnet.load(tmp_path / "model.safetensors").layers == expected


def test_only_equal_widths_are_residual():
    """The first hidden layer never is, though it is as wide as the features."""
    layers = MLP(8, [8, 8, 4, 4, 4, 8], 8, residual=True).layers
    assert [isinstance(layer, Residual) for layer in layers] == [
        *(False, True, False, True, True, False, False),
    ]


def test_output_activation_selects_its_initializer():
    """As in every `Dense`: Glorot for tanh, He for ReLU."""
    kinds = [
        MLP(3, [4], 2, output_activation=act, rng=1).layers[-1].specs(4).parameters[0].init
        for act in (Tanh(), ReLU())
    ]
    assert kinds == [GlorotUniform(), HeNormal()]


def test_output_activation_bounds_the_output(rng):
    X, y = rng.normal(size=(60, 4)), rng.uniform(0.2, 0.8, 60)
    model = MLP(4, [8], 1, output_activation=Sigmoid(), dtype="float64")
    assert derivatives.check_gradients(model, X, y, HalfMSE(), entries=None).ok
    model.fit(X, y, loss=HalfMSE(), optimizer=xpnet.Adam(0.1), epochs=5, progress=False)
    predicted = model.predict(10 * X)
    assert 0 <= predicted.min() < predicted.max() <= 1


@pytest.mark.parametrize("name", ["residual", "residual with all"])
def test_residual_networks_train(name, rng):
    X = rng.normal(size=(200, 4))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    model = MLP(4, [8, 8], 1, rng=1, **LAYERS[name][0])
    settings = {"loss": BinaryCrossEntropy(), "optimizer": xpnet.Adam(0.01), "progress": False}
    history = model.fit(X, y, epochs=30, **settings)
    assert history["loss"][-1] < 0.8 * history["loss"][0]


@pytest.mark.skipif(bool(why_not_recorded()), reason=f"no replay: {why_not_recorded()}")
def test_residual_network_is_replayed_by_default(rng):
    model = MLP(64, [64, 64], 10, residual=True)
    X, y = rng.normal(size=(128, 64)), rng.integers(0, 10, 128)
    settings = {"loss": CrossEntropy(), "optimizer": xpnet.Adam(), "progress": False}
    assert model.fit(X, y, epochs=1, **settings).engine == "replay: a list of compiled calls"


@dataclass(frozen=True)
class Halved:
    """A layer that does not keep the width."""

    def specs(self, n_in):
        return xpnet.layers.LayerSpec(n_in // 2)


REFUSED = {
    "two norms": (
        {"batch_norm": True, "norm": BatchNorm()},
        "^batch_norm must be False where norm is given; got True",
    ),
    "a class": ({"norm": BatchNorm}, r"^norm must be a layer .* Write BatchNorm\(\.\.\.\)"),
    "a flag": ({"norm": True}, r"^norm must be a layer such as LayerNorm\(\); got True"),
    "a width": ({"norm": Halved()}, r"^norm must keep the width 8 of a hidden layer; got Halved"),
    "no gradient": (
        {"batch_norm": BatchNorm(scale_init=Zeros()), "residual": True},
        r"^norm must not begin with .* a Sequential with Residual\(.*, BatchNorm\(scale_init=Zeros",
    ),
    "no flag": ({"residual": "yes"}, "^residual must be a bool; got 'yes'"),
    "output name": ({"output_activation": "tanh"}, "^output_activation must be an ActivationF"),
    "output class": ({"output_activation": Tanh}, r"^output_activation .* Write Tanh\(\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_arguments_are_refused(name):
    settings, message = REFUSED[name]
    with pytest.raises(ArgumentError, match=message):
        MLP(4, [8, 8], 3, **settings)


@pytest.mark.parametrize("hidden", [[], [8], [8, 4, 8]])
def test_residual_needs_two_equal_widths(hidden):
    message = r"^residual must be False where no hidden layer is as wide as the one before it; got "
    with pytest.raises(ArgumentError, match=message + r"True for hidden=\["):
        MLP(8, hidden, 8, residual=True)


def test_numbers_of_numpy_are_accepted(rng):
    model = MLP(4, np.array([8, 8]), np.int64(3), residual=np.True_, batch_norm=np.False_)
    assert isinstance(model.layers[1], Residual)


@pytest.mark.parametrize(
    ("n_out", "activation", "loss"),
    [
        (3, Softmax(), CrossEntropy()),
        (3, Softmax(), Focal()),
        (1, Sigmoid(), BinaryCrossEntropy()),
        (1, Sigmoid(), BinaryFocal()),
    ],
)
def test_probabilities_before_logits_warn_once(n_out, activation, loss):
    X, y = np.eye(4), np.array([0, 1, 0, 1])
    model = MLP(4, [], n_out, output_activation=activation)
    fit = {"loss": loss, "optimizer": Adam(), "epochs": 1, "progress": False}
    text = rf"takes logits, .* ends with {type(activation).__name__}\(\), .* Leave \w+\(\) out"
    with pytest.warns(UserWarning, match=text):
        model.fit(X, y, **fit)
    model.fit(X, y, **fit)


def test_a_loss_of_values_takes_a_sigmoid():
    model = MLP(4, [], 1, output_activation=Sigmoid())
    y = np.array([0.0, 1.0, 0.0, 1.0])
    model.fit(np.eye(4), y, loss=HalfMSE(), optimizer=Adam(), epochs=1, progress=False)
