"""Scaling of features and targets, and the conversion of raw features to network inputs.

A scaling is an immutable object that is fitted on training data and independent of the backend.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from xpnet.backend import (
    Array,
    Backend,
    HostArray,
    as_array,
    backend_of,
    is_kind,
    is_real,
    namespace_of,
    to_numpy,
)
from xpnet.data.checks import check_features
from xpnet.errors import Phrase, dtype_name, require, require_number
from xpnet.finite import row_chunks
from xpnet.losses import Loss


@dataclass(frozen=True, eq=False)
class Standardize:
    """Standardization of each column to mean 0 and standard deviation 1: ``(X − mean) / std``.

    A column that is constant in the training data, ``std = 0``, is mapped to 0 for all data: the
    network has not been trained on other values. So is a column that differs by rounding only: its
    range is at most 2 units in the last place (ulp) of the largest magnitude, in its dtype.

    Attributes:
        mean: float64 of shape (n,), or one number for all columns.
        std: the population standard deviation ``√(Σ (x − mean)² / m)``, of the shape of ``mean``,
            at least 0.

    Raises:
        ArgumentError: if ``mean`` and ``std`` differ in shape or are not finite, or ``std`` is
            negative.

    >>> X = np.array([[1.0, 5.0], [3.0, 5.0]])
    >>> scaling = Standardize.fit(X)
    >>> scaling.apply(X).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    >>> scaling.invert(scaling.apply(X)).tolist()
    [[1.0, 5.0], [3.0, 5.0]]
    """

    mean: HostArray
    std: HostArray

    def __post_init__(self) -> None:
        _freeze(self, "mean", "std")
        require(np.all(self.std >= 0), "std", "be at least 0", self.std)

    @classmethod
    def fit(cls, X: Array) -> Self:
        """Compute the mean and standard deviation of each column of the training data ``X``.

        The statistics of chunks of rows are merged, so that ``X`` may be a `numpy.memmap` larger
        than memory. This avoids the cancellation of ``E x² − (E x)²``.

        Args:
            X: training data of shape (m, n), an array of any backend.

        Returns:
            The fitted scaling.

        Raises:
            ArgumentError: if ``X`` does not hold finite real numbers, shape (m, n), or its
                variance overflows.

        Reference: T. Chan, G. Golub, R. LeVeque, "Updating Formulae and a Pairwise Algorithm for
        Computing Sample Variances", 1979.
        """
        X = as_array(X, "X")
        check_features(X)
        xp = namespace_of(X)
        n_seen, mean, squares = 0, np.zeros(X.shape[1]), np.zeros(X.shape[1])
        with np.errstate(over="ignore", invalid="ignore"):  # std is validated below
            for _, rows in row_chunks(X):
                part = xp.astype(rows, xp.float64)
                m = part.shape[0]
                part_mean = xp.mean(part, axis=0)
                part_squares = xp.sum((part - part_mean) ** 2, axis=0)
                gap = to_numpy(part_mean) - mean
                mean = mean + gap * (m / (n_seen + m))
                squares = squares + to_numpy(part_squares) + gap**2 * (n_seen * m / (n_seen + m))
                n_seen += m
        low, high = _limits(X)
        std = np.where(_are_constant(X, low, high), 0.0, np.sqrt(squares / n_seen))
        column = int(np.isfinite(std).argmin())
        got = Phrase(f"numbers up to {max(-low[column], high[column]):.3g} in column {column}")
        rule = "have squares within the range of float64, except in constant columns"
        require(np.isfinite(std).all(), "X", rule, got, "Divide the column by a constant first.")
        return cls(np.clip(mean, low, high), std)  # the rounded mean of a constant may differ

    def apply(self, X: Array) -> Array:
        """Return ``(X − mean) / std``, a new array on the backend of ``X``.

        Args:
            X: real numbers of shape (m, n), or of any shape if ``mean`` is one number. Integers
                of up to 16 bits are converted to float32, larger ones to float64.

        Returns:
            A floating-point array of the shape of ``X``.

        Raises:
            ArgumentError: if ``X`` does not have n columns, or does not hold real numbers.
        """
        return _scale(X, *self._coefficients())

    def invert(self, Z: Array) -> Array:
        """Return ``Z · std + mean``, the inverse of `apply`; a constant column is restored.

        Args:
            Z: scaled values, of a shape that `apply` returns.

        Returns:
            A new floating-point array of the shape of ``Z``.

        Raises:
            ArgumentError: if ``Z`` does not have n columns, or does not hold real numbers.
        """
        return _unscale(Z, *self._coefficients())

    def arrays(self) -> dict[str, HostArray]:
        """Return the fitted values by name, the argument of `from_arrays`."""
        return {"mean": self.mean, "std": self.std}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, HostArray]) -> Self:
        """Return the scaling with the values that `arrays` returned.

        Raises:
            ArgumentError: if a name is missing or unknown.
        """
        _check_names(arrays, ("mean", "std"))
        return cls(arrays["mean"], arrays["std"])

    def _coefficients(self) -> tuple[HostArray, HostArray, HostArray]:
        """Return shift, width and start: `apply` is ``(X − shift)/width + start``."""
        return self.mean, self.std, np.zeros(())


@dataclass(frozen=True, eq=False)
class MinMax:
    """Linear map of each column from [low, high] to [a, b]: ``a + (X − low)(b − a)/(high − low)``.

    Known limits need no fit: ``MinMax(0, 255, to=(-1, 1))`` scales images of uint8 pixels, of any
    shape, to [−1, 1]. Values outside the limits are mapped outside ``to``; they are not clipped. A
    column that is constant in the training data, ``low = high``, is mapped to 0 for all data;
    `fit` counts one as constant as `Standardize` does.

    Attributes:
        low: float64 of shape (n,), or one number for all columns; mapped to ``to[0]``.
        high: of the shape of ``low``, at least ``low``; mapped to ``to[1]``.
        to: (a, b) with a < b; default (0, 1).

    Raises:
        ArgumentError: if ``low`` and ``high`` differ in shape or are not finite, ``low > high``, or
            ``to`` is not a tuple of two increasing numbers.

    >>> pixels = np.array([[0, 51, 255]], dtype="uint8")
    >>> MinMax(0, 255, to=(-1, 1)).apply(pixels).tolist()
    [[-1.0, -0.6000000238418579, 1.0]]
    >>> MinMax.fit(np.array([[1.0], [3.0], [2.0]])).apply(np.array([[2.0]])).tolist()
    [[0.5]]
    """

    low: HostArray | float
    high: HostArray | float
    to: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        _freeze(self, "low", "high")
        require(np.all(self.low <= self.high), "low", "be at most high", self.low)
        ok = isinstance(self.to, tuple) and len(self.to) == 2
        require(ok, "to", "be a tuple of two numbers", self.to)
        require_number(self.to[1], "to[1]")
        require_number(self.to[0], "to[0]", below=self.to[1])

    @classmethod
    def fit(cls, X: Array, to: tuple[float, float] = (0.0, 1.0)) -> Self:
        """Compute the minimum and maximum of each column of the training data ``X``.

        ``X`` is read in chunks of rows, so it may be a `numpy.memmap` larger than memory.

        Args:
            X: training data of shape (m, n), an array of any backend.
            to: the interval that the limits are mapped to; default (0, 1).

        Returns:
            The fitted scaling.

        Raises:
            ArgumentError: if ``X`` does not hold finite real numbers, shape (m, n), or ``to`` is
                not valid.
        """
        X = as_array(X, "X")
        check_features(X)
        low, high = _limits(X)
        return cls(low, np.where(_are_constant(X, low, high), low, high), to=to)

    def apply(self, X: Array) -> Array:
        """Return ``a + (X − low)(b − a)/(high − low)``, a new array on the backend of ``X``.

        Args:
            X: real numbers of shape (m, n), or of any shape if ``low`` is one number. Integers of
                up to 16 bits are converted to float32, larger ones to float64.

        Returns:
            A floating-point array of the shape of ``X``.

        Raises:
            ArgumentError: if ``X`` does not have n columns, or does not hold real numbers.
        """
        return _scale(X, *self._coefficients())

    def invert(self, Z: Array) -> Array:
        """Return ``low + (Z − a)(high − low)/(b − a)``, the inverse of `apply`.

        A constant column is restored.

        Args:
            Z: scaled values, of a shape that `apply` returns.

        Returns:
            A new floating-point array of the shape of ``Z``.

        Raises:
            ArgumentError: if ``Z`` does not have n columns, or does not hold real numbers.
        """
        return _unscale(Z, *self._coefficients())

    def arrays(self) -> dict[str, HostArray]:
        """Return the fitted values by name, the argument of `from_arrays`."""
        return {"low": np.asarray(self.low), "high": np.asarray(self.high), "to": np.array(self.to)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, HostArray]) -> Self:
        """Return the scaling with the values that `arrays` returned.

        Raises:
            ArgumentError: if a name is missing or unknown.
        """
        _check_names(arrays, ("low", "high", "to"))
        return cls(arrays["low"], arrays["high"], tuple(arrays["to"].tolist()))

    def _coefficients(self) -> tuple[HostArray, HostArray, HostArray]:
        """Return shift, width and start: `apply` is ``(X − shift)/width + start``."""
        low, high = np.asarray(self.low), np.asarray(self.high)
        start, stop = self.to
        return low, (high - low) / (stop - start), np.where(low == high, 0.0, start)


@dataclass(frozen=True, eq=False)
class TargetSpec:
    """The units and the shape of the targets of a regression, which are those of its predictions.

    Attributes:
        scaling: the fitted scaling between the units of the targets and those of the loss, with
            standard deviations above 0; ``None`` if they are the same.
        ndim: 1 after a training on targets ``(m,)``, 2 after one on targets ``(m, k)``, ``None``
            before the first training.

    >>> spec = TargetSpec(Standardize([1e9], [2.0]), ndim=1)
    >>> spec.scaled(np.array([1e9 + 2, 1e9 - 4])).tolist()
    [1.0, -2.0]
    >>> spec.shaped(spec.restored(np.array([[1.0], [-2.0]], dtype="float32"))).tolist()
    [1000000002.0, 999999996.0]
    """

    scaling: Standardize | None = None
    ndim: int | None = None

    def scaled(self, y: Array) -> Array:
        """Return targets in the units of the loss, ``(y − mean)/std``, in float64."""
        if self.scaling is None:
            return y
        y = _as_float64(y)
        mean, std = self._moments(y)
        return (y - mean) / std

    def restored(self, values: Array) -> Array:
        """Return predictions in the units of the targets, ``values · std + mean``, in float64.

        Float32 may not resolve differences of numbers that are much larger than their standard
        deviation.
        """
        if self.scaling is None:
            return values
        values = _as_float64(values)
        mean, std = self._moments(values)
        return values * std + mean

    def shaped(self, values: Array) -> Array:
        """Return one value a row in the shape ``(m,)`` or ``(m, 1)`` of the targets."""
        if self.ndim == 1 and values.ndim == 2 and values.shape[1] == 1:
            return values[:, 0]
        if self.ndim == 2 and values.ndim == 1:
            return values[:, None]
        return values

    def _moments(self, like: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation on the backend of ``like``, a float64 array.

        Several columns of ``like`` may be of one target, as those of `QuantileLoss`.
        """
        assert self.scaling is not None
        backend = backend_of(like)
        each = like.shape[1] // self.scaling.mean.size if like.ndim == 2 else 1
        mean, std = (np.repeat(x, each) for x in (self.scaling.mean, self.scaling.std))
        return backend.asarray(mean, dtype=like.dtype), backend.asarray(std, dtype=like.dtype)


