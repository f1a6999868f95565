"""Standardization of the targets of a regression, and the warning where targets need it."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.backend import Array, HostArray, namespace_of, to_numpy
from xpnet.data.preprocessing import Standardize, TargetSpec, are_constant, takes_scaled_targets
from xpnet.errors import require, warn_caller
from xpnet.losses import Loss

LARGE = 100.0
"""Means and standard deviations above this number are far from the scale of a fresh network.

The outputs of a fresh network are about 1, and an optimizer with steps of about 1e-3, the default
of Adam, takes 1e5 of them to move an output bias by this number.
"""

SMALL = 1e-3
"""Standard deviations below this number are far from the scale of a fresh network.

The errors of a fresh network are about 1, hence R² is about −1e6 before the training, and every
step of about 1e-3 changes the predictions by more than the targets vary.
"""

ROUNDING = 1e-12
"""No warning is given of a standard deviation below this multiple of the mean."""

MAX_EXPONENT = 400
"""Squares of numbers between 2^-400 and 2^400 do not leave the range of float64."""


def check_target_scaling(target_scaling: Any, loss: Loss, targets: TargetSpec) -> None:
    """Validate the argument ``target_scaling`` of `Sequential.fit`.

    Raises:
        ArgumentError: if it is neither ``None`` nor ``"standardize"``, the loss does not take
            scaled targets, or the model was trained on targets that are not scaled.
    """
    known = target_scaling is None or (
        isinstance(target_scaling, str) and target_scaling == "standardize"
    )
    do = "Assign a scaling that is fitted already to model.target_scaling."
    do = do if isinstance(target_scaling, Standardize) else ""
    require(known, "target_scaling", "be 'standardize' or None", target_scaling, do)
    rule = f"be None for {type(loss).__name__}, which does not take shifted and scaled targets"
    ok = target_scaling is None or takes_scaled_targets(loss)
    require(ok, "target_scaling", rule, target_scaling)
    was_scaled = targets.ndim is None or targets.scaling is not None
    rule = "be None for a model that was trained on targets in their own units"
    ok = target_scaling is None or was_scaled
    require(ok, "target_scaling", rule, target_scaling, "Train a new model with it.")


def standardization_of(y: Array, n_out: int, weight: Array | None = None) -> Standardize:
    """Return the mean and the standard deviation of each column of targets, in float64.

    Args:
        y: valid targets, ``(m,)`` or ``(m, k)``, in their own precision, on any backend.
        n_out: the number of outputs.
        weight: weights of the rows, ``(m,)``; rows of weight 0 are left out, all others count
            alike. ``None`` (default): every row counts.

    Returns:
        A scaling of k columns, like the result of `as_target_scaling`.

    Raises:
        ArgumentError: if the network does not have an output for each column.

    >>> standardization_of(np.array([[1.0, 5.0], [3.0, 5.0]]), 2)
    Standardize(mean=array([2., 5.]), std=array([1., 1.]))
    """
    if weight is not None:
        xp, rows = namespace_of(y), np.flatnonzero(to_numpy(weight) > 0)
        y = xp.take(y, xp.asarray(rows, device=y.device), axis=0)
    return as_target_scaling(Standardize(*_moments(y)), n_out)


def as_target_scaling(scaling: Any, n_out: int) -> Standardize:
    """Return a scaling of the targets of a model, after validating it.

    Args:
        scaling: a fitted `Standardize`.
        n_out: the number of outputs; `GaussianNLL` has two for each column of the targets,
            `QuantileLoss` one for each quantile.

    Returns:
        The scaling, with a standard deviation of 1 for each constant column.

    Raises:
        ArgumentError: if it is not a `Standardize` of as many columns as the targets have.
    """
    do = "Write Standardize.fit(y[:, None]), or fit(..., target_scaling='standardize')."
    ok = isinstance(scaling, Standardize)
    require(ok, "target_scaling", "be a fitted Standardize or None", scaling, do)
    rule = f"have one column for each target of a network with {n_out} outputs"
    ok = scaling.mean.size > 0 and n_out % scaling.mean.size == 0
    require(ok, "target_scaling", rule, scaling.mean)
    return Standardize(scaling.mean, np.where(scaling.std > 0, scaling.std, 1.0))


def target_spec(known: TargetSpec, y: Array, loss: Loss, *, training: bool) -> TargetSpec:
    """Return the units and the shape of the targets ``y``.

    Args:
        known: those of the model.
        y: valid targets.
        loss: the loss; only regressions have units and a shape.
        training: whether the model is trained on ``y``, so that predictions get its shape.

    Returns:
        The scaling of the model, and the number of dimensions of ``y`` if ``training`` is true or
        the model has none.
    """
    if loss.target_kind != "values":
        return TargetSpec()
    scaling = known.scaling if loss.scalable else None
    return TargetSpec(scaling, y.ndim if training or known.ndim is None else known.ndim)


def warn_of_scale(y: Array) -> None:
    """Warn of targets with which a fresh network cannot be expected to train well.

    Args:
        y: valid targets that are not scaled, ``(m,)`` or ``(m, k)``.
    """
    mean, std = _moments(y)
    is_small = (std < SMALL) & (std > ROUNDING * np.abs(mean))
    is_far = (np.maximum(np.abs(mean), std) > LARGE) | is_small
    if not is_far.any():
        return
    column = int(is_far.argmax())
    which = f"column {column} of y" if y.ndim == 2 else "y"
    others = f" ({int(is_far.sum())} of {is_far.size} columns are)" if is_far.size > 1 else ""
    warn_caller(
        f"the targets are far from the scale of a fresh network, with outputs of about 1: {which} "
        f"has the mean {mean[column]:.4g} and the standard deviation {std[column]:.4g}{others}. "
        'Train a new model with target_scaling="standardize"; its predictions still have the units '
        "of y."
    )


def _moments(y: Array) -> tuple[HostArray, HostArray]:
    """Return the mean and the standard deviation of each column, without overflow of squares."""
    xp = namespace_of(y)
    y = y if y.ndim == 2 else xp.reshape(y, (-1, 1))
    columns = xp.astype(y, xp.float64)
    largest = to_numpy(xp.max(xp.abs(columns), axis=0))
    exponent = np.frexp(largest)[1]
    exponent = np.where(np.abs(exponent) > MAX_EXPONENT, np.clip(exponent, -1000, 1000), 0)
    if exponent.any():
        factor = xp.asarray(np.ldexp(1.0, -exponent).tolist(), dtype=xp.float64, device=y.device)
        columns = columns * factor
    fitted = Standardize.fit(columns)
    std = np.where(are_constant(y), 0.0, fitted.std)  # by the rounding of the dtype of y
    return np.ldexp(fitted.mean, exponent), np.ldexp(std, exponent)
