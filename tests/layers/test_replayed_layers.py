"""Networks of each layer stay replayed, and give the numbers of the eager engine."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.training_cases import REPLAY

from xpnet import (
    Adam,
    CrossEntropy,
    Dense,
    GatedDense,
    Identity,
    LayerNorm,
    Maxout,
    OrderedThresholds,
    PReLU,
    ReLU,
    RMSNorm,
    Scale,
    Sequential,
    SiLU,
    TrainingStep,
)

N = 64
HIDDEN = {
    "layer norm": [Dense(N), LayerNorm()],
    "layer norm, no shift": [Dense(N), LayerNorm(shift=False)],
    "GLU": [GatedDense(N)],
    "SwiGLU": [GatedDense(N, SiLU()), GatedDense(N, SiLU(), bias=False)],
    "bilinear": [Dense(N, ReLU()), GatedDense(N, Identity())],
    "thresholds": [Dense(1, bias=False), OrderedThresholds(3)],
    "maxout": [Maxout(N), Maxout(N, 3)],
    "scale": [Dense(N, ReLU()), Scale()],
    "PReLU": [Dense(N), PReLU()],
    "RMS norm": [Dense(N, ReLU()), RMSNorm()],
}
"""The layers of 64-64-10 before the last."""

every_network = pytest.mark.parametrize("name", HIDDEN)


def built(name, dtype="float32"):
    return Sequential([*HIDDEN[name], Dense(10)], N, dtype=dtype, rng=1)


@pytest.fixture
def task(rng):
    return rng.normal(size=(150, N)), rng.integers(0, 10, 150)


@every_network
@pytest.mark.parametrize("engine", [REPLAY])
def test_small_networks_are_replayed_by_default(name, engine, task):
    """The last batch is shorter, so that a step of each size is recorded."""
    ends = []
    for given in ("eager", None):
        model = built(name, "float64")
        settings = {"optimizer": Adam(0.01), "epochs": 3, "batch_size": 64, "rng": 3}
        history = model.fit(*task, loss=CrossEntropy(), engine=given, progress=False, **settings)
        ends.append((history.engine, model.theta, history["loss"]))
    assert [engine for engine, *_ in ends] == ["eager", f"{engine}: a list of compiled calls"]
    np.testing.assert_allclose(ends[1][1], ends[0][1], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(ends[1][2], ends[0][2], rtol=1e-11)


@every_network
@pytest.mark.parametrize("engine", [REPLAY])
def test_replayed_steps_call_no_python(name, engine, task):
    """A Python call between two lists of compiled calls takes longer than a layer."""
    X, y = task
    step = TrainingStep(built(name), CrossEntropy(), Adam(0.01), engine=engine)
    for _ in range(2):
        step(X[:64].astype("float32"), y[:64])
    assert [len(program._stages) for program in step._step.programs] == [1, 1]
