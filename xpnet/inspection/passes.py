"""Forward and backward passes that measure every output and gradient."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from xpnet.activations import Identity
from xpnet.backend import Array, as_array, on_device_of
from xpnet.data.checks import check_features
from xpnet.data.prepare import as_features
from xpnet.data.targets import encode_targets
from xpnet.errors import require, require_count, require_number, require_type
from xpnet.inspection.meter import Meter
from xpnet.inspection.report import InspectionReport, LayerReport, report_of
from xpnet.inspection.saturation import function_of, saturated
from xpnet.layers import Dense, Dropout, Layer, Temperature
from xpnet.losses import Loss
from xpnet.model import Sequential
from xpnet.state_dict import StateDict
from xpnet.training.callbacks import Run

SATURATION = 0.04
"""The default threshold of saturation, relative to the largest derivative: 4 %, which is an output
within 0.0101 of 0 or 1 for the sigmoid, and within 0.0202 of -1 or 1 for tanh."""


@on_device_of("model")
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
    """Measure the distribution of the output of every layer and, with targets, of its gradient.

    One forward and one backward pass over all rows together, which keeps the arrays of all layers;
    a thousand rows suffice. The model and its running statistics are not changed.

    Args:
        model: the model, before, during or after training.
        X: the features, ``(m, n_in)``, to which the preprocessing of the model is applied.
        y: the targets, one per row, which are scaled like those of `Sequential.fit`. Default
            ``None``: no gradients.
        loss: the loss of the gradients. Default: that of the model.
        training: whether batch norm uses the statistics of these rows and dropout is active, as in
            a training step. Default True.
        bins: the number of bins of a histogram, at least 1. Default 50.
        saturation: the derivative below which a unit is saturated, relative to the largest
            derivative, in ``[0, 1)``. Default 0.04, an output of a sigmoid within 0.0101 of 0 or 1.

    Returns:
        The report, with its numbers on the host.

    Raises:
        ArgumentError: if the data do not fit the model, or for targets without a loss or with an
            activation that has no derivative.

    Reference: X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward
    neural networks", AISTATS 2010, figures 2 to 7.

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
        y = model.input_spec.loss_targets(y, loss)  # type: ignore[arg-type]
    meter = Meter(model.backend.xp, bins)
    with np.errstate(all="ignore"):  # the report counts what is not finite
        spans = _measure(model, X, y, loss, training, saturation, meter)
    return _report(model, X.shape[0], spans, meter)


class LayerRecorder:
    """A callback that inspects the layers every few epochs.

    Call `inspect_layers` before `fit` for the report of the initial weights.

    Args:
        X: the features, ``(m, n_in)``, as for `fit`.
        y: the targets, for the gradients. Default ``None``.
        every: the number of epochs between two reports, at least 1. Default 1.
        **settings: further arguments of `inspect_layers`.

    Attributes:
        reports: the `InspectionReport` of each inspected epoch, by epoch.

    Raises:
        ArgumentError: if ``X`` does not hold finite numbers, or ``every`` is out of its range;
            before the first step, if the arguments of `inspect_layers` do not fit the model.

    >>> import xpnet
    >>> X, y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0]
    >>> recorder = LayerRecorder(X, y, every=5)
    >>> history = xpnet.MLP(2, [8], 2).fit(X, y, loss=xpnet.CrossEntropy(), epochs=10,
    ...     optimizer=xpnet.SGD(lr=0.1), callbacks=[recorder], progress=False)
    >>> list(recorder.reports)
    [5, 10]
    """

    columns: ClassVar[tuple[str, ...]] = ()

    def __init__(self, X: Array, y: Any = None, *, every: int = 1, **settings: Any) -> None:
        require_count(every, "every")
        check_features(as_array(X, "X"))
        self.X, self.y, self.every, self.settings = X, y, every, settings
        self.reports: dict[int, InspectionReport] = {}

    def begin(self, run: Run) -> None:
        """Refuse arguments that do not fit the model."""
        inspect_layers(run.model, self.X, self.y, **self.settings)
        self.reports = {}

    def state_dict(self) -> StateDict:
        """The reports, by the text of their epoch."""
        return {str(epoch): asdict(report) for epoch, report in self.reports.items()}

    def load_state_dict(self, state: StateDict) -> None:
        """Set what `state_dict` returned; after `begin`."""
        self.reports = {int(epoch): report_of(report) for epoch, report in state.items()}

    def epoch(self, run: Run) -> None:
        """Record a report if the epoch is a multiple of ``every``."""
        if run.epoch % self.every == 0:
            self.reports[run.epoch] = inspect_layers(run.model, self.X, self.y, **self.settings)


