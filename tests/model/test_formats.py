"""Models of every format since 2, which `data/make.py` wrote with the last xpnet that writes it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.layer_texts import texts_without_later_fields
from helpers.own_types import TYPES
from safetensors import safe_open

import xpnet
from xpnet.serialization import FORMAT

DATA = Path(__file__).parent / "data"
FORMATS = 2, 4
"""Format 3 was that of a model in the file of a training."""

FILES = {
    f"{path.parent.name} {path.stem}": path
    for version in FORMATS
    for path in sorted((DATA / f"format{version}").glob("*.safetensors"))
}


def version_of(path):
    with safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["xpnet"])["version"]


def test_every_format_has_files():
    assert FORMATS[-1] == FORMAT
    versions = [version_of(path) for path in FILES.values()]
    assert versions == [2] * 2 + [4] * 4


@pytest.mark.parametrize("name", FILES)
def test_model_of_every_format_loads(name, tmp_path):
    path = FILES[name]
    every = json.loads((path.parent / "expected.json").read_text(encoding="utf-8"))
    X, expected, model = np.asarray(every["X"]), every[path.stem], xpnet.load(path, types=TYPES)
    assert texts_without_later_fields(model.layers) == expected["layers"]
    assert repr(model.loss) == expected["loss"]
    assert model.theta.dtype.name == expected["dtype"]
    assert (None if model.classes is None else [*model.classes]) == expected["classes"]
    np.testing.assert_array_equal(model.theta, np.asarray(expected["theta"], expected["dtype"]))
    np.testing.assert_allclose(model.forward(X), expected["output"], 1e-5, 1e-6)
    decided = np.asarray(expected["predictions"])
    if decided.dtype.kind == "f":
        np.testing.assert_allclose(model.predict(X), decided, 1e-5, 1e-6)
    else:
        np.testing.assert_array_equal(model.predict(X), decided)
    model.save(tmp_path / "again.safetensors")
    assert version_of(tmp_path / "again.safetensors") == FORMAT
    again = xpnet.load(tmp_path / "again.safetensors", types=TYPES)
    assert (again.layers, again.loss) == (model.layers, model.loss)