@dataclass(frozen=True, eq=False)
class InputSpec:
    """The numbers of inputs and outputs of a network, its backend, and how data are scaled.

    Attributes:
        backend: the backend of the network, with its dtype.
        n_in: the number of features.
        n_out: the number of outputs.
        preprocessing: a fitted scaling of raw features, or ``None``.
        targets: the units and the shape of the targets of a regression.

    >>> from xpnet.backend import get_backend
    >>> spec = InputSpec(get_backend("numpy"), 2, 1, MinMax(0, 255, to=(-1, 1)))
    >>> spec.network_inputs(np.array([[0, 255]], dtype="uint8"))
    array([[-1.,  1.]], dtype=float32)
    """

    backend: Backend
    n_in: int
    n_out: int
    preprocessing: Standardize | MinMax | None = None
    targets: TargetSpec = TargetSpec()

    def network_inputs(self, X: Array) -> Array:
        """Return raw features as network inputs: preprocessed, and on the backend."""
        if self.preprocessing is not None:
            X = self.preprocessing.apply(X)
        return self.to_backend(X)

    def to_backend(self, X: Array) -> Array:
        """Return features on the backend in its dtype, without a copy if that is possible."""
        return self.backend.asarray(X, self.backend.dtype)

    def loss_targets(self, y: Array, loss: Loss) -> Array:
        """Return valid targets in the units of the loss: scaled, if it takes scaled targets."""
        return self.targets.scaled(y) if takes_scaled_targets(loss) else y

    def predictions(self, output: Array, loss: Loss) -> Array:
        """Return the decisions of the loss; values in the units and the shape of the targets."""
        decided, targets = loss.decide(output), self.targets
        if loss.target_kind != "values":
            return decided
        if targets.scaling is not None and loss.scalable:
            decided = targets.restored(decided)
        return decided if targets.ndim is None else targets.shaped(decided)