@dataclass
class _Spans:
    """The spans of the measurements in the meter, one for each layer."""

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
) -> _Spans:
    """Run the forward pass and, with targets, the backward pass."""
    network, backend, spans = model.network, model.backend, _Spans([], [], [], [], [], [])
    contexts = network.contexts(
        backend, model.statistics, training=training, update_statistics=False
    )
    p = network.by_layer(model.theta)
    x, tapes, xp = model.input_spec.network_inputs(X), [], backend.xp
    for layer, views, context in zip(model.layers, p, contexts, strict=True):
        out, tape = layer.forward(views, x, context)
        tapes.append(tape)
        flat = saturated(layer, views, context.ops, x, out, saturation)
        spans.saturated.append(None if flat is None else meter.numbers(_fraction(xp, flat)))
        spans.dead.append(meter.numbers(_fraction(xp, xp.all(out == 0.0, axis=0))))
        spans.outputs.append(meter.distribution(out))
        spans.spreads.append(meter.spread(out))
        x = out
    if y is None or loss is None:
        return spans
    value, dy = loss.value_and_grad(x, backend.asarray(y))
    spans.loss = meter.numbers(value)
    g = network.by_layer(backend.zeros(model.layout.size))
    for index in reversed(range(len(model.layers))):
        spans.gradients.insert(0, meter.distribution(dy))
        dy = model.layers[index].backward(p[index], g[index], tapes[index], dy, contexts[index])
        weight = g[index].get("weight")
        spans.weights.insert(0, None if weight is None else meter.distribution(weight))
    return spans


def _fraction(xp: Any, where: Array) -> Array:
    """Return the fraction of ``where`` that is true."""
    return xp.mean(xp.astype(where, xp.float64))


def _report(model: Sequential, n_rows: int, spans: _Spans, meter: Meter) -> InspectionReport:
    """Read the measurements from the meter."""
    layers = []
    for i, layer in enumerate(model.layers):
        flat, weight = spans.saturated[i], spans.weights[i] if spans.weights else None
        layers.append(
            LayerReport(
                name=f"{i} {_brief(layer)}",
                n_out=model.network.widths[i],
                output=meter.read_distribution(spans.outputs[i]),
                spread=float(meter.read(spans.spreads[i])[0]),
                saturated=None if flat is None else float(meter.read(flat)[0]),
                dead=float(meter.read(spans.dead[i])[0]),
                gradient=meter.read_distribution(spans.gradients[i]) if spans.loss else None,
                weight_gradient=None if weight is None else meter.read_distribution(weight),
            )
        )
    loss = None if spans.loss is None else float(meter.read(spans.loss)[0])
    return InspectionReport(tuple(layers), n_rows, loss)


def _brief(layer: Layer) -> str:
    """Return a short description of a layer."""
    kind, function = type(layer).__name__, function_of(layer)
    if isinstance(layer, Dense):
        phi = "" if isinstance(function, Identity) else f", {type(function).__name__}"
        return f"{kind}({layer.n_out}{phi})"
    if isinstance(layer, Dropout):
        return f"{kind}({layer.p:g})"
    if isinstance(layer, Temperature):
        return f"{kind}({layer.temperature:g})"
    return kind if function is None else f"{kind}({type(function).__name__})"
