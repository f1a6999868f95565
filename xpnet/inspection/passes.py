"""Passes through a model that measure what they meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet.activations import Identity
from xpnet.backend import Array, as_array
from xpnet.data.checks import check_features
from xpnet.data.prepare import as_features
from xpnet.data.targets import encode_targets
from xpnet.errors import require, require_count, require_number, require_type
from xpnet.inspection.meter import Meter
from xpnet.inspection.report import InspectionReport, LayerReport
from xpnet.inspection.slopes import function_of, saturated
from xpnet.layers import Dense, Dropout, Layer
from xpnet.losses import Loss
from xpnet.model import Sequential
from xpnet.training.callbacks import Run

SATURATION = 0.04
"""The default share of the steepest slope at which a unit counts as saturated: 4 %, which for the
sigmoid is an output within 0.0101 of 0 or 1, and for tanh one within 0.0202 of -1 or 1."""


def inspect_layers(
    model: Sequential,
    X: Array,
    y: Any = None,
    *,
    loss: Loss | None = None,
    training: bool = True,
    bins: int = 50,
    saturation: float = SATURATION,
) -> InspectionReport:
    """The distribution of every layer's output and, with targets, of every gradient.

    One forward and one backward pass over all rows at once, whose arrays are all held: a thousand
    rows say as much as all. The model is not changed, nor are its running statistics.

    Args:
        model: the model, before, during or after training.
        X: features, ``(m, n_in)``, as `fit` takes them: the model's preprocessing is applied.
        y: targets, one a row; default none, and then no gradient.
        loss: the loss whose gradient is shown; default the model's own.
        training: whether batch norm takes the statistics of these rows and dropout drops, as in a
            step of training (default), or as in prediction.
        bins: how many bins a histogram has, at least 1; default 50.
        saturation: the share of the steepest slope up to which a unit counts as saturated, in
            ``[0, 1)``; default 0.04, which is a sigmoid within 0.0101 of 0 or 1.

    Returns:
        The report, of numbers on the host.

    Raises:
        ArgumentError: if the data do not fit, there are targets and no loss, or targets and an
            activation without a derivative.

    Reference: X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward
    neural networks", AISTATS 2010, whose figures 2 to 7 are such distributions.

    >>> import xpnet
    >>> sigmoids = xpnet.Dense(3, xpnet.Sigmoid(), weight_init=xpnet.initializers.Zeros())
    >>> print(inspect_layers(xpnet.Sequential([sigmoids], n_in=2), [[1.0, 2.0], [3.0, 4.0]]))
                                                  output
    layer                         mean       std    spread  saturated     dead
    0 Dense(3, Sigmoid)            0.5         0         0      0.0 %    0.0 %
    """
    require_type(model, Sequential, "model")
    require_count(bins, "bins")
    require_number(saturation, "saturation", low=0, below=1)
    X = as_features(model.input_spec, X)
    loss = model.loss if loss is None else loss
    if y is not None:
        do = "Give loss=, such as CrossEntropy()."
        require(loss is not None, "loss", "be given with y for a model without one", loss, do)
        require_type(loss, Loss, "loss")
        y, _ = encode_targets(y, loss, model.n_out, X.shape[0], model.classes)  # type: ignore[arg-type]
    meter = Meter(model.backend.xp, bins)
    with np.errstate(all="ignore"):  # what is not finite is counted
        places = _measure(model, X, y, loss, training, saturation, meter)
    return _report(model, X.shape[0], places, meter)


class LayerRecorder:
    """A callback that inspects the layers every so many epochs.

    Inspect the model before `fit` as well, to see the beginning.

    Args:
        X: the rows to look at, ``(m, n_in)``, as `fit` takes them.
        y: their targets, for the gradients; default none.
        every: the number of epochs from one report to the next, at least 1; default 1.
        **settings: what else `inspect_layers` takes.

    Attributes:
        reports: the `InspectionReport` of each epoch that was looked at, by epoch.

    Raises:
        ArgumentError: if ``X`` is not finite numbers, or ``every`` not a positive integer.

    >>> import xpnet
    >>> X, y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0]
    >>> recorder = LayerRecorder(X, y, every=5)
    >>> history = xpnet.MLP(2, [8], 2).fit(X, y, loss=xpnet.CrossEntropy(), epochs=10,
    ...     optimizer=xpnet.SGD(lr=0.1), callbacks=[recorder], progress=False)
    >>> list(recorder.reports)
    [5, 10]
    """

    def __init__(self, X: Array, y: Any = None, *, every: int = 1, **settings: Any) -> None:
        require_count(every, "every")
        check_features(as_array(X))
        self.X, self.y, self.every, self.settings = X, y, every, settings
        self.reports: dict[int, InspectionReport] = {}

    def __call__(self, run: Run) -> None:
        """Record a report if the epoch is a multiple of ``every``."""
        if run.epoch == 1:
            self.reports = {}
        if run.epoch % self.every == 0:
            self.reports[run.epoch] = inspect_layers(run.model, self.X, self.y, **self.settings)


@dataclass
class _Places:
    """Where the meter holds what was measured, a place a layer."""

    outputs: list[slice]
    spreads: list[slice]
    saturated: list[slice | None]
    dead: list[slice]
    gradients: list[slice]
    weights: list[slice | None]
    loss: slice | None = None


def _measure(
    model: Sequential,
    X: Array,
    y: Any,
    loss: Loss | None,
    training: bool,
    saturation: float,
    meter: Meter,
) -> _Places:
    """The passes, forward and, with targets, backward."""
    network, backend, places = model.network, model.backend, _Places([], [], [], [], [], [])
    contexts = network.contexts(
        backend, model.statistics, training=training, update_statistics=False
    )
    p = network.by_layer(model.theta)
    x, tapes, xp = model.input_spec.network_inputs(X), [], backend.xp
    for layer, views, context in zip(model.layers, p, contexts, strict=True):
        out, tape = layer.forward(views, x, context)
        tapes.append(tape)
        flat = saturated(layer, views, context.ops, x, out, saturation)
        places.saturated.append(None if flat is None else meter.numbers(_share_of(xp, flat)))
        places.dead.append(meter.numbers(_share_of(xp, xp.all(out == 0.0, axis=0))))
        places.outputs.append(meter.distribution(out))
        places.spreads.append(meter.spread(out))
        x = out
    if y is None or loss is None:
        return places
    value, dy = loss.value_and_grad(x, backend.asarray(y))
    places.loss = meter.numbers(value)
    g = network.by_layer(backend.zeros(model.layout.size))
    for index in reversed(range(len(model.layers))):
        places.gradients.insert(0, meter.distribution(dy))
        dy = model.layers[index].backward(p[index], g[index], tapes[index], dy, contexts[index])
        weight = g[index].get("weight")
        places.weights.insert(0, None if weight is None else meter.distribution(weight))
    return places


def _share_of(xp: Any, where: Array) -> Array:
    return xp.mean(xp.astype(where, xp.float64))


def _report(model: Sequential, n_rows: int, places: _Places, meter: Meter) -> InspectionReport:
    layers = []
    for i, layer in enumerate(model.layers):
        flat, weight = places.saturated[i], places.weights[i] if places.weights else None
        layers.append(
            LayerReport(
                name=f"{i} {_brief(layer)}",
                n_out=model.network.widths[i],
                output=meter.read_distribution(places.outputs[i]),
                spread=float(meter.read(places.spreads[i])[0]),
                saturated=None if flat is None else float(meter.read(flat)[0]),
                dead=float(meter.read(places.dead[i])[0]),
                gradient=meter.read_distribution(places.gradients[i]) if places.loss else None,
                weight_gradient=None if weight is None else meter.read_distribution(weight),
            )
        )
    loss = None if places.loss is None else float(meter.read(places.loss)[0])
    return InspectionReport(tuple(layers), n_rows, loss)


def _brief(layer: Layer) -> str:
    """A layer in a few words."""
    kind, function = type(layer).__name__, function_of(layer)
    if isinstance(layer, Dense):
        phi = "" if isinstance(function, Identity) else f", {type(function).__name__}"
        return f"{kind}({layer.n_out}{phi})"
    if isinstance(layer, Dropout):
        return f"{kind}({layer.p:g})"
    return kind if function is None else f"{kind}({type(function).__name__})"