def takes_scaled_targets(loss: Loss) -> bool:
    """Return whether the targets of ``loss`` may be standardized.

    >>> from xpnet.losses import HalfMSE, PoissonNLL
    >>> takes_scaled_targets(HalfMSE()), takes_scaled_targets(PoissonNLL())
    (True, False)
    """
    return loss.target_kind == "values" and loss.scalable


def scaling_coefficients(scaling: Standardize | MinMax, n: int) -> HostArray:
    """Return the coefficients shift, width and start of ``scaling``, float64 ``(3, n)``.

    ``(X − shift)/width + start`` is the scaled array. The width of a constant column is infinite,
    which maps the column to its start, 0.

    >>> scaling_coefficients(MinMax(0, 255, to=(-1, 1)), 2).tolist()
    [[0.0, 0.0], [127.5, 127.5], [-1.0, -1.0]]
    """
    shift, width, start = scaling._coefficients()
    width = np.where(width > 0, width, np.inf)
    return np.stack([np.broadcast_to(x, (n,)) for x in (shift, width, start)])


def _limits(X: Array) -> tuple[HostArray, HostArray]:
    """Return the minimum and the maximum of each column, float64."""
    xp = namespace_of(X)
    parts = [(to_numpy(xp.min(c, axis=0)), to_numpy(xp.max(c, axis=0))) for _, c in row_chunks(X)]
    low = np.min([part[0] for part in parts], axis=0)
    high = np.max([part[1] for part in parts], axis=0)
    return low.astype(np.float64), high.astype(np.float64)


