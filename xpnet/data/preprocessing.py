"""Scaling of features, and how raw rows become network inputs.

A scaling is fitted on training data and is a value of its own, the same on every backend.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from xpnet.backend import Array, Backend, HostArray, backend_of, is_real, namespace_of, to_numpy
from xpnet.data.checks import check_features
from xpnet.errors import Phrase, dtype_name, require, require_number
from xpnet.finite import row_chunks


@dataclass(frozen=True, eq=False)
class Standardize:
    """Each column shifted to mean 0 and scaled to standard deviation 1: ``(X − mean) / std``.

    A column that was constant in the fit, ``std = 0``, becomes 0 whatever it holds later:
    a network that never saw it vary cannot know what its variation means.

    Attributes:
        mean: float64 of shape (n,), or one number for all columns.
        std: of the same shape, at least 0; the population's, ``√(Σ (x − mean)² / m)``.

    Raises:
        ArgumentError: if they differ in shape or are not finite, or ``std`` is below 0.

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
        """The mean and standard deviation of every column of the training data ``X``.

        Chunks of rows are merged, so that a `numpy.memmap` larger than memory can be fitted; the
        result is that of the whole to rounding, without the cancellation of ``E x² − (E x)²``.

        Args:
            X: training data of shape (m, n), of any backend.

        Returns:
            The fitted scaling.

        Raises:
            ArgumentError: if ``X`` is not (m, n) finite real numbers, or its variance overflows.

        Reference: T. Chan, G. Golub, R. LeVeque, "Updating Formulae and a Pairwise Algorithm for
        Computing Sample Variances", 1979.
        """
        check_features(X)
        xp = namespace_of(X)
        n_seen, mean, squares = 0, np.zeros(X.shape[1]), np.zeros(X.shape[1])
        with np.errstate(over="ignore", invalid="ignore"):  # refused by the check of std
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
        return cls(
            np.where(low == high, low, mean), np.where(low == high, 0, np.sqrt(squares / n_seen))
        )

    def apply(self, X: Array) -> Array:
        """``(X − mean) / std``, a new array on the backend of ``X``.

        Args:
            X: real numbers of shape (m, n), or of any shape if ``mean`` is one number. Integers
                of up to 16 bits become float32, longer ones float64.

        Returns:
            A floating array of the shape of ``X``.

        Raises:
            ArgumentError: if ``X`` has another number of columns.
        """
        return _scale(X, self.mean, self.std, np.zeros(()))

    def invert(self, Z: Array) -> Array:
        """``Z · std + mean``: `apply` undone; a constant column gets its constant back.

        Args:
            Z: what `apply` returned, or values like it.

        Returns:
            A new floating array of the shape of ``Z``.

        Raises:
            ArgumentError: if ``Z`` has another number of columns.
        """
        return _unscale(Z, self.mean, self.std, np.zeros(()))

    def arrays(self) -> dict[str, HostArray]:
        """The fitted values by name, for a file; `from_arrays` takes them back."""
        return {"mean": self.mean, "std": self.std}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, HostArray]) -> Self:
        """The scaling that `arrays` described; `ArgumentError` if a name is missing or unknown."""
        _check_names(arrays, ("mean", "std"))
        return cls(arrays["mean"], arrays["std"])


