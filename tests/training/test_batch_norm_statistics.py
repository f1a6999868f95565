"""Batch norm inside other layers: recomputation of its statistics is refused."""

from dataclasses import dataclass

import numpy as np
import pytest
from helpers.nested_layers import Chain, Residual

from xpnet import (
    SGD,
    ArgumentError,
    Averaged,
    BatchNorm,
    Dense,
    HalfMSE,
    Sequential,
    StochasticWeightAveraging,
    UseAverage,
    recompute_statistics,
)
from xpnet.backend import to_numpy
from xpnet.layers import LayerSpec


@dataclass(frozen=True)
class Flagged(Chain):
    """A chain that declares the batch statistics of its layers as its own."""

    batch_statistics = True


NESTED = {
    "chain": Chain((Dense(2), BatchNorm())),
    "residual": Residual((BatchNorm(), Dense(3))),
    "chain in a chain": Chain((Chain((BatchNorm(),)),)),
    "flagged chain": Flagged((BatchNorm(), Dense(2))),
}
X = np.random.default_rng(0).normal(size=(20, 3))
Y = X[:, :1]


def nested_model(layer):
    return Sequential([Dense(3), BatchNorm(), layer, Dense(1)], 3, loss=HalfMSE(), dtype="float64")


@pytest.mark.parametrize("layer", NESTED.values(), ids=NESTED)
def test_nested_batch_norm_is_refused_by_name(layer):
    model = nested_model(layer)
    before = to_numpy(model.statistics).copy()
    message = (
        rf"batch norm inside another layer cannot .* got {type(layer).__name__}.* as layers\.2"
    )
    with pytest.raises(ArgumentError, match=message):
        recompute_statistics(model, X)
    np.testing.assert_array_equal(to_numpy(model.statistics), before)


@pytest.mark.parametrize(
    ("optimizer", "callback"),
    [
        (Averaged(SGD(0.1)), UseAverage()),
        (SGD(0.1), StochasticWeightAveraging(3)),
    ],
)
def test_averages_refuse_nested_batch_norm_at_once(optimizer, callback):
    model, epochs = nested_model(NESTED["chain"]), []
    callbacks = [lambda run: epochs.append(run.epoch), callback]
    settings = {"loss": HalfMSE(), "optimizer": optimizer, "callbacks": callbacks}
    with pytest.raises(ArgumentError, match=r"as layers\.2"):
        model.fit(X, Y, **settings, epochs=3, progress=False)
    assert epochs == []


def test_nested_layers_without_batch_norm_are_allowed():
    layers = [Chain((Dense(3), Dense(2))), BatchNorm(), Dense(1)]
    model = Sequential(layers, 3, loss=HalfMSE(), dtype="float64")
    recompute_statistics(model, X)
    p = model.layout.views(model.theta)
    inputs = X
    for i in range(2):
        inputs = inputs @ p[f"layers.0.{i}_weight"] + p[f"layers.0.{i}_bias"]
    found = model.statistics_layout.views(model.statistics)
    np.testing.assert_allclose(found["layers.1.mean"], inputs.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found["layers.1.var"], inputs.var(axis=0, ddof=1), rtol=1e-12)
    assert found["layers.1.count"] == len(X)


@dataclass(frozen=True)
class OwnNorm(Chain):
    """A user-defined layer with the statistics that `BatchNorm` of earlier versions had."""

    batch_statistics = True

    def specs(self, n_in):
        spec = BatchNorm().specs(n_in)
        return LayerSpec(n_in, (), tuple(s for s in spec.statistics if s.name != "mean_rest"))


def test_layers_without_the_rounding_are_recomputed():
    model = Sequential([OwnNorm(()), Dense(1)], 3, loss=HalfMSE(), dtype="float64")
    recompute_statistics(model, X)
    expected = [*X.mean(axis=0), *X.var(axis=0, ddof=1), len(X)]
    np.testing.assert_allclose(model.statistics, expected, rtol=1e-12)
