"""Write models of the present format in a folder, such as ``format4``.

Run it with the last xpnet that writes this format on ``PYTHONPATH``, and the tests::

    OPENBLAS_NUM_THREADS=1 PYTHONPATH=.:tests python tests/model/data/make.py

`expected.json` says what each file must load as. Format 1 has a script of its own, and format 3 was
that of the files of trainings, in ``tests/training/data/checkpoints``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from helpers import own_types

import xpnet
from xpnet.layers import BatchNorm, Dense, Dropout
from xpnet.serialization import FORMAT

FOLDER = Path(__file__).parent / f"format{FORMAT}"

X = np.random.default_rng(1).normal(size=(12, 3)).round(2)
NAMES = np.array(["ash", "elm"])[(X[:, 0] > 0).astype(int)]
FIT = {"optimizer": xpnet.Adam(0.01), "epochs": 3, "batch_size": 4, "progress": False}


def classifier() -> Any:
    """Return a model of class names with every kind of array."""
    scaling = xpnet.Standardize.fit(X)
    layers = [Dense(3, xpnet.Tanh()), BatchNorm(), Dropout(0.1), Dense(2)]
    model = xpnet.Sequential(layers, 3, preprocessing=scaling, rng=1)
    model.fit(X, NAMES, loss=xpnet.CrossEntropy(0.1), **FIT)
    return model


def regression() -> Any:
    """Return a model of scaled targets."""
    model = xpnet.MLP(3, [3], 1, dtype="float64", preprocessing=xpnet.MinMax(-3, 3), rng=2)
    y = 10 * X[:, 0] + 3
    model.fit(X, y, loss=xpnet.Huber(0.5), target_scaling="standardize", **FIT)
    return model


def formulas() -> Any:
    """Return a model of formulas with numbers, an infinity, parameters and conditions."""
    own, losses = xpnet.activations.from_formula, xpnet.losses.from_formula
    mish = own(lambda xp, z: z * xp.tanh(xp.log1p(xp.exp(z))), name="mish")
    capped = own(
        lambda xp, z, a, b: xp.where(
            (z > a) & (z < xp.inf), a + 0.1 * z, b * (1 - xp.tanh(z) ** 2)
        ),
        name="capped",
        a=0.1,
        b=1e-5,
    )
    pinball = losses(
        lambda xp, z, t, q: xp.maximum(q * (t - z), (q - 1) * (t - z)),
        name="pinball",
        mean=True,
        scalable=False,
        q=0.9,
    )
    model = xpnet.Sequential([Dense(4, mish), Dense(3, capped), Dense(2)], 3, rng=3)
    model.fit(X, X[:, :2] + 1.0, loss=pinball, **FIT)
    return model


def own() -> Any:
    """Return a model of user-defined types, with settings of every kind."""
    options = own_types.Options(("a", "ä"), ((1, 2.5),), own_types.Options())
    layers = [
        Dense(4, own_types.Bump(0.5), weight_init=own_types.Ramp(-0.3)),
        own_types.Scaled(own_types.Cube(), factor=0.5, options=options, flag=False, bound=3),
        own_types.Around(Dense(2, own_types.Cube())),
    ]
    model = xpnet.Sequential(layers, 3, rng=4)
    model.fit(X, X[:, :2] + 1.0, loss=own_types.Quartic(0.5), **FIT)
    return model


def expected_of(model: Any) -> dict[str, Any]:
    """Return what a file of a model must load as."""
    return {
        "layers": [repr(layer) for layer in model.layers],
        "loss": repr(model.loss),
        "dtype": model.theta.dtype.name,
        "classes": None if model.classes is None else [*model.classes],
        "theta": model.theta.tolist(),
        "output": model.forward(X).tolist(),
        "predictions": model.predict(X).tolist(),
    }


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(exist_ok=True)
    models = {"classifier": classifier(), "regression": regression()}
    if FORMAT >= 4:
        models |= {"formulas": formulas(), "own": own()}
    for name, model in models.items():
        model.save(FOLDER / f"{name}.safetensors")
    expected = {"X": X.tolist()} | {name: expected_of(model) for name, model in models.items()}
    text = json.dumps(expected, ensure_ascii=False, allow_nan=False)
    (FOLDER / "expected.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
