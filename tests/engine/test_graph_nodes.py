"""The kernels of a captured step, and what the host does around them, counted on the stand-in."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import strict_cupy
from helpers.backends import uses_stand_in

import xpnet
from xpnet import MLP, Adam, ClipByNorm, CrossEntropy, TrainingStep, activations, losses
from xpnet.engine.captured_epochs import STEPS_PER_GRAPH
from xpnet.engine.cuda_graph import CudaCapture
from xpnet.ops import select
from xpnet.ops.cuda.self_check import checked_product

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not uses_stand_in(), reason="a device does not count its kernels"),
]

SMALL, TWO = ((784, 200, 10), 64), ((784, 512, 512, 10), 256)
RELU = {"activation": xpnet.ReLU()}
NORM = RELU | {"batch_norm": True}
CUMULATIVE = RELU | {"batch_norm": xpnet.BatchNorm(momentum=None)}
MOST = {
    "784-200-10": (SMALL, {}, {}, 10),
    "784-512-512-10": (TWO, RELU, {}, 13),
    "batch norm": (TWO, NORM, {}, 20),
    "cumulative batch norm": (TWO, CUMULATIVE, {}, 22),
    "clipping by the norm": (SMALL, {}, {"clip": ClipByNorm(1.0)}, 12),
    "weights": (SMALL, {}, {"sample_weight": np.ones}, 11),
    "dropout": (SMALL, {"dropout": 0.2}, {}, 13),
    "an L2 penalty": (SMALL, {}, {"l2": 1e-4}, 11),
    "bf16": (SMALL, {}, {"precision": "bf16"}, 20),
    "a regression": (SMALL, {}, {"loss": xpnet.HalfMSE()}, 15),
}
"""Widths and batch size, arguments of `MLP` and of `fit`, and the most kernels of a step."""


def train(case, network, settings, n_steps, **more):
    (n_in, *hidden, n_out), rows = case
    rng = np.random.default_rng(0)
    X, y = (
        rng.normal(size=(n_steps * rows, n_in)).astype("float32"),
        rng.integers(0, n_out, n_steps * rows),
    )
    settings = {"loss": CrossEntropy(), "optimizer": Adam(), "epochs": 1} | settings | more
    if settings["loss"].target_kind == "values":
        y = rng.normal(size=(len(X), n_out)).astype("float32")
    if "sample_weight" in settings:
        settings["sample_weight"] = np.ones(len(X))
    model = MLP(n_in, hidden, n_out, **{"activation": xpnet.Sigmoid(), "backend": "cupy"} | network)
    model.fit(X, y, batch_size=rows, progress=False, engine="replay", **settings)
    return model


@pytest.fixture
def launched(cuda, monkeypatch):
    """The graphs that are launched, in turn, each with the counts at its launch."""
    graphs, launch = [], CudaCapture._launch
    with strict_cupy.counted() as counts:

        def noted(self, graph):
            graphs.append((graph, counts.reads, len(counts.kernels)))
            launch(self, graph)

        monkeypatch.setattr(CudaCapture, "_launch", noted)
        yield graphs


@pytest.mark.parametrize("name", MOST)
def test_steps_have_few_kernels(name, launched):
    *case, most = MOST[name]
    train(*case, n_steps=2)
    nodes = [graph.nodes for graph, *_ in launched]
    assert len(nodes) == 2
    assert max(map(len, nodes)) <= most, nodes[0]


def test_steps_of_a_graph_are_counted_alone(launched):
    """Eight steps of a graph are eight times the kernels of one."""
    train(*MOST["784-200-10"][:3], n_steps=STEPS_PER_GRAPH + 1)
    several, one = (len(graph.nodes) for graph, *_ in launched)
    assert several == STEPS_PER_GRAPH * one


@pytest.mark.parametrize("name", ["784-200-10", "batch norm", "weights"])
def test_epochs_read_and_copy_nothing_between_steps(name, launched):
    """Two epochs of eleven steps: a launch of eight and three of one in each."""
    train(((20, 16, 10), 8), *MOST[name][1:3], n_steps=11, epochs=2)
    assert len(launched) == 2 * 4
    for epoch in (launched[:4], launched[4:]):
        assert len({reads for _, reads, _ in epoch}) == 1


def test_few_kernels_are_compiled_before_a_replay(launched, monkeypatch):
    monkeypatch.setattr(select, "_chosen", {})
    checked_product.cache_clear()
    train(*MOST["784-200-10"][:3], n_steps=2)
    assert launched[0][2] <= 20


def test_loops_wait_for_nothing(launched):
    """A step enqueues the copies of its batch, its keys and its scalars, and reads no number."""
    import cupy  # noqa: PLC0415

    X, y = cupy.ones((64, 784), "float32"), cupy.zeros(64, "int64")
    step = TrainingStep(MLP(784, [200], 10, backend="cupy"), CrossEntropy(), Adam())
    step(X, y, check=False)
    with strict_cupy.counted() as counts:
        for _ in range(3):
            step(X, y, check=False)
    assert counts["graph"] == 3
    waits = {name: n for name, n in counts.items() if name.startswith(("sync", "h2d"))}
    assert waits == {"h2d:array": 3 * 2}
    assert counts.launches <= 3 * 7


AS_FORMULAS = {
    "sigmoid": (xpnet.Sigmoid(), lambda xp, z: 1 / (1 + xp.exp(-z))),
    "tanh": (xpnet.Tanh(), lambda xp, z: xp.tanh(z)),
    "softplus": (xpnet.Softplus(), lambda xp, z: xp.log1p(xp.exp(z))),
    "silu": (xpnet.SiLU(), lambda xp, z: z / (1 + xp.exp(-z))),
    "gelu": (xpnet.GELU(), lambda xp, z: 0.5 * z * (1 + xp.erf(z / math.sqrt(2.0)))),
}


def huber(xp, z, t, delta):
    d = xp.abs(z - t)
    return xp.where(d <= delta, 0.5 * d * d, delta * (d - 0.5 * delta))


@pytest.mark.parametrize("name", [*AS_FORMULAS, "huber"])
def test_formula_takes_no_more_kernels(name, launched):
    if name == "huber":
        network, settings = {}, [{"loss": xpnet.HalfMSE()} for _ in range(2)]
        settings[0]["loss"] = xpnet.Huber()
        settings[1]["loss"] = losses.from_formula(huber, name=name, mean=True, delta=1.0)
        pairs = [(network, setting) for setting in settings]
    else:
        built_in, rule = AS_FORMULAS[name]
        parts = built_in, activations.from_formula(rule, name=name)
        pairs = [({"activation": part}, {}) for part in parts]
    counts = []
    for network, setting in pairs:
        launched.clear()
        train(SMALL, network, setting, STEPS_PER_GRAPH)
        counts.append(max(len(graph.nodes) for graph, *_ in launched))
    assert counts[1] <= counts[0]
