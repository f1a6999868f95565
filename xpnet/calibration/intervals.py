"""Conformal prediction intervals of a regression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet.backend import Array, Backend, HostArray, as_array, namespace_of, on_device_of, to_numpy
from xpnet.calibration.quantile import conformal_quantile, exact_level
from xpnet.data.prepare import prepare, prepare_features
from xpnet.engine.prediction import prediction_of
from xpnet.errors import Phrase, plain_number, require, require_count, require_number, require_type
from xpnet.losses import GaussianNLL, QuantileLoss
from xpnet.losses.base import require_finite
from xpnet.model import Sequential


@dataclass(frozen=True)
class ConformalIntervals:
    """Intervals that contain the target of a new row with a probability of ``level``.

    They are ``prediction ± radius``; for a model with the loss `GaussianNLL`
    ``prediction ± radius · σ`` with the predicted standard deviation σ of the row.
    `conformal_intervals` computes the radius. It belongs to the model as it was then: a model that
    is trained further needs a new one. The numbers are saved beside the model::

        model.save("model.safetensors")
        xpnet.save_state_dict(intervals.state_dict(), "intervals.safetensors")

        state = xpnet.load_state_dict("intervals.safetensors")
        intervals = ConformalIntervals(xpnet.load("model.safetensors"), **state)

    Attributes:
        model: the regression.
        radius: a number of at least 0 for each target column, in the units of the targets, or in
            standard deviations for `GaussianNLL`.
        level: the probability with which the interval of one target contains it.
        n_rows: the number of calibration rows.
    """

    model: Sequential
    radius: Sequence[float]
    level: float
    n_rows: int

    def __post_init__(self) -> None:
        _require_regression(self.model)
        k = _n_targets(self.model)
        ok = isinstance(self.radius, (tuple, list)) and len(self.radius) == k
        require(ok, "radius", f"hold a number for each of {k} target columns", self.radius)
        object.__setattr__(self, "radius", tuple(map(plain_number, self.radius)))
        for number in self.radius:
            require_number(number, "a radius", low=0)
        exact_level(self.level)
        require_count(self.n_rows, "n_rows")

    @property
    def backend(self) -> Backend:
        """The backend of the model."""
        return self.model.backend

    @on_device_of("self")
    def predict(self, X: Array) -> Array:
        """The lower and upper end of the interval of each target.

        Args:
            X: raw features ``(m, n_in)``.

        Returns:
            A float64 array on the backend of the model, of the shape of ``model.predict(X)`` with
            one more axis of length 2: ``(m, 2)`` or ``(m, k, 2)``.

        Raises:
            ArgumentError: if ``X`` does not fit the model.
        """
        output = prediction_of(self.model.state)(*prepare_features(self.model.input_spec, X))
        center, scale = _center_and_scale(self.model, output)
        xp, radius = self.backend.xp, self.backend.asarray(np.asarray(self.radius), center.dtype)
        half = radius if scale is None else radius * scale
        return xp.stack([center - half, center + half], axis=-1)

    def coverage(self, X: Array, y: Array) -> float | HostArray:
        """The fraction of targets within their interval.

        Args:
            X: raw features ``(m, n_in)``.
            y: the targets, in the units and with the columns of those of `conformal_intervals`.

        Returns:
            A float for one target column, else an array ``(k,)``, the fraction of each column.

        Raises:
            ArgumentError: if an argument does not fit the model.
        """
        ends, y = to_numpy(self.predict(X)), as_array(y, "y")
        require_finite(y)
        target = to_numpy(y)
        rule = "have a target for each prediction"
        require(target.size == ends.size // 2, "y", rule, target)
        require(target.dtype.kind in "fiub", "y", "hold real numbers", target)
        target = target.reshape(ends.shape[:-1])
        inside = (ends[..., 0] <= target) & (target <= ends[..., 1])
        return _of_columns(inside.reshape(target.shape[0], -1).mean(axis=0))

    def mean_width(self, X: Array) -> float | HostArray:
        """The mean width of the intervals of ``X``: a float, or one for each column, ``(k,)``."""
        ends = to_numpy(self.predict(X))
        width = (ends[..., 1] - ends[..., 0]).reshape(ends.shape[0], -1)
        return _of_columns(width.mean(axis=0))

    def state_dict(self) -> dict[str, Any]:
        """The numbers ``radius``, ``level`` and ``n_rows``, by name."""
        return {"radius": list(self.radius), "level": self.level, "n_rows": self.n_rows}


@on_device_of("model")
def conformal_intervals(
    model: Sequential, X: Array, y: Array, *, level: float = 0.9
) -> ConformalIntervals:
    """Split-conformal prediction: intervals with a given coverage, from calibration rows.

    The radius is `conformal_quantile` of the residuals ``|y_i − prediction_i|`` of the calibration
    rows; for a model with the loss `GaussianNLL`, of ``|y_i − μ_i|/σ_i``, so that the intervals are
    wide where the model predicts a large variance. If a new row and these are exchangeable, such as
    independent draws from one distribution, its interval contains its target with a probability of
    at least ``level``, and below ``level + 1/(m + 1)`` if no two residuals are equal. This holds
    for any model, if it was not trained on these rows, nor selected by them. The probability is the
    mean over draws of the calibration rows and of the new row; it is not that of rows of one kind.
    Weights of rows are not supported.

    Each column of several targets has a radius of its own, and ``level`` is the probability of one
    column. All k intervals of a row contain their targets together with a lower probability, but at
    least ``1 − k (1 − level)``: for a joint probability p take ``1 − (1 − p)/k`` (Bonferroni).

    Args:
        model: a model with a loss of values, such as `HalfMSE` or `GaussianNLL`.
        X: raw features of the calibration rows, ``(m, n_in)``.
        y: their targets, in the units and the shape of those of the training.
        level: the probability, in (0, 1); default 0.9. It needs ``m ≥ level/(1 − level)`` rows, and
            about 1000 for a coverage near it in a single draw.

    Returns:
        The model with the radius of each column.

    Raises:
        ArgumentError: if an argument breaks its rule, there are too few rows for the level, or a
            residual is not finite.

    Reference: J. Lei, M. G'Sell, A. Rinaldo, R. Tibshirani, L. Wasserman, "Distribution-Free
    Predictive Inference for Regression", JASA 113, 2018, algorithm 2 and section 5.2.

    >>> from xpnet import Dense, HalfMSE
    >>> model = Sequential([Dense(1)], n_in=1, loss=HalfMSE(), dtype="float64")
    >>> model.theta = [1.0, 0.0]  # it predicts x
    >>> intervals = conformal_intervals(model, [[0], [1], [2], [3]], [1, 3, 5, 7], level=0.7)
    >>> intervals.radius, intervals.predict([[5]]).tolist()
    ((4.0,), [[[1.0, 9.0]]])
    """
    exact_level(level)
    _require_regression(model)
    data = prepare(model.input_spec, X, y, model.loss).data  # type: ignore[arg-type]
    center, scale = _center_and_scale(model, prediction_of(model.state)(*data.features))
    xp = model.backend.xp
    target = xp.reshape(xp.astype(data.metric_targets, xp.float64), center.shape)
    residuals = xp.abs(target - center)
    if scale is not None:
        residuals = residuals / scale
    columns = to_numpy(residuals).reshape(data.n_rows, -1)
    bad = ~np.isfinite(columns).all(axis=1)
    got = Phrase(f"one that is not finite in row {int(bad.argmax())}")
    require(not bad.any(), "model", "have finite residuals", got)
    radius = tuple(conformal_quantile(column, level) for column in columns.T)
    return ConformalIntervals(model, radius, float(level), data.n_rows)


def _require_regression(model: Sequential) -> None:
    """Refuse what is no model, or one with a loss that is no regression."""
    require_type(model, Sequential, "model")
    ok = model.loss is not None and model.loss.target_kind == "values"
    do = "Classifiers have conformal_sets."
    if model.loss is None:
        do = "Call fit first, or give loss= when building the model."
    require(ok, "the loss of model", "be one of values, such as HalfMSE", model.loss, do)
    one = not (isinstance(model.loss, QuantileLoss) and len(model.loss.quantiles) > 1)
    require(one, "the loss of model", "predict one number for each target", model.loss)


def _n_targets(model: Sequential) -> int:
    """Return the number of target columns."""
    assert model.loss is not None
    return model.loss.target_columns(model.n_out)


def _center_and_scale(model: Sequential, output: Array) -> tuple[Array, Array | None]:
    """Return predictions, and σ of a `GaussianNLL` or ``None``; float64 in units of the targets."""
    xp, spec = namespace_of(output), model.input_spec
    center = xp.astype(spec.predictions(output, model.loss), xp.float64)  # type: ignore[arg-type]
    if not isinstance(model.loss, GaussianNLL):
        return center, None
    std = xp.exp(0.5 * xp.astype(output[:, model.n_out // 2 :], xp.float64))
    if model.target_scaling is not None:
        std = std * model.backend.asarray(model.target_scaling.std, std.dtype)
    return center, xp.reshape(std, center.shape)


def _of_columns(values: HostArray) -> float | HostArray:
    """Return a float for one column, else the array."""
    return float(values[0]) if values.size == 1 else values
