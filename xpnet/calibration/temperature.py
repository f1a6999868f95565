"""Temperature scaling: one number that makes the probabilities of a trained classifier honest."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.backend import Array, HostArray, on_device_of, to_numpy
from xpnet.calibration.classifiers import likelihood_of
from xpnet.data.prepare import prepare
from xpnet.engine.prediction import prediction_of
from xpnet.errors import ArgumentError, Phrase, require
from xpnet.finite import are_finite, row_chunks
from xpnet.layers import Temperature
from xpnet.losses import BinaryCrossEntropy
from xpnet.model import Sequential

LOW, HIGH = 1e-3, 1e3
"""The range of the fitted temperature, relative to the outputs of the model."""

TOLERANCE = 1e-12
"""The search ends when log T changes by less."""

MAX_STEPS = 200
"""An upper bound of the number of steps; bisection alone needs 45, Newton's method about 6."""

Slopes = Callable[[float], tuple[float, float]]
"""The first and second derivative of the mean negative log-likelihood with respect to 1/T."""


@on_device_of("model")
def temperature_scaled(
    model: Sequential, X: Array, y: Array, *, sample_weight: Array | None = None
) -> Sequential:
    """Return a copy of a classifier with the most likely `Temperature` as its last layer.

    ``T`` minimizes the mean negative log-likelihood ``Σ w_i ℓ(z_i/T, y_i) / Σ w_i`` of rows that
    the model has not been trained on, with the logits ``z``. It changes how confident the model is,
    but no decision. The function is convex in 1/T and has one minimum, which Newton's method finds
    on the host in float64; the logits are transferred once. The model is evaluated once.

    A model that ends with a `Temperature` gets another one instead: the product of the old and the
    fitted temperature, so calibrating twice on the same rows changes nothing.

    Args:
        model: a classifier with the loss `CrossEntropy`, `BinaryCrossEntropy` (of one or several
            outputs, with one T) or `Distillation`; not changed. Label smoothing and soft targets
            of a teacher do not enter the likelihood.
        X: raw features of validation rows, ``(m, n_in)``.
        y: their classes, as in `Sequential.fit`: names, indices or probabilities.
        sample_weight: a weight for each row, at least 0; default 1.

    Returns:
        A new model on the same backend, with copies of the vectors, scalings, classes, history and
        random streams. `Sequential.save` stores the layer with the model.

    Raises:
        ArgumentError: if an argument breaks its rule, or the fitted T would be outside of 1e-3 to
            1e3. Below are rows that the model classifies without an error, or nearly, for which the
            likelihood grows as T falls to 0; above, logits that say nothing about the classes.

    Reference: C. Guo, G. Pleiss, Y. Sun, K. Weinberger, "On Calibration of Modern Neural Networks",
    ICML 2017, section 4.2.

    >>> from xpnet import CrossEntropy, Dense
    >>> model = Sequential([Dense(2, bias=False)], n_in=2, loss=CrossEntropy(), dtype="float64")
    >>> model.theta = [3.0, 0.0, 0.0, 3.0]  # z = 3x
    >>> X, y = [[1, 0]] * 4, [0, 0, 0, 1]  # three of four are right: p = 3/4
    >>> calibrated = temperature_scaled(model, X, y)
    >>> round(calibrated.layers[-1].temperature * math.log(3), 9)  # z/T = log 3
    3.0
    >>> calibrated.predict_proba(X)[0].round(6).tolist()
    [0.75, 0.25]
    """
    loss = likelihood_of(model)
    data = prepare(
        model.input_spec,
        X,
        y,
        loss,
        classes=model.classes,
        sample_weight=sample_weight,
        name_from_one=not model.trained,
    ).data
    logits = to_numpy(prediction_of(model.state)(*data.features))
    rule = "predict finite logits for X"
    require(are_finite(logits), "model", rule, Phrase("NaN or infinity"))
    weight = None if data.weight is None else to_numpy(data.weight).astype(np.float64)
    slopes = _slopes_of(isinstance(loss, BinaryCrossEntropy), logits, to_numpy(data.y), weight)
    return _with_temperature(model, _minimizer(slopes))


