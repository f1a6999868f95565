"""Muon: compared with PyTorch, and that its steps are orthogonal."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.training_cases import ENGINES

from xpnet import MLP, HalfMSE, NonFiniteError
from xpnet.cli import names
from xpnet.errors import ArgumentError
from xpnet.optimizers import (
    SGD,
    Adam,
    Averaged,
    ByLayer,
    ClipByNorm,
    Cosine,
    Frozen,
    Grouped,
    Momentum,
    Muon,
    Resumed,
)
from xpnet.parameters import Layout

LAYOUT = Layout.of(
    [
        ("layers.0.weight", (3, 5), "weight"),
        ("layers.0.bias", (5,), "bias"),
        ("layers.1.weight", (5, 2), "weight"),
        ("layers.1.factor", (2,), "weight"),
        ("layers.2.weight", (2, 2), "weight"),
    ]
)
MATRICES = ["layers.0.weight", "layers.1.weight", "layers.2.weight"]


@pytest.mark.parametrize("nesterov", [True, False])
def test_ten_steps_agree_with_pytorch(nesterov, torch, rng, monkeypatch):
    """PyTorch's weights are transposed, and its products are made to have the dtype of θ."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    theta, grads = rng.standard_normal(LAYOUT.size), rng.standard_normal((10, LAYOUT.size))
    views = LAYOUT.views(theta.copy())
    tensors = {path: torch.tensor(views[path].T.copy(), requires_grad=True) for path in MATRICES}
    other = torch.optim.Muon(
        tensors.values(), lr=0.1, momentum=0.8, weight_decay=0.3, nesterov=nesterov
    )
    muon = Muon(0.1, 0.8, nesterov, weight_decay=0.3, others=SGD(0.1))
    state = muon.init(theta, LAYOUT)
    for grad in grads:
        for path, tensor in tensors.items():
            tensor.grad = torch.tensor(LAYOUT.views(grad)[path].T.copy())
        other.step()
        muon.step(theta, grad, state)
    for path, tensor in tensors.items():
        expected = tensor.detach().numpy().T
        np.testing.assert_allclose(LAYOUT.views(theta)[path], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(8, 8), (4, 16), (16, 4), (1, 5), (5, 1)])
def test_steps_are_about_orthogonal(shape, place32, rng):
    layout, grad = Layout.of([("weight", shape, "weight")]), rng.standard_normal(shape)
    theta, muon = place32.writable(np.zeros(layout.size)), Muon(lr=1.0, weight_decay=0.0)
    muon.step(theta, place32.array(grad.ravel()), muon.init(theta, layout))
    step = -place32.host(theta).reshape(shape).astype(float) / np.sqrt(max(1, shape[1] / shape[0]))
    u, s, v = np.linalg.svd(step, full_matrices=False)
    assert s.min() > 0.5
    assert s.max() < 1.3
    left, _, right = np.linalg.svd(grad, full_matrices=False)
    np.testing.assert_allclose(u @ v, left @ right, atol=2e-3)


def test_scale_of_the_gradient_does_not_matter(rng):
    grad, ends = rng.standard_normal(LAYOUT.size), []
    for factor in (1e-4, 1.0, 1e6):
        theta = np.zeros(LAYOUT.size)
        muon = Muon(others=SGD(1e-9))
        muon.step(theta, factor * grad, muon.init(theta, LAYOUT))
        ends.append(theta[LAYOUT.weights][:25])
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-9)
    np.testing.assert_allclose(ends[2], ends[1], rtol=1e-9)


def test_other_parameters_have_their_optimizer(place, rng):
    theta = place.writable(rng.standard_normal(LAYOUT.size))
    grads = rng.standard_normal((3, LAYOUT.size))
    apart = np.concatenate(
        [np.arange(e.start, e.stop) for e in LAYOUT.entries if e.path not in MATRICES]
    )
    alone = place.writable(place.host(theta)[apart])
    muon, adam = Muon(lr=0.1, others=Adam(0.02)), Adam(0.02)
    state, alone_state = muon.init(theta, LAYOUT), adam.init(alone)
    for grad, factor in zip(grads, (1.0, 0.5, 0.0), strict=True):
        muon.step(theta, place.array(grad), state, lr=0.1 * factor)
        adam.step(alone, place.array(grad[apart]), alone_state, lr=0.02 * factor)
    np.testing.assert_allclose(place.host(theta)[apart], place.host(alone), rtol=1e-14)