@dataclass(frozen=True, eq=False)
class MinMax:
    """Each column mapped from [low, high] onto [a, b]: ``a + (X − low) (b − a) / (high − low)``.

    With limits known beforehand nothing needs a fit: ``MinMax(0, 255, to=(-1, 1))`` scales images
    of bytes of any shape to [−1, 1]. Values beyond the limits land beyond ``to``; nothing is
    clipped. A column that was constant in the fit, ``low = high``, becomes 0 whatever it holds
    later.

    Attributes:
        low: float64 of shape (n,), or one number for all columns; mapped onto ``to[0]``.
        high: of the same shape, at least ``low``; mapped onto ``to[1]``.
        to: (a, b) with a < b (default: (0, 1)).

    Raises:
        ArgumentError: if ``low`` and ``high`` differ in shape, are not finite or ``low > high``,
            or ``to`` is not two increasing numbers.

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
        """The smallest and largest value of every column of the training data ``X``.

        A `numpy.memmap` larger than memory is read in chunks of rows.

        Args:
            X: training data of shape (m, n), of any backend.
            to: where the limits are mapped (default: (0, 1)).

        Returns:
            The fitted scaling.

        Raises:
            ArgumentError: if ``X`` is not (m, n) finite real numbers, or ``to`` is wrong.
        """
        check_features(X)
        return cls(*_limits(X), to=to)

    def apply(self, X: Array) -> Array:
        """``a + (X − low) (b − a) / (high − low)``, a new array on the backend of ``X``.

        Args:
            X: real numbers of shape (m, n), or of any shape if ``low`` is one number. Integers of
                up to 16 bits become float32, longer ones float64.

        Returns:
            A floating array of the shape of ``X``.

        Raises:
            ArgumentError: if ``X`` has another number of columns.
        """
        return _scale(X, *self._shift_width_start())

    def invert(self, Z: Array) -> Array:
        """`apply` undone; a constant column gets its constant back.

        Args:
            Z: what `apply` returned, or values like it.

        Returns:
            A new floating array of the shape of ``Z``.

        Raises:
            ArgumentError: if ``Z`` has another number of columns.
        """
        return _unscale(Z, *self._shift_width_start())

    def arrays(self) -> dict[str, HostArray]:
        """The fitted values by name, for a file; `from_arrays` takes them back."""
        return {"low": np.asarray(self.low), "high": np.asarray(self.high), "to": np.array(self.to)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, HostArray]) -> Self:
        """The scaling that `arrays` described; `ArgumentError` if a name is missing or unknown."""
        _check_names(arrays, ("low", "high", "to"))
        return cls(arrays["low"], arrays["high"], tuple(arrays["to"].tolist()))

    def _shift_width_start(self) -> tuple[HostArray, HostArray, HostArray]:
        low, high = np.asarray(self.low), np.asarray(self.high)
        start, stop = self.to
        return low, (high - low) / (stop - start), np.where(low == high, 0.0, start)


@dataclass(frozen=True, eq=False)
class InputSpec:
    """The inputs and outputs of a network, and how raw rows become its inputs.

    Attributes:
        backend: where the network computes, and in which dtype.
        n_in: the number of features.
        n_out: the number of outputs.
        preprocessing: a fitted scaling of raw features, or ``None``.

    >>> from xpnet.backend import get_backend
    >>> spec = InputSpec(get_backend("numpy"), 2, 1, MinMax(0, 255, to=(-1, 1)))
    >>> spec.network_inputs(np.array([[0, 255]], dtype="uint8"))
    array([[-1.,  1.]], dtype=float32)
    """

    backend: Backend
    n_in: int
    n_out: int
    preprocessing: Standardize | MinMax | None = None

    def network_inputs(self, X: Array) -> Array:
        """Raw rows preprocessed, on the backend, in its dtype."""
        if self.preprocessing is not None:
            X = self.preprocessing.apply(X)
        return self.moved(X)

    def moved(self, X: Array) -> Array:
        """Rows on the backend in its dtype, without a copy if they are there already."""
        return self.backend.asarray(X, self.backend.dtype)


def columns_of(scaling: Standardize | MinMax, n: int) -> HostArray:
    """Rows ``shift, width, begin``, float64 ``(3, n)``: `apply` is ``(X − shift)/width + begin``.

    The width of a constant column is infinite, so that the column becomes ``begin``, 0.

    >>> columns_of(MinMax(0, 255, to=(-1, 1)), 2).tolist()
    [[0.0, 0.0], [127.5, 127.5], [-1.0, -1.0]]
    """
    if isinstance(scaling, Standardize):
        shift, width, begin = scaling.mean, scaling.std, np.zeros(())
    else:
        shift, width, begin = scaling._shift_width_start()
    width = np.where(width > 0, width, np.inf)
    return np.stack([np.broadcast_to(x, (n,)) for x in (shift, width, begin)])


def _limits(X: Array) -> tuple[HostArray, HostArray]:
    """The least and the largest value of each column, as float64."""
    xp = namespace_of(X)
    parts = [(to_numpy(xp.min(c, axis=0)), to_numpy(xp.max(c, axis=0))) for _, c in row_chunks(X)]
    low = np.min([part[0] for part in parts], axis=0)
    high = np.max([part[1] for part in parts], axis=0)
    return low.astype(np.float64), high.astype(np.float64)


def _scale(X: Array, shift: HostArray, width: HostArray, start: HostArray) -> Array:
    """``(X − shift) / width + start``; 0 where ``width`` is 0."""
    Z = _floating_copy(X, shift)
    place = backend_of(Z)
    Z -= place.asarray(shift, dtype=Z.dtype)
    Z /= place.asarray(np.where(width > 0, width, np.inf), dtype=Z.dtype)
    Z += place.asarray(start, dtype=Z.dtype)
    return Z


def _unscale(Z: Array, shift: HostArray, width: HostArray, start: HostArray) -> Array:
    """``(Z − start) · width + shift``."""
    X = _floating_copy(Z, shift)
    place = backend_of(X)
    X -= place.asarray(start, dtype=X.dtype)
    X *= place.asarray(width, dtype=X.dtype)
    X += place.asarray(shift, dtype=X.dtype)
    return X


def _floating_copy(X: Array, shift: HostArray) -> Array:
    """A copy of ``X`` that can hold fractions: floats in their dtype, bytes in float32."""
    xp = namespace_of(X)
    require(is_real(X), "X", "hold real numbers", X)
    if shift.ndim:
        words = f"have shape (rows, {shift.size}), as the fit had"
        require(X.ndim == 2 and X.shape[1] == shift.size, "X", words, X)
    dtype = np.result_type(dtype_name(X.dtype), np.float32)
    return xp.astype(X, getattr(xp, dtype.name), copy=True)


def _freeze(scaling: object, first: str, second: str) -> None:
    """Replace two fields by read-only float64 copies, refused unless finite and of one shape."""
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
