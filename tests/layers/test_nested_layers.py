"""Layers that contain layers: gradients, masks, statistics and flags of what is inside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from helpers.fake_device import fake_backend, use_fake_device
from helpers.nested_layers import Chain, Copies, Gate, Handed, Residual

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
    Sequential,
    Sigmoid,
    Tanh,
    TrainingStep,
)
from xpnet.backend import get_backend
from xpnet.derivatives import check_gradients, gradient, hvp, jvp
from xpnet.layers import Context
from xpnet.layers.base import components, is_any, nested_specs
from xpnet.layers.context import child_views
from xpnet.minimize import LBFGS
from xpnet.ops.select import why_not_compiled
from xpnet.random import MaskStream

N_IN, ROWS, CALLS = 5, 12, 10

NORMED = (Dense(4, bias=False), BatchNorm(), Activation(Tanh()), Dropout(0.3))

# The layers of a network. Those that define `jvp` and `backward_jvp` are the `TWICE` ones.
TWICE = {
    "chain": [Dense(6, Tanh()), Chain((Dense(4, Tanh()), Dense(6))), Dense(3)],
    "chain first": [Chain((Dense(6, Tanh()), Dense(4, Sigmoid()))), Dense(3)],
    "chain alone": [Chain((Dense(6, Tanh()), Dense(3)))],
    "chain of every layer": [Dense(6, Tanh()), Chain((*NORMED, Dense(6), Dropout(0.4))), Dense(3)],
    "batch norm first": [Chain((BatchNorm(), Dropout(0.2), Dense(4, Tanh()))), Dense(3)],
    "residual": [Dense(6, Tanh()), Residual((Dense(4, Tanh()), Dense(6))), Dense(3)],
    "residual first": [Residual((Dense(7, Tanh()), Dense(5))), Dense(3)],
    "residuals in a row": [
        *(Dense(6), Residual((Dense(9, Tanh()), Dense(6))), Residual((Dense(2), Dense(6, Tanh())))),
        Dense(3),
    ],
    "two deep": [
        Chain(
            (Dense(6, Tanh()), Chain((*NORMED, Residual((Dense(7, Tanh()), Dense(4)))))),
        ),
        Dense(3),
    ],
    "three deep": [Dense(5), Residual((Residual((Residual((Dense(5, Tanh()),)),)),)), Dense(3)],
    "own context": [Dense(6, Tanh()), Handed((Dense(9, Tanh()), Dense(6))), Dense(3)],
    "own context, residual": [
        *(Dense(6, Tanh()), Handed((Dense(9, Tanh()), Dense(6)), residual=True), Dense(3)),
    ],
    "own context, narrow": [
        *(Dense(6, Tanh()), Handed((Dense(3, Tanh()), Dense(6)), residual=True), Dense(3)),
    ],
    "own context first": [Handed((Dense(6, Tanh()), Dense(4, Sigmoid()))), Dense(3)],
    "own context, dropouts": [
        *(Dense(6, Tanh()), Handed((Dropout(0.3), Dense(6), Dropout(0.3), Dropout(0.2)), True)),
        Dense(3),
    ],
    "own context, two deep": [
        Dense(4),
        Handed((Dense(6), Handed((Dense(6, Tanh()), Dropout(0.3)), True), Dense(4)), True),
        Dense(3),
    ],
    "chains in one context": [
        Handed((Chain((Dense(6, Tanh()), Dropout(0.3))), Chain((Dense(6, Tanh()), Dropout(0.3))))),
        Dense(3),
    ],
    "residual of xpnet": [
        Dense(6),
        xpnet.Residual(xpnet.Residual(Dense(6, Tanh()), Dropout(0.3)), *NORMED, Dense(6)),
        Dense(3),
    ],
    "paths of xpnet": [
        Branches(
            [Dense(6, Tanh()), Branches([*NORMED, Dense(3)], [], Dense(2), join="concat")],
            xpnet.Residual(Dense(5, Tanh()), Dropout(0.3)),
        ),
        Branches(Dense(4), [Dense(6, Tanh()), Dense(4)], Dense(4, Tanh()), join="sum"),
        Dense(3),
    ],
    "xpnet's in one context": [
        Dense(6),
        Handed(
            (xpnet.Residual(Dense(6, Tanh())), xpnet.Residual(Dense(6), Dropout(0.2)), Dense(6)),
            residual=True,
        ),
        Dense(3),
    ],
    "chains in xpnet's": [
        Dense(6),
        xpnet.Residual(Chain((Dense(6, Tanh()), Dropout(0.3))), Residual((Dense(6, Tanh()),))),
        Dense(3),
    ],
}
NETWORKS = TWICE | {
    "gate": [Dense(6, Tanh()), Gate((Dense(6, Sigmoid()), Dense(6))), Dense(3)],
    "gate first": [Gate((Dense(6, Sigmoid()), Dense(6, Tanh()))), Dense(3)],
    "gate of chains": [
        Dense(6),
        Gate((Chain((*NORMED, Dense(6))), Residual((Dense(4, Tanh()), Dropout(0.3), Dense(6))))),
        Dense(3),
    ],
}
every_network = pytest.mark.parametrize("name", NETWORKS)


@pytest.fixture
def task(rng):
    return rng.normal(size=(ROWS, N_IN)), np.arange(ROWS) % 3


def built(name, **settings):
    return Sequential(NETWORKS[name], N_IN, **({"dtype": "float64", "rng": 1} | settings))


def differences(model, X, y, step):
    """∂L/∂θ by central differences, with new arrays for each pass and the masks of one step."""
    network, found = model.network, []

    def value(theta):
        contexts = network.contexts(
            model.backend,
            model.statistics,
            training=True,
            update_statistics=False,
            masks=MaskStream(model.state.masks.seed, step),
        )
        output, _ = network.forward(network.by_layer(theta), X, contexts)
        return float(CrossEntropy().value(output, y))

    for i in range(model.theta.size):
        ends = []
        for h in (1e-6, -1e-6):
            theta = model.theta.copy()
            theta[i] += h
            ends.append(value(theta))
        found.append((ends[0] - ends[1]) / 2e-6)
    return np.array(found)


@every_network
def test_eager_gradient_is_right_in_every_call(name, task):
    model = built(name)
    model.theta[...] *= 1.3  # scales of batch norm other than 1
    first, tenth = (differences(model, *task, step) for step in (1, CALLS))
    gradients = [model.value_and_grad(*task, CrossEntropy())[1].copy() for _ in range(CALLS)]
    np.testing.assert_allclose(gradients[0], first, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(gradients[-1], tenth, rtol=1e-5, atol=1e-8)


@pytest.mark.skipif(bool(why_not_compiled()), reason=f"no replay: {why_not_compiled()}")
@every_network
def test_replayed_gradient_equals_eager(name, task):
    """Batches of two sizes alternate, so that a smaller one uses the memory of the larger."""
    models = [built(name) for _ in range(2)]
    steps = [
        TrainingStep(model, CrossEntropy(), SGD(0.1), engine=engine)
        for model, engine in zip(models, ("eager", "replay"), strict=True)
    ]
    X, y = task
    for call in range(CALLS):
        n = ROWS if call % 3 else ROWS - 4
        losses = [float(step(X[:n], y[:n])) for step in steps]
        assert losses[1] == pytest.approx(losses[0], rel=1e-11)
        grads = [model.grad for model in models]
        np.testing.assert_allclose(grads[1], grads[0], rtol=1e-9, atol=1e-12)
    assert steps[1].engine == "replay: a list of compiled calls"
    np.testing.assert_allclose(models[1].statistics, models[0].statistics, rtol=1e-11)


@every_network
@pytest.mark.parametrize("engine", ["eager", "replay"])
def test_training_on_a_device_equals_numpy(engine, name, task, monkeypatch):
    use_fake_device(monkeypatch)
    ends = []
    for backend, how in ((get_backend("numpy", dtype="float64"), "eager"), (None, engine)):
        model = built(name, backend=backend or fake_backend("float64"))
        settings = {"optimizer": SGD(0.1), "epochs": 5, "batch_size": 8, "progress": False}
        history = model.fit(*task, loss=CrossEntropy(), engine=how, rng=3, **settings)
        assert history.engine.partition(":")[0] == how
        vectors = model.theta, model.grad, model.statistics
        ends.append([*map(np.asarray, vectors), np.array(history["loss"])])
    for actual, expected in zip(*reversed(ends), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)


@every_network
def test_check_gradients_finds_no_error(name, task):
    report = check_gradients(built(name), *task, CrossEntropy(), entries=None)
    assert report.ok, str(report)


def test_gradient_of_the_input_is_returned(task):
    """A composite as the first layer returns ∂L/∂X if requested."""
    for name in ("chain first", "residual first", "own context first", "gate first"):
        model, network = built(name), built(name).network
        contexts = network.contexts(model.backend, model.statistics, training=True, reuse=True)
        network.request_dx(contexts, True)
        p, g = network.by_layer(model.theta), network.by_layer(model.grad)
        output, saved = network.forward(p, task[0], contexts)
        dy = np.cos(np.arange(output.size)).reshape(output.shape)
        dx = network.backward(p, g, saved, dy, contexts).copy()
        for i, j in ((0, 0), (3, 2), (ROWS - 1, N_IN - 1)):
            ends = []
            for h in (1e-6, -1e-6):
                X = task[0].copy()
                X[i, j] += h
                ends.append(np.sum(network.forward(p, X, contexts)[0] * dy))
            expected = (ends[0] - ends[1]) / 2e-6
            assert dx[i, j] == pytest.approx(expected, rel=1e-5, abs=1e-8), name


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", TWICE)
def test_second_derivatives_equal_differences(name, training, task, rng):
    model, loss = built(name), CrossEntropy()
    v, h = rng.normal(size=model.theta.size), 1e-5
    settings = {"training": training, "seed": 4}
    ends = [
        gradient(model, *task, loss, theta=model.theta + s * v, **settings).copy() for s in (h, -h)
    ]
    expected = (ends[0] - ends[1]) / (2 * h)
    actual = hvp(model, *task, loss, v, **settings)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-7)
    outputs = [
        model.forward(task[0], theta=model.theta + s * v, training=training, seed=4)
        for s in (h, -h)
    ]
    tangent = jvp(model, task[0], dtheta=v, **settings)
    np.testing.assert_allclose(tangent, (outputs[0] - outputs[1]) / (2 * h), rtol=1e-6, atol=1e-8)


# --- masks ----------------------------------------------------------------------------------------

MASKED = {
    "children": Copies((Dropout(0.5), Dropout(0.5))),
    "own context": Copies((Dropout(0.5), Dropout(0.5)), own=False),
    "two deep": Copies(
        (Copies((Dropout(0.5), Dropout(0.5))), Copies((Dropout(0.5), Dropout(0.5))))
    ),
    "two deep, own context": Copies(
        (Copies((Dropout(0.5), Dropout(0.5)), False), Copies((Dropout(0.5), Dropout(0.5)), False)),
        False,
    ),
    "own context in children": Copies(
        (Copies((Dropout(0.5), Dropout(0.5)), False), Copies((Dropout(0.5), Dropout(0.5)), False)),
    ),
}


@pytest.mark.parametrize("name", MASKED)
def test_nested_dropouts_share_no_mask(name):
    """Nor with the layers beside them, or with those of the next composite."""
    layers = [MASKED[name], MASKED[name]]
    n, rows = 50, 80
    model = Sequential([Dropout(0.5), *layers, Dropout(0.5)], n, dtype="float64")
    contexts = model.network.contexts(model.backend, model.statistics, training=True)
    masks = []
    for layer, context in zip(model.layers, contexts, strict=True):
        context.begin_pass()
        output, _ = layer.forward({}, np.ones((rows, n)), context)
        masks += np.split(output != 0, output.shape[1] // n, axis=1)
    for i, first in enumerate(masks):
        assert 0.4 < first.mean() < 0.6
        for second in masks[:i]:
            assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 5 / np.sqrt(rows * n)


@pytest.mark.parametrize("name", MASKED)
def test_masks_follow_from_seed_and_position(name):
    outputs = [
        Sequential([MASKED[name]], 6).forward(np.ones((20, 6)), training=True, seed=seed)
        for seed in (7, 7, 8)
    ]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert not np.array_equal(outputs[0], outputs[2])


# --- contexts -------------------------------------------------------------------------------------


def context(**settings):
    backend = get_backend("numpy", dtype="float64")
    model = Sequential([Dense(1)], 1)
    return model.network.contexts(backend, model.statistics, reuse=True, **settings)[0]


def test_child_is_the_same_at_every_call():
    ctx = context(training=True)
    assert ctx.child(2) is ctx.child(2) is not ctx.child(1)
    assert ctx.child(2).training
    assert ctx.child(2).scratch is not ctx.child(1).scratch is not ctx.scratch


@pytest.mark.parametrize("outer", [True, False])
def test_only_the_first_child_may_skip_dx(outer):
    ctx = context()
    ctx.need_dx = outer
    assert [ctx.child(i).need_dx for i in range(3)] == [outer, True, True]
    assert [ctx.child(i, need_dx=False).need_dx for i in range(3)] == [False] * 3
    assert [ctx.child(0, need_dx=outer).need_dx, ctx.child(0).need_dx] == [outer, outer]


def test_each_claim_of_a_pass_has_other_memory():
    ctx = context()
    first = [ctx.claim()["z", 3, 4] for _ in range(3)]
    assert len({array.ctypes.data for array in first}) == 3
    ctx.begin_pass()
    again = [ctx.claim()["z", 3, 4] for _ in range(3)]
    assert [a is b for a, b in zip(first, again, strict=True)] == [True] * 3


def test_key_is_read_once_for_each_claim():
    """Otherwise two random layers in one context would share a mask."""
    ctx, keys = context(training=True), []
    with pytest.raises(ArgumentError, match=r"ctx\.key must be .* got a context without a claim"):
        ctx.key  # noqa: B018
    for each in (ctx, ctx, ctx.child(0), ctx.child(1), ctx.child(0)):
        each.claim()
        keys.append(each.key)
        with pytest.raises(ArgumentError, match=r"ctx\.key must be read once .* another reading"):
            each.key  # noqa: B018
    assert len(set(keys)) == len(keys)
    ctx.begin_pass()
    ctx.claim()
    assert ctx.key == keys[0]


@pytest.mark.parametrize("i", [-1, 65536, 1.5, "0"])
def test_child_refuses_wrong_position(i):
    with pytest.raises(ArgumentError, match=r"^i must be"):
        context().child(i)


def test_blocks_hold_the_memory_of_children():
    ctx = context()
    arrays = [ctx.child(0).claim()["z", 2], ctx.child(1).child(3).claim()["z", 5]]
    arrays.append(ctx.child(1).scratch.next(7))
    found = list(ctx.blocks)
    for array in arrays:
        assert any(np.shares_memory(array, block) for block in found)


def test_children_have_the_statistics_of_their_layer():
    inner = (BatchNorm(), Dense(3), BatchNorm(), Chain((Dense(2), BatchNorm())))
    spec = nested_specs(inner, 4)
    names = [s.name for s in spec.statistics if s.name.endswith("mean")]
    assert names == ["0_mean", "2_mean", "3_1_mean"]
    views = {s.name: np.full(s.shape, i) for i, s in enumerate(spec.statistics)}
    ctx = Context(context().ops, statistics=views)
    assert set(ctx.child(2).statistics) == {"mean", "var", "count", "mean_rest"}
    assert ctx.child(2).statistics["mean"] is views["2_mean"]
    assert ctx.child(3).child(1).statistics["var"] is views["3_1_var"]
    assert child_views(views, 3) == ctx.child(3).statistics


def test_statistics_of_nested_layers_have_names(task):
    model = built("two deep")
    model.fit(*task, loss=CrossEntropy(), optimizer=SGD(0.1), epochs=1, progress=False)
    views = model.statistics_layout.views(model.statistics)
    names = "count", "mean", "mean_rest", "var"
    assert sorted(views) == [f"layers.0.1_1_{name}" for name in names]
    assert views["layers.0.1_1_count"].tolist() == [ROWS]
    assert (views["layers.0.1_1_mean"] != 0).all()


# --- flags ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Around:
    """A layer that holds others in a list and a tuple of tuples."""

    layers: list
    pairs: tuple = ()


def test_components_finds_layers_in_lists_and_tuples():
    value = Around([Dense(2)], ((Dropout(0.2), BatchNorm()), (Chain((Dense(3, Tanh()),)),)))
    kinds = [type(part).__name__ for part in components(value)]
    assert [k for k in kinds if k in {"Dense", "Dropout", "BatchNorm", "Chain"}] == [
        *("Dense", "Dropout", "BatchNorm", "Chain", "Dense"),
    ]
    assert not any(isinstance(part, Tanh) for part in components(value, leave_out=Dense))


FLAGS = {
    "plain": (Dense(3), False, False),
    "batch norm": (BatchNorm(), True, False),
    "dropout": (Dropout(0.5), False, True),
    "dropout of nothing": (Dropout(0.0), False, False),
    "nested batch norm": (Chain((Dense(3), BatchNorm())), True, False),
    "nested dropout": (Residual((Chain((Dense(3), Dropout(0.5))),)), False, True),
    "handed": (Handed((Dense(3), Dropout(0.1))), False, True),
    "gate": (Gate((Dense(3), Chain((BatchNorm(), Dropout(0.0))))), True, False),
}


@pytest.mark.parametrize("name", FLAGS)
def test_flags_of_inner_layers_are_found(name):
    layer, batch_statistics, stochastic = FLAGS[name]
    assert is_any(layer, "batch_statistics") == batch_statistics
    assert is_any(layer, "stochastic") == stochastic
    assert not is_any(layer, "something_else")


def test_full_batch_methods_refuse_nested_dropout(task):
    layer = Chain((Dense(4, Tanh()), Dropout(0.3)))
    model = Sequential([Dense(4), layer, Dense(3)], N_IN)
    message = r"optimizer must be a first-order one.*Chain.*in layer 1.*Dropout is random"
    with pytest.raises(ArgumentError, match=message):
        model.fit(*task, loss=CrossEntropy(), optimizer=LBFGS(), progress=False)


def test_full_batch_methods_need_nested_statistics(task):
    model = Sequential([Chain((Dense(4), BatchNorm())), Dense(3)], N_IN)
    with pytest.raises(ArgumentError, match="batch norm"):
        model.fit(*task, loss=CrossEntropy(), optimizer=LBFGS(), progress=False)
    model.fit(*task, loss=CrossEntropy(), optimizer=SGD(0.1), epochs=1, progress=False)
    history = model.fit(*task, loss=CrossEntropy(), optimizer=LBFGS(), epochs=3, progress=False)
    assert history["loss"][-1] < history["loss"][0]


@pytest.mark.parametrize("make", [lambda norm: norm, lambda norm: Residual((Chain((norm,)),))])
def test_nested_batch_norm_refuses_one_row(make, task):
    X, y = task
    model = Sequential([Dense(4), make(BatchNorm()), Dense(3)], N_IN)
    settings = {"loss": CrossEntropy(), "optimizer": SGD(0.1), "progress": False}
    with pytest.raises(ArgumentError, match="batch norm"):
        model.fit(X, y, batch_size=ROWS - 1, **settings)
    with pytest.raises(ArgumentError, match="at least 2 rows under batch norm"):
        model.forward(X[:1], training=True)
    with pytest.raises(ArgumentError, match="at least 2 rows under batch norm"):
        model.value_and_grad(X[:1], y[:1], CrossEntropy())
    assert model.forward(X[:1]).shape == (1, 3)


def test_batch_norm_refuses_the_context_of_another(task):
    """It would update the running statistics of no layer."""
    model = Sequential([Handed((Dense(4), BatchNorm())), Dense(3)], N_IN)
    message = r"context of BatchNorm must hold its running mean; .* Give an inner layer ctx\.child"
    for call in (
        lambda: model.value_and_grad(*task, CrossEntropy()),
        lambda: model.predict(task[0]),
        lambda: check_gradients(model, *task, CrossEntropy()),
    ):
        with pytest.raises(ArgumentError, match=message):
            call()


@dataclass(frozen=True)
class Dotted:
    """A layer with a parameter and a statistic of given names."""

    parameter: str = "weight"
    statistic: str = "mean"

    def specs(self, n_in):
        spec = BatchNorm().specs(n_in)
        named = [
            type(first)(name, first.shape, first.role, first.init)
            for first, name in (
                (spec.parameters[0], self.parameter),
                (spec.statistics[0], self.statistic),
            )
        ]
        return xpnet.layers.base.LayerSpec(n_in, (named[0],), (named[1],))


@pytest.mark.parametrize("names", [("inner.weight", "mean"), ("weight", "inner.mean")])
def test_names_with_a_dot_are_refused(names):
    name = names[0] if "." in names[0] else names[1]
    message = rf"parameter of layers\[1\] must have no dot; got '{name}'\. Write an underscore\."
    with pytest.raises(ArgumentError, match=message):
        Sequential([Dense(4), Dotted(*names)], N_IN)
    assert Sequential([Dense(4), Dotted("a_b", "c_d")], N_IN).layout.entries


def test_activation_name_is_refused_inside_a_layer():
    with pytest.raises(ArgumentError, match="activation must be an ActivationFunction"):
        Chain((Dense(3, "relu"), Dense(3, ReLU())))
