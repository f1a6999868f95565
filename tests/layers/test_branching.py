"""Residual and Branches: widths, memory, masks, statistics and files."""

from __future__ import annotations

import numpy as np
import pytest

import xpnet
from xpnet import (
    SGD,
    Activation,
    ArgumentError,
    BatchNorm,
    Branches,
    CrossEntropy,
    Dense,
    Dropout,
    ReLU,
    Residual,
    Sequential,
    Tanh,
)
from xpnet.network import brief
from xpnet.serialization import from_config, to_config

N_IN, ROWS = 6, 20

LAYERS = {
    "residual": Residual(Dense(9, Tanh()), Dense(N_IN)),
    "residual of a residual": Residual(Residual(Dense(N_IN, Tanh())), Dense(N_IN)),
    "residual with noise": Residual(BatchNorm(), Activation(ReLU()), Dropout(0.3)),
    "paths side by side": Branches([Dense(4, Tanh()), Dense(3)], Dense(2, ReLU()), []),
    "paths added": Branches([Dense(4, Tanh()), Dense(3)], Dense(3, ReLU()), join="sum"),
    "paths of paths": Branches(
        Branches(Dense(2), [Residual(Dense(N_IN, Tanh())), BatchNorm()]), [Dropout(0.3)]
    ),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


@pytest.fixture
def task(rng):
    return rng.normal(size=(ROWS, N_IN)), np.arange(ROWS) % 3


# --- values ---------------------------------------------------------------------------------------


def test_residual_adds_its_input(rng):
    x = rng.normal(size=(4, 3))
    model = Sequential([Residual(Dense(5, Tanh()), Dense(3))], 3, dtype="float64")
    p = model.layout.views(model.theta)
    inner = np.tanh(x @ p["layers.0.0_weight"] + p["layers.0.0_bias"]) @ p["layers.0.1_weight"]
    np.testing.assert_allclose(model.forward(x), x + inner + p["layers.0.1_bias"], rtol=1e-13)


@pytest.mark.parametrize("join", ["concat", "sum"])
def test_paths_are_joined_in_their_order(join, rng):
    x = rng.normal(size=(4, 3))
    layer = Branches([Dense(5, Tanh()), Dense(3)], [], Dense(3), join=join)
    model = Sequential([layer], 3, dtype="float64")
    p = model.layout.views(model.theta)
    first = np.tanh(x @ p["layers.0.0_0_weight"]) @ p["layers.0.0_1_weight"]
    parts = first, x, x @ p["layers.0.2_0_weight"]  # biases are 0
    expected = sum(parts) if join == "sum" else np.hstack(parts)
    np.testing.assert_allclose(model.forward(x), expected, rtol=1e-13)


def test_a_residual_is_a_sum_of_two_paths(task):
    """They have the same numbers in the same order of operations."""
    grads = []
    for layer in (
        Residual(Dense(9, Tanh()), Dense(N_IN)),
        Branches([], [Dense(9, Tanh()), Dense(N_IN)], join="sum"),
    ):
        model = Sequential([layer, Dense(3)], N_IN, dtype="float64")
        grads.append(model.value_and_grad(*task, CrossEntropy())[1].copy())
    np.testing.assert_array_equal(*grads)


@every_layer
def test_dy_is_not_changed(name, task):
    """The caller of `Network.backward` keeps it, and paths read it one after another."""
    model = Sequential([LAYERS[name]], N_IN, dtype="float64")
    network = model.network
    contexts = network.contexts(model.backend, model.statistics, training=True, reuse=True)
    network.request_dx(contexts, True)
    p, g = network.by_layer(model.theta), network.by_layer(model.grad)
    for _ in range(2):
        output, saved = network.forward(p, task[0], contexts)
        dy = np.cos(np.arange(output.size, dtype=float)).reshape(output.shape)
        before = dy.copy()
        dx = network.backward(p, g, saved, dy, contexts)
        np.testing.assert_array_equal(dy, before)
        assert dx.shape == (ROWS, N_IN)


# --- memory ---------------------------------------------------------------------------------------


def test_layers_inside_share_two_scratch_arrays(task):
    layers = [Dense(N_IN, Tanh()) for _ in range(5)]
    model = Sequential([Dense(N_IN), Residual(*layers), Dense(3)], N_IN, dtype="float64")
    model.value_and_grad(*task, CrossEntropy())
    context = model._value_and_grad._contexts[1]
    inside = [context.child(i).scratch for i in range(5)]
    assert len({id(scratch) for scratch in inside}) == 1
    assert len(inside[0].blocks) == 2
    assert inside[0] is not context.scratch


@pytest.mark.parametrize("layer", [LAYERS["residual"], LAYERS["paths added"]])
def test_no_gradient_of_the_features_is_computed(layer, task):
    """A first layer computes it only if it is requested."""
    model = Sequential([layer, Dense(3)], N_IN, dtype="float64")
    model.value_and_grad(*task, CrossEntropy())
    context = model._value_and_grad._contexts[0]
    inside = [context] if isinstance(layer, Residual) else context._children.values()
    assert [each._children[0].need_dx for each in inside] == [False] * len(inside)
    assert not context.need_dx


# --- random masks and statistics ------------------------------------------------------------------


def test_dropouts_of_paths_and_rows_share_no_mask():
    rows, n = 80, 50
    drop = Dropout(0.5)
    both = Residual(Branches(drop, [drop], Branches(drop, drop)), Dense(n))
    model = Sequential([drop, both.layers[0]], n, dtype="float64")
    contexts = model.network.contexts(model.backend, model.statistics, training=True)
    masks = []
    for layer, context in zip(model.layers, contexts, strict=True):
        context.begin_pass()
        output, _ = layer.forward({}, np.ones((rows, n)), context)
        masks += np.split(output != 0, output.shape[1] // n, axis=1)
    assert len(masks) == 5
    for i, first in enumerate(masks):
        assert 0.4 < first.mean() < 0.6
        for second in masks[:i]:
            assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 5 / np.sqrt(rows * n)


@pytest.mark.parametrize(
    "layer", [Residual(BatchNorm()), Branches([BatchNorm(), Dense(2)], Dense(1))]
)
def test_statistics_inside_are_those_outside(layer, task):
    """Batch norm inside sees the input of the layer."""
    models = [
        Sequential([Dense(N_IN), inner, Dense(3)], N_IN, dtype="float64")
        for inner in (layer, BatchNorm())
    ]
    models[0].theta[: N_IN * N_IN] = models[1].theta[: N_IN * N_IN]
    for model in models:
        for _ in range(3):
            model.value_and_grad(*task, CrossEntropy())
    np.testing.assert_array_equal(models[0].statistics, models[1].statistics)
    before = models[0].statistics.copy()
    models[0].predict(task[0])
    np.testing.assert_array_equal(models[0].statistics, before)


# --- files and text -------------------------------------------------------------------------------


@every_layer
def test_saved_model_has_the_same_layers(name, task, tmp_path):
    model = Sequential([Dense(N_IN), LAYERS[name], Dense(3)], N_IN)
    model.fit(*task, loss=CrossEntropy(), optimizer=SGD(0.1), epochs=1, progress=False)
    model.save(tmp_path / "model.safetensors")
    loaded = xpnet.load(tmp_path / "model.safetensors")
    assert loaded.layers == model.layers
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in model.layers]
    np.testing.assert_array_equal(loaded.forward(task[0]), model.forward(task[0]))


@every_layer
def test_configuration_and_repr_give_the_layer_back(name):
    layer = LAYERS[name]
    assert from_config(to_config(layer)) == layer
    names = {k: getattr(xpnet, k) for k in xpnet.__all__} | vars(xpnet.initializers)
    assert eval(repr(layer), names) == layer
    assert eval(brief(layer), names) == layer


def test_layers_are_named_briefly():
    assert brief(LAYERS["paths added"]) == (
        "Branches([Dense(4, Tanh()), Dense(3)], Dense(3, ReLU()), join='sum')"
    )
    assert brief(LAYERS["residual with noise"]) == (
        "Residual(BatchNorm(), Activation(ReLU()), Dropout(p=0.3))"
    )


# --- bad input ------------------------------------------------------------------------------------

REFUSED = {
    "unequal widths": (
        lambda: Sequential([Dense(4), Residual(Dense(9), Dense(7))], 3),
        r"^the layers of Residual must have an output as wide as their input, which has 4 columns; "
        r"got one of 7 columns\. End them with Dense\(4\), or project the input: "
        r'Branches\(Dense\(7\), \[\.\.\.\], join="sum"\)\.$',
    ),
    "no layers": (Residual, r"^Residual must have at least one layer; got none\. Write Residual\("),
    "a list of layers": (
        lambda: Residual([Dense(3)]),
        r"^layers\[0\] of Residual must be a layer such as Dense\(10\); got \[Dense",
    ),
    "a function": (
        lambda: Residual(Dense(3), Tanh()),
        r"^layers\[1\] of Residual must be a layer .* Write Activation\(Tanh\(\)\)\.",
    ),
    "no paths": (Branches, r"^Branches must have at least one path; got none\. Write Branches\("),
    "a class": (
        lambda: Branches(Dense(3), [Dense(4), ReLU]),
        r"^paths\[1\]\[1\] must be a layer .* Write Activation\(ReLU\(\)\)\.",
    ),
    "a width": (lambda: Branches(3), r"^paths\[0\] must be a layer such as Dense\(10\); got 3"),
    "unknown join": (lambda: Branches(Dense(3), join="add"), r"^join must be one of concat, sum"),
    "unequal sums": (
        lambda: Sequential([Branches(Dense(3), Dense(4), [], join="sum")], 5),
        r"^paths that are added must be equally wide; got 3, 4 and 5 columns\. End each with Dense",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_one_sentence(name):
    call, message = REFUSED[name]
    with pytest.raises(ArgumentError, match=message):
        call()