def _with_temperature(model: Sequential, temperature: float) -> Sequential:
    """Return a copy of ``model`` that ends with a layer `Temperature`."""
    layers, last = model.layers, model.layers[-1]
    if isinstance(last, Temperature):
        layers, temperature = layers[:-1], temperature * last.temperature
    scaled = Sequential(
        [*layers, Temperature(temperature)],
        model.n_in,
        backend=model.backend,
        loss=model.loss,
        preprocessing=model.preprocessing,
        classes=model.classes,
    )
    scaled.state.theta[...] = model.theta
    scaled.state.statistics[...] = model.statistics
    streams = model.state.streams
    scaled.state.streams.restart(streams.seed, streams.orders, streams.masks.step)
    scaled.input_spec, scaled.trained = model.input_spec, model.trained
    scaled.history = copy.deepcopy(model.history)
    return scaled


def _minimizer(slopes: Slopes) -> float:
    """Return the temperature at which the first slope is 0.

    Newton's method for ``u = log(1/T)``, with bisection where a step leaves the bracket.

    Raises:
        ArgumentError: if there is none in the range.
    """
    low, high = math.log(1.0 / HIGH), math.log(1.0 / LOW)
    if slopes(math.exp(high))[0] <= 0.0:
        raise ArgumentError(
            "y must have rows that the model does not classify with certainty: the likelihood "
            f"grows as the temperature falls below {LOW:g}. Give more rows, or rows that the model "
            "was not trained on."
        )
    if slopes(math.exp(low))[0] >= 0.0:
        raise ArgumentError(
            "y must have larger logits in its classes than in others, on average: the likelihood "
            f"grows as the temperature rises above {HIGH:g}. Check the order of the classes, and "
            "train the model."
        )
    u = 0.0
    for _ in range(MAX_STEPS):
        beta = math.exp(u)
        slope, curvature = slopes(beta)
        low, high = (low, u) if slope > 0.0 else (u, high)
        new = u - slope / (beta * curvature) if curvature > 0.0 else math.inf
        if not low < new < high:
            new = 0.5 * (low + high)
        step, u = abs(new - u), new
        if step <= TOLERANCE:
            break
    return math.exp(-u)


def _slopes_of(binary: bool, z: HostArray, t: HostArray, weight: HostArray | None) -> Slopes:
    """Return the function of 1/T that sums the slopes of all rows, in float64, chunk by chunk."""
    of_rows = _logistic_slopes if binary else _softmax_slopes
    if binary:
        t = t.reshape(z.shape)
    total = float(z.shape[0]) if weight is None else float(weight.sum())

    def slopes(beta: float) -> tuple[float, float]:
        sums = np.zeros(2)
        for start, rows in row_chunks(z):
            part = slice(start, start + rows.shape[0])
            found = np.stack(of_rows(beta, rows.astype(np.float64), t[part]))
            sums += found.sum(axis=1) if weight is None else found @ weight[part]
        return float(sums[0]) / total, float(sums[1]) / total

    return slopes


def _softmax_slopes(beta: float, z: HostArray, t: HostArray) -> tuple[Any, Any]:
    """Return ``Σ_k t_k (E[z] − z_k)`` and ``Σ_k t_k Var[z]`` of each row, under softmax(βz)."""
    z = z - z.max(axis=1, keepdims=True)
    p = np.exp(beta * z)
    p /= p.sum(axis=1, keepdims=True)
    mean = (p * z).sum(axis=1)
    variance = (p * (z - mean[:, None]) ** 2).sum(axis=1)
    if t.ndim == 1:
        return mean - z[np.arange(z.shape[0]), t], variance
    t = t.astype(np.float64)
    share = t.sum(axis=1)
    return share * mean - (t * z).sum(axis=1), share * variance


def _logistic_slopes(beta: float, z: HostArray, t: HostArray) -> tuple[Any, Any]:
    """Return ``Σ_k (σ(βz_k) − t_k) z_k`` and ``Σ_k σ(1 − σ) z_k²`` of each row."""
    t = t.astype(np.float64)
    e = np.exp(-beta * np.abs(z))  # σ(|x|) = 1/(1 + e), without overflow or cancellation
    toward_zero = e / (1.0 + e)  # 1 − σ(β|z|)
    # (σ(z) − t) z = |z| (σ(|z|) − t') with t' = t for z ≥ 0, else 1 − t
    t = np.where(z >= 0.0, 1.0 - t, t)  # the probability that the target is on the other side
    slope = np.abs(z) * (t - toward_zero)
    curvature = z * z * toward_zero / (1.0 + e)
    return slope.sum(axis=1), curvature.sum(axis=1)
