"""Several quantiles at once: units, the quantiles that are found, files, what refuses them."""

from __future__ import annotations

import numpy as np
import pytest

import xpnet
from xpnet import MLP, Adam, Expectile, QuantileLoss
from xpnet.calibration import conformal_intervals
from xpnet.errors import ArgumentError
from xpnet.metrics import mae

RNG = np.random.default_rng(5)
X = np.ones((400, 1))
NOISE = RNG.exponential(size=(400, 2)) * [1.0, 30.0] + [5.0, -100.0]
QUANTILES = (0.1, 0.5, 0.9)
FIT = {"optimizer": Adam(0.03), "epochs": 200, "batch_size": 400, "progress": False}


@pytest.mark.parametrize("columns", [1, 2])
def test_quantiles_of_the_targets_are_found(columns, tmp_path):
    y = NOISE[:, 0] if columns == 1 else NOISE
    model = MLP(1, [], 3 * columns, dtype="float64")
    model.fit(X, y, loss=QuantileLoss(QUANTILES), target_scaling="standardize", **FIT)
    found = model.predict(X[:1]).reshape(columns, 3)
    expected = np.quantile(NOISE[:, :columns], QUANTILES, axis=0).T
    size = NOISE.std(axis=0)[:columns, None]
    np.testing.assert_allclose(found / size, expected / size, atol=0.1)
    model.save(tmp_path / "m.safetensors")
    again = xpnet.load(tmp_path / "m.safetensors")
    assert again.loss == QuantileLoss(QUANTILES)
    np.testing.assert_array_equal(again.predict(X[:1]), model.predict(X[:1]))


def test_quantiles_may_be_a_list():
    loss = QuantileLoss([0.1, 0.9])
    assert loss == QuantileLoss((0.1, 0.9))
    assert hash(loss) == hash(QuantileLoss((0.1, 0.9)))


def test_expectile_is_found():
    model = MLP(1, [], 1, dtype="float64")
    model.fit(X, NOISE[:, 0], loss=Expectile(0.8), target_scaling="standardize", **FIT)
    z, y = float(model.predict(X[:1])[0]), NOISE[:, 0]
    above, below = np.maximum(y - z, 0).sum(), np.maximum(z - y, 0).sum()
    assert 0.8 * above == pytest.approx(0.2 * below, rel=0.05)


def test_metrics_of_one_prediction_are_refused():
    model = MLP(1, [], 3)
    with pytest.raises(
        ArgumentError, match=r"^metric 'mae' needs as many .* got 3 of .* mae\(p\[:, 0\]"
    ):
        model.fit(X, NOISE[:, 0], loss=QuantileLoss(QUANTILES), metrics=[mae], **FIT)


def test_conformal_intervals_need_one_prediction():
    model = MLP(1, [], 3, loss=QuantileLoss(QUANTILES))
    message = r"^the loss of model must predict one number for each target; got QuantileLoss"
    with pytest.raises(ArgumentError, match=message):
        conformal_intervals(model, X, NOISE[:, 0])