def are_constant(X: Array) -> HostArray:
    """Return which columns of ``X`` count as constant, by the rule of `Standardize`.

    >>> are_constant(np.array([[0.1, 1.0], [np.nextafter(0.1, 1.0), 2.0]])).tolist()
    [True, False]
    """
    return _are_constant(X, *_limits(X))


def _are_constant(X: Array, low: HostArray, high: HostArray) -> HostArray:
    """Return which columns with these limits have a range of at most 2 ulp of the largest."""
    xp = namespace_of(X)
    if not is_kind(X, "real floating"):
        return np.asarray(low == high)
    info = xp.finfo(X.dtype)
    size = np.maximum(np.maximum(np.abs(low), np.abs(high)), float(info.smallest_normal))
    ulp = np.ldexp(float(info.eps), np.frexp(size)[1] - 1)
    return np.asarray(0.5 * high - 0.5 * low <= ulp)  # high − low may overflow


def _scale(X: Array, shift: HostArray, width: HostArray, start: HostArray) -> Array:
    """Return ``(X − shift)/width + start``; 0 where ``width`` is 0."""
    Z = _floating_copy(X, shift)
    backend, narrow = backend_of(Z), np.dtype(dtype_name(Z.dtype))
    with np.errstate(over="ignore"):  # to infinity, as in any computation of this dtype
        shift, width, start = (np.asarray(a).astype(narrow) for a in (shift, width, start))
    Z -= backend.asarray(shift)
    Z /= backend.asarray(np.where(width > 0, width, narrow.type(np.inf)))
    Z += backend.asarray(start)
    return Z


def _unscale(Z: Array, shift: HostArray, width: HostArray, start: HostArray) -> Array:
    """Return ``(Z − start) · width + shift``."""
    X = _floating_copy(Z, shift)
    backend = backend_of(X)
    X -= backend.asarray(start, dtype=X.dtype)
    X *= backend.asarray(width, dtype=X.dtype)
    X += backend.asarray(shift, dtype=X.dtype)
    return X


def _floating_copy(X: Array, shift: HostArray) -> Array:
    """Return a floating-point copy of ``X``, in its dtype if that is floating-point."""
    X = as_array(X, "X")
    xp = namespace_of(X)
    require(is_real(X), "X", "hold real numbers", X)
    if shift.ndim:
        rule = f"have shape (rows, {shift.size}), as the fit had"
        require(X.ndim == 2 and X.shape[1] == shift.size, "X", rule, X)
    dtype = np.result_type(dtype_name(X.dtype), np.float32)
    return xp.astype(X, getattr(xp, dtype.name), copy=True)


def _as_float64(x: Array) -> Array:
    xp = namespace_of(x)
    return xp.astype(x, xp.float64)


def _freeze(scaling: object, first: str, second: str) -> None:
    """Replace two fields with read-only float64 copies, after checking values and shapes."""
    for name in (first, second):
        value = np.array(getattr(scaling, name), dtype=np.float64)
        require(value.ndim <= 1, name, "be one number or a vector", value)
        require(np.isfinite(value).all(), name, "be finite", Phrase(f"{value}"))
        value.flags.writeable = False
        object.__setattr__(scaling, name, value)
    a, b = getattr(scaling, first), getattr(scaling, second)
    require(a.shape == b.shape, second, f"have the shape {a.shape} of {first}", b)


def _check_names(arrays: Mapping[str, HostArray], names: tuple[str, ...]) -> None:
    held = Phrase(", ".join(arrays) or "none")
    require(set(arrays) == set(names), "arrays", f"hold exactly {', '.join(names)}", held)
