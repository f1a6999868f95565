"""Groups of parameters: each optimizer moves its own as if there were no others."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from helpers.fake_device import DeviceArray, FakeCapture, fake_operations
from helpers.training_cases import ENGINES

from xpnet import MLP, HalfMSE, TrainingStep, resume
from xpnet.errors import ArgumentError, NonFiniteError
from xpnet.ops import select
from xpnet.optimizers import (
    SGD,
    AdaGrad,
    Adam,
    AdamW,
    Averaged,
    ByFunction,
    ByLayer,
    ByPath,
    ByRole,
    ClipByNorm,
    Cosine,
    Frozen,
    Grouped,
    Lion,
    Momentum,
    Nadam,
    Resumed,
)
from xpnet.parameters import Layout
from xpnet.training import TrainingCheckpoint

LAYOUT = Layout.of(
    [
        ("layers.0.weight", (3, 2), "weight"),
        ("layers.0.bias", (2,), "bias"),
        ("layers.1.weight", (2, 4), "weight"),
        ("layers.1.bias", (4,), "bias"),
        ("layers.10.weight", (4, 1), "weight"),
    ]
)
GROUPS = {
    "role": [(ByRole("bias"), Momentum(0.1))],
    "layer": [(ByLayer(1), Nadam(0.1))],
    "path": [(ByPath("layers.10.weight"), AdaGrad(0.1, norm=True))],
    "function": [(lambda e: e.shape == (3, 2), Lion(0.1, weight_decay=0.5))],
    "each its own": [(ByLayer(0), SGD(0.1)), (ByLayer(1), Nadam(0.2)), (ByLayer(10), Adam(0.3))],
    "a layer by role": [(ByPath("layers.1.bias"), SGD(0.1)), (ByRole("weight"), Lion(0.1))],
}


@pytest.mark.parametrize("name", GROUPS)
def test_each_group_moves_as_if_alone(name, place, rng):
    grouped = Grouped(GROUPS[name], default=AdamW(0.05, weight_decay=0.5))
    start, grads = rng.standard_normal(LAYOUT.size), rng.standard_normal((3, LAYOUT.size))
    expected = start.copy()
    *pairs, rest = [*grouped.groups, (None, grouped.default)]
    taken = {e.path for condition, _ in pairs for e in LAYOUT.entries if condition(e)}
    for condition, optimizer in [*pairs, rest]:
        entries = [
            e for e in LAYOUT.entries if (condition(e) if condition else e.path not in taken)
        ]
        if not entries:
            continue
        where = np.concatenate([np.arange(e.start, e.stop) for e in entries])
        alone = place.writable(start[where])
        layout = Layout.of((e.path, e.shape, e.role) for e in entries)
        state = optimizer.init(alone, layout)
        for grad in grads:
            optimizer.step(alone, place.array(grad[where]), state)
        expected[where] = place.host(alone)
    theta = place.writable(start)
    state = grouped.init(theta, LAYOUT)
    for grad in grads:
        grouped.step(theta, place.array(grad), state)
    np.testing.assert_array_equal(place.host(theta), expected)
    assert (expected != start).all()


def test_ten_steps_agree_with_groups_of_pytorch(torch, rng):
    model = MLP(3, [4], 2, backend="numpy", dtype="float64", rng=0)
    layout, grads = model.layout, rng.standard_normal((10, model.layout.size))
    theta = rng.standard_normal(layout.size)
    tensors = [torch.tensor(v.copy(), requires_grad=True) for v in layout.views(theta).values()]
    weights = [x for x, e in zip(tensors, layout.entries, strict=True) if e.role == "weight"]
    biases = [x for x, e in zip(tensors, layout.entries, strict=True) if e.role == "bias"]
    other = torch.optim.AdamW(
        [
            {"params": weights, "weight_decay": 0.3},
            {"params": biases, "lr": 0.01, "weight_decay": 0.0},
        ],
        lr=0.1,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(other, lambda step: 1 / (1 + step))
    grouped = Grouped(
        [(ByRole("bias"), AdamW(0.01, weight_decay=0.0))], default=AdamW(0.1, weight_decay=0.3)
    )
    state = grouped.init(theta, layout)
    for step, grad in enumerate(grads):
        for tensor, view in zip(tensors, layout.views(grad).values(), strict=True):
            tensor.grad = torch.tensor(view.copy())
        other.step()
        schedule.step()
        grouped.step(theta, grad, state, lr=grouped.lr / (1 + step))
    for tensor, view in zip(tensors, layout.views(theta).values(), strict=True):
        np.testing.assert_allclose(view, tensor.detach().numpy(), rtol=1e-10, atol=1e-12)


def test_adjacent_parameters_are_not_copied(rng):
    seen = []

    class Watching(SGD):
        def update(self, theta, grad, state, scalars, skip=None):
            seen.append((theta, grad))

    theta, grad = rng.standard_normal((2, LAYOUT.size))
    grouped = Grouped([(ByRole("bias"), Watching())], default=Watching())
    grouped.step(theta, grad, grouped.init(theta, LAYOUT))
    assert [len(part) for part, _ in seen] == [6, 18]
    assert all(np.shares_memory(t, theta) and np.shares_memory(g, grad) for t, g in seen)


def test_groups_move_in_a_captured_step(rng, monkeypatch):
    """CuPy joins more than eight arrays by a table of addresses, which a capture must not copy."""
    monkeypatch.setitem(select._chosen, DeviceArray, fake_operations(kernels=False))
    layout = Layout.of([(f"layers.{i}.weight", (2, 3), "weight") for i in range(20)])
    even = [(lambda e: int(e.path.split(".")[1]) % 2 == 0, Momentum(0.1))]
    grouped = Grouped(even, default=AdamW(0.1))
    start, grad = rng.normal(size=(2, 120))
    theta, expected = start.copy().view(DeviceArray), start.copy()
    state = grouped.init(theta, layout)
    state.step = 1
    scalars = grouped.scalars(state, 0.1)
    step = partial(grouped.update, theta, grad.view(DeviceArray), state, scalars)
    device = FakeCapture()
    with device.capturing():
        replay = device.capture(step)
    theta[...] = start
    for slot in state.slots:
        slot[...] = 0.0
    with device.running():
        replay()
    grouped.step(expected, grad, grouped.init(expected, layout))
    np.testing.assert_allclose(np.asarray(theta), expected, rtol=1e-14)


def data(rng):
    X = rng.standard_normal((40, 3))
    return X, X @ rng.standard_normal((3, 2))


def grouped_of(condition=None):
    own = [] if condition is None else [(condition, SGD(0.01))]
    return Grouped([(ByPath("layers.0.bias"), Nadam(0.02)), *own], default=Adam(0.05))


SETTINGS = {"loss": HalfMSE(), "batch_size": 16, "progress": False, "epochs": 3}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("wrap", [lambda g: g, Averaged], ids=["plain", "averaged"])
def test_every_engine_trains_alike(engine, wrap, rng):
    ends = []
    for kind in ("eager", engine):
        model = MLP(3, [4], 2, dtype="float64", rng=1)
        optimizer = wrap(grouped_of(lambda e: e.shape == (4, 2)))
        model.fit(
            *data(np.random.default_rng(0)),
            optimizer=optimizer,
            schedule=Cosine(),
            clip=ClipByNorm(0.1),
            l2=0.1,
            engine=kind,
            rng=2,
            **SETTINGS,
        )
        assert model.history.engine.startswith(kind)
        ends.append(model.theta)
    np.testing.assert_allclose(*ends, rtol=1e-12)


def test_functions_of_entries_do_not_prevent_replays(rng):
    model, seen = MLP(3, [4], 2, dtype="float64"), []
    optimizer = grouped_of(lambda e: seen.append(e.path) or e.shape == (4, 2))
    step = TrainingStep(model, HalfMSE(), optimizer)
    step(*data(rng))
    assert "user-defined" not in step.engine
    assert seen == [e.path for e in model.layout.entries] * (len(seen) // 4)


@pytest.mark.parametrize("kind", ["value", "function"])
def test_training_is_resumed(kind, rng, tmp_path):
    path, (X, y) = tmp_path / "training.safetensors", data(rng)
    condition = ByPath("layers.1.weight") if kind == "value" else lambda e: e.shape == (4, 2)
    whole, model = (MLP(3, [4], 2, dtype="float64", rng=1) for _ in range(2))
    more = {"optimizer": grouped_of(condition), "rng": 2}
    whole.fit(X, y, **SETTINGS | {"epochs": 4}, **more)
    callbacks = [TrainingCheckpoint(path, epochs=1)]
    model.fit(X, y, **SETTINGS | {"epochs": 2}, callbacks=callbacks, **more)
    if kind == "value":
        model = resume(path, X, y, epochs=4, progress=False)
    else:
        with pytest.raises(ArgumentError, match=r"user-defined parts; got one with .*lambda"):
            resume(path, X, y, epochs=4, progress=False)
        model.fit(X, y, **SETTINGS | {"epochs": 4}, resume=path, **more)
    np.testing.assert_array_equal(model.theta, whole.theta)


def test_state_of_a_step_is_restored(rng):
    X, y = data(rng)
    model = MLP(3, [4], 2)
    step = TrainingStep(model, HalfMSE(), grouped_of())
    step(X, y)
    saved = step.state_dict()
    assert saved["type"] == "Grouped(Nadam, Adam)"
    first = float(step(X, y)), model.theta.copy()
    step.load_state_dict(saved)
    assert float(step(X, y)) == first[0]
    np.testing.assert_array_equal(model.theta, first[1])


def test_state_from_a_file_is_resumed(rng):
    grouped, theta, grad = grouped_of(), *rng.standard_normal((2, LAYOUT.size))
    state = grouped.init(theta, LAYOUT)
    grouped.step(theta, grad, state)
    other, bare = theta.copy(), type(state)(state.slots, state.step, state.scalars).copy()
    with pytest.raises(ArgumentError, match=r"state must be what Grouped\.init makes"):
        grouped.step(other, grad, bare)
    resumed = Resumed(grouped, bare)
    again = resumed.init(other, LAYOUT)
    grouped.step(theta, grad, state)
    resumed.step(other, grad, again)
    np.testing.assert_array_equal(theta, other)


def test_overflow_names_the_parameter():
    grouped = Grouped([(ByLayer(1), Adam())], default=SGD())
    theta = np.zeros(LAYOUT.size, "float32")
    state, grad = grouped.init(theta, LAYOUT), np.zeros(LAYOUT.size, "float32")
    LAYOUT.views(grad)["layers.1.bias"][2] = 1e30
    match = r"The slot v of the optimizer .* at layers\.1\.bias\[2\]"
    with pytest.raises(NonFiniteError, match=match), np.errstate(all="ignore"):
        grouped.step(theta, grad, state)


def test_skipped_step_changes_nothing(place, rng):
    grouped, start = grouped_of(), rng.standard_normal(LAYOUT.size)
    theta = place.writable(start)
    state = grouped.init(theta, LAYOUT)
    skip = place.array(np.ones(1))
    grouped.step(theta, place.array(rng.standard_normal(LAYOUT.size)), state, skip=skip)
    np.testing.assert_array_equal(place.host(theta), start)
    assert not any(place.host(slot).any() for slot in state.slots)


def test_free_parameters_are_grouped():
    grouped = Frozen(Grouped([(ByRole("bias"), SGD(2.0))], default=SGD(1.0)), LAYOUT, [0])
    theta = np.zeros(LAYOUT.size)
    grouped.step(theta, np.ones(LAYOUT.size), grouped.init(theta))
    moved = {path: set(view.flat) for path, view in LAYOUT.views(theta).items()}
    assert moved == {
        "layers.0.weight": {0.0},
        "layers.0.bias": {0.0},
        "layers.1.weight": {-1.0},
        "layers.1.bias": {-2.0},
        "layers.10.weight": {-1.0},
    }


def test_values_are_equal_and_shown():
    pair = [(ByRole("bias"), SGD())]
    assert Grouped(pair) == Grouped(tuple(pair)) != Grouped([(ByLayer(0), SGD())])
    assert repr(Grouped(pair)).startswith("Grouped(groups=((ByRole(role='bias'), SGD(lr=0.01)),)")
    assert Grouped(pair, default=SGD(0.3)).lr == 0.3


def made(*groups):
    return Grouped([*groups]).init(np.zeros(LAYOUT.size), LAYOUT)


BAD = {
    r"groups\[1\] must select a parameter of the layout; got ByRole\(role='scale'\)\. The": (
        lambda: made((ByRole("bias"), SGD()), (ByRole("scale"), SGD()))
    ),
    r"groups must select each parameter once; got layers\.0\.bias, which groups\[0\], "
    r"ByRole\(role='bias'\), and groups\[1\], ByLayer\(layer=0\), both select": (
        lambda: made((ByRole("bias"), SGD()), (ByLayer(0), SGD()))
    ),
    r"got ByFunction\(<lambda>\)": lambda: made((lambda e: False, SGD())),
    r"layout must be given for Grouped, .* Write init\(theta, model.layout\)": lambda: Grouped(
        [(ByRole("bias"), SGD())]
    ).init(np.zeros(4)),
    r"groups must be pairs .*; got \[\]": lambda: Grouped([]),
    r"groups\[0\] must be a pair .*; got ByRole": lambda: Grouped([ByRole("bias")]),
    r"the condition of groups\[0\] must be a function of an entry; got 'bias'": lambda: Grouped(
        [("bias", SGD())]
    ),
    r"the optimizer of groups\[0\] must be an Optimizer; got 0\.1": lambda: Grouped(
        [(ByRole("bias"), 0.1)]
    ),
    r"default must be an Optimizer; got 'adam'. Write Adam\(\)": lambda: Grouped(
        [(ByRole("bias"), SGD())], default="adam"
    ),
    r"inside Grouped; got Resumed\(.* Put Resumed outside": lambda: Grouped(
        [(ByRole("bias"), Resumed(SGD(), SGD().init(np.zeros(24))))]
    ),
    "role must be one of bias, scale, shift, weight; got 'biases'. Did you mean": lambda: ByRole(
        "biases"
    ),
    "layer must be an integer of at least 0; got -1": lambda: ByLayer(-1),
    "path must be a str; got 0": lambda: ByPath(0),
    "function must be a function of an entry; got 3": lambda: ByFunction(3),
    "theta must have the layout's size 24": lambda: Grouped([(ByRole("bias"), SGD())]).init(
        np.zeros(3), LAYOUT
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_invalid_input_is_refused(message):
    with pytest.raises(ArgumentError, match=message):
        BAD[message]()