SETTINGS = {"loss": HalfMSE(), "batch_size": 16, "progress": False, "epochs": 3, "rng": 2}
CASES = {
    "alone": lambda layout: Muon(0.02),
    "averaged": lambda layout: Averaged(Muon(0.02)),
    "a layer": lambda layout: Grouped([(ByLayer(1), Muon(0.02))], default=Adam(0.02)),
    "frozen": lambda layout: Frozen(Muon(0.02), layout, [0]),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_engine_trains_alike(name, dtype, engine, rng):
    X, ends = rng.standard_normal((40, 3)), []
    y = X @ rng.standard_normal((3, 2))
    for kind in ("eager", engine):
        model = MLP(3, [7, 4], 2, dtype=dtype, rng=1)
        optimizer = CASES[name](model.layout)
        more = {"schedule": Cosine(), "clip": ClipByNorm(0.1), "l2": 0.1, "engine": kind}
        history = model.fit(X, y, optimizer=optimizer, **more, **SETTINGS)
        assert history.engine.startswith(kind)
        assert model.theta.dtype == dtype
        ends.append(model.theta)
    np.testing.assert_allclose(*ends, rtol={"float32": 2e-4, "float64": 1e-11}[dtype], atol=1e-6)


def test_training_descends(rng):
    X = rng.standard_normal((200, 3))
    model = MLP(3, [16, 16], 2, rng=1)
    y = np.tanh(X @ rng.standard_normal((3, 2)))
    history = model.fit(X, y, optimizer=Muon(0.02), **SETTINGS | {"epochs": 20})
    assert history["loss"][-1] < 0.1 * history["loss"][0]


def test_overflow_names_the_parameter():
    muon, theta = Muon(), np.zeros(LAYOUT.size, "float32")
    grad, state = np.zeros(LAYOUT.size, "float32"), muon.init(theta, LAYOUT)
    LAYOUT.views(grad)["layers.1.weight"][2, 1] = np.inf
    match = r"The slot m of the optimizer .* at layers\.1\.weight\[2, 1\]"
    with pytest.raises(NonFiniteError, match=match), np.errstate(all="ignore"):
        muon.step(theta, grad, state)


def test_command_trains_with_muon_only():
    assert names.optimizer("muon", ["momentum=0.9", "nesterov=no"], lr=0.1) == Muon(0.1, 0.9, False)
    assert "muon" not in names.METHODS


BAD = {
    "momentum must be a finite number, at least 0 and below 1; got 1": lambda: Muon(momentum=1),
    "nesterov must be True or False; got 1": lambda: Muon(nesterov=1),
    "weight_decay must be a finite number, at least 0": lambda: Muon(weight_decay=-1),
    "eps must be a finite number, above 0": lambda: Muon(eps=0),
    "n_iterations must be an integer of at least 1; got 0": lambda: Muon(n_iterations=0),
    "others must be an Optimizer; got 'sgd'": lambda: Muon(others="sgd"),
    r"Put Resumed outside: Resumed\(Muon": lambda: Muon(
        others=Resumed(SGD(), SGD().init(np.zeros(2)))
    ),
    r"layout must be given for Muon, .* Write init\(theta, model.layout\)": lambda: Muon().init(
        np.zeros(3)
    ),
    r"layout must have a weight matrix for Muon; got \['bias'\]": lambda: Muon().init(
        np.zeros(3), Layout.of([("bias", (3,), "bias")])
    ),
    "state must be what Muon.init makes": lambda: Muon().step(
        np.zeros(3), np.zeros(3), Momentum().init(np.zeros(3))
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_invalid_input_is_refused(message):
    with pytest.raises(ArgumentError, match=message):
        BAD[message]()
